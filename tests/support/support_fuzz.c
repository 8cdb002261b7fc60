// support_fuzz: a corpus, replayed.
#include "tests/support/support_fuzz.h"
#include <dirent.h>

int fuzz_replay(const char *folder, fuzz_target *target)
{
    static uint8_t data[1 << 16];
    DIR *d = opendir(folder);
    int n = 0;
    must(d != NULL);
    for (const struct dirent *e; (e = readdir(d));) {
        char path[1024];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        FILE *f = fopen(path, "rb");
        must(f != NULL);
        const size_t bytes = fread(data, 1, sizeof data, f);
        fclose(f);
        target(data, bytes);
        n++;
    }
    closedir(d);
    return n;
}
