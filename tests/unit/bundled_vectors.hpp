// SPDX-License-Identifier: BSL-1.0
// Shared by the tests of the bundled primitives: published texts, and reproducible random bytes.
#ifndef WG_TESTS_UNIT_BUNDLED_VECTORS_HPP
#define WG_TESTS_UNIT_BUNDLED_VECTORS_HPP

#include "wg/base/config.hpp"

#include <string_view>
#include <vector>

namespace wg_tests {

using buffer = std::vector<wg::byte>;

/// Bytes from hexadecimal digits. All other characters are ignored.
inline buffer hex(std::string_view text) {
    buffer out;
    int digits = 0;
    unsigned value = 0;
    for (char const c : text) {
        unsigned digit;
        if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
        else if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
        else continue;
        value = value * 16 + digit;
        if (++digits % 2 == 0) out.push_back(static_cast<wg::byte>(value & 255));
    }
    return out;
}

inline buffer text(std::string_view text) { return buffer(text.begin(), text.end()); }

/// The first N bytes as a view of fixed size.
template <std::size_t N> std::span<wg::byte const, N> fixed(buffer const& from) {
    return std::span<wg::byte const>(from).first<N>();
}

/// Reproducible bytes: splitmix64 from a seed.
class noise {
public:
    explicit noise(std::uint64_t seed) : state_(seed) {}

    std::uint64_t next() {
        std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    buffer take(std::size_t size) {
        buffer out(size);
        for (auto& b : out) b = static_cast<wg::byte>(next() >> 56);
        return out;
    }
    /// Random bytes with long runs of zero and one bits, which make carries propagate far.
    buffer take_edges(std::size_t size) {
        buffer out = take(size);
        for (std::size_t i = 0; i < size;) {
            std::uint64_t const r = next();
            std::size_t const run = 1 + r % 12;
            for (std::size_t j = i; j < size && j < i + run; ++j)
                if ((r >> 32) % 3 != 0) out[j] = (r >> 32) % 3 == 1 ? 0 : 255;
            i += run;
        }
        return out;
    }

private:
    std::uint64_t state_;
};

// Texts that RFC 8439 uses several times.

/// Section 2.4.2 and 2.8.2, and draft-irtf-cfrg-xchacha, appendix A.3.
inline buffer sunscreen() {
    return text("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
                "sunscreen would be it.");
}
/// Appendix A.2 #2, A.3 #2 and #3.
inline buffer contribution() {
    return text("Any submission to the IETF intended by the Contributor for publication as all or part of an IETF "
                "Internet-Draft or RFC and any statement made within the context of an IETF activity is considered an "
                "\"IETF Contribution\". Such statements include oral statements in IETF sessions, as well as written "
                "and electronic communications made at any time or place, which are addressed to");
}
/// Appendix A.2 #3 and A.3 #4.
inline buffer jabberwocky() {
    return text("'Twas brillig, and the slithy toves\nDid gyre and gimble in the wabe:\nAll mimsy were the borogoves,\n"
                "And the mome raths outgrabe.");
}

} // namespace wg_tests

#endif
