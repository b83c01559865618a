/* sigv4.c: see sigv4.h.
 *
 * A path or parameter is looked at as the stream of bytes that its encoded form has (struct enc), so that parameters
 * are sorted by that form without its being stored.
 */
#include "sigv4.h"

#include "sign.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define ALGORITHM "AWS4-HMAC-SHA256"

static struct http1_slice slice_of(const char *s)
{
	return (struct http1_slice){s, strlen(s)};
}

/* ---- encoding ---- */

static int hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool unreserved(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

struct enc {
	struct http1_slice s;
	size_t at;
	bool decode, slash; /* percent sequences are decoded first; '/' stays */
	uint8_t c;
	int wait; /* digits of %XX still to come */
};

/* The next byte of the encoded form, or -1. An encoded slash stays one. */
static int enc_next(struct enc *e)
{
	static const char digits[] = "0123456789ABCDEF";
	bool was = false;

	if (e->wait) {
		e->wait--;
		return digits[e->wait ? e->c >> 4 : e->c & 15];
	}
	if (e->at == e->s.len)
		return -1;
	e->c = (uint8_t)e->s.p[e->at++];
	if (e->decode && e->c == '%' && e->s.len - e->at >= 2 && hex_of(e->s.p[e->at]) >= 0 &&
	    hex_of(e->s.p[e->at + 1]) >= 0) {
		e->c = (uint8_t)(hex_of(e->s.p[e->at]) << 4 | hex_of(e->s.p[e->at + 1]));
		e->at += 2;
		was = true;
	}
	if (unreserved(e->c) || (e->c == '/' && e->slash && !was))
		return e->c;
	e->wait = 2;
	return '%';
}

static void enc_write(struct http1_slice s, bool decode, bool slash, struct wr *w)
{
	struct enc e = {.s = s, .decode = decode, .slash = slash};
	int c;

	while ((c = enc_next(&e)) >= 0)
		wr_u8(w, (uint8_t)c);
}

static int enc_cmp(struct http1_slice a, struct http1_slice b)
{
	struct enc x = {.s = a, .decode = true}, y = {.s = b, .decode = true};
	int c, d;

	do {
		c = enc_next(&x);
		d = enc_next(&y);
	} while (c == d && c >= 0);
	return c - d;
}

/* ---- path ---- */

/* Writes the path without dot segments and empty ones, what is left encoded (again). */
static void path_normal(struct http1_slice path, struct wr *w)
{
	size_t start = w->len, at = 0;

	while (at < path.len) {
		const char *p = path.p + at + 1;
		const char *slash = memchr(p, '/', path.len - at - 1);
		size_t n = slash ? (size_t)(slash - p) : path.len - at - 1;

		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (w->len > start && w->p[--w->len] != '/')
				;
		} else if (n > 0 && !(n == 1 && p[0] == '.')) {
			wr_u8(w, '/');
			enc_write((struct http1_slice){p, n}, false, false, w);
		}
		at += n + 1;
	}
	if (w->len == start || (path.len > 0 && path.p[path.len - 1] == '/'))
		wr_u8(w, '/');
}

void sigv4_path(struct http1_slice path, bool s3, struct wr *w)
{
	if (s3)
		enc_write(path, true, true, w);
	else
		path_normal(path, w);
}

static bool service_s3(const char *service)
{
	return strcmp(service, "s3") == 0 || strncmp(service, "s3-", 3) == 0 ||
	       strcmp(service, "s3express") == 0;
}

/* ---- query ---- */

struct param {
	struct http1_slice name, value;
};

/* The next of q; false: the end. Empty ones are passed over. */
static bool param_next(struct http1_slice *q, struct param *p)
{
	const char *end, *eq;
	size_t n;

	while (q->len > 0 && q->p[0] == '&')
		*q = (struct http1_slice){q->p + 1, q->len - 1};
	if (q->len == 0)
		return false;
	end = memchr(q->p, '&', q->len);
	n = end ? (size_t)(end - q->p) : q->len;
	eq = memchr(q->p, '=', n);
	p->name = (struct http1_slice){q->p, eq ? (size_t)(eq - q->p) : n};
	p->value = eq ? (struct http1_slice){eq + 1, n - p->name.len - 1}
		      : (struct http1_slice){q->p + n, 0};
	*q = (struct http1_slice){q->p + n, q->len - n};
	return true;
}

