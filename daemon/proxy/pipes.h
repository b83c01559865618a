/* pipes.h: pipes for splice(2), lent out while bytes are in them, and kept for the next who needs one.
 *
 * A relay needs a pipe only while bytes are under way, so thousands of quiet tunnels share a handful.
 */
#ifndef PIPES_H
#define PIPES_H

#include "own.h"

#include <stdint.h>

#define PIPES_KEPT 16
#define PIPES_SIZE (256 * 1024) /* asked for; the kernel may give less to a user who has many */

struct pipes {
	int fd[PIPES_KEPT][2];
	uint32_t count;
};

/* An empty pipe, non-blocking: [0] to read, [1] to write. -errno. */
int pipes_get(struct pipes *p, int ret[2]) must_check;
/* Gives it back, empty; both become -1. */
void pipes_put(struct pipes *p, int fd[2]);
/* Ends one that may have bytes in it. */
void pipes_end(int fd[2]);
void pipes_done(struct pipes *p);

#endif
