// corpus_store: what was prepared before - token stores and HDF5 shards - used where it lies.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/base/file.h"
#include "data/formats/hdf5_shard.h"
#include "recipes/train/corpus_parts.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

// The tokenizer that ids were made with: it must be a folder's. *name: what messages call it.
hs_status hs_corpus_folder_tokenizer(hs_corpus *c, const hs_corpus_from *from, const char *path, const char *what, const char **name)
{
    const hs_config *config = from->config;
    int64_t size;
    *name = from->tokenizer_dir ? from->tokenizer_dir : config->data.tokenizer;
    if (from->given) {
        c->tokenizer = from->given, c->borrowed = true;
        return HS_OK;
    }
    if (!from->tokenizer_dir && (hs_corpus_is_char(config) || hs_config_wordpiece(config, &size)))
        return HS_FAIL(USAGE, "%s is a %s (%s): data.tokenizer must name the folder it was made with, not %s", hs_config_data_key(config),
                       what, path, hs_corpus_is_char(config) ? "char" : config->data.tokenizer);
    return from->tokenizer_dir ? hs_tokenizer_load(&c->tokenizer, from->tokenizer_dir) : hs_corpus_named_tokenizer(&c->tokenizer, config);
}

// ---- token stores

hs_status hs_corpus_check_tokenizer(const char *path, const hs_token_store *s, const hs_tokenizer *t, const char *name)
{
    const hs_token_store_info info = hs_token_store_info_of(s);
    if (!hs_tokenizer_gives(t, info.tokenizer_hash) || info.vocab != hs_tokenizer_vocab(t))
        return HS_FAIL(USAGE, "%s was made with another tokenizer: %016llx with %lld tokens, and %s is %016llx with %lld", path,
                       (unsigned long long)info.tokenizer_hash, (long long)info.vocab, name, (unsigned long long)hs_tokenizer_hash(t),
                       (long long)hs_tokenizer_vocab(t));
    return HS_OK;
}

// Of one of several sources.
static hs_status check_store(const hs_config *config, const char *path)
{
    if (access(path, R_OK) != 0)
        return HS_FAIL(USAGE, "%s: %s: %s", hs_config_data_key(config), path, strerror(errno));
    if (!hs_token_store_is(path))
        return HS_FAIL(USAGE, "%s: %s is no token store; only those can be mixed", hs_config_data_key(config), path);
    return HS_OK;
}

// The stores behind the first.
static hs_status open_more(hs_corpus *c, const hs_config *config, const hs_data_part *part, int n, const char *name)
{
    for (int i = 1; i < n; i++) {
        HS_TRY(check_store(config, part[i].path));
        HS_TRY(hs_token_store_open(&c->more[i - 1], part[i].path));
        HS_TRY(hs_corpus_check_tokenizer(part[i].path, c->more[i - 1], c->tokenizer, name));
        const hs_token_store_info info = hs_token_store_info_of(c->more[i - 1]);
        c->source[i] = (hs_text_part){ { c->more[i - 1], 0, info.n_tokens }, part[i].weight };
        c->key = hs_mix2(c->key, info.content_hash);
    }
    return HS_OK;
}

// The order of samples follows from the weights and from packing too.
static void key_of_stream(hs_corpus *c, const hs_config *config, const hs_data_part *part, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += part[i].weight;
    for (int i = 0; n > 1 && i < n; i++)
        c->key = hs_mix2(c->key, (uint64_t)llround(1e6 * part[i].weight / sum));
    if (config->data.packing)
        c->key = hs_mix2(c->key, (uint64_t)config->data.packing);
}

