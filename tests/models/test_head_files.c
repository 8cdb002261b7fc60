// Files of models with a task: what config.json may leave out or say wrongly, which dropout it means, and weights that a run with another
// head starts from.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/graph/comm.h"
#include "data/checkpoint/checkpoint.h"
#include "models/encoder/encoder.h"
#include "tests/support/support_ckpt.h"
#include "tests/support/support_encoder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OK(expr) assert_string_equal((expr) == HS_OK ? "" : hs_error(), "")

static char work[CKPT_PATH];

static const hs_family *family_named(const char *name)
{
    for (int i = 0; hs_families[i]; i++)
        if (strcmp(hs_families[i]->name, name) == 0)
            return hs_families[i];
    fail_msg("no family %s", name);
    return NULL;
}

// ---- config.json

// tests/golden/heads/FOLDER with one stretch of its config.json replaced: what `from` and `to` enclose, both included.
static void edited(const char *folder, const char *label, const char *from, const char *to, const char *with, char dir[2 * CKPT_PATH])
{
    char path[3 * CKPT_PATH], target[3 * CKPT_PATH], text[8192];
    snprintf(dir, 2 * CKPT_PATH, "%s/%s", work, label);
    assert_int_equal(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, HS_TESTS_DIR "/golden/heads/%s/config.json", folder);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    char *at = strstr(text, from), *end = at ? strstr(at + strlen(from) - strlen(to), to) : NULL;
    assert_non_null(end);
    snprintf(path, sizeof path, "%s/config.json", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "%.*s%s%s", (int)(at - text), text, with, end + strlen(to));
    fclose(f);
    snprintf(target, sizeof target, HS_TESTS_DIR "/golden/heads/%s/model.safetensors", folder);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(symlink(target, path), 0);
}

#define LABELS "\"id2label\": {", "},", ""
#define CLASS  "\"model_type\"", "\"model_type\""
static const struct {
    const char *folder, *from, *to, *with;
    hs_task task;
    int64_t labels;
    int names;
    double dropout;
} readings[] = {
    { "bert-sequence", "\"id2label\"", "\"id2label\"", "\"id2label\"", HS_TASK_SEQUENCE, 3, 3, -1 },
    { "bert-sequence", LABELS, HS_TASK_SEQUENCE, 2, 0, -1 }, // as transformers writes two without names
    { "bert-sequence", "\"id2label\": {", "},", "\"num_labels\": 7,", HS_TASK_SEQUENCE, 7, 0, -1 },
    { "bert-sequence", "\"id2label\": {", "},", "\"num_labels\": 1,", HS_TASK_REGRESSION, 1, 0, -1 },
    { "bert-sequence", "\"id2label\": {", "},", "\"num_labels\": 1, \"problem_type\": \"single_label_classification\",", HS_TASK_SEQUENCE,
      1, 0, -1 },
    { "bert-sequence", CLASS, "\"problem_type\": null, \"model_type\"", HS_TASK_SEQUENCE, 3, 3, -1 },
    { "bert-sequence", CLASS, "\"problem_type\": \"multi_label_classification\", \"model_type\"", HS_TASK_MULTILABEL, 3, 3, -1 },
    { "bert-sequence", CLASS, "\"problem_type\": \"regression\", \"model_type\"", HS_TASK_REGRESSION, 3, 3, -1 },
    { "bert-tokens", CLASS, "\"problem_type\": \"regression\", \"model_type\"", HS_TASK_TOKENS, 3, 3, -1 }, // says nothing there
    { "bert-tokens", "\"classifier_dropout\": null", "null", "\"classifier_dropout\": 0.25", HS_TASK_TOKENS, 3, 3, 0.25 },
    { "bert-tokens", "\"model_type\": \"bert\",", ",", "", HS_TASK_TOKENS, 3, 3, -1 }, // its class says which family it is
    { "distilbert-sequence", "\"seq_classif_dropout\": 0.0", "0.0", "\"seq_classif_dropout\": 0.2", HS_TASK_SEQUENCE, 3, 3, -1 },
    { "distilbert-sequence", "\"seq_classif_dropout\": 0.0", "0.0", "\"seq_classif_dropout\": 0.5", HS_TASK_SEQUENCE, 3, 3, 0.5 },
    { "distilbert-span", "\"qa_dropout\": 0.0", "0.0", "\"qa_dropout\": 0.3", HS_TASK_SPAN, 0, 0, 0.3 },
    { "distilbert-tokens", "\"seq_classif_dropout\": 0.0", "0.0", "\"seq_classif_dropout\": 0.5", HS_TASK_TOKENS, 3, 3, -1 },
    { "albert-sequence", "\"classifier_dropout_prob\": 0.0", "0.0", "\"classifier_dropout_prob\": 0.1", HS_TASK_SEQUENCE, 3, 3, -1 },
    { "gpt2-tokens", "\"classifier_dropout\": 0.0", "0.0", "\"classifier_dropout\": null", HS_TASK_TOKENS, 3, 3, -1 },
    { "gpt2-sequence", "\"classifier_dropout\": 0.0", "0.0", "\"classifier_dropout\": 0.4", HS_TASK_SEQUENCE, 3, 3, -1 }, // it has none
};

