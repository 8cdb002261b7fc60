#!/usr/bin/env bash
# A library that is broken, half installed, old or of two versions never stops a configuration: it is left out with one line.
. "$2/tests/support/support_cli.sh"
cache=$(dirname "$halfstep")/CMakeCache.txt
generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$cache")

# Each option is a library that is looked for, with two small programs to build: a configuration that does not ask what one is leaves it out.
none=(-DHS_WITH_PNG=OFF -DHS_WITH_HDF5=OFF -DHS_WITH_COMPRESSION=OFF -DHS_WITH_ONEDNN=OFF -DHS_WITH_SERVER=OFF -DHS_WITH_MPI=OFF)
# configure TREE [options]: no error, whatever the tree holds; the lines of what was left out lie in left.txt.
configure() {
  local tree=$1
  shift
  rm -rf built
  PKG_CONFIG_PATH=$work/$tree/lib/pkgconfig cmake -G "$generator" -S "$source_dir" -B built -DCMAKE_PREFIX_PATH="$work/$tree" -DHS_BUILD_TESTS=OFF "$@" >log.txt 2>&1 ||
    fail "$tree stops the configuration: $(grep -A 4 Error log.txt)"
  sed -n 's/^-- left out: //p' log.txt >left.txt
}
# left NAME REGEX: one line about NAME that says so; and the reason for halfstep env.
left() {
  [ "$(grep -c "^$1: " left.txt)" -eq 1 ] || fail "$(grep -c "^$1: " left.txt) lines about $1: $(cat left.txt)"
  grep -Eq "^$1: $2" left.txt || fail "$1 is not left out as /$2/: $(cat left.txt)"
}
# package FILE VERSION LIBS [CFLAGS]: a package file for pkg-config
package() { printf 'Name: %s\nDescription: x\nVersion: %s\nLibs: %s\nCflags: %s\n' "$1" "$2" "$3" "${4-}" >"$1.pc"; }

# ---- nothing but names: package files whose headers or libraries are gone, one that needs another
mkdir -p half/lib/pkgconfig half/lib/cmake/dnnl half/include && cd half/lib/pkgconfig || exit 1
package libpng 1.6.39 -lpng16-that-is-gone "-I$work/half/include/gone"
package hdf5 1.14.0 "-L$work/half/lib -lhdf5" "-I$work/half/include"
echo '#error not for this machine' >../../include/hdf5.h
package libzstd 1.5.4 -lzstd && echo 'Requires: something-gone' >>libzstd.pc
package zlib 1.2.13 '-L${nothing} -lz-that-is-gone'
echo 'message(FATAL_ERROR "this package file is broken")' | tee ../cmake/dnnl/dnnl-config.cmake >../cmake/dnnl/DNNLConfig.cmake
echo '#define DNNL_VERSION_MAJOR 3' >../../include/dnnl.h
cd "$work" || exit 1
configure half -DHS_WITH_SERVER=OFF -DHS_WITH_CUDA=OFF
left libpng '.*png16-that-is-gone'
left libhdf5 'not for this machine'
left libzstd '.*something-gone'
left zlib '.*z-that-is-gone'
left oneDNN '.*/half/include/dnnl.h has no libdnnl under .*/half'
grep -q 'HS_WHY_NO_HDF5 "not for this machine"' built/recipes/generated/recipes/hs_left_out.h || fail "env is not told: $(cat built/recipes/generated/recipes/hs_left_out.h)"

