// Convolution on tensor cores: conv.cu's three passes with the inner product of mma.cuh, for sm_80 and later, operands rounded to
// tf32, or bf16 already. The matrices, the phases of the image gradient and the order of k are conv.cu's; every access has 16
// bytes, so that what runs fastest in an operand is a multiple of a chunk, 4 f32 or 8 bf16: the operands may be copies whose
// groups have zeros behind their channels (operands.cu). `Padded` says how many they have with them; results have none.
//
// Fully connected layers are the same: with one place an image, forward is y = x·Wᵀ, the image gradient dx = dy·W, the filter
// gradient dW = dyᵀ·x.
//
// Grid: tiles of rows, tiles of columns, groups · phases · parts. A pass with few tiles and a long sum is split into parts
// of whole steps, each with its own copy of the result, which parts.cu adds up in their order, and finishes.
//
// FLOPs and bytes as in conv.cu. VGG's 128×56×56×256, 3×3: 237 GFLOP; A100 (156 TFLOP/s tf32, 312 bf16) 1.5 and 0.76 ms, H100 (494
// and 989) 0.48 and 0.24 ms; 0.82 GB of tensors are 0.53 and 0.25 ms. A tile of 128 × 128 does 64 FLOPs a byte that it brings from
// the second-level cache in tf32, 128 in bf16, and a warp's 64 × 64 32 (64) a byte of shared memory: on an A100, whose
// multiprocessor does 1024 (2048) FLOPs and 128 bytes a cycle, loads take half of the products' time, and the copies into shared
// memory a quarter.
#include "counter.cuh"
#include "mma.cuh"
#include "windows.cuh"

// Channels of a group in the operands, of the images and the filters; filters of a group in the output's gradient; and elements from
// one place of the output, or of its gradient, to the next.
struct Padded {
    int channels, filters, pitch;
};

// Windows with k = (tap row, tap column, channel): A of forward and of the image gradient.
template <class T, int ROWS>
struct WindowsAlongK : AlongK<T, ROWS> {
    using Element = typename T::Element;
    static constexpr int PASSES = AlongK<T, ROWS>::PASSES;
    Windows g;
    Counter k;
    const Element* image[PASSES];
    int top[PASSES], left[PASSES];

    // `place(row, image, top, left)` answers the row's image and the cell of its first tap, false for rows past the last.
    template <class PlaceOf>
    __device__ WindowsAlongK(const Element* images, const Windows& g_, int k_begin, PlaceOf place)
        : g(g_), k(k_begin + this->first_k(), T::K, g_.taps_w, g_.depth) {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            int i = 0;
            if (!place(this->row(pass), i, top[pass], left[pass])) i = 0, top[pass] = -(1 << 30), left[pass] = 0;
            image[pass] = images + (long long)i * g.height * g.width * g.pitch;
        }
    }
    __device__ void copy(unsigned stage) {
        const int down = k.high * g.step_h, right = k.middle * g.step_w;
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            const int y = top[pass] + down, x = left[pass] + right;
            const bool inside = (unsigned)y < (unsigned)g.height && (unsigned)x < (unsigned)g.width && k.high < g.taps_h;
            const int offset = inside ? (y * g.width + x) * g.pitch + k.low : 0;
            copy_async(this->place(stage, pass), image[pass] + offset, inside);
        }
        k.advance();
    }
};

// Filters with k = (tap row, tap column, filter), c fastest: B of the image gradient.
template <class T, int ROWS>
struct FiltersAlongC : AlongRows<T, ROWS> {
    using Element = typename T::Element;
    const Element* at;
    int taps_h, filters, row_pitch, column_pitch;
    long long filter_pitch;
    bool inside;
    Counter k;

    // `data` is the group's first filter, at the phase's first tap; depth the group's number of filters with padding, which
    // are none of the filters' tensor.
    __device__ FiltersAlongC(const Element* data, int channels, int first_channel, int taps_h_, int taps_w, int filters_,
                             int depth, int row_pitch_, int column_pitch_, long long filter_pitch_, int k_begin)
        : taps_h(taps_h_), filters(filters_), row_pitch(row_pitch_), column_pitch(column_pitch_), filter_pitch(filter_pitch_),
          k(k_begin + this->first_k(), AlongRows<T, ROWS>::STEP, taps_w, depth) {
        inside = first_channel + this->row() < channels;
        at = data + first_channel + this->row();
    }
    __device__ void copy(unsigned stage) {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            const bool there = inside && k.high < taps_h && k.low < filters;
            const long long offset = k.low * filter_pitch + (k.high * row_pitch + k.middle * column_pitch);
            copy_async(this->place(stage, pass), at + (there ? offset : 0), there);
            k.advance();
        }
    }
};

// The input under each output, with k = (n, p, q), rows (r, s, c), c fastest: B of the filter gradient.
template <class T, int ROWS>
struct WindowsAlongRows : AlongRows<T, ROWS> {
    using Element = typename T::Element;
    const Element* at;
    int images, height, width, pitch, stride_h, stride_w, down, right;
    Counter k;

