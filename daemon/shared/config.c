/* config.c: one table row per field.
 *
 * The file is an object of sections; each row says where a field stands, what it may be and where it
 * goes in struct config. Order: defaults that depend on nothing, the file, defaults that depend on what
 * the file said (paths below state_dir and run_dir), then what must fit together. *c is written only
 * when all of it is good.
 */
#include "config.h"

#include "jdoc.h"
#include "origin.h"
#include "rpc.h"
#include "rules.h"

#include <ctype.h>
#include <fcntl.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#define FILE_MAX 65536
#define DEPTH 3 /* file, section, list */

enum field_kind { PATH, PATH_OR_NONE, U16, U32, BOOL, WORD, USER, SERVERS, NETS, PROXY, HOSTS, LOGIN, SECRET };

struct field {
	const char *section; /* "": top level */
	const char *name;
	enum field_kind kind;
	size_t at;
	uint32_t min, max;
	const char *words[3]; /* WORD: for min, min + 1, min + 2 */
};

#define AT(member) offsetof(struct config, member)
static const struct field fields[] = {
	{"", "state_dir", PATH, AT(state_dir), 0, 0, {0}},
	{"", "run_dir", PATH, AT(run_dir), 0, 0, {0}},
	{"", "bpffs", PATH, AT(bpffs), 0, 0, {0}},
	{"", "cgroup_root", PATH, AT(cgroup_root), 0, 0, {0}},
	{"", "control", PATH, AT(control), 0, 0, {0}},
	{"", "minimum_level", WORD, AT(minimum_level), 1, 3, {"L1", "L2", "L3"}},
	{"", "unix_paths", WORD, AT(unix_paths), 0, 0, {"refused", "allowed"}},
	{"", "debug", BOOL, AT(debug), 0, 0, {0}},
	{"audit", "log", PATH, AT(audit_log), 0, 0, {0}},
	{"audit", "sync", WORD, AT(audit_sync), 0, 0, {"interval", "always"}},
	{"users", "keeper", USER, AT(keeper_user), 0, 0, {0}},
	{"users", "proxy", USER, AT(proxy_user), 0, 0, {0}},
	{"users", "resolver", USER, AT(resolver_user), 0, 0, {0}},
	{"users", "holder", USER, AT(holder_user), 0, 0, {0}},
	{"proxy", "workers", U32, AT(workers), 1, CONFIG_WORKERS_MAX, {0}},
	{"proxy", "port", U16, AT(proxy_port), 1, 65535, {0}},
	{"proxy", "explicit_port", U16, AT(explicit_port), 1, 65535, {0}},
	{"proxy", "max_connections", U32, AT(max_connections), 1, 1000000, {0}},
	{"proxy", "per_guard_connections", U32, AT(per_guard_connections), 1, 1000000, {0}},
	{"proxy", "head_timeout", U32, AT(head_timeout_s), 1, 3600, {0}},
	{"proxy", "idle_timeout", U32, AT(idle_timeout_s), 1, 86400, {0}},
	{"proxy", "body_max", U32, AT(body_max), 0, 64u << 20, {0}},
	{"proxy", "tunnel_idle_timeout", U32, AT(tunnel_idle_timeout_s), 1, 604800, {0}},
	{"upstream", "ca_file", PATH, AT(ca_file), 0, 0, {0}},
	{"upstream", "extra_ca_file", PATH_OR_NONE, AT(extra_ca_file), 0, 0, {0}},
	{"upstream", "proxy", PROXY, AT(http_proxy), 0, 0, {0}},
	{"upstream", "proxy_user", LOGIN, AT(http_proxy_user), 0, 0, {0}},
	{"upstream", "proxy_password", SECRET, AT(http_proxy_secret), 0, 0, {0}},
	{"upstream", "no_proxy", HOSTS, AT(no_proxy), 0, 0, {0}},
	{"upstream", "resolve_timeout", U32, AT(resolve_timeout_s), 1, 600, {0}},
	{"upstream", "tls_timeout", U32, AT(tls_timeout_s), 1, 600, {0}},
	{"upstream", "connect_timeout", U32, AT(connect_timeout_s), 1, 600, {0}},
	{"upstream", "response_timeout", U32, AT(response_timeout_s), 1, 86400, {0}},
	{"keeper", "credential_lease", U32, AT(credential_lease_s), 0, 3600, {0}},
	{"dns", "servers", SERVERS, AT(dns), 0, 0, {0}},
	{"dns", "unlisted", WORD, AT(dns_unlisted), 0, 0, {"sinkhole", "nxdomain"}},
	{"dns", "ttl_min", U32, AT(dns_ttl_min), 0, 86400, {0}},
	{"dns", "ttl_max", U32, AT(dns_ttl_max), 1, 86400, {0}},
	{"dns", "lease_grace", U32, AT(dns_lease_grace), 0, 3600, {0}},
	{"dns", "hosts_file", PATH_OR_NONE, AT(hosts_file), 0, 0, {0}},
	{"network", "treat_as_public", NETS, AT(treat_as_public), 0, 0, {0}},
};

