/* rulesdoc.c: documents: read, written, changed. The questions are in rules.c.
 *
 * One way in: everything, read or added, goes through rule_of()/rules_bind(), which bring it to its
 * canonical form or refuse it, and is put where it belongs in the sorted arrays. So each document in
 * memory is valid, sorted and free of contradictions, and rules_write() has nothing to check. A strict
 * read writes what it read and compares the bytes.
 *
 * Arrays grow when their count is a power of two, so no capacity is kept.
 */
#include "rules.h"

#include "jdoc.h"
#include "origin.h"
#include "wr.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DEPTH 5 /* document, list of rules, rule, list of injections, injection */
#define OWNER_MAX (UINT32_MAX - 1)

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

static void rule_done(struct rules_rule *rule)
{
	free(rule->methods);
	free(rule->paths);
	free(rule->attach);
	memset(rule, 0, sizeof(*rule));
}
OWN_CLEANUP(rule, struct rules_rule, rule_done)

static void binding_done(struct rules_secret *s)
{
	free(s->hosts);
	free(s->methods);
	free(s->paths);
	free(s->params);
	memset(s, 0, sizeof(*s));
}
OWN_CLEANUP(binding, struct rules_secret, binding_done)

static bool created_ok(const char *s)
{
	static const char form[] = "0000-00-00T00:00:00Z";
	static const struct {
		uint8_t at, min, max;
	} parts[] = {{5, 1, 12}, {8, 1, 31}, {11, 0, 23}, {14, 0, 59}, {17, 0, 60}};

	for (size_t i = 0; i < sizeof(form); i++)
		if (form[i] == '0' ? s[i] < '0' || s[i] > '9' : s[i] != form[i])
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		int n = (s[parts[i].at] - '0') * 10 + s[parts[i].at + 1] - '0';

		if (n < parts[i].min || n > parts[i].max)
			return false;
	}
	return true;
}

struct rules *rules_new(const char *workspace, uint32_t owner, const char *created)
{
	struct rules *r;

	assert(rules_workspace_ok(workspace) && created_ok(created) && owner <= OWNER_MAX);
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
		rule_done(&r->rules[i]);
	for (uint32_t i = 0; i < r->secret_count; i++)
		binding_done(&r->secrets[i]);
	free(r->rules);
	free(r->secrets);
	free(r->peers);
	free(r);
	return NULL;
}

/* ---- one rule ---- */

static int strings_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Sorts fixed-size strings, drops repeated ones; the count that is left. */
static uint32_t strings_sort(void *strings, uint32_t count, size_t size)
{
	char *s = strings;
	uint32_t n = count ? 1 : 0;

	if (count)
		qsort(s, count, size, strings_cmp);
	for (uint32_t i = 1; i < count; i++)
		if (strcmp(s + (n - 1) * size, s + i * size) != 0)
			memmove(s + n++ * size, s + i * size, size);
	return n;
}

static int strings_order(const void *a, uint32_t a_count, const void *b, uint32_t b_count, size_t size)
{
	for (uint32_t i = 0; i < a_count && i < b_count; i++) {
		int c = strcmp((const char *)a + i * size, (const char *)b + i * size);

		if (c)
			return c;
	}
	return (a_count > b_count) - (a_count < b_count);
}

static int rule_order(const struct rules_rule *a, const struct rules_rule *b)
{
	int c = strcmp(a->host, b->host);

	if (!c)
		c = (a->port > b->port) - (a->port < b->port);
	if (!c)
		c = (a->mode > b->mode) - (a->mode < b->mode);
	if (!c)
		c = strings_order(a->methods, a->method_count, b->methods, b->method_count, sizeof(*a->methods));
	if (!c)
		c = strings_order(a->paths, a->path_count, b->paths, b->path_count, sizeof(*a->paths));
	return c;
}

/* RFC 9110 token. */
static bool token_ok(const char *s)
{
	const char *at = s;

	for (; *at; at++)
		if (!((*at >= 'A' && *at <= 'Z') || (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') ||
		      strchr("!#$%&'*+-.^_`|~", *at)))
			return false;
	return at > s;
}

/* RFC 9110 token, upper case. */
static bool method_of(const char *typed, char out[32])
{
	size_t n = 0;

	for (; typed[n]; n++) {
		char c = typed[n];

		if (n >= 31)
			return false;
		if (c >= 'a' && c <= 'z')
			c = (char)(c - 32);
		out[n] = c;
	}
	out[n] = '\0';
	return token_ok(out);
}

/* "**" is a whole segment, and there is no "***". */
static bool glob_ok(const char *glob)
{
	for (const char *s = strstr(glob, "**"); s; s = strstr(s + 1, "**"))
		if (s[-1] != '/' || (s[2] && s[2] != '/'))
			return false;
	return true;
}

static int glob_of(const char *typed, char out[512], struct err *e)
{
	char show[JDOC_SHOW_MAX];
	int rc;

	if (typed[0] != '/')
		return err_set(e, -EINVAL, "path %s must begin with \"/\"", jdoc_show(typed, show));
	rc = rules_path(typed, strlen(typed), out, 512);
	if (rc == -E2BIG)
		return err_set(e, -EINVAL, "path %s is longer than 511 bytes", jdoc_show(typed, show));
	if (rc)
		return err_set(e, -EINVAL, "path %s cannot stand in a rule; write it without query, \"//\", dot "
			       "segments, encoded slashes and bytes that need encoding", jdoc_show(typed, show));
	if (!glob_ok(out))
		return err_set(e, -EINVAL, "path %s: \"**\" must be a whole segment, as in /v1/**",
			       jdoc_show(typed, show));
	return 0;
}

static int methods_of(char (*in)[32], uint32_t count, char (**ret)[32], uint32_t *ret_count, struct err *e)
{
	auto_free void *list = calloc(count + 1u, sizeof(*in));
	char show[JDOC_SHOW_MAX];
	char(*t)[32] = list;

	if (count > RULES_METHODS_MAX)
		return err_set(e, -E2BIG, "%u methods are too many; at most %d fit", count, RULES_METHODS_MAX);
	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		if (!method_of(in[i], t[i]))
			return err_set(e, -EINVAL, "method %s is not one; use names such as GET",
				       jdoc_show(in[i], show));
	*ret_count = strings_sort(t, count, sizeof(*t));
	*ret = take(list);
	return 0;
}

static int paths_of(char (*in)[512], uint32_t count, char (**ret)[512], uint32_t *ret_count, struct err *e)
{
	auto_free void *list = calloc(count + 1u, sizeof(*in));
	char(*t)[512] = list;

	if (count > RULES_PATHS_MAX)
		return err_set(e, -E2BIG, "%u paths are too many; at most %d fit", count, RULES_PATHS_MAX);
	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++) {
		int rc = glob_of(in[i], t[i], e);

		if (rc)
			return rc;
	}
	*ret_count = strings_sort(t, count, sizeof(*t));
	*ret = take(list);
	return 0;
}

