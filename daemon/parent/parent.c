/* parent.c: start, loop, end.
 *
 * Start: own directories → lock → holder of before → kernel side (programs swapped, pins taken up) → holder, guards → keeper, vault →
 * audit chain → workspaces → resolver, proxies → control socket. Until the end of that the kernel denies: guards that
 * were in force stay so. Without a vault (before `agentsecrets init`) only the keeper runs, and every operation but init
 * is refused. SIGTERM: children end, guards stay in force; only when there is none is everything taken down.
 */
#include "parent.h"

#include "cgroup.h"
#include "commands.h"
#include "ctl.h"
#include "fdio.h"
#include "guards.h"
#include "heads.h"
#include "log.h"
#include "origin.h"
#include "proc.h"
#include "sandbox.h"
#include "sources.h"
#include "truststore.h"
#include "vaultkey.h"
#include "workspaces.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#define PARENT_SWEEP_MS 1000

/* ---- audit ---- */

int parent_audit(struct parent *p, const struct audit_entry *en)
{
	int rc = p->audit ? audit_add(p->audit, en, loop_wall_ns()) : -ENOENT;

	if (rc == 0)
		rc = audit_flush(p->audit);
	if (rc < 0)
		log_error("the audit log %s cannot be written (%s); changes are refused",
			  p->cfg.audit_log, strerror(-rc));
	return rc;
}

static int parent_audit_open(struct parent *p, struct err *e)
{
	struct rpc_audit_key key;
	auto_close int fd = -1;
	int rc = proc_audit_key(p, NULL, &key, e);

	if (rc < 0)
		return rc;
	fd = open(p->cfg.audit_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		explicit_bzero(&key, sizeof(key));
		return err_set(e, -errno, "cannot open the audit log %s: %s", p->cfg.audit_log,
			       strerror(errno));
	}
	rc = audit_new(take_fd(&fd), &key, (enum config_audit_sync)p->cfg.audit_sync, &p->audit);
	explicit_bzero(&key, sizeof(key));
	if (rc == 0)
		rc = audit_flush(p->audit);
	return rc < 0 ? err_set(e, rc, "cannot write the audit log %s: %s", p->cfg.audit_log,
				strerror(-rc))
		      : 0;
}

static const char *parent_hook_word(unsigned int hook)
{
	static const char *const words[] = {
		[EG_HOOK_CONNECT] = "connect",    [EG_HOOK_SENDMSG] = "sendmsg",
		[EG_HOOK_SOCK_CREATE] = "socket", [EG_HOOK_EGRESS] = "egress",
		[EG_HOOK_INGRESS] = "ingress",    [EG_HOOK_SETSOCKOPT] = "setsockopt",
		[EG_HOOK_BIND] = "bind",          [EG_HOOK_SOCKOPS] = "sockops",
	};

	return hook < ARRAY_SIZE(words) && words[hook] ? words[hook] : "kernel";
}

static void parent_event(void *ctx, const struct eg_event *ev)
{
	struct parent *p = ctx;
	struct guard *g = guards_find(p, ev->guard);
	const char *class = NULL;
	char detail[64];
	struct audit_entry en = {
		.kind = AUDIT_KERNEL,
		.guard = ev->guard,
		.workspace = g ? g->workspace : NULL,
		.pid = ev->pid,
		.has_uid = ev->pid != 0,
		.uid = ev->uid,
		.comm = (const char *)ev->comm,
		.comm_len = strnlen((const char *)ev->comm, sizeof(ev->comm)),
		.cgroup = ev->cgroup,
		.addr = ev->reason == EG_REASON_SOCKET || ev->reason == EG_REASON_SOCKOPT
				? NULL
				: ev->addr,
		.port = ev->port,
		.reason = reason_of_kernel(ev->reason, &class),
	};

	/* A connect() that a lease let through. */
	en.allow = ev->reason == EG_REASON_NONE;
	en.scheme = en.allow ? "tcp" : NULL;
	(void)snprintf(detail, sizeof(detail), "%s%s%s", parent_hook_word(ev->hook),
		       class ? ": " : "", class ? class : "");
	/* getaddrinfo(3) connects UDP sockets to sort addresses: a person reading the log may leave these out. */
	if (ev->hook == EG_HOOK_CONNECT && ev->reason == EG_REASON_UDP)
		(void)snprintf(detail, sizeof(detail), "connect: no datagram was sent");
	en.detail = detail;
	if (p->audit && audit_add(p->audit, &en, loop_wall_ns()) < 0)
		log_error(
			"a denial of the kernel could not be recorded; it was denied all the same");
}

