// The inner product of every matrix product and convolution: a block's tile of C[m][n] = Σ_k A[m][k]·B[n][k].
//
// Three levels. The block walks along k in steps of Tile::K; a loader for each operand fetches its M × K (N × K) elements of
// the next step into registers while the current step is computed, then puts them into the other of two stages in shared
// memory, k by k, so that one barrier a step suffices. A warp covers 4 × 8 threads, which read 4 and 8 neighbouring float4 of
// a stage: one wavefront each. A thread keeps TM × TN sums in registers, as fragments of four rows and four columns.
//
// A step costs a thread TM·TN·K multiply-adds and (TM + TN)/4·K shared loads of 16 bytes: 16 to 1 for the large tile.
// Each sum runs along k from 0 up, whatever the tile, so that tiles give equal bits.
//
// The loaders alone know what A and B are. Each has: fetch() loads its part of the current step, put(stage) stores it, and
// advance() goes one step on. Elements outside a matrix are zeros.
#pragma once
#include "common.cuh"

template <int M_, int N_, int K_, int TM_, int TN_>
struct Tile {
    static constexpr int M = M_, N = N_, K = K_, TM = TM_, TN = TN_;
    static constexpr int THREADS = (M / TM) * (N / TN);
    static constexpr int ROW_FRAGMENTS = TM / 4, COLUMN_FRAGMENTS = TN / 4;
    static constexpr int WARPS_ACROSS = N / TN / 8;
    // Four floats more a row keep rows on 16 bytes and turn the banks when a loader stores along k.
    static constexpr int A_PITCH = M + 4, B_PITCH = N + 4;
    static constexpr int A_STAGE = K * A_PITCH, B_STAGE = K * B_PITCH;
    static constexpr int SHARED = 2 * (A_STAGE + B_STAGE);

    // This thread's place among the tile's (M/TM) × (N/TN).
    __device__ static int thread_row() { return threadIdx.x / WARP / WARPS_ACROSS * 4 + threadIdx.x % WARP / 8; }
    __device__ static int thread_column() { return threadIdx.x / WARP % WARPS_ACROSS * 8 + threadIdx.x % 8; }
    // First row (column) of this thread's fragment.
    __device__ static int row(int fragment) { return fragment * (M / ROW_FRAGMENTS) + thread_row() * 4; }
    __device__ static int column(int fragment) { return fragment * (N / COLUMN_FRAGMENTS) + thread_column() * 4; }
};

// For many rows and columns, and for few. Shared memory: 16.5 KiB and 13 KiB.
using Large = Tile<128, 128, 8, 8, 8>;
using Small = Tile<64, 32, 16, 4, 4>;

// This thread's sums of the tile after `steps` steps.
template <class T, class A, class B>
__device__ __forceinline__ void multiply(A& a, B& b, int steps, float (&sum)[T::TM][T::TN]) {
    __shared__ alignas(16) float shared[T::SHARED];
    float* const shared_a = shared;
    float* const shared_b = shared + 2 * T::A_STAGE;
#pragma unroll
    for (int i = 0; i < T::TM; ++i)
#pragma unroll
        for (int j = 0; j < T::TN; ++j) sum[i][j] = 0;
    if (steps == 0) return;
    a.fetch();
    b.fetch();
    a.put(shared_a);
    b.put(shared_b);
    __syncthreads();
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        const bool more = step + 1 < steps;
        if (more) {
            a.advance();
            b.advance();
            a.fetch();
            b.fetch();
        }
        const float* const stage_a = shared_a + step % 2 * T::A_STAGE + T::row(0);
        const float* const stage_b = shared_b + step % 2 * T::B_STAGE + T::column(0);
#pragma unroll
        for (int k = 0; k < T::K; ++k) {
            Vector<4> fa[T::ROW_FRAGMENTS], fb[T::COLUMN_FRAGMENTS];
#pragma unroll
            for (int f = 0; f < T::ROW_FRAGMENTS; ++f)
                fa[f] = load<4>(stage_a + k * T::A_PITCH + f * (T::M / T::ROW_FRAGMENTS));
#pragma unroll
            for (int f = 0; f < T::COLUMN_FRAGMENTS; ++f)
                fb[f] = load<4>(stage_b + k * T::B_PITCH + f * (T::N / T::COLUMN_FRAGMENTS));
#pragma unroll
            for (int i = 0; i < T::TM; ++i)
#pragma unroll
                for (int j = 0; j < T::TN; ++j) sum[i][j] += fa[i / 4].v[i % 4] * fb[j / 4].v[j % 4];
        }
        if (more) {
            a.put(shared_a + (step + 1) % 2 * T::A_STAGE);
            b.put(shared_b + (step + 1) % 2 * T::B_STAGE);
        }
        __syncthreads();
    }
}

// How a block's threads share ROWS × Tile::K elements where k runs fastest in memory: each takes W neighbours along k, at
// the same k in every pass, in rows STEP apart.
template <class T, int ROWS, int W>
struct AlongK {
    static constexpr int SLOTS = T::K / W, STEP = T::THREADS / SLOTS, PASSES = ROWS / STEP;
    static constexpr int PITCH = ROWS + 4;
    static_assert(PASSES * STEP == ROWS && STEP * SLOTS == T::THREADS, "every thread loads as much");
    Vector<W> value[PASSES];

