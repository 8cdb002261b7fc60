// support_fuzz_formats: what reads foreign files of token ids and of models, on any bytes.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_formats CORPUS tests/golden/fuzz/formats
// The first byte says what the rest is: L llm.c, M Megatron (a u16 with the index's bytes, the index, the data), H HDF5, O ONNX, G GGUF, C
// a checkpoint of llm.c. test_fuzz.c replays the folder.
#include "data/formats/hdf5_shard.h"
#include "data/formats/llmc.h"
#include "data/formats/llmc_model.h"
#include "data/formats/onnx.h"
#include "data/text/token_file.h"
#include "data/tokenizers/tok_gguf.h"
#include "tests/support/support_fuzz.h"

int hs_fuzz_formats(const uint8_t *data, size_t bytes);

enum { VOCAB = 100 };

// ---- what every format can do: told in a stream, whose parts add up

typedef struct tally {
    int64_t ids, sentences, documents;
} tally;

static hs_status on_ids(void *ctx, const int32_t *ids, int64_t n)
{
    must(n > 0);
    for (int64_t i = 0; i < n; i++)
        must(ids[i] >= 0 && ids[i] < VOCAB);
    ((tally *)ctx)->ids += n;
    return HS_OK;
}
static hs_status on_sentence(void *ctx)
{
    ((tally *)ctx)->sentences++;
    return HS_OK;
}
static hs_status on_document(void *ctx)
{
    ((tally *)ctx)->documents++;
    return HS_OK;
}

static void stream(const char *path)
{
    hs_token_file *f;
    tally t = { 0 };
    if (hs_token_file_open(&f, path, &(hs_token_file_opts){ .vocab = VOCAB, .document_token = 7 }) != HS_OK)
        return;
    const hs_token_file_info info = hs_token_file_info_of(f);
    const hs_token_sink sink = { &t, on_ids, on_sentence, on_document };
    if (hs_token_file_stream(f, true, &sink) == HS_OK && info.format == HS_TOKENS_MEGATRON)
        must(t.ids == info.n_tokens && t.documents == info.n_documents);
    hs_token_file_close(f);
}

// ---- each

static void read_llmc(const char *dir, const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_llmc *m;
    fuzz_put(path, dir, "l", data, bytes);
    if (hs_llmc_open(&m, path) == HS_OK) {
        must((size_t)(hs_llmc_tokens(m) * hs_llmc_id_bytes(m)) == bytes - 1024);
        hs_llmc_close(m);
    }
    stream(path);
    unlink(path);
}

static void read_megatron(const char *dir, const uint8_t *data, size_t bytes)
{
    char idx[64], bin[64];
    if (bytes < 2)
        return;
    size_t n = (size_t)(data[0] | data[1] << 8);
    n = n > bytes - 2 ? bytes - 2 : n;
    fuzz_put(idx, dir, "m.idx", data + 2, n);
    fuzz_put(bin, dir, "m.bin", data + 2 + n, bytes - 2 - n);
    stream(idx);
    unlink(idx);
    unlink(bin);
}

static void read_hdf5(const char *dir, const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_h5_file *f;
    fuzz_put(path, dir, "h", data, bytes);
    if (hs_h5_open(&f, path, VOCAB) == HS_OK) {
        const hs_h5_info info = hs_h5_info_of(f);
        for (int64_t at = 0; at < info.rows && at < 4 * info.block; at += info.block) {
            hs_pair_rows r;
            const int64_t n = info.rows - at < info.block ? info.rows - at : info.block;
            if (hs_h5_read(f, at, n, &r) == HS_OK)
                must(r.n == n && r.ids[0] >= 0 && r.ids[0] < VOCAB && hs_pair_row_tokens(&r, n - 1) <= r.length);
            hs_pair_rows_free(&r);
        }
        hs_h5_close(f);
        if (info.rows < 4 * info.block)
            stream(path);
    }
    unlink(path);
}

static volatile uint8_t sink;
static void touch(const void *p, size_t bytes) // all of it can be read
{
    for (size_t i = 0; i < bytes; i += 64)
        sink = (uint8_t)(sink + ((const uint8_t *)p)[i]);
    if (bytes)
        sink = (uint8_t)(sink + ((const uint8_t *)p)[bytes - 1]);
}

static void read_onnx(const char *dir, const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_onnx *m;
    fuzz_put(path, dir, "o.onnx", data, bytes);
    if (hs_onnx_open(&m, path) == HS_OK) {
        for (int i = 0; i < m->n_inits; i++) {
            must((uint64_t)hs_onnx_count(&m->init[i]) * (uint64_t)hs_onnx_bits(m->init[i].type) <= 8 * (uint64_t)m->init[i].bytes);
            touch(m->init[i].data, m->init[i].bytes);
        }
        for (int i = 0; i < m->n_nodes; i++)
            for (int k = 0; k < m->node[i].n_in; k++)
                touch(m->node[i].in[k], strlen(m->node[i].in[k]));
        hs_onnx_close(m);
    }
    unlink(path);
}

static void read_gguf(const char *dir, const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_gguf *g;
    hs_tokenizer *t;
    fuzz_put(path, dir, "g.gguf", data, bytes);
    if (hs_gguf_open(&g, path) == HS_OK) {
        for (int i = 0; i < g->n_tensors; i++)
            touch(g->tensor[i].data, g->tensor[i].bytes);
        if (hs_gguf_get_tokenizer(g, path, &t) == HS_OK)
            hs_tokenizer_free(t);
        hs_gguf_close(g);
    }
    unlink(path);
}

static void read_llmc_model(const char *dir, const uint8_t *data, size_t bytes)
{
    char path[64];
    hs_llmc_model *m;
    fuzz_put(path, dir, "c.bin", data, bytes);
    if (hs_llmc_model_open(&m, path) == HS_OK) {
        touch(m->data, m->bytes);
        hs_llmc_model_close(m);
    }
    unlink(path);
}

int hs_fuzz_formats(const uint8_t *data, size_t bytes)
{
#ifdef HS_FUZZ_ONLY // one format, whatever the first byte
    const char kind = HS_FUZZ_ONLY;
#else
    const char kind = bytes ? (char)data[0] : 0;
#endif
    char dir[FUZZ_FOLDER];
    if (bytes == 0)
        return 0;
    fuzz_folder(dir);
    switch (kind) {
    case 'L':
        read_llmc(dir, data + 1, bytes - 1);
        break;
    case 'M':
        read_megatron(dir, data + 1, bytes - 1);
        break;
    case 'H':
        read_hdf5(dir, data + 1, bytes - 1);
        break;
    case 'O':
        read_onnx(dir, data + 1, bytes - 1);
        break;
    case 'G':
        read_gguf(dir, data + 1, bytes - 1);
        break;
    case 'C':
        read_llmc_model(dir, data + 1, bytes - 1);
        break;
    }
    rmdir(dir);
    return 0;
}

HS_FUZZ_TARGET(formats)