# ---- old headers, a library of another version than its header, one that is no library, one whose functions are others
mkdir -p old/lib/pkgconfig old/include && cd old/lib/pkgconfig || exit 1
for name in libpng:png zlib:z libzstd:zstd hdf5:hdf5; do package ${name%:*} 9.9 "-L$work/old/lib -l${name#*:}" "-I$work/old/include"; done
echo 'int nothing;' >nothing.c && cc -shared -fPIC nothing.c -o ../libpng.so && cp ../libpng.so ../libzstd.so && cp ../libpng.so ../libhdf5.so
cat >../../include/png.h <<'C'
#define PNG_LIBPNG_VER 10255
C
cat >../../include/zstd.h <<'C'
#define ZSTD_VERSION_NUMBER 10504
unsigned ZSTD_versionNumber(void);
void ZSTD_DCtx_setParameter(void), ZSTD_decompressStream(void);
C
cat >../../include/hdf5.h <<'C'
#define H5_VERS_MAJOR 1
#define H5_VERS_MINOR 8
#define H5_VERS_RELEASE 20
C
cat >../../include/zlib.h <<'C'
#define ZLIB_VERNUM 0x12d0
#define ZLIB_VERSION "1.2.13"
const char *zlibVersion(void);
void inflate(void), inflateInit2_(void), uncompress(void);
C
echo 'const char *zlibVersion(void) { return "3.0"; } void inflate(void) {} void inflateInit2_(void) {} void uncompress(void) {}' >z.c && cc -shared -fPIC z.c -o ../libz.so
echo 'no library' >../libdnnl.so
cat >../../include/dnnl.h <<'C'
#define DNNL_VERSION_MAJOR 2
typedef struct { int major; } dnnl_version_t;
const dnnl_version_t *dnnl_version(void);
void dnnl_sgemm(void);
C
cd "$work" || exit 1
configure old "${none[@]:4}" -DHS_WITH_CUDA=OFF
left libpng 'libpng 1\.6 or later is needed'
left libhdf5 'libhdf5 1\.10\.5 or later is needed'
left zlib '.*another version than its header'
left libzstd '.*undefined reference to .ZSTD_'
left oneDNN '.*libdnnl\.so'

# ---- an archive that cannot go into a shared library, and an old oneDNN
mkdir -p archive/lib/pkgconfig archive/include && cd archive/lib/pkgconfig || exit 1
cp ../../../old/include/zlib.h ../../include
sed 's/3\.0/1.2.13/; s/const char/int where; &/; s/{}/{ where++; }/g' ../../../old/lib/pkgconfig/z.c >z.c
cc -fno-pic -mcmodel=medium -c z.c 2>/dev/null || cc -fno-pic -c z.c
ar rc ../libz.a z.o
package zlib 1.2.13 "-L$work/archive/lib -lz" "-I$work/archive/include"
echo '#define DNNL_VERSION_MAJOR 1' >../../include/dnnl.h && cp ../../../old/lib/libpng.so ../libdnnl.so
cd "$work" || exit 1
configure archive "${none[@]:0:2}" "${none[@]:4}" -DHS_WITH_CUDA=OFF
left zlib '.*relocation'
left oneDNN 'oneDNN 2\.0 or later is needed'

# ---- compilers for CUDA that fail, that do nothing, that are gone
if grep -q '^HS_SANITIZE:STRING=$' "$cache"; then
  printf '#!/bin/sh\necho "nvcc fatal   : Value c++17 is not defined for option std" >&2\nexit 1\n' >old_nvcc
  chmod +x old_nvcc
  configure none -DHS_BUILD_TESTS=ON "${none[@]}" -DHS_NVCC="$work/old_nvcc"
  left CUDA '.*old_nvcc: .*c\+\+17 is not defined'
  configure none "${none[@]}" -DHS_NVCC=/bin/true
  left CUDA 'CMake cannot compile with /bin/true'
  configure none "${none[@]}" -DHS_NVCC="$work/none/nvcc"
  left CUDA '.*none/nvcc: [Nn]o such file'
fi

# ---- switched off: no line, a configuration all the same
configure none "${none[@]}" -DHS_WITH_CUDA=OFF
[ ! -s left.txt ] || fail "what is switched off is no news: $(cat left.txt)"
[ "$(grep -c 'switched off' built/recipes/generated/recipes/hs_left_out.h)" -eq 8 ] || fail 'switched off, without a reason'
finish
