// L*a*b* of linear RGB, as cuda-convnet2 has it: X, Y, Z are sums of R, G, B; f is the cube root, and a line near 0;
// L* = 116·f(Y) − offset, a* = 500·(f(X) − f(Y)), b* = 200·(f(Y) − f(Z)).
//
// A thread makes one cell of three channels: a warp's three accesses meet the same lines. Bytes a cell: 24 forward, 36 backward;
// the three cube roots take about as long. Both are for images alone.
#include "common.cuh"

constexpr float LINEAR = 0.0088564517f, SLOPE = 7.787037f, HEIGHT = 0.13793103f;

__device__ __forceinline__ float lab_root(float t) {
    return t > LINEAR ? cbrtf(t) : SLOPE * t + HEIGHT;
}

__device__ __forceinline__ float lab_slope(float t) {
    if (t <= LINEAR) return SLOPE;
    const float root = cbrtf(t);
    return 1 / (3 * root * root);
}

struct Xyz {
    float x, y, z;
    __device__ explicit Xyz(const float* rgb) {
        const float r = rgb[0], g = rgb[1], b = rgb[2];
        x = 0.49f * r + 0.31f * g + 0.2f * b;
        y = 0.17697f * r + 0.8124f * g + 0.01063f * b;
        z = 0.01f * g + 0.99f * b;
    }
};

extern "C" __global__ void __launch_bounds__(256)
lab_forward(long long cells, float offset, const float* __restrict__ x, float* __restrict__ y) {
    for_each(cells, 0, [&](auto, long long i) {
        const Xyz t(x + 3 * i);
        const float fx = lab_root(t.x), fy = lab_root(t.y), fz = lab_root(t.z);
        y[3 * i] = 116 * fy - offset;
        y[3 * i + 1] = 500 * (fx - fy);
        y[3 * i + 2] = 200 * (fy - fz);
    });
}

extern "C" __global__ void __launch_bounds__(256)
lab_backward(long long cells, const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dx, int add) {
    for_each(cells, 0, [&](auto, long long i) {
        const Xyz t(x + 3 * i);
        const float dl = 116 * dy[3 * i], da = 500 * dy[3 * i + 1], db = 200 * dy[3 * i + 2];
        const float gx = da * lab_slope(t.x), gy = (dl - da + db) * lab_slope(t.y), gz = -db * lab_slope(t.z);
        put<1>(dx + 3 * i, {{0.49f * gx + 0.17697f * gy}}, add);
        put<1>(dx + 3 * i + 1, {{0.31f * gx + 0.8124f * gy + 0.01f * gz}}, add);
        put<1>(dx + 3 * i + 2, {{0.2f * gx + 0.01063f * gy + 0.99f * gz}}, add);
    });
}
