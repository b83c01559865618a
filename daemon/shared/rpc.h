/* rpc.h: what the daemon's processes say to each other.
 *
 * SOCK_SEQPACKET socketpairs made by the parent; one message is one datagram: struct rpc_head, one
 * fixed struct, and for some operations a tail of bytes with a maximum. At most one descriptor goes
 * with it. The receiver serves a table; an unknown op, another size, a descriptor that was not asked
 * for or is missing, or a truncated datagram ends the peer (-EPROTO). The stronger side never takes a
 * size, path or index from the weaker one: it takes a name and looks it up in its own tables.
 *
 * Strings are NUL-terminated inside fixed arrays, zero-padded; rpc_str_ok() is checked by the
 * receiver before use. All integers host order. Everything here is memory of one machine, one build.
 *
 *	parent ── boss channel ──► holder, keeper, resolver, proxy N   (fd RPC_BOSS_FD in the child)
 *	proxy N ── peer channel ──► keeper, resolver                   (sent by RPC_WIRE)
 */
#ifndef RPC_H
#define RPC_H

#include "own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RPC_BOSS_FD 3

#define RPC_WORKSPACE_MAX 64    /* with NUL; [a-z0-9][a-z0-9-]{0,62} */
#define RPC_NAME_MAX      129   /* with NUL; secret name [A-Z_][A-Z0-9_]{0,127} */
#define RPC_HOST_MAX      254   /* with NUL; RFC 1035 presentation form, lower case, no final dot */
#define RPC_TAIL_MAX      65536 /* most bytes of any tail */
#define RPC_DOC_MAX       262144 /* a workspace document, by memfd */
#define RPC_ADDRS_MAX     16
#define RPC_SECRET_MAX    16384 /* bytes of a secret's value */
#define RPC_LEAF_MAX      2048  /* DER bytes of a leaf certificate */
#define RPC_INFLIGHT_MAX  128   /* requests a proxy may have open with the keeper or the resolver */

