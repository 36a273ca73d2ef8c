// Locally connected layers: a convolution whose filters are each place's own, w[place][k][r][s][c/groups]. Forward, image
// gradient, filter gradient; all strides, paddings, dilations and groups; f32 throughout.
//
//            C[m][n]               m        n        k (the sum)        A[m][k]                   B[n][k]
//   forward  y at a place          image    filter   r,s,c              x, the place's window     w of the place
//   image    dx at a cell          image    c        p,q,filter         dy of the places that     w of those places, at the
//                                                                       see the cell              cell's tap, c fastest
//   filters  dw of a place         filter   r,s,c    image              dy at the place           x, the place's window
//
// A block makes the tile of one place (or cell) and group, as tile.cuh has it. Each weight belongs to one place, and to one
// cell: where the batch is no larger than the tile's rows it is read once for all images, else once for every 64 or 128 of
// them, by neighbouring blocks, so that only the first asks the memory. Windows are clipped to the image before the walk,
// rows and columns apart: k runs over taps that count, without a test.
//
// One place alone, the grouped fully connected layer, makes few tiles of a long sum; then grid layers split it into parts of
// whole steps, which parts.cu adds up in their order.
//
// FLOPs: 2·n·p·q·k·r·s·c/groups each. Bytes: the weights once, 4·p·q·k·r·s·c/groups, x (dy) r·s/stride² times from L2. A
// batch of 128 makes 64 FLOPs a byte of weights, where an H100 (67 TFLOP/s f32, 3.35 TB/s) balances 20: 128×6×6×64, 3×3, 64
// filters are 340 MFLOP, 5 µs, and 5 MB, 2 µs; below 40 images the weights' bytes are the bound.
#include "counter.cuh"
#include "tile.cuh"

// The taps of a window along one axis that lie in the image: `count` from `first` on, of which the first sees `cell`.
struct Inside {
    int first, count, cell;

    __device__ Inside(int start, int taps, int dilation, int size) {
        first = start < 0 ? (dilation - 1 - start) / dilation : 0;
        const int end = start < size ? min(taps, (size - 1 - start) / dilation + 1) : 0;
        count = max(end - first, 0);
        cell = start + first * dilation;
    }
};

// The places along one axis that see a cell: place + i·place_step does so through tap − i·tap_step, for i < count.
struct Seen {
    int place, place_step, tap, tap_step, count;

    __device__ Seen(int cell, int places, int taps, int stride, int padding, int dilation) {
        const int at = cell + padding;
        tap_step = 1;
        while (tap_step * dilation % stride != 0) ++tap_step;
        place_step = tap_step * dilation / stride;
        // The last tap that fits sees the first place; of `stride` taps in a row one fits if any does.
        tap = min(taps - 1, at / dilation);
        for (int left = stride; left > 0 && tap >= 0 && (at - tap * dilation) % stride != 0; --left) --tap;
        const bool fits = tap >= 0 && (at - tap * dilation) % stride == 0;
        place = fits ? (at - tap * dilation) / stride : 0;
        count = fits && place < places ? min((places - 1 - place) / place_step, tap / tap_step) + 1 : 0;
    }
};

// A loader of rows `pitch` floats apart, with k = (i, j, channel) at i·high_pitch + j·middle_pitch + channel: images seen
// through a window's taps or at the places around a cell, and filters.
template <class T, int ROWS, int W>
struct WalkAlongK : AlongK<T, ROWS, W> {
    const float* at;
    long long pass_pitch;
    int rows, highs, high_pitch, middle_pitch;
    Counter k;

    __device__ WalkAlongK(const float* data, long long pitch, int first_row, int all_rows, int k_begin, int highs_,
                          int middles, int depth, int high_pitch_, int middle_pitch_)
        : rows(all_rows - first_row), highs(highs_), high_pitch(high_pitch_), middle_pitch(middle_pitch_),
          k(k_begin + this->first_k(), T::K, middles, depth) {
        at = data + (first_row + this->row(0)) * pitch;
        pass_pitch = pitch * this->STEP;
    }
    __device__ void fetch() {
        const int offset = k.high * high_pitch + k.middle * middle_pitch + k.low;
        const bool inside = k.high < highs;
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            this->value[pass] = {};
            if (inside && this->row(pass) < rows) this->value[pass] = load<W>(at + pass * pass_pitch + offset);
        }
    }
    __device__ void advance() { k.advance(); }
};

// B of the image gradient: the filters at the cell's taps, with k = (place row, place column, filter), c fastest.
template <class T, int ROWS, int W>
struct FiltersAlongC : AlongRows<T, ROWS, W> {
    static constexpr int PASSES = AlongRows<T, ROWS, W>::PASSES;
    const float* at;
    long long high_pitch, middle_pitch, filter_pitch;
    int highs;
    bool inside;
    Counter k;
    int pass_k[PASSES][3];

