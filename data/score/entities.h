// entities: tags to chunks, in seqeval's two modes. Of the room.
#ifndef HS_DATA_ENTITIES_H
#define HS_DATA_ENTITIES_H
#include "data/score/score.h"

typedef struct hs_chunk_tag { // "B-PER" as a mode reads it
    uint32_t prefix;          // its first code point; conlleval: what stands before the first hyphen, or 0 where that is not one byte
    int type;                 // place in the types
} hs_chunk_tag;
typedef struct hs_chunk {
    int type;
    int64_t from, to; // tokens of the sentence, to is the last one (default) or the one behind it (strict)
} hs_chunk;

// The tags and types of a mode. types: appended to; "_" (conlleval: "") is type 0, of tags that have none.
hs_status hs_tags_read(hs_chunk_tag *out, const hs_labels *tags, hs_entity_mode mode, hs_labels *types);

// Chunks of one sentence of n tags, each found by where it ends, in order; room for n + 1. *last: the type before the first tag, -1 at the
// very start and 0 from the second sentence on, as seqeval puts an O behind each.
int64_t hs_chunks_default(const hs_chunk_tag *tags, const int32_t *ids, int64_t n, int last, hs_chunk *out);
int64_t hs_chunks_strict(const hs_chunk_tag *tags, const int32_t *ids, int64_t n, hs_entity_scheme scheme, hs_chunk *out);

// By the prefixes that occur among ids (below 0: passed over). USAGE: they are those of no scheme.
hs_status hs_scheme_detect(const hs_chunk_tag *tags, const int32_t *ids, int64_t n, hs_entity_scheme *out);
bool hs_scheme_has(hs_entity_scheme scheme, uint32_t prefix);
const char *hs_scheme_prefixes(hs_entity_scheme scheme); // "I, O or B"
const char *hs_scheme_name(hs_entity_scheme scheme);     // "iob2"

#endif
