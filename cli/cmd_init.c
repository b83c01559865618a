/* cmd_init.c: `agentsecrets init`: vault, signing key and CA, made by the daemon. */
#include "cli.h"
#include "client.h"
#include "show.h"

int cmd_init(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (client_call(c, client_request(c, "init", false), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)fputs("Made the vault, the signing key and the local CA.\n  signing key  ", stdout);
	show_text(stdout, client_text(a, "public_key"));
	(void)fputs("\n  CA           ", stdout);
	show_text(stdout, client_text(a, "ca_file"));
	(void)fputs("\n\nNext:\n"
		    "  agentsecrets workspace create demo\n"
		    "  agentsecrets workspace allowlist add api.stripe.com\n"
		    "  printf %s \"$KEY\" | agentsecrets secrets set STRIPE_KEY --host api.stripe.com\n"
		    "  agentsecrets run -- COMMAND\n",
		    stdout);
	return show_end();
}
