/* foreign.h: does a request carry a credential that is not of this workspace.
 *
 * Told by where it stands: the field Authorization and a list of others that carry nothing but keys (X-Api-Key,
 * Private-Token, ...), parameters named like them (access_token, api_key, ...); and by what it looks like: the
 * beginnings by which providers mark their tokens, and JSON Web Tokens, anywhere in fields and target. Not foreign is
 * a field or parameter that a reference or placeholder stands in, or that a rule writes; whatever is signed in the
 * keeper; Cookie, since sessions are not ours to judge; and what is not forwarded (Proxy-Authorization). Bodies are
 * not looked at: people write about tokens. Pure.
 */
#ifndef FOREIGN_H
#define FOREIGN_H

#include "inject.h"

/* Where the first one stands, in our words; NULL: there is none. */
const char *foreign_find(const struct http1_head *h, const struct http1_meaning *m,
			 const struct inject_scan *s);

#endif
