/* record.h: what the kernel knows of an accepted connection.
 *
 * The only question of its kind, in a module of its own: the kernel side answers it through a
 * cgroup/getsockopt program, and nothing but the kernel is believed about who a client is.
 */
#ifndef RECORD_H
#define RECORD_H

#include "own.h"

#include "../../bpf/egress.h"

/* 0, or a negative errno (-ENOPROTOOPT: there is none): the connection must then be closed. */
int record_of(int fd, struct eg_record *rec) must_check;

#endif
