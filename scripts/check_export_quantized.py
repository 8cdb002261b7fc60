"""Part quantized of check_export.py: what `halfstep quantize` makes, as ONNX and GGUF."""
import json

import numpy as np
import onnx
import onnxruntime
import torch
import transformers as hf
from check_export_gguf import gguf_tensors, same_after_import
from check_export_tools import halfstep, session, tiny
from safetensors.torch import load_file, save_file


def values_of(d, out):
    """A directory of codes as one of values, dequantized by what compressed-tensors' format says."""
    t, values = load_file(d / "model.safetensors"), {}
    for name, v in t.items():
        base = name.rpartition(".")[0]
        scale = t.get(base + ".weight_scale")
        if name.endswith(".weight_packed"):
            v = torch.stack([(v >> 4 * i) & 15 for i in range(8)], -1).reshape(v.shape[0], -1) - 8
        elif not name.endswith(".weight"):
            if "_scale" not in name and not name.endswith(".weight_shape"):
                values[name] = v
            continue
        if scale is not None:
            v = v.float() * scale.float().repeat_interleave(v.shape[1] // scale.shape[1], 1)
        values[base + ".weight"] = v.float().contiguous()
    out.mkdir()
    for f in d.iterdir():
        if f.name != "model.safetensors":
            (out / f.name).write_bytes(f.read_bytes())
    config = json.loads((d / "config.json").read_text())
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config))
    save_file(values, out / "model.safetensors", {"format": "pt"})


def texts_of(path, n):
    """Lines of "label, space, text"."""
    return [line.rstrip("\n").split(" ", 1)[1] for line in open(path, encoding="utf-8")][:n]


def logits_of(s, tokenizer, texts, size=32):
    names, out = [i.name for i in s.get_inputs()], []
    for at in range(0, len(texts), size):
        e = tokenizer(texts[at:at + size], padding=True, return_tensors="np")
        out.append(s.run(["logits"], {k: e[k].astype(np.int64) if k in e else np.zeros_like(e["input_ids"]) for k in names})[0])
    return np.concatenate(out)


def labels_of(program, d, texts):
    lines = halfstep(program, "predict", d, "-", "--dtype", "fp32", text="".join(t + "\n" for t in texts)).splitlines()
    return [line.split("\t")[0] if "\t" in line else line.split(" ")[0] for line in lines]


def in_f32(path, out):
    """A session on the same graph in which products do not round x, neither those of blocks nor what ONNX Runtime makes them of."""
    m = onnx.load(str(path))
    for n in m.graph.node:
        for a in n.attribute:
            if a.name == "accuracy_level":
                a.i = 1
    onnx.save(m, str(out))
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return onnxruntime.InferenceSession(str(out), options, providers=["CPUExecutionProvider"])


def check_quantized_onnx(a, d, form, texts, work):
    tokenizer = hf.AutoTokenizer.from_pretrained(a.quantize)
    halfstep(a.halfstep, "export", d, "--to", "onnx", "-o", work / "onnx")
    path = work / "onnx/model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(work / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    s = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = [n.op_type for n in onnx.load(str(work / "optimized.onnx")).graph.node]
    integers = sum(k in ("MatMulIntegerToFloat", "QLinearMatMul", "MatMulInteger", "QGemm") for k in kinds)
    got = logits_of(s, tokenizer, texts)
    values_of(d, work / "values")
    labels = {int(k): v for k, v in json.loads((d / "config.json").read_text())["id2label"].items()}
    ours = labels_of(a.halfstep, d, texts)
    same = np.mean([labels[int(i)] == w for i, w in zip(got.argmax(-1), ours)])
    assert same >= 0.99, f"{form}: {same:.2%} of the labels are Halfstep's"
    note = ""
    if form == "calibrated":
        layers = json.loads((d / "config.json").read_text())["num_hidden_layers"]
        assert integers >= 6 * layers, f"{integers} products of integers: {kinds}"
        note = f", {integers} products of integers"
    else:
        halfstep(a.halfstep, "export", work / "values", "--to", "onnx", "-o", work / "plain")
        want = logits_of(session(work / "plain/model.onnx"), tokenizer, texts)
        off = np.abs(logits_of(in_f32(path, work / "f32.onnx"), tokenizer, texts) - want).max()
        assert off <= 1e-3, f"{form}: logits are {off:g} from those of its values"
        note = f"; logits {off:.1e} from those of the weights' values, {np.abs(got - want).max():.1e} as ONNX Runtime takes the file"
    print(f"ok  quantized {form}: ONNX of {path.stat().st_size / 1e6:.1f} MB, labels of {len(texts)} texts {same:.2%} Halfstep's{note}")


