// Adapters of PEFT against what PyTorch computed with them (tests/golden/peft, made by scripts/gen_golden_peft.py): merged into their base
// and apart, outputs, every gradient, AdamW steps; written back they are the files that PEFT wrote; what computes something else is
// refused.
#include "tests/support/support_files.h"

#include "data/checkpoint/peft.h"
#include "models/encoder/encoder.h"
#include "models/gpt/gpt.h"
#include "models/lora.h"
#include "ops/ops.h"
#include "tests/support/support_golden.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct subject {
    golden g;
    const char *name;
    hs_peft peft;
    hs_adapter_spec spec;
    char text[HS_LORA_TEXT];
} subject;

static void subject_open(subject *s, const char *name)
{
    const hs_arch_shape shape = { .max_tokens = 64, .max_seqs = 6, .max_picks = 1, .hidden = strcmp(name, "bert-bare") == 0 };
    char folder[64];
    *s = (subject){ .name = name };
    snprintf(folder, sizeof folder, "peft/%s", name);
    golden_open(&s->g, strncmp(name, "gpt2", 4) == 0 ? &hs_gpt_family : &hs_bert_family, folder, &shape);
    OK(hs_peft_read(&s->peft, s->g.dir));
    const hs_lora lora = { .rank = s->peft.rank, .alpha = s->peft.alpha, .rslora = s->peft.rslora, .targets = s->peft.targets };
    OK(hs_lora_spec(&s->spec, &lora, s->g.train.arch, s->text));
}

static void subject_close(subject *s)
{
    hs_peft_free(&s->peft);
    golden_close(&s->g);
}

static hs_optim_config adamw(void)
{
    hs_optim_config c = hs_optim_preset(HS_PRESET_ADAMW);
    c.beta1 = 0.9, c.beta2 = 0.999, c.eps = 1e-8, c.weight_decay = 0.01, c.clip = 0;
    c.schedule = (hs_schedule){ .kind = HS_SCHEDULE_CONSTANT, .lr = 5e-3, .power = 1, .steps = 1000 };
    return c;
}

static void fill(const subject *s, hs_engine *e, hs_mode mode)
{
    int64_t n;
    const int32_t *targets = golden_row(&s->g, "targets", 0, &n);
    const bool classes = hs_arch_task(s->g.train.arch) == HS_TASK_SEQUENCE;
    int64_t count = 0;
    golden_put_texts(&s->g, e, mode, 0);
    golden_put(e, mode, classes ? "class_targets" : "targets", targets, n);
    for (int64_t i = 0; i < n; i++)
        count += targets[i] >= 0;
    e->in->inv_count[classes ? HS_LOSS_TASK : HS_LOSS_TOKENS] = hs_inv_count(count);
}

static double loss_of(const subject *s, const hs_engine *e, hs_mode mode)
{
    return hs_run_losses(e->run, e->plan[mode])[hs_arch_task(s->g.train.arch) ? HS_LOSS_TASK : HS_LOSS_TOKENS];
}

static float *outputs_of(hs_engine *e, int64_t *n)
{
    hs_ref got;
    assert_non_null(hs_run_output(e->run, e->plan[HS_EVAL], 0, &got));
    *n = e->in->n[HS_COUNT_SEQS] * got.cols; // the rows that are there whatever the output is of
    float *v = malloc((size_t)*n * sizeof *v);
    memcpy(v, got.p, (size_t)*n * sizeof *v);
    return v;
}

// ---- outputs: merged, apart, and both alike

static void check_outputs(subject *s, const char *isa)
{
    int64_t n;
    hs_engine *e = golden_engine(&s->g, isa, NULL);
    fill(s, e, HS_EVAL);
    OK(hs_engine_run(e, HS_EVAL, 0));
    golden_check_output(&s->g, e, 0, "out", isa);
    float *merged = outputs_of(e, &n);
    hs_engine_free(e);
    if (strcmp(s->name, "bert-bare") != 0) { // whose pairs have ranks of their own
        s->g.adapter = &s->spec;
        e = golden_engine(&s->g, isa, NULL);
        fill(s, e, HS_EVAL);
        OK(hs_engine_run(e, HS_EVAL, 0));
        golden_check_output(&s->g, e, 0, "out", isa);
        float *apart = outputs_of(e, &n);
        double off = 0, largest = 0;
        for (int64_t i = 0; i < n; i++)
            off = fmax(off, fabs((double)merged[i] - apart[i])), largest = fmax(largest, fabs((double)apart[i]));
        if (!(off <= 1e-6 * largest) || largest == 0)
            fail_msg("%s, %s: merged and apart differ by %g of %g", s->name, isa, off, largest);
        free(apart);
        hs_engine_free(e);
        s->g.adapter = NULL;
    }
    free(merged);
}

