/* guards_file.c: the record of a guard on disk, one small JSON file under its id. See guards.h, guards_in.h. */
#include "guards_in.h"

#include "fdio.h"
#include <jansson.h>
#include <stdio.h>
#include <string.h>

void guards_id_text(uint64_t id, char out[24])
{
	(void)snprintf(out, 24, "%llu", (unsigned long long)id);
}

int guards_write(struct parent *p, const struct guard *g)
{
	auto_free char *text = NULL;
	json_t *births = json_array();
	json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:i, s:s, s:s, s:b, s:b, s:o}", "workspace",
			      g->workspace, "name", g->name, "netns", (json_int_t)g->netns, "since",
			      (json_int_t)g->since, "dns_port", (int)g->dns_port, "path", g->path,
			      "origin", g->origin, "in_place", g->in_place, "settled", g->settled,
			      "births", births);
	char file[24];
	size_t i;

	if (!j)
		return -ENOMEM;
	for (i = 0; i < g->birth_count; i++)
		(void)json_array_append_new(births, json_integer((json_int_t)g->births[i]));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	guards_id_text(g->id, file);
	return text ? fdio_replace(p->guards_dir, file, text, strlen(text), 0600) : -ENOMEM;
}

bool guards_put(char out[PARENT_CGROUP_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, PARENT_CGROUP_MAX, fmt, ap);
	va_end(ap);
	return n >= 0 && n < PARENT_CGROUP_MAX;
}

/* Where it stands and what it adopted; a record of before attach was there has only a name. */
static int guards_read_place(struct parent *p, json_t *j, const char *name, struct guard *g)
{
	const char *path = NULL, *origin = "";
	int in_place = 0, settled = 1;
	json_t *births = NULL, *v;
	size_t i;

	if (json_unpack(j, "{s?s, s?s, s?b, s?b, s?o}", "path", &path, "origin", &origin,
			"in_place", &in_place, "settled", &settled, "births", &births) != 0)
		return -EBADMSG;
	if (path ? !guards_put(g->path, "%s", path)
		 : !guards_put(g->path, "%s/%s", p->cfg.cgroup_root, name))
		return -EBADMSG;
	(void)snprintf(g->origin, sizeof(g->origin), "%s", origin);
	g->in_place = in_place;
	g->settled = settled;
	json_array_foreach(births, i, v)
		if (g->birth_count < PARENT_BIRTHS_MAX)
			g->births[g->birth_count++] = (uint64_t)json_integer_value(v);
	return 0;
}

int guards_read(struct parent *p, uint64_t id, struct guard *g)
{
	auto_free char *text = NULL;
	const char *workspace, *name;
	json_int_t netns, since;
	char file[24];
	json_t *j;
	int dns_port, rc;
	size_t n;

	guards_id_text(id, file);
	rc = fdio_read_file(p->guards_dir, file, 4096, &text, &n);
	if (rc < 0)
		return rc;
	j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	rc = j && json_unpack(j, "{s:s, s:s, s:I, s:I, s:i}", "workspace", &workspace, "name",
			      &name, "netns", &netns, "since", &since, "dns_port", &dns_port) == 0
		     ? guards_read_place(p, j, name, g)
		     : -EBADMSG;
	if (rc == 0 && (!rules_workspace_ok(workspace) || strlen(name) >= sizeof(g->name) ||
			strchr(name, '/')))
		rc = -EBADMSG;
	if (rc == 0) {
		g->id = id;
		(void)snprintf(g->workspace, sizeof(g->workspace), "%s", workspace);
		(void)snprintf(g->name, sizeof(g->name), "%s", name);
		g->netns = (uint64_t)netns;
		g->since = (uint64_t)since;
		g->dns_port = (uint16_t)dns_port;
	}
	json_decref(j);
	return rc;
}
