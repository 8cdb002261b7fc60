#!/usr/bin/env python3
# Measures halfstep serve on a model that continues texts: tokens a second, time to the first token and between tokens, at several numbers of
# clients, each asking again as soon as it has its answer; and the first token of prompts that begin alike, with the first of them and behind it.
#   python3 scripts/bench_serve_text.py --halfstep build/halfstep DIR [--clients 1,4,16] [--requests 4] [--prompt 64] [--tokens 64] [--serve "--slots 8"]
import argparse
import http.client
import json
import random
import shlex
import subprocess
import threading
import time


def ask(port, ids, tokens):
    """Times of the events of a stream, from the request on."""
    c = http.client.HTTPConnection("127.0.0.1", port)
    start = time.perf_counter()
    c.request("POST", "/v1/completions", json.dumps({"prompt": ids, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True, "logprobs": 0,
                                                     "stream_options": {"include_usage": True}}), {"Content-Type": "application/json"})
    times, used = [], None
    for line in c.getresponse():
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            if event.get("usage"):
                used = event["usage"]
            elif event["choices"][0]["text"]:
                times.append(time.perf_counter() - start)
    c.close()
    return times, used


def at(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--halfstep", default="build/halfstep")
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=50000)
    parser.add_argument("dir")
    parser.add_argument("--serve", default="", help="options of halfstep serve")
    args = parser.parse_args()
    server = subprocess.Popen([args.halfstep, "serve", "m=" + args.dir, "--port", "0", "--json"] + shlex.split(args.serve), stdout=subprocess.PIPE, text=True)
    try:
        port = json.loads(server.stdout.readline())["port"]
        draw = random.Random(1)
        ask(port, [1, 2, 3], 4)
        for clients in map(int, args.clients.split(",")):
            first, between, tokens = [], [], []

            def work():
                for _ in range(args.requests):
                    times, used = ask(port, [draw.randrange(args.vocab) for _ in range(args.prompt)], args.tokens)
                    first.append(times[0])
                    between.extend(b - a for a, b in zip(times, times[1:]))
                    tokens.append(used["completion_tokens"])

            threads = [threading.Thread(target=work) for _ in range(clients)]
            start = time.perf_counter()
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            seconds = time.perf_counter() - start
            print(f"{clients:4d} clients: {sum(tokens) / seconds:8.1f} tokens/s, first token {at(first, .5):7.1f} ms (p95 {at(first, .95):.1f}), "
                  f"next {at(between, .5):6.1f} ms (p95 {at(between, .95):.1f})", flush=True)
        same = [draw.randrange(args.vocab) for _ in range(512)]
        for what in ["first of its kind", "behind it", "behind it"]:
            times, used = ask(port, same + [draw.randrange(args.vocab) for _ in range(16)], 8)
            print(f"a prompt of 528 tokens, {what}: first token {times[0] * 1e3:.1f} ms, {used['prompt_tokens_details']['cached_tokens']} tokens found", flush=True)
    finally:
        server.terminate()
        server.wait()


main()
