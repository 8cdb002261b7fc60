// cli_session: a session as the options of a command ask for it, for eval, generate, fill-mask and embed.
#include "recipes/program/cli_session.h"
#include <stdlib.h>

// What a checkpoint's resolved configuration names; auto where there is none.
static hs_status trained_in(const hs_config_table *table, const char *dir, hs_dtype_option *found)
{
    hs_config *c;
    HS_TRY(hs_config_of_checkpoint(&c, table, dir));
    *found = c ? (hs_dtype_option)c->amp.policy : HS_DTYPE_AUTO;
    free(c);
    return HS_OK;
}

static hs_status as_trained(const hs_cli *cli, const hs_session *s, hs_policy *policy)
{
    const hs_common *o = hs_cli_common(cli);
    hs_dtype_option dtype = (hs_dtype_option)o->dtype;
    if (dtype == HS_DTYPE_AUTO)
        HS_TRY(trained_in(cli->table, s->dir, &dtype));
    *policy = (hs_policy){ .low = hs_dtype_of_option(dtype, "auto", o->device) };
    return HS_OK;
}

hs_status hs_cli_session(const hs_cli *cli, const char *path, hs_session *s, hs_policy *policy)
{
    const hs_common *o = hs_cli_common(cli);
    HS_TRY(hs_session_open(s, path, o->accept_edited ? HS_CKPT_EDITED : 0, cli->table->families, o->device, (int)o->threads));
    return as_trained(cli, s, policy);
}

hs_status hs_cli_policy(const hs_cli *cli, const hs_session *s, hs_policy *policy)
{
    const bool kept = s->arch.family->batch == HS_BATCH_MASKED || hs_arch_task(s->arch);
    if (!kept || hs_cli_common(cli)->dtype != HS_DTYPE_AUTO)
        return as_trained(cli, s, policy);
    *policy = (hs_policy){ .low = HS_F32 };
    return HS_OK;
}

hs_status hs_cli_encoder(const hs_cli *cli, const char *path, bool masks, hs_session *s, hs_policy *policy)
{
    const hs_dtype_option dtype = (hs_dtype_option)hs_cli_common(cli)->dtype;
    HS_TRY(hs_cli_session(cli, path, s, policy));
    policy->low = dtype == HS_DTYPE_AUTO ? HS_F32 : hs_dtype_of_option(dtype, "auto", s->device->name);
    if (s->arch.family->batch != HS_BATCH_MASKED)
        return HS_FAIL(USAGE, "%s is a %s, which reads from left to right: %s needs an encoder", s->dir, s->arch.family->title,
                       cli->command->name);
    if (masks && !hs_arch_wears(s->arch, HS_LOSS_TOKENS))
        return HS_FAIL(USAGE, "%s is an encoder without a head that predicts tokens: %s needs one (halfstep embed does not)", s->dir,
                       cli->command->name);
    return HS_OK;
}
