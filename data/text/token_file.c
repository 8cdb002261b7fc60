// token_file: one table row per format; nothing else knows which there are.
#include "data/text/token_file.h"
#include "data/base/file.h"
#include "data/formats/llmc.h"
#include "data/formats/megatron.h"
#include "data/text/store_writer.h"
#include "data/text/text_kind.h"
#include <stdlib.h>
#include <string.h>

enum { PIECE = 16384 }; // ids handed on at once

const char *const hs_token_format_names[] = { "store", "hdf5", "megatron", "llmc" };

struct hs_token_file {
    hs_token_file_opts o;
    hs_token_file_info info;
    union {
        void *any;
        hs_token_store *store;
        hs_h5_file *hdf5;
        hs_megatron *megatron;
        hs_llmc *llmc;
    };
};

// ---- token store

static hs_status store_open(hs_token_file *f, const char *path)
{
    HS_TRY(hs_token_store_open(&f->store, path));
    const hs_token_store_info i = hs_token_store_info_of(f->store);
    f->info = (hs_token_file_info){ .type = i.vocab <= 65536 ? "uint16" : "int32",
                                    .n_tokens = i.n_tokens,
                                    .n_documents = i.n_documents,
                                    .n_sentences = i.n_sentences,
                                    .vocab = i.vocab,
                                    .tokenizer_hash = i.tokenizer_hash };
    return HS_OK;
}

static hs_status store_ids(const hs_token_file *f, int64_t from, int64_t end, const hs_token_sink *to)
{
    int32_t ids[PIECE];
    for (; from < end; from += PIECE) {
        const int64_t n = end - from < PIECE ? end - from : PIECE;
        hs_token_store_read(f->store, from, n, ids);
        for (int64_t i = 0; i < n; i++)
            if (ids[i] < 0 || ids[i] >= f->info.vocab)
                return HS_FAIL(CORRUPT, "%s: id %d at token %lld is outside the vocabulary of %lld", hs_token_store_path(f->store), ids[i],
                               (long long)(from + i), (long long)f->info.vocab);
        HS_TRY(to->ids(to->ctx, ids, n));
    }
    return HS_OK;
}

static hs_status store_stream(const hs_token_file *f, bool check, const hs_token_sink *to)
{
    if (check)
        HS_TRY(hs_token_store_verify(f->store));
    for (int64_t d = 0; d < f->info.n_documents; d++) {
        int64_t first, end;
        if (f->info.n_sentences == 0) {
            hs_token_store_document(f->store, d, &first, &end);
            HS_TRY(store_ids(f, first, end, to));
        } else {
            HS_TRY(hs_token_store_sentences(f->store, d, &first, &end));
            for (int64_t s = first; s < end; s++) {
                int64_t from, to_token;
                HS_TRY(hs_token_store_sentence(f->store, s, &from, &to_token));
                HS_TRY(store_ids(f, from, to_token, to));
                HS_TRY(to->sentence(to->ctx));
            }
        }
        HS_TRY(to->document(to->ctx));
    }
    return HS_OK;
}

static hs_status store_document(const hs_token_file *f, hs_token_cursor *c, int64_t document, int64_t most, const hs_token_sink *to,
                                int64_t *n)
{
    int64_t first, end;
    (void)c;
    hs_token_store_document(f->store, document, &first, &end);
    *n = end - first;
    return store_ids(f, first, *n > most ? first + most : end, to);
}

static void store_close(hs_token_file *f) { hs_token_store_close(f->store); }

// ---- HDF5

static hs_status hdf5_open(hs_token_file *f, const char *path)
{
    HS_TRY(hs_h5_open(&f->hdf5, path, f->o.vocab));
    const hs_h5_info i = hs_h5_info_of(f->hdf5);
    f->info =
        (hs_token_file_info){ .type = hs_h5_layout_names[i.layout], .n_tokens = -1, .n_documents = i.rows, .n_sentences = 1, .rows = i };
    return HS_OK;
}

