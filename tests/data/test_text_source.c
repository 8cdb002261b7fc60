// text_source, sentence, near: what is read, where it is cut, what says the same.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/text/near.h"
#include "data/text/sentence.h"
#include "data/text/text_source.h"
#include "data/text/text_stream.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- documents

// Every document as "text|", read in batches of `want` bytes, and begun anew behind each where `restart`.
static char *read_all(const hs_text_inputs *in, hs_documents how, size_t want, bool restart)
{
    hs_text_source *s;
    hs_text_batch b = { 0 };
    char *all = calloc(1, 1);
    size_t n = 0;
    OK(hs_text_source_open(&s, in, &(hs_text_read){ .documents = how }, NULL));
    do {
        OK(hs_text_source_next(s, &b, want));
        for (int64_t i = 0; i < b.n; i++) {
            const hs_text_piece *p = &b.piece[i];
            all = realloc(all, n + p->bytes + 2);
            if (p->bytes)
                memcpy(all + n, b.text + p->offset, p->bytes);
            n += p->bytes;
            if (p->ends)
                all[n++] = '|';
            all[n] = 0;
        }
        if (restart && !b.last) {
            hs_text_source_close(s);
            OK(hs_text_source_open(&s, in, &(hs_text_read){ .documents = how }, &b.after));
        }
    } while (!b.last);
    hs_text_source_close(s);
    hs_text_batch_free(&b);
    return all;
}

static void documents_are(const char *text, hs_documents how, const char *want)
{
    scratch_write("t.txt", text, strlen(text));
    const char *name = scratch_path("t.txt");
    hs_text_inputs in;
    OK(hs_text_inputs_expand(&in, &name, 1));
    for (int i = 0; i < 4; i++) {
        char *got = read_all(&in, how, i & 1 ? 1 : 1000, i & 2);
        assert_string_equal(got, want);
        free(got);
    }
    hs_text_inputs_free(&in);
}

static void documents(void **state)
{
    (void)state;
    documents_are("", HS_DOCUMENTS_FILE, "|");
    documents_are("a\n\nb\n", HS_DOCUMENTS_FILE, "a\n\nb\n|");
    documents_are("", HS_DOCUMENTS_LINE, "");
    documents_are("a\r\n\nb", HS_DOCUMENTS_LINE, "a||b|");
    documents_are("a\n", HS_DOCUMENTS_LINE, "a|");
    documents_are("", HS_DOCUMENTS_BLANK_LINE, "");
    documents_are("\n \n\n", HS_DOCUMENTS_BLANK_LINE, "");
    documents_are("\n\n a\nb\n\t\n\n\nc\r\n\r\nd\n\n", HS_DOCUMENTS_BLANK_LINE, " a\nb|c|d|");
    documents_are("a\nb", HS_DOCUMENTS_BLANK_LINE, "a\nb|");
    documents_are("a\n  ", HS_DOCUMENTS_BLANK_LINE, "a|");
}

