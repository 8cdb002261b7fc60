// feed_texts: what a command is given as texts into hs_texts, and where a text stands that is wrong.
#ifndef HS_RECIPES_FEED_TEXTS_H
#define HS_RECIPES_FEED_TEXTS_H
#include "infer/encode/texts.h"

// Texts before a wrong one are done first, so that their results are there. USAGE begins with the place: "text 2: ...", "a.txt:7: ...".
hs_status hs_feed_text(hs_texts *t, const char *text, int number);
hs_status hs_feed_lines(hs_texts *t, const char *path, const char *prompt); // "-": standard input. prompt: put before each; ""

#endif
