// lora: names of targets, ours and PEFT's, as patterns of our own.
#include "models/lora.h"
#include "models/nn/task_head.h"
#include <stdio.h>
#include <string.h>

typedef struct text {
    char *p;
    size_t n;
    bool full;
} text;

static void add(text *t, const char *s, size_t bytes)
{
    if (t->n + bytes + 1 > HS_LORA_TEXT) {
        t->full = true;
        return;
    }
    memcpy(t->p + t->n, s, bytes);
    t->p[t->n += bytes] = '\0';
}

static bool is_weight(const hs_name_rule *r)
{
    const char *end = strrchr(r->ours, '.');
    return end && strcmp(end, ".weight") == 0;
}

// "l%d.attn.qkv.weight", part 1, as "l*.attn.qkv.q"; `layer` in the place of the star where it is one.
static void add_rule(text *t, const hs_name_rule *r, const char *layer)
{
    static const char *const parts[] = { "", ".q", ".k", ".v" };
    const char *hole = strstr(r->ours, "%d"), *end = strrchr(r->ours, '.');
    add(t, "|", 1);
    if (hole) {
        add(t, r->ours, (size_t)(hole - r->ours));
        add(t, layer, strlen(layer));
        hole += 2;
    }
    add(t, hole ? hole : r->ours, (size_t)(end - (hole ? hole : r->ours)));
    add(t, parts[r->part], strlen(parts[r->part]));
}

// Does a module, "bert.encoder.layer.%d.output.dense", end with a target, "3.output.dense"? layer: its number there, or "*".
static bool fits(const char *module, size_t bytes, const char *target, char layer[16])
{
    const char *m = module + bytes, *t = target + strlen(target);
    strcpy(layer, "*");
    while (t > target) {
        if (m == module)
            return false;
        if (m[-1] == 'd' && m - 1 > module && m[-2] == '%') {
            const char *end = t;
            while (t > target && t[-1] >= '0' && t[-1] <= '9')
                t--;
            if (t == end || end - t > 9)
                return false;
            snprintf(layer, 16, "%.*s", (int)(end - t), t);
            m -= 2;
        } else if (m[-1] == t[-1])
            m--, t--;
        else
            return false;
    }
    return m == module || m[-1] == '.';
}

static bool is_head(const hs_model_files *f, const char *ours)
{
    for (const char *p = f->heads; p && *p; p += strcspn(p, "|"), p += *p == '|') {
        const size_t n = strcspn(p, "|");
        if (strncmp(ours, p, n) == 0 && ours[n] == '.' && !(n == 6 && strncmp(p, "pooler", n) == 0)) // PEFT takes that one for a layer
            return true;
    }
    return false;
}

// A target and, behind bars, what it means in the names of the family's files. A rule of ours that no layer asks about fits nothing.
static void add_target(text *t, const hs_model_files *f, const char *target)
{
    const bool all = strcmp(target, "all-linear") == 0;
    char layer[16] = "*";
    add(t, target, strlen(target));
    for (int i = 0; i < f->n_names; i++) {
        const hs_name_rule *r = &f->name[i];
        const size_t module = is_weight(r) ? (size_t)(strrchr(r->theirs, '.') - r->theirs) : 0;
        if (module && (all ? !is_head(f, r->ours) : fits(r->theirs, module, target, layer)))
            add_rule(t, r, all ? "*" : layer);
    }
}

// Do the family's files have query, key and value in one tensor?
static bool in_one(const hs_model_files *f)
{
    for (int i = 0; i < f->n_names; i++)
        if (f->name[i].part > 0 && is_weight(&f->name[i]))
            return false;
    return true;
}

hs_status hs_lora_spec(hs_adapter_spec *out, const hs_lora *l, hs_arch m, char room[HS_LORA_TEXT])
{
    const hs_model_files *f = &m.family->files;
    const bool whole = in_one(f);
    const char *targets = l->targets && l->targets[0] ? l->targets : whole ? "attn.qkv" : "q,v";
    text t = { .p = room };
    for (const char *p = targets, *next; p; p = next) {
        char target[256];
        next = strchr(p, ',') ? strchr(p, ',') + 1 : NULL;
        p += strspn(p, " ");
        snprintf(target, sizeof target, "%.*s", (int)strcspn(p, ", "), p);
        if (p != targets && t.n)
            add(&t, ",", 1);
        add_target(&t, f, target);
    }
    if (t.full)
        return HS_FAIL(USAGE, "adapter.targets: more names than there is room for: %.100s...", targets);
    *out = (hs_adapter_spec){ .rank = l->rank,
                              .alpha = l->alpha,
                              .rslora = l->rslora,
                              .dropout = (float)l->dropout,
                              .targets = room,
                              .trains = hs_arch_task(m) ? (l->pooler ? "class,tags,span,crf,pooler" : "class,tags,span,crf") : "",
                              .name = "adapter.targets",
                              .whole = whole };
    return HS_OK;
}
