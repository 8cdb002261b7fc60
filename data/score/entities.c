// entities: where chunks begin and end. The default mode is conlleval's rule with E and S understood; the strict one is a table of pairs of
// prefixes by scheme, seqeval's own, with what is odd about them (IOE1).
#include "data/score/entities.h"
#include "data/base/utf8.h"
#include <stdlib.h>
#include <string.h>

// ---- tags

// What is left of a tag is its type. seqeval's default mode takes what is behind the first hyphen of the rest, its strict mode strips
// hyphens from both ends.
static hs_status seqeval_tag(hs_chunk_tag *out, const char *name, bool strict, hs_labels *types)
{
    int n = 0;
    out->prefix = hs_utf8_next((const unsigned char *)name, strlen(name) + 1, &n);
    const char *type = name[0] ? name + n : "";
    const char *hyphen = strchr(type, '-');
    if (!strict) {
        type = hyphen ? hyphen + 1 : type;
        return hs_labels_add(types, type[0] ? type : "_", &out->type);
    }
    type += strspn(type, "-");
    char *bare = strdup(type);
    if (!bare)
        return HS_FAIL(MEMORY, "no memory for a type");
    for (size_t end = strlen(bare); end > 0 && bare[end - 1] == '-'; end--)
        bare[end - 1] = '\0';
    const hs_status st = hs_labels_add(types, bare[0] ? bare : "_", &out->type);
    free(bare);
    return st;
}

static hs_status conlleval_tag(hs_chunk_tag *out, const char *name, hs_labels *types)
{
    const char *hyphen = strchr(name, '-');
    const size_t n = hyphen ? (size_t)(hyphen - name) : strlen(name);
    out->prefix = n == 1 ? (unsigned char)name[0] : 0;
    return hs_labels_add(types, hyphen ? hyphen + 1 : "", &out->type);
}

hs_status hs_tags_read(hs_chunk_tag *out, const hs_labels *tags, hs_entity_mode mode, hs_labels *types)
{
    HS_TRY(hs_labels_add(types, mode == HS_ENTITY_CONLLEVAL ? "" : "_", NULL));
    for (int i = 0; i < tags->n; i++)
        if (mode == HS_ENTITY_CONLLEVAL)
            HS_TRY(conlleval_tag(&out[i], tags->name[i], types));
        else
            HS_TRY(seqeval_tag(&out[i], tags->name[i], mode == HS_ENTITY_STRICT, types));
    return HS_OK;
}

bool hs_tags_are_chunks(const hs_labels *tags)
{
    for (int i = 0; i < tags->n; i++) {
        const char *t = tags->name[i];
        if (strcmp(t, "O") != 0 && !(t[0] && strchr("BIESUL", t[0]) && t[1] == '-' && t[2]))
            return false;
    }
    return tags->n > 0;
}

// ---- default mode

static bool one_of(uint32_t prefix, const char *set) { return prefix && prefix < 128 && strchr(set, (int)prefix); }

static bool ends_before(hs_chunk_tag last, hs_chunk_tag now)
{
    return one_of(last.prefix, "ES") || (one_of(last.prefix, "BI") && one_of(now.prefix, "BSO")) ||
           (!one_of(last.prefix, "O.") && last.type != now.type);
}

static bool begins_at(hs_chunk_tag last, hs_chunk_tag now)
{
    return one_of(now.prefix, "BS") || (one_of(last.prefix, "ESO") && one_of(now.prefix, "EI")) ||
           (!one_of(now.prefix, "O.") && last.type != now.type);
}

int64_t hs_chunks_default(const hs_chunk_tag *tags, const int32_t *ids, int64_t n, int last_type, hs_chunk *out)
{
    const hs_chunk_tag outside = { 'O', 0 };
    hs_chunk_tag last = { 'O', last_type };
    int64_t begin = 0, found = 0;
    for (int64_t i = 0; i <= n; i++) {
        const hs_chunk_tag now = i < n ? tags[ids[i]] : outside;
        if (ends_before(last, now))
            out[found++] = (hs_chunk){ last.type, begin, i - 1 };
        if (begins_at(last, now))
            begin = i;
        last = now;
    }
    return found;
}

// ---- strict mode

enum { I = 1, O = 2, B = 4, E = 8, S = 16, U = 32, L = 64, ANY = 127 };
enum { EITHER, SAME, DIFFERENT }; // types
typedef struct pattern {
    unsigned char last, now, types; // last 0: the list ends
} pattern;
typedef struct scheme {
    const char *name, *prefixes;
    unsigned allowed;
    pattern start[8], inside[5], end[8];
} scheme;

