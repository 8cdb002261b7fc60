// prepare: texts to token stores.
#include "core/base/log.h"
#include "core/cpu/cpu.h"
#include "data/text/prepare.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include "recipes/program/text_keys.h"
#include "recipes/train/progress.h"
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct prepare_options {
    hs_common common;
    hs_text_options text;
    hs_string tokenizer, output;
    int documents, sentences, dedup;
    bool eot, overwrite;
    hs_reals split;
    int64_t part_size;
} prepare_options;

enum { SENTENCES_AUTO }; // then those of hs_sentences, in their order
#define END_OF_TEXT "<|endoftext|>"

// ---- what it is doing

typedef struct shown {
    const hs_common *common;
    int64_t total; // bytes of the inputs; 0: not known
    bool terminal, open;
    double last_line;
} shown;

static void show(const hs_prepare_progress *p, void *user)
{
    enum { LINE_EVERY = 30 }; // seconds, where lines stay
    shown *s = user;
    char left[32] = "-", text[160];
    const double done = s->total > 0 ? (double)p->raw_bytes / (double)s->total : 0;
    if (s->common->quiet || s->common->json || s->common->log_level < HS_LOG_INFO)
        return;
    if (s->terminal && s->open)
        fputs("\r\033[K", stderr);
    s->open = false;
    if (p->merging) {
        if (s->terminal)
            fputs("writing the store", stderr), s->open = true;
        return;
    }
    if (!s->terminal && p->seconds - s->last_line < LINE_EVERY)
        return;
    s->last_line = p->seconds;
    if (s->total > 0)
        hs_human_time(p->seconds * (1 - done) / (done > 0 ? done : 1), left, sizeof left);
    snprintf(text, sizeof text, "%5.1f %%  %.0f MB  %.1f MB/s  left %s", 100 * done, (double)p->text_bytes / 1e6,
             (double)p->text_bytes / 1e6 / fmax(p->seconds, 1e-9), left);
    fprintf(stderr, s->terminal ? "%s" : "%s\n", text);
    s->open = s->terminal;
}

static void close_line(shown *s)
{
    if (s->open)
        fputs("\r\033[K", stderr);
    s->open = false;
}

// ---- what came of it

static double rate(const hs_prepare_result *r)
{
    const double seconds = r->encode_seconds + r->merge_seconds;
    return (double)r->encoded_bytes / 1e6 / fmax(seconds, 1e-9);
}

static int64_t total_tokens(const hs_prepare_result *r)
{
    int64_t n = 0;
    for (int i = 0; i < r->n_outputs; i++)
        n += r->output[i].tokens;
    return n;
}

static json_t *places(const hs_bad_count *c, const hs_text_inputs *inputs)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < c->left_out + c->mended && i < HS_TEXT_PLACES; i++) {
        const char *path = inputs->input[c->place[i].input].path;
        json_array_append_new(list, json_pack("{s:o, s:I, s:s}", "file", hs_line_text(path, strlen(path)), "line",
                                              (json_int_t)c->place[i].line, "fault", hs_record_fault_names[c->place[i].fault]));
    }
    return list;
}

static void print_json(const hs_prepare_result *r, const hs_text_inputs *inputs)
{
    json_t *outputs = json_array();
    for (int i = 0; i < r->n_outputs; i++)
        json_array_append_new(outputs,
                              json_pack("{s:s, s:I, s:I, s:I}", "path", r->output[i].path, "documents", (json_int_t)r->output[i].documents,
                                        "tokens", (json_int_t)r->output[i].tokens, "sentences", (json_int_t)r->output[i].sentences));
    hs_line_print(json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:I, s:I, s:o, s:o}", "documents", (json_int_t)r->documents, "tokens",
        (json_int_t)total_tokens(r), "bytes", (json_int_t)r->text_bytes, "encoded_bytes", (json_int_t)r->encoded_bytes, "empty",
        (json_int_t)r->empty, "duplicates", (json_int_t)r->duplicates, "replaced_bytes", (json_int_t)r->replaced, "parts_found",
        (json_int_t)r->parts_found, "seconds", hs_line_real(r->encode_seconds + r->merge_seconds), "encode_seconds",
        hs_line_real(r->encode_seconds), "megabytes_per_second", hs_line_real(rate(r)), "bad_records", (json_int_t)r->bad.left_out,
        "mended_records", (json_int_t)r->bad.mended, "bad_places", places(&r->bad, inputs), "outputs", outputs));
}

