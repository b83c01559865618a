/* audit_in.h: the chain, as the writer (audit.c) and the verifier (audit_verify.c) know it.
 *
 *	mac(n) || k(n+1) = BLAKE2b-512(key k(n); mac(n-1) || line up to `,"mac"`)	mac(0) = 32 zero bytes
 *
 * Half of the hash is published, the other half is the next line's key: a keyed BLAKE2b is a pseudo-random
 * function, so who knows one half learns nothing of the other, nor of k(n), which is forgotten.
 */
#ifndef AUDIT_IN_H
#define AUDIT_IN_H

#include "audit.h"

#include <sodium.h>
#include <string.h>

#define AUDIT_KEY_LEN	 32
#define AUDIT_MAC_LEN	 32
#define AUDIT_EPOCH_LEN	 16
#define AUDIT_WRITER_MAX 16 /* with NUL */

/* The mac of a line, and the key moved on. */
static inline void audit_step(uint8_t key[AUDIT_KEY_LEN], uint8_t mac[AUDIT_MAC_LEN], const void *line,
		       size_t len)
{
	crypto_generichash_state st;
	uint8_t both[AUDIT_MAC_LEN + AUDIT_KEY_LEN];

	(void)crypto_generichash_init(&st, key, AUDIT_KEY_LEN, sizeof(both));
	(void)crypto_generichash_update(&st, mac, AUDIT_MAC_LEN);
	(void)crypto_generichash_update(&st, line, len);
	(void)crypto_generichash_final(&st, both, sizeof(both));
	memcpy(mac, both, AUDIT_MAC_LEN);
	memcpy(key, both + AUDIT_MAC_LEN, AUDIT_KEY_LEN);
	sodium_memzero(both, sizeof(both));
	sodium_memzero(&st, sizeof(st));
}

/* A writer's name. */
static inline bool audit_writer_ok(const char *w, size_t len)
{
	size_t i;

	if (len == 0 || len >= AUDIT_WRITER_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (!(w[i] >= 'a' && w[i] <= 'z') && !(w[i] >= '0' && w[i] <= '9') && w[i] != '-')
			return false;
	return true;
}

#endif
