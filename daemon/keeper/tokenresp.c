/* tokenresp.c: see tokenresp.h. */
#include "tokenresp.h"

#include "jdoc.h"
#include "sigv4.h"

#include <string.h>
#include <strings.h>

#define DEPTH 8 /* GitHub tells of permissions and repositories */

void tokenresp_done(struct tokenresp *r)
{
	(void)secret_free(r->token);
	(void)secret_free(r->refresh);
	*r = (struct tokenresp){0};
}

static const char *code_of(const json_t *o)
{
	static const char *const codes[] = {"invalid_request",        "invalid_client",
					    "invalid_grant",          "unauthorized_client",
					    "unsupported_grant_type", "invalid_scope",
					    "temporarily_unavailable"};
	const char *said = json_string_value(json_object_get(o, "error"));

	for (size_t i = 0; said && i < ARRAY_SIZE(codes); i++)
		if (strcmp(said, codes[i]) == 0)
			return codes[i];
	return "";
}

/* Something that can stand in a header: visible ASCII. */
static int token_of(const json_t *o, const char *name, struct secret **ret)
{
	const json_t *v = json_object_get(o, name);
	const char *s = json_string_value(v);
	size_t len = s ? json_string_length(v) : 0;

	if (!v || json_is_null(v))
		return -ENOENT;
	if (len == 0 || len > TOKENRESP_TOKEN_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x21 || s[i] > 0x7e)
			return -EBADMSG;
	return secret_of(s, len, ret, NULL);
}

/* "2026-01-31T12:00:00Z" */
static int64_t seconds_of(const char *s)
{
	char t[SIGV4_TIME_LEN + 1];

	if (!s || strlen(s) != 20 || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':')
		return -1;
	(void)snprintf(t, sizeof(t), "%.4s%.2s%.5s%.2s%.3s", s, s + 5, s + 8, s + 14, s + 17);
	return sigv4_seconds(t);
}

static uint32_t life_of(enum kind k, const json_t *o, int64_t now)
{
	const json_t *v = json_object_get(o, "expires_in");
	double life = TOKENRESP_LIFE_S, most = TOKENRESP_LIFE_MAX_S;

	if (k == KIND_GITHUB_APP) {
		int64_t at = seconds_of(json_string_value(json_object_get(o, "expires_at")));

		/* One that has expired already was made by another clock than `now`. */
		life = at <= now ? TOKENRESP_LIFE_S : (double)(at - now);
		most = TOKENRESP_GITHUB_S;
	} else if (json_is_number(v)) {
		life = json_number_value(v);
	} else if (json_is_string(v) &&
		   strspn(json_string_value(v), "0123456789") == json_string_length(v)) {
		life = atof(json_string_value(v)); /* some servers */
	}
	return (uint32_t)(life < 1 ? 1 : life > most ? most : life);
}

static int granted(enum kind k, const json_t *o, int64_t now, struct tokenresp *ret)
{
	const char *type = json_string_value(json_object_get(o, "token_type"));
	struct tokenresp t = {0};
	int rc;

	if (type && k != KIND_GITHUB_APP && strcasecmp(type, "bearer") != 0)
		return -EBADMSG;
	rc = token_of(o, k == KIND_GITHUB_APP ? "token" : "access_token", &t.token);
	if (rc == 0 && k == KIND_OAUTH2_REFRESH) {
		rc = token_of(o, "refresh_token", &t.refresh);
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (rc < 0) {
		tokenresp_done(&t);
		return rc == -ENOENT ? -EBADMSG : rc;
	}
	t.life_s = life_of(k, o, now);
	*ret = t;
	return 0;
}

int tokenresp_parse(enum kind k, int status, const void *body, size_t len, int64_t now,
		    struct tokenresp *ret, const char **ret_code)
{
	auto_(json) json_t *o = NULL;
	struct err e = {0};
	int rc = jdoc_load(body, len, TOKENRESP_MAX, DEPTH, &o, &e);

	*ret_code = rc == 0 ? code_of(o) : "";
	if (status >= 400 && status < 500 && status != 408 && status != 429)
		return -EKEYREJECTED;
	if ((status != 200 && status != 201) || rc < 0 || !json_is_object(o))
		return -EBADMSG;
	if (**ret_code && !json_object_get(o, "access_token")) /* some say so with 200 */
		return -EKEYREJECTED;
	return granted(k, o, now, ret);
}
