/* Ed25519: RFC 8032 section 7.1, every changed bit refused, hex. */
#include "sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *seed, *pub, *msg, *sig;
} vectors[] = {
	{"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	 "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	 "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe2"
	 "4655141438e7a100b"},
	{"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	 "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	 "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302ae"
	 "eb00d291612bb0c00"},
	{"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	 "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	 "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28"
	 "dc027beceea1ec40a"},
};

static void test_vectors(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(vectors); i++) {
		uint8_t seed[SIGN_SEED_LEN], want_pub[SIGN_PUBLIC_LEN], want[SIGN_SIG_LEN], msg[8];
		uint8_t pub[SIGN_PUBLIC_LEN], key[SIGN_KEY_LEN], sig[SIGN_SIG_LEN];
		size_t n = strlen(vectors[i].msg) / 2;

		assert_int_equal(sign_unhex(vectors[i].seed, 64, seed, sizeof(seed)), 0);
		assert_int_equal(sign_unhex(vectors[i].pub, 64, want_pub, sizeof(want_pub)), 0);
		assert_int_equal(sign_unhex(vectors[i].sig, 128, want, sizeof(want)), 0);
		assert_int_equal(sign_unhex(vectors[i].msg, 2 * n, msg, n), 0);
		memcpy(key, seed, sizeof(seed));
		memcpy(key + sizeof(seed), want_pub, sizeof(want_pub));
		sign_public(key, pub);
		assert_memory_equal(pub, want_pub, sizeof(pub));
		assert_int_equal(sign_make(key, msg, n, sig), 0);
		assert_memory_equal(sig, want, sizeof(sig));
		assert_int_equal(sign_verify(pub, msg, n, sig), 0);
	}
}

static void test_changed(void **state)
{
	uint8_t pub[SIGN_PUBLIC_LEN], other[SIGN_PUBLIC_LEN], key[SIGN_KEY_LEN], key2[SIGN_KEY_LEN],
		sig[SIGN_SIG_LEN];
	char doc[] = "{\"format\":1}\n";
	size_t len = sizeof(doc) - 1, i;

	(void)state;
	assert_int_equal(sign_start(), 0);
	assert_int_equal(sign_keypair(pub, key), 0);
	assert_int_equal(sign_keypair(other, key2), 0);
	assert_memory_not_equal(key, key2, sizeof(key));
	assert_int_equal(sign_make(key, doc, len, sig), 0);
	assert_int_equal(sign_verify(pub, doc, len, sig), 0);
	assert_int_equal(sign_verify(other, doc, len, sig), -EBADMSG);
	for (i = 0; i < len; i++)
		assert_int_equal(sign_verify(pub, doc, i, sig), -EBADMSG);
	assert_int_equal(sign_verify(pub, doc, len + 1, sig), -EBADMSG); /* with the NUL */
	for (i = 0; i < 8 * len; i++) {
		doc[i / 8] = (char)(doc[i / 8] ^ 1 << i % 8);
		assert_int_equal(sign_verify(pub, doc, len, sig), -EBADMSG);
		doc[i / 8] = (char)(doc[i / 8] ^ 1 << i % 8);
	}
	for (i = 0; i < 8 * sizeof(sig); i++) {
		sig[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(sign_verify(pub, doc, len, sig), -EBADMSG);
		sig[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	for (i = 0; i < 8 * sizeof(pub); i++) {
		pub[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(sign_verify(pub, doc, len, sig), -EBADMSG);
		pub[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	memset(pub, 0, sizeof(pub)); /* a point of small order */
	memset(sig, 0, sizeof(sig));
	assert_int_equal(sign_verify(pub, doc, len, sig), -EBADMSG);
}

static void test_hex(void **state)
{
	static const char *const bad[] = {"",     "0",     "000",  "00000", "000g", "00 0",
					  "0x00", "00\n0", "-000", "+000",  "@000"};
	uint8_t out[2] = {7, 7};
	char text[5];
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(sign_unhex(bad[i], strlen(bad[i]), out, 2), -EINVAL);
		assert_int_equal(out[0], 7);
	}
	assert_int_equal(sign_unhex("a0Fe", 4, out, 2), 0);
	assert_int_equal(out[0], 0xa0);
	assert_int_equal(out[1], 0xfe);
	sign_hex(out, 2, text);
	assert_string_equal(text, "a0fe");
	assert_int_equal(sign_unhex("", 0, out, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_hex),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
