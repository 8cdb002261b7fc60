#!/usr/bin/env bash
# Installs the Debian packages that are missing and builds into DIR. Sourced by quickstart.sh and test.sh; needs root only
# if something is missing.
#   setup.sh packages NAME...   checks, says what is missing, installs it
#   setup.sh build DIR [--target NAME] [cmake options]      everything, or what NAME needs
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

base_packages=(gcc cmake ninja-build pkg-config libyaml-dev libjansson-dev libxxhash-dev libpng-dev
  libhdf5-dev libmicrohttpd-dev zlib1g-dev libzstd-dev libopenmpi-dev openmpi-bin)

packages() {
  local missing=() p sudo=()
  if ! command -v dpkg-query >/dev/null; then
    echo "setup: this is no Debian system; needed are the equivalents of: $*" >&2
    return 0
  fi
  for p in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing+=("$p")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    echo "setup: every package is there"
    return 0
  fi
  echo "setup: installing ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "setup: missing packages and no root; ask for: apt-get install ${missing[*]}" >&2
      return 2
    fi
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Of what a build prints: how far it is. A line that counts on a terminal, elsewhere one for each quarter.
show_build() {
  local line n=0 all=0 quarter=0 tty=
  [ ! -t 1 ] || tty=1
  while IFS= read -r line; do
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    n=${BASH_REMATCH[1]} all=${BASH_REMATCH[2]}
    if [ -n "$tty" ]; then
      printf '\rsetup: %d of %d\033[K' "$n" "$all"
    elif [ $((4 * n / all)) -gt "$quarter" ]; then
      quarter=$((4 * n / all))
      echo "setup: $n of $all"
    fi
  done
  [ -z "$tty" ] || printf '\r\033[K'
}

build() {
  local dir=$1 log target=()
  shift
  if [ "${1:-}" = --target ]; then
    target=("$1" "$2")
    shift 2
  fi
  mkdir -p "$dir"
  log=$dir/build.log
  echo "setup: building in ${dir#"$root"/}"
  if ! { cmake -G Ninja -S "$root" -B "$dir" "$@" && cmake --build "$dir" "${target[@]}"; } 2>&1 | tee "$log" | show_build; then
    tail -n 40 "$log" >&2
    echo "setup: the build failed; all of it is in $log" >&2
    return 1
  fi
  sed -n 's/^-- left out: /setup: left out: /p' "$log"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  "$@"
fi
