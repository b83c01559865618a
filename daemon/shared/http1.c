/* http1.c: how heads are read and written.
 *
 * A head is looked at in two passes. The scan runs as bytes arrive and knows only bytes and line ends: it
 * finds the empty line that ends the head and refuses what no head may hold anywhere (control bytes, bare
 * CR or LF, folding). It remembers where it stopped, so each byte is looked at once. Only when the end is
 * there are the lines taken apart, again once; nothing that is handed out points into a half-read head.
 * Because the scan goes first however the bytes were cut, the same bytes give the same reason.
 *
 * Meaning is a function of a finished head. Chunked bodies are a state machine over bytes that hands out
 * slices of payload and keeps no byte; the trailer section is a head without a first line.
 */
#include "http1.h"
#include "hello.h"
#include "origin.h"

#include <errno.h>

#define OPTIONS_MAX 32 /* elements of all Connection fields together */

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

static bool is_ctl(unsigned char c)
{
	return (c < 0x20 && c != '\t') || c == 0x7f;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 'a' - 'A') : c;
}

/* tchar of RFC 9110 5.6.2: visible ASCII without delimiters. */
static const bool tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1,
	['-'] = 1, ['.'] = 1, ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1,
	['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

static struct http1_slice slice(const char *p, size_t len)
{
	return (struct http1_slice){.p = p, .len = len};
}

static bool has_ctl(const void *p, size_t len)
{
	const unsigned char *s = p;

	for (size_t i = 0; i < len; i++)
		if (is_ctl(s[i]))
			return true;
	return false;
}

/* Only visible ASCII and no fragment: what may stand in a request's target. */
static bool target_bytes_ok(const void *p, size_t len)
{
	const unsigned char *s = p;

	for (size_t i = 0; i < len; i++)
		if (s[i] <= 0x20 || s[i] >= 0x7f || s[i] == '#')
			return false;
	return len > 0;
}

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

static bool same_name(struct http1_slice a, const char *b, size_t len)
{
	if (a.len != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (lower(a.p[i]) != lower(b[i]))
			return false;
	return true;
}

bool http1_is(struct http1_slice s, const char *word)
{
	return same_name(s, word, strlen(word));
}

static struct http1_slice trim(struct http1_slice s)
{
	while (s.len && (s.p[0] == ' ' || s.p[0] == '\t'))
		s.p++, s.len--;
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
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

static enum http1_id id_of(struct http1_slice name)
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
	f->id = id_of(f->name);
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

static bool absolute(struct http1_slice t)
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
	return absolute(t) ? HTTP1_ABSOLUTE : 0;
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

/* ---- authorities and URLs ---- */

/* The text between brackets, or a dotted quad, as an address in canonical text. */
static int address_of(struct http1_slice s, bool v6, char host[RPC_HOST_MAX])
{
	char text[ORIGIN_TEXT_MAX] = "", canon[ORIGIN_TEXT_MAX];
	uint8_t addr[16];

	if (s.len == 0 || s.len >= sizeof(text) || v6 != !!memchr(s.p, ':', s.len))
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		text[i] = lower(s.p[i]);
		if (!is_digit(text[i]) && text[i] != '.' && text[i] != ':' && (text[i] < 'a' || text[i] > 'f'))
			return -EINVAL;
	}
	if (!origin_parse(text, addr))
		return -EINVAL;
	origin_text(addr, canon);
	memset(host, 0, RPC_HOST_MAX);
	memcpy(host, canon, strnlen(canon, sizeof(canon) - 1));
	return 0;
}

static int name_of(struct http1_slice s, char host[RPC_HOST_MAX])
{
	if (s.len == 0 || s.len >= RPC_HOST_MAX)
		return -EINVAL;
	memset(host, 0, RPC_HOST_MAX);
	for (size_t i = 0; i < s.len; i++)
		host[i] = lower(s.p[i]);
	return hello_host_ok(host, s.len) ? 0 : -EINVAL;
}

/* 1 to 65535 without leading zeros. */
static int port_of(struct http1_slice s, uint16_t *port)
{
	uint32_t n = 0;

	if (s.len < 1 || s.len > 5 || s.p[0] == '0')
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit(s.p[i]))
			return -EINVAL;
		n = n * 10 + (uint32_t)(s.p[i] - '0');
	}
	if (n > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)n;
	return 0;
}

