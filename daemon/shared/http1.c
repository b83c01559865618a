/* http1.c: how heads are read. What they mean: http1_meaning.c; how they are written: http1_write.c.
 *
 * A head is looked at in two passes. The scan runs as bytes arrive and knows only bytes and line ends: it
 * finds the empty line that ends the head and refuses what no head may hold anywhere (control bytes, bare
 * CR or LF, folding). It remembers where it stopped, so each byte is looked at once. Only when the end is
 * there are the lines taken apart, again once; nothing that is handed out points into a half-read head.
 * Because the scan goes first however the bytes were cut, the same bytes give the same reason.
 *
 * A trailer section is a head without a first line.
 */
#include "http1_in.h"

static const char *const bad_words[] = {
#define X(name, word) [HTTP1_BAD_##name] = word,
	HTTP1_BADS(X)
#undef X
};

const char *http1_bad_word(enum http1_bad bad)
{
	return (unsigned int)bad < HTTP1_BAD_COUNT ? bad_words[bad] : "internal_error";
}

/* ---- bytes ---- */

/* tchar of RFC 9110 5.6.2: visible ASCII without delimiters. */
static const bool tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
	['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

bool http1_token(struct http1_slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!tchar[(unsigned char)s.p[i]])
			return false;
	return s.len > 0;
}

bool http1_eq(struct http1_slice s, const char *exact)
{
	return s.len == strlen(exact) && memcmp(s.p, exact, s.len) == 0;
}

bool http1_is(struct http1_slice s, const char *word)
{
	return same_name(s, word, strlen(word));
}

/* ---- scan ---- */

enum scan_state {
	SCAN_START = 0, /* before the first line */
	SCAN_TEXT,
	SCAN_CR,	/* CR after text */
	SCAN_BOL,	/* at the beginning of a further line */
	SCAN_BOL_CR,	/* CR there: the empty line that ends it all */
	SCAN_END,
	SCAN_BAD,
};

static enum http1_bad scan_line_start(struct http1_scan *s, unsigned char c)
{
	bool first = s->state == SCAN_START;

	if (first && (c == '\r' || c == '\n'))
		return HTTP1_BAD_EMPTY_LINE;
	if (!first && (c == ' ' || c == '\t'))
		return HTTP1_BAD_FOLD;
	if (c == '\n')
		return HTTP1_BAD_BARE_LF;
	if (is_ctl(c) && c != '\r')
		return HTTP1_BAD_BYTE;
	s->state = c == '\r' ? SCAN_BOL_CR : SCAN_TEXT;
	return HTTP1_BAD_NONE;
}

static enum http1_bad scan_byte(struct http1_scan *s, unsigned char c)
{
	switch (s->state) {
	case SCAN_START:
	case SCAN_BOL:
		return scan_line_start(s, c);
	case SCAN_TEXT:
		if (c == '\n')
			return HTTP1_BAD_BARE_LF;
		if (c != '\r')
			return is_ctl(c) ? HTTP1_BAD_BYTE : HTTP1_BAD_NONE;
		s->state = SCAN_CR;
		return HTTP1_BAD_NONE;
	case SCAN_CR:
	case SCAN_BOL_CR:
		if (c != '\n')
			return HTTP1_BAD_BARE_CR;
		s->state = s->state == SCAN_CR ? SCAN_BOL : SCAN_END;
		return HTTP1_BAD_NONE;
	default:
		return HTTP1_BAD_BYTE;
	}
}

static enum http1_result scan_bad(struct http1_scan *s, enum http1_bad bad)
{
	s->state = SCAN_BAD;
	s->bad = (uint8_t)bad;
	return HTTP1_BAD;
}

/* Bytes at the beginning that are no control bytes: eight at a time while none of the eight is below 0x20
 * or 0x7f (both show as a borrow into a byte's top bit), then one by one. */
static size_t plain_run(const char *p, size_t len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	size_t n = 0;

	for (uint64_t v, del; n + sizeof(v) <= len; n += sizeof(v)) {
		memcpy(&v, p + n, sizeof(v));
		del = v ^ ones * 0x7f;
		if ((((v - ones * 0x20) & ~v) | ((del - ones) & ~del)) & tops)
			break;
	}
	while (n < len && !is_ctl((unsigned char)p[n]))
		n++;
	return n;
}

