// Decoder layers for one new position of a few rows: RMS norm, rotary attention to what is kept, a
// gated mlp, each added to the stream. All layers are one call, as between products of a small model
// most of the time would go into making calls.
//
// What is in memory between two steps is rounded to the stream's type, as torch's operations round
// it; scores and sums are float32. A row's bits do not depend on the rows beside it.

#include <omp.h>

#include <cmath>

#include "scratch.h"
#include "vectors.h"

// These are defined in the files beside this one.
extern "C" int dense_product(const void* weight, int64_t stride, int64_t m, int64_t n,
                             const void* x, const void* bias, void* y, int64_t rows, int64_t kind,
                             int64_t threads);
extern "C" int packed_product(const void* weight, const void* x, const void* bias, void* y,
                              int64_t rows, int64_t kind, int64_t in_full, int64_t threads);

// A linear: `packed` is a `Packed` of packed.cpp, or null where `dense` is the weight.
struct Linear {
    const void *dense, *packed, *bias;
    int64_t stride, m, n;
};

// weight * x / sqrt(mean(x^2) + eps); null where there is none.
struct Norm {
    const void* weight;
    double eps;
};

struct Layer {
    Norm before, of_queries, of_keys, after;
    Linear query, key, value, out, gate, up, down;
    int64_t heads, shared, width;  // of keys and values `shared` heads, each `width` numbers
    double scale;
};

// Keys and values of one row of a layer, in pages [shared, page, width] each; `kept` are there
// already.
struct Kept {
    char *const *keys, *const *values;
    int64_t page, kept;
};

struct Call {
    int64_t rows, size, kind, threads;
    int64_t bytes() const { return kind == FP32 ? 4 : 2; }
};

constexpr int64_t LANES = 16;
constexpr int64_t ALONE = 1 << 15;  // numbers of keys that one thread reads before another would help

// Replaces numbers of y, LANES at a time, by what `make` gives for those of x and y in their place.
template <int KIND, class Make>
static INLINE void replace(char* y, const char* x, int64_t count, Make make) {
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        store_any(y, i, KIND, make(load_any(x, i, KIND), load_any(y, i, KIND)));
    if (i == count) return;
    float of_x[LANES] = {}, of_y[LANES] = {};
    for (int64_t j = 0; i + j < count; j++) {
        of_x[j] = load_one(x, i + j, KIND);
        of_y[j] = load_one(y, i + j, KIND);
    }
    store(of_y, make(load(of_x), load(of_y)));
    for (int64_t j = 0; i + j < count; j++) store_one(y, i + j, KIND, of_y[j]);
}

static int multiply(const Linear& w, const Call& call, const void* x, void* y) {
    if (w.packed)
        return packed_product(w.packed, x, w.bias, y, call.rows, call.kind, 0, call.threads);
    return dense_product(w.dense, w.stride, w.m, w.n, x, w.bias, y, call.rows, call.kind,
                         call.threads);
}

// The norm of `size` numbers from x to y, which may be the same.
template <int KIND> static void normed(const Norm& norm, const char* x, char* y, int64_t size) {
    float squares = 0;
    Floats sums = zero();
    int64_t i = 0;
    for (; i + LANES <= size; i += LANES) {
        Floats some = load_any(x, i, KIND);
        sums = fma(some, some, sums);
    }
    for (; i < size; i++) squares += load_one(x, i, KIND) * load_one(x, i, KIND);
    const float scale = 1.0f / std::sqrt((sum(sums) + squares) / float(size) + float(norm.eps));
    if (x != y) memcpy(y, x, size * (KIND == FP32 ? 4 : 2));
    replace<KIND>(y, (const char*)norm.weight, size, [&](Floats weight, Floats some) INLINE_LAMBDA {
        return multiply(weight, rounded(multiply(some, broadcast(scale)), KIND));
    });
}

