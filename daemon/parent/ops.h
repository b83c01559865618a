/* ops.h: what may be asked over the control socket (the table is in control.h), and by whom. */
#ifndef OPS_H
#define OPS_H

#include "parent.h"

#include <jansson.h>

/* Who asks: by SO_PEERCRED. */
struct ops_caller {
	pid_t pid;
	uid_t uid;
};

/* Carries one request out. Fields of the answer go in `answer`; *ret_fd goes along with it when >= 0. fd_in: the
 * descriptor that came with the request, or -1; taken or left. */
int ops_run(struct parent *p, const struct ops_caller *who, json_t *request, int *fd_in,
	    json_t *answer, int *ret_fd, struct err *e) must_check;

#endif
