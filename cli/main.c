/* main.c: the tables of commands and options, help, and dispatch.
 *
 * Help asked for goes to stdout with status 0; help given because the command line was wrong goes to stderr
 * with status 2.
 */
#include "cli.h"
#include "client.h"
#include "show.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct args_option options[] = {
	{'h', "help", 'h', NULL, "say what this is and how it is used"},
	{'c', "control", 0, "SOCKET", "the daemon's socket; default: AGENTSECRETS_CONTROL, or from the configuration"},
	{'f', "config", 0, "FILE", "the daemon's configuration, to find its socket in"},
	{'v', "verbose", 'v', NULL, "say more on stderr"},
	{'j', "json", 'j', NULL, "print JSON"},
	{'w', "workspace", 'w', "NAME", "default: AGENTSECRETS_WORKSPACE, or the one in use"},
	{'V', "version", 0, NULL, "print the version"},
	{'o', "owner", 0, "USER", "who may run commands in it; default: the caller"},
	{'p', "port", 0, "PORT", "of a rule, default: 443; of a secret: only this one, may be repeated"},
	{'m', "mode", 0, "MODE", "inspect (default), tunnel or tcp"},
	{'M', "method", 0, "METHOD", "only this method; may be repeated"},
	{'P', "path", 0, "GLOB", "only paths like this; * stays within a segment, ** does not; may be repeated"},
	{'r', "private", 0, NULL, "the host may have a private address"},
	{'u', "upgrade", 0, NULL, "send its plain http:// requests over TLS, to this port"},
	{'C', "client-cert", 0, "NAME", "secret with the certificate and key (PEM) that the host wants to see"},
	{'H', "host", 0, "HOST", "where the secret may be sent; may be repeated"},
	{'S', "slot", 0, "SLOT", "where in a request: header, basic, query, path, body; default: header, basic; or client_cert, or proxy"},
	{'L', "placeholder", 0, "TEXT", "what stands for it beside agentsecrets://NAME: itself, auto, auto:PREFIX, auto:jwt, none"},
	{'I', "inject", 0, "PLACE", "put a secret into each such request: 'header:NAME: TEXT', basic:TEXT, query:NAME=TEXT"},
	{'K', "kind", 0, "KIND", "value (default), aws, hmac, oauth2-client, oauth2-refresh, jwt-bearer, github-app"},
	{'A', "param", 0, "NAME=VALUE", "a parameter of the kind, not secret; may be repeated"},
	{'a', "all", 0, NULL, "refused UDP connects too, by which resolvers sort addresses: nothing was sent"},
	{'k', "kill", 0, NULL, "end the process that holds what cannot be put under guard"},
	{'F', "follow", 0, NULL, "go on as lines come in; end with Ctrl-C"},
	{'s', "since", 0, "TIME", "from then on: 15m, 2h, 3d, or 2026-11-23T07:00 (UTC)"},
	{'B', "backend", 0, "PLACE", "where its secrets' values are: file (the vault), secret-service, or dir:/path"},
	{'X', "exec", 0, "JSON", "the value is what this command says; a list, absolute path first, no shell"},
	{'U', "user", 0, "USER", "who runs that command; not root"},
	{'T', "timeout", 0, "S", "how long it may take; default: 10"},
	{'Q', "ttl", 0, "S", "how long its value is kept; default: 0, it is run for each request"},
	{'E', "env", 0, "NAME", "a variable of the daemon that it gets; may be repeated"},
	{'Z', "key-file", 0, NULL, "lock the vault with a new key file of root's"},
	{'Y', "passphrase", 0, NULL, "lock it with a passphrase, asked for or on standard input"},
	{'D', "credential", 0, NULL, "lock it with the systemd credential agentsecrets.vault"},
	{'N', "passes", 0, "N", "Argon2id's passes; default: 3"},
	{'G', "memory", 0, "MIB", "Argon2id's memory; default: 256"},
	{'n', "lines", 'n', "N", "the last N lines only"},
	{'O', "file", 0, "FILE", "an older file of the log instead: what log rotate kept"},
	{'1', "url", 0, "URL", "where to: https://..."},
	{'2', "method", 0, "METHOD", "default: GET, or POST with a body"},
	{'3', "body", 0, "TEXT", "the body; @FILE: a file's content; -: standard input"},
	{'4', "bearer", 0, "KEY", "Authorization: Bearer <value>"},
	{'5', "basic", 0, "KEY", "Authorization: Basic; the value is user:password"},
	{'6', "header", 0, "NAME=KEY", "this header; may be repeated, and so may the next three"},
	{'7', "query", 0, "NAME=KEY", "this parameter of the URL"},
	{'8', "body-field", 0, "PATH=KEY", "this member of a JSON body; dots part the names: auth.token"},
	{'9', "form-field", 0, "NAME=KEY", "this field of a form"},
	{'0', "output", 0, "FORMAT", "text (default): the response's body; json: all of it"},
	{'%', "http-header", 'H', "NAME: VALUE", "an ordinary header; may be repeated"},
};

