/* A URL or authority that is taken names a checked host, and its slices lie within it. */
#include "hello.h"
#include "http1.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct http1_slice s, const char *p, size_t len)
{
	return s.p >= p && s.p + s.len <= p + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data;
	struct http1_slice s = {p, size};
	char host[RPC_HOST_MAX];
	struct http1_url u;
	uint16_t port;
	bool address;

	if (http1_url(s, &u) == 0) {
		assert(u.address || hello_host_ok(u.host, strlen(u.host)));
		assert(u.port && within(u.target, p, size) && u.path.len > 0 && u.path.p[0] == '/');
		assert(!u.query.p || within(u.query, p, size));
		assert(!memchr(p, '#', size) && !memchr(p, ' ', size));
	}
	if (http1_authority(s, host, &address, &port) == 0)
		assert((address || hello_host_ok(host, strlen(host))) && !memchr(p, '@', size));
	else
		assert(size == 0 || host[0] == '\0');
	return 0;
}
