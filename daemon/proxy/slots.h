/* slots.h: numbered places with generations, for objects that epoll knows by number.
 *
 * A place that is given back changes its generation, so that an event meant for what was there before
 * finds nothing. Header only.
 */
#ifndef SLOTS_H
#define SLOTS_H

#include "own.h"

#include <assert.h>
#include <stdint.h>

struct slots {
	struct slots_place {
		void *is;
		uint16_t gen;
		uint32_t next_free;
	} *at;
	uint32_t max, used, high; /* high: places that were ever in use */
	uint32_t free;		  /* first free place below high, or max */
};

static inline int slots_init(struct slots *s, uint32_t max)
{
	*s = (struct slots){.at = calloc(max, sizeof(*s->at)), .max = max, .free = max};
	return s->at ? 0 : -ENOMEM;
}

static inline void slots_done(struct slots *s)
{
	free(s->at);
	*s = (struct slots){0};
}

/* -EUSERS when all places are taken. */
static inline int must_check slots_put(struct slots *s, void *is, uint32_t *ret_slot, uint16_t *ret_gen)
{
	uint32_t slot = s->free;

	if (slot < s->max)
		s->free = s->at[slot].next_free;
	else if (s->high < s->max)
		slot = s->high++;
	else
		return -EUSERS;
	s->at[slot].is = is;
	s->used++;
	*ret_slot = slot;
	*ret_gen = s->at[slot].gen;
	return 0;
}

static inline void slots_drop(struct slots *s, uint32_t slot)
{
	assert(slot < s->high && s->at[slot].is);
	s->at[slot].is = NULL;
	s->at[slot].gen++;
	s->at[slot].next_free = s->free;
	s->free = slot;
	s->used--;
}

static inline void *slots_get(const struct slots *s, uint32_t slot, uint16_t gen)
{
	return slot < s->high && s->at[slot].gen == gen ? s->at[slot].is : NULL;
}

#endif
