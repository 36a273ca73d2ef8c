#!/usr/bin/env bash
# What ptxas made of each kernel: registers, spills, local and shared memory, and the occupancy they allow on sm_80 (A100) and
# sm_90 (H100); of those on tensor cores, what their main loop consists of, and the share of the card's peak that it allows.
#
# usage: scripts/kernel-report.sh [--update]
#
# Compiles kernels/*.cu with the nvcc that build.rs would take (NVCC, CUDA_HOME, CUDA_PATH, PATH, .cuda), for all
# architectures of build.rs that it knows, into a temporary folder. Exits 1 if any kernel spills or uses local memory on any of
# them, if a main loop breaks a rule that is stated below, or if one is worse than benches/kernels.json says. --update writes
# that file anew, with what the emulator counts (tests/cuda/counters.rs).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
update=${1:-}
[[ -z $update || $update == --update ]] || { sed -n '5s/^# //p' "$0" >&2; exit 2; }
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
    local own=("${targets[@]}")
    [[ $name != *_hopper ]] || own=(-gencode arch=compute_90a,code=sm_90a)
    "$nvcc" -fatbin "${own[@]}" -O3 -std=c++17 --expt-relaxed-constexpr -Xptxas -v -o "$work/$name.fatbin" "$1" \
        >"$work/$name.log" 2>&1 || { cat "$work/$name.log" >&2; return 1; }
}
for source in kernels/*.cu; do
    while (($(jobs -rp | wc -l) >= $(nproc))); do wait -n; done
    compile "$source" &
done
while (($(jobs -p | wc -l) > 0)); do wait -n; done

cuobjdump=$(dirname "$nvcc")/cuobjdump
for arch in 80 90a; do
    "$cuobjdump" -sass -arch "sm_$arch" "$work/conv_mma.fatbin" >"$work/conv_mma.$arch.sass"
done
"$cuobjdump" -sass -arch sm_90a "$work/conv_hopper.fatbin" >"$work/conv_hopper.90a.sass"
if [[ -n $update ]]; then
    CONVNET_COUNTERS=$root/benches/kernels.json cargo test --quiet --test cuda counters:: >&2
fi

python3 - "$work" kernels benches/kernels.json "$update" <<'PYTHON'
import collections, glob, json, re, sys

work, kernels, committed, update = sys.argv[1:]
# Per multiprocessor: registers, threads, blocks, bytes of shared memory; 1 KiB of it a block is the driver's.
LIMITS = {"80": (65536, 2048, 32, 164 << 10), "90a": (65536, 2048, 32, 228 << 10)}


def threads_of():
    """Threads of a block of the kernels that are written out, from __launch_bounds__ in the sources."""
    found = {}
    for path in glob.glob(f"{kernels}/*.cu"):
        text = open(path).read()
        for threads, name in re.findall(r"__launch_bounds__\((\d+)(?:, \d+)?\)\s*(\w+)\(", text):
            found[name] = int(threads)
    return found


def threads_of_macro(file, name):
    """Threads of a block of the kernels that macros make; those with tiles say which tile in their name."""
    if file == "conv_hopper":
        return 384
    if file == "conv_mma":
        return 64 if "_small" in name else 128
    return 128 if "_small" in name else 256


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


def dynamic_shared():
    """Bytes of shared memory that the launches of wgmma's kernels ask for, by tile, from the assertion in hopper.cuh."""
    text = open(f"{kernels}/hopper.cuh").read()
    return {tile.lower(): int(bytes) for tile, bytes in re.findall(r"(\w+)::SHARED == (\d+)", text)}


known, dynamic = threads_of(), dynamic_shared()
rows, bad, serial = {}, [], []
for path in sorted(glob.glob(f"{work}/*.log")):
    file = path.rsplit("/", 1)[1].removesuffix(".log")
    name = arch = stack = None
    for line in open(path):
        if match := re.search(r"Compiling entry function '(\w+)' for 'sm_(\w+)'", line):
            name, arch = match.groups()
        elif match := re.search(r"wgmma.mma_async instructions are serialized.*?'(\w+)'", line):
            serial.append(match[1])
        elif match := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            stack = [int(v) for v in match.groups()]
            if any(stack):
                bad.append(f"{name} (sm_{arch})")
        elif (match := re.search(r"Used (\d+) registers", line)) and arch in LIMITS:
            shared = re.search(r"(\d+) bytes smem", line)
            shared = int(shared[1]) if shared else 0
            shared += sum(bytes for tile, bytes in dynamic.items() if f"_{tile}_" in name)
            threads = known.get(name) or threads_of_macro(file, name)
            row = (int(match[1]), stack[1] + stack[2], stack[0], shared, threads)
            rows.setdefault((file, name), {})[arch] = (row, occupancy(arch, row[0], shared, threads))

print(f"{'kernel':36} {'threads':>7} {'shared':>7} | {'sm_80: regs':>11} {'spill':>5} {'local':>5} {'occ.':>5} | "
      f"{'sm_90a: regs':>12} {'spill':>5} {'local':>5} {'occ.':>5}")
for (file, name), arches in sorted(rows.items()):
    r90, o90 = arches["90a"]
    left = f"{'':30}"
    if "80" in arches:
        r80, o80 = arches["80"]
        left = f"{r80[0]:11} {r80[1]:5} {r80[2]:5} {o80:4}% "
    print(f"{name:36} {r90[4]:7} {r90[3]:7} | {left}| {r90[0]:12} {r90[1]:5} {r90[2]:5} {o90:4}%")
print(f"{len(rows)} kernels")
if bad:
    sys.exit("kernel-report.sh: these spill or use local memory: " + ", ".join(bad))

if serial:
    sys.exit("kernel-report.sh: ptxas makes wgmma wait after each product in " + ", ".join(serial))

# Of a multiprocessor: cycles in which one of its four parts makes a product of 16×8×8 tf32 or 16×8×16 bf16 at the card's peak,
# and by mma.sync (which reaches 62 % of an H100's: Luo et al. 2024, arXiv:2402.13499); bytes a cycle from the second-level
# cache (A100: 5120 for 108, NVIDIA's white paper; H100: 5.5 TB/s for 132 at 1.755 GHz, as measured by Chips and Cheese 2023).
CARDS = {"80": ("A100", 8, 8, 47), "90a": ("H100", 4, 4 / 0.62, 24)}
# Products (HMMA, of any k) for each load from shared memory.
LEAST_PRODUCTS = 2.5


def main_loop(text, product="HMMA"):
    """The shortest loop with such an instruction in it: from a backward branch's target to the branch."""
    lines = re.findall(r"/\*([0-9a-f]{4,6})\*/\s+((?:@!?U?P\w+\s+)?[A-Z][^;]*);", text)
    code = [(int(at, 16), line) for at, line in lines]
    loops = []
    for at, line in code:
        target = re.search(r"\bBRA\b.*?0x([0-9a-f]+)", line)
        if target and int(target[1], 16) <= at:
            body = [line for place, line in code if int(target[1], 16) <= place <= at]
            if any(product in line for line in body):
                loops.append(body)
    return min(loops, key=len)


