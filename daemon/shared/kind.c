/* kind.c: see kind.h. One table; the checks of parameters are its last column. */
#include "kind.h"

#include "rules.h"
#include "template.h"
#include "wr.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum kind_check {
	CHECK_TEXT = 0,
	CHECK_WORD,
	CHECK_NUMBER,
	CHECK_URL,
	CHECK_OF,
	CHECK_MESSAGE,
	CHECK_SIGNED
};

struct kind_row {
	const char *word;
	bool mints;
	struct {
		const char *name;
		bool required;
	} parts[KIND_PARTS_MAX];
	struct {
		const char *name;
		enum kind_check check;
		bool required;
		const char *of; /* CHECK_OF: " a b " */
	} params[KIND_PARAMS_MAX];
};

#define PART(name, required)                                                                       \
	{                                                                                          \
		name, required                                                                     \
	}
#define PARAM(name, check, required)                                                               \
	{                                                                                          \
		name, check, required, NULL                                                        \
	}
#define CHOICE(name, of)                                                                           \
	{                                                                                          \
		name, CHECK_OF, false, of                                                          \
	}

static const struct kind_row rows[KIND_COUNT] = {
	[KIND_VALUE] = {.word = "value"},
	[KIND_AWS] = {.word = "aws",
		      .parts = {PART("access_key_id", true), PART("secret_access_key", true),
				PART("session_token", false)},
		      .params = {PARAM("region", CHECK_WORD, false),
				 PARAM("service", CHECK_WORD, false)}},
	[KIND_HMAC] = {.word = "hmac",
		       .parts = {PART("key", true)},
		       .params = {CHOICE("algorithm", " sha1 sha256 sha512 "),
				  CHOICE("encoding", " base64 base64url hex "),
				  CHOICE("key_encoding", " base64 hex text "),
				  PARAM("message", CHECK_MESSAGE, true),
				  PARAM("value", CHECK_SIGNED, false)}},
	[KIND_OAUTH2_CLIENT] = {.word = "oauth2-client",
				.mints = true,
				.parts = {PART("client_id", true), PART("client_secret", true)},
				.params = {PARAM("audience", CHECK_TEXT, false),
					   CHOICE("auth", " basic body "),
					   PARAM("scope", CHECK_TEXT, false),
					   PARAM("token_url", CHECK_URL, true)}},
	[KIND_OAUTH2_REFRESH] = {.word = "oauth2-refresh",
				 .mints = true,
				 .parts = {PART("client_id", true), PART("client_secret", false),
					   PART("refresh_token", true)},
				 .params = {CHOICE("auth", " basic body "),
					    PARAM("scope", CHECK_TEXT, false),
					    PARAM("token_url", CHECK_URL, true)}},
	[KIND_JWT_BEARER] = {.word = "jwt-bearer",
			     .mints = true,
			     .parts = {PART("private_key", true)},
			     .params = {PARAM("audience", CHECK_TEXT, false),
					PARAM("issuer", CHECK_TEXT, true),
					PARAM("key_id", CHECK_TEXT, false),
					PARAM("scope", CHECK_TEXT, false),
					PARAM("subject", CHECK_TEXT, false),
					PARAM("token_url", CHECK_URL, true)}},
	[KIND_GITHUB_APP] = {.word = "github-app",
			     .mints = true,
			     .parts = {PART("private_key", true)},
			     .params = {PARAM("api", CHECK_URL, false),
					PARAM("app_id", CHECK_WORD, true),
					PARAM("installation_id", CHECK_NUMBER, true)}},
};

const char *kind_word(enum kind k)
{
	return rows[k < KIND_COUNT ? k : KIND_VALUE].word;
}

int kind_of(const char *word)
{
	for (int k = 0; k < KIND_COUNT; k++)
		if (strcmp(word, rows[k].word) == 0)
			return k;
	return -1;
}

bool kind_mints(enum kind k)
{
	return k < KIND_COUNT && rows[k].mints;
}

const char *kind_part(enum kind k, size_t i, bool *ret_required)
{
	if (k >= KIND_COUNT || i >= KIND_PARTS_MAX || !rows[k].parts[i].name)
		return NULL;
	*ret_required = rows[k].parts[i].required;
	return rows[k].parts[i].name;
}

/* ---- parameters ---- */

const char *kind_next(const char **at, const char **ret_value)
{
	const char *name = *at;

	if (!name || !name[0])
		return NULL;
	*ret_value = name + strlen(name) + 1;
	*at = *ret_value + strlen(*ret_value) + 1;
	return name;
}

const char *kind_param(const char *block, const char *name)
{
	const char *found, *value;

	while ((found = kind_next(&block, &value)))
		if (strcmp(found, name) == 0)
			return value;
	return NULL;
}

static bool text_ok(const char *s, bool word)
{
	for (const char *p = s; *p; p++)
		if (*p < (word ? 0x21 : 0x20) || *p > 0x7e || (word && strchr("\"\\/:,", *p)))
			return false;
	return s[0] != '\0';
}

int kind_url(const char *url, char host[RPC_HOST_MAX], uint16_t *port, char path[KIND_PATH_MAX])
{
	const char *at = url + 8;
	size_t n, len;
	unsigned long number = 443;

	if (strncmp(url, "https://", 8) != 0)
		return -EINVAL;
	n = strcspn(at, ":/");
	if (n == 0 || n >= RPC_HOST_MAX)
		return -EINVAL;
	memcpy(host, at, n);
	host[n] = '\0';
	at += n;
	if (*at == ':') {
		for (n = 0, number = 0, at++; *at >= '0' && *at <= '9' && n < 5; n++)
			number = number * 10 + (unsigned long)(*at++ - '0');
		if (n == 0 || number == 0 || number > 65535)
			return -EINVAL;
	}
	len = strlen(at);
	if (!rules_host_ok(host) || (len > 0 && *at != '/') || len >= KIND_PATH_MAX ||
	    (len > 0 && !text_ok(at, false)) || strpbrk(at, " \"\\<>^`{|}?#"))
		return -EINVAL;
	*port = (uint16_t)number;
	memcpy(path, len > 0 ? at : "/", (len > 0 ? len : 1) + 1);
	return 0;
}

