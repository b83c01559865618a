/* rules.h: a workspace's signed document, and the questions asked of it.
 *
 * Document, format 1, canonical JSON: UTF-8, no white space, fields in the order below, every field
 * present, strings with the fewest escapes, integers in decimal, one final newline. rules_write() is
 * the only writer; the Ed25519 signature (sign.h) is over exactly those bytes.
 *
 *	{"format":1,"workspace":"demo","version":3,"created":"2026-11-23T07:00:00Z","owner":0,
 *	 "rules":[{"host":"api.stripe.com","port":443,"mode":"inspect","methods":[],"paths":[],
 *	           "private":false}],
 *	 "secrets":[{"name":"STRIPE_KEY","hosts":["api.stripe.com"],"slots":["basic","header"]}]}
 *
 * Written only when they say something, so that older documents stay what they are:
 *	"foreign_credentials":"off" or "refuse"		after owner; else "warn"
 *	"upgrade":true,"client_cert":"CORP_CERT"	after private: plain requests to port 80 go to this rule's port
 *							over TLS; what we show an upstream that asks for a certificate
 *	"inject":[{"secret":"STRIPE_KEY","slot":"header","name":"Authorization","prefix":"Bearer ","suffix":""}]
 *							last in a rule: put into each request that the rule allows
 *	"ports":[443],"methods":["POST"],"paths":["/v1/x"],"placeholder":"sk-..."
 *							last in a secret: where else it is bound, and what stands for
 *							it beside its reference
 *	"kind":"aws","params":{"region":"eu-west-1"}	last in a secret: kind.h; parameters sorted by name
 *	"unix":["/run/x.sock","cgroup:/system.slice/x"]	last of all, sorted: unix sockets outside that its guards may reach,
 *							the one at a path, or those made in a cgroup
 *
 * Methods and paths empty: any. Rules are sorted by host, then port, then mode, methods, paths; secrets by
 * name; lists within them sorted, without repeats. Rules of one host and port differ in methods and paths
 * and injections only: they share everything else. Methods, paths, upgrade and client_cert are for mode inspect.
 * A host upgrades to one port, and has no rule for port 80 then. A document that is not
 * read `strict` may leave out a rule's fields but host and a secret's but name, and is made canonical.
 * Refused, with the place that is wrong: unknown or duplicate fields, IDN that is not punycode, single
 * labels, an address without "private", a port out of range, anything not canonical when `strict`.
 *
 * The questions are in rules.c; rulesform.c knows what one rule or secret may be, rulesedit.c what may stand together,
 * rulesdoc.c how it is written.
 *
 * Questions are pure functions of a compiled struct rules: no allocation, no I/O. Hosts in questions
 * are lower case, without a final dot, checked with rules_host_ok(); an address as origin_text() has it.
 */
#ifndef RULES_H
#define RULES_H

#include "err.h"
#include "kind.h"
#include "reason.h"
#include "rpc.h"

#include <stdbool.h>
#include <stdint.h>

#define RULES_FORMAT 1
#define RULES_MAX 2048	       /* rules of one workspace */
#define RULES_SECRETS_MAX 512
#define RULES_METHODS_MAX 16   /* of one rule, each at most 31 bytes of RFC 9110 token */
#define RULES_PATHS_MAX 32     /* of one rule, each at most 511 bytes */
#define RULES_BIND_HOSTS_MAX 64
#define RULES_BIND_PORTS_MAX 16
#define RULES_ATTACH_MAX 8     /* secrets that one rule puts into a request */
#define RULES_PEERS_MAX 32     /* unix sockets outside */
#define RULES_PEER_LEN 256     /* of one's text, with NUL; a path's alone is at most 107 bytes, as in sockaddr_un */
#define RULES_PLACEHOLDER_MIN 24
#define RULES_PLACEHOLDER_MAX 256 /* with NUL; RFC 3986 unreserved characters, so no encoding changes it */

enum rules_mode { RULES_INSPECT = 0, RULES_TUNNEL = 1, RULES_TCP = 2 };

enum rules_slot {
	RULES_SLOT_HEADER = 1 << 0,
	RULES_SLOT_BASIC = 1 << 1,
	RULES_SLOT_QUERY = 1 << 2,
	RULES_SLOT_PATH = 1 << 3,
	RULES_SLOT_BODY = 1 << 4,
	RULES_SLOT_CERT = 1 << 5, /* certificate and key that we show the upstream; alone, if at all */
	RULES_SLOT_PROXY = 1 << 6, /* password for upstream.proxy of the configuration; alone, and in no request of an agent */
	RULES_SLOT_SIGN = 1 << 15, /* of no document: kind aws, which signs the request as a whole */
};
#define RULES_SLOTS_DEFAULT (RULES_SLOT_HEADER | RULES_SLOT_BASIC)
#define RULES_SLOTS_ALL 31u   /* those of a request */
#define RULES_SLOTS_KNOWN 127u

