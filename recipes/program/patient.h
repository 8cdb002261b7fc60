// patient: an output whose reader may stop reading. Whoever waits in write() for one that never comes back does not get to his checkpoint;
// a launcher that ends a job is such a reader: it sleeps between the signals that it sends.
#ifndef HS_RECIPES_PATIENT_H
#define HS_RECIPES_PATIENT_H
#include <stdbool.h>
#include <stdio.h>

typedef struct hs_patient {
    int fd;
    int error; // why it is not written to any more; 0: it is
    bool (*hurried)(void);
} hs_patient;

// A stream to where fd goes, if that is a pipe or a terminal. A write waits for the reader as long as hurried() says false; then it fails
// with EAGAIN where nothing could be written for a quarter of a second. p->error becomes why a write has failed, and with it all behind
// it. NULL: fd is something else, which is written to as it is, or cannot be opened. *p is the caller's, and lives as long as the stream.
FILE *hs_patient_open(hs_patient *p, int fd, bool (*hurried)(void));

#endif