static void check_gradients(subject *s, const char *isa)
{
    const hs_optim_config optim = adamw();
    if (!golden_has(&s->g, "losses"))
        return;
    s->g.adapter = &s->spec;
    hs_engine *e = golden_engine(&s->g, isa, &optim);
    fill(s, e, HS_TRAIN);
    OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
    golden_check_gradients(&s->g, e, "grad." HS_PEFT_PREFIX, true, isa);
    hs_engine_free(e);
    s->g.adapter = NULL;
}

static void check_losses(subject *s, const char *isa)
{
    const hs_optim_config optim = adamw();
    if (!golden_has(&s->g, "losses"))
        return;
    s->g.adapter = &s->spec;
    hs_engine *e = golden_engine(&s->g, isa, &optim);
    const hs_st_entry *t = golden_stored(&s->g, "losses");
    for (int step = 0; step < t->dim[0]; step++) {
        const double want = ((const double *)t->data)[step];
        fill(s, e, HS_TRAIN);
        OK(hs_engine_run(e, HS_TRAIN, HS_MICRO_FIRST | HS_MICRO_LAST));
        OK(hs_run_update(e->run));
        if (!(fabs(loss_of(s, e, HS_TRAIN) - want) <= 1e-4))
            fail_msg("%s, %s: loss of step %d is %.7f, should be %.7f", s->name, isa, step, loss_of(s, e, HS_TRAIN), want);
    }
    hs_engine_free(e);
    s->g.adapter = NULL;
}

static void on_all(void (*fn)(subject *s, const char *isa))
{
    static const char *const names[] = { "bert-class", "bert-class-2", "gpt2-lm", "bert-bare" };
    for (int i = 0; i < HS_COUNT(names); i++) {
        subject s;
        subject_open(&s, names[i]);
        for (int k = 0; k < HS_N_ISA; k++)
            if (hs_isa_supported((hs_isa)k) && hs_isa_built((hs_isa)k))
                fn(&s, hs_isa_name((hs_isa)k));
        subject_close(&s);
    }
}
static void outputs(void **state) { (void)state, on_all(check_outputs); }
static void gradients(void **state) { (void)state, on_all(check_gradients); }
static void steps(void **state) { (void)state, on_all(check_losses); }

// ---- written back

static json_t *load(const char *dir, const char *name)
{
    char path[1024];
    json_error_t error;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    json_t *j = json_load_file(path, 0, &error);
    if (!j)
        fail_msg("%s: %s", path, error.text);
    return j;
}

static bool holds(const json_t *list, const char *word)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), word) == 0)
            return true;
    return false;
}

// Keys that say the same, lists in any order; of modules that are kept PEFT names some that are not there.
static void same_config(const char *theirs, const char *ours)
{
    static const char *const equal[] = {
        "r", "lora_alpha", "lora_dropout", "use_rslora", "fan_in_fan_out", "bias", "peft_type", "task_type"
    };
    json_t *a = load(theirs, HS_PEFT_CONFIG), *b = load(ours, HS_PEFT_CONFIG);
    for (int i = 0; i < HS_COUNT(equal); i++)
        if (!json_equal(json_object_get(a, equal[i]), json_object_get(b, equal[i])))
            fail_msg("%s: \"%s\" is not as it was", theirs, equal[i]);
    const json_t *was = json_object_get(a, "target_modules"), *is = json_object_get(b, "target_modules");
    assert_int_equal(json_array_size(was), json_array_size(is));
    for (size_t i = 0; i < json_array_size(is); i++)
        if (!holds(was, json_string_value(json_array_get(is, i))))
            fail_msg("%s: target \"%s\" is another", theirs, json_string_value(json_array_get(is, i)));
    const json_t *kept = json_object_get(b, "modules_to_save");
    for (size_t i = 0; i < json_array_size(kept); i++)
        assert_true(holds(json_object_get(a, "modules_to_save"), json_string_value(json_array_get(kept, i))));
    json_decref(a);
    json_decref(b);
}

