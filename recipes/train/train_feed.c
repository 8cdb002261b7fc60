// train_feed: by what a family's batches are made of.
#include "recipes/train/train_feed.h"
#include "core/base/rng.h"

hs_feed hs_feed_of_arch(hs_arch m) { return (hs_feed){ .arch = m, .length = hs_arch_int(m, "model.context") }; }

hs_feed hs_feed_of(const hs_config *c)
{
    hs_feed f = hs_feed_of_arch(hs_config_arch(c));
    f.packing = (hs_packing)c->data.packing;
    f.seed = (uint64_t)c->train.seed;
    return f;
}

// ---- capacities
hs_arch_setup hs_feed_setup(const hs_feed *f, int64_t samples)
{
    return (hs_arch_setup){ f->arch,
                            { .max_tokens = samples * f->length, .max_seqs = hs_windows_max_seqs(f->packing, samples, f->length) } };
}

int64_t hs_feed_eval_samples(const hs_feed *f)
{
    enum { LOGITS = 1 << 25, TOKENS = 4096 };
    const int64_t vocab = hs_arch_int(f->arch, "model.vocab"), samples = (LOGITS / vocab < TOKENS ? LOGITS / vocab : TOKENS) / f->length;
    return samples < 1 ? 1 : samples;
}

hs_arch_setup hs_feed_eval_setup(const hs_feed *f)
{
    const int64_t samples = hs_feed_eval_samples(f);
    return (hs_arch_setup){ f->arch, { .max_tokens = samples * f->length, .max_seqs = samples } };
}

size_t hs_feed_bytes(const hs_feed *f, int64_t samples)
{
    const hs_arch_shape s = hs_feed_setup(f, samples).shape;
    return (size_t)(4 * s.max_tokens + s.max_seqs + 1) * sizeof(int32_t);
}

// ---- a batch of nothing in particular
hs_status hs_feed_random(hs_batch *out, const hs_feed *f, int64_t samples, uint64_t key)
{
    const int64_t tokens = samples * f->length;
    const uint32_t vocab = (uint32_t)hs_arch_int(f->arch, "model.vocab");
    HS_TRY(hs_windows_batch(out, samples, tokens));
    int32_t *where = hs_batch_i32(out, HS_TEXT_WHERE), *starts = hs_batch_i32(out, HS_TEXT_STARTS);
    for (int64_t i = 0; i < tokens; i++) {
        const hs_u32x4 r = hs_random(key, (uint32_t)i, 0, 0, 0);
        hs_batch_i32(out, HS_TEXT_IDS)[i] = (int32_t)(r.v[0] % vocab);
        hs_batch_i32(out, HS_TEXT_TARGETS)[i] = (int32_t)(r.v[1] % vocab);
        where[2 * i] = (int32_t)(i / f->length), where[2 * i + 1] = (int32_t)(i % f->length);
    }
    for (int64_t s = 0; s <= samples; s++)
        starts[s] = (int32_t)(s * f->length);
    out->n[HS_COUNT_SEQS] = samples, out->n[HS_COUNT_TOKENS] = out->labels[0] = tokens;
    return HS_OK;
}

// ---- sources
hs_status hs_feed_train(hs_source **out, const hs_feed *f, const hs_corpus *corpus)
{
    return hs_windows_new(
        out, &(hs_windows_opts){
                 .parts = corpus->source, .n_parts = corpus->n_sources, .packing = f->packing, .window = f->length, .seed = f->seed });
}

hs_status hs_feed_eval(hs_source **out, const hs_feed *f, const hs_corpus *corpus)
{
    return hs_eval_windows_new(out, &corpus->val, f->length);
}
