/* cmd_source.c: see cmd_source.h. */
#include "cmd_source.h"

#include "show.h"
#include "typed.h"

#include <stdlib.h>
#include <string.h>

static int add_seconds(const struct cli *c, char id, const char *field, json_t *spec, struct err *e)
{
	const char *v = args_value(&c->args, id);
	long n;

	if (!v)
		return 0;
	if (typed_number(v, 0, &n))
		return err_set(e, -EINVAL, "--%s takes a number of seconds", field);
	return json_object_set_new(spec, field, json_integer(n)) ? err_set(e, -ENOMEM, "out of memory") : 0;
}

/* {"argv", "user", "timeout"?, "ttl"?, "env"?} as the daemon takes it. */
static int spec_of(const struct cli *c, json_t **ret, struct err *e)
{
	auto_json json_t *spec = json_object(), *env = json_array();
	const char *text = args_value(&c->args, 'X'), *user = args_value(&c->args, 'U'), *v;
	auto_json json_t *argv = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	json_int_t uid = 0;
	int rc;

	if (!json_is_array(argv))
		return err_set(e, -EINVAL,
			       "--exec takes a JSON list: '[\"/usr/bin/op\", \"read\", \"op://vault/item/field\"]'");
	if (!user)
		return err_set(e, -EINVAL, "name the user that runs it: --user USER; it is not run as root");
	rc = cmd_user_number(user, &uid, e);
	for (size_t at = 0; !rc && (v = args_next(&c->args, 'E', &at));)
		if (json_array_append_new(env, json_string(v)))
			rc = err_set(e, -EINVAL, "an argument is not UTF-8, or memory ran out");
	if (!rc && (json_object_set(spec, "argv", argv) || json_object_set_new(spec, "user", json_integer(uid)) ||
		    (json_array_size(env) && json_object_set(spec, "env", env))))
		rc = err_set(e, -ENOMEM, "out of memory");
	if (!rc)
		rc = add_seconds(c, 'T', "timeout", spec, e);
	if (!rc)
		rc = add_seconds(c, 'Q', "ttl", spec, e);
	if (!rc)
		*ret = take(spec);
	return rc;
}

int cmd_secrets_command(struct cli *c)
{
	auto_json json_t *a = NULL, *request = NULL, *spec = NULL;
	struct err e = {""};
	int rc = cmd_secrets_request(c, "secrets.command", &request, &e);

	if (!rc)
		rc = spec_of(c, &spec, &e);
	if (!rc && json_object_set(request, "command", spec))
		rc = err_set(&e, -ENOMEM, "out of memory");
	if (!rc)
		rc = client_call(c, take(request), -1, &a, NULL, &e);
	if (rc)
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)fputs("The value of ", stdout);
	show_text(stdout, c->args.rest[0]);
	(void)printf(" is what its command says; the allowlist is at version %lld.\n",
		     (long long)client_number(a, "version"));
	return show_end();
}
