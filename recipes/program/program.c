// program: finds the command, reads its options, runs it, says in one line what went wrong.
#include "core/base/log.h"
#include "core/graph/comm.h"
#include "recipes/program/cli.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include <stdlib.h>
#include <string.h>

const hs_command *const hs_commands[] = {
    &hs_cmd_pretrain, &hs_cmd_finetune, &hs_cmd_distill, &hs_cmd_generate, &hs_cmd_eval,     &hs_cmd_fill_mask, &hs_cmd_embed,
    &hs_cmd_predict,  &hs_cmd_score,    &hs_cmd_plan,    &hs_cmd_bench,    &hs_cmd_tokenize, &hs_cmd_tokenizer, &hs_cmd_prepare,
    &hs_cmd_data,     &hs_cmd_export,   &hs_cmd_import,  &hs_cmd_ops,      &hs_cmd_env,      &hs_cmd_help,      &hs_cmd_version,
};
const int hs_n_commands = HS_COUNT(hs_commands);

const hs_command *hs_command_find(const char *name)
{
    for (int i = 0; i < hs_n_commands; i++)
        if (strcmp(hs_commands[i]->name, name) == 0)
            return hs_commands[i];
    return NULL;
}

hs_status hs_command_unknown(const char *name)
{
    const char *names[HS_COUNT(hs_commands)];
    for (int i = 0; i < hs_n_commands; i++)
        names[i] = hs_commands[i]->name;
    const char *near = hs_nearest_word(name, names, hs_n_commands);
    return HS_FAIL(USAGE, "unknown command '%s'%s%s; see halfstep help", name, near ? ", nearest is " : "", near ? near : "");
}

static hs_status run(const hs_config_table *table, const hs_command *c, int argc, char **argv)
{
    hs_cli cli;
    hs_status st = hs_cli_parse(&cli, table, c, argc, argv);
    if (st == HS_OK) {
        const hs_common *o = hs_cli_common(&cli);
        hs_log_set(o->quiet && o->log_level > HS_LOG_WARN ? HS_LOG_WARN : (hs_log_level)o->log_level, NULL, NULL);
        if (o->help)
            hs_command_help(c, table, o->all);
        else if ((st = hs_grid_check_launch()) == HS_OK)
            st = c->run(&cli);
    }
    hs_cli_free(&cli);
    return st;
}

static hs_status dispatch(const hs_config_table *table, int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return run(table, &hs_cmd_help, 0, NULL);
    if (strcmp(argv[1], "--version") == 0)
        return run(table, &hs_cmd_version, 0, NULL);
    const hs_command *c = hs_command_find(argv[1]);
    if (!c)
        return argv[1][0] == '-' ? HS_FAIL(USAGE, "the command comes first: halfstep COMMAND %s ...; see halfstep help", argv[1])
                                 : hs_command_unknown(argv[1]);
    return run(table, c, argc - 2, argv + 2);
}

static hs_status start(int argc, char **argv, const hs_family *const *families)
{
    hs_config_table table;
    HS_TRY(hs_config_table_init(&table, families));
    return dispatch(&table, argc, argv);
}

int hs_program(int argc, char **argv, const hs_family *const *families)
{
    hs_process_begin();
    hs_status st = start(argc, argv, families);
    if (st == HS_OK)
        st = hs_process_end();
    if (st == HS_OK)
        return 0;
    fflush(stdout);
    fprintf(stderr, "halfstep: %s\n", hs_error());
    if (hs_log_get() == HS_LOG_DEBUG)
        fprintf(stderr, "halfstep: %s at %s\n", hs_status_name(st), hs_error_frames());
    return hs_status_exit(st);
}
