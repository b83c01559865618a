/* A JSON text with a member set in it is one again, and setting it once more changes nothing. */
#include "jsonset.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jsonset_path p = {.count = 2, .name = {{"a", 1}, {"b", 1}}};
	struct http1_slice v = {"\"V\"", 3};
	size_t cap = size + 64;
	char *once = malloc(cap), *twice = malloc(cap);
	struct wr w = wr_of(once, cap), w2 = wr_of(twice, cap);

	if (jsonset((struct http1_slice){(const char *)data, size}, &p, v, &w) == 0) {
		assert(jsonset((struct http1_slice){once, w.len}, &p, v, &w2) == 0);
		assert(w.len == w2.len && memcmp(once, twice, w.len) == 0);
	}
	free(once);
	free(twice);
	return 0;
}
