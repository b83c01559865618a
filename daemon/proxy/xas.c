/* xas.c: see xas.h. */
#include "xas.h"

#include "formset.h"
#include "rules.h"

#include <errno.h>

#define REFERENCE "agentsecrets://"

#define INJECT "x-as-inject-"

static struct http1_slice slice(const char *p, size_t len)
{
	return (struct http1_slice){p, len};
}

static struct http1_slice slice_str(const char *s)
{
	return slice(s, strlen(s));
}

/* ---- reading ---- */

/* The name behind `prefix`, if it begins with that; p NULL: it does not. */
static struct http1_slice behind(struct http1_slice name, const char *prefix)
{
	size_t n = strlen(prefix);

	if (name.len < n || !http1_is(slice(name.p, n), prefix))
		return slice(NULL, 0);
	return slice(name.p + n, name.len - n);
}

static const char *read_key(struct http1_slice v, struct xas_put *put)
{
	const size_t n = sizeof(REFERENCE) - 1;
	char name[RPC_NAME_MAX] = "";

	if (v.len > n && memcmp(v.p, REFERENCE, n) == 0)
		v = slice(v.p + n, v.len - n);
	if (v.len >= sizeof(name) || memchr(v.p, '\0', v.len))
		return "An X-AS-Inject-* header must name a secret: NAME or agentsecrets://NAME";
	memcpy(name, v.p, v.len);
	if (!rules_name_ok(name))
		return "An X-AS-Inject-* header must name a secret: NAME or agentsecrets://NAME";
	put->key = v;
	return NULL;
}

/* Fields that say who, where and how much are not for a secret. */
static bool may_hold(struct http1_slice name)
{
	char text[HTTP1_NAME_MAX + 32];
	struct http1_head h;
	struct http1_scan s = {0};
	struct wr w = wr_of(text, sizeof(text));

	wr_str(&w, "GET / HTTP/1.1\r\n");
	wr_bytes(&w, name.p, name.len);
	wr_str(&w, ":\r\n\r\n");
	if (w.full || http1_request(&s, text, w.len, &h) != HTTP1_DONE || h.field_count != 1)
		return false;
	return h.fields[0].id == HTTP1_OTHER || h.fields[0].id == HTTP1_AUTHORIZATION ||
	       h.fields[0].id == HTTP1_COOKIE;
}

static bool same_letters(struct http1_slice a, struct http1_slice b)
{
	for (size_t i = 0; a.len == b.len && i < a.len; i++)
		if ((a.p[i] | 0x20) != (b.p[i] | 0x20) && a.p[i] != b.p[i])
			return false;
	return a.len == b.len;
}

/* The name of the field that a put writes; p NULL: none. */
static struct http1_slice field_of(const struct xas_put *p)
{
	if (p->kind == XAS_BEARER || p->kind == XAS_BASIC)
		return slice_str("Authorization");
	return p->kind == XAS_HEADER ? p->name : slice(NULL, 0);
}

/* The names of a path, unescaped into buf. False: one is empty, or there are too many. */
static bool read_path(struct http1_slice s, char buf[XAS_NAME_MAX], struct jsonset_path *path)
{
	size_t used = 0;

	path->count = 0;
	for (size_t at = 0; at <= s.len; at++) {
		size_t from = at;
		int n;

		while (at < s.len && s.p[at] != '-' && s.p[at] != '.')
			at++;
		n = formset_unescape(slice(s.p + from, at - from), buf + used, XAS_NAME_MAX - used);
		if (n <= 0 || path->count == JSONSET_NAMES_MAX)
			return false;
		path->name[path->count++] = slice(buf + used, (size_t)n);
		used += (size_t)n;
	}
	return true;
}

static bool same(struct http1_slice a, struct http1_slice b)
{
	return a.len == b.len && memcmp(a.p, b.p, a.len) == 0;
}

/* Is one path the other, or on the way to it? */
static bool clash_body(const struct xas_put *a, const struct xas_put *b)
{
	char name_a[XAS_NAME_MAX], name_b[XAS_NAME_MAX];
	struct jsonset_path pa, pb;
	uint32_t i = 0;

	if (!read_path(a->name, name_a, &pa) || !read_path(b->name, name_b, &pb))
		return false; /* an error of its own, later */
	while (i < pa.count && i < pb.count && same(pa.name[i], pb.name[i]))
		i++;
	return i == pa.count || i == pb.count;
}

