// process: what befalls a running program from outside: signals, standard streams that are closed, full or have lost their reader,
// limits. Two kinds of commands: those whose product is the output end quietly with their reader and fail where it cannot be written;
// those whose product is a file (training, preparing) outlive it.
#ifndef HS_RECIPES_PROCESS_H
#define HS_RECIPES_PROCESS_H
#include "core/base/status.h"
#include <stdbool.h>

// First of all: no file the program opens becomes a standard stream that was closed, and a file-size limit is a failed write.
void hs_process_begin(void);
// From here on the product is a file: a reader of stdout or stderr that goes away ends nothing.
void hs_process_outlive_output(void);
// For those that outlive it, after printing: if stdout failed, that is said once on stderr; where nobody reads it any more it falls silent.
void hs_process_check_output(void);
hs_status hs_process_end(void); // stdout is flushed; SYSTEM: it was the product and is not whole

// Every signal that would end the process and can be caught asks a run to stop at the next step. SIGINT, SIGTERM or SIGQUIT once more
// ends it at once, unless it follows so fast that one wish came by two ways (timeout and a terminal tell the whole group). Until
// hs_signals_defer, while there is nothing to save, any of them ends the process with a line (tells: of several ranks one does) and the
// exit code of STOPPED. Once a signal was seen standard output and error are not waited for any more: a reader that does not read costs
// lines, not the checkpoint.
void hs_signals_catch(bool tells);
// Of several ranks: what is called in the place of that, in the handler; it ends the process soon. False: it cannot.
void hs_signals_stop_by(bool (*stop)(void *arg, const char *why), void *arg);
void hs_signals_defer(void);
int hs_signal_seen(void);          // the first one's number; 0: none
const char *hs_signal_name(int n); // "SIGTERM"
#endif
