// cli_session: the checkpoint that a command is given, on the device and in the precision that its options ask for.
#ifndef HS_RECIPES_CLI_SESSION_H
#define HS_RECIPES_CLI_SESSION_H
#include "infer/session/session.h"
#include "recipes/program/cli.h"

// The session is open, without weights; *policy: for hs_session_load, by --dtype; auto is what the checkpoint was trained in, else
// the best of this CPU. On failure too: hs_session_close.
hs_status hs_cli_session(const hs_cli *cli, const char *path, hs_session *s, hs_policy *policy);
// The same of an encoder, in f32 where --dtype is auto: what comes out of it is kept, and compared with what other machines made. masks:
// one that predicts tokens. USAGE: another kind of model..
hs_status hs_cli_encoder(const hs_cli *cli, const char *path, bool masks, hs_session *s, hs_policy *policy);

// What a session that is open computes in, by --dtype; auto: f32 where what comes out is kept and compared (encoders, models with a task),
// else as hs_cli_session.
hs_status hs_cli_policy(const hs_cli *cli, const hs_session *s, hs_policy *policy);

#endif
