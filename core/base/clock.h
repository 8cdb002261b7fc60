// clock: the one monotonic clock that durations are measured with.
#ifndef HS_CORE_CLOCK_H
#define HS_CORE_CLOCK_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

int64_t hs_now_ns(void);
double hs_now(void); // seconds

#ifdef __cplusplus
}
#endif
#endif