static void what_config_json_says(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(readings); i++) {
        char dir[2 * CKPT_PATH], label[32], name[32];
        hs_model_info info;
        snprintf(label, sizeof label, "reading%d", i);
        edited(readings[i].folder, label, readings[i].from, readings[i].to, readings[i].with, dir);
        snprintf(name, sizeof name, "%.*s", (int)(strrchr(readings[i].folder, '-') - readings[i].folder), readings[i].folder);
        const hs_family *f = family_named(name);
        const hs_model_files *const known[] = { &f->files };
        OK(hs_ckpt_read_info(dir, known, 1, &info));
        const hs_arch a = { f, info.settings.bytes };
        const hs_key *k = hs_schema_find(f->settings, NULL, "model.task_dropout").key;
        const double dropout = *(const double *)(info.settings.bytes + k->offset);
        if (hs_arch_task(a) != readings[i].task || hs_arch_int(a, "model.labels") != readings[i].labels ||
            info.labels.n != readings[i].names || dropout != readings[i].dropout)
            fail_msg("reading %d: task %d, %d labels, %d names, dropout %g", i, hs_arch_task(a), (int)hs_arch_int(a, "model.labels"),
                     info.labels.n, dropout);
        hs_model_info_free(&info);
    }
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *with, *message;
        hs_status status;
    } table[] = {
        { "\"1\": \"O\",", ",", "", "\"id2label\" has 2 labels, but no name for \"1\"", HS_CORRUPT },
        { "\"1\": \"O\"", "\"", "\"1\": 3", "\"id2label\" has 3 labels, but no name for \"1\"", HS_CORRUPT },
        { "\"1\": \"O\"", "\"", "\"1\": \"B-LOC\"", "\"id2label\" calls labels 0 and 1 \"B-LOC\"", HS_CORRUPT },
        { CLASS, "\"problem_type\": \"ranking\", \"model_type\"",
          "\"problem_type\" is \"ranking\", supported: single_label_classification, regression, multi_label_classification",
          HS_UNSUPPORTED },
        { "\"id2label\": {", "},", "\"num_labels\": 0,", "\"num_labels\"", HS_CORRUPT },
        { "\"classifier_dropout\": null", "null", "\"classifier_dropout\": 1.5", "\"classifier_dropout\" is 1.5, allowed 0 to",
          HS_CORRUPT },
    };
    for (int i = 0; i < HS_COUNT(table); i++) {
        char dir[2 * CKPT_PATH], label[32];
        const hs_model_files *const known[] = { &hs_bert_family.files };
        hs_model_info info = { 0 };
        snprintf(label, sizeof label, "wrong%d", i);
        edited("bert-sequence", label, table[i].from, table[i].to, table[i].with, dir);
        assert_int_equal(hs_ckpt_read_info(dir, known, 1, &info), table[i].status);
        if (!strstr(hs_error(), table[i].message) || !strstr(hs_error(), dir))
            fail_msg("wrong %d: %s", i, hs_error());
        hs_model_info_free(&info);
    }
}

