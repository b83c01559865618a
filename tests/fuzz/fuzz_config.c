/* The configuration file: nothing out of range comes out, and a refusal has its sentence. */
#include "config.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct config c = {.workers = 77};
	struct err e = {""};

	if (config_parse((const char *)data, len, &c, &e)) {
		assert(c.workers == 77 && e.text[0]);
		return 0;
	}
	assert(c.workers >= 1 && c.workers <= CONFIG_WORKERS_MAX);
	assert(c.dns_count <= CONFIG_DNS_MAX && c.public_count <= CONFIG_NETS_MAX);
	assert(c.keeper_user.uid && c.keeper_user.uid != c.proxy_user.uid);
	assert(c.proxy_port && c.explicit_port && c.proxy_port != c.explicit_port);
	assert(c.state_dir[0] == '/' && c.control[0] == '/' && strlen(c.control) < 108);
	return 0;
}
