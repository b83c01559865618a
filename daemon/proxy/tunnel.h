/* tunnel.h: TLS that is not opened: its SNI is judged, then bytes are relayed both ways.
 *
 *	TUNNEL_RESOLVE ─► TUNNEL_RECORD ─► TUNNEL_DIAL ─► TUNNEL
 *	        └───────(refused)─┴─► LINGER ◄──┘
 *
 * For rules of mode `tunnel`. The order is that of a request: rule, address, decision in the audit log, and only then
 * is anything dialled. The ClientHello that was judged goes up byte for byte, since it was only peeked at; after that
 * nothing is looked at any more, and no credential is ever put in. The outcome line has the bytes of both directions.
 * A refused client gets a TLS alert: it would not take a certificate of ours.
 */
#ifndef TUNNEL_H
#define TUNNEL_H

#include "conn.h"
#include "route.h"

struct tunnel;

/* Takes over a connection in whose name c->sni route_open() has found a rule of mode tunnel. The hello is still unread
 * in the socket; bytes that were read already (after a CONNECT) stand in c->agent.in and go up first. ech: the hello
 * has encrypted_client_hello, so that the SNI may be a cover: refused. */
void tunnel_begin(struct conn *c, const struct route *r, bool ech);
/* One step of the states TUNNEL_RESOLVE to TUNNEL. True: the state changed, go on. */
bool tunnel_step(struct conn *c);
void tunnel_timeout(struct conn *c);
/* The decision is in the audit log (rc 0), or cannot be written. */
void tunnel_recorded(struct conn *c, int rc);
/* The workspace has other rules now: one that they do not open any more ends. */
void tunnel_judge_again(struct conn *c);
/* In state TUNNEL: what epoll is asked about both sides. -errno: it must be closed. */
int tunnel_arm(struct conn *c) must_check;
/* Its end: the outcome is recorded, everything is let go. why: when it had no end of its own. */
void tunnel_end(struct conn *c, enum reason why);

#endif
