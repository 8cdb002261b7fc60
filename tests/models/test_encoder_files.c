// Files of encoders: what heads they hold, the spellings and leftovers of other tools and versions, keys that ask for what no family does,
// and which class is written.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/comm.h"
#include "data/checkpoint/checkpoint.h"
#include "models/encoder/encoder.h"
#include "tests/support/support_ckpt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static char work[CKPT_PATH];

static hs_status read_info(const char *dir, hs_model_info *info, const hs_family **family)
{
    const hs_model_files *known[HS_FAMILIES] = { NULL };
    int n = 0;
    for (; hs_families[n]; n++)
        known[n] = &hs_families[n]->files;
    HS_TRY(hs_ckpt_read_info(dir, known, n, info));
    for (int i = 0; i < n; i++)
        if (known[i] == info->files)
            *family = hs_families[i];
    return HS_OK;
}

static hs_params *params_of(const hs_family *f, const void *settings)
{
    const hs_grid grid = hs_grid_self();
    hs_params *ps = NULL;
    hs_graph *g;
    OK(hs_params_new(&ps, 7, 0, 1));
    OK(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid));
    f->trace(g, settings, &(hs_arch_shape){ .max_tokens = 8, .max_seqs = 2, .hidden = true });
    OK(hs_graph_status(g));
    hs_graph_free(g);
    OK(hs_params_alloc(ps, NULL, false));
    return ps;
}

static hs_status load(const char *dir, hs_params **ps, hs_model_info *info, const hs_family **f)
{
    HS_TRY(read_info(dir, info, f));
    *ps = params_of(*f, info->settings.bytes);
    return hs_ckpt_load_params(dir, &(hs_ckpt_opts){ .files = info->files }, *ps);
}

// ---- variants of a checkpoint: the tensors of tests/golden/encoders/FAMILY under other names

typedef bool rename_fn(char name[256]); // false: it is left out
typedef struct added {                  // tensors beside: a copy of `of` under `name`; NULL: positions as I64
    const char *name, *of;
    float plus; // to its first element
} added;

static void golden_dir(const char *family, char *buf, size_t size) { snprintf(buf, size, HS_TESTS_DIR "/golden/encoders/%s", family); }

static void copy_config(const char *from, const char *to, const char *change, const char *into)
{
    char path[2 * CKPT_PATH], text[8192];
    snprintf(path, sizeof path, "%s/config.json", from);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *at = change ? strstr(text, change) : NULL;
    assert_true(!change || at);
    snprintf(path, sizeof path, "%s/config.json", to);
    f = fopen(path, "w");
    assert_non_null(f);
    if (at)
        fprintf(f, "%.*s%s%s", (int)(at - text), text, into, at + strlen(change));
    else
        fputs(text, f);
    fclose(f);
}

static void variant(const char *family, const char *label, rename_fn *rename, const added *more, int n_more, char dir[2 * CKPT_PATH])
{
    enum { MOST = 128 };
    static char names[MOST][256];
    static const int64_t positions[20] = { 0 };
    hs_st_tensor t[MOST];
    hs_safetensors *s;
    char from[1024], path[3 * CKPT_PATH];
    int n = 0;
    golden_dir(family, from, sizeof from);
    snprintf(dir, 2 * CKPT_PATH, "%s/%s-%s", work, family, label);
    assert_int_equal(mkdir(dir, 0777), 0);
    copy_config(from, dir, NULL, NULL);
    snprintf(path, sizeof path, "%s/model.safetensors", from);
    OK(hs_safetensors_open(&s, path));
    for (int i = 0; i < hs_safetensors_count(s); i++) {
        const hs_st_entry *e = hs_safetensors_at(s, i);
        snprintf(names[n], sizeof names[n], "%s", e->name);
        if (rename && !rename(names[n]))
            continue;
        t[n] = (hs_st_tensor){ .name = names[n], .dtype = e->dtype, .n_dims = e->n_dims, .data = e->data };
        memcpy(t[n++].dim, e->dim, (size_t)e->n_dims * sizeof *e->dim);
    }
    float *copies[8] = { NULL };
    for (int i = 0; i < n_more; i++, n++) {
        const hs_st_entry *e = more[i].of ? hs_safetensors_find(s, more[i].of) : NULL;
        t[n] = (hs_st_tensor){ .name = more[i].name, .dtype = HS_I64, .n_dims = 2, .dim = { 1, 20 }, .data = positions };
        if (!e)
            continue;
        copies[i] = malloc(e->bytes);
        memcpy(copies[i], e->data, e->bytes);
        copies[i][0] += more[i].plus;
        t[n] = (hs_st_tensor){ .name = more[i].name, .dtype = HS_F32, .n_dims = e->n_dims, .data = copies[i] };
        memcpy(t[n].dim, e->dim, (size_t)e->n_dims * sizeof *e->dim);
    }
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(hs_safetensors_write(path, t, n, NULL));
    for (int i = 0; i < HS_COUNT(copies); i++)
        free(copies[i]);
    hs_safetensors_close(s);
}

