/* rulesform.c: see rulesform.h. */
#include "rulesform.h"

#include "jdoc.h"
#include "origin.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- memory ---- */

void rulesform_rule_done(struct rules_rule *rule)
{
	free(rule->methods);
	free(rule->paths);
	free(rule->attach);
	memset(rule, 0, sizeof(*rule));
}

void rulesform_secret_done(struct rules_secret *s)
{
	free(s->hosts);
	free(s->methods);
	free(s->paths);
	free(s->params);
	memset(s, 0, sizeof(*s));
}

/* ---- methods and paths, of a rule or of a secret ---- */

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

/* ---- a rule ---- */

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

int rulesform_rule(const struct rules_rule *in, struct rules_rule *ret, struct err *e)
{
	struct rules_rule t = {
		.port = in->port, .mode = in->mode, .private = in->private, .upgrade = in->upgrade};
	auto_(rulesform_rule) struct rules_rule *undo = &t;
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

static int strings_order(const void *a, uint32_t a_count, const void *b, uint32_t b_count, size_t size)
{
	for (uint32_t i = 0; i < a_count && i < b_count; i++) {
		int c = strcmp((const char *)a + i * size, (const char *)b + i * size);

		if (c)
			return c;
	}
	return (a_count > b_count) - (a_count < b_count);
}

int rulesform_order(const struct rules_rule *a, const struct rules_rule *b)
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

/* ---- a secret ---- */

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

/* Found nowhere by chance, changed by no encoding. */
static int bind_placeholder(const struct rules_secret *s, struct err *e)
{
	size_t n = strlen(s->placeholder);

	if (!n)
		return 0;
	if (n < RULES_PLACEHOLDER_MIN || !unreserved(s->placeholder) || strstr(s->placeholder, "agentsecrets"))
		return err_set(e, -EINVAL, "a placeholder has %d to %d letters, digits, '-', '.', '_' and '~', and no "
			       "\"agentsecrets\" in it", RULES_PLACEHOLDER_MIN, RULES_PLACEHOLDER_MAX - 1);
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

int rulesform_secret(const struct rules_secret *in, struct rules_secret *ret, struct err *e)
{
	struct rules_secret t = {.slots = in->slots};
	auto_(rulesform_secret) struct rules_secret *undo = &t;
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
		rc = bind_placeholder(&t, e);
	if (!rc)
		rc = bind_params(in, &t);
	if (rc)
		return rc;
	*ret = t;
	undo = NULL;
	return 0;
}

/* ---- the rest of a document ---- */

bool rulesform_created_ok(const char *s)
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

int rulesform_peer(const char *peer, struct err *e)
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
