/* config.h: the daemon's configuration, one JSON file, read once by the parent.
 *
 * struct config is plain data without pointers: the parent sends it as it is to its children
 * (RPC_CONFIG). Every path is absolute. A missing field has the default written beside it; an unknown
 * field, a wrong type or a value out of range is an error that names the field.
 *
 *	{ "state_dir": "/var/lib/agentsecrets",	 "dns": { "servers": ["192.0.2.53"], "unlisted": "sinkhole" }, ... }
 */
#ifndef CONFIG_H
#define CONFIG_H

#include "err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define CONFIG_PATH_MAX 200
#define CONFIG_DNS_MAX 4
#define CONFIG_NETS_MAX 8
#define CONFIG_WORKERS_MAX 16
#define CONFIG_NO_PROXY_MAX 1024
#define CONFIG_HOST_MAX 254	   /* with NUL, as RPC_HOST_MAX */
#define CONFIG_PROXY_USER_MAX 128 /* with NUL */

struct config_user {
	uint32_t uid, gid;
};

/* One prefix, v4-mapped: `len` counts of 128 bits. */
struct config_net {
	uint8_t addr[16];
	uint32_t len;
};

/* A DNS server; addr is v4-mapped. */
struct config_dns {
	uint8_t addr[16];
	uint16_t port;
	uint16_t pad;
};

enum config_unlisted { CONFIG_UNLISTED_SINKHOLE = 0, CONFIG_UNLISTED_NXDOMAIN = 1 };
enum config_unix_paths { CONFIG_PATHS_REFUSED = 0, CONFIG_PATHS_ALLOWED = 1 };
enum config_audit_sync { CONFIG_SYNC_INTERVAL = 0, CONFIG_SYNC_ALWAYS = 1 };

