// labelled: each format by the fewest lines that have its peculiarities; columns, labels and tags in the order that is promised; rows and
// batches against their definitions; what cannot be right is one line with file and line.
#include "tests/support/support_tokenizers.h"

#include "data/batches/labelled.h"
#include "data/batches/loader.h"
#include "data/labelled/label_reader.h"
#include "data/labelled/tags.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
    return scratch_path(name);
}

static hs_examples *open_as(hs_about about, const char *name, const char *text)
{
    hs_examples *e;
    const char *path = file(name, text);
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = about, .path = &path, .n_paths = 1 }));
    return e;
}

static void refused_with(hs_examples_opts o, const char *text, const char *part)
{
    hs_examples *e;
    const char *path = file("refused", text);
    o.path = &path, o.n_paths = 1;
    FAILS(USAGE, part, hs_examples_open(&e, &o));
    assert_null(e);
}
#define REFUSED(task, text, part) refused_with((hs_examples_opts){ .about = HS_ABOUT_##task }, text, part)

static void check_labels(const hs_examples *e, const char *want) // "a b c"
{
    char got[1000] = "";
    for (int i = 0; i < e->labels.n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "", e->labels.name[i]);
    assert_string_equal(got, want);
}

static void check_example(const hs_examples *e, int64_t i, int64_t line, const char *text, const char *second, const char *label)
{
    const hs_example *x = &e->example[i];
    assert_true(i < e->n);
    assert_int_equal(x->line, line);
    assert_string_equal(x->text[0], text);
    assert_int_equal(x->bytes[0], strlen(text));
    if (second)
        assert_string_equal(x->text[1], second);
    else
        assert_null(x->text[1]);
    if (label)
        assert_string_equal(e->labels.name[x->label], label);
}

// ---- tables

static void lines(void **state)
{
    (void)state;
    hs_examples *e = open_as(HS_ABOUT_SEQUENCE, "lines.txt", "1 a good film , yes\n0 bad\r\n\n1 fine\n0 no");
    assert_int_equal(e->n, 4);
    check_labels(e, "0 1");
    check_example(e, 0, 1, "a good film , yes", NULL, "1");
    check_example(e, 1, 2, "bad", NULL, "0");
    check_example(e, 2, 4, "fine", NULL, "1");
    check_example(e, 3, 5, "no", NULL, "0");
    assert_non_null(strstr(e->said, "lines of a label and a text; 4 examples; 2 labels: 0, 1"));
    hs_examples_close(e);
    e = open_as(HS_ABOUT_MULTILABEL, "fasttext", "__label__b __label__a two of them\n__label__c one\n");
    check_labels(e, "a b c");
    assert_int_equal(e->example[0].n, 2);
    assert_int_equal(e->example[0].labels[0], 0);
    assert_int_equal(e->example[0].labels[1], 1);
    assert_string_equal(e->example[0].text[0], "two of them");
    hs_examples_close(e);
}

static void tsv(void **state)
{
    (void)state;
    hs_examples *e = open_as(HS_ABOUT_SEQUENCE, "sst", "\xEF\xBB\xBFsentence\tlabel\nit's \"fine\"\t1\r\n\tneg\nx\t\xC3\xA9\n");
    check_labels(e, "1 neg \xC3\xA9");
    check_example(e, 0, 2, "it's \"fine\"", NULL, "1");
    check_example(e, 1, 3, "", NULL, "neg");
    hs_examples_close(e);
    // GLUE's columns
    e = open_as(HS_ABOUT_PAIR, "mrpc", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\tHe said .\tHe did .\n0\t9\t10\tA\tB\n");
    check_example(e, 0, 2, "He said .", "He did .", "1");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_PAIR, "qnli", "index\tquestion\tsentence\tlabel\n0\tWhat?\tThat.\tentailment\n1\tWho?\tMe.\tnot_entailment\n");
    check_example(e, 1, 3, "Who?", "Me.", "not_entailment");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_REGRESSION, "stsb",
                "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tA plane .\tA plane is .\t5.000\n1\tnews\tB\tC\t2.25\n");
    check_example(e, 0, 2, "A plane .", "A plane is .", NULL);
    assert_true(e->example[1].value[0] == 2.25f);
    hs_examples_close(e);
    // without names: CoLA, and NeMo's text and number
    e = open_as(HS_ABOUT_SEQUENCE, "cola",
                "gj04\t1\t\tOur friends won't buy this analysis .\ngj04\t0\t*\tThey drank the pub .\ngj04\t1\t\tBill "
                "floated into the cave .\n");
    check_example(e, 1, 2, "They drank the pub .", NULL, "0");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_SEQUENCE, "nemo.tsv", "a text here\t2\nanother text\t0\nthe third\t1\n");
    check_labels(e, "0 1 2");
    assert_int_equal(e->example[0].label, 2);
    hs_examples_close(e);
    // a header that nothing knows is told by the numbers below it
    e = open_as(HS_ABOUT_SEQUENCE, "unknown", "klass\twords of it\n1\ta text here\n0\tanother text\n");
    assert_int_equal(e->n, 2);
    hs_examples_close(e);
    REFUSED(SEQUENCE, "sentence\tlabel\na\t1\nb\n", "refused:3: 1 column, and the header has 2");
    REFUSED(SEQUENCE, "sentence\tlabel\na\t\n", "refused:2: the label is empty");
    REFUSED(PAIR, "sentence\tlabel\na\t1\n", "refused:1: which column is the second text cannot be told; it has: sentence, label");
    REFUSED(REGRESSION, "sentence\tscore\na\t1\nb\tx1\n", "refused:3: \"x1\" is no number");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .label = "lable" }, "sentence\tlabel\na\t1\n",
                 "refused:1: no column \"lable\" for the label; it has: sentence, label");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .label = "3" }, "sentence\tlabel\na\t1\n", "column 3, and there are 2");
}

