// Neurons as passes of their own: y = f(x), which may work in place, and dx = dy·f′(seen), where dx may be dy.
//
// Every thread takes four neighbours by 16-byte accesses; the loop is compiled for each neuron. Bytes: forward 8 a value,
// backward 12 (16 when added to dx). Bound by memory, the exponentials included.
#include "common.cuh"
#include "neuron.cuh"

// No __restrict__: x may be y, and dy dx.
template <int KIND>
__device__ __forceinline__ void forward(const Neuron& f, long long count, int vector, const float* x, float* y) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(x + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = neuron_value<KIND>(f, v.v[j]);
        store<W>(y + i, v);
    });
}

template <int KIND>
__device__ __forceinline__ void backward(const Neuron& f, long long count, int vector, const float* seen, const float* dy,
                                         float* dx, int add) {
    for_each(count, vector, [&](auto width, long long i) {
        constexpr int W = decltype(width)::value;
        Vector<W> v = load<W>(dy + i), s = {};
        if (KIND != LINEAR) s = load<W>(seen + i);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = neuron_gradient<KIND>(f, s.v[j], v.v[j]);
        put<W>(dx + i, v, add);
    });
}

// Calls with each kind as a constant.
#define EACH_KIND(call)                     \
    switch (f.kind) {                       \
        case LINEAR: call(LINEAR); break;   \
        case RELU: call(RELU); break;       \
        case BRELU: call(BRELU); break;     \
        case SOFTRELU: call(SOFTRELU); break; \
        case TANH: call(TANH); break;       \
        case LOGISTIC: call(LOGISTIC); break; \
        case ABS: call(ABS); break;         \
        case SQUARE: call(SQUARE); break;   \
        case SQRT: call(SQRT); break;       \
        case LOG: call(LOG); break;         \
        case DRELU: call(DRELU); break;     \
        case LEAKY: call(LEAKY); break;     \
        case ELU: call(ELU); break;         \
        case SWISH: call(SWISH); break;     \
    }

extern "C" __global__ void __launch_bounds__(256, 4)
neuron_forward(Neuron f, long long count, int vector, const float* x, float* y) {
#define CALL(KIND) forward<KIND>(f, count, vector, x, y)
    EACH_KIND(CALL)
#undef CALL
}

extern "C" __global__ void __launch_bounds__(256, 4)
neuron_backward(Neuron f, long long count, int vector, const float* seen, const float* dy, float* dx, int add) {
#define CALL(KIND) backward<KIND>(f, count, vector, seen, dy, dx, add)
    EACH_KIND(CALL)
#undef CALL
}
