/* main.c: the program that suite.py runs inside and outside of guards.
 *
 *	escape ways				names, one a line; "alone" behind those that need a guard of their own
 *	escape try KEY=VALUE... [WAY...]	tries all ways (but those alone), or these; a line for each:
 *						way <number> <name> sent|made|refused|died <where it stopped>
 *
 * Each way runs in a process of its own, several at a time, with a time limit.
 */
#include "escape.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#define AT_A_TIME 16
#define LIMIT_S   5

static const struct way *const tables[] = {ways_tcp, ways_datagram, ways_options, ways_process,
					   ways_system};

static const struct way *way_at(unsigned int n)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (const struct way *w = tables[i]; w->name; w++)
			if (n-- == 0)
				return w;
	return NULL;
}

static int list_ways(void)
{
	const struct way *w;

	for (unsigned int i = 0; (w = way_at(i)); i++) {
		if (i >= ESCAPE_WAYS)
			return 2;
		(void)printf("%s%s\n", w->name, w->alone ? " alone" : "");
	}
	return 0;
}

struct attempt {
	pid_t pid;
	unsigned int way;
};

static void run_way(const struct way *w, struct target t, unsigned int n, const char *random)
{
	static const char *const words[] = {"sent", "made", "refused"};
	char line[300];
	int rc, len;

	t.way = n;
	t.port = (uint16_t)(10000 + 256 * t.mode + n);
	t.listen = (uint16_t)(20000 + 256 * t.mode + n);
	(void)snprintf(t.marker, sizeof(t.marker), "ESC%02x%02x%.9s", t.mode & 0xff, n & 0xff,
		       random);
	(void)alarm((unsigned int)(LIMIT_S + t.wait / 1000));
	rc = w->run(&t, w->arg);
	len = snprintf(line, sizeof(line), "way\t%u\t%s\t%s\t%s\n", n, w->name, words[rc],
		       rc == WAY_REFUSED ? step_text() : "");
	if (write(1, line, (size_t)len) != len)
		_exit(2);
	_exit(0);
}

static void reap(struct attempt *running, size_t *count)
{
	int status;
	pid_t pid = wait(&status);

	for (size_t i = 0; i < *count; i++) {
		if (running[i].pid != pid)
			continue;
		if (WIFSIGNALED(status)) {
			int sig = WTERMSIG(status);

			(void)printf("way\t%u\t%s\tdied\t%s\n", running[i].way,
				     way_at(running[i].way)->name,
				     sig == SIGSYS    ? "killed by the system call filter"
				     : sig == SIGALRM ? "still waiting at the time limit"
						      : strsignal(sig));
			(void)fflush(stdout);
		}
		running[i] = running[--*count];
		return;
	}
}

static bool chosen(const struct way *w, char **names)
{
	if (!*names)
		return !w->alone;
	for (; *names; names++)
		if (strcmp(*names, w->name) == 0)
			return true;
	return false;
}

static const char *option(char **argv, const char *key)
{
	size_t len = strlen(key);

	for (; *argv && strchr(*argv, '='); argv++)
		if (strncmp(*argv, key, len) == 0 && (*argv)[len] == '=')
			return *argv + len + 1;
	(void)fprintf(stderr, "escape: %s= is missing\n", key);
	exit(2);
}

static int try_ways(char **argv)
{
	struct target t = {
		.mode = (unsigned int)atoi(option(argv, "mode")),
		.dev = option(argv, "dev"),
		.dir = option(argv, "dir"),
		.bpffs = option(argv, "bpffs"),
		.cgroup = option(argv, "cgroup"),
		.wait = atoi(option(argv, "wait")),
		.helper = atoi(option(argv, "helper")),
		.outbox = strtoull(option(argv, "outbox"), NULL, 10),
	};
	const char *random = option(argv, "random");
	struct attempt running[AT_A_TIME];
	const struct way *w;
	size_t count = 0;

	while (*argv && strchr(*argv, '='))
		argv++;
	for (unsigned int i = 0; (w = way_at(i)); i++) {
		if (!chosen(w, argv))
			continue;
		if (count == AT_A_TIME)
			reap(running, &count);
		running[count] = (struct attempt){.pid = fork(), .way = i};
		if (running[count].pid == 0)
			run_way(w, t, i, random);
		if (running[count].pid > 0)
			count++;
	}
	while (count)
		reap(running, &count);
	(void)puts("done");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {
		{"watch", outside_watch}, {"listen", outside_listen}, {"call", outside_call},
		{"mark", outside_mark},   {"helper", outside_helper}, {"before", inside_before},
		{"enter", inside_enter},  {"await", inside_await},
	};

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && strcmp(argv[1], "ways") == 0)
		return list_ways();
	if (argc > 2 && strcmp(argv[1], "try") == 0)
		return try_ways(argv + 2);
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(commands[i].name, argv[1]) == 0)
			return commands[i].run(argc - 1, argv + 1);
	(void)fprintf(stderr, "escape: see the top of main.c, inside.c and outside.c\n");
	return 2;
}