static const char *const sections[] = {"audit", "users", "proxy", "upstream", "keeper", "dns", "network"};

static const struct {
	const char *role;
	size_t at;
} users[] = {
	{"keeper", AT(keeper_user)},
	{"proxy", AT(proxy_user)},
	{"resolver", AT(resolver_user)},
	{"holder", AT(holder_user)},
};

/* ---- one value ---- */

static int path_of(const char *s, char out[CONFIG_PATH_MAX], struct err *e)
{
	size_t n = strlen(s);

	if (s[0] != '/')
		return err_set(e, -EINVAL, "must be an absolute path, beginning with \"/\"");
	if (n >= CONFIG_PATH_MAX)
		return err_set(e, -EINVAL, "is longer than %d bytes", CONFIG_PATH_MAX - 1);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
			return err_set(e, -EINVAL, "has a control character in it");
	for (const char *p = s; p; p = strchr(p + 1, '/')) {
		size_t part = strcspn(p + 1, "/");

		if ((part == 0 && n > 1) || (part == 1 && p[1] == '.') ||
		    (part == 2 && p[1] == '.' && p[2] == '.'))
			return err_set(e, -EINVAL, "must have no empty part, \".\" or \"..\" in it");
	}
	memcpy(out, s, n + 1);
	return 0;
}

/* A decimal number without sign, blank or leading zero. */
static bool number_of(const char *s, size_t len, uint32_t max, uint32_t *ret)
{
	uint64_t n = 0;

	if (!len || len > 10 || (len > 1 && s[0] == '0'))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(s[i] - '0');
	}
	if (n > max)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static int user_named(const char *name, const char *role, struct config_user *u, struct err *e)
{
	char show[JDOC_SHOW_MAX];
	const struct passwd *pw = NULL;
	bool plain = name[0] && name[0] != '-' && strlen(name) <= 32;

	for (const char *p = name; *p; p++)
		plain = plain && (isalnum((unsigned char)*p) || strchr("-_.", *p));
	if (!plain)
		return err_set(e, -EINVAL, "\"%s\" is neither a user's name nor \"uid:gid\"", jdoc_show(name, show));
	errno = 0;
	pw = getpwnam(name);
	if (!pw)
		return err_set(e, -ENOENT, "there is no user %s; make it with: useradd --system --no-create-home "
			       "--shell /usr/sbin/nologin %s, or name another in users.%s", name, name, role);
	*u = (struct config_user){pw->pw_uid, pw->pw_gid};
	return 0;
}

/* A name, "uid:gid", or a number, which is both. */
static int user_of(const json_t *v, const char *role, struct config_user *ret, struct err *e)
{
	struct config_user u = {0, 0};
	const char *s = json_string_value(v);
	const char *colon = s ? strchr(s, ':') : NULL;
	int rc = 0;

	if (json_is_integer(v)) {
		json_int_t n = json_integer_value(v);

		if (n < 0 || n >= UINT32_MAX)
			return err_set(e, -EINVAL, "%lld is no user; use 1 to 4294967294", (long long)n);
		u = (struct config_user){(uint32_t)n, (uint32_t)n};
	} else if (!s) {
		return err_set(e, -EINVAL, "must be a user's name, a number or \"uid:gid\"");
	} else if (colon) {
		if (!number_of(s, (size_t)(colon - s), UINT32_MAX - 1, &u.uid) ||
		    !number_of(colon + 1, strlen(colon + 1), UINT32_MAX - 1, &u.gid))
			return err_set(e, -EINVAL, "must be a user's name, a number or \"uid:gid\"");
	} else {
		rc = user_named(s, role, &u, e);
	}
	if (rc)
		return rc;
	if (!u.uid || !u.gid)
		return err_set(e, -EINVAL, "must not be user or group 0; this process gives root up");
	*ret = u;
	return 0;
}