    __device__ FiltersAlongC(const float* first, int first_channel, int channels, int k_begin, int highs_, int middles,
                             int filters, long long high_pitch_, long long middle_pitch_, long long filter_pitch_)
        : high_pitch(high_pitch_), middle_pitch(middle_pitch_), filter_pitch(filter_pitch_), highs(highs_),
          k(0, T::K, middles, filters) {
        inside = first_channel + this->row() < channels;
        at = first + first_channel + this->row();
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const Counter c(k_begin + AlongRows<T, ROWS, W>::k(pass), T::K, middles, filters);
            pass_k[pass][0] = c.high, pass_k[pass][1] = c.middle, pass_k[pass][2] = c.low;
        }
    }
    __device__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const int(&d)[3] = pass_k[pass];
            this->value[pass] = {};
            if (inside && d[0] < highs)
                this->value[pass] = load<W>(at + d[0] * high_pitch + d[1] * middle_pitch + d[2] * filter_pitch);
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

// B of the filter gradient: the place's window of every image, with k = image, rows (r, s, c), c fastest. A row keeps its
// cell, so that this is a matrix with rows that start anywhere.
template <class T, int ROWS, int W>
struct WindowAlongRows : MatrixAlongRows<T, ROWS, W> {
    __device__ WindowAlongRows(const ConvGeometry& g, const float* x, int first_row, int top, int left)
        : MatrixAlongRows<T, ROWS, W>(x, (long long)g.h * g.w * g.c, 0, 0, 0, g.n) {
        const int channels = g.c / g.groups, row = first_row + this->row(), tap = row / channels;
        const int y = top + tap / g.s * g.dilation_h, z = left + tap % g.s * g.dilation_w;
        this->inside = tap < g.r * g.s && (unsigned)y < (unsigned)g.h && (unsigned)z < (unsigned)g.w;
        this->at = x + this->k(0) * this->pitch + (this->inside ? (y * g.w + z) * g.c + row % channels : 0);
    }
};

// The steps of a part, of `all` steps that a sum takes.
__device__ __forceinline__ int steps_of(int part, int part_steps, int all) {
    return max(min(part_steps, all - part * part_steps), 0);
}

// y ← finish(Σ x·w + bias). Grid: tiles of images · groups · places, tiles of the group's filters, parts. With more than one
// part, y is the parts' copies of it, and neither bias nor finish changes anything. bias may be null; bias_pitch is 0 for
// biases shared by all places, k for untied ones.
template <class T, int W>
__device__ __forceinline__ void forward(const ConvGeometry& g, const float* __restrict__ x, const float* __restrict__ w,
                                        const float* __restrict__ bias, int bias_pitch, const Finish& finish,
                                        float* __restrict__ y, int part_steps) {
    const int places = g.p * g.q, channels = g.c / g.groups, filters = g.k / g.groups, tiles = (g.n + T::M - 1) / T::M;
    const int image0 = blockIdx.x % tiles * T::M, group = blockIdx.x / tiles % g.groups;
    const int place = blockIdx.x / tiles / g.groups, filter0 = blockIdx.y * T::N;
    const Inside h(place / g.q * g.stride_h - g.padding_h, g.r, g.dilation_h, g.h);
    const Inside v(place % g.q * g.stride_w - g.padding_w, g.s, g.dilation_w, g.w);
    const int middles = max(v.count, 1), highs = v.count > 0 ? h.count : 0, depth = g.r * g.s * channels;
    const int begin = blockIdx.z * part_steps * T::K;

    const float* const window = x + ((long long)h.cell * g.w + v.cell) * g.c + group * channels;
    WalkAlongK<T, T::M, W> a(highs > 0 ? window : x, (long long)g.h * g.w * g.c, image0, g.n, begin, highs, middles, channels,
                             g.dilation_h * g.w * g.c, g.dilation_w * g.c);
    const float* const own = w + ((long long)place * g.k + group * filters) * depth + (h.first * g.s + v.first) * channels;
    WalkAlongK<T, T::N, W> b(highs > 0 ? own : w, depth, filter0, filters, begin, highs, middles, channels, g.s * channels,
                             channels);
    float sum[T::TM][T::TN];
    multiply<T>(a, b, steps_of(blockIdx.z, part_steps, (highs * middles * channels + T::K - 1) / T::K), sum);

    float* const out = y + (long long)blockIdx.z * g.n * places * g.k;
    const int vector = filters % 4 == 0 && on_16_bytes(y);
    for_each_fragment<T>(sum, [&](int row, int column, Vector<4> v) {
        const int image = image0 + row, count = filters - filter0 - column;
        if (image >= g.n || count <= 0) return;
        const int k = group * filters + filter0 + column;
        const float* const b0 = bias + (long long)place * bias_pitch + k;
#pragma unroll
        for (int i = 0; i < 4; ++i) v.v[i] = finish(v.v[i] + (bias && i < count ? b0[i] : 0.0f));
        put_fragment(out + ((long long)image * places + place) * g.k + k, v, count, vector, false);
    });
}