// The text between the special tokens of one sequence of a row; masks were undone before.
static hs_status sequence_text(const int32_t *ids, const int8_t *segments, int64_t n, bool random, const hs_token_sink *to)
{
    int64_t a = 1, b = 0; // A is [1, a), and its [SEP] stands at a
    while (a < n && segments[a] == 0)
        a++;
    b = n - a > 0 ? n - a - 1 : 0;
    if (a > 2)
        HS_TRY(to->ids(to->ctx, ids + 1, a - 2));
    if (b > 0) {
        HS_TRY(random ? to->document(to->ctx) : to->sentence(to->ctx));
        HS_TRY(to->ids(to->ctx, ids + a, b));
    }
    HS_TRY(to->document(to->ctx));
    return HS_OK;
}

static hs_status row_text(hs_pair_rows *r, int64_t row, const hs_token_sink *to)
{
    int32_t *ids = r->ids + row * r->length;
    int64_t at = 0;
    for (int64_t k = 0; k < hs_pair_row_labels(r, row); k++)
        ids[r->positions[row * r->predictions + k]] = r->labels[row * r->predictions + k];
    for (int64_t p = 0; p < hs_pair_row_parts(r, row); p++) {
        const int64_t n = r->part_tokens[row * r->parts + p];
        HS_TRY(sequence_text(ids + at, r->segments + row * r->length + at, n, r->next[row * r->parts + p] == 1, to));
        at += n;
    }
    return HS_OK;
}

static hs_status hdf5_stream(const hs_token_file *f, bool check, const hs_token_sink *to)
{
    (void)check; // every row is checked whenever it is read
    for (int64_t at = 0; at < f->info.rows.rows; at += f->info.rows.block) {
        const int64_t left = f->info.rows.rows - at;
        hs_pair_rows r;
        hs_status st = hs_h5_read(f->hdf5, at, left < f->info.rows.block ? left : f->info.rows.block, &r);
        for (int64_t i = 0; i < r.n && st == HS_OK; i++)
            st = row_text(&r, i, to);
        hs_pair_rows_free(&r);
        HS_TRY(st);
    }
    return HS_OK;
}

static void hdf5_close(hs_token_file *f) { hs_h5_close(f->hdf5); }

// ---- Megatron

static hs_status megatron_open(hs_token_file *f, const char *path)
{
    HS_TRY(hs_megatron_open(&f->megatron, path));
    const hs_megatron_info i = hs_megatron_info_of(f->megatron);
    f->info = (hs_token_file_info){ .type = i.type,
                                    .n_tokens = i.n_tokens,
                                    .n_documents = i.n_documents,
                                    .n_sentences = i.n_sequences > i.n_documents ? i.n_sequences : 0 };
    return HS_OK;
}

static hs_status megatron_ids(const hs_token_file *f, int64_t sequence, int64_t n, const hs_token_sink *to)
{
    int32_t ids[PIECE];
    for (int64_t at = 0; at < n; at += PIECE) {
        const int64_t some = n - at < PIECE ? n - at : PIECE;
        HS_TRY(hs_megatron_read(f->megatron, sequence, at, some, f->o.vocab, ids));
        HS_TRY(to->ids(to->ctx, ids, some));
    }
    return HS_OK;
}

static hs_status megatron_document(const hs_token_file *f, hs_token_cursor *c, int64_t document, int64_t most, const hs_token_sink *to,
                                   int64_t *n)
{
    int64_t first, end;
    (void)c;
    hs_megatron_document(f->megatron, document, &first, &end);
    *n = 0;
    for (int64_t s = first; s < end; s++) {
        const int64_t length = hs_megatron_length(f->megatron, s), left = most - *n;
        if (left > 0)
            HS_TRY(megatron_ids(f, s, length < left ? length : left, to));
        *n += length;
    }
    return HS_OK;
}