/* "192.0.2.53", "192.0.2.53:5353", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:5353". */
static int server_of(const char *s, struct config_dns *ret, struct err *e)
{
	struct config_dns t = {.port = 53};
	char addr[64], show[JDOC_SHOW_MAX];
	const char *colon = strrchr(s, ':');
	size_t n = strlen(s);
	uint32_t port = 53;
	const char *class;

	if (colon && colon > s && (colon[-1] == ']' || strchr(s, ':') == colon)) {
		n = (size_t)(colon - s);
		if (!number_of(colon + 1, strlen(colon + 1), 65535, &port) || !port)
			return err_set(e, -EINVAL, "%s: the port is out of range; use 1 to 65535", jdoc_show(s, show));
	}
	if (n >= sizeof(addr))
		return err_set(e, -EINVAL, "%s is not an address", jdoc_show(s, show));
	memcpy(addr, s, n);
	addr[n] = '\0';
	if (!origin_parse(addr, t.addr))
		return err_set(e, -EINVAL, "%s is not an address; write 192.0.2.53 or [2001:db8::1]:53",
			       jdoc_show(s, show));
	class = origin_special(NULL, t.addr);
	if (class && strcmp(class, "multicast") == 0)
		return err_set(e, -EINVAL, "%s is a multicast address, which cannot be a server", jdoc_show(s, show));
	t.port = (uint16_t)port;
	*ret = t;
	return 0;
}

/* "203.0.113.0/24", "2001:db8:1::/48". */
static int net_of(const char *s, struct config_net *ret, struct err *e)
{
	struct config_net t = {.len = 0};
	const char *slash = strchr(s, '/');
	char addr[64], show[JDOC_SHOW_MAX];
	size_t n = slash ? (size_t)(slash - s) : 0;
	bool v4 = !strchr(s, ':');
	uint32_t len;

	if (!n || n >= sizeof(addr) || s[0] == '[' ||
	    !number_of(slash + 1, strlen(slash + 1), v4 ? 32 : 128, &len))
		return err_set(e, -EINVAL, "%s is not a prefix; write 203.0.113.0/24", jdoc_show(s, show));
	memcpy(addr, s, n);
	addr[n] = '\0';
	if (!origin_parse(addr, t.addr) || v4 != origin_is_v4(t.addr))
		return err_set(e, -EINVAL, "%s is not a prefix; write 203.0.113.0/24", jdoc_show(s, show));
	t.len = v4 ? 96 + len : len;
	for (uint32_t i = t.len; i < 128; i++)
		if (t.addr[i / 8] & (0x80 >> (i % 8)))
			return err_set(e, -EINVAL, "%s has bits set after its length", jdoc_show(s, show));
	if (!origin_test_net(&t))
		return err_set(e, -EINVAL, "%s is not a documentation or benchmarking prefix free of 192.0.2.0/24 and "
			       "2001:db8::/64; private ranges are opened by a rule with private", jdoc_show(s, show));
	*ret = t;
	return 0;
}

static int word_of(const struct field *f, const json_t *v, uint32_t *ret, struct err *e)
{
	const char *s = json_string_value(v), *const *w = f->words;

	for (uint32_t i = 0; s && i < ARRAY_SIZE(f->words) && w[i]; i++)
		if (strcmp(s, w[i]) == 0) {
			*ret = f->min + i;
			return 0;
		}
	if (w[2])
		return err_set(e, -EINVAL, "must be \"%s\", \"%s\" or \"%s\"", w[0], w[1], w[2]);
	return err_set(e, -EINVAL, "must be \"%s\" or \"%s\"", w[0], w[1]);
}

