#!/usr/bin/env python3
"""GPT-2 and BERT training in plain PyTorch: a peer of `halfstep bench train` and of `halfstep pretrain shakespeare-char`.

torch_train.py step --size 124M --batch 4 --seq 1024 --dtype bf16 [--compile]   forward, backward and AdamW; one line: "N tok/s ... peak N GB"
torch_train.py text FILE --steps 2000 [--dtype bf16] [--compile]                characters of FILE; one line: "...: N s ... val loss N"
torch_train.py bert --size base --batch 32 --seq 128 --dtype bf16 [--compile]   BERT, the same; one line: "N seq/s ... peak N GB"
torch_train.py same BEGIN END METRICS TEXT --dtype fp32                         the steps of a run, made again; exit 1 where they differ
All take --device cpu or cuda.

The published GPT-2: tied table, tanh GELU, norms in front. Attention and AdamW are PyTorch's fused ones; bf16 and fp16 are autocast over f32 weights, fp16 with
GradScaler. On a GPU the vocabulary is padded to a multiple of 64, and peaks are of its memory.
`text` is nanoGPT's set-up for CPUs: 4 layers, 4 heads, width 128, batches of 12 windows of 64, AdamW 1e-3 to 1e-4 by cosine behind 100 steps
of warm-up, betas 0.9 and 0.99, decay 0.1 on matrices, norm clipped at 1; the last tenth of FILE is validation text. Its seconds are those of
the loop alone, the first step (compilation) included. `bert` predicts 15 % of full rows' tokens (20 of 128), with logits there alone, and the
next sentence; norms behind, GELU by erf, dropout 0.1 also of attention.
`same` begins with the checkpoint BEGIN of a GPT-2 and does with PyTorch what `halfstep pretrain` did to get END, by the rates and batches of its
METRICS.jsonl: AdamW with betas 0.9 and 0.99, decay 0.1 on matrices, norm clipped at 1, and TEXT as the one window there is. Losses are held to
PyTorch's, and what END has moved away from BEGIN to what PyTorch's weights have, by the norm of the difference.
"""
import argparse
import json
import math
import os
import resource
import statistics
import struct
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {"124M": (12, 12, 768), "355M": (24, 16, 1024), "774M": (36, 20, 1280), "1558M": (48, 25, 1600), "0.8M": (4, 4, 128)}
# `same`: of a loss; of how far the weights have moved. In 16 bits both round, and not at the same places.
BOUNDS = {"fp32": (1e-5, 3e-4), "bf16": (3e-3, 0.1), "fp16": (5e-4, 0.03)}
ENCODERS = {"tiny": (2, 2, 128), "mini": (4, 4, 256), "base": (12, 12, 768), "large": (24, 16, 1024)}


class Layer(nn.Module):
    def __init__(self, width, heads, std_out):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = linear(width, 3 * width, 0.02), linear(width, width, std_out)
        self.fc, self.back = linear(width, 4 * width, 0.02), linear(4 * width, width, std_out)

    def forward(self, x):
        B, S, C = x.shape
        qkv = self.qkv(self.norm1(x)).view(B, S, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv.unbind(0), is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, S, C))
        return x + self.back(F.gelu(self.fc(self.norm2(x)), approximate="tanh"))


def linear(n_in, n_out, std):
    m = nn.Linear(n_in, n_out)
    nn.init.normal_(m.weight, std=std)
    nn.init.zeros_(m.bias)
    return m


