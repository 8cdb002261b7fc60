// support_ckpt: parameters named as a GPT-2 has them, filled by a hash of name, step and place.
#include "tests/support/support_ckpt.h"
#include "core/base/log.h"
#include "core/base/rng.h"
#include "data/checkpoint/ckpt_io.h"
#include "models/gpt/gpt.h"
#include "ops/ops.h"
#include "optim/optim.h"
#include "tests/support/support_params.h"
#include "tests/support/support_words.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void add(hs_params *ps, const char *name, hs_role role, hs_shard shard, int parts, int pad, int64_t rows, int64_t cols)
{
    const hs_param_spec spec = { .name = name,
                                 .role = role,
                                 .shard = shard,
                                 .init = HS_INIT_ZERO,
                                 .parts = parts,
                                 .pad_rows = pad,
                                 .n_dims = cols ? 2 : 1,
                                 .dim = { rows, cols } };
    hs_param *p;
    if (hs_params_get(ps, &spec, &p) != HS_OK)
        abort();
}

static void add_pair(hs_params *ps, const char *scope, hs_role role, hs_shard shard, int parts, int64_t rows, int64_t cols)
{
    char name[64];
    snprintf(name, sizeof name, "%s.weight", scope);
    add(ps, name, role, shard, parts, 0, rows, cols);
    snprintf(name, sizeof name, "%s.bias", scope);
    add(ps, name, role == HS_NORM ? HS_NORM : HS_BIAS, shard == HS_SHARD_ROW ? HS_SHARD_NONE : shard, parts, 0, rows, 0);
}

static void add_block(hs_params *ps, int layer, int64_t c)
{
    static const struct {
        const char *name;
        hs_role role;
        hs_shard shard;
        int parts, rows, cols;
    } parts[] = {
        { "ln_1", HS_NORM, HS_SHARD_NONE, 1, 1, 0 },       { "attn.qkv", HS_WEIGHT, HS_SHARD_COL, 3, 3, 1 },
        { "attn.proj", HS_WEIGHT, HS_SHARD_ROW, 1, 1, 1 }, { "ln_2", HS_NORM, HS_SHARD_NONE, 1, 1, 0 },
        { "mlp.up", HS_WEIGHT, HS_SHARD_COL, 1, 4, 1 },    { "mlp.down", HS_WEIGHT, HS_SHARD_ROW, 1, 1, 4 },
    };
    for (int i = 0; i < HS_COUNT(parts); i++) {
        char scope[48];
        snprintf(scope, sizeof scope, "h%d.%s", layer, parts[i].name);
        add_pair(ps, scope, parts[i].role, parts[i].shard, parts[i].parts, parts[i].rows * c, parts[i].cols * c);
    }
}

// Opened once, for all parameters of a test; those on the plain CPU need none.
hs_device *ckpt_device(void)
{
    static hs_device *d;
    if (strcmp(test_device, "cpu") != 0 && !d && hs_open_device(&d, test_device, 1, NULL, 0, HS_ONEDNN_NO) != HS_OK)
        abort();
    return d;
}

typedef struct size {
    int64_t width, context, vocab;
    int layers;
} size;
static const size usual = { 16, 12, 50, 2 };

static hs_params *list(const char *optim, hs_dtype moments, const char *freeze, size z, int tp_rank, int tp, hs_masters masters)
{
    hs_params *ps;
    if (hs_params_new(&ps, 1, tp_rank, tp) != HS_OK || hs_params_freeze(ps, freeze, "freeze") != HS_OK)
        abort();
    add(ps, "wte.weight", HS_EMBED, HS_SHARD_COL, 1, 64, z.vocab, z.width);
    add(ps, "wpe.weight", HS_EMBED, HS_SHARD_NONE, 1, 0, z.context, z.width);
    for (int i = 0; i < z.layers; i++)
        add_block(ps, i, z.width);
    add_pair(ps, "ln_f", HS_NORM, HS_SHARD_NONE, 1, z.width, 0);
    hs_optim_config c = optim_named(optim ? optim : "adamw");
    c.moments = moments, c.masters = masters;
    if (hs_params_declare_low(ps, HS_BF16) != HS_OK || (optim && hs_optim_declare(&c, ps) != HS_OK))
        abort();
    return ps;
}