// Turns the first `turned` numbers of a head: cos and sin are laid out as in rotary.py.
template <int KIND>
static void turn(char* head, const void* cos, const void* sin, int64_t turned, float* room) {
    constexpr int64_t BYTES = KIND == FP32 ? 4 : 2;
    const int64_t half = turned / 2 * BYTES;
    char* other = (char*)room;  // the two halves in each other's place, times their sines
    memcpy(other, head + half, half);
    memcpy(other + half, head, half);
    auto product = [](Floats a, Floats b) INLINE_LAMBDA { return multiply(a, b); };
    replace<KIND>(other, (const char*)sin, turned, product);
    replace<KIND>(head, (const char*)cos, turned, product);
    replace<KIND>(head, other, turned, [](Floats a, Floats b) INLINE_LAMBDA { return add(b, a); });
}

// What one query head gets of the positions 0 .. count - 1 of the keys' head; `scores` has room for
// them.
template <int KIND>
static void attend(const char* query, const Kept& kept, int64_t head, char* y, int64_t count,
                   int64_t width, float scale, float* scores) {
    constexpr int64_t BYTES = KIND == FP32 ? 4 : 2;
    const int64_t first = head * kept.page * width * BYTES;
    float highest = -INFINITY;
    for (int64_t begin = 0; begin < count; begin += kept.page) {
        const char* keys = kept.keys[begin / kept.page] + first;
        const int64_t end = begin + kept.page < count ? begin + kept.page : count;
        for (int64_t t = begin; t < end; t++, keys += width * BYTES) {
            Floats sums = zero();
            for (int64_t i = 0; i < width; i += LANES)
                sums = fma(load_any(query, i, KIND), load_any(keys, i, KIND), sums);
            scores[t] = sum(sums) * scale;
            highest = scores[t] > highest ? scores[t] : highest;
        }
    }
    float total = 0;
    for (int64_t t = 0; t < count; t += LANES) {
        const int64_t some = count - t < LANES ? count - t : LANES;
        float powers[LANES];
        for (int64_t i = 0; i < LANES; i++) powers[i] = i < some ? scores[t + i] : -INFINITY;
        store(powers, exponential(subtract(load(powers), broadcast(highest))));
        for (int64_t i = 0; i < some; i++) total += scores[t + i] = powers[i];
    }
    for (int64_t i = 0; i < width; i += LANES) {
        Floats sums = zero();
        for (int64_t begin = 0; begin < count; begin += kept.page) {
            const char* values = kept.values[begin / kept.page] + first;
            const int64_t end = begin + kept.page < count ? begin + kept.page : count;
            for (int64_t t = begin; t < end; t++, values += width * BYTES)
                sums = fma(broadcast(scores[t]), load_any(values, i, KIND), sums);
        }
        store_any(y, i, KIND, divide(sums, broadcast(total)));
    }
}

struct Room {
    char *normed, *query, *key, *value, *mixed, *gate, *up;
    float* scores;  // of each thread, `longest` of them
    int64_t longest;
};

template <int KIND>
static int attention(const Layer& layer, const Kept* rows, const Call& call, const Room& room,
                     const char* cos, const char* sin, int64_t turned, int64_t apart) {
    constexpr int64_t BYTES = KIND == FP32 ? 4 : 2;
    const int64_t width = layer.width, head_bytes = width * BYTES;
    const int64_t group = layer.heads / layer.shared;
    if (multiply(layer.query, call, room.normed, room.query) ||
        multiply(layer.key, call, room.normed, room.key) ||
        multiply(layer.value, call, room.normed, room.value))
        return 1;
    int64_t work = 0;
    for (int64_t row = 0; row < call.rows; row++)
        work += layer.heads * (rows[row].kept + 1) * width;
    const bool alone = call.threads == 1 || work < ALONE;
    // A task is a head of keys with the heads of queries that read it.
#pragma omp parallel for num_threads(call.threads) schedule(static) if (!alone)
    for (int64_t task = 0; task < call.rows * layer.shared; task++) {
        const int64_t row = task / layer.shared, head = task % layer.shared;
        float* scores = room.scores + omp_get_thread_num() * room.longest;
        const char *c = cos + row * apart * BYTES, *s = sin + row * apart * BYTES;
        char* key = room.key + task * head_bytes;
        char* query = room.query + (row * layer.heads + head * group) * head_bytes;
        if (layer.of_keys.weight) normed<KIND>(layer.of_keys, key, key, width);
        if (turned) turn<KIND>(key, c, s, turned, scores);
        const Kept& kept = rows[row];
        const int64_t page = kept.kept / kept.page;
        const int64_t at = (head * kept.page + kept.kept % kept.page) * head_bytes;
        memcpy(kept.keys[page] + at, key, head_bytes);
        memcpy(kept.values[page] + at, room.value + task * head_bytes, head_bytes);
        for (int64_t q = 0; q < group; q++, query += head_bytes) {
            if (layer.of_queries.weight) normed<KIND>(layer.of_queries, query, query, width);
            if (turned) turn<KIND>(query, c, s, turned, scores);
            attend<KIND>(query, kept, head, room.mixed + (query - room.query), kept.kept + 1, width,
                         float(layer.scale), scores);
        }
    }
    return multiply(layer.out, call, room.mixed, room.normed);
}

