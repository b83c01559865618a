/* httpdate.c: see httpdate.h. The day of the week says nothing that the date does not, and is not looked at. */
#include "httpdate.h"

#include "sigv4.h"

#include <stdio.h>
#include <string.h>

#define FORM "___, 00 ___ 0000 00:00:00 GMT" /* 0: a digit; _: a letter */

static bool form_ok(const char *s)
{
	for (size_t i = 0; FORM[i]; i++) {
		bool ok = FORM[i] == '0'   ? s[i] >= '0' && s[i] <= '9'
			  : FORM[i] == '_' ? (s[i] | 32) >= 'a' && (s[i] | 32) <= 'z'
					   : s[i] == FORM[i];

		if (!ok)
			return false;
	}
	return true;
}

int64_t httpdate_seconds(struct http1_slice value)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	const char *s = value.p;
	char t[SIGV4_TIME_LEN + 1];
	int64_t at;
	size_t m = 0;

	if (value.len != sizeof(FORM) - 1 || !form_ok(s))
		return 0;
	while (m < 12 && memcmp(months + 3 * m, s + 8, 3) != 0)
		m++;
	(void)snprintf(t, sizeof(t), "%.4s%02zu%.2sT%.2s%.2s%.2sZ", s + 12, m + 1, s + 5, s + 17,
		       s + 20, s + 23);
	at = sigv4_seconds(t);
	return at > 0 ? at : 0;
}

int64_t httpdate_of(const struct http1_head *h)
{
	const struct http1_field *date = NULL;

	for (uint32_t i = 0; i < h->field_count; i++) {
		if (!http1_is(h->fields[i].name, "date"))
			continue;
		if (date)
			return 0;
		date = &h->fields[i];
	}
	return date ? httpdate_seconds(date->value) : 0;
}
