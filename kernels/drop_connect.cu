// DropConnect (Wan et al. 2013): a fully connected layer in training, whose every weight is kept with probability `keep` for
// each image by itself, and divided by it.
//
//   forward   y[n][o]  = Σ_i m(n,o,i)·w[o][i]·x[n][i] + b[o]      a warp each, lanes along i
//   input     dx[n][i] = Σ_o m(n,o,i)·w[o][i]·dy[n][o]            a thread each (four neighbours where i runs in fours)
//   weights   dw[o][i] = Σ_n m(n,o,i)·dy[n][o]·x[n][i]            the same
//
// The factor m is 1/keep where number e mod 4 of the Philox block (seed, layer, step, image, e/4) is below keep, else 0, for
// e = o·inputs + i: a function of its place, made anew in each pass, so that the n·o·i masks are stored nowhere. That is what
// the passes cost: some 18 integer operations a mask, 0.16 ms for 128×1000×1000 on an H100; the products cost two more.
// Sums have a fixed order.
#include "common.cuh"
#include "philox.cuh"

constexpr unsigned DROPOUT = 0;  // Purpose::Dropout of src/device/philox.rs

// The masks' stream, but for the image.
struct Masks {
    unsigned long long seed, step;
    unsigned layer, first_image, threshold;
    float factor;

    __device__ Masks(const StepValues* step_, unsigned layer_, unsigned threshold_, float factor_)
        : seed(step_->seed), step(step_->step), layer(layer_), first_image(step_->first_image), threshold(threshold_),
          factor(factor_) {}

    // Those of weights 4·block … 4·block + 3.
    __device__ Vector<4> of(int image, unsigned block) const {
        const unsigned long long position = (unsigned long long)(first_image + image) << 32 | block;
        const PhiloxBlock random = philox_block(seed, DROPOUT, layer, step, position);
        Vector<4> m;
#pragma unroll
        for (int i = 0; i < 4; ++i) m.v[i] = random.v[i] >> 8 < threshold ? factor : 0.0f;
        return m;
    }
};

// Element i of four, without an array's address.
__device__ __forceinline__ float pick(const Vector<4>& m, int i) {
    return i < 2 ? (i == 0 ? m.v[0] : m.v[1]) : (i == 2 ? m.v[2] : m.v[3]);
}

// Grid: groups of eight images, one of each warp, · outputs. Neighbouring blocks read one row of w.
extern "C" __global__ void __launch_bounds__(256, 4)
drop_connect_forward(const StepValues* __restrict__ step, unsigned layer, unsigned threshold, float factor, int images,
                     int outputs, int inputs, const float* __restrict__ x, const float* __restrict__ w,
                     const float* __restrict__ bias, float* __restrict__ y, int add) {
    const int groups = (images + 7) / 8, o = blockIdx.x / groups, lane = threadIdx.x % WARP;
    const int image = blockIdx.x % groups * 8 + threadIdx.x / WARP;
    if (image >= images) return;
    const Masks masks(step, layer, threshold, factor);
    const long long first = (long long)o * inputs, end = first + inputs;
    const float* const seen = x + (long long)image * inputs - first;
    float sum = 0;
    for (long long block = first / 4 + lane; block * 4 < end; block += WARP) {
        const Vector<4> m = masks.of(image, (unsigned)block);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const long long e = block * 4 + j;
            if (e >= first && e < end) sum += m.v[j] * w[e] * seen[e];
        }
    }
    sum = warp_sum(sum);
    if (lane == 0) put<1>(y + (long long)image * outputs + o, {{sum + (bias ? bias[o] : 0.0f)}}, add);
}

// W neighbouring inputs, which are of one block where W is 4: then `inputs` is a multiple of 4 and w on 16 bytes.
template <int W>
__device__ __forceinline__ void backward_input(const Masks& masks, int images, int outputs, int inputs,
                                               const float* __restrict__ dy, const float* __restrict__ w,
                                               float* __restrict__ dx, int add) {
    const int across = inputs / W;
    const long long count = (long long)images * across, step = (long long)gridDim.x * blockDim.x;
    for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += step) {
        const int image = t / across, i = t % across * W;
        Vector<W> sum = {};
        for (int o = 0; o < outputs; ++o) {
            const long long e = (long long)o * inputs + i;
            const Vector<4> m = masks.of(image, (unsigned)(e / 4));
            const Vector<W> v = load<W>(w + e);
            const float d = dy[(long long)image * outputs + o];
#pragma unroll
            for (int j = 0; j < W; ++j) sum.v[j] += (W == 4 ? m.v[j] : pick(m, (int)(e % 4))) * v.v[j] * d;
        }
        put<W>(dx + (long long)image * inputs + i, sum, add);
    }
}

template <int W>
__device__ __forceinline__ void backward_weights(const Masks& masks, int images, int outputs, int inputs,
                                                 const float* __restrict__ x, const float* __restrict__ dy,
                                                 float* __restrict__ dw, int add) {
    const int across = inputs / W;
    const long long count = (long long)outputs * across, step = (long long)gridDim.x * blockDim.x;
    for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += step) {
        const int o = t / across, i = t % across * W;
        const long long e = (long long)o * inputs + i;
        Vector<W> sum = {};
        for (int image = 0; image < images; ++image) {
            const Vector<4> m = masks.of(image, (unsigned)(e / 4));
            const Vector<W> v = load<W>(x + (long long)image * inputs + i);
            const float d = dy[(long long)image * outputs + o];
#pragma unroll
            for (int j = 0; j < W; ++j) sum.v[j] += (W == 4 ? m.v[j] : pick(m, (int)(e % 4))) * v.v[j] * d;
        }
        put<W>(dw + e, sum, add);
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
drop_connect_backward_input(const StepValues* __restrict__ step, unsigned layer, unsigned threshold, float factor,
                            int images, int outputs, int inputs, int vector, const float* __restrict__ dy,
                            const float* __restrict__ w, float* __restrict__ dx, int add) {
    const Masks masks(step, layer, threshold, factor);
    if (vector)
        backward_input<4>(masks, images, outputs, inputs, dy, w, dx, add);
    else
        backward_input<1>(masks, images, outputs, inputs, dy, w, dx, add);
}

extern "C" __global__ void __launch_bounds__(256, 4)
drop_connect_backward_weights(const StepValues* __restrict__ step, unsigned layer, unsigned threshold, float factor,
                              int images, int outputs, int inputs, int vector, const float* __restrict__ x,
                              const float* __restrict__ dy, float* __restrict__ dw, int add) {
    const Masks masks(step, layer, threshold, factor);
    if (vector)
        backward_weights<4>(masks, images, outputs, inputs, x, dy, dw, add);
    else
        backward_weights<1>(masks, images, outputs, inputs, x, dy, dw, add);
}
