/* backend.h: where the values are: one interface, four places, in the keeper.
 *
 *	file            the vault (vault.h)
 *	dir             a mounted directory, one file per secret (Kubernetes)
 *	secret-service  the keyring of the workspace's owner, through a helper in that session
 *	exec            of single secrets, in a workspace of any kind: what a command says
 *
 * A question is answered once, by a callback, perhaps before the call returns. Nobody asks before the
 * verdict: what comes in here is read, and counted. A value lives from the answer to its freeing; only
 * exec keeps one, for the time that was set with it.
 *
 * Answers: -ENOENT no such secret; -ENOKEY the vault is locked; -ENOLCK the keyring is locked;
 * -EHOSTDOWN the helper does not run; -ECHILD the command failed (status says how), -ETIMEDOUT nobody
 * answered in time; -EROFS this place is not written by us; or another errno. Each with a sentence.
 */
#ifndef BACKEND_H
#define BACKEND_H

#include "config.h"
#include "loop.h"
#include "rpc.h"
#include "secret.h"
#include "vault.h"

#define BACKEND_ASK_MS 8000 /* for a helper to answer; the parent waits 10 s */

enum backend_op { BACKEND_READ, BACKEND_SET, BACKEND_DELETE, BACKEND_LIST, BACKEND_DROP };

struct backend_answer {
	int rc;
	int32_t status; /* with -ECHILD: exit status, 256 + signal, or 0: it could not be started */
	struct secret *value; /* READ: the callee may take() it; else it is freed */
	const char *names;    /* LIST: a NUL after each */
	size_t names_len;
	const char *why; /* rc < 0: a sentence; "" otherwise */
};

struct backend_ask;
typedef void backend_fn(struct backend_ask *a, struct backend_answer *r);

/* Owned by whoever asks, and alive until it is answered. */
struct backend_ask {
	struct backend_ask *next; /* where it waits; of no concern to the asker */
	enum backend_op op;
	uint32_t id;
	uint64_t deadline_ms;
	char workspace[RPC_WORKSPACE_MAX];
	char name[RPC_NAME_MAX];
	const struct secret *value; /* SET: good during the call */
	backend_fn *fn;
};

struct backend_place;
struct backend_command;

struct backends {
	struct vault **vault;        /* the keeper's; *vault NULL: locked, or none */
	const struct rpc_peer *boss; /* the keeper's, to have commands run */
	struct loop *loop;
	struct backend_place *places;     /* of the workspaces whose values are not in the vault */
	struct backend_command *commands; /* of the secrets that have one */
	struct rpc_stats *stats;
	uint32_t serial;
};

void backends_done(struct backends *b);
/* Values that are kept are wiped. */
void backends_forget(struct backends *b);
/* a's op, workspace, name, value and fn are set. */
void backend_ask(struct backends *b, struct backend_ask *a);
/* What waited too long is answered. The next time in ms from now; -1: none. */
int backends_turn(struct backends *b, uint64_t now_ms);

/* Does the workspace keep its values in the vault: they are lost with it then, and exported with it. */
bool backend_is_file(const struct backends *b, const char *workspace);

/* What the parent says: 0, or -EPROTO when it makes no sense. fd is taken over. */
int backend_set_place(struct backends *b, const struct rpc_place *q, int *fd) must_check;
int backend_set_helper(struct backends *b, const struct rpc_place *q, int *fd) must_check;
int backend_set_command(struct backends *b, const struct rpc_command *q) must_check;
int backend_command_output(struct backends *b, const struct rpc_command_run *q, int *fd) must_check;
int backend_command_end(struct backends *b, const struct rpc_command_run *q) must_check;

/* Events of the kinds below in the keeper's loop. buf: RPC_BUF bytes. */
void backend_on_helper(struct backends *b, uint32_t slot, uint16_t gen, void *buf);
void backend_on_output(struct backends *b, uint32_t slot, uint16_t gen);

enum backend_event { BACKEND_HELPER = 8, BACKEND_OUTPUT };

/* ---- for the backend_*.c ---- */

struct backend_place {
	struct backend_place *next;
	char workspace[RPC_WORKSPACE_MAX];
	uint32_t kind;          /* enum rpc_place_kind, not FILE */
	int dir;                /* DIR: owned */
	struct rpc_peer helper; /* SECRET_SERVICE: fd -1: away */
	uint32_t number;
	uint16_t gen;
	struct backend_ask *waiting; /* asked of the helper */
};

/* Answers, and frees the value unless the asker took it. status and value may be 0 and NULL. */
void backend_answer(struct backend_ask *a, int rc, struct secret *value, const struct err *e);

void backend_dir_ask(struct backends *b, struct backend_place *p, struct backend_ask *a);
void backend_helper_ask(struct backends *b, struct backend_place *p, struct backend_ask *a);
void backend_helper_end(struct backends *b, struct backend_place *p, const char *why);
int backend_helper_turn(struct backends *b, uint64_t now_ms);
/* The secret has a command: it was asked, or has answered. */
bool backend_command_ask(struct backends *b, struct backend_ask *a);
int backend_command_turn(struct backends *b, uint64_t now_ms);
void backend_commands_done(struct backends *b);

#endif
