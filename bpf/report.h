/* report.h: counting denials and telling of them, for every program of ours.
 *
 * The three maps are the same ones in each object: levels.c gives the later ones those that egress.bpf.c made.
 */
#ifndef REPORT_H
#define REPORT_H

#define LIMIT_NS 1000000000ull /* one event per second and kind of denial */
#define LIMIT_ENTRIES 4096

struct eg_limit_key {
	__u64 guard;
	__u8 addr[16];
	__u16 port;
	__u16 reason;
	__u32 proto;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EG_EVENTS_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, LIMIT_ENTRIES);
	__type(key, struct eg_limit_key);
	__type(value, __u64);
} limits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EG_STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void count(__u32 stat)
{
	__u64 *n = bpf_map_lookup_elem(&stats, &stat);

	if (n)
		__sync_fetch_and_add(n, 1); /* another program may interrupt us on this CPU */
}

/* Was an event of this kind sent within the last second? Two CPUs may both say no: one event more. */
static __always_inline bool limited(const struct eg_event *like, __u64 now)
{
	struct eg_limit_key key = {
		.guard = like->guard,
		.port = like->port,
		.reason = like->reason,
		.proto = like->proto,
	};
	__u64 *last;

	__builtin_memcpy(key.addr, like->addr, sizeof(key.addr));
	last = bpf_map_lookup_elem(&limits, &key);
	if (last && now - *last < LIMIT_NS)
		return true;
	bpf_map_update_elem(&limits, &key, &now, BPF_ANY);
	return false;
}

/* Sends an event. `ev` is the caller's, complete but for the time. */
static __always_inline void tell(struct eg_event *ev)
{
	ev->at = bpf_ktime_get_ns();
	if (limited(ev, ev->at))
		count(EG_STAT_EVENTS_LIMITED);
	else if (bpf_ringbuf_output(&events, ev, sizeof(*ev), 0))
		count(EG_STAT_EVENTS_LOST);
}

/* Counts a denial and sends it. */
static __always_inline void report(struct eg_event *ev)
{
	count(EG_STAT_DENIED + (ev->reason & (EG_REASON_SLOTS - 1)));
	tell(ev);
}
_Static_assert((EG_REASON_SLOTS & (EG_REASON_SLOTS - 1)) == 0 && EG_REASON_COUNT <= EG_REASON_SLOTS,
	       "reasons are masked");

/* The task, where the helpers exist: sock_addr and sock programs. */
static __always_inline void event_task(struct eg_event *ev)
{
	ev->cgroup = bpf_get_current_cgroup_id();
	ev->pid = bpf_get_current_pid_tgid() >> 32;
	ev->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
}

#endif