static void same_tensors(const char *theirs, const char *ours)
{
    char path[1024];
    hs_safetensors *a, *b;
    snprintf(path, sizeof path, "%s/" HS_PEFT_WEIGHTS, theirs);
    OK(hs_safetensors_open(&a, path));
    snprintf(path, sizeof path, "%s/" HS_PEFT_WEIGHTS, ours);
    OK(hs_safetensors_open(&b, path));
    assert_int_equal(hs_safetensors_count(a), hs_safetensors_count(b));
    for (int i = 0; i < hs_safetensors_count(a); i++) {
        const hs_st_entry *x = hs_safetensors_at(a, i), *y = hs_safetensors_find(b, x->name);
        if (!y || y->bytes != x->bytes || y->n_dims != x->n_dims || y->dim[0] != x->dim[0] || memcmp(x->data, y->data, x->bytes))
            fail_msg("%s is not written as it was", x->name);
    }
    hs_safetensors_close(a);
    hs_safetensors_close(b);
}

static hs_ckpt_opts opts_of(const subject *s, const char *dir)
{
    return (hs_ckpt_opts){ .dir = dir, .keep = 3, .files = &s->g.family->files, .base = s->peft.base };
}

// A checkpoint of a run that trains the adapter is what PEFT wrote, and goes on.
static void written(void **state)
{
    (void)state;
    static const char *const names[] = { "bert-class", "gpt2-lm" };
    const hs_optim_config optim = adamw();
    const hs_train_state at = { .step = 7, .seed = 1, .best_val_loss = -1 };
    for (int i = 0; i < HS_COUNT(names); i++) {
        subject s;
        char dir[512], step[600];
        hs_ckpt *c;
        hs_train_state back;
        subject_open(&s, names[i]);
        snprintf(dir, sizeof dir, "%s", scratch_path(names[i]));
        const hs_ckpt_opts o = opts_of(&s, dir);
        s.g.adapter = &s.spec;
        hs_engine *e = golden_engine(&s.g, NULL, &optim);
        OK(hs_ckpt_new(&c, &o, e->params));
        OK(hs_ckpt_save(c, e->params, &at, &s.g.info, NULL, "train: {}\n", false));
        hs_ckpt_free(c);
        OK(hs_ckpt_resolve(dir, HS_CKPT_TRAIN, step, sizeof step));
        same_config(s.g.dir, step);
        same_tensors(s.g.dir, step);
        char weights[700];
        snprintf(weights, sizeof weights, "%s/model.safetensors", step);
        assert_false(hs_is_file(weights)); // the base is not copied
        hs_model_info info;
        const hs_model_files *const known[] = { &s.g.family->files };
        OK(hs_ckpt_read_info(step, known, 1, &info));
        assert_memory_equal(&info.settings, &s.g.info.settings, sizeof info.settings);
        hs_model_info_free(&info);
        OK(hs_ckpt_load_params(step, &o, e->params));
        OK(hs_ckpt_load_train(step, e->params, &back));
        assert_int_equal(back.step, 7);
        hs_engine_free(e);
        subject_close(&s);
    }
}

// ---- a base that is another now, and what is refused

// In a folder of the scratch folder, which is made.
static void put(const char *name, const char *text)
{
    char folder[64];
    snprintf(folder, sizeof folder, "%.*s", (int)strcspn(name, "/"), name);
    mkdir(scratch_path(folder), 0777);
    scratch_write(name, text, strlen(text));
}

static void copy_file(const char *from, const char *to)
{
    FILE *f = fopen(from, "rb");
    static char bytes[1 << 20];
    const size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    scratch_write(to, bytes, n);
}

static void base_changed(void **state)
{
    (void)state;
    subject s;
    char path[1024], dir[512], base[512], step[600];
    const hs_optim_config optim = adamw();
    const hs_train_state at = { .step = 1, .seed = 1, .best_val_loss = -1 };
    hs_ckpt *c;
    subject_open(&s, "bert-class");
    put("base/config.json", "{}");
    snprintf(path, sizeof path, "%.900s/model.safetensors", s.peft.base);
    copy_file(path, "base/model.safetensors");
    snprintf(base, sizeof base, "%s", scratch_path("base"));
    snprintf(dir, sizeof dir, "%s", scratch_path("changed"));
    hs_ckpt_opts o = opts_of(&s, dir);
    o.base = base;
    s.g.adapter = &s.spec;
    hs_engine *e = golden_engine(&s.g, NULL, &optim);
    OK(hs_ckpt_new(&c, &o, e->params));
    OK(hs_ckpt_save(c, e->params, &at, &s.g.info, NULL, "", false));
    hs_ckpt_free(c);
    OK(hs_ckpt_resolve(dir, HS_CKPT_TRAIN, step, sizeof step));
    size_t n;
    char *bytes = scratch_read("base/model.safetensors", &n);
    bytes[n - 1] ^= 1;
    scratch_write("base/model.safetensors", bytes, n);
    FAILS(CORRUPT, "not the file that", hs_ckpt_verify(step));
    free(bytes);
    o.base = "no-such-folder";
    FAILS(USAGE, "no-such-folder: no such folder: the model that an adapter is trained beside", hs_ckpt_new(&c, &o, e->params));
    hs_engine_free(e);
    subject_close(&s);
}

