/* test_tls.c: both roles against plain OpenSSL on the other end of a socketpair. */
#include "tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include "certs.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define NAME "api.test.example"

static struct {
	struct tls_ctx *ctx;
	EVP_PKEY *ca_key, *key, *leaf_key;
	X509 *ca;
	struct tls_cert *leaf;
	enum tls_offer offer; /* to agents */
} T = { .offer = TLS_OFFER_HTTP2 };

static X509 *cert(const char *name, EVP_PKEY *key, long from, long to)
{
	return certs_make(name, key, T.ca, T.ca_key, from, to);
}

static void pair_of(int fd[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
}

/* Drives both ends until ours has an answer that is not "wait". */
static enum tls_io drive(struct tls *t, SSL *peer)
{
	enum tls_io io = TLS_IN;
	int i;

	for (i = 0; i < 100 && (io == TLS_IN || io == TLS_OUT); i++) {
		(void)SSL_do_handshake(peer);
		io = tls_handshake(t);
	}
	(void)SSL_do_handshake(peer);
	return io;
}

static SSL *peer_of(SSL_CTX *ctx, int fd, bool server)
{
	SSL *s = SSL_new(ctx);

	SSL_set_fd(s, fd);
	if (server)
		SSL_set_accept_state(s);
	else
		SSL_set_connect_state(s);
	return s;
}

/* Our client against a server with this certificate. */
static enum tls_io connect_to(X509 *x, EVP_PKEY *key, const char *host, struct tls **ret, SSL **ret_peer, int fd[2])
{
	SSL_CTX *ctx = certs_server(x, key);

	pair_of(fd);
	assert_int_equal(tls_connect(T.ctx, fd[0], host, TLS_OFFER_HTTP1, NULL, ret), 0);
	*ret_peer = peer_of(ctx, fd[1], true);
	SSL_CTX_free(ctx);
	return drive(*ret, *ret_peer);
}

static void done(struct tls *t, SSL *peer, int fd[2])
{
	tls_free(t);
	SSL_free(peer);
	close(fd[0]);
	close(fd[1]);
	ERR_clear_error();
}

static void refused(X509 *x, EVP_PKEY *key, const char *host, bool distrusted)
{
	struct tls *t;
	SSL *peer;
	int fd[2];

	assert_int_equal(connect_to(x, key, host, &t, &peer, fd), TLS_FAIL);
	assert_int_equal(tls_distrusted(t), distrusted);
	assert_string_not_equal(tls_why(t), "");
	done(t, peer, fd);
	X509_free(x);
}

static void test_upstreams_refused(void **state)
{
	EVP_PKEY *other = EVP_EC_gen("P-256");

	(void)state;
	refused(cert("other.test.example", T.key, -10, 100), T.key, NAME, true);
	refused(cert("test.example", T.key, -10, 100), T.key, NAME, true);
	refused(cert("*.example", T.key, -10, 100), T.key, NAME, true);
	refused(cert("a*.test.example", T.key, -10, 100), T.key, NAME, true); /* partial wildcard */
	refused(cert(NAME, T.key, -100, -10), T.key, NAME, true);	      /* over */
	refused(cert(NAME, T.key, 50, 100), T.key, NAME, true);		      /* not yet */
	refused(certs_make(NAME, T.key, NULL, NULL, -10, 100), T.key, NAME, true); /* its own CA */
	refused(certs_make(NAME, T.key, T.ca, other, -10, 100), T.key, NAME, true); /* forged signature */
	refused(cert(NAME, T.key, -10, 100), T.key, "192.0.2.1", true);		 /* a name for an address */
	EVP_PKEY_free(other);
}

static void test_upstream_old(void **state)
{
	X509 *x = cert(NAME, T.key, -10, 100);
	SSL_CTX *ctx = certs_server(x, T.key);
	struct tls *t;
	SSL *peer;
	int fd[2];

	(void)state;
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
	SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	pair_of(fd);
	assert_int_equal(tls_connect(T.ctx, fd[0], NAME, TLS_OFFER_HTTP1, NULL, &t), 0);
	peer = peer_of(ctx, fd[1], true);
	assert_int_equal(drive(t, peer), TLS_FAIL);
	assert_false(tls_distrusted(t));
	done(t, peer, fd);
	SSL_CTX_free(ctx);
	X509_free(x);
}

static void test_upstream_good(void **state)
{
	X509 *x = cert(NAME, T.key, -10, 100);
	uint8_t in[32];
	struct tls *t;
	SSL *peer;
	size_t n;
	int fd[2];

	(void)state;
	assert_int_equal(connect_to(x, T.key, NAME, &t, &peer, fd), TLS_OK);
	assert_string_equal(SSL_get_servername(peer, TLSEXT_NAMETYPE_host_name), NAME);
	assert_int_equal(tls_write(t, (const uint8_t *)"ping", 4, &n), TLS_OK);
	assert_int_equal(n, 4);
	assert_int_equal(SSL_read(peer, in, sizeof(in)), 4);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_IN);
	assert_int_equal(SSL_write(peer, "pong!", 5), 5);
	assert_int_equal(tls_read(t, in, 2, &n), TLS_OK);
	assert_int_equal(n, 2);
	assert_true(tls_pending(t)); /* epoll would not tell of the rest */
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_OK);
	assert_int_equal(n, 3);
	assert_false(tls_pending(t));
	SSL_shutdown(peer);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_END);
	done(t, peer, fd);
	X509_free(x);
}