static bool same_values(const hs_params *a, const hs_params *b)
{
    for (int i = 0; i < b->n_params; i++) {
        const hs_param *p = hs_params_find(a, b->param[i]->name);
        if (!p || memcmp(hs_slab_at(a->master, p), hs_slab_at(b->master, b->param[i]), p->n * sizeof(float)) != 0)
            return false;
    }
    return true;
}

static bool of_2018(char name[256])
{
    static const char *const old[][2] = { { "LayerNorm.weight", "LayerNorm.gamma" }, { "LayerNorm.bias", "LayerNorm.beta" } };
    for (int i = 0; i < HS_COUNT(old); i++) {
        char *at = strstr(name, old[i][0]);
        if (at)
            strcpy(at, old[i][1]);
    }
    return true;
}
static bool bare(char name[256]) // as BertModel saves itself
{
    if (strncmp(name, "bert.", 5) != 0)
        return false;
    memmove(name, name + 5, strlen(name + 5) + 1);
    return true;
}
static bool tokens_alone(char name[256]) { return strncmp(name, "cls.seq", 7) != 0; } // the pooler stays, as published files have it
static bool next_alone(char name[256]) { return strncmp(name, "cls.pred", 8) != 0; }
static bool unpooled(char name[256]) { return bare(name) && strncmp(name, "pooler", 6) != 0; }
static bool bias_moved(char name[256])
{
    if (strcmp(name, "cls.predictions.bias") == 0)
        strcpy(name, "cls.predictions.decoder.bias");
    return true;
}

#define WORDS "bert.embeddings.word_embeddings.weight"
static const added decoder[] = { { "cls.predictions.decoder.weight", WORDS, 0 },
                                 { "cls.predictions.decoder.bias", "cls.predictions.bias", 0 },
                                 { "bert.embeddings.position_ids", NULL, 0 } };
static const added other_decoder[] = { { "cls.predictions.decoder.weight", WORDS, 1 } };
static const added stranger[] = { { "classifier.weight", WORDS, 0 } };

static const struct {
    const char *label;
    rename_fn *rename;
    const added *more;
    int n_more;
    bool mlm, next, pooler;
    const char *class;
} spellings[] = {
    { "as-saved", NULL, NULL, 0, true, true, false, "BertForPreTraining" },
    { "of-2018", of_2018, NULL, 0, true, true, false, "BertForPreTraining" },
    { "decoder", NULL, decoder, HS_COUNT(decoder), true, true, false, "BertForPreTraining" },
    { "bias-moved", bias_moved, NULL, 0, true, true, false, "BertForPreTraining" },
    { "tokens", tokens_alone, NULL, 0, true, false, false, "BertForMaskedLM" },
    { "next", next_alone, NULL, 0, false, true, false, "BertForNextSentencePrediction" },
    { "bare", bare, NULL, 0, false, false, true, "BertModel" },
    { "unpooled", unpooled, NULL, 0, false, false, false, "BertModel" },
};

static void every_spelling_opens(void **state)
{
    (void)state;
    char dir[2 * CKPT_PATH], out[3 * CKPT_PATH], path[4 * CKPT_PATH], text[8192];
    hs_params *first = NULL;
    for (int i = 0; i < HS_COUNT(spellings); i++) {
        hs_model_info info;
        const hs_family *f = NULL;
        hs_params *ps = NULL;
        variant("bert", spellings[i].label, spellings[i].rename, spellings[i].more, spellings[i].n_more, dir);
        OK(load(dir, &ps, &info, &f));
        const hs_encoder_config *c = (const hs_encoder_config *)info.settings.bytes;
        if (c->mlm != spellings[i].mlm || c->next != spellings[i].next || c->pooler != spellings[i].pooler)
            fail_msg("%s: mlm %d, next %d, pooler %d", spellings[i].label, c->mlm, c->next, c->pooler);
        if (first)
            assert_true(same_values(first, ps));
        snprintf(out, sizeof out, "%s-out", dir);
        OK(hs_ckpt_export(out, &(hs_ckpt_opts){ .files = info.files }, ps, &info, NULL));
        snprintf(path, sizeof path, "%s/config.json", out);
        FILE *in = fopen(path, "r");
        assert_non_null(in);
        text[fread(text, 1, sizeof text - 1, in)] = 0;
        fclose(in);
        char class[128];
        snprintf(class, sizeof class, "\"%s\"", spellings[i].class);
        if (!strstr(text, class))
            fail_msg("%s is written as %s", spellings[i].label, text);
        if (first)
            hs_params_free(ps);
        else
            first = ps;
    }
    hs_params_free(first);
}

