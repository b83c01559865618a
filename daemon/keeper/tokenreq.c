/* tokenreq.c: see tokenreq.h. The body is written first, since the head says its length. */
#include "tokenreq.h"

#include "jwt.h"
#include "wr.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define JWT_LIFE_S  300 /* of an assertion; GitHub takes ten minutes at most */
#define JWT_EARLY_S 60  /* issued a minute ago, for clocks that are behind */
#define GRANT_JWT   "urn:ietf:params:oauth:grant-type:jwt-bearer"

/* application/x-www-form-urlencoded, as RFC 6749 has it: also for the client in Basic (2.3.1). */
static void form(struct wr *w, const void *p, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	const uint8_t *s = p;

	for (size_t i = 0; i < len; i++) {
		if ((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'A' && s[i] <= 'Z') ||
		    (s[i] >= 'a' && s[i] <= 'z') || (s[i] && strchr("-._~", s[i]))) {
			wr_u8(w, s[i]);
		} else {
			wr_u8(w, '%');
			wr_u8(w, (uint8_t)hex[s[i] >> 4]);
			wr_u8(w, (uint8_t)hex[s[i] & 15]);
		}
	}
}

static void field(struct wr *w, const char *name, const void *p, size_t len)
{
	if (!p)
		return;
	if (w->len > 0)
		wr_u8(w, '&');
	wr_str(w, name);
	wr_u8(w, '=');
	form(w, p, len);
}

static void field_param(struct wr *w, const char *params, const char *name)
{
	const char *v = kind_param(params, name);

	field(w, name, v, v ? strlen(v) : 0);
}

/* A member of a JSON object; parameters are printable ASCII. */
static void member(struct wr *w, const char *name, const char *value)
{
	if (!value)
		return;
	if (w->len > 0)
		wr_u8(w, ',');
	wr_u8(w, '"');
	wr_str(w, name);
	wr_str(w, "\":\"");
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			wr_u8(w, '\\');
		wr_u8(w, (uint8_t)*value);
	}
	wr_u8(w, '"');
}

/* The claims of an assertion, as jwt_make() takes them. */
static int claims(enum kind k, const char *params, int64_t now, char *out, size_t cap)
{
	struct wr w = wr_of(out, cap - 1);
	const char *audience = kind_param(params, "audience");
	char times[160], id[33];
	uint8_t random[16];
	int n;

	if (k == KIND_GITHUB_APP) {
		member(&w, "iss", kind_param(params, "app_id"));
	} else {
		member(&w, "iss", kind_param(params, "issuer"));
		member(&w, "sub", kind_param(params, "subject"));
		member(&w, "aud", audience ? audience : kind_param(params, "token_url"));
		member(&w, "scope", kind_param(params, "scope"));
		randombytes_buf(random, sizeof(random));
		(void)sodium_bin2hex(id, sizeof(id), random, sizeof(random));
		member(&w, "jti", id);
	}
	n = snprintf(times, sizeof(times), ",\"iat\":%lld,\"exp\":%lld",
		     (long long)(now - JWT_EARLY_S), (long long)(now + JWT_LIFE_S));
	wr_bytes(&w, times, (size_t)n);
	out[w.len] = '\0';
	return w.full ? -EINVAL : 0;
}

static int assertion(enum kind k, const char *params, const struct parts *p, int64_t now,
		     struct wr *w)
{
	char text[8192], header[KIND_PARAM_MAX + 64];
	struct wr h = wr_of(header, sizeof(header) - 1);
	int rc = claims(k, params, now, text, sizeof(text));

	member(&h, "kid", kind_param(params, "key_id"));
	header[h.len] = '\0';
	return rc < 0 || h.full ? -EINVAL
				: jwt_make((const char *)p->at[0].p, p->at[0].len, header, text, w);
}

static bool in_body(enum kind k, const char *params, const struct parts *p)
{
	const char *auth = kind_param(params, "auth");

	return (auth && strcmp(auth, "body") == 0) || (k == KIND_OAUTH2_REFRESH && !p->at[1].p);
}

