/* test_proxy.c: a whole proxy process, sandbox and all, between real TLS clients and real TLS servers.
 *
 * The test is boss, keeper and resolver (threads), client, and in a child of its own the upstream. Only
 * the kernel's record is made up: record_of() is defined here, and linked instead of record.c's.
 */
#include "skip.h"
#include "certs.h"
#include "child.h"
#include "fdio.h"
#include "http1.h"
#include "loads.h"
#include "lonely.h"
#include "loop.h"
#include "record.h"
#include "rules.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define GUARD 4711
#define EXPLICIT 8765
#define VALUE "sk-live-0123456789abcdef"
#define MASKED "************************"
#define HOST "api.test.example"
#define OTHER "other.test.example"
#define PINNED "pinned.test.example" /* a rule of mode tunnel */
#define DENIED "evil.test.example"
#define BIG (10u << 20)

/* Seen by the proxy process and the upstream process too. */
struct shared {
	uint64_t guard;
	uint16_t port; /* the original destination of connections from now on */
	atomic_int accepts, requests, no_record, to_explicit, records;
	char last[8192]; /* the last request's head; what is echoed of it holds no value any more */
};

static struct {
	struct shared *sh;
	char dir[64], audit[96], ca[96];
	int boss, keeper[2], resolver[2], audit_fd;
	pid_t proxy, upstream;
	uint16_t listen, tls_port, plain_port, bad_port;
	int tls_fd, plain_fd, bad_fd;
	EVP_PKEY *ca_key, *leaf_key;
	X509 *ca_cert;
	SSL_CTX *client;
	struct rpc_peer to_keeper;
	pthread_t threads[2];
	uint64_t version;
	bool body_slot; /* of the secret, in the next document */
	struct loads *loads;
} T;

/* What the fake keeper and resolver do, and did. */
static atomic_int keeper_leaves, keeper_reads, resolver_asks;
static atomic_int keeper_says, resolver_says; /* errno to answer with */
static atomic_int keeper_holds;		      /* a credential's answer waits until this is 0 */
static atomic_uint resolver_addr;	      /* IPv4 */

int record_of(int fd, struct eg_record *rec)
{
	static const uint8_t addr[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 7};

	(void)fd;
	if (T.sh->no_record)
		return -ENOPROTOOPT;
	*rec = (struct eg_record){.guard = T.sh->guard, .cgroup = 99, .pid = 1, .port = T.sh->port,
				  .family = AF_INET, .comm = "client"};
	memcpy(rec->addr, addr, 16);
	if (T.sh->to_explicit) {
		memcpy(rec->addr + 12, "\x7f\0\0\1", 4);
		rec->port = EXPLICIT;
	}
	T.sh->records++;
	return 0;
}

/* ---- keeper and resolver ---- */

static int on_leaf_key(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const unsigned char *p = m->tail;

	(void)ctx;
	(void)peer;
	EVP_PKEY_free(T.leaf_key);
	T.leaf_key = d2i_PUBKEY(NULL, &p, (long)m->tail_len);
	return T.leaf_key ? 0 : -EPROTO;
}

static int answer(int fd, uint16_t op, uint32_t id, int rc, const void *tail, size_t len)
{
	struct rpc_done d = {.rc = rc, .tail_len = (uint32_t)len};

	return rpc_send(fd, op, id, &d, sizeof(d), tail, len, -1);
}

static int on_sign_leaf(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_sign_leaf *q = m->body;
	unsigned char *der = NULL;
	X509 *x = certs_make(q->host, T.leaf_key, T.ca_cert, T.ca_key, -3600, 3600);
	int len = i2d_X509(x, &der), rc;

	(void)ctx;
	(void)peer;
	keeper_leaves++;
	rc = answer(T.to_keeper.fd, RPC_LEAF, m->id, 0, der, (size_t)len);
	OPENSSL_free(der);
	X509_free(x);
	return rc;
}

static int on_credential(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)ctx;
	(void)peer;
	keeper_reads++;
	while (keeper_holds)
		usleep(1000);
	if (keeper_says)
		return answer(T.to_keeper.fd, RPC_CREDENTIAL_VALUE, m->id, keeper_says, NULL, 0);
	return answer(T.to_keeper.fd, RPC_CREDENTIAL_VALUE, m->id, 0, VALUE, strlen(VALUE));
}

static int on_resolve(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct rpc_resolved r = {.rc = resolver_says, .count = resolver_says ? 0 : 1, .ttl = 60};
	uint32_t v4 = resolver_addr;

	(void)peer;
	resolver_asks++;
	r.addr[0][10] = r.addr[0][11] = 0xff;
	memcpy(&r.addr[0][12], &v4, 4);
	return rpc_send(((struct rpc_peer *)ctx)->fd, RPC_RESOLVED, m->id, &r, sizeof(r), NULL, 0, -1);
}

static const struct rpc_row peer_rows[] = {
	{RPC_LEAF_KEY, 0, 512, 0, on_leaf_key},
	{RPC_SIGN_LEAF, sizeof(struct rpc_sign_leaf), 0, 0, on_sign_leaf},
	{RPC_CREDENTIAL, sizeof(struct rpc_credential), 0, 0, on_credential},
	{RPC_RESOLVE, sizeof(struct rpc_resolve), 0, 0, on_resolve},
};

static void *serve_peer(void *arg)
{
	struct rpc_peer *p = arg;
	void *buf = malloc(RPC_BUF);
	struct pollfd pfd = {.fd = p->fd, .events = POLLIN};

	while (poll(&pfd, 1, -1) == 1 && rpc_serve(p, peer_rows, ARRAY_SIZE(peer_rows), p, buf, 64) == 0)
		;
	free(buf);
	return NULL;
}

/* ---- the upstream: one thread for each connection ---- */

struct stream {
	int fd;
	SSL *ssl;
};

static int stream_read(struct stream *s, void *p, int n)
{
	return s->ssl ? SSL_read(s->ssl, p, n) : (int)read(s->fd, p, (size_t)n);
}

static bool stream_write(struct stream *s, const void *p, size_t n)
{
	while (n > 0) {
		int done = s->ssl ? SSL_write(s->ssl, p, (int)(n < 65536 ? n : 65536))
				  : (int)send(s->fd, p, n, MSG_NOSIGNAL);

		if (done <= 0)
			return false;
		p = (const char *)p + done;
		n -= (size_t)done;
	}
	return true;
}

static bool stream_print(struct stream *s, const char *fmt, ...)
{
	char text[70000];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return stream_write(s, text, strlen(text));
}

/* Reads a request's body; malloc'ed. */
static char *read_body(struct stream *s, const char *head, char *have, size_t have_len, size_t *ret_len)
{
	const char *length = strcasestr(head, "\r\ncontent-length: ");
	char *body = malloc(BIG + 1), in[65536];
	struct http1_chunked c = {0};
	size_t len = 0, want = length ? strtoul(length + 18, NULL, 10) : 0, used;
	bool chunked = strcasestr(head, "\r\ntransfer-encoding: chunked") != NULL;
	struct http1_slice piece;
	int n = (int)have_len;

	memcpy(in, have, have_len);
	for (;;) {
		size_t at = 0;

		if (!chunked) {
			memcpy(body + len, in, (size_t)n);
			len += (size_t)n;
			if (len >= want)
				break;
		}
		while (chunked && at < (size_t)n) {
			enum http1_result r = http1_chunked(&c, in + at, (size_t)n - at, &used, &piece);

			if (r == HTTP1_DATA) {
				memcpy(body + len, piece.p, piece.len);
				len += piece.len;
			}
			at += used;
			if (r == HTTP1_DONE) {
				*ret_len = len;
				while (at + 2 > (size_t)n && stream_read(s, in, 2) > 0)
					at = 0, n = 2;
				return body;
			}
			if (r == HTTP1_BAD)
				_exit(9);
		}
		n = stream_read(s, in, sizeof(in));
		if (n <= 0) {
			free(body);
			return NULL;
		}
	}
	*ret_len = len;
	return body;
}

static void respond_chunked(struct stream *s, const char *p, size_t len)
{
	size_t n, i;

	for (i = 0; len > 0; p += n, len -= n, i++) {
		n = len < 7001 ? len : 7001;
		(void)stream_print(s, "%zx%s\r\n", n, i < 100 ? ";ext=1" : "");
		(void)stream_write(s, p, n);
		(void)stream_write(s, "\r\n", 2);
	}
	(void)stream_print(s, "0\r\nX-Trailer: yes\r\n\r\n");
}

/* The value in two pieces of a message with a ping between them; then what came comes back, unmasked, frame by frame. */
static void serve_websocket(struct stream *s, const char *head, char *have, size_t have_len)
{
	static const char frames[] = "\x01\x0cxxsk-live-01\x89\x01p\x00\x00\x80\x10" "23456789abcdefyy\x81\x04last";
	uint8_t in[70000];
	size_t len = have_len;
	int n = 1;

	memcpy(in, have, have_len);
	(void)stream_print(s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n%s%sX-Seen: %s\r\n\r\n",
			   strstr(head, " /ws-accept") ? "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n"
						       : "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
			   strstr(head, " /ws-chat") ? "Sec-WebSocket-Protocol: chat\r\n" :
			   strstr(head, " /ws-ext") ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "",
			   strcasestr(head, "sec-websocket-extensions") ? "extensions" : "none");
	(void)stream_write(s, frames, sizeof(frames) - 1);
	while (n > 0) {
		while (len >= 6 && len >= 6 + (size_t)(in[1] & 0x7f)) { /* short ones only */
			size_t size = in[1] & 0x7f;

			for (size_t i = 0; i < size; i++)
				in[6 + i] ^= in[2 + i % 4];
			in[1] &= 0x7f;
			(void)stream_write(s, in, 2);
			(void)stream_write(s, in + 6, size);
			if ((in[0] & 15) == 8)
				return;
			memmove(in, in + 6 + size, len - 6 - size);
			len -= 6 + size;
		}
		n = stream_read(s, in + len, (int)(sizeof(in) - len));
		len += n > 0 ? (size_t)n : 0;
	}
}

