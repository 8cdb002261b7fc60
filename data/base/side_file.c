// side_file: one table of what a file may turn out to be.
#include "data/base/side_file.h"
#include "data/base/file.h"
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *magic;
    size_t n;
    hs_status st;
    const char *is, *way;
} foreign[] = {
    { "version https://git-lfs.github.com/", 35, HS_CORRUPT, "a git-lfs pointer, the file itself was not downloaded",
      "`git lfs install && git lfs pull` in its repository fetches it" },
    { "<!DOCTYPE", 9, HS_CORRUPT, "a web page", "download the file itself (on the Hub: /resolve/main/, not /blob/main/)" },
    { "<!doctype", 9, HS_CORRUPT, "a web page", "download the file itself (on the Hub: /resolve/main/, not /blob/main/)" },
    { "<html", 5, HS_CORRUPT, "a web page", "download the file itself (on the Hub: /resolve/main/, not /blob/main/)" },
    { "PK\x03\x04", 4, HS_UNSUPPORTED, "a zip archive, as torch.save writes pickles, which run code when they are read",
      "transformers converts it: from_pretrained(FOLDER), then save_pretrained(NEW)" },
    { "\x80\x02", 2, HS_UNSUPPORTED, "a pickle, which runs code when it is read",
      "transformers converts it: from_pretrained(FOLDER), then save_pretrained(NEW)" },
    { "GGUF", 4, HS_UNSUPPORTED, "a model of llama.cpp (GGUF)", "`halfstep import FILE -o DIR` makes a folder of it" },
    { "\x89HDF", 4, HS_UNSUPPORTED, "an HDF5 file (Keras)",
      "transformers converts it: from_pretrained(FOLDER, from_tf=True), then save_pretrained(NEW)" },
    { "\x1f\x8b", 2, HS_CORRUPT, "packed with gzip", "unpack it: gunzip" },
    { "\x28\xb5\x2f\xfd", 4, HS_CORRUPT, "packed with Zstandard", "unpack it: unzstd" },
};

hs_status hs_side_foreign(const char *path, const void *head, size_t bytes, const char *wanted)
{
    for (int i = 0; i < HS_COUNT(foreign); i++)
        if (bytes >= foreign[i].n && memcmp(head, foreign[i].magic, foreign[i].n) == 0)
            return hs_fail_at(foreign[i].st, __FILE__, __LINE__, "%s is no %s but %s: %s", path, wanted, foreign[i].is, foreign[i].way);
    return HS_OK;
}

// With a mark, or by the zeros of its first character.
static bool is_utf16(const unsigned char *s, size_t n)
{
    return n >= 2 && ((s[0] == 0xFF && s[1] == 0xFE) || (s[0] == 0xFE && s[1] == 0xFF) || (s[0] == 0) != (s[1] == 0));
}

hs_status hs_side_read(const char *path, char **text, size_t *bytes)
{
    *text = NULL, *bytes = 0;
    char *all;
    size_t n;
    HS_TRY(hs_file_read(path, &all, &n));
    hs_status st = hs_side_foreign(path, all, n, "text");
    if (st == HS_OK && is_utf16((const unsigned char *)all, n))
        st = HS_FAIL(CORRUPT, "%s is UTF-16, but must be UTF-8: `iconv -f UTF-16 -t UTF-8` converts it", path);
    if (st != HS_OK) {
        free(all);
        return hs_frame_at(st, __FILE__, __LINE__);
    }
    const size_t mark = n >= 3 && memcmp(all, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    memmove(all, all + mark, n - mark + 1);
    *text = all, *bytes = n - mark;
    return HS_OK;
}

// Numbers of more digits than 64 bits hold, as transformers writes "no limit" (model_max_length 1000000000000000019884624838656), become
// reals in the same place: jansson refuses them.
static void shorten_integers(char *s)
{
    bool inside = false;
    for (char *p = s; *p;) {
        const size_t n = inside ? 0 : strspn(p, "0123456789");
        const bool long_one = n > 19 || (n == 19 && strncmp(p, "9223372036854775807", 19) > 0);
        if (long_one && !strchr(".eE", p[n] ? p[n] : ' ') && (p == s || !strchr(".eE+", p[-1]))) {
            char power[24];
            const int kept = 15, length = snprintf(power, sizeof power, "e%zu", n - (size_t)kept);
            memset(p + kept, ' ', n - (size_t)kept);
            memcpy(p + kept, power, (size_t)length);
        }
        if (inside && *p == '\\' && p[1])
            p++;
        else if (*p == '"')
            inside = !inside;
        p += n ? n : 1;
    }
}

hs_status hs_side_json(const char *path, json_t **root)
{
    char *text;
    size_t bytes;
    *root = NULL;
    HS_TRY(hs_side_read(path, &text, &bytes));
    json_error_t e;
    shorten_integers(text);
    *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &e);
    free(text);
    return *root ? HS_OK : HS_FAIL(CORRUPT, "%s:%d: column %d: %s", path, e.line, e.column, e.text);
}
