// A plain vector loop over memory: the rate at which this machine reads.
#include <immintrin.h>
#include <omp.h>

#include <cstdint>

extern "C" int read_memory(const void* memory, int64_t bytes, int64_t threads) {
    int64_t total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        int64_t part = bytes / threads / 256 * 256;
        const char* from = (const char*)memory + omp_get_thread_num() * part;
        __m256i sums[8] = {};
        for (int64_t i = 0; i < part; i += 256)
            for (int j = 0; j < 8; j++)
                sums[j] = _mm256_add_epi64(
                    sums[j], _mm256_loadu_si256((const __m256i*)(from + i + 32 * j)));
        for (int j = 0; j < 8; j++) total += _mm256_extract_epi64(sums[j], 0);
    }
    return int(total);
}
