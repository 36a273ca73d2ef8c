// What a convolution sees of its images: windows, and the phases of its image gradient.
#pragma once

// Windows over images of height × width × pitch channels, of which each window sees `depth`; its taps lie step_h and step_w
// cells apart (a negative step walks backwards).
struct Windows {
    int height, width, pitch, depth;
    int taps_h, taps_w, step_h, step_w;
};

// A phase of one axis of the image gradient: of the cells first, first + stride, …, which see the taps tap, tap + tap_step, …
// at the outputs origin + i, origin + i − back, … for the i-th cell.
struct Phase {
    int first, cells, tap, tap_step, taps, origin, back;

    __device__ Phase(int phase, int size, int filter, int stride, int padding, int dilation) {
        first = phase;
        cells = phase < size ? (size - phase + stride - 1) / stride : 0;
        tap = 0;
        // Of `stride` taps in a row at least one fits if any does; taps that fit are stride / gcd(stride, dilation) apart.
        while (tap < stride && (first + padding - tap * dilation) % stride != 0) ++tap;
        tap_step = 1;
        while (tap_step * dilation % stride != 0) ++tap_step;
        taps = tap < filter && tap < stride ? (filter - tap + tap_step - 1) / tap_step : 0;
        origin = (first + padding - tap * dilation) / stride;
        back = tap_step * dilation / stride;
    }
};