static const struct args_command commands[] = {
	{"init", "", "make the vault, the signing key and the local CA",
	 "Once per machine, as root. Refused when there is a vault already.", "j", 0, 0, false, cmd_init},
	{"workspace create", "NAME", "make a workspace: an allowlist, secrets, an owner",
	 "NAME is 1 to 63 of a-z, 0-9 and -. The first one becomes the one in use.", "joB", 1, 1, false,
	 cmd_workspace_create},
	{"workspace list", "", "your workspaces", NULL, "j", 0, 0, false, cmd_workspace_list},
	{"workspace use", "NAME", "choose the workspace that commands mean", NULL, "j", 1, 1, false, cmd_workspace_use},
	{"workspace delete", "NAME", "delete a workspace and its secrets",
	 "Refused while a command runs in it. The secrets' values are gone for good.", "j", 1, 1, false,
	 cmd_workspace_delete},
	{"workspace allowlist add", "HOST[:PORT]...", "allow hosts",
	 "HOST is a name (api.stripe.com) or *.example.com, which stands for every name below\n"
	 "example.com and not for itself. Nothing is allowed that is not listed.\n\n"
	 "For programs that send no credential at all, a rule puts one into each request that it allows; what the\n"
	 "request has in that place goes. The secret must be bound to the host, and to that slot:\n\n"
	 "  agentsecrets workspace allowlist add api.stripe.com --inject 'header:Authorization: Bearer {STRIPE_KEY}'\n\n"
	 "Modes: inspect, the default: HTTP, over TLS that ends here, with credentials. tunnel: TLS that is\n"
	 "not opened, for clients that pin a certificate or show their own; it carries no credential of\n"
	 "ours. tcp: anything else (Postgres, Redis, SSH), straight to the addresses of this name.\n\n"
	 "  agentsecrets workspace allowlist add db.example.com --mode tcp --port 5432",
	 "jwpmMPruCI", 1, -1, false, cmd_allowlist_add},
	{"workspace allowlist remove", "HOST[:PORT]...", "allow them no more",
	 "With a port that rule goes, without one all rules of the host.", "jw", 1, -1, false,
	 cmd_allowlist_remove},
	{"workspace allowlist list", "", "what is allowed", NULL, "jw", 0, 0, false, cmd_allowlist_list},
	{"workspace foreign-credentials", "[off|warn|refuse]", "what becomes of credentials that are not ours",
	 "A request to an allowed host with a credential in it that was not put in here: off lets it pass, warn (the\n"
	 "default) marks it in the log, refuse answers 403. Without a word it says what is set. The value of a secret\n"
	 "of the workspace, written out in a request, is refused always.",
	 "jw", 0, 1, false, cmd_workspace_foreign},
	{"workspace allowlist verify", "", "check the signature of the allowlist", NULL, "jw", 0, 0, false,
	 cmd_allowlist_verify},
	{"workspace unix add", "SOCKET...", "let its commands reach unix sockets of others",
	 "SOCKET is the path of one, or cgroup:/PATH for every socket that is made in that cgroup (as\n"
	 "/proc/PID/cgroup names it). Otherwise guarded commands reach no unix socket outside their\n"
	 "guard: whoever listens there, docker or D-Bus say, would do for them what they may not.\n"
	 "The socket at a path is meant, not the path: every directory on the way must be root's alone.\n\n"
	 "  agentsecrets workspace unix add /run/postgresql-dev/.s.PGSQL.5432",
	 "jw", 1, -1, false, cmd_unix_add},
	{"workspace unix remove", "SOCKET...", "no more", NULL, "jw", 1, -1, false, cmd_unix_remove},
	{"workspace unix list", "", "which those are", NULL, "jw", 0, 0, false, cmd_unix_list},
	{"secrets set", "NAME", "store a secret's value, or replace it",
	 "The value comes on standard input, or is asked for without echo; never as an argument.\n\n"
	 "  printf %s \"$KEY\" | agentsecrets secrets set STRIPE_KEY --host api.stripe.com\n\n"
	 "A secret goes to the hosts named here only; without --host, those it had before stay.\n"
	 "One final newline is dropped. A new value is in use from the next request on.\n\n"
	 "A secret of another --kind is a JSON object of strings, or a key in PEM, and never leaves\n"
	 "as it is: requests are signed with it, or an access token is fetched with it (README).\n\n"
	 "  agentsecrets secrets set AWS --kind aws --host '*.s3.eu-west-1.amazonaws.com' --param region=eu-west-1\n"
	 "      with {\"access_key_id\":\"...\",\"secret_access_key\":\"...\"} on standard input",
	 "jwHSpMPLKAXUTQE", 1, -1, false, cmd_secrets_set},
	{"secrets bind", "NAME", "change where a secret may go, not its value",
	 "What is not named stays as it was; \"any\" for a port, method or path ends such a limit.\n"
	 "A placeholder is for programs that check the shape of a key: it stands for the secret\n"
	 "wherever its reference would, and run puts it into the environment.\n\n"
	 "  agentsecrets secrets bind GH_TOKEN --slot header --path '/repos/me/**' --placeholder auto:ghp_",
	 "jwHSpMPL", 1, 1, false, cmd_secrets_bind},
	{"secrets rotate", "NAME", "replace a secret's value, on standard input",
	 "What it is bound to stays. The next request uses the new value; nothing is restarted.", "jw", 1, -1, false,
	 cmd_secrets_rotate},
	{"secrets import", "", "store many secrets from standard input, .env or JSON",
	 "NAME=VALUE lines, as in .env files: comments, export, quotes, values over several lines; or one object of\n"
	 "JSON with strings. Nothing is put in for $NAME. Lower-case letters of names become upper-case ones, and\n"
	 "- and . become _. All is checked before the first one is stored; a name that stands there twice, or a\n"
	 "value that no header can carry, is refused with its line. The options hold for all of them.\n\n"
	 "  agentsecrets secrets import --host api.stripe.com < .env",
	 "jwHSpMP", 0, 0, false, cmd_secrets_import},
	{"secrets test", "NAME", "say whether a secret may go somewhere, without reading it",
	 "The allowlist and the binding are asked, slot by slot; the host's address is not looked up. Status 1 when\n"
	 "no slot is allowed.\n\n"
	 "  agentsecrets secrets test STRIPE_KEY --host api.stripe.com --method POST --path /v1/charges",
	 "jwHpSMP", 1, 1, false, cmd_secrets_test},
	{"secrets list", "", "names, hosts and slots; never values", NULL, "jw", 0, 0, false, cmd_secrets_list},
	{"secrets delete", "NAME", "delete a secret", NULL, "jw", 1, 1, false, cmd_secrets_delete},
	{"vault status", "", "what opens the vault, and whether it is open", NULL, "j", 0, 0, false, cmd_vault_status},
	{"vault unlock", "", "open a vault that is locked by a passphrase",
	 "The passphrase comes on standard input, or is asked for without echo. A wrong one makes the next\n"
	 "try wait, longer each time. Until then nothing of the vault is given out, and nothing is lost.",
	 "j", 0, 0, false, cmd_vault_unlock},
	{"vault lock", "", "forget the vault's keys until it is unlocked",
	 "Requests that need a credential are refused meanwhile. A vault with a key file or a credential is\n"
	 "open again after the next start of the daemon.",
	 "j", 0, 0, false, cmd_vault_lock},
	{"vault rewrap", "", "lock the vault with another key",
	 "Say one of --key-file, --passphrase, --credential. From then on that opens it, and what did before\n"
	 "does not; the secrets stay as they are. With a passphrase the vault has to be unlocked after each\n"
	 "start of the daemon. The credential is one that systemd hands over, bound to this machine or its TPM:\n\n"
	 "  head -c 32 /dev/urandom | systemd-creds encrypt --name=agentsecrets.vault - \\\n"
	 "      /etc/credstore.encrypted/agentsecrets.vault\n"
	 "  systemctl edit agentsecretsd    # [Service] LoadCredentialEncrypted=agentsecrets.vault\n"
	 "  systemctl restart agentsecretsd && agentsecrets vault rewrap --credential",
	 "jZYDNG", 0, 0, false, cmd_vault_rewrap},
	{"vault backup", "FILE", "write a sealed copy of the vault to a new file",
	 "It opens with what opens the vault now: keep that too (vault.key of the state directory), elsewhere.", "j", 1, 1,
	 false, cmd_vault_backup},
	{"vault restore", "FILE", "put a backup's secrets in place of the vault's",
	 "Verified first: a file that is damaged, altered or another vault's changes nothing. What the vault held is\n"
	 "kept beside it. Bindings to hosts are part of the allowlist, and stay as they are.", "j", 1, 1, false,
	 cmd_vault_restore},
	{"run", "[--] COMMAND [ARGUMENT...]", "run a command that reaches allowed hosts only and holds no key",
	 "The command runs as you, in this terminal, and its exit status is returned. In its\n"
	 "environment NAME=agentsecrets://NAME stands for each secret of the workspace, and the\n"
	 "variables by which clients find CAs name a bundle with ours in it.\n\n"
	 "  agentsecrets run -- curl https://api.stripe.com/v1/invoices \\\n"
	 "      -H 'Authorization: Bearer agentsecrets://STRIPE_KEY'\n\n"
	 "Exit status: the command's; 128+N when signal N ended it; 125 when it could not be\n"
	 "guarded (it has not run then), 126 not executable, 127 not found.",
	 "w", 1, -1, true, cmd_run},
	{"call", "", "one HTTP request with secrets in it, named and not shown",
	 "KEY is a secret's NAME. The request is made in a guard of its own, as by a command of agentsecrets run, so\n"
	 "it goes only where the workspace allows and the secret may go. At least one secret must be named.\n\n"
	 "  agentsecrets call --url https://api.stripe.com/v1/balance --bearer STRIPE_KEY\n\n"
	 "JSON output: status, headers (a list for each name), body, redacted (secrets masked in the response),\n"
	 "duration_ms, and error when there was one. Exit status: 1 when it failed or was answered 400 or more, 125\n"
	 "when it could not be guarded.",
	 "w1234567890%", 0, 0, false, cmd_call},
	{"cgroup attach", "PID", "put a process that runs already, and all below it, under guard",
	 "For root. A container, pod or unit is guarded where it is; any other process is moved into a\n"
	 "cgroup of its own. Sockets that it has already are held too, and connections reset. Refused,\n"
	 "with nothing changed, when something it holds cannot be: a unix connection to a process\n"
	 "outside, an io_uring, a packet socket; --kill ends the process that holds it instead.\n\n"
	 "What runs already keeps its environment: its clients know neither our CA nor the references.\n"
	 "Commands started by agentsecrets run get both, and a system call filter too.",
	 "jwk", 1, 1, false, cmd_cgroup_attach},
	{"cgroup detach", "GUARD|PID", "end an attached guard; its processes go on without one",
	 "For root. Those that were moved are moved back to the cgroup they came from, if it is still\n"
	 "there and takes them; else they stay where they are.",
	 "j", 1, 1, false, cmd_cgroup_detach},
	{"cgroup list", "", "what is under guard", NULL, "j", 0, 0, false, cmd_cgroup_list},
	{"status", "", "the daemon and its counters", NULL, "j", 0, 0, false, cmd_status},
	{"log", "", "every decision, with its reason",
	 "With --json the lines as they are. --workspace shows one workspace's lines only.", "jwFsnaO", 0, 0, false,
	 cmd_log},
	{"log verify", "[FILE...]", "check the log's chain from its first line to its last",
	 "Finds a line that was changed, lost or moved. Status 1 when there is one. FILEs are what log rotate\n"
	 "kept: they are read first, and their ends are known to the files behind them.", "j", 0, -1, false,
	 cmd_log_verify},
	{"log rotate", "", "go on in another file",
	 "For root. The file so far is kept beside the log, with the time in its name; nothing is written to it\n"
	 "any more, so it may be compressed, moved away or deleted.", "j", 0, 0, false, cmd_log_rotate},
	{"doctor", "", "what each guarantee rests on, on this kernel", "Status 1 when something required is missing.",
	 "j", 0, 0, false, cmd_doctor},
	{"version", "", "versions of this command and of the daemon", NULL, "j", 0, 0, false, cmd_version},
};

