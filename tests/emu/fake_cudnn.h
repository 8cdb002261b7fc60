// fake_cudnn: of cuDNN's double, what its files share - descriptors as they were told, and a run with all that it was given.
#ifndef HS_TESTS_FAKE_CUDNN_H
#define HS_TESTS_FAKE_CUDNN_H
#include <cudnn.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct attribute {
    cudnnBackendAttributeName_t name;
    cudnnBackendAttributeType_t type;
    int64_t n;
    void *values;
} attribute;

enum { ATTRIBUTES = 16 };
typedef struct object {
    cudnnBackendDescriptorType_t type;
    bool finished, gone;
    attribute attr[ATTRIBUTES];
    int n_attrs;
    struct object *next; // of those that are gone
} object;

static inline const attribute *find(const object *o, cudnnBackendAttributeName_t name)
{
    for (int i = 0; o && i < o->n_attrs; i++)
        if (o->attr[i].name == name)
            return &o->attr[i];
    return NULL;
}
static inline object *link_of(const object *o, cudnnBackendAttributeName_t name)
{
    const attribute *a = find(o, name);
    return a ? *(object **)a->values : NULL;
}
static inline int word_of(const object *o, cudnnBackendAttributeName_t name)
{
    const attribute *a = find(o, name);
    return a ? *(const int *)a->values : 0;
}
static inline bool is_set(const object *o, cudnnBackendAttributeName_t name)
{
    const attribute *a = find(o, name);
    return a && *(const bool *)a->values;
}
enum { GIVEN = 64, WORKSPACE = 4096 };
typedef struct launch {
    const object *graph;
    int n;
    struct {
        int64_t id;
        void *p;
        float value; // of one by value, as the host had it at the call
    } given[GIVEN];
    char *workspace;
} launch;

// Does what the graph's operations mean, in their order.
cudnnStatus_t fake_cudnn_perform(launch *l);

#endif
