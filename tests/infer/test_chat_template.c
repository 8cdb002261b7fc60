// chat_template: conversations as jinja2 writes them (scripts/gen_golden_chat.py); what is beyond is refused by its name; any bytes do no
// harm.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base/rng.h"
#include "infer/server/chat_template.h"
#include "tests/support/support_files.h"
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CASES HS_TESTS_DIR "/golden/chat/cases.json"
enum { MOST = 8 };
static const hs_chat_tokens tokens = { .bos = "<s>", .eos = "</s>" };

static int messages_of(const json_t *list, hs_chat_message *m)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        m[i] = (hs_chat_message){ json_string_value(json_object_get(json_array_get(list, i), "role")),
                                  json_string_value(json_object_get(json_array_get(list, i), "content")) };
    return (int)json_array_size(list);
}

static void as_jinja_writes_it(void **state)
{
    (void)state;
    json_t *cases = json_load_file(CASES, 0, NULL), *c;
    size_t i;
    assert_non_null(cases);
    json_array_foreach(cases, i, c)
    {
        hs_chat_template *t;
        hs_chat_message m[MOST];
        char *text;
        size_t bytes;
        const json_t *source = json_object_get(c, "template");
        const int n = messages_of(json_object_get(c, "messages"), m);
        const char *want = json_string_value(json_object_get(c, "text")), *refused = json_string_value(json_object_get(c, "refused"));
        if (hs_chat_template_parse(&t, json_string_value(source), json_string_length(source), &tokens, "t") != HS_OK)
            fail_msg("%s: %s", json_string_value(json_object_get(c, "name")), hs_error());
        const hs_status st = hs_chat_template_render(t, m, n, json_is_true(json_object_get(c, "prompt")), &text, &bytes);
        if (want && (st != HS_OK || strcmp(text, want) != 0))
            fail_msg("%s: '%s' instead of '%s'", json_string_value(json_object_get(c, "name")), st == HS_OK ? text : hs_error(), want);
        if (refused) {
            assert_int_equal(st, HS_USAGE);
            assert_non_null(strstr(hs_error(), refused));
            assert_null(text);
        } else
            assert_int_equal(bytes, strlen(want));
        free(text);
        hs_chat_template_free(t);
    }
    assert_true(i > 40);
    json_decref(cases);
}

static void refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "{{ messages | tojson }}", "t: line 1: the filter 'tojson' is not supported" },
        { "\n{{ strftime_now('%d') }}", "t: line 2: the function 'strftime_now' is not supported" },
        { "{% set ns = namespace(found=false) %}", "t: line 1: the function 'namespace' is not supported" },
        { "{% set ns.found = true %}", "t: line 1: here '.' is not supported" },
        { "{% macro f(x) %}", "t: line 1: the statement 'macro' is not supported" },
        { "{% generation %}", "t: line 1: the statement 'generation' is not supported" },
        { "{{ messages[0].content.split('x') }}", "t: line 1: the method 'split' is not supported" },
        { "{{ x is iterable }}", "t: line 1: the test 'iterable' is not supported" },
        { "{{ x / 2 }}", "t: line 1: here '/' is not supported" },
        { "{% for m in messages if m.role %}{% endfor %}", "t: line 1: here 'if' is not supported" },
        { "{% for m in messages %}", "t: line 1: a for has no end" },
        { "{% if true %}", "t: line 1: an if has no end" },
        { "{% if true %}{% endfor %}", "t: line 1: within an if 'endfor' is not supported" },
        { "{% endif %}", "t: line 1: without a beginning 'endif' is not supported" },
        { "{{ 'x }}", "t: line 1: a string has no end" },
        { "{{ x ", "t: line 1: a tag has no end" },
        { "{# x ", "t: line 1: a comment has no end" },
        { "{{ }}", "t: line 1: a tag ends too early" },
        { "{{ 'a\\x41' }}", "t: line 1: the escape '\\x' is not supported" },
        { "{{ [1] }}", "t: line 1: here '[' is not supported" },
        { "{% %}", "t: line 1: a tag ends too early" },
    };
    hs_chat_template *t;
    for (int i = 0; i < HS_COUNT(rows); i++) {
        assert_int_equal(hs_chat_template_parse(&t, rows[i].text, strlen(rows[i].text), &tokens, "t"), HS_UNSUPPORTED);
        assert_string_equal(hs_error(), rows[i].message);
        assert_null(t);
    }
    static const struct {
        const char *text, *message;
    } runs[] = {
        { "{{ messages[0].role.x }}", "t: line 1: it looks for a member of a text" },
        { "{{ nobody.x }}", "t: line 1: it looks for a member of undefined" },
        { "\n{{ 1 + 'x' }}", "t: line 2: it calculates with a text" },
        { "{{ messages }}", "t: line 1: it writes a list" },
        { "{% for x in 'abc' %}{% endfor %}", "t: line 1: a for goes through a text" },
        { "{{ 1 % 0 }}", "t: line 1: it divides by 0" },
        { "{{ 999999999 * 999999999 * 999999999 }}", "t: line 1: a number is too large" },
        { "{{ -((0 - 65536) * 65536 * 65536 * 32768) }}", "t: line 1: a number is too large" },
        { "{{ raise_exception('no') }}", "the chat template refuses this: no" },
    };
    const hs_chat_message m = { "user", "x" };
    for (int i = 0; i < HS_COUNT(runs); i++) {
        char *text;
        size_t bytes;
        assert_int_equal(hs_chat_template_parse(&t, runs[i].text, strlen(runs[i].text), &tokens, "t"), HS_OK);
        assert_int_equal(hs_chat_template_render(t, &m, 1, true, &text, &bytes), HS_USAGE);
        assert_string_equal(hs_error(), runs[i].message);
        hs_chat_template_free(t);
    }
}

