/* step.c: what the ways share. A way stops at its first refusal and says at which step. */
#include "escape.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>

static char text[160];

int step_failed(const char *what)
{
	(void)snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	return WAY_REFUSED;
}

int step_said(const char *what)
{
	(void)snprintf(text, sizeof(text), "%s", what);
	return WAY_REFUSED;
}

const char *step_text(void)
{
	return text;
}

uint32_t target_v4(const struct target *t)
{
	return htonl(198u << 24 | 18u << 16 | t->mode << 8 | t->way);
}

static struct in6_addr v6_with(const char *prefix, size_t at, uint32_t v4)
{
	struct in6_addr a;

	(void)inet_pton(AF_INET6, prefix, &a);
	memcpy(a.s6_addr + at, &v4, sizeof(v4));
	return a;
}

struct in6_addr target_v6(const struct target *t)
{
	return v6_with("2001:db8:1:e::", 12, target_v4(t));
}

static struct dest dest_v6(struct in6_addr a, uint16_t port)
{
	struct dest d = {.len = sizeof(struct sockaddr_in6), .family = AF_INET6};
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&d.ss;

	sin6->sin6_family = AF_INET6;
	sin6->sin6_port = htons(port);
	sin6->sin6_addr = a;
	return d;
}

static struct dest dest_v4(uint32_t a, uint16_t port)
{
	struct dest d = {.len = sizeof(struct sockaddr_in), .family = AF_INET};
	struct sockaddr_in *sin = (struct sockaddr_in *)&d.ss;

	sin->sin_family = AF_INET;
	sin->sin_port = htons(port);
	sin->sin_addr.s_addr = a;
	return d;
}

/* "4", "6", "mapped", "nat64", "6to4": the case's own address in that form; else the address itself. */
struct dest target_dest(const struct target *t, const char *arg, uint16_t port)
{
	struct in6_addr a6;
	struct in_addr a4;

	if (strcmp(arg, "4") == 0)
		return dest_v4(target_v4(t), port);
	if (strcmp(arg, "6") == 0)
		return dest_v6(target_v6(t), port);
	if (strcmp(arg, "mapped") == 0)
		return dest_v6(v6_with("::ffff:0:0", 12, target_v4(t)), port);
	if (strcmp(arg, "nat64") == 0)
		return dest_v6(v6_with("64:ff9b::", 12, target_v4(t)), port);
	if (strcmp(arg, "6to4") == 0)
		return dest_v6(v6_with("2002::1", 2, target_v4(t)), port);
	if (inet_pton(AF_INET, arg, &a4) == 1)
		return dest_v4(a4.s_addr, port);
	if (inet_pton(AF_INET6, arg, &a6) == 1)
		return dest_v6(a6, port);
	(void)fprintf(stderr, "escape: no address: %s\n", arg);
	_exit(2);
}

int way_socket(int family, int type, int proto)
{
	int fd = socket(family, type | SOCK_CLOEXEC, proto);

	if (fd < 0)
		(void)step_failed("socket");
	return fd;
}

bool way_ready(int fd, short events, int ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, ms) == 1;
}

int way_send(int fd, const struct target *t)
{
	if (send(fd, t->marker, ESCAPE_MARKER, MSG_NOSIGNAL) < 0)
		return step_failed("send");
	/* Closing at once could outrun the answer that makes the kernel send what is queued. */
	(void)way_ready(fd, POLLIN, 60);
	return WAY_SENT;
}

int way_dial(int fd, const struct target *t, const struct dest *d)
{
	int error = 0;
	socklen_t len = sizeof(error);

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, (const struct sockaddr *)&d->ss, d->len) < 0 && errno != EINPROGRESS)
		return step_failed("connect");
	if (!way_ready(fd, POLLOUT, 400))
		return step_said("connect: no answer");
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error) {
		errno = error;
		return step_failed("connect");
	}
	return way_send(fd, t);
}

int way_udp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);

	if (fd < 0)
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

/* Asks the suite for a caller from outside, who comes from the case's own address. */
void way_call_me(const struct target *t, const char *proto)
{
	(void)printf("call\t%u\t%s\t%u\n", t->way, proto, t->listen);
	(void)fflush(stdout);
}

int way_answer(int fd, const struct target *t)
{
	auto_close int peer = -1;

	if (!way_ready(fd, POLLIN, t->wait))
		return step_said("accept: nobody came");
	peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return peer < 0 ? step_failed("accept") : way_send(peer, t);
}

int way_setsockopt(int fd, int level, int name, const void *value, size_t len, const char *what)
{
	return setsockopt(fd, level, name, value, (socklen_t)len) < 0 ? step_failed(what)
								      : WAY_SENT;
}

void way_errand(const struct target *t, struct errand *e)
{
	*e = (struct errand){.full = 1};
	e->to.sin_family = AF_INET;
	e->to.sin_port = htons(t->port);
	e->to.sin_addr.s_addr = target_v4(t);
	memcpy(e->marker, t->marker, ESCAPE_MARKER);
}
