/* log_lines.h: the audit log, line by line, and one line as a person reads it. */
#ifndef LOG_LINES_H
#define LOG_LINES_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/* A reader of lines from a file descriptor, which stays the caller's. */
struct log_lines {
	int fd;
	off_t at;	/* of buf[0] in the file */
	char *buf;
	size_t len, used;
};

#define LOG_LINES_ROOM 65536 /* ten times AUDIT_LINE_MAX */

int log_lines_open(struct log_lines *l, int fd, off_t at, struct err *e) must_check;
void log_lines_done(struct log_lines *l);

/* 1: *line (*len bytes, no newline) until the next call. 0: the end for now; *len bytes without a newline stand
 * there. Negative: could not be read, or a line longer than any of ours. */
int log_lines_next(struct log_lines *l, const char **line, size_t *len, struct err *e) must_check;

/* Where the last n lines begin, when the file ends at size. */
int log_lines_tail(int fd, uint64_t n, off_t *ret, struct err *e) must_check;

/* The daemon's words for such a refusal (parent.c). */
#define LOG_LINES_PROBE "connect: no datagram was sent"

struct log_filter {
	uint64_t since_ns;     /* 0: all */
	const char *workspace; /* NULL: all */
	bool no_probes;	       /* without refused UDP connect()s, by which getaddrinfo(3) sorts: nothing was sent */
};

/* Does the line pass; a line that is not JSON does when nothing is asked for. Pure. */
bool log_lines_pass(const struct log_filter *f, const char *line, size_t len);

/* Prints one line for a person; one that is not understood is shown as it is, made visible. */
void log_lines_print(FILE *f, const char *line, size_t len);

#endif
