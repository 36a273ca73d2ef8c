// Costs: the loss of each image added to the metrics together with the errors, top-1 and top-5, and the gradients. Nothing
// leaves the device: the metrics are four floats (Σ loss, errors, top-5 errors, images), read when they are shown.
//
// A warp takes an image, lane i the elements i, i + 32, …. An image's rank is the number of outputs that come before its
// label's: the larger ones, and the equal ones with a smaller index. The forward passes are one block of 32 warps, which take
// turns with the images; their sums are added in a fixed tree, and thread 0 alone adds to the metrics: the same bits on every
// run. 128 images of 1000 classes are 512 kB: microseconds, beside milliseconds for the net.
//
// The images from step->images on are padding: they count nowhere and their gradients are 0. A label out of range, which the
// data cannot hold, is taken as the nearest class, so that nothing out of bounds is read. An image whose loss is no number is
// an error, top-5 too.
#include "cost.cuh"

// What a class should have, q: `each`, and the label's `own` more.
struct Smoothed {
    float own, each;

    __device__ float operator()(bool label) const { return label ? own + each : each; }
};
static_assert(sizeof(Smoothed) == 8, "as in src/device/cuda/cost.rs");

template <bool SOFTMAX>
__device__ __forceinline__ void forward(const StepValues* step, int images, int elements, const float* __restrict__ x,
                                        const int* __restrict__ labels, Smoothed q, float* __restrict__ metrics) {
    const int lane = threadIdx.x % WARP, counted = min((int)step->images, images);
    float loss = 0;
    int errors = 0, errors_top5 = 0;
    for (int image = threadIdx.x / WARP; image < counted; image += WARP) {
        const float* const row = x + (long long)image * elements;
        const int label = label_of(labels, image, elements);
        const float mine = row[label];
        float largest = -INFINITY, sum = 0, all = 0, image_loss;
        int rank = 0;
        for (int i = lane; i < elements; i += WARP) {
            const float v = row[i];
            largest = fmaxf(largest, v);
            rank += comes_before(v, i, mine, label);
        }
        rank = warp_sum(rank);
        if (SOFTMAX) {
            largest = warp_max(largest);
            for (int i = lane; i < elements; i += WARP) sum += expf(row[i] - largest), all += largest - row[i];
            image_loss = logf(warp_sum(sum)) + q.own * (largest - mine);
        } else {
            if (q.each > 0)
                for (int i = lane; i < elements; i += WARP) all -= logf(at_least(row[i]));
            image_loss = q.own * -logf(at_least(mine));
        }
        if (q.each > 0) image_loss += q.each * warp_sum(all);
        loss += image_loss;
        errors += rank >= 1 || isnan(image_loss);
        errors_top5 += rank >= 5 || isnan(image_loss);
    }
    add_metrics(loss, errors, errors_top5, counted, metrics);
}

extern "C" __global__ void __launch_bounds__(1024)
logreg_forward(const StepValues* step, int images, int elements, const float* __restrict__ x,
               const int* __restrict__ labels, Smoothed q, float* __restrict__ metrics) {
    forward<true>(step, images, elements, x, labels, q, metrics);
}

extern "C" __global__ void __launch_bounds__(1024)
cross_entropy_forward(const StepValues* step, int images, int elements, const float* __restrict__ x,
                      const int* __restrict__ labels, Smoothed q, float* __restrict__ metrics) {
    forward<false>(step, images, elements, x, labels, q, metrics);
}

// dx ← coefficient·gradient_scale·(softmax(x) − q), or dx += ….
extern "C" __global__ void __launch_bounds__(128)
logreg_backward(const StepValues* step, int images, int elements, const float* __restrict__ x,
                const int* __restrict__ labels, Smoothed q, float coefficient, float* __restrict__ dx, int add) {
    const int image = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (image >= images) return;
    const long long at = (long long)image * elements;
    if (image >= step->images) {
        for (int i = lane; i < elements; i += WARP) put<1>(dx + at + i, {{0.0f}}, add);
        return;
    }
    const int label = label_of(labels, image, elements);
    const float factor = coefficient * step->gradient_scale;
    float largest = -INFINITY, sum = 0;
    for (int i = lane; i < elements; i += WARP) largest = fmaxf(largest, x[at + i]);
    largest = warp_max(largest);
    for (int i = lane; i < elements; i += WARP) sum += expf(x[at + i] - largest);
    const float scale = 1 / warp_sum(sum);
    for (int i = lane; i < elements; i += WARP)
        put<1>(dx + at + i, {{factor * (expf(x[at + i] - largest) * scale - q(i == label))}}, add);
}

// dx ← −coefficient·gradient_scale·q/x, or dx += ….
extern "C" __global__ void __launch_bounds__(256)
cross_entropy_backward(const StepValues* step, int images, int elements, const float* __restrict__ x,
                       const int* __restrict__ labels, Smoothed q, float coefficient, float* __restrict__ dx, int add) {
    const float factor = -coefficient * step->gradient_scale;
    const int counted = min((int)step->images, images);
    const long long count = (long long)images * elements, stride = (long long)gridDim.x * blockDim.x;
    for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += stride) {
        const int image = t / elements, i = t % elements;
        const float share = image < counted ? q(i == label_of(labels, image, elements)) : 0.0f;
        put<1>(dx + t, {{share == 0 ? 0.0f : factor * share / at_least(x[t])}}, add);
    }
}

// y ← q of each image's label.
extern "C" __global__ void __launch_bounds__(256)
one_hot(int images, int elements, const int* __restrict__ labels, Smoothed q, float* __restrict__ y) {
    const long long count = (long long)images * elements, stride = (long long)gridDim.x * blockDim.x;
    for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < count; t += stride) {
        const int image = t / elements, i = t % elements;
        y[t] = q(i == label_of(labels, image, elements));
    }
}

// Each block's share of Σ (x − target)² over the counted images; target may be null. squares_metrics adds the shares up.
extern "C" __global__ void __launch_bounds__(256)
squares_forward(const StepValues* step, int images, int elements, const float* __restrict__ x,
                const float* __restrict__ target, float* __restrict__ shares) {
    __shared__ float shared[256 / WARP];
    const long long count = (long long)min((int)step->images, images) * elements;
    const long long stride = (long long)gridDim.x * blockDim.x;
    float sum = 0;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float d = target ? x[i] - target[i] : x[i];
        sum += d * d;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) shares[blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
squares_metrics(const StepValues* step, int images, int count, const float* __restrict__ shares,
                float* __restrict__ metrics) {
    __shared__ float shared[256 / WARP];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) sum += shares[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x != 0) return;
    metrics[LOSS] += sum;
    metrics[IMAGES] += min((int)step->images, images);
}

// dx ← 2·coefficient·gradient_scale·(x − target), or dx += …; target may be null.
extern "C" __global__ void __launch_bounds__(256)
squares_backward(const StepValues* step, int images, int elements, int vector, const float* __restrict__ x,
                 const float* __restrict__ target, float coefficient, float* __restrict__ dx, int add) {
    const float factor = 2 * coefficient * step->gradient_scale;
    const long long counted = (long long)min((int)step->images, images) * elements;
    for_each((long long)images * elements, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i), t = {};
        if (target) t = load<W>(target + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = i + j < counted ? factor * (v.v[j] - t.v[j]) : 0.0f;
        put<W>(dx + i, v, add);
    });
}
