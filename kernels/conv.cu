// Convolution by implicit matrix products: forward, image gradient, filter gradient. All strides, paddings, dilations and
// groups; f32 throughout.
//
//            C[m][n]             m             n            k (the sum)          A[m][k]          B[n][k]
//   forward  y                   n,p,q         filter       r,s,c                x, gathered      w as it lies
//   image    dx                  n,h,w         c            r,s,filter           dy, gathered     w, c fastest
//   filters  dw                  filter        r,s,c        n,p,q                dy as it lies    x, gathered
//
// The matrices are never made: a loader finds its elements in the image while the tile before is computed (tile.cuh). k is
// walked by adding Tile::K to a mixed-radix counter such as (r, s, c), whose digits carry by compare and subtract; nothing is
// divided inside the loop. With c/groups (and, backwards, k/groups) a multiple of 4 every access has 16 bytes ("vector");
// otherwise the same walk goes by single floats ("scalar").
//
// The image gradient meets, with stride t, only every t-th tap of the filter at a given place. Places are therefore sorted
// by phase, (h mod stride_h, w mod stride_w), one a grid layer: within a phase the taps that count are the same for all and
// evenly spaced, so that it is a convolution with fewer taps, and nothing is multiplied by a zero of the stride's making.
//
// The filter gradient sums over all images and places, but has few rows and columns: grid layers split the sum into parts,
// each a whole number of steps, which parts.cu adds up in their order.
//
// FLOPs: 2·n·p·q·k·r·s·c/groups each. Bytes, at best: each tensor once; a tile of M × N re-reads A N-wise k/N times and B
// M-wise (n·p·q)/M times, mostly from L2. Floor on an H100 (67 TFLOP/s f32, 3.35 TB/s), VGG's 128×56×56×256, 3×3: 237 GFLOP,
// 3.5 ms; 0.82 GB, 0.25 ms: bound by arithmetic.
#include "counter.cuh"
#include "tile.cuh"
#include "windows.cuh"

// The loader of gathered windows with k = (tap row, tap column, channel): A of forward and of the image gradient.
template <class T, int ROWS, int W>
struct WindowsAlongK : AlongK<T, ROWS, W> {
    const float* images;
    Windows g;
    Counter k;
    long long origin[AlongK<T, ROWS, W>::PASSES];
    int top[AlongK<T, ROWS, W>::PASSES], left[AlongK<T, ROWS, W>::PASSES];

    // `place(row, image, top, left)` answers the row's image and the cell of its first tap, false for rows past the last.
    template <class PlaceOf>
    __device__ WindowsAlongK(const float* images_, const Windows& g_, PlaceOf place)
        : images(images_), g(g_), k(this->first_k(), T::K, g_.taps_w, g_.depth) {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            int image = 0;
            if (!place(this->row(pass), image, top[pass], left[pass])) image = 0, top[pass] = -(1 << 30), left[pass] = 0;
            origin[pass] = (long long)image * g.height * g.width * g.pitch;
        }
    }
    __device__ void fetch() {
        const int down = k.high * g.step_h, right = k.middle * g.step_w;
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            const int y = top[pass] + down, x = left[pass] + right;
            const bool inside = (unsigned)y < (unsigned)g.height && (unsigned)x < (unsigned)g.width && k.high < g.taps_h;
            this->value[pass] = {};
            if (inside) this->value[pass] = load<W>(images + origin[pass] + ((y * g.width + x) * g.pitch + k.low));
        }
    }
    __device__ void advance() { k.advance(); }
};

// B of the image gradient: filters with k = (tap row, tap column, filter), c fastest.
template <class T, int ROWS, int W>
struct FiltersAlongC : AlongRows<T, ROWS, W> {
    static constexpr int PASSES = AlongRows<T, ROWS, W>::PASSES;
    const float* at;
    int taps_h, row_pitch, column_pitch;
    long long filter_pitch;
    bool inside;
    Counter k;
    int pass_k[PASSES][3];

    // `filters` is the group's first, at the phase's first tap; depth its number of filters.
    __device__ FiltersAlongC(const float* filters, int channels, int first_channel, int taps_h_, int taps_w, int depth,
                             int row_pitch_, int column_pitch_, long long filter_pitch_)
        : taps_h(taps_h_), row_pitch(row_pitch_), column_pitch(column_pitch_), filter_pitch(filter_pitch_),
          k(0, T::K, taps_w, depth) {
        inside = first_channel + this->row() < channels;
        at = filters + first_channel + this->row();
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const Counter c(this->k_of(pass), T::K, taps_w, depth);
            pass_k[pass][0] = c.high, pass_k[pass][1] = c.middle, pass_k[pass][2] = c.low;
        }
    }
    __device__ static int k_of(int pass) { return AlongRows<T, ROWS, W>::k(pass); }
    __device__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const int(&d)[3] = pass_k[pass];
            this->value[pass] = {};
            if (inside && d[0] < taps_h)
                this->value[pass] = load<W>(at + d[2] * filter_pitch + (d[0] * row_pitch + d[1] * column_pitch));
        }
    }
    __device__ void advance() {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            k.high = pass_k[pass][0], k.middle = pass_k[pass][1], k.low = pass_k[pass][2];
            k.advance();
            pass_k[pass][0] = k.high, pass_k[pass][1] = k.middle, pass_k[pass][2] = k.low;
        }
    }
};