    // `channels` are a group's, with padding.
    __device__ WindowsAlongRows(const ConvGeometry& g, const Element* x, int channels, int first_row, int group, int k_begin)
        : images(g.n), height(g.h), width(g.w), pitch(g.groups * channels), stride_h(g.stride_h), stride_w(g.stride_w),
          k(k_begin + this->first_k(), AlongRows<T, ROWS>::STEP, g.p, g.q) {
        const int row = first_row + this->row();
        const int r = row / channels / g.s, s = row / channels % g.s;
        down = r < g.r ? r * g.dilation_h - g.padding_h : -(1 << 30);
        right = s * g.dilation_w - g.padding_w;
        at = x + group * channels + row % channels;
    }
    __device__ void copy(unsigned stage) {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            const int y = k.middle * stride_h + down, x = k.low * stride_w + right;
            const bool inside = (unsigned)y < (unsigned)height && (unsigned)x < (unsigned)width && k.high < images;
            const long long offset = ((long long)k.high * height + y) * width * pitch + x * pitch;
            copy_async(this->place(stage, pass), at + (inside ? offset : 0), inside);
            k.advance();
        }
    }
};

// y ← finish(x ∗ w + bias), or y += ….
template <class T>
__device__ __forceinline__ void forward(const ConvGeometry& g, const Padded& padded, const typename T::Element* x,
                                        const typename T::Element* w, const Output& y, int part_steps) {
    using A = WindowsAlongK<T, T::M>;
    using B = MatrixAlongK<T, T::N>;
    const int places = g.p * g.q, rows = g.n * places;
    const int channels = padded.channels, filters = g.k / g.groups, depth = g.r * g.s * channels;
    const int row0 = blockIdx.x * T::M, filter0 = blockIdx.y * T::N, group = blockIdx.z % g.groups;
    const Part part(blockIdx.z / g.groups, part_steps, depth, T::K);

    const Windows windows = {g.h, g.w, g.groups * channels, channels, g.r, g.s, g.dilation_h, g.dilation_w};
    A a(x + group * channels, windows, part.begin, [&](int row, int& image, int& top, int& left) {
        const int m = row0 + row, place = m % places;
        image = m / places;
        top = place / g.q * g.stride_h - g.padding_h;
        left = place % g.q * g.stride_w - g.padding_w;
        return m < rows;
    });
    B b(w + (long long)group * filters * depth, depth, filter0, filters, part.begin, depth);
    float sum[T::ROW_GROUPS / 2][T::COLUMN_GROUPS][4];
    multiply<T>(a, b, part.steps, sum);

    float* const out = y.data + (long long)part.number * rows * g.k;
    const int vector = filters % 4 == 0 && padded.pitch % 4 == 0 && on_16_bytes(y.data);
    for_each_fragment<T, A, B>(sum, [&](int row, int column, Vector<4> v) {
        const int m = row0 + row, count = filters - filter0 - column;
        if (m >= rows || count <= 0) return;
        const int k = group * filters + filter0 + column;
        const float* const bias = y.bias + (y.bias_pitch ? (long long)(m % places) * y.bias_pitch : 0) + k;
#pragma unroll
        for (int i = 0; i < 4; ++i) v.v[i] = y.finish(v.v[i] + (y.bias && i < count ? bias[i] : 0.0f));
        put_fragment(out + (long long)m * padded.pitch + k, v, count, vector, y.add);
    });
}

