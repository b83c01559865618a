/* body.c: see body.h. */
#include "body.h"

#include <stdio.h>
#include <string.h>

#define BODY_TELL_MAX 48

#define BODY_AT_ONCE BUF_UNIT /* bytes of chunks that are put into a sieve before it is asked */

void body_init(struct body *b, enum http1_framing from, uint64_t length, enum http1_framing to)
{
	*b = (struct body){.from = from, .to = to, .left = from == HTTP1_FRAMING_LENGTH ? length : 0};
	if (from == HTTP1_FRAMING_NONE || (from == HTTP1_FRAMING_LENGTH && length == 0))
		b->phase = BODY_DONE;
}

/* A piece of payload, framed for the other side. */
static int body_frame(struct body *b, const void *p, size_t n, struct buf *out)
{
	size_t need = n + HTTP1_CHUNK_HEAD_MAX + 2, room;
	uint8_t *to;
	struct wr w;

	if (b->watch && b->watch(b->watch_ctx, p, n))
		return -EACCES;
	b->bytes += n;
	if (b->to != HTTP1_FRAMING_CHUNKED)
		return buf_add(out, p, n);
	to = buf_room(out, need, &room);
	if (!to)
		return -ENOBUFS;
	w = wr_of(to, need);
	http1_write_chunk(&w, n);
	wr_bytes(&w, p, n);
	wr_str(&w, "\r\n");
	buf_added(out, w.len);
	return 0;
}

/* What is in the sieve, as far as `out` has room. 1: there may be more, or its end may be a bad one. */
static int body_sift(struct body *b, struct buf *out, size_t full)
{
	const uint8_t *p;
	size_t n;
	int rc = 0;

	while (rc == 0 && buf_len(out) < full) {
		rc = sieve_next(b->sieve, b->over, &p, &n);
		if (rc < 0 || n == 0)
			return rc;
		rc = body_frame(b, p, n, out);
		sieve_took(b->sieve);
	}
	return rc < 0 ? rc : 1;
}

static bool body_busy(const struct body *b)
{
	return b->sieve && sieve_busy(b->sieve);
}

/* Into the sieve alone, if there is one. */
static int body_put(struct body *b, const void *p, size_t n, struct buf *out)
{
	return b->sieve ? sieve_put(b->sieve, p, n) : body_frame(b, p, n, out);
}

/* One trailer more, before the line that ends them. */
static void body_tell(const struct body *b, struct wr *w)
{
	char text[BODY_TELL_MAX];

	w->len -= 2;
	(void)snprintf(text, sizeof(text), "X-AS-Redacted: %llu\r\n\r\n", (unsigned long long)(b->told + b->sieve->text.found));
	wr_str(w, text);
}

/* The end of a chunked body on the other side; trailers NULL: none. */
static int body_last(struct body *b, const struct http1_head *trailers, struct buf *out)
{
	size_t need = HTTP1_CHUNK_HEAD_MAX + (trailers ? trailers->raw.len + 4ULL * trailers->field_count : 0) +
		      BODY_TELL_MAX,
	       room;
	uint8_t *to;
	struct wr w;

	b->phase = BODY_DONE;
	if (b->to != HTTP1_FRAMING_CHUNKED)
		return 0;
	to = buf_room(out, need, &room);
	if (!to)
		return -ENOBUFS;
	w = wr_of(to, need);
	http1_write_last_chunk(&w, trailers);
	if (b->tell && !w.full)
		body_tell(b, &w);
	if (w.full)
		return -ENOBUFS;
	buf_added(out, w.len);
	return 0;
}

static int body_trailer(struct body *b, struct buf *in, struct buf *out, struct http1_head *scratch)
{
	size_t used;
	int rc;

	switch (http1_trailers(&b->trailer, (const char *)buf_bytes(in), buf_len(in), scratch)) {
	case HTTP1_DONE:
		used = scratch->raw.len;
		if (b->sieve)
			b->sieve->text.found += sieve_head(b->sieve->redact, scratch, buf_bytes(in));
		rc = body_last(b, scratch, out);
		buf_take(in, used);
		return rc;
	case HTTP1_MORE:
		return 0;
	default:
		return -EBADMSG;
	}
}

