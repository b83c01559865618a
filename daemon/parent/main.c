/* main.c: agentsecretsd: the parent, or one of its children by the first word. */
#include "child.h"
#include "parent.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char usage[] =
	"Usage: agentsecretsd [--config FILE]\n"
	"\n"
	"The daemon of agentsecrets: keeps the vault, answers guarded agents' DNS, proxies their connections.\n"
	"Runs in the foreground and logs to standard error; a service manager starts it at boot.\n"
	"\n"
	"  --config FILE  configuration, JSON (default " CONFIG_DEFAULT_FILE "; may be missing)\n"
	"  --version      print the version\n"
	"  --help         print this\n";

/* Children are started by the parent alone: with the boss channel at its place. */
static int main_child(int argc, char **argv)
{
	unsigned long number = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	struct stat st;

	if (fstat(RPC_BOSS_FD, &st) < 0 || !S_ISSOCK(st.st_mode))
		return -1;
	if (strcmp(argv[1], "holder") == 0)
		return holder_main();
	if (strcmp(argv[1], "keeper") == 0)
		return keeper_main();
	if (strcmp(argv[1], "resolver") == 0)
		return resolver_main();
	if (strcmp(argv[1], "proxy") == 0 && number < CONFIG_WORKERS_MAX)
		return proxy_main((uint32_t)number);
	return -1;
}

int main(int argc, char **argv)
{
	const char *config = NULL;
	int i, rc;

	if (argc > 1 && argv[1][0] != '-') {
		rc = main_child(argc, argv);
		if (rc >= 0)
			return rc;
		(void)fprintf(stderr,
			      "agentsecretsd: unknown argument %s; see agentsecretsd --help\n",
			      argv[1]);
		return 2;
	}
	for (i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(usage, stdout) < 0;
		if (strcmp(argv[i], "--version") == 0)
			return puts("agentsecretsd " AGENTSECRETS_VERSION) < 0;
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = argv[++i];
			continue;
		}
		if (strncmp(argv[i], "--config=", 9) == 0 && argv[i][9]) {
			config = argv[i] + 9;
			continue;
		}
		(void)fprintf(
			stderr,
			"agentsecretsd: unknown or incomplete option %s; see agentsecretsd --help\n",
			argv[i]);
		return 2;
	}
	return parent_main(config);
}
