// kept_file: read as far as it is right, written beside its place and put there.
#include "core/base/kept_file.h"
#include "core/base/log.h"
#include <string.h>
#include <unistd.h>

void hs_kept_read(const hs_kept_file *k)
{
    char line[256];
    FILE *f = k->path ? fopen(k->path, "r") : NULL;
    if (!f)
        return;
    if (fgets(line, sizeof line, f) && !strcmp(line, k->head))
        while (k->read(f, k->user)) {
        }
    fclose(f);
}

void hs_kept_write(const hs_kept_file *k, int n)
{
    char name[4096];
    if (!k->path || snprintf(name, sizeof name, "%s.%d", k->path, (int)getpid()) >= (int)sizeof name)
        return;
    FILE *f = fopen(name, "w");
    bool ok = f != NULL;
    if (ok) {
        ok = fputs(k->head, f) >= 0;
        for (int i = 0; i < n && ok; i++)
            ok = k->write(f, k->user, i);
        ok = !fclose(f) && ok;
    }
    if (!ok || rename(name, k->path)) {
        hs_debug("%s: %s cannot be written: what was timed is not kept", k->what, k->path);
        unlink(name);
    }
}
