/* jwt.c: see jwt.h. An ES256 signature is r and s, 32 bytes each; OpenSSL gives DER. */
#include "jwt.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>

OWN_CLEANUP(EVP_PKEY, EVP_PKEY, EVP_PKEY_free)
OWN_CLEANUP(EVP_MD_CTX, EVP_MD_CTX, EVP_MD_CTX_free)
OWN_CLEANUP(ECDSA_SIG, ECDSA_SIG, ECDSA_SIG_free)

/* No passphrase is ever asked for. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)ctx;
	return -1;
}

static EVP_PKEY *key_of(const char *pem, size_t len)
{
	BIO *b = len < 65536 ? BIO_new_mem_buf(pem, (int)len) : NULL;
	EVP_PKEY *k = b ? PEM_read_bio_PrivateKey(b, NULL, no_passphrase, NULL) : NULL;

	BIO_free(b);
	ERR_clear_error();
	return k;
}

static bool key_p256(const EVP_PKEY *k)
{
	char name[32] = "";
	size_t n;

	return EVP_PKEY_get_base_id(k) == EVP_PKEY_EC &&
	       EVP_PKEY_get_group_name(k, name, sizeof(name), &n) == 1 &&
	       strcmp(name, "prime256v1") == 0;
}

static bool key_rsa(const EVP_PKEY *k)
{
	return EVP_PKEY_get_base_id(k) == EVP_PKEY_RSA && EVP_PKEY_get_bits(k) >= 2048;
}

int jwt_key_check(const char *pem, size_t len, struct err *e)
{
	auto_(EVP_PKEY) EVP_PKEY *k = key_of(pem, len);

	if (!k)
		return err_set(e, -EINVAL, "the private key is not PEM, or it has a passphrase");
	return key_rsa(k) || key_p256(k)
		       ? 0
		       : err_set(e, -EINVAL,
				 "the private key must be RSA of 2048 bits or more, or P-256");
}

void jwt_base64(const void *p, size_t len, struct wr *w)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *s = p;

	for (size_t i = 0; i < len; i += 3) {
		size_t n = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)s[i] << 16 | (n > 1 ? (uint32_t)s[i + 1] << 8 : 0) |
			     (n > 2 ? s[i + 2] : 0u);

		for (size_t j = 0; j <= n; j++)
			wr_u8(w, (uint8_t)digits[v >> (18 - 6 * j) & 63]);
	}
}

static int der_to_raw(const uint8_t *der, size_t len, uint8_t raw[64])
{
	auto_(ECDSA_SIG) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

	return sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) == 32 &&
			       BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) == 32
		       ? 0
		       : -EIO;
}

static int sign_with(EVP_PKEY *k, const void *p, size_t len, struct wr *w)
{
	auto_(EVP_MD_CTX) EVP_MD_CTX *c = EVP_MD_CTX_new();
	uint8_t sig[1024], raw[64];
	size_t n = sizeof(sig);

	if (!c || EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, k) != 1 ||
	    EVP_DigestSign(c, sig, &n, p, len) != 1) {
		ERR_clear_error();
		return -EIO;
	}
	if (key_rsa(k)) {
		jwt_base64(sig, n, w);
		return 0;
	}
	if (der_to_raw(sig, n, raw) < 0)
		return -EIO;
	jwt_base64(raw, sizeof(raw), w);
	return 0;
}

int jwt_make(const char *pem, size_t len, const char *header, const char *claims, struct wr *w)
{
	auto_(EVP_PKEY) EVP_PKEY *k = key_of(pem, len);
	char text[8192];
	size_t start = w->len;
	int n, rc;

	if (!k || !(key_rsa(k) || key_p256(k)))
		return -EINVAL;
	n = snprintf(text, sizeof(text), "{\"alg\":\"%s\",\"typ\":\"JWT\"%s%s}",
		     key_rsa(k) ? "RS256" : "ES256", header[0] ? "," : "", header);
	if (n < 0 || (size_t)n >= sizeof(text))
		return -EINVAL;
	jwt_base64(text, (size_t)n, w);
	wr_u8(w, '.');
	n = snprintf(text, sizeof(text), "{%s}", claims);
	if (n < 0 || (size_t)n >= sizeof(text))
		return -EINVAL;
	jwt_base64(text, (size_t)n, w);
	if (w->full)
		return -EINVAL;
	n = (int)(w->len - start);
	wr_u8(w, '.');
	rc = sign_with(k, w->p + start, (size_t)n, w);
	return rc < 0 ? rc : w->full ? -EINVAL : 0;
}
