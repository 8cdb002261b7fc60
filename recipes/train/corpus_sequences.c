// corpus_sequences: texts to stores with documents and sentences, for families of sequences with masked tokens: files, folders and patterns
// of them, packed or not, JSON records too, as `halfstep prepare` reads them. Training and validation texts have a store each.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/text/plain_tokenizer.h"
#include "data/text/text_store.h"
#include "recipes/train/corpus_parts.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

// A cache that is damaged is as good as none: it is made again.
hs_token_store *hs_corpus_cached(const hs_corpus *c, uint64_t key, const char *run_dir, bool *known)
{
    char path[PATH_MAX];
    hs_token_store *s = NULL;
    hs_corpus_cache_path(c, key, run_dir, path, sizeof path);
    *known = access(path, R_OK) == 0;
    if (!*known)
        return NULL;
    if (hs_token_store_open(&s, path) == HS_OK && hs_token_store_verify(s) == HS_OK)
        return s;
    hs_warn("%s is damaged and will be made again: %s", path, hs_error());
    hs_token_store_close(s);
    return NULL;
}

static hs_status make_tokenizer(hs_corpus *c, const hs_corpus_from *from, const char *path)
{
    int64_t size;
    if (from->given) {
        c->tokenizer = from->given, c->borrowed = true;
        return HS_OK;
    }
    if (from->tokenizer_dir)
        return hs_tokenizer_load(&c->tokenizer, from->tokenizer_dir);
    if (hs_config_wordpiece(from->config, &size))
        return hs_plain_tokenizer_train(&c->tokenizer, &path, 1, size); // validation may have words of its own
    if (hs_corpus_is_char(from->config))
        return HS_FAIL(USAGE, "data.tokenizer is %s, which has no token that masks: name a folder, or wordpiece to learn one from the text",
                       from->config->data.tokenizer);
    return hs_corpus_named_tokenizer(&c->tokenizer, from->config);
}

// Of what the files hold, whatever they are called.
static hs_status key_of(const hs_corpus *c, const hs_config *config, const hs_text_inputs *in, uint64_t *key)
{
    *key = hs_mix2(hs_tokenizer_hash(c->tokenizer), 0x5e9 + (uint64_t)config->data.documents);
    for (int i = 0; i < in->n; i++) {
        hs_file f;
        HS_TRY(hs_file_map(&f, in->input[i].path));
        *key = hs_mix2(*key, XXH3_64bits(f.data, f.bytes));
        hs_file_unmap(&f);
    }
    return HS_OK;
}

// One text as a store: from the cache, or encoded.
static hs_status open_text(hs_corpus *c, const hs_corpus_from *from, const char *path, hs_token_store **store, uint64_t *key, bool *known)
{
    hs_text_inputs in;
    *known = false;
    HS_TRY(hs_text_inputs_expand(&in, &path, 1));
    hs_status st = hs_text_inputs_check(&in);
    if (st == HS_OK)
        st = key_of(c, from->config, &in, key);
    if (st == HS_OK && from->run_dir)
        *store = hs_corpus_cached(c, *key, from->run_dir, known);
    if (st == HS_OK && !*store)
        st = hs_text_store(store, c->tokenizer, &in, from->config->data.documents, HS_SENTENCES_RULE);
    hs_text_inputs_free(&in);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_corpus_from_sequences(hs_corpus *c, const hs_corpus_from *from, const char *path)
{
    const hs_config *config = from->config;
    hs_corpus_split split = { .path = path };
    char *end;
    bool known, val_known = true;
    split.fraction = strtod(config->data.val, &end);
    split.has_val_file = *end != 0;
    if (split.has_val_file && hs_token_store_is(config->data.val))
        return HS_FAIL(USAGE, "data.val is a token store (%s); data.train must be one too: %s is not", config->data.val, path);
    HS_TRY(make_tokenizer(c, from, path));
    HS_TRY(open_text(c, from, path, &c->store, &c->key, &known));
    if (split.has_val_file)
        HS_TRY(open_text(c, from, config->data.val, &c->val_store, &c->val_key, &val_known));
    c->known = known && val_known;
    c->first_file = hs_token_store_info_of(c->store).n_tokens;
    HS_TRY(hs_corpus_split_at(c, config, &split));
    c->source[0] = (hs_text_part){ c->train, 1 };
    c->n_sources = 1;
    return HS_OK;
}
