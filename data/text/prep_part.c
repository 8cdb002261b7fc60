// prep_part: parts in memory and on disk (see data/text/prep_part.h). A part is written without waiting for the disk: after a crash of the
// machine its checksum tells whether it got there, and if not it is encoded again.
#include "data/text/prep_part.h"
#include "core/base/log.h"
#include "data/base/file.h"
#include "data/base/json_util.h"
#include "data/checkpoint/ckpt_io.h"
#include "data/text/store_format.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

// ---- in memory

// Room for n more of `bytes` each.
static bool more(void *array, int64_t *room, int64_t used, int64_t n, size_t bytes)
{
    if (used + n <= *room)
        return true;
    const int64_t want = used + n + *room / 2 + 256;
    void *p = realloc(*(void **)array, (size_t)want * bytes);
    if (!p)
        return false;
    *(void **)array = p, *room = want;
    return true;
}

hs_status hs_prep_reserve(hs_prep *p, int64_t ids, int64_t pieces, int64_t sentences, uint32_t id_bytes, bool sketches)
{
    if (!more(&p->ids, &p->ids_room, p->n_ids, ids, id_bytes) || !more(&p->piece, &p->piece_room, p->n_pieces, pieces, sizeof *p->piece) ||
        !more(&p->sentence, &p->sentence_room, p->n_sentences, sentences, sizeof *p->sentence) ||
        (sketches && !more(&p->sketch, &p->sketch_room, p->n_pieces, pieces, sizeof *p->sketch)))
        return HS_FAIL(MEMORY, "no memory for %lld ids in %lld documents", (long long)(p->n_ids + ids), (long long)(p->n_pieces + pieces));
    return HS_OK;
}

// Items behind those that are there; an array without any may be NULL.
static void copy(void *to, int64_t at, const void *from, int64_t n, size_t bytes)
{
    if (n)
        memcpy((char *)to + (size_t)at * bytes, from, (size_t)n * bytes);
}

hs_status hs_prep_append(hs_prep *p, const hs_prep *m, uint32_t id_bytes, bool sketches)
{
    HS_TRY(hs_prep_reserve(p, m->n_ids, m->n_pieces, m->n_sentences, id_bytes, sketches));
    copy(p->ids, p->n_ids, m->ids, m->n_ids, id_bytes);
    copy(p->piece, p->n_pieces, m->piece, m->n_pieces, sizeof *m->piece);
    copy(p->sentence, p->n_sentences, m->sentence, m->n_sentences, sizeof *m->sentence);
    if (sketches)
        copy(p->sketch, p->n_pieces, m->sketch, m->n_pieces, sizeof *m->sketch);
    p->n_ids += m->n_ids, p->n_pieces += m->n_pieces, p->n_sentences += m->n_sentences;
    p->text_bytes += m->text_bytes, p->replaced += m->replaced;
    return HS_OK;
}

void hs_prep_clear(hs_prep *p) { p->n_ids = p->n_pieces = p->n_sentences = p->text_bytes = p->replaced = 0; }

void hs_prep_free(hs_prep *p)
{
    free(p->ids);
    free(p->piece);
    free(p->sentence);
    free(p->sketch);
    *p = (hs_prep){ 0 };
}

// ---- on disk

typedef struct part_header {
    char magic[8];
    uint64_t settings, number;
    uint32_t id_bytes, flags;
    int64_t n_ids, n_pieces, n_sentences, text_bytes, replaced, raw_bytes;
    int64_t input, offset, line, inside;
    uint64_t body_hash, head_hash; // of what follows; of what stands before it
} part_header;
_Static_assert(sizeof(part_header) == 128, "no padding, so that every byte is known");
static const char magic[8] = "HSPART01";
enum { LAST = 1, SKETCHES = 2 };

static void part_path(const hs_prep_dir *d, int64_t number, char *buf, size_t size)
{
    snprintf(buf, size, "%s/part-%08lld", d->path, (long long)number);
}

static uint64_t head_hash(const part_header *h) { return XXH3_64bits(h, offsetof(part_header, head_hash)); }

