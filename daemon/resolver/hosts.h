/* hosts.h: the system's hosts file, read once. hosts(5).
 *
 * Pure over given bytes. A line whose address does not parse, and a name that rules could not name
 * (single labels, underscores …), are passed over: this file is the administrator's and was not
 * written for us.
 */
#ifndef HOSTS_H
#define HOSTS_H

#include "own.h"
#include "rpc.h"

#include <stddef.h>
#include <stdint.h>

#define HOSTS_FILE_MAX (1024 * 1024)
#define HOSTS_MAX      8192 /* pairs of name and address; what comes after them is passed over */

struct hosts;

int hosts_parse(const char *text, size_t len, struct hosts **ret) must_check;
struct hosts *hosts_free(struct hosts *h);
OWN_CLEANUP(hosts, struct hosts, hosts_free)

/* The addresses of a name (as rules_host_ok), IPv4 first, at most `max`; the count. h may be
 * NULL: none. */
size_t hosts_find(const struct hosts *h, const char *host, uint8_t (*addr)[16], size_t max);

#endif
