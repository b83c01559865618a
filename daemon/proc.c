/* proc.c: see proc.h.
 *
 * A child's life: spawn → CONFIG, WIREs, keys, documents, GO → READY → serving → end → again after a pause that
 * doubles with each quick failure (100 ms to 10 s). Channels between children are made here, one pair per proxy and
 * partner; when the keeper or the resolver is started again every proxy gets a new end. The holder is not a child like
 * the others: it outlives us, and a daemon that starts finds it at its socket.
 */
#include "proc.h"

#include "commands.h"
#include "fdio.h"
#include "heads.h"
#include "guards.h"
#include "log.h"
#include "origin.h"
#include "sources.h"
#include "vaultkey.h"
#include "workspaces.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define PROC_ASK_MS       10000
#define PROC_READY_MS     15000
#define PROC_STATS_MS     1000
#define PROC_PAUSE_MS     100
#define PROC_PAUSE_MAX_MS 10000
#define PROC_HELD_MAX 8192
#define PROC_SETTLED_MS   10000

static int proc_pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void proc_kill(const struct proc *c)
{
	if (c->pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, c->pidfd, SIGKILL, NULL, 0);
}

static const char *const proc_words[PROC_ROLES] = {"holder", "keeper", "resolver", "proxy"};

const char *proc_role_word(enum proc_role role)
{
	return proc_words[role];
}

static struct proc *proc_of(struct parent *p, enum proc_role role)
{
	return &p->procs[role];
}

static void proc_name(const struct proc *c, char out[24])
{
	if (c->role == PROC_PROXY)
		(void)snprintf(out, 24, "proxy%u", c->number);
	else
		(void)snprintf(out, 24, "%s", proc_words[c->role]);
}

/* ---- starting ---- */

/* In the child: descriptors 0 (null), 1 and 2 (the log), 3 (boss), nothing else; empty environment. */
static _Noreturn void proc_exec(const struct proc *c, int boss)
{
	char number[12];
	char *argv[] = {(char *)(uintptr_t) "agentsecretsd", (char *)(uintptr_t)proc_words[c->role],
			number, NULL};
	char *envp[] = {NULL};
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)snprintf(number, sizeof(number), "%u", c->number);
	if (null < 0 || dup2(boss, RPC_BOSS_FD) < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) < 0 || fcntl(RPC_BOSS_FD, F_SETFD, 0) < 0)
		_exit(126);
	if (syscall(SYS_close_range, RPC_BOSS_FD + 1, ~0U, 0) < 0)
		_exit(126);
	(void)execve("/proc/self/exe", argv, envp);
	_exit(127);
}

static int proc_spawn(struct parent *p, struct proc *c, struct err *e)
{
	struct loop_key key = {.slot = (uint32_t)(c - p->procs)};
	auto_close int ours = -1, theirs = -1;
	int pair[2], rc = rpc_pair(pair);

	if (rc < 0)
		return err_set(e, rc, "socketpair: %s", strerror(-rc));
	ours = pair[0];
	theirs = pair[1];
	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		return err_set(e, -errno, "fork: %s", strerror(errno));
	}
	if (c->pid == 0)
		proc_exec(c, theirs);
	c->started_ms = loop_now_ms();
	c->ready = false;
	c->again_ms = 0;
	c->boss = (struct rpc_peer){.fd = take_fd(&ours), .number = key.slot};
	c->pidfd = proc_pidfd(c->pid);
	key.kind = PARENT_CHILD_END;
	rc = c->pidfd < 0 ? -errno : loop_watch(&p->loop, c->pidfd, key, EPOLLIN);
	key.kind = PARENT_BOSS;
	if (rc == 0)
		rc = loop_watch(&p->loop, c->boss.fd, key, EPOLLIN);
	if (rc == 0)
		rc = rpc_send(c->boss.fd, RPC_CONFIG, 0, &p->cfg, sizeof(p->cfg), NULL, 0, -1);
	return rc < 0 ? err_set(e, rc, "cannot start %s: %s", proc_words[c->role], strerror(-rc))
		      : 0;
}

