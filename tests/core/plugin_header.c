// The C side of plugin_header.cu: both compilers lay out every shared struct alike, and C can call what the entry holds.
#include "tests/core/plugin_facts.h"
#include <stdio.h>
#include <string.h>

static const hs_plugin_fact here[] = { HS_PLUGIN_FACTS(HS_PLUGIN_SIZE, HS_PLUGIN_OFFSET) };

int main(void)
{
    int wrong = hs_plugin_n_facts != HS_COUNT(here);
    for (int i = 0; !wrong && i < HS_COUNT(here); i++)
        if (strcmp(here[i].name, hs_plugin_facts[i].name) || here[i].bytes != hs_plugin_facts[i].bytes) {
            printf("%s: %zu in C, %zu in the plug-in\n", here[i].name, here[i].bytes, hs_plugin_facts[i].bytes);
            wrong = 1;
        }

    hs_tensor x = { .dtype = HS_BF16, .n_dims = 2, .dim = { 3, 8 } };
    const hs_node n = { .in = { &x } };
    const hs_kernels *k = &hs_plugin_scale;
    wrong |= !k->fwd || !k->bwd || k->fwd_part != HS_PART_ROWS || k->syncs_first;
    wrong |= k->scratch(&n, 2, true).shared != 48 || k->scratch(&n, 2, true).per_thread != 2;
    wrong |= !k->decline(&n);
    x.dtype = HS_F32;
    wrong |= k->decline(&n) != NULL;
    puts(wrong ? "the two compilers disagree" : "the two compilers agree");
    return wrong;
}
