// Settings: defaults, every type, messages that name key, value, range, place and the nearest name; text that reads back
// to the same bits; YAML in which each section stands once.
#include "core/settings/schema.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct config {
    int64_t layers, seed;
    double lr, scale;
    bool tied;
    char train[HS_KEY_STRING_BYTES];
    int policy;
    hs_reals betas;
    hs_ints ids;
} config;

#define AT(field) offsetof(config, field)
static const hs_key keys[] = {
    { "model.layers", HS_KEY_INT, AT(layers), "4", 1, 1024, NULL, "layers", "depth of the model", false },
    { "optim.lr", HS_KEY_REAL, AT(lr), "1e-3", 0, 10, NULL, NULL, "peak learning rate", false },
    { "model.tied", HS_KEY_BOOL, AT(tied), "yes", 0, 0, NULL, NULL, "output layer shares the embedding", false },
    { "data.train", HS_KEY_TEXTS, AT(train), "", 0, 0, NULL, NULL, "training text", false },
    { "amp.policy", HS_KEY_CHOICE, AT(policy), "bf16", 0, 0, "fp32|bf16|fp16", NULL, "precision", false },
    { "optim.betas", HS_KEY_REALS, AT(betas), "0.9,0.95", 0, 1, NULL, NULL, "decay of the moments", false },
    { "amp.scaler.first", HS_KEY_REAL, AT(scale), "65536", 1, INFINITY, NULL, NULL, "first loss scale", true },
    { "ids", HS_KEY_INTS, AT(ids), "", 0, 0, NULL, NULL, "a key without a section", false },
    { "train.seed", HS_KEY_INT, AT(seed), "1", 0, 0, NULL, NULL, "seed", false },
};
static const hs_schema schema = HS_SCHEMA(keys, config);

static config fresh(hs_origin *origin)
{
    config c;
    assert_int_equal(hs_schema_defaults(&schema, &c, origin), HS_OK);
    return c;
}

static void test_defaults(void **state)
{
    (void)state;
    hs_origin origin[HS_COUNT(keys)];
    config c = fresh(origin);
    assert_true(c.layers == 4 && c.lr == 1e-3 && c.tied && c.train[0] == 0 && c.policy == 1 && c.ids.n == 0 && c.scale == 65536);
    assert_true(c.betas.n == 2 && c.betas.v[1] == 0.95);
    assert_string_equal(origin[0].text, "default");
    assert_int_equal(hs_schema_set(&schema, &c, origin, "model.layers", "12", "a.yaml:3"), HS_OK);
    assert_string_equal(origin[0].text, "a.yaml:3");
    assert_true(c.layers == 12);
}

static void test_values(void **state)
{
    (void)state;
    config c = fresh(NULL);
    static const struct {
        const char *key, *value;
    } good[] = { { "optim.lr", "1e-5" },   { "optim.lr", "10" },   { "model.tied", "Off" }, { "train.seed", "-9223372036854775808" },
                 { "train.seed", "1e6" },  { "ids", "[1, 2, 3]" }, { "ids", "" },           { "optim.betas", " 0.9 , 0.999 " },
                 { "amp.policy", "fp16" }, { "data.train", "no" } };
    for (int i = 0; i < HS_COUNT(good); i++)
        assert_int_equal(hs_schema_set(&schema, &c, NULL, good[i].key, good[i].value, NULL), HS_OK);
    assert_true(c.lr == 10 && !c.tied && c.seed == 1000000 && c.ids.n == 0 && c.betas.v[1] == 0.999 && c.policy == 2);
    assert_string_equal(c.train, "no"); // a word, whatever YAML thinks
}

