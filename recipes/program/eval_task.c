// eval_task: settings of the checkpoint, where it has some, else what its model says of its task.
#include "recipes/program/eval_task.h"
#include "core/base/log.h"
#include "recipes/train/evaluate.h"
#include "recipes/train/progress.h"
#include "recipes/train/weights_from.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- what the examples are
static hs_status settings_of(const hs_cli *cli, const hs_session *s, hs_config **out)
{
    HS_TRY(hs_config_of_checkpoint(out, cli->table, s->dir));
    if (*out)
        return HS_OK;
    *out = malloc(sizeof **out);
    return *out ? hs_config_init(*out, cli->table) : HS_FAIL(MEMORY, "no memory for settings");
}

hs_status hs_eval_is_task(const hs_cli *cli, const hs_session *s, bool *is)
{
    hs_config *c;
    *is = hs_arch_task(s->arch) != HS_TASK_NONE;
    if (*is)
        return HS_OK;
    HS_TRY(hs_config_of_checkpoint(&c, cli->table, s->dir));
    *is = c && hs_config_labelled(c);
    free(c);
    return HS_OK;
}

static hs_status apply(hs_config *c, const hs_session *s, const hs_eval_task_opts *o)
{
    static const char *const kinds[HS_TASKS] = { "none", "sequence", "regression", "multilabel", "tokens", "span" };
    const struct {
        const char *key, *value, *option;
    } given[] = { { "task.kind", o->kind, "--task" },
                  { "task.format", o->format, "--format" },
                  { "task.text", o->text, "--text" },
                  { "task.text2", o->text2, "--text2" },
                  { "task.label", o->label, "--label" } };
    for (int i = 0; i < HS_COUNT(given); i++)
        if (given[i].value[0])
            HS_TRY(hs_config_set(c, given[i].key, given[i].value, given[i].option));
    if (!hs_config_labelled(c))
        HS_TRY(hs_config_set(c, "task.kind", kinds[hs_arch_task(s->arch)], "config.json"));
    return HS_OK;
}

static hs_status check_kind(const hs_config *c, const hs_session *s)
{
    char kind[32];
    const hs_task task = hs_config_task(c);
    hs_config_text(c, "task.kind", kind, sizeof kind);
    if (task == hs_arch_task(s->arch))
        return HS_OK;
    return HS_FAIL(USAGE, "%s: its model has %s head for task.kind %s", s->dir, hs_arch_task(s->arch) ? "another" : "no", kind);
}

// ---- what is told
typedef struct told {
    const hs_session *s;
    const hs_eval_task_opts *o;
    const hs_eval_result *r;
    const hs_scores *scores; // NULL: there are none (lm)
    hs_judge *judge;
    int64_t examples;
    double rate; // of examples
} told;

static json_t *json_of(const told *t)
{
    json_t *line = json_pack("{s:o}", "loss", hs_line_real(t->r->loss));
    if (!t->scores)
        json_object_set_new(line, "perplexity", hs_line_real(exp(t->r->loss)));
    for (int i = 0; t->scores && i < t->scores->n; i++)
        json_object_set_new(line, t->scores->at[i].name, hs_line_real(t->scores->at[i].value));
    json_t *rest =
        json_pack("{s:I, s:I, s:o, s:s, s:s}", "examples", (json_int_t)t->examples, "tokens", (json_int_t)t->r->tokens,
                  "examples_per_second", hs_line_real(t->rate), "checkpoint", t->s->dir, "dtype", hs_dtype_name(t->s->policy.low));
    json_object_update(line, rest);
    json_decref(rest);
    return line;
}

static hs_status print_text(const told *t)
{
    char rate[32], *text = NULL, title[1024];
    printf("loss %.4f", t->r->loss);
    if (!t->scores)
        printf("  perplexity %.3f", exp(t->r->loss));
    printf("  over %lld examples of %s  (%s examples/s, %s)\n", (long long)t->examples, t->o->data,
           hs_human_count(t->rate, rate, sizeof rate), hs_dtype_name(t->s->policy.low));
    if (!t->judge)
        return HS_OK;
    snprintf(title, sizeof title, "%.500s on %.500s", t->s->dir, t->o->data);
    HS_TRY(hs_judge_text(t->judge, title, &text));
    printf("\n%s", text);
    free(text);
    return HS_OK;
}

