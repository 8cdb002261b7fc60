#!/usr/bin/env bash
# What befalls a process from outside: signals, readers that go away, streams that are closed or full.
. "$2/tests/support/support_cli.sh"
pretrain=("$halfstep" pretrain tiny.yaml --data.tokenizer byte --train.eval_every 0 --train.steps)

# ---- every catchable ending: saved, said, code 75, gone on from. Sent in the background, where a shell has INT and QUIT ignored.
# started OUT [command...]: a long run in the background that has done some steps; its id is in $pid
started() {
  local out=$1
  shift
  rm -rf "$out" events.txt
  "$@" "${pretrain[@]}" 100000 --checkpoint.every 0 --out "$out" --json >events.txt 2>stderr.txt &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q '"step":3,' events.txt 2>/dev/null; do sleep 0.02; done
}
ended() { # OUT SIGNAL
  wait $pid
  local code=$?
  [ $code -eq 75 ] || fail "$2: exit code $code: $(tail -1 stderr.txt)"
  grep -q "^halfstep: stopped by $2 after step [0-9]* of 100000; saved in $1/checkpoints" stderr.txt || fail "$2: $(tail -1 stderr.txt)"
  [ "$(ls "$1/checkpoints" | grep -c '^step-')" -eq 1 ] || fail "$2: nothing saved: $(ls "$1/checkpoints")"
}
for signal in HUP INT QUIT USR1 USR2 ALRM TERM XCPU VTALRM PROF IO PWR STKFLT; do
  started out
  kill -$signal $pid
  ended out SIG$signal
done
started out
kill -RTMIN+3 $pid
ended out 'a real-time signal'

# one wish by two ways, and a second one that is no impatience: saved all the same
for second in TERM INT HUP XCPU; do
  started out
  kill -TERM $pid
  kill -$second $pid 2>/dev/null
  ended out 'SIG[A-Z]*'
done
# nobody reads what it prints, and it waits for them in the middle of a line: it stops and saves all the same
mkfifo pipe
for json in '' --json; do
  rm -rf out
  "${pretrain[@]}" 100000 --checkpoint.every 0 --out out $json >pipe 2>stderr.txt &
  pid=$!
  exec 9<pipe
  before=
  steps() { cat out/metrics.jsonl 2>/dev/null | wc -l; }
  until [ "$(steps)" -gt 0 ] && [ "$(steps)" = "$before" ]; do
    before=$(steps)
    sleep 0.3
  done
  kill -TERM $pid
  ended out SIGTERM
  exec 9<&-
  grep -q '^warning: standard output: nobody reads it; going on without it$' stderr.txt || fail "nobody reads: $(grep warning stderr.txt)"
done
# twice in earnest: at once, whatever the run is at. This one is in a step of minutes.
rm -rf out
"${pretrain[@]}" 2 --train.batch 64 --train.accumulate 4096 --out out --quiet 2>stderr.txt &
pid=$!
until [ -e out/metrics.jsonl ] || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
sleep 0.5
kill -TERM $pid
sleep 0.5
kill -TERM $pid
wait $pid
code=$?
[ $code -eq 143 ] || fail "twice: $code"

# before the first step there is nothing to save, and what a run waits for may never come
mkfifo silent
"${pretrain[@]}" 3 --data.train=silent --out early 2>stderr.txt &
pid=$!
sleep 0.3
kill -TERM $pid
wait $pid
code=$?
[ $code -eq 75 ] && grep -q '^halfstep: stopped by SIGTERM before the first step; the same command begins again$' stderr.txt || fail "while it is set up: $code, $(cat stderr.txt)"

# what was ignored stays ignored: nohup
started out bash -c 'trap "" HUP; exec "$@"' bash
kill -HUP $pid
seen=$(tail -1 events.txt | grep -o '"step":[0-9]*')
for _ in {1..200}; do [ "$(tail -1 events.txt | grep -o '"step":[0-9]*')" != "$seen" ] && break || sleep 0.02; done
kill -0 $pid 2>/dev/null || fail 'an ignored SIGHUP ended the run'
kill -TERM $pid
ended out SIGTERM

# the limit of CPU time is a signal too; it comes every second then
rm -rf out
(ulimit -S -t 1 && exec "${pretrain[@]}" 1000000 --checkpoint.every 0 --out out --quiet) 2>stderr.txt
[ $? -eq 75 ] && grep -q 'stopped by SIGXCPU' stderr.txt || fail "the limit of CPU time: $(tail -1 stderr.txt)"

