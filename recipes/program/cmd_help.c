// help, version and the man page: all of it printed from the command and key tables.
#include "recipes/program/commands.h"
#include <string.h>

typedef struct help_options {
    hs_common common;
    bool man;
} help_options;

// "N", "X", "WORD", ...: what stands behind a key in help. A switch among options (dashes) has nothing behind it.
static const char *placeholder(const hs_key *k, const char *dashes)
{
    static const char *const names[] = { [HS_KEY_INT] = "N",       [HS_KEY_REAL] = "X",    [HS_KEY_BOOL] = "",    [HS_KEY_STRING] = "TEXT",
                                         [HS_KEY_CHOICE] = "WORD", [HS_KEY_REALS] = "X,X", [HS_KEY_INTS] = "N,N", [HS_KEY_TEXTS] = "TEXT" };
    return k->choices ? k->choices : k->type == HS_KEY_BOOL && !*dashes ? "true|false" : names[k->type];
}

// "12 windows, 1 to 1048576": default, unit and range, as far as the key has them.
static void facts(const hs_key *k, const char *dashes, char *buf, size_t size)
{
    int n = 0;
    buf[0] = 0;
    if (k->value && k->value[0] && !(k->type == HS_KEY_BOOL && *dashes && strcmp(k->value, "false") == 0))
        n = snprintf(buf, size, "default %s%s%s", k->value, k->unit ? " " : "", k->unit ? k->unit : "");
    else if (k->unit)
        n = snprintf(buf, size, "%s", k->unit);
    if (k->max >= 1e9)
        snprintf(buf + n, size - (size_t)n, "%sat least %.10g", n ? ", " : "", k->min);
    else if (k->min != 0 || k->max != 0)
        snprintf(buf + n, size - (size_t)n, "%s%.10g to %.10g", n ? ", " : "", k->min, k->max);
}

static void print_key(hs_key_at at, const char *dashes)
{
    const hs_key *k = at.key;
    char left[160], right[128], name[HS_KEY_NAME];
    const char *value = placeholder(k, dashes);
    snprintf(left, sizeof left, "%s%s%s%s", dashes, hs_schema_name(at, name), *value ? " " : "", value);
    facts(k, dashes, right, sizeof right);
    if (strlen(left) > 26)
        printf("  %s\n  %-26s  %s%s%s%s\n", left, "", k->help, *right ? " (" : "", right, *right ? ")" : "");
    else
        printf("  %-26s  %s%s%s%s\n", left, k->help, *right ? " (" : "", right, *right ? ")" : "");
}

static void print_keys(const hs_schema *s, const char *dashes, bool all)
{
    const hs_section *before = NULL;
    hs_key_at at;
    for (int i = 0; (at = hs_schema_row(s, NULL, i)).key != NULL; i++) {
        const hs_section *section = hs_schema_section_of(s, at.key);
        if (section && section != before)
            printf(" with %s %s:\n", s->chooser, section->words);
        before = section;
        if (at.list && at.key == at.list->schema->key)
            printf(" list %s, N from 0 to %d: %s\n", at.list->name, at.list->max - 1, at.list->help);
        if (all || !at.key->advanced)
            print_key(at, dashes);
    }
}

static void print_lines(const char *text, const char *indent)
{
    for (const char *p = text; p && *p;) {
        const size_t n = strcspn(p, "\n");
        printf("%s%.*s\n", indent, (int)n, p);
        p += n + (p[n] == '\n');
    }
}

void hs_command_help(const hs_command *c, const hs_config_table *table, bool all)
{
    printf("halfstep %s: %s\n\nExamples:\n", c->name, c->summary);
    print_lines(c->examples, "  ");
    printf("\nUsage: halfstep %s%s%s [options]%s\n", c->name, *c->arguments ? " " : "", c->arguments,
           c->takes_config ? " [--section.key=value ...]" : "");
    if (c->notes) {
        puts("");
        print_lines(c->notes, "");
    }
    puts("\nOptions:");
    print_keys(c->options, "--", all);
    if (!c->takes_config)
        return;
    if (!all) {
        printf("\nSettings are written as section.key in the YAML file or as --section.key=value: halfstep %s --help --all lists them.\n",
               c->name);
        return;
    }
    puts("\nSettings, in the YAML file or as --section.key=value (of true|false --section.key and --no-section.key too):");
    print_keys(&table->schema, "", true);
}

static void print_overview(void)
{
    puts("halfstep " HS_VERSION ": trains language models from text in mixed precision\n\nExamples:\n"
         "  halfstep pretrain shakespeare-char               # train a small GPT on the text that ships with Halfstep\n"
         "  halfstep generate runs/shakespeare-char --prompt \"ROMEO:\"\n"
         "  halfstep plan gpt2-124m                          # memory, FLOPs and casts, before anything is trained\n\nCommands:");
    for (int i = 0; i < hs_n_commands; i++)
        printf("  %-10s %s\n", hs_commands[i]->name, hs_commands[i]->summary);
    puts("\nhalfstep COMMAND --help has examples and options; halfstep COMMAND --help --all every setting; halfstep help --man the man "
         "page.\n"
         "Exit codes: 0 done, 2 bad input or a refusal of the system, 3 training diverged or what a model gives is no finite number, 75 "
         "stopped by a signal after saving.");
}

