/* The certificate authority: what OpenSSL, as a client has it, says of its leaves; and what is not minted. */
#include "ca.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define NOW 1795000000LL /* 2026-11 */
#define DAY 86400LL

static struct ca *ca;
static struct ca_spki *spki;
static EVP_PKEY *leaf_key;

static size_t spki_der(EVP_PKEY *k, uint8_t out[512])
{
	uint8_t *at = out;
	int n = i2d_PUBKEY(k, &at);

	assert_true(n > 0);
	return (size_t)n;
}

static X509 *parse(const uint8_t *der, size_t len)
{
	const uint8_t *at = der;
	X509 *x = d2i_X509(NULL, &at, (long)len);

	assert_non_null(x);
	assert_ptr_equal(at, der + len);
	return x;
}

static X509 *root_of(const struct ca *c)
{
	size_t len;
	const uint8_t *der = ca_cert(c, &len);

	return parse(der, len);
}

static X509 *mint(const char *host, int64_t now)
{
	uint8_t der[RPC_LEAF_MAX];
	size_t len = 0;

	assert_int_equal(ca_mint(ca, spki, host, now, der, &len), 0);
	return parse(der, len);
}

/* As a TLS client does: chain, purpose, time, name. */
static int client_says(X509 *root, X509 *leaf, X509 *between, const char *name, const char *ip,
		       int64_t at)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509_VERIFY_PARAM *param;
	int rc;

	assert_int_equal(X509_STORE_add_cert(store, root), 1);
	if (between)
		assert_true(sk_X509_push(chain, between) > 0);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, chain), 1);
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_time(param, (time_t)at);
	X509_VERIFY_PARAM_set_flags(param,
				    X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
	assert_int_equal(X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER), 1);
	if (name)
		assert_int_equal(X509_VERIFY_PARAM_set1_host(param, name, 0), 1);
	if (ip)
		assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(param, ip), 1);
	rc = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	sk_X509_free(chain);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return rc;
}

static void test_chain(void **state)
{
	X509 *root = root_of(ca), *leaf = mint("api.stripe.com", NOW);

	(void)state;
	assert_int_equal(X509_verify(leaf, X509_get0_pubkey(root)), 1);
	assert_int_equal(X509_verify(root, X509_get0_pubkey(root)), 1);
	assert_int_equal(client_says(root, leaf, NULL, "api.stripe.com", NULL, NOW), X509_V_OK);
	assert_int_equal(client_says(root, leaf, NULL, "api.stripe.com", NULL, NOW - 3500),
			 X509_V_OK);
	assert_int_equal(client_says(root, leaf, NULL, "stripe.com", NULL, NOW),
			 X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(client_says(root, leaf, NULL, "x.api.stripe.com", NULL, NOW),
			 X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(client_says(root, leaf, NULL, "api.stripe.com", NULL, NOW + 7 * DAY),
			 X509_V_ERR_CERT_HAS_EXPIRED);
	assert_int_equal(client_says(root, leaf, NULL, "api.stripe.com", NULL, NOW - 3700),
			 X509_V_ERR_CERT_NOT_YET_VALID);
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(leaf), leaf_key), 1);
	X509_free(leaf);
	X509_free(root);
}

