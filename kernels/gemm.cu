// Matrix products C[m][n] = finish(Σ_k op(A)[m][k]·op(B)[k][n] + bias[n]), row-major: the fully connected layers.
//
// Tiles as in tile.cuh. The three layouts that a fully connected layer meets, y = x·Wᵀ (nt), dx = dy·W (nn), dW = dyᵀ·x (tn),
// have kernels of their own for pitches that are multiples of 4: 16-byte accesses along whichever index runs fastest. "any"
// takes every layout and pitch by single floats.
//
// A batch of 128 makes few tiles of a long sum; grid layers then split it into parts, a whole number of steps each, which
// parts.cu adds up in their order and finishes.
//
// FLOPs 2·m·n·k; bytes 4·(m·k + k·n + m·n) at best. AlexNet's fc6 at batch 128 (m 128, n 4096, k 9216): 9.7 GFLOP, 0.14 ms at
// 67 TFLOP/s; 158 MB, 0.05 ms at 3.35 TB/s.
#include "tile.cuh"

struct ProductGeometry {
    int m, n, k;
    int transpose_a, transpose_b;
};
static_assert(sizeof(ProductGeometry) == 20, "as in src/device/geometry.rs");

// Grid: tiles of m, tiles of n, parts. With more than one part, c is the parts' copies of C, and neither bias nor finish
// changes anything.
template <class T, class A, class B>
__device__ __forceinline__ void finish_product(const ProductGeometry& g, A& a, B& b, int begin, int end,
                                               const float* __restrict__ bias, const Finish& finish,
                                               float* __restrict__ c, int add) {
    float sum[T::TM][T::TN];
    multiply<T>(a, b, (end - begin + T::K - 1) / T::K, sum);
    const int row0 = blockIdx.x * T::M, column0 = blockIdx.y * T::N;
    float* const out = c + (long long)blockIdx.z * g.m * g.n;
    const int vector = g.n % 4 == 0 && on_16_bytes(c);
    for_each_fragment<T>(sum, [&](int row, int column, Vector<4> v) {
        const int m = row0 + row, n = column0 + column, count = g.n - n;
        if (m >= g.m || count <= 0) return;
#pragma unroll
        for (int i = 0; i < 4; ++i) v.v[i] = finish(v.v[i] + (bias && i < count ? bias[n + i] : 0.0f));
        put_fragment(out + (long long)m * g.n + n, v, count, vector, add);
    });
}

enum Layout { NN, NT, TN, ANY };

template <class T, Layout L>
__device__ __forceinline__ void product(const ProductGeometry& g, const float* __restrict__ a, const float* __restrict__ b,
                                        const float* __restrict__ bias, const Finish& finish, float* __restrict__ c,
                                        int part_steps, int add) {
    const int begin = blockIdx.z * part_steps * T::K, end = min(g.k, begin + part_steps * T::K);
    const int row0 = blockIdx.x * T::M, column0 = blockIdx.y * T::N;
    if constexpr (L == NN) {
        MatrixAlongK<T, T::M, 4> la(a, g.k, row0, g.m, begin, end);
        MatrixAlongRows<T, T::N, 4> lb(b, g.n, column0, g.n, begin, end);
        finish_product<T>(g, la, lb, begin, end, bias, finish, c, add);
    } else if constexpr (L == NT) {
        MatrixAlongK<T, T::M, 4> la(a, g.k, row0, g.m, begin, end);
        MatrixAlongK<T, T::N, 4> lb(b, g.k, column0, g.n, begin, end);
        finish_product<T>(g, la, lb, begin, end, bias, finish, c, add);
    } else if constexpr (L == TN) {
        MatrixAlongRows<T, T::M, 4> la(a, g.m, row0, g.m, begin, end);
        MatrixAlongRows<T, T::N, 4> lb(b, g.n, column0, g.n, begin, end);
        finish_product<T>(g, la, lb, begin, end, bias, finish, c, add);
    } else {
        MatrixAny<T, T::M> la(a, g.transpose_a ? 1 : g.k, g.transpose_a ? g.m : 1, row0, g.m, begin, end);
        MatrixAny<T, T::N> lb(b, g.transpose_b ? g.k : 1, g.transpose_b ? 1 : g.n, column0, g.n, begin, end);
        finish_product<T>(g, la, lb, begin, end, bias, finish, c, add);
    }
}

#define KERNEL(TILE, tile, LAYOUT, layout)                                                                               \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) gemm_##layout##_##tile(                                  \
        ProductGeometry g, const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ bias,     \
        Finish finish, float* __restrict__ c, int part_steps, int add) {                                                 \
        product<TILE, LAYOUT>(g, a, b, bias, finish, c, part_steps, add);                                                \
    }
#define KERNELS(TILE, tile)         \
    KERNEL(TILE, tile, NN, nn)      \
    KERNEL(TILE, tile, NT, nt)      \
    KERNEL(TILE, tile, TN, tn)      \
    KERNEL(TILE, tile, ANY, any)
KERNELS(Large, large)
KERNELS(Small, small)