/* ---- what a rule puts into a request ---- */

static bool printable(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~' || *s == '"' || *s == '\\')
			return false;
	return true;
}

static bool unreserved(const char *s)
{
	for (; *s; s++)
		if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9') ||
		      strchr("-._~", *s)))
			return false;
	return true;
}

/* A field that frames, routes or is between us and the next hop is never set by a rule. */
static bool field_settable(const char *name)
{
	static const char *const ours[] = {"host",	 "content-length", "transfer-encoding", "connection",
					   "keep-alive", "te",		   "trailer",		"upgrade",
					   "expect",	 "content-encoding", "content-type",	"http2-settings"};

	if (!token_ok(name) || strncasecmp(name, "proxy-", 6) == 0 || strncasecmp(name, "x-as-", 5) == 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (strcasecmp(name, ours[i]) == 0)
			return false;
	return true;
}

static int attach_ok(const struct rules_attach *a, struct err *e)
{
	char show[JDOC_SHOW_MAX];

	if (!rules_name_ok(a->secret))
		return err_set(e, -EINVAL, "inject: %s is no name of a secret", jdoc_show(a->secret, show));
	if (!printable(a->prefix) || !printable(a->suffix))
		return err_set(e, -EINVAL, "inject %s: what stands before and after the value is printable ASCII "
			       "without quotes and backslashes", a->secret);
	if (a->slot == RULES_SLOT_HEADER && field_settable(a->name))
		return 0;
	if (a->slot == RULES_SLOT_BASIC && !a->name[0])
		return 0;
	if (a->slot == RULES_SLOT_QUERY && a->name[0] && unreserved(a->name) && !a->prefix[0] && !a->suffix[0])
		return 0;
	if (a->slot == RULES_SLOT_HEADER)
		return err_set(e, -EINVAL, "inject %s: %s is no header that a rule can set", a->secret,
			       jdoc_show(a->name, show));
	if (a->slot == RULES_SLOT_QUERY)
		return err_set(e, -EINVAL, "inject %s: a query parameter has a name of letters, digits, '-', '.', "
			       "'_' and '~', and nothing around its value", a->secret);
	return err_set(e, -EINVAL, "inject %s: the slot is one of header, basic, query", a->secret);
}

static int attach_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct rules_attach));
}

/* Copies, so that no bytes after the strings' ends are in the comparison. */
static void attach_copy(const struct rules_attach *a, struct rules_attach *t)
{
	memset(t, 0, sizeof(*t));
	t->slot = a->slot;
	(void)snprintf(t->secret, sizeof(t->secret), "%s", a->secret);
	(void)snprintf(t->name, sizeof(t->name), "%s", a->name);
	(void)snprintf(t->prefix, sizeof(t->prefix), "%s", a->prefix);
	(void)snprintf(t->suffix, sizeof(t->suffix), "%s", a->suffix);
}

static int rule_attach(const struct rules_rule *in, struct rules_rule *t, struct err *e)
{
	if (in->attach_count > RULES_ATTACH_MAX)
		return err_set(e, -E2BIG, "%u secrets to inject are too many; at most %d fit", in->attach_count,
			       RULES_ATTACH_MAX);
	if (in->attach_count && in->mode != RULES_INSPECT)
		return err_set(e, -EINVAL, "nothing is injected in mode %s; use inspect",
			       rules_mode_word(in->mode));
	t->attach = calloc(in->attach_count + 1u, sizeof(*t->attach));
	if (!t->attach)
		return -ENOMEM;
	for (uint32_t i = 0; i < in->attach_count; i++) {
		int rc = attach_ok(&in->attach[i], e);

		if (rc)
			return rc;
		attach_copy(&in->attach[i], &t->attach[i]);
	}
	t->attach_count = in->attach_count;
	qsort(t->attach, t->attach_count, sizeof(*t->attach), attach_cmp);
	return 0;
}

static int rule_lists(const struct rules_rule *in, struct rules_rule *t, struct err *e)
{
	int rc = methods_of(in->methods, in->method_count, &t->methods, &t->method_count, e);

	if (!rc)
		rc = paths_of(in->paths, in->path_count, &t->paths, &t->path_count, e);
	return rc ? rc : rule_attach(in, t, e);
}

