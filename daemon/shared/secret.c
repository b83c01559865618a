/* secret.c: see secret.h. One mapping per secret: guard page, data pages, guard page. The bytes stand at
 * the end of the data pages, so that a read past them faults; what lies before them in the first page is
 * zero. Everything that protects it is set before a byte is written, and a failure of any of it but a
 * used-up lock limit leaves no secret.
 *
 * A few mappings that were freed, and wiped, are kept for the next secret of their size, with all their
 * protection: making one costs six system calls and as many page faults as it has pages. They are given up
 * when the lock limit is met.
 */
#include "secret.h"

#include <assert.h>
#include <poll.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

struct secret {
	uint8_t *map; /* with both guard pages */
	size_t map_len;
	uint8_t *bytes;
	size_t len;  /* of the value */
	size_t room; /* from bytes to the upper guard page */
	bool locked;
};

#define SECRET_SPARE_MAX 4
#define SECRET_SPARE_LEN (64u * 1024) /* of a mapping that is kept */

static struct secret_spare {
	uint8_t *map; /* NULL: none; locked */
	size_t map_len;
} spares[SECRET_SPARE_MAX];

static bool secret_spare_take(struct secret *s)
{
	size_t i;

	for (i = 0; i < SECRET_SPARE_MAX; i++) {
		if (!spares[i].map || spares[i].map_len != s->map_len)
			continue;
		s->map = spares[i].map;
		s->locked = true;
		spares[i].map = NULL;
		return true;
	}
	return false;
}

/* All of it is zero. */
static bool secret_spare_put(const struct secret *s)
{
	size_t i;

	for (i = 0; i < SECRET_SPARE_MAX && s->locked && s->map_len <= SECRET_SPARE_LEN; i++)
		if (!spares[i].map) {
			spares[i] = (struct secret_spare){s->map, s->map_len};
			return true;
		}
	return false;
}

static void secret_spares_drop(void)
{
	size_t i;

	for (i = 0; i < SECRET_SPARE_MAX; i++) {
		if (spares[i].map)
			(void)munmap(spares[i].map, spares[i].map_len);
		spares[i].map = NULL;
	}
}

static size_t secret_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Locks the data pages. Whether one page could ever be locked is remembered, and tells a limit that is used
 * up from one that allows nothing, without a system call that a locked process may not make. */
static int secret_lock(struct secret *s, size_t page, struct err *e)
{
	static bool could;

	s->locked = mlock(s->map + page, s->map_len - 2 * page) == 0;
	if (!s->locked) {
		secret_spares_drop();
		s->locked = mlock(s->map + page, s->map_len - 2 * page) == 0;
	}
	could = could || s->locked;
	if (!could)
		return err_set(
			e, -EPERM,
			"no memory may be locked, so a secret could be swapped to disk; raise "
			"RLIMIT_MEMLOCK (LimitMEMLOCK= of the unit) to 1M or more");
	return 0;
}

static int secret_protect(struct secret *s, size_t page, struct err *e)
{
	uint8_t *data = s->map + page;
	size_t len = s->map_len - 2 * page;
	int rc;

	if (mprotect(data, len, PROT_READ | PROT_WRITE) < 0)
		return err_set(e, -errno, "cannot make memory for a secret: %s", strerror(errno));
	rc = secret_lock(s, page, e);
	if (rc < 0)
		return rc;
	if (madvise(data, len, MADV_DONTDUMP) < 0 || madvise(data, len, MADV_WIPEONFORK) < 0)
		return err_set(e, -errno, "cannot keep a secret out of dumps and children: %s",
			       strerror(errno));
	return 0;
}

/* Maps s->map_len bytes, protected and zero. */
static int secret_map(struct secret *s, size_t page, struct err *e)
{
	if (secret_spare_take(s))
		return 0;
	s->map = mmap(NULL, s->map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->map == MAP_FAILED) {
		s->map = NULL;
		return err_set(e, -ENOMEM, "out of memory");
	}
	return secret_protect(s, page, e);
}

int secret_new(size_t len, struct secret **ret, struct err *e)
{
	size_t page = secret_page(), data = (len + page - 1) / page * page;
	auto_(secret) struct secret *s = NULL;
	int rc;

	if (len == 0 || len > SECRET_SIZE_MAX)
		return err_set(e, -EINVAL, "a secret has 1 to %u bytes", SECRET_SIZE_MAX);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->map_len = data + 2 * page;
	rc = secret_map(s, page, e);
	if (rc < 0)
		return rc;
	s->bytes = s->map + page + data - len;
	s->len = s->room = len;
	*ret = take(s);
	return 0;
}

