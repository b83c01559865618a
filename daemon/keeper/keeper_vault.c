/* keeper_vault.c: the vault is made, opened and taken up; what the keeper needs at hand is taken out once. */
#include "keeper_int.h"

#include "fdio.h"
#include "log.h"

#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define KEEPER_WRONG_MS 60000

int keeper_need_vault(const struct keeper *k, struct err *e)
{
	return k->vault
		       ? 0
		       : err_set(e, -ENOKEY,
				 "the vault is locked; unlock it with: agentsecrets vault unlock. If there is none, "
				 "run: agentsecrets init");
}

/* After each change of the vault. */
void keeper_warn(const struct keeper *k)
{
	if (vault_warning(k->vault))
		log_warn("%s", vault_warning(k->vault));
}

/* What the keeper needs at hand is taken out; the vault is taken up only when all of it is there. */
static int keeper_take_vault(struct keeper *k, struct vault **v, struct err *e)
{
	auto_(secret) struct secret *sign = NULL;
	auto_(secret) struct secret *audit = NULL;
	auto_(secret) struct secret *saved = NULL;
	auto_(ca) struct ca *ca = NULL;
	int rc = vault_read(*v, VAULTREC_SIGNING_KEY, "", "", &sign, e);

	if (rc == 0)
		rc = vault_read(*v, VAULTREC_AUDIT, "", "", &audit, e);
	if (rc == 0)
		rc = vault_read(*v, VAULTREC_CA, "", "", &saved, e);
	if (rc == 0)
		rc = ca_load(secret_view(saved), secret_len(saved), &ca, e);
	if (rc == 0 && (secret_len(sign) != SIGN_KEY_LEN || secret_len(audit) != VAULTREC_KEY_LEN))
		rc = err_set(e, -EBADMSG, "the vault's own keys have a wrong length");
	if (rc < 0)
		return err_in(e, rc, "the vault opens, but is not complete");
	k->vault = vault_free(k->vault);
	k->signing_key = secret_free(k->signing_key);
	k->audit_key = secret_free(k->audit_key);
	k->ca = ca_free(k->ca);
	sign_public(secret_view(sign), k->public_key);
	if (!secret_locked(sign))
		log_warn(
			"RLIMIT_MEMLOCK is used up: secrets may be swapped to disk; raise LimitMEMLOCK");
	k->vault = take(*v);
	k->signing_key = take(sign);
	k->audit_key = take(audit);
	k->ca = take(ca);
	keeper_prints_all(k, NULL);
	return 0;
}

static int keeper_random(size_t len, struct secret **ret, struct err *e)
{
	struct secret *s = NULL;
	int rc = secret_new(len, &s, e);

	if (rc < 0)
		return rc;
	randombytes_buf(secret_bytes(s), len);
	*ret = s;
	return 0;
}

static int keeper_new_signing_key(struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *s = NULL;
	uint8_t pub[SIGN_PUBLIC_LEN];
	int rc = secret_new(SIGN_KEY_LEN, &s, e);

	if (rc < 0)
		return rc;
	if (sign_keypair(pub, secret_bytes(s)) < 0)
		return err_set(e, -EIO, "cannot make a signing key");
	*ret = take(s);
	return 0;
}

static int keeper_new_ca(struct secret **ret, struct err *e)
{
	auto_(ca) struct ca *ca = NULL;
	int rc = ca_new((int64_t)(loop_wall_ns() / 1000000000), &ca, e);

	return rc < 0 ? rc : ca_save(ca, ret, e);
}

static int keeper_make_vault(struct keeper *k, const struct vault_key *key, struct vault **ret,
			     struct err *e)
{
	auto_(secret) struct secret *sign = NULL;
	auto_(secret) struct secret *audit = NULL;
	auto_(secret) struct secret *ca = NULL;
	int rc = keeper_new_signing_key(&sign, e);

