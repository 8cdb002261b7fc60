// data info and data check: counts, lengths, and whether all of it can be read.
#include "core/base/log.h"
#include "data/report/metrics.h"
#include "recipes/program/data_tools.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// ---- lengths: exact up to EXACT, by powers of two beyond

enum { EXACT = 1 << 16, BARS = 16, WIDTH = 40 };
typedef struct lengths {
    int64_t count[EXACT + 1], beyond[64]; // beyond[k]: from 2^k on
    int64_t n, sum, least, most, padding; // padding: tokens that rows of one fixed length leave empty
    int64_t sentences, labels, parts, random;
    int64_t open; // ids of the current document
} lengths;

static void count_length(lengths *l, int64_t n)
{
    if (n <= EXACT)
        l->count[n]++;
    else
        l->beyond[63 - __builtin_clzll((unsigned long long)n)]++;
    l->least = l->n == 0 || n < l->least ? n : l->least;
    l->most = n > l->most ? n : l->most;
    l->sum += n;
    l->n++;
}

static hs_status on_ids(void *ctx, const int32_t *ids, int64_t n)
{
    (void)ids;
    ((lengths *)ctx)->open += n;
    return HS_OK;
}
static hs_status on_sentence(void *ctx)
{
    ((lengths *)ctx)->sentences++;
    return HS_OK;
}
static hs_status on_document(void *ctx)
{
    lengths *l = ctx;
    count_length(l, l->open);
    l->open = 0;
    return HS_OK;
}

static hs_status count_rows(const data_job *j, lengths *l)
{
    const hs_h5_info *i = &j->info.rows;
    for (int64_t at = 0; at < i->rows; at += i->block) {
        hs_pair_rows r;
        HS_TRY(hs_h5_read(hs_token_file_hdf5(j->file), at, i->rows - at < i->block ? i->rows - at : i->block, &r));
        for (int64_t k = 0; k < r.n; k++) {
            const int64_t tokens = hs_pair_row_tokens(&r, k), parts = hs_pair_row_parts(&r, k);
            count_length(l, tokens);
            l->padding += i->layout == HS_H5_FIXED ? i->length - tokens : 0;
            l->labels += hs_pair_row_labels(&r, k);
            l->parts += parts;
            for (int64_t p = 0; p < parts; p++)
                l->random += r.next[k * r.parts + p];
        }
        hs_pair_rows_free(&r);
    }
    return HS_OK;
}

static hs_status count_all(const data_job *j, bool check, lengths *l)
{
    if (j->info.format == HS_TOKENS_HDF5)
        HS_TRY(count_rows(j, l));
    else
        HS_TRY(hs_token_file_stream(j->file, check, &(hs_token_sink){ l, on_ids, on_sentence, on_document }));
    return HS_OK;
}

// ---- bars

typedef struct bar {
    int64_t from, to, n; // lengths [from, to]
} bar;

static int64_t counted(const lengths *l, int64_t from, int64_t to)
{
    int64_t n = 0;
    for (int64_t i = from; i <= to && i <= EXACT; i++)
        n += l->count[i];
    for (int k = 0; k < 63; k++) // a power of two beyond EXACT begins a bar of its own
        if (from <= ((int64_t)1 << k) && ((int64_t)1 << k) <= to)
            n += l->beyond[k];
    return n;
}

// Equal steps where the longest is at most 64 times the mean, else powers of two.
static int make_bars(const lengths *l, bar out[64])
{
    int n = 0;
    if (l->most <= EXACT && l->most * l->n <= 64 * l->sum) {
        const int64_t step = (l->most - l->least) / BARS + 1;
        for (int64_t from = l->least; from <= l->most; from += step)
            out[n++] = (bar){ from, from + step - 1, counted(l, from, from + step - 1) };
        return n;
    }
    if (l->least == 0)
        out[n++] = (bar){ 0, 0, counted(l, 0, 0) };
    for (int k = 0; k < 62 && ((int64_t)1 << k) <= l->most; k++) {
        const int64_t from = (int64_t)1 << k;
        if (2 * from > l->least)
            out[n++] = (bar){ from, 2 * from - 1, counted(l, from, 2 * from - 1) };
    }
    return n;
}

static void print_bars(const bar *b, int n)
{
    int64_t most = 1;
    for (int i = 0; i < n; i++)
        most = b[i].n > most ? b[i].n : most;
    for (int i = 0; i < n; i++) {
        char range[48];
        snprintf(range, sizeof range, b[i].from == b[i].to ? "%lld" : "%lld-%lld", (long long)b[i].from, (long long)b[i].to);
        printf("  %15s  %10lld  %.*s\n", range, (long long)b[i].n, (int)((b[i].n * WIDTH + most - 1) / most),
               "########################################");
    }
}

