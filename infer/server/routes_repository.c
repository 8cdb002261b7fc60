// routes_repository: models that are loaded, loaded anew and given up while the server runs, as Triton's model repository extension has it.
// A client names models, never paths of its own choice: those that the server was started with, and folders in o.models.
#include "infer/server/ensemble.h"
#include "infer/server/routes.h"
#include "infer/server/routes_oip.h"
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool may_control(const hs_call *c)
{
    if (!c->server->o.control)
        hs_call_fail(c, 403, "models are not loaded or unloaded by clients here (halfstep serve --control, or --models)");
    else if (!hs_call_of_own_page(c))
        hs_call_fail(c, 403, "the page of another server asks for this");
    else
        return true;
    return false;
}

// An empty body is as good as {}. NULL: it is answered.
static json_t *body_of(const hs_call *c)
{
    size_t bytes;
    (void)hs_http_body(c->http, &bytes);
    json_t *body = bytes ? hs_call_body(c) : json_object();
    if (body && !json_is_object(body)) {
        hs_call_fail(c, 400, "the body must be an object");
        json_decref(body);
        return NULL;
    }
    return body;
}

// ---- what there is

typedef struct index {
    json_t *list;
    bool ready; // those alone
} index_list;

static bool listed(const json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_object_get(json_array_get(list, i), "name")), name) == 0)
            return true;
    return false;
}

static void add(const hs_hub_entry *e, void *user)
{
    index_list *x = user;
    if (x->ready && e->state != HS_HUB_READY)
        return;
    json_t *why = json_string(e->why);
    json_array_append_new(x->list, json_pack("{s:s, s:o, s:s, s:o}", "name", e->name, "version",
                                             e->served ? json_sprintf("%d", e->served->version) : json_string(""), "state",
                                             hs_hub_states[e->state], "reason", why ? why : json_string("")));
}

static bool is_folder(const char *root, const char *name, char path[PATH_MAX])
{
    struct stat s;
    return snprintf(path, PATH_MAX, "%s/%s", root, name) < PATH_MAX && stat(path, &s) == 0 && S_ISDIR(s.st_mode);
}

static void add_folders(index_list *x, const char *root)
{
    char path[PATH_MAX];
    DIR *d = opendir(root);
    for (const struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.' && strlen(e->d_name) < HS_SERVED_NAME && !listed(x->list, e->d_name) && is_folder(root, e->d_name, path)) {
            json_t *one = json_pack("{s:s, s:s, s:s, s:s}", "name", e->d_name, "version", "", "state", hs_hub_states[HS_HUB_UNAVAILABLE],
                                    "reason", "not loaded");
            if (one) // else its name is not UTF-8
                json_array_append_new(x->list, one);
        }
    if (d)
        closedir(d);
}

static void list(hs_call *c)
{
    json_t *body = body_of(c);
    if (!body)
        return;
    index_list x = { .list = json_array(), .ready = json_is_true(json_object_get(body, "ready")) };
    hs_hub_each(c->server->hub, add, &x);
    if (c->server->o.models && !x.ready)
        add_folders(&x, c->server->o.models);
    hs_call_json(c, 200, x.list);
    json_decref(body);
}

// ---- loading: the hub's thread answers

static void done(hs_status st, const char *why, void *user)
{
    hs_call *c = user;
    if (st == HS_OK)
        hs_http_answer(c->http, 200, NULL, NULL, 0);
    else
        hs_call_fail(c, st == HS_MEMORY || st == HS_STOPPED ? 503 : st == HS_UNSUPPORTED ? 501 : 400, "%s: %s", c->arg[0], why);
    free(c);
}

static hs_call *keep(const hs_call *c)
{
    hs_call *kept = malloc(sizeof *kept);
    if (kept)
        *kept = *c;
    else
        hs_call_fail(c, 503, "no memory for a request");
    return kept;
}

// Whether each of them is one that is known: what a client thinks it has said must be so.
static bool check_parameters(const hs_call *c, const json_t *body, const char *known)
{
    const json_t *p = json_object_get(body, "parameters");
    const char *key;
    const json_t *v;
    if (p && !json_is_object(p)) {
        hs_call_fail(c, 400, "parameters must be an object");
        return false;
    }
    json_object_foreach((json_t *)(uintptr_t)p, key, v) if (strcmp(key, known) != 0)
    {
        hs_call_fail(c, 501, "parameter '%.64s' is not supported: a model is what its folder says", key);
        return false;
    }
    return true;
}

static void load(hs_call *c)
{
    char path[PATH_MAX] = "";
    const char *root = c->server->o.models;
    json_t *body = may_control(c) ? body_of(c) : NULL;
    const bool right = body && check_parameters(c, body, "");
    json_decref(body);
    if (!right)
        return;
    const bool known = hs_hub_knows(c->server->hub, c->arg[0]);
    if (!known && (!root || c->arg[0][0] == '.' || !is_folder(root, c->arg[0], path))) {
        hs_call_fail(c, 404, "there is no model '%s' here", c->arg[0]);
        return;
    }
    hs_call *kept = keep(c);
    if (kept)
        hs_hub_load(c->server->hub, c->arg[0], known ? NULL : path, done, kept);
}

// Of an ensemble, its models.
static void unload_parts(const hs_call *c)
{
    hs_served *m = hs_hub_find(c->server->hub, c->arg[0], 0, 0);
    for (int i = 0; m && m->ensemble && i < m->ensemble->n_parts; i++)
        hs_hub_unload(c->server->hub, m->ensemble->part[i].model, NULL, NULL);
    hs_served_let_go(m);
}

static void unload(hs_call *c)
{
    json_t *body = may_control(c) ? body_of(c) : NULL;
    const bool right = body && check_parameters(c, body, "unload_dependents");
    const bool parts = right && json_is_true(json_object_get(json_object_get(body, "parameters"), "unload_dependents"));
    json_decref(body);
    if (!right)
        return;
    if (!hs_hub_knows(c->server->hub, c->arg[0])) {
        hs_call_fail(c, 404, "there is no model '%s' here", c->arg[0]);
        return;
    }
    hs_call *kept = keep(c);
    if (!kept)
        return;
    if (parts)
        unload_parts(c);
    hs_hub_unload(c->server->hub, c->arg[0], done, kept);
}

const hs_route hs_routes_repository[] = {
    { .method = "POST", .pattern = "/v2/repository/index", .run = list },
    { .method = "POST", .pattern = "/v2/repository/models/{}/load", .run = load },
    { .method = "POST", .pattern = "/v2/repository/models/{}/unload", .run = unload },
    { 0 },
};
