#!/usr/bin/env bash
# serve: refusals before anything listens; a server from its start to SIGTERM; TLS; tokens; a port that is taken.
. "$2/tests/support/support_cli.sh"
. "$2/tests/support/support_serve.sh"
"$halfstep" env | grep -q '^libmicrohttpd  *[0-9]' || { echo 'no server in this build'; finish; }

cp -r "$source_dir"/tests/golden/encoders/bert run
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; printf 'w%d\n' $(seq 5 60); } >run/vocab.txt

# ---- refusals
expect 2 'nowhere' "$halfstep" serve nowhere
expect 2 "two models are called 'run'" "$halfstep" serve run run
expect 2 '^halfstep: --held is 63 MiB, which is less than one answer of --answer 64 MiB' "$halfstep" serve run --held 63
expect 2 'is no model' "$halfstep" serve =run
expect 2 'nowhere' "$halfstep" serve nowhere --ensembles.0.name all --ensembles.1.name more
expect 2 'is not an address' "$halfstep" serve run --host here
expect 2 'go together' "$halfstep" serve run --tls-cert cert.pem
expect 2 'cert.pem: No such file' "$halfstep" serve run --port 0 --tls-cert cert.pem --tls-key key.pem
head -c 65536 /dev/zero | tr '\0' a >long.txt
expect 2 'long.txt has 64 KiB or more' "$halfstep" serve run --port 0 --token-file long.txt
printf 'a\0b\n' >nul.txt
expect 2 'nul.txt has a NUL byte' "$halfstep" serve run --port 0 --token-file nul.txt
: >empty.txt
expect 2 'has no token' "$halfstep" serve run --port 0 --token-file empty.txt
expect 2 '--trace-level is MAX, must be OFF, TIMESTAMPS' "$halfstep" serve run --port 0 --trace-level MAX --trace-file t.json
expect 2 '--trace-level TENSORS needs a file' "$halfstep" serve run --port 0 --trace-level TENSORS
expect 2 'trace-rate is 0' "$halfstep" serve run --port 0 --trace-rate 0
expect 2 'trace-bytes is 0' "$halfstep" serve run --port 0 --trace-bytes 0
expect 2 'no/t.json: no/: No such file' "$halfstep" serve run --port 0 --trace-file no/t.json

printf 'port: 70000\n' >serve.yaml
expect 2 'serve.yaml:1.*port is 70000' "$halfstep" serve run --config serve.yaml
printf 'ports: 8000\n' >serve.yaml
expect 2 'serve.yaml:1.*did you mean port' "$halfstep" serve run --config serve.yaml
printf 'serve: [one=run, run]\naccess-log: true\nport: 1\nbatch-tokens: 64\ncache-bytes: 1000000\n' >serve.yaml
expect 2 "two models are called 'run'" "$halfstep" serve run --config serve.yaml

# ---- a server's life
start run two=run --access-log
says GET /v2/health/live '' 200 'true'
says GET /v2/health/ready '' 200 'true'
says POST /embed '{"inputs": "w5 w9 w7", "normalize": false}' 200 '^\[\[[-0-9.e,]+\]\]$'
vector=$(tr -d '[]' <<<"$answer" | tr ',' ' ')
says POST /embed '{"inputs": ["w8", "w5 w9 w7"], "model": "two", "normalize": false}' 200 '^\[\['
[ "$(tr -d ']' <<<"$answer" | tr ',[' ' \n' | tail -1 | tr -s ' ')" = "$vector" ] || fail 'a vector depends on what stands beside it'
# embed prints nine digits, the server the fewest that give the same float
"$halfstep" embed run --input - --threads 1 --json <<<'w5 w9 w7' 2>/dev/null | grep -oE '\[.*\]' | tr -d '[] ' | tr ',' '\n' >embed.txt
tr ' ' '\n' <<<"$vector" | paste - embed.txt | awk 'NF != 2 || ($1 - $2) ^ 2 > 3.6e-15 * $2 ^ 2 { exit 1 }' || fail "serve and embed differ: ${vector:0:80}"
says POST /embed '{"inputs": 1}' 422 'inputs'
says GET '/%ff%c3' '' 404 'there is no'
ask GET /v2/health/live '' $'X-Request-Id: \xff'
says GET /metrics '' 200 'nv_inference_request_success.model="run",version="1". 1'
expect 2 'in use' "$halfstep" serve run --port "$port"
stop 0
grep -q '"method": "POST", "path": "/embed", "status": 200' out.json || fail 'no line in the access log'
json_lines out.json

# ---- told to stop twice: it does not wait; exit code 128 + 15
start run --linger 60
ask GET /v2/health/live
kill -TERM $server
sleep 0.4
stop 143

start --config serve.yaml two=run --no-access-log
says POST /embed '{"inputs": "w5", "model": "one"}' 200 '^\[\['
says POST /embed '{"inputs": "w5", "model": "two"}' 200 '^\[\['
says POST /embed '{"inputs": "w5", "model": "two"}' 200 '^\[\['
says GET /metrics '' 200 'nv_cache_num_hits_per_model.model="two",version="1". 1'
stop 0
[ "$(wc -l <out.json)" -eq 1 ] || fail 'the command line does not go before the file'

# ---- models in one call
cat >serve.yaml <<'END'
serve: [one=run]
ensembles:
  - { name: both, model: one, input_map: [text=TEXT], output_map: [sentence_embedding=A] }
  - { name: both, model: two, input_map: [text=TEXT], output_map: [sentence_embedding=B] }
END
start --config serve.yaml two=run
says POST /v2/models/both/infer '{"inputs": [{"name": "TEXT", "datatype": "BYTES", "shape": [1], "data": ["w5"]}]}' 200 '"name":"A".*"name":"B"'
stop 0
expect 2 "ensemble 'both': step 2 .'two'.: there is no such model" "$halfstep" serve --config serve.yaml --port 0 --log-level warn
expect 2 "there is a model 'both', too" "$halfstep" serve both=run two=run --config serve.yaml --port 0
printf 'serve: [one=run]\nensembles:\n  - { nam: both }\n' >serve.yaml
expect 2 'serve.yaml:3.*name' "$halfstep" serve --config serve.yaml --port 0

# ---- tokens
printf 'secret\nother\n' >tokens.txt
start run --token-file tokens.txt
says POST /embed '{"inputs": "w5"}' 401 'token'
ask POST /embed '{"inputs": "w5"}' 'Authorization: Bearer other'
[ "$status" = 200 ] || fail "a token is not taken: $status"
says GET /v2/health/live '' 200 'true'
stop 0

# ---- TLS
if command -v openssl >/dev/null; then
  openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost >/dev/null 2>&1
  start run --tls-cert cert.pem --tls-key key.pem
  printf 'GET /v2/health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n' |
    openssl s_client -quiet -connect "127.0.0.1:$port" -CAfile cert.pem -verify_return_error >tls.txt 2>/dev/null
  grep -q '"live":true' tls.txt || fail "no answer by TLS: $(head -c 200 tls.txt)"
  stop 0
fi
finish