/* What only some modes can carry out. */
static int rule_mode(const struct rules_rule *rule, struct err *e)
{
	const char *mode = rules_mode_word(rule->mode);

	if (rule->mode != RULES_INSPECT && rule->upgrade)
		return err_set(e, -EINVAL, "upgrade is for mode inspect; in mode %s the client speaks TLS itself, or none",
			       mode);
	if (rule->mode != RULES_INSPECT && rule->client_cert[0])
		return err_set(e, -EINVAL, "client_cert is for mode inspect; in mode %s the client shows its own", mode);
	if (rule->client_cert[0] && !rules_name_ok(rule->client_cert))
		return err_set(e, -EINVAL, "client_cert is the name of a secret: A-Z, 0-9 and '_', not beginning with a "
			       "digit");
	if (rule->upgrade && rule->port == 80)
		return err_set(e, -EINVAL, "upgrade is from port 80 to the rule's port; give the one that TLS is spoken at");
	if (rule->upgrade && rule->private)
		return err_set(e, -EINVAL, "upgrade is for public hosts: at a private address the kernel opens the rule's "
			       "own port, not port 80");
	if (rule->client_cert[0] && rule->port == 80)
		return err_set(e, -EINVAL, "client_cert is shown in TLS, which is not spoken at port 80");
	if (rule->mode == RULES_TCP && rule->port == 53)
		return err_set(e, -EINVAL, "port 53 is the resolver's, whatever the address; no rule of mode tcp can "
			       "open it");
	return 0;
}

/* What no rule may say, host and lists being good. */
static int rule_meaning(const struct rules_rule *rule, struct err *e)
{
	uint8_t addr[16];
	int rc = rule_mode(rule, e);

	if (rc)
		return rc;
	if (rule->mode != RULES_INSPECT && (rule->method_count || rule->path_count))
		return err_set(e, -EINVAL, "methods and paths are seen in mode inspect only; leave them out in "
			       "mode %s", rules_mode_word(rule->mode));
	if (!origin_parse(rule->host, addr))
		return 0;
	if (!rule->private)
		return err_set(e, -EINVAL, "%s is an address; a rule for one needs private set", rule->host);
	if (!origin_openable(addr, true))
		return err_set(e, -EINVAL, "%s is a %s address, which no rule can open", rule->host,
			       origin_special(NULL, addr));
	return 0;
}

/* The canonical form of a rule as given; *ret is untouched on failure. */
static int rule_of(const struct rules_rule *in, struct rules_rule *ret, struct err *e)
{
	struct rules_rule t = {
		.port = in->port, .mode = in->mode, .private = in->private, .upgrade = in->upgrade};
	auto_(rule) struct rules_rule *undo = &t;
	int rc;

	memcpy(t.client_cert, in->client_cert, sizeof(t.client_cert));
	rc = rules_host(in->host, true, true, t.host, e);
	if (rc)
		return rc;
	if (!in->port)
		return err_set(e, -EINVAL, "port 0 is out of range; use 1 to 65535");
	if (in->mode > RULES_TCP)
		return err_set(e, -EINVAL, "the mode is none of inspect, tunnel, tcp");
	rc = rule_lists(in, &t, e);
	if (!rc)
		rc = rule_meaning(&t, e);
	if (rc)
		return rc;
	*ret = t;
	undo = NULL;
	return 0;
}

/* ---- changes ---- */

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
	if (rule_order(old, new) == 0)
		return err_set(e, -EEXIST, "%s port %u is in the allowlist already", old->host, old->port);
	return 0;
}

int rules_add(struct rules *r, const struct rules_rule *rule, struct err *e)
{
	struct rules_rule t;
	auto_(rule) struct rules_rule *undo = NULL;
	uint32_t lo = 0, hi = r->rule_count;
	int rc;

	rc = rule_of(rule, &t, e);
	if (rc)
		return rc;
	undo = &t;
	if (r->rule_count >= RULES_MAX)
		return err_set(e, -E2BIG, "the allowlist is full; it holds at most %d rules", RULES_MAX);
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (rule_order(&r->rules[mid], &t) < 0)
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
			rule_done(rule);
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

static int bind_hosts(const char *const *hosts, size_t count, char (**ret)[RPC_HOST_MAX], uint32_t *ret_count,
		      struct err *e)
{
	auto_free void *list = calloc(count + 1, RPC_HOST_MAX);
	char(*t)[RPC_HOST_MAX] = list;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		int rc = rules_host(hosts[i], true, true, t[i], e);

		if (rc)
			return rc;
	}
	*ret_count = strings_sort(list, (uint32_t)count, RPC_HOST_MAX);
	*ret = take(list);
	return 0;
}

static int bind_ports(const struct rules_secret *in, struct rules_secret *t, struct err *e)
{
	if (in->port_count > RULES_BIND_PORTS_MAX)
		return err_set(e, -E2BIG, "%u ports are too many; a secret is bound to at most %d", in->port_count,
			       RULES_BIND_PORTS_MAX);
	for (uint32_t i = 0; i < in->port_count; i++) {
		uint32_t at = 0;

		if (!in->ports[i])
			return err_set(e, -EINVAL, "port 0 is out of range; use 1 to 65535");
		while (at < t->port_count && t->ports[at] < in->ports[i])
			at++;
		if (at < t->port_count && t->ports[at] == in->ports[i])
			continue;
		memmove(&t->ports[at + 1], &t->ports[at], (t->port_count - at) * sizeof(t->ports[0]));
		t->ports[at] = in->ports[i];
		t->port_count++;
	}
	return 0;
}