static int number_field(const struct field *f, const json_t *v, void *to, struct err *e)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v))
		return err_set(e, -EINVAL, "must be a whole number");
	if (n < (json_int_t)f->min || n > (json_int_t)f->max)
		return err_set(e, -EINVAL, "%lld is out of range; use %u to %u", (long long)n, f->min, f->max);
	if (f->kind == U16)
		*(uint16_t *)to = (uint16_t)n;
	else
		*(uint32_t *)to = (uint32_t)n;
	return 0;
}

static int proxy_address(const char *host, struct config *c, struct err *e)
{
	char show[JDOC_SHOW_MAX];

	if (!strchr(host, ']') ? !strchr(host, ':') || strchr(host, ':') != strrchr(host, ':') : !strstr(host, "]:"))
		return err_set(e, -EINVAL, "%s has no port; write http://192.0.2.10:3128", jdoc_show(host, show));
	return server_of(host, &c->http_proxy, e);
}

static int proxy_name(char *host, struct config *c, struct err *e)
{
	char *colon = strrchr(host, ':'), show[JDOC_SHOW_MAX];
	uint32_t port;

	if (!colon || !number_of(colon + 1, strlen(colon + 1), 65535, &port) || !port)
		return err_set(e, -EINVAL, "%s has no port; write http://proxy.example.com:3128", jdoc_show(host, show));
	*colon = '\0';
	if (!rules_host_ok(host))
		return err_set(e, -EINVAL, "%s is no host; write http://proxy.example.com:3128 in lower case, or an address",
			       jdoc_show(host, show));
	memcpy(c->http_proxy_host, host, strlen(host) + 1);
	c->http_proxy.port = (uint16_t)port;
	return 0;
}

/* "http://192.0.2.10:3128", "http://proxy.example.com:3128", or "" for none. */
static int proxy_of(const char *s, struct config *c, struct err *e)
{
	char show[JDOC_SHOW_MAX], host[CONFIG_HOST_MAX + 8];
	size_t n = strlen(s);
	bool address;

	c->http_proxy = (struct config_dns){.port = 0};
	memset(c->http_proxy_host, 0, sizeof(c->http_proxy_host));
	if (!n)
		return 0;
	if (strchr(s, '@')) /* not quoted: a password may stand there */
		return err_set(e, -EINVAL, "has a user in it; that is proxy_user, and proxy_password names a secret");
	if (strncmp(s, "http://", 7) != 0 || n - 7 >= sizeof(host))
		return err_set(e, -EINVAL, "%s is not a proxy; write http://192.0.2.10:3128 or "
			       "http://proxy.example.com:3128", jdoc_show(s, show));
	memcpy(host, s + 7, n - 6);
	if (n > 7 && host[n - 8] == '/')
		host[n - 8] = '\0';
	address = host[0] == '[' || strchr(host, ':') != strrchr(host, ':') || !host[strspn(host, "0123456789.:")];
	return address ? proxy_address(host, c, e) : proxy_name(host, c, e);
}

/* RFC 7617: no colon, no control character. */
static int login_of(const char *s, char *to, struct err *e)
{
	size_t n = strlen(s), i;

	for (i = 0; i < n && (unsigned char)s[i] >= 0x20 && s[i] != 0x7f && s[i] != ':'; i++)
		;
	if (i < n)
		return err_set(e, -EINVAL, "has a colon or a control character in it");
	if (n >= CONFIG_PROXY_USER_MAX)
		return err_set(e, -EINVAL, "is longer than %d bytes", CONFIG_PROXY_USER_MAX - 1);
	memcpy(to, s, n + 1);
	return 0;
}

/* "corp/PROXY_PASSWORD"; what else stands there may be a password, and is not quoted. */
static int secret_named(const char *s, struct config *c, struct err *e)
{
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : 0;

	if (!slash || n == 0 || n >= sizeof(c->http_proxy_workspace) || strlen(slash + 1) >= sizeof(c->http_proxy_secret) ||
	    !rules_name_ok(slash + 1))
		return err_set(e, -EINVAL, "must name a secret with its workspace, as \"corp/PROXY_PASSWORD\"");
	memcpy(c->http_proxy_workspace, s, n);
	c->http_proxy_workspace[n] = '\0';
	memcpy(c->http_proxy_secret, slash + 1, strlen(slash + 1) + 1);
	if (!rules_workspace_ok(c->http_proxy_workspace))
		return err_set(e, -EINVAL, "names no workspace; write \"corp/PROXY_PASSWORD\"");
	return 0;
}

