/* keeper_vault.c: the vault is made, opened and taken up; what the keeper needs at hand is taken out once. */
#include "keeper_int.h"

#include "log.h"

#include <sodium.h>

int keeper_need_vault(const struct keeper *k, struct err *e)
{
	return k->vault
		       ? 0
		       : err_set(e, -ENOKEY,
				 "the vault is not open; if there is none, run: agentsecrets init");
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

static int keeper_make_vault(struct keeper *k, const struct secret *key, struct vault **ret,
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

int keeper_vault_init(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *key = NULL;
	auto_(vault) struct vault *v = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc = 0;

	(void)peer;
	if (q->vault_key_fd_kind != 0 || k->vault_dir < 0)
		return -EPROTO;
	if (k->vault)
		rc = err_set(&e, -EEXIST, "there is a vault already; nothing was touched");
	if (rc == 0)
		rc = keeper_random(VAULT_KEY_LEN, &key, &e);
	if (rc == 0)
		rc = keeper_make_vault(k, key, &v, &e);
	if (rc == 0)
		rc = keeper_take_vault(k, &v, &e);
	if (rc < 0)
		return keeper_answer(k, m, rc, &e, NULL, 0);
	keeper_warn(k);
	return keeper_answer(k, m, 0, &e, secret_view(key), secret_len(key));
}

int keeper_vault_open(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *key = NULL;
	auto_(vault) struct vault *v = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (q->vault_key_fd_kind != 0 || k->vault_dir < 0)
		return -EPROTO;
	rc = secret_read_fd(m->fd, VAULT_KEY_LEN, SECRET_RAW, KEEPER_VALUE_MS, &key, &e);
	if (rc < 0)
		(void)err_in(&e, rc, "the key file");
	if (rc == 0)
		rc = vault_open(k->vault_dir, key, NULL, &v, &e);
	if (rc == 0)
		rc = keeper_take_vault(k, &v, &e);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}
