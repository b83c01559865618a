/* route.c: how the verdict is come by.
 *
 * First the place: every source that names one (kernel's record, CONNECT target, SNI, Host or target) must
 * name the same, or nothing is allowed. Then the list: is the host there at all, then the plaintext rule,
 * then method and path. A result starts as refused and gets its rule in the very last step; the host is
 * filled in earlier because a refusal tells it.
 */
#include "route.h"
#include "hello.h"
#include "inject.h"
#include "origin.h"

#include <errno.h>

#define PORT_HTTP 80
#define PORT_HTTPS 443

static enum reason deny(struct route *r, enum reason why)
{
	r->rule = NULL;
	r->reason = why;
	return why;
}

static void start(struct route *r)
{
	memset(r, 0, sizeof(*r));
	r->reason = REASON_INTERNAL;
}

static void set_host(struct route *r, const char *host, bool address, uint16_t port)
{
	size_t n = strnlen(host, RPC_HOST_MAX - 1);

	memset(r->host, 0, sizeof(r->host));
	memcpy(r->host, host, n);
	r->address = address;
	r->port = port;
}

static void set_dialled(const struct route_ask *a, struct route *r)
{
	char text[ORIGIN_TEXT_MAX];

	set_host(r, origin_text(a->addr, text), true, a->port);
}

static bool has_sni(const struct route_ask *a)
{
	return a->sni && a->sni[0];
}

/* ---- the place, as far as the connection tells it ---- */

/* SNI, or without one the dialled address, if a rule names that. */
static enum reason place_tls(const struct route_ask *a, struct route *r)
{
	enum reason why;

	if (has_sni(a)) {
		if (!hello_host_ok(a->sni, strlen(a->sni)))
			return REASON_SNI_HOST;
		set_host(r, a->sni, false, a->port);
		return REASON_NONE;
	}
	set_dialled(a, r);
	if (!rules_find(a->rules, r->host, r->port, &why)) {
		r->host[0] = '\0';
		r->address = false;
		return REASON_SNI_MISSING;
	}
	return REASON_NONE;
}

static enum reason place_connect(const struct route_ask *a, struct route *r)
{
	if (!a->target || !a->target[0] || !a->target_port)
		return REASON_INTERNAL;
	set_host(r, a->target, a->target_address, a->target_port);
	if (!a->tls)
		return REASON_NONE;
	if (a->target_address)
		return has_sni(a) ? REASON_SNI_HOST : REASON_NONE;
	if (!has_sni(a))
		return REASON_SNI_MISSING;
	return strcmp(a->sni, a->target) == 0 ? REASON_NONE : REASON_SNI_HOST;
}

/* What is known before a request. */
static enum reason place(const struct route_ask *a, struct route *r)
{
	r->scheme = a->tls ? HTTP1_SCHEME_HTTPS : HTTP1_SCHEME_HTTP;
	if (a->via == ROUTE_CONNECT)
		return place_connect(a, r);
	if (a->via != ROUTE_TRANSPARENT || !a->addr || !a->port)
		return REASON_INTERNAL;
	if (a->tls)
		return place_tls(a, r);
	set_dialled(a, r);
	return REASON_NONE;
}

void route_open(const struct route_ask *a, struct route *r)
{
	const struct rules_rule *rule;
	enum reason why;

	start(r);
	if (!a->rules) {
		deny(r, REASON_WORKSPACE_GONE);
		return;
	}
	why = place(a, r);
	if (why != REASON_NONE) {
		deny(r, why);
		return;
	}
	rule = rules_find(a->rules, r->host, r->port, &why);
	if (!rule) {
		deny(r, why);
		return;
	}
	r->reason = REASON_NONE;
	r->rule = rule;
}

/* ---- the place that the request names ---- */

/* A plaintext request on a redirected socket: the name is the request's, the port is the dialled one, and
 * an address must be the dialled one too. */
static enum reason adopt_host(const struct route_ask *a, struct route *r)
{
	uint8_t addr[16];

	if (a->meaning->address && (!origin_parse(a->meaning->host, addr) || memcmp(addr, a->addr, 16) != 0))
		return REASON_SNI_HOST;
	set_host(r, a->meaning->host, a->meaning->address, a->port);
	return REASON_NONE;
}

/* A request inside a connection whose place is known. */
static enum reason agree(const struct route_ask *a, struct route *r)
{
	const struct http1_meaning *m = a->meaning;
	enum reason why;

