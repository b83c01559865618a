/* commands.h: runs the commands that secrets' values come from.
 *
 * As a user that is not root, by absolute path and without a shell, in a session of its own, with an empty environment but for
 * the named variables of the daemon's own, no input, its messages nowhere, its output in a pipe that the keeper reads.
 * When its time is over, or it has ended, what is left of its session's first group is killed.
 */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "parent.h"

#include <jansson.h>

#define COMMANDS_TIMEOUT_MAX 60
#define COMMANDS_TTL_MAX     86400
#define COMMANDS_ARGS_MAX    64
#define COMMANDS_ENV_MAX     16

/* {"argv": [absolute path, ...], "user": uid, "timeout"?: s, "ttl"?: s, "env"?: [names]}; a checked copy with the defaults
 * filled in, or a sentence. */
int commands_check(json_t *spec, json_t **ret, struct err *e) must_check;

/* The keeper wants it run. */
void commands_run(struct parent *p, const struct rpc_command_run *q);
int commands_turn(struct parent *p, uint64_t now_ms);
void commands_on_end(void *ctx, uint32_t slot, uint16_t gen, uint32_t events); /* loop handler */
void commands_done(struct parent *p);

#endif
