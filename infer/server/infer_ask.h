// infer_ask: a request of the Open Inference Protocol that is read, about whatever model it is for; from a client, or from a step of an
// ensemble.
#ifndef HS_INFER_INFER_ASK_H
#define HS_INFER_INFER_ASK_H
#include "infer/server/infer_answer.h"
#include "infer/server/infer_request.h"
#include "infer/server/server.h"

// Takes m over, and r's head; r itself is the caller's to free, its tensors' data are borrowed until there is an answer - which goes to the
// client, or to c->inner.
void hs_infer_ask(const hs_call *c, hs_served *m, hs_infer_request *r);
// The same of models that continue texts: text_input in, text_output out, one text; parameters as `generate` has them.
void hs_infer_ask_text(const hs_call *c, hs_served *m, hs_infer_request *r);

void hs_infer_send(const hs_call *c, const hs_infer_answer *a); // written, and on its way

#endif
