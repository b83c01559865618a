/* cmd_run.c: `agentsecrets run`: a command in a guard of its own.
 *
 *	parent				child
 *	find the command, fork ───────► run.enter on its own connection: the daemon takes the caller's pid
 *	pass signals on, wait		from the kernel and moves it into a fresh guard before it answers
 *	leave with its status		environment, sandbox, exec
 *
 * There is no way from the child to an exec that does not pass run.enter and the sandbox: any failure on
 * the way ends it with CLI_RUN_FAILED. The command stays in the caller's process group and terminal.
 */
#include "cmd_run.h"
#include "client.h"
#include "run_env.h"
#include "run_sandbox.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

extern char **environ;

/* 0, CLI_NOT_FOUND or CLI_NOT_EXECUTABLE. */
static int executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == EACCES ? CLI_NOT_EXECUTABLE : CLI_NOT_FOUND;
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return CLI_NOT_EXECUTABLE;
	return 0;
}

/* As a shell would look for it; an empty element of PATH is the current directory. */
static int find_program(const char *name, char out[PATH_MAX])
{
	const char *at = getenv("PATH");
	int worst = CLI_NOT_FOUND;

	if (strchr(name, '/')) {
		if ((size_t)snprintf(out, PATH_MAX, "%s", name) >= PATH_MAX)
			return CLI_NOT_FOUND;
		return executable(out);
	}
	for (at = at ? at : DEFAULT_PATH; name[0]; at++) {
		size_t len = strcspn(at, ":");
		int n = snprintf(out, PATH_MAX, "%.*s%s%s", (int)len, at, len ? "/" : "./", name);
		int rc = n > 0 && n < PATH_MAX ? executable(out) : CLI_NOT_FOUND;

		if (!rc)
			return 0;
		if (rc == CLI_NOT_EXECUTABLE)
			worst = rc;
		at += len;
		if (!*at)
			break;
	}
	return worst;
}

static int no_program(const char *name, int status)
{
	struct err e;

	(void)err_set(&e, -ENOENT, status == CLI_NOT_FOUND ? "the command \"%s\" was not found"
							    : "\"%s\" is not executable", name);
	(void)cli_fail(&e);
	return status;
}

static void told(const char *what, const char *name)
{
	(void)fprintf(stderr, "agentsecrets: %s %s in the command's environment\n", what, name);
}

static int environment(const struct cli *c, const json_t *a, char ***ret, struct err *e)
{
	const json_t *names = json_object_get(a, "secrets");
	size_t count = json_array_size(names);
	const json_t *pairs = json_object_get(a, "env");
	size_t pair_count = json_array_size(pairs);
	auto_free const char **list = calloc(count + 1, sizeof(*list));
	auto_free const char **env = calloc(pair_count + 1, sizeof(*env));
	char java[PATH_MAX];
	struct run_env in = {
		.ca = client_text(a, "ca"),
		.bundle = client_text(a, "bundle"),
		.jks = client_text(a, "jks"),
		.secrets = list,
		.secret_count = count,
		.java = find_program("java", java) == 0,
		.pairs = env,
		.pair_count = pair_count,
	};

	if (!list || !env)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		list[i] = json_string_value(json_array_get(names, i));
		if (!list[i] || !list[i][0] || strchr(list[i], '='))
			return err_set(e, -EPROTO, "agentsecretsd named a secret that cannot be a variable");
	}
	for (size_t i = 0; i < pair_count; i++) {
		env[i] = json_string_value(json_array_get(pairs, i));
		if (!env[i] || !strchr(env[i], '=') || env[i][0] == '=')
			return err_set(e, -EPROTO, "agentsecretsd named a placeholder that cannot be a variable");
	}
	return run_env_build(&in, environ, c->verbose ? told : NULL, ret, e);
}

static int sandbox(const json_t *a, struct err *e)
{
	char trust[PATH_MAX];
	struct run_hide hide = {
		.state_dir = client_text(a, "state_dir"),
		.run_dir = client_text(a, "run_dir"),
		.trust_dir = trust,
	};
	const char *ca = client_text(a, "ca"), *slash = strrchr(ca, '/');

	if (hide.state_dir[0] != '/' || hide.run_dir[0] != '/' || ca[0] != '/' || slash == ca ||
	    client_text(a, "bundle")[0] != '/' || client_text(a, "jks")[0] != '/')
		return err_set(e, -EPROTO, "agentsecretsd did not say where its files are; are the command and "
			       "the daemon of the same version?");
	(void)snprintf(trust, sizeof(trust), "%.*s", (int)(slash - ca), ca);
	return run_sandbox_enter(&hide, e);
}