static void csv(void **state)
{
    (void)state;
    hs_examples *e =
        open_as(HS_ABOUT_SEQUENCE, "a.csv", "id,text,label\r\n1,\"two\r\nlines, and \"\"quotes\"\"\",pos\r\n2,plain,neg\r\n3,\"\",neg\r\n");
    assert_int_equal(e->n, 3);
    check_example(e, 0, 2, "two\r\nlines, and \"quotes\"", NULL, "pos");
    check_example(e, 1, 4, "plain", NULL, "neg");
    check_example(e, 2, 5, "", NULL, "neg");
    assert_string_equal(e->example[1].id, "2");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_SEQUENCE, "b.csv", "1;ein Text, mit Komma\n0;noch einer\n1;und der dritte\n");
    check_example(e, 0, 1, "ein Text, mit Komma", NULL, "1");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_MULTILABEL, "toxic.csv", "id,comment_text,toxic,insult\n7,you,1,1\n8,me,0,0\n9,us,0,1\n");
    check_labels(e, "insult toxic");
    assert_int_equal(e->example[0].n, 2);
    assert_int_equal(e->example[1].n, 0);
    assert_int_equal(e->example[2].labels[0], 0);
    hs_examples_close(e);
    REFUSED(SEQUENCE, "text,label\n\"no end,1\nx,0\n", "refused:2: the quote that begins a field here has no end");
    REFUSED(SEQUENCE, "text,label\n\"a\"b,1\n", "refused:2: field 1 goes on behind the quote that ends it");
    REFUSED(SEQUENCE, "text,label\na,b,1\n", "refused:2: 3 columns, and the header has 2");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_MULTILABEL, .label = "toxic,insult" }, "text,toxic,insult\nyou,1,1\nme,0,2\n",
                 "refused:3: column \"insult\" is \"2\", and a label that has a column is 0 or 1 there");
}

// ---- JSON

static void json(void **state)
{
    (void)state;
    hs_examples *e =
        open_as(HS_ABOUT_SEQUENCE, "a.jsonl",
                "{\"text\": \"a \\u00e9 \\ud83d\\ude00\", \"label\": 1}\n\n{\"label\": 0, \"x\": {\"label\": 9}, \"text\": \"b\"}\n");
    check_example(e, 0, 1, "a \xC3\xA9 \xF0\x9F\x98\x80", NULL, "1");
    check_example(e, 1, 3, "b", NULL, "0");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_PAIR, "list.json",
                "[\n {\"premise\": \"p\", \"hypothesis\": \"h\", \"label\": true},\n {\"premise\": \"q\",\n"
                "  \"hypothesis\": \"i\", \"label\": false}]\n");
    check_example(e, 0, 2, "p", "h", "true");
    check_example(e, 1, 3, "q", "i", "false");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_MULTILABEL, "m.jsonl", "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": []}\n");
    assert_int_equal(e->n_values, 2);
    hs_examples_close(e);
    e = open_as(HS_ABOUT_TOKENS, "t.jsonl", "{\"tokens\": [\"Bonn\", \"is\"], \"ner_tags\": [\"B-LOC\", \"O\"]}\n");
    check_labels(e, "O B-LOC");
    check_example(e, 0, 1, "Bonn is", NULL, NULL);
    assert_int_equal(e->example[0].word[1].start, 5);
    hs_examples_close(e);
    e = open_as(HS_ABOUT_LM, "p.jsonl", "{\"prompt\": \"2+2=\", \"response\": \"4\"}\n");
    assert_string_equal(e->example[0].text[0], "2+2=4");
    assert_int_equal(e->example[0].turn[1].start, 4);
    assert_true(e->example[0].turn[1].learned && !e->example[0].turn[0].learned);
    hs_examples_close(e);
    e = open_as(HS_ABOUT_LM, "alpaca.json", "[{\"instruction\": \"Add\", \"input\": \"1 2\", \"output\": \"3\"}]");
    assert_string_equal(e->example[0].text[0], "Add\n1 2\n3");
    hs_examples_close(e);
    e = open_as(HS_ABOUT_LM, "chat.jsonl",
                "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}, {\"role\": \"assistant\", \"content\": \"ho\"}]}\n");
    assert_string_equal(e->example[0].text[0], "user: hi\nassistant: ho");
    assert_int_equal(e->example[0].n, 3);
    hs_examples_close(e);
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\" \"label\": 1}\n", "refused:2: not JSON: a comma is missing");
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"}\n", "refused:2: no key \"label\"; it has: text");
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": 1}\n{\"text\": 3, \"label\": 1}\n", "refused:2: text is a number, not a string");
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"\\ud800\", \"label\": 1}\n", "refused:2: text has a lone surrogate");
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": \"x\\u0000\"}\n", "refused:1: a label with a character of zero");
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"text\": \"b\", \"label\": 1}\n", "refused:1: the key \"text\" stands twice");
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": 1}\n[1]\n", "refused:2: a list, not a JSON object");
    REFUSED(TOKENS, "{\"tokens\": [\"a\", \"b\"], \"tags\": [\"O\"]}\n", "refused:1: 2 words and 1 tag");
}

