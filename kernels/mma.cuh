// The inner product of tile.cuh on tensor cores: a block's tile of C[m][n] = Σ_k A[m][k]·B[n][k], for sm_80 and later. The
// operands are f32 in memory, and rounded to tf32 on their way from shared memory into the tensor cores (mma.sync m16n8k8); or
// they are bf16 already, copies that operands.cu made (m16n8k16). The sum is f32.
//
// Rounding moves each operand by at most u = 2^-11 (tf32) or 2^-8 (bf16) of itself, so that a result is off by at most
// (2u + u²)·Σ|terms| more than an f32 sum is.
//
// Three levels. The block walks along k in steps of 64 bytes, 16 f32 or 32 bf16, through a ring of three stages in shared memory,
// which cp.async fills two steps ahead of the step that is computed; one barrier a step says both that a stage is filled and that
// the next to be filled has been read. A warp computes 64 × 64 (64 × 32) of the tile from registers: per 32 bytes of k it reads 16
// rows by each shared load, 4 + 4 (4 + 2) loads for 32 (16) products of 16 × 8 × 8 in tf32, of 16 × 8 × 16 in bf16.
//
// Rows of a fragment. mma.sync wants rows in groups of eight, of which a lane holds the elements of row g = lane / 4 in word t
// (and t + 4) of 32 bytes, t = lane % 4. Which of a tile's rows are in a group is ours to say, and group i, row g is the tile's
//
//     row 32·(i / 4) + 16·(g % 2) + 4·(g / 2) + i % 4.
//
// So sums come out in four neighbouring columns a lane and whole sectors a warp, and where rows of f32 run fastest in memory, one
// 16-byte load brings a lane's rows of four groups. k is permuted then too, in both operands alike, which no sum can tell. Rows
// of bf16 that run fastest are turned by ldmatrix, whose groups are neighbours: group i, row g is row 8·i + g; two lanes
// exchange halves of their sums to have four neighbouring columns each.
//
// Shared memory has no bank conflicts: a stage holds 16-byte chunks, whose place is turned by xor. Where k runs fastest
// ("along k"), slot s = 8·i + g has the four chunks of its row, chunk c at c ^ (s / 2) % 4: eight slots at one chunk, an
// ldmatrix's row addresses, are eight different bank groups. Where rows do ("along rows"), each k has a chunk for four (f32) or
// eight (bf16) rows, chunk c at c ^ k % 4 (k % 8): a quarter of a warp reads four k at chunks e and e + 4, or an ldmatrix eight
// k at one chunk: eight bank groups again. Writes are of neighbouring chunks.
//
// Shared memory: 48 KiB, which two blocks of a multiprocessor have on every architecture, or 24 KiB.
#pragma once
#include "common.cuh"

enum Rounding { TF32, BF16 };

// Two as bf16, the first in the lower half.
__device__ __forceinline__ unsigned to_bf16(float low, float high) {
    unsigned rounded;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(rounded) : "f"(high), "f"(low));
    return rounded;
}

// What an operand has in memory.
struct Bf16 {
    unsigned short bits;
};
template <Rounding R>
struct Stored;
template <>
struct Stored<TF32> {
    using Type = float;
};
template <>
struct Stored<BF16> {
    using Type = Bf16;
};

template <int M_, int N_, int WARP_N_, Rounding R_>
struct TensorTile {
    static constexpr Rounding ROUNDING = R_;
    using Element = typename Stored<R_>::Type;
    // Elements of a chunk, which is what a thread copies at once; of a step; bytes of a row's step.
    static constexpr int CHUNK = 16 / sizeof(Element), K = 4 * CHUNK, BYTES = 64;
    static constexpr int M = M_, N = N_, STAGES = 3;
    static constexpr int WARP_M = 64, WARP_N = WARP_N_, WARPS_ACROSS = N / WARP_N;
    static constexpr int THREADS = M / WARP_M * WARPS_ACROSS * WARP;
    static constexpr int ROW_GROUPS = WARP_M / 8, COLUMN_GROUPS = WARP_N / 8;
    // In bytes.
    static constexpr int A_STAGE = M * BYTES, B_STAGE = N * BYTES, SHARED = STAGES * (A_STAGE + B_STAGE);

    // First row (column) of this thread's warp.
    __device__ static int warp_row() { return threadIdx.x / WARP / WARPS_ACROSS * WARP_M; }
    __device__ static int warp_column() { return threadIdx.x / WARP % WARPS_ACROSS * WARP_N; }
};

// For many rows and columns, and for few.
template <Rounding R>
using Large = TensorTile<128, 128, 64, R>;
template <Rounding R>
using Small = TensorTile<64, 64, 32, R>;

