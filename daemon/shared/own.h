/* own.h: one owner per pointer and descriptor, visible where it is declared.
 *
 *	auto_close int fd = -1;
 *	auto_(X509) X509 *leaf = NULL;
 *	...
 *	*ret_fd = take_fd(&fd);		// outputs are written only on success
 *
 * Header only. Nothing here can fail.
 */
#ifndef OWN_H
#define OWN_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Closes *fd when it is a descriptor; keeps errno; leaves -1. */
static inline void own_close(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		(void)close(*fd);
		errno = saved;
	}
	*fd = -1;
}

static inline void own_free(void *p)
{
	free(*(void **)p);
	*(void **)p = NULL;
}

/* Gives the descriptor away; the variable is empty afterwards. */
static inline int take_fd(int *fd)
{
	int given = *fd;

	*fd = -1;
	return given;
}

#define auto_close __attribute__((cleanup(own_close)))
#define auto_free __attribute__((cleanup(own_free)))

/* auto_(T) calls T_cleanup(T **), declared by OWN_CLEANUP(T, free_function). */
#define auto_(T) __attribute__((cleanup(T##_cleanup)))
#define OWN_CLEANUP(T, type, fn)                                                                   \
	static inline void T##_cleanup(type **p)                                                   \
	{                                                                                          \
		if (*p)                                                                            \
			fn(*p);                                                                    \
		*p = NULL;                                                                         \
	}

/* Gives the pointer away; the variable is empty afterwards. */
#define take(p)                                                                                    \
	__extension__({                                                                            \
		__typeof__(p) taken_ = (p);                                                        \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#endif
