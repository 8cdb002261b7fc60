#!/usr/bin/env bash
# `halfstep plan` of ranks that are not there: memory, messages and time of one of them, a search for layouts, budgets, and what is refused.
. "$2/tests/support/support_cli.sh"
json() { "$halfstep" plan "$@" --json >stdout.txt 2>stderr.txt || fail "plan $*: $(cat stderr.txt)"; }
value() { field "$1" stdout.txt | head -1; }
same() { # WHAT IS SHOULD [RELATIVE]
  near "$2" "$3" "$(awk -v a="$3" -v e="${4:-1e-6}" 'BEGIN { print (a < 0 ? -a : a) * e + 1e-12 }')" || fail "$1 is $2, not $3"
}
# wire AXIS KIND NAME: a figure of that collective.
wire() { grep -oE "\"axis\":\"$1\",\"kind\":\"$2\"[^}]*" stdout.txt | grep -oE "\"$3\":[-+0-9.eE]+" | cut -d: -f2; }

cat >gpt.yaml <<'YAML'
model: { layers: 3, heads: 4, width: 64, context: 32, vocab: 500 }
train: { batch: 8, accumulate: 4 }
amp: { policy: bf16 }
YAML
cat >small.yaml <<'YAML'
device: cuda
nodes: 2
devices: 4
memory_gb: 0.02
memory_gb_per_second: 100
rates:
  bf16: { tflops: 2, fraction: 0.5 }
links:
  inside: { gb_per_second: 10, latency_us: 5 }
  between: { gb_per_second: 1, latency_us: 20 }
YAML

# ---- what is refused
bad() { printf '%b' "$1" >bad.yaml && expect 2 "$2" "$halfstep" plan gpt.yaml --cluster bad.yaml; }
bad 'nodse: 2\n' 'bad.yaml:1: unknown key nodse; did you mean nodes\?'
bad 'nodes: 2\ndevices: many\n' "bad.yaml:2: devices is 'many', must be a whole number"
bad 'rates:\n  bf16: { fraction: 1.5 }\n' 'bad.yaml:2: rates.bf16.fraction is 1.5, allowed 0.001 to 1'
bad 'nodes: 1\n' 'bad.yaml: memory_gb is not there, must be above 0'
bad 'memory_gb: 1\nmemory_gb_per_second: 0\n' 'bad.yaml:2: memory_gb_per_second is 0, must be above 0'
bad 'memory_gb: 1\nmemory_gb_per_second: 1\nnodes: 2\n' 'bad.yaml: links.between.gb_per_second is not there'
bad 'memory_gb: 1\nmemory_gb_per_second: 1\n' 'bad.yaml: rates.bf16.tflops is not there, and this run.s products are in bf16'
bad 'nodes: 2\nnodes: 3\n' 'bad.yaml:2: nodes is given twice'
expect 2 'dgx-h10: no such file, and no shipped cluster of that name \(dgx-2h, dgx-a100, dgx-h100, laptop\); nearest is dgx-h100' "$halfstep" plan gpt.yaml --cluster dgx-h10
expect 2 '16 ranks are asked for, but .*small.yaml has 8: nodes 2 x devices 4' "$halfstep" plan gpt.yaml --cluster small.yaml --gpus 16
expect 2 '3' "$halfstep" plan gpt.yaml --cluster small.yaml --parallel.tp=3
expect 2 'train.batch is 8, which does not divide over 3' "$halfstep" plan gpt.yaml --cluster small.yaml --parallel.dp=3
for text in lots 1e21x 5m ''; do expect 2 'budget' "$halfstep" plan gpt.yaml --budget="$text x"; done
expect 2 '--budget is 24 FLOPs, .*hours have an h behind them \(24h\)' "$halfstep" plan gpt.yaml --budget 24
expect 2 '--budget is -1h, allowed above 0' "$halfstep" plan gpt.yaml --budget=-1h

# ---- a rank's memory: what is divided is divided, what is replicated is not
json gpt.yaml
for class in masters weights gradients moments; do eval "one_$class=$(value $class)"; done
one_parameters=$(value parameters)
json gpt.yaml --parallel.dp=2 --cluster small.yaml
for class in masters weights gradients moments; do [ "$(value $class)" = "$(eval echo "\$one_$class")" ] || fail "dp 2 has other $class"; done
json gpt.yaml --parallel.tp=2 --cluster small.yaml
[ "$(value parameters)" = "$one_parameters" ] || fail "tp 2: another model"
# whole on every rank: positions, norms, biases of row-parallel products (bytes are padded by parameter)
awk -v one="$one_masters" -v two="$(value masters)" -v whole=$((4 * (32 * 64 + 3 * 6 * 64 + 2 * 64))) \
  'BEGIN { want = (one - whole) / 2 + whole; exit !(two > 0.97 * want && two < 1.03 * want) }' || fail "tp 2: $(value masters) bytes of masters of $one_masters"