static hs_params *params_of(const hs_family *f, const void *settings)
{
    const hs_grid grid = hs_grid_self();
    hs_params *ps = NULL;
    hs_graph *g;
    OK(hs_params_new(&ps, 7, 0, 1));
    OK(hs_graph_new(&g, ps, NULL, HS_EVAL, &grid));
    f->trace(g, settings, &(hs_arch_shape){ .max_tokens = 8, .max_seqs = 2, .max_picks = 2 });
    OK(hs_graph_status(g));
    hs_graph_free(g);
    OK(hs_params_alloc(ps, NULL, false));
    return ps;
}

// What only models with some task write.
static void keys_of_a_task(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *has, *lacks;
    } table[] = {
        { "heads/gpt2-sequence", "\"pad_token_id\": null", NULL }, // no tokenizer, no such token
        { "heads/gpt2-tokens", "\"classifier_dropout\": 0.0", "pad_token_id" },
        { "gpt2-lm", "\"classifier_dropout\": null", "pad_token_id" },
        { "gpt2-lm", "GPT2LMHeadModel", "label" },
        { "heads/bert-span", "BertForQuestionAnswering", "label" },
        { "heads/bert-crf", "BertForTokenClassification", "problem_type" },
        { "heads/distilbert-tokens", "\"seq_classif_dropout\": 0.2", "problem_type" }, // of no meaning there: transformers' own
    };
    for (int i = 0; i < HS_COUNT(table); i++) {
        char from[512], to[2 * CKPT_PATH], path[3 * CKPT_PATH], text[8192];
        const hs_model_files *known[HS_FAMILIES];
        hs_model_info info;
        int n = 0, at = 0;
        for (; hs_families[n]; n++)
            known[n] = &hs_families[n]->files;
        snprintf(from, sizeof from, HS_TESTS_DIR "/golden/%s", table[i].folder);
        OK(hs_ckpt_read_info(from, known, n, &info));
        while (known[at] != info.files)
            at++;
        hs_params *ps = params_of(hs_families[at], info.settings.bytes);
        OK(hs_ckpt_load_params(from, &(hs_ckpt_opts){ .files = info.files }, ps));
        snprintf(to, sizeof to, "%s/keys%d", work, i);
        OK(hs_ckpt_export(to, &(hs_ckpt_opts){ .files = info.files }, ps, &info, NULL));
        snprintf(path, sizeof path, "%s/config.json", to);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        text[fread(text, 1, sizeof text - 1, f)] = 0;
        fclose(f);
        if (!strstr(text, table[i].has) || (table[i].lacks && strstr(text, table[i].lacks)))
            fail_msg("%s is written as %s", table[i].folder, text);
        hs_params_free(ps);
        hs_model_info_free(&info);
    }
}

// ---- weights to start from

static bool is_head(const char *name)
{
    static const char *const scopes[] = { "mlm.", "next.", "order.", "pooler.", "class.", "tags.", "span.", "crf." };
    for (int i = 0; i < HS_COUNT(scopes); i++)
        if (strncmp(name, scopes[i], strlen(scopes[i])) == 0)
            return true;
    return false;
}