// Numbers at the ends of what there is.
static void far_numbers(void **state)
{
    (void)state;
#define LOWEST  "((0 - 65536) * 65536 * 65536 * 32768)"
#define HIGHEST "(0 - (" LOWEST " + 1))"
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "{{ " LOWEST " }} {{ " HIGHEST " }}", "-9223372036854775808 9223372036854775807" },
        { "{{ " LOWEST " < 1 }} {{ 1 > " LOWEST " }} {{ " HIGHEST " <= -1 }}", "True True False" },
        { "{{ 5 % -3 }} {{ -5 % 3 }} {{ -6 % 3 }} {{ 6 % -3 }} {{ -5 % -3 }}", "-1 1 0 0 -2" },
        { "{{ " LOWEST " % -1 }} {{ (" HIGHEST " - 1) % " HIGHEST " }} {{ -1 % " LOWEST " }}", "0 9223372036854775806 -1" },
        { "{{ messages[1:][" HIGHEST "] is defined }} {{ messages[1:][" LOWEST "] is defined }}", "False False" },
        { "{{ messages[1:][0].role }} {{ messages[-1].role }} {{ messages[1:][-2] is defined }}", "b b False" },
        { "{% for m in messages[" LOWEST ":" HIGHEST "] %}{{ m.role }}{% endfor %}", "ab" },
    };
    const hs_chat_message m[] = { { "a", "x" }, { "b", "y" } };
    for (int i = 0; i < HS_COUNT(rows); i++) {
        hs_chat_template *t;
        char *text;
        size_t bytes;
        OK(hs_chat_template_parse(&t, rows[i].text, strlen(rows[i].text), &tokens, "t"));
        OK(hs_chat_template_render(t, m, 2, true, &text, &bytes));
        assert_string_equal(text, rows[i].want);
        free(text);
        hs_chat_template_free(t);
    }
    hs_chat_template *t; // a zero is a byte like any other
    char *text;
    size_t bytes;
    OK(hs_chat_template_parse(&t, "a{\0b", 4, &tokens, "t"));
    OK(hs_chat_template_render(t, m, 2, true, &text, &bytes));
    assert_true(bytes == 4 && memcmp(text, "a{\0b", 4) == 0);
    free(text);
    hs_chat_template_free(t);
}

