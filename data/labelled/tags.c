// tags: each scheme is which neighbours a tag may have, and what a span's edges are by them.
#include "data/labelled/tags.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const hs_tag_scheme_names[HS_TAG_SCHEMES] = {
    [HS_TAGS_AUTO] = "auto", [HS_TAGS_PLAIN] = "plain", [HS_TAGS_IOB1] = "IOB1",   [HS_TAGS_IOB2] = "IOB2",
    [HS_TAGS_IOE1] = "IOE1", [HS_TAGS_IOE2] = "IOE2",   [HS_TAGS_BIOES] = "BIOES",
};

static char prefix_of(char c)
{
    static const char from[] = "BIESLUM", to[] = "BIESESI";
    const char *p = c ? strchr(from, c) : NULL;
    return p ? to[p - from] : 0;
}

hs_status hs_tags_of(const hs_labels *labels, hs_tag *tag, hs_labels *types, bool *spans)
{
    int n_spans = 0, others = 0;
    *types = (hs_labels){ 0 };
    for (int i = 0; i < labels->n; i++) {
        const char *name = labels->name[i];
        tag[i] = (hs_tag){ .type = -1 };
        if (strcmp(name, "O") == 0) {
            tag[i].prefix = 'O';
        } else if (prefix_of(name[0]) && name[1] == '-' && name[2]) {
            tag[i].prefix = prefix_of(name[0]);
            HS_TRY(hs_labels_add(types, name + 2, &tag[i].type));
            n_spans++;
        } else {
            others++;
        }
    }
    *spans = others == 0 && labels->n > 0 && (n_spans > 0 || labels->n == 1);
    for (int i = 0; i < labels->n && !*spans; i++)
        tag[i] = (hs_tag){ .type = -1 };
    return HS_OK;
}

static hs_tag tag_at(const hs_example *e, const hs_tag *tag, int32_t word)
{
    const int32_t label = word >= 0 && word < e->n ? e->labels[word] : -1;
    return label >= 0 ? tag[label] : (hs_tag){ 'O', -1 };
}

// What a span may have: 0 anything, else the neighbour must be of the same type and have one of these prefixes.
typedef struct rule {
    hs_tag_scheme scheme;
    char prefix;
    const char *before, *behind;
} rule;
static const rule rules[] = {
    { HS_TAGS_IOB1, 'B', "BI", 0 },  { HS_TAGS_IOB1, 'I', 0, 0 },        { HS_TAGS_IOB2, 'B', 0, 0 },     { HS_TAGS_IOB2, 'I', "BI", 0 },
    { HS_TAGS_IOE1, 'E', 0, "IE" },  { HS_TAGS_IOE1, 'I', 0, 0 },        { HS_TAGS_IOE2, 'E', 0, 0 },     { HS_TAGS_IOE2, 'I', 0, "IE" },
    { HS_TAGS_BIOES, 'B', 0, "IE" }, { HS_TAGS_BIOES, 'I', "BI", "IE" }, { HS_TAGS_BIOES, 'E', "BI", 0 }, { HS_TAGS_BIOES, 'S', 0, 0 },
};

static const rule *rule_of(hs_tag_scheme scheme, char prefix)
{
    for (int i = 0; i < HS_COUNT(rules); i++)
        if (rules[i].scheme == scheme && rules[i].prefix == prefix)
            return &rules[i];
    return NULL;
}

static bool may_stand(hs_tag own, hs_tag other, const char *allowed)
{
    return !allowed || (other.type == own.type && other.prefix && strchr(allowed, other.prefix));
}

static const char *label_at(const hs_example *e, const hs_labels *labels, int32_t word)
{
    if (word < 0 || word >= e->n)
        return word < 0 ? "the beginning of its sentence" : "the end of its sentence";
    return e->labels[word] < 0 ? "O" : labels->name[e->labels[word]];
}

// False: the tag at this word is as the scheme wants it.
static bool is_fault(const hs_example *e, const hs_tag *tag, const hs_labels *labels, hs_tag_scheme scheme, int32_t word, char *what,
                     size_t size)
{
    const hs_tag own = tag_at(e, tag, word);
    if (own.prefix == 'O' || scheme == HS_TAGS_PLAIN)
        return false;
    const rule *r = rule_of(scheme, own.prefix);
    const char *name = label_at(e, labels, word);
    if (!r) {
        snprintf(what, size, "%.40s, which %s does not have", name, hs_tag_scheme_names[scheme]);
        return true;
    }
    const bool before = !may_stand(own, tag_at(e, tag, word - 1), r->before), behind = !may_stand(own, tag_at(e, tag, word + 1), r->behind);
    if (before)
        snprintf(what, size, "%.40s behind %.40s", name, label_at(e, labels, word - 1));
    else if (behind)
        snprintf(what, size, "%.40s before %.40s", name, label_at(e, labels, word + 1));
    return before || behind;
}