static void parent_on_events(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;

	(void)slot;
	(void)gen;
	(void)events;
	if (enforce_events(p->en, parent_event, p) < 0)
		log_error("reading the kernel's events failed; denials go on unrecorded");
	if (p->audit && audit_flush(p->audit) < 0)
		log_error("the audit log %s cannot be written", p->cfg.audit_log);
}

/* What the ring could not hold is counted by the kernel and stands in the chain too. */
static void parent_lost(struct parent *p)
{
	uint64_t s[EG_STAT_COUNT] = {0};
	struct audit_entry en = {.kind = AUDIT_KERNEL,
				 .reason = REASON_LIMIT,
				 .detail = "events lost: the ring was full"};

	if (enforce_stats(p->en, s) < 0 || s[EG_STAT_EVENTS_LOST] <= s[EG_STAT_EVENTS_TOLD])
		return;
	en.count = s[EG_STAT_EVENTS_LOST] - s[EG_STAT_EVENTS_TOLD];
	if (parent_audit(p, &en) == 0 && enforce_told(p->en, s[EG_STAT_EVENTS_LOST]) < 0)
		log_error(
			"the kernel did not take note of lost events told; they will be told again");
}

/* ---- loop ---- */

/* The shorter of two waits in ms, -1 being for ever. */
static int parent_sooner(int a, int b)
{
	return a < 0 ? b : b < 0 || a < b ? a : b;
}

static int parent_turn(void *ctx, uint64_t now_ms)
{
	struct parent *p = ctx;
	uint64_t next = proc_turn(p, now_ms);
	int wait = parent_sooner(ctl_turn(p, now_ms), sources_turn(p, now_ms));

	if (p->initialised && p->sweep_ms <= now_ms) {
		enforce_sweep(p->en, now_ms * 1000000ULL);
		guards_sweep(p);
		parent_lost(p);
		enforce_keep_pins(p->en);
		heads_turn(p, now_ms);
		p->sweep_ms = now_ms + PARENT_SWEEP_MS;
	}
	if (p->audit && audit_wait_ms(p->audit, now_ms) == 0 && audit_flush(p->audit) < 0)
		log_error("the audit log %s cannot be written", p->cfg.audit_log);
	if (next)
		wait = parent_sooner(wait, next > now_ms ? (int)(next - now_ms) : 10);
	wait = parent_sooner(wait, p->initialised ? PARENT_SWEEP_MS : -1);
	return parent_sooner(wait, p->audit ? audit_wait_ms(p->audit, now_ms) : -1);
}

static void parent_on_signal(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	struct signalfd_siginfo si;

	(void)slot;
	(void)gen;
	(void)events;
	if (read(p->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		log_info("ending on signal %u", si.ssi_signo);
		p->loop.stop = true;
	}
}

static int parent_signals(struct parent *p, struct err *e)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return err_set(e, -errno, "sigprocmask: %s", strerror(errno));
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (p->signal_fd < 0)
		return err_set(e, -errno, "signalfd: %s", strerror(errno));
	return loop_watch(&p->loop, p->signal_fd, (struct loop_key){.kind = PARENT_SIGNAL},
			  EPOLLIN);
}

