/* cmd_vault.c: `agentsecrets vault ...`. A passphrase is read here and leaves through a pipe, as a secret's value does. */
#include "cli.h"
#include "client.h"
#include "prompt.h"
#include "show.h"
#include "typed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int phrase_pipe(bool twice, int *ret, struct err *e)
{
	struct prompt phrase = {0};
	int rc = prompt_protect(e);

	if (!rc)
		rc = prompt_phrase(STDIN_FILENO, twice, &phrase, e);
	if (!rc)
		rc = prompt_pipe(&phrase, ret, e);
	prompt_done(&phrase);
	return rc;
}

/* "a key file", "a passphrase (Argon2id, 3 passes over 256 MiB)". */
static void show_ways(const json_t *a)
{
	const json_t *w;
	size_t i;

	json_array_foreach(json_object_get(a, "locked_by"), i, w) {
		const char *kind = client_text(w, "kind");

		if (i)
			(void)fputs(", ", stdout);
		if (!strcmp(kind, "passphrase"))
			(void)printf("a passphrase (Argon2id, %lld passes over %lld MiB)",
				     (long long)client_number(w, "passes"),
				     (long long)client_number(w, "memory_mib"));
		else if (!strcmp(kind, "key-file"))
			(void)fputs("a key file", stdout);
		else if (!strcmp(kind, "credential"))
			(void)fputs("a systemd credential", stdout);
		else
			show_text(stdout, kind);
	}
	(void)fputc('\n', stdout);
}

static int state_of(const struct cli *c, json_t **ret, struct err *e)
{
	return client_call(c, client_request(c, "vault.status", false), -1, ret, NULL, e);
}

int cmd_vault_status(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (state_of(c, &a, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	(void)fputs("state      ", stdout);
	show_text(stdout, client_text(a, "state"));
	if (strcmp(client_text(a, "state"), "none") != 0) {
		(void)fputs("\nlocked by  ", stdout);
		show_ways(a);
		(void)printf("secrets    %lld\nchanges    %lld\nfile       ",
			     (long long)client_number(a, "secrets"),
			     (long long)client_number(a, "changes"));
		show_text(stdout, client_text(a, "file"));
	}
	(void)fputc('\n', stdout);
	return show_end();
}

static int done(struct cli *c, json_t *a, const char *said)
{
	if (c->json)
		return show_json(a);
	(void)puts(said);
	return show_end();
}

int cmd_vault_unlock(struct cli *c)
{
	auto_json json_t *a = NULL, *before = NULL;
	auto_close int fd = -1;
	struct err e = {""};
	const json_t *way;
	int rc = state_of(c, &before, &e);

	/* Asked for only where it is needed: a vault with a key file that was locked by hand needs none. */
	way = json_array_get(json_object_get(before, "locked_by"), 0);
	if (!rc && !strcmp(client_text(before, "state"), "locked") &&
	    !strcmp(client_text(way, "kind"), "passphrase"))
		rc = phrase_pipe(false, &fd, &e);
	if (!rc)
		rc = client_call(c, client_request(c, "vault.unlock", false), fd, &a, NULL, &e);
	return rc ? cli_fail(&e) : done(c, a, "The vault is open.");
}

int cmd_vault_lock(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (client_call(c, client_request(c, "vault.lock", false), -1, &a, NULL, &e))
		return cli_fail(&e);
	return done(
		c, a,
		"The vault is locked. Requests that need a credential of it are refused until: agentsecrets vault unlock");
}

/* A number of an option, or nothing when it was not given. */
static int add_number(const struct cli *c, char id, const char *field, json_t *request,
		      struct err *e)
{
	const char *v = args_value(&c->args, id);
	long n;

	if (!v)
		return 0;
	if (typed_number(v, 1, &n))
		return err_set(e, -EINVAL, "%s takes a number of 1 or more",
			       id == 'N' ? "--passes" : "--memory");
	return json_object_set_new(request, field, json_integer(n))
		       ? err_set(e, -ENOMEM, "out of memory")
		       : 0;
}

int cmd_vault_rewrap(struct cli *c)
{
	static const struct {
		char id;
		const char *to, *said;
	} ways[] = {
		{'Z', "key-file",
		 "The vault is locked with a new key file; the old one opens it no more."},
		{'Y', "passphrase",
		 "The vault is locked with the passphrase, and there is no key file any more: after each start of the "
		 "daemon, run: agentsecrets vault unlock"},
		{'D', "credential",
		 "The vault is locked with the systemd credential, and there is no key file any more."}};
	auto_json json_t *a = NULL, *request = client_request(c, "vault.rewrap", false);
	auto_close int fd = -1;
	struct err e = {""};
	size_t i, at = 0, n = 0;
	int rc;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		if (args_value(&c->args, ways[i].id)) {
			at = i;
			n++;
		}
	if (n != 1)
		return cli_usage(c, "say one of --key-file, --passphrase, --credential");
	if (!request || json_object_set_new(request, "to", json_string(ways[at].to)))
		rc = err_set(&e, -ENOMEM, "out of memory");
	else
		rc = add_number(c, 'N', "passes", request, &e);
	if (!rc)
		rc = add_number(c, 'G', "memory_mib", request, &e);
	if (!rc && ways[at].id == 'Y')
		rc = phrase_pipe(true, &fd, &e);
	if (!rc)
		rc = client_call(c, take(request), fd, &a, NULL, &e);
	return rc ? cli_fail(&e) : done(c, a, ways[at].said);
}

int cmd_vault_backup(struct cli *c)
{
	const char *file = c->args.rest[0];
	auto_close int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (fd < 0) {
		(void)err_set(
			&e, -errno,
			errno == EEXIST
				? "%s is there already, and is not overwritten; name another file"
				: "cannot make %s: %s",
			file, strerror(errno));
		return cli_fail(&e);
	}
	if (client_call(c, client_request(c, "vault.backup", false), fd, &a, NULL, &e)) {
		(void)unlink(file);
		return cli_fail(&e);
	}
	if (c->json)
		return show_json(a);
	(void)fputs("Wrote ", stdout);
	show_text(stdout, file);
	(void)fputs(". It is sealed, and opens with what opened the vault when it was made: ",
		    stdout);
	show_ways(a);
	return show_end();
}

int cmd_vault_restore(struct cli *c)
{
	const char *file = c->args.rest[0];
	auto_close int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (fd < 0) {
		(void)err_set(&e, -errno, "cannot open %s: %s", file, strerror(errno));
		return cli_fail(&e);
	}
	if (client_call(c, client_request(c, "vault.restore", false), fd, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	show_line("The vault holds what the backup held. What it held before is kept in ",
		  client_text(a, "kept"));
	return show_end();
}
