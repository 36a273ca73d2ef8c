// Two tensors merged element by element: alpha·a + beta·b, a·b, and max(a, b) with its gradient. y may be a or b, and dx dy.
//
// Every thread takes four neighbours by 16-byte accesses. Bytes a value: sum and product 12 (16 when added), the maximum 16
// forward, as it also writes which input it is (20 from the third input on), 12 backward: bound by memory.
#include "common.cuh"

// y ← f(a, b), or y += f(a, b). No __restrict__: y may be a or b.
template <class F>
__device__ __forceinline__ void merge(long long count, int vector, const float* a, const float* b, float* y, int add, F f) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> u = load<W>(a + i);
        const Vector<W> v = load<W>(b + i);
#pragma unroll
        for (int j = 0; j < W; ++j) u.v[j] = f(u.v[j], v.v[j]);
        put<W>(y + i, u, add);
    });
}

extern "C" __global__ void __launch_bounds__(256)
merge_sum(long long count, int vector, float alpha, float beta, const float* a, const float* b, float* y, int add) {
    merge(count, vector, a, b, y, add, [&](float a, float b) { return alpha * a + beta * b; });
}

extern "C" __global__ void __launch_bounds__(256)
merge_product(long long count, int vector, const float* a, const float* b, float* y, int add) {
    merge(count, vector, a, b, y, add, [](float a, float b) { return a * b; });
}

// `number` is b's. Where a stays, which keeps its number, or is 0, the first input's, unless `keep` says that there are others.
extern "C" __global__ void __launch_bounds__(256)
max_forward(long long count, int vector, unsigned number, int keep, const float* a, const float* b, float* y, float* which) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> u = load<W>(a + i), w = {};
        const Vector<W> v = load<W>(b + i);
        if (keep) w = load<W>(which + i);
#pragma unroll
        for (int j = 0; j < W; ++j)
            if (v.v[j] > u.v[j]) u.v[j] = v.v[j], w.v[j] = number;
        store<W>(y + i, u);
        store<W>(which + i, w);
    });
}

extern "C" __global__ void __launch_bounds__(256)
max_backward(long long count, int vector, unsigned number, const float* which, const float* dy, float* dx, int add) {
    const float mine = number;
    merge(count, vector, which, dy, dx, add, [&](float which, float dy) { return which == mine ? dy : 0.0f; });
}