class Model(nn.Module):
    def __init__(self, layers, heads, width, vocab, context):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(vocab, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(context, width) * 0.02)
        self.layers = nn.ModuleList([Layer(width, heads, 0.02 / math.sqrt(2 * layers)) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x, y):
        h = F.embedding(x, self.tokens) + self.positions[:x.shape[1]]
        for layer in self.layers:
            h = layer(h)
        return F.cross_entropy(F.linear(self.norm(h), self.tokens).flatten(0, 1), y.flatten())


LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


def update(run, optimizer, x, y, a, clip=None, scaler=None):
    with torch.autocast(a.device, LOW.get(a.dtype), enabled=a.dtype in LOW):
        loss = run(x, y)
    (scaler.scale(loss) if scaler else loss).backward()
    if clip:
        if scaler:
            scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(clip, 1.0)
    if scaler:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def scaler_of(a, first=65536.0):
    return torch.amp.GradScaler(a.device, init_scale=first) if a.dtype == "fp16" else None


def timed(a, run, optimizer, x, y):
    """The median second of a step, behind two; and the peak of memory in GB."""
    scaler, seconds = scaler_of(a), []
    for _ in range(2 + a.steps):
        start = time.perf_counter()
        update(run, optimizer, x, y, a, scaler=scaler)
        if a.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return statistics.median(seconds[2:]), peak / 1e9


def vocabulary(a, n):
    return (n + 63) // 64 * 64 if a.device == "cuda" else n


def step(a):
    layers, heads, width = SIZES[a.size]
    model = Model(layers, heads, width, vocabulary(a, 50257), a.seq).to(a.device)
    run = torch.compile(model) if a.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    ids = torch.randint(0, 50257, (a.batch, a.seq + 1), device=a.device)
    seconds, peak = timed(a, run, optimizer, ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    print(f"GPT-2 {a.size}, B={a.batch} S={a.seq}, {a.dtype}{', compiled' if a.compile else ''}: {a.batch * a.seq / seconds:.1f} tok/s, peak {peak:.2f} GB")


# ---- the same steps

def checkpoint(folder):
    """model.safetensors as float tensors: a length, a header of JSON, and bytes."""
    with open(os.path.join(folder, "model.safetensors"), "rb") as f:
        data = f.read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    dtypes = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    return {name: torch.frombuffer(bytearray(data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]), dtype=dtypes[t["dtype"]]).view(t["shape"]).float()
            for name, t in header.items() if name != "__metadata__"}


def by_their_names(model):
    """Parameters of ours under the names of transformers, whose layers have matrices [in, out]."""
    yield "transformer.wte.weight", model.tokens, False
    yield "transformer.wpe.weight", model.positions, False
    for i, layer in enumerate(model.layers):
        for theirs, ours in (("ln_1", layer.norm1), ("attn.c_attn", layer.qkv), ("attn.c_proj", layer.out), ("ln_2", layer.norm2), ("mlp.c_fc", layer.fc), ("mlp.c_proj", layer.back)):
            yield f"transformer.h.{i}.{theirs}.weight", ours.weight, not theirs.startswith("ln")
            yield f"transformer.h.{i}.{theirs}.bias", ours.bias, False
    yield "transformer.ln_f.weight", model.norm.weight, False
    yield "transformer.ln_f.bias", model.norm.bias, False


def moved(name, t, width):
    """Without the bias of keys: no score feels it, its gradient is rounding alone, and Adam steps a full rate by its sign."""
    return torch.cat([t[:width], t[2 * width:]]) if name.endswith("c_attn.bias") else t


def same(a):
    config = json.load(open(os.path.join(a.begin, "config.json"), encoding="utf-8"))
    ids = json.load(open(os.path.join(a.begin, "tokenizer.json"), encoding="utf-8"))["model"]["vocab"]
    steps = [json.loads(line) for line in open(a.metrics, encoding="utf-8") if '"step"' in line]
    begin, end = checkpoint(a.begin), checkpoint(a.end)
    width = config["n_embd"]
    model = Model(config["n_layer"], config["n_head"], width, config["vocab_size"], config["n_positions"])
    left = set(begin)
    for name, p, turned in by_their_names(model):
        with torch.no_grad():
            p.copy_(begin[name].T if turned else begin[name])
        left.remove(name)
    if left:
        sys.exit(f"torch_train: {a.begin} has {', '.join(sorted(left))}, which this model has not")
    model.to(a.device)
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    scaler = scaler_of(a, steps[0]["scale"])
    window = torch.tensor([ids[c] for c in open(a.file, encoding="utf-8").read()], device=a.device)
    apart = 0.0
    for before, s in zip([None, *steps], steps):
        for g in optimizer.param_groups:
            g["lr"] = s["lr"]
        batch = (s["tokens"] - (before["tokens"] if before else 0)) // (len(window) - 1)
        rows = window.expand(batch, -1)
        loss = update(model, optimizer, rows[:, :-1], rows[:, 1:], a, list(model.parameters()), scaler).item()
        apart = max(apart, abs(loss - s["loss"]) / loss)
    off = way = 0.0
    for name, p, turned in by_their_names(model):
        theirs = (p.detach().T if turned else p.detach()).cpu()
        off += moved(name, end[name] - theirs, width).double().square().sum().item()
        way += moved(name, theirs - begin[name], width).double().square().sum().item()
    off = math.sqrt(off / way)
    bounds = BOUNDS[a.dtype]
    print(f"figure: {a.dtype}, {len(steps)} steps beside PyTorch {torch.__version__} | losses {apart:.1e} apart (bound {bounds[0]:.0e}), weights {off:.1e} of their way (bound {bounds[1]:.0e})")
    sys.exit(not (len(steps) > 1 and apart <= bounds[0] and off <= bounds[1]))


def text(a):
    torch.manual_seed(a.seed)
    characters = open(a.file, encoding="utf-8").read()
    index = {c: i for i, c in enumerate(sorted(set(characters)))}
    data = torch.tensor([index[c] for c in characters], device=a.device)
    n = len(data) * 9 // 10
    train, held, S = data[:n], data[n:], 64
    model = Model(4, 4, 128, len(index), S).to(a.device)
    run = torch.compile(model) if a.compile else model
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    scaler, window = scaler_of(a), torch.arange(S + 1, device=a.device)
    start = time.perf_counter()
    for i in range(a.steps):
        done = min(1.0, max(0.0, (i - 100) / max(1, a.steps - 100)))
        rate = 1e-3 * (i + 1) / 101 if i < 100 else 1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * done))
        for g in optimizer.param_groups:
            g["lr"] = rate
        w = train[torch.randint(len(train) - S, (12, 1)).to(a.device) + window]
        update(run, optimizer, w[:, :-1], w[:, 1:], a, list(model.parameters()), scaler)
    if a.device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    k = (len(held) - 1) // S
    x, y = held[:k * S].view(k, S), held[1:k * S + 1].view(k, S)
    with torch.no_grad():
        loss = sum(model(x[i:i + 64], y[i:i + 64]).item() * len(x[i:i + 64]) for i in range(0, k, 64)) / k
    print(f"characters, {a.dtype}{', compiled' if a.compile else ''}: {seconds:.1f} s, val loss {loss:.4f}")


