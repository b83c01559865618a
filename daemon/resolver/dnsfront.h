/* dnsfront.h: the resolver's side towards guarded processes: DNS over UDP and TCP. Private to
 * the resolver. */
#ifndef DNSFRONT_H
#define DNSFRONT_H

#include "resolver.h"

/* Answers to who asked by DNS; nothing happens when that connection or listener is gone. */
void dnsfront_rcode(struct resolver *r, const struct from *f, enum dnsmsg_rcode rcode);
void dnsfront_negative(struct resolver *r, const struct from *f, enum dnsmsg_rcode rcode,
		       uint32_t ttl);
void dnsfront_addresses(struct resolver *r, const struct from *f, const uint8_t (*addr)[16],
			size_t count, uint32_t ttl);
/* The client connects to the sinkhole, where the proxy tells it what was refused and why. */
void dnsfront_sinkhole(struct resolver *r, const struct from *f, uint32_t ttl);

/* A query of a connection waits for its answer; it waits no more, whether it was answered or
 * not. */
void dnsfront_waits(struct resolver *r, const struct from *f);
void dnsfront_answered(struct resolver *r, const struct from *f);

/* A listener of a guard; takes fd. */
int dnsfront_listen(struct resolver *r, const struct rpc_listener *is, int *fd) must_check;
void dnsfront_unlisten(struct resolver *r, const struct rpc_listener *is);
/* The guard goes: its listeners and connections are closed. */
void dnsfront_forget(struct resolver *r, const struct guard *g);

/* Once per turn: when it wants to be called again, 0: not by time. */
uint64_t dnsfront_turn(struct resolver *r, uint64_t now);
/* Is there something left for the next turn, which must come at once. */
bool dnsfront_busy(const struct resolver *r);

/* loop handlers */
void dnsfront_on_udp(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);
void dnsfront_on_tcp(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);
void dnsfront_on_conn(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);

#endif