struct config {
	char state_dir[CONFIG_PATH_MAX];   /* "state_dir": /var/lib/agentsecrets (0711, root) */
	char run_dir[CONFIG_PATH_MAX];	   /* "run_dir": /run/agentsecrets (0755, root) */
	char bpffs[CONFIG_PATH_MAX];	   /* "bpffs": <run_dir>/bpf; mounted by the daemon if it is not */
	char cgroup_root[CONFIG_PATH_MAX]; /* "cgroup_root": <cgroup2 mount>/agentsecrets.slice; empty
					    * here until the parent has looked the mount up */
	char audit_log[CONFIG_PATH_MAX];   /* "audit.log": <state_dir>/audit.jsonl */
	char ca_file[CONFIG_PATH_MAX];	   /* "upstream.ca_file": the system's bundle */
	char hosts_file[CONFIG_PATH_MAX];  /* "dns.hosts_file": /etc/hosts; "" for none */
	char control[CONFIG_PATH_MAX];	   /* "control": <run_dir>/control.sock */
	struct config_user keeper_user;	   /* "users.keeper": name or number; agentsecrets-keeper */
	struct config_user proxy_user;	   /* "users.proxy": agentsecrets-proxy */
	struct config_user resolver_user;  /* "users.resolver": agentsecrets-resolver */
	struct config_user holder_user;	   /* "users.holder": agentsecrets-holder */
	uint32_t workers;		   /* "proxy.workers": number of processors, at most 16 */
	uint16_t proxy_port;		   /* "proxy.port": 15001, on loopback of guarded netns */
	uint16_t explicit_port;		   /* "proxy.explicit_port": 8765, likewise */
	uint32_t max_connections;	   /* "proxy.max_connections": 10000, per worker */
	uint32_t per_guard_connections;	   /* "proxy.per_guard_connections": 2000, per worker */
	char extra_ca_file[CONFIG_PATH_MAX]; /* "upstream.extra_ca_file": "" for none; trusted beside ca_file */
	/* "upstream.proxy": "" for none, or "http://192.0.2.10:3128", "http://proxy.corp.example:3128": a proxy that
	 * upstreams are reached through, by CONNECT to the judged address. port 0: none. Of a name, addr is zero: it is
	 * resolved when it is needed (hopname.h). It opens nothing for agents. */
	struct config_dns http_proxy;
	char http_proxy_host[CONFIG_HOST_MAX]; /* ""; or that name */
	/* "upstream.proxy_user": "" for none; and "upstream.proxy_password": "corp/PROXY_PASSWORD": the secret of a
	 * workspace that is bound to the proxy, in slot proxy. Both or neither. Sent as Basic (RFC 7617). */
	char http_proxy_user[CONFIG_PROXY_USER_MAX];
	char http_proxy_workspace[64], http_proxy_secret[129];
	/* "upstream.no_proxy": hosts that are reached directly, as in rules; each ends in NUL, an empty one ends all */
	char no_proxy[CONFIG_NO_PROXY_MAX];
	uint32_t resolve_timeout_s;	   /* "upstream.resolve_timeout": 30 */
	uint32_t tls_timeout_s;		   /* "upstream.tls_timeout": 15: connected to verified */
	uint32_t connect_timeout_s;	   /* "upstream.connect_timeout": 15 */
	uint32_t head_timeout_s;	   /* "proxy.head_timeout": 30: for a request's head */
	uint32_t idle_timeout_s;	   /* "proxy.idle_timeout": 300: keep-alive, no request running */
	uint32_t body_max;		   /* "proxy.body_max": 1048576: bytes of a request's body that is looked into */
	uint32_t tunnel_idle_timeout_s;	   /* "proxy.tunnel_idle_timeout": 3600: no byte either way */
	uint32_t response_timeout_s;	   /* "upstream.response_timeout": 600: request sent to head back */
	uint32_t credential_lease_s;	   /* "keeper.credential_lease": 0: seconds a proxy may keep one */
	uint32_t dns_count;		   /* entries of dns; 0: the host's /etc/resolv.conf */
	struct config_dns dns[CONFIG_DNS_MAX]; /* "dns.servers": "192.0.2.53", "[2001:db8::1]:5353" */
	uint32_t dns_unlisted;		   /* "dns.unlisted": "sinkhole" | "nxdomain" */
	uint32_t dns_ttl_min, dns_ttl_max; /* "dns.ttl_min": 5, "dns.ttl_max": 300, seconds */
	uint32_t dns_lease_grace;	   /* "dns.lease_grace": 60: seconds that an answer's addresses stay open after
					    * its end, for clients that connect some time after they asked */
	uint32_t audit_sync;		   /* "audit.sync": "interval" | "always" */
	uint32_t public_count;
	/* "network.treat_as_public": special-purpose prefixes that this installation does use as public
	 * ones; only documentation (RFC 5737, 3849, 9637), benchmarking (RFC 2544, 5180): test installations.
	 * The sinkhole's prefixes, 192.0.2.0/24 and 2001:db8::/64, cannot be named. Private ranges need a rule with "private". */
	struct config_net treat_as_public[CONFIG_NETS_MAX];
	uint32_t minimum_level; /* "minimum_level": "L1" | "L2" | "L3", levels.h; 1 to 3. Below it no guard is made */
	uint32_t unix_paths; /* "unix_paths": "refused" | "allowed": at L2 (unixsock.bpf.c); allowed, L2 is not in force */
	uint32_t debug; /* "debug": false */
};
_Static_assert(sizeof(struct config) < 4096, "config goes in one datagram");

/* Where a name that no rule allows is sent: RFC 5737 TEST-NET-1 and RFC 3849. The kernel side redirects
 * them to the proxy as it does any public address; origin.c never dials them. */
#define CONFIG_SINKHOLE4 {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}
#define CONFIG_SINKHOLE6 {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}

/* Reads and checks `path`; NULL: the default file, which may be missing (all defaults then).
 * Users are looked up here; a missing user is an error that says how to make it. */
int config_load(const char *path, struct config *c, struct err *e) must_check;
#define CONFIG_DEFAULT_FILE "/etc/agentsecrets/config.json"

/* The host's own PEM bundle of CAs; "" when none of the usual places has one. */
const char *config_system_bundle(void);

/* The host that upstream.proxy names, a name or an address, as bindings have it. buf: CONFIG_HOST_MAX bytes. */
const char *config_proxy_host(const struct config *c, char *buf);

/* Is this host, at this address, reached through upstream.proxy? Special addresses never are. */
bool config_proxied(const struct config *c, const char *host, const uint8_t addr[16]);

/* config_load from memory; for tests and the fuzzer. */
int config_parse(const char *text, size_t len, struct config *c, struct err *e) must_check;

#endif