static int hosts_of(const json_t *v, char *to, struct err *e)
{
	size_t at = 0;

	if (!json_is_array(v))
		return err_set(e, -EINVAL, "must be a list, [...]");
	memset(to, 0, CONFIG_NO_PROXY_MAX);
	for (size_t i = 0; i < json_array_size(v); i++) {
		const char *s = jdoc_at(v, i);
		char host[RPC_HOST_MAX];
		int rc = s ? rules_host(s, true, true, host, e) : err_set(e, -EINVAL, "must be a string");

		if (rc)
			return err_in(e, rc, "entry %zu", i + 1);
		if (at + strlen(host) + 2 > CONFIG_NO_PROXY_MAX)
			return err_set(e, -EINVAL, "has more than the %d bytes that fit", CONFIG_NO_PROXY_MAX);
		memcpy(to + at, host, strlen(host) + 1);
		at += strlen(host) + 1;
	}
	return 0;
}

const char *config_proxy_host(const struct config *c, char *buf)
{
	return c->http_proxy_host[0] ? c->http_proxy_host : origin_text(c->http_proxy.addr, buf);
}

bool config_proxied(const struct config *c, const char *host, const uint8_t addr[16])
{
	const char *s;

	if (!c->http_proxy.port || origin_special(c, addr))
		return false;
	for (s = c->no_proxy; *s; s += strlen(s) + 1)
		if (rules_host_match(s, host))
			return false;
	return true;
}

static int list_field(const struct field *f, const json_t *v, struct config *c, struct err *e)
{
	size_t n = json_array_size(v), most = f->kind == SERVERS ? CONFIG_DNS_MAX : CONFIG_NETS_MAX;

	if (!json_is_array(v))
		return err_set(e, -EINVAL, "must be a list, [...]");
	if (n > most)
		return err_set(e, -EINVAL, "has %zu entries; at most %zu fit", n, most);
	for (size_t i = 0; i < n; i++) {
		const char *s = jdoc_at(v, i);
		int rc;

		if (!s)
			return err_set(e, -EINVAL, "entry %zu must be a string", i + 1);
		rc = f->kind == SERVERS ? server_of(s, &c->dns[i], e) : net_of(s, &c->treat_as_public[i], e);
		if (rc)
			return rc;
	}
	*(f->kind == SERVERS ? &c->dns_count : &c->public_count) = (uint32_t)n;
	return 0;
}

static int field_read(const struct field *f, const json_t *v, struct config *c, struct err *e)
{
	void *to = (char *)c + f->at;
	const char *s = json_string_value(v);

	switch (f->kind) {
	case PATH:
	case PATH_OR_NONE:
		if (!s)
			return err_set(e, -EINVAL, "must be a string");
		if (f->kind == PATH_OR_NONE && !s[0]) {
			*(char *)to = '\0';
			return 0;
		}
		return path_of(s, to, e);
	case U16:
	case U32:
		return number_field(f, v, to, e);
	case BOOL:
		if (!json_is_boolean(v))
			return err_set(e, -EINVAL, "must be true or false");
		*(uint32_t *)to = json_is_true(v);
		return 0;
	case WORD:
		return word_of(f, v, to, e);
	case USER:
		return user_of(v, f->name, to, e);
	case SERVERS:
	case NETS:
		return list_field(f, v, c, e);
	case PROXY:
		return s ? proxy_of(s, c, e) : err_set(e, -EINVAL, "must be a string");
	case LOGIN:
		return s ? login_of(s, to, e) : err_set(e, -EINVAL, "must be a string");
	case SECRET:
		return s ? secret_named(s, c, e) : err_set(e, -EINVAL, "must be a string");
	case HOSTS:
		return hosts_of(v, to, e);
	}
	return -EINVAL;
}

/* ---- the file ---- */

