/* loads.c: see loads.h. A number has a cache line of its own. */
#include "loads.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LOADS_LINE 64

struct loads {
	struct {
		_Alignas(LOADS_LINE) _Atomic uint32_t connections;
	} of[CONFIG_WORKERS_MAX];
};

int loads_map(int fd, struct loads **ret)
{
	const int want = F_SEAL_SHRINK | F_SEAL_GROW;
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0 || st.st_size != sizeof(struct loads) || (fcntl(fd, F_GET_SEALS) & want) != want)
		return -EPROTO;
	p = mmap(NULL, sizeof(struct loads), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

int loads_new(int *ret_fd, struct loads **ret)
{
	auto_close int fd = memfd_create("loads", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int rc;

	if (fd < 0 || ftruncate(fd, sizeof(struct loads)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	rc = loads_map(fd, ret);
	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < CONFIG_WORKERS_MAX; i++)
		loads_set(*ret, i, LOADS_NONE);
	*ret_fd = take_fd(&fd);
	return 0;
}

struct loads *loads_free(struct loads *l)
{
	if (l)
		(void)munmap(l, sizeof(*l));
	return NULL;
}

void loads_set(struct loads *l, uint32_t worker, uint32_t connections)
{
	atomic_store_explicit(&l->of[worker].connections, connections, memory_order_relaxed);
}

bool loads_ahead(const struct loads *l, uint32_t worker)
{
	uint32_t least = LOADS_NONE, mine = atomic_load_explicit(&l->of[worker].connections, memory_order_relaxed);

	for (uint32_t i = 0; i < CONFIG_WORKERS_MAX; i++) {
		uint32_t n = atomic_load_explicit(&l->of[i].connections, memory_order_relaxed);

		if (i != worker && n < least)
			least = n;
	}
	return least != LOADS_NONE && mine > least + mine / 8;
}
