/*
 * What weirctl prints came over the wire, from a weir that has it from people,
 * files and other instances: nothing of it may move a cursor, ring, or rename a
 * window. So stdout and stderr are streams of our own that let no control
 * character through, and no command has to think of it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "admin/ctl/ctl.h"
#include "admin/write_all.h"

enum { PIECE = 4096 };

struct gate {
	int fd;
	unsigned char lead; /* the first byte of a character that goes on */
	unsigned left;      /* how many of it are to come */
};

static unsigned
bytes_after(unsigned char lead)
{
	return lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc2 ? 1 : 0;
}

/*
 * C1 controls are 80..9f alone, and c2 80..9f in UTF-8: a c2 waits for what
 * follows it. Returns how many bytes are to be written, at most 2.
 */
static size_t
let_through(struct gate *gate, unsigned char c, char out[2])
{
	bool goes_on = gate->left > 0 && c >= 0x80 && c < 0xc0;
	bool is_c1 = c >= 0x80 && c < 0xa0 && (!goes_on || gate->lead == 0xc2);
	size_t n = 0;

	if (gate->lead == 0xc2 && gate->left == 1 && !is_c1)
		out[n++] = (char)0xc2;
	if (goes_on) {
		gate->left--;
	} else {
		gate->lead = c;
		gate->left = bytes_after(c);
	}
	if (c == 0xc2)
		return n;
	out[n++] = is_c1 || c == 0x7f || (c < 0x20 && c != '\n' && c != '\t')
	               ? '?'
	               : (char)c;
	return n;
}

static ssize_t
on_write(void *ctx, const char *bytes, size_t len)
{
	struct gate *gate = ctx;
	char clean[2 * PIECE];
	size_t done = 0;

	while (done < len) {
		size_t n = len - done < PIECE ? len - done : PIECE, m = 0;

		for (size_t i = 0; i < n; i++)
			m += let_through(
			    gate, (unsigned char)bytes[done + i], clean + m);
		if (!write_all(gate->fd, clean, m))
			return 0; /* an error, as fopencookie(3) has it */
		done += n;
	}
	return (ssize_t)len;
}

static FILE *
guarded(struct gate *gate, int fd)
{
	const cookie_io_functions_t functions = {.write = on_write};
	FILE *file = fopencookie(gate, "w", functions);

	gate->fd = fd;
	if (file)
		setvbuf(file, NULL,
		    fd == STDERR_FILENO || isatty(fd) ? _IOLBF : _IOFBF,
		    BUFSIZ);
	return file;
}

bool
ctl_guard_terminal(void)
{
	static struct gate gates[2]; /* as lasting as the streams */
	FILE *to_out = guarded(&gates[0], STDOUT_FILENO);
	FILE *to_err = guarded(&gates[1], STDERR_FILENO);

	if (!to_out || !to_err)
		return false; /* the process ends */
	fflush(stdout);
	stdout = to_out;
	stderr = to_err;
	return true;
}

bool
ctl_clear_screen(void)
{
	static const char clear[] = "\033[H\033[2J";

	return fflush(stdout) == 0 &&
	       write_all(STDOUT_FILENO, clear, sizeof(clear) - 1);
}
