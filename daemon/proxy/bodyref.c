/* bodyref.c: see bodyref.h.
 *
 * A JSON body is read as far as strings go: outside of them nothing is looked at, inside only escapes. A string is
 * one when its end is there, no control byte is in it, and what follows says that it is not a member's name. A find
 * never begins inside an escape: `\nsk-…` does not hold a placeholder that begins with n.
 */
#include "bodyref.h"

#include <errno.h>
#include <strings.h>

/* ---- which kind ---- */

static bool type_is(struct http1_slice type, const char *name)
{
	size_t n = strlen(name);

	return type.len >= n && strncasecmp(type.p, name, n) == 0;
}

static bool json_suffix(struct http1_slice type)
{
	return type.len > 5 && type_is(type, "application/") &&
	       strncasecmp(type.p + type.len - 5, "+json", 5) == 0;
}

enum bodyref_kind bodyref_kind(const struct http1_head *h)
{
	uint32_t i = http1_find(h, HTTP1_CONTENT_TYPE, 0),
		 coded = http1_find(h, HTTP1_CONTENT_ENCODING, 0);
	struct http1_slice type;
	size_t n = 0;

	if (i == h->field_count || http1_find(h, HTTP1_CONTENT_TYPE, i + 1) < h->field_count)
		return BODYREF_NONE;
	if (coded < h->field_count && !http1_is(h->fields[coded].value, "identity"))
		return BODYREF_NONE;
	type = h->fields[i].value;
	while (n < type.len && type.p[n] != ';' && type.p[n] != ' ' && type.p[n] != '\t')
		n++;
	type.len = n;
	if (http1_is(type, "application/json") || json_suffix(type))
		return BODYREF_JSON;
	return http1_is(type, "application/x-www-form-urlencoded") ? BODYREF_FORM : BODYREF_NONE;
}

/* ---- the walk ---- */

/* The next string that is a value: its content. At the first string that is none, all is over. */
static bool json_value(struct bodyref *b)
{
	while (b->at < b->len) {
		const char *quote = memchr(b->p + b->at, '"', b->len - b->at);
		size_t from, end, after;

		if (!quote)
			break;
		from = end = (size_t)(quote - b->p) + 1;
		while (end < b->len && b->p[end] != '"' && (unsigned char)b->p[end] >= 0x20)
			end += b->p[end] == '\\' ? 2 : 1;
		if (end >= b->len || b->p[end] != '"')
			break;
		after = end + 1;
		while (after < b->len && (b->p[after] == ' ' || b->p[after] == '\t' ||
					  b->p[after] == '\n' || b->p[after] == '\r'))
			after++;
		b->at = end + 1;
		if (after < b->len && b->p[after] == ':')
			continue;
		b->value = b->walked = from;
		b->value_end = end;
		return true;
	}
	b->at = b->len;
	return false;
}

static bool form_value(struct bodyref *b)
{
	while (b->at < b->len) {
		const char *amp = memchr(b->p + b->at, '&', b->len - b->at), *equals;
		size_t from = b->at, end = amp ? (size_t)(amp - b->p) : b->len;

		b->at = end + 1;
		equals = memchr(b->p + from, '=', end - from);
		if (!equals)
			continue;
		b->value = (size_t)(equals - b->p) + 1;
		b->value_end = end;
		return true;
	}
	return false;
}

/* Does an escape of the string hold the byte at `at`. Called for places that go up. */
static bool json_in_escape(struct bodyref *b, size_t at)
{
	while (b->walked < at) {
		size_t n = 1;

		if (b->p[b->walked] == '\\')
			n = b->p[b->walked + 1] == 'u' ? 6 : 2;
		if (at < b->walked + n)
			return true;
		b->walked += n;
	}
	return false;
}

bool bodyref_next(struct bodyref *b, struct ref_found *f)
{
	enum ref_form form = b->kind == BODYREF_JSON ? REF_JSON : REF_PERCENT;

	for (;;) {
		struct http1_slice value = {b->p, b->value_end};

		while (b->value < b->value_end && ref_find(value, b->value, form, b->marks, f)) {
			b->value = f->at + 1;
			if (b->kind == BODYREF_JSON && json_in_escape(b, f->at))
				continue;
			b->value = f->at + f->len;
			return true;
		}
		b->value = b->value_end;
		if (b->kind == BODYREF_NONE ||
		    !(b->kind == BODYREF_JSON ? json_value(b) : form_value(b)))
			return false;
	}
}

/* ---- verdict and writing ---- */

int bodyref_scan(struct bodyref *b, const struct rules *r, const char *host, uint16_t port,
		 const char *method, const char *path, struct inject_scan *s)
{
	struct ref_found f;

	while (bodyref_next(b, &f)) {
		char name[RPC_NAME_MAX] = "";
		uint32_t need;

		memcpy(name, f.name, f.name_len);
		if (rules_secret_may_in(r, name, host, port, RULES_SLOT_BODY, method, path) !=
		    REASON_NONE)
			continue;
		if (inject_need(s, f.name, f.name_len, RULES_SLOT_BODY, &need) < 0)
			return -E2BIG;
	}
	return 0;
}

/* The index of the need, or need_count: it stays text. */
static uint32_t need_for(const struct inject_scan *s, const struct ref_found *f)
{
	uint32_t i = 0;

	while (i < s->need_count &&
	       !(s->needs[i].slot == RULES_SLOT_BODY && strlen(s->needs[i].name) == f->name_len &&
		 memcmp(s->needs[i].name, f->name, f->name_len) == 0))
		i++;
	return i;
}

/* Bytes of the UTF-8 character at p (RFC 3629), or 0. */
static size_t utf8_len(const uint8_t *p, size_t len)
{
	size_t n = p[0] < 0x80                   ? 1
		   : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
		   : (p[0] & 0xf0) == 0xe0       ? 3
		   : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
						 : 0;

	if (!n || n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

static int write_json(struct wr *w, const struct inject_value *v)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < v->len;) {
		size_t n = utf8_len(v->p + i, v->len - i);
		uint8_t c = v->p[i];

		if (!n)
			return -EINVAL;
		if (c < 0x20) {
			wr_str(w, "\\u00");
			wr_u8(w, (uint8_t)hex[c >> 4]);
			wr_u8(w, (uint8_t)hex[c & 15]);
		} else {
			if (c == '"' || c == '\\')
				wr_u8(w, '\\');
			wr_bytes(w, v->p + i, n);
		}
		i += n;
	}
	return 0;
}

int bodyref_write(struct bodyref *b, const struct inject_scan *s, const struct inject_value *values,
		  struct wr *w)
{
	struct ref_found f;
	size_t at = 0;

	while (bodyref_next(b, &f)) {
		uint32_t need = need_for(s, &f);
		int rc = 0;

		if (need == s->need_count)
			continue;
		if (values[need].len == 0)
			return -EINVAL;
		wr_bytes(w, b->p + at, f.at - at);
		if (b->kind == BODYREF_JSON)
			rc = write_json(w, &values[need]);
		else
			ref_write_percent(w, values[need].p, values[need].len);
		if (rc < 0)
			return rc;
		at = f.at + f.len;
	}
	wr_bytes(w, b->p + at, b->len - at);
	return w->full ? -ENOBUFS : 0;
}

size_t bodyref_bound(struct bodyref b, const struct inject_scan *s,
		     const struct inject_value *values)
{
	size_t n = b.len;
	struct ref_found f;

	while (bodyref_next(&b, &f)) {
		uint32_t need = need_for(s, &f);

		n += need < s->need_count ? 6 * values[need].len : 0;
	}
	return n;
}
