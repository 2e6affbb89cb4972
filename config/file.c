/*
 * Small files that the config names: certificates, secrets, lists. They are
 * read by the control thread while others wait for it, and by a process that
 * may have more rights than whoever wrote the path. So nothing but a regular
 * file is opened for good (a pipe would be waited for), and none is read
 * beyond what was asked for.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/mem.h"

static bool
take(int fd, size_t size, char **bytes_out, size_t *len_out, struct err *err)
{
	char *bytes = mem_new(size + 1, 1);
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = read(fd, bytes + len, size - len)) != 0) {
		if (n > 0) {
			len += (size_t)n;
		} else if (errno != EINTR) {
			err_set(err, "%s", strerror(errno));
			explicit_bzero(bytes, len);
			free(bytes);
			return false;
		}
	}
	*bytes_out = bytes;
	*len_out = len;
	return true;
}

bool
file_read(const char *path, size_t max, char **bytes_out, size_t *len_out,
    struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	bool is_read = false;

	if (fd < 0 || fstat(fd, &st) != 0)
		err_set(err, "%s", strerror(errno));
	else if (!S_ISREG(st.st_mode))
		err_set(err, "%s",
		    S_ISDIR(st.st_mode) ? strerror(EISDIR)
		                        : "not a regular file");
	else if ((uint64_t)st.st_size > max)
		err_set(err, "larger than %zu MiB", max >> 20);
	else
		is_read = take(fd, (size_t)st.st_size, bytes_out, len_out, err);
	if (fd >= 0)
		close(fd);
	return is_read;
}