static void squad(void **state)
{
    (void)state;
    hs_examples *e = open_as(
        HS_ABOUT_SPAN, "squad.json",
        "{\"version\": \"v2.0\", \"data\": [{\"title\": \"T\", \"paragraphs\": [\n{\"context\": \"\xC3\x89t\xC3\xA9 in Bonn\", \"qas\": [\n"
        "{\"id\": \"1\", \"question\": \"Where?\", \"is_impossible\": false, \"answers\": [{\"text\": \"Bonn\", \"answer_start\": 7}]},\n"
        "{\"id\": \"2\", \"question\": \"Who?\", \"is_impossible\": true, \"answers\": [], \"plausible_answers\": [{}]}]}]}]}");
    assert_int_equal(e->n, 2);
    check_example(e, 0, 3, "Where?", "\xC3\x89t\xC3\xA9 in Bonn", NULL);
    check_example(e, 1, 4, "Who?", "\xC3\x89t\xC3\xA9 in Bonn", NULL);
    assert_true(e->example[0].text[1] == e->example[1].text[1]);
    assert_int_equal(e->example[0].answer[0].start, 9);
    assert_int_equal(e->example[0].answer[0].end, 13);
    assert_int_equal(e->example[1].n, 0);
    hs_examples_close(e);
    e = open_as(HS_ABOUT_SPAN, "flat.jsonl",
                "{\"id\": \"a\", \"question\": \"q\", \"context\": \"c d\", \"answers\": {\"text\": [\"d\"], \"answer_start\": [2]}}\n");
    assert_int_equal(e->example[0].answer[0].start, 2);
    hs_examples_close(e);
    REFUSED(SPAN,
            "{\"data\": [{\"paragraphs\": [{\"context\": \"abc\",\n \"qas\": [{\"id\": \"1\", \"question\": \"q\",\n \"answers\": "
            "[{\"text\": \"bd\", "
            "\"answer_start\": 1}]}]}]}]}",
            "refused:3: the answer \"bd\" is not in its context at character 1");
    REFUSED(SPAN, "{\"data\": [{\"paragraphs\": [{\"context\": \"abc\"}]}]}", "no key \"qas\"; it has: context");
}

// ---- words

static void conll(void **state)
{
    (void)state;
    hs_examples *e =
        open_as(HS_ABOUT_TOKENS, "conll",
                "-DOCSTART- -X- -X- O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\n\n\r\nPeter NNP I-NP I-PER\r\nBlackburn NNP I-NP "
                "I-PER\r\n\n-DOCSTART- -X- -X- O\n\nBonn NNP I-NP I-LOC\nParis NNP I-NP B-LOC\n");
    assert_int_equal(e->n, 3);
    assert_int_equal(e->scheme, HS_TAGS_IOB1);
    check_labels(e, "O B-LOC I-LOC I-ORG I-PER");
    check_example(e, 1, 7, "Peter Blackburn", NULL, NULL);
    assert_int_equal(e->example[1].word_line[1], 1);
    assert_true(e->example[0].document == e->example[1].document && e->example[1].document < e->example[2].document);
    assert_non_null(strstr(e->said, "CoNLL columns (4, by spaces), word: column 1, tag: column 4; 3 examples; tags: IOB1; 5 labels: O"));
    hs_examples_close(e);
    const char *path = scratch_path("conll");
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_TOKENS, .path = &path, .n_paths = 1, .scheme_to = HS_TAGS_BIOES }));
    check_labels(e, "O S-LOC S-ORG B-PER E-PER");
    hs_examples_close(e);
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_TOKENS, .path = &path, .n_paths = 1, .label = "2" }));
    check_labels(e, "NNP VBZ");
    assert_int_equal(e->scheme, HS_TAGS_PLAIN);
    hs_examples_close(e);
    // WNUT: tabs, and blank lines that have one; a hash that is a word
    e = open_as(HS_ABOUT_TOKENS, "wnut", "#\tO\nEmpire\tB-loc\nState\tI-loc\n\t\n@x\tO\n");
    assert_int_equal(e->n, 2);
    check_example(e, 0, 1, "# Empire State", NULL, NULL);
    hs_examples_close(e);
    e = open_as(HS_ABOUT_TOKENS, "onto",
                "#begin document (x); part 000\nx 0 0 Bill NNP (PERSON* -\nx 0 1 Gates NNP *) -\nx 0 2 in IN * -\nx 0 3 Bonn "
                "NNP (GPE) -\n\n#end document\n");
    check_labels(e, "O B-GPE B-PERSON I-PERSON");
    check_example(e, 0, 2, "Bill Gates in Bonn", NULL, NULL);
    hs_examples_close(e);
    REFUSED(TOKENS, "a O\nb\nc B-X\nd O\n", "refused:2: 1 column, and most lines have 2");
    REFUSED(TOKENS, "a B-X\nb I-X\nc O\nd I-X\n\ne O\n", "refused:4: I-X behind O, which is not IOB2; and not IOB1: ");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_TOKENS, .scheme = HS_TAGS_IOB2 }, "a O\nb I-X\n",
                 "refused:2: I-X behind O, and the tags are said to be IOB2");
    REFUSED(TOKENS, "a B-X\nb E-X\nc B-X\n", "refused:3: B-X before the end of its sentence");
}