int secret_of(const void *p, size_t len, struct secret **ret, struct err *e)
{
	struct secret *s = NULL;
	int rc = secret_new(len, &s, e);

	if (rc < 0)
		return rc;
	memcpy(s->bytes, p, len);
	*ret = s;
	return 0;
}

struct secret *secret_free(struct secret *s)
{
	if (!s)
		return NULL;
	if (s->bytes)
		explicit_bzero(s->bytes, s->room);
	if (s->map && !(s->bytes && secret_spare_put(s)))
		(void)munmap(s->map, s->map_len); /* unlocks */
	free(s);
	return NULL;
}

uint8_t *secret_bytes(struct secret *s)
{
	return s->bytes;
}

const uint8_t *secret_view(const struct secret *s)
{
	return s->bytes;
}

size_t secret_len(const struct secret *s)
{
	return s->len;
}

bool secret_locked(const struct secret *s)
{
	return s->locked;
}

void secret_cut(struct secret *s, size_t len)
{
	assert(len > 0 && len <= s->len);
	explicit_bzero(s->bytes + len, s->len - len);
	s->len = len;
}

bool secret_same(const struct secret *s, const void *p, size_t len)
{
	return len == s->len && sodium_memcmp(s->bytes, p, len) == 0;
}

static int64_t secret_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* One read(2) once there is something: its length, 0 at the end. */
static ssize_t secret_read_some(int fd, uint8_t *p, size_t len, int64_t until, struct err *e)
{
	for (;;) {
		struct pollfd w = {.fd = fd, .events = POLLIN};
		int64_t left = until - secret_now_ms();
		ssize_t n;
		int ready;

		ready = poll(&w, 1, left > 0 ? (int)left : 0);
		if (ready == 0)
			return err_set(e, -ETIMEDOUT,
				       "the value did not arrive in time; nothing was changed");
		n = ready < 0 ? -1 : read(fd, p, len);
		if (n >= 0)
			return n;
		if (errno != EINTR && errno != EAGAIN)
			return err_set(e, -errno, "cannot read the value: %s", strerror(errno));
	}
}

/* Reads to the end; one byte more than max fits, to see that there is more. */
static int secret_fill(int fd, struct secret *s, int64_t until, size_t *ret_len, struct err *e)
{
	size_t len = 0;

	while (len < s->len) {
		ssize_t n = secret_read_some(fd, s->bytes + len, s->len - len, until, e);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	*ret_len = len;
	return 0;
}

static int secret_check(const uint8_t *p, size_t len, unsigned int flags, struct err *e)
{
	size_t i;

	if (flags & SECRET_RAW)
		return 0;
	for (i = 0; i < len; i++) {
		if (p[i] == '\0')
			return err_set(e, -EINVAL, "the value holds a NUL byte; no credential can");
		if (p[i] == '\r' || p[i] == '\n') {
			if (flags & SECRET_MULTILINE)
				continue;
			return err_set(
				e, -EINVAL,
				"the value has more than one line (a CR or LF before its end); "
				"give one line");
		}
		if ((p[i] < 0x20 && p[i] != '\t') || p[i] == 0x7f)
			return err_set(e, -EINVAL,
				       "the value holds a control byte, which no header may carry");
	}
	return 0;
}

int secret_of_value(const void *p, size_t len, size_t max, struct secret **ret, struct err *e)
{
	int rc;

	if (len == 0)
		return err_set(e, -EINVAL, "the value is empty");
	if (len > max)
		return err_set(e, -E2BIG, "the value is longer than %zu bytes", max);
	rc = secret_check(p, len, 0, e);
	return rc < 0 ? rc : secret_of(p, len, ret, e);
}

int secret_read_fd(int fd, size_t max, unsigned int flags, int timeout_ms, struct secret **ret,
		   struct err *e)
{
	auto_(secret) struct secret *s = NULL;
	size_t len = 0, spare = flags & (SECRET_RAW | SECRET_MULTILINE) ? 1 : 2;
	int rc;

	rc = secret_new(max + spare, &s, e);
	if (rc == 0)
		rc = secret_fill(fd, s, secret_now_ms() + timeout_ms, &len, e);
	if (rc < 0)
		return rc;
	if (spare == 2 && len > 0 && s->bytes[len - 1] == '\n')
		len--;
	if (len == 0)
		return err_set(e, -EINVAL, "the value is empty");
	if (len > max)
		return err_set(e, -E2BIG, "the value is longer than %zu bytes", max);
	rc = secret_check(s->bytes, len, flags, e);
	if (rc < 0)
		return rc;
	secret_cut(s, len);
	*ret = take(s);
	return 0;
}
