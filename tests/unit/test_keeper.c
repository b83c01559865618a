/* The keeper as a process, behind its user and its system-call filter, spoken to as the daemon and the
 * proxies do. Needs root; skipped otherwise.
 */
#include "child.h"
#include "fdio.h"
#include "rules.h"
#include "sign.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#define KEEPER_UID 64901
#define GUARD      4711
#define VALUE      "sk_live_SENTINEL"

static char dir_path[] = "/tmp/test-keeper-XXXXXX";
static int dir = -1, boss = -1, proxy = -1;
static pid_t keeper;
static uint8_t vault_key[32], public_key[SIGN_PUBLIC_LEN];

/* An answer, as it came. */
static struct answer {
	uint16_t op;
	uint32_t id;
	struct rpc_done done;
	struct rpc_stats stats;
	struct rpc_former note;
	uint8_t tail[RPC_TAIL_MAX + 1];
	size_t tail_len;
} got;

/* The next message on sock; false when the peer has closed. */
static bool hear(int sock)
{
	static uint8_t buf[RPC_BUF];
	struct pollfd p = {.fd = sock, .events = POLLIN};
	struct rpc_head head;
	size_t body = sizeof(head);
	int fd = -1;
	ssize_t n;

	assert_int_equal(poll(&p, 1, 10000), 1);
	n = fdio_recv(sock, buf, sizeof(buf), MSG_DONTWAIT, &fd);
	assert_int_equal(fd, -1);
	if (n <= 0)
		return false;
	memcpy(&head, buf, sizeof(head));
	memset(&got, 0, sizeof(got));
	got.op = head.op;
	got.id = head.id;
	if (head.op == RPC_STATS) {
		assert_int_equal((size_t)n, body + sizeof(got.stats));
		memcpy(&got.stats, buf + body, sizeof(got.stats));
	} else if (head.op == RPC_FORMER) {
		assert_true((size_t)n >= body + sizeof(got.note));
		memcpy(&got.note, buf + body, sizeof(got.note));
		body += sizeof(got.note);
		got.tail_len = (size_t)n - body;
		memcpy(got.tail, buf + body, got.tail_len);
	} else if (head.op != RPC_READY) {
		assert_true((size_t)n >= body + sizeof(got.done));
		memcpy(&got.done, buf + body, sizeof(got.done));
		body += sizeof(got.done);
		got.tail_len = (size_t)n - body;
		assert_int_equal(got.tail_len, got.done.tail_len);
		memcpy(got.tail, buf + body, got.tail_len);
	}
	return true;
}

static void say(int sock, uint16_t op, uint32_t id, const void *body, size_t size, int fd)
{
	assert_int_equal(rpc_send(sock, op, id, body, size, NULL, 0, fd), 0);
}

/* Asks as the daemon does; answers rc. */
static int ask(uint16_t op, const void *body, size_t size, int fd)
{
	static uint32_t id = 100;

	say(boss, op, ++id, body, size, fd);
	assert_true(hear(boss));
	assert_int_equal(got.op, RPC_ADMIN_DONE);
	assert_int_equal(got.id, id);
	assert_true(got.done.rc == 0 || got.tail_len > 10); /* a sentence */
	return got.done.rc;
}

static void wire(enum rpc_wire_kind kind, uint32_t index, int fd)
{
	struct rpc_wire w = {.kind = kind, .index = index};

	say(boss, RPC_WIRE, 0, &w, sizeof(w), fd);
}

static void start(void)
{
	struct config cfg = {.keeper_user = {KEEPER_UID, KEEPER_UID}, .debug = 1};
	int pair[2];

	assert_int_equal(rpc_pair(pair), 0);
	keeper = fork();
	assert_true(keeper >= 0);
	if (keeper == 0) {
		if (dup2(pair[1], RPC_BOSS_FD) < 0 || close_range(RPC_BOSS_FD + 1, ~0U, 0) < 0)
			_exit(9);
		_exit(keeper_main());
	}
	close(pair[1]);
	boss = pair[0];
	say(boss, RPC_CONFIG, 0, &cfg, sizeof(cfg), -1);
	wire(RPC_WIRE_VAULT_DIR, 0, dir);
}

