/* rules.c: names, hosts and paths by their syntax, and the questions asked on every request.
 *
 * A document's rules are sorted by (host, port, mode, ...) and its secrets by name, so the document is
 * its own index: a host is found by binary search, first as it stands, then as "*.parent" for each
 * parent, longest first. The first of these patterns that has the asked port decides alone: a
 * restriction on api.example.com is not undone by a wider "*.example.com". rulesedit.c makes and changes
 * documents, and keeps all rules of one host and port at one mode and one `private`.
 *
 * Globs: '*' stands for any bytes within a segment, a segment "**" for any number of segments, and at
 * the end for at least one (after /v1/ it matches "/v1/" and what is below, not "/v1"). Both levels backtrack to
 * the last star only, so a match costs at most length of path times length of glob.
 */
#include "rules.h"

#include "jdoc.h"
#include "origin.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int hex_of(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* ---- names ---- */

bool rules_name_ok(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++) {
		bool first_ok = (name[n] >= 'A' && name[n] <= 'Z') || name[n] == '_';

		if (n >= RPC_NAME_MAX - 1 || !(first_ok || (n && is_digit(name[n]))))
			return false;
	}
	return n > 0;
}

bool rules_workspace_ok(const char *name)
{
	size_t n = 0;

	for (; name[n]; n++) {
		bool first_ok = is_lower(name[n]) || is_digit(name[n]);

		if (n >= RPC_WORKSPACE_MAX - 1 || !(first_ok || (n && name[n] == '-')))
			return false;
	}
	return n > 0;
}

const char *rules_mode_word(enum rules_mode mode)
{
	switch (mode) {
	case RULES_INSPECT:
		return "inspect";
	case RULES_TUNNEL:
		return "tunnel";
	case RULES_TCP:
		return "tcp";
	}
	return "none";
}

static const struct {
	const char *word;
	enum rules_slot slot;
} rules_slots[] = {
	{"header", RULES_SLOT_HEADER}, {"basic", RULES_SLOT_BASIC}, {"query", RULES_SLOT_QUERY},
	{"path", RULES_SLOT_PATH},     {"body", RULES_SLOT_BODY},   {"client_cert", RULES_SLOT_CERT},
	{"proxy", RULES_SLOT_PROXY},
};

int rules_slot_of(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules_slots); i++)
		if (strcmp(word, rules_slots[i].word) == 0)
			return rules_slots[i].slot;
	return 0;
}

const char *rules_slot_word(enum rules_slot slot)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules_slots); i++)
		if (rules_slots[i].slot == slot)
			return rules_slots[i].word;
	return "none";
}

static const char *const foreign_words[] = {
	[RULES_FOREIGN_WARN] = "warn",
	[RULES_FOREIGN_OFF] = "off",
	[RULES_FOREIGN_REFUSE] = "refuse",
};

const char *rules_foreign_word(enum rules_foreign foreign)
{
	return (unsigned int)foreign < ARRAY_SIZE(foreign_words) ? foreign_words[foreign] : "refuse";
}

bool rules_foreign_of(const char *word, enum rules_foreign *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(foreign_words); i++)
		if (strcmp(word, foreign_words[i]) == 0) {
			*ret = (enum rules_foreign)i;
			return true;
		}
	return false;
}

/* ---- hosts ---- */

/* What inet_aton() and browsers read as a number: then the whole name would be an address. */
static bool label_is_number(const char *label, size_t n)
{
	bool hex = n >= 2 && label[0] == '0' && label[1] == 'x';
	size_t i = hex ? 2 : 0;

	while (i < n && (hex ? hex_of(label[i]) >= 0 : is_digit(label[i])))
		i++;
	return i == n;
}

/* NULL when s, lower case and without a final dot, is a name of two labels or more; else what is wrong. */
static const char *host_wrong(const char *s)
{
	size_t labels = 0, start = 0, i = 0;

	for (;; i++) {
		if (i >= RPC_HOST_MAX)
			return "is longer than the 253 bytes that a host name may have";
		if (s[i] && s[i] != '.') {
			if (!is_lower(s[i]) && !is_digit(s[i]) && s[i] != '-' && s[i] != '_')
				return "has a byte that no host name has; use letters, digits, '-', '_' and '.', "
				       "and write other scripts in punycode (xn--...)";
			continue;
		}
		if (i == start)
			return "has an empty label";
		if (i - start > 63)
			return "has a label of more than 63 bytes";
		if (s[start] == '-' || s[i - 1] == '-')
			return "has a label that begins or ends with '-'";
		labels++;
		if (!s[i])
			break;
		start = i + 1;
	}
	if (label_is_number(s + start, i - start))
		return "ends in a number, so it looks like an address";
	if (labels < 2)
		return "is a single label; write the full name, such as api.example.com";
	return NULL;
}