static void test_messages(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *where, *message;
    } bad[] = {
        { "model.layer", "4", "a.yaml:3", "a.yaml:3: unknown key model.layer; did you mean model.layers?" },
        { "model.alyers", "4", "a.yaml:3", "a.yaml:3: unknown key model.alyers; did you mean model.layers?" },
        { "lr", "4", "--lr", "unknown key lr; did you mean optim.lr?" },
        { "train.betas", "4", "--train.betas", "unknown key train.betas; did you mean optim.betas?" },
        { "nonsense.whatever", "4", "--x", "unknown key nonsense.whatever" },
        { "model.layers", "0", "a.yaml:3", "a.yaml:3: model.layers is 0, allowed 1 to 1024" },
        { "model.layers", "9999999999999999999999", "a.yaml:3",
          "a.yaml:3: model.layers is 9999999999999999999999, must be a whole number below 2^53" },
        { "model.layers", "four", "--model.layers", "model.layers is 'four', must be a whole number" },
        { "model.layers", "4.5", "--model.layers", "model.layers is 4.5, must be a whole number" },
        { "model.layers", "", "--model.layers", "model.layers is '', must be a whole number" },
        { "model.layers", "nan", "--model.layers", "model.layers is nan, must be a whole number" },
        { "optim.lr", "nan", "--optim.lr", "optim.lr is nan, must be a finite number" },
        { "optim.lr", "1e999", "--optim.lr", "optim.lr is 1e999, must be a finite number" },
        { "optim.lr", "1e-3x", "--optim.lr", "optim.lr is '1e-3x', must be a number" },
        { "optim.lr", "-1", "b.yaml:9", "b.yaml:9: optim.lr is -1, allowed 0 to 10" },
        { "amp.scaler.first", "0", "b.yaml:9", "b.yaml:9: amp.scaler.first is 0, must be at least 1" },
        { "model.tied", "maybe", "b.yaml:9", "b.yaml:9: model.tied is 'maybe', must be true or false" },
        { "amp.policy", "bf61", "b.yaml:9", "b.yaml:9: amp.policy is 'bf61'; did you mean bf16? allowed: fp32|bf16|fp16" },
        { "amp.policy", "none", "b.yaml:9", "b.yaml:9: amp.policy is 'none', allowed: fp32|bf16|fp16" },
        { "optim.betas", "0.9,1.5", "b.yaml:9", "b.yaml:9: optim.betas is 1.5, allowed 0 to 1" },
        { "optim.betas", "0.9,,1", "b.yaml:9", "b.yaml:9: optim.betas is '', must be a number" },
        { "ids", "1;2", "--ids", "ids is '1;2', must be a whole number" },
    };
    for (int i = 0; i < HS_COUNT(bad); i++) {
        config c = fresh(NULL), before = c;
        assert_int_equal(hs_schema_set(&schema, &c, NULL, bad[i].key, bad[i].value, bad[i].where), HS_USAGE);
        assert_string_equal(hs_error(), bad[i].message);
        assert_memory_equal(&c, &before, sizeof c); // a refused value leaves the config as it was
    }
    config c = fresh(NULL);
    char longer[HS_KEY_STRING_BYTES + 1], list[400] = "1";
    memset(longer, 'x', sizeof longer);
    longer[HS_KEY_STRING_BYTES] = 0;
    for (int i = 0; i < HS_KEY_LIST; i++)
        strcat(list, ",1");
    assert_int_equal(hs_schema_set(&schema, &c, NULL, "data.train", longer, "--data.train"), HS_USAGE);
    assert_int_equal(hs_schema_set(&schema, &c, NULL, "ids", list, "--ids"), HS_USAGE);
    assert_int_equal(c.ids.n, 0);
}

static void test_text_reads_back(void **state)
{
    (void)state;
    static const double reals[] = { 0.1, 1.0 / 3, 1e-5, 6e-4, 9.999999999999999, 5e-324, 0 };
    for (int i = 0; i < HS_COUNT(reals); i++) {
        config a = fresh(NULL), b = a;
        a.lr = reals[i], a.seed = INT64_MAX, a.tied = false, a.policy = 2, a.ids = (hs_ints){ 2, { -1, 7 } }, a.betas.v[0] = 1.0 / 7;
        strcpy(a.train, "a \"b\".txt");
        for (int k = 0; k < schema.n; k++) {
            char text[1024];
            hs_schema_format(&schema, &a, (hs_key_at){ .key = &keys[k] }, text, sizeof text);
            assert_int_equal(hs_schema_set(&schema, &b, NULL, keys[k].name, text, NULL), HS_OK);
        }
        assert_memory_equal(&a, &b, sizeof a);
    }
    char text[64];
    config c = fresh(NULL);
    hs_schema_format(&schema, &c, (hs_key_at){ .key = &keys[1] }, text, sizeof text);
    assert_string_equal(text, "0.001"); // as one would write it
    hs_schema_format(&schema, &c, (hs_key_at){ .key = &keys[5] }, text, 6);
    assert_true(strlen(text) < 6);
}

