/* tls.c: see tls.h.
 *
 * Both contexts read ahead (one recv(2) takes up to four records) and release their buffers when idle. The error queue is cleared before each call, so that what stands in it afterwards is this
 * call's.
 *
 * Agents: the leaf is set before the handshake, from the name in the ClientHello that was peeked at.
 * OpenSSL reads the same bytes again; should it understand another name, the servername callback ends
 * the handshake. The session id context is a digest of (guard, name): OpenSSL refuses a ticket that was
 * made under another. Ticket keys are OpenSSL's own random ones, per process.
 *
 * Upstreams: SSL_VERIFY_PEER with the name set, so that a handshake that completes is a verified one;
 * tls_handshake() asks once more.
 */
#include "tls.h"

#include "origin.h"
#include "tlsbio.h"

#include <assert.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/socket.h>

struct tls_ctx {
	SSL_CTX *server, *client;
	EVP_PKEY *leaf_key;
};

struct tls_cert {
	X509 *x;
};

struct tls {
	SSL *ssl; /* NULL: plain */
	int fd;
	bool server, failed;
	enum tls_offer offer; /* server */
	char *name;	      /* server: what the agent asked for */
	SSL_SESSION *session;
	bool certified; /* client: has what the upstream asked for */
	const char *why;
	bool no_offer;
};

OWN_CLEANUP(X509, X509, X509_free)
OWN_CLEANUP(BIO, BIO, BIO_free)

/* For ALPN; the first is preferred. */
static const unsigned char tls_protocols[] = {2, 'h', '2', 8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
#define TLS_HTTP1_ONLY 3 /* where http/1.1 alone begins */

/* ---- contexts ---- */

static int tls_on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
		       const unsigned char *in, unsigned int in_len, void *arg)
{
	const struct tls *t = SSL_get_app_data(ssl);
	unsigned int skip = t->offer == TLS_OFFER_HTTP1 ? TLS_HTTP1_ONLY : 0;

	(void)arg;
	for (;; skip = 0) {
		if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, tls_protocols + skip,
					  (unsigned int)sizeof(tls_protocols) - skip, in,
					  in_len) == OPENSSL_NPN_NEGOTIATED)
			return SSL_TLSEXT_ERR_OK;
		if (skip == 0)
			return SSL_TLSEXT_ERR_ALERT_FATAL;
	}
}

static int tls_on_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls *t = SSL_get_app_data(ssl);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)arg;
	if (name && strcasecmp(name, t->name) == 0)
		return SSL_TLSEXT_ERR_OK;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int tls_on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *t = SSL_get_app_data(ssl);

	SSL_SESSION_free(t->session);
	t->session = session;
	return 1; /* ours now */
}

static SSL_CTX *tls_role(const SSL_METHOD *method)
{
	SSL_CTX *c = SSL_CTX_new(method);

	if (!c)
		return NULL;
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				    SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_options(c, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, TLSBIO_READ_MAX);
	if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) == 1)
		return c;
	SSL_CTX_free(c);
	return NULL;
}

