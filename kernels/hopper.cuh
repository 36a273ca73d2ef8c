// The inner product of mma.cuh for sm_90a: a block's tile of C[m][n] = Σ_k A[m][k]·B[n][k], multiplied by wgmma from shared
// memory, where bulk tensor copies bring both operands. Those of tf32 are f32 in memory: a tensor map of tf32 rounds what it
// copies to the nearest, ties to even, so that the bound is mma.cuh's. wgmma itself would cut the lower 13 bits off, twice as
// far. Those of bf16 are so in memory.
//
// Three groups of 128 threads. The first brings: one thread of it walks along k in steps of 128 bytes (32 tf32, 64 bf16) through a
// ring of stages, waits until a stage is empty and starts the copies of A's box and B's. The others multiply, each 64 rows by all
// columns: they wait until a stage is full, issue four products of 32 bytes, and say that the stage before is empty as soon as its
// products are done, so that one step's products are always under way. A stage has two mbarriers: `full` ends a phase by the bytes
// of all boxes, `empty` by an arrival of each of the eight warps that multiply. The groups share registers as they need them.
//
// Shared memory: a box has rows of 128 bytes, whose eight chunks of 16 are turned by the row's number modulo 8, by the copies and
// by wgmma alike. Such a pattern begins on 1024 bytes. A row is 128 bytes of k; of B in bf16 it may be 64 columns instead, where
// those run fastest in memory: a box has the step's 64 k then, and one box follows the other. There is one block a multiprocessor.
#pragma once
#include "common.cuh"

// CUtensorMap of cuda.h.
struct alignas(64) TensorMap {
    unsigned long long opaque[16];
};

// What operands are, and what runs fastest in B's boxes: k, or columns.
enum Operands { TF32, BF16, BF16_COLUMNS };

template <int N_, int STAGES_>
struct WarpgroupTile {
    static constexpr int M = 128, N = N_, STAGES = STAGES_;
    static constexpr int GROUP = 128, THREADS = 3 * GROUP, MULTIPLYING_WARPS = 2 * GROUP / WARP;
    static constexpr int SUMS = N / 2;  // of a thread
    // Bytes: of boxes, of a stage, of all with its barriers and what it may take to begin on 1024.
    static constexpr int ROW = 128, A_BOX = M * ROW, B_BOX = N * ROW, STAGE = A_BOX + B_BOX, SHARED = STAGES * (STAGE + 16) + 1024;
};

// 128 × 256 for many filters, 128 × 128 for fewer.
using Wide = WarpgroupTile<256, 4>;
using Narrow = WarpgroupTile<128, 6>;
static_assert(Wide::SHARED == 197696 && Narrow::SHARED == 197728, "as in src/device/cuda/conv_hopper.rs");

// Terms of the sum that a step takes.
__device__ __forceinline__ constexpr int depth_of(Operands operands) { return operands == TF32 ? 32 : 64; }
// Columns and bytes of a box of B whose columns run fastest.
constexpr int BOX_COLUMNS = 64, COLUMNS_BOX = 64 * 128;

__device__ __forceinline__ void init_barrier(unsigned barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes initialised barriers known to the copies that will report to them.
__device__ __forceinline__ void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void arrive(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void arrive_expecting(unsigned barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits for the end of the phase of this parity; the phase before a barrier's first counts as odd.
__device__ __forceinline__ void wait_for(unsigned barrier, int parity) {
    unsigned over;
    do {
        asm volatile(
            "{\n.reg .pred p;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
            "selp.u32 %0, 1, 0, p;\n}"
            : "=r"(over)
            : "r"(barrier), "r"(parity)
            : "memory");
    } while (!over);
}

// Starts a copy of a box of windows: from a pixel on (column, row, image), its tap at the offsets.
__device__ __forceinline__ void copy_windows(unsigned to, const TensorMap* map, unsigned barrier, int channel, int column,
                                             int row, int image, int offset_w, int offset_h) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
        " [%0], [%1, {%2, %3, %4, %5}], [%6], {%7, %8};" ::"r"(to),
        "l"(map), "r"(channel), "r"(column), "r"(row), "r"(image), "r"(barrier),
        "h"(static_cast<unsigned short>(offset_w)), "h"(static_cast<unsigned short>(offset_h))
        : "memory");
}

// Starts a copy of a box of filters: of one tap, from a channel and a filter on.
__device__ __forceinline__ void copy_filters(unsigned to, const TensorMap* map, unsigned barrier, int channel, int tap,
                                             int filter) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
        "l"(map), "r"(channel), "r"(tap), "r"(filter), "r"(barrier)
        : "memory");
}

