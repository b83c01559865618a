/* commands.c: see commands.h.
 *
 *	run ──fork──► running ──pidfd: it has ended──► group killed, reaped, the keeper told
 *	                 └──its time is over──► group killed, the keeper told ──pidfd──► reaped
 *
 * The group is killed before its leader is reaped, so that its number is still the leader's.
 */
#include "commands.h"

#include "jdoc.h"
#include "log.h"
#include "sources.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- what may be set ---- */

static int commands_strings(json_t *list, const char *field, size_t min, size_t max, struct err *e)
{
	json_t *v;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) < min || json_array_size(list) > max)
		return err_set(e, -EINVAL, "%s must be a list of %zu to %zu strings", field, min,
			       max);
	json_array_foreach(list, i, v)
		if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
			return err_set(e, -EINVAL, "%s must be a list of strings", field);
	return 0;
}

static bool commands_name_ok(const char *s)
{
	return *s && !strchr("0123456789", *s) &&
	       strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") ==
		       strlen(s);
}

int commands_check(json_t *spec, json_t **ret, struct err *e)
{
	static const char *const fields[] = {"argv", "user", "timeout", "ttl", "env"};
	json_t *argv = json_object_get(spec, "argv"), *env = json_object_get(spec, "env"), *v;
	uint64_t user = 0, timeout = 10, ttl = 0;
	size_t i;
	int rc = jdoc_fields(spec, fields, ARRAY_SIZE(fields), e);

	if (rc == 0)
		rc = commands_strings(argv, "a command", 1, COMMANDS_ARGS_MAX, e);
	if (rc == 0 && env)
		rc = commands_strings(env, "env", 0, COMMANDS_ENV_MAX, e);
	if (rc == 0)
		rc = jdoc_uint(spec, "user", 0, UINT32_MAX - 1, &user, e);
	if (rc == 0)
		rc = jdoc_uint(spec, "timeout", 1, COMMANDS_TIMEOUT_MAX, &timeout, e);
	if (rc == 0)
		rc = jdoc_uint(spec, "ttl", 0, COMMANDS_TTL_MAX, &ttl, e);
	if (rc < 0)
		return rc;
	if (json_string_value(json_array_get(argv, 0))[0] != '/')
		return err_set(
			e, -EINVAL,
			"a command begins with the absolute path of a program; there is no shell and no PATH");
	if (user == 0)
		return err_set(e, -EINVAL,
			       "a command is not run as root; name another user with --user");
	json_array_foreach(env, i, v)
		if (!commands_name_ok(json_string_value(v)))
			return err_set(e, -EINVAL, "env must be names of variables");
	*ret = json_pack("{s:O, s:I, s:I, s:I, s:o}", "argv", argv, "user", (json_int_t)user,
			 "timeout", (json_int_t)timeout, "ttl", (json_int_t)ttl, "env",
			 env ? json_deep_copy(env) : json_array());
	return *ret ? 0 : err_set(e, -ENOMEM, "out of memory");
}

/* ---- running ---- */

struct commands_plan {
	const char *argv[COMMANDS_ARGS_MAX + 1];
	char *envp[COMMANDS_ENV_MAX + 1];
	uid_t uid;
	gid_t gid;
	const char *user; /* NULL: a number without a name */
};

/* In the child. Whatever fails: 127 and no word, as nobody listens. */
static _Noreturn void commands_exec(const struct commands_plan *x, int out)
{
	const struct rlimit none = {0, 0};
	int null = open("/dev/null", O_RDWR);
	sigset_t clear;

	(void)sigemptyset(&clear);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)signal(SIGHUP, SIG_DFL);
	if (setsid() < 0 || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 ||
	    dup2(null, 2) < 0 || syscall(SYS_close_range, 3, ~0U, 0) < 0 || chdir("/") < 0 ||
	    setrlimit(RLIMIT_CORE, &none) < 0)
		_exit(127);
	if ((x->user ? initgroups(x->user, x->gid) : setgroups(0, NULL)) < 0 ||
	    setresgid(x->gid, x->gid, x->gid) < 0 || setresuid(x->uid, x->uid, x->uid) < 0 ||
	    setuid(0) == 0)
		_exit(127);
	(void)sigprocmask(SIG_SETMASK, &clear, NULL);
	(void)execve(x->argv[0], (char **)(uintptr_t)x->argv, x->envp);
	_exit(127);
}

static int commands_plan(const json_t *spec, struct commands_plan *x)
{
	json_t *argv = json_object_get(spec, "argv"), *env = json_object_get(spec, "env");
	const struct passwd *pw;
	size_t i, n = 0;

	*x = (struct commands_plan){
		.uid = (uid_t)json_integer_value(json_object_get(spec, "user"))};
	if (x->uid == 0 || json_array_size(argv) > COMMANDS_ARGS_MAX ||
	    json_array_size(env) > COMMANDS_ENV_MAX)
		return -EINVAL;
	pw = getpwuid(x->uid);
	x->user = pw ? pw->pw_name : NULL;
	x->gid = pw ? pw->pw_gid : x->uid;
	for (i = 0; i < json_array_size(argv); i++)
		x->argv[i] = json_string_value(json_array_get(argv, i));
	for (i = 0; i < json_array_size(env); i++) {
		const char *name = json_string_value(json_array_get(env, i)),
			   *value = name ? getenv(name) : NULL;

		if (value && asprintf(&x->envp[n], "%s=%s", name, value) < 0) {
			x->envp[n] = NULL;
			return -ENOMEM;
		}
		n += value != NULL;
	}
	return x->argv[0] ? 0 : -EINVAL;
}

