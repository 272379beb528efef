// Products of few rows with a weight of 2, 3, 4 or 8 bits, straight from its packed levels.
//
// Sixteen outputs are a block, and their levels are interleaved so that a lane of a vector is an
// output: 64 bytes hold, for each of the 16, the levels of four neighbouring inputs (8 bits), or of
// four, eight (4 bits) and sixteen (2 bits), the first four in the lowest bits of each byte. Levels
// of 3 bits are two planes: 32 inputs take two runs of 64 bytes with the low two bits and one with
// the high bit. A sum over inputs then needs no shuffles and no sums across lanes, and a block is
// one run of memory.
//
// Inputs are rounded to 8 bits in blocks of up to 32, so that products are sums of integers:
//
//     y[o] = sum over groups g of  scale[o, g] * (sum over blocks b of g of
//                                  dx[b] * (sum of level * q)  -  zero[o, g] * sum of dx * q)
//
// with x = dx * q. Each output is summed by one thread in this order, whatever stands beside it.

#include <omp.h>

#include "scratch.h"
#include "vectors.h"

// The same fields stand in packed_rows.py.
struct Packed {
    const uint8_t* levels;  // [blocks of outputs][bytes]
    const void* scales;     // [blocks of outputs][groups][16]
    const void* zeros;      // the same, or null: `middle` is every zero point
    int64_t m, n;
    int64_t group;    // inputs that share a scale
    int64_t padded;   // the same with what is added to fill whole units
    int64_t groups;
    int64_t container;  // bits that a level takes here
    int64_t scale_kind, zero_kind;
    double middle;
};

// --------------------------------------------------------------------------- one unit of levels

// The unit of a width: inputs, and bytes for 16 outputs.
static INLINE int64_t unit_of(int64_t bits) { return bits == 3 ? 32 : 32 / bits; }
static INLINE int64_t bytes_of(int64_t bits) { return bits == 3 ? 192 : 64; }

template <int J> static INLINE Bytes three(Bytes low, Bytes high) {
    // Bit J of a byte becomes bit 2.
    Bytes top = J < 2 ? left<(J < 2 ? 2 - J : 0)>(high) : right<(J < 2 ? 0 : J - 2)>(high);
    return either(keep<3>(right<2 * (J % 4)>(low)), keep<4>(top));
}

// Calls use(j, levels) for every four inputs of a unit, in order.
template <int BITS, class Use> static INLINE void unpack(const uint8_t* from, Use use) {
    if constexpr (BITS == 8) {
        use(0, load_bytes(from));
    } else if constexpr (BITS == 4) {
        Bytes both = load_bytes(from);
        use(0, keep<15>(both));
        use(1, keep<15>(right<4>(both)));
    } else if constexpr (BITS == 2) {
        Bytes all = load_bytes(from);
        use(0, keep<3>(all));
        use(1, keep<3>(right<2>(all)));
        use(2, keep<3>(right<4>(all)));
        use(3, keep<3>(right<6>(all)));
    } else {
        Bytes high = load_bytes(from + 128);
        Bytes low = load_bytes(from);
        use(0, three<0>(low, high));
        use(1, three<1>(low, high));
        use(2, three<2>(low, high));
        use(3, three<3>(low, high));
        low = load_bytes(from + 64);
        use(4, three<4>(low, high));
        use(5, three<5>(low, high));
        use(6, three<6>(low, high));
        use(7, three<7>(low, high));
    }
}

// ------------------------------------------------------------- sums of levels and 8-bit inputs

static INLINE int32_t four_bytes(const int8_t* from) {
    int32_t word;
    memcpy(&word, from, 4);
    return word;
}

#ifdef __AVX512VNNI__

template <int BITS> struct Sum {
    static constexpr float CENTRE = 0;
    __m512i v = _mm512_setzero_si512();
    INLINE void add(Bytes levels, const int8_t* q) {
        v = _mm512_dpbusd_epi32(v, levels.v, _mm512_set1_epi32(four_bytes(q)));
    }
    INLINE Floats floats() const { return {_mm512_cvtepi32_ps(v)}; }
};

