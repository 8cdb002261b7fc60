#!/usr/bin/env python3
# halfstep serve under OpenAI's own Python client, unchanged: completions, chat, streams, usage, errors; texts are those of halfstep generate.
#   python3 scripts/check_serve_openai.py --halfstep build/halfstep [--encoder ENCODER] DIR      DIR: a model that continues texts; ENCODER:
#   one that gives vectors, for embeddings too; needs the package openai
# DIR is served from a copy with a chat template (ChatML without tokens of its own), unless it has one.
import argparse
import json
import os
import shutil
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import openai

TEMPLATE = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] | trim + '\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
PROMPTS = ["The cat", "Once upon a time, in a land far away,", "1 2 3 4", "Ünïcödé €", "def main():", "The cat sat on the mat and"]


def check(ok, what):
    print(("ok    " if ok else "WRONG ") + what)
    if not ok:
        raise SystemExit(1)


def fails(kind, call, param=None):
    try:
        call()
    except kind as e:
        return param is None or e.param == param
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--halfstep", default="build/halfstep")
    parser.add_argument("--encoder")
    parser.add_argument("dir")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        model = os.path.join(tmp, "model")
        os.mkdir(model)
        for name in os.listdir(args.dir):
            path = os.path.join(args.dir, name)
            if os.path.isfile(path):
                (os.symlink if name.endswith(".safetensors") else shutil.copy)(os.path.abspath(path), os.path.join(model, name))
        if not os.path.exists(os.path.join(model, "chat_template.jinja")):
            with open(os.path.join(model, "chat_template.jinja"), "w") as f:
                f.write(TEMPLATE)

        def generate(prompt, *more):
            out = subprocess.run([args.halfstep, "generate", model, "--prompt", prompt, "--json", *more], capture_output=True, check=True, text=True)
            said = json.loads(out.stdout)
            return said

        options = ["--max-tokens", "16", "--top-p", "0.9", "--temperature", "0.8", "--seed", "11"]
        want = [generate(p, *options)["text"] for p in PROMPTS]
        greedy = generate(PROMPTS[0], "--max-tokens", "8", "--temperature", "0")["text"]
        encoder = ["e=" + args.encoder] if args.encoder else []
        server = subprocess.Popen([args.halfstep, "serve", "m=" + model, *encoder, "--port", "0", "--json", "--slots", "4"], stdout=subprocess.PIPE, text=True)
        try:
            said = json.loads(server.stdout.readline())
            client = openai.OpenAI(base_url=f"http://127.0.0.1:{said['port']}/v1", api_key="none", max_retries=0)
            if args.encoder:
                embeddings(client)
            run(client, want, greedy, ["m", "e"] if args.encoder else ["m"])
        finally:
            server.terminate()
            check(server.wait() == 0, "the server ends in order")


def embeddings(client):
    texts = PROMPTS[:3]

    def f32(v):  # as text a number is the shortest that gives the float
        return struct.unpack(f"{len(v)}f", struct.pack(f"{len(v)}f", *v))

    def vectors(**how):
        return [f32(e.embedding) for e in client.embeddings.create(model="e", **how).data]

    want = vectors(input=texts)  # the client asks for base64 by itself
    check(len(want) == 3 and len({len(v) for v in want}) == 1, "embeddings")
    check(vectors(input=texts, encoding_format="float") == want, "the same as numbers")
    check([vectors(input=t)[0] for t in texts] == want, "the same one by one")
    check(vectors(input=texts, dimensions=len(want[0])) == want, "of the width that they have")
    check(fails(openai.BadRequestError, lambda: vectors(input=texts, dimensions=1)), "not of another")
    check(len(vectors(input=[[3, 5, 7], [2]])) == 2 and vectors(input=[3, 5, 7]) == vectors(input=[[3, 5, 7]]), "of ids")


