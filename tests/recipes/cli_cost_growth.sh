#!/usr/bin/env bash
# scripts/cost_growth.sh reads what the benches, the profile and the plan print, and finds every figure of its tables there.
. "$2/tests/support/support_cli.sh"
growth() { "$source_dir/scripts/cost_growth.sh" --halfstep "$halfstep" --tiny --rounds 1 --steps 1 --threads 1 --dtype fp32 "$@" >table.txt 2>error.txt; }

growth --only layers || fail "layers: $(cat error.txt)"
[ "$(grep -c '^| layers | ' table.txt)" -eq 5 ] || fail "layers: not five rows: $(cat table.txt)"
grep '^| layers | ' table.txt | awk -F'|' '{ for (i = 3; i <= 12; i++) if (!($i + 0 > 0)) { print "column " i " of " $0; exit 1 } }' >error.txt ||
  fail "layers: $(cat error.txt)"
growth --only plan || fail "plan: $(cat error.txt)"
limit=50 # ms; 3 were measured at 96 layers
[ "$3" = fast ] || limit=1000
[ "$(awk -F'|' -v limit="$limit" '$5 + 0 > 0 && $5 + 0 < limit' table.txt | wc -l)" -eq 3 ] || fail "plan: $(cat table.txt)"

growth --only depth && fail 'accepts --only depth'
grep -q "allowed: width, layers, batch, context, plan" error.txt || fail "--only depth: $(cat error.txt)"
finish
