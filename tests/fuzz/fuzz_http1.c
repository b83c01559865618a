/* A head in two pieces gives what it gives whole, and what is accepted can be written and read again.
 * Input: one byte kind and one byte split, then the head. */
#include "http1.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef enum http1_result parse_fn(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h);
static parse_fn *const kinds[] = {http1_request, http1_response, http1_trailers};

static int mean(size_t kind, const struct http1_head *h, struct http1_meaning *m)
{
	if (kind == 0)
		return http1_request_meaning(h, m);
	return kind == 1 ? http1_response_meaning(h, (struct http1_slice){"GET", 3}, true, m) : -1;
}

static void again(size_t kind, const struct http1_head *h)
{
	static char out[2 * HTTP1_HEAD_MAX];
	static struct http1_head back;
	struct http1_meaning m, m2;
	struct http1_scan s = {0};
	struct wr w = wr_of(out, sizeof(out));
	struct http1_out how = {.head = h, .meaning = &m};

	if (mean(kind, h, &m) < 0)
		return;
	how.framing = m.framing;
	how.length = m.length;
	if ((kind ? http1_write_response(&w, &how) : http1_write_request(&w, &how)) < 0)
		return;
	assert(w.len <= HTTP1_HEAD_MAX + 1024);
	if (w.len > HTTP1_HEAD_MAX || h->field_count + 2 > HTTP1_FIELDS_MAX)
		return;
	assert(kinds[kind](&s, out, w.len, &back) == HTTP1_DONE && back.raw.len == w.len);
	assert(mean(kind, &back, &m2) == 0 && m2.framing == m.framing && m2.length == m.length);
	assert(kind || (strcmp(m.host, m2.host) == 0 && m.target.len <= m2.target.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http1_head a, b;
	struct http1_scan whole = {0}, parts = {0};
	enum http1_result one, two;
	size_t kind, cut;

	if (size < 2)
		return 0;
	kind = data[0] % 3;
	cut = data[1] * (size - 2) / 255;
	one = kinds[kind](&whole, (const char *)data + 2, size - 2, &a);
	two = kinds[kind](&parts, (const char *)data + 2, cut, &b);
	if (two == HTTP1_MORE)
		two = kinds[kind](&parts, (const char *)data + 2, size - 2, &b);
	assert(one == two && (one != HTTP1_BAD || a.bad == b.bad));
	if (one == HTTP1_DONE)
		again(kind, &a);
	return 0;
}
