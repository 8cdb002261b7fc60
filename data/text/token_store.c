// token store: ids on disk, memory-mapped (format in data/text/token_store.h; little-endian, as every machine Halfstep runs on).
#include "data/text/token_store.h"
#include "data/base/file.h"
#include "data/text/store_format.h"
#include "data/text/store_writer.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

struct hs_token_store {
    hs_token_store_info info;
    const uint16_t *narrow;    // [n_tokens], or NULL
    const int32_t *wide;       // [n_tokens], or NULL
    const uint64_t *starts;    // [n_documents + 1]
    const uint64_t *sentences; // [n_sentences + 1], or NULL
    hs_file file;              // of an opened store
    int32_t *owned;            // of a store in memory
    uint64_t *tables[2];       // likewise: starts, sentences
    uint64_t whole[2];         // its starts
    char *path;
    struct stat opened; // the file as it was; st_ino 0: none
};

// ---- writing

static hs_status check_ids(const char *path, const int32_t *ids, int64_t n, int64_t vocab)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return HS_FAIL(USAGE, "%s: id %d at token %lld is outside the vocabulary of %lld", path, ids[i], (long long)i,
                           (long long)vocab);
    return HS_OK;
}

static hs_status put_documents(hs_store_writer *w, const int32_t *ids, const int64_t *starts, int64_t n_documents)
{
    for (int64_t d = 0; d < n_documents; d++) {
        HS_TRY(hs_store_writer_ids(w, ids + starts[d], starts[d + 1] - starts[d]));
        HS_TRY(hs_store_writer_document(w));
    }
    return HS_OK;
}