bool rules_host_ok(const char *host)
{
	return host_wrong(host) == NULL;
}

/* Lower case, one final dot dropped. False: too long for any host. */
static bool host_fold(const char *typed, char out[RPC_HOST_MAX])
{
	size_t n = strlen(typed);

	if (n > 1 && typed[n - 1] == '.')
		n--;
	if (n >= RPC_HOST_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = typed[i] >= 'A' && typed[i] <= 'Z' ? (char)(typed[i] + 32) : typed[i];
	out[n] = '\0';
	return true;
}

/* As host_wrong(), for what stands in a rule: a name, or "*." and a name of two labels or more. */
static const char *pattern_wrong(const char *host, bool wildcard)
{
	if (!strchr(host, '*'))
		return host_wrong(host);
	if (!wildcard)
		return "has a wildcard, which cannot stand here";
	if (strncmp(host, "*.", 2) != 0 || strchr(host + 1, '*'))
		return "has a wildcard that is not the whole first label; write *.example.com";
	return host_wrong(host + 2);
}

int rules_host(const char *typed, bool wildcard, bool address, char out[RPC_HOST_MAX], struct err *e)
{
	char host[RPC_HOST_MAX], text[ORIGIN_TEXT_MAX], show[JDOC_SHOW_MAX];
	const char *wrong;
	uint8_t addr[16];

	if (!typed[0])
		return err_set(e, -EINVAL, "the host is empty; write a name such as api.example.com");
	if (origin_parse(typed, addr)) {
		if (!address)
			return err_set(e, -EINVAL, "%s is an address; use a name, or a rule for this address "
				       "with private set", jdoc_show(typed, show));
		(void)snprintf(out, RPC_HOST_MAX, "%s", origin_text(addr, text));
		return 0;
	}
	if (strpbrk(typed, "/:@"))
		return err_set(e, -EINVAL, "%s is not a host alone; leave out scheme, user, port and path",
			       jdoc_show(typed, show));
	wrong = host_fold(typed, host) ? pattern_wrong(host, wildcard) : "is longer than 253 bytes";
	if (wrong)
		return err_set(e, -EINVAL, "%s %s", jdoc_show(typed, show), wrong);
	memcpy(out, host, strlen(host) + 1);
	return 0;
}

bool rules_host_match(const char *pattern, const char *host)
{
	size_t p, h;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcmp(pattern, host) == 0;
	p = strlen(pattern) - 1; /* with the dot, without the star */
	h = strlen(host);
	return h > p && host[0] != '.' && memcmp(host + h - p, pattern + 1, p) == 0;
}

/* ---- paths ---- */

static bool is_unreserved(unsigned char c)
{
	return is_digit((char)c) || is_lower((char)c) || (c >= 'A' && c <= 'Z') || (c && strchr("-._~", c));
}

/* Bytes that, encoded, change what a path means to some server: separators, controls, and 0xc0/0xc1,
 * which stand only in over-long UTF-8. */
static bool is_trap(unsigned char c)
{
	return c < 0x20 || c == 0x7f || c == '/' || c == '\\' || c == 0xc0 || c == 0xc1;
}

static int path_decode(const char *path, size_t len, char *out, size_t cap, size_t *ret)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)path[i];
		bool encoded = c == '%';

		if (encoded) {
			int hi = len - i > 2 ? hex_of(path[i + 1]) : -1, lo = hi < 0 ? -1 : hex_of(path[i + 2]);

			if (lo < 0)
				return -EINVAL;
			c = (unsigned char)(hi << 4 | lo);
			i += 2;
			if (is_trap(c))
				return -EINVAL;
		} else if (!is_unreserved(c) && !(c && strchr("/:@!$&'()*+,;=", c))) {
			return -EINVAL;
		}
		encoded = encoded && !is_unreserved(c);
		if (n + (encoded ? 3 : 1) >= cap)
			return -E2BIG;
		if (encoded) {
			out[n++] = '%';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		} else {
			out[n++] = (char)c;
		}
	}
	out[n] = '\0';
	*ret = n;
	return 0;
}