static void test_profile(void **state)
{
	X509 *root = root_of(ca), *leaf = mint("api.stripe.com", NOW),
	     *second = mint("api.stripe.com", NOW);
	const ASN1_TIME *begins = X509_get0_notBefore(leaf), *ends = X509_get0_notAfter(leaf);
	const ASN1_OCTET_STRING *id = X509_get0_subject_key_id(root);
	char name[128];
	int days = 0, secs = 0, critical;
	EXTENDED_KEY_USAGE *eku;

	(void)state;
	assert_int_equal(X509_get_version(leaf), X509_VERSION_3);
	assert_true(X509_get_extension_flags(root) & EXFLAG_CA);
	assert_int_equal(X509_get_pathlen(root), 0);
	assert_int_equal(X509_get_key_usage(root), KU_KEY_CERT_SIGN);
	assert_false(X509_get_extension_flags(leaf) & EXFLAG_CA);
	assert_int_equal(X509_get_key_usage(leaf), KU_DIGITAL_SIGNATURE);
	assert_int_equal(X509_get_extended_key_usage(leaf), XKU_SSL_SERVER);
	eku = X509_get_ext_d2i(leaf, NID_ext_key_usage, &critical, NULL);
	assert_int_equal(sk_ASN1_OBJECT_num(eku), 1);
	EXTENDED_KEY_USAGE_free(eku);
	assert_non_null(id);
	assert_int_equal(ASN1_OCTET_STRING_cmp(id, X509_get0_authority_key_id(leaf)), 0);
	assert_non_null(X509_get0_subject_key_id(leaf));
	assert_int_not_equal(ASN1_OCTET_STRING_cmp(id, X509_get0_subject_key_id(leaf)), 0);
	assert_int_equal(X509_get_signature_nid(leaf), NID_ecdsa_with_SHA256);
	assert_int_equal(ASN1_TIME_diff(&days, &secs, begins, ends), 1);
	assert_true(days == 7 && secs == 0);
	assert_int_equal(
		ASN1_TIME_diff(&days, &secs, X509_get0_notBefore(root), X509_get0_notAfter(root)),
		1);
	assert_true(days == 3650);
	assert_true(ASN1_STRING_length(X509_get0_serialNumber(leaf)) >= 15);
	assert_int_not_equal(
		ASN1_INTEGER_cmp(X509_get0_serialNumber(leaf), X509_get0_serialNumber(second)), 0);
	assert_false(ASN1_STRING_type(X509_get0_serialNumber(leaf)) & V_ASN1_NEG);
	assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(root), NID_commonName, name,
					      sizeof(name)) > 0);
	assert_int_equal(strncmp(name, "agentsecrets local CA ", 22), 0);
	assert_int_equal(strlen(name), 22 + 16);
	X509_free(root);
	X509_free(leaf);
	X509_free(second);
}

static void test_addresses(void **state)
{
	static const char *const good[] = {"192.0.2.7", "2001:db8::1", "::1", "10.0.0.1"};
	X509 *root = root_of(ca);
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		X509 *leaf = mint(good[i], NOW);

		assert_int_equal(client_says(root, leaf, NULL, NULL, good[i], NOW), X509_V_OK);
		assert_int_equal(client_says(root, leaf, NULL, NULL, "192.0.2.99", NOW),
				 X509_V_ERR_IP_ADDRESS_MISMATCH);
		X509_free(leaf);
	}
	X509_free(root);
}

/* Nothing of the leaf before is left in the next. */
static void test_one_name(void **state)
{
	static const char *const hosts[] = {"a.example.com", "192.0.2.1", "b.example.com", "::1",
					    "a.example.com"};
	X509 *root = root_of(ca);
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(hosts); i++) {
		X509 *leaf = mint(hosts[i], NOW);
		GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);

		assert_non_null(names); /* NULL also when there are two such extensions */
		assert_int_equal(sk_GENERAL_NAME_num(names), 1);
		assert_int_equal(X509_get_ext_count(leaf), 6);
		assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(leaf)), 1);
		if (i != 0 && i != 4)
			assert_int_not_equal(
				client_says(root, leaf, NULL, "a.example.com", NULL, NOW),
				X509_V_OK);
		GENERAL_NAMES_free(names);
		X509_free(leaf);
	}
	X509_free(root);
}

static void test_long_name(void **state)
{
	char host[RPC_HOST_MAX] = "";
	X509 *root = root_of(ca), *leaf;
	GENERAL_NAMES *names;
	int critical = -1;

	(void)state;
	while (strlen(host) + 64 + 4 <= 253) /* labels of 63 */
		strcat(host, "a23456789012345678901234567890123456789012345678901234567890123.");
	strcat(host, "com");
	leaf = mint(host, NOW);
	assert_int_equal(client_says(root, leaf, NULL, host, NULL, NOW), X509_V_OK);
	assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(leaf)), 0);
	names = X509_get_ext_d2i(leaf, NID_subject_alt_name, &critical, NULL);
	assert_int_equal(critical, 1);
	GENERAL_NAMES_free(names);
	X509_free(leaf);
	X509_free(root);
}