static int proc_wire(struct proc *c, enum rpc_wire_kind kind, uint32_t index, int fd)
{
	struct rpc_wire w = {.kind = kind, .index = index};

	return rpc_send(c->boss.fd, RPC_WIRE, 0, &w, sizeof(w), NULL, 0, fd);
}

static int proc_wire_file(struct proc *c, enum rpc_wire_kind kind, const char *path, int flags,
			  struct err *e)
{
	auto_close int fd = open(path, flags | O_CLOEXEC, 0600);
	int rc;

	if (fd < 0)
		return err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
	rc = proc_wire(c, kind, 0, fd);
	return rc < 0 ? err_set(e, rc, "cannot hand %s over: %s", path, strerror(-rc)) : 0;
}

/* A pair between a proxy and the keeper or the resolver, both of which run. */
static int proc_join(struct proc *proxy, struct proc *partner, enum rpc_wire_kind kind,
		     struct err *e)
{
	int pair[2], rc = rpc_pair(pair);
	auto_close int a = -1, b = -1;

	if (rc < 0)
		return err_set(e, rc, "socketpair: %s", strerror(-rc));
	a = pair[0];
	b = pair[1];
	rc = proc_wire(partner, RPC_WIRE_PROXY, proxy->number, a);
	if (rc == 0)
		rc = proc_wire(proxy, kind, 0, b);
	return rc < 0 ? err_set(e, rc, "cannot join %s: %s", proc_words[partner->role],
				strerror(-rc))
		      : 0;
}

static void proc_join_all(struct parent *p, struct proc *partner, enum rpc_wire_kind kind)
{
	struct err e = {0};
	size_t i;

	for (i = PROC_PROXY; i < p->proc_count; i++)
		if (p->procs[i].ready && proc_join(&p->procs[i], partner, kind, &e) < 0)
			log_error("%s; proxy%u goes on without it", e.text, p->procs[i].number);
}

/* Waits until c has said RPC_READY, serving what it says before. */
static int proc_wait_ready(struct parent *p, struct proc *c, struct err *e)
{
	uint64_t end = loop_now_ms() + PROC_READY_MS;

	while (!c->ready && c->boss.fd >= 0) {
		uint64_t now = loop_now_ms();
		struct pollfd pfd = {.fd = c->boss.fd, .events = POLLIN};

		if (now >= end)
			return err_set(e, -ETIMEDOUT,
				       "%s did not get ready in %d s; see its messages above",
				       proc_words[c->role], PROC_READY_MS / 1000);
		if (poll(&pfd, 1, (int)(end - now)) > 0)
			proc_on_boss(p, (uint32_t)(c - p->procs), 0, POLLIN);
	}
	if (!c->ready)
		return err_set(e, -EPIPE, "%s ended while starting; see its messages above",
			       proc_words[c->role]);
	return 0;
}

static int proc_go(struct parent *p, struct proc *c, struct err *e)
{
	int rc = rpc_send(c->boss.fd, RPC_GO, 0, NULL, 0, NULL, 0, -1);

	return rc < 0 ? err_set(e, rc, "%s is gone", proc_words[c->role])
		      : proc_wait_ready(p, c, e);
}

/* ---- the holder ---- */

static void proc_holder_path(const struct parent *p, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(sa->sun_path, sizeof(sa->sun_path), "%.80s/holder.sock", p->cfg.run_dir);
}

static int proc_holder_listen(const struct parent *p, struct err *e)
{
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;

	proc_holder_path(p, &sa);
	(void)unlink(sa.sun_path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    chmod(sa.sun_path, 0600) < 0 || listen(fd, 4) < 0)
		return err_set(e, -errno, "cannot listen on %s: %s", sa.sun_path, strerror(errno));
	return take_fd(&fd);
}

static int proc_holder_spawn(struct parent *p, struct err *e)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	auto_close int fd = proc_holder_listen(p, e);
	int rc;

	if (fd < 0)
		return fd;
	rc = proc_spawn(p, c, e);
	if (rc == 0)
		rc = proc_wire(c, RPC_WIRE_LISTEN, 0, fd);
	return rc < 0 ? rc : proc_go(p, c, e);
}

