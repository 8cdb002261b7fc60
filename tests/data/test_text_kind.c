// text_kind, json_record, text_record: what is taken for text, for JSON, for something else; what is read of a record, and what becomes of bad ones.
#include "tests/support/support_files.h"

#include "core/base/rng.h"
#include "data/base/utf8.h"
#include "data/text/json_record.h"
#include "data/text/text_record.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what files begin with

static void what_is(const char *head, size_t bytes, const char *want)
{
    const char *got = hs_text_what("FILE", head, bytes);
    if (!want && !got)
        return;
    if (!want || !got || !strstr(got, want))
        fail_msg("'%.12s' is %s, not %s", head, got ? got : "text", want ? want : "text");
    FAILS(USAGE, want, hs_text_refuse("FILE", head, bytes));
}

static void magics(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        size_t bytes;
        const char *what; // NULL: text
    } rows[] = {
#define ROW(head, what) { head, sizeof(head) - 1, what }
        ROW("", NULL),
        ROW("Plain prose.\n", NULL),
        ROW("<!DOCTYPE html><html><body>x</body></html>", NULL),
        ROW("<?xml version=\"1.0\"?><a/>", NULL),
        ROW("\x1b[1mbold\x1b[0m\tand\f\r\n", NULL),
        ROW("N\bNA\bAM\bME\bE", NULL), // what man pages are full of
        ROW("caf\xe9 na\xefve", NULL), // Latin-1 is text, though not UTF-8: where that is checked, it has a line
        ROW("\xd2\xc5\xcb\xc1 \xcd\xcf\xd2\xc5", NULL), // KOI8-R too
        ROW("ORCs came at dawn.\n", NULL),
        ROW("PAR1 was the first.\n", NULL),
        ROW("BMW and MZ are makes.\n", NULL),
        ROW("He said WAVE ftyp ustar.\n", NULL),
        ROW("The WAVE rose", NULL),
        ROW("HSTOKENS are not it", NULL),
        ROW("\xef\xbb\xbfmarked", NULL),
        ROW("\xff\xfeT\0o\0", NULL),
        ROW("\xfe\xff\0T\0o", NULL),
        ROW("\xff\xfe\0\0T\0\0\0", NULL),
        ROW("HSTOKEN1\2\0\0\0", "file of token ids (store)"),
        ROW("\x89HDF\r\n\x1a\n\0\0", "HDF5"),
        ROW("MMIDIDX\0\0\1\0\0\0", "megatron"),
        ROW("\x88\xd8\x34\x01\1\0\0\0", "llmc"),
        ROW("BZh91AY&SY\x1e\x9f\x33", "bzip2"),
        ROW("\xfd" "7zXZ\0\0\4", "xz"),
        ROW("\x04\x22\x4d\x18\x64\x40", "lz4"),
        ROW("\x1f\x9d\x90\x54", "compress"),
        ROW("\x1f\x8b\x08\0", "gzip twice"),
        ROW("7z\xbc\xaf\x27\x1c\0\4", "7-Zip"),
        ROW("Rar!\x1a\x07\0\xcf", "rar"),
        ROW("PAR1\x15\4\x15\0\x15", "Parquet"),
        ROW("ARROW1\0\0\xff\xff\xff\xff", "Arrow"),
        ROW("\xff\xff\xff\xff\x10\0\0\0", "stream of Arrow"),
        ROW("SQLite format 3\0\x10\0", "SQLite"),
        ROW("\x93NUMPY\1\0v\0{'descr'", "NumPy"),
        ROW("GGUF\3\0\0\0\x91\0\0\0", "GGUF"),
        ROW("\x80\2}q\0(X\5\0", "pickle"),
        ROW("\x80\4\x95\x1c\0\0\0\0\0", "pickle"),
        ROW("\x80\3\0a record of bytes", "binary data, not of a kind"), // a zero begins no pickle
        ROW("\x40\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\"", "safetensors"),
        ROW("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "PNG"),
        ROW("\xff\xd8\xff\xe0\0\x10JFIF", "JPEG"),
        ROW("GIF89a\1\0\1\0\x80", "GIF"),
        ROW("RIFF\x24\0\0\0WAVEfmt \x10\0", "WAV"),
        ROW("\0\0\0 ftypisom\0\0", "MP4"),
        ROW("\x7f" "ELF\2\1\1\0\0", "ELF"),
        ROW("MZ\x90\0\3\0\0\0\4", "Windows"),
        ROW("%PDF-1.7\nall ASCII so far", "PDF"),
        ROW("{\\rtf1\\ansi Hello}", "RTF"),
        ROW("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "Microsoft Office"),
        ROW("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        ROW("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\5\0\0\0\5\0\0\0\5\0\0\0a.txthello", "zip archive"),
        ROW("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\5\0\0\0\5\0\0\0\x13\0\0\0[Content_Types].xmlx", "Microsoft Office"),
        ROW("PK\3\4\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\5\0\0\0\5\0\0\0\x10\0\0\0archive/data.pkl", "PyTorch"),
        ROW("PK\3\4\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\5\0\0\0\5\0\0\0\x08\0\0\0mimetypeapplication/epub+zip", "EPUB"),
        ROW("T\0o\0 \0b\0e\0", "UTF-16 without"),
        ROW("\0T\0o\0 \0b\0e", "UTF-16 without"),
        ROW("T\0\0\0o\0\0\0 \0\0\0", "UTF-32 without"),
        ROW("\0\0\0T\0\0\0o\0\0\0 ", "UTF-32 without"),
        ROW("\xa7\x13\x02\x9c\xfe\x01\x88\x03\xc1\x11\x05\xee\x90\x12\xbd", "binary data"),
        ROW("\0\0\0\0\0\0\0\0\0\0\0\0", "binary data"),
        ROW("\x16\x02\0\x9a\x0d\x01\x16\x02\x3f\0\xd1\x1e\x20\0", "binary data"), // ids of two bytes, some below 256
#undef ROW
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        what_is(rows[i].head, rows[i].bytes, rows[i].what);
    char tar[512] = "book/a.txt";
    memcpy(tar + 257, "ustar", 5);
    what_is(tar, sizeof tar, "tar archive");
    static char text[HS_TEXT_HEAD]; // a character that the head cuts is none that is wrong
    memset(text, 'a', HS_TEXT_HEAD);
    text[HS_TEXT_HEAD - 1] = (char)0xE4;
    memcpy(text, "PAR1", 4);
    what_is(text, HS_TEXT_HEAD, NULL);
    memset(text + 100, 0, 20); // a few holes in a text have a line, and are no other kind of file
    what_is(text, HS_TEXT_HEAD, "Parquet");
    memcpy(text, "PARA", 4);
    what_is(text, HS_TEXT_HEAD, NULL);
}

static void utf8_faults(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 4000; seed++) { // against one character after the other
        char text[120];
        const size_t bytes = hs_mix2(seed, 0) % sizeof text;
        memset(text, 'x', sizeof text);
        for (uint64_t k = 0; bytes > 0 && k < seed % 4; k++) {
            static const char *const parts[] = { "\xc3\xa9", "\xe4\xbd\xa0", "\xf0\x9f\x98\x80", "\xff", "\x80", "\xed\xa0\x80", "\x01\x7f", "\0" };
            const uint64_t r = hs_mix2(seed, 1 + k);
            const char *part = parts[r % 8];
            const size_t n = r % 8 == 7 ? 1 : strlen(part), at = r / 8 % bytes;
            memcpy(text + at, part, at + n <= bytes ? n : bytes - at);
        }
        size_t want = 0;
        for (int n; want < bytes && (n = hs_utf8_length((unsigned char *)text + want, bytes - want)) > 0 && text[want]; want += (size_t)n)
            ;
        assert_int_equal(hs_utf8_find_bad(text, bytes, 0), want);
    }
    OK(hs_text_check_utf8("f", 1, "ok \xc3\xa9", 5));
    FAILS(USAGE, "f:2: byte 3 (0xe9) is not valid UTF-8; iconv", hs_text_check_utf8("f", 1, "a\nb\xe9", 4));
    FAILS(USAGE, "f:1: byte 1 is zero", hs_text_check_utf8("f", 1, "a\0b", 3));
    // what the decoder makes of UTF-16 and UTF-32 that is none
    FAILS(USAGE,
          "f is UTF-16, but its bytes are no multiple of 2: the last character is cut (an odd number of bytes); halfstep prepare --utf8",
          hs_text_check_utf8("f", 2, "a\xfe", 2));
    FAILS(USAGE, "f is UTF-32, but its bytes are no multiple of 4: the last character is cut; ", hs_text_check_utf8("f", 4, "a\xfe", 2));
    FAILS(USAGE, "f:2: this UTF-16 has half of a surrogate pair; ", hs_text_check_utf8("f", 2, "a\n\xed\xa0\xbd", 5));
    FAILS(USAGE, "f:1: this UTF-32 has a number beyond U+10FFFF; ", hs_text_check_utf8("f", 4, "\xff", 1));
    FAILS(USAGE, "f:1: this UTF-16 has a character of zero, which no text has; ", hs_text_check_utf8("f", 2, "a\0b", 3));
}

// ---- UTF-16 and UTF-32

static void decodes(const char *in, size_t bytes, const char *want, size_t n_want)
{
    const hs_text_code code = hs_text_code_of(in, bytes);
    const size_t mark = (size_t)code.mark, n = bytes - mark;
    for (size_t cut = 0; cut <= n; cut++) {
        char out[256];
        hs_text_decoder d = { .code = code };
        size_t got = hs_text_decode(&d, in + mark, cut, false, out);
        got += hs_text_decode(&d, in + mark + cut, n - cut, true, out + got);
        assert_int_equal(got, n_want);
        assert_memory_equal(out, want, n_want);
    }
}

static void decoding(void **state)
{
    (void)state;
#define DECODES(in, want) decodes(in, sizeof(in) - 1, want, sizeof(want) - 1)
    DECODES("\xff\xfe" "a\0\xe9\0\x60\x4f\x3d\xd8\x00\xde\n\0", "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\n");
    DECODES("\xfe\xff" "\0a\0\xe9\x4f\x60\xd8\x3d\xde\0", "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80");
    DECODES("\xff\xfe\0\0a\0\0\0\0\xf6\1\0", "a\xf0\x9f\x98\x80");
    DECODES("\0\0\xfe\xff\0\0\0a\0\1\xf6\0", "a\xf0\x9f\x98\x80");
    DECODES("\xff\xfe\x3d\xd8" "a\0\x00\xde", "\xed\xa0\xbd" "a\xed\xb8\x80"); // halves alone: no UTF-8
    DECODES("\xff\xfe\x3d\xd8", "\xed\xa0\xbd");
    DECODES("\xff\xfe" "a\0b", "a\xfe"); // cut
    DECODES("\xff\xfe\0\0\0\0\x11\0", "\xff");
    DECODES("\xff\xfe\0\0a\0\0\0b\0\0", "a\xfe");
    DECODES("\xff\xfe", "");
    static const struct {
        const char *head;
        int unit, mark;
    } codes[] = { { "abc", 1, 0 }, { "\xef\xbb\xbf" "a", 1, 3 }, { "\xef\xbb", 1, 0 }, { "\xff\xfe", 2, 2 }, { "\xfe\xff", 2, 2 } };
    for (int i = 0; i < HS_COUNT(codes); i++) {
        const hs_text_code c = hs_text_code_of(codes[i].head, strlen(codes[i].head));
        assert_int_equal(c.unit, codes[i].unit);
        assert_int_equal(c.mark, codes[i].mark);
    }
}

// ---- JSON or not

static void forms(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        hs_text_form form;
        const char *field;
    } rows[] = {
        { "", HS_TEXT_PLAIN, NULL },
        { "Prose {\"a\": 1}\n", HS_TEXT_PLAIN, NULL },
        { "{'text': 'of Python'}\n", HS_TEXT_PLAIN, NULL },
        { "{ int main; }\n", HS_TEXT_PLAIN, NULL },
        { "[Intro]\nHello\n", HS_TEXT_PLAIN, NULL },
        { "[1]\nA footnote.\n", HS_TEXT_PLAIN, NULL },
        { "12\nmen\n", HS_TEXT_PLAIN, NULL },
        { "\"Hello,\" she said.\n{\"text\":1}\n", HS_TEXT_PLAIN, NULL },
        { "\"Hello.\"\n\"Yes.\"\n", HS_TEXT_PLAIN, NULL },
        { "{\"text\": \"a\"}\n{\"text\": \"b\"}\n", HS_TEXT_JSON_LINES, "text" },
        { "\n  {\"text\":\"a\"}", HS_TEXT_JSON_LINES, "text" },
        { "\xef\xbb\xbf{\"text\":\"a\"}\n", HS_TEXT_JSON_LINES, "text" },
        { "{\"text\":\"not whole", HS_TEXT_JSON_LINES, "text" },
        { "{}\n{\"text\":\"a\"}\n", HS_TEXT_JSON_LINES, "text" },
        { "\"context\"\n{\"context\":\"a\"}\n", HS_TEXT_JSON_LINES, "context" },
        { "[\"text\",\"id\"]\n{\"text\":\"a\",\"id\":\"b\"}\n", HS_TEXT_JSON_LINES, "text" },
        { "null\n{\"body\":\"a\"}\n", HS_TEXT_JSON_LINES, "body" },
        { "[{\"text\":\"a\"}]", HS_TEXT_JSON_VALUES, "text" },
        { "[\n {\"text\":\"a\"},\n {\"text\":\"b\"}\n]\n", HS_TEXT_JSON_VALUES, "text" },
        { "{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n", HS_TEXT_JSON_VALUES, "text" },
        { "{\"text\":\"a\"}{\"text\":\"b\"}", HS_TEXT_JSON_VALUES, "text" },
        { "{\"text\":\"a\"},\n{\"text\":\"b\"}", HS_TEXT_JSON_VALUES, "text" },
        { "{\"text\":\"a\"} and more\n", HS_TEXT_JSON_LINES, "text" }, // a bad line of its file
        { "[\"one\", \"two\"]", HS_TEXT_JSON_VALUES, "" },
        { "[ \"one\" ]\n", HS_TEXT_JSON_VALUES, "" },
        { "[\"one\", she said]", HS_TEXT_PLAIN, NULL },
        { "[[1, 2], [3]]", HS_TEXT_JSON_VALUES, "text" },
        { "[0.5, 1e9, -3,", HS_TEXT_JSON_VALUES, "text" },
        { "[12] Of men.\n", HS_TEXT_PLAIN, NULL },
        { "\x1e{\"text\":\"a\"}\n\x1e{\"text\":\"b\"}\n", HS_TEXT_JSON_VALUES, "text" },
        { "{\"content\":\"a\",\"id\":\"7\"}\n", HS_TEXT_JSON_LINES, "content" },
        { "{\"story\":\"a\",\"n\":7,\"tags\":[\"x\"]}\n{\"story\":\"b\",\"n\":8}\n", HS_TEXT_JSON_LINES, "story" },
        { "{\"a\":\"1\",\"b\":\"2\"}\n", HS_TEXT_JSON_LINES, "text" },                     // which? the record's error names both
        { "{\"id\":\"1\"}\n{\"id\":\"2\",\"text\":\"t\"}\n", HS_TEXT_JSON_LINES, "text" }, // not the first one's only string
        { "{\"te\\u0078t\":\"a\",\"z\":\"b\"}\n", HS_TEXT_JSON_LINES, "text" },
        { "{\"story\":\"cut by the he", HS_TEXT_JSON_LINES, "text" },
    };
    for (int i = 0; i < HS_COUNT(rows); i++) {
        const hs_text_kind k = hs_text_kind_of(rows[i].head, strlen(rows[i].head), HS_FORMAT_AUTO);
        if (k.form != rows[i].form || (rows[i].field && strcmp(k.field, rows[i].field) != 0))
            fail_msg("%s: form %d, field %s", rows[i].head, k.form, k.field);
        assert_int_equal(hs_text_kind_of(rows[i].head, strlen(rows[i].head), HS_FORMAT_TEXT).form, HS_TEXT_PLAIN);
        assert_int_not_equal(hs_text_kind_of(rows[i].head, strlen(rows[i].head), HS_FORMAT_JSON).form, HS_TEXT_PLAIN);
    }
}

static void value_ends(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "{\"a\":[1,{\"]}\":\"\\\"}\"}]} rest", "{\"a\":[1,{\"]}\":\"\\\"}\"}]}" },
        { "\"a\\\\\"b", "\"a\\\\\"" },
        { "NaN,", "NaN" },
        { "-1.5e400]", "-1.5e400" },
        { "[]x", "[]" },
        { ":x", ":" },
    };
    for (int i = 0; i < HS_COUNT(rows); i++)
        for (size_t cut = 0; cut < strlen(rows[i][0]); cut++) {
            hs_json_scan s = { 0 };
            size_t n = hs_json_scan_to_end(&s, rows[i][0], cut);
            if (!s.done)
                n += hs_json_scan_to_end(&s, rows[i][0] + n, strlen(rows[i][0]) - n);
            assert_true(s.done);
            assert_int_equal(n, strlen(rows[i][1]));
        }
}

