/* Any bytes as a vault file: what parses must be written again byte for byte, up to the end. */
#include "vaultrec.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static const uint8_t key[VAULTREC_KEY_LEN];
	static struct vaultrec recs[64];
	struct vaultrec_head h;
	struct vaultrec_cost cost;
	const uint8_t *salt;
	uint8_t *again = malloc(len + 1), value[VAULTREC_SEALED_MAX];
	struct wr w = wr_of(again, len);
	uint32_t i;

	if (vaultrec_file(p, len, &h, recs, ARRAY_SIZE(recs)) == 0) {
		vaultrec_head_write(&w, &h);
		for (i = 0; i < h.count; i++) {
			vaultrec_write(&w, &recs[i]);
			assert(vaultrec_open(key, &h, &recs[i], value) < 0);
		}
		assert(!w.full && w.len + VAULTREC_END_LEN == len && memcmp(again, p, w.len) == 0);
		for (i = 0; i < h.wrap_count; i++)
			if (vaultrec_params_parse(&h.wraps[i], &cost, &salt) == 0)
				assert(vaultrec_cost_ok(&cost) && salt == h.wraps[i].params + 8);
		(void)(vaultrec_unwrap(key, &h, &h.wraps[0], value) == 0);
	}
	free(again);
	return 0;
}
