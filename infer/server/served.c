// served: which plans a directory asks for, and the thread that runs them.
#include "infer/server/served.h"
#include "core/base/clock.h"
#include "core/base/log.h"
#include "core/cpu/cpu.h"
#include "infer/decode/generate.h"
#include "infer/encode/texts.h"
#include "infer/heads/head.h"
#include "infer/server/cores.h"
#include "infer/server/ensemble.h"
#include "infer/session/warm_up.h"
#include "ops/ops.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

// ---- instances: runs of one model, each on a device of its own

static int threads_of(const hs_served_opts *o, int instances)
{
    const int threads = o->threads ? o->threads : hs_cpu_cores();
    return threads / instances > 1 ? threads / instances : 1;
}

static int share_of(const hs_served_opts *o) { return threads_of(o, o->instances ? o->instances : 1); }

static int parts_of(const hs_served_opts *o, const hs_device *d)
{
    const int threads = threads_of(o, 1);
    return o->instances || !d->is_cpu || threads < 2 ? 0 : threads < HS_SERVED_PARTS ? threads : HS_SERVED_PARTS;
}

static int runs_of(const hs_served_opts *o, int parts) { return (o->instances ? o->instances : 1) + parts; }

typedef struct cores {
    int first, n;
} cores;

static cores cores_of(const hs_served *s, int instance)
{
    const int wholes = s->instances - s->parts;
    const bool part = instance >= wholes;
    const int n = part ? threads_of(s->o, s->parts) : share_of(s->o);
    return (cores){ (part ? instance - wholes : instance) * n, n };
}

static hs_status open_instances(hs_served *s, int parts, const hs_served_opts *o)
{
    s->device[0] = s->session.device, s->run[0] = s->session.run;
    s->parts = parts;
    s->instances = runs_of(o, parts);
    for (int i = 1; i < s->instances; i++) {
        const cores mine = cores_of(s, i);
        const cpu_set_t before = hs_cores_narrow(mine.first, o->pin ? mine.n : 0); // its team is born there
        const hs_status st = hs_open_device(&s->device[i], o->device, mine.n, NULL, 0, HS_ONEDNN_NO);
        hs_cores_restore(&before);
        HS_TRY(st);
        HS_TRY(hs_run_new(&s->run[i], s->session.model, &(hs_run_opts){ .device = s->device[i], .mode = hs_submit_mode_of(s->device[i]) }));
    }
    return HS_OK;
}

static void close_instances(hs_served *s)
{
    for (int i = 1; i < HS_BATCHER_INSTANCES; i++) {
        hs_run_free(s->run[i]);
        hs_device_close(s->device[i]);
    }
}

// A reader of that plan for each instance.
static hs_status add_readers(hs_served *s, hs_batcher_opts *b, int plan, int *number)
{
    *number = -1;
    if (plan < 0)
        return HS_OK;
    *number = b->n_readers++;
    for (int i = 0; i < s->instances; i++)
        HS_TRY(hs_session_reader_of(&b->instance[i].reader[*number], &s->session, s->run[i], plan));
    return HS_OK;
}

static hs_status read_task(hs_served *s, const hs_served_opts *o)
{
    const hs_session *session = &s->session;
    HS_TRY(hs_head_new(&s->head, session, session->run, hs_about_of_task(hs_arch_task(session->arch))));
    s->rows = (hs_rows_opts){ 0 };
    if (o->rows)
        HS_TRY(o->rows(session, &s->rows, o->user));
    s->rows.tokenizer = session->tokenizer, s->rows.vocab = session->vocab, s->rows.most_rows = o->most_rows;
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
    eval.lean = true;
    if (o->queue_tokens < session->context)
        return HS_FAIL(USAGE, "--queue-tokens is %lld, less than one row of %s: its context is %lld", (long long)o->queue_tokens, s->path,
                       (long long)session->context);
    const int parts = parts_of(o, session->device);
    HS_TRY(
        hs_session_load(session, policy,
                        &(hs_session_plans){ .eval = &eval, .masks = s->does & HS_DOES_MASKS ? &masks : NULL, .runs = runs_of(o, parts) }));
    if (task)
        HS_TRY(read_task(s, o));
    HS_TRY(open_instances(s, parts, o));
    b.n_instances = s->instances, b.n_parts = s->parts;
    for (int i = 0; i < b.n_instances && o->pin; i++)
        b.instance[i].first_core = cores_of(s, i).first, b.instance[i].n_cores = cores_of(s, i).n;
    hs_status st = add_readers(s, &b, session->eval, task ? &s->task : &s->embed);
    if (st == HS_OK)
        st = add_readers(s, &b, session->masks, &s->masks);
    for (int i = 0; i < b.n_instances && o->warm_up; i++)
        for (int k = 0; k < b.n_readers && st == HS_OK; k++)
            st = hs_warm_up_reader(b.instance[i].reader[k]);
    if (st == HS_OK)
        return hs_batcher_new(&s->batcher, &b);
    for (int i = 0; i < b.n_instances; i++)
        for (int k = 0; k < b.n_readers; k++)
            hs_row_reader_free(b.instance[i].reader[k]);
    return hs_frame_at(st, __FILE__, __LINE__);
}

