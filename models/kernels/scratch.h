// Memory that a thread keeps from call to call, at an address that suits every vector.
#pragma once

#include <cstdint>
#include <cstdlib>

static inline char* scratch(int64_t bytes) {
    struct Kept {
        char* memory = nullptr;
        int64_t bytes = 0;
        ~Kept() { free(memory); }
    };
    static thread_local Kept kept;
    if (kept.bytes < bytes) {
        free(kept.memory);
        kept.bytes = (bytes + 4095) / 4096 * 4096;
        kept.memory = static_cast<char*>(aligned_alloc(64, kept.bytes));
        if (!kept.memory) kept.bytes = 0;
    }
    return kept.memory;
}