/* Found nowhere by chance, changed by no encoding, and never part of another one: so each place in a request
 * means one secret or none. */
static int bind_placeholder(const struct rules *r, const struct rules_secret *s, struct err *e)
{
	size_t n = strlen(s->placeholder);

	if (!n)
		return 0;
	if (n < RULES_PLACEHOLDER_MIN || !unreserved(s->placeholder) || strstr(s->placeholder, "agentsecrets"))
		return err_set(e, -EINVAL, "a placeholder has %d to %d letters, digits, '-', '.', '_' and '~', and no "
			       "\"agentsecrets\" in it", RULES_PLACEHOLDER_MIN, RULES_PLACEHOLDER_MAX - 1);
	for (uint32_t i = 0; i < r->secret_count; i++) {
		const char *other = r->secrets[i].placeholder;

		if (other[0] && strcmp(r->secrets[i].name, s->name) != 0 &&
		    (strstr(other, s->placeholder) || strstr(s->placeholder, other)))
			return err_set(e, -EEXIST, "the placeholder of %s is the same, or part of this one",
				       r->secrets[i].name);
	}
	return 0;
}

/* They were checked when they were made: kind_params(). */
static int bind_params(const struct rules_secret *in, struct rules_secret *t)
{
	const char *at = in->params, *value;

	if (!at)
		return 0;
	while (kind_next(&at, &value))
		;
	t->params = malloc((size_t)(at - in->params) + 1);
	if (!t->params)
		return -ENOMEM;
	memcpy(t->params, in->params, (size_t)(at - in->params) + 1);
	return 0;
}

/* A copy of `in` as the document has it. */
static int bind_of(const struct rules *r, const struct rules_secret *in, struct rules_secret *ret, struct err *e)
{
	struct rules_secret t = {.slots = in->slots};
	auto_(binding) struct rules_secret *undo = &t;
	const char *hosts[RULES_BIND_HOSTS_MAX];
	int rc;

	if (!rules_name_ok(in->name))
		return err_set(e, -EINVAL, "a secret's name is A-Z, 0-9 and '_', does not begin with a digit, and "
			       "has at most 128 bytes");
	if (in->slots & ~RULES_SLOTS_KNOWN)
		return err_set(e, -EINVAL, "a slot is one of basic, body, client_cert, header, path, proxy, query");
	if ((in->slots & RULES_SLOT_CERT) && in->slots != RULES_SLOT_CERT)
		return err_set(e, -EINVAL, "a secret with the slot client_cert has no other; its key is never sent");
	if ((in->slots & RULES_SLOT_PROXY) && in->slots != RULES_SLOT_PROXY)
		return err_set(e, -EINVAL, "a secret with the slot proxy has no other; agents do not send it");
	if (in->host_count > RULES_BIND_HOSTS_MAX)
		return err_set(e, -E2BIG, "%u hosts are too many; a secret goes to at most %d", in->host_count,
			       RULES_BIND_HOSTS_MAX);
	for (uint32_t i = 0; i < in->host_count; i++)
		hosts[i] = in->hosts[i];
	memcpy(t.name, in->name, strlen(in->name) + 1);
	memcpy(t.placeholder, in->placeholder, strlen(in->placeholder) + 1);
	t.kind = in->kind;
	rc = bind_hosts(hosts, in->host_count, &t.hosts, &t.host_count, e);
	if (!rc)
		rc = bind_ports(in, &t, e);
	if (!rc)
		rc = methods_of(in->methods, in->method_count, &t.methods, &t.method_count, e);
	if (!rc)
		rc = paths_of(in->paths, in->path_count, &t.paths, &t.path_count, e);
	if (!rc)
		rc = bind_placeholder(r, &t, e);
	if (!rc)
		rc = bind_params(in, &t);
	if (rc)
		return rc;
	*ret = t;
	undo = NULL;
	return 0;
}

int rules_put(struct rules *r, const struct rules_secret *in, struct err *e)
{
	auto_(binding) struct rules_secret *undo = NULL;
	struct rules_secret s;
	uint32_t at = 0;
	bool there;
	int rc = bind_of(r, in, &s, e);

	if (rc)
		return rc;
	undo = &s;
	while (at < r->secret_count && strcmp(r->secrets[at].name, s.name) < 0)
		at++;
	there = at < r->secret_count && strcmp(r->secrets[at].name, s.name) == 0;
	if (!there && r->secret_count >= RULES_SECRETS_MAX)
		return err_set(e, -E2BIG, "the workspace is full; it holds at most %d secrets", RULES_SECRETS_MAX);
	if (!there && grow(&r->secrets, r->secret_count, sizeof(*r->secrets)))
		return -ENOMEM;
	if (there) {
		binding_done(&r->secrets[at]);
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
	binding_done(&r->secrets[at]);
	r->secret_count--;
	memmove(&r->secrets[at], &r->secrets[at + 1], (r->secret_count - at) * sizeof(*r->secrets));
	return 0;
}

/* ---- reading ---- */

static int mode_of(const char *word, uint8_t *ret, struct err *e)
{
	char show[JDOC_SHOW_MAX];

	for (uint8_t m = RULES_INSPECT; m <= RULES_TCP; m++)
		if (strcmp(word, rules_mode_word(m)) == 0) {
			*ret = m;
			return 0;
		}
	return err_set(e, -EINVAL, "mode %s is none of inspect, tunnel, tcp", jdoc_show(word, show));
}

/* Copies a JSON list of strings into a fresh array of fixed ones. One that is too long stays too long
 * enough to be refused by whoever checks it: `size` is more than what is allowed. */
static int strings_of(const json_t *list, const char *what, size_t size, void *ret, uint32_t *ret_count,
		      struct err *e)
{
	size_t count = list ? json_array_size(list) : 0;
	char show[JDOC_SHOW_MAX];
	auto_free char *t = calloc(count + 1, size);

	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const char *s = jdoc_at(list, i);

		if (strlen(s) >= size)
			return err_set(e, -EINVAL, "%s %s is longer than %zu bytes", what, jdoc_show(s, show),
				       size - 1);
		memcpy(t + i * size, s, strlen(s) + 1);
	}
	*ret_count = (uint32_t)count;
	*(void **)ret = take(t);
	return 0;
}

