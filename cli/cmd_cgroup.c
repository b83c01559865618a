/* cmd_cgroup.c: `agentsecrets cgroup list`, `attach` and `detach`. */
#include "cli.h"
#include "client.h"
#include "listing.h"
#include "show.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static json_t *since_text(const json_t *guard)
{
	time_t t = (time_t)client_number(guard, "since");
	char text[32];
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return json_string("");
	return json_string(text);
}

static json_t *guard_row(const json_t *g)
{
	return json_pack("[s,s,o,s,o,s]", client_text(g, "guard"), client_text(g, "workspace"),
			 json_sprintf("%zu", json_array_size(json_object_get(g, "pids"))),
			 client_text(g, "netns"), since_text(g), client_text(g, "path"));
}

int cmd_cgroup_list(struct cli *c)
{
	static const char *const heads[] = {"GUARD", "WORKSPACE", "PROCESSES",
					    "NETNS", "SINCE",     "CGROUP"};

	return listing(c, &(struct listing){"cgroup.list", false, "guards", heads,
					    ARRAY_SIZE(heads), guard_row});
}

static void text(const char *label, const json_t *obj, const char *key)
{
	show_line(label, client_text(obj, key));
}

static void killed(const json_t *a)
{
	const json_t *pid;
	size_t i;

	if (!client_number(a, "killed"))
		return;
	(void)printf("ended        ");
	json_array_foreach(json_object_get(a, "killed_pids"), i, pid)
		(void)printf("%s%lld", i ? ", " : "", (long long)json_integer_value(pid));
	(void)fputs(client_number(a, "killed") >
				    (json_int_t)json_array_size(json_object_get(a, "killed_pids"))
			    ? " and others\n"
			    : "\n",
		    stdout);
}

static void attached(const json_t *a)
{
	text("guard        ", a, "guard");
	text("workspace    ", a, "workspace");
	text(json_is_true(json_object_get(a, "moved")) ? "moved to     " : "in place     ", a,
	     "path");
	(void)printf(
		"processes    %lld\nsockets      %lld of before held, %lld connections reset\n",
		(long long)client_number(a, "processes"), (long long)client_number(a, "adopted"),
		(long long)client_number(a, "reset"));
	killed(a);
	(void)fputs(
		"\nIts environment stays as it is. No proxy variable is needed; its TLS clients must trust the\n"
		"bundle named below (SSL_CERT_FILE, NODE_EXTRA_CA_CERTS, REQUESTS_CA_BUNDLE and the like), and\n"
		"it has no system call filter, which agentsecrets run would give it.\n",
		stdout);
	text("bundle       ", a, "bundle");
	text("our CA       ", a, "ca");
	if (json_object_get(a, "privileged"))
		(void)printf(
			"\nProcess %lld keeps capabilities of root (NET_RAW, NET_ADMIN, SYS_ADMIN or the like). With them\n"
			"packets can be sent past sockets, which only level L3 stops: see agentsecrets doctor.\n",
			(long long)client_number(a, "privileged"));
}

int cmd_cgroup_attach(struct cli *c)
{
	json_t *request = client_request(c, "cgroup.attach", true);
	auto_json json_t *a = NULL;
	struct err e = {""};
	char *end;
	long long pid = strtoll(c->args.rest[0], &end, 10);

	if (*c->args.rest[0] < '0' || *c->args.rest[0] > '9' || *end || pid < 1 ||
	    pid > INT32_MAX) {
		json_decref(request);
		return cli_usage(c, "%s is no process id", c->args.rest[0]);
	}
	request = client_with(request, "pid", json_integer(pid));
	if (args_value(&c->args, 'k'))
		request = client_with(request, "kill", json_true());
	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	attached(a);
	return show_end();
}

int cmd_cgroup_detach(struct cli *c)
{
	json_t *request = client_with(client_request(c, "cgroup.detach", false), "guard",
				      json_string(c->args.rest[0]));
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	text("detached     ", a, "guard");
	if (client_number(a, "stay"))
		text("its processes stay in ", a, "path");
	else if (*client_text(a, "origin"))
		text("moved back   ", a, "origin");
	return show_end();
}
