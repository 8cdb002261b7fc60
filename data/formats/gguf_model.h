// gguf_model: what a GGUF file says of a model, by the rows of its family.
#ifndef HS_DATA_GGUF_MODEL_H
#define HS_DATA_GGUF_MODEL_H
#include "core/settings/keys.h"
#include "data/formats/gguf.h"

// general.architecture and the family's own keys.
void hs_gguf_put_model(hs_gguf *g, const hs_gguf_files *f, const void *settings);
// Index of the family whose architecture it is. UNSUPPORTED: another one, with those that are known.
hs_status hs_gguf_find_model(const hs_gguf *g, const char *path, const hs_model_files *const *known, int n_known, int *index);
// Fields that neither a key nor a tensor's rows say keep their value. CORRUPT: a key that is missing or outside of its range;
// UNSUPPORTED: one that asks for what the family does not do.
hs_status hs_gguf_get_model(const hs_gguf *g, const char *path, const hs_gguf_files *f, hs_settings *settings);

#endif