#elif defined(__AVX512F__)
#error "AVX-512 without VNNI is served by the AVX2 path"
#else

// Pairs of products fit in 16 bits: at most 15 * 127 * 2 each, and 8 of those are added in a block
// of 32 inputs: 30,480.
template <int BITS> struct Sum {
    static constexpr float CENTRE = 0;
    __m256i a = _mm256_setzero_si256(), b = _mm256_setzero_si256();
    INLINE void add(Bytes levels, const int8_t* q) {
        __m256i four = _mm256_set1_epi32(four_bytes(q));
        a = _mm256_add_epi16(a, _mm256_maddubs_epi16(levels.a, four));
        b = _mm256_add_epi16(b, _mm256_maddubs_epi16(levels.b, four));
    }
    INLINE Floats floats() const {
        __m256i ones = _mm256_set1_epi16(1);
        return {_mm256_cvtepi32_ps(_mm256_madd_epi16(a, ones)),
                _mm256_cvtepi32_ps(_mm256_madd_epi16(b, ones))};
    }
};

// Levels of 8 bits as level - 128, their sign moved to the input: 128 * 127 * 2 fits in 16 bits.
template <> struct Sum<8> {
    static constexpr float CENTRE = 128;
    __m256i a = _mm256_setzero_si256(), b = _mm256_setzero_si256();
    static INLINE __m256i products(__m256i levels, __m256i four) {
        levels = _mm256_xor_si256(levels, _mm256_set1_epi8(-128));
        __m256i pairs =
            _mm256_maddubs_epi16(_mm256_abs_epi8(levels), _mm256_sign_epi8(four, levels));
        return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
    }
    INLINE void add(Bytes levels, const int8_t* q) {
        __m256i four = _mm256_set1_epi32(four_bytes(q));
        a = _mm256_add_epi32(a, products(levels.a, four));
        b = _mm256_add_epi32(b, products(levels.b, four));
    }
    INLINE Floats floats() const { return {_mm256_cvtepi32_ps(a), _mm256_cvtepi32_ps(b)}; }
};

#endif

// ------------------------------------------------------------------------------------ the inputs

// Rows of inputs as the kernels want them: groups filled up with zeros to whole units, and rows that
// are multiplied together (up to `most`) side by side.
struct Inputs {
    int64_t rows, most;
    int64_t stride;  // inputs of a row, with what fills up its groups
    int64_t block;   // inputs that share a dx
    float* row;      // [threads][stride], one row as it is prepared
    float* wide;     // [stride][rows], null where inputs are rounded
    int8_t* q;       // [stride / 4][rows][4], null where they are not
    float* dx;       // [stride / block][rows]
    float* sums;     // [groups][rows], of what is multiplied: wide, or dx * q
};

static void widen(const Packed& w, const void* x, int kind, int64_t row, float* to) {
    for (int64_t g = 0; g < w.groups; g++, to += w.padded) {
        int64_t first = g * w.group, i = 0;
        int64_t count = w.n - first < w.group ? w.n - first : w.group;
        const char* from = (const char*)x + (row * w.n + first) * (kind == FP32 ? 4 : 2);
        if (kind == FP16)
            for (; i + 16 <= count; i += 16) store(to + i, load_fp16((const uint16_t*)from + i));
        if (kind == BF16)
            for (; i < count; i++) to[i] = from_bf16(((const uint16_t*)from)[i]);
        for (; i < count; i++) to[i] = load_one(from, i, kind);
        for (; i < w.padded; i++) to[i] = 0;
    }
}

