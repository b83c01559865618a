/* rulesform.h: one rule, one secret, one unix socket of a document (rules.h): each is refused, with a sentence, or
 * brought to its canonical form: hosts and methods folded, paths normalised, lists sorted and without repeats. What
 * may not stand together in one document is rulesedit.c's. Pure but for memory.
 */
#ifndef RULESFORM_H
#define RULESFORM_H

#include "rules.h"

#define RULESFORM_OWNER_MAX (UINT32_MAX - 1)

/* A copy of `in`, whose lists are the caller's; *ret is untouched on failure. */
int rulesform_rule(const struct rules_rule *in, struct rules_rule *ret, struct err *e) must_check;
int rulesform_secret(const struct rules_secret *in, struct rules_secret *ret, struct err *e) must_check;

/* Free what such a struct owns, and empty it. */
void rulesform_rule_done(struct rules_rule *rule);
void rulesform_secret_done(struct rules_secret *s);
OWN_CLEANUP(rulesform_rule, struct rules_rule, rulesform_rule_done)
OWN_CLEANUP(rulesform_secret, struct rules_secret, rulesform_secret_done)

/* The order of rules in a document; 0: the same rule, whatever else it says. */
int rulesform_order(const struct rules_rule *a, const struct rules_rule *b);

/* A socket's path, or "cgroup:" and one of a cgroup. */
int rulesform_peer(const char *peer, struct err *e) must_check;

/* 2026-01-31T12:00:00Z. */
bool rulesform_created_ok(const char *s);

#endif
