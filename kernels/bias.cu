// Bias gradients: db[c] = Σ over rows of dy[row][c], where a row is a place (tied biases) or an image (untied ones).
//
// A block is 32 columns wide and 8 rows deep: each thread sums every eighth row of its part, four at a time so that four
// loads are under way, then the eight sums of a column are added in order. Few columns make few blocks, so the rows are cut
// into parts (grid rows), each a row of partial sums, which parts.cu adds up in their order. Bytes: dy once.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
bias_backward(int rows, int columns, int part_rows, const float* __restrict__ dy, float* __restrict__ db, int add) {
    __shared__ float shared[8][32];
    const int lane = threadIdx.x % 32, deep = threadIdx.x / 32, column = blockIdx.x * 32 + lane;
    const int begin = blockIdx.y * part_rows, end = min(rows, begin + part_rows);
    float sum = 0;
    if (column < columns) {
        const float* at = dy + (long long)(begin + deep) * columns + column;
        const long long step = 8ll * columns;
#pragma unroll 4
        for (int row = begin + deep; row < end; row += 8, at += step) sum += *at;
    }
    shared[deep][lane] = sum;
    __syncthreads();
    if (deep == 0 && column < columns) {
        for (int i = 1; i < 8; ++i) sum += shared[i][lane];
        put<1>(db + (long long)blockIdx.y * columns + column, {{sum}}, add);
    }
}
