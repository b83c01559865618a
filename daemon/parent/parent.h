/* parent.h: the parent's one context. Root: BPF, cgroups, namespaces, children, documents on disk. It
 * reads config, its own files and the control socket's JSON; never a byte of an agent or an upstream.
 *
 * Owned by parent.c; proc.c, guards.c, workspaces.c, control.c work on it.
 */
#ifndef PARENT_H
#define PARENT_H

#include "../../bpf/egress.h"
#include "audit.h"
#include "config.h"
#include "enforce.h"
#include "loads.h"
#include "loop.h"
#include "netns.h"
#include "rpc.h"
#include "rules.h"
#include "sign.h"

#include <sys/types.h>

#define PARENT_WORKSPACES_MAX 256
#define PARENT_NETNS_MAX      256
#define PARENT_CONTROLS_MAX   64
#define PARENT_CGROUP_MAX     512
#define PARENT_BIRTHS_MAX     16
#define PARENT_RUNS_MAX       32

enum parent_kind {
	PARENT_BOSS = 1,
	PARENT_CHILD_END,
	PARENT_CONTROL_LISTEN,
	PARENT_CONTROL,
	PARENT_EVENTS,
	PARENT_SIGNAL,
	PARENT_GUARD,
	PARENT_COMMAND,
	PARENT_WATCH
};

enum proc_role { PROC_HOLDER, PROC_KEEPER, PROC_RESOLVER, PROC_PROXY, PROC_ROLES };
#define PROC_MAX (PROC_PROXY + CONFIG_WORKERS_MAX)

struct proc {
	enum proc_role role;
	uint32_t number;
	pid_t pid; /* 0: not running */
	int pidfd;
	struct rpc_peer boss;
	bool ready;
	uint64_t started_ms,
		again_ms; /* when it was started; when to start it again (0: not waiting) */
	uint32_t failures;
	struct rpc_stats stats; /* the last it told */
	uint32_t answered; /* which proc_stats() */
	uint8_t audit_epoch[16]; /* PROXY: of its chain */
};

struct workspace {
	struct rules *rules; /* NULL: free slot */
	char *doc;           /* canonical bytes, doc_len of them, then the signature */
	size_t doc_len;
	uint8_t sig[SIGN_SIG_LEN];
};

struct netns_slot {
	uint64_t cookie; /* 0: free */
	int tcp4, tcp6;
};

struct guard {
	uint64_t id; /* 0: free */
	char workspace[RPC_WORKSPACE_MAX];
	char name[64]; /* directory below cgroup_root; in place: only a name */
	char path[PARENT_CGROUP_MAX];
	char origin[PARENT_CGROUP_MAX]; /* where an attached process was moved from; else "" */
	bool in_place;			/* attached where it is: the directory is not ours to remove */
	bool settled;			/* false while an attach is under way: closed */
	uint64_t births[PARENT_BIRTHS_MAX]; /* cgroups of adopted sockets (adopt.h) */
	size_t birth_count;
	uint64_t netns;
	uint64_t since; /* wall clock, seconds */
	int events_fd;  /* cgroup.events */
	int cgroup_fd;
	int dns[NETNS_SOCKETS];
	uint16_t dns_port;
	uint16_t gen;
};

/* A secret's command that runs (commands.h). */
struct command_run {
	uint32_t serial; /* the keeper's; 0: free */
	pid_t pid, keeper;
	int pidfd;
	uint64_t until_ms;
	bool told; /* the keeper knows; what was killed is waited for */
};

struct ctl_conn;
struct json_t;

struct parent {
	struct config cfg;
	struct loop loop;
	struct enforce *en;
	struct adopt *adopt; /* NULL until there is something to adopt */
	int listen_cgroup;
	int signal_fd, lock_fd, control_fd;
	int state_dir, run_dir, workspaces_dir, trust_dir, vault_dir, guards_dir, current_dir,
		tls_dir;
	bool initialised; /* there is a vault */
	bool locked;	  /* it waits for its passphrase */
	bool serving;	  /* it was open once: audit chain, workspaces, resolver and proxies are there */
	uint64_t vault_seen; /* the newest of its changes (vaultkey.h) */
	bool stopping;
	uint8_t public_key[SIGN_PUBLIC_LEN];
	struct proc procs[PROC_MAX];
	size_t proc_count;
	struct loads *loads; /* of the proxies */
	int loads_fd;
	struct workspace workspaces[PARENT_WORKSPACES_MAX];
	struct netns_slot netns[PARENT_NETNS_MAX];
	struct guard guards[EG_GUARDS_MAX];
	uint64_t run_serial;
	struct ctl_conn *controls[PARENT_CONTROLS_MAX];
	uint16_t control_gen[PARENT_CONTROLS_MAX];
	struct audit *audit;
	uint64_t sweep_ms;
	bool told; /* a child was told something since proc_settled() */
	uint64_t heads_ms, heads_sum; /* when to ask next; of the numbers that are remembered */
	struct guards_held *held; /* while it starts: what the holder of a daemon before us keeps */
	size_t held_count;
	struct json_t *sources, *dirs; /* sources.h */
	int watch_fd;
	uint64_t looked_ms;
	struct command_run runs[PARENT_RUNS_MAX];
	uint8_t *rpc_buf;
};

/* The whole life: 0 or the exit status. */
int parent_main(const char *config_file);

/* After the vault was opened: takes the public key and the CA certificate from the keeper, writes signing.pub, ca.pem
 * and the trust files for guarded programs. The first time then: audit chain, workspaces, resolver, proxies. */
int parent_opened(struct parent *p, struct err *e) must_check;

/* An audit line of the parent (admin or kernel); a failed write is logged and makes administration refuse. */
int parent_audit(struct parent *p, const struct audit_entry *en) must_check;

#endif
