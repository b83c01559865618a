/* rulesedit.c: documents made and changed.
 *
 * One way in: everything, read or added, is brought to its canonical form or refused (rulesform.h), held against what is
 * there, and put where it belongs in the sorted arrays. So each document in memory is valid, sorted and free of
 * contradictions.
 *
 * Arrays grow when their count is a power of two, so no capacity is kept.
 */
#include "rules.h"

#include "jdoc.h"
#include "rulesform.h"

#include <assert.h>
#include <string.h>

/* ---- memory ---- */

/* Room for one more element after `count`. */
static int grow(void *array, size_t count, size_t size)
{
	void **a = array;
	void *p;

	if (count & (count - 1))
		return 0;
	p = reallocarray(*a, count ? count * 2 : 1, size);
	if (!p)
		return -ENOMEM;
	*a = p;
	return 0;
}

struct rules *rules_new(const char *workspace, uint32_t owner, const char *created)
{
	struct rules *r;

	assert(rules_workspace_ok(workspace) && rulesform_created_ok(created) && owner <= RULESFORM_OWNER_MAX);
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	memcpy(r->workspace, workspace, strlen(workspace) + 1);
	memcpy(r->created, created, sizeof(r->created));
	r->owner = owner;
	return r;
}

struct rules *rules_free(struct rules *r)
{
	if (!r)
		return NULL;
	for (uint32_t i = 0; i < r->rule_count; i++)
		rulesform_rule_done(&r->rules[i]);
	for (uint32_t i = 0; i < r->secret_count; i++)
		rulesform_secret_done(&r->secrets[i]);
	free(r->rules);
	free(r->secrets);
	free(r->peers);
	free(r);
	return NULL;
}

/* ---- rules ---- */

/* A host upgrades from port 80 to one port. */
static int rule_clash_upgrade(const struct rules_rule *old, const struct rules_rule *new, struct err *e)
{
	if (old->upgrade && new->upgrade)
		return err_set(e, -EINVAL, "%s upgrades to port %u already; remove that rule first", old->host,
			       old->port);
	if ((old->upgrade && new->port == 80) || (new->upgrade && old->port == 80))
		return err_set(e, -EINVAL, "%s has a rule for port 80, and one that upgrades from there; only one of "
			       "them can be", old->host);
	return 0;
}

/* One host and port has one answer to every question but those of methods and paths. */
static int rule_clash(const struct rules_rule *old, const struct rules_rule *new, struct err *e)
{
	if (strcmp(old->host, new->host) != 0)
		return 0;
	if (old->port != new->port)
		return rule_clash_upgrade(old, new, e);
	if (old->mode != new->mode)
		return err_set(e, -EINVAL, "%s port %u has mode %s in another rule; remove that one first",
			       old->host, old->port, rules_mode_word(old->mode));
	if (old->private != new->private)
		return err_set(e, -EINVAL, "%s port %u has private %s in another rule; remove that one first",
			       old->host, old->port, old->private ? "true" : "false");
	if (old->upgrade != new->upgrade)
		return err_set(e, -EINVAL, "%s port %u has upgrade %s in another rule; remove that one first",
			       old->host, old->port, old->upgrade ? "true" : "false");
	if (strcmp(old->client_cert, new->client_cert) != 0)
		return err_set(e, -EINVAL, "%s port %u has %s%s in another rule; remove that one first", old->host,
			       old->port, old->client_cert[0] ? "client_cert " : "no client_cert", old->client_cert);
	if (rulesform_order(old, new) == 0)
		return err_set(e, -EEXIST, "%s port %u is in the allowlist already", old->host, old->port);
	return 0;
}

