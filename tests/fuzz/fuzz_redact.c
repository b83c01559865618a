/* However a text is cut, the same bytes are masked; what is not masked is as it came; nothing that is there as it is
 * stays. The first byte gives the value's length, the second the cuts; the value is the input's beginning. */
#include "redact.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void in_pieces(const struct redact *r, uint8_t *p, size_t len, size_t piece)
{
	struct redact_text t = {0};
	size_t done = 0, given = 0;

	do {
		given = len - given < piece ? len : given + piece;
		done += redact_scan(r, &t, p + done, given - done, given == len);
		assert(done <= given);
	} while (given < len);
	assert(done == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t whole[4096], cut[4096];
	struct redact_value v;
	struct redact *r;
	size_t len, piece, i;

	if (size < 3 || size > sizeof(whole))
		return 0;
	piece = 1 + data[1];
	v = (struct redact_value){data + 2, data[0] % 64 < size - 2 ? data[0] % 64 : size - 2};
	len = size - 2 - v.len;
	r = redact_make(malloc(redact_size(&v, 1)), &v, 1);
	memcpy(whole, v.p + v.len, len);
	memcpy(cut, whole, len);
	in_pieces(r, whole, len, len + 1);
	in_pieces(r, cut, len, piece);
	assert(memcmp(whole, cut, len) == 0);
	for (i = 0; i < len; i++)
		assert(whole[i] == '*' || whole[i] == v.p[v.len + i]);
	assert(v.len < REDACT_MIN || memchr(v.p, '*', v.len) || memchr(v.p, '\n', v.len) ||
	       memchr(v.p, '\r', v.len) || !memmem(whole, len, v.p, v.len));
	free(r);
	return 0;
}
