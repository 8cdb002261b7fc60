// The C half of phases_vs_torch.sh: the sequences with masked tokens that a run trains on, as a file that PyTorch opens.
//   dump_sequences STORE TOKENIZER SEED LENGTH PREDICTIONS BATCH STEPS OUT.safetensors
// Samples [i BATCH, (i + 1) BATCH) of a token store as `pretrain` draws them by the default objective (next sentence, tokens, 15 %), for
// each of STEPS steps i; i32 tensors "i.ids", "i.token_types", "i.starts", "i.picks", "i.pick_targets", "i.pair_targets"
// (data/batches/masked.h).
#include "data/batches/masked.h"
#include "data/checkpoint/checkpoint.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 64, WANTED = 6 };
static const int wanted[WANTED] = { HS_PAIR_IDS, HS_PAIR_TYPES, HS_PAIR_STARTS, HS_PAIR_PICKS, HS_PAIR_PICK_TARGETS, HS_PAIR_TARGETS };

typedef struct job {
    const char *store, *tokenizer, *out;
    int64_t seed, length, predictions, batch, steps;
} job;

static hs_status open_source(hs_source **out, const job *j, hs_token_store *store, const hs_tokenizer *t)
{
    static const hs_objective next = {
        .segments = HS_SEGMENTS_NEXT, .unit = HS_MASK_TOKEN, .probability = 0.15, .masked = 0.8, .random = 0.1, .weight = 1, .ngram = 3
    };
    const hs_text_part part = { { store, 0, hs_token_store_info_of(store).n_tokens }, 1 };
    hs_masked_opts o = { .parts = &part,
                         .n_parts = 1,
                         .length = j->length,
                         .predictions = j->predictions,
                         .vocab = hs_tokenizer_vocab(t),
                         .objective = &next,
                         .n_objectives = 1,
                         .types = true,
                         .short_share = 0.1,
                         .seed = (uint64_t)j->seed,
                         .batch = j->batch };
    uint8_t *continues = malloc((size_t)o.vocab);
    if (!continues)
        return HS_FAIL(MEMORY, "no memory for marks of %lld tokens", (long long)o.vocab);
    hs_masked_continues_of(t, continues);
    o.continues = continues;
    HS_TRY(hs_masked_ids_of(t, &o.ids));
    const hs_status st = hs_masked_new(out, &o);
    free(continues);
    return st;
}

static hs_status keep_step(const job *j, hs_source *s, hs_batch *b, int64_t step, hs_st_tensor *tensor, char (*name)[48])
{
    HS_TRY(hs_source_fill(s, b, (uint64_t)(step * j->batch), j->batch));
    for (int i = 0; i < WANTED; i++) {
        const hs_column *c = &b->column[wanted[i]];
        const int64_t n = hs_column_live(c, b);
        snprintf(name[i], sizeof *name, "%lld.%s", (long long)step, c->name);
        void *copy = malloc((size_t)n * sizeof(int32_t));
        if (!copy)
            return HS_FAIL(MEMORY, "no memory for %lld numbers", (long long)n);
        memcpy(copy, c->p, (size_t)n * sizeof(int32_t));
        tensor[i] = (hs_st_tensor){ .name = name[i], .dtype = HS_I32, .n_dims = 1, .dim = { n }, .data = copy };
    }
    return HS_OK;
}

static hs_status dump(const job *j)
{
    static hs_st_tensor tensor[MOST_STEPS * WANTED];
    static char name[MOST_STEPS * WANTED][48];
    hs_token_store *store;
    hs_tokenizer *t;
    hs_source *s;
    hs_batch b;
    HS_TRY(hs_token_store_open(&store, j->store));
    HS_TRY(hs_tokenizer_load(&t, j->tokenizer));
    HS_TRY(open_source(&s, j, store, t));
    HS_TRY(hs_source_batch(s, j->batch, &b));
    for (int64_t i = 0; i < j->steps; i++)
        HS_TRY(keep_step(j, s, &b, i, tensor + i * WANTED, name + i * WANTED));
    return hs_safetensors_write(j->out, tensor, (int)(j->steps * WANTED), NULL);
}

int main(int argc, char **argv)
{
    if (argc != 9) {
        fprintf(stderr, "usage: dump_sequences STORE TOKENIZER SEED LENGTH PREDICTIONS BATCH STEPS OUT.safetensors\n");
        return 2;
    }
    const job j = { .store = argv[1],
                    .tokenizer = argv[2],
                    .seed = atoll(argv[3]),
                    .length = atoll(argv[4]),
                    .predictions = atoll(argv[5]),
                    .batch = atoll(argv[6]),
                    .steps = atoll(argv[7]),
                    .out = argv[8] };
    if (j.steps < 1 || j.steps > MOST_STEPS) {
        fprintf(stderr, "dump_sequences: %lld steps, allowed 1 to %d\n", (long long)j.steps, MOST_STEPS);
        return 2;
    }
    if (dump(&j) == HS_OK)
        return 0;
    fprintf(stderr, "dump_sequences: %s (%s)\n", hs_error(), hs_error_frames());
    return 1;
}
