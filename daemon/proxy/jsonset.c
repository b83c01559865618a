/* jsonset.c: see jsonset.h.
 *
 * One walk over the text checks it and finds the place. An object is on the path at level n when the first n names led
 * to it; the levels that are open are the outermost containers, so a number says which they are. What is remembered is
 * one cut: from where to where bytes go, and from which name on something is written instead.
 */
#include "jsonset.h"

#include <errno.h>

enum expect { EX_VALUE, EX_FIRST_NAME, EX_NAME, EX_COLON, EX_FIRST_ITEM, EX_MORE, EX_END };

struct walk {
	const char *text, *p, *end;
	const struct jsonset_path *path;
	bool object[JSONSET_DEPTH_MAX]; /* of the open containers: which are objects */
	uint32_t depth;
	uint32_t on; /* containers 0 .. on-1 are objects on the path */
	bool found[JSONSET_NAMES_MAX];
	bool member; /* the value that comes is the one that the path names next */
	size_t last; /* in the innermost container on the path: where its last value ends */
	bool some[JSONSET_NAMES_MAX]; /* … at that level there is a value */
	/* the outcome */
	bool placed;
	size_t at, cut;
	uint32_t from; /* first name to be written; path->count: the value alone */
	bool comma;
};

/* ---- tokens ---- */

static void skip_blanks(struct walk *w)
{
	while (w->p < w->end && (*w->p == ' ' || *w->p == '\t' || *w->p == '\n' || *w->p == '\r'))
		w->p++;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int hex4(const char *p, const char *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int d = is_digit(c)                              ? c - '0'
			: (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
								 : -1;

		if (d < 0)
			return -1;
		v = v << 4 | d;
	}
	return v;
}

/* Bytes of the UTF-8 sequence at p, 0: none (RFC 3629). */
static size_t utf8(const char *p, const char *end)
{
	const unsigned char *s = (const unsigned char *)p;
	size_t n = s[0] < 0x80                   ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0       ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;

	if (n == 0 || (size_t)(end - p) < n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static size_t put_utf8(uint32_t c, char out[4])
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 63));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 63));
		out[2] = (char)(0x80 | (c & 63));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 63));
	out[2] = (char)(0x80 | (c >> 6 & 63));
	out[3] = (char)(0x80 | (c & 63));
	return 4;
}

/* The escape at p, which is behind the backslash: its meaning in out; bytes used, 0: none. Half of a surrogate pair means
 * nothing that a name could: *ret_n is 0 then. */
static size_t escape(const char *p, const char *end, char out[4], size_t *ret_n)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at = p < end && *p ? strchr(from, *p) : NULL;
	int high, low;

	*ret_n = 1;
	if (at) {
		out[0] = to[at - from];
		return 1;
	}
	if (p == end || *p != 'u')
		return 0;
	high = hex4(p + 1, end);
	if (high < 0)
		return 0;
	if ((high & 0xf800) != 0xd800) {
		*ret_n = put_utf8((uint32_t)high, out);
		return 5;
	}
	low = end - p >= 11 && p[5] == '\\' && p[6] == 'u' ? hex4(p + 7, end) : -1;
	if (high >= 0xdc00 || low < 0 || (low & 0xfc00) != 0xdc00) {
		*ret_n = 0;
		return 5;
	}
	*ret_n = put_utf8(0x10000 + (((uint32_t)high & 0x3ff) << 10) + ((uint32_t)low & 0x3ff),
			  out);
	return 11;
}

/* Reads a string whose quote is at p; *is: does it mean `name`. */
static int string(struct walk *w, struct http1_slice name, bool *is)
{
	size_t n = 0, used, len;
	char c[4];

	*is = true;
	for (w->p++; w->p < w->end && *w->p != '"'; w->p += used) {
		if (*w->p == '\\') {
			used = escape(w->p + 1, w->end, c, &len);
			used += used > 0;
			*is &= len > 0;
		} else {
			used = (unsigned char)*w->p < 0x20 ? 0 : utf8(w->p, w->end);
			len = used;
			memcpy(c, w->p, used);
		}
		if (used == 0)
			return -EBADMSG;
		*is = *is && len <= name.len - n && memcmp(name.p + n, c, len) == 0;
		n += *is ? len : 0;
	}
	*is &= n == name.len;
	if (w->p == w->end)
		return -EBADMSG;
	w->p++;
	return 0;
}

