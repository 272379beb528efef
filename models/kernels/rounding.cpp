// The inner loops of rounding a weight to levels: the columns of a block, one after another, and the
// search for scales. What is rounded is transposed: a lane is an output, and outputs do not depend
// on one another, so bits do not depend on the number of threads.
//
// A column needs what rounding did to the columns before it, so there is one short step after
// another; as calls of a library they would take most of the time of a quantization.

#include <omp.h>

#include "vectors.h"

constexpr int64_t LANES = 32;      // outputs that a thread takes at a time: two vectors
constexpr int64_t MOST = 128;      // columns of a block: 16 KB of what rounding did to them
constexpr int64_t WIDEST = 16384;  // inputs of a group that a search holds 16 outputs of

// Some lanes of a row of m; those after the end are zeros, and are not written.
struct Lanes {
    int64_t first, count;
    INLINE Lanes(int64_t first, int64_t m) : first(first), count(m - first < LANES ? m - first : LANES) {}
    INLINE void read(const float* row, Floats (&to)[2]) const {
        if (count == LANES) {
            to[0] = load(row + first);
            to[1] = load(row + first + 16);
            return;
        }
        float some[LANES] = {};
        memcpy(some, row + first, count * sizeof(float));
        to[0] = load(some);
        to[1] = load(some + 16);
    }
    INLINE void write(float* row, const Floats (&from)[2]) const {
        if (count == LANES) {
            store(row + first, from[0]);
            store(row + first + 16, from[1]);
            return;
        }
        float some[LANES];
        store(some, from[0]);
        store(some + 16, from[1]);
        memcpy(row + first, some, count * sizeof(float));
    }
};

// The sum of near[k] * done[k] over k in begin .. end, in two chains that do not wait for another.
static INLINE void add_up(const float* near, const float (*done)[LANES], int64_t begin, int64_t end,
                          Floats (&sum)[2]) {
    Floats other[2] = {zero(), zero()};
    sum[0] = sum[1] = zero();
    int64_t k = begin;
    for (; k + 2 <= end; k += 2)
        UNROLL
        for (int v = 0; v < 2; v++) {
            sum[v] = fma(broadcast(near[k]), load(done[k] + 16 * v), sum[v]);
            other[v] = fma(broadcast(near[k + 1]), load(done[k + 1] + 16 * v), other[v]);
        }
    if (k < end)
        UNROLL
        for (int v = 0; v < 2; v++)
            sum[v] = fma(broadcast(near[k]), load(done[k] + 16 * v), sum[v]);
    UNROLL
    for (int v = 0; v < 2; v++) sum[v] = add(sum[v], other[v]);
}

static INLINE Floats bounded(Floats level, float top) {
    return least(greatest(nearest(level), zero()), broadcast(top));
}

// GPTQ: the last column first, each to the level nearest to what it should be in view of the errors
// of those after it. All are [columns, m] but these: `near` [columns, columns] is how much a column
// answers for the error of another, a column has row groups[c] of `scales` and `zeros`, and its levels
// go to row inputs[c] of `levels`. `values` is what a column should be in view of the errors after the
// block, `originals` the weight; errors are weight - rounded weight. Returns 1 for too many columns.
extern "C" int round_columns(const float* values, const float* originals, const float* near,
                             const int64_t* groups, const float* scales, const float* zeros,
                             const int64_t* inputs, float* errors, float* levels, int64_t columns,
                             int64_t m, int64_t top, int64_t threads) {
    if (columns > MOST) return 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t first = 0; first < m; first += LANES) {
        const Lanes lanes(first, m);
        alignas(64) float done[MOST][LANES];
        for (int64_t c = columns - 1; c >= 0; c--) {
            Floats value[2], original[2], scale[2], zero_point[2], sum[2], level[2], error[2];
            lanes.read(values + c * m, value);
            lanes.read(originals + c * m, original);
            lanes.read(scales + groups[c] * m, scale);
            lanes.read(zeros + groups[c] * m, zero_point);
            add_up(near + c * columns, done, c + 1, columns, sum);
            UNROLL
            for (int v = 0; v < 2; v++) {
                Floats wanted = divide(add(value[v], sum[v]), scale[v]);
                level[v] = bounded(add(wanted, zero_point[v]), float(top));
                error[v] = minus_product(original[v], subtract(level[v], zero_point[v]), scale[v]);
                store(done[c] + 16 * v, error[v]);
            }
            lanes.write(errors + c * m, error);
            lanes.write(levels + inputs[c] * m, level);
        }
    }
    return 0;
}