int tls_ctx_new(struct tls_ctx **ret, struct err *e)
{
	struct tls_ctx *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->leaf_key = EVP_EC_gen("P-256");
	c->server = tls_role(TLS_server_method());
	c->client = tls_role(TLS_client_method());
	if (!c->leaf_key || !c->server || !c->client) {
		tls_ctx_free(c);
		return err_set(e, -EIO, "OpenSSL cannot be set up: %s",
			       ERR_reason_error_string(ERR_peek_error()));
	}
	SSL_CTX_set_alpn_select_cb(c->server, tls_on_alpn, NULL);
	SSL_CTX_set_tlsext_servername_callback(c->server, tls_on_name);
	SSL_CTX_set_session_cache_mode(c->server, SSL_SESS_CACHE_OFF); /* tickets only */
	SSL_CTX_set_num_tickets(c->server, 1);
	SSL_CTX_set_verify(c->client, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(c->client, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->client, tls_on_session);
	*ret = c;
	return 0;
}

struct tls_ctx *tls_ctx_free(struct tls_ctx *c)
{
	if (!c)
		return NULL;
	SSL_CTX_free(c->server);
	SSL_CTX_free(c->client);
	EVP_PKEY_free(c->leaf_key);
	free(c);
	return NULL;
}

int tls_ctx_trust(struct tls_ctx *c, const char *pem, size_t len, struct err *e)
{
	X509_STORE *store = SSL_CTX_get_cert_store(c->client);
	auto_(BIO) BIO *bio = BIO_new_mem_buf(pem, (int)len);
	size_t count = 0;

	if (!bio)
		return -ENOMEM;
	for (;;) {
		auto_(X509) X509 *x = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);

		if (!x)
			break;
		if (X509_STORE_add_cert(store, x) != 1)
			return err_set(e, -EIO, "a certificate cannot be taken in");
		count++;
	}
	/* The end of the file is the only good reason to stop. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE || count == 0)
		return err_set(e, -EBADMSG, "not a list of PEM certificates");
	ERR_clear_error();
	return 0;
}

int tls_ctx_spki(const struct tls_ctx *c, uint8_t out[TLS_SPKI_MAX], size_t *ret_len)
{
	int len = i2d_PUBKEY(c->leaf_key, NULL);
	unsigned char *p = out;

	if (len <= 0 || len > TLS_SPKI_MAX || i2d_PUBKEY(c->leaf_key, &p) != len)
		return -EIO;
	*ret_len = (size_t)len;
	return 0;
}

int tls_cert_new(const struct tls_ctx *c, const uint8_t *der, size_t len, struct tls_cert **ret)
{
	const unsigned char *p = der;
	auto_(X509) X509 *x = d2i_X509(NULL, &p, (long)len);
	struct tls_cert *cert;

	ERR_clear_error();
	if (!x || p != der + len || X509_check_private_key(x, c->leaf_key) != 1)
		return -EBADMSG;
	cert = calloc(1, sizeof(*cert));
	if (!cert)
		return -ENOMEM;
	cert->x = take(x);
	*ret = cert;
	return 0;
}

struct tls_cert *tls_cert_free(struct tls_cert *x)
{
	if (x)
		X509_free(x->x);
	free(x);
	return NULL;
}

struct tls_session *tls_session_free(struct tls_session *s)
{
	SSL_SESSION_free((SSL_SESSION *)s);
	return NULL;
}

/* ---- making one ---- */

int tls_plain(int fd, struct tls **ret)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->fd = fd;
	*ret = t;
	return 0;
}

static int tls_new(SSL_CTX *role, int fd, struct tls **ret)
{
	auto_(tls) struct tls *t = NULL;
	int rc = tls_plain(fd, &t);
	BIO *bio;

	if (rc < 0)
		return rc;
	t->ssl = SSL_new(role);
	bio = t->ssl ? tlsbio_new(fd) : NULL;
	if (!bio)
		return -ENOMEM;
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	*ret = take(t);
	return 0;
}

int tls_accept(struct tls_ctx *c, int fd, const struct tls_cert *leaf, const char *name, uint64_t guard,
	       enum tls_offer offer, struct tls **ret)
{
	uint8_t bound[sizeof(guard) + 256] = {0}, id[SHA256_DIGEST_LENGTH];
	auto_(tls) struct tls *t = NULL;
	size_t len = strlen(name);
	int rc;

	if (len > sizeof(bound) - sizeof(guard))
		return -EINVAL;
	rc = tls_new(c->server, fd, &t);
	if (rc < 0)
		return rc;
	memcpy(bound, &guard, sizeof(guard));
	memcpy(bound + sizeof(guard), name, len);
	SHA256(bound, sizeof(guard) + len, id);
	t->server = true;
	t->offer = offer;
	t->name = strdup(name);
	if (!t->name || SSL_set_session_id_context(t->ssl, id, sizeof(id)) != 1 ||
	    SSL_use_certificate(t->ssl, leaf->x) != 1 || SSL_use_PrivateKey(t->ssl, c->leaf_key) != 1)
		return -EIO;
	SSL_set_accept_state(t->ssl);
	*ret = take(t);
	return 0;
}

