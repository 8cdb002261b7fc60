// inline: functions of headers that CUDA kernels call as well as the host.
#ifndef HS_CORE_INLINE_H
#define HS_CORE_INLINE_H

#ifdef __CUDACC__
#define HS_INLINE static inline __host__ __device__
#else
#define HS_INLINE static inline
#endif

#endif
