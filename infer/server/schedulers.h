// schedulers: instances of one model that continues texts - each a scheduler with a run, pages and a thread of its own.
//
// All texts of a request go to one of them: the one that has seen the longest beginning of its prompt, in whole pages, while that has a
// slot free - keys and values are found there, a sequence's too -, else the one with the fewest texts, the first of these. What a text says
// does not depend on which, to the bit; a page that is not kept any more is computed again.
#ifndef HS_INFER_SCHEDULERS_H
#define HS_INFER_SCHEDULERS_H
#include "infer/server/scheduler.h"

typedef struct hs_schedulers hs_schedulers;
enum { HS_SCHEDULERS = 64 };
hs_status hs_schedulers_new(hs_schedulers **out, const hs_scheduler_opts *o, int n); // o: [n], of plans that are the same
// As of each (scheduler.h).
void hs_schedulers_stop(hs_schedulers *s);
void hs_schedulers_free(hs_schedulers *s);
hs_status hs_schedulers_check_length(const hs_schedulers *s, int64_t n, int64_t max_tokens);
void hs_schedulers_look(hs_schedulers *s, hs_scheduler_stats *out); // summed up

// Where a request with this prompt (the first, of several) goes: hs_scheduler_add, of all its texts. From any thread.
hs_scheduler *hs_schedulers_pick(hs_schedulers *s, const int32_t *ids, int64_t n);
hs_scheduler *hs_schedulers_at(hs_schedulers *s, int i); // NULL: there are fewer

#endif