static void test_bad_hosts(void **state)
{
	static const char *const bad[] = {
		"",
		".",
		"com",
		"localhost",
		"*.example.com",
		"API.example.com",
		"example.com.",
		"a..b",
		"a b.com",
		"-a.com",
		"a-.com",
		"a_b\n.com",
		"ex\xc3\xa4mple.com",
		"1.2.3",
		"1.2.3.4.5",
		"01.2.3.4",
		"[::1]",
		"::0001",
		"::ffff:1.2.3.4",
		"fe80::1%eth0",
		"a.com/",
		"a.com:443",
		"a.com,b.com",
		"DNS:a.com",
		"https://a.com",
	};
	uint8_t der[RPC_LEAF_MAX];
	size_t len = 77, i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (ca_mint(ca, spki, bad[i], NOW, der, &len) != -EINVAL)
			fail_msg("minted for '%s'", bad[i]);
	assert_int_equal(len, 77);
}

static void test_ends(void **state)
{
	uint8_t der[RPC_LEAF_MAX];
	size_t len;
	int64_t end = NOW + CA_YEARS * 365 * DAY;
	X509 *root = root_of(ca), *leaf;

	(void)state;
	assert_int_equal(ca_mint(ca, spki, "a.example.com", end, der, &len), -EKEYEXPIRED);
	assert_int_equal(ca_mint(ca, spki, "a.example.com", end + DAY, der, &len), -EKEYEXPIRED);
	assert_int_equal(ca_mint(ca, spki, "a.example.com", NOW - 2 * 3600, der, &len),
			 -EKEYEXPIRED);
	leaf = mint("a.example.com", end - DAY); /* not longer than the CA itself */
	assert_int_equal(client_says(root, leaf, NULL, "a.example.com", NULL, end - 2), X509_V_OK);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(leaf), X509_get0_notAfter(root)), 0);
	X509_free(leaf);
	X509_free(root);
}

/* A leaf's key signs nothing that a client takes; another CA's leaves are not ours. */
static void test_not_an_authority(void **state)
{
	struct ca *other = NULL;
	uint8_t der[RPC_LEAF_MAX];
	size_t len;
	X509 *root = root_of(ca), *leaf = mint("a.example.com", NOW), *forged = X509_dup(leaf),
	     *root2;

	(void)state;
	assert_int_equal(X509_set_issuer_name(forged, X509_get_subject_name(leaf)), 1);
	assert_true(X509_sign(forged, leaf_key, EVP_sha256()) > 0);
	assert_int_not_equal(client_says(root, forged, leaf, "a.example.com", NULL, NOW),
			     X509_V_OK);
	assert_int_equal(ca_new(NOW, &other, NULL), 0);
	root2 = root_of(other);
	assert_int_not_equal(
		X509_NAME_cmp(X509_get_subject_name(root), X509_get_subject_name(root2)), 0);
	assert_int_not_equal(client_says(root2, leaf, NULL, "a.example.com", NULL, NOW), X509_V_OK);
	X509_free(leaf); /* the same leaf key under the other CA, then under ours again */
	assert_int_equal(ca_mint(other, spki, "b.example.com", NOW, der, &len), 0);
	leaf = parse(der, len);
	assert_int_equal(client_says(root2, leaf, NULL, "b.example.com", NULL, NOW), X509_V_OK);
	assert_int_not_equal(client_says(root, leaf, NULL, "b.example.com", NULL, NOW), X509_V_OK);
	X509_free(leaf);
	leaf = mint("c.example.com", NOW);
	assert_int_equal(client_says(root, leaf, NULL, "c.example.com", NULL, NOW), X509_V_OK);
	ca_free(other);
	X509_free(root);
	X509_free(root2);
	X509_free(leaf);
	X509_free(forged);
}

