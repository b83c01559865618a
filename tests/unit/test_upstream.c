/* test_upstream.c: dialling and the pool, on a loop that runs until something is true. */
#include "upstream.h"

#include "certs.h"
#include "lonely.h"
#include "origin.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#define KIND 1
#define NAME "api.test.example"

static struct h2_dues dues;

static struct {
	struct loop loop;
	struct tls_ctx *tls;
	struct upstreams *pool;
	SSL_CTX *server;
	int listener, calls;
	uint16_t port;
	uint64_t skew_ms; /* the sweep's clock runs ahead by so much */
	pthread_t thread;
} T;
static atomic_int resumed;

static void on_event(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	(void)ctx;
	upstream_event(T.pool, slot, gen, events);
}

static void on_change(void *owner)
{
	(*(int *)owner)++;
}

static const struct upstream *awaited;
static uint64_t give_up_ms;

static int turn(void *ctx, uint64_t now_ms)
{
	(void)ctx;
	(void)upstreams_sweep(T.pool, now_ms + T.skew_ms);
	T.loop.stop = now_ms >= give_up_ms ||
		      (awaited && (awaited->state == UPSTREAM_BUSY || awaited->state == UPSTREAM_DEAD));
	return 5;
}

/* Until u is there or dead, or (NULL) for this long. */
static void run(const struct upstream *u, unsigned int ms)
{
	awaited = u;
	give_up_ms = loop_now_ms() + ms;
	T.loop.stop = false;
	assert_int_equal(loop_run(&T.loop), 0);
}

/* Accepts TLS connections one after another, each until the other end closes. */
static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		int fd = accept(T.listener, NULL, NULL);
		SSL *s = SSL_new(T.server);
		char byte;

		if (fd < 0) {
			SSL_free(s);
			return NULL;
		}
		SSL_set_fd(s, fd);
		if (SSL_accept(s) == 1) {
			resumed += SSL_session_reused(s);
			while (SSL_read(s, &byte, 1) == 1)
				if (byte == 'q' || SSL_write(s, &byte, 1) != 1)
					break;
			SSL_shutdown(s);
		}
		SSL_free(s);
		close(fd);
	}
}

static struct upstream_key key_of(bool tls, uint16_t port)
{
	struct upstream_key k = {.guard = 1, .epoch = 1, .port = port, .tls = tls};

	(void)strcpy(k.host, NAME);
	return k;
}

static void addr_of(uint8_t to[16], const char *text)
{
	assert_true(origin_parse(text, to));
}

static struct upstream *dial(const struct upstream_key *k, const char *first, const char *second)
{
	uint8_t addrs[2][16];
	struct upstream *u;

	addr_of(addrs[0], first);
	if (second)
		addr_of(addrs[1], second);
	T.calls = 0;
	assert_int_equal(upstream_dial(T.pool, k, (const uint8_t (*)[16])addrs, second ? 2 : 1, &T.calls, on_change, &u), 0);
	return u;
}

/* A round trip, so that session tickets have been read too. */
static void echo(struct upstream *u)
{
	uint8_t in[4];
	size_t n = 0;
	int i;

	assert_int_equal(tls_write(u->side.tls, (const uint8_t *)"e", 1, &n), TLS_OK);
	for (i = 0; i < 1000 && tls_read(u->side.tls, in, 1, &n) != TLS_OK; i++)
		usleep(1000);
	assert_int_equal(in[0], 'e');
}

static void test_good(void **state)
{
	struct upstream_key k = key_of(true, T.port), other;
	struct upstream *u = dial(&k, "127.0.0.1", NULL);
	size_t i;

	(void)state;
	run(u, 5000);
	assert_int_equal(u->state, UPSTREAM_BUSY);
	assert_in_range(T.calls, 1, 2); /* connected, if that took a turn of the loop; verified */
	assert_false(u->reused);
	echo(u);
	assert_true(upstream_alive(u));
	upstream_park(u);
	/* Every part of the key counts. */
	for (i = 0; i < 7; i++) {
		other = k;
		other.guard += i == 0;
		other.epoch += i == 1;
		other.creds[31] = i == 2;
		other.port += i == 3;
		other.tls ^= i == 4;
		other.private ^= i == 5;
		other.host[0] = i == 6 ? 'b' : other.host[0];
		assert_null(upstream_take(T.pool, &other, &T.calls, on_change));
	}
	assert_ptr_equal(upstream_take(T.pool, &k, &T.calls, on_change), u);
	assert_null(upstream_take(T.pool, &k, &T.calls, on_change)); /* one owner */
	assert_true(u->reused);
	echo(u);
	upstream_drop(u);
	/* Its session is resumed by the same key alone. */
	assert_int_equal(resumed, 0);
	u = dial(&k, "127.0.0.1", NULL);
	run(u, 5000);
	echo(u);
	assert_int_equal(resumed, 1);
	upstream_drop(u);
	k.guard++;
	u = dial(&k, "127.0.0.1", NULL);
	run(u, 5000);
	echo(u);
	assert_int_equal(resumed, 1);
	upstream_drop(u);
}

