/* cli.h: what the commands share: the parsed command line, exit statuses, and their entry points.
 *
 * Results go to stdout, everything else to stderr. A command returns its exit status; a failure has
 * been told in one sentence by then (cli_fail).
 */
#ifndef CLI_H
#define CLI_H

#include "args.h"
#include "err.h"

#include <stdbool.h>

#define CLI_OK 0
#define CLI_FAILED 1
#define CLI_USAGE 2
#define CLI_RUN_FAILED 125 /* `run` itself, before the command; as env(1) and containers do */
#define CLI_NOT_EXECUTABLE 126
#define CLI_NOT_FOUND 127

struct cli {
	struct args args;	/* of the command */
	char control[108];	/* the daemon's socket */
	const char *workspace;	/* --workspace, AGENTSECRETS_WORKSPACE, or NULL: the daemon knows */
	bool json;
	bool verbose;
};

/* Prints "agentsecrets: <sentence>" on stderr, control bytes made visible; returns CLI_FAILED. */
int cli_fail(const struct err *e);
/* The same for a wrong command line, with a pointer to --help; returns CLI_USAGE. */
int cli_usage(const struct cli *c, const char *fmt, ...) printf_like(2, 3);

int cmd_init(struct cli *c);
int cmd_workspace_create(struct cli *c);
int cmd_workspace_list(struct cli *c);
int cmd_workspace_use(struct cli *c);
int cmd_workspace_delete(struct cli *c);
int cmd_allowlist_add(struct cli *c);
int cmd_allowlist_remove(struct cli *c);
int cmd_allowlist_list(struct cli *c);
int cmd_allowlist_verify(struct cli *c);
int cmd_unix_add(struct cli *c);
int cmd_unix_remove(struct cli *c);
int cmd_unix_list(struct cli *c);
int cmd_secrets_set(struct cli *c);
int cmd_secrets_bind(struct cli *c);
int cmd_secrets_rotate(struct cli *c);
int cmd_secrets_import(struct cli *c);
int cmd_secrets_test(struct cli *c);
int cmd_workspace_foreign(struct cli *c);
int cmd_secrets_list(struct cli *c);
int cmd_secrets_delete(struct cli *c);
int cmd_vault_status(struct cli *c);
int cmd_vault_unlock(struct cli *c);
int cmd_vault_lock(struct cli *c);
int cmd_vault_rewrap(struct cli *c);
int cmd_vault_backup(struct cli *c);
int cmd_vault_restore(struct cli *c);
int cmd_run(struct cli *c);
int cmd_call(struct cli *c);
int cmd_cgroup_list(struct cli *c);
int cmd_cgroup_attach(struct cli *c);
int cmd_cgroup_detach(struct cli *c);
int cmd_status(struct cli *c);
int cmd_log(struct cli *c);
int cmd_log_verify(struct cli *c);
int cmd_log_rotate(struct cli *c);
int cmd_doctor(struct cli *c);
int cmd_version(struct cli *c);

#endif