/* Methods and paths, of a rule or of a secret. */
static int lists_read(json_t *o, char (**methods)[32], uint32_t *method_count, char (**paths)[512],
		      uint32_t *path_count, struct err *e)
{
	const json_t *m = NULL, *p = NULL;
	int rc = jdoc_strs(o, "methods", RULES_METHODS_MAX, &m, e);

	if (!rc)
		rc = jdoc_strs(o, "paths", RULES_PATHS_MAX, &p, e);
	if (!rc)
		rc = strings_of(m, "method", sizeof(**methods), methods, method_count, e);
	if (!rc)
		rc = strings_of(p, "path", sizeof(**paths), paths, path_count, e);
	return rc;
}

/* A string of at most size - 1 bytes; "" when it is missing. */
static int text_read(const json_t *o, const char *field, char *ret, size_t size, struct err *e)
{
	const char *s = "";
	int rc = jdoc_str(o, field, &s, e);

	if (!rc && strlen(s) >= size)
		rc = err_set(e, -EINVAL, "%s is longer than %zu bytes", field, size - 1);
	if (!rc)
		memcpy(ret, s, strlen(s) + 1);
	return rc;
}

static int attach_read(json_t *o, struct rules_attach *a, struct err *e)
{
	static const char *const fields[] = {"secret", "slot", "name", "prefix", "suffix"};
	const char *slot = "";
	int rc = jdoc_fields(o, fields, ARRAY_SIZE(fields), e);

	if (!rc)
		rc = text_read(o, "secret", a->secret, sizeof(a->secret), e);
	if (!rc)
		rc = jdoc_str(o, "slot", &slot, e);
	if (!rc)
		rc = text_read(o, "name", a->name, sizeof(a->name), e);
	if (!rc)
		rc = text_read(o, "prefix", a->prefix, sizeof(a->prefix), e);
	if (!rc)
		rc = text_read(o, "suffix", a->suffix, sizeof(a->suffix), e);
	a->slot = (uint8_t)rules_slot_of(slot);
	return rc;
}

int rules_read_attach(const json_t *list, struct rules_attach **ret, uint32_t *ret_count, struct err *e)
{
	auto_free struct rules_attach *t = NULL;
	size_t n = json_array_size(list);

	if (!list)
		return 0;
	if (!json_is_array(list) || n > RULES_ATTACH_MAX)
		return err_set(e, -EINVAL, "inject must be a list, [...], of at most %d", RULES_ATTACH_MAX);
	t = calloc(n + 1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		int rc = attach_read(json_array_get(list, i), &t[i], e);

		if (rc)
			return err_in(e, rc, "inject %zu", i + 1);
	}
	*ret_count = (uint32_t)n;
	*ret = take(t);
	return 0;
}

static int rule_read(json_t *o, struct rules *r, struct err *e)
{
	static const char *const fields[] = {"host",	"port",	   "mode",	  "methods", "paths",
					     "private", "upgrade", "client_cert", "inject"};
	struct rules_rule t = {.mode = RULES_INSPECT};
	auto_(rule) struct rules_rule *undo = &t;
	const char *host = NULL, *mode = "inspect";
	uint64_t port = 443;
	int rc;

	rc = jdoc_fields(o, fields, ARRAY_SIZE(fields), e);
	if (!rc)
		rc = jdoc_str(o, "host", &host, e);
	if (!rc && !host)
		rc = err_set(e, -EINVAL, "there is no host");
	if (!rc)
		rc = rules_host(host, true, true, t.host, e);
	if (!rc)
		rc = jdoc_uint(o, "port", 1, 65535, &port, e);
	if (!rc)
		rc = jdoc_str(o, "mode", &mode, e);
	if (!rc)
		rc = mode_of(mode, &t.mode, e);
	if (!rc)
		rc = jdoc_bool(o, "private", &t.private, e);
	if (!rc)
		rc = jdoc_bool(o, "upgrade", &t.upgrade, e);
	if (!rc)
		rc = text_read(o, "client_cert", t.client_cert, sizeof(t.client_cert), e);
	if (!rc)
		rc = lists_read(o, &t.methods, &t.method_count, &t.paths, &t.path_count, e);
	if (!rc)
		rc = rules_read_attach(json_object_get(o, "inject"), &t.attach, &t.attach_count, e);
	t.port = (uint16_t)port;
	return rc ? rc : rules_add(r, undo, e);
}

static int slots_read(const json_t *list, uint32_t *ret, struct err *e)
{
	char show[JDOC_SHOW_MAX];
	uint32_t slots = 0;

	for (size_t i = 0; i < json_array_size(list); i++) {
		int slot = rules_slot_of(jdoc_at(list, i));

		if (!slot)
			return err_set(e, -EINVAL, "slot %s is none of basic, body, client_cert, header, path, proxy, query",
				       jdoc_show(jdoc_at(list, i), show));
		slots |= (uint32_t)slot;
	}
	*ret = slots;
	return 0;
}