static void test_yaml(void **state)
{
    (void)state;
    config c = fresh(NULL);
    strcpy(c.train, "a \"b\"\\\n.txt");
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    hs_schema_write_yaml(&schema, &c, f);
    fclose(f);
    assert_string_equal(
        text, "model:\n  layers: 4\n  tied: true\noptim:\n  lr: 0.001\n  betas: [0.9,0.95]\ndata:\n  train: \"a \\\"b\\\"\\\\\\x0A.txt\"\n"
              "amp:\n  policy: bf16\n  scaler:\n    first: 65536\nids: []\ntrain:\n  seed: 1\n");
    free(text);
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = { "pretrain", "generate", "eval", "plan", "ops", "env" };
    assert_string_equal(hs_nearest_word("pretrian", words, 6), "pretrain"); // a swap is one edit
    assert_string_equal(hs_nearest_word("generat", words, 6), "generate");
    assert_string_equal(hs_nearest_word("evn", words, 6), "env");
    assert_null(hs_nearest_word("serve", words, 6));
    assert_null(hs_nearest_word("", words, 6));
    char longer[300];
    memset(longer, 'e', 299);
    longer[299] = 0;
    assert_null(hs_nearest_word(longer, words, 6));
}

// ---- a section chosen by a value

typedef struct ring {
    int64_t stones;
    char song[HS_KEY_STRING_BYTES];
} ring;
typedef struct tower {
    double height;
    int64_t stones;
} tower;
typedef struct building {
    int64_t first;
    int kind;
    int64_t last;
    _Alignas(16) unsigned char chosen[1024];
} building;
static const hs_key ring_keys[] = {
    { "house.stones", HS_KEY_INT, offsetof(ring, stones), "12", 1, 99, NULL, NULL, "stones of a ring", false },
    { "house.song", HS_KEY_STRING, offsetof(ring, song), "la", 0, 0, NULL, NULL, "what is sung", false },
};
static const hs_key tower_keys[] = {
    { "house.height", HS_KEY_REAL, offsetof(tower, height), "3.5", 0, 900, NULL, "m", "of a tower", false },
    { "house.stones", HS_KEY_INT, offsetof(tower, stones), "7000", 1000, 1e6, NULL, NULL, "stones of a tower", false },
};
static const hs_schema ring_schema = HS_SCHEMA(ring_keys, ring), tower_schema = HS_SCHEMA(tower_keys, tower);
static const hs_section sections[] = { { "ring|circle", &ring_schema }, { "tower", &tower_schema } };
static const hs_key building_keys[] = {
    { "site.first", HS_KEY_INT, offsetof(building, first), "1", 0, 0, NULL, NULL, "before", false },
    { "house.kind", HS_KEY_CHOICE, offsetof(building, kind), "ring", 0, 0, "ring|circle|tower", NULL, "what is built", false },
    { "site.last", HS_KEY_INT, offsetof(building, last), "2", 0, 0, NULL, NULL, "behind", false },
};
static const hs_schema building_schema = { .key = building_keys,
                                           .n = HS_COUNT(building_keys),
                                           .struct_bytes = sizeof(building),
                                           .chooser = "house.kind",
                                           .section = sections,
                                           .n_sections = HS_COUNT(sections),
                                           .section_offset = offsetof(building, chosen),
                                           .section_bytes = sizeof(((building *)0)->chosen) };

static void reads_as(const building *b, const char *key, const char *value)
{
    char text[64];
    hs_schema_format(&building_schema, b, hs_schema_find(&building_schema, b, key), text, sizeof text);
    assert_string_equal(text, value);
}

