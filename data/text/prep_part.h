// prep_part: what `prepare` has encoded so far, in memory and in OUTPUT.parts/.
#ifndef HS_DATA_PREP_PART_H
#define HS_DATA_PREP_PART_H
#include "data/text/near.h"
#include "data/text/prepare.h"
#include "data/text/token_store.h"

// A note stands for a bad record: no piece of a document; its hash is {line, input}, its flags from FAULT on an hs_record_fault.
enum { HS_PREP_BEGINS = 1, HS_PREP_ENDS = 2, HS_PREP_NOTE = 4, HS_PREP_MENDED = 8, HS_PREP_FAULT = 16 };
typedef struct hs_prep_piece {
    uint64_t hash[2]; // XXH3-128 of its text
    uint64_t n_ids;
    uint32_t n_sentences, flags;
} hs_prep_piece;

// Encoded pieces, one after the other.
typedef struct hs_prep {
    unsigned char *ids; // [n_ids] of id_bytes each
    hs_prep_piece *piece;
    uint32_t *sentence; // [n_sentences]: ids in each
    hs_sketch *sketch;  // [n_pieces], or NULL
    int64_t n_ids, n_pieces, n_sentences;
    int64_t ids_room, piece_room, sentence_room, sketch_room;
    int64_t text_bytes, replaced;
} hs_prep;
hs_status hs_prep_reserve(hs_prep *p, int64_t ids, int64_t pieces, int64_t sentences, uint32_t id_bytes, bool sketches); // so many more
hs_status hs_prep_append(hs_prep *p, const hs_prep *more, uint32_t id_bytes, bool sketches);
void hs_prep_clear(hs_prep *p); // keeps its memory
void hs_prep_free(hs_prep *p);

typedef struct hs_prep_part { // of a file
    hs_prep p;                // points into file
    hs_file file;
    hs_text_at after;
    int64_t raw_bytes; // of the inputs, up to its end
    bool last;
} hs_prep_part;
typedef struct hs_prep_dir {
    char path[4096]; // OUTPUT.parts
    int lock;
    uint64_t settings; // hash of the manifest
    uint32_t id_bytes;
    bool sketches;
} hs_prep_dir;

// Makes the folder, or finds it: parts of the same settings and inputs stay. USAGE says what is different.
hs_status hs_prep_dir_open(hs_prep_dir *d, const hs_prepare_opts *o, const hs_text_inputs *inputs);
void hs_prep_dir_close(hs_prep_dir *d, bool remove);
hs_status hs_prep_part_write(const hs_prep_dir *d, int64_t number, const hs_prep *p, const hs_text_at *after, int64_t raw_bytes, bool last);
bool hs_prep_part_open(const hs_prep_dir *d, int64_t number, hs_prep_part *part, bool verify); // false: not there, or damaged
void hs_prep_part_close(hs_prep_part *part);

// ---- the steps

typedef struct hs_prep_scratch { // of one thread
    hs_text_scratch text;
    int32_t *ids;
    size_t ids_room;
} hs_prep_scratch;
void hs_prep_scratch_free(hs_prep_scratch *s);
// Encodes the pieces of a batch to p, which is cleared first. source_names: of inputs, for messages.
hs_status hs_prep_encode(const hs_prepare_opts *o, const hs_text_inputs *inputs, const hs_text_batch *b, hs_prep_scratch *s, hs_prep *p);
// Parts [0, n) to stores.
hs_status hs_prep_merge(const hs_prepare_opts *o, const hs_prep_dir *d, int64_t n_parts, hs_prepare_result *out);
void hs_prep_output_path(const hs_prepare_opts *o, int i, char *buf, size_t size);

#endif
