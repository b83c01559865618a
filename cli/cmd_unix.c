/* cmd_unix.c: `agentsecrets workspace unix ...` */
#include "cli.h"
#include "client.h"
#include "listing.h"
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

static json_t *socket_row(const json_t *s)
{
	return json_pack("[s,s]", client_text(s, "socket"), client_text(s, "note"));
}

int cmd_unix_list(struct cli *c)
{
	static const char *const heads[] = {"SOCKET", "NOTE"};

	return listing(c, &(struct listing){"unix.list", true, "sockets", heads, ARRAY_SIZE(heads),
					    socket_row});
}
