/* repin.h: pins that are missing, made again from descriptors that somebody kept.
 *
 * A bpffs can be unmounted and a pin unlinked under our hands; the kernel side stays in force by the descriptors of the
 * daemon and its holder. For enforce_open.c, over <dir> = <bpffs>/v<EG_LAYOUT>. Nothing here fails: a pin that cannot be
 * made is made again with the object by whoever takes it up.
 */
#ifndef REPIN_H
#define REPIN_H

#include "enforce.h"

#include <stdbool.h>

struct bpf_map;
struct bpf_object;

/* Before the object is loaded: pins each of its maps that has no pin, if a descriptor of one of that name and shape is
 * among those held. */
void repin_maps(struct bpf_object *obj, const char *dir, const struct enforce_held *held,
		size_t count);

/* A directory of pins, empty if need be, for each guard of which a live link is held: enforce.c attaches what is missing
 * in it anew. */
void repin_guards(const char *dir, const struct enforce_held *held, size_t count);

/* An upgrade from another layout: guards that stand in a v<N> beside dir get a directory here as well, so that they are
 * attached anew under ours; true when there is such a v<N> (maps are not carried over then: they may mean other things).
 * drop: after that, takes its programs off their cgroups and its pins away. Kinds of pins that neither knows stay. */
bool repin_older(const char *dir);
void repin_drop_older(const char *dir);

bool repin_is_link(int fd);

/* One descriptor at <dir>/<name>, if nothing is there. */
void repin_one(int fd, const char *dir, const char *name);

#endif
