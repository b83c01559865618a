/* hopname.h: where the corporate proxy is (upstream.proxy of the configuration), when that is a name. Private to the
 * resolver.
 *
 * No guard's rules are asked, since no guard asks: the operator has named it. So its answer makes no lease, stands in no
 * guard's cache and opens nothing to agents. Its addresses may be what a rule with `private` opens.
 */
#ifndef HOPNAME_H
#define HOPNAME_H

#include "resolver.h"

/* Answers RPC_RESOLVE_PROXY, now or later. f stays the caller's. */
void hopname_ask(struct resolver *r, const struct from *f);

#endif