enum rpc_op {
	RPC_NONE = 0,
	/* parent → child */
	RPC_CONFIG = 1,    /* struct config (config.h); first message to every child */
	RPC_WIRE,          /* struct rpc_wire + fd */
	RPC_LISTENER,      /* struct rpc_listener + fd: to proxies (TCP) and the resolver (DNS) */
	RPC_LISTENER_GONE, /* struct rpc_listener */
	RPC_WORKSPACE, /* struct rpc_workspace + memfd: doc_len bytes of the canonical document, then
			   * the 64 bytes of its signature; so for all receivers */
	RPC_WORKSPACE_GONE, /* struct rpc_workspace */
	RPC_GUARD,          /* struct rpc_guard: a guard and its workspace */
	RPC_GUARD_GONE,     /* struct rpc_guard */
	RPC_SECRET_CHANGED, /* struct rpc_secret_ref: drop what was cached of it; no name: of all */
	RPC_AUDIT_KEY,      /* struct rpc_audit_key: to every process that writes the audit log */
	RPC_GO,             /* empty: drop what is left, lock, serve */
	RPC_AUDIT_RENEW,    /* struct rpc_audit_key + fd of the file to go on in; answered by RPC_AUDIT_RENEWED */
	/* child → parent */
	RPC_READY = 20, /* empty: sandbox is up, serving */
	RPC_LEASE,      /* struct rpc_lease (resolver); with an id: answered by RPC_LEASED */
	RPC_STATS,      /* struct rpc_stats: answer to RPC_STATS_ASK */
	RPC_AUDIT_RENEWED, /* struct rpc_audit_renewed */
	/* parent ↔ keeper: administration, one at a time, answered by RPC_ADMIN_DONE */
	RPC_STATS_ASK = 30, /* empty; every child answers RPC_STATS */
	RPC_VAULT_INIT, /* struct rpc_admin + fd of a new key file: make vault, signing key, CA, audit key;
			 * -EEXIST when there is a vault */
	RPC_VAULT_OPEN, /* struct rpc_admin + fd to read the key or the passphrase from. -ENOKEY: it opens otherwise;
			 * -EKEYREJECTED: another key; -ESTALE: an older file; -EAGAIN: too soon after a wrong one */
	RPC_SECRET_SET,    /* struct rpc_secret_ref + fd of a pipe with the value */
	RPC_SECRET_DELETE, /* struct rpc_secret_ref */
	RPC_SECRET_LIST,   /* struct rpc_secret_ref (name empty): tail = names, NUL after each */
	RPC_SIGN_DOC, /* struct rpc_workspace + memfd of doc_len bytes: tail = 64 signature bytes */
	RPC_CA_CERT,  /* empty: tail = DER */
	RPC_SIGN_KEY, /* empty: tail = 32 public key bytes */
	RPC_AUDIT_DERIVE,   /* struct rpc_audit_key (key empty): tail = 32 key bytes */
	RPC_WORKSPACE_DROP, /* struct rpc_workspace: delete all its secrets */
	RPC_VAULT_REWRAP, /* struct rpc_admin + fd as in OPEN: from now on that opens it, and nothing else */
	RPC_VAULT_LOCK,    /* empty: forget the keys; requests for its values get -ENOKEY */
	RPC_VAULT_STATE,   /* empty: tail = struct rpc_vault_state, without a key too */
	RPC_VAULT_BACKUP,  /* empty + fd of an empty file: the sealed vault is written there */
	RPC_VAULT_RESTORE, /* empty + fd of a backup, read-only */
	RPC_ADMIN_DONE, /* struct rpc_done + tail: what was asked for, or the sentence of the error */
	/* proxy → resolver */
	RPC_RESOLVE = 60, /* struct rpc_resolve */
	RPC_RESOLVED,     /* struct rpc_resolved */
	/* parent → resolver, the answer: that lease and all before it are in the kernel's map (or refused
	 * there): the client, which waits for its DNS answer until then, may connect */
	RPC_LEASED, /* empty */
	RPC_RESOLVE_PROXY, /* proxy → resolver, empty: the host of upstream.proxy, by the resolver's own configuration;
			    * answered by RPC_RESOLVED: public addresses, and those that a rule with `private` opens */
	/* parent ↔ holder */
	RPC_HOLD =
		70, /* struct rpc_hold + fd: keep it under that key, instead of one kept before */
	RPC_HOLD_DROP, /* struct rpc_hold: close those whose key is, or begins with "key/" */
	RPC_HOLD_LIST, /* empty: answered by one RPC_HOLD_ITEM each, then RPC_HOLD_END */
	RPC_HOLD_ITEM, /* struct rpc_hold + fd */
	RPC_HOLD_END,  /* empty; from the parent: close all and end */
	/* parent → keeper: where the values of a workspace are (backend.h) */
	RPC_PLACE = 80,   /* struct rpc_place: the vault, or a keyring whose helper is away */
	RPC_PLACE_DIR,    /* struct rpc_place + fd of the directory */
	RPC_PLACE_HELPER, /* struct rpc_place + fd: the helper's other end */
	RPC_COMMAND, /* struct rpc_command: a secret's value is what a command says, or is so no more */
	RPC_COMMAND_OUTPUT, /* struct rpc_command_run + fd: the pipe of one that was started */
	RPC_COMMAND_END,    /* struct rpc_command_run: it has ended, or did not start */
	/* keeper → parent */
	RPC_COMMAND_RUN, /* struct rpc_command_run: the parent finds the command in its own table */
	/* keeper → helper, answered by RPC_HELPER_DONE with the same id */
	RPC_HELPER_GET,    /* struct rpc_secret_ref */
	RPC_HELPER_SET,    /* struct rpc_secret_ref + tail: the value */
	RPC_HELPER_DELETE, /* struct rpc_secret_ref */
	RPC_HELPER_LIST,   /* struct rpc_secret_ref, name empty */
	RPC_HELPER_DONE,   /* struct rpc_done + tail: value; names, NUL after each; nothing */
	/* proxy → keeper, and the answers */
	RPC_LEAF_KEY =
		120,     /* empty + tail: SubjectPublicKeyInfo DER of this proxy's leaf key; once */
	RPC_SIGN_LEAF,  /* struct rpc_sign_leaf */
	RPC_LEAF,       /* struct rpc_done + tail: DER of the leaf certificate */
	RPC_CREDENTIAL, /* struct rpc_credential */
	RPC_CREDENTIAL_VALUE, /* struct rpc_done + tail: the value; of kind aws, in slot SIGN: the access
			       * key's id and, if there is one, LF and the session's token */
	RPC_TOKEN_ORDER, /* keeper → proxy, unasked: struct rpc_token_order + tail: the request, to be sent as it is */
	RPC_TOKEN_REPLY, /* struct rpc_token_reply + tail: the body of the response; not answered */
	RPC_TOKEN_STALE, /* struct rpc_token_stale: a host answered 401 to that token; not answered */
	RPC_SIGN,   /* struct rpc_sign + tail: the message that is signed (kind hmac) */
	RPC_SIGNED, /* struct rpc_done + tail: the signature; kind hmac: as it is written */
	RPC_FORMER, /* keeper → proxy, unasked: struct rpc_former + tail: patterns of the hosts that such a value went to
		     * (former.h), NUL after each */
	RPC_PRINTS, /* keeper → proxy, unasked: struct rpc_prints + tail: fingerprints of the workspace's values (prints.h) */
	RPC_FORMER_ASK, /* struct rpc_former_ask; answered by RPC_CREDENTIAL_VALUE */
	RPC_PROXY_PASSWORD, /* struct rpc_proxy_password: that of upstream.proxy, by the keeper's own configuration;
			     * answered by RPC_CREDENTIAL_VALUE */
	RPC_OP_COUNT,
};
_Static_assert(RPC_ADMIN_DONE < RPC_RESOLVE && RPC_RESOLVE_PROXY < RPC_HOLD && RPC_HOLD_END < RPC_PLACE && RPC_HELPER_DONE < RPC_LEAF_KEY,
	       "two operations have one number");

