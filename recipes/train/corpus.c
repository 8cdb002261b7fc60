// corpus: tokenizer, then ids, from texts or from stores; the cache is keyed by the hash of both, so that neither can change unseen.
#include "recipes/train/corpus.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/base/file.h"
#include "recipes/program/plain_text.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

typedef struct texts { // what is trained on and, where data.val is a file, that
    const char *path;  // of train
    hs_plain_text train, val;
    bool has_val_file;
    double fraction; // of train that is validation text, where it is no file
} texts;

static void close_texts(texts *t)
{
    hs_plain_text_close(&t->train);
    if (t->has_val_file)
        hs_plain_text_close(&t->val);
}

// The names and quotes of JSON would be learned as the text.
static hs_status open_text_file(hs_plain_text *f, const char *path)
{
    HS_TRY(hs_plain_text_open(f, path));
    if (f->form == HS_TEXT_PLAIN)
        return HS_OK;
    hs_plain_text_close(f);
    return HS_FAIL(USAGE, "%s holds JSON records; halfstep prepare makes a token store of their texts, or of all of it with --format text",
                   strcmp(path, "-") == 0 ? "standard input" : path);
}

static hs_status open_texts(texts *t, const hs_config *config, const char *path)
{
    *t = (texts){ .path = path };
    HS_TRY(open_text_file(&t->train, path));
    char *end;
    t->fraction = strtod(config->data.val, &end);
    if (*end && hs_token_store_is(config->data.val)) {
        hs_plain_text_close(&t->train);
        return HS_FAIL(USAGE, "data.val is a token store (%s); data.train must be one too: %s is not", config->data.val, path);
    }
    if (*end) {
        const hs_status st = open_text_file(&t->val, config->data.val);
        if (st != HS_OK) {
            hs_plain_text_close(&t->train);
            return hs_frame_at(st, __FILE__, __LINE__);
        }
        t->has_val_file = true;
    }
    return HS_OK;
}

