#!/usr/bin/env python3
"""GPT-2 training in plain PyTorch on the CPU: a peer of `halfstep bench train` and of `halfstep pretrain shakespeare-char`.

torch_train.py step --size 124M --batch 4 --seq 1024 --dtype bf16 [--compile]   forward, backward and AdamW; one line: "N tok/s ... peak N GB"
torch_train.py text FILE --steps 2000 [--dtype bf16] [--compile]                characters of FILE; one line: "...: N s ... val loss N"

The published GPT-2: tied table, tanh GELU, norms in front. Attention and AdamW are PyTorch's fused ones; bf16 is autocast over f32 weights.
`text` is nanoGPT's set-up for CPUs: 4 layers, 4 heads, width 128, batches of 12 windows of 64, AdamW 1e-3 to 1e-4 by cosine behind 100 steps
of warm-up, betas 0.9 and 0.99, decay 0.1 on matrices, norm clipped at 1; the last tenth of FILE is validation text. Its seconds are those of
the loop alone, the first step (compilation) included.
"""
import argparse
import math
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

SIZES = {"124M": (12, 12, 768), "355M": (24, 16, 1024), "774M": (36, 20, 1280), "0.8M": (4, 4, 128)}


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


def update(run, optimizer, x, y, bf16, clip=None):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = run(x, y)
    loss.backward()
    if clip:
        torch.nn.utils.clip_grad_norm_(clip, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def step(a):
    layers, heads, width = SIZES[a.size]
    model = Model(layers, heads, width, 50257, a.seq)
    run = torch.compile(model) if a.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
    ids = torch.randint(0, 50257, (a.batch, a.seq + 1))
    seconds = []
    for _ in range(2 + a.steps):
        start = time.perf_counter()
        update(run, optimizer, ids[:, :-1], ids[:, 1:], a.dtype == "bf16")
        seconds.append(time.perf_counter() - start)
    rate = a.batch * a.seq / statistics.median(seconds[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"GPT-2 {a.size}, B={a.batch} S={a.seq}, {a.dtype}{', compiled' if a.compile else ''}: {rate:.1f} tok/s, peak {peak:.2f} GB")


def text(a):
    torch.manual_seed(a.seed)
    characters = open(a.file, encoding="utf-8").read()
    index = {c: i for i, c in enumerate(sorted(set(characters)))}
    data = torch.tensor([index[c] for c in characters])
    n = len(data) * 9 // 10
    train, held, S = data[:n], data[n:], 64
    model = Model(4, 4, 128, len(index), S)
    run = torch.compile(model) if a.compile else model
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    window = torch.arange(S + 1)
    start = time.perf_counter()
    for i in range(a.steps):
        done = min(1.0, max(0.0, (i - 100) / max(1, a.steps - 100)))
        rate = 1e-3 * (i + 1) / 101 if i < 100 else 1e-4 + 9e-4 * 0.5 * (1 + math.cos(math.pi * done))
        for g in optimizer.param_groups:
            g["lr"] = rate
        w = train[torch.randint(len(train) - S, (12, 1)) + window]
        update(run, optimizer, w[:, :-1], w[:, 1:], a.dtype == "bf16", list(model.parameters()))
    seconds = time.perf_counter() - start
    k = (len(held) - 1) // S
    x, y = held[:k * S].view(k, S), held[1:k * S + 1].view(k, S)
    with torch.no_grad():
        loss = sum(model(x[i:i + 64], y[i:i + 64]).item() * len(x[i:i + 64]) for i in range(0, k, 64)) / k
    print(f"characters, {a.dtype}{', compiled' if a.compile else ''}: {seconds:.1f} s, val loss {loss:.4f}")


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
    for k in (s, t):
        k.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
        k.add_argument("--compile", action="store_true")
        k.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    a.run(a)


if __name__ == "__main__":
    main()
