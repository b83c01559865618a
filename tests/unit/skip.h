/* skip.h: a test that cannot run here says why; tests/check.py shows it. */
#ifndef SKIP_H
#define SKIP_H

#define skip_because(why)                                                                          \
	do {                                                                                       \
		print_message("# SKIP because: %s\n", why);                                        \
		skip();                                                                            \
	} while (0)

#endif
