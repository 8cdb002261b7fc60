#!/usr/bin/env python3
"""Makes tests/golden/distill/: tiny teachers and students of transformers, and what PyTorch makes of one beside the other.

    python3 scripts/gen_golden_distill.py [DIR]        needs torch, transformers, safetensors; the tests read only what it wrote

CASE/            config.json and model.safetensors of the student
CASE/teacher/    those of the teacher
CASE/golden.safetensors, computed in f64 from the f32 values of the checkpoints, each sequence by itself, without padding:
    ids, types, tasks  i32 [1, N]     tokens of all sequences, one behind the other; segments; zeros
    starts             i32 [B + 1]    where they begin
    picks, targets     i32 [1, P]     mlm: rows that are predicted, and what of; -1: ignored
    task.targets       i32            sequence, tokens, span: targets as the batch has them, -1: ignored
    NAME.loss          f64 [1]        one loss alone; NAME.grad.*: f32, its gradients by the student, under transformers' names
mlm: soft (predicted rows, T 2), all (every row, T 3), cosine and square (last hidden states), whole (5 soft + 2 hard + 1 cosine, as
DistilBERT has it). layers: square, of embeddings and two layers with layers 0, 2 and 4 of the teacher, and cosine, of the first
layer with the second. relation: v2 (query, key, value of the teacher's first layer, in 4 heads), v1 (attention and value, last layers).
sequence: soft (T 2), numbers (regression), several (labels by themselves, T 3). tokens: soft (T 2). gpt2: soft (T 2), square, of embeddings
and the last state. span: soft (T 2), of start and end.
"""
import pathlib
import sys

import torch
import torch.nn.functional as F
import transformers as hf
from gen_golden_encoders import shake
from safetensors.torch import save_file

LENGTHS = (9, 6, 2, 1)
VOCAB, CONTEXT, LABELS = 29, 12, 3
PICKS = 6


def bert(cls, width, layers, heads, **more):
    return cls(hf.BertConfig(vocab_size=VOCAB, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
                             intermediate_size=2 * width, max_position_embeddings=CONTEXT, hidden_dropout_prob=0.0,
                             attention_probs_dropout_prob=0.0, initializer_range=0.3, **more))


def distilbert(cls, width, layers, **more):
    return cls(hf.DistilBertConfig(vocab_size=VOCAB, dim=width, n_layers=layers, n_heads=2, hidden_dim=2 * width, dropout=0.0,
                                   max_position_embeddings=CONTEXT, attention_dropout=0.0, seq_classif_dropout=0.0, qa_dropout=0.0,
                                   initializer_range=0.3, **more))


def gpt2(layers):
    return hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=layers, n_head=2, n_positions=CONTEXT, resid_pdrop=0.0,
                                            attn_pdrop=0.0, embd_pdrop=0.0, initializer_range=0.3, bos_token_id=1, eos_token_id=1))


def bare(width, layers, heads):
    return bert(lambda c: hf.BertModel(c, add_pooling_layer=False), width, layers, heads)


NAMES = {i: n for i, n in enumerate(("no", "maybe", "yes"))}
LABELLED = dict(id2label=NAMES, label2id={n: i for i, n in NAMES.items()})
CASES = {  # student, teacher
    "mlm": lambda: (distilbert(hf.DistilBertForMaskedLM, 16, 1), bert(hf.BertForMaskedLM, 16, 2, 2)),
    "relation": lambda: (bare(16, 2, 2), bare(32, 2, 2)),
    "sequence": lambda: (distilbert(hf.DistilBertForSequenceClassification, 16, 1, **LABELLED),
                         bert(hf.BertForSequenceClassification, 24, 1, 3, **LABELLED)),
    "tokens": lambda: (bert(hf.BertForTokenClassification, 16, 1, 2, **LABELLED), bert(hf.BertForTokenClassification, 16, 2, 2, **LABELLED)),
    "gpt2": lambda: (gpt2(1), gpt2(2)),
    "layers": lambda: (bare(16, 2, 2), bare(16, 4, 2)),
    "span": lambda: (distilbert(hf.DistilBertForQuestionAnswering, 16, 1), bert(hf.BertForQuestionAnswering, 16, 2, 2)),
}


class Seen:
    """What a model says of a batch, sequence by sequence: logits, the last hidden state, query, key and value of each layer."""

    def __init__(self, model, batch):
        self.logits, self.hidden, self.qkv, self.states = [], [], [], []
        kept, hooks = {}, []
        for name, m in model.named_modules():
            for part in ("query", "key", "value"):
                if name.endswith("attention.self." + part):
                    hooks.append(m.register_forward_hook(lambda m, i, o, key=(int(name.split("layer.")[1].split(".")[0]), part): kept.update({key: o[0]})))
        for ids, types in zip(batch["ids"].split(LENGTHS), batch["types"].split(LENGTHS)):
            more = {"token_type_ids": types[None]} if getattr(model.config, "type_vocab_size", 0) else {}
            y = model(input_ids=ids[None], output_hidden_states=True, **more)
            if "start_logits" in y:
                self.logits.append(torch.stack((y.start_logits[0], y.end_logits[0])))
            else:
                self.logits.append(y.logits[0] if "logits" in y and y.logits.dim() == 3 else y.logits if "logits" in y else None)
            self.hidden.append(y.hidden_states[-1][0])
            self.states.append([x[0] for x in y.hidden_states])
            self.qkv.append(dict(kept))
        for h in hooks:
            h.remove()

    def state(self, i):
        return torch.cat([x[i] for x in self.states])

    def rows(self, what="logits"):
        return torch.cat(getattr(self, what))


