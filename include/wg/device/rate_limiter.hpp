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
               instant now) noexcept {
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
            set = set.subspan(static_cast<std::size_t>(tag >> 1) % (size / ways) * ways, ways);
        }
        bucket* use = nullptr;
        for (bucket& b : set) {
            if (b.tag == tag) {
                use = &b;
                break;
            }
            if ((b.tag == 0 || now - b.empty_at >= burst) && use == nullptr) use = &b;
        }
        if (use == nullptr) return false;
        if (use->tag != tag) *use = {tag, now - burst};
        // The bucket holds the time since `empty_at`, at most `burst`; a handshake takes `cost` out of it.
        if (now - use->empty_at > burst) use->empty_at = now - burst;
        if (now - use->empty_at < cost) return false;
        use->empty_at = use->empty_at + cost;
        return true;
    }

private:
    struct bucket {
        std::uint64_t tag = 0;
        instant empty_at{};
    };
    static constexpr std::size_t size = Storage::max_limited_sources;
    static constexpr std::size_t ways = 4;
    static constexpr bool few = is_few(size); ///< then all buckets are one set, and sources are known by address
    static_assert(size >= ways && (size & (size - 1)) == 0);

    typename Storage::template array<bucket, size> buckets_;
    [[no_unique_address]] std::conditional_t<few, no_table<1>, byte_array<16>> key_{};
};

} // namespace wg::inline WG_ABI

#endif
