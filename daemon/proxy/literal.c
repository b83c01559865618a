/* literal.c: see literal.h. A target is decoded in pieces, so that it takes no more of the stack than it must. */
#include "literal.h"

#include "inject.h"

#include <string.h>

#define PIECE 4096

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

static bool decoded(const struct prints *p, struct http1_slice s, char plus)
{
	struct prints_text t = {0};
	uint8_t piece[PIECE];
	bool found = false;
	size_t n = 0;

	for (size_t i = 0; i < s.len && !found; i++) {
		int hi = s.p[i] == '%' && s.len - i > 2 ? hex_of(s.p[i + 1]) : -1;
		int lo = hi < 0 ? -1 : hex_of(s.p[i + 2]);

		piece[n++] = lo >= 0         ? (uint8_t)(hi << 4 | lo)
			     : s.p[i] == '+' ? (uint8_t)plus
					     : (uint8_t)s.p[i];
		i += lo >= 0 ? 2 : 0;
		if (n == PIECE) {
			found = prints_next(p, &t, piece, n);
			n = 0;
		}
	}
	found = found || prints_next(p, &t, piece, n);
	prints_text_done(&t);
	explicit_bzero(piece, sizeof(piece));
	return found;
}

bool literal_in_url(const struct prints *p, struct http1_slice s)
{
	if (!p || !s.len)
		return false;
	if (prints_find(p, s.p, s.len))
		return true;
	if (memchr(s.p, '%', s.len) && decoded(p, s, '+'))
		return true;
	return memchr(s.p, '+', s.len) && decoded(p, s, ' ');
}

static bool in_basic(const struct prints *p, const struct http1_field *f)
{
	uint8_t plain[INJECT_BASIC_MAX];
	int n = inject_basic(f, plain);
	bool found = n > 0 && prints_find(p, plain, (size_t)n);

	explicit_bzero(plain, sizeof(plain));
	return found;
}

bool literal_in_head(const struct prints *p, const struct http1_head *h,
		     const struct http1_meaning *m)
{
	if (!p)
		return false;
	if (prints_find(p, h->raw.p, h->raw.len) || literal_in_url(p, m->target))
		return true;
	for (uint32_t i = http1_find(h, HTTP1_AUTHORIZATION, 0); i < h->field_count;
	     i = http1_find(h, HTTP1_AUTHORIZATION, i + 1))
		if (in_basic(p, &h->fields[i]))
			return true;
	return false;
}
