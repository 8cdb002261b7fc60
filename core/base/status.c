// status: the thread-local line and frames behind HS_FAIL and HS_TRY. Nothing here allocates: errors of memory pass through it too.
#include "core/base/status.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int exit_code;
} table[HS_N_STATUS] = {
#define ROW(n, e, t) { .name = #n, .text = t, .exit_code = e },
    HS_STATUS_LIST(ROW)
#undef ROW
};

static _Thread_local char message[1024], frames[512];

const char *hs_status_name(hs_status st) { return (unsigned)st < HS_N_STATUS ? table[st].name : "unknown"; }
int hs_status_exit(hs_status st) { return (unsigned)st < HS_N_STATUS ? table[st].exit_code : table[HS_INTERNAL].exit_code; }
const char *hs_error(void) { return message; }
const char *hs_error_frames(void) { return frames; }

// "core/base/status.c": the build maps the source folder away (-fmacro-prefix-map), a tool between may have made it
// "../../core/base/status.c". Of a program's own files, elsewhere, folder and name are enough: no message depends on where a build stood.
static const char *short_path(const char *path)
{
    while (!strncmp(path, "../", 3))
        path += 3;
    if (path[0] != '/')
        return path;
    const char *folder = path, *file = path;
    for (const char *p = path; *p; p++)
        if (*p == '/')
            folder = file, file = p + 1;
    return folder;
}

static void add_frame(const char *file, int line)
{
    const size_t used = strlen(frames);
    snprintf(frames + used, sizeof frames - used, "%s%s:%d", used ? " < " : "", short_path(file), line);
}

hs_status hs_fail_at(hs_status st, const char *file, int line, const char *fmt, ...)
{
    char text[sizeof message]; // a copy: hs_error() may be among the arguments
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) // file contents and keys of the user's may hold anything; a message is one line
        if ((unsigned char)*p < ' ')
            *p = ' ';
    memcpy(message, text, sizeof message);
    frames[0] = 0;
    add_frame(file, line);
    return st;
}

hs_status hs_frame_at(hs_status st, const char *file, int line)
{
    add_frame(file, line);
    return st;
}