static hs_status megatron_stream(const hs_token_file *f, bool check, const hs_token_sink *to)
{
    (void)check; // opening checked the index, reading checks the ids
    for (int64_t d = 0; d < f->info.n_documents; d++) {
        int64_t first, end;
        hs_megatron_document(f->megatron, d, &first, &end);
        for (int64_t s = first; s < end; s++) {
            HS_TRY(megatron_ids(f, s, hs_megatron_length(f->megatron, s), to));
            if (f->info.n_sentences > 0)
                HS_TRY(to->sentence(to->ctx));
        }
        HS_TRY(to->document(to->ctx));
    }
    return HS_OK;
}

static void megatron_close(hs_token_file *f) { hs_megatron_close(f->megatron); }

// ---- llm.c

static hs_status llmc_open(hs_token_file *f, const char *path)
{
    HS_TRY(hs_llmc_open(&f->llmc, path));
    f->info = (hs_token_file_info){ .type = hs_llmc_id_bytes(f->llmc) == 2 ? "uint16" : "uint32",
                                    .n_tokens = hs_llmc_tokens(f->llmc),
                                    .n_documents = f->o.document_token < 0 ? 1 : 0 };
    return HS_OK;
}

static hs_status llmc_stream(const hs_token_file *f, bool check, const hs_token_sink *to)
{
    (void)check;
    int32_t ids[PIECE];
    bool begun = false; // a document
    for (int64_t at = 0; at < f->info.n_tokens; at += PIECE) {
        const int64_t n = f->info.n_tokens - at < PIECE ? f->info.n_tokens - at : PIECE;
        int64_t from = 0;
        HS_TRY(hs_llmc_read(f->llmc, at, n, f->o.vocab, ids));
        for (int64_t i = 0; i < n; i++) {
            if (ids[i] != f->o.document_token) {
                begun = true;
                continue;
            }
            if (i > from)
                HS_TRY(to->ids(to->ctx, ids + from, i - from));
            if (begun)
                HS_TRY(to->document(to->ctx));
            begun = true, from = i + 1;
        }
        if (n > from)
            HS_TRY(to->ids(to->ctx, ids + from, n - from));
    }
    HS_TRY(to->document(to->ctx));
    return HS_OK;
}

// Ids from c->at on to the next token that begins a document, of which `most` are handed on. *end is where that stands, or where the search
// was given up.
static hs_status llmc_to_end(const hs_token_file *f, const hs_token_cursor *c, int64_t most, int64_t limit, const hs_token_sink *to,
                             int64_t *end)
{
    int32_t ids[PIECE];
    for (int64_t at = *end = c->at; at < f->info.n_tokens && at - c->at < limit; at = *end) {
        const int64_t n = f->info.n_tokens - at < PIECE ? f->info.n_tokens - at : PIECE, left = most - (at - c->at);
        int64_t k = 0;
        HS_TRY(hs_llmc_read(f->llmc, at, n, f->o.vocab, ids));
        while (k < n && (f->o.document_token < 0 || ids[k] != f->o.document_token))
            k++;
        if (left > 0 && k > 0)
            HS_TRY(to->ids(to->ctx, ids, k < left ? k : left));
        *end = at + k;
        if (k < n)
            break;
    }
    return HS_OK;
}

static hs_status llmc_document(const hs_token_file *f, hs_token_cursor *c, int64_t document, int64_t most, const hs_token_sink *to, int64_t *n)
{
    enum { LOOK = 1 << 20 }; // ids behind `most`, for the document's end
    const int64_t all = f->info.n_tokens;
    int32_t first = -1;
    int64_t end;
    if (!c->begun) {
        HS_TRY(hs_llmc_read(f->llmc, 0, 1, f->o.vocab, &first));
        *c = (hs_token_cursor){ .begun = true, .at = f->o.document_token >= 0 && first == f->o.document_token };
    }
    for (; c->document < document && c->at <= all; c->document++, c->at = end + 1)
        if (f->o.document_token < 0)
            end = all;
        else
            HS_TRY(llmc_to_end(f, c, 0, all, to, &end));
    if (c->at > all)
        return HS_OK;
    const bool told = f->o.document_token < 0; // the file is one document
    const int64_t limit = told ? most : most + LOOK;
    HS_TRY(llmc_to_end(f, c, most, limit, to, &end));
    *n = told ? all : end < all && end - c->at >= limit ? HS_TOKENS_MORE : end - c->at;
    return HS_OK;
}