/* The upstream asks for a certificate, its own being verified: the handshake waits until there is ours. */
static int tls_on_certificate(SSL *ssl, void *arg)
{
	const struct tls *t = arg;

	(void)ssl;
	return t->certified ? 1 : -1;
}

void tls_certify(struct tls *t)
{
	SSL_set_cert_cb(t->ssl, tls_on_certificate, t);
}

/* No private key of ours has a passphrase, and nobody is here to be asked for one. */
static int tls_no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return 0;
}

int tls_certificate(struct tls *t, const uint8_t *pem, size_t len)
{
	auto_(BIO) BIO *certs = BIO_new_mem_buf(pem, (int)len);
	auto_(BIO) BIO *keys = BIO_new_mem_buf(pem, (int)len);
	bool first = true;
	EVP_PKEY *key;
	int ok;

	if (!certs || !keys)
		return -ENOMEM;
	for (;; first = false) {
		auto_(X509) X509 *x = PEM_read_bio_X509(certs, NULL, tls_no_passphrase, NULL);

		if (!x)
			break;
		if ((first ? SSL_use_certificate(t->ssl, x) : (int)SSL_add1_chain_cert(t->ssl, x)) != 1)
			return -EBADMSG;
	}
	key = PEM_read_bio_PrivateKey(keys, NULL, tls_no_passphrase, NULL);
	ok = !first && key && SSL_use_PrivateKey(t->ssl, key) == 1 && SSL_check_private_key(t->ssl) == 1;
	EVP_PKEY_free(key);
	ERR_clear_error();
	if (!ok)
		return -EBADMSG;
	t->certified = true;
	return 0;
}

/* Whom the certificate must name. */
static int tls_expect(SSL *ssl, const char *host)
{
	uint8_t addr[16];

	if (origin_parse(host, addr))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1 ? 0 : -EINVAL;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1 ? 0 : -EINVAL;
}

int tls_connect(struct tls_ctx *c, int fd, const char *host, enum tls_offer offer, const struct tls_session *session,
		struct tls **ret)
{
	unsigned int skip = offer == TLS_OFFER_HTTP2 ? 0 : TLS_HTTP1_ONLY;
	auto_(tls) struct tls *t = NULL;
	int rc = tls_new(c->client, fd, &t);

	if (rc < 0)
		return rc;
	rc = tls_expect(t->ssl, host);
	if (rc < 0)
		return rc;
	if (SSL_set_alpn_protos(t->ssl, tls_protocols + skip, (unsigned int)sizeof(tls_protocols) - skip) != 0)
		return -ENOMEM;
	if (session && SSL_set_session(t->ssl, (SSL_SESSION *)(uintptr_t)session) != 1)
		return -EIO;
	SSL_set_connect_state(t->ssl);
	*ret = take(t);
	return 0;
}

struct tls *tls_free(struct tls *t)
{
	if (!t)
		return NULL;
	SSL_free(t->ssl);
	SSL_SESSION_free(t->session);
	free(t->name);
	free(t);
	return NULL;
}

/* ---- the verbs ---- */

static enum tls_io tls_failed(struct tls *t, const char *why)
{
	t->failed = true;
	t->why = why;
	return TLS_FAIL;
}

/* What a call's result means. An end without close_notify is a failure: bytes may be missing. */
static enum tls_io tls_outcome(struct tls *t, int rc)
{
	unsigned long code;
	int reason;

	switch (SSL_get_error(t->ssl, rc)) {
	case SSL_ERROR_NONE:
		return TLS_OK;
	case SSL_ERROR_WANT_READ:
		return TLS_IN;
	case SSL_ERROR_WANT_WRITE:
		return TLS_OUT;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_END;
	case SSL_ERROR_WANT_X509_LOOKUP:
		return TLS_CERT;
	case SSL_ERROR_SYSCALL:
		return tls_failed(t, "connection reset");
	default:
		code = ERR_peek_error();
		reason = ERR_GET_REASON(code);
		if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
			return tls_failed(t, "connection closed without close_notify");
		t->no_offer = reason == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL;
		if (reason > SSL_AD_REASON_OFFSET)
			return tls_failed(t, SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
		if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
			return tls_failed(t, X509_verify_cert_error_string(SSL_get_verify_result(t->ssl)));
		return tls_failed(t, code ? ERR_reason_error_string(code) : "protocol error");
	}
}

/* The handshake is over: is it with whom it was meant to be? */
static enum tls_io tls_checked(struct tls *t)
{
	const char *name;
	const X509 *peer;

