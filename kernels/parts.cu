// The second pass of every sum that was split into parts: out[i] = finish(Σ_part part[i] + bias[i mod columns]), the parts in
// their order, so that the bits are the same on every run; times a relu's derivative where `seen` is not null.
//
// A thread makes four neighbours. Bytes: parts + 1 times the result's; nothing else to count.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256, 4)
sum_parts(int parts, long long elements, int vector, const float* __restrict__ part, const float* __restrict__ bias,
          int columns, Finish finish, float* __restrict__ out, int add, const float* __restrict__ seen) {
    for_each(elements, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> sum = load<W>(part + i);
        for (int p = 1; p < parts; ++p) {
            const Vector<W> x = load<W>(part + p * elements + i);
#pragma unroll
            for (int j = 0; j < W; ++j) sum.v[j] += x.v[j];
        }
#pragma unroll
        for (int j = 0; j < W; ++j) sum.v[j] = finish(sum.v[j] + (bias ? bias[(i + j) % columns] : 0.0f));
        put<W>(out + i, sum, add, seen ? seen + i : nullptr);
    });
}