// The row of a tile that group i has at g, but where ldmatrix turns rows.
__device__ __forceinline__ constexpr int row_of(int i, int g) { return 32 * (i / 4) + 16 * (g % 2) + 4 * (g / 2) + i % 4; }

// Starts a copy of 16 bytes to shared memory, zeros where not `inside`; `from` is not read then.
__device__ __forceinline__ void copy_async(unsigned to, const void* from, bool inside) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}

__device__ __forceinline__ void end_stage() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the last LEFT stages are there.
template <int LEFT>
__device__ __forceinline__ void wait_stages() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// To the nearest tf32, of whose bits a tensor core does not read the lower 13: half of the last that it reads is added. As
// cvt.rna.tf32, which is four instructions on sm_80 and sm_90. The minimum keeps 0x7fffffff, the NaN that arithmetic makes, from
// overflowing into the sign.
__device__ __forceinline__ unsigned to_tf32(unsigned bits) {
    return static_cast<unsigned>(min(static_cast<int>(bits), 0x7fffefff)) + 0x1000u;
}

// c += a·b of 16 × 8, over k of 8 (tf32) or 16 (bf16). Two groups of rows make a, upper half and lower half.
template <Rounding R>
__device__ __forceinline__ void multiply_groups(float (&c)[4], const unsigned (&upper)[2], const unsigned (&lower)[2],
                                                const unsigned (&b)[2]) {
    if constexpr (R == TF32) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(upper[0]), "r"(lower[0]), "r"(upper[1]), "r"(lower[1]), "r"(b[0]), "r"(b[1]));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(upper[0]), "r"(lower[0]), "r"(upper[1]), "r"(lower[1]), "r"(b[0]), "r"(b[1]));
    }
}

// The operands of mma.sync, whose registers must be neighbours: of the left one (two groups, two halves of 32 bytes) the first halves
// of both groups, then the second ones; of the right one both halves of a group. An ldmatrix of four brings its matrices in the
// order in which eight lanes each have their rows' addresses.
enum Side { LEFT, RIGHT };

// Of this lane's row of an ldmatrix: which of two groups it is of, and which half of 32 bytes.
template <Side SIDE>
__device__ __forceinline__ int group_of_lane() {
    return SIDE == LEFT ? threadIdx.x / 8 % 2 : threadIdx.x / 16 % 2;
}
template <Side SIDE>
__device__ __forceinline__ int half_of_lane() {
    return SIDE == LEFT ? threadIdx.x / 16 % 2 : threadIdx.x / 8 % 2;
}

// ldmatrix of both groups.
template <Side SIDE, bool TURNED>
__device__ __forceinline__ void load_groups(unsigned at, unsigned (&first)[2], unsigned (&second)[2]) {
    unsigned v[4];
    if constexpr (TURNED) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                     : "r"(at)
                     : "memory");
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                     : "r"(at)
                     : "memory");
    }
    first[0] = v[0], first[1] = v[SIDE == LEFT ? 2 : 1], second[0] = v[SIDE == LEFT ? 1 : 2], second[1] = v[3];
}

// A stage of ROWS × T::K elements where k runs fastest in memory: which of them a thread copies, and how a warp reads them. A
// thread copies a chunk along k of one row a pass.
template <class T, int ROWS>
struct AlongK {
    static constexpr int SLOTS = T::THREADS / 4, PASSES = ROWS / SLOTS;
    static constexpr bool TURNED = false;
    static_assert(PASSES * SLOTS == ROWS && SLOTS % 16 == 0, "every thread copies as much, and its chunk's place stays");

    __device__ static int first_k() { return threadIdx.x % 4 * T::CHUNK; }
    __device__ static int row(int pass) {
        const int slot = threadIdx.x / 4 + pass * SLOTS;
        return row_of(slot / 8, slot % 8);
    }
    // Where a stage that begins at `stage` has this thread's chunk.
    __device__ static unsigned place(unsigned stage, int pass) {
        const int slot = threadIdx.x / 4, chunk = threadIdx.x % 4 ^ slot / 2 % 4;
        return stage + slot * T::BYTES + chunk * 16 + pass * (SLOTS * T::BYTES);
    }
    // Reads the groups of a warp whose rows begin at first_row, in one half of the step.
    template <Side SIDE, int GROUPS>
    __device__ static void read(const unsigned char* stage, int first_row, int half, unsigned (&v)[GROUPS][2]) {
        const int lane = threadIdx.x % WARP, slot = first_row + group_of_lane<SIDE>() * 8 + lane % 8;
        const int chunk = (half_of_lane<SIDE>() ^ lane / 2 % 4) ^ half * 2;
        const unsigned at = shared_address(stage) + slot * T::BYTES + chunk * 16;
#pragma unroll
        for (int i = 0; i < GROUPS; i += 2) load_groups<SIDE, false>(at + i * 8 * T::BYTES, v[i], v[i + 1]);
    }
};