static hs_params *build(const char *optim, const char *freeze, size z)
{
    hs_params *ps = list(optim, HS_F32, freeze, z, 0, 1, HS_MASTERS_F32);
    if (hs_params_alloc(ps, ckpt_device(), true) != HS_OK)
        abort();
    return ps;
}

// A slab's part on one of dp ranks: cut anywhere, in the middle of a row too; of a small parameter all of it on one of them.
static void divide(hs_params *ps, hs_slab *s, int dp_rank, int dp)
{
    s->bytes = 0;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const size_t width = s->place[i].width;
        size_t first = p->n * (size_t)dp_rank / (size_t)dp, end = p->n * (size_t)(dp_rank + 1) / (size_t)dp;
        if (p->n < 64)
            first = i % dp == dp_rank ? 0 : p->n, end = p->n;
        if (s->place[i].bytes > 0)
            s->place[i] = (hs_place){ .offset = s->bytes, .bytes = (end - first) * width, .first = first, .width = width };
        s->bytes += (s->place[i].bytes + 255) / 256 * 256;
    }
}

hs_params *ckpt_params_rank(const ckpt_layout *l, const char *optim, hs_device *device)
{
    hs_params *ps =
        list(optim, strcmp(optim, "novograd") ? HS_F32 : HS_BF16, NULL, (size){ 16, 12, 200, 2 }, l->tp_rank, l->tp, l->masters);
    for (int i = 0; i < ps->n_slabs && l->divided; i++)
        if ((ps->slab[i]->spec.saved && !ps->slab[i]->spec.per_tensor) || ps->slab[i] == ps->master)
            divide(ps, ps->slab[i], l->dp_rank, l->dp);
    if (hs_params_alloc(ps, device, true) != HS_OK)
        abort();
    return ps;
}

hs_params *ckpt_params_listed(void) { return list(NULL, HS_F32, NULL, usual, 0, 1, HS_MASTERS_F32); }

hs_params *ckpt_params_with(const char *optim, const char *freeze) { return build(optim, freeze, usual); }
hs_params *ckpt_params(bool moments) { return ckpt_params_with(moments ? "adamw" : NULL, NULL); }
hs_params *ckpt_params_frozen(const char *freeze) { return ckpt_params_with("adamw", freeze); }
hs_params *ckpt_params_of(int64_t width, int64_t context, int64_t vocab, int layers)
{
    return build("adamw", NULL, (size){ width, context, vocab, layers });
}

hs_model_info ckpt_info(void)
{
    static const hs_gpt_config c = {
        .layers = 2, .heads = 2, .width = 16, .context = 12, .vocab = 50, .dropout = 0.1, .eps = 1e-5, .head = { .dropout = -1 }
    };
    hs_model_info info;
    memset(&info, 0, sizeof info);
    info.files = &hs_gpt_family.files;
    memcpy(info.settings.bytes, &c, sizeof c);
    return info;
}

hs_status ckpt_read_info(const char *model_dir, hs_model_info *info)
{
    const hs_model_files *const known[] = { &hs_gpt_family.files };
    return hs_ckpt_read_info(model_dir, known, 1, info);
}

static uint32_t bits(const hs_param *p, uint64_t key, int which, int64_t i)
{
    return (uint32_t)hs_mix2(key * 4 + (uint64_t)which, hs_mix2((uint64_t)p->id, (uint64_t)i));
}

// The logical tensor of p in a slab.
static size_t logical_count(const hs_param *p)
{
    size_t n = 1;
    for (int d = 0; d < p->n_dims; d++)
        n *= (size_t)p->logical[d];
    return n;
}

// How many values have a bit set.
static size_t n_set(const float *v, size_t n)
{
    size_t set = 0;
    for (size_t i = 0; i < n; i++)
        set += hs_f32_bits(v[i]) != 0;
    return set;
}

