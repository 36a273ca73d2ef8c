// Batch normalisation: y = (x − mean)/√(variance + ε)·γ + β, channel by channel, over rows of as many columns as there are
// channels: a row is a place of an image. Rows lie `pitch` floats apart, of which the columns may be some.
//
// A block is `lanes` threads wide, each with W neighbouring columns, and 256/lanes rows deep, so that a warp reads whole
// rows one after the other and a thread keeps its columns' numbers in registers. Rows are cut into parts (grid rows).
// Moments are Welford's (1962), a row at a time, so that they are exact where the mean is large beside the deviation; those
// of a block's rows, then of the parts, are put together by Chan, Golub and LeVeque's rule (1979) in a fixed tree, a warp a
// column for the parts. Bytes: forward 4 + 8 an element, and 4 of what is added to it; backward 8 + 12: bound by memory.
#include "common.cuh"

constexpr int THREADS = 256;

// The moments of n numbers: their mean and Σ (x − mean)².
struct Moments {
    float n, mean, squares;

    __device__ void add(const Moments& other) {
        const float total = n + other.n;
        if (other.n == 0 || total == 0) return;
        const float difference = other.mean - mean, share = other.n / total;
        mean += difference * share;
        squares += other.squares + difference * difference * (n * share);
        n = total;
    }
};

// A thread's place: its first column, its row within the block, and its part's rows.
struct Spot {
    int column, row, deep, begin, end;

    __device__ Spot(int rows, int lanes, int part_rows, int width) {
        column = (blockIdx.x * lanes + threadIdx.x % lanes) * width;
        row = threadIdx.x / lanes;
        deep = THREADS / lanes;
        begin = blockIdx.y * part_rows;
        end = min(rows, begin + part_rows);
    }
};

// Puts the numbers of a block's rows together, `deep` of them a power of two, into those of row 0: W numbers of each of two
// kinds. `merge(i, j)` puts thread j's to thread i's.
template <class Merge>
__device__ __forceinline__ void tree(int lanes, const Spot& at, Merge merge) {
    __syncthreads();
    for (int half = at.deep / 2; half > 0; half /= 2) {
        if (at.row < half) merge(threadIdx.x, threadIdx.x + half * lanes);
        __syncthreads();
    }
}

