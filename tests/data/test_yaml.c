// yaml: settings land in the struct, and whatever is wrong with a file is one line that says where.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/base/yaml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct settings {
    int64_t layers, steps;
    double lr;
    bool tied;
    char train[HS_KEY_STRING_BYTES], name[HS_KEY_STRING_BYTES];
    int policy;
    hs_reals betas;
} settings;

#define AT(field) offsetof(settings, field)
static const hs_key keys[] = {
    { "model.layers", HS_KEY_INT, AT(layers), "4", 1, 1000, NULL, NULL, "blocks", false },
    { "model.tied", HS_KEY_BOOL, AT(tied), "true", 0, 0, NULL, NULL, "one table for both ends", false },
    { "train.steps", HS_KEY_INT, AT(steps), "100", 1, 1e12, NULL, "steps", "optimizer steps", false },
    { "optim.lr", HS_KEY_REAL, AT(lr), "0.001", 0, 10, NULL, NULL, "learning rate", false },
    { "optim.betas", HS_KEY_REALS, AT(betas), "0.9,0.95", 0, 1, NULL, NULL, "moment decay", false },
    { "data.train", HS_KEY_TEXTS, AT(train), "", 0, 0, NULL, NULL, "text", false },
    { "name", HS_KEY_STRING, AT(name), "run", 0, 0, NULL, NULL, "of the run", false },
    { "amp.policy", HS_KEY_CHOICE, AT(policy), "fp32", 0, 0, "fp32|bf16|fp16", NULL, "precision", false },
};
static const hs_schema schema = HS_SCHEMA(keys, settings);
static hs_origin origin[HS_COUNT(keys)];

static hs_status load_bytes(settings *s, const char *text, size_t n)
{
    OK(hs_schema_defaults(&schema, s, origin));
    scratch_write("c.yaml", text, n);
    return hs_yaml_load(scratch_path("c.yaml"), &schema, s, origin);
}
static hs_status load(settings *s, const char *text) { return load_bytes(s, text, strlen(text)); }

static void values_arrive(void **state)
{
    (void)state;
    settings s;
    OK(load(&s, "# a comment\n"
                "name: \"a: run\"\n"
                "model:\n"
                "  layers: 12      # not 4\n"
                "  tied: no\n"
                "optim: {lr: 1e-5, betas: [0.9, 0.99]}\n"
                "amp:\n"
                "  policy: 'bf16'\n"
                "data:\n"
                "  train:\n"
                "    - a.txt\n"
                "    - b.txt\n"
                "train.steps: 1e6\n"));
    assert_string_equal(s.name, "a: run");
    assert_int_equal(s.layers, 12);
    assert_false(s.tied);
    assert_true(s.lr == 1e-5);
    assert_int_equal(s.betas.n, 2);
    assert_true(s.betas.v[1] == 0.99);
    assert_int_equal(s.policy, 1);
    assert_string_equal(s.train, "a.txt,b.txt");
    assert_int_equal(s.steps, 1000000);
    const char *at = strrchr(origin[0].text, '/');
    assert_string_equal(at ? at : origin[0].text, "/c.yaml:4");
}

static void defaults_stay(void **state)
{
    (void)state;
    static const char *const texts[] = { "",
                                         "\n\n",
                                         "# nothing\n",
                                         "---\n",
                                         "---\n...\n",
                                         "{}",
                                         "model:\n",
                                         "model:\n  # layers: 3\noptim:\n",
                                         "data: {train: }",
                                         "\xEF\xBB\xBF# mark\n" };
    for (int i = 0; i < HS_COUNT(texts); i++) {
        settings s;
        OK(load(&s, texts[i]));
        assert_int_equal(s.layers, 4);
        assert_string_equal(origin[0].text, "default");
        assert_string_equal(s.train, "");
    }
}