/* False: the connection ends. */
static bool serve_request(struct stream *s, char *head, char *have, size_t have_len)
{
	size_t len = 0;
	char *body;
	bool more = true;

	if (strstr(head, " /early")) {
		(void)stream_print(s, "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop");
		usleep(200000);
		return false;
	}
	if (strstr(head, " /drop"))
		return false;
	if (strstr(head, " /hang")) {
		usleep(20000000);
		return false;
	}
	if (strstr(head, " /bad")) {
		(void)stream_print(s, "HTTP/1.1 200 OK\nContent-Length: 0\n\n");
		return false;
	}
	if (strstr(head, " /cut")) {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf");
		return false;
	}
	if (strstr(head, " /ws")) {
		serve_websocket(s, head, have, have_len);
		return false;
	}
	if (strcasestr(head, "expect: 100-continue"))
		(void)stream_print(s, "HTTP/1.1 100 Continue\r\n\r\n");
	body = read_body(s, head, have, have_len, &len);
	if (!body)
		return false;
	if (strstr(head, " /echo-chunked")) {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		respond_chunked(s, body, len);
	} else if (strstr(head, " /echo-body")) {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
		(void)stream_write(s, body, len);
	} else if (strstr(head, " /close")) {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
		(void)stream_write(s, body, len);
		(void)stream_print(s, "until the end");
		more = false;
	} else if (strstr(head, " /once")) {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nonce");
		more = false;
	} else if (strstr(head, " /none")) {
		(void)stream_print(s, "HTTP/1.1 204 No Content\r\n\r\n");
	} else if (strncmp(head, "HEAD ", 5) == 0) {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n");
	} else {
		(void)stream_print(s, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(head), head);
	}
	free(body);
	return more;
}

static void *serve_stream(void *arg)
{
	struct stream *s = arg;
	char in[70000], head[70000];
	size_t len = 0;
	char *end;
	int n = 1;

	if (s->ssl && SSL_accept(s->ssl) != 1)
		n = 0;
	while (n > 0) {
		in[len] = '\0';
		end = strstr(in, "\r\n\r\n");
		if (end) {
			size_t used = (size_t)(end - in) + 4;

			memcpy(head, in, used);
			head[used] = '\0';
			memcpy(T.sh->last, head, used < sizeof(T.sh->last) ? used : sizeof(T.sh->last) - 1);
			T.sh->last[used < sizeof(T.sh->last) ? used : sizeof(T.sh->last) - 1] = '\0';
			T.sh->requests++;
			/* The proxy sends the next request only after our response. */
			if (!serve_request(s, head, in + used, len - used))
				break;
			len = 0;
			continue;
		}
		n = stream_read(s, in + len, (int)(sizeof(in) - len - 1));
		len += n > 0 ? (size_t)n : 0;
	}
	if (s->ssl) {
		SSL_shutdown(s->ssl);
		SSL_free(s->ssl);
	}
	shutdown(s->fd, SHUT_WR);
	while (read(s->fd, in, sizeof(in)) > 0)
		;
	close(s->fd);
	free(s);
	return NULL;
}

static void serve_accept(int fd, SSL_CTX *ctx)
{
	struct stream *s = calloc(1, sizeof(*s));
	const int on = 1;
	pthread_t t;

	s->fd = accept(fd, NULL, NULL);
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (ctx) {
		s->ssl = SSL_new(ctx);
		SSL_set_fd(s->ssl, s->fd);
	}
	T.sh->accepts++;
	pthread_create(&t, NULL, serve_stream, s);
	pthread_detach(t);
}

static void upstream_process(SSL_CTX *good, SSL_CTX *bad)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	for (;;) {
		struct pollfd p[3] = {{T.tls_fd, POLLIN, 0}, {T.plain_fd, POLLIN, 0}, {T.bad_fd, POLLIN, 0}};

		if (poll(p, 3, -1) < 1)
			_exit(1);
		if (p[0].revents)
			serve_accept(T.tls_fd, good);
		if (p[1].revents)
			serve_accept(T.plain_fd, NULL);
		if (p[2].revents)
			serve_accept(T.bad_fd, bad);
	}
}

/* ---- the boss ---- */

static int listen_on(uint16_t *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 512), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static void tell(uint16_t op, const void *body, size_t size, int fd)
{
	assert_int_equal(rpc_send(T.boss, op, 0, body, size, NULL, 0, fd), 0);
}

static void tell_wire(uint32_t kind, int fd)
{
	struct rpc_wire w = {.kind = kind};

	tell(RPC_WIRE, &w, sizeof(w), fd);
}

static void add_rule(struct rules *r, const char *host, uint16_t port, bool private)
{
	struct rules_rule rule = {.port = port, .private = private};
	struct err e = {0};

	(void)strncpy(rule.host, host, sizeof(rule.host) - 1);
	assert_int_equal(rules_add(r, &rule, &e), 0);
}

static void add_tunnel(struct rules *r, const char *host, uint16_t port, bool private)
{
	struct rules_rule rule = {.port = port, .private = private, .mode = RULES_TUNNEL};
	struct err e = {0};

	(void)strncpy(rule.host, host, sizeof(rule.host) - 1);
	assert_int_equal(rules_add(r, &rule, &e), 0);
}

static void tell_workspace(bool private, bool with_other)
{
	struct rules *r = rules_new("demo", 0, "2026-11-23T07:00:00Z");
	const char *hosts[] = {HOST};
	struct rpc_workspace ws = {.workspace = "demo", .version = ++T.version};
	char signature[64] = {0}, *doc;
	struct err e = {0};
	size_t len;
	int fd;

	r->version = ws.version;
	add_rule(r, HOST, T.tls_port, private);
	add_rule(r, HOST, T.plain_port, private);
	add_rule(r, HOST, T.bad_port, private);
	if (with_other) {
		add_rule(r, OTHER, T.tls_port, private);
		add_tunnel(r, PINNED, T.tls_port, private);
		add_tunnel(r, PINNED, T.plain_port, private);
		add_tunnel(r, PINNED, 1, private);
	}
	assert_int_equal(rules_bind(r, "API_KEY", hosts, 1, RULES_SLOTS_DEFAULT | RULES_SLOT_QUERY |
			 (T.body_slot ? RULES_SLOT_BODY : 0), &e), 0);
	assert_int_equal(rules_write(r, &doc, &len, &e), 0);
	fd = fdio_memfd("doc", doc, len, signature, sizeof(signature));
	assert_true(fd >= 0);
	ws.doc_len = len;
	tell(RPC_WORKSPACE, &ws, sizeof(ws), fd);
	close(fd);
	free(doc);
	rules_free(r);
}

static int on_boss_ready(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)peer;
	(void)m;
	*(bool *)ctx = true;
	return 0;
}

static struct rpc_stats boss_stats;
static int on_boss_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)peer;
	memcpy(&boss_stats, m->body, sizeof(boss_stats));
	*(bool *)ctx = true;
	return 0;
}

/* Waits for a message of the proxy. */
static void hear(void)
{
	static const struct rpc_row rows[] = {{RPC_READY, 0, 0, 0, on_boss_ready},
					      {RPC_STATS, sizeof(struct rpc_stats), 0, 0, on_boss_stats}};
	struct rpc_peer p = {.fd = T.boss};
	void *buf = malloc(RPC_BUF);
	bool heard = false;

	while (!heard) {
		struct pollfd pfd = {.fd = T.boss, .events = POLLIN};

		assert_int_equal(poll(&pfd, 1, 10000), 1);
		assert_int_equal(rpc_serve(&p, rows, ARRAY_SIZE(rows), &heard, buf, 1), 0);
	}
	free(buf);
}

/* What was told before has been heard once this is answered. */
static void sync_proxy(void)
{
	tell(RPC_STATS_ASK, NULL, 0, -1);
	hear();
}

static void tell_guard(uint16_t op, uint64_t id)
{
	struct rpc_guard g = {.guard = id, .workspace = "demo"};

	tell(op, &g, sizeof(g), -1);
}

static void start_channel(int pair[2], struct rpc_peer *p, pthread_t *t, uint32_t wire)
{
	assert_int_equal(rpc_pair(pair), 0);
	*p = (struct rpc_peer){.fd = pair[0]};
	pthread_create(t, NULL, serve_peer, p);
	tell_wire(wire, pair[1]);
	close(pair[1]);
}

static struct rpc_peer to_resolver;

static void start_keeper(void)
{
	start_channel(T.keeper, &T.to_keeper, &T.threads[0], RPC_WIRE_KEEPER);
}

static void start_resolver(void)
{
	start_channel(T.resolver, &to_resolver, &T.threads[1], RPC_WIRE_RESOLVER);
}

/* The channel ends as a dead process's would. */
static void stop_peer(int pair[2], pthread_t t)
{
	shutdown(pair[0], SHUT_RDWR);
	pthread_join(t, NULL);
	close(pair[0]);
}

static void start_proxy(void)
{
	struct config c = {.proxy_user = {65534, 65534}, .max_connections = 400, .per_guard_connections = 300,
			   .connect_timeout_s = 3, .head_timeout_s = 2, .idle_timeout_s = 30,
			   .response_timeout_s = 3, .body_max = 100000, .tunnel_idle_timeout_s = 30,
			   .explicit_port = EXPLICIT, .resolve_timeout_s = 3, .tls_timeout_s = 3};
	struct rpc_audit_key k = {.writer = "proxy0"};
	struct rpc_listener l = {.kind = RPC_LISTENER_PROXY, .family = AF_INET};
	int pair[2], listener, ca, loads;

	assert_int_equal(rpc_pair(pair), 0);
	listener = listen_on(&T.listen);
	T.proxy = fork();
	if (T.proxy == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (pair[1] != RPC_BOSS_FD)
			dup2(pair[1], RPC_BOSS_FD);
		closefrom(RPC_BOSS_FD + 1);
		_exit(proxy_main(0));
	}
	close(pair[1]);
	T.boss = pair[0];
	tell(RPC_CONFIG, &c, sizeof(c), -1);
	ca = open(T.ca, O_RDONLY | O_CLOEXEC);
	tell_wire(RPC_WIRE_CA_FILE, ca);
	close(ca);
	T.audit_fd = open(T.audit, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	tell_wire(RPC_WIRE_AUDIT, T.audit_fd);
	assert_int_equal(loads_new(&loads, &T.loads), 0);
	tell_wire(RPC_WIRE_LOADS, loads);
	close(loads);
	tell(RPC_AUDIT_KEY, &k, sizeof(k), -1);
	start_keeper();
	start_resolver();
	l.port = T.listen;
	tell(RPC_LISTENER, &l, sizeof(l), listener);
	close(listener);
	tell_workspace(true, true);
	tell_guard(RPC_GUARD, GUARD);
	tell(RPC_GO, NULL, 0, -1);
	hear();
}

/* ---- the client ---- */

struct client {
	struct stream s;
	char *in; /* BIG + some */
	size_t len;
	bool ended;
};

struct reply {
	int status;
	char head[70000];
	char *body; /* in the client's buffer, NUL behind */
	size_t len;
};

static struct reply R;

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				.sin_port = htons(T.listen)};
	struct timeval t = {.tv_sec = 15};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	return fd;
}

/* sni NULL: plain HTTP. port: of the original destination. */
static struct client *open_client(const char *sni, uint16_t port)
{
	struct client *c = calloc(1, sizeof(*c));

