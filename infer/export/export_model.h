// export_model: a checkpoint to be written in another form - what its files say, its values, and a trace of it to walk.
//
//   hs_export_model_open -> hs_export_model_trace, one call for each graph that is wanted -> hs_export_model_load -> whoever writes
//
// No device, no plan: values lie in the host's memory, once.
#ifndef HS_INFER_EXPORT_MODEL_H
#define HS_INFER_EXPORT_MODEL_H
#include "data/checkpoint/checkpoint.h"
#include "data/checkpoint/sentence_folder.h"
#include "models/family.h"

typedef struct hs_export_model {
    char dir[4096]; // the model directory
    hs_model_info info;
    hs_arch arch;
    hs_tokenizer *tokenizer; // NULL: the directory has none that Halfstep reads; hs_error of it in tokenizer_error
    char tokenizer_error[512];
    char sentence_error[512]; // why a folder of sentence-transformers is not understood; "": it is, or it is none
    hs_sentence sentence;     // what the folder says of how texts become vectors
    char path[4096];          // as it was opened
    hs_ckpt_codes *codes;    // which of its values are kept as codes; NULL: none
    hs_params *params;
    hs_states *states;
} hs_export_model;

// m must not move while it is open. On failure too: hs_export_model_close.
hs_status hs_export_model_open(hs_export_model *m, const char *path, int want, const hs_family *const *families);
hs_status hs_export_model_trace(hs_export_model *m, hs_mode mode, const hs_arch_shape *shape, hs_graph **out); // the caller frees it
hs_status hs_export_model_load(hs_export_model *m);
void hs_export_model_close(hs_export_model *m);

// The tensors that its family's files have of a parameter (hs_name_pieces).
hs_status hs_export_pieces(const hs_export_model *m, const hs_param *p, hs_name_piece piece[HS_NAME_PIECES], int *n);

#endif