int rules_add(struct rules *r, const struct rules_rule *rule, struct err *e)
{
	struct rules_rule t;
	auto_(rulesform_rule) struct rules_rule *undo = NULL;
	uint32_t lo = 0, hi = r->rule_count;
	int rc;

	rc = rulesform_rule(rule, &t, e);
	if (rc)
		return rc;
	undo = &t;
	if (r->rule_count >= RULES_MAX)
		return err_set(e, -E2BIG, "the allowlist is full; it holds at most %d rules", RULES_MAX);
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (rulesform_order(&r->rules[mid], &t) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (uint32_t i = lo; !rc && i < r->rule_count && strcmp(r->rules[i].host, t.host) == 0; i++)
		rc = rule_clash(&r->rules[i], &t, e);
	for (uint32_t i = lo; !rc && i > 0 && strcmp(r->rules[i - 1].host, t.host) == 0; i--)
		rc = rule_clash(&r->rules[i - 1], &t, e);
	if (!rc)
		rc = grow(&r->rules, r->rule_count, sizeof(*r->rules));
	if (rc)
		return rc;
	memmove(&r->rules[lo + 1], &r->rules[lo], (r->rule_count - lo) * sizeof(*r->rules));
	r->rules[lo] = t;
	r->rule_count++;
	undo = NULL;
	return 0;
}

int rules_remove(struct rules *r, const char *typed, uint16_t port, struct err *e)
{
	char host[RPC_HOST_MAX];
	uint32_t left = 0, was = r->rule_count;
	int rc;

	rc = rules_host(typed, true, true, host, e);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < was; i++) {
		struct rules_rule *rule = &r->rules[i];

		if (strcmp(rule->host, host) == 0 && (!port || rule->port == port))
			rulesform_rule_done(rule);
		else
			r->rules[left++] = *rule;
	}
	r->rule_count = left;
	if (left != was)
		return 0;
	if (port)
		return err_set(e, -ENOENT, "%s port %u is not in the allowlist", host, port);
	return err_set(e, -ENOENT, "%s is not in the allowlist", host);
}

/* ---- secrets ---- */

/* No placeholder is part of another one: so each place in a request means one secret or none. */
static int secret_clash(const struct rules *r, const struct rules_secret *s, struct err *e)
{
	for (uint32_t i = 0; s->placeholder[0] && i < r->secret_count; i++) {
		const char *other = r->secrets[i].placeholder;

		if (other[0] && strcmp(r->secrets[i].name, s->name) != 0 &&
		    (strstr(other, s->placeholder) || strstr(s->placeholder, other)))
			return err_set(e, -EEXIST, "the placeholder of %s is the same, or part of this one",
				       r->secrets[i].name);
	}
	return 0;
}

int rules_put(struct rules *r, const struct rules_secret *in, struct err *e)
{
	auto_(rulesform_secret) struct rules_secret *undo = NULL;
	struct rules_secret s;
	uint32_t at = 0;
	bool there;
	int rc = rulesform_secret(in, &s, e);

	if (rc)
		return rc;
	undo = &s;
	rc = secret_clash(r, &s, e);
	if (rc)
		return rc;
	while (at < r->secret_count && strcmp(r->secrets[at].name, s.name) < 0)
		at++;
	there = at < r->secret_count && strcmp(r->secrets[at].name, s.name) == 0;
	if (!there && r->secret_count >= RULES_SECRETS_MAX)
		return err_set(e, -E2BIG, "the workspace is full; it holds at most %d secrets", RULES_SECRETS_MAX);
	if (!there && grow(&r->secrets, r->secret_count, sizeof(*r->secrets)))
		return -ENOMEM;
	if (there) {
		rulesform_secret_done(&r->secrets[at]);
	} else {
		memmove(&r->secrets[at + 1], &r->secrets[at], (r->secret_count - at) * sizeof(s));
		r->secret_count++;
	}
	r->secrets[at] = s;
	undo = NULL;
	return 0;
}

