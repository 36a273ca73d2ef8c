// Dropout: y = factor·x where the element is kept, 0 elsewhere. Element i of image j is kept where number i mod 4 of the Philox
// block (seed, layer, step, image first_image + j, i/4) is below keep: the same bits as on the CPU, in both passes.
//
// One thread makes the four elements of one Philox block: about 70 integer operations for 32 bytes moved, so that memory is
// the bound. y may be x.
#include "common.cuh"
#include "philox.cuh"

constexpr unsigned DROPOUT = 0;  // Purpose::Dropout of src/device/philox.rs

extern "C" __global__ void __launch_bounds__(256)
dropout(const StepValues* __restrict__ step, unsigned layer, unsigned threshold, float factor, int images, int elements,
        int vector, const float* x, float* y, int add) {
    const int blocks = (elements + 3) / 4;
    const unsigned long long seed = step->seed, count = (unsigned long long)images * blocks;
    const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
    for (unsigned long long t = (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += stride) {
        const unsigned image = t / blocks, block = t % blocks;
        const unsigned long long position = (unsigned long long)(step->first_image + image) << 32 | block;
        const PhiloxBlock random = philox_block(seed, DROPOUT, layer, step->step, position);
        const long long at = (long long)image * elements + block * 4;
        // `threshold` of 2²⁴ equally likely numbers are kept.
        if (vector) {
            Vector<4> v = load<4>(x + at);
#pragma unroll
            for (int i = 0; i < 4; ++i) v.v[i] = random.v[i] >> 8 < threshold ? v.v[i] * factor : 0.0f;
            put<4>(y + at, v, add);
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (block * 4 + i < elements)
                    put<1>(y + at + i, {{random.v[i] >> 8 < threshold ? x[at + i] * factor : 0.0f}}, add);
        }
    }
}
