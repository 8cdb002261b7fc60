// tensorboard: the scalars of metrics.jsonl once more, as an event file that TensorBoard opens.
//
// A file is a row of records: u64 length, u32 masked CRC of those 8 bytes, event, u32 masked CRC of the event; all little-endian;
// masked(c) = (c >> 15 | c << 17) + 0xA282EAD8. An event is a protobuf message. Of tensorboard/compat/proto/{event,summary}.proto are used:
//   Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; SessionLog session_log = 7 }
//   Summary { repeated Value { string tag = 1; float simple_value = 2 } value = 1 }   SessionLog { Status status = 1 (START = 1) }
// The first event says "brain.Event:2", the second is a START with the first step to come: TensorBoard then drops what it read of that
// and later steps, so that a curve does not go back where a run was resumed. It ignores the first START of a run: every file has one.
#ifndef HS_DATA_TENSORBOARD_H
#define HS_DATA_TENSORBOARD_H
#include "data/report/metrics.h"
#include <stddef.h>

typedef struct hs_tensorboard hs_tensorboard;

// Creates run_dir/events.out.tfevents.TIME.HOST.PID.K, new each time: a resumed run has several, and TensorBoard reads them in the order
// of their names. TIME (unix seconds) is therefore later than that of any file there, whatever the clock says.
// One writer per folder at a time. resume_step: the last step whose points, in earlier files, stay; -1: none. Errors: SYSTEM, MEMORY.
hs_status hs_tensorboard_open(hs_tensorboard **out, const char *run_dir, int64_t resume_step);
// One event with all of them, as floats; in the file on return. Names become tags. What no finite float can hold is left out.
hs_status hs_tensorboard_write(hs_tensorboard *w, int64_t step, const hs_metric *v, int n);
hs_status hs_tensorboard_sync(hs_tensorboard *w); // fsync, with each checkpoint
void hs_tensorboard_close(hs_tensorboard *w);

// CRC-32C (Castagnoli, reflected 0x82F63B78), going on from that of the bytes before; 0 at the beginning.
uint32_t hs_crc32c(uint32_t crc, const void *data, size_t bytes);

#endif
