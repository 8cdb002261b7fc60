// fenced: memory that the host cannot touch. Each allocation is mapped twice: the address handed out may be neither read
// nor written (a fault, which says where), its twin is what kernels get. So a host that goes past the device is found without a GPU. A
// debugging aid (device "cpu-fenced"): slower by nothing but page-sized allocations.
#ifndef HS_CORE_FENCED_H
#define HS_CORE_FENCED_H
#include "core/base/status.h"
#include <stddef.h>

hs_status hs_fenced_alloc(size_t bytes,
                          void **out); // zeroed; from any thread. From the first one on a SIGSEGV in a fence says what was touched
hs_status hs_fenced_alloc_host(size_t bytes, void **out); // zeroed, 64-byte aligned: known, so that kernels get it, and not fenced
// bytes > 0 of the host's, which kernels read where they are: *out is a fence in front of them, with no pages of its own.
hs_status hs_fenced_adopt(const void *host, size_t bytes, void **out);
void hs_fenced_release(void *p);     // of any of them; NULL: nothing
void *hs_fenced_twin(const void *p); // what kernels get for an address inside an allocation; NULL: inside none

#endif
