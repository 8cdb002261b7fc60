#!/usr/bin/env bash
# The soak of scripts/soak_serve.sh in its shortest form, on a tiny model.
# shellcheck disable=SC1091,SC2154
source "$2/tests/support/support_cli.sh" "$@"
"$halfstep" env | grep -q '^libmicrohttpd  *[0-9]' || { echo 'no server in this build'; finish; }
cp -r "$source_dir"/tests/golden/encoders/bert run
{ printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; printf 'w%d\n' $(seq 5 60); } >run/vocab.txt
bash "$source_dir/scripts/soak_serve.sh" 2 --halfstep "$halfstep" --encoder run --lengths 2-8 --threads 1 --grow 48 || fail "the soak"
finish