static void print_text(const hs_prepare_result *r)
{
    for (int i = 0; i < r->n_outputs; i++) {
        const hs_prepare_output *o = &r->output[i];
        printf("%s: %lld token%s in %lld document%s", o->path, (long long)o->tokens, hs_plural(o->tokens), (long long)o->documents,
               hs_plural(o->documents));
        if (o->sentences)
            printf(", %lld sentence%s", (long long)o->sentences, hs_plural(o->sentences));
        printf("%s\n", o->tokens ? "" : " (no file)");
    }
    printf("%.1f MB of text in %lld document%s", (double)r->text_bytes / 1e6, (long long)r->documents, hs_plural(r->documents));
    if (r->empty || r->duplicates)
        printf(", of them left out: %lld empty, %lld duplicate%s", (long long)r->empty, (long long)r->duplicates, hs_plural(r->duplicates));
    if (r->replaced)
        printf("; %lld time%s U+FFFD for what is no character", (long long)r->replaced, hs_plural(r->replaced));
    printf("\n%.2f s (%.2f s of it the store), %.1f MB/s", r->encode_seconds + r->merge_seconds, r->merge_seconds, rate(r));
    if (r->parts_found)
        printf("; %.1f MB were encoded before", (double)(r->text_bytes - r->encoded_bytes) / 1e6);
    putchar('\n');
}

// ---- options

static int32_t find_token(const hs_tokenizer *t, const char *text)
{
    size_t bytes;
    for (int32_t id = (int32_t)hs_tokenizer_vocab(t) - 1; id >= 0; id--) {
        const char *piece = hs_tokenizer_piece(t, id, &bytes);
        if (piece && bytes == strlen(text) && memcmp(piece, text, bytes) == 0)
            return id;
    }
    return -1;
}

static hs_status settle_eot(const hs_cli *cli, hs_prepare_opts *p)
{
    const prepare_options *o = cli->options;
    p->eot = o->eot ? hs_tokenizer_eos(p->tokenizer) : -1; // what its files name goes before the usual one
    if (o->eot && p->eot < 0)
        p->eot = find_token(p->tokenizer, END_OF_TEXT);
    if (p->eot < 0 && o->eot && hs_cli_given(cli, "eot"))
        return HS_FAIL(USAGE, "--eot: the tokenizer %s has no token " END_OF_TEXT, o->tokenizer);
    return HS_OK;
}

static hs_status settle_split(const prepare_options *o, hs_prepare_opts *p)
{
    double sum = 0;
    for (int i = 0; i < o->split.n; i++)
        sum += o->split.v[i];
    if (o->split.n < 1 || o->split.n > HS_PREPARE_SPLITS || fabs(sum - 1) > 1e-6)
        return HS_FAIL(USAGE, "--split has %d fractions with a sum of %g; wanted are 2 or 3 (train, val, test) with a sum of 1", o->split.n,
                       sum);
    p->n_splits = o->split.n == 1 ? 0 : o->split.n;
    memcpy(p->split, o->split.v, (size_t)o->split.n * sizeof *p->split);
    return HS_OK;
}

static hs_status prepare(const hs_cli *cli, const hs_tokenizer *t, const hs_text_inputs *inputs)
{
    const prepare_options *o = cli->options;
    shown s = { .common = &o->common, .terminal = isatty(STDERR_FILENO) };
    hs_string stem;
    char bad[1024];
    snprintf(stem, sizeof stem, "%s", o->output);
    const size_t n = strlen(stem);
    if (n > 4 && strcmp(stem + n - 4, ".bin") == 0)
        stem[n - 4] = 0;
    for (int i = 0; i < inputs->n && s.total >= 0; i++)
        s.total = inputs->input[i].bytes < 0 ? -1 : s.total + inputs->input[i].bytes;
    const bool wordpiece = strncmp(hs_tokenizer_kind(t), "wordpiece", 9) == 0;
    hs_prepare_opts p = { .output = stem,
                          .tokenizer = t,
                          .read = { .documents = o->documents },
                          .sentences = o->sentences != SENTENCES_AUTO ? o->sentences - 1
                                       : wordpiece                    ? HS_SENTENCES_RULE
                                                                      : HS_SENTENCES_NONE,
                          .dedup = o->dedup,
                          .threads = o->common.threads ? (int)o->common.threads : hs_cpu_cores(),
                          .part_bytes = o->part_size,
                          .overwrite = o->overwrite,
                          .progress = show,
                          .user = &s };
    HS_TRY(hs_text_options_settle(cli, &o->text, &p.read, &p.rules));
    HS_TRY(settle_eot(cli, &p));
    HS_TRY(settle_split(o, &p));
    hs_prepare_result r;
    const hs_status st = hs_prepare(&p, inputs, &r);
    close_line(&s);
    HS_TRY(st);
    for (int i = 0; i < r.n_outputs; i++)
        if (r.output[i].tokens == 0)
            hs_warn("no document fell into %s: it was not written", r.output[i].path);
    hs_bad_count_text(&r.bad, inputs, bad, sizeof bad);
    if (bad[0])
        hs_warn("%s", bad);
    if (o->common.json)
        print_json(&r, inputs);
    else
        print_text(&r);
    return HS_OK;
}

