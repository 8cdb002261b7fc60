// metrics: metrics.jsonl, appended a line at a time. A crash can only cost the line being written, and resuming cuts that.
#include "data/report/metrics.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct hs_metrics {
    int fd;
    int64_t bytes; // whole lines in the file
    char *path;
};

// ---- numbers

// Fewest digits, from 9 on, that read back as the same double.
static void format_number(char buf[32], double v)
{
    if (!isfinite(v)) {
        strcpy(buf, "null");
        return;
    }
    for (int digits = 9; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            return;
    }
}

// ---- cutting

// The step of one of our lines; -1 if it names none.
static int64_t step_of(const char *line)
{
    long long step;
    return sscanf(line, " { \"step\" : %lld", &step) == 1 ? step : -1;
}

// Bytes of the leading lines that are whole and, where resume_step >= 0, not of a later step. Steps ascend, so this is one cut.
static int64_t bytes_to_keep(FILE *f, int64_t resume_step)
{
    int64_t keep = 0;
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    while ((n = getline(&line, &room, f)) > 0 && line[n - 1] == '\n') {
        if (resume_step >= 0 && step_of(line) > resume_step)
            break;
        keep += n;
    }
    free(line);
    return keep;
}

static hs_status cut(hs_metrics *m, int64_t resume_step)
{
    const int fd = dup(m->fd);
    FILE *f = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (!f) {
        const int why = errno;
        if (fd >= 0)
            close(fd);
        return HS_FAIL(SYSTEM, "cannot read %s: %s", m->path, strerror(why));
    }
    m->bytes = bytes_to_keep(f, resume_step);
    const bool failed = ferror(f);
    const int why = errno;
    fclose(f);
    if (failed)
        return HS_FAIL(SYSTEM, "cannot read %s: %s", m->path, strerror(why));
    if (ftruncate(m->fd, m->bytes) != 0)
        return HS_FAIL(SYSTEM, "cannot cut %s to %lld bytes: %s", m->path, (long long)m->bytes, strerror(errno));
    return HS_OK;
}

hs_status hs_metrics_open(hs_metrics **out, const char *path, int64_t resume_step)
{
    *out = NULL;
    hs_metrics *m = calloc(1, sizeof *m);
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct stat st;
    hs_status result = HS_OK;
    if (m->fd < 0)
        result = HS_FAIL(SYSTEM, "cannot write %s: %s", path, strerror(errno));
    else if (fstat(m->fd, &st) == 0 && S_ISREG(st.st_mode)) // nothing to cut in /dev/null or a pipe
        result = cut(m, resume_step);
    if (result != HS_OK) {
        hs_metrics_close(m);
        return hs_frame_at(result, __FILE__, __LINE__);
    }
    *out = m;
    return HS_OK;
}

// ---- writing

static hs_status write_line(hs_metrics *m, const char *line, size_t n)
{
    size_t done = 0;
    while (done < n) {
        const ssize_t k = write(m->fd, line + done, n - done);
        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0) {
            const int why = errno;
            if (ftruncate(m->fd, m->bytes) != 0 && done > 0) // half a line would spoil the next one
                return HS_FAIL(SYSTEM, "cannot write %s: %s; its last line is incomplete", m->path, strerror(why));
            return HS_FAIL(SYSTEM, "cannot write %s: %s", m->path, strerror(why));
        }
        done += (size_t)k;
    }
    m->bytes += (int64_t)n;
    return HS_OK;
}

hs_status hs_metrics_write(hs_metrics *m, int64_t step, const hs_metric *v, int n)
{
    char *line = NULL, number[32];
    size_t bytes = 0;
    FILE *f = open_memstream(&line, &bytes);
    if (!f)
        return HS_FAIL(MEMORY, "%s: no memory for a line", m->path);
    fprintf(f, "{\"step\":%lld", (long long)step);
    for (int i = 0; i < n; i++) {
        format_number(number, v[i].value);
        fprintf(f, ",\"%s\":%s", v[i].name, number);
    }
    fputs("}\n", f);
    const bool whole = fclose(f) == 0;
    const hs_status st = whole ? write_line(m, line, bytes) : HS_FAIL(MEMORY, "%s: no memory for a line", m->path);
    free(line);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_metrics_sync(hs_metrics *m)
{
    if (fsync(m->fd) != 0 && errno != EINVAL && errno != EROFS) // a pipe or device has nothing to sync
        return HS_FAIL(SYSTEM, "cannot sync %s: %s", m->path, strerror(errno));
    return HS_OK;
}

void hs_metrics_close(hs_metrics *m)
{
    if (!m)
        return;
    if (m->fd >= 0)
        close(m->fd);
    free(m->path);
    free(m);
}
