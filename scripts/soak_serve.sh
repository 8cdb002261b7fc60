#!/usr/bin/env bash
# halfstep serve under everything at once, for so many seconds: embeddings of one and many texts, tensors as bytes, models loaded anew every second,
# clients that vanish in the middle, that send and read slowly, that talk nonsense; then SIGTERM under load. Nothing that was accepted may fail, memory
# and descriptors must come back to what they were. One line of figures; exit code 1 and the reason where it is not so.
#   scripts/soak_serve.sh SECONDS --encoder DIR [--decoder DIR [--prompts FILE]] [--halfstep PROGRAM] [--lengths 8-128] [--threads N] [--grow MIB] [--serve OPTIONS]
#   --decoder  completions too, streamed; of these prompts where its tokenizer does not know every word
#   --lengths  words of a text        --grow  MiB by which memory may grow: 16        --serve  of the server: '--instances 2 --http-threads 2'
#   --sanitize address|thread  instead of --halfstep: a program built for it in build/soak-address or build/soak-thread. What a sanitizer finds, leaks
#     included, ends the soak and is shown. Memory may grow by 1024 MiB there: what is freed is kept for a while, so that its use is seen
# Clients wait 120 s for an answer, so that a machine that is busy with other things is not taken for a server that lost a request.
# Addresses are this machine's own (127.0.0.1).
set -uom pipefail # -m: a client and what it started end together
seconds=${1:?usage: soak_serve.sh SECONDS --encoder DIR ...}
shift
halfstep=build/halfstep encoder="" decoder="" prompts="" lengths=8-128 threads=0 grow="" sanitize="" serve=()
while [ $# -gt 0 ]; do
  case $1 in
    --halfstep) halfstep=$2 ;; --encoder) encoder=$2 ;; --decoder) decoder=$2 ;; --prompts) prompts=$2 ;; --lengths) lengths=$2 ;; --threads) threads=$2 ;; --grow) grow=$2 ;; --sanitize) sanitize=$2 ;; --serve) read -ra serve <<<"$2" ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
[ -n "$encoder" ] || { echo "--encoder is missing" >&2; exit 2; }
case $sanitize in '' | address | thread) ;; *) echo "--sanitize takes address or thread" >&2; exit 2 ;; esac

