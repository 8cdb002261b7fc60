// progress: figures for people, the window of rates, and a line that is cleared and written again around log lines.
#include "recipes/train/progress.h"
#include "core/base/log.h"
#include "recipes/train/evaluate.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

// ---- figures for people
const char *hs_human_count(double n, char *buf, size_t size)
{
    static const char *const units[] = { "", "k", "M", "G", "T", "P", "E" };
    int u = 0;
    while (n >= 999.5 && u < 6)
        n /= 1000, u++;
    snprintf(buf, size, n < 9.995 && u ? "%.2f%s" : n < 99.95 && u ? "%.1f%s" : "%.0f%s", n, units[u]);
    return buf;
}

const char *hs_human_time(double seconds, char *buf, size_t size)
{
    if (!(seconds >= 0 && seconds < 1e8)) {
        snprintf(buf, size, "-");
        return buf;
    }
    const long s = lround(seconds);
    if (s < 3600)
        snprintf(buf, size, "%ld:%02ld", s / 60, s % 60);
    else
        snprintf(buf, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    return buf;
}

const char *hs_human_bytes(double bytes, char *buf, size_t size)
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    int u = 0;
    while (bytes >= 999.5 && u < 4)
        bytes /= 1000, u++;
    snprintf(buf, size, bytes < 9.95 && u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
    return buf;
}

// ---- rates
void hs_progress_add(hs_progress *p, int64_t tokens, double seconds, double wait_seconds)
{
    p->tokens[p->at] = tokens, p->seconds[p->at] = seconds, p->wait[p->at] = wait_seconds;
    p->at = (p->at + 1) % HS_PROGRESS_WINDOW;
    if (p->n < HS_PROGRESS_WINDOW)
        p->n++;
}

void hs_progress_waited(hs_progress *p, double seconds) { p->seconds[(p->at + HS_PROGRESS_WINDOW - 1) % HS_PROGRESS_WINDOW] += seconds; }

hs_rates hs_progress_rates(const hs_progress *p, int64_t steps_done)
{
    double tokens = 0, seconds = 0, wait = 0;
    for (int i = 0; i < p->n; i++)
        tokens += (double)p->tokens[i], seconds += p->seconds[i], wait += p->wait[i];
    if (!(seconds > 0))
        return (hs_rates){ .mfu = -1 };
    const double rate = tokens / seconds;
    return (hs_rates){ .tokens_per_second = rate,
                       .mfu = p->peak_flops > 0 ? rate * p->flops_per_token / p->peak_flops : -1,
                       .data_wait = wait / seconds,
                       .seconds_left = seconds / p->n * (double)(p->steps - steps_done) };
}

// ---- the line
static void clear_line(hs_progress *p)
{
    if (p->line_open)
        fputs("\r\033[K", p->out);
    p->line_open = false;
}

static void log_above(hs_log_level level, const char *line, void *user)
{
    hs_progress *p = user;
    clear_line(p);
    fflush(p->out);
    fprintf(stderr, "%s%s\n", level == HS_LOG_WARN ? "warning: " : level == HS_LOG_DEBUG ? "debug: " : "", line);
}

static int descriptor(const hs_progress *p) { return p->json ? STDERR_FILENO : STDOUT_FILENO; } // the stream may have none of its own

void hs_progress_begin(hs_progress *p)
{
    const char *term = getenv("TERM");
    p->out = p->json ? stderr : stdout;
    p->terminal = !p->quiet && !p->plain && isatty(descriptor(p)) && term && strcmp(term, "dumb") != 0;
    const char *no_colour = getenv("NO_COLOR");
    p->colour = p->terminal && !(no_colour && *no_colour);
    if (p->terminal)
        hs_log_set(hs_log_get(), log_above, p);
}

static int terminal_width(const hs_progress *p)
{
    struct winsize w;
    return ioctl(descriptor(p), TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 100;
}

// "  label value" appended; the label is dim on a terminal with colours.
static void field(const hs_progress *p, char *line, size_t size, int *columns, int width, const char *label, const char *value)
{
    const int wide = 2 + (int)strlen(label) + (*label ? 1 : 0) + (int)strlen(value);
    if (p->terminal && *columns + wide > width)
        return;
    const size_t n = strlen(line);
    snprintf(line + n, size - n, "%s%s%s%s%s%s", *columns ? "  " : "", p->colour ? "\033[2m" : "", label, *label ? " " : "",
             p->colour ? "\033[0m" : "", value);
    *columns += wide;
}

static void compose(const hs_progress *p, const hs_progress_step *s, char *line, size_t size)
{
    const hs_rates r = hs_progress_rates(p, s->step);
    const int width = p->terminal ? terminal_width(p) - 1 : 1000;
    char v[64], label[32];
    int columns = 0;
    line[0] = 0;
#define FIELD(label, ...)       (snprintf(v, sizeof v, __VA_ARGS__), field(p, line, size, &columns, width, label, v))
#define FIELD_TEXT(label, text) field(p, line, size, &columns, width, label, text)
    FIELD("step", "%lld/%lld", (long long)s->step, (long long)p->steps);
    FIELD("loss", "%.4f", s->loss);
    for (int i = 0; i < s->n_parts && s->n_parts > 1; i++)
        FIELD(s->part[i].name, "%.4f", s->part[i].loss);
    if (!isnan(s->val_loss))
        FIELD("val", "%.4f", s->val_loss);
    if (s->score_name)
        FIELD(s->score_name, "%.4f", s->score);
    for (int i = 0; i < s->n_parts; i++)
        if (!isnan(s->part[i].accuracy)) {
            snprintf(label, sizeof label, "%s acc", s->part[i].name);
            FIELD(label, "%.1f%%", 100 * s->part[i].accuracy);
        }
    FIELD("lr", "%.2e", s->lr);
    if (p->show_scale)
        FIELD("scale", "%.0f", s->scale);
    FIELD("norm", "%.3f", s->grad_norm);
    FIELD_TEXT("tok/s", hs_human_count(r.tokens_per_second, v, sizeof v));
    if (r.mfu >= 0)
        FIELD("MFU", "%.0f%%", 100 * r.mfu);
    FIELD_TEXT("mem", hs_human_bytes((double)hs_peak_rss(), v, sizeof v));
    FIELD("data", "%.0f%%", 100 * r.data_wait);
    FIELD_TEXT("left", hs_human_time(r.seconds_left, v, sizeof v));
#undef FIELD
#undef FIELD_TEXT
}

bool hs_progress_due(hs_progress *p)
{
    const double now = hs_now();
    if (!p->terminal || now - p->last_look < 1)
        return false;
    p->last_look = now;
    return true;
}

void hs_progress_show(hs_progress *p, const hs_progress_step *s)
{
    char line[1024];
    if (p->quiet)
        return;
    if (p->terminal) {
        const double now = hs_now();
        if (now - p->last_draw < 0.1 && s->step != p->steps && isnan(s->val_loss))
            return;
        p->last_draw = now;
        compose(p, s, line, sizeof line);
        fprintf(p->out, "\r%s\033[K", line);
        p->line_open = true;
        if (!isnan(s->val_loss)) { // evaluations stay on the screen
            fputc('\n', p->out);
            p->line_open = false;
        }
    } else if (s->line) {
        compose(p, s, line, sizeof line);
        fprintf(p->out, "%s\n", line);
    }
    fflush(p->out);
}

void hs_progress_say(hs_progress *p, const char *fmt, ...)
{
    if (p->quiet)
        return;
    va_list ap;
    clear_line(p);
    va_start(ap, fmt);
    vfprintf(p->out, fmt, ap);
    va_end(ap);
    fputc('\n', p->out);
    fflush(p->out);
}

void hs_progress_end(hs_progress *p)
{
    if (p->terminal) {
        if (p->line_open)
            fputc('\n', p->out);
        p->line_open = false;
        hs_log_set(hs_log_get(), NULL, NULL);
    }
    fflush(p->out);
}
