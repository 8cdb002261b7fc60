// tag_spans: edges by the scheme that the labels' prefixes are of.
#include "infer/heads/tag_spans.h"
#include "core/base/grow.h"
#include "data/labelled/tags.h"
#include <stdlib.h>
#include <string.h>

struct hs_tag_spans {
    hs_tag *tag; // [n]
    int n;
    hs_labels types;
    hs_tag_scheme scheme;
    hs_tag_span *span;
    int room;
};

// IOB2, IOE2 or BIOES; spans of IOB1 and IOE1 are told from them only by what stands side by side, and read alike.
static hs_tag_scheme scheme_of(const hs_tag *tag, int n)
{
    bool b = false, e = false, s = false;
    for (int i = 0; i < n; i++)
        b |= tag[i].prefix == 'B', e |= tag[i].prefix == 'E', s |= tag[i].prefix == 'S';
    return s || (b && e) ? HS_TAGS_BIOES : e ? HS_TAGS_IOE2 : HS_TAGS_IOB2;
}

hs_status hs_tag_spans_new(hs_tag_spans **out, const hs_labels *labels)
{
    hs_tag_spans *t = *out = calloc(1, sizeof *t);
    bool spans = false;
    if (!t || !(t->tag = calloc((size_t)labels->n + 1, sizeof *t->tag))) {
        free(t);
        *out = NULL;
        return HS_FAIL(MEMORY, "no memory for %d tags", labels->n);
    }
    t->n = labels->n;
    hs_status st = hs_tags_of(labels, t->tag, &t->types, &spans);
    t->scheme = scheme_of(t->tag, t->n);
    if (st == HS_OK && !spans) {
        hs_labels_free(&t->types);
        st = hs_labels_copy(&t->types, labels);
        for (int i = 0; i < labels->n; i++)
            t->tag[i] = strcmp(labels->name[i], "O") == 0 ? (hs_tag){ 'O', -1 } : (hs_tag){ 'I', i };
    }
    if (st == HS_OK)
        return HS_OK;
    hs_tag_spans_free(t);
    *out = NULL;
    return hs_frame_at(st, __FILE__, __LINE__);
}

void hs_tag_spans_free(hs_tag_spans *t)
{
    if (!t)
        return;
    free(t->tag);
    free(t->span);
    hs_labels_free(&t->types);
    free(t);
}

const hs_labels *hs_tag_spans_types(const hs_tag_spans *t) { return &t->types; }

static hs_tag tag_at(const hs_tag_spans *t, const int32_t *tags, int32_t n, int32_t k)
{
    return k < 0 || k >= n || tags[k] < 0 || tags[k] >= t->n ? (hs_tag){ 'O', -1 } : t->tag[tags[k]];
}

hs_status hs_tag_spans_of(hs_tag_spans *t, const int32_t *tags, const float *scores, int32_t n, const hs_tag_span **out, int *n_out)
{
    int m = 0;
    for (int32_t k = 0; k < n; k++) {
        const hs_tag own = tag_at(t, tags, n, k);
        const hs_tag_edges edges = hs_tag_edges_of(tag_at(t, tags, n, k - 1), own, tag_at(t, tags, n, k + 1), t->scheme);
        if (!edges.inside)
            continue;
        if (edges.first) {
            if (!hs_grow(&t->span, m, &t->room, sizeof *t->span))
                return HS_FAIL(MEMORY, "no memory for %d spans", m + 1);
            t->span[m++] = (hs_tag_span){ .first = k, .type = own.type };
        }
        t->span[m - 1].end = k + 1;
        t->span[m - 1].score += (double)scores[k];
    }
    for (int i = 0; i < m; i++)
        t->span[i].score /= t->span[i].end - t->span[i].first;
    *out = t->span, *n_out = m;
    return HS_OK;
}
