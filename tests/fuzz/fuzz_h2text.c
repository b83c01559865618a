/* Whatever fields a block of HTTP/2 has, what is made of it is one head of HTTP/1.1, or a refusal: nothing in a name or a value
 * becomes a line, a field or a message of its own. First byte: what kind of block; then fields, each a name and a value with
 * their lengths before them. A length's high bit stands for one of the usual names. */
#include "h2text.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const usual[] = {":method",   ":scheme", ":authority",        ":path",
				    ":protocol", ":status", "content-length",    "host",
				    "cookie",    "te",      "trailer",           "connection",
				    "x-a",       "expect",  "transfer-encoding", "content-type"};

static struct http1_slice take_slice(const uint8_t **p, size_t *left, bool name)
{
	struct http1_slice s = {"", 0};
	size_t n = *left ? (*p)[0] : 0;

	if (*left == 0)
		return s;
	++*p;
	--*left;
	if (name && n & 128)
		return (struct http1_slice){usual[n % 16], strlen(usual[n % 16])};
	s.len = n % 128 < *left ? n % 128 : *left;
	s.p = (const char *)*p;
	*p += s.len;
	*left -= s.len;
	return s;
}

static uint32_t feed(struct h2text *t, const uint8_t *data, size_t size, int *rc)
{
	uint32_t n = 0;

	while (size > 0 && *rc == 0) {
		struct http1_slice name = take_slice(&data, &size, true),
				   value = take_slice(&data, &size, false);

		*rc = h2text_field(t, name, value);
		n++;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http1_head h;
	enum h2text_kind kind;
	enum h2text_body body;
	struct http1_scan s = {0};
	enum http1_result got;
	struct h2text t;
	struct buf to;
	uint32_t fields;
	int rc = 0;

	if (size < 1)
		return 0;
	kind = (enum h2text_kind)(data[0] % 3);
	buf_init(&to, 4 * H2TEXT_MAX);
	h2text_init(&t);
	h2text_begin(&t, kind);
	fields = feed(&t, data + 1, size - 1, &rc);
	if (rc == 0)
		rc = h2text_end(&t, data[0] & 8, data[0] & 16, "dGhlIHNhbXBsZSBub25jZQ==", &to,
				&body);
	if (rc == 0 && kind == H2TEXT_TRAILERS) { /* the fields alone are written */
		if (buf_len(&to) == 0 ||
		    memcmp(buf_bytes(&to) + buf_len(&to) - 4, "\r\n\r\n", 4) != 0)
			assert(buf_add(&to, "\r\n", 2) == 0);
		got = http1_trailers(&s, (const char *)buf_bytes(&to), buf_len(&to), &h);
		assert(got == HTTP1_BAD ||
		       (got == HTTP1_DONE && h.raw.len == buf_len(&to) && h.field_count <= fields));
	} else if (rc == 0) {
		got = kind == H2TEXT_REQUEST
			      ? http1_request(&s, (const char *)buf_bytes(&to), buf_len(&to), &h)
			      : http1_response(&s, (const char *)buf_bytes(&to), buf_len(&to), &h);
		assert(got == HTTP1_BAD || (got == HTTP1_DONE && h.raw.len == buf_len(&to)));
		assert(got == HTTP1_BAD || h.field_count <= fields + 8);
	}
	h2text_done(&t);
	buf_done(&to);
	return 0;
}
