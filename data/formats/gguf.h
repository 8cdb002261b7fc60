// gguf: GGUF version 3, llama.cpp's files: keys with values, then tensors. Read and written.
//
//   "GGUF", u32 3, u64 tensors, u64 keys; a key: text, u32 type, value; a tensor: text, u32 n_dims, u64 dims (innermost first), u32 type,
//   u64 offset; data from the next multiple of general.alignment (32) on, each tensor on one. Text: u64 bytes, bytes. Little end first.
//
// Reading maps the file and trusts nothing in it. What is built or read belongs to the model and goes with it.
#ifndef HS_DATA_GGUF_H
#define HS_DATA_GGUF_H
#include "data/checkpoint/ckpt_io.h"
#include "data/text/token_store.h" // hs_file

typedef enum hs_gguf_type { // of a value, as files number them
    HS_GGUF_U8,
    HS_GGUF_I8,
    HS_GGUF_U16,
    HS_GGUF_I16,
    HS_GGUF_U32,
    HS_GGUF_I32,
    HS_GGUF_F32,
    HS_GGUF_BOOL,
    HS_GGUF_TEXT,
    HS_GGUF_ARRAY,
    HS_GGUF_U64,
    HS_GGUF_I64,
    HS_GGUF_F64,
    HS_GGUF_TYPES
} hs_gguf_type;

//   name    number  values in a block, bytes of it   read and written here
#define HS_GGML_TYPE_LIST(X)                                                                                                               \
    X(F32, 0, 1, 4, true)                                                                                                                  \
    X(F16, 1, 1, 2, true)                                                                                                                  \
    X(Q4_0, 2, 32, 18, true)                                                                                                               \
    X(Q4_1, 3, 32, 20, false)                                                                                                              \
    X(Q5_0, 6, 32, 22, false)                                                                                                              \
    X(Q5_1, 7, 32, 24, false)                                                                                                              \
    X(Q8_0, 8, 32, 34, true)                                                                                                               \
    X(Q2_K, 10, 256, 84, false)                                                                                                            \
    X(Q3_K, 11, 256, 110, false)                                                                                                           \
    X(Q4_K, 12, 256, 144, true)                                                                                                            \
    X(Q5_K, 13, 256, 176, false)                                                                                                           \
    X(Q6_K, 14, 256, 210, true)                                                                                                            \
    X(BF16, 30, 1, 2, true)
typedef enum hs_ggml_type {
#define HS_GGML_ENUM(name, number, values, bytes, here) HS_GGML_##name = number,
    HS_GGML_TYPE_LIST(HS_GGML_ENUM)
#undef HS_GGML_ENUM
} hs_ggml_type;
const char *hs_ggml_name(int type);                           // "Q8_0"; NULL: not known
bool hs_ggml_known(int type, int64_t *values, size_t *bytes); // of a block; false: its numbers are not read here
bool hs_ggml_in_blocks(hs_ggml_type type);                    // known, and no plain floats
// n is a multiple of the block's values. ggml's own rounding, to the bit.
void hs_ggml_to_f32(hs_ggml_type type, const void *src, float *dst, int64_t n);
void hs_ggml_from_f32(hs_ggml_type type, const float *src, void *dst, int64_t n); // F32, F16, BF16, Q8_0, Q4_0, Q4_K
// The type whose blocks have just these codes and scales; false: there is none. Then n values of them as its blocks: nothing is rounded.
bool hs_ggml_of_coding(hs_coding c, hs_ggml_type *type);
void hs_ggml_from_codes(hs_coding c, const void *codes, const void *scales, void *dst, int64_t n);

typedef struct hs_gguf_text { // not NUL-terminated where it was read
    const char *p;
    size_t n;
} hs_gguf_text;

typedef struct hs_gguf_pair {
    hs_gguf_text key;
    hs_gguf_type type, of; // of: of the elements of an array
    uint64_t n;            // of those; else 1
    const void *data;      // of numbers, as the file has them: at any address
    hs_gguf_text text;     // of TEXT
    hs_gguf_text *texts;   // of an array of those
} hs_gguf_pair;

enum { HS_GGUF_DIMS = 4 };
typedef struct hs_gguf_tensor {
    const char *name;
    hs_ggml_type type;
    int n_dims;
    int64_t dim[HS_GGUF_DIMS]; // outermost first, as everywhere here
    const void *data;
    size_t bytes;
    const hs_st_source *source; // writing: its f32 values, or its codes, where hs_ggml_of_coding has them as this type
} hs_gguf_tensor;

typedef struct hs_gguf {
    hs_gguf_pair *pair;
    int n_pairs, cap_pairs;
    hs_gguf_tensor *tensor;
    int n_tensors, cap_tensors;
    bool failed; // building: no memory
    // its own
    char *path;
    hs_file file;
    void **block; // memory
    int n_blocks, cap_blocks;
} hs_gguf;

// ---- reading
hs_status hs_gguf_open(hs_gguf **out, const char *path);
void hs_gguf_close(hs_gguf *g);                                      // NULL: nothing
const hs_gguf_pair *hs_gguf_find(const hs_gguf *g, const char *key); // NULL: there is none
const hs_gguf_tensor *hs_gguf_tensor_of(const hs_gguf *g, const char *name);
// Values of that key; false: it is absent, or of another type. Integers and booleans of any width are integers.
bool hs_gguf_int(const hs_gguf *g, const char *key, int64_t *v);
bool hs_gguf_real(const hs_gguf *g, const char *key, double *v);
bool hs_gguf_string(const hs_gguf *g, const char *key, hs_gguf_text *v);
int64_t hs_gguf_int_at(const hs_gguf_pair *p, uint64_t i); // of an array of integers; of another: 0

int hs_gguf_width(hs_gguf_type t);            // bytes of a number; 0: a text or a list
void *hs_gguf_keep(hs_gguf *g, size_t bytes); // memory that goes with it, zeroed; NULL: failed

// ---- building and writing. Keys and texts are copied.
hs_status hs_gguf_new(hs_gguf **out);
void hs_gguf_put_int(hs_gguf *g, const char *key, hs_gguf_type type, int64_t v); // U32, I32, U64, BOOL
void hs_gguf_put_f32(hs_gguf *g, const char *key, float v);
void hs_gguf_put_text(hs_gguf *g, const char *key, const char *v);
void hs_gguf_put_i32s(hs_gguf *g, const char *key, const int32_t *v, int64_t n);
void hs_gguf_put_texts(hs_gguf *g, const char *key, const hs_gguf_text *v, int64_t n);
// name is copied, source is borrowed until it is written. USAGE: rows that are no multiple of the type's block; a name of 64 bytes.
hs_status hs_gguf_add_tensor(hs_gguf *g, const char *name, hs_ggml_type type, const hs_st_source *source);
hs_status hs_gguf_write(const hs_io *io, const char *path, const hs_gguf *g); // a new file, fsynced

#endif
