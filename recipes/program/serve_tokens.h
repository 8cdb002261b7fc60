// serve_tokens: the tokens that clients of a server must send one of, from a file (--token-file).
#ifndef HS_RECIPES_SERVE_TOKENS_H
#define HS_RECIPES_SERVE_TOKENS_H
#include "infer/server/server.h"

// path "": none. token: of *text, which is the caller's to free, after an error too. USAGE: a file that cannot be read, is none of tokens,
// or has too many.
hs_status hs_serve_tokens(const char *path, char **text, const char *token[HS_SERVER_TOKENS], int *n);

#endif