static void commands_tell(struct parent *p, uint32_t serial, pid_t keeper, int rc, int32_t status)
{
	struct rpc_command_run q = {.serial = serial, .rc = rc, .status = status};
	struct proc *c = &p->procs[PROC_KEEPER];

	/* A keeper that was started since knows nothing of it. */
	if (c->pid != keeper || c->boss.fd < 0)
		return;
	if (rpc_send(c->boss.fd, RPC_COMMAND_END, 0, &q, sizeof(q), NULL, 0, -1) < 0)
		log_warn("the keeper was not told how a command ended");
}

static int commands_start(struct parent *p, struct command_run *r, const json_t *spec)
{
	struct rpc_command_run q = {.serial = r->serial};
	struct loop_key key = {.kind = PARENT_COMMAND, .slot = (uint32_t)(r - p->runs)};
	struct commands_plan x;
	auto_close int in = -1, out = -1;
	int fd[2], rc = commands_plan(spec, &x);
	size_t i;

	if (rc == 0 && pipe2(fd, O_CLOEXEC) < 0)
		rc = -errno;
	if (rc == 0) {
		in = fd[0];
		out = fd[1];
		(void)fcntl(in, F_SETFL, O_NONBLOCK);
		r->pid = fork();
		if (r->pid == 0)
			commands_exec(&x, out);
		rc = r->pid < 0 ? -errno : 0;
	}
	for (i = 0; i < ARRAY_SIZE(x.envp); i++)
		free(x.envp[i]);
	if (rc < 0) {
		r->pid = 0;
		return rc;
	}
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	rc = r->pidfd < 0 ? -errno : loop_watch(&p->loop, r->pidfd, key, EPOLLIN);
	if (rc == 0)
		rc = rpc_send(p->procs[PROC_KEEPER].boss.fd, RPC_COMMAND_OUTPUT, 0, &q, sizeof(q),
			      NULL, 0, in);
	return rc;
}

static void commands_kill(const struct command_run *r)
{
	if (r->pid <= 0)
		return;
	(void)kill(-r->pid, SIGKILL);
	(void)kill(r->pid, SIGKILL); /* where it has not come to setsid() yet */
}

/* It has ended, or never ran (why: the reason): what is left of it is killed, it is reaped, the keeper told. */
static void commands_over(struct parent *p, struct command_run *r, int why)
{
	int status = 0, code;

	commands_kill(r);
	while (r->pid > 0 && waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
		;
	code = WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
	if (r->pidfd >= 0)
		loop_forget(&p->loop, r->pidfd);
	own_close(&r->pidfd);
	if (!r->told)
		commands_tell(p, r->serial, r->keeper, why, code);
	*r = (struct command_run){.pidfd = -1};
}

/* Its time is over. It may not die at once (a file system that does not answer): nobody waits for that. */
static void commands_timeout(struct parent *p, struct command_run *r)
{
	commands_kill(r);
	commands_tell(p, r->serial, r->keeper, -ETIMEDOUT, 0);
	r->told = true;
}

void commands_run(struct parent *p, const struct rpc_command_run *q)
{
	const json_t *spec = sources_find(p, q->workspace, q->name);
	pid_t keeper = p->procs[PROC_KEEPER].pid;
	struct command_run *r = p->runs;
	int rc;

	while (r < p->runs + PARENT_RUNS_MAX && r->serial)
		r++;
	if (!spec || r == p->runs + PARENT_RUNS_MAX) {
		commands_tell(p, q->serial, keeper, spec ? -EAGAIN : -ENOENT, 0);
		return;
	}
	*r = (struct command_run){.serial = q->serial, .keeper = keeper, .pidfd = -1};
	r->until_ms = loop_now_ms() +
		      (uint64_t)json_integer_value(json_object_get(spec, "timeout")) * 1000;
	rc = commands_start(p, r, spec);
	if (rc < 0)
		commands_over(p, r, rc);
}

void commands_on_end(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;

	(void)gen;
	(void)events;
	if (slot < PARENT_RUNS_MAX && p->runs[slot].serial)
		commands_over(p, &p->runs[slot], 0);
}

int commands_turn(struct parent *p, uint64_t now_ms)
{
	int wait = -1;
	size_t i;

	for (i = 0; i < PARENT_RUNS_MAX; i++) {
		struct command_run *r = &p->runs[i];

		if (!r->serial || r->told)
			continue;
		if (r->until_ms <= now_ms)
			commands_timeout(p, r);
		else if (wait < 0 || r->until_ms - now_ms < (uint64_t)wait)
			wait = (int)(r->until_ms - now_ms);
	}
	return wait;
}

void commands_done(struct parent *p)
{
	size_t i;

	for (i = 0; i < PARENT_RUNS_MAX; i++)
		commands_kill(&p->runs[i]); /* init reaps them */
}