/* An end without close_notify is no end: bytes may be missing. */
static void test_cut(void **state)
{
	X509 *x = cert(NAME, T.key, -10, 100);
	uint8_t in[8];
	struct tls *t;
	SSL *peer;
	size_t n;
	int fd[2];

	(void)state;
	assert_int_equal(connect_to(x, T.key, NAME, &t, &peer, fd), TLS_OK);
	(void)shutdown(fd[1], SHUT_RDWR);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_FAIL);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_FAIL);
	done(t, peer, fd);
	X509_free(x);
}

static void test_session(void **state)
{
	X509 *x = cert(NAME, T.key, -10, 100);
	SSL_CTX *ctx = certs_server(x, T.key);
	struct tls_session *session = NULL;
	uint8_t in[8];
	struct tls *t;
	SSL *peer;
	size_t n;
	int fd[2], turn;

	(void)state;
	for (turn = 0; turn < 3; turn++) {
		pair_of(fd);
		assert_int_equal(tls_connect(T.ctx, fd[0], NAME, TLS_OFFER_HTTP1, session, &t), 0);
		peer = peer_of(ctx, fd[1], true);
		assert_int_equal(drive(t, peer), TLS_OK);
		assert_int_equal(SSL_session_reused(peer), turn > 0);
		assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_IN); /* the tickets */
		session = tls_session_free(session);
		session = tls_session(t);
		assert_non_null(session);
		assert_null(tls_session(t));
		tls_finish(t);
		done(t, peer, fd);
	}
	tls_session_free(session);
	SSL_CTX_free(ctx);
	X509_free(x);
}

/* ---- towards agents ---- */

static SSL_CTX *agent_ctx(void)
{
	SSL_CTX *c = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(c), T.ca);
	return c;
}

static enum tls_io accept_from(SSL_CTX *ctx, const char *sni, const char *expected, uint64_t guard, SSL_SESSION *s,
			       struct tls **ret, SSL **ret_peer, int fd[2])
{
	pair_of(fd);
	assert_int_equal(tls_accept(T.ctx, fd[0], T.leaf, expected, guard, T.offer, ret), 0);
	*ret_peer = peer_of(ctx, fd[1], false);
	if (sni)
		SSL_set_tlsext_host_name(*ret_peer, sni);
	if (s)
		SSL_set_session(*ret_peer, s);
	return drive(*ret, *ret_peer);
}

