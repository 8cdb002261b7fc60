"""What the parts of check_export.py share: the program, tiny models, sessions of ONNX Runtime."""
import logging
import pathlib
import subprocess

import onnxruntime
import torch
import transformers as hf
from check_hf_encoders import classes

hf.logging.set_verbosity_error()
hf.logging.disable_progress_bar()
logging.disable(logging.WARNING)
ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4


def halfstep(program, *args, text=None):
    r = subprocess.run([program, *map(str, args), "--quiet"], capture_output=True, text=True, input=text)
    assert r.returncode == 0, f"{' '.join(map(str, args))}: {r.stderr}"
    return r.stdout


def tiny(name, config):
    torch.manual_seed(3)
    model = getattr(hf, name)(config).eval()
    for p in model.parameters():
        if p.dim() == 1:
            torch.nn.init.normal_(p, std=0.3)
    model.tie_weights()
    return model


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def kinds():
    """A model of every family, class and head: name, config."""
    for i, (name, config) in enumerate(all := list(classes())):
        if name.endswith("SequenceClassification") and name == all[i - 1][0]:
            continue  # the same with another loss
        if name.startswith("GPT2"):
            config.pad_token_id = 0
        yield name, config
