// yaml: a YAML file into a schema's struct. libyaml reads; keys, types and ranges are the schema's; every message has file:line.
#ifndef HS_DATA_YAML_H
#define HS_DATA_YAML_H
#include "core/settings/schema.h"

// Nested mappings become dotted keys; a sequence of scalars becomes "a,b,c". Duplicate keys, aliases, a second document,
// malformed YAML: USAGE with file:line.
hs_status hs_yaml_load(const char *path, const hs_schema *s, void *config, hs_origin *origin);

#endif