static hs_status run_prepare(const hs_cli *cli)
{
    const prepare_options *o = cli->options;
    hs_tokenizer *t;
    hs_text_inputs inputs = { 0 };
    hs_process_outlive_output();
    if (!o->tokenizer[0] || !o->output[0])
        return HS_FAIL(USAGE, "prepare needs --tokenizer DIR (or byte) and --output STORE");
    if (o->output[strlen(o->output) - 1] == '/')
        return HS_FAIL(USAGE, "--output %s is a folder; a name for the store is wanted", o->output);
    if (strcmp(o->tokenizer, "char") == 0 && access("char", F_OK) != 0)
        return HS_FAIL(
            USAGE,
            "--tokenizer char: the characters of a text are known when all of it was read; only pretrain does that. byte, or a folder");
    HS_TRY(strcmp(o->tokenizer, "byte") == 0 ? hs_tokenizer_byte(&t) : hs_tokenizer_load(&t, o->tokenizer));
    hs_status st = hs_text_inputs_expand(&inputs, cli->arg, cli->n_args);
    if (st == HS_OK)
        st = prepare(cli, t, &inputs);
    hs_text_inputs_free(&inputs);
    hs_tokenizer_free(t);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

#define AT(field) .offset = offsetof(prepare_options, field)
#define TEXT(key, field, def, ...)                                                                                                         \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_STRING, AT(field), .value = def, __VA_ARGS__                                                           \
    }
#define CHOICE(key, field, def, list, ...)                                                                                                 \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_CHOICE, AT(field), .value = def, .choices = list, __VA_ARGS__                                          \
    }
#define FLAG(key, field, def, ...)                                                                                                         \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_BOOL, AT(field), .value = def, __VA_ARGS__                                                             \
    }
static const hs_key keys[] = {
    TEXT("tokenizer", tokenizer, "", .help = "folder with tokenizer.json, vocab.txt, or vocab.json and merges.txt; or byte"),
    TEXT("output", output, "", .help = "store to write: OUT.bin, or OUT-train.bin, OUT-val.bin (and OUT-test.bin) with --split; also -o"),
    { .name = "split",
      .type = HS_KEY_REALS,
      AT(split),
      .value = "1",
      .min = 0,
      .max = 1,
      .help = "fractions of documents for training, validation (and test); a document's text decides, so that added ones move none" },
    CHOICE("documents", documents, "file", "file|blank-line|line", .help = "what one document is, in inputs that are not JSON"),
    HS_TEXT_KEYS(prepare_options),
    CHOICE("sentences", sentences, "auto", "auto|none|rule|line",
           .help = "boundaries to keep: by punctuation and blank lines, or at every line feed; auto: rule for WordPiece, else none"),
    CHOICE("dedup", dedup, "none", "none|exact|near|group",
           .help = "leave out equal or nearly equal documents; group: keep them all, near-duplicates in one split"),
    FLAG("eot", eot, "true", .help = "append the tokenizer's eos_token, else " END_OF_TEXT ", to each document, where there is one"),
    FLAG("overwrite", overwrite, "false",
         .help = "replace a store that exists, and forget what an interrupted run with other settings left"),
    { .name = "part-size",
      .type = HS_KEY_INT,
      AT(part_size),
      .value = "67108864",
      .min = 1,
      .max = 1e15,
      .unit = "bytes",
      .help = "of text, after which what is done is kept for a restart",
      .advanced = true },
    HS_THREADS_KEY(prepare_options),
    HS_COMMON_KEYS(prepare_options),
};
static const hs_schema schema = HS_SCHEMA(keys, prepare_options);

const hs_command hs_cmd_prepare = {
    .name = "prepare",
    .arguments = "INPUT...",
    .summary = "turn texts into a token store to train on",
    .examples = "halfstep prepare --tokenizer models/gpt2 -o data/books books/\n"
                "halfstep prepare --tokenizer models/gpt2 -o data/web --split 0.99,0.01 --dedup near --field text 'web/*.jsonl.zst'\n"
                "zcat notes.gz | halfstep prepare --tokenizer models/bert -o data/notes --documents blank-line -",
    .notes = "INPUT is a file, a folder with all below it, a quoted pattern, or - for standard input; files packed by gzip or zstd are\n"
             "unpacked, UTF-16 and UTF-32 with a byte order mark are read, what is no text is refused by what it is. JSON is lines of\n"
             "records or a list of them, whatever the name. The same command goes on after an interruption: finished parts wait in "
             "OUT.parts, and the store is the same\n"
             "bytes. pretrain takes the store as data.train, with data.tokenizer naming the folder. With --json: documents, tokens,\n"
             "bytes, empty, duplicates, bad_records, mended_records, bad_places, seconds, megabytes_per_second, outputs.",
    .options = &schema,
    .min_args = 1,
    .max_args = 256,
    .run = run_prepare,
};