# ---- what of it a GPU has: no scratch and no packed weights of CPU kernels, under fp8 codes of its own in their place, both ways round
on_gpu() { echo $(($(value total) - $(value loader) - $(value snapshot))); }
json gpt.yaml --cluster small.yaml
[ "$(value packed)" -gt 0 ] || fail "micro-batches share no packed weights"
[ "$(value rank_bytes)" -eq $(($(on_gpu) - $(value packed) - $(value workspace))) ] || fail "bf16 on a GPU: $(value rank_bytes) of $(value total)"
codes=$((2 * 3 * (12 * 64 * 64 + 4 * 1280)))
json gpt.yaml --cluster small.yaml --amp.policy=fp8
[ "$(value rank_bytes)" -eq $(($(on_gpu) - $(value packed) - $(value workspace) + codes)) ] || fail "fp8 on a GPU: $(value rank_bytes) of $(value total)"
expect 0 '' "$halfstep" plan gpt.yaml --cluster small.yaml --amp.policy=fp8
grep -q "is not the GPU's, codes of weights are)" stdout.txt || fail "fp8 on a GPU, in words: $(cat stdout.txt)"
if [ -e "$(dirname "$1")/recipes/libhalfstep_cuda-emu.so" ]; then # planned for one: all but the host's is its own
  json gpt.yaml --cluster small.yaml --amp.policy=fp8 --device cuda-emu
  [ "$(value packed)" -eq $codes ] || fail "a GPU keeps $(value packed) bytes of codes, the plan says $codes"
  [ "$(value rank_bytes)" -eq "$(on_gpu)" ] || fail "planned for a GPU: $(value rank_bytes) of $(value total)"
fi

# ---- what goes over the wires: four all-reduces a layer and micro-step (Megatron's), embedding and loss beside them; gradients once a step
json gpt.yaml --parallel.tp=2 --cluster small.yaml
tokens=$((8 * 32))
calls=$(wire tp all-reduce calls) bytes=$(wire tp all-reduce bytes)
layers=$((4 * 4 * 3)) # accumulate x 4 x layers
awk -v bytes="$bytes" -v layer="$((layers * tokens * 64 * 2))" -v rest="$((4 * tokens * 64 * 8))" 'BEGIN { exit !(bytes >= layer && bytes <= layer + rest + 1e5) }' ||
  fail "tp 2 moves $bytes bytes a step; layers alone $((layers * tokens * 64 * 2))"
[ -z "$(wire dp all-reduce bytes)" ] || fail "tp 2 alone reduces gradients over dp"
# the ring: 2 (p-1)/p bytes / rate + 2 (p-1)/p p latency a call
same "tp 2's time" "$(wire tp all-reduce seconds)" "$(awk -v n="$bytes" -v calls="$calls" 'BEGIN { printf "%.12g", n / 10e9 + calls * 2 * 5e-6 }')"
same "tp 2's waiting" "$(value waiting_seconds)" "$(wire tp all-reduce seconds)"
same "tp 2's products" "$(value compute_seconds)" "$(awk -v f="$(value rank_flops)" 'BEGIN { printf "%.12g", f / 1e12 }')"
same "tp 2's step" "$(value step_seconds)" "$(awk -v a="$(value compute_seconds)" -v b="$(value waiting_seconds)" -v c="$(value update_seconds)" 'BEGIN { printf "%.12g", a + b + c }')"
same "tp 2's efficiency" "$(value efficiency)" "$(awk -v a="$(value alone_seconds)" -v s="$(value step_seconds)" 'BEGIN { printf "%.12g", a / 2 / s }')"

