// data convert: the same ids in another format, or rows of BERT pretraining made of them.
#include "core/base/log.h"
#include "data/formats/megatron.h"
#include "data/text/pair_make.h"
#include "recipes/program/data_tools.h"
#include "recipes/program/process.h"
#include "recipes/train/run_dir.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- a stream into a stream

typedef struct counter { // between the two
    hs_token_sink to;
    int64_t tokens, documents;
} counter;

static hs_status on_ids(void *ctx, const int32_t *ids, int64_t n)
{
    counter *c = ctx;
    c->tokens += n;
    return c->to.ids(c->to.ctx, ids, n);
}
static hs_status on_sentence(void *ctx)
{
    counter *c = ctx;
    return c->to.sentence(c->to.ctx);
}
static hs_status on_document(void *ctx)
{
    counter *c = ctx;
    c->documents++;
    return c->to.document(c->to.ctx);
}

static void tell(const data_job *j, const char *what, int64_t n, int64_t tokens, int files)
{
    if (j->o->common.json)
        hs_line_print(json_pack("{s:s, s:s, s:I, s:I, s:i}", "output", j->o->output, "format", hs_token_format_names[j->o->to], what,
                                (json_int_t)n, "tokens", (json_int_t)tokens, "files", files));
    else if (!j->o->common.quiet)
        printf("%s: %s, %lld token%s in %lld %.*s\n", j->o->output, hs_token_format_names[j->o->to], (long long)tokens, hs_plural(tokens),
               (long long)n, (int)strlen(what) - (n == 1), what);
}

// What was prepared for hours is not to be lost by a name typed twice.
static hs_status check_free(const data_job *j, const char *path)
{
    if (!j->o->overwrite && access(path, F_OK) == 0)
        return HS_FAIL(USAGE, "%s exists; --overwrite replaces it", path);
    return HS_OK;
}

static hs_status check_output(const data_job *j)
{
    static const char *const ends[] = { ".idx", ".bin" };
    if (j->o->to != HS_TOKENS_MEGATRON)
        return check_free(j, j->o->output);
    for (int i = 0; i < HS_COUNT(ends); i++) {
        char *path = hs_megatron_path(j->o->output, ends[i]);
        const hs_status st = path ? check_free(j, path) : HS_FAIL(MEMORY, "no memory for a path");
        free(path);
        HS_TRY(st);
    }
    return HS_OK;
}

