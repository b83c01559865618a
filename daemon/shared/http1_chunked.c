/* http1_chunked.c: chunked bodies (RFC 9112, 7.1): a machine over bytes that hands out slices of payload and keeps no
 * byte; see http1.h. */
#include "http1_in.h"

enum chunk_state {
	CHUNK_SIZE = 0,
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_LAST, /* the size line of the last chunk was read */
	CHUNK_BAD,
};

static int hex_of(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool chunk_size_byte(struct http1_chunked *c, char b)
{
	int v = hex_of(b);

	if (v < 0) {
		c->state = b == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT;
		return c->digits > 0 && (b == '\r' || b == ';');
	}
	if (c->digits == 16 || c->left > (uint64_t)INT64_MAX >> 4)
		return false;
	c->left = c->left << 4 | (uint64_t)v;
	c->digits++;
	return true;
}

static bool chunk_ext_byte(struct http1_chunked *c, char b)
{
	if (b == '\r') {
		c->state = CHUNK_SIZE_LF;
		return true;
	}
	return !is_ctl((unsigned char)b) && (unsigned char)b < 0x80 && ++c->ext <= HTTP1_CHUNK_EXT_MAX &&
	       ++c->ext_total <= HTTP1_CHUNK_EXT_TOTAL;
}

/* One byte that is not payload. */
static bool chunk_byte(struct http1_chunked *c, char b)
{
	switch (c->state) {
	case CHUNK_SIZE:
		return chunk_size_byte(c, b);
	case CHUNK_EXT:
		return chunk_ext_byte(c, b);
	case CHUNK_SIZE_LF:
		c->state = c->left ? CHUNK_DATA : CHUNK_LAST;
		return b == '\n';
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return b == '\r';
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->digits = 0;
		c->ext = 0;
		return b == '\n';
	default:
		return false;
	}
}

static struct http1_slice chunk_data(struct http1_chunked *c, const char *in, size_t len)
{
	size_t n = len < c->left ? len : (size_t)c->left;

	c->left -= n;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	return slice(in, n);
}

enum http1_result http1_chunked(struct http1_chunked *c, const char *in, size_t len, size_t *used,
				struct http1_slice *data)
{
	size_t i = 0;

	*used = 0;
	*data = slice(NULL, 0);
	while (i < len && c->state != CHUNK_LAST) {
		if (c->state == CHUNK_DATA) {
			*data = chunk_data(c, in + i, len - i);
			*used = i + data->len;
			return HTTP1_DATA;
		}
		if (!chunk_byte(c, in[i])) {
			c->state = CHUNK_BAD;
			c->bad = HTTP1_BAD_CHUNK;
			break;
		}
		i++;
	}
	*used = i;
	if (c->state == CHUNK_BAD)
		return HTTP1_BAD;
	return c->state == CHUNK_LAST ? HTTP1_DONE : HTTP1_MORE;
}
