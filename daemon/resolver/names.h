/* names.h: one name under way for one guard: found, judged, leased, kept, answered. Private to
 * the resolver. */
#ifndef NAMES_H
#define NAMES_H

#include "resolver.h"

/* May this address be used, where the rule that counts is `private` or not. by_address: it names
 * the address. */
bool names_may_use(const struct resolver *r, const uint8_t addr[16], bool private, bool by_address);

/* Is the name one that the guard's rules allow; *ret_private: by any of them, also at private
 * addresses. */
bool names_allowed(const struct guard *g, const char *host, bool *ret_private);

/* Is it an allowed name with a search domain behind it? Then the client must hear that there is
 * no such name, so that it goes on to the name itself. */
bool names_searched(const struct guard *g, const char *host);

/* Answers f, which asks for an allowed host, now or later. f stays the caller's; what has to
 * wait is a copy. */
void names_ask(struct resolver *r, struct guard *g, const char *host, const struct from *f);

/* The parent has put a lease of this id into the kernel's map. */
void names_leased(struct resolver *r, uint32_t id);

/* The guard goes: its lookups are cut loose and end in nothing. */
void names_orphan(struct guard *g);

/* Answers those that have waited for a lease long enough. When the next one has, 0: none. */
uint64_t names_turn(struct resolver *r, uint64_t now);

#endif
