// routes_oip: what the routes of the Open Inference Protocol share.
#ifndef HS_INFER_ROUTES_OIP_H
#define HS_INFER_ROUTES_OIP_H
#include "infer/server/oip_model.h"
#include "infer/server/server.h"

// The model of /v2/models/{}[/versions/{}], held; or NULL, and it is answered.
hs_served *hs_call_oip_model(const hs_call *c);

#endif
