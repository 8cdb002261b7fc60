// core_table: what core asks of a CUDA device by itself, from core_kernels.cu.
#include "core/run/device.h"

hs_kernel hs_cuda_loss_sum, hs_cuda_loss_total, hs_cuda_keep, hs_cuda_record;

extern const hs_core_kernels hs_core_kernels_cuda;
const hs_core_kernels hs_core_kernels_cuda = { .loss_sum = hs_cuda_loss_sum,
                                               .loss_total = hs_cuda_loss_total,
                                               .begin = hs_begin_move,
                                               .finish = hs_finish_moves,
                                               .keep = hs_cuda_keep,
                                               .record = hs_cuda_record };
