#!/bin/bash
# `halfstep perf` against a server whose delays are known (perf_peer.c): percentiles, open loops without coordinated omission, failures by kind, streams.
# Bounds from below hold on any machine; those from above are wide, for machines that do other things too.
# shellcheck disable=SC1091,SC2154
source "$2/tests/support/support_cli.sh" "$@"
peer=$(dirname "$1")/tests/perf_peer

start() { # ARGS...: a server; its address in $url
  "$peer" "$@" >url.txt &
  server=$!
  for _ in $(seq 100); do [ -s url.txt ] && break; sleep 0.05; done
  url=$(cat url.txt)
}
stop() { kill "$server" && wait "$server" 2>/dev/null; : >url.txt; }
trap 'kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
perf() { "$halfstep" perf "$url" --json "$@" >out.json 2>stderr.txt || fail "perf $* failed: $(cat stderr.txt)"; json_lines out.json; }
# is NAME LOW HIGH: the field of the last line lies there
is() { local v; v=$(field "$1" out.json | tail -1); awk -v v="$v" -v a="$2" -v b="$3" 'BEGIN { exit !(v != "" && v >= a && v <= b) }' || fail "$1 is $v, not $2 to $3: $(cat out.json)"; }

# ---- closed loop: one at a time of 10 ms each; four at once wait for three others
start delay 10
perf --concurrency 1,4 --seconds 0.3 --warmup 0.1
[ "$(grep -c '"event":"level"' out.json)" -eq 2 ] || fail "not a line for each level"
is mean_ms 36 1000
is requests_per_second 5 100
head -1 out.json >first.json && mv first.json out.json
is p50_ms 10 400
is requests_per_second 2 100
is failed 0 0
is client_cores 0 0.9
perf --window 0.1 --warmup 0 --trials 5 --stability 50 --percentile 50
is windows 3 5
perf --requests 7 --warmup 0 --route infer --batch 2
is requests 7 7
is texts_per_second 2 200
perf --requests 3 --warmup 0 --path /v2/models/fake/anything --body "$source_dir/LICENSE"
perf --requests 3 --warmup 0 --keep-alive=false --route embeddings --batch 3 --base64
"$halfstep" perf "$url" --rate 20,40 --seconds 0.25 --warmup 0 --csv perf.csv --plot perf.png >table.txt 2>stderr.txt || fail "rates: $(cat stderr.txt)"
grep -q '^ *rate/s' table.txt || fail "no table: $(cat table.txt)"
head -1 perf.csv | grep -q '^Request Rate,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency,' ||
  fail "not perf_analyzer's columns: $(head -1 perf.csv)"
[ "$(awk -F, 'NR > 1 && NF == 14 && $10 >= 10000' perf.csv | wc -l)" -eq 2 ] || fail "not two rows in microseconds: $(cat perf.csv)"
case $(head -c 4 perf.png | tail -c 3) in PNG) ;; *) fail "no picture" ;; esac

# ---- open loop: 200 a second come to one who can do 100. The k-th waits at least 5 k ms whenever it was sent, so the median of 60 does 150
perf --rate 200 --arrivals constant --warmup 0 --requests 60 --connections 4
is p50_ms 150 30000
is p99_ms 295 60000
is waited 30 60
is failed 0 0
# the same closed: who waits for an answer does not see that
perf --concurrency 1 --requests 20 --warmup 0
is p50_ms 10 200
# 100 a second is what there is: at 160 the last of 40 would wait for 150 ms
perf --bound 120 --percentile 95 --arrivals constant --rate 80 --seconds 0.25 --warmup 0
grep -q '"event":"knee","rate":[0-9.]*,"bound_ms":120.0,"percentile":95.0,' out.json || fail "no knee: $(cat out.json)"
is rate 0.5 160
expect 2 'no-such.txt' "$halfstep" perf "$url" --texts no-such.txt
stop

# ---- one stall of a quarter of a second: of 60 requests at 200 a second about 50 come meanwhile, and all of them are charged with it
start delay 1 stall 10 250
perf --rate 200 --arrivals constant --warmup 0 --requests 60
is p90_ms 190 30000
is p50_ms 0.9 30000
stop
start delay 1 stall 10 250
perf --concurrency 1 --warmup 0 --requests 60
is max_ms 250 30000
is p95_ms 1 200
stop

# ---- failures by kind; answers in chunks, connections that end
start delay 1 fail 5 drop 7 close chunked
perf --requests 70 --warmup 0 --concurrency 2
grep -q '"errors":{"closed":1[0-9],"503":1[0-9]}' out.json || fail "failures are not told by kind: $(cat out.json)"
grep -q '^warning: 2[0-9] of 70 requests failed; the first: status 503: {"error":"the queue is full"}' stderr.txt || fail "the first failure is not told: $(cat stderr.txt)"
stop
start delay 100 # the third of four at once is not answered before 300 ms
perf --requests 4 --concurrency 4 --timeout 0.25 --warmup 0
grep -q '"errors":{"timeout":[1-4]}' out.json || fail "no timeouts: $(cat out.json)"
expect 2 'no request was answered as it should: no whole answer within --timeout' "$halfstep" perf "$url" --requests 2 --concurrency 1 --timeout 0.05 --warmup 0
stop

# ---- streams: 6 tokens, 10 ms before each, behind 10 ms
start delay 10 token 10
perf --route completions --tokens 6 --requests 5 --concurrency 1 --warmup 0
is first_token_p50_ms 20 500
is between_tokens_p50_ms 7 300 # those after one that was late come sooner
is p50_ms 70 2000
is tokens_per_second 1 86
stop

# ---- bad input
expect 2 'no answer from 127.0.0.1:1: Connection refused' "$halfstep" perf http://127.0.0.1:1
expect 2 '^halfstep: https://127.0.0.1:1: TLS is not spoken here: a URL begins with http://' "$halfstep" perf https://127.0.0.1:1
expect 2 'is no address of a server: http://HOST:PORT' "$halfstep" perf http://:80
expect 2 '^halfstep: --concurrency is of a closed loop and --rate of an open one' "$halfstep" perf http://127.0.0.1:1 --rate 1 --concurrency 1
expect 2 '^halfstep: --bound looks for a rate' "$halfstep" perf http://127.0.0.1:1 --rate 1,2 --bound 5
expect 2 '^halfstep: --lengths: .8-. is not words' "$halfstep" perf http://127.0.0.1:1 --lengths 8-
expect 2 '^halfstep: --seconds or --requests, not both' "$halfstep" perf http://127.0.0.1:1 --seconds 1 --requests 1
expect 2 '^halfstep: --rate: 0 is not' "$halfstep" perf http://127.0.0.1:1 --rate 0
expect 2 '^halfstep: --serve is of a server' "$halfstep" perf http://127.0.0.1:1 '--serve=--threads 1'
finish
