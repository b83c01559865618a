/* rpc.c: see rpc.h. One recvmsg per message into the caller's scratch, judged against the row before the
 * handler sees it. A descriptor that came along is closed on every path that does not take it.
 */
#include "rpc.h"

#include "fdio.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define RPC_SNDBUF (4 * 1024 * 1024)

int rpc_pair(int pair[2])
{
	int size = RPC_SNDBUF, i;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	/* Without CAP_NET_ADMIN the default size serves, only with fewer answers under way. */
	for (i = 0; i < 2; i++)
		if (setsockopt(pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
			(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return 0;
}

bool rpc_str_ok(const char *s, size_t max)
{
	return s[0] != '\0' && memchr(s, '\0', max) != NULL;
}

int rpc_send(int sock, uint16_t op, uint32_t id, const void *body, size_t size, const void *tail,
	     size_t tail_len, int fd)
{
	struct rpc_head head = {.op = op, .id = id};
	struct iovec iov[3] = {{&head, sizeof(head)},
			       {(void *)(uintptr_t)body, size},
			       {(void *)(uintptr_t)tail, tail_len}};
	ssize_t n;

	assert(tail_len <= RPC_TAIL_MAX);
	n = fdio_send_once(sock, iov, 3, fd, MSG_DONTWAIT);
	return n < 0 ? (int)n : 0;
}

/* Judges one datagram and calls its row. */
static int rpc_dispatch(struct rpc_peer *p, const struct rpc_row *rows, size_t count, void *ctx,
			const uint8_t *buf, size_t len, int *fd)
{
	const struct rpc_row *row = NULL;
	struct rpc_head head;
	struct rpc_msg m = {.fd = -1};
	size_t i;
	int rc;

	if (len < sizeof(head))
		return -EPROTO;
	memcpy(&head, buf, sizeof(head));
	len -= sizeof(head);
	for (i = 0; i < count && !row; i++)
		if (rows[i].op == head.op)
			row = &rows[i];
	if (!row || len < row->size || len - row->size > row->tail_max)
		return -EPROTO;
	if (((row->flags & RPC_FD) != 0) != (*fd >= 0))
		return -EPROTO;
	if (row->flags & RPC_ONCE) {
		uint64_t bit = 1ULL << ((size_t)(row - rows) & 63);

		if (p->seen & bit)
			return -EPROTO;
		p->seen |= bit;
	}
	m.op = head.op;
	m.id = head.id;
	m.body = buf + sizeof(head);
	m.size = row->size;
	m.tail = buf + sizeof(head) + row->size;
	m.tail_len = len - row->size;
	m.fd = take_fd(fd);
	rc = row->fn(ctx, p->number, &m);
	own_close(&m.fd);
	return rc;
}

int rpc_serve(struct rpc_peer *p, const struct rpc_row *rows, size_t count, void *ctx, void *buf,
	      unsigned int most)
{
	int rc = 0;

	while (most-- > 0 && p->fd >= 0) {
		auto_close int fd = -1;
		ssize_t n = fdio_recv(p->fd, buf, RPC_BUF, MSG_DONTWAIT, &fd);

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 || n == -ECONNRESET ? -EPIPE : (int)n;
		rc = rpc_dispatch(p, rows, count, ctx, buf, (size_t)n, &fd);
		explicit_bzero(buf, (size_t)n);
		if (rc < 0)
			return rc;
	}
	return 0;
}