static hs_status set(building *b, hs_origin *origin, const char *key, const char *value)
{
    return hs_schema_set(&building_schema, b, origin, key, value, "b.yaml:9");
}

static void test_sections(void **state)
{
    (void)state;
    const hs_schema *s = &building_schema;
    building b;
    hs_origin origin[8];
    char name[HS_KEY_NAME];
    assert_int_equal(hs_schema_origins(s), 5);
    assert_int_equal(hs_schema_defaults(s, &b, origin), HS_OK);
    const ring *r = (const ring *)b.chosen;
    const tower *t = (const tower *)b.chosen;
    assert_true(r->stones == 12 && strcmp(r->song, "la") == 0 && b.first == 1 && b.last == 2);
    assert_int_equal(set(&b, origin, "house.stones", "40"), HS_OK);
    assert_int_equal(set(&b, origin, "house.kind", "circle"), HS_OK); // another word for the same section
    assert_true(hs_schema_chosen(s, &b) == 0 && r->stones == 40);
    hs_key_at stones = hs_schema_find(s, &b, "house.stones");
    assert_string_equal(origin[hs_schema_origin(s, stones)].text, "b.yaml:9");

    // keys of another section are known, and refused with the word they need
    assert_int_equal(set(&b, origin, "house.height", "9"), HS_USAGE);
    assert_string_equal(hs_error(), "b.yaml:9: house.height is a setting of house.kind tower, not of circle");
    assert_null(hs_schema_find(s, &b, "house.height").key);
    assert_non_null(hs_schema_find(s, NULL, "house.height").key);

    // the other section: its own defaults and ranges, origins anew; what is common stays
    assert_int_equal(set(&b, origin, "site.last", "77"), HS_OK);
    assert_int_equal(set(&b, origin, "house.kind", "tower"), HS_OK);
    assert_true(hs_schema_chosen(s, &b) == 1 && t->height == 3.5 && t->stones == 7000 && b.last == 77);
    stones = hs_schema_find(s, &b, "house.stones");
    assert_string_equal(origin[hs_schema_origin(s, stones)].text, "default");
    assert_int_equal(set(&b, origin, "house.stones", "40"), HS_USAGE);
    assert_string_equal(hs_error(), "b.yaml:9: house.stones is 40, allowed 1000 to 1000000");
    assert_int_equal(set(&b, origin, "house.hight", "4"), HS_USAGE);
    assert_string_equal(hs_error(), "b.yaml:9: unknown key house.hight; did you mean house.height?");
    assert_string_equal(hs_schema_nearest(s, &b, "house.songs", name), "house.stones"); // among the words of this section
    assert_string_equal(hs_schema_nearest(s, NULL, "house.songs", name), "house.song");
    reads_as(&b, "house.height", "3.5");
    assert_int_equal(hs_schema_check(s, "house.kind", "zzzzzzzz", "--house.kind"), HS_USAGE);
    assert_string_equal(hs_error(), "house.kind is 'zzzzzzzz', allowed: ring|circle|tower");
    assert_int_equal(hs_schema_check(s, "house.kind", "ring", NULL), HS_OK);
    assert_int_equal(hs_schema_chosen(s, &b), 1); // only looked at

    static const char *const order[] = { "site.first", "house.kind", "house.height", "house.stones", "site.last" };
    for (int i = 0; i < HS_COUNT(order); i++)
        assert_string_equal(hs_schema_row(s, &b, i).key->name, order[i]);
    assert_null(hs_schema_row(s, &b, HS_COUNT(order)).key);
    assert_non_null(hs_schema_row(s, NULL, 6).key);
    assert_null(hs_schema_row(s, NULL, 7).key);

    char *text = NULL, words[64];
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    hs_schema_write_yaml(s, &b, f);
    fclose(f);
    assert_non_null(strstr(text, "site:\n  first: 1\n  last: 77\nhouse:\n  kind: tower\n  height: 3.5\n  stones: 7000\n"));
    free(text);
    hs_schema_words(sections, 2, words, sizeof words);
    assert_string_equal(words, "ring|circle|tower");

    hs_schema narrow = building_schema; // a section that does not fit its buffer
    narrow.section_bytes = 16;
    assert_int_equal(hs_schema_defaults(&narrow, &b, NULL), HS_INTERNAL);
}

