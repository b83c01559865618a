/* tokenclock.h: what time it is where tokens come from, and until when one is used. Pure: all clocks are given.
 *
 * An authorization server's clock is known by the Date of its last answer and runs on with CLOCK_BOOTTIME, so it does not
 * move when ours is set. Only the times in an assertion, which nobody but that server judges, are taken from it, and
 * only while it is less than a day off ours: one that lies gets no assertion that is good for longer than that, and by
 * clocks that differ by more its certificate would not be valid either.
 *
 * A token's life is counted with CLOCK_BOOTTIME from when it was asked for: no change of the wall clock makes it longer
 * or shorter, and while the machine sleeps it goes on.
 */
#ifndef TOKENCLOCK_H
#define TOKENCLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define TOKENCLOCK_NEAR_S 30 /* no difference: an answer's way, a Date's whole seconds */
#define TOKENCLOCK_FAR_S  86400
#define TOKENCLOCK_MAX    253402300799 /* the end of the year 9999: no Date is later */

struct tokenclock {
	int64_t date; /* seconds since 1970 when our boot clock said boot_ms; 0: nothing is known */
	uint64_t boot_ms;
};

/* An answer came with this Date; 0: with none, and what was known stays. */
void tokenclock_heard(struct tokenclock *c, int64_t date, uint64_t boot_ms);
/* Seconds since 1970 for an assertion: the server's, or those of our clock (wall) when they are near, too far, or nothing
 * is known. */
int64_t tokenclock_now(const struct tokenclock *c, int64_t wall, uint64_t boot_ms);
/* Would an assertion be given another time now than `signed_for`, which was refused. */
bool tokenclock_corrects(const struct tokenclock *c, int64_t signed_for, int64_t wall,
			 uint64_t boot_ms);

struct tokenlife {
	uint64_t refresh_ms, end_ms; /* CLOCK_BOOTTIME: fetched anew beside its use; used no more */
};

struct tokenlife tokenlife_of(uint64_t asked_boot_ms, uint32_t life_s);

#endif
