// config: finding a recipe, and what must agree between settings that are right each on its own.
#include "recipes/program/config.h"
#include "core/base/log.h"
#include "data/base/file.h"
#include "data/base/yaml.h"
#include "ops/ops.h"
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- finding files
// What is shipped: recipes, and in a folder among them clusters.
typedef struct shipped {
    const char *what, *folder;
} shipped;
static const shipped recipe = { "recipe", "" }, cluster = { "cluster", "/clusters" };

static bool shipped_folder(const shipped *s, int i, char *buf, size_t size)
{
    if (i == 1)
        return snprintf(buf, size, "%s%s", HS_RECIPES_DIR, s->folder) > 0;
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = 0;
    return snprintf(buf, size, "%s/../share/halfstep/recipes%s", dirname(self), s->folder) < (int)size;
}

// Those of the first folder that has any.

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static void list(const shipped *s, hs_recipes *r)
{
    char folder[PATH_MAX];
    r->n = 0;
    for (int i = 0; i < 2 && r->n == 0; i++) {
        DIR *dir = shipped_folder(s, i, folder, sizeof folder) ? opendir(folder) : NULL;
        for (struct dirent *e; dir && r->n < HS_COUNT(r->name) && (e = readdir(dir));) {
            const size_t n = strlen(e->d_name);
            if (n <= 5 || n - 5 >= sizeof r->name[0] || strcmp(e->d_name + n - 5, ".yaml") != 0)
                continue;
            snprintf(r->name[r->n], sizeof r->name[0], "%.*s", (int)(n - 5), e->d_name);
            r->sorted[r->n] = r->name[r->n];
            r->n++;
        }
        if (dir)
            closedir(dir);
    }
    qsort(r->sorted, (size_t)r->n, sizeof *r->sorted, by_name);
}

void hs_config_recipes(hs_recipes *r) { list(&recipe, r); }

static hs_status unknown(const shipped *s, const char *name)
{
    hs_recipes r;
    char names[512] = "";
    list(s, &r);
    for (int i = 0; i < r.n; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", r.sorted[i]);
    const char *near = hs_nearest_word(name, r.sorted, r.n);
    return HS_FAIL(USAGE, "%s: no such file, and no shipped %s of that name (%s)%s%s", name, s->what, names, near ? "; nearest is " : "",
                   near ? near : "");
}

static hs_status find_file(const shipped *s, const char *name, char *path, size_t size)
{
    struct stat is;
    if ((stat(name, &is) == 0 && !S_ISDIR(is.st_mode)) || strchr(name, '/')) { // an open that fails says why better than a guess
        if ((size_t)snprintf(path, size, "%s", name) >= size)
            return HS_FAIL(USAGE, "the path %.60s... is too long", name);
        return HS_OK;
    }
    for (int i = 0; i < 2; i++) {
        char folder[PATH_MAX];
        if (shipped_folder(s, i, folder, sizeof folder) && (size_t)snprintf(path, size, "%s/%s.yaml", folder, name) < size &&
            access(path, R_OK) == 0)
            return HS_OK;
    }
    return unknown(s, name);
}

hs_status hs_config_find(const char *name, char *path, size_t size) { return find_file(&recipe, name, path, size); }
hs_status hs_config_find_cluster(const char *name, char *path, size_t size) { return find_file(&cluster, name, path, size); }

// ---- keys by name
hs_status hs_config_init(hs_config *c, const hs_config_table *t)
{
    HS_TRY(hs_schema_defaults(&t->schema, c, c->origin));
    c->table = t;
    return HS_OK;
}

static hs_key_at find(const hs_config *c, const char *key) { return hs_schema_find(&c->table->schema, c, key); }

void *hs_config_field(hs_config *c, const char *key)
{
    const hs_key_at at = find(c, key);
    return at.key ? hs_schema_field(&c->table->schema, c, at) : NULL;
}

void hs_config_text(const hs_config *c, const char *key, char *buf, size_t size)
{
    hs_schema_format(&c->table->schema, c, find(c, key), buf, size);
}

const char *hs_config_where(const hs_config *c, const char *key)
{
    return c->origin[hs_schema_origin(&c->table->schema, find(c, key))].text;
}

bool hs_config_is_default(const hs_config *c, const char *key) { return strcmp(hs_config_where(c, key), "default") == 0; }

hs_status hs_config_set(hs_config *c, const char *key, const char *value, const char *where)
{
    return hs_schema_set(&c->table->schema, c, c->origin, key, value, where);
}

hs_status hs_config_set_int(hs_config *c, const char *key, int64_t value, const char *where)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return hs_config_set(c, key, text, where);
}