/* The one that a daemon before us left running. -ENOENT: none. */
static int proc_holder_take(struct parent *p)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct loop_key key = {.slot = (uint32_t)(c - p->procs)};
	struct sockaddr_un sa;
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int rc;

	proc_holder_path(p, &sa);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -ENOENT;
	/* Who called listen() last: the holder, while it was root (holder.c). */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.uid != 0)
		return -ENOENT;
	c->pid = cred.pid;
	c->pidfd = proc_pidfd(cred.pid);
	c->started_ms = loop_now_ms();
	c->boss = (struct rpc_peer){.fd = take_fd(&fd), .number = key.slot};
	c->ready = true;
	key.kind = PARENT_CHILD_END;
	rc = c->pidfd < 0 ? -errno : loop_watch(&p->loop, c->pidfd, key, EPOLLIN);
	key.kind = PARENT_BOSS;
	if (rc == 0)
		rc = loop_watch(&p->loop, c->boss.fd, key, EPOLLIN);
	if (rc < 0) {
		own_close(&c->boss.fd);
		own_close(&c->pidfd);
		c->pid = 0;
	}
	return rc;
}

struct proc_held {
	struct guards_held *item;
	size_t count, max;
	bool end;
};

static int proc_held_item(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_hold *hold = m->body;
	struct proc_held *h = ctx;

	(void)peer;
	if (!rpc_str_ok(hold->key, sizeof(hold->key)) || h->count == h->max)
		return -EPROTO;
	memcpy(h->item[h->count].key, hold->key, sizeof(hold->key));
	h->item[h->count++].fd = take_fd(&m->fd);
	return 0;
}

static int proc_held_end(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_held *h = ctx;

	(void)peer;
	(void)m;
	h->end = true;
	return 0;
}

/* Takes over what the old holder has: listeners for guards.c; its links it may keep. */
static void proc_holder_list(struct parent *p, struct proc_held *h)
{
	static const struct rpc_row rows[] = {
		{RPC_HOLD_ITEM, sizeof(struct rpc_hold), 0, RPC_FD, proc_held_item},
		{RPC_HOLD_END, 0, 0, 0, proc_held_end},
	};
	struct proc *c = proc_of(p, PROC_HOLDER);
	uint64_t end = loop_now_ms() + PROC_ASK_MS;
	int rc = rpc_send(c->boss.fd, RPC_HOLD_LIST, 1, NULL, 0, NULL, 0, -1);

	while (rc == 0 && !h->end && loop_now_ms() < end) {
		struct pollfd pfd = {.fd = c->boss.fd, .events = POLLIN};

		if (poll(&pfd, 1, 1000) > 0)
			rc = rpc_serve(&c->boss, rows, ARRAY_SIZE(rows), h, p->rpc_buf, 64);
	}
	if (!h->end)
		log_warn("the holder did not list what it keeps; listeners are made anew");
}

static void proc_hold_all(struct parent *p)
{
	int fds[64];
	size_t n = enforce_fds(p->en, 0, fds, ARRAY_SIZE(fds)), i;
	char key[64];

	proc_unhold(p, "link/0"); /* of a daemon that had others */
	for (i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "link/0/%zu", i);
		proc_hold(p, key, fds[i]);
	}
}

void proc_hold(struct parent *p, const char *key, int fd)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	struct rpc_hold hold = {0};

	(void)snprintf(hold.key, sizeof(hold.key), "%s", key);
	if (c->boss.fd < 0 ||
	    rpc_send(c->boss.fd, RPC_HOLD, 0, &hold, sizeof(hold), NULL, 0, fd) < 0)
		log_warn("the holder did not take %s; it is held by the daemon alone", key);
}

void proc_unhold(struct parent *p, const char *key)
{
	struct proc *c = proc_of(p, PROC_HOLDER);
	struct rpc_hold hold = {0};

	(void)snprintf(hold.key, sizeof(hold.key), "%s", key);
	if (c->boss.fd >= 0 &&
	    rpc_send(c->boss.fd, RPC_HOLD_DROP, 0, &hold, sizeof(hold), NULL, 0, -1) < 0)
		log_warn("the holder did not let go of %s", key);
}

/* ---- the keeper ---- */

