/* container.c: see container.h. */
#include "container.h"

#include "own.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static bool is_hex(const char *s, size_t n, size_t least)
{
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return n >= least;
}

/* One directory's name: docker-<id>.scope, libpod-<id>, a bare <id> below docker or a pod, and the like. */
static bool is_container(const char *name, size_t n, const char *above, size_t above_len)
{
	static const char *const runtimes[] = {"docker-", "libpod-",  "cri-containerd-",
					       "crio-",   "nerdctl-", "podman-"};
	static const char scope[] = ".scope";

	if (n > sizeof(scope) - 1 &&
	    memcmp(name + n - (sizeof(scope) - 1), scope, sizeof(scope) - 1) == 0)
		n -= sizeof(scope) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(runtimes); i++) {
		size_t r = strlen(runtimes[i]);

		if (n > r && memcmp(name, runtimes[i], r) == 0)
			return is_hex(name + r, n - r, 12);
	}
	if ((above_len == 6 && memcmp(above, "docker", 6) == 0) ||
	    (above_len > 3 && memcmp(above, "pod", 3) == 0))
		return is_hex(name, n, 12);
	return above_len == 3 && memcmp(above, "lxc", 3) == 0 && n > 0;
}

size_t container_of(const char *path)
{
	const char *above = "", *at = path;
	size_t above_len = 0;

	while (*at == '/') {
		const char *name = at + 1;
		size_t n = strcspn(name, "/");

		if (is_container(name, n, above, above_len))
			return (size_t)(name + n - path);
		above = name;
		above_len = n;
		at = name + n;
	}
	return 0;
}
