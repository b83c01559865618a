/* inject.c: how references are found and replaced.
 *
 * The scan is made before the verdict and remembers places only: field and offset. The replacement is made
 * after it, while the head is written, straight into the output: what is between the places is copied as
 * it stands, a place is filled with the value in the form that its slot asks for (as it is, base64,
 * percent-encoded). Basic credentials are decoded twice, once for each, so that nothing decoded is kept.
 */
#include "inject.h"

#include <errno.h>
#include <strings.h>

#define BASIC_TEXT_MAX ((INJECT_BASIC_MAX + 2) / 3 * 4)
#define PLACE_FIELD (HTTP1_TARGET - INJECT_MAX) /* + index: what inject_replace() is asked for a place */

size_t inject_path(struct http1_slice path, char *out, size_t cap)
{
	struct wr w = wr_of(out, cap);
	struct ref_found f;
	size_t at = 0;

	while (ref_find(path, at, REF_PERCENT, NULL, &f)) {
		wr_bytes(&w, path.p + at, f.at - at);
		wr_bytes(&w, f.name, f.name_len);
		at = f.at + f.len;
	}
	wr_bytes(&w, path.p + at, path.len - at);
	return w.full ? 0 : w.len;
}

/* ---- base64 ---- */

static int b64_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Strict: padded, nothing but the alphabet, unused bits zero. Bytes decoded, or -1. */
static int b64_decode(struct http1_slice s, uint8_t out[INJECT_BASIC_MAX])
{
	size_t n = 0, pad = 0;

	if (s.len == 0 || s.len % 4 || s.len > BASIC_TEXT_MAX)
		return -1;
	while (pad < 2 && s.p[s.len - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < s.len; i += 4) {
		size_t fill = i + 4 == s.len ? pad : 0;
		uint32_t v = 0;

		for (size_t j = 0; j < 4; j++) {
			int d = j < 4 - fill ? b64_of(s.p[i + j]) : 0;

			if (d < 0)
				return -1;
			v = v << 6 | (uint32_t)d;
		}
		if ((fill == 1 && v & 0xff) || (fill == 2 && v & 0xffff) || n + 3 - fill > INJECT_BASIC_MAX)
			return -1;
		for (size_t j = 0; j < 3 - fill; j++)
			out[n++] = (uint8_t)(v >> (16 - 8 * j));
	}
	return (int)n;
}

/* Encodes as pieces come; at most two bytes wait. */
struct b64 {
	struct wr *w;
	uint32_t bits;
	uint32_t count; /* bytes in bits */
};

static void b64_flush(struct b64 *b)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint32_t v = b->bits << (8 * (3 - b->count));
	char text[4];

	if (!b->count)
		return;
	for (uint32_t i = 0; i < 4; i++)
		text[i] = i <= b->count ? alphabet[v >> (18 - 6 * i) & 63] : '=';
	wr_bytes(b->w, text, sizeof(text));
	explicit_bzero(text, sizeof(text));
	b->bits = 0;
	b->count = 0;
}

static void b64_put(struct b64 *b, const void *p, size_t len)
{
	const uint8_t *s = p;

	for (size_t i = 0; i < len; i++) {
		b->bits = b->bits << 8 | s[i];
		if (++b->count == 3)
			b64_flush(b);
	}
}

/* The base64 part of "Basic <base64>", which follows the scheme and blanks. */
static bool basic_text(struct http1_slice value, struct http1_slice *text)
{
	size_t at = 5;

	if (value.len < 7 || !http1_is((struct http1_slice){value.p, 5}, "basic") || value.p[5] != ' ')
		return false;
	while (at < value.len && value.p[at] == ' ')
		at++;
	*text = (struct http1_slice){value.p + at, value.len - at};
	return true;
}

static bool basic_decode(const struct http1_field *f, uint8_t out[INJECT_BASIC_MAX], struct http1_slice *text,
			 struct http1_slice *plain)
{
	int n;

	if (f->id != HTTP1_AUTHORIZATION || !basic_text(f->value, text))
		return false;
	n = b64_decode(*text, out);
	if (n < 0)
		return false;
	*plain = (struct http1_slice){(const char *)out, (size_t)n};
	return true;
}

int inject_basic(const struct http1_field *f, uint8_t out[INJECT_BASIC_MAX])
{
	struct http1_slice text, plain;

	return basic_decode(f, out, &text, &plain) ? (int)plain.len : -1;
}

/* ---- scan ---- */