// A run and its base go to another place, together.
static void moved(void **state)
{
    (void)state;
    subject s;
    char path[1024], dir[512], base[512], step[600], old[512], now[512];
    const hs_optim_config optim = adamw();
    const hs_train_state at = { .step = 1, .seed = 1, .best_val_loss = -1 };
    hs_ckpt *c;
    hs_peft p;
    subject_open(&s, "bert-class");
    mkdir(scratch_path("old"), 0777), mkdir(scratch_path("old/models"), 0777), mkdir(scratch_path("old/models/base"), 0777);
    scratch_write("old/models/base/config.json", "{}", 2);
    snprintf(path, sizeof path, "%.900s/model.safetensors", s.peft.base);
    copy_file(path, "old/models/base/model.safetensors");
    snprintf(base, sizeof base, "%s", scratch_path("old/models/base"));
    snprintf(dir, sizeof dir, "%s", scratch_path("old/runs/a/checkpoints"));
    hs_ckpt_opts o = opts_of(&s, dir);
    o.base = base;
    s.g.adapter = &s.spec;
    hs_engine *e = golden_engine(&s.g, NULL, &optim);
    OK(hs_ckpt_new(&c, &o, e->params));
    OK(hs_ckpt_save(c, e->params, &at, &s.g.info, NULL, "", false));
    hs_ckpt_free(c);
    snprintf(old, sizeof old, "%s", scratch_path("old"));
    snprintf(now, sizeof now, "%s", scratch_path("now"));
    assert_int_equal(rename(old, now), 0);
    OK(hs_ckpt_resolve(scratch_path("now/runs/a"), HS_CKPT_TRAIN, step, sizeof step));
    OK(hs_peft_read(&p, step));
    assert_non_null(strstr(p.base, "/../../../models/base"));
    hs_peft_free(&p);
    OK(hs_ckpt_load_params(step, &o, e->params));
    snprintf(path, sizeof path, "%s/models/base", now);
    assert_int_equal(rename(path, scratch_path("elsewhere")), 0); // not with it
    FAILS(USAGE, "which is no folder here", hs_peft_read(&p, step));
    hs_peft_free(&p);
    hs_engine_free(e);
    subject_close(&s);
}

#define CONFIG(more)                                                                                                                       \
    "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8,\"base_model_name_or_path\":\"" HS_TESTS_DIR "/golden/encoders/bert\"" more "}"

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        hs_status st;
        const char *part;
    } c[] = {
        { "{\"peft_type\":\"IA3\"}", HS_UNSUPPORTED, "\"peft_type\" is \"IA3\", supported: LORA" },
        { CONFIG(",\"use_dora\":true"), HS_UNSUPPORTED, "\"use_dora\" asks for a magnitude beside each weight (DoRA)" },
        { CONFIG(",\"alpha_pattern\":{\"key\":3}"), HS_UNSUPPORTED, "\"alpha_pattern\" asks for an alpha for each module" },
        { CONFIG(",\"init_lora_weights\":\"pissa\""), HS_UNSUPPORTED,
          "\"init_lora_weights\" is \"pissa\", which changes the base's weights" },
        { CONFIG(",\"target_modules\":[1]"), HS_CORRUPT, "\"target_modules\" is no list of names" },
        { "{\"peft_type\":\"LORA\",\"r\":0,\"lora_alpha\":8}", HS_CORRUPT, "\"r\" is 0" },
        { "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8}", HS_USAGE, "\"base_model_name_or_path\" is missing" },
        { "{\"peft_type\":\"LORA\",\"r\":4,\"lora_alpha\":8,\"base_model_name_or_path\":\"bert-base\"}", HS_USAGE,
          "is \"bert-base\", which is no folder here" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_peft p;
        put("refused/" HS_PEFT_CONFIG, c[i].config);
        expect_error(hs_peft_read(&p, scratch_path("refused")), c[i].st, c[i].part, __FILE__, __LINE__);
        hs_peft_free(&p);
    }
    hs_model_info m;
    const hs_model_files *const known[] = { &hs_bert_family.files };
    put("refused/" HS_PEFT_CONFIG, CONFIG(",\"task_type\":\"SEQ_CLS\""));
    FAILS(USAGE, HS_PEFT_WEIGHTS ": no such file, beside", hs_ckpt_read_info(scratch_path("refused"), known, 1, &m));
    put("refused/adapter_model.bin", "x");
    FAILS(UNSUPPORTED, "a pickle, which runs code when it is read", hs_ckpt_read_info(scratch_path("refused"), known, 1, &m));
}

