// Products of few rows with a dense weight as it lies in memory: float32, bfloat16 or float16.
//
// Sums are in float32. 16-bit weights are widened, which is exact; where the processor multiplies
// pairs of bfloat16 itself (AVX512_BF16), it does, and its products are exact too. An output is a
// vector or two of 16 sums, inputs 16 or 32 at a time, added up at the end: in this order whatever
// the number of rows, of outputs beside it and of threads, and wherever the weight lies.

#include <omp.h>

#include "scratch.h"
#include "vectors.h"

#ifdef __AVX512F__
constexpr int MOST = 8, SUMS = 2;  // rows that there are registers for, and vectors of sums of each
#else
constexpr int MOST = 4, SUMS = 1;
#endif
constexpr int64_t AHEAD = 6144;         // bytes: hardware stops at the end of a page, this does not
constexpr int64_t CHUNK = 16384;        // bytes of x that stay in the first cache beside weights
constexpr int64_t TOGETHER = 16;        // outputs that go through a chunk before the next one

// How a type is multiplied, STEP inputs at a time, and how these inputs are laid out for it.
struct Single {
    static constexpr int STEP = 16;
    using Weight = float;
    using Input = float;
    static INLINE Floats multiply(Floats sum, const float* w, const float* x) {
        return fma(load(w), load(x), sum);
    }
    static INLINE void lay(float* to, const float* x) { store(to, load(x)); }
};

struct Half : Single {
    using Weight = uint16_t;
    static INLINE Floats multiply(Floats sum, const uint16_t* w, const float* x) {
        return fma(load_fp16(w), load(x), sum);
    }
    static INLINE void lay(float* to, const uint16_t* x) { store(to, load_fp16(x)); }
};

#ifdef __AVX512BF16__

struct Brain {
    static constexpr int STEP = 32;
    using Weight = uint16_t;
    using Input = uint16_t;
    static INLINE Floats multiply(Floats sum, const uint16_t* w, const uint16_t* x) {
        return {_mm512_dpbf16_ps(sum.v, (__m512bh)_mm512_loadu_si512(w),
                                 (__m512bh)_mm512_loadu_si512(x))};
    }
    static INLINE void lay(uint16_t* to, const uint16_t* x) { memcpy(to, x, 64); }
};

#else

// A word holds two weights: the lower one is shifted up, of the upper one the rest is cleared.
struct Brain {
    static constexpr int STEP = 32;
    using Weight = uint16_t;
    using Input = float;
    static INLINE Floats multiply(Floats sum, const uint16_t* w, const float* x) {
        return fma(odd_bf16(w), load(x + 16), fma(even_bf16(w), load(x), sum));
    }
    static INLINE void lay(float* to, const uint16_t* x) {
        store(to, even_bf16(x));
        store(to + 16, odd_bf16(x));
    }
};

#endif

struct Call {
    const void* weight;
    int64_t stride;  // elements from one output's weights to the next one's
    const void* x;   // [steps][rows][STEP] of up to MOST rows, zeros after the last input
    const void* bias;
    char* y;
    int64_t m, n, kind;
};

// Adds inputs begin .. end of one output and R rows to their sums.
template <class T, int R>
static INLINE void add_inputs(const Call& call, int64_t output, int64_t begin, int64_t end,
                              int64_t ahead, Floats (&sums)[SUMS][R]) {
    const auto* w = (const typename T::Weight*)call.weight + output * call.stride;
    const auto* x = (const typename T::Input*)call.x + begin * R;
    int64_t i = begin;
    for (; i + SUMS * T::STEP <= end; i += SUMS * T::STEP)
        UNROLL
        for (int s = 0; s < SUMS; s++, x += R * T::STEP) {
            _mm_prefetch((const char*)(w + i + s * T::STEP + ahead), _MM_HINT_T1);
            UNROLL
            for (int r = 0; r < R; r++)
                sums[s][r] = T::multiply(sums[s][r], w + i + s * T::STEP, x + r * T::STEP);
        }
    for (int s = 0; i < end; i += T::STEP, s++, x += R * T::STEP) {
        typename T::Weight rest[T::STEP] = {};
        memcpy(rest, w + i, (end - i < T::STEP ? end - i : T::STEP) * sizeof(rest[0]));
        UNROLL
        for (int r = 0; r < R; r++) sums[s][r] = T::multiply(sums[s][r], rest, x + r * T::STEP);
    }
}

