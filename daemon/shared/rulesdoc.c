/* rulesdoc.c: documents read and written.
 *
 * What is read goes into the document as every change does (rulesedit.c), which refuses what may not be. So
 * rules_write() has nothing to check, and a strict read writes what it read and compares the bytes.
 */
#include "rules.h"

#include "jdoc.h"
#include "rulesform.h"
#include "wr.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DEPTH 5 /* document, list of rules, rule, list of injections, injection */

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
	auto_(rulesform_rule) struct rules_rule *undo = &t;
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
	auto_(rulesform_secret) struct rules_secret *done = &s;
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
		rc = jdoc_uint(doc, "owner", 0, RULESFORM_OWNER_MAX, &owner, e);
	if (!rc)
		rc = jdoc_str(doc, "foreign_credentials", &foreign, e);
	if (rc)
		return rc;
	if (!rules_foreign_of(foreign, &mode))
		return err_set(e, -EINVAL, "foreign_credentials is one of off, warn, refuse");
	if (!rules_workspace_ok(workspace))
		return err_set(e, -EINVAL, "a workspace's name is a-z, 0-9 and '-', does not begin with '-', and "
			       "has at most 63 bytes");
	if (!rulesform_created_ok(created))
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

/* What is in a document never needs an escape: hosts, tokens, names, normalised paths and what rulesform.c took. */
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
