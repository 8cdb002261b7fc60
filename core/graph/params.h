// params: named parameters, slabs that hold what they have, and the chunk table every norm, thread, shard and rank divides by.
//
// A parameter's value is its f32 master; `low` is a copy the optimizer refreshes once per step (never a cast node, never
// saved), of bf16 to nearest, ties away from zero (hs_value_bf16). Where no kernel reads a value in f32, hs_params_set_masters has it kept
// in less beside a bf16 copy: as the 16 bits that the copy lacks, or as the copy alone. Weights are stored [out, in]. A *logical tensor* is
// what LAMB, clipping and checkpoints speak of: `parts` of them are stacked along dim 0 of one stored parameter (QKV: 3). Rows beyond the
// logical ones are padding: zero, cut in cross-entropy and on export.
//
// A frozen parameter keeps its value: no gradient reaches it, no optimizer keeps anything for it or walks it.
#ifndef HS_CORE_PARAMS_H
#define HS_CORE_PARAMS_H
#include "core/base/status.h"
#include "core/graph/step.h"
#include "core/graph/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hs_role { HS_WEIGHT, HS_BIAS, HS_NORM, HS_EMBED, HS_N_ROLES } hs_role; // decides decay and trust ratio: never the name
typedef enum hs_shard { HS_SHARD_NONE, HS_SHARD_COL, HS_SHARD_ROW } hs_shard;       // COL: rows of [out,in] within each part; ROW: columns
typedef enum hs_init { HS_INIT_ZERO, HS_INIT_ONE, HS_INIT_NORMAL, HS_INIT_UNIFORM } hs_init;

// What the gradient of a parameter is here that every tensor-parallel rank has whole: all of it, or a part of a sum over ranks (of their
// shares of the tokens, HS_EXT_SHARE; of an op that is HS_OP_TP_PART), which an update begins with adding up.
typedef enum hs_grad_of { HS_GRAD_UNKNOWN, HS_GRAD_ALL, HS_GRAD_PART } hs_grad_of;

typedef enum hs_coding {
    HS_CODING_NONE,
    HS_CODING_I8,
    HS_CODING_I8_STATIC,
    HS_CODING_I8_BLOCKS,
    HS_CODING_I4_BLOCKS,
    HS_N_CODINGS
} hs_coding;

struct hs_param {
    char *name; // "h3.attn.qkv.weight"
    hs_role role;
    hs_shard shard;
    hs_init init;
    float std; // of HS_INIT_NORMAL; of HS_INIT_UNIFORM the largest magnitude
    int parts;
    int n_dims;
    int64_t logical[HS_MAX_DIMS]; // whole tensor, all parts, no padding
    int64_t dim[HS_MAX_DIMS];     // stored here: this rank's shard, padded
    size_t n;                     // elements as stored
    int id;
    int pair_parts;             // of one of an adapter's pair (lora_a, lora_b): how many parts the weight beside it has; else 0
    unsigned pair_mask;         // and bits of those that its own parts are for, in their order
    hs_grad_of grad_of;         // as far as plans have said
    hs_coding coding;           // how its value is kept (core/graph/coding.h)
    bool frozen;                // by its spec, by hs_params_freeze or because an adapter is trained
    bool keeps_zeros;           // hs_params_keep_zeros
    struct hs_derived *derived; // list of its copies in other layouts
};

// ---- slabs
// One kind of bytes that parameters have - values, gradients, a moment - in one piece of memory, with a table of whose lie where. A
// parameter may be absent. Elements lie as the parameter is stored, unless the slab's spec says how many bytes there are instead. Nobody
// adds offsets up: hs_slab_at, hs_slab_element and hs_slab_in know.
typedef struct hs_slab_spec {
    const char *name;    // "master", "low", "grad", "adam.m"; borrowed
    hs_dtype dtype;      // of an element
    bool trainable_only; // frozen parameters are absent
    bool saved;          // what a run goes on from besides the values: checkpoints hold it, as SLAB.PARAMETER
    bool per_tensor;     // one element for each logical tensor (hs_param.parts) instead of its elements
    bool coded;          // of parameters that are kept as codes, which are in no other; false: those are absent
    bool divides;        // each data-parallel rank keeps its share alone where the optimizer is divided (core/graph/divide.h)
    size_t (*bytes)(const hs_param *p, const void *user); // (optional) of one parameter, 0: absent; defaults to its stored elements
    const void *user;
} hs_slab_spec;