def soft(s, t, temperature):
    """What DistilBERT's and everybody's script calls ce: rows [N, classes]."""
    return F.kl_div(F.log_softmax(s / temperature, -1), F.softmax(t / temperature, -1), reduction="batchmean") * temperature ** 2


def soft_labels(s, t, temperature):
    """soft of classes 0 and 1 of each label."""
    two = lambda x: torch.stack((F.logsigmoid(-x / temperature), F.logsigmoid(x / temperature)), -1).view(-1, 2)
    return F.kl_div(two(s), two(t), reduction="batchmean", log_target=True) * temperature ** 2


def square(s, t, pairs):
    """Hidden states of the student, each with one of the teacher's: the mean over the pairs."""
    return sum(F.mse_loss(s.state(a), t.state(b)) for a, b in pairs.items()) / len(pairs)


def relations(s, t, heads, pairs, layers):
    """MiniLM v2 (minilmv2.bb): sums over rows and heads / (heads * length), the mean over sequences and pairs."""
    split = lambda x: x.view(x.shape[0], heads, -1).transpose(0, 1)  # [heads, length, d]
    total = 0
    for of_s, of_t in zip(s.qkv, t.qkv):
        for a, b in pairs:
            sa, sb, ta, tb = (split(q[(layer, part)]) for q, layer, part in ((of_s, layers[0], a), (of_s, layers[0], b), (of_t, layers[1], a), (of_t, layers[1], b)))
            rs, rt = (F.log_softmax(x @ y.transpose(1, 2) / x.shape[-1] ** 0.5, -1) for x, y in ((sa, sb), (ta, tb)))
            total = total + F.kl_div(rs, rt, reduction="sum", log_target=True) / (heads * sa.shape[1])
    return total / len(s.qkv) / len(pairs)


def losses(case, s, t, batch):
    if case == "mlm":
        at, want = batch["picks"], batch["targets"]
        real = at[want >= 0]
        hard = F.cross_entropy(s.rows()[at], want, ignore_index=-1)
        alike = torch.nn.CosineEmbeddingLoss()(s.rows("hidden"), t.rows("hidden"), torch.ones(sum(LENGTHS)).double())
        yield "soft", soft(s.rows()[real], t.rows()[real], 2)
        yield "all", soft(s.rows(), t.rows(), 3)
        yield "cosine", alike
        yield "square", F.mse_loss(s.rows("hidden"), t.rows("hidden"))
        yield "whole", 5 * soft(s.rows()[real], t.rows()[real], 2) + 2 * hard + alike
    elif case == "relation":
        yield "v2", relations(s, t, 4, [("query", "query"), ("key", "key"), ("value", "value")], (1, 0))
        yield "v1", relations(s, t, 2, [("query", "key"), ("value", "value")], (1, 1))
    elif case == "span":  # run_squad_w_distillation.py: the mean of start's and end's
        yield "soft", sum(soft(a, b, 2) for a, b in zip(s.logits, t.logits)) / len(LENGTHS)
    elif case == "gpt2":
        yield "soft", soft(s.rows(), t.rows(), 2)
        yield "square", square(s, t, {0: 0, 1: 2})
    elif case == "layers":
        yield "square", square(s, t, {0: 0, 1: 2, 2: 4})
        yield "cosine", torch.nn.CosineEmbeddingLoss()(s.state(1), t.state(2), torch.ones(sum(LENGTHS)).double())
    else:
        real = batch["task.targets"] >= 0
        yield "soft", soft(s.rows()[real], t.rows()[real], 2)
        if case == "sequence":
            yield "numbers", F.mse_loss(s.rows(), t.rows())
            yield "several", soft_labels(s.rows(), t.rows(), 3)


def make(folder, case):
    student, teacher = (m.eval() for m in CASES[case]())
    for m, d in ((student, folder), (teacher, folder / "teacher")):
        shake(m)
        m.save_pretrained(d)
        m.double()
        (d / "generation_config.json").unlink(missing_ok=True)
    n, b = sum(LENGTHS), len(LENGTHS)
    batch = {"ids": torch.randint(5, VOCAB, (n,)), "types": torch.randint(2, (n,)) if case in ("relation", "layers") else torch.zeros(n).long(),
             "tasks": torch.zeros(n).long()}
    if case == "mlm":
        batch["picks"], batch["targets"] = torch.randperm(n)[:PICKS].sort().values, torch.randint(VOCAB, (PICKS,))
        batch["targets"][2] = -1
    if case in ("sequence", "tokens"):
        batch["task.targets"] = torch.randint(LABELS, (b if case == "sequence" else n,))
        batch["task.targets"][1] = -1
    golden = {k: v.int() if k == "task.targets" else v[None].int() for k, v in batch.items()}
    golden["starts"] = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)]).int()
    with torch.no_grad():
        seen = Seen(teacher, batch)
    said = []
    for name, loss in list(losses(case, Seen(student, batch), seen, batch)):
        student.zero_grad()
        loss.backward(retain_graph=True)
        golden[name + ".loss"] = loss.detach()[None]
        prefix = "bert." if case in ("relation", "layers") else ""  # which files of bare models leave out
        golden.update({f"{name}.grad.{prefix}{k}": p.grad.float().clone() for k, p in student.named_parameters() if p.grad is not None})
        said.append(f"{name} {loss.item():.6f}")
    save_file({k: v.detach().clone().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
    print(f"{case}: {', '.join(said)}")


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent / "tests" / "golden" / "distill")
    for number, case in enumerate(CASES):
        torch.manual_seed(20250601 + number)
        make(folder / case, case)


if __name__ == "__main__":
    main()
