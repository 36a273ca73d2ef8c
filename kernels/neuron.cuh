// The neurons of src/op/neuron.rs and their gradients. A gradient is a function of dy and of what is seen: the input of abs,
// square, drelu, nrelu and swish, the output of the others (linear sees nothing). It is 0 at the corners of relu, brelu and abs, and of
// sqrt at 0; at leaky's it is a.
#pragma once

struct Neuron {
    int kind;
    float a, b, unit;  // unit: 1/a of tanh and drelu
};
static_assert(sizeof(Neuron) == 16, "as in src/device/cuda/neuron.rs");

// Calls each(KIND) for every kind, in the order of the table in src/op/neuron.rs.
#define NEURONS(each)                                                                                                        \
    each(LINEAR) each(RELU) each(BRELU) each(SOFTRELU) each(TANH) each(LOGISTIC) each(ABS) each(SQUARE) each(SQRT) each(LOG) \
    each(DRELU) each(NRELU) each(LEAKY) each(ELU) each(SWISH)
#define NEURON_NAME(KIND) KIND,
enum NeuronKind { NEURONS(NEURON_NAME) };

template <int KIND>
__device__ __forceinline__ float neuron_value(const Neuron& f, float x) {
    if constexpr (KIND == LINEAR) return f.a * x + f.b;
    if constexpr (KIND == RELU || KIND == NRELU) return x < 0 ? 0.0f : x;
    if constexpr (KIND == BRELU) return x < 0 ? 0.0f : x > f.a ? f.a : x;
    if constexpr (KIND == SOFTRELU) return (x < 0 ? 0.0f : x) + log1pf(expf(-fabsf(x)));
    if constexpr (KIND == TANH) return f.a * tanhf(f.b * x);
    if constexpr (KIND == LOGISTIC) return 1 / (1 + expf(-x));
    if constexpr (KIND == ABS) return fabsf(x);
    if constexpr (KIND == SQUARE) return x * x;
    if constexpr (KIND == SQRT) return sqrtf(x);
    if constexpr (KIND == LOG) return logf(f.a + x);
    if constexpr (KIND == DRELU) return x - f.a * tanhf(x * f.unit);
    if constexpr (KIND == LEAKY) return x < 0 ? f.a * x : x;
    if constexpr (KIND == ELU) return x < 0 ? f.a * expm1f(x) : x;
    if constexpr (KIND == SWISH) return x / (1 + expf(-x));
}

template <int KIND>
__device__ __forceinline__ float neuron_gradient(const Neuron& f, float seen, float dy) {
    if constexpr (KIND == LINEAR) return dy * f.a;
    if constexpr (KIND == RELU || KIND == NRELU) return seen > 0 ? dy : 0.0f;
    if constexpr (KIND == BRELU) return seen > 0 && seen < f.a ? dy : 0.0f;
    if constexpr (KIND == SOFTRELU) return dy * -expm1f(-seen);
    if constexpr (KIND == TANH) {
        const float t = seen * f.unit;
        return dy * (f.a * f.b * (1 - t * t));
    }
    if constexpr (KIND == LOGISTIC) return dy * (seen * (1 - seen));
    if constexpr (KIND == ABS) return seen > 0 ? dy : seen < 0 ? -dy : 0.0f;
    if constexpr (KIND == SQUARE) return dy * (seen + seen);
    if constexpr (KIND == SQRT) return seen > 0 ? dy / (seen + seen) : 0.0f;
    if constexpr (KIND == LOG) return dy * expf(-seen);
    if constexpr (KIND == DRELU) {
        const float t = tanhf(seen * f.unit);
        return dy * (t * t);
    }
    if constexpr (KIND == LEAKY) return seen > 0 ? dy : dy * f.a;
    if constexpr (KIND == ELU) return seen > 0 ? dy : dy * (seen + f.a);
    if constexpr (KIND == SWISH) {
        const float s = 1 / (1 + expf(-seen));
        return dy * (s * (1 + seen * (1 - s)));
    }
}