static void nemo(void **state)
{
    (void)state;
    file("labels_a.txt", "O B-LOC\nO\n");
    hs_examples *e = open_as(HS_ABOUT_TOKENS, "text_a.txt", "in Bonn\nyes\n");
    check_labels(e, "O B-LOC");
    check_example(e, 1, 2, "yes", NULL, NULL);
    hs_examples_close(e);
    file("labels_b.txt", "O B-LOC\nO O\n");
    const char *path = file("text_b.txt", "in Bonn\nyes\n");
    FAILS(USAGE, "text_b.txt:2: 1 word, and 2 labels in line 2 of",
          hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_TOKENS, .path = &path, .n_paths = 1 }));
    file("labels_b.txt", "O B-LOC\n");
    FAILS(USAGE, "ends here, and ", hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_TOKENS, .path = &path, .n_paths = 1 }));
}

// ---- labels

static void given_labels(void **state)
{
    (void)state;
    hs_examples *train = open_as(HS_ABOUT_SEQUENCE, "train", "text\tlabel\na\tneutral\nb\tpositive\nc\tnegative\n"), *val;
    check_labels(train, "negative neutral positive");
    hs_examples_opts o = { .about = HS_ABOUT_SEQUENCE, .labels = &train->labels };
    refused_with(o, "text\tlabel\na\tneutral\nb\tneutrl\n",
                 "refused:3: label \"neutrl\" is not among the 3 that there are; did you mean \"neutral\"?");
    const char *path = file("val", "text\tlabel\na\tnew\nb\tpositive\n");
    o.path = &path, o.n_paths = 1, o.other_labels = true;
    OK(hs_examples_open(&val, &o));
    assert_int_equal(val->example[0].label, -1);
    assert_int_equal(val->example[1].label, 2);
    assert_int_equal(val->n_unlabelled, 1);
    hs_examples_close(val);
    path = file("numbers", "text\tlabel\na\t2\nb\t0\n"); // of a checkpoint with names
    o.path = &path, o.other_labels = false;
    OK(hs_examples_open(&val, &o));
    assert_int_equal(val->example[0].label, 2);
    hs_examples_close(val);
    hs_examples_close(train);
    train = open_as(HS_ABOUT_SEQUENCE, "stars", "text\tstars\na\t10\nb\t9\nc\t-1\n");
    check_labels(train, "-1 9 10");
    hs_examples_close(train);
}

static void many_labels(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    char *text = malloc(MANY * 24), *p = text;
    for (int i = 0; i < MANY; i++)
        p += sprintf(p, "l%06d\ta text\n", (i * 7919) % MANY);
    scratch_write("many", text, (size_t)(p - text));
    free(text);
    const char *path = scratch_path("many");
    hs_examples *e;
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .path = &path, .n_paths = 1, .label = "1", .text = "2" }));
    assert_int_equal(e->labels.n, MANY);
    assert_string_equal(e->labels.name[4321], "l004321");
    assert_int_equal(e->example[1].label, 7919);
    hs_examples_close(e);
}

// ---- hostile files

