// Sixteen lanes at a time: one AVX-512 register, or two of AVX2. The kernels are written once in
// terms of these; a lane's arithmetic is in the same order on both.
#pragma once

#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "these kernels need AVX2, FMA and F16C"
#endif

#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

// Loops over rows and sums, whose arrays are registers: unrolled whole at any level of optimization.
#define UNROLL _Pragma("GCC unroll 16")

enum Kind { FP32 = 0, BF16 = 1, FP16 = 2, UINT8 = 3, NONE = 4 };

static INLINE float from_bf16(uint16_t bits) {
    uint32_t wide = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}

// Round to nearest, ties to even. NaN stays NaN.
static INLINE uint16_t to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static INLINE float load_one(const void* memory, int64_t index, int kind) {
    if (kind == FP32) return static_cast<const float*>(memory)[index];
    uint16_t bits = static_cast<const uint16_t*>(memory)[index];
    return kind == BF16 ? from_bf16(bits) : _cvtsh_ss(bits);
}

static INLINE void store_one(void* memory, int64_t index, int kind, float value) {
    if (kind == FP32)
        static_cast<float*>(memory)[index] = value;
    else
        static_cast<uint16_t*>(memory)[index] =
            kind == BF16 ? to_bf16(value) : uint16_t(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT));
}

#ifdef __AVX512F__

struct Floats { __m512 v; };
struct Bytes { __m512i v; };

static INLINE Floats zero() { return {_mm512_setzero_ps()}; }
static INLINE Floats broadcast(float value) { return {_mm512_set1_ps(value)}; }
static INLINE Floats load(const float* from) { return {_mm512_loadu_ps(from)}; }
static INLINE Floats load_fp16(const uint16_t* from) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)from))};
}
static INLINE Floats load_bf16(const uint16_t* from) {
    __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)from));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(words, 16))};
}
static INLINE Floats load_uint8(const uint8_t* from) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from)))};
}
static INLINE void store(float* to, Floats a) { _mm512_storeu_ps(to, a.v); }
static INLINE Floats fma(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
static INLINE Floats minus_product(Floats c, Floats a, Floats b) {
    return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
static INLINE Floats add(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
static INLINE Floats subtract(Floats a, Floats b) { return {_mm512_sub_ps(a.v, b.v)}; }
static INLINE Floats multiply(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
static INLINE Floats divide(Floats a, Floats b) { return {_mm512_div_ps(a.v, b.v)}; }
static INLINE Floats least(Floats a, Floats b) { return {_mm512_min_ps(a.v, b.v)}; }
static INLINE Floats greatest(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
static INLINE Floats nearest(Floats a) { return {_mm512_roundscale_ps(a.v, 8)}; }  // ties to even
static INLINE Floats next_whole(Floats a) { return {_mm512_roundscale_ps(a.v, 10)}; }
static INLINE Floats through_fp16(Floats a) {
    return {_mm512_cvtph_ps(_mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT))};
}
// Whole numbers in 0 .. 255 as bytes.
static INLINE void store_bytes(uint8_t* to, Floats a) {
    _mm_storeu_si128((__m128i*)to, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
// Where a < b, yes; elsewhere no.
static INLINE Floats where_less(Floats a, Floats b, Floats yes, Floats no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ), no.v, yes.v)};
}
// a 2^power, power being a whole number.
static INLINE Floats scaled(Floats a, Floats power) { return {_mm512_scalef_ps(a.v, power.v)}; }
static INLINE void store_fp16(uint16_t* to, Floats a) {
    _mm256_storeu_si256((__m256i*)to, _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT));
}
static INLINE void store_bf16(uint16_t* to, Floats a) {
    __m512i bits = _mm512_castps_si512(a.v), upper = _mm512_srli_epi32(bits, 16);
    __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_set1_epi32(0x7fff), odd);
    __m512i near = _mm512_srli_epi32(_mm512_add_epi32(bits, up), 16);
    __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
    near = _mm512_mask_blend_epi32(nan, near, quiet);
    _mm256_storeu_si256((__m256i*)to, _mm512_cvtepi32_epi16(near));
}
static INLINE __m256 halves(Floats a) {
    return _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
}

static INLINE Bytes load_bytes(const uint8_t* from) { return {_mm512_loadu_si512(from)}; }
template <int MASK> static INLINE Bytes keep(Bytes a) {
    return {_mm512_and_si512(a.v, _mm512_set1_epi8(MASK))};
}
template <int COUNT> static INLINE Bytes right(Bytes a) {
    return {COUNT ? _mm512_srli_epi16(a.v, COUNT) : a.v};
}
template <int COUNT> static INLINE Bytes left(Bytes a) { return {_mm512_slli_epi16(a.v, COUNT)}; }
static INLINE Bytes either(Bytes a, Bytes b) { return {_mm512_or_si512(a.v, b.v)}; }

// 32 bfloat16 as two vectors: a word holds two, and its upper half is a float32.
static INLINE Floats even_bf16(const uint16_t* from) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(from), 16))};
}
static INLINE Floats odd_bf16(const uint16_t* from) {
    __m512i upper = _mm512_set1_epi32(int(0xffff0000));
    return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(from), upper))};
}

