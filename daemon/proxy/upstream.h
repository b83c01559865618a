/* upstream.h: connections to the real hosts: dialled to judged addresses, verified, kept for reuse.
 *
 * A connection serves one key: who asks (guard), under which version of its workspace, whose
 * credentials it carries, and to where. An idle one is used again by exactly the same key or closed
 * after UPSTREAM_IDLE_MS. Addresses are tried in the resolver's order, the families taking turns, the next one
 * UPSTREAM_NEXT_MS after the last or when that failed (RFC 8305); the first to be connected is taken. What then fails in
 * TLS fails: another address of the same name would be asked the same, and an attacker at one is no reason to try on.
 *
 * Where an upstream speaks HTTP/2 too, what an exchange holds is one stream of a connection that it shares with
 * others of the same key (h2back.h); all that it does with it stays the same. Exchanges that come while the first
 * of them is still dialling wait for it. HTTP/2 is offered on behalf of agents that speak it; on behalf of others
 * only where the upstream refuses HTTP/1.1, so that what needs no translation gets none.
 */
#ifndef UPSTREAM_H
#define UPSTREAM_H

#include "ask.h"
#include "h2.h"
#include "reason.h"
#include "rpc.h"
#include "side.h"
#include "slots.h"

#define UPSTREAM_NO_SLOT UINT32_MAX
#define UPSTREAM_IDLE_MS 60000
#define UPSTREAM_IDLE_MAX 512
#define UPSTREAM_NEXT_MS 250 /* RFC 8305, 5 */
#define UPSTREAM_IN_MAX (80u * 1024)  /* a response head, or trailers */
#define UPSTREAM_OUT_MAX (512u * 1024) /* a request head with its values; bodies stay far below */

enum upstream_http {
	UPSTREAM_HTTP1 = 0,  /* and HTTP/2 if it has nothing else */
	UPSTREAM_HTTP2,	     /* or HTTP/1.1, as the upstream likes */
	UPSTREAM_HTTP1_ONLY, /* for a WebSocket's handshake */
};

struct upstream_key {
	uint64_t guard;
	uint64_t epoch;	    /* the workspace's: documents and secrets in force when it was dialled */
	uint8_t creds[32];  /* digest of the credentials' names and slots; zero: none */
	char host[RPC_HOST_MAX];
	uint16_t port;
	bool tls;
	bool private;	    /* special addresses were allowed by the rule */
	bool certified;	    /* the rule has a certificate for it, should it ask */
	enum upstream_http http;
};

/* Oldest first. */
struct upstream_list {
	struct upstream *first, *last;
};

enum upstream_state {
	UPSTREAM_DEAD = 0,  /* failed: `why` says how */
	UPSTREAM_DIAL,
	UPSTREAM_PROXY,	    /* connected to a proxy, which is to connect it on */
	UPSTREAM_HANDSHAKE,
	UPSTREAM_BUSY,	    /* verified, and its owner's */
	UPSTREAM_IDLE,
};

struct upstreams;
/* Something happened that the owner should look at: it is connected, wants a certificate, is its owner's, is dead, or
 * can be read or written. May drop the upstream. */
typedef void upstream_fn(void *owner);

struct upstream {
	struct upstreams *pool;
	struct side side;
	enum upstream_state state;
	bool reused;	     /* has carried a request before */
	enum reason why;
	const char *detail;  /* our words, or OpenSSL's for an alert or certificate error; never NULL */
	struct upstream_key key;
	void *owner;
	upstream_fn *fn;
	uint32_t slot;	     /* UPSTREAM_NO_SLOT: a stream that was never dialled for */
	struct upstream_dial *dial;
	struct upstream *leader;	/* DIAL: waits for this one to be connected */
	struct upstream_list waiting;	/* for this one */
	bool offered_http2;
	bool wants_certificate; /* HANDSHAKE: verified, and waits for upstream_certificate() */
	struct upstream *next, *before; /* in the list of its state: dialling, waiting or idle */
	struct upstream *chain;		/* idle: same bucket */
	uint64_t idle_since_ms;
};

/* kind, kind_http2: of the loop's keys. */
int upstreams_new(struct loop *l, uint8_t kind, uint8_t kind_http2, struct tls_ctx *tls, struct h2_dues *dues,
		  uint32_t max, struct upstreams **ret) must_check;
struct upstreams *upstreams_free(struct upstreams *p);
/* From now on, what upstream.proxy of the configuration says: such upstreams are dialled by CONNECT of their judged
 * addresses, one after the other; TLS is with the host itself, verified as ever. The proxy's name, if it has one, is asked
 * of the resolver for each connection, its password of the keeper when the proxy is connected. All live as long as p. */
struct config;
void upstreams_through(struct upstreams *p, const struct config *c, struct channel *resolver, struct channel *keeper);

/* An idle connection of this key, or a stream on one, now the owner's; NULL: there is none. Ask upstream_alive() right
 * before it is used. */
struct upstream *upstream_take(struct upstreams *p, const struct upstream_key *key, void *owner, upstream_fn *fn);
/* Starts a new one. The caller has judged the addresses. fn is not called before the return, but the
 * state may already be DEAD. */
int upstream_dial(struct upstreams *p, const struct upstream_key *key, const uint8_t (*addrs)[16],
		  uint32_t count, void *owner, upstream_fn *fn, struct upstream **ret) must_check;
/* What it wanted (tls.h: tls_certificate()); it may be BUSY or DEAD then. */
void upstream_certificate(struct upstream *u, const uint8_t *pem, size_t len);
/* Nothing has come since it was parked, and it has not been closed. */
bool upstream_alive(struct upstream *u);
/* The owner has read its response to the end: kept for the next. */
void upstream_park(struct upstream *u);
/* Closes and frees it at once. */
void upstream_drop(struct upstream *u);

void upstream_event(struct upstreams *p, uint32_t slot, uint16_t gen, uint32_t events);
void upstream_http2_event(struct upstreams *p, uint32_t slot, uint16_t gen, uint32_t events);

bool upstream_same(const struct upstream_key *a, const struct upstream_key *b);
uint32_t upstream_hash(const struct upstream_key *k);
/* A guard is gone: its idle connections are ended. */
void upstreams_forget(struct upstreams *p, uint64_t guard);
/* Next addresses, ends of idle ones. The longest wait until the next call, -1: for ever. */
int upstreams_sweep(struct upstreams *p, uint64_t now_ms);

#endif
