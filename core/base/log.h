// log: one line per event to stderr (or to a callback), by level. The level is process-wide.
#ifndef HS_CORE_LOG_H
#define HS_CORE_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hs_log_level { HS_LOG_QUIET, HS_LOG_WARN, HS_LOG_INFO, HS_LOG_DEBUG } hs_log_level;

// Called with a whole line, without its newline. May be called from any thread; calls do not overlap.
typedef void hs_log_fn(hs_log_level level, const char *line, void *user);

void hs_log_set(hs_log_level level, hs_log_fn *fn, void *user); // fn NULL: stderr
hs_log_level hs_log_get(void);
void hs_log(hs_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define hs_warn(...)  hs_log(HS_LOG_WARN, __VA_ARGS__)
#define hs_info(...)  hs_log(HS_LOG_INFO, __VA_ARGS__)
#define hs_debug(...) hs_log(HS_LOG_DEBUG, __VA_ARGS__)

// "%lld step%s", in any message.
static inline const char *hs_plural(long long n) { return n == 1 ? "" : "s"; }

#ifdef __cplusplus
}
#endif
#endif
