/* awschunk.c: see awschunk.h. */
#include "awschunk.h"

#include <string.h>

#define SIGNATURE         ";chunk-signature="
#define TRAILER_SIGNATURE "x-amz-trailer-signature:"
#define HEX_LEN           64

static bool hex_ok(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f') ||
		      (p[i] >= 'A' && p[i] <= 'F')))
			return false;
	return true;
}

static uint8_t digit(uint8_t c)
{
	return c <= '9' ? c - '0' : (uint8_t)((c | 0x20) - 'a' + 10);
}

/* Does p begin with `text`, as far as it goes; *at: behind it. MORE: what there is fits. */
static enum awschunk_result begins(const uint8_t *p, size_t len, size_t *at, const char *text)
{
	size_t n = strlen(text), have = len - *at < n ? len - *at : n;

	if (memcmp(p + *at, text, have) != 0)
		return AWSCHUNK_BAD;
	*at += have;
	return have == n ? AWSCHUNK_DATA : AWSCHUNK_MORE;
}

/* 64 hex digits and CRLF. */
static enum awschunk_result signature_end(const uint8_t *p, size_t len, size_t *at,
					  size_t *ret_signature)
{
	size_t have = len - *at < HEX_LEN ? len - *at : HEX_LEN;

	if (!hex_ok(p + *at, have))
		return AWSCHUNK_BAD;
	*ret_signature = *at;
	*at += have;
	return have < HEX_LEN ? AWSCHUNK_MORE : begins(p, len, at, "\r\n");
}

static enum awschunk_result chunk(const uint8_t *p, size_t len, bool trailer,
				  struct awschunk_frame *f)
{
	enum awschunk_result got;
	size_t at = 0, size = 0;

	while (at < len && at < 9 && hex_ok(p + at, 1))
		size = size << 4 | digit(p[at++]);
	if (at == 9 || size > AWSCHUNK_DATA_MAX)
		return AWSCHUNK_BAD;
	if (at == len)
		return AWSCHUNK_MORE;
	if (at == 0)
		return AWSCHUNK_BAD;
	got = begins(p, len, &at, SIGNATURE);
	if (got == AWSCHUNK_DATA)
		got = signature_end(p, len, &at, &f->signature);
	if (got != AWSCHUNK_DATA)
		return got;
	f->data = (struct http1_slice){(const char *)p + at, size};
	if (size > len - at)
		return AWSCHUNK_MORE;
	at += size;
	if (size > 0 || !trailer)
		got = begins(p, len, &at, "\r\n");
	f->used = at;
	return got == AWSCHUNK_DATA && size == 0 ? AWSCHUNK_LAST : got;
}

/* A line's length without its CRLF; MORE or BAD in *got otherwise. */
static size_t line_len(const uint8_t *p, size_t len, enum awschunk_result *got)
{
	const uint8_t *end = memchr(p, '\n', len);
	size_t n = end ? (size_t)(end - p) : len;

	*got = end ? AWSCHUNK_DATA : AWSCHUNK_MORE;
	if (end && (n == 0 || p[n - 1] != '\r'))
		*got = AWSCHUNK_BAD;
	for (size_t i = 0; i + 1 < n; i++)
		if (p[i] < 0x20 || p[i] > 0x7e)
			*got = AWSCHUNK_BAD;
	return end && n > 0 ? n - 1 : n;
}

static bool line_ok(const uint8_t *p, size_t len)
{
	const uint8_t *colon = memchr(p, ':', len);

	return colon && http1_token((struct http1_slice){(const char *)p, (size_t)(colon - p)});
}

static bool is_signature(const uint8_t *p, size_t len)
{
	size_t n = sizeof(TRAILER_SIGNATURE) - 1;

	return len >= n &&
	       http1_is((struct http1_slice){(const char *)p, n - 1}, "x-amz-trailer-signature") &&
	       p[n - 1] == ':';
}

static enum awschunk_result trailers(const uint8_t *p, size_t len, struct awschunk_frame *f)
{
	enum awschunk_result got;
	size_t at = 0, n;

	for (;;) {
		n = line_len(p + at, len - at, &got);
		if (at + n > AWSCHUNK_TRAILER_MAX)
			return AWSCHUNK_BAD;
		if (got != AWSCHUNK_DATA)
			return got;
		if (is_signature(p + at, n))
			break;
		if (!line_ok(p + at, n))
			return AWSCHUNK_BAD;
		at += n + 2;
	}
	f->data = (struct http1_slice){(const char *)p, at};
	at += sizeof(TRAILER_SIGNATURE) - 1;
	got = signature_end(p, len, &at, &f->signature);
	if (got == AWSCHUNK_DATA)
		got = begins(p, len, &at, "\r\n");
	f->used = at;
	return got == AWSCHUNK_DATA ? AWSCHUNK_TRAILER : got;
}

enum awschunk_result awschunk_next(const uint8_t *p, size_t len, bool trailer, bool last,
				   struct awschunk_frame *f)
{
	*f = (struct awschunk_frame){0};
	if (last && !trailer)
		return len ? AWSCHUNK_BAD : AWSCHUNK_MORE;
	return last ? trailers(p, len, f) : chunk(p, len, trailer, f);
}

void awschunk_trailers(struct http1_slice lines, struct wr *w)
{
	size_t at = 0;

	while (at < lines.len) {
		const char *p = lines.p + at;
		size_t n = (size_t)((const char *)memchr(p, '\r', lines.len - at) - p);
		size_t name = (size_t)((const char *)memchr(p, ':', n) - p), from = name + 1,
		       to = n;

		for (size_t i = 0; i < name; i++)
			wr_u8(w, (uint8_t)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] + 32 : p[i]));
		while (from < to && p[from] == ' ')
			from++;
		while (to > from && p[to - 1] == ' ')
			to--;
		wr_u8(w, ':');
		wr_bytes(w, p + from, to - from);
		wr_u8(w, '\n');
		at += n + 2;
	}
}
