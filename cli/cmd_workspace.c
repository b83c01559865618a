/* cmd_workspace.c: `agentsecrets workspace ...` and its allowlist. */
#include "binding.h"
#include "cli.h"
#include "client.h"
#include "cmd_source.h"
#include "listing.h"
#include "show.h"
#include "typed.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>

/* One question that names a workspace by its argument, and one sentence of an answer. */
static int named(struct cli *c, json_t *request, const char *done)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	request = client_with(request, "workspace", json_string(c->args.rest[0]));
	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	show_line(done, client_text(a, "workspace"));
	return show_end();
}

/* A user's name or number; -ENOENT with a sentence. */
int cmd_user_number(const char *text, json_int_t *ret, struct err *e)
{
	const struct passwd *pw = getpwnam(text);
	char *end;
	unsigned long n;

	if (pw) {
		*ret = (json_int_t)pw->pw_uid;
		return 0;
	}
	errno = 0;
	n = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || n >= UINT32_MAX)
		return err_set(e, -ENOENT, "there is no user \"%s\"; give a name or a number", text);
	*ret = (json_int_t)n;
	return 0;
}

int cmd_workspace_create(struct cli *c)
{
	json_t *request = client_request(c, "workspace.create", false);
	const char *owner = args_value(&c->args, 'o'), *backend = args_value(&c->args, 'B');
	struct err e = {""};
	json_int_t uid;

	if (owner && cmd_user_number(owner, &uid, &e)) {
		json_decref(request);
		return cli_fail(&e);
	}
	if (owner)
		request = client_with(request, "owner", json_integer(uid));
	if (backend)
		request = client_with(request, "backend", json_string(backend));
	return named(c, request, "Made workspace ");
}

int cmd_workspace_use(struct cli *c)
{
	return named(c, client_request(c, "workspace.use", false), "Current workspace: ");
}

int cmd_workspace_delete(struct cli *c)
{
	return named(c, client_request(c, "workspace.delete", false),
		     "Deleted, with its secrets: workspace ");
}

static json_t *number_text(const json_t *obj, const char *key)
{
	return json_sprintf("%lld", (long long)client_number(obj, key));
}

static json_t *workspace_row(const json_t *w)
{
	const struct passwd *pw = getpwuid((uid_t)client_number(w, "owner"));

	return json_pack(
		"[s,s,o,o,o,o,o,s]", client_text(w, "workspace"),
		json_is_true(json_object_get(w, "current")) ? "yes" : "", number_text(w, "rules"),
		number_text(w, "secrets"), number_text(w, "guards"), number_text(w, "version"),
		pw ? json_string(pw->pw_name) : number_text(w, "owner"), client_text(w, "backend"));
}

int cmd_workspace_list(struct cli *c)
{
	static const char *const heads[] = {"WORKSPACE", "CURRENT", "RULES", "SECRETS",
					    "GUARDS",    "VERSION", "OWNER", "VALUES"};

	return listing(c, &(struct listing){"workspace.list", false, "workspaces", heads,
					    ARRAY_SIZE(heads), workspace_row});
}

/* ---- allowlist ---- */