def check_quantized_gguf(a, d, form, work):
    want = load_file(work / "values/model.safetensors")
    halfstep(a.halfstep, "export", d, "--to", "gguf", "-o", work / "gguf")
    halfstep(a.halfstep, "import", work / "gguf", "-o", work / "back")
    bare = {k.removeprefix("bert."): v for k, v in want.items()}
    got = load_file(work / "back/model.safetensors")
    for k, v in got.items():
        assert torch.equal(v, bare[k.removeprefix("bert.")]), f"{form}: {k} differs"
    read = gguf_tensors(work / "gguf/model.gguf")
    word = bare["embeddings.word_embeddings.weight"].numpy()
    assert np.array_equal(read["token_embd.weight"], word), "the package gguf reads another table"
    print(f"ok  quantized {form}: GGUF of {(work / 'gguf/model.gguf').stat().st_size / 1e6:.1f} MB, {len(got)} tensors to the bit")


def check_q4_k(a, work):
    """A GPT with rows of 256, beside ggml's own quantizer."""
    import ctypes
    import gguf
    model = tiny("GPT2LMHeadModel", hf.GPT2Config(vocab_size=512, n_positions=24, n_embd=256, n_layer=2, n_head=4, initializer_range=0.2))
    model.save_pretrained(work / "hf")
    halfstep(a.halfstep, "export", work / "hf", "--to", "gguf", "--dtype", "q4_k", "-o", work / "q4_k")
    same_after_import(a.halfstep, work / "q4_k/model.gguf", work / "back")
    halfstep(a.halfstep, "export", work / "hf", "--to", "gguf", "-o", work / "f32")
    try:
        import xllamacpp.xllamacpp as x
    except ImportError:
        print("ok  quantized q4_k: what the package gguf reads comes back; no xllamacpp, so ggml's own quantizer is not asked")
        return
    ggml, off, all = ctypes.CDLL(x.__file__), 0, 0
    values = gguf_tensors(work / "f32/model.gguf")
    for t in gguf.GGUFReader(work / "q4_k/model.gguf").tensors:
        if t.tensor_type != gguf.GGMLQuantizationType.Q4_K:
            continue
        v = np.ascontiguousarray(values[t.name], np.float32)
        want = np.zeros(v.size // 256 * 144, np.uint8)
        ggml.quantize_row_q4_K_ref(v.ctypes.data_as(ctypes.c_void_p), want.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(v.size))
        blocks = (want.reshape(-1, 144) != np.asarray(t.data).reshape(-1, 144)).any(-1)
        off, all = off + int(blocks.sum()), all + len(blocks)
    assert all and off <= all // 100, f"{off} of {all} blocks are others than ggml's"
    print(f"ok  quantized q4_k: {all - off} of {all} blocks are ggml's own to the bit")


def check_quantized(a, work):
    check_q4_k(a, work)
    if not a.quantize or not a.texts:
        print("--  quantized: no --quantize CHECKPOINT with --texts FILE")
        return
    texts = texts_of(a.texts, 1 << 30)
    (work / "calib.txt").write_text("".join(t + "\n" for t in texts[:256]), encoding="utf-8")
    for form in ("w8a8", "calibrated", "w8", "w4"):
        out = work / form
        out.mkdir()
        how = ["w8a8", "--calib", work / "calib.txt"] if form == "calibrated" else [form]
        halfstep(a.halfstep, "quantize", a.quantize, "--bits", *how, "-o", out / "codes")
        check_quantized_onnx(a, out / "codes", form, texts, out)
        if form in ("w8", "w4"):
            check_quantized_gguf(a, out / "codes", form, out)