// Of values in halves no NaN is a signaling one, which does not survive there; and a bf16 each where that is all there is of them.
static float as_value(const hs_params *ps, const hs_param *p, uint32_t u)
{
    const hs_masters masters = hs_param_masters(ps, p);
    u |= masters != HS_MASTERS_F32 && (u & 0x7FFFFFFFu) > 0x7F800000u ? 0x400000u : 0;
    return masters == HS_MASTERS_NONE ? hs_bf16_f32(hs_value_bf16(u)) : hs_bits_f32(u);
}

static float *content(const hs_params *ps, const hs_param *p, uint64_t key, int which)
{
    const int64_t n = (int64_t)logical_count(p);
    float *logical = malloc((size_t)n * sizeof(float));
    for (int64_t k = 0; k < n; k++) {
        const uint32_t u = bits(p, key, which, k);
        memcpy(&logical[k], &u, sizeof u);
        logical[k] = which == 0 ? as_value(ps, p, u) : logical[k];
    }
    return logical;
}

static const char *const slabs[] = { "master", "adam.m", "adam.v" };

void ckpt_fill(hs_params *ps, uint64_t key)
{
    for (int which = 0; which < HS_COUNT(slabs) && hs_params_slab(ps, slabs[which]); which++)
        for (int i = 0; i < ps->n_params; i++) {
            const hs_param *p = ps->param[i];
            hs_slab *slab = hs_params_slab(ps, slabs[which]);
            float *logical = content(ps, p, key, which);
            if (hs_params_import(ps, slab, p, logical) != HS_OK)
                abort();
            free(logical);
        }
}

// This rank's slices of a slab have those values, and its padding is zero.
static bool slab_is(const hs_params *ps, const hs_slab *s, const hs_param *p, const float *expected)
{
    const size_t n = logical_count(p);
    size_t first, here;
    const bool values = s == ps->master;
    if (values)
        hs_params_value_range(ps, p, &first, &here);
    else
        hs_slab_range(s, p, &first, &here);
    float *both = malloc(n * sizeof(float)), *own = calloc(n, sizeof(float)), *stored = calloc(p->n, sizeof(float));
    memcpy(both, expected, n * sizeof(float));
    if (here) {
        if (values)
            hs_params_fetch(ps, p, first, stored, here);
        else
            hs_params_read(ps, s, p, stored);
        hs_params_export(ps, s, p, both), hs_params_export(ps, s, p, own);
    }
    const bool same = memcmp(expected, both, n * sizeof(float)) == 0 && n_set(stored, here) == n_set(own, n);
    free(both), free(own), free(stored);
    return same;
}

bool ckpt_filled(const hs_params *ps, uint64_t key, bool moments)
{
    bool same = true;
    for (int which = 0; which < (moments ? HS_COUNT(slabs) : 1); which++)
        for (int i = 0; i < ps->n_params; i++) {
            float *expected = content(ps, ps->param[i], key, which);
            same = same && slab_is(ps, hs_params_slab(ps, slabs[which]), ps->param[i], expected);
            free(expected);
        }
    return same;
}

// The low copy is whole, whatever the rank has of the values.
bool ckpt_low_filled(const hs_params *ps, uint64_t key)
{
    bool same = true;
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        float *expected = content(ps, p, key, 0);
        uint16_t *low = malloc(p->n * sizeof *low);
        hs_params_read(ps, ps->low, p, low);
        for (int part = 0; part < p->parts; part++) {
            hs_param_slice s[3];
            if (!hs_param_slices(p, ps->tp_rank, part, 0, p->n, s))
                continue;
            for (int64_t k = 0; k < s->rows * s->cols; k++) {
                const int64_t row = part * hs_param_part_rows(p) + s->row + k / s->cols;
                same = same &&
                       low[s->stored + (size_t)k] == hs_value_bf16(hs_f32_bits(expected[row * hs_param_cols(p) + s->col + k % s->cols]));
            }
        }
        free(expected), free(low);
    }
    return same;
}