struct rpc_head {
	uint16_t op;
	uint16_t pad;
	uint32_t id; /* of a question; the answer repeats it; 0 where nothing is answered */
};

enum rpc_wire_kind {
	RPC_WIRE_KEEPER = 1, /* to a proxy: its channel to the keeper */
	RPC_WIRE_RESOLVER,   /* to a proxy: its channel to the resolver */
	RPC_WIRE_PROXY,      /* to keeper and resolver: the other end; index = proxy number */
	RPC_WIRE_AUDIT,      /* audit log, O_APPEND */
	RPC_WIRE_VAULT_DIR,  /* keeper: directory of the vault, its own */
	RPC_WIRE_CA_FILE,    /* proxy: PEM of the CAs that upstreams are checked against */
	RPC_WIRE_HOSTS,      /* resolver: hosts file */
	RPC_WIRE_LISTEN,     /* holder: its listening unix socket */
	RPC_WIRE_LOADS,      /* proxy: loads.h */
};

struct rpc_wire {
	uint32_t kind; /* enum rpc_wire_kind */
	uint32_t index;
};

enum rpc_listener_kind {
	RPC_LISTENER_PROXY = 1, /* TCP, per network namespace; guard is 0: the record tells */
	RPC_LISTENER_DNS_UDP,   /* per guard */
	RPC_LISTENER_DNS_TCP,   /* per guard */
};

struct rpc_listener {
	uint64_t netns; /* netns cookie */
	uint64_t guard;
	uint32_t kind;   /* enum rpc_listener_kind */
	uint16_t family; /* AF_INET, AF_INET6 */
	uint16_t port;
};

struct rpc_hold {
	char key[64]; /* "tcp/<netns>/4", "dns/<guard>/udp4", "link/<guard>/<n>" */
};

/* The memfd of RPC_WORKSPACE holds doc_len bytes of the document and 64 bytes of signature; that of
 * RPC_SIGN_DOC the document alone. Both sealed (fdio_memfd). */
struct rpc_workspace {
	char workspace[RPC_WORKSPACE_MAX];
	uint64_t version;
	uint64_t doc_len;
};

struct rpc_guard {
	uint64_t guard;
	char workspace[RPC_WORKSPACE_MAX];
};

struct rpc_secret_ref {
	char workspace[RPC_WORKSPACE_MAX];
	char name[RPC_NAME_MAX];
	uint32_t kind; /* RPC_SECRET_SET: enum kind, what the value must be; else 0 */
	uint32_t lines; /* RPC_SECRET_SET: 1: it may have more lines than one, being no part of a request */
};