// Records, whatever holds them; read in any batches and gone on with behind each.
static void json_documents(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "{\"text\":1}\n{\"text\":2}\r\n\n{\"a\":3}", "{\"text\":1}|{\"text\":2}||{\"a\":3}|" },
        { "[{\"a\":1},{\"a\":\"]}\"}]", "{\"a\":1}|{\"a\":\"]}\"}|" },
        { "\xef\xbb\xbf[\n {\"a\": [1, 2]},\n\n {\"a\":\n2} , \"s\", NaN\n]\n", "{\"a\": [1, 2]}|{\"a\":\n2}|\"s\"|NaN|" },
        { "[{\"a\":1}]\n[{\"a\":2}]\n", "{\"a\":1}|{\"a\":2}|" },
        { "{\n\"a\":1\n}\n{\n\"a\":2}\xef\xbb\xbf{\"b\":1}", "{\n\"a\":1\n}|{\n\"a\":2}|{\"b\":1}|" },
        { "{\n\"a\":1\n}\n{\n\"a\":", "{\n\"a\":1\n}|{\n\"a\":|" },
        { "[{\"a\":1}] trailing ]", "{\"a\":1}|trailing|]|" },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        documents_are(rows[i][0], HS_DOCUMENTS_FILE, rows[i][1]);
    static const char *const cut[] = { "[{\"a\":1},", "[{\"a\":1}", "[\n{\"a\":1}\n,\n" };
    for (int i = 0; i < HS_COUNT(cut); i++) {
        hs_text_inputs in;
        hs_text_source *s;
        hs_text_batch b = { 0 };
        scratch_write("cut.json", cut[i], strlen(cut[i]));
        OK(hs_text_inputs_expand(&in, (const char *[]){ scratch_path("cut.json") }, 1));
        OK(hs_text_source_open(&s, &in, &(hs_text_read){ 0 }, NULL));
        FAILS(CORRUPT, "the list of records has no end: truncated", hs_text_source_next(s, &b, 1000));
        hs_text_source_close(s);
        hs_text_batch_free(&b);
        hs_text_inputs_free(&in);
    }
}

// The same text, however it is written.
static void codes(void **state)
{
    (void)state;
    static const char le[] = "\xff\xfe" "a\0\n\0\n\0\xe9\0\x3d\xd8\x00\xde", be[] = "\xfe\xff\0a\0\n\0\n\0\xe9\xd8\x3d\xde\0";
    static const struct {
        const char *text;
        size_t bytes;
    } rows[] = { { "a\n\n\xc3\xa9\xf0\x9f\x98\x80", 9 }, { "\xef\xbb\xbf" "a\n\n\xc3\xa9\xf0\x9f\x98\x80", 12 }, { le, 14 }, { be, 14 } };
    for (int i = 0; i < HS_COUNT(rows); i++)
        for (int k = 0; k < 4; k++) {
            hs_text_inputs in;
            scratch_write("code.txt", rows[i].text, rows[i].bytes);
            OK(hs_text_inputs_expand(&in, (const char *[]){ scratch_path("code.txt") }, 1));
            OK(hs_text_inputs_check(&in));
            char *got = read_all(&in, HS_DOCUMENTS_BLANK_LINE, k & 1 ? 1 : 1000, k & 2);
            assert_string_equal(got, "a|\xc3\xa9\xf0\x9f\x98\x80|");
            free(got);
            hs_text_inputs_free(&in);
        }
}

// One text larger than a piece: the pieces are the same whatever the batches, and cut where nothing is joined.
static void long_documents(void **state)
{
    (void)state;
    const size_t bytes = HS_PIECE + 100000;
    char *text = malloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        text[i] = i % 7 == 6 ? (i % 3 ? ' ' : '\n') : 'a';
    text[bytes] = 0;
    memset(text + HS_PIECE - 10, ' ', 20); // white space all around: to be cut behind it
    scratch_write("long.txt", text, bytes);
    scratch_write("word.txt", text, 100);
    memset(text, 'x', bytes);
    scratch_write("one.txt", text, bytes);
    free(text);
    const char *names[] = { scratch_path("long.txt"), scratch_path("word.txt"), scratch_path("one.txt") };
    static const hs_documents hows[] = { HS_DOCUMENTS_FILE, HS_DOCUMENTS_BLANK_LINE };
    for (int h = 0; h < 2; h++) {
        hs_text_inputs in;
        hs_text_source *s;
        hs_text_batch b = { 0 };
        OK(hs_text_inputs_expand(&in, names, 3));
        OK(hs_text_source_open(&s, &in, &(hs_text_read){ .documents = hows[h] }, NULL));
        OK(hs_text_source_next(s, &b, (size_t)1 << 30));
        assert_int_equal(b.n, h == 0 ? 4 : b.n);
        const hs_text_piece *p = b.piece;
        if (h == 0) {
            assert_true(p[0].begins && !p[0].ends && !p[1].begins && p[1].ends);
            assert_in_range(p[0].bytes, HS_PIECE + 10, HS_PIECE + 20);
            assert_true(b.text[p[0].bytes - 1] == 'a' && (b.text[p[0].bytes] == ' ' || b.text[p[0].bytes] == '\n'));
            assert_true(p[3].begins && p[3].ends && p[3].bytes == bytes); // no place to cut
            assert_int_equal(p[1].at.offset, p[0].bytes);
            assert_int_equal(p[2].at.input, 1);
        }
        char *a = read_all(&in, hows[h], 1, true), *c = read_all(&in, hows[h], (size_t)1 << 30, false);
        assert_string_equal(a, c);
        free(a);
        free(c);
        hs_text_source_close(s);
        hs_text_batch_free(&b);
        hs_text_inputs_free(&in);
    }
}