static void llmc_close(hs_token_file *f) { hs_llmc_close(f->llmc); }

// ---- all of them

static const struct format {
    bool (*is)(const char *path);
    hs_status (*open)(hs_token_file *f, const char *path);
    hs_status (*stream)(const hs_token_file *f, bool check, const hs_token_sink *to);
    void (*close)(hs_token_file *f);
    hs_status (*document)(const hs_token_file *f, hs_token_cursor *c, int64_t document, int64_t most, const hs_token_sink *to, int64_t *n);
} formats[] = { [HS_TOKENS_STORE] = { hs_token_store_is, store_open, store_stream, store_close, store_document },
                [HS_TOKENS_HDF5] = { hs_h5_is, hdf5_open, hdf5_stream, hdf5_close, NULL },
                [HS_TOKENS_MEGATRON] = { hs_megatron_is, megatron_open, megatron_stream, megatron_close, megatron_document },
                [HS_TOKENS_LLMC] = { hs_llmc_is, llmc_open, llmc_stream, llmc_close, llmc_document } };

bool hs_token_file_is(const char *path, hs_token_format *format)
{
    int k = 0;
    while (k < HS_COUNT(formats) && !formats[k].is(path))
        k++;
    *format = (hs_token_format)k;
    return k < HS_COUNT(formats);
}

// What it is instead, where that can be told: a file that is missing, empty, a folder, or one of another kind.
static hs_status no_token_file(const char *path)
{
    hs_file file;
    char head[4096];
    HS_TRY(hs_file_map(&file, path));
    hs_file_unmap(&file);
    const size_t n = hs_file_head(path, head, sizeof head);
    const char *what = hs_text_what(path, head, n);
    return HS_FAIL(CORRUPT, "%s is no token store, HDF5 shard, Megatron index or llm.c file%s%s", path,
                   what ? ", but " : "; halfstep prepare makes a token store of a text", what ? what : "");
}