static int unknown(const char *section, const char *name, struct err *e)
{
	char show[JDOC_SHOW_MAX];

	return err_set(e, -EINVAL, "there is no field \"%s%s%s\"", section, section[0] ? "." : "",
		       jdoc_show(name, show));
}

static int section_read(json_t *o, const char *section, struct config *c, struct err *e)
{
	const char *name;
	json_t *v;

	if (!json_is_object(o))
		return err_set(e, -EINVAL, "%s must be an object, {...}", section);
	json_object_foreach(o, name, v) {
		const struct field *f = NULL;
		int rc;

		for (size_t i = 0; !f && i < ARRAY_SIZE(fields); i++)
			if (strcmp(fields[i].section, section) == 0 && strcmp(fields[i].name, name) == 0)
				f = &fields[i];
		if (!f)
			return unknown(section, name, e);
		rc = field_read(f, v, c, e);
		if (rc)
			return err_in(e, rc, "%s%s%s", section, section[0] ? "." : "", name);
	}
	return 0;
}

/* Takes the sections out of the top level, then reads what is left there. */
static int file_read(json_t *file, struct config *c, struct err *e)
{
	if (!json_is_object(file))
		return err_set(e, -EINVAL, "the file must hold an object, {...}");
	for (size_t i = 0; i < ARRAY_SIZE(sections); i++) {
		json_t *o = json_object_get(file, sections[i]);
		int rc = o ? section_read(o, sections[i], c, e) : 0;

		if (rc)
			return rc;
		if (o)
			(void)json_object_del(file, sections[i]);
	}
	return section_read(file, "", c, e);
}

static void defaults(struct config *c)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	*c = (struct config){
		.state_dir = "/var/lib/agentsecrets",
		.run_dir = "/run/agentsecrets",
		.hosts_file = "/etc/hosts",
		.proxy_port = 15001,
		.explicit_port = 8765,
		.max_connections = 10000,
		.resolve_timeout_s = 30,
		.connect_timeout_s = 15,
		.tls_timeout_s = 15,
		.head_timeout_s = 30,
		.idle_timeout_s = 300,
		.body_max = 1u << 20,
		.tunnel_idle_timeout_s = 3600,
		.response_timeout_s = 600,
		.dns_unlisted = CONFIG_UNLISTED_SINKHOLE,
		.dns_ttl_min = 5,
		.dns_lease_grace = 60,
		.dns_ttl_max = 300,
		.audit_sync = CONFIG_SYNC_INTERVAL,
		.minimum_level = 1,
	};
	c->workers = cpus < 1 ? 1 : cpus > CONFIG_WORKERS_MAX ? CONFIG_WORKERS_MAX : (uint32_t)cpus;
}

static int below(char path[CONFIG_PATH_MAX], const char *field, const char *dir, const char *name, struct err *e)
{
	if (path[0])
		return 0;
	if (snprintf(path, CONFIG_PATH_MAX, "%s/%s", dir[1] ? dir : "", name) >= CONFIG_PATH_MAX)
		return err_set(e, -EINVAL, "%s: %s/%s is longer than %d bytes", field, dir, name,
			       CONFIG_PATH_MAX - 1);
	return 0;
}

const char *config_system_bundle(void)
{
	static const char *const files[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem",
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		if (access(files[i], F_OK) == 0)
			return files[i];
	return "";
}

static int ca_default(struct config *c, struct err *e)
{
	if (!c->ca_file[0])
		(void)snprintf(c->ca_file, sizeof(c->ca_file), "%s", config_system_bundle());
	if (!c->ca_file[0])
		return err_set(e, -ENOENT, "there is no file of CA certificates; install the package "
			       "ca-certificates, or name one in upstream.ca_file");
	return 0;
}

static int user_defaults(struct config *c, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(users); i++) {
		struct config_user *u = (void *)((char *)c + users[i].at);
		char name[64];
		int rc;

		if (u->uid)
			continue;
		(void)snprintf(name, sizeof(name), "agentsecrets-%s", users[i].role);
		rc = user_named(name, users[i].role, u, e);
		if (rc)
			return rc;
		if (!u->uid || !u->gid)
			return err_set(e, -EINVAL, "user %s has uid or gid 0; this process gives root up", name);
	}
	return 0;
}

