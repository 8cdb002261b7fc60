// cpu: what this process may use - cores by affinity and cgroup, ISA tier by cpuid - and the team of threads that walks segments.
#ifndef HS_CORE_CPU_H
#define HS_CORE_CPU_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Kernel tiers, each compiled from the same sources. The order is the order of preference.
typedef enum hs_isa { HS_ISA_PORTABLE, HS_ISA_AVX2, HS_ISA_AVX512, HS_ISA_AVX512BF16, HS_ISA_AMX, HS_N_ISA } hs_isa;

const char *hs_isa_name(hs_isa isa); // "avx512bf16"
bool hs_isa_supported(hs_isa isa);   // by this CPU, and by its system: amx asks Linux for the tiles, once and for all threads
bool hs_isa_fast_bf16(hs_isa isa);   // products of bf16 are faster than those of f32 in this tier of this CPU
bool hs_isa_parse(const char *s, hs_isa *out);
// The tier of exec.isa among those in `built` (bit 1 << tier): NULL and "auto" are the best this CPU supports,
// without avx512bf16 where that is slower than f32.
hs_status hs_isa_choose(const char *name, unsigned built, hs_isa *out);
int hs_cpu_cores(void);                    // that this process may use: affinity mask and cgroup quota, at least 1
void hs_cpu_model(char *buf, size_t size); // "AMD EPYC 9B45"
size_t hs_cpu_free_bytes(void);            // memory available to this process (cgroup limit honoured)

// 64-byte aligned, zeroed, on huge pages where it is large and the kernel has them. NULL: no memory.
void *hs_cpu_alloc(size_t bytes);
void hs_cpu_release(void *p, size_t bytes); // as asked for
void hs_cpu_trim(void *p, size_t bytes);    // gives whole pages of an allocation back; they read as zeros then

// A team of n threads (the caller is member 0). hs_team_run calls fn(lane, arg) on every member and returns when all are done.
typedef struct hs_team hs_team;
struct hs_lane; // core/cpu/lane.h
hs_status hs_team_new(hs_team **out, int n);
void hs_team_free(hs_team *t);
void hs_team_run(hs_team *t, void (*fn)(struct hs_lane *lane, void *arg), void *arg);
// The same for work whose result does not depend on the number of lanes: on the caller alone (a lane of n = 1) while a neighbour's
// process makes members share a core, on all otherwise.
void hs_team_run_some(hs_team *t, void (*fn)(struct hs_lane *lane, void *arg), void *arg);

#ifdef __cplusplus
}
#endif
#endif
