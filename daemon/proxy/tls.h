/* tls.h: one side of a connection, encrypted or plain, behind five verbs.
 *
 * The only module that touches an SSL object. Every verb answers one of enum tls_io; after TLS_FAIL
 * tls_why() has a word for it. A read may want to write and a write to read: the caller watches for
 * what the answer names. The descriptor stays the caller's.
 *
 * Agents get TLS 1.2 or later with a leaf made for the name in their ClientHello; session tickets are
 * good for the same name and guard only. Upstreams are verified against the trusted CAs and their name.
 */
#ifndef TLS_H
#define TLS_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

enum tls_io {
	TLS_FAIL = 0, /* broken or refused: close it */
	TLS_OK,
	TLS_IN,	      /* nothing done; again when readable */
	TLS_OUT,      /* nothing done; again when writable */
	TLS_END,      /* the other side has finished sending, and said so */
	TLS_CERT,     /* handshake with a verified upstream that wants a certificate: tls_certificate(), then again */
};

/* ---- what a process has once ---- */
struct tls_ctx;
/* Makes the process's leaf key (P-256) and both roles' settings. Trusts nobody yet. */
int tls_ctx_new(struct tls_ctx **ret, struct err *e) must_check;
struct tls_ctx *tls_ctx_free(struct tls_ctx *c);
/* PEM of the CAs that upstreams are checked against; adds to what is trusted. */
int tls_ctx_trust(struct tls_ctx *c, const char *pem, size_t len, struct err *e) must_check;
/* DER SubjectPublicKeyInfo of the leaf key. */
#define TLS_SPKI_MAX 256
int tls_ctx_spki(const struct tls_ctx *c, uint8_t out[TLS_SPKI_MAX], size_t *ret_len) must_check;

/* ---- leaf certificates ---- */
struct tls_cert;
/* -EBADMSG unless it is one certificate over this process's leaf key. */
int tls_cert_new(const struct tls_ctx *c, const uint8_t *der, size_t len, struct tls_cert **ret) must_check;
struct tls_cert *tls_cert_free(struct tls_cert *x);

/* ---- sessions with upstreams, kept for the next connection to the same place ---- */
struct tls_session;
struct tls_session *tls_session_free(struct tls_session *s);

/* ---- one side ---- */
struct tls;
int tls_plain(int fd, struct tls **ret) must_check;
/* Which versions of HTTP are offered (ALPN). */
enum tls_offer { TLS_OFFER_HTTP1 = 0, TLS_OFFER_HTTP2 /* and HTTP/1.1 */ };
/* Server towards an agent that asked for `name`; both are bound into its session tickets. With TLS_OFFER_HTTP1, HTTP/2
 * is spoken only with who has nothing else. */
int tls_accept(struct tls_ctx *c, int fd, const struct tls_cert *leaf, const char *name, uint64_t guard,
	       enum tls_offer offer, struct tls **ret) must_check;
/* Client towards `host`, a name or an address. session: to be resumed, may be NULL; stays the caller's. */
int tls_connect(struct tls_ctx *c, int fd, const char *host, enum tls_offer offer, const struct tls_session *session,
		struct tls **ret) must_check;
/* The upstream may ask for a certificate, and gets ours; before the handshake. Without it, it gets none. */
void tls_certify(struct tls *t);
/* After TLS_CERT: PEM of the certificate, those of its issuers that go along, and its private key, unencrypted, in any
 * order. Nothing of it is kept when the handshake is over. -EBADMSG: that is not what it is. */
int tls_certificate(struct tls *t, const uint8_t *pem, size_t len) must_check;
struct tls *tls_free(struct tls *t);

/* TLS_OK: done, and checked: an agent's SNI is still `name`, an upstream's certificate is good. */
enum tls_io tls_handshake(struct tls *t) must_check;
/* TLS_OK: *ret_n >= 1 bytes. */
enum tls_io tls_read(struct tls *t, uint8_t *p, size_t cap, size_t *ret_n) must_check;
enum tls_io tls_write(struct tls *t, const uint8_t *p, size_t len, size_t *ret_n) must_check;
/* Says that nothing more will be sent (close_notify, FIN); reading goes on. Does not wait. */
void tls_finish(struct tls *t);

/* Bytes that were taken from the socket and not yet read: epoll will not tell of them. */
bool tls_pending(const struct tls *t);
/* After the handshake: HTTP/2 is spoken. */
bool tls_http2(const struct tls *t);
/* Did the handshake fail because the upstream does not speak what was offered. */
bool tls_no_offer(const struct tls *t);
/* Did the upstream's certificate fail (rather than the connection). */
bool tls_distrusted(const struct tls *t);
/* Why it failed, in OpenSSL's words or ours; no bytes of the peer's are in it. */
const char *tls_why(const struct tls *t);
/* The newest session the upstream offered; NULL: none. The caller's. */
struct tls_session *tls_session(struct tls *t);

/* Writes one fatal alert record to a socket that has had no handshake (unrecognized_name). */
#define TLS_ALERT_ACCESS_DENIED 49
#define TLS_ALERT_INTERNAL_ERROR 80
#define TLS_ALERT_UNRECOGNIZED_NAME 112
void tls_refuse(int fd, uint8_t alert);

OWN_CLEANUP(tls, struct tls, tls_free)

#endif