json gpt.yaml --parallel.dp=2 --cluster small.yaml
bytes=$(wire dp all-reduce bytes)
awk -v bytes="$bytes" -v gradients="$one_gradients" 'BEGIN { exit !(bytes > 0.97 * gradients && bytes <= gradients) }' || fail "dp 2 reduces $bytes bytes of $one_gradients, once a step"
[ -z "$(wire tp all-reduce bytes)" ] || fail "dp 2 alone has messages of tp"
awk -v e="$(wire dp all-reduce exposed_seconds)" -v s="$(wire dp all-reduce seconds)" 'BEGIN { exit !(e > 0 && e <= s) }' || fail "dp 2 waits longer than its messages take"
sed 's/^nodes.*/&\noverlap: false/' small.yaml >serial.yaml
json gpt.yaml --parallel.dp=2 --cluster serial.yaml
same "without overlap" "$(wire dp all-reduce exposed_seconds)" "$(wire dp all-reduce seconds)"
# shards: moments are halved, gradients are reduced to parts, values gathered in what products read; sequence parallelism moves parts too
json gpt.yaml --parallel.dp=2 --parallel.shard_optimizer=states --cluster serial.yaml
awk -v half="$((one_moments / 2))" -v m="$(value moments)" 'BEGIN { exit !(m > 0.95 * half && m < 1.1 * half) }' || fail "shards of moments: $(value moments) of $one_moments"
[ "$(value weights)" = "$one_weights" ] || fail "shards: weights are $(value weights), not $one_weights"
awk -v got="$(wire dp reduce-scatter bytes)" -v all="$one_gradients" 'BEGIN { exit !(got > 0.97 * all && got < 1.03 * all) }' || fail "shards: $(wire dp reduce-scatter bytes) bytes of gradients"
awk -v got="$(wire dp all-gather bytes)" -v low="$one_weights" -v f32="$one_masters" 'BEGIN { exit !(got > 0.97 * low && got < low + 0.6 * f32) }' || fail "shards: $(wire dp all-gather bytes) bytes of values"
[ -z "$(wire dp all-reduce bytes)" ] || fail "shards: gradients are reduced to all of them as well"
json gpt.yaml --parallel.tp=2 --cluster serial.yaml
whole=$(wire tp all-reduce bytes) activations=$(value activations)
json gpt.yaml --parallel.tp=2 --parallel.sequence=true --cluster serial.yaml
awk -v parts="$(($(wire tp all-gather bytes | cut -d. -f1) + $(wire tp reduce-scatter bytes | cut -d. -f1)))" -v layers=$((2 * layers * tokens * 64 * 2)) \
  'BEGIN { exit !(parts >= layers && parts < 2 * layers) }' || fail "sequence parallelism moves $(wire tp all-gather bytes) + $(wire tp reduce-scatter bytes) in parts, all-reduces $whole"
[ "$(value activations)" -lt "$activations" ] || fail "sequence parallelism saves no memory: $(value activations) of $activations"
# eight ranks in two nodes of four: a ring of all of them crosses twice, and four of a node share its ports
json gpt.yaml --parallel.dp=8 --cluster serial.yaml
same "dp 8 over two nodes" "$(wire dp all-reduce seconds)" \
  "$(awk -v n="$(wire dp all-reduce bytes)" -v calls="$(wire dp all-reduce calls)" 'BEGIN { printf "%.12g", 2 * 7 / 8 * (n / 4e9 + calls * (6 * 5e-6 + 2 * 20e-6)) }')"
expect 0 '' "$halfstep" plan gpt.yaml --parallel.dp=2 --parallel.tp=2 --cluster small.yaml
grep -q '^ranks        4: dp 2 x tp 2, ' stdout.txt && grep -q '^efficiency ' stdout.txt && grep -Eq '^  tp +all-reduce ' stdout.txt || fail "text of 2 x 2: $(cat stdout.txt)"

# ---- a search: the fastest first, all of them fit, none of another batch; what does not divide is said
json gpt.yaml --gpus 8 --cluster small.yaml
grep -oE '\{"dp":[0-9]+,"tp":[0-9]+,"shard[^}]*' stdout.txt >layouts
[ "$(wc -l <layouts)" -gt 3 ] || fail "layouts: $(cat stdout.txt)"
awk -F'[:,]' '{ for (i = 1; i < NF; i++) { gsub(/[{"]/, "", $i); v[$i] = $(i + 1) } }
  v["dp"] * v["tp"] != 8 || v["batch"] * v["accumulate"] != 32 || v["batch"] % v["dp"] || v["rank_bytes"] > 2e7 || v["step_seconds"] < last { print; bad = 1 }
  { last = v["step_seconds"] } END { exit bad }' layouts || fail "a layout is wrong"
grep -q '"tp":8,"why":"[^"]*8' stdout.txt || fail "tp 8 with four heads is not refused: $(grep -o '"refused.*' stdout.txt)"
json gpt.yaml --gpus 1 --cluster small.yaml
near "$(value efficiency)" 1 1e-9 || fail "one rank is $(value efficiency) as fast as one rank"
sed -i 's/memory_gb: 0.02/memory_gb: 0.0001/' small.yaml
json gpt.yaml --gpus 2 --cluster small.yaml
grep -q '"layouts":\[\]' stdout.txt && grep -q 'a device at least, with 1 sample each; it has 0.0001 GB' stdout.txt || fail "what fits nowhere: $(cat stdout.txt)"
expect 0 '' "$halfstep" plan gpt.yaml --gpus 4 --cluster dgx-h100
grep -q '^the first: --parallel.dp=[0-9]* --parallel.tp=' stdout.txt || fail "text of a search: $(cat stdout.txt)"

