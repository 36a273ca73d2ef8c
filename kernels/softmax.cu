// Softmax over each image's elements, and its gradient.
//
// A warp takes an image: lane i the elements i, i + 32, …; sums go through warp_sum, always the same tree. The row is read
// three times, from L1 after the first, for its maximum, its sum and its result. Bytes: forward 8 an element, backward 12.
#include "common.cuh"

// The image of this warp.
__device__ __forceinline__ int warp_image() { return (blockIdx.x * blockDim.x + threadIdx.x) / WARP; }

extern "C" __global__ void __launch_bounds__(128)
softmax_forward(int images, int elements, const float* __restrict__ x, float* __restrict__ y) {
    const int image = warp_image(), lane = threadIdx.x % WARP;
    if (image >= images) return;
    x += (long long)image * elements;
    y += (long long)image * elements;
    float largest = -INFINITY, sum = 0;
    for (int i = lane; i < elements; i += WARP) largest = fmaxf(largest, x[i]);
    largest = warp_max(largest);
    for (int i = lane; i < elements; i += WARP) sum += expf(x[i] - largest);
    const float scale = 1 / warp_sum(sum);
    for (int i = lane; i < elements; i += WARP) y[i] = expf(x[i] - largest) * scale;
}

// dx ← y·(dy − Σ y·dy), or dx += ….
extern "C" __global__ void __launch_bounds__(128)
softmax_backward(int images, int elements, const float* __restrict__ y, const float* __restrict__ dy,
                 float* __restrict__ dx, int add) {
    const int image = warp_image(), lane = threadIdx.x % WARP;
    if (image >= images) return;
    const long long at = (long long)image * elements;
    float sum = 0;
    for (int i = lane; i < elements; i += WARP) sum += y[at + i] * dy[at + i];
    sum = warp_sum(sum);
    for (int i = lane; i < elements; i += WARP) put<1>(dx + at + i, {{y[at + i] * (dy[at + i] - sum)}}, add);
}