// A file that follows the first must be of its kind: of its vocabulary (opening it checks that) and tokenizer, with sentences if that has
// them.
static hs_status append_file(const data_job *first, const char *path, const hs_token_sink *to)
{
    data_job j = { .o = first->o, .path = path, .tokenizer = first->tokenizer, .vocab = first->vocab };
    hs_status st = hs_data_open(&j);
    const uint64_t hash = j.info.tokenizer_hash, other = first->info.tokenizer_hash;
    if (st == HS_OK && hash && other && hash != other)
        st = HS_FAIL(USAGE, "%s was made with another tokenizer (hash %016llx) than %s (%016llx)", path, (unsigned long long)hash,
                     first->path, (unsigned long long)other);
    if (st == HS_OK && (j.info.n_sentences > 0) != (first->info.n_sentences > 0))
        st = HS_FAIL(USAGE, "%s tells sentences and %s does not: they cannot stand in one file", j.info.n_sentences ? path : first->path,
                     j.info.n_sentences ? first->path : path);
    if (st == HS_OK)
        st = hs_token_file_stream(j.file, true, to);
    hs_token_file_close(j.file);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status convert_stream(const data_job *j)
{
    hs_token_out *w;
    HS_TRY(check_output(j));
    if (j->vocab == 0)
        return HS_FAIL(USAGE, "%s does not tell its vocabulary; it needs --tokenizer DIR or --vocab N", j->path);
    HS_TRY(
        hs_token_out_open(&w, j->o->output,
                          &(hs_token_out_opts){ .format = (hs_token_format)j->o->to,
                                                .vocab = j->vocab,
                                                .document_token = j->o->document_token,
                                                .tokenizer_hash = j->tokenizer ? hs_tokenizer_hash(j->tokenizer) : j->info.tokenizer_hash,
                                                .sentences = j->info.n_sentences > 0 }));
    counter c = { .to = hs_token_out_sink(w) };
    const hs_token_sink sink = { &c, on_ids, on_sentence, on_document };
    hs_status st = hs_token_file_stream(j->file, true, &sink);
    for (int i = 0; i < j->n_more && st == HS_OK; i++)
        st = append_file(j, j->more[i], &sink);
    if (st != HS_OK) {
        hs_token_out_discard(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_token_out_commit(w));
    if (j->o->to == HS_TOKENS_LLMC && j->o->document_token < 0 && c.documents > 1)
        hs_warn("%s: llm.c's files do not keep where documents end: --document-token ID puts that id in front of each", j->o->output);
    tell(j, "documents", c.documents, c.tokens, 1);
    return HS_OK;
}

// ---- a store into rows

static hs_status special_id(const hs_tokenizer *t, const char *name, const char *dir, int32_t *id)
{
    for (int32_t i = 0; i < hs_tokenizer_vocab(t); i++) {
        size_t n;
        const char *piece = hs_tokenizer_piece(t, i, &n);
        if (piece && n == strlen(name) && memcmp(piece, name, n) == 0) {
            *id = i;
            return HS_OK;
        }
    }
    return HS_FAIL(USAGE, "%s has no token %s, which rows for BERT need", dir, name);
}

static hs_status write_rows(const data_job *j, const hs_pair_plan *p, int64_t first, int64_t n, const char *path, int64_t *tokens)
{
    const data_options *o = j->o;
    const int64_t block = hs_h5_block_rows(o->length);
    hs_h5_out *w;
    hs_pair_rows rows;
    HS_TRY(hs_pair_rows_alloc(&rows, block, o->length, o->predictions, 1));
    hs_status st = hs_h5_create(&w, path,
                                &(hs_h5_out_opts){ .layout = (hs_h5_layout)o->layout,
                                                   .rows = n,
                                                   .length = o->length,
                                                   .predictions = o->predictions,
                                                   .vocab = j->vocab,
                                                   .gzip = 4 });
    for (int64_t at = 0; at < n && st == HS_OK; at += block) {
        rows.n = n - at < block ? n - at : block;
        hs_pair_plan_fill(p, first + at, &rows);
        for (int64_t i = 0; i < rows.n; i++)
            *tokens += hs_pair_row_tokens(&rows, i);
        st = hs_h5_append(w, &rows);
    }
    hs_pair_rows_free(&rows);
    if (st != HS_OK) {
        hs_h5_discard(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_h5_commit(w));
    return HS_OK;
}

static void shard_path(const data_options *o, int64_t shard, char *buf, size_t size)
{
    snprintf(buf, size, o->shards > 1 ? "%s/part_%05lld_of_%05lld.hdf5" : "%s", o->output, (long long)shard, (long long)o->shards);
}

static hs_status write_shards(const data_job *j, const hs_pair_plan *p)
{
    const data_options *o = j->o;
    const int64_t rows = hs_pair_plan_rows(p), shards = o->shards;
    int64_t tokens = 0;
    if (rows < shards)
        return HS_FAIL(USAGE, "%s makes %lld row%s, too few for %lld shards", j->path, (long long)rows, hs_plural(rows), (long long)shards);
    if (shards > 1)
        HS_TRY(hs_make_folders(o->output));
    char path[HS_KEY_STRING_BYTES + 64];
    for (int64_t s = 0; s < shards; s++) {
        shard_path(o, s, path, sizeof path);
        HS_TRY(check_free(j, path));
    }
    for (int64_t s = 0; s < shards; s++) {
        const int64_t first = rows / shards * s + (s < rows % shards ? s : rows % shards), n = rows / shards + (s < rows % shards);
        shard_path(o, s, path, sizeof path);
        HS_TRY(write_rows(j, p, first, n, path, &tokens));
    }
    tell(j, "rows", rows, tokens, (int)shards);
    return HS_OK;
}

static hs_status convert_rows(const data_job *j)
{
    const data_options *o = j->o;
    hs_pair_make_opts m = { .store = hs_token_file_store(j->file),
                            .length = o->length,
                            .predictions = o->predictions,
                            .copies = o->copies,
                            .cut = o->cut,
                            .mask_share = o->mask_prob,
                            .short_share = o->short_prob,
                            .seed = (uint64_t)o->seed };
    hs_pair_plan *p;
    if (j->n_more)
        return HS_FAIL(USAGE, "rows of HDF5 are made of one token store, and %s stands behind %s; convert them --to store first",
                       j->more[0], j->path);
    if (!m.store)
        return HS_FAIL(USAGE, "rows of HDF5 are made of a token store, and %s is %s; convert it --to store first", j->path,
                       hs_token_format_names[j->info.format]);
    if (!j->tokenizer)
        return HS_FAIL(USAGE, "data convert --to hdf5 needs --tokenizer DIR, for [CLS], [SEP] and [MASK]");
    HS_TRY(special_id(j->tokenizer, "[CLS]", o->tokenizer, &m.cls));
    HS_TRY(special_id(j->tokenizer, "[SEP]", o->tokenizer, &m.sep));
    HS_TRY(special_id(j->tokenizer, "[MASK]", o->tokenizer, &m.mask));
    HS_TRY(hs_token_store_verify(m.store));
    HS_TRY(hs_pair_plan_new(&p, &m));
    const hs_status st = write_shards(j, p);
    hs_pair_plan_free(p);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_data_convert(const data_job *j)
{
    hs_process_outlive_output();
    if (!j->o->output[0])
        return HS_FAIL(USAGE, "data convert needs --output FILE");
    HS_TRY(j->o->to == HS_TOKENS_HDF5 ? convert_rows(j) : convert_stream(j));
    return HS_OK;
}