static void refused(const char *label, const added *more, const char *message)
{
    char dir[2 * CKPT_PATH];
    hs_model_info info;
    const hs_family *f = NULL;
    hs_params *ps = NULL;
    variant("bert", label, NULL, more, 1, dir);
    assert_int_equal(load(dir, &ps, &info, &f), HS_USAGE);
    if (!strstr(hs_error(), message))
        fail_msg("%s: %s", label, hs_error());
    hs_params_free(ps);
}

static void what_is_another_model_is_refused(void **state)
{
    (void)state;
    refused("untied", other_decoder, "\"cls.predictions.decoder.weight\" differs from \"" WORDS "\", to which it is tied");
    refused("stranger", stranger, "\"classifier.weight\" is unexpected");
}

// A run that starts from weights may wear other heads: those that are missing are drawn, those that are too many left out.
static void heads_may_be_open(void **state)
{
    (void)state;
    char dir[2 * CKPT_PATH], full[1024];
    hs_model_info info, wanted;
    const hs_family *f = NULL;
    hs_params *ps, *all = NULL;
    golden_dir("bert", full, sizeof full);
    OK(load(full, &all, &wanted, &f));
    variant("bert", "open", bare, NULL, 0, dir);
    ps = params_of(f, wanted.settings.bytes);
    hs_ckpt_opts o = { .files = &f->files };
    assert_int_equal(hs_ckpt_load_params(dir, &o, ps), HS_USAGE);
    o.heads_open = true;
    OK(hs_ckpt_load_params(dir, &o, ps));
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        const bool same = memcmp(hs_slab_at(ps->master, p), hs_slab_at(all->master, all->param[i]), p->n * sizeof(float)) == 0;
        const bool head = strncmp(p->name, "mlm.", 4) == 0 || strncmp(p->name, "next.", 5) == 0;
        assert_true(same == !head);
        float sum = 0;
        for (size_t k = 0; k < p->n; k++)
            sum += ((const float *)hs_slab_at(ps->master, p))[k] != 0;
        if (head && p->role == HS_WEIGHT)
            assert_true(sum > 0); // drawn
    }
    hs_params_free(ps);
    OK(read_info(dir, &info, &f));
    ((hs_encoder_config *)info.settings.bytes)->pooler = false;
    ps = params_of(f, info.settings.bytes); // only the encoder of a file with all heads
    assert_int_equal(hs_ckpt_load_params(full, &(hs_ckpt_opts){ .files = &f->files }, ps), HS_USAGE);
    OK(hs_ckpt_load_params(full, &o, ps));
    assert_true(same_values(all, ps));
    hs_params_free(ps);
    hs_params_free(all);
}

// Keys that ask for what no family does, by name, with what they ask for.
static void keys_that_ask_for_more(void **state)
{
    (void)state;
    static const struct {
        const char *family, *change, *into, *message;
    } table[] = {
        { "bert", "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"silu\"",
          "\"hidden_act\" is \"silu\": another activation, supported: gelu, gelu_python, gelu_new, " },
        { "bert", "\"vocab_size\"", "\"position_embedding_type\": \"relative_key\", \"vocab_size\"",
          "\"position_embedding_type\" is \"relative_key\": positions by distance, supported: absolute" },
        { "bert", "\"is_decoder\": false", "\"is_decoder\": true", "\"is_decoder\" is true: attention to what stands before alone" },
        { "bert", "\"num_attention_heads\": 2", "\"num_attention_heads\": 5",
          "num_attention_heads is 5, which does not divide hidden_size 32" },
        { "albert", "\"inner_group_num\": 1", "\"inner_group_num\": 2",
          "\"inner_group_num\" is 2: several layers in a group, supported: 1" },
        { "albert", "\"num_hidden_groups\": 2", "\"num_hidden_groups\": 3",
          "num_hidden_groups is 3, which does not divide num_hidden_layers 4" },
        { "distilbert", "\"sinusoidal_pos_embds\": false", "\"sinusoidal_pos_embds\": true",
          "\"sinusoidal_pos_embds\" is true: positions by sines" },
        { "roberta", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false",
          "\"tie_word_embeddings\" is false: a head of its own" },
        { "roberta", "\"max_position_embeddings\": 22", "\"max_position_embeddings\": 2", "\"max_position_embeddings\"" },
    };
    for (int i = 0; i < HS_COUNT(table); i++) {
        char dir[2 * CKPT_PATH], label[32], from[1024];
        hs_model_info info;
        const hs_family *f = NULL;
        snprintf(label, sizeof label, "key%d", i);
        variant(table[i].family, label, NULL, NULL, 0, dir);
        golden_dir(table[i].family, from, sizeof from);
        copy_config(from, dir, table[i].change, table[i].into);
        hs_status st = read_info(dir, &info, &f);
        char path[3 * CKPT_PATH];
        snprintf(path, sizeof path, "%s/config.json", dir);
        if (st == HS_OK)
            st = hs_arch_check_file((hs_arch){ f, info.settings.bytes }, path);
        assert_true(st != HS_OK);
        if (!strstr(hs_error(), table[i].message) || !strstr(hs_error(), path))
            fail_msg("%s", hs_error());
    }
}

