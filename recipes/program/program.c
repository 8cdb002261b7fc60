// program: finds the command, reads its options, runs it, says in one line what went wrong.
#include "core/base/log.h"
#include "parallel/parallel.h"
#include "recipes/program/cli.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include <stdlib.h>
#include <string.h>

const hs_command *const hs_commands[] = {
    &hs_cmd_pretrain, &hs_cmd_finetune,  &hs_cmd_distill, &hs_cmd_generate, &hs_cmd_eval,   &hs_cmd_fill_mask,
    &hs_cmd_embed,    &hs_cmd_predict,   &hs_cmd_score,   &hs_cmd_plan,     &hs_cmd_verify, &hs_cmd_bench,
    &hs_cmd_tokenize, &hs_cmd_tokenizer, &hs_cmd_prepare, &hs_cmd_data,     &hs_cmd_export, &hs_cmd_import,
    &hs_cmd_ops,      &hs_cmd_env,       &hs_cmd_help,    &hs_cmd_version,
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

typedef struct program {
    hs_config_table table;
    hs_parallel *parallel;
} program;

// Of several ranks one speaks; what ends the others ends the job, and is printed by hs_parallel_fail.
static void set_log(const program *p, const hs_common *o)
{
    const hs_log_level asked = (hs_log_level)o->log_level, level = o->quiet && asked > HS_LOG_WARN ? HS_LOG_WARN : asked;
    hs_log_set(hs_parallel_world(p->parallel)->rank ? HS_LOG_QUIET : level, NULL, NULL);
}

static hs_status check_many(const program *p, const hs_cli *cli)
{
    const int ranks = hs_parallel_world(p->parallel)->size;
    if (ranks == 1 || (cli->command->many && cli->command->many(cli)))
        return HS_OK;
    return HS_FAIL(USAGE, "halfstep %s runs in one process, and %d ranks of it were started: start it without mpirun (or -np 1)",
                   cli->command->name, ranks);
}

static hs_status run(program *p, const hs_command *c, int argc, char **argv)
{
    hs_cli cli;
    hs_status st = hs_cli_parse(&cli, &p->table, c, argc, argv);
    if (st == HS_OK) {
        const hs_common *o = hs_cli_common(&cli);
        set_log(p, o);
        cli.parallel = p->parallel;
        if (o->help) {
            if (hs_parallel_world(p->parallel)->rank == 0)
                hs_command_help(c, &p->table, o->all);
        } else if ((st = check_many(p, &cli)) == HS_OK) {
            st = c->run(&cli);
        }
    }
    hs_cli_free(&cli);
    return st;
}

static hs_status dispatch(program *p, int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return run(p, &hs_cmd_help, 0, NULL);
    if (strcmp(argv[1], "--version") == 0)
        return run(p, &hs_cmd_version, 0, NULL);
    const hs_command *c = hs_command_find(argv[1]);
    if (!c)
        return argv[1][0] == '-' ? HS_FAIL(USAGE, "the command comes first: halfstep COMMAND %s ...; see halfstep help", argv[1])
                                 : hs_command_unknown(argv[1]);
    return run(p, c, argc - 2, argv + 2);
}

static hs_status start(program *p, int argc, char **argv, const hs_family *const *families)
{
    HS_TRY(hs_parallel_open(&p->parallel));
    HS_TRY(hs_config_table_init(&p->table, families));
    return dispatch(p, argc, argv);
}

static void print_error(hs_status st)
{
    fflush(stdout);
    fprintf(stderr, "halfstep: %s\n", hs_error());
    if (hs_log_get() == HS_LOG_DEBUG)
        fprintf(stderr, "halfstep: %s at %s\n", hs_status_name(st), hs_error_frames());
}

int hs_program(int argc, char **argv, const hs_family *const *families)
{
    program p = { 0 };
    int rank = 0;
    hs_process_begin();
    hs_parallel_launched(&rank);
    hs_status st = start(&p, argc, argv, families);
    if (st == HS_OK)
        st = hs_process_end();
    if (p.parallel && st != HS_OK && st != HS_STOPPED) // a stop is one that all ranks agreed on
        hs_parallel_fail(p.parallel, st);
    if (st != HS_OK && rank == 0)
        print_error(st);
    hs_parallel_close(p.parallel);
    return hs_status_exit(st);
}
