/* inject.c: how references are found and replaced.
 *
 * The scan is made before the verdict and remembers places only: field and offset. The replacement is made
 * after it, while the head is written, straight into the output: what is between the places is copied as
 * it stands, a place is filled with the value in the form that its slot asks for (as it is, base64,
 * percent-encoded). Basic credentials are decoded twice, once for each, so that nothing decoded is kept.
 */
#include "inject.h"

#include <errno.h>

#define PREFIX "agentsecrets"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define BASIC_TEXT_MAX ((INJECT_BASIC_MAX + 2) / 3 * 4)

bool inject_maybe(const void *p, size_t len)
{
	return len >= PREFIX_LEN && memmem(p, len, PREFIX, PREFIX_LEN) != NULL;
}

/* ---- finding ---- */

struct found {
	size_t at, len; /* the whole reference */
	const char *name;
	size_t name_len;
};

/* Bytes of `c` at p: 1, or 3 when it may be percent-encoded and is; 0: something else is there. */
static size_t match_sep(const char *p, size_t len, char c, bool encoded)
{
	char low = c == ':' ? 'a' : 'f';

	if (len >= 1 && p[0] == c)
		return 1;
	if (!encoded || len < 3 || p[0] != '%' || p[1] != (c == ':' ? '3' : '2'))
		return 0;
	return (p[2] | 0x20) == low ? 3 : 0;
}

/* Bytes of `://` at p, or 0. */
static size_t match_seps(const char *p, size_t len, bool encoded)
{
	static const char seps[] = "://";
	size_t n = 0;

	for (size_t i = 0; i < 3; i++) {
		size_t got = match_sep(p + n, len - n, seps[i], encoded);

		if (!got)
			return 0;
		n += got;
	}
	return n;
}

static size_t match_name(const char *p, size_t len)
{
	size_t n = 0;

	while (n < len && ((p[n] >= 'A' && p[n] <= 'Z') || p[n] == '_' || (n && p[n] >= '0' && p[n] <= '9')))
		n++;
	return n < RPC_NAME_MAX ? n : 0;
}

/* The next reference at or after `from`. */
static bool find(struct http1_slice s, size_t from, bool encoded, struct found *f)
{
	while (from < s.len) {
		const char *p = memmem(s.p + from, s.len - from, PREFIX, PREFIX_LEN);
		const char *end = s.p + s.len, *q;
		size_t seps, name;

		if (!p)
			return false;
		q = p + PREFIX_LEN;
		seps = match_seps(q, (size_t)(end - q), encoded);
		name = seps ? match_name(q + seps, (size_t)(end - q) - seps) : 0;
		if (name) {
			*f = (struct found){.at = (size_t)(p - s.p), .len = PREFIX_LEN + seps + name,
					    .name = q + seps, .name_len = name};
			return true;
		}
		from = (size_t)(q - s.p);
	}
	return false;
}

