#!/usr/bin/env python3
"""Labels and scores of `halfstep predict` beside transformers' on the same model, and how long both take.

    scripts/check_predict.py --halfstep build/halfstep --model DIR --file FILE [--limit 1000] [--threads 2] [--time]

Needs torch and transformers. DIR is a model with a head for tokens or for sequences and its tokenizer. FILE: CoNLL columns for the one (word
first), "label text" or texts a line each for the other. Ends with 1 where a label differs whose two best scores are further apart than 1e-3,
or a score by more than 1e-3. --time: both over all of it, after a first time that does not count; transformers with batches of 32 sorted by
length, the best of fp32 and bf16, tokenizing included; start-up of neither counts.
"""
import argparse, json, os, re, subprocess, sys, tempfile, time
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer


def sentences(path, limit):
    out, words = [], []
    for line in open(path, encoding="utf-8"):
        if line.strip():
            words.append(line.split("\t")[0].split(" ")[0].strip())
        elif words:
            out.append(words)
            words = []
    return (out + [words] if words else out)[:limit]


def texts(path, limit):
    lines = [l.rstrip("\r\n") for l in open(path, encoding="utf-8") if l.strip()]
    lead = all(re.match(r"-?\d+ ", l) for l in lines)
    return [l.split(" ", 1)[1] if lead else l for l in lines][:limit]


def batches(items, length, size=32):
    order = sorted(range(len(items)), key=lambda i: length(items[i]))
    for k in range(0, len(order), size):
        yield order[k:k + size]


class Peer:
    def __init__(self, model, tokens, max_length, dtype):
        self.tokenizer = AutoTokenizer.from_pretrained(model, **({"add_prefix_space": True} if "roberta" in AutoConfig.from_pretrained(model).model_type else {}))
        kind = AutoModelForTokenClassification if tokens else AutoModelForSequenceClassification
        self.model, self.tokens, self.length = kind.from_pretrained(model, dtype=dtype).eval(), tokens, max_length

    def run(self, items):
        out = [None] * len(items)
        for rows in batches(items, len if self.tokens else lambda t: t.count(" ")):
            t = self.tokenizer([items[i] for i in rows], is_split_into_words=self.tokens, padding=True, truncation=True, max_length=self.length,
                               return_tensors="pt")
            with torch.inference_mode():
                p = self.model(**t).logits.float().softmax(-1)
            for k, i in enumerate(rows):
                if not self.tokens:
                    out[i] = p[k]
                    continue
                word, first = t.word_ids(k), {}
                for at, w in enumerate(word):
                    if w is not None and w not in first:
                        first[w] = p[k, at]
                out[i] = first
        return out


def ours(a, path, extra=()):
    cmd = [a.halfstep, "predict", a.model, path, "--json", "--threads", str(a.threads), "--max-length", str(a.max_length), *extra]
    r = subprocess.run(cmd, capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    rate = re.search(r"([0-9.]+) examples/s", r.stderr)
    return [json.loads(l) for l in r.stdout.splitlines()], float(rate.group(1)) if rate else 0


def compare(labels, tokens, got, want):
    worst, differ, n = 0.0, 0, 0
    for g, w in zip(got, want):
        pairs = [(g["tags"][k], g["scores"][k], w[k]) for k in range(len(g["tags"])) if k in w] if tokens else [(g["label"], max(g["scores"].values()), w)]
        for label, score, p in pairs:
            n += 1
            top = p.topk(2).values
            worst = max(worst, abs(score - float(p.max())))
            differ += label != labels[int(p.argmax())] and float(top[0] - top[1]) > 1e-3
    return worst, differ, n


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--halfstep", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--file", required=True)
    p.add_argument("--limit", type=int, default=1000)
    p.add_argument("--max-length", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--time", action="store_true")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    config = AutoConfig.from_pretrained(a.model)
    labels, tokens = config.id2label, "Token" in config.architectures[0]
    items = sentences(a.file, a.limit) if tokens else texts(a.file, a.limit)
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "texts")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines("".join(w + "\n" for w in s) + "\n" if tokens else s + "\n" for s in items)
        extra = ["--format", "conll" if tokens else "text"]
        got, _ = ours(a, path, extra)
        want = Peer(a.model, tokens, a.max_length, torch.float32).run(items)
        worst, differ, n = compare(labels, tokens, got, want)
        print(f"{len(items)} examples, {n} labels: {differ} differ, largest difference of a score {worst:.2e}")
        if a.time:
            rate = {}
            for dtype in ("fp32", "bf16"):
                rate["halfstep " + dtype] = max(ours(a, path, [*extra, "--dtype", dtype])[1] for _ in range(2))
                peer = Peer(a.model, tokens, a.max_length, torch.float32 if dtype == "fp32" else torch.bfloat16)
                peer.run(items[:64])
                start = time.time()
                peer.run(items)
                rate["transformers " + dtype] = len(items) / (time.time() - start)
            for k, v in rate.items():
                print(f"{k:20} {v:9.1f} examples/s")
            best = [max(v for k, v in rate.items() if k.startswith(who)) for who in ("halfstep", "transformers")]
            print(f"best against best    {best[0] / best[1]:9.2f}")
    sys.exit(differ > 0 or worst > 1e-3)


if __name__ == "__main__":
    main()
