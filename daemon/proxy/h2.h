/* h2.h: one HTTP/2 connection and its streams (RFC 9113), over nghttp2, without a socket.
 *
 * Bytes from the peer go in with h2_feed(), frames for it come out with h2_drain(). A stream is one exchange's side
 * (side.h, h2_via): what is read from it is the message as text of HTTP/1.1 (h2text.h), and what is written to it is such
 * text. So no exchange knows whether it runs over HTTP/2.
 *
 * Bounds, each of which ends the connection with ENHANCE_YOUR_CALM or the stream with FLOW_CONTROL_ERROR: a block of fields
 * over H2_BLOCK_MAX bytes or H2_CONTINUATIONS frames; streams that end early, and frames that bring nothing (PING,
 * SETTINGS, PRIORITY, empty DATA), more than their allowance. Memory: per stream the window and a head in,
 * the owner's buffer out; what waits to be written stays with the streams until there is room.
 *
 * Values: a session of kind H2_CLIENT wipes all memory that nghttp2 gives back. Fields of a request whose side's `out` is
 * marked `wipe` enter no compression table, and each frame is wiped where nghttp2 made it as soon as it is copied.
 */
#ifndef H2_H
#define H2_H

#include "h2text.h"
#include "side.h"

#define H2_STREAMS_MAX 100 /* at a time, on one connection */
#define H2_SERVER_WINDOW                                                                           \
	(128u * 1024) /* bytes of a body that a stream takes in before they are read */
#define H2_CLIENT_WINDOW (256u * 1024)
#define H2_BLOCK_MAX     (HTTP1_HEAD_MAX + 16384) /* bytes of one encoded block of fields */
#define H2_CONTINUATIONS 16
#define H2_RESETS_BURST  500 /* streams that end before their response has */
#define H2_RESETS_PER_S  50
#define H2_IDLE_BURST    5000 /* frames that bring nothing */
#define H2_IDLE_PER_S    1000

enum h2_kind { H2_SERVER = 0, H2_CLIENT };

struct h2;
struct h2_stream;

/* What the owner of a connection is told. Never from within h2_via's functions, but for `dirty`. */
struct h2_owner {
	/* H2_SERVER: a request has begun: h2_stream_use() it. Negative: no room; it is refused as not looked at. */
	int (*opened)(void *ctx, struct h2_stream *s);
	/* H2_SERVER: a stream was malformed and has been reset. */
	void (*malformed)(void *ctx);
	/* There is something to drain, or someone to wake. Once until h2_drain() has been called. */
	void (*dirty)(void *ctx);
};

/* For the user of a stream. `out`: the buffer of its side that h2_via writes from; it must live until the side lets go.
 * gone: the peer ended it before the response was complete; the user should let go. wake: look at the side again. */
struct h2_user {
	void (*wake)(void *user);
	void (*gone)(void *user);
};

int h2_new(enum h2_kind kind, const struct h2_owner *owner, void *ctx, struct http1_head *scratch,
	   bool websocket, struct h2 **ret) must_check;
/* H2_SERVER: users are told that their streams are gone. H2_CLIENT: streams in use read as reset from then on. */
struct h2 *h2_free(struct h2 *h);

/* Negative: the connection is broken, and h2_drain() still has what the peer should be told. */
int h2_feed(struct h2 *h, const uint8_t *p, size_t n, uint64_t now_ms) must_check;
/* Adds frames to `to` until it holds `full` or there are none. Negative: broken. */
int h2_drain(struct h2 *h, struct buf *to, size_t full) must_check;
/* Tells the users of streams where something happened. */
void h2_wake(struct h2 *h);
/* No more streams; GOAWAY. calm: the peer asked for too much. */
void h2_goaway(struct h2 *h, bool calm);
/* It is of no more use once it has been drained: either side has ended it. */
bool h2_over(const struct h2 *h);
/* A block of fields has begun and is not complete. */
bool h2_in_block(const struct h2 *h);
uint32_t h2_streams(const struct h2 *h); /* in use */

/* H2_CLIENT: may another stream be opened? */
bool h2_room(const struct h2 *h);
int h2_open(struct h2 *h, struct h2_stream **ret) must_check;
/* The stream's user, once. */
void h2_stream_use(struct h2_stream *s, const struct h2_user *fns, void *user, struct buf *out);
/* Nothing says that it will not work. */
bool h2_stream_alive(const struct h2_stream *s);

extern const struct side_via h2_via;

/* Connections that want to be flushed before the turn of the loop ends. */
struct h2_due {
	struct h2_due *next;
	bool listed;
	void (*flush)(struct h2_due *d); /* may put it on the list again */
};

struct h2_dues {
	struct h2_due *first, *last;
};

void h2_due_add(struct h2_dues *l, struct h2_due *d);
void h2_due_drop(struct h2_dues *l, struct h2_due *d);
/* Those that are on it now. */
void h2_dues_run(struct h2_dues *l);

#endif