static int parent_loop(struct parent *p, struct err *e)
{
	int rc = loop_init(&p->loop, p, parent_turn);

	if (rc < 0)
		return err_set(e, rc, "epoll: %s", strerror(-rc));
	loop_on(&p->loop, PARENT_BOSS, proc_on_boss);
	loop_on(&p->loop, PARENT_CHILD_END, proc_on_end);
	loop_on(&p->loop, PARENT_CONTROL_LISTEN, ctl_on_listen);
	loop_on(&p->loop, PARENT_CONTROL, ctl_on_conn);
	loop_on(&p->loop, PARENT_EVENTS, parent_on_events);
	loop_on(&p->loop, PARENT_SIGNAL, parent_on_signal);
	loop_on(&p->loop, PARENT_GUARD, guards_on_event);
	loop_on(&p->loop, PARENT_COMMAND, commands_on_end);
	loop_on(&p->loop, PARENT_WATCH, sources_on_watch);
	return parent_signals(p, e);
}

/* ---- directories ---- */

struct parent_dir {
	const char *under; /* state or run directory */
	const char *name;  /* below it; "" itself */
	mode_t mode;
	uid_t uid;
	int *ret;
};

static int parent_mkdirs(char *path, struct err *e)
{
	char *slash;

	/* The parents of a configured directory: made as mkdir -p does. */
	for (slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_set(e, -errno, "cannot make %s: %s", path, strerror(errno));
		*slash = '/';
	}
	return 0;
}

static int parent_dirs(struct parent *p, struct err *e)
{
	const struct config *c = &p->cfg;
	const struct parent_dir dirs[] = {
		{c->state_dir, "", 0711, 0, &p->state_dir},
		{c->run_dir, "", 0755, 0, &p->run_dir},
		{c->state_dir, "/workspaces", 0700, 0, &p->workspaces_dir},
		{c->state_dir, "/trust", 0700, 0, &p->trust_dir},
		{c->state_dir, "/current", 0700, 0, &p->current_dir},
		{c->state_dir, "/vault", 0700, c->keeper_user.uid, &p->vault_dir},
		{c->run_dir, "/guards", 0700, 0, &p->guards_dir},
		{c->run_dir, "/trust", 0755, 0, &p->tls_dir},
	};
	char path[CONFIG_PATH_MAX + 32];
	size_t i;

	if (strlen(c->run_dir) > 80)
		return err_set(
			e, -ENAMETOOLONG,
			"run_dir is longer than 80 bytes, too long for a socket below it: %s",
			c->run_dir);
	for (i = 0; i < ARRAY_SIZE(dirs); i++) {
		int rc;

		(void)snprintf(path, sizeof(path), "%s%s", dirs[i].under, dirs[i].name);
		rc = parent_mkdirs(path, e);
		if (rc < 0)
			return rc;
		*dirs[i].ret = fdio_dir(path, dirs[i].mode, dirs[i].uid, dirs[i].uid);
		if (*dirs[i].ret < 0)
			return err_set(e, *dirs[i].ret, "cannot use directory %s: %s", path,
				       strerror(-*dirs[i].ret));
	}
	return 0;
}