// ---- lists of sections

typedef struct phase {
    int64_t steps;
    double lr;
    char name[HS_KEY_STRING_BYTES];
} phase;
typedef struct plan {
    int64_t seed;
    phase phase[4];
    int n_phases;
    int64_t guest[2];
    int n_guests;
} plan;
static const hs_key phase_keys[] = {
    { "steps", HS_KEY_INT, offsetof(phase, steps), "100", 1, 1000, NULL, "steps", "how long", false },
    { "optim.lr", HS_KEY_REAL, offsetof(phase, lr), "0.5", 0, 1, NULL, NULL, "how fast", false },
    { "name", HS_KEY_STRING, offsetof(phase, name), "", 0, 0, NULL, NULL, "what it is called", false },
};
static const hs_key guest_keys[] = { { "age", HS_KEY_INT, 0, "30", 18, 200, NULL, NULL, "in years", false } };
static const hs_schema phase_schema = HS_SCHEMA(phase_keys, phase), guest_schema = HS_SCHEMA(guest_keys, int64_t);
static const hs_list lists[] = { { "phases", &phase_schema, offsetof(plan, phase), offsetof(plan, n_phases), 4, "stretches of the run" },
                                 { "hall.guests", &guest_schema, offsetof(plan, guest), offsetof(plan, n_guests), 2, "who is there" } };
static const hs_key plan_keys[] = { { "seed", HS_KEY_INT, offsetof(plan, seed), "1", 0, 0, NULL, NULL, "", false } };
static const hs_schema plan_schema = {
    .key = plan_keys, .n = HS_COUNT(plan_keys), .struct_bytes = sizeof(plan), .list = lists, .n_lists = HS_COUNT(lists)
};

