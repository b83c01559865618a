/* redact.c: see redact.h.
 *
 * A value gives several entries: forms, and the place in them where a find may begin. Three tables say which
 * entries a text's next, second and third byte speak for; where the three together name none, and that is
 * nearly everywhere, skim.c passes. Where they name one, match_*() reads on from there, as far as the entry goes: YES
 * with the end, NO, or CUT when the bytes end first. A CUT ends the call at that byte.
 *
 * Finds may overlap: a byte is masked when the scan leaves it, if any find that began at or before it reaches it,
 * so that every match reads the text as it came.
 *
 * Text can be read in more than one way when the value itself holds something like "%25" or "\\". So match_text()
 * keeps, for each number of the value's bytes that are matched, the set of places where that may be in the text; sets
 * are nearly always of one. A set over WAYS_MAX, from a value of dozens of backslashes or the like, counts as a find.
 *
 * A break in base64 is taken for one after BREAK_AFTER characters only, since else any text that ends in a line break
 * would be held back as a beginning. For breaks before that there are entries which begin after a break.
 */
#include "redact.h"

#include "skim.h"

#include <assert.h>
#include <string.h>

#define WAYS_MAX    32
#define LEVELS      5 /* an escape is worth at most four bytes, LEVELS - 1 */
#define BREAK_AFTER 3
#define DIGITS_MAX  7  /* of a character reference */
#define ENTRIES_MAX 12 /* of one value */

enum form { FORM_TEXT, FORM_TEXT_ESCAPED, FORM_HEX, FORM_BASE64 };

struct entry {
	uint32_t at, len; /* the value, in `bytes` */
	uint8_t form;
	uint8_t shift; /* BASE64: bytes before the value in its group of three */
	uint8_t start; /* BASE64: the first character that is looked for */
	bool anchored; /* BASE64: only after a line break */
	/* BASE64: which bits of the first characters are the value's, and what they are */
	uint8_t mask[BREAK_AFTER], bits[BREAK_AFTER];
};

/* Bit b of a table's word stands for entries b, b + 32, b + 64 … */
struct redact {
	uint32_t first[256], second[256], third[256];
	struct skim skim; /* of the three */
	uint32_t entry_count;
	struct entry *entries;
	uint8_t *bytes;
};

enum verdict { NO = 0, YES, CUT };

/* ---- characters ---- */

