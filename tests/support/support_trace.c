// support_trace: see the header.
#include "tests/support/support_trace.h"
#include "tests/support/support_files.h"
#include <stdlib.h>

json_t *trace_read(const char *name)
{
    size_t bytes;
    json_error_t e;
    char *text = scratch_read(name, &bytes);
    json_t *v = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    if (!json_is_array(v))
        fail_msg("%s: %s at %d:%d", name, e.text, e.line, e.column);
    free(text);
    return v;
}

json_t *trace_part(const json_t *all, int64_t id, const char *member, int i)
{
    size_t k;
    json_t *v;
    json_array_foreach(all, k, v) if (json_object_get(v, member) && (!id || json_number_in(v, "id") == id) && i-- == 0) return v;
    return NULL;
}

int trace_count(const json_t *all, const char *member)
{
    int n = 0;
    while (trace_part(all, 0, member, n))
        n++;
    return n;
}

const char *const trace_whole[11] = { "HTTP_RECV_START", "HTTP_RECV_END",     "REQUEST_START",        "QUEUE_START",
                                      "COMPUTE_START",   "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START", "COMPUTE_END",
                                      "REQUEST_END",     "HTTP_SEND_START",   "HTTP_SEND_END" };

void trace_expect_points(const json_t *all, int64_t id, const char *const *name, int n)
{
    json_t *list = json_object_get(trace_part(all, id, "timestamps", 0), "timestamps");
    int64_t last = 1;
    for (int i = 0; i < n; i++) {
        json_t *p = json_array_get(list, (size_t)i);
        assert_string_equal(json_text_in(p, "name"), name[i]);
        if (json_number_in(p, "ns") < last)
            fail_msg("%s is before what was before it", name[i]);
        last = json_number_in(p, "ns");
    }
    assert_int_equal(json_array_size(list), n);
}

void trace_expect_tensor(const json_t *all, int64_t id, int i, const char *activity, const char *name, const char *shape, const char *type)
{
    json_t *v = trace_part(all, id, "tensor", i);
    assert_string_equal(json_text_in(v, "activity"), activity);
    assert_string_equal(json_text_in(v, "tensor/name"), name);
    assert_string_equal(json_text_in(v, "tensor/shape"), shape);
    assert_string_equal(json_text_in(v, "tensor/dtype"), type);
}

const char *trace_data(const json_t *all, int64_t id, int i) { return json_text_in(trace_part(all, id, "tensor", i), "tensor/data"); }
