/* resolver.h: the resolver's one context. Owned by resolver.c (what parent and proxies say);
 * names.c (one name under way), hopname.c (the corporate proxy's) and dnsfront.c (queries of guarded processes) work
 * on it. Private to these four.
 */
#ifndef RESOLVER_H
#define RESOLVER_H

#include "../../bpf/egress.h"
#include "config.h"
#include "dnsmsg.h"
#include "hosts.h"
#include "lease.h"
#include "lookup.h"
#include "loop.h"
#include "rpc.h"
#include "rules.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define RESOLVER_GUARDS_MAX     EG_GUARDS_MAX
#define RESOLVER_WORKSPACES_MAX 256
#define RESOLVER_LISTENERS_MAX  (EG_GUARDS_MAX * 8)
#define RESOLVER_CONNS_MAX      4096
#define RESOLVER_CONN_PENDING   4  /* queries of one connection that wait for an answer */
#define RESOLVER_BUDGET         32 /* datagrams, connections or messages served per event */

enum resolver_kind {
	RESOLVER_BOSS = 1,
	RESOLVER_PROXY,
	RESOLVER_UDP,
	RESOLVER_TCP,
	RESOLVER_CONN,
	RESOLVER_LOOKUP
};

/* Who asked. */
enum from_kind { FROM_UDP, FROM_CONN, FROM_PROXY };

struct from {
	TAILQ_ENTRY(from) next;
	enum from_kind kind;
	uint32_t slot;                /* listener, connection or proxy, */
	uint16_t gen;                 /* and which one of those that had this slot */
	struct sockaddr_storage peer; /* FROM_UDP */
	socklen_t peer_len;
	struct dnsmsg_query q;  /* FROM_UDP, FROM_CONN */
	uint32_t id;            /* FROM_PROXY */
	struct rpc_resolve ask; /* FROM_PROXY */
};
TAILQ_HEAD(from_list, from);

/* One name under way for one guard. */
struct ask {
	TAILQ_ENTRY(ask) in_guard;
	TAILQ_ENTRY(ask) in_leasing;
	struct guard *guard; /* NULL: gone meanwhile */
	char host[RPC_HOST_MAX];
	struct from_list waiting;
	/* waiting for RPC_LEASED */
	uint32_t lease_id;
	uint32_t lease_pending;
	uint64_t deadline_ms;
	struct lease result;
	uint8_t addr[LEASE_ADDRS_MAX][16];
};
TAILQ_HEAD(ask_list, ask);

struct workspace {
	char name[RPC_WORKSPACE_MAX]; /* "": a free slot */
	struct rules *rules;
};

struct guard {
	uint64_t id; /* 0: a free slot */
	char workspace[RPC_WORKSPACE_MAX];
	const struct rules *rules; /* its workspace's; NULL: none, so no name is allowed */
	struct ask_list asks;
	uint32_t lookups, waiters, conns;
};

struct listener {
	int fd; /* -1: a free slot */
	uint16_t gen;
	bool paused;
	struct rpc_listener is;
};

struct conn {
	TAILQ_ENTRY(conn) by_age; /* the one that has been idle longest first */
	TAILQ_ENTRY(conn) in_stirred;
	int fd;
	uint32_t slot;
	uint16_t gen;
	struct guard *guard; /* NULL: dead */
	bool dead, eof;
	bool stirred;     /* an answer came: it may go on with what it holds, in the next turn */
	uint32_t events;  /* that the loop watches for */
	uint32_t pending; /* queries that wait for an answer */
	uint64_t idle_ms;
	size_t in_len, out_len;
	uint8_t in[2 + DNSMSG_QUERY_MAX];
	uint8_t out[(RESOLVER_CONN_PENDING + 1) * (2 + DNSMSG_ANSWER_MAX)];
};
TAILQ_HEAD(conn_list, conn);

struct proxy {
	struct rpc_peer peer;
	uint16_t gen;
	uint32_t waiting; /* questions of it that are not answered yet */
};

struct resolver {
	struct config cfg;
	bool configured, go;
	struct loop loop;
	struct rpc_peer boss;
	uint8_t *rpc_buf;
	int hosts_fd;
	struct hosts *hosts;
	struct lookup *lookup;
	struct lease_table *cache;
	struct { /* hopname.c */
		struct rpc_resolved found;
		uint64_t until_ms; /* 0: not known */
		bool asking;
		struct from_list waiting;
	} hop;
	uint32_t lease_id;
	uint64_t queries;
	struct ask_list leasing; /* oldest first */
	struct conn_list conns, dead, stirred;
	bool paused;
	uint64_t resume_ms;
	struct guard guard[RESOLVER_GUARDS_MAX];
	struct workspace workspace[RESOLVER_WORKSPACES_MAX];
	struct listener listener[RESOLVER_LISTENERS_MAX];
	struct proxy proxy[CONFIG_WORKERS_MAX];
	struct conn *conn[RESOLVER_CONNS_MAX];
	uint16_t conn_gen[RESOLVER_CONNS_MAX];
};

/* The guard of this id, or NULL. */
struct guard *resolver_guard_of(struct resolver *r, uint64_t id);

/* Answers a proxy's question, if it is the same proxy still. */
void resolver_reply(struct resolver *r, const struct from *f, const struct rpc_resolved *a);
void resolver_reply_rc(struct resolver *r, const struct from *f, int rc);

#endif