// A run's first start reads its stores through once; going on takes no time, whatever their size.
hs_status hs_corpus_from_stores(hs_corpus *c, const hs_corpus_from *from, const hs_data_part *part, int n)
{
    const hs_config *config = from->config;
    const char *run_dir = from->run_dir, *name;
    hs_corpus_split t = { .path = part[0].path };
    char *end;
    t.fraction = strtod(config->data.val, &end);
    t.has_val_file = *end != 0;
    if (t.has_val_file && !hs_token_store_is(config->data.val))
        return HS_FAIL(USAGE, "%s is a token store (%s); data.val must be one too, or a fraction: %s is not", hs_config_data_key(config),
                       t.path, config->data.val);
    if (n > 1)
        HS_TRY(check_store(config, part[0].path));
    HS_TRY(hs_corpus_folder_tokenizer(c, from, part[0].path, "token store", &name));
    HS_TRY(hs_token_store_open(&c->store, part[0].path));
    HS_TRY(hs_corpus_check_tokenizer(part[0].path, c->store, c->tokenizer, name));
    c->key = hs_mix2(hs_token_store_info_of(c->store).content_hash, hs_tokenizer_hash(c->tokenizer));
    HS_TRY(open_more(c, config, part, n, name));
    key_of_stream(c, config, part, n);
    if (t.has_val_file) {
        HS_TRY(hs_token_store_open(&c->val_store, config->data.val));
        HS_TRY(hs_corpus_check_tokenizer(config->data.val, c->val_store, c->tokenizer, name));
        c->key = hs_mix2(c->key, hs_token_store_info_of(c->val_store).content_hash);
    }
    c->first_file = hs_token_store_info_of(c->store).n_tokens;
    c->prepared = true;
    c->known = run_dir && hs_corpus_known(c, run_dir);
    if (run_dir && !c->known) {
        HS_TRY(hs_token_store_verify(c->store));
        for (int i = 0; i + 1 < n; i++)
            HS_TRY(hs_token_store_verify(c->more[i]));
        if (c->val_store)
            HS_TRY(hs_token_store_verify(c->val_store));
    }
    HS_TRY(hs_corpus_split_at(c, config, &t));
    c->source[0] = (hs_text_part){ c->train, part[0].weight };
    c->n_sources = n;
    return HS_OK;
}

