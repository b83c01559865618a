/* sockpath.h: the unix socket that a path leads to, when nobody but root can make it lead elsewhere. */
#ifndef SOCKPATH_H
#define SOCKPATH_H

#include "err.h"

#include <stdint.h>
#include <sys/stat.h>

/* Follows an absolute path from the directory `top`, symbolic links too. Each directory on the way is root's and nobody
 * else may write it, so nor can anybody else put another socket or link in the place of one. -ENOENT: nothing is
 * there (yet); -EPERM: somebody else could; -ENOTSOCK. */
int sockpath_find(int top, const char *path, struct stat *ret, struct err *e) must_check;

/* A device number as the kernel has it within: major << 20 | minor. */
uint32_t sockpath_dev(dev_t dev);

#endif
