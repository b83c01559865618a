/* connect.c: what the wall costs a connect().
 *
 * One process in a namespace of its own makes as many sockets inside a guard as outside it, then connects them turn
 * about, so that whatever else the machine does hits both alike. The guarded ones are redirected, recorded and
 * accepted by a listener that has the record; the others dial a listener of no guard. The acceptor is another process
 * on another CPU, asleep as a proxy is when the connection comes: SETTLE_NS later than the last one. Only connect(2) is
 * timed. Prints a line `name ratio target` for the 5th percentile and for the median; what it is in nanoseconds goes
 * to stderr. With the acceptor awake (SETTLE_NS=0: connections on each other's heels) connect(2) is cheaper by the
 * wake-up, the wall costs the same, and the ratio is higher.
 */
#include "../wall/scene.h"

#define BATCH  256
#define PLAIN  15002 /* the listener of the unguarded ones */
#define TARGET "1.20"

static unsigned long pairs, settle_ns;

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void make(int fds[BATCH])
{
	struct linger now = {.l_onoff = 1};

	for (int i = 0; i < BATCH; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		SCENE_MUST(fds[i] >= 0);
		/* No TIME_WAIT: the ports would run out. */
		SCENE_MUST(setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
	}
}

static uint32_t timed(int fd, const struct sockaddr_in *to)
{
	uint64_t from = scene_ns(), ns;
	char done;
	int rc;

	while (scene_ns() - from < settle_ns)
		; /* awake, on a CPU that is ours */
	from = scene_ns();
	rc = connect(fd, (const struct sockaddr *)to, sizeof(*to));
	ns = scene_ns() - from;
	SCENE_MUST(rc == 0 && read(fd, &done, 1) == 1);
	return ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* As a proxy waits: in another process, asleep until the connection is there. It says when it is done with one. */
static _Noreturn void serve(int recorded, int plain)
{
	struct pollfd p[2] = {{.fd = recorded, .events = POLLIN}, {.fd = plain, .events = POLLIN}};

	SCENE_MUST(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	for (;;) {
		SCENE_MUST(poll(p, 2, -1) > 0);
		for (int i = 0; i < 2; i++) {
			auto_close int fd = p[i].revents & POLLIN
						    ? accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC)
						    : -1;
			struct eg_record r;

			SCENE_MUST(fd < 0 || (scene_record(fd, &r) == 0) == (i == 0));
			SCENE_MUST(fd < 0 || write(fd, "k", 1) == 1);
		}
	}
}

static void batch(int home, uint32_t *guarded, uint32_t *plain)
{
	struct sockaddr_in far = scene_v4("192.0.2.7", 443), near = scene_v4("127.0.0.1", PLAIN);
	int in[BATCH], out[BATCH];

	SCENE_MUST(cgroup_move(scene.side[0].cgroup, getpid(), NULL) == 0);
	make(in);
	SCENE_MUST(cgroup_move(home, getpid(), NULL) == 0);
	make(out);
	for (int i = 0; i < BATCH; i++) {
		if (i & 1)
			plain[i] = timed(out[i], &near);
		guarded[i] = timed(in[i], &far);
		if (!(i & 1))
			plain[i] = timed(out[i], &near);
	}
	for (int i = 0; i < BATCH; i++) {
		(void)close(in[i]);
		(void)close(out[i]);
	}
}

static void print(const char *name, const uint32_t *guarded, const uint32_t *plain,
		  unsigned long at)
{
	(void)printf("%s %.2f %s\n", name, (double)guarded[at] / plain[at], TARGET);
	(void)fprintf(stderr, "# %s: %u ns guarded, %u ns not\n", name, guarded[at], plain[at]);
}

static void on_cpu(int number)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(number, &one);
	(void)sched_setaffinity(0, sizeof(one), &one); /* where it may not, it is only noisier */
}

static int work(void)
{
	uint32_t *guarded = calloc(pairs, sizeof(*guarded)), *plain = calloc(pairs, sizeof(*plain));
	struct sockaddr_in near = scene_v4("127.0.0.1", PLAIN);
	int listener, home;
	pid_t server;

	scene_open(false);
	SCENE_MUST(guarded && plain);
	SCENE_MUST(setns(scene.side[0].inside, CLONE_NEWNET) == 0);
	home = open(scene.c.cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	SCENE_MUST(home >= 0 && bind(listener, (struct sockaddr *)&near, sizeof(near)) == 0);
	SCENE_MUST(listen(listener, 4096) == 0);
	server = fork();
	on_cpu(server == 0 && sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 1 : 0);
	SCENE_MUST(server >= 0);
	if (server == 0)
		serve(scene.side[0].tcp.fd[NETNS_TCP4], listener);
	for (unsigned long i = 0; i < pairs; i += BATCH)
		batch(home, guarded + i, plain + i);
	qsort(guarded, pairs, sizeof(*guarded), by_size);
	qsort(plain, pairs, sizeof(*plain), by_size);
	print("connect_p5", guarded, plain, pairs / 20);
	print("connect_p50", guarded, plain, pairs / 2);
	free(guarded);
	free(plain);
	(void)close(listener);
	(void)close(home);
	return 0; /* it sits in the cgroup's root: the scene is taken down from outside */
}

int main(void)
{
	pairs = scene_number("PAIRS", 10000) / BATCH * BATCH;
	settle_ns = scene_number("SETTLE_NS", 30000);
	return scene_main(work);
}
