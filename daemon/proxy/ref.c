/* ref.c: see ref.h.
 *
 * References begin with a fixed word: memmem. Placeholders are found by their last eight bytes: a bitmap over a hash
 * of them says of most places in a text at once that none ends there. No placeholder is part of another one
 * (rules.h), so at most one ends at any place.
 */
#include "ref.h"

#include <errno.h>

#define PREFIX     "agentsecrets"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define TAIL_LEN   sizeof(uint64_t)
#define BITS       4096u
#define PIECE      4096u
#define SLACK      512u /* more than any of them is long */

_Static_assert(RULES_PLACEHOLDER_MIN >= TAIL_LEN, "each placeholder has a tail");

struct ref_mark {
	const char *text, *name;
	size_t len;
};

struct ref_marks {
	uint64_t seen[BITS / 64];
	size_t count;
	struct ref_mark marks[];
};

static uint64_t tail_of(const char *end)
{
	uint64_t v;

	memcpy(&v, end - TAIL_LEN, sizeof(v));
	return v;
}

static uint32_t bit_of(uint64_t tail)
{
	return (uint32_t)(tail * 0x9e3779b97f4a7c15ULL >> 52);
}

int ref_marks_new(const struct rules *r, struct ref_marks **ret)
{
	struct ref_marks *m;
	size_t count = 0;

	for (uint32_t i = 0; i < r->secret_count; i++)
		count += r->secrets[i].placeholder[0] != '\0';
	*ret = NULL;
	if (!count)
		return 0;
	m = calloc(1, sizeof(*m) + count * sizeof(m->marks[0]));
	if (!m)
		return -ENOMEM;
	for (uint32_t i = 0; i < r->secret_count; i++) {
		const struct rules_secret *s = &r->secrets[i];
		struct ref_mark mark = {s->placeholder, s->name, strlen(s->placeholder)};
		uint32_t bit;

		if (!mark.len)
			continue;
		bit = bit_of(tail_of(mark.text + mark.len));
		m->seen[bit / 64] |= 1ULL << bit % 64;
		m->marks[m->count++] = mark;
	}
	*ret = m;
	return 0;
}

struct ref_marks *ref_marks_free(struct ref_marks *m)
{
	free(m);
	return NULL;
}

/* The placeholder that ends at `end` and begins at or after `from`. */
static const struct ref_mark *mark_at(const struct ref_marks *m, const char *from, const char *end)
{
	size_t room = (size_t)(end - from);

	for (size_t i = 0; i < m->count; i++)
		if (m->marks[i].len <= room &&
		    memcmp(end - m->marks[i].len, m->marks[i].text, m->marks[i].len) == 0)
			return &m->marks[i];
	return NULL;
}

/* Is the byte at `at` one of the two digits of a percent escape. */
static bool in_escape(struct http1_slice s, size_t at)
{
	return (at >= 1 && s.p[at - 1] == '%') || (at >= 2 && s.p[at - 2] == '%');
}

static bool find_mark(struct http1_slice s, size_t from, enum ref_form form,
		      const struct ref_marks *m, struct ref_found *f)
{
	for (size_t end = from + TAIL_LEN; end <= s.len; end++) {
		uint32_t bit = bit_of(tail_of(s.p + end));
		const struct ref_mark *mark;

		if (!(m->seen[bit / 64] >> bit % 64 & 1))
			continue;
		mark = mark_at(m, s.p + from, s.p + end);
		if (!mark || (form == REF_PERCENT && in_escape(s, end - mark->len)))
			continue;
		*f = (struct ref_found){.at = end - mark->len,
					.len = mark->len,
					.name = mark->name,
					.name_len = strlen(mark->name)};
		return true;
	}
	return false;
}

/* Bytes of `c` at p: 1, or more when it is written another way; 0: something else is there. */
static size_t match_sep(const char *p, size_t len, char c, enum ref_form form)
{
	char low = c == ':' ? 'a' : 'f';

	if (len >= 1 && p[0] == c)
		return 1;
	if (form == REF_JSON)
		return len >= 2 && c == '/' && p[0] == '\\' && p[1] == '/' ? 2 : 0;
	if (form != REF_PERCENT || len < 3 || p[0] != '%' || p[1] != (c == ':' ? '3' : '2'))
		return 0;
	return (p[2] | 0x20) == low ? 3 : 0;
}

/* Bytes of `://` at p, or 0. */
static size_t match_seps(const char *p, size_t len, enum ref_form form)
{
	static const char seps[] = "://";
	size_t n = 0;

	for (size_t i = 0; i < 3; i++) {
		size_t got = match_sep(p + n, len - n, seps[i], form);

		if (!got)
			return 0;
		n += got;
	}
	return n;
}

static size_t match_name(const char *p, size_t len)
{
	size_t n = 0;

	while (n < len &&
	       ((p[n] >= 'A' && p[n] <= 'Z') || p[n] == '_' || (n && p[n] >= '0' && p[n] <= '9')))
		n++;
	return n < RPC_NAME_MAX ? n : 0;
}

static bool find_reference(struct http1_slice s, size_t from, enum ref_form form,
			   struct ref_found *f)
{
	while (from < s.len) {
		const char *p = memmem(s.p + from, s.len - from, PREFIX, PREFIX_LEN);
		const char *end = s.p + s.len, *q;
		size_t seps, name;

		if (!p)
			return false;
		q = p + PREFIX_LEN;
		seps = match_seps(q, (size_t)(end - q), form);
		name = seps ? match_name(q + seps, (size_t)(end - q) - seps) : 0;
		if (name && !(form == REF_PERCENT && in_escape(s, (size_t)(p - s.p)))) {
			*f = (struct ref_found){.at = (size_t)(p - s.p),
						.len = PREFIX_LEN + seps + name,
						.name = q + seps,
						.name_len = name};
			return true;
		}
		from = (size_t)(q - s.p);
	}
	return false;
}

static bool find_first(struct http1_slice s, size_t from, enum ref_form form,
		       const struct ref_marks *marks, struct ref_found *f)
{
	struct ref_found mark;
	bool got = find_reference(s, from, form, f);

	/* A placeholder that ends before the reference begins is the first; it cannot reach into one. */
	if (got)
		s.len = f->at;
	if (!find_mark(s, from, form, marks, &mark))
		return got;
	*f = mark;
	return true;
}

bool ref_find(struct http1_slice s, size_t from, enum ref_form form, const struct ref_marks *marks,
	      struct ref_found *f)
{
	if (!marks)
		return find_reference(s, from, form, f);
	/* Piece by piece: the search for the one kind does not run far past the next of the other, again and again. */
	for (; from < s.len; from += PIECE) {
		size_t left = s.len - from;
		struct http1_slice piece = {s.p,
					    from + (left < PIECE + SLACK ? left : PIECE + SLACK)};

		if (find_first(piece, from, form, marks, f) && f->at < from + PIECE)
			return true;
	}
	return false;
}

bool ref_maybe(const void *p, size_t len, const struct ref_marks *marks)
{
	struct http1_slice s = {p, len};
	struct ref_found f;

	return (len >= PREFIX_LEN && memmem(p, len, PREFIX, PREFIX_LEN)) ||
	       (marks && find_mark(s, 0, REF_PLAIN, marks, &f));
}

void ref_write_percent(struct wr *w, const uint8_t *p, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		uint8_t c = p[i];

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