// ---- man page
static void troff(const char *text)
{
    for (const char *p = text; *p; p++) {
        if ((*p == '.' || *p == '\'') && (p == text || p[-1] == '\n'))
            fputs("\\&", stdout);
        if (*p == '-' || *p == '\\')
            putchar('\\');
        fputs(*p == '\\' ? "e" : (char[]){ *p, 0 }, stdout);
    }
}

static void man_key(hs_key_at at, const char *dashes)
{
    const hs_key *k = at.key;
    char right[128], name[HS_KEY_NAME];
    facts(k, dashes, right, sizeof right);
    fputs(".TP\n.B ", stdout);
    troff(dashes), troff(hs_schema_name(at, name));
    fputs(" \\fI", stdout);
    troff(placeholder(k, dashes));
    fputs("\\fR\n", stdout);
    troff(k->help);
    if (*right) {
        fputs(" (", stdout);
        troff(right);
        fputs(")", stdout);
    }
    puts("");
}

static void man_keys(const hs_schema *s, const char *dashes)
{
    const hs_section *before = NULL;
    hs_key_at at;
    for (int i = 0; (at = hs_schema_row(s, NULL, i)).key != NULL; i++) {
        const hs_section *section = hs_schema_section_of(s, at.key);
        if (section && section != before) {
            fputs(".PP\nWith ", stdout);
            troff(s->chooser), putchar(' '), troff(section->words), puts(":");
        }
        before = section;
        if (at.list && at.key == at.list->schema->key) {
            fputs(".PP\nList ", stdout);
            troff(at.list->name), printf(", N from 0 to %d: ", at.list->max - 1), troff(at.list->help), puts("");
        }
        man_key(at, dashes);
    }
}

static void man_command(const hs_command *c)
{
    fputs(".SS halfstep ", stdout);
    troff(c->name), putchar(' '), troff(c->arguments), puts("");
    troff(c->summary), puts("");
    if (c->notes) {
        puts(".PP");
        troff(c->notes);
        puts("");
    }
    puts(".PP\n.nf");
    troff(c->examples);
    puts("\n.fi");
    man_keys(c->options, "--");
}

static void print_man(const hs_config_table *table)
{
    puts(".TH HALFSTEP 1 \"\" \"halfstep " HS_VERSION
         "\" \"User Commands\"\n.SH NAME\nhalfstep \\- train language models from text in mixed precision\n"
         ".SH SYNOPSIS\n.B halfstep\n.I COMMAND\n[options]\n.SH COMMANDS");
    for (int i = 0; i < hs_n_commands; i++)
        man_command(hs_commands[i]);
    puts(".SH SETTINGS\nKeys of a configuration file (YAML, nested by section), or on the command line as \\-\\-section.key=value "
         "(of true|false \\-\\-section.key and \\-\\-no\\-section.key too).");
    man_keys(&table->schema, "");
    puts(".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 2\nbad input, a damaged file, or a refusal of the operating system\n.TP\n.B 3\n"
         "training diverged: gradients stayed non-finite; or what a model gives is no finite number\n.TP\n.B 70\na bug of "
         "Halfstep\n.TP\n.B 75\n"
         "stopped by a signal (SIGTERM, SIGINT, SIGHUP, SIGUSR1, ...) after saving; the same command goes on");
}

static hs_status run_help(const hs_cli *cli)
{
    const help_options *o = cli->options;
    if (o->man) {
        print_man(cli->table);
        return HS_OK;
    }
    if (cli->n_args == 0) {
        print_overview();
        return HS_OK;
    }
    const hs_command *c = hs_command_find(cli->arg[0]);
    if (!c)
        return hs_command_unknown(cli->arg[0]);
    hs_command_help(c, cli->table, o->common.all);
    return HS_OK;
}

static hs_status run_version(const hs_cli *cli)
{
    (void)cli;
    puts("halfstep " HS_VERSION);
    return HS_OK;
}

static const hs_key help_keys[] = {
    { .name = "man", .type = HS_KEY_BOOL, .offset = offsetof(help_options, man), .value = "false", .help = "print the man page (troff)" },
    HS_COMMON_KEYS(help_options),
};
static const hs_schema help_schema = HS_SCHEMA(help_keys, help_options);
static const hs_key version_keys[] = { HS_COMMON_KEYS(help_options) };
static const hs_schema version_schema = HS_SCHEMA(version_keys, help_options);

const hs_command hs_cmd_help = {
    .name = "help",
    .arguments = "[COMMAND]",
    .summary = "say what the commands do",
    .examples = "halfstep help\nhalfstep help pretrain --all\nhalfstep help --man > halfstep.1",
    .options = &help_schema,
    .max_args = 1,
    .alone_too = true,
    .run = run_help,
};
const hs_command hs_cmd_version = {
    .name = "version",
    .arguments = "",
    .summary = "print the version",
    .examples = "halfstep version",
    .options = &version_schema,
    .alone_too = true,
    .run = run_version,
};