// The same where the rows run fastest: a thread copies the same chunk of neighbouring rows at a k a pass.
template <class T, int ROWS>
struct AlongRows {
    static constexpr int CHUNKS = ROWS / T::CHUNK, STEP = T::THREADS / CHUNKS, PASSES = T::K / STEP;
    static constexpr int PITCH = ROWS * sizeof(typename T::Element);  // bytes of a k
    static constexpr bool TURNED = T::ROUNDING == BF16;
    static_assert(STEP == T::CHUNK, "a chunk's place is the same in every pass");

    __device__ static int row() { return threadIdx.x % CHUNKS * T::CHUNK; }
    __device__ static int first_k() { return threadIdx.x / CHUNKS; }
    __device__ static unsigned place(unsigned stage, int pass) {
        const int k = first_k(), chunk = threadIdx.x % CHUNKS ^ k;
        return stage + k * PITCH + chunk * 16 + pass * (STEP * PITCH);
    }
    template <Side SIDE, int GROUPS>
    __device__ static void read(const unsigned char* stage, int first_row, int half, unsigned (&v)[GROUPS][2]) {
        const int lane = threadIdx.x % WARP;
        if constexpr (TURNED) {
            const int k = half * 16 + half_of_lane<SIDE>() * 8 + lane % 8;
            const int chunk = (first_row / 8 + group_of_lane<SIDE>()) ^ lane % 8;
            const unsigned at = shared_address(stage) + k * PITCH + chunk * 16;
            // first_row / 8 is a multiple of GROUPS, so that to add i to it is to turn i's bits.
#pragma unroll
            for (int i = 0; i < GROUPS; i += 2) load_groups<SIDE, true>(at ^ i * 16, v[i], v[i + 1]);
        } else {
            const int g = lane / 4, t = lane % 4, chunk = (4 * (g % 2) + g / 2) ^ t;
            const float* const at = reinterpret_cast<const float*>(stage) + (half * 8 + t) * ROWS + first_row + chunk * 4;
#pragma unroll
            for (int i = 0; i < GROUPS; i += 4)
#pragma unroll
                for (int high = 0; high < 2; ++high) {
                    const Vector<4> four = load<4>(at + high * 4 * ROWS + i * 8);
#pragma unroll
                    for (int j = 0; j < 4; ++j) v[i + j][high] = __float_as_uint(four.v[j]);
                }
        }
    }
};

// What was read as the tensor cores take it.
template <Rounding R, int GROUPS>
__device__ __forceinline__ void round_groups(unsigned (&v)[GROUPS][2]) {
    if constexpr (R == TF32) {
#pragma unroll
        for (int i = 0; i < GROUPS; ++i) v[i][0] = to_tf32(v[i][0]), v[i][1] = to_tf32(v[i][1]);
    }
}

// This thread's sums of the tile after `steps` steps, which may be none. A loader's copy(stage) starts the copies of the
// current step and goes one step on.
template <class T, class A, class B>
__device__ __forceinline__ void multiply(A& a, B& b, int steps, float (&sum)[T::ROW_GROUPS / 2][T::COLUMN_GROUPS][4]) {
    __shared__ alignas(128) unsigned char shared[T::SHARED];
    unsigned char* const shared_b = shared + T::STAGES * T::A_STAGE;
    const unsigned to_a = shared_address(shared), to_b = shared_address(shared_b);
#pragma unroll
    for (int i = 0; i < T::ROW_GROUPS / 2; ++i)
#pragma unroll
        for (int j = 0; j < T::COLUMN_GROUPS; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[i][j][e] = 0;
#pragma unroll
    for (int stage = 0; stage < T::STAGES - 1; ++stage) {
        if (stage < steps) {
            a.copy(to_a + stage * T::A_STAGE);
            b.copy(to_b + stage * T::B_STAGE);
        }
        end_stage();
    }
    int stage = 0, next = T::STAGES - 1;
#pragma unroll 1
    for (int step = 0; step < steps; ++step) {
        wait_stages<T::STAGES - 2>();
        __syncthreads();
        if (step + T::STAGES - 1 < steps) {
            a.copy(to_a + next * T::A_STAGE);
            b.copy(to_b + next * T::B_STAGE);
        }
        end_stage();
        const unsigned char* const stage_a = shared + stage * T::A_STAGE;
        const unsigned char* const stage_b = shared_b + stage * T::B_STAGE;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            unsigned va[T::ROW_GROUPS][2], vb[T::COLUMN_GROUPS][2];
            A::template read<LEFT>(stage_a, T::warp_row(), half, va);
            B::template read<RIGHT>(stage_b, T::warp_column(), half, vb);
            round_groups<T::ROUNDING>(va);
            round_groups<T::ROUNDING>(vb);
#pragma unroll
            for (int i = 0; i < T::ROW_GROUPS / 2; ++i)
#pragma unroll
                for (int j = 0; j < T::COLUMN_GROUPS; ++j)
                    multiply_groups<T::ROUNDING>(sum[i][j], va[2 * i], va[2 * i + 1], vb[j]);
        }
        stage = stage + 1 == T::STAGES ? 0 : stage + 1;
        next = next + 1 == T::STAGES ? 0 : next + 1;
    }
}

