/* The configuration file: fields, refusals, who may write it. Users are given by number here. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#define USERS "\"users\":{\"keeper\":64901,\"proxy\":64902,\"resolver\":64903,\"holder\":64904}"

static const char all[] =
	"{\"state_dir\":\"/srv/as\",\"run_dir\":\"/run/as\",\"bpffs\":\"/run/as/fs\",\"cgroup_root\":\"/cg/as.slice\","
	"\"control\":\"/run/as/ctl\",\"debug\":true,"
	"\"audit\":{\"log\":\"/var/log/as.jsonl\",\"sync\":\"always\"},"
	"\"users\":{\"keeper\":\"64901:65001\",\"proxy\":64902,\"resolver\":64903,\"holder\":64904},"
	"\"proxy\":{\"workers\":3,\"port\":15002,\"explicit_port\":8766,\"max_connections\":500,"
	"\"per_guard_connections\":400,\"head_timeout\":31,\"idle_timeout\":301},"
	"\"upstream\":{\"ca_file\":\"/etc/ca.pem\",\"connect_timeout\":16,\"response_timeout\":601},"
	"\"keeper\":{\"credential_lease\":2},"
	"\"dns\":{\"servers\":[\"192.0.2.53\",\"[2001:db8::1]:5353\",\"127.0.0.53:54\",\"2001:db8::2\"],"
	"\"unlisted\":\"nxdomain\",\"ttl_min\":6,\"ttl_max\":299,\"hosts_file\":\"\"},"
	"\"network\":{\"treat_as_public\":[\"203.0.113.0/24\",\"198.18.0.0/15\",\"2001:db8:1::/48\"]}}";

static int parse(const char *text, size_t len, struct config *c, struct err *e)
{
	static char *edge;
	const size_t room = 1 << 17;

	if (!edge) {
		edge = mmap(NULL, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_true(edge != MAP_FAILED && mprotect(edge + room, 4096, PROT_NONE) == 0);
	}
	assert_true(len <= room);
	memcpy(edge + room - len, text, len);
	return config_parse(edge + room - len, len, c, e);
}

static void good(const char *text, struct config *c)
{
	struct err e = {""};

	if (parse(text, strlen(text), c, &e))
		fail_msg("%s", e.text);
}

/* Refused, with a sentence that holds `says`; *c is untouched. */
static void refused(const char *text, const char *says)
{
	struct config c, was;
	struct err e = {""};
	int rc;

	memset(&c, 0x5a, sizeof(c));
	was = c;
	rc = parse(text, strlen(text), &c, &e);
	if (rc >= 0 || !strstr(e.text, says))
		fail_msg("%s: %d \"%s\", wanted \"%s\"", text, rc, e.text, says);
	assert_memory_equal(&c, &was, sizeof(c));
}