// What wgmma is told of an operand: where it begins; groups of eight rows lie 1024 bytes apart; the swizzle of 128 bytes. The
// other offset, in bits 16 to 29, is from box to box where columns run fastest, and not looked at where k does.
__device__ __forceinline__ unsigned long long describe(unsigned address) {
    return address >> 4 | static_cast<unsigned long long>(COLUMNS_BOX >> 4) << 16 | (1024ull >> 4) << 32 | 1ull << 62;
}

// The registers of the sums as asm operands, and their numbers.
#define SUMS_4(i) "+f"(sum[i]), "+f"(sum[i + 1]), "+f"(sum[i + 2]), "+f"(sum[i + 3])
#define SUMS_16(i) SUMS_4(i), SUMS_4(i + 4), SUMS_4(i + 8), SUMS_4(i + 12)
#define SUMS_64(i) SUMS_16(i), SUMS_16(i + 16), SUMS_16(i + 32), SUMS_16(i + 48)
#define NUMBERS_64                                                                          \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,"    \
    "%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,"  \
    "%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define NUMBERS_128                                                                                   \
    NUMBERS_64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84," \
    "%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106," \
    "%107,%108,%109,%110,%111,%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125," \
    "%126,%127"

// sum += a·b of 64 × 128 or 64 × 256 over k of 8 (tf32) or 16 (bf16), by the group; done when its wgmma group is.
#define WGMMA(shape, numbers, a, b, last) \
    "{\n.reg .pred add;\nsetp.ne.b32 add, 1, 0;\nwgmma.mma_async.sync.aligned." shape " {" numbers "}, " a ", " b ", add, 1, 1" last ";\n}"
template <Operands O>
__device__ __forceinline__ void multiply_boxes(float (&sum)[64], unsigned long long a, unsigned long long b) {
    if constexpr (O == TF32) {
        asm volatile(WGMMA("m64n128k8.f32.tf32.tf32", NUMBERS_64, "%64", "%65", "") : SUMS_64(0) : "l"(a), "l"(b));
    } else {
        asm volatile(WGMMA("m64n128k16.f32.bf16.bf16", NUMBERS_64, "%64", "%65", ", 0, %66")
                     : SUMS_64(0)
                     : "l"(a), "l"(b), "n"(O == BF16_COLUMNS));
    }
}
template <Operands O>
__device__ __forceinline__ void multiply_boxes(float (&sum)[128], unsigned long long a, unsigned long long b) {
    if constexpr (O == TF32) {
        asm volatile(WGMMA("m64n256k8.f32.tf32.tf32", NUMBERS_128, "%128", "%129", "")
                     : SUMS_64(0), SUMS_64(64)
                     : "l"(a), "l"(b));
    } else {
        asm volatile(WGMMA("m64n256k16.f32.bf16.bf16", NUMBERS_128, "%128", "%129", ", 0, %130")
                     : SUMS_64(0), SUMS_64(64)
                     : "l"(a), "l"(b), "n"(O == BF16_COLUMNS));
    }
}

// Before the first product of a step: what was written to its sums is seen.
__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Waits until all but the last LEFT steps' products are done.
template <int LEFT>
__device__ __forceinline__ void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

