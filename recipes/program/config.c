// config: finding a recipe, and what must agree between settings that are right each on its own.
#include "recipes/program/config.h"
#include "core/base/log.h"
#include "data/base/file.h"
#include "data/base/yaml.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- finding files
static bool shipped_folder(int i, char *buf, size_t size)
{
    if (i == 1)
        return snprintf(buf, size, "%s", HS_RECIPES_DIR) > 0;
    char self[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = 0;
    return snprintf(buf, size, "%s/../share/halfstep/recipes", dirname(self)) < (int)size;
}

hs_status hs_config_find(const char *name, char *path, size_t size)
{
    struct stat is;
    if ((stat(name, &is) == 0 && !S_ISDIR(is.st_mode)) || strchr(name, '/')) { // an open that fails says why better than a guess
        if ((size_t)snprintf(path, size, "%s", name) >= size)
            return HS_FAIL(USAGE, "the path %.60s... is too long", name);
        return HS_OK;
    }
    for (int i = 0; i < 2; i++) {
        char folder[PATH_MAX];
        if (shipped_folder(i, folder, sizeof folder) && (size_t)snprintf(path, size, "%s/%s.yaml", folder, name) < size &&
            access(path, R_OK) == 0)
            return HS_OK;
    }
    static const char *const shipped[] = { "gpt2-124m", "gpt2-355m", "gpt2-774m", "gpt2-1558m", "quickstart", "shakespeare-char" };
    const char *near = hs_nearest_word(name, shipped, HS_COUNT(shipped));
    return HS_FAIL(USAGE,
                   "%s: no such file, and no shipped recipe of that name (gpt2-124m, gpt2-355m, gpt2-774m, gpt2-1558m, "
                   "quickstart, shakespeare-char)%s%s",
                   name, near ? "; nearest is " : "", near ? near : "");
}

// ---- keys by name
hs_status hs_config_init(hs_config *c, const hs_config_table *t)
{
    HS_TRY(hs_schema_defaults(&t->schema, c, c->origin));
    c->table = t;
    return HS_OK;
}

static hs_key_at find(const hs_config *c, const char *key) { return hs_schema_find(&c->table->schema, c, key); }

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
    if (hs_config_init(c, t) == HS_OK && hs_yaml_load(path, &t->schema, c, c->origin) == HS_OK &&
        hs_config_settle_optim(c) == HS_OK) {
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
    char at[128];
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

hs_status hs_config_check(const hs_config *c, bool data_needed)
{
    HS_TRY(check_model(c));
    HS_TRY(check_name(c));
    HS_TRY(check_micro_batch(c));
    HS_TRY(hs_config_check_optim(c));
    if (data_needed)
        HS_TRY(check_data(c));
    hs_isa isa;
    char at[128];
    if (strcmp(c->exec.isa, "auto") != 0 && !hs_isa_parse(c->exec.isa, &isa))
        return HS_FAIL(USAGE, "%sexec.isa is '%s', allowed auto, portable, avx2, avx512, avx512bf16",
                       hs_config_prefix(c, "exec.isa", at, sizeof at), c->exec.isa);
    return HS_OK;
}

// ---- in the words of other rooms
hs_arch hs_config_arch(const hs_config *c)
{
    return (hs_arch){ c->table->families[hs_schema_chosen(&c->table->schema, c)], c->model.settings.bytes };
}

int64_t hs_config_model_int(const hs_config *c, const char *key) { return hs_arch_int(hs_config_arch(c), key); }

hs_model_info hs_config_info(const hs_config *c)
{
    return (hs_model_info){ .files = &hs_config_arch(c).family->files, .settings = c->model.settings };
}

hs_dtype hs_dtype_of_option(hs_dtype_option o)
{
    static const hs_dtype types[] = { [HS_DTYPE_FP32] = HS_F32, [HS_DTYPE_BF16] = HS_BF16, [HS_DTYPE_FP16] = HS_F16 };
    return o == HS_DTYPE_AUTO ? hs_cpu_has_fast_bf16() ? HS_BF16 : HS_F32 : types[o];
}

hs_status hs_config_policy(const hs_config *c, hs_policy *out)
{
    *out = (hs_policy){ .low = hs_dtype_of_option((hs_dtype_option)c->amp.policy), .residual_low = c->amp.residual == HS_RESIDUAL_LOW };
    return hs_policy_override(out, c->amp.overrides);
}
