// Hinge losses of class scores x and a label y, added to the metrics, and their gradient. Of several classes: Σ h(margin + x[j]
// − x[y]) over the other classes j; one against all: h(margin − x[y]) + Σ h(margin + x[j]). h(v) = max(0, v), or its square.
//
// As in cost.cu: a warp an image; forward is one block of 32 warps that take turns. Bytes: forward 4 an element, backward 8.
#include "cost.cuh"

struct Hinge {
    int one_vs_all, squared;
    float margin;

    // What a class's score is added to.
    __device__ float base(float mine) const { return one_vs_all ? margin : margin - mine; }

    __device__ float loss(float v) const {
        v = v < 0 ? 0 : v;  // what is no number stays
        return squared ? v * v : v;
    }

    __device__ float slope(float v) const {
        if (v < 0) return 0;
        return squared ? 2 * v : v > 0 ? 1 : v;
    }
};
static_assert(sizeof(Hinge) == 12, "as in src/device/cuda/hinge.rs");

extern "C" __global__ void __launch_bounds__(1024)
hinge_forward(const StepValues* step, int images, int elements, Hinge h, const float* __restrict__ x,
              const int* __restrict__ labels, float* __restrict__ metrics) {
    const int lane = threadIdx.x % WARP, counted = min((int)step->images, images);
    float loss = 0;
    int errors = 0, errors_top5 = 0;
    for (int image = threadIdx.x / WARP; image < counted; image += WARP) {
        const float* const row = x + (long long)image * elements;
        const int label = label_of(labels, image, elements);
        const float mine = row[label], base = h.base(mine);
        float image_loss = 0;
        int rank = 0;
        for (int i = lane; i < elements; i += WARP) {
            const float v = row[i];
            if (i != label)
                image_loss += h.loss(base + v);
            else if (h.one_vs_all)
                image_loss += h.loss(h.margin - v);
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

// dx ← coefficient·gradient_scale·the gradient, or dx += ….
extern "C" __global__ void __launch_bounds__(128)
hinge_backward(const StepValues* step, int images, int elements, Hinge h, const float* __restrict__ x,
               const int* __restrict__ labels, float coefficient, float* __restrict__ dx, int add) {
    const int image = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (image >= images) return;
    x += (long long)image * elements;
    dx += (long long)image * elements;
    if (image >= step->images) {
        for (int i = lane; i < elements; i += WARP) put<1>(dx + i, {{0.0f}}, add);
        return;
    }
    const int label = label_of(labels, image, elements);
    const float factor = coefficient * step->gradient_scale, mine = x[label], base = h.base(mine);
    float pull = 0;
    for (int i = lane; i < elements; i += WARP) {
        if (i == label) continue;
        const float slope = h.slope(base + x[i]);
        pull += slope;
        put<1>(dx + i, {{factor * slope}}, add);
    }
    pull = h.one_vs_all ? h.slope(h.margin - mine) : warp_sum(pull);
    if (lane == 0) put<1>(dx + label, {{-factor * pull}}, add);
}
