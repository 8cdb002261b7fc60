// lora: settings of an adapter (LoRA) in the words of a model's family: which weights wear a pair, what is trained beside them.
#ifndef HS_MODELS_LORA_H
#define HS_MODELS_LORA_H
#include "core/graph/adapter.h"
#include "models/family.h"

typedef struct hs_lora {
    int64_t rank;
    double alpha, dropout;
    bool rslora;
    // Names of ours ("q", "attn.out", "l3.*"), of PEFT ("query", "c_attn", "bert.encoder.layer.3.output.dense") or "all-linear", separated
    // by commas. "" or NULL: what PEFT takes for the family, query and value, where files have those in one tensor all of it
    const char *targets;
    bool pooler; // train it too: of weights that had none, and have one drawn
} hs_lora;

enum { HS_LORA_TEXT = 8192 };
// The spec of parameters that wear it. text: its strings lie there. What is trained beside the pairs is the task's head. USAGE: a target
// has too many meanings for the room.
hs_status hs_lora_spec(hs_adapter_spec *out, const hs_lora *l, hs_arch m, char text[HS_LORA_TEXT]);

#endif
