/* cmd_bind.c: `agentsecrets secrets bind|rotate|test`, `workspace foreign-credentials`. */
#include "binding.h"
#include "prompt.h"
#include "show.h"
#include "typed.h"

#include <string.h>

static json_t *named(const struct cli *c, const char *op)
{
	return client_with(client_request(c, op, true), "name", json_string(c->args.rest[0]));
}

/* "Bound STRIPE_KEY", and what stands for it. */
static int done(const struct cli *c, json_t *a, const char *what)
{
	if (c->json)
		return show_json(a);
	(void)printf("%s ", what);
	show_text(stdout, c->args.rest[0]);
	if (client_number(a, "version"))
		(void)printf("; the allowlist is at version %lld",
			     (long long)client_number(a, "version"));
	(void)fputs(".\n", stdout);
	if (client_text(a, "placeholder")[0])
		show_line("Its placeholder: ", client_text(a, "placeholder"));
	return show_end();
}

int cmd_secrets_bind(struct cli *c)
{
	auto_json json_t *a = NULL, *request = named(c, "secrets.bind");
	struct err e = {""};
	int rc = request ? binding_add(c, request, &e) : err_set(&e, -ENOMEM, "out of memory");

	if (!rc && json_object_size(request) <= 2 + (c->workspace != NULL))
		return cli_usage(
			c,
			"say what to bind it to: --host, --slot, --port, --method, --path or --placeholder");
	if (!rc)
		rc = client_call(c, take(request), -1, &a, NULL, &e);
	return rc ? cli_fail(&e) : done(c, a, "Bound");
}

int cmd_secrets_rotate(struct cli *c)
{
	auto_json json_t *a = NULL;
	auto_close int fd = -1;
	struct prompt value = {0};
	struct err e = {""};
	int rc;

	if (c->args.rest_count > 1)
		return cli_usage(
			c,
			"a value does not go on the command line: it stands in the shell's history and in "
			"the process list now, so take it for known. Give the new one on standard input: "
			"printf %%s \"$KEY\" | agentsecrets secrets rotate NAME");
	rc = prompt_protect(&e);
	if (!rc) /* keys of some kinds have lines; the daemon knows which, and refuses the others */
		rc = prompt_value(STDIN_FILENO, c->args.rest[0], true, &value, &e);
	if (!rc)
		rc = prompt_pipe(&value, &fd, &e);
	prompt_done(&value);
	if (!rc)
		rc = client_call(c, named(c, "secrets.rotate"), fd, &a, NULL, &e);
	return rc ? cli_fail(&e) : done(c, a, "Rotated");
}

static int test_request(const struct cli *c, json_t **ret, struct err *e)
{
	auto_json json_t *request = named(c, "secrets.test"), *slots = binding_list(c, 'S', e);
	const char *typed = args_value(&c->args, 'H'), *method = args_value(&c->args, 'M');
	const char *path = args_value(&c->args, 'P'), *port_text = args_value(&c->args, 'p');
	char host[TYPED_HOST_MAX];
	uint16_t port = 0;
	int rc;

	if (!request || !slots)
		return e->text[0] ? -EINVAL : err_set(e, -ENOMEM, "out of memory");
	if (!typed)
		return err_set(e, -EINVAL,
			       "name the host that it would go to: --host api.example.com");
	rc = typed_host(typed, host, &port, e);
	if (!rc && port_text)
		rc = typed_port(port_text, &port, e);
	if (rc)
		return rc;
	if (json_object_set_new(request, "host", json_string(host)) ||
	    (port && json_object_set_new(request, "port", json_integer(port))) ||
	    (method && json_object_set_new(request, "method", json_string(method))) ||
	    (path && json_object_set_new(request, "path", json_string(path))) ||
	    (json_array_size(slots) && json_object_set(request, "slots", slots)))
		return err_set(e, -EINVAL, "an argument is not UTF-8, or memory ran out");
	*ret = take(request);
	return 0;
}

int cmd_secrets_test(struct cli *c)
{
	static const char *const heads[] = {"SLOT", "VERDICT", "WHY"};
	auto_json json_t *a = NULL, *request = NULL, *rows = json_array();
	struct err e = {""};
	const json_t *s;
	bool any = false;
	size_t i;
	int rc = test_request(c, &request, &e);

	if (!rc)
		rc = client_call(c, take(request), -1, &a, NULL, &e);
	if (rc)
		return cli_fail(&e);
	json_array_foreach(json_object_get(a, "slots"), i, s) {
		bool allowed = json_is_true(json_object_get(s, "allowed"));

		any |= allowed;
		(void)json_array_append_new(
			rows, json_pack("[s,s,s]", client_text(s, "slot"),
					allowed ? "allowed" : client_text(s, "reason"),
					client_text(s, "message")));
	}
	if (c->json)
		rc = show_json(a);
	else
		show_table(stdout, heads, ARRAY_SIZE(heads), rows);
	if (!c->json)
		rc = show_end();
	return rc ? rc : any ? CLI_OK : CLI_FAILED;
}

int cmd_workspace_foreign(struct cli *c)
{
	auto_json json_t *a = NULL;
	json_t *request = client_request(c, "workspace.foreign", true);
	struct err e = {""};

	if (c->args.rest_count)
		request = client_with(request, "mode", json_string(c->args.rest[0]));
	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	show_line("Foreign credentials: ", client_text(a, "mode"));
	return show_end();
}
