// perf_child: the server as a process. What it prints goes to a file without a name, in which its address is looked for.
#include "recipes/perf/perf_child.h"
#include "core/base/clock.h"
#include "recipes/perf/perf_load.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGS = 64, LOG_BYTES = 16384 };

static void pause_ms(long ms) { nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000 }, NULL); }

static void run_server(FILE *log, char **argv)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (dup2(fileno(log), 1) < 0 || dup2(fileno(log), 2) < 0)
        _exit(126);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static size_t read_log(const hs_perf_child *c, char *text)
{
    const ssize_t n = pread(fileno(c->log), text, LOG_BYTES - 1, 0);
    text[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

// The last line it said.
static const char *last_line(char *text)
{
    for (size_t n = strlen(text); n && text[n - 1] == '\n';)
        text[--n] = 0;
    char *line = strrchr(text, '\n');
    line = line ? line + 1 : text;
    return strncmp(line, "halfstep: ", 10) == 0 ? line + 10 : line;
}

static bool find_url(const char *text, char *url, size_t n)
{
    const char *at = strstr(text, "http://");
    const size_t len = at ? strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.-[]") : 0;
    if (!len || !at[len] || len >= n) // the line is not whole yet
        return false;
    memcpy(url, at, len), url[len] = 0;
    return true;
}

static bool is_ready(const char *url)
{
    hs_perf_server s;
    int status;
    char *answer;
    if (hs_perf_server_find(&s, url) != HS_OK || hs_perf_ask(&s, "GET", "/v2/health/ready", NULL, 5, &status, &answer) != HS_OK)
        return false;
    free(answer);
    return status == 200;
}

static hs_status wait_ready(hs_perf_child *c, double patience, char *url, size_t url_bytes)
{
    char text[LOG_BYTES];
    const double until = hs_now() + patience;
    for (*url = 0; hs_now() < until; pause_ms(20)) {
        int how;
        const bool ended = waitpid(c->pid, &how, WNOHANG) == c->pid;
        read_log(c, text);
        if (ended) {
            c->pid = 0;
            return HS_FAIL(SYSTEM, "the server did not start: %s", *text ? last_line(text) : "it ended without a word");
        }
        if ((*url || find_url(text, url, url_bytes)) && is_ready(url))
            return HS_OK;
    }
    return HS_FAIL(SYSTEM, "the server was not ready within %.0f s", patience);
}

hs_status hs_perf_child_start(hs_perf_child *c, const char *model, const char *options, double patience, char *url, size_t url_bytes)
{
    char *argv[ARGS] = { "halfstep", "serve", (char *)model, "--port", "0" }, *words = strdup(options), *rest = NULL;
    int n = 5;
    *c = (hs_perf_child){ .log = tmpfile() };
    for (char *w = words ? strtok_r(words, " ", &rest) : NULL; w && n + 1 < ARGS; w = strtok_r(NULL, " ", &rest))
        argv[n++] = w;
    if (!words || !c->log) {
        free(words);
        return HS_FAIL(SYSTEM, "no file for what the server says: %s", strerror(errno));
    }
    fflush(stdout);
    c->pid = fork();
    if (c->pid == 0)
        run_server(c->log, argv);
    free(words);
    if (c->pid < 0)
        return HS_FAIL(SYSTEM, "no process for the server: %s", strerror(errno));
    return wait_ready(c, patience, url, url_bytes);
}

hs_status hs_perf_child_end(hs_perf_child *c)
{
    int how = 0;
    char text[LOG_BYTES] = "";
    bool ended = c->pid <= 0, killed = false;
    if (!ended)
        kill(c->pid, SIGTERM);
    for (int i = 0; !ended && i < 3000; i++, pause_ms(10))
        ended = waitpid(c->pid, &how, WNOHANG) == c->pid;
    if (!ended) {
        killed = kill(c->pid, SIGKILL) == 0;
        waitpid(c->pid, &how, 0);
    }
    if (c->log) {
        read_log(c, text);
        fclose(c->log);
    }
    *c = (hs_perf_child){ 0 };
    if (killed)
        return HS_FAIL(SYSTEM, "the server did not end within 30 s of SIGTERM");
    return how == 0 ? HS_OK
                    : HS_FAIL(SYSTEM, "the server ended with %s %d: %s", WIFEXITED(how) ? "exit code" : "signal",
                              WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how), last_line(text));
}
