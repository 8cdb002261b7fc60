// cuda_tier: the optimizers of a CUDA device, from the .cu beside each. What they keep and their passes are the same rules as the CPU's.
#include "optim/update.h"

hs_kernel hs_cuda_optim_keep, hs_cuda_optim_sums, hs_cuda_optim_decide, hs_cuda_optim_total, hs_cuda_optim_vote, hs_cuda_optim_gather;
extern const hs_optim_kernels hs_cuda_adamw, hs_cuda_lamb, hs_cuda_sgd, hs_cuda_lars, hs_cuda_novograd;

const hs_optim_tier hs_optim_cuda = { .keep = hs_cuda_optim_keep,
                                      .sums = hs_cuda_optim_sums,
                                      .decide = hs_cuda_optim_decide,
                                      .total = hs_cuda_optim_total,
                                      .vote = hs_cuda_optim_vote,
                                      .gather = hs_cuda_optim_gather,
                                      .rule = { [HS_ADAMW] = &hs_cuda_adamw,
                                                [HS_LAMB] = &hs_cuda_lamb,
                                                [HS_SGD] = &hs_cuda_sgd,
                                                [HS_LARS] = &hs_cuda_lars,
                                                [HS_NOVOGRAD] = &hs_cuda_novograd } };
