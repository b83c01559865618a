/* ca.c: see ca.h. OpenSSL's X509, built by hand from parts (the configuration-file syntax of extensions
 * is slow and parses strings). The CA's key, certificate and key identifier stay parsed, and each leaf
 * key keeps a form, a certificate with all that its leaves have in common: a mint fills in serial, times
 * and names, and signs.
 *
 * Nothing from outside is parsed here but a leaf's public key (an uncompressed P-256 point in the one
 * DER form it has) and what ca_save() wrote, which the vault has authenticated.
 */
#include "ca.h"

#include "origin.h"
#include "rd.h"
#include "rules.h"
#include "wr.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <time.h>

#define CA_NAME_PREFIX     "agentsecrets local CA "
#define CA_SERIAL_LEN      16
#define CA_KEYID_LEN       20
#define CA_SECURE_HEAP     (64 * 1024)
#define CA_COMMON_NAME_MAX 64 /* ub-common-name of RFC 5280 */
#define CA_DAY_S           86400

OWN_CLEANUP(X509, X509, X509_free)
OWN_CLEANUP(GENERAL_NAMES, GENERAL_NAMES, GENERAL_NAMES_free)
OWN_CLEANUP(EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free)
OWN_CLEANUP(BASIC_CONSTRAINTS, BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free)
OWN_CLEANUP(ASN1_BIT_STRING, ASN1_BIT_STRING, ASN1_BIT_STRING_free)
OWN_CLEANUP(AUTHORITY_KEYID, AUTHORITY_KEYID, AUTHORITY_KEYID_free)
OWN_CLEANUP(BIGNUM, BIGNUM, BN_free)

struct ca {
	EVP_PKEY *key;
	X509 *cert;
	uint8_t *der;
	size_t der_len;
	uint8_t keyid[CA_KEYID_LEN];
	int64_t begins, ends;
};

struct ca_spki {
	EVP_PKEY *key;
	uint8_t keyid[CA_KEYID_LEN];
	X509 *form;                        /* NULL: not made yet */
	uint8_t form_issuer[CA_KEYID_LEN]; /* whose form it is */
};

/* SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { 04, then X and Y } } */
static const uint8_t ca_spki_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
					 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
					 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
#define CA_SPKI_LEN (sizeof(ca_spki_prefix) + 64)

int ca_start(struct err *e)
{
	auto_(ca) struct ca *trial = NULL;

	/* No openssl.cnf: what the keeper does must not hang on a file of the host. */
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
		return err_set(e, -EIO, "OpenSSL does not start");
	if (!CRYPTO_secure_malloc_initialized() &&
	    CRYPTO_secure_malloc_init(CA_SECURE_HEAP, 32) == 0)
		return err_set(e, -ENOMEM, "cannot make locked memory for private keys");
	tzset();                     /* gmtime_r() reads /etc/localtime once */
	return ca_new(0, &trial, e); /* fetches every algorithm and seeds the generator */
}

/* ---- parts of certificates; true when it went well ---- */

static bool ca_add(X509 *x, int nid, void *value, bool critical)
{
	return X509_add1_ext_i2d(x, nid, value, critical, X509V3_ADD_APPEND) == 1;
}

static bool ca_add_basic(X509 *x, bool is_ca)
{
	auto_(BASIC_CONSTRAINTS) BASIC_CONSTRAINTS *b = BASIC_CONSTRAINTS_new();

	if (!b)
		return false;
	if (is_ca) {
		b->ca = 0xff;
		b->pathlen = ASN1_INTEGER_new();
		if (!b->pathlen || ASN1_INTEGER_set(b->pathlen, 0) != 1)
			return false;
	}
	return ca_add(x, NID_basic_constraints, b, true);
}

/* bit: 0 digitalSignature, 5 keyCertSign */
static bool ca_add_usage(X509 *x, int bit)
{
	auto_(ASN1_BIT_STRING) ASN1_BIT_STRING *b = ASN1_BIT_STRING_new();

	return b && ASN1_BIT_STRING_set_bit(b, bit, 1) == 1 && ca_add(x, NID_key_usage, b, true);
}

static bool ca_add_server_auth(X509 *x)
{
	auto_(EXTENDED_KEY_USAGE) EXTENDED_KEY_USAGE *u = EXTENDED_KEY_USAGE_new();

	return u && sk_ASN1_OBJECT_push(u, OBJ_nid2obj(NID_server_auth)) > 0 &&
	       ca_add(x, NID_ext_key_usage, u, false);
}

