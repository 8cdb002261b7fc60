#!/usr/bin/env python3
"""Makes tests/golden/: a tiny GPT-2 as transformers writes it, and what PyTorch computes with it.

    python3 scripts/gen_golden.py [DIR]        needs torch, transformers, safetensors; the tests read only what it wrote

gpt2-lm/     saved by GPT2LMHeadModel: names begin with "transformer."
gpt2-base/   the same values saved by GPT2Model: no prefix
golden.safetensors, computed in f64 from the f32 values of the checkpoint, on packed sequences of unequal length:
    ids     i32 [BATCHES, N]    tokens of all sequences of a batch, one behind the other
    starts  i32 [B + 1]         where they begin; the same for every batch. Targets are the next tokens, none for the last
    logits  f32 [N, V]          batch 0
    grad.*  f32                 gradients of batch 0's mean loss, under transformers' names, the tied table once
    losses  f64 [STEPS]         mean loss before each AdamW step; batches take turns
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

LENGTHS = (24, 13, 6, 1)
BATCHES, STEPS = 3, 20
VOCAB, CONTEXT = 61, 24  # a vocabulary that has to be padded
ADAMW = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
DECAY, CLIP = 0.1, 1.0


def make_model():
    config = GPT2Config(vocab_size=VOCAB, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
                        attn_pdrop=0.0, initializer_range=0.15, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    with torch.no_grad():  # biases and gains that differ from 0 and 1 show mistakes
        for p in model.parameters():
            if p.dim() == 1:
                p.add_(torch.randn_like(p) * 0.2)
    return model.eval()


def losses_of(model, ids):
    """Every sequence by itself: logits [N, V] and the mean loss over all next tokens."""
    logits = [model(part[None]).logits[0] for part in ids.split(LENGTHS)]
    total = sum(torch.nn.functional.cross_entropy(y[:-1], part[1:], reduction="sum")
                for y, part in zip(logits, ids.split(LENGTHS)) if len(part) > 1)
    return torch.cat(logits), total / (len(ids) - len(LENGTHS))


def train(model, ids):
    groups = [dict(params=[p for p in model.parameters() if p.dim() == 2], weight_decay=DECAY),
              dict(params=[p for p in model.parameters() if p.dim() == 1], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, **ADAMW)
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        _, loss = losses_of(model, ids[step % BATCHES])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "tests" / "golden")
    torch.manual_seed(20240611)
    model = make_model()
    model.save_pretrained(folder / "gpt2-lm")
    model.transformer.save_pretrained(folder / "gpt2-base")
    ids = torch.randint(VOCAB, (BATCHES, sum(LENGTHS)))
    model = model.double()
    logits, loss = losses_of(model, ids[0])
    loss.backward()
    golden = {"grad." + name: p.grad.float().clone() for name, p in model.named_parameters()}
    golden["logits"] = logits.detach().float()
    golden["ids"] = ids.int()
    golden["starts"] = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)]).int()
    golden["losses"] = torch.tensor(train(model, ids), dtype=torch.float64)
    save_file(golden, folder / "golden.safetensors")
    print(f"{folder}: loss {golden['losses'][0]:.6f} to {golden['losses'][-1]:.6f}, {len(golden)} tensors")


if __name__ == "__main__":
    main()
