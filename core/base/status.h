// status: what went wrong, who is to blame, and where it passed.
//
// Every function that can fail returns hs_status. HS_FAIL is the only way to create an error and HS_TRY the only way
// to pass one on. The message is one line, holds the offending values, and lives in thread-local storage until the next
// HS_FAIL of the same thread. A lower error is never overwritten by the frames above it. The library never exits or prints.
#ifndef HS_CORE_STATUS_H
#define HS_CORE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

//   name         exit  blame
#define HS_STATUS_LIST(X)                                                                                                                  \
    X(OK, 0, "ok")                                                                                                                         \
    X(USAGE, 2, "bad input: a key, a value, a file's contents, a shape")                                                                   \
    X(CORRUPT, 2, "a file is damaged: checksum, truncation, wrong magic")                                                                  \
    X(UNSUPPORTED, 2, "this build, machine or backend lacks it")                                                                           \
    X(SYSTEM, 2, "the operating system refused: open, write, mmap, disk full")                                                             \
    X(MEMORY, 2, "not enough memory")                                                                                                      \
    X(NONFINITE, 3, "a value became infinite or not a number")                                                                             \
    X(REMOTE, 4, "another rank failed or is missing")                                                                                      \
    X(INTERNAL, 70, "a bug of Halfstep")                                                                                                   \
    X(STOPPED, 75, "stopped by a signal after saving; run again to go on")

typedef enum hs_status {
#define HS_STATUS_ENUM(name, exit_code, text) HS_##name,
    HS_STATUS_LIST(HS_STATUS_ENUM)
#undef HS_STATUS_ENUM
        HS_N_STATUS
} hs_status;

const char *hs_status_name(hs_status st); // "USAGE"
int hs_status_exit(hs_status st);         // process exit code

// The message of this thread's last error: one line, no newline; "" if none. Borrowed, until the next HS_FAIL here.
const char *hs_error(void);
// The frames it passed through, one "file:line" each, separated by " < ". Borrowed.
const char *hs_error_frames(void);

hs_status hs_fail_at(hs_status st, const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
hs_status hs_frame_at(hs_status st, const char *file, int line);

// HS_FAIL(USAGE, "model.layers is %d, allowed 1 to %d", v, max)
#define HS_FAIL(code, ...) hs_fail_at(HS_##code, __FILE__, __LINE__, __VA_ARGS__)
#define HS_TRY(expr)                                                                                                                       \
    do {                                                                                                                                   \
        hs_status hs_try_ = (expr);                                                                                                        \
        if (hs_try_ != HS_OK)                                                                                                              \
            return hs_frame_at(hs_try_, __FILE__, __LINE__);                                                                               \
    } while (0)
// The same where something must be freed first: HS_TRY_GOTO(st, expr, done);
#define HS_TRY_GOTO(st, expr, label)                                                                                                       \
    do {                                                                                                                                   \
        (st) = (expr);                                                                                                                     \
        if ((st) != HS_OK) {                                                                                                               \
            hs_frame_at((st), __FILE__, __LINE__);                                                                                         \
            goto label;                                                                                                                    \
        }                                                                                                                                  \
    } while (0)

#define HS_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#ifdef __cplusplus
}
#endif
#endif
