/* fdio.c: see fdio.h. */
#include "fdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

int fdio_write(int fd, const void *p, size_t len)
{
	const char *at = p;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int fdio_read_all(int fd, size_t max, char **ret, size_t *ret_len)
{
	auto_free char *p = malloc(max + 2);
	size_t len = 0;

	if (!p)
		return -ENOMEM;
	while (len <= max) {
		ssize_t n = read(fd, p + len, max + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	if (len > max)
		return -E2BIG;
	p[len] = '\0';
	*ret_len = len;
	*ret = take(p);
	return 0;
}

int fdio_read_file(int dirfd, const char *name, size_t max, char **ret, size_t *ret_len)
{
	auto_close int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	return fdio_read_all(fd, max, ret, ret_len);
}

static int fdio_write_new(int dirfd, const char *name, const void *p, size_t len, mode_t mode)
{
	auto_close int fd = -1;
	int rc;

	if (unlinkat(dirfd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, mode) < 0)
		return -errno;
	rc = fdio_write(fd, p, len);
	if (rc < 0)
		return rc;
	return fsync(fd) < 0 ? -errno : 0;
}

int fdio_replace(int dirfd, const char *name, const void *p, size_t len, mode_t mode)
{
	char tmp[256];
	int rc;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp", name) >= sizeof(tmp))
		return -ENAMETOOLONG;
	rc = fdio_write_new(dirfd, tmp, p, len, mode);
	if (rc == 0 && renameat(dirfd, tmp, dirfd, name) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlinkat(dirfd, tmp, 0);
		return rc;
	}
	return fsync(dirfd) < 0 ? -errno : 0;
}

int fdio_memfd(const char *name, const void *p, size_t len, const void *p2, size_t len2)
{
	auto_close int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0)
		return -errno;
	rc = fdio_write(fd, p, len);
	if (rc == 0 && len2 > 0)
		rc = fdio_write(fd, p2, len2);
	if (rc < 0)
		return rc;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		return -errno;
	return take_fd(&fd);
}

int fdio_memfd_read(int fd, size_t len, char **ret)
{
	const int want = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	auto_free char *p = NULL;
	struct stat st;
	size_t at = 0;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & want) != want)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_size < 0 || (size_t)st.st_size != len)
		return -EPROTO;
	p = malloc(len + 1);
	if (!p)
		return -ENOMEM;
	while (at < len) {
		ssize_t n = pread(fd, p + at, len - at, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPROTO;
		at += (size_t)n;
	}
	p[len] = '\0';
	*ret = take(p);
	return 0;
}

/* Closes every descriptor that came; keeps the first in *fd. The number of them. */
static size_t fdio_take_fds(struct msghdr *msg, int *fd)
{
	struct cmsghdr *c;
	size_t count = 0, i;

	for (c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (i = 0; i < n; i++) {
			int got;

			memcpy(&got, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (count++ == 0)
				*fd = got;
			else
				(void)close(got);
		}
	}
	return count;
}

ssize_t fdio_recv(int sock, void *buf, size_t cap, int flags, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 4)];
	} control;
	struct iovec iov = {buf, cap};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.space,
			     .msg_controllen = sizeof(control.space)};
	auto_close int fd = -1;
	size_t fds;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	fds = fdio_take_fds(&msg, &fd);
	if (fds > 1 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
		return -EPROTO;
	*ret_fd = take_fd(&fd);
	return n;
}

ssize_t fdio_send_once(int sock, const struct iovec *iov, size_t count, int fd, int flags)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
	ssize_t n;

	if (fd >= 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int fdio_send(int sock, const void *p, size_t len, int fd)
{
	const char *at = p;

	while (len > 0) {
		struct iovec iov = {(void *)(uintptr_t)at, len};
		ssize_t n = fdio_send_once(sock, &iov, 1, fd, 0);

		if (n < 0)
			return (int)n;
		fd = -1; /* goes with the first byte */
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int fdio_dir(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	auto_close int fd = -1;

	if (mkdir(path, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fchown(fd, uid, gid) < 0 || fchmod(fd, mode) < 0)
		return -errno;
	return take_fd(&fd);
}