static void bad_bytes(void **state)
{
    (void)state;
    static const char zero[] = "text\tlabel\na\t1\nb\0c\t0\n", latin[] = "text\tlabel\nna\xEFve\t1\n";
    hs_examples *e;
    scratch_write("zero", zero, sizeof zero - 1);
    const char *path = scratch_path("zero");
    hs_examples_opts o = { .about = HS_ABOUT_SEQUENCE, .path = &path, .n_paths = 1 };
    FAILS(USAGE, "zero:3: byte 16 is zero, which no text has", hs_examples_open(&e, &o));
    o.bad_utf8 = HS_BAD_UTF8_REPLACE;
    OK(hs_examples_open(&e, &o));
    check_example(e, 1, 3,
                  "b\xEF\xBF\xBD"
                  "c",
                  NULL, "0");
    hs_examples_close(e);
    o.bad_utf8 = HS_BAD_UTF8_REFUSE;
    path = file("latin", latin);
    FAILS(USAGE, "latin:2: byte 13 (0xef) is not valid UTF-8", hs_examples_open(&e, &o));
    REFUSED(SEQUENCE, "", "is empty");
    REFUSED(SEQUENCE, "\n\r\n", "is empty");
    REFUSED(SEQUENCE, "text\tlabel\n", "there is no example in it");
    REFUSED(SEQUENCE, "just\nsome words of\nno kind at all\n", "what it is cannot be told");
    REFUSED(SEQUENCE, "\x89PNG\r\n\x1A\n....", "is no text but a PNG image");
    REFUSED(TOKENS, "[1, 2]\n", "refused:1: a number, not a JSON object");
    REFUSED(SPAN, "text\tlabel\na\t1\n", "is no JSON");
    REFUSED(SEQUENCE, "{\"text\": [[[[", "refused:1: not JSON: it ends in the middle");
    path = "/nowhere/at/all";
    FAILS(USAGE, "/nowhere/at/all", hs_examples_open(&e, &o));
}

// A line of 10 MB is an example like any other; as one word of a sentence it is cut.
static void long_line(void **state)
{
    (void)state;
    enum { LONG = 10000000 };
    char *text = malloc(LONG + 100);
    hs_tokenizer *byte;
    hs_source *s;
    memcpy(text, "text\tlabel\na\t1\n", 15);
    memset(text + 15, 'x', LONG);
    memcpy(text + 15 + LONG, "\t0\nb\t1\n", 8);
    scratch_write("long", text, LONG + 15 + 7);
    free(text);
    const char *path = scratch_path("long");
    hs_examples *e;
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .path = &path, .n_paths = 1 }));
    assert_int_equal(e->n, 3);
    assert_int_equal(e->example[1].bytes[0], LONG);
    assert_int_equal(e->example[2].line, 4);
    OK(hs_tokenizer_byte(&byte));
    OK(hs_labelled_new(&s, &(hs_labelled_opts){ .examples = e, .rows = { .tokenizer = byte, .max_length = 100 } }));
    assert_int_equal(hs_labelled_info_of(s).longest, 100);
    assert_int_equal(hs_labelled_info_of(s).cut, 1);
    hs_source_free(s);
    hs_tokenizer_free(byte);
    hs_examples_close(e);
}

// Many windows of one sentence, and of one context, take no more time than they have tokens.
static void long_sentence(void **state)
{
    (void)state;
    enum { WORDS = 300000 };
    char *text = malloc(WORDS * 4), *p = text;
    hs_tokenizer *byte;
    hs_source *s;
    for (int i = 0; i < WORDS; i++)
        p += sprintf(p, "a O\n");
    scratch_write("sentence", text, (size_t)(p - text));
    free(text);
    const char *path = scratch_path("sentence");
    hs_examples *e;
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_TOKENS, .path = &path, .n_paths = 1 }));
    OK(hs_tokenizer_byte(&byte));
    OK(hs_labelled_new(
        &s, &(hs_labelled_opts){ .examples = e, .rows = { .tokenizer = byte, .max_length = 64, .stride = 16 }, .frozen = true }));
    int64_t counted = 0;
    for (int64_t i = 0; i < s->n_samples; i++)
        for (int64_t t = 0; t < hs_labelled_row(s, (uint64_t)i)->n; t++)
            counted += hs_labelled_row(s, (uint64_t)i)->target[t] >= 0;
    assert_int_equal(counted, WORDS);
    hs_source_free(s);
    hs_tokenizer_free(byte);
    hs_examples_close(e);
}

// ---- rows

enum { PAD, UNK, CLS, SEP, MASK, FIRST }; // of the vocabulary below

static hs_tokenizer *letters(void) // [PAD] [UNK] [CLS] [SEP] [MASK] a-z ##a-##z
{
    static const char *const special[] = { "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]" };
    char text[2000] = "";
    hs_tokenizer *t;
    for (int i = 0; i < HS_COUNT(special); i++)
        sprintf(text + strlen(text), "%s\n", special[i]);
    for (int i = 0; i < 52; i++)
        sprintf(text + strlen(text), "%s%c\n", i < 26 ? "" : "##", 'a' + i % 26);
    file("vocab.txt", text);
    char folder[500];
    snprintf(folder, sizeof folder, "%s", scratch_path("vocab.txt"));
    *strrchr(folder, '/') = 0;
    OK(hs_tokenizer_load(&t, folder));
    return t;
}

