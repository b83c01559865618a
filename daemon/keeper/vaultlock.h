/* vaultlock.h: what opens a vault: its master key, wrapped under a key file's or a credential's 32 bytes, or under a
 * passphrase (vaultrec.h). sodium_init() was called. No I/O; sentences say what to do.
 */
#ifndef VAULTLOCK_H
#define VAULTLOCK_H

#include "err.h"
#include "secret.h"
#include "vaultrec.h"

#define VAULT_KEY_LEN    VAULTREC_KEY_LEN
#define VAULT_PHRASE_MIN 8
#define VAULT_PHRASE_MAX 1024

#define VAULTLOCK_WRAP_LEN (VAULTREC_PARAMS_LEN + VAULTREC_WRAPPED_LEN) /* of a wrap as made here */

/* What opens a wrap. */
struct vault_key {
	enum vaultrec_wrap_kind kind;
	const struct secret *bytes; /* VAULT_KEY_LEN; a passphrase: 1 to VAULT_PHRASE_MAX */
	struct vaultrec_cost cost;  /* of a passphrase, where a wrap is made */
};

/* Its length, and for a wrap that is to be `made` with it also that it is worth something. -EINVAL. */
int vaultlock_key_ok(const struct vault_key *key, bool made, struct err *e) must_check;

/* The master key out of the head's wraps. -EKEYREJECTED another key, -ENOKEY no wrap of this kind. */
int vaultlock_open(const struct vaultrec_head *head, const struct vault_key *key,
		   struct secret **ret, struct err *e) must_check;

/* One wrap of the master key, for this head; *ret points into buf. */
int vaultlock_make(const struct vaultrec_head *head, const struct vault_key *key,
		   const struct secret *master, uint8_t buf[VAULTLOCK_WRAP_LEN],
		   struct vaultrec_wrap *ret, struct err *e) must_check;

#endif
