// request_body: members of a request's JSON, each wrong one answered by its name.
#ifndef HS_INFER_REQUEST_BODY_H
#define HS_INFER_REQUEST_BODY_H
#include "infer/server/server.h"

json_t *hs_body_object(const hs_call *c); // NULL: it is answered
// A member that is not there, or null, leaves *value as it is. False: it is answered with 422.
bool hs_body_flag(const hs_call *c, const json_t *body, const char *key, int *value); // 0, 1
bool hs_body_int(const hs_call *c, const json_t *body, const char *key, int64_t min, int64_t max, int64_t *value);
// Has it no other members than these (NULL behind the last)? One that nobody reads would be an answer to another question; null is none, and
// "options" and "user", which clients of other servers send along, change no answer. False: it is answered with 422.
bool hs_body_known(const hs_call *c, const json_t *body, const char *const *keys);
// right: one of two words, in any case; left 1.
bool hs_body_side(const hs_call *c, const json_t *body, const char *key, int *left);
// One that must be there; borrowed from body. NULL: it is answered.
const char *hs_body_text(const hs_call *c, const json_t *body, const char *key, size_t *bytes);
// The model that a request names - in its path (argument 0), or by "model" - or the first that does one of `does`; held. NULL: it is
// answered.
hs_served *hs_body_model(const hs_call *c, const json_t *body, unsigned does);

#endif