static void go(void)
{
	say(boss, RPC_GO, 0, NULL, 0, -1);
	assert_true(hear(boss));
	assert_int_equal(got.op, RPC_READY);
}

/* The exit status; 256 + signal. */
static int end(void)
{
	int status = 0;

	own_close(&boss);
	own_close(&proxy);
	assert_int_equal(waitpid(keeper, &status, 0), keeper);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int set(const char *workspace, const char *name, const char *value)
{
	struct rpc_secret_ref ref = {0};
	int fd[2], rc;

	(void)snprintf(ref.workspace, sizeof(ref.workspace), "%s", workspace);
	(void)snprintf(ref.name, sizeof(ref.name), "%s", name);
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(write(fd[1], value, strlen(value)), (ssize_t)strlen(value));
	close(fd[1]);
	rc = ask(RPC_SECRET_SET, &ref, sizeof(ref), fd[0]);
	close(fd[0]);
	assert_null(memmem(got.tail, got.tail_len, "SENTINEL", 8));
	return rc;
}

static char *document(uint64_t version, size_t *len)
{
	static const char *const hosts[] = {"api.stripe.com", "*.example.com"},
				 *const tunnel[] = {"tunnel.example.org"};
	struct rules *r = rules_new("demo", 0, "2026-11-23T07:00:00Z");
	struct rules_rule rule = {.host = "api.stripe.com", .port = 443};
	char *text = NULL;
	struct err e = {0};

	assert_int_equal(rules_add(r, &rule, &e), 0);
	(void)snprintf(rule.host, sizeof(rule.host), "*.example.com");
	assert_int_equal(rules_add(r, &rule, &e), 0);
	(void)snprintf(rule.host, sizeof(rule.host), "tunnel.example.org");
	rule.mode = RULES_TUNNEL;
	assert_int_equal(rules_add(r, &rule, &e), 0);
	assert_int_equal(rules_bind(r, "STRIPE_KEY", hosts, 1, RULES_SLOT_HEADER, &e), 0);
	assert_int_equal(rules_bind(r, "UNSET_KEY", hosts, 2, RULES_SLOTS_ALL, &e), 0);
	assert_int_equal(rules_bind(r, "TUNNEL_KEY", tunnel, 1, RULES_SLOT_HEADER, &e), 0);
	assert_int_equal(rules_bind(r, "UNBOUND", NULL, 0, 0, &e), 0);
	r->version = version;
	if (rules_write(r, &text, len, &e) < 0)
		fail_msg("%s", e.text);
	rules_free(r);
	return text;
}

static struct rpc_workspace named(const char *workspace, uint64_t version, size_t len)
{
	struct rpc_workspace w = {.version = version, .doc_len = len};

	(void)snprintf(w.workspace, sizeof(w.workspace), "%s", workspace);
	return w;
}

static int sign(const struct rpc_workspace *w, const char *text, size_t len,
		uint8_t sig[SIGN_SIG_LEN])
{
	int fd = fdio_memfd("doc", text, len, NULL, 0), rc;

	assert_true(fd >= 0);
	rc = ask(RPC_SIGN_DOC, w, sizeof(*w), fd);
	close(fd);
	if (rc == 0) {
		assert_int_equal(got.tail_len, SIGN_SIG_LEN);
		memcpy(sig, got.tail, SIGN_SIG_LEN);
	}
	return rc;
}

/* Puts a document in force; a message without an answer. */
static void force(uint64_t version, bool good)
{
	uint8_t sig[SIGN_SIG_LEN];
	size_t len;
	char *text = document(version, &len);
	struct rpc_workspace w = named("demo", version, len);
	int fd;

	assert_int_equal(sign(&w, text, len, sig), 0);
	assert_int_equal(sign_verify(public_key, text, len, sig), 0);
	sig[5] ^= !good;
	fd = fdio_memfd("doc", text, len, sig, sizeof(sig));
	say(boss, RPC_WORKSPACE, 0, &w, sizeof(w), fd);
	close(fd);
	free(text);
}

static void guard(uint64_t id, const char *workspace)
{
	struct rpc_guard g = {.guard = id};

	(void)snprintf(g.workspace, sizeof(g.workspace), "%s", workspace);
	say(boss, RPC_GUARD, 0, &g, sizeof(g), -1);
}

static void sync_boss(void)
{
	say(boss, RPC_STATS_ASK, 7, NULL, 0, -1);
	assert_true(hear(boss));
	assert_int_equal(got.op, RPC_STATS);
	assert_int_equal(got.id, 7);
}

static uint64_t vault_reads(void)
{
	sync_boss();
	return got.stats.vault_reads;
}

static void proxy_new(uint32_t number)
{
	int pair[2];

	own_close(&proxy);
	assert_int_equal(rpc_pair(pair), 0);
	wire(RPC_WIRE_PROXY, number, pair[1]);
	close(pair[1]);
	proxy = pair[0];
	sync_boss();
}

/* Of a value that is no longer in force, for the search of responses. */
static int former(uint64_t g, uint64_t number, const char *host, uint16_t port)
{
	struct rpc_former_ask q = {.guard = g, .number = number, .port = port};

	(void)snprintf(q.host, sizeof(q.host), "%s", host);
	say(proxy, RPC_FORMER_ASK, 9, &q, sizeof(q), -1);
	assert_true(hear(proxy));
	assert_int_equal(got.op, RPC_CREDENTIAL_VALUE);
	assert_int_equal(got.id, 9);
	return got.done.rc;
}

static int credential(uint64_t g, const char *name, const char *host, uint16_t port, uint16_t slot)
{
	struct rpc_credential q = {.guard = g, .port = port, .slot = slot};

	(void)snprintf(q.name, sizeof(q.name), "%s", name);
	(void)snprintf(q.host, sizeof(q.host), "%s", host);
	say(proxy, RPC_CREDENTIAL, 5, &q, sizeof(q), -1);
	if (!hear(proxy))
		return -EPIPE;
	assert_int_equal(got.op, RPC_CREDENTIAL_VALUE);
	assert_int_equal(got.id, 5);
	if (got.done.rc < 0)
		assert_int_equal(got.tail_len, 0);
	return got.done.rc;
}

static int leaf(uint64_t g, const char *host)
{
	struct rpc_sign_leaf q = {.guard = g};

	(void)snprintf(q.host, sizeof(q.host), "%s", host);
	say(proxy, RPC_SIGN_LEAF, 6, &q, sizeof(q), -1);
	if (!hear(proxy))
		return -EPIPE;
	assert_int_equal(got.op, RPC_LEAF);
	assert_int_equal(got.id, 6);
	return got.done.rc;
}

static void leaf_key(void)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");
	uint8_t der[512], *at = der;
	int n = i2d_PUBKEY(k, &at);

	assert_int_equal(rpc_send(proxy, RPC_LEAF_KEY, 0, NULL, 0, der, (size_t)n, -1), 0);
	EVP_PKEY_free(k);
}

