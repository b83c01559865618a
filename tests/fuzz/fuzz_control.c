/* A line of the control socket, as far as the keeper, which is not there: nothing is carried out, every refusal has a sentence
 * of printable characters, and the document in force stays as it is. First byte: the caller. Not asked: what would act on
 * this machine (cgroups, canaries). */
#include "audit.h"
#include "ops.h"
#include "proc.h"
#include "workspaces.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct parent p;

static struct workspace *begin(void)
{
	static struct workspace *w = &p.workspaces[3];
	static const char *const hosts[] = {"api.stripe.com"};
	struct rules_rule rule = {.host = "api.stripe.com", .port = 443};
	struct rpc_audit_key key = {.writer = "parent"};
	struct err e;

	if (w->rules)
		return w;
	p.initialised = true;
	p.state_dir = p.run_dir = p.workspaces_dir = p.trust_dir = p.vault_dir = p.guards_dir = p.current_dir = p.tls_dir = -1;
	w->rules = rules_new("demo", 1000, "2026-11-23T07:00:00Z");
	assert(rules_add(w->rules, &rule, &e) == 0 && rules_bind(w->rules, "KEY", hosts, 1, RULES_SLOTS_DEFAULT, &e) == 0);
	w->rules->version = 1;
	assert(audit_new(open("/dev/null", O_WRONLY), &key, CONFIG_SYNC_INTERVAL, &p.audit) == 0);
	return w;
}

static bool here(const char *op)
{
	return op && (strncmp(op, "workspace.", 10) == 0 || strncmp(op, "allowlist.", 10) == 0 ||
		      strncmp(op, "secrets.", 8) == 0 || strncmp(op, "log.key", 7) == 0 || op[0] == 'v');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct workspace *w = begin();
	struct ops_caller who = {1, size > 0 && data[0] % 3 ? 1000u * (data[0] % 3 - 1) : 7};
	int fd_in = -1, fd_out = -1, rc;
	json_t *request, *answer;
	struct err e = {""};
	json_error_t je;
	size_t i;

	if (size < 1)
		return 0;
	request = json_loadb((const char *)data + 1, size - 1, JSON_REJECT_DUPLICATES, &je);
	answer = json_object();
	if (json_is_object(request) && here(json_string_value(json_object_get(request, "op")))) {
		rc = ops_run(&p, &who, request, &fd_in, answer, &fd_out, &e);
		assert(fd_out < 0 && w->rules && w->rules->version == 1);
		assert(rc >= 0 || e.text[0]);
		for (i = 0; rc < 0 && e.text[i]; i++)
			assert((uint8_t)e.text[i] >= ' ' && e.text[i] != 0x7f);
	}
	json_decref(request);
	json_decref(answer);
	return 0;
}
