#!/usr/bin/env bash
# --profile: tables whose rows add up to the step, and a trace file as chrome://tracing and Perfetto read it.
. "$2/tests/support/support_cli.sh"

# The trace: complete events of named threads that lie inside each other or apart, never across; every thunk of every step.
trace() {
  command -v python3 >/dev/null || return 0
  python3 - "$@" 2>error.txt <<'PY' || fail "$1: $(tail -1 error.txt)"
import json, sys
file, steps, members = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
top = json.load(open(file))
events = top["traceEvents"]
names = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
assert names == {m: f"member {m}" if m < members else "steps" for m in range(members + 1)}, names
assert [e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"] == ["halfstep rank 0"]
spans = [e for e in events if e["ph"] != "M"]
assert spans and all(set(e) >= {"name", "cat", "ph", "ts", "dur", "pid", "tid"} and e["ph"] == "X" for e in spans)
assert all(e["ts"] >= 0 and e["dur"] >= 0 and e["pid"] == 0 and e["tid"] in names for e in spans)
assert {e["cat"] for e in spans} <= {"step", "wait", "forward", "backward", "update"}, {e["cat"] for e in spans}
outer = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["cat"] == "step")
assert len(outer) == steps, len(outer)
for member in range(members):
    own = sorted((e["ts"], e["ts"] + e["dur"]) for e in spans if e["tid"] == member)
    assert all(a[1] <= b[0] + 2e-3 for a, b in zip(own, own[1:])), f"member {member}: spans overlap"
    assert all(any(s[0] <= a and b <= s[1] + 2e-3 for s in outer) for a, b in own), f"member {member}: outside of the steps"
    for name, cat, per_step in ("attention", "backward", 2), ("linear", "forward", 8), ("optim.adamw", "update", 1):
        n = sum(e["tid"] == member and e["name"] == name and e["cat"] == cat for e in spans)
        assert n == per_step * steps, f"member {member}: {n} of {name}, {cat}"
scopes = {e["args"]["scope"].split(".")[0] for e in spans if e["cat"] in ("forward", "backward")}
assert {"h0", "h1", "lm_head"} <= scopes, scopes
PY
}

# The rows of a JSON report add up to the step, in both tables.
rows() {
  command -v python3 >/dev/null || return 0
  python3 - "$@" 2>error.txt <<'PY' || fail "$1: $(tail -1 error.txt)"
import json, sys
rows = [r for r in map(json.loads, open(sys.argv[1])) if r.get("event") == "profile"]
step = [r for r in rows if r["table"] == "step"]
assert len(step) == 1 and step[0]["steps"] == int(sys.argv[2]) and step[0]["members"] == 2, step
step = step[0]
assert step["between_ms"] >= 0 and step["outside_ms"] >= 0 and step["read_bytes_per_second"] > 1e8, step
for table in "operation", "scope":
    mine = [r for r in rows if r["table"] == table]
    total = sum(r["ms"] for r in mine) + step["between_ms"] + step["outside_ms"]
    assert abs(total - step["ms"]) < 1e-3 * step["ms"] + 1e-3, (table, total, step["ms"])
    assert all(0 <= r["wait_ms"] <= r["ms"] + 1e-6 and 0 <= r["share"] <= 1 for r in mine)
ops = {(r["name"], r["pass"]): r for r in rows if r["table"] == "operation"}
f, b = ops["linear", "forward"], ops["linear", "backward"]
assert f["runs"] == 8 and b["runs"] == 16, (f, b)
flops = 2 * 128 * 64 * 2 * 12 * 64 # 128 tokens, two layers
assert abs(f["gflops"] * f["ms"] * 1e6 - flops) < 1e-3 * flops, (f["gflops"] * f["ms"] * 1e6, flops)
assert abs(b["gflops"] * b["ms"] * 1e6 - 2 * flops) < 2e-3 * flops
head, rows = ops["linear_xent", "backward"], 128 * int(sys.argv[3]) # three products, and softmax
assert abs(head["gflops"] * head["ms"] * 1e6 - (6 * 64 + 24) * rows) < 1e-3 * 6 * 64 * rows
assert ops["optim.adamw", "update"]["gbps"] > 0
PY
}

expect 0 '' "$halfstep" pretrain tiny.yaml --out run --dtype fp32 --profile run.json --train.steps=20
for label in 'by operation' 'by scope' 'linear +backward' 'attention +forward' '^h1 ' '^lm_head ' '^optimizer ' 'waiting in between' '^step ' 'run\.json'; do
  grep -Eq -- "$label" stdout.txt || fail "the tables lack $label"
done
grep -q '^done: 20 steps' stdout.txt || fail "the run did not go on after its profile"
trace run.json 10 2

# As JSON; fewer steps than wanted; into a folder. The losses are those of a run without.
mkdir folder
expect 0 '' "$halfstep" pretrain tiny.yaml --out again --dtype fp32 --profile folder --train.steps=9 --json
json_lines stdout.txt
cp stdout.txt rows.txt
rows rows.txt 4 64 # characters of the text, stored in units of 64
trace folder/profile.json 4 2
expect 0 '' "$halfstep" pretrain tiny.yaml --out plain --dtype fp32 --train.steps=9 --quiet
[ "$(losses again/metrics.jsonl)" = "$(losses plain/metrics.jsonl)" ] || fail "a profile changed the losses"
# A longer trace over a file that is there, per operation, one thread.
cp run.json over.json
expect 0 '' "$halfstep" bench train --model tiny.yaml --dtype bf16 --steps 3 --threads 1 --exec.mode=step --profile over.json
grep -q 'by scope' stdout.txt || fail "bench prints no tables"
trace over.json 3 1
expect 0 '' "$halfstep" bench train --model tiny.yaml --dtype fp32 --steps 3 --profile bench.json --json
rows stdout.txt 3 128 # 65 characters

# Nothing to profile; nowhere to write.
expect 0 'before the first step' "$halfstep" pretrain tiny.yaml --out short --train.steps=4 --profile short.json
[ ! -e short.json ] || fail "an empty trace was left behind"
expect 2 '--profile: cannot write nowhere/x.json' "$halfstep" pretrain tiny.yaml --out none --profile nowhere/x.json
[ ! -e none ] || fail "a run that was refused left a folder"
expect 2 '--profile needs a value' "$halfstep" bench train --model tiny.yaml --profile
finish