static int hex_of(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static int base64_of(uint32_t c)
{
	if (c >= 'A' && c <= 'Z')
		return (int)c - 'A';
	if (c >= 'a' && c <= 'z')
		return (int)c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return (int)c - '0' + 52;
	return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

/* ---- escapes ---- */

/* What an escape stands for. len 0: there is none here. cut: there may be one, if the text goes on. */
struct escape {
	uint32_t code;
	size_t len;
	bool byte; /* code is a byte, not a character */
	bool cut;
};

static const struct escape no_escape = {0}, cut_escape = {.cut = true};

/* `digits` hex digits from p on, after `skip` bytes of the escape. */
static struct escape escape_hex(const uint8_t *p, size_t len, size_t skip, size_t digits, bool byte)
{
	struct escape e = {.len = skip + digits, .byte = byte};
	size_t i;

	for (i = skip; i < e.len; i++) {
		if (i >= len)
			return cut_escape;
		if (hex_of(p[i]) < 0)
			return no_escape;
		e.code = e.code << 4 | (uint32_t)hex_of(p[i]);
	}
	return e;
}

/* \uXXXX, and two of them for a character beyond 16 bits. */
static struct escape escape_u(const uint8_t *p, size_t len)
{
	struct escape high = escape_hex(p, len, 2, 4, false), low;

	if (high.len == 0 || high.code < 0xd800 || high.code > 0xdbff)
		return high;
	if (len < 8)
		return len == 6 || p[6] == '\\' ? cut_escape : no_escape;
	if (p[6] != '\\' || p[7] != 'u')
		return no_escape;
	low = escape_hex(p + 6, len - 6, 2, 4, false);
	if (low.len == 0)
		return low;
	if (low.code < 0xdc00 || low.code > 0xdfff)
		return no_escape;
	return (struct escape){.code = 0x10000 + ((high.code & 0x3ff) << 10 | (low.code & 0x3ff)),
			       .len = 12};
}

static struct escape escape_backslash(const uint8_t *p, size_t len)
{
	static const char from[] = "bfnrt0", to[] = "\b\f\n\r\t";
	const char *at;

	if (len < 2)
		return cut_escape;
	if (p[1] == 'u')
		return escape_u(p, len);
	if (p[1] == 'x')
		return escape_hex(p, len, 2, 2, true);
	at = p[1] ? strchr(from, p[1]) : NULL;
	if (at)
		return (struct escape){.code = (uint8_t)to[at - from], .len = 2};
	if (alnum(p[1]))
		return no_escape;
	return (struct escape){.code = p[1], .len = 2, .byte = true};
}

static struct escape escape_number(const uint8_t *p, size_t len)
{
	bool hex = len > 2 && (p[2] | 0x20) == 'x';
	size_t first = hex ? 3 : 2, i;
	struct escape e = {0};

	for (i = first; i <= first + DIGITS_MAX; i++) {
		if (i >= len)
			return cut_escape;
		if (p[i] == ';' && i > first) {
			e.len = i + 1;
			return e;
		}
		if (hex_of(p[i]) < 0 || (!hex && hex_of(p[i]) > 9))
			return no_escape;
		e.code = e.code * (hex ? 16 : 10) + (uint32_t)hex_of(p[i]);
	}
	return no_escape;
}

static struct escape escape_name(const uint8_t *p, size_t len)
{
	static const struct {
		const char *name;
		uint8_t is;
	} names[] = {
		{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		n = strlen(names[i].name);
		if (memcmp(p, names[i].name, n < len ? n : len) != 0)
			continue;
		return n > len ? cut_escape : (struct escape){.code = names[i].is, .len = n};
	}
	return no_escape;
}

/* len >= 1 */
static struct escape escape_at(const uint8_t *p, size_t len)
{
	switch (p[0]) {
	case '%':
		return escape_hex(p, len, 1, 2, true);
	case '\\':
		return escape_backslash(p, len);
	case '&':
		return len > 1 && p[1] == '#' ? escape_number(p, len) : escape_name(p, len);
	default:
		return no_escape;
	}
}

/* A character's bytes in UTF-8; 0: it is none. */
static size_t utf8(uint32_t code, uint8_t out[4])
{
	static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t n = code < 0x80       ? 1
		   : code < 0x800    ? 2
		   : code < 0x10000  ? 3
		   : code < 0x110000 ? 4
				     : 0,
	       i;

	for (i = n; i > 1; i--, code >>= 6)
		out[i - 1] = (uint8_t)(0x80 | (code & 0x3f));
	if (n)
		out[0] = (uint8_t)(lead[n] | code);
	return n;
}

/* ---- text ---- */

/* Where the text may be after some number of the value's bytes. */
struct ways {
	uint32_t count;
	size_t at[WAYS_MAX];
};

struct text {
	const uint8_t *v, *p;
	size_t v_len, p_len;
	struct ways ways[LEVELS];
	size_t furthest;
	bool cut, full;
};

static void text_reach(struct text *x, size_t matched, size_t at)
{
	struct ways *w = &x->ways[matched % LEVELS];
	uint32_t i;

	for (i = 0; i < w->count; i++)
		if (w->at[i] == at)
			return;
	if (at > x->furthest)
		x->furthest = at;
	if (w->count == WAYS_MAX)
		x->full = true;
	else
		w->at[w->count++] = at;
}

static void text_escape(struct text *x, size_t matched, size_t at, const struct escape *e)
{
	const uint8_t *v = x->v + matched;
	uint8_t bytes[4];
	size_t n;

	if (e->code < 0x100 && v[0] == e->code)
		text_reach(x, matched + 1, at + e->len);
	if (e->byte || e->code < 0x80)
		return;
	n = utf8(e->code, bytes);
	if (n > 0 && n <= x->v_len - matched && memcmp(v, bytes, n) == 0)
		text_reach(x, matched + n, at + e->len);
}

/* The value's next byte, at this place of the text. */
static void text_step(struct text *x, size_t matched, size_t at)
{
	const uint8_t *p = x->p + at, v = x->v[matched];
	size_t left = x->p_len - at;
	struct escape e;

	if (left == 0) {
		x->cut = true;
		return;
	}
	if (p[0] == v || (p[0] == '+' && v == ' '))
		text_reach(x, matched + 1, at + 1);
	if (v >= 0x80 && p[0] == (0xc0 | v >> 6)) {
		if (left == 1)
			x->cut = true;
		else if (p[1] == (0x80 | (v & 0x3f)))
			text_reach(x, matched + 1, at + 2);
	}
	e = escape_at(p, left);
	x->cut |= e.cut;
	if (e.len > 0)
		text_escape(x, matched, at, &e);
}

static bool is_plain(uint8_t c)
{
	return c < 0x80 && c != '%' && c != '\\' && c != '&' && c != '+';
}

/* How much of the value stands there as it is, in bytes that can be read in one way only. */
static size_t plain_prefix(const uint8_t *v, size_t v_len, const uint8_t *p, size_t len)
{
	size_t n = v_len < len ? v_len : len, i = 0;

	while (i < n && p[i] == v[i] && is_plain(v[i]))
		i++;
	return i;
}

static enum verdict match_text(const uint8_t *v, size_t v_len, const uint8_t *p, size_t len,
			       bool last, size_t *end)
{
	size_t plain = plain_prefix(v, v_len, p, len), matched, live = 1;
	struct text x;
	uint32_t i;

	if (plain < v_len && plain < len && is_plain(p[plain]) && v[plain] < 0x80 &&
	    p[plain] != v[plain])
		return NO;
	x = (struct text){.v = v, .v_len = v_len, .p = p, .p_len = len};
	text_reach(&x, plain, plain);
	for (matched = plain; matched < v_len && live > 0 && !x.full; matched++) {
		struct ways *w = &x.ways[matched % LEVELS];

		for (i = 0; i < w->count; i++)
			text_step(&x, matched, w->at[i]);
		w->count = 0;
		for (live = 0, i = 1; i < LEVELS; i++)
			live += x.ways[(matched + i) % LEVELS].count;
	}
	*end = x.furthest;
	if (x.full)
		return YES;
	if (x.cut && !last)
		return CUT;
	if (matched < v_len || x.ways[matched % LEVELS].count == 0)
		return NO;
	for (*end = 0, i = 0; i < x.ways[matched % LEVELS].count; i++)
		if (x.ways[matched % LEVELS].at[i] > *end)
			*end = x.ways[matched % LEVELS].at[i];
	return YES;
}

/* ---- hex ---- */

static enum verdict match_hex(const uint8_t *v, size_t v_len, const uint8_t *p, size_t len,
			      size_t *end)
{
	size_t i;

	for (i = 0; i < 2 * v_len; i++) {
		if (i >= len)
			return CUT;
		if (hex_of(p[i]) != (i % 2 ? v[i / 2] & 15 : v[i / 2] >> 4))
			return NO;
	}
	*end = i;
	return YES;
}

/* ---- base64 ---- */

/* The characters that hold bits of the value: the first of them in its group, and how many. */
static size_t base64_first(unsigned int shift)
{
	return shift * 8 / 6;
}

static size_t base64_count(unsigned int shift, size_t len)
{
	return (8 * (shift + len) + 5) / 6 - base64_first(shift);
}

/* Its k-th character: which bits are the value's, and what they are. */
static void base64_bits(const uint8_t *v, size_t len, unsigned int shift, size_t k, uint8_t *mask,
			uint8_t *bits)
{
	size_t at = 6 * (base64_first(shift) + k), from = 8 * (size_t)shift, b;

	*mask = *bits = 0;
	for (b = at; b < at + 6; b++) {
		*mask <<= 1;
		*bits <<= 1;
		if (b < from || b - from >= 8 * len)
			continue;
		*mask |= 1;
		*bits |= v[(b - from) / 8] >> (7 - (b - from) % 8) & 1;
	}
}

/* A character of the text, escaped or not. */
static enum verdict plain_char(const uint8_t *p, size_t len, uint32_t *code, size_t *used)
{
	struct escape e;

	if (len == 0)
		return CUT;
	e = escape_at(p, len);
	if (e.cut)
		return CUT;
	*code = e.len ? e.code : p[0];
	*used = e.len ? e.len : 1;
	return YES;
}

/* One line break and the blanks after it. *used 0: there is none. */
static enum verdict break_at(const uint8_t *p, size_t len, size_t *used)
{
	size_t at = 0, n;
	uint32_t c;
	enum verdict got = plain_char(p, len, &c, &n);

	*used = 0;
	if (got == YES && c == '\r') {
		at = n;
		got = plain_char(p + at, len - at, &c, &n);
	}
	if (got != YES || c != '\n')
		return got;
	for (at += n; at < REDACT_BREAK_MAX && at < len && (p[at] == ' ' || p[at] == '\t'); at++)
		;
	*used = at;
	return YES;
}

static enum verdict match_base64(const struct entry *e, const uint8_t *v, const uint8_t *p,
				 size_t len, size_t *end)
{
	size_t count = base64_count(e->shift, e->len), at = 0, used = 0, k;
	uint8_t mask, bits;
	enum verdict got;
	uint32_t c;

	for (k = e->start; k < count; k++) {
		if (k >= (size_t)e->start + BREAK_AFTER) {
			got = break_at(p + at, len - at, &used);
			if (got != YES)
				return got;
			at += used;
		}
		got = plain_char(p + at, len - at, &c, &used);
		if (got != YES)
			return got;
		if (k - e->start < BREAK_AFTER) {
			mask = e->mask[k - e->start];
			bits = e->bits[k - e->start];
		} else {
			base64_bits(v, e->len, e->shift, k, &mask, &bits);
		}
		if (base64_of(c) < 0 || (base64_of(c) & mask) != bits)
			return NO;
		at += used;
	}
	*end = at;
	return YES;
}

/* Does the text before end in a line break. */
static bool after_break(const uint8_t *p, size_t at, const uint8_t before[4])
{
	uint8_t b[4];
	size_t i;

	for (i = 0; i < 4; i++)
		b[3 - i] = at > i ? p[at - 1 - i] : before[3 - (i - at)];
	return b[3] == '\n' || b[3] == ' ' || b[3] == '\t' || (b[2] == '\\' && b[3] == 'n') ||
	       b[3] == ';' ||
	       ((b[1] == '%' || b[1] == 'x' || b[1] == '0') && b[2] == '0' && (b[3] | 0x20) == 'a');
}

/* ---- making ---- */

static bool wanted(const struct redact_value *v)
{
	return v->len >= REDACT_MIN;
}

size_t redact_size(const struct redact_value *v, size_t count)
{
	size_t n = sizeof(struct redact), i;

	if (count > REDACT_VALUES_MAX)
		return 0;
	for (i = 0; i < count; i++) {
		if (v[i].len > REDACT_MAX)
			return 0;
		if (wanted(&v[i]))
			n += ENTRIES_MAX * sizeof(struct entry) + v[i].len;
	}
	return n;
}

static void say(uint32_t table[256], uint32_t bit, uint8_t c)
{
	table[c] |= bit;
}

static void say_any(uint32_t table[256], uint32_t bit)
{
	size_t i;

	for (i = 0; i < 256; i++)
		table[i] |= bit;
}

static void say_escapes(uint32_t table[256], uint32_t bit)
{
	say(table, bit, '%');
	say(table, bit, '\\');
	say(table, bit, '&');
}

/* First bytes of whatever stands for this byte, unescaped. */
static void say_byte(uint32_t table[256], uint32_t bit, uint8_t c)
{
	say(table, bit, c);
	if (c == ' ')
		say(table, bit, '+');
	if (c >= 0x80)
		say(table, bit, (uint8_t)(0xc0 | c >> 6));
}

/* Second bytes of escapes that may stand for this one. */
static void say_escaped(uint32_t table[256], uint32_t bit, uint8_t c)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t hex = (uint8_t)digits[c >> 4];

	say(table, bit, hex);
	say(table, bit, hex >= 'a' ? hex & 0xdf : hex);
	say(table, bit, 'u');
	say(table, bit, 'x');
	say(table, bit, '#');
	if (!alnum(c) || c == 0) {
		const char *p;

		for (p = "bfnrt0algq"; *p; p++)
			say(table, bit, (uint8_t)*p);
		say(table, bit, c);
	}
}

static void say_text(struct redact *r, uint32_t bit, const uint8_t *v)
{
	say_byte(r->first, bit, v[0]);
	say_byte(r->second, bit, v[1]);
	say_byte(r->third, bit, v[2]);
	say_escapes(r->second, bit);
	say_escapes(r->third, bit);
	say_escaped(r->third, bit, v[1]);
	/* A first byte that was encoded again takes two. */
	if (v[0] >= 0x80 || v[1] >= 0x80) {
		say_any(r->second, bit);
		say_any(r->third, bit);
	}
}

static void say_base64(struct redact *r, uint32_t bit, const struct entry *e, const uint8_t *v)
{
	uint32_t *tables[] = {r->first, r->second, r->third};
	uint8_t mask, bits;
	bool escaped = false;
	unsigned int c;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tables); i++) {
		if (escaped)
			say_any(tables[i], bit);
		base64_bits(v, e->len, e->shift, e->start + i, &mask, &bits);
		for (c = 0; c < 128; c++) {
			if (base64_of(c) < 0 || (base64_of(c) & mask) != bits)
				continue;
			say(tables[i], bit, (uint8_t)c);
			if (!alnum((uint8_t)c)) {
				say_escapes(tables[i], bit);
				escaped = true;
			}
		}
	}
}