template <class T, int R>
static void some_outputs(const Call& call, int64_t first, int64_t last) {
    constexpr int64_t WIDTH = sizeof(typename T::Weight);
    int64_t chunk = CHUNK / int64_t(R * sizeof(typename T::Input)) / 64 * 64;
    if (call.n <= chunk * 3 / 2) chunk = call.n;
    int64_t ahead = chunk < call.n ? call.stride : AHEAD / WIDTH;
    for (; first < last; first += TOGETHER) {
        const int64_t count = last - first < TOGETHER ? last - first : TOGETHER;
        Floats sums[TOGETHER][SUMS][R];
        for (int64_t o = 0; o < count; o++)
            UNROLL
            for (int s = 0; s < SUMS; s++)
                UNROLL
                for (int r = 0; r < R; r++) sums[o][s][r] = zero();
        for (int64_t begin = 0; begin < call.n; begin += chunk)
            for (int64_t o = 0; o < count; o++) {
                Floats here[SUMS][R];
                UNROLL
                for (int s = 0; s < SUMS; s++)
                    UNROLL
                    for (int r = 0; r < R; r++) here[s][r] = sums[o][s][r];
                int64_t end = begin + chunk < call.n ? begin + chunk : call.n;
                add_inputs<T, R>(call, first + o, begin, end, ahead, here);
                UNROLL
                for (int s = 0; s < SUMS; s++)
                    UNROLL
                    for (int r = 0; r < R; r++) sums[o][s][r] = here[s][r];
            }
        for (int64_t o = 0; o < count; o++) {
            float shift = call.bias ? load_one(call.bias, first + o, call.kind) : 0;
            UNROLL
            for (int r = 0; r < R; r++) {
                Floats whole = sums[o][0][r];
                UNROLL
                for (int s = 1; s < SUMS; s++) whole = add(whole, sums[o][s][r]);
                store_one(call.y, r * call.m + first + o, call.kind, sum(whole) + shift);
            }
        }
    }
}

using Outputs = void (*)(const Call&, int64_t, int64_t);

template <class T, int R> static Outputs pick(int64_t rows) {
    if constexpr (R > 1)
        if (rows < R) return pick<T, R - 1>(rows);
    return some_outputs<T, R>;
}

template <class T> static int product(Call call, int64_t rows, int64_t threads) {
    constexpr int64_t WIDTH = sizeof(typename T::Weight);
    const int64_t padded = (call.n + T::STEP - 1) / T::STEP * T::STEP;
    const auto* given = (const typename T::Weight*)call.x;
    auto* x = (typename T::Input*)scratch(rows * padded * sizeof(typename T::Input));
    if (!x) return 1;
    call.x = x;
    for (int64_t row = 0; row < rows; row++) {
        // Rows are multiplied MOST at a time, and stand side by side in each step.
        const int64_t first = row / MOST * MOST, beside = rows - first < MOST ? rows - first : MOST;
        typename T::Input* to = x + first * padded + (row - first) * T::STEP;
        for (int64_t i = 0; i < call.n; i += T::STEP, to += beside * T::STEP) {
            const typename T::Weight* from = given + row * call.n + i;
            typename T::Weight rest[T::STEP] = {};
            if (i + T::STEP > call.n) {
                memcpy(rest, from, (call.n - i) * WIDTH);
                from = rest;
            }
            T::lay(to, from);
        }
    }
    // Pieces of about 64 kB: where rows are more than MOST, they are still in a cache for the next.
    int64_t height = 65536 / (call.n * WIDTH) + 1;
    height = (height + TOGETHER - 1) / TOGETHER * TOGETHER;
    const int64_t pieces = (call.m + height - 1) / height;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1) if (threads > 1 && pieces > 1)
    for (int64_t piece = 0; piece < pieces; piece++) {
        const int64_t begin = piece * height;
        const int64_t end = begin + height < call.m ? begin + height : call.m;
        for (int64_t row = 0; row < rows; row += MOST) {
            Call some = call;
            some.x = x + row * padded;
            some.y = call.y + row * call.m * WIDTH;
            pick<T, MOST>(rows - row)(some, begin, end);
        }
    }
    return 0;
}

// y = x W^T + b. W [m, n] with rows `stride` elements apart, x [rows, n], b [m] or null and
// y [rows, m] of one kind. Returns 1 where there is no memory.
extern "C" int dense_product(const void* weight, int64_t stride, int64_t m, int64_t n,
                             const void* x, const void* bias, void* y, int64_t rows, int64_t kind,
                             int64_t threads) {
    Call call{weight, stride, x, bias, (char*)y, m, n, kind};
    if (kind == FP32) return product<Single>(call, rows, threads);
    if (kind == FP16) return product<Half>(call, rows, threads);
    return product<Brain>(call, rows, threads);
}
