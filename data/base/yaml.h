// yaml: a YAML file into a schema's struct. libyaml reads; keys, types and ranges are the schema's; every message has file:line.
#ifndef HS_DATA_YAML_H
#define HS_DATA_YAML_H
#include "core/settings/schema.h"

// Nested mappings become dotted keys; a sequence of scalars becomes "a,b,c", one of mappings the elements of a list.
// Duplicate keys, aliases, a second document,
// malformed YAML: USAGE with file:line.
hs_status hs_yaml_load(const char *path, const hs_schema *s, void *config, hs_origin *origin);
// The same in two steps, between which a chooser may get its value from elsewhere: first the chooser alone, then all the rest. What is
// wrong with the file in other ways, the second says.
hs_status hs_yaml_choose(const char *path, const hs_schema *s, void *config, hs_origin *origin);
hs_status hs_yaml_read(const char *path, const hs_schema *s, void *config, hs_origin *origin);

#endif
