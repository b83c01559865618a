/* log.h: the daemon's own messages, one line each on stderr, for journald or a terminal.
 *
 * Not the audit log (audit.h). Whoever decides what happens next logs, once, saying what was done
 * about it. No secret, no request body, no query string goes in here. Control bytes in the text are
 * written as '?', so that a hostile name cannot forge a line.
 */
#ifndef LOG_H
#define LOG_H

#include "own.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* The process's name in each line ("proxy0"); call once before the first line. Kept by copy. */
void log_init(const char *process, enum log_level most);

void log_at(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
