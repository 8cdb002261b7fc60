// infer_request: where the data stand in the text, and what the JSON around them says.
#include "infer/server/infer_request.h"
#include "infer/server/infer_scan.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const int hs_oip_type_bytes[HS_OIP_TYPES] = {
#define ROW(name, bytes, kind) bytes,
    HS_OIP_TYPE_LIST(ROW)
#undef ROW
};
const char *const hs_oip_type_names[HS_OIP_TYPES] = {
#define ROW(name, bytes, kind) #name,
    HS_OIP_TYPE_LIST(ROW)
#undef ROW
};
const hs_oip_kind hs_oip_type_kinds[HS_OIP_TYPES] = {
#define ROW(name, bytes, kind) HS_OIP_KIND_##kind,
    HS_OIP_TYPE_LIST(ROW)
#undef ROW
};

// ---- where inputs[i].data stand

typedef struct extent {
    const char *p;
    size_t n;
} extent;
typedef struct extents {
    extent at[HS_INFER_TENSORS];
    int n;
    bool many;
} extents;

typedef bool walk(hs_scan *s, extents *x);

static bool keep(hs_scan *s, extents *x)
{
    (void)hs_scan_at(s, 0);
    const char *from = s->p;
    if (!hs_scan_value(s))
        return false;
    if (s->p - from == 4 && memcmp(from, "null", 4) == 0)
        return true;
    x->many = x->n == HS_INFER_TENSORS;
    if (!x->many)
        x->at[x->n++] = (extent){ from, (size_t)(s->p - from) };
    return !x->many;
}

// Members called `key` are walked, others are skipped. One whose name is written with escapes is skipped, too, and found in what is left.
static bool walk_members(hs_scan *s, extents *x, const char *key, walk *found)
{
    if (!hs_scan_take(s, '{'))
        return false;
    if (hs_scan_take(s, '}'))
        return true;
    do {
        (void)hs_scan_at(s, '"');
        const char *name = s->p + 1;
        if (!hs_scan_string(s))
            return false;
        const size_t n = (size_t)(s->p - 1 - name);
        if (!hs_scan_take(s, ':'))
            return false;
        const bool it = n == strlen(key) && memcmp(name, key, n) == 0;
        if (!(it ? found(s, x) : hs_scan_value(s)))
            return false;
    } while (hs_scan_take(s, ','));
    return hs_scan_take(s, '}');
}

static bool walk_inputs(hs_scan *s, extents *x)
{
    if (!hs_scan_at(s, '['))
        return hs_scan_value(s);
    s->p++;
    if (hs_scan_take(s, ']'))
        return true;
    do {
        if (!(hs_scan_at(s, '{') ? walk_members(s, x, "data", keep) : hs_scan_value(s)))
            return false;
    } while (hs_scan_take(s, ','));
    return hs_scan_take(s, ']');
}

// ---- the JSON around them

// All but the extents, in whose place stand their numbers.
static hs_status read_rest(json_t **head, const char *text, size_t bytes, const extents *x)
{
    enum { DIGITS = 4 };
    size_t n = bytes, at_rest = 0;
    const char *from = text;
    json_error_t e;
    for (int i = 0; i < x->n; i++)
        n -= x->at[i].n;
    if (n > HS_INFER_HEAD)
        return HS_FAIL(USAGE, "the JSON beside data has %zu bytes, at most %d are read", n, HS_INFER_HEAD);
    char *rest = malloc(n + DIGITS * HS_INFER_TENSORS + 1);
    if (!rest)
        return HS_FAIL(MEMORY, "no memory for a request");
    for (int i = 0; i < x->n; i++) {
        const size_t before = (size_t)(x->at[i].p - from);
        memcpy(rest + at_rest, from, before);
        at_rest += before;
        at_rest += (size_t)snprintf(rest + at_rest, DIGITS, " %d", i);
        from = x->at[i].p + x->at[i].n;
    }
    memcpy(rest + at_rest, from, (size_t)(text + bytes - from));
    at_rest += (size_t)(text + bytes - from);
    *head = json_loadb(rest, at_rest, JSON_REJECT_DUPLICATES, &e);
    free(rest);
    return *head ? HS_OK : HS_FAIL(USAGE, "the request is not JSON: %s", e.text);
}

