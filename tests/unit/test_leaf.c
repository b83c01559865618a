/* test_leaf.c: the leaf cache, with a keeper that answers when it is told to; and what carries its
 * questions (ask.h).
 */
#include "leaf.h"

#include "certs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define MAX 8

static struct {
	struct tls_ctx *tls;
	EVP_PKEY *ca_key, *leaf_key;
	X509 *ca;
	struct channel keeper;
	struct rpc_peer other; /* the keeper's end */
	struct leaf_cache *cache;
	void *buf;
	uint32_t asked[512]; /* ids of questions that have come */
	char names[512][RPC_HOST_MAX];
	size_t asked_count;
} T;

struct waiter {
	struct leaf_wait w;
	int calls, rc;
	bool got;
};

static void on_leaf(struct leaf_wait *w, const struct tls_cert *leaf, int rc)
{
	struct waiter *me = (struct waiter *)w;

	me->calls++;
	me->rc = rc;
	me->got = leaf != NULL;
}

static int on_sign(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_sign_leaf *q = m->body;

	(void)ctx;
	(void)peer;
	T.asked[T.asked_count] = m->id;
	memcpy(T.names[T.asked_count++], q->host, sizeof(q->host));
	return 0;
}

static size_t keeper_hears(void)
{
	static const struct rpc_row rows[] = {{RPC_SIGN_LEAF, sizeof(struct rpc_sign_leaf), 0, 0, on_sign}};

	T.asked_count = 0;
	assert_int_equal(rpc_serve(&T.other, rows, 1, NULL, T.buf, 512), 0);
	return T.asked_count;
}

static void keeper_says(uint32_t id, int rc, const void *tail, size_t len)
{
	struct rpc_done d = {.rc = rc, .tail_len = (uint32_t)len};

	assert_int_equal(rpc_send(T.other.fd, RPC_LEAF, id, &d, sizeof(d), tail, len, -1), 0);
}

static void keeper_signs(size_t i, EVP_PKEY *key)
{
	X509 *x = certs_make(T.names[i], key, T.ca, T.ca_key, -10, 100);
	unsigned char *der = NULL;
	int len = i2d_X509(x, &der);

	keeper_says(T.asked[i], 0, der, (size_t)len);
	OPENSSL_free(der);
	X509_free(x);
}

static int proxy_hears(void)
{
	return channel_serve(&T.keeper, T.buf);
}

static int get(const char *host, uint64_t now, struct waiter *w)
{
	const struct tls_cert *leaf = NULL;
	int rc;

	*w = (struct waiter){.w = {.fn = on_leaf}};
	rc = leaf_get(T.cache, host, 1, now, &w->w, &leaf);
	assert_int_equal(rc == 0, leaf != NULL);
	return rc;
}

static void have(const char *host, uint64_t now)
{
	struct waiter w;

	assert_int_equal(get(host, now, &w), -EINPROGRESS);
	assert_int_equal(keeper_hears(), 1);
	keeper_signs(0, T.leaf_key);
	assert_int_equal(proxy_hears(), 0);
	assert_true(w.got);
}