static void messages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } c[] = {
        { "model:\n  layer: 3\n", "c.yaml:2: unknown key model.layer; did you mean model.layers?" },
        { "modell:\n  layers: 3\n", "c.yaml:2: unknown key modell.layers; did you mean model.layers?" },
        { "layers: 3", "c.yaml:1: unknown key layers" },
        { "foo: {}", "c.yaml:1: unknown key foo" },
        { "foo:", "c.yaml:1: unknown key foo" },
        { "foo: [1, 2]", "c.yaml:1: unknown key foo" },
        { "\n\nmodel: 3", "c.yaml:3: model is a section, its keys belong below it, not \"3\"" },
        { "model:\n  layers:\n    deep: 1", "c.yaml:3: model.layers takes a value, not keys below it" },
        { "model:\n  layers: four", "c.yaml:2: model.layers is 'four', must be a whole number" },
        { "model:\n  layers: 0", "c.yaml:2: model.layers is 0, allowed 1 to 1000" },
        { "model:\n  layers: ~", "c.yaml:2: model.layers is '~'" },
        { "optim:\n  lr: .nan", "c.yaml:2: optim.lr is" },
        { "optim:\n  lr: nan", "c.yaml:2: optim.lr is nan, must be a finite number" },
        { "amp: {policy: fp61}", "c.yaml:1: amp.policy is 'fp61'; did you mean fp16?" },
        { "optim:\n\n  betas:\n  - 0.9\n  - x\n", "c.yaml:4: optim.betas is 'x'" },
        // the shape of the file
        { "model:\n  layers: 3\n  layers: 4\n", "c.yaml:3: model.layers is given twice, first on line 2" },
        { "model: {layers: 3}\noptim: {}\nmodel: {tied: no}\n", "c.yaml:3: model is given twice, first on line 1" },
        { "model: {layers: 3}\nmodel.layers: 4\n", "c.yaml:2: model.layers is given twice, first on line 1" },
        { "model:\n\tlayers: 3\n", "c.yaml:2: malformed YAML: a tab indents this line; YAML takes spaces only" },
        { "model:\n  layers: 3\n  \ttied: no\n", "c.yaml:3: malformed YAML: a tab indents this line" },
        { "model:\n  layers: [3\n", "malformed YAML: " },
        { "name: \"open\n", "malformed YAML: " },
        { "name: b: c\n", "c.yaml:1: malformed YAML: mapping values are not allowed in this context" },
        { "name: x\ndata:\n train: a\n  tied: b\n", "c.yaml:4: malformed YAML: " },
        { "name: &a x\ndata: {train: *a}\n", "c.yaml:2: *a: aliases are not supported" },
        { "*a : x\n", "c.yaml:1: *a: aliases are not supported" },
        { "name: x\n---\nname: y\n", "c.yaml:2: a second document begins" },
        { "optim: {betas: [0.9, [0.99]]}", "c.yaml:1: an element of this list is a list, a single value is wanted" },
        { "model:\n  layers: 3\nname:\n  - a\n  - b\n", "c.yaml:4: name is a list, a single value is wanted" },
        { "name: []\n", "c.yaml:1: name is a list, a single value is wanted" },
        { "optim:\n  lr: [1]\n", "c.yaml:2: optim.lr is a list, a single value is wanted" },
        { "optim:\n  betas:\n  - a: 1\n", "c.yaml:3: an element of this list is a mapping" },
        { "[a, b]: c", "c.yaml:1: a key is a list" },
        { "just words\n", "c.yaml:1: no \"key: value\" here" },
        { "- a\n- b\n", "c.yaml:1: no \"key: value\" here" },
        { "name: !include other.yaml\n", "c.yaml:1: tag !include is not supported" },
        { "model: {a: {b: {c: {d: {e: {f: {g: {h: 1}}}}}}}}", "sections within sections, more than 8 deep" },
        { "name: \"a\\0b\"\n", "c.yaml:1: name has a NUL character in it" },
        { "name: ok\n# \xFF\n", "c.yaml:2: malformed YAML: invalid leading UTF-8 octet" },
        { "name: \x01\n", "c.yaml:1: malformed YAML: control characters are not allowed" },
    };
    for (int i = 0; i < HS_COUNT(c); i++) {
        settings s;
        expect_error(load(&s, c[i].text), HS_USAGE, c[i].part, c[i].text, i);
    }
    char text[3000];
    settings s;
    snprintf(text, sizeof text, "data.train: [%02000d, 1]", 0);
    FAILS(USAGE, "longer than", load(&s, text));
    snprintf(text, sizeof text, "%0600d: 1", 0);
    FAILS(USAGE, "longer than", load(&s, text));
    snprintf(text, sizeof text, "name: %0600d", 0);
    FAILS(USAGE, "c.yaml:1: name has 600 bytes", load(&s, text));
}

