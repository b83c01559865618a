/* Any split of the same bytes gives the same frames. */
#include "ws.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t through(const uint8_t *p, size_t size, size_t step, bool client, uint8_t *out, size_t cap)
{
	struct ws w = {.from_client = client};
	struct wr to = wr_of(out, cap);
	size_t used, n;

	for (size_t at = 0; at < size; at += step) {
		size_t left = size - at < step ? size - at : step;

		for (const uint8_t *q = p + at; left > 0; q += used, left -= used) {
			enum ws_result got = ws_read(&w, q, left, &used, &n);

			assert(used <= left && n <= used);
			if (got == WS_BAD)
				return to.len;
			if (got == WS_HEAD)
				ws_write_head(&to, &w.frame);
			if (got == WS_DATA)
				wr_bytes(&to, q + used - n, n);
		}
	}
	return to.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t a[65536], b[65536];
	size_t n;

	if (size < 2 || size > sizeof(a))
		return 0;
	n = through(data + 1, size - 1, size, data[0] & 1, a, sizeof(a));
	assert(n <= size && memcmp(a, data + 1, n) == 0);
	assert(through(data + 1, size - 1, 1 + (data[0] >> 1), data[0] & 1, b, sizeof(b)) == n && memcmp(a, b, n) == 0);
	return 0;
}