/* ---- the tests, in the order of a life ---- */

static void test_before_init(void **state)
{
	struct rpc_workspace w = named("demo", 1, 0);
	struct rpc_audit_key k = {.writer = "proxy0"};
	uint8_t sig[SIGN_SIG_LEN];

	(void)state;
	start();
	go();
	assert_int_equal(set("demo", "STRIPE_KEY", VALUE), -ENOKEY);
	assert_int_equal(ask(RPC_CA_CERT, NULL, 0, -1), -ENOKEY);
	assert_int_equal(ask(RPC_SIGN_KEY, NULL, 0, -1), -ENOKEY);
	assert_int_equal(ask(RPC_AUDIT_DERIVE, &k, sizeof(k), -1), -ENOKEY);
	assert_int_equal(ask(RPC_WORKSPACE_DROP, &w, sizeof(w), -1), -ENOKEY);
	assert_int_equal(sign(&w, "", 0, sig), -ENOKEY);
	guard(GUARD, "demo");
	proxy_new(0);
	leaf_key();
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 -EACCES);
	assert_int_equal(leaf(GUARD, "api.stripe.com"), -ENOKEY);
}

static void test_init(void **state)
{
	struct rpc_admin admin = {0};

	(void)state;
	assert_int_equal(ask(RPC_VAULT_INIT, &admin, sizeof(admin), -1), 0);
	assert_int_equal(got.tail_len, 32);
	memcpy(vault_key, got.tail, 32);
	assert_int_equal(ask(RPC_VAULT_INIT, &admin, sizeof(admin), -1), -EEXIST);
	assert_int_equal(ask(RPC_SIGN_KEY, NULL, 0, -1), 0);
	assert_int_equal(got.tail_len, SIGN_PUBLIC_LEN);
	memcpy(public_key, got.tail, SIGN_PUBLIC_LEN);
	assert_int_equal(ask(RPC_CA_CERT, NULL, 0, -1), 0);
	assert_true(got.tail_len > 300 && got.tail[0] == 0x30);
}

