/* What an agent says it has signed: slices lie within the head, and what is written of them fits its bound. */
#include "awschunk.h"
#include "sigv4.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void chunks(const uint8_t *data, size_t size, bool trailer)
{
	struct awschunk_frame f;
	bool last = false;
	char text[AWSCHUNK_TRAILER_MAX];
	size_t at = 0;

	for (;;) {
		enum awschunk_result got = awschunk_next(data + at, size - at, trailer, last, &f);
		struct wr w = wr_of(text, sizeof(text));

		if (got <= AWSCHUNK_MORE)
			return;
		assert(f.used > 0 && f.used <= size - at && f.signature + 64 <= f.used &&
		       f.data.len <= f.used);
		if (got == AWSCHUNK_TRAILER)
			awschunk_trailers(f.data, &w);
		at += f.used;
		last |= got == AWSCHUNK_LAST;
		if (got == AWSCHUNK_TRAILER)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct http1_slice id = {"AKIAIOSFODNN7EXAMPLE", 20}, token = {"a+b", 3},
					payload = {"x", 1};
	static char out[4 * 65536 + 4096];
	struct http1_scan scan = {0};
	static struct http1_head h;
	struct http1_meaning m;
	struct sigv4 s;

	chunks(data, size, false);
	chunks(data, size, true);
	if (size > 65536 || http1_request(&scan, (const char *)data, size, &h) != HTTP1_DONE ||
	    http1_request_meaning(&h, &m) < 0 || sigv4_scan(&h, &m, &s) != 1)
		return 0;
	assert(s.how != SIGV4_NONE && s.signed_count > 0 && sigv4_scope_ok(&s.scope));
	assert((const uint8_t *)s.id.p >= data &&
	       (const uint8_t *)s.id.p + s.id.len <= data + size);
	for (int i = 0; i < 2; i++) {
		struct wr w = wr_of(out, sizeof(out));
		struct http1_slice t = i ? token : (struct http1_slice){0};
		int rc = sigv4_canonical(&s, &h, &m, (struct http1_slice){0}, t, payload, &w);

		assert(rc < 0 || !w.full);
		w = wr_of(out, sizeof(out));
		sigv4_target(&s, &m, id, t, SIGV4_EMPTY_HASH, &w);
		sigv4_authorization(&s, id, i, SIGV4_EMPTY_HASH, &w);
		assert(!w.full);
	}
	return 0;
}
