/* escape.h: ways out of a guard, and the target that each of them tries to reach.
 *
 * One case is one way tried in one mode (suite.py). It has an address, a port and a marker of its own, so
 * that any frame which leaves names the case it belongs to:
 *	198.18.MODE.WAY and 2001:db8:1:e::198.18.MODE.WAY, and the groups 239.18.MODE.WAY and ff05::…
 *	10000 + 256 * MODE + WAY; what the process itself listens on: 20000 + 256 * MODE + WAY
 *	ESC<mode><way><nine characters of the run>
 */
#ifndef ESCAPE_H
#define ESCAPE_H

#include "../../daemon/shared/own.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define ESCAPE_MARKER    16
#define ESCAPE_WAYS      250 /* the way's number is a byte; 255 is what `before` uses for itself */
#define ESCAPE_SETUP_WAY 255

/* Where `before` leaves what existed before the guard. */
enum {
	BEFORE_UDP4 = 100,
	BEFORE_UDP6,
	BEFORE_TCP4,
	BEFORE_TCP6,
	BEFORE_CONNECTED,
	BEFORE_LISTENER
};
/* Where the helper keeps its socket, for who can take it. */
#define HELPER_FD 100

struct target {
	unsigned int mode, way;
	char marker[ESCAPE_MARKER + 1];
	uint16_t port;      /* at the far end */
	uint16_t listen;    /* at ours */
	const char *dev;    /* the interface that leads outside */
	const char *dir;    /* the helper's unix sockets */
	const char *bpffs;  /* the daemon's */
	const char *cgroup; /* mount of the hierarchy */
	int wait;           /* milliseconds for somebody to dial in */
	pid_t helper;       /* an unguarded process of the same user */
	uint64_t outbox;    /* its array of struct errand, by way */
};

/* What the helper does for whoever can tell it to. */
struct errand {
	uint64_t full;
	struct sockaddr_in to;
	char marker[ESCAPE_MARKER];
};

/* Answers of a way. Only WAY_MADE is believed by the suite: whether something left is seen outside. */
#define WAY_SENT    0
#define WAY_MADE    1 /* a socket exists that should not */
#define WAY_REFUSED 2 /* step_text() says where */

struct way {
	const char *name;
	int (*run)(const struct target *t, const char *arg);
	const char *arg;
	bool alone; /* changes the whole guard; tried in one of its own */
};

extern const struct way ways_tcp[], ways_datagram[], ways_options[], ways_process[], ways_system[];

struct dest {
	struct sockaddr_storage ss;
	socklen_t len;
	int family;
};

/* step.c */
int step_failed(const char *what); /* notes errno; WAY_REFUSED */
int step_said(const char *what);   /* the same, without errno */
const char *step_text(void);
uint32_t target_v4(const struct target *t); /* network order */
struct in6_addr target_v6(const struct target *t);
struct dest target_dest(const struct target *t, const char *arg, uint16_t port);
int way_socket(int family, int type, int proto); /* -1: noted */
bool way_ready(int fd, short events, int ms);
int way_send(int fd, const struct target *t); /* the marker, on a connected socket */
int way_dial(int fd, const struct target *t, const struct dest *d);
int way_udp(const struct target *t, const char *arg);
void way_call_me(const struct target *t, const char *proto);
int way_answer(int fd, const struct target *t); /* accept, and say the marker */
int way_setsockopt(int fd, int level, int name, const void *value, size_t len, const char *what);
void way_errand(const struct target *t, struct errand *e);

/* outside.c: the unguarded side */
int outside_listen(int argc, char **argv);
int outside_watch(int argc, char **argv);
int outside_call(int argc, char **argv);
int outside_mark(int argc, char **argv);
int outside_helper(int argc, char **argv);

/* inside.c: what stands before the ways in a process's life */
int inside_before(int argc, char **argv);
int inside_enter(int argc, char **argv);
int inside_await(int argc, char **argv);

#endif
