/* upstream_in.h: what the files of upstream.h share. upstream.c dials, makes the handshake and has the pool; upstream_proxy.c is
 * the way through a corporate proxy; upstream_known.c remembers TLS sessions and protocols.
 */
#ifndef UPSTREAM_IN_H
#define UPSTREAM_IN_H

#include "config.h"
#include "h2back.h"
#include "hop.h"
#include "origin.h"
#include "upstream.h"

#define UPSTREAM_BUCKETS    256
#define UPSTREAM_SESSIONS   256
#define UPSTREAM_HINTS      1024
#define UPSTREAM_SESSION_MS (3600u * 1000)

struct upstream_dial {
	uint8_t addrs[RPC_ADDRS_MAX][16];
	int tries[RPC_ADDRS_MAX]; /* -1: not under way */
	uint32_t count, next;
	uint64_t next_ms;
	uint16_t port;
	/* through a proxy: addrs has the proxy's addresses alone, and these are what it is asked for */
	bool proxied;
	bool unknown;	 /* its name has not been resolved yet, nor asked for */
	struct upstream *of;
	struct ask ask;	 /* where the proxy is; its password */
	uint8_t targets[RPC_ADDRS_MAX][16];
	uint32_t target_count, target;
	char reply[HOP_REPLY_MAX];
	size_t reply_len;
};

/* What a host and port spoke last. A guess: the handshake decides. */
struct upstream_hint {
	uint32_t of;
	enum { HINT_NONE = 0, HINT_HTTP1, HINT_HTTP2, HINT_HTTP2_ONLY } says;
};

struct upstream_session {
	struct upstream_key key;
	struct tls_session *session;
	uint64_t until_ms;
};

struct upstreams {
	struct loop *loop;
	uint8_t kind;
	struct tls_ctx *tls;
	const struct config *config; /* NULL: no proxy */
	struct channel *resolver, *keeper;
	struct slots slots;
	struct upstream_list dialling, idle;
	uint32_t idle_count;
	struct upstream *bucket[UPSTREAM_BUCKETS];
	struct upstream_session *sessions[UPSTREAM_SESSIONS];
	struct upstream_hint hints[UPSTREAM_HINTS];
	struct h2backs *shared;
};

/* ---- upstream.c ---- */

/* Dead, and those that wait for it, which are told at once. */
void upstream_fail(struct upstream *u, enum reason why, const char *detail);
/* addrs in the order in which they are dialled (RFC 8305). */
void upstream_take_turns(const uint8_t (*addrs)[16], struct upstream_dial *d);
/* Dials the next address. False: nothing is under way. */
bool upstream_next(struct upstream *u);
/* The way to the upstream is there: TLS, if it is to be. */
void upstream_start(struct upstream *u);

/* ---- upstream_proxy.c ---- */

/* If the host is to be reached so: the proxy is what is dialled. */
void upstream_by_proxy(struct upstream *u, struct upstream_dial *d);
/* Begins to dial, or goes on. False: nothing is under way. */
bool upstream_go(struct upstream *u);
/* The proxy is connected, and is asked to connect. */
void upstream_proxy_greet(struct upstream *u);
void upstream_proxy_read(struct upstream *u);

/* ---- upstream_known.c ---- */

/* NULL: none. */
const struct tls_session *upstream_session_of(struct upstreams *p, const struct upstream_key *key);
void upstream_keep_session(struct upstreams *p, const struct upstream_key *key, struct tls *tls);
/* HINT_* of the host and port. */
int upstream_hint(struct upstreams *p, const struct upstream_key *k);
void upstream_hint_is(struct upstreams *p, const struct upstream_key *k, int says);

#endif
