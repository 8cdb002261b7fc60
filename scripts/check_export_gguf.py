"""Part gguf of check_export.py: GGUF files beside llama.cpp and the package gguf."""
import json

import numpy as np
import torch
import transformers as hf
from check_export_tools import ROOT, halfstep
from safetensors.torch import load_file

PROMPTS = ("ROMEO:\n", "First Citizen:\nBefore we", "KING", "the")


def trained_gpt(program, work):
    """A GPT with a byte-level BPE that has learnt enough to be sure of what it writes."""
    text = ROOT / "recipes/text/shakespeare.txt"
    halfstep(program, "tokenizer", "train", "--vocab-size", 800, text, "-o", work / "tok")
    (work / "small.yaml").write_text(f"""
model: {{ layers: 3, heads: 4, width: 128, context: 128 }}
data: {{ train: {text}, tokenizer: {work / "tok"} }}
train: {{ batch: 12, steps: 300, log_every: 100, seed: 3 }}
optim: {{ lr: 2e-3, warmup: 20 }}
""")
    halfstep(program, "pretrain", work / "small.yaml", "--out", work / "run")
    return work / "run"


class LlamaCpp:
    """llama.cpp by whichever of its packages is there."""

    def __init__(self, path, vectors=False, context=128):
        import xllamacpp as x
        p = x.CommonParams()
        p.model.path, p.n_ctx, p.n_batch, p.n_ubatch = str(path), context, context, context
        p.warmup, p.n_gpu_layers, p.n_parallel, p.cpuparams.n_threads, p.embedding = False, 0, 1, 2, vectors
        p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
        self.server = x.Server(p)

    def greedy(self, prompt, n):
        r = self.server.handle_completions({"prompt": prompt, "n_predict": n, "temperature": 0, "top_k": 1, "cache_prompt": False})
        return r["choices"][0]["text"]

    def sure_of(self, prompt, n):
        """The ids that it writes, and the logarithm of each one's probability."""
        r = self.server.handle_completions({"prompt": prompt, "n_predict": n, "temperature": 0, "top_k": 1, "cache_prompt": False, "logprobs": 1})
        said = r["choices"][0]["logprobs"]["content"]
        return [t["id"] for t in said], np.array([t["logprob"] for t in said])

    def vectors(self, texts):
        r = self.server.handle_embeddings({"input": texts})
        return np.array([d["embedding"] for d in r["data"]]), r["usage"]["prompt_tokens"]


def has_llama():
    try:
        import xllamacpp  # noqa: F401
        return True
    except ImportError:
        print("--  gguf: no xllamacpp, so llama.cpp itself is not asked")
        return False


def gguf_tensors(path):
    import gguf
    r = gguf.GGUFReader(path)
    return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).reshape(tuple(reversed(t.shape.tolist()))) for t in r.tensors}


GPT2_NAMES = {"token_embd": "wte", "position_embd": "wpe", "output_norm": "ln_f", "attn_norm": "ln_1", "attn_qkv": "attn.c_attn",
              "attn_output": "attn.c_proj", "ffn_norm": "ln_2", "ffn_up": "mlp.c_fc", "ffn_down": "mlp.c_proj"}


def hf_of_gguf(name, value):
    """A tensor of GPT-2 under transformers' name, [in, out] as its Conv1D has it."""
    parts = name.split(".")
    ours = GPT2_NAMES[parts[-2]] + "." + parts[-1]
    if parts[0] != "blk":
        return "transformer." + ours, value
    return f"transformer.h.{parts[1]}.{ours}", value.T if parts[-1] == "weight" and value.ndim == 2 else value


def same_after_import(program, path, out):
    """What `halfstep import` makes of a GPT-2's file is what the package gguf reads in it, to the bit."""
    halfstep(program, "import", path, "-o", out)
    got = load_file(out / "model.safetensors")
    want = dict(hf_of_gguf(k, v) for k, v in gguf_tensors(path).items())
    assert set(got) == set(want), sorted(set(got) ^ set(want))
    for k, v in want.items():
        assert np.array_equal(got[k].numpy(), np.asarray(v, np.float32)), f"{path}: {k} differs"