int kind_endpoint(enum kind k, const char *block, char host[RPC_HOST_MAX], uint16_t *port,
		  char path[KIND_PATH_MAX])
{
	const char *url = kind_param(block, k == KIND_GITHUB_APP ? "api" : "token_url");
	const char *id = kind_param(block, "installation_id");
	size_t n;
	int rc;

	if (k == KIND_GITHUB_APP && !url)
		url = "https://api.github.com";
	rc = url && kind_mints(k) ? kind_url(url, host, port, path) : -EINVAL;
	if (rc < 0 || k != KIND_GITHUB_APP)
		return rc;
	n = strlen(path);
	while (n > 0 && path[n - 1] == '/')
		n--;
	rc = snprintf(path + n, KIND_PATH_MAX - n, "/app/installations/%s/access_tokens",
		      id ? id : "");
	return !id || rc < 0 || (size_t)rc >= KIND_PATH_MAX - n ? -EINVAL : 0;
}

static int check_of(enum kind_check check, const char *of, const char *v, struct err *e)
{
	char host[RPC_HOST_MAX], path[KIND_PATH_MAX], spaced[32];
	uint16_t port;

	if (strlen(v) >= KIND_PARAM_MAX || !text_ok(v, false))
		return err_set(e, -EINVAL, "must be 1 to %d bytes of printable ASCII",
			       KIND_PARAM_MAX - 1);
	switch (check) {
	case CHECK_TEXT:
		return 0;
	case CHECK_WORD:
		return text_ok(v, true) ? 0 : err_set(e, -EINVAL, "must be one word");
	case CHECK_NUMBER:
		return v[strspn(v, "0123456789")] || strlen(v) > 20
			       ? err_set(e, -EINVAL, "must be a number")
			       : 0;
	case CHECK_URL:
		return kind_url(v, host, &port, path) < 0
			       ? err_set(e, -EINVAL,
					 "must be a URL such as https://login.example.com/token, "
					 "with a host in lower case and without a query")
			       : 0;
	case CHECK_OF:
		(void)snprintf(spaced, sizeof(spaced), " %.28s ", v);
		return strchr(v, ' ') || !strstr(of, spaced)
			       ? err_set(e, -EINVAL, "must be one of%s", of)
			       : 0;
	default:
		return template_check(v, check == CHECK_MESSAGE, e);
	}
}

/* Which of names is `name`; count: none. */
static size_t place_of(const char *const *names, size_t count, const char *name)
{
	size_t i = 0;

	while (i < count && strcmp(names[i], name) != 0)
		i++;
	return i;
}

int kind_params(enum kind k, const char *const *names, const char *const *values, size_t count,
		char **ret, struct err *e)
{
	const struct kind_row *row = &rows[k < KIND_COUNT ? k : KIND_VALUE];
	auto_free char *block = malloc(KIND_BLOCK_MAX);
	struct wr w = wr_of(block, KIND_BLOCK_MAX);
	size_t known = 0, i;

	if (!block)
		return -ENOMEM;
	for (i = 0; i < KIND_PARAMS_MAX && row->params[i].name; i++) {
		const char *name = row->params[i].name;
		size_t at = place_of(names, count, name);
		int rc;

		if (at == count && row->params[i].required)
			return err_set(e, -EINVAL, "a secret of kind %s needs the parameter %s",
				       row->word, name);
		if (at == count)
			continue;
		rc = check_of(row->params[i].check, row->params[i].of, values[at], e);
		if (rc < 0)
			return err_in(e, rc, "parameter %s", name);
		wr_bytes(&w, name, strlen(name) + 1);
		wr_bytes(&w, values[at], strlen(values[at]) + 1);
		known++;
	}
	if (known != count)
		return err_set(e, -EINVAL,
			       "a secret of kind %s has no such parameter, or one is given twice",
			       row->word);
	wr_u8(&w, 0);
	*ret = known ? take(block) : NULL;
	return 0;
}

/* ---- placeholders ---- */

static void kind_digits(const char *what, const char *workspace, const char *name,
			const char *alphabet, size_t base, char *out, size_t len)
{
	unsigned char digest[64];
	char text[RPC_WORKSPACE_MAX + RPC_NAME_MAX + 64];
	int n = snprintf(text, sizeof(text), "agentsecrets placeholder %s/%s/%s", what, workspace,
			 name);

	(void)crypto_generichash(digest, sizeof(digest), (const unsigned char *)text,
				 (unsigned long long)n, NULL, 0);
	for (size_t i = 0; i < len; i++)
		out[i] = alphabet[digest[i] % base];
	out[len] = '\0';
}

void kind_aws_id(const char *workspace, const char *name, char out[KIND_AWS_ID_LEN + 1])
{
	memcpy(out, "AKIA", 4);
	kind_digits("id", workspace, name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32, out + 4,
		    KIND_AWS_ID_LEN - 4);
}

void kind_aws_key(const char *workspace, const char *name, char out[KIND_AWS_KEY_LEN + 1])
{
	kind_digits("key", workspace, name,
		    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 64, out,
		    KIND_AWS_KEY_LEN);
}
