/* cmd_run.h: a child in a guard of its own. */
#ifndef CMD_RUN_H
#define CMD_RUN_H

#include "cli.h"

#include <jansson.h>

/* What the child does in the guard, behind the sandbox: its exit status. entered: the daemon's answer to run.enter; env: the
 * environment for a command. */
typedef int run_fn(const struct cli *c, const json_t *entered, char **env, void *ctx);

/* The child's exit status, or CLI_RUN_FAILED. */
int run_guarded(const struct cli *c, run_fn *fn, void *ctx);

#endif
