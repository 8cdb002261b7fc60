"""All-reduce over torch.distributed's gloo, for bench_comm.sh: mpirun -np 2 python torch_gloo.py [--runs 20] [--sizes 65536,...]

JSON lines of the slowest rank's median: buffers of each size, then the gradients of a GPT-2 124M in buckets of 25 MB, all begun before the first
is waited for ("gradients of gpt2-124m"), and the same with the copies that DistributedDataParallel makes into and out of its buckets.
"""
import argparse, json, os, statistics, time
import torch, torch.distributed as dist

BUCKET = 25 << 20


def measure(fn, n):
    times = []
    for _ in range(n + 2):
        dist.barrier()
        t = time.perf_counter()
        fn()
        worst = torch.tensor([time.perf_counter() - t], dtype=torch.float64)
        dist.all_reduce(worst, dist.ReduceOp.MAX)
        times.append(worst.item())
    return statistics.median(times[2:])


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--runs", type=int, default=20)
    a.add_argument("--sizes", default="65536,262144,1048576,4194304,16777216,67108864")
    a = a.parse_args()
    rank, ranks = int(os.environ["OMPI_COMM_WORLD_RANK"]), int(os.environ["OMPI_COMM_WORLD_SIZE"])
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29533")
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // ranks))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)

    def tell(call, size, seconds):
        if rank == 0:
            print(json.dumps({"call": call, "ranks": ranks, "bytes": size, "us": round(seconds * 1e6, 1), "gbps": round(size / seconds / 1e9, 3)}), flush=True)

    for size in map(int, a.sizes.split(",")):
        x = torch.zeros(size // 4)
        tell("all-reduce", size, measure(lambda: dist.all_reduce(x), a.runs))
    d = 768
    shapes = [50257 * d, 1024 * d] + 12 * [d, d, 3 * d * d, 3 * d, d * d, d, d, d, 4 * d * d, 4 * d, 4 * d * d, d] + [d, d]
    slab = torch.zeros(sum(shapes))
    buckets = slab.split(BUCKET // 4)

    def reduce(parts):
        for work in [dist.all_reduce(p, async_op=True) for p in parts]:
            work.wait()

    tell("gradients of gpt2-124m", slab.nbytes, measure(lambda: reduce(buckets), min(a.runs, 10)))
    copies = [torch.empty_like(b) for b in buckets]

    def with_copies():
        for c, b in zip(copies, buckets):
            c.copy_(b)
        reduce(copies)
        for c, b in zip(copies, buckets):
            b.copy_(c)

    tell("gradients of gpt2-124m, copied", slab.nbytes, measure(with_copies, min(a.runs, 10)))
    dist.destroy_process_group()


main()
