/* h2text.c: see h2text.h.
 *
 * Ordinary fields are written as they come; the request line and Host need all pseudo-fields, and are written in front of
 * them at the end. Where a field must not be in the text after all (content-length beside chunks, a host that says the same
 * as :authority), it is cut out then.
 */
#include "h2text.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	enum h2text_kind kind;
} h2text_pseudos[H2TEXT_PSEUDOS] = {
	[H2TEXT_METHOD] = {":method", H2TEXT_REQUEST},
	[H2TEXT_SCHEME] = {":scheme", H2TEXT_REQUEST},
	[H2TEXT_AUTHORITY] = {":authority", H2TEXT_REQUEST},
	[H2TEXT_PATH] = {":path", H2TEXT_REQUEST},
	[H2TEXT_PROTOCOL] = {":protocol", H2TEXT_REQUEST},
	[H2TEXT_STATUS] = {":status", H2TEXT_RESPONSE},
};

#define SEEN(name) (1u << H2TEXT_##name)

void h2text_init(struct h2text *t)
{
	*t = (struct h2text){0};
	buf_init(&t->pseudo, H2TEXT_MAX);
	buf_init(&t->fields, H2TEXT_MAX);
	buf_init(&t->cookies, H2TEXT_MAX);
}

void h2text_done(struct h2text *t)
{
	buf_done(&t->pseudo);
	buf_done(&t->fields);
	buf_done(&t->cookies);
}

void h2text_begin(struct h2text *t, enum h2text_kind kind)
{
	struct buf had[] = {t->pseudo, t->fields, t->cookies};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(had); i++)
		had[i].at = had[i].end = 0;
	*t = (struct h2text){.kind = kind, .pseudo = had[0], .fields = had[1], .cookies = had[2]};
}

static struct http1_slice h2text_of(const struct h2text *t, enum h2text_pseudo which)
{
	if (t->of[which].len == 0) /* and perhaps no memory either */
		return (struct http1_slice){"", 0};
	return (struct http1_slice){(const char *)t->pseudo.p + t->of[which].at, t->of[which].len};
}

struct http1_slice h2text_method(const struct h2text *t)
{
	return h2text_of(t, H2TEXT_METHOD);
}

/* The status of a response. */
static int h2text_status(const struct h2text *t)
{
	const struct http1_slice s = h2text_of(t, H2TEXT_STATUS);

	return (s.p[0] - '0') * 100 + (s.p[1] - '0') * 10 + (s.p[2] - '0');
}

/* application/grpc, also with a suffix or parameters. */
static bool h2text_grpc_type(struct http1_slice v)
{
	static const char name[] = "application/grpc";
	const size_t len = sizeof(name) - 1;

	return v.len >= len && http1_is((struct http1_slice){v.p, len}, name) &&
	       (v.len == len || v.p[len] == '+' || v.p[len] == ';' || v.p[len] == ' ');
}

/* ---- in: checks ---- */

static int h2text_bad(struct h2text *t)
{
	t->bad = true;
	return -EBADMSG;
}