int inject_need(struct inject_scan *s, const char *name, size_t len, enum rules_slot slot, uint32_t *ret)
{
	uint32_t i = 0;

	while (i < s->need_count && !(s->needs[i].slot == slot && strlen(s->needs[i].name) == len &&
				      memcmp(s->needs[i].name, name, len) == 0))
		i++;
	if (i == INJECT_MAX || len >= sizeof(s->needs[i].name))
		return -E2BIG;
	if (i == s->need_count) {
		memset(&s->needs[i], 0, sizeof(s->needs[i]));
		memcpy(s->needs[i].name, name, len);
		s->needs[i].slot = slot;
		s->need_count++;
	}
	*ret = i;
	return 0;
}

/* What the scan works with. */
struct look {
	const struct ref_marks *marks;
	struct inject_scan *s;
};

static int add(struct inject_scan *s, const struct ref_found *f, enum rules_slot slot, uint32_t field)
{
	uint32_t need;

	if (s->ref_count == INJECT_MAX || inject_need(s, f->name, f->name_len, slot, &need) < 0)
		return -E2BIG;
	s->refs[s->ref_count] = (struct inject_ref){.need = need, .field = field,
						     .at = (uint32_t)f->at, .len = (uint32_t)f->len};
	s->ref_count++;
	return 0;
}

static int scan_text(const struct look *l, struct http1_slice text, enum rules_slot slot, uint32_t field)
{
	struct ref_found f;

	for (size_t at = 0; ref_find(text, at, REF_PLAIN, l->marks, &f); at = f.at + f.len)
		if (add(l->s, &f, slot, field) < 0)
			return -E2BIG;
	return 0;
}

/* Its own function for the sake of its stack. */
static int scan_basic(const struct look *l, const struct http1_field *field, uint32_t i, bool *was)
{
	uint8_t plain[INJECT_BASIC_MAX];
	struct http1_slice text, user_pass;

	*was = basic_decode(field, plain, &text, &user_pass);
	return *was ? scan_text(l, user_pass, RULES_SLOT_BASIC, i) : 0;
}

static int scan_field(const struct look *l, const struct http1_field *f, uint32_t i)
{
	bool basic = false;

	if (f->id == HTTP1_AUTHORIZATION) {
		int rc = scan_basic(l, f, i, &basic);

		if (rc < 0 || basic)
			return rc;
	}
	return scan_text(l, f->value, RULES_SLOT_HEADER, i);
}

/* What stands before the '?' is in the path. */
static int scan_target(const struct look *l, const struct http1_meaning *m)
{
	size_t query = m->query.p ? (size_t)(m->query.p - m->target.p) : m->target.len;
	struct ref_found f;

	for (size_t at = 0; ref_find(m->target, at, REF_PERCENT, l->marks, &f); at = f.at + f.len)
		if (add(l->s, &f, f.at < query ? RULES_SLOT_PATH : RULES_SLOT_QUERY, HTTP1_TARGET) < 0)
			return -E2BIG;
	return 0;
}

/* Most heads have no reference in the clear: one look over all of it saves one for each field. */
static int scan(const struct look *l, const struct http1_head *h, const struct http1_meaning *m)
{
	bool clear = ref_maybe(h->raw.p, h->raw.len, l->marks);

	for (uint32_t i = 0; i < h->field_count; i++)
		if ((clear || h->fields[i].id == HTTP1_AUTHORIZATION) && !http1_is_hop(m, i) &&
		    scan_field(l, &h->fields[i], i) < 0)
			return -E2BIG;
	return clear ? scan_target(l, m) : 0;
}

int inject_scan(const struct http1_head *h, const struct http1_meaning *m, const struct ref_marks *marks,
		struct inject_scan *s)
{
	struct look l = {marks, s};
	int rc;

	s->need_count = s->ref_count = s->place_count = 0;
	rc = scan(&l, h, m);
	if (rc < 0)
		s->need_count = s->ref_count = 0;
	return rc;
}

/* ---- places ---- */

static enum rules_slot place_slot(const struct inject_scan *s, const struct inject_place *p)
{
	return s->needs[p->need].slot;
}

/* The name of the field that a place writes. */
static const char *place_field(const struct inject_scan *s, const struct inject_place *p)
{
	return place_slot(s, p) == RULES_SLOT_BASIC ? "Authorization" : p->name;
}

static bool names_field(const char *name, struct http1_slice field)
{
	return strlen(name) == field.len && strncasecmp(name, field.p, field.len) == 0;
}

