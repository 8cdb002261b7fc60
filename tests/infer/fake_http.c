// fake_http: see the header. One request at a time.
#include "tests/infer/fake_http.h"
#include "core/base/clock.h"
#include "tests/support/support_fuzz.h"
#include <pthread.h>
#include <strings.h>

enum { HEADERS = 16 };
struct hs_http {
    hs_http_opts o;
    pthread_mutex_t lock; // of the request's answer
    pthread_cond_t over;
};
struct hs_http_request {
    hs_http *http;
    const char *method, *path, *name[HEADERS], *value[HEADERS];
    int n_headers, n_more, looked;
    char *body; // NUL behind
    size_t bytes;
    int64_t began;
    void *note;
    bool answered, over;
    fake_answer *a;
};

// ---- life

hs_status hs_http_start(hs_http **out, const hs_http_opts *o)
{
    hs_http *h = *out = calloc(1, sizeof *h);
    must(h != NULL);
    h->o = *o;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->over, NULL);
    return HS_OK;
}

void hs_http_stop(hs_http *h)
{
    if (!h)
        return;
    pthread_cond_destroy(&h->over);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

int hs_http_port(const hs_http *h) { return h->o.port; }
int64_t hs_http_connections(const hs_http *h) { return h ? 0 : 1; }
int64_t hs_http_under_way(const hs_http *h) { return h ? 0 : 1; }
size_t hs_http_held(const hs_http *h) { return h ? 0 : 1; }
uint64_t hs_http_taken(const hs_http *h) { return h ? 0 : 1; }
void hs_http_quiesce(hs_http *h) { (void)h; }
const char *hs_http_library(void) { return "none"; }

// ---- a request

const char *hs_http_method(const hs_http_request *r) { return r->method; }
const char *hs_http_path(const hs_http_request *r) { return r->path; }
const char *hs_http_header(const hs_http_request *r, const char *name)
{
    for (int i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->name[i], name) == 0)
            return r->value[i];
    return NULL;
}
const char *hs_http_body(const hs_http_request *r, size_t *bytes)
{
    *bytes = r->bytes;
    return r->body;
}
int64_t hs_http_arrived(const hs_http_request *r) { return r->began; }
int64_t hs_http_handed(const hs_http_request *r) { return r->began; }
void hs_http_set_note(hs_http_request *r, void *note) { r->note = note; }

bool hs_http_gone(hs_http_request *r)
{
    pthread_mutex_lock(&r->http->lock);
    const bool gone = ++r->looked > FAKE_PATIENCE;
    pthread_mutex_unlock(&r->http->lock);
    return gone;
}

// ---- its answer

void hs_http_add_header(hs_http_request *r, const char *name, const char *value)
{
    must(!r->answered && name[0] && !strpbrk(name, "\r\n:") && !strpbrk(value, "\r\n"));
    r->n_more++;
    must(r->n_more <= HS_HTTP_MORE);
}

static void begin_answer(hs_http_request *r, int status, const char *type)
{
    must(!r->answered && status >= 200 && status <= 599);
    r->answered = true;
    r->a->status = status;
    snprintf(r->a->type, sizeof r->a->type, "%s", type ? type : "");
}

// The last that its holder does: whoever asked goes on.
static void end_answer(hs_http_request *r)
{
    hs_http *h = r->http;
    pthread_mutex_lock(&h->lock);
    must(r->answered && !r->over);
    r->over = true;
    pthread_cond_signal(&h->over);
    pthread_mutex_unlock(&h->lock);
}

static void add(fake_answer *a, const void *bytes, size_t n)
{
    a->body = realloc(a->body, a->bytes + n + 1);
    must(a->body != NULL);
    if (n)
        memcpy(a->body + a->bytes, bytes, n);
    a->bytes += n;
    a->body[a->bytes] = 0;
}

void hs_http_answer(hs_http_request *r, int status, const char *type, char *body, size_t bytes)
{
    begin_answer(r, status, type);
    add(r->a, body, bytes);
    free(body);
    end_answer(r);
}

void hs_http_stream_begin(hs_http_request *r, int status, const char *type)
{
    begin_answer(r, status, type);
    r->a->stream = true;
    add(r->a, "", 0);
}

bool hs_http_stream_add(hs_http_request *r, const void *bytes, size_t n)
{
    must(r->a->stream);
    add(r->a, bytes, n);
    return true;
}

void hs_http_stream_end(hs_http_request *r)
{
    must(r->a->stream);
    end_answer(r);
}

// ---- whoever asks

// The next line, NUL behind it in place of its end; *p: behind it.
static char *line_of(char **p, char *end)
{
    char *line = *p, *stop = memchr(line, '\n', (size_t)(end - line));
    *p = stop ? stop + 1 : end;
    *(stop ? stop : end) = 0;
    line[strcspn(line, "\r")] = 0; // no value has one
    return line;
}

void fake_http_ask(hs_http *h, const void *text, size_t bytes, fake_answer *a)
{
    hs_http_request r = { .http = h, .began = hs_now_ns(), .a = a };
    char *all = malloc(bytes + 1), *p = all, *end = all + bytes;
    must(all != NULL);
    memcpy(all, text, bytes);
    *a = (fake_answer){ 0 };
    char *first = line_of(&p, end), *blank = strchr(first, ' ');
    r.method = first, r.path = blank ? blank + 1 : "/";
    if (blank)
        *blank = 0;
    for (char *line; p < end && (line = line_of(&p, end))[0];) {
        char *colon = strchr(line, ':');
        if (!colon || r.n_headers == HEADERS)
            continue;
        *colon = 0;
        r.name[r.n_headers] = line, r.value[r.n_headers++] = colon + 1 + strspn(colon + 1, " ");
    }
    r.bytes = (size_t)(end - p);
    r.body = malloc(r.bytes + 1); // of its own: what is read beyond it is seen
    must(r.body != NULL);
    memcpy(r.body, p, r.bytes);
    r.body[r.bytes] = 0;
    h->o.handler(&r, h->o.user);
    pthread_mutex_lock(&h->lock);
    while (!r.over)
        pthread_cond_wait(&h->over, &h->lock);
    pthread_mutex_unlock(&h->lock);
    if (r.note && h->o.noted)
        h->o.noted(r.note,
                   &(hs_http_times){ .arrived = r.began, .handed = r.began, .answered = r.began, .over = r.began, .status = a->status },
                   h->o.user);
    free(r.body), free(all);
}

void fake_answer_free(fake_answer *a)
{
    free(a->body);
    *a = (fake_answer){ 0 };
}