// Rounds a block to q = x / dx, dx = max |x| / 127; returns the sum of q. What is not finite makes
// dx so, and with it every output. Below 1e-36 all is zero.
static INLINE int32_t round_block(const float* x, int64_t count, int8_t* q, float* dx) {
    uint32_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7fffffff;  // as integers, NaN is above infinity and that above all others
        most = bits > most ? bits : most;
    }
    float largest;
    memcpy(&largest, &most, 4);
    bool nothing = largest < 1e-36f;
    *dx = nothing ? 0 : largest / 127;
    float inverse = nothing ? 0 : 127 / largest;
    int32_t total = 0;
    for (int64_t i = 0; i < count; i += 4) {
        __m128i four = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x + i), _mm_set1_ps(inverse)));
        int32_t levels[4];
        _mm_storeu_si128((__m128i*)levels, four);
        for (int j = 0; j < 4; j++) {
            q[i + j] = int8_t(levels[j]);
            total += levels[j];
        }
    }
    return total;
}

static void prepare(const Packed& w, const Inputs& in, const void* x, int kind, int64_t row) {
    float* from = in.row + omp_get_thread_num() * in.stride;
    widen(w, x, kind, row, from);
    // What stands beside this row, and where that begins.
    const int64_t first = row / in.most * in.most, r = row - first;
    const int64_t beside = in.rows - first < in.most ? in.rows - first : in.most;
    float* wide = in.wide + first * in.stride + r;
    int8_t* q = in.q + first * in.stride + 4 * r;
    float* dx = in.dx + first * (in.stride / in.block) + r;
    float* sums = in.sums + first * w.groups + r;
    for (int64_t g = 0; g < w.groups; g++, sums += beside) {
        double total = 0;
        if (in.wide)
            for (int64_t i = 0; i < w.padded; i++, from++, wide += beside)
                total += *wide = *from;
        else
            for (int64_t i = 0; i < w.padded; i += in.block, from += in.block, dx += beside) {
                int8_t levels[32];
                int32_t sum = in.block == 32 ? round_block(from, 32, levels, dx)
                                             : round_block(from, in.block, levels, dx);
                for (int64_t j = 0; j < in.block; j += 4, q += 4 * beside) memcpy(q, levels + j, 4);
                total += double(*dx) * sum;
            }
        *sums = float(total);
    }
}

// -------------------------------------------------------------------------- a block of 16 outputs

static INLINE Floats load_sixteen(const void* from, int64_t index, int64_t kind) {
    if (kind == FP16) return load_fp16((const uint16_t*)from + index);
    if (kind == UINT8) return load_uint8((const uint8_t*)from + index);
    return load((const float*)from + index);
}

// total += scale * (sum - (zero - centre) * sum of inputs), for one group.
static INLINE Floats finish_group(const Packed& w, int64_t index, Floats total, Floats sum,
                                  float inputs, Floats centre, Floats scale) {
    Floats zeros = w.zeros ? load_sixteen(w.zeros, index, w.zero_kind) : broadcast(w.middle);
    return fma(scale, minus_product(sum, subtract(zeros, centre), broadcast(inputs)), total);
}

// Bytes: hardware stops at the end of a page, this does not. Below 8 bits it costs more than it gains.
constexpr int AHEAD = 4096;