typedef struct hs_place {
    size_t offset, bytes; // bytes 0: absent
    size_t first;         // element of the stored parameter that they begin with: of an optimizer's shard; else 0
    size_t width;         // bytes of an element: those of the slab's type, or 2 of a value in halves
    bool turned;          // a matrix lies as [cols, rows]: hs_params_turned
    bool passes;          // it shares its place with others: hs_params_pass
    char *p, *k;          // adopted bytes, which lie elsewhere and are only read: as hs_slab.p and k. NULL: they lie at offset
} hs_place;

typedef struct hs_slab {
    hs_slab_spec spec;
    hs_place *place; // by hs_param.id; there as soon as slab and parameter are known, memory or not
    int cap_places;
    size_t bytes;   // of its own memory
    size_t adopted; // bytes of its parameters that lie elsewhere
    char *p;        // the device's memory: for its copy and fill, and to be bound, never to be followed. NULL before hs_params_alloc
    char *k;        // the same as kernels get it
    bool lent;      // p is someone else's
} hs_slab;

// How values are kept that no kernel reads in f32 (of others the master is f32 whatever is asked for: biases, norms, embeddings), beside a
// low copy of bf16. With NONE kernels of embedding read the copy (HS_LOW_VALUE), by plans made behind hs_params_set_masters. SPLIT: the
// slab "master" has 16 bits of an element, its low half, which together with the copy are the f32 to the bit (hs_halves_join): training has
// the bits of F32 masters in 4 bytes an element instead of 6. NONE: the copy is all there is, 2 bytes; optimizers round it stochastically,
// whatever else writes it to nearest.
typedef enum hs_masters { HS_MASTERS_F32, HS_MASTERS_SPLIT, HS_MASTERS_NONE, HS_N_MASTERS } hs_masters;
#define HS_MASTERS_WORDS "f32|split|none"

enum { HS_CHUNK = 4096, HS_SLAB_ALIGN = 64 }; // elements: of a chunk, at most; that a parameter's place in a slab is rounded up to
typedef struct hs_chunk {                     // at most HS_CHUNK elements of one logical tensor that is trained; the host's table
    int32_t param, logical;                   // logical: index over all logical tensors of the table
    size_t first;                             // element of the stored parameter
    int32_t n;
    bool counted; // false for tp-replicated tensors on tp ranks > 0: counted once in norms
} hs_chunk;

typedef struct hs_hold {                                   // what is not trained yet, by how deep it lies
    int (*depth)(const void *settings, const char *param); // NULL: nothing is held
    const void *settings;                                  // borrowed, as long as plans are made
    int from;                                              // the least depth that is trained
} hs_hold;

struct hs_param_spec;
typedef struct hs_coder { // which parameters are kept as codes: hs_params_code
    hs_coding (*coding)(const void *user, const struct hs_param_spec *spec);
    const void *user;
} hs_coder;

typedef struct hs_derived hs_derived;
struct hs_shares;
typedef struct hs_params {
    hs_param **param;
    int n_params, capacity;
    struct hs_map *by_name;
    uint64_t seed;
    int tp_rank, tp_size;
    char *freeze;            // patterns of hs_params_freeze; NULL: none
    const char *freeze_name; // what messages call them
    char *keep;              // patterns of hs_params_keep_zeros; NULL: none
    const char *keep_name;
    struct hs_adapter *adapter; // of hs_params_adapt (core/graph/adapter.h); NULL: none
    hs_coder coder;             // of hs_params_code
    hs_hold hold;               // hs_params_hold
    struct hs_shares *shares;   // of hs_params_divide (core/graph/divide.h); NULL: every rank has all
    hs_masters masters;         // of hs_params_set_masters
    bool *f32;                  // by id: kernels read its values in f32 (hs_params_read_f32)
    int cap_f32, n_settled;     // n_settled: parameters that hs_params_settle has laid out
    hs_slab **slab;
    int n_slabs, cap_slabs;
    hs_slab *master, *low, *grad; // of these names; low, grad: NULL where not declared
    struct hs_device *device;     // whose memory slabs and copies are; NULL: the host's
    bool allocated;
    hs_chunk *chunk;
    int n_chunks, n_logical;
    uint8_t *has_grad;     // by id: a plan of this step has made its gradient; the optimizer leaves the others alone. All at first
    char *marks, *marks_k; // the same in the device's memory, and as kernels get it
    size_t n_trained;      // elements as stored, of parameters that are not frozen
    uint64_t version;      // of the values: hs_params_changed raises it
    hs_derived **derived;  // copies of values in other layouts: core/graph/derived.h
    int n_derived, cap_derived;
} hs_params;

