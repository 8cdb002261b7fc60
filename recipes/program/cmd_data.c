// data: what is in a file of token ids, whether it is whole, and the same in another format.
#include "recipes/program/commands.h"
#include "recipes/program/data_tools.h"
#include <string.h>

static const struct action {
    const char *name;
    hs_status (*run)(const data_job *j);
    bool together; // of all files at once; else of one after the other
} actions[] = { { "info", hs_data_info, false },
                { "check", hs_data_check, false },
                { "sample", hs_data_sample, false },
                { "convert", hs_data_convert, true } };

hs_status hs_data_open(data_job *j)
{
    const data_options *o = j->o;
    if (j->tokenizer || o->vocab)
        j->vocab = j->tokenizer ? hs_tokenizer_vocab(j->tokenizer) : o->vocab;
    HS_TRY(hs_token_file_open(&j->file, j->path, &(hs_token_file_opts){ .vocab = j->vocab, .document_token = o->document_token }));
    j->info = hs_token_file_info_of(j->file);
    j->vocab = j->vocab ? j->vocab : j->info.vocab;
    if (j->tokenizer && j->info.tokenizer_hash && !hs_tokenizer_gives(j->tokenizer, j->info.tokenizer_hash))
        return HS_FAIL(USAGE, "%s was made with another tokenizer (hash %016llx) than %s (%016llx)", j->path,
                       (unsigned long long)j->info.tokenizer_hash, o->tokenizer, (unsigned long long)hs_tokenizer_hash(j->tokenizer));
    return HS_OK;
}

static hs_status run_files(const struct action *a, data_job *j, const char *const *path, int n)
{
    const int each = a->together ? n : 1;
    for (int i = 0; i < n; i += each) {
        j->path = path[i], j->more = path + i + 1, j->n_more = each - 1;
        hs_status st = hs_data_open(j);
        if (st == HS_OK)
            st = a->run(j);
        hs_token_file_close(j->file);
        j->file = NULL, j->vocab = 0;
        if (st != HS_OK)
            return hs_frame_at(st, __FILE__, __LINE__);
    }
    return HS_OK;
}

// The help of an option says of which action it is ("info: ...", "convert to HDF5: ..."): given to another one it would do nothing.
static hs_status check_options(const hs_cli *cli, const struct action *a)
{
    const data_options *o = cli->options;
    const hs_schema *s = cli->command->options;
    for (int i = 0; i < s->n; i++) {
        const char *help = s->key[i].help;
        const size_t of = strcspn(help, " :");
        bool is_action = false;
        for (int k = 0; k < HS_COUNT(actions); k++)
            is_action |= strlen(actions[k].name) == of && strncmp(actions[k].name, help, of) == 0;
        if (!is_action || !strchr(help, ':') || !hs_cli_given(cli, s->key[i].name))
            continue;
        if (strncmp(a->name, help, of) != 0)
            return HS_FAIL(USAGE, "data %s does not take --%s, which is of data %.*s", a->name, s->key[i].name, (int)of, help);
        if (strncmp(help, "convert to HDF5:", 16) == 0 && o->to != HS_TOKENS_HDF5)
            return HS_FAIL(USAGE, "data convert takes --%s only with --to hdf5", s->key[i].name);
    }
    return HS_OK;
}

static hs_status run_data(const hs_cli *cli)
{
    const data_options *o = cli->options;
    const char *names[HS_COUNT(actions)];
    const struct action *a = NULL;
    for (int i = 0; i < HS_COUNT(actions); i++) {
        names[i] = actions[i].name;
        if (strcmp(actions[i].name, cli->arg[0]) == 0)
            a = &actions[i];
    }
    if (!a) {
        const char *near = hs_nearest_word(cli->arg[0], names, HS_COUNT(names));
        return HS_FAIL(USAGE, "data does info, check, sample and convert, not '%s'%s%s", cli->arg[0], near ? "; nearest is " : "",
                       near ? near : "");
    }
    HS_TRY(check_options(cli, a));
    if (cli->n_args > 2 && o->png[0])
        return HS_FAIL(USAGE, "--png draws one file, and %d are given", cli->n_args - 1);
    data_job j = { .o = o };
    if (o->tokenizer[0])
        HS_TRY(hs_tokenizer_load(&j.tokenizer, o->tokenizer));
    const hs_status st = run_files(a, &j, cli->arg + 1, cli->n_args - 1);
    hs_tokenizer_free(j.tokenizer);
    return st == HS_OK ? st : hs_frame_at(st, __FILE__, __LINE__);
}