static void test_secrets(void **state)
{
	struct rpc_secret_ref ref = {.workspace = "demo"};

	(void)state;
	assert_int_equal(set("demo", "STRIPE_KEY", VALUE "\n"), 0);
	assert_int_equal(set("demo", "A_KEY", "a"), 0);
	assert_int_equal(set("demo", "OTHER", "SENTINEL\nSENTINEL"), -EINVAL);
	assert_int_equal(set("demo", "OTHER", ""), -EINVAL);
	assert_int_equal(ask(RPC_SECRET_LIST, &ref, sizeof(ref), -1), 0);
	assert_int_equal(got.tail_len, 17);
	assert_memory_equal(got.tail, "A_KEY\0STRIPE_KEY\0", 17);
	strcpy(ref.name, "A_KEY");
	assert_int_equal(ask(RPC_SECRET_DELETE, &ref, sizeof(ref), -1), 0);
	assert_int_equal(ask(RPC_SECRET_DELETE, &ref, sizeof(ref), -1), -ENOENT);
}

static void test_documents(void **state)
{
	uint8_t sig[SIGN_SIG_LEN], sig2[SIGN_SIG_LEN];
	size_t len;
	char *text = document(1, &len);
	struct rpc_workspace w = named("demo", 1, len), bad;
	int fd;

	(void)state;
	bad = named("other", 1, len);
	assert_int_equal(sign(&bad, text, len, sig), -EBADMSG);
	bad = named("demo", 2, len);
	assert_int_equal(sign(&bad, text, len, sig), -EBADMSG);
	bad = named("demo", 1, len - 1);
	assert_int_equal(sign(&bad, text, len, sig), -EPROTO);
	text[1] = ' ';
	assert_int_not_equal(sign(&w, text, len, sig), 0);
	text[1] = '"';
	assert_int_equal(sign(&w, text, len, sig), 0);
	free(text);
	force(1, false); /* a wrong signature: not in force */
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 -EACCES);
	force(1, true);
	text = document(1, &len);
	assert_int_equal(sign(&w, text, len, sig2), -ESTALE); /* one version, one document */
	force(2, true);
	fd = fdio_memfd("doc", text, len, sig, sizeof(sig));
	say(boss, RPC_WORKSPACE, 0, &w, sizeof(w),
	    fd); /* version 1 again, well signed: 2 stays in force */
	close(fd);
	free(text);
	text = document(2, &len);
	w = named("demo", 2, len);
	assert_int_equal(sign(&w, text, len, sig2), -ESTALE);
	free(text);
}