typedef struct hs_param_spec {
    const char *name; // full name; hs_param_get prefixes the scope
    hs_role role;
    hs_shard shard;
    hs_init init;
    float std;
    int parts;      // 0 means 1
    int pad_rows;   // stored rows are a multiple of this; 0: no padding
    bool frozen;    // never trained; false: trained, unless hs_params_freeze says otherwise
    int pair_parts; // as in hs_param
    unsigned pair_mask;
    int n_dims;
    int64_t dim[HS_MAX_DIMS]; // logical
} hs_param_spec;

hs_status hs_params_new(hs_params **out, uint64_t seed, int tp_rank, int tp_size);
void hs_params_free(hs_params *ps);

// Freezes besides what lies less deep than h.from, before there are any parameters.
void hs_params_hold(hs_params *ps, hs_hold h);
// Freezes parameters by name, before there are any: patterns, separated by commas, are a parameter's name ("wte.weight"), a scope ("h0":
// all of it) or either with * and ? ("h?.attn*"). `name`: what messages call the setting; borrowed. "" or NULL: none.
hs_status hs_params_freeze(hs_params *ps, const char *patterns, const char *name);
hs_status hs_params_check_freeze(
    const hs_params *ps); // once all are there: USAGE naming a pattern that fits none, or that nothing is left to train

// What is zero in those weights when an update begins is zero behind it (optim.h): a pruned model is trained on without a mask beside it.
// Of patterns as above, before there are any parameters; of what they fit, matrices alone. hs_params_check_keep: USAGE naming a pattern
// that fits no weight.
hs_status hs_params_keep_zeros(hs_params *ps, const char *patterns, const char *name);
hs_status hs_params_check_keep(const hs_params *ps);
bool hs_patterns_fit(const char *patterns, const char *name); // one of a list as these two take it; NULL: none
hs_status hs_patterns_check(const char *patterns, const char *const *names, int n, const char *what); // USAGE: one fits none of the names

// The parameter of that name: added on first use, else checked to agree. After hs_params_alloc a new name is refused.
hs_status hs_params_get(hs_params *ps, const hs_param_spec *spec, hs_param **out);
hs_param *hs_params_find(const hs_params *ps, const char *name); // NULL if there is none

// Adds a slab; one of that name and type already there stays as it is. "master" always is. After hs_params_alloc its memory (zeroed) is
// taken at once.
hs_status hs_params_declare(hs_params *ps, const hs_slab_spec *spec);
hs_status hs_params_declare_low(hs_params *ps, hs_dtype low);   // "low"; F32: none
hs_status hs_params_declare_grad(hs_params *ps);                // "grad", of what is trained; a training plan does
hs_slab *hs_params_slab(const hs_params *ps, const char *name); // NULL: none of that name
// Before hs_params_alloc. USAGE: other than F32 where there is no low copy of bf16.
hs_status hs_params_set_masters(hs_params *ps, hs_masters masters);
hs_masters hs_param_masters(const hs_params *ps, const hs_param *p); // how p's value is kept, as far as that is settled

