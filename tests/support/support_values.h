// support_values: the values of a checkpoint, as a command that writes one in another form has them.
#ifndef HS_TESTS_SUPPORT_VALUES_H
#define HS_TESTS_SUPPORT_VALUES_H
#include "infer/export/export_model.h"

void open_values(hs_export_model *m, const char *dir); // traced for evaluation, loaded; asserts. hs_export_model_close

#endif