def rewritten(path, out, kind):
    """The same file in another type, by the package gguf."""
    import gguf
    r, w = gguf.GGUFReader(path), gguf.GGUFWriter(out, "gpt2")
    for f in r.fields.values():
        if f.name.startswith("GGUF.") or f.name == "general.architecture":
            continue
        of = f.types[0]
        w.add_key_value(f.name, f.contents(), of, sub_type=f.types[-1] if of == gguf.GGUFValueType.ARRAY else None)
    for t in r.tensors:
        v = gguf.quants.dequantize(t.data, t.tensor_type)
        if v.ndim == 2 and t.name not in ("position_embd.weight",):
            w.add_tensor(t.name, gguf.quants.quantize(v, kind), raw_dtype=kind)
        else:
            w.add_tensor(t.name, v.astype(np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def codes_beside_llama(a, codes, values, path):
    """Of a directory of codes and its file: greedy tokens, and how sure llama.cpp is of its own beside f32 on what the codes stand for."""
    llama, model = LlamaCpp(path), hf.GPT2LMHeadModel.from_pretrained(values).eval()
    same, of, apart = 0, 0, []
    for prompt in PROMPTS:
        ours = json.loads(halfstep(a.halfstep, "generate", codes, "--prompt", prompt, "--max-tokens", 60, "--temperature", 0, "--json"))
        ids, sure = llama.sure_of(prompt, 60)
        same += next((i for i, (x, y) in enumerate(zip(ours["ids"], ids)) if x != y), len(ids))
        of += len(ids)
        with torch.no_grad():
            logits = model(torch.tensor([ours["prompt_ids"] + ids])).logits[0].log_softmax(-1)
        begin = len(ours["prompt_ids"]) - 1
        apart.append(np.abs(sure - np.array([float(logits[begin + i, t]) for i, t in enumerate(ids)])))
    apart = np.concatenate(apart)
    assert same > of // 2 and apart.mean() < 0.05, (same, of, apart.mean())
    return (f"; its tokens are those of the codes here in {same} of {of} places up to the first other one; "
            f"ln p of them {apart.mean():.4f} from f32 on the codes' values, at most {apart.max():.4f}")


def check_bert_gguf(a, path, work, llama):
    halfstep(a.halfstep, "export", path, "--to", "gguf", "-o", work / "gguf")
    halfstep(a.halfstep, "import", work / "gguf/model.gguf", "-o", work / "back")
    body = load_file(work / "back/model.safetensors")
    want = {k.removeprefix("bert."): v for k, v in load_file(path / "model.safetensors").items()}
    for k, v in body.items():
        assert torch.equal(v, want[k.removeprefix("bert.")]), k
    texts = ["The cat sits on the mat.", "Café, naïve, unaffable 東京!", "x", "A man is eating food; he is not running, and it rains."]
    lines = "".join(t + "\n" for t in texts)
    ours = [np.array(json.loads(s)["embedding"]) for s in halfstep(a.halfstep, "embed", path, "--input", "-", "--json", "--pooling", "mean", text=lines).splitlines()]
    again = [np.array(json.loads(s)["embedding"]) for s in halfstep(a.halfstep, "embed", work / "back", "--input", "-", "--json", text=lines).splitlines()]
    assert np.array_equal(ours, again), "another tokenizer"
    note = ""
    if llama:
        theirs, tokens = LlamaCpp(work / "gguf/model.gguf", True, 512).vectors(texts)
        cosine = min(float(u @ v / np.linalg.norm(u) / np.linalg.norm(v)) for u, v in zip(ours, theirs))
        assert cosine > 0.9999, cosine
        note = f"; llama.cpp's vectors of {tokens} tokens: cosine {cosine:.6f}"
    print(f"ok  gguf {path}: {len(body)} tensors and the tokenizer come back{note}")


def check_gguf(a, work):
    import gguf
    llama = has_llama()
    run = trained_gpt(a.halfstep, work)

    def text(d):
        return {p: halfstep(a.halfstep, "generate", d, "--prompt", p, "--max-tokens", 60, "--temperature", 0, "--dtype", "fp32") for p in PROMPTS}

    trained = text(run)
    for kind in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "codes of w8", "codes of w4"):
        out, codes = work / kind, kind.split()[-1]
        if codes != kind:
            halfstep(a.halfstep, "quantize", run, "--bits", codes, "-o", work / codes)
            halfstep(a.halfstep, "export", work / codes, "--to", "gguf", "-o", out)
        else:
            halfstep(a.halfstep, "export", run, "--to", "gguf", "--dtype", kind, "-o", out)
        same_after_import(a.halfstep, out / "model.gguf", work / f"{kind}-back")
        note, want = "", text(work / f"{kind}-back")
        assert kind not in ("f32", "f16") or want == trained, f"{kind}: another text than the checkpoint's"
        if llama:
            model = LlamaCpp(out / "model.gguf")
            equal = sum(want[p].startswith(p + model.greedy(p, 60)) for p in PROMPTS)
            # beside weights of 8 bits and less llama.cpp rounds activations to 8 bits as well
            assert equal == len(PROMPTS) or kind not in ("f32", "f16", "bf16"), f"{kind}: {equal} of {len(PROMPTS)} texts equal"
            note = f"; llama.cpp: {equal} of {len(PROMPTS)} greedy texts of 60 tokens are Halfstep's"
            del model
            if codes != kind:
                note += codes_beside_llama(a, work / codes, work / f"{kind}-back", out / "model.gguf")
        print(f"ok  gguf {kind}: tensors to the bit{note}")
    for kind in ("Q4_0", "Q8_0"):
        rewritten(work / "f32/model.gguf", work / f"{kind}.gguf", gguf.GGMLQuantizationType[kind])
        same_after_import(a.halfstep, work / f"{kind}.gguf", work / f"{kind}-import")
        print(f"ok  gguf {kind} of the package gguf: tensors to the bit")
    ours, theirs = gguf_tensors(work / "q8_0/model.gguf"), gguf_tensors(work / "Q8_0.gguf")
    assert all(np.array_equal(ours[k], theirs[k]) for k in ours), "q8_0 is not what the package gguf makes"
    for number, path in enumerate(a.checkpoint):
        if hf.AutoConfig.from_pretrained(path).model_type == "bert":
            (work / str(number)).mkdir()
            check_bert_gguf(a, path, work / str(number), llama)
