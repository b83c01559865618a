/* truststore.c: see truststore.h.
 *
 * The bundle is read into certificates first and both outputs are written from those, so that what a
 * program loads has been parsed once here. JKS (as keytool writes it):
 *
 *	u32 FEEDFEED, u32 2, u32 count
 *	count times: u32 2 (trusted), utf alias, u64 ms, utf "X.509", u32 length, DER
 *	SHA-1 of the password in UTF-16, "Mighty Aphrodite", and all bytes before
 *
 * where utf is u16 length and bytes. The digest protects nothing and is only what the format asks for.
 */
#include "truststore.h"

#include "fdio.h"
#include "wr.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#define BUNDLE_MAX (8u << 20)
#define JKS_ENTRY_EXTRA 64 /* more than all of an entry but its DER */
#define SHA1_LEN 20

OWN_CLEANUP(X509, X509, X509_free)
OWN_CLEANUP(BIO, BIO, BIO_free)
OWN_CLEANUP(EVP_MD_CTX, EVP_MD_CTX, EVP_MD_CTX_free)

/* Certificates in DER, one after the other; the first is our CA. */
struct certs {
	uint8_t *der[TRUSTSTORE_CERTS_MAX];
	size_t len[TRUSTSTORE_CERTS_MAX];
	size_t count, bytes;
};

static void certs_done(struct certs *c)
{
	for (size_t i = 0; i < c->count; i++)
		OPENSSL_free(c->der[i]);
	c->count = 0;
}

static int certs_add(struct certs *c, X509 *x, struct err *e)
{
	uint8_t *der = NULL;
	int len;

	if (c->count == TRUSTSTORE_CERTS_MAX)
		return err_set(e, -E2BIG, "more than %d certificates", TRUSTSTORE_CERTS_MAX - 1);
	len = i2d_X509(x, &der);
	if (len <= 0)
		return err_set(e, -EIO, "a certificate cannot be encoded");
	c->der[c->count] = der;
	c->len[c->count++] = (size_t)len;
	c->bytes += (size_t)len;
	return 0;
}

static int certs_add_ours(struct certs *c, const uint8_t *der, size_t len, struct err *e)
{
	const uint8_t *p = der;
	auto_(X509) X509 *x = d2i_X509(NULL, &p, (long)len);

	if (!x || p != der + len)
		return err_set(e, -EINVAL, "our CA certificate is not one");
	return certs_add(c, x, e);
}

/* All certificates of a PEM text; other things in it are passed over. */
static int certs_add_pem(struct certs *c, const char *text, size_t len, struct err *e)
{
	auto_(BIO) BIO *bio = BIO_new_mem_buf(text, (int)len);
	unsigned long why;
	int rc = 0;

	if (!bio)
		return err_set(e, -ENOMEM, "out of memory");
	ERR_clear_error();
	while (!rc) {
		auto_(X509) X509 *x = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (!x)
			break;
		rc = certs_add(c, x, e);
	}
	why = ERR_peek_last_error();
	ERR_clear_error();
	if (rc)
		return rc;
	if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE)
		return err_set(e, -EBADMSG, "certificate %zu is not readable", c->count);
	if (c->count < 2)
		return err_set(e, -ENOENT, "no certificate in it");
	return 0;
}

static int certs_add_file(struct certs *c, const char *path, struct err *e)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *text = NULL;
	size_t len;
	int rc = fd < 0 ? -errno : fdio_read_all(fd, BUNDLE_MAX, &text, &len);

	if (rc)
		return err_set(e, rc, "the system's CA bundle %s cannot be read: %s; install ca-certificates, or name "
			       "a bundle in the configuration (upstream.ca_file)", path, strerror(-rc));
	rc = certs_add_pem(c, text, len, e);
	return rc ? err_in(e, rc, "the system's CA bundle %s", path) : 0;
}

