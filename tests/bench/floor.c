/* floor.c: the yardstick: a relay that ends TLS on both sides and does nothing else.
 *
 *	floor PORT CERT KEY CA UPSTREAM-ADDRESS UPSTREAM-NAME
 *
 * One process, epoll, OpenSSL: accepts on 127.0.0.1:PORT, dials UPSTREAM-ADDRESS:443, verifies it as UPSTREAM-NAME, and
 * passes decrypted bytes each way. It parses, checks, records and injects nothing; what a proxy costs above it is what its
 * features cost. Not for use: a blocked write ends the connection.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct pair;

struct end {
	int fd;
	SSL *ssl;
	bool ready; /* its handshake is over */
	struct pair *of;
};

struct pair {
	struct end end[2]; /* the client's, the upstream's */
	bool flowing, dead;
	struct pair *next_dead;
};

static int poller;
static SSL_CTX *server, *client;
static struct sockaddr_in upstream = {.sin_family = AF_INET, .sin_port = 0};
static const char *upstream_name;
static struct pair *dead;

static _Noreturn void die(const char *what)
{
	perror(what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void watch(int fd, void *what, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = what};

	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static void end_pair(struct pair *p)
{
	if (p->dead)
		return;
	for (int i = 0; i < 2; i++) {
		SSL_free(p->end[i].ssl);
		close(p->end[i].fd);
	}
	p->dead = true;
	p->next_dead = dead;
	dead = p;
}

static void begin(struct end *e, struct pair *of, int fd, SSL_CTX *ctx)
{
	const int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	e->fd = fd;
	e->of = of;
	e->ssl = SSL_new(ctx);
	if (!e->ssl || SSL_set_fd(e->ssl, fd) != 1)
		die("SSL_new");
}

static void take(int listener)
{
	struct pair *p;
	int fd, up;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		p = calloc(1, sizeof(*p));
		up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (!p || up < 0 ||
		    (connect(up, (struct sockaddr *)&upstream, sizeof(upstream)) < 0 &&
		     errno != EINPROGRESS))
			die("upstream");
		begin(&p->end[0], p, fd, server);
		begin(&p->end[1], p, up, client);
		SSL_set_accept_state(p->end[0].ssl);
		SSL_set_connect_state(p->end[1].ssl);
		if (SSL_set_tlsext_host_name(p->end[1].ssl, upstream_name) != 1 ||
		    SSL_set1_host(p->end[1].ssl, upstream_name) != 1)
			die("name");
		watch(fd, &p->end[0], EPOLLIN);
		watch(up, &p->end[1], EPOLLIN | EPOLLOUT);
	}
}

/* False: it failed, or is not over. */
static bool shaken(struct end *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = e};
	int rc;

	if (e->ready)
		return true;
	ERR_clear_error();
	rc = SSL_do_handshake(e->ssl);
	if (rc == 1) {
		e->ready = true;
		(void)epoll_ctl(poller, EPOLL_CTL_MOD, e->fd, &ev);
		return true;
	}
	rc = SSL_get_error(e->ssl, rc);
	if (rc == SSL_ERROR_WANT_READ)
		(void)epoll_ctl(poller, EPOLL_CTL_MOD, e->fd, &ev);
	else if (rc != SSL_ERROR_WANT_WRITE)
		end_pair(e->of);
	return false;
}

static void pass(struct end *from, struct end *to)
{
	static char buf[16384];
	int n;

	do {
		ERR_clear_error();
		n = SSL_read(from->ssl, buf, sizeof(buf));
		if (n <= 0) {
			if (SSL_get_error(from->ssl, n) != SSL_ERROR_WANT_READ)
				end_pair(from->of);
			return;
		}
		if (SSL_write(to->ssl, buf, n) != n) {
			end_pair(from->of);
			return;
		}
	} while (SSL_has_pending(from->ssl));
}

static void serve(struct end *e)
{
	struct pair *p = e->of;

	if (p->dead || !shaken(e) || !p->end[0].ready || !p->end[1].ready)
		return;
	pass(e, e == &p->end[0] ? &p->end[1] : &p->end[0]);
	/* Something may have come from the other side before this one was ready. */
	if (!p->flowing && !p->dead)
		pass(e == &p->end[0] ? &p->end[1] : &p->end[0], e);
	p->flowing = true;
}

static SSL_CTX *context(const SSL_METHOD *m)
{
	SSL_CTX *c = SSL_CTX_new(m);

	if (!c)
		die("SSL_CTX_new");
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS);
	return c;
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const int on = 1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct epoll_event ev[256];

	if (argc != 7)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	server = context(TLS_server_method());
	client = context(TLS_client_method());
	a.sin_port = htons((uint16_t)atoi(argv[1]));
	upstream.sin_port = htons(443);
	upstream_name = argv[6];
	SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL);
	if (SSL_CTX_use_certificate_chain_file(server, argv[2]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server, argv[3], SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_load_verify_locations(client, argv[4], NULL) != 1 ||
	    inet_pton(AF_INET, argv[5], &upstream.sin_addr) != 1)
		die("certificates");
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 4096) < 0)
		die("listen");
	watch(listener, NULL, EPOLLIN);
	for (;;) {
		int n = epoll_wait(poller, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				serve(ev[i].data.ptr);
			else
				take(listener);
		}
		for (struct pair *p; (p = dead);) {
			dead = p->next_dead;
			free(p);
		}
	}
}
