// Pools: the maximum, the mean or the root of the sum of squares of each window, clipped to the image. A mean divides by the
// cells that are left.
//
// Forward, a thread makes one output, or four channels of it by 16-byte accesses: a warp reads and writes whole lines; each
// x is read (size/stride)² times, from L1 after the first. Backward, a thread makes one cell of dx (or four channels of it)
// and visits the (size/stride)² windows that hold it, so that nothing is added atomically. For a maximum it must know which
// is a window's first largest cell. Where a cell lies in two windows along an axis at most, a thread makes stride × stride
// cells, and looks once through each window that holds any of them; otherwise it looks through each of its cell's windows until
// a cell beats its own.
//
// A row of blocks takes an image, so that a thread finds its place by two divisions of 32 bits: with those of 64 bits, and a
// channel a thread, instructions bound these kernels, not memory.
//
// Bytes, at best: forward x + y; backward dx + dy, and x for a maximum or a relu, x and y for a root. AlexNet's 128×55×55×96, size 3,
// stride 2: 149 MB + 36 MB, 55 µs at 3.35 TB/s.
#include "common.cuh"

enum Kind { MAX, AVG, L2 };

// A window's cells along one axis: [begin, end), clipped to the image. A stride of 0 divides the axis evenly.
struct Range {
    int begin, end;
    __device__ Range(int window, int windows, int size, int stride, int start, int cells) {
        if (stride == 0) {
            begin = (long long)window * cells / windows;
            end = ((window + 1ll) * cells + windows - 1) / windows;
        } else {
            begin = start + window * stride;
            end = min(begin + size, cells);
            begin = max(begin, 0);
        }
    }
};

// The windows along one axis that hold a cell: [begin, end).
struct Holders {
    int begin, end;
    __device__ Holders(int cell, int cells, int size, int stride, int start, int windows) {
        if (stride == 0) {
            begin = (long long)cell * windows / cells;
            end = ((cell + 1ll) * windows + cells - 1) / cells;
        } else {
            const int offset = cell - start;  // window i covers offsets i·stride … i·stride + size − 1
            begin = offset < size ? 0 : (offset - size) / stride + 1;
            end = offset < 0 ? 0 : min(windows, offset / stride + 1);
        }
    }
};

// Calls f(image, i) for every image and each of its `items`: the grid is as wide as an image, and as high as there are images.
template <class F>
__device__ __forceinline__ void for_each_image(int images, unsigned items, F f) {
    for (int n = blockIdx.y; n < images; n += gridDim.y)
        for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < items; i += gridDim.x * blockDim.x) f(n, i);
}

template <Kind KIND, int W>
__device__ __forceinline__ void forward(const PoolGeometry& g, const float* __restrict__ x, float* __restrict__ y) {
    const unsigned vectors = g.c / W, outputs = g.p * g.q * vectors;
    for_each_image(g.n, outputs, [&](int n, unsigned i) {
        const unsigned place = i / vectors, c = (i - place * vectors) * W;
        const int p = place / g.q, q = place - p * g.q;
        const Range rows(p, g.p, g.size_h, g.stride_h, g.start_h, g.h);
        const Range columns(q, g.q, g.size_w, g.stride_w, g.start_w, g.w);
        const float* image = x + (long long)n * g.h * g.w * g.c + c;
        const int cells = max(rows.end - rows.begin, 0) * max(columns.end - columns.begin, 0);
        Vector<W> value = {};
        if (KIND == MAX && cells > 0) value = load<W>(image + (rows.begin * g.w + columns.begin) * g.c);
        for (int h = rows.begin; h < rows.end; ++h) {
            for (int w = columns.begin; w < columns.end; ++w) {
                const Vector<W> v = load<W>(image + (h * g.w + w) * g.c);
#pragma unroll
                for (int j = 0; j < W; ++j) {
                    if (KIND == MAX) {
                        value.v[j] = v.v[j] > value.v[j] ? v.v[j] : value.v[j];
                    } else {
                        value.v[j] += KIND == L2 ? v.v[j] * v.v[j] : v.v[j];
                    }
                }
            }
        }
#pragma unroll
        for (int j = 0; j < W; ++j) {
            if (KIND == AVG) value.v[j] /= max(1, cells);
            if (KIND == L2) value.v[j] = sqrtf(value.v[j]);
        }
        store<W>(y + (long long)n * g.p * g.q * g.c + i * W, value);
    });
}