// ---- the evaluation
static hs_status judge(const hs_cli *cli, hs_session *s, const hs_policy *policy, const hs_feed *feed, hs_corpus *corpus, told *t)
{
    hs_scores scores = { 0 };
    hs_eval_result r;
    hs_source *source;
    char title[1024];
    HS_TRY(hs_feed_eval(&source, feed, corpus));
    const hs_arch_setup setup = hs_feed_eval_setup(feed);
    hs_status st;
    HS_TRY_GOTO(st, hs_session_load(s, policy, &(hs_session_plans){ .eval = &setup.shape }), out);
    HS_TRY_GOTO(st, hs_judge_new(&t->judge, feed, corpus), out);
    HS_TRY_GOTO(
        st,
        hs_evaluate(
            &(hs_eval_opts){ .run = s->run, .plan = s->eval, .feed = feed, .source = source, .most = t->o->most, .judge = t->judge }, &r),
        out);
    if (!isfinite(r.loss)) {
        st = HS_FAIL(NONFINITE, "%s: its loss on %s is not a finite number", s->dir, t->o->data);
        goto out;
    }
    if (t->judge)
        HS_TRY_GOTO(st, hs_judge_scores(t->judge, &scores), out);
    t->r = &r, t->scores = t->judge ? &scores : NULL;
    t->examples = corpus->labelled.val.n, t->rate = r.seconds > 0 ? (double)t->examples / r.seconds : 0;
    snprintf(title, sizeof title, "%.500s on %.500s", s->dir, t->o->data);
    if (t->judge && t->o->report[0])
        HS_TRY_GOTO(st, hs_judge_report(t->judge, t->o->report, title), out);
    if (t->o->measured)
        *t->o->measured = json_of(t);
    else if (hs_cli_common(cli)->json)
        hs_line_print(json_of(t));
    else
        HS_TRY_GOTO(st, print_text(t), out);
out:
    hs_source_free(source);
    return st;
}

static hs_status with_settings(const hs_cli *cli, hs_session *s, const hs_policy *policy, const hs_eval_task_opts *o, hs_config *c)
{
    hs_corpus corpus = { 0 };
    told t = { .s = s, .o = o };
    HS_TRY(apply(c, s, o));
    HS_TRY(check_kind(c, s));
    hs_feed feed = hs_feed_of_arch(s->arch);
    hs_feed_take(&feed, c);
    const int64_t context = hs_arch_int(s->arch, "model.context");
    feed.length = feed.length < context ? feed.length : context;
    const hs_labels *labels = hs_labels_nameless(&s->info.labels) ? NULL : &s->info.labels;
    hs_status st = hs_corpus_open_labelled(
        &corpus, &(hs_corpus_from){ .config = c, .given = s->tokenizer, .labels = labels, .labels_of = s->dir }, o->data);
    if (st == HS_OK && !labels && corpus.labelled.all->labels.n > s->info.labels.n)
        st = HS_FAIL(USAGE, "%s has %d labels, but %s tells %d apart", o->data, corpus.labelled.all->labels.n, s->dir, s->info.labels.n);
    if (st == HS_OK && !hs_cli_common(cli)->json && !o->measured)
        hs_info("data: %s", corpus.labelled.all->said);
    if (st == HS_OK)
        st = judge(cli, s, policy, &feed, &corpus, &t);
    hs_judge_free(t.judge);
    hs_corpus_close(&corpus); // its tokenizer is the session's
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}

hs_status hs_eval_task(const hs_cli *cli, hs_session *s, const hs_policy *policy, const hs_eval_task_opts *o)
{
    hs_config *c = NULL;
    hs_status st = settings_of(cli, s, &c);
    if (st == HS_OK)
        st = with_settings(cli, s, policy, o, c);
    free(c);
    return st == HS_OK ? HS_OK : hs_frame_at(st, __FILE__, __LINE__);
}