static void say_hex(struct redact *r, uint32_t bit, const uint8_t *v)
{
	const uint8_t digit[] = {v[0] >> 4, v[0] & 15, v[1] >> 4};
	uint32_t *tables[] = {r->first, r->second, r->third};
	unsigned int c;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(tables); i++)
		for (c = 0; c < 128; c++)
			if (hex_of((uint8_t)c) == digit[i])
				say(tables[i], bit, (uint8_t)c);
}

static void add(struct redact *r, struct entry e)
{
	const uint8_t *v = r->bytes + e.at;
	uint32_t bit = 1u << (r->entry_count % 32);

	r->entries[r->entry_count++] = e;
	switch ((enum form)e.form) {
	case FORM_TEXT:
		say_text(r, bit, v);
		return;
	case FORM_TEXT_ESCAPED:
		say_escapes(r->first, bit);
		say_escaped(r->second, bit, v[0]);
		say_any(r->third, bit);
		return;
	case FORM_HEX:
		say_hex(r, bit, v);
		return;
	case FORM_BASE64:
		say_base64(r, bit, &e, v);
		return;
	}
}

static void add_value(struct redact *r, uint32_t at, uint32_t len)
{
	struct entry e = {.at = at, .len = len, .form = FORM_TEXT};
	uint8_t start, k;

	add(r, e);
	e.form = FORM_TEXT_ESCAPED;
	add(r, e);
	if (len < REDACT_MIN_CODED)
		return;
	e.form = FORM_HEX;
	add(r, e);
	e.form = FORM_BASE64;
	for (e.shift = 0; e.shift < 3; e.shift++) {
		start = e.shift ==
			2; /* the first has two bits of the value, and would begin everywhere */
		for (e.start = start; e.start < start + BREAK_AFTER; e.start++) {
			e.anchored = e.start > start;
			for (k = 0; k < BREAK_AFTER; k++)
				base64_bits(r->bytes + at, len, e.shift, e.start + k, &e.mask[k],
					    &e.bits[k]);
			add(r, e);
		}
	}
}