static void pickles_have_a_way_out(void **state)
{
    (void)state;
    char dir[2 * CKPT_PATH], path[3 * CKPT_PATH], to[3 * CKPT_PATH];
    hs_model_info info;
    const hs_family *f = NULL;
    variant("bert", "pickle", NULL, NULL, 0, dir);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    snprintf(to, sizeof to, "%s/pytorch_model.bin", dir);
    assert_int_equal(rename(path, to), 0);
    assert_int_equal(read_info(dir, &info, &f), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "pytorch_model.bin is a pickle"));
    assert_non_null(strstr(hs_error(), "from transformers import BertForPreTraining as M; M.from_pretrained("));
}

// What the published models have, counted by transformers.
static void published_sizes(void **state)
{
    (void)state;
#define BASE  "layers=12 heads=12 width=768 context=512 "
#define LARGE "layers=24 heads=16 width=1024 context=512 "
    static const struct {
        const char *family, *settings;
        int64_t count;
    } table[] = {
        { "bert", BASE "vocab=30522", 110106428 },
        { "bert", BASE "vocab=30522 next=false", 109514298 },
        { "bert", BASE "vocab=30522 mlm=false next=false pooler=true", 109482240 },
        { "bert", LARGE "vocab=30522 mlm=false next=false pooler=true", 335141888 },
        { "bert", "layers=2 heads=2 width=128 context=512 vocab=30522 mlm=false next=false pooler=true", 4385920 },
        { "bert", "layers=6 heads=12 width=384 context=512 vocab=30522 mlm=false next=false pooler=true", 22713216 },
        { "roberta", BASE "vocab=50265", 124697433 },
        { "roberta", LARGE "vocab=50265 mlm=false pooler=true", 355359744 },
        { "distilbert", "layers=6 heads=12 width=768 context=512 vocab=30522", 66985530 },
        { "albert", BASE "vocab=30000 mlm=false order=false pooler=true", 11683584 },
        { "albert", "layers=24 heads=16 width=2048 context=512 vocab=30000 mlm=false order=false pooler=true", 58724864 },
        { "albert", "layers=12 heads=64 width=4096 context=512 vocab=30000 mlm=false order=false pooler=true", 222595584 },
        { "electra", "layers=12 heads=4 width=256 context=512 vocab=30522 mlm=false", 13483008 },
        { "electra", BASE "vocab=30522 embed_width=0 mlm=false", 108891648 },
        { "ernie", BASE "vocab=30522 mlm=false next=false pooler=true", 109496064 },
    };
    for (int i = 0; i < HS_COUNT(table); i++) {
        const hs_family *f = NULL;
        hs_settings s;
        for (int k = 0; hs_families[k]; k++)
            f = strcmp(hs_families[k]->name, table[i].family) == 0 ? hs_families[k] : f;
        assert_non_null(f);
        OK(hs_arch_defaults(f, &s));
        for (const char *p = table[i].settings; *p; p += strcspn(p, " "), p += *p == ' ') {
            char key[64], value[32];
            assert_int_equal(sscanf(p, "%57[^=]=%31[^ ]", key, value), 2);
            char name[96];
            snprintf(name, sizeof name, "model.%s", key);
            OK(hs_schema_set(f->settings, s.bytes, NULL, name, value, NULL));
        }
        OK(hs_arch_check((hs_arch){ f, s.bytes }));
        if (f->count(s.bytes) != table[i].count)
            fail_msg("%s %s: %lld parameters, should be %lld", f->name, table[i].settings, (long long)f->count(s.bytes),
                     (long long)table[i].count);
    }
}

static int set_up(void **state)
{
    (void)state;
    ckpt_temp_dir(work);
    return 0;
}
static int tear_down(void **state)
{
    (void)state;
    ckpt_remove(work);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_spelling_opens),   cmocka_unit_test(what_is_another_model_is_refused),
                                        cmocka_unit_test(heads_may_be_open),      cmocka_unit_test(keys_that_ask_for_more),
                                        cmocka_unit_test(pickles_have_a_way_out), cmocka_unit_test(published_sizes) };
    return cmocka_run_group_tests_name("encoders: files", tests, set_up, tear_down);
}