	T.sh->port = port;
	c->in = malloc(BIG + 100000);
	c->s.fd = dial();
	if (!sni)
		return c;
	c->s.ssl = SSL_new(T.client);
	SSL_set_fd(c->s.ssl, c->s.fd);
	SSL_set_tlsext_host_name(c->s.ssl, sni);
	SSL_set1_host(c->s.ssl, sni);
	assert_int_equal(SSL_connect(c->s.ssl), 1);
	return c;
}

static void close_client(struct client *c)
{
	if (c->s.ssl)
		SSL_shutdown(c->s.ssl);
	SSL_free(c->s.ssl);
	close(c->s.fd);
	free(c->in);
	free(c);
}

static bool fill(struct client *c)
{
	int n = stream_read(&c->s, c->in + c->len, 65536);

	c->ended = n <= 0;
	c->len += n > 0 ? (size_t)n : 0;
	c->in[c->len] = '\0';
	return !c->ended;
}

static void eat(struct client *c, size_t n)
{
	memmove(c->in, c->in + n, c->len - n);
	c->len -= n;
	c->in[c->len] = '\0';
}

static char body_copy[BIG + 100000];

static void read_reply_chunked(struct client *c)
{
	struct http1_chunked ch = {0};
	struct http1_slice piece;
	size_t used;

	for (;;) {
		enum http1_result r = http1_chunked(&ch, c->in, c->len, &used, &piece);

		assert_int_not_equal(r, HTTP1_BAD);
		if (r == HTTP1_DATA) {
			memcpy(body_copy + R.len, piece.p, piece.len);
			R.len += piece.len;
		}
		eat(c, used);
		if (r == HTTP1_DONE)
			break;
		if (c->len == 0)
			assert_true(fill(c));
	}
	while (c->len < 2 || !(strncmp(c->in, "\r\n", 2) == 0 || strstr(c->in, "\r\n\r\n")))
		assert_true(fill(c));
	eat(c, strncmp(c->in, "\r\n", 2) == 0 ? 2 : (size_t)(strstr(c->in, "\r\n\r\n") - c->in) + 4);
}

/* Reads one response, interim ones too. */
static int get_reply(struct client *c, bool no_body)
{
	const char *length;
	size_t used, want;
	char *end;

	R.len = 0;
	R.status = 0;
	c->in[c->len] = '\0';
	while (!(end = strstr(c->in, "\r\n\r\n")))
		if (!fill(c))
			return 0;
	used = (size_t)(end - c->in) + 4;
	memcpy(R.head, c->in, used);
	R.head[used] = '\0';
	R.status = atoi(R.head + 9);
	R.body = body_copy;
	eat(c, used);
	if (no_body || R.status < 200 || R.status == 204 || strstr(R.head, " Connection established\r\n"))
		return R.status;
	length = strcasestr(R.head, "\r\ncontent-length: ");
	if (strcasestr(R.head, "\r\ntransfer-encoding: chunked")) {
		read_reply_chunked(c);
	} else if (length) {
		want = strtoul(length + 18, NULL, 10);
		while (c->len < want)
			assert_true(fill(c));
		memcpy(body_copy, c->in, want);
		R.len = want;
		eat(c, want);
	} else {
		while (fill(c))
			;
		memcpy(body_copy, c->in, c->len);
		R.len = c->len;
	}
	body_copy[R.len] = '\0';
	return R.status;
}

/* text: a format that takes the port once, at most. */
static int ask(struct client *c, const char *fmt, ...)
{
	char text[70000];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	assert_true(stream_write(&c->s, text, strlen(text)));
	return get_reply(c, strncmp(text, "HEAD ", 5) == 0);
}

#define AT(host) "Host: " host ":%u\r\n"

/* One request on its own connection. */
static int ask_once(const char *sni, uint16_t port, const char *text)
{
	struct client *c = open_client(sni, port);
	int status = ask(c, text, port);

	close_client(c);
	return status;
}

static char *audit_text(void)
{
	static char text[4 << 20];
	ssize_t n;

	sync_proxy();
	n = pread(T.audit_fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static size_t audit_at;
static void audit_mark(void)
{
	audit_at = strlen(audit_text());
}

/* Lines are written at the end of a turn, which may have answered more than one question before. */
static void audit_has(const char *what)
{
	const char *text = audit_text() + audit_at;

	for (int i = 0; i < 500 && !strstr(text, what); i++) {
		usleep(10000);
		text = audit_text() + audit_at;
	}
	if (!strstr(text, what))
		fail_msg("the audit log lacks %s in:\n%s", what, text);
}

/* ---- tests: allowed ---- */

static void test_injected(void **state)
{
	int reads = keeper_reads;
	struct client *c = open_client(HOST, T.tls_port);

	(void)state;
	audit_mark();
	assert_int_equal(ask(c, "GET /echo?q=1 HTTP/1.1\r\n" AT(HOST) "Authorization: Bearer agentsecrets://API_KEY\r\n\r\n",
			     T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, "Authorization: Bearer " VALUE "\r\n"));
	assert_non_null(strstr(R.body, "Authorization: Bearer " MASKED "\r\n"));
	assert_non_null(strstr(R.body, "GET /echo?q=1 HTTP/1.1\r\n"));
	assert_int_equal(keeper_reads, reads + 1);
	/* Again on the same connection: read again, since nothing is kept by default. */
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "Authorization: Bearer agentsecrets://API_KEY\r\n\r\n",
			     T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, VALUE));
	assert_null(strstr(R.body, VALUE));
	assert_int_equal(keeper_reads, reads + 2);
	close_client(c);
	audit_has("\"API_KEY\"");
	audit_has("\"/echo\"");
	audit_has("\"status\":200");
	audit_has("\"redacted\":1");
	assert_null(strstr(audit_text(), VALUE));
	assert_null(strstr(audit_text(), "q=1"));
}

static void test_basic_and_query(void **state)
{
	/* "user:agentsecrets://API_KEY" */
	(void)state;
	assert_int_equal(ask_once(HOST, T.tls_port,
				  "GET /echo?key=agentsecrets%%3A%%2F%%2FAPI_KEY&b HTTP/1.1\r\n" AT(HOST)
				  "Authorization: Basic dXNlcjphZ2VudHNlY3JldHM6Ly9BUElfS0VZ\r\n\r\n"), 200);
	assert_non_null(strstr(T.sh->last, "GET /echo?key=" VALUE "&b HTTP/1.1"));
	assert_non_null(strstr(R.body, "GET /echo?key=" MASKED "&b HTTP/1.1"));
	/* base64 of "user:sk-live-0123456789abcdef" */
	assert_non_null(strstr(T.sh->last, "Basic dXNlcjpzay1saXZlLTAxMjM0NTY3ODlhYmNkZWY="));
	assert_non_null(strstr(R.body, "Basic dXNlcjp*")); /* two bits of the value are in the p */
}

