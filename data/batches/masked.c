// masked: where the text of sample i lies, what is written of it, and which objective it is.
#include "data/batches/masked.h"

const hs_column hs_masked_columns[HS_MASKED_COLUMNS] = {
    [HS_PAIR_IDS] = { .name = "ids", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [HS_PAIR_TYPES] = { .name = "token_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
    [HS_PAIR_STARTS] = { .name = "starts", .dtype = HS_I32, .ext = HS_EXT_STARTS, .tail = HS_TAIL_LAST },
    [HS_PAIR_WHERE] = { .name = "where", .dtype = HS_I32, .ext = HS_EXT_TOKENS, .row = { 2 } },
    [HS_PAIR_PICKS] = { .name = "picks", .dtype = HS_I32, .ext = HS_EXT_PICKS },
    [HS_PAIR_PICK_TARGETS] = { .name = "pick_targets", .dtype = HS_I32, .ext = HS_EXT_PICKS, .tail = HS_TAIL_IGNORE },
    [HS_PAIR_TARGETS] = { .name = "pair_targets", .dtype = HS_I32, .ext = HS_EXT_SEQS, .tail = HS_TAIL_IGNORE },
    [HS_MASKED_ORDER_TARGETS] = { .name = "order_targets", .dtype = HS_I32, .ext = HS_EXT_SEQS, .tail = HS_TAIL_IGNORE },
    [HS_MASKED_TASK_TYPES] = { .name = "task_types", .dtype = HS_I32, .ext = HS_EXT_TOKENS },
};