/* Does some place write this field. */
static bool field_is_placed(const struct inject_scan *s, struct http1_slice name)
{
	for (uint32_t i = 0; i < s->place_count; i++)
		if (place_slot(s, &s->places[i]) != RULES_SLOT_QUERY &&
		    names_field(place_field(s, &s->places[i]), name))
			return true;
	return false;
}

/* The byte at p, decoded; *n: how many it takes. */
static char percent_byte(const char *p, size_t len, size_t *n)
{
	static const char hex[] = "0123456789abcdef";
	const char *hi, *lo;

	*n = 1;
	if (p[0] != '%' || len < 3 || !p[1] || !p[2])
		return p[0];
	hi = strchr(hex, p[1] | 0x20);
	lo = strchr(hex, p[2] | 0x20);
	if (!hi || !lo)
		return p[0];
	*n = 3;
	return (char)((hi - hex) << 4 | (lo - hex));
}

/* Is this parameter (name, or name=value) of that name, however it is encoded. */
static bool names_param(const char *name, const char *p, size_t len)
{
	size_t at = 0, n;

	while (at < len && p[at] != '=') {
		if (*name == '\0' || percent_byte(p + at, len - at, &n) != *name)
			return false;
		name++;
		at += n;
	}
	return *name == '\0';
}

static bool param_is_placed(const struct inject_scan *s, const char *p, size_t len)
{
	for (uint32_t i = 0; i < s->place_count; i++)
		if (place_slot(s, &s->places[i]) == RULES_SLOT_QUERY && names_param(s->places[i].name, p, len))
			return true;
	return false;
}

/* The end of the parameter that begins at `at`. */
static size_t param_end(struct http1_slice t, size_t at)
{
	const char *amp = memchr(t.p + at, '&', t.len - at);

	return amp ? (size_t)(amp - t.p) : t.len;
}

/* Is the place at `at` of the target in a parameter that goes. */
static bool target_is_placed(const struct inject_scan *s, const struct http1_meaning *m, size_t at)
{
	size_t from = m->query.p ? (size_t)(m->query.p - m->target.p) : m->target.len;

	while (from < m->target.len) {
		size_t end = param_end(m->target, from);

		if (at < end)
			return at >= from && param_is_placed(s, m->target.p + from, end - from);
		from = end + 1;
	}
	return false;
}

int inject_add(struct inject_scan *s, const struct rules_attach *a)
{
	struct inject_place *p = &s->places[s->place_count];
	const char *field = a->slot == RULES_SLOT_BASIC ? "Authorization" : a->name;
	struct http1_slice name = {field, strlen(field)};
	uint32_t need;

	if (s->place_count == INJECT_MAX)
		return -E2BIG;
	if (a->slot == RULES_SLOT_QUERY ? param_is_placed(s, name.p, name.len) : field_is_placed(s, name))
		return -EEXIST;
	if (inject_need(s, a->secret, strlen(a->secret), (enum rules_slot)a->slot, &need) < 0)
		return -E2BIG;
	p->need = need;
	memcpy(p->name, a->name, sizeof(p->name));
	memcpy(p->prefix, a->prefix, sizeof(p->prefix));
	memcpy(p->suffix, a->suffix, sizeof(p->suffix));
	s->place_count++;
	return 0;
}

static bool need_used(const struct inject_scan *s, uint32_t need)
{
	for (uint32_t i = 0; i < s->ref_count; i++)
		if (s->refs[i].need == need)
			return true;
	for (uint32_t i = 0; i < s->place_count; i++)
		if (s->places[i].need == need)
			return true;
	return s->needs[need].slot == RULES_SLOT_BODY;
}

static void need_drop(struct inject_scan *s, uint32_t need)
{
	s->need_count--;
	memmove(&s->needs[need], &s->needs[need + 1], (s->need_count - need) * sizeof(s->needs[0]));
	for (uint32_t i = 0; i < s->ref_count; i++)
		s->refs[i].need -= s->refs[i].need > need;
	for (uint32_t i = 0; i < s->place_count; i++)
		s->places[i].need -= s->places[i].need > need;
}

/* Forgets what the client wrote where a place is. */
static void inject_settle(const struct http1_head *h, const struct http1_meaning *m, struct inject_scan *s)
{
	uint32_t left = 0;

	if (!s->place_count)
		return;
	for (uint32_t i = 0; i < s->ref_count; i++) {
		const struct inject_ref *r = &s->refs[i];

		if (r->field == HTTP1_TARGET ? !target_is_placed(s, m, r->at)
					     : !field_is_placed(s, h->fields[r->field].name))
			s->refs[left++] = *r;
	}
	s->ref_count = left;
	for (uint32_t i = s->need_count; i-- > 0;)
		if (!need_used(s, i))
			need_drop(s, i);
}