hs_status hs_corpus_note(const hs_corpus *c, const char *run_dir)
{
    char path[PATH_MAX];
    hs_corpus_cache_path(c, c->key, run_dir, path, sizeof path);
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return HS_FAIL(MEMORY, "no memory for %s", path);
    if (c->labelled.all)
        hs_corpus_note_labelled(c, f);
    for (int i = 0; i < c->n_sources; i++)
        fprintf(f, "%s\n", hs_token_store_path(c->source[i].range.store));
    if (c->val_store)
        fprintf(f, "%s\n", hs_token_store_path(c->val_store));
    for (int i = 0; i < c->shards.n + c->val_shards.n; i++)
        fprintf(f, "%s\n", i < c->shards.n ? c->shards.input[i].path : c->val_shards.input[i - c->shards.n].path);
    fclose(f);
    const hs_status st = hs_file_save(path, text, n);
    free(text);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- HDF5 shards

hs_status hs_corpus_shards_of(hs_text_inputs *out, const hs_data_part *part, int n)
{
    const char *path[HS_MIX_SOURCES];
    for (int i = 0; i < n; i++)
        path[i] = part[i].path;
    return hs_text_inputs_expand(out, path, n);
}

bool hs_corpus_is_shards(const char *path)
{
    hs_text_inputs in = { 0 };
    if (!path[0] || strcmp(path, "-") == 0 || hs_text_inputs_expand(&in, &path, 1) != HS_OK)
        return false;
    const bool is = in.n > 0 && hs_h5_is(in.input[0].path);
    hs_text_inputs_free(&in);
    return is;
}

static hs_status check_shards(const hs_text_inputs *in, const char *key)
{
    for (int i = 0; i < in->n; i++)
        if (!hs_h5_is(in->input[i].path))
            return HS_FAIL(USAGE, "%s: %s is no HDF5 shard, as the first of its files is", key, in->input[i].path);
    return HS_OK;
}

static void note_row(hs_shard_row *most, int64_t n, int64_t row, const char *path)
{
    if (n > most->n)
        *most = (hs_shard_row){ n, row, path };
}

// Reads every row, which checks ids, labels and positions.
static hs_status verify_shard(hs_corpus *c, const char *path, int64_t vocab)
{
    hs_h5_file *f;
    hs_status st = HS_OK;
    HS_TRY(hs_h5_open(&f, path, vocab));
    const hs_h5_info info = hs_h5_info_of(f);
    for (int64_t row = 0; row < info.rows && st == HS_OK; row += info.block) {
        hs_pair_rows rows = { 0 };
        st = hs_h5_read(f, row, row + info.block < info.rows ? info.block : info.rows - row, &rows);
        for (int64_t i = 0; st == HS_OK && i < rows.n; i++) {
            note_row(&c->longest, hs_pair_row_tokens(&rows, i), row + i, path);
            note_row(&c->fullest, hs_pair_row_labels(&rows, i), row + i, path);
        }
        hs_pair_rows_free(&rows);
    }
    hs_h5_close(f);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status verify_shards(hs_corpus *c, const hs_text_inputs *in, int64_t vocab)
{
    for (int i = 0; i < in->n; i++)
        HS_TRY(verify_shard(c, in->input[i].path, vocab));
    return HS_OK;
}

// Shards are large: by name, size and time they are the same.
static uint64_t key_of_shards(const hs_text_inputs *in, uint64_t key)
{
    for (int i = 0; i < in->n; i++) {
        const char *name = strrchr(in->input[i].path, '/');
        name = name ? name + 1 : in->input[i].path;
        key = hs_mix2(key, XXH3_64bits(name, strlen(name)));
        key = hs_mix2(key, (uint64_t)in->input[i].bytes);
        key = hs_mix2(key, (uint64_t)in->input[i].mtime_ns);
    }
    return key;
}

static hs_status validation_shards(hs_corpus *c, const hs_config *config)
{
    hs_data_part part = { .weight = 1 };
    char *end;
    const double fraction = strtod(config->data.val, &end);
    const bool is_file = *end != 0;
    if (!is_file && fraction > 0 && !hs_config_is_default(config, "data.val"))
        return HS_FAIL(USAGE, "data.val is %s, but shards are not divided: name shards for validation, or 0 for none", config->data.val);
    if (!is_file)
        return HS_OK;
    memcpy(part.path, config->data.val, sizeof part.path);
    if (!hs_corpus_is_shards(part.path))
        return HS_FAIL(USAGE, "%s are HDF5 shards; data.val must be such too, or 0: %s is not", hs_config_data_key(config), part.path);
    HS_TRY(hs_corpus_shards_of(&c->val_shards, &part, 1));
    return check_shards(&c->val_shards, "data.val");
}

hs_status hs_corpus_from_shards(hs_corpus *c, const hs_corpus_from *from, const hs_data_part *part, int n)
{
    const hs_config *config = from->config;
    const char *name;
    if (!c->sequences)
        return HS_FAIL(USAGE, "%s: %s is an HDF5 shard of sequences with masked tokens, which model.type %s is not trained on",
                       hs_config_data_key(config), part[0].path, hs_config_arch(config).family->name);
    HS_TRY(hs_corpus_folder_tokenizer(c, from, part[0].path, "HDF5 shard", &name));
    HS_TRY(hs_corpus_shards_of(&c->shards, part, n));
    HS_TRY(check_shards(&c->shards, hs_config_data_key(config)));
    HS_TRY(validation_shards(c, config));
    c->key = key_of_shards(&c->val_shards, key_of_shards(&c->shards, hs_tokenizer_hash(c->tokenizer)));
    c->prepared = true;
    c->known = from->run_dir && hs_corpus_known(c, from->run_dir);
    return from->run_dir && !c->known ? hs_corpus_read_shards(c) : HS_OK;
}

hs_status hs_corpus_read_shards(hs_corpus *c)
{
    HS_TRY(verify_shards(c, &c->shards, hs_tokenizer_vocab(c->tokenizer)));
    return verify_shards(c, &c->val_shards, hs_tokenizer_vocab(c->tokenizer));
}