int rules_bind(struct rules *r, const char *name, const char *const *hosts, size_t count, uint32_t slots,
	       struct err *e)
{
	const struct rules_secret *old = rules_secret(r, name);
	struct rules_secret s = old ? *old : (struct rules_secret){0};
	auto_free char(*list)[RPC_HOST_MAX] = NULL;

	if (count > RULES_BIND_HOSTS_MAX)
		return err_set(e, -E2BIG, "%zu hosts are too many; a secret goes to at most %d", count,
			       RULES_BIND_HOSTS_MAX);
	list = calloc(count + 1, RPC_HOST_MAX);
	if (!list)
		return -ENOMEM;
	if (!rules_name_ok(name))
		return err_set(e, -EINVAL, "a secret's name is A-Z, 0-9 and '_', does not begin with a digit, and "
			       "has at most 128 bytes");
	memcpy(s.name, name, strlen(name) + 1);
	for (size_t i = 0; i < count; i++) {
		int rc = rules_host(hosts[i], true, true, list[i], e);

		if (rc)
			return rc;
	}
	s.hosts = list;
	s.host_count = (uint32_t)count;
	s.slots = slots;
	return rules_put(r, &s, e);
}

int rules_kind(struct rules *r, const char *name, enum kind kind, const char *const *names, const char *const *values,
	       size_t count, struct err *e)
{
	char *params = NULL;
	uint32_t at = 0;
	int rc;

	while (at < r->secret_count && strcmp(r->secrets[at].name, name) != 0)
		at++;
	if (at == r->secret_count)
		return err_set(e, -ENOENT, "there is no such secret in this workspace");
	rc = kind_params(kind, names, values, count, &params, e);
	if (rc)
		return rc;
	free(r->secrets[at].params);
	r->secrets[at].params = params;
	r->secrets[at].kind = kind;
	return 0;
}

int rules_unbind(struct rules *r, const char *name, struct err *e)
{
	char show[JDOC_SHOW_MAX];
	uint32_t at = 0;

	while (at < r->secret_count && strcmp(r->secrets[at].name, name) != 0)
		at++;
	if (at == r->secret_count)
		return err_set(e, -ENOENT, "there is no secret %s in this workspace", jdoc_show(name, show));
	rulesform_secret_done(&r->secrets[at]);
	r->secret_count--;
	memmove(&r->secrets[at], &r->secrets[at + 1], (r->secret_count - at) * sizeof(*r->secrets));
	return 0;
}

/* ---- unix sockets outside ---- */

int rules_peer_add(struct rules *r, const char *peer, struct err *e)
{
	char show[JDOC_SHOW_MAX];
	int rc = rulesform_peer(peer, e);
	uint32_t at = 0;

	if (rc)
		return rc;
	while (at < r->peer_count && strcmp(r->peers[at], peer) < 0)
		at++;
	if (at < r->peer_count && strcmp(r->peers[at], peer) == 0)
		return err_set(e, -EEXIST, "%s is there already", jdoc_show(peer, show));
	if (r->peer_count == RULES_PEERS_MAX)
		return err_set(e, -E2BIG, "there may be at most %d unix sockets", RULES_PEERS_MAX);
	rc = grow(&r->peers, r->peer_count, sizeof(*r->peers));
	if (rc)
		return rc;
	memmove(r->peers[at + 1], r->peers[at], (r->peer_count - at) * sizeof(*r->peers));
	memcpy(r->peers[at], peer, strlen(peer) + 1);
	r->peer_count++;
	return 0;
}

int rules_peer_remove(struct rules *r, const char *peer, struct err *e)
{
	char show[JDOC_SHOW_MAX];

	for (uint32_t i = 0; i < r->peer_count; i++) {
		if (strcmp(r->peers[i], peer) != 0)
			continue;
		memmove(r->peers[i], r->peers[i + 1], (--r->peer_count - i) * sizeof(*r->peers));
		return 0;
	}
	return err_set(e, -ENOENT, "%s is not among the unix sockets of this workspace", jdoc_show(peer, show));
}