// BLOCK is a block's inputs where they are known when this is compiled, else 0.
template <int BITS, int R, int BLOCK>
static void rounded(const Packed& w, const Inputs& in, int64_t outputs, int64_t row, float* out) {
    const int64_t block = BLOCK ? BLOCK : in.block, blocks = w.padded / block;
    const int64_t unit = BITS == 3 ? 32 : 32 / BITS, bytes = BITS == 3 ? 192 : 64;
    const uint8_t* from = w.levels + outputs * (w.groups * w.padded / unit * bytes);
    const int8_t* q = in.q + row * in.stride;
    const float* dx = in.dx + row * (in.stride / block);
    const float* sums = in.sums + row * w.groups;
    const Floats centre = broadcast(Sum<BITS>::CENTRE);
    Floats total[R];
    UNROLL
    for (int r = 0; r < R; r++) total[r] = zero();
    for (int64_t g = 0; g < w.groups; g++) {
        Floats group[R];
        UNROLL
        for (int r = 0; r < R; r++) group[r] = zero();
        for (int64_t b = 0; b < blocks; b++, dx += R) {
            Sum<BITS> products[R];
            for (int64_t u = 0; u < block / unit; u++) {
                if (BITS == 8) _mm_prefetch((const char*)from + AHEAD, _MM_HINT_T1);
                unpack<BITS>(from, [&](int j, Bytes levels) INLINE_LAMBDA {
                    UNROLL
                    for (int r = 0; r < R; r++) products[r].add(levels, q + 4 * (j * R + r));
                });
                from += bytes;
                q += unit * R;
            }
            UNROLL
            for (int r = 0; r < R; r++)
                group[r] = fma(products[r].floats(), broadcast(dx[r]), group[r]);
        }
        int64_t index = (outputs * w.groups + g) * 16;
        Floats scale = load_sixteen(w.scales, index, w.scale_kind);
        UNROLL
        for (int r = 0; r < R; r++)
            total[r] = finish_group(w, index, total[r], group[r], sums[g * R + r], centre, scale);
    }
    UNROLL
    for (int r = 0; r < R; r++) store(out + 16 * r, total[r]);
}

// The same with inputs as they are, in float32. Four sums a row, one for each byte of a word.
template <int BITS, int R>
static void exact(const Packed& w, const Inputs& in, int64_t outputs, int64_t row, float* out) {
    const int64_t unit = BITS == 3 ? 32 : 32 / BITS, bytes = BITS == 3 ? 192 : 64;
    const uint8_t* from = w.levels + outputs * (w.groups * w.padded / unit * bytes);
    const float* x = in.wide + row * in.stride;
    const float* sums = in.sums + row * w.groups;
    Floats total[R];
    UNROLL
    for (int r = 0; r < R; r++) total[r] = zero();
    for (int64_t g = 0; g < w.groups; g++) {
        Floats part[R][4];
        UNROLL
        for (int r = 0; r < R; r++)
            UNROLL
            for (int i = 0; i < 4; i++) part[r][i] = zero();
        for (int64_t u = 0; u < w.padded / unit; u++) {
            if (BITS == 8) _mm_prefetch((const char*)from + AHEAD, _MM_HINT_T1);
            unpack<BITS>(from, [&](int j, Bytes levels) INLINE_LAMBDA {
                Floats four[4] = {byte_of_words<0>(levels), byte_of_words<1>(levels),
                                  byte_of_words<2>(levels), byte_of_words<3>(levels)};
                UNROLL
                for (int r = 0; r < R; r++)
                    UNROLL
                    for (int i = 0; i < 4; i++)
                        part[r][i] = fma(four[i], broadcast(x[(4 * j + i) * R + r]), part[r][i]);
            });
            from += bytes;
            x += unit * R;
        }
        int64_t index = (outputs * w.groups + g) * 16;
        Floats scale = load_sixteen(w.scales, index, w.scale_kind);
        UNROLL
        for (int r = 0; r < R; r++) {
            Floats group = add(add(part[r][0], part[r][1]), add(part[r][2], part[r][3]));
            total[r] = finish_group(w, index, total[r], group, sums[g * R + r], zero(), scale);
        }
    }
    UNROLL
    for (int r = 0; r < R; r++) store(out + 16 * r, total[r]);
}

// Rows that are multiplied together: as many as there are registers for.
#ifdef __AVX512F__
constexpr int MOST_ROUNDED = 8, MOST_EXACT = 4;
#else
constexpr int MOST_ROUNDED = 4, MOST_EXACT = 1;
#endif

using Block = void (*)(const Packed&, const Inputs&, int64_t, int64_t, float*);

template <int BITS, int R> static Block pick_rows(int64_t rows, const Inputs& in) {
    if constexpr (R > 1)
        if (rows < R) return pick_rows<BITS, R - 1>(rows, in);
    if (in.q) return R > 1 || in.block == 32 ? rounded<BITS, R, 32> : rounded<BITS, 1, 0>;
    if constexpr (R <= MOST_EXACT) return exact<BITS, R>;
    return nullptr;
}

