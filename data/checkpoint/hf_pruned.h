// hf_pruned: what config.json says of a model that something was left out of - "sparsity", which is ours, and "pruned_heads", by the row
// HS_FILE_PRUNED of its family.
#ifndef HS_DATA_HF_PRUNED_H
#define HS_DATA_HF_PRUNED_H
#include "data/base/json_util.h"
#include "data/checkpoint/checkpoint.h"

void hs_file_sparsity_write(hs_text *t, const hs_sparsity *s);
hs_status hs_file_sparsity_read(const hs_json *j, hs_sparsity *out); // nothing where the file says nothing

int64_t hs_file_int(const hs_file_key *k, const void *settings);        // of a row HS_FILE_INT, as the file has it
bool hs_file_pruned_absent(const hs_file_key *k, const void *settings); // a row HS_FILE_PRUNED of a model that has all of its heads
void hs_file_pruned_write(hs_text *t, const hs_file_key *k, const hs_model_info *m);
hs_status hs_file_pruned_read(const hs_json *j, hs_model_info *m); // behind all other rows

#endif
