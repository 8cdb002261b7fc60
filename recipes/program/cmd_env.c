// env: what a bug report needs to know about this program and this machine.
#include "core/cpu/cpu.h"
#include "ops/ops.h"
#include "parallel/parallel.h"
#include "recipes/hs_git.h" // made by the build, as is the next
#include "infer/server/http.h"
#include "recipes/hs_left_out.h"
#include "recipes/program/commands.h"
#include <jansson.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <xxhash.h>
#include <yaml.h>
#ifdef HS_HAVE_HDF5
#include <H5public.h>
#endif
#ifdef HS_HAVE_PNG
#include <png.h>
#endif
#ifdef HS_HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef HS_HAVE_ZSTD
#include <zstd.h>
#endif

typedef struct env_options {
    hs_common common;
} env_options;

typedef struct fact {
    const char *name;
    char value[1024];
} fact;

static void isa_lists(char *built, char *supported, size_t size)
{
    built[0] = supported[0] = 0;
    for (int i = 0; i < HS_N_ISA; i++) {
        char *lists[] = { built, supported };
        const bool is[] = { hs_isa_built(i), hs_isa_supported(i) };
        for (int k = 0; k < 2; k++)
            if (is[k])
                snprintf(lists[k] + strlen(lists[k]), size - strlen(lists[k]), "%s%s", *lists[k] ? " " : "", hs_isa_name(i));
    }
}

static void why_no_cuda(char *buf, size_t size)
{
    hs_device *d = NULL;
    const hs_status st = hs_open_device(&d, "cuda", 0, NULL, 0, false);
    if (st == HS_OK) {
        snprintf(buf, size, "available; exec.mode auto means %s there", d->captures ? "graph" : "bulk");
        hs_device_close(d);
    } else {
        snprintf(buf, size, "not available: %s", hs_error());
    }
}

// What several ranks need, and whether this process is one of some.
static void describe_mpi(const hs_cli *cli, char *buf, size_t size)
{
    int rank;
    const int n = hs_parallel_launched(&rank);
#ifdef HS_WHY_NO_MPI
    const int used = snprintf(buf, size, "not built in, one process: %s", HS_WHY_NO_MPI);
#else
    char name[128];
    const hs_status st = hs_parallel_library(name, sizeof name);
    const int used = st == HS_OK ? snprintf(buf, size, "%s", name) : snprintf(buf, size, "not available: %s", hs_error());
#endif
    if (n > 1 && used > 0 && (size_t)used < size)
        snprintf(buf + used, size - (size_t)used, "; started as rank %d of %d%s%s", rank, n, cli->apart ? ", and alone: " : "",
                 cli->apart ? cli->apart : "");
}

static int collect(const hs_cli *cli, fact *f)
{
    int n = 0;
    char built[256], supported[256];
    struct utsname u;
    hs_isa best;
    uname(&u);
    if (hs_isa_of_option("auto", &best) != HS_OK)
        best = HS_ISA_PORTABLE;
    isa_lists(built, supported, sizeof built);
#define FACT(label, ...) (f[n].name = label, snprintf(f[n].value, sizeof f[n].value, __VA_ARGS__), n++)
    FACT("halfstep", "%s", HS_VERSION);
    FACT("git", "%s", HS_GIT[0] ? HS_GIT : "unknown (not built from a checkout)");
    FACT("compiler", "%s", __VERSION__);
    FACT("system", "%s %s %s", u.sysname, u.release, u.machine);
    hs_cpu_model(f[n].value, sizeof f[n].value), f[n++].name = "cpu";
    FACT("cores", "%d usable by this process, %ld in the machine", hs_cpu_cores(), sysconf(_SC_NPROCESSORS_ONLN));
    FACT("isa_built", "%s", built);
    FACT("isa_supported", "%s", supported);
    FACT("fast_bf16", "%s",
         best == HS_ISA_AMX       ? "yes (AMX tiles): amp.policy auto means bf16"
         : hs_isa_fast_bf16(best) ? "yes (AVX-512 bf16): amp.policy auto means bf16"
         : hs_isa_supported(HS_ISA_AVX512BF16)
             ? "no, AVX-512 bf16 is slower than f32 on this CPU: amp.policy auto means fp32, exec.isa auto avx512"
             : "no: amp.policy auto means fp32");
    FACT("memory", "%.1f GiB free, %.1f GiB in the machine", (double)hs_cpu_free_bytes() / 0x1p30,
         (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 0x1p30);
#ifdef HS_WHY_NO_ONEDNN
    FACT("onednn", "not built in: %s", HS_WHY_NO_ONEDNN);
#else
    FACT("onednn", "%s", hs_onednn_version());
#endif
#ifdef HS_WHY_NO_MICROHTTPD
    FACT("libmicrohttpd", "not built in, no server: %s", HS_WHY_NO_MICROHTTPD);
#else
    FACT("libmicrohttpd", "%s", hs_http_library());
#endif
#ifdef HS_WHY_NO_PNG
    FACT("libpng", "not built in, no loss curves: %s", HS_WHY_NO_PNG);
#else
    FACT("libpng", "%s", png_get_libpng_ver(NULL));
#endif
#ifdef HS_WHY_NO_HDF5
    FACT("hdf5", "not built in, no HDF5 shards: %s", HS_WHY_NO_HDF5);
#else
    FACT("hdf5", "%d.%d.%d", H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE);
#endif
#ifdef HS_WHY_NO_ZLIB
    FACT("zlib", "not built in, no .gz files: %s", HS_WHY_NO_ZLIB);
#else
    FACT("zlib", "%s", zlibVersion());
#endif
#ifdef HS_WHY_NO_ZSTD
    FACT("zstd", "not built in, no .zst files: %s", HS_WHY_NO_ZSTD);
#else
    FACT("zstd", "%s", ZSTD_versionString());
#endif
    FACT("libyaml", "%s", yaml_get_version_string());
    FACT("jansson", "%s", jansson_version_str());
    FACT("xxhash", "%u.%u.%u", XXH_versionNumber() / 10000, XXH_versionNumber() / 100 % 100, XXH_versionNumber() % 100);
    describe_mpi(cli, f[n].value, sizeof f[n].value), f[n++].name = "mpi";
    why_no_cuda(f[n].value, sizeof f[n].value), f[n++].name = "cuda";
#undef FACT
    return n;
}

static hs_status run_env(const hs_cli *cli)
{
    fact f[32];
    const int n = collect(cli, f);
    if (!hs_cli_common(cli)->json) {
        for (int i = 0; i < n; i++)
            printf("%-14s %s\n", f[i].name, f[i].value);
        return HS_OK;
    }
    json_t *o = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(o, f[i].name, json_string(f[i].value));
    json_object_set_new(o, "n_cores", json_integer(hs_cpu_cores()));
    json_object_set_new(o, "free_bytes", json_integer((json_int_t)hs_cpu_free_bytes()));
    hs_line_print(o);
    return HS_OK;
}

static const hs_key keys[] = { HS_COMMON_KEYS(env_options) };
static const hs_schema schema = HS_SCHEMA(keys, env_options);

const hs_command hs_cmd_env = {
    .name = "env",
    .arguments = "",
    .summary = "print versions, CPU, memory and libraries: what a bug report needs",
    .examples = "halfstep env\nhalfstep env --json",
    .options = &schema,
    .many = hs_cli_many,
    .alone_too = true,
    .run = run_env,
};