/* Splits off the host; *rest is "" or ":port". */
static int split_host(struct http1_slice s, struct http1_slice *host, bool *v6, struct http1_slice *rest)
{
	const char *end;

	*v6 = s.len > 0 && s.p[0] == '[';
	if (*v6) {
		end = memchr(s.p, ']', s.len);
		if (!end)
			return -EINVAL;
		*host = slice(s.p + 1, (size_t)(end - s.p - 1));
		end++;
	} else {
		end = memchr(s.p, ':', s.len);
		if (!end)
			end = s.p + s.len;
		*host = slice(s.p, (size_t)(end - s.p));
	}
	*rest = slice(end, (size_t)(s.p + s.len - end));
	return 0;
}

int http1_authority(struct http1_slice s, char host[RPC_HOST_MAX], bool *address, uint16_t *port)
{
	struct http1_slice name, rest;
	uint16_t number = 0;
	bool v6, is_address;

	host[0] = '\0';
	if (s.len == 0 || split_host(s, &name, &v6, &rest) < 0)
		return -EINVAL;
	if (rest.len && (rest.p[0] != ':' || port_of(slice(rest.p + 1, rest.len - 1), &number) < 0))
		return -EINVAL;
	is_address = address_of(name, v6, host) == 0;
	if (!is_address && (v6 || name_of(name, host) < 0)) {
		host[0] = '\0';
		return -EINVAL;
	}
	*address = is_address;
	*port = number;
	return 0;
}

static void split_target(struct http1_slice t, struct http1_slice *path, struct http1_slice *query)
{
	const char *q = t.len ? memchr(t.p, '?', t.len) : NULL;

	*path = q ? slice(t.p, (size_t)(q - t.p)) : t;
	*query = q ? slice(q + 1, t.len - path->len - 1) : slice(NULL, 0);
	if (path->len == 0)
		*path = slice("/", 1);
}

int http1_url(struct http1_slice s, struct http1_url *u)
{
	struct http1_url t = {0};
	size_t at, end;

	if (s.len == 0 || !target_bytes_ok(s.p, s.len) || !absolute(s))
		return -EINVAL;
	t.scheme = s.p[4] == ':' ? HTTP1_SCHEME_HTTP : HTTP1_SCHEME_HTTPS;
	at = end = t.scheme == HTTP1_SCHEME_HTTP ? 7 : 8;
	while (end < s.len && s.p[end] != '/' && s.p[end] != '?')
		end++;
	if (http1_authority(slice(s.p + at, end - at), t.host, &t.address, &t.port) < 0)
		return -EINVAL;
	t.port_given = t.port != 0;
	if (!t.port_given)
		t.port = t.scheme == HTTP1_SCHEME_HTTP ? 80 : 443;
	t.target = slice(s.p + end, s.len - end);
	split_target(t.target, &t.path, &t.query);
	*u = t;
	return 0;
}

/* ---- meaning ---- */

/* The fields that may come once, and what the Connection fields say. */
struct marks {
	const struct http1_field *host, *length, *coding, *expect, *upgrade;
	bool close, stay, upgrade_listed, upgrades;
	uint32_t options;
};

static void set_hop(struct http1_meaning *m, uint32_t i)
{
	m->hop[i / 64] |= UINT64_C(1) << (i % 64);
}

