/* pipes.c: see pipes.h. */
#include "pipes.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

int pipes_get(struct pipes *p, int ret[2])
{
	if (p->count > 0) {
		memcpy(ret, p->fd[--p->count], sizeof(p->fd[0]));
		return 0;
	}
	if (pipe2(ret, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	(void)fcntl(ret[1], F_SETPIPE_SZ, PIPES_SIZE); /* the usual size does too */
	return 0;
}

void pipes_end(int fd[2])
{
	own_close(&fd[0]);
	own_close(&fd[1]);
}

void pipes_put(struct pipes *p, int fd[2])
{
	if (p->count == PIPES_KEPT) {
		pipes_end(fd);
		return;
	}
	memcpy(p->fd[p->count++], fd, sizeof(p->fd[0]));
	fd[0] = fd[1] = -1;
}

void pipes_done(struct pipes *p)
{
	while (p->count > 0)
		pipes_end(p->fd[--p->count]);
}