def run(client, want, greedy, names):
    check([m.id for m in client.models.list()] == names and client.models.retrieve("m").owned_by == "halfstep", "models")
    how = dict(model="m", max_tokens=16, top_p=0.9, temperature=0.8, seed=11)

    def ask(i):
        if i % 2:
            return client.completions.create(prompt=PROMPTS[i % 6], **how).choices[0].text
        return "".join(c.choices[0].text for c in client.completions.create(prompt=PROMPTS[i % 6], stream=True, **how))

    with ThreadPoolExecutor(12) as pool:
        got = list(pool.map(ask, range(36)))
    check(got == [want[i % 6] for i in range(36)], "36 completions, 12 at once, half of them streams: the texts of halfstep generate")
    c = client.completions.create(model="m", prompt=PROMPTS[0], max_tokens=8, temperature=0, logprobs=3)
    check(c.choices[0].text == greedy and c.choices[0].finish_reason == "length", "a greedy completion")
    p = c.choices[0].logprobs
    check(len(p.tokens) == 8 and p.token_logprobs[0] == max(p.top_logprobs[0].values()) and "".join(p.tokens) == greedy, "its logprobs")
    check(c.usage.completion_tokens == 8 and c.usage.total_tokens == c.usage.prompt_tokens + 8, "its usage")
    c = client.completions.create(prompt=[PROMPTS[0], PROMPTS[2]], n=2, echo=True, **how)
    texts = [x.text for x in c.choices]
    check(len(texts) == 4 and texts[0] == PROMPTS[0] + want[0] and texts[2] == PROMPTS[2] + want[2] and texts[0] != texts[1], "two prompts, two texts each, echoed")
    events = list(client.completions.create(prompt=PROMPTS[0], stream=True, stream_options={"include_usage": True}, **how))
    check(events[-1].usage.completion_tokens == 16 and not events[-1].choices and events[0].usage is None, "usage behind a stream")
    stop = greedy[3:6]
    c = client.completions.create(model="m", prompt=PROMPTS[0], max_tokens=8, temperature=0, stop=[stop, "never there"])
    check(c.choices[0].text == greedy[:greedy.index(stop)] and c.choices[0].finish_reason == "stop", "a stop string")
    c = client.completions.create(model="m", prompt=[1, 2, 3], max_tokens=3, temperature=0, logit_bias={"7": 100})
    check(len(c.choices[0].text) > 0 and c.usage.prompt_tokens == 3, "a prompt of ids, and a bias")
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Who is there?"}]}]
    c = client.chat.completions.create(model="m", messages=messages, max_tokens=12, seed=5, logprobs=True, top_logprobs=2)
    check(c.choices[0].message.role == "assistant" and c.object == "chat.completion" and len(c.choices[0].logprobs.content) == 12, "a chat")
    events = list(client.chat.completions.create(model="m", messages=messages, max_tokens=12, seed=5, stream=True))
    check("".join(e.choices[0].delta.content or "" for e in events) == c.choices[0].message.content, "the same as a stream")
    check(events[0].choices[0].delta.role == "assistant" and events[-1].choices[0].finish_reason == "length", "its first and last events")
    again = client.chat.completions.create(model="m", messages=messages, max_tokens=12, seed=5)
    check(again.choices[0].message.content == c.choices[0].message.content, "the same once more")
    check(fails(openai.BadRequestError, lambda: client.completions.create(model="m", prompt="a", temperature=3), "temperature"), "a value out of range")
    check(fails(openai.BadRequestError, lambda: client.completions.create(model="m", prompt="a", suffix="b"), "suffix"), "what is not supported")
    check(fails(openai.BadRequestError, lambda: client.completions.create(model="m", prompt="a", max_tokens=10**6)), "more than the context")
    check(fails(openai.NotFoundError, lambda: client.completions.create(model="none", prompt="a")), "a model that is not there")
    stream = client.completions.create(model="m", prompt="a", max_tokens=400, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    c = client.completions.create(model="m", prompt="a", max_tokens=1)
    check(c.usage.completion_tokens == 1, "behind a stream that was left")


main()
