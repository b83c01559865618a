/* guards_in.h: what the files of guards share. guards.c makes and ends them; guards_netns.c has the listeners in their
 * network namespaces, guards_file.c the record on disk, guards_restore.c the start of a daemon that finds some.
 */
#ifndef GUARDS_IN_H
#define GUARDS_IN_H

#include "guards.h"

/* ---- guards.c ---- */

struct guard *guards_slot(struct parent *p); /* a free one, emptied; NULL: none */
void guards_take_sockets(struct guard *g, struct netns_sockets *s);
int guards_open_state(struct parent *p, const struct guard *g, struct err *e) must_check;
int guards_watch(struct parent *p, struct guard *g) must_check;
/* Lets go of it here; what stands in the kernel stays. */
void guards_close(struct guard *g);
/* Ends it: children told, links off, directory, record and listeners gone. */
void guards_end(struct parent *p, struct guard *g);

/* ---- guards_netns.c ---- */

extern const char *const guards_dns_words[NETNS_SOCKETS]; /* in the holder's keys */

struct netns_slot *guards_netns(struct parent *p, uint64_t cookie); /* 0: a free one */
/* The proxy's listeners in that namespace, made when it is the first guard there. */
int guards_netns_use(struct parent *p, int netns_fd, uint64_t cookie, struct err *e) must_check;
/* After the last guard of a namespace is gone its listeners go too: they would keep the namespace alive. */
void guards_netns_leave(struct parent *p, uint64_t cookie);

void guards_dns_listener(const struct guard *g, size_t i, struct rpc_listener *l);
/* `to`: one child, or NULL for all. */
void guards_tell_listener(struct parent *p, struct proc *to, uint16_t op,
			  const struct rpc_listener *l, int fd);
void guards_tell_one(struct parent *p, struct proc *to, const struct guard *g);
void guards_hold_one(struct parent *p, const struct guard *g);

/* ---- guards_unix.c ---- */

/* The unix sockets outside that its workspace's document opens to it; again for all guards, as things change. */
void guards_unix(struct parent *p, const struct guard *g, const struct workspace *w);
void guards_unix_sweep(struct parent *p);

/* ---- guards_file.c ---- */

void guards_id_text(uint64_t id, char out[24]);
int guards_write(struct parent *p, const struct guard *g) must_check;
int guards_read(struct parent *p, uint64_t id, struct guard *g) must_check;
/* False: it is too long. */
bool printf_like(2, 3) guards_put(char out[PARENT_CGROUP_MAX], const char *fmt, ...);

#endif
