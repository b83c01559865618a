/* forks.c: a chain of processes, each of which forks the next and ends, sending a datagram on the way: over a socket that
 * all of them inherited and over one of its own. For tests of `cgroup attach`.
 *
 * usage: forks ADDRESS PORT COUNTER-FILE [WAIT-US [CHAINS]]	the file holds the number of links so far, as 8 bytes
 *
 * The first process stays and is its links' parent once theirs has ended. It ends all when standard input does.
 */
#include <arpa/inet.h>
#include <fcntl.h>
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

#define LINKS_MAX 1000000

static struct {
	volatile uint64_t links, stop;
} * shared;

static struct sockaddr_in to;

static void say(int fd)
{
	(void)!sendto(fd, "escaped-by-fork", 15, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

static void chain(int inherited, useconds_t pause)
{
	while (!shared->stop && shared->links < LINKS_MAX) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);

		(void)__atomic_fetch_add(&shared->links, 1, __ATOMIC_RELAXED);
		say(inherited);
		say(fd);
		close(fd);
		usleep(pause);
		if (fork() != 0)
			_exit(0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int counter = argc > 3 ? open(argv[3], O_RDWR | O_CREAT | O_TRUNC, 0600) : -1, inherited;
	char c;

	if (counter < 0 || ftruncate(counter, 4096) != 0)
		return 2;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, counter, 0);
	to = (struct sockaddr_in){.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)atoi(argv[2]))};
	if (shared == MAP_FAILED || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		return 2;
	(void)setpgid(0, 0);
	(void)signal(SIGCHLD, SIG_IGN);
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	inherited = socket(AF_INET, SOCK_DGRAM, 0);
	for (int i = argc > 5 ? atoi(argv[5]) : 1; i > 0; i--)
		if (fork() == 0)
			chain(inherited, argc > 4 ? (useconds_t)atoi(argv[4]) : 500);
	(void)puts("ready");
	(void)fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	shared->stop = 1;
	return 0;
}
