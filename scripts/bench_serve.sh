#!/usr/bin/env bash
# halfstep serve beside the model alone and beside other servers, on the same cores, in rounds that take turns; who has no turn is stopped (SIGSTOP).
#   scripts/bench_serve.sh --encoder DIR --texts FILE [--parts overhead,embed,spans,complete] [--rounds 3] [--seconds 5] [--threads N] [--halfstep PROGRAM]
#                          [--clients 32] [--batches 1,16] [--sizes 16,128] [--dtype fp32]
#                          [--peer SCRIPT --env FILE [--peer-args "--engine ort --group 4"]]
#                          [--decoder DIR --llama PROGRAM --gguf FILE] [--tokens 64] [--slots 8]
#   overhead   one text at a time over HTTP (p50) beside `bench infer` of as many tokens (p50)
#   embed      POST /v1/embeddings with --clients at once, so many texts a request, drawn from --texts (a label "0 " or "1 " before a text is dropped)
#   spans      POST /ner likewise, --encoder being a model of tokens
#   complete   POST /v1/completions, streamed, with as many at once as --slots, prompts of 16 to 64 words
#   --peer     a server that takes --encoder DIR --port N and answers /v1/embeddings (/ner); run by python behind `. FILE`, with OMP_NUM_THREADS threads
#   --llama    llama-server, with the same model as gguf
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
encoder="" texts="" parts=overhead,embed rounds=3 seconds=5 threads=$(nproc) halfstep=build/halfstep clients=32 batches=1,16 sizes=16,128 dtype=fp32
peer="" env=/dev/null peer_args="" decoder="" llama="" gguf="" tokens=64 slots=8
while [ $# -gt 0 ]; do
  case $1 in
    --encoder) encoder=$2 ;; --texts) texts=$2 ;; --parts) parts=$2 ;; --rounds) rounds=$2 ;; --seconds) seconds=$2 ;; --threads) threads=$2 ;;
    --halfstep) halfstep=$2 ;; --clients) clients=$2 ;; --batches) batches=$2 ;; --sizes) sizes=$2 ;; --dtype) dtype=$2 ;; --peer) peer=$2 ;;
    --env) env=$2 ;; --peer-args) peer_args=$2 ;; --decoder) decoder=$2 ;; --llama) llama=$2 ;; --gguf) gguf=$2 ;; --tokens) tokens=$2 ;; --slots) slots=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