static int ports_read(json_t *o, struct rules_secret *s, struct err *e)
{
	json_t *list = json_object_get(o, "ports");

	if (list && (!json_is_array(list) || json_array_size(list) > RULES_BIND_PORTS_MAX))
		return err_set(e, -EINVAL, "ports must be a list of at most %d numbers", RULES_BIND_PORTS_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		json_int_t n = json_integer_value(json_array_get(list, i));

		if (n < 1 || n > 65535)
			return err_set(e, -EINVAL, "ports: entry %zu is no number from 1 to 65535", i + 1);
		s->ports[s->port_count++] = (uint16_t)n;
	}
	return 0;
}

static int kind_read(json_t *o, struct rules_secret *s, struct err *e)
{
	const char *word = "value", *names[KIND_PARAMS_MAX], *values[KIND_PARAMS_MAX], *key;
	json_t *params = json_object_get(o, "params"), *v;
	char show[JDOC_SHOW_MAX];
	size_t n = 0;
	int kind, rc = jdoc_str(o, "kind", &word, e);

	if (rc)
		return rc;
	kind = kind_of(word);
	if (kind < 0)
		return err_set(e, -EINVAL, "there is no kind %s", jdoc_show(word, show));
	if (params && !json_is_object(params))
		return err_set(e, -EINVAL, "params must be an object, {...}");
	json_object_foreach(params, key, v) {
		if (n == KIND_PARAMS_MAX || !json_is_string(v))
			return err_set(e, -EINVAL, "params must be at most %d strings", KIND_PARAMS_MAX);
		names[n] = key;
		values[n++] = json_string_value(v);
	}
	s->kind = (enum kind)kind;
	return kind_params(s->kind, names, values, n, &s->params, e);
}

/* What a secret is bound to beside hosts and slots. */
static int secret_read_more(json_t *o, struct rules_secret *s, struct err *e)
{
	int rc = ports_read(o, s, e);

	if (!rc)
		rc = lists_read(o, &s->methods, &s->method_count, &s->paths, &s->path_count, e);
	if (!rc)
		rc = text_read(o, "placeholder", s->placeholder, sizeof(s->placeholder), e);
	return rc ? rc : kind_read(o, s, e);
}

static int secret_read(json_t *o, struct rules *r, struct err *e)
{
	static const char *const fields[] = {"name",  "hosts",   "slots",      "ports",
					     "methods", "paths", "placeholder", "kind", "params"};
	struct rules_secret s = {.slots = RULES_SLOTS_DEFAULT};
	auto_(binding) struct rules_secret *done = &s;
	const json_t *host_list = NULL, *slot_list = NULL;
	const char *name = NULL;
	int rc;

	rc = jdoc_fields(o, fields, ARRAY_SIZE(fields), e);
	if (!rc)
		rc = jdoc_str(o, "name", &name, e);
	if (!rc && !name)
		rc = err_set(e, -EINVAL, "there is no name");
	if (!rc)
		rc = text_read(o, "name", s.name, sizeof(s.name), e);
	if (!rc)
		rc = jdoc_strs(o, "hosts", RULES_BIND_HOSTS_MAX, &host_list, e);
	if (!rc)
		rc = strings_of(host_list, "host", sizeof(*s.hosts), &s.hosts, &s.host_count, e);
	if (!rc)
		rc = jdoc_strs(o, "slots", 6, &slot_list, e);
	if (!rc && slot_list)
		rc = slots_read(slot_list, &s.slots, e);
	if (!rc)
		rc = secret_read_more(o, &s, e);
	if (rc)
		return rc;
	if (rules_secret(r, name))
		return err_set(e, -EEXIST, "the name stands in an earlier one too");
	return rules_put(r, done, e);
}

/* ---- unix sockets outside ---- */

/* Absolute, without "//", "." and ".." segments or a slash at the end. */
static bool peer_path_ok(const char *s)
{
	if (*s != '/' || !s[1])
		return false;
	while (*s == '/') {
		size_t n = strcspn(++s, "/");

		if (!n || (s[0] == '.' && (n == 1 || (n == 2 && s[1] == '.'))))
			return false;
		s += n;
	}
	return true;
}

static int peer_check(const char *peer, struct err *e)
{
	const size_t word = sizeof(RULES_PEER_CGROUP) - 1;
	bool cgroup = strncmp(peer, RULES_PEER_CGROUP, word) == 0;
	const char *path = cgroup ? peer + word : peer;
	char show[JDOC_SHOW_MAX];

	for (const char *s = peer; *s; s++)
		if (*s <= ' ' || *s >= 0x7f || *s == '"' || *s == '\\')
			return err_set(e, -EINVAL, "%s has a byte that may not stand in a path here", jdoc_show(peer, show));
	if (!peer_path_ok(path))
		return err_set(e, -EINVAL, "%s is neither an absolute path without . and .. nor " RULES_PEER_CGROUP
			       " before one", jdoc_show(peer, show));
	if (strlen(peer) >= (cgroup ? RULES_PEER_LEN : 108))
		return err_set(e, -EINVAL, "%s is longer than such a path may be", jdoc_show(peer, show));
	return 0;
}

