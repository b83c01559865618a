/* prompt.c: see prompt.h.
 *
 * A terminal is switched to no echo for as long as a line is read, and back on every way out, signals
 * included: they only mark that they came while the prompt stands, and are raised again afterwards.
 */
#include "prompt.h"

#include "fdio.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <termios.h>

#define TTY_LINE_MAX 4095 /* what a terminal in line mode hands over at most: termios(3) */

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
	caught = sig;
}

int prompt_protect(struct err *e)
{
	const struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return err_set(e, -errno, "cannot switch core dumps off: %s", strerror(errno));
	return 0;
}

static int map(struct prompt *a, struct err *e)
{
	const size_t size = 2 * PROMPT_MAX;
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*a = (struct prompt){0};
	if (p == MAP_FAILED)
		return err_set(e, -errno, "out of memory");
	(void)mlock(p, size); /* best effort: the limit may be lower */
	(void)madvise(p, size, MADV_DONTDUMP);
	(void)madvise(p, size, MADV_WIPEONFORK);
	a->value = p;
	a->mapped = size;
	return 0;
}

void prompt_done(struct prompt *a)
{
	if (a->value) {
		explicit_bzero(a->value, a->mapped);
		(void)munmap(a->value, a->mapped);
	}
	*a = (struct prompt){0};
}

int prompt_check(const char *value, size_t len, bool lines, struct err *e)
{
	if (len == 0)
		return err_set(e, -EINVAL, "the value is empty; nothing was stored. Give it on standard input: "
			       "printf %%s \"$KEY\" | agentsecrets secrets set NAME");
	if (len > PROMPT_MAX)
		return err_set(e, -E2BIG, "the value is longer than %d bytes; nothing was stored", PROMPT_MAX);
	if (memchr(value, '\0', len))
		return err_set(e, -EINVAL, "the value holds a NUL byte, which no header can carry; nothing was "
			       "stored");
	if (!lines && memchr(value, '\r', len))
		return err_set(e, -EINVAL, "the value holds a carriage return (a file with Windows line ends?); "
			       "nothing was stored");
	if (!lines && memchr(value, '\n', len))
		return err_set(e, -EINVAL, "the value has more than one line, which no header can carry; nothing "
			       "was stored");
	return 0;
}

/* Reads to the end, or past the limit, which is enough to know. */
static int read_stream(int fd, struct prompt *a, struct err *e)
{
	while (a->len < PROMPT_MAX + 2) {
		ssize_t n = read(fd, a->value + a->len, PROMPT_MAX + 2 - a->len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, -errno, "cannot read the value from standard input: %s",
				       strerror(errno));
		if (n == 0)
			break;
		a->len += (size_t)n;
	}
	if (a->len > 0 && a->value[a->len - 1] == '\n')
		a->len--;
	return 0;
}

/* One line into p, without its newline; 0 also when a signal came (caught says so). The signals are blocked
 * but while poll waits, so that none can come unseen just before a read that would then wait for ever. */
static int read_line(int fd, const sigset_t *open_mask, char *p, size_t *ret_len, struct err *e)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	size_t len = 0;

	while (len < PROMPT_MAX && !caught) {
		ssize_t n = ppoll(&wait, 1, NULL, open_mask);

		if (n > 0)
			n = read(fd, p + len, PROMPT_MAX - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_set(e, -errno, "cannot read from the terminal: %s", strerror(errno));
		if (n == 0)
			break;
		len += (size_t)n;
		if (p[len - 1] == '\n')
			break;
	}
	if (len >= TTY_LINE_MAX)
		return err_set(e, -E2BIG, "a terminal cuts lines at %d bytes; give a value this long through a "
			       "pipe; nothing was stored", TTY_LINE_MAX);
	*ret_len = len > 0 && p[len - 1] == '\n' ? len - 1 : len;
	return 0;
}

/* Shows the prompt and reads, with the echo off. */
static int read_hidden(int fd, const char *text, const char *name, const sigset_t *open_mask, char *p,
		       size_t *ret_len, struct err *e)
{
	struct termios shown, hidden;
	int rc;

	if (tcgetattr(fd, &shown) < 0)
		return err_set(e, -errno, "cannot switch the terminal's echo off: %s", strerror(errno));
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	if (tcsetattr(fd, TCSAFLUSH, &hidden) < 0)
		return err_set(e, -errno, "cannot switch the terminal's echo off: %s", strerror(errno));
	(void)fprintf(stderr, "%s %s (not shown): ", text, name);
	rc = read_line(fd, open_mask, p, ret_len, e);
	(void)tcsetattr(fd, TCSAFLUSH, &shown);
	(void)fputc('\n', stderr);
	return rc;
}

