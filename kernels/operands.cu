// Operands of products on tensor cores as conv_mma.cu reads them: of [rows][channels], rows `pitch` apart, a copy [rows][padded],
// padded a multiple of what 16 bytes hold, zeros behind the channels. Groups of channels are rows of their own.
//
// A thread makes four neighbours, below 2^32 of which a card holds; `per_row` fours are a row. Bytes: each number 4 read and 2
// written as bf16, and they are read again as 2: 8 where the product would have read 4. VGG's 128×56×56×256: 0.62 GB, 0.31 ms on an
// A100 (2.0 TB/s) beside 0.76 ms of products at its peak, and 0.18 ms on an H100 (3.35 TB/s) beside 0.24 ms. In f32, which is for
// channels that are no multiple of four alone: AlexNet's 128×224×224×3, 180 MB, 0.09 and 0.05 ms.
#include "mma.cuh"

// Hands four numbers after the other to write(which, numbers). `vector`: channels and pitch are multiples of four, and x on 16 bytes.
template <class Write>
__device__ __forceinline__ void for_each_four(unsigned fours, unsigned per_row, long long channels, long long pitch, int vector,
                                              const float* __restrict__ x, Write write) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < fours; i += gridDim.x * blockDim.x) {
        const long long first = (long long)(i % per_row) * 4, left = channels - first;
        const float* const from = x + i / per_row * pitch + first;
        Vector<4> v = {};
        if (vector) {
            if (left > 0) v = load<4>(from);
        } else {
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (e < left) v.v[e] = from[e];
        }
        write(i, v);
    }
}

// Rounded to bf16.
extern "C" __global__ void __launch_bounds__(256, 4)
round_bf16(unsigned fours, unsigned per_row, long long channels, long long pitch, int vector, const float* __restrict__ x,
           uint2* __restrict__ y) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    for_each_four(fours, per_row, channels, pitch, vector, x, [&](unsigned i, const Vector<4>& v) {
        y[i] = make_uint2(to_bf16(v.v[0], v.v[1]), to_bf16(v.v[2], v.v[3]));
    });
#endif
}

// As they are.
extern "C" __global__ void __launch_bounds__(256, 4)
pad_f32(unsigned fours, unsigned per_row, long long channels, long long pitch, int vector, const float* __restrict__ x,
        float4* __restrict__ y) {
    for_each_four(fours, per_row, channels, pitch, vector, x, [&](unsigned i, const Vector<4>& v) {
        y[i] = make_float4(v.v[0], v.v[1], v.v[2], v.v[3]);
    });
}
