# Sourced behind support_cli.sh by the scripts that start several ranks. As root too, more ranks than cores, over TCP and shared memory of one host.
mpirun=$(command -v mpirun.openmpi || command -v mpirun)
if [ -z "$mpirun" ] || [ ! -e "$(dirname "$1")"/recipes/libhalfstep_mpi.so ]; then
  [ -z "$HS_TESTS_MPI" ] && exit 77 # built without MPI: skipped
  fail "CMake has found MPI, but mpirun is '$mpirun', and recipes holds $(cd "$(dirname "$1")/recipes" && echo *.so*)"
  finish
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_rmaps_base_oversubscribe=1
# what MPI leaves behind in memory, and does where no sanitizer looks, is none of ours
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 TSAN_OPTIONS=${TSAN_OPTIONS:+$TSAN_OPTIONS:}ignore_noninstrumented_modules=1
# ranks N COMMAND...
ranks() { "$mpirun" --bind-to none -np "$1" "${@:2}"; }