static bool digits(struct walk *w)
{
	const char *from = w->p;

	while (w->p < w->end && is_digit(*w->p))
		w->p++;
	return w->p > from;
}

static int number(struct walk *w)
{
	if (*w->p == '-')
		w->p++;
	if (w->p < w->end && *w->p == '0')
		w->p++;
	else if (!digits(w))
		return -EBADMSG;
	if (w->p < w->end && *w->p == '.') {
		w->p++;
		if (!digits(w))
			return -EBADMSG;
	}
	if (w->p < w->end && (*w->p == 'e' || *w->p == 'E')) {
		w->p++;
		if (w->p < w->end && (*w->p == '+' || *w->p == '-'))
			w->p++;
		if (!digits(w))
			return -EBADMSG;
	}
	return 0;
}

static int literal(struct walk *w, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(w->end - w->p) < n || memcmp(w->p, word, n) != 0)
		return -EBADMSG;
	w->p += n;
	return 0;
}

/* ---- the walk ---- */

/* Is the innermost container an object on the path? */
static bool on_path(const struct walk *w)
{
	return w->depth > 0 && w->depth == w->on;
}

static int place(struct walk *w, size_t at, size_t cut, uint32_t from, bool comma)
{
	w->placed = true;
	w->at = at;
	w->cut = cut;
	w->from = from;
	w->comma = comma;
	return 0;
}

/* A value has ended at p. */
static void value_ended(struct walk *w)
{
	if (on_path(w)) {
		w->last = (size_t)(w->p - w->text);
		w->some[w->depth - 1] = true;
	}
}

static int open_container(struct walk *w, bool object)
{
	bool leads = object && (w->depth == 0 || (w->member && on_path(w)));

	if (w->depth == JSONSET_DEPTH_MAX)
		return -E2BIG;
	w->p++;
	w->object[w->depth++] = object;
	if (leads && w->on < w->path->count) {
		w->on = w->depth;
		w->last = (size_t)(w->p - w->text);
		w->found[w->on - 1] = w->some[w->on - 1] = false;
	}
	w->member = false;
	return 0;
}

static void close_container(struct walk *w)
{
	uint32_t level = w->depth - 1;

	if (on_path(w)) {
		if (!w->found[level])
			(void)place(w, w->last, 0, level, w->some[level]);
		w->on--;
	}
	w->depth--;
	w->p++;
	value_ended(w);
}

static int scalar(struct walk *w)
{
	bool is;

	switch (*w->p) {
	case '"':
		return string(w, (struct http1_slice){"", 0}, &is);
	case 't':
		return literal(w, "true");
	case 'f':
		return literal(w, "false");
	case 'n':
		return literal(w, "null");
	default:
		return number(w);
	}
}

/* The value at p, or its beginning. replaced: it is the one that goes. */
static int value(struct walk *w, enum expect *next)
{
	bool leads = w->depth == 0 || (w->member && on_path(w));
	bool last = w->depth > 0 && leads && w->on == w->path->count;
	int rc;

	if (leads && !last && *w->p != '{')
		return -EEXIST;
	if (last)
		(void)place(w, (size_t)(w->p - w->text), 0, w->path->count, false);
	if (*w->p == '{' || *w->p == '[') {
		*next = *w->p == '{' ? EX_FIRST_NAME : EX_FIRST_ITEM;
		return open_container(w, *w->p == '{');
	}
	rc = scalar(w);
	w->member = false;
	*next = w->depth > 0 ? EX_MORE : EX_END;
	value_ended(w);
	return rc;
}