static void test_bodies(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);
	static char big[BIG], chunk[9000];
	size_t i, n;
	int turn;

	(void)state;
	for (i = 0; i < BIG; i++)
		big[i] = (char)(i * 2654435761u >> 13);
	for (turn = 0; turn < 2; turn++) {
		assert_true(stream_print(&c->s, "POST /%s HTTP/1.1\r\n" AT(HOST) "Content-Length: %u\r\n\r\n",
					 turn ? "echo-chunked" : "echo-body", T.tls_port, BIG));
		assert_true(stream_write(&c->s, big, BIG));
		assert_int_equal(get_reply(c, false), 200);
		assert_int_equal(R.len, BIG);
		assert_memory_equal(R.body, big, BIG);
	}
	for (turn = 0; turn < 2; turn++) {
		assert_true(stream_print(&c->s, "POST /%s HTTP/1.1\r\n" AT(HOST) "Transfer-Encoding: chunked\r\n\r\n",
					 turn ? "echo-chunked" : "echo-body", T.tls_port));
		for (i = 0; i < BIG; i += n) {
			n = BIG - i < sizeof(chunk) ? BIG - i : sizeof(chunk);
			assert_true(stream_print(&c->s, "%zX%s\r\n", n, i < 100 * n ? ";a=b" : ""));
			assert_true(stream_write(&c->s, big + i, n));
			assert_true(stream_print(&c->s, "\r\n"));
		}
		assert_true(stream_print(&c->s, "0\r\nX-End: 1\r\n\r\n"));
		assert_int_equal(get_reply(c, false), 200);
		assert_int_equal(R.len, BIG);
		assert_memory_equal(R.body, big, BIG);
	}
	/* Delimited by the end of the connection: becomes chunked for us, and ours goes on. */
	assert_int_equal(ask(c, "GET /close HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	assert_string_equal(R.body, "until the end");
	assert_int_equal(ask(c, "GET /none HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 204);
	assert_int_equal(ask(c, "HEAD /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	assert_non_null(strstr(R.head, "Content-Length: 12345"));
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	close_client(c);
}

static void test_one_byte_at_a_time(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);
	char text[512];
	size_t i;

	(void)state;
	(void)snprintf(text, sizeof(text),
		       "POST /echo-chunked HTTP/1.1\r\n" AT(HOST) "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		       T.tls_port);
	for (i = 0; text[i]; i++)
		assert_true(stream_write(&c->s, text + i, 1));
	assert_int_equal(get_reply(c, false), 200);
	assert_string_equal(R.body, "hello");
	close_client(c);
}

static void test_pipelined(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);
	char text[4096] = "";
	int i;

	(void)state;
	for (i = 0; i < 5; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
			       "POST /echo-body HTTP/1.1\r\n" AT(HOST) "Content-Length: 2\r\n\r\n#%d", T.tls_port, i);
	assert_true(stream_print(&c->s, "%s", text));
	for (i = 0; i < 5; i++) {
		assert_int_equal(get_reply(c, false), 200);
		assert_int_equal(R.body[1], '0' + i);
	}
	close_client(c);
}

#define JSON "Content-Type: application/json\r\n"

/* Where a secret may stand in bodies, they are read to the end before anything goes up, and go up with their length. */
static void test_held_bodies(void **state)
{
	struct client *c;
	static char big[100001];
	size_t i, n;
	int accepts, requests;

	(void)state;
	T.body_slot = true;
	tell_workspace(true, true);
	sync_proxy();
	for (i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 2654435761u >> 13);
	c = open_client(HOST, T.tls_port);
	/* By length, in two pieces; the next request right behind it. */
	accepts = T.sh->accepts;
	requests = T.sh->requests;
	assert_true(stream_print(
		&c->s, "POST /echo-body HTTP/1.1\r\n" JSON AT(HOST) "Content-Length: 100000\r\n\r\n",
		T.tls_port));
	assert_true(stream_write(&c->s, big, 50000));
	sync_proxy();
	usleep(20000);
	assert_int_equal(T.sh->requests, requests);
	assert_int_equal(T.sh->accepts, accepts);
	assert_true(stream_write(&c->s, big + 50000, 50000));
	assert_true(stream_print(
		&c->s,
		"POST /echo-body HTTP/1.1\r\n" JSON AT(
			HOST) "Content-Length: 3\r\n\r\nabcGET /echo HTTP/1.1\r\n" AT(HOST) "\r\n",
		T.tls_port, T.tls_port));
	assert_int_equal(get_reply(c, false), 200);
	assert_int_equal(R.len, 100000);
	assert_memory_equal(R.body, big, 100000);
	assert_int_equal(get_reply(c, false), 200);
	assert_string_equal(R.body, "abc");
	assert_int_equal(get_reply(c, false), 200);
	assert_non_null(strstr(T.sh->last, "GET /echo"));
	/* Chunked, with a trailer: as one piece. */
	assert_true(stream_print(
		&c->s, "POST /echo-body HTTP/1.1\r\n" JSON AT(HOST) "Transfer-Encoding: chunked\r\n\r\n",
		T.tls_port));
	for (i = 0; i < 100000; i += n) {
		n = 100000 - i < 777 ? 100000 - i : 777;
		assert_true(stream_print(&c->s, "%zx;a=b\r\n", n));
		assert_true(stream_write(&c->s, big + i, n));
		assert_true(stream_print(&c->s, "\r\n"));
		if (i == 10 * 777)
			break;
	}
	assert_true(stream_print(&c->s, "0\r\nX-End: 1\r\n\r\n"));
	assert_int_equal(get_reply(c, false), 200);
	assert_int_equal(R.len, 11 * 777);
	assert_memory_equal(R.body, big, R.len);
	assert_non_null(strcasestr(T.sh->last, "\r\nContent-Length: 8547\r\n"));
	assert_null(strcasestr(T.sh->last, "chunked"));
	/* Nobody else is there to say it. */
	assert_int_equal(ask(c,
			     "POST /echo-body HTTP/1.1\r\n" JSON AT(
				     HOST) "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n",
			     T.tls_port),
			 100);
	assert_true(stream_write(&c->s, "body", 4));
	assert_int_equal(get_reply(c, false), 200);
	assert_string_equal(R.body, "body");
	assert_null(strcasestr(T.sh->last, "\r\nExpect:"));
	/* Empty ones are not worth it. */
	assert_int_equal(ask(c, "POST /echo-body HTTP/1.1\r\n" JSON AT(HOST) "Content-Length: 0\r\n\r\n",
			     T.tls_port),
			 200);
	close_client(c);
	/* Too long: by what it says, or by what comes. */
	audit_mark();
	requests = T.sh->requests;
	c = open_client(HOST, T.tls_port);
	assert_int_equal(
		ask(c, "POST /echo-body HTTP/1.1\r\n" JSON AT(HOST) "Content-Length: 100001\r\n\r\n",
		    T.tls_port),
		403);
	assert_non_null(strstr(R.body, "\"error\":\"body_too_large\",\"domain\":\"" HOST "\""));
	assert_non_null(strstr(R.head, "Connection: close"));
	close_client(c);
	c = open_client(HOST, T.tls_port);
	assert_true(stream_print(&c->s,
				 "POST /echo-body HTTP/1.1\r\n" JSON AT(
					 HOST) "Transfer-Encoding: chunked\r\n\r\n186a1\r\n",
				 T.tls_port));
	assert_true(stream_write(&c->s, big, sizeof(big)));
	assert_int_equal(get_reply(c, false), 403);
	assert_non_null(strstr(R.body, "\"body_too_large\""));
	close_client(c);
	/* Broken, cut off, too slow. */
	assert_int_equal(ask_once(HOST, T.tls_port,
				  "POST /echo-body HTTP/1.1\r\n" JSON AT(
					  HOST) "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
			 400);
	assert_int_equal(
		ask_once(HOST, T.tls_port,
			 "POST /echo-body HTTP/1.1\r\n" JSON AT(HOST) "Content-Length: 5\r\n\r\nhel"),
		400);
	c = open_client(HOST, T.tls_port);
	assert_true(stream_print(
		&c->s, "POST /echo-body HTTP/1.1\r\n" JSON AT(HOST) "Content-Length: 5\r\n\r\nhel",
		T.tls_port));
	close_client(c);
	assert_int_equal(T.sh->requests, requests);
	audit_has("body_too_large");
	audit_has("body timeout");
	T.body_slot = false;
	tell_workspace(true, true);
	sync_proxy();
}

static void test_pool(void **state)
{
	int accepts, i;

	(void)state;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	accepts = T.sh->accepts;
	for (i = 0; i < 5; i++)
		assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	assert_int_equal(T.sh->accepts, accepts);
	/* Another host, and another credential, are other connections. */
	assert_int_equal(ask_once(OTHER, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(OTHER) "\r\n"), 502);
	assert_int_equal(T.sh->accepts, accepts + 1);
	/* The upstream closes after the response: the next request finds out and gets a fresh one. */
	for (i = 0; i < 3; i++)
		assert_int_equal(ask_once(HOST, T.tls_port, "GET /once HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	/* A changed document: nothing from before is used again. */
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	accepts = T.sh->accepts;
	tell_workspace(true, true);
	sync_proxy();
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	assert_int_equal(T.sh->accepts, accepts + 1);
}

static void test_continue_and_early(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);

	(void)state;
	assert_int_equal(ask(c, "POST /echo-body HTTP/1.1\r\n" AT(HOST) "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n",
			     T.tls_port), 100);
	assert_true(stream_write(&c->s, "body", 4));
	assert_int_equal(get_reply(c, false), 200);
	assert_string_equal(R.body, "body");
	/* Answered while most of the body has not been sent. */
	assert_int_equal(ask(c, "POST /early HTTP/1.1\r\n" AT(HOST) "Content-Length: 100000\r\n\r\nsome",
			     T.tls_port), 413);
	assert_string_equal(R.body, "stop");
	assert_non_null(strstr(R.head, "Connection: close"));
	close_client(c);
}

static void test_plain_http(void **state)
{
	struct client *c = open_client(NULL, T.plain_port);
	int reads = keeper_reads;

	(void)state;
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.plain_port), 200);
	/* Half-close: the answer still comes. */
	assert_true(stream_print(&c->s, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.plain_port));
	shutdown(c->s.fd, SHUT_WR);
	assert_int_equal(get_reply(c, false), 200);
	close_client(c);
	/* HTTP/1.0: no chunked, and the connection ends. */
	assert_int_equal(ask_once(NULL, T.plain_port, "GET /close HTTP/1.0\r\n" AT(HOST) "\r\n"), 200);
	assert_string_equal(R.body, "until the end");
	assert_null(strcasestr(R.head, "chunked"));
	/* Never a credential in the clear. */
	assert_int_equal(ask_once(NULL, T.plain_port, "GET /echo HTTP/1.1\r\n" AT(HOST)
						      "X-Key: agentsecrets://API_KEY\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "\"non_https_blocked\""));
	/* Read once for each of the three responses, which were searched for it. */
	assert_int_equal(keeper_reads, reads + 3);
}

static void test_resumption(void **state)
{
	SSL *ssl;
	SSL_SESSION *session;
	struct client *c = open_client(HOST, T.tls_port);
	int fd;

	(void)state;
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	session = SSL_get1_session(c->s.ssl);
	close_client(c);
	fd = dial();
	ssl = SSL_new(T.client);
	SSL_set_fd(ssl, fd);
	SSL_set_session(ssl, session);
	SSL_set_tlsext_host_name(ssl, HOST);
	assert_int_equal(SSL_connect(ssl), 1);
	assert_true(SSL_session_reused(ssl));
	SSL_free(ssl);
	close(fd);
	/* The same ticket under another name is not accepted as a resumption. */
	fd = dial();
	ssl = SSL_new(T.client);
	SSL_set_fd(ssl, fd);
	SSL_set_session(ssl, session);
	SSL_set_tlsext_host_name(ssl, OTHER);
	if (SSL_connect(ssl) == 1)
		assert_false(SSL_session_reused(ssl));
	SSL_free(ssl);
	close(fd);
	SSL_SESSION_free(session);
}

/* ---- tests: refused ---- */

static void test_denied(void **state)
{
	int reads = keeper_reads, asks = resolver_asks, accepts = T.sh->accepts;
	struct client *c;

	(void)state;
	audit_mark();
	assert_int_equal(ask_once(DENIED, T.tls_port, "GET /x HTTP/1.1\r\n" AT(DENIED)
						      "Authorization: Bearer agentsecrets://API_KEY\r\n\r\n"), 403);
	assert_non_null(strstr(R.head, "Content-Type: application/json"));
	assert_string_equal(R.body, "{\"error\":\"domain_not_in_allowlist\",\"domain\":\"" DENIED "\",\"message\":\""
			    DENIED " is not in your workspace allowlist. To authorize it, run: agentsecrets workspace "
			    "allowlist add " DENIED "\"}\n");
	audit_has("domain_not_in_allowlist");
	/* Without a body, or with one that is here, the connection goes on. */
	c = open_client(DENIED, T.tls_port);
	assert_int_equal(ask(c, "GET /x HTTP/1.1\r\n" AT(DENIED) "\r\n", T.tls_port), 403);
	assert_null(strstr(R.head, "Connection: close"));
	assert_int_equal(ask(c, "POST /x HTTP/1.1\r\n" AT(DENIED) "Content-Length: 3\r\n\r\nabc", T.tls_port), 403);
	assert_int_equal(ask(c, "HEAD /x HTTP/1.1\r\n" AT(DENIED) "\r\n", T.tls_port), 403);
	assert_int_equal(ask(c, "POST /x HTTP/1.1\r\n" AT(DENIED) "Content-Length: 300\r\n\r\nabc", T.tls_port), 403);
	assert_non_null(strstr(R.head, "Connection: close"));
	close_client(c);
	/* Host differs from SNI; port differs. */
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(OTHER) "\r\n"), 403);
	assert_non_null(strstr(R.body, "\"sni_host_mismatch\""));
	assert_int_equal(ask_once(HOST, 4444, "GET /x HTTP/1.1\r\n" AT(HOST) "\r\n"), 403);
	assert_int_equal(resolver_asks, asks);
	/* A secret for another host, one that is not there, a slot that is not its own: judged after the address. */
	assert_int_equal(ask_once(OTHER, T.tls_port, "GET /x HTTP/1.1\r\n" AT(OTHER)
						     "X-Key: agentsecrets://API_KEY\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "\"secret_not_for_host\""));
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST)
						    "X-Key: agentsecrets://NO_SUCH\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "\"secret_unknown\""));
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /agentsecrets://API_KEY HTTP/1.1\r\n" AT(HOST) "\r\n"), 403);
	assert_non_null(strstr(R.body, "\"secret_slot_not_allowed\""));
	assert_int_equal(keeper_reads, reads);
	assert_int_equal(resolver_asks, asks + 3);
	assert_int_equal(T.sh->accepts, accepts);
}

