// generate: the loop over steps of a decode plan - who feeds how many rows, whose logits are read, who is done.
#include "infer/decode/generate.h"
#include <stdlib.h>
#include <string.h>

static hs_status add_all(hs_decoder *d, const hs_generate_opts *o, const hs_prompt *prompt, int n_prompts)
{
    int64_t pages = 0;
    for (int i = 0; i < n_prompts; i++) {
        const int64_t room = o->context - prompt[i].n, fresh = o->max_tokens < room ? o->max_tokens : room;
        pages += fresh > 0 ? hs_cache_pages(prompt[i].n + fresh - 1, o->page_rows) : 0;
    }
    for (int i = 0; i < n_prompts; i++) {
        const hs_sequence s = {
            .ids = prompt[i].ids,
            .n = prompt[i].n,
            .max_tokens = o->max_tokens,
            .sampling = o->sampling,
            .number = i,
            .stop_ids = o->stop_ids,
            .n_stops = o->n_stops,
            .reserve = true,
        };
        int slot;
        const hs_status st = hs_decoder_add(d, &s, &slot); // slot i: prompts are added in order
        if (st == HS_MEMORY)
            return HS_FAIL(USAGE, "%d prompts with their continuations need %lld cache pages, there are %lld", n_prompts, (long long)pages,
                           (long long)(o->cache_rows / o->page_rows));
        HS_TRY(st);
    }
    return HS_OK;
}

static hs_status run(hs_decoder *d, const hs_generate_opts *o, const hs_prompt *prompt, int n_prompts, hs_generated *out)
{
    HS_TRY(add_all(d, o, prompt, n_prompts));
    for (int i = 0; i < n_prompts; i++) // of those that never run
        out[i].stop = o->max_tokens > o->context - prompt[i].n ? HS_STOP_CONTEXT : HS_STOP_MAX_TOKENS;
    while (!hs_decoder_idle(d)) {
        const hs_decoded *token;
        int n;
        HS_TRY(hs_decoder_step(d, &token, &n));
        for (int k = 0; k < n; k++) {
            hs_generated *g = &out[token[k].slot];
            if (token[k].stop == HS_STOP_NONFINITE)
                return HS_FAIL(NONFINITE, "prompt %d: the model's logit of token %d is not a finite number", token[k].slot + 1,
                               token[k].id);
            if (token[k].stop != HS_STOP_NONE)
                g->stop = token[k].stop;
            if (o->on_token && !o->on_token(token[k].slot, token[k].id, o->user)) {
                g->stop = HS_STOP_CALLER;
                hs_decoder_stop(d, token[k].slot);
            }
        }
    }
    for (int i = 0; i < n_prompts; i++) {
        const int32_t *ids = hs_decoder_ids(d, i, &out[i].n);
        out[i].n_prompt = prompt[i].n;
        out[i].ids = malloc((size_t)out[i].n * sizeof *ids);
        if (!out[i].ids)
            return HS_FAIL(MEMORY, "no memory for %lld tokens", (long long)out[i].n);
        memcpy(out[i].ids, ids, (size_t)out[i].n * sizeof *ids);
    }
    return HS_OK;
}

hs_status hs_generate(const hs_generate_opts *o, const hs_prompt *prompt, int n_prompts, hs_generated *out)
{
    hs_decoder *d;
    memset(out, 0, (size_t)n_prompts * sizeof *out);
    HS_TRY(hs_decoder_new(&d, &(hs_decoder_opts){ .run = o->run,
                                                  .plan = o->plan,
                                                  .context = o->context,
                                                  .vocab = o->vocab,
                                                  .drawable = o->drawable,
                                                  .cache_rows = o->cache_rows,
                                                  .page_rows = o->page_rows,
                                                  .max_slots = n_prompts > 0 ? n_prompts : 1 }));
    const hs_status st = run(d, o, prompt, n_prompts, out);
    hs_decoder_free(d);
    if (st == HS_OK)
        return HS_OK;
    hs_generated_free(out, n_prompts);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_generated_free(hs_generated *out, int n)
{
    for (int i = 0; i < n; i++) {
        free(out[i].ids);
        out[i] = (hs_generated){ 0 };
    }
}
