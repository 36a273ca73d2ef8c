// A box of x copied to a box of y: y[n, to_h + i, to_w + j, to_c + o] = x[n, from_h + i, from_w + j, from_c + o], 0 where x
// has no such cell; mirrored, the columns of x are taken from the box's last to its first.
//
// One thread moves four neighbouring channels where all extents and offsets are multiples of four, else one; channel
// fastest, so that a warp moves whole lines. The host has joined what are neighbours in both tensors (whole channels, whole
// rows) into long runs of channels. Bytes: the box once read, once written (twice read when added). No loop over cells: the
// grid covers the box of an image, its rows are the images.
#include "common.cuh"

template <int W>
__device__ __forceinline__ void copy(const CopyGeometry& g, const float* __restrict__ x, float* __restrict__ y, int add) {
    const unsigned item = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned channels = g.channels / W, columns = g.columns;
    const unsigned cell = item / channels;
    const int i = cell / columns, j = cell % columns, o = item % channels * W;
    if (i >= g.rows) return;
    const int row = g.from_h + i, column = g.from_w + (g.mirror ? g.columns - 1 - j : j), channel = g.from_c + o;
    // Of four channels x has all or none: its channels and the box's start are multiples of four.
    const bool inside = row >= 0 && row < g.h && column >= 0 && column < g.w && channel >= 0 && channel < g.c;
    if (!inside && add) return;
    const int from = (row * g.w + column) * g.c + channel, to = ((g.to_h + i) * g.q + g.to_w + j) * g.k + g.to_c + o;
    for (int n = blockIdx.y; n < g.n; n += gridDim.y) {
        Vector<W> v = {};
        if (inside) v = load<W>(x + (long long)n * g.h * g.w * g.c + from);
        put<W>(y + (long long)n * g.p * g.q * g.k + to, v, add);
    }
}

extern "C" __global__ void __launch_bounds__(256)
copy_box(CopyGeometry g, int vector, const float* __restrict__ x, float* __restrict__ y, int add) {
    if (vector)
        copy<4>(g, x, y, add);
    else
        copy<1>(g, x, y, add);
}