# ---- the reader goes away: training goes on to its end, says so once, and the losses are those of a run with a reader
"${pretrain[@]}" 300 --out whole >whole.txt 2>&1 || fail "a run: $(tail -1 whole.txt)"
# unheard NAME: the run NAME is a whole one, and log.txt says once why it was not heard
unheard() {
  [ "$(cat code.txt)" = 0 ] || fail "$1: exit code $(cat code.txt): $(tail -2 log.txt)"
  cmp -s <(losses whole/metrics.jsonl) <(losses "$1/metrics.jsonl") || fail "$1: other losses, or fewer"
  [ -d "$1/checkpoints/step-00000300" ] || fail "$1: the last checkpoint is missing"
  [ "$(grep -c 'standard output' log.txt)" -eq "${2-1}" ] || fail "$1: said $(grep -c 'standard output' log.txt) times: $(head -c 400 log.txt)"
}
code() { "$@"; echo $? >code.txt; }
code "${pretrain[@]}" 300 --out head 2>log.txt | head -3 >/dev/null
unheard head
code "${pretrain[@]}" 300 --out json --json 2>log.txt | head -1 >/dev/null
unheard json
code "${pretrain[@]}" 300 --out full >/dev/full 2>log.txt
unheard full
code "${pretrain[@]}" 300 --out closed >&- 2>log.txt
unheard closed
: >log.txt
(code "${pretrain[@]}" 300 --out none <&- >&- 2>&-)
unheard none 0
{ code "${pretrain[@]}" 300 --out both 2>&1; } | head -3 >/dev/null
unheard both 0
# no file of the run became a standard stream
for run in closed none; do
  cmp -s <(cd whole && ls | grep -v events) <(cd $run && ls | grep -v events) || fail "$run: other files: $(ls $run)"
  ! grep -q 'tok/s\|parameters' $run/metrics.jsonl $run/config.yaml || fail "$run: the progress is inside a file"
done
# a reader that goes away while a signal comes
rm -rf out
(code bash -c 'echo $$ >pid.txt && exec "$@"' bash "${pretrain[@]}" 100000 --checkpoint.every 0 --out out 2>log.txt) | { read -r; read -r; read -r; } &
while [ ! -e out/metrics.jsonl ] || ! grep -q '"step":9,' out/metrics.jsonl; do sleep 0.02; done
kill -TERM "$(cat pid.txt)"
wait
[ "$(cat code.txt)" = 75 ] || fail "without a reader, stopped: $(cat code.txt): $(tail -1 log.txt)"

# ---- other commands that make files
code "$halfstep" prepare --tokenizer byte -o store.bin text.txt >&- 2>log.txt
[ "$(cat code.txt)" = 0 ] && "$halfstep" data check store.bin >/dev/null || fail "prepare without output: $(tail -1 log.txt)"
code "$halfstep" data convert store.bin --to llmc -o l.bin 2>&1 >/dev/full | cat >log.txt
[ "$(cat code.txt)" = 0 ] && [ -s l.bin ] || fail "convert without output: $(cat log.txt)"
code "$halfstep" tokenizer train --type bpe --vocab-size 270 text.txt -o bpe >/dev/full 2>log.txt
[ "$(cat code.txt)" = 0 ] && [ -s bpe/tokenizer.json ] || fail "tokenizer train without output: $(cat log.txt)"

# ---- commands whose product is their output: an error where it cannot be written, a quiet end with the reader
to_full() { "$@" >/dev/full; }
to_closed() { "$@" >&-; }
for product in "generate whole --prompt a --max-tokens 20" "eval whole --data text.txt --json" "tokenize --tokenizer bpe text.txt" "data sample store.bin" "data info store.bin --json" env "ops" help; do
  for to in to_full to_closed; do
    $to "$halfstep" $product 2>stderr.txt
    [ $? -eq 2 ] || fail "$to $product: no error"
    [ "$(grep -c . stderr.txt)" -eq 1 ] && grep -q '^halfstep: cannot write to standard output' stderr.txt || fail "$to $product: $(head -c 300 stderr.txt)"
  done
done
for _ in {1..20}; do cat text.txt; done >long.txt
"$halfstep" tokenize --tokenizer bpe long.txt 2>stderr.txt | head -c 10 >/dev/null
[ ! -s stderr.txt ] || fail "with its reader: $(cat stderr.txt)"
finish