static const struct args_table table = {
	.options = options,
	.option_count = ARRAY_SIZE(options),
	.common = "hcfvV",
	.commands = commands,
	.command_count = ARRAY_SIZE(commands),
};

int cli_fail(const struct err *e)
{
	(void)fflush(stdout);
	(void)fputs("agentsecrets: ", stderr);
	show_text(stderr, e->text[0] ? e->text : "failed");
	(void)fputc('\n', stderr);
	return CLI_FAILED;
}

int cli_usage(const struct cli *c, const char *fmt, ...)
{
	const struct args *a = &c->args;
	struct err e;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(e.text, sizeof(e.text), fmt, ap);
	va_end(ap);
	(void)cli_fail(&e);
	if (a->command)
		(void)fprintf(stderr, "See: agentsecrets %s --help\n", a->command->words);
	else
		(void)fprintf(stderr, "See: agentsecrets %.*s%s--help\n", a->group ? (int)a->group_len : 0,
			      a->group ? a->group : "", a->group ? " " : "");
	return CLI_USAGE;
}

static void help_options(FILE *f, const char *ids)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct args_option *o = &options[i];
		char left[64];

		if (!strchr(ids, o->id))
			continue;
		(void)snprintf(left, sizeof(left), "--%s%s%s", o->name, o->metavar ? " " : "",
			       o->metavar ? o->metavar : "");
		(void)fprintf(f, "  %c%c%s %-18s  %s\n", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			      o->letter ? "," : " ", left, o->help);
	}
}