// How many parameters have what the file has: of the body all, of the head those that `same` begins.
static void check_taken(const char *dir, const hs_family *f, const hs_params *ps, const char *same)
{
    hs_safetensors *file;
    char path[1024];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    OK(hs_safetensors_open(&file, path));
    for (int i = 0; i < ps->n_params; i++) {
        const hs_param *p = ps->param[i];
        hs_name_piece piece[HS_NAME_PIECES];
        int n;
        OK(hs_name_pieces(f->files.name, f->files.n_names, p->name, p->parts, piece, &n));
        const hs_st_entry *e = hs_safetensors_find(file, piece[0].name);
        float *mine = calloc(p->n, sizeof *mine);
        hs_params_export(ps, ps->master, p, mine);
        const bool taken = e && !piece[0].transposed && e->bytes <= p->n * sizeof(float) && memcmp(mine, e->data, e->bytes) == 0;
        const bool want = !is_head(p->name) || (same && strncmp(p->name, same, strlen(same)) == 0);
        if (!piece[0].transposed && taken != want)
            fail_msg("%s: %s is %s", dir, p->name, taken ? "taken" : "not taken");
        double sum = 0;
        for (size_t k = 0; k < p->n; k++)
            sum += mine[k] != 0;
        assert_true(want || p->role == HS_BIAS || p->role == HS_NORM || sum > 0); // drawn
        free(mine);
    }
    hs_safetensors_close(file);
}

static const struct {
    const char *folder; // of tests/golden
    hs_task task;
    int64_t labels;
    bool crf;
    const char *same; // of the head, what is taken
} starts[] = {
    { "encoders/bert", HS_TASK_SEQUENCE, 4, false, "pooler." }, // predicts tokens and judges pairs: the pooler stays, those heads go
    { "encoders/bert", HS_TASK_TOKENS, 4, true, NULL },
    { "encoders/roberta", HS_TASK_SEQUENCE, 4, false, NULL },
    { "encoders/distilbert", HS_TASK_SPAN, 0, false, NULL },
    { "encoders/electra", HS_TASK_MULTILABEL, 4, false, NULL },
    { "gpt2-lm", HS_TASK_SEQUENCE, 4, false, NULL },
    { "heads/bert-tokens", HS_TASK_TOKENS, 3, false, "tags." }, // the same head goes on
    { "heads/bert-tokens", HS_TASK_TOKENS, 5, false, NULL },    // of other labels: anew
    { "heads/bert-tokens", HS_TASK_SPAN, 0, false, NULL },
    { "heads/roberta-sequence", HS_TASK_REGRESSION, 5, false, "class.dense." },
    { "heads/bert-crf", HS_TASK_TOKENS, 3, false, "tags." }, // without its chain
    { "heads/bert-sequence", HS_TASK_NONE, 0, false, NULL }, // on with pretraining
    { "heads/gpt2-span", HS_TASK_NONE, 0, false, NULL },
};

static void weights_to_start_from(void **state)
{
    (void)state;
    for (int i = 0; i < HS_COUNT(starts); i++) {
        char dir[512];
        const hs_model_files *known[HS_FAMILIES];
        hs_model_info info;
        const hs_family *f = NULL;
        int n = 0;
        for (; hs_families[n]; n++)
            known[n] = &hs_families[n]->files;
        snprintf(dir, sizeof dir, HS_TESTS_DIR "/golden/%s", starts[i].folder);
        OK(hs_ckpt_read_info(dir, known, n, &info));
        for (int k = 0; k < n; k++)
            f = known[k] == info.files ? hs_families[k] : f;
        if (starts[i].task) {
            OK(wear_task(f, &info.settings, starts[i].task, starts[i].crf));
            OK(hs_arch_set(f, &info.settings, "model.labels", starts[i].labels));
        } else {
            OK(hs_arch_set(f, &info.settings, "model.labels", 0));
            OK(hs_schema_set(f->settings, info.settings.bytes, NULL, "model.task", "none", NULL));
            if (hs_schema_find(f->settings, NULL, "model.mlm").key)
                OK(hs_schema_set(f->settings, info.settings.bytes, NULL, "model.mlm", "true", NULL));
        }
        hs_params *ps = params_of(f, info.settings.bytes);
        OK(hs_ckpt_load_params(dir, &(hs_ckpt_opts){ .files = &f->files, .heads_open = true }, ps));
        check_taken(dir, f, ps, starts[i].same);
        if (i == 0)
            assert_int_equal(hs_ckpt_load_params(dir, &(hs_ckpt_opts){ .files = &f->files }, ps), HS_USAGE);
        hs_params_free(ps);
        hs_model_info_free(&info);
    }
}