static int proc_keeper_start(struct parent *p, struct err *e)
{
	struct proc *c = proc_of(p, PROC_KEEPER);
	int rc = proc_spawn(p, c, e);

	if (rc == 0) {
		rc = proc_wire(c, RPC_WIRE_VAULT_DIR, 0, p->vault_dir);
		if (rc < 0)
			return err_set(e, rc, "the keeper is gone");
		if (p->initialised)
			rc = vaultkey_open(p, e);
	}
	if (rc == 0 && (workspaces_tell(p, c) < 0 || guards_tell(p, c) < 0 || sources_tell(p) < 0))
		return err_set(e, -EIO, "the keeper did not take the workspaces");
	return rc < 0 ? rc : proc_go(p, c, e);
}

/* ---- resolver and proxies ---- */

static int proc_resolver_start(struct parent *p, struct err *e)
{
	struct proc *c = proc_of(p, PROC_RESOLVER);
	int rc = proc_spawn(p, c, e);

	if (rc == 0 && p->cfg.hosts_file[0])
		rc = proc_wire_file(c, RPC_WIRE_HOSTS, p->cfg.hosts_file, O_RDONLY, e);
	if (rc == 0 && (workspaces_tell(p, c) < 0 || guards_tell(p, c) < 0))
		return err_set(e, -EIO, "the resolver did not take the workspaces");
	return rc < 0 ? rc : proc_go(p, c, e);
}

static int proc_proxy_start(struct parent *p, struct proc *c, struct err *e)
{
	struct rpc_audit_key key = {0};
	auto_free char *bytes = NULL;
	char name[24];
	int rc = proc_spawn(p, c, e);

	if (rc < 0)
		return rc;
	proc_name(c, name);
	(void)snprintf(key.writer, sizeof(key.writer), "%.15s", name);
	if (getrandom(key.epoch, sizeof(key.epoch), 0) != sizeof(key.epoch))
		return err_set(e, -EIO, "no randomness");
	memcpy(c->audit_epoch, key.epoch, sizeof(key.epoch));
	c->stats.audit_lines = 0;
	rc = proc_ask(p, RPC_AUDIT_DERIVE, &key, sizeof(key), -1, sizeof(key.key), &bytes, NULL, e);
	if (rc == 0)
		rc = proc_wire_file(c, RPC_WIRE_AUDIT, p->cfg.audit_log,
				    O_WRONLY | O_APPEND | O_CREAT, e);
	if (rc == 0)
		rc = proc_wire_file(c, RPC_WIRE_CA_FILE, p->cfg.ca_file, O_RDONLY, e);
	if (rc == 0 && p->cfg.extra_ca_file[0])
		rc = proc_wire_file(c, RPC_WIRE_CA_FILE, p->cfg.extra_ca_file, O_RDONLY, e);
	if (rc < 0)
		return rc;
	memcpy(key.key, bytes, sizeof(key.key));
	rc = rpc_send(c->boss.fd, RPC_AUDIT_KEY, 0, &key, sizeof(key), NULL, 0, -1);
	explicit_bzero(&key, sizeof(key));
	explicit_bzero(bytes, sizeof(key.key));
	if (rc == 0)
		rc = proc_join(c, proc_of(p, PROC_KEEPER), RPC_WIRE_KEEPER, e);
	if (rc == 0)
		rc = proc_join(c, proc_of(p, PROC_RESOLVER), RPC_WIRE_RESOLVER, e);
	if (rc == 0 && (workspaces_tell(p, c) < 0 || guards_tell(p, c) < 0))
		rc = -EIO;
	return rc < 0 ? err_set(e, rc, "cannot start %s: %s", name,
				e->text[0] ? e->text : strerror(-rc))
		      : proc_go(p, c, e);
}

static int proc_start(struct parent *p, struct proc *c, struct err *e)
{
	switch (c->role) {
	case PROC_HOLDER:
		return proc_holder_spawn(p, e);
	case PROC_KEEPER:
		return proc_keeper_start(p, e);
	case PROC_RESOLVER:
		return proc_resolver_start(p, e);
	case PROC_PROXY:
		return proc_proxy_start(p, c, e);
	case PROC_ROLES:
		break;
	}
	return -EINVAL;
}

