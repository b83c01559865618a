/* A /proxy request that is taken stands for a head that parses, goes where the URL says, and has no X-AS-* field. */
#include "xas.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http1_head h, made;
	static char out[HTTP1_HEAD_MAX];
	struct http1_scan s = {0}, t = {0};
	struct wr w = wr_of(out, sizeof(out));
	struct http1_meaning m;
	struct xas x;

	if (http1_request(&s, (const char *)data, size, &h) != HTTP1_DONE || http1_request_meaning(&h, &m) < 0)
		return 0;
	if (xas_read(&h, &x) || xas_write(&h, &x, &w) || w.full)
		return 0;
	if (http1_request(&t, out, w.len, &made) != HTTP1_DONE || http1_request_meaning(&made, &m) < 0)
		return 0;
	assert(made.raw.len == w.len && strcmp(m.host, x.url.host) == 0);
	assert(made.form == HTTP1_ORIGIN || made.form == HTTP1_ASTERISK);
	for (uint32_t i = 0; i < made.field_count; i++)
		assert(made.fields[i].id != HTTP1_XAS);
	return 0;
}