static hs_status read_text(hs_infer_request *r, const char *text, size_t bytes, extents *x)
{
    hs_scan s = { text, text + bytes };
    if (!hs_scan_at(&s, '{'))
        return HS_FAIL(USAGE, "the request is not a JSON object");
    const bool ok = walk_members(&s, x, "inputs", walk_inputs);
    if (x->many)
        return HS_FAIL(USAGE, "more than %d inputs", HS_INFER_TENSORS);
    (void)hs_scan_at(&s, 0);
    if (!ok || s.p != s.end)
        return HS_FAIL(USAGE, "the request is not JSON: wrong at byte %zu of %zu", (size_t)(s.p - text), bytes);
    return read_rest(&r->head, text, bytes, x);
}

// ---- what it says

static json_t *member(const json_t *v, const char *key) // null is as good as nothing: some clients write out all that they know
{
    json_t *m = json_object_get(v, key);
    return json_is_null(m) ? NULL : m;
}

static hs_status check_parameters(const json_t *p, const char *whose)
{
    const char *key;
    const json_t *v;
    if (p && !json_is_object(p))
        return HS_FAIL(USAGE, "parameters of %s are not an object", whose);
    json_object_foreach((json_t *)(uintptr_t)p, key, v)
    {
        if (json_is_object(v) || json_is_array(v) || json_is_null(v))
            return HS_FAIL(USAGE, "parameter '%.64s' of %s is neither text, nor number, nor true or false", key, whose);
        if (strncmp(key, "shared_memory", 13) == 0)
            return HS_FAIL(UNSUPPORTED, "%s: shared memory is not supported", whose);
    }
    return HS_OK;
}

static hs_status read_bool(const json_t *p, const char *key, const char *whose, bool *out)
{
    const json_t *v = member(p, key);
    if (v && !json_is_boolean(v))
        return HS_FAIL(USAGE, "%s of %s must be true or false", key, whose);
    *out = v ? json_is_true(v) : *out;
    return HS_OK;
}

static hs_status read_count(const json_t *p, const char *key, const char *whose, int64_t least, int64_t *out)
{
    const json_t *v = member(p, key);
    if (v && (!json_is_integer(v) || json_integer_value(v) < least))
        return HS_FAIL(USAGE, "%s of %s must be a whole number, at least %lld", key, whose, (long long)least);
    *out = v ? json_integer_value(v) : *out;
    return HS_OK;
}

static hs_status read_name(const json_t *v, const char *what, int i, const char **name)
{
    *name = json_string_value(member(v, "name"));
    if (!json_is_object(v) || !*name || !**name)
        return HS_FAIL(USAGE, "%s %d has no name", what, i);
    return HS_OK;
}

static hs_status read_shape(hs_infer_tensor *t, const json_t *shape)
{
    const size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n < 1 || n > HS_INFER_DIMS)
        return HS_FAIL(USAGE, "input '%.64s' must have a shape of 1 to %d numbers", t->name, HS_INFER_DIMS);
    t->n_dims = (int)n, t->n = 1;
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);
        t->dim[i] = json_integer_value(v);
        if (!json_is_integer(v) || t->dim[i] < 1)
            return HS_FAIL(USAGE, "input '%.64s': dimension %d of its shape is not a number of at least 1", t->name, i);
        if (__builtin_mul_overflow(t->n, t->dim[i], &t->n))
            return HS_FAIL(USAGE, "input '%.64s' has more elements than can be counted", t->name);
    }
    return HS_OK;
}

static hs_status read_type(hs_infer_tensor *t, const json_t *v)
{
    const char *word = json_string_value(v);
    for (int i = 0; word && i < HS_OIP_TYPES; i++)
        if (strcmp(word, hs_oip_type_names[i]) == 0) {
            t->type = (hs_oip_type)i;
            return HS_OK;
        }
    return HS_FAIL(USAGE, "input '%.64s': '%.64s' is not a datatype", t->name, word ? word : "");
}

