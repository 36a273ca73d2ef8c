// Neurons as passes of their own: y = f(x), which may work in place, and dx = dy·f′(seen), where dx may be dy.
//
// Every thread takes four neighbours by 16-byte accesses; the loop is compiled for each neuron. Bytes: forward 8 a value,
// backward 12 (16 when added to dx). Bound by memory, the exponentials included.
//
// What goes by rows instead, a warp 32 columns of one: gradients whose sums over the rows are wanted too, those of biases, and
// tensors that are some columns of others. The sums cost no bytes.
#include "columns.cuh"
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

// dx ← dy·f′(seen) by rows, or dx += …, and db ← Σ dx over the rows of a part where db is not null; dx is set then.
template <int KIND>
__device__ __forceinline__ void backward_rows(const Neuron& f, int rows, int columns, int part_rows, const float* seen,
                                              int seen_pitch, const float* dy, int dy_pitch, float* dx, int dx_pitch, int add,
                                              float* db, int add_db) {
    struct Pair {
        float seen, dy;
    };
    const auto load = [&](int row, int column) -> Pair {
        return {KIND == LINEAR ? 0.0f : seen[(long long)row * seen_pitch + column], dy[(long long)row * dy_pitch + column]};
    };
    sum_columns(rows, columns, part_rows, db, add_db, load, [&](int row, int column, const Pair& at) {
        const float gradient = neuron_gradient<KIND>(f, at.seen, at.dy);
        put<1>(dx + (long long)row * dx_pitch + column, {{gradient}}, add);
        return gradient;
    });
}

// Each kernel's body is compiled for every kind.
#define SWITCH        \
    switch (f.kind) { \
        NEURONS(CASE) \
    }

extern "C" __global__ void __launch_bounds__(256, 4)
neuron_forward(Neuron f, long long count, int vector, const float* x, float* y) {
#define CASE(KIND) \
    case KIND: forward<KIND>(f, count, vector, x, y); break;
    SWITCH
#undef CASE
}

extern "C" __global__ void __launch_bounds__(256, 4)
neuron_backward(Neuron f, long long count, int vector, const float* seen, const float* dy, float* dx, int add) {
#define CASE(KIND) \
    case KIND: backward<KIND>(f, count, vector, seen, dy, dx, add); break;
    SWITCH
#undef CASE
}

extern "C" __global__ void __launch_bounds__(256, 4)
neuron_backward_rows(Neuron f, int rows, int columns, int part_rows, const float* seen, int seen_pitch, const float* dy,
                     int dy_pitch, float* dx, int dx_pitch, int add, float* db, int add_db) {
#define CASE(KIND)                                                                                                       \
    case KIND:                                                                                                           \
        backward_rows<KIND>(f, rows, columns, part_rows, seen, seen_pitch, dy, dy_pitch, dx, dx_pitch, add, db, add_db); \
        break;
    SWITCH
#undef CASE
}
