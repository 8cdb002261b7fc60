// embed: a vector for each line of a text.
#include "core/base/clock.h"
#include "core/base/log.h"
#include "infer/encode/texts.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/program/feed_texts.h"
#include "recipes/program/vectors.h"
#include "recipes/train/progress.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { POOLING_AUTO }; // of the option; hs_pooling from there on
typedef struct embed_options {
    hs_common common;
    hs_string input, output;
    int pooling, format;
    bool normalize;
    int64_t max_length;
} embed_options;

typedef struct embed {
    const embed_options *o;
    hs_sentence how;
    hs_vectors *out;
    float *vector; // [width]
} embed;

// What the options say goes before what the folder says; a pooling of one's own is another recipe than the folder's, and nothing is left of
// that but the length.
static hs_status settle(const hs_cli *cli, embed *e)
{
    const embed_options *o = e->o;
    HS_TRY(hs_sentence_read(cli->arg[0], &e->how));
    if (o->pooling != POOLING_AUTO)
        e->how.pooling = (hs_pooling)(o->pooling - 1), e->how.normalize = false;
    else if (!e->how.pooling_known)
        return HS_FAIL(UNSUPPORTED,
                       "%s asks for a pooling by %s, which is not supported; --pooling " HS_POOLING_WORDS " chooses another one",
                       cli->arg[0], e->how.pooling_asked);
    if (hs_cli_given(cli, "normalize"))
        e->how.normalize = o->normalize;
    if (o->max_length)
        e->how.max_length = o->max_length;
    if (o->output[0] && strcmp(o->output, "-") == 0)
        return HS_FAIL(USAGE, "--output is a file; without it vectors go to standard output, as text");
    if (hs_cli_given(cli, "format") && !o->output[0])
        return HS_FAIL(USAGE, "--format is of --output FILE; vectors on standard output are text, with --json JSON");
    return HS_OK;
}

// do_lower_case of sentence-transformers, where the tokenizer does it anyway, asks for nothing.
static hs_status check_case(const embed *e, const hs_session *s)
{
    static const char text[2][28] = { "AN UPPER CASE TEXT", "an upper case text" };
    int32_t *ids[2] = { NULL };
    int64_t n[2];
    if (!e->how.lower_case)
        return HS_OK;
    hs_status st = HS_OK;
    for (int i = 0; i < 2 && st == HS_OK; i++)
        st = hs_tokenizer_encode(s->tokenizer, text[i], strlen(text[i]), &ids[i], &n[i]);
    const bool same = st == HS_OK && n[0] == n[1] && memcmp(ids[0], ids[1], (size_t)n[0] * sizeof *ids[0]) == 0;
    free(ids[0]);
    free(ids[1]);
    HS_TRY(st);
    if (!same)
        return HS_FAIL(UNSUPPORTED, "%s asks for texts in lower case (do_lower_case), and its tokenizer keeps the case", s->dir);
    return HS_OK;
}

// A folder may say more than its model can (max_seq_length); who asks for it should know.
static hs_status check_length(const embed_options *o, const hs_session *s)
{
    const int64_t context = hs_arch_int(s->arch, "model.context");
    if (o->max_length > context)
        return HS_FAIL(USAGE, "--max-length %lld is more than the model's context of %lld tokens", (long long)o->max_length,
                       (long long)context);
    return HS_OK;
}

static hs_status on_text(const hs_text_out *out, void *user)
{
    const embed *e = user;
    HS_TRY(hs_row_reader_vector(out->reader, out->index, e->how.pooling, e->how.normalize, e->vector));
    return hs_vectors_put(e->out, e->vector);
}

static void report(const embed *e, hs_texts_count n, int64_t width, double seconds)
{
    const double rate = seconds > 0 ? (double)n.texts / seconds : 0;
    char texts[32], tokens[32];
    if (n.cut)
        hs_warn("%lld of %lld text%s %s longer than %lld tokens: what is beyond them does not count", (long long)n.cut, (long long)n.texts,
                hs_plural(n.texts), n.cut == 1 ? "is" : "are", (long long)n.max_length);
    if (e->o->output[0] && e->o->common.json)
        hs_line_print(json_pack("{s:s, s:I, s:I, s:I, s:I, s:o}", "output", e->o->output, "texts", (json_int_t)n.texts, "width",
                                (json_int_t)width, "tokens", (json_int_t)n.tokens, "cut", (json_int_t)n.cut, "texts_per_second",
                                hs_line_real(rate)));
    hs_info("%s text%s of %s tokens, %lld numbers each: %.1f texts/s", hs_human_count((double)n.texts, texts, sizeof texts),
            hs_plural(n.texts), hs_human_count((double)n.tokens, tokens, sizeof tokens), (long long)width, rate);
}