static void test_lists(void **state)
{
    (void)state;
    const hs_schema *s = &plan_schema;
    plan p, before;
    hs_origin origin[1 + 4 * 3 + 2];
    char name[HS_KEY_NAME];
    assert_int_equal(hs_schema_origins(s), HS_COUNT(origin));
    assert_int_equal(hs_schema_defaults(s, &p, origin), HS_OK);
    assert_true(p.n_phases == 0 && p.n_guests == 0 && p.seed == 1);
    assert_null(hs_schema_find(s, &p, "phases.0.steps").key); // nothing of an element that is not there
    assert_non_null(hs_schema_find(s, NULL, "phases.0.steps").key);

    // an element begins with the first of its keys; the others have defaults
    assert_int_equal(hs_schema_set(s, &p, origin, "phases.0.optim.lr", "0.25", "a.yaml:3"), HS_OK);
    assert_true(p.n_phases == 1 && p.phase[0].lr == 0.25 && p.phase[0].steps == 100);
    assert_int_equal(hs_schema_set(s, &p, origin, "phases.1.steps", "7", "--phases.1.steps"), HS_OK);
    assert_int_equal(hs_schema_set(s, &p, origin, "phases.0.steps", "9", "a.yaml:4"), HS_OK);
    assert_int_equal(hs_schema_set(s, &p, origin, "hall.guests.0.age", "77", "a.yaml:5"), HS_OK);
    assert_true(p.n_phases == 2 && p.n_guests == 1 && p.guest[0] == 77 && p.phase[0].steps == 9 && p.phase[1].steps == 7);
    static const struct {
        const char *name, *where, *text;
    } at[] = { { "phases.0.steps", "a.yaml:4", "9" },
               { "phases.0.name", "default", "" },
               { "phases.1.steps", "--phases.1.steps", "7" },
               { "phases.1.optim.lr", "default", "0.5" },
               { "hall.guests.0.age", "a.yaml:5", "77" } };
    for (int i = 0; i < HS_COUNT(at); i++) {
        char text[64];
        const hs_key_at k = hs_schema_find(s, &p, at[i].name);
        assert_string_equal(hs_schema_name(k, name), at[i].name);
        assert_string_equal(origin[hs_schema_origin(s, k)].text, at[i].where);
        hs_schema_format(s, &p, k, text, sizeof text);
        assert_string_equal(text, at[i].text);
    }

    static const struct {
        const char *key, *value, *message;
    } bad[] = {
        { "phases.2.steps", "0", "a.yaml:9: phases.2.steps is 0, allowed 1 to 1000" },
        { "phases.1.steps", "many", "a.yaml:9: phases.1.steps is 'many', must be a whole number" },
        { "phases.1.setps", "3", "a.yaml:9: unknown key phases.1.setps; did you mean phases.1.steps?" },
        { "phase.1.steps", "3", "a.yaml:9: unknown key phase.1.steps; did you mean phases.1.steps?" },
        { "phases", "3", "a.yaml:9: unknown key phases; did you mean phases.0.steps?" },
        { "phases.1", "3", "a.yaml:9: unknown key phases.1; phases.1 takes steps, optim.lr, name" },
        { "phases.0.rate.lr", "3", "a.yaml:9: unknown key phases.0.rate.lr; did you mean phases.0.optim.lr?" },
        { "phases.0.epochs", "3", "a.yaml:9: unknown key phases.0.epochs; phases.0 takes steps, optim.lr, name" },
        { "fases", "3", "a.yaml:9: unknown key fases; did you mean phases?" },
        { "age", "3", "a.yaml:9: unknown key age; did you mean hall.guests.0.age?" },
        { "phases.3.steps", "3", "a.yaml:9: phases.3.steps: phases has 2 elements, the next one is phases.2" },
        { "hall.guests.2.age", "30", "a.yaml:9: hall.guests.2.age: hall.guests has 1 element, the next one is hall.guests.1" },
    };
    before = p;
    for (int i = 0; i < HS_COUNT(bad); i++) {
        assert_int_equal(hs_schema_set(s, &p, origin, bad[i].key, bad[i].value, "a.yaml:9"), HS_USAGE);
        assert_string_equal(hs_error(), bad[i].message);
        assert_memory_equal(&p, &before, sizeof p);
    }
    assert_int_equal(hs_schema_set(s, &p, NULL, "hall.guests.1.age", "18", "a.yaml:9"), HS_OK);
    assert_int_equal(hs_schema_set(s, &p, NULL, "hall.guests.2.age", "18", "a.yaml:9"), HS_USAGE);
    assert_string_equal(hs_error(), "a.yaml:9: hall.guests.2.age: hall.guests takes at most 2 elements");

    // of any element, as help tells it; of those there are, as a file keeps them
    assert_string_equal(hs_schema_name(hs_schema_row(s, NULL, 2), name), "phases.N.optim.lr");
    assert_string_equal(hs_schema_name(hs_schema_row(s, NULL, 4), name), "hall.guests.N.age");
    assert_null(hs_schema_row(s, NULL, 5).key);
    assert_string_equal(hs_schema_name(hs_schema_row(s, &p, 8), name), "hall.guests.1.age");
    assert_null(hs_schema_row(s, &p, 9).key);
    assert_true(hs_schema_is_section(s, NULL, "hall") && hs_schema_is_section(s, NULL, "hall.guests"));
    assert_ptr_equal(hs_schema_list(s, "hall.guests"), &lists[1]);
    assert_null(hs_schema_list(s, "hall"));
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    hs_schema_write_yaml(s, &p, f);
    fclose(f);
    assert_string_equal(text, "seed: 1\n"
                              "phases:\n"
                              "  - steps: 9\n"
                              "    optim:\n"
                              "      lr: 0.25\n"
                              "    name: \"\"\n"
                              "  - steps: 7\n"
                              "    optim:\n"
                              "      lr: 0.5\n"
                              "    name: \"\"\n"
                              "hall:\n"
                              "  guests:\n"
                              "    - age: 77\n"
                              "    - age: 18\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_defaults), cmocka_unit_test(test_values),
                                        cmocka_unit_test(test_messages), cmocka_unit_test(test_text_reads_back),
                                        cmocka_unit_test(test_yaml),     cmocka_unit_test(test_nearest),
                                        cmocka_unit_test(test_sections), cmocka_unit_test(test_lists) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