static void test_agent_names(void **state)
{
	SSL_CTX *ctx = agent_ctx();
	struct tls *t;
	SSL *peer;
	int fd[2];

	(void)state;
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	done(t, peer, fd);
	assert_int_equal(accept_from(ctx, "API.Test.Example", NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	done(t, peer, fd);
	/* Not the name that was peeked at; no name. */
	assert_int_equal(accept_from(ctx, "other.test.example", NAME, 1, NULL, &t, &peer, fd), TLS_FAIL);
	done(t, peer, fd);
	assert_int_equal(accept_from(ctx, NULL, NAME, 1, NULL, &t, &peer, fd), TLS_FAIL);
	done(t, peer, fd);
	SSL_CTX_free(ctx);
}

static void test_agent_refusals(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct tls *t;
	SSL *peer;
	int fd[2];

	(void)state;
	/* It does not trust our CA, and says so. */
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_FAIL);
	assert_string_equal(tls_why(t), "unknown CA");
	assert_false(tls_distrusted(t));
	done(t, peer, fd);
	SSL_CTX_free(ctx);
	/* It speaks nothing that we do. */
	ctx = agent_ctx();
	SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)"\x02h3", 3);
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_FAIL);
	done(t, peer, fd);
	/* HTTP/2 where it has it, in whatever order; nothing said is HTTP/1.1. */
	SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)"\x08http/1.1\x02h2", 12);
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	assert_true(tls_http2(t));
	done(t, peer, fd);
	/* HTTP/1.1 for who is better off with it, but HTTP/2 for who has nothing else. */
	T.offer = TLS_OFFER_HTTP1;
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	assert_false(tls_http2(t));
	done(t, peer, fd);
	SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)"\x02h2", 3);
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	assert_true(tls_http2(t));
	done(t, peer, fd);
	T.offer = TLS_OFFER_HTTP2;
	SSL_CTX_set_alpn_protos(ctx, (const uint8_t *)"\x08http/1.1", 9);
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	assert_false(tls_http2(t));
	done(t, peer, fd);
	SSL_CTX_free(ctx);
	ctx = agent_ctx();
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
	assert_false(tls_http2(t));
	done(t, peer, fd);
	SSL_CTX_free(ctx);
	/* Too old. */
	ctx = agent_ctx();
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(ctx, TLS1_1_VERSION);
	assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_FAIL);
	done(t, peer, fd);
	SSL_CTX_free(ctx);
}

/* A ticket is good for the same name and guard, in both versions, and for nothing else. */
static void test_tickets(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	SSL_CTX *ctx;
	SSL_SESSION *session;
	struct tls *t;
	uint8_t in[8];
	size_t i, n;
	SSL *peer;
	int fd[2];

	(void)state;
	for (i = 0; i < ARRAY_SIZE(versions); i++) {
		ctx = agent_ctx();
		SSL_CTX_set_max_proto_version(ctx, versions[i]);
		assert_int_equal(accept_from(ctx, NAME, NAME, 1, NULL, &t, &peer, fd), TLS_OK);
		assert_int_equal(tls_write(t, (const uint8_t *)"x", 1, &n), TLS_OK);
		assert_int_equal(SSL_read(peer, in, 1), 1);
		session = SSL_get1_session(peer);
		SSL_shutdown(peer);
		done(t, peer, fd);
		assert_int_equal(accept_from(ctx, NAME, NAME, 1, session, &t, &peer, fd), TLS_OK);
		assert_true(SSL_session_reused(peer));
		SSL_shutdown(peer);
		done(t, peer, fd);
		if (accept_from(ctx, NAME, NAME, 2, session, &t, &peer, fd) == TLS_OK)
			assert_false(SSL_session_reused(peer));
		SSL_shutdown(peer);
		done(t, peer, fd);
		if (accept_from(ctx, "other.test.example", "other.test.example", 1, session, &t, &peer, fd) == TLS_OK)
			assert_false(SSL_session_reused(peer));
		done(t, peer, fd);
		SSL_SESSION_free(session);
		SSL_CTX_free(ctx);
	}
}

/* Random bytes for a hello, and a good hello with each byte changed: refused, never worse. */
static void test_garbage(void **state)
{
	uint8_t junk[300];
	struct tls *t;
	int fd[2];
	size_t i;

	(void)state;
	for (i = 0; i < 200; i++) {
		size_t k;

		for (k = 0; k < sizeof(junk); k++)
			junk[k] = (uint8_t)((i + 1) * (k + 7) * 2654435761u >> 9);
		memcpy(junk, "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03", i % 12);
		pair_of(fd);
		assert_int_equal(tls_accept(T.ctx, fd[0], T.leaf, NAME, 1, TLS_OFFER_HTTP2, &t), 0);
		assert_int_equal(send(fd[1], junk, sizeof(junk), 0), sizeof(junk));
		shutdown(fd[1], SHUT_WR);
		assert_int_equal(tls_handshake(t), TLS_FAIL);
		tls_free(t);
		close(fd[0]);
		close(fd[1]);
	}
}