/* The first n certificates. */
static int write_pem(int dirfd, const char *name, const struct certs *c, size_t n, struct err *e)
{
	auto_(BIO) BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long len;
	int rc = bio ? 0 : -ENOMEM;

	for (size_t i = 0; i < n && !rc; i++)
		if (PEM_write_bio(bio, "CERTIFICATE", "", c->der[i], (long)c->len[i]) <= 0)
			rc = -ENOMEM;
	if (rc)
		return err_set(e, rc, "out of memory");
	len = BIO_get_mem_data(bio, &text);
	rc = fdio_replace(dirfd, name, text, (size_t)len, 0644);
	return rc ? err_set(e, rc, "cannot write %s: %s", name, strerror(-rc)) : 0;
}

static void wr_utf(struct wr *w, const char *s)
{
	wr_u16(w, (uint16_t)strlen(s));
	wr_str(w, s);
}

static int jks_digest(struct wr *w)
{
	static const char password[] = TRUSTSTORE_JKS_PASSWORD, salt[] = "Mighty Aphrodite";
	auto_(EVP_MD_CTX) EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t sum[EVP_MAX_MD_SIZE], wide[2 * sizeof(password)] = {0};
	unsigned int len = 0;

	for (size_t i = 0; i + 1 < sizeof(password); i++)
		wide[2 * i + 1] = (uint8_t)password[i];
	if (!md || EVP_DigestInit_ex(md, EVP_sha1(), NULL) <= 0 ||
	    EVP_DigestUpdate(md, wide, 2 * (sizeof(password) - 1)) <= 0 ||
	    EVP_DigestUpdate(md, salt, sizeof(salt) - 1) <= 0 || EVP_DigestUpdate(md, w->p, w->len) <= 0 ||
	    EVP_DigestFinal_ex(md, sum, &len) <= 0 || len != SHA1_LEN)
		return -ENOMEM;
	wr_bytes(w, sum, SHA1_LEN);
	return 0;
}

static int write_jks(int dirfd, const struct certs *c, uint64_t now_ms, struct err *e)
{
	size_t cap = c->bytes + c->count * JKS_ENTRY_EXTRA + JKS_ENTRY_EXTRA;
	auto_free uint8_t *buf = malloc(cap);
	struct wr w = wr_of(buf, cap);
	char alias[32];
	int rc;

	if (!buf)
		return err_set(e, -ENOMEM, "out of memory");
	wr_u32(&w, 0xfeedfeed);
	wr_u32(&w, 2);
	wr_u32(&w, (uint32_t)c->count);
	for (size_t i = 0; i < c->count; i++) {
		(void)snprintf(alias, sizeof(alias), i ? "system-%zu" : "agentsecrets", i);
		wr_u32(&w, 2);
		wr_utf(&w, alias);
		wr_u64(&w, now_ms);
		wr_utf(&w, "X.509");
		wr_u32(&w, (uint32_t)c->len[i]);
		wr_bytes(&w, c->der[i], c->len[i]);
	}
	rc = jks_digest(&w);
	if (!rc && w.full)
		rc = -E2BIG;
	if (!rc)
		rc = fdio_replace(dirfd, TRUSTSTORE_JKS, buf, w.len, 0644);
	return rc ? err_set(e, rc, "cannot write %s: %s", TRUSTSTORE_JKS, strerror(-rc)) : 0;
}

int truststore_write(int dirfd, const char *system_bundle, const uint8_t *ca_der, size_t ca_len, uint64_t now_ms,
		     struct err *e)
{
	struct certs *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	rc = certs_add_ours(c, ca_der, ca_len, e);
	if (!rc)
		rc = certs_add_file(c, system_bundle, e);
	if (!rc)
		rc = write_pem(dirfd, TRUSTSTORE_CA, c, 1, e);
	if (!rc)
		rc = write_pem(dirfd, TRUSTSTORE_BUNDLE, c, c->count, e);
	if (!rc)
		rc = write_jks(dirfd, c, now_ms, e);
	certs_done(c);
	free(c);
	return rc;
}
