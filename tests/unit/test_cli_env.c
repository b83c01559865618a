/* run_env: what a guarded command's environment holds, and what it holds no more. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "run_env.h"

#include <string.h>

static const char *const names[] = {"STRIPE_KEY", "OPENAI_API_KEY"};
static struct run_env in = {"/t/ca.pem", "/t/bundle.pem", "/t/cacerts.jks", names, 2, true, NULL, 0};

static const char *value(char **env, const char *name)
{
	const char *found = NULL;
	size_t len = strlen(name);

	for (size_t i = 0; env[i]; i++)
		if (!strncmp(env[i], name, len) && env[i][len] == '=') {
			assert_null(found); /* once only */
			found = env[i] + len + 1;
		}
	return found;
}

static size_t told_count;

static void told(const char *what, const char *name)
{
	assert_true(what[0] && name[0]);
	assert_null(strchr(name, '='));
	told_count++;
}

static void test_build(void **s)
{
	static char *from[] = {"HOME=/root", "STRIPE_KEY=sk_live_real", "STRIPE_KEY=sk_live_again", "STRIPE_KEY_2=x",
			       "SSL_CERT_FILE=/other", "HTTPS_PROXY=http://127.0.0.1:3128", "http_proxy=x",
			       "All_Proxy=y", "no_proxy=z", "HTTP_PROXY_USER=u", "NODE_EXTRA_CA_CERTS=/n",
			       "JAVA_TOOL_OPTIONS=-Xmx1g", "odd", "=odd", NULL};
	char **env = NULL;
	struct err e;

	(void)s;
	assert_int_equal(run_env_build(&in, from, told, &env, &e), 0);
	assert_string_equal(value(env, "HOME"), "/root");
	assert_string_equal(value(env, "STRIPE_KEY"), "agentsecrets://STRIPE_KEY");
	assert_string_equal(value(env, "OPENAI_API_KEY"), "agentsecrets://OPENAI_API_KEY");
	assert_string_equal(value(env, "STRIPE_KEY_2"), "x");
	assert_string_equal(value(env, "SSL_CERT_FILE"), "/t/bundle.pem");
	assert_string_equal(value(env, "REQUESTS_CA_BUNDLE"), "/t/bundle.pem");
	assert_string_equal(value(env, "NODE_EXTRA_CA_CERTS"), "/t/ca.pem");
	assert_string_equal(value(env, "JAVA_TOOL_OPTIONS"), "-Xmx1g -Djavax.net.ssl.trustStore=/t/cacerts.jks "
							    "-Djavax.net.ssl.trustStorePassword=changeit");
	assert_null(value(env, "HTTPS_PROXY"));
	assert_null(value(env, "http_proxy"));
	assert_null(value(env, "All_Proxy"));
	assert_string_equal(value(env, "no_proxy"), "z");
	assert_string_equal(value(env, "HTTP_PROXY_USER"), "u");
	for (size_t i = 0; env[i]; i++)
		assert_null(strstr(env[i], "sk_live"));
	assert_int_equal(told_count, 3 + 2);
	run_env_free(env);
}

static void test_no_java(void **s)
{
	static char *from[] = {"JAVA_TOOL_OPTIONS=-Xmx1g", NULL}, *none[] = {NULL};
	struct run_env plain = {"/c", "/b", "/j", NULL, 0, false, NULL, 0};
	char **env = NULL;
	struct err e;

	(void)s;
	assert_int_equal(run_env_build(&plain, from, NULL, &env, &e), 0);
	assert_string_equal(value(env, "JAVA_TOOL_OPTIONS"), "-Xmx1g");
	run_env_free(env);
	plain.java = true;
	assert_int_equal(run_env_build(&plain, none, NULL, &env, &e), 0);
	assert_string_equal(value(env, "JAVA_TOOL_OPTIONS"),
			    "-Djavax.net.ssl.trustStore=/j -Djavax.net.ssl.trustStorePassword=changeit");
	assert_string_equal(value(env, "CURL_CA_BUNDLE"), "/b");
	run_env_free(env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_build), cmocka_unit_test(test_no_java)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