// ---- models that continue texts

static void on_timing(void *user, hs_timing what, double seconds)
{
    hs_served *s = user;
    hs_latency *const of[HS_TIMINGS] = {
        [HS_TIMING_WAIT] = &s->count->queue, [HS_TIMING_FIRST_TOKEN] = &s->count->first, [HS_TIMING_NEXT_TOKEN] = &s->count->next
    };
    if (of[what])
        hs_latency_add(of[what], (int64_t)(seconds * 1e9));
}

int64_t hs_served_sequences(const hs_served_opts *o) { return o->sequences ? o->sequences : HS_SERVED_SEQUENCES; }
double hs_served_sequence_idle(const hs_served_opts *o) { return o->sequence_idle > 0 ? o->sequence_idle : HS_SERVED_SEQUENCE_IDLE; }

static hs_status start_schedulers(hs_served *s, int slots, const hs_served_opts *o)
{
    hs_scheduler_opts opts[HS_BATCHER_INSTANCES];
    for (int i = 0; i < s->instances; i++) {
        opts[i] = (hs_scheduler_opts){ .decoder = hs_session_decoder_opts(&s->session, s->run[i], slots),
                                       .tokenizer = s->session.tokenizer,
                                       .queue_most = (int)o->queue_works,
                                       .first_core = cores_of(s, i).first,
                                       .n_cores = o->pin ? cores_of(s, i).n : 0,
                                       .timing = on_timing,
                                       .user = s };
        opts[i].decoder.share = true;
        opts[i].decoder.beside_tokens = o->beside_tokens ? o->beside_tokens : HS_SERVED_BESIDE_TOKENS;
        if (o->warm_up)
            HS_TRY(hs_warm_up_decoder(&opts[i].decoder));
    }
    return hs_schedulers_new(&s->schedulers, opts, s->instances);
}

static hs_status start_text(hs_served *s, const hs_policy *policy, const hs_served_opts *o)
{
    hs_session *session = &s->session;
    const int64_t slots = o->slots ? o->slots : HS_SERVED_SLOTS, context = session->context;
    const int64_t step = o->step_tokens ? o->step_tokens : HS_PREFILL_TOKENS,
                  cache = o->cache_tokens ? o->cache_tokens : HS_SERVED_CACHE_TOKENS;
    hs_arch_shape shape = hs_session_decode_shape(session, step > slots ? step : slots, slots,
                                                  hs_cache_pages(cache > context ? cache : context, HS_CACHE_PAGE));
    shape.cache_i8 = o->cache_i8;
    HS_TRY(hs_session_load(session, policy, &(hs_session_plans){ .decode = &shape, .runs = runs_of(o, 0) }));
    if (hs_chat_template_read(&s->chat, session->dir) != HS_OK)
        snprintf(s->no_chat, sizeof s->no_chat, "%s", hs_error());
    else if (!s->chat)
        snprintf(s->no_chat, sizeof s->no_chat, "it has no chat template");
    if (!s->chat)
        hs_info("%s: no chat: %s", s->name, s->no_chat);
    HS_TRY(hs_sequence_table_new(&s->sequences, hs_served_sequences(o), o->queue_works, hs_served_sequence_idle(o)));
    HS_TRY(open_instances(s, 0, o));
    return start_schedulers(s, (int)slots, o);
}

