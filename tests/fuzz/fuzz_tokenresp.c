/* What an authorization server answers: a token that is taken can stand in a header. */
#include "parts.h"
#include "tokenresp.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int k = KIND_OAUTH2_CLIENT; k < KIND_COUNT; k++) {
		struct tokenresp t = {0};
		const char *code;

		if (tokenresp_parse((enum kind)k, 200, data, size, 1700000000, &t, &code) < 0)
			continue;
		assert(t.life_s >= 1 && t.life_s <= TOKENRESP_LIFE_MAX_S && t.token);
		for (size_t i = 0; i < secret_len(t.token); i++)
			assert(secret_view(t.token)[i] > ' ' && secret_view(t.token)[i] < 0x7f);
		tokenresp_done(&t);
	}
	return 0;
}