template <Kind KIND, int W>
__device__ __forceinline__ void backward(const PoolGeometry& g, const float* __restrict__ x, const float* __restrict__ y,
                                         const float* __restrict__ dy, float* __restrict__ dx, int add,
                                         const float* __restrict__ seen) {
    const unsigned vectors = g.c / W, inputs = g.h * g.w * vectors;
    for_each_image(g.n, inputs, [&](int n, unsigned i) {
        const unsigned cell = i / vectors, c = (i - cell * vectors) * W;
        const int h = cell / g.w, w = cell - h * g.w;
        const long long in = (long long)n * g.h * g.w * g.c, out = (long long)n * g.p * g.q * g.c + c;
        const float* image = x + in + c;
        const Holders ps(h, g.h, g.size_h, g.stride_h, g.start_h, g.p), qs(w, g.w, g.size_w, g.stride_w, g.start_w, g.q);
        Vector<W> mine = {}, gradient = {};
        if (KIND != AVG) mine = load<W>(x + in + i * W);
        for (int p = ps.begin; p < ps.end; ++p) {
            const Range rows(p, g.p, g.size_h, g.stride_h, g.start_h, g.h);
            // A row has few windows that hold a cell: an unrolled loop would spend more on its set-up than it saves.
#pragma unroll 1
            for (int q = qs.begin; q < qs.end; ++q) {
                const Range columns(q, g.q, g.size_w, g.stride_w, g.start_w, g.w);
                const int output = (p * g.q + q) * g.c;
                const Vector<W> d = load<W>(dy + out + output);
                if (KIND == MAX) {
                    bool largest[W], any = true;
#pragma unroll
                    for (int j = 0; j < W; ++j) largest[j] = true;
                    for (int r = rows.begin; r < rows.end && any; ++r) {
                        for (int s = columns.begin; s < columns.end && any; ++s) {
                            const Vector<W> v = load<W>(image + (r * g.w + s) * g.c);
                            const bool before = r < h || (r == h && s < w);
                            any = false;
#pragma unroll
                            for (int j = 0; j < W; ++j) {
                                largest[j] &= before ? v.v[j] < mine.v[j] : v.v[j] <= mine.v[j];
                                any |= largest[j];
                            }
                        }
                    }
#pragma unroll
                    for (int j = 0; j < W; ++j) gradient.v[j] += largest[j] ? d.v[j] : 0.0f;
                } else if (KIND == AVG) {
                    const float share = 1.0f / ((rows.end - rows.begin) * (columns.end - columns.begin));
#pragma unroll
                    for (int j = 0; j < W; ++j) gradient.v[j] += d.v[j] * share;
                } else {
                    const Vector<W> root = load<W>(y + out + output);
#pragma unroll
                    for (int j = 0; j < W; ++j)
                        if (root.v[j] > 0) gradient.v[j] += mine.v[j] * (d.v[j] / root.v[j]);
                }
            }
        }
        put<W>(dx + in + i * W, gradient, add, seen ? seen + in + i * W : nullptr);
    });
}

// The largest number of windows along an axis that hold a cell, for backward_owned.
constexpr int HELD = 2;

// Whether no cell lies in more than HELD windows along an axis, nor before the first one.
__device__ __forceinline__ bool held_by_few(int size, int stride, int start) {
    return stride > 0 && size <= HELD * stride && start <= 0;
}