static int late_defaults(struct config *c, struct err *e)
{
	int rc = below(c->bpffs, "bpffs", c->run_dir, "bpf", e);

	if (!rc)
		rc = below(c->control, "control", c->run_dir, "control.sock", e);
	if (!rc)
		rc = below(c->audit_log, "audit.log", c->state_dir, "audit.jsonl", e);
	if (!rc)
		rc = ca_default(c, e);
	if (!rc)
		rc = user_defaults(c, e);
	if (!c->per_guard_connections)
		c->per_guard_connections = c->max_connections < 2000 ? c->max_connections : 2000;
	return rc;
}

/* What is good alone and wrong together. */
static int fits(const struct config *c, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(users); i++)
		for (size_t k = 0; k < i; k++) {
			const struct config_user *a = (const void *)((const char *)c + users[k].at);
			const struct config_user *b = (const void *)((const char *)c + users[i].at);

			if (a->uid == b->uid)
				return err_set(e, -EINVAL, "users.%s and users.%s are the same user, %u; each "
					       "process needs its own", users[k].role, users[i].role, a->uid);
		}
	if (strlen(c->control) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return err_set(e, -EINVAL, "control: %s is longer than the 107 bytes that a unix socket's path may "
			       "have; name a shorter one", c->control);
	if (c->proxy_port == c->explicit_port)
		return err_set(e, -EINVAL, "proxy.port and proxy.explicit_port are both %u; they must differ",
			       c->proxy_port);
	if (c->per_guard_connections > c->max_connections)
		return err_set(e, -EINVAL, "proxy.per_guard_connections %u is more than proxy.max_connections %u",
			       c->per_guard_connections, c->max_connections);
	if (!c->http_proxy_user[0] != !c->http_proxy_secret[0])
		return err_set(e, -EINVAL, "upstream.proxy_user and upstream.proxy_password belong together; one is missing");
	if (c->http_proxy_user[0] && !c->http_proxy.port)
		return err_set(e, -EINVAL, "upstream.proxy_user is given, and no upstream.proxy");
	if (c->dns_ttl_min > c->dns_ttl_max)
		return err_set(e, -EINVAL, "dns.ttl_min %u is more than dns.ttl_max %u", c->dns_ttl_min,
			       c->dns_ttl_max);
	return 0;
}

int config_parse(const char *text, size_t len, struct config *c, struct err *e)
{
	auto_(json) json_t *file = NULL;
	struct config t;
	int rc;

	defaults(&t);
	rc = jdoc_load(text, len, FILE_MAX, DEPTH, &file, e);
	if (!rc)
		rc = file_read(file, &t, e);
	if (!rc)
		rc = late_defaults(&t, e);
	if (!rc)
		rc = fits(&t, e);
	if (rc)
		return rc;
	*c = t;
	return 0;
}

/* Root's (or the caller's own) regular file that nobody else may write. */
static int file_trusted(int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_set(e, -errno, "cannot be examined: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "is not a regular file");
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(e, -EPERM, "belongs to user %u; run: chown root it", st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(e, -EPERM, "may be written by others (mode %04o); run: chmod go-w it",
			       st.st_mode & 07777);
	return 0;
}

static int file_load(int fd, struct config *c, struct err *e)
{
	auto_free char *text = malloc(FILE_MAX + 1);
	size_t len = 0;
	ssize_t n = 1;
	int rc;

	if (!text)
		return -ENOMEM;
	rc = file_trusted(fd, e);
	if (rc)
		return rc;
	while (n && len <= FILE_MAX) {
		n = read(fd, text + len, FILE_MAX + 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, -errno, "cannot be read: %s", strerror(errno));
		len += (size_t)n;
	}
	return config_parse(text, len, c, e);
}

int config_load(const char *path, struct config *c, struct err *e)
{
	const char *file = path ? path : CONFIG_DEFAULT_FILE;
	auto_close int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int rc;

	if (fd < 0 && errno == ENOENT && !path)
		return config_parse("{}", 2, c, e);
	if (fd < 0)
		return err_set(e, -errno, "%s cannot be opened: %s", file, strerror(errno));
	rc = file_load(fd, c, e);
	return rc ? err_in(e, rc, "%s", file) : 0;
}
