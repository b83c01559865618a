/* proc.c: see proc.h.
 *
 * A child's life: spawn → CONFIG, WIREs, keys, documents, GO → READY → serving → end → again after a pause that
 * doubles with each quick failure (100 ms to 10 s). Channels between children are made here, one pair per proxy and
 * partner; when the keeper or the resolver is started again every proxy gets a new end.
 */
#include "proc_in.h"

#include "guards.h"
#include "heads.h"
#include "log.h"
#include "sources.h"
#include "vaultkey.h"
#include "workspaces.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PROC_READY_MS     15000
#define PROC_PAUSE_MS     100
#define PROC_PAUSE_MAX_MS 10000
#define PROC_HELD_MAX 8192
#define PROC_SETTLED_MS   10000

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

struct proc *proc_of(struct parent *p, enum proc_role role)
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

int proc_watch(struct parent *p, struct proc *c, int boss)
{
	struct loop_key key = {.slot = (uint32_t)(c - p->procs)};
	int rc;

	c->boss = (struct rpc_peer){.fd = boss, .number = key.slot};
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	key.kind = PARENT_CHILD_END;
	rc = c->pidfd < 0 ? -errno : loop_watch(&p->loop, c->pidfd, key, EPOLLIN);
	key.kind = PARENT_BOSS;
	return rc < 0 ? rc : loop_watch(&p->loop, boss, key, EPOLLIN);
}

int proc_spawn(struct parent *p, struct proc *c, struct err *e)
{
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
	rc = proc_watch(p, c, take_fd(&ours));
	if (rc == 0)
		rc = rpc_send(c->boss.fd, RPC_CONFIG, 0, &p->cfg, sizeof(p->cfg), NULL, 0, -1);
	return rc < 0 ? err_set(e, rc, "cannot start %s: %s", proc_words[c->role], strerror(-rc))
		      : 0;
}

int proc_wire(struct proc *c, enum rpc_wire_kind kind, uint32_t index, int fd)
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

int proc_go(struct parent *p, struct proc *c, struct err *e)
{
	int rc = rpc_send(c->boss.fd, RPC_GO, 0, NULL, 0, NULL, 0, -1);

	return rc < 0 ? err_set(e, rc, "%s is gone", proc_words[c->role])
		      : proc_wait_ready(p, c, e);
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

int proc_audit_key(struct parent *p, const struct proc *c, struct rpc_audit_key *key, struct err *e)
{
	auto_free char *bytes = NULL;
	char name[24] = "parent";
	int rc;

	memset(key, 0, sizeof(*key));
	if (c)
		proc_name(c, name);
	(void)snprintf(key->writer, sizeof(key->writer), "%.15s", name);
	if (getrandom(key->epoch, sizeof(key->epoch), 0) != sizeof(key->epoch))
		return err_set(e, -EIO, "no randomness");
	rc = proc_ask(p, RPC_AUDIT_DERIVE, key, sizeof(*key), -1, sizeof(key->key), &bytes, NULL, e);
	if (rc < 0)
		return rc;
	memcpy(key->key, bytes, sizeof(key->key));
	explicit_bzero(bytes, sizeof(key->key));
	return 0;
}

static int proc_proxy_start(struct parent *p, struct proc *c, struct err *e)
{
	struct rpc_audit_key key;
	char name[24];
	int rc = proc_spawn(p, c, e);

	if (rc < 0)
		return rc;
	proc_name(c, name);
	rc = proc_audit_key(p, c, &key, e);
	memcpy(c->audit_epoch, key.epoch, sizeof(key.epoch));
	c->stats.audit_lines = 0;
	if (rc == 0)
		rc = proc_wire_file(c, RPC_WIRE_AUDIT, p->cfg.audit_log,
				    O_WRONLY | O_APPEND | O_CREAT, e);
	if (rc == 0)
		rc = proc_wire(c, RPC_WIRE_LOADS, 0, p->loads_fd);
	if (rc == 0)
		rc = proc_wire_file(c, RPC_WIRE_CA_FILE, p->cfg.ca_file, O_RDONLY, e);
	if (rc == 0 && p->cfg.extra_ca_file[0])
		rc = proc_wire_file(c, RPC_WIRE_CA_FILE, p->cfg.extra_ca_file, O_RDONLY, e);
	if (rc == 0)
		rc = rpc_send(c->boss.fd, RPC_AUDIT_KEY, 0, &key, sizeof(key), NULL, 0, -1);
	explicit_bzero(&key, sizeof(key));
	if (rc == 0)
		rc = proc_join(c, proc_of(p, PROC_KEEPER), RPC_WIRE_KEEPER, e);
	if (rc == 0)
		rc = proc_join(c, proc_of(p, PROC_RESOLVER), RPC_WIRE_RESOLVER, e);
	if (rc == 0 && (workspaces_tell(p, c) < 0 || guards_tell(p, c) < 0))
		rc = -EIO;
	if (rc < 0 && !e->text[0])
		(void)err_set(e, rc, "%s", strerror(-rc));
	return rc < 0 ? err_in(e, rc, "cannot start %s", name) : proc_go(p, c, e);
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
	size_t i;

	for (i = 0; i < PROC_PROXY + p->cfg.workers; i++)
		p->procs[i] = (struct proc){
			.role = i < PROC_PROXY ? (enum proc_role)i : PROC_PROXY,
			.number = i < PROC_PROXY ? 0 : (uint32_t)(i - PROC_PROXY),
			.pidfd = -1,
			.boss = {.fd = -1}};
	p->proc_count = i;
	p->held = calloc(PROC_HELD_MAX, sizeof(*p->held));
	if (!p->held)
		return err_set(e, -ENOMEM, "out of memory");
	p->held_count = proc_holder_take(p, p->held, PROC_HELD_MAX);
	return 0;
}

int proc_start_trusted(struct parent *p, struct err *e)
{
	size_t i;
	int rc = proc_of(p, PROC_HOLDER)->ready ? 0 : proc_holder_spawn(p, e);

	if (rc == 0) {
		proc_holder_links(p);
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

/* ---- ending, starting again ---- */

void proc_lost(struct proc *c, int rc)
{
	char name[24];

	proc_name(c, name);
	own_close(&c->boss.fd);
	c->ready = false;
	if (rc != -EPIPE)
		log_error("%s broke the contract (%s); ended", name, strerror(-rc));
	proc_kill(c);
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
	if (c->role == PROC_PROXY)
		loads_set(p->loads, c->number, LOADS_NONE);
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
		proc_holder_links(p);
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
	if (p->en && guards_empty(p) && p->procs[PROC_HOLDER].boss.fd >= 0)
		proc_holder_end(p);
	own_close(&p->procs[PROC_HOLDER].boss.fd);
	own_close(&p->procs[PROC_HOLDER].pidfd);
}
