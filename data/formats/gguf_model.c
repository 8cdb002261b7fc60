// gguf_model: see the header.
#include "data/formats/gguf_model.h"
#include <stdio.h>
#include <string.h>

enum { KEY = 128 };
static void full_key(char out[KEY], const hs_gguf_files *f, const char *key) { snprintf(out, KEY, "%s.%s", f->architecture, key); }

static int64_t *integer(const hs_file_key *k, void *settings) { return (int64_t *)((char *)settings + k->offset); }

static int64_t standard(const hs_file_key *k, const void *settings)
{
    return k->of ? k->times * *(const int64_t *)((const char *)settings + k->of) : 0;
}

// ---- writing
void hs_gguf_put_model(hs_gguf *g, const hs_gguf_files *f, const void *settings)
{
    hs_gguf_put_text(g, "general.architecture", f->architecture);
    hs_gguf_put_text(g, "general.type", "model");
    for (int i = 0; i < f->n_keys; i++) {
        const hs_file_key *k = &f->key[i];
        const int64_t *field = (const int64_t *)((const char *)settings + k->offset);
        char key[KEY];
        full_key(key, f, k->key);
        if (k->type == HS_FILE_INT)
            hs_gguf_put_int(g, key, HS_GGUF_U32, *field ? *field : standard(k, settings));
        else if (k->type == HS_FILE_TIMES)
            hs_gguf_put_int(g, key, HS_GGUF_U32, k->times * *field);
        else if (k->type == HS_FILE_REAL)
            hs_gguf_put_f32(g, key, (float)*(const double *)((const char *)settings + k->offset));
        else
            hs_gguf_put_int(g, key, HS_GGUF_BOOL, strcmp(k->value, "true") == 0);
    }
}

// ---- reading
hs_status hs_gguf_find_model(const hs_gguf *g, const char *path, const hs_model_files *const *known, int n_known, int *index)
{
    hs_gguf_text name;
    char list[128] = "";
    size_t used = 0;
    if (!hs_gguf_string(g, "general.architecture", &name))
        return HS_FAIL(CORRUPT, "%s: \"general.architecture\" is missing", path);
    for (int i = 0; i < n_known; i++) {
        const hs_gguf_files *f = known[i]->gguf;
        if (!f)
            continue;
        if (strlen(f->architecture) == name.n && memcmp(f->architecture, name.p, name.n) == 0) {
            *index = i;
            return HS_OK;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", f->architecture);
    }
    return HS_FAIL(UNSUPPORTED, "%s: \"general.architecture\" is \"%.*s\", supported: %s", path, (int)(name.n < 60 ? name.n : 60), name.p,
                   list);
}

static hs_status read_key(const hs_gguf *g, const char *path, const hs_gguf_files *f, const hs_file_key *k, void *settings)
{
    char key[KEY];
    int64_t v = 0;
    double real = 0;
    full_key(key, f, k->key);
    if (!hs_gguf_find(g, key))
        return k->type == HS_FILE_INT && !k->value && !k->of ? HS_FAIL(CORRUPT, "%s: key \"%s\" is missing", path, key) : HS_OK;
    if (k->type == HS_FILE_REAL) {
        if (!hs_gguf_real(g, key, &real) || !(real >= k->min && real <= k->max))
            return HS_FAIL(CORRUPT, "%s: key \"%s\" is %g, allowed %g to %g", path, key, real, k->min, k->max);
        *(double *)((char *)settings + k->offset) = (double)(float)real;
        return HS_OK;
    }
    if (!hs_gguf_int(g, key, &v))
        return HS_FAIL(CORRUPT, "%s: key \"%s\" is no integer", path, key);
    const int64_t only =
        k->type == HS_FILE_TIMES ? k->times * *integer(k, settings) : k->type == HS_FILE_FIXED && strcmp(k->value, "true") == 0;
    if (k->type != HS_FILE_INT)
        return v == only ? HS_OK
                         : HS_FAIL(UNSUPPORTED, "%s: key \"%s\" is %lld%s%s, supported: %lld", path, key, (long long)v, k->asks ? ": " : "",
                                   k->asks ? k->asks : "", (long long)only);
    if ((double)v < k->min || (double)v > k->max)
        return HS_FAIL(CORRUPT, "%s: key \"%s\" is %lld, allowed %.0f to %.0f", path, key, (long long)v, k->min, k->max);
    *integer(k, settings) = v == standard(k, settings) ? 0 : v;
    return HS_OK;
}

hs_status hs_gguf_get_model(const hs_gguf *g, const char *path, const hs_gguf_files *f, hs_settings *settings)
{
    for (int i = 0; i < f->n_keys; i++)
        HS_TRY(read_key(g, path, f, &f->key[i], settings->bytes));
    for (int i = 0; i < f->n_sizes; i++) {
        const hs_gguf_tensor *t = hs_gguf_tensor_of(g, f->size[i].tensor);
        if (t && t->n_dims == 2)
            *(int64_t *)(settings->bytes + f->size[i].offset) = t->dim[f->size[i].dim];
    }
    return HS_OK;
}
