// serve_tokens: a token a line - on a command line every user of the machine could read it.
#include "recipes/program/serve_tokens.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hs_status hs_serve_tokens(const char *path, char **text, const char *token[HS_SERVER_TOKENS], int *n)
{
    enum { MOST = 65536 };
    size_t bytes = 0;
    if (!path[0])
        return HS_OK;
    FILE *f = fopen(path, "re");
    if (!f)
        return HS_FAIL(USAGE, "--token-file %s: %s", path, strerror(errno));
    *text = calloc(1, MOST);
    if (*text)
        bytes = fread(*text, 1, MOST, f);
    fclose(f);
    if (bytes == MOST)
        return HS_FAIL(USAGE, "--token-file %s has %d KiB or more: a file of tokens, a line each, is wanted", path, MOST >> 10);
    if (*text && strlen(*text) != bytes)
        return HS_FAIL(USAGE, "--token-file %s has a NUL byte: a file of tokens, a line each, is wanted", path);
    for (char *save, *t = *text ? strtok_r(*text, "\r\n", &save) : NULL; t; t = strtok_r(NULL, "\r\n", &save)) {
        if (*n == HS_SERVER_TOKENS)
            return HS_FAIL(USAGE, "--token-file %s has more than %d tokens", path, HS_SERVER_TOKENS);
        token[(*n)++] = t;
    }
    return *n ? HS_OK : HS_FAIL(USAGE, "--token-file %s has no token", path);
}
