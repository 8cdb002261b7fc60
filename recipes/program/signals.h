// signals: SIGTERM, SIGINT and SIGUSR1 ask a run to stop at the next step; a second one ends the process at once.
#ifndef HS_RECIPES_SIGNALS_H
#define HS_RECIPES_SIGNALS_H
void hs_signals_catch(void);
int hs_signal_seen(void);          // its number; 0: none
const char *hs_signal_name(int n); // "SIGTERM"
#endif
