#!/usr/bin/env python3
"""Vectors of `halfstep embed`, and guesses of `halfstep fill-mask`, beside those of transformers on the same weights.

    scripts/check_embed.py --halfstep build/halfstep --model DIR [--text FILE] [--dtype fp32] [--tolerance 1e-5]

Needs torch, transformers and numpy. DIR is an encoder's folder; with a pooling of sentence-transformers in it, `embed` without options is
compared with that. Prints the largest difference of a number for each pooling, and ends with 1 where one is above the tolerance (of mean,
CLS and largest, of vectors whose numbers are about 1). A model with a language model's head also fills the masks of a few texts.
"""
import argparse, json, os, subprocess, sys, tempfile
import numpy as np, torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

TEXTS = ["The cat sits on the mat.", "A man is eating food.", "", "x", "The quick brown fox jumps over the lazy dog, and then it rests for a while.",
         "Café, naïve, 東京 and ünïcödé.", "1234567890 " * 40, "a long text about nothing " * 200, "What is the capital of France?", "[MASK] and [SEP] in a text"]


def pooled(hidden, mask, pooling):
    m = mask.unsqueeze(-1)
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "max":
        return hidden.masked_fill(m == 0, float("-inf")).max(1).values
    return (hidden * m).sum(1) / m.sum(1)


def peer(model, tokenizer, texts, length, pooling, normalize):
    out = []
    for text in texts:
        t = tokenizer([text], truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            v = pooled(model(**t).last_hidden_state, t["attention_mask"].float(), pooling)
        out.append((torch.nn.functional.normalize(v) if normalize else v)[0].numpy())
    return np.stack(out)


def run(program, *args, text=None):
    r = subprocess.run([program, *args], input=text, capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"{' '.join(args)}: {r.stderr}")
    return r.stdout


def ours(a, texts, *options):
    lines = run(a.halfstep, "embed", a.model, "--input", "-", "--json", "--dtype", a.dtype, *options, text="".join(t + "\n" for t in texts))
    return np.array([json.loads(l)["embedding"] for l in lines.splitlines()], np.float32)


def folder_says(folder, context):
    def read(*name):
        path = os.path.join(folder, *name)
        return json.load(open(path)) if os.path.exists(path) else {}
    pooling = read("1_Pooling", "config.json")
    modes = [m for m, k in (("mean", "mean_tokens"), ("cls", "cls_token"), ("max", "max_tokens")) if pooling.get("pooling_mode_" + k)]
    modules = read("modules.json") or []
    return (modes or ["mean"])[0], any(m["type"].endswith("Normalize") for m in modules), read("sentence_bert_config.json").get("max_seq_length") or context


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--halfstep", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--text")
    p.add_argument("--dtype", default="fp32")
    p.add_argument("--tolerance", type=float, default=1e-5)
    a = p.parse_args()
    texts = open(a.text, encoding="utf-8").read().splitlines() if a.text else TEXTS
    tokenizer, model = AutoTokenizer.from_pretrained(a.model), AutoModel.from_pretrained(a.model, dtype=torch.float32).eval()
    pooling, normalize, length = folder_says(a.model, min(model.config.max_position_embeddings, tokenizer.model_max_length))
    rows = [("as the folder says", (), pooling, normalize)]
    rows += [(f"{q}{', normalized' if n else ''}", ("--pooling", q, "--normalize" if n else "--no-normalize"), q, n) for q in ("mean", "cls", "max") for n in (0, 1)]
    worst = 0
    for name, options, q, n in rows:
        want, got = peer(model, tokenizer, texts, length, q, n), ours(a, texts, *options)
        difference = np.abs(want - got).max()
        worst = max(worst, difference)
        print(f"{name:22s} {len(texts)} texts of {want.shape[1]} numbers up to {np.abs(want).max():.3f}: largest difference {difference:.2e}")
    with tempfile.TemporaryDirectory() as d:
        for form in ("npy", "f32"):
            path = os.path.join(d, "v." + form)
            run(a.halfstep, "embed", a.model, "--input", "-", "--quiet", "--dtype", a.dtype, "--output", path, "--format", form, text="".join(t + "\n" for t in texts))
            got = np.load(path) if form == "npy" else np.fromfile(path, "<f4").reshape(len(texts), -1)
            if not np.array_equal(got, ours(a, texts)):
                sys.exit(f"--format {form} gives other numbers than --json")
    if any("MaskedLM" in c or ("PreTraining" in c and "Electra" not in c) for c in model.config.architectures or []):
        head = AutoModelForMaskedLM.from_pretrained(a.model, dtype=torch.float32).eval()
        mask = tokenizer.mask_token
        for text in (f"Paris is the {mask} of France.", f"The {mask} barks at the {mask}."):
            got = json.loads(run(a.halfstep, "fill-mask", a.model, text, "--json", "--top-k", "5", "--dtype", a.dtype))["masks"]
            t = tokenizer([text], return_tensors="pt")
            with torch.no_grad():
                p = head(**t).logits[0].double().softmax(-1)
            for k, at in enumerate((t["input_ids"][0] == tokenizer.mask_token_id).nonzero().flatten().tolist()):
                top = p[at].topk(5)
                difference = max(abs(g["score"] - p[at, g["id"]].item()) for g in got[k])
                worst = max(worst, difference)
                print(f"{text:40s} {[g['token'] for g in got[k]]}: largest difference of a score {difference:.2e}")
                if [g["id"] for g in got[k]] != top.indices.tolist() and difference > a.tolerance:
                    sys.exit(f"transformers has {top.indices.tolist()}")
    print(f"largest difference of all {worst:.2e}, allowed {a.tolerance:g}")
    sys.exit(int(worst > a.tolerance))


if __name__ == "__main__":
    main()