static void test_saved(void **state)
{
	struct secret *s = NULL, *s2 = NULL;
	struct ca *again = NULL, *other = NULL;
	const uint8_t *a, *b;
	size_t a_len, b_len, i, key_len;
	uint8_t *mixed, der[RPC_LEAF_MAX];
	X509 *root = root_of(ca), *leaf;
	struct err e;

	(void)state;
	assert_int_equal(ca_save(ca, &s, NULL), 0);
	assert_int_equal(ca_load(secret_view(s), secret_len(s), &again, NULL), 0);
	a = ca_cert(ca, &a_len);
	b = ca_cert(again, &b_len);
	assert_int_equal(a_len, b_len);
	assert_memory_equal(a, b, a_len);
	assert_int_equal(ca_mint(again, spki, "a.example.com", NOW, der, &b_len), 0);
	leaf = parse(der, b_len);
	assert_int_equal(client_says(root, leaf, NULL, "a.example.com", NULL, NOW), X509_V_OK);
	again = ca_free(again);
	for (i = 0; i < secret_len(s); i++)
		assert_int_equal(ca_load(secret_view(s), i, &again, &e), -EBADMSG);
	/* the key of one with the certificate of another */
	assert_int_equal(ca_new(NOW, &other, NULL), 0);
	assert_int_equal(ca_save(other, &s2, NULL), 0);
	key_len = 2 + (size_t)(secret_view(s)[0] << 8 | secret_view(s)[1]);
	assert_int_equal(key_len, 2 + (secret_view(s2)[0] << 8 | secret_view(s2)[1]));
	mixed = malloc(secret_len(s2));
	memcpy(mixed, secret_view(s2), secret_len(s2));
	memcpy(mixed, secret_view(s), key_len);
	assert_int_equal(ca_load(mixed, secret_len(s2), &again, &e), -EBADMSG);
	assert_null(again);
	free(mixed);
	secret_free(s);
	secret_free(s2);
	ca_free(other);
	X509_free(root);
	X509_free(leaf);
}

static void test_spki(void **state)
{
	EVP_PKEY *p384 = EVP_EC_gen("P-384"), *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	uint8_t der[512], bad[512];
	size_t len = spki_der(leaf_key, der), n, i;
	struct ca_spki *k = NULL;

	(void)state;
	assert_int_equal(len, 91);
	for (i = 0; i < len; i++)
		assert_int_equal(ca_spki_new(der, i, &k), -EINVAL);
	for (i = 0; i < 8 * len;
	     i++) { /* another point, or no point: never a crash, never another form */
		memcpy(bad, der, len);
		bad[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(ca_spki_new(bad, len, &k), -EINVAL);
	}
	memcpy(bad, der, len);
	bad[len] = 0;
	assert_int_equal(ca_spki_new(bad, len + 1, &k), -EINVAL);
	n = spki_der(p384, bad);
	assert_int_equal(ca_spki_new(bad, n, &k), -EINVAL);
	n = spki_der(ed, bad);
	assert_int_equal(ca_spki_new(bad, n, &k), -EINVAL);
	assert_null(k);
	EVP_PKEY_free(p384);
	EVP_PKEY_free(ed);
}

static void test_speed(void **state)
{
	uint8_t der[RPC_LEAF_MAX];
	clock_t start = clock();
	char host[64];
	size_t len;
	int i;

	(void)state;
	for (i = 0; i < 500; i++) {
		(void)snprintf(host, sizeof(host), "h%d.example.com", i);
		assert_int_equal(ca_mint(ca, spki, host, NOW, der, &len), 0);
	}
	print_message("%.0f us CPU per mint\n",
		      (double)(clock() - start) / CLOCKS_PER_SEC * 1e6 / 500);
}

static int setup(void **state)
{
	struct err e = {0};
	uint8_t der[512];
	size_t len;

	(void)state;
	if (ca_start(&e) < 0 || ca_new(NOW, &ca, &e) < 0)
		return -1;
	leaf_key = EVP_EC_gen("P-256");
	len = spki_der(leaf_key, der);
	return ca_spki_new(der, len, &spki);
}

static int teardown(void **state)
{
	(void)state;
	ca_free(ca);
	ca_spki_free(spki);
	EVP_PKEY_free(leaf_key);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_profile),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_bad_hosts),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_not_an_authority),
		cmocka_unit_test(test_one_name),
		cmocka_unit_test(test_saved),
		cmocka_unit_test(test_spki),
		cmocka_unit_test(test_speed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