def shape_of(name, body):
    """Instructions of one step of a warp, without those that never run (`@!PT`)."""
    body = [line for line in body if not line.startswith("@!PT ")]
    names = collections.Counter(re.sub(r"^@\S+\s+", "", line).split()[0] for line in body)
    of = lambda prefix: sum(n for i, n in names.items() if i.startswith(prefix))
    copies = [i for i in names.elements() if i.startswith("LDGSTS")]
    return {
        "instructions": len(body),
        "products": of("HMMA"),
        "k": 16 if name.endswith("bf16") else 8,
        "shared_loads": of("LDS"),
        "copies": len(copies),
        "copies_of_16_bytes": sum(i.endswith(".128") for i in copies),
    }


def bounds(arch, s):
    """The share of the peak that each resource allows, of four warps that take a step, one on each part of a multiprocessor."""
    _, peak, product, bytes_a_cycle = CARDS[arch]
    best = s["products"] * peak
    tensor = s["products"] * product
    issue = s["instructions"]
    shared = 4 * 4 * (s["shared_loads"] + s["copies"])
    cache = 4 * 32 * 16 * s["copies"] / bytes_a_cycle
    return {key: best / value for key, value in [("mma.sync", tensor), ("issue", issue), ("shared", shared), ("L2", cache)]}


measured = {}
for arch in CARDS:
    for part in open(f"{work}/conv_mma.{arch}.sass").read().split("Function : ")[1:]:
        name = part.split()[0]
        measured.setdefault(name, {})[f"sm_{arch}"] = shape_of(name, main_loop(part))

wrong = []
document = json.load(open(committed))
print(f"\n{'main loop of a warp':36} {'on':>6} {'instr.':>6} {'HMMA':>5} {'of k':>5} {'LDS':>4} {'HMMA/LDS':>8} "
      f"{'LDGSTS':>6} {'16 B':>5} | {'at most, of peak, by':>21} mma.sync issue shared    L2")