/* ---- tests: tunnels ---- */

/* A client that takes any certificate; NULL and *ret_reason: the handshake failed. */
static SSL *open_tunnel(uint16_t port, int *ret_reason)
{
	SSL *ssl = SSL_new(T.client);

	T.sh->port = port;
	SSL_set_fd(ssl, dial());
	SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	SSL_set_tlsext_host_name(ssl, PINNED);
	ERR_clear_error();
	if (SSL_connect(ssl) == 1)
		return ssl;
	*ret_reason = ERR_GET_REASON(ERR_peek_last_error());
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
	return NULL;
}

static void close_tunnel(SSL *ssl)
{
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
}

static void test_tunnel(void **state)
{
	int leaves = keeper_leaves, reads = keeper_reads, why = 0, n;
	char text[4096], rest[4096];
	SSL *ssl;

	(void)state;
	audit_mark();
	ssl = open_tunnel(T.tls_port, &why);
	assert_non_null(ssl);
	/* The server's own certificate, and bytes as they are: nothing is put in. */
	X509_NAME_oneline(X509_get_issuer_name(SSL_get0_peer_certificate(ssl)), text, sizeof(text));
	assert_non_null(strstr(text, "Upstream Test CA"));
	n = snprintf(text, sizeof(text), "GET /echo HTTP/1.1\r\nHost: %s\r\nX: agentsecrets://API_KEY\r\n\r\n", PINNED);
	assert_int_equal(SSL_write(ssl, text, n), n);
	n = SSL_read(ssl, rest, sizeof(rest) - 1);
	assert_true(n > 0);
	rest[n] = '\0';
	assert_non_null(strstr(rest, "X: agentsecrets://API_KEY"));
	/* Half-closed: the other direction still carries, here the server's last record. */
	assert_int_equal(shutdown(SSL_get_fd(ssl), SHUT_WR), 0);
	assert_true(read(SSL_get_fd(ssl), rest, sizeof(rest)) > 0);
	while (read(SSL_get_fd(ssl), rest, sizeof(rest)) > 0)
		;
	close_tunnel(ssl);
	assert_int_equal(keeper_leaves, leaves);
	assert_int_equal(keeper_reads, reads);
	audit_has("\"scheme\":\"tunnel\"");
	audit_has("\"bytes_down\"");
}

static void tunnel_refused(uint16_t port, int alert, const char *says)
{
	int accepts = T.sh->accepts, why = 0;

	audit_mark();
	assert_null(open_tunnel(port, &why));
	assert_int_equal(why, SSL_AD_REASON_OFFSET + alert);
	assert_int_equal(T.sh->accepts, accepts);
	audit_has(says);
}

static void test_tunnel_refused(void **state)
{
	static const int says[] = {-EACCES, -EPERM, -ENOENT, -ETIMEDOUT, -EPIPE};
	static const char *const words[] = {"ssrf_protection_blocked", "policy_denied", "upstream_name_not_found",
					    "upstream_timeout", "internal_error"};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(says); i++) {
		resolver_says = says[i];
		tunnel_refused(T.tls_port, i < 2 ? SSL_AD_ACCESS_DENIED : SSL_AD_INTERNAL_ERROR, words[i]);
	}
	resolver_says = 0;
	tunnel_refused(1, SSL_AD_INTERNAL_ERROR, "upstream_unreachable");
	/* Whatever the resolver says: an address that the rule does not open. */
	tell_workspace(false, true);
	sync_proxy();
	tunnel_refused(T.tls_port, SSL_AD_ACCESS_DENIED, "ssrf_protection_blocked");
	tell_workspace(true, true);
	sync_proxy();
}

/* A rule that goes takes its tunnels along; another document that has it does not. */
static void test_tunnel_rule_goes(void **state)
{
	SSL *ssl;
	int why = 0;
	char c;

	(void)state;
	ssl = open_tunnel(T.tls_port, &why);
	assert_non_null(ssl);
	tell_workspace(true, true);
	sync_proxy();
	assert_int_equal(SSL_write(ssl, "GET /none HTTP/1.1\r\n\r\n", 22), 22);
	assert_int_equal(SSL_read(ssl, &c, 1), 1);
	audit_mark();
	tell_workspace(true, false);
	sync_proxy();
	while (read(SSL_get_fd(ssl), &c, 1) > 0)
		;
	close_tunnel(ssl);
	audit_has("no rule opens it any more");
	tell_workspace(true, true);
	sync_proxy();
}

static void test_bad_syntax(void **state)
{
	static const char *const bad[] = {
		"GET /x HTTP/1.1\nHost: " HOST "\n\n",
		"GET /x HTTP/1.1\r\n" AT(HOST) "Host: " HOST "\r\n\r\n",
		"POST /x HTTP/1.1\r\n" AT(HOST) "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET /x HTTP/1.1\r\n" AT(HOST) "A: b\r\n folded\r\n\r\n",
		"GET /x HTTP/2.0\r\n" AT(HOST) "\r\n",
	};
	int requests = T.sh->requests;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ask_once(HOST, T.tls_port, bad[i]), 400);
		assert_non_null(strstr(R.body, "{\"error\":\"bad_request\",\"message\":"));
	}
	assert_int_equal(T.sh->requests, requests);
	/* Bad chunks after a good head: the head may have gone, the rest does not. */
	assert_int_equal(ask_once(HOST, T.tls_port, "POST /echo-body HTTP/1.1\r\n" AT(HOST)
						    "Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400);
}

static void test_addresses(void **state)
{
	int accepts;

	(void)state;
	/* A rule without "private": what the resolver says is judged again here. */
	tell_workspace(false, true);
	sync_proxy();
	accepts = T.sh->accepts;
	audit_mark();
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST) "\r\n"), 403);
	assert_non_null(strstr(R.body, "\"ssrf_protection_blocked\""));
	audit_has("ssrf_protection_blocked");
	assert_int_equal(T.sh->accepts, accepts);
	tell_workspace(true, true);
	sync_proxy();
	/* Metadata is not opened by a name, whatever the rule says. */
	resolver_addr = inet_addr("169.254.169.254");
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST) "\r\n"), 403);
	assert_non_null(strstr(R.body, "\"ssrf_protection_blocked\""));
	resolver_addr = htonl(INADDR_LOOPBACK);
	resolver_says = -ENOENT;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_non_null(strstr(R.body, "\"upstream_name_not_found\""));
	resolver_says = -EACCES;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST) "\r\n"), 403);
	resolver_says = 0;
	/* Nobody listens there. */
	resolver_addr = inet_addr("127.0.0.77");
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_non_null(strstr(R.body, "\"upstream_unreachable\""));
	resolver_addr = htonl(INADDR_LOOPBACK);
}

static void test_bad_upstreams(void **state)
{
	int reads = keeper_reads, requests = T.sh->requests;

	(void)state;
	audit_mark();
	assert_int_equal(ask_once(HOST, T.bad_port, "GET /x HTTP/1.1\r\n" AT(HOST)
						    "X-Key: agentsecrets://API_KEY\r\n\r\n"), 502);
	assert_non_null(strstr(R.body, "\"upstream_certificate_invalid\""));
	audit_has("upstream_certificate_invalid");
	assert_int_equal(keeper_reads, reads);
	assert_int_equal(T.sh->requests, requests);
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /drop HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_non_null(strstr(R.body, "\"upstream_closed\""));
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /bad HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_non_null(strstr(R.body, "\"upstream_bad_response\""));
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /hang HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_non_null(strstr(R.body, "\"upstream_timeout\""));
}

static void test_cut_response(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);

	(void)state;
	assert_true(stream_print(&c->s, "GET /cut HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port));
	while (fill(c))
		;
	assert_non_null(strstr(c->in, "half"));
	/* Not a clean end: we can see that it was cut. */
	assert_int_not_equal(SSL_get_shutdown(c->s.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
	close_client(c);
}

static void test_injected_is_not_repeated(void **state)
{
	int requests, reads;

	(void)state;
	/* Fills the pool with a connection of this credential, then lets it die in the middle of a request. */
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST)
						    "X-Key: agentsecrets://API_KEY\r\n\r\n"), 200);
	requests = T.sh->requests;
	reads = keeper_reads;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /drop HTTP/1.1\r\n" AT(HOST)
						    "X-Key: agentsecrets://API_KEY\r\n\r\n"), 502);
	assert_int_equal(T.sh->requests, requests + 1);
	assert_int_equal(keeper_reads, reads + 1);
	/* Without a credential or body it is, once. */
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	requests = T.sh->requests;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /drop HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_int_equal(T.sh->requests, requests + 2);
}

/* True: the connection ended without a byte. */
static bool ends_silently(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	close(fd);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void test_not_served(void **state)
{
	int fd, silent;

	(void)state;
	audit_mark();
	T.sh->guard = 12345;
	assert_true(ends_silently(dial()));
	T.sh->guard = GUARD;
	audit_has("connection_not_identified");
	T.sh->no_record = 1;
	assert_true(ends_silently(dial()));
	T.sh->no_record = 0;
	/* Neither TLS nor HTTP. */
	fd = dial();
	assert_int_equal(send(fd, "\x00\x01\x02\x03", 4, 0), 4);
	assert_true(ends_silently(fd));
	audit_has("protocol_not_allowed");
	/* Nothing at all; half a hello. */
	silent = dial();
	fd = dial();
	assert_int_equal(send(fd, "\x16\x03\x01\x02", 4, 0), 4);
	assert_true(ends_silently(silent));
	assert_true(ends_silently(fd));
	audit_has("nothing was sent in time");
}

static void test_no_sni(void **state)
{
	SSL *ssl = SSL_new(T.client);
	int fd = dial();

	(void)state;
	audit_mark();
	SSL_set_fd(ssl, fd);
	assert_int_not_equal(SSL_connect(ssl), 1);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_TLSV1_UNRECOGNIZED_NAME);
	ERR_clear_error();
	SSL_free(ssl);
	close(fd);
	audit_has("sni_missing");
}

static void test_client_distrusts(void **state)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	int fd = dial();

	(void)state;
	audit_mark();
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	SSL_set_fd(ssl, fd);
	SSL_set_tlsext_host_name(ssl, HOST);
	assert_int_not_equal(SSL_connect(ssl), 1);
	ERR_clear_error();
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	usleep(100000);
	audit_has("client_tls_failed");
	audit_has("unknown CA");
}

