/* Any request that is accepted can be scanned and filled, and what is written is one request with as many
 * fields: no value adds one. The first byte gives the value's length; the value is the input's beginning. */
#include "inject.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(const struct http1_head *h, const struct http1_meaning *m, const struct inject_scan *found,
		 const struct inject_value *values)
{
	static char out[4 * HTTP1_HEAD_MAX];
	static struct http1_head back;
	struct inject_fill f = {.head = h, .meaning = m, .scan = found, .values = values};
	struct http1_out how = {.head = h, .meaning = m, .framing = m->framing, .length = m->length,
				.replace = inject_replace, .ctx = &f};
	struct wr w = wr_of(out, sizeof(out));
	struct http1_scan s = {0};
	uint32_t kept = 0;

	if (http1_write_request(&w, &how) < 0 || w.len > HTTP1_HEAD_MAX)
		return;
	for (uint32_t i = 0; i < h->field_count; i++)
		kept += !http1_is_hop(m, i);
	kept += http1_find(h, HTTP1_HOST, 0) == h->field_count;
	if (kept > HTTP1_FIELDS_MAX)
		return;
	assert(http1_request(&s, out, w.len, &back) == HTTP1_DONE && back.raw.len == w.len);
	assert(back.field_count == kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http1_head h;
	struct inject_value values[INJECT_MAX];
	struct http1_meaning m;
	struct http1_scan s = {0};
	struct inject_scan found;
	size_t len;

	if (size < 2)
		return 0;
	len = data[0] % 32 < size - 1 ? data[0] % 32 : size - 1;
	for (size_t i = 0; i < INJECT_MAX; i++)
		values[i] = (struct inject_value){data + 1, len};
	data += 1 + len;
	size -= 1 + len;
	if (http1_request(&s, (const char *)data, size, &h) != HTTP1_DONE || http1_request_meaning(&h, &m) < 0)
		return 0;
	if (inject_scan(&h, &m, &found) == 0)
		fill(&h, &m, &found, values);
	return 0;
}
