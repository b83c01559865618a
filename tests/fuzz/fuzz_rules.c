/* A document: what is read is written canonically, is read again strictly, and answers questions. */
#include "rules.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	auto_(rules) struct rules *r = NULL, *again = NULL;
	auto_free char *text = NULL, *same = NULL;
	struct err e = {""};
	size_t n, m;

	if (rules_parse((const char *)data, len, false, &r, &e) || rules_write(r, &text, &n, &e))
		return 0;
	assert(rules_parse(text, n, true, &again, &e) == 0 && rules_write(again, &same, &m, &e) == 0);
	assert(n == m && memcmp(text, same, n) == 0);
	for (uint32_t i = 0; i < r->rule_count; i++) {
		const struct rules_rule *rule = &r->rules[i];
		enum reason why = REASON_INTERNAL;
		bool private;

		if (rule->host[0] == '*')
			continue;
		assert(rules_names(r, rule->host, &private) && (private || !rule->private));
		assert(rules_find(r, rule->host, rule->port, &why) && why == REASON_NONE);
		(void)rules_judge(r, rule->host, rule->port, "GET", rule->path_count ? rule->paths[0] : "/", &why);
		for (uint32_t k = 0; k < r->secret_count; k++)
			(void)rules_secret_may(r, r->secrets[k].name, rule->host, rule->port, RULES_SLOT_HEADER);
	}
	return 0;
}
