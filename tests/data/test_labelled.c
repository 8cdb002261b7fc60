// labelled: each format by the fewest lines that have its peculiarities; columns, labels and tags in the order that is promised; what
// cannot be right is one line with file and line.
#include "tests/support/support_labelled.h"

#include "core/base/rng.h"

#include "data/batches/labelled.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

// ---- columns

static void one_column_is_one_thing(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": \"one\", \"b\": \"two\"}\n";
    refused_with((hs_examples_opts){ .about = HS_ABOUT_LM, .text = "a", .text2 = "a" }, text,
                 "\"a\" is given as the text and as the second text");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_PAIR, .text = "a", .text2 = "b", .label = "b" }, text,
                 "the label and as the second text");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .text = "a", .label = "b", .id = "a" }, text, "the text and as the id");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .text = "a", .label = "1" }, text,
                 "column \"a\" is given as the text and as the label");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_TOKENS, .text = "a", .label = "a" }, "{\"a\": [\"x\"]}\n",
                 "as the text and as the label");
    refused_with((hs_examples_opts){ .about = HS_ABOUT_PAIR, .format = HS_LABEL_TSV, .text = "1", .text2 = "1", .label = "2" }, "x\ty\n",
                 "\"1\" is given as the text and as the second text");
}

// "input" is the second text and, as Alpaca's, the prompt's end: more than the three bytes of each that a pool begins with.
static void a_pool_grows(void **state)
{
    (void)state;
    enum { BYTES = 100000 };
    char *text = malloc(BYTES + 100), *want = malloc(2 * BYTES + 100);
    assert_non_null(text);
    assert_non_null(want);
    strcpy(text, "{\"instruction\": \"i\", \"input\": \"");
    memset(text + strlen(text), 'x', BYTES);
    strcpy(text + strlen("{\"instruction\": \"i\", \"input\": \"") + BYTES, "\"}\n");
    const char *path = file("alpaca.jsonl", text);
    hs_examples *e;
    OK(hs_examples_open(&e,
                        &(hs_examples_opts){ .about = HS_ABOUT_LM, .path = &path, .n_paths = 1, .text = "instruction", .text2 = "input" }));
    memset(want, 'x', 2 * BYTES + 3);
    memcpy(want, "i\n", 2);
    want[2 + BYTES] = '\n', want[2 + BYTES + 1 + BYTES] = 0;
    assert_int_equal(e->example[0].bytes[0], 2 + BYTES + 1 + BYTES);
    assert_memory_equal(e->example[0].text[0], want, e->example[0].bytes[0]);
    hs_examples_close(e);
    free(text);
    free(want);
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
    REFUSED(SEQUENCE, "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"\n", "refused:2: not JSON: it ends in the middle");
    REFUSED(SEQUENCE, "[{\"text\": \"a\", \"label\": 1},\n{\"text\": \"b\"\n\n", "refused:2: not JSON: it ends in the middle");
    REFUSED(REGRESSION, "{\"text\": \"a\", \"score\": \"0.1234567890123456789012345678901234567890123456789012345678901234x\"}\n",
            "refused:1: a number of 67 characters, at most 63 are read");
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
    REFUSED(SPAN, "{\"question\": \"q\", \"context\": \"a b\", \"answers\": [{\"text\": \"\", \"answer_start\": 0}]}\n",
            "refused:1: an answer without text");
    REFUSED(SPAN, "{\"question\": \"q\", \"context\": \"a b\", \"answers\": [{\"text\": \"b\", \"answer_start\": 2.4}]}\n",
            "refused:1: answer_start is 2.4, not a whole number");
    REFUSED(SPAN,
            "{\"data\": [{\"paragraphs\": [{\"context\": \"a\", \"qas\": [{\"id\": \"1\", \"question\": \"q\", \"answers\": []},\n"
            "{\"id\": \"1\", \"question\": \"q\", \"answers\": []}]}]}]}",
            "refused:2: a second question with id \"1\"");
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

// Random spans, side by side now and then, in each scheme: it is found, and converted to each other one gives what that one is.
enum { SENTENCES = 60, LONGEST = 12 };
typedef struct spans { // of each word: 0 outside; else 1 + type, first and last of its span
    int n[SENTENCES], type[SENTENCES][LONGEST];
    bool first[SENTENCES][LONGEST], last[SENTENCES][LONGEST];
} spans;

static void draw_spans(spans *s, uint64_t seed)
{
    for (int i = 0; i < SENTENCES; i++) {
        s->n[i] = 1 + (int)(hs_mix2(seed, (uint64_t)i) % LONGEST);
        for (int k = 0; k < s->n[i];) {
            const uint64_t r = hs_mix2(hs_mix2(seed, (uint64_t)i), (uint64_t)k);
            int length = 1 + (int)(r % 3);
            length = length < s->n[i] - k ? length : s->n[i] - k;
            for (int w = 0; w < length; w++, k++) {
                s->type[i][k] = (int)(r >> 8) % 3;
                s->first[i][k] = w == 0, s->last[i][k] = w == length - 1;
            }
        }
    }
}

static void add_tag(char *text, const spans *s, int i, int k, hs_tag_scheme scheme)
{
    const int type = s->type[i][k];
    const bool first = s->first[i][k], last = s->last[i][k];
    const bool beside = first && k > 0 && s->type[i][k - 1] == type, followed = last && k + 1 < s->n[i] && s->type[i][k + 1] == type;
    const char prefix = scheme == HS_TAGS_IOB1   ? (beside ? 'B' : 'I')
                        : scheme == HS_TAGS_IOB2 ? (first ? 'B' : 'I')
                        : scheme == HS_TAGS_IOE1 ? (followed ? 'E' : 'I')
                        : scheme == HS_TAGS_IOE2 ? (last ? 'E' : 'I')
                        : first && last          ? 'S'
                                                 : (first  ? 'B'
                                                    : last ? 'E'
                                                           : 'I');
    if (type == 0)
        sprintf(text + strlen(text), "w O\n");
    else
        sprintf(text + strlen(text), "w %c-%c\n", prefix, 'W' + type);
}

static void write_spans(const char *name, const spans *s, hs_tag_scheme scheme)
{
    static char text[SENTENCES * LONGEST * 8];
    text[0] = 0;
    for (int i = 0; i < SENTENCES; i++) {
        for (int k = 0; k < s->n[i]; k++)
            add_tag(text, s, i, k, scheme);
        strcat(text, "\n");
    }
    file(name, text);
}

static void schemes(void **state)
{
    (void)state;
    spans *s = calloc(1, sizeof *s);
    for (int from = HS_TAGS_IOB1; from < HS_TAG_SCHEMES; from++)
        for (int to = HS_TAGS_IOB1; to < HS_TAG_SCHEMES; to++) {
            hs_examples *a, *b;
            draw_spans(s, (uint64_t)(from * 10 + to));
            write_spans("from", s, (hs_tag_scheme)from);
            write_spans("to", s, (hs_tag_scheme)to);
            const char *path[] = { scratch_path("from"), scratch_path("to") };
            hs_examples_opts o = { .about = HS_ABOUT_TOKENS, .path = path, .n_paths = 1, .scheme_to = (hs_tag_scheme)to };
            OK(hs_examples_open(&a, &o));
            o.path = path + 1, o.scheme_to = HS_TAGS_AUTO;
            OK(hs_examples_open(&b, &o));
            assert_int_equal(a->scheme, to);
            assert_int_equal(b->scheme, to);
            for (int64_t i = 0; i < a->n; i++)
                for (int32_t k = 0; k < a->example[i].n; k++)
                    assert_string_equal(a->labels.name[a->example[i].labels[k]], b->labels.name[b->example[i].labels[k]]);
            hs_examples_close(a);
            hs_examples_close(b);
        }
    free(s);
    hs_examples *e = open_as(HS_ABOUT_TOKENS, "bilou", "a B-X\nb L-X\nc U-Y\nd O\n"); // letters stay as they are
    check_labels(e, "O B-X L-X U-Y");
    assert_int_equal(e->scheme, HS_TAGS_BIOES);
    hs_examples_close(e);
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
    path = file("prose", "Question, answer\nis all that it is about\n"); // no header, where a text is as good
    OK(hs_examples_open(&e, &(hs_examples_opts){ .about = HS_ABOUT_SEQUENCE, .path = &path, .n_paths = 1, .labels_optional = true }));
    check_example(e, 0, 1, "Question, answer", NULL, NULL);
    hs_examples_close(e);
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
    char *text = malloc(WORDS * 4 + 1), *p = text;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines),         cmocka_unit_test(tsv),
        cmocka_unit_test(csv),           cmocka_unit_test(json),
        cmocka_unit_test(squad),         cmocka_unit_test(conll),
        cmocka_unit_test(nemo),          cmocka_unit_test(schemes),
        cmocka_unit_test(given_labels),  cmocka_unit_test(many_labels),
        cmocka_unit_test(bad_bytes),     cmocka_unit_test(long_line),
        cmocka_unit_test(long_sentence), cmocka_unit_test(one_column_is_one_thing),
        cmocka_unit_test(a_pool_grows),
    };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