// B of the filter gradient: the input under each output, with k = (n, p, q), rows (r, s, c), c fastest.
template <class T, int ROWS, int W>
struct WindowsAlongRows : AlongRows<T, ROWS, W> {
    static constexpr int PASSES = AlongRows<T, ROWS, W>::PASSES;
    const float* at;
    int height, width, pitch, stride_h, stride_w, down, right;
    int left;
    Counter k;
    int pass_k[PASSES][3];

    __device__ WindowsAlongRows(const ConvGeometry& g, const float* x, int first_row, int group, int k_begin, int k_end)
        : height(g.h), width(g.w), pitch(g.c), stride_h(g.stride_h), stride_w(g.stride_w), k(0, T::K, g.p, g.q) {
        const int channels = g.c / g.groups, row = first_row + this->row();
        const int r = row / channels / g.s, s = row / channels % g.s;
        down = r < g.r ? r * g.dilation_h - g.padding_h : -(1 << 30);
        right = s * g.dilation_w - g.padding_w;
        at = x + group * channels + row % channels;
        left = k_end - k_begin;
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const Counter c(k_begin + AlongRows<T, ROWS, W>::k(pass), T::K, g.p, g.q);
            pass_k[pass][0] = c.high, pass_k[pass][1] = c.middle, pass_k[pass][2] = c.low;
        }
    }
    __device__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const int(&d)[3] = pass_k[pass];
            const int y = d[1] * stride_h + down, x = d[2] * stride_w + right;
            const bool inside = (unsigned)y < (unsigned)height && (unsigned)x < (unsigned)width;
            this->value[pass] = {};
            if (inside && AlongRows<T, ROWS, W>::k(pass) < left)
                this->value[pass] = load<W>(at + ((long long)d[0] * height + y) * width * pitch + x * pitch);
        }
    }
    __device__ void advance() {
        left -= T::K;
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            k.high = pass_k[pass][0], k.middle = pass_k[pass][1], k.low = pass_k[pass][2];
            k.advance();
            pass_k[pass][0] = k.high, pass_k[pass][1] = k.middle, pass_k[pass][2] = k.low;
        }
    }
};

// y ← finish(x ∗ w + bias). Grid: tiles of n·p·q, tiles of the group's filters, groups. bias may be null; bias_pitch is 0
// for biases shared by all places, k for untied ones. Places of y lie y_pitch apart, as those of dy do dy_pitch below.
template <class T, int W>
__device__ __forceinline__ void forward(const ConvGeometry& g, const float* __restrict__ x, const float* __restrict__ w,
                                        const float* __restrict__ bias, int bias_pitch, const Finish& finish,
                                        float* __restrict__ y, int y_pitch) {
    const int places = g.p * g.q, rows = g.n * places;
    const int channels = g.c / g.groups, filters = g.k / g.groups, depth = g.r * g.s * channels;
    const int row0 = blockIdx.x * T::M, filter0 = blockIdx.y * T::N, group = blockIdx.z;

    const Windows windows = {g.h, g.w, g.c, channels, g.r, g.s, g.dilation_h, g.dilation_w};
    WindowsAlongK<T, T::M, W> a(x + group * channels, windows, [&](int row, int& image, int& top, int& left) {
        const int m = row0 + row, place = m % places;
        image = m / places;
        top = place / g.q * g.stride_h - g.padding_h;
        left = place % g.q * g.stride_w - g.padding_w;
        return m < rows;
    });
    MatrixAlongK<T, T::N, W> b(w + (long long)group * filters * depth, depth, filter0, filters, 0, depth);
    float sum[T::TM][T::TN];
    multiply<T>(a, b, (depth + T::K - 1) / T::K, sum);

    const int vector = filters % 4 == 0 && y_pitch % 4 == 0 && on_16_bytes(y);
    for_each_fragment<T>(sum, [&](int row, int column, Vector<4> v) {
        const int m = row0 + row, count = filters - filter0 - column;
        if (m >= rows || count <= 0) return;
        const int k = group * filters + filter0 + column;
        const float* const b0 = bias + (bias_pitch ? (long long)(m % places) * bias_pitch : 0) + k;
#pragma unroll
        for (int i = 0; i < 4; ++i) v.v[i] = finish(v.v[i] + (bias && i < count ? b0[i] : 0.0f));
        put_fragment(y + (long long)m * y_pitch + k, v, count, vector, false);
    });
}