int proc_take_holder(struct parent *p, struct err *e)
{
	struct proc_held held = {.max = PROC_HELD_MAX};
	size_t i;

	for (i = 0; i < PROC_PROXY + p->cfg.workers; i++)
		p->procs[i] = (struct proc){
			.role = i < PROC_PROXY ? (enum proc_role)i : PROC_PROXY,
			.number = i < PROC_PROXY ? 0 : (uint32_t)(i - PROC_PROXY),
			.pidfd = -1,
			.boss = {.fd = -1}};
	p->proc_count = i;
	p->held = calloc(held.max, sizeof(*p->held));
	if (!p->held)
		return err_set(e, -ENOMEM, "out of memory");
	held.item = p->held;
	if (proc_holder_take(p) == 0)
		proc_holder_list(p, &held);
	p->held_count = held.count;
	return 0;
}

int proc_start_trusted(struct parent *p, struct err *e)
{
	size_t i;
	int rc = proc_of(p, PROC_HOLDER)->ready ? 0 : proc_holder_spawn(p, e);

	if (rc == 0) {
		proc_hold_all(p);
		guards_restore(p, p->held, p->held_count);
		rc = proc_keeper_start(p, e);
	}
	for (i = 0; i < p->held_count; i++)
		own_close(&p->held[i].fd);
	p->held_count = 0;
	free(take(p->held));
	return rc;
}

int proc_start_facing(struct parent *p, struct err *e)
{
	size_t i;
	int rc = proc_resolver_start(p, e);

	for (i = PROC_PROXY; i < p->proc_count && rc == 0; i++)
		rc = proc_proxy_start(p, &p->procs[i], e);
	return rc;
}

/* ---- serving, ending, starting again ---- */

static int proc_ready(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct parent *p = ctx;

	(void)m;
	p->procs[peer].ready = true;
	return 0;
}

/* The resolver says which address; whether a rule opens it is judged here, from the parent's own document. */
static bool proc_lease_ok(struct parent *p, const struct rpc_lease *l)
{
	struct guard *g = guards_find(p, l->guard);
	struct workspace *w = g ? workspaces_find(p, g->workspace) : NULL;
	const struct rules_rule *rule;
	enum reason why;

	rule = w ? rules_find(w->rules, l->host, l->port, &why) : NULL;
	if (!rule || (l->direct && rule->mode != RULES_TCP) || (!l->direct && !rule->private))
		return false;
	return !origin_special(&p->cfg, l->addr) ||
	       (rule->private && origin_openable(l->addr, false));
}

/* The line for an address that a name's rule of mode tcp opens for a guard: who connects there is told by the kernel's
 * own events, which know the address only. None for one that is open already. */
static int proc_lease_recorded(struct parent *p, const struct rpc_lease *l, const struct eg_lease_key *key)
{
	const struct guard *g = guards_find(p, l->guard);
	char detail[64];
	struct audit_entry en = {.kind = AUDIT_DECISION,
				 .guard = l->guard,
				 .workspace = g ? g->workspace : NULL,
				 .cgroup = l->guard,
				 .scheme = "tcp",
				 .addr = l->addr,
				 .port = l->port,
				 .host = l->host,
				 .host_len = strlen(l->host),
				 .host_port = l->port,
				 .allow = true,
				 .detail = detail};

	if (!l->direct || enforce_leased(p->en, key, loop_now_ms() * 1000000ULL))
		return 0;
	(void)snprintf(detail, sizeof(detail), "opened for %u s, by DNS", l->ttl);
	return parent_audit(p, &en);
}

static int proc_lease(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_lease *l = m->body;
	struct parent *p = ctx;
	struct eg_lease_key key = {.guard = l->guard, .port = l->port};
	struct eg_lease lease = {.flags = l->direct ? EG_LEASE_DIRECT : 0};

	if (p->procs[peer].role != PROC_RESOLVER || !rpc_str_ok(l->host, sizeof(l->host)) ||
	    !rules_host_ok(l->host))
		return -EPROTO;
	memcpy(key.addr, l->addr, sizeof(key.addr));
	lease.expires = loop_now_ms() * 1000000ULL + (uint64_t)l->ttl * 1000000000ULL;
	if (proc_lease_ok(p, l) &&
	    (proc_lease_recorded(p, l, &key) < 0 || enforce_lease(p->en, &key, &lease) < 0))
		log_warn(
			"a lease for %s was not taken by the kernel; connections to it are refused",
			l->host);
	/* The resolver holds the answer back until now: the client connects at once. */
	return m->id ? rpc_send(p->procs[peer].boss.fd, RPC_LEASED, m->id, NULL, 0, NULL, 0, -1)
		     : 0;
}

