/* side.h: one socket of a connection: its TLS, its two buffers, and what epoll is asked about it.
 *
 * Agents and upstreams are both sides. Nothing here knows HTTP. A side may also stand for something that has
 * no socket of its own, one stream of an HTTP/2 connection: then `via` says how it is read and written, and
 * epoll is not asked. Interest is computed by side_arm() from
 * what the caller wants and what the last read and write answered; less interest is asked for only when
 * an event came that nobody wanted, so that a request in steady state costs no epoll_ctl(2).
 */
#ifndef SIDE_H
#define SIDE_H

#include "buf.h"
#include "loop.h"
#include "tls.h"

/* How a side without a socket is read and written; as the functions of the same names below. */
struct side_via {
	enum tls_io (*read)(void *self, struct buf *to, size_t most, size_t *ret_n);
	enum tls_io (*write)(void *self, struct buf *out, size_t *ret_n);
	void (*finish)(void *self);
	bool (*pending)(const void *self);
	void (*done)(void *self); /* the side lets go of it */
};

struct side {
	const struct side_via *via; /* NULL: a socket */
	void *self;	     /* of via */
	int fd;		     /* owned; -1: none */
	struct tls *tls;     /* owned; NULL until it is known what is spoken */
	struct buf in, out;
	struct loop_key key;
	uint32_t armed;	     /* what epoll watches for */
	uint32_t fired;	     /* events of this step */
	bool watched;
	bool readable;	     /* worth a read */
	bool blocked;	     /* a write waits for EPOLLOUT */
	bool read_waits_out; /* a read waits for EPOLLOUT (TLS) */
	bool write_waits_in; /* a write waits for EPOLLIN (TLS) */
	bool hung_up;	     /* EPOLLHUP or EPOLLERR came: not watched any more, reads and writes tell */
	bool tell_end;	     /* wants to hear at once when the other end finishes sending */
	bool ended;	     /* the other end has finished sending */
};

void side_init(struct side *s, int fd, size_t in_max, size_t out_max);
/* One without a socket. */
void side_init_via(struct side *s, const struct side_via *via, void *self, size_t in_max, size_t out_max);
/* Closes and frees; safe twice. */
void side_done(struct side *s);
/* The same, and the other end sees a reset. */
void side_reset(struct side *s);

int side_watch(struct side *s, struct loop *l, struct loop_key key, uint32_t events) must_check;
/* Takes note of what epoll said. */
void side_event(struct side *s, struct loop *l, uint32_t events);
/* After each step: watch for what is needed. -errno: the side must be closed. */
int side_arm(struct side *s, struct loop *l, bool want_in) must_check;

enum tls_io side_handshake(struct side *s) must_check;
/* Reads at most `most` bytes onto the end of `to`. TLS_IN also when there is no room. */
enum tls_io side_read(struct side *s, struct buf *to, size_t most, size_t *ret_n) must_check;
/* Writes what is in `out`. TLS_OK: all of it is gone; *ret_n: how much went in any case. */
enum tls_io side_write(struct side *s, size_t *ret_n) must_check;

/* Nothing more will be written; reading goes on. */
void side_finish(struct side *s);
/* Is there something to read that epoll will not tell of? */
bool side_pending(const struct side *s);
/* After TLS_FAIL: a word for it. */
const char *side_why(const struct side *s);
/* TCP_NODELAY; keepalive after a minute's silence. */
int side_options(int fd) must_check;

#endif
