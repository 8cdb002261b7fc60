// infer_scan: JSON text walked over without a value being made of it.
#ifndef HS_INFER_INFER_SCAN_H
#define HS_INFER_INFER_SCAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hs_scan {
    const char *p, *end;
} hs_scan;

bool hs_scan_at(hs_scan *s, char c); // behind blanks: whether c is next. It stays
// Each goes on behind what it has taken; false: it is not there, and where the walk stands then says nothing.
bool hs_scan_take(hs_scan *s, char c);
bool hs_scan_string(hs_scan *s);
size_t hs_scan_word(hs_scan *s); // a number, true, false, null, without a look at it: its length
bool hs_scan_value(hs_scan *s);  // any; of brackets only their number counts

#endif