// "[CLS] a ##b [SEP]"
static void check_row(const hs_tokenizer *t, const hs_example_row *r, const char *want)
{
    char got[1000] = "";
    for (int64_t i = 0; i < r->n; i++) {
        size_t n;
        const char *p = hs_tokenizer_piece(t, r->id[i], &n);
        sprintf(got + strlen(got), "%s%.*s", i ? " " : "", (int)n, p);
    }
    assert_string_equal(got, want);
}

static void check_i32(const int32_t *got, const int32_t *want, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(got[i], want[i]);
}
#define I32(...)                                                                                                                           \
    (const int32_t[]) { __VA_ARGS__ }

typedef struct made {
    hs_tokenizer *t;
    hs_examples *e;
    hs_row_maker *m;
    const hs_example_row *row;
    int64_t n;
} made;

static made make(hs_about about, const char *text, hs_rows_opts o, int64_t i)
{
    made x = { .t = letters(), .e = open_as(about, "make", text) };
    o.tokenizer = x.t;
    OK(hs_row_maker_new(&x.m, about, &o));
    OK(hs_row_maker_rows(x.m, x.e->example, x.e->n, i, &x.row, &x.n));
    return x;
}

static void drop(made *x)
{
    hs_row_maker_free(x->m);
    hs_examples_close(x->e);
    hs_tokenizer_free(x->t);
}

static void rows_of_texts(void **state)
{
    (void)state;
    made x = make(HS_ABOUT_PAIR, "text1\ttext2\tlabel\nab c\td\t1\n", (hs_rows_opts){ .max_length = 8 }, 0);
    assert_int_equal(x.n, 1);
    check_row(x.t, x.row, "[CLS] a ##b c [SEP] d [SEP]");
    for (int i = 0; i < 7; i++)
        assert_int_equal(x.row->type[i], i > 4);
    drop(&x);
    x = make(HS_ABOUT_PAIR, "text1\ttext2\tlabel\nabcdefgh\tijk\t1\n", (hs_rows_opts){ .max_length = 10 }, 0);
    check_row(x.t, x.row, "[CLS] a ##b ##c ##d [SEP] i ##j ##k [SEP]"); // as Hugging Face's longest_first: the shorter keeps its own
    assert_true(x.row->cut);
    drop(&x);
    x = make(HS_ABOUT_SEQUENCE, "1 abcdefghi\n0 a\n", (hs_rows_opts){ .max_length = 8 }, 0);
    check_row(x.t, x.row, "[CLS] a ##b ##c ##d ##e ##f [SEP]");
    drop(&x);
}

static void rows_of_words(void **state)
{
    (void)state;
    // words of 2, 1, 3 tokens; later ones do not count
    made x = make(HS_ABOUT_TOKENS, "ab B-X\nc O\ndef B-Y\n", (hs_rows_opts){ .max_length = 16 }, 0); // O B-X B-Y
    check_row(x.t, x.row, "[CLS] a ##b c d ##e ##f [SEP]");
    check_i32(x.row->target, I32(-1, 1, -1, 0, 2, -1, -1, -1), 8);
    check_i32(x.row->word, I32(-1, 0, -1, 1, 2, -1, -1, -1), 8);
    drop(&x);
    x = make(HS_ABOUT_TOKENS, "ab B-X\nc O\ndef B-Y\n", (hs_rows_opts){ .max_length = 16, .all_subtokens = true, .later = I32(0, 5, 6) },
             0);
    check_i32(x.row->target, I32(-1, 1, 5, 0, 2, 6, 6, -1), 8);
    drop(&x);
    // six tokens of room, two shared: a b c d e f | e f g h i j | i j k l; every word once, where it has most around it
    x = make(HS_ABOUT_TOKENS, "a O\nb O\nc O\nd O\ne O\nf O\ng O\nh O\ni O\nj O\nk O\nl O\n",
             (hs_rows_opts){ .max_length = 8, .stride = 2 }, 0);
    assert_int_equal(x.n, 3);
    check_row(x.t, &x.row[0], "[CLS] a b c d e f [SEP]");
    check_row(x.t, &x.row[1], "[CLS] e f g h i j [SEP]");
    check_row(x.t, &x.row[2], "[CLS] i j k l [SEP]");
    check_i32(x.row[0].word, I32(-1, 0, 1, 2, 3, 4, -1, -1), 8);
    check_i32(x.row[1].word, I32(-1, -1, 5, 6, 7, 8, -1, -1), 8);
    check_i32(x.row[2].word, I32(-1, -1, 9, 10, 11, -1), 6);
    drop(&x);
    // a word that is longer than a row is cut, and the others are whole
    x = make(HS_ABOUT_TOKENS, "a O\nbcdefghij O\nkl O\n", (hs_rows_opts){ .max_length = 8 }, 0);
    assert_int_equal(x.n, 3);
    check_row(x.t, &x.row[1], "[CLS] b ##c ##d ##e ##f ##g [SEP]");
    assert_true(x.row[1].cut && !x.row[0].cut);
    check_row(x.t, &x.row[2], "[CLS] k ##l [SEP]");
    drop(&x);
    // two tokens of the neighbours on each side, of the same document only
    const char *text = "-DOCSTART- O\n\na O\n\nb O\nc O\n\nd O\n\ne O\nf O\ng O\n\n-DOCSTART- O\n\nh O\n";
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 16, .context = 2 }, 2);
    check_row(x.t, x.row, "[CLS] b c d e f [SEP]");
    check_i32(x.row->target, I32(-1, -1, -1, 0, -1, -1, -1), 7);
    drop(&x);
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 16, .context = 9 }, 2);
    check_row(x.t, x.row, "[CLS] a b c d e f g [SEP]");
    drop(&x);
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 8, .context = 9 }, 3); // three of its own and three of room
    check_row(x.t, x.row, "[CLS] b c d e f g [SEP]");
    drop(&x);
    x = make(HS_ABOUT_TOKENS, text, (hs_rows_opts){ .max_length = 8, .context = 9 }, 1); // five of room: one before, the rest behind
    check_row(x.t, x.row, "[CLS] a b c d e f [SEP]");
    drop(&x);
}