for name, arches in sorted(measured.items()):
    for arch, s in arches.items():
        ratio = s["products"] / s["shared_loads"]
        shares = bounds(arch.removeprefix("sm_"), s)
        binds = min(shares, key=shares.get)
        card = CARDS[arch.removeprefix("sm_")][0]
        print(f"{name:36} {card:>6} {s['instructions']:6} {s['products']:5} {s['k']:5} {s['shared_loads']:4} {ratio:8.2f} "
              f"{s['copies']:6} {s['copies_of_16_bytes']:5} | {min(shares.values()):10.0%} {binds:>10} "
              + " ".join(f"{shares[key]:{width}.0%}" for key, width in [("mma.sync", 8), ("issue", 5), ("shared", 6), ("L2", 5)]))
        if ratio < LEAST_PRODUCTS:
            wrong.append(f"{name} ({arch}): {ratio:.2f} products a shared load, below {LEAST_PRODUCTS}")
        if s["copies_of_16_bytes"] < s["copies"] or not s["copies"]:
            wrong.append(f"{name} ({arch}): copies to shared memory that are not of 16 bytes")
        before = document.get(name, {}).get(arch)
        if not update and before is None:
            wrong.append(f"{name} ({arch}): not in {committed}")
        for key, sign in [("instructions", 1), ("shared_loads", 1), ("copies", 1), ("products", -1)]:
            # Another nvcc may schedule otherwise: a few instructions are no regression.
            if not update and before and sign * s[key] > sign * before[key] + 0.03 * before[key]:
                wrong.append(f"{name} ({arch}): {key} {before[key]} → {s[key]}")

# wgmma: one warp's instructions of a step of 128 bytes of k, the copies of the thread that brings it, and what the second-level
# cache allows of 2048 FLOPs a cycle (bf16: 4096), as above. Each product must be of 64×128 at least and read both operands from
# shared memory.
PEAK_CYCLES_A_COLUMN = 2 * 128 * 32 / 2048  # bf16: of twice the terms at twice the rate
hopper = {}
for part in open(f"{work}/conv_hopper.90a.sass").read().split("Function : ")[1:]:
    name = part.split()[0]
    if not name.startswith("conv_"):
        continue
    body = [re.sub(r"^@!?U?P\w+\s+", "", line) for line in main_loop(part, "HGMMA") if not line.startswith("@!PT ")]
    products = [line for line in body if line.startswith("HGMMA")]
    shapes = {tuple(map(int, re.search(r"HGMMA\.(\d+)x(\d+)x(\d+)", line).groups())) for line in products}
    copies = re.findall(r"UTMALDG\S+", part)
    columns = max(shape[1] for shape in shapes)
    hopper[name] = {
        "instructions": len(body),
        "products": len(products),
        "columns": columns,
        "from_shared": sum(line.count("gdesc[") == 1 and not re.search(r"HGMMA\S+ R\d+, R\d+, gdesc", line) for line in products),
        "shared_loads": sum(line.startswith("LDS") for line in body),
        "copies": len(copies),
    }
    if any(m < 64 or n < 128 for m, n, _ in shapes):
        wrong.append(f"{name}: products of {shapes}, below 64×128")
    if hopper[name]["from_shared"] < len(products):
        wrong.append(f"{name}: {len(products) - hopper[name]['from_shared']} products do not read both operands from shared memory")
    if hopper[name]["shared_loads"]:
        wrong.append(f"{name}: the main loop loads from shared memory")
    before = document.get(name, {}).get("sm_90a")
    if not update and before is None:
        wrong.append(f"{name}: not in {committed}")
    for key, sign in [("instructions", 1), ("copies", 1), ("columns", -1), ("products", -1)]:
        if not update and before and sign * hopper[name][key] > sign * before[key] + 0.03 * before[key]:
            wrong.append(f"{name}: {key} {before[key]} → {hopper[name][key]}")

print(f"\n{'wgmma, a step of 128 bytes':36} {'on':>6} {'instr.':>6} {'HGMMA':>6} {'of':>10} {'copies':>6} | {'at most, of peak, by L2':>23}")
for name, s in sorted(hopper.items()):
    share = s["columns"] * PEAK_CYCLES_A_COLUMN / ((128 + s["columns"]) * 32 * 4 / CARDS["90a"][3])
    print(f"{name:36} {'H100':>6} {s['instructions']:6} {s['products']:6} {'64×%d' % s['columns']:>10} {s['copies']:6} | {share:23.0%}")

if update:
    for name, s in hopper.items():
        document[name] = {"sm_90a": s}
    for name, arches in measured.items():
        document.setdefault(name, {}).update(arches)
    with open(committed, "w") as file:
        file.write("{\n" + ",\n".join(f'"{name}": ' + json.dumps(document[name], sort_keys=True) for name in sorted(document)) + "\n}\n")
if wrong:
    sys.exit("kernel-report.sh: " + "\nkernel-report.sh: ".join(wrong))
PYTHON