static int begin(void **state)
{
	int pair[2];

	(void)state;
	assert_int_equal(rpc_pair(pair), 0);
	channel_init(&T.keeper, 1);
	channel_wire(&T.keeper, pair[0]);
	T.other = (struct rpc_peer){.fd = pair[1]};
	assert_int_equal(leaf_cache_new(T.tls, &T.keeper, MAX, &T.cache), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	T.cache = leaf_cache_free(T.cache);
	channel_done(&T.keeper);
	own_close(&T.other.fd);
	return 0;
}

static void test_asked_once(void **state)
{
	struct waiter w[5];
	size_t i;

	(void)state;
	for (i = 0; i < 5; i++)
		assert_int_equal(get("a.example", 0, &w[i]), -EINPROGRESS);
	leaf_cancel(&w[2].w);
	leaf_cancel(&w[2].w);
	assert_int_equal(keeper_hears(), 1);
	keeper_signs(0, T.leaf_key);
	assert_int_equal(proxy_hears(), 0);
	for (i = 0; i < 5; i++) {
		assert_int_equal(w[i].calls, i != 2);
		assert_int_equal(w[i].got, i != 2);
	}
	assert_int_equal(get("a.example", 1, &w[0]), 0);
	assert_int_equal(keeper_hears(), 0);
	/* For a day. */
	assert_int_equal(get("a.example", LEAF_KEEP_MS, &w[0]), -EINPROGRESS);
	leaf_cancel(&w[0].w);
}

static void test_refused(void **state)
{
	EVP_PKEY *other = EVP_EC_gen("P-256");
	struct waiter w;

	(void)state;
	assert_int_equal(get("a.example", 0, &w), -EINPROGRESS);
	assert_int_equal(keeper_hears(), 1);
	keeper_says(T.asked[0], -EACCES, NULL, 0);
	assert_int_equal(proxy_hears(), 0);
	assert_int_equal(w.calls, 1);
	assert_int_equal(w.rc, -EACCES);
	/* Not over our key; no certificate at all. Neither is kept. */
	assert_int_equal(get("a.example", 0, &w), -EINPROGRESS);
	assert_int_equal(keeper_hears(), 1);
	keeper_signs(0, other);
	assert_int_equal(proxy_hears(), 0);
	assert_false(w.got);
	assert_int_equal(get("a.example", 0, &w), -EINPROGRESS);
	assert_int_equal(keeper_hears(), 1);
	keeper_says(T.asked[0], 0, "junk", 4);
	assert_int_equal(proxy_hears(), 0);
	assert_false(w.got);
	have("a.example", 0);
	EVP_PKEY_free(other);
}

static void test_bounded(void **state)
{
	struct waiter w, extra[LEAF_PENDING_MAX + 1];
	char host[32];
	int i;

	(void)state;
	for (i = 0; i < MAX; i++) {
		(void)snprintf(host, sizeof(host), "n%d.example", i);
		have(host, 0);
	}
	assert_int_equal(get("n0.example", 1, &w), 0); /* used: not the oldest any more */
	have("new.example", 1);
	assert_int_equal(get("n0.example", 1, &w), 0);
	assert_int_equal(get("n1.example", 1, &w), -EINPROGRESS);
	leaf_cancel(&w.w);
	assert_int_equal(keeper_hears(), 1);
	keeper_signs(0, T.leaf_key);
	assert_int_equal(proxy_hears(), 0);
	/* What is pending is not thrown out: when all are, there is no room. */
	for (i = 0; i < MAX; i++) {
		(void)snprintf(host, sizeof(host), "p%d.example", i);
		assert_int_equal(get(host, 2, &extra[i]), -EINPROGRESS);
	}
	assert_int_equal(get("q.example", 2, &w), -EBUSY);
	for (i = 0; i < MAX; i++)
		leaf_cancel(&extra[i].w);
}

static void test_keeper_lost(void **state)
{
	struct waiter w[3];
	char host[32];
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		(void)snprintf(host, sizeof(host), "n%d.example", i);
		assert_int_equal(get(host, 0, &w[i]), -EINPROGRESS);
	}
	own_close(&T.other.fd);
	assert_int_equal(proxy_hears(), -EPIPE);
	channel_done(&T.keeper);
	for (i = 0; i < 3; i++) {
		assert_int_equal(w[i].calls, 1);
		assert_int_equal(w[i].rc, -EPIPE);
	}
	assert_int_equal(get("a.example", 0, &w[0]), -ENOTCONN);
}