static void defaults(void **state)
{
	struct config c;

	(void)state;
	good("{" USERS ",\"upstream\":{\"ca_file\":\"/c\"}}", &c);
	assert_string_equal(c.state_dir, "/var/lib/agentsecrets");
	assert_string_equal(c.run_dir, "/run/agentsecrets");
	assert_string_equal(c.bpffs, "/run/agentsecrets/bpf");
	assert_string_equal(c.cgroup_root, "");
	assert_string_equal(c.audit_log, "/var/lib/agentsecrets/audit.jsonl");
	assert_string_equal(c.hosts_file, "/etc/hosts");
	assert_string_equal(c.control, "/run/agentsecrets/control.sock");
	assert_int_equal(c.keeper_user.uid, 64901);
	assert_int_equal(c.holder_user.gid, 64904);
	assert_true(c.workers >= 1 && c.workers <= 16);
	assert_int_equal(c.proxy_port, 15001);
	assert_int_equal(c.explicit_port, 8765);
	assert_int_equal(c.max_connections, 10000);
	assert_int_equal(c.per_guard_connections, 2000);
	assert_int_equal(c.connect_timeout_s, 15);
	assert_int_equal(c.head_timeout_s, 30);
	assert_int_equal(c.idle_timeout_s, 300);
	assert_int_equal(c.tunnel_idle_timeout_s, 3600);
	assert_int_equal(c.dns_lease_grace, 60);
	assert_int_equal(c.resolve_timeout_s, 30);
	assert_int_equal(c.tls_timeout_s, 15);
	assert_string_equal(c.extra_ca_file, "");
	assert_int_equal(c.response_timeout_s, 600);
	assert_int_equal(c.body_max, 1048576);
	assert_int_equal(c.credential_lease_s, 0);
	assert_int_equal(c.dns_count, 0);
	assert_int_equal(c.dns_unlisted, CONFIG_UNLISTED_SINKHOLE);
	assert_int_equal(c.dns_ttl_min, 5);
	assert_int_equal(c.dns_ttl_max, 300);
	assert_int_equal(c.audit_sync, CONFIG_SYNC_INTERVAL);
	assert_int_equal(c.public_count, 0);
	assert_int_equal(c.minimum_level, 1);
	assert_int_equal(c.unix_paths, CONFIG_PATHS_REFUSED);
	assert_int_equal(c.debug, 0);
	good("{" USERS ",\"upstream\":{\"ca_file\":\"/c\"},\"run_dir\":\"/r\",\"state_dir\":\"/\",\"proxy\":{"
	     "\"max_connections\":7}}", &c);
	for (uint32_t i = 1; i <= 3; i++) {
		struct config level;
		char text[256];

		(void)snprintf(text, sizeof(text), "{" USERS ",\"upstream\":{\"ca_file\":\"/c\"},\"minimum_level\":\"L%u\"}", i);
		good(text, &level);
		assert_int_equal(level.minimum_level, i);
	}
	{
		struct config paths;

		good("{" USERS ",\"upstream\":{\"ca_file\":\"/c\"},\"unix_paths\":\"allowed\"}", &paths);
		assert_int_equal(paths.unix_paths, CONFIG_PATHS_ALLOWED);
	}
	assert_string_equal(c.bpffs, "/r/bpf");
	assert_string_equal(c.control, "/r/control.sock");
	assert_string_equal(c.audit_log, "/audit.jsonl");
	assert_int_equal(c.per_guard_connections, 7);
}

