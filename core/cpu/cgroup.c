// cgroup: limits of both versions, read from the files the kernel shows. A limit of any folder above counts, so that a container is never
// taken for its machine.
#include "core/cpu/cgroup.h"
#include "core/base/status.h"
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool read_text(const char *dir, const char *file, char *buf, size_t size)
{
    char path[PATH_MAX + 512];
    snprintf(path, sizeof path, "%s/%s", dir, file);
    FILE *f = fopen(path, "r");
    if (!f)
        return false;
    const size_t n = fread(buf, 1, size - 1, f);
    buf[n] = 0;
    fclose(f);
    return n > 0;
}

static bool read_number(const char *dir, const char *file, double *out)
{
    char text[64], *end;
    if (!read_text(dir, file, text, sizeof text))
        return false;
    *out = strtod(text, &end); // "max" is no number: no limit
    return end != text;
}

// The value behind "key " at the start of a line of a flat file such as memory.stat; 0 if it is not there.
static double stat_value(const char *dir, const char *file, const char *key)
{
    char text[8192];
    if (!read_text(dir, file, text, sizeof text))
        return 0;
    const size_t n = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, key, n) && line[n] == ' ')
            return strtod(line + n, NULL);
    return 0;
}

static bool has_word(const char *list, const char *word) // "cpu,cpuacct" has "cpu"
{
    const size_t n = strlen(word);
    for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, word, n) && (p[n] == 0 || p[n] == ','))
            return true;
    return false;
}

// Path of this process in the hierarchy of a v1 controller, or in the v2 one (controller ""). False if it is in none.
static bool own_path(const char *root, const char *controller, char *out, size_t size)
{
    char proc[PATH_MAX], text[8192], *save;
    snprintf(proc, sizeof proc, "%s/proc/self", root);
    if (!read_text(proc, "cgroup", text, sizeof text))
        return false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char *controllers = strchr(line, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path = 0;
        const bool v2 = controllers[1] == 0;
        if (*controller ? has_word(controllers + 1, controller) : v2) {
            snprintf(out, size, "%s", path + 1);
            return true;
        }
    }
    return false;
}

// Calls fn on the group's folder and on every folder above it, up to the mount point: limits of all of them hold. In a
// container the path may not exist under the mount, which then is the group itself.
static void walk_up(const char *root, const char *mount, const char *path, void (*fn)(const char *dir, void *arg), void *arg)
{
    char dir[PATH_MAX + 256];
    snprintf(dir, sizeof dir, "%s%s%s", root, mount, path);
    const size_t top = strlen(root) + strlen(mount);
    for (;;) {
        fn(dir, arg);
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < top)
            return;
        *slash = 0;
    }
}

static void cpus_v2(const char *dir, void *arg)
{
    char text[128];
    double quota, period, *least = arg;
    if (read_text(dir, "cpu.max", text, sizeof text) && sscanf(text, "%lf %lf", &quota, &period) == 2 && period > 0)
        *least = fmin(*least, quota / period);
}

static void cpus_v1(const char *dir, void *arg)
{
    double quota, period, *least = arg;
    if (read_number(dir, "cpu.cfs_quota_us", &quota) && read_number(dir, "cpu.cfs_period_us", &period) && quota > 0 && period > 0)
        *least = fmin(*least, quota / period);
}

static void memory_v2(const char *dir, void *arg)
{
    double limit, used, *least = arg;
    if (read_number(dir, "memory.max", &limit) && read_number(dir, "memory.current", &used))
        *least = fmin(*least, fmax(0, limit - used + stat_value(dir, "memory.stat", "inactive_file")));
}

static void memory_v1(const char *dir, void *arg)
{
    double limit, used, *least = arg;
    if (read_number(dir, "memory.limit_in_bytes", &limit) && read_number(dir, "memory.usage_in_bytes", &used))
        *least = fmin(*least, fmax(0, limit - used + stat_value(dir, "memory.stat", "total_inactive_file")));
}

static double least_of(const char *root, const char *controller, void (*v2)(const char *, void *), void (*v1)(const char *, void *))
{
    char path[PATH_MAX], mount[64];
    double least = INFINITY;
    if (own_path(root, "", path, sizeof path)) {
        walk_up(root, "/sys/fs/cgroup", path, v2, &least);
        walk_up(root, "/sys/fs/cgroup/unified", path, v2, &least); // hybrid set-ups
    }
    if (own_path(root, controller, path, sizeof path)) {
        snprintf(mount, sizeof mount, "/sys/fs/cgroup/%s", controller); // "cpu" is a link to "cpu,cpuacct"
        walk_up(root, mount, path, v1, &least);
    }
    return least;
}

double hs_cgroup_cpus(const char *root) { return least_of(root, "cpu", cpus_v2, cpus_v1); }

int hs_cgroup_cores(const char *root, int cores)
{
    const double quota = hs_cgroup_cpus(root);
    if (quota >= cores)
        return cores;
    return quota >= 1 ? (int)quota : 1;
}

size_t hs_cgroup_free_bytes(const char *root)
{
    const double least = least_of(root, "memory", memory_v2, memory_v1);
    return least < 0x1p62 ? (size_t)least : SIZE_MAX; // v1 writes "no limit" as almost 2^63
}