static bool clash_name(const struct xas_put *a, const struct xas_put *b)
{
	char name_a[XAS_NAME_MAX], name_b[XAS_NAME_MAX];
	int len_a = formset_unescape(a->name, name_a, sizeof(name_a));
	int len_b = formset_unescape(b->name, name_b, sizeof(name_b));

	return len_a >= 0 && len_a == len_b && memcmp(name_a, name_b, (size_t)len_a) == 0;
}

/* Do two puts go to one place? */
static bool clash(const struct xas_put *a, const struct xas_put *b)
{
	struct http1_slice fa = field_of(a), fb = field_of(b);

	if (fa.p && fb.p)
		return same_letters(fa, fb);
	if (a->kind != b->kind)
		return false;
	return a->kind == XAS_BODY ? clash_body(a, b) : clash_name(a, b);
}

static const char *read_put(const struct http1_field *f, struct http1_slice what, struct xas *x)
{
	static const struct {
		const char *prefix;
		enum xas_kind kind;
	} kinds[] = {{"header-", XAS_HEADER},
		     {"query-", XAS_QUERY},
		     {"body-", XAS_BODY},
		     {"form-", XAS_FORM}};
	struct xas_put *p = &x->puts[x->count];

	if (x->count == XAS_MAX)
		return "There are too many X-AS-Inject-* headers";
	*p = (struct xas_put){.name = slice("", 0)};
	if (http1_is(what, "bearer"))
		p->kind = XAS_BEARER;
	else if (http1_is(what, "basic"))
		p->kind = XAS_BASIC;
	for (size_t i = 0; i < ARRAY_SIZE(kinds) && !p->kind; i++) {
		struct http1_slice name = behind(what, kinds[i].prefix);

		if (name.len == 0)
			continue;
		p->kind = kinds[i].kind;
		p->name = name;
	}
	if (!p->kind)
		return "An X-AS-Inject-* header is not one of Bearer, Basic, Header-, Query-, Body- and Form-";
	if (p->kind == XAS_HEADER && !may_hold(p->name))
		return "X-AS-Inject-Header- cannot write this header";
	for (uint32_t i = 0; i < x->count; i++)
		if (clash(&x->puts[i], p))
			return "Two X-AS-Inject-* headers write to the same place";
	x->count++;
	x->body |= p->kind == XAS_BODY;
	x->form |= p->kind == XAS_FORM;
	return read_key(f->value, p);
}

static const char *once(struct http1_slice *to, const struct http1_field *f, const char *twice)
{
	if (to->p)
		return twice;
	*to = f->value;
	return NULL;
}

static const char *read_fields(const struct http1_head *h, struct xas *x, struct http1_slice *url)
{
	const char *why = NULL;

	for (uint32_t i = 0; i < h->field_count && !why; i++) {
		const struct http1_field *f = &h->fields[i];
		struct http1_slice what = behind(f->name, INJECT);

		if (f->id != HTTP1_XAS)
			continue;
		if (what.p)
			why = read_put(f, what, x);
		else if (http1_is(f->name, "x-as-target-url"))
			why = once(url, f, "X-AS-Target-URL stands there twice");
		else if (http1_is(f->name, "x-as-method"))
			why = once(&x->method, f, "X-AS-Method stands there twice");
		else if (http1_is(f->name, "x-as-agent-id"))
			why = once(&x->agent, f, "X-AS-Agent-ID stands there twice");
	}
	return why;
}

static const char *read_method(const struct http1_head *h, const struct xas *x)
{
	bool head = http1_eq(h->method, "HEAD");

	if (!x->method.p)
		return NULL;
	if (!http1_token(x->method) || x->method.len > HTTP1_METHOD_MAX ||
	    http1_eq(x->method, "CONNECT"))
		return "X-AS-Method is not a method that can be sent";
	return head == http1_eq(x->method, "HEAD")
		       ? NULL
		       : "X-AS-Method cannot make a HEAD of another method or the other way round";
}

/* "type/subtype" of a Content-Type, without its parameters. */
static struct http1_slice media_type(struct http1_slice v)
{
	const char *semi = v.len ? memchr(v.p, ';', v.len) : NULL;
	size_t n = semi ? (size_t)(semi - v.p) : v.len;

	while (n > 0 && (v.p[n - 1] == ' ' || v.p[n - 1] == '\t'))
		n--;
	return slice(v.p, n);
}

static bool is_json(struct http1_slice type)
{
	return http1_is(type, "application/json") ||
	       (type.len > 17 && http1_is(slice(type.p, 12), "application/") &&
		http1_is(slice(type.p + type.len - 5, 5), "+json"));
}