static void clear_hop(struct http1_meaning *m, uint32_t i)
{
	m->hop[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

/* Remembers a field that may come once. */
static enum http1_bad once(const struct http1_field **slot, const struct http1_field *f, enum http1_bad bad)
{
	if (*slot)
		return bad;
	*slot = f;
	return HTTP1_BAD_NONE;
}

static enum http1_bad mark_field(const struct http1_field *f, struct marks *k)
{
	switch (f->id) {
	case HTTP1_HOST:
		return once(&k->host, f, HTTP1_BAD_HOST_TWICE);
	case HTTP1_CONTENT_LENGTH:
		return once(&k->length, f, HTTP1_BAD_LENGTH_TWICE);
	case HTTP1_TRANSFER_ENCODING:
		return once(&k->coding, f, HTTP1_BAD_CODING);
	case HTTP1_EXPECT:
		return once(&k->expect, f, HTTP1_BAD_EXPECT);
	case HTTP1_UPGRADE: /* a list; of several, none is taken up */
		k->upgrades = k->upgrade != NULL;
		k->upgrade = f;
		return HTTP1_BAD_NONE;
	default:
		return HTTP1_BAD_NONE;
	}
}

static bool always_hop(enum http1_id id)
{
	return id == HTTP1_CONNECTION || id == HTTP1_KEEP_ALIVE || id == HTTP1_TE || id == HTTP1_UPGRADE ||
	       id == HTTP1_HTTP2_SETTINGS || id == HTTP1_PROXY_AUTHORIZATION || id == HTTP1_PROXY_ANY;
}

/* Fields that a Connection option must not take away: they say who, where and how much. */
static bool never_hop(enum http1_id id)
{
	switch (id) {
	case HTTP1_AUTHORIZATION:
	case HTTP1_CONTENT_ENCODING:
	case HTTP1_CONTENT_LENGTH:
	case HTTP1_CONTENT_RANGE:
	case HTTP1_CONTENT_TYPE:
	case HTTP1_COOKIE:
	case HTTP1_EXPECT:
	case HTTP1_HOST:
	case HTTP1_RANGE:
	case HTTP1_SET_COOKIE:
	case HTTP1_TRANSFER_ENCODING:
		return true;
	default:
		return false;
	}
}

static enum http1_bad connection_option(const struct http1_head *h, struct http1_slice o, struct marks *k,
					struct http1_meaning *m)
{
	if (o.len == 0)
		return HTTP1_BAD_NONE; /* empty list elements are to be put up with, RFC 9110 5.6.1 */
	if (++k->options > OPTIONS_MAX || !http1_token(o) || never_hop(id_of(o)))
		return HTTP1_BAD_CONNECTION;
	if (http1_is(o, "close"))
		k->close = true;
	else if (http1_is(o, "keep-alive"))
		k->stay = true;
	else if (http1_is(o, "upgrade"))
		k->upgrade_listed = true;
	else
		for (uint32_t i = 0; i < h->field_count; i++)
			if (same_name(h->fields[i].name, o.p, o.len))
				set_hop(m, i);
	return HTTP1_BAD_NONE;
}

static enum http1_bad connection_field(const struct http1_head *h, struct http1_slice v, struct marks *k,
				       struct http1_meaning *m)
{
	while (v.len) {
		const char *comma = memchr(v.p, ',', v.len);
		size_t n = comma ? (size_t)(comma - v.p) : v.len;
		enum http1_bad bad = connection_option(h, trim(slice(v.p, n)), k, m);

		if (bad)
			return bad;
		n += comma != NULL;
		v = slice(v.p + n, v.len - n);
	}
	return HTTP1_BAD_NONE;
}

static enum http1_bad mark_all(const struct http1_head *h, struct marks *k, struct http1_meaning *m)
{
	for (uint32_t i = 0; i < h->field_count; i++) {
		const struct http1_field *f = &h->fields[i];
		enum http1_bad bad = mark_field(f, k);

		if (!bad && f->id == HTTP1_CONNECTION)
			bad = connection_field(h, f->value, k, m);
		if (bad)
			return bad;
		if (always_hop(f->id))
			set_hop(m, i);
	}
	return HTTP1_BAD_NONE;
}

static enum http1_bad content_length(struct http1_slice v, uint64_t *ret)
{
	uint64_t n = 0;

	if (v.len < 1 || v.len > 19)
		return HTTP1_BAD_LENGTH;
	for (size_t i = 0; i < v.len; i++) {
		if (!is_digit(v.p[i]))
			return HTTP1_BAD_LENGTH;
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	}
	if (n > INT64_MAX)
		return HTTP1_BAD_LENGTH;
	*ret = n;
	return HTTP1_BAD_NONE;
}

/* Framing as the fields say it; what method and status say comes on top. */
static enum http1_bad framing(const struct http1_head *h, const struct marks *k, struct http1_meaning *m)
{
	if (k->length && k->coding)
		return HTTP1_BAD_FRAMING;
	if (k->coding) {
		if (h->minor == 0 || !http1_is(k->coding->value, "chunked"))
			return HTTP1_BAD_CODING;
		m->framing = HTTP1_FRAMING_CHUNKED;
	}
	if (k->length) {
		m->framing = HTTP1_FRAMING_LENGTH;
		return content_length(k->length->value, &m->length);
	}
	return HTTP1_BAD_NONE;
}

static bool keep_alive(const struct http1_head *h, const struct marks *k)
{
	return !k->close && (h->minor == 1 || k->stay);
}

/* Of a websocket's handshake the first Connection field and Upgrade go along. */
static void keep_upgrade(const struct http1_head *h, struct http1_meaning *m)
{
	m->websocket = true;
	clear_hop(m, http1_find(h, HTTP1_CONNECTION, 0));
	clear_hop(m, http1_find(h, HTTP1_UPGRADE, 0));
}

static bool names_websocket(const struct http1_head *h, const struct marks *k)
{
	return h->minor == 1 && k->upgrade_listed && k->upgrade && !k->upgrades &&
	       http1_is(k->upgrade->value, "websocket");
}

static enum http1_bad expect(const struct http1_head *h, const struct marks *k, struct http1_meaning *m)
{
	if (!k->expect)
		return HTTP1_BAD_NONE;
	if (!http1_is(k->expect->value, "100-continue"))
		return HTTP1_BAD_EXPECT;
	if (h->minor == 0)
		set_hop(m, (uint32_t)(k->expect - h->fields)); /* RFC 9110 10.1.1: to be ignored */
	else
		m->expect_continue = m->framing != HTTP1_FRAMING_NONE;
	return HTTP1_BAD_NONE;
}

static enum http1_bad request_framing(const struct http1_head *h, const struct marks *k, struct http1_meaning *m)
{
	enum http1_bad bad = framing(h, k, m);

	if (bad)
		return bad;
	if (h->form == HTTP1_AUTHORITY || http1_eq(h->method, "TRACE")) {
		/* No content there; a length of 0 says so too. */
		if (m->framing == HTTP1_FRAMING_CHUNKED || m->length)
			return HTTP1_BAD_FRAMING;
		m->framing = HTTP1_FRAMING_NONE;
	}
	return HTTP1_BAD_NONE;
}

/* Host agrees with what the target said, whose port is `port`; a missing port in Host means `implied`. */
static bool host_agrees(const struct http1_meaning *m, const char *host, uint16_t port, uint16_t implied)
{
	return m->host[0] == '\0' ||
	       (strcmp(m->host, host) == 0 && (m->port ? m->port : implied) == port);
}

static enum http1_bad absolute_target(const struct http1_head *h, struct http1_meaning *m)
{
	struct http1_url u;

	if (http1_url(h->target, &u) < 0)
		return HTTP1_BAD_TARGET;
	if (!host_agrees(m, u.host, u.port, u.scheme == HTTP1_SCHEME_HTTP ? 80 : 443))
		return HTTP1_BAD_HOST_DIFFERS;
	memcpy(m->host, u.host, sizeof(m->host));
	m->address = u.address;
	m->port = u.port;
	m->scheme = u.scheme;
	m->path = u.path;
	m->query = u.query;
	m->target = u.target;
	if (u.target.len == 0) /* RFC 9112 3.2.4 */
		m->target = m->path = http1_eq(h->method, "OPTIONS") ? slice("*", 1) : slice("/", 1);
	return HTTP1_BAD_NONE;
}

static enum http1_bad connect_target(const struct http1_head *h, struct http1_meaning *m)
{
	char host[RPC_HOST_MAX];
	uint16_t port;
	bool address;

	if (http1_authority(h->target, host, &address, &port) < 0 || port == 0)
		return HTTP1_BAD_TARGET;
	if (!host_agrees(m, host, port, port))
		return HTTP1_BAD_HOST_DIFFERS;
	memcpy(m->host, host, sizeof(m->host));
	m->address = address;
	m->port = port;
	return HTTP1_BAD_NONE;
}

static enum http1_bad asked_host(const struct http1_head *h, const struct marks *k, struct http1_meaning *m)
{
	if (!k->host && h->minor == 1)
		return HTTP1_BAD_HOST_MISSING;
	if (k->host && http1_authority(k->host->value, m->host, &m->address, &m->port) < 0)
		return HTTP1_BAD_HOST;
	if (h->form == HTTP1_ABSOLUTE)
		return absolute_target(h, m);
	if (h->form == HTTP1_AUTHORITY)
		return connect_target(h, m);
	m->target = h->target;
	split_target(m->target, &m->path, &m->query);
	return HTTP1_BAD_NONE;
}

static enum http1_bad request_meaning(const struct http1_head *h, struct http1_meaning *m)
{
	struct marks k = {0};
	enum http1_bad bad = mark_all(h, &k, m);

	if (!bad)
		bad = request_framing(h, &k, m);
	if (!bad)
		bad = expect(h, &k, m);
	if (!bad)
		bad = asked_host(h, &k, m);
	if (bad)
		return bad;
	m->keep_alive = keep_alive(h, &k);
	if (names_websocket(h, &k) && m->framing == HTTP1_FRAMING_NONE && http1_eq(h->method, "GET"))
		keep_upgrade(h, m);
	return HTTP1_BAD_NONE;
}

static int meant(enum http1_bad bad, struct http1_meaning *m)
{
	if (!bad)
		return 0;
	memset(m, 0, sizeof(*m));
	m->bad = bad;
	return -EBADMSG;
}

int http1_request_meaning(const struct http1_head *h, struct http1_meaning *m)
{
	memset(m, 0, sizeof(*m));
	return meant(request_meaning(h, m), m);
}

/* The coding of a body that is not there is not forwarded: there are clients that wait for the body. */
static void no_body(const struct http1_head *h, const struct marks *k, struct http1_meaning *m)
{
	m->framing = HTTP1_FRAMING_NONE;
	m->length = 0;
	if (k->coding)
		set_hop(m, (uint32_t)(k->coding - h->fields));
}

/* Statuses that never have content; a peer that says otherwise is talking past us. */
static enum http1_bad bodyless(const struct http1_head *h, const struct marks *k, struct http1_meaning *m)
{
	if (h->status != 304 && (m->framing == HTTP1_FRAMING_CHUNKED || m->length))
		return HTTP1_BAD_FRAMING;
	no_body(h, k, m);
	return HTTP1_BAD_NONE;
}

static enum http1_bad response_framing(const struct http1_head *h, const struct marks *k,
				       struct http1_slice method, struct http1_meaning *m)
{
	enum http1_bad bad = framing(h, k, m);

	if (bad)
		return bad;
	if (h->status < 200 || h->status == 204 || h->status == 304)
		return bodyless(h, k, m);
	if (http1_eq(method, "HEAD"))
		no_body(h, k, m);
	else if (m->framing == HTTP1_FRAMING_NONE)
		m->framing = HTTP1_FRAMING_CLOSE;
	return HTTP1_BAD_NONE;
}

static enum http1_bad response_meaning(const struct http1_head *h, struct http1_slice method, bool websocket_asked,
				       struct http1_meaning *m)
{
	struct marks k = {0};
	enum http1_bad bad = mark_all(h, &k, m);

	if (!bad)
		bad = response_framing(h, &k, method, m);
	if (bad)
		return bad;
	m->keep_alive = keep_alive(h, &k) && m->framing != HTTP1_FRAMING_CLOSE;
	if (h->status == 101) {
		if (!websocket_asked || !names_websocket(h, &k))
			return HTTP1_BAD_UPGRADE;
		keep_upgrade(h, m);
	}
	return HTTP1_BAD_NONE;
}

int http1_response_meaning(const struct http1_head *h, struct http1_slice method, bool websocket_asked,
			   struct http1_meaning *m)
{
	memset(m, 0, sizeof(*m));
	return meant(response_meaning(h, method, websocket_asked, m), m);
}

/* ---- chunked ---- */

enum chunk_state {
	CHUNK_SIZE = 0,
	CHUNK_EXT,
	CHUNK_SIZE_LF,
	CHUNK_DATA,
	CHUNK_DATA_CR,
	CHUNK_DATA_LF,
	CHUNK_LAST, /* the size line of the last chunk was read */
	CHUNK_BAD,
};

static int hex_of(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool chunk_size_byte(struct http1_chunked *c, char b)
{
	int v = hex_of(b);

	if (v < 0) {
		c->state = b == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT;
		return c->digits > 0 && (b == '\r' || b == ';');
	}
	if (c->digits == 16 || c->left > (uint64_t)INT64_MAX >> 4)
		return false;
	c->left = c->left << 4 | (uint64_t)v;
	c->digits++;
	return true;
}

static bool chunk_ext_byte(struct http1_chunked *c, char b)
{
	if (b == '\r') {
		c->state = CHUNK_SIZE_LF;
		return true;
	}
	return !is_ctl((unsigned char)b) && (unsigned char)b < 0x80 && ++c->ext <= HTTP1_CHUNK_EXT_MAX &&
	       ++c->ext_total <= HTTP1_CHUNK_EXT_TOTAL;
}

/* One byte that is not payload. */
static bool chunk_byte(struct http1_chunked *c, char b)
{
	switch (c->state) {
	case CHUNK_SIZE:
		return chunk_size_byte(c, b);
	case CHUNK_EXT:
		return chunk_ext_byte(c, b);
	case CHUNK_SIZE_LF:
		c->state = c->left ? CHUNK_DATA : CHUNK_LAST;
		return b == '\n';
	case CHUNK_DATA_CR:
		c->state = CHUNK_DATA_LF;
		return b == '\r';
	case CHUNK_DATA_LF:
		c->state = CHUNK_SIZE;
		c->digits = 0;
		c->ext = 0;
		return b == '\n';
	default:
		return false;
	}
}

static struct http1_slice chunk_data(struct http1_chunked *c, const char *in, size_t len)
{
	size_t n = len < c->left ? len : (size_t)c->left;

	c->left -= n;
	if (c->left == 0)
		c->state = CHUNK_DATA_CR;
	return slice(in, n);
}

enum http1_result http1_chunked(struct http1_chunked *c, const char *in, size_t len, size_t *used,
				struct http1_slice *data)
{
	size_t i = 0;

	*used = 0;
	*data = slice(NULL, 0);
	while (i < len && c->state != CHUNK_LAST) {
		if (c->state == CHUNK_DATA) {
			*data = chunk_data(c, in + i, len - i);
			*used = i + data->len;
			return HTTP1_DATA;
		}
		if (!chunk_byte(c, in[i])) {
			c->state = CHUNK_BAD;
			c->bad = HTTP1_BAD_CHUNK;
			break;
		}
		i++;
	}
	*used = i;
	if (c->state == CHUNK_BAD)
		return HTTP1_BAD;
	return c->state == CHUNK_LAST ? HTTP1_DONE : HTTP1_MORE;
}

/* ---- writing ---- */

static void wr_slice(struct wr *w, struct http1_slice s)
{
	wr_bytes(w, s.p, s.len);
}

static void wr_line(struct wr *w, struct http1_slice name, struct http1_slice value)
{
	wr_slice(w, name);
	wr_str(w, ": ");
	wr_slice(w, value);
	wr_str(w, "\r\n");
}

static const struct http1_edit *edit_of(const struct http1_out *o, uint32_t field)
{
	for (size_t i = 0; i < o->edit_count; i++)
		if (o->edits[i].op != HTTP1_ADD && o->edits[i].field == field)
			return &o->edits[i];
	return NULL;
}

static bool edits_ok(const struct http1_out *o)
{
	for (size_t i = 0; i < o->edit_count; i++) {
		const struct http1_edit *e = &o->edits[i];

		if (e->op != HTTP1_DROP && e->op != HTTP1_VALUE && e->op != HTTP1_ADD)
			return false;
		if (e->op == HTTP1_ADD && !http1_token(e->name))
			return false;
		if (e->op != HTTP1_DROP && has_ctl(e->value.p, e->value.len))
			return false;
	}
	return true;
}

/* The value by `replace`, or as it came. */
static int write_value(struct wr *w, const struct http1_out *o, uint32_t field, struct http1_slice value)
{
	size_t at = w->len;
	int rc = o->replace ? o->replace(o->ctx, field, w) : 0;

	if (rc < 0)
		return rc;
	if (rc == 0) {
		wr_slice(w, value);
		return 0;
	}
	if (w->full)
		return -ENOBUFS;
	if (field == HTTP1_TARGET ? !target_bytes_ok(w->p + at, w->len - at) : has_ctl(w->p + at, w->len - at))
		return -EINVAL;
	return 0;
}

/* Status without a body whose framing fields would be a lie in any case. */
static bool never_framed(const struct http1_head *h)
{
	return h->status && (h->status < 200 || h->status == 204);
}

/* Content-Length and Transfer-Encoding, in their place: only where the kind of framing stayed. */
static void write_framing(struct wr *w, const struct http1_out *o, const struct http1_field *f)
{
	if (o->framing != o->meaning->framing || never_framed(o->head))
		return;
	if (f->id == HTTP1_TRANSFER_ENCODING) {
		wr_line(w, f->name, slice("chunked", 7));
		return;
	}
	wr_slice(w, f->name);
	wr_str(w, ": ");
	if (o->framing == HTTP1_FRAMING_LENGTH)
		wr_decimal(w, o->length, 1);
	else
		wr_slice(w, f->value);
	wr_str(w, "\r\n");
}

static int write_field(struct wr *w, const struct http1_out *o, uint32_t i)
{
	const struct http1_field *f = &o->head->fields[i];
	const struct http1_edit *e = edit_of(o, i);
	int rc = 0;

	if (http1_is_hop(o->meaning, i) || (e && e->op == HTTP1_DROP))
		return 0;
	if (f->id == HTTP1_CONTENT_LENGTH || f->id == HTTP1_TRANSFER_ENCODING) {
		write_framing(w, o, f);
	} else if (f->id == HTTP1_CONNECTION) {
		wr_line(w, f->name, slice("Upgrade", 7)); /* is only kept for a websocket */
	} else if (f->id == HTTP1_UPGRADE) {
		wr_line(w, f->name, slice("websocket", 9));
	} else if (e) {
		wr_line(w, f->name, e->value);
	} else {
		wr_slice(w, f->name);
		wr_str(w, ": ");
		rc = write_value(w, o, i, f->value);
		wr_str(w, "\r\n");
	}
	return rc;
}

static int write_add(struct wr *w, const struct http1_out *o, const struct http1_edit *e)
{
	int rc;

	if (e->value.p) {
		wr_line(w, e->name, e->value);
		return 0;
	}
	wr_slice(w, e->name);
	wr_str(w, ": ");
	rc = write_value(w, o, e->field, slice("", 0));
	wr_str(w, "\r\n");
	return rc;
}

/* What is said anew: added fields, framing of another kind than before, close. */
static int write_added(struct wr *w, const struct http1_out *o)
{
	for (size_t i = 0; i < o->edit_count; i++)
		if (o->edits[i].op == HTTP1_ADD) {
			int rc = write_add(w, o, &o->edits[i]);

			if (rc < 0)
				return rc;
		}
	if (o->framing != o->meaning->framing && o->framing == HTTP1_FRAMING_CHUNKED)
		wr_str(w, "Transfer-Encoding: chunked\r\n");
	if (o->framing != o->meaning->framing && o->framing == HTTP1_FRAMING_LENGTH) {
		wr_str(w, "Content-Length: ");
		wr_decimal(w, o->length, 1);
		wr_str(w, "\r\n");
	}
	if (o->close || o->framing == HTTP1_FRAMING_CLOSE)
		wr_str(w, "Connection: close\r\n");
	wr_str(w, "\r\n");
	return 0;
}

static int finish(struct wr *w, int rc)
{
	if (rc == 0 && w->full)
		rc = -ENOBUFS;
	if (rc < 0)
		w->full = true;
	return rc;
}

static int write_rest(struct wr *w, const struct http1_out *o)
{
	for (uint32_t i = 0; i < o->head->field_count; i++) {
		int rc = write_field(w, o, i);

		if (rc < 0)
			return rc;
	}
	return write_added(w, o);
}

/* HTTP/1.0 may come without Host; what we write is 1.1 and may not. */
static int write_host(struct wr *w, const struct http1_out *o)
{
	const struct http1_meaning *m = o->meaning;
	bool v6 = m->address && strchr(m->host, ':');

	if (http1_find(o->head, HTTP1_HOST, 0) < o->head->field_count)
		return 0;
	for (size_t i = 0; i < o->edit_count; i++)
		if (o->edits[i].op == HTTP1_ADD && http1_is(o->edits[i].name, "host"))
			return 0;
	if (m->host[0] == '\0')
		return -EINVAL;
	wr_str(w, v6 ? "Host: [" : "Host: ");
	wr_str(w, m->host);
	wr_str(w, v6 ? "]" : "");
	if (m->port && m->port != (m->scheme == HTTP1_SCHEME_HTTPS ? 443 : 80)) {
		wr_str(w, ":");
		wr_decimal(w, m->port, 1);
	}
	wr_str(w, "\r\n");
	return 0;
}

static int write_target(struct wr *w, const struct http1_out *o)
{
	struct http1_slice t = o->meaning->target;

	if (o->target.p) {
		if (!target_bytes_ok(o->target.p, o->target.len))
			return -EINVAL;
		wr_slice(w, o->target);
		return 0;
	}
	if (t.len == 0)
		return -EINVAL; /* CONNECT is never passed on */
	if (t.p[0] == '?')
		wr_str(w, "/");
	return write_value(w, o, HTTP1_TARGET, t);
}

static int write_request(struct wr *w, const struct http1_out *o)
{
	struct http1_slice method = o->method.p ? o->method : o->head->method;
	int rc;

	if (!edits_ok(o) || method.len > HTTP1_METHOD_MAX || !http1_token(method))
		return -EINVAL;
	if (o->framing == HTTP1_FRAMING_CLOSE)
		return -EINVAL;
	wr_slice(w, method);
	wr_str(w, " ");
	rc = write_target(w, o);
	if (rc < 0)
		return rc;
	wr_str(w, " HTTP/1.1\r\n");
	rc = write_host(w, o);
	return rc < 0 ? rc : write_rest(w, o);
}

int http1_write_request(struct wr *w, const struct http1_out *o)
{
	return finish(w, write_request(w, o));
}

int http1_write_response(struct wr *w, const struct http1_out *o)
{
	if (!edits_ok(o))
		return finish(w, -EINVAL);
	wr_str(w, "HTTP/1.1 ");
	wr_decimal(w, (uint64_t)o->head->status, 1);
	wr_str(w, " ");
	wr_slice(w, o->head->phrase);
	wr_str(w, "\r\n");
	return finish(w, write_rest(w, o));
}

void http1_write_chunk(struct wr *w, uint64_t n)
{
	static const char hex[] = "0123456789abcdef";
	char text[16];
	size_t at = sizeof(text);

	do
		text[--at] = hex[n & 15];
	while (n >>= 4);
	wr_bytes(w, text + at, sizeof(text) - at);
	wr_str(w, "\r\n");
}

void http1_write_last_chunk(struct wr *w, const struct http1_head *trailers)
{
	wr_str(w, "0\r\n");
	for (uint32_t i = 0; trailers && i < trailers->field_count; i++)
		wr_line(w, trailers->fields[i].name, trailers->fields[i].value);
	wr_str(w, "\r\n");
}