static void help_command(FILE *f, const struct args_command *c)
{
	(void)fprintf(f, "Usage: agentsecrets %s [OPTION...]%s%s\n\n%c%s.\n", c->words, c->usage[0] ? " " : "",
		      c->usage, c->brief[0] - ('a' - 'A'), c->brief + 1);
	if (c->text)
		(void)fprintf(f, "%s\n", c->text);
	if (c->options[0])
		(void)fputs("\nOptions:\n", f);
	help_options(f, c->options);
	(void)fputs("\nEverywhere:\n", f);
	help_options(f, "hcfv");
}

/* All commands, or those that begin with a group's words. */
static void help_all(FILE *f, const struct args *a)
{
	size_t len = a->group ? a->group_len : 0;

	(void)fprintf(f, "Usage: agentsecrets %.*s%sCOMMAND ...\n\n", (int)len, len ? a->group : "", len ? " " : "");
	if (!len)
		(void)fputs("AI agents call APIs with keys that they never hold. A key goes onto the wire, in place of\n"
			    "agentsecrets://NAME, when a request of a guarded program goes to that key's own host.\n\n", f);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct args_command *c = &commands[i];

		if (!len || (!strncmp(c->words, a->group, len) && (!c->words[len] || c->words[len] == ' ')))
			(void)fprintf(f, "  %-27s %s\n", c->words, c->brief);
	}
	(void)fputs("\nEverywhere:\n", f);
	help_options(f, len ? "hcfv" : "hcfvV");
	(void)fputs("\nagentsecrets COMMAND --help says more.\n", f);
}

