// corpus_text: a running text to ids. The cache is keyed by the hash of texts and tokenizer, so that neither can change unseen.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/text/plain_tokenizer.h"
#include "recipes/train/corpus_parts.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct texts { // what is trained on and, where data.val is a file, that
    hs_corpus_split split;
    hs_plain_text train, val;
} texts;

static void close_texts(texts *t)
{
    hs_plain_text_close(&t->train);
    if (t->split.has_val_file)
        hs_plain_text_close(&t->val);
}

// The names and quotes of JSON would be learned as the text. config: of a run; NULL: a text that a checkpoint is evaluated on.
static hs_status refuse_records(const char *path, const hs_config *config)
{
    int64_t size;
    const char *from = !config                                                           ? "CHECKPOINT"
                       : hs_corpus_is_char(config) || hs_config_wordpiece(config, &size) ? "byte"
                                                                                         : config->data.tokenizer;
    if (strcmp(path, "-") == 0)
        return HS_FAIL(USAGE, "standard input holds JSON records; halfstep prepare makes a token store of their texts");
    if (!config)
        return HS_FAIL(USAGE,
                       "%s holds JSON records: halfstep prepare --tokenizer %s -o NAME %s makes a store of their texts, --data NAME.bin",
                       path, from, path);
    return HS_FAIL(USAGE,
                   "%s holds JSON records: halfstep prepare --tokenizer %s -o NAME %s makes a store of their texts (with --format text of "
                   "all it holds), --data.train=NAME.bin --data.tokenizer=%s",
                   path, from, path, from);
}

static hs_status text_file(hs_plain_text *f, const char *path, const hs_config *config)
{
    HS_TRY(hs_plain_text_open(f, path));
    if (f->form == HS_TEXT_PLAIN)
        return HS_OK;
    hs_plain_text_close(f);
    return refuse_records(path, config);
}

static hs_status open_texts(texts *t, const hs_config *config, const char *path)
{
    *t = (texts){ .split.path = path };
    HS_TRY(text_file(&t->train, path, config));
    char *end;
    t->split.fraction = strtod(config->data.val, &end);
    if (*end && hs_token_store_is(config->data.val)) {
        hs_plain_text_close(&t->train);
        return HS_FAIL(USAGE, "data.val is a token store (%s); data.train must be one too: %s is not", config->data.val, path);
    }
    if (*end) {
        const hs_status st = text_file(&t->val, config->data.val, config);
        if (st != HS_OK) {
            hs_plain_text_close(&t->train);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
        t->split.has_val_file = true;
    }
    return HS_OK;
}

// ---- tokenizer
// The characters of both texts, so that a validation text never holds an unknown one.
static hs_status char_tokenizer(hs_tokenizer **out, const texts *t)
{
    if (!t->split.has_val_file)
        return hs_tokenizer_char_from_text(out, t->train.data, t->train.bytes);
    char *both = malloc(t->train.bytes + t->val.bytes);
    if (!both)
        return HS_FAIL(MEMORY, "no memory for %zu bytes of text", t->train.bytes + t->val.bytes);
    memcpy(both, t->train.data, t->train.bytes);
    memcpy(both + t->train.bytes, t->val.data, t->val.bytes);
    const hs_status st = hs_tokenizer_char_from_text(out, both, t->train.bytes + t->val.bytes);
    free(both);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

static hs_status make_tokenizer(hs_corpus *c, const hs_corpus_from *from, const texts *t)
{
    int64_t size;
    if (from->given) {
        c->tokenizer = from->given, c->borrowed = true;
        return HS_OK;
    }
    if (from->tokenizer_dir)
        return hs_tokenizer_load(&c->tokenizer, from->tokenizer_dir);
    if (hs_config_wordpiece(from->config, &size))
        return hs_plain_tokenizer_train(&c->tokenizer, &t->split.path, 1, size); // validation may have words of its own
    return hs_corpus_is_char(from->config) ? char_tokenizer(&c->tokenizer, t) : hs_corpus_named_tokenizer(&c->tokenizer, from->config);
}

// ---- ids
static hs_status encode_file(const hs_tokenizer *tokenizer, const hs_plain_text *f, const char *path, int32_t **ids, int64_t *n)
{
    if (hs_tokenizer_encode(tokenizer, f->data, f->bytes, ids, n) == HS_OK)
        return HS_OK;
    char message[512];
    snprintf(message, sizeof message, "%s", hs_error());
    return HS_FAIL(USAGE, "%s: %s", path, message);
}

hs_status hs_corpus_encode_text(hs_token_store **out, const hs_tokenizer *t, const char *path)
{
    hs_plain_text f;
    int32_t *ids;
    int64_t n;
    HS_TRY(text_file(&f, path, NULL));
    const hs_status st = encode_file(t, &f, path, &ids, &n);
    hs_plain_text_close(&f);
    HS_TRY(st);
    if (n < 2) {
        free(ids);
        return HS_FAIL(USAGE, "%s has %lld token%s: nothing to predict", path, (long long)n, hs_plural(n));
    }
    return hs_token_store_from_ids(out, ids, n, hs_tokenizer_vocab(t), hs_tokenizer_hash(t));
}

// Of running text, in one store: the training file, and behind it that of validation.
static hs_status encode_running(hs_corpus *c, const hs_config *config, const texts *t)
{
    int32_t *ids = NULL, *val = NULL;
    int64_t n = 0, n_val = 0;
    HS_TRY(encode_file(c->tokenizer, &t->train, t->split.path, &ids, &n));
    hs_status st = HS_OK;
    if (t->split.has_val_file) {
        HS_TRY_GOTO(st, encode_file(c->tokenizer, &t->val, config->data.val, &val, &n_val), done);
        int32_t *both = realloc(ids, (size_t)(n + n_val) * sizeof *ids);
        if (!both) {
            st = HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)(n + n_val));
            goto done;
        }
        ids = both;
        memcpy(ids + n, val, (size_t)n_val * sizeof *ids);
    }
    c->first_file = n;
    st = hs_token_store_from_ids(&c->store, ids, n + n_val, hs_tokenizer_vocab(c->tokenizer), hs_tokenizer_hash(c->tokenizer));
    ids = NULL;
done:
    free(ids);
    free(val);
    return st;
}

static hs_status open_running(hs_corpus *c, const hs_corpus_from *from, const texts *t)
{
    c->key = hs_mix2(XXH3_64bits(t->train.data, t->train.bytes), hs_tokenizer_hash(c->tokenizer));
    if (t->split.has_val_file)
        c->key = hs_mix2(c->key, XXH3_64bits(t->val.data, t->val.bytes));
    if (from->run_dir)
        c->store = hs_corpus_cached(c, c->key, from->run_dir, &c->known);
    c->cached = c->store != NULL;
    if (!c->cached)
        return encode_running(c, from->config, t);
    int64_t first;
    hs_token_store_document(c->store, 0, &first, &c->first_file);
    return HS_OK;
}

static hs_status open_store(hs_corpus *c, const hs_corpus_from *from, const texts *t)
{
    HS_TRY(make_tokenizer(c, from, t));
    HS_TRY(open_running(c, from, t));
    HS_TRY(hs_corpus_split_at(c, from->config, &t->split));
    c->source[0] = (hs_text_part){ c->train, 1 };
    c->n_sources = 1;
    return HS_OK;
}

hs_status hs_corpus_from_text(hs_corpus *c, const hs_corpus_from *from, const char *path)
{
    texts t;
    HS_TRY(open_texts(&t, from->config, path));
    const hs_status st = open_store(c, from, &t);
    close_texts(&t);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