static const scheme schemes[HS_SCHEMES] = {
    [HS_SCHEME_AUTO] = { .name = "auto" },
    [HS_SCHEME_IOB1] = { "iob1",
                         "I, O or B",
                         I | O | B,
                         { { O, I, EITHER }, { I, I, DIFFERENT }, { B, I, EITHER }, { I, B, SAME }, { B, B, SAME } },
                         { { B, I, SAME }, { I, I, SAME } },
                         { { I, I, DIFFERENT }, { I, O | B, EITHER }, { B, O, EITHER }, { B, I, DIFFERENT }, { B, B, SAME } } },
    [HS_SCHEME_IOB2] = { "iob2",
                         "I, O or B",
                         I | O | B,
                         { { ANY, B, EITHER } },
                         { { B | I, I, SAME } },
                         { { I, O | B, EITHER }, { I, I, DIFFERENT }, { B, O | B, EITHER }, { B, I, DIFFERENT } } },
    [HS_SCHEME_IOE1] = { "ioe1",
                         "I, O or E",
                         I | O | E,
                         { { O, I, EITHER }, { I, I, DIFFERENT }, { E, I, EITHER }, { E, E, SAME } },
                         { { I, I | E, SAME } },
                         { { I, I, DIFFERENT }, { I, O, EITHER }, { I, E, DIFFERENT }, { E, I | E, SAME } } },
    [HS_SCHEME_IOE2] = { "ioe2",
                         "I, O or E",
                         I | O | E,
                         { { O | E, I | E, EITHER }, { I, I | E, DIFFERENT } },
                         { { I, I | E, SAME } },
                         { { E, ANY, EITHER } } },
    [HS_SCHEME_IOBES] = { "iobes",
                          "I, O, B, E or S",
                          I | O | B | E | S,
                          { { ANY, B | S, EITHER } },
                          { { B | I, I | E, SAME } },
                          { { S | E, ANY, EITHER } } },
    [HS_SCHEME_BILOU] = { "bilou",
                          "B, I, L, O or U",
                          B | I | L | O | U,
                          { { ANY, B | U, EITHER } },
                          { { B | I, I | L, SAME } },
                          { { U | L, ANY, EITHER } } },
};

static unsigned bit_of(uint32_t prefix)
{
    static const char letters[] = "IOBESUL";
    const char *at = one_of(prefix, letters) ? strchr(letters, (int)prefix) : NULL;
    return at ? 1u << (at - letters) : 0;
}

bool hs_scheme_has(hs_entity_scheme s, uint32_t prefix) { return bit_of(prefix) & schemes[s].allowed; }
const char *hs_scheme_prefixes(hs_entity_scheme s) { return schemes[s].prefixes; }
const char *hs_scheme_name(hs_entity_scheme s) { return schemes[s].name; }

static bool matches(const pattern *p, hs_chunk_tag last, hs_chunk_tag now)
{
    const unsigned from = bit_of(last.prefix), to = bit_of(now.prefix);
    for (; p->last; p++)
        if (p->last & from && p->now & to && (p->types == EITHER || (p->types == SAME) == (last.type == now.type)))
            return true;
    return false;
}

int64_t hs_chunks_strict(const hs_chunk_tag *tags, const int32_t *ids, int64_t n, hs_entity_scheme which, hs_chunk *out)
{
    const scheme *s = &schemes[which];
    const hs_chunk_tag outside = { 'O', 0 };
    hs_chunk_tag last = outside;
    int64_t found = 0;
    for (int64_t i = 0; i < n;) {
        const hs_chunk_tag first = tags[ids[i]];
        int64_t end = i + 1;
        if (matches(s->start, last, first)) {
            while (end < n && matches(s->inside, tags[ids[end - 1]], tags[ids[end]]))
                end++;
            if (matches(s->end, tags[ids[end - 1]], end < n ? tags[ids[end]] : outside))
                out[found++] = (hs_chunk){ first.type, i, end };
        }
        last = tags[ids[end - 1]];
        i = end;
    }
    return found;
}

hs_status hs_scheme_detect(const hs_chunk_tag *tags, const int32_t *ids, int64_t n, hs_entity_scheme *out)
{
    // seqeval's list: sets of prefixes that are a scheme's; O alone, where nothing was tagged, is IOB2's here
    static const struct {
        hs_entity_scheme scheme;
        unsigned char sets[10];
    } known[] = {
        { HS_SCHEME_IOB2, { I | O | B, I | B, B | O, B, O } },
        { HS_SCHEME_IOE2, { I | O | E, I | E, E | O, E } },
        { HS_SCHEME_IOBES, { I | O | B | E | S, I | B | E | S, I | O | B | E, O | B | E | S, I | B | E, B | E | S, O | B | E, B | E, S } },
        { HS_SCHEME_BILOU, { I | O | B | L | U, I | B | L | U, I | O | B | L, O | B | L | U, I | B | L, B | L | U, O | B | L, B | L, U } },
    };
    unsigned set = 0;
    bool foreign = false;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] >= 0) {
            const unsigned bit = bit_of(tags[ids[i]].prefix);
            set |= bit, foreign = foreign || !bit;
        }
    for (int k = 0; k < HS_COUNT(known) && !foreign; k++)
        if (set && memchr(known[k].sets, (int)set, sizeof known[k].sets)) {
            *out = known[k].scheme;
            return HS_OK;
        }
    char prefixes[24] = "";
    for (int k = 0, at = 0; k < 7; k++)
        if (set >> k & 1)
            prefixes[at++] = "IOBESUL"[k], prefixes[at++] = ' ';
    return HS_FAIL(USAGE, "the gold tags begin with %s%s: not the prefixes of iob2, ioe2, iobes or bilou; give the scheme", prefixes,
                   foreign ? "and with other letters" : "alone");
}
