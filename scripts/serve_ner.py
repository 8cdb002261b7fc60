#!/usr/bin/env python3
"""A well-made Python server of named entities: the peer of `halfstep serve`'s /ner, to be run by scripts/bench_serve.sh --parts spans.

    serve_ner.py --encoder DIR --port 8080 [--group 4] [--together 32]

transformers' token-classification pipeline (aggregation "simple": spans with offsets) behind uvicorn and starlette, one process. Requests that wait
are taken together, up to --together texts; an idle pipeline waits 2 ms for more. Texts are sorted by length and run --group at a time, since padding costs. The
pipeline has a thread of its own, with OMP_NUM_THREADS threads. POST /ner {"inputs": a text or a list}, GET /health.
"""
import argparse, asyncio, collections, concurrent.futures, os
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import orjson, torch, uvicorn, uvloop
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

WAIT = 0.002


class Batcher:
    def __init__(self, run, most):
        self.run, self.most, self.queue, self.wake = run, most, collections.deque(), asyncio.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(1)

    async def ask(self, texts):
        done = asyncio.get_running_loop().create_future()
        self.queue.append((texts, done))
        self.wake.set()
        return await done

    async def work(self):
        loop = asyncio.get_running_loop()
        while True:
            if not self.queue:
                self.wake.clear()
                await self.wake.wait()
                await asyncio.sleep(WAIT)
            taken, n = [], 0
            while self.queue and (not taken or n + len(self.queue[0][0]) <= self.most):
                taken.append(self.queue.popleft())
                n += len(taken[-1][0])
            try:
                found = await loop.run_in_executor(self.pool, self.run, [t for texts, _ in taken for t in texts])
            except Exception as e:  # one answer for all of them: this is a benchmark's peer
                for _, done in taken:
                    done.set_exception(e)
                continue
            at = 0
            for texts, done in taken:
                done.set_result(found[at:at + len(texts)])
                at += len(texts)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--encoder", required=True)
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--group", type=int, default=4)
    p.add_argument("--together", type=int, default=32)
    p.add_argument("--dir", help="of files that a peer makes: none here")
    a = p.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    pipe = pipeline("token-classification", model=AutoModelForTokenClassification.from_pretrained(a.encoder).eval(),
                    tokenizer=AutoTokenizer.from_pretrained(a.encoder), aggregation_strategy="simple")

    def run(texts):
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = [None] * len(texts)
        with torch.inference_mode():
            for i, spans in zip(order, pipe([texts[i] for i in order], batch_size=a.group)):
                found[i] = [{"label": s["entity_group"], "text": s["word"], "start": s["start"], "end": s["end"], "score": float(s["score"])} for s in spans]
        return found

    batcher = Batcher(run, a.together)

    async def ner(request):
        inputs = orjson.loads(await request.body())["inputs"]
        found = await batcher.ask([inputs] if isinstance(inputs, str) else inputs)
        return Response(orjson.dumps(found[0] if isinstance(inputs, str) else found), media_type="application/json")

    async def health(_):
        return Response(b"ok")

    app = Starlette(routes=[Route("/ner", ner, methods=["POST"]), Route("/health", health)])

    async def serve():
        work = asyncio.create_task(batcher.work())
        await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=a.port, log_level="warning", loop="uvloop", http="httptools")).serve()
        work.cancel()

    uvloop.run(serve())


if __name__ == "__main__":
    main()