// Which elements of the stored parameter the slab has here: [first, first + n), all of it unless the slab is a shard.
static inline void hs_slab_range(const hs_slab *s, const hs_param *p, size_t *first, size_t *n)
{
    *first = s->place[p->id].first, *n = s->place[p->id].bytes / s->place[p->id].width;
}
// Where p's bytes are in the slab, in the device's memory; NULL: absent, or no memory yet.
static inline void *hs_slab_at(const hs_slab *s, const hs_param *p)
{
    if (s && s->place[p->id].p)
        return s->place[p->id].p;
    return s && s->p && s->place[p->id].bytes ? s->p + s->place[p->id].offset : NULL;
}
static inline bool hs_slab_has(const hs_slab *s, const hs_param *p) { return s->place[p->id].bytes > 0; }
static inline bool hs_slab_adopted(const hs_slab *s, const hs_param *p) { return s->place[p->id].p != NULL; }
// Offsets are of the slab's own memory: of these two nobody asks for a parameter that is adopted.
static inline void *hs_slab_in(const hs_slab *s, void *copy, const hs_param *p)
{
    return (char *)copy + s->place[p->id].offset;
} // of a copy of all of it
// Where a chunk begins in a slab that has its parameter: elements from the front, as wide as this parameter's are.
static inline size_t hs_slab_element(const hs_slab *s, const hs_chunk *c)
{
    return s->place[c->param].offset / s->place[c->param].width + c->first - s->place[c->param].first;
}
static inline char *hs_slab_bound(const hs_slab *s, const hs_param *p)
{
    return s->place[p->id].k ? s->place[p->id].k : s->k + s->place[p->id].offset;
}

// The host's way in and out: the bytes of a parameter as they lie in the slab, or of a whole slab (bytes of it: hs_slab.bytes). Whatever
// writes is INTERNAL, and does nothing, where the parameter is adopted. Of values these are the master's bytes, f32 or not:
// hs_params_fetch and hs_params_put know values however they are kept.
void hs_params_read(const hs_params *ps, const hs_slab *s, const hs_param *p, void *dst);
hs_status hs_params_write(hs_params *ps, hs_slab *s, const hs_param *p, const void *src);
hs_status hs_params_write_front(hs_params *ps, hs_slab *s, const hs_param *p, const void *src, size_t bytes); // the others stay
void hs_params_read_slab(const hs_params *ps, const hs_slab *s, void *dst);
hs_status hs_params_clear(hs_params *ps, hs_slab *s, const hs_param *p);
// Host memory that those copies go to fastest (hs_device.alloc_host: pinned), zeroed: for what takes whole slabs now and then.
hs_status hs_params_alloc_host(const hs_params *ps, size_t bytes, void **out);
void hs_params_free_host(const hs_params *ps, void *p); // NULL: nothing
// Settles has_grad, by id, before an update is submitted; the device's copy is written where it changes, behind all that was submitted.
void hs_params_set_grads(hs_params *ps, const bool *made);

// Takes the memory of all slabs that have none yet (64-byte aligned, zeroed) from the device (borrowed; NULL: the host's memory), builds
// the chunk table and, if wanted, draws the initial values: the full logical tensor is generated by counter and sliced, so that every tp
// size starts identical.
hs_status hs_params_alloc(hs_params *ps, struct hs_device *device, bool draw);
// Memory of someone else, who outlives ps, for a slab; what it had is given back. hs_params_alloc leaves out a slab that is to be lent
// some.
hs_status hs_params_lend(hs_params *ps, hs_slab *s, void *p, size_t bytes);
void hs_params_leave_out(hs_params *ps, hs_slab *s);
// Values or codes of a slab that are served from where the host has them (a mapped file): host[id] holds them as they are stored, and
// outlives ps; NULL: the parameter gets memory, as it is by default. Once all parameters are there, once for a slab and before
// hs_params_alloc, which must be of the same device. A device that adopts nothing leaves all as it was. Such values are not drawn, written,
// trained or saved: INTERNAL, here or there.
hs_status hs_params_adopt(hs_params *ps, hs_slab *s, struct hs_device *device, const void *const *host);
// Values of a slab that are needed once, for what is made of each when it is loaded: those marked (by id) share one place, as wide as the
// widest, and what one of them holds is gone when the next is written. Once all parameters are there and adopted, before hs_params_alloc.
// Nothing is drawn then (INTERNAL).
void hs_params_pass(hs_params *ps, hs_slab *s, const bool *passes);
// Which masters that were adopted (by id) lie turned, and what is rounded of them with them: only copies are made of either, by kernels
// that know (hs_derived.turn).
void hs_params_turned(hs_params *ps, const bool *turned);
hs_status hs_params_init_values(hs_params *ps);
static inline void hs_params_changed(hs_params *ps) { ps->version++; } // values are others now: copies of them are old
void hs_params_refresh_low(hs_params *ps); // low = f32 master, rounded; serial; for load and init; values that pass: each when it is there
void hs_params_refresh_low_of(hs_params *ps, const hs_param *p); // of one of them
// Gives back the memory of p in that slab: it reads as zeros until values are drawn or loaded again. What is adopted stays. For
// inference; what is left must not be saved.
void hs_params_trim(hs_params *ps, const hs_slab *s, const hs_param *p);

