#!/usr/bin/env bash
# Is this GPU right, and how fast is it? Runs, in under 8 minutes, the conformance table, LeNet's training, its resumption
# after a kill, and the benchmarks, and writes one report.
#
# usage: scripts/gpu-check.sh BINARY OUT     BINARY: a convnet built with nvcc. OUT: a folder for report.md and the runs.
set -uo pipefail
[ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
convnet=$(realpath "$1")
out=$2
configs=$(dirname "$(realpath "$0")")/../configs
mkdir -p "$out"
report=$out/report.md
failed=0

# step TITLE SECONDS COMMAND…: its output and exit status, as a section of the report.
step() {
    local title=$1 limit=$2 status start=$SECONDS
    shift 2
    printf '\n## %s\n\n```\n' "$title" >>"$report"
    timeout "$limit" "$@" >>"$report" 2>&1
    status=$?
    printf '```\n\nexit status %d, %d s\n' "$status" $((SECONDS - start)) >>"$report"
    [ "$status" -eq 0 ] || failed=1
}

# A run that is killed after two seconds and resumed ends with the weights of the one that was left alone.
resumed() {
    timeout --signal=KILL 2 "$convnet" train "$configs/lenet.toml" --device cuda --set train.checkpoint_every=20 --out "$out/killed"
    "$convnet" resume "$out/killed" --device cuda || return 1
    local a b
    a=$(sha256sum <"$out/whole/checkpoints/step-1500/weights.safetensors")
    b=$(sha256sum <"$out/killed/checkpoints/step-1500/weights.safetensors")
    echo "whole:   $a"
    echo "resumed: $b"
    [ "$a" = "$b" ]
}

printf '# GPU check, %s\n' "$(date -u +%F)" >"$report"
step "the card" 20 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
step "devices" 20 "$convnet" devices
step "verify" 120 "$convnet" verify --device cuda
step "LeNet" 90 "$convnet" train "$configs/lenet.toml" --device cuda --out "$out/whole"
step "killed and resumed" 100 resumed
for net in lenet cifar10-quick; do
    step "bench $net" 60 "$convnet" bench "$configs/$net.toml" --device cuda
done
echo "$report"
exit "$failed"
