/* cmd_status.c: `agentsecrets status` and `version`. */
#include "cli.h"
#include "client.h"
#include "show.h"

#include <string.h>

static void line(const char *name, const char *value)
{
	(void)printf("%-24s", name);
	show_text(stdout, value);
	(void)fputc('\n', stdout);
}

/* Scalars of an object, one per line; what a newer daemon adds shows up too. */
static void lines(json_t *obj, const char *prefix)
{
	const char *key;
	json_t *v;

	json_object_foreach(obj, key, v) {
		char name[64], number[32];

		(void)snprintf(name, sizeof(name), "%s%s", prefix, key);
		for (char *p = name; *p; p++)
			*p = *p == '_' ? ' ' : *p;
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(v));
		if (json_is_string(v))
			line(name, json_string_value(v));
		else if (json_is_integer(v))
			line(name, number);
		else if (json_is_boolean(v))
			line(name, json_is_true(v) ? "yes" : "no");
	}
}

static void processes(const json_t *list)
{
	static const char *const heads[] = {"PROCESS", "PID", "READY"};
	auto_json json_t *rows = json_array();
	const json_t *p;
	size_t i;

	json_array_foreach(list, i, p) {
		const json_t *number = json_object_get(p, "number");
		bool many = number && !strcmp(client_text(p, "role"), "proxy");
		json_t *name = many ? json_sprintf("%s %lld", client_text(p, "role"),
						   (long long)json_integer_value(number))
				    : json_string(client_text(p, "role"));

		(void)json_array_append_new(rows, json_pack("[o,o,s]", name,
							    json_sprintf("%lld", (long long)client_number(p, "pid")),
							    json_is_true(json_object_get(p, "ready")) ? "yes" : "no"));
	}
	if (json_array_size(rows))
		(void)fputc('\n', stdout);
	show_table(stdout, heads, ARRAY_SIZE(heads), rows);
}

int cmd_status(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (client_call(c, client_request(c, "status", false), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)json_object_del(a, "ok");
	lines(a, "");
	lines(json_object_get(a, "kernel_counters"), "kernel ");
	processes(json_object_get(a, "processes"));
	return show_end();
}

/* Ours always; the daemon's when it can be asked. */
int cmd_version(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};
	int rc = client_call(c, client_request(c, "version", false), -1, &a, NULL, &e);

	if (c->json) {
		auto_json json_t *out = json_pack("{s:s,s:o}", "version", AGENTSECRETS_VERSION, "daemon",
						  rc ? json_null() : json_string(client_text(a, "version")));

		return show_json(out);
	}
	(void)printf("agentsecrets %s\n", AGENTSECRETS_VERSION);
	if (!rc)
		show_line("agentsecretsd ", client_text(a, "version"));
	return show_end();
}