char *hs_config_yaml(const hs_config *c)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    hs_schema_write_yaml(&c->table->schema, c, f);
    fclose(f);
    return text;
}

// Settings that this version does not know are none; a file that cannot be read may be any.
hs_status hs_config_of_checkpoint(hs_config **out, const hs_config_table *t, const char *dir)
{
    char path[PATH_MAX], *text;
    struct stat is;
    size_t bytes;
    *out = NULL;
    snprintf(path, sizeof path, "%s/train/config.yaml", dir);
    if (stat(path, &is) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return HS_OK;
    HS_TRY(hs_file_read(path, &text, &bytes));
    free(text);
    hs_config *c = malloc(sizeof *c);
    if (!c)
        return HS_FAIL(MEMORY, "%s: no memory to read it", path);
    if (hs_config_init(c, t) == HS_OK && hs_yaml_load(path, &t->schema, c, c->origin) == HS_OK && hs_config_settle_optim(c) == HS_OK) {
        *out = c;
        return HS_OK;
    }
    hs_warn("the settings that %s was saved with are not known: %s", dir, hs_error());
    free(c);
    return HS_OK;
}

const char *hs_config_prefix(const hs_config *c, const char *key, char *buf, size_t size)
{
    const char *where = hs_config_where(c, key);
    if (strcmp(where, "default") == 0 || strncmp(where, "--", 2) == 0 || strncmp(where, "optim.name ", 11) == 0)
        buf[0] = 0;
    else
        snprintf(buf, size, "%s: ", where);
    return buf;
}

// ---- agreement between values
// A family's message begins with the key that is wrong; here it gets the place that set it.
static hs_status check_model(const hs_config *c)
{
    char message[512], key[96], at[128];
    const hs_status st = hs_arch_check(hs_config_arch(c));
    if (st == HS_OK)
        return HS_OK;
    snprintf(message, sizeof message, "%s", hs_error());
    snprintf(key, sizeof key, "%.*s", (int)strcspn(message, " "), message);
    return hs_fail_at(st, __FILE__, __LINE__, "%s%s", find(c, key).key ? hs_config_prefix(c, key, at, sizeof at) : "", message);
}

// Rows of a micro-batch are numbered in 32 bits; it also keeps every byte count of a plan far from overflow.
int64_t hs_config_most_batch(const hs_config *c)
{
    const int64_t context = hs_config_model_int(c, "model.context"), rows = context ? INT32_MAX / context : INT32_MAX;
    return rows < HS_MOST_BATCH ? rows : HS_MOST_BATCH;
}

static hs_status check_micro_batch(const hs_config *c)
{
    char at[128];
    const int64_t context = hs_config_model_int(c, "model.context"), most = hs_config_most_batch(c);
    if (c->train.batch > most)
        return HS_FAIL(USAGE, "%strain.batch is %lld: with model.context %lld at most %lld are allowed",
                       hs_config_prefix(c, "train.batch", at, sizeof at), (long long)c->train.batch, (long long)context, (long long)most);
    return HS_OK;
}

// It becomes a folder of runs/ and stands in messages, plots and files.
static hs_status check_name(const hs_config *c)
{
    char at[128];
    const char *name = c->train.name;
    bool clean = strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
    for (const char *p = name; *p; p++)
        clean &= *p != '/' && (unsigned char)*p >= ' ' && *p != 0x7f;
    if (!clean)
        return HS_FAIL(USAGE, "%strain.name is '%s': a name has no / and no control characters, and is not . or ..; --out names a folder",
                       hs_config_prefix(c, "train.name", at, sizeof at), name);
    return HS_OK;
}

static hs_status check_data(const hs_config *c)
{
    enum { LEAST_TOKENS = 64, MOST_TOKENS = 1000000 };
    char at[128];
    int64_t size;
    if (hs_config_wordpiece(c, &size) && (size < LEAST_TOKENS || size > MOST_TOKENS))
        return HS_FAIL(USAGE, "%sdata.tokenizer is %s: wordpiece:SIZE takes %d to %d tokens",
                       hs_config_prefix(c, "data.tokenizer", at, sizeof at), c->data.tokenizer, LEAST_TOKENS, MOST_TOKENS);
    hs_data_part part[HS_MIX_SOURCES];
    int n;
    if (!c->data.train[0] && !c->data.n_sources)
        return HS_FAIL(USAGE, "data.train is not set: name the text file to train on, --data.train=FILE or in the configuration");
    HS_TRY(hs_config_sources(c, part, &n));
    char *end;
    const double fraction = strtod(c->data.val, &end);
    if (c->data.val[0] && !*end && !(fraction >= 0 && fraction < 1))
        return HS_FAIL(USAGE, "%sdata.val is %s: a fraction must be at least 0 and below 1", hs_config_prefix(c, "data.val", at, sizeof at),
                       c->data.val);
    return HS_OK;
}

// ---- what batches are made of
// Settings that only one kind of batches has; `set`: is it another than nobody's.
static hs_status refuse_foreign(const hs_config *c)
{
    const hs_arch m = hs_config_arch(c);
    const struct {
        const char *key;
        bool set;
        unsigned of; // kinds of batches
    } keys[] = {
        { "data.length", c->data.length != 0, 1 << HS_BATCH_MASKED | 1 << HS_BATCH_LABELLED },
        { "data.predictions", c->data.predictions != 0, 1 << HS_BATCH_MASKED },
        { "data.layout", c->data.layout != HS_SEQ_UNPADDED, 1 << HS_BATCH_MASKED },
        { "data.masking", c->data.masking != HS_MASKING_LOADER, 1 << HS_BATCH_MASKED },
        { "data.objectives.0.kind", c->data.n_objectives > 0, 1 << HS_BATCH_MASKED },
        { "data.packing", c->data.packing != HS_PACKING_NONE, 1 << HS_BATCH_TEXT },
    };
    static const char *const trained_on[] = { [HS_BATCH_TEXT] = "running text, in windows of model.context",
                                              [HS_BATCH_MASKED] = "sequences with masked tokens",
                                              [HS_BATCH_LABELLED] = "labelled examples here (task.kind)" };
    const hs_batch_kind kind = hs_config_batch(c);
    char at[128], value[HS_KEY_STRING_BYTES];
    for (int i = 0; i < HS_COUNT(keys); i++) {
        if (!keys[i].set || keys[i].of & 1u << kind)
            continue;
        hs_config_text(c, keys[i].key, value, sizeof value);
        return HS_FAIL(USAGE, "%s%s is %s, but model.type %s is trained on %s", hs_config_prefix(c, keys[i].key, at, sizeof at),
                       keys[i].key, value, m.family->name, trained_on[kind]);
    }
    return HS_OK;
}

static hs_status check_length(const hs_config *c)
{
    enum { LEAST = 8 };
    char at[128];
    const int64_t context = hs_config_model_int(c, "model.context"), length = c->data.length ? c->data.length : context;
    if (length > context)
        return HS_FAIL(USAGE, "%sdata.length is %lld, but the model has positions for model.context %lld",
                       hs_config_prefix(c, "data.length", at, sizeof at), (long long)length, (long long)context);
    if (length < LEAST)
        return HS_FAIL(USAGE, "%s%s is %lld: a sequence%s needs at least %d",
                       hs_config_prefix(c, c->data.length ? "data.length" : "model.context", at, sizeof at),
                       c->data.length ? "data.length" : "model.context", (long long)length,
                       hs_config_labelled(c) ? "" : " with masked tokens", LEAST);
    if (c->data.predictions > length)
        return HS_FAIL(USAGE, "%sdata.predictions is %lld, more than the %lld tokens of a sequence",
                       hs_config_prefix(c, "data.predictions", at, sizeof at), (long long)c->data.predictions, (long long)length);
    return HS_OK;
}

static hs_status check_objective(const hs_config *c, int i)
{
    static const hs_loss needs[] = {
        [HS_SEGMENTS_NEXT] = HS_LOSS_NEXT, [HS_SEGMENTS_ORDER] = HS_LOSS_ORDER, [HS_SEGMENTS_FULL] = HS_LOSS_TOKENS
    };
    static const char *const heads[] = {
        [HS_LOSS_TOKENS] = "predictions", [HS_LOSS_NEXT] = "next sentences", [HS_LOSS_ORDER] = "the order of sentences"
    };
    const hs_objective *o = &c->data.objective[i];
    char key[HS_KEY_NAME], at[128], value[32];
    snprintf(key, sizeof key, "data.objectives.%d.kind", i);
    hs_config_text(c, key, value, sizeof value);
    const bool taught = hs_config_learns(c) && o->segments == HS_SEGMENTS_FULL; // by hidden states and relations, without a head
    if (!taught && !hs_arch_wears(hs_config_arch(c), needs[o->segments]))
        return HS_FAIL(USAGE, "%s%s is %s, but this %s has no head for %s", hs_config_prefix(c, key, at, sizeof at), key, value,
                       hs_config_arch(c).family->name, heads[needs[o->segments]]);
    if (o->masked + o->random > 1 + 1e-9)
        return HS_FAIL(USAGE, "%sdata.objectives.%d: masked %g and random %g are more than all", hs_config_prefix(c, key, at, sizeof at), i,
                       o->masked, o->random);
    return HS_OK;
}

// What a device draws: single tokens, all alike, of whatever nobody else reads beside the model.
static hs_status check_masking(const hs_config *c)
{
    char key[HS_KEY_NAME], at[128], value[32];
    if (c->data.masking == HS_MASKING_LOADER)
        return HS_OK;
    if (hs_config_learns(c))
        return HS_FAIL(USAGE, "%sdata.masking is device, but distill.teacher reads the same tokens: data.masking: loader",
                       hs_config_prefix(c, "data.masking", at, sizeof at));
    for (int i = 0; i < c->data.n_objectives; i++) {
        const hs_objective *o = &c->data.objective[i];
        snprintf(key, sizeof key, "data.objectives.%d.%s", i, o->unit == HS_MASK_TOKEN ? "rare" : "masking");
        if (o->unit == HS_MASK_TOKEN && !(o->rare > 0))
            continue;
        hs_config_text(c, key, value, sizeof value);
        return HS_FAIL(USAGE, "%s%s is %s, which the loader alone does: data.masking: loader, not device",
                       hs_config_prefix(c, key, at, sizeof at), key, value);
    }
    return HS_OK;
}

hs_status hs_config_check_batches(const hs_config *c)
{
    HS_TRY(hs_config_check_head(c));
    HS_TRY(refuse_foreign(c));
    if (hs_config_batch(c) == HS_BATCH_LABELLED)
        return check_length(c);
    if (hs_config_batch(c) != HS_BATCH_MASKED)
        return HS_OK;
    char at[128];
    const int64_t tasks = hs_config_model_int(c, "model.tasks");
    if (tasks && c->data.n_objectives > tasks)
        return HS_FAIL(USAGE, "%sdata.objectives has %d tasks, but model.tasks is %lld",
                       hs_config_prefix(c, "data.objectives.0.kind", at, sizeof at), c->data.n_objectives, (long long)tasks);
    HS_TRY(check_length(c));
    for (int i = 0; i < c->data.n_objectives; i++)
        HS_TRY(check_objective(c, i));
    return check_masking(c);
}

static hs_status check_one(const hs_config *c, bool data_needed)
{
    HS_TRY(check_model(c));
    if (!c->train.init_from[0]) // else when its shape and heads are known
        HS_TRY(hs_config_check_batches(c));
    HS_TRY(check_name(c));
    HS_TRY(check_micro_batch(c));
    HS_TRY(hs_config_check_optim(c));
    HS_TRY(hs_config_check_ipq(c));
    if (data_needed)
        HS_TRY(check_data(c));
    hs_isa isa;
    char at[128];
    if (strcmp(c->exec.isa, "auto") != 0 && !hs_isa_parse(c->exec.isa, &isa))
        return HS_FAIL(USAGE, "%sexec.isa is '%s', allowed auto, portable, avx2, avx512, avx512bf16, amx",
                       hs_config_prefix(c, "exec.isa", at, sizeof at), c->exec.isa);
    return HS_OK;
}

hs_status hs_config_check(const hs_config *c, bool data_needed)
{
    HS_TRY(hs_config_check_task(c));
    HS_TRY(hs_config_check_distill(c));
    if (!c->n_phases)
        return check_one(c, data_needed);
    hs_config *one = malloc(sizeof *one);
    if (!one)
        return HS_FAIL(MEMORY, "no memory for the settings of a phase");
    hs_status st = HS_OK;
    for (int p = 0; p < c->n_phases && st == HS_OK; p++) {
        st = hs_config_phase(one, c, p);
        if (st == HS_OK && (st = check_one(one, data_needed)) != HS_OK)
            st = hs_config_in_phase(st, c, p);
    }
    free(one);
    return st;
}

// ---- in the words of other rooms
hs_arch hs_config_arch(const hs_config *c)
{
    return (hs_arch){ c->table->families[hs_schema_chosen(&c->table->schema, c)], c->model.settings.bytes };
}

int64_t hs_config_model_int(const hs_config *c, const char *key) { return hs_arch_int(hs_config_arch(c), key); }

const char *hs_config_keep_zeros(const hs_config *c) { return strcmp(c->train.keep_zeros, "none") == 0 ? "" : c->train.keep_zeros; }

hs_model_info hs_config_info(const hs_config *c)
{
    return (hs_model_info){ .files = &hs_config_arch(c).family->files, .settings = c->model.settings };
}

hs_dtype hs_dtype_of_option(hs_dtype_option o, const char *isa, const char *device)
{
    hs_isa tier;
    const bool fast = hs_is_gpu(device) || (hs_isa_of_option(isa, &tier) == HS_OK && hs_isa_fast_bf16(tier));
    static const hs_dtype types[] = {
        [HS_DTYPE_FP32] = HS_F32, [HS_DTYPE_BF16] = HS_BF16, [HS_DTYPE_FP16] = HS_F16, [HS_DTYPE_FP8] = HS_BF16
    };
    return o == HS_DTYPE_AUTO ? fast ? HS_BF16 : HS_F32 : types[o];
}

hs_submit_mode hs_config_mode(const hs_config *c, const hs_device *d)
{
    return c->exec.mode != HS_MODE_AUTO ? (hs_submit_mode)c->exec.mode : hs_submit_mode_of(d);
}

hs_status hs_config_policy(const hs_config *c, hs_policy *out)
{
    *out = (hs_policy){ .low = hs_dtype_of_option((hs_dtype_option)c->amp.policy, c->exec.isa, c->exec.device),
                        .residual_low = c->amp.residual == HS_RESIDUAL_LOW,
                        .fp8 = { .on = c->amp.policy == HS_DTYPE_FP8,
                                 .margin = (int)c->amp.fp8.margin,
                                 .history = c->amp.fp8.scaling == HS_FP8_DELAYED ? (int)c->amp.fp8.history : 0 } };
    HS_TRY(hs_config_quant(c, &out->quant));
    return hs_policy_override(out, c->amp.overrides);
}
