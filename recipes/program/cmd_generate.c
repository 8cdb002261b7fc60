// generate: continues a prompt, streaming text as it comes.
#include "core/base/log.h"
#include "infer/decode/generate.h"
#include "infer/decode/token_text.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/train/evaluate.h"
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

typedef struct generate_options {
    hs_common common;
    double temperature, top_p;
    int64_t top_k, seed, max_tokens;
    bool slide, ignore_end;
    int kv;                       // HS_KV_VALUES or HS_KV_INT8
    hs_string prompt, prompt_ids; // only their rows are used: the values may be of any length
} generate_options;

// ---- ids in, text out
static hs_status parse_ids(const char *text, int32_t **out, int64_t *n)
{
    int32_t *ids = malloc((strlen(text) / 2 + 1) * sizeof *ids);
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for the prompt");
    *n = 0;
    for (const char *p = text; *p;) {
        char *end;
        errno = 0;
        const long long id = strtoll(p, &end, 10);
        if (end == p || errno || id < 0 || id > INT32_MAX || (*end && *end != ',') || (*end == ',' && !end[1])) {
            free(ids);
            return HS_FAIL(USAGE, "--prompt-ids: '%.20s' is not a list of token ids such as 1,2,3", p);
        }
        ids[(*n)++] = (int32_t)id;
        p = *end ? end + 1 : end;
    }
    *out = ids;
    return HS_OK;
}

static hs_status read_prompt(const hs_cli *cli, const hs_session *s, int32_t **ids, int64_t *n)
{
    const char *text = hs_cli_long(cli, "prompt"), *list = hs_cli_long(cli, "prompt-ids");
    if (text && list)
        return HS_FAIL(USAGE, "--prompt and --prompt-ids are two ways to say one thing: give one of them");
    if (list)
        HS_TRY(parse_ids(list, ids, n));
    else if (!text)
        return HS_FAIL(USAGE, "generate needs --prompt TEXT or --prompt-ids 1,2,3");
    else if (!s->tokenizer)
        return HS_FAIL(USAGE, "--prompt needs a tokenizer, --prompt-ids does not: %s", s->tokenizer_error);
    else
        HS_TRY(hs_tokenizer_encode(s->tokenizer, text, strlen(text), ids, n));
    if (*n == 0 && s->begin >= 0 && text) { // a text that begins
        free(*ids);
        *ids = malloc(sizeof **ids);
        if (!*ids)
            return HS_FAIL(MEMORY, "no memory for the prompt");
        (*ids)[(*n)++] = s->begin;
    }
    if (*n == 0)
        return HS_FAIL(USAGE, "the prompt is empty: give at least one token");
    return HS_OK;
}

typedef struct stream {  // of tokens to stdout
    hs_token_text *text; // NULL: there is no tokenizer, ids are shown
    bool quiet;
    hs_model_ends end; // not shown
    hs_status status;  // of writing
} stream;

static hs_status put_token(stream *out, int32_t id)
{
    const char *text = NULL;
    size_t n = 0;
    if (out->quiet)
        return HS_OK;
    for (int i = 0; i < out->end.n; i++)
        if (id == out->end.id[i])
            return HS_OK;
    if (out->text)
        HS_TRY(hs_token_text_put(out->text, id, &text, &n));
    else
        printf("%d ", id);
    fwrite(text ? text : "", 1, n, stdout);
    fflush(stdout);
    return HS_OK;
}

static hs_status put_end(stream *out) // what was held back has no rest
{
    const char *text;
    size_t n;
    if (!out->text)
        return HS_OK;
    HS_TRY(hs_token_text_end(out->text, &text, &n));
    fwrite(text ? text : "", 1, n, stdout);
    return HS_OK;
}

static bool on_token(int prompt, int32_t id, void *user)
{
    (void)prompt;
    stream *out = user;
    out->status = put_token(out, id);
    return out->status == HS_OK;
}

// ---- generation, past the context by going on from its last half
typedef struct result {
    int32_t *ids; // prompt and continuation
    int64_t n_prompt, n;
    hs_stop stop;
    double seconds;
} result;