static hs_status embed_all(hs_session *s, const hs_policy *policy, embed *e, hs_texts **t)
{
    static const hs_vector_format text[] = { HS_VECTORS_TEXT, HS_VECTORS_JSON };
    const embed_options *o = e->o;
    const hs_arch_shape shape = hs_texts_shape(s, false);
    const int64_t width = hs_arch_int(s->arch, "model.width");
    if (!s->tokenizer)
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", s->tokenizer_error);
    HS_TRY(check_length(o, s));
    HS_TRY(check_case(e, s));
    HS_TRY(hs_session_load(s, policy, &(hs_session_plans){ .eval = &shape }));
    HS_TRY(hs_texts_new(t, &(hs_texts_opts){ .session = s, .max_length = e->how.max_length, .done = on_text, .user = e }));
    e->vector = malloc((size_t)width * sizeof *e->vector);
    if (!e->vector)
        return HS_FAIL(MEMORY, "no memory for a vector of %lld numbers", (long long)width);
    HS_TRY(hs_vectors_open(&e->out, o->output[0] ? o->output : NULL, o->output[0] ? (hs_vector_format)o->format : text[o->common.json],
                           width));
    const double start = hs_now();
    HS_TRY(hs_feed_lines(*t, o->input, e->how.prompt));
    HS_TRY(hs_texts_finish(*t));
    HS_TRY(hs_vectors_commit(e->out));
    report(e, hs_texts_counted(*t), width, hs_now() - start);
    return HS_OK;
}

static hs_status run_embed(const hs_cli *cli)
{
    hs_session s = { 0 };
    hs_policy policy;
    hs_texts *t = NULL;
    embed e = { .o = cli->options };
    if (!e.o->input[0])
        return HS_FAIL(USAGE, "embed needs --input FILE, or - for standard input");
    HS_TRY(settle(cli, &e));
    hs_status st = hs_cli_encoder(cli, e.how.dir, false, &s, &policy);
    if (st == HS_OK)
        st = embed_all(&s, &policy, &e, &t);
    hs_texts_free(t);
    hs_vectors_close(e.out);
    hs_session_close(&s);
    free(e.vector);
    return st;
}

#define AT(field) .offset = offsetof(embed_options, field)
static const hs_key keys[] = {
    { .name = "input", .type = HS_KEY_STRING, AT(input), .value = "", .help = "file of texts, a line each; - is standard input" },
    { .name = "pooling",
      .type = HS_KEY_CHOICE,
      AT(pooling),
      .value = "auto",
      .choices = "auto|" HS_POOLING_WORDS,
      .help = "what becomes of a text's tokens: their mean, the first one, or the largest of each number; auto: what 1_Pooling/config.json "
              "of sentence-transformers beside the model says, else mean" },
    { .name = "normalize",
      .type = HS_KEY_BOOL,
      AT(normalize),
      .value = "false",
      .help = "vectors of length 1; with --pooling auto, where neither this nor --no-normalize is given: what modules.json of "
              "sentence-transformers says" },
    { .name = "max-length",
      .type = HS_KEY_INT,
      AT(max_length),
      .value = "0",
      .min = 0,
      .max = 1e9,
      .unit = "tokens",
      .help = "texts are cut behind so many, special ones included; 0: max_seq_length of sentence-transformers, else model_max_length of "
              "the tokenizer, at most the model's context" },
    { .name = "output", .type = HS_KEY_STRING, AT(output), .value = "", .help = "file for vectors in binary" },
    { .name = "format",
      .type = HS_KEY_CHOICE,
      AT(format),
      .value = "f32",
      .choices = HS_VECTORS_WORDS,
      .help = "of --output: 32-bit numbers one vector behind the other, or the same as an array of NumPy" },
    HS_CHECKPOINT_KEYS(embed_options),
    HS_COMPUTE_KEYS_OF(embed_options, HS_DTYPE_HELP_F32),
    HS_COMMON_KEYS(embed_options),
};
static const hs_schema schema = HS_SCHEMA(keys, embed_options);

const hs_command hs_cmd_embed = {
    .name = "embed",
    .arguments = "CHECKPOINT",
    .summary = "turn texts into vectors, one for each line",
    .examples = "halfstep embed models/all-MiniLM-L6-v2 --input sentences.txt --json\n"
                "halfstep embed runs/bert-mini --input book.txt --pooling cls --normalize --output book.npy --format npy\n"
                "echo 'a short text' | halfstep embed models/all-MiniLM-L6-v2 --input -",
    .notes =
        "A line in, a vector out, in the same order; an empty line is a text without words. The vector of a text does not depend on the\n"
        "others. Texts are read as they come, and may be packed by gzip or zstd.\n"
        "With --json, a line for each text: embedding, in digits that give the same 32-bit numbers again. With --output and --json one\n"
        "line at the end: output, texts, width, tokens, cut, texts_per_second.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_embed,
};