static hs_status open_it(hs_served *s, const hs_served_opts *o)
{
    hs_policy policy;
    if (hs_ensemble_known(o, s->name)) {
        s->does = HS_DOES_ENSEMBLE;
        return hs_ensemble_open(&s->ensemble, s->name, o);
    }
    HS_TRY(hs_sentence_read(s->path, &s->sentence));
    if (o->pin && hs_cores_can_narrow(share_of(o) * (o->instances ? o->instances : 1)) != HS_OK)
        hs_warn("%s: --pin: some threads stay on no core of their own: %s", s->name, hs_error());
    const cpu_set_t before = hs_cores_narrow(0, o->pin ? share_of(o) : 0);
    const hs_status opened = hs_session_open(&s->session, s->sentence.dir, o->want, o->families, o->device, share_of(o));
    hs_cores_restore(&before);
    HS_TRY(opened);
    if (!s->session.tokenizer)
        return HS_FAIL(USAGE, "%s: a server needs a tokenizer: %s", s->path, s->session.tokenizer_error);
    HS_TRY(o->settle(&s->session, &policy, o->user));
    s->does = find_does(&s->session);
    if (s->does & HS_DOES_EMBED && !s->sentence.pooling_known)
        return HS_FAIL(UNSUPPORTED, "%s asks for a pooling by %s, which is not supported", s->path, s->sentence.pooling_asked);
    return s->does & HS_DOES_TEXT ? start_text(s, &policy, o) : start_encoder(s, &policy, o);
}

void hs_served_stop(hs_served *s)
{
    if (s->batcher)
        hs_batcher_stop(s->batcher);
    if (s->schedulers)
        hs_schedulers_stop(s->schedulers);
}

void hs_served_join(hs_served *s)
{
    hs_served_stop(s);
    if (s->schedulers)
        hs_schedulers_join(s->schedulers);
}

void hs_served_add_sums(const hs_served *s, hs_served_sums *sum)
{
    if (s->batcher) {
        const hs_batcher_count *b = hs_batcher_counted(s->batcher);
        sum->batches += atomic_load(&b->batches), sum->tokens += atomic_load(&b->tokens);
    }
    if (s->schedulers) {
        hs_scheduler_stats x;
        hs_schedulers_look(s->schedulers, &x);
        sum->batches += x.steps, sum->tokens += x.step_tokens, sum->set_back += x.set_back;
        sum->prompt_tokens += x.prompt_tokens, sum->new_tokens += x.new_tokens, sum->reused_tokens += x.reused_tokens;
    }
    if (s->sequences) {
        const hs_sequence_stats x = hs_sequence_table_look(s->sequences);
        sum->sequences_started += x.started, sum->sequences_idle += x.idle;
    }
}

void hs_served_close(hs_served *s)
{
    if (!s)
        return;
    hs_batcher_free(s->batcher);
    if (s->o->cache)
        hs_row_cache_forget(s->o->cache, s);
    hs_schedulers_free(s->schedulers);
    hs_sequence_table_free(s->sequences);
    hs_chat_template_free(s->chat);
    hs_head_free(s->head);
    free(s->ensemble);
    close_instances(s);
    hs_session_close(&s->session);
    free(s);
}

hs_status hs_served_open(hs_served **out, const char *name, int version, const char *path, const hs_served_opts *o, hs_served_count *count)
{
    const double began = hs_now();
    hs_served *s = *out = calloc(1, sizeof *s);
    if (!s)
        return HS_FAIL(MEMORY, "no memory for a model");
    s->embed = s->task = s->masks = -1;
    s->version = version, s->o = o, s->count = count;
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

void hs_served_count_success(hs_served *s, int64_t texts)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    atomic_store(&s->count->last, t.tv_sec * 1000 + t.tv_nsec / 1000000);
    atomic_fetch_add(&s->count->success, 1);
    atomic_fetch_add(&s->count->texts, (uint64_t)texts);
}

void hs_served_count_failure(hs_served *s, hs_served_reason why, int64_t ns)
{
    atomic_fetch_add(&s->count->failure[why], 1);
    hs_latency_add(&s->count->failed, ns);
}

hs_served_reason hs_served_reason_of(int http)
{
    return http == 429 || http == 504 ? HS_REASON_REJECTED
           : http == 499              ? HS_REASON_CANCELED
           : http >= 500              ? HS_REASON_BACKEND
                                      : HS_REASON_OTHER;
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
