/* http1.h: HTTP/1.x heads, bodies and what they mean, strictly (RFC 9110, RFC 9112).
 *
 * Two steps. Syntax: http1_request() and http1_response() look at the bytes that have arrived so far and
 * answer BAD, MORE or DONE. Meaning: http1_request_meaning() and http1_response_meaning() then say how
 * the body is framed, who is asked and what must not be forwarded, or refuse. What goes out is written
 * from what was parsed, by the http1_write_*() functions.
 *
 * Refused and never repaired: bare LF or CR, folding, control bytes, space before the colon, names that
 * are no tokens, versions other than 1.0 and 1.1, a second Host, Content-Length or Transfer-Encoding,
 * the two together, codings other than "chunked", empty lines before the request, user info in targets.
 *
 * Pure: no I/O, no clock, no allocation. Slices point into the caller's buffer and live as long as its
 * bytes stay where they are.
 */
#ifndef HTTP1_H
#define HTTP1_H

#include "rpc.h"
#include "wr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP1_HEAD_MAX 65536	/* bytes of a head, with its last CRLF */
#define HTTP1_TRAILER_MAX 8192	/* bytes of a trailer section, with its last CRLF */
#define HTTP1_FIELDS_MAX 128
#define HTTP1_METHOD_MAX 31	/* as in a rule */
#define HTTP1_NAME_MAX 256	/* bytes of a field name */
#define HTTP1_CHUNK_EXT_MAX 256 /* bytes of extensions on one chunk-size line */
#define HTTP1_CHUNK_EXT_TOTAL 4096 /* of one body */

enum http1_result {
	HTTP1_BAD = 0, /* and it stays so: close */
	HTTP1_MORE,    /* good so far */
	HTTP1_DONE,
	HTTP1_DATA,    /* http1_chunked() only: here is a piece of the body */
};

#define HTTP1_BADS(X)                                                                              \
	X(NONE, "none")                                                                            \
	X(BARE_LF, "bare_lf")                                                                      \
	X(BARE_CR, "bare_cr")                                                                      \
	X(BYTE, "control_byte")                                                                    \
	X(TOO_LONG, "head_too_long")                                                               \
	X(TOO_MANY, "too_many_fields")                                                             \
	X(EMPTY_LINE, "empty_first_line")                                                          \
	X(METHOD, "bad_method")                                                                    \
	X(TARGET, "bad_target")                                                                    \
	X(VERSION, "bad_version")                                                                  \
	X(STATUS, "bad_status_line")                                                               \
	X(FOLD, "folded_field")                                                                    \
	X(NAME, "bad_field_name")                                                                  \
	X(NO_COLON, "field_without_colon")                                                         \
	X(HOST_MISSING, "host_missing")                                                            \
	X(HOST_TWICE, "host_repeated")                                                             \
	X(HOST, "bad_host")                                                                        \
	X(HOST_DIFFERS, "host_differs_from_target")                                                \
	X(LENGTH, "bad_content_length")                                                            \
	X(LENGTH_TWICE, "content_length_repeated")                                                 \
	X(CODING, "bad_transfer_encoding")                                                         \
	X(FRAMING, "conflicting_framing")                                                          \
	X(CONNECTION, "bad_connection_field")                                                      \
	X(EXPECT, "bad_expect")                                                                    \
	X(UPGRADE, "bad_upgrade")                                                                  \
	X(CHUNK, "bad_chunk")                                                                      \
	X(TRAILER, "bad_trailer")

enum http1_bad {
#define X(name, word) HTTP1_BAD_##name,
	HTTP1_BADS(X)
#undef X
		HTTP1_BAD_COUNT
};
const char *http1_bad_word(enum http1_bad bad); /* "internal_error" for a number that is none */

struct http1_slice {
	const char *p;
	size_t len;
};

/* Field names that we know; anything else is OTHER. */
#define HTTP1_NAMES(X)                                                                             \
	X(ACCEPT_ENCODING, "accept-encoding")                                                      \
	X(AUTHORIZATION, "authorization")                                                          \
	X(CONNECTION, "connection")                                                                \
	X(CONTENT_ENCODING, "content-encoding")                                                    \
	X(CONTENT_LENGTH, "content-length")                                                        \
	X(CONTENT_RANGE, "content-range")                                                          \
	X(CONTENT_TYPE, "content-type")                                                            \
	X(COOKIE, "cookie")                                                                        \
	X(EXPECT, "expect")                                                                        \
	X(HOST, "host")                                                                            \
	X(HTTP2_SETTINGS, "http2-settings")                                                        \
	X(KEEP_ALIVE, "keep-alive")                                                                \
	X(PROXY_AUTHORIZATION, "proxy-authorization")                                              \
	X(PROXY_STATUS, "proxy-status")                                                            \
	X(RANGE, "range")                                                                          \
	X(SET_COOKIE, "set-cookie")                                                                \
	X(TE, "te")                                                                                \
	X(TRAILER, "trailer")                                                                      \
	X(TRANSFER_ENCODING, "transfer-encoding")                                                  \
	X(UPGRADE, "upgrade")

