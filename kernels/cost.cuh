// What the costs share: the metrics that they add to, the labels, and an image's rank.
#pragma once
#include "common.cuh"

enum Metric { LOSS, ERRORS, ERRORS_TOP5, IMAGES };

// What cross entropy takes a probability for at least.
constexpr float LEAST = 1e-30f;

__device__ __forceinline__ float at_least(float p) { return p < LEAST ? LEAST : p; }  // what is no number stays

// The image's label, whatever it is, as an index.
__device__ __forceinline__ int label_of(const int* labels, int image, int elements) {
    return min(max(labels[image], 0), elements - 1);
}

// Whether output i comes before the label's, `mine`: what is no number does.
__device__ __forceinline__ bool comes_before(float v, int i, float mine, int label) {
    return i != label && !(i < label ? v < mine : v <= mine);
}

// Adds one warp's sums to the metrics, in thread 0 of the only block.
__device__ __forceinline__ void add_metrics(float loss, int errors, int errors_top5, int images, float* metrics) {
    __shared__ float losses[WARP];
    __shared__ int counts[2][WARP];
    const int warp = threadIdx.x / WARP;
    if (threadIdx.x % WARP == 0) losses[warp] = loss, counts[0][warp] = errors, counts[1][warp] = errors_top5;
    __syncthreads();
    if (warp != 0) return;
    loss = warp_sum(losses[threadIdx.x]);
    errors = warp_sum(counts[0][threadIdx.x]);
    errors_top5 = warp_sum(counts[1][threadIdx.x]);
    if (threadIdx.x != 0) return;
    metrics[LOSS] += loss;
    metrics[ERRORS] += errors;
    metrics[ERRORS_TOP5] += errors_top5;
    metrics[IMAGES] += images;
}
