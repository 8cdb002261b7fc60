// cli_session: the checkpoint that a command is given, on the device and in the precision that its options ask for.
#ifndef HS_RECIPES_CLI_SESSION_H
#define HS_RECIPES_CLI_SESSION_H
#include "infer/session/session.h"
#include "recipes/program/cli.h"

// The session is open, without weights; *policy: for hs_session_load. On failure too: hs_session_close.
hs_status hs_cli_session(const hs_cli *cli, const char *path, hs_session *s, hs_policy *policy);

// --dtype in words of a policy; auto: `trained` (may be NULL) if known, else the CPU's best.
hs_status hs_cli_policy(int dtype_option, const char *trained, hs_policy *out);

#endif
