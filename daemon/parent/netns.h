/* netns.h: sockets inside an agent's network namespace, made by us, from outside.
 *
 * A short-lived forked child enters the `listen` cgroup (so that the proxy-side BPF programs see the
 * sockets, which belong to their birth cgroup for good) and the namespace, makes the sockets and passes
 * them back. The caller's own thread never changes its namespace or cgroup. network_namespaces(7).
 */
#ifndef NETNS_H
#define NETNS_H

#include "config.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The namespace of a process, as a descriptor (/proc/<pid>/ns/net). */
int netns_of(pid_t pid, int *ret_fd, struct err *e) must_check;

enum netns_what { NETNS_TCP4, NETNS_TCP6, NETNS_UDP4, NETNS_UDP6, NETNS_SOCKETS };

struct netns_sockets {
	int fd[NETNS_SOCKETS]; /* owned by the caller; -1 where not asked for or where there is no IPv6 */
	uint16_t port;
	uint64_t cookie;
};

/* Makes loopback sockets at `port` (0: one free port for all of them, found by trying): TCP listening with
 * the given backlog, UDP when `udp`. Non-blocking, CLOEXEC. IPv6 ones are left out when the namespace has
 * no ::1. -EADDRINUSE with a sentence that names the port and what to configure; -ENETDOWN when `lo` is
 * down ("ip link set lo up"). */
int netns_sockets(int netns_fd, int listen_cgroup, uint16_t port, bool udp, struct netns_sockets *ret,
		  struct err *e) must_check;
void netns_sockets_done(struct netns_sockets *s);

#endif
