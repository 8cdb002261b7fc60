// calib_texts: step by step, in f32, by whatever reads texts for this kind of model.
#include "recipes/program/calib_texts.h"
#include "infer/decode/generate.h"
#include "infer/encode/texts.h"
#include "infer/heads/predictor.h"
#include "recipes/program/cli_session.h"
#include "recipes/program/lines.h"
#include <stdlib.h>

typedef struct feeding {
    hs_calibration *c;
    const char *path;
    int64_t most; // examples; INT64_MAX: all
    bool enough;  // they are there: what ends the reading is no error
} feeding;

static hs_status load(hs_calibration *c, const hs_session_plans *plans, const hs_observer_opts *o)
{
    hs_session *s = &c->session;
    HS_TRY(hs_session_load(s, &(hs_policy){ .low = HS_F32 }, plans));
    hs_run_free(s->run);
    s->run = NULL;
    HS_TRY(hs_run_new(&s->run, s->model, &(hs_run_opts){ .mode = HS_SUBMIT_STEP }));
    HS_TRY(hs_observer_new(&c->observer, s->model->params, o));
    hs_observer_watch(c->observer, s->device);
    return HS_OK;
}

// ---- a model with a task

static hs_status on_prediction(const hs_prediction *p, void *user)
{
    feeding *f = user;
    f->c->examples = p->number + 1;
    f->enough = f->c->examples >= f->most;
    return f->enough ? HS_FAIL(INTERNAL, "enough examples") : HS_OK;
}

static hs_status feed_task(feeding *f, const hs_observer_opts *o)
{
    hs_session *s = &f->c->session;
    const hs_arch_shape shape = hs_head_shape(s);
    const hs_examples_opts examples = { .about = hs_about_of_task(hs_arch_task(s->arch)),
                                        .labels = &s->info.labels,
                                        .labels_optional = true };
    hs_predictor *p;
    HS_TRY(load(f->c, &(hs_session_plans){ .eval = &shape }, o));
    HS_TRY(hs_predictor_open(
        &p, &(hs_predictor_opts){ .session = s, .examples = &examples, .path = f->path, .done = on_prediction, .user = f }));
    const hs_status st = hs_predictor_run(p);
    f->c->tokens = hs_predictor_counted(p).tokens;
    hs_predictor_close(p);
    return f->enough ? HS_OK : st;
}

// ---- lines of text

static hs_status on_text(const hs_text_out *out, void *user) { return (void)out, (void)user, HS_OK; }

static hs_status feed_encoder(feeding *f, const hs_observer_opts *o, hs_lines *lines)
{
    hs_session *s = &f->c->session;
    const hs_arch_shape shape = hs_texts_shape(s, false);
    const char *text;
    size_t bytes;
    hs_texts *t;
    HS_TRY(load(f->c, &(hs_session_plans){ .eval = &shape }, o));
    HS_TRY(hs_texts_new(&t, &(hs_texts_opts){ .session = s, .done = on_text }));
    hs_status st = hs_lines_next(lines, &text, &bytes);
    for (; st == HS_OK && text && f->c->examples < f->most; f->c->examples++) {
        st = hs_texts_add(t, text, bytes);
        if (st == HS_OK)
            st = hs_lines_next(lines, &text, &bytes);
    }
    if (st == HS_OK)
        st = hs_texts_finish(t);
    f->c->tokens = hs_texts_counted(t).tokens;
    hs_texts_free(t);
    return st;
}

static hs_status read_prompt(const hs_session *s, const int32_t *ids, int64_t n)
{
    hs_generated out;
    const hs_prompt prompt = { ids, n };
    HS_TRY(hs_generate(&(hs_generate_opts){ .run = s->run,
                                            .plan = s->decode,
                                            .context = s->context,
                                            .vocab = s->vocab,
                                            .cache_rows = s->decode_shape.cache_rows,
                                            .page_rows = s->decode_shape.page_rows,
                                            .max_tokens = 1,
                                            .drawable = s->drawable },
                       &prompt, 1, &out));
    hs_generated_free(&out, 1);
    return HS_OK;
}

// A line is read as a prompt, up to the context.
static hs_status feed_writer(feeding *f, const hs_observer_opts *o, hs_lines *lines)
{
    hs_session *s = &f->c->session;
    const hs_arch_shape shape = hs_session_decode_shape(s, HS_PREFILL_TOKENS, 1, hs_cache_pages(s->context, HS_CACHE_PAGE));
    const char *text;
    size_t bytes;
    HS_TRY(load(f->c, &(hs_session_plans){ .decode = &shape }, o));
    HS_TRY(hs_lines_next(lines, &text, &bytes));
    while (text && f->c->examples < f->most) {
        int32_t *ids;
        int64_t n;
        HS_TRY(hs_tokenizer_encode(s->tokenizer, text, bytes, &ids, &n));
        n = n < s->context ? n : s->context - 1;
        const hs_status st = n ? read_prompt(s, ids, n) : HS_OK;
        free(ids);
        HS_TRY(st);
        f->c->examples += n > 0, f->c->tokens += n;
        HS_TRY(hs_lines_next(lines, &text, &bytes));
    }
    return HS_OK;
}

static hs_status feed_lines(feeding *f, const hs_observer_opts *o)
{
    hs_lines *lines;
    HS_TRY(hs_lines_open(&lines, f->path));
    const hs_status st = f->c->session.arch.family->batch == HS_BATCH_TEXT ? feed_writer(f, o, lines) : feed_encoder(f, o, lines);
    hs_lines_close(lines);
    return st;
}

// ---- the whole

hs_status hs_calibrate_on(hs_calibration *c, const hs_cli *cli, const char *checkpoint, const char *path, int64_t examples,
                          const hs_observer_opts *o)
{
    feeding f = { .c = c, .path = path, .most = examples ? examples : INT64_MAX };
    hs_policy policy;
    *c = (hs_calibration){ 0 };
    HS_TRY(hs_cli_session(cli, checkpoint, &c->session, &policy));
    if (c->session.info.coded)
        return HS_FAIL(USAGE, "%s is quantized already: take the checkpoint that it was made from", c->session.dir);
    if (!c->session.tokenizer)
        return HS_FAIL(USAGE, "texts need a tokenizer: %s", c->session.tokenizer_error);
    HS_TRY(hs_arch_task(c->session.arch) != HS_TASK_NONE ? feed_task(&f, o) : feed_lines(&f, o));
    hs_observer_watch(c->observer, NULL);
    HS_TRY(hs_observer_end(c->observer));
    if (!c->examples || c->examples < examples)
        return HS_FAIL(USAGE, "%s has %lld example%s, %lld are asked for", path, (long long)c->examples, c->examples == 1 ? "" : "s",
                       (long long)(examples ? examples : 1));
    return HS_OK;
}

void hs_calibration_close(hs_calibration *c)
{
    hs_observer_free(c->observer);
    hs_session_close(&c->session);
    *c = (hs_calibration){ 0 };
}