typedef struct body {
    const void *data;
    size_t bytes; // each padded to 8
} body;

static void bodies(const hs_prep *p, const part_header *h, body out[4])
{
    out[0] = (body){ p->ids, (size_t)h->n_ids * h->id_bytes };
    out[1] = (body){ p->piece, (size_t)h->n_pieces * sizeof *p->piece };
    out[2] = (body){ p->sentence, (size_t)h->n_sentences * sizeof *p->sentence };
    out[3] = (body){ p->sketch, h->flags & SKETCHES ? (size_t)h->n_pieces * sizeof *p->sketch : 0 };
}

static hs_status write_part(hs_file_out *o, part_header *h, const hs_prep *p)
{
    static const char zeros[8];
    body b[4];
    bodies(p, h, b);
    XXH3_state_t *hash = XXH3_createState();
    if (!hash)
        return HS_FAIL(MEMORY, "no memory for a checksum");
    XXH3_64bits_reset(hash);
    for (int i = 0; i < 4; i++) {
        XXH3_64bits_update(hash, b[i].data, b[i].bytes);
        XXH3_64bits_update(hash, zeros, hs_store_padded(b[i].bytes) - b[i].bytes);
    }
    h->body_hash = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    h->head_hash = head_hash(h);
    HS_TRY(hs_file_write(o, h, sizeof *h));
    for (int i = 0; i < 4; i++) {
        HS_TRY(hs_file_write(o, b[i].data, b[i].bytes));
        HS_TRY(hs_file_write(o, zeros, hs_store_padded(b[i].bytes) - b[i].bytes));
    }
    return HS_OK;
}

