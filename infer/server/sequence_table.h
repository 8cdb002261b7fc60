// sequence_table: texts that go on over several requests, as Triton's sequences do - by a client's id the tokens so far, and whose turn it
// is. One request of a sequence is under way at a time; others wait behind it in the order they came.
//
//   hs_sequence_come -> turn.go, at once or from the end of the one before -> hs_sequence_done
//
// A sequence lives from a request with `start` to the end of one with `end`, of a `start` that fails, or until it was idle for too long.
// Any other request that fails leaves it as it was. `start` of one that lives begins it anew.
#ifndef HS_INFER_SEQUENCE_TABLE_H
#define HS_INFER_SEQUENCE_TABLE_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stdint.h>

enum { HS_SEQUENCE_ID = 136, HS_SEQUENCE_WAITING = 16 }; // bytes of an id; requests that may wait for their turn

typedef struct hs_sequence_turn hs_sequence_turn;
struct hs_sequence_turn { // a request's; it stays where it is until `missed`, or hs_sequence_done
    const char *id;       // shorter than HS_SEQUENCE_ID
    bool start, end;
    void (*go)(hs_sequence_turn *t, const int32_t *ids, int64_t n); // its turn: the tokens so far, none at a start; valid until done
    void (*missed)(hs_sequence_turn *t);                            // the sequence ended while it waited, or it was gone
    bool (*gone)(hs_sequence_turn *t);                              // (optional) nobody waits for it any more; must not call the table
    // the table's
    struct hs_sequence_entry *of; // NULL: it is not its turn
    hs_sequence_turn *next;
};

typedef struct hs_sequence_table hs_sequence_table;
// At most so many sequences, and requests that wait for their turn in any of them.
hs_status hs_sequence_table_new(hs_sequence_table **out, int64_t most, int64_t most_waiting, double idle_seconds);
void hs_sequence_table_free(hs_sequence_table *s); // no turn is under way. NULL: nothing

// From any thread. `go` comes, or `missed`. USAGE: not a start, and there is no such sequence. MEMORY: as many live, or wait for this one
// or for any, as may. Nothing is called then.
hs_status hs_sequence_come(hs_sequence_table *s, hs_sequence_turn *t);
// From any thread, `go` too. ids: malloc'd, all tokens now, taken over; NULL: the request has failed. Another one's `go` may come before it
// returns.
void hs_sequence_done(hs_sequence_table *s, hs_sequence_turn *t, int32_t *ids, int64_t n);
// By whoever has the turn, as often as he comes by: those behind t that are gone are missed. Looks at most ten times a second.
void hs_sequence_look_behind(hs_sequence_table *s, hs_sequence_turn *t);

typedef struct hs_sequence_stats {
    int64_t live;
    uint64_t started, idle; // ever; of these, that ended for they were idle
} hs_sequence_stats;
hs_sequence_stats hs_sequence_table_look(hs_sequence_table *s);

#endif
