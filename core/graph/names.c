// names: rules with a hole for a layer's number, and parameters that other tools keep in several tensors.
#include "core/graph/names.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Does `name` read as `pattern`, whose %d (at most one) stands for a decimal number? *number: -1 without a %d.
static bool name_matches(const char *pattern, const char *name, long *number)
{
    const char *hole = strstr(pattern, "%d");
    *number = -1;
    if (!hole)
        return !strcmp(pattern, name);
    const size_t head = (size_t)(hole - pattern);
    if (strncmp(pattern, name, head) || name[head] < '0' || name[head] > '9')
        return false;
    char *end;
    *number = strtol(name + head, &end, 10);
    return !strcmp(end, hole + 2);
}

// The rule from *at on that matches; *at is then behind it.
static const hs_name_rule *next_rule(const hs_name_rule *rules, int n, int *at, const char *ours, char *buf, size_t size)
{
    while (*at < n) {
        const hs_name_rule *r = &rules[(*at)++];
        long number;
        if (!name_matches(r->ours, ours, &number))
            continue;
        const char *hole = strstr(r->theirs, "%d");
        if (hole)
            snprintf(buf, size, "%.*s%ld%s", (int)(hole - r->theirs), r->theirs, number, hole + 2);
        else
            snprintf(buf, size, "%s", r->theirs);
        return r;
    }
    return NULL;
}

const char *hs_name_to_theirs(const hs_name_rule *rules, int n, const char *ours, char *buf, size_t size, const hs_name_rule **rule)
{
    int at = 0;
    const hs_name_rule *r = next_rule(rules, n, &at, ours, buf, size);
    if (r && rule)
        *rule = r;
    return r ? buf : NULL;
}

static hs_status check_parts(const char *ours, int parts, const hs_name_piece *piece, int n)
{
    unsigned seen = 0;
    for (int i = 0; i < n; i++)
        seen |= 1u << piece[i].part;
    const unsigned wanted = n == 1 && piece[0].part == 0 ? 1u : ((1u << parts) - 1) << 1;
    if (seen == wanted && (n == 1 || n == parts))
        return HS_OK;
    return HS_FAIL(INTERNAL, "%d name rules do not give each of the %d parts of %s its name", n, parts, ours);
}

hs_status hs_name_pieces(const hs_name_rule *rules, int n, const char *ours, int parts, hs_name_piece piece[HS_NAME_PIECES], int *n_pieces)
{
    char name[HS_NAME_BYTES];
    const hs_name_rule *r;
    *n_pieces = 0;
    for (int at = 0; (r = next_rule(rules, n, &at, ours, name, sizeof name)) != NULL;) {
        if (*n_pieces > 0 && r->part == 0)
            continue; // behind the first match
        if (*n_pieces == HS_NAME_PIECES || r->part < 0 || r->part > parts || (r->part > 0 && parts > HS_NAME_PIECES))
            return HS_FAIL(INTERNAL, "name rule %s: part %d, %s has %d, at most %d can be named", r->ours, r->part, ours, parts,
                           HS_NAME_PIECES);
        hs_name_piece *p = &piece[(*n_pieces)++];
        *p = (hs_name_piece){ .transposed = r->transposed, .part = r->part };
        memcpy(p->name, name, sizeof name);
        if (r->part == 0)
            break;
    }
    if (*n_pieces == 0) {
        *n_pieces = 1;
        piece[0] = (hs_name_piece){ 0 };
        snprintf(piece[0].name, sizeof piece[0].name, "%s", ours);
    }
    for (int i = 0; i < *n_pieces; i++)
        if (strlen(piece[i].name) + 1 >= HS_NAME_BYTES)
            return HS_FAIL(USAGE, "parameter name of more than %d bytes: %.80s...", HS_NAME_BYTES - 2, ours);
    return check_parts(ours, parts, piece, *n_pieces);
}