// part[p] = the means and the sums of squares of part p: two rows of `columns` numbers.
template <int W>
__device__ __forceinline__ void part_moments(int rows, int columns, int lanes, int part_rows, const float* __restrict__ x,
                                             int x_pitch, float* __restrict__ part) {
    __shared__ Moments shared[W][THREADS];
    const Spot at(rows, lanes, part_rows, W);
    Vector<W> mean = {}, squares = {};
    float n = 0;
    if (at.column < columns) {
#pragma unroll 4
        for (int row = at.begin + at.row; row < at.end; row += at.deep) {
            const Vector<W> v = load<W>(x + (long long)row * x_pitch + at.column);
            n += 1;
            const float share = 1 / n;
#pragma unroll
            for (int j = 0; j < W; ++j) {
                const float d = v.v[j] - mean.v[j];
                mean.v[j] += d * share;
                squares.v[j] += d * (v.v[j] - mean.v[j]);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < W; ++j) shared[j][threadIdx.x] = {n, mean.v[j], squares.v[j]};
    tree(lanes, at, [&](int to, int from) {
#pragma unroll
        for (int j = 0; j < W; ++j) shared[j][to].add(shared[j][from]);
    });
    if (at.row == 0 && at.column < columns) {
#pragma unroll
        for (int j = 0; j < W; ++j) {
            part[2ll * blockIdx.y * columns + at.column + j] = shared[j][threadIdx.x].mean;
            part[(2ll * blockIdx.y + 1) * columns + at.column + j] = shared[j][threadIdx.x].squares;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
batch_norm_parts(int rows, int columns, int lanes, int part_rows, int vector, const float* __restrict__ x, int x_pitch,
                 float* __restrict__ part) {
    if (vector) {
        part_moments<4>(rows, columns, lanes, part_rows, x, x_pitch, part);
    } else {
        part_moments<1>(rows, columns, lanes, part_rows, x, x_pitch, part);
    }
}

// saved ← the means and 1/√(variance + ε) out of the parts'; the running mean and variance, the unbiased one, move towards
// them. A warp a column.
extern "C" __global__ void __launch_bounds__(128)
batch_norm_moments(int rows, int columns, int parts, int part_rows, const float* __restrict__ part, float epsilon,
                   float momentum, float* __restrict__ mean, float* __restrict__ variance, float* __restrict__ saved) {
    const int column = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (column >= columns) return;
    Moments all = {};
    for (int p = lane; p < parts; p += WARP) {
        const float n = min(part_rows, rows - p * part_rows);
        all.add({n, part[2ll * p * columns + column], part[(2ll * p + 1) * columns + column]});
    }
#pragma unroll
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const float n = __shfl_xor_sync(ALL_LANES, all.n, distance), of_mean = __shfl_xor_sync(ALL_LANES, all.mean, distance),
                    of_squares = __shfl_xor_sync(ALL_LANES, all.squares, distance);
        all.add({n, of_mean, of_squares});
    }
    if (lane == 0) {
        const float unbiased = all.squares / max(rows - 1, 1);
        mean[column] = (1 - momentum) * mean[column] + momentum * all.mean;
        variance[column] = (1 - momentum) * variance[column] + momentum * unbiased;
        saved[column] = all.mean;
        saved[columns + column] = 1 / sqrtf(all.squares / rows + epsilon);
    }
}

// saved ← the running means and 1/√(variance + ε).
extern "C" __global__ void __launch_bounds__(256)
batch_norm_running(int columns, float epsilon, const float* __restrict__ mean, const float* __restrict__ variance,
                   float* __restrict__ saved) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= columns) return;
    saved[i] = mean[i];
    saved[columns + i] = 1 / sqrtf(variance[i] + epsilon);
}

// What W columns' numbers become: (x − mean)·spread·gamma + beta, where gamma and beta that are null count as 1 and 0. The
// backward pass of what a relu follows asks again whether that is above 0, so it must round alike wherever it is compiled.
template <int W>
struct Affine {
    Vector<W> mean, factor, offset;

    __device__ Affine(const float* saved, const float* gamma, const float* beta, int columns, int column) {
        mean = load<W>(saved + column);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            factor.v[j] = (gamma ? gamma[column + j] : 1.0f) * saved[columns + column + j];
            offset.v[j] = beta ? beta[column + j] : 0.0f;
        }
    }
    __device__ float operator()(int j, float x) const { return __fmaf_rn(x - mean.v[j], factor.v[j], offset.v[j]); }
};

template <int W, bool ADDS>
__device__ __forceinline__ void apply(int rows, int columns, int lanes, int part_rows, const float* __restrict__ saved,
                                      const float* __restrict__ gamma, const float* __restrict__ beta, const Finish& finish,
                                      const float* x, int x_pitch, const float* residual, int residual_pitch, float* y,
                                      int y_pitch) {
    const Spot at(rows, lanes, part_rows, W);
    if (at.column >= columns) return;
    const Affine<W> normed(saved, gamma, beta, columns, at.column);
#pragma unroll 4
    for (int row = at.begin + at.row; row < at.end; row += at.deep) {
        Vector<W> v = load<W>(x + (long long)row * x_pitch + at.column), r = {};
        if (ADDS) r = load<W>(residual + (long long)row * residual_pitch + at.column);
#pragma unroll
        for (int j = 0; j < W; ++j) v.v[j] = finish(ADDS ? normed(j, v.v[j]) + r.v[j] : normed(j, v.v[j]));
        store<W>(y + (long long)row * y_pitch + at.column, v);
    }
}

// y ← finish((x − mean)·spread·gamma + beta + residual), of which the residual may be null; y may be x, or the residual.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
batch_norm_apply(int rows, int columns, int lanes, int part_rows, int vector, const float* __restrict__ saved,
                 const float* __restrict__ gamma, const float* __restrict__ beta, Finish finish, const float* x, int x_pitch,
                 const float* residual, int residual_pitch, float* y, int y_pitch) {
#define CALL(W, ADDS) \
    apply<W, ADDS>(rows, columns, lanes, part_rows, saved, gamma, beta, finish, x, x_pitch, residual, residual_pitch, y, y_pitch)
    if (residual) {
        vector ? CALL(4, true) : CALL(1, true);
    } else {
        vector ? CALL(4, false) : CALL(1, false);
    }
#undef CALL
}

// part[p] = Σ dy and Σ dy·(x − mean) over the rows of part p: two rows of `columns` numbers. Masked, dy counts where a relu after
// the normalisation lets it through.
template <int W, bool MASKED>
__device__ __forceinline__ void part_sums(int rows, int columns, int lanes, int part_rows, const float* __restrict__ x,
                                          int x_pitch, const float* __restrict__ saved, const float* __restrict__ gamma,
                                          const float* __restrict__ beta, const float* __restrict__ dy, int dy_pitch,
                                          float* __restrict__ part) {
    __shared__ float shared[2 * W][THREADS];
    const Spot at(rows, lanes, part_rows, W);
    Vector<W> sums = {}, products = {};
    if (at.column < columns) {
        const Affine<W> normed(saved, gamma, beta, columns, at.column);
#pragma unroll 4
        for (int row = at.begin + at.row; row < at.end; row += at.deep) {
            const Vector<W> v = load<W>(x + (long long)row * x_pitch + at.column);
            Vector<W> d = load<W>(dy + (long long)row * dy_pitch + at.column);
#pragma unroll
            for (int j = 0; j < W; ++j) {
                if (MASKED) d.v[j] = normed(j, v.v[j]) > 0 ? d.v[j] : 0.0f;
                sums.v[j] += d.v[j];
                products.v[j] = __fmaf_rn(d.v[j], v.v[j] - normed.mean.v[j], products.v[j]);
            }
        }
    }
#pragma unroll
    for (int j = 0; j < W; ++j) {
        shared[2 * j][threadIdx.x] = sums.v[j];
        shared[2 * j + 1][threadIdx.x] = products.v[j];
    }
    tree(lanes, at, [&](int to, int from) {
#pragma unroll
        for (int j = 0; j < 2 * W; ++j) shared[j][to] += shared[j][from];
    });
    if (at.row == 0 && at.column < columns) {
#pragma unroll
        for (int j = 0; j < W; ++j) {
            part[2ll * blockIdx.y * columns + at.column + j] = shared[2 * j][threadIdx.x];
            part[(2ll * blockIdx.y + 1) * columns + at.column + j] = shared[2 * j + 1][threadIdx.x];
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
batch_norm_sums(int rows, int columns, int lanes, int part_rows, int vector, int masked, const float* __restrict__ x, int x_pitch,
                const float* __restrict__ saved, const float* __restrict__ gamma, const float* __restrict__ beta,
                const float* __restrict__ dy, int dy_pitch, float* __restrict__ part) {
#define CALL(W, MASKED) \
    part_sums<W, MASKED>(rows, columns, lanes, part_rows, x, x_pitch, saved, gamma, beta, dy, dy_pitch, part)
    if (masked) {
        vector ? CALL(4, true) : CALL(1, true);
    } else {
        vector ? CALL(4, false) : CALL(1, false);
    }
#undef CALL
}

// dbeta ← Σ dy and dgamma ← Σ dy·x̂, where they are wanted; totals ← Σ dy/rows and Σ dy·x̂·spread/rows. A warp a column.
extern "C" __global__ void __launch_bounds__(128)
batch_norm_totals(int rows, int columns, int parts, const float* __restrict__ part, const float* __restrict__ saved,
                  float* __restrict__ dgamma, int add_gamma, float* __restrict__ dbeta, int add_beta,
                  float* __restrict__ totals) {
    const int column = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (column >= columns) return;
    float sum = 0, product = 0;
    for (int p = lane; p < parts; p += WARP) {
        sum += part[2ll * p * columns + column];
        product += part[(2ll * p + 1) * columns + column];
    }
    sum = warp_sum(sum);
    product = warp_sum(product);
    if (lane == 0) {
        const float spread = saved[columns + column];
        product *= spread;
        if (dbeta) put<1>(dbeta + column, {{sum}}, add_beta);
        if (dgamma) put<1>(dgamma + column, {{product}}, add_gamma);
        totals[column] = sum / rows;
        totals[columns + column] = product * spread / rows;
    }
}

template <int W, bool MASKED>
__device__ __forceinline__ void spread_gradients(int rows, int columns, int lanes, int part_rows, const float* __restrict__ x,
                                                 int x_pitch, const float* __restrict__ saved, const float* __restrict__ gamma,
                                                 const float* __restrict__ beta, const float* __restrict__ totals,
                                                 const float* dy, int dy_pitch, float* dx, int dx_pitch, int add) {
    const Spot at(rows, lanes, part_rows, W);
    if (at.column >= columns) return;
    const Affine<W> normed(saved, gamma, beta, columns, at.column);
    const Vector<W> p = load<W>(totals + at.column);
    Vector<W> q;
#pragma unroll
    for (int j = 0; j < W; ++j) q.v[j] = totals[columns + at.column + j];
#pragma unroll 4
    for (int row = at.begin + at.row; row < at.end; row += at.deep) {
        const Vector<W> v = load<W>(x + (long long)row * x_pitch + at.column);
        Vector<W> d = load<W>(dy + (long long)row * dy_pitch + at.column);
#pragma unroll
        for (int j = 0; j < W; ++j) {
            if (MASKED) d.v[j] = normed(j, v.v[j]) > 0 ? d.v[j] : 0.0f;
            d.v[j] = normed.factor.v[j] * __fmaf_rn(normed.mean.v[j] - v.v[j], q.v[j], d.v[j] - p.v[j]);
        }
        put<W>(dx + (long long)row * dx_pitch + at.column, d, add);
    }
}

// dx ← gamma·spread·(dy − Σ dy/rows − x̂·Σ dy·x̂/rows), or dx += …; dx may be dy. Masked, dy as in the sums.
extern "C" __global__ void __launch_bounds__(THREADS, 4)
batch_norm_backward(int rows, int columns, int lanes, int part_rows, int vector, int masked, const float* __restrict__ x,
                    int x_pitch, const float* __restrict__ saved, const float* __restrict__ gamma, const float* __restrict__ beta,
                    const float* __restrict__ totals, const float* dy, int dy_pitch, float* dx, int dx_pitch, int add) {
#define CALL(W, MASKED)                                                                                                       \
    spread_gradients<W, MASKED>(rows, columns, lanes, part_rows, x, x_pitch, saved, gamma, beta, totals, dy, dy_pitch, dx,    \
                                dx_pitch, add)
    if (masked) {
        vector ? CALL(4, true) : CALL(1, true);
    } else {
        vector ? CALL(4, false) : CALL(1, false);
    }
#undef CALL
}
