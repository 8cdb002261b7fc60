// prep_merge: parts to stores. First what becomes of each document, from hashes and sketches alone; then the ids, in one pass.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/text/prep_part.h"
#include "data/text/store_format.h"
#include "data/text/store_writer.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { EMPTY = 254, DUPLICATE = 255 }; // verdicts; below: the split

typedef struct document {
    uint64_t hash[2];
} document;
typedef struct merge {
    const hs_prepare_opts *o;
    const hs_prep_dir *dir;
    hs_prepare_result *out;
    hs_prep_part *part; // [n_parts], open
    int64_t n_parts;
    document *document; // [n_documents]
    uint8_t *verdict;   // [n_documents]
    int64_t n_documents;
    uint32_t *first;          // [n_documents], or NULL: of its cluster
    const hs_sketch **sketch; // [n_documents], or NULL: of those that have text and are the first of their hash
    hs_sketch **joined;       // [n_joined]: of documents in pieces
    int64_t n_joined;
    hs_store_writer *writer[HS_PREPARE_SPLITS];
} merge;

static hs_status no_memory(const merge *m) { return HS_FAIL(MEMORY, "no memory for a table of %lld documents", (long long)m->n_documents); }

static bool finds_near(const merge *m) { return m->o->dedup >= HS_DEDUP_NEAR; }

static hs_status open_parts(merge *m)
{
    m->part = calloc((size_t)m->n_parts + 1, sizeof *m->part);
    if (!m->part)
        return HS_FAIL(MEMORY, "no memory for %lld parts", (long long)m->n_parts);
    for (int64_t i = 0; i < m->n_parts; i++) {
        hs_prep_part *part = &m->part[i];
        if (!hs_prep_part_open(m->dir, i, part, false))
            return HS_FAIL(CORRUPT, "%s: part %lld is gone or damaged; run again to make it again", m->dir->path, (long long)i);
        for (int64_t k = 0; k < part->p.n_pieces; k++) {
            const hs_prep_piece *piece = &part->p.piece[k];
            m->n_documents += piece->flags & HS_PREP_BEGINS;
            if (piece->flags & HS_PREP_NOTE)
                hs_bad_count_add(&m->out->bad, piece->flags & HS_PREP_MENDED, (int64_t)piece->hash[1], (int64_t)piece->hash[0],
                                 (hs_record_fault)(piece->flags / HS_PREP_FAULT));
        }
        m->out->text_bytes += part->p.text_bytes;
        m->out->replaced += part->p.replaced;
        m->out->raw_bytes = part->raw_bytes;
    }
    return HS_OK;
}

// ---- documents from pieces

static hs_status join_sketch(merge *m, int64_t d, const hs_sketch *more, bool begins)
{
    if (begins) {
        m->sketch[d] = more;
        return HS_OK;
    }
    hs_sketch *own = m->n_joined ? m->joined[m->n_joined - 1] : NULL;
    if (m->sketch[d] != own) {
        hs_sketch **joined = realloc(m->joined, ((size_t)m->n_joined + 1) * sizeof *joined);
        if (joined)
            m->joined = joined;
        own = joined ? malloc(sizeof *own) : NULL;
        if (!own)
            return no_memory(m);
        *own = *m->sketch[d];
        m->joined[m->n_joined++] = own;
        m->sketch[d] = own;
    }
    hs_sketch_join(own, more);
    return HS_OK;
}

static hs_status list_documents(merge *m)
{
    const size_t n = (size_t)m->n_documents + 1;
    m->document = calloc(n, sizeof *m->document);
    m->verdict = malloc(n);
    m->sketch = finds_near(m) ? calloc(n, sizeof *m->sketch) : NULL;
    m->first = finds_near(m) ? malloc(n * sizeof *m->first) : NULL;
    if (!m->document || !m->verdict || (finds_near(m) && (!m->sketch || !m->first)))
        return no_memory(m);
    int64_t d = -1;
    uint64_t ids = 0;
    for (int64_t i = 0; i < m->n_parts; i++) {
        const hs_prep *p = &m->part[i].p;
        for (int64_t k = 0; k < p->n_pieces; k++) {
            const hs_prep_piece *piece = &p->piece[k];
            const bool begins = piece->flags & HS_PREP_BEGINS;
            if (piece->flags & HS_PREP_NOTE)
                continue;
            d += begins;
            uint64_t *hash = m->document[d].hash, both[4] = { hash[0], hash[1], piece->hash[0], piece->hash[1] };
            const XXH128_hash_t chained = XXH3_128bits(both, sizeof both);
            hash[0] = begins ? piece->hash[0] : chained.low64;
            hash[1] = begins ? piece->hash[1] : chained.high64;
            ids = begins ? piece->n_ids : ids + piece->n_ids;
            m->verdict[d] = ids == 0 ? EMPTY : 0;
            if (m->sketch)
                HS_TRY(join_sketch(m, d, &p->sketch[k], begins));
        }
    }
    return HS_OK;
}