// Whether lengths and bytes of n elements are what there is.
static bool lengths_agree(const hs_infer_tensor *t)
{
    size_t left = t->bytes;
    const char *p = t->data;
    uint32_t n;
    for (int64_t i = 0; i < t->n; i++) {
        if (left < sizeof n)
            return false;
        memcpy(&n, p, sizeof n);
        left -= sizeof n, p += sizeof n;
        if (n > left)
            return false;
        left -= n, p += n;
    }
    return left == 0;
}

typedef struct reading {
    const extents *data;
    bool raw_follows; // there is a header that says where
    const char *raw;  // that no tensor has yet
    size_t left;
} reading;

static hs_status take_raw(hs_infer_tensor *t, int64_t bytes, reading *b)
{
    const int each = hs_oip_type_bytes[t->type];
    if (!b->raw_follows)
        return HS_FAIL(USAGE, "input '%.64s' has binary_data_size, and there is no header Inference-Header-Content-Length", t->name);
    if ((uint64_t)bytes > b->left)
        return HS_FAIL(USAGE, "input '%.64s' has binary_data_size %lld, and %zu bytes are left of the body", t->name, (long long)bytes,
                       b->left);
    t->raw = true, t->data = b->raw, t->bytes = (size_t)bytes;
    b->raw += bytes, b->left -= (size_t)bytes;
    if (each && (t->n > bytes / each || t->n * each != bytes))
        return HS_FAIL(USAGE, "input '%.64s' has %lld elements of %s, and %lld bytes", t->name, (long long)t->n, hs_oip_type_names[t->type],
                       (long long)bytes);
    if (!each && !lengths_agree(t))
        return HS_FAIL(USAGE, "input '%.64s': %lld bytes are not %lld lengths with as many bytes behind each", t->name, (long long)bytes,
                       (long long)t->n);
    return HS_OK;
}

static hs_status take_json(hs_infer_tensor *t, const json_t *data, const reading *b)
{
    const json_int_t i = json_integer_value(data);
    if (!data)
        return HS_FAIL(USAGE, "input '%.64s' has no data", t->name);
    if (!json_is_integer(data) || i < 0 || i >= b->data->n)
        return HS_FAIL(USAGE, "input '%.64s': data is not a list", t->name);
    t->data = b->data->at[i].p, t->bytes = b->data->at[i].n;
    if (t->type == HS_OIP_FP16 || t->type == HS_OIP_BF16)
        return HS_FAIL(USAGE, "input '%.64s': %s has no form in JSON, only as binary data", t->name, hs_oip_type_names[t->type]);
    if (t->bytes < 2 || (uint64_t)t->n > (t->bytes - 1) / 2) // each takes a character, and what stands beside it
        return HS_FAIL(USAGE, "input '%.64s' has fewer elements than its shape says: %lld", t->name, (long long)t->n);
    return HS_OK;
}

static hs_status read_input(hs_infer_request *r, const json_t *v, reading *b)
{
    hs_infer_tensor *t = &r->in[r->n_in];
    HS_TRY(read_name(v, "input", r->n_in, &t->name));
    for (int i = 0; i < r->n_in; i++)
        if (strcmp(r->in[i].name, t->name) == 0)
            return HS_FAIL(USAGE, "input '%.64s' is there twice", t->name);
    HS_TRY(read_type(t, member(v, "datatype")));
    HS_TRY(read_shape(t, member(v, "shape")));
    const json_t *p = member(v, "parameters"), *data = member(v, "data");
    int64_t bytes = -1;
    HS_TRY(check_parameters(p, t->name));
    HS_TRY(read_count(p, "binary_data_size", t->name, 0, &bytes));
    if (bytes >= 0 && data)
        return HS_FAIL(USAGE, "input '%.64s' has both data and binary_data_size", t->name);
    HS_TRY(bytes >= 0 ? take_raw(t, bytes, b) : take_json(t, data, b));
    r->n_in++;
    return HS_OK;
}

