/* cmd_doctor.c: `agentsecrets doctor`: what each guarantee rests on, here. The daemon checks the kernel's
 * side by canary; what `run` adds to a command by itself is checked here. */
#include "cli.h"
#include "client.h"
#include "run_sandbox.h"
#include "show.h"

static int add_own(json_t *checks)
{
	bool ok = run_sandbox_can_scope();

	return json_array_append_new(checks,
				     json_pack("{s:s,s:b,s:b,s:s}", "name", "run: no tracing out of the guard", "ok", ok,
					       "required", 0, "detail",
					       ok ? "Landlock" : "needs Landlock (Linux 5.19, in the lsm= list)"));
}

static const char *word(const json_t *check)
{
	if (json_is_true(json_object_get(check, "ok")))
		return "ok";
	return json_is_true(json_object_get(check, "required")) ? "MISSING" : "no";
}

int cmd_doctor(struct cli *c)
{
	static const char *const heads[] = {"CHECK", "STATE", "DETAIL"};
	auto_json json_t *a = NULL, *rows = json_array();
	struct err e = {""};
	json_t *checks;
	size_t i, missing = 0;
	const json_t *k;

	if (client_call(c, client_request(c, "doctor", false), -1, &a, NULL, &e))
		return cli_fail(&e);
	checks = json_object_get(a, "checks");
	if (!json_is_array(checks) || json_array_size(checks) == 0 || add_own(checks))
		return cli_fail(&(struct err){"agentsecretsd told of no checks"});
	json_array_foreach(checks, i, k) {
		missing += !json_is_true(json_object_get(k, "ok")) && json_is_true(json_object_get(k, "required"));
		(void)json_array_append_new(rows, json_pack("[s,s,s]", client_text(k, "name"), word(k),
							    client_text(k, "detail")));
	}
	if (c->json) {
		if (show_json(a))
			return CLI_FAILED;
	} else {
		show_table(stdout, heads, ARRAY_SIZE(heads), rows);
		if (show_end())
			return CLI_FAILED;
	}
	if (!missing)
		return CLI_OK;
	(void)err_set(&e, -ENOTSUP, "%zu of the required checks failed: nothing is guarded here until they are mended",
		      missing);
	return cli_fail(&e);
}
