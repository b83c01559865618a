/* binding.c: see binding.h. */
#include "binding.h"

#include "typed.h"

#include <stdio.h>
#include <string.h>

#define NO_TEXT "an argument is not UTF-8, or memory ran out"

/* A host of a binding: no URL, no port. */
static int plain_host(const char *v, size_t len, struct err *e)
{
	char typed[TYPED_HOST_MAX], host[TYPED_HOST_MAX];
	uint16_t port;
	int rc;

	if ((size_t)snprintf(typed, sizeof(typed), "%.*s", (int)len, v) >= sizeof(typed))
		return err_set(e, -EINVAL, "--host: longer than 253 bytes, which no name can be");
	rc = typed_host(typed, host, &port, e);
	if (rc)
		return err_in(e, rc, "--host");
	return port ? err_set(e, -EINVAL, "--host takes a host without a port; type: %s", host) : 0;
}

json_t *binding_list(const struct cli *c, char id, struct err *e)
{
	auto_json json_t *list = json_array();
	const char *v;

	for (size_t at = 0; (v = args_next(&c->args, id, &at));)
		for (size_t len; *v; v += len + (v[len] == ',')) {
			len = strcspn(v, ",");
			if (id == 'H' && len && plain_host(v, len, e))
				return NULL;
			if (len && json_array_append_new(list, json_stringn(v, len))) {
				(void)err_set(e, -EINVAL, NO_TEXT);
				return NULL;
			}
		}
	return take(list);
}

/* Ports, methods or paths, each option one; "any" alone is an empty list. NULL in *ret: not given. */
static int narrowed(const struct cli *c, char id, json_t **ret, struct err *e)
{
	auto_json json_t *list = json_array();
	bool any = false;
	const char *v;

	for (size_t at = 0; (v = args_next(&c->args, id, &at));) {
		uint16_t port = 0;
		int rc = id == 'p' && strcmp(v, "any") != 0 ? typed_port(v, &port, e) : 0;

		if (rc)
			return rc;
		any |= strcmp(v, "any") == 0;
		if (strcmp(v, "any") != 0 &&
		    json_array_append_new(list, port ? json_integer(port) : json_string(v)))
			return err_set(e, -EINVAL, NO_TEXT);
	}
	if (any && json_array_size(list))
		return err_set(e, -EINVAL, "\"any\" stands alone");
	if (any || json_array_size(list))
		*ret = take(list);
	return 0;
}

int binding_add(const struct cli *c, json_t *request, struct err *e)
{
	static const struct {
		char id;
		const char *field;
	} lists[] = {{'p', "ports"}, {'M', "methods"}, {'P', "paths"}};
	auto_json json_t *hosts = binding_list(c, 'H', e), *slots = binding_list(c, 'S', e);
	const char *placeholder = args_value(&c->args, 'L');

	if (!hosts || !slots)
		return e->text[0] ? -EINVAL : err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		json_t *list = NULL;
		int rc = narrowed(c, lists[i].id, &list, e);

		if (rc)
			return rc;
		if (list && json_object_set_new(request, lists[i].field, list))
			return err_set(e, -ENOMEM, "out of memory");
	}
	if ((json_array_size(hosts) && json_object_set(request, "hosts", hosts)) ||
	    (json_array_size(slots) && json_object_set(request, "slots", slots)) ||
	    (placeholder && json_object_set_new(request, "placeholder", json_string(placeholder))))
		return err_set(e, -EINVAL, NO_TEXT);
	return 0;
}

/* The name that TEXT has in braces, and what is around it. */
static int inject_text(const char *text, json_t *o, struct err *e)
{
	const char *open = strchr(text, '{'), *close = open ? strchr(open, '}') : NULL;

	if (!close || close == open + 1 || strchr(close, '{'))
		return err_set(
			e, -EINVAL,
			"--inject names one secret in braces, as in 'header:Authorization: Bearer "
			"{STRIPE_KEY}'");
	if (json_object_set_new(o, "secret", json_stringn(open + 1, (size_t)(close - open - 1))) ||
	    json_object_set_new(o, "prefix", json_stringn(text, (size_t)(open - text))) ||
	    json_object_set_new(o, "suffix", json_string(close + 1)))
		return err_set(e, -EINVAL, NO_TEXT);
	return 0;
}

int binding_inject(const char *typed, json_t **ret, struct err *e)
{
	auto_json json_t *o = json_object();
	const char *colon = strchr(typed, ':'), *name = colon ? colon + 1 : "", *text = name;
	size_t name_len = 0;
	int rc;

	if (strncmp(typed, "header:", 7) == 0) {
		name_len = strcspn(name, ":");
		text = name + name_len + (name[name_len] == ':');
		text += strspn(text, " ");
	} else if (strncmp(typed, "query:", 6) == 0) {
		name_len = strcspn(name, "=");
		text = name + name_len + (name[name_len] == '=');
	} else if (strncmp(typed, "basic:", 6) != 0) {
		return err_set(
			e, -EINVAL,
			"--inject is 'header:NAME: TEXT', 'basic:USER:TEXT' or 'query:NAME=TEXT', with "
			"{SECRET} in TEXT");
	}
	if (json_object_set_new(o, "slot", json_stringn(typed, (size_t)(colon - typed))) ||
	    json_object_set_new(o, "name", json_stringn(name, name_len)))
		return err_set(e, -EINVAL, NO_TEXT);
	rc = inject_text(text, o, e);
	if (!rc)
		*ret = take(o);
	return rc;
}
