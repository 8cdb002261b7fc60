// hub: the models of a server by name. A name is loaded anew while its old version answers; what fails to load changes nothing. Loading,
// and closing of what nobody holds any more, is done on the hub's own thread, one after the other.
#ifndef HS_INFER_HUB_H
#define HS_INFER_HUB_H
#include "infer/server/served.h"

typedef struct hs_hub hs_hub;
hs_status hs_hub_new(hs_hub **out, const hs_served_opts *o); // o is copied; bury is the hub's own
// From here on there are no models, and loads fail (STOPPED). Requests under way are answered with 503; ends when nobody holds one any
// more. From one thread.
void hs_hub_close(hs_hub *h);
void hs_hub_free(hs_hub *h); // the same, where that was not done; nobody asks it anything any more

// Held: hs_served_let_go. name NULL or "": the first that does any of `does`. version 0: whichever there is. NULL: there is none.
hs_served *hs_hub_find(hs_hub *h, const char *name, int version, unsigned does);

// Queued for the hub's thread; `done` (optional) is called there once, or at once where that has ended. path NULL: the one that the name
// has already. copies: of name, path.
typedef void hs_hub_done(hs_status st, const char *why, void *user);
void hs_hub_load(hs_hub *h, const char *name, const char *path, hs_hub_done *done, void *user);
void hs_hub_unload(hs_hub *h, const char *name, hs_hub_done *done, void *user);
hs_status hs_hub_load_now(hs_hub *h, const char *name, const char *path); // loads it in its turn, and waits for that. Not from `done`

typedef enum hs_hub_state { HS_HUB_UNAVAILABLE, HS_HUB_LOADING, HS_HUB_READY, HS_HUB_STATES } hs_hub_state;
extern const char *const hs_hub_states[HS_HUB_STATES]; // Triton's words
typedef struct hs_hub_entry {                          // until the call returns
    const char *name, *path;
    hs_served *served;   // NULL: none. Not held
    hs_served_sums sums; // of all its versions, those that are replaced and still answer too
    hs_hub_state state;  // LOADING: of a first version; READY while another is being loaded
    const char *why;     // what the last load or unload failed with; ""
} hs_hub_entry;
hs_served_sums hs_hub_sums(hs_hub *h, const char *name); // as of its entry
bool hs_hub_knows(hs_hub *h, const char *name);          // loaded or not
// In the order in which names came. The hub's lock is held meanwhile.
void hs_hub_each(hs_hub *h, void (*each)(const hs_hub_entry *e, void *user), void *user);

#endif
