// examples: all labelled examples of some files, whole in memory: texts, labels, and the line each comes from.
//
// What a file is, which of its columns are what, and which scheme its tags follow is found by what it holds, and told (`said`); each may be
// given instead. What cannot be right is one line with file:line. Formats and how they are found: data/labelled/README.md.
#ifndef HS_DATA_EXAMPLES_H
#define HS_DATA_EXAMPLES_H
#include "data/labelled/labels.h"
#include "data/text/text_record.h"
#include "data/tokenizers/tokenizer.h" // hs_span

// What the data is about. PAIR is SEQUENCE of two texts; SEQUENCE, REGRESSION and MULTILABEL take a second text where there is one.
typedef enum hs_about {
    HS_ABOUT_SEQUENCE,
    HS_ABOUT_PAIR,
    HS_ABOUT_REGRESSION,
    HS_ABOUT_MULTILABEL,
    HS_ABOUT_TOKENS,
    HS_ABOUT_SPAN,
    HS_ABOUT_LM, // prompts and responses: what follows a response is learned, prompts are not
    HS_ABOUTS
} hs_about;
#define HS_ABOUT_WORDS "sequence|pair|regression|multilabel|tokens|span|lm"

typedef enum hs_label_format {
    HS_LABEL_AUTO,
    HS_LABEL_LINES, // "label text of the line"
    HS_LABEL_TSV,   // no quotes: a tab ends a field, a line feed a record
    HS_LABEL_CSV,   // RFC 4180: quotes, fields of several lines; commas or semicolons
    HS_LABEL_JSON,  // a record a line, or a list of them
    HS_LABEL_CONLL, // a word a line, an empty line behind a sentence
    HS_LABEL_NEMO,  // text_X with labels_X beside it
    HS_LABEL_SQUAD,
    HS_LABEL_TEXT, // texts without labels, a line each
    HS_LABEL_FORMATS
} hs_label_format;
#define HS_LABEL_FORMAT_WORDS "auto|lines|tsv|csv|json|conll|nemo|squad|text"

typedef enum hs_tag_scheme {
    HS_TAGS_AUTO,
    HS_TAGS_PLAIN, // no spans: each tag is a class (part-of-speech)
    HS_TAGS_IOB1,
    HS_TAGS_IOB2, // also called BIO
    HS_TAGS_IOE1,
    HS_TAGS_IOE2,
    HS_TAGS_BIOES, // also called BILOU (L for E, U for S), IOBES
    HS_TAG_SCHEMES
} hs_tag_scheme;
#define HS_TAG_SCHEME_WORDS "auto|plain|iob1|iob2|ioe1|ioe2|bioes"

typedef struct hs_answer { // of a question: bytes of it in text[1]
    int64_t start, end;
} hs_answer;
typedef struct hs_turn { // of LM: text[0][start, end)
    int64_t start, end;
    bool learned;
} hs_turn;

typedef struct hs_example { // borrowed from hs_examples; texts end with a NUL that is not counted
    const char *text[2];    // TOKENS: words with a space between them. SPAN: question, context. LM: all turns in a row. [1]: or NULL
    size_t bytes[2];
    int32_t file;             // index in hs_examples.path
    int64_t line;             // of the file, from 1
    int64_t number;           // in the order of reading
    int64_t document;         // number of the document it is from, ascending: -DOCSTART-, a new file
    const char *id;           // SPAN, JSON with a key "id"; or NULL
    int32_t label;            // SEQUENCE, PAIR: class; SPAN: 0; -1: it has none, or it is not known
    int32_t n;                // of the one array below that its task has
    const float *value;       // REGRESSION: [n]
    const int32_t *labels;    // MULTILABEL: classes, ascending. TOKENS: class of each word; -1: it does not count
    const hs_span *word;      // TOKENS: bytes of each word in text[0]
    const int32_t *word_line; // TOKENS: of each word, counted from `line`
    const hs_answer *answer;  // SPAN: in the order of the file; n 0: there is none (SQuAD 2.0)
    const hs_turn *turn;      // LM
} hs_example;

typedef struct hs_examples_opts {
    hs_about about;
    const char *const *path; // [n_paths] files in order, packed or not; "-": standard input
    int n_paths;
    hs_label_format format;
    // Columns: a name of the header, a key of a record, or a number from 1; NULL or "": found. Several labels of MULTILABEL and REGRESSION
    // may stand in several columns: "toxic,insult".
    const char *text, *text2, *label, *id;
    const hs_labels *labels; // classes there are (of training data, of a checkpoint); NULL: collected from the files
    bool other_labels;       // labels outside `labels` are no error: the example, or the word, does not count (-1)
    bool labels_optional;    // texts to be predicted: a file may have none
    bool label_is_text;      // the label's column is the text's too, in files of labels alone; else no column is two things
    hs_tag_scheme scheme;    // that tags follow
    hs_tag_scheme scheme_to; // that they are converted to; AUTO: as they are
    hs_bad_utf8 bad_utf8;    // KEEP is REFUSE here
} hs_examples_opts;

typedef struct hs_examples {
    hs_example *example; // [n]
    int64_t n;
    const hs_example
        *read; // [n_read] of a choice of them: all, by their number, among which neighbours are looked for; NULL: these are all
    int64_t n_read;
    hs_about about;
    hs_labels labels;     // the given ones, or those found, in the order that data/labelled/README.md tells
    int n_values;         // L of REGRESSION; of MULTILABEL labels.n; else 1
    bool pairs;           // some have a second text
    hs_tag_scheme scheme; // of the tags, behind a conversion
    const char **path;    // [n_paths]
    int n_paths;
    int64_t n_unlabelled;        // examples, or words, that do not count
    char *said;                  // one line: format, columns, scheme, counts, labels
    struct hs_examples_own *own; // memory of it all
} hs_examples;

// USAGE and CORRUPT with file:line; MEMORY; SYSTEM. Nothing is left where it fails.
hs_status hs_examples_open(hs_examples **out, const hs_examples_opts *o);
void hs_examples_close(hs_examples *e); // takes NULL
// USAGE with file:line and this message: something is wrong with example i.
hs_status hs_examples_fail(const hs_examples *e, int64_t i, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
