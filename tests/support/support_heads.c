// support_heads: see the header.
#include "tests/support/support_heads.h"
#include "tests/support/support_files.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *golden_path(const char *name)
{
    static char path[8][1024];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, 1024, HS_TESTS_DIR "/golden/%s", name);
    return p;
}

static char *read_whole(const char *path, size_t *bytes)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *bytes = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, f), *bytes);
    data[*bytes] = 0;
    fclose(f);
    return data;
}

static void copy_golden(const char *from, const char *folder, const char *to)
{
    char name[300];
    size_t bytes;
    char *data = read_whole(golden_path(from), &bytes);
    snprintf(name, sizeof name, "%s/%s", folder, to);
    scratch_write(name, data, bytes);
    free(data);
}

// A key in front of the first one.
static void write_config(const char *from, const char *folder, const char *problem)
{
    char name[300], path[300], *text;
    size_t bytes;
    snprintf(path, sizeof path, "heads/%s/config.json", from);
    char *data = read_whole(golden_path(path), &bytes);
    assert_true((text = malloc(bytes + 200)) && data[0] == '{');
    snprintf(text, bytes + 200, "{\"problem_type\": \"%s\",%s", problem, data + 1);
    snprintf(name, sizeof name, "%s/config.json", folder);
    scratch_write(name, text, strlen(text));
    free(text);
    free(data);
}

const char *heads_folder(const char *name, const char *problem)
{
    static char path[16][1024];
    static int n;
    char folder[200], file[300];
    assert_true(n < HS_COUNT(path));
    snprintf(folder, sizeof folder, "%s%s%s", name, problem ? "-" : "", problem ? problem : "");
    snprintf(path[n], sizeof path[n], "%s", scratch_path(folder));
    mkdir(path[n], 0777);
    snprintf(file, sizeof file, "heads/%s/config.json", name);
    if (problem)
        write_config(name, folder, problem);
    else
        copy_golden(file, folder, "config.json");
    snprintf(file, sizeof file, "heads/%s/model.safetensors", name);
    copy_golden(file, folder, "model.safetensors");
    copy_golden("predict/vocab.txt", folder, "vocab.txt");
    return path[n++];
}

void heads_open(hs_session *s, const char *name, const char *problem, int threads)
{
    OK(hs_session_open(s, heads_folder(name, problem), 0, hs_families, "cpu", threads));
    const hs_arch_shape shape = hs_head_shape(s);
    const hs_policy fp32 = { .low = HS_F32 };
    OK(hs_session_load(s, &fp32, &(hs_session_plans){ .eval = &shape }));
}
