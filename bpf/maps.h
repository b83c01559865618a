/* maps.h: the maps that several objects have. egress.bpf.c makes them; levels.c and adopt.c put them in the place of the
 * others' own, and nothing compares the layouts then. So each is described here alone, and an object says which it has:
 *
 *	struct quota_map quota SEC(".maps");
 *
 * Those that every object has stand with the code that uses them, in report.h.
 */
#ifndef MAPS_H
#define MAPS_H

#include "egress.h"

/* A guard's state, at its attach point. */
struct guards_map {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, struct eg_guard);
};

/* Guard to the number of its records in `pending`; also the list of what is a guard. */
struct quota_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EG_GUARDS_MAX + 1); /* and the canary's */
	__type(key, __u64);
	__type(value, __u64);
};

/* Which guard an adopted socket belongs to; what it accepts inherits that. */
struct marks_map {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, int);
	__type(value, __u64);
};

/* Unix sockets outside that a guard may reach (exempt.h), by what is known of them and by path. */
struct exempt_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EG_UNIX_MAX);
	__type(key, struct eg_unix_key);
	__type(value, __u64);
};

struct exempt_paths_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EG_UNIX_MAX);
	__type(key, struct eg_unix_path);
	__type(value, __u64);
};

#endif
