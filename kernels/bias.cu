// Bias gradients: db[c] = Σ over rows of dy[row][c], where a row is a place (tied biases) or an image (untied ones), and rows lie
// `pitch` floats apart. Bytes: dy once.
#include "columns.cuh"

extern "C" __global__ void __launch_bounds__(256)
bias_backward(int rows, int columns, int part_rows, const float* __restrict__ dy, int pitch, float* __restrict__ db, int add) {
    sum_columns(
        rows, columns, part_rows, db, add, [&](int row, int column) { return dy[(long long)row * pitch + column]; },
        [](int, int, float dy) { return dy; });
}