// Byte INDEX of each of the 16 words.
template <int INDEX> static INLINE Floats byte_of_words(Bytes a) {
    __m512i word = INDEX ? _mm512_srli_epi32(a.v, 8 * INDEX) : a.v;
    if (INDEX < 3) word = _mm512_and_si512(word, _mm512_set1_epi32(255));
    return {_mm512_cvtepi32_ps(word)};
}

#else

struct Floats { __m256 a, b; };
struct Bytes { __m256i a, b; };

static INLINE Floats zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static INLINE Floats broadcast(float value) {
    return {_mm256_set1_ps(value), _mm256_set1_ps(value)};
}
static INLINE Floats load(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}
static INLINE Floats load_fp16(const uint16_t* from) {
    return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)),
            _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(from + 8)))};
}
static INLINE __m256 widened_bf16(const uint16_t* from) {
    __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
}
static INLINE Floats load_bf16(const uint16_t* from) {
    return {widened_bf16(from), widened_bf16(from + 8)};
}
static INLINE Floats load_uint8(const uint8_t* from) {
    __m128i bytes = _mm_loadu_si128((const __m128i*)from);
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
}
static INLINE void store(float* to, Floats x) {
    _mm256_storeu_ps(to, x.a);
    _mm256_storeu_ps(to + 8, x.b);
}
static INLINE Floats fma(Floats x, Floats y, Floats z) {
    return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static INLINE Floats minus_product(Floats z, Floats x, Floats y) {
    return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}
static INLINE Floats add(Floats x, Floats y) {
    return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
static INLINE Floats subtract(Floats x, Floats y) {
    return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
static INLINE Floats multiply(Floats x, Floats y) {
    return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
static INLINE Floats divide(Floats x, Floats y) {
    return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
static INLINE Floats least(Floats x, Floats y) {
    return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
static INLINE Floats greatest(Floats x, Floats y) {
    return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
static INLINE Floats nearest(Floats x) {
    return {_mm256_round_ps(x.a, 8), _mm256_round_ps(x.b, 8)};
}
static INLINE Floats next_whole(Floats x) {
    return {_mm256_round_ps(x.a, 10), _mm256_round_ps(x.b, 10)};
}
static INLINE Floats through_fp16(Floats x) {
    return {_mm256_cvtph_ps(_mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT)),
            _mm256_cvtph_ps(_mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT))};
}
static INLINE void store_bytes(uint8_t* to, Floats x) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
    words = _mm256_permute4x64_epi64(words, 0xd8);  // packing goes by halves of a register
    _mm_storeu_si128((__m128i*)to, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                    _mm256_extracti128_si256(words, 1)));
}
static INLINE Floats where_less(Floats x, Floats y, Floats yes, Floats no) {
    return {_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)),
            _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ))};
}
// In two steps, as a power of two that is no number can belong to a result that is one.
static INLINE __m256 eight_scaled(__m256 x, __m256 power) {
    __m256i all = _mm256_cvtps_epi32(power), half = _mm256_srai_epi32(all, 1);
    auto two_to = [](__m256i exponent) INLINE_LAMBDA {
        __m256i bits = _mm256_add_epi32(exponent, _mm256_set1_epi32(127));
        return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
    };
    return _mm256_mul_ps(_mm256_mul_ps(x, two_to(half)), two_to(_mm256_sub_epi32(all, half)));
}
static INLINE Floats scaled(Floats x, Floats power) {
    return {eight_scaled(x.a, power.a), eight_scaled(x.b, power.b)};
}
static INLINE void store_fp16(uint16_t* to, Floats x) {
    _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128((__m128i*)(to + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
static INLINE __m256i eight_bf16(__m256 x) {
    __m256i bits = _mm256_castps_si256(x), upper = _mm256_srli_epi32(bits, 16);
    __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(_mm256_set1_epi32(0x7fff), odd);
    __m256i near = _mm256_srli_epi32(_mm256_add_epi32(bits, up), 16);
    __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x40));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(near, quiet, nan);
}
static INLINE void store_bf16(uint16_t* to, Floats x) {
    __m256i packed = _mm256_packus_epi32(eight_bf16(x.a), eight_bf16(x.b));
    _mm256_storeu_si256((__m256i*)to, _mm256_permute4x64_epi64(packed, 0xd8));
}
static INLINE __m256 halves(Floats x) { return _mm256_add_ps(x.a, x.b); }

static INLINE Bytes load_bytes(const uint8_t* from) {
    return {_mm256_loadu_si256((const __m256i*)from),
            _mm256_loadu_si256((const __m256i*)(from + 32))};
}
template <int MASK> static INLINE Bytes keep(Bytes x) {
    __m256i mask = _mm256_set1_epi8(MASK);
    return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
template <int COUNT> static INLINE Bytes right(Bytes x) {
    if (!COUNT) return x;
    return {_mm256_srli_epi16(x.a, COUNT), _mm256_srli_epi16(x.b, COUNT)};
}
template <int COUNT> static INLINE Bytes left(Bytes x) {
    return {_mm256_slli_epi16(x.a, COUNT), _mm256_slli_epi16(x.b, COUNT)};
}
static INLINE Bytes either(Bytes x, Bytes y) {
    return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}

static INLINE Floats even_bf16(const uint16_t* from) {
    Bytes x = load_bytes((const uint8_t*)from);
    return {_mm256_castsi256_ps(_mm256_slli_epi32(x.a, 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(x.b, 16))};
}
static INLINE Floats odd_bf16(const uint16_t* from) {
    Bytes x = load_bytes((const uint8_t*)from);
    __m256i upper = _mm256_set1_epi32(int(0xffff0000));
    return {_mm256_castsi256_ps(_mm256_and_si256(x.a, upper)),
            _mm256_castsi256_ps(_mm256_and_si256(x.b, upper))};
}

template <int INDEX> static INLINE __m256 byte_of_eight(__m256i word) {
    if (INDEX) word = _mm256_srli_epi32(word, 8 * INDEX);
    if (INDEX < 3) word = _mm256_and_si256(word, _mm256_set1_epi32(255));
    return _mm256_cvtepi32_ps(word);
}
template <int INDEX> static INLINE Floats byte_of_words(Bytes x) {
    return {byte_of_eight<INDEX>(x.a), byte_of_eight<INDEX>(x.b)};
}

#endif

static INLINE float sum(Floats x) {
    __m256 eight = halves(x);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static INLINE Floats load_any(const void* from, int64_t index, int kind) {
    if (kind == FP32) return load((const float*)from + index);
    const uint16_t* half = (const uint16_t*)from + index;
    return kind == BF16 ? load_bf16(half) : load_fp16(half);
}

static INLINE void store_any(void* to, int64_t index, int kind, Floats x) {
    if (kind == FP32) return store((float*)to + index, x);
    uint16_t* half = (uint16_t*)to + index;
    kind == BF16 ? store_bf16(half, x) : store_fp16(half, x);
}

// As it is after a store in memory.
static INLINE Floats rounded(Floats x, int kind) {
    if (kind == FP32) return x;
    uint16_t memory[16];
    store_any(memory, 0, kind, x);
    return load_any(memory, 0, kind);
}

// e^x to 1 ulp, in the steps of SLEEF's expf (u10), which torch calls: their bits are equal.
static INLINE Floats exponential(Floats x) {
    const Floats power = nearest(multiply(x, broadcast(1.442695040888963407f)));
    Floats rest = fma(power, broadcast(-0.693145751953125f), x);
    rest = fma(power, broadcast(-1.428606765330187045e-06f), rest);
    Floats found = broadcast(0.000198527617612853646278381f);
    for (float next : {0.00139304355252534151077271f, 0.00833336077630519866943359f,
                       0.0416664853692054748535156f, 0.166666671633720397949219f, 0.5f})
        found = fma(found, rest, broadcast(next));
    found = add(broadcast(1), fma(multiply(rest, rest), found, rest));
    found = where_less(x, broadcast(-104), zero(), scaled(found, power));
    return where_less(broadcast(100), x, broadcast(INFINITY), found);
}
