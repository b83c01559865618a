/* container.h: which cgroup is a container's, by its name. Pure. */
#ifndef CONTAINER_H
#define CONTAINER_H

#include <stddef.h>

/* Length of the leading part of a cgroup's path (from the mount on) that is a container's or pod's own directory; 0:
 * none. */
size_t container_of(const char *path);

#endif