static int param_cmp(const void *a, const void *b)
{
	const struct param *x = a, *y = b;
	int c = enc_cmp(x->name, y->name);

	return c ? c : enc_cmp(x->value, y->value);
}

int sigv4_query(struct http1_slice query, struct wr *w)
{
	struct param params[SIGV4_PARAMS_MAX], p;
	size_t count = 0;

	while (param_next(&query, &p)) {
		if (enc_cmp(p.name, slice_of("X-Amz-Signature")) == 0)
			continue;
		if (count == SIGV4_PARAMS_MAX)
			return -E2BIG;
		params[count++] = p;
	}
	qsort(params, count, sizeof(params[0]), param_cmp);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			wr_u8(w, '&');
		enc_write(params[i].name, true, false, w);
		wr_u8(w, '=');
		enc_write(params[i].value, true, false, w);
	}
	return 0;
}

/* A parameter's value, decoded into out; false: it is not there once, or does not fit. */
static bool query_value(struct http1_slice query, const char *name, char *out, size_t cap)
{
	struct param p;
	size_t n = 0, found = 0;

	while (param_next(&query, &p)) {
		if (enc_cmp(p.name, slice_of(name)) != 0)
			continue;
		found++;
		for (size_t i = 0; i < p.value.len; i++) {
			int hi = -1, lo = -1;

			if (p.value.p[i] == '%' && p.value.len - i > 2) {
				hi = hex_of(p.value.p[i + 1]);
				lo = hex_of(p.value.p[i + 2]);
			}
			if (n + 1 >= cap)
				return false;
			out[n++] = hi >= 0 && lo >= 0 ? (char)(hi << 4 | lo) : p.value.p[i];
			if (hi >= 0 && lo >= 0)
				i += 2;
		}
	}
	out[n] = '\0';
	return found == 1 && memchr(out, '\0', n) == NULL;
}

/* ---- reading what the agent signed ---- */

static bool word_ok(const char *s, size_t len, size_t most)
{
	for (size_t i = 0; i < len; i++)
		if (!unreserved((uint8_t)s[i]))
			return false;
	return len > 0 && len <= most;
}

static bool digits_ok(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

int64_t sigv4_seconds(const char *time)
{
	static const uint16_t days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	int64_t y, mo, d, h, mi, s, day;

	if (strlen(time) != SIGV4_TIME_LEN || !digits_ok(time, 8) || time[8] != 'T' ||
	    !digits_ok(time + 9, 6) || time[15] != 'Z')
		return -1;
#define TWO(at) ((time[at] - '0') * 10 + time[(at) + 1] - '0')
	y = TWO(0) * 100 + TWO(2);
	mo = TWO(4);
	d = TWO(6);
	h = TWO(9);
	mi = TWO(11);
	s = TWO(13);
#undef TWO
	if (y < 1970 || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || s > 60)
		return -1;
	day = (y - 1970) * 365 + (y - 1969) / 4 - (y - 1901) / 100 + (y - 1601) / 400 +
	      days[mo - 1] + d - 1;
	if (mo > 2 && ((y % 4 == 0 && y % 100 != 0) || y % 400 == 0))
		day++;
	return day * 86400 + h * 3600 + mi * 60 + s;
}

/* The next piece of s up to `sep`. */
static struct http1_slice cut(struct http1_slice *s, char sep)
{
	const char *end = s->len ? memchr(s->p, sep, s->len) : NULL;
	struct http1_slice got = {s->p, end ? (size_t)(end - s->p) : s->len};

	*s = end ? (struct http1_slice){end + 1, s->len - got.len - 1}
		 : (struct http1_slice){s->p + s->len, 0};
	return got;
}

static bool word_copy(struct http1_slice s, char *out)
{
	if (!word_ok(s.p, s.len, SIGV4_WORD_MAX - 1))
		return false;
	memcpy(out, s.p, s.len);
	out[s.len] = '\0';
	return true;
}

/* id/date/region/service/aws4_request */
static bool credential_of(struct http1_slice c, struct sigv4 *s, char date[9])
{
	struct http1_slice day, region, service, last;

	s->id = cut(&c, '/');
	day = cut(&c, '/');
	region = cut(&c, '/');
	service = cut(&c, '/');
	last = cut(&c, '/');
	if (!word_ok(s->id.p, s->id.len, SIGV4_ID_MAX) || day.len != 8 || !digits_ok(day.p, 8) ||
	    !word_copy(region, s->scope.region) || !word_copy(service, s->scope.service) ||
	    !http1_eq(last, "aws4_request") || c.len > 0)
		return false;
	memcpy(date, day.p, 8);
	date[8] = '\0';
	return true;
}

static int slice_cmp(struct http1_slice a, struct http1_slice b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* One more signed header: lower case, and behind the last. */
static bool signed_add(struct http1_slice name, struct sigv4 *s)
{
	if (s->signed_count == SIGV4_SIGNED_MAX || !http1_token(name))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] >= 'A' && name.p[i] <= 'Z')
			return false;
	if (s->signed_count > 0 && slice_cmp(s->signed_names[s->signed_count - 1], name) >= 0)
		return false;
	s->signed_names[s->signed_count++] = name;
	return true;
}

