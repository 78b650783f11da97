// Repeats recorded calls of the library and prints the CRC-32 of every array after each call.
//
//     replay LIBRARY.so CALLS
//
// CALLS holds words of 64 bits. Each call is: the length of its name, its name padded to whole words, the bits of its
// floating-point argument, and the number of its other arguments. Each of those is a kind and a value: 0 a number, 1 the
// result of an earlier call, 2 an array (its length in bytes, then its bytes, padded to whole words).
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

using Words = std::vector<uint64_t>;

// Integers and pointers have their own registers, apart from the floating-point argument. Then comes the stack, from
// which a function takes only as many as it has parameters. So one signature calls every function of the library.
using Function = uint64_t (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                              uint64_t, uint64_t, double);

int main(int, char** given) {
    void* library = dlopen(given[1], RTLD_NOW);
    if (!library) return std::fprintf(stderr, "%s\n", dlerror()), 1;
    std::ifstream file(given[2], std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    Words words(bytes.size() / 8);
    std::memcpy(words.data(), bytes.data(), bytes.size());
    std::vector<uint64_t> results;
    for (size_t at = 0; at < words.size();) {
        const size_t length = words[at++];
        const std::string name(reinterpret_cast<const char*>(&words[at]), length);
        at += (length + 7) / 8;
        double number;
        std::memcpy(&number, &words[at++], 8);
        uint64_t a[20] = {};
        std::deque<std::pair<Words, size_t>> arrays;  // with their length in bytes
        const size_t count = words[at++];
        for (size_t k = 0; k < count; ++k) {
            const uint64_t kind = words[at++], value = words[at++];
            if (kind == 2) {
                const auto first = words.begin() + static_cast<long>(at);
                arrays.emplace_back(Words(first, first + static_cast<long>((value + 7) / 8)), value);
                at += (value + 7) / 8;
                a[k] = reinterpret_cast<uint64_t>(arrays.back().first.data());
            } else {
                a[k] = kind == 1 ? results[value] : value;
            }
        }
        const auto function = reinterpret_cast<Function>(dlsym(library, name.c_str()));
        if (!function) return std::fprintf(stderr, "no function %s\n", name.c_str()), 1;
        results.push_back(function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12],
                                   a[13], a[14], a[15], a[16], a[17], a[18], a[19], number));
        std::printf("%s", name.c_str());
        for (const auto& [array, size] : arrays) {
            uint32_t crc = ~0u;  // CRC-32
            const auto* p = reinterpret_cast<const unsigned char*>(array.data());
            for (size_t k = 0; k < size; ++k) {
                crc ^= p[k];
                for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
            }
            std::printf(" %08x", ~crc);
        }
        std::printf("\n");
    }
}
