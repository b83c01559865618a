/* Any body can be walked and filled: what was JSON stays JSON, a form keeps its fields. The first byte gives the kind
 * and the value's length; the value is the input's beginning. */
#include "bodyref.h"

#include <assert.h>
#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char host[][RPC_HOST_MAX] = {"a.example"};
static struct rules_rule rule = {.host = "a.example", .port = 443, .mode = RULES_INSPECT};
static struct rules_secret secrets[] = {
	{.name = "KEY", .slots = RULES_SLOT_BODY, .host_count = 1, .hosts = host, .placeholder = "nsk-abcdefghijklmnopqrst"},
	{.name = "NO", .slots = RULES_SLOT_HEADER, .host_count = 1, .hosts = host, .placeholder = "abcdef0123456789abcdefAB"},
};
static const struct rules rules = {.workspace = "w", .version = 1, .rule_count = 1, .rules = &rule, .secret_count = 2,
				   .secrets = secrets};

static bool is_json(const char *p, size_t len)
{
	json_t *j = json_loadb(p, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	bool was = j != NULL;

	json_decref(j);
	return was;
}

static size_t count(const char *p, size_t len, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += p[i] == c;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct inject_value values[INJECT_MAX];
	struct inject_scan s = {0};
	struct ref_marks *marks = NULL;
	struct bodyref b = {0}, c;
	size_t len, bound;
	struct wr w;

	if (size < 2)
		return 0;
	len = data[0] % 32 < size - 1 ? data[0] % 32 : size - 1;
	for (size_t i = 0; i < INJECT_MAX; i++)
		values[i] = (struct inject_value){data + 1, len};
	assert(ref_marks_new(&rules, &marks) == 0);
	b = (struct bodyref){.kind = data[0] & 128 ? BODYREF_JSON : BODYREF_FORM, .p = (const char *)data + 1 + len,
			     .len = size - 1 - len, .marks = marks};
	c = b;
	assert(bodyref_scan(&b, &rules, "a.example", 443, "POST", "/", &s) == 0 && s.need_count <= 1);
	bound = bodyref_bound(c, &s, values);
	w = wr_of(malloc(bound + 1), bound);
	if (bodyref_write(&c, &s, values, &w) == 0) {
		assert(c.kind != BODYREF_JSON || !is_json(c.p, c.len) || is_json((const char *)w.p, w.len));
		assert(c.kind != BODYREF_FORM || (count(c.p, c.len, '&') == count((const char *)w.p, w.len, '&') &&
						 count(c.p, c.len, '=') == count((const char *)w.p, w.len, '=')));
	} else {
		assert(!w.full);
	}
	free(w.p);
	ref_marks_free(marks);
	return 0;
}