size_t inject_path(struct http1_slice path, char *out, size_t cap)
{
	struct wr w = wr_of(out, cap);
	struct found f;
	size_t at = 0;

	while (find(path, at, true, &f)) {
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

/* ---- scan ---- */

static uint32_t need_of(struct inject_scan *s, const struct found *f, enum rules_slot slot)
{
	uint32_t i = 0;

	while (i < s->need_count && !(s->needs[i].slot == slot && strlen(s->needs[i].name) == f->name_len &&
				      memcmp(s->needs[i].name, f->name, f->name_len) == 0))
		i++;
	if (i == s->need_count) {
		memset(&s->needs[i], 0, sizeof(s->needs[i]));
		memcpy(s->needs[i].name, f->name, f->name_len);
		s->needs[i].slot = slot;
		s->need_count++;
	}
	return i;
}

static int add(struct inject_scan *s, const struct found *f, enum rules_slot slot, uint32_t field)
{
	if (s->ref_count == INJECT_MAX)
		return -E2BIG;
	s->refs[s->ref_count] = (struct inject_ref){.need = need_of(s, f, slot), .field = field,
						     .at = (uint32_t)f->at, .len = (uint32_t)f->len};
	s->ref_count++;
	return 0;
}

static int scan_text(struct inject_scan *s, struct http1_slice text, enum rules_slot slot, uint32_t field)
{
	struct found f;

	for (size_t at = 0; find(text, at, false, &f); at = f.at + f.len)
		if (add(s, &f, slot, field) < 0)
			return -E2BIG;
	return 0;
}

/* Its own function for the sake of its stack. */
static int scan_basic(struct inject_scan *s, const struct http1_field *field, uint32_t i, bool *was)
{
	uint8_t plain[INJECT_BASIC_MAX];
	struct http1_slice text, user_pass;

	*was = basic_decode(field, plain, &text, &user_pass);
	return *was ? scan_text(s, user_pass, RULES_SLOT_BASIC, i) : 0;
}

static int scan_field(struct inject_scan *s, const struct http1_field *f, uint32_t i)
{
	bool basic = false;

	if (f->id == HTTP1_AUTHORIZATION) {
		int rc = scan_basic(s, f, i, &basic);

		if (rc < 0 || basic)
			return rc;
	}
	return scan_text(s, f->value, RULES_SLOT_HEADER, i);
}

/* What stands before the '?' is in the path. */
static int scan_target(struct inject_scan *s, const struct http1_meaning *m)
{
	struct found f;
	size_t query = m->query.p ? (size_t)(m->query.p - m->target.p) : m->target.len;

	for (size_t at = 0; find(m->target, at, true, &f); at = f.at + f.len)
		if (add(s, &f, f.at < query ? RULES_SLOT_PATH : RULES_SLOT_QUERY, HTTP1_TARGET) < 0)
			return -E2BIG;
	return 0;
}

/* Most heads have no reference in the clear: one look over all of it saves one for each field. */
static int scan(const struct http1_head *h, const struct http1_meaning *m, struct inject_scan *s)
{
	bool clear = inject_maybe(h->raw.p, h->raw.len);

	for (uint32_t i = 0; i < h->field_count; i++)
		if ((clear || h->fields[i].id == HTTP1_AUTHORIZATION) && !http1_is_hop(m, i) &&
		    scan_field(s, &h->fields[i], i) < 0)
			return -E2BIG;
	return clear ? scan_target(s, m) : 0;
}

int inject_scan(const struct http1_head *h, const struct http1_meaning *m, struct inject_scan *s)
{
	int rc;

	s->need_count = s->ref_count = 0;
	rc = scan(h, m, s);
	if (rc < 0)
		s->need_count = s->ref_count = 0;
	return rc;
}

enum reason inject_judge(const struct rules *r, const char *host, uint16_t port, const struct inject_scan *s)
{
	for (uint32_t i = 0; i < s->need_count; i++) {
		enum reason why = rules_secret_may(r, s->needs[i].name, host, port, s->needs[i].slot);

		if (why != REASON_NONE)
			return why;
	}
	return REASON_NONE;
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

/* RFC 3986 2.3; also '/' is encoded, so that a value never is more than a part of one segment. */
static void write_percent(struct wr *w, const struct inject_value *v)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < v->len; i++) {
		uint8_t c = v->p[i];

		if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		    c == '-' || c == '.' || c == '_' || c == '~') {
			wr_u8(w, c);
		} else {
			wr_u8(w, '%');
			wr_u8(w, (uint8_t)hex[c >> 4]);
			wr_u8(w, (uint8_t)hex[c & 15]);
		}
	}
}

static void write_value(struct wr *w, struct b64 *b, const struct inject_value *v, enum rules_slot slot)
{
	if (slot == RULES_SLOT_BASIC)
		b64_put(b, v->p, v->len);
	else if (slot == RULES_SLOT_HEADER)
		wr_bytes(w, v->p, v->len);
	else
		write_percent(w, v);
}

static void write_text(struct wr *w, struct b64 *b, const char *p, size_t len)
{
	if (b->w)
		b64_put(b, p, len);
	else
		wr_bytes(w, p, len);
}

/* text with its references filled in; through base64 when b->w is set. */
static int write_filled(struct wr *w, const struct inject_fill *fill, uint32_t field, struct http1_slice text,
			struct b64 *b)
{
	const struct inject_scan *s = fill->scan;
	size_t at = 0;

	for (uint32_t i = 0; i < s->ref_count; i++) {
		const struct inject_ref *r = &s->refs[i];
		enum rules_slot slot = s->needs[r->need].slot;

		if (r->field != field)
			continue;
		if (r->at < at || r->at > text.len || r->len > text.len - r->at || r->len < PREFIX_LEN ||
		    memcmp(text.p + r->at, PREFIX, PREFIX_LEN) != 0 || (slot == RULES_SLOT_BASIC) != !!b->w)
			return -EBADMSG;
		if (!value_ok(&fill->values[r->need], slot))
			return -EINVAL;
		write_text(w, b, text.p + at, r->at - at);
		write_value(w, b, &fill->values[r->need], slot);
		at = (size_t)r->at + r->len;
	}
	write_text(w, b, text.p + at, text.len - at);
	b64_flush(b);
	return 1;
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

int inject_replace(void *ctx, uint32_t field, struct wr *w)
{
	const struct inject_fill *fill = ctx;
	const struct inject_scan *s = fill->scan;
	struct b64 none = {0};
	uint32_t i = 0;

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