static bool h2text_value_ok(struct http1_slice v)
{
	size_t i;

	for (i = 0; i < v.len; i++) {
		unsigned char c = (unsigned char)v.p[i];

		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return v.len == 0 ||
	       (v.p[0] != ' ' && v.p[0] != '\t' && v.p[v.len - 1] != ' ' && v.p[v.len - 1] != '\t');
}

/* Visible bytes only: what stands in a request line. */
static bool h2text_visible(struct http1_slice v)
{
	size_t i;

	for (i = 0; i < v.len; i++)
		if ((unsigned char)v.p[i] <= 0x20 || (unsigned char)v.p[i] >= 0x7f)
			return false;
	return v.len > 0;
}

static bool h2text_name_ok(struct http1_slice n)
{
	size_t i;

	for (i = 0; i < n.len; i++)
		if (n.p[i] >= 'A' && n.p[i] <= 'Z')
			return false;
	return n.len <= HTTP1_NAME_MAX && http1_token(n);
}

static bool h2text_of_connection(struct http1_slice n)
{
	static const char *const names[] = {"connection",        "keep-alive", "proxy-connection",
					    "transfer-encoding", "upgrade",    "http2-settings"};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (http1_eq(n, names[i]))
			return true;
	return false;
}

static int h2text_pseudo(struct h2text *t, struct http1_slice name, struct http1_slice value)
{
	uint32_t i = 0;

	while (i < H2TEXT_PSEUDOS && !http1_eq(name, h2text_pseudos[i].name))
		i++;
	if (i == H2TEXT_PSEUDOS || h2text_pseudos[i].kind != t->kind || t->regular ||
	    (t->seen & (1u << i)) || !h2text_visible(value))
		return h2text_bad(t);
	t->seen |= 1u << i;
	if (buf_len(&t->pseudo) + value.len > HTTP1_HEAD_MAX) {
		t->too_long = true;
		value.len = 1; /* enough to be there */
	}
	t->of[i].at = (uint32_t)buf_len(&t->pseudo);
	t->of[i].len = (uint32_t)value.len;
	return buf_add(&t->pseudo, value.p, value.len) < 0 ? -ENOMEM : 0;
}

/* ---- in: text ---- */

/* "name: value" CRLF; what has no room any more is left out, and the block is too long. */
static int h2text_line(struct h2text *t, struct http1_slice name, struct http1_slice value)
{
	size_t need = name.len + value.len + 4, room;
	uint8_t *to;
	struct wr w;

	if (t->too_long || buf_len(&t->fields) + buf_len(&t->cookies) + buf_len(&t->pseudo) + need >
				   HTTP1_HEAD_MAX) {
		t->too_long = true;
		return 0;
	}
	to = buf_room(&t->fields, need, &room);
	if (!to)
		return -ENOMEM;
	w = wr_of(to, need);
	wr_bytes(&w, name.p, name.len);
	wr_str(&w, ": ");
	wr_bytes(&w, value.p, value.len);
	wr_str(&w, "\r\n");
	buf_added(&t->fields, w.len);
	return 0;
}

/* RFC 9113, 8.2.3: crumbs become one field again. */
static int h2text_cookie(struct h2text *t, struct http1_slice value)
{
	if (t->too_long ||
	    buf_len(&t->fields) + buf_len(&t->cookies) + buf_len(&t->pseudo) + value.len + 12 >
		    HTTP1_HEAD_MAX) {
		t->too_long = true;
		return 0;
	}
	if (buf_add(&t->cookies,
		    buf_len(&t->cookies) ? "; " : "cookie: ", buf_len(&t->cookies) ? 2 : 8) < 0 ||
	    buf_add(&t->cookies, value.p, value.len) < 0)
		return -ENOMEM;
	return 0;
}

int h2text_field(struct h2text *t, struct http1_slice name, struct http1_slice value)
{
	size_t at = buf_len(&t->fields);
	int rc;

	if (t->bad)
		return -EBADMSG;
	if (name.len > 0 && name.p[0] == ':')
		return h2text_pseudo(t, name, value);
	t->regular = true;
	if (!h2text_name_ok(name) || !h2text_value_ok(value) || h2text_of_connection(name) ||
	    (http1_eq(name, "te") && !http1_is(value, "trailers")))
		return h2text_bad(t);
	if (t->kind == H2TEXT_REQUEST && http1_eq(name, "cookie"))
		return h2text_cookie(t, value);
	if (t->kind == H2TEXT_REQUEST && (t->seen & SEEN(PROTOCOL)) &&
	    http1_eq(name, "sec-websocket-key"))
		return 0; /* has no meaning here; ours is sent */
	rc = h2text_line(t, name, value);
	if (http1_eq(name, "content-length")) {
		if (t->length)
			return h2text_bad(t);
		t->length = true;
		t->length_at = at;
		t->length_len = buf_len(&t->fields) - at;
	} else if (http1_eq(name, "host")) {
		if (t->host)
			return h2text_bad(t);
		t->host = true;
		t->host_at = at;
		t->host_len = buf_len(&t->fields) - at;
	} else if (http1_eq(name, "trailer") ||
		   (http1_eq(name, "content-type") && h2text_grpc_type(value))) {
		t->may_trail = true;
	}
	return rc;
}

/* Cuts a line out of `fields`; later lines' places move. */
static void h2text_cut(struct h2text *t, size_t at, size_t len)
{
	uint8_t *p = buf_bytes(&t->fields);
	size_t total = buf_len(&t->fields);

	if (len == 0)
		return;
	memmove(p + at, p + at + len, total - at - len);
	t->fields.end -= len;
	if (t->length_at > at)
		t->length_at -= len;
	if (t->host_at > at)
		t->host_at -= len;
}

static int h2text_add(struct buf *to, const char *a, struct http1_slice s, const char *b)
{
	if (buf_add(to, a, strlen(a)) < 0 || buf_add(to, s.p, s.len) < 0 ||
	    buf_add(to, b, strlen(b)) < 0)
		return -ENOBUFS;
	return 0;
}

static bool h2text_same_host(const struct h2text *t, struct http1_slice authority)
{
	const char *v = (const char *)buf_bytes(&t->fields) + t->host_at + 6; /* "host: " */
	size_t i, len = t->host_len - 8;

	if (t->host_len < 8 || len != authority.len)
		return false;
	for (i = 0; i < len; i++) {
		char a = v[i], b = authority.p[i];

		a = (char)(a >= 'A' && a <= 'Z' ? a + 32 : a);
		b = (char)(b >= 'A' && b <= 'Z' ? b + 32 : b);
		if (a != b)
			return false;
	}
	return true;
}

/* Are all the pseudo-fields there that this kind of request has, and no others. */
static bool h2text_request_ok(const struct h2text *t, bool *ret_websocket)
{
	const struct http1_slice method = h2text_of(t, H2TEXT_METHOD),
				 path = h2text_of(t, H2TEXT_PATH);
	bool connect = (t->seen & SEEN(METHOD)) && http1_eq(method, "CONNECT");

	*ret_websocket = (t->seen & SEEN(PROTOCOL)) != 0;
	if (!(t->seen & SEEN(METHOD)) || !http1_token(method) ||
	    !((t->seen & SEEN(AUTHORITY)) || t->host))
		return false;
	if (*ret_websocket && (!connect || !http1_eq(h2text_of(t, H2TEXT_PROTOCOL), "websocket") ||
			       !(t->seen & SEEN(AUTHORITY))))
		return false;
	if (connect && !*ret_websocket)
		return t->seen == (SEEN(METHOD) | SEEN(AUTHORITY));
	if (!(t->seen & SEEN(SCHEME)) || !http1_eq(h2text_of(t, H2TEXT_SCHEME), "https") ||
	    !(t->seen & SEEN(PATH)))
		return false;
	return path.p[0] == '/' || (http1_eq(path, "*") && http1_eq(method, "OPTIONS"));
}

static int h2text_request_line(struct h2text *t, bool websocket, struct buf *to)
{
	const struct http1_slice method = h2text_of(t, H2TEXT_METHOD),
				 authority = h2text_of(t, H2TEXT_AUTHORITY);
	bool path = t->seen & SEEN(PATH);
	int rc = websocket ? h2text_add(to, "GET", (struct http1_slice){"", 0}, " ")
			   : h2text_add(to, "", method, " ");

	if (rc == 0)
		rc = h2text_add(to, "", path ? h2text_of(t, H2TEXT_PATH) : authority,
				" HTTP/1.1\r\n");
	if (rc == 0 && (t->seen & SEEN(AUTHORITY)))
		rc = h2text_add(to, "Host: ", authority, "\r\n");
	return rc;
}

/* Fields, cookies, framing, and the empty line. */
static int h2text_rest(struct h2text *t, const char *framing, struct buf *to)
{
	static const struct http1_slice none = {"", 0};
	int rc = h2text_add(
		to, "",
		(struct http1_slice){(const char *)buf_bytes(&t->fields), buf_len(&t->fields)}, "");

	if (rc == 0 && buf_len(&t->cookies))
		rc = h2text_add(to, "",
				(struct http1_slice){(const char *)buf_bytes(&t->cookies),
						     buf_len(&t->cookies)},
				"\r\n");
	return rc < 0 ? rc : h2text_add(to, framing, none, "\r\n");
}

/* What http1.h finds too long: more than HTTP1_HEAD_MAX bytes without an end. */
static int h2text_endless(struct buf *to)
{
	static const char filler[1024] = "GET /";
	size_t i, n;
	char x[1024];

	memset(x, 'x', sizeof(x));
	memcpy(x, filler, 5);
	for (i = 0; i < HTTP1_HEAD_MAX + 1; i += n) {
		n = HTTP1_HEAD_MAX + 1 - i < sizeof(x) ? HTTP1_HEAD_MAX + 1 - i : sizeof(x);
		if (buf_add(to, x, n) < 0)
			return -ENOBUFS;
		memset(x, 'x', 5);
	}
	return 0;
}

static int h2text_end_request(struct h2text *t, bool last, const char *key, struct buf *to,
			      enum h2text_body *ret)
{
	char upgrade[128] = "";
	const char *framing = "";
	bool websocket;
	int rc;

	if (!h2text_request_ok(t, &websocket))
		return h2text_bad(t);
	*ret = last ? H2TEXT_BODY_NONE : H2TEXT_BODY_COUNTED;
	if (t->too_long)
		return h2text_endless(to);
	if (t->host && (t->seen & SEEN(AUTHORITY)) &&
	    h2text_same_host(t, h2text_of(t, H2TEXT_AUTHORITY)))
		h2text_cut(t, t->host_at, t->host_len);
	if (websocket) {
		if (last || t->length)
			return h2text_bad(t);
		*ret = H2TEXT_BODY_RAW;
		(void)snprintf(
			upgrade, sizeof(upgrade),
			"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: %.*s\r\n",
			H2TEXT_KEY_LEN, key);
		framing = upgrade;
	} else if (!last && !(t->seen & SEEN(PATH))) {
		*ret = H2TEXT_BODY_RAW; /* CONNECT */
	} else if (!last && (!t->length || t->may_trail)) {
		*ret = H2TEXT_BODY_CHUNKED;
		if (t->length)
			h2text_cut(t, t->length_at, t->length_len);
		framing = "Transfer-Encoding: chunked\r\n";
	}
	rc = h2text_request_line(t, websocket, to);
	return rc < 0 ? rc : h2text_rest(t, framing, to);
}

/* Names for the statuses that are seen most; HTTP/2 has none. */
static const char *h2text_phrase(int status)
{
	switch (status) {
	case 100:
		return "Continue";
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 206:
		return "Partial Content";
	case 301:
		return "Moved Permanently";
	case 302:
		return "Found";
	case 304:
		return "Not Modified";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 409:
		return "Conflict";
	case 422:
		return "Unprocessable Content";
	case 429:
		return "Too Many Requests";
	case 500:
		return "Internal Server Error";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	default:
		return "";
	}
}

static int h2text_end_response(struct h2text *t, bool last, bool head, struct buf *to,
			       enum h2text_body *ret)
{
	const struct http1_slice s = h2text_of(t, H2TEXT_STATUS);
	const char *framing = "";
	char line[64];
	int status, rc;
	bool none;

	if (!(t->seen & SEEN(STATUS)) || s.len != 3 || s.p[0] < '1' || s.p[0] > '9' ||
	    s.p[1] < '0' || s.p[1] > '9' || s.p[2] < '0' || s.p[2] > '9' || http1_eq(s, "101"))
		return h2text_bad(t);
	if (t->too_long)
		return -ENOBUFS;
	status = h2text_status(t);
	none = head || status < 200 || status == 204 || status == 304;
	if (last && status < 200)
		return h2text_bad(t);
	*ret = H2TEXT_BODY_NONE;
	if (!none && last && !t->length) {
		framing = "content-length: 0\r\n";
	} else if (!none && !last && (!t->length || t->may_trail)) {
		*ret = H2TEXT_BODY_CHUNKED;
		if (t->length)
			h2text_cut(t, t->length_at, t->length_len);
		framing = "transfer-encoding: chunked\r\n";
	} else if (!none && !last) {
		*ret = H2TEXT_BODY_COUNTED;
	}
	(void)snprintf(line, sizeof(line), "HTTP/1.1 %03d %s\r\n", status, h2text_phrase(status));
	rc = buf_add(to, line, strlen(line));
	return rc < 0 ? rc : h2text_rest(t, framing, to);
}

int h2text_end(struct h2text *t, bool last, bool head, const char *key, struct buf *to,
	       enum h2text_body *ret)
{
	if (t->bad)
		return -EBADMSG;
	switch (t->kind) {
	case H2TEXT_REQUEST:
		return h2text_end_request(t, last, key, to, ret);
	case H2TEXT_RESPONSE:
		return h2text_end_response(t, last, head, to, ret);
	default:
		if (!last || t->length || t->host)
			return h2text_bad(t);
		if (t->too_long || buf_len(&t->fields) > HTTP1_TRAILER_MAX - 2)
			return -ENOBUFS;
		return buf_add(to, buf_bytes(&t->fields), buf_len(&t->fields));
	}
}

/* ---- out ---- */

static nghttp2_nv h2text_nv(const char *name, size_t name_len, struct http1_slice v, bool secret)
{
	return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
			    .value = (uint8_t *)(uintptr_t)v.p,
			    .namelen = name_len,
			    .valuelen = v.len,
			    .flags = secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
}

/* The text is ours: names are put in lower case in place. */
static void h2text_lower(struct http1_slice name)
{
	char *p = (char *)(uintptr_t)name.p;
	size_t i;

	for (i = 0; i < name.len; i++)
		if (p[i] >= 'A' && p[i] <= 'Z')
			p[i] = (char)(p[i] + 32);
}

static size_t h2text_fields(const struct http1_head *h, const struct http1_meaning *m, bool secret,
			    nghttp2_nv *nv)
{
	size_t n = 0;
	uint32_t i;

	for (i = 0; i < h->field_count; i++) {
		const struct http1_field *f = &h->fields[i];

		if ((m && http1_is_hop(m, i)) || f->id == HTTP1_HOST || f->id == HTTP1_CONNECTION ||
		    f->id == HTTP1_TRANSFER_ENCODING || f->id == HTTP1_KEEP_ALIVE ||
		    f->id == HTTP1_UPGRADE || f->id == HTTP1_HTTP2_SETTINGS || f->id == HTTP1_TE ||
		    f->id == HTTP1_PROXY_ANY)
			continue;
		h2text_lower(f->name);
		nv[n++] = h2text_nv(f->name.p, f->name.len, f->value,
				    secret || f->id == HTTP1_AUTHORIZATION ||
					    f->id == HTTP1_COOKIE);
	}
	return n;
}

bool h2text_grpc(const struct http1_head *h)
{
	uint32_t i = http1_find(h, HTTP1_CONTENT_TYPE, 0);

	return i < h->field_count && h2text_grpc_type(h->fields[i].value);
}

#define FIXED(s)                                                                                   \
	(struct http1_slice)                                                                       \
	{                                                                                          \
		s, sizeof(s) - 1                                                                   \
	}

size_t h2text_request(const struct http1_head *h, const struct http1_meaning *m, bool secret,
		      nghttp2_nv nv[H2TEXT_NV_MAX])
{
	uint32_t host = http1_find(h, HTTP1_HOST, 0);
	size_t n = 0;

	nv[n++] = h2text_nv(":method", 7, h->method, false);
	nv[n++] = h2text_nv(":scheme", 7, FIXED("https"), false);
	if (host < h->field_count)
		nv[n++] = h2text_nv(":authority", 10, h->fields[host].value, false);
	nv[n++] = h2text_nv(":path", 5, m->target, secret);
	n += h2text_fields(h, m, secret, nv + n);
	if (h2text_grpc(h)) /* servers insist on it, and trailers do pass */
		nv[n++] = h2text_nv("te", 2, FIXED("trailers"), false);
	return n;
}

size_t h2text_response(const struct http1_head *h, const struct http1_meaning *m, char status[4],
		       nghttp2_nv nv[H2TEXT_NV_MAX])
{
	int code = h->status == 101 ? 200 : h->status;
	size_t n = 0, i, kept;

	(void)snprintf(status, 4, "%03d", code);
	nv[n++] = h2text_nv(":status", 7, (struct http1_slice){status, 3}, false);
	kept = n + h2text_fields(h, m, false, nv + n);
	for (i = n; i < kept; i++) {
		const struct http1_slice name = {(const char *)nv[i].name, nv[i].namelen};

		if (h->status != 101 || !http1_eq(name, "sec-websocket-accept"))
			nv[n++] = nv[i];
	}
	return n;
}

size_t h2text_trailers(const struct http1_head *h, nghttp2_nv nv[H2TEXT_NV_MAX])
{
	return h2text_fields(h, NULL, false, nv);
}
