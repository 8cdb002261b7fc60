// no_locks: shards are read and written where the file system has no locks, said once; a lock that another process holds is told.
#include "core/base/log.h"
#include "tests/support/support_files.h"
#include "tests/support/support_shards.h"
#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef HS_HAVE_HDF5

static int refusal; // what flock says in this program; 0: the system's answer
static int lines;

int flock(int fd, int operation)
{
    if (!refusal)
        return (int)syscall(SYS_flock, fd, operation);
    errno = refusal;
    return -1;
}

static void count_lines(hs_log_level level, const char *line, void *user)
{
    (void)level, (void)user;
    lines += strstr(line, "has no locks") != NULL;
}

static const int refusals[] = { ENOLCK, EOPNOTSUPP, 524 /* ENOTSUPP of the kernel, which NFS hands through */, EROFS, ENOSYS };

static void reads_and_writes(void **state)
{
    (void)state;
    hs_log_set(HS_LOG_INFO, count_lines, NULL);
    write_shard(scratch_path("locked.hdf5"), HS_H5_FIXED, 0, 9, 32, 4, 100);
    assert_int_equal(lines, 0);
    for (int i = 0; i < HS_COUNT(refusals); i++) {
        hs_h5_file *f;
        hs_pair_rows got, want;
        refusal = refusals[i];
        write_shard(scratch_path("a.hdf5"), HS_H5_FIXED, 0, 9, 32, 4, 100);
        OK(hs_h5_open(&f, scratch_path(i % 2 ? "a.hdf5" : "locked.hdf5"), 100));
        OK(hs_h5_read(f, 0, 9, &got));
        some_rows(&want, 0, 9, 32, 4, 1, 100);
        for (int64_t k = 0; k < 9; k++)
            same_row(&want, k, &got, k);
        hs_pair_rows_free(&got);
        hs_pair_rows_free(&want);
        hs_h5_close(f);
    }
    assert_int_equal(lines, 1);
    refusal = 0;
    hs_log_set(HS_LOG_INFO, NULL, NULL);
}

static void held_by_another(void **state)
{
    (void)state;
    hs_h5_file *f;
    write_shard(scratch_path("held.hdf5"), HS_H5_FIXED, 0, 9, 32, 4, 100);
    refusal = EWOULDBLOCK;
    FAILS(CORRUPT, "temporarily unavailable", hs_h5_open(&f, scratch_path("held.hdf5"), 100));
    refusal = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(reads_and_writes), cmocka_unit_test(held_by_another) };
    return cmocka_run_group_tests(tests, scratch_open, scratch_close);
}
#else
int main(void) { return 0; }
#endif
