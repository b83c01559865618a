/* args.c: see args.h.
 *
 * The words before the first option or "--" are matched against the table, longest command first. Global
 * options may stand before the words too. Parsing goes left to right once; what an argument means never
 * depends on what comes after it.
 */
#include "args.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_ 40
#define NEAR_MAX 48


static bool takes(const struct args_table *t, const struct args *a, char id)
{
	return strchr(t->common, id) || (a->command && strchr(a->command->options, id));
}

/* Optimal string alignment distance, for short words; SIZE_MAX when one is too long. */
static size_t distance(const char *a, const char *b)
{
	size_t row[3][NAME_MAX_ + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > NAME_MAX_ || lb > NAME_MAX_)
		return SIZE_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t *now = row[i % 3], *before = row[(i + 2) % 3], *older = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = before[j - 1] + (a[i - 1] != b[j - 1]);

			if (before[j] + 1 < best)
				best = before[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    older[j - 2] + 1 < best)
				best = older[j - 2] + 1;
			now[j] = best;
		}
	}
	return row[la % 3][lb];
}

const char *args_nearest(const char *typed, const char *const *names, size_t count)
{
	size_t best = strlen(typed) < 4 ? 2 : 3;
	const char *found = NULL;

	for (size_t i = 0; i < count; i++) {
		size_t d = distance(typed, names[i]);

		if (d < best && d < strlen(names[i])) {
			best = d;
			found = names[i];
		}
	}
	return found;
}

const char *args_next(const struct args *a, char id, size_t *at)
{
	while (*at < a->given_count) {
		const struct args_given *g = &a->given[(*at)++];

		if (g->id == id)
			return g->value;
	}
	return NULL;
}

const char *args_value(const struct args *a, char id)
{
	const char *last = NULL, *v;

	for (size_t at = 0; (v = args_next(a, id, &at));)
		last = v;
	return last;
}

static int unknown_option(const struct args_table *t, const struct args *a, const char *name, size_t len,
			  struct err *e)
{
	const char *names[NEAR_MAX], *near;
	char typed[NAME_MAX_ + 1] = "";
	size_t n = 0;

	for (size_t i = 0; i < t->option_count && n < NEAR_MAX; i++)
		if (takes(t, a, t->options[i].id))
			names[n++] = t->options[i].name;
	if (len <= NAME_MAX_)
		memcpy(typed, name, len);
	near = args_nearest(typed, names, n);
	if (near)
		return err_set(e, -EINVAL, "there is no option --%s here; did you mean --%s?", typed, near);
	return err_set(e, -EINVAL, "there is no option --%s here", typed[0] ? typed : "(too long)");
}

static void add_given(struct args *a, char id, const char *value)
{
	a->given[a->given_count++] = (struct args_given){.id = id, .value = value};
}

/* argv[*at] is "--name" or "--name=value". */
static int long_option(const struct args_table *t, int argc, char **argv, int *at, struct args *a,
		       struct err *e)
{
	const char *name = argv[*at] + 2;
	size_t len = strcspn(name, "=");

	for (size_t i = 0; i < t->option_count; i++) {
		const struct args_option *o = &t->options[i];

		if (strlen(o->name) != len || strncmp(o->name, name, len) || !takes(t, a, o->id))
			continue;
		if (!o->metavar && name[len])
			return err_set(e, -EINVAL, "--%s takes no value", o->name);
		if (!o->metavar)
			add_given(a, o->id, "");
		else if (name[len])
			add_given(a, o->id, name + len + 1);
		else if (*at + 1 < argc)
			add_given(a, o->id, argv[++*at]);
		else
			return err_set(e, -EINVAL, "--%s needs a value: --%s %s", o->name, o->name, o->metavar);
		return 0;
	}
	return unknown_option(t, a, name, len, e);
}

/* argv[*at] is "-x", "-xVALUE", or several flags "-xy". */
static int short_options(const struct args_table *t, int argc, char **argv, int *at, struct args *a,
			 struct err *e)
{
	for (const char *p = argv[*at] + 1; *p; p++) {
		const struct args_option *o = NULL;

		for (size_t i = 0; i < t->option_count && !o; i++)
			if (t->options[i].letter == *p && takes(t, a, t->options[i].id))
				o = &t->options[i];
		if (!o)
			return err_set(e, -EINVAL, "there is no option -%c here", *p > ' ' ? *p : '?');
		if (!o->metavar) {
			if (!args_value(a, o->id)) /* a cluster must not outgrow `given` */
				add_given(a, o->id, "");
			continue;
		}
		if (p[1])
			add_given(a, o->id, p + 1);
		else if (*at + 1 < argc)
			add_given(a, o->id, argv[++*at]);
		else
			return err_set(e, -EINVAL, "-%c needs a value: -%c %s", *p, *p, o->metavar);
		return 0;
	}
	return 0;
}

