// Bilinear resampling: y's cell (i, j) is x at row a + i·b and column c + j·d, held between x's first and last cell; the fraction
// between two cells is the share of the second. window is a, b, c, d.
//
// Forward, a thread makes four channels of a cell of y (one where they are no multiple of four), channel fastest, from the four
// cells of x around it. Backward, a thread makes as much of a cell of dx, from the cells of y that lie less than a cell away: they
// are a range of rows and one of columns, whose ends are found by a division, so that nothing is added atomically and the order
// is fixed. Bytes: x and y once, the rest from the caches. The grid covers an image, its rows are the images.
#include "common.cuh"
#include "philox.cuh"

// Where a row or column of y is: x's cell before it, and the share of the next.
struct Position {
    int cell, next;
    float part;
    __device__ Position(float first, float step, int i, int cells) {
        const float at = fminf(fmaxf(first + i * step, 0.0f), cells - 1.0f);
        cell = at;
        next = min(cell + 1, cells - 1);
        part = at - cell;
    }
    // The share of one of x's cells.
    __device__ float of(int x) const { return x == cell ? 1 - part : x == next ? part : 0.0f; }
};

// The cells of y along one axis that may have a share of x's cell: [begin, end).
struct Sharers {
    int begin, end;
    __device__ Sharers(float first, float step, int x, int cells, int outputs) {
        begin = x == 0 ? 0 : (int)fmaxf(floorf((x - 1 - first) / step), 0.0f);
        end = x == cells - 1 ? outputs : (int)fminf(ceilf((x + 1 - first) / step) + 1, (float)outputs);
    }
};

template <int W>
__device__ __forceinline__ void forward(const ImageGeometry& g, const float* __restrict__ window, const float* __restrict__ x,
                                        float* __restrict__ y) {
    const unsigned item = blockIdx.x * blockDim.x + threadIdx.x, channels = g.c / W, cell = item / channels;
    const int i = cell / g.q, j = cell % g.q, k = item % channels * W;
    if (i >= g.p) return;
    const Position row(window[0], window[1], i, g.h), column(window[2], window[3], j, g.w);
    const float up = 1 - row.part, left = 1 - column.part;
    const float shares[4] = {up * left, up * column.part, row.part * left, row.part * column.part};
    const int cells[4] = {row.cell * g.w + column.cell, row.cell * g.w + column.next, row.next * g.w + column.cell,
                          row.next * g.w + column.next};
    for (int n = blockIdx.y; n < g.n; n += gridDim.y) {
        const float* image = x + (long long)n * g.h * g.w * g.c + k;
        Vector<W> sum = {};
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            const Vector<W> v = load<W>(image + cells[corner] * g.c);
#pragma unroll
            for (int l = 0; l < W; ++l) sum.v[l] += shares[corner] * v.v[l];
        }
        store<W>(y + ((long long)n * g.p * g.q + cell) * g.c + k, sum);
    }
}

template <int W>
__device__ __forceinline__ void backward(const ImageGeometry& g, const float* __restrict__ window, const float* __restrict__ dy,
                                         float* __restrict__ dx, int add) {
    const unsigned item = blockIdx.x * blockDim.x + threadIdx.x, channels = g.c / W, cell = item / channels;
    const int r = cell / g.w, s = cell % g.w, k = item % channels * W;
    if (r >= g.h) return;
    const Sharers rows(window[0], window[1], r, g.h, g.p), columns(window[2], window[3], s, g.w, g.q);
    for (int n = blockIdx.y; n < g.n; n += gridDim.y) {
        const float* image = dy + (long long)n * g.p * g.q * g.c + k;
        Vector<W> sum = {};
        for (int i = rows.begin; i < rows.end; ++i) {
            const float down = Position(window[0], window[1], i, g.h).of(r);
            if (down == 0) continue;
            for (int j = columns.begin; j < columns.end; ++j) {
                const float share = down * Position(window[2], window[3], j, g.w).of(s);
                if (share == 0) continue;
                const Vector<W> v = load<W>(image + (i * g.q + j) * g.c);
#pragma unroll
                for (int l = 0; l < W; ++l) sum.v[l] += share * v.v[l];
            }
        }
        put<W>(dx + ((long long)n * g.h * g.w + cell) * g.c + k, sum, add);
    }
}

extern "C" __global__ void __launch_bounds__(256)
resample_forward(ImageGeometry g, int vector, const float* __restrict__ window, const float* __restrict__ x,
                 float* __restrict__ y) {
    if (vector)
        forward<4>(g, window, x, y);
    else
        forward<1>(g, window, x, y);
}

extern "C" __global__ void __launch_bounds__(256)
resample_backward(ImageGeometry g, int vector, const float* __restrict__ window, const float* __restrict__ dy,
                  float* __restrict__ dx, int add) {
    if (vector)
        backward<4>(g, window, dy, dx, add);
    else
        backward<1>(g, window, dy, dx, add);
}

constexpr unsigned NOISE = 5;  // Purpose::Noise of src/device/philox.rs

// The window that scales all of x to r·p × r·q cells, r from 1 to `most`, and takes p × q of them at a random place. r has a
// probability of (p·(r − 1) + 1)². One thread.
extern "C" __global__ void __launch_bounds__(32)
random_window(const StepValues* __restrict__ step, unsigned layer, ImageGeometry g, float most, float* __restrict__ window) {
    if (threadIdx.x != 0) return;
    const PhiloxBlock random = philox_block(step->seed, NOISE, layer, step->step, 0);
    // The cubes of the places' numbers are uniform.
    const float places = g.p * (most - 1) + 1;
    const float scaled = g.p - 1 + cbrtf(1 + philox_uniform(random.v[0]) * (places * places * places - 1));
    const float ratio = fminf(fmaxf(scaled / g.p, 1.0f), most);
    const float rows = g.h / (g.p * ratio), columns = g.w / (g.q * ratio);
    window[0] = (philox_uniform(random.v[1]) * (g.p * ratio - g.p) + 0.5f) * rows - 0.5f;
    window[1] = rows;
    window[2] = (philox_uniform(random.v[2]) * (g.q * ratio - g.q) + 0.5f) * columns - 0.5f;
    window[3] = columns;
}
