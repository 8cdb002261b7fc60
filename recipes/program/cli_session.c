// cli_session: a session as the options of a command ask for it, for eval and generate.
#include "recipes/program/cli_session.h"
#include "data/base/yaml.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// What a checkpoint's resolved configuration names; auto where there is none.
static hs_dtype_option trained_in(const hs_config_table *table, const char *dir)
{
    char path[4200];
    hs_dtype_option found = HS_DTYPE_AUTO;
    hs_config *c = malloc(sizeof *c);
    snprintf(path, sizeof path, "%s/train/config.yaml", dir);
    if (c && access(path, R_OK) == 0 && hs_config_init(c, table) == HS_OK && hs_yaml_load(path, &table->schema, c, c->origin) == HS_OK)
        found = (hs_dtype_option)c->amp.policy;
    free(c);
    return found;
}

hs_status hs_cli_session(const hs_cli *cli, const char *path, hs_session *s, hs_policy *policy)
{
    const hs_common *o = hs_cli_common(cli);
    hs_dtype_option dtype = (hs_dtype_option)o->dtype;
    HS_TRY(hs_session_open(s, path, cli->table->families, o->device, (int)o->threads));
    if (dtype == HS_DTYPE_AUTO)
        dtype = trained_in(cli->table, s->dir);
    *policy = (hs_policy){ .low = hs_dtype_of_option(dtype) };
    return HS_OK;
}
