// session: what config.json, tokenizer and options say first, then plans, memory and weights.
#include "infer/session/session.h"
#include "core/base/log.h"
#include "data/checkpoint/peft.h"
#include "infer/session/adapters.h"
#include "ops/ops.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hs_status hs_session_info(const hs_family *const *families, const char *model_dir, hs_model_info *info, const hs_family **family)
{
    const hs_model_files *known[HS_FAMILIES] = { NULL };
    int n = 0;
    for (; families[n]; n++) {
        if (n == HS_FAMILIES)
            return HS_FAIL(INTERNAL, "a table of more than %d families", HS_FAMILIES);
        known[n] = &families[n]->files;
    }
    HS_TRY(hs_ckpt_read_info(model_dir, known, n, info));
    for (int i = 0; i < n; i++)
        if (known[i] == info->files)
            *family = families[i];
    char path[4200];
    snprintf(path, sizeof path, "%s/config.json", model_dir);
    HS_TRY(hs_arch_check_file((hs_arch){ *family, info->settings.bytes }, path));
    return HS_OK;
}

static void settle_ends(hs_session *s)
{
    const int32_t end = s->tokenizer ? hs_tokenizer_end(s->tokenizer) : -1, begin = s->tokenizer ? hs_tokenizer_begin(s->tokenizer) : -1;
    s->ends = s->info.end;
    if (s->ends.n == 0 && end >= 0 && end < s->vocab)
        s->ends.id[s->ends.n++] = end;
    s->begin = begin >= 0 && begin < s->vocab ? begin : s->ends.n ? s->ends.id[0] : -1;
}

// Vocabularies are padded to round numbers, and some have ids without a token: nobody could read what is drawn there.
static hs_status find_drawable(hs_session *s)
{
    int64_t bare = 0;
    for (int64_t id = 0; s->tokenizer && id < s->vocab; id++)
        bare += !hs_tokenizer_has(s->tokenizer, (int32_t)id);
    if (bare == 0)
        return HS_OK;
    if (bare == s->vocab)
        return HS_FAIL(USAGE, "%s: no row of the model's vocabulary (%lld) has a token of the tokenizer's (%lld)", s->dir,
                       (long long)s->vocab, (long long)hs_tokenizer_vocab(s->tokenizer));
    s->drawable = malloc((size_t)s->vocab);
    if (!s->drawable)
        return HS_FAIL(MEMORY, "no memory for marks of %lld tokens", (long long)s->vocab);
    for (int64_t id = 0; id < s->vocab; id++)
        s->drawable[id] = hs_tokenizer_has(s->tokenizer, (int32_t)id);
    hs_debug("%s: %lld of the %lld rows of the model's vocabulary have no token of the tokenizer's: they are never drawn", s->dir,
             (long long)bare, (long long)s->vocab);
    return HS_OK;
}

hs_status hs_session_open(hs_session *s, const char *path, int want, const hs_family *const *families, const char *device, int threads)
{
    *s = (hs_session){ .eval = -1, .masks = -1, .decode = -1 };
    HS_TRY(hs_ckpt_resolve(path, want, s->dir, sizeof s->dir));
    HS_TRY(hs_session_info(families, s->dir, &s->info, &s->arch.family));
    s->arch.settings = s->info.settings.bytes;
    s->context = hs_arch_int(s->arch, "model.context"), s->vocab = hs_arch_int(s->arch, "model.vocab");
    char dir[HS_PATH];
    HS_TRY(hs_peft_tokenizer(s->dir, dir));
    if (hs_tokenizer_load(&s->tokenizer, dir) != HS_OK) {
        s->tokenizer = NULL;
        snprintf(s->tokenizer_error, sizeof s->tokenizer_error, "%s", hs_error());
    }
    settle_ends(s);
    HS_TRY(find_drawable(s));
    HS_TRY(hs_open_device(&s->device, device, threads, NULL, 0, HS_ONEDNN_NO));
    const char *const dirs[] = { s->dir };
    return s->info.coded && hs_peft_is(s->dir) ? hs_session_adapters(s, dirs, 1, families) : HS_OK; // nothing is merged into codes
}

// Memory is asked for by config.json, so that must not promise what the files cannot hold. Smaller differences are told tensor by tensor.
static hs_status check_size(const hs_session *s)
{
    int64_t have;
    HS_TRY(hs_ckpt_count(s->dir, &have));
    const int64_t promised = s->arch.family->count(s->arch.settings);
    if (promised / 2 > have)
        return HS_FAIL(CORRUPT, "%s: config.json describes %lld parameters, its weights are %lld", s->dir, (long long)promised,
                       (long long)have);
    return HS_OK;
}

static hs_status value_is_there(const hs_param *p, void *model) { return hs_model_value_is_there(model, p); }

static hs_status adopt(const hs_session *s, hs_params *ps)
{
    bool *turns = calloc((size_t)ps->n_params + 1, sizeof *turns);
    hs_status st = turns ? hs_model_turns(s->model, turns) : HS_FAIL(MEMORY, "no memory for marks of %d parameters", ps->n_params);
    if (st == HS_OK)
        st = hs_ckpt_map_adopt(s->map, ps, s->device, turns);
    free(turns);
    return st;
}

// Weights where the files have them as they are stored, memory for the others.
static hs_status load_weights(hs_session *s)
{
    hs_params *ps = s->model->params;
    HS_TRY(hs_ckpt_map_open(&s->map, s->dir, &(hs_ckpt_opts){ .files = s->info.files }, ps));
    HS_TRY(adopt(s, ps));
    HS_TRY(hs_model_alloc(s->model, false));
    HS_TRY(hs_run_new(&s->run, s->model, &(hs_run_opts){ .mode = hs_submit_mode_of(s->device) }));
    HS_TRY(hs_ckpt_map_load(s->map, ps, value_is_there, s->model));
    if (hs_params_bytes_of(ps).adopted)
        return HS_OK;
    hs_ckpt_map_close(s->map);
    s->map = NULL;
    return HS_OK;
}

