// SPDX-License-Identifier: BSL-1.0
// Runs thousands of small simulations, one for each seed (world.hpp). A seed that fails is printed. To print all events
// of a seed:
//
//     simulation --seed 1234        or    WG_SIMULATION_SEED=1234 simulation
//
//     simulation --seeds 100000     runs seeds 0 to 99999
#include "world.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>

namespace {

using namespace simulation;

bool same_trace_again(std::uint64_t seed, std::uint64_t trace) {
    world again(seed);
    again.run();
    return again.trace() == trace;
}

/// Runs one seed. Returns: whether it passed; prints the error if not.
bool run_one(std::uint64_t seed, bool verbose, std::uint64_t& packets, std::uint64_t& sessions) {
    auto const here = std::make_unique<world>(seed, verbose);
    here->run();
    packets += here->packets();
    sessions += here->sessions();
    if (!here->error().empty()) {
        std::printf("FAIL seed %llu: %s\n", static_cast<unsigned long long>(seed), here->error().c_str());
        return false;
    }
    if (seed % 20 == 0 && !same_trace_again(seed, here->trace())) {
        std::printf("FAIL seed %llu: a second run had a different trace\n", static_cast<unsigned long long>(seed));
        return false;
    }
    return true;
}

/// Whether the ledger finds each kind of error, and different seeds have different traces.
bool checks_find_errors() {
    seeded_random dice(1);
    ledger book;
    std::vector<byte> const first = book.make(0, 0, 1, 0, 200, dice), second = book.make(1, 1, 0, 0, 200, dice);
    std::vector<byte> const forged = book.make(0, 2, 1, 0, 200, dice);
    std::vector<byte> changed = first, foreign(100, byte{0x45});
    changed.back() ^= 1;
    bool const finds = book.deliver(1, foreign) != nullptr && book.deliver(1, changed) != nullptr &&
                       book.deliver(0, first) != nullptr && book.deliver(1, forged) != nullptr &&
                       book.deliver(1, first) == nullptr && book.deliver(1, first) != nullptr &&
                       book.deliver(0, second) == nullptr;
    world one(1), two(2);
    one.run();
    two.run();
    return finds && one.trace() != two.trace();
}

bool number(char const* text, std::uint64_t& out) {
    return std::from_chars(text, text + std::strlen(text), out).ec == std::errc{};
}

} // namespace

int main(int argc, char** argv) {
    std::uint64_t count = 2000, one = 0, packets = 0, sessions = 0, failed = 0;
    char const* const wanted = std::getenv("WG_SIMULATION_SEED");
    bool replay = wanted != nullptr && number(wanted, one);
    for (int i = 1; i < argc; i += 2) {
        bool const seed = std::strcmp(argv[i], "--seed") == 0, seeds = std::strcmp(argv[i], "--seeds") == 0;
        if ((!seed && !seeds) || i + 1 == argc || !number(argv[i + 1], seed ? one : count)) {
            std::printf("usage: simulation [--seed N | --seeds COUNT]\n");
            return 2;
        }
        replay |= seed;
    }
    if (replay) return run_one(one, true, packets, sessions) ? 0 : 1;

    if (!checks_find_errors()) {
        std::printf("FAIL the checks of the simulation find no errors\n");
        ++failed;
    }
    for (std::uint64_t seed = 0; seed < count && failed < 20; ++seed)
        failed += !run_one(seed, false, packets, sessions);
    std::printf("%llu packets, %llu sessions\n", static_cast<unsigned long long>(packets),
                static_cast<unsigned long long>(sessions));
    std::printf("%llu passed, %llu failed, 0 skipped\n", static_cast<unsigned long long>(count + 1 - failed),
                static_cast<unsigned long long>(failed));
    return failed != 0;
}
