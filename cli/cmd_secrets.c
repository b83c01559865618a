/* cmd_secrets.c: `agentsecrets secrets ...`. The value is read here and leaves through a pipe; it is never
 * part of a request, an argument or a message. */
#include "binding.h"
#include "cli.h"
#include "client.h"
#include "cmd_source.h"
#include "listing.h"
#include "prompt.h"
#include "show.h"

#include <string.h>

/* --kind, and --param NAME=VALUE, repeated. */
static int kind_of_args(const struct cli *c, json_t *request, struct err *e)
{
	auto_json json_t *params = json_object();
	const char *kind = args_value(&c->args, 'K'), *v;

	for (size_t at = 0; (v = args_next(&c->args, 'A', &at));) {
		const char *eq = strchr(v, '=');
		char name[64];

		if (!eq || eq == v || (size_t)snprintf(name, sizeof(name), "%.*s", (int)(eq - v), v) >= sizeof(name))
			return err_set(e, -EINVAL, "--param is NAME=VALUE, as in --param region=eu-west-1");
		if (json_object_set_new(params, name, json_string(eq + 1)))
			return err_set(e, -EINVAL, "an argument is not UTF-8, or memory ran out");
	}
	if ((kind && json_object_set_new(request, "kind", json_string(kind))) ||
	    (json_object_size(params) && json_object_set(request, "params", params)))
		return err_set(e, -EINVAL, "an argument is not UTF-8, or memory ran out");
	return 0;
}

int cmd_secrets_request(const struct cli *c, const char *op, json_t **ret, struct err *e)
{
	auto_json json_t *request = client_request(c, op, true);
	int rc = request ? binding_add(c, request, e) : err_set(e, -ENOMEM, "out of memory");

	if (!rc && json_object_set_new(request, "name", json_string(c->args.rest[0])))
		rc = err_set(e, -EINVAL, "an argument is not UTF-8, or memory ran out");
	if (!rc)
		rc = kind_of_args(c, request, e);
	if (!rc)
		*ret = take(request);
	return rc;
}

/* Keys in PEM and JSON have more lines than one. */
static bool many_lines(const struct cli *c)
{
	const char *kind = args_value(&c->args, 'K'), *slot = args_value(&c->args, 'S');

	if (slot && strcmp(slot, "client_cert") == 0)
		return true;
	return kind && strcmp(kind, "value") != 0;
}

int cmd_secrets_set(struct cli *c)
{
	auto_json json_t *a = NULL, *request = NULL;
	auto_close int fd = -1;
	struct prompt value = {0};
	struct err e = {""};
	int rc;

	if (c->args.rest_count > 1)
		return cli_usage(c, "a value does not go on the command line: it stands in the shell's history and in "
				    "the process list now, so take it for known and rotate that key. Then give the new "
				    "one on standard input: printf %%s \"$KEY\" | agentsecrets secrets set NAME");
	if (args_value(&c->args, 'X'))
		return cmd_secrets_command(c);
	rc = prompt_protect(&e);
	if (!rc)
		rc = cmd_secrets_request(c, "secrets.set", &request, &e);
	if (!rc)
		rc = prompt_value(STDIN_FILENO, c->args.rest[0], many_lines(c), &value, &e);
	if (!rc)
		rc = prompt_pipe(&value, &fd, &e);
	prompt_done(&value);
	if (!rc)
		rc = client_call(c, take(request), fd, &a, NULL, &e);
	if (rc)
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)fputs("Stored ", stdout);
	show_text(stdout, c->args.rest[0]);
	(void)printf("; the allowlist is at version %lld.\n", (long long)client_number(a, "version"));
	if (client_text(a, "placeholder")[0])
		show_line("Its placeholder: ", client_text(a, "placeholder"));
	return show_end();
}

static void join_into(char *out, size_t cap, const json_t *list, const char *none)
{
	const json_t *v;
	size_t i, len = 0;

	(void)snprintf(out, cap, "%s", none);
	json_array_foreach(list, i, v) {
		int n = snprintf(out + len, cap - len, "%s%s", i ? " " : "",
				 json_string_value(v) ? json_string_value(v) : "?");

		if (n < 0 || (size_t)n >= cap - len)
			return;
		len += (size_t)n;
	}
}

/* "443 POST /v1/x": its ports, methods and paths. */
static void narrowed_into(char *out, size_t cap, const json_t *s)
{
	static const char *const fields[] = {"ports", "methods", "paths"};
	size_t len = 0, f, i;
	const json_t *v;

	out[0] = '\0';
	for (f = 0; f < ARRAY_SIZE(fields); f++)
		json_array_foreach(json_object_get(s, fields[f]), i, v) {
			const char *blank = len ? " " : "";
			int n = json_is_integer(v) ? snprintf(out + len, cap - len, "%s%lld", blank,
							      (long long)json_integer_value(v))
						   : snprintf(out + len, cap - len, "%s%s", blank,
							      json_string_value(v) ? json_string_value(v) : "?");

			if (n < 0 || (size_t)n >= cap - len)
				return;
			len += (size_t)n;
		}
}

static json_t *secret_row(const json_t *s)
{
	char hosts[2048], slots[128], only[4096];

	join_into(hosts, sizeof(hosts), json_object_get(s, "hosts"), "none: refused everywhere");
	join_into(slots, sizeof(slots), json_object_get(s, "slots"), "");
	narrowed_into(only, sizeof(only), s);
	return json_pack("[s,s,s,s,s,s]", client_text(s, "name"), client_text(s, "kind"), hosts,
			 slots, only, client_text(s, "placeholder"));
}

int cmd_secrets_list(struct cli *c)
{
	static const char *const heads[] = {"NAME",  "KIND", "HOSTS",
					    "SLOTS", "ONLY", "PLACEHOLDER"};

	return listing(c, &(struct listing){"secrets.list", true, "secrets", heads,
					    ARRAY_SIZE(heads), secret_row});
}

int cmd_secrets_delete(struct cli *c)
{
	auto_json json_t *a = NULL;
	json_t *request = client_with(client_request(c, "secrets.delete", true), "name",
				      json_string(c->args.rest[0]));
	struct err e = {""};

	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	show_line("Deleted ", c->args.rest[0]);
	return show_end();
}
