# Sourced by the cli_*.sh scripts: $1 is the program, $2 the source folder, $5 check_json. Works in a folder of its own that goes away.
halfstep=$1
source_dir=$2
check_json=$5
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
# device=NAME among the arguments: commands which compute use that one instead of the CPU, and $again is set: what has to do with no device is
# proved without.
again=
for argument; do
  case $argument in device=*)
    printf '#!/bin/sh\ncase $1 in\n  pretrain | finetune | eval | generate) exec %q "$@" --device %q ;;\n  *) exec %q "$@" ;;\nesac\n' "$1" "${argument#device=}" "$1" >on_device
    chmod +x on_device
    halfstep=$work/on_device again=1 ;;
  esac
done
unset NO_COLOR OMPI_COMM_WORLD_SIZE PMI_SIZE
failures=0

fail() {
  echo "FAILED: $*" >&2
  failures=$((failures + 1))
}
finish() {
  [ "$failures" -eq 0 ] || echo "$failures failed" >&2
  exit $((failures > 0))
}
# expect CODE REGEX COMMAND...: the exit code, and one line on stderr that the extended regex matches.
expect() {
  local code=$1 regex=$2 got
  shift 2
  "$@" >stdout.txt 2>stderr.txt </dev/null
  got=$?
  [ "$got" -eq "$code" ] || fail "exit code $got, not $code: ${*//$work\//}: $(head -c 300 stderr.txt)"
  if [ -n "$regex" ]; then
    grep -Eq -- "$regex" stderr.txt || fail "stderr of ${*//$work\//} is not /$regex/: $(head -c 300 stderr.txt)"
  fi
  if [ "$code" -eq 2 ]; then
    [ "$(grep -vc '^warning: ' stderr.txt)" -eq 1 ] || fail "more than one line on stderr: ${*//$work\//}: $(head -c 500 stderr.txt)"
    grep -q '^halfstep: ' stderr.txt || fail "the line does not begin with 'halfstep: ': $(head -c 300 stderr.txt)"
  fi
}
# Every line of a file is one JSON object.
json_lines() { "$check_json" lines "$1" 2>error.txt || fail "$1 is not JSON lines: $(tail -1 error.txt)"; }
# le BYTES N...: whole numbers as files hold them, little end first.
le() {
  local size=$1 n i byte out=
  shift
  for n; do
    for ((i = 0; i < size; i++)); do
      printf -v byte '\\x%02x' $((n >> 8 * i & 255))
      out+=$byte
    done
  done
  printf "$out"
}
# llmc_header N: what stands before N token ids of two bytes in a file of llm.c.
llmc_header() { le 4 20240520 1 "$1" && head -c 1012 /dev/zero; }
# field NAME FILE: the values of a number field, one a line.
field() { grep -oE "\"$1\":[-+0-9.eE]+" "$2" | cut -d: -f2; }
# What a resumed run must repeat: step, loss and val_loss of every line.
losses() { sed -E 's/.*"step":([0-9]+),"loss":([^,]+).*/\1 \2 &/; s/^([^ ]+ [^ ]+) .*("val_loss":[^,}]+).*/\1 \2/; s/^([^ ]+ [^ ]+) \{.*/\1/' "$1"; }
near() { awk -v a="$1" -v b="$2" -v e="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a != "" && b != "" && d <= e) }'; }

# A text, and settings with which a run takes a second.
for i in $(seq 1 400); do
  echo "$((i * i % 97)) bottles stood on wall $i; the quick brown fox jumped over $((i % 7)) of them."
done >text.txt
cat >tiny.yaml <<'YAML'
model: { layers: 2, heads: 2, width: 64, context: 32 }
data: { train: text.txt }
train: { batch: 4, steps: 60, log_every: 1, eval_every: 20, eval_windows: 8, seed: 3 }
optim: { lr: 3e-3, warmup: 5, betas: [0.9, 0.99] }
checkpoint: { every: 20, keep: 2 }
exec: { threads: 2 }
YAML
