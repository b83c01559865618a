/* log.c: one write(2) per line, so that lines of several processes do not mix. With journald's "<N>"
 * priority prefix when JOURNAL_STREAM said so at log_init (children have an empty environment and
 * inherit nothing: they write without the prefix).
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static char log_process[24] = "agentsecretsd";
static enum log_level log_most = LOG_LEVEL_INFO;

void log_init(const char *process, enum log_level most)
{
	(void)snprintf(log_process, sizeof(log_process), "%s", process);
	log_most = most;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char line[1024];
	va_list ap;
	size_t n, i;

	if (level > log_most)
		return;
	n = (size_t)snprintf(line, sizeof(line), "%s: %s: ", log_process, names[level]);
	va_start(ap, fmt);
	(void)vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	n = strlen(line);
	for (i = 0; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nowhere left to say it */
}
