/* conn.h: one agent's connection, from accept to its end: the state machine.
 *
 * A connection has at most one exchange (exchange.h) at a time; the states from HEAD to ANSWER are the
 * exchange's. conn_to() is the only writer of `state`.
 */
#ifndef CONN_H
#define CONN_H

#include "proxy.h"
#include "side.h"

#include "../../bpf/egress.h"

enum conn_state {
	CONN_CLOSED = 0, /* waits to be freed */
	CONN_PEEK,	 /* first bytes: TLS, HTTP or neither */
	CONN_LEAF,	 /* the keeper is signing a certificate */
	CONN_TLS,	 /* handshake with the agent */
	CONN_H2,	 /* speaks HTTP/2: requests run in connections of their own (h2front.h) */
	CONN_IDLE,	 /* no request under way */
	CONN_HEAD,	 /* a request's head is coming in; then it is judged */
	CONN_BODY,	 /* its body is coming in, to be judged too (hold.h) */
	CONN_RESOLVE,	 /* the resolver is asked */
	CONN_RECORD,	 /* the decision is on its way to the audit log */
	CONN_DIAL,	 /* connecting to the upstream */
	CONN_VERIFY,	 /* connected: TLS, and verifying it */
	CONN_CREDENTIAL, /* the keeper is asked for values */
	CONN_WAIT,	 /* request going up, response head awaited */
	CONN_RELAY,	 /* response going down (and perhaps the request's body still up) */
	CONN_WEBSOCKET,	 /* frames go both ways (wsrelay.h) */
	CONN_ANSWER,	 /* an answer of our own is going down */
	CONN_TUNNEL_RESOLVE, /* tunnel.h: as the states of the same name above */
	CONN_TUNNEL_RECORD,
	CONN_TUNNEL_DIAL,
	CONN_TUNNEL,	 /* bytes are relayed both ways */
	CONN_LINGER,	 /* nothing more will be sent; reading so that what was sent arrives */
	CONN_STATES,
};

struct conn {
	struct proxy *p;
	uint32_t slot;
	uint16_t gen;
	enum conn_state state;
	struct side agent;
	struct guard *guard; /* NULL once closed */
	struct eg_record rec;
	bool explicit_port;  /* it was dialled to our explicit port (explicit.h) */
	struct conn_target {
		char host[RPC_HOST_MAX]; /* "": no CONNECT was allowed */
		bool address;
		uint16_t port;
	} connect;
	char sni[RPC_HOST_MAX];
	bool tls;
	bool low_water;	     /* SO_RCVLOWAT was raised */
	bool waits_record, waits_again; /* on the list of proxy.h */
	struct conn *next_record, *next_again, *next_dead;
	uint64_t deadline_ms; /* 0: none */
	struct leaf_wait leaf;
	struct h2front *front; /* H2 */
	struct exchange *x;   /* HEAD to ANSWER */
	struct tunnel *tunnel; /* TUNNEL_RESOLVE to TUNNEL */
};

/* Takes over an accepted descriptor; counts it at its guard. */
int conn_open(struct proxy *p, int fd, const struct eg_record *rec, struct guard *g) must_check;
/* One stream of a connection that speaks HTTP/2: of the same agent, for the same name; `via` is its side. -EUSERS. */
int conn_stream(struct conn *of, const struct side_via *via, void *self, struct conn **ret) must_check;
void conn_event(struct proxy *p, uint32_t slot, uint16_t gen, uint32_t events);
/* Goes on as far as it can, then sets what epoll is asked. */
void conn_step(struct conn *c);
/* Its deadline is over. */
void conn_timeout(struct conn *c);

/* Ends it; safe twice; freed after the batch. why: for the outcome of an exchange under way. */
void conn_close(struct conn *c, enum reason why);
/* The same, and the agent sees that what it got is not all. */
void conn_reset(struct conn *c, enum reason why);
void conn_free(struct conn *c);

/* The line with its decision is in the audit log (rc 0), or cannot be written. */
void conn_recorded(struct conn *c, int rc);

/* ---- for exchange.c, relay.c, h2front.c and tunnel.c ---- */
/* The line for something that was refused before it was a request. */
void conn_refused(struct conn *c, enum reason why, const char *detail);
/* It waits for the audit log to be written: conn_recorded(). */
void conn_wait_record(struct conn *c);
/* TLS that is not served: ends with a fatal alert (tls.h). The tunnel, if there is one, has ended. */
void conn_alert(struct conn *c, uint8_t alert, enum reason why);
/* The answer to a CONNECT is with the agent: its first bytes are looked at once more. */
void conn_connected(struct conn *c);
void conn_to(struct conn *c, enum conn_state to);
/* Another turn, without an event. */
void conn_again(struct conn *c);
/* Reads onto agent.in; false: nothing came, or it is closed now. */
bool conn_read(struct conn *c);
/* Who, from where, in whose name: the fields every line of this connection has. */
void conn_describe(const struct conn *c, struct audit_entry *en);

#endif
