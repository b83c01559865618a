/* The keeper as a process, behind its user and its system-call filter, spoken to as the daemon and the
 * proxies do. Needs root; skipped otherwise.
 */
#include "prints.h"
#include "child.h"
#include "fdio.h"
#include "jwt.h"
#include "loop.h"
#include "rules.h"
#include "sign.h"
#include "vaultrec.h"

#include <assert.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define KEEPER_UID 64901
#define GUARD      4711
#define VALUE      "sk_live_SENTINEL"

static char dir_path[] = "/tmp/test-keeper-XXXXXX";
static int dir = -1, boss = -1, proxy = -1;
static pid_t keeper;
static uint8_t vault_key[32], public_key[SIGN_PUBLIC_LEN];

/* How far each clock is moved, in seconds, for the keeper too. */
static int64_t *moved;
static int (*real_clock)(clockid_t, struct timespec *);

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = real_clock ? real_clock(id, ts) : -1;

	if (rc == 0 && id >= 0 && id < 16)
		ts->tv_sec += moved[id];
	return rc;
}

/* An answer, as it came. */
static struct answer {
	uint16_t op;
	uint32_t id;
	struct rpc_done done;
	struct rpc_stats stats;
	struct rpc_former note;
	struct rpc_command_run run;
	struct rpc_secret_ref ref;
	struct rpc_token_order order;
	uint8_t tail[RPC_TAIL_MAX + 1];
	size_t tail_len;
} got;

