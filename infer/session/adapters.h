// adapters: one base model in memory and any number of adapters (folders of PEFT), of which it wears one at a time.
//
//   hs_session_open (the folder of any of them) -> hs_session_adapters -> hs_session_load -> hs_session_wear, between runs
//
// The parameters wear pairs as wide as the widest adapter, where any of them has one; what is narrower or elsewhere is filled with zeros.
// What adapters keep whole (a task's head) changes with them. Values stay in memory as f32 (nothing is served from files, or released).
#ifndef HS_INFER_ADAPTERS_H
#define HS_INFER_ADAPTERS_H
#include "infer/session/session.h"

// Of these folders; the first is worn once the session is loaded. USAGE: they have other bases, or heads of other tasks or widths.
// UNSUPPORTED: targets that are an expression.
hs_status hs_session_adapters(hs_session *s, const char *const *dir, int n, const hs_family *const *families);
// Puts adapter `which` on, -1: none, while nothing runs. Bits do not depend on what was worn before.
hs_status hs_session_wear(hs_session *s, int which);
const hs_model_info *hs_session_adapter_info(const hs_session *s, int which); // its labels

// ---- of this folder
struct hs_adapters;
hs_status hs_adapters_begin(hs_session *s);   // before plans: the model's parameters wear pairs
hs_status hs_adapters_load(hs_session *s);    // the base's values, and the first adapter
void hs_adapters_free(struct hs_adapters *a); // takes NULL

#endif
