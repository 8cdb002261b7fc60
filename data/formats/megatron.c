// megatron: the index is trusted for nothing before it was checked; then reading is plain indexing.
#include "data/formats/megatron.h"
#include "data/base/file.h"
#include <stdlib.h>
#include <string.h>

enum { HEADER = 34, MAGIC = 9 };
static const char magic[MAGIC] = "MMIDIDX\0"; // and the string's own zero

static const struct id_type {
    const char *name;
    int bytes; // 0: not ids
} types[] = { { NULL, 0 },    { "uint8", 1 },   { "int8", 1 },    { "int16", 2 }, { "int32", 4 },
              { "int64", 8 }, { "float64", 0 }, { "float32", 0 }, { "uint16", 2 } };
enum { CODE_I32 = 4, CODE_U16 = 8 };

struct hs_megatron {
    char *path[2]; // .idx, .bin
    hs_file idx, bin;
    hs_megatron_info info;
    int code;
    const char *lengths, *pointers, *boundaries; // unaligned: the header has 34 bytes
};

static int64_t i64_at(const char *p, int64_t i)
{
    int64_t v;
    memcpy(&v, p + 8 * i, 8);
    return v;
}
static int32_t i32_at(const char *p, int64_t i)
{
    int32_t v;
    memcpy(&v, p + 4 * i, 4);
    return v;
}

// ---- names

static size_t prefix_bytes(const char *path)
{
    const size_t n = strlen(path);
    return n > 4 && (strcmp(path + n - 4, ".idx") == 0 || strcmp(path + n - 4, ".bin") == 0) ? n - 4 : n;
}

char *hs_megatron_path(const char *path, const char *end)
{
    const size_t n = prefix_bytes(path);
    char *p = malloc(n + strlen(end) + 1);
    if (p) {
        memcpy(p, path, n);
        strcpy(p + n, end);
    }
    return p;
}

bool hs_megatron_is(const char *path)
{
    char head[MAGIC], *idx = hs_megatron_path(path, ".idx");
    const bool is = idx && hs_file_head(idx, head, MAGIC) == MAGIC && memcmp(head, magic, MAGIC) == 0;
    free(idx);
    return is;
}

// ---- opening

static hs_status check_header(hs_megatron *m)
{
    const char *p = m->idx.data, *path = m->path[0];
    const size_t bytes = m->idx.bytes;
    if (bytes < HEADER || memcmp(p, magic, MAGIC) != 0)
        return HS_FAIL(CORRUPT, "%s is no index of Megatron's (it does not begin with MMIDIDX)", path);
    if (i64_at(p + 9, 0) != 1)
        return HS_FAIL(UNSUPPORTED, "%s: version %lld, known is 1", path, (long long)i64_at(p + 9, 0));
    m->code = (unsigned char)p[17];
    if (m->code >= HS_COUNT(types) || types[m->code].bytes == 0)
        return HS_FAIL(CORRUPT, "%s: type code %d%s%s, allowed 1 to 5 and 8", path, m->code, m->code == 6 || m->code == 7 ? ", " : "",
                       m->code == 6 || m->code == 7 ? types[m->code].name : "");
    const int64_t sequences = i64_at(p + 18, 0), boundaries = i64_at(p + 26, 0);
    const int64_t room = (int64_t)bytes - HEADER;
    if (sequences < 0 || boundaries < 1 || sequences > room / 12 || boundaries > room / 8)
        return HS_FAIL(CORRUPT, "%s: %lld sequences and %lld document boundaries do not fit %zu bytes", path, (long long)sequences,
                       (long long)boundaries, bytes);
    const int64_t want = 12 * sequences + 8 * boundaries;
    m->info.modes = room == want + sequences && sequences > 0;
    if (room != want && !m->info.modes)
        return HS_FAIL(CORRUPT, "%s: %zu bytes, its header promises %lld%s", path, bytes, (long long)(want + HEADER),
                       room < want ? ": truncated" : "");
    m->lengths = p + HEADER, m->pointers = m->lengths + 4 * sequences, m->boundaries = m->pointers + 8 * sequences;
    m->info.n_sequences = sequences, m->info.n_documents = boundaries - 1;
    m->info.id_bytes = types[m->code].bytes, m->info.type = types[m->code].name;
    return HS_OK;
}

static hs_status check_pointers(hs_megatron *m)
{
    int64_t end = 0;
    const int64_t bytes = (int64_t)m->bin.bytes, item = m->info.id_bytes;
    for (int64_t i = 0; i < m->info.n_sequences; i++) {
        const int64_t at = i64_at(m->pointers, i), n = i32_at(m->lengths, i);
        if (n < 0)
            return HS_FAIL(CORRUPT, "%s: sequence %lld has %lld tokens", m->path[0], (long long)i, (long long)n);
        if (at < end)
            return HS_FAIL(CORRUPT, "%s: sequence %lld begins at byte %lld, inside what ends at %lld", m->path[0], (long long)i,
                           (long long)at, (long long)end);
        if (at > bytes || n * item > bytes - at)
            return HS_FAIL(CORRUPT, "%s: %lld bytes, but sequence %lld of %s ends at %lld%s", m->path[1], (long long)bytes, (long long)i,
                           m->path[0], (long long)(at > bytes ? at : at + n * item), ": truncated");
        end = at + n * item;
        m->info.n_tokens += n;
    }
    return HS_OK;
}

