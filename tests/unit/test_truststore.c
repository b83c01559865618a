/* truststore: the three files, parsed back; keytool's opinion where there is one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "skip.h"
#include "fdio.h"
#include "rd.h"
#include "truststore.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char dir[64];
static int dirfd_;

/* A self-signed certificate, DER in *der (OPENSSL_free). */
static int make_cert(const char *name, uint8_t **der)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	int len;

	assert_true(key && x);
	(void)X509_set_version(x, 2);
	(void)ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
	(void)X509_gmtime_adj(X509_getm_notBefore(x), -60);
	(void)X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	(void)X509_set_pubkey(x, key);
	(void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1, 0);
	(void)X509_set_issuer_name(x, X509_get_subject_name(x));
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	*der = NULL;
	len = i2d_X509(x, der);
	assert_true(len > 0);
	X509_free(x);
	EVP_PKEY_free(key);
	return len;
}

static void write_bundle(const char *name, int count, const char *before, const char *after)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fputs(before, f);
	for (int i = 0; i < count; i++) {
		uint8_t *der;
		char cn[32];
		int len;

		(void)snprintf(cn, sizeof(cn), "system %d", i);
		len = make_cert(cn, &der);
		(void)PEM_write(f, "CERTIFICATE", "", der, len);
		OPENSSL_free(der);
	}
	(void)fputs(after, f);
	(void)fclose(f);
}

static int write_with(const char *bundle, struct err *e)
{
	char path[128];
	uint8_t *der;
	int len = make_cert("agentsecrets test CA", &der), rc;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, bundle);
	e->text[0] = '\0';
	rc = truststore_write(dirfd_, path, der, (size_t)len, 1795417200000ull, e);
	OPENSSL_free(der);
	return rc;
}

static size_t read_back(const char *name, char **text)
{
	size_t len = 0;
	struct stat st;

	assert_int_equal(fdio_read_file(dirfd_, name, 1 << 20, text, &len), 0);
	assert_int_equal(fstatat(dirfd_, name, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	return len;
}

static int count_pem(const char *text)
{
	int n = 0;

	for (; (text = strstr(text, "-----BEGIN CERTIFICATE-----")); text++)
		n++;
	return n;
}

/* Reads a JKS as the format says, checks its digest; the number of entries. */
static uint32_t check_jks(const char *bytes, size_t len)
{
	static const char wide[] = "\0c\0h\0a\0n\0g\0e\0i\0t";
	uint8_t sum[EVP_MAX_MD_SIZE];
	unsigned int sum_len;
	struct rd r = rd_of(bytes, len - 20);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint32_t count, i;

	assert_int_equal(rd_u32(&r), 0xfeedfeed);
	assert_int_equal(rd_u32(&r), 2);
	count = rd_u32(&r);
	for (i = 0; i < count; i++) {
		const uint8_t *der;
		uint32_t n;
		X509 *x;

		assert_int_equal(rd_u32(&r), 2);
		n = rd_u16(&r);
		assert_non_null(rd_take(&r, n));
		assert_true((uint64_t)rd_u32(&r) << 32 | rd_u32(&r));
		assert_int_equal(rd_u16(&r), 5);
		assert_memory_equal(rd_take(&r, 5), "X.509", 5);
		n = rd_u32(&r);
		der = rd_take(&r, n);
		assert_non_null(der);
		x = d2i_X509(NULL, &der, n);
		assert_non_null(x);
		X509_free(x);
	}
	assert_false(r.bad);
	assert_int_equal(rd_left(&r), 0);
	assert_true(EVP_DigestInit_ex(md, EVP_sha1(), NULL) && EVP_DigestUpdate(md, wide, 16) &&
		    EVP_DigestUpdate(md, "Mighty Aphrodite", 16) && EVP_DigestUpdate(md, bytes, len - 20) &&
		    EVP_DigestFinal_ex(md, sum, &sum_len));
	assert_memory_equal(sum, bytes + len - 20, 20);
	EVP_MD_CTX_free(md);
	return count;
}

static void test_write(void **s)
{
	struct err e;
	char *text = NULL;
	size_t len;

	(void)s;
	write_bundle("system.pem", 5, "# a comment\n\n", "trailing words\n");
	assert_int_equal(write_with("system.pem", &e), 0);
	(void)read_back(TRUSTSTORE_CA, &text);
	assert_int_equal(count_pem(text), 1);
	free(text);
	(void)read_back(TRUSTSTORE_BUNDLE, &text);
	assert_int_equal(count_pem(text), 6);
	free(text);
	len = read_back(TRUSTSTORE_JKS, &text);
	assert_int_equal(check_jks(text, len), 6);
	free(text);
	assert_int_equal(write_with("system.pem", &e), 0); /* over what is there */
}

static void test_keytool(void **s)
{
	char cmd[256], line[256];
	int entries = 0;
	FILE *f;

	(void)s;
	if (system("command -v keytool >/dev/null 2>&1"))
		skip_because("keytool, of a Java runtime, is not installed");
	(void)snprintf(cmd, sizeof(cmd), "keytool -list -keystore %s/%s -storepass changeit 2>&1", dir, TRUSTSTORE_JKS);
	f = popen(cmd, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		entries += strstr(line, "trustedCertEntry") != NULL;
	assert_int_equal(pclose(f), 0);
	assert_int_equal(entries, 6);
}

static void test_host_bundle(void **s)
{
	static const char host[] = "/etc/ssl/certs/ca-certificates.crt";
	struct err e;
	uint8_t *der;
	int len;

	(void)s;
	if (access(host, R_OK))
		skip_because("this host has no CA bundle");
	len = make_cert("agentsecrets test CA", &der);
	assert_int_equal(truststore_write(dirfd_, host, der, (size_t)len, 1, &e), 0);
	OPENSSL_free(der);
}

static void refused(const char *bundle, const char *says)
{
	char *before = NULL, *after = NULL;
	struct err e;
	size_t len, again;

	len = read_back(TRUSTSTORE_BUNDLE, &before);
	assert_true(write_with(bundle, &e) < 0);
	if (!strstr(e.text, says))
		fail_msg("%s: %s", bundle, e.text);
	again = read_back(TRUSTSTORE_BUNDLE, &after); /* as it was */
	assert_int_equal(len, again);
	assert_memory_equal(before, after, len);
	free(before);
	free(after);
}

static void test_refused(void **s)
{
	uint8_t *der;
	int len = make_cert("x", &der);
	struct err e;
	char path[128];

	(void)s;
	refused("missing.pem", "install ca-certificates");
	write_bundle("empty.pem", 0, "", "");
	refused("empty.pem", "no certificate");
	write_bundle("words.pem", 0, "not PEM at all\n", "");
	refused("words.pem", "no certificate");
	write_bundle("cut.pem", 2, "", "-----BEGIN CERTIFICATE-----\nMIIB\n");
	refused("cut.pem", "not readable");
	write_bundle("bad.pem", 2, "", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
	refused("bad.pem", "not readable");
	(void)snprintf(path, sizeof(path), "%s/system.pem", dir);
	for (int n = 0; n < len; n++)
		assert_true(truststore_write(dirfd_, path, der, (size_t)n, 1, &e) < 0);
	OPENSSL_free(der);
}

static int setup(void **s)
{
	(void)s;
	strcpy(dir, "/tmp/truststore-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd_ < 0;
}

static int teardown(void **s)
{
	char cmd[128];

	(void)s;
	close(dirfd_);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_keytool),
		cmocka_unit_test(test_host_bundle),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
