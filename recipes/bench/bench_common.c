// bench_common: what the benches share - sizes from text, medians of samples, and rows as a table or as JSON lines.
#include "core/base/log.h"
#include "core/base/rng.h"
#include "ops/ops.h"
#include "recipes/bench/bench.h"
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int hs_bench_dtypes(const hs_bench_run *r, hs_dtype out[2])
{
    const hs_dtype_option asked = (hs_dtype_option)r->o->common.dtype;
    out[0] = asked == HS_DTYPE_AUTO ? HS_F32 : hs_dtype_of_option(asked, "auto", r->o->common.device);
    out[1] = HS_BF16;
    if (asked != HS_DTYPE_AUTO || hs_is_gpu(r->o->common.device))
        return asked == HS_DTYPE_AUTO ? 2 : 1;
    hs_isa best;
    return hs_isa_of_option("auto", &best) == HS_OK && hs_isa_fast_bf16(best) ? 2 : 1;
}

// ---- weights as codes: every matrix that products read, and of blocks the table of tokens, which a writer multiplies with

static hs_coding coding_of(const void *user, const hs_param_spec *s)
{
    const hs_bench_options *o = user;
    const hs_quant_bits bits = (hs_quant_bits)o->bits;
    const hs_coding coding = o->static_scales ? HS_CODING_I8_STATIC : hs_quant_coding(bits);
    const bool table = s->role == HS_EMBED && (bits == HS_QUANT_W8A8 || !strstr(s->name, "wte"));
    if ((s->role != HS_WEIGHT && s->role != HS_EMBED) || table || s->n_dims != 2)
        return HS_CODING_NONE;
    const int64_t unit = s->pad_rows ? s->pad_rows : 1, rows = (s->dim[0] + unit - 1) / unit * unit;
    return hs_coding_declines(coding, s->n_dims, rows, s->dim[1]) ? HS_CODING_NONE : coding;
}

hs_coder hs_bench_coder(const hs_bench_run *r) { return r->o->bits ? (hs_coder){ coding_of, r->o } : (hs_coder){ NULL, NULL }; }

static hs_status draw(hs_params *ps, const hs_param *p)
{
    const size_t codes = hs_coding_bytes(p, HS_VIEW_CODES), scales = hs_coding_bytes(p, HS_VIEW_SCALES);
    const bool of_all = p->coding == HS_CODING_I8_STATIC, rows = p->coding == HS_CODING_I8 || of_all;
    char *bytes = malloc(codes + scales + 1);
    if (!bytes)
        return HS_FAIL(MEMORY, "no memory for the codes of %s", p->name);
    for (size_t i = 0; i < codes; i++) {
        const uint8_t x = (uint8_t)(hs_random((uint32_t)p->id, (uint32_t)(i / 4), 0, 0, 0).v[i % 4] >> 24);
        bytes[i] = (char)(x == 0x80 ? 0x81 : x); // -128 is no code
    }
    for (size_t i = 0; i < scales / (rows ? sizeof(float) : sizeof(uint16_t)); i++) {
        const float scale = p->coding == HS_CODING_I4_BLOCKS ? 0.02f / 4 : 0.02f / 64;
        if (rows)
            memcpy(bytes + codes + i * sizeof scale, &scale, sizeof scale);
        else
            memcpy(bytes + codes + i * sizeof(uint16_t), &(uint16_t){ hs_f32_f16(scale) }, sizeof(uint16_t));
    }
    hs_status st = hs_params_write(ps, hs_params_coded(ps, HS_VIEW_CODES), p, bytes);
    if (st == HS_OK)
        st = hs_params_write(ps, hs_params_coded(ps, HS_VIEW_SCALES), p, bytes + codes);
    if (st == HS_OK && of_all)
        st = hs_params_write(ps, hs_params_coded(ps, HS_VIEW_X_SCALE), p, &(float){ 4.0f / 127 });
    free(bytes);
    return st;
}

hs_status hs_bench_draw_codes(hs_params *ps)
{
    for (int i = 0; i < ps->n_params; i++)
        if (ps->param[i]->coding)
            HS_TRY(draw(ps, ps->param[i]));
    hs_params_changed(ps);
    return HS_OK;
}

const char *hs_bench_dtype_name(hs_dtype d) { return d == HS_F32 ? "fp32" : d == HS_F16 ? "fp16" : hs_dtype_name(d); }

// ---- sizes
static bool read_number(const char **text, int64_t *out)
{
    static const char suffixes[] = "KMG";
    const char *p = *text;
    int64_t v = 0;
    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++) {
        v = 10 * v + (*p - '0');
        if (v > INT32_MAX)
            return false;
    }
    const char *suffix = *p ? strchr(suffixes, *p) : NULL;
    if (suffix)
        v <<= 10 * (suffix - suffixes + 1), p++;
    *text = p, *out = v;
    return v > 0;
}