static int help(const struct cli *c, FILE *f)
{
	if (c->args.command)
		help_command(f, c->args.command);
	else
		help_all(f, &c->args);
	return f == stdout ? show_end() : CLI_USAGE;
}

/* 0, 1 and 2 are there from here on, so that no other descriptor is taken for one of them. */
static void standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR); /* these three are the command's: not close-on-exec */
	while (fd >= 0 && fd <= 2);
	own_close(&fd);
}

static int dispatch(struct cli *c)
{
	const char *env = getenv("AGENTSECRETS_WORKSPACE");
	struct err e = {""};

	if (args_count_ok(&c->args, &e))
		return cli_usage(c, "%s", e.text);
	c->workspace = args_value(&c->args, 'w');
	if (!c->workspace && env && *env)
		c->workspace = env;
	c->json = args_value(&c->args, 'j') != NULL;
	c->verbose = args_value(&c->args, 'v') != NULL;
	if (client_find(c, args_value(&c->args, 'c'), args_value(&c->args, 'f'), &e))
		return cli_fail(&e);
	return c->args.command->run(c);
}

int main(int argc, char **argv)
{
	struct cli c = {.args = {0}};
	struct err e = {""};
	int status;

	standard_descriptors();
	if (args_parse(&table, argc, argv, &c.args, &e))
		status = cli_usage(&c, "%s", e.text);
	else if (args_value(&c.args, 'h'))
		status = help(&c, stdout);
	else if (args_value(&c.args, 'V'))
		status = printf("agentsecrets %s\n", AGENTSECRETS_VERSION) < 0 ? CLI_FAILED : show_end();
	else if (!c.args.command)
		status = help(&c, stderr);
	else
		status = dispatch(&c);
	args_done(&c.args);
	return status;
}