// "one\ntwo\n", twice over, as two members of gzip and two frames of Zstandard.
static const unsigned char gz[] = { 0x1F, 0x8B, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0xCB, 0xCF, 0x4B, 0xE5,
                                    0x2A, 0x29, 0xCF, 0xE7, 0x02, 0x00, 0xE6, 0x0B, 0xBA, 0x12, 0x08, 0x00, 0x00, 0x00 };
static const unsigned char zst[] = { 0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x58, 0x41, 0x00, 0x00, 0x6F, 0x6E,
                                     0x65, 0x0A, 0x74, 0x77, 0x6F, 0x0A, 0xE6, 0xA6, 0x0E, 0x40 };

static void packed_as(const char *name, const unsigned char *packed, size_t bytes)
{
    char text[64];
    size_t n, total = 0;
    hs_text_stream *s;
    unsigned char twice[256];
    memcpy(twice, packed, bytes), memcpy(twice + bytes, packed, bytes);
    scratch_write(name, twice, 2 * bytes);
    hs_status st = hs_text_stream_open(&s, scratch_path(name), NULL);
    if (st == HS_UNSUPPORTED) {
        assert_non_null(strstr(hs_error(), "this build has no"));
        return;
    }
    OK(st);
    do {
        OK(hs_text_stream_read(s, text + total, total % 3 + 1, &n));
        total += n;
    } while (n);
    assert_int_equal(total, 16);
    assert_memory_equal(text, "one\ntwo\none\ntwo\n", 16);
    hs_text_stream_close(s);
    OK(hs_text_stream_open(&s, scratch_path(name), NULL));
    OK(hs_text_stream_skip(s, 12));
    OK(hs_text_stream_read(s, text, 64, &n));
    assert_memory_equal(text, "two\n", 4);
    hs_text_stream_close(s);
    OK(hs_text_stream_open(&s, scratch_path(name), NULL));
    FAILS(USAGE, "1 bytes shorter", hs_text_stream_skip(s, 17));
    hs_text_stream_close(s);
    // Every cut but that between the two is found, and every damage is an error or not seen: no crash, no hang.
    for (size_t cut = 5; cut < 2 * bytes; cut++) {
        scratch_write(name, twice, cut);
        OK(hs_text_stream_open(&s, scratch_path(name), NULL));
        while ((st = hs_text_stream_read(s, text, sizeof text, &n)) == HS_OK && n)
            ;
        assert_int_equal(st, cut == bytes ? HS_OK : HS_CORRUPT);
        if (cut != bytes)
            assert_non_null(strstr(hs_error(), name));
        hs_text_stream_close(s);
    }
    for (size_t i = 4; i < bytes; i++) {
        twice[i] ^= 0x55;
        scratch_write(name, twice, 2 * bytes);
        OK(hs_text_stream_open(&s, scratch_path(name), NULL));
        while ((st = hs_text_stream_read(s, text, sizeof text, &n)) == HS_OK && n)
            ;
        hs_text_stream_close(s);
        twice[i] ^= 0x55;
    }
}