size_t hs_params_count(const hs_params *ps);         // logical elements of the whole model, without padding
size_t hs_params_count_trained(const hs_params *ps); // of those that are not frozen
// Bytes of the slabs declared so far, with or without memory: for `plan`.
typedef struct hs_params_bytes {
    size_t master, low, grad, saved, other; // saved: moments
    size_t all;                             // of those
    size_t adopted;                         // beside them: they take no memory but what the file has in the page cache
} hs_params_bytes;
hs_params_bytes hs_params_bytes_of(const hs_params *ps);
size_t hs_params_tp_sum_bytes(const hs_params *ps); // gradients that are HS_GRAD_PART

// ---- the logical tensor
// A rectangle of one part of it that is stored here, on tensor-parallel rank tp_rank: its rows lie behind each other.
typedef struct hs_param_slice {
    int part;         // from 0
    int64_t row, col; // where it begins in the part's [rows, columns], those of the whole model
    int64_t rows, cols;
    size_t stored; // its first element of the stored parameter
} hs_param_slice;
// What stored elements [first, first + n) have of a part, padding left out: at most 3, how many is returned.
int hs_param_slices(const hs_param *p, int tp_rank, int part, size_t first, size_t n, hs_param_slice out[3]);
int64_t hs_param_part_rows(const hs_param *p);                                                          // of the whole model's tensor
int64_t hs_param_cols(const hs_param *p);                                                               // all dimensions but the first
static inline int64_t hs_param_elements(const hs_param *p) { return p->logical[0] * hs_param_cols(p); } // all parts of the whole model

// Which stored elements of p are to be given values for the slab: those it has here, or of values that are a shard beside a low copy, or
// that one is part of (hs_masters), all of them: the copy is whole.
void hs_params_range(const hs_params *ps, const hs_slab *s, const hs_param *p, size_t *first, size_t *n);
// Zero in all of that; INTERNAL as hs_params_write.
hs_status hs_params_blank(hs_params *ps, hs_slab *s, const hs_param *p);
// Stored elements [at, at + n), from f32 of the host's: those that the slab has, and those that its low copy alone has.
void hs_params_put(hs_params *ps, hs_slab *s, const hs_param *p, size_t at, const float *values, size_t n);
// Which stored elements of p have their value here, and those [at, at + n) of them as f32 of the host's.
void hs_params_value_range(const hs_params *ps, const hs_param *p, size_t *first, size_t *n);
void hs_params_fetch(const hs_params *ps, const hs_param *p, size_t at, float *values, size_t n);
// f32 of the host's as a low copy of that type has them.
void hs_values_low(uint16_t *dst, hs_dtype low, const float *src, int64_t n);

// Copies the logical tensor [logical dims] out of the stored elements of one parameter (f32, the host's) of a single rank, without the
// padding.
void hs_param_export(const hs_param *p, const float *stored, float *logical);
void hs_param_export_as(const hs_param *p, hs_dtype dtype, const void *stored, void *logical); // of elements of another type
// Straight out of a slab of f32, or values however they are kept, and into one of any type: this rank's slices of it, the rest of
// `logical` stays as it is; padding of the slab becomes zero.
void hs_params_export(const hs_params *ps, const hs_slab *s, const hs_param *p, float *logical);
hs_status hs_params_import(hs_params *ps, hs_slab *s, const hs_param *p, const float *logical);
// The value as it counts, from whoever has it whole: hs_params_fetch, or where values were given back or are a shard the low copy.
// INTERNAL: neither has.
hs_status hs_params_values(const hs_params *ps, const hs_param *p, float *logical);

#ifdef __cplusplus
}
#endif
#endif
