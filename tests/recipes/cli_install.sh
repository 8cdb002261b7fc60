#!/usr/bin/env bash
# cmake --install gives everything a program needs: the example is built against it with pkg-config and with the CMake package, and run.
set -euo pipefail
program=$1 root=$2
build=$(dirname "$program")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$build" --prefix "$work/prefix" >/dev/null
cd "$work"
lib=$(dirname "$(find "$work/prefix" -name libhalfstep.so | head -n 1)")
for f in prefix/bin/halfstep prefix/include/halfstep/halfstep.h prefix/include/halfstep/core/graph/op.h prefix/share/man/man1/halfstep.1; do
  test -s "$f" || { echo "not installed: $f"; exit 1; }
done
sed -i "s|^prefix=.*|prefix=$work/prefix|" "$lib/pkgconfig/halfstep.pc"
san=$(grep -o 'HS_SANITIZE:STRING=.*' "$build/CMakeCache.txt" | cut -d= -f2 | tr ';' ',')
flags=(-Wall -Wextra -Wshadow -Werror ${san:+-fsanitize=$san})
# shellcheck disable=SC2046
cc "${flags[@]}" "$root/recipes/example/two_moons.c" -o by_pkgconfig $(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --cflags --libs halfstep)
LD_LIBRARY_PATH=$lib ./by_pkgconfig
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$build/CMakeCache.txt") # the default one wants make
cmake -G "$generator" -S "$root/recipes/example" -B by_cmake -DCMAKE_PREFIX_PATH="$work/prefix" ${san:+-DCMAKE_C_FLAGS=-fsanitize=$san} >/dev/null
cmake --build by_cmake >/dev/null
by_cmake/two_moons | tail -n 1
LD_LIBRARY_PATH=$lib "$work/prefix/bin/halfstep" --version
if [ -e "$build/recipes/libhalfstep_mpi.so" ]; then # what talks MPI is found beside the library, wherever that lies
  "$work/prefix/bin/halfstep" env | grep -Eq '^mpi +[A-Za-z ]*MPI [0-9]' || { echo "the installed program finds no MPI: $("$work/prefix/bin/halfstep" env | grep '^mpi')"; exit 1; }
fi
