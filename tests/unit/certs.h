/* certs.h: certificates made up for a test. Header only. */
#ifndef CERTS_H
#define CERTS_H

#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>

/* issuer NULL: a CA, signed by itself. from, to: validity, seconds from now. */
static inline X509 *certs_make(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key, long from, long to)
{
	static uint64_t serial = 1;
	X509 *x = X509_new();
	X509V3_CTX v;
	X509_EXTENSION *ext;
	char san[300];

	(void)snprintf(san, sizeof(san), "DNS:%s", name);
	X509_set_version(x, 2);
	ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x), from);
	X509_gmtime_adj(X509_getm_notAfter(x), to);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
	X509_set_pubkey(x, key);
	X509V3_set_ctx(&v, issuer ? issuer : x, x, NULL, NULL, 0);
	ext = issuer ? X509V3_EXT_conf_nid(NULL, &v, NID_subject_alt_name, san)
		     : X509V3_EXT_conf_nid(NULL, &v, NID_basic_constraints, "critical,CA:TRUE");
	X509_add_ext(x, ext, -1);
	X509_EXTENSION_free(ext);
	X509_sign(x, issuer_key ? issuer_key : key, EVP_sha256());
	return x;
}

static inline SSL_CTX *certs_server(X509 *cert, EVP_PKEY *key)
{
	SSL_CTX *c = SSL_CTX_new(TLS_server_method());

	SSL_CTX_use_certificate(c, cert);
	SSL_CTX_use_PrivateKey(c, key);
	return c;
}

/* PEM in memory; the caller's, OPENSSL_free. */
static inline char *certs_pem(X509 *x, size_t *ret_len)
{
	BIO *b = BIO_new(BIO_s_mem());
	char *at, *pem;
	long len;

	PEM_write_bio_X509(b, x);
	len = BIO_get_mem_data(b, &at);
	pem = OPENSSL_memdup(at, (size_t)len);
	BIO_free(b);
	*ret_len = (size_t)len;
	return pem;
}

#endif
