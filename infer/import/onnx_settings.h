// onnx_settings: settings of a model that came without config.json, off its tensors and its graph.
#ifndef HS_INFER_ONNX_SETTINGS_H
#define HS_INFER_ONNX_SETTINGS_H
#include "infer/import/import_model.h"
#include "infer/import/onnx_values.h"

// Fills m->family and m->info: the first family whose parameters are the tensors of m. USAGE: none is, or the graph counts positions from
// behind padding, so that config.json must say what it is.
hs_status hs_onnx_settings(hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v);
// Holds the settings of m->info, which a config.json said, against the graph: activation, heads, eps. USAGE: the two differ.
hs_status hs_onnx_settings_check(const hs_import_model *m, const hs_onnx *g, const hs_onnx_values *v);

#endif