static bool signed_host(const struct sigv4 *s)
{
	for (uint32_t i = 0; i < s->signed_count; i++)
		if (http1_eq(s->signed_names[i], "host"))
			return true;
	return false;
}

static bool signed_of(struct http1_slice list, struct sigv4 *s)
{
	while (list.len > 0)
		if (!signed_add(cut(&list, ';'), s))
			return false;
	return signed_host(s);
}

/* The same in a query, where ';' is most often %3B. */
static bool signed_of_query(struct http1_slice list, struct sigv4 *s)
{
	while (list.len > 0) {
		size_t n = 0, sep;

		while (n < list.len && list.p[n] != ';' && list.p[n] != '%')
			n++;
		if (n < list.len && list.p[n] == '%' &&
		    (list.len - n < 3 || list.p[n + 1] != '3' || (list.p[n + 2] | 0x20) != 'b'))
			return false;
		sep = n == list.len ? 0 : list.p[n] == '%' ? 3 : 1;
		if (!signed_add((struct http1_slice){list.p, n}, s))
			return false;
		list = (struct http1_slice){list.p + n + sep, list.len - n - sep};
	}
	return signed_host(s);
}

static bool signature_ok(struct http1_slice v)
{
	size_t i = 0;

	while (i < v.len && hex_of(v.p[i]) >= 0)
		i++;
	return i == v.len && v.len == SIGV4_HEX_LEN;
}

