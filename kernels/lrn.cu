// Response normalisation: y = x·s^−beta, s = k + alpha·Σ seen² over a window of maps or of places, clipped to the image.
//
// Across maps, where `seen` is x and the window no larger than HALO + 1 channels: a block takes TILE consecutive elements,
// wherever places begin and end among them, and as many on both sides as windows reach, in shared memory. Where channels are
// a multiple of four and windows no larger than 9, a thread makes four neighbours at once: what their windows hold lies in
// three vectors. Otherwise it makes one at a time, and a warp's windows read 32 neighbours. Backward makes s again, and t =
// dy·x·s^(−beta − 1) of the tile and its surroundings beside it, then sums t over the windows that hold an element: the
// mirrored window. Bytes: forward x + y, backward x + dy + dx, 6 % more for the surroundings, which come from L2. AlexNet's
// 128×55×55×96: 297 MB forward, 89 µs at 3.35 TB/s; backward 446 MB, 133 µs.
//
// Any other window by the any_ kernels: a thread takes four neighbouring channels of up to four rows; each row of cells that
// it reads is summed once and added to the rows whose windows hold it, so that a window of size² cells costs
// size·(size + 3)/4 loads from L1 a result. Backward is two passes, with t in scratch: x + dy + dx + t, then t + x + 2·dx.
#include "common.cuh"

constexpr int THREADS = 256, EACH = 4, TILE = THREADS * EACH, HALO = 32;

// s^−beta. The usual powers are roots; any other one is off by about a unit in the last place for each unit of
// beta·|log s|.
__device__ __forceinline__ float power(float s, float beta) {
    if (beta == 0.75f) {
        const float root = rsqrtf(s);
        return root * sqrtf(root);
    }
    if (beta == 0.5f) return rsqrtf(s);
    if (beta == 1.0f) return 1 / s;
    return exp2f(-beta * log2f(s));
}

// The cells along an axis of `cells` that the window of `at` holds, or, mirrored, whose windows hold it: [begin, end).
struct Cells {
    int begin, end;
    __device__ Cells(int at, int cells, int size, bool mirrored) {
        begin = at - (mirrored ? size - size / 2 - 1 : size / 2);
        end = min(begin + size, cells);
        begin = max(begin, 0);
    }
    // The channels of a window across maps.
    __device__ static Cells channels(const LrnGeometry& g, int c, bool mirrored) {
        Cells cells(c, g.c, g.size, mirrored);
        if (g.blocked) {
            cells.begin = c / g.size * g.size;
            cells.end = min(cells.begin + g.size, g.c);
        }
        return cells;
    }
};

// x[first − HALO … first + TILE + HALO) into shared memory, 0 outside the tensor.
__device__ __forceinline__ void load_tile(long long first, long long count, int vector, const float* __restrict__ x,
                                          float* tile) {
    if (vector && first >= HALO && first + TILE + HALO <= count) {
        for (int i = threadIdx.x * 4; i < TILE + 2 * HALO; i += THREADS * 4) store<4>(tile + i, load<4>(x + first - HALO + i));
    } else {
        for (int i = threadIdx.x; i < TILE + 2 * HALO; i += THREADS) {
            const long long at = first - HALO + i;
            tile[i] = at >= 0 && at < count ? x[at] : 0.0f;
        }
    }
}

// Σ of(tile) over the windows of the tile's elements i … i + W − 1, of which the first has channel c. Windows of elements
// that nobody asks for may reach out of the tile: they are cut off there.
template <int W, class Of>
__device__ __forceinline__ Vector<W> window_sums(const LrnGeometry& g, const float* tile, int i, int c, bool mirrored, Of of) {
    Vector<W> sum = {};
    if constexpr (W == 1) {
        const Cells window = Cells::channels(g, c, mirrored);
        const int begin = max(i - c + window.begin, -HALO), end = min(i - c + window.end, TILE + HALO);
        for (int j = begin; j < end; ++j) sum.v[0] += of(tile[HALO + j]);
    } else {
        // Neighbours of another place are left out: places begin at vectors.
        const Vector<4> none = {}, before = c >= 4 ? load<4>(tile + HALO + i - 4) : none, own = load<4>(tile + HALO + i),
                        after = c + 4 < g.c ? load<4>(tile + HALO + i + 4) : none;
        float near[12];
#pragma unroll
        for (int j = 0; j < 4; ++j) near[j] = of(before.v[j]), near[4 + j] = of(own.v[j]), near[8 + j] = of(after.v[j]);
        const int first = mirrored ? g.size / 2 + 1 - g.size : -(g.size / 2), last = first + g.size - 1;
#pragma unroll
        for (int k = -4; k <= 4; ++k) {
            if (k < first || k > last) continue;
#pragma unroll
            for (int j = 0; j < 4; ++j) sum.v[j] += near[4 + j + k];
        }
    }
    return sum;
}

