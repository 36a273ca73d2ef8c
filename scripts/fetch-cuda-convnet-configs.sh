#!/usr/bin/env bash
# Fetches the config pairs that come with cuda-convnet2 (A. Krizhevsky, 2014, Apache 2.0) and cuda-convnet (2011, BSD; D. Nouri's
# fork of it) into the ignored folder .cuda-convnet/2 and /1, for
#   cargo test --test readers the_published_files -- --ignored
# They are not part of this repository; tests/readers/cuda_convnet/published.rs says the same in its own words.
set -euo pipefail
cd "$(dirname "$0")/.."

fetch() { # version, repository, commit, folder of the configs in it
    local work=".cuda-convnet/.work-$1"
    rm -rf "$work"
    git init --quiet "$work"
    git -C "$work" fetch --quiet --depth 1 "$2" "$3"
    mkdir -p ".cuda-convnet/$1"
    git -C "$work" archive FETCH_HEAD "$4" | tar x --strip-components=1 -C ".cuda-convnet/$1"
    rm -rf "$work"
    echo ".cuda-convnet/$1: $(find ".cuda-convnet/$1" -name 'layers*.cfg' | wc -l) pairs"
}

fetch 2 https://github.com/akrizhevsky/cuda-convnet2 3238bf0367f63eb370e897b9e5714794cb67ddc2 layers
fetch 1 https://github.com/dnouri/cuda-convnet e4ac0c1f374a15cfe3944bd6d732c3822cc2b96b example-layers
