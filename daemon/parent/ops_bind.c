/* ops_bind.c: what secrets are bound to, and what that means for a request. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "jdoc.h"
#include "placeholder.h"
#include "sources.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int bind_slots(struct ops *o, uint32_t *ret)
{
	json_t *list = json_object_get(o->in, "slots"), *v;
	size_t i;

	if (!list)
		return 0;
	*ret = 0;
	json_array_foreach(list, i, v) {
		const char *word = json_string_value(v);
		int slot = word ? rules_slot_of(word) : 0;

		if (!slot)
			return err_set(
				o->e, -EINVAL,
				"there is no such slot; use header, basic, query, path, body, client_cert or proxy");
		*ret |= (uint32_t)slot;
	}
	return *ret ? 0
		    : err_set(o->e, -EINVAL,
			      "slots must be a list of header, basic, query, path, body, client_cert, proxy");
}

static int bind_hosts(struct ops *o, struct rules_secret *s, void **owned)
{
	json_t *list = json_object_get(o->in, "hosts");
	uint32_t i;
	int rc;

	if (!list)
		return 0;
	rc = ops_strings(o, "hosts", list, RPC_HOST_MAX, RULES_BIND_HOSTS_MAX, owned,
			 &s->host_count);
	s->hosts = *owned;
	for (i = 0; rc == 0 && i < s->host_count; i++) {
		char host[RPC_HOST_MAX];

		rc = rules_host(s->hosts[i], true, true, host, o->e);
		if (rc == 0)
			memcpy(s->hosts[i], host, sizeof(host));
	}
	return rc;
}

static int bind_ports(struct ops *o, struct rules_secret *s)
{
	json_t *list = json_object_get(o->in, "ports");
	size_t i;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > RULES_BIND_PORTS_MAX)
		return err_set(o->e, -EINVAL, "ports must be a list of at most %d numbers",
			       RULES_BIND_PORTS_MAX);
	s->port_count = 0;
	for (i = 0; i < json_array_size(list); i++) {
		json_int_t n = json_integer_value(json_array_get(list, i));

		if (n < 1 || n > 65535)
			return err_set(o->e, -EINVAL, "a port is a number from 1 to 65535");
		s->ports[s->port_count++] = (uint16_t)n;
	}
	return 0;
}

static int bind_placeholder(struct ops *o, struct rules_secret *s)
{
	const char *wish = NULL;
	uint8_t random[PLACEHOLDER_RANDOM];
	int rc = jdoc_str(o->in, "placeholder", &wish, o->e);

	if (rc < 0 || !wish)
		return rc;
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return err_set(o->e, -EIO, "the kernel gives no randomness");
	return placeholder_make(wish, random, s->placeholder, o->e);
}

int ops_bind(struct ops *o, struct rules *r, const char *name)
{
	const struct rules_secret *old = rules_secret(o->w->rules, name);
	struct rules_secret s = old ? *old : (struct rules_secret){.slots = RULES_SLOTS_DEFAULT};
	auto_free void *hosts = NULL;
	auto_free void *methods = NULL;
	auto_free void *paths = NULL;
	int rc = bind_slots(o, &s.slots);

	(void)snprintf(s.name, sizeof(s.name), "%s", name);
	if (rc == 0)
		rc = bind_hosts(o, &s, &hosts);
	if (rc == 0)
		rc = bind_ports(o, &s);
	if (rc == 0 && json_object_get(o->in, "methods")) {
		rc = ops_strings(o, "methods", json_object_get(o->in, "methods"),
				 sizeof(*s.methods), RULES_METHODS_MAX, &methods, &s.method_count);
		s.methods = methods;
	}
	if (rc == 0 && json_object_get(o->in, "paths")) {
		rc = ops_strings(o, "paths", json_object_get(o->in, "paths"), sizeof(*s.paths),
				 RULES_PATHS_MAX, &paths, &s.path_count);
		s.paths = paths;
	}
	if (rc == 0)
		rc = bind_placeholder(o, &s);
	if (rc == 0)
		rc = rules_put(r, &s, o->e);
	if (rc == 0 && s.placeholder[0])
		ops_set(o, "placeholder", json_string(s.placeholder));
	return rc;
}

int ops_secrets_bind(struct ops *o)
{
	auto_(rules) struct rules *r = NULL;
	struct rpc_secret_ref ref;
	int rc = ops_secret_ref(o, &ref,
				strcmp(sources_backend(o->p, o->w->rules->workspace), "file") == 0);

	if (rc == 0)
		rc = workspaces_copy(o->w, &r, o->e);
	if (rc == 0)
		rc = ops_bind(o, r, ref.name);
	return rc < 0 ? rc : ops_commit(o, r, "secrets.bind");
}

json_t *ops_binding(const struct rules_secret *s)
{
	json_t *slots = json_array(), *o;
	uint32_t i;

	for (i = 1; i <= RULES_SLOTS_KNOWN; i <<= 1)
		if (s->slots & i)
			(void)json_array_append_new(
				slots, json_string(rules_slot_word((enum rules_slot)i)));
	o = json_pack("{s:s, s:s, s:o, s:o}", "name", s->name, "kind", kind_word(s->kind), "hosts",
		      ops_list(s->hosts, RPC_HOST_MAX, s->host_count), "slots", slots);
	if (s->port_count) {
		json_t *ports = json_array();

		for (i = 0; i < s->port_count; i++)
			(void)json_array_append_new(ports, json_integer(s->ports[i]));
		(void)json_object_set_new(o, "ports", ports);
	}
	if (s->method_count)
		(void)json_object_set_new(
			o, "methods", ops_list(s->methods, sizeof(*s->methods), s->method_count));
	if (s->path_count)
		(void)json_object_set_new(o, "paths",
					  ops_list(s->paths, sizeof(*s->paths), s->path_count));
	if (s->placeholder[0])
		(void)json_object_set_new(o, "placeholder", json_string(s->placeholder));
	return o;
}

/* ---- what would become of a request ---- */