static Block pick(const Packed& w, const Inputs& in, int64_t rows) {
    if (w.container == 2) return pick_rows<2, MOST_ROUNDED>(rows, in);
    if (w.container == 3) return pick_rows<3, MOST_ROUNDED>(rows, in);
    if (w.container == 4) return pick_rows<4, MOST_ROUNDED>(rows, in);
    return pick_rows<8, MOST_ROUNDED>(rows, in);
}

// ------------------------------------------------------------------------------------- the calls

static int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// y = x W^T + b. x [rows, n] and y [rows, m] of one kind, side by side; bias [m] of it, or null.
// Returns 1 where there is no memory.
extern "C" int packed_product(const Packed* weight, const void* x, const void* bias, void* y,
                              int64_t rows, int64_t kind, int64_t in_full, int64_t threads) {
    const Packed& w = *weight;
    Inputs in{};
    in.rows = rows;
    in.stride = w.groups * w.padded;
    in.block = 32;
    while (w.padded % in.block) in.block /= 2;
    // Smaller blocks are rare: one row at a time.
    in.most = in_full ? MOST_EXACT : in.block == 32 ? MOST_ROUNDED : 1;
    const int64_t one = threads * in.stride * 4;
    const int64_t sums = rows * w.groups * 4, scales = rows * (in.stride / in.block) * 4;
    char* memory = scratch(one + sums + scales + rows * in.stride * (in_full ? 4 : 1));
    if (!memory) return 1;
    in.row = (float*)memory;
    in.sums = (float*)(memory + one);
    in.dx = (float*)(memory + one + sums);
    (in_full ? (void*&)in.wide : (void*&)in.q) = memory + one + sums + scales;
    const int64_t blocks = (w.m + 15) / 16;
    const int64_t bytes = in.stride * w.container * 2;
    const int64_t chunk = 16384 / bytes + 1;
    if (rows < 2) prepare(w, in, x, kind, 0);
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        if (rows > 1) {
#pragma omp for schedule(static)
            for (int64_t row = 0; row < rows; row++) prepare(w, in, x, kind, row);
        }
#pragma omp for schedule(dynamic, chunk) nowait
        for (int64_t block = 0; block < blocks; block++) {
            float out[MOST_ROUNDED * 16];
            int64_t count = w.m - block * 16 < 16 ? w.m - block * 16 : 16;
            for (int64_t row = 0; row < rows; row += in.most) {
                int64_t together = rows - row < in.most ? rows - row : in.most;
                pick(w, in, together)(w, in, block, row, out);
                for (int64_t r = 0; r < together; r++)
                    for (int64_t o = 0; o < count; o++) {
                        int64_t output = block * 16 + o;
                        float shift = bias ? load_one(bias, output, kind) : 0;
                        store_one(y, (row + r) * w.m + output, kind, out[r * 16 + o] + shift);
                    }
            }
        }
    }
    return 0;
}

// Levels of one unit, a byte each, become those of one of its outputs.
static INLINE void pack_unit(int64_t bits, const uint8_t* levels, int64_t o, uint8_t* to) {
    auto four = [&](int64_t j) {
        uint32_t value;
        memcpy(&value, levels + 4 * j, 4);
        return value;
    };
    auto put = [&](int64_t run, uint32_t value) { memcpy(to + run * 64 + 4 * o, &value, 4); };
    if (bits == 3) {
        uint32_t low[2] = {0, 0}, high = 0;
        for (int j = 0; j < 8; j++) {
            low[j / 4] |= (four(j) & 0x03030303) << 2 * (j % 4);
            high |= (four(j) >> 2 & 0x01010101) << j;
        }
        put(0, low[0]), put(1, low[1]), put(2, high);
    } else {
        uint32_t all = 0;
        for (int j = 0; j < 8 / bits; j++) all |= four(j) << bits * j;
        put(0, all);
    }
}