static hs_status draw_bars(const data_job *j, const bar *b, int n)
{
    double x[256], y[256];
    int m = 0;
    for (int i = 0; i < n; i++)
        for (int corner = 0; corner < 4; corner++) { // up, along, down
            x[m] = (double)(corner < 2 ? b[i].from : b[i].to + 1);
            y[m++] = corner == 0 || corner == 3 ? 0 : (double)b[i].n;
        }
    const bool rows = j->info.format == HS_TOKENS_HDF5;
    const hs_curve c = { rows ? "rows" : "documents", x, y, m };
    HS_TRY(hs_plot_png(j->o->png, j->path, "tokens", c.label, &c, 1));
    return HS_OK;
}

// ---- what is told

static void print_json(const data_job *j, const lengths *l, const bar *b, int n, bool checked)
{
    const hs_token_file_info *i = &j->info;
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "file", j->path, "format", hs_token_format_names[i->format], "type", i->type,
                  i->format == HS_TOKENS_HDF5 ? "rows" : "documents", (json_int_t)l->n, "tokens", (json_int_t)l->sum, "shortest",
                  (json_int_t)l->least, "longest", (json_int_t)l->most, "mean", hs_line_real((double)l->sum / (double)(l->n ? l->n : 1)));
    if (l->sentences)
        json_object_set_new(o, "sentences", json_integer(l->sentences));
    if (j->vocab)
        json_object_set_new(o, "vocab", json_integer(j->vocab));
    if (i->tokenizer_hash) {
        char hash[20];
        snprintf(hash, sizeof hash, "%016llx", (unsigned long long)i->tokenizer_hash);
        json_object_set_new(o, "tokenizer_hash", json_string(hash));
    }
    if (i->format == HS_TOKENS_HDF5) {
        json_object_set_new(o, "predictions", json_integer(l->labels));
        json_object_set_new(o, "sequences", json_integer(l->parts));
        json_object_set_new(o, "random_next", json_integer(l->random));
        if (i->rows.layout == HS_H5_FIXED) {
            json_object_set_new(o, "length", json_integer(i->rows.length));
            json_object_set_new(o, "max_predictions", json_integer(i->rows.predictions));
        }
    }
    if (checked)
        json_object_set_new(o, "ok", json_true());
    json_t *list = json_array();
    for (int k = 0; k < n; k++)
        json_array_append_new(list, json_pack("[I, I, I]", (json_int_t)b[k].from, (json_int_t)b[k].to, (json_int_t)b[k].n));
    json_object_set_new(o, "lengths", list);
    hs_line_print(o);
}

static void print_text(const data_job *j, const lengths *l)
{
    const hs_token_file_info *i = &j->info;
    const double mean = (double)l->sum / (double)(l->n ? l->n : 1);
    printf("%s: %s, %s\n", j->path, hs_token_format_names[i->format], i->type);
    if (i->format == HS_TOKENS_HDF5) {
        printf("  %lld row%s, %lld tokens in %lld sequence%s, %lld masked; next is random in %.1f %%\n", (long long)l->n, hs_plural(l->n),
               (long long)l->sum, (long long)l->parts, hs_plural(l->parts), (long long)l->labels,
               100.0 * (double)l->random / (double)(l->parts ? l->parts : 1));
        if (i->rows.layout == HS_H5_FIXED)
            printf("  rows of %lld tokens with %lld predictions; %.1f %% padding\n", (long long)i->rows.length,
                   (long long)i->rows.predictions, 100.0 * (double)l->padding / (double)(l->n * i->rows.length));
    } else {
        printf("  %lld token%s in %lld document%s", (long long)l->sum, hs_plural(l->sum), (long long)l->n, hs_plural(l->n));
        if (l->sentences)
            printf(", %lld sentence%s", (long long)l->sentences, hs_plural(l->sentences));
        putchar('\n');
    }
    if (i->tokenizer_hash)
        printf("  vocabulary of %lld, tokenizer %016llx%s\n", (long long)i->vocab, (unsigned long long)i->tokenizer_hash,
               j->tokenizer ? " as given" : "");
    else
        printf("  the file tells no vocabulary%s\n", j->vocab ? "; every id is below the one given" : "");
    printf("  tokens of a %s: %lld to %lld, %.1f on average\n", i->format == HS_TOKENS_HDF5 ? "row" : "document", (long long)l->least,
           (long long)l->most, mean);
}

static hs_status tell(const data_job *j, lengths *l, bool check)
{
    bar b[64];
    HS_TRY(count_all(j, check, l));
    const int n = make_bars(l, b);
    if (j->o->common.json) {
        print_json(j, l, b, n, check);
    } else {
        print_text(j, l);
        if (!check)
            print_bars(b, n);
        else
            printf("  all of it is as it should be\n");
    }
    if (j->o->png[0])
        HS_TRY(draw_bars(j, b, n));
    return HS_OK;
}

static hs_status info_or_check(const data_job *j, bool check)
{
    lengths *l = calloc(1, sizeof *l);
    if (!l)
        return HS_FAIL(MEMORY, "no memory for a histogram");
    const hs_status st = tell(j, l, check);
    free(l);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_data_info(const data_job *j) { return info_or_check(j, false); }
hs_status hs_data_check(const data_job *j) { return info_or_check(j, true); }