	if (rc == 0)
		rc = keeper_random(VAULTREC_KEY_LEN, &audit, e);
	if (rc == 0)
		rc = keeper_new_ca(&ca, e);
	if (rc == 0) {
		const struct vault_item items[] = {
			{VAULTREC_SIGNING_KEY, sign}, {VAULTREC_CA, ca}, {VAULTREC_AUDIT, audit}};

		rc = vault_create(k->vault_dir, key, items, ARRAY_SIZE(items), NULL, ret, e);
	}
	return rc;
}

/* ---- what the boss asks ---- */

static bool keeper_admin_ok(const struct keeper *k, const struct rpc_admin *q)
{
	return k->vault_dir >= 0 && q->kind >= VAULTREC_WRAP_KEYFILE &&
	       q->kind <= VAULTREC_WRAP_CREDENTIAL;
}

/* The key or the passphrase, straight from its file or pipe; *bytes is what *ret points to. */
static int keeper_read_key(const struct rpc_admin *q, int fd, struct secret **bytes,
			   struct vault_key *ret, struct err *e)
{
	bool phrase = q->kind == VAULTREC_WRAP_PASSPHRASE;
	int rc = secret_read_fd(fd, phrase ? VAULT_PHRASE_MAX : VAULT_KEY_LEN,
				phrase ? 0 : SECRET_RAW, KEEPER_VALUE_MS, bytes, e);

	if (rc < 0)
		return err_in(e, rc, "the %s",
			      phrase                                ? "passphrase"
			      : q->kind == VAULTREC_WRAP_CREDENTIAL ? "credential"
								    : "key file");
	*ret = (struct vault_key){.kind = (enum vaultrec_wrap_kind)q->kind,
				  .bytes = *bytes,
				  .cost = {.passes = q->passes, .kib = q->kib}};
	return 0;
}

