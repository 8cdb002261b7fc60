// support_fuzz_chat: a chat template of any bytes, run over messages of any bytes.
// libFuzzer's target: cmake -DCMAKE_C_COMPILER=clang -DHS_FUZZ=ON, then tests/fuzz_chat CORPUS tests/golden/fuzz/chat
// T: a template, then for each message its role and its content, each up to a zero (t: without a prompt to answer, and no token is named);
// F: a tokenizer_config.json. test_fuzz.c replays the folder.
#include "infer/server/chat_template.h"
#include "tests/support/support_fuzz.h"

int hs_fuzz_chat(const uint8_t *data, size_t bytes);

enum { MESSAGES = 8 };

// What it writes is a text, the same each time, or it is refused.
static void render(const hs_chat_template *t, const hs_chat_message *message, int n, bool prompt)
{
    char *text[2];
    size_t length[2];
    const hs_status st = hs_chat_template_render(t, message, n, prompt, &text[0], &length[0]);
    must(st == hs_chat_template_render(t, message, n, prompt, &text[1], &length[1]));
    if (st == HS_OK)
        must(length[0] == length[1] && memcmp(text[0], text[1], length[0] + 1) == 0 && strlen(text[0]) == length[0]);
    else
        must((st == HS_USAGE || st == HS_MEMORY) && hs_error()[0] && !text[0] && !text[1]);
    free(text[0]), free(text[1]);
}

static void parse(const char *source, size_t length, const hs_chat_tokens *tokens, const hs_chat_message *message, int n, bool prompt)
{
    hs_chat_template *t;
    const hs_status st = hs_chat_template_parse(&t, source, length, tokens, "fuzz");
    must(st == HS_OK ? t != NULL : (st == HS_UNSUPPORTED && !t && hs_error()[0]));
    for (int i = 0; t && i <= n; i += n ? n : 1) // without messages, and with all
        render(t, message, i, prompt);
    hs_chat_template_free(t);
}

static void read_folder(const uint8_t *data, size_t bytes)
{
    const hs_chat_message message = { "user", "the cat" };
    char dir[FUZZ_FOLDER], path[64];
    hs_chat_template *t;
    fuzz_folder(dir);
    fuzz_put(path, dir, "tokenizer_config.json", data, bytes);
    if (hs_chat_template_read(&t, dir) == HS_OK && t)
        render(t, &message, 1, true);
    hs_chat_template_free(t);
    unlink(path);
    rmdir(dir);
}

int hs_fuzz_chat(const uint8_t *data, size_t bytes)
{
    static const hs_chat_tokens some = { .bos = "<s>", .eos = "</s>", .unk = "", .pad = NULL }, none = { 0 };
    hs_chat_message message[MESSAGES];
    if (bytes < 1 || !strchr("TtF", data[0]) || !data[0])
        return 0;
    if (data[0] == 'F') {
        read_folder(data + 1, bytes - 1);
        return 0;
    }
    char *all = malloc(bytes); // a zero behind all of it
    must(all != NULL);
    memcpy(all, data + 1, bytes - 1);
    all[bytes - 1] = 0;
    const size_t length = strlen(all);
    int n = 0;
    for (const char *p = all + length + 1; p < all + bytes && n < MESSAGES; n++) {
        message[n].role = p, p += strlen(p) + 1;
        message[n].content = p < all + bytes ? p : "";
        p += p < all + bytes ? strlen(p) + 1 : 0;
    }
    char *source = malloc(length ? length : 1); // of its own: what is read beyond it is seen
    must(source != NULL);
    memcpy(source, all, length);
    parse(source, length, data[0] == 'T' ? &some : &none, message, n, data[0] == 'T');
    free(source);
    free(all);
    return 0;
}

HS_FUZZ_TARGET(chat)
