// Binary cross entropy of outputs and targets t, each by itself: −w·t·log p − (1 − t)·log(1 − p), added to the metrics; its
// gradients by the outputs and by the targets; and what each output detected. p is given, or is that of a logistic neuron whose
// input x is read in its place: the logarithms are then those of 1 + e^−x and 1 + eˣ, the gradient (1 − t)·σ(x) − w·t·σ(−x).
//
// Every element is read once. Forward: a block's threads take elements in turn, its share of the sums goes to `shares`, and
// one block adds those up in a fixed tree. Backward makes four neighbours a thread, in 16-byte accesses. Bytes: forward 8 an
// element, backward 12, by the target 8. The images from step->images on are padding, as in cost.cu.
#include "cost.cuh"

// −log p and −log(1 − p).
struct Two {
    float yes, no;
};

__device__ __forceinline__ Two logarithms(int logistic, float x) {
    if (!logistic) return {-logf(at_least(x)), -logf(at_least(1 - x))};
    const float both = log1pf(expf(-fabsf(x)));
    return {(x > 0 ? 0 : -x) + both, (x < 0 ? 0 : x) + both};
}

// Their derivatives, without the first one's sign.
__device__ __forceinline__ Two slopes(int logistic, float x) {
    if (!logistic) return {1 / at_least(x), 1 / at_least(1 - x)};
    const float small = expf(-fabsf(x)), high = 1 / (1 + small), low = small * high;
    return x < 0 ? Two{high, low} : Two{low, high};
}

// Each block's shares: the losses, then the outputs on the wrong side, what is no number among them.
extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_forward(const StepValues* step, int images, int elements, int logistic, float weight,
                             const float* __restrict__ x, const float* __restrict__ target, float* __restrict__ shares) {
    __shared__ float shared[2][256 / WARP];
    const long long count = (long long)min((int)step->images, images) * elements;
    const long long stride = (long long)gridDim.x * blockDim.x;
    const float threshold = logistic ? 0.0f : 0.5f;
    float loss = 0, wrong = 0;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride) {
        const float v = x[i], t = target[i];
        const Two log = logarithms(logistic, v);
        loss += weight * t * log.yes + (1 - t) * log.no;
        wrong += (t > 0.5f ? v > threshold : v <= threshold) ? 0 : 1;
    }
    loss = block_sum(loss, shared[0]);
    wrong = block_sum(wrong, shared[1]);
    if (threadIdx.x == 0) shares[blockIdx.x] = loss, shares[gridDim.x + blockIdx.x] = wrong;
}

extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_metrics(const StepValues* step, int images, int elements, int count,
                             const float* __restrict__ shares, float* __restrict__ metrics) {
    __shared__ float shared[2][256 / WARP];
    float loss = 0, wrong = 0;
    for (int i = threadIdx.x; i < count; i += blockDim.x) loss += shares[i], wrong += shares[count + i];
    loss = block_sum(loss, shared[0]);
    wrong = block_sum(wrong, shared[1]);
    if (threadIdx.x != 0) return;
    metrics[LOSS] += loss;
    metrics[ERRORS] += wrong / elements;
    metrics[IMAGES] += min((int)step->images, images);
}

// dx ← coefficient·gradient_scale·((1 − t)·σ(x) − w·t·σ(−x)), or of probabilities ….·((1 − t)/(1 − x) − w·t/x); or dx += ….
extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_backward(const StepValues* step, int images, int elements, int logistic, float weight, int vector,
                              const float* __restrict__ x, const float* __restrict__ target, float coefficient,
                              float* __restrict__ dx, int add) {
    const float factor = coefficient * step->gradient_scale;
    const long long counted = (long long)min((int)step->images, images) * elements;
    for_each((long long)images * elements, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
        const Vector<W> t = load<W>(target + i);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const Two slope = slopes(logistic, v.v[j]);
            const float gradient = (1 - t.v[j]) * slope.no - weight * t.v[j] * slope.yes;
            v.v[j] = i + j < counted ? factor * gradient : 0.0f;
        }
        put<W>(dx + i, v, add);
    });
}

// dt ← coefficient·gradient_scale·(log(1 − p) − w·log p), or dt += ….
extern "C" __global__ void __launch_bounds__(256)
binary_cross_entropy_target_backward(const StepValues* step, int images, int elements, int logistic, float weight, int vector,
                                     const float* __restrict__ x, float coefficient, float* __restrict__ dt, int add) {
    const float factor = coefficient * step->gradient_scale;
    const long long counted = (long long)min((int)step->images, images) * elements;
    for_each((long long)images * elements, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            const Two log = logarithms(logistic, v.v[j]);
            v.v[j] = i + j < counted ? factor * (weight * log.yes - log.no) : 0.0f;
        }
        put<W>(dt + i, v, add);
    });
}

// Adds to counts [3][elements], over the counted images: true positives, false positives, false negatives of each output.
//
// A block takes 32 outputs, a warp every eighth image of them: 128 contiguous bytes an access. Whole numbers, exact in any
// order. 128 images of 1000 outputs are a megabyte: microseconds.
extern "C" __global__ void __launch_bounds__(256)
count_detections(const StepValues* step, int images, int elements, int logistic, const float* __restrict__ x,
                 const float* __restrict__ target, float* __restrict__ counts) {
    constexpr int WARPS = 256 / WARP;
    __shared__ int found[3][WARPS][WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, output = blockIdx.x * WARP + lane;
    const int counted = min((int)step->images, images);
    const float threshold = logistic ? 0.0f : 0.5f;
    int sums[3] = {};
    if (output < elements) {
        for (int image = warp; image < counted; image += WARPS) {
            const long long at = (long long)image * elements + output;
            const bool declared = x[at] > threshold, positive = target[at] > 0.5f;
            sums[0] += declared && positive;
            sums[1] += declared && !positive;
            sums[2] += !declared && positive;
        }
    }
#pragma unroll
    for (int k = 0; k < 3; ++k) found[k][warp][lane] = sums[k];
    __syncthreads();
    if (warp >= 3 || output >= elements) return;
    int sum = 0;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) sum += found[warp][w][lane];
    counts[warp * elements + output] += sum;
}