static void no_file(void **state)
{
    (void)state;
    settings s;
    OK(hs_schema_defaults(&schema, &s, NULL));
    FAILS(USAGE, "absent.yaml: no such file", hs_yaml_load(scratch_path("absent.yaml"), &schema, &s, NULL));
    FAILS(USAGE, "is a folder", hs_yaml_load(scratch_path(""), &schema, &s, NULL));
    OK(load(&s, "name: x"));
    OK(hs_yaml_load(scratch_path("c.yaml"), &schema, &s, NULL)); // origins are optional
}

// What the schema writes, this reads back.
static void resolved_config_reads_back(void **state)
{
    (void)state;
    settings a, b;
    OK(load(&a, "{name: 'it: is # \"odd\"', model: {layers: 7, tied: false}, optim: {lr: 3e-4, betas: [0.5]}, amp: {policy: fp16}, data: "
                "{train: \"a\\ttab\"}}"));
    FILE *f = fopen(scratch_path("r.yaml"), "w");
    hs_schema_write_yaml(&schema, &a, f);
    fclose(f);
    OK(hs_schema_defaults(&schema, &b, NULL));
    OK(hs_yaml_load(scratch_path("r.yaml"), &schema, &b, NULL));
    assert_memory_equal(&a, &b, sizeof a);
}

// A chooser decides which keys a file may have, wherever it stands; a value from elsewhere goes before the file's.
typedef struct chosen_settings {
    int kind;
    _Alignas(16) unsigned char chosen[64];
} chosen_settings;

static void chooser_comes_first(void **state)
{
    (void)state;
    static const hs_key one[] = { { "model.stones", HS_KEY_INT, 0, "1", 0, 9, NULL, NULL, "", false } };
    static const hs_key two[] = { { "model.height", HS_KEY_INT, 0, "2", 0, 9, NULL, NULL, "", false } };
    static const hs_key common[] = { { "model.kind", HS_KEY_CHOICE, 0, "ring", 0, 0, "ring|tower", NULL, "", false } };
    static const hs_schema ring = HS_SCHEMA(one, int64_t), tower = HS_SCHEMA(two, int64_t);
    static const hs_section sections[] = { { "ring", &ring }, { "tower", &tower } };
    static const hs_schema s = { .key = common,
                                 .n = 1,
                                 .struct_bytes = sizeof(chosen_settings),
                                 .chooser = "model.kind",
                                 .section = sections,
                                 .n_sections = 2,
                                 .section_offset = offsetof(chosen_settings, chosen),
                                 .section_bytes = 64 };
    chosen_settings c;
    hs_origin from[2];
    const char *path = scratch_path("k.yaml"), *text = "model:\n  height: 7\n  kind: tower\n";
    scratch_write("k.yaml", text, strlen(text));
    OK(hs_schema_defaults(&s, &c, from));
    OK(hs_yaml_load(path, &s, &c, from));
    assert_true(c.kind == 1 && *(int64_t *)c.chosen == 7);
    assert_non_null(strstr(from[0].text, "k.yaml:3"));
    assert_non_null(strstr(from[1].text, "k.yaml:2"));
    OK(hs_yaml_choose(path, &s, &c, from));
    OK(hs_schema_set(&s, &c, from, "model.kind", "ring", "--model.kind"));
    FAILS(USAGE, "k.yaml:2: model.height is a setting of model.kind tower, not of ring", hs_yaml_read(path, &s, &c, from));
    assert_int_equal(c.kind, 0);
    text = "model: { kind: towr }\n";
    scratch_write("k.yaml", text, strlen(text));
    FAILS(USAGE, "k.yaml:1: model.kind is 'towr'; did you mean tower?", hs_yaml_choose(path, &s, &c, from));
    FAILS(USAGE, "k.yaml:1: model.kind is 'towr'; did you mean tower?", hs_yaml_read(path, &s, &c, from));
    text = "model: { kind: tower, stones: }\n}";
    scratch_write("k.yaml", text, strlen(text));
    OK(hs_yaml_choose(path, &s, &c, from)); // the second reading tells
    FAILS(USAGE, "k.yaml:1: model.stones is a setting of model.kind ring, not of tower", hs_yaml_read(path, &s, &c, from));
    text = "model: { height: 3 }\n";
    scratch_write("k.yaml", text, strlen(text));
    OK(hs_schema_set(&s, &c, from, "model.kind", "tower", "--model.kind"));
    OK(hs_yaml_read(path, &s, &c, from));
    assert_int_equal(*(int64_t *)c.chosen, 3);
}