#define AT(field) .offset = offsetof(data_options, field)
#define INT(field, key, fallback, low, high, text)                                                                                         \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_INT, AT(field), .value = fallback, .min = low, .max = high, .help = text                               \
    }
#define STRING(field, key, text)                                                                                                           \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_STRING, AT(field), .value = "", .help = text                                                           \
    }
#define SHARE(field, key, fallback, text)                                                                                                  \
    {                                                                                                                                      \
        .name = key, .type = HS_KEY_REAL, AT(field), .value = fallback, .min = 0, .max = 1, .help = text                                   \
    }
static const hs_key keys[] = {
    STRING(tokenizer, "tokenizer", "folder of the tokenizer the ids are of: decodes them, and tells the vocabulary"),
    INT(vocab, "vocab", "0", 0, 2147483647.0, "vocabulary, where no tokenizer and no file tells it"),
    INT(document_token, "document-token", "-1", -1, 2147483647.0, "id that begins each document of an llm.c file; -1: there is none"),
    STRING(png, "png", "info: draw the length histogram into this file"),
    INT(first, "first", "0", 0, 9e15, "sample: the first document or row to show"),
    INT(count, "count", "3", 1, 9e15, "sample: how many"),
    INT(tokens, "tokens", "100", 1, 9e15, "sample: of each, at most this many tokens"),
    { .name = "to",
      .type = HS_KEY_CHOICE,
      AT(to),
      .value = "store",
      .choices = "store|hdf5|megatron|llmc",
      .help = "convert: format to write" },
    STRING(output, "output", "convert: file, or prefix of Megatron's pair, to write; with --shards a folder; also -o"),
    { .name = "layout",
      .type = HS_KEY_CHOICE,
      AT(layout),
      .value = "fixed",
      .choices = "fixed|varlen",
      .help = "convert to HDF5: its layout" },
    INT(length, "length", "128", 8, 16384, "convert to HDF5: tokens of a row"),
    INT(predictions, "predictions", "20", 1, 16384, "convert to HDF5: masked tokens of a row, at most"),
    SHARE(mask_prob, "mask-prob", "0.15", "convert to HDF5: share of tokens to be masked"),
    SHARE(short_prob, "short-prob", "0.1", "convert to HDF5: share of rows of a random shorter length"),
    INT(copies, "copies", "1", 1, 1000, "convert to HDF5: rows are made this many times, with other draws (NVIDIA: 5)"),
    INT(cut, "cut", "32", 1, 16384, "convert to HDF5: tokens that stand for a sentence in a store without sentences"),
    INT(shards, "shards", "1", 1, 100000, "convert to HDF5: files to divide the rows over, in the folder of --output"),
    { .name = "overwrite", .type = HS_KEY_BOOL, AT(overwrite), .value = "false", .help = "convert: replace a file that exists" },
    INT(seed, "seed", "12345", 0, 9e15, "convert to HDF5: of every draw"),
    HS_COMMON_KEYS(data_options),
};
static const hs_schema schema = HS_SCHEMA(keys, data_options);

const hs_command hs_cmd_data = {
    .name = "data",
    .arguments = "info|check|sample|convert FILE...",
    .summary = "look into files of token ids, check and convert them",
    .examples = "halfstep data info wiki.tokens --png lengths.png\n"
                "halfstep data check shards/*.hdf5 --vocab 30522\n"
                "halfstep data sample part_0001.hdf5 --tokenizer models/bert-base-uncased --count 5\n"
                "halfstep data convert my_text_document.idx --to store --tokenizer models/gpt2 -o wiki.tokens\n"
                "halfstep data convert wiki.tokens --to hdf5 --tokenizer models/bert-base-uncased --shards 8 -o shards",
    .notes =
        "Reads token stores, NVIDIA's BERT shards (HDF5: fixed, variable length, packed), Megatron's .idx with .bin, and llm.c's .bin;\n"
        "which of them a file is, is told by its contents. check ends with code 2 at the first fault, with file, dataset and row.\n"
        "convert puts several files into one, in the order given; what goes into HDF5 is one token store:\n"
        "its rows are made by the rules of Google's create_pretraining_data.py.",
    .options = &schema,
    .min_args = 2,
    .max_args = 256,
    .run = run_data,
};
