/* h2text.h: messages of HTTP/2 as text of HTTP/1.1, and back (RFC 9113, 8; RFC 8441).
 *
 * Inside the proxy every message has the form of HTTP/1.1, so that one strict parser (http1.h) judges what it means. A
 * block of fields that came over HTTP/2 is checked by this module's own rules, which do not lean on nghttp2's, and written
 * as a head; what goes out over HTTP/2 is taken from a parsed head.
 *
 * Refused: pseudo-fields that are unknown, repeated, missing, empty, of the other direction or after another field; names
 * with capitals or that are no tokens; control bytes, white space around a value; fields of a connection; a `te` other than
 * `trailers`; a scheme other than https; a path that does not begin with a slash; status 101; an extended CONNECT
 * other than for a WebSocket. Cookies are joined. A `host` that is not `:authority` becomes a second Host, which http1.h
 * refuses. A block that is too long is cut off behind HTTP1_HEAD_MAX bytes: http1.h then says that.
 *
 * No I/O, no clock.
 */
#ifndef H2TEXT_H
#define H2TEXT_H

#include "buf.h"
#include "http1.h"

#include <nghttp2/nghttp2.h>

#define H2TEXT_MAX     (HTTP1_HEAD_MAX + 1024) /* bytes of a head as it is written */
#define H2TEXT_KEY_LEN 24                      /* of a Sec-WebSocket-Key */
#define H2TEXT_NV_MAX  (HTTP1_FIELDS_MAX + 8)

enum h2text_kind { H2TEXT_REQUEST = 0, H2TEXT_RESPONSE, H2TEXT_TRAILERS };

enum h2text_pseudo {
	H2TEXT_METHOD = 0,
	H2TEXT_SCHEME,
	H2TEXT_AUTHORITY,
	H2TEXT_PATH,
	H2TEXT_PROTOCOL,
	H2TEXT_STATUS,
	H2TEXT_PSEUDOS,
};

/* One block of fields on its way in. */
struct h2text {
	enum h2text_kind kind;
	struct buf pseudo, fields, cookies;
	struct {
		uint32_t at, len;
	} of[H2TEXT_PSEUDOS]; /* in `pseudo` */
	uint32_t seen;        /* 1 << enum h2text_pseudo */
	bool regular;         /* an ordinary field has come */
	bool bad, too_long;
	bool length, host,
		may_trail; /* content-length; a host field; trailers are likely: application/grpc, trailer */
	size_t length_at, length_len; /* of the content-length line in `fields` */
	size_t host_at, host_len;     /* of the host line in `fields` */
};

/* What the head says of what follows it. */
enum h2text_body {
	H2TEXT_BODY_NONE = 0,
	H2TEXT_BODY_COUNTED,
	H2TEXT_BODY_CHUNKED,
	H2TEXT_BODY_RAW /* a WebSocket */
};

void h2text_init(struct h2text *t);
void h2text_done(struct h2text *t); /* gives the memory back; may be used again */
/* A new block. */
void h2text_begin(struct h2text *t, enum h2text_kind kind);
/* -EBADMSG: the message is malformed, and stays so; -ENOMEM. */
int h2text_field(struct h2text *t, struct http1_slice name, struct http1_slice value) must_check;
/* The block is complete: its text is added to `to`. last: no body follows. head: it answers a HEAD. key: for a WebSocket's
 * handshake, H2TEXT_KEY_LEN characters. -EBADMSG, -ENOBUFS. Of trailers the fields alone are written. */
int h2text_end(struct h2text *t, bool last, bool head, const char *key, struct buf *to,
	       enum h2text_body *ret) must_check;
/* The method of a request. Good until the next block. */
struct http1_slice h2text_method(const struct h2text *t);

/* The fields of a parsed head, for nghttp2. Names are put in lower case where they stand: `at` is the text that the head's
 * slices point into. secret: nothing of it may stay in a compression table. Returns how many; slices live as the text does,
 * `status` is the caller's memory. websocket: a 101 becomes a 200. */
size_t h2text_request(const struct http1_head *h, const struct http1_meaning *m, bool secret,
		      nghttp2_nv nv[H2TEXT_NV_MAX]);
size_t h2text_response(const struct http1_head *h, const struct http1_meaning *m, char status[4],
		       nghttp2_nv nv[H2TEXT_NV_MAX]);
size_t h2text_trailers(const struct http1_head *h, nghttp2_nv nv[H2TEXT_NV_MAX]);

/* Is it a message of gRPC: by its content-type. */
bool h2text_grpc(const struct http1_head *h);

#endif
