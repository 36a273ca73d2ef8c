// Cross entropy against class probabilities t: the loss −Σ t·log p of each image added to the metrics, and the gradients by the
// outputs and by the target; p is given, or the softmax of x, computed with it (SOFTMAX). Errors are counted as for labels
// (cost.cu), the label being the first of t's largest. A class whose t is 0 has no term.
//
// As in cost.cu: a warp an image; forward is one block of 32 warps that take turns, so that the sums have one order. The rows
// are read two or three times, from L1 after the first. Bytes: forward 8 an element, backward 12; by the target 8.
#include "cost.cuh"

// log Σ e^(x − largest) of the row; `largest` is set.
__device__ __forceinline__ float log_sum(const float* row, int elements, float& largest) {
    const int lane = threadIdx.x % WARP;
    float sum = 0;
    largest = -INFINITY;
    for (int i = lane; i < elements; i += WARP) largest = fmaxf(largest, row[i]);
    largest = warp_max(largest);
    for (int i = lane; i < elements; i += WARP) sum += expf(row[i] - largest);
    return logf(warp_sum(sum));
}

// The first of the largest elements of the row, in every lane.
__device__ __forceinline__ int first_largest(const float* row, int elements) {
    float most = -INFINITY;
    int best = elements - 1;
    for (int i = threadIdx.x % WARP; i < elements; i += WARP)
        if (row[i] > most) most = row[i], best = i;
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, most, distance);
        const int place = __shfl_xor_sync(ALL_LANES, best, distance);
        if (other > most || (other == most && place < best)) most = other, best = place;
    }
    return best;
}

template <bool SOFTMAX>
__device__ __forceinline__ void forward(const StepValues* step, int images, int elements, const float* __restrict__ x,
                                        const float* __restrict__ target, float* __restrict__ metrics) {
    const int lane = threadIdx.x % WARP, counted = min((int)step->images, images);
    float loss = 0;
    int errors = 0, errors_top5 = 0;
    for (int image = threadIdx.x / WARP; image < counted; image += WARP) {
        const float* const row = x + (long long)image * elements;
        const float* const t = target + (long long)image * elements;
        const int label = first_largest(t, elements);
        const float mine = row[label];
        float largest = 0, image_loss = 0;
        const float log = SOFTMAX ? log_sum(row, elements, largest) : 0.0f;
        int rank = 0;
        for (int i = lane; i < elements; i += WARP) {
            const float v = row[i], share = t[i];
            if (share != 0) image_loss += share * (SOFTMAX ? log + (largest - v) : -logf(at_least(v)));
            rank += comes_before(v, i, mine, label);
        }
        image_loss = warp_sum(image_loss);
        rank = warp_sum(rank);
        loss += image_loss;
        errors += rank >= 1 || isnan(image_loss);
        errors_top5 += rank >= 5 || isnan(image_loss);
    }
    add_metrics(loss, errors, errors_top5, counted, metrics);
}

// The 1: ptxas would leave registers for a second block, and spill.
extern "C" __global__ void __launch_bounds__(1024, 1)
soft_cross_entropy_forward(const StepValues* step, int images, int elements, int softmax, const float* __restrict__ x,
                           const float* __restrict__ target, float* __restrict__ metrics) {
    if (softmax)
        forward<true>(step, images, elements, x, target, metrics);
    else
        forward<false>(step, images, elements, x, target, metrics);
}

// dx ← coefficient·gradient_scale·(softmax(x)·Σt − t), or −….·t/x of probabilities; or dx += ….
extern "C" __global__ void __launch_bounds__(128)
soft_cross_entropy_backward(const StepValues* step, int images, int elements, int softmax, const float* __restrict__ x,
                            const float* __restrict__ target, float coefficient, float* __restrict__ dx, int add) {
    const int image = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (image >= images) return;
    x += (long long)image * elements;
    target += (long long)image * elements;
    dx += (long long)image * elements;
    if (image >= step->images) {
        for (int i = lane; i < elements; i += WARP) put<1>(dx + i, {{0.0f}}, add);
        return;
    }
    const float factor = coefficient * step->gradient_scale;
    if (!softmax) {
        for (int i = lane; i < elements; i += WARP)
            put<1>(dx + i, {{target[i] == 0 ? 0.0f : -factor * target[i] / at_least(x[i])}}, add);
        return;
    }
    float largest = -INFINITY, sum = 0, whole = 0;
    for (int i = lane; i < elements; i += WARP) largest = fmaxf(largest, x[i]);
    largest = warp_max(largest);
    for (int i = lane; i < elements; i += WARP) sum += expf(x[i] - largest), whole += target[i];
    const float unit = warp_sum(whole) / warp_sum(sum);
    for (int i = lane; i < elements; i += WARP)
        put<1>(dx + i, {{factor * (expf(x[i] - largest) * unit - target[i])}}, add);
}

// dt ← −coefficient·gradient_scale·log softmax(x), or −….·log x of probabilities; or dt += ….
extern "C" __global__ void __launch_bounds__(128)
soft_cross_entropy_target_backward(const StepValues* step, int images, int elements, int softmax,
                                   const float* __restrict__ x, float coefficient, float* __restrict__ dt, int add) {
    const int image = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (image >= images) return;
    x += (long long)image * elements;
    dt += (long long)image * elements;
    const float factor = image < step->images ? coefficient * step->gradient_scale : 0.0f;
    float largest = 0;
    const float log = softmax ? log_sum(x, elements, largest) : 0.0f;
    for (int i = lane; i < elements; i += WARP) {
        const float minus_log = softmax ? log + (largest - x[i]) : -logf(at_least(x[i]));
        put<1>(dt + i, {{image < step->images ? factor * minus_log : 0.0f}}, add);
    }
}