static int proc_took_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct parent *p = ctx;

	memcpy(&p->procs[peer].stats, m->body, sizeof(struct rpc_stats));
	if (m->id)
		p->procs[peer].answered = m->id;
	return 0;
}

static int proc_command_run(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_command_run *q = m->body;
	struct parent *p = ctx;

	if (p->procs[peer].role != PROC_KEEPER || q->serial == 0 || !rpc_str_ok(q->workspace, sizeof(q->workspace)) ||
	    !rpc_str_ok(q->name, sizeof(q->name)))
		return -EPROTO;
	commands_run(p, q);
	return 0;
}

static const struct rpc_row proc_rows[] = {
	{RPC_COMMAND_RUN, sizeof(struct rpc_command_run), 0, 0, proc_command_run},
	{RPC_READY, 0, 0, 0, proc_ready},
	{RPC_LEASE, sizeof(struct rpc_lease), 0, 0, proc_lease},
	{RPC_STATS, sizeof(struct rpc_stats), 0, 0, proc_took_stats},
};

/* The channel is over: the process is ended, and proc_on_end does the rest. */
static void proc_lost(struct proc *c, int rc)
{
	char name[24];

	proc_name(c, name);
	own_close(&c->boss.fd);
	c->ready = false;
	if (rc != -EPIPE)
		log_error("%s broke the contract (%s); ended", name, strerror(-rc));
	proc_kill(c);
}

void proc_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	struct proc *c = &p->procs[slot];
	int rc;

	(void)gen;
	(void)events;
	if (c->boss.fd < 0)
		return;
	rc = rpc_serve(&c->boss, proc_rows, ARRAY_SIZE(proc_rows), p, p->rpc_buf, 64);
	if (rc < 0)
		proc_lost(c, rc);
}

static uint64_t proc_pause(struct proc *c, uint64_t now)
{
	uint64_t pause = PROC_PAUSE_MS;

	c->failures = now - c->started_ms > PROC_SETTLED_MS ? 0 : c->failures + 1;
	if (c->failures > 1)
		pause <<= c->failures < 8 ? c->failures - 1 : 7;
	return pause < PROC_PAUSE_MAX_MS ? pause : PROC_PAUSE_MAX_MS;
}

void proc_on_end(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	struct proc *c = &p->procs[slot];
	uint64_t now = loop_now_ms();
	char name[24];
	int status = 0;

	(void)gen;
	(void)events;
	if (c->pid <= 0)
		return;
	/* A holder that an earlier daemon started is not our child: its pidfd says that it ended, not how. */
	if (waitpid(c->pid, &status, WNOHANG) != c->pid && errno != ECHILD)
		return;
	proc_name(c, name);
	c->pid = 0;
	c->ready = false;
	own_close(&c->pidfd);
	own_close(&c->boss.fd);
	if (p->stopping)
		return;
	heads_ended(p, c);
	c->again_ms = now + proc_pause(c, now);
	if (WIFSIGNALED(status))
		log_error("%s was ended by signal %d; starting it again in %llu ms", name,
			  WTERMSIG(status), (unsigned long long)(c->again_ms - now));
	else
		log_error("%s ended with status %d; starting it again in %llu ms", name,
			  WEXITSTATUS(status), (unsigned long long)(c->again_ms - now));
}

static void proc_again(struct parent *p, struct proc *c)
{
	struct err e = {0};
	int rc;

	c->again_ms = 0;
	rc = proc_start(p, c, &e);
	if (rc < 0) {
		log_error("%s", e.text);
		own_close(&c->boss.fd);
		proc_kill(c);
		if (c->pid <= 0)
			c->again_ms = loop_now_ms() + proc_pause(c, loop_now_ms());
		return;
	}
	if (c->role == PROC_KEEPER)
		proc_join_all(p, c, RPC_WIRE_KEEPER);
	if (c->role == PROC_RESOLVER)
		proc_join_all(p, c, RPC_WIRE_RESOLVER);
	if (c->role == PROC_HOLDER) {
		proc_hold_all(p);
		guards_hold(p);
	}
}