/* In the child. */
static int enter(const struct cli *c, run_fn *fn, void *ctx)
{
	auto_json json_t *a = NULL;
	char **env = NULL;
	struct err e = {""};
	int rc = client_call(c, client_request(c, "run.enter", true), -1, &a, NULL, &e);

	if (!rc && c->verbose)
		(void)fprintf(stderr, "agentsecrets: guard %s, workspace %s\n", client_text(a, "guard"),
			      client_text(a, "workspace"));
	if (!rc)
		rc = environment(c, a, &env, &e);
	if (!rc)
		rc = sandbox(a, &e);
	if (rc) {
		(void)cli_fail(&e);
		return CLI_RUN_FAILED;
	}
	return fn(c, a, env, ctx);
}

/* Returns only when the command could not be started. */
static int exec_command(const struct cli *c, const json_t *entered, char **env, void *ctx)
{
	const char *path = ctx;
	char *const *argv = (char *const *)c->args.rest;
	const char *with_sh[] = {"/bin/sh", path, NULL};
	auto_free const char **script = NULL;
	struct err e = {""};
	int rc;

	(void)entered;
	(void)execve(path, argv, env);
	if (errno == ENOEXEC) { /* a script without "#!": as the shell and execvp(3) do */
		script = calloc(c->args.rest_count + 2, sizeof(*script));
		if (script) {
			memcpy(script, with_sh, 2 * sizeof(*script));
			memcpy(script + 2, c->args.rest + 1, c->args.rest_count * sizeof(*script));
			(void)execve("/bin/sh", (char *const *)script, env);
		}
	}
	rc = errno;
	(void)err_set(&e, -rc, "cannot start \"%s\": %s", c->args.rest[0], strerror(rc));
	(void)cli_fail(&e);
	return rc == ENOENT ? CLI_NOT_FOUND : CLI_NOT_EXECUTABLE;
}

/* A signal of the terminal reaches the command by itself, since it is in the same group; one that was
 * sent to us by somebody else is passed on. */
static void pass_on(const siginfo_t *si, pid_t child)
{
	if (si->si_code == SI_KERNEL || si->si_pid == child)
		return;
	(void)kill(child, si->si_signo);
}

/* True when it has ended. When it is stopped, so are we, for the shell to see. */
static bool reap(pid_t child, int *ret_status)
{
	int status;

	while (waitpid(child, &status, WNOHANG | WUNTRACED) == child) {
		if (WIFSTOPPED(status)) {
			(void)raise(SIGSTOP);
			continue;
		}
		*ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		return true;
	}
	return false;
}

static int supervise(pid_t child, const sigset_t *watched)
{
	int status = CLI_RUN_FAILED;
	siginfo_t si;

	while (!reap(child, &status)) {
		int sig = sigwaitinfo(watched, &si);

		if (sig > 0 && sig != SIGCHLD)
			pass_on(&si, child);
	}
	return status;
}

int run_guarded(const struct cli *c, run_fn *fn, void *ctx)
{
	static const int signals[] = {SIGINT,  SIGTERM, SIGHUP,	 SIGQUIT, SIGWINCH,
				      SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2, SIGCHLD};
	struct sigaction plain = {.sa_handler = SIG_DFL}, before;
	sigset_t watched, old;
	struct err e;
	pid_t child;

	(void)sigemptyset(&watched);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaddset(&watched, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &watched, &old);
	(void)sigaction(SIGCHLD, &plain, &before); /* ignored, it would take the status away */
	child = fork();
	if (child == 0) {
		(void)sigaction(SIGCHLD, &before, NULL);
		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		_exit(enter(c, fn, ctx));
	}
	if (child < 0) {
		(void)err_set(&e, -errno, "cannot start a process: %s", strerror(errno));
		(void)cli_fail(&e);
		return CLI_RUN_FAILED;
	}
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the command is the same user, and we are outside */
	return supervise(child, &watched);
}

int cmd_run(struct cli *c)
{
	char path[PATH_MAX];
	struct err e = {""};
	int status = find_program(c->args.rest[0], path);

	if (status)
		return no_program(c->args.rest[0], status);
	if (run_sandbox_stdio(&e)) {
		(void)cli_fail(&e);
		return CLI_RUN_FAILED;
	}
	return run_guarded(c, exec_command, path);
}
