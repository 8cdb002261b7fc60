// cublaslt_behind: of which products what stands behind them is faster in the library's kernel, timed once per shape on the device and kept
// in a file. Of cublaslt.c alone.
#ifndef HS_CORE_CUBLASLT_BEHIND_H
#define HS_CORE_CUBLASLT_BEHIND_H
#include "core/cuda/cublaslt.h"

typedef struct hs_lt_verdicts hs_lt_verdicts;

// where: as of hs_lt_open; the file is WHERE-behind.
hs_status hs_lt_verdicts_new(hs_lt_verdicts **out, const char *gpu, size_t version, const char *where);
void hs_lt_verdicts_free(hs_lt_verdicts *v);

// What cublaslt.c has of them: the verdicts of a device, and a product as bytes that are compared.
hs_lt_verdicts *hs_lt_verdicts_of(const hs_lt *lt);
void hs_lt_key(hs_lt_product *key, const hs_lt_product *p);

#endif
