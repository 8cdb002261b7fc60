// peft: an adapter as PEFT keeps it in a folder - adapter_config.json and adapter_model.safetensors, beside a base model that lies
// elsewhere.
//
//   base_model.model.MODULE.lora_A.weight [rank, in], .lora_B.weight [out, rank]       MODULE: the base's own name of a weight, without
//   ".weight" base_model.model.NAME                                                              tensors that are kept whole
//   (modules_to_save): a task's head
//
// Such a folder opens wherever a checkpoint does (hs_weights_open): as the base with its weights merged, w + alpha / rank B A, or, where
// the parameters wear pairs of their own, with the pairs apart. A checkpoint of a run that trains an adapter is such a folder, with
// config.json, the tokenizer and train/; the base is named, summed (train/manifest.json, with the way to it from there) and not copied.
#ifndef HS_DATA_PEFT_H
#define HS_DATA_PEFT_H
#include "core/graph/adapter.h"
#include "data/checkpoint/ckpt_parts.h"

#define HS_PEFT_CONFIG  "adapter_config.json"
#define HS_PEFT_WEIGHTS "adapter_model.safetensors"
#define HS_PEFT_PREFIX  "base_model.model."

typedef struct hs_peft { // what adapter_config.json says
    char base[HS_PATH];  // folder of the base model
    int64_t rank;
    double alpha, dropout;
    bool rslora;
    bool ranks;    // "rank_pattern": some pairs are of other ranks than `rank`
    char *targets; // names, separated by commas; NULL: an expression that is none of names
    int task;      // hs_task; of HS_TASK_SEQUENCE also regression and multilabel, as PEFT has one word
} hs_peft;

bool hs_peft_is(const char *dir); // an adapter's folder, without weights of its own
// UNSUPPORTED: another method than LoRA, or a form of it that computes something else; USAGE: the base is no folder here. hs_peft_free in
// any case.
hs_status hs_peft_read(hs_peft *p, const char *dir);
void hs_peft_free(hs_peft *p);
// Where a model directory's own weights lie: dir, or the base of an adapter.
hs_status hs_peft_base(const char *dir, char out[HS_PATH]);
// Whose tokenizer goes with the weights: the folder's own, or where it has none that of its base.
hs_status hs_peft_tokenizer(const char *dir, char out[HS_PATH]);

// adapter_config.json of parameters that wear pairs; o: its rows of names, and its base. task: hs_task. texts: a model that writes texts.
hs_status hs_peft_json(hs_text *t, const hs_params *ps, const hs_ckpt_opts *o, int task, bool texts);
// The tensors that a file has of one of a pair: of each part that wears one.
hs_status hs_peft_pieces(const hs_ckpt_opts *o, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n);
// Is it of the adapter: one of a pair, or trained beside them?
bool hs_peft_keeps(const hs_param *p);

#endif
