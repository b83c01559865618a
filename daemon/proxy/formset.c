/* formset.c: see formset.h. */
#include "formset.h"

#include <errno.h>

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of an escape at p, or -1. */
static int escape_at(const char *p, const char *end)
{
	int high, low;

	if (end - p < 3 || p[0] != '%')
		return -1;
	high = hex_of(p[1]);
	low = hex_of(p[2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int formset_unescape(struct http1_slice in, char *out, size_t cap)
{
	const char *p = in.p, *end = in.p + in.len;
	size_t n = 0;

	while (p < end) {
		int byte = *p == '%' ? escape_at(p, end) : (unsigned char)*p;

		if (byte < 0 || n == cap)
			return -EINVAL;
		out[n++] = (char)byte;
		p += *p == '%' ? 3 : 1;
	}
	return (int)n;
}

/* Is the written name, decoded, this one? */
static bool is_named(struct http1_slice written, struct http1_slice name)
{
	const char *p = written.p, *end = written.p + written.len;
	size_t n = 0;

	for (; p < end; n++) {
		int byte = escape_at(p, end);
		size_t used = byte < 0 ? 1 : 3;

		if (byte < 0)
			byte = *p == '+' ? ' ' : (unsigned char)*p;
		if (n == name.len || (unsigned char)name.p[n] != byte)
			return false;
		p += used;
	}
	return n == name.len;
}

/* RFC 3986's unreserved characters as they are. */
static void write_name(struct wr *w, struct http1_slice name)
{
	static const char hex[] = "0123456789ABCDEF";
	static const char plain[] =
		"-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.p[i];

		if (c && strchr(plain, c)) {
			wr_u8(w, c);
			continue;
		}
		wr_u8(w, '%');
		wr_u8(w, (uint8_t)hex[c >> 4]);
		wr_u8(w, (uint8_t)hex[c & 15]);
	}
}

/* One piece between two '&'. True: it is the parameter, and was written with its new value. */
static bool write_piece(struct wr *w, struct http1_slice piece, struct http1_slice name,
			struct http1_slice value)
{
	const char *eq = piece.len ? memchr(piece.p, '=', piece.len) : NULL;
	size_t n = eq ? (size_t)(eq - piece.p) : piece.len;

	if (piece.len == 0 || !is_named((struct http1_slice){piece.p, n}, name)) {
		wr_bytes(w, piece.p, piece.len);
		return false;
	}
	wr_bytes(w, piece.p, n);
	wr_str(w, "=");
	wr_bytes(w, value.p, value.len);
	return true;
}

int formset(struct http1_slice text, struct http1_slice name, struct http1_slice value,
	    struct wr *w)
{
	size_t at = 0, found = 0;

	while (at < text.len) {
		const char *amp = memchr(text.p + at, '&', text.len - at);
		size_t end = amp ? (size_t)(amp - text.p) : text.len;

		found += write_piece(w, (struct http1_slice){text.p + at, end - at}, name, value);
		if (amp)
			wr_str(w, "&");
		at = end + (amp != NULL);
	}
	if (found > 1)
		return -EEXIST;
	if (found == 0) {
		if (text.len > 0 && text.p[text.len - 1] != '&')
			wr_str(w, "&");
		write_name(w, name);
		wr_str(w, "=");
		wr_bytes(w, value.p, value.len);
	}
	return w->full ? -ENOBUFS : 0;
}
