// The mixed-radix counter by which convolutions walk along their sums.
#pragma once

// A counter with three digits, the last one fastest, that goes on by a fixed number.
struct Counter {
    int high, middle, low;              // the digits
    int add_high, add_middle, add_low;  // what one step adds to each
    int middles, lows;                  // the bases of the lower two

    __device__ Counter(int value, int step, int middles_, int lows_) : middles(middles_), lows(lows_) {
        low = value % lows;
        middle = value / lows % middles;
        high = value / lows / middles;
        add_low = step % lows;
        add_middle = step / lows % middles;
        add_high = step / lows / middles;
    }
    __device__ void advance() {
        low += add_low;
        middle += add_middle;
        high += add_high;
        if (low >= lows) low -= lows, ++middle;
        if (middle >= middles) middle -= middles, ++high;
    }
};
