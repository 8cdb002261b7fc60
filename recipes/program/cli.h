// cli: the commands of the program and how their arguments are read. Options are rows of hs_key tables, like the settings
// of a configuration; whatever a table holds is parsed, checked, helped and put into the man page without further code.
//
//   --key value   --key=value   --flag   --no-flag   --section.key=value (of the configuration)   --   everything behind is an argument
#ifndef HS_RECIPES_CLI_H
#define HS_RECIPES_CLI_H
#include "core/settings/schema.h"
#include "recipes/program/config.h"

// What commands have in common; the first member of each one's options. dtype, device and threads: of those that compute.
typedef struct hs_common {
    int dtype; // hs_dtype_option
    char device[HS_KEY_STRING_BYTES];
    int64_t threads;
    bool accept_edited; // of those that read a checkpoint
    bool json, quiet, help, all;
    int log_level; // hs_log_level
} hs_common;

// Rows of hs_common in a command's table; T: the command's options, with `common` as a member.
#define HS_COMMON_KEYS(T)                                                                                                                  \
    { .name = "json",                                                                                                                      \
      .type = HS_KEY_BOOL,                                                                                                                 \
      .offset = offsetof(T, common.json),                                                                                                  \
      .value = "false",                                                                                                                    \
      .help = "one JSON object a line on stdout, all else on stderr" },                                                                    \
        { .name = "quiet",                                                                                                                 \
          .type = HS_KEY_BOOL,                                                                                                             \
          .offset = offsetof(T, common.quiet),                                                                                             \
          .value = "false",                                                                                                                \
          .help = "only warnings, errors and results" },                                                                                   \
        { .name = "log-level",                                                                                                             \
          .type = HS_KEY_CHOICE,                                                                                                           \
          .offset = offsetof(T, common.log_level),                                                                                         \
          .value = "info",                                                                                                                 \
          .choices = "quiet|warn|info|debug",                                                                                              \
          .help = "what is logged on stderr; debug adds the source lines an error passed through" },                                       \
        { .name = "help",                                                                                                                  \
          .type = HS_KEY_BOOL,                                                                                                             \
          .offset = offsetof(T, common.help),                                                                                              \
          .value = "false",                                                                                                                \
          .help = "this text; with --all every option and setting" },                                                                      \
    {                                                                                                                                      \
        .name = "all", .type = HS_KEY_BOOL, .offset = offsetof(T, common.all), .value = "false", .help = "with --help: advanced ones too", \
        .advanced = true                                                                                                                   \
    }
// Of commands that run on several cores, and of those that compute.
#define HS_THREADS_KEY(T)                                                                                                                  \
    {                                                                                                                                      \
        .name = "threads", .type = HS_KEY_INT, .offset = offsetof(T, common.threads), .value = "0", .min = 0, .max = 1024,                 \
        .help = "threads of the CPU; 0: the cores this process may use"                                                                    \
    }
#define HS_DTYPE_HELP "arithmetic of products and attention; auto: what a checkpoint was trained in, else bf16 where the CPU is fast at it"
// Of results that are kept and compared with those of other machines.
#define HS_DTYPE_HELP_F32                 "arithmetic of products and attention; auto: fp32"
#define HS_COMPUTE_KEYS(T)                HS_COMPUTE_KEYS_OF(T, HS_DTYPE_HELP)
#define HS_ARITHMETIC_WORDS               "auto|fp32|bf16|fp16"
#define HS_COMPUTE_KEYS_OF(T, dtype_help) HS_COMPUTE_KEYS_BY(T, HS_ARITHMETIC_WORDS, dtype_help)
#define HS_COMPUTE_KEYS_BY(T, dtype_words, dtype_help)                                                                                     \
    HS_THREADS_KEY(T),                                                                                                                     \
        { .name = "dtype",                                                                                                                 \
          .type = HS_KEY_CHOICE,                                                                                                           \
          .offset = offsetof(T, common.dtype),                                                                                             \
          .value = "auto",                                                                                                                 \
          .choices = dtype_words,                                                                                                          \
          .help = dtype_help },                                                                                                            \
    {                                                                                                                                      \
        .name = "device", .type = HS_KEY_STRING, .offset = offsetof(T, common.device), .value = "cpu", .help = "where to run: cpu or cuda" \
    }
// Of commands that decode: what their cache keeps keys and values as.
enum { HS_KV_VALUES, HS_KV_INT8 };
#define HS_KV_KEY(T)                                                                                                                       \
    {                                                                                                                                      \
        .name = "kv", .type = HS_KEY_CHOICE, .offset = offsetof(T, kv), .value = "values", .choices = "values|int8",                       \
        .help =                                                                                                                            \
            "how keys and values of earlier tokens are kept: as values of --dtype, or as int8 with a scale for each head: a quarter to "   \
            "half the memory, at a small loss"                                                                                             \
    }
