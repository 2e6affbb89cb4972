/*
 * Signals of other servers, see foreign_signal.h. SIGTSTP and SIGCONT stay the
 * shell's; SIGUSR1, which is HAProxy's soft stop, opens our logs anew.
 */
#include "proxy/control/foreign_signal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/log.h"

#define ON_PURPOSE "nothing: weir has no use for it"

static const struct row {
	int number;
	const char *name, *instead;
} rows[] = {
    {SIGUSR2, "SIGUSR2",
        "SIGHUP reloads the config; a new binary needs a restart: SIGTERM "
        "finishes what is in flight"},
    {SIGWINCH, "SIGWINCH",
        "SIGTERM stops accepting and finishes what is in flight"},
    {SIGTTOU, "SIGTTOU",
        "weirctl endpoint ADDRESS drain takes an endpoint out; listeners "
        "are not paused"},
    {SIGTTIN, "SIGTTIN", "nothing: listeners are not paused"},
    {SIGALRM, "SIGALRM", ON_PURPOSE},
    {SIGVTALRM, "SIGVTALRM", ON_PURPOSE},
    {SIGPROF, "SIGPROF", ON_PURPOSE},
    {SIGIO, "SIGIO", ON_PURPOSE},
    {SIGPWR, "SIGPWR", "SIGTERM stops in order"},
};
enum { N_ROWS = sizeof(rows) / sizeof(*rows) };

struct foreign_signals {
	struct one {
		struct event *event; /* owned */
		const struct row *row;
		bool is_told;
	} all[N_ROWS];
};

/* SIGPIPE and SIGXFSZ come of our own writing, which looks at errno. */
void
foreign_signals_ignore(void)
{
	static const int ours[] = {SIGPIPE, SIGXFSZ, SIGHUP, SIGUSR1};

	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++)
		signal(ours[i], SIG_IGN);
	for (size_t i = 0; i < N_ROWS; i++)
		signal(rows[i].number, SIG_IGN);
}

static void
on_foreign(int number, short what, void *arg)
{
	struct one *one = arg;

	(void)number;
	(void)what;
	/* A window that is resized is no operator's order. */
	if (one->is_told ||
	    (one->row->number == SIGWINCH && isatty(STDERR_FILENO)))
		return;
	one->is_told = true;
	log_event(LOG_WARN, "signal ignored", "signal", one->row->name,
	    "instead", one->row->instead, NULL);
}

struct foreign_signals *
foreign_signals_new(struct event_base *base)
{
	struct foreign_signals *signals = calloc(1, sizeof(*signals));

	for (size_t i = 0; signals && i < N_ROWS; i++) {
		struct one *one = &signals->all[i];

		one->row = &rows[i];
		one->event =
		    evsignal_new(base, rows[i].number, on_foreign, one);
		if (!one->event || evsignal_add(one->event, NULL) < 0)
			foreign_signals_free(&signals);
	}
	return signals;
}

void
foreign_signals_free(struct foreign_signals **signals)
{
	for (size_t i = 0; *signals && i < N_ROWS; i++)
		if ((*signals)->all[i].event)
			event_free((*signals)->all[i].event);
	free(*signals);
	*signals = NULL;
}
