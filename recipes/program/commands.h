// commands: one entry per command, each in cmd_NAME.c.
#ifndef HS_RECIPES_COMMANDS_H
#define HS_RECIPES_COMMANDS_H
#include "recipes/program/cli.h"

extern const hs_command hs_cmd_pretrain, hs_cmd_finetune, hs_cmd_distill, hs_cmd_generate, hs_cmd_eval, hs_cmd_plan, hs_cmd_bench,
    hs_cmd_ops, hs_cmd_env, hs_cmd_help, hs_cmd_tokenize, hs_cmd_tokenizer, hs_cmd_prepare, hs_cmd_data, hs_cmd_version, hs_cmd_verify,
    hs_cmd_fill_mask, hs_cmd_embed, hs_cmd_score, hs_cmd_export, hs_cmd_import, hs_cmd_predict, hs_cmd_quantize, hs_cmd_prune, hs_cmd_serve,
    hs_cmd_perf;

// A task's name ("sequence") stands for the recipe that ships for it; else a file, or a recipe's name. USAGE: none of these.
hs_status hs_finetune_file(const char *arg, char *file, size_t size);

#endif
