/* cut.c: see cut.h. The processes run on meanwhile. So a descriptor is judged when we have it ourselves: the kernel side's own
 * mark on the socket says that it is such a connection, whatever its number stood for a moment ago. It is then reset by
 * connect(AF_UNSPEC), which is what its program might do itself; nothing else is done to it or asked of it.
 */
#include "cut.h"

#include "cgroup.h"
#include "own.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool cut_one(struct enforce *en, int pidfd, int number)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	auto_close int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	return fd >= 0 && enforce_direct(en, fd) && connect(fd, &none, sizeof(none)) == 0;
}

/* By its link's text: to ask the file itself could wait for whoever serves it (FUSE). */
static bool cut_is_socket(int dir, const char *number)
{
	static const char socket[] = "socket:[";
	char text[sizeof(socket)];

	return readlinkat(dir, number, text, sizeof(text)) == (ssize_t)sizeof(text) &&
	       memcmp(text, socket, sizeof(socket) - 1) == 0;
}

/* *left: how many descriptors may still be looked at. */
static size_t cut_process(struct enforce *en, pid_t pid, size_t *left)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	char path[32];
	const struct dirent *d;
	size_t n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = pidfd < 0 ? NULL : opendir(path);
	while (dir && *left > 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		--*left;
		if (cut_is_socket(dirfd(dir), d->d_name))
			n += cut_one(en, pidfd, atoi(d->d_name));
	}
	if (dir)
		closedir(dir);
	return n;
}

size_t cut_direct(struct enforce *en, int cgroup_fd)
{
	auto_free pid_t *pids = calloc(CUT_PIDS_MAX, sizeof(*pids));
	size_t count = pids ? cgroup_pids(cgroup_fd, pids, CUT_PIDS_MAX) : 0, left = CUT_FDS_MAX,
	       n = 0, i;

	for (i = 0; i < count && i < CUT_PIDS_MAX; i++)
		n += cut_process(en, pids[i], &left);
	return n;
}
