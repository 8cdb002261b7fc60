// megatron: Megatron-LM's indexed dataset, a pair of files PREFIX.idx and PREFIX.bin, read and written.
//
// .idx (little-endian): "MMIDIDX\0\0", u64 version 1, u8 type code, u64 sequences, u64 document boundaries (documents + 1); then
// i32 lengths[sequences], i64 byte offsets[sequences] into .bin, i64 boundaries (in sequences), perhaps i8 modes[sequences].
// .bin: ids. Type codes: 1 u8, 2 i8, 3 i16, 4 i32, 5 i64, 8 u16; 6 and 7 are floats, which are no ids.
// A sequence is a sentence in data for BERT, a document in data for GPT.
#ifndef HS_DATA_MEGATRON_H
#define HS_DATA_MEGATRON_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct hs_megatron hs_megatron;
typedef struct hs_megatron_info {
    int64_t n_tokens, n_sequences, n_documents;
    int id_bytes;
    const char *type; // "uint16"
    bool modes;       // multimodal files; the modes themselves are passed over
} hs_megatron_info;

// path: either of the two files, or the prefix. Both are mapped; the index is checked whole: counts against sizes, every pointer inside
// the data and behind the one before it, boundaries ascending. Errors name the file.
hs_status hs_megatron_open(hs_megatron **out, const char *path);
void hs_megatron_close(hs_megatron *m);
char *hs_megatron_path(const char *path, const char *end); // path with ".idx" or ".bin" as its end, malloc'd; NULL: no memory
bool hs_megatron_is(const char *path);                     // there is an index that begins as one does
hs_megatron_info hs_megatron_info_of(const hs_megatron *m);
void hs_megatron_document(const hs_megatron *m, int64_t document, int64_t *first, int64_t *end); // in sequences
int64_t hs_megatron_length(const hs_megatron *m, int64_t sequence);
// Ids [from, from + n) of a sequence. CORRUPT: one below 0, or not below vocab (0: 2^31), with file and sequence.
hs_status hs_megatron_read(const hs_megatron *m, int64_t sequence, int64_t from, int64_t n, int64_t vocab, int32_t *out);

// Writes PREFIX.bin, then PREFIX.idx: without the index there is no dataset. u16 below a vocabulary of 65,500, as Megatron does, else i32.
typedef struct hs_megatron_out hs_megatron_out;
hs_status hs_megatron_create(hs_megatron_out **out, const char *prefix, int64_t vocab); // a prefix that ends in .idx or .bin loses it
hs_status hs_megatron_ids(hs_megatron_out *w, const int32_t *ids, int64_t n);           // of the current sequence
hs_status hs_megatron_end_sequence(hs_megatron_out *w);                                 // nothing where it has no ids
hs_status hs_megatron_end_document(hs_megatron_out *w);
hs_status hs_megatron_commit(hs_megatron_out *w); // in any case the end of w
void hs_megatron_discard(hs_megatron_out *w);     // NULL: nothing

#endif
