// cuda_driver: a libcuda.so.1 for machines without a GPU, on which cuDNN can plan: it takes compiled kernels and finds functions in them,
// and has no device. Only what cuDNN 9 looks up while it plans; the numbers are CUDA's own.
#include <stddef.h>

enum { SUCCESS = 0, NO_DEVICE = 100 };

int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);
int cuLibraryLoadData(void **library, const void *code, void *, void *, unsigned, void *, void *, unsigned);
int cuLibraryGetKernel(void **kernel, void *library, const char *name);
int cuGetErrorName(int error, const char **name);
int cuGetErrorString(int error, const char **text);

int cuInit(unsigned flags) // the compiler asks too, and does without
{
    (void)flags;
    return NO_DEVICE;
}
int cuDriverGetVersion(int *version)
{
    *version = 13000;
    return SUCCESS;
}
static char thing;
int cuLibraryLoadData(void **library, const void *code, void *a, void *b, unsigned n, void *c, void *d, unsigned m)
{
    (void)code, (void)a, (void)b, (void)n, (void)c, (void)d, (void)m;
    *library = &thing;
    return SUCCESS;
}
int cuLibraryGetKernel(void **kernel, void *library, const char *name)
{
    (void)library, (void)name;
    *kernel = &thing;
    return SUCCESS;
}
int cuGetErrorName(int error, const char **name)
{
    (void)error;
    *name = "CUDA_ERROR_NO_DEVICE";
    return SUCCESS;
}
int cuGetErrorString(int error, const char **text) { return cuGetErrorName(error, text); }

// What must be there, and is called for its own sake or not at all.
#define ACCEPTS(X)                                                                                                                         \
    X(cuKernelSetAttribute)                                                                                                                \
    X(cuKernelGetAttribute)                                                                                                                \
    X(cuFuncSetAttribute)                                                                                                                  \
    X(cuFuncGetAttribute)                                                                                                                  \
    X(cuLibraryUnload)                                                                                                                     \
    X(cuModuleUnload)
#define REFUSES(X)                                                                                                                         \
    X(cuCtxGetCurrent)                                                                                                                     \
    X(cuCtxGetDevice)                                                                                                                      \
    X(cuCtxGetLimit)                                                                                                                       \
    X(cuCtxPopCurrent)                                                                                                                     \
    X(cuCtxPushCurrent)                                                                                                                    \
    X(cuDeviceGet)                                                                                                                         \
    X(cuDeviceGetAttribute)                                                                                                                \
    X(cuDeviceGetCount)                                                                                                                    \
    X(cuDevicePrimaryCtxRelease)                                                                                                           \
    X(cuDevicePrimaryCtxReset)                                                                                                             \
    X(cuDevicePrimaryCtxRetain)                                                                                                            \
    X(cuLaunchCooperativeKernel)                                                                                                           \
    X(cuLaunchKernel)                                                                                                                      \
    X(cuLaunchKernelEx)                                                                                                                    \
    X(cuLibraryLoadFromFile)                                                                                                               \
    X(cuLinkAddData)                                                                                                                       \
    X(cuLinkAddData_v2)                                                                                                                    \
    X(cuLinkAddFile_v2)                                                                                                                    \
    X(cuLinkComplete)                                                                                                                      \
    X(cuLinkCreate)                                                                                                                        \
    X(cuLinkCreate_v2)                                                                                                                     \
    X(cuLinkDestroy)                                                                                                                       \
    X(cuMemcpyDtoH_v2)                                                                                                                     \
    X(cuModuleGetFunction)                                                                                                                 \
    X(cuModuleGetGlobal_v2)                                                                                                                \
    X(cuModuleLoadData)                                                                                                                    \
    X(cuModuleLoadDataEx)                                                                                                                  \
    X(cuModuleLoadFatBinary)                                                                                                               \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor)                                                                                         \
    X(cuOccupancyMaxPotentialClusterSize)                                                                                                  \
    X(cuStreamGetCtx)                                                                                                                      \
    X(cuStreamSynchronize)                                                                                                                 \
    X(cuTensorMapEncodeTiled)
#define ACCEPT(f)                                                                                                                          \
    int f(void);                                                                                                                           \
    int f(void) { return SUCCESS; }
#define REFUSE(f)                                                                                                                          \
    int f(void);                                                                                                                           \
    int f(void) { return NO_DEVICE; }
ACCEPTS(ACCEPT)
REFUSES(REFUSE)
