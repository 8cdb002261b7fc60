// attr: the attributes of an op as rows - name, type, offset, words - so that whatever walks nodes (plan, export, quantization)
// reads and writes any of them without knowing the op.
//
//   static const hs_attr attrs[] = { HS_ATTR(hs_matmul_attr, ta), HS_ATTR(hs_matmul_attr, tb), HS_ATTR(hs_matmul_attr, scale) };
//
// Attributes are plain values in a struct: there is no row for a pointer, and rows cover all of its bytes but padding.
#ifndef HS_CORE_ATTR_H
#define HS_CORE_ATTR_H
#include "core/base/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct hs_op;

typedef enum hs_attr_type { HS_ATTR_UNSET, HS_ATTR_BOOL, HS_ATTR_I32, HS_ATTR_I64, HS_ATTR_F32 } hs_attr_type;

typedef struct hs_attr {
    const char *name;
    uint8_t type; // hs_attr_type
    uint16_t offset;
    const char *words; // of an i32 that is a choice, by value: "erf|tanh"; else NULL
} hs_attr;

// The row of a field; a type that has none does not compile.
#define HS_ATTR_WORDS(struct_, field, words_)                                                                                              \
    {                                                                                                                                      \
#field,                                                                                                                            \
            _Generic(((struct_ *)0)->field, bool                                                                                           \
                     : HS_ATTR_BOOL, int32_t                                                                                               \
                     : HS_ATTR_I32, int64_t                                                                                                \
                     : HS_ATTR_I64, float                                                                                                  \
                     : HS_ATTR_F32),                                                                                                       \
            offsetof(struct_, field), words_                                                                                               \
    }
#define HS_ATTR(struct_, field) HS_ATTR_WORDS(struct_, field, NULL)

// What is wrong with the rows of an op, in one line; NULL: they are laid out as its struct is, and name every byte of it. (A bool left
// out where padding would lie as well is the one thing that no table can tell.)
const char *hs_attrs_check(const struct hs_op *op);

const char *hs_attr_type_name(const hs_attr *a);                       // "i32", or its words
const hs_attr *hs_attr_find(const struct hs_op *op, const char *name); // NULL: it has none of that name
int64_t hs_attr_int(const hs_attr *a, const void *attr);               // of any type but f32
void hs_attr_set_int(const hs_attr *a, void *attr, int64_t v);

// All of them as text that hs_attrs_parse reads back to the same bits: "heads=12 causal=true dropout=0.1 scale=0"; "" where there
// are none. Returns the length it has or would have, as snprintf does.
size_t hs_attrs_text(const struct hs_op *op, const void *attr, char *buf, size_t size);
// Sets those that the text names (separated by spaces or commas) and leaves the others. USAGE: no such attribute, or not a value of its
// type; those before it are set by then.
hs_status hs_attrs_parse(const struct hs_op *op, const char *text, void *attr);

#ifdef __cplusplus
}
#endif
#endif
