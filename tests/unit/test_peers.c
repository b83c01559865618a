/* test_peers.c: the verdicts of bpf/peers.h, every combination. */
#include "../../bpf/peers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define GUARD 77

static const struct eg_guard open_guard = { .id = GUARD, .flags = EG_GUARD_OPEN, .proxy_port = 1, .dns_port = 2 };

static void unix_peers(void **state)
{
	struct eg_guard shut = open_guard, zero = {}, judged = open_guard, nobody = open_guard;

	(void)state;
	shut.flags = 0;
	nobody.id = 0;
	judged.flags |= EG_GUARD_LSM;
	for (int abstract = 0; abstract < 2; abstract++)
		for (int inside = 0; inside < 2; inside++) {
			assert_int_equal(peers_unix(&open_guard, abstract, inside),
					 inside ? 0 : EG_REASON_UNIX);
			assert_int_equal(peers_unix(&shut, abstract, inside), EG_REASON_CLOSED);
			assert_int_equal(peers_unix(&zero, abstract, inside), EG_REASON_CLOSED);
			assert_int_equal(peers_unix(&nobody, abstract, inside), EG_REASON_CLOSED);
			assert_int_equal(peers_unix(NULL, abstract, inside), EG_REASON_CLOSED);
			assert_int_equal(peers_unix(&judged, abstract, inside), 0);
		}
	nobody = open_guard;
	nobody.flags |= EG_GUARD_PATHS;
	assert_int_equal(peers_unix(&nobody, 0, 0), 0);
	assert_int_equal(peers_unix(&nobody, 0, 1), 0);
	assert_int_equal(peers_unix(&nobody, 1, 0), EG_REASON_UNIX);
	assert_int_equal(peers_unix(&nobody, 1, 1), 0);
	shut.flags = EG_GUARD_PATHS;
	assert_int_equal(peers_unix(&shut, 0, 0), EG_REASON_CLOSED);
	shut.flags = EG_GUARD_LSM; /* without OPEN it opens nothing */
	assert_int_equal(peers_unix(&shut, 1, 1), EG_REASON_CLOSED);
}

static void families(void **state)
{
	(void)state;
	for (int family = -2; family < 300; family++)
		for (int protocol = -2; protocol < 300; protocol++) {
			int ok = family == 1 || family == 2 || family == 10 || (family == 16 && protocol == 0);

			assert_int_equal(peers_family(family, protocol), ok ? 0 : EG_REASON_SOCKET);
		}
	for (int family = 0; family < 64; family++)
		assert_int_equal(peers_judged(family), family != 1 && family != 16);
}

static void foreign(void **state)
{
	static const __u64 ids[] = { PEERS_NOBODY, 1, GUARD, PEERS_UNKNOWN - 1, PEERS_UNKNOWN };

	(void)state;
	for (size_t i = 0; i < 5; i++)
		for (size_t k = 0; k < 5; k++) {
			int want = ids[i] != PEERS_NOBODY && (ids[i] == PEERS_UNKNOWN || i != k);

			assert_int_equal(!!peers_foreign(ids[i], ids[k]), want);
		}
}

/* A name as the kernel has it: AF_UNIX in host order, then the path. */
static struct peers_name name(const char *path, size_t len)
{
	struct peers_name n = {};
	__u16 family = 1;

	memcpy(n.word, &family, sizeof(family));
	memcpy((char *)n.word + 2, path, len);
	return n;
}

static void names(void **state)
{
	struct peers_name a = name("\0abc", 4), b, path = name("/abc", 4);

	(void)state;
	assert_true(peers_abstract(&a));
	assert_false(peers_abstract(&path));
	assert_true(peers_same_name(&a, &a));
	for (size_t bit = 0; bit < sizeof(a) * 8; bit++) {
		b = a;
		((uint8_t *)b.word)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_false(peers_same_name(&a, &b));
		assert_false(peers_same_name(&b, &a));
	}
}

/* The checksum taken the long way: big sum, folded until it fits. */
static __u32 slow_hash(const struct peers_name *n, __u32 type)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(*n); i += 2) {
		__u16 half;

		memcpy(&half, (const char *)n->word + i, sizeof(half));
		sum += half;
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = (uint16_t)~sum;
	return (__u32)((sum ^ (sum >> 8) ^ type) & 0xff);
}

static void hashes(void **state)
{
	char path[PEERS_NAME_MAX - 2];
	uint32_t seed = 1;

	(void)state;
	for (int round = 0; round < 2000; round++) {
		size_t len = (size_t)round % sizeof(path);
		struct peers_name n;

		for (size_t i = 0; i < len; i++) {
			seed = seed * 1664525 + 1013904223;
			path[i] = round % 7 ? (char)(seed >> 24) : (char)0xff;
		}
		n = name(path, len);
		for (__u32 type = 0; type < 6; type++)
			assert_int_equal(peers_hash(&n, type), slow_hash(&n, type));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unix_peers), cmocka_unit_test(families), cmocka_unit_test(foreign),
		cmocka_unit_test(names), cmocka_unit_test(hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
