#!/usr/bin/env python3
"""GPT-2 generation in plain PyTorch, batch 1, random weights: a peer of `halfstep bench generate`.

python torch_generate.py --size 124M --dtype bf16 --prompt 512 --tokens 128 [--compile] [--device cuda]
Prints one line: tokens/s of reading the prompt and of each new token, peak memory. Keys and values go into preallocated
caches; eager decoding attends to the live keys only, compiled decoding to all of a cache of fixed size under a mask (one graph for every
position); logits are of the last token.
"""
import argparse, resource, statistics, time
import torch, torch.nn.functional as F

SIZES = {"124M": (12, 12, 768), "355M": (24, 16, 1024), "774M": (36, 20, 1280), "1558M": (48, 25, 1600), "0.8M": (4, 4, 128)}


class Model:
    def __init__(self, layers, heads, width, vocab, length, dtype, device):
        def new(*shape):
            return (torch.randn(*shape) * 0.02).to(device, dtype)

        self.heads, self.width = heads, width
        self.wte, self.wpe = new(vocab, width), new(length, width)
        shapes = [("qkv", 3 * width, width), ("proj", width, width), ("up", 4 * width, width), ("down", width, 4 * width)]
        self.layers = [{n: (new(o, i), new(o)) for n, o, i in shapes} for _ in range(layers)]
        self.norm = (torch.ones(width, dtype=dtype, device=device), torch.zeros(width, dtype=dtype, device=device))
        self.keys = [torch.zeros(1, heads, length, width // heads, dtype=dtype, device=device) for _ in range(layers)]
        self.values = [torch.zeros_like(k) for k in self.keys]
        self.seen = torch.arange(length, device=device)

    def split(self, x):
        return x.view(1, -1, self.heads, self.width // self.heads).transpose(1, 2)

    def step(self, ids, at, n, fixed):
        """Logits behind tokens ids at positions at; n: how many keys there are then; fixed: the same graph for every n."""
        norm = lambda x: F.layer_norm(x, (self.width,), *self.norm)
        x = self.wte[ids] + self.wpe[at]
        for p, kc, vc in zip(self.layers, self.keys, self.values):
            q, k, v = (self.split(t) for t in F.linear(norm(x), *p["qkv"]).split(self.width, -1))
            kc.index_copy_(2, at, k)
            vc.index_copy_(2, at, v)
            if len(ids) > 1:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            elif fixed:
                y = F.scaled_dot_product_attention(q, kc, vc, attn_mask=(self.seen <= at[-1]).view(1, 1, 1, -1))
            else:
                y = F.scaled_dot_product_attention(q, kc[:, :, :n], vc[:, :, :n])
            x = x + F.linear(y.transpose(1, 2).reshape(-1, self.width), *p["proj"])
            x = x + F.linear(F.gelu(F.linear(norm(x), *p["up"]), approximate="tanh"), *p["down"])
        return F.linear(norm(x[-1:]), self.wte)


@torch.inference_mode()
def main():
    a = argparse.ArgumentParser()
    a.add_argument("--size", default="124M", choices=SIZES)
    a.add_argument("--dtype", default="bf16", choices=["fp32", "bf16"])
    a.add_argument("--prompt", type=int, default=512)
    a.add_argument("--tokens", type=int, default=128)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--vocab", type=int, default=50257)
    a.add_argument("--threads", type=int, default=0)
    a.add_argument("--compile", action="store_true")
    a.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    a = a.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    dtype = torch.float32 if a.dtype == "fp32" else torch.bfloat16
    model = Model(*SIZES[a.size], a.vocab, a.prompt + a.tokens, dtype, a.device)
    read = write = model.step
    if a.compile:
        read, write = torch.compile(model.step, dynamic=False), torch.compile(model.step, dynamic=False)
    prompt = torch.randint(0, a.vocab, (a.prompt,), device=a.device)
    prefill, decode = [], []
    for _ in range(a.rounds + 1):  # the first one compiles and warms up
        t0 = time.perf_counter()
        token = read(prompt, torch.arange(a.prompt, device=a.device), a.prompt, False).argmax(-1)
        token.item()
        t1 = time.perf_counter()
        for i in range(a.prompt, a.prompt + a.tokens - 1):
            token = write(token, torch.tensor([i], device=a.device), 0 if a.compile else i + 1, a.compile).argmax(-1)
            token.item()
        prefill.append(a.prompt / (t1 - t0))
        decode.append((a.tokens - 1) / (time.perf_counter() - t1))
    peak = torch.cuda.max_memory_allocated() if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"torch generate gpt2-{a.size} {a.dtype} {'compiled' if a.compile else 'eager'}: prefill {statistics.median(prefill[1:]):.1f} tok/s  "
          f"decode {statistics.median(decode[1:]):.1f} tok/s  peak {peak / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
