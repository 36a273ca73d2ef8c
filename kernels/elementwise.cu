// What is done to every element by itself: scaling, filling, the mean of |x|. Every thread takes four neighbours by 16-byte
// accesses. Bytes: scale 8 an element (12 when added), fill 4, mean_abs 4: bound by memory.
#include "common.cuh"

// y ← factor·x, or y += factor·x.
extern "C" __global__ void __launch_bounds__(256)
scale(long long count, int vector, float factor, const float* x, float* y, int add) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] *= factor;
        put<W>(y + i, v, add);
    });
}

// x ← value.
extern "C" __global__ void __launch_bounds__(256)
fill(long long count, int vector, float value, float* __restrict__ x) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v;
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = value;
        store<W>(x + i, v);
    });
}

// Each block's share of Σ |x|; mean_abs adds the shares up, always in the same tree.
extern "C" __global__ void __launch_bounds__(256, 4)
sum_abs(long long count, int vector, const float* __restrict__ x, float* __restrict__ shares) {
    __shared__ float shared[256 / WARP];
    float sum = 0;
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        const Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) sum += fabsf(v.v[j]);
    });
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

// mean ← Σ shares / elements.
extern "C" __global__ void __launch_bounds__(256)
mean_abs(int count, const float* __restrict__ shares, float elements, float* __restrict__ mean) {
    __shared__ float shared[256 / WARP];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += shares[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) *mean = sum / elements;
}
