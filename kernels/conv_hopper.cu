// Convolution by wgmma, for sm_90a alone: forward and image gradient of conv_mma.cu with the inner product of hopper.cuh, in
// tf32 and bf16. Fully connected layers are images of one place, as there.
//
// A are windows, which im2col copies pick: a box is 128 pixels in the order of the rows of the result, which go on from image to
// image, by 128 bytes of channels of one tap. What lies outside of the images is zeros. B are filters, by boxes of one tap, 128
// bytes of channels and 128 or 256 filters. k goes tap by tap in steps of 32 or 64 channels, so that channels are filled up to
// a multiple of that with zeros; in groups they are one, as a box would reach into the next group.
//
// The image gradient is a forward pass over dy whose filters have the channels for columns. In bf16 wgmma reads them as they lie,
// columns fastest. In tf32 it reads only operands whose k runs fastest: transpose_filters makes [c][r][s][k/groups] of them first.
// The gradient of the filters, whose k are the images' places, which run slowest in both operands, stays with mma.sync. The
// phases of the image gradient (windows.cuh) share one bounding box: that of the most cells, from the lowest corner any of
// them has; a phase's own corner lies some offset further, and cells past its last are computed and thrown away.
//
// FLOPs and bytes as in conv_mma.cu. A tile of 128 × 256 (128 × 128) does 43 (32) FLOPs a byte that it brings from the
// second-level cache; an H100's multiprocessor does 2048 FLOPs a cycle.
#include "counter.cuh"
#include "hopper.cuh"
#include "windows.cuh"

// Boxes of windows and filters along k = (tap row, tap column, 128 bytes of channels).
template <class T, Operands O>
struct Boxes {
    const TensorMap *windows, *filters;
    int channel, column, row, image;           // of the first pixel; the group's first channel
    int offset_h, offset_w, step_h, step_w;    // of the first tap, and from tap to tap
    int tap, tap_step_h, tap_step_w;           // of the filters
    int filter, column0;                       // the group's first filter, if k counts them, and the tile's first column
    Counter k;

    __device__ void copy(unsigned to_a, unsigned to_b, unsigned barrier) {
        const int first = k.low * depth_of(O), at = tap + k.high * tap_step_h + k.middle * tap_step_w;
        copy_windows(to_a, windows, barrier, channel + first, column, row, image, offset_w + k.middle * step_w,
                     offset_h + k.high * step_h);
        if constexpr (O == BF16_COLUMNS) {
#pragma unroll
            for (int i = 0; i < T::N / BOX_COLUMNS; ++i)
                copy_filters(to_b + i * COLUMNS_BOX, filters, barrier, column0 + i * BOX_COLUMNS, at, filter + first);
        } else {
            copy_filters(to_b, filters, barrier, first, at, column0);
        }
        k.advance();
    }
};

// How windows lie: where the bounding box begins, from the tensor's first cell, and the channels of a group in memory; and how the
// output does: elements from one place to the next.
struct Lie {
    int h, w, depth, pitch;
};
static_assert(sizeof(Lie) == 16, "as in src/device/cuda/conv_hopper.rs");

// y ← finish(x ∗ w + bias), or y += ….
template <class T, Operands O>
__device__ __forceinline__ void forward(const ConvGeometry& g, const TensorMap* x, const TensorMap* w, Lie lie, const Output& y,
                                        int part_steps) {
    const int places = g.p * g.q, rows = g.n * places;
    const int filters = g.k / g.groups, chunks = (lie.depth + depth_of(O) - 1) / depth_of(O);
    const int row0 = blockIdx.x * T::M, filter0 = blockIdx.y * T::N, group = blockIdx.z % g.groups;
    const Part part(blockIdx.z / g.groups, part_steps, g.r * g.s * chunks, 1);

    const int first = row0 % places;
    Boxes<T, O> boxes = {x, w,
                         group * lie.depth, lie.w + first % g.q * g.stride_w, lie.h + first / g.q * g.stride_h, row0 / places,
                         0, 0, g.dilation_h, g.dilation_w,
                         0, g.s, 1,
                         0, group * filters + filter0,
                         Counter(part.begin, 1, g.s, chunks)};
    float sum[T::SUMS];
    if (!multiply<T, O>(boxes, part.steps, sum)) return;

    const int m = row0 + row_of_thread<T>();
    float* const out = y.data + ((long long)part.number * rows + m) * lie.pitch;
    const float* const bias = y.bias + (y.bias_pitch ? (long long)(m % places) * y.bias_pitch : 0);
    const int vector = filters % 4 == 0 && lie.pitch % 4 == 0 && on_16_bytes(y.data);
    for_each_four<T>(sum, [&](int column, Vector<4> v) {
        const int count = filters - filter0 - column, k = group * filters + filter0 + column;
        if (m >= rows || count <= 0) return;
#pragma unroll
        for (int i = 0; i < 4; ++i) v.v[i] = y.finish(v.v[i] + (y.bias && i < count ? bias[k + i] : 0.0f));
        put_fragment(out + k, v, count, vector, y.add);
    });
}