/* Bytes of a segment before its parameters: "..;x" is ".." to some servers. */
static size_t segment_name(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && s[i] != ';' && !(n - i >= 3 && memcmp(s + i, "%3B", 3) == 0))
		i++;
	return i;
}

static bool segment_ok(const char *s, size_t n, bool last)
{
	size_t name = segment_name(s, n);

	if (!name)
		return last && !n;
	return !(s[0] == '.' && (name == 1 || (name == 2 && s[1] == '.')));
}

int rules_path(const char *path, size_t len, char *out, size_t cap)
{
	size_t n, start = 1;
	int rc;

	if (!len || path[0] != '/')
		return -EINVAL;
	rc = path_decode(path, len, out, cap, &n);
	if (rc)
		return rc;
	for (size_t i = 1; i <= n; i++) {
		if (i == n || out[i] == '/') {
			if (!segment_ok(out + start, i - start, i == n))
				return -EINVAL;
			start = i + 1;
		} else if (n - i > 4 && memcmp(out + i, "%25", 3) == 0 && hex_of(out[i + 3]) >= 0 &&
			   hex_of(out[i + 4]) >= 0) {
			return -EINVAL; /* encoded twice: decoded twice by someone */
		}
	}
	return 0;
}

static size_t segment_len(const char *s)
{
	return strcspn(s, "/");
}

static const char *segment_next(const char *s)
{
	const char *slash = strchr(s, '/');

	return slash ? slash + 1 : NULL;
}

static bool segment_deep(const char *p)
{
	return p && segment_len(p) == 2 && memcmp(p, "**", 2) == 0;
}

static bool segment_match(const char *p, size_t pn, const char *s, size_t sn)
{
	size_t pi = 0, si = 0, star = SIZE_MAX, from = 0;

	while (si < sn) {
		if (pi < pn && p[pi] == '*') {
			star = ++pi;
			from = si;
		} else if (pi < pn && p[pi] == s[si]) {
			pi++;
			si++;
		} else if (star != SIZE_MAX) {
			pi = star;
			si = ++from;
		} else {
			return false;
		}
	}
	while (pi < pn && p[pi] == '*')
		pi++;
	return pi == pn;
}

static bool path_match(const char *glob, const char *path)
{
	const char *p = glob + 1, *s = path + 1, *deep = NULL, *from = NULL;

	while (s) {
		if (segment_deep(p)) {
			deep = segment_next(p);
			if (!deep)
				return true;
			from = s;
			p = deep;
		} else if (p && segment_match(p, segment_len(p), s, segment_len(s))) {
			p = segment_next(p);
			s = segment_next(s);
		} else if (deep) {
			p = deep;
			from = segment_next(from);
			s = from;
		} else {
			return false;
		}
	}
	while (segment_deep(p) && segment_next(p))
		p = segment_next(p);
	return p == NULL;
}

/* ---- finding rules ---- */

/* The patterns that may stand for a host, most particular first. `name` is eaten from the left: each
 * step overwrites the byte before a dot with '*'. */
struct patterns {
	char name[RPC_HOST_MAX];
	char *at;
};

static bool patterns_first(struct patterns *w, const char *host)
{
	size_t n = strlen(host);

	if (!n || n >= sizeof(w->name) || host[0] == '*')
		return false;
	memcpy(w->name, host, n + 1);
	w->at = w->name;
	return true;
}

static bool patterns_next(struct patterns *w)
{
	char *dot = strchr(w->at + (w->at[0] == '*' ? 2 : 1), '.');

	if (!dot)
		return false;
	w->at = dot - 1;
	w->at[0] = '*';
	return true;
}

