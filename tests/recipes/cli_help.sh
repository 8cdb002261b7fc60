#!/usr/bin/env bash
# Help, version and man page: there for every command, examples first, and no key of the table is missing.
. "$2/tests/support/support_cli.sh"

commands="pretrain finetune distill predict export import prune generate eval fill-mask embed score serve plan verify bench ops env help version"
expect 0 '' "$halfstep" --help
for c in $commands; do
  grep -Eq "^  $c +[a-z]" stdout.txt || fail "the overview lacks $c"
done
for c in $commands; do
  for how in "$c --help" "help $c" "$c -h" "$c --help --all"; do
    expect 0 '' "$halfstep" $how
    [ "$(grep -nE '^(Examples|Options):' stdout.txt | cut -d: -f2 | tr '\n' ' ')" = "Examples Options " ] || fail "$how: examples do not come first"
    grep -q "  halfstep $c" stdout.txt || fail "$how has no example"
    grep -q -- '--log-level' stdout.txt || fail "$how lacks the common options"
  done
done

"$halfstep" pretrain --help --all >all.txt
"$halfstep" help --man >man.txt
for key in model.{type,layers,heads,width,context,vocab,dropout} data.{train,val,tokenizer} \
  train.{batch,accumulate,steps,seed,log_every,eval_every,init_from} optim.{name,lr,min_lr,warmup,schedule,betas,eps,weight_decay,clip} \
  amp.{policy,residual,overrides,scaler} checkpoint.{every,keep} exec.{mode,bulk_size,threads,isa} loss.normalize; do
  grep -q "^  $key " all.txt || fail "--help --all lacks $key"
  grep -q "^\.B $key " man.txt || fail "the man page lacks $key"
done
for option in out resume overwrite profile profile-steps prompt prompt-ids temperature top-k top-p seed max-tokens data model batch seq steps input pooling normalize format dtype device threads json; do
  grep -q "^\.B \\\\-\\\\-${option//-/\\\\-} " man.txt || fail "the man page lacks --$option"
done
if command -v man >/dev/null; then
  LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l man.txt >/dev/null 2>warnings.txt
  [ ! -s warnings.txt ] || fail "man page: $(head -3 warnings.txt)"
fi

# a setting that is true or false says so, and how it is given is what is taken
grep -Eq '^  parallel.sequence true.false .*default false' <(grep -A1 '^  parallel.sequence' all.txt | tr -d '\n') || fail "parallel.sequence: $(grep -A1 '^  parallel.sequence' all.txt)"
for how in '' =true =false =on; do
  expect 0 '' "$halfstep" plan shakespeare-char --model.vocab=65 --train.tensorboard$how
done
expect 0 '' "$halfstep" plan shakespeare-char --model.vocab=65 --no-train.tensorboard
expect 2 "^halfstep: --train.tensorboard false: what a switch is set to stands behind =, as in --train.tensorboard=false$" "$halfstep" plan shakespeare-char --train.tensorboard false
grep -A1 '^  phases.N.steps' all.txt | grep -q 'steps of the phase' || fail "phases.N.steps: $(grep -A1 '^  phases.N.steps' all.txt)"
for c in embed fill-mask; do
  "$halfstep" $c --help | grep -A1 -- '^  --dtype' | grep -q 'auto: fp32' || fail "$c: what --dtype auto is: $("$halfstep" $c --help | grep -A1 dtype)"
done
expect 0 '' "$halfstep" --version
grep -Eq '^halfstep [0-9]+\.[0-9]+\.[0-9]+$' stdout.txt || fail "version"
expect 0 '' "$halfstep" ops
[ "$(grep -c '^| ' stdout.txt)" -gt 20 ] || fail "the op table is short"
awk -F'|' '{ gsub(/\\\|/, "") } /^\|/ && NF != 10 { bad = 1 } END { exit bad }' stdout.txt || fail "a row of the op table has another number of cells"
grep -q '| heads:i32 causal:bool dropout:f32 scale:f32 first_head:i32 page_rows:i32 longest:i32 full:bool library_masks:bool any_order:bool |' stdout.txt || fail "the op table lacks attention's attributes"

expect 0 '' "$halfstep" plan quickstart --dtype bf16 --nodes
grep -Eq '^h2 +attention +heads=4 causal=true dropout=0 scale=0 first_head=0 page_rows=0 longest=[0-9]+ full=(true|false) library_masks=false any_order=false +%[0-9]+:bf16\[1536,384\], starts:i32\[17\]' stdout.txt || fail "plan --nodes: no attention in h2"
grep -Eq '^h0\.mlp\.up +linear .*h0\.mlp\.up\.weight:bf16\[512,128\], h0\.mlp\.up\.bias:f32\[512\] -> ' stdout.txt || fail "plan --nodes: h0.mlp.up"
expect 0 '' "$halfstep" plan quickstart --memory-mb 1e9 --model.context=65536
grep -q 'fits into 1000 TB: train.batch=32767$' stdout.txt || fail "plan names a micro-batch of more than 2^31 rows"
expect 0 '' "$halfstep" plan quickstart --nodes --json
[ "$(grep -c '"node"' stdout.txt)" -eq "$(tail -1 stdout.txt | grep -o '"nodes": *[0-9]*' | grep -o '[0-9]*$')" ] || fail "plan --nodes --json: not every node has a line"
grep '"op": *"gelu"' stdout.txt | grep -q '"attributes": *"kind=tanh"' || fail "plan --nodes --json: gelu's attributes"
expect 0 '' "$halfstep" env
for fact in halfstep git compiler cpu cores isa_built isa_supported memory onednn libpng libyaml jansson xxhash cuda; do
  grep -q "^$fact " stdout.txt || fail "env lacks $fact"
done
finish
