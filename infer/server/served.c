// served: which plans a directory asks for, and the thread that runs them.
#include "infer/server/served.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "infer/encode/texts.h"
#include "infer/heads/head.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hs_served_reasons[HS_REASONS] = { "REJECTED", "CANCELED", "BACKEND", "OTHER" };

static const unsigned does_of[HS_TASKS] = { [HS_TASK_SEQUENCE] = HS_DOES_SCORES,
                                            [HS_TASK_REGRESSION] = HS_DOES_SCORES,
                                            [HS_TASK_MULTILABEL] = HS_DOES_SCORES,
                                            [HS_TASK_TOKENS] = HS_DOES_TAGS,
                                            [HS_TASK_SPAN] = HS_DOES_ANSWERS };

static unsigned find_does(const hs_session *s)
{
    if (hs_arch_batch(s->arch) == HS_BATCH_LABELLED)
        return HS_DOES_TASK | does_of[hs_arch_task(s->arch)];
    if (s->arch.family->batch != HS_BATCH_MASKED)
        return HS_DOES_TEXT;
    return HS_DOES_EMBED |
           (hs_arch_wears(s->arch, HS_LOSS_TOKENS) && hs_tokenizer_role(s->tokenizer, HS_TOKEN_MASK) >= 0 ? HS_DOES_MASKS : 0);
}

static void fit(hs_arch_shape *shape, const hs_session *s, const hs_served_opts *o)
{
    const int64_t tokens = o->batch_tokens > s->context ? o->batch_tokens : s->context;
    shape->max_tokens = tokens, shape->max_seqs = tokens / 4 + 1;
}

static hs_status add_reader(hs_served *s, hs_batcher_opts *b, int plan, int *number)
{
    *number = -1;
    if (plan < 0)
        return HS_OK;
    HS_TRY(hs_session_reader_of(&b->reader[b->n_readers], &s->session, s->session.run, plan));
    *number = b->n_readers++;
    return HS_OK;
}

static hs_status read_task(hs_served *s, const hs_served_opts *o)
{
    const hs_session *session = &s->session;
    HS_TRY(hs_head_new(&s->head, session, session->run, hs_about_of_task(hs_arch_task(session->arch))));
    s->rows = (hs_rows_opts){ 0 };
    if (o->rows)
        HS_TRY(o->rows(session, &s->rows, o->user));
    s->rows.tokenizer = session->tokenizer, s->rows.vocab = session->vocab;
    if (s->rows.max_length == 0 || s->rows.max_length > session->context)
        s->rows.max_length = session->context;
    return HS_OK;
}

static hs_status start_encoder(hs_served *s, const hs_policy *policy, const hs_served_opts *o)
{
    hs_session *session = &s->session;
    const bool task = s->does & HS_DOES_TASK;
    hs_arch_shape eval = task ? hs_head_shape(session) : hs_texts_shape(session, false), masks = hs_texts_shape(session, true);
    hs_batcher_opts b = { .queue_works = o->queue_works, .queue_tokens = o->queue_tokens };
    fit(&eval, session, o), fit(&masks, session, o);
    HS_TRY(hs_session_load(session, policy, &(hs_session_plans){ .eval = &eval, .masks = s->does & HS_DOES_MASKS ? &masks : NULL }));
    if (task)
        HS_TRY(read_task(s, o));
    hs_status st = add_reader(s, &b, session->eval, task ? &s->task : &s->embed);
    if (st == HS_OK)
        st = add_reader(s, &b, session->masks, &s->masks);
    if (st != HS_OK) {
        for (int i = 0; i < b.n_readers; i++)
            hs_row_reader_free(b.reader[i]);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    return hs_batcher_new(&s->batcher, &b);
}

static hs_status open_it(hs_served *s, const hs_served_opts *o)
{
    hs_policy policy;
    HS_TRY(hs_sentence_read(s->path, &s->sentence));
    HS_TRY(hs_session_open(&s->session, s->sentence.dir, o->want, o->families, o->device, o->threads));
    if (!s->session.tokenizer)
        return HS_FAIL(USAGE, "%s: a server needs a tokenizer: %s", s->path, s->session.tokenizer_error);
    HS_TRY(o->settle(&s->session, &policy, o->user));
    s->does = find_does(&s->session);
    if (s->does & HS_DOES_EMBED && !s->sentence.pooling_known)
        return HS_FAIL(UNSUPPORTED, "%s asks for a pooling by %s, which is not supported", s->path, s->sentence.pooling_asked);
    if (s->does & HS_DOES_TEXT)
        return HS_FAIL(UNSUPPORTED, "%s is a %s, which is not served yet", s->path, s->session.arch.family->title);
    return start_encoder(s, &policy, o);
}

void hs_served_close(hs_served *s)
{
    if (!s)
        return;
    hs_batcher_free(s->batcher);
    hs_head_free(s->head);
    hs_session_close(&s->session);
    free(s);
}

hs_status hs_served_open(hs_served **out, const char *name, int version, const char *path, const hs_served_opts *o)
{
    const double began = hs_now();
    hs_served *s = *out = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a model");
    s->embed = s->task = s->masks = -1;
    s->version = version, s->o = o;
    s->holders = 1;
    snprintf(s->name, sizeof s->name, "%s", name);
    snprintf(s->path, sizeof s->path, "%s", path);
    const hs_status st = open_it(s, o);
    s->load_seconds = hs_now() - began;
    if (st == HS_OK)
        return HS_OK;
    hs_served_close(s);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_served_count_failure(hs_served *s, hs_served_reason why, int64_t ns)
{
    atomic_fetch_add(&s->count.failure[why], 1);
    hs_latency_add(&s->count.failed, ns);
}

hs_served *hs_served_hold(hs_served *s)
{
    atomic_fetch_add(&s->holders, 1);
    return s;
}

void hs_served_let_go(hs_served *s)
{
    if (s && atomic_fetch_sub(&s->holders, 1) == 1)
        s->o->bury(s, s->o->bury_user);
}
