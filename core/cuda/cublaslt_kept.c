// cublaslt_kept: lines of hexadecimal bytes behind one that says for what.
#include "core/cuda/cublaslt_kept.h"
#include "core/base/grow.h"
#include "core/base/kept_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct entry {
    hs_lt_line line;
    bool stays; // whatever the file says
} entry;

struct hs_lt_kept {
    entry *entry;
    int n, cap;
    size_t most_workspace;
    hs_kept_file file;
    char head[256], where[];
};

static entry *find(const hs_lt_kept *k, const hs_lt_product *key)
{
    for (int i = 0; i < k->n; i++)
        if (!memcmp(&k->entry[i].line.key, key, sizeof *key))
            return &k->entry[i];
    return NULL;
}

static bool keep(hs_lt_kept *k, const hs_lt_line *line, bool stays)
{
    entry *e = find(k, &line->key);
    if (e && e->stays)
        return true;
    if (!e && !hs_grow(&k->entry, k->n, &k->cap, sizeof *k->entry))
        return false;
    e = e ? e : &k->entry[k->n++];
    memcpy(&e->line, line, sizeof *line);
    e->stays = stays;
    return true;
}

static bool read_line(FILE *f, void *user)
{
    hs_lt_kept *k = user;
    hs_lt_line line;
    unsigned char byte[sizeof line];
    char text[2 * sizeof line + 2];
    unsigned v;
    if (!fgets(text, sizeof text, f) || strlen(text) != 2 * sizeof line + 1)
        return false;
    for (size_t i = 0; i < sizeof byte; i++) {
        if (sscanf(text + 2 * i, "%2x", &v) != 1)
            return false;
        byte[i] = (unsigned char)v;
    }
    memcpy(&line, byte, sizeof line);
    return line.workspace > k->most_workspace || keep(k, &line, false);
}

static bool write_line(FILE *f, const void *user, int i)
{
    const hs_lt_kept *k = user;
    const unsigned char *from = (const unsigned char *)&k->entry[i].line;
    bool ok = true;
    for (size_t b = 0; b < sizeof k->entry[i].line && ok; b++)
        ok = fprintf(f, "%02x", from[b]) == 2;
    return ok && fputc('\n', f) != EOF;
}

hs_status hs_lt_kept_new(hs_lt_kept **out, const char *where, const char *gpu, size_t version, size_t most_workspace)
{
    hs_lt_kept *k = *out = calloc(1, sizeof *k + strlen(where) + 1);
    if (!k)
        return HS_FAIL(MEMORY, "no memory for what cuBLASLt was timed for");
    strcpy(k->where, where);
    snprintf(k->head, sizeof k->head, "halfstep-cublaslt 1 %zu %zu %s\n", version, sizeof(hs_lt_line), gpu);
    k->most_workspace = most_workspace;
    k->file = (hs_kept_file){ "cuBLASLt", k->where, k->head, read_line, write_line, k };
    return HS_OK;
}

void hs_lt_kept_free(hs_lt_kept *k)
{
    if (k)
        free(k->entry);
    free(k);
}

const hs_lt_line *hs_lt_kept_of(hs_lt_kept *k, const hs_lt_product *key)
{
    if (!find(k, key))
        hs_kept_read(&k->file);
    const entry *e = find(k, key);
    return e ? &e->line : NULL;
}

void hs_lt_kept_add(hs_lt_kept *k, const hs_lt_line *line, bool anew)
{
    if (keep(k, line, anew))
        hs_kept_write(&k->file, &k->n);
}