static int name(struct walk *w)
{
	bool on = on_path(w), is;
	int rc;

	if (*w->p != '"')
		return -EBADMSG;
	rc = string(w, on ? w->path->name[w->on - 1] : (struct http1_slice){"", 0}, &is);
	if (rc < 0 || !on || !is)
		return rc;
	if (w->found[w->on - 1])
		return -EEXIST;
	w->found[w->on - 1] = w->member = true;
	return 0;
}

static int closed(struct walk *w, enum expect *next)
{
	close_container(w);
	*next = w->depth > 0 ? EX_MORE : EX_END;
	return 0;
}

/* One token, at p. */
static int token(struct walk *w, enum expect *ex)
{
	char c = *w->p;

	switch (*ex) {
	case EX_FIRST_NAME:
	case EX_FIRST_ITEM:
		if (c == (*ex == EX_FIRST_NAME ? '}' : ']'))
			return closed(w, ex);
		if (*ex == EX_FIRST_ITEM)
			return value(w, ex);
		__attribute__((fallthrough));
	case EX_NAME:
		*ex = EX_COLON;
		return name(w);
	case EX_COLON:
		w->p++;
		*ex = EX_VALUE;
		return c == ':' ? 0 : -EBADMSG;
	case EX_VALUE:
		return value(w, ex);
	case EX_MORE:
		if (c == (w->object[w->depth - 1] ? '}' : ']'))
			return closed(w, ex);
		w->p++;
		*ex = w->object[w->depth - 1] ? EX_NAME : EX_VALUE;
		return c == ',' ? 0 : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

static int walk(struct walk *w)
{
	enum expect ex = EX_VALUE;
	bool cut_open = false;
	uint32_t cut_depth = 0;
	int rc = 0;

	for (skip_blanks(w); rc == 0 && w->p < w->end; skip_blanks(w)) {
		bool placed = w->placed;

		rc = token(w, &ex);
		/* The value that goes has begun: it ends when nothing of it is open any more. */
		if (!placed && w->placed && w->from == w->path->count) {
			cut_open = true;
			cut_depth = w->path->count;
		}
		if (cut_open && w->depth == cut_depth) {
			w->cut = (size_t)(w->p - w->text) - w->at;
			cut_open = false;
		}
	}
	return rc < 0 ? rc : ex == EX_END && w->placed ? 0 : -EBADMSG;
}

/* ---- writing ---- */

static void write_name(struct wr *w, struct http1_slice s)
{
	static const char hex[] = "0123456789abcdef";

	wr_str(w, "\"");
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20) {
			wr_str(w, "\\u00");
			wr_u8(w, (uint8_t)hex[c >> 4]);
			wr_u8(w, (uint8_t)hex[c & 15]);
			continue;
		}
		if (c == '"' || c == '\\')
			wr_str(w, "\\");
		wr_u8(w, c);
	}
	wr_str(w, "\"");
}

static void write_new(struct wr *w, const struct jsonset_path *path, uint32_t from,
		      struct http1_slice val)
{
	for (uint32_t i = from; i < path->count; i++) {
		write_name(w, path->name[i]);
		wr_str(w, i + 1 < path->count ? ":{" : ":");
	}
	wr_bytes(w, val.p, val.len);
	for (uint32_t i = from; i + 1 < path->count; i++)
		wr_str(w, "}");
}

int jsonset(struct http1_slice text, const struct jsonset_path *path, struct http1_slice val,
	    struct wr *w)
{
	struct walk k = {.text = text.p, .p = text.p, .end = text.p + text.len, .path = path};
	int rc;

	skip_blanks(&k);
	if (k.p == k.end) {
		wr_str(w, "{");
		write_new(w, path, 0, val);
		wr_str(w, "}");
		return w->full ? -ENOBUFS : 0;
	}
	rc = walk(&k);
	if (rc < 0)
		return rc;
	wr_bytes(w, text.p, k.at);
	if (k.comma)
		wr_str(w, ",");
	write_new(w, path, k.from, val);
	wr_bytes(w, text.p + k.at + k.cut, text.len - k.at - k.cut);
	return w->full ? -ENOBUFS : 0;
}
