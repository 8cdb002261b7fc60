// support_heads: see the header.
#include "tests/support/support_heads.h"
#include "core/base/rng.h"
#include "data/base/file.h"
#include "tests/support/support_files.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void copy_golden(const char *from, const char *folder, const char *to)
{
    char name[300];
    size_t bytes;
    char *data;
    OK(hs_file_read(golden_path(from), &data, &bytes));
    snprintf(name, sizeof name, "%s/%s", folder, to);
    scratch_write(name, data, bytes);
    free(data);
}

static void write_config(const char *from, const char *folder, const char *problem, int labels)
{
    char path[300], label[32];
    snprintf(path, sizeof path, "heads/%s/config.json", from);
    json_t *config = json_load_file(golden_path(path), 0, NULL);
    assert_non_null(config);
    if (problem)
        json_object_set_new(config, "problem_type", json_string(problem));
    if (labels) {
        json_t *names = json_object(), *numbers = json_object();
        for (int i = 0; i < labels; i++) {
            snprintf(label, sizeof label, "%d", i);
            json_object_set_new(names, label, json_sprintf("label %d", i));
            json_object_set_new(numbers, json_string_value(json_object_get(names, label)), json_integer(i));
        }
        json_object_set_new(config, "id2label", names);
        json_object_set_new(config, "label2id", numbers);
    }
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(config, scratch_path(path), 0), 0);
    json_decref(config);
}

// The rows of its classifier that so many labels have.
static void cut_labels(const char *folder, int labels)
{
    enum { MOST = 128 };
    hs_safetensors *file;
    hs_st_tensor t[MOST];
    char path[300];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    OK(hs_safetensors_open(&file, scratch_path(path)));
    const int n = hs_safetensors_count(file);
    assert_true(n <= MOST);
    for (int i = 0; i < n; i++) {
        const hs_st_entry *e = hs_safetensors_at(file, i);
        t[i] = (hs_st_tensor){ .name = e->name, .dtype = e->dtype, .n_dims = e->n_dims, .data = e->data };
        memcpy(t[i].dim, e->dim, sizeof t[i].dim);
        if (strncmp(e->name, "classifier.", 11) == 0)
            t[i].dim[0] = labels;
    }
    OK(hs_safetensors_write(scratch_path("cut.safetensors"), t, n, NULL));
    hs_safetensors_close(file);
    assert_int_equal(rename(scratch_path("cut.safetensors"), scratch_path(path)), 0);
}

const char *heads_folder(const char *name, const char *problem, int labels)
{
    static char path[16][1024];
    static int n;
    char folder[200], file[300];
    assert_true(n < HS_COUNT(path));
    snprintf(folder, sizeof folder, "%s%s%s%.*d", name, problem ? "-" : "", problem ? problem : "", labels > 0, labels);
    snprintf(path[n], sizeof path[n], "%s", scratch_path(folder));
    mkdir(path[n], 0777);
    write_config(name, folder, problem, labels);
    snprintf(file, sizeof file, "heads/%s/model.safetensors", name);
    copy_golden(file, folder, "model.safetensors");
    copy_golden("predict/vocab.txt", folder, "vocab.txt");
    if (labels)
        cut_labels(folder, labels);
    return path[n++];
}

void heads_open(hs_session *s, const char *name, const char *problem, int threads)
{
    OK(hs_session_open(s, heads_folder(name, problem, 0), 0, hs_families, "cpu", threads));
    const hs_arch_shape shape = hs_head_shape(s);
    const hs_policy fp32 = { .low = HS_F32 };
    OK(hs_session_load(s, &fp32, &(hs_session_plans){ .eval = &shape }));
}

void heads_text(char out[400], int i, int k, int most)
{
    static const char *const pieces[] = { "a", "b", "hf", ", ", "é", "zz", " ", "\"", "h,f.", "(é)" };
    const uint64_t key = hs_mix2((uint64_t)i, (uint64_t)k);
    const int n = 1 + (int)(key % (uint64_t)most);
    *out = 0;
    for (int j = 0; j < n; j++)
        out += sprintf(out, "%s%s", j ? " " : "", pieces[hs_mix2(key, (uint64_t)j) % HS_COUNT(pieces)]);
}
