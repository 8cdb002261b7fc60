// tensor: a typed, row-major, contiguous array of up to four dimensions, planned before it has bytes.
//
// dim[0] is a capacity, fixed when planned; how many of its rows are live in a step is data: the tensor's extent names a counter of the
// step. Kernels loop to hs_rows(), never to dim[0]. Tensors belong to their graph and die with it.
#ifndef HS_CORE_TENSOR_H
#define HS_CORE_TENSOR_H
#include "core/base/dtype.h"
#include "core/base/inline.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hs_node hs_node;
typedef struct hs_param hs_param;
typedef struct hs_state hs_state;

typedef enum hs_kind {
    HS_VALUE, // planned bytes, written by its producer
    HS_INPUT, // static input of the plan, filled by the host before a micro-step
    HS_PARAM, // view of the parameter slabs
    HS_STATE, // lives across steps, shared by plans (KV cache)
} hs_kind;

// What a step counts (hs_step_in.n). The names are what sources and messages say; a model may use the free ones as it likes.
typedef enum hs_counter {
    HS_COUNT_FIXED,   // nothing: all rows, always
    HS_COUNT_TOKENS,  // live tokens N
    HS_COUNT_SEQS,    // live sequences B; samples, images
    HS_COUNT_PICKS,   // rows picked out of the tokens (predictions)
    HS_COUNT_TOKENS2, // live tokens of a second axis (a decoder's)
    HS_COUNT_SHARE,   // of the live tokens those of this tensor-parallel rank, where ranks divide them: hs_run counts them
    HS_COUNT_FREE,    // the first of those for a model's own use
    HS_N_COUNTERS = 8
} hs_counter;
const char *hs_counter_name(int counter); // "tokens"

// Live rows of dim[0]: n[counter] * unit + plus. One number, so that tables hold it and == compares it; 0: fixed. An image of H * W
// positions in every row-wise op is HS_EXT(HS_COUNT_SEQS, H * W, 0). counter < 16, plus < 16, unit < 2^24.
typedef uint32_t hs_ext;
#define HS_EXT(counter, unit, plus) ((hs_ext)(counter) | (hs_ext)(plus) << 4 | (hs_ext)(unit) << 8)
#define HS_EXT_FIXED                ((hs_ext)0)
#define HS_EXT_TOKENS               HS_EXT(HS_COUNT_TOKENS, 1, 0)
#define HS_EXT_SEQS                 HS_EXT(HS_COUNT_SEQS, 1, 0)
#define HS_EXT_STARTS               HS_EXT(HS_COUNT_SEQS, 1, 1) // the starts of B sequences and the end of the last
#define HS_EXT_PICKS                HS_EXT(HS_COUNT_PICKS, 1, 0)
#define HS_EXT_SHARE                HS_EXT(HS_COUNT_SHARE, 1, 0)
HS_INLINE int hs_ext_counter(hs_ext e) { return (int)(e & 15); }
HS_INLINE int64_t hs_ext_plus(hs_ext e) { return e >> 4 & 15; }
HS_INLINE int64_t hs_ext_unit(hs_ext e) { return e >> 8; }

// Of n rows that ranks divide, the first of a rank (of `ranks` itself: n), and how many a rank has at most.
HS_INLINE int64_t hs_share_first(int64_t n, int rank, int ranks) { return n * rank / ranks; }
HS_INLINE int64_t hs_share_rows(int64_t n, int ranks) { return (n + ranks - 1) / ranks; }

enum { HS_MAX_DIMS = 4, HS_MAX_IN = 6, HS_MAX_OUT = 4 };

typedef struct hs_tensor {
    hs_kind kind;
    hs_dtype dtype; // float values are traced as F32 meaning "float"; the AMP pass of the plan settles the type
    uint8_t n_dims;
    hs_ext ext; // of dim[0]
    int64_t dim[HS_MAX_DIMS];
    hs_node *from;     // producer; NULL for inputs, parameters, state
    int slot;          // which output of the producer
    const char *scope; // "h3.ln_1": messages, forensics, profile
    const char *name;  // of an input, parameter or state; else NULL
    hs_param *param;   // kind HS_PARAM
    uint8_t view;      // of it: hs_view (core/graph/coding.h), its value by default
    hs_state *state;   // kind HS_STATE
    int id;            // index in the graph
    bool has_fill;     // of an input: a batch without a column for it leaves `fill` in every cell (hs_input_default)
    bool passed;       // of an input: batches have no column for it, somebody else brings its rows (hs_input_passed)
    double fill;
} hs_tensor;

static inline int64_t hs_tensor_count(const hs_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->dim[i];
    return n;
}
static inline int64_t hs_tensor_cols(const hs_tensor *t) // elements of one row (all dims but the first)
{
    int64_t n = 1;
    for (int i = 1; i < t->n_dims; i++)
        n *= t->dim[i];
    return n;
}
static inline int64_t hs_tensor_width(const hs_tensor *t) { return t->dim[t->n_dims - 1]; } // the last dim
// Rows that these counts ask for, `fixed` where nothing is counted; live rows: never more than there are; how far a counter may go.
HS_INLINE int64_t hs_ext_asked(hs_ext e, const int64_t *n, int64_t fixed)
{
    return e == HS_EXT_FIXED ? fixed : n[hs_ext_counter(e)] * hs_ext_unit(e) + hs_ext_plus(e);
}
HS_INLINE int64_t hs_ext_rows(hs_ext e, const int64_t *n, int64_t capacity)
{
    const int64_t rows = hs_ext_asked(e, n, capacity);
    return rows < capacity ? rows : capacity;
}
static inline int64_t hs_ext_units(hs_ext e, int64_t rows) { return e == HS_EXT_FIXED ? 0 : (rows - hs_ext_plus(e)) / hs_ext_unit(e); }
static inline size_t hs_tensor_bytes(const hs_tensor *t) { return (size_t)hs_tensor_count(t) * hs_dtype_bytes(t->dtype); }
// "[12,64]" into buf; returns buf
const char *hs_tensor_shape(const hs_tensor *t, char *buf, size_t size);

#ifdef __cplusplus
}
#endif
#endif