// ---- records

#define REPLACED "\xef\xbf\xbd"
static void records(void **state)
{
    (void)state;
    static const struct {
        const char *record, *text; // text NULL: none is to be had
        const char *mended;        // what `replace` makes of it; NULL: nothing
        hs_record_fault fault;
        const char *message;
    } rows[] = {
        { "{\"text\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        { "  {\"text\" : \"a\" , \"b\":null}\r", "a", NULL, HS_RECORD_FINE, NULL },
        { "\xef\xbb\xbf{\"text\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        { "{\"text\":\"\\u00e9\\ud83d\\ude00\\n\\t\\\"\\\\\\/\"}", "\xc3\xa9\xf0\x9f\x98\x80\n\t\"\\/", NULL, HS_RECORD_FINE, NULL },
        { "{\"te\\u0078t\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        { "", "", NULL, HS_RECORD_FINE, NULL },
        // what nobody reads
        { "{\"score\":NaN,\"text\":\"a\",\"x\":-Infinity}", "a", NULL, HS_RECORD_FINE, NULL },
        { "{\"n\":1e400,\"m\":-99999999999999999999999,\"text\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        { "{\"e\":\"\\ud83d\",\"f\":\"\\q\",\"text\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        { "{\"id\":1,\"id\":2,\"text\":\"a\",\"m\":{\"k\":1,\"k\":2}}", "a", NULL, HS_RECORD_FINE, NULL },
        { "{\"t\":\"\xff\x01\",\"text\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        { "{\"m\":{\"text\":\"inner\"},\"text\":\"outer\"}", "outer", NULL, HS_RECORD_FINE, NULL },
        { "{\"m\":[[{\"x\":\"]\"}],{}],\"text\":\"a\"}", "a", NULL, HS_RECORD_FINE, NULL },
        // bad ones
        { "{\"text\":\"a\"", NULL, NULL, HS_RECORD_BROKEN, "no JSON object: it ends in the middle" },
        { "{\"text\":\"a", NULL, NULL, HS_RECORD_BROKEN, "no JSON object: a string has no end" },
        { "{\"text\":\"a\"} {\"text\":\"b\"}", NULL, NULL, HS_RECORD_BROKEN, "more behind its end" },
        { "{\"text\":\"a\",}", NULL, NULL, HS_RECORD_BROKEN, "a key is missing" },
        { "{\"text\" \"a\"}", NULL, NULL, HS_RECORD_BROKEN, "a colon is missing" },
        { "{\"a\":1 \"text\":\"a\"}", NULL, NULL, HS_RECORD_BROKEN, "a comma is missing" },
        { "{\"a\":,\"text\":\"a\"}", NULL, NULL, HS_RECORD_BROKEN, "a value is missing" },
        { "{\"a\":[1},\"text\":\"a\"}", NULL, NULL, HS_RECORD_BROKEN, "brackets that do not match" },
        { "prose", NULL, NULL, HS_RECORD_NO_OBJECT, "a number or word, not a JSON object" },
        { "<html>", NULL, NULL, HS_RECORD_BROKEN, "no JSON object: it begins as none" },
        { "[1,2]", NULL, NULL, HS_RECORD_NO_OBJECT, "a list, not a JSON object" },
        { "\"s\"", NULL, NULL, HS_RECORD_NO_OBJECT, "a string, not a JSON object" },
        { "{\"title\":1,\"body\":\"b\"}", NULL, NULL, HS_RECORD_NO_FIELD, "no field \"text\"; it has: title, body; --field" },
        { "{\"text\":null}", NULL, NULL, HS_RECORD_NO_STRING, "the field \"text\" is no string; --bad-records skip" },
        { "{\"text\":[\"a\"]}", NULL, NULL, HS_RECORD_NO_STRING, "is no string" },
        { "{\"text\":\"a\",\"text\":\"b\"}", NULL, NULL, HS_RECORD_TWICE, "stands twice" },
        { "{\"text\":\"a\\ud83db\"}", NULL, "a" REPLACED "b", HS_RECORD_SURROGATE, "a lone surrogate; --bad-records replace" },
        { "{\"text\":\"\\ude00\\ud83d\"}", NULL, REPLACED REPLACED, HS_RECORD_SURROGATE, "a lone surrogate" },
        { "{\"text\":\"\\ud83d\\u0041\"}", NULL, REPLACED "A", HS_RECORD_SURROGATE, "a lone surrogate" },
        { "{\"text\":\"a\\qb\\u12\"}", NULL, "a" REPLACED "b" REPLACED "12", HS_RECORD_ESCAPE, "an escape that is none" },
        { "{\"text\":\"a\tb\"}", NULL, "a\tb", HS_RECORD_CONTROL, "a control character" },
        { "{\"text\":\"a\xff\"}", NULL, "a" REPLACED, HS_RECORD_UTF8, "bytes that are not UTF-8" },
        { "{\"text\":\"\\n\xe9\xe9\"}", NULL, "\n" REPLACED REPLACED, HS_RECORD_UTF8, "bytes that are not UTF-8" },
    };
    static const hs_text_kind kind = { .form = HS_TEXT_JSON_LINES, .field = "text" };
    hs_text_input input = { .path = "in.jsonl" };
    const hs_text_inputs inputs = { .input = &input, .n = 1 };
    hs_text_scratch scratch = { 0 };
    hs_bad_count bad = { 0 };
    for (int i = 0; i < HS_COUNT(rows); i++) {
        const hs_text_batch b = { .text = (char *)rows[i].record, .bytes = strlen(rows[i].record) };
        const hs_text_piece piece = { .bytes = b.bytes, .at = { .line = 7 + i }, .begins = true, .ends = true, .kind = &kind };
        for (hs_bad_records how = HS_BAD_RECORDS_STOP; how <= HS_BAD_RECORDS_REPLACE; how++) {
            const hs_text_rules rules = { .bad_records = how };
            hs_text_taken t;
            const char *want = rows[i].text ? rows[i].text : how == HS_BAD_RECORDS_REPLACE ? rows[i].mended : NULL;
            if (how == HS_BAD_RECORDS_STOP && rows[i].message) {
                FAILS(USAGE, rows[i].message, hs_text_take(&rules, &inputs, &b, &piece, &scratch, &t));
                continue;
            }
            OK(hs_text_take(&rules, &inputs, &b, &piece, &scratch, &t));
            assert_int_equal(t.fault, rows[i].fault);
            if (how == HS_BAD_RECORDS_SKIP && t.fault)
                hs_bad_count_add(&bad, false, 0, piece.at.line, t.fault);
            assert_int_equal(t.text != NULL, want != NULL);
            assert_int_equal(t.bytes, want ? strlen(want) : 0);
            if (want)
                assert_memory_equal(t.text, want, t.bytes);
        }
    }
    char told[512];
    hs_bad_count_text(&bad, &inputs, told, sizeof told);
    assert_non_null(strstr(told, "23 bad records left out, 0 mended: in.jsonl:20 (no JSON object), in.jsonl:21"));
    assert_non_null(strstr(told, ", and 18 more"));
    hs_bad_count_text(&(hs_bad_count){ 0 }, &inputs, told, sizeof told);
    assert_string_equal(told, "");
    hs_text_scratch_free(&scratch);
}

// Brackets a thousand deep are walked, more are refused, and none takes memory.
static void deep_records(void **state)
{
    (void)state;
    enum { DEEP = 2000 };
    static const int depths[] = { 1000, DEEP };
    for (int i = 0; i < 2; i++) {
        char record[2 * DEEP + 64] = "{\"m\":";
        size_t n = strlen(record);
        for (int k = 0; k < depths[i]; k++)
            record[n++] = '[';
        for (int k = 0; k < depths[i]; k++)
            record[n++] = ']';
        n += (size_t)sprintf(record + n, ",\"text\":\"a\"}");
        hs_json_walk w;
        hs_json_member m;
        hs_json_begin(&w, record, n);
        int members = 0;
        while (hs_json_next(&w, &m))
            members++;
        assert_int_equal(members, i == 0 ? 2 : 0);
        assert_int_equal(w.wrong != NULL, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(magics),  cmocka_unit_test(utf8_faults), cmocka_unit_test(decoding),     cmocka_unit_test(forms),
        cmocka_unit_test(records), cmocka_unit_test(value_ends),  cmocka_unit_test(deep_records),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