/* Finds the end. DONE: s->at bytes are the head. */
static enum http1_result scan(struct http1_scan *s, const char *buf, size_t len, size_t max)
{
	size_t end = len < max ? len : max;

	if (s->state == SCAN_BAD)
		return HTTP1_BAD;
	while (s->at < end && s->state != SCAN_END) {
		enum http1_bad bad;

		if (s->state == SCAN_TEXT)
			s->at += plain_run(buf + s->at, end - s->at);
		if (s->at == end)
			break;
		bad = scan_byte(s, (unsigned char)buf[s->at]);
		if (bad)
			return scan_bad(s, bad);
		s->at++;
	}
	if (s->state == SCAN_END)
		return HTTP1_DONE;
	return s->at == max ? scan_bad(s, HTTP1_BAD_TOO_LONG) : HTTP1_MORE;
}

/* ---- lines and fields ---- */

static const struct {
	const char *word;
	uint16_t key; /* length and first letter: nearly one to one, and quicker than the words */
	uint8_t id;
} names[] = {
#define X(name, text) {text, (sizeof(text) - 1) << 8 | (uint8_t)(text)[0], HTTP1_##name},
	HTTP1_NAMES(X)
#undef X
};

enum http1_id http1_id_of(struct http1_slice name)
{
	size_t key = name.len << 8 | (uint8_t)lower(name.p[0]);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (key == names[i].key && same_name(name, names[i].word, name.len))
			return names[i].id;
	if (name.len > 6 && same_name(slice(name.p, 6), "proxy-", 6))
		return HTTP1_PROXY_ANY;
	if (name.len > 5 && same_name(slice(name.p, 5), "x-as-", 5))
		return HTTP1_XAS;
	return HTTP1_OTHER;
}

/* The next line without its CRLF. The scan has seen to it that each CR is the beginning of a line end. */
static struct http1_slice next_line(const char **at, const char *end)
{
	const char *p = *at;
	const char *cr = memchr(p, '\r', (size_t)(end - p));

	*at = cr + 2;
	return slice(p, (size_t)(cr - p));
}

static enum http1_bad parse_field(struct http1_slice line, struct http1_field *f)
{
	const char *colon = memchr(line.p, ':', line.len);

	if (!colon)
		return HTTP1_BAD_NO_COLON;
	f->name = slice(line.p, (size_t)(colon - line.p));
	if (f->name.len > HTTP1_NAME_MAX || !http1_token(f->name))
		return HTTP1_BAD_NAME;
	f->value = trim(slice(colon + 1, line.len - f->name.len - 1));
	f->id = http1_id_of(f->name);
	return HTTP1_BAD_NONE;
}

/* All lines up to the empty one that ends at `end`. */
static enum http1_bad parse_fields(const char *at, const char *end, struct http1_head *h)
{
	while (at < end - 2) {
		enum http1_bad bad;

		if (h->field_count == HTTP1_FIELDS_MAX)
			return HTTP1_BAD_TOO_MANY;
		bad = parse_field(next_line(&at, end), &h->fields[h->field_count]);
		if (bad)
			return bad;
		h->field_count++;
	}
	return HTTP1_BAD_NONE;
}

/* "HTTP/1.0" or "HTTP/1.1", exactly. */
static bool parse_version(struct http1_slice s, uint8_t *minor)
{
	if (s.len != 8 || memcmp(s.p, "HTTP/1.", 7) != 0 || (s.p[7] != '0' && s.p[7] != '1'))
		return false;
	*minor = (uint8_t)(s.p[7] - '0');
	return true;
}

bool http1_absolute(struct http1_slice t)
{
	return (t.len > 7 && same_name(slice(t.p, 7), "http://", 7)) ||
	       (t.len > 8 && same_name(slice(t.p, 8), "https://", 8));
}

static enum http1_form form_of(struct http1_slice method, struct http1_slice t)
{
	if (!target_bytes_ok(t.p, t.len))
		return 0;
	if (http1_eq(method, "CONNECT"))
		return HTTP1_AUTHORITY; /* its syntax is a matter of meaning */
	if (t.p[0] == '/')
		return HTTP1_ORIGIN;
	if (http1_eq(t, "*"))
		return http1_eq(method, "OPTIONS") ? HTTP1_ASTERISK : 0;
	return http1_absolute(t) ? HTTP1_ABSOLUTE : 0;
}