static bool ca_add_keyids(X509 *x, const uint8_t subject[CA_KEYID_LEN],
			  const uint8_t issuer[CA_KEYID_LEN])
{
	auto_(AUTHORITY_KEYID) AUTHORITY_KEYID *a = AUTHORITY_KEYID_new();
	ASN1_OCTET_STRING *s = ASN1_OCTET_STRING_new();
	bool ok = a && s && ASN1_OCTET_STRING_set(s, subject, CA_KEYID_LEN) == 1 &&
		  ca_add(x, NID_subject_key_identifier, s, false);

	ASN1_OCTET_STRING_free(s);
	if (!ok)
		return false;
	a->keyid = ASN1_OCTET_STRING_new();
	return a->keyid && ASN1_OCTET_STRING_set(a->keyid, issuer, CA_KEYID_LEN) == 1 &&
	       ca_add(x, NID_authority_key_identifier, a, false);
}

/* The one name in it: an address when it is written as one, else a DNS name. */
static GENERAL_NAME *ca_general_name(const char *host)
{
	GENERAL_NAME *n = GENERAL_NAME_new();
	ASN1_STRING *s = NULL;
	uint8_t addr[16];
	bool ip = origin_parse(host, addr), v4 = ip && origin_is_v4(addr);

	if (n)
		s = ip ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	if (s && (ip ? ASN1_STRING_set(s, v4 ? addr + 12 : addr, v4 ? 4 : 16)
		     : ASN1_STRING_set(s, host, (int)strlen(host))) == 1) {
		GENERAL_NAME_set0_value(n, ip ? GEN_IPADD : GEN_DNS, s);
		return n;
	}
	ASN1_STRING_free(s);
	GENERAL_NAME_free(n);
	return NULL;
}

static bool ca_add_host(X509 *x, const char *host, bool critical)
{
	auto_(GENERAL_NAMES) GENERAL_NAMES *names = GENERAL_NAMES_new();
	GENERAL_NAME *n = names ? ca_general_name(host) : NULL;

	if (!n)
		return false;
	if (sk_GENERAL_NAME_push(names, n) <= 0) {
		GENERAL_NAME_free(n);
		return false;
	}
	return ca_add(x, NID_subject_alt_name, names, critical);
}

static bool ca_set_serial(X509 *x)
{
	auto_(BIGNUM) BIGNUM *n = NULL;
	uint8_t b[CA_SERIAL_LEN];

	if (RAND_bytes(b, sizeof(b)) != 1)
		return false;
	b[0] |= 1; /* the top byte: never zero, so 16 or 17 bytes in DER */
	n = BN_bin2bn(b, sizeof(b), NULL);
	return n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
}

static bool ca_set_times(X509 *x, int64_t begins, int64_t ends)
{
	return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)begins) &&
	       ASN1_TIME_set(X509_getm_notAfter(x), (time_t)ends);
}

static bool ca_set_subject(X509 *x, const char *common_name)
{
	return X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_ASC,
					  (const unsigned char *)common_name, -1, -1, 0) == 1;
}

/* RFC 5280 4.2.1.2 method 1: SHA-1 of the public key's bits; an identifier, not a protection. */
static bool ca_keyid(EVP_PKEY *key, uint8_t out[CA_KEYID_LEN])
{
	uint8_t point[128];
	size_t len = 0;

	return EVP_PKEY_get_octet_string_param(key, "encoded-pub-key", point, sizeof(point),
					       &len) == 1 &&
	       EVP_Digest(point, len, out, NULL, EVP_sha1(), NULL) == 1;
}

static bool ca_is_p256(EVP_PKEY *key)
{
	char group[32] = "";
	size_t len = 0;

	return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
	       strcmp(group, "prime256v1") == 0;
}

/* ---- the CA ---- */

/* Fills what is derived from key and cert, and checks that they are a pair. */
static bool ca_finish(struct ca *ca)
{
	struct tm tm;
	int len;

	if (!ca_is_p256(ca->key) || X509_check_private_key(ca->cert, ca->key) != 1 ||
	    !ca_keyid(ca->key, ca->keyid))
		return false;
	len = i2d_X509(ca->cert, &ca->der);
	if (len <= 0)
		return false;
	ca->der_len = (size_t)len;
	if (ASN1_TIME_to_tm(X509_get0_notBefore(ca->cert), &tm) != 1)
		return false;
	ca->begins = timegm(&tm);
	if (ASN1_TIME_to_tm(X509_get0_notAfter(ca->cert), &tm) != 1)
		return false;
	ca->ends = timegm(&tm);
	return true;
}

