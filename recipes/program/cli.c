// cli: one walk over argv by the command's table; options that stand for a setting become overrides of the configuration.
#include "recipes/program/cli.h"
#include "data/base/json_util.h"
#include "data/base/yaml.h"
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// Options that are another word for a setting, in commands that take a configuration.
static const struct alias {
    const char *option, *key;
} aliases[] = {
    { "dtype", "amp.policy" }, { "device", "exec.device" },        { "threads", "exec.threads" },
    { "isa", "exec.isa" },     { "init_from", "train.init_from" }, { "teacher", "distill.teacher" },
};

// Index of `word` in "a|b|c"; -1 if it is not there.
static int word_index(const char *list, const char *word)
{
    int i = 0;
    for (const char *p = list; p && *p; i++) {
        const size_t n = strcspn(p, "|");
        if (strlen(word) == n && strncmp(p, word, n) == 0)
            return i;
        p += n + (p[n] == '|');
    }
    return -1;
}

static hs_status unknown_option(const hs_cli *cli, const char *name)
{
    char buf[HS_KEY_NAME], keys[512];
    const char *near = NULL;
    if (cli->command->takes_config && strchr(name, '.'))
        near = hs_schema_nearest(&cli->table->schema, NULL, name, buf);
    if (!near && cli->command->takes_config && hs_schema_element_keys(&cli->table->schema, name, keys, sizeof keys))
        return HS_FAIL(USAGE, "unknown option --%s of %s; %s", name, cli->command->name, keys);
    if (!near)
        near = hs_schema_nearest(cli->command->options, NULL, name, buf);
    if (!near && cli->command->takes_config)
        near = hs_schema_nearest(&cli->table->schema, NULL, name, buf);
    return HS_FAIL(USAGE, "unknown option --%s of %s%s%s; see halfstep %s --help", name, cli->command->name, near ? ", nearest is --" : "",
                   near ? near : "", cli->command->name);
}

static hs_status override(hs_cli *cli, const char *option, const char *key, const char *value)
{
    if (cli->n_overrides == HS_CLI_MAX)
        return HS_FAIL(USAGE, "more than %d settings on the command line", HS_CLI_MAX);
    hs_override_arg *o = &cli->override[cli->n_overrides++];
    o->value = value;
    snprintf(o->key, sizeof o->key, "%s", key);
    snprintf(o->where, sizeof o->where, "--%s", option);
    return HS_OK;
}

// One option whose name and, if it has one, inline value are known.
static hs_status set_option(hs_cli *cli, const char *name, const char *value)
{
    const hs_command *c = cli->command;
    char where[96];
    snprintf(where, sizeof where, "--%.90s", name);
    for (const hs_spelling *s = c->spellings; s && s->option; s++)
        if (strcmp(name, s->option) == 0 && strcmp(value, s->value) == 0) {
            snprintf(where, sizeof where, "--%s %s", name, value);
            return hs_schema_set(c->options, cli->options, cli->origin, s->instead, s->as, where);
        }
    if (c->takes_config && hs_schema_find(&cli->table->schema, NULL, name).key)
        return override(cli, name, name, value);
    const int i = word_index(c->long_options, name);
    if (i >= 0) {
        cli->long_value[i] = value;
        return HS_OK;
    }
    HS_TRY(hs_schema_set(c->options, cli->options, cli->origin, name, value, where));
    for (int a = 0; c->takes_config && a < HS_COUNT(aliases); a++)
        if (strcmp(name, aliases[a].option) == 0)
            HS_TRY(override(cli, name, aliases[a].key, value));
    return HS_OK;
}

static const hs_key *find(const hs_cli *cli, const char *name)
{
    const hs_key *k = hs_schema_find(cli->command->options, NULL, name).key;
    return !k && cli->command->takes_config ? hs_schema_find(&cli->table->schema, NULL, name).key : k;
}

// argv[*i] is "--something": reads it and, where it needs one, the value behind it.
static hs_status option(hs_cli *cli, int argc, char **argv, int *i)
{
    char name[96];
    const char *text = argv[*i] + 2, *equals = strchr(text, '=');
    const size_t n = equals ? (size_t)(equals - text) : strlen(text);
    if (n >= sizeof name)
        return unknown_option(cli, text);
    memcpy(name, text, n), name[n] = 0;

    const hs_key *k = find(cli, name);
    if (!k && !equals && strncmp(name, "no-", 3) == 0) {
        k = find(cli, name + 3);
        if (k && k->type == HS_KEY_BOOL)
            return set_option(cli, name + 3, "false");
        k = NULL;
    }
    if (!k)
        return unknown_option(cli, name);
    if (equals)
        return set_option(cli, name, equals + 1);
    if (k->type == HS_KEY_BOOL && *i + 1 < argc && (strcmp(argv[*i + 1], "true") == 0 || strcmp(argv[*i + 1], "false") == 0))
        return HS_FAIL(USAGE, "--%s %s: what a switch is set to stands behind =, as in --%s=%s", name, argv[*i + 1], name, argv[*i + 1]);
    if (k->type == HS_KEY_BOOL)
        return set_option(cli, name, "true");
    if (*i + 1 >= argc || (strncmp(argv[*i + 1], "--", 2) == 0 && isalpha((unsigned char)argv[*i + 1][2])))
        return HS_FAIL(USAGE, "--%s needs a value%s%s%s", name, k->choices ? ": " : "", k->choices ? k->choices : "",
                       *i + 1 < argc ? " (one that begins with -- is written --option=VALUE)" : "");
    return set_option(cli, name, argv[++*i]);
}