/* What the request says of its body, and whether that can be edited. */
static const char *read_type(const struct http1_head *h, struct xas *x)
{
	uint32_t i = http1_find(h, HTTP1_CONTENT_TYPE, 0);
	bool given = i < h->field_count;
	struct http1_slice type = given ? media_type(h->fields[i].value) : slice("", 0);

	if (!x->body && !x->form)
		return NULL;
	if (x->body && x->form)
		return "X-AS-Inject-Body- and X-AS-Inject-Form- cannot both be";
	if (http1_find(h, HTTP1_CONTENT_ENCODING, 0) < h->field_count)
		return "A body with a Content-Encoding cannot be edited";
	if (x->body && given && !is_json(type))
		return "X-AS-Inject-Body- needs a body of type application/json";
	if (x->form && given && !http1_is(type, "application/x-www-form-urlencoded"))
		return "X-AS-Inject-Form- needs a body of type application/x-www-form-urlencoded";
	x->json_missing = x->body && !given;
	x->form_missing = x->form && !given;
	return NULL;
}

/* A field that the request has itself and that an injection would write. */
static const char *read_doubles(const struct http1_head *h, const struct xas *x)
{
	for (uint32_t i = 0; i < x->count; i++) {
		struct http1_slice name = field_of(&x->puts[i]);

		for (uint32_t k = 0; name.p && k < h->field_count; k++)
			if (same_letters(h->fields[k].name, name))
				return "The request has a header itself that an X-AS-Inject-* header writes";
	}
	return NULL;
}

const char *xas_read(const struct http1_head *h, struct xas *x)
{
	struct http1_slice url = {NULL, 0};
	const char *why;

	memset(x, 0, sizeof(*x));
	why = read_fields(h, x, &url);
	if (why)
		return why;
	if (!url.p || url.len == 0)
		return "X-AS-Target-URL header is required";
	if (http1_url(url, &x->url) < 0)
		return "X-AS-Target-URL must be an absolute URL without user and fragment: https://host/path";
	if (x->count == 0)
		return "At least one X-AS-Inject-* header is required";
	why = read_method(h, x);
	if (!why)
		why = read_type(h, x);
	return why ? why : read_doubles(h, x);
}

/* ---- the request ---- */

static void write_slice(struct wr *w, struct http1_slice s)
{
	wr_bytes(w, s.p, s.len);
}

static void write_reference(struct wr *w, struct http1_slice key)
{
	wr_str(w, REFERENCE);
	write_slice(w, key);
}

static void write_base64(struct wr *w, const uint8_t *p, size_t len)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (n > 2 ? p[i + 2] : 0);

		for (size_t k = 0; k < 4; k++)
			wr_u8(w, k <= n ? (uint8_t)alphabet[v >> (18 - 6 * k) & 63] : '=');
	}
}

/* One parameter or field after the other, each through the other of two buffers. */
static const char *set_all(const struct xas *x, enum xas_kind kind, struct http1_slice text,
			   struct wr *w, struct wr *spare, struct http1_slice *ret)
{
	char name[XAS_NAME_MAX], ref[RPC_NAME_MAX + sizeof(REFERENCE)];

	for (uint32_t i = 0; i < x->count; i++) {
		struct wr v = wr_of(ref, sizeof(ref)),
			  *to = (const char *)w->p == text.p ? spare : w;
		int n, rc;

		if (x->puts[i].kind != kind)
			continue;
		write_reference(&v, x->puts[i].key);
		n = formset_unescape(x->puts[i].name, name, sizeof(name));
		if (n <= 0)
			return "The name in an X-AS-Inject-Query- or -Form- header is too long or has a bad escape";
		to->len = 0;
		rc = formset(text, slice(name, (size_t)n), slice(ref, v.len), to);
		if (rc == -EEXIST)
			return "A parameter that an X-AS-Inject-* header sets stands there more than once";
		if (rc < 0) {
			w->full = true;
			return NULL;
		}
		text = slice((const char *)to->p, to->len);
	}
	*ret = text;
	return NULL;
}

static const char *write_target(const struct xas *x, struct wr *w)
{
	char a[HTTP1_HEAD_MAX], b[HTTP1_HEAD_MAX];
	struct wr first = wr_of(a, sizeof(a)), second = wr_of(b, sizeof(b));
	struct http1_slice query = x->url.query;
	const char *why = set_all(x, XAS_QUERY, query.p ? query : slice("", 0), &first, &second,
				  &query);

	w->full |= first.full;
	if (why || w->full)
		return why;
	write_slice(w, x->url.path);
	if (x->url.query.p || query.len > 0) {
		wr_str(w, "?");
		write_slice(w, query);
	}
	return NULL;
}