static bool ca_self_sign(struct ca *ca, int64_t now)
{
	char name[CA_COMMON_NAME_MAX + 1];
	uint8_t r[8], keyid[CA_KEYID_LEN];

	if (RAND_bytes(r, sizeof(r)) != 1 || !ca_keyid(ca->key, keyid))
		return false;
	(void)snprintf(name, sizeof(name), CA_NAME_PREFIX "%02x%02x%02x%02x%02x%02x%02x%02x", r[0],
		       r[1], r[2], r[3], r[4], r[5], r[6], r[7]);
	return X509_set_version(ca->cert, X509_VERSION_3) == 1 && ca_set_serial(ca->cert) &&
	       ca_set_times(ca->cert, now - CA_BACKDATE_S,
			    now + (int64_t)CA_YEARS * 365 * CA_DAY_S) &&
	       ca_set_subject(ca->cert, name) &&
	       X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert)) == 1 &&
	       X509_set_pubkey(ca->cert, ca->key) == 1 && ca_add_basic(ca->cert, true) &&
	       ca_add_usage(ca->cert, 5) && ca_add_keyids(ca->cert, keyid, keyid) &&
	       X509_sign(ca->cert, ca->key, EVP_sha256()) > 0;
}

int ca_new(int64_t now, struct ca **ret, struct err *e)
{
	auto_(ca) struct ca *ca = calloc(1, sizeof(*ca));

	if (!ca)
		return err_set(e, -ENOMEM, "out of memory");
	ERR_clear_error();
	ca->key = EVP_EC_gen("P-256");
	ca->cert = X509_new();
	if (!ca->key || !ca->cert || !ca_self_sign(ca, now) || !ca_finish(ca))
		return err_set(e, -EIO, "OpenSSL cannot make a certificate authority");
	*ret = take(ca);
	return 0;
}

struct ca *ca_free(struct ca *ca)
{
	if (!ca)
		return NULL;
	EVP_PKEY_free(ca->key); /* clears it */
	X509_free(ca->cert);
	OPENSSL_free(ca->der);
	free(ca);
	return NULL;
}

/* u16 key_len, key (DER), u16 cert_len, cert (DER) */
int ca_save(const struct ca *ca, struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *s = NULL;
	int key_len = i2d_PrivateKey(ca->key, NULL), rc;
	struct wr w;
	uint8_t *at;

	if (key_len <= 0 || (size_t)key_len + ca->der_len + 4 > CA_SAVED_MAX)
		return err_set(e, -EIO, "OpenSSL cannot write the certificate authority's key");
	rc = secret_new((size_t)key_len + ca->der_len + 4, &s, e);
	if (rc < 0)
		return rc;
	w = wr_of(secret_bytes(s), secret_len(s));
	wr_u16(&w, (uint16_t)key_len);
	at = w.p + w.len;
	if (i2d_PrivateKey(ca->key, &at) != key_len)
		return err_set(e, -EIO, "OpenSSL cannot write the certificate authority's key");
	w.len += (size_t)key_len;
	wr_u16(&w, (uint16_t)ca->der_len);
	wr_bytes(&w, ca->der, ca->der_len);
	if (w.full)
		return err_set(e, -EIO, "the certificate authority does not fit");
	*ret = take(s);
	return 0;
}

int ca_load(const uint8_t *p, size_t len, struct ca **ret, struct err *e)
{
	auto_(ca) struct ca *ca = calloc(1, sizeof(*ca));
	struct rd r = rd_of(p, len);
	size_t key_len = rd_u16(&r), cert_len;
	const uint8_t *key = rd_take(&r, key_len), *cert;

	if (!ca)
		return err_set(e, -ENOMEM, "out of memory");
	cert_len = rd_u16(&r);
	cert = rd_take(&r, cert_len);
	if (r.bad || r.at != r.len)
		return err_set(e, -EBADMSG, "the certificate authority in the vault is cut short");
	ERR_clear_error();
	ca->key = d2i_PrivateKey(EVP_PKEY_EC, NULL, &key, (long)key_len);
	ca->cert = d2i_X509(NULL, &cert, (long)cert_len);
	if (!ca->key || !ca->cert || cert != p + len || !ca_finish(ca))
		return err_set(e, -EBADMSG, "the certificate authority in the vault is not one");
	*ret = take(ca);
	return 0;
}