/* The keeper is the stronger side, but what it says must still fit what was asked. */
static void test_answers_that_do_not_fit(void **state)
{
	struct rpc_done d = {.rc = 0, .tail_len = 5};
	struct waiter w;

	(void)state;
	assert_int_equal(get("a.example", 0, &w), -EINPROGRESS);
	assert_int_equal(keeper_hears(), 1);
	keeper_says(T.asked[0] + 1, -EACCES, NULL, 0);
	assert_int_equal(proxy_hears(), -EPROTO);
	keeper_says(0, -EACCES, NULL, 0);
	assert_int_equal(proxy_hears(), -EPROTO);
	keeper_says(T.asked[0] + RPC_INFLIGHT_MAX, -EACCES, NULL, 0);
	assert_int_equal(proxy_hears(), -EPROTO);
	assert_int_equal(rpc_send(T.other.fd, RPC_CREDENTIAL_VALUE, T.asked[0], &d, sizeof(d), "value", 5, -1), 0);
	assert_int_equal(proxy_hears(), -EPROTO);
	assert_int_equal(rpc_send(T.other.fd, RPC_LEAF, T.asked[0], &d, sizeof(d), "v", 1, -1), 0);
	assert_int_equal(proxy_hears(), -EPROTO);
	assert_int_equal(w.calls, 0);
	keeper_says(T.asked[0], -EACCES, NULL, 0);
	assert_int_equal(proxy_hears(), 0);
	assert_int_equal(w.calls, 1);
	keeper_says(T.asked[0], -EACCES, NULL, 0); /* twice */
	assert_int_equal(proxy_hears(), -EPROTO);
	assert_int_equal(w.calls, 1);
	leaf_cancel(&w.w);
}

struct asker {
	struct ask ask;
	int calls, rc;
};

static void on_answer(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct asker *me = (struct asker *)a;

	(void)body;
	(void)tail;
	(void)tail_len;
	me->calls++;
	me->rc = rc;
}

/* More questions than may be under way: the rest waits its turn. */
static void test_many(void **state)
{
	static struct asker all[3 * RPC_INFLIGHT_MAX];
	size_t i, heard, sum = 0;

	(void)state;
	memset(all, 0, sizeof(all));
	for (i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(ask_put(&all[i].ask, &T.keeper, RPC_SIGN_LEAF, on_answer), 0);
	ask_cancel(&all[1].ask);		       /* sent */
	ask_cancel(&all[RPC_INFLIGHT_MAX + 1].ask);    /* waiting */
	ask_cancel(&all[ARRAY_SIZE(all) - 1].ask);     /* the last */
	while ((heard = keeper_hears()) > 0) {
		assert_in_range(heard, 1, RPC_INFLIGHT_MAX);
		sum += heard;
		for (i = 0; i < heard; i++)
			keeper_says(T.asked[i], -EAGAIN, NULL, 0);
		assert_int_equal(proxy_hears(), 0);
	}
	assert_int_equal(sum, ARRAY_SIZE(all) - 2);
	for (i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(all[i].calls, i != 1 && i != RPC_INFLIGHT_MAX + 1 && i != ARRAY_SIZE(all) - 1);
}

static int setup(void **state)
{
	uint8_t spki[TLS_SPKI_MAX];
	const unsigned char *p = spki;
	struct err e = {0};
	size_t len;

	(void)state;
	T.buf = malloc(RPC_BUF);
	T.ca_key = EVP_EC_gen("P-256");
	T.ca = certs_make("Test CA", T.ca_key, NULL, NULL, -100, 1000);
	assert_int_equal(tls_ctx_new(&T.tls, &e), 0);
	assert_int_equal(tls_ctx_spki(T.tls, spki, &len), 0);
	T.leaf_key = d2i_PUBKEY(NULL, &p, (long)len);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tls_ctx_free(T.tls);
	X509_free(T.ca);
	EVP_PKEY_free(T.ca_key);
	EVP_PKEY_free(T.leaf_key);
	free(T.buf);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_asked_once),	TEST(test_refused),		    TEST(test_bounded),
		TEST(test_keeper_lost), TEST(test_answers_that_do_not_fit), TEST(test_many),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