// Of commands that train.
#define HS_PROFILE_KEYS(T)                                                                                                                 \
    { .name = "profile",                                                                                                                   \
      .type = HS_KEY_STRING,                                                                                                               \
      .offset = offsetof(T, profile),                                                                                                      \
      .value = "",                                                                                                                         \
      .help = "steps with a clock: tables by operation and scope, and a trace in this file (or folder) for ui.perfetto.dev" },             \
    {                                                                                                                                      \
        .name = "profile-steps", .type = HS_KEY_STRING, .offset = offsetof(T, profile_steps), .value = "",                                 \
        .help = "those of --profile, as 100-109, or one; default: 10 after the first 5"                                                    \
    }
// Of commands that read a checkpoint.
#define HS_CHECKPOINT_KEYS(T)                                                                                                              \
    {                                                                                                                                      \
        .name = "accept-edited", .type = HS_KEY_BOOL, .offset = offsetof(T, common.accept_edited), .value = "false",                       \
        .help = "take config.json, tokenizer files and train/config.yaml of a checkpoint as they are, edited since it was saved; weights " \
                "never",                                                                                                                   \
        .advanced = true                                                                                                                   \
    }

struct hs_cli;
typedef struct hs_spelling { // --option value is read as --instead as
    const char *option, *value, *instead, *as;
} hs_spelling;
typedef struct hs_command {
    const char *name, *arguments; // "pretrain", "CONFIG.yaml"
    const char *summary;          // one line
    const char *examples;         // lines "command\n" in the order a newcomer needs them
    const char *notes;            // (optional) a paragraph for help and man page
    const hs_schema *options;     // of a struct that begins with hs_common
    const hs_spelling *spellings; // (optional) ends with an option that is NULL
    int min_args, max_args;
    bool trains;                            // what would end it asks it to stop (hs_signals_catch), from the beginning
    bool alone_too;                         // goes on alone where the ranks that were started do not come together
    bool takes_config;                      // settings of the configuration may be given as --section.key=value
    bool (*many)(const struct hs_cli *cli); // (optional) may several ranks run it, with these arguments; default: none may
    const char *long_options;               // (optional) "prompt|prompt-ids": string options of any length, read with hs_cli_long
    hs_status (*run)(const struct hs_cli *cli);
} hs_command;

enum { HS_CLI_MAX = 128 };
typedef struct hs_override_arg {
    char key[HS_KEY_NAME], where[HS_KEY_NAME + 2];
    const char *value;
} hs_override_arg;
typedef struct hs_cli {           // of one invocation; argv is borrowed
    const hs_config_table *table; // of the program's settings
    struct hs_parallel *parallel; // the ranks it was started with; set by the program
    const char *apart;            // why those do not come together, of a command that goes on alone all the same; else NULL
    const hs_command *command;
    void *options;        // of the command's struct
    hs_origin *origin;    // of each option: "default" where it was not given
    const char *arg[256]; // shells expand *.txt
    int n_args;
    hs_override_arg override[HS_CLI_MAX]; // of the configuration, in order
    int n_overrides;
    const char *long_value[8]; // in the order of long_options
} hs_cli;

// argv behind the command's name.
bool hs_cli_many(const hs_cli *cli); // hs_command.many of those that always may
hs_status hs_cli_parse(hs_cli *cli, const hs_config_table *table, const hs_command *command, int argc, char **argv);
void hs_cli_free(hs_cli *cli);
bool hs_cli_given(const hs_cli *cli, const char *option);
const char *hs_cli_given_as(const hs_cli *cli, const char *option); // "--option", or the spelling that set it; NULL: not given
const char *hs_cli_long(const hs_cli *cli, const char *option);     // NULL: not given
static inline const hs_common *hs_cli_common(const hs_cli *cli) { return (const hs_common *)cli->options; }

// Configuration of a command that takes one: the file (a path or the name of a shipped recipe), then the overrides, then checks.
hs_status hs_cli_config(const hs_cli *cli, const char *file, hs_config *config);

extern const hs_command *const hs_commands[];
extern const int hs_n_commands;
const hs_command *hs_command_find(const char *name);
hs_status hs_command_unknown(const char *name); // USAGE with the nearest name
void hs_command_help(const hs_command *c, const hs_config_table *table, bool all);

// The program: its commands, and models of these families (NULL behind the last). Returns the exit code.
int hs_program(int argc, char **argv, const hs_family *const *families);

// One JSON object as one line on stdout; takes the reference. Reals that are not finite become null.
struct json_t;
void hs_line_print(struct json_t *object);
struct json_t *hs_line_real(double v);
struct json_t *hs_line_text(const char *text, size_t bytes); // bytes that are not UTF-8 become U+FFFD

#endif