int rules_peer_add(struct rules *r, const char *peer, struct err *e)
{
	char show[JDOC_SHOW_MAX];
	int rc = peer_check(peer, e);
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

static int peers_read(json_t *doc, struct rules *r, struct err *e)
{
	const json_t *list = NULL;
	int rc = jdoc_strs(doc, "unix", RULES_PEERS_MAX, &list, e);

	for (size_t i = 0; !rc && i < json_array_size(list); i++) {
		rc = rules_peer_add(r, jdoc_at(list, i), e);
		if (rc && rc != -ENOMEM)
			rc = err_in(e, rc, "unix %zu", i + 1);
	}
	return rc;
}

/* Each element of a list through `read`; an error says which one ("rule 3 (api.x.com)"). */
static int list_read(json_t *doc, const char *list, const char *what, const char *label,
		     int (*read)(json_t *, struct rules *, struct err *), struct rules *r, struct err *e)
{
	json_t *a = json_object_get(doc, list);
	char show[JDOC_SHOW_MAX];

	if (!json_is_array(a))
		return err_set(e, -EINVAL, "%s must be a list, [...]", list);
	for (size_t i = 0; i < json_array_size(a); i++) {
		json_t *o = json_array_get(a, i);
		const char *name = json_string_value(json_object_get(o, label));
		int rc = read(o, r, e);

		if (rc == -ENOMEM)
			return rc;
		if (rc && name)
			return err_in(e, rc, "%s %zu (%s)", what, i + 1, jdoc_show(name, show));
		if (rc)
			return err_in(e, rc, "%s %zu", what, i + 1);
	}
	return 0;
}

/* Everything but the lists. */
static int head_read(json_t *doc, struct rules **ret, struct err *e)
{
	static const char *const fields[] = {"format", "workspace", "version", "created", "owner", "rules",
					     "secrets", "foreign_credentials", "unix"};
	const size_t needed = ARRAY_SIZE(fields) - 2; /* the last two may be missing */
	uint64_t format = 0, version = 0, owner = 0;
	const char *workspace = NULL, *created = NULL, *foreign = "warn";
	enum rules_foreign mode = RULES_FOREIGN_WARN;
	int rc = jdoc_fields(doc, fields, ARRAY_SIZE(fields), e);

	for (size_t i = 0; !rc && i < needed; i++)
		if (!json_object_get(doc, fields[i]))
			rc = err_set(e, -EINVAL, "there is no field \"%s\"", fields[i]);
	if (!rc)
		rc = jdoc_uint(doc, "format", RULES_FORMAT, RULES_FORMAT, &format, e);
	if (!rc)
		rc = jdoc_str(doc, "workspace", &workspace, e);
	if (!rc)
		rc = jdoc_uint(doc, "version", 0, INT64_MAX, &version, e);
	if (!rc)
		rc = jdoc_str(doc, "created", &created, e);
	if (!rc)
		rc = jdoc_uint(doc, "owner", 0, OWNER_MAX, &owner, e);
	if (!rc)
		rc = jdoc_str(doc, "foreign_credentials", &foreign, e);
	if (rc)
		return rc;
	if (!rules_foreign_of(foreign, &mode))
		return err_set(e, -EINVAL, "foreign_credentials is one of off, warn, refuse");
	if (!rules_workspace_ok(workspace))
		return err_set(e, -EINVAL, "a workspace's name is a-z, 0-9 and '-', does not begin with '-', and "
			       "has at most 63 bytes");
	if (!created_ok(created))
		return err_set(e, -EINVAL, "created must look like 2026-01-31T12:00:00Z");
	*ret = rules_new(workspace, (uint32_t)owner, created);
	if (!*ret)
		return -ENOMEM;
	(*ret)->version = version;
	(*ret)->foreign = mode;
	return 0;
}

int rules_parse(const char *text, size_t len, bool strict, struct rules **ret, struct err *e)
{
	auto_(json) json_t *doc = NULL;
	auto_(rules) struct rules *r = NULL;
	auto_free char *again = NULL;
	size_t again_len;
	int rc;

	rc = jdoc_load(text, len, RPC_DOC_MAX, DEPTH, &doc, e);
	if (!rc)
		rc = head_read(doc, &r, e);
	if (!rc)
		rc = list_read(doc, "rules", "rule", "host", rule_read, r, e);
	if (!rc)
		rc = list_read(doc, "secrets", "secret", "name", secret_read, r, e);
	if (!rc)
		rc = peers_read(doc, r, e);
	if (!rc && strict)
		rc = rules_write(r, &again, &again_len, e);
	if (rc)
		return rc;
	if (strict && (again_len != len || memcmp(again, text, len) != 0)) {
		size_t at = 0;

		while (at < len && at < again_len && again[at] == text[at])
			at++;
		return err_set(e, -EINVAL, "the document is not in canonical form from byte %zu on", at);
	}
	*ret = take(r);
	return 0;
}

/* ---- writing ---- */

/* What is in a document never needs an escape: hosts, tokens, names, normalised paths and what attach_ok() took. */
static void put_str(struct wr *w, const char *s)
{
	wr_u8(w, '"');
	for (; *s; s++) {
		assert(*s >= ' ' && *s < 0x7f && *s != '"' && *s != '\\');
		wr_u8(w, (uint8_t)*s);
	}
	wr_u8(w, '"');
}

static void put_field(struct wr *w, const char *name, const char *value)
{
	wr_str(w, name);
	put_str(w, value);
}

static void put_uint(struct wr *w, const char *name, uint64_t n)
{
	char digits[24];

	(void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	wr_str(w, name);
	wr_str(w, digits);
}

static void put_list(struct wr *w, const char *name, const void *strings, uint32_t count, size_t size)
{
	wr_str(w, name);
	wr_u8(w, '[');
	for (uint32_t i = 0; i < count; i++)
		put_field(w, i ? "," : "", (const char *)strings + i * size);
	wr_u8(w, ']');
}

static void put_attach(struct wr *w, const struct rules_rule *rule)
{
	for (uint32_t i = 0; i < rule->attach_count; i++) {
		const struct rules_attach *a = &rule->attach[i];

		wr_str(w, i ? ",{" : ",\"inject\":[{");
		put_field(w, "\"secret\":", a->secret);
		put_field(w, ",\"slot\":", rules_slot_word((enum rules_slot)a->slot));
		put_field(w, ",\"name\":", a->name);
		put_field(w, ",\"prefix\":", a->prefix);
		put_field(w, ",\"suffix\":", a->suffix);
		wr_u8(w, '}');
	}
	if (rule->attach_count)
		wr_u8(w, ']');
}

static void put_rule(struct wr *w, const struct rules_rule *rule)
{
	put_field(w, "{\"host\":", rule->host);
	put_uint(w, ",\"port\":", rule->port);
	put_field(w, ",\"mode\":", rules_mode_word(rule->mode));
	put_list(w, ",\"methods\":", rule->methods, rule->method_count, sizeof(*rule->methods));
	put_list(w, ",\"paths\":", rule->paths, rule->path_count, sizeof(*rule->paths));
	wr_str(w, rule->private ? ",\"private\":true" : ",\"private\":false");
	if (rule->upgrade)
		wr_str(w, ",\"upgrade\":true");
	if (rule->client_cert[0])
		put_field(w, ",\"client_cert\":", rule->client_cert);
	put_attach(w, rule);
	wr_u8(w, '}');
}

/* A parameter of a kind: printable ASCII. */
static void put_text(struct wr *w, const char *s)
{
	wr_u8(w, '"');
	for (; *s; s++) {
		assert(*s >= ' ' && *s < 0x7f);
		if (*s == '"' || *s == '\\')
			wr_u8(w, '\\');
		wr_u8(w, (uint8_t)*s);
	}
	wr_u8(w, '"');
}

static void put_kind(struct wr *w, const struct rules_secret *s)
{
	const char *at = s->params, *name, *value, *comma = "";

	put_field(w, ",\"kind\":", kind_word(s->kind));
	wr_str(w, ",\"params\":{");
	while ((name = kind_next(&at, &value))) {
		put_field(w, comma, name);
		wr_u8(w, ':');
		put_text(w, value);
		comma = ",";
	}
	wr_u8(w, '}');
}

static void put_secret_more(struct wr *w, const struct rules_secret *s)
{
	for (uint32_t i = 0; i < s->port_count; i++)
		put_uint(w, i ? "," : ",\"ports\":[", s->ports[i]);
	if (s->port_count)
		wr_u8(w, ']');
	if (s->method_count)
		put_list(w, ",\"methods\":", s->methods, s->method_count, sizeof(*s->methods));
	if (s->path_count)
		put_list(w, ",\"paths\":", s->paths, s->path_count, sizeof(*s->paths));
	if (s->placeholder[0])
		put_field(w, ",\"placeholder\":", s->placeholder);
	if (s->kind != KIND_VALUE)
		put_kind(w, s);
}

static void put_secret(struct wr *w, const struct rules_secret *s)
{
	static const char *const slots[] = {"basic", "body", "client_cert", "header", "path", "proxy", "query"};
	const char *comma = "";

	put_field(w, "{\"name\":", s->name);
	put_list(w, ",\"hosts\":", s->hosts, s->host_count, sizeof(*s->hosts));
	wr_str(w, ",\"slots\":[");
	for (size_t i = 0; i < ARRAY_SIZE(slots); i++)
		if (s->slots & (uint32_t)rules_slot_of(slots[i])) {
			put_field(w, comma, slots[i]);
			comma = ",";
		}
	wr_u8(w, ']');
	put_secret_more(w, s);
	wr_u8(w, '}');
}

int rules_write(const struct rules *r, char **ret, size_t *ret_len, struct err *e)
{
	auto_free char *text = malloc(RPC_DOC_MAX + 1);
	struct wr w = wr_of(text, RPC_DOC_MAX);

	if (!text)
		return -ENOMEM;
	put_uint(&w, "{\"format\":", RULES_FORMAT);
	put_field(&w, ",\"workspace\":", r->workspace);
	put_uint(&w, ",\"version\":", r->version);
	put_field(&w, ",\"created\":", r->created);
	put_uint(&w, ",\"owner\":", r->owner);
	if (r->foreign != RULES_FOREIGN_WARN)
		put_field(&w, ",\"foreign_credentials\":", rules_foreign_word(r->foreign));
	wr_str(&w, ",\"rules\":[");
	for (uint32_t i = 0; i < r->rule_count; i++) {
		wr_str(&w, i ? "," : "");
		put_rule(&w, &r->rules[i]);
	}
	wr_str(&w, "],\"secrets\":[");
	for (uint32_t i = 0; i < r->secret_count; i++) {
		wr_str(&w, i ? "," : "");
		put_secret(&w, &r->secrets[i]);
	}
	wr_u8(&w, ']');
	if (r->peer_count)
		put_list(&w, ",\"unix\":", r->peers, r->peer_count, sizeof(*r->peers));
	wr_str(&w, "}\n");
	if (w.full)
		return err_set(e, -E2BIG, "the document would be larger than the %d bytes that fit", RPC_DOC_MAX);
	text[w.len] = '\0';
	*ret_len = w.len;
	*ret = take(text);
	return 0;
}