struct redact *redact_make(void *mem, const struct redact_value *v, size_t count)
{
	struct redact *r = mem;
	size_t i, used = 0, n = 0;

	memset(r, 0, sizeof(*r));
	for (i = 0; i < count; i++)
		n += wanted(&v[i]);
	r->entries = (struct entry *)(r + 1);
	r->bytes = (uint8_t *)(r->entries + n * ENTRIES_MAX);
	for (i = 0; i < count; i++) {
		if (!wanted(&v[i]))
			continue;
		memcpy(r->bytes + used, v[i].p, v[i].len);
		add_value(r, (uint32_t)used, (uint32_t)v[i].len);
		used += v[i].len;
	}
	assert(r->entry_count <= n * ENTRIES_MAX);
	skim_make(&r->skim, r->first, r->second, r->third);
	return r;
}

/* ---- scanning ---- */

static enum verdict match(const struct redact *r, const struct entry *e, const uint8_t *p,
			  size_t len, bool last, size_t *end)
{
	const uint8_t *v = r->bytes + e->at;

	switch ((enum form)e->form) {
	case FORM_TEXT:
	case FORM_TEXT_ESCAPED:
		return match_text(v, e->len, p, len, last, end);
	case FORM_HEX:
		return match_hex(v, e->len, p, len, end);
	case FORM_BASE64:
		return match_base64(e, v, p, len, end);
	}
	return NO;
}

