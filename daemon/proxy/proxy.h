/* proxy.h: what one proxy process has, for its own modules (conn, exchange, relay). */
#ifndef PROXY_H
#define PROXY_H

#include "ask.h"
#include "audit.h"
#include "config.h"
#include "creds.h"
#include "h2.h"
#include "hello.h"
#include "http1.h"
#include "known.h"
#include "leaf.h"
#include "loads.h"
#include "pipes.h"
#include "slots.h"
#include "upstream.h"
#include "who.h"

struct conn;
struct eg_record;

enum proxy_kind { PROXY_BOSS, PROXY_KEEPER, PROXY_RESOLVER, PROXY_LISTENER, PROXY_AGENT, PROXY_UPSTREAM, PROXY_UPSTREAM_H2, PROXY_SYNCER };

#define PROXY_LISTENERS_MAX 1024

struct proxy {
	struct loop loop;
	struct config config;
	uint32_t number;
	bool configured, go;
	struct rpc_peer boss;
	struct channel keeper, resolver;
	void *rpc_buf;
	int audit_fd;
	bool have_audit_key;
	struct rpc_audit_key audit_key;
	struct audit *audit;
	struct syncer *syncer; /* of its file; NULL: each line is synced as it is written */
	struct tls_ctx *tls;
	struct leaf_cache *leaves;
	struct creds *creds;
	struct known *known; /* of the exchanges under way */
	struct upstreams *upstreams;
	struct pipes pipes;
	struct who who;
	struct slots conns, listeners;
	struct loads *loads;  /* of all workers */
	uint32_t agents;      /* connections of agents, without the streams on them */
	bool paused;	      /* not accepting: no room, or no descriptors */
	bool deferred;        /* a listener is left to another worker, since deferred_ms */
	uint64_t deferred_ms;
	struct errand *errands; /* errand.h */
	struct conn *recorded; /* wait for the audit log */
	struct conn *again;   /* used up their share of this turn */
	struct conn *dead;    /* closed, to be freed */
	struct h2_dues dues;  /* HTTP/2 connections with something to write */
	uint64_t sweep_ms;    /* when deadlines are looked at next */
	uint64_t next_id;     /* of the audit log */
	struct rpc_stats stats;
	struct http1_head head, h2_head; /* scratch; the second is h2.c's */
	uint8_t peek[HELLO_MAX]; /* scratch */
};

/* Adds a line; a failure is remembered by the audit log itself and shows when it is flushed. */
void proxy_audit(struct proxy *p, const struct audit_entry *en);

/* Counts and records one that ends before there is anything to serve. rec and g may be NULL. */
void proxy_turn_away(struct proxy *p, const struct eg_record *rec, struct guard *g, enum reason why);

#endif
