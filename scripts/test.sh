#!/usr/bin/env bash
# Everything that must hold: formatting, lints, docs, and all tests. The CUDA kernels are compiled by the real nvcc
# (brought by install-nvcc.sh where there is none) and run on the GPU if there is one, else on the emulator. A run's page is
# opened in Chromium, which must be there, and its events are read by TensorBoard's own reader, which pip brings into .readers.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --all --check
if ! command -v "${NVCC:-nvcc}" >/dev/null; then
    NVCC=$(scripts/install-nvcc.sh | tail -n 1)
    export NVCC
fi
if [[ ! -d .readers/tensorboard ]]; then
    python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location --target .readers tensorboard==2.21.0
fi
export CONVNET_TENSORBOARD=$PWD/.readers
cargo clippy --workspace --all-targets --quiet -- -D warnings
cargo build --workspace --quiet
CONVNET_BROWSER=required cargo test --workspace
scripts/kernel-report.sh
