#!/usr/bin/env python3
"""Opens the event files of a run with TensorBoard itself and compares them with its metrics.jsonl.

  scripts/check_tensorboard.py RUN_DIR            TensorBoard's reader (EventAccumulator, what `tensorboard --inspect` uses)
  scripts/check_tensorboard.py RUN_DIR --server   and the program: `tensorboard` on a port of this machine, asked over HTTP,
                                                  with each of its two loaders
  scripts/check_tensorboard.py --vectors          the records that tests/data/test_tensorboard.c expects, as C

Needs the Python package tensorboard. Exit code 1 if a tag, step or value differs.
"""
import argparse
import io
import json
import math
import os
import re
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request


def as_float(x):
    """x in the type that the event file holds."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def fits(x):
    try:
        return x is not None and math.isfinite(as_float(x))
    except OverflowError:
        return False


def read_metrics(run_dir):
    points = {}
    with open(os.path.join(run_dir, "metrics.jsonl")) as f:
        for line in f:
            row = json.loads(line)
            step = row.pop("step")
            for tag, value in row.items():
                if fits(value):
                    points.setdefault(tag, []).append((step, as_float(value)))
    return points


def differences(want, got):
    for tag in sorted(want.keys() | got.keys()):
        w, g = want.get(tag, []), got.get(tag, [])
        if w != g:
            first = next((i for i, (a, b) in enumerate(zip(w, g)) if a != b), min(len(w), len(g)))
            yield f"{tag}: {len(w)} points wanted, {len(g)} got; point {first}: {w[first:first + 1]} wanted, {g[first:first + 1]} got"


def report(what, want, got):
    wrong = list(differences(want, got))
    for line in wrong:
        print(f"{what}: {line}")
    if not wrong:
        print(f"{what}: {len(want)} tags, {sum(map(len, want.values()))} points, all as in metrics.jsonl")
    return not wrong


def from_reader(run_dir):
    from tensorboard.backend.event_processing import event_accumulator as ea

    reader = ea.EventAccumulator(run_dir, size_guidance={ea.SCALARS: 0})
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


class Server:
    def __init__(self, run_dir, fast):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", "--logdir", run_dir, "--host", "127.0.0.1", "--port", "0", "--load_fast", fast,
             "--samples_per_plugin", f"scalars={10**9}", "--reload_interval", "1"],  # 0 is documented as "all" and shows none
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.url, self.output = None, []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.output.append(line)
            found = re.search(r"at (http://127\.0\.0\.1:\d+)/", line)
            if found:
                self.url = found.group(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, path, **query):
        url = f"{self.url}/data/plugin/scalars/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
            return json.load(answer)

    def points(self):
        tags = self.ask("tags").get(".", {})
        return {tag: [(step, value) for _, step, value in self.ask("scalars", run=".", tag=tag)] for tag in tags}

    def settled(self, want, seconds):
        """What it shows; it loads in the background, so wait until that is what is wanted or the time is over."""
        end, got = time.time() + seconds, {}
        while time.time() < end and self.process.poll() is None:
            if self.url:
                got = self.points()
                if got == want:
                    break
            time.sleep(0.5)
        if self.url is None:
            sys.exit("tensorboard did not start:\n" + "".join(self.output))
        return got


def vectors():
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    def scalars(step, **values):
        value = [Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()]
        return Event(wall_time=1700000000.25, step=step, summary=Summary(value=value))

    start = {step: Event(wall_time=1700000000.25, step=step, session_log=SessionLog(status=SessionLog.START)) for step in (0, 301)}
    events = [
        Event(wall_time=1700000000.25, file_version="brain.Event:2"), start[0], scalars(0, zero=0.0),
        scalars(10, loss=4.17, lr=1e-3, grad_norm=-1.5), scalars(1 << 40, **{"t" * 200: 1e-40, "größe": -0.0}), scalars(-1, s=3.4028234e38),
        Event(wall_time=1700000000.25, file_version="brain.Event:2"), start[301],
    ]
    for event in events:
        out = io.BytesIO()
        RecordWriter(out).write(event.SerializeToString())
        text = out.getvalue().hex()
        print("    " + "\n    ".join(f'"{text[i:i + 120]}"' for i in range(0, len(text), 120)) + ",")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", nargs="?")
    parser.add_argument("--server", action="store_true")
    parser.add_argument("--vectors", action="store_true")
    parser.add_argument("--wait", type=float, default=60, help="seconds the server may take to show all (default 60)")
    o = parser.parse_args()
    if o.vectors:
        return vectors()
    if not o.run_dir:
        parser.error("RUN_DIR is missing")
    want = read_metrics(o.run_dir)
    if not want:
        sys.exit(f"{o.run_dir}/metrics.jsonl has no numbers")
    right = report("reader", want, from_reader(o.run_dir))
    for fast in ("false", "true") if o.server else ():
        with Server(o.run_dir, fast) as server:
            right &= report(f"server --load_fast {fast}", want, server.settled(want, o.wait))
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
