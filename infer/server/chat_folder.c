// chat_folder: where the template of a directory lies, and the tokens that it may name.
#include "data/base/file.h"
#include "data/base/json_util.h"
#include "infer/server/chat_template.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const json_t *token) // a string, or an added token
{
    return json_is_object(token) ? json_string_value(json_object_get(token, "content")) : json_string_value(token);
}

static const json_t *listed(const json_t *chat) // of several by name the default one
{
    for (size_t i = 0; i < json_array_size(chat); i++) {
        const json_t *one = json_array_get(chat, i);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && strcmp(name, "default") == 0)
            return json_object_get(one, "template");
    }
    return chat;
}

hs_status hs_chat_template_read(hs_chat_template **out, const char *dir)
{
    char said[PATH_MAX], beside[PATH_MAX];
    hs_json j = { 0 };
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    snprintf(said, sizeof said, "%s/tokenizer_config.json", dir);
    snprintf(beside, sizeof beside, "%s/chat_template.jinja", dir);
    if (access(said, F_OK) == 0)
        HS_TRY(hs_json_open(&j, said));
    const json_t *chat = listed(json_object_get(j.root, "chat_template"));
    const hs_chat_tokens tokens = { .bos = text_of(json_object_get(j.root, "bos_token")),
                                    .eos = text_of(json_object_get(j.root, "eos_token")),
                                    .unk = text_of(json_object_get(j.root, "unk_token")),
                                    .pad = text_of(json_object_get(j.root, "pad_token")) };
    hs_status st = HS_OK;
    if (access(beside, F_OK) == 0) {
        st = hs_file_read(beside, &text, &bytes);
        if (st == HS_OK)
            st = hs_chat_template_parse(out, text, bytes, &tokens, beside);
    } else if (json_is_string(chat)) {
        snprintf(beside, sizeof beside, "%s/tokenizer_config.json: chat_template", dir);
        st = hs_chat_template_parse(out, json_string_value(chat), json_string_length(chat), &tokens, beside);
    } else if (chat && !json_is_null(chat))
        st = HS_FAIL(UNSUPPORTED, "%s: chat_template has none called default", said);
    free(text);
    hs_json_close(&j);
    return st;
}