static hs_status check_boundaries(const hs_megatron *m)
{
    int64_t before = 0;
    for (int64_t d = 0; d <= m->info.n_documents; d++) {
        const int64_t at = i64_at(m->boundaries, d);
        if (at < before || at > m->info.n_sequences || (d == 0 && at != 0))
            return HS_FAIL(CORRUPT, "%s: document boundary %lld is %lld, allowed %lld to %lld", m->path[0], (long long)d, (long long)at,
                           (long long)before, (long long)(d ? m->info.n_sequences : 0));
        before = at;
    }
    if (before != m->info.n_sequences)
        return HS_FAIL(CORRUPT, "%s: documents end at sequence %lld of %lld", m->path[0], (long long)before,
                       (long long)m->info.n_sequences);
    return HS_OK;
}

hs_status hs_megatron_open(hs_megatron **out, const char *path)
{
    *out = NULL;
    hs_megatron *m = calloc(1, sizeof *m);
    if (m)
        m->path[0] = hs_megatron_path(path, ".idx"), m->path[1] = hs_megatron_path(path, ".bin");
    if (!m || !m->path[0] || !m->path[1]) {
        hs_megatron_close(m);
        return HS_FAIL(MEMORY, "%s: no memory to open it", path);
    }
    hs_status st;
    HS_TRY_GOTO(st, hs_file_map(&m->idx, m->path[0]), failed);
    HS_TRY_GOTO(st, check_header(m), failed);
    HS_TRY_GOTO(st, hs_file_map(&m->bin, m->path[1]), failed);
    HS_TRY_GOTO(st, check_pointers(m), failed);
    HS_TRY_GOTO(st, check_boundaries(m), failed);
    *out = m;
    return HS_OK;
failed:
    hs_megatron_close(m);
    return st;
}

void hs_megatron_close(hs_megatron *m)
{
    if (!m)
        return;
    hs_file_unmap(&m->idx);
    hs_file_unmap(&m->bin);
    free(m->path[0]);
    free(m->path[1]);
    free(m);
}

// ---- reading

hs_megatron_info hs_megatron_info_of(const hs_megatron *m) { return m->info; }
int64_t hs_megatron_length(const hs_megatron *m, int64_t sequence) { return i32_at(m->lengths, sequence); }
void hs_megatron_document(const hs_megatron *m, int64_t document, int64_t *first, int64_t *end)
{
    *first = i64_at(m->boundaries, document);
    *end = i64_at(m->boundaries, document + 1);
}

static int64_t id_at(const hs_megatron *m, const char *p, int64_t i)
{
    uint16_t u2;
    int16_t i2;
    switch (m->code) {
    case 1:
        return (uint8_t)p[i];
    case 2:
        return (int8_t)p[i];
    case 3:
        memcpy(&i2, p + 2 * i, 2);
        return i2;
    case CODE_I32:
        return i32_at(p, i);
    case CODE_U16:
        memcpy(&u2, p + 2 * i, 2);
        return u2;
    default:
        return i64_at(p, i);
    }
}

hs_status hs_megatron_read(const hs_megatron *m, int64_t sequence, int64_t from, int64_t n, int64_t vocab, int32_t *out)
{
    const char *p = m->bin.data + i64_at(m->pointers, sequence) + from * m->info.id_bytes;
    const int64_t limit = vocab > 0 ? vocab : (int64_t)INT32_MAX + 1;
    for (int64_t i = 0; i < n; i++) {
        const int64_t id = id_at(m, p, i);
        if (id < 0 || id >= limit)
            return HS_FAIL(CORRUPT, "%s: sequence %lld, token %lld: id %lld is outside the vocabulary of %lld", m->path[1],
                           (long long)sequence, (long long)(from + i), (long long)id, (long long)limit);
        out[i] = (int32_t)id;
    }
    return HS_OK;
}

// ---- writing

typedef struct list {
    int64_t n, room;
    char *v;
} list;

struct hs_megatron_out {
    hs_file_out bin;
    char *path[2];
    int64_t vocab, open, bytes; // open: ids of the current sequence
    bool narrow;
    list lengths, pointers, boundaries;
};

static hs_status push(hs_megatron_out *w, list *l, const void *item, size_t bytes)
{
    if (l->n == l->room) {
        const int64_t room = l->room ? 2 * l->room : 1024;
        char *v = realloc(l->v, (size_t)room * bytes);
        if (!v)
            return HS_FAIL(MEMORY, "%s: no memory for its index", w->path[0]);
        l->v = v, l->room = room;
    }
    memcpy(l->v + (size_t)l->n++ * bytes, item, bytes);
    return HS_OK;
}

