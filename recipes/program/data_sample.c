// data sample: some documents or rows, as ids and as text.
#include "core/base/log.h"
#include "recipes/program/data_tools.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// ---- documents

typedef struct sampler {
    const data_job *j;
    int32_t *ids; // [kept] the first ones of the document
    int64_t document, n, kept;
} sampler;

static hs_status on_ids(void *ctx, const int32_t *ids, int64_t n)
{
    sampler *s = ctx;
    int32_t *larger = realloc(s->ids, (size_t)(s->kept + n) * sizeof *larger);
    if (!larger)
        return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)(s->kept + n));
    s->ids = larger;
    memcpy(s->ids + s->kept, ids, (size_t)n * sizeof *ids);
    s->kept += n;
    return HS_OK;
}

static json_t *id_list(const int32_t *ids, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

// A text of which bytes that are no UTF-8 (a character cut by the last token) were replaced.
static hs_status text_of(const hs_tokenizer *t, const int32_t *ids, int64_t n, json_t **out)
{
    char *text;
    size_t bytes;
    HS_TRY(hs_tokenizer_decode(t, ids, n, &text, &bytes));
    *out = hs_line_text(text, bytes);
    free(text);
    return HS_OK;
}

static hs_status show_document(const sampler *s)
{
    const hs_tokenizer *t = s->j->tokenizer;
    json_t *text = NULL;
    if (t)
        HS_TRY(text_of(t, s->ids, s->kept, &text));
    if (s->j->o->common.json) {
        json_t *line = json_pack("{s:I, s:o, s:o}", "document", (json_int_t)s->document, "tokens",
                                 s->n == HS_TOKENS_MORE ? json_null() : json_integer(s->n), "ids", id_list(s->ids, s->kept));
        if (text)
            json_object_set(line, "text", text);
        hs_line_print(line);
    } else {
        if (s->n == HS_TOKENS_MORE)
            printf("document %lld: more than %lld token%s\n", (long long)s->document, (long long)s->kept, hs_plural(s->kept));
        else
            printf("document %lld: %lld token%s\n", (long long)s->document, (long long)s->n, hs_plural(s->n));
        if (text)
            fwrite(json_string_value(text), 1, json_string_length(text), stdout);
        for (int64_t i = 0; !text && i < s->kept; i++)
            printf("%s%d", i ? " " : "", s->ids[i]);
        if (s->n == HS_TOKENS_MORE)
            printf("\n... and more; no document begins in the next million tokens\n\n");
        else
            printf(s->n > s->kept ? "\n... and %lld token%s more\n\n" : "\n\n", (long long)(s->n - s->kept), hs_plural(s->n - s->kept));
    }
    json_decref(text);
    return HS_OK;
}

// Only what is shown is read: a file of gigabytes takes no longer than one of kilobytes. So a document whose end is far away is the last.
static hs_status sample_documents(const data_job *j)
{
    sampler s = { .j = j, .document = j->o->first };
    const hs_token_sink to = { .ctx = &s, .ids = on_ids };
    hs_token_cursor c = { 0 };
    hs_status st = HS_OK;
    for (int64_t i = 0; i < j->o->count && st == HS_OK; i++, s.document++, s.kept = 0) {
        st = hs_token_file_document(j->file, &c, s.document, j->o->tokens, &to, &s.n);
        if (st != HS_OK || s.n == HS_TOKENS_NONE)
            break;
        st = show_document(&s);
        if (s.n == HS_TOKENS_MORE)
            i = j->o->count;
    }
    free(s.ids);
    if (st != HS_OK)
        return hs_frame_at(st, __FILE__, __LINE__);
    return s.document > j->o->first ? HS_OK
                                    : HS_FAIL(USAGE, "%s has %lld document%s, none from %lld on", j->path, (long long)c.document,
                                              hs_plural(c.document), (long long)j->o->first);
}

// ---- rows

static void put_name(const data_job *j, int32_t id)
{
    char name[4096];
    if (j->tokenizer && id < hs_tokenizer_vocab(j->tokenizer))
        fwrite(name, 1, hs_tokenizer_name(j->tokenizer, id, name, sizeof name), stdout);
    else
        printf("%d", id);
}

static json_t *name_of(const data_job *j, int32_t id)
{
    char name[4096];
    return j->tokenizer && id < hs_tokenizer_vocab(j->tokenizer)
               ? hs_line_text(name, hs_tokenizer_name(j->tokenizer, id, name, sizeof name))
               : json_null();
}

// Tokens as they are fed; behind a masked one what it stands for: "[MASK]{dog}".
static void print_row(const data_job *j, const hs_pair_rows *r, int64_t number)
{
    const int64_t n = hs_pair_row_tokens(r, 0), shown = n < j->o->tokens ? n : j->o->tokens;
    int64_t k = 0, part = 0, end = r->part_tokens[0];
    printf("row %lld: %lld tokens, %lld masked, next %s\n", (long long)number, (long long)n, (long long)hs_pair_row_labels(r, 0),
           r->next[0] ? "random" : "follows");
    for (int64_t i = 0; i < shown; i++) {
        const bool masked = k < hs_pair_row_labels(r, 0) && r->positions[k] == i;
        if (i == end) {
            part++;
            printf("\n  sequence %lld, next %s\n", (long long)part + 1, r->next[part] ? "random" : "follows");
            end += r->part_tokens[part];
        } else if (i) {
            putchar(' ');
        }
        put_name(j, r->ids[i]);
        if (masked) {
            putchar('{');
            put_name(j, r->labels[k++]);
            putchar('}');
        }
    }
    printf(n > shown ? "\n... and %lld token%s more\n\n" : "\n\n", (long long)(n - shown), hs_plural(n - shown));
}

static void print_row_json(const data_job *j, const hs_pair_rows *r, int64_t number)
{
    const int64_t n = hs_pair_row_tokens(r, 0), labels = hs_pair_row_labels(r, 0), parts = hs_pair_row_parts(r, 0);
    json_t *tokens = json_array(), *segments = json_array(), *masked = json_array(), *sequences = json_array();
    for (int64_t i = 0; i < n; i++) {
        if (j->tokenizer)
            json_array_append_new(tokens, name_of(j, r->ids[i]));
        json_array_append_new(segments, json_integer(r->segments[i]));
    }
    for (int64_t k = 0; k < labels; k++)
        json_array_append_new(
            masked, json_pack("{s:i, s:i, s:o}", "position", r->positions[k], "id", r->labels[k], "token", name_of(j, r->labels[k])));
    for (int64_t p = 0; p < parts; p++)
        json_array_append_new(sequences, json_pack("{s:i, s:i, s:i}", "tokens", r->part_tokens[p], "masked", r->part_labels[p],
                                                   "next_sentence_label", r->next[p]));
    json_t *line = json_pack("{s:I, s:I, s:o, s:o, s:o, s:o}", "row", (json_int_t)number, "tokens", (json_int_t)n, "ids",
                             id_list(r->ids, n), "segments", segments, "masked", masked, "sequences", sequences);
    if (j->tokenizer)
        json_object_set(line, "names", tokens);
    json_decref(tokens);
    hs_line_print(line);
}

static hs_status sample_rows(const data_job *j)
{
    const int64_t rows = j->info.rows.rows, first = j->o->first;
    if (first >= rows)
        return HS_FAIL(USAGE, "%s has %lld row%s, none from %lld on", j->path, (long long)rows, hs_plural(rows), (long long)first);
    for (int64_t i = first; i < rows && i - first < j->o->count; i++) {
        hs_pair_rows r;
        HS_TRY(hs_h5_read(hs_token_file_hdf5(j->file), i, 1, &r));
        (j->o->common.json ? print_row_json : print_row)(j, &r, i);
        hs_pair_rows_free(&r);
    }
    return HS_OK;
}

hs_status hs_data_sample(const data_job *j)
{
    HS_TRY(j->info.format == HS_TOKENS_HDF5 ? sample_rows(j) : sample_documents(j));
    return HS_OK;
}
