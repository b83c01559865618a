/* forks.c: chains of processes, each of which forks the next and ends, sending a datagram on the way: over a socket that
 * all of them inherited and over one of its own. For tests of `cgroup attach`.
 *
 * usage: forks ADDRESS PORT COUNTER-FILE WAIT-US CHAINS	the file holds the number of links so far, as 8 bytes
 *
 * One chain forks by fork(), which copies the page tables; the others by clone(CLONE_VM), as vfork() and posix_spawn() do,
 * which is faster by an order of magnitude and more where a hypervisor has to be asked about every page table.
 *
 * The first process stays and is its links' parent once theirs has ended. It ends all when standard input does.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINKS_MAX  4000000
#define STACKS     256
#define STACK_SIZE 16384

static struct {
	volatile uint64_t links, stop;
} * shared;

static struct sockaddr_in to;
static int inherited;
static useconds_t pause_us;

/* Where links of clone(CLONE_VM) run. The kernel clears `busy` when the one that ran there has ended. */
static struct stack {
	char bytes[STACK_SIZE];
	pid_t busy;
} __attribute__((aligned(64))) stacks[STACKS];

static void say(int fd)
{
	(void)!sendto(fd, "escaped-by-fork", 15, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

/* What a link does. False: no next one. */
static int link_one(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	(void)__atomic_fetch_add(&shared->links, 1, __ATOMIC_RELAXED);
	say(inherited);
	say(fd);
	close(fd);
	usleep(pause_us);
	return !shared->stop && shared->links < LINKS_MAX;
}

static void chain_forked(void)
{
	while (link_one())
		if (fork() != 0)
			_exit(0);
	_exit(0);
}

static int next_cloned(void);

static int link_cloned(void *arg)
{
	(void)arg;
	if (link_one() && next_cloned() < 0)
		shared->stop = 1; /* the test sees that the chain does not go on */
	_exit(0);
}

static int next_cloned(void)
{
	struct stack *s = stacks;
	pid_t none;

	for (int round = 0; round < 1000; round++, usleep(1000)) {
		for (s = stacks; s < stacks + STACKS; s++) {
			none = 0;
			if (__atomic_compare_exchange_n(&s->busy, &none, -1, 0, __ATOMIC_ACQ_REL,
							__ATOMIC_RELAXED))
				return clone(link_cloned, s->bytes + STACK_SIZE,
					     CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL,
					     NULL, &s->busy);
		}
	}
	return -1;
}

int main(int argc, char **argv)
{
	int counter = argc == 6 ? open(argv[3], O_RDWR | O_CREAT | O_TRUNC, 0600) : -1, chains;
	char c;

	if (counter < 0 || ftruncate(counter, 4096) != 0)
		return 2;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, counter, 0);
	to = (struct sockaddr_in){.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)atoi(argv[2]))};
	if (shared == MAP_FAILED || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		return 2;
	pause_us = (useconds_t)atoi(argv[4]);
	chains = atoi(argv[5]);
	(void)setpgid(0, 0);
	(void)signal(SIGCHLD, SIG_IGN);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	inherited = socket(AF_INET, SOCK_DGRAM, 0);
	if (fork() == 0)
		chain_forked();
	while (--chains > 0)
		if (next_cloned() < 0)
			return 2;
	(void)puts("ready");
	(void)fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	shared->stop = 1;
	while (wait(NULL) >= 0) /* until the last link has ended: then it fails */
		;
	return 0;
}
