// request_body: see the header.
#include "infer/server/request_body.h"
#include <string.h>
#include <strings.h>

static const json_t *member(const json_t *body, const char *key)
{
    const json_t *v = json_object_get(body, key);
    return json_is_null(v) ? NULL : v;
}

json_t *hs_body_object(const hs_call *c)
{
    json_t *body = hs_call_body(c);
    if (!body || json_is_object(body))
        return body;
    hs_call_fail(c, 422, "the body must be a JSON object");
    json_decref(body);
    return NULL;
}

bool hs_body_flag(const hs_call *c, const json_t *body, const char *key, int *value)
{
    const json_t *v = member(body, key);
    if (v && !json_is_boolean(v)) {
        hs_call_fail(c, 422, "%s must be true or false", key);
        return false;
    }
    *value = v ? json_is_true(v) : *value;
    return true;
}

bool hs_body_int(const hs_call *c, const json_t *body, const char *key, int64_t min, int64_t max, int64_t *value)
{
    const json_t *v = member(body, key);
    if (v && (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)) {
        hs_call_fail(c, 422, "%s must be a whole number from %lld to %lld", key, (long long)min, (long long)max);
        return false;
    }
    *value = v ? json_integer_value(v) : *value;
    return true;
}

bool hs_body_known(const hs_call *c, const json_t *body, const char *const *keys)
{
    static const char *const idle[] = { "options", "user" };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)body, key, value)
    {
        const char *const *k = keys;
        while (*k && strcmp(*k, key) != 0)
            k++;
        if (*k || json_is_null(value) || strcmp(key, idle[0]) == 0 || strcmp(key, idle[1]) == 0)
            continue;
        hs_text t = { 0 };
        for (k = keys; *k; k++)
            hs_text_add(&t, "%s%s", k == keys ? "" : ", ", *k);
        hs_call_fail(c, 422, "'%.64s' is none of %s", key, t.p ? t.p : "");
        hs_text_free(&t);
        return false;
    }
    return true;
}

bool hs_body_side(const hs_call *c, const json_t *body, const char *key, int *left)
{
    const json_t *v = member(body, key);
    const char *word = json_string_value(v);
    if (v && (!word || (strcasecmp(word, "left") != 0 && strcasecmp(word, "right") != 0))) {
        hs_call_fail(c, 422, "%s must be Left or Right", key);
        return false;
    }
    *left = v ? strcasecmp(word, "left") == 0 : *left;
    return true;
}

const char *hs_body_text(const hs_call *c, const json_t *body, const char *key, size_t *bytes)
{
    const json_t *v = member(body, key);
    if (!json_is_string(v)) {
        hs_call_fail(c, 422, v ? "%s must be a text" : "%s is missing", key);
        return NULL;
    }
    *bytes = json_string_length(v);
    return json_string_value(v);
}

hs_served *hs_body_model(const hs_call *c, const json_t *body, unsigned does)
{
    const json_t *v = member(body, "model");
    const char *name = json_string_value(v), *in_path = c->arg[0];
    if (v && !name)
        hs_call_fail(c, 422, "model must be a name");
    else if (name && in_path[0] && strcmp(name, in_path) != 0)
        hs_call_fail(c, 422, "model is '%s', and the path says '%s'", name, in_path);
    else
        return hs_call_model(c, in_path[0] ? in_path : name, 0, does);
    return NULL;
}