const uint8_t *ca_cert(const struct ca *ca, size_t *ret_len)
{
	*ret_len = ca->der_len;
	return ca->der;
}

/* ---- leaves ---- */

int ca_spki_new(const uint8_t *der, size_t len, struct ca_spki **ret)
{
	auto_(ca_spki) struct ca_spki *k = NULL;
	const uint8_t *at = der;

	if (len != CA_SPKI_LEN || memcmp(der, ca_spki_prefix, sizeof(ca_spki_prefix)) != 0)
		return -EINVAL;
	k = calloc(1, sizeof(*k));
	if (!k)
		return -ENOMEM;
	ERR_clear_error();
	k->key = d2i_PUBKEY(NULL, &at, (long)len); /* refuses a point that is not on the curve */
	if (!k->key || at != der + len || !ca_is_p256(k->key) || !ca_keyid(k->key, k->keyid))
		return -EINVAL;
	*ret = take(k);
	return 0;
}

struct ca_spki *ca_spki_free(struct ca_spki *k)
{
	if (!k)
		return NULL;
	EVP_PKEY_free(k->key);
	X509_free(k->form);
	free(k);
	return NULL;
}

static bool ca_host_ok(const char *host)
{
	char text[ORIGIN_TEXT_MAX];
	uint8_t addr[16];

	if (origin_parse(host, addr))
		return strcmp(origin_text(addr, text), host) == 0;
	return rules_host_ok(host);
}

/* What all leaves of this key and this CA have in common. */
static X509 *ca_form(const struct ca *ca, struct ca_spki *leaf)
{
	auto_(X509) X509 *x = NULL;

	if (leaf->form && memcmp(leaf->form_issuer, ca->keyid, CA_KEYID_LEN) == 0)
		return leaf->form;
	x = X509_new();
	if (!x || X509_set_version(x, X509_VERSION_3) != 1 ||
	    X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) != 1 ||
	    X509_set_pubkey(x, leaf->key) != 1 || !ca_add_basic(x, false) || !ca_add_usage(x, 0) ||
	    !ca_add_server_auth(x) || !ca_add_keyids(x, leaf->keyid, ca->keyid))
		return NULL;
	X509_free(leaf->form);
	leaf->form = take(x);
	memcpy(leaf->form_issuer, ca->keyid, CA_KEYID_LEN);
	return leaf->form;
}

/* Instead of the names that the form had last. */
static bool ca_set_host(X509 *x, const char *host)
{
	bool named = strlen(host) <= CA_COMMON_NAME_MAX;
	X509_NAME *subject = X509_NAME_new();
	int old = X509_get_ext_by_NID(x, NID_subject_alt_name, -1);
	/* A name too long for a CN leaves the subject empty; then the other name must be critical. */
	bool ok = subject && X509_set_subject_name(x, subject) == 1 &&
		  (!named || ca_set_subject(x, host));

	X509_NAME_free(subject);
	if (old >= 0)
		X509_EXTENSION_free(X509_delete_ext(x, old));
	return ok && ca_add_host(x, host, !named);
}

static bool ca_fill_leaf(const struct ca *ca, X509 *x, const char *host, int64_t now)
{
	int64_t begins = now - CA_BACKDATE_S, ends = begins + (int64_t)CA_LEAF_DAYS * CA_DAY_S;

	if (begins < ca->begins)
		begins = ca->begins;
	if (ends > ca->ends)
		ends = ca->ends;
	return ca_set_serial(x) && ca_set_times(x, begins, ends) && ca_set_host(x, host) &&
	       X509_sign(x, ca->key, EVP_sha256()) > 0;
}

int ca_mint(const struct ca *ca, struct ca_spki *leaf, const char *host, int64_t now,
	    uint8_t out[RPC_LEAF_MAX], size_t *ret_len)
{
	uint8_t *at = out;
	X509 *x;
	int len;

	if (!ca_host_ok(host))
		return -EINVAL;
	if (now < ca->begins || now >= ca->ends)
		return -EKEYEXPIRED;
	ERR_clear_error();
	x = ca_form(ca, leaf);
	if (!x || !ca_fill_leaf(ca, x, host, now))
		return -EIO;
	len = i2d_X509(x, NULL);
	if (len <= 0 || len > RPC_LEAF_MAX)
		return -EIO;
	if (i2d_X509(x, &at) != len)
		return -EIO;
	*ret_len = (size_t)len;
	return 0;
}