work=$(mktemp -d)
declare -A pid port name=([ours]="halfstep $dtype" [peer]="$(basename "$peer") $peer_args" [llama]="llama-server $(basename "$gguf")")
trap 'stop_all 2>/dev/null; rm -rf "$work"' EXIT
fail() { echo "bench_serve: $*" >&2; exit 1; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
number() { grep -oE "\"$2\":[-+0-9.eE]+" "$1" | tail -1 | cut -d: -f2; }
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
spread() { sort -g "$1" | awk 'NR == 1 { a = $1 } { b = $1 } END { printf "%.1f to %.1f", a, b }'; }
answers() { # NAME PATH: waits until it does
  for ((i = 0; i < 1200; i++)); do
    curl -sf -o "$work/curl" "http://127.0.0.1:${port[$1]}$2" && return
    kill -0 "${pid[$1]}" 2>/dev/null || break
    sleep 0.1
  done
  fail "$1 does not start: $(tail -3 "$work/$1.log")"
}
start_halfstep() { # NAME MODEL
  port[$1]=$(free_port)
  "$halfstep" serve "m=$2" --port "${port[$1]}" --threads "$threads" --dtype "$dtype" >"$work/$1.log" 2>&1 &
  pid[$1]=$!
  answers "$1" /v2/health/ready
}
turn_of() { # NAME: it runs, the others stand still
  local who
  for who in "${!pid[@]}"; do [ "$who" = "$1" ] || kill -STOP "${pid[$who]}"; done
  [ -z "$1" ] || kill -CONT "${pid[$1]}"
}
stop_all() {
  local who
  for who in "${!pid[@]}"; do kill -CONT "${pid[$who]}"; kill "${pid[$who]}"; done
  wait
  pid=() port=()
}
load() { # NAME FILE ARGS...: one level on it; FILE gets the line
  local who=$1 to=$2
  shift 2
  turn_of "$who"
  "$halfstep" perf "http://127.0.0.1:${port[$who]}" --json --seconds "$seconds" --warmup 1 "$@" >"$to" 2>"$work/err" || fail "$who: $(tail -1 "$work/err")"
  [ "$(number "$to" failed)" = 0 ] || fail "$who: $(tail -1 "$work/err")"
}
keep() { number "$2" "$3" >>"$work/$1.$3"; }
lscpu | sed -nE 's/^Model name: +//p'
echo "halfstep $dtype, $threads threads, $rounds rounds of $seconds s in turn"

overhead() {
  start_halfstep ours "$encoder"
  for ((r = 0; r < rounds; r++)); do
    for size in ${sizes//,/ }; do
      turn_of ""
      "$halfstep" bench infer --model "$encoder" --batch 1 --seq "$size" --steps 100 --dtype "$dtype" --threads "$threads" --json >"$work/alone" 2>"$work/err" || fail "$(tail -1 "$work/err")"
      keep "alone-$size" "$work/alone" milliseconds
      load ours "$work/line" --concurrency 1 --lengths $((size - 2)) # and the tokens at both ends
      keep "ours-$size" "$work/line" p50_ms
    done
  done
  stop_all
  printf '\n| one text, tokens | model alone, p50 | over HTTP, p50 | overhead |\n|---|---|---|---|\n'
  for size in ${sizes//,/ }; do
    awk -v s="$size" -v a="$(median "$work/alone-$size.milliseconds")" -v b="$(median "$work/ours-$size.p50_ms")" \
      'BEGIN { printf "| %d | %.3f ms | %.3f ms | %.3f ms |\n", s, a, b, b - a }'
  done
}

embed() { beside_peer embeddings; }
spans() { beside_peer ner; }
beside_peer() { # ROUTE
  [ -n "$texts" ] || fail "--texts is missing"
  sed -E 's/^[01] //' "$texts" >"$work/texts"
  start_halfstep ours "$encoder"
  if [ -n "$peer" ]; then
    port[peer]=$(free_port)
    # shellcheck disable=SC1090,SC2086
    (. "$env" && OMP_NUM_THREADS=$threads exec python "$peer" --encoder "$encoder" --port "${port[peer]}" --dir "$work/peer" $peer_args) >"$work/peer.log" 2>&1 &
    pid[peer]=$!
    answers peer /health
  fi
  for ((r = 0; r < rounds; r++)); do
    for who in "${!pid[@]}"; do
      for batch in ${batches//,/ }; do
        load "$who" "$work/line" --route "$1" --model m --concurrency "$clients" --batch "$batch" --texts "$work/texts"
        for figure in texts_per_second p50_ms p99_ms; do keep "$who-$batch" "$work/line" $figure; done
      done
    done
  done
  stop_all
  printf '\n| %s clients, texts a request | | texts/s, median (of all rounds) | p50 | p99 |\n|---|---|---|---|---|\n' "$clients"
  for batch in ${batches//,/ }; do
    for who in ours peer; do
      [ -e "$work/$who-$batch.p50_ms" ] || continue
      printf '| %s | %s | %.1f (%s) | %.2f ms | %.2f ms |\n' "$batch" "${name[$who]}" "$(median "$work/$who-$batch.texts_per_second")" \
        "$(spread "$work/$who-$batch.texts_per_second")" "$(median "$work/$who-$batch.p50_ms")" "$(median "$work/$who-$batch.p99_ms")"
    done
    [ ! -e "$work/peer-$batch.p50_ms" ] || awk -v a="$(median "$work/ours-$batch.texts_per_second")" -v b="$(median "$work/peer-$batch.texts_per_second")" -v n="$batch" \
      'BEGIN { printf "| %d | ratio | %.2f x | | |\n", n, a / b }'
  done
}

complete() {
  [ -n "$decoder" ] || fail "--decoder is missing"
  start_halfstep ours "$decoder"
  if [ -n "$llama" ]; then
    port[llama]=$(free_port)
    "$llama" -m "$gguf" -t "$threads" -tb "$threads" -np "$slots" -c $((slots * 256)) --port "${port[llama]}" >"$work/llama.log" 2>&1 &
    pid[llama]=$!
    answers llama /health
  fi
  for ((r = 0; r < rounds; r++)); do
    for who in "${!pid[@]}"; do
      load "$who" "$work/line" --route completions --model m --concurrency "$slots" --tokens "$tokens" --lengths 16-64
      for figure in tokens_per_second p95_ms first_token_p50_ms between_tokens_p50_ms between_tokens_p95_ms between_tokens_p99_ms; do keep "$who" "$work/line" $figure; done
    done
  done
  stop_all
  printf '\n| %s at once, %s tokens each | tokens/s, median (of all rounds) | whole, p95 | first token, p50 | between tokens, p50 | p95 | p99 |\n|---|---|---|---|---|---|---|\n' "$slots" "$tokens"
  for who in ours llama; do
    [ -e "$work/$who.tokens_per_second" ] || continue
    printf '| %s | %.1f (%s) | %.0f ms | %.1f ms | %.2f ms | %.2f ms | %.2f ms |\n' "${name[$who]}" "$(median "$work/$who.tokens_per_second")" \
      "$(spread "$work/$who.tokens_per_second")" "$(median "$work/$who.p95_ms")" "$(median "$work/$who.first_token_p50_ms")" \
      "$(median "$work/$who.between_tokens_p50_ms")" "$(median "$work/$who.between_tokens_p95_ms")" "$(median "$work/$who.between_tokens_p99_ms")"
  done
}
for part in ${parts//,/ }; do
  case $part in overhead | embed | spans | complete) $part ;; *) fail "no part '$part'" ;; esac
done
