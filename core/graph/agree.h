// agree: ranks do each their share of something that may fail, and all learn the one outcome.
//
//   hs_agreement a = hs_agree_begin(comm, 1);
//   st = work(..., &a);                  // calls hs_agree_tick now and then
//   HS_TRY(hs_agree_end(&a, st));        // on every rank: OK, or the first failing rank's status and message
//
// Shares may be of very different lengths: a rank that is done does not sit in one collective until the last is, which a deadline for
// collectives (parallel.timeout) would take for a hang, but meets the others now and then. A rank that fails stops all at the next tick.
#ifndef HS_CORE_AGREE_H
#define HS_CORE_AGREE_H
#include "core/graph/comm.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_agreement {
    hs_comm *comm; // NULL or of one rank: nobody to ask
    double every, last;
    bool failed; // somebody has, and all know
    hs_status outcome;
    char message[1024];
} hs_agreement;

// All ranks of comm begin at about the same time. every: seconds between meetings while work goes on.
hs_agreement hs_agree_begin(hs_comm *comm, double every);
// Collective where it is time, else at once OK. NULL: nothing. Not OK: a rank has failed, give up; hs_agree_end says so again.
hs_status hs_agree_tick(hs_agreement *a);
// Collective, once. mine: this rank's status, with its message in hs_error(). Where some are not OK: that of the lowest such rank, as "rank
// R: MESSAGE". A single rank: mine.
hs_status hs_agree_end(hs_agreement *a, hs_status mine);
hs_status hs_agree(hs_comm *comm, hs_status mine); // of shares that take no time

#ifdef __cplusplus
}
#endif
#endif
