/* sources.h: the parent's side of values that are not in the vault: which workspace has them where, which secrets come from
 * a command.
 *
 *	<state_dir>/sources.json   {"workspaces": {NAME: {"backend": "secret-service" | "dir:/path"}},
 *	                            "commands": {"NAME/SECRET": {"argv": [...], "user": uid, "timeout": s, "ttl": s, "env": [...]}}}
 *
 * The keeper is told all of it but what is run: it names a secret, and the command is looked up here. A command is run
 * by commands.h.
 */
#ifndef SOURCES_H
#define SOURCES_H

#include "parent.h"

#include <jansson.h>

/* At start; a file that is none of ours ends it. */
int sources_load(struct parent *p, struct err *e) must_check;
void sources_done(struct parent *p);
/* To a keeper that was started. */
int sources_tell(struct parent *p) must_check;

/* backend: "file", "secret-service" or "dir:/absolute/path". The workspace is about to be made. */
int sources_check(const char *backend, struct err *e) must_check;
int sources_set(struct parent *p, const char *workspace, const char *backend,
		struct err *e) must_check;
/* "file" when nothing was set. */
const char *sources_backend(const struct parent *p, const char *workspace);
int sources_drop(struct parent *p, const char *workspace, struct err *e) must_check;

/* A secret's command, checked here: {"argv", "user", "timeout"?, "ttl"?, "env"?}. spec NULL: it has none any more. */
int sources_command(struct parent *p, const char *workspace, const char *name, json_t *spec,
		    struct err *e) must_check;
bool sources_has(const struct parent *p, const char *workspace, const char *name);

/* The helper of a keyring gets one end of a channel, the keeper the other. */
int sources_helper(struct parent *p, const char *workspace, int *ret_fd, struct err *e) must_check;

/* Once per turn: times, directories. The next wait in ms; -1: none. */
int sources_turn(struct parent *p, uint64_t now_ms);
/* loop handler */
void sources_on_watch(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);

/* For commands.c: the command of a secret; NULL: none. */
json_t *sources_find(const struct parent *p, const char *workspace, const char *name);

#endif