/* The entries that the bytes from p on speak for. */
static uint32_t spoken_for(const struct redact *r, const uint8_t *p, size_t len)
{
	uint32_t bits = r->first[p[0]];

	if (len > 1)
		bits &= r->second[p[1]];
	if (len > 2)
		bits &= r->third[p[2]];
	return bits;
}

/* The finds that begin at p[at]: how far the furthest goes. CUT: not yet known. */
static enum verdict look(const struct redact *r, const struct redact_text *t, const uint8_t *p,
			 size_t at, size_t len, bool last, size_t *reach)
{
	uint32_t bits = spoken_for(r, p + at, len - at), i;
	size_t end = 0;

	*reach = 0;
	for (; bits; bits &= bits - 1) {
		for (i = (uint32_t)__builtin_ctz(bits); i < r->entry_count; i += 32) {
			const struct entry *e = &r->entries[i];

			if (e->anchored && !after_break(p, at, t->before))
				continue;
			switch (match(r, e, p + at, len - at, last, &end)) {
			case YES:
				*reach = end > *reach ? end : *reach;
				break;
			case CUT:
				if (!last)
					return CUT;
				break;
			case NO:
				break;
			}
		}
	}
	return YES;
}

static void remember(struct redact_text *t, const uint8_t *p, size_t n)
{
	size_t keep = n < sizeof(t->before) ? n : sizeof(t->before);

	memmove(t->before, t->before + keep, sizeof(t->before) - keep);
	memcpy(t->before + sizeof(t->before) - keep, p + n - keep, keep);
}

size_t redact_scan(const struct redact *r, struct redact_text *t, uint8_t *p, size_t len, bool last)
{
	size_t at = 0, reach;

	while (at < len) {
		if (t->mask == 0)
			at = skim_next(&r->skim, p, at, len);
		if (look(r, t, p, at, len, last, &reach) == CUT)
			break;
		if (reach > t->mask) {
			t->mask = reach;
			t->found++;
		}
		if (t->mask > 0) {
			if (p[at] != '\n' && p[at] != '\r')
				p[at] = '*';
			t->mask--;
		}
		at++;
	}
	remember(t, p, at);
	return at;
}