# Optimized a little, of the tiers portable and avx2: it is built in half the time, and the server is the same in all of them. (That a row's bits are its
# own is promised with the usual optimization only.)
build_sanitized() {
  local root
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  halfstep=$root/build/soak-$sanitize/halfstep
  cmake -G Ninja -S "$root" -B "$root/build/soak-$sanitize" -DHS_SANITIZE="$([ "$sanitize" = thread ] && echo thread || echo 'address;undefined')" \
    -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS='-O1 -g1' -DHS_BUILD_TESTS=OFF -DHS_WITH_ONEDNN=OFF -DHS_WITH_MPI=OFF -DHS_WITH_CUDA=OFF \
    -DHS_COMPILES_avx512=OFF -DHS_COMPILES_avx512bf16=OFF -DHS_COMPILES_amx=OFF >"$1" && ninja -C "$root/build/soak-$sanitize" halfstep >>"$1" || return 1
  export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:quarantine_size_mb=64 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  export TSAN_OPTIONS=second_deadlock_stack=1
}
work=$(mktemp -d)
: >"$work/out"
server="" rude=()
trap 'kill "$server" 2>/dev/null; end_rude; wait 2>/dev/null; rm -rf "$work"' EXIT
fail() {
  echo "soak: $*" >&2
  if [ -n "$sanitize" ]; then grep -hA 60 -E '^=+$|Sanitizer|runtime error' "$work"/*err >&2; elif [ -s "$work/err" ]; then tail -2 "$work/err" >&2; fi
  exit 1
}
if [ -n "$sanitize" ]; then
  grow=${grow:-1024}
  build_sanitized "$work/build" || { tail -20 "$work/build" >&2; fail "no program for --sanitize $sanitize"; }
fi

"$halfstep" serve "a=$encoder" "b=$encoder" ${decoder:+"c=$decoder"} --port 0 --json --control --threads "$threads" --idle-timeout 3 --body-timeout 30 "${serve[@]}" >"$work/out" 2>"$work/err" &
server=$!
for ((i = 0; i < 600; i++)); do
  port=$(grep -oE '"port": [0-9]+' "$work/out" | grep -oE '[0-9]+')
  [ -z "$port" ] || break
  kill -0 $server 2>/dev/null || fail "no server"
  sleep 0.1
done
url=http://127.0.0.1:$port

# ---- clients
load() { # NAME SECONDS ARGS...: halfstep perf in the background
  local name=$1 long=$2
  shift 2
  "$halfstep" perf "$url" --json --seconds "$long" --warmup 0 --timeout 120 "${words[@]}" "$@" >"$work/$name.json" 2>"$work/$name.err" &
  loads+=($!) names+=("$name")
}
loads_of() { # SECONDS TAG
  loads=() names=() words=(--lengths "$lengths")
  load "$2-embed" "$1" --concurrency 4
  load "$2-batch" "$1" --route embeddings --model b --batch 16 --concurrency 2 --base64
  load "$2-infer" "$1" --route infer --model a --batch 2 --concurrency 2
  load "$2-rate" "$1" --rate 5 --keep-alive=false
  [ -z "$prompts" ] || words=(--texts "$prompts")
  [ -z "$decoder" ] || load "$2-complete" "$1" --route completions --model c --tokens 16 --concurrency 3
}
post() { printf 'POST %s HTTP/1.1\r\nHost: soak\r\nContent-Length: %d\r\n\r\n%s' "$1" ${#2} "$2"; }
story='{"prompt": "the city", "model": "c", "max_tokens": 12, "stream": true, "ignore_eos": true}'
many="{\"inputs\": [\"the city of the world\"$(printf ', "was known for its music %d"' {1..59})], \"model\": \"b\"}"
body='{"inputs": ["the city of the world", "was known for its music"], "model": "b"}'
reload() { # every second one of the models anew; says how many
  local n=0 line name names=(a b ${decoder:+c})
  while :; do
    name=${names[n % ${#names[@]}]}
    exec 3<>"/dev/tcp/127.0.0.1/$port" || break
    post "/v2/repository/models/$name/load" '{}' >&3
    read -r -t 120 line <&3 || line=none
    exec 3>&-
    case $line in 'HTTP/1.1 200'*) n=$((n + 1)) ;; *) echo "reload: $line" >>"$work/reload.err" ;; esac
    echo $n >"$work/reloads"
    sleep 1
  done
}
vanish() { # half a request; a whole one and away; away within the answer, or within a stream
  while :; do
    for bytes in 40 110 4000 ${decoder:+4001}; do
      exec 3<>"/dev/tcp/127.0.0.1/$port" || return
      if [ $bytes -eq 4001 ]; then post /v1/completions "$story" >&3; else post /embed "$body" | head -c $bytes >&3; fi
      [ $bytes -lt 4000 ] || head -c 30 <&3 >"$work/piece"
      exec 3>&-
      sleep 0.03
    done
  done
}
deaf() { # asks for more than all buffers hold, one thing behind the other, reads a little of it and leaves
  local i
  while :; do
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return
    for ((i = 0; i < 40; i++)); do post /embed_all "$many"; done >&3 &
    sleep 1
    head -c 1000 <&3 >"$work/heard"
    sleep 1
    kill $!
    exec 3>&-
  done
}
slow() { # sends by letters, reads by letters; what it was answered must be whole all the same
  local text i line
  text=$(post /embed "$body" | tr '\n' '\1') # a line feed cannot stand at the end of $()
  while :; do
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return
    for ((i = 0; i < ${#text}; i += 7)); do
      printf '%s' "${text:i:7}" | tr '\1' '\n' >&3
      sleep 0.02
    done
    read -r -t 120 line <&3 || line=none
    case $line in 'HTTP/1.1 200'*) ;; *) echo "slow: $line" >>"$work/slow.err" ;; esac
    for ((i = 0; i < 20; i++)); do head -c 50 <&3 >"$work/bytes"; sleep 0.02; done
    exec 3>&-
  done
}
nonsense() {
  while :; do
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return
    head -c 300 /dev/urandom >&3
    head -c 100 <&3 >"$work/said"
    exec 3>&-
    sleep 0.2
  done
}
begin_rude() {
  rude=()
  echo 0 >"$work/reloads"
  for who in reload vanish slow deaf nonsense; do
    $who 2>/dev/null &
    rude+=($!)
  done
}
check_rude() { # one that had ended would prove nothing
  local n
  for who in "${rude[@]}"; do kill -0 "$who" 2>/dev/null || fail "a client that should have gone on has ended"; done
  n=$(cat "$work/reloads") reloads=$((reloads + n))
  [ "$n" -ge $((turn_seconds / 10)) ] || fail "only $n reloads in $turn_seconds s"
}
end_rude() {
  for who in "${rude[@]}"; do kill -- "-$who" 2>/dev/null; done
  [ ${#rude[@]} -eq 0 ] || wait "${rude[@]}" 2>/dev/null
  rude=()
}

rss() { awk '/^VmRSS/ { print $2 }' "/proc/$server/status"; }
descriptors() { find "/proc/$server/fd" -mindepth 1 | wc -l; }
settle() { # until as few descriptors are open as it says, or ten seconds
  for ((i = 0; i < 100 && $(descriptors) > $1; i++)); do sleep 0.1; done
}
numbers() { # NAME FIELD: of all loads, summed
  grep -ohE "\"$2\":[0-9]+" "$work/$1"*.json | cut -d: -f2 | awk '{ n += $1 } END { print n + 0 }'
}

# ---- what is open and held once everything was used once
reloads=0
turns=$((seconds < 12 ? 2 : 4)) memory=()
turn_seconds=$((seconds / turns > 1 ? seconds / turns : 1))
short=$((turn_seconds < 2 ? turn_seconds : 2))
open=$(descriptors)
loads_of $short warm
wait "${loads[@]}"
settle "$open"
open=$(descriptors)

# ---- the soak; memory by turns, each as long, with everything at rest behind each
for ((turn = 0; turn < turns; turn++)); do
  begin_rude
  loads_of $turn_seconds "turn$turn"
  for ((k = 0; k < ${#loads[@]}; k++)); do
    wait "${loads[k]}" || fail "${names[k]}: $(tail -1 "$work/${names[k]}.err")"
  done
  check_rude
  end_rude
  settle "$open"
  memory+=($(($(rss) / 1024)))
done
left=$(descriptors)
answered=$(numbers turn answered) failed=$(numbers turn failed)
[ "$failed" -eq 0 ] || fail "$failed requests failed: $(grep -ohE '"errors":\{[^}]+\}' "$work"/turn*.json | sort | uniq -c | tr '\n' ' ') $(cat "$work"/turn*.err | tail -1)"
[ ! -s "$work/slow.err" ] || fail "$(tail -1 "$work/slow.err")"
[ ! -s "$work/reload.err" ] || fail "$(tail -1 "$work/reload.err")"
[ "$left" -le "$open" ] || fail "$left descriptors are open, $open were: $(find "/proc/$server/fd" -printf '%l\n' | sort | uniq -c | sort -rn | head -3 | tr '\n' ' ')"
[ $((memory[turns - 1] - memory[0])) -le "${grow:-16}" ] || fail "memory grew: ${memory[*]} MiB behind the turns"

# ---- the end, under load: what was accepted is answered, connections that came too late are not taken
loads_of $((2 * short)) end
sleep $short
kill -TERM $server
wait $server
code=$?
wait "${loads[@]}"
[ $code -eq 0 ] || fail "ended with $code"
grep -q 'not answered' "$work/err" && fail "$(grep 'not answered' "$work/err")"
lost=$(grep -ohE '"(closed|timeout|malformed|wrong|[0-9]{3})":[0-9]+' "$work"/end-*.json | tr '\n' ' ')
[ -z "$lost" ] || fail "requests were lost when it was told to stop: $lost"
echo "soak: $seconds s: $answered answered, 0 failed, $reloads reloads; memory ${memory[*]} MiB behind the turns; $left descriptors;" \
  "$(numbers end- answered) answered around SIGTERM, none lost"
