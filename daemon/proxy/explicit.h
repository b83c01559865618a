/* explicit.h: what clients ask of the explicit port itself: CONNECT, a request in absolute-form, /proxy and /health.
 *
 * The kernel's record says that a connection was dialled to 127.0.0.1 at that port (conn.explicit). After a CONNECT what
 * comes on it is judged as on a redirected connection, with the CONNECT's target in place of the dialled address.
 */
#ifndef EXPLICIT_H
#define EXPLICIT_H

#include "conn.h"
#include "reason.h"

#include "../../bpf/egress.h"

bool explicit_dialled(const struct config *cfg, const struct eg_record *rec);

/* A request outside of a CONNECT, parsed, its meaning known. REASON_NONE with exchange.ours: that is the answer. Without:
 * the request is judged on, request.via says how it came; /proxy has become the request that it stands for. */
enum reason explicit_request(struct conn *c);

/* Does a /proxy request put something into its body? */
bool explicit_wants_body(const struct conn *c);
/* Then, with the whole body in exchange.hold: the references are put there, and what they need is added to request.refs,
 * so that a secret that may not stand in bodies is refused. */
enum reason explicit_body(struct conn *c);

/* The decision that allows a CONNECT is recorded: the target counts from now on. */
void explicit_connect(struct conn *c);

#endif
