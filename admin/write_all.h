/* write(2) until all of it is written. */
#ifndef WEIR_ADMIN_WRITE_ALL_H
#define WEIR_ADMIN_WRITE_ALL_H

#include <stdbool.h>
#include <stddef.h>

/* A signal's interruption is no end. False with errno: not all was written. */
bool write_all(int fd, const char *bytes, size_t len);

#endif
