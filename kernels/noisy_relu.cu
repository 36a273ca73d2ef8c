// Noisy relu: y = max(0, x + √σ(x)·g), σ the logistic function, g the standard normal number of the element: number i mod 4 of
// the gaussians of the Philox block (seed, layer, step, image first_image + j, i/4). Backward draws them again:
// dx = dy·(1 + ½·g·√σ·(1 − σ)) where y is above 0. dx may be dy.
//
// One thread makes the four elements of one block: about 70 integer operations and 60 of floating point an element's four, for
// 8 bytes each (12 backward), so that memory and arithmetic take about as long.
#include "common.cuh"
#include "philox.cuh"

constexpr unsigned NOISE = 5;  // Purpose::Noise of src/device/philox.rs

// Calls f(Width<W>, element, its W normal numbers) for every element, by four where `vector` says so.
template <class F>
__device__ __forceinline__ void for_each_noisy(const StepValues* step, unsigned layer, int images, int elements, int vector, F f) {
    const int blocks = (elements + 3) / 4;
    const unsigned long long seed = step->seed, count = (unsigned long long)images * blocks;
    const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long t = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += stride) {
        const unsigned image = t / blocks, block = t % blocks;
        const unsigned long long position = (unsigned long long)(step->first_image + image) << 32 | block;
        float normal[4];
        philox_gaussians(philox_block(seed, NOISE, layer, step->step, position), normal);
        const long long at = (long long)image * elements + block * 4;
        if (vector) {
            f(Width<4>{}, at, normal);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (block * 4 + i < elements) f(Width<1>{}, at + i, normal + i);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
noisy_relu_forward(const StepValues* __restrict__ step, unsigned layer, int images, int elements, int vector,
                   const float* __restrict__ x, float* __restrict__ y) {
    for_each_noisy(step, layer, images, elements, vector, [&](auto width, long long i, const float* normal) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const float noisy = v.v[j] + sqrtf(1 / (1 + expf(-v.v[j]))) * normal[j];
            v.v[j] = noisy < 0 ? 0.0f : noisy;
        }
        store<W>(y + i, v);
    });
}

extern "C" __global__ void __launch_bounds__(256)
noisy_relu_backward(const StepValues* __restrict__ step, unsigned layer, int images, int elements, int vector,
                    const float* __restrict__ x, const float* dy, float* dx, int add) {
    for_each_noisy(step, layer, images, elements, vector, [&](auto width, long long i, const float* normal) {
        constexpr int W = decltype(width)::value;
        const Vector<W> u = load<W>(x + i);
        Vector<W> v = load<W>(dy + i);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const float variance = 1 / (1 + expf(-u.v[j])), deviation = sqrtf(variance);
            const float slope = 1 + 0.5f * normal[j] * deviation * (1 - variance);
            v.v[j] = u.v[j] + deviation * normal[j] > 0 ? v.v[j] * slope : 0.0f;
        }
        put<W>(dx + i, v, add);
    });
}