/* What becomes of a credential in a request that is neither ours nor a reference. */
enum rules_foreign { RULES_FOREIGN_WARN = 0, RULES_FOREIGN_OFF = 1, RULES_FOREIGN_REFUSE = 2 };

/* A secret that a rule puts into each request. HEADER: the field `name` is prefix, value, suffix; BASIC: the
 * credentials before base64 are; QUERY: the parameter `name` is the value. What the request has of that
 * name goes. */
struct rules_attach {
	char secret[RPC_NAME_MAX];
	uint8_t slot;		 /* enum rules_slot: HEADER, BASIC or QUERY */
	char name[64];		 /* BASIC: "" */
	char prefix[64], suffix[64]; /* printable ASCII; QUERY: "" */
};

struct rules_rule {
	char host[RPC_HOST_MAX]; /* exact name, "*.example.com", or an address when `private` */
	uint16_t port;
	uint8_t mode;		 /* enum rules_mode */
	bool private;
	bool upgrade;		 /* plain requests to port 80 of the host go to this port, over TLS */
	char client_cert[RPC_NAME_MAX]; /* secret that holds it; "": none is shown */
	uint32_t method_count, path_count;
	char (*methods)[32];	 /* owned by the document */
	char (*paths)[512];	 /* globs: '*' within a segment; a segment "**" is any number of
				  * segments, at the end one or more */
	uint32_t attach_count;
	struct rules_attach *attach; /* owned by the document */
};

struct rules_secret {
	char name[RPC_NAME_MAX];
	uint32_t slots;		 /* of enum rules_slot; 0: unbound, refused everywhere */
	uint32_t host_count;	 /* 0: unbound, refused everywhere */
	char (*hosts)[RPC_HOST_MAX]; /* as in a rule; owned by the document */
	uint32_t port_count, method_count, path_count; /* 0: any that a rule allows */
	uint16_t ports[RULES_BIND_PORTS_MAX];
	char (*methods)[32];	 /* owned by the document, as in a rule */
	char (*paths)[512];
	char placeholder[RULES_PLACEHOLDER_MAX]; /* "": none */
	enum kind kind;
	char *params;		 /* block of kind.h, or NULL; owned by the document */
};

/* The document; changed only through the functions below. */
struct rules {
	char workspace[RPC_WORKSPACE_MAX];
	uint64_t version;
	char created[21];	 /* RFC 3339, seconds, Z */
	uint32_t owner;		 /* uid */
	enum rules_foreign foreign;
	uint32_t rule_count, secret_count, peer_count;
	struct rules_rule *rules;
	struct rules_secret *secrets;
	char (*peers)[RULES_PEER_LEN]; /* "unix" of the document; owned by it */
};

/* An empty document (denies all), version 0. NULL when out of memory. */
struct rules *rules_new(const char *workspace, uint32_t owner, const char *created);
struct rules *rules_free(struct rules *r);
OWN_CLEANUP(rules, struct rules, rules_free)

/* Reads a document. strict: the bytes must be exactly what rules_write() would write. */
int rules_parse(const char *text, size_t len, bool strict, struct rules **ret, struct err *e) must_check;

/* The canonical bytes, malloc'ed, caller frees. -E2BIG over RPC_DOC_MAX. */
int rules_write(const struct rules *r, char **ret, size_t *ret_len, struct err *e) must_check;

/* ---- changes, each checked as a parse would; -EEXIST, -ENOENT, -EINVAL, -E2BIG with a sentence ---- */
int rules_add(struct rules *r, const struct rules_rule *rule, struct err *e) must_check;
/* Removes every rule of that host (and port, when not 0). */
int rules_remove(struct rules *r, const char *host, uint16_t port, struct err *e) must_check;
/* Adds a secret with all that is said of it, or replaces it. `s` stays the caller's. */
int rules_put(struct rules *r, const struct rules_secret *s, struct err *e) must_check;
/* Only hosts and slots; what else is said of it stays. hosts NULL and count 0: unbound. */
int rules_bind(struct rules *r, const char *name, const char *const *hosts, size_t count, uint32_t slots,
	       struct err *e) must_check;
/* A list of injections as it stands in a document (jansson's json_t), not yet checked; NULL: none. Caller frees. */
struct json_t;
int rules_read_attach(const struct json_t *list, struct rules_attach **ret, uint32_t *ret_count,
		      struct err *e) must_check;
/* Sets the kind of a secret that is in the document; what else is said of it stays. */
int rules_kind(struct rules *r, const char *name, enum kind kind, const char *const *names, const char *const *values,
	       size_t count, struct err *e) must_check;