int inject_attach(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path,
		  const struct http1_head *h, const struct http1_meaning *m, struct inject_scan *s)
{
	const struct rules_attach *a[RULES_ATTACH_MAX];
	int n = rules_attached(r, host, port, method, path ? path : "/", a);

	for (int i = 0; i < n; i++) {
		int rc = inject_add(s, a[i]);

		if (rc < 0)
			return rc;
	}
	inject_settle(h, m, s);
	return n < 0 ? n : 0;
}

enum reason inject_judge(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path,
			 const struct inject_scan *s)
{
	for (uint32_t i = 0; i < s->need_count; i++) {
		enum reason why = rules_secret_may_in(r, s->needs[i].name, host, port, s->needs[i].slot, method, path);

		if (why != REASON_NONE)
			return why;
	}
	return REASON_NONE;
}

int inject_edits(const struct http1_head *h, const struct inject_scan *s, struct http1_edit *edits, size_t max)
{
	size_t n = 0;

	if (!s->place_count)
		return 0;
	for (uint32_t i = 0; i < h->field_count; i++)
		if (field_is_placed(s, h->fields[i].name)) {
			if (n == max)
				return -E2BIG;
			edits[n++] = (struct http1_edit){.op = HTTP1_DROP, .field = i};
		}
	for (uint32_t i = 0; i < s->place_count; i++) {
		const char *name = place_field(s, &s->places[i]);

		if (place_slot(s, &s->places[i]) == RULES_SLOT_QUERY)
			continue;
		if (n == max)
			return -E2BIG;
		edits[n++] = (struct http1_edit){.op = HTTP1_ADD, .field = PLACE_FIELD + i,
						 .name = {name, strlen(name)}};
	}
	return (int)n;
}

/* ---- writing ---- */

/* "." and ".." would be dot segments, which no encoding hides. */
static bool all_dots(const struct inject_value *v)
{
	size_t n = 0;

	while (n < v->len && v->p[n] == '.')
		n++;
	return n == v->len;
}

static bool value_ok(const struct inject_value *v, enum rules_slot slot)
{
	if (v->len == 0)
		return false;
	if (slot == RULES_SLOT_PATH)
		return !all_dots(v);
	if (slot == RULES_SLOT_QUERY)
		return true;
	for (size_t i = 0; i < v->len; i++)
		if ((v->p[i] < 0x20 && v->p[i] != '\t') || v->p[i] == 0x7f)
			return false;
	return true;
}

static void write_value(struct wr *w, struct b64 *b, const struct inject_value *v, enum rules_slot slot)
{
	if (slot == RULES_SLOT_BASIC)
		b64_put(b, v->p, v->len);
	else if (slot == RULES_SLOT_HEADER)
		wr_bytes(w, v->p, v->len);
	else
		ref_write_percent(w, v->p, v->len);
}

static void write_text(struct wr *w, struct b64 *b, const char *p, size_t len)
{
	if (b->w)
		b64_put(b, p, len);
	else
		wr_bytes(w, p, len);
}

/* text[from, to) with its references filled in; through base64 when b->w is set. */
static int write_part(struct wr *w, const struct inject_fill *fill, uint32_t field, struct http1_slice text,
		      size_t from, size_t to, struct b64 *b)
{
	const struct inject_scan *s = fill->scan;
	struct ref_found f;
	size_t at = from;

	for (uint32_t i = 0; i < s->ref_count; i++) {
		const struct inject_ref *r = &s->refs[i];
		enum rules_slot slot = s->needs[r->need].slot;

		if (r->field != field || r->at < from || r->at >= to)
			continue;
		if (r->at < at || r->len > to - r->at || (slot == RULES_SLOT_BASIC) != !!b->w ||
		    !ref_find(text, r->at, field == HTTP1_TARGET ? REF_PERCENT : REF_PLAIN, fill->marks, &f) ||
		    f.at != r->at || f.len != r->len)
			return -EBADMSG;
		if (!value_ok(&fill->values[r->need], slot))
			return -EINVAL;
		write_text(w, b, text.p + at, r->at - at);
		write_value(w, b, &fill->values[r->need], slot);
		at = (size_t)r->at + r->len;
	}
	write_text(w, b, text.p + at, to - at);
	return 0;
}

static bool refs_within(const struct inject_scan *s, uint32_t field, size_t len)
{
	for (uint32_t i = 0; i < s->ref_count; i++)
		if (s->refs[i].field == field && s->refs[i].at >= len)
			return false;
	return true;
}

