// corpus: what a run's data are, by what its files begin with: texts (corpus_text.c), or what was prepared before (corpus_store.c).
#include "core/base/log.h"
#include "data/text/text_store.h"
#include "recipes/train/corpus_parts.h"
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- tokenizer
// auto comes here only where nothing brings a tokenizer.
bool hs_corpus_is_char(const hs_config *config)
{
    return strcmp(config->data.tokenizer, "char") == 0 || strcmp(config->data.tokenizer, "auto") == 0;
}

hs_status hs_corpus_named_tokenizer(hs_tokenizer **out, const hs_config *config)
{
    if (strcmp(config->data.tokenizer, "byte") == 0)
        return hs_tokenizer_byte(out);
    if (access(config->data.tokenizer, F_OK) != 0)
        return HS_FAIL(USAGE, "data.tokenizer is %s, which is neither auto, char, byte nor wordpiece nor a folder", config->data.tokenizer);
    return hs_tokenizer_load(out, config->data.tokenizer);
}

// ---- cache
void hs_corpus_cache_path(const hs_corpus *c, uint64_t key, const char *run_dir, char *buf, size_t size)
{
    snprintf(buf, size, "%s/tokens-%016llx.%s", run_dir, (unsigned long long)key, c->prepared ? "txt" : "bin");
}

bool hs_corpus_known(const hs_corpus *c, const char *run_dir)
{
    char path[PATH_MAX];
    hs_corpus_cache_path(c, c->key, run_dir, path, sizeof path);
    if (access(path, F_OK) != 0 || !c->val_key)
        return access(path, F_OK) == 0;
    hs_corpus_cache_path(c, c->val_key, run_dir, path, sizeof path);
    return access(path, F_OK) == 0;
}

hs_status hs_corpus_split_at(hs_corpus *c, const hs_config *config, const hs_corpus_split *t)
{
    const int64_t n = hs_token_store_info_of(c->store).n_tokens;
    const int64_t n_train = t->has_val_file ? c->first_file : (int64_t)((1 - t->fraction) * (double)n);
    c->train = (hs_token_range){ c->store, 0, n_train };
    c->val = (hs_token_range){ c->store, n_train, n };
    if (c->val_store)
        c->val = (hs_token_range){ c->val_store, 0, hs_token_store_info_of(c->val_store).n_tokens };
    const int64_t n_val = c->val.end - c->val.first;
    const int64_t context = hs_config_model_int(config, "model.context");
    if (c->sequences && n_train < 2)
        return HS_FAIL(USAGE, "%s: the training text has %lld token%s: nothing to predict", t->path, (long long)n_train,
                       hs_plural(n_train));
    if (!c->sequences && n_train < context + 1)
        return HS_FAIL(USAGE, "%s: the training text has %lld tokens, fewer than model.context + 1 = %lld", t->path, (long long)n_train,
                       (long long)context + 1);
    const bool wanted = t->has_val_file || t->fraction > 0;
    if (wanted && n_val < 2)
        return HS_FAIL(USAGE, "%s: the validation text has %lld token%s, needs 2; give a larger data.val, or 0 for none",
                       t->has_val_file ? config->data.val : t->path, (long long)n_val, hs_plural(n_val));
    return HS_OK;
}

