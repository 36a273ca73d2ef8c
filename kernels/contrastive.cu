// The contrastive loss of vectors a and b at the distance d (Hadsell et al. 2006): ½·d² of a pair of one class (label 1), ½·max(0,
// margin − d)² of one that is not, added to the metrics; and its gradient by a, which by b is the same with a and b changed. A
// pair is wrong where it is on the other side of half the margin.
//
// As in cost.cu: a warp a pair; forward is one block of 32 warps that take turns. Bytes: forward 8 an element, backward 12.
#include "cost.cuh"

// d of the pair, in every lane.
__device__ __forceinline__ float distance_of(const float* a, const float* b, int elements) {
    float sum = 0;
    for (int i = threadIdx.x % WARP; i < elements; i += WARP) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sqrtf(warp_sum(sum));
}

extern "C" __global__ void __launch_bounds__(1024)
contrastive_forward(const StepValues* step, int images, int elements, float margin, const float* __restrict__ a,
                    const float* __restrict__ b, const int* __restrict__ labels, float* __restrict__ metrics) {
    const int counted = min((int)step->images, images);
    float loss = 0;
    int errors = 0;
    for (int image = threadIdx.x / WARP; image < counted; image += WARP) {
        const long long at = (long long)image * elements;
        const float d = distance_of(a + at, b + at, elements);
        const bool same = labels[image] != 0;
        const float far = same ? d : d > margin ? 0.0f : margin - d;
        loss += 0.5f * far * far;
        errors += !(same ? d < 0.5f * margin : d >= 0.5f * margin);  // what is no number is on no side
    }
    add_metrics(loss, errors, 0, counted, metrics);
}

// da ← coefficient·gradient_scale·(a − b) times 1, or −(margin − d)/d where that is not in the other direction; or da += ….
extern "C" __global__ void __launch_bounds__(128)
contrastive_backward(const StepValues* step, int images, int elements, float margin, const float* __restrict__ a,
                     const float* __restrict__ b, const int* __restrict__ labels, float coefficient,
                     float* __restrict__ da, int add) {
    const int image = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (image >= images) return;
    a += (long long)image * elements;
    b += (long long)image * elements;
    da += (long long)image * elements;
    float factor = 0;
    if (image < step->images) {
        factor = coefficient * step->gradient_scale;
        if (labels[image] == 0) {
            const float d = distance_of(a, b, elements);
            factor *= d >= margin || d == 0 ? 0.0f : (d - margin) / d;
        }
    }
    for (int i = lane; i < elements; i += WARP)
        put<1>(da + i, {{image < step->images ? factor * (a[i] - b[i]) : 0.0f}}, add);
}