// Of weights that were pruned a device of a plug-in may press copies; where it can, it says itself what it does, shape by shape.
static hs_status mark_pruned(const hs_session *s)
{
    const hs_sparsity *p = &s->info.sparsity;
    if (s->device->is_cpu || strcmp(p->pattern, "2:4") != 0)
        return HS_OK;
    if (s->device->presses(s->device) == HS_OK)
        return hs_params_keep_zeros(s->model->params, p->weights, "sparsity");
    hs_info("%s in %s: read in full: %s", p->pattern, p->weights, hs_error());
    return HS_OK;
}

// What decoding makes of them on a CPU.
static void tell_pruned(const hs_session *s)
{
    const hs_sparsity *p = &s->info.sparsity;
    if (!p->pattern[0] || s->decode < 0 || !s->device->is_cpu)
        return;
    const char *why = s->info.coded ? "they are codes" : hs_2of4_declines(s->device);
    if (why)
        hs_info("%s in %s: read in full: %s", p->pattern, p->weights, why);
    else
        hs_info("%s in %s: a token reads what is not 0", p->pattern, p->weights);
}

hs_status hs_session_load(hs_session *s, const hs_policy *policy, const hs_session_plans *plans)
{
    s->policy = *policy;
    HS_TRY(check_size(s));
    if (s->info.coded)
        HS_TRY(hs_ckpt_codes_open(&s->codes, s->dir, &(hs_ckpt_opts){ .files = s->info.files }));
    HS_TRY(hs_model_new(&s->model, &(hs_model_opts){ .device = s->device,
                                                     .policy = &s->policy,
                                                     .micro_steps = HS_VALUES_STAY,
                                                     .passes = !s->adapters,
                                                     .runs = plans->runs,
                                                     .coder = hs_ckpt_codes_coder(s->codes) }));
    HS_TRY(mark_pruned(s));
    if (s->adapters)
        HS_TRY(hs_adapters_begin(s));
    if (plans->eval) {
        const hs_arch_setup setup = { s->arch, *plans->eval };
        HS_TRY(hs_model_plan(s->model, HS_EVAL, hs_arch_trace, &setup, &s->eval));
    }
    if (plans->masks) {
        const hs_arch_setup setup = { s->arch, *plans->masks };
        HS_TRY(hs_model_plan(s->model, HS_EVAL, hs_arch_trace, &setup, &s->masks));
    }
    if (plans->decode) {
        const hs_arch_setup setup = { s->arch, s->decode_shape = *plans->decode };
        HS_TRY(hs_model_plan(s->model, HS_DECODE, hs_arch_trace, &setup, &s->decode));
    }
    tell_pruned(s);
    if (s->adapters)
        return hs_adapters_load(s);
    HS_TRY(load_weights(s));
    HS_TRY(hs_model_release_values(s->model));
    if (s->map) // of most values only packed copies are read from now on
        hs_ckpt_map_forget(s->map);
    return HS_OK;
}

void hs_session_close(hs_session *s)
{
    hs_run_free(s->run);
    hs_model_free(s->model);
    hs_adapters_free(s->adapters);
    hs_ckpt_map_close(s->map);
    hs_ckpt_codes_close(s->codes);
    hs_device_close(s->device);
    hs_tokenizer_free(s->tokenizer);
    hs_model_info_free(&s->info);
    free(s->drawable);
    *s = (hs_session){ .eval = -1, .masks = -1, .decode = -1 };
}

hs_arch_shape hs_session_decode_shape(const hs_session *s, int64_t max_tokens, int64_t max_seqs, int64_t n_pages)
{
    const int64_t most = max_seqs * s->context;
    return (hs_arch_shape){ .max_tokens = max_tokens < most ? max_tokens : most,
                            .max_seqs = max_seqs,
                            .cache_rows = n_pages * HS_CACHE_PAGE,
                            .page_rows = HS_CACHE_PAGE,
                            .seq_pages = hs_cache_pages(s->context, HS_CACHE_PAGE) };
}

hs_decoder_opts hs_session_decoder_opts(const hs_session *s, hs_run *run, int max_slots)
{
    return (hs_decoder_opts){ .run = run,
                              .plan = s->decode,
                              .context = s->context,
                              .vocab = s->vocab,
                              .drawable = s->drawable,
                              .cache_rows = s->decode_shape.cache_rows,
                              .page_rows = s->decode_shape.page_rows,
                              .max_slots = max_slots };
}

hs_status hs_session_decoder(hs_decoder **out, const hs_session *s, hs_run *run, int max_slots)
{
    const hs_decoder_opts o = hs_session_decoder_opts(s, run, max_slots);
    return hs_decoder_new(out, &o);
}

hs_status hs_session_reader(hs_row_reader **out, const hs_session *s, hs_run *run) { return hs_session_reader_of(out, s, run, s->eval); }

hs_status hs_session_reader_of(hs_row_reader **out, const hs_session *s, hs_run *run, int plan)
{
    return hs_row_reader_new(out, &(hs_row_reader_opts){ .run = run,
                                                         .plan = plan,
                                                         .context = s->context,
                                                         .vocab = s->vocab,
                                                         .types = hs_arch_int(s->arch, "model.types"),
                                                         .drawable = s->drawable });
}