# ---- without a cluster this machine is measured
json gpt.yaml --parallel.dp=2 --dtype fp32
awk -v s="$(value step_seconds)" 'BEGIN { exit !(s > 0 && s < 60) }' && grep -q '"cluster":"this machine"' stdout.txt || fail "this machine: $(cat stdout.txt)"

# ---- budgets: Gopher's 5.76e23 FLOPs are worth 40 B parameters by approach 3 (table 3 of the paper), about 70 B at 20 tokens each
json gpt2-124m --budget 5.76e23
law() { grep -oE "\"law\":\"$1\"[^}]*" stdout.txt | grep -oE "\"$2\":\"?[-+0-9.a-zA-Z]+" | cut -d: -f2 | tr -d '"'; }
same "approach 3" "$(law chinchilla parameters)" 40.3e9 0.01
same "its loss" "$(law chinchilla loss)" 1.918 0.001
same "20 tokens" "$(law 20-tokens parameters)" 69.3e9 0.01
same "20 tokens a parameter" "$(law 20-tokens tokens)" 1.386e12 0.01
same "the refit" "$(law chinchilla-refit parameters)" 72.2e9 0.01
same "Kaplan's" "$(law kaplan parameters)" 804e9 0.01
[ "$(law chinchilla nearest_recipe)" = gpt2-1558m ] || fail "nearest to 40 B is $(law chinchilla nearest_recipe)"
same "GPT-2 124M has its own size" "$(law chinchilla own_parameters)" 124439808
same "without embeddings" "$(law kaplan own_parameters)" $((124439808 - 50257 * 768 - 1024 * 768))
json gpt2-124m --budget 1d --gpus 8 --cluster dgx-h100 --dtype bf16
same "a day of eight" "$(value flops)" "$(awk 'BEGIN { printf "%.12g", 86400 * 8 * 989e12 * 0.45 }')"
json gpt2-124m --budget 1e18
[ "$(law 20-tokens nearest_recipe)" = gpt2-124m ] || fail "1e18 FLOPs are nearest to $(law 20-tokens nearest_recipe)"
expect 0 '' "$halfstep" plan gpt2-124m --budget 1e21
grep -q '^budget       1e+21 FLOPs, 11.57 PF-days' stdout.txt && grep -q 'arXiv:2203.15556' stdout.txt || fail "text of a budget: $(cat stdout.txt)"

# ---- Megatron's shapes (Shoeybi et al. 2019, Narayanan et al. 2021): parameters to the digit they print, and a rank fits where theirs ran
megatron() { # B HIDDEN HEADS LAYERS CONTEXT TP DP CLUSTER
  printf 'model: { layers: %d, heads: %d, width: %d, context: %d, vocab: 51200 }\ntrain: { batch: %d }\namp: { policy: fp16 }\n' "$4" "$3" "$2" "$5" "$7" >megatron.yaml
  json megatron.yaml --parallel.tp="$6" --parallel.dp="$7" --cluster "$8" --memory-mb 1
  [ "$(awk -v n="$(value parameters)" 'BEGIN { printf "%.1f", n / 1e9 }')" = "$1" ] || fail "$2 x $4 has $(value parameters) parameters, not $1 B"
}
while read -r b hidden heads layers tp; do # with one sample a rank: nothing is recomputed here
  megatron "$b" "$hidden" "$heads" "$layers" 1024 "$tp" 64 dgx-2h
  grep -q '"fits":true' stdout.txt || fail "Megatron's $b B do not fit into 32 GB: $(value rank_bytes) bytes a rank"
done <<'TABLE'
1.2 1536 16 40 1
2.5 1920 20 54 2
4.2 2304 24 64 4
8.3 3072 32 72 8
TABLE
while read -r b hidden heads layers tp dp; do
  megatron "$b" "$hidden" "$heads" "$layers" 2048 "$tp" "$dp" dgx-a100
done <<'TABLE'
1.7 2304 24 24 1 32
3.6 3072 32 30 2 32
7.5 4096 32 36 4 32
18.4 6144 48 40 8 32
39.1 8192 64 48 8 2
76.1 10240 80 60 8 2
145.6 12288 96 80 8 2
TABLE
finish