static int prompt_line(int fd, const char *text, const char *name, char *p, size_t *ret_len, struct err *e)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP};
	struct sigaction before[ARRAY_SIZE(signals)], on = {.sa_handler = on_signal};
	sigset_t ours, old;
	int rc;

	caught = 0;
	(void)sigemptyset(&ours);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaddset(&ours, signals[i]);
	(void)sigprocmask(SIG_BLOCK, &ours, &old);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		(void)sigaction(signals[i], NULL, &before[i]);
		if (before[i].sa_handler != SIG_IGN) /* as nohup(1) left it */
			(void)sigaction(signals[i], &on, NULL);
	}
	rc = read_hidden(fd, text, name, &old, p, ret_len, e);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		(void)sigaction(signals[i], &before[i], NULL);
	if (caught)
		explicit_bzero(p, PROMPT_MAX);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (!caught)
		return rc;
	(void)raise(caught);
	return err_set(e, -EINTR, "interrupted; nothing was stored");
}

static int read_terminal(int fd, const char *name, struct prompt *a, struct err *e)
{
	char *again = a->value + PROMPT_MAX;
	size_t again_len;
	int rc = prompt_line(fd, "Value of", name, a->value, &a->len, e);

	if (rc)
		return rc;
	rc = prompt_check(a->value, a->len, false, e);
	if (rc)
		return rc;
	rc = prompt_line(fd, "Once more", name, again, &again_len, e);
	if (rc)
		return rc;
	if (again_len != a->len || memcmp(a->value, again, a->len) != 0)
		return err_set(e, -EINVAL, "the two values differ; nothing was stored");
	return 0;
}

int prompt_value(int fd, const char *name, bool lines, struct prompt *a, struct err *e)
{
	int rc = map(a, e);

	if (rc)
		return rc;
	rc = isatty(fd) ? read_terminal(fd, name, a, e) : read_stream(fd, a, e);
	if (!rc)
		rc = prompt_check(a->value, a->len, lines, e);
	if (rc)
		prompt_done(a);
	return rc;
}

int prompt_phrase(int fd, bool twice, struct prompt *a, struct err *e)
{
	char *again;
	size_t again_len = 0;
	int rc = map(a, e);

	if (rc)
		return rc;
	again = a->value + PROMPT_MAX;
	if (!isatty(fd)) {
		rc = read_stream(fd, a, e);
	} else {
		rc = prompt_line(fd, "Passphrase of", "the vault", a->value, &a->len, e);
		if (!rc && twice)
			rc = prompt_line(fd, "Once more, that of", "the vault", again, &again_len, e);
		if (!rc && twice && (again_len != a->len || memcmp(a->value, again, a->len) != 0))
			rc = err_set(e, -EINVAL, "the two passphrases differ; nothing was changed");
	}
	if (!rc && a->len == 0)
		rc = err_set(e, -EINVAL, "the passphrase is empty; nothing was changed. Give it on standard input, or "
			     "at the prompt");
	if (!rc && (a->len > PROMPT_MAX || memchr(a->value, '\0', a->len) || memchr(a->value, '\n', a->len)))
		rc = err_set(e, -EINVAL, "a passphrase is one line; nothing was changed");
	if (rc)
		prompt_done(a);
	return rc;
}

int prompt_pipe(const struct prompt *a, int *ret, struct err *e)
{
	int pair[2], rc;

	if (pipe2(pair, O_CLOEXEC) < 0)
		return err_set(e, -errno, "cannot make a pipe: %s", strerror(errno));
	(void)fcntl(pair[1], F_SETPIPE_SZ, 2 * PROMPT_MAX); /* a pipe may start out as small as one page */
	(void)fcntl(pair[1], F_SETFL, O_NONBLOCK);
	rc = fdio_write(pair[1], a->value, a->len);
	own_close(&pair[1]);
	if (rc) {
		own_close(&pair[0]);
		return err_set(e, rc, "cannot fill a pipe: %s", strerror(-rc));
	}
	*ret = pair[0];
	return 0;
}
