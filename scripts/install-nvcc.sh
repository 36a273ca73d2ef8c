#!/usr/bin/env bash
# Installs nvcc without root and without a GPU: scripts/install-nvcc.sh [DIR]
#
# DIR defaults to .cuda in the repository, which git ignores. What is put there are NVIDIA's own PyPI wheels, each pinned:
# the compiler, its front and back end (cudafe++, cicc, libdevice, ptxas), the runtime's headers and CCCL, all of CUDA 13.0,
# which driver 580 runs; and cuobjdump and nvdisasm, which start at 13.2. About 280 MB on disk, seconds on a fast line.
#
# The last line printed is the path of nvcc. That nvcc needs no -I and no -L for `-fatbin`, `-ptx` and `-cubin`.
# Running it again when all is in place does nothing; an install that was interrupted is never taken for a whole one,
# because everything happens in a folder beside DIR that is renamed at the end.
set -euo pipefail

packages=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
    nvidia-cuda-cuobjdump==13.2.78
    nvidia-cuda-nvdisasm==13.2.78
)

fail() {
    echo "install-nvcc.sh: $1" >&2
    exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${1:-$root/.cuda}
mkdir -p "$(dirname "$target")"
target=$(cd "$(dirname "$target")" && pwd)/$(basename "$target")
stamp=$target/convnet-installed
nvcc=$target/nvidia/cu13/bin/nvcc
wanted=$(printf '%s\n' "${packages[@]}")

if [[ -x $nvcc && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    echo "$nvcc"
    exit 0
fi
if [[ -e $target && ! -f $stamp && -n $(ls -A "$target") ]]; then
    fail "$target exists and was not made by this script; move it away, or give another folder"
fi
command -v python3 >/dev/null || fail "needs python3, to fetch NVIDIA's wheels with pip (Debian: apt-get install python3 python3-pip)"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip (Debian: apt-get install python3-pip; elsewhere: python3 -m ensurepip)"

work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "installing nvcc 13.0 into $target" >&2
python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --no-deps --no-compile --only-binary :all: \
    --target "$work/new" "${packages[@]}" >&2 \
    || fail "pip could not install the wheels (see above); they need Linux on x86_64 or aarch64 and a reachable package index"

tools=$work/new/nvidia/cu13
[[ -f $tools/bin/nvcc ]] || fail "the wheels hold no nvidia/cu13/bin/nvcc; their layout has changed"
# Wheels lose the executable bits.
chmod -R u+rwX "$tools"
find "$tools/bin" "$tools/nvvm/bin" -type f -exec chmod +x {} +
# nvcc's profile looks for libraries in lib64, the wheels have lib.
[[ -e $tools/lib64 ]] || ln -s lib "$tools/lib64"
printf '%s\n' "${packages[@]}" >"$work/new/$(basename "$stamp")"

printf '__global__ void probe(float *x) { x[threadIdx.x] = expf(x[threadIdx.x]); }\n' >"$work/probe.cu"
"$tools/bin/nvcc" -fatbin -gencode 'arch=compute_80,code=[sm_80,compute_80]' -O3 -o "$work/probe.fatbin" "$work/probe.cu" >&2 \
    || fail "nvcc was installed but does not compile (see above); it needs a host C++ compiler (Debian: apt-get install g++)"

# Two installs at once: the second to finish finds the first one's folder whole, and leaves it.
rm -rf "$target"
mv -T "$work/new" "$target" 2>/dev/null || [[ -x $nvcc ]] || fail "could not move the install to $target"
echo "$nvcc"
