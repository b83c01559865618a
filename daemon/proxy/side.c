/* side.c: see side.h. After a hangup the socket leaves epoll, which would report it again and again;
 * from then on every read and write answers at once, with data, the end or an error.
 */
#include "side.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define SIDE_KEEPALIVE_IDLE_S 60
#define SIDE_KEEPALIVE_EACH_S 15
#define SIDE_KEEPALIVE_COUNT 4

void side_init(struct side *s, int fd, size_t in_max, size_t out_max)
{
	*s = (struct side){.fd = fd};
	buf_init(&s->in, in_max);
	buf_init(&s->out, out_max);
}

void side_init_via(struct side *s, const struct side_via *via, void *self, size_t in_max,
		   size_t out_max)
{
	side_init(s, -1, in_max, out_max);
	s->via = via;
	s->self = self;
}

void side_done(struct side *s)
{
	if (s->via && s->self)
		s->via->done(take(s->self));
	s->tls = tls_free(s->tls);
	buf_done(&s->in);
	buf_done(&s->out);
	own_close(&s->fd);
	s->watched = false;
}

void side_reset(struct side *s)
{
	const struct linger now = {.l_onoff = 1};

	if (s->fd >= 0)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	side_done(s);
}

int side_watch(struct side *s, struct loop *l, struct loop_key key, uint32_t events)
{
	int rc = loop_watch(l, s->fd, key, events);

	if (rc < 0)
		return rc;
	s->key = key;
	s->armed = events;
	s->watched = true;
	return 0;
}

void side_event(struct side *s, struct loop *l, uint32_t events)
{
	s->fired |= events;
	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		s->blocked = false;
	if (s->read_waits_out && (events & EPOLLOUT)) {
		s->read_waits_out = false;
		s->readable = true;
	}
	if (s->write_waits_in && (events & EPOLLIN))
		s->write_waits_in = s->blocked = false;
	if ((events & (EPOLLHUP | EPOLLERR)) && s->watched) {
		loop_forget(l, s->fd);
		s->watched = false;
		s->hung_up = true;
	}
}

/* Events that came, that nobody wants now, and that would come again at once. */
static uint32_t side_unwanted(const struct side *s, uint32_t want)
{
	uint32_t again = s->fired & s->armed & ~want;

	if (!s->readable)
		again &= ~(uint32_t)EPOLLIN; /* it was read to the end: it comes no more by itself */
	return again;
}

int side_arm(struct side *s, struct loop *l, bool want_in)
{
	uint32_t want = 0, unwanted;
	int rc;

	if (s->via)
		return 0;
	if ((want_in && !s->ended) || s->write_waits_in)
		want |= EPOLLIN;
	if (s->tell_end && !s->ended)
		want |= EPOLLRDHUP;
	if ((s->blocked && !s->write_waits_in) || s->read_waits_out)
		want |= EPOLLOUT;
	unwanted = side_unwanted(s, want);
	s->fired = 0;
	if (!s->watched || (!(want & ~s->armed) && !unwanted))
		return 0;
	rc = loop_change(l, s->fd, s->key, want);
	if (rc == 0)
		s->armed = want;
	return rc;
}

enum tls_io side_handshake(struct side *s)
{
	enum tls_io io = tls_handshake(s->tls);

	if ((io == TLS_IN || io == TLS_OUT) && s->hung_up)
		return TLS_FAIL;
	s->read_waits_out = io == TLS_OUT;
	if (io == TLS_OK || io == TLS_IN)
		s->readable = s->hung_up || tls_pending(s->tls);
	return io;
}

enum tls_io side_read(struct side *s, struct buf *to, size_t most, size_t *ret_n)
{
	size_t room, want = most < BUF_UNIT ? most : BUF_UNIT;
	enum tls_io io;
	uint8_t *p;

	*ret_n = 0;
	if (s->ended)
		return TLS_END;
	if (s->via) {
		io = s->via->read(s->self, to, most, ret_n);
		s->ended = io == TLS_END;
		return io;
	}
	if (want > buf_left(to))
		want = buf_left(to);
	if (want == 0 || (!s->readable && !tls_pending(s->tls)))
		return TLS_IN;
	p = buf_room(to, want, &room);
	if (!p)
		return TLS_FAIL;
	if (room > most)
		room = most;
	io = tls_read(s->tls, p, room, ret_n);
	if (io == TLS_OK)
		buf_added(to, *ret_n);
	if (buf_len(to) == 0)
		buf_done(to);
	if (io == TLS_IN && s->hung_up)
		io = TLS_FAIL; /* it will never be */
	/* Level-triggered: where more is waiting in the socket, epoll says so again. */
	if (io == TLS_IN || (io == TLS_OK && !tls_pending(s->tls) && !s->hung_up))
		s->readable = false;
	s->read_waits_out = io == TLS_OUT;
	s->ended = io == TLS_END;
	return io;
}

enum tls_io side_write(struct side *s, size_t *ret_n)
{
	enum tls_io io = TLS_OK;
	size_t n;

	*ret_n = 0;
	if (s->via)
		return s->via->write(s->self, &s->out, ret_n);
	while (buf_len(&s->out) > 0 && !s->blocked && io == TLS_OK) {
		n = 0;
		io = tls_write(s->tls, buf_bytes(&s->out), buf_len(&s->out), &n);
		if (io == TLS_OK) {
			buf_take(&s->out, n);
			*ret_n += n;
		}
	}
	if (io == TLS_IN || io == TLS_OUT)
		s->blocked = true;
	s->write_waits_in = io == TLS_IN;
	if (s->blocked && s->hung_up)
		return TLS_FAIL;
	if (io == TLS_OK && buf_len(&s->out) > 0)
		return TLS_OUT;
	return io;
}

void side_finish(struct side *s)
{
	if (s->via)
		s->via->finish(s->self);
	else
		tls_finish(s->tls);
}

const char *side_why(const struct side *s)
{
	return s->via ? "the stream was reset" : tls_why(s->tls);
}

bool side_pending(const struct side *s)
{
	if (s->via)
		return s->via->pending(s->self);
	return s->tls && (tls_pending(s->tls) || (s->hung_up && !s->ended));
}

int side_options(int fd)
{
	const int on = 1, idle = SIDE_KEEPALIVE_IDLE_S, each = SIDE_KEEPALIVE_EACH_S,
		  count = SIDE_KEEPALIVE_COUNT;

	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &each, sizeof(each)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count)) < 0)
		return -errno;
	return 0;
}
