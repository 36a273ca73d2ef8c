// What convolutions share: windows, the phases of the image gradient, parts of a sum, and results.
#pragma once
#include "common.cuh"

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

// What part of a sum of `all` terms a block takes: from `begin` on, so many steps, which may be none or less.
struct Part {
    int number, begin, steps;

    __device__ Part(int number_, int part_steps, int all, int step) {
        number = number_;
        begin = number * part_steps * step;
        steps = min(part_steps, (all - begin + step - 1) / step);
    }
};

// The result of a tile: bias is null or has a value for each column, of all groups; bias_pitch is k where they differ by place.
// An image gradient is multiplied by the derivative of the relu whose output is `seen`, where that is not null.
struct Output {
    const float* bias;
    int bias_pitch;
    Finish finish;
    float* data;
    const float* seen;
    int add;
};