static hs_status append(result *r, const hs_generated *g)
{
    const int64_t more = g->n - g->n_prompt;
    int32_t *ids = realloc(r->ids, (size_t)(r->n + more) * sizeof *ids);
    if (!ids)
        return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)(r->n + more));
    r->ids = ids;
    memcpy(ids + r->n, g->ids + g->n_prompt, (size_t)more * sizeof *ids);
    r->n += more;
    r->stop = g->stop;
    return HS_OK;
}

static hs_status generate(hs_session *s, const generate_options *o, stream *out, result *r)
{
    const int64_t context = s->context;
    hs_generate_opts g = { .run = s->run,
                           .plan = s->decode,
                           .context = context,
                           .vocab = s->vocab,
                           .cache_rows = s->decode_shape.cache_rows,
                           .page_rows = s->decode_shape.page_rows,
                           .max_tokens = o->max_tokens,
                           .sampling = { .temperature = o->temperature, .top_k = o->top_k, .top_p = o->top_p, .seed = (uint64_t)o->seed },
                           .stop_ids = s->ends.id,
                           .n_stops = o->ignore_end ? 0 : s->ends.n,
                           .drawable = s->drawable,
                           .on_token = on_token,
                           .user = out };
    hs_prompt prompt = { r->ids, r->n };
    for (;;) {
        hs_generated one = { 0 };
        HS_TRY(hs_generate(&g, &prompt, 1, &one));
        const hs_status st = append(r, &one);
        g.max_tokens -= one.n - one.n_prompt;
        hs_generated_free(&one, 1);
        HS_TRY(st);
        if (r->stop != HS_STOP_CONTEXT || !o->slide || context < 2 || g.max_tokens <= 0)
            return HS_OK;
        const int64_t keep = context / 2;
        prompt = (hs_prompt){ r->ids + r->n - keep, keep };
        g.sampling.seed++; // draws are keyed by position, and positions begin again
    }
}

static json_t *id_list(const int32_t *ids, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(list, json_integer(ids[i]));
    return list;
}

static hs_status report(const hs_session *s, const result *r, bool json)
{
    const int64_t n_new = r->n - r->n_prompt;
    const double rate = r->seconds > 0 ? (double)n_new / r->seconds : 0;
    if (!json) {
        putchar('\n');
        if (r->stop == HS_STOP_CONTEXT)
            hs_info("stopped: %s", hs_stop_text(r->stop));
        hs_debug("%lld tokens, %.0f a second", (long long)n_new, rate);
        return HS_OK;
    }
    char *text = NULL;
    size_t bytes = 0;
    if (s->tokenizer && hs_tokenizer_decode(s->tokenizer, r->ids + r->n_prompt, n_new - (r->stop == HS_STOP_TOKEN), &text, &bytes) != HS_OK)
        hs_warn("the new tokens have no text: %s", hs_error()); // their ids are told all the same
    hs_line_print(json_pack("{s:o, s:o, s:o, s:o, s:s}", "prompt_ids", id_list(r->ids, r->n_prompt), "ids",
                            id_list(r->ids + r->n_prompt, n_new), "text", text ? hs_line_text(text, bytes) : json_null(),
                            "tokens_per_second", hs_line_real(rate), "stopped_by", hs_stop_text(r->stop)));
    free(text);
    return HS_OK;
}

static hs_status open_stream(stream *out, const hs_session *s, const generate_options *o)
{
    *out = (stream){ .quiet = o->common.json };
    if (!o->ignore_end)
        out->end = s->ends;
    return s->tokenizer ? hs_token_text_new(&out->text, &(hs_token_text_opts){ .tokenizer = s->tokenizer }) : HS_OK;
}

static hs_status run_session(const hs_cli *cli, hs_session *s, const hs_policy *policy, stream *out, result *r)
{
    const generate_options *o = cli->options;
    hs_arch_shape shape = hs_session_decode_shape(s, HS_PREFILL_TOKENS, 1, hs_cache_pages(s->context, HS_CACHE_PAGE));
    shape.cache_i8 = o->kv == HS_KV_INT8;
    HS_TRY(read_prompt(cli, s, &r->ids, &r->n_prompt));
    r->n = r->n_prompt;
    for (int64_t i = 0; i < r->n; i++)
        if (r->ids[i] >= s->vocab)
            return HS_FAIL(USAGE, "token id %d of the prompt is outside the model's vocabulary of %lld%s", r->ids[i], (long long)s->vocab,
                           s->tokenizer && r->ids[i] < hs_tokenizer_vocab(s->tokenizer) ? ": the tokenizer's is larger" : "");
    if (r->n > s->context)
        return HS_FAIL(USAGE, "the prompt has %lld tokens, the model's context is %lld", (long long)r->n, (long long)s->context);
    HS_TRY(hs_session_load(s, policy, &(hs_session_plans){ .decode = &shape }));
    for (int64_t i = 0; i < r->n; i++)
        HS_TRY(put_token(out, r->ids[i]));
    const double start = hs_now();
    HS_TRY(generate(s, o, out, r));
    HS_TRY(out->status);
    r->seconds = hs_now() - start;
    HS_TRY(put_end(out));
    return report(s, r, o->common.json);
}