struct rpc_audit_key {
	char writer[16];   /* "proxy0", "parent", … */
	uint8_t epoch[16]; /* random, per start of the writer and per file */
	uint8_t key[32];
};

struct rpc_audit_renewed {
	uint8_t epoch[16]; /* of the chain that has begun */
	uint64_t ended;	   /* number of the last line of the one before */
};

struct rpc_admin {
	uint32_t kind;        /* enum vaultrec_wrap_kind */
	uint32_t passes, kib; /* REWRAP to a passphrase: what it costs */
	uint64_t seen;        /* OPEN: the newest generation there was; an older file is refused */
};

#define RPC_VAULT_WRAPS_MAX 8
struct rpc_vault_state {
	uint8_t open;
	uint8_t there; /* 0: no file; the rest is 0 then */
	uint8_t wraps;
	uint8_t pad[5];
	uint64_t generation;
	uint32_t records;
	uint32_t wait_ms; /* until another passphrase may be tried */
	struct {
		uint32_t kind; /* enum vaultrec_wrap_kind */
		uint32_t passes, kib;
	} wrap[RPC_VAULT_WRAPS_MAX];
};

struct rpc_done {
	int32_t rc;     /* 0 or negative errno */
	int32_t status; /* RPC_CREDENTIAL_VALUE, -ECHILD: how the secret's command ended; 0: the number of an
			 * access token; else 0 */
	uint32_t tail_len;   /* bytes that follow */
	uint64_t generation; /* RPC_ADMIN_DONE: the vault file's, 0 when it is not open; else 0 */
};

struct rpc_lease {
	uint64_t guard;
	uint8_t addr[16]; /* v4-mapped */
	uint16_t port;
	uint16_t direct; /* 1: a `tcp` rule */
	uint32_t ttl;    /* seconds, clamped by the resolver */
	char host[RPC_HOST_MAX];
};

struct rpc_sign_leaf {
	uint64_t guard;
	char host[RPC_HOST_MAX];
};

struct rpc_credential {
	uint64_t guard; /* names the workspace, by the keeper's own table */
	uint16_t port;
	uint16_t slot; /* enum rules_slot */
	char name[RPC_NAME_MAX];
	char host[RPC_HOST_MAX];
};

struct rpc_former {
	uint64_t number; /* 0: none; only that a value of the workspace has changed */
	char workspace[RPC_WORKSPACE_MAX];
};

struct rpc_prints {
	char workspace[RPC_WORKSPACE_MAX];
};

struct rpc_former_ask {
	uint64_t guard;
	uint64_t number;
	uint16_t port;
	char host[RPC_HOST_MAX];
};

/* Who asks, and what for: a guard whose rules have that host and port. */
struct rpc_proxy_password {
	uint64_t guard;
	uint16_t port;
	char host[RPC_HOST_MAX];
};

/* The request for an access token (keeper_token.h, errand.h). */
struct rpc_token_order {
	uint32_t number;
	uint16_t port, pad;
	uint64_t guard;
	char name[RPC_NAME_MAX];
	char host[RPC_HOST_MAX];
	char path[512];
};

struct rpc_token_reply {
	uint32_t number;
	/* 0, -EACCES refused by the rules or the address, -EHOSTUNREACH, -ETIMEDOUT, -EBADMSG no HTTP, or too long */
	int32_t rc;
	int32_t status; /* of the response */
	uint32_t pad;
	int64_t date; /* its Date, seconds since 1970; 0: none */
};

struct rpc_token_stale {
	struct rpc_credential of;
	uint32_t number; /* of the token */
};

/* A signature by a secret of kind aws (slot SIGN: the fields of sigv4.h) or hmac (the slot its reference stands in). */
struct rpc_sign {
	struct rpc_credential of;
	uint64_t at_ms; /* hmac: the timestamp */
	uint32_t what;  /* enum sigv4_what */
	char time[17];
	char region[64], service[64];
	char before[64]; /* the signature before this one, in hex */
	uint8_t hash[32];
};

struct rpc_resolve {
	uint64_t guard;
	uint16_t port;
	char host[RPC_HOST_MAX];
};

