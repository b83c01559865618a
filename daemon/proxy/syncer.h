/* syncer.h: a thread that brings the audit log to the disk, so that a slow disk keeps no request waiting.
 *
 * It is the proxy's only other thread. It calls fdatasync(2) when asked, and nothing else; it shares no memory but the
 * result. Lines are in the file, where every process sees them, before anything is allowed; this is about a machine that
 * loses power (audit.h).
 */
#ifndef SYNCER_H
#define SYNCER_H

#include "own.h"

#include <stdbool.h>

struct syncer;

/* Starts the thread and waits until it runs: it makes no more system calls but the ones above, whatever filter is then put on
 * this process. fd stays the caller's and open until syncer_free(). */
int syncer_new(int fd, struct syncer **ret) must_check;
/* Waits for a sync that is under way. */
struct syncer *syncer_free(struct syncer *s);

/* Readable when the one that was asked for is over. */
int syncer_fd(const struct syncer *s);
/* One at a time. s: struct syncer. */
int syncer_ask(void *s) must_check;
/* True: it is over, with *ret_rc, 0 or -errno. */
bool syncer_over(struct syncer *s, int *ret_rc);

#endif