// ---- opening
hs_status hs_corpus_open(hs_corpus *c, const hs_corpus_from *from)
{
    const hs_config *config = from->config;
    hs_data_part part[HS_MIX_SOURCES];
    int n;
    *c = (hs_corpus){ .sequences = hs_config_batch(config) == HS_BATCH_MASKED };
    HS_TRY(hs_config_sources(config, part, &n));
    const bool labelled = hs_config_labelled(config), shards = !labelled && hs_corpus_is_shards(part[0].path),
               stores = !labelled && !shards && (n > 1 || hs_token_store_is(part[0].path));
    const hs_status st = labelled       ? hs_corpus_from_labelled(c, from, part, n)
                         : shards       ? hs_corpus_from_shards(c, from, part, n)
                         : stores       ? hs_corpus_from_stores(c, from, part, n)
                         : c->sequences ? hs_corpus_from_sequences(c, from, part[0].path)
                                        : hs_corpus_from_text(c, from, part[0].path);
    if (st != HS_OK)
        hs_corpus_close(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- the cache, written and mapped
// Of running text: one document a file.
static hs_status write_running(const hs_corpus *c, const char *path)
{
    const hs_token_store_info info = hs_token_store_info_of(c->store);
    int32_t *ids = malloc((size_t)info.n_tokens * sizeof *ids);
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)info.n_tokens);
    hs_token_store_read(c->store, 0, info.n_tokens, ids);
    const int64_t starts[] = { 0, c->first_file, info.n_tokens };
    const int n_files = c->first_file < info.n_tokens ? 2 : 1;
    const hs_status st = hs_token_store_write(path, ids, info.n_tokens, starts, n_files, info.vocab, info.tokenizer_hash);
    free(ids);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// A store that is in memory: the file takes its place.
static hs_status save_and_map(const hs_corpus *c, hs_token_store **store, uint64_t key, const char *run_dir, bool writes)
{
    char path[PATH_MAX];
    hs_token_store *mapped;
    hs_corpus_cache_path(c, key, run_dir, path, sizeof path);
    if (strcmp(hs_token_store_path(*store), path) == 0) // came from there
        return HS_OK;
    if (writes)
        HS_TRY(c->sequences ? hs_token_store_save(*store, path) : write_running(c, path));
    HS_TRY(hs_token_store_open(&mapped, path));
    hs_token_store_close(*store);
    *store = mapped;
    return HS_OK;
}

static hs_status cache(hs_corpus *c, const char *run_dir, bool writes)
{
    const bool one = c->val.store == c->store;
    if (c->cached)
        return HS_OK;
    if (c->prepared) {
        if (writes)
            HS_TRY(hs_corpus_note(c, run_dir));
        c->cached = true;
        return HS_OK;
    }
    HS_TRY(save_and_map(c, &c->store, c->key, run_dir, writes));
    if (c->val_store)
        HS_TRY(save_and_map(c, &c->val_store, c->val_key, run_dir, writes));
    c->train.store = c->source[0].range.store = c->store;
    c->val.store = one ? c->store : c->val_store;
    c->cached = true;
    return HS_OK;
}

hs_status hs_corpus_cache(hs_corpus *c, const char *run_dir) { return cache(c, run_dir, true); }
hs_status hs_corpus_cached_by_other(hs_corpus *c, const char *run_dir) { return cache(c, run_dir, false); }

int64_t hs_corpus_mean_document(const hs_corpus *c)
{
    int64_t tokens = 0, documents = 0;
    for (int i = 0; i < c->n_sources; i++) {
        const hs_token_store_info info = hs_token_store_info_of(c->source[i].range.store);
        tokens += info.n_tokens, documents += info.n_documents;
    }
    return tokens / (documents ? documents : 1);
}

int64_t hs_corpus_train_tokens(const hs_corpus *c)
{
    int64_t n = 0;
    for (int i = 0; i < c->n_sources; i++)
        n += c->source[i].range.end - c->source[i].range.first;
    return n;
}

void hs_corpus_clean(const hs_corpus *c, const char *run_dir)
{
    char own[PATH_MAX], val[PATH_MAX];
    DIR *dir = opendir(run_dir);
    hs_corpus_cache_path(c, c->key, run_dir, own, sizeof own);
    hs_corpus_cache_path(c, c->val_key, run_dir, val, sizeof val);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *name = e->d_name, *key = name + 7;
        if (strncmp(name, "tokens-", 7) == 0 && strspn(key, "0123456789abcdef") == 16 &&
            (strcmp(key + 16, ".bin") == 0 || strcmp(key + 16, ".txt") == 0) && strcmp(name, strrchr(own, '/') + 1) != 0 &&
            strcmp(name, strrchr(val, '/') + 1) != 0)
            unlinkat(dirfd(dir), name, 0);
    }
    if (dir)
        closedir(dir);
}

void hs_corpus_close(hs_corpus *c)
{
    hs_token_store_close(c->store);
    hs_token_store_close(c->val_store);
    for (int i = 0; i + 1 < HS_MIX_SOURCES; i++)
        hs_token_store_close(c->more[i]);
    hs_labelled_data_free(&c->labelled);
    hs_text_inputs_free(&c->shards);
    hs_text_inputs_free(&c->val_shards);
    if (!c->borrowed)
        hs_tokenizer_free(c->tokenizer);
    *c = (hs_corpus){ 0 };
}

// ---- one file, to evaluate on
static hs_status open_store_file(hs_corpus *c, const char *path, const hs_tokenizer *tokenizer)
{
    HS_TRY(hs_token_store_open(&c->store, path));
    HS_TRY(hs_corpus_check_tokenizer(path, c->store, tokenizer, "that of the model"));
    HS_TRY(hs_token_store_verify(c->store));
    c->val = (hs_token_range){ c->store, 0, hs_token_store_info_of(c->store).n_tokens };
    if (c->val.end < 2)
        return HS_FAIL(USAGE, "%s has %lld tokens: nothing to predict", path, (long long)c->val.end);
    return HS_OK;
}

static hs_status open_shards_file(hs_corpus *c, const char *path)
{
    hs_data_part part = { .weight = 1 };
    if (!c->sequences)
        return HS_FAIL(USAGE, "%s is an HDF5 shard of sequences with masked tokens, which this model was not trained on", path);
    snprintf(part.path, sizeof part.path, "%s", path);
    return hs_corpus_shards_of(&c->val_shards, &part, 1);
}

static hs_status encode_sequences(hs_token_store **out, const hs_tokenizer *t, const char *path, int documents)
{
    hs_text_inputs in;
    HS_TRY(hs_text_inputs_expand(&in, &path, 1));
    const hs_status st = hs_text_store(out, t, &in, documents, HS_SENTENCES_RULE);
    hs_text_inputs_free(&in);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status open_file(hs_corpus *c, const char *path, const hs_tokenizer *tokenizer, int documents)
{
    if (strcmp(path, "-") == 0 && hs_token_store_is("/dev/stdin")) // < store.bin
        path = "/dev/stdin";
    if (hs_token_store_is(path))
        return open_store_file(c, path, tokenizer);
    if (hs_corpus_is_shards(path))
        return open_shards_file(c, path);
    if (c->sequences)
        HS_TRY(encode_sequences(&c->store, tokenizer, path, documents));
    else
        HS_TRY(hs_corpus_encode_text(&c->store, tokenizer, path));
    c->val = (hs_token_range){ c->store, 0, hs_token_store_info_of(c->store).n_tokens };
    return HS_OK;
}

hs_status hs_corpus_open_file(hs_corpus *c, const char *path, hs_tokenizer *tokenizer, hs_batch_kind kind, int documents)
{
    *c = (hs_corpus){ .sequences = kind == HS_BATCH_MASKED, .tokenizer = tokenizer, .borrowed = true };
    return open_file(c, path, tokenizer, documents);
}