hs_status hs_token_file_open(hs_token_file **out, const char *path, const hs_token_file_opts *o)
{
    *out = NULL;
    hs_token_file *f = calloc(1, sizeof *f);
    if (!f)
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    f->o = *o;
    hs_status st = HS_UNSUPPORTED;
    hs_token_format k;
    if (hs_token_file_is(path, &k)) {
        st = formats[k].open(f, path);
        f->info.format = k;
    } else {
        st = no_token_file(path);
    }
    if (st == HS_OK && f->info.vocab > 0 && o->vocab > 0 && f->info.vocab != o->vocab)
        st = HS_FAIL(USAGE, "%s has a vocabulary of %lld, not of %lld", path, (long long)f->info.vocab, (long long)o->vocab);
    if (st != HS_OK) {
        if (f->any)
            formats[k].close(f);
        free(f);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = f;
    return HS_OK;
}

void hs_token_file_close(hs_token_file *f)
{
    if (!f)
        return;
    formats[f->info.format].close(f);
    free(f);
}

hs_token_file_info hs_token_file_info_of(const hs_token_file *f) { return f->info; }
const hs_token_store *hs_token_file_store(const hs_token_file *f) { return f->info.format == HS_TOKENS_STORE ? f->store : NULL; }
hs_h5_file *hs_token_file_hdf5(const hs_token_file *f) { return f->info.format == HS_TOKENS_HDF5 ? f->hdf5 : NULL; }

hs_status hs_token_file_stream(const hs_token_file *f, bool check, const hs_token_sink *to)
{
    HS_TRY(formats[f->info.format].stream(f, check, to));
    return HS_OK;
}

hs_status hs_token_file_document(const hs_token_file *f, hs_token_cursor *c, int64_t document, int64_t most, const hs_token_sink *to,
                                 int64_t *n)
{
    const struct format *k = &formats[f->info.format];
    if (!k->document)
        return HS_FAIL(UNSUPPORTED, "%s has rows, not documents", hs_token_format_names[f->info.format]);
    *n = HS_TOKENS_NONE;
    if (f->info.format != HS_TOKENS_LLMC && document >= f->info.n_documents) {
        c->document = f->info.n_documents;
        return HS_OK;
    }
    HS_TRY(k->document(f, c, document, most, to, n));
    return HS_OK;
}

// ---- out

struct hs_token_out {
    hs_token_out_opts o;
    bool begun; // llm.c: the current document
    union {
        hs_store_writer *store;
        hs_megatron_out *megatron;
        hs_llmc_out *llmc;
    };
};

static hs_status out_begin(hs_token_out *w) // of a document in llm.c's file
{
    if (w->begun || w->o.document_token < 0)
        return HS_OK;
    w->begun = true;
    return hs_llmc_ids(w->llmc, &(int32_t){ (int32_t)w->o.document_token }, 1);
}

static hs_status out_ids(void *ctx, const int32_t *ids, int64_t n)
{
    hs_token_out *w = ctx;
    switch (w->o.format) {
    case HS_TOKENS_STORE:
        return hs_store_writer_ids(w->store, ids, n);
    case HS_TOKENS_MEGATRON:
        return hs_megatron_ids(w->megatron, ids, n);
    default:
        HS_TRY(out_begin(w));
        return hs_llmc_ids(w->llmc, ids, n);
    }
}

static hs_status out_sentence(void *ctx)
{
    hs_token_out *w = ctx;
    if (!w->o.sentences)
        return HS_OK;
    return w->o.format == HS_TOKENS_STORE      ? hs_store_writer_sentence(w->store)
           : w->o.format == HS_TOKENS_MEGATRON ? hs_megatron_end_sequence(w->megatron)
                                               : HS_OK;
}

static hs_status out_document(void *ctx)
{
    hs_token_out *w = ctx;
    switch (w->o.format) {
    case HS_TOKENS_STORE:
        return hs_store_writer_document(w->store);
    case HS_TOKENS_MEGATRON:
        return hs_megatron_end_document(w->megatron);
    default:
        HS_TRY(out_begin(w));
        w->begun = false;
        return HS_OK;
    }
}

hs_token_sink hs_token_out_sink(hs_token_out *w) { return (hs_token_sink){ w, out_ids, out_sentence, out_document }; }

hs_status hs_token_out_open(hs_token_out **out, const char *path, const hs_token_out_opts *o)
{
    *out = NULL;
    hs_token_out *w = calloc(1, sizeof *w);
    if (!w)
        return HS_FAIL(MEMORY, "%s: no memory to write it", path);
    w->o = *o;
    const hs_status st = o->format == HS_TOKENS_STORE ? hs_store_writer_open(&w->store, path, o->vocab, o->tokenizer_hash, o->sentences)
                         : o->format == HS_TOKENS_MEGATRON ? hs_megatron_create(&w->megatron, path, o->vocab)
                         : o->format == HS_TOKENS_LLMC     ? hs_llmc_create(&w->llmc, path, o->vocab)
                                                           : HS_FAIL(USAGE, "%s: no stream goes into HDF5", path);
    if (st != HS_OK) {
        free(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = w;
    return HS_OK;
}

hs_status hs_token_out_commit(hs_token_out *w)
{
    const hs_status st = w->o.format == HS_TOKENS_STORE      ? hs_store_writer_commit(w->store)
                         : w->o.format == HS_TOKENS_MEGATRON ? hs_megatron_commit(w->megatron)
                                                             : hs_llmc_commit(w->llmc);
    free(w);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_token_out_discard(hs_token_out *w)
{
    if (!w)
        return;
    if (w->o.format == HS_TOKENS_STORE)
        hs_store_writer_discard(w->store);
    else if (w->o.format == HS_TOKENS_MEGATRON)
        hs_megatron_discard(w->megatron);
    else
        hs_llmc_discard(w->llmc);
    free(w);
}
