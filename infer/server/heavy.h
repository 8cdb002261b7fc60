// heavy: threads for requests that take long to read - their JSON, and tokens of their texts -, so that nobody else's waits for it on a
// thread of HTTP. They are begun in the order they came.
#ifndef HS_INFER_HEAVY_H
#define HS_INFER_HEAVY_H
#include "infer/server/route.h"

// Bytes of a body from which on a request is read there: fewer take a thread of HTTP's less than about 5 ms.
enum { HS_HEAVY_BYTES = 32768 };

typedef struct hs_heavy hs_heavy;
hs_status hs_heavy_new(hs_heavy **out, int threads); // as many as HTTP has: below 1 counts as one
// Has route->run called with a copy of c. False: it is over, or there is no memory; nothing has happened.
bool hs_heavy_add(hs_heavy *h, const hs_route *route, const hs_call *c);
void hs_heavy_stop(hs_heavy *h); // takes no more, and waits for what it has. From one thread. NULL: nothing
void hs_heavy_free(hs_heavy *h); // the same

#endif
