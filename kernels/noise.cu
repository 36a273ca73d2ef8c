// Gaussian noise: y = x + std·g, g the standard normal number of the element: number i mod 4 of the gaussians of the Philox
// block (seed, layer, step, image first_image + j, i/4).
//
// One thread makes the four elements of a block: about 70 integer operations, two logarithms, roots, sines and cosines for 32
// bytes moved. y may be x.
#include "common.cuh"
#include "philox.cuh"

constexpr unsigned NOISE = 5;  // Purpose::Noise of src/device/philox.rs

extern "C" __global__ void __launch_bounds__(256)
noise(const StepValues* __restrict__ step, unsigned layer, float std, int images, int elements, int vector, const float* x,
      float* y) {
    const int blocks = (elements + 3) / 4;
    const unsigned long long seed = step->seed, count = (unsigned long long)images * blocks;
    const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long t = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += stride) {
        const unsigned image = t / blocks, block = t % blocks;
        const unsigned long long position = (unsigned long long)(step->first_image + image) << 32 | block;
        const PhiloxBlock random = philox_block(seed, NOISE, layer, step->step, position);
        float normal[4];
        philox_gaussians(random, normal);
        const long long at = (long long)image * elements + block * 4;
        if (vector) {
            Vector<4> v = load<4>(x + at);
#pragma unroll
            for (int i = 0; i < 4; ++i) v.v[i] += std * normal[i];
            store<4>(y + at, v);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (block * 4 + i < elements) y[at + i] = x[at + i] + std * normal[i];
        }
    }
}
