// schedulers: instances of one model that continues texts - each a scheduler with a run, pages and a thread of its own.
//
// All texts of a request go to one of them. Of those that have slots free for all of these and at most HS_SCHEDULERS_AHEAD texts more than
// the one with the fewest, it is the one that has seen the longest beginning of its prompt, in whole pages - keys and values are found
// there, a sequence's too -; of several the one with the fewest texts, of these the first. Where none has the slots it is the one with the
// fewest texts, of several again the one that has seen most. Others come to hold a beginning that many have in common that way, and none
// idles for it. What a text says does not depend on which, to the bit; a page that is not kept any more is computed again.
//
// Together they accept as many texts as they have slots and one may have in its queue (queue_most, the same of each).
#ifndef HS_INFER_SCHEDULERS_H
#define HS_INFER_SCHEDULERS_H
#include "infer/server/scheduler.h"

typedef struct hs_schedulers hs_schedulers;
enum { HS_SCHEDULERS = 64, HS_SCHEDULERS_AHEAD = 1 };
hs_status hs_schedulers_new(hs_schedulers **out, const hs_scheduler_opts *o, int n); // o: [n], of plans that are the same
// As of each (scheduler.h).
void hs_schedulers_stop(hs_schedulers *s);
void hs_schedulers_join(hs_schedulers *s);
void hs_schedulers_free(hs_schedulers *s);
hs_status hs_schedulers_check_length(const hs_schedulers *s, int64_t n, int64_t max_tokens);
void hs_schedulers_look(hs_schedulers *s, hs_scheduler_stats *out); // summed up

// Where a request of so many texts with this prompt (the first, of several) goes: hs_scheduler_add, of all its texts. From any thread.
hs_scheduler *hs_schedulers_pick(hs_schedulers *s, const int32_t *ids, int64_t n, int texts);
hs_scheduler *hs_schedulers_at(hs_schedulers *s, int i); // NULL: there are fewer

#endif