static void rows_of_spans(void **state)
{
    (void)state;
    const char *text =
        "{\"question\": \"q r s\", \"context\": \"a b c d e f\", \"answers\": {\"text\": [\"c d\"], \"answer_start\": [4]}}\n";
    made x = make(HS_ABOUT_SPAN, text, (hs_rows_opts){ .max_length = 9, .max_query = 2, .stride = 2 }, 0);
    assert_int_equal(x.n, 2);
    check_row(x.t, &x.row[0], "[CLS] q r [SEP] a b c d [SEP]");
    check_row(x.t, &x.row[1], "[CLS] q r [SEP] c d e f [SEP]");
    check_i32(I32(x.row[0].start, x.row[0].end, x.row[1].start, x.row[1].end), I32(6, 7, 4, 5), 4);
    assert_int_equal(x.row[0].bytes[6].start, 4);
    assert_int_equal(x.row[0].bytes[7].end, 7);
    const uint8_t best[2][9] = { { 0, 0, 0, 0, 1, 1, 1, 0, 0 }, { 0, 0, 0, 0, 0, 1, 1, 1, 0 } };
    for (int k = 0; k < 2; k++)
        assert_memory_equal(x.row[k].best, best[k], 9);
    drop(&x);
    x = make(HS_ABOUT_SPAN, text, (hs_rows_opts){ .max_length = 8, .max_query = 2, .stride = 3 }, 0); // a b c | d e f
    assert_int_equal(x.n, 2);
    assert_int_equal(x.row[0].start, 0);
    assert_int_equal(x.row[1].end, 0);
    drop(&x);
    x = make(HS_ABOUT_SPAN, text, (hs_rows_opts){ .max_length = 8, .max_query = 2, .stride = 3, .drop = true }, 0);
    assert_int_equal(x.n, 0);
    drop(&x);
}

static void rows_of_turns(void **state)
{
    (void)state;
    made x = make(HS_ABOUT_LM, "{\"prompt\": \"a b\", \"response\": \"c d\"}\n", (hs_rows_opts){ .max_length = 16 }, 0);
    check_row(x.t, x.row, "[CLS] a b c d");
    check_i32(x.row->target, I32(-1, -1, FIRST + 2, FIRST + 3, SEP), 5);
    drop(&x);
    x = make(HS_ABOUT_LM, "{\"prompt\": \"a b c d e f g h\", \"response\": \"i\"}\n", (hs_rows_opts){ .max_length = 8 }, 0);
    assert_int_equal(x.n, 0); // nothing is learned of it
    drop(&x);
}

// ---- batches

static hs_source *source_of(const hs_examples *e, const hs_tokenizer *t, hs_labelled_opts o)
{
    hs_source *s;
    o.examples = e, o.rows.tokenizer = t;
    o.rows.max_length = o.rows.max_length ? o.rows.max_length : 16;
    OK(hs_labelled_new(&s, &o));
    return s;
}