/* Partners first: a proxy is not started before keeper and resolver are there. */
static bool proc_may_start(struct parent *p, const struct proc *c)
{
	if (c->role != PROC_PROXY)
		return true;
	/* Its audit key comes from an open vault. */
	return !p->locked && proc_of(p, PROC_KEEPER)->ready && proc_of(p, PROC_RESOLVER)->ready;
}

uint64_t proc_turn(struct parent *p, uint64_t now_ms)
{
	uint64_t next = 0;
	size_t i;

	for (i = 0; i < p->proc_count; i++) {
		struct proc *c = &p->procs[i];

		if (c->again_ms && c->again_ms <= now_ms && proc_may_start(p, c))
			proc_again(p, c);
		if (c->again_ms && (!next || c->again_ms < next))
			next = c->again_ms;
	}
	return next;
}

void proc_stop(struct parent *p)
{
	uint64_t end = loop_now_ms() + 5000;
	size_t i;

	p->stopping = true;
	for (i = PROC_KEEPER; i < p->proc_count; i++)
		own_close(&p->procs[i].boss.fd); /* its end ends them */
	for (i = PROC_KEEPER; i < p->proc_count; i++) {
		struct proc *c = &p->procs[i];
		struct pollfd pfd = {.fd = c->pidfd, .events = POLLIN};
		uint64_t now = loop_now_ms();

		if (c->pid <= 0)
			continue;
		if (poll(&pfd, 1, now < end ? (int)(end - now) : 0) <= 0)
			proc_kill(c);
		(void)waitpid(c->pid, NULL, 0);
		c->pid = 0;
		own_close(&c->pidfd);
	}
	/* Without the kernel side it is not known what it holds shut. */
	if (p->en && guards_empty(p) && p->procs[PROC_HOLDER].boss.fd >= 0) {
		struct sockaddr_un sa;

		if (rpc_send(p->procs[PROC_HOLDER].boss.fd, RPC_HOLD_END, 0, NULL, 0, NULL, 0, -1) <
		    0)
			log_warn("the holder did not hear that it may end");
		proc_holder_path(p, &sa);
		(void)unlink(sa.sun_path);
	}
	own_close(&p->procs[PROC_HOLDER].boss.fd);
	own_close(&p->procs[PROC_HOLDER].pidfd);
}

/* ---- asking and telling ---- */

struct proc_answer {
	struct parent *p;
	uint32_t id;
	bool done;
	int rc;
	char *tail;
	size_t len;
};

static int proc_admin_done(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_done *d = m->body;
	struct proc_answer *a = ctx;

	(void)peer;
	if (m->id != a->id || d->tail_len != m->tail_len)
		return -EPROTO;
	a->tail = malloc(m->tail_len + 1);
	if (!a->tail)
		return -ENOMEM;
	memcpy(a->tail, m->tail, m->tail_len);
	a->tail[m->tail_len] = '\0';
	a->len = m->tail_len;
	a->rc = d->rc;
	vaultkey_seen(a->p, d->generation);
	a->done = true;
	return 0;
}

static int proc_answer_ready(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_answer *a = ctx;

	return proc_ready(a->p, peer, m);
}

static int proc_answer_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_answer *a = ctx;

	return proc_took_stats(a->p, peer, m);
}

static int proc_answer_command(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proc_answer *a = ctx;

	return proc_command_run(a->p, peer, m);
}

static int proc_wait_answer(struct parent *p, struct proc *c, struct proc_answer *a)
{
	static const struct rpc_row rows[] = {
		{RPC_ADMIN_DONE, sizeof(struct rpc_done), RPC_TAIL_MAX, 0, proc_admin_done},
		{RPC_READY, 0, 0, 0, proc_answer_ready},
		{RPC_COMMAND_RUN, sizeof(struct rpc_command_run), 0, 0, proc_answer_command},
		{RPC_STATS, sizeof(struct rpc_stats), 0, 0, proc_answer_stats},
	};
	uint64_t end = loop_now_ms() + PROC_ASK_MS;
	int rc = 0;

	while (rc == 0 && !a->done) {
		struct pollfd pfd = {.fd = c->boss.fd, .events = POLLIN};
		uint64_t now = loop_now_ms();

		if (now >= end)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, (int)(end - now)) > 0)
			rc = rpc_serve(&c->boss, rows, ARRAY_SIZE(rows), a, p->rpc_buf, 1);
	}
	return rc;
}

