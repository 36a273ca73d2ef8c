// What the kernels share: the geometry structs of src/device/geometry.rs, the step's values, widths of access, and sums
// over a warp and a block in a fixed order.
//
// Every tensor is NHWC and float. Offsets into a tensor are 64 bits wide; offsets within one image are 32.
//
// __launch_bounds__(256, 4): without the 4, ptxas aims at eight blocks a multiprocessor, and spills on some architectures.
#pragma once

struct ConvGeometry {
    int n, h, w, c;
    int k, r, s;
    int p, q;
    int stride_h, stride_w;
    int padding_h, padding_w;
    int dilation_h, dilation_w;
    int groups;
};
static_assert(sizeof(ConvGeometry) == 64, "as in src/device/geometry.rs");

struct PoolGeometry {
    int n, h, w, c;
    int p, q;
    int size_h, size_w;
    int stride_h, stride_w;
    int start_h, start_w;
};
static_assert(sizeof(PoolGeometry) == 48, "as in src/device/geometry.rs");

struct LrnGeometry {
    int n, h, w, c;
    int size;
    int within, blocked;
};
static_assert(sizeof(LrnGeometry) == 28, "as in src/device/geometry.rs");

struct ImageGeometry {
    int n, h, w, c;
    int p, q;
};
static_assert(sizeof(ImageGeometry) == 24, "as in src/device/geometry.rs");

struct CopyGeometry {
    int n, h, w, c;
    int p, q, k;
    int rows, columns, channels;
    int from_h, from_w, from_c;
    int to_h, to_w, to_c;
    int mirror;
};
static_assert(sizeof(CopyGeometry) == 68, "as in src/device/geometry.rs");

struct Place {
    int top, left, flip;
};
static_assert(sizeof(Place) == 12, "as in src/device/mod.rs");

// What changes from step to step. The kernels read it from memory, so that a recorded step can be replayed with new values.
struct StepValues {
    unsigned long long seed, step;
    unsigned first_image, images;
    float gradient_scale, learning_rate, momentum;
    unsigned unused;
};
static_assert(sizeof(StepValues) == 40, "as in src/device/cuda/step.rs");

// What a product's result goes through before it is stored: a·x + b, times `below` where that is below 0, held between low
// and high. It covers no neuron, linear, relu, leaky and brelu without a branch; the other neurons are a pass of their own.
struct Finish {
    float a, b, below, low, high;

    __device__ float operator()(float x) const {
        x = a * x + b;
        x = x < 0 ? x * below : x;
        x = x < low ? low : x;  // not fmaxf: what is no number stays so, and shows
        return x > high ? high : x;
    }
};
static_assert(sizeof(Finish) == 20, "as in src/device/cuda/parts.rs");

// W neighbouring floats, moved by one access.
template <int W>
struct Vector;
template <>
struct Vector<1> {
    float v[1];
};
template <>
struct alignas(16) Vector<4> {
    float v[4];
};

template <int W>
__device__ __forceinline__ Vector<W> load(const float* p) {
    Vector<W> x;
    if constexpr (W == 4) {
        const float4 t = *reinterpret_cast<const float4*>(p);
        x.v[0] = t.x, x.v[1] = t.y, x.v[2] = t.z, x.v[3] = t.w;
    } else {
        x.v[0] = *p;
    }
    return x;
}

template <int W>
__device__ __forceinline__ void store(float* p, const Vector<W>& x) {
    if constexpr (W == 4) {
        *reinterpret_cast<float4*>(p) = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
    } else {
        *p = x.v[0];
    }
}

// The result's new value: the value, or the old value and it; where `seen` is not null, times the derivative of the relu whose
// output lies there. The value is rounded before it is added, in every kernel: the compiler may not contract a product with this.
template <int W>
__device__ __forceinline__ void put(float* p, Vector<W> x, int add, const float* seen = nullptr) {
    if (add) {
        const Vector<W> old = load<W>(p);
#pragma unroll
        for (int i = 0; i < W; ++i) x.v[i] = __fadd_rn(x.v[i], old.v[i]);
    }
    if (seen) {
        const Vector<W> y = load<W>(seen);
#pragma unroll
        for (int i = 0; i < W; ++i) x.v[i] = y.v[i] > 0 ? x.v[i] : 0.0f;
    }
    store<W>(p, x);
}

// Puts four values at p … p + 3 of which the first `count` are inside: at once where `vector` says that p and `seen` are on 16
// bytes.
__device__ __forceinline__ void put_fragment(float* p, const Vector<4>& x, int count, int vector, int add,
                                             const float* seen = nullptr) {
    if (vector && count >= 4) {
        put<4>(p, x, add, seen);
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (i < count) put<1>(p + i, {{x.v[i]}}, add, seen ? seen + i : nullptr);
    }
}

// The address within shared memory that instructions for it take.
__device__ __forceinline__ unsigned shared_address(const void* p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ bool on_16_bytes(const void* p) {
    return reinterpret_cast<unsigned long long>(p) % 16 == 0;
}

template <int W>
struct Width {
    static constexpr int value = W;
};

// Calls f(Width<W>, i) so that every element i … i + W − 1 below `count` is met once: by four where `vector` says that all
// tensors lie on 16-byte boundaries, the rest one by one. The grid may have any size.
template <class F>
__device__ __forceinline__ void for_each(long long count, int vector, F f) {
    const long long first = (long long)blockIdx.x * blockDim.x + threadIdx.x, step = (long long)gridDim.x * blockDim.x;
    const long long fours = vector ? count / 4 : 0;
    for (long long i = first; i < fours; i += step) f(Width<4>{}, i * 4);
    for (long long i = fours * 4 + first; i < count; i += step) f(Width<1>{}, i);
}

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Σ over the lanes of a warp, in every lane; always the same tree.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, distance));
    return x;
}

// Σ over a block of whole warps, in thread 0; always the same tree. `shared` holds a float a warp.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
    __syncthreads();
    const int warps = blockDim.x / WARP;
    float sum = 0;
    if (threadIdx.x < WARP) sum = warp_sum(threadIdx.x < warps ? shared[threadIdx.x] : 0.0f);
    return sum;
}
