/* However a text is cut, a value in it is seen, and one that is not there is not; a head with any bytes can be searched.
 * The first byte is the pieces' length, the second the value's; the value is the input's beginning. */
#include "foreign.h"
#include "literal.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void heads(const struct prints *p, const char *text, size_t len)
{
	static struct http1_head h;
	struct http1_scan s = {0};
	struct http1_meaning m;
	struct inject_scan found;

	if (http1_request(&s, text, len, &h) != HTTP1_DONE || http1_request_meaning(&h, &m) < 0)
		return;
	(void)literal_in_head(p, &h, &m);
	if (inject_scan(&h, &m, NULL, &found) == 0)
		(void)foreign_find(&h, &m, &found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t set[PRINTS_KEY + sizeof(struct prints_item)] = "a key of sixteen";
	struct prints_item item;
	struct prints_text t = {0};
	struct prints *p = NULL;
	size_t step, len, at = 0;
	bool there = false;

	if (size < 2)
		return 0;
	step = data[0] + 1u;
	len = PRINTS_MIN + data[1] % 64;
	data += 2;
	size -= 2;
	if (size < len)
		return 0;
	item = prints_of(set, data, len);
	memcpy(set + PRINTS_KEY, &item, sizeof(item));
	assert(prints_new(set, sizeof(set), &p) == 0 && p);
	assert(prints_find(p, data, size));
	there = memmem(data + len, size - len, data, len) != NULL;
	assert(prints_find(p, data + len, size - len) == there);
	for (bool found = false; at < size - len && !found; at += step) {
		size_t n = size - len - at < step ? size - len - at : step;

		found = prints_next(p, &t, data + len + at, n);
		assert(!found || there);
		there = there && !found;
	}
	assert(!there);
	prints_text_done(&t);
	heads(p, (const char *)data, size);
	prints_free(p);
	return 0;
}
