// support_golden: models of transformers under tests/golden beside what PyTorch made of them (golden.safetensors), and how far ours is off.
#ifndef HS_TESTS_SUPPORT_GOLDEN_H
#define HS_TESTS_SUPPORT_GOLDEN_H
#include "data/checkpoint/checkpoint.h"
#include "models/family.h"
#include "recipes/train/engine.h"

typedef struct golden {
    char dir[512];
    const hs_family *family;
    hs_model_info info;
    hs_safetensors *values;
    hs_arch_setup train, eval;      // of info's settings
    const hs_adapter_spec *adapter; // of the engine; NULL: none, and what the folder has of one is merged
} golden;

void golden_open(golden *s, const hs_family *f, const char *folder, const hs_arch_shape *shape); // folder: "encoders/bert"
void golden_close(golden *s);
const hs_st_entry *golden_stored(const golden *s, const char *name); // fails the test: there is none
bool golden_has(const golden *s, const char *name);
const int32_t *golden_row(const golden *s, const char *name, int batch, int64_t *n); // of an i32 [batches, n]

// Plans for evaluation and training (optim NULL: only that) on test_device, weights loaded.
hs_engine *golden_engine(const golden *s, const char *isa, const hs_optim_config *optim);
// An input; one that the plan has not is passed over.
void golden_put(hs_engine *e, hs_mode mode, const char *name, const void *p, int64_t n);
// ids, token_types, task_types, starts, where and live counts out of "ids", "types", "tasks", "starts".
void golden_put_texts(const golden *s, hs_engine *e, hs_mode mode, int batch);

// An output within 1e-5 of the largest.
void golden_check_output(const golden *s, hs_engine *e, int output, const char *name, const char *isa);
// Every gradient, of those stored under `prefix` ("grad."), within 1e-4 of its norm and 1e-7 of that of all; all: each of them is one of
// ours, and each of ours is there.
void golden_check_gradients(const golden *s, const hs_engine *e, const char *prefix, bool all, const char *isa);

#endif
