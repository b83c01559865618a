/* typed.h: values as typed on a command line: HOST[:PORT], ports, times. Pure. Whether a host may stand in a
 * rule is the daemon's to say (rules.h); here it is only told from a URL and from its port. */
#ifndef TYPED_H
#define TYPED_H

#include "err.h"

#include <stdint.h>

#define TYPED_HOST_MAX 256

/* Splits "host", "host:443", "[::1]:443", "::1". *port is 0 when none was typed. -EINVAL with a sentence that
 * says what to type, for a URL above all. */
int typed_host(const char *typed, char host[TYPED_HOST_MAX], uint16_t *port, struct err *e) must_check;
int typed_port(const char *typed, uint16_t *port, struct err *e) must_check;
/* -EINVAL without a sentence: not a decimal number, or below min. */
int typed_number(const char *typed, long min, long *ret) must_check;

/* A moment in the past, for `log --since`: "15m", "2h", "3d", "90s", or RFC 3339
 * ("2026-11-23", "2026-11-23T07:00", with seconds, with Z). *ret: nanoseconds since 1970, UTC. */
int typed_since(const char *typed, uint64_t now_ns, uint64_t *ret, struct err *e) must_check;

#endif
