// Sums over tokens of products of bfloat16 inputs, in float32: C += A' B for A [t, n], B [t, k].
//
// Where the processor multiplies pairs of bfloat16 (AVX512_BF16) this takes half of the time of
// float32, and no library at hand gives such a product in float32. Pairs of tokens stand side by side
// for it, inputs in panels of 32; a tile of C is one thread's, so bits do not depend on how many
// there are.

#include <omp.h>

#include "scratch.h"
#include "vectors.h"

#ifdef __AVX512BF16__

constexpr int64_t PANEL = 32;  // inputs side by side: two vectors
constexpr int HIGH = 8;        // inputs of A in a tile: 16 vectors of sums
constexpr int64_t PAIRS = 512; // pairs of tokens that are gone through at a time: 64 KB of a panel

static int64_t panels_of(int64_t n) { return (n + PANEL - 1) / PANEL; }

// One panel of some tokens: [pairs][32] words of two bfloat16. Beyond the last there are zeros.
static void lay(const uint16_t* x, int64_t n, int64_t tokens, int64_t panel, uint32_t* to) {
    const int64_t first = panel * PANEL, count = n - first < PANEL ? n - first : PANEL;
    for (int64_t t = 0; t < tokens; t += 2, to += PANEL) {
        const uint16_t* upper = x + t * n + first;
        const uint16_t* lower = t + 1 < tokens ? upper + n : nullptr;
        for (int64_t i = 0; i < count; i++)
            to[i] = upper[i] | (lower ? uint32_t(lower[i]) << 16 : 0u);
        for (int64_t i = count; i < PANEL; i++) to[i] = 0;
    }
}

// A tile of HIGH x 32 sums over pairs, added to C.
static INLINE void tile(const uint32_t* a, const uint32_t* b, int64_t pairs, float* c, int64_t stride,
                        int64_t rows, int64_t columns) {
    __m512 sums[HIGH][2];
    UNROLL
    for (int i = 0; i < HIGH; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++, a += PANEL, b += PANEL) {
        const auto left = (__m512bh)_mm512_loadu_si512(b);
        const auto right = (__m512bh)_mm512_loadu_si512(b + 16);
        UNROLL
        for (int i = 0; i < HIGH; i++) {
            const auto own = (__m512bh)_mm512_set1_epi32(int(a[i]));
            sums[i][0] = _mm512_dpbf16_ps(sums[i][0], own, left);
            sums[i][1] = _mm512_dpbf16_ps(sums[i][1], own, right);
        }
    }
    const __mmask16 first = columns >= 16 ? 0xffff : (1u << columns) - 1;
    const __mmask16 second = columns >= 32 ? 0xffff : columns > 16 ? (1u << (columns - 16)) - 1 : 0;
    UNROLL
    for (int i = 0; i < HIGH; i++) {
        if (i >= rows) break;
        float* at = c + i * stride;
        _mm512_mask_storeu_ps(at, first, _mm512_add_ps(_mm512_maskz_loadu_ps(first, at), sums[i][0]));
        at += 16;
        _mm512_mask_storeu_ps(at, second,
                              _mm512_add_ps(_mm512_maskz_loadu_ps(second, at), sums[i][1]));
    }
}

// a [tokens, n] and b [tokens, k] bfloat16, c [n, k] float32. With `upper`, for which b is a, only
// tiles that touch the upper triangle. Returns 1 where there is no memory.
extern "C" int add_products(const uint16_t* a, const uint16_t* b, float* c, int64_t tokens, int64_t n,
                            int64_t k, int64_t upper, int64_t threads) {
    const int64_t high = panels_of(n), wide = panels_of(k), size = PAIRS * PANEL;
    auto* own = (uint32_t*)scratch((high + (upper ? 0 : wide)) * size * 4);
    if (!own) return 1;
    uint32_t* others = upper ? own : own + high * size;
    for (int64_t start = 0; start < tokens; start += 2 * PAIRS) {
        const int64_t here = tokens - start < 2 * PAIRS ? tokens - start : 2 * PAIRS;
        const int64_t pairs = (here + 1) / 2;
#pragma omp parallel num_threads(threads) if (threads > 1)
        {
#pragma omp for schedule(static)
            for (int64_t panel = 0; panel < high + (upper ? 0 : wide); panel++) {
                const bool is_own = panel < high;
                const uint16_t* from = is_own ? a + start * n : b + start * k;
                lay(from, is_own ? n : k, here, is_own ? panel : panel - high, own + panel * size);
            }
#pragma omp for schedule(dynamic, 1)
            for (int64_t row = 0; row < high; row++)
                for (int64_t column = upper ? row : 0; column < wide; column++)
                    for (int64_t i = 0; i < PANEL; i += HIGH) {
                        const int64_t first = row * PANEL + i, rows = n - first;
                        if (rows <= 0) break;
                        tile(own + row * size + i, others + column * size, pairs,
                             c + first * k + column * PANEL, k, rows, k - column * PANEL);
                    }
        }
    }
    return 0;
}

#else

extern "C" int add_products(const uint16_t*, const uint16_t*, float*, int64_t, int64_t, int64_t,
                            int64_t, int64_t) {
    return 2;
}

#endif
