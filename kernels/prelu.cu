// Parametric relu: y = x above 0, slope·x below, a slope for each channel or one for all. y may be x, and dx dy.
//
// Every thread takes four neighbours by 16-byte accesses where they lie in one row of channels; the slopes come from L1. Bytes a
// value: forward 8, backward 12 (16 when added), the slopes' gradient 8: bound by memory.
#include "common.cuh"

// The slopes of W channels from element i on.
template <int W>
__device__ __forceinline__ Vector<W> slopes_of(int slopes, const float* __restrict__ slope, long long i) {
    Vector<W> v;
    const int c = slopes == 1 ? 0 : i % slopes;
#pragma unroll
    for (int j = 0; j < W; ++j) v.v[j] = slope[slopes == 1 ? 0 : c + j];
    return v;
}

extern "C" __global__ void __launch_bounds__(256, 4)
prelu_forward(long long count, int vector, int slopes, const float* x, const float* __restrict__ slope, float* y) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
        const Vector<W> s = slopes_of<W>(slopes, slope, i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = v.v[j] > 0 ? v.v[j] : s.v[j] * v.v[j];
        store<W>(y + i, v);
    });
}

extern "C" __global__ void __launch_bounds__(256, 4)
prelu_backward(long long count, int vector, int slopes, const float* __restrict__ x, const float* __restrict__ slope,
               const float* dy, float* dx, int add) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        const Vector<W> u = load<W>(x + i), s = slopes_of<W>(slopes, slope, i);
        Vector<W> v = load<W>(dy + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = u.v[j] > 0 ? v.v[j] : s.v[j] * v.v[j];
        put<W>(dx + i, v, add);
    });
}

// part[blockIdx.y][c] = Σ over the part's rows of min(0, x)·dy. As in bias.cu: a block is 32 columns wide and 8 rows deep.
extern "C" __global__ void __launch_bounds__(256)
prelu_backward_slope(int rows, int columns, int part_rows, const float* __restrict__ x, const float* __restrict__ dy,
                     float* __restrict__ part) {
    __shared__ float shared[8][32];
    const int lane = threadIdx.x % 32, deep = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    const int begin = blockIdx.y * part_rows, end = min(rows, begin + part_rows);
    float sum = 0;
    if (column < columns) {
        long long at = (long long)(begin + deep) * columns + column;
        const long long step = 8ll * columns;
#pragma unroll 4
        for (int row = begin + deep; row < end; row += 8, at += step) sum += x[at] > 0 ? 0.0f : x[at] * dy[at];
    }
    shared[deep][lane] = sum;
    __syncthreads();
    if (deep == 0 && column < columns) {
        for (int i = 1; i < 8; ++i) sum += shared[i][lane];
        part[(long long)blockIdx.y * columns + column] = sum;
    }
}

// out ← Σ part, or out += …: always the same tree.
extern "C" __global__ void __launch_bounds__(256)
prelu_sum(int count, const float* __restrict__ part, float* __restrict__ out, int add) {
    __shared__ float shared[256 / WARP];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += part[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) put<1>(out, {{sum}}, add);
}