static void test_idle_ends(void **state)
{
	struct upstream_key k = key_of(true, T.port);
	struct upstream *u = dial(&k, "127.0.0.1", NULL);
	size_t n;

	(void)state;
	run(u, 5000);
	echo(u);
	upstream_park(u);
	T.skew_ms = UPSTREAM_IDLE_MS;
	run(NULL, 20);
	T.skew_ms = 0;
	assert_null(upstream_take(T.pool, &k, &T.calls, on_change));
	/* The server closes it while it is idle. */
	u = dial(&k, "127.0.0.1", NULL);
	run(u, 5000);
	echo(u);
	assert_int_equal(tls_write(u->side.tls, (const uint8_t *)"q", 1, &n), TLS_OK);
	upstream_park(u);
	run(NULL, 200);
	assert_null(upstream_take(T.pool, &k, &T.calls, on_change));
	/* Something comes that nobody asked for. */
	u = dial(&k, "127.0.0.1", NULL);
	run(u, 5000);
	echo(u);
	assert_int_equal(tls_write(u->side.tls, (const uint8_t *)"x", 1, &n), TLS_OK);
	usleep(100000);
	assert_false(upstream_alive(u));
	upstream_drop(u);
}

/* When there is no room for one more idle connection the oldest goes: who is at work now finds its own again. A guard that is
 * gone leaves none. */
static void test_no_room_for_idle_ones(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), i;
	static struct upstream *all[UPSTREAM_IDLE_MAX + 10];
	socklen_t alen = sizeof(a);
	struct upstream_key k;

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(listener, UPSTREAM_IDLE_MAX + 10), 0); /* nobody accepts them */
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &alen), 0);
	k = key_of(false, ntohs(a.sin_port));
	for (i = 0; i < UPSTREAM_IDLE_MAX + 10; i++) {
		k.guard = i < 10 ? 1 : 2;
		all[i] = dial(&k, "127.0.0.1", NULL);
		run(all[i], 5000);
		assert_int_equal(all[i]->state, UPSTREAM_BUSY);
	}
	for (i = 0; i < UPSTREAM_IDLE_MAX + 10; i++)
		upstream_park(all[i]);
	k.guard = 1;
	assert_null(upstream_take(T.pool, &k, &T.calls, on_change));
	k.guard = 2;
	for (i = 0; i < UPSTREAM_IDLE_MAX; i++)
		assert_non_null(all[i] = upstream_take(T.pool, &k, &T.calls, on_change));
	assert_null(upstream_take(T.pool, &k, &T.calls, on_change));
	for (i = 0; i < UPSTREAM_IDLE_MAX; i++)
		upstream_park(all[i]);
	upstreams_forget(T.pool, 1);
	assert_non_null(all[0] = upstream_take(T.pool, &k, &T.calls, on_change));
	upstreams_forget(T.pool, 2); /* the one at work ends with its request */
	assert_true(upstream_alive(all[0]));
	upstream_drop(all[0]);
	assert_null(upstream_take(T.pool, &k, &T.calls, on_change));
	close(listener);
}