struct bind_test {
	char host[RPC_HOST_MAX], path[512];
	const char *method;
	uint16_t port;
	uint32_t slots; /* asked for; 0: each that there is */
};

static int test_read(struct ops *o, struct bind_test *t)
{
	const char *host = NULL, *path = "/";
	uint64_t port = 443;
	int rc = jdoc_str(o->in, "host", &host, o->e);

	t->method = "GET";
	if (rc == 0)
		rc = jdoc_str(o->in, "method", &t->method, o->e);
	if (rc == 0)
		rc = jdoc_str(o->in, "path", &path, o->e);
	if (rc == 0)
		rc = jdoc_uint(o->in, "port", 1, 65535, &port, o->e);
	if (rc == 0)
		rc = bind_slots(o, &t->slots);
	if (rc < 0)
		return rc;
	t->port = (uint16_t)port;
	if (!host)
		return err_set(o->e, -EINVAL, "name the host that the secret would go to");
	if (path[0] != '/' || rules_path(path, strcspn(path, "?"), t->path, sizeof(t->path)) < 0)
		return err_set(
			o->e, -EINVAL,
			"a path begins with / and has no dot segments, \"//\", encoded slashes or "
			"bytes that need encoding; without query");
	return rules_host(host, false, true, t->host, o->e);
}

static void test_one(json_t *list, const struct rules *r, const char *name,
		     const struct bind_test *t, enum rules_slot slot)
{
	char sentence[768];
	enum reason why;

	if (rules_judge(r, t->host, t->port, t->method, t->path, &why))
		why = rules_secret_may_in(r, name, t->host, t->port, slot, t->method, t->path);
	(void)json_array_append_new(
		list, json_pack("{s:s, s:b, s:s, s:s}", "slot", rules_slot_word(slot), "allowed",
				why == REASON_NONE, "reason",
				why == REASON_NONE ? "" : reason_word(why), "message",
				why == REASON_NONE ? ""
						   : reason_sentence(why, t->host, sentence,
								     sizeof(sentence))));
}

int ops_secrets_test(struct ops *o)
{
	struct bind_test t = {0};
	struct rpc_secret_ref ref;
	json_t *list;
	uint32_t bit;
	int rc = ops_secret_ref(o, &ref, true);

	if (rc == 0)
		rc = test_read(o, &t);
	if (rc < 0)
		return rc;
	list = json_array();
	for (bit = 1; bit <= RULES_SLOT_BODY; bit <<= 1)
		if (!t.slots || (t.slots & bit))
			test_one(list, o->w->rules, ref.name, &t, (enum rules_slot)bit);
	ops_set(o, "host", json_string(t.host));
	ops_set(o, "slots", list);
	return 0;
}

int ops_workspace_foreign(struct ops *o)
{
	auto_(rules) struct rules *r = NULL;
	const char *mode = NULL;
	int rc = jdoc_str(o->in, "mode", &mode, o->e);

	if (rc < 0)
		return rc;
	if (!mode) {
		ops_set(o, "mode", json_string(rules_foreign_word(o->w->rules->foreign)));
		return 0;
	}
	if (o->who->uid != 0)
		return err_set(o->e, -EPERM, "that is for root; run it with sudo");
	rc = workspaces_copy(o->w, &r, o->e);
	if (rc < 0)
		return rc;
	if (!rules_foreign_of(mode, &r->foreign))
		return err_set(o->e, -EINVAL, "there is no such mode; use off, warn or refuse");
	ops_set(o, "mode", json_string(mode));
	return ops_commit(o, r, "workspace.foreign");
}
