// hf_pruned: see the header.
#include "data/checkpoint/hf_pruned.h"
#include <stdio.h>
#include <string.h>

// ---- sparsity
void hs_file_sparsity_write(hs_text *t, const hs_sparsity *s)
{
    char word[HS_SPARSITY_WEIGHTS];
    hs_text_add(t, "{\n    \"pattern\": ");
    hs_text_string(t, s->pattern);
    hs_text_add(t, ",\n    \"weights\": [");
    for (const char *p = s->weights; *p; p += strcspn(p, ","), p += *p == ',') {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(p, ","), p);
        hs_text_add(t, "%s\n      ", p == s->weights ? "" : ",");
        hs_text_string(t, word);
    }
    hs_text_add(t, "\n    ]\n  }");
}

hs_status hs_file_sparsity_read(const hs_json *j, hs_sparsity *out)
{
    const json_t *v = json_object_get(j->root, "sparsity"), *weights = json_object_get(v, "weights");
    const char *pattern = json_string_value(json_object_get(v, "pattern"));
    size_t used = 0;
    if (v == NULL || json_is_null(v))
        return HS_OK;
    if (!json_is_object(v) || pattern == NULL || !*pattern || strlen(pattern) >= sizeof out->pattern || json_array_size(weights) == 0)
        return HS_FAIL(CORRUPT, "%s: \"sparsity\" is not a pattern and a list of weights that have it", j->path);
    snprintf(out->pattern, sizeof out->pattern, "%s", pattern);
    for (size_t i = 0; i < json_array_size(weights); i++) {
        const char *name = json_string_value(json_array_get(weights, i));
        if (name == NULL || !*name || strchr(name, ',') != NULL || used + strlen(name) + 2 > sizeof out->weights)
            return HS_FAIL(CORRUPT, "%s: \"sparsity\": its weights are not names, or are longer than %zu bytes", j->path,
                           sizeof out->weights - 1);
        used += (size_t)snprintf(out->weights + used, sizeof out->weights - used, "%s%s", i ? "," : "", name);
    }
    return HS_OK;
}

// ---- pruned_heads
// Width of a head, where heads were left out.
static int64_t share_of(const hs_file_key *k, const void *settings) { return *(const int64_t *)((const char *)settings + k->share); }

// What the row of the key says that `also` names.
static int64_t layers_of(const hs_file_key *k, const hs_model_info *m)
{
    for (int i = 0; i < m->files->n_keys; i++)
        if (strcmp(m->files->key[i].key, k->also) == 0)
            return *(const int64_t *)(m->settings.bytes + m->files->key[i].offset);
    return 0;
}

bool hs_file_pruned_absent(const hs_file_key *k, const void *settings) { return k->type == HS_FILE_PRUNED && !share_of(k, settings); }

int64_t hs_file_int(const hs_file_key *k, const void *settings)
{
    const char *at = settings;
    const bool shared = k->share && share_of(k, settings);
    return shared ? *(const int64_t *)(at + k->shared) / share_of(k, settings) : *(const int64_t *)(at + k->offset);
}

// The last ones, which ones they were before says nothing: the tensors have none of them.
void hs_file_pruned_write(hs_text *t, const hs_file_key *k, const hs_model_info *m)
{
    const int64_t left = *(const int64_t *)(m->settings.bytes + k->offset), share = share_of(k, m->settings.bytes),
                  all = *(const int64_t *)(m->settings.bytes + k->shared) / share, layers = layers_of(k, m);
    hs_text_add(t, "{");
    for (int64_t i = 0; i < layers; i++) {
        hs_text_add(t, "%s\n    \"%lld\": [", i ? "," : "", (long long)i);
        for (int64_t h = left; h < all; h++)
            hs_text_add(t, "%s%lld", h > left ? ", " : "", (long long)h);
        hs_text_add(t, "]");
    }
    hs_text_add(t, "\n  }");
}

static const hs_file_key *pruned_row(const hs_model_files *f)
{
    int i = 0;
    while (i < f->n_keys && f->key[i].type != HS_FILE_PRUNED)
        i++;
    return i < f->n_keys ? &f->key[i] : NULL;
}

// Of each layer as many heads are left out, whichever they were.
hs_status hs_file_pruned_read(const hs_json *j, hs_model_info *m)
{
    const json_t *v = json_object_get(j->root, "pruned_heads");
    const hs_file_key *k = pruned_row(m->files);
    if (v == NULL || json_is_null(v) || (json_is_object(v) && json_object_size(v) == 0))
        return HS_OK;
    if (k == NULL || !json_is_object(v))
        return HS_FAIL(UNSUPPORTED, "%s: \"pruned_heads\" asks for attention with heads left out: not supported", j->path);
    int64_t *heads = (int64_t *)(m->settings.bytes + k->offset), *share = (int64_t *)(m->settings.bytes + k->share), out = -1;
    const int64_t layers = layers_of(k, m), width = *(const int64_t *)(m->settings.bytes + k->shared);
    for (int64_t i = 0; i < layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "%lld", (long long)i);
        const int64_t n = (int64_t)json_array_size(json_object_get(v, name));
        if (out >= 0 && n != out)
            return HS_FAIL(UNSUPPORTED,
                           "%s: \"pruned_heads\" leaves %lld out of layer %lld and %lld out of others: as many in each are read", j->path,
                           (long long)n, (long long)i, (long long)out);
        out = n;
    }
    if (out <= 0)
        return HS_OK;
    if (out >= *heads || width % *heads)
        return HS_FAIL(CORRUPT, "%s: \"pruned_heads\" leaves %lld of %lld heads out", j->path, (long long)out, (long long)*heads);
    *share = width / *heads;
    *heads -= out;
    return HS_OK;
}
