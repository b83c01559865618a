/* fdio.h: files, memfds and descriptors in transit, each done right in one place.
 *
 * All descriptors are CLOEXEC from birth. 0 or a length on success, negative errno otherwise; EINTR is
 * retried. No sentence here: the caller knows what the file was for.
 */
#ifndef FDIO_H
#define FDIO_H

#include "own.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* All of it, or an error. */
int fdio_write(int fd, const void *p, size_t len) must_check;
/* Reads to the end; malloc'ed with a NUL behind, caller frees. -E2BIG when there is more than max. */
int fdio_read_all(int fd, size_t max, char **ret, size_t *ret_len) must_check;
int fdio_read_file(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len) must_check;

/* Writes name.tmp, fsyncs, renames over name, fsyncs the directory: the old bytes or the new ones. */
int fdio_replace(int dirfd, const char *name, const void *p, size_t len, mode_t mode) must_check;

/* A sealed memfd with these bytes (memfd_create(2), F_ADD_SEALS): its size and bytes stay as they are. */
int fdio_memfd(const char *name, const void *p, size_t len, const void *p2, size_t len2) must_check;
/* Reads a memfd that must be sealed against writing and shrinking and hold exactly len bytes. */
int fdio_memfd_read(int fd, size_t len, char **ret) must_check;

/* One message and at most one descriptor (*ret_fd, -1: none). 0: end. -EPROTO: truncated, or more than
 * one descriptor came. */
ssize_t fdio_recv(int sock, void *buf, size_t cap, int flags, int *ret_fd) must_check;
/* One sendmsg(2), with one descriptor (or none: -1): the number of bytes that went. No SIGPIPE. */
ssize_t fdio_send_once(int sock, const struct iovec *iov, size_t count, int fd,
		       int flags) must_check;
/* Sends bytes with one descriptor (or none: -1); blocking sockets wait. */
int fdio_send(int sock, const void *p, size_t len, int fd) must_check;

/* mkdir that is content with what is there if it is a directory of this owner; sets mode and owner.
 * Returns a directory descriptor. */
int fdio_dir(const char *path, mode_t mode, uid_t uid, gid_t gid) must_check;

#endif