static void test_slow_head(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);
	time_t start = time(NULL);

	(void)state;
	assert_int_equal(ask(c, "GET /x HTTP/1.1\r\nHost: "), 400);
	assert_in_range(time(NULL) - start, 1, 6);
	close_client(c);
}

static void test_keeper_says_no(void **state)
{
	int requests = T.sh->requests;

	(void)state;
	keeper_says = -EACCES;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST)
						    "X-Key: agentsecrets://API_KEY\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "\"secret_not_for_host\""));
	keeper_says = -EIO;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /x HTTP/1.1\r\n" AT(HOST)
						    "X-Key: agentsecrets://API_KEY\r\n\r\n"), 502);
	assert_non_null(strstr(R.body, "\"vault_unavailable\""));
	keeper_says = 0;
	assert_int_equal(T.sh->requests, requests);
}

static void test_peers_die(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);

	(void)state;
	stop_peer(T.keeper, T.threads[0]);
	sync_proxy();
	assert_int_equal(ask(c, "GET /x HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.tls_port), 502);
	assert_non_null(strstr(R.body, "\"vault_unavailable\""));
	/* Without a reference too: what the response must not hold cannot be had. */
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 502);
	assert_non_null(strstr(R.body, "\"vault_unavailable\""));
	start_keeper();
	sync_proxy();
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, VALUE));
	assert_null(strstr(R.body, VALUE));
	stop_peer(T.resolver, T.threads[1]);
	tell_workspace(true, true); /* no pooled connection serves any more */
	sync_proxy();
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 502);
	start_resolver();
	sync_proxy();
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	close_client(c);
}

static void test_tables(void **state)
{
	struct rpc_workspace ws = {.workspace = "demo"};
	struct client *c = open_client(HOST, T.tls_port);

	(void)state;
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	tell(RPC_WORKSPACE_GONE, &ws, sizeof(ws), -1);
	sync_proxy();
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 403);
	assert_non_null(strstr(R.body, "\"workspace_missing\""));
	tell_workspace(true, false);
	sync_proxy();
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	/* The guard ends: so do its connections. */
	tell_guard(RPC_GUARD_GONE, GUARD);
	sync_proxy();
	assert_false(fill(c));
	close_client(c);
	assert_true(ends_silently(dial()));
	tell_guard(RPC_GUARD, GUARD);
	tell_workspace(true, true);
	sync_proxy();
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
}

/* What was judged under one document is not sent under another. */
static void test_judged_again(void **state)
{
	struct client *c = open_client(HOST, T.tls_port);
	struct rpc_workspace ws = {.workspace = "demo"};
	int requests = T.sh->requests, reads = keeper_reads;

	(void)state;
	keeper_holds = 1;
	assert_true(stream_print(&c->s, "GET /x HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.tls_port));
	while (keeper_reads == reads)
		usleep(1000);
	tell(RPC_WORKSPACE_GONE, &ws, sizeof(ws), -1);
	sync_proxy();
	keeper_holds = 0;
	assert_int_equal(get_reply(c, false), 403);
	assert_non_null(strstr(R.body, "\"workspace_missing\""));
	assert_int_equal(T.sh->requests, requests);
	tell_workspace(true, true);
	sync_proxy();
	/* A document that changed but still allows it: judged again, then sent. */
	keeper_holds = 1;
	reads = keeper_reads;
	assert_true(stream_print(&c->s, "GET /x HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.tls_port));
	while (keeper_reads == reads)
		usleep(1000);
	tell_workspace(true, false);
	sync_proxy();
	keeper_holds = 0;
	assert_int_equal(get_reply(c, false), 200);
	assert_non_null(strstr(T.sh->last, VALUE));
	assert_null(strstr(R.body, VALUE));
	/* The client leaves while the keeper is asked: the answer finds nobody. */
	keeper_holds = 1;
	reads = keeper_reads;
	requests = T.sh->requests;
	assert_true(stream_print(&c->s, "GET /x HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.tls_port));
	while (keeper_reads == reads)
		usleep(1000);
	close_client(c);
	sync_proxy();
	sync_proxy();
	keeper_holds = 0;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	assert_int_equal(T.sh->requests, requests + 1);
	tell_workspace(true, true);
	sync_proxy();
}

/* ---- tests: the explicit port ---- */

static struct client *open_explicit(void)
{
	struct client *c;

	int had = T.sh->records, i;

	T.sh->to_explicit = 1;
	c = open_client(NULL, 0);
	/* Until its record was asked for. The connection may come to the listener after connect() has returned, where the
	 * kernel is busy: an answer of the proxy's to something else says nothing of it. */
	for (i = 0; i < 10000 && T.sh->records == had; i++)
		usleep(1000);
	assert_int_not_equal(T.sh->records, had);
	T.sh->to_explicit = 0;
	return c;
}

/* TLS inside of the CONNECT; what SSL_connect() said. */
static int begin_tls(struct client *c, const char *sni)
{
	c->s.ssl = SSL_new(T.client);
	SSL_set_fd(c->s.ssl, c->s.fd);
	if (sni) {
		SSL_set_tlsext_host_name(c->s.ssl, sni);
		SSL_set1_host(c->s.ssl, sni);
	}
	return SSL_connect(c->s.ssl);
}

static void test_connect(void **state)
{
	struct client *c;
	int accepts = T.sh->accepts;

	(void)state;
	audit_mark();
	c = open_explicit();
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\n" AT(HOST) "Proxy-Connection: keep-alive\r\n\r\n", T.tls_port,
			     T.tls_port), 200);
	assert_string_equal(R.head, "HTTP/1.1 200 Connection established\r\n\r\n");
	assert_int_equal(T.sh->accepts, accepts);
	assert_int_equal(begin_tls(c, HOST), 1);
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, "X-Key: " VALUE));
	assert_non_null(strstr(R.body, "X-Key: " MASKED));
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	/* Another name or port in the request; a CONNECT within the CONNECT. */
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(OTHER) "\r\n", T.tls_port), 403);
	assert_non_null(strstr(R.body, "\"sni_host_mismatch\""));
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.plain_port), 403);
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\nHost: " HOST "\r\n\r\n", T.tls_port), 400);
	close_client(c);
	audit_has("\"method\":\"CONNECT\"");
	/* A refused one is told of in the answer to the CONNECT, and another may follow. */
	c = open_explicit();
	assert_int_equal(ask(c, "CONNECT " DENIED ":443 HTTP/1.1\r\nHost: " DENIED ":443\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "\"error\":\"domain_not_in_allowlist\",\"domain\":\"" DENIED "\""));
	assert_int_equal(ask(c, "CONNECT " HOST ":4444 HTTP/1.1\r\nHost: " HOST ":4444\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "\"policy_denied\""));
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port, T.tls_port), 200);
	/* SNI of another host: its certificate, and then why not. */
	assert_int_equal(begin_tls(c, OTHER), 1);
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(OTHER) "\r\n", T.tls_port), 403);
	assert_non_null(strstr(R.body, "\"sni_host_mismatch\""));
	close_client(c);
	/* No SNI. */
	c = open_explicit();
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port, T.tls_port), 200);
	assert_int_not_equal(begin_tls(c, NULL), 1);
	ERR_clear_error();
	close_client(c);
	audit_has("sni_missing");
	/* Plain HTTP inside: to the port of plain HTTP; never to that of TLS with a credential. */
	c = open_explicit();
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\n" AT(HOST) "\r\n", T.plain_port, T.plain_port), 200);
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.plain_port), 200);
	assert_int_equal(ask(c, "GET /echo HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n", T.plain_port), 403);
	assert_non_null(strstr(R.body, "\"non_https_blocked\""));
	close_client(c);
	/* Neither; and impatience. */
	c = open_explicit();
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port, T.tls_port), 200);
	assert_true(stream_write(&c->s, "\0\1\2\3", 4));
	assert_false(fill(c));
	close_client(c);
	c = open_explicit();
	assert_int_equal(ask(c, "CONNECT " HOST ":%u HTTP/1.1\r\n" AT(HOST) "\r\n\x16\x03\x01", T.tls_port, T.tls_port), 400);
	close_client(c);
}

static void test_connect_targets(void **state)
{
	static const struct {
		const char *target;
		int status;
		const char *says;
	} targets[] = {
		{"1.2.3.4:443", 403, "domain_not_in_allowlist"},
		{"[2001:db8::1]:443", 403, "domain_not_in_allowlist"},
		{"[::ffff:127.0.0.1]:443", 403, "domain_not_in_allowlist"},
		{"127.0.0.1:8765", 403, "domain_not_in_allowlist"},
		{"localhost:443", 403, "domain_not_in_allowlist"},
		{"api:443", 403, "domain_not_in_allowlist"},
		{"api.test.example.:443", 400, "bad_request"},
		{"user@" HOST ":443", 400, "bad_request"},
		{HOST "@evil.test.example:443", 400, "bad_request"},
		{HOST, 400, "bad_request"},
		{HOST ":0", 400, "bad_request"},
		{HOST ":65536", 400, "bad_request"},
		{HOST ":443/", 400, "bad_request"},
		{"https://" HOST ":443", 400, "bad_request"},
		{"0x7f000001:443", 400, "bad_request"},
		{"*:443", 400, "bad_request"},
	};
	int asks = resolver_asks, accepts = T.sh->accepts;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(targets); i++) {
		struct client *c = open_explicit();
		int status = ask(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", targets[i].target, targets[i].target);

		if (status != targets[i].status || !strstr(R.body, targets[i].says))
			fail_msg("CONNECT %s: %d %s", targets[i].target, status, R.body);
		close_client(c);
	}
	assert_int_equal(resolver_asks, asks);
	assert_int_equal(T.sh->accepts, accepts);
}

