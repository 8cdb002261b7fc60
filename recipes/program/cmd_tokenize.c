// tokenize: what a tokenizer makes of a text, line by line.
#include "recipes/program/commands.h"
#include "recipes/program/plain_text.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenize_options {
    hs_common common;
    hs_string tokenizer;
    bool ids, special, offsets, google;
} tokenize_options;

static void print_text(const tokenize_options *o, const hs_tokenizer *t, const hs_row *r)
{
    char name[4096];
    for (int64_t i = 0; i < r->n; i++) {
        if (i)
            putchar(' ');
        if (o->ids)
            printf("%d", r->id[i]);
        else
            fwrite(name, 1, hs_tokenizer_name(t, r->id[i], name, sizeof name), stdout);
        if (o->offsets)
            printf("@%lld-%lld", (long long)r->chars[i].start, (long long)r->chars[i].end);
    }
    putchar('\n');
}

static json_t *pair(hs_span s) { return json_pack("[I, I]", (json_int_t)s.start, (json_int_t)s.end); }

static void print_json(const tokenize_options *o, const hs_tokenizer *t, const hs_row *r)
{
    char name[4096];
    json_t *ids = json_array(), *tokens = json_array(), *words = json_array(), *chars = json_array(), *bytes = json_array();
    for (int64_t i = 0; i < r->n; i++) {
        const size_t n = hs_tokenizer_name(t, r->id[i], name, sizeof name);
        json_array_append_new(ids, json_integer(r->id[i]));
        json_array_append_new(tokens, hs_line_text(name, n));
        json_array_append_new(words, r->word[i] < 0 ? json_null() : json_integer(r->word[i]));
        json_array_append_new(chars, pair(r->chars[i]));
        json_array_append_new(bytes, pair(r->bytes[i]));
    }
    json_t *line = json_pack("{s:o, s:o}", "ids", ids, "tokens", tokens);
    if (o->offsets) {
        json_object_set(line, "offsets", chars);
        json_object_set(line, "byte_offsets", bytes);
        json_object_set(line, "words", words);
    }
    json_decref(chars);
    json_decref(bytes);
    json_decref(words);
    hs_line_print(line);
}

static hs_status one_line(const tokenize_options *o, const hs_tokenizer *t, const char *line, size_t bytes)
{
    if (o->ids && !o->special && !o->offsets && !o->common.json) { // the fast way
        int32_t *ids;
        int64_t n;
        HS_TRY(hs_tokenizer_encode(t, line, bytes, &ids, &n));
        print_text(o, t, &(hs_row){ .n = n, .id = ids });
        free(ids);
        return HS_OK;
    }
    hs_rows rows;
    HS_TRY(hs_tokenizer_rows(t, line, bytes, NULL, 0, &(hs_row_opts){ .no_special = !o->special }, &rows));
    if (o->common.json)
        print_json(o, t, rows.row);
    else
        print_text(o, t, rows.row);
    hs_rows_free(&rows);
    return HS_OK;
}

static hs_status all_lines(const tokenize_options *o, const hs_tokenizer *t, const char *file, const char *text, size_t bytes)
{
    int64_t number = 1;
    for (const char *p = text, *end = text + bytes; p < end; number++) {
        const char *feed = memchr(p, '\n', (size_t)(end - p)), *stop = feed ? feed : end;
        if (one_line(o, t, p, (size_t)(stop - p)) != HS_OK) {
            char why[512];
            snprintf(why, sizeof why, "%s", hs_error());
            return HS_FAIL(USAGE, "%s:%lld: %s", file, (long long)number, why);
        }
        p = feed ? feed + 1 : end;
    }
    return HS_OK;
}

static hs_status run_tokenize(const hs_cli *cli)
{
    const tokenize_options *o = cli->options;
    hs_tokenizer *t;
    hs_plain_text text;
    if (!o->tokenizer[0])
        return HS_FAIL(USAGE, "tokenize needs --tokenizer DIR");
    HS_TRY(o->google ? hs_tokenizer_load_google(&t, o->tokenizer) : hs_tokenizer_load(&t, o->tokenizer));
    hs_status st = hs_plain_text_open(&text, cli->arg[0]);
    if (st == HS_OK) {
        st = all_lines(o, t, cli->arg[0], text.data, text.bytes);
        hs_plain_text_close(&text);
    }
    hs_tokenizer_free(t);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

#define FLAG(field, key, fallback, text)                                                                                                   \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_BOOL, .offset = offsetof(tokenize_options, field), .value = fallback, .help = text                     \
    }
static const hs_key keys[] = {
    { .name = "tokenizer",
      .type = HS_KEY_STRING,
      .offset = offsetof(tokenize_options, tokenizer),
      .value = "",
      .help = "folder with tokenizer.json, vocab.txt, or vocab.json and merges.txt" },
    FLAG(ids, "ids", "false", "print ids instead of tokens"),
    FLAG(special, "special", "true", "with the special tokens of the tokenizer's template ([CLS], [SEP]); --no-special: without"),
    FLAG(offsets, "offsets", "false", "behind each token @START-END, in characters of the line"),
    FLAG(google, "google", "false", "WordPiece by Google's rules instead of Hugging Face's"),
    HS_COMMON_KEYS(tokenize_options),
};
static const hs_schema schema = HS_SCHEMA(keys, tokenize_options);

const hs_command hs_cmd_tokenize = {
    .name = "tokenize",
    .arguments = "FILE",
    .summary = "show what a tokenizer makes of a text, one line per line",
    .examples = "halfstep tokenize --tokenizer models/bert-base-uncased book.txt\n"
                "halfstep tokenize --tokenizer models/gpt2 --ids --no-special book.txt\n"
                "echo 'Hello world' | halfstep tokenize --tokenizer models/gpt2 --offsets -",
    .notes = "Bytes that cannot be seen are printed as GPT-2 shows them (a space as \xC4\xA0, a line feed as \xC4\x8A).\n"
             "With --json: ids and tokens, with --offsets also offsets (in characters), byte_offsets and words.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_tokenize,
};