/* Every value of a repeated option, as an array; NULL when it was not given. */
static json_t *all_values(const struct cli *c, char id)
{
	json_t *list = NULL;
	const char *v;

	for (size_t at = 0; (v = args_next(&c->args, id, &at));) {
		if (!list)
			list = json_array();
		if (json_array_append_new(list, json_string(v))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

/* Every --inject. *ret stays NULL when there is none. */
static int injected(const struct cli *c, json_t **ret, struct err *e)
{
	auto_json json_t *list = json_array();
	const char *v;

	for (size_t at = 0; (v = args_next(&c->args, 'I', &at));) {
		json_t *one = NULL;
		int rc = binding_inject(v, &one, e);

		if (rc)
			return rc;
		(void)json_array_append_new(list, one);
	}
	if (json_array_size(list))
		*ret = take(list);
	return 0;
}

static int add_field(json_t *rule, const char *key, json_t *value)
{
	return value ? json_object_set_new(rule, key, value) : 0;
}

/* One rule of the request, from one argument and the options that hold for all of them. */
static int one_rule(const struct cli *c, const char *typed, json_t **ret, struct err *e)
{
	auto_json json_t *rule = json_object();
	const char *mode = args_value(&c->args, 'm'), *port = args_value(&c->args, 'p');
	const char *cert = args_value(&c->args, 'C');
	char host[TYPED_HOST_MAX];
	uint16_t number = 0;
	json_t *inject = NULL;
	int rc = typed_host(typed, host, &number, e);

	if (rc)
		return rc;
	if (port && number)
		return err_set(e, -EINVAL, "\"%s\" has a port already; leave --port out, or the port", typed);
	if (port) {
		rc = typed_port(port, &number, e);
		if (rc)
			return rc;
	}
	rc = injected(c, &inject, e);
	if (rc)
		return rc;
	if (json_object_set_new(rule, "host", json_string(host)) || add_field(rule, "inject", inject) ||
	    add_field(rule, "port", number ? json_integer(number) : NULL) ||
	    add_field(rule, "mode", mode ? json_string(mode) : NULL) ||
	    add_field(rule, "methods", all_values(c, 'M')) ||
	    add_field(rule, "paths", all_values(c, 'P')) ||
	    add_field(rule, "private", args_value(&c->args, 'r') ? json_true() : NULL) ||
	    add_field(rule, "upgrade", args_value(&c->args, 'u') ? json_true() : NULL) ||
	    add_field(rule, "client_cert", cert ? json_string(cert) : NULL))
		return err_set(e, -EINVAL, "an argument is not UTF-8, or memory ran out");
	*ret = take(rule);
	return 0;
}

int cmd_allowlist_add(struct cli *c)
{
	auto_json json_t *a = NULL, *rules = json_array();
	json_t *request;
	struct err e = {""};

	for (size_t i = 0; i < c->args.rest_count; i++) {
		json_t *rule = NULL;

		if (one_rule(c, c->args.rest[i], &rule, &e))
			return cli_fail(&e);
		(void)json_array_append_new(rules, rule);
	}
	request = client_request(c, "allowlist.add", true);
	(void)json_object_set(request, "rules", rules);
	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)printf("Allowed %zu host%s; the allowlist is at version %lld.\n", c->args.rest_count,
		     c->args.rest_count == 1 ? "" : "s", (long long)client_number(a, "version"));
	return show_end();
}

int cmd_allowlist_remove(struct cli *c)
{
	auto_json json_t *a = NULL, *rules = json_array();
	json_t *request;
	struct err e = {""};

	for (size_t i = 0; i < c->args.rest_count; i++) {
		char host[TYPED_HOST_MAX];
		uint16_t port = 0;

		if (typed_host(c->args.rest[i], host, &port, &e))
			return cli_fail(&e);
		(void)json_array_append_new(rules, port ? json_pack("{s:s,s:i}", "host", host, "port", port)
							: json_pack("{s:s}", "host", host));
	}
	request = client_request(c, "allowlist.remove", true);
	(void)json_object_set(request, "rules", rules);
	if (client_call(c, request, -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)printf("Removed %zu entr%s; the allowlist is at version %lld.\n", c->args.rest_count,
		     c->args.rest_count == 1 ? "y" : "ies", (long long)client_number(a, "version"));
	return show_end();
}

/* "GET POST", or "any" for an empty list. */
static json_t *joined(const json_t *list, const char *none)
{
	json_t *text = json_string("");
	const json_t *v;
	size_t i;

	json_array_foreach(list, i, v) {
		json_t *longer = json_sprintf("%s%s%s", json_string_value(text), i ? " " : "",
					      json_string_value(v) ? json_string_value(v) : "?");

		json_decref(text);
		text = longer;
	}
	if (json_array_size(list) > 0)
		return text;
	json_decref(text);
	return json_string(none);
}

static json_t *rule_options(const json_t *r)
{
	const char *cert = client_text(r, "client_cert");

	return json_sprintf("%s%s%s%s", json_is_true(json_object_get(r, "private")) ? "private " : "",
			    json_is_true(json_object_get(r, "upgrade")) ? "upgrade " : "",
			    cert[0] ? "client-cert=" : "", cert);
}

static json_t *rule_row(const json_t *r)
{
	return json_pack("[s,o,s,o,o,o]", client_text(r, "host"), number_text(r, "port"),
			 client_text(r, "mode"), joined(json_object_get(r, "methods"), "any"),
			 joined(json_object_get(r, "paths"), "any"), rule_options(r));
}

int cmd_allowlist_list(struct cli *c)
{
	static const char *const heads[] = {"HOST", "PORT", "MODE", "METHODS", "PATHS", "OPTIONS"};

	return listing(c, &(struct listing){"allowlist.list", true, "rules", heads,
					    ARRAY_SIZE(heads), rule_row});
}

int cmd_allowlist_verify(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (client_call(c, client_request(c, "allowlist.verify", true), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)fputs("Workspace ", stdout);
	show_text(stdout, client_text(a, "workspace"));
	(void)printf(", version %lld: the signature is good, key ", (long long)client_number(a, "version"));
	show_text(stdout, client_text(a, "public_key"));
	(void)fputc('\n', stdout);
	return show_end();
}
