// support_params: the elements of a slab as one array, parameter after parameter, each as it is stored.
#ifndef HS_TESTS_SUPPORT_PARAMS_H
#define HS_TESTS_SUPPORT_PARAMS_H
#include "core/graph/params.h"

// The device that a test's models and parameters are on: "cpu", or what the program is called with (test_gpt_bits cpu-fenced).
extern const char *test_device;
void test_takes_device(int argc, char **argv);

size_t flat_count(const hs_params *ps);                  // of all parameters
size_t flat_at(const hs_params *ps, const hs_param *p);  // where p's begin
float *flat_copy(const hs_params *ps, const char *slab); // malloc'd; low elements as f32, "master" however it is kept, 0 of what is missing
void flat_read(const hs_params *ps, const char *slab, float *values);  // the same into an array
void flat_write(hs_params *ps, const char *slab, const float *values); // of f32 slabs
float flat_get(const hs_params *ps, const char *slab, const hs_param *p, size_t i);
void flat_set(hs_params *ps, const char *slab, const hs_param *p, size_t i, float value);
bool flat_equal(const hs_params *a, const hs_params *b, const char *slab); // the same bits, of lists of the same parameters
#endif
