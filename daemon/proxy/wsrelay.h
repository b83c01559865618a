/* wsrelay.h: a WebSocket between agent and upstream, once the upstream has said 101.
 *
 * Frames go both ways as they come, each written from what was parsed (ws.h). What comes from the upstream is searched as
 * bodies are (redact.h), message by message, whatever frames a message is cut into, and finds are masked where they stand:
 * no frame changes its length. Extensions are not offered to the upstream, so nothing is compressed. A live connection has
 * no deadline; TCP's keepalive looks after it.
 */
#ifndef WSRELAY_H
#define WSRELAY_H

#include "conn.h"

struct wsrelay;

/* The 101 has been written to agent.out: state WEBSOCKET. -ENOMEM. */
int wsrelay_begin(struct conn *c) must_check;
/* One step of it. True: the state changed. */
bool wsrelay_step(struct conn *c);
/* Ends it: the agent gets a Close with code 1008 where a frame may stand. */
void wsrelay_forbid(struct conn *c, enum reason why, const char *detail);
bool wsrelay_wants_agent(const struct conn *c);
bool wsrelay_wants_upstream(const struct conn *c);
struct wsrelay *wsrelay_free(struct wsrelay *w);

#endif
