// Philox4x32-10 (Salmon et al., SC 2011): the same function as src/device/philox.rs, bit for bit.
#pragma once

struct PhiloxBlock {
    unsigned v[4];
};

__device__ __forceinline__ PhiloxBlock philox(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned low0 = c0 * 0xD2511F53u, high0 = __umulhi(c0, 0xD2511F53u);
        const unsigned low1 = c2 * 0xCD9E8D57u, high1 = __umulhi(c2, 0xCD9E8D57u);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// Four numbers of the stream (seed, purpose, a, b) at position `block`.
__device__ __forceinline__ PhiloxBlock philox_block(unsigned long long seed, unsigned purpose, unsigned a,
                                                    unsigned long long b, unsigned long long block) {
    return philox((unsigned)block, (unsigned)(block >> 32) ^ ((unsigned)(b >> 32) << 8), a, (unsigned)b, (unsigned)seed,
                  (unsigned)(seed >> 32) ^ (purpose << 28));
}

// Four standard normal numbers of a block (Box and Muller 1958), as src/device/philox.rs makes them.
__device__ __forceinline__ void philox_gaussians(const PhiloxBlock& block, float normal[4]) {
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const float radius = sqrtf(-2 * logf(((block.v[i] >> 8) + 1) * (1.0f / 16777216.0f)));
        float sine, cosine;
        sincospif(2 * ((block.v[i + 1] >> 8) * (1.0f / 16777216.0f)), &sine, &cosine);
        normal[i] = radius * cosine;
        normal[i + 1] = radius * sine;
    }
}

// A 32-bit number as a uniform float in [0, 1): its upper 24 bits.
__device__ __forceinline__ float philox_uniform(unsigned bits) {
    return (bits >> 8) * (1.0f / 16777216.0f);
}