// The characters of both texts, so that a validation text never holds an unknown one.
static hs_status char_tokenizer(hs_tokenizer **out, const texts *t)
{
    if (!t->has_val_file)
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

// auto comes here only where nothing brings a tokenizer.
static bool is_char(const hs_config *config)
{
    return strcmp(config->data.tokenizer, "char") == 0 || strcmp(config->data.tokenizer, "auto") == 0;
}

hs_status hs_corpus_named_tokenizer(hs_tokenizer **out, const hs_config *config)
{
    if (strcmp(config->data.tokenizer, "byte") == 0)
        return hs_tokenizer_byte(out);
    if (access(config->data.tokenizer, F_OK) != 0)
        return HS_FAIL(USAGE, "data.tokenizer is %s, which is neither auto, char nor byte nor a folder", config->data.tokenizer);
    return hs_tokenizer_load(out, config->data.tokenizer);
}

static hs_status make_tokenizer(hs_tokenizer **out, const hs_config *config, const texts *t, const char *dir)
{
    if (dir)
        return hs_tokenizer_load(out, dir);
    return is_char(config) ? char_tokenizer(out, t) : hs_corpus_named_tokenizer(out, config);
}

static uint64_t corpus_key(const texts *t, const hs_tokenizer *tokenizer)
{
    uint64_t key = hs_mix2(XXH3_64bits(t->train.data, t->train.bytes), hs_tokenizer_hash(tokenizer));
    if (t->has_val_file)
        key = hs_mix2(key, XXH3_64bits(t->val.data, t->val.bytes));
    return key;
}

static void cache_path(const hs_corpus *c, const char *run_dir, char *buf, size_t size)
{
    snprintf(buf, size, "%s/tokens-%016llx.%s", run_dir, (unsigned long long)c->key, c->prepared ? "txt" : "bin");
}

bool hs_corpus_known(const hs_corpus *c, const char *run_dir)
{
    char path[PATH_MAX];
    cache_path(c, run_dir, path, sizeof path);
    return access(path, F_OK) == 0;
}

// A cache that is damaged is as good as none: it is made again.
static bool open_cache(hs_corpus *c, const char *run_dir)
{
    char path[PATH_MAX];
    cache_path(c, run_dir, path, sizeof path);
    if (access(path, R_OK) != 0)
        return false;
    c->known = true;
    if (hs_token_store_open(&c->store, path) == HS_OK && hs_token_store_verify(c->store) == HS_OK) {
        int64_t first;
        hs_token_store_document(c->store, 0, &first, &c->first_file);
        return true;
    }
    hs_warn("%s is damaged and will be made again: %s", path, hs_error());
    hs_token_store_close(c->store);
    c->store = NULL;
    return false;
}

static hs_status encode_file(const hs_tokenizer *tokenizer, const hs_plain_text *f, const char *path, int32_t **ids, int64_t *n)
{
    if (hs_tokenizer_encode(tokenizer, f->data, f->bytes, ids, n) == HS_OK)
        return HS_OK;
    char message[512];
    snprintf(message, sizeof message, "%s", hs_error());
    return HS_FAIL(USAGE, "%s: %s", path, message);
}

static hs_status encode(hs_corpus *c, const hs_config *config, const texts *t)
{
    int32_t *ids = NULL, *val = NULL;
    int64_t n = 0, n_val = 0;
    HS_TRY(encode_file(c->tokenizer, &t->train, t->path, &ids, &n));
    hs_status st = HS_OK;
    if (t->has_val_file) {
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

// Where the validation text begins: behind the training file, at the fraction of its tokens, or in a store of its own.
static hs_status split(hs_corpus *c, const hs_config *config, const texts *t)
{
    const int64_t n = hs_token_store_info_of(c->store).n_tokens;
    const int64_t n_train = t->has_val_file ? c->first_file : (int64_t)((1 - t->fraction) * (double)n);
    c->train = (hs_token_range){ c->store, 0, n_train };
    c->val = (hs_token_range){ c->store, n_train, n };
    if (c->val_store)
        c->val = (hs_token_range){ c->val_store, 0, hs_token_store_info_of(c->val_store).n_tokens };
    const int64_t n_val = c->val.end - c->val.first;
    const int64_t context = hs_config_model_int(config, "model.context");
    if (n_train < context + 1)
        return HS_FAIL(USAGE, "%s: the training text has %lld tokens, fewer than model.context + 1 = %lld", t->path, (long long)n_train,
                       (long long)context + 1);
    const bool wanted = t->has_val_file || t->fraction > 0;
    if (wanted && n_val < 2)
        return HS_FAIL(USAGE, "%s: the validation text has %lld tokens, needs 2; give a larger data.val, or 0 for none",
                       t->has_val_file ? config->data.val : t->path, (long long)n_val);
    return HS_OK;
}

// ---- prepared stores

// Ids mean nothing without the vocabulary they were made with.
static hs_status check_tokenizer(const char *path, const hs_token_store *s, const hs_tokenizer *t, const char *name)
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
        HS_TRY(check_tokenizer(part[i].path, c->more[i - 1], c->tokenizer, name));
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
static hs_status open_prepared(hs_corpus *c, const hs_config *config, const hs_data_part *part, int n, const char *run_dir,
                               const char *tokenizer_dir)
{
    texts t = { .path = part[0].path };
    char *end;
    t.fraction = strtod(config->data.val, &end);
    t.has_val_file = *end != 0;
    if (t.has_val_file && !hs_token_store_is(config->data.val))
        return HS_FAIL(USAGE, "%s is a token store (%s); data.val must be one too, or a fraction: %s is not", hs_config_data_key(config),
                       t.path, config->data.val);
    if (!tokenizer_dir && is_char(config))
        return HS_FAIL(USAGE, "%s is a token store (%s): data.tokenizer must name the folder it was made with, not char",
                       hs_config_data_key(config), t.path);
    HS_TRY(tokenizer_dir ? hs_tokenizer_load(&c->tokenizer, tokenizer_dir) : hs_corpus_named_tokenizer(&c->tokenizer, config));
    const char *name = tokenizer_dir ? tokenizer_dir : config->data.tokenizer;
    HS_TRY(hs_token_store_open(&c->store, part[0].path));
    HS_TRY(check_tokenizer(part[0].path, c->store, c->tokenizer, name));
    c->key = hs_mix2(hs_token_store_info_of(c->store).content_hash, hs_tokenizer_hash(c->tokenizer));
    HS_TRY(open_more(c, config, part, n, name));
    key_of_stream(c, config, part, n);
    if (t.has_val_file) {
        HS_TRY(hs_token_store_open(&c->val_store, config->data.val));
        HS_TRY(check_tokenizer(config->data.val, c->val_store, c->tokenizer, name));
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
    HS_TRY(split(c, config, &t));
    c->source[0] = (hs_text_part){ c->train, part[0].weight };
    c->n_sources = n;
    return HS_OK;
}

static hs_status note_stores(const hs_corpus *c, const char *run_dir)
{
    char path[PATH_MAX];
    cache_path(c, run_dir, path, sizeof path);
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return HS_FAIL(MEMORY, "no memory for %s", path);
    for (int i = 0; i < c->n_sources; i++)
        fprintf(f, "%s\n", hs_token_store_path(c->source[i].range.store));
    if (c->val_store)
        fprintf(f, "%s\n", hs_token_store_path(c->val_store));
    fclose(f);
    const hs_status st = hs_file_save(path, text, n);
    free(text);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

// ---- opening

static hs_status open_store(hs_corpus *c, const hs_config *config, const texts *t, const char *run_dir, const char *tokenizer_dir)
{
    HS_TRY(make_tokenizer(&c->tokenizer, config, t, tokenizer_dir));
    c->key = corpus_key(t, c->tokenizer);
    c->cached = run_dir && open_cache(c, run_dir);
    if (!c->cached)
        HS_TRY(encode(c, config, t));
    HS_TRY(split(c, config, t));
    c->source[0] = (hs_text_part){ c->train, 1 };
    c->n_sources = 1;
    return HS_OK;
}

hs_status hs_corpus_open(hs_corpus *c, const hs_config *config, const char *run_dir, const char *tokenizer_dir)
{
    *c = (hs_corpus){ 0 };
    texts t = { 0 };
    hs_status st;
    hs_data_part part[HS_MIX_SOURCES];
    int n;
    HS_TRY(hs_config_sources(config, part, &n));
    if (n > 1)
        HS_TRY(check_store(config, part[0].path));
    if (hs_token_store_is(part[0].path)) {
        st = open_prepared(c, config, part, n, run_dir, tokenizer_dir);
    } else {
        HS_TRY(open_texts(&t, config, part[0].path));
        st = open_store(c, config, &t, run_dir, tokenizer_dir);
        close_texts(&t);
    }
    if (st != HS_OK)
        hs_corpus_close(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_corpus_cache(hs_corpus *c, const char *run_dir)
{
    if (c->cached)
        return HS_OK;
    if (c->prepared) {
        HS_TRY(note_stores(c, run_dir));
        c->cached = true;
        return HS_OK;
    }
    char path[PATH_MAX];
    cache_path(c, run_dir, path, sizeof path);
    const hs_token_store_info info = hs_token_store_info_of(c->store);
    int32_t *ids = malloc((size_t)info.n_tokens * sizeof *ids);
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)info.n_tokens);
    hs_token_store_read(c->store, 0, info.n_tokens, ids);
    const int64_t starts[] = { 0, c->first_file, info.n_tokens }; // one document a file
    const int n_files = c->first_file < info.n_tokens ? 2 : 1;
    const hs_status st = hs_token_store_write(path, ids, info.n_tokens, starts, n_files, info.vocab, info.tokenizer_hash);
    free(ids);
    HS_TRY(st);
    hs_token_store *mapped;
    HS_TRY(hs_token_store_open(&mapped, path));
    hs_token_store_close(c->store);
    c->store = mapped;
    c->train.store = c->val.store = c->source[0].range.store = mapped;
    c->cached = true;
    return HS_OK;
}

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
    char own[PATH_MAX];
    DIR *dir = opendir(run_dir);
    cache_path(c, run_dir, own, sizeof own);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        const char *name = e->d_name, *key = name + 7;
        if (strncmp(name, "tokens-", 7) == 0 && strspn(key, "0123456789abcdef") == 16 &&
            (strcmp(key + 16, ".bin") == 0 || strcmp(key + 16, ".txt") == 0) && strcmp(name, strrchr(own, '/') + 1) != 0)
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
    hs_tokenizer_free(c->tokenizer);
    *c = (hs_corpus){ 0 };
}

static hs_status open_store_file(hs_corpus *c, const char *path, const hs_tokenizer *tokenizer)
{
    HS_TRY(hs_token_store_open(&c->store, path));
    HS_TRY(check_tokenizer(path, c->store, tokenizer, "that of the model"));
    HS_TRY(hs_token_store_verify(c->store));
    c->val = (hs_token_range){ c->store, 0, hs_token_store_info_of(c->store).n_tokens };
    if (c->val.end < 2)
        return HS_FAIL(USAGE, "%s has %lld tokens: nothing to predict", path, (long long)c->val.end);
    return HS_OK;
}

hs_status hs_corpus_open_file(hs_corpus *c, const char *path, const hs_tokenizer *tokenizer)
{
    *c = (hs_corpus){ 0 };
    hs_plain_text f;
    if (strcmp(path, "-") == 0 && hs_token_store_is("/dev/stdin")) // < store.bin
        path = "/dev/stdin";
    if (hs_token_store_is(path))
        return open_store_file(c, path, tokenizer);
    HS_TRY(open_text_file(&f, path));
    int32_t *ids = NULL;
    int64_t n = 0;
    hs_status st = encode_file(tokenizer, &f, path, &ids, &n);
    hs_plain_text_close(&f);
    HS_TRY(st);
    if (n < 2) {
        free(ids);
        return HS_FAIL(USAGE, "%s has %lld tokens: nothing to predict", path, (long long)n);
    }
    HS_TRY(hs_token_store_from_ids(&c->store, ids, n, hs_tokenizer_vocab(tokenizer), hs_tokenizer_hash(tokenizer)));
    c->val = (hs_token_range){ c->store, 0, n };
    return HS_OK;
}