int keeper_vault_init(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *bytes = NULL;
	auto_(vault) struct vault *v = NULL;
	struct vault_key key = {0};
	struct keeper *k = ctx;
	struct err e = {0};
	int rc = 0;

	(void)peer;
	if (!keeper_admin_ok(k, q))
		return -EPROTO;
	if (k->vault)
		rc = err_set(&e, -EEXIST, "there is a vault already; nothing was touched");
	if (rc == 0)
		rc = keeper_read_key(q, m->fd, &bytes, &key, &e);
	if (rc == 0)
		rc = keeper_make_vault(k, &key, &v, &e);
	if (rc == 0)
		rc = keeper_take_vault(k, &v, &e);
	if (rc == 0)
		keeper_warn(k);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

/* A wrong passphrase costs time, twice as much each time, up to a minute: not the guesser's, but ours to give. */
static void keeper_wrong(struct keeper *k, int rc)
{
	if (rc != -EKEYREJECTED) {
		k->wrong = rc == 0 ? 0 : k->wrong;
		return;
	}
	k->again_ms = loop_now_ms() + (k->wrong < 6 ? 1000ULL << k->wrong : KEEPER_WRONG_MS);
	k->wrong++;
	log_warn("a wrong passphrase was given, %u in a row", k->wrong);
}

static int keeper_open_file(struct keeper *k, const struct rpc_admin *q,
			    const struct vault_key *key, struct err *e)
{
	auto_(vault) struct vault *v = NULL;
	int rc = vault_open(k->vault_dir, key, NULL, &v, e);

	if (key->kind == VAULTREC_WRAP_PASSPHRASE)
		keeper_wrong(k, rc);
	if (rc < 0)
		return rc;
	if (vault_generation(v) < q->seen)
		return err_set(
			e, -ESTALE,
			"the vault file is an older copy (its change %llu; there was a change %llu). Nothing was "
			"touched: stop the daemon and put the newest file back (vault.bak?), or, to go back "
			"knowingly, remove vault.seen from the state directory",
			(unsigned long long)vault_generation(v), (unsigned long long)q->seen);
	return keeper_take_vault(k, &v, e);
}

int keeper_vault_open(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *bytes = NULL;
	struct vault_key key = {0};
	struct keeper *k = ctx;
	uint64_t now = loop_now_ms();
	struct err e = {0};
	int rc = 0;

	(void)peer;
	if (!keeper_admin_ok(k, q))
		return -EPROTO;
	if (q->kind == VAULTREC_WRAP_PASSPHRASE && now < k->again_ms)
		rc = err_set(&e, -EAGAIN,
			     "a wrong passphrase was given before; wait %llu s and try again",
			     (unsigned long long)(k->again_ms - now + 999) / 1000);
	if (rc == 0)
		rc = keeper_read_key(q, m->fd, &bytes, &key, &e);
	if (rc == 0)
		rc = keeper_open_file(k, q, &key, &e);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

int keeper_vault_rewrap(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *bytes = NULL;
	struct vault_key key = {0};
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_admin_ok(k, q))
		return -EPROTO;
	rc = keeper_need_vault(k, &e);
	if (rc == 0)
		rc = keeper_read_key(q, m->fd, &bytes, &key, &e);
	if (rc == 0)
		rc = vault_rewrap(k->vault, &key, &e);
	if (rc == 0)
		keeper_warn(k);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

int keeper_vault_lock(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;
	struct err e = {0};

	(void)peer;
	k->vault = vault_free(k->vault);
	k->signing_key = secret_free(k->signing_key);
	k->audit_key = secret_free(k->audit_key);
	backends_forget(&k->backends);
	return keeper_answer(k, m, 0, &e, NULL, 0);
}

int keeper_vault_state(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct rpc_vault_state s = {0};
	struct vault_facts facts = {0};
	struct keeper *k = ctx;
	uint64_t now = loop_now_ms();
	struct err e = {0};
	uint32_t i;
	int rc = 0;

	(void)peer;
	if (k->vault)
		vault_facts(k->vault, &facts);
	else
		rc = vault_peek(k->vault_dir, &facts, &e);
	if (rc < 0 && rc != -ENOENT)
		return keeper_answer(k, m, rc, &e, NULL, 0);
	s.open = k->vault != NULL;
	s.there = rc == 0;
	s.generation = facts.generation;
	s.records = facts.records;
	s.wait_ms = now < k->again_ms ? (uint32_t)(k->again_ms - now) : 0;
	s.wraps = (uint8_t)facts.wraps;
	for (i = 0; i < facts.wraps; i++) {
		s.wrap[i].kind = facts.wrap[i].kind;
		s.wrap[i].passes = facts.wrap[i].cost.passes;
		s.wrap[i].kib = facts.wrap[i].cost.kib;
	}
	return keeper_answer(k, m, 0, &e, &s, sizeof(s));
}

/* Neither a pipe nor a device, on which we would wait. */
static int keeper_regular(int fd, struct err *e)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
		       ? 0
		       : err_set(e, -EINVAL, "that is not a regular file");
}

int keeper_vault_backup(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;
	struct err e = {0};
	const uint8_t *image;
	size_t len;
	int rc = keeper_need_vault(k, &e);

	(void)peer;
	if (rc == 0)
		rc = keeper_regular(m->fd, &e);
	if (rc == 0) {
		image = vault_image(k->vault, &len);
		rc = fdio_write(m->fd, image, len);
		if (rc == 0 && fsync(m->fd) < 0)
			rc = -errno;
		if (rc < 0)
			(void)err_set(&e, rc, "cannot write the backup: %s", strerror(-rc));
	}
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

int keeper_vault_restore(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	auto_free char *image = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	size_t len = 0;
	int rc = keeper_need_vault(k, &e);

	(void)peer;
	if (rc == 0)
		rc = keeper_regular(m->fd, &e);
	if (rc == 0) {
		rc = fdio_read_all(m->fd, VAULTREC_FILE_MAX, &image, &len);
		if (rc < 0)
			(void)err_set(&e, rc, "cannot read the backup: %s", strerror(-rc));
	}
	if (rc == 0)
		rc = vault_restore(k->vault, (const uint8_t *)image, len, &e);
	if (rc == 0)
		keeper_warn(k);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}