	if (t->server) {
		name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
		if (name && strcasecmp(name, t->name) == 0)
			return TLS_OK;
		return tls_failed(t, "the name changed during the handshake");
	}
	if (t->certified)
		SSL_certs_clear(t->ssl); /* the private key goes */
	peer = SSL_get0_peer_certificate(t->ssl);
	if (peer && SSL_get_verify_result(t->ssl) == X509_V_OK)
		return TLS_OK;
	return tls_failed(t, "the certificate was not verified");
}

enum tls_io tls_handshake(struct tls *t)
{
	enum tls_io io;

	if (!t->ssl)
		return TLS_OK;
	if (t->failed)
		return TLS_FAIL;
	ERR_clear_error();
	io = tls_outcome(t, SSL_do_handshake(t->ssl));
	if (io == TLS_END)
		return tls_failed(t, "closed during the handshake");
	return io == TLS_OK ? tls_checked(t) : io;
}

static enum tls_io tls_errno(struct tls *t, enum tls_io again)
{
	if (errno == EAGAIN || errno == EINTR)
		return again;
	return tls_failed(t, "connection reset");
}

enum tls_io tls_read(struct tls *t, uint8_t *p, size_t cap, size_t *ret_n)
{
	enum tls_io io;
	ssize_t n;

	if (t->failed)
		return TLS_FAIL;
	if (t->ssl) {
		ERR_clear_error();
		io = tls_outcome(t, SSL_read_ex(t->ssl, p, cap, ret_n));
		return io;
	}
	n = recv(t->fd, p, cap, MSG_DONTWAIT);
	if (n < 0)
		return tls_errno(t, TLS_IN);
	*ret_n = (size_t)n;
	return n == 0 ? TLS_END : TLS_OK;
}

enum tls_io tls_write(struct tls *t, const uint8_t *p, size_t len, size_t *ret_n)
{
	ssize_t n;

	if (t->failed)
		return TLS_FAIL;
	if (t->ssl) {
		ERR_clear_error();
		return tls_outcome(t, SSL_write_ex(t->ssl, p, len, ret_n));
	}
	n = send(t->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return tls_errno(t, TLS_OUT);
	*ret_n = (size_t)n;
	return TLS_OK;
}

void tls_finish(struct tls *t)
{
	if (t->failed)
		return;
	if (t->ssl && SSL_is_init_finished(t->ssl)) {
		ERR_clear_error();
		(void)SSL_shutdown(t->ssl);
	}
	(void)shutdown(t->fd, SHUT_WR);
}

bool tls_pending(const struct tls *t)
{
	return t->ssl && SSL_has_pending(t->ssl);
}

bool tls_http2(const struct tls *t)
{
	const unsigned char *name = NULL;
	unsigned int len = 0;

	if (t->ssl)
		SSL_get0_alpn_selected(t->ssl, &name, &len);
	return len == tls_protocols[0] && memcmp(name, tls_protocols + 1, len) == 0;
}

bool tls_no_offer(const struct tls *t)
{
	return t->no_offer;
}

bool tls_distrusted(const struct tls *t)
{
	return t->failed && t->ssl && !t->server && SSL_get_verify_result(t->ssl) != X509_V_OK;
}

const char *tls_why(const struct tls *t)
{
	return t->why ? t->why : "";
}

struct tls_session *tls_session(struct tls *t)
{
	return (struct tls_session *)take(t->session);
}

void tls_refuse(int fd, uint8_t alert)
{
	const uint8_t record[] = {21, 3, 3, 0, 2, 2, alert};

	(void)send(fd, record, sizeof(record), MSG_DONTWAIT | MSG_NOSIGNAL);
}
