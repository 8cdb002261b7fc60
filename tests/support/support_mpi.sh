# Sourced behind support_cli.sh by the scripts that start several ranks. As root too, more ranks than cores, over TCP and shared memory of one host.
command -v mpirun >/dev/null && ls "$(dirname "$1")"/recipes/libhalfstep_mpi.so >/dev/null 2>&1 || exit 0 # built without MPI
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl=self,vader,tcp OMPI_MCA_rmaps_base_oversubscribe=1
export LSAN_OPTIONS=suppressions=$2/tests/parallel/leaks.supp
# ranks N COMMAND...
ranks() { mpirun --bind-to none -np "$1" "${@:2}"; }