// dx ← Σ dy·w, or dx += …. Grid: tiles of images · groups · cells, tiles of the group's channels, parts, as above.
template <class T, int W>
__device__ __forceinline__ void backward_image(const ConvGeometry& g, const float* __restrict__ dy,
                                               const float* __restrict__ w, float* __restrict__ dx, int part_steps, int add) {
    const int cells = g.h * g.w, channels = g.c / g.groups, filters = g.k / g.groups, tiles = (g.n + T::M - 1) / T::M;
    const int image0 = blockIdx.x % tiles * T::M, group = blockIdx.x / tiles % g.groups;
    const int cell = blockIdx.x / tiles / g.groups, channel0 = blockIdx.y * T::N;
    const Seen h(cell / g.w, g.p, g.r, g.stride_h, g.padding_h, g.dilation_h);
    const Seen v(cell % g.w, g.q, g.s, g.stride_w, g.padding_w, g.dilation_w);
    const int middles = max(v.count, 1), highs = v.count > 0 ? h.count : 0;
    const int begin = blockIdx.z * part_steps * T::K;
    const long long filter = (long long)g.r * g.s * channels;

    const int place = highs > 0 ? h.place * g.q + v.place : 0;
    WalkAlongK<T, T::M, W> a(dy + (long long)place * g.k + group * filters, (long long)g.p * g.q * g.k, image0, g.n, begin,
                             highs, middles, filters, h.place_step * g.q * g.k, v.place_step * g.k);
    const int tap = highs > 0 ? h.tap * g.s + v.tap : 0;
    const float* const own = w + ((long long)place * g.k + group * filters) * filter + (long long)tap * channels;
    FiltersAlongC<T, T::N, W> b(own, channel0, channels, begin, highs, middles, filters,
                                (long long)h.place_step * g.q * g.k * filter - h.tap_step * g.s * channels,
                                (long long)v.place_step * g.k * filter - v.tap_step * channels, filter);
    float sum[T::TM][T::TN];
    multiply<T>(a, b, steps_of(blockIdx.z, part_steps, (highs * middles * filters + T::K - 1) / T::K), sum);

    float* const out = dx + (long long)blockIdx.z * g.n * cells * g.c;
    const int vector = channels % 4 == 0 && on_16_bytes(dx);
    for_each_fragment<T>(sum, [&](int row, int column, const Vector<4>& x) {
        const int image = image0 + row, count = channels - channel0 - column;
        if (image >= g.n || count <= 0) return;
        const long long at = ((long long)image * cells + cell) * g.c + group * channels + channel0 + column;
        put_fragment(out + at, x, count, vector, add);
    });
}

// dw ← Σ dy·x over the images, or dw += …. Grid: tiles of r·s·c/groups · groups · places, tiles of the group's filters.
template <class T, int W>
__device__ __forceinline__ void backward_filters(const ConvGeometry& g, const float* __restrict__ x,
                                                 const float* __restrict__ dy, float* __restrict__ dw, int add) {
    const int channels = g.c / g.groups, filters = g.k / g.groups, depth = g.r * g.s * channels;
    const int tiles = (depth + T::N - 1) / T::N, column0 = blockIdx.x % tiles * T::N, group = blockIdx.x / tiles % g.groups;
    const int place = blockIdx.x / tiles / g.groups, filter0 = blockIdx.y * T::M;

    const float* const at_place = dy + (long long)place * g.k + group * filters;
    MatrixAlongRows<T, T::M, W> a(at_place, (long long)g.p * g.q * g.k, filter0, filters, 0, g.n);
    const int top = place / g.q * g.stride_h - g.padding_h, left = place % g.q * g.stride_w - g.padding_w;
    WindowAlongRows<T, T::N, W> b(g, x + group * channels, column0, top, left);
    float sum[T::TM][T::TN];
    multiply<T>(a, b, (g.n + T::K - 1) / T::K, sum);

    float* const out = dw + ((long long)place * g.k + group * filters) * depth;
    const int vector = channels % 4 == 0 && on_16_bytes(dw);
    for_each_fragment<T>(sum, [&](int row, int column, const Vector<4>& v) {
        const int filter = filter0 + row, count = depth - column0 - column;
        if (filter >= filters || count <= 0) return;
        put_fragment(out + (long long)filter * depth + column0 + column, v, count, vector, add);
    });
}

#define KERNELS(TILE, tile, W, access)                                                                                   \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) local_forward_##tile##_##access(                         \
        ConvGeometry g, const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,        \
        int bias_pitch, Finish finish, float* __restrict__ y, int part_steps) {                                          \
        forward<TILE, W>(g, x, w, bias, bias_pitch, finish, y, part_steps);                                              \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) local_backward_image_##tile##_##access(                  \
        ConvGeometry g, const float* __restrict__ dy, const float* __restrict__ w, float* __restrict__ dx,               \
        int part_steps, int add) {                                                                                       \
        backward_image<TILE, W>(g, dy, w, dx, part_steps, add);                                                          \
    }                                                                                                                    \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS) local_backward_filters_##tile##_##access(                \
        ConvGeometry g, const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dw, int add) {    \
        backward_filters<TILE, W>(g, x, dy, dw, add);                                                                    \
    }
KERNELS(Large, large, 4, vector)
KERNELS(Large, large, 1, scalar)
KERNELS(Small, small, 4, vector)
KERNELS(Small, small, 1, scalar)
