/* run_env.c: see run_env.h.
 *
 * All strings of the result are copies, so that it has one owner. Duplicates in `from` cannot survive:
 * everything that we set is left out of the copy first.
 */
#include "run_env.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define JAVA_OPTIONS "JAVA_TOOL_OPTIONS"

/* Variables that name a file of CAs in place of the system's. */
static const char *const bundle_names[] = {
	"SSL_CERT_FILE",	/* OpenSSL, Go, Rust, Python's ssl and httpx, Ruby, PHP */
	"CURL_CA_BUNDLE",	/* curl; Python requests */
	"REQUESTS_CA_BUNDLE",	/* Python requests */
	"GIT_SSL_CAINFO",
	"AWS_CA_BUNDLE",	/* AWS CLI and SDKs */
	"PIP_CERT",
	"CARGO_HTTP_CAINFO",
	"DENO_CERT",
	"NIX_SSL_CERT_FILE",
	"PERL_LWP_SSL_CA_FILE",
	"HTTPLIB2_CA_CERTS",
	"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", /* gRPC core: C++, Python, Ruby */
	"CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", /* gcloud */
};

static const char *const proxy_names[] = {"http_proxy", "https_proxy", "all_proxy", "ftp_proxy"};

struct build {
	char **env;
	size_t count, cap;
	bool failed;
};

static void append(struct build *b, char *entry)
{
	if (!entry || b->count + 1 >= b->cap) {
		b->failed = true;
		free(entry);
		return;
	}
	b->env[b->count++] = entry;
	b->env[b->count] = NULL;
}

static void append_pair(struct build *b, const char *name, const char *before, const char *value)
{
	char *entry = NULL;

	append(b, asprintf(&entry, "%s=%s%s", name, before, value) < 0 ? NULL : entry);
}

static bool named(const char *entry, const char *name)
{
	size_t len = strlen(name);

	return !strncmp(entry, name, len) && entry[len] == '=';
}

static bool is_proxy(const char *entry)
{
	for (size_t i = 0; i < ARRAY_SIZE(proxy_names); i++) {
		size_t len = strlen(proxy_names[i]);

		if (!strncasecmp(entry, proxy_names[i], len) && entry[len] == '=')
			return true;
	}
	return false;
}

static bool is_ours(const struct run_env *in, const char *entry)
{
	for (size_t i = 0; i < ARRAY_SIZE(bundle_names); i++)
		if (named(entry, bundle_names[i]))
			return true;
	for (size_t i = 0; i < in->secret_count; i++)
		if (named(entry, in->secrets[i]))
			return true;
	for (size_t i = 0; i < in->pair_count; i++)
		if (!strncmp(entry, in->pairs[i], strcspn(in->pairs[i], "=") + 1))
			return true;
	return named(entry, "NODE_EXTRA_CA_CERTS") || (in->java && named(entry, JAVA_OPTIONS));
}

static void copy_rest(struct build *b, const struct run_env *in, char *const *from,
		      void (*told)(const char *, const char *))
{
	for (size_t i = 0; from[i]; i++) {
		char name[64];

		if (is_proxy(from[i])) {
			(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(from[i], "="), from[i]);
			if (told)
				told("left out", name);
		} else if (!is_ours(in, from[i])) {
			append(b, strdup(from[i]));
		}
	}
}

static void set_java(struct build *b, const struct run_env *in, char *const *from)
{
	const char *before = "";
	char *options = NULL;

	for (size_t i = 0; from[i]; i++)
		if (named(from[i], JAVA_OPTIONS))
			before = from[i] + sizeof(JAVA_OPTIONS);
	if (asprintf(&options, "%s-Djavax.net.ssl.trustStore=%s -Djavax.net.ssl.trustStorePassword=changeit",
		     before[0] ? " " : "", in->jks) < 0)
		options = NULL;
	if (options)
		append_pair(b, JAVA_OPTIONS, before, options);
	else
		b->failed = true;
	free(options);
}

int run_env_build(const struct run_env *in, char *const *from, void (*told)(const char *what, const char *name),
		  char ***ret, struct err *e)
{
	struct build b = {.cap = ARRAY_SIZE(bundle_names) + in->secret_count + in->pair_count + 4};

	for (size_t i = 0; from[i]; i++)
		b.cap++;
	b.env = calloc(b.cap, sizeof(*b.env));
	if (!b.env)
		return err_set(e, -ENOMEM, "out of memory");
	copy_rest(&b, in, from, told);
	for (size_t i = 0; i < ARRAY_SIZE(bundle_names); i++)
		append_pair(&b, bundle_names[i], "", in->bundle);
	append_pair(&b, "NODE_EXTRA_CA_CERTS", "", in->ca);
	if (in->java)
		set_java(&b, in, from);
	for (size_t i = 0; i < in->secret_count; i++) {
		append_pair(&b, in->secrets[i], "agentsecrets://", in->secrets[i]);
		if (told)
			told("set", in->secrets[i]);
	}
	for (size_t i = 0; i < in->pair_count; i++) {
		char name[256];

		append(&b, strdup(in->pairs[i]));
		(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(in->pairs[i], "="), in->pairs[i]);
		if (told)
			told("set", name);
	}
	if (b.failed) {
		run_env_free(b.env);
		return err_set(e, -ENOMEM, "out of memory");
	}
	*ret = b.env;
	return 0;
}

void run_env_free(char **env)
{
	for (size_t i = 0; env && env[i]; i++)
		free(env[i]);
	free(env);
}
