#!/usr/bin/env python3
"""Makes tests/golden/peft/: adapters as PEFT saves them, beside the small base models of the other goldens, and what PyTorch computes with them.

    python3 scripts/gen_golden_peft.py [DIR]       needs torch, transformers, peft, safetensors; the tests read only what it wrote

NAME/          adapter_config.json and adapter_model.safetensors; base_model_name_or_path is relative to the folder
NAME/golden.safetensors, computed in f64 from the f32 values, each sequence by itself, without padding:
    ids, types i32 [1, N], starts i32 [B + 1], targets i32 [1, B] (classes) or [1, N] (next tokens, -1 at the end of each sequence)
    out        f32 [B, labels], [N, V] or hidden states [N, C]
    grad.*     f32 gradients of the mean cross-entropy, under the names of adapter_model.safetensors; where there is a loss
    losses     f64 [STEPS] that loss before each AdamW step (lr 5e-3, betas .9/.999, eps 1e-8, decay 0.01)
"""
import json
import pathlib
import sys
import warnings

import torch
import transformers as hf
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
hf.logging.set_verbosity_error()
ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests/golden"
LENGTHS = (15, 9, 2)
VOCAB, STEPS = 61, 6


def drawn(model, seed):
    """lora_B begins at zero: values of its own, so that the pairs count."""
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.2)
        elif "modules_to_save" in name:
            torch.nn.init.normal_(p, std=0.3)


def batch(seed, classes):
    g = torch.Generator().manual_seed(seed)
    ids = [torch.randint(1, VOCAB, (n,), generator=g) for n in LENGTHS]
    types = [torch.arange(n) * 2 // n for n in LENGTHS]
    labels = torch.randint(0, classes, (len(LENGTHS),), generator=g)
    return ids, types, labels


def run(model, kind, ids, types, labels):
    out, loss, count = [], 0, 0
    for i, (x, t) in enumerate(zip(ids, types)):
        more = {"token_type_ids": t[None]} if kind != "lm" else {}
        y = model(input_ids=x[None], **more)
        if kind == "hidden":
            out.append(y.last_hidden_state[0])
        elif kind == "lm":
            out.append(y.logits[0])
            loss = loss + torch.nn.functional.cross_entropy(y.logits[0, :-1], x[1:], reduction="sum")
            count += len(x) - 1
        else:
            out.append(y.logits)
            loss = loss + torch.nn.functional.cross_entropy(y.logits, labels[i:i + 1], reduction="sum")
            count += 1
    return torch.cat(out), loss / count if count else None


def make(out, name, base, model, config, kind, seed):
    path = out / name
    torch.manual_seed(seed)
    wrapped = get_peft_model(model, config)
    drawn(wrapped, seed)
    for p in wrapped.parameters():  # values that f32 has
        p.data = p.data.float()
    wrapped.save_pretrained(path, save_embedding_layers=False)
    (path / "README.md").unlink()
    file = path / "adapter_config.json"
    said = json.loads(file.read_text())
    said["base_model_name_or_path"] = base
    said["target_modules"] = sorted(said["target_modules"])  # a set, in any order
    file.write_text(json.dumps(said, indent=2, sort_keys=True) + "\n")
    wrapped = wrapped.double().eval()
    ids, types, labels = batch(seed, 3)
    y, loss = run(wrapped, kind, ids, types, labels)
    targets = labels if kind == "class" else torch.cat([torch.cat([x[1:], torch.tensor([-1])]) for x in ids])
    starts = torch.tensor([0] + list(LENGTHS)).cumsum(0)
    golden = {"ids": torch.cat(ids)[None].int(), "types": torch.cat(types)[None].int(), "starts": starts.int(), "targets": targets[None].int(), "out": y.detach().float()}
    if loss is not None:
        loss.backward()
        grads = {n: p.grad for n, p in wrapped.named_parameters() if p.requires_grad}
        saved = get_peft_model_state_dict(wrapped, state_dict={n: g for n, g in grads.items()}, save_embedding_layers=False)
        golden |= {"grad." + n: g.float().contiguous() for n, g in saved.items()}
        optim = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=5e-3, weight_decay=0.01)
        losses = []
        for _ in range(STEPS):
            optim.zero_grad()
            _, loss = run(wrapped, kind, ids, types, labels)
            losses.append(loss.item())
            loss.backward()
            optim.step()
        golden["losses"] = torch.tensor(losses, dtype=torch.float64)
    save_file(golden, path / "golden.safetensors")


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "peft"
    bert, gpt = ROOT / "encoders/bert", ROOT / "gpt2-lm"
    sequence = hf.BertForSequenceClassification.from_pretrained(bert, num_labels=3)
    make(out, "bert-class", "../../encoders/bert", sequence,
         LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["query", "value", "attention.output.dense", "intermediate.dense"]), "class", 1)
    make(out, "bert-class-2", "../../encoders/bert", hf.BertForSequenceClassification.from_pretrained(bert, num_labels=3),
         LoraConfig(task_type="SEQ_CLS", r=9, lora_alpha=3, target_modules=["key", "value", "pooler.dense"]), "class", 4)
    make(out, "gpt2-lm", "../../gpt2-lm", hf.GPT2LMHeadModel.from_pretrained(gpt),
         LoraConfig(task_type="CAUSAL_LM", r=5, lora_alpha=16, use_rslora=True, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True), "lm", 2)
    # of a bare encoder, whose names lack the prefix; every linear layer, the pooler too; ranks of their own
    make(out, "bert-bare", "../../encoders/bert", hf.BertModel.from_pretrained(bert),
         LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", rank_pattern={"key": 2}), "hidden", 3)


if __name__ == "__main__":
    main()