    __device__ static int first_k() { return threadIdx.x % SLOTS * W; }
    __device__ static int row(int pass) { return threadIdx.x / SLOTS + pass * STEP; }
    __device__ void put(float* stage) const {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass)
#pragma unroll
            for (int i = 0; i < W; ++i) stage[(first_k() + i) * PITCH + row(pass)] = value[pass].v[i];
    }
};

// The same where the rows run fastest: each thread takes W neighbouring rows, the same ones in every pass, at k STEP apart.
template <class T, int ROWS, int W>
struct AlongRows {
    static constexpr int SLOTS = ROWS / W, STEP = T::THREADS / SLOTS, PASSES = T::K / STEP;
    static constexpr int PITCH = ROWS + 4;
    static_assert(PASSES * STEP == T::K && STEP * SLOTS == T::THREADS, "every thread loads as much");
    Vector<W> value[PASSES];

    __device__ static int row() { return threadIdx.x % SLOTS * W; }
    __device__ static int k(int pass) { return threadIdx.x / SLOTS + pass * STEP; }
    __device__ void put(float* stage) const {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) store<W>(stage + k(pass) * PITCH + row(), value[pass]);
    }
};

// A matrix with k fastest: element (row, k) at data[row·pitch + k]. With W = 4 pitch and end are multiples of 4.
template <class T, int ROWS, int W>
struct MatrixAlongK : AlongK<T, ROWS, W> {
    const float* at;
    long long pass_pitch;
    int k, end, rows;

    __device__ MatrixAlongK(const float* data, long long pitch, int first_row, int all_rows, int k_begin, int k_end) {
        k = k_begin + this->first_k();
        end = k_end;
        rows = all_rows - first_row;
        at = data + (first_row + this->row(0)) * pitch + k;
        pass_pitch = pitch * this->STEP;
    }
    __device__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            this->value[pass] = {};
            if (this->row(pass) < rows && k < end) this->value[pass] = load<W>(at + pass * pass_pitch);
        }
    }
    __device__ void advance() {
        k += T::K;
        at += T::K;
    }
};

// A matrix with the rows fastest: element (row, k) at data[k·pitch + row]. With W = 4 pitch and all_rows are multiples of 4.
template <class T, int ROWS, int W>
struct MatrixAlongRows : AlongRows<T, ROWS, W> {
    const float* at;
    long long pitch;
    int k_left;
    bool inside;

    __device__ MatrixAlongRows(const float* data, long long pitch_, int first_row, int all_rows, int k_begin, int k_end) {
        pitch = pitch_;
        k_left = k_end - k_begin;
        inside = first_row + this->row() < all_rows;
        at = data + (k_begin + this->k(0)) * pitch + first_row + this->row();
    }
    __device__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            this->value[pass] = {};
            if (inside && this->k(pass) < k_left) this->value[pass] = load<W>(at + pass * (pitch * this->STEP));
        }
    }
    __device__ void advance() {
        k_left -= T::K;
        at += T::K * pitch;
    }
};

// Any matrix: element (row, k) at data[row·row_pitch + k·k_pitch], one of the pitches 1. The threads lie along that one.
template <class T, int ROWS>
struct MatrixAny {
    static constexpr int PASSES = ROWS * T::K / T::THREADS, PITCH = ROWS + 4;
    static_assert(PASSES * T::THREADS == ROWS * T::K, "every thread loads as much");
    float value[PASSES];
    const float* at;
    long long row_pitch, k_pitch;
    int rows, k_left;

    __device__ MatrixAny(const float* data, long long row_pitch_, long long k_pitch_, int first_row, int all_rows,
                         int k_begin, int k_end) {
        row_pitch = row_pitch_;
        k_pitch = k_pitch_;
        rows = all_rows - first_row;
        k_left = k_end - k_begin;
        at = data + first_row * row_pitch + k_begin * k_pitch;
    }
    __device__ int row(int pass) const {
        const int i = threadIdx.x + pass * T::THREADS;
        return k_pitch == 1 ? i / T::K : i % ROWS;
    }
    __device__ int k(int pass) const {
        const int i = threadIdx.x + pass * T::THREADS;
        return k_pitch == 1 ? i % T::K : i / ROWS;
    }
    __device__ void fetch() {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) {
            value[pass] = 0;
            if (row(pass) < rows && k(pass) < k_left) value[pass] = at[row(pass) * row_pitch + k(pass) * k_pitch];
        }
    }
    __device__ void put(float* stage) const {
#pragma unroll
        for (int pass = 0; pass < PASSES; ++pass) stage[k(pass) * PITCH + row(pass)] = value[pass];
    }
    __device__ void advance() {
        k_left -= T::K;
        at += T::K * k_pitch;
    }
};

// Hands each fragment of this thread's sums to write(row, column, four values), rows and columns counted from the tile's
// corner.
template <class T, class Write>
__device__ __forceinline__ void for_each_fragment(const float (&sum)[T::TM][T::TN], Write write) {
#pragma unroll
    for (int i = 0; i < T::TM; ++i) {
        const int row = T::row(i / 4) + i % 4;
#pragma unroll
        for (int f = 0; f < T::COLUMN_FRAGMENTS; ++f) {
            const Vector<4> x = {{sum[i][f * 4], sum[i][f * 4 + 1], sum[i][f * 4 + 2], sum[i][f * 4 + 3]}};
            write(row, T::column(f), x);
        }
    }
}