int proc_ask(struct parent *p, uint16_t op, const void *body, size_t size, int fd, size_t want,
	     char **ret, size_t *ret_len, struct err *e)
{
	static uint32_t next_id;
	struct proc *c = proc_of(p, PROC_KEEPER);
	struct proc_answer a = {.p = p, .id = ++next_id};
	int rc = c->boss.fd < 0 ? -EPIPE : rpc_send(c->boss.fd, op, a.id, body, size, NULL, 0, fd);

	if (rc == 0)
		rc = proc_wait_answer(p, c, &a);
	if (rc < 0) {
		free(a.tail);
		if (c->boss.fd >= 0)
			proc_lost(c, rc);
		return err_set(
			e, rc,
			"the keeper does not answer (%s); it is being started again, try once more",
			strerror(-rc));
	}
	rc = a.rc;
	if (rc < 0)
		(void)err_set(e, rc, "%s", a.len ? a.tail : strerror(-rc));
	else if (want && a.len != want)
		rc = err_set(e, -EPROTO, "the keeper's answer has the wrong size; this is a bug");
	if (rc == 0 && ret) {
		*ret = take(a.tail);
		if (ret_len)
			*ret_len = a.len;
	}
	if (a.tail)
		explicit_bzero(a.tail, a.len);
	free(a.tail);
	return rc;
}

static void proc_tell_one(struct proc *c, uint16_t op, uint32_t id, const void *body, size_t size, int fd)
{
	int rc;

	if (c->boss.fd < 0 || !c->ready)
		return;
	rc = rpc_send(c->boss.fd, op, id, body, size, NULL, 0, fd);
	if (rc < 0)
		proc_lost(c, rc);
}

void proc_tell_role(struct parent *p, enum proc_role role, uint16_t op, const void *body,
		    size_t size, int fd)
{
	size_t i;

	for (i = 0; i < p->proc_count; i++)
		if (p->procs[i].role == role)
			proc_tell_one(&p->procs[i], op, 0, body, size, fd);
	p->told |= op != RPC_STATS_ASK;
}

void proc_tell(struct parent *p, uint16_t op, const void *body, size_t size, int fd,
	       bool with_keeper)
{
	if (with_keeper)
		proc_tell_role(p, PROC_KEEPER, op, body, size, fd);
	proc_tell_role(p, PROC_RESOLVER, op, body, size, fd);
	proc_tell_role(p, PROC_PROXY, op, body, size, fd);
}

static bool proc_owes(const struct proc *c, uint32_t serial)
{
	return c->ready && c->boss.fd >= 0 && c->answered != serial;
}

bool proc_stats(struct parent *p)
{
	static uint32_t serial;
	uint64_t end = loop_now_ms() + PROC_STATS_MS;
	bool owed = true;
	size_t i;

	if (++serial == 0)
		serial = 1;
	for (i = PROC_KEEPER; i < p->proc_count; i++)
		proc_tell_one(&p->procs[i], RPC_STATS_ASK, serial, NULL, 0, -1);
	while (owed && loop_now_ms() < end) {
		struct pollfd pfd[PROC_MAX];

		for (owed = false, i = 0; i < p->proc_count; i++) {
			owed |= i >= PROC_KEEPER && proc_owes(&p->procs[i], serial);
			pfd[i] = (struct pollfd){.fd = p->procs[i].boss.fd, .events = POLLIN};
		}
		if (!owed || poll(pfd, p->proc_count, 50) <= 0)
			continue;
		for (i = 0; i < p->proc_count; i++)
			if (pfd[i].revents && pfd[i].fd >= 0)
				proc_on_boss(p, (uint32_t)i, 0, POLLIN);
	}
	return !owed;
}

bool proc_settled(struct parent *p)
{
	bool told = p->told;

	p->told = false;
	return !told || proc_stats(p);
}
