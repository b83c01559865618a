/* What a value of each kind may look like when it is set, and what comes out of it; the tokens that keys sign. */
#include "jwt.h"
#include "parts.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int opened(enum kind k, const char *text, struct parts *p, struct err *e)
{
	struct secret *s = NULL;
	int rc;

	assert_int_equal(secret_of(text, strlen(text), &s, e), 0);
	e->text[0] = 0;
	rc = parts_open(k, s, p, e);
	secret_free(s);
	return rc;
}

static void good_values(void **state)
{
	struct parts p = {0};
	struct err e = {0};
	(void)state;

	assert_int_equal(opened(KIND_AWS,
				"{\"secret_access_key\":\"s/+=\",\n \"access_key_id\":\"AKIA\"}\n",
				&p, &e),
			 0);
	assert_memory_equal(p.at[0].p, "AKIA", 4);
	assert_memory_equal(p.at[1].p, "s/+=", 4);
	assert_int_equal(p.at[1].len, 4);
	assert_null(p.at[2].p);
	parts_done(&p);
	assert_int_equal(opened(KIND_HMAC, "whsec_x{}\n", &p, &e), 0);
	assert_int_equal(p.at[0].len, 9);
	parts_done(&p);
	assert_int_equal(opened(KIND_HMAC, "{\"key\":\"abc\"}", &p, &e), 0);
	assert_int_equal(p.at[0].len, 3);
	parts_done(&p);
	assert_int_equal(opened(KIND_OAUTH2_REFRESH,
				"{\"client_id\":\"c\",\"refresh_token\":\"r\"}", &p, &e),
			 0);
	assert_null(p.at[1].p);
	assert_memory_equal(p.at[2].p, "r", 1);
	parts_done(&p);
}

/* Each is refused with a sentence that holds nothing of the value. */
static void bad_values(void **state)
{
	static const struct {
		enum kind kind;
		const char *text, *says;
	} bad[] = {
		{KIND_AWS, "SENTINEL", "JSON object"},
		{KIND_AWS, "[\"SENTINEL\"]", "JSON object"},
		{KIND_AWS, "{\"access_key_id\":\"SENTINEL\",}", "JSON object"},
		{KIND_AWS, "{\"access_key_id\":\"SENTINEL\"}", "needs secret_access_key"},
		{KIND_AWS, "{\"access_key_id\":\"a\",\"secret_access_key\":7}", "must be a string"},
		{KIND_AWS, "{\"access_key_id\":\"a\",\"secret_access_key\":\"\"}", "1 to"},
		{KIND_AWS, "{\"access_key_id\":\"a b\",\"secret_access_key\":\"SENTINEL\"}",
		 "is none"},
		{KIND_AWS, "{\"access_key_id\":\"a\",\"secret_access_key\":\"SENTINEL\\nx\"}",
		 "one line"},
		{KIND_AWS,
		 "{\"access_key_id\":\"a\",\"secret_access_key\":\"b\",\"SENTINEL\":\"c\"}",
		 "does not have"},
		{KIND_AWS,
		 "{\"access_key_id\":\"a\",\"access_key_id\":\"b\",\"secret_access_key\":\"c\"}",
		 "JSON object"},
		{KIND_OAUTH2_CLIENT, "{\"client_id\":{\"SENTINEL\":1}}", "JSON object"},
		{KIND_JWT_BEARER, "SENTINEL", "not PEM"},
		{KIND_GITHUB_APP,
		 "-----BEGIN PRIVATE KEY-----\nSENTINEL\n-----END PRIVATE KEY-----\n", "not PEM"},
		{KIND_HMAC, "two\nlines SENTINEL", "one line"},
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct parts p = {0};
		struct err e = {0};

		if (opened(bad[i].kind, bad[i].text, &p, &e) >= 0 || !strstr(e.text, bad[i].says) ||
		    strstr(e.text, "SENTINEL") || p.mem)
			fail_msg("%s: %s", bad[i].text, e.text);
	}
}

