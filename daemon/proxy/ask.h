/* ask.h: questions to the keeper and the resolver, and their answers.
 *
 * A channel carries at most RPC_INFLIGHT_MAX questions at once; more wait in order. A question is
 * embedded in whoever asks; its answer comes by callback, once: with a negative rc when there will be
 * none. A question may be given up at any time; its late answer is then dropped.
 */
#ifndef ASK_H
#define ASK_H

#include "loop.h"
#include "rpc.h"

struct ask;
/* rc: the answer's, or -EPIPE when the channel is lost. body and tail live until the return. */
typedef void ask_fn(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len);

struct channel {
	struct rpc_peer peer;
	struct {
		struct ask *by; /* the first of those who wait for it; NULL: given up */
		uint32_t id;	/* 0: free */
		uint16_t answer;
	} flying[RPC_INFLIGHT_MAX];
	uint32_t in_flight, sequence;
	struct ask *first, *last; /* waiting to be sent */
	struct ask *answering;	  /* have an answer, and are being told */
	/* The keeper tells of a former value, unasked. Negative ends the channel. */
	int (*on_order)(void *ctx, const struct rpc_token_order *o, const uint8_t *request, size_t len);
	int (*on_former)(void *ctx, const struct rpc_former *note, const uint8_t *hosts, size_t len);
	/* And of the fingerprints of a workspace's values. */
	int (*on_prints)(void *ctx, const char *workspace, const uint8_t *prints, size_t len);
	void *ctx;
};

struct ask {
	struct channel *on; /* NULL: nothing is asked */
	struct ask *next;
	uint32_t place;	    /* in flying; from RPC_INFLIGHT_MAX on see ask.c */
	bool shared;
	uint64_t epoch;
	uint16_t op, answer;
	ask_fn *fn;
	const void *tail;   /* sent with it, and forgotten then */
	size_t tail_len;
	union {
		struct rpc_sign sign;
		struct rpc_sign_leaf leaf;
		struct rpc_credential credential;
		struct rpc_former_ask former;
		struct rpc_resolve resolve;
		struct rpc_proxy_password proxy_password;
	} body;
};

void channel_init(struct channel *c, uint32_t number);
/* A new descriptor takes the old one's place; what was asked on the old one fails. */
void channel_wire(struct channel *c, int fd);
/* Serves what has arrived. Negative: the peer is gone or broke the contract; the caller ends the
 * channel. buf: RPC_BUF bytes. */
int channel_serve(struct channel *c, void *buf) must_check;
/* Closes it; what was asked has failed. */
void channel_done(struct channel *c);
/* Sends what waits, as far as it goes. */
void channel_push(struct channel *c);

/* a->body is filled. The answer never comes before the return. -ENOTCONN: no such channel now. */
int ask_put(struct ask *a, struct channel *c, uint16_t op, ask_fn *fn) must_check;
/* The same, but where somebody waits for the answer to the very same question (op, body, and epoch: what the asker knew
 * when it asked), this one gets it too: questions of one moment are asked once. No tail. */
int ask_share(struct ask *a, struct channel *c, uint16_t op, uint64_t epoch, ask_fn *fn) must_check;
void ask_cancel(struct ask *a);

#endif
