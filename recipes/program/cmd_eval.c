// eval: the loss of a checkpoint on a text.
#include "recipes/program/cli_session.h"
#include "recipes/program/commands.h"
#include "recipes/train/corpus.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/progress.h"
#include "recipes/train/train_feed.h"
#include <jansson.h>
#include <math.h>

typedef struct eval_options {
    hs_common common;
    hs_string data;
    int64_t max_windows;
} eval_options;

// A tokenizer may have more tokens than the model has rows; a text that needs one of them has no loss.
static hs_status check_ids(const hs_session *s, const hs_corpus *corpus, const char *path)
{
    enum { AT_ONCE = 4096 };
    const int64_t vocab = s->vocab;
    int32_t ids[AT_ONCE];
    if (hs_tokenizer_vocab(s->tokenizer) <= vocab)
        return HS_OK;
    for (int64_t i = corpus->val.first; i < corpus->val.end; i += AT_ONCE) {
        const int64_t left = corpus->val.end - i, n = left < AT_ONCE ? left : AT_ONCE;
        hs_token_store_read(corpus->val.store, i, n, ids);
        for (int64_t k = 0; k < n; k++)
            if (ids[k] >= vocab)
                return HS_FAIL(USAGE, "%s: token %lld has id %d of the tokenizer's %lld, and the model's vocabulary ends at %lld", path,
                               (long long)(i + k), ids[k], (long long)hs_tokenizer_vocab(s->tokenizer), (long long)vocab - 1);
    }
    return HS_OK;
}

static hs_status run_session(const eval_options *o, hs_session *s, const hs_policy *policy, hs_corpus *corpus)
{
    hs_eval_result r;
    if (!s->tokenizer)
        return HS_FAIL(USAGE, "a text cannot be tokenized: %s", s->tokenizer_error);
    HS_TRY(hs_corpus_open_file(corpus, o->data, s->tokenizer));
    HS_TRY(check_ids(s, corpus, o->data));
    const hs_feed feed = hs_feed_of_arch(s->arch);
    const hs_arch_setup setup = hs_feed_eval_setup(&feed);
    hs_source *source;
    HS_TRY(hs_session_load(s, policy, &(hs_session_plans){ .eval = &setup.shape }));
    HS_TRY(hs_feed_eval(&source, &feed, corpus));
    const hs_status st = hs_evaluate(s->run, s->eval, source, hs_feed_eval_samples(&feed), o->max_windows, &r);
    hs_source_free(source);
    HS_TRY(st);
    if (!isfinite(r.loss))
        return HS_FAIL(NONFINITE, "%s: its loss on %s is not a finite number", s->dir, o->data);
    const double rate = r.seconds > 0 ? (double)r.tokens / r.seconds : 0;
    char text[32];
    if (o->common.json)
        hs_line_print(json_pack("{s:o, s:o, s:I, s:o, s:s, s:s}", "loss", hs_line_real(r.loss), "perplexity", hs_line_real(exp(r.loss)),
                                "tokens", (json_int_t)r.tokens, "tokens_per_second", hs_line_real(rate), "checkpoint", s->dir, "dtype",
                                hs_dtype_name(s->policy.low)));
    else
        printf("loss %.4f  perplexity %.3f  over %s of %s, %lld tokens  (%s tok/s, %s, %s)\n", r.loss, exp(r.loss),
               o->max_windows ? "the first windows" : "all", o->data, (long long)r.tokens, hs_human_count(rate, text, sizeof text),
               hs_dtype_name(s->policy.low), s->dir);
    return HS_OK;
}

static hs_status run_eval(const hs_cli *cli)
{
    const eval_options *o = cli->options;
    hs_session s = { 0 };
    hs_corpus corpus = { 0 };
    if (!o->data[0])
        return HS_FAIL(USAGE, "eval needs --data FILE");
    hs_policy policy;
    hs_status st = hs_cli_session(cli, cli->arg[0], &s, &policy);
    if (st == HS_OK)
        st = run_session(o, &s, &policy, &corpus);
    hs_session_close(&s);
    hs_corpus_close(&corpus);
    return st;
}

static const hs_key keys[] = {
    { .name = "data",
      .type = HS_KEY_STRING,
      .offset = offsetof(eval_options, data),
      .value = "",
      .help = "text file or token store to evaluate on; - is standard input" },
    { .name = "max-windows",
      .type = HS_KEY_INT,
      .offset = offsetof(eval_options, max_windows),
      .value = "0",
      .min = 0,
      .max = 1e12,
      .unit = "windows",
      .help = "stop after so many windows of the model's context; 0: the whole text" },
    HS_CHECKPOINT_KEYS(eval_options),
    HS_COMPUTE_KEYS(eval_options),
    HS_COMMON_KEYS(eval_options),
};
static const hs_schema schema = HS_SCHEMA(keys, eval_options);

const hs_command hs_cmd_eval = {
    .name = "eval",
    .arguments = "CHECKPOINT",
    .summary = "measure the loss of a checkpoint on a text",
    .examples = "halfstep eval runs/shakespeare-char --data recipes/text/shakespeare.txt\n"
                "halfstep eval runs/shakespeare-char/checkpoints/BEST --data book.txt --dtype fp32 --json",
    .notes = "The loss is the mean over all predicted tokens: consecutive windows of the model's context, each token but the first "
             "predicted once.\n"
             "With --json: loss, perplexity, tokens, tokens_per_second, checkpoint, dtype.",
    .options = &schema,
    .min_args = 1,
    .max_args = 1,
    .run = run_eval,
};