static void write_host(const struct xas *x, struct wr *w)
{
	const struct http1_url *u = &x->url;
	bool v6 = u->address && strchr(u->host, ':');
	char port[6];
	size_t at = sizeof(port);
	uint32_t n = u->port;

	wr_str(w, v6 ? "Host: [" : "Host: ");
	wr_str(w, u->host);
	wr_str(w, v6 ? "]" : "");
	if (u->port_given && n != (u->scheme == HTTP1_SCHEME_HTTPS ? 443 : 80)) {
		do
			port[--at] = (char)('0' + n % 10);
		while (n /= 10);
		wr_str(w, ":");
		wr_bytes(w, port + at, sizeof(port) - at);
	}
	wr_str(w, "\r\n");
}

static void write_put(const struct xas_put *p, struct wr *w)
{
	char ref[RPC_NAME_MAX + sizeof(REFERENCE)];
	struct wr r = wr_of(ref, sizeof(ref));

	write_reference(&r, p->key);
	if (p->kind == XAS_BEARER) {
		wr_str(w, "Authorization: Bearer ");
		write_reference(w, p->key);
	} else if (p->kind == XAS_BASIC) {
		wr_str(w, "Authorization: Basic ");
		write_base64(w, r.p, r.len);
	} else {
		write_slice(w, p->name);
		wr_str(w, ": ");
		write_reference(w, p->key);
	}
	wr_str(w, "\r\n");
}

const char *xas_write(const struct http1_head *h, const struct xas *x, struct wr *w)
{
	const char *why;

	write_slice(w, x->method.p ? x->method : h->method);
	wr_str(w, " ");
	why = write_target(x, w);
	if (why)
		return why;
	wr_str(w, h->minor ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n");
	write_host(x, w);
	for (uint32_t i = 0; i < h->field_count; i++) {
		const struct http1_field *f = &h->fields[i];

		if (f->id == HTTP1_HOST || f->id == HTTP1_XAS)
			continue;
		write_slice(w, f->name);
		wr_str(w, ": ");
		write_slice(w, f->value);
		wr_str(w, "\r\n");
	}
	for (uint32_t i = 0; i < x->count; i++)
		if (field_of(&x->puts[i]).p)
			write_put(&x->puts[i], w);
	if (x->json_missing)
		wr_str(w, "Content-Type: application/json\r\n");
	if (x->form_missing)
		wr_str(w, "Content-Type: application/x-www-form-urlencoded\r\n");
	wr_str(w, "\r\n");
	return NULL;
}

/* ---- the body ---- */

static const char *set_member(const struct xas_put *p, struct http1_slice text, struct wr *to)
{
	char names[XAS_NAME_MAX], ref[RPC_NAME_MAX + sizeof(REFERENCE) + 2];
	struct wr v = wr_of(ref, sizeof(ref));
	struct jsonset_path path;

	wr_str(&v, "\"");
	write_reference(&v, p->key);
	wr_str(&v, "\"");
	if (!read_path(p->name, names, &path))
		return "The path in an X-AS-Inject-Body- header has an empty name or a bad escape, or is too long";
	to->len = 0;
	switch (jsonset(text, &path, slice(ref, v.len), to)) {
	case -EBADMSG:
		return "X-AS-Inject-Body- needs a body that is JSON";
	case -EEXIST:
		return "The path in an X-AS-Inject-Body- header goes through something that is no object, or a name on it "
		       "stands twice in the body";
	case -E2BIG:
		return "The body has too many objects within objects";
	default:
		return NULL;
	}
}

const char *xas_body(const struct xas *x, struct http1_slice body, struct wr *w, struct wr *spare,
		     struct http1_slice *ret)
{
	const char *why = NULL;

	if (x->form)
		return set_all(x, XAS_FORM, body, w, spare, ret);
	for (uint32_t i = 0; i < x->count && !why; i++) {
		struct wr *to = (const char *)w->p == body.p ? spare : w;

		if (x->puts[i].kind != XAS_BODY)
			continue;
		why = set_member(&x->puts[i], body, to);
		w->full |= to->full;
		if (w->full)
			return NULL;
		body = slice((const char *)to->p, to->len);
	}
	*ret = body;
	return why;
}