static void test_absolute(void **state)
{
	struct client *c = open_explicit();

	(void)state;
	/* Plain to us, verified TLS from us on. */
	assert_int_equal(ask(c, "GET https://" HOST ":%u/echo?a=b HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n"
				"Proxy-Authorization: Basic eDp5\r\n\r\n", T.tls_port, T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, "GET /echo?a=b HTTP/1.1\r\n"));
	assert_non_null(strstr(T.sh->last, "X-Key: " VALUE));
	assert_null(strstr(T.sh->last, "Proxy-"));
	assert_int_equal(ask(c, "GET http://" HOST ":%u/echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.plain_port, T.plain_port), 200);
	assert_int_equal(ask(c, "GET http://" HOST ":%u/echo HTTP/1.1\r\n" AT(HOST) "X-Key: agentsecrets://API_KEY\r\n\r\n",
			     T.plain_port, T.plain_port), 403);
	assert_non_null(strstr(R.body, "\"non_https_blocked\""));
	assert_int_equal(ask(c, "GET http://" DENIED "/ HTTP/1.1\r\nHost: " DENIED "\r\n\r\n"), 403);
	assert_int_equal(ask(c, "GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"), 403);
	/* Host is another. */
	assert_int_equal(ask(c, "GET https://" HOST ":%u/echo HTTP/1.1\r\n" AT(OTHER) "\r\n", T.tls_port, T.tls_port), 400);
	close_client(c);
	/* What is for neither. */
	c = open_explicit();
	assert_int_equal(ask(c, "GET / HTTP/1.1\r\nHost: localhost:8765\r\n\r\n"), 404);
	assert_int_equal(ask(c, "GET / HTTP/1.1\r\nHost: " HOST "\r\n\r\n"), 400);
	assert_int_equal(ask(c, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
	close_client(c);
	audit_mark();
	c = open_explicit();
	assert_int_not_equal(begin_tls(c, "localhost"), 1);
	ERR_clear_error();
	close_client(c);
	audit_has("protocol_not_allowed");
}

#define TO "X-AS-Target-URL: https://" HOST ":%u"

static void test_proxy_endpoint(void **state)
{
	struct client *c = open_explicit();
	int reads, asks;

	(void)state;
	assert_int_equal(ask(c, "GET /health HTTP/1.1\r\nHost: localhost:8765\r\n\r\n"), 200);
	assert_string_equal(R.body, "{\"status\":\"ok\"}\n");
	assert_int_equal(ask(c, "POST /health HTTP/1.1\r\nHost: localhost:8765\r\nContent-Length: 0\r\n\r\n"), 405);
	audit_mark();
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/echo?b=1&a=2\r\nX-AS-Method: PUT\r\n"
				"X-AS-Agent-ID: agent-7\r\nX-AS-Agent-Token: secret-token\r\nX-AS-Session-Token: t\r\n"
				"X-AS-Inject-Bearer: API_KEY\r\nX-AS-Inject-Header-X-Other: agentsecrets://API_KEY\r\n"
				"X-AS-Inject-Query-Api-Key: API_KEY\r\nX-AS-Whatever: 1\r\naCCept: text/plain\r\n"
				"Content-Length: 4\r\n\r\nbody", T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, "PUT /echo?b=1&a=2&Api-Key=" VALUE " HTTP/1.1\r\nHost: " HOST ":"));
	assert_non_null(strstr(T.sh->last, "\r\nAuthorization: Bearer " VALUE "\r\n"));
	assert_non_null(strstr(T.sh->last, "\r\nX-Other: " VALUE "\r\n"));
	assert_non_null(strstr(T.sh->last, "\r\naCCept: text/plain\r\n"));
	assert_non_null(strstr(T.sh->last, "\r\nContent-Length: 4\r\n"));
	assert_null(strcasestr(T.sh->last, "x-as-"));
	assert_null(strstr(R.body, VALUE));
	audit_has("\"agent\":\"agent-7\"");
	audit_has("\"method\":\"PUT\"");
	assert_null(strstr(audit_text(), "secret-token"));
	/* Basic: the value is user and password. */
	assert_int_equal(ask(c, "GET /proxy HTTP/1.1\r\nHost: 127.0.0.1:8765\r\n" TO "\r\nX-AS-Inject-Basic: API_KEY\r\n\r\n", T.tls_port), 200);
	assert_non_null(strstr(T.sh->last, "GET / HTTP/1.1\r\n"));
	assert_non_null(strstr(T.sh->last, "Authorization: Basic c2stbGl2ZS0wMTIzNDU2Nzg5YWJjZGVm\r\n"));
	/* What is wrong with it is said before anything else is looked at. */
	reads = keeper_reads;
	asks = resolver_asks;
	assert_int_equal(ask(c, "GET /proxy HTTP/1.1\r\nHost: localhost:8765\r\nX-AS-Inject-Bearer: API_KEY\r\n\r\n"), 400);
	assert_string_equal(R.body, "{\"error\":\"X-AS-Target-URL header is required\"}\n");
	assert_int_equal(ask(c, "GET /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "\r\n\r\n", T.tls_port), 400);
	assert_string_equal(R.body, "{\"error\":\"At least one X-AS-Inject-* header is required\"}\n");
	assert_int_equal(ask(c, "GET /proxy HTTP/1.1\r\nHost: localhost:8765\r\nX-AS-Target-URL: http://" HOST "/\r\n"
				"X-AS-Inject-Bearer: API_KEY\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "{\"error\":\"non_https_blocked\",\"domain\":\"" HOST "\""));
	assert_int_equal(ask(c, "GET /proxy HTTP/1.1\r\nHost: localhost:8765\r\nX-AS-Target-URL: https://" DENIED "/\r\n"
				"X-AS-Inject-Bearer: API_KEY\r\n\r\n"), 403);
	assert_non_null(strstr(R.body, "{\"error\":\"domain_not_in_allowlist\",\"domain\":\"" DENIED "\""));
	assert_int_equal(resolver_asks, asks);
	/* Slots are judged as everywhere. */
	assert_int_equal(ask(c, "GET /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/\r\nX-AS-Inject-Bearer: NO_SUCH\r\n\r\n", T.tls_port), 403);
	assert_non_null(strstr(R.body, "\"secret_unknown\""));
	/* Never text where an injection was asked for. */
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/\r\nX-AS-Inject-Body-a: API_KEY\r\n"
				"Content-Length: 2\r\n\r\n{}", T.tls_port), 403);
	assert_non_null(strstr(R.body, "\"secret_slot_not_allowed\""));
	assert_int_equal(keeper_reads, reads);
	T.body_slot = true;
	tell_workspace(true, true);
	sync_proxy();
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/echo-body\r\nX-AS-Inject-Body-auth-key: API_KEY\r\n"
				"Content-Type: application/json\r\nContent-Length: 37\r\n\r\n{\"n\" : 9007199254740993, \"auth\": {}}\n", T.tls_port), 200);
	assert_string_equal(R.body, "{\"n\" : 9007199254740993, \"auth\": {\"key\":\"" MASKED "\"}}\n");
	assert_non_null(strstr(T.sh->last, "\r\nContent-Length: 69\r\n"));
	/* An object is made where there is none, and a body where there is none. */
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/echo-body\r\nX-AS-Inject-Body-a-b: API_KEY\r\n"
				"\r\n", T.tls_port), 200);
	assert_string_equal(R.body, "{\"a\":{\"b\":\"" MASKED "\"}}");
	assert_non_null(strstr(T.sh->last, "\r\nContent-Type: application/json\r\n"));
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/echo-body\r\nX-AS-Inject-Form-Api-Key: API_KEY\r\n"
				"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nb=1&a\r\n0\r\n\r\n", T.tls_port), 200);
	assert_string_equal(R.body, "b=1&a&Api-Key=" MASKED);
	/* No object to go through; no JSON; the wrong type. */
	reads = keeper_reads;
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/\r\nX-AS-Inject-Body-a-b: API_KEY\r\n"
				"Content-Length: 7\r\n\r\n{\"a\":1}", T.tls_port), 400);
	assert_non_null(strstr(R.body, "{\"error\":\"The path in an X-AS-Inject-Body- header goes through"));
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/\r\nX-AS-Inject-Body-a: API_KEY\r\n"
				"Content-Length: 3\r\n\r\n{a}", T.tls_port), 400);
	assert_int_equal(ask(c, "POST /proxy HTTP/1.1\r\nHost: localhost:8765\r\n" TO "/\r\nX-AS-Inject-Body-a: API_KEY\r\n"
				"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", T.tls_port), 400);
	assert_int_equal(keeper_reads, reads);
	T.body_slot = false;
	tell_workspace(true, true);
	sync_proxy();
	close_client(c);
}

/* ---- tests: websocket ---- */

static void wait_for_none(void);

#define WEBSOCKET(path, more)                                                                      \
	"GET " path " HTTP/1.1\r\n" AT(HOST) "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"      \
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" more "\r\n"

/* Waits for exactly these bytes. */
static void comes(struct client *c, const void *bytes, size_t len)
{
	while (c->len < len && fill(c))
		;
	assert_true(c->len >= len);
	assert_memory_equal(c->in, bytes, len);
	eat(c, len);
}

static void test_websocket(void **state)
{
	static const char first[] = "\x01\x0cxx**********\x89\x01p\x00\x00\x80\x10**************yy\x81\x04last";
	static const char up[] = "\x81\x85\1\2\3\4igohn\x8a\x80\0\0\0\0", back[] = "\x81\5hello\x8a\0";
	static const char bye[] = "\x88\x82\0\0\0\0\3\xe8", bye_back[] = "\x88\2\3\xe8";
	struct client *c = open_client(HOST, T.tls_port);
	size_t i;

	(void)state;
	audit_mark();
	assert_int_equal(ask(c, WEBSOCKET("/ws", "X-Key: agentsecrets://API_KEY\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"), T.tls_port), 101);
	assert_non_null(strstr(T.sh->last, "X-Key: " VALUE));
	assert_non_null(strstr(T.sh->last, "\r\nUpgrade: websocket\r\n"));
	assert_non_null(strstr(R.head, "\r\nConnection: Upgrade\r\n"));
	assert_non_null(strstr(R.head, "X-Seen: none"));
	comes(c, first, sizeof(first) - 1);
	for (i = 0; i < 3; i++) {
		assert_true(stream_write(&c->s, up, sizeof(up) - 1));
		comes(c, back, sizeof(back) - 1);
	}
	for (i = 0; i < sizeof(up) - 1; i++)
		assert_true(stream_write(&c->s, up + i, 1));
	comes(c, back, sizeof(back) - 1);
	assert_true(stream_write(&c->s, bye, sizeof(bye) - 1));
	comes(c, bye_back, sizeof(bye_back) - 1);
	assert_false(fill(c));
	close_client(c);
	audit_has("\"status\":101");
	audit_has("\"redacted\":1");
	/* A client that leaves; one that breaks the rules; an upstream that takes up what it was not offered; one that says no. */
	c = open_client(HOST, T.tls_port);
	assert_int_equal(ask(c, WEBSOCKET("/ws", ""), T.tls_port), 101);
	close_client(c);
	c = open_client(HOST, T.tls_port);
	assert_int_equal(ask(c, WEBSOCKET("/ws", ""), T.tls_port), 101);
	comes(c, first, sizeof(first) - 1);
	assert_true(stream_write(&c->s, "\x81\x02hi", 4));
	comes(c, "\x88\x02\x03\xea", 4);
	assert_false(fill(c));
	close_client(c);
	assert_int_equal(ask_once(HOST, T.tls_port, WEBSOCKET("/ws-ext", "")), 502);
	assert_non_null(strstr(R.body, "\"upstream_bad_response\""));
	/* Nor is it one whose 101 answers another key, or none; or chooses a protocol that was not among the agent's. */
	audit_mark();
	assert_int_equal(ask_once(HOST, T.tls_port, WEBSOCKET("/ws-accept", "")), 502);
	assert_non_null(strstr(R.body, "\"upstream_bad_response\""));
	audit_has("does not answer its key");
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /ws HTTP/1.1\r\n" AT(HOST) "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 502);
	assert_int_equal(ask_once(HOST, T.tls_port, WEBSOCKET("/ws-chat", "")), 502);
	audit_has("a protocol of the websocket that was not asked for");
	assert_int_equal(ask_once(HOST, T.tls_port, WEBSOCKET("/ws-chat", "Sec-WebSocket-Protocol: v1, chat\r\n")), 101);
	assert_int_equal(ask_once(HOST, T.tls_port, WEBSOCKET("/echo", "")), 200);
	/* Nobody asked for it. */
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /ws HTTP/1.1\r\n" AT(HOST) "\r\n"), 502);
	assert_int_equal(ask_once(DENIED, T.tls_port, WEBSOCKET("/ws", "")), 403);
	wait_for_none();
}