// ---- settings

static void settings_that_do_not_go_together(void **state)
{
    (void)state;
    static const struct {
        const char *family, *key[3], *value[3], *message;
    } table[] = {
        { "bert", { "model.task" }, { "tokens" }, "model.mlm is true beside model.task: a model with a task wears no other head" },
        { "bert",
          { "model.task", "model.mlm", "model.next" },
          { "span", "false", "true" },
          "model.next is true beside model.task: a model with a task wears no other head (model.next: false)" },
        { "gpt2", { "model.labels" }, { "3" }, "model.labels is 3, but model.task is none: it has no labels" },
        { "gpt2", { "model.task", "model.labels" }, { "span", "3" }, "model.labels is 3, but model.task is span" },
        { "gpt2", { "model.task", "model.crf" }, { "sequence", "true" }, "model.crf is true, but model.task is sequence" },
        { "gpt2", { "model.task_dropout" }, { "-0.5" }, "model.task_dropout is -0.5, allowed 0 to below 1, or -1" },
    };
    for (int i = 0; i < HS_COUNT(table); i++) {
        const hs_family *f = family_named(table[i].family);
        hs_settings s;
        OK(hs_arch_defaults(f, &s));
        for (int k = 0; k < 3 && table[i].key[k]; k++)
            OK(hs_schema_set(f->settings, s.bytes, NULL, table[i].key[k], table[i].value[k], NULL));
        assert_int_equal(hs_arch_check((hs_arch){ f, s.bytes }), HS_USAGE);
        if (strncmp(hs_error(), table[i].message, strlen(table[i].message)) != 0)
            fail_msg("%s", hs_error());
    }
}

// What only a trace can say.
static void shapes_that_have_no_loss(void **state)
{
    (void)state;
    static const struct {
        hs_task task;
        int64_t labels;
        bool crf;
        hs_arch_shape shape;
        const char *message;
    } table[] = {
        { HS_TASK_TOKENS, 0, false, { .max_tokens = 8, .max_seqs = 2 }, "model.labels is 0: how many labels" },
        { HS_TASK_TOKENS, 3, true, { .max_tokens = 8, .max_seqs = 2, .weighted = true }, "model.crf is true: a chain of tags has neither" },
        { HS_TASK_SPAN, 0, false, { .max_tokens = 8, .max_seqs = 2, .label_smoothing = 0.1f }, "model.task is span: it has neither" },
        { HS_TASK_SEQUENCE, 3, false, { .max_tokens = 8, .max_seqs = 2, .padded = true }, "data.layout is padded: a GPT with model.task" },
    };
    for (int i = 0; i < HS_COUNT(table); i++) {
        const hs_family *f = family_named("gpt2");
        const hs_grid grid = hs_grid_self();
        hs_settings s;
        hs_params *ps;
        hs_graph *g;
        OK(hs_arch_defaults(f, &s));
        OK(hs_arch_set(f, &s, "model.vocab", 50));
        OK(wear_task(f, &s, table[i].task, table[i].crf));
        OK(hs_arch_set(f, &s, "model.labels", table[i].labels));
        OK(hs_params_new(&ps, 1, 0, 1));
        OK(hs_graph_new(&g, ps, NULL, HS_TRAIN, &grid));
        f->trace(g, s.bytes, &table[i].shape);
        assert_int_equal(hs_graph_status(g), HS_USAGE);
        if (!strstr(hs_error(), table[i].message))
            fail_msg("%s", hs_error());
        hs_graph_free(g);
        hs_params_free(ps);
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
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_config_json_says),
                                        cmocka_unit_test(what_is_wrong_is_said),
                                        cmocka_unit_test(keys_of_a_task),
                                        cmocka_unit_test(weights_to_start_from),
                                        cmocka_unit_test(settings_that_do_not_go_together),
                                        cmocka_unit_test(shapes_that_have_no_loss) };
    return cmocka_run_group_tests_name("heads: files", tests, set_up, tear_down);
}