static int parent_lock(struct parent *p, struct err *e)
{
	p->lock_fd = openat(p->run_dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (p->lock_fd < 0)
		return err_set(e, -errno, "cannot open %s/lock: %s", p->cfg.run_dir,
			       strerror(errno));
	if (flock(p->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(
			e, -errno,
			"another agentsecretsd runs with %s; stop it first, or set another run_dir",
			p->cfg.run_dir);
	return 0;
}

/* ---- the vault's public side ---- */

static int parent_pem(const char *der, size_t len, char **ret)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *d = (const unsigned char *)der;
	char *out = malloc(len * 2 + 128), *at = out;
	size_t i, column = 0;

	if (!out)
		return -ENOMEM;
	at += sprintf(at, "-----BEGIN CERTIFICATE-----\n");
	for (i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)d[i] << 16 | (i + 1 < len ? (uint32_t)d[i + 1] << 8 : 0) |
			     (i + 2 < len ? d[i + 2] : 0);

		*at++ = digits[v >> 18];
		*at++ = digits[v >> 12 & 63];
		*at++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
		*at++ = i + 2 < len ? digits[v & 63] : '=';
		column += 4;
		if (column == 64 || i + 3 >= len) {
			*at++ = '\n';
			column = 0;
		}
	}
	(void)sprintf(at, "-----END CERTIFICATE-----\n");
	*ret = out;
	return 0;
}

/* The key that documents are checked against is ours: made once, compared ever after. */
static int parent_take_key(struct parent *p, struct err *e)
{
	auto_free char *key = NULL, *seen = NULL;
	size_t n = 0;
	int rc = proc_ask(p, RPC_SIGN_KEY, NULL, 0, -1, SIGN_PUBLIC_LEN, &key, NULL, e);

	if (rc < 0)
		return rc;
	memcpy(p->public_key, key, SIGN_PUBLIC_LEN);
	rc = fdio_read_file(p->state_dir, "signing.pub", SIGN_PUBLIC_LEN, &seen, &n);
	if (rc == -ENOENT) {
		rc = fdio_replace(p->state_dir, "signing.pub", key, SIGN_PUBLIC_LEN, 0644);
		return rc < 0 ? err_set(e, rc, "cannot write %s/signing.pub: %s", p->cfg.state_dir,
					strerror(-rc))
			      : 0;
	}
	if (rc < 0 || n != SIGN_PUBLIC_LEN || memcmp(seen, key, SIGN_PUBLIC_LEN) != 0)
		return err_set(
			e, -EBADMSG,
			"the vault's signing key is not the one of %s/signing.pub; this is another "
			"installation's vault: restore the right one",
			p->cfg.state_dir);
	return 0;
}

static int parent_publish(struct parent *p, struct err *e)
{
	auto_free char *der = NULL, *pem = NULL;
	size_t len;
	int rc = parent_take_key(p, e);

	if (rc == 0)
		rc = proc_ask(p, RPC_CA_CERT, NULL, 0, -1, 0, &der, &len, e);
	if (rc < 0)
		return rc;
	rc = parent_pem(der, len, &pem);
	if (rc == 0)
		rc = fdio_replace(p->state_dir, "ca.pem", pem, strlen(pem), 0644);
	if (rc < 0)
		return err_set(e, rc, "cannot write %s/ca.pem: %s", p->cfg.state_dir,
			       strerror(-rc));
	return truststore_write(p->tls_dir, config_system_bundle(), (const uint8_t *)der, len,
				loop_wall_ns() / 1000000ULL, e);
}

/* ---- start and end ---- */

static int parent_serve(struct parent *p, struct err *e)
{
	int rc = parent_audit_open(p, e);

	if (rc == 0)
		rc = heads_open(p, e);
	if (rc == 0)
		rc = workspaces_load(p, e);
	if (rc == 0)
		rc = workspaces_tell(p, &p->procs[PROC_KEEPER]) < 0
			     ? err_set(e, -EPIPE, "the keeper is gone")
			     : 0;
	return rc < 0 ? rc : proc_start_facing(p, e);
}

int parent_opened(struct parent *p, struct err *e)
{
	int rc = parent_publish(p, e);

	if (rc == 0 && !p->serving)
		rc = parent_serve(p, e);
	p->serving = p->serving || rc == 0;
	return rc;
}

/* Of what the holder keeps: links and maps, by guard. */
static size_t parent_held(const struct parent *p, struct enforce_held *held)
{
	size_t i, n = 0;

	for (i = 0; i < p->held_count; i++) {
		unsigned long long guard;

		if (sscanf(p->held[i].key, "link/%llu/", &guard) == 1)
			held[n++] = (struct enforce_held){.guard = guard, .fd = p->held[i].fd};
	}
	return n;
}

static int parent_kernel(struct parent *p, struct err *e)
{
	auto_free struct enforce_held *held = calloc(p->held_count + 1, sizeof(*held));
	int rc = held ? cgroup_prepare(&p->cfg, &p->listen_cgroup, e) : -ENOMEM;

	if (rc == 0)
		rc = enforce_open_held(&p->cfg, p->listen_cgroup, held, parent_held(p, held),
				       &p->en, e);
	if (rc < 0)
		return rc;
	return loop_watch(&p->loop, enforce_events_fd(p->en),
			  (struct loop_key){.kind = PARENT_EVENTS}, EPOLLIN);
}

static int parent_start(struct parent *p, struct err *e)
{
	int rc = parent_dirs(p, e);

	if (rc == 0)
		rc = parent_lock(p, e);
	if (rc == 0)
		rc = parent_loop(p, e);
	if (rc == 0)
		rc = proc_take_holder(p, e);
	if (rc == 0)
		rc = parent_kernel(p, e);
	if (rc < 0)
		return rc;
	p->initialised = vaultkey_there(p);
	rc = sources_load(p, e);
	if (rc == 0)
		rc = proc_start_trusted(p, e);
	if (rc == 0 && p->initialised && !p->locked)
		rc = parent_opened(p, e);
	return rc < 0 ? rc : ctl_open(p, e);
}

static void parent_end(struct parent *p)
{
	bool empty = guards_empty(p);

	ctl_close(p);
	if (p->audit)
		(void)proc_stats(p);
	heads_save(p);
	proc_stop(p);
	commands_done(p);
	sources_done(p);
	if (!empty)
		log_info(
			"guards stay in force: what is in them is denied until agentsecretsd runs again");
	guards_done(p);
	workspaces_done(p);
	p->audit = audit_free(p->audit);
	/* Without the kernel side nothing is known: what is pinned and held stays, and the cgroup of the listeners with it. */
	empty = empty && p->en && enforce_remove(p->en) == 0;
	p->en = enforce_close(p->en);
	if (empty)
		cgroup_clear(&p->cfg);
	loop_done(&p->loop);
}

static struct parent *parent_free(struct parent *p)
{
	if (p) {
		p->loads = loads_free(p->loads);
		own_close(&p->loads_fd);
		free(p->rpc_buf);
	}
	free(p);
	return NULL;
}

static struct parent *parent_new(void)
{
	struct parent *p = calloc(1, sizeof(*p));
	size_t i;

	if (!p)
		return NULL;
	p->watch_fd = p->signal_fd = p->lock_fd = p->control_fd = p->listen_cgroup = p->loop.epfd =
		p->loads_fd = -1;
	p->state_dir = p->run_dir = p->workspaces_dir = p->trust_dir = -1;
	p->vault_dir = p->guards_dir = p->current_dir = p->tls_dir = -1;
	for (i = 0; i < PROC_MAX; i++)
		p->procs[i].boss.fd = p->procs[i].pidfd = -1;
	p->run_serial = loop_wall_ns() / 1000000ULL;
	p->rpc_buf = malloc(RPC_BUF);
	return p->rpc_buf && loads_new(&p->loads_fd, &p->loads) == 0 ? p : parent_free(p);
}

int parent_main(const char *config_file)
{
	struct parent *p = parent_new();
	struct err e = {0};
	int rc = p ? sandbox_first(&e) : -ENOMEM;

	log_init("agentsecretsd", LOG_LEVEL_INFO);
	(void)umask(077);
	if (rc == 0 && geteuid() != 0)
		rc = err_set(&e, -EPERM, "agentsecretsd must be started as root");
	if (rc == 0)
		rc = config_load(config_file, &p->cfg, &e);
	if (rc == 0) {
		log_init("agentsecretsd", p->cfg.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
		rc = parent_start(p, &e);
		if (rc == 0) {
			log_info("ready: control socket %s%s", p->cfg.control,
				 p->initialised ? ""
						: "; there is no vault yet: agentsecrets init");
			/* Loading the programs took the kernel's type information: most of the heap is empty now. */
			(void)malloc_trim(0);
			rc = loop_run(&p->loop);
		}
		if (rc < 0)
			log_error("%s", e.text[0] ? e.text : strerror(-rc));
		parent_end(p);
	} else {
		log_error("%s", e.text[0] ? e.text : strerror(-rc));
	}
	p = parent_free(p);
	return rc < 0 ? 1 : 0;
}
