/* Secrets are read from where they are named, and are never empty. */
#include "cmock.h"

#include <sys/stat.h>
#include <unistd.h>

/* A file with these bytes; the caller unlinks and frees. */
static char *
file_with(const char *bytes, size_t len)
{
	char *path = strdup("/tmp/weir-secret-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
	return path;
}

static void
test_secret__one_newline_is_dropped(void **state)
{
	char *path = file_with("s3cret\n\n", 8), *bytes;
	struct secret secret = {SECRET_FILE, path};
	struct err err;
	size_t len;

	(void)state;
	assert_true(secret_read(&secret, &bytes, &len, &err));
	assert_int_equal(len, 7);
	assert_string_equal(bytes, "s3cret\n");
	free(bytes);
	unlink(path);
	free(path);
}

static void
test_secret__an_empty_one_is_refused(void **state)
{
	char *path = file_with("\n", 1), *bytes;
	struct secret secret = {SECRET_FILE, path};
	struct err err;
	size_t len;

	(void)state;
	assert_false(secret_read(&secret, &bytes, &len, &err));
	assert_null(bytes);
	assert_non_null(strstr(err.text, "is empty"));
	unlink(path);
	free(path);
}

static void
test_secret__a_missing_file_is_named(void **state)
{
	struct secret secret = {SECRET_FILE, (char *)"/nonexistent/key"};
	struct err err;
	char *bytes;
	size_t len;

	(void)state;
	assert_false(secret_read(&secret, &bytes, &len, &err));
	assert_string_equal(
	    err.text, "/nonexistent/key: No such file or directory");
}

static void
test_secret__a_large_file_is_refused(void **state)
{
	size_t large = (1 << 20) + 1, len;
	char *content = calloc(1, large), *path, *bytes;
	struct secret secret = {SECRET_FILE, NULL};
	struct err err;

	(void)state;
	path = file_with(content, large);
	secret.where = path;
	assert_false(secret_read(&secret, &bytes, &len, &err));
	assert_non_null(strstr(err.text, "larger than 1 MiB"));
	unlink(path);
	free(path);
	free(content);
}

static void
test_secret__a_pipe_is_not_waited_for(void **state)
{
	char *path = file_with("", 0), *bytes;
	struct secret secret = {SECRET_FILE, path};
	struct err err;
	size_t len;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(secret_read(&secret, &bytes, &len, &err));
	assert_non_null(strstr(err.text, ": not a regular file"));
	unlink(path);
	free(path);
}

static void
test_secret__the_environment_is_read(void **state)
{
	struct secret secret = {SECRET_ENV, (char *)"WEIR_TEST_SECRET"};
	struct err err;
	char *bytes;
	size_t len;

	(void)state;
	unsetenv("WEIR_TEST_SECRET");
	assert_false(secret_read(&secret, &bytes, &len, &err));
	setenv("WEIR_TEST_SECRET", "abc", 1);
	assert_true(secret_read(&secret, &bytes, &len, &err));
	assert_string_equal(bytes, "abc");
	free(bytes);
	unsetenv("WEIR_TEST_SECRET");
}

static void
test_secret__a_credential_stays_in_its_folder(void **state)
{
	char *path = file_with("abc", 3), *bytes;
	struct secret secret = {SECRET_CREDENTIAL, strrchr(path, '/') + 1};
	struct err err;
	size_t len;

	(void)state;
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_false(secret_read(&secret, &bytes, &len, &err));
	setenv("CREDENTIALS_DIRECTORY", "/tmp", 1);
	assert_true(secret_read(&secret, &bytes, &len, &err));
	assert_string_equal(bytes, "abc");
	free(bytes);
	secret.where = (char *)"../etc/passwd";
	assert_false(secret_read(&secret, &bytes, &len, &err));
	unsetenv("CREDENTIALS_DIRECTORY");
	unlink(path);
	free(path);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_secret__one_newline_is_dropped),
	    cmocka_unit_test(test_secret__an_empty_one_is_refused),
	    cmocka_unit_test(test_secret__a_missing_file_is_named),
	    cmocka_unit_test(test_secret__a_large_file_is_refused),
	    cmocka_unit_test(test_secret__a_pipe_is_not_waited_for),
	    cmocka_unit_test(test_secret__the_environment_is_read),
	    cmocka_unit_test(test_secret__a_credential_stays_in_its_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
