// Images from bytes: y[n,p,q,c] = (x[n, p + top, q + left, c] − mean)·scale, mirrored where the place says so, and 0 outside
// the source. The mean is one value a channel, or an image of the source's size that moves with the source.
//
// One thread makes one value, channel fastest: a warp writes 128 contiguous bytes and reads 32 neighbouring ones. Bytes: 1
// read and 4 written a value; AlexNet's 128×224×224×3 is 96 MB, 29 µs at 3.35 TB/s. No loop: the grid covers all values.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
load_images(ImageGeometry g, const unsigned char* __restrict__ x, const Place* __restrict__ places,
            const float* __restrict__ mean, int mean_is_image, float scale, float* __restrict__ y) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;  // within one image, grid row blockIdx.y
    if (i >= g.p * g.q * g.c) return;
    for (int n = blockIdx.y; n < g.n; n += gridDim.y) {
        const Place place = places[n];
        const int c = i % g.c, row = i / g.c / g.q + place.top, column = i / g.c % g.q + place.left;
        float value = 0;
        if (row >= 0 && row < g.h && column >= 0 && column < g.w) {
            const int cell = (row * g.w + (place.flip ? g.w - 1 - column : column)) * g.c + c;
            const float m = mean[mean_is_image ? cell : c];
            value = (x[(long long)n * g.h * g.w * g.c + cell] - m) * scale;
        }
        y[(long long)n * g.p * g.q * g.c + i] = value;
    }
}
