/* placeholder.c: see placeholder.h. */
#include "placeholder.h"

#include "wr.h"

#include <string.h>

#define LETTERS 36

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* {"alg":"HS256","typ":"JWT"} and {"sub":"agentsecrets-placeholder"}, in base64url. Nothing in it ever expires. */
#define JWT_HEAD                                                                                   \
	"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZ2VudHNlY3JldHMtcGxhY2Vob2xkZXIifQ."

/* Letters of an alphabet of `n`: bytes that would make some of them likelier are left out. */
static void letters(struct wr *w, const uint8_t random[PLACEHOLDER_RANDOM], size_t count,
		    unsigned int n)
{
	size_t i = 0;

	for (size_t at = 0; at < PLACEHOLDER_RANDOM && i < count; at++)
		if (random[at] < 256 / n * n) {
			wr_u8(w, (uint8_t)alphabet[random[at] % n]);
			i++;
		}
	w->full |= i < count;
}

int placeholder_make(const char *wish, const uint8_t random[PLACEHOLDER_RANDOM],
		     char out[RULES_PLACEHOLDER_MAX], struct err *e)
{
	struct wr w = wr_of(out, RULES_PLACEHOLDER_MAX - 1);

	if (strcmp(wish, "auto:jwt") == 0) {
		wr_str(&w, JWT_HEAD);
		letters(&w, random, 43, 64);
	} else if (strcmp(wish, "auto") == 0 || strncmp(wish, "auto:", 5) == 0) {
		wr_str(&w, wish[4] ? wish + 5 : "");
		letters(&w, random, LETTERS, 62);
	} else if (strcmp(wish, "none") != 0) {
		wr_str(&w, wish);
	}
	if (w.full)
		return err_set(e, -EINVAL, "a placeholder has at most %d characters",
			       RULES_PLACEHOLDER_MAX - 1);
	out[w.len] = '\0';
	return 0;
}