hs_status hs_prep_part_write(const hs_prep_dir *d, int64_t number, const hs_prep *p, const hs_text_at *after, int64_t raw_bytes, bool last)
{
    part_header h = { .settings = d->settings,
                      .number = (uint64_t)number,
                      .id_bytes = d->id_bytes,
                      .flags = (last ? LAST : 0) | (d->sketches ? SKETCHES : 0),
                      .n_ids = p->n_ids,
                      .n_pieces = p->n_pieces,
                      .n_sentences = p->n_sentences,
                      .text_bytes = p->text_bytes,
                      .replaced = p->replaced,
                      .raw_bytes = raw_bytes,
                      .input = after->input,
                      .offset = after->offset,
                      .line = after->line,
                      .inside = after->inside | after->list << 1 };
    memcpy(h.magic, magic, sizeof magic);
    char path[4160];
    part_path(d, number, path, sizeof path);
    hs_file_out o;
    HS_TRY(hs_file_create(&o, path));
    const hs_status st = write_part(&o, &h, p);
    if (st != HS_OK) {
        hs_file_discard(&o);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    HS_TRY(hs_file_commit_unsynced(&o));
    return HS_OK;
}

static bool is_sound(const hs_prep_dir *d, int64_t number, const hs_file *f, bool verify)
{
    const part_header *h = (const part_header *)f->data;
    if (f->bytes < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0 || h->head_hash != head_hash(h) || h->settings != d->settings ||
        h->number != (uint64_t)number || h->id_bytes != d->id_bytes)
        return false;
    body b[4];
    size_t want = sizeof *h;
    const int64_t count[] = { h->n_ids, h->n_pieces, h->n_sentences };
    for (int i = 0; i < HS_COUNT(count); i++)
        if (count[i] < 0 || (size_t)count[i] > f->bytes) // a product with it could wrap
            return false;
    bodies(&(hs_prep){ 0 }, h, b);
    for (int i = 0; i < 4; i++)
        want += hs_store_padded(b[i].bytes);
    return want == f->bytes && (!verify || XXH3_64bits(f->data + sizeof *h, f->bytes - sizeof *h) == h->body_hash);
}

static void bind(hs_prep_part *part)
{
    const part_header *h = (const part_header *)part->file.data;
    char *p = (char *)part->file.data + sizeof *h;
    body b[4];
    char *at[4];
    bodies(&(hs_prep){ 0 }, h, b);
    for (int i = 0; i < 4; p += hs_store_padded(b[i].bytes), i++)
        at[i] = p;
    part->p = (hs_prep){ .ids = (unsigned char *)at[0],
                         .piece = (hs_prep_piece *)at[1],
                         .sentence = (uint32_t *)at[2],
                         .sketch = h->flags & SKETCHES ? (hs_sketch *)at[3] : NULL,
                         .n_ids = h->n_ids,
                         .n_pieces = h->n_pieces,
                         .n_sentences = h->n_sentences,
                         .text_bytes = h->text_bytes,
                         .replaced = h->replaced };
    part->after = (hs_text_at){ h->input, h->offset, h->line, h->inside & 1, h->inside & 2 };
    part->raw_bytes = h->raw_bytes;
    part->last = h->flags & LAST;
}

bool hs_prep_part_open(const hs_prep_dir *d, int64_t number, hs_prep_part *part, bool verify)
{
    *part = (hs_prep_part){ 0 };
    char path[4160];
    part_path(d, number, path, sizeof path);
    if (access(path, F_OK) != 0)
        return false;
    if (hs_file_map(&part->file, path) == HS_OK && is_sound(d, number, &part->file, verify)) {
        bind(part);
        return true;
    }
    hs_warn("%s is damaged, or not of this text; its text is encoded again", path);
    hs_file_unmap(&part->file);
    return false;
}

void hs_prep_part_close(hs_prep_part *part) { hs_file_unmap(&part->file); }

// ---- the folder

// A name may hold line feeds; one line is one input all the same.
static void add_path(hs_text *t, const hs_text_inputs *inputs, int i) { hs_text_string(t, inputs->input[i].path); }

static void manifest_text(hs_text *t, const hs_prepare_opts *o, const hs_text_inputs *inputs)
{
    hs_text_add(t, "halfstep prepare, parts 2\n");
    hs_text_add(t,
                "tokenizer %016llx of %lld tokens, documents %d, format %d, field %s, sentences %d, utf8 %d, bad records %d, sketches %d\n",
                (unsigned long long)hs_tokenizer_hash(o->tokenizer), (long long)hs_tokenizer_vocab(o->tokenizer), o->read.documents,
                o->read.format, o->read.field ? o->read.field : "(found)", o->sentences, o->rules.bad_utf8, o->rules.bad_records,
                o->dedup >= HS_DEDUP_NEAR);
    for (int i = 0; i < inputs->n; i++) {
        hs_text_add(t, "%lld bytes, %lld ns, ", (long long)inputs->input[i].bytes, (long long)inputs->input[i].mtime_ns);
        add_path(t, inputs, i);
        hs_text_add(t, "\n");
    }
}

static size_t line_bytes(const char *s) { return strcspn(s, "\n"); }

// The first line in which what was begun and what is asked for differ.
static hs_status differs(const hs_prep_dir *d, const char *had, const char *want, const hs_text_inputs *inputs)
{
    int line = 0;
    while (*had && *want && line_bytes(had) == line_bytes(want) && memcmp(had, want, line_bytes(had)) == 0) {
        had += line_bytes(had) + (had[line_bytes(had)] != 0);
        want += line_bytes(want) + (want[line_bytes(want)] != 0);
        line++;
    }
    const int n_had = (int)line_bytes(had), n_want = (int)line_bytes(want);
    if (line < 2)
        return HS_FAIL(USAGE, "%s was begun with other settings (%.*s; now %.*s); --overwrite begins anew", d->path, n_had, had, n_want,
                       want);
    hs_text path = { 0 };
    if (line - 2 < inputs->n)
        add_path(&path, inputs, line - 2);
    const bool same = path.p && n_had > (int)path.n && memcmp(had + n_had - path.n, path.p, path.n) == 0;
    hs_text_free(&path);
    if (same)
        return HS_FAIL(USAGE, "%s changed since %s was begun (%.*s; now %.*s); --overwrite begins anew", inputs->input[line - 2].path,
                       d->path, n_had, had, n_want, want);
    return HS_FAIL(USAGE, "%s was begun with other inputs (%.*s where now stands %.*s); --overwrite begins anew", d->path,
                   n_had ? n_had : 9, n_had ? had : "(nothing)", n_want ? n_want : 9, n_want ? want : "(nothing)");
}

static hs_status lock_folder(hs_prep_dir *d)
{
    d->lock = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->lock < 0)
        return HS_FAIL(SYSTEM, "cannot open %s: %s", d->path, strerror(errno));
    if (flock(d->lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return HS_FAIL(USAGE, "another process is preparing %s", d->path);
    return HS_OK; // a file system without locks does all the same
}

static bool reads_stdin(const hs_text_inputs *inputs)
{
    for (int i = 0; i < inputs->n; i++)
        if (inputs->input[i].bytes < 0)
            return true;
    return false;
}

// "manifest", "part-00000012", and what a kill left of either.
static bool is_ours(const char *name)
{
    return strcmp(name, "manifest") == 0 || strncmp(name, "manifest.tmp-", 13) == 0 ||
           (strncmp(name, "part-", 5) == 0 && strspn(name + 5, "0123456789") >= 8);
}

// Someone else's files stay, and the folder with them.
static bool remove_ours(const char *folder)
{
    DIR *dir = opendir(folder);
    bool ok = dir != NULL;
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (is_ours(e->d_name))
            ok = unlinkat(dirfd(dir), e->d_name, 0) == 0 && ok;
    if (dir)
        closedir(dir);
    return ok;
}

static hs_status begin_anew(hs_prep_dir *d, const char *path, const hs_text *text)
{
    if (!remove_ours(d->path))
        return HS_FAIL(SYSTEM, "cannot empty %s: %s", d->path, strerror(errno));
    HS_TRY(hs_file_save(path, text->p, text->n));
    return HS_OK;
}

static hs_status settle(hs_prep_dir *d, const hs_prepare_opts *o, const hs_text_inputs *inputs, const hs_text *text)
{
    char path[4160], *had;
    size_t bytes;
    snprintf(path, sizeof path, "%s/manifest", d->path);
    HS_TRY(hs_make_dirs(&hs_io_system, d->path));
    HS_TRY(lock_folder(d));
    if (o->overwrite || !hs_is_file(path))
        return begin_anew(d, path, text);
    HS_TRY(hs_file_read(path, &had, &bytes));
    hs_status st = bytes == text->n && memcmp(had, text->p, bytes) == 0 ? HS_OK : differs(d, had, text->p, inputs);
    free(had);
    if (st == HS_OK && reads_stdin(inputs)) // what a pipe held is gone, so nothing of it can be gone on with
        st = begin_anew(d, path, text);
    return st;
}

hs_status hs_prep_dir_open(hs_prep_dir *d, const hs_prepare_opts *o, const hs_text_inputs *inputs)
{
    hs_text text = { 0 };
    *d =
        (hs_prep_dir){ .lock = -1, .id_bytes = hs_store_id_bytes(hs_tokenizer_vocab(o->tokenizer)), .sketches = o->dedup >= HS_DEDUP_NEAR };
    HS_TRY(hs_path_join(d->path, "%s.parts", o->output));
    manifest_text(&text, o, inputs);
    hs_status st = text.failed ? HS_FAIL(MEMORY, "no memory for the names of %d files", inputs->n) : HS_OK;
    if (st == HS_OK) {
        d->settings = XXH3_64bits(text.p, text.n);
        st = settle(d, o, inputs, &text);
    }
    hs_text_free(&text);
    if (st != HS_OK)
        hs_prep_dir_close(d, false);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

void hs_prep_dir_close(hs_prep_dir *d, bool remove)
{
    if (remove && (!remove_ours(d->path) || rmdir(d->path) != 0))
        hs_warn("cannot remove %s: %s", d->path, strerror(errno));
    if (d->lock >= 0)
        close(d->lock);
    d->lock = -1;
}