// dx of a maximum: a thread owns the stride × stride cells (or four channels of them) from a window's first one on. The
// windows that hold any of them are this one and those before it.
template <int W>
__device__ __forceinline__ void backward_owned(const PoolGeometry& g, const float* __restrict__ x, const float* __restrict__ dy,
                                               float* __restrict__ dx, int add, const float* __restrict__ seen) {
    // So that what Range does without a stride is left out.
    __builtin_assume(g.stride_h > 0);
    __builtin_assume(g.stride_w > 0);
    const int tiles_h = (g.h - g.start_h + g.stride_h - 1) / g.stride_h;
    const int tiles_w = (g.w - g.start_w + g.stride_w - 1) / g.stride_w;
    const unsigned vectors = g.c / W;
    for_each_image(g.n, tiles_h * tiles_w * vectors, [&](int n, unsigned i) {
        const unsigned tile = i / vectors, c = (i - tile * vectors) * W;
        const int tile_h = tile / tiles_w, tile_w = tile - tile_h * tiles_w;
        const long long in = (long long)n * g.h * g.w * g.c + c, out = (long long)n * g.p * g.q * g.c + c;
        int winner[HELD][HELD][W];
        Vector<W> d[HELD][HELD] = {};
#pragma unroll
        for (int a = 0; a < HELD; ++a) {
#pragma unroll
            for (int b = 0; b < HELD; ++b) {
#pragma unroll
                for (int j = 0; j < W; ++j) winner[a][b][j] = -1;
                const int p = tile_h - HELD + 1 + a, q = tile_w - HELD + 1 + b;
                if (p < 0 || p >= g.p || q < 0 || q >= g.q) continue;
                const Range rows(p, g.p, g.size_h, g.stride_h, g.start_h, g.h);
                const Range columns(q, g.q, g.size_w, g.stride_w, g.start_w, g.w);
                d[a][b] = load<W>(dy + out + (p * g.q + q) * g.c);
                if (rows.begin >= rows.end || columns.begin >= columns.end) continue;
                int cell = rows.begin * g.w + columns.begin;
                const float* at = x + in + cell * g.c;
                Vector<W> value = load<W>(at);
#pragma unroll
                for (int j = 0; j < W; ++j) winner[a][b][j] = cell;
                const int skipped = g.w - (columns.end - columns.begin);
                for (int h = rows.begin; h < rows.end; ++h, cell += skipped, at += skipped * g.c) {
#pragma unroll 1
                    for (int w = columns.begin; w < columns.end; ++w, ++cell, at += g.c) {
                        const Vector<W> v = load<W>(at);
#pragma unroll
                        for (int j = 0; j < W; ++j) {
                            const bool larger = v.v[j] > value.v[j];
                            winner[a][b][j] = larger ? cell : winner[a][b][j];
                            value.v[j] = larger ? v.v[j] : value.v[j];
                        }
                    }
                }
            }
        }
        const int top = g.start_h + tile_h * g.stride_h, left = g.start_w + tile_w * g.stride_w;
        for (int h = max(top, 0); h < min(top + g.stride_h, g.h); ++h) {
            for (int w = max(left, 0); w < min(left + g.stride_w, g.w); ++w) {
                const int cell = h * g.w + w;
                Vector<W> gradient = {};
#pragma unroll
                for (int a = 0; a < HELD; ++a)
#pragma unroll
                    for (int b = 0; b < HELD; ++b)
#pragma unroll
                        for (int j = 0; j < W; ++j)
                            if (winner[a][b][j] == cell) gradient.v[j] += d[a][b].v[j];
                put<W>(dx + in + cell * g.c, gradient, add, seen ? seen + in + cell * g.c : nullptr);
            }
        }
    });
}

// dx of any pool, by the faster of the two ways where there are two.
template <Kind KIND, int W>
__device__ __forceinline__ void any_backward(const PoolGeometry& g, const float* __restrict__ x, const float* __restrict__ y,
                                             const float* __restrict__ dy, float* __restrict__ dx, int add,
                                             const float* __restrict__ seen) {
    if (KIND == MAX && held_by_few(g.size_h, g.stride_h, g.start_h) && held_by_few(g.size_w, g.stride_w, g.start_w)) {
        backward_owned<W>(g, x, dy, dx, add, seen);
    } else {
        backward<KIND, W>(g, x, y, dy, dx, add, seen);
    }
}

// x and y are null where a kind's gradient does not read them: y of a maximum, both of a mean; `seen` is x where dx is then
// multiplied by the derivative of the relu that made x. Each multiprocessor is asked to hold two or three blocks; with more, ptxas
// spills on some architectures.
#define KERNELS(KIND, kind, BLOCKS)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) pool_##kind##_forward(                                        \
        PoolGeometry g, int vector, const float* __restrict__ x, float* __restrict__ y) {                                   \
        vector ? forward<KIND, 4>(g, x, y) : forward<KIND, 1>(g, x, y);                                                     \
    }                                                                                                                       \
    extern "C" __global__ void __launch_bounds__(256, BLOCKS) pool_##kind##_backward(                                       \
        PoolGeometry g, int vector, const float* __restrict__ x, const float* __restrict__ y, const float* __restrict__ dy, \
        float* __restrict__ dx, int add, const float* __restrict__ seen) {                                                  \
        vector ? any_backward<KIND, 4>(g, x, y, dy, dx, add, seen) : any_backward<KIND, 1>(g, x, y, dy, dx, add, seen);     \
    }
KERNELS(MAX, max, 3)
KERNELS(AVG, avg, 2)
KERNELS(L2, l2, 2)
