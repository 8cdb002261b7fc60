// text_keys: the options of commands that read texts of any kind: what a file is taken for, and what becomes of what is wrong in it.
#ifndef HS_RECIPES_TEXT_KEYS_H
#define HS_RECIPES_TEXT_KEYS_H
#include "data/text/text_record.h"
#include "recipes/program/cli.h"

typedef struct hs_text_options {
    char field[HS_KEY_STRING_BYTES];
    int format, utf8, bad_records;
} hs_text_options;

#define HS_TEXT_KEYS(T)                                                                                                                    \
    { .name = "field",                                                                                                                     \
      .type = HS_KEY_STRING,                                                                                                               \
      .offset = offsetof(T, text.field),                                                                                                   \
      .value = "",                                                                                                                         \
      .help = "of JSON records: the one that holds the text; when given, all inputs are JSON. Default: text, else content, else the only " \
              "string" },                                                                                                                  \
        { .name = "format",                                                                                                                \
          .type = HS_KEY_CHOICE,                                                                                                           \
          .offset = offsetof(T, text.format),                                                                                              \
          .value = "auto",                                                                                                                 \
          .choices = "auto|text|json",                                                                                                     \
          .help = "what inputs are; auto: JSON where they begin as JSON lines or a list of records do, whatever their names" },            \
        { .name = "utf8",                                                                                                                  \
          .type = HS_KEY_CHOICE,                                                                                                           \
          .offset = offsetof(T, text.utf8),                                                                                                \
          .value = "refuse",                                                                                                               \
          .choices = "refuse|replace|keep",                                                                                                \
          .help = "bytes that are not UTF-8, or zero: an error, U+FFFD each, or left to the tokenizer" },                                  \
    {                                                                                                                                      \
        .name = "bad-records", .type = HS_KEY_CHOICE, .offset = offsetof(T, text.bad_records), .value = "stop",                            \
        .choices = "stop|skip|replace",                                                                                                    \
        .help = "JSON records that are broken or have no text: an error, left out, or mended where U+FFFD does that; the first are named"  \
    }

// USAGE: options that contradict each other.
static inline hs_status hs_text_options_settle(const hs_cli *cli, const hs_text_options *o, hs_text_read *read, hs_text_rules *rules)
{
    const bool field = hs_cli_given(cli, "field");
    if (field && (!o->field[0] || strlen(o->field) >= HS_TEXT_FIELD))
        return HS_FAIL(USAGE, "--field is %s", o->field[0] ? "longer than 127 bytes" : "empty");
    if (field && o->format == HS_FORMAT_TEXT)
        return HS_FAIL(USAGE, "--field %s is of JSON records, and --format is text", o->field);
    read->format = field ? HS_FORMAT_JSON : (hs_text_format)o->format;
    read->field = field ? o->field : NULL;
    *rules = (hs_text_rules){ .bad_utf8 = (hs_bad_utf8)o->utf8, .bad_records = (hs_bad_records)o->bad_records };
    return HS_OK;
}

#endif
