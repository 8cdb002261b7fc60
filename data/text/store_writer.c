// store_writer: ids go straight to the file, starts to unnamed ones, which are put behind them at the end.
#include "data/text/store_writer.h"
#include "data/base/file.h"
#include "data/text/store_format.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

// Starts, in a file that has no name: a crash leaves nothing.
typedef struct spill {
    FILE *f;
    uint64_t n, last;
} spill;

struct hs_store_writer {
    hs_file_out out;
    XXH3_state_t *hash;
    hs_store_header header;
    spill documents, sentences;
};

static hs_status cannot_write(const hs_store_writer *w)
{
    return HS_FAIL(SYSTEM, "cannot write %s: %s", w->out.path ? w->out.path : "a token store", strerror(errno));
}

static hs_status put(hs_store_writer *w, const void *data, size_t bytes)
{
    XXH3_64bits_update(w->hash, data, bytes);
    HS_TRY(hs_file_write(&w->out, data, bytes));
    return HS_OK;
}

static hs_status open_spill(const hs_store_writer *w, spill *s)
{
    char *name = NULL;
    if (asprintf(&name, "%s-XXXXXX", w->out.temporary) < 0)
        return HS_FAIL(MEMORY, "no memory for a file name");
    const int fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    free(name);
    if (fd < 0 || !(s->f = fdopen(fd, "w+b")))
        return cannot_write(w);
    return HS_OK;
}

static hs_status add_start(const hs_store_writer *w, spill *s, uint64_t start)
{
    s->n++, s->last = start;
    return fwrite(&start, sizeof start, 1, s->f) == 1 ? HS_OK : cannot_write(w);
}

static hs_status start(hs_store_writer *w, const char *path, bool sentences)
{
    w->hash = XXH3_createState();
    if (!w->hash)
        return HS_FAIL(MEMORY, "no memory for a checksum");
    XXH3_64bits_reset(w->hash);
    HS_TRY(hs_file_create(&w->out, path));
    HS_TRY(hs_file_write(&w->out, &w->header, sizeof w->header)); // its place; written again when its numbers are known
    HS_TRY(open_spill(w, &w->documents));
    HS_TRY(add_start(w, &w->documents, 0));
    if (!sentences)
        return HS_OK;
    HS_TRY(open_spill(w, &w->sentences));
    HS_TRY(add_start(w, &w->sentences, 0));
    return HS_OK;
}

