// SPDX-License-Identifier: BSL-1.0
// RFC 7748, section 5.2: X25519 iterated 1,000,000 times, with every kernel that this machine can run. Each kernel runs
// one key at a time, and batches in which every lane runs the same chain.
#include "wg/backends/bundled/x25519.hpp"

#include <algorithm>
#include <cstdio>
#include <vector>

using namespace wg::bundled;

namespace {

using key = wg::byte_array<wg::key_bytes>;

constexpr key after_a_million = {0x7c, 0x39, 0x11, 0xe0, 0xab, 0x25, 0x86, 0xfd, 0x86, 0x44, 0x97,
                                 0x29, 0x7e, 0x57, 0x5e, 0x6f, 0x3b, 0xc6, 0x01, 0xc0, 0x88, 0x3c,
                                 0x30, 0xdf, 0x5f, 0x4d, 0xd2, 0xd2, 0x4f, 0x66, 0x54, 0x24};

int passed = 0, failed = 0;

void report(bool good, char const* what, unsigned set) {
    (good ? passed : failed)++;
    std::printf("%s %s, cpu %u\n", good ? "ok  " : "FAIL", what, set);
    std::fflush(stdout);
}

void one_at_a_time(dh const& with, unsigned set) {
    key const nine = {9};
    wg::secret<wg::key_bytes> k(nine), product;
    key u = nine;
    for (int i = 0; i < 1'000'000; ++i) {
        static_cast<void>(with.dh(product, k, u));
        std::copy(k.expose().begin(), k.expose().end(), u.begin());
        k.assign(product);
    }
    report(k.equals(wg::secret<wg::key_bytes>(after_a_million)), "one at a time", set);
}

void in_batches(dh const& with, unsigned set) {
    constexpr std::size_t lanes = 8;
    key const nine = {9};
    std::vector<wg::secret<wg::key_bytes>> k(lanes), products(lanes);
    std::vector<key> u(lanes, nine);
    std::vector<wg::dh_item> items(lanes);
    for (std::size_t j = 0; j < lanes; ++j) {
        k[j].assign(nine);
        items[j] = {&products[j], &k[j], u[j], false};
    }
    for (int i = 0; i < 1'000'000; ++i) {
        with.dh_batch(items);
        for (std::size_t j = 0; j < lanes; ++j) {
            std::copy(k[j].expose().begin(), k[j].expose().end(), u[j].begin());
            k[j].assign(products[j]);
        }
    }
    wg::secret<wg::key_bytes> const expected(after_a_million);
    report(std::all_of(k.begin(), k.end(), [&](auto const& one) { return one.equals(expected); }), "batches", set);
}

} // namespace

int main() {
    // the kernels: 64-bit or 32-bit limbs, AVX2, IFMA
    std::vector<cpu> seen;
    for (cpu const off : {cpu::all, cpu::avx512 | cpu::ifma, cpu::baseline}) {
        cpu const set = consistent(detect_cpu() & ~off);
        if (std::find(seen.begin(), seen.end(), set) != seen.end()) continue;
        seen.push_back(set);
        one_at_a_time(dh(set), unsigned(set));
        if (set != cpu::baseline)
            in_batches(dh(set), unsigned(set)); // the baseline has no lanes: a batch repeats the run above eight times
    }
    std::printf("%d passed, %d failed, 0 skipped\n", passed, failed);
    return failed != 0;
}