// A pair of other widths than its weight, and one beside no weight, are named.
static void misfits(void **state)
{
    (void)state;
    static const float zeros[4 * 48] = { 0 };
#define MODULE HS_PEFT_PREFIX "encoder.layer.0.attention.self.query"
    hs_st_tensor t[] = { { .name = MODULE ".lora_A.weight", .dtype = HS_F32, .n_dims = 2, .dim = { 4, 16 }, .data = zeros },
                         { .name = MODULE ".lora_B.weight", .dtype = HS_F32, .n_dims = 2, .dim = { 32, 4 }, .data = zeros } };
    char path[600];
    subject s;
    subject_open(&s, "bert-bare");
    put("misfit/" HS_PEFT_CONFIG, CONFIG(""));
    snprintf(path, sizeof path, "%s/" HS_PEFT_WEIGHTS, scratch_path("misfit"));
    OK(hs_safetensors_write(path, t, 2, NULL));
    hs_engine *e = golden_engine(&s.g, NULL, NULL);
    const hs_ckpt_opts o = { .files = &hs_bert_family.files };
    FAILS(USAGE, "query.lora_A.weight\" is [4,16], its partner [32,4], and the weight [32,32]",
          hs_ckpt_load_params(scratch_path("misfit"), &o, e->params));
    t[0].name = HS_PEFT_PREFIX "encoder.layer.7.lora_A.weight", t[1].name = HS_PEFT_PREFIX "encoder.layer.7.lora_B.weight";
    OK(hs_safetensors_write(path, t, 2, NULL));
    FAILS(USAGE, "encoder.layer.7.lora_A.weight\" is unexpected", hs_ckpt_load_params(scratch_path("misfit"), &o, e->params));
    t[0].name = "encoder.layer.7.lora_A.weight";
    OK(hs_safetensors_write(path, t, 2, NULL));
    FAILS(UNSUPPORTED, "does not begin with \"" HS_PEFT_PREFIX "\"", hs_ckpt_load_params(scratch_path("misfit"), &o, e->params));
    hs_engine_free(e);
    subject_close(&s);
}

// Names of ours and of PEFT's are the same targets.
static void targets(void **state)
{
    (void)state;
    static const struct {
        const char *targets, *has, *lacks;
    } c[] = {
        { "query", "l0.attn.qkv.lora_a", "l0.attn.out.lora_a" },
        { "attn.out", "l1.attn.out.lora_a", "l1.ff.down.lora_a" },
        { "output.dense", "l1.ff.down.lora_a", "l0.ff.up.lora_a" },
        { "bert.encoder.layer.1.output.dense", "l1.ff.down.lora_a", "l0.ff.down.lora_a" },
        { "l1.attn.qkv.k,intermediate.dense", "l0.ff.up.lora_a", "l0.attn.qkv.lora_a" },
        { "all-linear", "pooler.lora_a", "class.out.lora_a" },
        { "", "l1.attn.qkv.lora_a", "l1.attn.out.lora_a" },
    };
    subject s;
    subject_open(&s, "bert-class");
    for (int i = 0; i < HS_COUNT(c); i++) {
        hs_device *device;
        hs_engine *e;
        const hs_lora lora = { .rank = 4, .alpha = 8, .targets = c[i].targets };
        OK(hs_lora_spec(&s.spec, &lora, s.g.train.arch, s.text));
        OK(hs_open_device(&device, "cpu", 1, NULL, 0, HS_ONEDNN_NO));
        OK(hs_engine_open(
            &e, &(hs_engine_opts){ .model = hs_arch_trace, .config = &s.g.eval, .eval = true, .adapter = &s.spec, .device = device }));
        if (!hs_params_find(e->params, c[i].has) || hs_params_find(e->params, c[i].lacks))
            fail_msg("\"%s\": %s is not there, or %s is", c[i].targets, c[i].has, c[i].lacks);
        hs_engine_free(e);
        hs_device_close(device);
    }
    subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(outputs), cmocka_unit_test(gradients),    cmocka_unit_test(steps),
                                        cmocka_unit_test(written), cmocka_unit_test(base_changed), cmocka_unit_test(moved),
                                        cmocka_unit_test(refused), cmocka_unit_test(misfits),      cmocka_unit_test(targets) };
    return cmocka_run_group_tests_name("peft", tests, scratch_open, scratch_close);
}