struct Square {
    __device__ float operator()(float x) const { return x * x; }
};
struct Itself {
    __device__ float operator()(float x) const { return x; }
};

// Whether a thread makes four neighbours at once.
__device__ __forceinline__ bool by_fours(const LrnGeometry& g, int vector) {
    return vector && g.c % 4 == 0 && !g.blocked && g.size <= 9;
}

template <int W>
__device__ __forceinline__ void across_forward(const LrnGeometry& g, float alpha, float beta, float k, const float* tile,
                                               long long first, long long count, float* __restrict__ y) {
    const int channel = first % g.c;
#pragma unroll
    for (int e = 0; e < EACH / W; ++e) {
        const int i = (e * THREADS + threadIdx.x) * W;
        if (first + i >= count) break;
        const Vector<W> sum = window_sums<W>(g, tile, i, (channel + i) % g.c, false, Square{});
        Vector<W> v = load<W>(tile + HALO + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] *= power(k + alpha * sum.v[j], beta);
        store<W>(y + first + i, v);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
lrn_across_forward(LrnGeometry g, float alpha, float beta, float k, int vector, const float* __restrict__ x,
                   float* __restrict__ y) {
    __shared__ alignas(16) float tile[TILE + 2 * HALO];
    const long long count = (long long)g.n * g.h * g.w * g.c, first = (long long)blockIdx.x * TILE;
    load_tile(first, count, vector, x, tile);
    __syncthreads();
    if (by_fours(g, vector)) {
        across_forward<4>(g, alpha, beta, k, tile, first, count, y);
    } else {
        across_forward<1>(g, alpha, beta, k, tile, first, count, y);
    }
}

template <int W>
__device__ __forceinline__ void across_backward(const LrnGeometry& g, float alpha, float beta, float k, const float* tile,
                                                float* ts, long long first, long long count, const float* __restrict__ dy,
                                                float* __restrict__ dx, int add) {
    // A channel that is not negative for the surroundings before the tile.
    const int channel = (first % g.c + (long long)HALO * g.c - HALO) % g.c;
    const auto channel_of = [&](int i) { return (channel + HALO + i) % g.c; };
    // t of the elements from i on; answers dy·s^−beta.
    const auto respond = [&](int i) {
        const Vector<W> sum = window_sums<W>(g, tile, i, channel_of(i), false, Square{}), seen = load<W>(tile + HALO + i);
        Vector<W> d = load<W>(dy + first + i), t;
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const float s = k + alpha * sum.v[j];
            d.v[j] *= power(s, beta);
            t.v[j] = d.v[j] * seen.v[j] / s;
        }
        store<W>(ts + HALO + i, t);
        return d;
    };
    Vector<W> direct[EACH / W];
#pragma unroll
    for (int e = 0; e < EACH / W; ++e) {
        const int i = (e * THREADS + threadIdx.x) * W;
        direct[e] = first + i < count ? respond(i) : Vector<W>{};
    }
    if (threadIdx.x < 2 * HALO / W) {
        const int j = threadIdx.x * W, i = j < HALO ? j - HALO : TILE + j - HALO;
        if (i + W - 1 > -g.size && i < TILE + g.size && first + i >= 0 && first + i < count) respond(i);
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < EACH / W; ++e) {
        const int i = (e * THREADS + threadIdx.x) * W;
        if (first + i >= count) break;
        const Vector<W> sum = window_sums<W>(g, ts, i, channel_of(i), true, Itself{}), seen = load<W>(tile + HALO + i);
#pragma unroll
        for (int j = 0; j < W; ++j) direct[e].v[j] -= 2 * alpha * beta * seen.v[j] * sum.v[j];
        put<W>(dx + first + i, direct[e], add);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
lrn_across_backward(LrnGeometry g, float alpha, float beta, float k, int vector, const float* __restrict__ x,
                    const float* __restrict__ dy, float* __restrict__ dx, int add) {
    __shared__ alignas(16) float tile[TILE + 2 * HALO], ts[TILE + 2 * HALO];
    const long long count = (long long)g.n * g.h * g.w * g.c, first = (long long)blockIdx.x * TILE;
    load_tile(first, count, vector, x, tile);
    __syncthreads();
    if (by_fours(g, vector)) {
        across_backward<4>(g, alpha, beta, k, tile, ts, first, count, dy, dx, add);
    } else {
        across_backward<1>(g, alpha, beta, k, tile, ts, first, count, dy, dx, add);
    }
}

constexpr int ROWS = 4;

// Calls use(Width<W>, i, sum) for every element (W neighbouring channels) with the sum of `of(x)` over its window.
template <class Of, class Use>
__device__ __forceinline__ void for_windows(const LrnGeometry& g, bool mirrored, int vector, const float* __restrict__ x, Of of,
                                            Use use) {
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x, step = (long long)gridDim.x * blockDim.x;
    if (!g.within) {
        const long long count = (long long)g.n * g.h * g.w * g.c;
        for (long long i = thread; i < count; i += step) {
            const int c = i % g.c;
            const Cells window = Cells::channels(g, c, mirrored);
            Vector<1> sum = {};
            for (int j = window.begin; j < window.end; ++j) sum.v[0] += of(x[i - c + j]);
            use(Width<1>{}, i, sum);
        }
        return;
    }
    const auto strips = [&](auto width) {
        constexpr int W = decltype(width)::value;
        const int per_row = g.w * g.c / W, per_image = (g.h + ROWS - 1) / ROWS * per_row;
        const long long count = (long long)g.n * per_image;
        for (long long i = thread; i < count; i += step) {
            const int strip = i % per_image, first = strip / per_row * ROWS, at = strip % per_row * W;
            const int rows = min(ROWS, g.h - first);
            const long long image = i / per_image * g.h * g.w * g.c;
            const Cells columns(at / g.c, g.w, g.size, mirrored);
            const Cells top(first, g.h, g.size, mirrored), bottom(first + rows - 1, g.h, g.size, mirrored);
            const int before = mirrored ? g.size - g.size / 2 - 1 : g.size / 2;
            Vector<W> sum[ROWS] = {};
            for (int h = top.begin; h < bottom.end; ++h) {
                const float* p = x + image + (long long)h * g.w * g.c + at % g.c;
                Vector<W> row = {};
                for (int w = columns.begin; w < columns.end; ++w) {
                    const Vector<W> v = load<W>(p + w * g.c);
#pragma unroll
                    for (int j = 0; j < W; ++j) row.v[j] += of(v.v[j]);
                }
#pragma unroll
                for (int r = 0; r < ROWS; ++r) {
                    const int offset = h - (first + r - before);
                    if (offset >= 0 && offset < g.size) {
#pragma unroll
                        for (int j = 0; j < W; ++j) sum[r].v[j] += row.v[j];
                    }
                }
            }
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                if (r < rows) use(width, image + (long long)(first + r) * g.w * g.c + at, sum[r]);
            }
        }
    };
    if (vector) {
        strips(Width<4>{});
    } else {
        strips(Width<1>{});
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
lrn_any_forward(LrnGeometry g, float alpha, float beta, float k, int vector, const float* __restrict__ x,
                const float* __restrict__ seen, float* __restrict__ y) {
    for_windows(g, false, vector, seen, Square{}, [&](auto width, long long i, const auto& sum) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] *= power(k + alpha * sum.v[j], beta);
        store<W>(y + i, v);
    });
}

// dx ← dy·s^−beta, or dx += …, and t ← dy·x·s^(−beta − 1).
extern "C" __global__ void __launch_bounds__(256, 2)
lrn_any_respond(LrnGeometry g, float alpha, float beta, float k, int vector, const float* __restrict__ x,
                const float* __restrict__ seen, const float* __restrict__ dy, float* __restrict__ dx, int add,
                float* __restrict__ t) {
    for_windows(g, false, vector, seen, Square{}, [&](auto width, long long i, const auto& sum) {
        constexpr int W = decltype(width)::value;
        const Vector<W> v = load<W>(x + i);
        Vector<W> d = load<W>(dy + i), u;
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const float s = k + alpha * sum.v[j];
            d.v[j] *= power(s, beta);
            u.v[j] = d.v[j] * v.v[j] / s;
        }
        put<W>(dx + i, d, add);
        store<W>(t + i, u);
    });
}

// d ← factor·seen·Σ t over the windows that hold an element, or d += ….
extern "C" __global__ void __launch_bounds__(256, 2)
lrn_any_backward(LrnGeometry g, float factor, int vector, const float* __restrict__ seen, const float* __restrict__ t,
                 float* __restrict__ d, int add) {
    for_windows(g, true, vector, t, Itself{}, [&](auto width, long long i, const auto& sum) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(seen + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] *= factor * sum.v[j];
        put<W>(d + i, v, add);
    });
}
