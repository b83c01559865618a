/* tokenclock.c: see tokenclock.h. */
#include "tokenclock.h"

static bool apart(int64_t a, int64_t b, int64_t by)
{
	return a > b + by || b > a + by;
}

void tokenclock_heard(struct tokenclock *c, int64_t date, uint64_t boot_ms)
{
	if (date > 0)
		*c = (struct tokenclock){date, boot_ms};
}

int64_t tokenclock_now(const struct tokenclock *c, int64_t wall, uint64_t boot_ms)
{
	int64_t there = c->date + (int64_t)((boot_ms - c->boot_ms) / 1000);

	if (c->date == 0 || !apart(there, wall, TOKENCLOCK_NEAR_S) ||
	    apart(there, wall, TOKENCLOCK_FAR_S))
		return wall;
	return there;
}

bool tokenclock_corrects(const struct tokenclock *c, int64_t signed_for, int64_t wall,
			 uint64_t boot_ms)
{
	return apart(tokenclock_now(c, wall, boot_ms), signed_for, TOKENCLOCK_NEAR_S);
}

struct tokenlife tokenlife_of(uint64_t asked_boot_ms, uint32_t life_s)
{
	uint64_t life = life_s * 1000ULL;

	/* A tenth of its life, at most half a minute, is left for the request's way. */
	return (struct tokenlife){
		.refresh_ms = asked_boot_ms + life - (life / 4 < 180000 ? life / 4 : 180000),
		.end_ms = asked_boot_ms + life - (life / 10 < 30000 ? life / 10 : 30000)};
}
