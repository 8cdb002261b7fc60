// llmc: llm.c's token files: a header of 256 i32 (magic, version, tokens), then ids. Read and written.
//
//   magic 20240520, version 1: u16 (GPT-2)    magic 20240801, version 7: u32 (Llama 3)
#ifndef HS_DATA_LLMC_H
#define HS_DATA_LLMC_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct hs_llmc hs_llmc;
hs_status hs_llmc_open(hs_llmc **out, const char *path); // CORRUPT: magic, version, or a size that is not the header's; names the file
void hs_llmc_close(hs_llmc *m);
bool hs_llmc_is(const char *path);
int64_t hs_llmc_tokens(const hs_llmc *m);
int hs_llmc_id_bytes(const hs_llmc *m);
// Ids [from, from + n). CORRUPT: one that is not below vocab (0: 2^31), with file and place.
hs_status hs_llmc_read(const hs_llmc *m, int64_t from, int64_t n, int64_t vocab, int32_t *out);

// u16 for a vocabulary of at most 65,536, else u32. USAGE: 2^31 tokens or more, which the header cannot count.
typedef struct hs_llmc_out hs_llmc_out;
hs_status hs_llmc_create(hs_llmc_out **out, const char *path, int64_t vocab);
hs_status hs_llmc_ids(hs_llmc_out *w, const int32_t *ids, int64_t n);
hs_status hs_llmc_commit(hs_llmc_out *w); // in any case the end of w
void hs_llmc_discard(hs_llmc_out *w);     // NULL: nothing

#endif