template <int KIND>
static int run(const Layer* layers, int64_t count, const Kept* kept, char* x, const Call& call,
               const char* cos, const char* sin, int64_t turned, int64_t apart) {
    constexpr int64_t BYTES = KIND == FP32 ? 4 : 2;
    int64_t widest = call.size, longest = turned, inner = 0;
    for (int64_t each = 0; each < count; each++) {
        const Layer& layer = layers[each];
        widest = layer.query.m > widest ? layer.query.m : widest;
        inner = layer.gate.m > inner ? layer.gate.m : inner;
    }
    for (int64_t each = 0; each < count * call.rows; each++)
        longest = kept[each].kept + 1 > longest ? kept[each].kept + 1 : longest;
    widest = (call.rows * widest * BYTES + 63) / 64 * 64;
    inner = (call.rows * inner * BYTES + 63) / 64 * 64;
    char* memory = scratch(5 * widest + 2 * inner + call.threads * longest * 4);
    if (!memory) return 1;
    Room room{};
    char** const parts[] = {&room.normed, &room.query, &room.key, &room.value, &room.mixed};
    for (char** part : parts) *part = memory, memory += widest;
    room.gate = memory, room.up = memory + inner, memory += 2 * inner;
    room.scores = (float*)memory;
    room.longest = longest;
    const int64_t numbers = call.rows * call.size;
    for (int64_t each = 0; each < count; each++) {
        const Layer& layer = layers[each];
        auto norm_rows = [&](const Norm& norm) {
            for (int64_t row = 0; row < call.rows; row++) {
                const int64_t at = row * call.size * BYTES;
                normed<KIND>(norm, x + at, room.normed + at, call.size);
            }
        };
        auto add_to_stream = [&](const char* added) {
            replace<KIND>(x, added, numbers,
                          [](Floats a, Floats b) INLINE_LAMBDA { return add(b, a); });
        };
        norm_rows(layer.before);
        if (attention<KIND>(layer, kept + each * call.rows, call, room, cos, sin, turned, apart)) return 1;
        add_to_stream(room.normed);
        norm_rows(layer.after);
        if (multiply(layer.gate, call, room.normed, room.gate) ||
            multiply(layer.up, call, room.normed, room.up))
            return 1;
        replace<KIND>(room.gate, room.up, call.rows * layer.gate.m,
                      [](Floats up, Floats gate) INLINE_LAMBDA {
                          Floats power = exponential(subtract(zero(), gate));
                          Floats opened = divide(gate, add(broadcast(1), power));
                          return multiply(rounded(opened, KIND), up);
                      });
        if (multiply(layer.down, call, room.gate, room.normed)) return 1;
        add_to_stream(room.normed);
    }
    return 0;
}

// Puts what `count` layers make of x [rows, size] in its place, and each layer's new key and value
// behind those that are kept: of each layer a `Kept` for each row. Cosines and sines are [rows, turned], or one row for all where `apart`
// is 0. All are of one kind. Returns 1 where there is no memory.
extern "C" int run_layers(const void* layers, int64_t count, const void* kept, void* x,
                          int64_t rows, int64_t size, const void* cos, const void* sin,
                          int64_t turned, int64_t apart, int64_t kind, int64_t threads) {
    const Call call{rows, size, kind, threads};
    auto* with = kind == FP32 ? run<FP32> : kind == BF16 ? run<BF16> : run<FP16>;
    return with((const Layer*)layers, count, (const Kept*)kept, (char*)x, call, (const char*)cos,
                (const char*)sin, turned, apart);
}
