/* doctor.h: what this kernel can carry, each thing checked by doing it in scratch cgroups and a network namespace made
 * for it, not by version numbers. For `agentsecrets doctor`.
 */
#ifndef DOCTOR_H
#define DOCTOR_H

#include "config.h"
#include "enforce.h"

#include <stdbool.h>
#include <stddef.h>

struct doctor_check {
	char name[48];
	bool ok;
	bool required; /* without it nothing starts */
	char detail[256];
};

/* At most max checks; the count. en: what is in force already (level L3 is asked of it, not tried a second time); NULL
 * when nothing is. */
size_t doctor_checks(const struct config *c, const struct enforce *en, struct doctor_check *checks, size_t max);

#endif
