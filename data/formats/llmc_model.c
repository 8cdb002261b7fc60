// llmc_model: see the header.
#include "data/formats/llmc_model.h"
#include "data/base/file.h"
#include <stdlib.h>
#include <string.h>

enum { HEADER = 1024, MAGIC = 20240326 };

static const struct {
    int32_t version;
    hs_dtype dtype;
    bool padded;
} versions[] = { { 1, HS_F32, false }, { 3, HS_F32, true }, { 5, HS_BF16, true } };

bool hs_llmc_model_is(const char *path)
{
    int32_t magic = 0;
    return hs_file_head(path, &magic, sizeof magic) == sizeof magic && magic == MAGIC;
}

static hs_status read_header(hs_llmc_model *m)
{
    int32_t head[HEADER / 4] = { 0 };
    if (m->file.bytes < HEADER)
        return HS_FAIL(CORRUPT, "%s: %zu bytes, its header alone has %d: truncated", m->path, m->file.bytes, HEADER);
    memcpy(head, m->file.data, sizeof head);
    if (head[0] != MAGIC)
        return HS_FAIL(CORRUPT, "%s is no checkpoint of llm.c (magic %d, known is %d)", m->path, head[0], MAGIC);
    int v = 0;
    while (v < HS_COUNT(versions) && versions[v].version != head[1])
        v++;
    if (v == HS_COUNT(versions))
        return HS_FAIL(UNSUPPORTED, "%s: version %d, known are 1, 3 and 5", m->path, head[1]);
    for (int i = 0; i < HS_LLMC_SIZES; i++) {
        m->size[i] = head[2 + i];
        if (head[2 + i] < 1)
            return HS_FAIL(CORRUPT, "%s: number %d of its header is %d", m->path, 2 + i, head[2 + i]);
    }
    m->dtype = versions[v].dtype;
    m->vocab_rows = versions[v].padded ? head[7] : m->size[1];
    if (m->vocab_rows < m->size[1])
        return HS_FAIL(CORRUPT, "%s: %lld rows for a vocabulary of %lld", m->path, (long long)m->vocab_rows, (long long)m->size[1]);
    m->data = (const char *)m->file.data + HEADER;
    m->bytes = m->file.bytes - HEADER;
    return HS_OK;
}

hs_status hs_llmc_model_open(hs_llmc_model **out, const char *path)
{
    hs_llmc_model *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m || !(m->path = strdup(path))) {
        free(m);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    hs_status st = hs_file_map(&m->file, path);
    if (st == HS_OK)
        st = read_header(m);
    if (st != HS_OK) {
        hs_llmc_model_close(m);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = m;
    return HS_OK;
}

void hs_llmc_model_close(hs_llmc_model *m)
{
    if (!m)
        return;
    hs_file_unmap(&m->file);
    free(m->path);
    free(m);
}
