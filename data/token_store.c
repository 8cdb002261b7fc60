// token store: ids on disk, memory-mapped (format in data/token_store.h; little-endian, as every machine Halfstep runs on).
#include "data/token_store.h"
#include "data/file.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct header {
    char magic[8];
    uint32_t id_bytes, flags;
    uint64_t vocab, tokenizer_hash, n_tokens, n_documents, content_hash, reserved;
} header;
_Static_assert(sizeof(header) == 64, "the header is part of the file format");

static const char magic[8] = "HSTOKEN1";

struct hs_token_store {
    hs_token_store_info info;
    const uint16_t *narrow; // [n_tokens], or NULL
    const int32_t *wide;    // [n_tokens], or NULL
    const uint64_t *starts; // [n_documents + 1]
    hs_file file;           // of an opened store
    int32_t *owned;         // of a store in memory
    uint64_t whole[2];      // its starts
    char *path;
};

// ---- writing

// What follows the header goes to the file and into the checksum; either may be NULL.
typedef struct sink {
    hs_file_out *file;
    XXH3_state_t *hash;
} sink;

static hs_status put(sink s, const void *data, size_t bytes)
{
    if (s.hash)
        XXH3_64bits_update(s.hash, data, bytes);
    if (s.file)
        HS_TRY(hs_file_write(s.file, data, bytes));
    return HS_OK;
}

static uint32_t id_bytes_for(int64_t vocab) { return vocab <= 65536 ? 2 : 4; }
static size_t padded(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

static hs_status put_body(sink s, const int32_t *ids, int64_t n, const uint64_t *starts, int64_t n_documents, uint32_t id_bytes)
{
    if (id_bytes == 4) {
        HS_TRY(put(s, ids, (size_t)n * 4));
    } else {
        uint16_t block[4096];
        for (int64_t i = 0; i < n; i += HS_COUNT(block)) {
            const int64_t m = n - i < HS_COUNT(block) ? n - i : HS_COUNT(block);
            for (int64_t k = 0; k < m; k++)
                block[k] = (uint16_t)ids[i + k];
            HS_TRY(put(s, block, (size_t)m * 2));
        }
    }
    const size_t bytes = (size_t)n * id_bytes;
    HS_TRY(put(s, "\0\0\0\0\0\0\0", padded(bytes) - bytes));
    HS_TRY(put(s, starts, ((size_t)n_documents + 1) * sizeof *starts));
    return HS_OK;
}

static hs_status content_hash(const int32_t *ids, int64_t n, const uint64_t *starts, int64_t n_documents, int64_t vocab, uint64_t *hash)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return HS_FAIL(MEMORY, "no memory for a checksum");
    XXH3_64bits_reset(state);
    const hs_status st = put_body((sink){ .hash = state }, ids, n, starts, n_documents, id_bytes_for(vocab));
    *hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return st;
}

static hs_status check_ids(const char *path, const int32_t *ids, int64_t n, int64_t vocab)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return HS_FAIL(USAGE, "%s: id %d at token %lld is outside the vocabulary of %lld", path, ids[i], (long long)i,
                           (long long)vocab);
    return HS_OK;
}

static hs_status write_all(hs_file_out *o, const header *h, const int32_t *ids, const uint64_t *starts)
{
    HS_TRY(hs_file_write(o, h, sizeof *h));
    HS_TRY(put_body((sink){ .file = o }, ids, (int64_t)h->n_tokens, starts, (int64_t)h->n_documents, h->id_bytes));
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
    HS_TRY(check_ids(path, ids, n, vocab));

    const uint64_t *u_starts = (const uint64_t *)starts; // ascending from 0: the same bytes
    header h = { .id_bytes = id_bytes_for(vocab),
                 .vocab = (uint64_t)vocab,
                 .tokenizer_hash = tokenizer_hash,
                 .n_tokens = (uint64_t)n,
                 .n_documents = (uint64_t)n_documents };
    memcpy(h.magic, magic, sizeof magic);
    HS_TRY(content_hash(ids, n, u_starts, n_documents, vocab, &h.content_hash));
    hs_file_out o;
    HS_TRY(hs_file_create(&o, path));
    const hs_status st = write_all(&o, &h, ids, u_starts);
    if (st != HS_OK) {
        hs_file_discard(&o);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_file_commit(&o));
    return HS_OK;
}

// ---- opening

static hs_status check_header(const char *path, const header *h, size_t bytes)
{
    if (bytes < sizeof *h)
        return HS_FAIL(CORRUPT, "%s: %zu bytes, too short for a token store (header of %zu)", path, bytes, sizeof *h);
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return HS_FAIL(CORRUPT, "%s is no token store (it does not begin with %.8s)", path, magic);
    if (h->flags != 0 || h->reserved != 0)
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
    const size_t want = sizeof *h + padded(h->n_tokens * h->id_bytes) + (h->n_documents + 1) * sizeof(uint64_t);
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
    return HS_OK;
}

static hs_status bind(hs_token_store *s)
{
    const header *h = (const header *)s->file.data;
    HS_TRY(check_header(s->path, h, s->file.bytes));
    const char *body = s->file.data + sizeof *h;
    s->info = (hs_token_store_info){ .n_tokens = (int64_t)h->n_tokens,
                                     .n_documents = (int64_t)h->n_documents,
                                     .vocab = (int64_t)h->vocab,
                                     .tokenizer_hash = h->tokenizer_hash,
                                     .content_hash = h->content_hash };
    s->narrow = h->id_bytes == 2 ? (const uint16_t *)body : NULL;
    s->wide = h->id_bytes == 4 ? (const int32_t *)body : NULL;
    s->starts = (const uint64_t *)(body + padded(h->n_tokens * h->id_bytes));
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
        HS_TRY_GOTO(st, content_hash(ids, n, s->starts, 1, vocab, &s->info.content_hash), failed);
    if (st == HS_OK) {
        *out = s;
        return HS_OK;
    }
failed:
    hs_token_store_close(s);
    return st;
}

void hs_token_store_close(hs_token_store *s)
{
    if (!s)
        return;
    hs_file_unmap(&s->file);
    free(s->owned);
    free(s->path);
    free(s);
}

// ---- reading

hs_token_store_info hs_token_store_info_of(const hs_token_store *s) { return s->info; }

hs_status hs_token_store_verify(const hs_token_store *s)
{
    const int64_t n = s->info.n_tokens, vocab = s->info.vocab;
    if (s->file.data) {
        const uint64_t hash = XXH3_64bits(s->file.data + sizeof(header), s->file.bytes - sizeof(header));
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

void hs_token_store_document(const hs_token_store *s, int64_t document, int64_t *first, int64_t *end)
{
    *first = (int64_t)s->starts[document];
    *end = (int64_t)s->starts[document + 1];
}