static hs_status read_output(hs_infer_request *r, const json_t *v)
{
    hs_infer_output *o = &r->out[r->n_out];
    *o = (hs_infer_output){ .binary = -1 };
    HS_TRY(read_name(v, "output", r->n_out, &o->name));
    for (int i = 0; i < r->n_out; i++)
        if (strcmp(r->out[i].name, o->name) == 0)
            return HS_FAIL(USAGE, "output '%.64s' is asked for twice", o->name);
    const json_t *p = member(v, "parameters");
    bool binary = false;
    HS_TRY(check_parameters(p, o->name));
    HS_TRY(read_bool(p, "binary_data", o->name, &binary));
    if (member(p, "binary_data"))
        o->binary = binary;
    HS_TRY(read_count(p, "classification", o->name, 0, &o->classes));
    r->n_out++;
    return HS_OK;
}

static hs_status list_of(const json_t *head, const char *key, size_t *n)
{
    const json_t *v = member(head, key);
    *n = json_array_size(v);
    if (v && !json_is_array(v))
        return HS_FAIL(USAGE, "%s must be a list", key);
    if (*n > HS_INFER_TENSORS)
        return HS_FAIL(USAGE, "more than %d %s", HS_INFER_TENSORS, key);
    return HS_OK;
}

static hs_status read_request_parameters(hs_infer_request *r)
{
    const json_t *p = member(r->head, "parameters");
    HS_TRY(check_parameters(p, "the request"));
    HS_TRY(read_bool(p, "binary_data_output", "the request", &r->binary));
    HS_TRY(read_bool(p, "truncate", "the request", &r->truncate));
    HS_TRY(read_count(p, "priority", "the request", 0, &r->priority));
    HS_TRY(read_count(p, "timeout", "the request", 0, &r->timeout));
    const json_t *sequence = member(p, "sequence_id");
    r->sequence = json_integer_value(sequence) != 0 || json_string_length(sequence) != 0 || json_is_true(member(p, "sequence_start")) ||
                  json_is_true(member(p, "sequence_end"));
    return HS_OK;
}

static hs_status read_head(hs_infer_request *r, reading *b)
{
    size_t inputs, outputs;
    const json_t *id = member(r->head, "id");
    r->id = json_string_value(id);
    if (id && !r->id)
        return HS_FAIL(USAGE, "id must be text");
    HS_TRY(read_request_parameters(r));
    HS_TRY(list_of(r->head, "inputs", &inputs));
    HS_TRY(list_of(r->head, "outputs", &outputs));
    if (inputs == 0)
        return HS_FAIL(USAGE, "the request has no inputs");
    for (size_t i = 0; i < inputs; i++)
        HS_TRY(read_input(r, json_array_get(member(r->head, "inputs"), i), b));
    if (b->left)
        return HS_FAIL(USAGE, "%zu bytes of the body belong to no input: the sizes of its parts do not match", b->left);
    for (size_t i = 0; i < outputs; i++)
        HS_TRY(read_output(r, json_array_get(member(r->head, "outputs"), i)));
    return HS_OK;
}

hs_status hs_infer_read(hs_infer_request *r, const char *body, size_t bytes, int64_t head)
{
    extents data = { .n = 0 };
    *r = (hs_infer_request){ .n_in = 0 };
    if (head > 0 && (uint64_t)head > bytes)
        return HS_FAIL(USAGE, "Inference-Header-Content-Length is %lld, and the body has %zu bytes", (long long)head, bytes);
    const size_t n = head < 0 ? bytes : (size_t)head;
    hs_status st = read_text(r, body, n, &data);
    if (st == HS_OK)
        st = read_head(r, &(reading){ .data = &data, .raw_follows = head >= 0, .raw = body + n, .left = bytes - n });
    if (st == HS_OK)
        return HS_OK;
    hs_infer_free(r);
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_infer_read_raw(hs_infer_request *r, const char *name, const char *body, size_t bytes)
{
    *r = (hs_infer_request){ .n_in = 1, .binary = true };
    r->in[0] = (hs_infer_tensor){
        .name = name,
        .type = HS_OIP_BYTES,
        .n_dims = 1,
        .dim = { 1 },
        .n = 1,
        .raw = true,
        .whole = true,
        .data = body,
        .bytes = bytes,
    };
}

void hs_infer_free(hs_infer_request *r)
{
    json_decref(r->head);
    *r = (hs_infer_request){ .n_in = 0 };
}
