/* foreign.c: see foreign.h. */
#include "foreign.h"

#include <strings.h>

/* All of them end in "key" or "token". */
static const char *const fields[] = {
	"x-api-key",
	"api-key",
	"apikey",
	"x-api-token",
	"x-auth-token",
	"x-auth-key",
	"x-access-token",
	"x-access-key",
	"private-token",
	"job-token",
	"x-goog-api-key",
	"x-amz-security-token",
	"x-vault-token",
	"x-github-token",
	"x-gitlab-token",
	"dd-api-key",
	"dd-application-key",
	"x-shopify-access-token",
	"x-figma-token",
	"x-functions-key",
	"ocp-apim-subscription-key",
	"x-rapidapi-key",
	"x-secret-key",
	"x-token",
};

static const char *const params[] = {
	"access_token",         "api_key",          "apikey",        "api-key",
	"auth_token",           "client_secret",    "private_token", "x-amz-signature",
	"x-amz-security-token", "x-goog-signature",
};

/* How tokens begin, and how many of their characters follow at least. */
static const struct {
	const char *begins;
	size_t more;
} shapes[] = {
	{"sk-", 20},    {"sk_live_", 16}, {"sk_test_", 16}, {"rk_live_", 16}, {"ghp_", 30},
	{"gho_", 30},   {"ghu_", 30},     {"ghs_", 30},     {"ghr_", 30},     {"github_pat_", 30},
	{"glpat-", 16}, {"xoxb-", 10},    {"xoxp-", 10},    {"xoxa-", 10},    {"xoxs-", 10},
	{"xapp-", 10},  {"AKIA", 16},     {"ASIA", 16},     {"AIza", 30},     {"ya29.", 20},
	{"npm_", 30},   {"hf_", 30},      {"SG.", 30},      {"dop_v1_", 30},  {"shpat_", 20},
	{"eyJ", 60},
};

static const bool token_chars[256] = {
	['a' ... 'z'] = true, ['A' ... 'Z'] = true, ['0' ... '9'] = true,
	['-'] = true,         ['_'] = true,
};

/* What some shape begins with. */
static const bool shape_chars[256] = {
	['s'] = true, ['r'] = true, ['g'] = true, ['x'] = true, ['A'] = true, ['y'] = true,
	['n'] = true, ['h'] = true, ['S'] = true, ['d'] = true, ['e'] = true,
};

static bool token_char(char c)
{
	return token_chars[(unsigned char)c];
}

/* Is what begins at p (of at most len bytes) shaped like a token. */
static bool shaped(const char *p, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
		size_t n = strlen(shapes[i].begins), at = n;

		if (p[0] != shapes[i].begins[0] || len < n + shapes[i].more ||
		    memcmp(p, shapes[i].begins, n) != 0)
			continue;
		while (at < len && (token_char(p[at]) || p[at] == '.'))
			at++;
		if (at >= n + shapes[i].more)
			return true;
	}
	return false;
}

static bool token_in(struct http1_slice s)
{
	bool inside = false;

	for (size_t i = 0; i < s.len; i++) {
		if (!inside && shape_chars[(unsigned char)s.p[i]] && shaped(s.p + i, s.len - i))
			return true;
		inside = token_char(s.p[i]);
	}
	return false;
}

/* Is some part of [from, to) of that field, or of the target, filled by us. */
static bool ours(const struct inject_scan *s, uint32_t field, size_t from, size_t to)
{
	for (uint32_t i = 0; i < s->ref_count; i++)
		if (s->refs[i].field == field && s->refs[i].at >= from && s->refs[i].at < to)
			return true;
	return false;
}

static bool placed(const struct inject_scan *s, struct http1_slice name, bool query)
{
	for (uint32_t i = 0; i < s->place_count; i++) {
		enum rules_slot slot = s->needs[s->places[i].need].slot;
		const char *is = slot == RULES_SLOT_BASIC ? "authorization" : s->places[i].name;

		if ((slot == RULES_SLOT_QUERY) == query && strlen(is) == name.len &&
		    strncasecmp(is, name.p, name.len) == 0)
			return true;
	}
	return false;
}

/* The keeper signs: what the client signed goes. */
static bool is_signed(const struct inject_scan *s)
{
	for (uint32_t i = 0; i < s->need_count; i++)
		if (s->needs[i].slot == RULES_SLOT_SIGN)
			return true;
	return false;
}

static bool named(struct http1_slice name, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(list[i]) == name.len && strncasecmp(list[i], name.p, name.len) == 0)
			return true;
	return false;
}

/* Few names end as those of `fields` do. */
static bool key_field(struct http1_slice name)
{
	char last = name.len ? (char)(name.p[name.len - 1] | 0x20) : '\0';

	return (last == 'y' || last == 'n') && named(name, fields, ARRAY_SIZE(fields));
}

static const char *in_target(const struct http1_meaning *m, const struct inject_scan *s)
{
	const struct http1_slice t = m->target;
	size_t at = m->query.p ? (size_t)(m->query.p - t.p) : t.len;

	if (!ours(s, HTTP1_TARGET, 0, at) && token_in((struct http1_slice){t.p, at}))
		return "token in the path";
	while (at < t.len) {
		const char *amp = memchr(t.p + at, '&', t.len - at);
		size_t end = amp ? (size_t)(amp - t.p) : t.len;
		const char *equals = memchr(t.p + at, '=', end - at);
		size_t name = equals ? (size_t)(equals - t.p) - at : end - at,
		       value = at + name + (equals != NULL);
		struct http1_slice is = {t.p + at, name};

		if (!ours(s, HTTP1_TARGET, at, end) && !placed(s, is, true) && end > value &&
		    (named(is, params, ARRAY_SIZE(params)) ||
		     token_in((struct http1_slice){t.p + value, end - value})))
			return "query parameter";
		at = end + 1;
	}
	return NULL;
}

static const char *in_field(const struct http1_head *h, uint32_t i, const struct inject_scan *s)
{
	const struct http1_field *f = &h->fields[i];

	if (f->id == HTTP1_COOKIE || f->id == HTTP1_HOST || !f->value.len ||
	    ours(s, i, 0, SIZE_MAX) || placed(s, f->name, false))
		return NULL;
	if (f->id == HTTP1_AUTHORIZATION)
		return "authorization";
	if (f->id == HTTP1_OTHER && key_field(f->name))
		return "header field for keys";
	return token_in(f->value) ? "token in a header field" : NULL;
}

const char *foreign_find(const struct http1_head *h, const struct http1_meaning *m,
			 const struct inject_scan *s)
{
	if (is_signed(s))
		return NULL;
	for (uint32_t i = 0; i < h->field_count; i++) {
		const char *where = http1_is_hop(m, i) ? NULL : in_field(h, i, s);

		if (where)
			return where;
	}
	return in_target(m, s);
}