/* ---- tests: limits ---- */

static int open_files(void)
{
	char path[64];
	DIR *d;
	int n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", T.proxy);
	d = opendir(path);
	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void wait_for_none(void)
{
	int i;

	sync_proxy();
	for (i = 0; i < 1000 && boss_stats.active > 0; i++) {
		usleep(10000);
		sync_proxy();
	}
	assert_int_equal(boss_stats.active, 0);
}

static void test_no_leak(void **state)
{
	int before, i;

	(void)state;
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	sync_proxy();
	before = open_files();
	if (before < 0)
		skip_because("the process's descriptors cannot be counted without root");
	for (i = 0; i < 200; i++) {
		const char *sni = i % 3 ? HOST : DENIED;
		struct client *c = open_client(sni, T.tls_port);

		if (i % 4 == 0)
			(void)ask(c, "GET /echo HTTP/1.1\r\nHost: %s:%u\r\n\r\n", sni, T.tls_port);
		else if (i % 4 == 1)
			(void)stream_print(&c->s, "POST /echo HTTP/1.1\r\nHost: %s:%u\r\nContent-Length: 9\r\n\r\n", sni,
					   T.tls_port);
		close_client(c);
	}
	wait_for_none();
	assert_in_range(open_files(), 1, before + 8); /* a few idle upstreams */
}

/* Clients that break off anywhere, in every way; the proxy is there afterwards, and empty. */
static void test_chaos(void **state)
{
	static const char *const paths[] = {"echo", "echo-body", "echo-chunked", "close", "drop", "bad", "cut", "early", "once"};
	const struct linger reset = {.l_onoff = 1};
	struct client *held[16] = {0};
	unsigned int seed = (unsigned int)time(NULL), i;
	char text[1024];

	(void)state;
	print_message("seed %u\n", seed);
	srand(seed);
	for (i = 0; i < 600; i++) {
		struct client **c = &held[(unsigned int)rand() % ARRAY_SIZE(held)];
		bool tls = rand() % 3;
		size_t len;

		if (*c) {
			if (rand() % 2)
				(void)setsockopt((*c)->s.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close_client(*c);
		}
		T.sh->port = tls ? T.tls_port : T.plain_port;
		*c = open_client(tls ? rand() % 4 ? HOST : DENIED : NULL, tls ? T.tls_port : T.plain_port);
		(void)snprintf(text, sizeof(text),
			       "POST /%s HTTP/1.1\r\n" AT(HOST) "%s%s\r\n5\r\nhello\r\n0\r\n\r\n",
			       paths[(unsigned int)rand() % ARRAY_SIZE(paths)], T.sh->port,
			       rand() % 2 ? "X-Key: agentsecrets://API_KEY\r\n" : "",
			       rand() % 2 ? "Transfer-Encoding: chunked\r\n" : "Content-Length: 15\r\n");
		len = rand() % 3 ? strlen(text) : (size_t)rand() % strlen(text);
		if (rand() % 50 == 0)
			text[(size_t)rand() % strlen(text)] ^= (char)(1 << rand() % 8);
		(void)stream_write(&(*c)->s, text, len);
		if (rand() % 100 == 0)
			tell_workspace(true, rand() % 2);
	}
	for (i = 0; i < ARRAY_SIZE(held); i++)
		if (held[i])
			close_client(held[i]);
	tell_workspace(true, true);
	wait_for_none();
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
}

static void test_limits(void **state)
{
	int fds[301], i;

	(void)state;
	audit_mark();
	for (i = 0; i < 301; i++)
		fds[i] = dial();
	assert_true(ends_silently(fds[300]));
	audit_has("limit_reached");
	for (i = 0; i < 300; i++)
		close(fds[i]);
	wait_for_none();
	assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
}

/* Another worker has fewer connections: ours are left to it for a moment, and since it takes none, served after all. */
static void test_deferred(void **state)
{
	struct client *held = open_client(HOST, T.tls_port);
	uint64_t begin, with, without;
	int i;

	(void)state;
	assert_int_equal(ask(held, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	begin = loop_wall_ns();
	for (i = 0; i < 50; i++)
		assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	without = loop_wall_ns() - begin;
	loads_set(T.loads, 1, 0);
	begin = loop_wall_ns();
	for (i = 0; i < 50; i++)
		assert_int_equal(ask_once(HOST, T.tls_port, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n"), 200);
	with = loop_wall_ns() - begin;
	loads_set(T.loads, 1, LOADS_NONE);
	print_message("50 connections: %u ms, beside a worker that takes none %u ms\n",
		      (unsigned int)(without / 1000000), (unsigned int)(with / 1000000));
	/* Each waited, and none for long. */
	assert_true(with > 50 * 1000000ULL && with < without + 50 * 20 * 1000000ULL);
	close_client(held);
}

/* A client that does not read does not fill the proxy. */
static void test_slow_reader(void **state)
{
	struct client *c = open_client(HOST, T.tls_port), *quick;
	static char big[BIG];
	size_t i;

	(void)state;
	assert_true(stream_print(&c->s, "POST /echo-body HTTP/1.1\r\n" AT(HOST) "Content-Length: %u\r\n\r\n", T.tls_port, BIG));
	assert_true(stream_write(&c->s, big, BIG));
	quick = open_client(HOST, T.tls_port);
	for (i = 0; i < 50; i++)
		assert_int_equal(ask(quick, "GET /echo HTTP/1.1\r\n" AT(HOST) "\r\n", T.tls_port), 200);
	close_client(quick);
	assert_int_equal(get_reply(c, false), 200);
	assert_int_equal(R.len, BIG);
	close_client(c);
}

/* ---- all of it ---- */

static int setup(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *up_key = EVP_EC_gen("P-256");
	X509 *up_ca = certs_make("Upstream Test CA", up_key, NULL, NULL, -3600, 3600);
	X509 *good, *bad;
	SSL_CTX *good_ctx, *bad_ctx;
	FILE *f;

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	T.sh = mmap(NULL, sizeof(*T.sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	T.sh->guard = GUARD;
	(void)strcpy(T.dir, "/tmp/test_proxy.XXXXXX");
	assert_non_null(mkdtemp(T.dir));
	(void)snprintf(T.audit, sizeof(T.audit), "%s/audit.jsonl", T.dir);
	(void)snprintf(T.ca, sizeof(T.ca), "%s/ca.pem", T.dir);
	f = fopen(T.ca, "w");
	PEM_write_X509(f, up_ca);
	fclose(f);
	T.ca_key = EVP_EC_gen("P-256");
	T.ca_cert = certs_make("Agent Test CA", T.ca_key, NULL, NULL, -3600, 3600);
	T.client = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_verify(T.client, SSL_VERIFY_PEER, NULL);
	X509_STORE_add_cert(SSL_CTX_get_cert_store(T.client), T.ca_cert);
	good = certs_make(HOST, key, up_ca, up_key, -3600, 3600);
	bad = certs_make(HOST, key, T.ca_cert, T.ca_key, -3600, 3600); /* the right name, by a CA that is not trusted upstream */
	good_ctx = certs_server(good, key);
	bad_ctx = certs_server(bad, key);
	resolver_addr = htonl(INADDR_LOOPBACK);
	T.tls_fd = listen_on(&T.tls_port);
	T.plain_fd = listen_on(&T.plain_port);
	T.bad_fd = listen_on(&T.bad_port);
	T.upstream = fork();
	if (T.upstream == 0)
		upstream_process(good_ctx, bad_ctx);
	SSL_CTX_free(good_ctx);
	SSL_CTX_free(bad_ctx);
	X509_free(good);
	X509_free(bad);
	X509_free(up_ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(up_key);
	start_proxy();
	return 0;
}

static int teardown(void **state)
{
	int status = -1, i;

	(void)state;
	/* The boss goes: the proxy ends by itself, with 0. */
	close(T.boss);
	for (i = 0; i < 500 && waitpid(T.proxy, &status, WNOHANG) == 0; i++)
		usleep(10000);
	stop_peer(T.keeper, T.threads[0]);
	stop_peer(T.resolver, T.threads[1]);
	EVP_PKEY_free(T.leaf_key);
	EVP_PKEY_free(T.ca_key);
	X509_free(T.ca_cert);
	SSL_CTX_free(T.client);
	kill(T.upstream, SIGKILL);
	waitpid(T.upstream, NULL, 0);
	unlink(T.audit);
	unlink(T.ca);
	rmdir(T.dir);
	if (i == 500)
		kill(T.proxy, SIGKILL);
	if (status != 0)
		print_error("the proxy ended with status %#x\n", (unsigned int)status);
	return status == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_injected),
		cmocka_unit_test(test_basic_and_query),
		cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_one_byte_at_a_time),
		cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_held_bodies),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_continue_and_early),
		cmocka_unit_test(test_plain_http),
		cmocka_unit_test(test_resumption),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_bad_syntax),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_bad_upstreams),
		cmocka_unit_test(test_cut_response),
		cmocka_unit_test(test_injected_is_not_repeated),
		cmocka_unit_test(test_not_served),
		cmocka_unit_test(test_no_sni),
		cmocka_unit_test(test_client_distrusts),
		cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_keeper_says_no),
		cmocka_unit_test(test_peers_die),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_deferred),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_judged_again),
		cmocka_unit_test(test_connect),
		cmocka_unit_test(test_connect_targets),
		cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_proxy_endpoint),
		cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_no_leak),
		cmocka_unit_test(test_chaos),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_tunnel),
		cmocka_unit_test(test_tunnel_refused),
		cmocka_unit_test(test_tunnel_rule_goes),
	};

	if (geteuid() != 0 || !lonely_enter()) {
		print_message("skipped: needs root, for the proxy's sandbox and a network namespace\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
