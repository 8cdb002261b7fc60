// overdue: whom a call that takes too long waits for, and where those are, in words.
#include "parallel/parallel_impl.h"
#include <stdarg.h>
#include <stdio.h>

typedef struct line {
    char *text;
    size_t n, size;
} line;

static void __attribute__((format(printf, 2, 3))) say(line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(l->text + l->n, l->size - l->n, fmt, ap);
    va_end(ap);
    l->n = n < 0 || l->n + (size_t)n >= l->size ? l->size - 1 : l->n + (size_t)n;
}

// "stopped", where the kernel can be asked.
static bool is_stopped(const hs_parallel *p, int rank)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)p->pids[rank]);
    FILE *f = p->pids[rank] ? fopen(path, "r") : NULL;
    if (!f)
        return false;
    if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
        state = 0;
    fclose(f);
    return state == 'T' || state == 't';
}

static void say_where(const hs_parallel *p, line *l, const hs_whereabouts *m, int rank)
{
    char call[160];
    if (!m->came) {
        say(l, "%s", is_stopped(p, rank) ? "its process is stopped" : "it does not answer");
        return;
    }
    for (int i = 0; i < HS_N_PLACES; i++)
        if (m->at[i].call.number && !m->at[i].ended) {
            hs_call_text(&m->at[i].call, hs_place_peers(p, i).axis, call, sizeof call);
            say(l, "it waits in %s for %.1f s", call, 1e-9 * (double)(m->now - m->at[i].begun));
            return;
        }
    say(l, "it is in no collective");
    for (int i = 0; i < m->n_past; i++) {
        hs_call_text(&m->past[i].at.call, hs_place_peers(p, m->past[i].place).axis, call, sizeof call);
        say(l, "%s %s, %.1f s ago", i ? "," : "; its last:", call, 1e-9 * (double)(m->now - m->past[i].at.ended));
    }
}

// How much rank's absence explains: it does not answer; it has not joined and is in no other call; it has not joined.
static int blame(const hs_whereabouts *m, int place, int64_t number)
{
    if (!m->came)
        return 3;
    if (m->at[place].call.number >= number)
        return 0;
    for (int k = 0; k < HS_N_PLACES; k++)
        if (m->at[k].call.number && !m->at[k].ended)
            return 1;
    return 2;
}

static void say_missing(const hs_parallel *p, line *out, const hs_peers *l, const hs_whereabouts *all, int place)
{
    const hs_whereabouts *own = &all[p->rank];
    const hs_hello *call = &own->at[place].call;
    const double seconds = 1e-9 * (double)(own->now - own->at[place].begun);
    char text[160];
    int most = 0, n = 0;
    for (int i = 0; i < l->size; i++) {
        const int b = i == l->rank ? 0 : blame(&all[l->peer[i]], place, call->number);
        most = b > most ? b : most;
    }
    hs_call_text(call, l->axis, text, sizeof text);
    for (int i = 0; i < l->size; i++) {
        const int r = l->peer[i];
        if (i == l->rank || blame(&all[l->peer[i]], place, call->number) != most)
            continue;
        if (++n > 4)
            continue;
        if (most)
            say(out, "%srank %d (%s) has not joined %s for %.1f s: ", n > 1 ? "; " : "", r, p->hosts[r], text, seconds);
        else
            say(out, "%srank %d (%s) has joined %s %.1f s ago and does not go on: ", n > 1 ? "; " : "", r, p->hosts[r], text, seconds);
        say_where(p, out, &all[r], r);
    }
    if (n > 4)
        say(out, "; and %d more", n - 4);
}

// A rank that does not answer and is not of the axis that waits may be what the others of the axis wait for.
static void say_silent(const hs_parallel *p, line *out, const hs_peers *l, const hs_whereabouts *all)
{
    for (int r = 0; r < p->size; r++) {
        bool told = all[r].came;
        for (int i = 0; i < l->size && !told; i++)
            told = l->peer[i] == r;
        if (told)
            continue;
        say(out, "rank %d (%s): ", r, p->hosts[r]);
        say_where(p, out, &all[r], r);
        say(out, "; ");
    }
}

void hs_overdue_text(const hs_parallel *p, const hs_whereabouts *all, int place, char *text, size_t size)
{
    line out = { .text = text, .size = size };
    const hs_peers l = hs_place_peers(p, place);
    if (l.peer) {
        say_silent(p, &out, &l, all);
        say_missing(p, &out, &l, all, place);
    }
    say(&out, " (parallel.timeout %g s)", p->timeout);
}