enum http1_id {
	HTTP1_OTHER = 0,
#define X(name, word) HTTP1_##name,
	HTTP1_NAMES(X)
#undef X
		HTTP1_PROXY_ANY, /* any other "proxy-" name */
	HTTP1_XAS,		 /* any "x-as-" name */
};

struct http1_field {
	struct http1_slice name, value; /* as they came; value without the white space around it */
	enum http1_id id;
};

enum http1_form { HTTP1_ORIGIN = 1, HTTP1_ABSOLUTE, HTTP1_AUTHORITY, HTTP1_ASTERISK };

/* A head. Only good after DONE; after BAD only `bad` is. About 5 KiB: keep one per worker, not one per
 * idle connection; parsing again from the same bytes gives the same head. */
struct http1_head {
	enum http1_bad bad;
	struct http1_slice raw; /* the whole head; raw.len = bytes used */
	uint8_t minor;		/* HTTP/1.<minor> */
	struct http1_slice method, target; /* of a request */
	enum http1_form form;
	int status;			   /* of a response, 100..999 */
	struct http1_slice phrase;	   /* may be empty */
	uint32_t field_count;
	struct http1_field fields[HTTP1_FIELDS_MAX];
};

/* How far a head has been looked at; zero-initialise it for every new head. */
struct http1_scan {
	uint32_t at;
	uint8_t state, bad;
};

/* Looks at buf[0..len), which starts with the head's first byte and holds what the last call saw and
 * what came after. buf may have moved between calls. The same bytes give the same answer however they
 * were cut; the cost is linear. DONE: h->raw.len bytes were the head, what follows is body. */
enum http1_result http1_request(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h) must_check;
enum http1_result http1_response(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h) must_check;

/* ---- meaning ---- */
enum http1_framing {
	HTTP1_FRAMING_NONE = 0, /* no body */
	HTTP1_FRAMING_LENGTH,	/* `length` bytes, may be 0 */
	HTTP1_FRAMING_CHUNKED,
	HTTP1_FRAMING_CLOSE,	/* responses only: until the connection ends */
};

enum http1_scheme { HTTP1_SCHEME_NONE = 0, HTTP1_SCHEME_HTTP, HTTP1_SCHEME_HTTPS };

struct http1_meaning {
	enum http1_bad bad; /* why it was refused */
	enum http1_framing framing;
	uint64_t length;    /* of the body (LENGTH) */
	bool keep_alive;    /* this side's connection may carry another message after this one */
	bool expect_continue;
	bool websocket;	    /* request: asks for it, properly; response: 101 that grants it */
	/* Fields that are not forwarded: bit i is fields[i]. */
	uint64_t hop[HTTP1_FIELDS_MAX / 64];
	/* requests */
	char host[RPC_HOST_MAX]; /* lower case; an address in origin_text() form without brackets; ""
				  * only for HTTP/1.0 without Host. Single labels may be in it. */
	bool address;		 /* host is an address */
	uint16_t port;		 /* as given in Host or target; 0: not given */
	enum http1_scheme scheme; /* of an absolute-form target */
	struct http1_slice target; /* origin-form: path and query; "*"; empty for CONNECT */
	struct http1_slice path, query; /* of target; query without '?', p NULL when there is none */
};

static inline bool http1_is_hop(const struct http1_meaning *m, uint32_t field)
{
	return m->hop[field / 64] >> (field % 64) & 1;
}

/* 0, or -EBADMSG with m->bad set and the rest of m zero. */
int http1_request_meaning(const struct http1_head *h, struct http1_meaning *m) must_check;

/* The same for a response to a request of this method. 1xx other than 101 are interim: NONE, another
 * head follows. websocket_asked: a 101 is refused without it. */
int http1_response_meaning(const struct http1_head *h, struct http1_slice method, bool websocket_asked,
			   struct http1_meaning *m) must_check;

/* ---- small questions ---- */
bool http1_is(struct http1_slice s, const char *lower);	 /* equal, ASCII letters of s in any case */
bool http1_eq(struct http1_slice s, const char *exact);	 /* equal, byte for byte */
bool http1_token(struct http1_slice s);			 /* RFC 9110 token, not empty */
/* Index of the first field of that id at or after `from`, or field_count. */
uint32_t http1_find(const struct http1_head *h, enum http1_id id, uint32_t from);

