// The momentum update, in one pass: s = rate·(f·g + decay·w + l1·sign w), v ← momentum·v − s, w ← w + v, or by Nesterov's
// rule w ← w + momentum·v − s. A negative momentum stands for the step's; f is 1 where there is no factor.
//
// Every thread takes four neighbours by 16-byte accesses. Bytes: 12 read and 8 written a parameter; AlexNet's 61 million are
// 1.2 GB, 0.37 ms at 3.35 TB/s.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
sgd_update(const StepValues* __restrict__ step, long long count, int vector, float rate_multiplier, float decay, float l1,
           float own_momentum, int nesterov, const float* __restrict__ factor, float* __restrict__ w,
           const float* __restrict__ g, float* __restrict__ v) {
    const float momentum = own_momentum < 0 ? step->momentum : own_momentum, rate = step->learning_rate * rate_multiplier;
    const float f = factor ? *factor : 1.0f;
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> x = load<W>(w + i), y = load<W>(v + i);
        const Vector<W> d = load<W>(g + i);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const float sign = x.v[j] > 0 ? l1 : x.v[j] < 0 ? -l1 : 0.0f;
            const float s = rate * (f * d.v[j] + decay * x.v[j] + sign);
            y.v[j] = momentum * y.v[j] - s;
            x.v[j] += nesterov ? momentum * y.v[j] - s : y.v[j];
        }
        store<W>(v + i, y);
        store<W>(w + i, x);
    });
}
