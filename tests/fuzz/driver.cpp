// SPDX-License-Identifier: BSL-1.0
// Feeds an entry point with mutated seeds, for compilers without libFuzzer: fuzz_NAME [RUNS [SEED]]. An input that
// ends the program is written to the file fuzz.input of the working directory.
#include "fuzz.hpp"

#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

// The sanitizers report by a signal, so that the input is kept.
extern "C" char const* __asan_default_options() { return "abort_on_error=1"; }
extern "C" char const* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }

namespace {

std::string input; // a global, for the signal handler

void keep_input(int) {
    int const fd = ::open("fuzz.input", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0 && ::write(fd, input.data(), input.size()) >= 0) (void)!::write(2, "the input: fuzz.input\n", 22);
    ::_exit(1);
}

class mutator {
public:
    explicit mutator(std::uint64_t seed) : random_(seed) {}

    std::string next() {
        std::string text(one_of_seeds());
        if (below(4) == 0) text += one_of_seeds();
        for (std::size_t steps = below(8); steps > 0; --steps) step(text);
        if (text.size() > 4096) text.resize(4096);
        return text;
    }

private:
    std::size_t below(std::size_t bound) { return std::uniform_int_distribution<std::size_t>(0, bound - 1)(random_); }
    std::string_view one_of_seeds() { return wg_fuzz::seeds()[below(wg_fuzz::seeds().size())]; }

    std::string_view piece() {
        std::string_view const from = one_of_seeds();
        if (from.empty()) return from;
        std::size_t const at = below(from.size());
        return from.substr(at, 1 + below(from.size() - at > 32 ? 32 : from.size() - at));
    }

    void step(std::string& text) {
        constexpr std::string_view edges("\0\xff\x7f\x80 \r\n,:.=#[]%$-/0", 20);
        std::size_t const at = below(text.size() + 1);
        switch (below(7)) {
        case 0: text.insert(at, piece()); break;
        case 1: text.insert(at, 1, edges[below(edges.size())]); break;
        case 2: text.erase(at, 1 + below(16)); break;
        case 3: text.resize(at); break;
        case 4:
            if (at < text.size()) text[at] = static_cast<char>(below(256));
            break;
        case 5:
            if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << below(8));
            break;
        default: {
            std::string_view const with = piece();
            text.replace(at, with.size() < text.size() - at ? with.size() : text.size() - at, with);
        }
        }
    }

    std::mt19937_64 random_;
};

} // namespace

int main(int argc, char** argv) {
    unsigned long const runs = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 100000;
    auto const now = static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    std::uint64_t const seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : now;
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    for (int const number : {SIGABRT, SIGILL, SIGTRAP, SIGSEGV}) (void)std::signal(number, keep_input);
    for (std::string_view const text : wg_fuzz::seeds()) {
        input = text;
        LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(input.data()), input.size());
    }
    mutator mutate(seed);
    for (unsigned long i = 0; i < runs; ++i) {
        input = mutate.next();
        // A copy of the exact size, so that a sanitizer sees a read beyond the end.
        std::vector<std::uint8_t> const exact(input.begin(), input.end());
        LLVMFuzzerTestOneInput(exact.data(), exact.size());
    }
    std::printf("%lu inputs\n1 passed, 0 failed, 0 skipped\n", runs);
    return 0;
}