static hs_status check_count(const hs_cli *cli)
{
    const hs_command *c = cli->command;
    if (hs_cli_common(cli)->help)
        return HS_OK;
    if (cli->n_args < c->min_args)
        return HS_FAIL(USAGE, "%s needs %s; see halfstep %s --help", c->name, c->arguments, c->name);
    for (int i = 0; i < cli->n_args && i < c->max_args; i++)
        if (!cli->arg[i][0]) // "$UNSET" in a script
            return HS_FAIL(USAGE, "%s %s: the argument is empty", c->name, c->arguments);
    if (cli->n_args > c->max_args && strstr(c->arguments, "..."))
        return HS_FAIL(USAGE, "%s takes at most %d arguments, and '%s' is one more; name a folder, or a pattern in quotes", c->name,
                       c->max_args, cli->arg[c->max_args]);
    if (cli->n_args > c->max_args)
        return HS_FAIL(USAGE, "%s takes %s, but got one argument more: '%s'", c->name, c->max_args ? c->arguments : "no argument",
                       cli->arg[c->max_args]);
    return HS_OK;
}

hs_status hs_cli_parse(hs_cli *cli, const hs_config_table *table, const hs_command *command, int argc, char **argv)
{
    *cli = (hs_cli){ .table = table, .command = command };
    cli->options = calloc(1, command->options->struct_bytes);
    cli->origin = calloc((size_t)hs_schema_origins(command->options), sizeof *cli->origin);
    if (!cli->options || !cli->origin)
        return HS_FAIL(MEMORY, "no memory for the options");
    HS_TRY(hs_schema_defaults(command->options, cli->options, cli->origin));
    bool only_arguments = false;
    for (int i = 0; i < argc; i++) {
        if (!only_arguments && strcmp(argv[i], "--") == 0)
            only_arguments = true;
        else if (!only_arguments && strcmp(argv[i], "-h") == 0)
            HS_TRY(set_option(cli, "help", "true"));
        else if (!only_arguments && strcmp(argv[i], "-o") == 0 && hs_schema_find(command->options, NULL, "output").key && i + 1 < argc)
            HS_TRY(set_option(cli, "output", argv[++i]));
        else if (!only_arguments && strncmp(argv[i], "--", 2) == 0)
            HS_TRY(option(cli, argc, argv, &i));
        else if (!only_arguments && argv[i][0] == '-' && argv[i][1])
            return HS_FAIL(USAGE, "unknown option %s of %s: options begin with two dashes", argv[i], command->name);
        else if (cli->n_args < HS_COUNT(cli->arg))
            cli->arg[cli->n_args++] = argv[i];
        else
            return HS_FAIL(USAGE, "more than %d arguments", HS_COUNT(cli->arg));
    }
    return check_count(cli);
}

void hs_cli_free(hs_cli *cli)
{
    free(cli->options);
    free(cli->origin);
    cli->options = NULL, cli->origin = NULL;
}

const char *hs_cli_given_as(const hs_cli *cli, const char *name)
{
    const hs_key_at at = hs_schema_find(cli->command->options, NULL, name);
    const char *text = at.key ? cli->origin[hs_schema_origin(cli->command->options, at)].text : "";
    return strncmp(text, "--", 2) == 0 ? text : NULL;
}

bool hs_cli_given(const hs_cli *cli, const char *name) { return hs_cli_given_as(cli, name) != NULL; }

const char *hs_cli_long(const hs_cli *cli, const char *name) { return cli->long_value[word_index(cli->command->long_options, name)]; }

// The key that decides which others there are, or all others: set twice, it would bring back the defaults of what it chose.
static hs_status apply_overrides(const hs_cli *cli, hs_config *config, bool chooser)
{
    for (int i = 0; i < cli->n_overrides; i++) {
        const hs_override_arg *o = &cli->override[i];
        if ((strcmp(o->key, cli->table->schema.chooser) == 0) == chooser)
            HS_TRY(hs_config_set(config, o->key, o->value, o->where));
    }
    return HS_OK;
}

hs_status hs_cli_config(const hs_cli *cli, const char *file, hs_config *config)
{
    const hs_schema *s = &cli->table->schema;
    char path[4096];
    HS_TRY(hs_config_find(file, path, sizeof path));
    HS_TRY(hs_config_init(config, cli->table));
    HS_TRY(hs_yaml_choose(path, s, config, config->origin)); // which keys there are comes first
    HS_TRY(apply_overrides(cli, config, true));
    HS_TRY(hs_yaml_read(path, s, config, config->origin));
    HS_TRY(apply_overrides(cli, config, false));
    HS_TRY(hs_config_settle_optim(config));
    HS_TRY(hs_config_settle_task(config));
    hs_config_tell_optim(config);
    HS_TRY(hs_config_resolve_paths(config, path));
    return hs_config_fill_phases(config);
}

// ---- JSON lines
json_t *hs_line_real(double v) { return isfinite(v) ? json_real(v) : json_null(); }

json_t *hs_line_text(const char *text, size_t bytes)
{
    json_t *whole = json_stringn(text, bytes);
    if (whole)
        return whole;
    hs_text clean = { 0 };
    hs_text_utf8(&clean, text, bytes);
    whole = clean.failed ? json_null() : json_stringn(clean.p, clean.n);
    hs_text_free(&clean);
    return whole;
}

void hs_line_print(json_t *object)
{
    char *line = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
    if (line) {
        puts(line);
        fflush(stdout);
    }
    free(line);
    json_decref(object);
}

bool hs_cli_many(const hs_cli *cli)
{
    (void)cli;
    return true;
}
