#!/usr/bin/env python3
"""Opens an adapter that `halfstep finetune --adapter.rank` trained with peft, merges it there, and compares with `halfstep export`'s merged model.

    python3 scripts/check_peft.py ADAPTER MERGED       needs torch, transformers, peft, safetensors

ADAPTER: a step folder of the run's checkpoints; MERGED: what `halfstep export RUN --to safetensors -o MERGED` wrote.
"""
import json
import pathlib
import sys

import torch
import transformers as hf
from peft import PeftModel
from safetensors.torch import load_file

KINDS = {"SEQ_CLS": hf.AutoModelForSequenceClassification, "TOKEN_CLS": hf.AutoModelForTokenClassification,
         "QUESTION_ANS": hf.AutoModelForQuestionAnswering, "CAUSAL_LM": hf.AutoModelForCausalLM}


def main():
    adapter, merged = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    said = json.loads((adapter / "adapter_config.json").read_text())
    config = json.loads((adapter / "config.json").read_text())
    more = {} if said["task_type"] == "CAUSAL_LM" else {"num_labels": len(config.get("id2label", [0, 1]))}
    base = KINDS[said["task_type"]].from_pretrained(said["base_model_name_or_path"], **more)
    model = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    theirs, ours = model.state_dict(), load_file(merged / "model.safetensors")
    worst, n = 0.0, 0
    for name, value in ours.items():
        t = theirs[name]
        assert t.shape == value.shape, name
        worst = max(worst, ((t - value).abs().max() / t.abs().max().clamp_min(1e-12)).item())
        n += 1
    missing = [k for k in theirs if k not in ours and "position_ids" not in k and not k.startswith(("lm_head", "cls.predictions.decoder"))]
    print(f"{n} tensors, merged by peft and by halfstep: within {worst:.2e} of the largest of each")
    if missing or not worst < 1e-6:
        sys.exit(f"not the same: {missing[:5]}, {worst}")


if __name__ == "__main__":
    main()
