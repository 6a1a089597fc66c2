// SPDX-License-Identifier: BSL-1.0
// A token bucket for each source address, in a table that never grows (Linux ratelimiter.c for the numbers). Layer 4.
//
// An IPv6 source is its /64, since whoever has one address there has all of them. A bucket that is full again is
// forgotten without loss; while every bucket of a set is in use, a new source is refused.
#ifndef WG_DEVICE_RATE_LIMITER_HPP
#define WG_DEVICE_RATE_LIMITER_HPP

#include "../policy.hpp"
#include "few.hpp"

namespace wg::inline WG_ABI {

template <class Storage> class rate_limiter {
public:
    //= linux: under load 20 handshakes a second from a source, a burst of 5
    static constexpr duration cost = seconds(1) / 20; ///< 20 handshakes a second
    static constexpr duration burst = cost * 5;

    explicit rate_limiter(Storage& storage) noexcept : buckets_(storage) {}

    /// Whether one more handshake from `from` is allowed; if so, it is counted. The first call takes the memory.
    /// False as well when there is no memory or no randomness.
    template <hash_backend Hash, random_source Random>
    bool allow([[maybe_unused]] Hash const& hash, [[maybe_unused]] Random& random, ip_address const& from,
               moment now) noexcept {
        if (buckets_.view().empty()) {
            if constexpr (!few) // so that nobody can choose addresses that share a set
                if (!random.fill(key_)) return false;
            if (!buckets_.resize(size)) return false;
        }
        bool const v4 = from.kind == family::v4;
        std::uint64_t tag; // that of an empty bucket is zero
        std::span<bucket> set = buckets_.view();
        if constexpr (few) {
            // No network's addresses begin with 32 zeros, so those of IPv4 have this place.
            tag = v4 ? std::uint64_t{load_le32(from.octets.data())} << 32 : load_le64(from.octets.data());
        } else {
            byte_array<8> digest{};
            //= linux: an IPv6 source is its /64
            hash.blake2s(digest, key_, bytes_view(from.octets).first(v4 ? 4 : 8), {});
            tag = load_le64(digest.data()) | 1;
            set = set.subspan(converted<std::size_t>(tag >> 1) % (size / ways) * ways, ways);
        }
        bucket* use = nullptr;
        for (bucket& b : set) {
            if (b.tag == tag) {
                use = &b;
                break;
            }
            if (use == nullptr && is_full(b, now)) use = &b;
        }
        if (use == nullptr) return false;
        if (is_full(*use, now)) set_after<cost - burst>(use->open_at, now); // its own, or one for a new source
        if (!passed(use->open_at, now)) return false;
        set_after<cost>(use->open_at, use->open_at);
        use->tag = tag;
        return true;
    }

private:
    struct bucket {
        std::uint64_t tag = 0;
        /// For the next handshake; each puts it off by `cost`. One that is not in use is open at the clock's beginning,
        /// and so no source is new in the first moments after that.
        instant open_at{};
    };
    static bool is_full(bucket const& b, moment now) noexcept { return passed<burst - cost>(b.open_at, now); }
    static constexpr std::size_t size = Storage::max_limited_sources;
    static constexpr std::size_t ways = 4;
    static constexpr bool few = is_few(size); ///< then all buckets are one set, and sources are known by address
    static_assert(size >= ways && (size & (size - 1)) == 0);

    few_or_array<Storage, bucket, size> buckets_;
    [[no_unique_address]] std::conditional_t<few, no_table<1>, byte_array<16>> key_{};
};

} // namespace wg::inline WG_ABI

#endif