static enum http1_bad parse_request_line(struct http1_slice line, struct http1_head *h)
{
	const char *sp = memchr(line.p, ' ', line.len);
	const char *end = line.p + line.len, *sp2;

	if (!sp)
		return HTTP1_BAD_METHOD;
	h->method = slice(line.p, (size_t)(sp - line.p));
	if (h->method.len > HTTP1_METHOD_MAX || !http1_token(h->method))
		return HTTP1_BAD_METHOD;
	sp2 = memchr(sp + 1, ' ', (size_t)(end - sp - 1));
	if (!sp2)
		return HTTP1_BAD_VERSION;
	h->target = slice(sp + 1, (size_t)(sp2 - sp - 1));
	h->form = form_of(h->method, h->target);
	if (!h->form)
		return HTTP1_BAD_TARGET;
	return parse_version(slice(sp2 + 1, (size_t)(end - sp2 - 1)), &h->minor) ? HTTP1_BAD_NONE : HTTP1_BAD_VERSION;
}

static enum http1_bad parse_status_line(struct http1_slice line, struct http1_head *h)
{
	const char *p = line.p;

	if (line.len < 12 || !parse_version(slice(p, 8), &h->minor))
		return HTTP1_BAD_VERSION;
	if (p[8] != ' ' || p[9] < '1' || p[9] > '9' || !is_digit(p[10]) || !is_digit(p[11]))
		return HTTP1_BAD_STATUS;
	h->status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
	if (line.len > 12 && p[12] != ' ')
		return HTTP1_BAD_STATUS;
	/* The blank before an empty phrase is often forgotten; nothing hangs on it. */
	h->phrase = line.len > 13 ? slice(p + 13, line.len - 13) : slice(p + line.len, 0);
	return HTTP1_BAD_NONE;
}

enum parse_kind { PARSE_REQUEST, PARSE_RESPONSE, PARSE_TRAILERS };

static enum http1_bad parse_head(const char *buf, size_t len, enum parse_kind kind, struct http1_head *h)
{
	const char *at = buf, *end = buf + len;
	enum http1_bad bad = HTTP1_BAD_NONE;

	if (kind == PARSE_REQUEST)
		bad = parse_request_line(next_line(&at, end), h);
	else if (kind == PARSE_RESPONSE)
		bad = parse_status_line(next_line(&at, end), h);
	return bad ? bad : parse_fields(at, end, h);
}

static enum http1_result head(struct http1_scan *s, const char *buf, size_t len, enum parse_kind kind,
			      struct http1_head *h)
{
	enum http1_result res = scan(s, buf, len, kind == PARSE_TRAILERS ? HTTP1_TRAILER_MAX : HTTP1_HEAD_MAX);

	h->bad = s->bad;
	if (res != HTTP1_DONE)
		return res;
	/* Only what is read below is cleared: the fields are half of the cost of a small request. */
	h->raw = slice(buf, s->at);
	h->method = h->target = h->phrase = slice(NULL, 0);
	h->form = 0;
	h->minor = 0;
	h->status = 0;
	h->field_count = 0;
	h->bad = parse_head(buf, s->at, kind, h);
	return h->bad ? scan_bad(s, h->bad) : HTTP1_DONE;
}

enum http1_result http1_request(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h)
{
	return head(s, buf, len, PARSE_REQUEST, h);
}

enum http1_result http1_response(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h)
{
	return head(s, buf, len, PARSE_RESPONSE, h);
}

enum http1_result http1_trailers(struct http1_scan *s, const char *buf, size_t len, struct http1_head *h)
{
	enum http1_result res;

	if (s->state == SCAN_START)
		s->state = SCAN_BOL;
	res = head(s, buf, len, PARSE_TRAILERS, h);
	for (uint32_t i = 0; res == HTTP1_DONE && i < h->field_count; i++)
		if (h->fields[i].id != HTTP1_OTHER && h->fields[i].id != HTTP1_PROXY_STATUS)
			res = scan_bad(s, h->bad = HTTP1_BAD_TRAILER);
	return res;
}

uint32_t http1_find(const struct http1_head *h, enum http1_id id, uint32_t from)
{
	while (from < h->field_count && h->fields[from].id != id)
		from++;
	return from < h->field_count ? from : h->field_count;
}