static struct http1_slice trim(struct http1_slice s)
{
	while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = (struct http1_slice){s.p + 1, s.len - 1};
	while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

/* "Credential=…, SignedHeaders=…, Signature=…", in any order, each once. */
static bool authorization_of(struct http1_slice v, struct sigv4 *s, char date[9])
{
	unsigned int seen = 0;

	while (v.len > 0) {
		struct http1_slice value = trim(cut(&v, ',')), name = cut(&value, '=');
		unsigned int bit = http1_eq(name, "Credential")      ? 1
				   : http1_eq(name, "SignedHeaders") ? 2
				   : http1_eq(name, "Signature")     ? 4
								     : 0;

		if (!bit || (seen & bit))
			return false;
		if (bit == 1   ? !credential_of(value, s, date)
		    : bit == 2 ? !signed_of(value, s)
			       : !signature_ok(value))
			return false;
		seen |= bit;
	}
	return seen == 7;
}

/* The only field of that name; field_count: there is none. False: there are more. */
static bool field_once(const struct http1_head *h, const char *name, uint32_t *ret)
{
	*ret = h->field_count;
	for (uint32_t i = 0; i < h->field_count; i++)
		if (http1_is(h->fields[i].name, name)) {
			if (*ret != h->field_count)
				return false;
			*ret = i;
		}
	return true;
}

static bool time_of(struct http1_slice v, struct sigv4 *s)
{
	if (v.len != SIGV4_TIME_LEN)
		return false;
	memcpy(s->scope.time, v.p, v.len);
	return sigv4_seconds(s->scope.time) >= 0;
}

static int scan_header(const struct http1_head *h, struct sigv4 *s)
{
	struct http1_slice v = h->fields[s->authorization].value;
	char date[9] = "";
	uint32_t at;

	v = (struct http1_slice){v.p + sizeof(ALGORITHM), v.len - sizeof(ALGORITHM)};
	if (!authorization_of(v, s, date) || !field_once(h, "x-amz-date", &at) ||
	    at == h->field_count || !time_of(h->fields[at].value, s) ||
	    memcmp(s->scope.time, date, 8) != 0)
		return -EBADMSG;
	return 1;
}

/* A parameter where it stands; false: it is not there. */
static bool param_find(struct http1_slice q, const char *name, struct http1_slice *ret)
{
	struct param p;

	while (param_next(&q, &p))
		if (enc_cmp(p.name, slice_of(name)) == 0) {
			*ret = p.value;
			return true;
		}
	return false;
}

static int scan_query(const struct http1_meaning *m, struct sigv4 *s)
{
	char text[512], date[9] = "", expires[8];
	struct http1_slice q = m->query, raw, names;

	if (!query_value(q, "X-Amz-Credential", text, sizeof(text)) ||
	    !credential_of(slice_of(text), s, date) || !param_find(q, "X-Amz-Credential", &raw) ||
	    raw.len < s->id.len || memcmp(raw.p, s->id.p, s->id.len) != 0)
		return -EBADMSG;
	s->id.p = raw.p;
	if (!query_value(q, "X-Amz-Date", s->scope.time, sizeof(s->scope.time)) ||
	    sigv4_seconds(s->scope.time) < 0 || memcmp(s->scope.time, date, 8) != 0)
		return -EBADMSG;
	if (!query_value(q, "X-Amz-Expires", expires, sizeof(expires)) || !expires[0] ||
	    !digits_ok(expires, strlen(expires)))
		return -EBADMSG;
	s->expires = (uint32_t)atoi(expires);
	if (s->expires == 0 || s->expires > SIGV4_EXPIRES_MAX ||
	    !param_find(q, "X-Amz-SignedHeaders", &names))
		return -EBADMSG;
	return signed_of_query(names, s) ? 1 : -EBADMSG;
}

int sigv4_scan(const struct http1_head *h, const struct http1_meaning *m, struct sigv4 *s)
{
	uint32_t at = http1_find(h, HTTP1_AUTHORIZATION, 0);
	char algorithm[32];
	int rc = 0;

	memset(s, 0, sizeof(*s));
	s->authorization = s->token = h->field_count;
	if (at < h->field_count && h->fields[at].value.len > sizeof(ALGORITHM) &&
	    memcmp(h->fields[at].value.p, ALGORITHM " ", sizeof(ALGORITHM)) == 0) {
		if (http1_find(h, HTTP1_AUTHORIZATION, at + 1) < h->field_count)
			return -EBADMSG;
		s->how = SIGV4_HEADER;
		s->authorization = at;
		rc = scan_header(h, s);
	} else if (m->query.p &&
		   query_value(m->query, "X-Amz-Algorithm", algorithm, sizeof(algorithm)) &&
		   strcmp(algorithm, ALGORITHM) == 0) {
		s->how = SIGV4_QUERY;
		rc = scan_query(m, s);
	}
	if (rc <= 0)
		return rc;
	if (!field_once(h, "x-amz-security-token", &s->token) ||
	    !field_once(h, "x-amz-content-sha256", &at))
		return -EBADMSG;
	if (at < h->field_count)
		s->payload = h->fields[at].value;
	return 1;
}

/* ---- writing what is signed ---- */

/* White space at the ends goes, and runs of it become one space. */
static void value_write(struct http1_slice v, struct wr *w)
{
	v = trim(v);
	for (size_t i = 0; i < v.len; i++)
		if ((v.p[i] != ' ' && v.p[i] != '\t') || (v.p[i - 1] != ' ' && v.p[i - 1] != '\t'))
			wr_u8(w, v.p[i] == '\t' ? ' ' : (uint8_t)v.p[i]);
}

static bool same_name(struct http1_slice field, struct http1_slice lower)
{
	if (field.len != lower.len)
		return false;
	for (size_t i = 0; i < field.len; i++) {
		char c = field.p[i];

		if ((c >= 'A' && c <= 'Z' ? (char)(c + 32) : c) != lower.p[i])
			return false;
	}
	return true;
}

static int header_write(const struct http1_head *h, const struct http1_meaning *m,
			struct http1_slice name, struct wr *w)
{
	uint32_t found = 0;

