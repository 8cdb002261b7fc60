// llmc: see the header.
#include "data/formats/llmc.h"
#include "data/base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 1024 };
static const struct kind {
    int32_t magic, version;
    int id_bytes;
} kinds[] = { { 20240520, 1, 2 }, { 20240801, 7, 4 } };

struct hs_llmc {
    char *path;
    hs_file file;
    int id_bytes;
    int64_t n_tokens;
};

static const struct kind *kind_of(int32_t m)
{
    for (int i = 0; i < HS_COUNT(kinds); i++)
        if (kinds[i].magic == m)
            return &kinds[i];
    return NULL;
}

bool hs_llmc_is(const char *path)
{
    int32_t m = 0;
    return hs_file_head(path, &m, sizeof m) == sizeof m && kind_of(m);
}

static hs_status check_header(hs_llmc *m)
{
    int32_t head[3] = { 0 };
    memcpy(head, m->file.data, m->file.bytes < sizeof head ? m->file.bytes : sizeof head);
    const struct kind *k = kind_of(head[0]);
    if (!k)
        return HS_FAIL(CORRUPT, "%s is no token file of llm.c (magic %d, known are %d and %d)", m->path, head[0], kinds[0].magic,
                       kinds[1].magic);
    if (head[1] != k->version)
        return HS_FAIL(UNSUPPORTED, "%s: version %d, known for magic %d is %d", m->path, head[1], k->magic, k->version);
    const int64_t want = HEADER + (int64_t)head[2] * k->id_bytes;
    if (head[2] < 1 || (int64_t)m->file.bytes != want)
        return HS_FAIL(CORRUPT, "%s: %zu bytes, its header promises %d tokens, %lld bytes%s", m->path, m->file.bytes, head[2],
                       (long long)want, (int64_t)m->file.bytes < want ? ": truncated" : "");
    m->id_bytes = k->id_bytes, m->n_tokens = head[2];
    return HS_OK;
}

hs_status hs_llmc_open(hs_llmc **out, const char *path)
{
    *out = NULL;
    hs_llmc *m = calloc(1, sizeof *m);
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    hs_status st = hs_file_map(&m->file, path);
    if (st == HS_OK)
        st = check_header(m);
    if (st != HS_OK) {
        hs_llmc_close(m);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = m;
    return HS_OK;
}

void hs_llmc_close(hs_llmc *m)
{
    if (!m)
        return;
    hs_file_unmap(&m->file);
    free(m->path);
    free(m);
}

int64_t hs_llmc_tokens(const hs_llmc *m) { return m->n_tokens; }
int hs_llmc_id_bytes(const hs_llmc *m) { return m->id_bytes; }

hs_status hs_llmc_read(const hs_llmc *m, int64_t from, int64_t n, int64_t vocab, int32_t *out)
{
    const int64_t limit = vocab > 0 ? vocab : (int64_t)INT32_MAX + 1;
    const uint16_t *narrow = (const uint16_t *)(m->file.data + HEADER) + from;
    const uint32_t *wide = (const uint32_t *)(m->file.data + HEADER) + from;
    for (int64_t i = 0; i < n; i++) {
        const int64_t id = m->id_bytes == 2 ? narrow[i] : wide[i];
        if (id >= limit)
            return HS_FAIL(CORRUPT, "%s: token %lld: id %lld is outside the vocabulary of %lld", m->path, (long long)(from + i),
                           (long long)id, (long long)limit);
        out[i] = (int32_t)id;
    }
    return HS_OK;
}

// ---- writing: the header, which counts the tokens, is written again at the end

struct hs_llmc_out {
    hs_file_out file;
    const struct kind *kind;
    int64_t vocab, n;
};

static hs_status put_header(hs_llmc_out *w)
{
    int32_t header[HEADER / 4] = { w->kind->magic, w->kind->version, (int32_t)w->n };
    return hs_file_write(&w->file, header, sizeof header);
}

hs_status hs_llmc_create(hs_llmc_out **out, const char *path, int64_t vocab)
{
    *out = NULL;
    if (vocab < 1 || vocab > INT32_MAX)
        return HS_FAIL(USAGE, "%s: a vocabulary of %lld, allowed 1 to %d", path, (long long)vocab, INT32_MAX);
    hs_llmc_out *w = calloc(1, sizeof *w);
    if (!w)
        return HS_FAIL(MEMORY, "%s: no memory to write it", path);
    w->kind = &kinds[vocab > 65536], w->vocab = vocab;
    hs_status st = hs_file_create(&w->file, path);
    if (st == HS_OK)
        st = put_header(w);
    if (st != HS_OK) {
        hs_llmc_discard(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = w;
    return HS_OK;
}

hs_status hs_llmc_ids(hs_llmc_out *w, const int32_t *ids, int64_t n)
{
    uint16_t block[4096];
    if (w->n > INT32_MAX - n)
        return HS_FAIL(USAGE, "%s: more than 2^31 - 1 tokens, which the format cannot count", w->file.path);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= w->vocab)
            return HS_FAIL(USAGE, "%s: token %lld: id %d is outside the vocabulary of %lld", w->file.path, (long long)(w->n + i), ids[i],
                           (long long)w->vocab);
    w->n += n;
    if (w->kind->id_bytes == 4)
        return hs_file_write(&w->file, ids, (size_t)n * 4);
    for (int64_t at = 0; at < n; at += HS_COUNT(block)) {
        const int64_t m = n - at < HS_COUNT(block) ? n - at : HS_COUNT(block);
        for (int64_t i = 0; i < m; i++)
            block[i] = (uint16_t)ids[at + i];
        HS_TRY(hs_file_write(&w->file, block, (size_t)m * 2));
    }
    return HS_OK;
}

static hs_status finish(hs_llmc_out *w)
{
    if (w->n == 0)
        return HS_FAIL(USAGE, "%s: no tokens to write", w->file.path);
    if (fseek(w->file.f, 0, SEEK_SET) != 0)
        return HS_FAIL(SYSTEM, "cannot write %s: %s", w->file.path, strerror(errno));
    HS_TRY(put_header(w));
    HS_TRY(hs_file_commit(&w->file));
    return HS_OK;
}

hs_status hs_llmc_commit(hs_llmc_out *w)
{
    const hs_status st = finish(w);
    hs_llmc_discard(w);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_llmc_discard(hs_llmc_out *w)
{
    if (!w)
        return;
    hs_file_discard(&w->file);
    free(w);
}