/* Does `words` consist of exactly, or begin with, the n words typed. */
static bool words_begin(const char *words, const char **typed, size_t n, bool *whole)
{
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(typed[i]);

		if (strncmp(words, typed[i], len) || (words[len] && words[len] != ' '))
			return false;
		words += len;
		*whole = !*words;
		words += *words == ' ';
	}
	return true;
}

/* The longest command whose words were typed; how many words it took. A prefix of commands sets *group. */
static const struct args_command *find_command(const struct args_table *t, const char **typed, size_t n,
					       size_t *ret_used, size_t *ret_group)
{
	const struct args_command *found = NULL;

	*ret_used = 0;
	*ret_group = 0;
	for (size_t k = 1; k <= n && k <= 3; k++)
		for (size_t i = 0; i < t->command_count; i++) {
			bool whole = false;

			if (!words_begin(t->commands[i].words, typed, k, &whole))
				continue;
			*ret_group = k;
			if (whole) {
				found = &t->commands[i];
				*ret_used = k;
			}
		}
	return found;
}

/* The word after the k words that were understood, against those that can stand there. */
static int unknown_word(const struct args_table *t, const char **typed, size_t k, struct err *e)
{
	const char *names[NEAR_MAX], *near;
	char copies[NEAR_MAX][NAME_MAX_ + 1], word[NAME_MAX_ + 1] = "";
	size_t n = 0;

	for (size_t i = 0; i < t->command_count && n < NEAR_MAX; i++) {
		const char *w = t->commands[i].words;
		bool whole = false;

		if (!words_begin(w, typed, k, &whole) || whole)
			continue;
		for (size_t j = 0; j < k; j++)
			w += strcspn(w, " ") + 1;
		memcpy(copies[n], w, strcspn(w, " "));
		copies[n][strcspn(w, " ")] = '\0';
		names[n] = copies[n];
		n++;
	}
	strncpy(word, typed[k], NAME_MAX_);
	near = args_nearest(word, names, n);
	if (near)
		return err_set(e, -EINVAL, "there is no command \"%s\"; did you mean \"%s\"?", word, near);
	return err_set(e, -EINVAL, "there is no command \"%s\"", word);
}

static int take_command(const struct args_table *t, char **argv, int argc, int *at, struct args *a,
			struct err *e)
{
	const char *typed[3];
	size_t n = 0, used, group;

	while (n < 3 && *at + (int)n < argc && argv[*at + (int)n][0] != '-') {
		typed[n] = argv[*at + (int)n];
		n++;
	}
	a->command = find_command(t, typed, n, &used, &group);
	if (a->command) {
		*at += (int)used;
		return 0;
	}
	for (size_t i = 0; i < t->command_count && group; i++) {
		bool whole = false;

		if (words_begin(t->commands[i].words, typed, group, &whole)) {
			a->group = t->commands[i].words;
			break;
		}
	}
	for (size_t i = 0; i < group; i++)
		a->group_len += strlen(typed[i]) + (i > 0);
	if (group < n)
		return unknown_word(t, typed, group, e);
	*at += (int)group;
	return 0;
}

int args_parse(const struct args_table *t, int argc, char **argv, struct args *a, struct err *e)
{
	bool ended = false;
	int rc = 0;

	*a = (struct args){0};
	a->given = calloc((size_t)argc + t->option_count + 1, sizeof(*a->given));
	a->rest = calloc((size_t)argc + 1, sizeof(*a->rest));
	if (!a->given || !a->rest)
		return err_set(e, -ENOMEM, "out of memory");
	for (int i = 1; i < argc && !rc; i++) {
		const char *s = argv[i];

		if (!ended && !strcmp(s, "--")) {
			ended = true;
		} else if (!ended && s[0] == '-' && s[1] == '-') {
			rc = long_option(t, argc, argv, &i, a, e);
		} else if (!ended && s[0] == '-' && s[1]) {
			rc = short_options(t, argc, argv, &i, a, e);
		} else if (!a->command && !a->group && !ended) {
			rc = take_command(t, argv, argc, &i, a, e);
			i--;
		} else {
			a->rest[a->rest_count++] = s;
			ended |= a->command && a->command->passes_on;
		}
	}
	return rc;
}

void args_done(struct args *a)
{
	free(a->given);
	free(a->rest);
	*a = (struct args){0};
}

int args_count_ok(const struct args *a, struct err *e)
{
	const struct args_command *c = a->command;

	if (a->rest_count < (size_t)c->min)
		return err_set(e, -EINVAL, "something is missing: agentsecrets %s %s", c->words, c->usage);
	if (c->max >= 0 && a->rest_count > (size_t)c->max)
		return err_set(e, -EINVAL, "too many arguments: agentsecrets %s%s%s", c->words,
			       c->usage[0] ? " " : "", c->usage);
	return 0;
}