static void packed(void **state)
{
    (void)state;
    packed_as("p.gz", gz, sizeof gz);
    packed_as("p.zst", zst, sizeof zst);
}

// ---- names

static void inputs_are(const char *const *arg, int n, const char *want)
{
    char got[1024] = "";
    hs_text_inputs in;
    OK(hs_text_inputs_expand(&in, arg, n));
    const size_t folder = strlen(scratch_path(""));
    for (int i = 0; i < in.n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s ", in.input[i].path + folder);
    assert_string_equal(got, want);
    hs_text_inputs_free(&in);
}

static void names(void **state)
{
    (void)state;
    mkdir(scratch_path("d"), 0777);
    mkdir(scratch_path("d/sub"), 0777);
    mkdir(scratch_path("none"), 0777);
    static const char *const files[] = { "d/b.txt", "d/Z.txt", "d/a.jsonl.gz", "d/sub/x", "d/.hidden", "d/c.ndjson", "e.txt" };
    for (int i = 0; i < HS_COUNT(files); i++)
        scratch_write(files[i], "x", 1);
    const char *folder[] = { strdup(scratch_path("d")) }, *both[] = { strdup(scratch_path("e.txt")), strdup(scratch_path("d/*.txt")) };
    const char *bad[] = { strdup(scratch_path("*.doc")), strdup(scratch_path("none")), strdup(scratch_path("absent")),
                          strdup(scratch_path("n*ne")) };
    inputs_are(folder, 1, "d/Z.txt d/a.jsonl.gz d/b.txt d/c.ndjson d/sub/x ");
    inputs_are(both, 2, "e.txt d/Z.txt d/b.txt ");
    hs_text_inputs in;
    FAILS(USAGE, "matches no file", hs_text_inputs_expand(&in, &bad[0], 1));
    FAILS(USAGE, "no files in this folder", hs_text_inputs_expand(&in, &bad[1], 1));
    FAILS(USAGE, "no such file or folder", hs_text_inputs_expand(&in, &bad[2], 1));
    FAILS(USAGE, "no files in what it matches", hs_text_inputs_expand(&in, &bad[3], 1));
    FAILS(USAGE, "named twice", hs_text_inputs_expand(&in, (const char *[]){ "-", "-" }, 2));

    OK(hs_text_inputs_expand(&in, both, 1));
    OK(hs_text_inputs_unchanged(&in));
    scratch_write("e.txt", "xy", 2);
    FAILS(USAGE, "e.txt changed while it was read: 2 bytes, 1 when", hs_text_inputs_unchanged(&in));
    unlink(scratch_path("e.txt"));
    FAILS(USAGE, "e.txt is gone", hs_text_inputs_unchanged(&in));
    hs_text_inputs_free(&in);
    for (int i = 0; i < HS_COUNT(bad); i++)
        free((char *)bad[i]);
    free((char *)folder[0]), free((char *)both[0]), free((char *)both[1]);
}

static void linked(void **state)
{
    (void)state;
    char target[512];
    for (int i = 0; i < 4; i++)
        mkdir(scratch_path((const char *const[]){ "l", "l/own", "other", "other/deep" }[i]), 0777);
    scratch_write("l/own/a", "x", 1), scratch_write("other/b", "x", 1), scratch_write("other/deep/c", "x", 1);
    assert_int_equal(symlink("../other", scratch_path("l/to")), 0);
    assert_int_equal(symlink("../../l", scratch_path("other/deep/ring")), 0); // leads back
    assert_int_equal(symlink("../other/deep", scratch_path("l/zz")), 0);      // was read already
    assert_int_equal(symlink("own/a", scratch_path("l/file")), 0);            // a file of another name
    assert_int_equal(mkfifo(scratch_path("l/pipe"), 0666), 0);
    snprintf(target, sizeof target, "%s", scratch_path("l"));
    inputs_are((const char *[]){ target }, 1, "l/file l/own/a l/to/b l/to/deep/c ");
    hs_text_inputs in;
    assert_int_equal(symlink("nowhere", scratch_path("l/gone")), 0);
    FAILS(USAGE, "l/gone is a link to nowhere, and nothing is there", hs_text_inputs_expand(&in, (const char *[]){ target }, 1));
    unlink(scratch_path("l/gone"));
    assert_int_equal(symlink("self", scratch_path("l/self")), 0);
    FAILS(USAGE, "l/self is a link that leads to itself", hs_text_inputs_expand(&in, (const char *[]){ target }, 1));
    snprintf(target, sizeof target, "%s", scratch_path("l/self"));
    FAILS(USAGE, "leads to itself", hs_text_inputs_expand(&in, (const char *[]){ target }, 1));
    unlink(target);
}

// ---- sentences

static void sentences_are(const char *text, hs_sentences how, const char *want)
{
    char got[512] = "";
    const size_t bytes = strlen(text);
    for (size_t from = 0, end; from < bytes; from = end) {
        end = hs_sentence_end(text, bytes, from, how);
        assert_true(end > from && end <= bytes);
        snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s|", (int)(end - from), text + from);
    }
    assert_string_equal(got, want);
}

static void sentences(void **state)
{
    (void)state;
    static const char *const rule[][2] = {
        { "One. Two! Three? Four", "One.| Two!| Three?| Four|" },
        { "He said \"No.\" Then (he left.) \xE2\x80\x9CYes!\xE2\x80\x9D  End. ",
          "He said \"No.\"| Then (he left.)| \xE2\x80\x9CYes!\xE2\x80\x9D|  End. |" },
        { "Mr. Smith met J. R. Doe, e.g. at 3.14 p.m. in No. 5.", "Mr. Smith met J. R. Doe, e.g. at 3.14 p.m. in No. 5.|" },
        { "approx. five. Wait... What?! Well\xE2\x80\xA6 Yes", "approx. five.| Wait...| What?!| Well\xE2\x80\xA6| Yes|" },
        { "It ends. small letters do not begin.", "It ends. small letters do not begin.|" },
        { "It ends. \xC3\xA9t\xC3\xA9. \xC3\x89t\xC3\xA9", "It ends. \xC3\xA9t\xC3\xA9.| \xC3\x89t\xC3\xA9|" },
        { "\xE4\xBB\x96\xE3\x80\x82\xE3\x80\x8C\xE5\xA5\xBD\xEF\xBC\x81\xE3\x80\x8D\xE6\x98\xAF",
          "\xE4\xBB\x96\xE3\x80\x82|\xE3\x80\x8C\xE5\xA5\xBD\xEF\xBC\x81\xE3\x80\x8D|\xE6\x98\xAF|" },
        { "Title\n\nText of\ntwo lines\n \n\nEnd\n", "Title|\n\nText of\ntwo lines|\n \n\nEnd\n|" },
        { "  \n\n A. \n", "  \n\n A. \n|" },
        { " \n ", " \n |" },
        { "a.b.c www.x.org! z", "a.b.c www.x.org!| z|" },
        { "\xFF. B\xE2\x80", "\xFF.| B\xE2\x80|" },
    };
    for (int i = 0; i < HS_COUNT(rule); i++)
        sentences_are(rule[i][0], HS_SENTENCES_RULE, rule[i][1]);
    sentences_are("One. Two\n\n Three \nFour.\n", HS_SENTENCES_LINE, "One. Two|\n\n Three| \nFour.\n|");
    sentences_are("One. Two\n\nThree", HS_SENTENCES_NONE, "One. Two\n\nThree|");
}

// ---- near-duplicates

enum { WORDS = 400, DOCUMENTS = 200 };
// `changed` of 1000 words are other ones.
static size_t some_words(char *text, uint64_t seed, uint64_t variant, int changed, int words)
{
    size_t n = 0;
    for (int i = 0; i < words; i++) {
        const bool other = hs_mix2(variant, (uint64_t)i) % 1000 < (uint64_t)changed;
        n += (size_t)sprintf(text + n, "w%llx%s", (unsigned long long)(hs_mix2(seed + (other ? variant : 0), (uint64_t)i) % 5000),
                             i % 9 ? " " : ", ");
    }
    return n;
}

static int clusters(int changed, int words)
{
    static hs_sketch sketch[2 * DOCUMENTS];
    const hs_sketch *list[2 * DOCUMENTS];
    uint32_t first[2 * DOCUMENTS];
    char text[16 * WORDS];
    int found = 0;
    for (int d = 0; d < 2 * DOCUMENTS; d++) {
        const int original = d % DOCUMENTS;
        hs_sketch_clear(&sketch[d]);
        hs_sketch_add(&sketch[d], text, some_words(text, (uint64_t)original, (uint64_t)d, d == original ? 0 : changed, words));
        list[d] = &sketch[d];
    }
    OK(hs_near_cluster(list, 2 * DOCUMENTS, first));
    for (int d = 0; d < DOCUMENTS; d++) {
        assert_int_equal(first[d], d); // nothing in common with those before it
        assert_true(first[d + DOCUMENTS] == (uint32_t)d || first[d + DOCUMENTS] == (uint32_t)(d + DOCUMENTS));
        found += first[d + DOCUMENTS] == (uint32_t)d;
    }
    return found;
}

static void near_duplicates(void **state)
{
    (void)state;
    // A changed word spoils five runs: 1 % of words leaves 0.95^... = 0.905 of the union in common, 10 % leaves 0.42.
    assert_int_equal(clusters(0, WORDS), DOCUMENTS);
    assert_in_range(clusters(10, WORDS), DOCUMENTS - 6, DOCUMENTS);
    assert_in_range(clusters(100, WORDS), 0, 1);
    assert_int_equal(clusters(0, 3), DOCUMENTS); // fewer words than a run

    hs_sketch a, b, whole;
    static const char one[] = "the quick brown fox jumped over", two[] = "The QUICK brown, fox -- jumped over!";
    hs_sketch_clear(&a), hs_sketch_clear(&b);
    hs_sketch_add(&a, one, strlen(one)), hs_sketch_add(&b, two, strlen(two));
    assert_memory_equal(&a, &b, sizeof a);
    hs_sketch_clear(&whole);
    hs_sketch_join(&whole, &a);
    assert_memory_equal(&whole, &a, sizeof a);

    // Also through others, and nobody without a sketch.
    enum { CHAIN = 12 };
    hs_sketch chain[CHAIN];
    const hs_sketch *list[CHAIN];
    uint32_t first[CHAIN];
    char text[16 * WORDS];
    size_t n = some_words(text, 1, 0, 0, WORDS);
    for (int d = 0; d < CHAIN; d++) {
        char more[16 * WORDS];
        hs_sketch_clear(&chain[d]);
        hs_sketch_add(&chain[d], text, n);
        list[d] = &chain[d];
        const size_t skip = (size_t)(strchr(text + 100, ' ') + 1 - text), added = some_words(more, 1000 + (uint64_t)d, 0, 0, 15);
        memmove(text, text + skip, n - skip);
        memcpy(text + n - skip, more, added);
        n = n - skip + added;
    }
    list[3] = NULL;
    OK(hs_near_cluster(list, CHAIN, first));
    assert_int_equal(first[3], 3);
    for (int d = 0; d < CHAIN; d++)
        assert_int_equal(first[d], d == 3 ? 3 : 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents), cmocka_unit_test(long_documents), cmocka_unit_test(packed),
        cmocka_unit_test(names),     cmocka_unit_test(sentences),      cmocka_unit_test(near_duplicates),
        cmocka_unit_test(codes),     cmocka_unit_test(json_documents), cmocka_unit_test(linked),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
