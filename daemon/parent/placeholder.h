/* placeholder.h: makes placeholders (rules.h): strings that look like a secret and stand for it. Pure; randomness
 * comes in as bytes. */
#ifndef PLACEHOLDER_H
#define PLACEHOLDER_H

#include "err.h"
#include "rules.h"

#define PLACEHOLDER_RANDOM 64 /* bytes that one uses up at most */

/* wish: "auto:PREFIX" is the prefix and 36 random letters and digits (214 bits; so "auto:ghp_" is as long as a real
 * one); "auto" the same without a prefix; "auto:jwt" three parts of base64url, as a JSON Web Token has, with 256
 * random bits; "none" is none, ""; anything else is the placeholder itself, checked by rules_put(). */
int placeholder_make(const char *wish, const uint8_t random[PLACEHOLDER_RANDOM],
		     char out[RULES_PLACEHOLDER_MAX], struct err *e) must_check;

#endif
