#!/usr/bin/env bash
# Two "hosts" on one machine: network namespaces with names, addresses and interfaces of their own, between which there is nothing but TCP.
# Trains on both, stops by a signal, goes on, and compares with a run on one. Needs root, Open MPI and iproute2.
#   scripts/launch/try_two_hosts.sh [--halfstep PROGRAM]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
halfstep=$root/build/halfstep
if [ "${1:-}" = --halfstep ]; then
  halfstep=$(realpath "$2")
fi
[ "$(id -u)" -eq 0 ] || { echo "try_two_hosts: network namespaces need root" >&2 && exit 2; }
for tool in ip mpirun unshare; do
  command -v $tool >/dev/null || { echo "try_two_hosts: there is no $tool" >&2 && exit 2; }
done
[ -x "$halfstep" ] || { echo "try_two_hosts: no program $halfstep: build it or name it with --halfstep" >&2 && exit 2; }

a=hsa$$ b=hsb$$ work=$(mktemp -d)
# shellcheck disable=SC2317 # called by the trap
clean() {
  ip netns del "$a" 2>/dev/null || true
  ip netns del "$b" 2>/dev/null || true
  rm -rf /etc/netns/"$a" /etc/netns/"$b" "$work"
}
trap clean EXIT
for host in "$a" "$b"; do
  ip netns add "$host"
  ip -n "$host" link set lo up
  mkdir -p "/etc/netns/$host"
  printf '127.0.0.1 localhost\n10.77.0.1 %s\n10.77.0.2 %s\n' "$a" "$b" >"/etc/netns/$host/hosts" # what ip netns exec puts over /etc/hosts
done
ip link add name va netns "$a" type veth peer name va netns "$b"
ip -n "$a" address add 10.77.0.1/24 dev va
ip -n "$b" address add 10.77.0.2/24 dev va
ip -n "$a" link set va up
ip -n "$b" link set va up

cat >"$work/agent" <<'AGENT'
#!/bin/sh
# what ssh is elsewhere: HOST COMMAND...
host=$1
shift
exec ip netns exec "$host" unshare --uts sh -c "hostname $host; $*"
AGENT
chmod +x "$work/agent"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
cd "$work"
become_ranks() { # of both hosts, one each; mpirun runs on the first, as this process
  exec "$work/agent" "$a" exec mpirun --host "$a:1,$b:1" -np 2 --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca btl_tcp_if_include va \
    --mca oob_tcp_if_include va --mca odls_base_sigkill_timeout 5 "$@"
}
ranks() { (become_ranks "$@"); }
check() {
  if "${@:2}"; then echo "ok       $1"; else echo "FAILED   $1" && failed=1; fi
}
failed=0

ranks hostname | sort >names
check "a rank on each host" diff <(printf '%s\n' "$a" "$b" | sort) names

for i in $(seq 1 400); do echo "$((i * i % 97)) bottles stood on wall $i; the quick brown fox jumped over $((i % 7)) of them."; done >text.txt
cat >tiny.yaml <<'YAML'
model: { layers: 2, heads: 2, width: 64, context: 32 }
data: { train: text.txt }
train: { batch: 4, steps: 40, log_every: 1, eval_every: 20, eval_windows: 8, seed: 3 }
optim: { lr: 3e-3, warmup: 5 }
checkpoint: { every: 20, keep: 2 }
amp: { policy: fp32 }
exec: { threads: 1 }
YAML
losses() { grep -oE '"step":[0-9]+,"loss":[-0-9.e]+' "$1/metrics.jsonl"; }
for layout in dp tp; do
  check "$layout=2: trains over TCP" ranks "$halfstep" pretrain tiny.yaml --out "$layout" --quiet --parallel.$layout=2
  "$halfstep" pretrain tiny.yaml --out "one-$layout" --quiet
  check "$layout=2: the losses of one process, to 1e-4" awk -F: -v other="$(losses one-$layout | tr '\n' ' ')" \
    'BEGIN { n = split(other, o, " ") } { split(o[NR], p, ":"); d = $NF - p[3]; if (d < 0) d = -d; if (d > 1e-4) bad = 1 } END { exit bad || NR != n }' <(losses "$layout")
done

# USR1 to mpirun: both save at the next step and the job ends with 75; the same command goes on to the same losses.
become_ranks "$halfstep" pretrain tiny.yaml --out stopped --quiet --parallel.dp=2 --train.steps=400 --checkpoint.every=400 &
job=$!
for _ in $(seq 1 100); do
  [ ! -e stopped/metrics.jsonl ] || [ "$(wc -l <stopped/metrics.jsonl)" -lt 5 ] || break
  sleep 0.1
done
kill -USR1 "$job"
code=0
wait "$job" || code=$?
check "USR1 to mpirun: exit code 75" test "$code" -eq 75
check "USR1 to mpirun: a checkpoint" test -n "$(ls stopped/checkpoints 2>/dev/null)"
ranks "$halfstep" pretrain tiny.yaml --out stopped --quiet --parallel.dp=2 --train.steps=400 --checkpoint.every=400
ranks "$halfstep" pretrain tiny.yaml --out whole --quiet --parallel.dp=2 --train.steps=400 --checkpoint.every=400
check "going on: the losses of a run that was never stopped" diff <(losses stopped | sort -u -t: -k2n) <(losses whole | sort -u -t: -k2n)
exit "$failed"