bool hs_tags_fault(const hs_example *e, int64_t n, const hs_tag *tag, const hs_labels *labels, hs_tag_scheme scheme, hs_tag_fault *fault)
{
    for (int64_t i = 0; i < n; i++)
        for (int32_t k = 0; k < e[i].n; k++)
            if (is_fault(&e[i], tag, labels, scheme, k, fault->what, sizeof fault->what)) {
                fault->example = i, fault->word = k;
                return true;
            }
    return false;
}

// The schemes that these prefixes may be of, the likelier first.
static int candidates(const hs_tag *tag, const hs_labels *labels, const bool *seen, hs_tag_scheme out[2])
{
    bool b = false, e = false, s = false;
    for (int i = 0; i < labels->n; i++) {
        b |= seen[i] && tag[i].prefix == 'B';
        e |= seen[i] && tag[i].prefix == 'E';
        s |= seen[i] && tag[i].prefix == 'S';
    }
    if (s || (b && e)) {
        out[0] = HS_TAGS_BIOES;
        return 1;
    }
    out[0] = e ? HS_TAGS_IOE2 : HS_TAGS_IOB2;
    out[1] = e ? HS_TAGS_IOE1 : HS_TAGS_IOB1;
    return 2;
}

hs_tag_scheme hs_tags_scheme(const hs_example *e, int64_t n, const hs_tag *tag, const hs_labels *labels, hs_tag_fault fault[2],
                             int *n_faults)
{
    hs_tag_scheme may_be[2];
    bool *seen = calloc((size_t)labels->n + 1, sizeof *seen);
    *n_faults = 0;
    if (!seen)
        return HS_TAGS_AUTO;
    for (int64_t i = 0; i < n; i++)
        for (int32_t k = 0; k < e[i].n; k++)
            if (e[i].labels[k] >= 0)
                seen[e[i].labels[k]] = true;
    const int n_may = candidates(tag, labels, seen, may_be);
    free(seen);
    for (int i = 0; i < n_may; i++)
        if (!hs_tags_fault(e, n, tag, labels, may_be[i], &fault[i])) {
            *n_faults = 0;
            return may_be[i];
        } else {
            *n_faults = i + 1;
        }
    return HS_TAGS_AUTO;
}

hs_tag_edges hs_tag_edges_of(hs_tag before, hs_tag own, hs_tag behind, hs_tag_scheme scheme)
{
    if (own.type < 0)
        return (hs_tag_edges){ 0 };
    const bool joins = before.type == own.type, joined = behind.type == own.type;
    const char p = own.prefix;
    switch (scheme) {
    case HS_TAGS_IOB1:
    case HS_TAGS_IOB2: // an I that follows nothing begins, as conlleval has it
        return (hs_tag_edges){ true, p == 'B' || !joins, !joined || behind.prefix == 'B' };
    case HS_TAGS_IOE1:
    case HS_TAGS_IOE2:
        return (hs_tag_edges){ true, !joins || before.prefix == 'E', p == 'E' || !joined };
    default:
        return (hs_tag_edges){ true, p == 'B' || p == 'S' || !joins || before.prefix == 'E' || before.prefix == 'S',
                               p == 'E' || p == 'S' || !joined || behind.prefix == 'B' || behind.prefix == 'S' };
    }
}

char hs_tag_prefix(hs_tag_edges own, bool same_before, bool same_behind, hs_tag_scheme to)
{
    if (!own.inside)
        return 'O';
    switch (to) {
    case HS_TAGS_IOB1:
        return own.first && same_before ? 'B' : 'I';
    case HS_TAGS_IOE1:
        return own.last && same_behind ? 'E' : 'I';
    case HS_TAGS_IOE2:
        return own.last ? 'E' : 'I';
    case HS_TAGS_BIOES:
        return own.first && own.last ? 'S' : own.first ? 'B' : own.last ? 'E' : 'I';
    default:
        return own.first ? 'B' : 'I';
    }
}
