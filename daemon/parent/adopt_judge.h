/* adopt_judge.h: what of a process can be put under guard (adopt.h says why the rest cannot). Pure. */
#ifndef ADOPT_JUDGE_H
#define ADOPT_JUDGE_H

#include "../../bpf/fds.h"

#include <stdbool.h>
#include <sys/types.h>

enum adopt_verdict { ADOPT_REFUSE, ADOPT_IGNORE, ADOPT_MARK };
/* What is to be done with a socket; *why for ADOPT_REFUSE. */
enum adopt_verdict adopt_judge(const struct fds_socket *s, bool peer_inside, const char **why);
/* Why a descriptor that is no socket cannot stay, or NULL; target as readlink(2) tells it. */
const char *adopt_file(const char *target, mode_t mode, dev_t rdev);
/* "scm_fds" of an fdinfo text: descriptors on their way in a unix socket. */
unsigned int adopt_in_flight(const char *fdinfo);

#endif
