/* sign.h: Ed25519 over a workspace's document, detached; and hex.
 *
 * Used by the keeper (makes keys, signs), the parent and the CLI (verify). Pure but for the randomness
 * of sign_keypair(). Key bytes belong in a struct secret; a caller without one wipes them.
 */
#ifndef SIGN_H
#define SIGN_H

#include "own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIGN_PUBLIC_LEN 32
#define SIGN_KEY_LEN    64 /* RFC 8032 private key, then the public key */
#define SIGN_SIG_LEN    64
#define SIGN_SEED_LEN   32

/* Once per process that will lock itself: the library seeds itself now, not later. */
int sign_start(void) must_check;

int sign_keypair(uint8_t pub[SIGN_PUBLIC_LEN], uint8_t key[SIGN_KEY_LEN]) must_check;
void sign_public(const uint8_t key[SIGN_KEY_LEN], uint8_t pub[SIGN_PUBLIC_LEN]);

int sign_make(const uint8_t key[SIGN_KEY_LEN], const void *doc, size_t len,
	      uint8_t sig[SIGN_SIG_LEN]) must_check;
/* 0, or -EBADMSG. */
int sign_verify(const uint8_t pub[SIGN_PUBLIC_LEN], const void *doc, size_t len,
		const uint8_t sig[SIGN_SIG_LEN]) must_check;

/* Lower-case hex and a NUL: 2 * len + 1 bytes at out. */
void sign_hex(const void *p, size_t len, char *out);
/* Exactly 2 * want hex digits (either case) at text; -EINVAL for anything else, out untouched then. */
int sign_unhex(const char *text, size_t text_len, uint8_t *out, size_t want) must_check;

#endif