	wr_bytes(w, name.p, name.len);
	wr_u8(w, ':');
	for (uint32_t i = 0; i < h->field_count; i++) {
		if (!same_name(h->fields[i].name, name))
			continue;
		if (http1_is_hop(m, i))
			return -EBADMSG;
		if (found++)
			wr_u8(w, ',');
		value_write(h->fields[i].value, w);
	}
	wr_u8(w, '\n');
	return found ? 0 : -EBADMSG;
}

#define TOKEN_NAME "x-amz-security-token"

/* The signed names, the token's put in or left out as we send it. */
static size_t names_of(const struct sigv4 *s, bool token,
		       struct http1_slice names[SIGV4_SIGNED_MAX + 1])
{
	struct http1_slice own = slice_of(TOKEN_NAME);
	size_t n = 0;

	for (uint32_t i = 0; i < s->signed_count; i++) {
		int c = slice_cmp(s->signed_names[i], own);

		if (c == 0)
			continue;
		if (c > 0 && token) {
			names[n++] = own;
			token = false;
		}
		names[n++] = s->signed_names[i];
	}
	if (token)
		names[n++] = own;
	return n;
}

static void names_write(const struct http1_slice *names, size_t count, struct wr *w)
{
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			wr_u8(w, ';');
		wr_bytes(w, names[i].p, names[i].len);
	}
}

int sigv4_canonical(const struct sigv4 *s, const struct http1_head *h,
		    const struct http1_meaning *m, struct http1_slice target,
		    struct http1_slice token, struct http1_slice payload, struct wr *w)
{
	struct http1_slice names[SIGV4_SIGNED_MAX + 1];
	size_t count = names_of(s, token.len > 0 && s->how == SIGV4_HEADER, names);
	struct http1_slice path = m->path, query = m->query;
	int rc;

	if (target.p) {
		query = target;
		path = cut(&query, '?');
	}
	wr_bytes(w, h->method.p, h->method.len);
	wr_u8(w, '\n');
	sigv4_path(path, service_s3(s->scope.service), w);
	wr_u8(w, '\n');
	rc = sigv4_query(query, w);
	wr_u8(w, '\n');
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (!http1_eq(names[i], TOKEN_NAME)) {
			rc = header_write(h, m, names[i], w);
			continue;
		}
		wr_str(w, TOKEN_NAME ":");
		value_write(token, w);
		wr_u8(w, '\n');
	}
	wr_u8(w, '\n');
	names_write(names, count, w);
	wr_u8(w, '\n');
	wr_bytes(w, payload.p, payload.len);
	return rc;
}

static void scope_write(const struct sigv4_scope *c, struct wr *w)
{
	wr_bytes(w, c->time, 8);
	wr_u8(w, '/');
	wr_str(w, c->region);
	wr_u8(w, '/');
	wr_str(w, c->service);
	wr_str(w, "/aws4_request");
}

void sigv4_authorization(const struct sigv4 *s, struct http1_slice id, bool token,
			 const char hex[SIGV4_HEX_LEN], struct wr *w)
{
	struct http1_slice names[SIGV4_SIGNED_MAX + 1];
	size_t count = names_of(s, token, names);

	wr_str(w, ALGORITHM " Credential=");
	wr_bytes(w, id.p, id.len);
	wr_u8(w, '/');
	scope_write(&s->scope, w);
	wr_str(w, ", SignedHeaders=");
	names_write(names, count, w);
	wr_str(w, ", Signature=");
	wr_bytes(w, hex, SIGV4_HEX_LEN);
}

void sigv4_target(const struct sigv4 *s, const struct http1_meaning *m, struct http1_slice id,
		  struct http1_slice token, const char *hex, struct wr *w)
{
	struct http1_slice q = m->query;
	struct param p;
	const char *sep = "?";