static void test_credentials(void **state)
{
	static const struct {
		uint64_t guard;
		const char *name, *host;
		uint16_t port, slot;
		int rc;
	} no[] = {
		{0, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD + 1, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "STRIPE_KEY", "api.stripe.com", 444, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "STRIPE_KEY", "stripe.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "STRIPE_KEY", "x.api.stripe.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "STRIPE_KEY", "API.stripe.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "STRIPE_KEY", "a.example.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "STRIPE_KEY", "tunnel.example.org", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "TUNNEL_KEY", "tunnel.example.org", 443, RULES_SLOT_HEADER,
		 -EACCES}, /* bound, but not inspected */
		{GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_BASIC, -EACCES},
		{GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_BODY, -EACCES},
		{GUARD, "UNBOUND", "api.stripe.com", 443, RULES_SLOT_HEADER, -EACCES},
		{GUARD, "NO_SUCH", "api.stripe.com", 443, RULES_SLOT_HEADER, -ENOENT},
		{GUARD, "stripe_key", "api.stripe.com", 443, RULES_SLOT_HEADER, -ENOENT},
		{GUARD, "UNSET_KEY", "a.example.com", 443, RULES_SLOT_HEADER, -ENOENT},
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(no); i++)
		if (credential(no[i].guard, no[i].name, no[i].host, no[i].port, no[i].slot) !=
		    no[i].rc)
			fail_msg("case %zu: %d", i, got.done.rc);
	assert_int_equal(vault_reads(),
			 0); /* none of these went to the vault and took something out */
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
	assert_int_equal(got.tail_len, strlen(VALUE));
	assert_memory_equal(got.tail, VALUE, strlen(VALUE));
	assert_int_equal(vault_reads(), 1);
	guard(GUARD, "other"); /* the guard's workspace is the boss's word */
	sync_boss();
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 -EACCES);
	guard(GUARD, "demo");
	sync_boss();
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
}

static void test_leaves(void **state)
{
	const uint8_t *at;
	X509 *x;
	int i, rc = 0;

	(void)state;
	assert_int_equal(leaf(GUARD + 1, "api.stripe.com"), -EACCES);
	assert_int_equal(leaf(GUARD, "no_host"), -EINVAL);
	assert_int_equal(leaf(GUARD, "*.example.com"), -EINVAL);
	assert_int_equal(leaf(GUARD, "api.stripe.com"), 0);
	at = got.tail;
	x = d2i_X509(NULL, &at, (long)got.tail_len);
	assert_int_equal(X509_check_host(x, "api.stripe.com", 0, 0, NULL), 1);
	X509_free(x);
	for (i = 0; i < 200 && rc == 0; i++)
		rc = leaf(GUARD, "a.example.com");
	assert_int_equal(rc, -EBUSY); /* the bucket of this guard is empty */
	assert_true(i >= 45 && i < 80);
	guard(GUARD + 1, "demo");
	sync_boss();
	assert_int_equal(leaf(GUARD + 1, "a.example.com"), 0); /* not of another */
}