// levels [m, n] of a byte each, side by side, into w.levels, which begins as zeros.
extern "C" void pack_levels(const Packed* weight, const uint8_t* levels, int64_t threads) {
    const Packed& w = *weight;
    const int64_t bits = w.container, unit = unit_of(bits);
    const int64_t group_bytes = w.padded / unit * bytes_of(bits);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t output = 0; output < w.m; output++) {
        const int64_t block = output / 16, o = output % 16;
        const uint8_t* from = levels + output * w.n;
        for (int64_t g = 0; g < w.groups; g++) {
            uint8_t* to = const_cast<uint8_t*>(w.levels) + (block * w.groups + g) * group_bytes;
            const int64_t first = g * w.group;
            const int64_t count = w.n - first < w.group ? w.n - first : w.group;
            for (int64_t i = 0; i < count; i += unit, to += bytes_of(bits)) {
                if (i + unit <= count) {
                    pack_unit(bits, from + first + i, o, to);
                } else {
                    uint8_t rest[32] = {};
                    memcpy(rest, from + first + i, count - i);
                    pack_unit(bits, rest, o, to);
                }
            }
        }
    }
}

// Levels of one unit for one of its outputs, a byte each, in order.
static INLINE void unit_levels(int64_t bits, const uint8_t* from, int64_t o, uint8_t* to) {
    auto word = [&](int64_t run) {
        uint32_t value;
        memcpy(&value, from + run * 64 + 4 * o, 4);
        return value;
    };
    auto put = [&](int64_t j, uint32_t value) { memcpy(to + 4 * j, &value, 4); };
    if (bits == 3) {
        uint32_t high = word(2);
        for (int j = 0; j < 8; j++)
            put(j, (word(j / 4) >> 2 * (j % 4) & 0x03030303) | (high >> j & 0x01010101) << 2);
    } else {
        uint32_t all = word(0), mask = 0x01010101u * ((1u << bits) - 1);
        for (int j = 0; j < 8 / bits; j++) put(j, all >> bits * j & mask);
    }
}

// (level - zero) * scale of outputs begin .. end, computed in float32: y [end - begin, n].
extern "C" void unpack_values(const Packed* weight, void* y, int64_t kind, int64_t begin,
                              int64_t end, int64_t threads) {
    const Packed& w = *weight;
    const int64_t bits = w.container, unit = unit_of(bits);
    const int64_t group_bytes = w.padded / unit * bytes_of(bits);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t output = begin; output < end; output++) {
        const int64_t block = output / 16, o = output % 16;
        char* to = (char*)y + (output - begin) * w.n * (kind == FP32 ? 4 : 2);
        for (int64_t g = 0; g < w.groups; g++) {
            const uint8_t* from = w.levels + (block * w.groups + g) * group_bytes;
            const int64_t index = (block * w.groups + g) * 16 + o;
            const float scale = w.scale_kind == FP16
                                    ? _cvtsh_ss(((const uint16_t*)w.scales)[index])
                                    : ((const float*)w.scales)[index];
            float zero = float(w.middle);
            if (w.zeros)
                zero = w.zero_kind == UINT8  ? ((const uint8_t*)w.zeros)[index]
                       : w.zero_kind == FP16 ? _cvtsh_ss(((const uint16_t*)w.zeros)[index])
                                             : ((const float*)w.zeros)[index];
            const int64_t first = g * w.group;
            const int64_t count = w.n - first < w.group ? w.n - first : w.group;
            for (int64_t u = 0; u * unit < count; u++) {
                uint8_t levels[32];
                unit_levels(bits, from + u * bytes_of(bits), o, levels);
                const int64_t here = count - u * unit < unit ? count - u * unit : unit;
                for (int64_t i = 0; i < here; i++)
                    store_one(to, first + u * unit + i, kind, (float(levels[i]) - zero) * scale);
            }
        }
    }
}
