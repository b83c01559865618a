/* "glob\npath", or a host: normal forms are stable and what they promise; matching ends. */
#include "rules.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void host(const uint8_t *data, size_t len)
{
	char typed[400], out[RPC_HOST_MAX], again[RPC_HOST_MAX];
	struct err e = {""};

	if (len >= sizeof(typed))
		return;
	memcpy(typed, data, len);
	typed[len] = '\0';
	if (rules_host(typed, true, true, out, &e))
		return;
	assert(rules_host(out, true, true, again, &e) == 0 && strcmp(out, again) == 0);
	assert(rules_host(out, false, false, again, NULL) || rules_host_ok(out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const uint8_t *cut = len ? memchr(data, '\n', len) : NULL;
	char paths[1][512], path[512], again[512];
	struct rules_rule rule = {.host = "a.example.com", .port = 443, .path_count = 1, .paths = paths};
	size_t n = cut ? (size_t)(cut - data) : 0;
	auto_(rules) struct rules *r = NULL;
	enum reason why;

	host(data, len);
	if (!cut || n >= sizeof(paths[0]) || rules_path((const char *)cut + 1, len - n - 1, path, sizeof(path)))
		return 0;
	assert(path[0] == '/' && !strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
	assert(rules_path(path, strlen(path), again, sizeof(again)) == 0 && strcmp(path, again) == 0);
	memcpy(paths[0], data, n);
	paths[0][n] = '\0';
	r = rules_new("w", 0, "2026-01-01T00:00:00Z");
	if (r && rules_add(r, &rule, NULL) == 0)
		(void)rules_judge(r, "a.example.com", 443, "GET", path, &why);
	return 0;
}