/* The fingerprints that came last. */
static uint8_t prints_tail[RPC_TAIL_MAX];
static size_t prints_len;

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
	if (head.op == RPC_PRINTS) { /* comes by itself */
		memcpy(prints_tail, buf + body + sizeof(struct rpc_prints), (size_t)n - body - sizeof(struct rpc_prints));
		prints_len = (size_t)n - body - sizeof(struct rpc_prints);
		return hear(sock);
	}
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
	} else if (head.op == RPC_TOKEN_ORDER) {
		memcpy(&got.order, buf + body, sizeof(got.order));
		body += sizeof(got.order);
		got.tail_len = (size_t)n - body;
		memcpy(got.tail, buf + body, got.tail_len);
	} else if (head.op == RPC_COMMAND_RUN) {
		assert_int_equal((size_t)n, body + sizeof(got.run));
		memcpy(&got.run, buf + body, sizeof(got.run));
	} else if (head.op >= RPC_HELPER_GET && head.op <= RPC_HELPER_LIST) {
		memcpy(&got.ref, buf + body, sizeof(got.ref));
		body += sizeof(got.ref);
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

/* Do the last fingerprints know this text. */
static void prints_tell_of(const char *text, bool want)
{
	struct prints *p = NULL;

	assert_int_equal(prints_new(prints_tail, prints_len, &p), 0);
	assert_int_equal(prints_find(p, text, strlen(text)), want);
	prints_free(p);
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
	struct config cfg = {.keeper_user = {KEEPER_UID, KEEPER_UID},
			     .debug = 1,
			     .http_proxy.port = 3128,
			     .http_proxy_host = "proxy.corp.example",
			     .http_proxy_user = "alice",
			     .http_proxy_workspace = "demo",
			     .http_proxy_secret = "HOP"};
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

static int set_as(const char *workspace, const char *name, enum kind kind, const char *value)
{
	struct rpc_secret_ref ref = {.kind = kind};
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

static int set(const char *workspace, const char *name, const char *value)
{
	return set_as(workspace, name, KIND_VALUE, value);
}

static char *document(uint64_t version, size_t *len)
{
	static const char *const hosts[] = {"api.stripe.com", "*.example.com"},
				 *const tunnel[] = {"tunnel.example.org"}, *const hop[] = {"proxy.corp.example"};
	static const char *const cc_names[] = {"token_url"},
				 *const cc_values[] = {"https://login.example.com/token"},
				 *const app_names[] = {"api", "app_id", "installation_id"},
				 *const app_values[] = {"https://api.example.com", "1", "2"};
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
	assert_int_equal(rules_bind(r, "HOP", hop, 1, RULES_SLOT_PROXY, &e), 0);
	assert_int_equal(rules_bind(r, "UNBOUND", NULL, 0, 0, &e), 0);
	assert_int_equal(rules_bind(r, "CC", hosts + 1, 1, RULES_SLOT_HEADER, &e), 0);
	assert_int_equal(rules_kind(r, "CC", KIND_OAUTH2_CLIENT, cc_names, cc_values, 1, &e), 0);
	assert_int_equal(rules_bind(r, "APP", hosts + 1, 1, RULES_SLOT_HEADER, &e), 0);
	assert_int_equal(rules_kind(r, "APP", KIND_GITHUB_APP, app_names, app_values, 3, &e), 0);
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

/* Asks with a descriptor that yields these bytes. */
static int ask_with(uint16_t op, const struct rpc_admin *admin, const void *p, size_t len)
{
	int fd = fdio_memfd("key", p, len, NULL, 0), rc;

	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	rc = ask(op, admin, admin ? sizeof(*admin) : 0, fd);
	close(fd);
	return rc;
}

static void test_init(void **state)
{
	struct rpc_admin admin = {.kind = VAULTREC_WRAP_KEYFILE};

	(void)state;
	memset(vault_key, 0x5a, sizeof(vault_key));
	assert_int_equal(ask_with(RPC_VAULT_INIT, &admin, vault_key, 31), -EINVAL);
	assert_int_equal(ask_with(RPC_VAULT_INIT, &admin, vault_key, 32), 0);
	assert_int_equal(ask_with(RPC_VAULT_INIT, &admin, vault_key, 32), -EEXIST);
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
	prints_tell_of(VALUE, true);
	prints_tell_of("sk_live_SENTINEM", false);
	assert_null(memmem(prints_tail, prints_len, VALUE, 8));
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

static int proxy_password(uint64_t g, const char *host, uint16_t port)
{
	struct rpc_proxy_password q = {.guard = g, .port = port};

	(void)snprintf(q.host, sizeof(q.host), "%s", host);
	say(proxy, RPC_PROXY_PASSWORD, 8, &q, sizeof(q), -1);
	assert_true(hear(proxy));
	assert_int_equal(got.op, RPC_CREDENTIAL_VALUE);
	return got.done.rc;
}

/* For a guard that may go somewhere, and for nobody else; as a credential of a request it does not exist. */
static void test_proxy_password(void **state)
{
	uint64_t reads = vault_reads();

	(void)state;
	assert_int_equal(proxy_password(GUARD, "api.stripe.com", 443), -ENOENT); /* bound, and has no value */
	assert_int_equal(set("demo", "HOP", "swordfish-of-the-proxy"), 0);
	assert_true(hear(proxy));
	assert_int_equal(got.op, RPC_FORMER);
	assert_int_equal(proxy_password(0, "api.stripe.com", 443), -EACCES);
	assert_int_equal(proxy_password(GUARD + 1, "api.stripe.com", 443), -EACCES);
	assert_int_equal(proxy_password(GUARD, "api.stripe.com", 444), -EACCES);
	assert_int_equal(proxy_password(GUARD, "attacker.example.org", 443), -EACCES);
	assert_int_equal(proxy_password(GUARD, "proxy.corp.example", 3128), -EACCES);
	assert_int_equal(credential(GUARD, "HOP", "proxy.corp.example", 3128, RULES_SLOT_PROXY), -EACCES);
	assert_int_equal(credential(GUARD, "HOP", "api.stripe.com", 443, RULES_SLOT_PROXY), -EACCES);
	assert_int_equal(credential(GUARD, "HOP", "api.stripe.com", 443, RULES_SLOT_HEADER), -EACCES);
	assert_int_equal(vault_reads(), reads);
	assert_int_equal(proxy_password(GUARD, "api.stripe.com", 443), 0);
	assert_string_equal((char *)got.tail, "swordfish-of-the-proxy");
	assert_int_equal(proxy_password(GUARD, "tunnel.example.org", 443), 0);
	assert_int_equal(vault_reads(), reads + 2);
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
	struct rpc_admin admin = {.kind = VAULTREC_WRAP_KEYFILE};

	return ask_with(RPC_VAULT_OPEN, &admin, key, len);
}

/* The daemon ends; the next one opens what there is. */
static void test_again(void **state)
{
	struct rpc_admin admin = {.kind = VAULTREC_WRAP_KEYFILE};
	uint8_t wrong[33] = {1};
	uint64_t number;

	(void)state;
	assert_int_equal(end(), 0);
	start();
	assert_int_equal(open_vault(wrong, 32), -EKEYREJECTED);
	assert_int_equal(open_vault(wrong, 33), -E2BIG);
	assert_int_equal(open_vault(vault_key, 31), -EINVAL);
	assert_int_equal(open_vault("", 0), -EINVAL);
	assert_int_equal(ask_with(RPC_VAULT_INIT, &admin, vault_key, 32), -EEXIST);
	admin.seen = UINT64_MAX; /* the file is an older copy, then */
	assert_int_equal(ask_with(RPC_VAULT_OPEN, &admin, vault_key, 32), -ESTALE);
	assert_non_null(strstr((char *)got.tail, "older copy"));
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

static struct rpc_vault_state vault_state(void)
{
	struct rpc_vault_state s;

	assert_int_equal(ask(RPC_VAULT_STATE, NULL, 0, -1), 0);
	assert_int_equal(got.tail_len, sizeof(s));
	memcpy(&s, got.tail, sizeof(s));
	return s;
}

#define STRIPE GUARD, "STRIPE_KEY", "api.stripe.com", 443, RULES_SLOT_HEADER

/* Locked: nothing is given, nothing is lost; wrong passphrases cost time. */
static void test_lock(void **state)
{
	static const char right[] = "correct horse battery staple",
			  wrong[] = "correct horse battery stable";
	struct rpc_admin phrase = {.kind = VAULTREC_WRAP_PASSPHRASE, .passes = 1, .kib = 8192},
			 none = {.kind = 9};
	struct rpc_vault_state s = vault_state();

	(void)state;
	assert_true(s.open && s.there && s.wraps == 1 && s.wrap[0].kind == VAULTREC_WRAP_KEYFILE);
	assert_int_equal(ask_with(RPC_VAULT_REWRAP, &phrase, "short", 5), -EINVAL);
	assert_int_equal(ask_with(RPC_VAULT_REWRAP, &phrase, "two\nlines of it", 15), -EINVAL);
	assert_int_equal(ask_with(RPC_VAULT_REWRAP, &phrase, right, strlen(right)), 0);
	assert_int_equal(got.done.generation, s.generation + 1);
	assert_int_equal(ask(RPC_VAULT_LOCK, NULL, 0, -1), 0);
	s = vault_state();
	assert_true(!s.open && s.there && s.wraps == 1 &&
		    s.wrap[0].kind == VAULTREC_WRAP_PASSPHRASE);
	assert_int_equal(s.wrap[0].kib, 8192);
	assert_int_equal(credential(STRIPE), -ENOKEY);
	assert_int_equal(set("demo", "STRIPE_KEY", "x"), -ENOKEY);
	leaf_key();
	assert_int_equal(leaf(GUARD, "api.stripe.com"), 0); /* so that the refusal can be read */
	assert_int_equal(open_vault(vault_key, 32), -ENOKEY);
	assert_int_equal(ask_with(RPC_VAULT_OPEN, &phrase, wrong, strlen(wrong)), -EKEYREJECTED);
	assert_null(memmem(got.tail, got.tail_len, "stable", 6));
	assert_int_equal(ask_with(RPC_VAULT_OPEN, &phrase, right, strlen(right)), -EAGAIN);
	s = vault_state();
	assert_true(s.wait_ms > 0 && s.wait_ms <= 1000);
	usleep(s.wait_ms * 1000 + 10000);
	assert_int_equal(ask_with(RPC_VAULT_OPEN, &phrase, wrong, strlen(wrong)), -EKEYREJECTED);
	s = vault_state();
	assert_true(s.wait_ms > 1000 && s.wait_ms <= 2000);
	usleep(s.wait_ms * 1000 + 10000);
	assert_int_equal(ask_with(RPC_VAULT_OPEN, &phrase, right, strlen(right)), 0);
	assert_int_equal(credential(STRIPE), 0);
	assert_memory_equal(got.tail, "changed after the lock", 22);
	say(boss, RPC_VAULT_OPEN, 1, &none, sizeof(none),
	    dir); /* no such kind: the contract is broken */
	assert_false(hear(boss));
	assert_int_equal(end(), 0);
	start();
	go();
	assert_int_equal(ask_with(RPC_VAULT_OPEN, &phrase, right, strlen(right)), 0);
	force(3, true);
	guard(GUARD, "demo");
	proxy_new(0);
}

static void test_backup(void **state)
{
	uint8_t bytes[65536];
	int fd = openat(dir, "backup", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ssize_t n;

	(void)state;
	assert_int_equal(ask(RPC_VAULT_BACKUP, NULL, 0, fd), 0);
	n = pread(fd, bytes, sizeof(bytes), 0);
	assert_true(n > 300 && (size_t)n < sizeof(bytes));
	assert_null(memmem(bytes, (size_t)n, "changed after", 13));
	assert_int_equal(set("demo", "STRIPE_KEY", "newer"), 0);
	assert_true(hear(proxy));
	assert_int_equal(got.op, RPC_FORMER);
	bytes[100] ^= 1;
	assert_int_equal(ask_with(RPC_VAULT_RESTORE, NULL, bytes, (size_t)n), -EBADMSG);
	bytes[100] ^= 1;
	assert_int_equal(ask_with(RPC_VAULT_RESTORE, NULL, bytes, (size_t)n - 1), -EBADMSG);
	assert_int_equal(ask(RPC_VAULT_RESTORE, NULL, 0, dir), -EINVAL);
	assert_int_equal(credential(STRIPE), 0);
	assert_memory_equal(got.tail, "newer", 5);
	assert_int_equal(ask_with(RPC_VAULT_RESTORE, NULL, bytes, (size_t)n), 0);
	assert_int_equal(credential(STRIPE), 0);
	assert_memory_equal(got.tail, "changed after the lock", 22);
	close(fd);
	(void)unlinkat(dir, "backup", 0);
}

static void place(enum rpc_place_kind kind, uint16_t op, int fd)
{
	struct rpc_place q = {.workspace = "demo", .kind = kind};

	say(boss, op, 0, &q, sizeof(q), fd);
	sync_boss();
}

static void file_in(int d, const char *name, const char *text)
{
	int fd = openat(d, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* A directory as Kubernetes mounts it; nothing but it is ever read. */
static void test_directory(void **state)
{
	static const char *const made[] = {"mnt/STRIPE_KEY",     "mnt/..data",
					   "mnt/..a/STRIPE_KEY", "mnt/..b/STRIPE_KEY",
					   "mnt/..a/PEM",        "mnt/notes"};
	uint64_t reads = vault_reads();
	struct rpc_secret_ref all = {.workspace = "demo"};
	size_t i;
	int d;

	(void)state;
	assert_int_equal(mkdirat(dir, "mnt", 0755), 0);
	assert_int_equal(mkdirat(dir, "mnt/..a", 0755), 0);
	assert_int_equal(mkdirat(dir, "mnt/..b", 0755), 0);
	d = openat(dir, "mnt", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	file_in(d, "..a/STRIPE_KEY", "first\n");
	file_in(d, "..b/STRIPE_KEY", "second");
	file_in(d, "notes", "x");
	assert_int_equal(symlinkat("..a", d, "..data"), 0);
	assert_int_equal(symlinkat("..data/STRIPE_KEY", d, "STRIPE_KEY"), 0);
	place(RPC_PLACE_MOUNTED, RPC_PLACE_DIR, d);
	assert_int_equal(credential(STRIPE), 0);
	assert_int_equal(got.tail_len, 5);
	assert_memory_equal(got.tail, "first", 5);
	/* The swap: in force with the next read. */
	assert_int_equal(symlinkat("..b", d, "..data_tmp"), 0);
	assert_int_equal(renameat(d, "..data_tmp", d, "..data"), 0);
	assert_int_equal(credential(STRIPE), 0);
	assert_memory_equal(got.tail, "second", 6);
	assert_int_equal(ask(RPC_SECRET_LIST, &all, sizeof(all), -1), 0);
	assert_int_equal(got.tail_len, sizeof("STRIPE_KEY"));
	assert_int_equal(set("demo", "STRIPE_KEY", "x"), -EROFS);
	/* Judged first: nothing is opened for who may not have it. */
	assert_int_equal(
		credential(GUARD, "STRIPE_KEY", "evil.example.com", 443, RULES_SLOT_HEADER),
		-EACCES);
	/* Links that lead out, files that are none, values that cannot be one. */
	assert_int_equal(unlinkat(d, "STRIPE_KEY", 0), 0);
	assert_int_equal(credential(STRIPE), -ENOENT);
	assert_int_equal(symlinkat("/etc/passwd", d, "STRIPE_KEY"), 0);
	assert_int_equal(credential(STRIPE), -EXDEV);
	assert_int_equal(unlinkat(d, "STRIPE_KEY", 0), 0);
	assert_int_equal(symlinkat("../vault.bin", d, "STRIPE_KEY"), 0);
	assert_int_equal(credential(STRIPE), -EXDEV);
	assert_int_equal(unlinkat(d, "STRIPE_KEY", 0), 0);
	assert_int_equal(mkfifoat(d, "STRIPE_KEY", 0644), 0);
	assert_int_equal(credential(STRIPE), -EBADMSG);
	assert_int_equal(unlinkat(d, "STRIPE_KEY", 0), 0);
	file_in(d, "STRIPE_KEY", "two\nlines");
	assert_int_equal(credential(STRIPE), -EINVAL);
	file_in(d, "STRIPE_KEY", "");
	assert_int_equal(credential(STRIPE), -EINVAL);
	assert_int_equal(vault_reads(), reads);
	assert_int_equal(got.stats.dir_reads, 2);
	for (i = 0; i < ARRAY_SIZE(made); i++)
		(void)unlinkat(dir, made[i], 0);
	(void)unlinkat(dir, "mnt/..a", AT_REMOVEDIR);
	(void)unlinkat(dir, "mnt/..b", AT_REMOVEDIR);
	assert_int_equal(unlinkat(dir, "mnt", AT_REMOVEDIR), 0);
	assert_int_equal(credential(STRIPE), -ENOENT); /* and the directory itself is gone */
	close(d);
	place(RPC_PLACE_FILE, RPC_PLACE, -1);
	assert_int_equal(credential(STRIPE), 0);
}

static void want(uint32_t id)
{
	struct rpc_credential q = {.guard = GUARD,
				   .port = 443,
				   .slot = RULES_SLOT_HEADER,
				   .name = "STRIPE_KEY",
				   .host = "api.stripe.com"};

	say(proxy, RPC_CREDENTIAL, id, &q, sizeof(q), -1);
}

static void helper_says(int helper, uint32_t id, int rc, const void *tail, size_t len)
{
	struct rpc_done d = {.rc = rc, .tail_len = (uint32_t)len};

	assert_int_equal(rpc_send(helper, RPC_HELPER_DONE, id, &d, sizeof(d), tail, len, -1), 0);
}

/* A keyring's helper answers, is locked, says nonsense, goes. */
static void test_helper(void **state)
{
	int pair[2];

	(void)state;
	place(RPC_PLACE_SECRET_SERVICE, RPC_PLACE, -1);
	assert_int_equal(credential(STRIPE), -EHOSTDOWN);
	assert_int_equal(set("demo", "STRIPE_KEY", "x"), -EHOSTDOWN);
	assert_non_null(strstr((char *)got.tail, "agentsecrets-secret-service"));
	assert_int_equal(rpc_pair(pair), 0);
	place(RPC_PLACE_SECRET_SERVICE, RPC_PLACE_HELPER, pair[1]);
	close(pair[1]);
	want(5);
	assert_true(hear(pair[0]));
	assert_int_equal(got.op, RPC_HELPER_GET);
	assert_string_equal(got.ref.workspace, "demo");
	assert_string_equal(got.ref.name, "STRIPE_KEY");
	helper_says(pair[0], got.id + 1000, 0, "of nobody", 9); /* dropped */
	helper_says(pair[0], got.id, 0, "from the keyring", 16);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, 0);
	assert_memory_equal(got.tail, "from the keyring", 16);
	/* Two at once, answered the other way round; one is locked. */
	want(6);
	assert_true(hear(pair[0]));
	want(7);
	{
		uint32_t first = got.id;

		assert_true(hear(pair[0]));
		helper_says(pair[0], got.id, -ENOLCK, NULL, 0);
		assert_true(hear(proxy));
		assert_int_equal(got.id, 7);
		assert_int_equal(got.done.rc, -ENOLCK);
		helper_says(pair[0], first, 0, "x\r\ny", 4); /* no value can be that */
	}
	assert_true(hear(proxy));
	assert_int_equal(got.id, 6);
	assert_int_equal(got.done.rc, -EINVAL);
	/* It goes while it is asked. */
	want(8);
	assert_true(hear(pair[0]));
	close(pair[0]);
	assert_true(hear(proxy));
	assert_int_equal(got.id, 8);
	assert_int_equal(got.done.rc, -EHOSTDOWN);
	/* One that breaks the contract is closed; the keeper goes on. */
	assert_int_equal(rpc_pair(pair), 0);
	place(RPC_PLACE_SECRET_SERVICE, RPC_PLACE_HELPER, pair[1]);
	close(pair[1]);
	say(pair[0], RPC_SECRET_SET, 1, &got.ref, sizeof(got.ref), -1);
	assert_false(hear(pair[0]));
	close(pair[0]);
	place(RPC_PLACE_FILE, RPC_PLACE, -1);
	assert_int_equal(credential(STRIPE), 0);
	sync_boss();
	assert_int_equal(got.stats.helper_reads, 1);
}

static void command(bool there, uint32_t ttl_s)
{
	struct rpc_command q = {.workspace = "demo",
				.name = "STRIPE_KEY",
				.there = there,
				.ttl_s = ttl_s,
				.timeout_s = 5};

	say(boss, RPC_COMMAND, 0, &q, sizeof(q), -1);
	sync_boss();
}

/* Plays the parent: the command that was asked for says this, and ends like that. */
static void runs(const char *says, int rc, int status)
{
	struct rpc_command_run q;
	int fd[2];

	assert_true(hear(boss));
	assert_int_equal(got.op, RPC_COMMAND_RUN);
	assert_string_equal(got.run.name, "STRIPE_KEY");
	q = (struct rpc_command_run){.serial = got.run.serial, .rc = rc, .status = status};
	if (says) {
		assert_int_equal(pipe2(fd, O_CLOEXEC | O_NONBLOCK), 0);
		say(boss, RPC_COMMAND_OUTPUT, 0, &q, sizeof(q), fd[0]);
		close(fd[0]);
		assert_int_equal(write(fd[1], says, strlen(says)), (ssize_t)strlen(says));
		close(fd[1]);
	}
	say(boss, RPC_COMMAND_END, 0, &q, sizeof(q), -1);
}

static void test_command(void **state)
{
	uint64_t runs_before;

	(void)state;
	sync_boss();
	runs_before = got.stats.command_runs;
	command(true, 600);
	/* Blocked first: not run. */
	assert_int_equal(
		credential(GUARD, "STRIPE_KEY", "evil.example.com", 443, RULES_SLOT_HEADER),
		-EACCES);
	/* Three at once: run once. */
	want(1);
	want(2);
	want(3);
	runs("said by a command\n", 0, 0);
	for (int i = 0; i < 3; i++) {
		assert_true(hear(proxy));
		assert_int_equal(got.done.rc, 0);
		assert_int_equal(got.tail_len, 17);
	}
	assert_int_equal(credential(STRIPE), 0); /* kept */
	sync_boss();
	assert_int_equal(got.stats.command_runs, runs_before + 1);
	assert_int_equal(got.stats.command_reads, 4);
	/* Not kept: each time. And how it failed is told by number. */
	command(true, 0);
	want(4);
	runs("a", 0, 0);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, 0);
	want(5);
	runs("must not be used", 0, 3);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, -ECHILD);
	assert_int_equal(got.done.status, 3);
	assert_int_equal(got.tail_len, 0);
	assert_int_equal(credential(STRIPE), -ECHILD); /* for a second, without another run */
	command(true, 0);
	want(6);
	runs(NULL, -ENOENT, 0);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, -ECHILD);
	command(true, 0);
	want(7);
	runs("half", -ETIMEDOUT, 256 + 9);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, -ETIMEDOUT);
	command(true, 0);
	want(8);
	runs("", 0, 0);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, -EINVAL);
	/* Taken away while it runs. */
	command(true, 0);
	want(9);
	assert_true(hear(boss));
	command(false, 0);
	assert_true(hear(proxy));
	assert_int_equal(got.done.rc, -ENOENT);
	assert_int_equal(credential(STRIPE), 0); /* the vault's own again */
}

/* ---- tokens, with clocks that are moved ---- */

/* What the keeper says next, news of former values aside. */
static uint16_t next(void)
{
	do
		assert_true(hear(proxy));
	while (got.op == RPC_FORMER);
	return got.op;
}

static uint16_t token(const char *name)
{
	struct rpc_credential q = {.guard = GUARD, .port = 443, .slot = RULES_SLOT_HEADER, .host = "api.example.com"};

	(void)snprintf(q.name, sizeof(q.name), "%s", name);
	say(proxy, RPC_CREDENTIAL, 5, &q, sizeof(q), -1);
	return next();
}

/* Plays the authorization server, for the order that was heard last. */
static void answers(int status, int64_t date, const char *body)
{
	struct rpc_token_reply r = {.number = got.order.number, .status = status, .date = date};

	assert_int_equal(got.op, RPC_TOKEN_ORDER);
	assert_int_equal(rpc_send(proxy, RPC_TOKEN_REPLY, 0, &r, sizeof(r), body, strlen(body), -1), 0);
}

static void is_token(uint16_t op, const char *want_value)
{
	assert_int_equal(op, RPC_CREDENTIAL_VALUE);
	assert_int_equal(got.done.rc, 0);
	assert_int_equal(got.tail_len, strlen(want_value));
	assert_memory_equal(got.tail, want_value, got.tail_len);
}

static void is_refused(uint16_t op)
{
	assert_int_equal(op, RPC_CREDENTIAL_VALUE);
	assert_int_equal(got.done.rc, -EKEYREJECTED);
	assert_int_equal(got.tail_len, 0);
}

static int64_t wall(void)
{
	return (int64_t)(loop_wall_ns() / 1000000000);
}

/* The time that the assertion of an order was made for. */
static int64_t made_for(void)
{
	static const char bearer[] = "\r\nAuthorization: Bearer ";
	uint8_t claims[1024];
	json_t *o;
	int64_t at;
	size_t n;
	char *p;

	assert_int_equal(got.op, RPC_TOKEN_ORDER);
	p = strstr((char *)got.tail, bearer);
	assert_non_null(p);
	p = strchr(p + sizeof(bearer), '.') + 1;
	assert_int_equal(sodium_base642bin(claims, sizeof(claims), p, (size_t)(strchr(p, '.') - p), NULL, &n, NULL,
					   sodium_base64_VARIANT_URLSAFE_NO_PADDING), 0);
	o = json_loadb((char *)claims, n, 0, NULL);
	at = json_integer_value(json_object_get(o, "iat"));
	assert_int_equal(json_integer_value(json_object_get(o, "exp")), at + 360);
	json_decref(o);
	return at + 60;
}

static void near(int64_t a, int64_t b)
{
	if (a < b - 3 || a > b + 3)
		fail_msg("%lld, not %lld", (long long)a, (long long)b);
}

#define CC_TOKEN(value, life) "{\"access_token\":\"" value "\",\"expires_in\":" life "}"

/* A token's life is that of no wall clock: it goes on while the machine sleeps, and no clock that is set moves it. */
static void test_token_life(void **state)
{
	static const int64_t walls[] = {400000000, -400000000, 600, -600};
	(void)state;

	assert_int_equal(set_as("demo", "CC", KIND_OAUTH2_CLIENT, "{\"client_id\":\"a\",\"client_secret\":\"b\"}"), 0);
	assert_int_equal(token("CC"), RPC_TOKEN_ORDER);
	answers(200, 0, CC_TOKEN("one", "600"));
	is_token(next(), "one");
	for (size_t i = 0; i < ARRAY_SIZE(walls); i++) {
		moved[CLOCK_REALTIME] = walls[i];
		is_token(token("CC"), "one");
	}
	/* Asleep for most of its life: used, and another is fetched beside that. */
	moved[CLOCK_BOOTTIME] += 500;
	is_token(token("CC"), "one");
	assert_int_equal(next(), RPC_TOKEN_ORDER);
	/* The new one's life began when it was asked for. */
	moved[CLOCK_BOOTTIME] += 3600;
	answers(200, 0, CC_TOKEN("two", "3600"));
	assert_int_equal(token("CC"), RPC_TOKEN_ORDER);
	answers(200, 0, CC_TOKEN("three", "600"));
	is_token(next(), "three");
	/* Asleep for longer than it lives. */
	moved[CLOCK_BOOTTIME] += 600;
	assert_int_equal(token("CC"), RPC_TOKEN_ORDER);
	answers(200, wall() - 86400000, CC_TOKEN("four", "600")); /* whatever time the server has */
	is_token(next(), "four");
	is_token(token("CC"), "four");
	moved[CLOCK_REALTIME] = 0;
}

static const char *expires(int64_t at, const char *value)
{
	static char text[256];
	char stamp[32];
	time_t t = (time_t)at;

	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
	(void)snprintf(text, sizeof(text), "{\"token\":\"%s\",\"expires_at\":\"%s\"}", value, stamp);
	return text;
}

static void app_key(void)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");
	BIO *b = BIO_new(BIO_s_mem());
	char pem[512];
	int n;

	assert_int_equal(PEM_write_bio_PrivateKey(b, k, NULL, NULL, 0, NULL, NULL), 1);
	n = BIO_read(b, pem, sizeof(pem) - 1);
	assert_true(n > 0);
	pem[n] = '\0';
	assert_int_equal(set_as("demo", "APP", KIND_GITHUB_APP, pem), 0);
	BIO_free(b);
	EVP_PKEY_free(k);
}

/* A server whose clock is not ours says so when it refuses; the next assertion is for its time, and so are those after. */
static void test_token_clock(void **state)
{
	int64_t there = wall() - 3600;
	(void)state;

	app_key();
	assert_int_equal(token("APP"), RPC_TOKEN_ORDER);
	near(made_for(), wall());
	answers(401, there, "{\"message\":\"iat\"}");
	assert_int_equal(next(), RPC_TOKEN_ORDER);
	near(made_for(), there);
	/* Its life is by that clock as well, and an hour at most. */
	answers(201, there, expires(there + 1000, "five"));
	is_token(next(), "five");
	moved[CLOCK_BOOTTIME] += 700;
	is_token(token("APP"), "five");
	moved[CLOCK_BOOTTIME] += 300;
	assert_int_equal(token("APP"), RPC_TOKEN_ORDER);
	near(made_for(), there + 1000);
	answers(201, there + 1000, expires(there + 1000 + 90000, "six"));
	is_token(next(), "six");
	/* Our clock is set, forwards and back: theirs is known all the same. */
	for (int i = 0; i < 2; i++) {
		moved[CLOCK_BOOTTIME] += 3600;
		moved[CLOCK_REALTIME] = i ? -7200 : 7200;
		assert_int_equal(token("APP"), RPC_TOKEN_ORDER);
		near(made_for(), there + 1000 + (i + 1) * 3600);
		answers(201, 0, "{\"token\":\"seven\"}"); /* for ten minutes, then */
		is_token(next(), "seven");
	}
	moved[CLOCK_REALTIME] = 0;
}

/* Asked again once and no more, and for no time that is not to be believed. */
static void test_token_clock_refused(void **state)
{
	static const int64_t off[] = {7200, 0, 10, -20, 3 * 86400, -3 * 86400, 1000000000, -1000000000};
	static uint8_t scratch[RPC_BUF];
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
		app_key(); /* of the server's clock too nothing is known then */
		assert_int_equal(token("APP"), RPC_TOKEN_ORDER);
		near(made_for(), wall());
		answers(401, wall() + off[i], "{}");
		if (i == 0) {
			assert_int_equal(next(), RPC_TOKEN_ORDER);
			answers(401, wall() - 7200, "{}");
		}
		is_refused(next());
		is_refused(token("APP")); /* for a while, without another order */
	}
	app_key();
	assert_int_equal(token("APP"), RPC_TOKEN_ORDER);
	answers(401, 0, "{}"); /* it tells no time */
	is_refused(next());
	/* Kinds without a time in their request are not asked again. */
	assert_int_equal(set_as("demo", "CC", KIND_OAUTH2_CLIENT, "{\"client_id\":\"a\",\"client_secret\":\"b\"}"), 0);
	assert_int_equal(token("CC"), RPC_TOKEN_ORDER);
	answers(401, wall() - 3600, "{}");
	is_refused(next());
	/* No Date is before 1970, or has five digits of a year: such a proxy broke the contract. */
	for (int i = 0; i < 2; i++) {
		app_key();
		assert_int_equal(token("APP"), RPC_TOKEN_ORDER);
		answers(401, i ? -1 : INT64_MAX, "{}");
		assert_false(hear(proxy));
		moved[CLOCK_MONOTONIC] += 13; /* its order has timed out */
		proxy_new(0);
	}
	while (recv(proxy, scratch, sizeof(scratch), MSG_DONTWAIT) > 0) /* the new one was told all that is known */
		;
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
	(void)unlinkat(dir, "vault.old", 0);
	close(dir);
	return rmdir(dir_path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_before_init), cmocka_unit_test(test_init),
		cmocka_unit_test(test_secrets),     cmocka_unit_test(test_documents),
		cmocka_unit_test(test_credentials), cmocka_unit_test(test_proxy_password),
		cmocka_unit_test(test_leaves),
		cmocka_unit_test(test_bad_proxies), cmocka_unit_test(test_audit_keys),
		cmocka_unit_test(test_again),       cmocka_unit_test(test_lock),
		cmocka_unit_test(test_backup),      cmocka_unit_test(test_directory),
		cmocka_unit_test(test_helper),      cmocka_unit_test(test_command),
		cmocka_unit_test(test_token_life),  cmocka_unit_test(test_token_clock),
		cmocka_unit_test(test_token_clock_refused),
		cmocka_unit_test(test_gone),        cmocka_unit_test(test_bad_boss),
	};

	real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	moved = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(real_clock && moved != MAP_FAILED);
	if (geteuid() != 0) {
		(void)fprintf(stderr, "skipped: the keeper changes its user, which needs root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
