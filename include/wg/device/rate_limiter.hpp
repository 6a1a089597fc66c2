// SPDX-License-Identifier: BSL-1.0
// A token bucket for each source address, in a table of fixed size (the rates are those of Linux's ratelimiter.c).
// Folder: device. Guarded by the device's lock.
//
// An IPv6 source is its /64, because a host with one address of a /64 can use all of them. A bucket that is full again
// can be reused without loss. If every bucket of a set is in use, a new source takes over another source's bucket:
// - If the network (IPv4: /24, IPv6: /48) with the most buckets of the set has more buckets than the network of the new
//   source, it loses one. The new source may have one handshake immediately. So a network with many sources does not
//   keep others out.
// - Otherwise the network of the new source loses one of its own buckets, which keeps its level. So a network gains
//   nothing by changing its sources: together they get the rate of the buckets that they have.
#ifndef WG_DEVICE_RATE_LIMITER_HPP
#define WG_DEVICE_RATE_LIMITER_HPP

#include "../policy.hpp"
#include "linear.hpp"

namespace wg { inline namespace WG_ABI {

/// Limits handshakes by source address.
template <class Storage> class rate_limiter {
public:
    //= linux: under load 20 handshakes a second from a source, a burst of 5
    static constexpr duration cost = seconds(1) / 20; ///< 20 handshakes a second
    static constexpr duration burst = cost * 5;       ///< 5 handshakes

    /// A limiter without a table: the first call of `allow` takes it from `storage`.
    explicit rate_limiter(Storage& storage) noexcept : buckets_(storage) {}

    /// Counts a handshake from `from`, if it is allowed. The first call allocates the table. Returns: false if it is
    /// not allowed, or if there is no memory or no randomness.
    template <hash_backend Hash, random_source Random>
    bool allow([[maybe_unused]] Hash const& hash, [[maybe_unused]] Random& random, ip_address const& from,
               instant_argument now) noexcept {
        if (buckets_.view().empty()) {
            if constexpr (!linear) // so that an attacker cannot choose addresses that share a set
                if (!random.fill(key_)) return false;
            if (!buckets_.resize(size)) return false;
        }
        bool const v4 = from.kind == family::v4;
        tag_type tag; // that of an empty bucket is zero
        std::span<bucket> set = buckets_.view();
        if constexpr (linear) {
            // No address of IPv6 begins with a zero byte, so the networks of IPv4 have this place.
            tag.source = load_le32(&from.octets[v4 ? 0 : 4]);
            tag.network = v4 ? tag.source << 8 : load_le32(from.octets.data()) ^ (tag.source & 0xffff) << 8;
        } else {
            byte_array<8> digest{};
            //= linux: an IPv6 source is its /64
            hash.blake2s(digest, key_, bytes_view(from.octets).first(v4 ? 4 : 8), {});
            // The hash of a network selects no set, so a multiplication by a secret is enough.
            std::uint64_t const network = load_be64(from.octets.data()) >> (v4 ? 40 : 16);
            tag.network =
                static_cast<std::uint32_t>((network ^ load_le64(key_.data())) * (load_le64(&key_[8]) | 1) >> 32);
            tag.source = load_le32(digest.data()) | 1;
            set = set.subspan((tag.source >> 1) % (size / ways) * ways, ways);
        }
        bucket* use = nullptr;
        for (bucket& b : set) {
            if (b.tag == tag) {
                use = &b;
                break;
            }
            if (use == nullptr && is_full(b, now)) use = &b;
        }
        if (use == nullptr) use = &taken_over(set, tag.network, now);
        if (is_full(*use, now)) set_after<cost - burst>(use->open_at, now); // its own, or one for a new source
        if (!passed(use->open_at, now)) return false;
        set_after<cost>(use->open_at, use->open_at);
        use->tag = tag;
        return true;
    }

private:
    struct tag_type {
        std::uint32_t source = 0, network = 0;
        friend constexpr bool operator==(tag_type, tag_type) noexcept = default;
    };
    struct bucket {
        tag_type tag{};
        /// When the next handshake is allowed. Each handshake delays it by `cost`. It is zero in an unused bucket, so
        /// that sources have no full burst just after the clock started.
        instant open_at{};
    };
    static bool is_full(bucket const& b, instant_argument now) noexcept { return passed<burst - cost>(b.open_at, now); }

    static unsigned count(std::span<bucket> set, std::uint32_t network) noexcept {
        unsigned sum = 0;
        for (bucket const& b : set) sum += b.tag.network == network;
        return sum;
    }

    /// The bucket of a full set that a new source takes over, see the head of this file.
    static bucket& taken_over(std::span<bucket> set, std::uint32_t network, instant_argument now) noexcept {
        unsigned const own = count(set, network);
        unsigned most = own;
        bucket* use = nullptr;
        for (bucket& b : set) {
            unsigned const here = count(set, b.tag.network);
            if (here < most || (here == own && b.tag.network != network)) continue;
            if (use != nullptr && here == most && use->open_at < b.open_at) continue;
            most = here;
            use = &b;
        }
        if (most != own) use->open_at = now; // one handshake at once, and no burst
        return *use;
    }

    static constexpr std::size_t size = Storage::max_limited_sources;
    static constexpr std::size_t ways = 4;
    static constexpr bool linear = is_linear(size); ///< then all buckets are one set, and sources are not hashed
    static_assert(size >= ways && (size & (size - 1)) == 0);

    inline_or_array<Storage, bucket, size> buckets_;
    [[no_unique_address]] std::conditional_t<linear, empty_member<1>, byte_array<16>> key_{};
};

}} // namespace wg::WG_ABI

#endif
