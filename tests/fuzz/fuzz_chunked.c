/* A body by pieces of some size gives the same payload and end as at once. First byte: the size. */
#include "http1.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct sum {
	enum http1_result res;
	size_t used, payload;
	uint32_t mix;
};

static struct sum eat(const char *p, size_t len, size_t step)
{
	struct http1_chunked c = {0};
	struct sum sum = {.res = HTTP1_MORE};

	while (sum.used < len && (sum.res == HTTP1_MORE || sum.res == HTTP1_DATA)) {
		size_t n = step < len - sum.used ? step : len - sum.used, used;
		struct http1_slice d;

		sum.res = http1_chunked(&c, p + sum.used, n, &used, &d);
		assert(used <= n && (sum.res == HTTP1_DATA) == (d.len > 0) && (sum.res != HTTP1_MORE || used == n));
		for (size_t i = 0; i < d.len; i++)
			sum.mix = sum.mix * 31 + (uint8_t)d.p[i];
		sum.payload += d.len;
		sum.used += used;
	}
	if (sum.res == HTTP1_DATA)
		sum.res = HTTP1_MORE;
	return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum a, b;

	if (size < 2)
		return 0;
	a = eat((const char *)data + 1, size - 1, size);
	b = eat((const char *)data + 1, size - 1, data[0] % 16 + 1);
	assert(a.res == b.res && a.used == b.used && a.payload == b.payload && a.mix == b.mix);
	return 0;
}
