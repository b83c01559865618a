/* who.h: a proxy's tables of guards and workspaces: who asks, and what that workspace allows.
 *
 * Filled by the boss alone. A guard without a workspace's document denies everything.
 */
#ifndef WHO_H
#define WHO_H

#include "former.h"
#include "prints.h"
#include "ref.h"
#include "rules.h"

/* A value that some hosts may still know (former.h), which the keeper has. */
struct who_former {
	struct who_former *next; /* older ones */
	uint64_t number;
	char *hosts; /* patterns, NUL after each, an empty one at the end */
};

struct workspace {
	struct workspace *next;
	char name[RPC_WORKSPACE_MAX];
	struct rules *rules; /* NULL: no document that verifies */
	struct ref_marks *marks; /* of its placeholders; NULL: none */
	struct prints *prints; /* of its values; NULL: none are known */
	uint64_t epoch;	     /* changes with the document and with every secret */
	uint32_t guards;
	struct who_former *formers; /* newest first, at most FORMER_PER_WORKSPACE */
};

struct guard {
	struct guard *next;
	uint64_t id;
	struct workspace *workspace;
	uint32_t connections; /* open ones, counted by proxy.c */
	uint64_t held;	      /* bytes of requests' bodies that are being looked into (hold.h) */
	bool gone;	      /* no longer found; freed with its last connection */
	uint64_t limit_said_ms; /* when the audit log was last told that it is at its limit */
};

struct who {
	struct workspace *workspaces;
	struct guard *guards;
	uint64_t epoch;
};

void who_done(struct who *w);

/* A new document; rules are taken over. */
int who_workspace(struct who *w, const char *name, struct rules *rules) must_check;
void who_workspace_gone(struct who *w, const char *name);
void who_secret_changed(struct who *w, const char *name);
/* A value was replaced or unbound; number 0: only that. hosts: as in RPC_FORMER. -EPROTO: no patterns. */
int who_former(struct who *w, const char *name, uint64_t number, const char *hosts, size_t len) must_check;
/* There is another keeper, which has none. */
void who_formers_gone(struct who *w);
bool who_former_may(const struct who_former *f, const char *host);

/* As the keeper sent them (prints.h). */
int who_prints(struct who *w, const char *name, const uint8_t *prints, size_t len) must_check;

/* Adds a guard or moves it to another workspace. */
int who_guard(struct who *w, uint64_t id, const char *workspace) must_check;
/* It is not found from now on. Returns it while connections use it, else NULL. */
struct guard *who_guard_gone(struct who *w, uint64_t id);
struct guard *who_find(const struct who *w, uint64_t id);
/* A connection ended. */
void who_leave(struct who *w, struct guard *g);

#endif