// A list of sections: each element has its keys, its lines and its messages.
typedef struct source {
    char path[HS_KEY_STRING_BYTES];
    double weight;
    hs_reals betas;
} source;
typedef struct mix {
    int64_t first;
    source source[3];
    int n;
} mix;

static void lists_of_sections(void **state)
{
    (void)state;
    static const hs_key source_keys[] = {
        { "path", HS_KEY_STRING, offsetof(source, path), "", 0, 0, NULL, NULL, "", false },
        { "weight", HS_KEY_REAL, offsetof(source, weight), "1", 0.5, 9, NULL, NULL, "", false },
        { "betas", HS_KEY_REALS, offsetof(source, betas), "", 0, 1, NULL, NULL, "", false },
    };
    static const hs_schema source_schema = HS_SCHEMA(source_keys, source);
    static const hs_key common[] = { { "data.first", HS_KEY_INT, offsetof(mix, first), "1", 0, 9, NULL, NULL, "", false } };
    static const hs_list lists[] = { { "data.sources", &source_schema, offsetof(mix, source), offsetof(mix, n), 3, "" } };
    static const hs_schema s = { .key = common, .n = 1, .struct_bytes = sizeof(mix), .list = lists, .n_lists = 1 };
    static const struct {
        const char *text, *message; // NULL: it is good
    } c[] = {
        { "data:\n  sources:\n    - { betas: [0.5, 0.25], path: a, weight: 2 }\n    - path: b\n      weight: 3\n  first: 4\n", NULL },
        { "data:\n  sources: [ { weight: 2, path: a }, { path: b, weight: 3 } ]\n  first: 4\n", NULL },
        { "data.sources.0.path: a\ndata.sources.0.weight: 2\ndata.sources.1: { path: b, weight: 3 }\ndata: { first: 4 }\n", NULL },
        { "data:\n  sources:\n    - path: a\n    - path: b\n      weigth: 3\n",
          "k.yaml:5: unknown key data.sources.1.weigth; did you mean data.sources.1.weight?" },
        { "data:\n  sources:\n    - path: a\n      weight: 0\n", "k.yaml:4: data.sources.0.weight is 0, allowed 0.5 to 9" },
        { "data:\n  sources:\n    - path: a\n      path: b\n", "k.yaml:4: data.sources.0.path is given twice, first on line 3" },
        { "data:\n  sorces:\n    - path: a\n", "k.yaml:3: unknown key data.sorces; did you mean data.sources?" },
        { "data:\n  sources: a, b\n", "k.yaml:2: data.sources is a list, each element behind a dash: - path: ..." },
        { "data: [ { first: 1 } ]\n", "k.yaml:1: data is a section, its keys belong below it, not a list" },
        { "data:\n  sources: [a, b]\n", "k.yaml:2: an element of data.sources needs keys, as in - path: ..." },
        { "data:\n  sources:\n    - path: a\n    - {}\n", "k.yaml:4: an element of data.sources needs keys" },
        { "data:\n  sources:\n    path: a\n", "k.yaml:3: data.sources is a list, each element behind a dash: - path: ..." },
        { "data:\n  sources:\n    - path: { a: b }\n", "k.yaml:3: data.sources.0.path takes a value, not keys below it" },
        { "data.sources.1.path: a\n", "k.yaml:1: data.sources.1.path: data.sources has 0 elements, the next one is data.sources.0" },
        { "data:\n  sources: [ {path: a}, {path: b}, {path: c}, {path: d} ]\n",
          "k.yaml:2: data.sources.3.path: data.sources takes at most 3 elements" },
        { "data.sources.01.path: a\n", "k.yaml:1: unknown key data.sources.01.path; did you mean data.sources.1.path?" },
        { "data.sources.99999999999.path: a\n", "k.yaml:1: unknown key data.sources.99999999999.path; did you mean data.sources.0.path?" },
        { "data: { sources: [], first: 4 }\n", NULL },
        { "data: { sources: , first: 4 }\n", NULL },
    };
    const char *path = scratch_path("k.yaml");
    for (int i = 0; i < HS_COUNT(c); i++) {
        mix m, again;
        hs_origin from[10];
        assert_int_equal(hs_schema_origins(&s), HS_COUNT(from));
        OK(hs_schema_defaults(&s, &m, from));
        scratch_write("k.yaml", c[i].text, strlen(c[i].text));
        if (c[i].message) {
            expect_error(hs_yaml_load(path, &s, &m, from), HS_USAGE, c[i].message, c[i].text, i);
            continue;
        }
        OK(hs_yaml_load(path, &s, &m, from));
        assert_int_equal(m.n, i < 3 ? 2 : 0);
        assert_true(m.first == 4);
        if (m.n)
            assert_true(!strcmp(m.source[0].path, "a") && m.source[0].weight == 2 && !strcmp(m.source[1].path, "b") &&
                        m.source[1].weight == 3);
        if (i == 0)
            assert_true(m.source[0].betas.n == 2 && m.source[0].betas.v[1] == 0.25 && m.source[1].betas.n == 0);
        if (i == 0)
            assert_non_null(strstr(from[hs_schema_origin(&s, hs_schema_find(&s, &m, "data.sources.1.weight"))].text, "k.yaml:5"));
        FILE *f = fopen(path, "w"); // what the schema writes, this reads back
        hs_schema_write_yaml(&s, &m, f);
        fclose(f);
        OK(hs_schema_defaults(&s, &again, NULL));
        OK(hs_yaml_load(path, &s, &again, NULL));
        assert_memory_equal(&m, &again, sizeof m);
    }
}

