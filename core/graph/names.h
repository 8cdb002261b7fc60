// names: what other tools call our parameters, as rows. The families of models/ have the rows, data/ reads and writes by them.
#ifndef HS_CORE_NAMES_H
#define HS_CORE_NAMES_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// "h%d.attn.qkv.weight" <-> "transformer.h.%d.attn.c_attn.weight". At most one %d on each side.
typedef struct hs_name_rule {
    const char *ours, *theirs;
    bool transposed; // theirs is [in, out]
    int part;        // theirs is this one, from 1 on, of the logical tensors stacked in ours (query, key, value); 0: it is all of ours
} hs_name_rule;

// A tensor that files may hold beside the parameters.
typedef struct hs_alias {
    const char *pattern; // glob: "*.attn.masked_bias"
    const char *same_as; // (optional) their name of the tensor it must then be equal to: a tied head
} hs_alias;

// Translates by the first rule that matches; returns NULL (and leaves buf alone) if none does. *rule: the one that did; may be NULL.
const char *hs_name_to_theirs(const hs_name_rule *rules, int n, const char *ours, char *buf, size_t size, const hs_name_rule **rule);

// The tensors of a file that make up one parameter.
enum { HS_NAME_BYTES = 320, HS_NAME_PIECES = 8 };
typedef struct hs_name_piece {
    char name[HS_NAME_BYTES];
    bool transposed;
    int part; // from 1 on; 0: all of it
} hs_name_piece;
// A parameter without a rule keeps its own name. parts: logical tensors stacked in it. INTERNAL: rules that name some of the parts, or one
// twice; USAGE: a name that is too long.
hs_status hs_name_pieces(const hs_name_rule *rules, int n, const char *ours, int parts, hs_name_piece piece[HS_NAME_PIECES], int *n_pieces);

#ifdef __cplusplus
}
#endif
#endif
