/* ops_unix.c: the unix sockets outside that a workspace's guards may reach. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "guards.h"
#include "workspaces.h"

static int ops_unix_each(struct ops *o, int (*change)(struct rules *, const char *, struct err *),
			 const char *what)
{
	json_t *list = json_object_get(o->in, "sockets");
	auto_(rules) struct rules *r = NULL;
	size_t i, n = json_array_size(list);
	int rc;

	if (n == 0)
		return err_set(o->e, -EINVAL, "name at least one socket");
	rc = workspaces_copy(o->w, &r, o->e);
	for (i = 0; i < n && rc == 0; i++) {
		const char *peer = json_string_value(json_array_get(list, i));

		rc = peer ? change(r, peer, o->e)
			  : err_set(o->e, -EINVAL, "sockets must be a list of strings");
	}
	return rc < 0 ? rc : ops_commit(o, r, what);
}

/* What it stands for at the moment, as a sentence; "" when it is there and in force. */
static json_t *ops_unix_note(struct ops *o, const char *peer)
{
	struct enforce_exempt out;
	struct err e = {0};

	if (enforce_level(o->p->en) < 2)
		return json_string("at level L1 no unix socket is judged: all are reached");
	return json_string(guards_unix_look(peer, &out, &e) ? "" : e.text);
}

int ops_unix_add(struct ops *o)
{
	return ops_unix_each(o, rules_peer_add, "unix.add");
}

int ops_unix_remove(struct ops *o)
{
	return ops_unix_each(o, rules_peer_remove, "unix.remove");
}

int ops_unix_list(struct ops *o)
{
	const struct rules *r = o->w->rules;
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < r->peer_count; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:o}", "socket", r->peers[i],
							    "note", ops_unix_note(o, r->peers[i])));
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "version", json_integer((json_int_t)r->version));
	ops_set(o, "sockets", list);
	return 0;
}