// Coordinate descent: each column goes to the level nearest to where its pull ends, the first column
// first, in view of how those before it moved. `near` is what a move of one pulls at another, `diagonal`
// [columns] at itself; the others as above. Changes `levels` and `errors`, of these columns.
extern "C" int move_columns(const float* pulls, const float* near, const float* diagonal,
                            const int64_t* groups, const float* scales, float* errors,
                            float* levels, int64_t columns, int64_t m, int64_t top,
                            int64_t threads) {
    if (columns > MOST) return 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
    for (int64_t first = 0; first < m; first += LANES) {
        const Lanes lanes(first, m);
        alignas(64) float done[MOST][LANES];
        for (int64_t c = 0; c < columns; c++) {
            Floats pull[2], scale[2], old[2], error[2], sum[2], level[2];
            lanes.read(pulls + c * m, pull);
            lanes.read(scales + groups[c] * m, scale);
            lanes.read(levels + c * m, old);
            lanes.read(errors + c * m, error);
            add_up(near + c * columns, done, 0, c, sum);
            const Floats own = broadcast(diagonal[c]);
            UNROLL
            for (int v = 0; v < 2; v++) {
                Floats step = divide(subtract(pull[v], sum[v]), multiply(own, scale[v]));
                level[v] = bounded(add(old[v], step), float(top));
                Floats moved = multiply(subtract(level[v], old[v]), scale[v]);
                error[v] = subtract(error[v], moved);
                store(done[c] + 16 * v, moved);
            }
            lanes.write(levels + c * m, level);
            lanes.write(errors + c * m, error);
        }
    }
    return 0;
}

// The nearest scale that fp16 holds; where its numbers are far apart, the one above.
static INLINE Floats storable(Floats scale) {
    const Floats smallest = broadcast(0x1p-24f);
    Floats sparse = multiply(next_whole(multiply(scale, broadcast(0x1p24f))), smallest);
    Floats stored = where_less(scale, broadcast(0x1p-14f), sparse, through_fp16(scale));
    return least(greatest(stored, smallest), broadcast(65504.0f));
}

// The grid of 16 groups that spans low .. high.
static INLINE void span(Floats low, Floats high, float top, bool symmetric, Floats& scale,
                        Floats& zero_point) {
    if (symmetric) {
        Floats widest = greatest(subtract(zero(), low), high);
        scale = storable(multiply(widest, broadcast(2 / top)));
        zero_point = broadcast((int(top) + 1) / 2);
        return;
    }
    scale = storable(divide(subtract(high, low), broadcast(top)));
    zero_point = bounded(divide(subtract(zero(), low), scale), top);
    const Floats one = broadcast(1);
    scale = where_less(zero_point, one, storable(divide(high, broadcast(top - 1))), scale);
    zero_point = greatest(zero_point, one);
}

// What a grid costs 16 groups: the sum of importance * (rounded - weight)^2.
static INLINE Floats cost_of(const float (*weights)[16], const float* importance, int64_t width,
                             Floats scale, Floats zero_point, float top) {
    Floats sums[2] = {zero(), zero()};
    const Floats inverse = divide(broadcast(1), scale);
    for (int64_t j = 0; j < width; j += 2)
        UNROLL
        for (int one = 0; one < 2; one++) {
            if (j + one == width) break;
            Floats step = fma(load(weights[j + one]), inverse, zero_point);
            Floats left = subtract(bounded(step, top), step);
            Floats weighted = importance ? multiply(left, broadcast(importance[j + one])) : left;
            sums[one] = fma(weighted, left, sums[one]);
        }
    return multiply(add(sums[0], sums[1]), multiply(scale, scale));
}

