// The momentum update, in one pass: v ← momentum·v − rate·(g + decay·w), w ← w + v.
//
// Every thread takes four neighbours by 16-byte accesses. Bytes: 12 read and 8 written a parameter; AlexNet's 61 million are
// 1.2 GB, 0.37 ms at 3.35 TB/s.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
sgd_update(const StepValues* __restrict__ step, long long count, int vector, float rate_multiplier, float decay,
           float* __restrict__ w, const float* __restrict__ g, float* __restrict__ v) {
    const float momentum = step->momentum, rate = step->learning_rate * rate_multiplier;
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> x = load<W>(w + i), y = load<W>(v + i);
        const Vector<W> d = load<W>(g + i);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            y.v[j] = momentum * y.v[j] - rate * (d.v[j] + decay * x.v[j]);
            x.v[j] += y.v[j];
        }
        store<W>(v + i, y);
        store<W>(w + i, x);
    });
}