struct rpc_resolved {
	/* 0, -ENOENT no such name, -ETIMEDOUT no answer to be had now, -EPERM no rule, -EACCES only refused
	 * addresses, -EAGAIN more than RPC_INFLIGHT_MAX open */
	int32_t rc;
	uint32_t count;
	uint32_t ttl;                    /* seconds */
	uint8_t addr[RPC_ADDRS_MAX][16]; /* v4-mapped, in the server's order, already judged */
};

enum rpc_place_kind { RPC_PLACE_FILE = 1, RPC_PLACE_MOUNTED, RPC_PLACE_SECRET_SERVICE };

struct rpc_place {
	char workspace[RPC_WORKSPACE_MAX];
	uint32_t kind; /* enum rpc_place_kind */
};

struct rpc_command {
	char workspace[RPC_WORKSPACE_MAX];
	char name[RPC_NAME_MAX];
	uint8_t there;  /* 0: the secret has no command any more */
	uint32_t ttl_s; /* its value is kept so long; 0: asked each time */
	uint32_t timeout_s;
};

struct rpc_command_run {
	uint32_t serial; /* the keeper's, of one run; 0 never */
	int32_t rc;      /* END: 0 it ended, or why it was not started or was stopped */
	int32_t status;  /* END: exit status, 256 + signal */
	char workspace[RPC_WORKSPACE_MAX]; /* RUN; else empty */
	char name[RPC_NAME_MAX];
};

struct rpc_stats {
	uint64_t vault_reads; /* keeper: values taken out of the vault for a credential */
	uint64_t dir_reads, helper_reads, command_reads,
		command_runs;                           /* keeper: the same, elsewhere */
	uint64_t leaves_signed;                         /* keeper */
	uint64_t tokens_asked;                          /* keeper: requests for access tokens */
	uint64_t requests, denied, connections, active; /* proxy */
	uint64_t audit_lines;                           /* proxy: that are recorded */
	uint64_t queries, upstream_queries;             /* resolver */
};

/* ---- sending and receiving ---- */

/* Sends one message; fd < 0: none goes along. Never blocks: -EAGAIN when the peer does not read.
 * `body` may be NULL with size 0; so may `tail`. */
int rpc_send(int sock, uint16_t op, uint32_t id, const void *body, size_t size, const void *tail,
	     size_t tail_len, int fd) must_check;

/* One received message, as the handler sees it. body is aligned for its struct; both live until the
 * next rpc_recv on the same buffer. fd is owned by the message: a handler that keeps it takes it. */
struct rpc_msg {
	uint16_t op;
	uint32_t id;
	const void *body;
	size_t size;
	const uint8_t *tail;
	size_t tail_len;
	int fd;
};

#define RPC_FD   1u /* exactly one descriptor comes along; without it none may */
#define RPC_ONCE 2u /* a second one ends the peer */

/* A row of a process's table. fn answers 0, or a negative errno that ends the peer. */
struct rpc_row {
	uint16_t op;
	size_t size;     /* bytes of the fixed struct */
	size_t tail_max; /* most bytes after it; 0: none */
	uint32_t flags;
	int (*fn)(void *ctx, uint32_t peer, struct rpc_msg *m);
};

/* The receiving side of one channel. */
struct rpc_peer {
	int fd;          /* owned; -1 once ended */
	uint32_t number; /* given to the handlers */
	uint64_t seen;   /* bits of RPC_ONCE ops, by row */
};

/* Reads and serves every message waiting on p (at most `most`). 0, or -EPIPE when the peer is gone,
 * -EPROTO when it broke the contract, or the handler's errno: the caller ends the peer then. `buf` is
 * scratch of RPC_BUF bytes, wiped before return since it may have held a value. */
#define RPC_BUF (sizeof(struct rpc_head) + 8192 + RPC_TAIL_MAX)
int rpc_serve(struct rpc_peer *p, const struct rpc_row *rows, size_t count, void *ctx, void *buf,
	      unsigned int most) must_check;

/* A connected pair, CLOEXEC, non-blocking, with room for RPC_INFLIGHT_MAX answers where the caller
 * has CAP_NET_ADMIN. */
int rpc_pair(int pair[2]) must_check;

/* s is NUL-terminated within max and not empty. */
bool rpc_str_ok(const char *s, size_t max);

#endif
