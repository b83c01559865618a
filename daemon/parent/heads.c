/* heads.c: see heads.h. The file has a line per writer: name, epoch in hex, number. */
#include "heads.h"

#include "fdio.h"
#include "log.h"
#include "proc.h"
#include "wr.h"

#include <stdio.h>
#include <string.h>

#define HEADS_FILE "audit.heads"
#define HEADS_MAX  4096
#define HEADS_LINE 96

/* The i-th writer that lives; false: there is no such one. */
static bool heads_get(const struct parent *p, size_t i, char name[16],
		      char epoch[AUDIT_EPOCH_HEX + 1], uint64_t *n)
{
	const struct proc *c;

	if (i == 0) {
		(void)snprintf(name, 16, "parent");
		*n = audit_recorded(p->audit, epoch);
		return true;
	}
	for (c = p->procs; c < p->procs + p->proc_count; c++) {
		if (c->role != PROC_PROXY || --i > 0)
			continue;
		(void)snprintf(name, 16, "proxy%u", c->number);
		sign_hex(c->audit_epoch, sizeof(c->audit_epoch), epoch);
		*n = c->stats.audit_lines;
		return true;
	}
	return false;
}

static int heads_say(struct parent *p, const char *name, const char *epoch, uint64_t n)
{
	struct audit_entry en = {.kind = AUDIT_HEAD, .of = name, .of_epoch = epoch, .of_n = n};

	return n > 0 ? parent_audit(p, &en) : 0;
}

/* The chain that c had is n lines long, at least. */
static void heads_of(struct parent *p, struct proc *c, uint64_t n)
{
	char name[16], epoch[AUDIT_EPOCH_HEX + 1];

	(void)snprintf(name, sizeof(name), "proxy%u", c->number);
	sign_hex(c->audit_epoch, sizeof(c->audit_epoch), epoch);
	if (heads_say(p, name, epoch, n) < 0)
		log_error("how far %s came is not in the audit log", name);
	c->stats.audit_lines = 0;
	p->heads_sum = 0;
}

void heads_ended(struct parent *p, struct proc *c)
{
	if (c->role == PROC_PROXY && p->audit)
		heads_of(p, c, c->stats.audit_lines);
}

void heads_renewed(struct parent *p, struct proc *c, const struct rpc_audit_renewed *r)
{
	heads_of(p, c, r->ended);
	memcpy(c->audit_epoch, r->epoch, sizeof(c->audit_epoch));
}

int heads_renewed_own(struct parent *p, const char *epoch, uint64_t n)
{
	p->heads_sum = 0;
	return heads_say(p, "parent", epoch, n);
}

/* "name epoch number": into the log. */
static int heads_line(struct parent *p, char *line)
{
	char *epoch = strchr(line, ' '), *number = epoch ? strchr(epoch + 1, ' ') : NULL,
	     *end = NULL;
	uint8_t bytes[AUDIT_EPOCH_HEX / 2];
	unsigned long long n;

	if (!number)
		return -EBADMSG;
	*epoch++ = '\0';
	*number++ = '\0';
	n = strtoull(number, &end, 10);
	if (*number < '0' || *number > '9' || *end || !audit_writer(line) ||
	    sign_unhex(epoch, strlen(epoch), bytes, sizeof(bytes)) < 0)
		return -EBADMSG;
	return heads_say(p, line, epoch, n);
}

int heads_open(struct parent *p, struct err *e)
{
	auto_free char *text = NULL;
	char *line, *rest;
	size_t len;
	int rc = fdio_read_file(p->state_dir, HEADS_FILE, HEADS_MAX, &text, &len);

	if (rc == -ENOENT)
		return 0;
	for (rest = rc == 0 ? text : NULL; rc == 0 && (line = strsep(&rest, "\n"));)
		if (*line)
			rc = heads_line(p, line);
	if (rc == -EBADMSG || rc == -E2BIG) {
		log_error(
			"%s/" HEADS_FILE
			" is damaged: it is not known how far the audit log of the daemon before went",
			p->cfg.state_dir);
		return 0;
	}
	return rc < 0 ? err_set(e, rc, "%s/" HEADS_FILE ": %s", p->cfg.state_dir, strerror(-rc))
		      : 0;
}

void heads_save(struct parent *p)
{
	char text[(1 + CONFIG_WORKERS_MAX) * HEADS_LINE], name[16], epoch[AUDIT_EPOCH_HEX + 1],
		line[HEADS_LINE];
	struct wr w = wr_of(text, sizeof(text));
	uint64_t n, sum = 0;
	size_t i;
	int rc;

	if (!p->audit)
		return;
	for (i = 0; heads_get(p, i, name, epoch, &n); i++) {
		(void)snprintf(line, sizeof(line), "%s %s %llu\n", name, epoch,
			       (unsigned long long)n);
		wr_str(&w, line);
		sum += n;
	}
	if (sum == p->heads_sum)
		return;
	rc = w.full ? -ENOSPC : fdio_replace(p->state_dir, HEADS_FILE, text, w.len, 0600);
	if (rc < 0)
		log_error("%s/" HEADS_FILE " cannot be written: %s", p->cfg.state_dir,
			  strerror(-rc));
	p->heads_sum = sum;
}

void heads_turn(struct parent *p, uint64_t now_ms)
{
	if (now_ms < p->heads_ms)
		return;
	p->heads_ms = now_ms + HEADS_MS;
	heads_save(p); /* what was answered since it was asked last */
	proc_tell_role(p, PROC_PROXY, RPC_STATS_ASK, NULL, 0, -1);
}

json_t *heads_list(struct parent *p)
{
	json_t *list = json_array();
	char name[16], epoch[AUDIT_EPOCH_HEX + 1];
	uint64_t n;
	size_t i;

	(void)proc_stats(p);
	for (i = 0; list && heads_get(p, i, name, epoch, &n); i++)
		(void)json_array_append_new(list, json_pack("{s:s,s:s,s:I}", "writer", name,
							    "epoch", epoch, "n", (json_int_t)n));
	return list;
}
