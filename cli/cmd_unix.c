/* cmd_unix.c: `agentsecrets workspace unix ...` */
#include "cli.h"
#include "client.h"
#include "show.h"

static int change(struct cli *c, const char *op, const char *done)
{
	auto_json json_t *a = NULL, *list = json_array();
	json_t *request = client_request(c, op, true);
	struct err e = {""};

	for (size_t i = 0; i < c->args.rest_count; i++)
		(void)json_array_append_new(list, json_string(c->args.rest[i]));
	(void)json_object_set(request, "sockets", list);
	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)printf("%s %zu socket%s; the workspace's document is at version %lld.\n", done,
		     c->args.rest_count, c->args.rest_count == 1 ? "" : "s",
		     (long long)client_number(a, "version"));
	return show_end();
}

int cmd_unix_add(struct cli *c)
{
	return change(c, "unix.add", "Opened");
}

int cmd_unix_remove(struct cli *c)
{
	return change(c, "unix.remove", "Closed");
}

int cmd_unix_list(struct cli *c)
{
	static const char *const heads[] = {"SOCKET", "NOTE"};
	auto_json json_t *a = NULL, *rows = json_array();
	const json_t *s;
	struct err e = {""};
	size_t i;

	if (client_call(c, client_request(c, "unix.list", true), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	json_array_foreach(json_object_get(a, "sockets"), i, s)
		(void)json_array_append_new(
			rows, json_pack("[s,s]", client_text(s, "socket"), client_text(s, "note")));
	show_table(stdout, heads, ARRAY_SIZE(heads), rows);
	return show_end();
}
