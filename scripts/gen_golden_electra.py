#!/usr/bin/env python3
"""Makes tests/golden/electra-pretraining/: a discriminator with its generator as transformers writes both, and one step of theirs in PyTorch.

    python3 scripts/gen_golden_electra.py [DIR]        needs torch, transformers, safetensors; the tests read only what it wrote

tied/, untied/           config.json and model.safetensors of ElectraForPreTraining; tied: the embeddings are the generator's too
.../generator/           those of ElectraForMaskedLM
.../golden.safetensors, computed in f64 from the f32 values of the checkpoints, each sequence by itself, without padding:
    ids, types, tasks  i32 [1, N]     tokens of all sequences, masked; segments; zeros
    starts             i32 [B + 1]    where they begin
    picks, targets     i32 [1, P]     rows that are predicted, and what stood there; -1: ignored
    drawn              i32 [1, P]     what the generator is said to have drawn: some are what stood there
    mlm, replaced      f64 [1]        the two losses, each a mean of its own
    grad.*             f32            gradients of mlm + 50 x replaced, under transformers' names; the generator's own behind "generator/"
"""
import pathlib
import sys

import torch
import torch.nn.functional as F
import transformers as hf
from gen_golden_encoders import shake
from safetensors.torch import save_file

LENGTHS = (9, 6, 2)
VOCAB, CONTEXT, WIDTH, EMBED, SMALL = 29, 12, 32, 16, 24


def config(width, heads, **more):
    return hf.ElectraConfig(vocab_size=VOCAB, hidden_size=width, embedding_size=EMBED, num_hidden_layers=2, num_attention_heads=heads,
                            intermediate_size=4 * width, max_position_embeddings=CONTEXT, hidden_dropout_prob=0.0,
                            attention_probs_dropout_prob=0.0, initializer_range=0.2, **more)


def make(folder, tied):
    judge, generator = hf.ElectraForPreTraining(config(WIDTH, 2)).eval(), hf.ElectraForMaskedLM(config(SMALL, 1)).eval()
    shake(judge)
    shake(generator)
    if tied:
        generator.electra.embeddings = judge.electra.embeddings
        generator.tie_weights()
    for m, d in ((judge, folder), (generator, folder / "generator")):
        m.save_pretrained(d)
        m.double()
        (d / "generation_config.json").unlink(missing_ok=True)
    n = sum(LENGTHS)
    ids, types = torch.randint(5, VOCAB, (n,)), torch.randint(2, (n,))
    picks = torch.tensor([1, 3, 4, 8, 10, 13, 16])
    targets, drawn = torch.randint(5, VOCAB, (len(picks),)), torch.randint(5, VOCAB, (len(picks),))
    targets[2] = -1
    drawn[1], drawn[5] = targets[1], targets[5]
    real = targets >= 0
    fake, label = ids.clone(), torch.zeros(n).double()
    fake[picks[real]] = drawn[real]
    label[picks[real]] = (drawn != targets)[real].double()
    parts = lambda x: x.split(LENGTHS)
    logits = torch.cat([generator(input_ids=i[None], token_type_ids=t[None]).logits[0] for i, t in zip(parts(ids), parts(types))])
    judged = torch.cat([judge(input_ids=i[None], token_type_ids=t[None]).logits.view(-1) for i, t in zip(parts(fake), parts(types))])
    mlm = F.cross_entropy(logits[picks], targets, ignore_index=-1)
    replaced = F.binary_cross_entropy_with_logits(judged, label)
    (mlm + 50 * replaced).backward()
    golden = {"ids": ids[None].int(), "types": types[None].int(), "tasks": torch.zeros(1, n).int(), "picks": picks[None].int(),
              "targets": targets[None].int(), "drawn": drawn[None].int(), "mlm": mlm.detach()[None], "replaced": replaced.detach()[None],
              "starts": torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)]).int()}
    golden.update({"grad." + k: p.grad.float() for k, p in judge.named_parameters()})
    golden.update({"grad.generator/" + k: p.grad.float() for k, p in generator.named_parameters()
                   if not (tied and k.startswith("electra.embeddings."))})
    save_file({k: v.detach().clone().contiguous() for k, v in golden.items()}, folder / "golden.safetensors")
    print(f"{folder.name}: mlm {mlm.item():.6f}, replaced {replaced.item():.6f}")


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else
                          pathlib.Path(__file__).parent.parent / "tests" / "golden" / "electra-pretraining")
    for number, tied in enumerate((True, False)):
        torch.manual_seed(20250701 + number)
        make(folder / ("tied" if tied else "untied"), tied)


if __name__ == "__main__":
    main()
