/* http1_meaning.c: what a finished head says of its message: framing, host, fields for one hop; see http1.h. */
#include "http1_in.h"

#define OPTIONS_MAX 32 /* elements of all Connection fields together */

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
	if (++k->options > OPTIONS_MAX || !http1_token(o) || never_hop(http1_id_of(o)))
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
	http1_split_target(m->target, &m->path, &m->query);
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
