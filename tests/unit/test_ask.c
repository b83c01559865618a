/* Questions over a channel: each is answered once, and the same question of one moment is sent once. */
#include "ask.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static struct channel c;
static int keeper = -1;
static uint8_t buf[RPC_BUF] __attribute__((aligned(8)));

struct asker {
	struct ask ask;
	int told, rc;
	char value[16];
	struct ask *gives_up; /* when told */
};

static void on_told(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct asker *w = (struct asker *)a;

	(void)body;
	w->told++;
	w->rc = rc;
	if (tail_len < sizeof(w->value))
		memcpy(w->value, tail ? (const char *)tail : "", tail_len);
	if (w->gives_up)
		ask_cancel(w->gives_up);
}

static struct asker asker(const char *name)
{
	struct asker w = {.rc = 1};

	(void)strcpy(w.ask.body.credential.name, name);
	return w;
}

static void share(struct asker *w, uint64_t epoch)
{
	assert_int_equal(ask_share(&w->ask, &c, RPC_CREDENTIAL, epoch, on_told), 0);
}

/* What the keeper has been asked and not read yet; ids in order. */
static size_t asked(uint32_t ids[8])
{
	struct {
		struct rpc_head head;
		struct rpc_credential body;
	} m;
	size_t n = 0;

	while (n < 8 && recv(keeper, &m, sizeof(m), MSG_DONTWAIT) == sizeof(m)) {
		assert_int_equal(m.head.op, RPC_CREDENTIAL);
		ids[n++] = m.head.id;
	}
	return n;
}

static void answer(uint32_t id, const char *value)
{
	struct rpc_done d = {.tail_len = (uint32_t)strlen(value)};

	assert_int_equal(
		rpc_send(keeper, RPC_CREDENTIAL_VALUE, id, &d, sizeof(d), value, strlen(value), -1),
		0);
	assert_int_equal(channel_serve(&c, buf), 0);
}

static int setup(void **state)
{
	int sv[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv),
			 0);
	channel_init(&c, 0);
	channel_wire(&c, sv[0]);
	keeper = sv[1];
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	channel_done(&c);
	own_close(&keeper);
	return 0;
}

static void test_asked_once(void **state)
{
	struct asker a = asker("A"), b = asker("A"), other = asker("B"), later = asker("A");
	uint32_t ids[8];

	(void)state;
	share(&a, 7);
	share(&b, 7);
	share(&other, 7);
	share(&later, 8); /* it knows more than those before it: their answer is not good enough */
	assert_int_equal(asked(ids), 3);
	answer(ids[0], "old");
	assert_int_equal(a.told + b.told, 2);
	assert_string_equal(a.value, "old");
	assert_string_equal(b.value, "old");
	assert_int_equal(other.told + later.told, 0);
	answer(ids[2], "new");
	answer(ids[1], "b");
	assert_string_equal(later.value, "new");
	assert_string_equal(other.value, "b");
	/* What is answered is over: the next is a question of its own. */
	a = asker("A");
	share(&a, 7);
	assert_int_equal(asked(ids), 1);
	ask_cancel(&a.ask);
}

static void test_each_put_is_sent(void **state)
{
	struct asker a = asker("A"), b = asker("A"), shared = asker("A");
	uint32_t ids[8];

	(void)state;
	assert_int_equal(ask_put(&a.ask, &c, RPC_CREDENTIAL, on_told), 0);
	assert_int_equal(ask_put(&b.ask, &c, RPC_CREDENTIAL, on_told), 0);
	share(&shared, 0); /* not with those who did not offer it */
	assert_int_equal(asked(ids), 3);
	answer(ids[1], "x");
	assert_int_equal(a.told, 0);
	assert_int_equal(b.told, 1);
	ask_cancel(&a.ask);
	ask_cancel(&shared.ask);
}

static void test_given_up(void **state)
{
	struct asker a = asker("A"), b = asker("A"), d = asker("A");
	uint32_t ids[8];

	(void)state;
	share(&a, 1);
	share(&b, 1);
	share(&d, 1);
	ask_cancel(&a.ask); /* who asked first goes, the others still wait */
	assert_int_equal(asked(ids), 1);
	b.gives_up = &d.ask;
	d.gives_up = &b.ask;
	answer(ids[0], "v");
	assert_int_equal(a.told, 0);
	assert_int_equal(b.told + d.told, 1); /* one was told, and gave up the other */
	/* All gone: nobody joins a question without an asker, and its answer is dropped. */
	a = asker("A");
	b = asker("A");
	share(&a, 1);
	ask_cancel(&a.ask);
	share(&b, 1);
	assert_int_equal(asked(ids), 2);
	answer(ids[0], "v");
	assert_int_equal(a.told + b.told, 0);
	answer(ids[1], "v");
	assert_int_equal(b.told, 1);
}

static void test_lost(void **state)
{
	struct asker w[3] = {asker("A"), asker("A"), asker("B")};
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++)
		share(&w[i], 1);
	channel_done(&c);
	for (i = 0; i < 3; i++) {
		assert_int_equal(w[i].told, 1);
		assert_int_equal(w[i].rc, -EPIPE);
	}
	assert_int_equal(ask_share(&w[0].ask, &c, RPC_CREDENTIAL, 1, on_told), -ENOTCONN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_asked_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_each_put_is_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_given_up, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