// dx ← dy ∗ᵀ w, or dx += …, times the derivative of the relu whose output is `seen` where that is not null. Grid: tiles of n · a
// phase's places, tiles of the group's channels, groups · phases.
template <class T, int W>
__device__ __forceinline__ void backward_image(const ConvGeometry& g, const float* __restrict__ dy, int dy_pitch,
                                               const float* __restrict__ w, float* __restrict__ dx, int add,
                                               const float* __restrict__ seen) {
    const int channels = g.c / g.groups, filters = g.k / g.groups;
    const int group = blockIdx.z % g.groups, phase = blockIdx.z / g.groups;
    const Phase h(phase / g.stride_w, g.h, g.r, g.stride_h, g.padding_h, g.dilation_h);
    const Phase v(phase % g.stride_w, g.w, g.s, g.stride_w, g.padding_w, g.dilation_w);
    const int places = h.cells * v.cells, rows = g.n * places;
    const int row0 = blockIdx.x * T::M, channel0 = blockIdx.y * T::N;
    if (row0 >= rows) return;  // the grid is made for the largest phase

    const Windows windows = {g.p, g.q, dy_pitch, filters, h.taps, max(v.taps, 1), -h.back, -v.back};
    const int taps = h.taps * v.taps;
    WindowsAlongK<T, T::M, W> a(dy + group * filters, windows, [&](int row, int& image, int& top, int& left) {
        const int m = row0 + row, place = m % places;
        image = m / places;
        top = h.origin + place / v.cells;
        left = v.origin + place % v.cells;
        return m < rows;
    });
    const float* const first_tap = w + ((long long)group * filters * g.r * g.s + h.tap * g.s + v.tap) * channels;
    FiltersAlongC<T, T::N, W> b(first_tap, channels, channel0, h.taps, max(v.taps, 1), filters,
                                h.tap_step * g.s * channels, v.tap_step * channels, (long long)g.r * g.s * channels);
    float sum[T::TM][T::TN];
    multiply<T>(a, b, (taps * filters + T::K - 1) / T::K, sum);

    const int vector = channels % 4 == 0 && on_16_bytes(dx) && on_16_bytes(seen);
    for_each_fragment<T>(sum, [&](int row, int column, const Vector<4>& x) {
        const int m = row0 + row, count = channels - channel0 - column;
        if (m >= rows || count <= 0) return;
        const int place = m % places;
        const int y = h.first + place / v.cells * g.stride_h, z = v.first + place % v.cells * g.stride_w;
        const long long cell = ((long long)(m / places) * g.h + y) * g.w + z, i = cell * g.c + group * channels + channel0 + column;
        put_fragment(dx + i, x, count, vector, add, seen ? seen + i : nullptr);
    });
}

// dw ← Σ dy·x over a part of the images and places, into the part's own copy of dw. Grid: tiles of the group's filters,
// tiles of r·s·c/groups, groups · parts; a part is part_steps steps long.
template <class T, int W>
__device__ __forceinline__ void backward_filters(const ConvGeometry& g, const float* __restrict__ x,
                                                 const float* __restrict__ dy, int dy_pitch, float* __restrict__ dw,
                                                 int part_steps, int add) {
    const int channels = g.c / g.groups, filters = g.k / g.groups, depth = g.r * g.s * channels, all = g.n * g.p * g.q;
    const int filter0 = blockIdx.x * T::M, column0 = blockIdx.y * T::N;
    const int group = blockIdx.z % g.groups, part = blockIdx.z / g.groups;
    const int begin = part * part_steps * T::K, end = min(all, begin + part_steps * T::K);

    MatrixAlongRows<T, T::M, W> a(dy + group * filters, dy_pitch, filter0, filters, begin, end);
    WindowsAlongRows<T, T::N, W> b(g, x, column0, group, begin, end);
    float sum[T::TM][T::TN];
    multiply<T>(a, b, (end - begin + T::K - 1) / T::K, sum);

    float* const out = dw + (long long)part * g.k * depth;
    const int vector = channels % 4 == 0 && on_16_bytes(dw);
    for_each_fragment<T>(sum, [&](int row, int column, const Vector<4>& v) {
        const int filter = filter0 + row, count = depth - column0 - column;
        if (filter >= filters || count <= 0) return;
        put_fragment(out + (long long)(group * filters + filter) * depth + column0 + column, v, count, vector, add);
    });
}

#define KERNELS(TILE, tile, W, access)                                                                                   \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) conv_forward_##tile##_##access(                          \
        ConvGeometry g, const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,        \
        int bias_pitch, Finish finish, float* __restrict__ y, int y_pitch) {                                             \
        forward<TILE, W>(g, x, w, bias, bias_pitch, finish, y, y_pitch);                                                 \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) conv_backward_image_##tile##_##access(                   \
        ConvGeometry g, const float* __restrict__ dy, int dy_pitch, const float* __restrict__ w,                         \
        float* __restrict__ dx, int add, const float* __restrict__ seen) {                                               \
        backward_image<TILE, W>(g, dy, dy_pitch, w, dx, add, seen);                                                      \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) conv_backward_filters_##tile##_##access(                 \
        ConvGeometry g, const float* __restrict__ x, const float* __restrict__ dy, int dy_pitch,                         \
        float* __restrict__ dw, int part_steps, int add) {                                                               \
        backward_filters<TILE, W>(g, x, dy, dy_pitch, dw, part_steps, add);                                              \
    }
KERNELS(Large, large, 4, vector)
KERNELS(Large, large, 1, scalar)
KERNELS(Small, small, 4, vector)
KERNELS(Small, small, 1, scalar)
