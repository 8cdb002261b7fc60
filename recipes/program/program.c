// program: finds the command, reads its options, runs it, says in one line what went wrong.
#include "core/base/log.h"
#include "parallel/parallel.h"
#include "recipes/program/cli.h"
#include "recipes/program/commands.h"
#include "recipes/program/process.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const hs_command *const hs_commands[] = {
    &hs_cmd_pretrain, &hs_cmd_finetune,  &hs_cmd_distill, &hs_cmd_generate, &hs_cmd_eval,   &hs_cmd_fill_mask,
    &hs_cmd_embed,    &hs_cmd_predict,   &hs_cmd_score,   &hs_cmd_plan,     &hs_cmd_verify, &hs_cmd_bench,
    &hs_cmd_tokenize, &hs_cmd_tokenizer, &hs_cmd_prepare, &hs_cmd_data,     &hs_cmd_export, &hs_cmd_import,
    &hs_cmd_quantize, &hs_cmd_prune,     &hs_cmd_serve,   &hs_cmd_perf,     &hs_cmd_ops,    &hs_cmd_env,
    &hs_cmd_help,     &hs_cmd_version,
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
    hs_parallel *parallel; // NULL: apart
    int rank, ranks;       // that the launcher started
    char apart[512];       // why they do not come together
} program;

static bool is_first(const program *p) { return p->parallel ? hs_parallel_world(p->parallel)->rank == 0 : p->rank == 0; }

// Of several ranks one speaks; what ends the others ends the job, and is printed by hs_parallel_fail.
static void set_log(const program *p, const hs_common *o)
{
    const hs_log_level asked = (hs_log_level)o->log_level, level = o->quiet && asked > HS_LOG_WARN ? HS_LOG_WARN : asked;
    hs_log_set(is_first(p) ? level : HS_LOG_QUIET, NULL, NULL);
}

static hs_status check_many(const program *p, const hs_cli *cli)
{
    const int ranks = p->parallel ? hs_parallel_world(p->parallel)->size : 1;
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
        cli.parallel = p->parallel, cli.apart = p->apart[0] ? p->apart : NULL;
        if (o->help) {
            if (is_first(p))
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

// Help and what a bug report needs are to be had where ranks do not come together, of all places.
static bool goes_alone(int argc, char **argv)
{
    const hs_command *c = argc > 1 ? hs_command_find(argv[1]) : NULL;
    bool help = argc < 2;
    for (int i = 1; i < argc; i++)
        help |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0 || (i == 1 && strcmp(argv[i], "--version") == 0);
    return help || (c && c->alone_too);
}

static hs_status start(program *p, int argc, char **argv, const hs_family *const *families)
{
    const hs_command *c = argc > 1 ? hs_command_find(argv[1]) : NULL;
    if (c && c->trains) // also while ranks come together
        hs_signals_catch(p->rank == 0);
    const hs_status st = hs_parallel_open(&p->parallel);
    if (st != HS_OK && !goes_alone(argc, argv))
        return hs_frame_at(st, __FILE__, __LINE__);
    if (st != HS_OK)
        snprintf(p->apart, sizeof p->apart, "%s", hs_error());
    HS_TRY(hs_config_table_init(&p->table, families));
    return dispatch(p, argc, argv);
}

// Of ranks that did not come together each says what it met: nobody can say it for another.
static void print_error(const program *p, hs_status st)
{
    char host[256] = "", where[300] = "";
    if (!p->parallel && p->ranks > 1) {
        gethostname(host, sizeof host - 1);
        snprintf(where, sizeof where, "rank %d (%s): ", p->rank, host);
    }
    fflush(stdout);
    fprintf(stderr, "halfstep: %s%s\n", where, hs_error());
    if (hs_log_get() == HS_LOG_DEBUG)
        fprintf(stderr, "halfstep: %s at %s\n", hs_status_name(st), hs_error_frames());
}

int hs_program(int argc, char **argv, const hs_family *const *families)
{
    program p = { 0 };
    hs_process_begin();
    p.ranks = hs_parallel_launched(&p.rank);
    hs_status st = start(&p, argc, argv, families);
    if (st == HS_OK)
        st = hs_process_end();
    if (p.parallel && st != HS_OK && st != HS_STOPPED) // a stop is one that all ranks agreed on
        hs_parallel_fail(p.parallel, st);
    if (st != HS_OK && (!p.parallel || is_first(&p)))
        print_error(&p, st);
    hs_parallel_close(p.parallel);
    return hs_status_exit(st);
}