// dx ← dy ∗ᵀ w, or dx += …, masked.
template <class T>
__device__ __forceinline__ void backward_image(const ConvGeometry& g, const Padded& padded, const typename T::Element* dy,
                                               const typename T::Element* w, const Output& dx, int part_steps) {
    using A = WindowsAlongK<T, T::M>;
    using B = FiltersAlongC<T, T::N>;
    const int channels = g.c / g.groups, filters = g.k / g.groups, phases = g.stride_h * g.stride_w;
    const int group = blockIdx.z % g.groups, phase = blockIdx.z / g.groups % phases;
    const Phase h(phase / g.stride_w, g.h, g.r, g.stride_h, g.padding_h, g.dilation_h);
    const Phase v(phase % g.stride_w, g.w, g.s, g.stride_w, g.padding_w, g.dilation_w);
    const int places = h.cells * v.cells, rows = g.n * places;
    const int row0 = blockIdx.x * T::M, channel0 = blockIdx.y * T::N;
    if (row0 >= rows) return;  // the grid is made for the largest phase

    const Part part(blockIdx.z / g.groups / phases, part_steps, h.taps * v.taps * padded.filters, T::K);
    const Windows windows = {g.p, g.q, padded.pitch, padded.filters, h.taps, max(v.taps, 1), -h.back, -v.back};
    A a(dy + group * padded.filters, windows, part.begin, [&](int row, int& image, int& top, int& left) {
        const int m = row0 + row, place = m % places;
        image = m / places;
        top = h.origin + place / v.cells;
        left = v.origin + place % v.cells;
        return m < rows;
    });
    const int tap = padded.channels, filter = g.r * g.s * tap;  // elements of each
    B b(w + (long long)group * filters * filter + (h.tap * g.s + v.tap) * tap, padded.channels, channel0, h.taps, max(v.taps, 1),
        filters, padded.filters, h.tap_step * g.s * tap, v.tap_step * tap, filter, part.begin);
    float sum[T::ROW_GROUPS / 2][T::COLUMN_GROUPS][4];
    multiply<T>(a, b, part.steps, sum);

    float* const out = dx.data + (long long)part.number * g.n * g.h * g.w * g.c;
    const int vector = channels % 4 == 0 && on_16_bytes(dx.data) && on_16_bytes(dx.seen);
    // Calls to(i, fragment, count) with where each fragment goes: with and without a mask these are loops of their own, so that the
    // second takes no instruction for the first.
    const auto each = [&](auto to) {
        for_each_fragment<T, A, B>(sum, [&](int row, int column, const Vector<4>& x) {
            const int m = row0 + row, count = channels - channel0 - column;
            if (m >= rows || count <= 0) return;
            const int place = m % places;
            const int y = h.first + place / v.cells * g.stride_h, z = v.first + place % v.cells * g.stride_w;
            const long long cell = ((long long)(m / places) * g.h + y) * g.w + z;
            to(cell * g.c + group * channels + channel0 + column, x, count);
        });
    };
    if (dx.seen) {
        each([&](long long i, const Vector<4>& x, int count) { put_fragment(out + i, x, count, vector, dx.add, dx.seen + i); });
    } else {
        each([&](long long i, const Vector<4>& x, int count) { put_fragment(out + i, x, count, vector, dx.add); });
    }
}

// dw ← Σ dy·x over the images and places, or dw += ….
template <class T>
__device__ __forceinline__ void backward_filters(const ConvGeometry& g, const Padded& padded, const typename T::Element* x,
                                                 const typename T::Element* dy, const Output& dw, int part_steps) {
    using A = MatrixAlongRows<T, T::M>;
    using B = WindowsAlongRows<T, T::N>;
    const int channels = g.c / g.groups, filters = g.k / g.groups, taps = g.r * g.s, all = g.n * g.p * g.q;
    const int filter0 = blockIdx.x * T::M, column0 = blockIdx.y * T::N, group = blockIdx.z % g.groups;
    const Part part(blockIdx.z / g.groups, part_steps, all, T::K);

    A a(dy + group * padded.filters, padded.pitch, filter0, padded.filters, part.begin, all);
    B b(g, x, padded.channels, column0, group, part.begin);
    float sum[T::ROW_GROUPS / 2][T::COLUMN_GROUPS][4];
    multiply<T>(a, b, part.steps, sum);

    float* const out = dw.data + (long long)part.number * g.k * taps * channels;
    const int vector = channels % 4 == 0 && on_16_bytes(dw.data);
    for_each_fragment<T, A, B>(sum, [&](int row, int column, const Vector<4>& v) {
        const int filter = filter0 + row, tap = (column0 + column) / padded.channels;
        const int channel = (column0 + column) % padded.channels, count = channels - channel;
        if (filter >= filters || tap >= taps || count <= 0) return;
        put_fragment(out + ((long long)(group * filters + filter) * taps + tap) * channels + channel, v, count, vector, dw.add);
    });
}

// `left` and `right` are what the pass multiplies: x and w, dy and w, x and dy. On sm_75 the kernels are there, and empty.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define CALL(pass, TILE)
#else
#define CALL(pass, TILE) pass<TILE>(g, padded, left, right, {bias, bias_pitch, finish, out, seen, add}, part_steps)
#endif
#define KERNEL(pass, TILE, tile, BLOCKS, ROUNDING, rounding)                                                                   \
    extern "C" __global__ void __launch_bounds__(TILE<ROUNDING>::THREADS, BLOCKS) conv_##pass##_##tile##_##rounding(           \
        ConvGeometry g, Padded padded, const Stored<ROUNDING>::Type* __restrict__ left,                                        \
        const Stored<ROUNDING>::Type* __restrict__ right, const float* __restrict__ bias, int bias_pitch, Finish finish,       \
        float* __restrict__ out, const float* __restrict__ seen, int part_steps, int add) {                                    \
        CALL(pass, TILE<ROUNDING>);                                                                                            \
    }
#define KERNELS(TILE, tile, BLOCKS, ROUNDING, rounding)                \
    KERNEL(forward, TILE, tile, BLOCKS, ROUNDING, rounding)            \
    KERNEL(backward_image, TILE, tile, BLOCKS, ROUNDING, rounding)     \
    KERNEL(backward_filters, TILE, tile, BLOCKS, ROUNDING, rounding)
KERNELS(Large, large, 2, TF32, tf32)
KERNELS(Small, small, 5, TF32, tf32)
KERNELS(Large, large, 2, BF16, bf16)
KERNELS(Small, small, 5, BF16, bf16)
