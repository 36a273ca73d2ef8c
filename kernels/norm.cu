// Norms: Σ x² of a gradient, the factor that clips all gradients to one norm, and each row of a weight matrix held to a norm.
//
// Sums are made in a fixed order: every thread sums every blocks·256-th group of four by 16-byte accesses, a block its threads
// as a tree, and the blocks' shares a second kernel as a tree. Bytes: sum_squares 4 an element; limit_norms 4 an element, and
// as many again read from the cache and written of the rows that are too long. All are bound by memory.
#include "common.cuh"

// Each block's share of Σ x².
extern "C" __global__ void __launch_bounds__(256, 4)
share_squares(long long count, int vector, const float* __restrict__ x, float* __restrict__ shares) {
    __shared__ float shared[256 / WARP];
    float sum = 0;
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        const Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) sum += v.v[j] * v.v[j];
    });
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

// sum ← Σ shares, or sum += ….
extern "C" __global__ void __launch_bounds__(256)
sum_squares(int count, const float* __restrict__ shares, float* __restrict__ sum, int add) {
    __shared__ float shared[256 / WARP];
    float x = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) x += shares[i];
    x = block_sum(x, shared);
    if (threadIdx.x == 0) *sum = add ? *sum + x : x;
}

// factor ← min(1, limit/√sum). What is no number stays so, and shows.
extern "C" __global__ void __launch_bounds__(32)
clip_factor(float limit, const float* __restrict__ sum, float* __restrict__ factor) {
    const float norm = sqrtf(*sum);
    if (threadIdx.x == 0) *factor = norm <= limit ? 1.0f : limit / norm;
}

// Scales each row of w that is longer than the limit to it. One block a row.
extern "C" __global__ void __launch_bounds__(256)
limit_norms(int length, int vector, float limit, float* __restrict__ w) {
    __shared__ float shared[256 / WARP];
    __shared__ float factor;
    float* const row = w + (long long)blockIdx.x * length;
    const int fours = vector ? length / 4 : 0;
    float sum = 0;
    for (int i = threadIdx.x; i < fours; i += blockDim.x) {
        const Vector<4> v = load<4>(row + i * 4);
#pragma unroll
        for (int j = 0; j < 4; ++j) sum += v.v[j] * v.v[j];
    }
    for (int i = fours * 4 + threadIdx.x; i < length; i += blockDim.x) sum += row[i] * row[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) {
        const float norm = sqrtf(sum);
        factor = norm <= limit ? 1.0f : limit / norm;
    }
    __syncthreads();
    const float f = factor;
    if (f == 1.0f) return;
    for (int i = threadIdx.x; i < fours; i += blockDim.x) {
        Vector<4> v = load<4>(row + i * 4);
#pragma unroll
        for (int j = 0; j < 4; ++j) v.v[j] *= f;
        store<4>(row + i * 4, v);
    }
    for (int i = fours * 4 + threadIdx.x; i < length; i += blockDim.x) row[i] *= f;
}