int rules_unbind(struct rules *r, const char *name, struct err *e) must_check;
/* A unix socket outside: an absolute path, or "cgroup:" and one below the cgroup mount. */
int rules_peer_add(struct rules *r, const char *peer, struct err *e) must_check;
int rules_peer_remove(struct rules *r, const char *peer, struct err *e) must_check;
#define RULES_PEER_CGROUP "cgroup:"

/* ---- syntax ---- */
/* Lower-cases and checks a host as typed (a rule's: with wildcard allowed when `wildcard`); accepts one
 * final dot and drops it. An IPv4/IPv6 address is accepted only with `address`. */
int rules_host(const char *typed, bool wildcard, bool address, char out[RPC_HOST_MAX], struct err *e) must_check;
bool rules_host_ok(const char *host);  /* already in the form of questions, no wildcard, no address */
bool rules_name_ok(const char *name);  /* secret: [A-Z_][A-Z0-9_]{0,127} */
bool rules_workspace_ok(const char *name); /* [a-z0-9][a-z0-9-]{0,62} */
const char *rules_mode_word(enum rules_mode mode);
int rules_slot_of(const char *word);   /* one RULES_SLOT_* bit, or 0 */
const char *rules_slot_word(enum rules_slot slot);
const char *rules_foreign_word(enum rules_foreign foreign);
bool rules_foreign_of(const char *word, enum rules_foreign *ret);

/* ---- questions ---- */
/* "*.example.com" = one or more labels below, never the apex; otherwise equality. */
bool rules_host_match(const char *pattern, const char *host);

/* May this name be resolved at all: some rule has it, at any port. ret_private: any of them is private. */
bool rules_names(const struct rules *r, const char *host, bool *ret_private);

/* The rule for host and port: exact hosts before wildcards, longer wildcards before shorter. The most
 * particular pattern that has the port decides alone, in all questions below; NULL and
 * *why = EMPTY_ALLOWLIST, DOMAIN (no rule for the host) or POLICY (host, but not this port). */
const struct rules_rule *rules_find(const struct rules *r, const char *host, uint16_t port, enum reason *why);

/* The rule for the whole request: as rules_find, then method and path (normalised, without query).
 * All rules of host and port are tried; the first that allows is returned. */
const struct rules_rule *rules_judge(const struct rules *r, const char *host, uint16_t port,
				     const char *method, const char *path, enum reason *why);

/* A rule by which a plain request to port 80 of the host is sent to the rule's port over TLS; NULL: none. */
const struct rules_rule *rules_upgrade(const struct rules *r, const char *host);

/* Does any rule of this host and port look at paths (then paths must normalise: rules_path). */
bool rules_has_paths(const struct rules *r, const char *host, uint16_t port);

/* Normalises an origin-form path (no query) for matching into out[cap]: percent-decoded unreserved
 * characters, upper-case hex; dot segments, "//", encoded slash, backslash or NUL: -EINVAL. */
int rules_path(const char *path, size_t len, char *out, size_t cap) must_check;

const struct rules_secret *rules_secret(const struct rules *r, const char *name);

/* The slots that it may stand in at all: kind aws has SIGN alone; kind hmac, of those it is bound to, header and
 * query. */
uint32_t rules_secret_slots(const struct rules_secret *s);

/* May this secret go to this host and port in this slot (exactly one RULES_SLOT_* bit): REASON_NONE
 * means yes; else SECRET_UNKNOWN, SECRET_HOST, SECRET_SLOT. The allowlist must have host and port in mode
 * inspect (else SECRET_HOST), for RULES_SLOT_CERT in a rule that names it; whether this request is allowed is
 * rules_judge's question. */
enum reason rules_secret_may(const struct rules *r, const char *name, const char *host, uint16_t port,
			     enum rules_slot slot);

/* The same for one request: also SECRET_PATH, by the secret's own methods and paths. path: normalised, without
 * query; NULL when it does not normalise: then a secret with paths goes nowhere. */
/* Is it the password for a corporate proxy at this host and port: bound there, in slot proxy. No rule is asked: no agent
 * goes there. */
bool rules_secret_for_proxy(const struct rules *r, const char *name, const char *host, uint16_t port);
enum reason rules_secret_may_in(const struct rules *r, const char *name, const char *host, uint16_t port,
				enum rules_slot slot, const char *method, const char *path);

/* Does anything here ask for the path, beside rules_has_paths: a secret's paths. */
bool rules_secrets_have_paths(const struct rules *r);

/* May any secret stand in the body of this request. */
bool rules_body_secrets(const struct rules *r, const char *host, uint16_t port, const char *method,
			const char *path);

/* What the rules that allow this request put into it, of all of them: the number, or -E2BIG, or -EEXIST when two
 * differ in what stands in one place. Pointers live as long as r. */
int rules_attached(const struct rules *r, const char *host, uint16_t port, const char *method, const char *path,
		   const struct rules_attach *ret[RULES_ATTACH_MAX]) must_check;

#endif
