// cli_session: a session as the options of a command ask for it, for eval and generate.
#include "recipes/program/cli_session.h"
#include "core/cpu/cpu.h"
#include "data/base/yaml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

hs_status hs_cli_policy(int dtype_option, const char *trained, hs_policy *out)
{
    static const char *const names[] = { [HS_DTYPE_FP32] = "fp32", [HS_DTYPE_BF16] = "bf16", [HS_DTYPE_FP16] = "fp16" };
    const char *name = names[dtype_option];
    if (dtype_option == HS_DTYPE_AUTO)
        name = trained && strcmp(trained, "auto") != 0 ? trained : hs_cpu_has_fast_bf16() ? "bf16" : "fp32";
    return hs_policy_parse(out, name, "f32", "");
}

// The policy a checkpoint's resolved configuration names; "auto" where there is none.
static void trained_policy(const hs_config_table *table, const char *dir, char *buf, size_t size)
{
    char path[4200];
    hs_config *c = malloc(sizeof *c);
    snprintf(path, sizeof path, "%s/train/config.yaml", dir);
    snprintf(buf, size, "auto");
    if (c && access(path, R_OK) == 0 && hs_config_init(c, table) == HS_OK && hs_yaml_load(path, &table->schema, c, c->origin) == HS_OK)
        hs_config_text(c, "amp.policy", buf, size);
    free(c);
}

hs_status hs_cli_session(const hs_cli *cli, const char *path, hs_session *s, hs_policy *policy)
{
    const hs_common *o = hs_cli_common(cli);
    char trained[16];
    HS_TRY(hs_session_open(s, path, cli->table->families, o->device, (int)o->threads));
    trained_policy(cli->table, s->dir, trained, sizeof trained);
    return hs_cli_policy(o->dtype, trained, policy);
}