class EncoderLayer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = linear(width, 3 * width, 0.02), linear(width, width, 0.02)
        self.fc, self.back = linear(width, 4 * width, 0.02), linear(4 * width, width, 0.02)
        self.norm1, self.norm2, self.drop = nn.LayerNorm(width, 1e-12), nn.LayerNorm(width, 1e-12), nn.Dropout(0.1)

    def forward(self, x):
        B, S, C = x.shape
        qkv = self.qkv(x).view(B, S, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(*qkv.unbind(0), dropout_p=0.1).transpose(1, 2).reshape(B, S, C)
        x = self.norm1(x + self.drop(self.out(y)))
        return self.norm2(x + self.drop(self.back(F.gelu(self.fc(x)))))


class Encoder(nn.Module):
    def __init__(self, layers, heads, width, vocab, context):
        super().__init__()
        table = lambda rows: nn.Parameter(torch.randn(rows, width) * 0.02)
        self.tokens, self.positions, self.types = table(vocab), table(context), table(2)
        self.norm, self.drop = nn.LayerNorm(width, 1e-12), nn.Dropout(0.1)
        self.layers = nn.ModuleList([EncoderLayer(width, heads) for _ in range(layers)])
        self.dense, self.dense_norm, self.bias = linear(width, width, 0.02), nn.LayerNorm(width, 1e-12), nn.Parameter(torch.zeros(vocab))
        self.pooler, self.next = linear(width, width, 0.02), linear(width, 2, 0.02)

    def forward(self, x, y):
        picks, targets, follows = y
        h = F.embedding(x, self.tokens) + self.positions[:x.shape[1]] + F.embedding(torch.zeros_like(x), self.types)
        h = self.drop(self.norm(h))
        for layer in self.layers:
            h = layer(h)
        picked = torch.gather(h, 1, picks.unsqueeze(-1).expand(-1, -1, h.shape[-1]))
        picked = self.dense_norm(F.gelu(self.dense(picked)))
        words = F.cross_entropy(F.linear(picked, self.tokens, self.bias).flatten(0, 1), targets.flatten())
        return words + F.cross_entropy(self.next(torch.tanh(self.pooler(h[:, 0]))), follows)


def bert(a):
    layers, heads, width = ENCODERS[a.size]
    model = Encoder(layers, heads, width, vocabulary(a, 30522), 512).to(a.device)
    run = torch.compile(model) if a.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(1000, 30000, (a.batch, a.seq))
    picks = torch.stack([torch.randperm(a.seq)[:math.ceil(0.15 * a.seq)].sort().values for _ in range(a.batch)])
    y = tuple(t.to(a.device) for t in (picks, torch.gather(ids, 1, picks), torch.randint(0, 2, (a.batch,))))
    seconds, peak = timed(a, run, optimizer, ids.to(a.device), y)
    print(f"BERT {a.size}, B={a.batch} S={a.seq}, {a.dtype}{', compiled' if a.compile else ''}: {a.batch / seconds:.3f} seq/s, peak {peak:.2f} GB")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = p.add_subparsers(required=True)
    s, t = kinds.add_parser("step"), kinds.add_parser("text")
    s.set_defaults(run=step)
    s.add_argument("--size", default="124M", choices=SIZES)
    s.add_argument("--batch", type=int, default=4)
    s.add_argument("--seq", type=int, default=1024)
    s.add_argument("--steps", type=int, default=5)
    t.set_defaults(run=text)
    t.add_argument("file")
    t.add_argument("--steps", type=int, default=2000)
    t.add_argument("--seed", type=int, default=1337)
    b = kinds.add_parser("bert")
    b.set_defaults(run=bert)
    b.add_argument("--size", default="base", choices=ENCODERS)
    b.add_argument("--batch", type=int, default=32)
    b.add_argument("--seq", type=int, default=128)
    b.add_argument("--steps", type=int, default=5)
    m = kinds.add_parser("same")
    m.set_defaults(run=same)
    for name in ("begin", "end", "metrics", "file"):
        m.add_argument(name)
    for k in (s, t, b, m):
        k.add_argument("--dtype", default="fp32", choices=["fp32", "bf16", "fp16"])
        k.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
        k.add_argument("--compile", action="store_true")
        k.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    a.run(a)


if __name__ == "__main__":
    main()
