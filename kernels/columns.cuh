// Sums over the rows of a matrix, column by column: gradients of biases.
//
// A block is 32 columns wide and 8 rows deep: each thread sums every eighth row of its part, four at a time so that four rows'
// loads are under way, then the eight sums of a column are added in order. Few columns make few blocks, so the rows are cut
// into parts (grid rows), each a row of partial sums, which parts.cu adds up in their order.
#pragma once
#include "common.cuh"

constexpr int ROWS_DEEP = 8;

// db[column] ← Σ of a column's sums, or db += …: of the block's part, db has a row of its own. Every thread of a block calls it.
__device__ __forceinline__ void add_deep(int columns, float sum, float* db, int add) {
    __shared__ float shared[ROWS_DEEP][WARP];
    const int lane = threadIdx.x % WARP, deep = threadIdx.x / WARP, column = blockIdx.x * WARP + lane;
    shared[deep][lane] = sum;
    __syncthreads();
    if (deep == 0 && column < columns) {
        for (int i = 1; i < ROWS_DEEP; ++i) sum += shared[i][lane];
        put<1>(db + (long long)blockIdx.y * columns + column, {{sum}}, add);
    }
}

// db[column] ← Σ use(row, column, load(row, column)) over the rows of the block's part, or db += …, where db is not null.
template <class Load, class Use>
__device__ __forceinline__ void sum_columns(int rows, int columns, int part_rows, float* db, int add, Load load, Use use) {
    constexpr int TOGETHER = 4;
    const int deep = threadIdx.x / WARP, column = blockIdx.x * WARP + threadIdx.x % WARP;
    const int begin = blockIdx.y * part_rows, end = min(rows, begin + part_rows);
    float sum = 0;
    if (column < columns) {
#pragma unroll 1
        for (int first = begin + deep; first < end; first += TOGETHER * ROWS_DEEP) {
            decltype(load(0, 0)) loaded[TOGETHER];
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i)
                if (first + i * ROWS_DEEP < end) loaded[i] = load(first + i * ROWS_DEEP, column);
            // Not contracted with a product in `use`: what is summed has been rounded.
#pragma unroll
            for (int i = 0; i < TOGETHER; ++i)
                if (first + i * ROWS_DEEP < end) sum = __fadd_rn(sum, use(first + i * ROWS_DEEP, column, loaded[i]));
        }
    }
    if (db) add_deep(columns, sum, db, add);
}
