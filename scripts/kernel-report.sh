#!/usr/bin/env bash
# What ptxas made of each kernel: registers, spills, local and shared memory, and the occupancy they allow on sm_80 (A100) and
# sm_90 (H100): scripts/kernel-report.sh
#
# Compiles kernels/*.cu with the nvcc that build.rs would take (NVCC, CUDA_HOME, CUDA_PATH, PATH, .cuda), for all
# architectures of build.rs that it knows, into a temporary folder. Prints one line a kernel, and exits 1 if any kernel spills
# or uses local memory on any of them: that is a defect here.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
nvcc=${NVCC:-}
for folder in "${CUDA_HOME:-/none}/bin" "${CUDA_PATH:-/none}/bin"; do
    [[ -n $nvcc || ! -x $folder/nvcc ]] || nvcc=$folder/nvcc
done
[[ -n $nvcc ]] || nvcc=$(command -v nvcc || true)
[[ -n $nvcc || ! -x .cuda/nvidia/cu13/bin/nvcc ]] || nvcc=.cuda/nvidia/cu13/bin/nvcc
if [[ -z $nvcc ]]; then
    echo "kernel-report.sh: nvcc was not found; run scripts/install-nvcc.sh" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
known=" $("$nvcc" --list-gpu-code | tr '\n' ' ') "
targets=()
for arch in 75 80 86 89 90a 100 120; do
    [[ $known != *" sm_${arch%a} "* ]] || targets+=(-gencode "arch=compute_$arch,code=sm_$arch")
done
compile() {
    local name
    name=$(basename "$1" .cu)
    "$nvcc" -fatbin "${targets[@]}" -O3 -std=c++17 --expt-relaxed-constexpr -Xptxas -v -o "$work/$name.fatbin" "$1" \
        >"$work/$name.log" 2>&1 || { cat "$work/$name.log" >&2; return 1; }
}
for source in kernels/*.cu; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n; done
    compile "$source" &
done
while (($(jobs -p | wc -l) > 0)); do wait -n; done

python3 - "$work" kernels <<'PYTHON'
import glob, re, sys

work, kernels = sys.argv[1:]
# Per multiprocessor: registers, threads, blocks, bytes of shared memory; 1 KiB of it a block is the driver's.
LIMITS = {"80": (65536, 2048, 32, 164 << 10), "90a": (65536, 2048, 32, 228 << 10)}


def threads_of():
    """Threads of a block, from __launch_bounds__ in the sources; the tiles' kernels say which tile in their name."""
    found = {}
    for path in glob.glob(f"{kernels}/*.cu"):
        text = open(path).read()
        for threads, name in re.findall(r"__launch_bounds__\((\d+)(?:, \d+)?\)\s*(\w+)\(", text):
            found[name] = int(threads)
    return found


def occupancy(arch, registers, shared, threads):
    most_registers, most_threads, most_blocks, most_shared = LIMITS[arch]
    warps = -(-threads // 32)
    per_warp = -(-registers * 32 // 256) * 256
    blocks = min(
        most_blocks,
        most_threads // (warps * 32),
        most_registers // per_warp // warps,
        most_shared // (-(-(shared + 1024) // 128) * 128),
    )
    return 100 * blocks * warps * 32 // most_threads


known = threads_of()
rows, bad = {}, []
for path in sorted(glob.glob(f"{work}/*.log")):
    file = path.rsplit("/", 1)[1].removesuffix(".log")
    name = arch = stack = None
    for line in open(path):
        if match := re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line):
            name, arch = match.groups()
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack = [int(v) for v in match.groups()]
            if any(stack):
                bad.append(f"{name} (sm_{arch})")
        elif (match := re.search(r"Used (\d+) registers", line)) and arch in LIMITS:
            shared = re.search(r"(\d+) bytes smem", line)
            shared = int(shared[1]) if shared else 0
            threads = known.get(name) or (128 if "_small" in name else 256)
            row = (int(match[1]), stack[1] + stack[2], stack[0], shared, threads)
            rows.setdefault((file, name), {})[arch] = (row, occupancy(arch, row[0], shared, threads))

print(f"{'kernel':36} {'threads':>7} {'shared':>7} | {'sm_80: regs':>11} {'spill':>5} {'local':>5} {'occ.':>5} | "
      f"{'sm_90a: regs':>12} {'spill':>5} {'local':>5} {'occ.':>5}")
for (file, name), arches in sorted(rows.items()):
    (r80, o80), (r90, o90) = arches["80"], arches["90a"]
    print(f"{name:36} {r80[4]:7} {r80[3]:7} | {r80[0]:11} {r80[1]:5} {r80[2]:5} {o80:4}% | {r90[0]:12} {r90[1]:5} {r90[2]:5} {o90:4}%")
print(f"{len(rows)} kernels")
if bad:
    sys.exit("kernel-report.sh: these spill or use local memory: " + ", ".join(bad))
PYTHON