/* host[:port] as in Host and CONNECT: names as hello_host_ok(); strict dotted
 * quads; bracketed IPv6 without zone. No user info, no empty port, no final dot, no port 0. */
int http1_authority(struct http1_slice s, char host[RPC_HOST_MAX], bool *address, uint16_t *port) must_check;

/* http:// or https:// URL: no user info, no fragment, visible ASCII only. target is "/…" or "?…" as it
 * stands in the URL; for "" and "?…" the path is "/". */
struct http1_url {
	enum http1_scheme scheme;
	char host[RPC_HOST_MAX];
	bool address;
	uint16_t port;	 /* never 0: the scheme's default when not given */
	bool port_given;
	struct http1_slice target;	/* path and query as they stand; may be empty or begin with '?' */
	struct http1_slice path, query; /* path is "/" when empty; query.p NULL when there is none */
};
int http1_url(struct http1_slice s, struct http1_url *u) must_check;

/* ---- chunked bodies ---- */
/* Zero-initialised by the caller for each body. */
struct http1_chunked {
	uint64_t left;	/* of the chunk */
	uint32_t ext, ext_total;
	uint8_t state, digits;
	uint8_t bad;	/* enum http1_bad */
};

/* Eats in[0..len). *used is always set. DATA: *data is a piece of the body inside `in`; call again with
 * what follows. MORE: all was used. DONE: the last chunk's line was read; what follows is the trailer
 * section, for http1_trailers(). Extensions are checked and dropped. */
enum http1_result http1_chunked(struct http1_chunked *c, const char *in, size_t len, size_t *used,
				struct http1_slice *data) must_check;

/* The trailer section, as http1_request(): nothing is used before DONE (h->raw.len bytes then; 2 when
 * there are no fields). Fields that frame, route or authenticate are refused. */
enum http1_result http1_trailers(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h) must_check;

/* ---- writing ---- */
enum http1_op { HTTP1_DROP = 1, HTTP1_VALUE, HTTP1_ADD };

struct http1_edit {
	enum http1_op op;
	uint32_t field;		 /* DROP, VALUE; ADD without a value: what `replace` is asked for */
	struct http1_slice name; /* ADD */
	struct http1_slice value; /* VALUE, ADD; ADD with p NULL: `replace` writes it */
};

#define HTTP1_TARGET UINT32_MAX
/* Writes the value of a field (or, for HTTP1_TARGET, the target) into w: 1 when it did, 0 to have the
 * original written, negative errno to give up. Whatever it wrote is checked for control bytes. */
typedef int http1_replace_fn(void *ctx, uint32_t field, struct wr *w);

struct http1_out {
	const struct http1_head *head;
	const struct http1_meaning *meaning;
	struct http1_slice method;     /* requests: instead of the head's; p NULL: the head's */
	struct http1_slice target;     /* requests: instead of meaning->target; p NULL: that */
	const struct http1_edit *edits; /* at most one per field; ADD in order, at the end */
	size_t edit_count;
	http1_replace_fn *replace;     /* NULL: none. Not asked about fields with an edit or those we write */
	void *ctx;
	/* How the body will be framed on this side. The same kind as in meaning: the field stays where it
	 * is. Another kind: the old fields go and a new one is added. NONE for a response to HEAD, or 304:
	 * Content-Length stays as it is. */
	enum http1_framing framing;
	uint64_t length;
	bool close; /* say "Connection: close" */
};

/* "METHOD target HTTP/1.1" and the fields. Order, case and bytes are kept, except: hop-by-hop fields go
 * (for a websocket Connection and Upgrade stay, as "Upgrade" and "websocket"). 0; -ENOBUFS when w is full;
 * -EINVAL when an edit would break the syntax; or what `replace` said. On failure w's bytes must not be
 * sent and w is full. */
int http1_write_request(struct wr *w, const struct http1_out *o) must_check;
/* "HTTP/1.1 status phrase" and the fields. */
int http1_write_response(struct wr *w, const struct http1_out *o) must_check;

#define HTTP1_CHUNK_HEAD_MAX 18 /* "ffffffffffffffff\r\n" */
/* A chunk's size line; its bytes and wr_str(w, "\r\n") follow. n > 0. */
void http1_write_chunk(struct wr *w, uint64_t n);
/* "0\r\n", the trailers (NULL: none), "\r\n". */
void http1_write_last_chunk(struct wr *w, const struct http1_head *trailers);

#endif