	if (a->head->form == HTTP1_AUTHORITY || m->host[0] == '\0')
		return REASON_BAD_REQUEST;
	if (m->scheme != HTTP1_SCHEME_NONE && m->scheme != r->scheme)
		return REASON_BAD_REQUEST;
	if (a->via == ROUTE_TRANSPARENT && !a->tls) {
		why = adopt_host(a, r);
		if (why != REASON_NONE)
			return why;
	}
	if (strcmp(m->host, r->host) != 0 || m->address != r->address)
		return REASON_SNI_HOST;
	if ((m->port ? m->port : a->tls ? PORT_HTTPS : PORT_HTTP) != r->port)
		return REASON_SNI_HOST;
	r->path = m->path;
	return REASON_NONE;
}

static enum reason place_absolute(const struct route_ask *a, struct route *r)
{
	const struct http1_meaning *m = a->meaning;

	if (a->head->form != HTTP1_ABSOLUTE)
		return REASON_BAD_REQUEST;
	r->scheme = m->scheme;
	set_host(r, m->host, m->address, m->port);
	r->path = m->path;
	return REASON_NONE;
}

static enum reason place_url(const struct route_ask *a, struct route *r)
{
	if (!a->url)
		return REASON_INTERNAL;
	r->scheme = a->url->scheme;
	set_host(r, a->url->host, a->url->address, a->url->port);
	r->path = a->url->path;
	return r->scheme == HTTP1_SCHEME_HTTPS ? REASON_NONE : REASON_NON_HTTPS;
}

static enum reason request_place(const struct route_ask *a, struct route *r)
{
	enum reason why;

	if (!a->head || !a->meaning)
		return REASON_INTERNAL;
	if (a->via == ROUTE_ABSOLUTE)
		return place_absolute(a, r);
	if (a->via == ROUTE_URL)
		return place_url(a, r);
	why = place(a, r);
	return why != REASON_NONE ? why : agree(a, r);
}

/* ---- the list ---- */

static bool copy_method(const struct route_ask *a, char method[HTTP1_METHOD_MAX + 1])
{
	struct http1_slice m = a->via == ROUTE_URL && a->method.p ? a->method : a->head->method;

	if (m.len > HTTP1_METHOD_MAX || !http1_token(m))
		return false;
	memset(method, 0, HTTP1_METHOD_MAX + 1);
	memcpy(method, m.p, m.len);
	return true;
}

static const struct rules_rule *judge_path(const struct route_ask *a, const struct route *r, const char *method,
					   enum reason *why)
{
	char plain[ROUTE_PATH_MAX], path[ROUTE_PATH_MAX];
	size_t len = inject_path(r->path, plain, sizeof(plain));

	*why = REASON_POLICY;
	if (!len || rules_path(plain, len, path, sizeof(path)) < 0)
		return NULL;
	return rules_judge(a->rules, r->host, r->port, method, path, why);
}

static const struct rules_rule *judge(const struct route_ask *a, const struct route *r, enum reason *why)
{
	char method[HTTP1_METHOD_MAX + 1];

	*why = REASON_BAD_REQUEST;
	if (!copy_method(a, method))
		return NULL;
	if (rules_has_paths(a->rules, r->host, r->port))
		return judge_path(a, r, method, why);
	return rules_judge(a->rules, r->host, r->port, method, "/", why);
}

/* No credential and nothing on the port of TLS goes out in the clear; said only of hosts that are listed. */
static bool plaintext_refused(const struct route_ask *a, const struct route *r)
{
	return r->scheme != HTTP1_SCHEME_HTTPS && (a->references || r->port == PORT_HTTPS);
}

/* A plain request to a host whose rule upgrades: from here on it is the one over TLS, for rules, pool and audit. */
static void upgrade(const struct route_ask *a, struct route *r)
{
	const struct rules_rule *rule;

	if (r->scheme == HTTP1_SCHEME_HTTPS || r->port != PORT_HTTP)
		return;
	rule = rules_upgrade(a->rules, r->host);
	if (!rule)
		return;
	r->scheme = HTTP1_SCHEME_HTTPS;
	r->port = rule->port;
	r->upgraded = true;
}

static enum reason request_verdict(const struct route_ask *a, struct route *r)
{
	const struct rules_rule *rule;
	enum reason why = request_place(a, r);

	if (why != REASON_NONE)
		return deny(r, why);
	upgrade(a, r);
	rule = rules_find(a->rules, r->host, r->port, &why);
	if (!rule && why != REASON_POLICY)
		return deny(r, why);
	if (plaintext_refused(a, r))
		return deny(r, REASON_NON_HTTPS);
	rule = judge(a, r, &why);
	if (!rule)
		return deny(r, why);
	if (rule->mode != RULES_INSPECT)
		return deny(r, REASON_POLICY);
	r->rule = rule;
	r->reason = REASON_NONE;
	return REASON_NONE;
}

void route_request(const struct route_ask *a, struct route *r)
{
	start(r);
	if (!a->rules)
		deny(r, REASON_WORKSPACE_GONE);
	else
		(void)request_verdict(a, r);
}