static bool read_size(const char **text, hs_bench_size *out)
{
    for (out->n = 0; out->n < HS_BENCH_DIMS;) {
        if (!read_number(text, &out->dim[out->n++]))
            return false;
        if (**text != 'x')
            break;
        (*text)++;
    }
    return **text == ',' || !**text;
}

int hs_bench_form_dims(const char *form)
{
    int n = 1;
    for (const char *c = form; *c; c++)
        n += *c == 'x';
    return n;
}

hs_status hs_bench_sizes_parse(hs_bench_sizes *out, const char *list, const char *form, const char *example)
{
    const char *p = list;
    for (out->n = 0;; p++) {
        const char *here = p;
        if (out->n == HS_BENCH_SIZES)
            return HS_FAIL(USAGE, "sizes: more than %d", HS_BENCH_SIZES);
        hs_bench_size *s = &out->at[out->n++];
        if (!read_size(&p, s) || (form && s->n != hs_bench_form_dims(form)))
            return HS_FAIL(USAGE, "sizes: '%.*s' is not %s, as in %.*s", (int)strcspn(here, ","), here,
                           form ? form : "numbers with an x between", (int)strcspn(example, ","), example);
        if (!*p)
            return HS_OK;
    }
}

const char *hs_bench_size_text(const hs_bench_size *s, char *buf, size_t n)
{
    size_t at = 0;
    for (int i = 0; i < s->n && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%lld", i ? "x" : "", (long long)s->dim[i]);
    return buf;
}

// ---- samples
void hs_samples_add(hs_samples *s, double v) { s->v[s->n++ % HS_BENCH_SAMPLES] = v; }

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double hs_median(hs_samples *s)
{
    const int n = s->n < HS_BENCH_SAMPLES ? s->n : HS_BENCH_SAMPLES;
    qsort(s->v, (size_t)n, sizeof *s->v, ascending);
    return n ? (s->v[(n - 1) / 2] + s->v[n / 2]) / 2 : NAN;
}

double hs_percentile(hs_samples *s, double p)
{
    const int n = s->n < HS_BENCH_SAMPLES ? s->n : HS_BENCH_SAMPLES;
    const int i = (int)ceil(p * n) - 1;
    qsort(s->v, (size_t)n, sizeof *s->v, ascending);
    return n ? s->v[i < 0 ? 0 : i] : NAN;
}

bool hs_bench_enough(const hs_bench_run *r, int rounds, double start)
{
    return rounds >= r->o->steps && hs_now() - start > HS_BENCH_SECONDS;
}

// ---- output
static void print_json(const hs_bench *b, const hs_device *d, const hs_cell *c, int n)
{
    json_t *o = json_pack("{s:s}", "bench", b->name);
    for (int i = 0; i < n; i++)
        if (c[i].text)
            json_object_set_new(o, c[i].key, json_string(c[i].text));
        else if (isfinite(c[i].value) && c[i].digits == 0 && c[i].value == floor(c[i].value))
            json_object_set_new(o, c[i].key, json_integer((json_int_t)c[i].value));
        else if (isfinite(c[i].value))
            json_object_set_new(o, c[i].key, hs_line_real(c[i].value));
    json_object_set_new(o, "isa", json_string(hs_isa_name(d->isa)));
    json_object_set_new(o, "threads", json_integer(d->team));
    hs_line_print(o);
}

// A column is as wide as its heading, and at least wide enough for a figure.
static int width_of(const hs_cell *c)
{
    const int n = (int)strlen(c->key), least = c->width ? c->width : 7;
    return n > least ? n : least;
}

static void print_heading(const hs_device *d, const hs_cell *c, int n)
{
    char cpu[128];
    hs_cpu_model(cpu, sizeof cpu);
    printf("%s, %s, %d thread%s; medians of interleaved runs\n\n", cpu, hs_isa_name(d->isa), d->team, hs_plural(d->team));
    for (int i = 0; i < n; i++) {
        char words[64];
        if (c[i].json_only)
            continue;
        snprintf(words, sizeof words, "%s", c[i].key);
        for (char *p = words; *p; p++)
            *p = *p == '_' ? ' ' : *p;
        printf("%s%*s", i ? "  " : "", width_of(&c[i]), words);
    }
    putchar('\n');
}

void hs_bench_row(hs_bench_run *r, const hs_cell *c, int n)
{
    if (r->o->common.json) {
        print_json(r->bench, r->device, c, n);
        return;
    }
    if (!r->rows++)
        print_heading(r->device, c, n);
    for (int i = 0; i < n; i++)
        if (c[i].json_only)
            continue;
        else if (c[i].text || isnan(c[i].value))
            printf("%s%*s", i ? "  " : "", width_of(&c[i]), c[i].text ? c[i].text : "-");
        else
            printf("%s%*.*f", i ? "  " : "", width_of(&c[i]), c[i].digits, c[i].value);
    putchar('\n');
    fflush(stdout);
}