hs_status hs_token_store_write(const char *path, const int32_t *ids, int64_t n, const int64_t *starts, int64_t n_documents, int64_t vocab,
                               uint64_t tokenizer_hash)
{
    const int64_t whole[2] = { 0, n };
    if (!starts)
        starts = whole, n_documents = 1;
    if (n < 1 || n_documents < 1 || vocab < 1 || vocab > INT32_MAX)
        return HS_FAIL(USAGE, "%s: %lld tokens in %lld documents over a vocabulary of %lld; each must be at least 1", path, (long long)n,
                       (long long)n_documents, (long long)vocab);
    if (starts[0] != 0 || starts[n_documents] != n)
        return HS_FAIL(USAGE, "%s: documents span tokens %lld to %lld, the text 0 to %lld", path, (long long)starts[0],
                       (long long)starts[n_documents], (long long)n);
    for (int64_t d = 0; d < n_documents; d++)
        if (starts[d] > starts[d + 1])
            return HS_FAIL(USAGE, "%s: document %lld starts at %lld and ends at %lld", path, (long long)d, (long long)starts[d],
                           (long long)starts[d + 1]);
    hs_store_writer *w;
    HS_TRY(hs_store_writer_open(&w, path, vocab, tokenizer_hash, false));
    const hs_status st = put_documents(w, ids, starts, n_documents);
    if (st != HS_OK) {
        hs_store_writer_discard(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_store_writer_commit(w));
    return HS_OK;
}

// Of one document in memory: what its file would have.
static hs_status content_hash(const int32_t *ids, int64_t n, int64_t vocab, uint64_t *hash)
{
    const uint64_t starts[] = { 0, (uint64_t)n };
    const size_t id_bytes = hs_store_id_bytes(vocab), bytes = (size_t)n * id_bytes;
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return HS_FAIL(MEMORY, "no memory for a checksum");
    XXH3_64bits_reset(state);
    uint16_t block[4096];
    for (int64_t i = 0; i < n && id_bytes == 2; i += HS_COUNT(block)) {
        const int64_t m = n - i < HS_COUNT(block) ? n - i : HS_COUNT(block);
        for (int64_t k = 0; k < m; k++)
            block[k] = (uint16_t)ids[i + k];
        XXH3_64bits_update(state, block, (size_t)m * 2);
    }
    if (id_bytes == 4)
        XXH3_64bits_update(state, ids, bytes);
    XXH3_64bits_update(state, "\0\0\0\0\0\0\0", hs_store_padded(bytes) - bytes);
    XXH3_64bits_update(state, starts, sizeof starts);
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return HS_OK;
}

// ---- opening

static hs_status check_header(const char *path, const hs_store_header *h, size_t bytes)
{
    if (bytes < sizeof *h)
        return HS_FAIL(CORRUPT, "%s: %zu bytes, too short for a token store (header of %zu)", path, bytes, sizeof *h);
    if (memcmp(h->magic, HS_STORE_MAGIC, sizeof h->magic) != 0)
        return HS_FAIL(CORRUPT, "%s is no token store (it does not begin with %s)", path, HS_STORE_MAGIC);
    const bool sentences = h->flags & HS_STORE_SENTENCES;
    if ((h->flags & ~(uint32_t)HS_STORE_SENTENCES) != 0 || (!sentences && h->n_sentences != 0))
        return HS_FAIL(UNSUPPORTED, "%s: flags %#x are of a later version", path, h->flags);
    if (h->id_bytes != 2 && h->id_bytes != 4)
        return HS_FAIL(CORRUPT, "%s: %u bytes per id, allowed 2 and 4", path, h->id_bytes);
    const uint64_t limit = h->id_bytes == 2 ? 65536 : INT32_MAX;
    if (h->vocab < 1 || h->vocab > limit)
        return HS_FAIL(CORRUPT, "%s: vocabulary of %llu, allowed 1 to %llu", path, (unsigned long long)h->vocab, (unsigned long long)limit);
    // Bounded first, so that the sizes below cannot overflow.
    if (h->n_tokens < 1 || h->n_tokens > bytes || h->n_documents < 1 || h->n_documents > bytes)
        return HS_FAIL(CORRUPT, "%s: %llu tokens in %llu documents do not fit %zu bytes", path, (unsigned long long)h->n_tokens,
                       (unsigned long long)h->n_documents, bytes);
    if (sentences && (h->n_sentences < 1 || h->n_sentences > h->n_tokens))
        return HS_FAIL(CORRUPT, "%s: %llu sentences in %llu tokens", path, (unsigned long long)h->n_sentences,
                       (unsigned long long)h->n_tokens);
    const size_t tables = h->n_documents + 1 + (sentences ? h->n_sentences + 1 : 0);
    const size_t want = sizeof *h + hs_store_padded(h->n_tokens * h->id_bytes) + tables * sizeof(uint64_t);
    if (want != bytes)
        return HS_FAIL(CORRUPT, "%s: %zu bytes, its header promises %zu%s", path, bytes, want, bytes < want ? ": truncated" : "");
    return HS_OK;
}

static hs_status check_starts(const hs_token_store *s)
{
    const int64_t n = s->info.n_documents;
    if (s->starts[0] != 0 || s->starts[n] != (uint64_t)s->info.n_tokens)
        return HS_FAIL(CORRUPT, "%s: documents span tokens %llu to %llu, the store 0 to %lld", s->path, (unsigned long long)s->starts[0],
                       (unsigned long long)s->starts[n], (long long)s->info.n_tokens);
    for (int64_t d = 0; d < n; d++)
        if (s->starts[d] > s->starts[d + 1])
            return HS_FAIL(CORRUPT, "%s: document %lld starts at token %llu, behind its end %llu", s->path, (long long)d,
                           (unsigned long long)s->starts[d], (unsigned long long)s->starts[d + 1]);
    // There are many more sentences, and opening a store must stay instant: each is checked when it is asked for.
    const int64_t m = s->info.n_sentences;
    if (s->sentences && (s->sentences[0] != 0 || s->sentences[m] != (uint64_t)s->info.n_tokens))
        return HS_FAIL(CORRUPT, "%s: sentences span tokens %llu to %llu, the store 0 to %lld", s->path, (unsigned long long)s->sentences[0],
                       (unsigned long long)s->sentences[m], (long long)s->info.n_tokens);
    return HS_OK;
}

static hs_status bind(hs_token_store *s)
{
    const hs_store_header *h = (const hs_store_header *)s->file.data;
    HS_TRY(check_header(s->path, h, s->file.bytes));
    const char *body = s->file.data + sizeof *h;
    s->info = (hs_token_store_info){ .n_tokens = (int64_t)h->n_tokens,
                                     .n_documents = (int64_t)h->n_documents,
                                     .n_sentences = (int64_t)h->n_sentences,
                                     .vocab = (int64_t)h->vocab,
                                     .tokenizer_hash = h->tokenizer_hash,
                                     .content_hash = h->content_hash };
    s->narrow = h->id_bytes == 2 ? (const uint16_t *)body : NULL;
    s->wide = h->id_bytes == 4 ? (const int32_t *)body : NULL;
    s->starts = (const uint64_t *)(body + hs_store_padded(h->n_tokens * h->id_bytes));
    s->sentences = h->flags & HS_STORE_SENTENCES ? s->starts + h->n_documents + 1 : NULL;
    HS_TRY(check_starts(s));
    return HS_OK;
}

static hs_token_store *new_store(const char *path)
{
    hs_token_store *s = calloc(1, sizeof *s);
    if (s && !(s->path = strdup(path)))
        free(s), s = NULL;
    return s;
}

hs_status hs_token_store_open(hs_token_store **out, const char *path)
{
    *out = NULL;
    hs_token_store *s = new_store(path);
    if (!s)
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    hs_status st;
    HS_TRY_GOTO(st, hs_file_map(&s->file, path), failed);
    HS_TRY_GOTO(st, bind(s), failed);
    if (stat(path, &s->opened) != 0 || !S_ISREG(s->opened.st_mode))
        s->opened.st_ino = 0;
    *out = s;
    return HS_OK;
failed:
    hs_token_store_close(s);
    return st;
}

hs_status hs_token_store_from_ids(hs_token_store **out, int32_t *ids, int64_t n, int64_t vocab, uint64_t tokenizer_hash)
{
    *out = NULL;
    hs_token_store *s = new_store("(text in memory)");
    if (!s) {
        free(ids);
        return HS_FAIL(MEMORY, "no memory for a token store");
    }
    s->owned = ids, s->wide = ids, s->whole[1] = (uint64_t)n, s->starts = s->whole;
    s->info = (hs_token_store_info){ .n_tokens = n, .n_documents = 1, .vocab = vocab, .tokenizer_hash = tokenizer_hash };
    hs_status st = HS_OK;
    if (n < 1 || vocab < 1)
        st = HS_FAIL(USAGE, "%lld tokens over a vocabulary of %lld; each must be at least 1", (long long)n, (long long)vocab);
    else
        HS_TRY_GOTO(st, check_ids(s->path, ids, n, vocab), failed);
    if (st == HS_OK)
        HS_TRY_GOTO(st, content_hash(ids, n, vocab, &s->info.content_hash), failed);
    if (st == HS_OK) {
        *out = s;
        return HS_OK;
    }
failed:
    hs_token_store_close(s);
    return st;
}

hs_status hs_token_store_from_documents(hs_token_store **out, int32_t *ids, int64_t n, uint64_t *starts, int64_t n_documents,
                                        uint64_t *sentences, int64_t n_sentences, int64_t vocab, uint64_t tokenizer_hash)
{
    *out = NULL;
    hs_token_store *s = new_store("(text in memory)");
    if (!s) {
        free(ids), free(starts), free(sentences);
        return HS_FAIL(MEMORY, "no memory for a token store");
    }
    s->owned = ids, s->wide = ids, s->tables[0] = starts, s->tables[1] = sentences, s->starts = starts, s->sentences = sentences;
    s->info = (hs_token_store_info){
        .n_tokens = n, .n_documents = n_documents, .n_sentences = n_sentences, .vocab = vocab, .tokenizer_hash = tokenizer_hash
    };
    hs_status st = HS_OK;
    if (n < 1 || n_documents < 1 || n_sentences < 1 || vocab < 1)
        st = HS_FAIL(USAGE, "%lld tokens in %lld documents over a vocabulary of %lld; each must be at least 1", (long long)n,
                     (long long)n_documents, (long long)vocab);
    else
        HS_TRY_GOTO(st, hs_token_store_verify(s), failed);
    if (st == HS_OK) {
        *out = s;
        return HS_OK;
    }
failed:
    hs_token_store_close(s);
    return st;
}

// ---- any store as a file

static hs_status save_range(hs_store_writer *w, const hs_token_store *s, int64_t first, int64_t end)
{
    int32_t ids[4096];
    for (int64_t i = first; i < end; i += HS_COUNT(ids)) {
        const int64_t n = end - i < HS_COUNT(ids) ? end - i : HS_COUNT(ids);
        hs_token_store_read(s, i, n, ids);
        HS_TRY(hs_store_writer_ids(w, ids, n));
    }
    return HS_OK;
}

static hs_status save_document(hs_store_writer *w, const hs_token_store *s, int64_t d)
{
    int64_t first, end, from, to;
    HS_TRY(hs_token_store_sentences(s, d, &first, &end));
    for (int64_t i = first; i < end; i++) {
        HS_TRY(hs_token_store_sentence(s, i, &from, &to));
        HS_TRY(save_range(w, s, from, to));
        HS_TRY(hs_store_writer_sentence(w));
    }
    if (!s->sentences)
        HS_TRY(save_range(w, s, (int64_t)s->starts[d], (int64_t)s->starts[d + 1]));
    return hs_store_writer_document(w);
}

hs_status hs_token_store_save(const hs_token_store *s, const char *path)
{
    hs_store_writer *w;
    HS_TRY(hs_store_writer_open(&w, path, s->info.vocab, s->info.tokenizer_hash, s->sentences != NULL));
    hs_status st = HS_OK;
    for (int64_t d = 0; d < s->info.n_documents && st == HS_OK; d++)
        st = save_document(w, s, d);
    if (st == HS_OK)
        return hs_store_writer_commit(w);
    hs_store_writer_discard(w);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_token_store_close(hs_token_store *s)
{
    if (!s)
        return;
    hs_file_unmap(&s->file);
    free(s->owned);
    free(s->tables[0]);
    free(s->tables[1]);
    free(s->path);
    free(s);
}

// ---- reading

bool hs_token_store_is(const char *path)
{
    char begin[sizeof HS_STORE_MAGIC] = "";
    return hs_file_head(path, begin, sizeof begin - 1) == sizeof begin - 1 && strcmp(begin, HS_STORE_MAGIC) == 0;
}

const char *hs_token_store_path(const hs_token_store *s) { return s->path; }

hs_status hs_token_store_call(hs_token_store *s, const char *name)
{
    char *copy = strdup(name);
    if (!copy)
        return HS_FAIL(MEMORY, "%s: no memory for its name", name);
    free(s->path);
    s->path = copy;
    return HS_OK;
}
hs_token_store_info hs_token_store_info_of(const hs_token_store *s) { return s->info; }

hs_status hs_token_store_verify(const hs_token_store *s)
{
    const int64_t n = s->info.n_tokens, vocab = s->info.vocab;
    if (s->file.data) {
        const uint64_t hash = XXH3_64bits(s->file.data + sizeof(hs_store_header), s->file.bytes - sizeof(hs_store_header));
        if (hash != s->info.content_hash)
            return HS_FAIL(CORRUPT, "%s: checksum %016llx, its header says %016llx", s->path, (unsigned long long)hash,
                           (unsigned long long)s->info.content_hash);
    }
    for (int64_t i = 0; i < n; i++) {
        const int32_t id = s->narrow ? s->narrow[i] : s->wide[i];
        if (id < 0 || id >= vocab)
            return HS_FAIL(CORRUPT, "%s: id %d at token %lld is outside its vocabulary of %lld", s->path, id, (long long)i,
                           (long long)vocab);
    }
    int64_t first, end;
    for (int64_t i = 0; i < s->info.n_sentences; i++)
        HS_TRY(hs_token_store_sentence(s, i, &first, &end));
    for (int64_t d = 0; s->sentences && d < s->info.n_documents; d++)
        HS_TRY(hs_token_store_sentences(s, d, &first, &end));
    return HS_OK;
}

// The last of n that begins at or before a token: of several that do, all but the last are empty.
static int64_t last_at(const uint64_t *starts, int64_t n, uint64_t token)
{
    int64_t lo = 0, hi = n;
    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (starts[mid] <= token)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

int64_t hs_token_store_sentence_at(const hs_token_store *s, int64_t token)
{
    return last_at(s->sentences, s->info.n_sentences, (uint64_t)token);
}
int64_t hs_token_store_document_at(const hs_token_store *s, int64_t token)
{
    return last_at(s->starts, s->info.n_documents, (uint64_t)token);
}

hs_status hs_token_store_sentence(const hs_token_store *s, int64_t sentence, int64_t *first, int64_t *end)
{
    const uint64_t from = s->sentences[sentence], to = s->sentences[sentence + 1];
    if (from >= to || to > (uint64_t)s->info.n_tokens)
        return HS_FAIL(CORRUPT, "%s: sentence %lld spans tokens %llu to %llu", s->path, (long long)sentence, (unsigned long long)from,
                       (unsigned long long)to);
    *first = (int64_t)from, *end = (int64_t)to;
    return HS_OK;
}

hs_status hs_token_store_sentences(const hs_token_store *s, int64_t document, int64_t *first, int64_t *end)
{
    const uint64_t from = s->starts[document], to = s->starts[document + 1];
    *first = *end = 0;
    if (!s->sentences || from == to)
        return HS_OK;
    const int64_t a = hs_token_store_sentence_at(s, (int64_t)from), b = hs_token_store_sentence_at(s, (int64_t)to - 1) + 1;
    if (s->sentences[a] != from || s->sentences[b] != to)
        return HS_FAIL(CORRUPT, "%s: document %lld spans tokens %llu to %llu, its sentences %llu to %llu", s->path, (long long)document,
                       (unsigned long long)from, (unsigned long long)to, (unsigned long long)s->sentences[a],
                       (unsigned long long)s->sentences[b]);
    *first = a, *end = b;
    return HS_OK;
}

static int64_t written_at(const struct stat *is) { return (int64_t)is->st_mtim.tv_sec * 1000000000 + is->st_mtim.tv_nsec; }

hs_status hs_token_store_unchanged(const hs_token_store *s, int64_t *seen)
{
    struct stat is;
    if (!s->opened.st_ino || stat(s->path, &is) != 0 || is.st_ino != s->opened.st_ino || is.st_dev != s->opened.st_dev)
        return HS_OK;
    if (is.st_size != s->opened.st_size)
        return HS_FAIL(CORRUPT, "%s has %lld bytes, %lld when it was opened: a store must not change while it is read", s->path,
                       (long long)is.st_size, (long long)s->opened.st_size);
    if (*seen == 0)
        *seen = written_at(&s->opened);
    if (written_at(&is) == *seen)
        return HS_OK;
    HS_TRY(hs_token_store_verify(s));
    *seen = written_at(&is);
    return HS_OK;
}

void hs_token_store_read(const hs_token_store *s, int64_t first, int64_t n, int32_t *out)
{
    if (s->wide) {
        memcpy(out, s->wide + first, (size_t)n * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        out[i] = s->narrow[first + i];
}

// Any id outside: looked for in what was just written, while it is in the cache.
hs_status hs_token_store_check(const hs_token_store *s, const int32_t *ids, int64_t first, int64_t n, int64_t vocab)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++)
        bad |= (uint32_t)ids[i] >= (uint32_t)vocab;
    for (int64_t i = 0; bad && i < n; i++)
        if ((uint32_t)ids[i] >= (uint32_t)vocab)
            return HS_FAIL(CORRUPT, "%s: id %d at token %lld is outside the vocabulary of %lld, the %s", s->path, ids[i],
                           (long long)(first + i), (long long)vocab, s->info.vocab == vocab ? "store's own" : "model's");
    return HS_OK;
}

void hs_token_store_document(const hs_token_store *s, int64_t document, int64_t *first, int64_t *end)
{
    *first = (int64_t)s->starts[document];
    *end = (int64_t)s->starts[document + 1];
}
