// plan_parts: what `halfstep plan` says beside one rank's memory - of ranks that work together, of layouts, of a budget.
#ifndef HS_RECIPES_PLAN_PARTS_H
#define HS_RECIPES_PLAN_PARTS_H
#include "recipes/program/cli.h"
#include "recipes/program/sizing.h"

struct json_t;
void hs_sizing_print(const hs_sizing *s, const hs_config *c, const hs_cluster *cluster);
struct json_t *hs_sizing_json(const hs_sizing *s, const hs_config *c, const hs_cluster *cluster);

// Layouts of c on so many devices of the cluster, the fastest first, and why others are none. MEMORY: none fits.
hs_status hs_layouts_show(const hs_config *c, const hs_policy *policy, const hs_cluster *cluster, int devices, hs_device *dev, bool json);

// "1e21": FLOPs. "24h", "3d": hours, days. USAGE: neither.
typedef struct hs_spend {
    double flops, hours; // one of them is 0
} hs_spend;
hs_status hs_spend_parse(hs_spend *out, const char *text);
// What so much compute is best spent on, and what c would make of it. Of hours: on so many devices of the cluster.
hs_status hs_spend_show(const hs_cli *cli, const hs_config *c, const hs_policy *policy, const hs_spend *spend, const hs_cluster *cluster,
                        int devices, hs_device *dev);

#endif