static void batches(void **state)
{
    (void)state;
    hs_tokenizer *t = letters();
    hs_examples *e = open_as(HS_ABOUT_SEQUENCE, "batches", "text\tlabel\na\tx\nb c\ty\nd\tx\nef\tx\n");
    hs_source *s = source_of(e, t, (hs_labelled_opts){ .seed = 5, .weights = HS_WEIGHTS_BALANCED });
    hs_batch b;
    OK(hs_source_batch(s, 4, &b));
    int seen[2][4] = { { 0 } };
    for (int epoch = 0; epoch < 2; epoch++) {
        OK(hs_source_fill(s, &b, (uint64_t)epoch * 4, 4));
        assert_int_equal(b.n[HS_COUNT_SEQS], 4);
        assert_int_equal(b.n[HS_COUNT_TOKENS], 14);
        assert_int_equal(b.labels[HS_LABELLED_LOSS], 4);
        assert_true(b.weights[HS_LABELLED_LOSS] > 3.999 && b.weights[HS_LABELLED_LOSS] < 4.001);
        const int32_t *starts = hs_batch_i32(&b, HS_LABELLED_STARTS), *ids = hs_batch_i32(&b, HS_LABELLED_IDS);
        const float *weight = (const float *)hs_batch_find(&b, "target_weights")->p;
        for (int k = 0; k < 4; k++) {
            const hs_example_row *r = hs_labelled_row(s, (uint64_t)(epoch * 4 + k));
            seen[epoch][r->example]++;
            assert_int_equal(starts[k + 1] - starts[k], r->n);
            check_i32(ids + starts[k], r->id, r->n);
            assert_int_equal(((const int32_t *)hs_batch_find(&b, "class_targets")->p)[k], e->example[r->example].label);
            assert_true(weight[k] == (float)(r->example == 1 ? 4 / (2 * 1.0) : 4 / (2 * 3.0)));
            for (int64_t i = 0; i < r->n; i++)
                check_i32(hs_batch_i32(&b, HS_LABELLED_WHERE) + 2 * (starts[k] + i), I32(k, (int32_t)i), 2);
        }
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(seen[i / 4][i % 4], 1); // each once an epoch
    hs_batch_free(&b);
    hs_source_free(s);
    hs_examples_close(e);
    hs_source *none;
    e = open_as(HS_ABOUT_MULTILABEL, "several", "text\tlabels\na\tx,z\nb\ty\n");
    FAILS(USAGE, "class weights are for",
          hs_labelled_new(&none, &(hs_labelled_opts){ .examples = e, .rows = { .tokenizer = t, .max_length = 16 }, .weights = 1 }));
    s = source_of(e, t, (hs_labelled_opts){ .frozen = true });
    OK(hs_source_batch(s, 2, &b));
    OK(hs_source_fill(s, &b, 0, 2));
    const float *cell = (const float *)hs_batch_find(&b, "label_targets")->p, want[] = { 1, 0, 1, 0, 1, 0 };
    for (int i = 0; i < 6; i++)
        assert_true(cell[i] == want[i]);
    hs_batch_free(&b);
    hs_source_free(s);
    hs_examples_close(e);
    hs_tokenizer_free(t);
}

// The stream is the same through the loader, at any number of ranks, from any sample on.
static void resumes(void **state)
{
    (void)state;
    hs_tokenizer *t = letters();
    hs_examples *e = open_as(HS_ABOUT_TOKENS, "resumes", "a O\nb B-X\n\nc O\n\nd B-X\ne I-X\n\nf O\n\ng O\nh O\n");
    int32_t whole[40], n = 0;
    for (int pass = 0; pass < 3; pass++) { // one rank; two ranks; from sample 4 on
        int32_t got[40];
        int k = 0;
        for (int rank = 0; rank < (pass == 1 ? 2 : 1); rank++) {
            hs_loader *l;
            const hs_batch *b;
            OK(hs_loader_new(
                &l, source_of(e, t, (hs_labelled_opts){ .seed = 9 }),
                &(hs_loader_opts){
                    .batch = 2, .n_micro = 1, .rank = rank, .size = pass == 1 ? 2 : 1, .first_sample = pass == 2 ? 4 : 0, .depth = 3 }));
            for (int i = 0; i < (pass == 2 ? 3 : 5); i++) {
                OK(hs_loader_next(l, &b));
                for (int64_t seq = 0; seq < b->n[HS_COUNT_SEQS]; seq++) {
                    const int32_t *starts = hs_batch_i32(b, HS_LABELLED_STARTS), first = hs_batch_i32(b, HS_LABELLED_IDS)[starts[seq] + 1];
                    if (pass == 1)
                        got[2 * i + rank] = first, k++;
                    else
                        got[k++] = first;
                }
                hs_loader_release(l);
            }
            hs_loader_free(l);
        }
        if (pass == 0)
            memcpy(whole, got, sizeof got), n = k;
        assert_int_equal(k, pass == 2 ? n - 4 : n);
        check_i32(got, whole + (pass == 2 ? 4 : 0), k);
    }
    hs_examples_close(e);
    hs_tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),         cmocka_unit_test(tsv),           cmocka_unit_test(csv),           cmocka_unit_test(json),
        cmocka_unit_test(squad),         cmocka_unit_test(conll),         cmocka_unit_test(nemo),          cmocka_unit_test(given_labels),
        cmocka_unit_test(many_labels),   cmocka_unit_test(bad_bytes),     cmocka_unit_test(long_line),     cmocka_unit_test(long_sentence),
        cmocka_unit_test(rows_of_texts), cmocka_unit_test(rows_of_words), cmocka_unit_test(rows_of_spans), cmocka_unit_test(rows_of_turns),
        cmocka_unit_test(batches),       cmocka_unit_test(resumes),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