// The grids of all groups of a weight [rows, inputs], whose elements lie `across` and `along` apart:
// the first one spans the whole range, and others that span a factor of it are taken where they cost
// less. Scales and zeros are [rows, groups]. Importance is [inputs], or null where all count alike.
// Returns 1 for groups that are too wide.
extern "C" int search_scales(const float* weight, int64_t across, int64_t along, int64_t rows,
                             int64_t groups, int64_t width, const float* importance,
                             int64_t symmetric, int64_t top, const float* factors, int64_t count,
                             float* scales, float* zeros, int64_t threads) {
    if (width > WIDEST) return 1;
    const int64_t chunks = (rows + 15) / 16;
    bool failed = false;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
        auto* held = static_cast<float(*)[16]>(aligned_alloc(64, width * 64));
        if (!held) {
#pragma omp atomic write
            failed = true;
        }
#pragma omp for schedule(static)
        for (int64_t task = 0; task < chunks * groups; task++) {
            if (!held) continue;
            const int64_t first = task / groups * 16, group = task % groups;
            const int64_t beside = rows - first < 16 ? rows - first : 16;
            const float* from = weight + first * across + group * width * along;
            for (int64_t j = 0; j < width; j++)
                for (int64_t r = 0; r < 16; r++)
                    held[j][r] = r < beside ? from[r * across + j * along] : 0;
            Floats low = zero(), high = zero(), scale, zero_point;
            for (int64_t j = 0; j < width; j++) {
                low = least(load(held[j]), low);
                high = greatest(load(held[j]), high);
            }
            span(low, high, top, symmetric, scale, zero_point);
            const float* costs = importance ? importance + group * width : nullptr;
            if (count) {
                Floats best = cost_of(held, costs, width, scale, zero_point, top);
                for (int64_t f = 0; f < count; f++) {
                    const Floats factor = broadcast(factors[f]);
                    Floats other, other_zero;
                    span(multiply(low, factor), multiply(high, factor), top, symmetric, other,
                         other_zero);
                    Floats cost = cost_of(held, costs, width, other, other_zero, top);
                    scale = where_less(cost, best, other, scale);
                    zero_point = where_less(cost, best, other_zero, zero_point);
                    best = least(cost, best);
                }
            }
            alignas(64) float made[2][16];
            store(made[0], scale);
            store(made[1], zero_point);
            for (int64_t r = 0; r < beside; r++) {
                scales[(first + r) * groups + group] = made[0][r];
                zeros[(first + r) * groups + group] = made[1][r];
            }
        }
        free(held);
    }
    return failed;
}

// The nearest level of each weight: [rows, n] -> bytes; scales and zeros are [rows, n / width].
extern "C" int nearest_levels(const float* weight, const float* scales, const float* zeros,
                              uint8_t* levels, int64_t rows, int64_t n, int64_t width, int64_t top) {
    for (int64_t group = 0; group < rows * n / width; group++) {
        const Floats scale = broadcast(scales[group]), zero_point = broadcast(zeros[group]);
        for (int64_t j = 0; j < width; j += 16, weight += 16, levels += 16) {
            const int64_t count = width - j < 16 ? width - j : 16;
            float some[16] = {};
            uint8_t rounded[16];
            if (count < 16) memcpy(some, weight, count * sizeof(float));
            Floats values = load(count < 16 ? some : weight);
            store_bytes(rounded, bounded(add(divide(values, scale), zero_point), float(top)));
            memcpy(levels, rounded, count);
            if (count < 16) weight -= 16 - count, levels -= 16 - count;
        }
    }
    return 0;
}