	wr_bytes(w, m->path.p, m->path.len);
	while (param_next(&q, &p)) {
		bool credential = enc_cmp(p.name, slice_of("X-Amz-Credential")) == 0 &&
				  p.value.len >= s->id.len &&
				  memcmp(p.value.p, s->id.p, s->id.len) == 0;

		if (enc_cmp(p.name, slice_of("X-Amz-Security-Token")) == 0 ||
		    enc_cmp(p.name, slice_of("X-Amz-Signature")) == 0)
			continue;
		wr_str(w, sep);
		sep = "&";
		if (!credential) {
			wr_bytes(w, p.name.p, (size_t)(p.value.p + p.value.len - p.name.p));
			continue;
		}
		wr_str(w, "X-Amz-Credential=");
		enc_write(id, false, false, w);
		wr_bytes(w, p.value.p + s->id.len, p.value.len - s->id.len);
	}
	if (token.len > 0) {
		wr_str(w, "&X-Amz-Security-Token=");
		enc_write(token, false, false, w);
	}
	if (hex) {
		wr_str(w, "&X-Amz-Signature=");
		wr_bytes(w, hex, SIGV4_HEX_LEN);
	}
}

/* ---- the keeper's half ---- */

bool sigv4_scope_ok(const struct sigv4_scope *c)
{
	return memchr(c->time, '\0', sizeof(c->time)) && sigv4_seconds(c->time) >= 0 &&
	       memchr(c->region, '\0', sizeof(c->region)) &&
	       memchr(c->service, '\0', sizeof(c->service)) &&
	       word_ok(c->region, strlen(c->region), SIGV4_WORD_MAX - 1) &&
	       word_ok(c->service, strlen(c->service), SIGV4_WORD_MAX - 1);
}

static void hmac(const uint8_t *key, size_t key_len, const void *p, size_t len, uint8_t out[32])
{
	crypto_auth_hmacsha256_state st;

	(void)crypto_auth_hmacsha256_init(&st, key, key_len);
	(void)crypto_auth_hmacsha256_update(&st, p, len);
	(void)crypto_auth_hmacsha256_final(&st, out);
	sodium_memzero(&st, sizeof(st));
}

/* HMACs down the scope, from "AWS4" and the key. */
static void signing_key(const uint8_t *key, size_t key_len, const struct sigv4_scope *c,
			uint8_t out[32])
{
	crypto_auth_hmacsha256_state st;
	uint8_t first[4096 + 4];

	if (key_len > sizeof(first) - 4)
		key_len = sizeof(first) - 4;
	memcpy(first, "AWS4", 4);
	memcpy(first + 4, key, key_len);
	(void)crypto_auth_hmacsha256_init(&st, first, key_len + 4);
	(void)crypto_auth_hmacsha256_update(&st, (const uint8_t *)c->time, 8);
	(void)crypto_auth_hmacsha256_final(&st, out);
	sodium_memzero(first, sizeof(first));
	sodium_memzero(&st, sizeof(st));
	hmac(out, 32, c->region, strlen(c->region), out);
	hmac(out, 32, c->service, strlen(c->service), out);
	hmac(out, 32, "aws4_request", 12, out);
}

void sigv4_sign(const uint8_t *key, size_t key_len, const struct sigv4_scope *c,
		enum sigv4_what what, const uint8_t hash[SIGV4_HASH_LEN],
		const char before[SIGV4_HEX_LEN], char hex[SIGV4_HEX_LEN + 1])
{
	static const char *const names[] = {ALGORITHM, ALGORITHM "-PAYLOAD", ALGORITHM "-TRAILER"};
	char text[512], digest[SIGV4_HEX_LEN + 1];
	struct wr w = wr_of(text, sizeof(text));
	uint8_t out[32];

	wr_str(&w, names[what]);
	wr_u8(&w, '\n');
	wr_str(&w, c->time);
	wr_u8(&w, '\n');
	scope_write(c, &w);
	wr_u8(&w, '\n');
	if (what != SIGV4_REQUEST) {
		wr_bytes(&w, before, SIGV4_HEX_LEN);
		wr_u8(&w, '\n');
	}
	if (what == SIGV4_CHUNK)
		wr_str(&w, SIGV4_EMPTY_HASH "\n");
	sign_hex(hash, SIGV4_HASH_LEN, digest);
	wr_str(&w, digest);
	signing_key(key, key_len, c, out);
	hmac(out, sizeof(out), text, w.len, out);
	sign_hex(out, sizeof(out), hex);
	sodium_memzero(out, sizeof(out));
}

void sigv4_hash(const void *p, size_t len, uint8_t hash[SIGV4_HASH_LEN])
{
	(void)crypto_hash_sha256(hash, p, len);
}