// Two thousand damaged files: a line or success, never a crash.
static void mutated_files(void **state)
{
    (void)state;
    static const char good[] = "name: \"a: run\"\nmodel:\n  layers: 12 # more\n  tied: no\noptim: {lr: 1e-5, betas: [0.9, 0.99]}\n"
                               "amp:\n  policy: 'bf16'\ndata:\n  train:\n    - a.txt\n    - b.txt\n---\n";
    static const char spice[] = ":-[]{}&*!|>'\"%@`#,? \n\t\\\0\x80\xC3\xFF~<";
    char bad[512];
    int succeeded = 0;
    for (uint64_t seed = 0; seed < 2000; seed++) {
        size_t n = sizeof good - 1;
        memcpy(bad, good, n);
        for (uint64_t k = 0; k <= hs_mix(seed) % 4; k++) {
            const uint64_t r = hs_mix2(seed, k);
            const size_t at = (r >> 8) % n, more = 1 + (r >> 40) % 8;
            switch (r % 4) {
            case 0: // one character
                bad[at] = spice[(r >> 32) % (sizeof spice - 1)];
                break;
            case 1: // the end
                n = at + 1;
                break;
            case 2: // a hole
                memmove(bad + at, bad + (at + more < n ? at + more : n), n - (at + more < n ? at + more : n));
                n = at + more < n ? n - more : at + 1;
                break;
            default: // a repetition
                memmove(bad + at + more, bad + at, n - at);
                n += more;
            }
        }
        settings s;
        const hs_status st = load_bytes(&s, bad, n);
        succeeded += st == HS_OK;
        assert_true(st == HS_OK || st == HS_USAGE);
        if (st != HS_OK)
            assert_true(strstr(hs_error(), "c.yaml") && !strchr(hs_error(), '\n'));
    }
    assert_in_range(succeeded, 50, 1900); // both ways were walked
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_arrive),
        cmocka_unit_test(defaults_stay),
        cmocka_unit_test(messages),
        cmocka_unit_test(no_file),
        cmocka_unit_test(resolved_config_reads_back),
        cmocka_unit_test(chooser_comes_first),
        cmocka_unit_test(lists_of_sections),
        cmocka_unit_test(mutated_files),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