// dx ← dy ∗ᵀ w, or dx += …, masked. Grid: tiles of rows of the largest phase, tiles of channels, groups · phases · parts.
template <class T, Operands O>
__device__ __forceinline__ void backward_image(const ConvGeometry& g, const TensorMap* dy, const TensorMap* w, Lie lie,
                                               const Output& dx, int part_steps) {
    const int channels = g.c / g.groups, filters = g.k / g.groups, phases = g.stride_h * g.stride_w;
    const int chunks = (lie.depth + depth_of(O) - 1) / depth_of(O);
    const int group = blockIdx.z % g.groups, phase = blockIdx.z / g.groups % phases;
    const Phase h(phase / g.stride_w, g.h, g.r, g.stride_h, g.padding_h, g.dilation_h);
    const Phase v(phase % g.stride_w, g.w, g.s, g.stride_w, g.padding_w, g.dilation_w);
    const int cells_h = (g.h + g.stride_h - 1) / g.stride_h, cells_w = (g.w + g.stride_w - 1) / g.stride_w;
    const int places = cells_h * cells_w, rows = g.n * places;
    const int row0 = blockIdx.x * T::M, channel0 = blockIdx.y * T::N;
    const Part part(blockIdx.z / g.groups / phases, part_steps, h.taps * v.taps * chunks, 1);

    const int first = row0 % places;
    // The last tap sees the lowest outputs, and comes first.
    Boxes<T, O> boxes = {dy, w,
                         group * lie.depth, lie.w + first % cells_w, lie.h + first / cells_w, row0 / places,
                         h.origin - (h.taps - 1) * h.back - lie.h, v.origin - (v.taps - 1) * v.back - lie.w, h.back, v.back,
                         (h.tap + (h.taps - 1) * h.tap_step) * g.s + v.tap + (v.taps - 1) * v.tap_step, -h.tap_step * g.s, -v.tap_step,
                         group * filters, (O == BF16_COLUMNS ? 0 : group * channels) + channel0,
                         Counter(part.begin, 1, max(v.taps, 1), chunks)};
    float sum[T::SUMS];
    if (!multiply<T, O>(boxes, part.steps, sum)) return;

    const int m = row0 + row_of_thread<T>(), place = m % places;
    const bool inside = m < rows && place / cells_w < h.cells && place % cells_w < v.cells;
    const int y = h.first + place / cells_w * g.stride_h, z = v.first + place % cells_w * g.stride_w;
    const long long cell = ((long long)(m / places) * g.h + y) * g.w + z;
    const long long i = cell * g.c + group * channels + channel0;
    float* const out = dx.data + (long long)part.number * g.n * g.h * g.w * g.c + i;
    const int vector = on_16_bytes(dx.data) && on_16_bytes(dx.seen), count = inside ? channels - channel0 : 0;
    // With and without a mask these are loops of their own, so that the second takes no instruction for the first.
    if (dx.seen) {
        const float* const seen = dx.seen + i;
        for_each_four<T>(sum, [&](int column, const Vector<4>& x) {
            if (count > column) put_fragment(out + column, x, count - column, vector, dx.add, seen + column);
        });
    } else {
        for_each_four<T>(sum, [&](int column, const Vector<4>& x) {
            if (count > column) put_fragment(out + column, x, count - column, vector, dx.add);
        });
    }
}

// `left` and `right` are what the pass multiplies: x and w, or dy and the filters, in tf32 transposed.
#define KERNEL(pass, TILE, tile, OPERANDS, rounding)                                                                       \
    extern "C" __global__ void __launch_bounds__(TILE::THREADS, 1) conv_##pass##_##tile##_##rounding(                      \
        ConvGeometry g, const __grid_constant__ TensorMap left, const __grid_constant__ TensorMap right, Lie lie,          \
        const float* __restrict__ bias, int bias_pitch, Finish finish, float* __restrict__ out,                            \
        const float* __restrict__ seen, int part_steps, int add) {                                                         \
        pass<TILE, OPERANDS>(g, &left, &right, lie, {bias, bias_pitch, finish, out, seen, add}, part_steps);               \
    }
KERNEL(forward, Wide, wide, TF32, tf32)
KERNEL(forward, Wide, wide, BF16, bf16)
KERNEL(forward, Narrow, narrow, TF32, tf32)
KERNEL(forward, Narrow, narrow, BF16, bf16)
KERNEL(backward_image, Wide, wide, TF32, tf32)
KERNEL(backward_image, Wide, wide, BF16_COLUMNS, bf16)
KERNEL(backward_image, Narrow, narrow, TF32, tf32)
KERNEL(backward_image, Narrow, narrow, BF16_COLUMNS, bf16)

// out[group][c][tap][k] = w[group][k][tap][c], `taps` of them. A block turns 32 × 32 elements of one tap around in shared
// memory. Grid: tiles of k, tiles of c, groups · taps. Bytes: each element is read and written once, whole sectors.
extern "C" __global__ void __launch_bounds__(256, 4)
transpose_filters(int filters, int channels, int taps, const float* __restrict__ w, float* __restrict__ out) {
    __shared__ float tile[32][33];
    const int group = blockIdx.z / taps, tap = blockIdx.z % taps, lane = threadIdx.x % 32, line = threadIdx.x / 32;
    const int k0 = blockIdx.x * 32, c0 = blockIdx.y * 32;
    for (int i = line; i < 32; i += 8) {
        const int k = k0 + i, c = c0 + lane;
        if (k < filters && c < channels) tile[i][lane] = w[((long long)(group * filters + k) * taps + tap) * channels + c];
    }
    __syncthreads();
    for (int i = line; i < 32; i += 8) {
        const int c = c0 + i, k = k0 + lane;
        if (k < filters && c < channels) out[((long long)(group * channels + c) * taps + tap) * filters + k] = tile[lane][i];
    }
}