static void every_field(void **state)
{
	static const uint8_t dns1[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
	struct config c;

	(void)state;
	good(all, &c);
	assert_string_equal(c.state_dir, "/srv/as");
	assert_string_equal(c.run_dir, "/run/as");
	assert_string_equal(c.bpffs, "/run/as/fs");
	assert_string_equal(c.cgroup_root, "/cg/as.slice");
	assert_string_equal(c.control, "/run/as/ctl");
	assert_string_equal(c.audit_log, "/var/log/as.jsonl");
	assert_string_equal(c.ca_file, "/etc/ca.pem");
	assert_string_equal(c.hosts_file, "");
	assert_int_equal(c.keeper_user.uid, 64901);
	assert_int_equal(c.keeper_user.gid, 65001);
	assert_int_equal(c.proxy_user.uid, 64902);
	assert_int_equal(c.resolver_user.uid, 64903);
	assert_int_equal(c.workers, 3);
	assert_int_equal(c.proxy_port, 15002);
	assert_int_equal(c.explicit_port, 8766);
	assert_int_equal(c.max_connections, 500);
	assert_int_equal(c.per_guard_connections, 400);
	assert_int_equal(c.head_timeout_s, 31);
	assert_int_equal(c.idle_timeout_s, 301);
	assert_int_equal(c.connect_timeout_s, 16);
	assert_int_equal(c.response_timeout_s, 601);
	assert_int_equal(c.credential_lease_s, 2);
	assert_int_equal(c.dns_count, 4);
	assert_int_equal(c.dns[0].port, 53);
	assert_int_equal(c.dns[0].addr[15], 53);
	assert_int_equal(c.dns[1].port, 5353);
	assert_memory_equal(c.dns[1].addr, dns1, 16);
	assert_int_equal(c.dns[2].port, 54);
	assert_int_equal(c.dns[3].addr[15], 2);
	assert_int_equal(c.dns[3].port, 53);
	assert_int_equal(c.dns_unlisted, CONFIG_UNLISTED_NXDOMAIN);
	assert_int_equal(c.dns_ttl_min, 6);
	assert_int_equal(c.dns_ttl_max, 299);
	assert_int_equal(c.audit_sync, CONFIG_SYNC_ALWAYS);
	assert_int_equal(c.public_count, 3);
	assert_int_equal(c.treat_as_public[0].len, 120);
	assert_int_equal(c.treat_as_public[1].len, 111);
	assert_int_equal(c.treat_as_public[2].len, 48);
	assert_int_equal(c.debug, 1);
}

static void refuses_fields(void **state)
{
	static const struct {
		const char *text, *says;
	} t[] = {
		{"", "not JSON"}, {"[]", "must hold an object"}, {"null", "not JSON"}, {"{} {}", "not JSON"},
		{"{\"debug\":true,\"debug\":true}", "not JSON"}, {"{\"debug\":1}", "debug: must be true or false"},
		{"{\"stat_dir\":\"/x\"}", "there is no field \"stat_dir\""}, {"{\"audit.log\":\"/x\"}", "no field \"audit.log\""},
		{"{\"proxy\":{\"prot\":1}}", "there is no field \"proxy.prot\""}, {"{\"\":{}}", "there is no field \"\""},
		{"{\"proxy\":[]}", "proxy must be an object"}, {"{\"proxy\":null}", "proxy must be an object"},
		{"{\"users\":{\"root\":1}}", "no field \"users.root\""}, {"{\"a\\u001bb\":1}", "no field \"a?b\""},
		{"{\"state_dir\":5}", "state_dir: must be a string"}, {"{\"state_dir\":\"\"}", "state_dir: must be an absolute"},
		{"{\"state_dir\":\"var\"}", "absolute"}, {"{\"run_dir\":\"/a/../b\"}", "run_dir: must have no empty part"},
		{"{\"run_dir\":\"/a/./b\"}", "no empty part"}, {"{\"run_dir\":\"//a\"}", "no empty part"},
		{"{\"run_dir\":\"/a/\"}", "no empty part"}, {"{\"run_dir\":\"/a/..\"}", "no empty part"},
		{"{\"run_dir\":\"/a\\nb\"}", "control character"}, {"{\"run_dir\":\"/a\\u0000b\"}", "not JSON"},
		{"{\"upstream\":{\"ca_file\":\"\"}}", "upstream.ca_file: must be an absolute"},
		{"{\"proxy\":{\"port\":0}}", "proxy.port: 0 is out of range; use 1 to 65535"},
		{"{\"proxy\":{\"port\":65536}}", "proxy.port: 65536"}, {"{\"proxy\":{\"port\":-1}}", "proxy.port: -1"},
		{"{\"proxy\":{\"port\":\"80\"}}", "proxy.port: must be a whole number"},
		{"{\"proxy\":{\"port\":80.0}}", "whole number"}, {"{\"proxy\":{\"port\":true}}", "whole number"},
		{"{\"proxy\":{\"port\":18446744073709551617}}", "not JSON"},
		{"{\"proxy\":{\"workers\":0}}", "proxy.workers: 0"}, {"{\"proxy\":{\"workers\":17}}", "use 1 to 16"},
		{"{\"proxy\":{\"max_connections\":4294967297}}", "out of range"},
		{"{\"proxy\":{\"per_guard_connections\":0}}", "out of range"},
		{"{\"proxy\":{\"head_timeout\":0}}", "out of range"}, {"{\"upstream\":{\"connect_timeout\":0}}", "out of range"},
		{"{\"keeper\":{\"credential_lease\":3601}}", "out of range"},
		{"{\"audit\":{\"sync\":\"never\"}}", "audit.sync: must be \"interval\" or \"always\""},
		{"{\"unix_paths\":\"yes\"}", "unix_paths: must be \"refused\" or \"allowed\""},
		{"{\"unix_paths\":true}", "unix_paths: must be"},
		{"{\"minimum_level\":\"L4\"}", "minimum_level: must be \"L1\", \"L2\" or \"L3\""},
		{"{\"minimum_level\":\"\"}", "minimum_level: must be"}, {"{\"minimum_level\":2}", "minimum_level: must be"},
		{"{\"minimum_level\":\"l2\"}", "minimum_level: must be"}, {"{\"minimum_level\":null}", "minimum_level: must be"},
		{"{\"audit\":{\"sync\":0}}", "must be \"interval\""}, {"{\"dns\":{\"unlisted\":\"drop\"}}", "\"nxdomain\""},
		{"{\"dns\":{\"servers\":\"192.0.2.53\"}}", "dns.servers: must be a list"},
		{"{\"dns\":{\"servers\":[53]}}", "entry 1 must be a string"},
		{"{\"dns\":{\"servers\":[\"1.1.1.1\",\"dns.example\"]}}", "dns.example is not an address"},
		{"{\"dns\":{\"servers\":[\"1.1.1.1:0\"]}}", "port is out of range"},
		{"{\"dns\":{\"servers\":[\"1.1.1.1:70000\"]}}", "port is out of range"},
		{"{\"dns\":{\"servers\":[\"1.1.1.1:\"]}}", "port is out of range"},
		{"{\"dns\":{\"servers\":[\"1.1.1.1:+5\"]}}", "port is out of range"},
		{"{\"dns\":{\"servers\":[\"[::1]:053\"]}}", "port is out of range"},
		{"{\"dns\":{\"servers\":[\"\"]}}", "is not an address"}, {"{\"dns\":{\"servers\":[\":53\"]}}", "is not an address"},
		{"{\"dns\":{\"servers\":[\"[::1\"]}}", "is not an address"}, {"{\"dns\":{\"servers\":[\"224.0.0.251\"]}}", "multicast"},
		{"{\"dns\":{\"servers\":[\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"1.1.1.4\",\"1.1.1.5\"]}}", "at most 4 fit"},
		{"{\"dns\":{\"servers\":[[[\"1.1.1.1\"]]]}}", "nested more than 3"},
		{"{\"network\":{\"treat_as_public\":[\"10.0.0.0/8\"]}}", "10.0.0.0/8 is not a documentation or benchmarking"},
		{"{\"network\":{\"treat_as_public\":[\"0.0.0.0/0\"]}}", "is not a documentation"},
		{"{\"network\":{\"treat_as_public\":[\"::/0\"]}}", "is not a documentation"},
		{"{\"network\":{\"treat_as_public\":[\"192.0.2.0/24\"]}}", "free of 192.0.2.0/24"},
		{"{\"network\":{\"treat_as_public\":[\"2001:db8::/32\"]}}", "2001:db8::/64"},
		{"{\"network\":{\"treat_as_public\":[\"169.254.169.254/32\"]}}", "is not a documentation"},
		{"{\"network\":{\"treat_as_public\":[\"::ffff:203.0.113.0/120\"]}}", "is not a prefix"},
		{"{\"network\":{\"treat_as_public\":[\"203.0.113.0\"]}}", "is not a prefix"},
		{"{\"network\":{\"treat_as_public\":[\"203.0.113.0/\"]}}", "is not a prefix"},
		{"{\"network\":{\"treat_as_public\":[\"203.0.113.0/33\"]}}", "is not a prefix"},
		{"{\"network\":{\"treat_as_public\":[\"203.0.113.0/024\"]}}", "is not a prefix"},
		{"{\"network\":{\"treat_as_public\":[\"/24\"]}}", "is not a prefix"},
		{"{\"network\":{\"treat_as_public\":[\"203.0.113.1/24\"]}}", "has bits set after its length"},
		{"{\"network\":{\"treat_as_public\":[\"2001:db8:1::1/48\"]}}", "has bits set after its length"},
		{"{\"users\":{\"keeper\":0}}", "users.keeper: must not be user or group 0"},
		{"{\"users\":{\"keeper\":-1}}", "is no user"}, {"{\"users\":{\"keeper\":4294967295}}", "is no user"},
		{"{\"users\":{\"keeper\":1.5}}", "must be a user's name"}, {"{\"users\":{\"keeper\":\"root\"}}", "user or group 0"},
		{"{\"users\":{\"keeper\":\"5:0\"}}", "user or group 0"}, {"{\"users\":{\"keeper\":\"0:5\"}}", "user or group 0"},
		{"{\"users\":{\"keeper\":\"5:\"}}", "must be a user's name"}, {"{\"users\":{\"keeper\":\":5\"}}", "must be a user's"},
		{"{\"users\":{\"keeper\":\"5:5:5\"}}", "must be a user's name"}, {"{\"users\":{\"keeper\":\"05:5\"}}", "must be a"},
		{"{\"users\":{\"keeper\":\"\"}}", "neither a user's name"}, {"{\"users\":{\"keeper\":\"-x\"}}", "neither a user's name"},
		{"{\"users\":{\"keeper\":\"a b; rm\"}}", "neither a user's name"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		refused(t[i].text, t[i].says);
}

static void refuses_what_does_not_fit(void **state)
{
#define WITH(more) "{" USERS ",\"upstream\":{\"ca_file\":\"/c\"}," more "}"
	static char text[70000];

	(void)state;
	refused("{\"users\":{\"keeper\":5,\"proxy\":5,\"resolver\":6,\"holder\":7},\"upstream\":{\"ca_file\":\"/c\"}}",
		"users.keeper and users.proxy are the same user, 5");
	refused("{\"users\":{\"keeper\":4,\"proxy\":5,\"resolver\":6,\"holder\":\"6:9\"},\"upstream\":{\"ca_file\":\"/c\"}}",
		"users.resolver and users.holder are the same user, 6");
	refused("{\"users\":{\"keeper\":4,\"proxy\":\"no-such-user-here\",\"resolver\":6,\"holder\":7}}",
		"users.proxy: there is no user no-such-user-here; make it with: useradd --system --no-create-home "
		"--shell /usr/sbin/nologin no-such-user-here, or name another in users.proxy");
	refused(WITH("\"proxy\":{\"port\":9000,\"explicit_port\":9000}"), "are both 9000");
	refused(WITH("\"proxy\":{\"port\":8765}"), "are both 8765");
#define UP(more) "{\"users\":{\"keeper\":4,\"proxy\":5,\"resolver\":6,\"holder\":7},\"upstream\":{\"ca_file\":\"/c\"," more "}}"
	refused(UP("\"proxy\":\"https://192.0.2.10:3128\""), "is not a proxy");
	refused(UP("\"proxy\":\"http://proxy.example.com\""), "has no port");
	refused(UP("\"proxy\":\"http://proxy.example.com:65536\""), "has no port");
	refused(UP("\"proxy\":\"http://proxy:3128\""), "is no host");
	refused(UP("\"proxy\":\"http://Proxy.example.com:3128\""), "lower case");
	refused(UP("\"proxy\":\"http://*.example.com:3128\""), "is no host");
	refused(UP("\"proxy\":\"http://proxy.example.com:3128/x\""), "has no port");
	refused(UP("\"proxy\":\"http://proxy.example.com:3128\",\"proxy_user\":\"a\""), "one is missing");
	refused(UP("\"proxy\":\"http://proxy.example.com:3128\",\"proxy_password\":\"w/P\""), "one is missing");
	refused(UP("\"proxy_user\":\"a\",\"proxy_password\":\"w/P\""), "no upstream.proxy");
#define LOGIN(user, secret) UP("\"proxy\":\"http://192.0.2.10:3128\",\"proxy_user\":" user ",\"proxy_password\":" secret)
	refused(LOGIN("\"a:b\"", "\"w/P\""), "colon");
	refused(LOGIN("\"a\\nb\"", "\"w/P\""), "control character");
	refused(LOGIN("7", "\"w/P\""), "must be a string");
	refused(LOGIN("\"a\"", "7"), "must be a string");
	refused(LOGIN("\"a\"", "\"P\""), "with its workspace");
	refused(LOGIN("\"a\"", "\"/P\""), "with its workspace");
	refused(LOGIN("\"a\"", "\"w/\""), "with its workspace");
	refused(LOGIN("\"a\"", "\"w/p\""), "with its workspace");
	refused(LOGIN("\"a\"", "\"W/P\""), "names no workspace");
#undef LOGIN
	refused(UP("\"proxy\":\"http://192.0.2.10\""), "has no port");
	refused(UP("\"proxy\":\"http://2001:db8::1\""), "has no port");
	refused(UP("\"proxy\":\"http://192.0.2.10:0\""), "out of range");
	refused(UP("\"proxy\":\"http://u:p@192.0.2.10:3128\""), "has a user in it");
	refused(UP("\"proxy\":7"), "must be a string");
	refused(UP("\"no_proxy\":\"a.example.com\""), "must be a list");
	refused(UP("\"no_proxy\":[\"localhost\"]"), "single label");
	refused(UP("\"no_proxy\":[7]"), "must be a string");
	refused(UP("\"tls_timeout\":0"), "out of range");
#undef UP
	refused(WITH("\"proxy\":{\"max_connections\":5,\"per_guard_connections\":6}"), "6 is more than");
	refused(WITH("\"dns\":{\"ttl_min\":301}"), "dns.ttl_min 301 is more than dns.ttl_max 300");
	for (size_t n = 90; n <= 210; n++) {
		struct config c;
		char dir[256] = "/";

		memset(dir + 1, 'd', n - 1);
		dir[n] = '\0';
		snprintf(text, sizeof(text), WITH("\"run_dir\":\"%s\""), dir);
		if (n + strlen("/control.sock") < 108)
			good(text, &c);
		else
			refused(text, n > 199 ? "run_dir: is longer" : "longer than");
		snprintf(text, sizeof(text), WITH("\"state_dir\":\"%s\""), dir);
		if (n + strlen("/audit.jsonl") < CONFIG_PATH_MAX)
			good(text, &c);
		else
			refused(text, "is longer than 199");
	}
	memset(text, ' ', sizeof(text) - 1);
	refused(text, "are too many");
}

static void who_goes_through_the_proxy(void **state)
{
	static const uint8_t public[16] = {[10] = 0xff, 0xff, 203, 1, 114, 9}, inside[16] = {[10] = 0xff, 0xff, 10, 1, 2, 3};
	char buf[CONFIG_HOST_MAX];
	struct config c;

	(void)state;
	good("{\"users\":{\"keeper\":4,\"proxy\":5,\"resolver\":6,\"holder\":7},\"upstream\":{\"ca_file\":\"/c\","
	     "\"proxy\":\"http://[2001:db8::9]:3128/\",\"no_proxy\":[\"a.example.com\",\"*.corp.example.com\"],"
	     "\"extra_ca_file\":\"/d\",\"tls_timeout\":3,\"resolve_timeout\":4}}", &c);
	assert_int_equal(c.http_proxy.port, 3128);
	assert_int_equal(c.http_proxy.addr[15], 9);
	assert_string_equal(c.extra_ca_file, "/d");
	assert_int_equal(c.tls_timeout_s, 3);
	assert_int_equal(c.resolve_timeout_s, 4);
	assert_true(config_proxied(&c, "b.example.com", public));
	assert_true(config_proxied(&c, "corp.example.com", public));
	assert_false(config_proxied(&c, "a.example.com", public));
	assert_false(config_proxied(&c, "x.y.corp.example.com", public));
	assert_false(config_proxied(&c, "b.example.com", inside));
	assert_string_equal(config_proxy_host(&c, buf), "2001:db8::9");
	c.http_proxy.port = 0;
	assert_false(config_proxied(&c, "b.example.com", public));
	good("{\"users\":{\"keeper\":4,\"proxy\":5,\"resolver\":6,\"holder\":7},\"upstream\":{\"ca_file\":\"/c\","
	     "\"proxy\":\"http://proxy.corp.example:3128\",\"proxy_user\":\"al ice\",\"proxy_password\":\"corp-1/PROXY_PASSWORD\"}}", &c);
	assert_string_equal(config_proxy_host(&c, buf), "proxy.corp.example");
	assert_int_equal(c.http_proxy.port, 3128);
	assert_string_equal(c.http_proxy_user, "al ice");
	assert_string_equal(c.http_proxy_workspace, "corp-1");
	assert_string_equal(c.http_proxy_secret, "PROXY_PASSWORD");
	assert_true(config_proxied(&c, "b.example.com", public));
}

static void any_cut_or_flip_is_safe(void **state)
{
	char text[sizeof(all)];
	struct config c;
	struct err e;

	(void)state;
	for (size_t n = 0; n < sizeof(all) - 1; n++)
		assert_true(parse(all, n, &c, &e) < 0);
	for (size_t i = 0; i < (sizeof(all) - 1) * 8; i++) {
		memcpy(text, all, sizeof(all));
		text[i / 8] ^= (char)(1 << (i % 8));
		if (parse(text, sizeof(all) - 1, &c, &e) == 0) {
			assert_true(c.workers >= 1 && c.workers <= 16 && c.dns_count <= CONFIG_DNS_MAX);
			assert_true(c.keeper_user.uid && c.keeper_user.gid && c.state_dir[0] == '/');
		} else {
			assert_true(e.text[0]);
		}
	}
}

static void files(void **state)
{
	char dir[] = "/tmp/test_config.XXXXXX", path[64], text[2048];
	struct config c;
	struct err e = {""};
	int fd, n;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/config.json", dir);
	assert_int_equal(config_load(path, &c, &e), -ENOENT);
	assert_non_null(strstr(e.text, "cannot be opened"));
	assert_int_equal(config_load(dir, &c, &e), -EINVAL);
	assert_non_null(strstr(e.text, "is not a regular file"));
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	n = snprintf(text, sizeof(text), "%s", all);
	assert_int_equal(write(fd, text, (size_t)n), n);
	assert_int_equal(config_load(path, &c, &e), 0);
	assert_int_equal(c.proxy_port, 15002);
	for (mode_t m = 0; m <= 0777; m++) {
		assert_int_equal(fchmod(fd, m | 0400), 0);
		assert_int_equal(config_load(path, &c, &e), m & 022 ? -EPERM : 0);
	}
	assert_non_null(strstr(e.text, "may be written by others (mode 0777)"));
	assert_int_equal(fchmod(fd, 0600), 0);
	if (geteuid() == 0) {
		assert_int_equal(fchown(fd, 64999, 0), 0);
		assert_int_equal(config_load(path, &c, &e), -EPERM);
		assert_non_null(strstr(e.text, "belongs to user 64999"));
		assert_int_equal(fchown(fd, 0, 0), 0);
	}
	assert_int_equal(ftruncate(fd, 70000), 0);
	assert_int_equal(config_load(path, &c, &e), -E2BIG);
	assert_int_equal(ftruncate(fd, 10), 0);
	assert_int_equal(config_load(path, &c, &e), -EINVAL);
	assert_memory_equal(e.text, path, strlen(path));
	close(fd);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(config_load(path, &c, &e), -EINVAL); /* and does not wait for a writer */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(every_field), cmocka_unit_test(refuses_fields),
		cmocka_unit_test(refuses_what_does_not_fit), cmocka_unit_test(who_goes_through_the_proxy),
		cmocka_unit_test(any_cut_or_flip_is_safe),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
