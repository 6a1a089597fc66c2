// SPDX-License-Identifier: BSL-1.0
// The combinations of instruction sets to which a backend can be restricted, and a bundled backend for each.
#ifndef WG_TESTS_UNIT_BUNDLED_SETS_HPP
#define WG_TESTS_UNIT_BUNDLED_SETS_HPP

#include "wg/backends/bundled/bundled.hpp"

#include <string>
#include <type_traits>
#include <vector>

namespace wg_tests {

using wg::bundled::cpu;

/// Every consistent subset of `there`, each once; the first is the baseline. No bundled kernel uses ADX, so no two
/// subsets differ in ADX alone.
inline std::vector<cpu> cpu_sets(cpu there) {
    std::vector<cpu> sets;
    for (std::uint32_t bits = 0; bits <= std::uint32_t(cpu::all); ++bits) {
        cpu const set = cpu(bits), adx = has(set, cpu::avx2) ? there & cpu::adx : cpu::baseline;
        if (has(there, set) && consistent(set) == set && (set & cpu::adx) == adx) sets.push_back(set);
    }
    return sets;
}

inline std::string print_cpu(cpu set) {
    constexpr char const* names[] = {"ssse3", "avx2", "adx", "avx512", "ifma"};
    std::string text;
    for (std::uint32_t bit = 0; bit < 5; ++bit)
        if (has(set, cpu(1u << bit))) text.append(text.empty() ? "" : ",").append(names[bit]);
    return text.empty() ? "baseline" : text;
}

/// The backend restricted to the instruction sets of `set`.
template <class Backend> Backend backend_with(cpu set) {
    if constexpr (std::is_constructible_v<Backend, cpu>) return Backend(set);
    else return Backend{};
}

} // namespace wg_tests

#endif
