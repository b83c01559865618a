/* What a prefix is refused for stays refused; a name that comes out is a host. First byte: the split. */
#include "hello.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hello a, b;
	enum hello_result one, two;
	enum hello_kind kind;
	size_t cut;

	if (size < 1)
		return 0;
	cut = data[0] * (size - 1) / 255;
	one = hello_parse(data + 1, size - 1, &a);
	two = hello_parse(data + 1, cut, &b);
	assert(two == HELLO_MORE || one == two);
	assert(one != HELLO_MORE || size - 1 < HELLO_MAX);
	if (one == HELLO_DONE)
		assert(a.len <= size - 1 && (!a.sni[0] || hello_host_ok(a.sni, strlen(a.sni))));
	if (one == HELLO_DONE && two == HELLO_DONE)
		assert(memcmp(&a, &b, sizeof(a)) == 0);
	kind = hello_kind(data + 1, cut);
	assert(kind == HELLO_KIND_MORE || kind == hello_kind(data + 1, size - 1));
	return 0;
}