// Loops in loops, and strings that grow in them, come to an end.
static void bounded(void **state)
{
    (void)state;
    char deep[2000] = "";
    static hs_chat_message m[1000];
    char *text;
    size_t bytes;
    hs_chat_template *t;
    for (int i = 0; i < 1000; i++)
        m[i] = (hs_chat_message){ "user", "0123456789" };
    for (int i = 0; i < 8; i++)
        sprintf(deep + strlen(deep), "{%% for m%d in messages %%}", i);
    for (int i = 0; i < 8; i++)
        strcat(deep, "{% endfor %}");
    assert_int_equal(hs_chat_template_parse(&t, deep, strlen(deep), &tokens, "t"), HS_OK);
    assert_int_equal(hs_chat_template_render(t, m, 1000, true, &text, &bytes), HS_USAGE);
    hs_chat_template_free(t);
    deep[0] = 0;
    for (int i = 0; i < 500; i++)
        strcat(deep, "((");
    assert_int_equal(hs_chat_template_parse(&t, "{{", 2, &tokens, "t"), HS_UNSUPPORTED);
    strcpy(deep, "{{");
    for (int i = 0; i < 900; i++)
        strcat(deep, "(");
    assert_int_equal(hs_chat_template_parse(&t, deep, strlen(deep), &tokens, "t"), HS_UNSUPPORTED);
    assert_string_equal(hs_error(), "t: line 1: it is nested too deep");
    strcpy(deep, "{% set a = 'xxxxxxxxxxxxxxxx' %}");
    for (int i = 0; i < 40; i++)
        strcat(deep, "{% set a = a + a %}");
    assert_int_equal(hs_chat_template_parse(&t, deep, strlen(deep), &tokens, "t"), HS_OK);
    assert_int_equal(hs_chat_template_render(t, m, 1, true, &text, &bytes), HS_USAGE);
    hs_chat_template_free(t);
}

// Templates of the goldens, with bytes changed, dropped and doubled.
static void damaged(void **state)
{
    (void)state;
    json_t *cases = json_load_file(CASES, 0, NULL);
    const hs_chat_message m[] = { { "user", "a" }, { "assistant", "b" } };
    int parsed = 0;
    for (uint32_t round = 0; round < 20000; round++) {
        const json_t *source = json_object_get(json_array_get(cases, round % json_array_size(cases)), "template");
        char bad[4096], *text;
        size_t n = json_string_length(source), bytes;
        hs_chat_template *t;
        assert_true(n < sizeof bad - 64);
        memcpy(bad, json_string_value(source), n);
        for (uint32_t k = 0; k <= round % 3; k++) {
            const hs_u32x4 r = hs_random(5, round, k, 0, 0);
            const size_t at = r.v[0] % n, to = r.v[1] % n;
            if (r.v[2] % 3 == 0)
                bad[at] = (char)r.v[3];
            else if (r.v[2] % 3 == 1)
                memmove(bad + at, bad + at + 1, n - at - 1), n--;
            else
                memmove(bad + at, bad + to, n - (at > to ? at : to) < 20 ? n - (at > to ? at : to) : 20);
        }
        char *exact = malloc(n ? n : 1); // so that reading past the end is seen
        memcpy(exact, bad, n);
        if (hs_chat_template_parse(&t, exact, n, &tokens, "t") == HS_OK) {
            parsed++;
            if (hs_chat_template_render(t, m, 2, true, &text, &bytes) == HS_OK)
                free(text);
            hs_chat_template_free(t);
        }
        free(exact);
    }
    assert_true(parsed > 1000);
    json_decref(cases);
}

static void where_it_lies(void **state)
{
    (void)state;
    hs_chat_template *t;
    char *text, dir[300];
    size_t bytes;
    const hs_chat_message m = { "user", "x" };
    snprintf(dir, sizeof dir, "%s", scratch_path("."));
    assert_int_equal(hs_chat_template_read(&t, dir), HS_OK);
    assert_null(t);
    static const char said[] =
        "{\"bos_token\": {\"content\": \"<b>\"}, \"eos_token\": \"<e>\", \"chat_template\": "
        "[{\"name\": \"tool_use\", \"template\": \"no\"}, {\"name\": \"default\", \"template\": \"{{ bos_token ~ eos_token }}\"}]}";
    scratch_write("tokenizer_config.json", said, strlen(said));
    assert_int_equal(hs_chat_template_read(&t, dir), HS_OK);
    assert_int_equal(hs_chat_template_render(t, &m, 1, true, &text, &bytes), HS_OK);
    assert_string_equal(text, "<b><e>");
    free(text);
    hs_chat_template_free(t);
    static const char beside[] = "{{ eos_token }}{{ messages | tojson }}";
    scratch_write("chat_template.jinja", beside, strlen(beside));
    assert_int_equal(hs_chat_template_read(&t, dir), HS_UNSUPPORTED);
    assert_non_null(strstr(hs_error(), "chat_template.jinja: line 1: the filter 'tojson' is not supported"));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_jinja_writes_it),
                                        cmocka_unit_test(refused_by_name),
                                        cmocka_unit_test(far_numbers),
                                        cmocka_unit_test(bounded),
                                        cmocka_unit_test(damaged),
                                        cmocka_unit_test(where_it_lies) };
    return cmocka_run_group_tests_name("chat_template", tests, scratch_open, scratch_close);
}