hs_status hs_megatron_create(hs_megatron_out **out, const char *prefix, int64_t vocab)
{
    *out = NULL;
    hs_megatron_out *w = calloc(1, sizeof *w);
    if (w)
        w->path[0] = hs_megatron_path(prefix, ".idx"), w->path[1] = hs_megatron_path(prefix, ".bin");
    if (!w || !w->path[0] || !w->path[1]) {
        hs_megatron_discard(w);
        return HS_FAIL(MEMORY, "%s: no memory to write it", prefix);
    }
    w->vocab = vocab, w->narrow = vocab < 65500;
    hs_status st = HS_OK;
    if (vocab < 1 || vocab > INT32_MAX)
        st = HS_FAIL(USAGE, "%s: a vocabulary of %lld, allowed 1 to %d", prefix, (long long)vocab, INT32_MAX);
    else
        st = hs_file_create(&w->bin, w->path[1]);
    if (st == HS_OK)
        st = push(w, &w->boundaries, &(int64_t){ 0 }, 8);
    if (st != HS_OK) {
        hs_megatron_discard(w);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    *out = w;
    return HS_OK;
}

hs_status hs_megatron_ids(hs_megatron_out *w, const int32_t *ids, int64_t n)
{
    uint16_t block[4096];
    if (w->open > INT32_MAX - n)
        return HS_FAIL(USAGE, "%s: sequence %lld is longer than 2^31 - 1 tokens, which the format cannot hold", w->path[0],
                       (long long)w->lengths.n);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= w->vocab)
            return HS_FAIL(USAGE, "%s: sequence %lld: id %d is outside the vocabulary of %lld", w->path[1], (long long)w->lengths.n, ids[i],
                           (long long)w->vocab);
    for (int64_t at = 0; w->narrow && at < n; at += HS_COUNT(block)) {
        const int64_t m = n - at < HS_COUNT(block) ? n - at : HS_COUNT(block);
        for (int64_t i = 0; i < m; i++)
            block[i] = (uint16_t)ids[at + i];
        HS_TRY(hs_file_write(&w->bin, block, (size_t)m * 2));
    }
    if (!w->narrow)
        HS_TRY(hs_file_write(&w->bin, ids, (size_t)n * 4));
    w->open += n;
    return HS_OK;
}

hs_status hs_megatron_end_sequence(hs_megatron_out *w)
{
    if (w->open == 0)
        return HS_OK;
    HS_TRY(push(w, &w->lengths, &(int32_t){ (int32_t)w->open }, 4));
    HS_TRY(push(w, &w->pointers, &w->bytes, 8));
    w->bytes += w->open * (w->narrow ? 2 : 4);
    w->open = 0;
    return HS_OK;
}

hs_status hs_megatron_end_document(hs_megatron_out *w)
{
    HS_TRY(hs_megatron_end_sequence(w));
    HS_TRY(push(w, &w->boundaries, &w->lengths.n, 8));
    return HS_OK;
}

static hs_status write_index(hs_megatron_out *w, hs_file_out *o)
{
    char header[HEADER] = { 0 };
    memcpy(header, magic, MAGIC);
    header[9] = 1; // version, little-endian
    header[17] = (char)(w->narrow ? CODE_U16 : CODE_I32);
    memcpy(header + 18, &w->lengths.n, 8);
    memcpy(header + 26, &w->boundaries.n, 8);
    HS_TRY(hs_file_write(o, header, HEADER));
    HS_TRY(hs_file_write(o, w->lengths.v, 4 * (size_t)w->lengths.n));
    HS_TRY(hs_file_write(o, w->pointers.v, 8 * (size_t)w->pointers.n));
    HS_TRY(hs_file_write(o, w->boundaries.v, 8 * (size_t)w->boundaries.n));
    return HS_OK;
}

static hs_status finish(hs_megatron_out *w)
{
    hs_file_out idx;
    if (w->open > 0)
        HS_TRY(hs_megatron_end_document(w));
    if (w->lengths.n == 0)
        return HS_FAIL(USAGE, "%s: no tokens to write", w->path[1]);
    HS_TRY(hs_file_commit(&w->bin));
    HS_TRY(hs_file_create(&idx, w->path[0]));
    const hs_status st = write_index(w, &idx);
    if (st != HS_OK) {
        hs_file_discard(&idx);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_file_commit(&idx));
    return HS_OK;
}

hs_status hs_megatron_commit(hs_megatron_out *w)
{
    const hs_status st = finish(w);
    hs_megatron_discard(w);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_megatron_discard(hs_megatron_out *w)
{
    if (!w)
        return;
    hs_file_discard(&w->bin);
    free(w->lengths.v);
    free(w->pointers.v);
    free(w->boundaries.v);
    free(w->path[0]);
    free(w->path[1]);
    free(w);
}