hs_train_state ckpt_state(int64_t step)
{
    hs_train_state s = { .step = step, .seed = UINT64_MAX - (uint64_t)step, .next_sample = (UINT64_C(1) << 63) + 12345 };
    s.tokens_seen = (INT64_C(1) << 53) + 1 + step;
    s.best_val_loss = 1.0 / 3.0 + (double)step;
    s.best_step = step - 7;
    s.best_score = -1.0 / 7.0, s.worse = 3;
    hs_step_state *d = &s.step_state;
    d->applied = step - 3, d->scale = 65536.0f, d->growth = 1234, d->hysteresis = 2, d->found_inf = 1, d->skipped_in_row = 4,
    d->skipped = 5;
    d->lr = 1e-3f / 3.0f, d->grad_norm = hs_bits_f32(0x00000001u), d->bad_param = -1, d->bad_count = INT64_MAX, d->bad_micro = INT32_MIN;
    d->loss[0][0] = 0.1, d->loss[0][1] = -0.0, d->loss[0][2] = 1e308 * 10, d->loss[0][3] = 5e-324;
    return s;
}

bool ckpt_state_equal(const hs_train_state *a, const hs_train_state *b)
{
    const hs_step_state *x = &a->step_state, *y = &b->step_state;
    return a->step == b->step && a->seed == b->seed && a->next_sample == b->next_sample && a->tokens_seen == b->tokens_seen &&
           memcmp(&a->best_val_loss, &b->best_val_loss, sizeof(double)) == 0 && a->best_step == b->best_step &&
           memcmp(&a->best_score, &b->best_score, sizeof(double)) == 0 && a->worse == b->worse && x->applied == y->applied &&
           memcmp(&x->scale, &y->scale, sizeof(float)) == 0 && x->growth == y->growth && x->hysteresis == y->hysteresis &&
           x->found_inf == y->found_inf && x->skipped_in_row == y->skipped_in_row && x->skipped == y->skipped &&
           memcmp(&x->lr, &y->lr, 2 * sizeof(float)) == 0 && memcmp(x->loss, y->loss, sizeof x->loss) == 0 &&
           x->bad_param == y->bad_param && x->bad_count == y->bad_count && x->bad_micro == y->bad_micro;
}

hs_ckpt_opts ckpt_opts(const char *dir, int keep) { return (hs_ckpt_opts){ .dir = dir, .keep = keep, .files = &hs_gpt_family.files }; }

void ckpt_temp_dir(char path[CKPT_PATH])
{
    const char *base = getenv("TMPDIR");
    if (base == NULL) // thousands of small files: in memory where there is a place
        base = access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, CKPT_PATH, "%s/hs-ckpt-XXXXXX", base);
    if (mkdtemp(path) == NULL)
        abort();
}

void ckpt_remove(const char *path) { hs_remove_tree(&hs_io_system, path); }

void ckpt_damage(const char *path, long where)
{
    FILE *f = fopen(path, "r+b");
    if (f == NULL || fseek(f, where, where < 0 ? SEEK_END : SEEK_SET) != 0)
        abort();
    const int c = fgetc(f);
    fseek(f, -1, SEEK_CUR);
    fputc(c ^ 0x10, f);
    fclose(f);
}

bool ckpt_exists(const char *dir, const char *name)
{
    char path[2 * CKPT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

int ckpt_count_leftovers(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        n += strstr(e->d_name, ".tmp-") != NULL || strstr(e->d_name, ".old-") != NULL;
    if (d != NULL)
        closedir(d);
    return n;
}

void ckpt_put(const char *dir, const char *name, const char *text)
{
    char path[2 * CKPT_PATH];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (f == NULL || fputs(text, f) < 0)
        abort();
    fclose(f);
}

char ckpt_logged[8192];
static void keep_line(hs_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    const size_t used = strlen(ckpt_logged);
    snprintf(ckpt_logged + used, sizeof ckpt_logged - used, "%s\n", line);
}
int ckpt_listen(void **state)
{
    (void)state;
    ckpt_logged[0] = 0;
    hs_log_set(HS_LOG_INFO, keep_line, NULL);
    return 0;
}