static int body(enum kind k, const char *params, const struct parts *p, int64_t now, struct wr *w)
{
	char jwt[16384];
	struct wr j = wr_of(jwt, sizeof(jwt));
	const char *grant = k == KIND_OAUTH2_CLIENT    ? "client_credentials"
			    : k == KIND_OAUTH2_REFRESH ? "refresh_token"
						       : GRANT_JWT;
	int rc = 0;

	if (k == KIND_GITHUB_APP)
		return 0;
	field(w, "grant_type", grant, strlen(grant));
	if (k == KIND_OAUTH2_REFRESH)
		field(w, "refresh_token", p->at[2].p, p->at[2].len);
	if (k == KIND_JWT_BEARER) {
		rc = assertion(k, params, p, now, &j);
		field(w, "assertion", jwt, j.len);
	} else if (in_body(k, params, p)) {
		field(w, "client_id", p->at[0].p, p->at[0].len);
		field(w, "client_secret", p->at[1].p, p->at[1].len);
	}
	if (k !=
	    KIND_JWT_BEARER) /* there it is a claim; servers that want it in the form too take both */
		field_param(w, params, "scope");
	field_param(w, params, k == KIND_OAUTH2_CLIENT ? "audience" : "");
	explicit_bzero(jwt, sizeof(jwt));
	return rc;
}

static void basic(const struct parts *p, struct wr *w)
{
	char plain[8192], text[12288];
	struct wr s = wr_of(plain, sizeof(plain));

	form(&s, p->at[0].p, p->at[0].len);
	wr_u8(&s, ':');
	form(&s, p->at[1].p, p->at[1].len);
	if (s.full ||
	    sodium_base64_ENCODED_LEN(s.len, sodium_base64_VARIANT_ORIGINAL) > sizeof(text)) {
		w->full = true;
	} else {
		(void)sodium_bin2base64(text, sizeof(text), (uint8_t *)plain, s.len,
					sodium_base64_VARIANT_ORIGINAL);
		wr_str(w, "Authorization: Basic ");
		wr_str(w, text);
		wr_str(w, "\r\n");
	}
	explicit_bzero(plain, sizeof(plain));
	explicit_bzero(text, sizeof(text));
}

static int head(enum kind k, const char *params, const struct parts *p, int64_t now,
		size_t body_len, struct wr *w)
{
	char host[RPC_HOST_MAX], path[KIND_PATH_MAX], text[KIND_PATH_MAX + RPC_HOST_MAX + 256];
	uint16_t port;
	int rc = kind_endpoint(k, params, host, &port, path), n;

	if (rc < 0)
		return rc;
	n = snprintf(text, sizeof(text), "POST %s HTTP/1.1\r\nHost: %s", path, host);
	wr_bytes(w, text, (size_t)n);
	if (port != 443) {
		n = snprintf(text, sizeof(text), ":%u", port);
		wr_bytes(w, text, (size_t)n);
	}
	wr_str(w, "\r\nUser-Agent: agentsecrets\r\nConnection: close\r\n");
	if (k == KIND_GITHUB_APP) {
		wr_str(w, "Accept: application/vnd.github+json\r\nAuthorization: Bearer ");
		rc = assertion(k, params, p, now, w);
		wr_str(w, "\r\n");
	} else {
		wr_str(w,
		       "Accept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\n");
		if ((k == KIND_OAUTH2_CLIENT || k == KIND_OAUTH2_REFRESH) && !in_body(k, params, p))
			basic(p, w);
	}
	n = snprintf(text, sizeof(text), "Content-Length: %zu\r\n\r\n", body_len);
	wr_bytes(w, text, (size_t)n);
	return rc;
}

int tokenreq_make(enum kind k, const char *params, const struct parts *p, int64_t now,
		  struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *text = NULL, *all = NULL;
	struct wr b, w;
	int rc = secret_new(TOKENREQ_MAX, &text, e);

	if (rc == 0)
		rc = secret_new(TOKENREQ_MAX, &all, e);
	if (rc < 0)
		return rc;
	b = wr_of(secret_bytes(text), TOKENREQ_MAX);
	w = wr_of(secret_bytes(all), TOKENREQ_MAX);
	rc = body(k, params, p, now, &b);
	if (rc == 0)
		rc = head(k, params, p, now, b.len, &w);
	wr_bytes(&w, b.p, b.len);
	if (rc < 0 || b.full || w.full)
		return err_set(e, -EINVAL,
			       "no token request can be made of its parts and parameters");
	secret_cut(all, w.len);
	*ret = take(all);
	return 0;
}