static int write_filled(struct wr *w, const struct inject_fill *fill, uint32_t field, struct http1_slice text,
			struct b64 *b)
{
	int rc = refs_within(fill->scan, field, text.len) ? write_part(w, fill, field, text, 0, text.len, b) : -EBADMSG;

	b64_flush(b);
	return rc < 0 ? rc : 1;
}

static int write_basic(struct wr *w, const struct inject_fill *fill, uint32_t field)
{
	const struct http1_field *f = &fill->head->fields[field];
	uint8_t plain[INJECT_BASIC_MAX];
	struct http1_slice text, user_pass;
	struct b64 b = {.w = w};
	int rc;

	if (!basic_decode(f, plain, &text, &user_pass))
		return -EBADMSG;
	wr_bytes(w, f->value.p, f->value.len - text.len);
	rc = write_filled(w, fill, field, user_pass, &b);
	explicit_bzero(&b, sizeof(b));
	return rc;
}

/* A field that we set. */
static int write_place(struct wr *w, const struct inject_fill *fill, const struct inject_place *p)
{
	enum rules_slot slot = place_slot(fill->scan, p);
	const struct inject_value *v = &fill->values[p->need];
	struct b64 b = {.w = slot == RULES_SLOT_BASIC ? w : NULL};

	if (slot == RULES_SLOT_QUERY)
		return -EBADMSG;
	if (!value_ok(v, slot))
		return -EINVAL;
	if (b.w)
		wr_str(w, "Basic ");
	write_text(w, &b, p->prefix, strlen(p->prefix));
	write_value(w, &b, v, slot);
	write_text(w, &b, p->suffix, strlen(p->suffix));
	b64_flush(&b);
	explicit_bzero(&b, sizeof(b));
	return 1;
}

static bool sets_params(const struct inject_scan *s)
{
	for (uint32_t i = 0; i < s->place_count; i++)
		if (place_slot(s, &s->places[i]) == RULES_SLOT_QUERY)
			return true;
	return false;
}

/* The parameters that we set stand at the end; those of their names are gone, the others are as they were. */
static int write_params(struct wr *w, const struct inject_fill *fill)
{
	const struct inject_scan *s = fill->scan;
	const struct http1_slice t = fill->meaning->target;
	struct b64 none = {0};
	size_t at = fill->meaning->query.p ? (size_t)(fill->meaning->query.p - t.p) : t.len;
	const char *sep = "?";
	int rc = write_part(w, fill, HTTP1_TARGET, t, 0, fill->meaning->query.p ? at - 1 : at, &none);

	for (; rc == 0 && fill->meaning->query.p && at <= t.len; at = param_end(t, at) + 1) {
		size_t end = param_end(t, at);

		if (param_is_placed(s, t.p + at, end - at))
			continue;
		wr_str(w, sep);
		sep = "&";
		rc = write_part(w, fill, HTTP1_TARGET, t, at, end, &none);
	}
	for (uint32_t i = 0; rc == 0 && i < s->place_count; i++) {
		const struct inject_value *v = &fill->values[s->places[i].need];

		if (place_slot(s, &s->places[i]) != RULES_SLOT_QUERY)
			continue;
		if (!value_ok(v, RULES_SLOT_QUERY))
			return -EINVAL;
		wr_str(w, sep);
		sep = "&";
		wr_str(w, s->places[i].name);
		wr_str(w, "=");
		ref_write_percent(w, v->p, v->len);
	}
	return rc < 0 ? rc : 1;
}

int inject_replace(void *ctx, uint32_t field, struct wr *w)
{
	const struct inject_fill *fill = ctx;
	const struct inject_scan *s = fill->scan;
	struct b64 none = {0};
	uint32_t i = 0;

	if (field >= PLACE_FIELD && field != HTTP1_TARGET)
		return field - PLACE_FIELD < s->place_count ? write_place(w, fill, &s->places[field - PLACE_FIELD])
							    : -EBADMSG;
	if (field == HTTP1_TARGET && sets_params(s))
		return write_params(w, fill);
	while (i < s->ref_count && s->refs[i].field != field)
		i++;
	if (i == s->ref_count)
		return 0;
	if (field == HTTP1_TARGET)
		return write_filled(w, fill, field, fill->meaning->target, &none);
	if (field >= fill->head->field_count)
		return -EBADMSG;
	if (s->needs[s->refs[i].need].slot == RULES_SLOT_BASIC)
		return write_basic(w, fill, field);
	return write_filled(w, fill, field, fill->head->fields[field].value, &none);
}