// Keeps the compiler from moving what it does with the sums across this place.
template <int SUMS>
__device__ __forceinline__ void pin(float (&sum)[SUMS]) {
#pragma unroll
    for (int i = 0; i < SUMS; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}

// Answers whether this thread has sums of the tile: those of the groups that multiply do, after `steps` steps, which may be
// none or less. A source's copy(a, b, barrier) starts the copies of the current step and goes one step on.
template <class T, Operands O, class Source>
__device__ __forceinline__ bool multiply(Source& source, int steps, float (&sum)[T::SUMS]) {
    extern __shared__ unsigned char dynamic[];
    const unsigned stages = (shared_address(dynamic) + 1023) & ~1023u, barriers = stages + T::STAGES * T::STAGE;
    // A stage's `full`; its `empty` is eight bytes further.
    const auto full = [&](int stage) { return barriers + stage * 16; };
    if (threadIdx.x == 0) {
#pragma unroll
        for (int stage = 0; stage < T::STAGES; ++stage) {
            init_barrier(full(stage), 1);
            init_barrier(full(stage) + 8, T::MULTIPLYING_WARPS);
        }
        publish_barriers();
    }
    __syncthreads();

    const int group = threadIdx.x / T::GROUP;
    int stage = 0, parity = 0;
    const auto advance = [&] {
        if (++stage == T::STAGES) stage = 0, parity ^= 1;
    };
    if (group == 0) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 0) {
#pragma unroll 1
            for (int step = 0; step < steps; ++step) {
                wait_for(full(stage) + 8, parity ^ 1);
                arrive_expecting(full(stage), T::STAGE);
                const unsigned a = stages + stage * T::STAGE;
                source.copy(a, a + T::A_BOX, full(stage));
                advance();
            }
        }
        return false;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
#pragma unroll
    for (int i = 0; i < T::SUMS; ++i) sum[i] = 0;
    if (steps <= 0) return true;
    pin(sum);  // not to be written after the first fence
    const auto issue = [&] {
        wait_for(full(stage), parity);
        const unsigned a = stages + stage * T::STAGE;
        // A product's k are 32 bytes of a row, or 16 rows.
        const unsigned long long rows = describe(a + (group - 1) * (T::A_BOX / 2)), columns = describe(a + T::A_BOX);
        begin_products();
#pragma unroll
        for (int k = 0; k < 4; ++k)
            multiply_boxes<O>(sum, rows + k * (32 >> 4), columns + k * ((O == BF16_COLUMNS ? 16 * T::ROW : 32) >> 4));
        end_products();
    };
    // The first step apart: in the loop, ptxas is to see nobody but wgmma write the sums.
    issue();
#pragma unroll 1
    for (int step = 1; step < steps; ++step) {
        const unsigned before = full(stage) + 8;
        advance();
        issue();
        wait_products<1>();
        if (threadIdx.x % WARP == 0) arrive(before);
    }
    wait_products<0>();
    pin(sum);  // not to be read before
    return true;
}

// The tile's row of which this thread has sums, after an exchange with its neighbour (for_each_four).
template <class T>
__device__ __forceinline__ int row_of_thread() {
    const int lane = threadIdx.x % WARP;
    return (threadIdx.x - T::GROUP) / WARP * 16 + lane / 4 + lane % 2 * 8;
}

// Hands each four neighbouring sums of this thread's row to write(column, four values), columns counted from the tile's
// first. wgmma leaves a lane two neighbours in row lane / 4 and two in the row eight below; of two lanes the even one takes
// the upper row's four and the odd one the lower row's.
template <class T, class Write>
__device__ __forceinline__ void for_each_four(const float (&sum)[T::SUMS], Write write) {
    const bool odd = threadIdx.x % 2;
#pragma unroll
    for (int j = 0; j < T::N / 8; ++j) {
        const float upper[2] = {sum[4 * j], sum[4 * j + 1]}, lower[2] = {sum[4 * j + 2], sum[4 * j + 3]};
        Vector<4> x;
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const float got = __shfl_xor_sync(ALL_LANES, odd ? upper[e] : lower[e], 1);
            x.v[e] = odd ? got : upper[e];
            x.v[e + 2] = odd ? lower[e] : got;
        }
        write(8 * j + threadIdx.x % 4 / 2 * 4, x);
    }
}