static void test_certs(void **state)
{
	EVP_PKEY *other = EVP_EC_gen("P-256");
	X509 *x = certs_make(NAME, T.leaf_key, T.ca, T.ca_key, -10, 100), *y = cert(NAME, other, -10, 100);
	unsigned char *der = NULL, *der_y = NULL;
	int len = i2d_X509(x, &der), len_y = i2d_X509(y, &der_y), i;
	struct tls_cert *c;

	(void)state;
	for (i = 0; i < len; i++) {
		int rc = tls_cert_new(T.ctx, der, (size_t)i, &c);

		assert_int_equal(rc, -EBADMSG);
	}
	assert_int_equal(tls_cert_new(T.ctx, der_y, (size_t)len_y, &c), -EBADMSG); /* another key */
	assert_int_equal(tls_cert_new(T.ctx, der, (size_t)len, &c), 0);
	tls_cert_free(c);
	OPENSSL_free(der);
	OPENSSL_free(der_y);
	X509_free(x);
	X509_free(y);
	EVP_PKEY_free(other);
}

static void test_trust(void **state)
{
	static const char *const bad[] = {"", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
	struct tls_ctx *ctx;
	struct err e = {0};
	size_t i;

	(void)state;
	assert_int_equal(tls_ctx_new(&ctx, &e), 0);
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_true(tls_ctx_trust(ctx, bad[i], strlen(bad[i]), &e) < 0);
	tls_ctx_free(ctx);
}

static void test_plain(void **state)
{
	uint8_t in[8];
	struct tls *t;
	size_t n;
	int fd[2];

	(void)state;
	pair_of(fd);
	assert_int_equal(tls_plain(fd[0], &t), 0);
	assert_int_equal(tls_handshake(t), TLS_OK);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_IN);
	assert_int_equal(send(fd[1], "abc", 3, 0), 3);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_OK);
	assert_int_equal(n, 3);
	shutdown(fd[1], SHUT_WR);
	assert_int_equal(tls_read(t, in, sizeof(in), &n), TLS_END);
	assert_int_equal(tls_write(t, in, 3, &n), TLS_OK);
	tls_finish(t);
	assert_int_equal(recv(fd[1], in, sizeof(in), 0), 3);
	assert_int_equal(recv(fd[1], in, sizeof(in), 0), 0);
	close(fd[1]);
	assert_int_equal(tls_write(t, in, 3, &n), TLS_FAIL);
	tls_free(t);
	close(fd[0]);
}

static int setup(void **state)
{
	uint8_t spki[TLS_SPKI_MAX];
	const unsigned char *p = spki;
	unsigned char *der = NULL;
	struct err e = {0};
	char *pem;
	size_t len;
	X509 *x;
	int n;

	(void)state;
	T.ca_key = EVP_EC_gen("P-256");
	T.key = EVP_EC_gen("P-256");
	T.ca = certs_make("Test CA", T.ca_key, NULL, NULL, -100, 1000);
	assert_int_equal(tls_ctx_new(&T.ctx, &e), 0);
	pem = certs_pem(T.ca, &len);
	assert_int_equal(tls_ctx_trust(T.ctx, pem, len, &e), 0);
	OPENSSL_free(pem);
	assert_int_equal(tls_ctx_spki(T.ctx, spki, &len), 0);
	T.leaf_key = d2i_PUBKEY(NULL, &p, (long)len);
	x = certs_make(NAME, T.leaf_key, T.ca, T.ca_key, -10, 100);
	n = i2d_X509(x, &der);
	assert_int_equal(tls_cert_new(T.ctx, der, (size_t)n, &T.leaf), 0);
	OPENSSL_free(der);
	X509_free(x);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tls_cert_free(T.leaf);
	tls_ctx_free(T.ctx);
	X509_free(T.ca);
	EVP_PKEY_free(T.ca_key);
	EVP_PKEY_free(T.key);
	EVP_PKEY_free(T.leaf_key);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upstreams_refused), cmocka_unit_test(test_upstream_old),
		cmocka_unit_test(test_upstream_good),	  cmocka_unit_test(test_cut),
		cmocka_unit_test(test_session),		  cmocka_unit_test(test_agent_names),
		cmocka_unit_test(test_agent_refusals),	  cmocka_unit_test(test_tickets),
		cmocka_unit_test(test_garbage),		  cmocka_unit_test(test_certs),
		cmocka_unit_test(test_trust),		  cmocka_unit_test(test_plain),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, setup, teardown);
}
