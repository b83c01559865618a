/* prompt.h: a secret's value, from a pipe or a prompt, never from the command line.
 *
 * The value lives in one mapping of its own: locked where the limit allows it, not dumped, not
 * inherited by a fork, wiped by prompt_done().
 */
#ifndef PROMPT_H
#define PROMPT_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>

#define PROMPT_MAX 16384 /* bytes of a value; RPC_SECRET_MAX */

struct prompt {
	char *value; /* not NUL-terminated */
	size_t len;
	size_t mapped;
};

/* First thing in a process that will hold a value: no core dump, no ptrace by the same user. */
int prompt_protect(struct err *e) must_check;

/* Reads the value from fd to its end; from a terminal, with a prompt on stderr, twice and without echo.
 * One final newline is dropped. lines: it may have more than one line, and then comes through a pipe. -EINVAL with a sentence that never quotes it: empty, too long, NUL, CR
 * or LF inside, the two typed values differ. */
int prompt_value(int fd, const char *name, bool lines, struct prompt *a, struct err *e) must_check;
/* A passphrase, likewise; from a terminal twice only where it is a new one. */
int prompt_phrase(int fd, bool twice, struct prompt *a, struct err *e) must_check;
void prompt_done(struct prompt *a);

/* Is it a value that can be stored: the checks of prompt_value, for what has been read already. */
int prompt_check(const char *value, size_t len, bool lines, struct err *e) must_check;

/* Puts the value into a new pipe, closed at its end; *ret is the read end. */
int prompt_pipe(const struct prompt *a, int *ret, struct err *e) must_check;

#endif
