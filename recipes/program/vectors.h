// vectors: rows of f32 as they are written - lines of text or JSON on stdout, or binary in a file that appears whole or not at all.
#ifndef HS_RECIPES_VECTORS_H
#define HS_RECIPES_VECTORS_H
#include "core/base/status.h"
#include <stdint.h>

typedef enum hs_vector_format { HS_VECTORS_F32, HS_VECTORS_NPY, HS_VECTORS_TEXT, HS_VECTORS_JSON } hs_vector_format;
#define HS_VECTORS_WORDS "f32|npy" // of files, in this order

typedef struct hs_vectors hs_vectors;
// path NULL: stdout, as TEXT or JSON ({"embedding":[...]}), nine digits: they read back to the same bits. F32: little-endian, one row
// behind the other. NPY: NumPy's array of [rows][width] '<f4'.
hs_status hs_vectors_open(hs_vectors **out, const char *path, hs_vector_format format, int64_t width);
hs_status hs_vectors_put(hs_vectors *v, const float *row);
hs_status hs_vectors_commit(hs_vectors *v);
void hs_vectors_close(hs_vectors *v); // without commit: no file. NULL: nothing

#endif
