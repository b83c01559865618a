/* exchange.h: one request and its response: judged, recorded, sent, answered, recorded.
 *
 *	HEAD (─► BODY) ─► RESOLVE ─► RECORD ─► DIAL ─► CREDENTIAL ─► WAIT ─► RELAY
 *	  └─(pooled)─────────┘  └─(pooled)────────┘
 *	  └─(refused)─ RECORD ─► ANSWER
 *
 * Nothing leaves this process for a request, and no credential is asked for, before the line with its
 * decision is written. Values exist from the keeper's answer to the head's last byte, or the held body's.
 *
 * Every secret that the workspace's document lets go to this host and port, sent now, before, by another worker
 * or never, is looked for in the response (redact.h). So the keeper is asked for those too that the request does not
 * name, before it is sent; not for those that exchanges under way with the same host have already (known.h). Values
 * that were replaced, or unbound from the host, since are looked for too (former.h). Not covered: hosts that pass a
 * secret on to another host; a value in pieces that several Range requests fetch.
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include "answer.h"
#include "body.h"
#include "conn.h"
#include "hold.h"
#include "inject.h"
#include "route.h"
#include "wsoffer.h"
#include "xas.h"

/* What is needed until the head has gone up. Slices point into agent.in, which does not move. */
struct request {
	struct conn *c;
	struct http1_scan scan;
	bool parsed;
	size_t used;		 /* bytes of agent.in that were its head */
	enum route_via via;	 /* 0: not known yet */
	struct xas *xas;	 /* of a /proxy request: */
	bool edited;		 /* its references stand in the held body */
	char *made;		 /* the head that it stands for: `head` is in here then */
	struct http1_head head;
	struct http1_meaning meaning;
	struct route route;	 /* its rule is only good while the rules are judged */
	char rule[RPC_HOST_MAX]; /* the rule's host */
	char certificate[RPC_NAME_MAX];	  /* of the rule: the secret that the upstream is shown if it asks; "": none */
	char authority[RPC_HOST_MAX + 8]; /* Host, where it is not as the agent wrote it */
	struct inject_scan refs;
	struct upstream_key key;
	struct cred values[INJECT_MAX];
	uint8_t addrs[RPC_ADDRS_MAX][16];
	uint32_t addr_count;
	bool resolved;		 /* the resolver has answered: */
	int resolve_rc;
	struct cred *others;	 /* for the search of the response: a place for each secret of the document */
	uint32_t other_count, other; /* `other`: the first that has not been looked at */
	uint8_t *message;	 /* what is signed (kind hmac); or NULL */
	struct resign *resign;	 /* resign.h; NULL: not signed again */
	bool refused;		 /* the keeper has refused or is gone: */
	enum reason refusal;
	struct ask ask;
};

struct exchange {
	uint64_t id, start_ms;
	struct request *rq;	 /* NULL once the head has gone up, or will not */
	struct upstream *up;
	char method[HTTP1_METHOD_MAX + 1];
	char host[RPC_HOST_MAX];
	uint16_t port;		 /* upstream's */
	bool decided, recorded;	 /* the line with the decision is made; is written */
	enum reason verdict;	 /* of the decision */
	enum reason failure;	 /* what is answered, and stands in the outcome */
	const char *detail;	 /* our words about it */
	char said[64];		 /* where they hold a number */
	bool retried;
	bool literal;		 /* the value of a secret stands in the request */
	const char *foreign;	 /* where a credential stands that is not ours; NULL: none, or nobody wants to know */
	struct prints_text up_text; /* of a body that goes by */
	bool agent_keep;	 /* the agent's connection may carry another request */
	bool grpc;		 /* a gRPC call over HTTP/2 */
	bool agent_minor0;	 /* HTTP/1.0 */
	uint16_t upgraded;	 /* the agent speaks plain HTTP, the upstream TLS at this port; 0: they speak alike */
	struct answer ours;	 /* what is answered, when it is no reason */
	struct hold hold;	 /* the body, if it is looked into; it goes up from here */
	struct body up_body;
	struct rpc_token_stale *tokens;	 /* access tokens that it carried, for a 401; INJECT_MAX of them, or NULL */
	uint32_t token_count;
	struct resign_stream *stream; /* resign.h: up_body's payload is signed again on its way; or NULL */
	bool tell;		 /* a /proxy client that takes trailers: it is told how much was masked */
	bool websocket;		 /* asked for */
	struct wsoffer *offer;	 /* … and how; NULL: not asked for, or answered */
	struct wsrelay *ws;	 /* state WEBSOCKET */
	bool up_broken;		 /* the upstream takes nothing more; it may have answered */
	struct http1_scan down_scan;
	struct body down_body;
	bool known_made;	 /* it is settled what the response is searched for: */
	struct known *known;	 /* NULL: nothing */
	struct sieve sieve;	 /* of its body */
	uint64_t redacted;	 /* finds in heads */
	bool responded;		 /* the response's head has gone to agent.out */
	bool up_keep;
	int status;
};

/* One step of states HEAD to ANSWER. True: the state changed, go on. */
bool exchange_step(struct conn *c);
void exchange_timeout(struct conn *c);
/* A document has changed. Once the request has gone up nobody judges it again, and its bodies, or a WebSocket, may go on for
 * days: it ends here if no rule opens its host and port any more. A client without an answer gets the refusal. */
void exchange_judge_again(struct conn *c);
/* State RECORD: the line with the decision is written (rc 0), or cannot be. */
void exchange_recorded(struct conn *c, int rc);
/* What side_arm() should want, in any state. */
bool exchange_wants_body(const struct conn *c);
bool exchange_wants_response(const struct conn *c);

/* Its end: the outcome is recorded, everything is let go. why: when it had no end of its own. */
void exchange_end(struct conn *c, enum reason why);

/* Has the agent's body been read to its end (whether or not it has gone up)? */
bool exchange_body_read(const struct exchange *x);

/* ---- for relay.c ---- */
/* Lets the request's head go: it is on its way, or never will be. */
void exchange_head_gone(struct conn *c);
/* It went wrong: answered if the agent has had nothing yet, else the connection is reset. */
void exchange_fail(struct conn *c, enum reason why, const char *detail);
/* May the head be sent once more, to a fresh connection? Then it is on its way. */
bool exchange_again(struct conn *c);
/* The response is with the agent. */
void exchange_finish(struct conn *c);

#endif