/* Index of the first rule that is not before (host, port). */
static size_t first_rule(const struct rules *r, const char *host, uint16_t port)
{
	size_t lo = 0, hi = r->rule_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(r->rules[mid].host, host);

		if (c < 0 || (c == 0 && r->rules[mid].port < port))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool rule_is(const struct rules *r, size_t i, const char *host)
{
	return i < r->rule_count && strcmp(r->rules[i].host, host) == 0;
}

/* The rules [*from, *to) that decide about host and port. False, and *why, when there is none. */
static bool deciding(const struct rules *r, const char *host, uint16_t port, size_t *from, size_t *to,
		     enum reason *why)
{
	struct patterns w;

	*why = r->rule_count ? REASON_DOMAIN : REASON_EMPTY_ALLOWLIST;
	if (!patterns_first(&w, host))
		return false;
	do {
		size_t i = first_rule(r, w.at, port), end = i;

		while (rule_is(r, end, w.at) && r->rules[end].port == port)
			end++;
		if (end > i) {
			*from = i;
			*to = end;
			*why = REASON_NONE;
			return true;
		}
		if (rule_is(r, i, w.at) || (i && rule_is(r, i - 1, w.at)))
			*why = REASON_POLICY;
	} while (patterns_next(&w));
	return false;
}

bool rules_names(const struct rules *r, const char *host, bool *ret_private)
{
	bool named = false, private = false;
	struct patterns w;

	if (patterns_first(&w, host)) {
		do {
			for (size_t i = first_rule(r, w.at, 0); rule_is(r, i, w.at); i++) {
				named = true;
				private = private || r->rules[i].private;
			}
		} while (patterns_next(&w));
	}
	*ret_private = private;
	return named;
}

const struct rules_rule *rules_find(const struct rules *r, const char *host, uint16_t port, enum reason *why)
{
	size_t from, to;

	return deciding(r, host, port, &from, &to, why) ? &r->rules[from] : NULL;
}

const struct rules_rule *rules_upgrade(const struct rules *r, const char *host)
{
	struct patterns w;

	if (!patterns_first(&w, host))
		return NULL;
	do {
		for (size_t i = first_rule(r, w.at, 0); rule_is(r, i, w.at); i++) {
			if (r->rules[i].upgrade)
				return &r->rules[i];
			if (r->rules[i].port == 80)
				return NULL; /* more particular than any that is still to come */
		}
	} while (patterns_next(&w));
	return NULL;
}

static bool lists_allow(char (*methods)[32], uint32_t method_count, char (*paths)[512], uint32_t path_count,
			const char *method, const char *path)
{
	uint32_t m = 0, p = 0;

	while (m < method_count && strcmp(methods[m], method) != 0)
		m++;
	while (p < path_count && !(path[0] == '/' && path_match(paths[p], path)))
		p++;
	return (!method_count || m < method_count) && (!path_count || p < path_count);
}

static bool rule_allows(const struct rules_rule *rule, const char *method, const char *path)
{
	return lists_allow(rule->methods, rule->method_count, rule->paths, rule->path_count, method, path);
}

const struct rules_rule *rules_judge(const struct rules *r, const char *host, uint16_t port,
				     const char *method, const char *path, enum reason *why)
{
	size_t i, to;

	if (!deciding(r, host, port, &i, &to, why))
		return NULL;
	for (; i < to; i++)
		if (rule_allows(&r->rules[i], method, path))
			return &r->rules[i];
	*why = REASON_POLICY;
	return NULL;
}

bool rules_has_paths(const struct rules *r, const char *host, uint16_t port)
{
	enum reason why;
	size_t i, to;

	if (!deciding(r, host, port, &i, &to, &why))
		return false;
	for (; i < to; i++)
		if (r->rules[i].path_count)
			return true;
	return false;
}

/* Two that would write the same place. */
static bool same_place(const struct rules_attach *a, const struct rules_attach *b)
{
	bool a_auth = a->slot == RULES_SLOT_BASIC || (a->slot == RULES_SLOT_HEADER && !strcasecmp(a->name, "authorization"));
	bool b_auth = b->slot == RULES_SLOT_BASIC || (b->slot == RULES_SLOT_HEADER && !strcasecmp(b->name, "authorization"));

	if (a_auth || b_auth)
		return a_auth && b_auth;
	if (a->slot != b->slot)
		return false;
	return a->slot == RULES_SLOT_QUERY ? strcmp(a->name, b->name) == 0 : strcasecmp(a->name, b->name) == 0;
}

static bool same_attach(const struct rules_attach *a, const struct rules_attach *b)
{
	return a->slot == b->slot && strcmp(a->secret, b->secret) == 0 && strcmp(a->prefix, b->prefix) == 0 &&
	       strcmp(a->suffix, b->suffix) == 0;
}

/* Adds one; how many there are then. */
static int add_attach(const struct rules_attach *a, const struct rules_attach *ret[RULES_ATTACH_MAX], int n)
{
	for (int i = 0; i < n; i++)
		if (same_place(ret[i], a))
			return same_attach(ret[i], a) ? n : -EEXIST;
	if (n == RULES_ATTACH_MAX)
		return -E2BIG;
	ret[n] = a;
	return n + 1;
}

int rules_attached(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path,
		   const struct rules_attach *ret[RULES_ATTACH_MAX])
{
	enum reason why;
	size_t i, to;
	int n = 0;

	if (!deciding(r, host, port, &i, &to, &why))
		return 0;
	for (; i < to; i++)
		for (uint32_t a = 0; a < r->rules[i].attach_count && rule_allows(&r->rules[i], method, path); a++) {
			n = add_attach(&r->rules[i].attach[a], ret, n);
			if (n < 0)
				return n;
		}
	return n;
}

/* ---- secrets ---- */

const struct rules_secret *rules_secret(const struct rules *r, const char *name)
{
	size_t lo = 0, hi = r->secret_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(r->secrets[mid].name, name);

		if (c == 0)
			return &r->secrets[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static bool port_bound(const struct rules_secret *s, uint16_t port)
{
	uint32_t i = 0;

	while (i < s->port_count && s->ports[i] != port)
		i++;
	return !s->port_count || i < s->port_count;
}

/* A kind cannot stand everywhere. */
uint32_t rules_secret_slots(const struct rules_secret *s)
{
	if (s->kind == KIND_AWS)
		return RULES_SLOT_SIGN;
	return s->slots & (s->kind == KIND_HMAC ? RULES_SLOT_HEADER | RULES_SLOT_QUERY : RULES_SLOTS_KNOWN);
}

enum reason rules_secret_may(const struct rules *r, const char *name, const char *host, uint16_t port,
			     enum rules_slot slot)
{
	const struct rules_secret *s = rules_secret(r, name);
	const struct rules_rule *rule;
	enum reason why;
	uint32_t i = 0;

	if (!s)
		return REASON_SECRET_UNKNOWN;
	while (i < s->host_count && !rules_host_match(s->hosts[i], host))
		i++;
	if (i == s->host_count || !port_bound(s, port))
		return REASON_SECRET_HOST;
	rule = rules_find(r, host, port, &why);
	if (!rule || rule->mode != RULES_INSPECT)
		return REASON_SECRET_HOST;
	if ((slot & (slot - 1)) || slot == RULES_SLOT_PROXY || !(slot & rules_secret_slots(s)))
		return REASON_SECRET_SLOT;
	if (slot == RULES_SLOT_CERT && strcmp(rule->client_cert, name) != 0)
		return REASON_SECRET_SLOT;
	return REASON_NONE;
}

bool rules_secret_for_proxy(const struct rules *r, const char *name, const char *host, uint16_t port)
{
	const struct rules_secret *s = rules_secret(r, name);
	uint32_t i = 0;

	if (!s || s->kind != KIND_VALUE || s->slots != RULES_SLOT_PROXY || !port_bound(s, port))
		return false;
	while (i < s->host_count && !rules_host_match(s->hosts[i], host))
		i++;
	return i < s->host_count;
}

enum reason rules_secret_may_in(const struct rules *r, const char *name, const char *host, uint16_t port,
				enum rules_slot slot, const char *method, const char *path)
{
	const struct rules_secret *s = rules_secret(r, name);
	enum reason why = rules_secret_may(r, name, host, port, slot);

	if (why != REASON_NONE || !s)
		return why != REASON_NONE ? why : REASON_SECRET_UNKNOWN;
	return lists_allow(s->methods, s->method_count, s->paths, s->path_count, method, path ? path : "")
		       ? REASON_NONE
		       : REASON_SECRET_PATH;
}

bool rules_secrets_have_paths(const struct rules *r)
{
	for (uint32_t i = 0; i < r->secret_count; i++)
		if (r->secrets[i].path_count)
			return true;
	return false;
}

bool rules_body_secrets(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path)
{
	for (uint32_t i = 0; i < r->secret_count; i++)
		if ((r->secrets[i].slots & RULES_SLOT_BODY) &&
		    rules_secret_may_in(r, r->secrets[i].name, host, port, RULES_SLOT_BODY, method, path) ==
			    REASON_NONE)
			return true;
	return false;
}