static char *pem_of(EVP_PKEY *k, const char *pass)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *p, *copy;
	long n;

	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(b, k, pass ? EVP_aes_256_cbc() : NULL, NULL,
						       0, NULL, (void *)pass),
			 1);
	n = BIO_get_mem_data(b, &p);
	copy = calloc(1, (size_t)n + 1);
	memcpy(copy, p, (size_t)n);
	BIO_free(b);
	return copy;
}

static size_t unbase64(const char *p, size_t len, uint8_t *out)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0, count = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 6 | (uint32_t)(strchr(digits, p[i]) - digits);
		count += 6;
		if (count >= 8)
			out[n++] = (uint8_t)(bits >> (count -= 8));
	}
	return n;
}

/* The signature is checked with the public half, by OpenSSL. */
static void verify(EVP_PKEY *k, const char *alg)
{
	char *pem = pem_of(k, NULL), *secret = pem_of(k, "secret"), token[4096], want[64];
	struct wr w = wr_of(token, sizeof(token) - 1);
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	uint8_t text[2048], sig[1024];
	const uint8_t *in = sig;
	char *dot1, *dot2;
	struct err e = {0};
	size_t n;
	struct parts p = {0};

	assert_int_equal(opened(KIND_GITHUB_APP, pem, &p, &e), 0);
	assert_int_equal(jwt_make((const char *)p.at[0].p, p.at[0].len, "\"kid\":\"k1\"",
				  "\"iss\":\"app\"", &w),
			 0);
	parts_done(&p);
	assert_int_equal(opened(KIND_GITHUB_APP, secret, &p, &e), -EINVAL);
	token[w.len] = 0;
	dot1 = strchr(token, '.');
	dot2 = strchr(dot1 + 1, '.');
	n = unbase64(token, (size_t)(dot1 - token), text);
	text[n] = 0;
	snprintf(want, sizeof(want), "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"k1\"}", alg);
	assert_string_equal((char *)text, want);
	n = unbase64(dot1 + 1, (size_t)(dot2 - dot1 - 1), text);
	text[n] = 0;
	assert_string_equal((char *)text, "{\"iss\":\"app\"}");
	n = unbase64(dot2 + 1, strlen(dot2 + 1), sig);
	if (alg[0] == 'E') { /* back to DER */
		uint8_t der[80] = {0x30}, *at = der + 2;

		assert_int_equal(n, 64);
		for (int i = 0; i < 2; i++) {
			*at++ = 2;
			*at++ = 33;
			*at++ = 0;
			memcpy(at, sig + 32 * i, 32);
			at += 32;
		}
		/* Not minimal when a number is small: such DER is refused, so numbers with a high bit only. */
		if (!(sig[0] & 0x80) || !(sig[32] & 0x80))
			goto out;
		der[1] = 70;
		n = 72;
		memcpy(sig, der, n);
	}
	assert_int_equal(EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, k), 1);
	assert_int_equal(EVP_DigestVerify(c, in, n, (uint8_t *)token, (size_t)(dot2 - token)), 1);
out:
	EVP_MD_CTX_free(c);
	free(pem);
	free(secret);
}

static void tokens_verify(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048), *ec = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384"),
		 *small = EVP_RSA_gen(1024);
	char *pem = pem_of(p384, NULL), *weak = pem_of(small, NULL);
	struct parts p = {0};
	struct err e = {0};
	(void)state;

	verify(rsa, "RS256");
	for (int i = 0; i < 16; i++)
		verify(ec, "ES256");
	assert_int_equal(opened(KIND_JWT_BEARER, pem, &p, &e), -EINVAL);
	assert_int_equal(opened(KIND_JWT_BEARER, weak, &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "2048"));
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(small);
	free(pem);
	free(weak);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(good_values),
					   cmocka_unit_test(bad_values),
					   cmocka_unit_test(tokens_verify)};

	parts_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
