/* flush.h: for unit tests: bytes that end where the next page is not mapped, so that reading one byte too
 * many is a crash also without a sanitizer. Two areas, so that a buffer can be seen to move. */
#ifndef FLUSH_H
#define FLUSH_H

#include <assert.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#define FLUSH_ROOM (1024 * 1024)

/* A copy of p[0..len) flush against the end of area `which` (0 or 1); good until the next call for it. */
static inline void *flush_copy(int which, const void *p, size_t len)
{
	static char *area[2];

	assert(len <= FLUSH_ROOM);
	if (!area[which]) {
		area[which] = mmap(NULL, FLUSH_ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert(area[which] != MAP_FAILED);
		assert(mprotect(area[which] + FLUSH_ROOM, 4096, PROT_NONE) == 0);
	}
	if (len)
		memcpy(area[which] + FLUSH_ROOM - len, p, len);
	return area[which] + FLUSH_ROOM - len;
}

#endif