hs_status hs_store_writer_open(hs_store_writer **out, const char *path, int64_t vocab, uint64_t tokenizer_hash, bool sentences)
{
    *out = NULL;
    if (vocab < 1 || vocab > INT32_MAX)
        return HS_FAIL(USAGE, "%s: vocabulary of %lld, allowed 1 to %d", path, (long long)vocab, INT32_MAX);
    hs_store_writer *w = calloc(1, sizeof *w);
    if (!w)
        return HS_FAIL(MEMORY, "%s: no memory to write it", path);
    w->header = (hs_store_header){ .id_bytes = hs_store_id_bytes(vocab),
                                   .flags = sentences ? HS_STORE_SENTENCES : 0,
                                   .vocab = (uint64_t)vocab,
                                   .tokenizer_hash = tokenizer_hash };
    memcpy(w->header.magic, HS_STORE_MAGIC, sizeof w->header.magic);
    const hs_status st = start(w, path, sentences);
    if (st != HS_OK) {
        hs_store_writer_discard(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = w;
    return HS_OK;
}

static hs_status check_ids(const hs_store_writer *w, const int32_t *ids, int64_t n)
{
    const uint64_t vocab = w->header.vocab;
    bool good = true;
    for (int64_t i = 0; i < n; i++)
        good &= (uint32_t)ids[i] < vocab;
    for (int64_t i = 0; i < n && !good; i++)
        if ((uint32_t)ids[i] >= vocab)
            return HS_FAIL(USAGE, "%s: id %d at token %llu is outside the vocabulary of %llu", w->out.path, ids[i],
                           (unsigned long long)w->header.n_tokens + (unsigned long long)i, (unsigned long long)vocab);
    return HS_OK;
}

hs_status hs_store_writer_ids(hs_store_writer *w, const int32_t *ids, int64_t n)
{
    HS_TRY(check_ids(w, ids, n));
    if (w->header.id_bytes == 4) {
        HS_TRY(put(w, ids, (size_t)n * 4));
    } else {
        uint16_t block[4096];
        for (int64_t i = 0; i < n; i += HS_COUNT(block)) {
            const int64_t m = n - i < HS_COUNT(block) ? n - i : HS_COUNT(block);
            for (int64_t k = 0; k < m; k++)
                block[k] = (uint16_t)ids[i + k];
            HS_TRY(put(w, block, (size_t)m * 2));
        }
    }
    w->header.n_tokens += (uint64_t)n;
    return HS_OK;
}

hs_status hs_store_writer_sentence(hs_store_writer *w)
{
    if (w->sentences.f && w->header.n_tokens > w->sentences.last)
        HS_TRY(add_start(w, &w->sentences, w->header.n_tokens));
    return HS_OK;
}

hs_status hs_store_writer_document(hs_store_writer *w)
{
    HS_TRY(hs_store_writer_sentence(w));
    return add_start(w, &w->documents, w->header.n_tokens);
}

int64_t hs_store_writer_tokens(const hs_store_writer *w) { return (int64_t)w->header.n_tokens; }
int64_t hs_store_writer_documents(const hs_store_writer *w) { return (int64_t)w->documents.n - 1; }
int64_t hs_store_writer_sentences(const hs_store_writer *w) { return w->sentences.f ? (int64_t)w->sentences.n - 1 : 0; }

static hs_status put_spill(hs_store_writer *w, spill *s)
{
    uint64_t block[4096];
    if (!s->f)
        return HS_OK;
    if (fflush(s->f) != 0 || fseeko(s->f, 0, SEEK_SET) != 0)
        return cannot_write(w);
    for (uint64_t left = s->n; left > 0;) {
        const size_t n = fread(block, sizeof *block, left < 4096 ? left : 4096, s->f);
        if (n == 0)
            return cannot_write(w);
        HS_TRY(put(w, block, n * sizeof *block));
        left -= n;
    }
    return HS_OK;
}

static hs_status finish(hs_store_writer *w)
{
    hs_store_header *h = &w->header;
    if (h->n_tokens == 0)
        return HS_FAIL(USAGE, "%s: 0 tokens; a token store has at least 1", w->out.path);
    if (w->documents.last < h->n_tokens)
        HS_TRY(hs_store_writer_document(w));
    const size_t bytes = h->n_tokens * h->id_bytes;
    HS_TRY(put(w, "\0\0\0\0\0\0\0", hs_store_padded(bytes) - bytes));
    HS_TRY(put_spill(w, &w->documents));
    HS_TRY(put_spill(w, &w->sentences));
    h->n_documents = w->documents.n - 1;
    h->n_sentences = w->sentences.f ? w->sentences.n - 1 : 0;
    h->content_hash = XXH3_64bits_digest(w->hash);
    if (fseeko(w->out.f, 0, SEEK_SET) != 0)
        return cannot_write(w);
    HS_TRY(hs_file_write(&w->out, h, sizeof *h));
    return HS_OK;
}

hs_status hs_store_writer_commit(hs_store_writer *w)
{
    hs_status st = finish(w);
    if (st == HS_OK)
        st = hs_file_commit(&w->out);
    hs_store_writer_discard(w);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_store_writer_discard(hs_store_writer *w)
{
    if (!w)
        return;
    hs_file_discard(&w->out);
    if (w->documents.f)
        fclose(w->documents.f);
    if (w->sentences.f)
        fclose(w->sentences.f);
    XXH3_freeState(w->hash);
    free(w);
}