// A matrix with k fastest: element (row, k) at data[row·pitch + k]; pitch and all_k are multiples of a chunk.
template <class T, int ROWS>
struct MatrixAlongK : AlongK<T, ROWS> {
    using Element = typename T::Element;
    const Element* at;
    long long pitch;
    int k, all_k, rows;

    __device__ MatrixAlongK(const Element* data, long long pitch_, int first_row, int all_rows, int k_begin, int all_k_)
        : pitch(pitch_), k(k_begin + this->first_k()), all_k(all_k_), rows(all_rows - first_row) {
        at = data + (first_row + this->row(0)) * pitch + k;
    }
    __device__ void copy(unsigned stage) {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            // Passes are whole half-groups of slots apart, rows that differ by a constant.
            const int further = row_of(pass * this->SLOTS / 8, 0);
            const bool inside = this->row(0) + further < rows && k < all_k;
            copy_async(this->place(stage, pass), inside ? at + further * pitch : at, inside);
        }
        k += T::K;
        at += T::K;
    }
};

// A matrix with the rows fastest: element (row, k) at data[k·pitch + row]; pitch and all_rows are multiples of a chunk.
template <class T, int ROWS>
struct MatrixAlongRows : AlongRows<T, ROWS> {
    using Element = typename T::Element;
    const Element* at;
    long long pitch;
    int k, all_k;
    bool inside;

    __device__ MatrixAlongRows(const Element* data, long long pitch_, int first_row, int all_rows, int k_begin, int all_k_)
        : pitch(pitch_), k(k_begin + this->first_k()), all_k(all_k_), inside(first_row + this->row() < all_rows) {
        at = data + k * pitch + first_row + this->row();
    }
    __device__ void copy(unsigned stage) {
#pragma unroll
        for (int pass = 0; pass < this->PASSES; ++pass) {
            copy_async(this->place(stage, pass), at, inside && k < all_k);
            k += this->STEP;
            at += this->STEP * pitch;
        }
    }
};

// Hands each four neighbouring sums of this thread to write(row, column, four values), rows and columns counted from the
// tile's corner; A and B are the loaders.
template <class T, class A, class B, class Write>
__device__ __forceinline__ void for_each_fragment(const float (&sum)[T::ROW_GROUPS / 2][T::COLUMN_GROUPS][4], Write write) {
    const int g = threadIdx.x % WARP / 4, t = threadIdx.x % 4;
    const auto row = [&](int i) { return T::warp_row() + (A::TURNED ? 8 * i + g : row_of(i, g)); };
#pragma unroll
    for (int i = 0; i < T::ROW_GROUPS / 2; ++i) {
        if constexpr (B::TURNED) {
            // Of two lanes' eight sums, two columns in both rows each, the even lane takes one row and the odd lane the other.
            const int odd = t % 2;
#pragma unroll
            for (int j = 0; j < T::COLUMN_GROUPS; ++j) {
                const float(&c)[4] = sum[i][j];
                const float first = __shfl_xor_sync(ALL_LANES, odd ? c[0] : c[2], 1);
                const float second = __shfl_xor_sync(ALL_LANES, odd ? c[1] : c[3], 1);
                const Vector<4> x = {{odd ? first : c[0], odd ? second : c[1], odd ? c[2] : first, odd ? c[3] : second}};
                write(row(2 * i + odd), T::warp_column() + 8 * j + t / 2 * 4, x);
            }
        } else {
#pragma unroll
            for (int lower = 0; lower < 2; ++lower)
#pragma unroll
                for (int j = 0; j < T::COLUMN_GROUPS; j += 4)
#pragma unroll
                    for (int e = 0; e < 2; ++e) {
                        Vector<4> x;
#pragma unroll
                        for (int f = 0; f < 4; ++f) x.v[f] = sum[i][j + f][lower * 2 + e];
                        write(row(2 * i + lower), T::warp_column() + 8 * j + 16 * e + 4 * t, x);
                    }
        }
    }
}
