/* origin.h: which addresses an upstream may have, in user space.
 *
 * The classes come from bpf/policy.h, which the kernel side uses too; here the rest of the IANA
 * special-purpose registries (RFC 6890 and later) is added, since a name we resolved must not lead
 * anywhere that is not globally reachable. Addresses are 16 bytes, IPv4 as v4-mapped.
 * Pure: no I/O, no allocation.
 */
#ifndef ORIGIN_H
#define ORIGIN_H

#include "config.h"

#include <stdbool.h>
#include <stdint.h>

/* NULL when the address is public (or named in c's treat_as_public; c may be NULL); else the word for what it is:
 * "loopback", "private", "link_local", "metadata", "multicast", "reserved", "documentation",
 * "benchmarking", "sinkhole". IPv4 inside IPv6 (mapped, compatible, NAT64 64:ff9b::/96 and 64:ff9b:1::/48,
 * 6to4, Teredo, ISATAP) is judged by the IPv4 address within. */
const char *origin_special(const struct config *c, const uint8_t addr[16]);

/* May a rule with "private" open it: private, loopback, link-local, yes; metadata, documentation and
 * benchmarking never by a name, only by a rule for the address itself; multicast, reserved and sinkhole
 * never. Public addresses are open. */
bool origin_openable(const uint8_t addr[16], bool by_address);

/* Is the whole prefix documentation or benchmarking, and without the sinkhole: fit for treat_as_public. */
bool origin_test_net(const struct config_net *net);

/* v4-mapped form of an IPv4 address in network order. */
void origin_of_v4(const void *v4, uint8_t out[16]);
/* Parses "1.2.3.4", "::1", "[::1]"; strict dotted quad, no zone. False: not an address. */
bool origin_parse(const char *text, uint8_t out[16]);
/* Prints: IPv4 dotted, IPv6 per RFC 5952. */
#define ORIGIN_TEXT_MAX 48
const char *origin_text(const uint8_t addr[16], char out[ORIGIN_TEXT_MAX]);
bool origin_is_v4(const uint8_t addr[16]);

#endif