/* What waits in a sieve is looked through from where a find may begin: once for many small chunks, not for each. */
static int body_chunks(struct body *b, struct buf *in, struct buf *out, size_t full)
{
	size_t put = 0;

	while (buf_len(in) > 0 && buf_len(out) < full && put < BODY_AT_ONCE && !b->over) {
		struct http1_slice piece = {0};
		enum http1_result got;
		size_t used = 0;
		int rc = 0;

		got = http1_chunked(&b->chunk, (const char *)buf_bytes(in), buf_len(in), &used, &piece);
		if (got == HTTP1_DATA)
			rc = body_put(b, piece.p, piece.len, out);
		put += piece.len;
		buf_take(in, used);
		if (rc < 0)
			return rc;
		if (got == HTTP1_BAD)
			return -EBADMSG;
		b->over = got == HTTP1_DONE;
	}
	return 0;
}

static int body_chunked(struct body *b, struct buf *in, struct buf *out, size_t full)
{
	int rc = 0;

	while (rc == 0 && buf_len(in) > 0 && buf_len(out) < full && !b->over && !body_busy(b)) {
		rc = body_chunks(b, in, out, full);
		if (rc == 0 && b->sieve)
			rc = body_sift(b, out, full);
	}
	return rc < 0 ? rc : 0;
}

/* Again where a sieve has kept what there was room for: whoever reads an end next must find `in` empty. */
static int body_counted(struct body *b, struct buf *in, struct buf *out, size_t full)
{
	while (buf_len(in) > 0 && buf_len(out) < full && !b->over && !body_busy(b)) {
		size_t n = buf_len(in), room = full - buf_len(out);
		int rc;

		if (b->from == HTTP1_FRAMING_LENGTH && n > b->left)
			n = (size_t)b->left;
		if (n > room)
			n = room;
		rc = body_put(b, buf_bytes(in), n, out);
		if (rc == 0 && b->sieve)
			rc = body_sift(b, out, full);
		buf_take(in, n);
		if (rc < 0)
			return rc;
		if (b->from == HTTP1_FRAMING_LENGTH) {
			b->left -= n;
			b->over = b->left == 0;
		}
	}
	return 0;
}

/* All payload has come: what the sieve still has, then the end. */
static int body_over(struct body *b, struct buf *out, size_t full)
{
	int rc;

	if (b->sieve) {
		rc = body_sift(b, out, full);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	if (b->from != HTTP1_FRAMING_CHUNKED)
		return body_last(b, NULL, out);
	b->phase = BODY_TRAILER;
	return 0;
}

int body_move(struct body *b, struct buf *in, struct buf *out, size_t full, struct http1_head *scratch)
{
	int rc = 0;

	if (b->phase == BODY_DATA && body_busy(b))
		rc = body_sift(b, out, full);
	if (rc == 0 && b->phase == BODY_DATA && !b->over && !body_busy(b))
		rc = b->from == HTTP1_FRAMING_CHUNKED ? body_chunked(b, in, out, full)
						      : body_counted(b, in, out, full);
	if (rc == 0 && b->phase == BODY_DATA && b->over)
		rc = body_over(b, out, full);
	if (rc == 0 && b->phase == BODY_TRAILER && buf_len(in) > 0)
		rc = body_trailer(b, in, out, scratch);
	return rc < 0 ? rc : 0;
}

size_t body_straight(const struct body *b, const struct buf *in)
{
	if (b->phase != BODY_DATA || b->from != b->to || b->sieve || buf_len(in) > 0)
		return 0;
	if (b->from == HTTP1_FRAMING_CLOSE)
		return SIZE_MAX;
	return b->from == HTTP1_FRAMING_LENGTH ? b->left : 0;
}

void body_went(struct body *b, size_t n)
{
	b->bytes += n;
	if (b->from != HTTP1_FRAMING_LENGTH)
		return;
	b->left -= n;
	if (b->left == 0)
		b->phase = BODY_DONE;
}

int body_end(struct body *b, struct buf *out)
{
	if (b->phase == BODY_DONE)
		return 0;
	if (b->from != HTTP1_FRAMING_CLOSE)
		return -EPIPE;
	b->over = true;
	return body_over(b, out, out->max / 2);
}