/* Each of these ends the proxy's channel, and nothing else. */
static void test_bad_proxies(void **state)
{
	struct rpc_credential q = {.guard = GUARD,
				   .port = 443,
				   .slot = RULES_SLOT_HEADER,
				   .name = "STRIPE_KEY",
				   .host = "api.stripe.com"};
	struct rpc_sign_leaf s = {.guard = GUARD, .host = "a.example.com"};
	struct rpc_admin admin = {0};
	struct rpc_secret_ref ref = {.workspace = "demo"};
	size_t i;
	int old;

	(void)state;
	for (i = 0; i < 9; i++) {
		struct rpc_credential b = q;

		proxy_new((uint32_t)i);
		switch (i) {
		case 0: /* no leaf key yet */
			say(proxy, RPC_SIGN_LEAF, 1, &s, sizeof(s), -1);
			break;
		case 1:
			leaf_key();
			leaf_key();
			break;
		case 2:
			assert_int_equal(rpc_send(proxy, RPC_LEAF_KEY, 0, NULL, 0, "junk", 4, -1),
					 0);
			break;
		case 3: /* what only the boss may */
			say(proxy, RPC_VAULT_INIT, 1, &admin, sizeof(admin), -1);
			break;
		case 4:
			say(proxy, RPC_SECRET_LIST, 1, &ref, sizeof(ref), -1);
			break;
		case 5:
			say(proxy, RPC_CREDENTIAL, 1, &q, sizeof(q) - 1, -1);
			break;
		case 6: /* two slots */
			b.slot = RULES_SLOT_HEADER | RULES_SLOT_BASIC;
			say(proxy, RPC_CREDENTIAL, 1, &b, sizeof(b), -1);
			break;
		case 7: /* no end to the name */
			memset(b.name, 'A', sizeof(b.name));
			say(proxy, RPC_CREDENTIAL, 1, &b, sizeof(b), -1);
			break;
		default: /* a descriptor that nobody asked for */
			say(proxy, RPC_CREDENTIAL, 1, &q, sizeof(q), dir);
			break;
		}
		if (hear(proxy))
			fail_msg("case %zu was answered", i);
	}
	proxy_new(0);
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
	old = take_fd(&proxy);
	proxy_new(0); /* the same number again: the old channel is closed */
	assert_false(hear(old));
	close(old);
	proxy_new(0);
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
}

static void test_audit_keys(void **state)
{
	struct rpc_audit_key a = {.writer = "proxy0", .epoch = {1}}, b = a;
	uint8_t first[32];

	(void)state;
	assert_int_equal(ask(RPC_AUDIT_DERIVE, &a, sizeof(a), -1), 0);
	assert_int_equal(got.tail_len, 32);
	memcpy(first, got.tail, 32);
	memset(b.writer + 8, 'x', 4); /* what comes after the NUL is nothing */
	assert_int_equal(ask(RPC_AUDIT_DERIVE, &b, sizeof(b), -1), 0);
	assert_memory_equal(got.tail, first, 32);
	b.epoch[15] = 1;
	assert_int_equal(ask(RPC_AUDIT_DERIVE, &b, sizeof(b), -1), 0);
	assert_memory_not_equal(got.tail, first, 32);
	b = a;
	b.writer[5] = '1';
	assert_int_equal(ask(RPC_AUDIT_DERIVE, &b, sizeof(b), -1), 0);
	assert_memory_not_equal(got.tail, first, 32);
}

static int open_vault(const void *key, size_t len)
{
	struct rpc_admin admin = {0};
	int fd = fdio_memfd("key", key, len, NULL, 0), rc;

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	rc = ask(RPC_VAULT_OPEN, &admin, sizeof(admin), fd);
	close(fd);
	return rc;
}

