// Pools: the maximum, the mean or the root of the sum of squares of each window, clipped to the image. A mean divides by the
// cells that are left.
//
// Forward, a thread makes one output, channel fastest: a warp reads and writes whole lines; each x is read (size/stride)²
// times, from L1 after the first. Backward, a thread makes one cell of dx and visits the (size/stride)² windows that hold
// it, so that nothing is added atomically. For a maximum it must know whether its cell is the window's first largest one: it
// looks through the window until a cell beats its own, which for all but the winner comes soon.
//
// Bytes, at best: forward x + y; backward dx + dy, and x for a maximum, x and y for a root. AlexNet's 128×55×55×96, size 3, stride 2: 149 MB +
// 36 MB, 55 µs at 3.35 TB/s.
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

template <Kind KIND>
__device__ __forceinline__ void forward(const PoolGeometry& g, const float* __restrict__ x, float* __restrict__ y) {
    const long long outputs = (long long)g.n * g.p * g.q * g.c, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < outputs; i += step) {
        const long long place = i / g.c;
        const int c = i % g.c, q = place % g.q, p = place / g.q % g.p;
        const long long image = place / g.q / g.p * g.h * g.w;
        const Range rows(p, g.p, g.size_h, g.stride_h, g.start_h, g.h);
        const Range columns(q, g.q, g.size_w, g.stride_w, g.start_w, g.w);
        const int cells = max(rows.end - rows.begin, 0) * max(columns.end - columns.begin, 0);
        float value = KIND == MAX && cells > 0 ? x[(image + rows.begin * g.w + columns.begin) * g.c + c] : 0.0f;
        for (int h = rows.begin; h < rows.end; ++h) {
            const float* at = x + (image + h * g.w) * g.c + c;
            for (int w = columns.begin; w < columns.end; ++w) {
                const float v = at[w * g.c];
                if (KIND == MAX) {
                    value = v > value ? v : value;
                } else {
                    value += KIND == L2 ? v * v : v;
                }
            }
        }
        if (KIND == AVG) value /= max(1, cells);
        if (KIND == L2) value = sqrtf(value);
        y[i] = value;
    }
}

template <Kind KIND>
__device__ __forceinline__ void backward(const PoolGeometry& g, const float* __restrict__ x, const float* __restrict__ y,
                                         const float* __restrict__ dy, float* __restrict__ dx, int add) {
    const long long inputs = (long long)g.n * g.h * g.w * g.c, step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < inputs; i += step) {
        const long long cell = i / g.c;
        const int c = i % g.c, w = cell % g.w, h = cell / g.w % g.h;
        const long long n = cell / g.w / g.h, image = n * g.h * g.w;
        const Holders ps(h, g.h, g.size_h, g.stride_h, g.start_h, g.p), qs(w, g.w, g.size_w, g.stride_w, g.start_w, g.q);
        const float mine = KIND != AVG ? x[i] : 0.0f;
        float gradient = 0;
        for (int p = ps.begin; p < ps.end; ++p) {
            const Range rows(p, g.p, g.size_h, g.stride_h, g.start_h, g.h);
            for (int q = qs.begin; q < qs.end; ++q) {
                const Range columns(q, g.q, g.size_w, g.stride_w, g.start_w, g.w);
                const long long output = ((n * g.p + p) * g.q + q) * g.c + c;
                const float d = dy[output];
                if (KIND == MAX) {
                    bool first_largest = true;
                    for (int r = rows.begin; r < rows.end && first_largest; ++r) {
                        const float* at = x + (image + r * g.w) * g.c + c;
                        for (int s = columns.begin; s < columns.end && first_largest; ++s) {
                            const float v = at[s * g.c];
                            const bool before = r < h || (r == h && s < w);
                            first_largest = before ? v < mine : v <= mine;
                        }
                    }
                    if (first_largest) gradient += d;
                } else if (KIND == AVG) {
                    gradient += d / ((rows.end - rows.begin) * (columns.end - columns.begin));
                } else if (y[output] > 0) {
                    gradient += mine * (d / y[output]);
                }
            }
        }
        put<1>(dx + i, {{gradient}}, add);
    }
}

extern "C" __global__ void __launch_bounds__(256)
pool_max_forward(PoolGeometry g, const float* __restrict__ x, float* __restrict__ y) {
    forward<MAX>(g, x, y);
}
extern "C" __global__ void __launch_bounds__(256)
pool_avg_forward(PoolGeometry g, const float* __restrict__ x, float* __restrict__ y) {
    forward<AVG>(g, x, y);
}
extern "C" __global__ void __launch_bounds__(256)
pool_l2_forward(PoolGeometry g, const float* __restrict__ x, float* __restrict__ y) {
    forward<L2>(g, x, y);
}
extern "C" __global__ void __launch_bounds__(256, 4)
pool_max_backward(PoolGeometry g, const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dx,
                  int add) {
    backward<MAX>(g, x, nullptr, dy, dx, add);
}
extern "C" __global__ void __launch_bounds__(256, 4)
pool_avg_backward(PoolGeometry g, const float* __restrict__ dy, float* __restrict__ dx, int add) {
    backward<AVG>(g, nullptr, nullptr, dy, dx, add);
}
extern "C" __global__ void __launch_bounds__(256, 4)
pool_l2_backward(PoolGeometry g, const float* __restrict__ x, const float* __restrict__ y, const float* __restrict__ dy,
                 float* __restrict__ dx, int add) {
    backward<L2>(g, x, y, dy, dx, add);
}