static hs_status run_generate(const hs_cli *cli)
{
    hs_session s;
    stream out = { 0 };
    result r = { 0 };
    hs_policy policy;
    hs_status st = hs_cli_session(cli, cli->arg[0], &s, &policy);
    if (st == HS_OK)
        st = open_stream(&out, &s, cli->options);
    if (st == HS_OK)
        st = run_session(cli, &s, &policy, &out, &r);
    hs_token_text_free(out.text);
    hs_session_close(&s);
    free(r.ids);
    return st;
}

#define AT(field) .offset = offsetof(generate_options, field)
static const hs_key keys[] = {
    { .name = "prompt", .type = HS_KEY_STRING, AT(prompt), .value = "", .help = "text to continue" },
    { .name = "prompt-ids",
      .type = HS_KEY_STRING,
      AT(prompt_ids),
      .value = "",
      .help = "token ids to continue: 1,2,3; needs no tokenizer" },
    { .name = "max-tokens",
      .type = HS_KEY_INT,
      AT(max_tokens),
      .value = "200",
      .min = 1,
      .max = 1e9,
      .unit = "tokens",
      .help = "how many to add" },
    { .name = "temperature",
      .type = HS_KEY_REAL,
      AT(temperature),
      .value = "0.8",
      .min = 0,
      .max = 100,
      .help = "of sampling; 0: always the likeliest token" },
    { .name = "top-k",
      .type = HS_KEY_INT,
      AT(top_k),
      .value = "0",
      .min = 0,
      .max = 1e9,
      .help = "sample from the k likeliest tokens; 0: all" },
    { .name = "top-p",
      .type = HS_KEY_REAL,
      AT(top_p),
      .value = "1",
      .min = 1e-9,
      .max = 1,
      .help = "sample from the fewest tokens that hold this much probability" },
    { .name = "seed", .type = HS_KEY_INT, AT(seed), .value = "1", .min = 0, .max = 9e15, .help = "of sampling" },
    { .name = "slide",
      .type = HS_KEY_BOOL,
      AT(slide),
      .value = "true",
      .help = "past the model's context, go on from the last half of it; --no-slide stops there" },
    { .name = "ignore-end",
      .type = HS_KEY_BOOL,
      AT(ignore_end),
      .value = "false",
      .help = "go on past the token that ends a text (eos_token_id of generation_config.json or config.json, or the tokenizer's)" },
    HS_KV_KEY(generate_options),
    HS_CHECKPOINT_KEYS(generate_options),
    HS_COMPUTE_KEYS(generate_options),
    HS_COMMON_KEYS(generate_options),
};
static const hs_schema schema = HS_SCHEMA(keys, generate_options);

const hs_command hs_cmd_generate = {
    .name = "generate",
    .arguments = "CHECKPOINT",
    .summary = "continue a prompt",
    .examples = "halfstep generate runs/shakespeare-char --prompt \"ROMEO:\"\n"
                "halfstep generate runs/shakespeare-char --prompt \"To be\" --temperature 0 --max-tokens 50\n"
                "halfstep generate path/to/gpt2 --prompt-ids 464,3290 --top-k 40 --json",
    .notes =
        "CHECKPOINT is the folder of a run (its newest checkpoint), one checkpoint, or a folder of transformers.\n"
        "Text is written as it comes, in whole UTF-8 characters; bytes that are none are shown as U+FFFD. An empty prompt begins a text,\n"
        "where the model has a token between texts.\n"
        "With --json: prompt_ids, ids (the new tokens), text (of the new tokens; null without a tokenizer), tokens_per_second, stopped_by.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .long_options = "prompt|prompt-ids",
    .run = run_generate,
};
