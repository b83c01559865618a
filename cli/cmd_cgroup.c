/* cmd_cgroup.c: `agentsecrets cgroup list`: what is under guard. */
#include "cli.h"
#include "client.h"
#include "show.h"

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

int cmd_cgroup_list(struct cli *c)
{
	static const char *const heads[] = {"GUARD", "WORKSPACE", "PROCESSES", "NETNS", "SINCE", "CGROUP"};
	auto_json json_t *a = NULL, *rows = json_array();
	const json_t *g;
	struct err e = {""};
	size_t i;

	if (client_call(c, client_request(c, "cgroup.list", false), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	json_array_foreach(json_object_get(a, "guards"), i, g) {
		(void)json_array_append_new(
			rows, json_pack("[s,s,o,s,o,s]", client_text(g, "guard"), client_text(g, "workspace"),
					json_sprintf("%zu", json_array_size(json_object_get(g, "pids"))),
					client_text(g, "netns"), since_text(g), client_text(g, "path")));
	}
	show_table(stdout, heads, ARRAY_SIZE(heads), rows);
	return show_end();
}