/* The daemon ends; the next one opens what there is. */
static void test_again(void **state)
{
	struct rpc_admin admin = {0};
	uint64_t number;
	uint8_t wrong[33] = {1};

	(void)state;
	assert_int_equal(end(), 0);
	start();
	assert_int_equal(open_vault(wrong, 32), -EKEYREJECTED);
	assert_int_equal(open_vault(wrong, 33), -E2BIG);
	assert_int_equal(open_vault(vault_key, 31), -EINVAL);
	assert_int_equal(open_vault("", 0), -EINVAL);
	assert_int_equal(ask(RPC_VAULT_INIT, &admin, sizeof(admin), -1), -EEXIST);
	assert_int_equal(open_vault(vault_key, 32), 0);
	force(3, true);
	guard(GUARD, "demo");
	go();
	proxy_new(0);
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
	assert_memory_equal(got.tail, VALUE, strlen(VALUE));
	assert_int_equal(set("demo", "STRIPE_KEY", VALUE), 0); /* the same: nobody is told of anything but that */
	assert_true(hear(proxy));
	assert_true(got.op == RPC_FORMER && got.note.number == 0 && got.tail_len == 0);
	assert_int_equal(set("demo", "STRIPE_KEY", "changed after the lock"), 0);
	assert_true(hear(proxy)); /* before the new value */
	assert_true(got.op == RPC_FORMER && got.note.number > 0);
	assert_string_equal(got.note.workspace, "demo");
	assert_int_equal(got.tail_len, sizeof("api.stripe.com"));
	assert_memory_equal(got.tail, "api.stripe.com", sizeof("api.stripe.com"));
	number = got.note.number;
	assert_int_equal(former(GUARD, number, "api.stripe.com", 443), 0);
	assert_int_equal(got.tail_len, strlen(VALUE));
	assert_memory_equal(got.tail, VALUE, strlen(VALUE));
	assert_int_equal(former(GUARD, number + 1, "api.stripe.com", 443), -ENOENT);
	assert_int_equal(former(GUARD, 0, "api.stripe.com", 443), -ENOENT);
	assert_int_equal(former(GUARD, number, "a.example.com", 443), -ENOENT);
	assert_int_equal(former(GUARD, number, "api.stripe.com", 444), -EACCES);
	assert_int_equal(former(GUARD, number, "tunnel.example.org", 443), -EACCES);
	assert_int_equal(former(GUARD + 1, number, "api.stripe.com", 443), -EACCES);
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
	assert_memory_equal(got.tail, "changed after the lock", 22);
	assert_int_equal(open_vault(wrong, 32), -EKEYREJECTED); /* and what was open stays open */
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
	proxy_new(1); /* a new one is told at once */
	assert_true(hear(proxy));
	assert_true(got.op == RPC_FORMER && got.note.number == number);
	assert_int_equal(open_vault(vault_key, 32), 0); /* again, after the lock */
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 0);
}

static void test_gone(void **state)
{
	struct rpc_workspace w = named("demo", 3, 0);
	struct rpc_guard g = {.guard = GUARD, .workspace = "demo"};

	(void)state;
	assert_int_equal(ask(RPC_WORKSPACE_DROP, &w, sizeof(w), -1), 0);
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 -ENOENT);
	say(boss, RPC_GUARD_GONE, 0, &g, sizeof(g), -1);
	sync_boss();
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 -EACCES);
	guard(GUARD, "demo");
	say(boss, RPC_WORKSPACE_GONE, 0, &w, sizeof(w), -1);
	sync_boss();
	assert_int_equal(credential(GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER),
			 -EACCES);
	assert_int_equal(end(), 0);
}

/* A message that breaks the boss's contract ends the keeper: nothing goes on half understood. */
static void test_bad_boss(void **state)
{
	struct rpc_guard g = {.guard = 0, .workspace = "demo"};

	(void)state;
	start();
	go();
	say(boss, RPC_GUARD, 0, &g, sizeof(g), -1);
	assert_false(hear(boss));
	assert_int_equal(end(), 0);
	start();
	say(boss, RPC_GO, 0, NULL, 0, -1);
	assert_true(hear(boss));
	say(boss, RPC_GO, 0, NULL, 0, -1);
	assert_false(hear(boss));
	assert_int_equal(end(), 0);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir_path))
		return -1;
	dir = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 || fchown(dir, KEEPER_UID, KEEPER_UID) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlinkat(dir, "vault.bin", 0);
	(void)unlinkat(dir, "vault.bak", 0);
	(void)unlinkat(dir, "vault.bin.new", 0);
	close(dir);
	return rmdir(dir_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_init), cmocka_unit_test(test_init),
		cmocka_unit_test(test_secrets),     cmocka_unit_test(test_documents),
		cmocka_unit_test(test_credentials), cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_bad_proxies), cmocka_unit_test(test_audit_keys),
		cmocka_unit_test(test_again),       cmocka_unit_test(test_gone),
		cmocka_unit_test(test_bad_boss),
	};

	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: the keeper changes its user, which needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
