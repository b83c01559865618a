/* sign.c: see sign.h. libsodium's crypto_sign; its `key` is the RFC 8032 private key with the public key
 * behind it. sodium_init() is called before each use: it is done once and answers at once afterwards.
 */
#include "sign.h"

#include <sodium.h>
#include <string.h>

_Static_assert(SIGN_PUBLIC_LEN == crypto_sign_PUBLICKEYBYTES, "Ed25519");
_Static_assert(SIGN_KEY_LEN == crypto_sign_SECRETKEYBYTES, "Ed25519");
_Static_assert(SIGN_SIG_LEN == crypto_sign_BYTES, "Ed25519");
_Static_assert(SIGN_SEED_LEN == crypto_sign_SEEDBYTES, "Ed25519");

int sign_start(void)
{
	return sodium_init() < 0 ? -EIO : 0;
}

int sign_keypair(uint8_t pub[SIGN_PUBLIC_LEN], uint8_t key[SIGN_KEY_LEN])
{
	if (sodium_init() < 0 || crypto_sign_keypair(pub, key) != 0)
		return -EIO;
	return 0;
}

void sign_public(const uint8_t key[SIGN_KEY_LEN], uint8_t pub[SIGN_PUBLIC_LEN])
{
	memcpy(pub, key + SIGN_SEED_LEN, SIGN_PUBLIC_LEN);
}

int sign_make(const uint8_t key[SIGN_KEY_LEN], const void *doc, size_t len,
	      uint8_t sig[SIGN_SIG_LEN])
{
	if (sodium_init() < 0 || crypto_sign_detached(sig, NULL, doc, len, key) != 0)
		return -EIO;
	return 0;
}

int sign_verify(const uint8_t pub[SIGN_PUBLIC_LEN], const void *doc, size_t len,
		const uint8_t sig[SIGN_SIG_LEN])
{
	if (sodium_init() < 0)
		return -EIO;
	return crypto_sign_verify_detached(sig, doc, len, pub) == 0 ? 0 : -EBADMSG;
}

void sign_hex(const void *p, size_t len, char *out)
{
	(void)sodium_bin2hex(out, 2 * len + 1, p, len);
}

static int sign_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int sign_unhex(const char *text, size_t text_len, uint8_t *out, size_t want)
{
	size_t i;

	if (text_len != 2 * want)
		return -EINVAL;
	for (i = 0; i < text_len; i++)
		if (sign_digit(text[i]) < 0)
			return -EINVAL;
	for (i = 0; i < want; i++)
		out[i] = (uint8_t)(sign_digit(text[2 * i]) << 4 | sign_digit(text[2 * i + 1]));
	return 0;
}
