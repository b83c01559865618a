/* who.c: see who.h. Lists: an installation has tens of workspaces and at most EG_GUARDS_MAX guards, and
 * they are searched once for each connection, not for each request.
 */
#include "who.h"

#include <assert.h>
#include <string.h>

static struct workspace *who_named(struct who *w, const char *name)
{
	struct workspace *ws = w->workspaces;

	while (ws && strcmp(ws->name, name) != 0)
		ws = ws->next;
	return ws;
}

static struct workspace *who_make(struct who *w, const char *name)
{
	struct workspace *ws = who_named(w, name);

	if (ws)
		return ws;
	ws = calloc(1, sizeof(*ws));
	if (!ws)
		return NULL;
	(void)strncpy(ws->name, name, sizeof(ws->name) - 1);
	ws->epoch = ++w->epoch;
	ws->next = w->workspaces;
	w->workspaces = ws;
	return ws;
}

static void who_free_formers(struct who_former **at)
{
	struct who_former *f;

	while ((f = *at)) {
		*at = f->next;
		free(f->hosts);
		free(f);
	}
}

/* Forgets a workspace that has neither a document nor a guard. */
static void who_unneeded(struct who *w, struct workspace *ws)
{
	struct workspace **at = &w->workspaces;

	if (ws->rules || ws->guards > 0)
		return;
	while (*at != ws)
		at = &(*at)->next;
	*at = ws->next;
	who_free_formers(&ws->formers);
	prints_free(ws->prints);
	free(ws);
}

static void who_unlist(struct who *w, struct guard *g)
{
	struct guard **at = &w->guards;

	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
}

static void who_free_guard(struct who *w, struct guard *g)
{
	struct workspace *ws = g->workspace;

	who_unlist(w, g);
	free(g);
	ws->guards--;
	who_unneeded(w, ws);
}

static void who_set(struct workspace *ws, struct rules *rules, struct ref_marks *marks)
{
	ref_marks_free(ws->marks);
	rules_free(ws->rules);
	ws->rules = rules;
	ws->marks = marks;
}

void who_done(struct who *w)
{
	while (w->guards)
		who_free_guard(w, w->guards);
	while (w->workspaces) {
		who_set(w->workspaces, NULL, NULL);
		who_unneeded(w, w->workspaces);
	}
}

int who_workspace(struct who *w, const char *name, struct rules *rules)
{
	struct workspace *ws = who_make(w, name);
	struct ref_marks *marks = NULL;

	if (!ws || ref_marks_new(rules, &marks) < 0)
		return -ENOMEM;
	who_set(ws, rules, marks);
	ws->epoch = ++w->epoch;
	return 0;
}

void who_workspace_gone(struct who *w, const char *name)
{
	struct workspace *ws = who_named(w, name);

	if (!ws)
		return;
	who_set(ws, NULL, NULL);
	ws->epoch = ++w->epoch;
	who_unneeded(w, ws);
}

void who_secret_changed(struct who *w, const char *name)
{
	struct workspace *ws = who_named(w, name);

	if (ws)
		ws->epoch = ++w->epoch;
}

int who_prints(struct who *w, const char *name, const uint8_t *bytes, size_t len)
{
	struct workspace *ws = who_make(w, name);
	struct prints *prints = NULL;
	int rc = ws ? prints_new(bytes, len, &prints) : -ENOMEM;

	if (rc < 0)
		return rc;
	prints_free(ws->prints);
	ws->prints = prints;
	return 0;
}

int who_former(struct who *w, const char *name, uint64_t number, const char *hosts, size_t len)
{
	struct workspace *ws = who_make(w, name);
	struct who_former *f, **at;
	uint32_t n;

	if (!ws)
		return -ENOMEM;
	ws->epoch = ++w->epoch;
	if (number == 0)
		return 0;
	if (len == 0 || hosts[len - 1] != '\0' || hosts[0] == '\0' || memmem(hosts, len, "\0", 2))
		return -EPROTO;
	f = calloc(1, sizeof(*f));
	if (f)
		f->hosts = calloc(1, len + 1);
	if (!f || !f->hosts) {
		free(f);
		return -ENOMEM;
	}
	memcpy(f->hosts, hosts, len);
	f->number = number;
	f->next = ws->formers;
	ws->formers = f;
	for (n = 0, at = &ws->formers; *at && n < FORMER_PER_WORKSPACE; n++)
		at = &(*at)->next;
	who_free_formers(at);
	return 0;
}

void who_formers_gone(struct who *w)
{
	struct workspace *ws;

	for (ws = w->workspaces; ws; ws = ws->next)
		who_free_formers(&ws->formers);
}

bool who_former_may(const struct who_former *f, const char *host)
{
	const char *pattern;

	for (pattern = f->hosts; *pattern; pattern += strlen(pattern) + 1)
		if (rules_host_match(pattern, host))
			return true;
	return false;
}

int who_guard(struct who *w, uint64_t id, const char *workspace)
{
	struct guard *g = who_find(w, id);
	struct workspace *ws = who_make(w, workspace), *old;

	if (!ws)
		return -ENOMEM;
	if (g) {
		old = g->workspace;
		ws->guards++;
		g->workspace = ws;
		old->guards--;
		who_unneeded(w, old);
		return 0;
	}
	g = calloc(1, sizeof(*g));
	if (!g) {
		who_unneeded(w, ws);
		return -ENOMEM;
	}
	g->id = id;
	g->workspace = ws;
	ws->guards++;
	g->next = w->guards;
	w->guards = g;
	return 0;
}

struct guard *who_find(const struct who *w, uint64_t id)
{
	struct guard *g = w->guards;

	while (g && (g->id != id || g->gone))
		g = g->next;
	return g;
}

struct guard *who_guard_gone(struct who *w, uint64_t id)
{
	struct guard *g = who_find(w, id);

	if (!g)
		return NULL;
	g->gone = true;
	if (g->connections > 0)
		return g;
	who_free_guard(w, g);
	return NULL;
}

void who_leave(struct who *w, struct guard *g)
{
	assert(g->connections > 0);
	g->connections--;
	if (g->gone && g->connections == 0)
		who_free_guard(w, g);
}
