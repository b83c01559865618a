/* vaultlock.c: see vaultlock.h, and vaultrec.h for how a wrap is made. */
#include "vaultlock.h"

#include <sodium.h>
#include <string.h>

static const char *kind_word(unsigned int kind)
{
	switch (kind) {
	case VAULTREC_WRAP_KEYFILE:
		return "key file";
	case VAULTREC_WRAP_PASSPHRASE:
		return "passphrase";
	case VAULTREC_WRAP_CREDENTIAL:
		return "credential";
	default:
		return "way that this version does not know";
	}
}

int vaultlock_key_ok(const struct vault_key *key, bool made, struct err *e)
{
	size_t len = secret_len(key->bytes);

	if (key->kind == VAULTREC_WRAP_PASSPHRASE) {
		if (len > VAULT_PHRASE_MAX)
			return err_set(e, -EINVAL, "a passphrase has at most %d bytes",
				       VAULT_PHRASE_MAX);
		if (made && len < VAULT_PHRASE_MIN)
			return err_set(e, -EINVAL,
				       "a passphrase has at least %d bytes; take several words",
				       VAULT_PHRASE_MIN);
		if (made && !vaultrec_cost_ok(&key->cost))
			return err_set(
				e, -EINVAL,
				"a passphrase may cost 1 pass or more over %u to %u MiB, together (passes × MiB) at "
				"most %u",
				VAULTREC_KIB_MIN >> 10, VAULTREC_KIB_MAX >> 10,
				VAULTREC_COST_MAX >> 10);
		return 0;
	}
	if (len != VAULT_KEY_LEN)
		return err_set(e, -EINVAL, "a %s has %d bytes, this one %zu: it is another file",
			       kind_word(key->kind), VAULT_KEY_LEN, len);
	return 0;
}

/* The key that a wrap is sealed under, from what opens it and the wrap's params. */
static int wrapping_key(const struct vault_key *key, const struct vaultrec_wrap *wrap,
			struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *s = NULL;
	struct vaultrec_cost cost;
	const uint8_t *salt;
	int rc = secret_new(VAULTREC_KEY_LEN, &s, e);

	if (rc < 0)
		return rc;
	if (key->kind != VAULTREC_WRAP_PASSPHRASE) {
		memcpy(secret_bytes(s), secret_view(key->bytes), VAULTREC_KEY_LEN);
	} else {
		rc = vaultrec_params_parse(wrap, &cost, &salt);
		if (rc < 0)
			return err_set(
				e, rc,
				"the cost of the passphrase that the vault names is not one that this "
				"program pays; nothing was touched");
		rc = vaultrec_stretch(secret_view(key->bytes), secret_len(key->bytes), &cost, salt,
				      secret_bytes(s));
		if (rc < 0)
			return err_set(e, rc, "there are not %u MiB of memory for the passphrase",
				       cost.kib >> 10);
	}
	*ret = take(s);
	return 0;
}

static int unwrap(const struct vaultrec_head *head, const struct vault_key *key,
		  const struct vaultrec_wrap *wrap, struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *master = NULL;
	auto_(secret) struct secret *over = NULL;
	int rc = secret_new(VAULTREC_KEY_LEN, &master, e);

	if (rc == 0)
		rc = wrapping_key(key, wrap, &over, e);
	if (rc < 0)
		return rc;
	if (vaultrec_unwrap(secret_view(over), head, wrap, secret_bytes(master)) < 0)
		return err_set(
			e, -EKEYREJECTED,
			key->kind == VAULTREC_WRAP_PASSPHRASE
				? "this is not the passphrase that the vault was locked with (or its cost was "
				  "altered in the file). Nothing was touched"
				: "this %s is not the one the vault was locked with; put the right "
				  "one back. Nothing was touched",
			kind_word(key->kind));
	*ret = take(master);
	return 0;
}

int vaultlock_open(const struct vaultrec_head *head, const struct vault_key *key,
		   struct secret **ret, struct err *e)
{
	uint32_t i;
	int rc = -ENOKEY;

	for (i = 0; i < head->wrap_count && (rc == -ENOKEY || rc == -EKEYREJECTED); i++)
		if (head->wraps[i].kind == key->kind)
			rc = unwrap(head, key, &head->wraps[i], ret, e);
	if (rc == -ENOKEY)
		return err_set(e, rc, "the vault is not locked by a %s, but by a %s",
			       kind_word(key->kind), kind_word(head->wraps[0].kind));
	return rc;
}

int vaultlock_make(const struct vaultrec_head *head, const struct vault_key *key,
		   const struct secret *master, uint8_t buf[VAULTLOCK_WRAP_LEN],
		   struct vaultrec_wrap *ret, struct err *e)
{
	uint8_t salt[VAULTREC_SALT_LEN], *sealed = buf;
	auto_(secret) struct secret *over = NULL;
	struct wr w = wr_of(buf, VAULTREC_PARAMS_LEN);
	struct vaultrec_wrap wrap = {.kind = (uint8_t)key->kind, .params = buf};
	int rc;

	if (key->kind == VAULTREC_WRAP_PASSPHRASE) {
		randombytes_buf(salt, sizeof(salt));
		vaultrec_params_write(&w, &key->cost, salt);
		wrap.params_len = (uint16_t)w.len;
		sealed += w.len;
	}
	rc = wrapping_key(key, &wrap, &over, e);
	if (rc < 0)
		return rc;
	randombytes_buf(sealed, VAULTREC_NONCE_LEN);
	wrap.sealed = sealed;
	wrap.sealed_len = VAULTREC_WRAPPED_LEN;
	vaultrec_wrap(secret_view(over), head, &wrap, secret_view(master), sealed);
	*ret = wrap;
	return 0;
}