// ---- verdicts

// first_of[d]: the first document of the same text.
static hs_status find_equal(merge *m, uint32_t *first_of)
{
    uint64_t slots = 64;
    while (slots < 2 * (uint64_t)m->n_documents)
        slots *= 2;
    uint32_t *slot = calloc(slots, sizeof *slot);
    if (!slot)
        return no_memory(m);
    for (int64_t d = 0; d < m->n_documents; d++) {
        const document *mine = &m->document[d];
        uint64_t at = hs_mix(mine->hash[1]) & (slots - 1);
        while (slot[at] && memcmp(&m->document[slot[at] - 1], mine, sizeof *mine) != 0)
            at = (at + 1) & (slots - 1);
        if (!slot[at])
            slot[at] = (uint32_t)d + 1;
        first_of[d] = slot[at] - 1;
    }
    free(slot);
    return HS_OK;
}

static hs_status find_duplicates(merge *m)
{
    if (m->o->dedup == HS_DEDUP_NONE)
        return HS_OK;
    if (m->n_documents >= UINT32_MAX)
        return HS_FAIL(UNSUPPORTED, "%lld documents; duplicates are found among fewer than %u", (long long)m->n_documents, UINT32_MAX);
    uint32_t *equal = malloc(((size_t)m->n_documents + 1) * sizeof *equal);
    if (!equal)
        return no_memory(m);
    hs_status st = find_equal(m, equal);
    for (int64_t d = 0; m->sketch && d < m->n_documents; d++)
        if (equal[d] != d || m->verdict[d] == EMPTY)
            m->sketch[d] = NULL;
    if (st == HS_OK && m->sketch)
        st = hs_near_cluster(m->sketch, m->n_documents, m->first);
    for (int64_t d = 0; st == HS_OK && d < m->n_documents; d++) {
        const uint32_t first = m->first ? m->first[equal[d]] : equal[d];
        if (m->first)
            m->first[d] = first;
        if (first != d && m->verdict[d] != EMPTY && m->o->dedup != HS_DEDUP_GROUP)
            m->verdict[d] = DUPLICATE;
    }
    free(equal);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static int split_of(const hs_prepare_opts *o, uint64_t hash)
{
    const double u = (double)(hs_mix(hash) >> 11) * 0x1p-53;
    double sum = 0;
    for (int k = 0; k < o->n_splits - 1; k++)
        if (u < (sum += o->split[k]))
            return k;
    return o->n_splits ? o->n_splits - 1 : 0;
}

static void judge(merge *m)
{
    m->out->documents = m->n_documents;
    for (int64_t d = 0; d < m->n_documents; d++) {
        m->out->empty += m->verdict[d] == EMPTY;
        m->out->duplicates += m->verdict[d] == DUPLICATE;
        if (m->verdict[d] == 0)
            m->verdict[d] = (uint8_t)split_of(m->o, m->document[m->first ? m->first[d] : d].hash[0]);
    }
}

// ---- ids

static hs_status put_ids(hs_store_writer *w, const unsigned char *ids, uint64_t n, uint32_t id_bytes)
{
    int32_t block[4096];
    if (id_bytes == 4)
        return hs_store_writer_ids(w, (const int32_t *)ids, (int64_t)n);
    for (uint64_t i = 0; i < n; i += HS_COUNT(block)) {
        const uint64_t some = n - i < HS_COUNT(block) ? n - i : HS_COUNT(block);
        for (uint64_t k = 0; k < some; k++)
            block[k] = ((const uint16_t *)ids)[i + k];
        HS_TRY(hs_store_writer_ids(w, block, (int64_t)some));
    }
    return HS_OK;
}

// A sentence is ended by the next one, or by its document: its last token may be yet to come.
static hs_status put_piece(const merge *m, hs_store_writer *w, const hs_prep_piece *piece, const unsigned char *ids,
                           const uint32_t *sentence)
{
    const uint32_t id_bytes = m->dir->id_bytes;
    if (m->o->sentences == HS_SENTENCES_NONE)
        HS_TRY(put_ids(w, ids, piece->n_ids, id_bytes));
    for (uint32_t i = 0; i < piece->n_sentences; ids += (size_t)sentence[i++] * id_bytes) {
        HS_TRY(hs_store_writer_sentence(w));
        HS_TRY(put_ids(w, ids, sentence[i], id_bytes));
    }
    if (!(piece->flags & HS_PREP_ENDS))
        return HS_OK;
    if (m->o->eot >= 0)
        HS_TRY(hs_store_writer_ids(w, &m->o->eot, 1));
    return hs_store_writer_document(w);
}

static hs_status put_part(const merge *m, const hs_prep *p, int64_t *d)
{
    const unsigned char *ids = p->ids;
    const uint32_t *sentence = p->sentence;
    for (int64_t k = 0; k < p->n_pieces; k++) {
        const hs_prep_piece *piece = &p->piece[k];
        if (piece->flags & HS_PREP_NOTE)
            continue;
        *d += piece->flags & HS_PREP_BEGINS;
        if (m->verdict[*d] < HS_PREPARE_SPLITS)
            HS_TRY(put_piece(m, m->writer[m->verdict[*d]], piece, ids, sentence));
        ids += piece->n_ids * m->dir->id_bytes;
        sentence += piece->n_sentences;
    }
    return HS_OK;
}

static hs_status write_stores(merge *m)
{
    m->out->n_outputs = m->o->n_splits ? m->o->n_splits : 1;
    for (int i = 0; i < m->out->n_outputs; i++) {
        hs_prepare_output *output = &m->out->output[i];
        hs_prep_output_path(m->o, i, output->path, sizeof output->path);
        HS_TRY(hs_store_writer_open(&m->writer[i], output->path, hs_tokenizer_vocab(m->o->tokenizer), hs_tokenizer_hash(m->o->tokenizer),
                                    m->o->sentences != HS_SENTENCES_NONE));
    }
    int64_t d = -1;
    for (int64_t i = 0; i < m->n_parts; i++)
        HS_TRY(put_part(m, &m->part[i].p, &d));
    if (hs_store_writer_tokens(m->writer[0]) == 0)
        return HS_FAIL(USAGE, "%s would be empty: %lld document%s, %lld without text, %lld duplicate%s%s%s", m->out->output[0].path,
                       (long long)m->n_documents, hs_plural(m->n_documents), (long long)m->out->empty, (long long)m->out->duplicates,
                       hs_plural(m->out->duplicates), m->out->bad.left_out ? "; bad records were left out" : "",
                       m->out->n_outputs > 1 ? "; the split leaves it none of the others" : "");
    for (int i = 0; i < m->out->n_outputs; i++) {
        hs_prepare_output *output = &m->out->output[i];
        hs_store_writer *w = m->writer[i];
        output->tokens = hs_store_writer_tokens(w);
        output->documents = hs_store_writer_documents(w);
        output->sentences = hs_store_writer_sentences(w);
        m->writer[i] = NULL;
        if (output->tokens > 0) {
            HS_TRY(hs_store_writer_commit(w));
            continue;
        }
        hs_store_writer_discard(w);
        unlink(output->path); // of an earlier call
    }
    return HS_OK;
}

static hs_status merge_all(merge *m)
{
    HS_TRY(open_parts(m));
    HS_TRY(list_documents(m));
    HS_TRY(find_duplicates(m));
    judge(m);
    return write_stores(m);
}

hs_status hs_prep_merge(const hs_prepare_opts *o, const hs_prep_dir *d, int64_t n_parts, hs_prepare_result *out)
{
    merge m = { .o = o, .dir = d, .out = out, .n_parts = n_parts };
    const hs_status st = merge_all(&m);
    for (int i = 0; i < HS_PREPARE_SPLITS; i++)
        hs_store_writer_discard(m.writer[i]);
    for (int64_t i = 0; m.part && i < n_parts; i++)
        hs_prep_part_close(&m.part[i]);
    for (int64_t i = 0; i < m.n_joined; i++)
        free(m.joined[i]);
    free(m.joined);
    free(m.sketch);
    free(m.first);
    free(m.document);
    free(m.verdict);
    free(m.part);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
