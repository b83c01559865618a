/* audit.h: the audit log: one JSON object per line, one write(2) per batch, a keyed chain per writer.
 *
 * Every process that decides writes for itself to the same O_APPEND file. A writer's lines carry
 * "w" (writer), "e" (epoch: random per start and per file), "n" (1, 2, 3 …) and, last, "mac": keyed BLAKE2b-256 over
 * the previous line's mac and all bytes of this line before `,"mac"`. The key moves forward with each
 * line (audit.c says how) and the old one is wiped, so a process that is taken over cannot
 * rewrite what it wrote before. The first key is derived by the keeper from (writer, epoch), so that
 * `log verify`, which asks the keeper for it, finds any change, loss in the middle or reorder.
 *
 * "Recorded" means that write(2) has returned. A short or failed write is an error of audit_flush: the
 * caller must then refuse what it was about to allow.
 */
#ifndef AUDIT_H
#define AUDIT_H

#include "config.h"
#include "reason.h"
#include "rpc.h"

#include <stdbool.h>
#include <stdint.h>

#define AUDIT_LINE_MAX 6600
#define AUDIT_EPOCH_HEX 32
#define AUDIT_SECRETS_MAX 16

enum audit_kind { AUDIT_DECISION = 1, AUDIT_OUTCOME, AUDIT_KERNEL, AUDIT_ADMIN, AUDIT_START, AUDIT_HEAD };

/* One line's content; NULL and 0 fields are left out. Strings are escaped on the way in; bytes that are
 * not UTF-8 become \ufffd; a string over its limit is cut and ends in "…". Slices need not end in NUL. */
struct audit_entry {
	enum audit_kind kind;
	uint64_t id;		 /* ties an outcome to its decision; one writer gives it once, from its start to its end */
	uint64_t guard;
	const char *workspace;
	uint32_t pid;
	bool has_uid;
	uint32_t uid;
	const char *comm;	 /* display only: chosen by the client */
	size_t comm_len;
	uint64_t cgroup;
	const uint8_t *addr;	 /* 16 bytes: original destination */
	uint16_t port;
	const char *scheme;	 /* "https", "http", "dns", "tcp" */
	const char *agent;	 /* what it calls itself (X-AS-Agent-ID) */
	size_t agent_len;
	const char *sni;
	const char *host;
	size_t host_len;
	uint16_t host_port;
	const char *method;
	size_t method_len;
	const char *path;	 /* without query; a reference in it is a name, not a value */
	size_t path_len;
	const char *rule;	 /* the rule's host pattern */
	bool allow;
	enum reason reason;	 /* when not allowed */
	const char *detail;	 /* class of address, hook, what an admin did; our own words */
	const char *secrets[AUDIT_SECRETS_MAX]; /* names */
	uint32_t secret_count;
	const char *foreign;	 /* where a credential stands that is not of the workspace; our own words */
	int status;		 /* HTTP status sent to the client */
	uint64_t bytes_up, bytes_down; /* body bytes */
	uint64_t redacted;	 /* finds of secrets in the response, masked */
	bool has_ms;
	uint32_t ms;
	uint64_t count;		 /* kernel events: how many this line stands for; lost: how many */
	const char *of, *of_epoch; /* HEAD: a chain that came as far as: */
	uint64_t of_n;
};

struct audit;

/* Takes ownership of fd. key is copied and the caller's copy should be wiped. Writes the chain's first
 * line ("kind":"start") into the buffer. -EINVAL for a writer's name that is not [a-z0-9-]. */
int audit_new(int fd, const struct rpc_audit_key *key, enum config_audit_sync sync, struct audit **ret) must_check;
struct audit *audit_free(struct audit *a); /* flushes; wipes the key */
/* Goes on in another file, with another chain: what was added is on the disk in the old one, whose last line was number
 * *ret_n; the new chain's first line is recorded. fd stays the caller's. -EINVAL: a key of another writer, and nothing was
 * done; any other error is sticky, as a failed write's. */
int audit_renew(struct audit *a, int fd, const struct rpc_audit_key *key, uint64_t *ret_n) must_check;

/* Adds a line to the buffer (flushing when it is nearly full). now_ns: CLOCK_REALTIME. -EIO sticky
 * after a failed write: nothing more is allowed to happen until it is mended. */
int audit_add(struct audit *a, const struct audit_entry *en, uint64_t now_ns) must_check;

/* Writes what is buffered. 0 only when all of it is recorded. Also calls fdatasync(2): each time with
 * CONFIG_SYNC_ALWAYS, else when AUDIT_SYNC_MS have gone by since the oldest line that is not on disk. */
#define AUDIT_SYNC_MS 200
int audit_flush(struct audit *a) must_check;

/* From now on `ask` starts fdatasync(2) elsewhere, when it is not due each time, and audit_synced() tells how that went: a
 * failure is sticky, as one of audit_flush(). It is not asked again before. */
void audit_sync_by(struct audit *a, int (*ask)(void *ctx), void *ctx);
void audit_synced(struct audit *a, int rc);

/* The number of the last line that is recorded; epoch_hex may be NULL. */
uint64_t audit_recorded(const struct audit *a, char epoch_hex[AUDIT_EPOCH_HEX + 1]);
bool audit_writer(const char *name); /* [a-z0-9-], short enough */

/* How long the loop may sleep before it must call audit_flush() for the sake of the disk: milliseconds,
 * -1 for ever. now_ms: CLOCK_MONOTONIC. */
int audit_wait_ms(const struct audit *a, uint64_t now_ms);

/* ---- verification, for the CLI: pure over given bytes ---- */
struct audit_verify;
/* find_key: the first key of (writer, epoch); 0 or negative errno. */
typedef int audit_key_fn(void *ctx, const char *writer, const uint8_t epoch[16], uint8_t key[32]);
struct audit_verify *audit_verify_new(audit_key_fn *fn, void *ctx);
struct audit_verify *audit_verify_free(struct audit_verify *v);
/* One line without its newline. 0, or -EBADMSG with a sentence naming writer and number. */
int audit_verify_line(struct audit_verify *v, const char *line, size_t len, struct err *e) must_check;
/* This chain is known to have come to line n, and must. Head lines say so too, of chains that may be elsewhere
 * altogether. -ENOMEM, -EINVAL. */
int audit_verify_need(struct audit_verify *v, const char *writer, const uint8_t epoch[16], uint64_t n) must_check;
/* There are no more lines. *ret_elsewhere: chains that head lines name and that are not in this log. -EBADMSG: the end of a
 * chain is missing. */
int audit_verify_end(struct audit_verify *v, size_t *ret_elsewhere, struct err *e) must_check;

#endif