static void test_refused(void **state)
{
	struct upstream_key k = key_of(true, T.port);
	struct upstream *u;

	(void)state;
	(void)strcpy(k.host, "other.test.example");
	u = dial(&k, "127.0.0.1", NULL);
	run(u, 5000);
	assert_int_equal(u->state, UPSTREAM_DEAD);
	assert_int_equal(u->why, REASON_UPSTREAM_TLS);
	upstream_drop(u);
	/* Nobody listens. */
	k = key_of(true, 1);
	u = dial(&k, "127.0.0.1", "127.0.0.2");
	run(u, 5000);
	assert_int_equal(u->state, UPSTREAM_DEAD);
	assert_int_equal(u->why, REASON_UPSTREAM_CONNECT);
	upstream_drop(u);
	/* No way there: the namespace has no route out. */
	k = key_of(true, T.port);
	u = dial(&k, "203.0.113.1", "2001:db8::1");
	assert_int_equal(u->state, UPSTREAM_DEAD);
	assert_int_equal(u->why, REASON_UPSTREAM_CONNECT);
	assert_int_equal(T.calls, 0);
	upstream_drop(u);
}

static void test_next_address(void **state)
{
	struct upstream_key k = key_of(true, T.port);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(T.port),
				.sin_addr.s_addr = inet_addr("127.0.0.9")};
	struct upstream *u;
	uint64_t start;
	int full, fill[4], i;

	(void)state;
	/* The first fails at once, or after a refusal: the second is dialled without waiting. */
	u = dial(&k, "203.0.113.1", "127.0.0.1");
	run(u, 5000);
	assert_int_equal(u->state, UPSTREAM_BUSY);
	upstream_drop(u);
	start = loop_now_ms();
	u = dial(&k, "127.0.0.8", "127.0.0.1");
	run(u, 5000);
	assert_int_equal(u->state, UPSTREAM_BUSY);
	assert_true(loop_now_ms() - start < UPSTREAM_NEXT_MS);
	upstream_drop(u);
	/* The first says nothing (its backlog is full): the second follows after a while. */
	full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(full, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(full, 0), 0);
	for (i = 0; i < 4; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)connect(fill[i], (struct sockaddr *)&a, sizeof(a));
	}
	start = loop_now_ms();
	u = dial(&k, "127.0.0.9", "127.0.0.1");
	run(u, 5000);
	assert_int_equal(u->state, UPSTREAM_BUSY);
	assert_in_range(loop_now_ms() - start, UPSTREAM_NEXT_MS - 10, 2000);
	upstream_drop(u);
	for (i = 0; i < 4; i++)
		close(fill[i]);
	close(full);
}

/* Dropped while it is dialled: what epoll still has to say of it finds nobody. */
static void test_dropped(void **state)
{
	struct upstream_key k = key_of(true, T.port);
	int i;

	(void)state;
	for (i = 0; i < 50; i++)
		upstream_drop(dial(&k, "127.0.0.1", NULL));
	run(NULL, 50);
	assert_int_equal(T.calls, 0);
}

static int setup(void **state)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = certs_make("Test CA", ca_key, NULL, NULL, -100, 1000);
	X509 *x = certs_make(NAME, key, ca, ca_key, -10, 100);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t alen = sizeof(a);
	struct err e = {0};
	char *pem;
	size_t len;

	(void)state;
	assert_int_equal(tls_ctx_new(&T.tls, &e), 0);
	pem = certs_pem(ca, &len);
	assert_int_equal(tls_ctx_trust(T.tls, pem, len, &e), 0);
	OPENSSL_free(pem);
	T.server = certs_server(x, key);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	T.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(T.listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(T.listener, 128), 0);
	assert_int_equal(getsockname(T.listener, (struct sockaddr *)&a, &alen), 0);
	T.port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&T.thread, NULL, serve, NULL), 0);
	assert_int_equal(loop_init(&T.loop, NULL, turn), 0);
	loop_on(&T.loop, KIND, on_event);
	assert_int_equal(upstreams_new(&T.loop, KIND, KIND + 1, T.tls, &dues, 2 * UPSTREAM_IDLE_MAX, &T.pool), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	shutdown(T.listener, SHUT_RDWR);
	T.pool = upstreams_free(T.pool);
	(void)pthread_join(T.thread, NULL); /* with what OpenSSL keeps for it */
	tls_ctx_free(T.tls);
	loop_done(&T.loop);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	     cmocka_unit_test(test_idle_ends), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_room_for_idle_ones),
		cmocka_unit_test(test_next_address), cmocka_unit_test(test_dropped),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	if (!lonely_enter()) {
		print_message("skipped: needs a network namespace of its own\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
