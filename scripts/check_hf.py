#!/usr/bin/env python3
"""Model directories against Hugging Face transformers, both ways.

    scripts/check_hf.py [--build build] [--helper PROGRAM] [--vocab DIR] [CHECKPOINT ...]

1. transformers writes GPT-2 directories (one file, shards, bf16, f16, the bare GPT2Model's names); check_hf.c reads each and
   writes it again; transformers must load that with nothing missing, unexpected or of another shape, and find the same tensors
   and the same logits.
2. Every CHECKPOINT given (a step folder that `halfstep pretrain` wrote) is loaded with transformers in the same way, and its
   file compared with what transformers holds.

3. With --vocab DIR (GPT-2's vocab.json and merges.txt, or encoder.json and vocab.bpe as OpenAI named them): a model directory with that tokenizer,
   in both forms of its files; `halfstep generate` must stream the text that transformers generates greedily.

Needs torch, transformers and safetensors. The helper is compiled against the library in --build unless --helper names it.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast, logging

logging.set_verbosity_error()
ROOT = pathlib.Path(__file__).resolve().parent.parent


def build_helper(build: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    libs = sorted({p.parent for p in build.rglob("libhalfstep.so")})
    if not libs:
        sys.exit(f"check_hf: no libhalfstep.so under {build}: build first, or give --helper")
    cmd = ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-I", str(ROOT), str(ROOT / "scripts/check_hf.c"), "-o", str(out),
           "-L", str(libs[0]), "-lhalfstep", f"-Wl,-rpath,{libs[0].resolve()}"]
    subprocess.run(cmd, check=True)
    return out


def load_clean(path: pathlib.Path) -> GPT2LMHeadModel:
    model, info = GPT2LMHeadModel.from_pretrained(path, output_loading_info=True, dtype=torch.float32)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        found = info.get(kind)
        assert not found, f"{path}: {kind}: {found}"
    GenerationConfig.from_pretrained(path)
    return model.eval()


def same_as_file(model: GPT2LMHeadModel, path: pathlib.Path) -> int:
    state, tensors = model.state_dict(), load_file(path / "model.safetensors")
    for name, t in tensors.items():
        assert t.dtype == torch.float32, f"{path}: {name} is {t.dtype}"
        assert torch.equal(t, state[name]), f"{path}: {name} differs"
    assert set(state) - set(tensors) == {"lm_head.weight"}, sorted(set(state) ^ set(tensors))
    return len(tensors)


def same_models(a: GPT2LMHeadModel, b: GPT2LMHeadModel) -> None:
    sa, sb = a.state_dict(), b.state_dict()
    assert set(sa) == set(sb)
    for name in sa:
        assert torch.equal(sa[name], sb[name]), f"{name} differs"
    ids = torch.arange(12).reshape(1, 12) % a.config.vocab_size
    with torch.no_grad():
        assert torch.equal(a(ids).logits, b(ids).logits), "logits differ"


def variants(work: pathlib.Path):
    torch.manual_seed(1)
    config = GPT2Config(n_layer=3, n_head=4, n_embd=64, n_positions=32, vocab_size=101, bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval()
    for p in model.parameters():  # biases and norms too
        torch.nn.init.normal_(p, std=0.5)
    model.tie_weights()
    cases = {
        "one file": lambda d: model.save_pretrained(d),
        "shards": lambda d: model.save_pretrained(d, max_shard_size="60KB"),
        "bare GPT2Model": lambda d: model.transformer.save_pretrained(d),
    }
    for name, save in cases.items():
        d = work / name.replace(" ", "-")
        save(d)
        yield name, d, model
    for dtype in (torch.bfloat16, torch.float16):
        low = GPT2LMHeadModel(config).eval()
        low.load_state_dict(model.state_dict())
        low = low.to(dtype)
        d = work / str(dtype).replace("torch.", "")
        low.save_pretrained(d)
        yield str(dtype), d, low.float()


def vocabulary(found: pathlib.Path, out: pathlib.Path) -> None:
    for ours, names in (("vocab.json", ("vocab.json", "*encoder.json")), ("merges.txt", ("merges.txt", "*vocab.bpe"))):
        files = [f for name in names for f in sorted(found.glob(name))]
        if not files:
            sys.exit(f"check_hf: neither of {', '.join(names)} in {found}")
        shutil.copy(files[0], out / ours)


def same_text(program: pathlib.Path, vocab: pathlib.Path, work: pathlib.Path) -> None:
    d = work / "gpt2"
    d.mkdir()
    vocabulary(vocab, d)
    tokenizer = GPT2TokenizerFast(str(d / "vocab.json"), str(d / "merges.txt"))
    torch.manual_seed(2)
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=4, n_embd=64, n_positions=64, vocab_size=len(tokenizer))).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    model.tie_weights()
    model.save_pretrained(d)
    for form in ("older files", "tokenizer.json"):
        if form == "tokenizer.json":
            tokenizer.save_pretrained(d)
        for prompt in ("Hello world", "na\u00efve \u65e5\u672c \U0001f600", "  two\n\nlines\t", "don't <|endoftext|> stop"):
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            with torch.no_grad():
                full = model.generate(ids, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.eos_token_id)[0, ids.shape[1]:].tolist()
            text = tokenizer.decode([i for i in full if i != tokenizer.eos_token_id], clean_up_tokenization_spaces=False)
            args = [program, "generate", d, "--prompt", prompt, "--temperature", "0", "--max-tokens", "40", "--dtype", "fp32"]
            got = json.loads(subprocess.run([*args, "--json"], check=True, capture_output=True).stdout)
            assert got["prompt_ids"] == ids[0].tolist(), f"{prompt!r}: {got['prompt_ids']}, not {ids[0].tolist()}"
            assert got["ids"] == full, f"{prompt!r}: {got['ids']}, not {full}"
            shown = subprocess.run(args, check=True, capture_output=True).stdout.decode("utf-8")  # whole characters, or this fails
            want = prompt.replace("<|endoftext|>", "") + text + "\n"
            if "\ufffd" not in text:  # how many of them stand for broken bytes is a matter of taste
                assert shown == want, f"{prompt!r}: {shown!r}, not {want!r}"
        print(f"ok  text from text, {form}: ids and texts equal")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    args.add_argument("--helper", type=pathlib.Path)
    args.add_argument("--vocab", type=pathlib.Path)
    args.add_argument("checkpoint", type=pathlib.Path, nargs="*")
    a = args.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        work = pathlib.Path(tmp)
        helper = a.helper or build_helper(a.build, work / "check_hf")
        for name, d, model in variants(work):
            out = work / (d.name + "-ours")
            out.mkdir()
            subprocess.run([helper, d, out], check=True)
            for ours in (out / "model", out / "checkpoints/step-00000001"):
                loaded = load_clean(ours)
                n = same_as_file(loaded, ours)
                same_models(model, loaded)
            shards = len(list(d.glob("*.safetensors")))
            print(f"ok  {name}: {shards} file(s) read, {n} tensors written twice, loaded by transformers: equal, logits equal")
        if a.vocab:
            same_text(a.build / "halfstep", a.vocab, work)
        for path in a.checkpoint:
            loaded = load_clean(path)
            n = same_as_file(loaded, path)
            step = json.loads((path / "train/state.json").read_text())["step"] if (path / "train").is_dir() else "-"
            print(f"ok  {path}: {n} tensors, step {step}")


if __name__ == "__main__":
    main()
