// SPDX-License-Identifier: BSL-1.0
// Generated from include/wg by single_include/amalgamate.py; edit there.
// SPDX-License-Identifier: BSL-1.0
// WireGuard for C++: the one file to include. Layer 8; thread rules stand in each header.
//
// `wg::device<Policies>` is the protocol without input and output, `wg::engine<Policies>` runs one on a host's TUN
// device and UDP socket. `wg::default_policies` is a bundle that needs nothing else; derive from it to change a part.
// Concepts and their promises: policy.hpp. WG_WITH_HACL and WG_WITH_LIBSODIUM add the backends of these libraries.
#ifndef WG_WG_HPP
#define WG_WG_HPP

// SPDX-License-Identifier: BSL-1.0
// All primitives of the protocol, in portable code and without a library. Layer 2; any thread.
#ifndef WG_BACKENDS_BUNDLED_BUNDLED_HPP
#define WG_BACKENDS_BUNDLED_BUNDLED_HPP

// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8), and the default model of aead_backend. Layer 2; any thread.
#ifndef WG_BACKENDS_BUNDLED_AEAD_HPP
#define WG_BACKENDS_BUNDLED_AEAD_HPP

// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) for machines of few kilobytes: one block at a time, one work area, one
// wipe. Layer 2; any thread.
#ifndef WG_BACKENDS_BUNDLED_COMPACT_HPP
#define WG_BACKENDS_BUNDLED_COMPACT_HPP

// SPDX-License-Identifier: BSL-1.0
// The kernels of ChaCha20-Poly1305: the same texts for each instruction set, in a namespace each. Layer 2; any thread.
//
// Every function of a kernel names its instruction set itself (WG_TARGET), so that nothing of it leaks into code that
// runs on any processor; what is inlined from elsewhere is compiled anew in there. A kernel is used through the
// members of its `kernel`.
#ifndef WG_BACKENDS_BUNDLED_KERNELS_HPP
#define WG_BACKENDS_BUNDLED_KERNELS_HPP

// SPDX-License-Identifier: BSL-1.0
// Every concept that a user may model, with what each member promises, and nothing else. Layer 1; a
// member may be called by any thread where that is said, else by one at a time.
//
// A bundle is one type that names all policies; `wg::default_policies` is one, and a user's derives from it:
//
//     struct my_policies : wg::default_policies { using random_source = hardware_rng; };
//     wg::device<my_policies> device{hardware_rng{...}};
//
// All members are noexcept. What is optional is found with `if constexpr (requires ...)` and is named below.
#ifndef WG_POLICY_HPP
#define WG_POLICY_HPP

// SPDX-License-Identifier: BSL-1.0
// The configuration of an interface as values: a list of changes goes in, a list of facts comes out. Layer 0.
//
// A list is read from front to back, as the lines of the cross-platform configuration protocol are: first what
// concerns the interface, then for each peer `peer(key)` and what concerns that peer.
//
//     wg::change const changes[] = {
//         wg::change::private_key(mine), wg::change::listen_port(51820),
//         wg::change::peer(theirs), wg::change::endpoint(where), wg::change::allowed_ip(prefix)};
//     device.configure(changes, now);
#ifndef WG_BASE_CONFIG_HPP
#define WG_BASE_CONFIG_HPP

// SPDX-License-Identifier: BSL-1.0
// Addresses: of a host, of a network, of the two ends of a datagram. Layer 0; plain values.
#ifndef WG_BASE_ENDPOINT_HPP
#define WG_BASE_ENDPOINT_HPP

// SPDX-License-Identifier: BSL-1.0
// Views of bytes, and the integers that are read and written in them. Layer 0; pure, any thread.
#ifndef WG_BASE_BYTES_HPP
#define WG_BASE_BYTES_HPP

// SPDX-License-Identifier: BSL-1.0
// What a translation unit was compiled with: assertions, the border of what is secret, the ABI namespace. Layer 0.
#ifndef WG_BASE_ABI_HPP
#define WG_BASE_ABI_HPP

/// `WG_ASSERT(condition)` guards against errors of the programmer, never against input. A host may define it to
/// its own hook before the first include; otherwise it traps, and with `NDEBUG` it is gone.
#ifndef WG_ASSERT
#ifdef NDEBUG
#define WG_ASSERT(condition) static_cast<void>(0)
#else
#define WG_ASSERT(condition) ((condition) ? static_cast<void>(0) : __builtin_trap())
#endif
#endif

/// `WG_DECLASSIFY(value)` is `value`, which was computed from secrets and is public from here on: whether a tag is the
/// right one, whether a key is zero. Nothing else of a secret may decide a branch or an address. The test of constant
/// time defines it to its own hook before the first include.
#ifndef WG_DECLASSIFY
#define WG_DECLASSIFY(value) (value)
#endif

// WG_COMPACT is for machines that handle one packet at a time and have kilobytes: no batches, no tables of precomputed
// points. Cortex-M has it by itself. WG_SMALL brings it along, and picks the smallest forms of the cryptography, too.
// WG_BARE is for a node below which there is no operating system: it lacks what only a host with routes needs.
#if !defined(WG_COMPACT) && (defined(WG_SMALL) || (defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'))
#define WG_COMPACT
#endif
#if !defined(WG_BARE) && defined(WG_COMPACT) && !defined(__unix__) && !defined(__APPLE__) && !defined(_WIN32)
#define WG_BARE
#endif

/// A function that is called at many places: where size is all, there is one body of it.
#ifdef WG_COMPACT
#define WG_OUTLINE [[gnu::noinline]]
#else
#define WG_OUTLINE
#endif

/// A function whose frame is large: where memory is little, it is not to lie below frames that need none of it.
#ifdef WG_COMPACT
#define WG_FRAME [[gnu::noinline]]
#else
#define WG_FRAME
#endif

// The linker keeps one body of each inline function. Two units built for different processors, or one with checks
// and one without, must therefore not share a symbol: the baseline instruction set, the checking mode and the size are
// part of every name, and a wg type that crosses such a border fails to link instead of failing to run.
#define WG_JOIN_(a, b, c, d, e) a##b##c##d##e
#define WG_JOIN(a, b, c, d, e) WG_JOIN_(a, b, c, d, e)

#if defined(__AVX512F__)
#define WG_ABI_ISA avx512
#elif defined(__AVX2__)
#define WG_ABI_ISA avx2
#elif defined(__SSSE3__)
#define WG_ABI_ISA ssse3
#elif defined(__ARM_NEON)
#define WG_ABI_ISA neon
#else
#define WG_ABI_ISA base
#endif

#ifdef NDEBUG
#define WG_ABI_CHECKS
#else
#define WG_ABI_CHECKS _checked
#endif

#if defined(WG_SMALL)
#define WG_ABI_SIZE _small
#elif defined(WG_COMPACT)
#define WG_ABI_SIZE _compact
#else
#define WG_ABI_SIZE
#endif

#ifdef WG_BARE
#define WG_ABI_HOST _bare
#else
#define WG_ABI_HOST
#endif

#define WG_ABI WG_JOIN(abi1_, WG_ABI_ISA, WG_ABI_SIZE, WG_ABI_HOST, WG_ABI_CHECKS)

#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace wg::inline WG_ABI {

using byte = std::uint8_t;
using bytes = std::span<byte>;
using bytes_view = std::span<byte const>;
template <std::size_t Size> using byte_array = std::array<byte, Size>;

namespace bytes_detail {

template <class Word> constexpr Word swap_bytes(Word word) noexcept {
    if constexpr (sizeof(Word) == 2) return __builtin_bswap16(word);
    else if constexpr (sizeof(Word) == 4) return __builtin_bswap32(word);
    else return __builtin_bswap64(word);
}

// A loop over bytes becomes one load in clang always, and in g++ from -O3 on; memcpy does so from -O1 on, in both.
template <class Word, std::endian Order> constexpr Word load(byte const* from) noexcept {
    Word word = 0;
    if (std::is_constant_evaluated()) {
        for (std::size_t i = 0; i < sizeof(Word); ++i) {
            std::size_t const at = Order == std::endian::little ? i : sizeof(Word) - 1 - i;
            word = static_cast<Word>(word | static_cast<Word>(Word{from[i]} << (8 * at)));
        }
        return word;
    }
    std::memcpy(&word, from, sizeof word);
    return Order == std::endian::native ? word : swap_bytes(word);
}
template <std::endian Order, class Word> constexpr void store(byte* to, Word word) noexcept {
    if (std::is_constant_evaluated()) {
        for (std::size_t i = 0; i < sizeof(Word); ++i) {
            std::size_t const at = Order == std::endian::little ? i : sizeof(Word) - 1 - i;
            to[i] = static_cast<byte>(word >> (8 * at));
        }
        return;
    }
    if (Order != std::endian::native) word = swap_bytes(word);
    std::memcpy(to, &word, sizeof word);
}

} // namespace bytes_detail

// Compilers make one load or store (and a byte swap where needed) of each of these; any alignment.
constexpr std::uint16_t load_le16(byte const* from) noexcept {
    return bytes_detail::load<std::uint16_t, std::endian::little>(from);
}
constexpr std::uint32_t load_le32(byte const* from) noexcept {
    return bytes_detail::load<std::uint32_t, std::endian::little>(from);
}
constexpr std::uint64_t load_le64(byte const* from) noexcept {
    return bytes_detail::load<std::uint64_t, std::endian::little>(from);
}
constexpr std::uint16_t load_be16(byte const* from) noexcept {
    return bytes_detail::load<std::uint16_t, std::endian::big>(from);
}
constexpr std::uint32_t load_be32(byte const* from) noexcept {
    return bytes_detail::load<std::uint32_t, std::endian::big>(from);
}
constexpr std::uint64_t load_be64(byte const* from) noexcept {
    return bytes_detail::load<std::uint64_t, std::endian::big>(from);
}
constexpr void store_le16(byte* to, std::uint16_t word) noexcept { bytes_detail::store<std::endian::little>(to, word); }
constexpr void store_le32(byte* to, std::uint32_t word) noexcept { bytes_detail::store<std::endian::little>(to, word); }
constexpr void store_le64(byte* to, std::uint64_t word) noexcept { bytes_detail::store<std::endian::little>(to, word); }
constexpr void store_be16(byte* to, std::uint16_t word) noexcept { bytes_detail::store<std::endian::big>(to, word); }
constexpr void store_be32(byte* to, std::uint32_t word) noexcept { bytes_detail::store<std::endian::big>(to, word); }
constexpr void store_be64(byte* to, std::uint64_t word) noexcept { bytes_detail::store<std::endian::big>(to, word); }

/// Copies all of `from` to the start of `to`, which must be at least as long; they may overlap.
WG_OUTLINE inline void copy(bytes to, bytes_view from) noexcept {
    WG_ASSERT(to.size() >= from.size());
    if (!from.empty()) std::memmove(to.data(), from.data(), from.size());
}

/// Fills with zero bytes; the compiler may drop it before memory that dies. For secrets there is `wipe`.
inline void fill_zero(bytes to) noexcept {
    if (!to.empty()) std::memset(to.data(), 0, to.size());
}

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

enum class family : std::uint8_t { none = 0, v4 = 4, v6 = 6 };

/// An IPv4 or IPv6 address in network order; IPv4 takes the first 4 bytes and leaves the others zero.
struct ip_address {
    byte_array<16> octets{};
    family kind = family::none;

    static constexpr ip_address v4(byte a, byte b, byte c, byte d) noexcept { return {{a, b, c, d}, family::v4}; }
    /// `from` holds 4 bytes for `family::v4`, 16 for `family::v6`.
    static ip_address of(family kind, byte const* from) noexcept {
        ip_address address{{}, kind};
        std::memcpy(address.octets.data(), from, kind == family::v4 ? 4 : 16);
        return address;
    }

    constexpr unsigned bits() const noexcept { return kind == family::v4 ? 32 : kind == family::v6 ? 128 : 0; }
    bytes_view view() const noexcept { return bytes_view(octets).first(bits() / 8); }
    friend constexpr bool operator==(ip_address const&, ip_address const&) noexcept = default;
};

/// A network: the first `bits` bits of `address`; the others are zero.
struct ip_prefix {
    ip_address address{};
    std::uint8_t bits = 0;

    /// The prefix that `address` lies in: masks host bits. `bits` must not exceed `address.bits()`.
    static constexpr ip_prefix of(ip_address address, unsigned bits) noexcept {
        WG_ASSERT(bits <= address.bits());
        for (unsigned i = 0; i < 16; ++i) {
            unsigned const keep = bits >= 8 * (i + 1) ? 8 : bits > 8 * i ? bits - 8 * i : 0;
            address.octets[i] = static_cast<byte>(address.octets[i] & (0xff00u >> keep));
        }
        return {address, static_cast<std::uint8_t>(bits)};
    }
    WG_OUTLINE friend constexpr bool operator==(ip_prefix const&, ip_prefix const&) noexcept = default;
};

/// Where a peer's datagrams come from and go to. `scope_id` is the interface of a link-local IPv6 address, else 0.
struct endpoint {
    ip_address address{};
    std::uint16_t port = 0;
    std::uint32_t scope_id = 0;

    constexpr explicit operator bool() const noexcept { return address.kind != family::none; }
    WG_OUTLINE friend constexpr bool operator==(endpoint const&, endpoint const&) noexcept = default;
};

/// The local address and interface that datagrams of a peer arrive on and so should leave from ("sticky source").
/// None (the default) leaves the choice to the host's routes. A bare node has no choice, and remembers none.
#ifdef WG_BARE
struct local_source {
    constexpr local_source() noexcept = default;
    constexpr local_source(ip_address const&, std::uint32_t) noexcept {}
    friend constexpr bool operator==(local_source, local_source) noexcept { return true; }
};
#else
struct local_source {
    ip_address address{};
    std::uint32_t interface_index = 0;

    friend constexpr bool operator==(local_source const&, local_source const&) noexcept = default;
};
#endif

/// Both ends of a datagram.
struct path {
    endpoint remote{};
    [[no_unique_address]] local_source local{};

    friend constexpr bool operator==(path const&, path const&) noexcept = default;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The whitepaper's constants (sections 5.3, 5.4 and 6). Layer 0; constants.
#ifndef WG_BASE_LIMITS_HPP
#define WG_BASE_LIMITS_HPP

// SPDX-License-Identifier: BSL-1.0
// Time as the protocol counts it: nanoseconds since the host started, suspend included. Layer 0; pure.
#ifndef WG_BASE_TIME_HPP
#define WG_BASE_TIME_HPP


#include <compare>
#include <cstdint>

namespace wg::inline WG_ABI {

/// A length of time, in nanoseconds; may be negative. (std::chrono would bring <sstream> to a microcontroller.)
struct duration {
    std::int64_t nanoseconds = 0;

    friend constexpr auto operator<=>(duration, duration) noexcept = default;
    friend constexpr duration operator+(duration a, duration b) noexcept { return {a.nanoseconds + b.nanoseconds}; }
    friend constexpr duration operator-(duration a, duration b) noexcept { return {a.nanoseconds - b.nanoseconds}; }
    friend constexpr duration operator*(duration a, std::int64_t times) noexcept { return {a.nanoseconds * times}; }
    friend constexpr duration operator/(duration a, std::int64_t parts) noexcept { return {a.nanoseconds / parts}; }
};

constexpr duration milliseconds(std::int64_t count) noexcept { return {count * 1'000'000}; }
constexpr duration seconds(std::int64_t count) noexcept { return {count * 1'000'000'000}; }

/// A moment on the clock that never goes back. `instant::never()` is later than all others.
struct instant {
    std::int64_t nanoseconds = 0;

    static constexpr instant never() noexcept { return {INT64_MAX}; }

    friend constexpr auto operator<=>(instant, instant) noexcept = default;
    friend constexpr duration operator-(instant a, instant b) noexcept { return {a.nanoseconds - b.nanoseconds}; }
    friend constexpr instant operator+(instant a, duration d) noexcept { return {a.nanoseconds + d.nanoseconds}; }
    friend constexpr instant operator-(instant a, duration d) noexcept { return {a.nanoseconds - d.nanoseconds}; }
};

} // namespace wg::inline WG_ABI

#endif

#include <cstddef>

namespace wg::inline WG_ABI {

inline constexpr std::size_t key_bytes = 32;
inline constexpr std::size_t tag_bytes = 16;
inline constexpr std::size_t mac_bytes = 16;
inline constexpr std::size_t cookie_bytes = 16;
inline constexpr std::size_t timestamp_bytes = 12;

inline constexpr std::size_t transport_header_bytes = 16;
inline constexpr std::size_t transport_overhead_bytes = transport_header_bytes + tag_bytes;
inline constexpr std::size_t padding_bytes = 16; ///< data is padded to a multiple of this

/// Room that an outbound packet needs around it to become a message in place.
inline constexpr std::size_t packet_headroom_bytes = transport_header_bytes;
inline constexpr std::size_t packet_tailroom_bytes = padding_bytes - 1 + tag_bytes;

/// IPv6 header, UDP header and transport overhead: what a tunnel takes from the MTU below it.
inline constexpr std::size_t tunnel_overhead_bytes = 40 + 8 + transport_overhead_bytes;
inline constexpr std::size_t default_mtu_bytes = 1500 - tunnel_overhead_bytes;

inline constexpr std::uint64_t rekey_after_messages = std::uint64_t{1} << 60;
/// 2^64 - 2^13 - 1, as the whitepaper has it; Linux stands 63 messages later.
//= wp 6.1: Reject-After-Messages is 2^64 - 2^13 - 1
inline constexpr std::uint64_t reject_after_messages = UINT64_MAX - (std::uint64_t{1} << 13);

inline constexpr duration rekey_after_time = seconds(120);
inline constexpr duration reject_after_time = seconds(180);
inline constexpr duration rekey_attempt_time = seconds(90);
inline constexpr duration rekey_timeout = seconds(5);
inline constexpr duration rekey_timeout_jitter = {1'000'000'000 / 3}; ///< added: uniform in [0, this)
inline constexpr duration keepalive_timeout = seconds(10);
inline constexpr duration new_handshake_timeout = keepalive_timeout + rekey_timeout;
inline constexpr duration zero_key_material_after = reject_after_time * 3;
/// A receiving initiator renews a session this long before it would be too late (Linux, wireguard-go).
inline constexpr duration rekey_after_time_receiving = reject_after_time - keepalive_timeout - rekey_timeout;
inline constexpr unsigned max_handshake_attempts = 18; ///< rekey_attempt_time / rekey_timeout
inline constexpr duration initiation_interval = milliseconds(20); ///< at most 50 initiations a second from a peer

inline constexpr duration cookie_secret_max_age = seconds(120);
inline constexpr duration cookie_max_age = cookie_secret_max_age - seconds(5); ///< less the latency of the reply
inline constexpr duration under_load_linger = seconds(1);

inline constexpr std::uint8_t handshake_tos = 0x88; ///< DSCP AF41

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Bytes that nobody else may see: wiped when their life ends, compared in constant time, never copied by accident.
// Layer 0; a secret is used by one thread at a time.
#ifndef WG_BASE_SECRET_HPP
#define WG_BASE_SECRET_HPP


#include <type_traits>

namespace wg::inline WG_ABI {

/// Overwrites `size` bytes with zero. The compiler may not drop it, even if the memory dies next.
WG_OUTLINE inline void wipe(void* memory, std::size_t size) noexcept {
    if (size == 0) return;
    std::memset(memory, 0, size);
    asm volatile("" : : "r"(memory) : "memory"); // the stores are observed, so they have to happen
}

/// Wipes an object without a life of its own: words, arrays, plain structures.
template <class Plain> void wipe(Plain& object) noexcept {
    static_assert(std::is_trivially_copyable_v<Plain> && !std::is_pointer_v<Plain>);
    wipe(static_cast<void*>(&object), sizeof object);
}

/// Whether two views hold the same bytes, in time that depends on their sizes alone. Different sizes are unequal. The
/// answer is public.
[[nodiscard]] inline bool equal_in_constant_time(bytes_view a, bytes_view b) noexcept {
    if (a.size() != b.size()) return false;
    std::uint32_t difference = 0;
    for (std::size_t i = 0, step; i < a.size(); i += step) {
        std::uint32_t x = 0, y = 0;
        step = std::min(a.size() - i, sizeof x);
        if (step == sizeof x)
            x = load_le32(&a[i]), y = load_le32(&b[i]);
        else
            step = 1, x = a[i], y = b[i];
        difference |= x ^ y;
        asm volatile("" : "+r"(difference)); // no early exit: the compiler may not know that it is already nonzero
    }
    return WG_DECLASSIFY(((difference | (0 - difference)) >> 31) == 0); // the highest bit: of any but 0
}

/// Whether all bytes are zero, in time that depends on the size alone. The answer is public.
[[nodiscard]] inline bool is_zero_in_constant_time(bytes_view a) noexcept {
    std::uint32_t any = 0;
    for (byte const b : a) {
        any |= b;
        asm volatile("" : "+r"(any));
    }
    return WG_DECLASSIFY(((any - 1) >> 31) != 0);
}

/// `Size` secret bytes, zero at first. Moving wipes the source; copying has to be asked for by `assign`.
template <std::size_t Size> class secret {
public:
    static constexpr std::size_t size_bytes = Size;

    constexpr secret() noexcept = default;
    explicit secret(std::span<byte const, Size> from) noexcept { copy(value_, from); }
    secret(secret&& other) noexcept : value_(other.value_) { other.clear(); }
    secret& operator=(secret&& other) noexcept {
        if (this != &other) {
            value_ = other.value_;
            other.clear();
        }
        return *this;
    }
    secret(secret const&) = delete;
    secret& operator=(secret const&) = delete;
    ~secret() { clear(); }

    void assign(secret const& other) noexcept { value_ = other.value_; }
    void assign(std::span<byte const, Size> from) noexcept { copy(value_, from); }
    void clear() noexcept { wipe(value_); }

    [[nodiscard]] bool is_zero() const noexcept { return is_zero_in_constant_time(value_); }
    [[nodiscard]] bool equals(secret const& other) const noexcept {
        return equal_in_constant_time(value_, other.value_);
    }

    /// The bytes themselves, for the primitives that work on them.
    [[nodiscard]] std::span<byte, Size> expose() noexcept { return value_; }
    [[nodiscard]] std::span<byte const, Size> expose() const noexcept { return value_; }

private:
    byte_array<Size> value_{};
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

using key_view = std::span<byte const, key_bytes>;
using public_key = byte_array<key_bytes>;

/// One step of a configuration. Made by the functions below; movable, and its key is wiped when it dies.
class change {
public:
    enum class kind : std::uint8_t {
        private_key,          ///< all zero: none
        listen_port,          ///< 0: any free one
        fwmark,               ///< 0: off
        replace_peers,        ///< remove all peers first
        peer,                 ///< what follows concerns this peer, who is added if new
        update_only,          ///< but not if new: then skip all that follows up to the next peer
        remove_peer,
        preshared_key,        ///< all zero: none
        endpoint,
        persistent_keepalive, ///< seconds, 0: off
        replace_allowed_ips,  ///< remove all of the peer's allowed IPs first
        allowed_ip,           ///< add, taking it from whoever has it
        remove_allowed_ip,    ///< nothing happens if it is not this peer's
    };

    static change private_key(key_view key) noexcept { return change(kind::private_key, key); }
    static change listen_port(std::uint16_t port) noexcept { return change(kind::listen_port, port); }
    static change fwmark(std::uint32_t mark) noexcept { return change(kind::fwmark, mark); }
    static change replace_peers() noexcept { return change(kind::replace_peers, 0u); }
    static change peer(key_view key) noexcept { return change(kind::peer, key); }
    static change update_only() noexcept { return change(kind::update_only, 0u); }
    static change remove_peer() noexcept { return change(kind::remove_peer, 0u); }
    static change preshared_key(key_view key) noexcept { return change(kind::preshared_key, key); }
    static change endpoint(wg::endpoint const& where) noexcept {
        change c(kind::endpoint, 0u);
        c.endpoint_ = where;
        return c;
    }
    static change persistent_keepalive(std::uint16_t interval_s) noexcept {
        return change(kind::persistent_keepalive, interval_s);
    }
    static change replace_allowed_ips() noexcept { return change(kind::replace_allowed_ips, 0u); }
    static change allowed_ip(ip_prefix const& prefix) noexcept { return change(kind::allowed_ip, prefix); }
    static change remove_allowed_ip(ip_prefix const& prefix) noexcept {
        return change(kind::remove_allowed_ip, prefix);
    }

    constexpr kind what() const noexcept { return what_; }
    /// Of private_key, peer, preshared_key.
    key_view key() const noexcept { return key_.expose(); }
    /// Of listen_port, fwmark, persistent_keepalive.
    constexpr std::uint32_t number() const noexcept { return number_; }
    /// Of endpoint.
    constexpr wg::endpoint const& where() const noexcept { return endpoint_; }
    /// Of allowed_ip, remove_allowed_ip.
    constexpr ip_prefix prefix() const noexcept { return {endpoint_.address, static_cast<std::uint8_t>(number_)}; }

private:
    change(kind what, key_view key) noexcept : what_(what), key_(key) {}
    change(kind what, std::uint32_t number) noexcept : what_(what), number_(number) {}
    change(kind what, ip_prefix const& prefix) noexcept : what_(what), number_(prefix.bits) {
        endpoint_.address = prefix.address;
    }

    kind what_;
    std::uint32_t number_ = 0;
    wg::endpoint endpoint_{};
    secret<key_bytes> key_{};
};

/// A peer as a node knows it whose configuration is in its program. Views are good during the call.
struct peer_settings {
    public_key const& key;
    wg::endpoint endpoint{};                            ///< family::none: not known until the peer speaks
    std::span<ip_prefix const> allowed_ips{};
    std::uint16_t persistent_keepalive_s = 0;           ///< 0: off
    secret<key_bytes> const* preshared_key = nullptr;
};

/// What `device::snapshot` tells of the interface. Views are good during the call.
struct interface_facts {
    secret<key_bytes> const& private_key; ///< all zero: none
    std::uint16_t listen_port = 0;
    std::uint32_t fwmark = 0;
};

/// What `device::snapshot` tells of a peer. Views are good during the call.
struct peer_facts {
    public_key const& key;
    secret<key_bytes> const& preshared_key; ///< all zero: none
    std::uint32_t number = 0;               ///< by which the observer is told of this peer
    wg::endpoint endpoint{};                ///< family::none: not known
    std::int64_t last_handshake_s = 0;      ///< UNIX time; 0 with 0 ns: never
    std::uint32_t last_handshake_ns = 0;
    std::uint64_t tx_bytes = 0; ///< UDP payload, handshakes included
    std::uint64_t rx_bytes = 0;
    std::uint16_t persistent_keepalive_s = 0;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// What a device tells its observer. No event carries a secret. Layer 0; plain values.
#ifndef WG_BASE_EVENT_HPP
#define WG_BASE_EVENT_HPP

// SPDX-License-Identifier: BSL-1.0
// What can become of a call or of a packet. Nothing is thrown; nothing of this ever leaves the host. Layer 0; plain
// values.
#ifndef WG_BASE_STATUS_HPP
#define WG_BASE_STATUS_HPP


#include <utility>

namespace wg::inline WG_ABI {

// One line a status: name, then what a person reads. Packets count one counter a status.
#define WG_STATUSES(X)                                                                                                 \
    X(ok, "ok")                                                                                                        \
    /* outbound */                                                                                                     \
    X(not_ip, "not an IPv4 or IPv6 packet, or shorter than its header says")                                           \
    X(no_peer, "no peer has an allowed IP for this destination")                                                       \
    X(no_endpoint, "the peer has no endpoint yet")                                                                     \
    X(no_room, "the buffer has too little room around the packet")                                                     \
    X(staged, "waits for a session")                                                                                   \
    X(staging_full, "dropped while it waited for a session")                                                           \
    X(routing_loop, "the tunnel's own datagram, routed into the tunnel")                                               \
    X(device_down, "the interface is down")                                                                            \
    /* inbound, any message */                                                                                         \
    X(malformed, "a type or a length that no message has")                                                             \
    X(queued, "waits for its turn as a handshake message")                                                             \
    X(handshake_queue_full, "more handshake messages than the queue holds")                                            \
    /* inbound, handshake */                                                                                           \
    X(bad_mac1, "mac1 is wrong")                                                                                       \
    X(cookie_sent, "under load and without a valid mac2: answered by a cookie reply")                                  \
    X(rate_limited, "under load and too many from this source")                                                        \
    X(no_private_key, "this interface has no private key")                                                             \
    X(bad_public_key, "the shared secret is zero: a point of low order")                                               \
    X(decryption_failed, "the authentication tag is wrong")                                                            \
    X(unknown_peer, "nobody's public key")                                                                             \
    X(replayed_initiation, "the timestamp is not greater than the greatest seen")                                      \
    X(initiation_flood, "initiations of one peer too close to each other")                                             \
    X(unknown_index, "nobody's receiver index")                                                                        \
    X(wrong_state, "no handshake that this message answers")                                                           \
    X(stale_cookie, "no message that this cookie reply answers")                                                       \
    /* inbound, data */                                                                                                \
    X(expired_keypair, "the session is too old or has sent too many messages")                                         \
    X(replayed_counter, "this counter was seen before or lies behind the window")                                      \
    X(keepalive, "an empty packet")                                                                                    \
    X(bad_inner_packet, "what was decrypted is no IP packet")                                                          \
    X(disallowed_source, "the source address is not the sender's by allowed IPs")                                      \
    X(congestion_lost, "marked congested on the way, but the inner packet does not take marks")                        \
    /* calls */                                                                                                        \
    X(no_random, "the random source failed")                                                                           \
    X(no_memory, "no memory left, or a fixed capacity is used up")                                                     \
    X(too_many_peers, "more peers than this device holds")                                                             \
    X(invalid, "an invalid value")                                                                                     \
    X(protocol_error, "not the protocol of this socket")                                                               \
    X(address_in_use, "the port is in use")                                                                            \
    X(no_permission, "no permission")                                                                                  \
    X(not_supported, "not supported here")                                                                             \
    X(would_block, "nothing there at present")                                                                         \
    X(gone, "the other end or the device is gone")                                                                     \
    X(io_error, "an input or output error")

/// Errors and the fates of packets, one list for both.
enum class [[nodiscard]] status : std::uint8_t {
#define WG_X(name, text) name,
    WG_STATUSES(WG_X)
#undef WG_X
};

inline constexpr std::size_t status_count = 0
#define WG_X(name, text) +1
    WG_STATUSES(WG_X)
#undef WG_X
    ;

/// The enumerator's name, for counters and metrics.
constexpr char const* name_of(status s) noexcept {
    constexpr char const* names[] = {
#define WG_X(name, text) #name,
        WG_STATUSES(WG_X)
#undef WG_X
    };
    return names[static_cast<std::size_t>(s)];
}

/// A sentence for people.
constexpr char const* describe(status s) noexcept {
    constexpr char const* texts[] = {
#define WG_X(name, text) text,
        WG_STATUSES(WG_X)
#undef WG_X
    };
    return texts[static_cast<std::size_t>(s)];
}

#undef WG_STATUSES

/// A value, or the status that says why there is none.
template <class Value> class [[nodiscard]] result {
public:
    constexpr result(Value value) noexcept : value_(std::move(value)) {}
    constexpr result(status why) noexcept : why_(why) { WG_ASSERT(why != status::ok); }

    constexpr explicit operator bool() const noexcept { return why_ == status::ok; }
    constexpr status why() const noexcept { return why_; }
    constexpr Value& operator*() noexcept {
        WG_ASSERT(why_ == status::ok);
        return value_;
    }
    constexpr Value const& operator*() const noexcept {
        WG_ASSERT(why_ == status::ok);
        return value_;
    }
    constexpr Value* operator->() noexcept { return &**this; }
    constexpr Value const* operator->() const noexcept { return &**this; }

private:
    Value value_{};
    status why_ = status::ok;
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

/// The number an observer is given for what concerns no peer.
inline constexpr std::uint32_t no_peer_number = UINT32_MAX;

enum class event_id : std::uint8_t {
    dropped,                ///< value: the status that says why
    initiation_sent,        ///< value: attempts so far
    initiation_received,
    response_sent,
    response_received,
    cookie_reply_sent,
    cookie_reply_received,
    keepalive_sent,
    keepalive_received,
    session_started,        ///< value: 1 as initiator, 0 as responder
    handshake_given_up,
    keys_zeroed,
    endpoint_changed,       ///< value: the new port
    peer_added,
    peer_removed,
    under_load,             ///< value: 1 begins, 0 ends
};

constexpr char const* describe(event_id id) noexcept {
    constexpr char const* texts[] = {
        "dropped a packet",          "sent a handshake initiation", "received a handshake initiation",
        "sent a handshake response", "received a handshake response", "sent a cookie reply",
        "received a cookie reply",   "sent a keepalive",            "received a keepalive",
        "started a session",         "gave up on the handshake",    "zeroed all keys",
        "moved to another endpoint", "was added",                   "was removed",
        "load changed"};
    return texts[static_cast<std::size_t>(id)];
}

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// A buffer and the window of it that is in use: what TUN devices and sockets read into and write from. Layer 0; used by
// one thread at a time.
#ifndef WG_BASE_PACKET_HPP
#define WG_BASE_PACKET_HPP


namespace wg::inline WG_ABI {

/// A window into somebody else's buffer. Headers go before the window and tags after it without a copy.
struct packet {
    byte* buffer = nullptr;
    std::uint32_t capacity = 0;
    std::uint32_t offset = 0;
    std::uint32_t length = 0;

    constexpr packet() noexcept = default;
    /// A window of `length` bytes at `offset` of `room`.
    constexpr packet(bytes room, std::size_t offset_bytes, std::size_t length_bytes = 0) noexcept
        : buffer(room.data()), capacity(static_cast<std::uint32_t>(room.size())),
          offset(static_cast<std::uint32_t>(offset_bytes)), length(static_cast<std::uint32_t>(length_bytes)) {
        WG_ASSERT(offset_bytes + length_bytes <= room.size());
    }

    constexpr bytes view() const noexcept { return {buffer + offset, length}; }
    constexpr std::size_t headroom() const noexcept { return offset; }
    constexpr std::size_t tailroom() const noexcept { return capacity - offset - length; }

    /// Moves the window's start by `at_front` bytes outwards and its end by `at_back`; negative moves inwards.
    constexpr void grow(std::ptrdiff_t at_front, std::ptrdiff_t at_back) noexcept {
        WG_ASSERT(at_front <= static_cast<std::ptrdiff_t>(headroom()) &&
                  at_back <= static_cast<std::ptrdiff_t>(tailroom()));
        WG_ASSERT(static_cast<std::ptrdiff_t>(length) + at_front + at_back >= 0);
        offset = static_cast<std::uint32_t>(static_cast<std::ptrdiff_t>(offset) - at_front);
        length = static_cast<std::uint32_t>(static_cast<std::ptrdiff_t>(length) + at_front + at_back);
    }
};

/// A UDP payload and where it came from or goes to.
struct datagram : packet {
    path where{};
    std::uint8_t tos = 0;            ///< DSCP and ECN of the outer header
    /// Received: if not 0, the window holds datagrams of this size back to back, of which the last may be shorter.
    std::uint16_t segment_bytes = 0;
    status why = status::ok;         ///< sent: what became of it
};

} // namespace wg::inline WG_ABI

#endif

#include <concepts>
#include <initializer_list>

namespace wg::inline WG_ABI {

/// One digest of a batch: what `blake2s(out, key, message, {})` would do.
struct hash_item {
    bytes out;
    bytes_view key;
    bytes_view message;
};

// | member                          | promise                                                                         |
// |---------------------------------|---------------------------------------------------------------------------------|
// | blake2s(out, key, a, b)         | digest of a || b (RFC 7693). out: 1-32 bytes and sets the digest's length;      |
// |                                 | key: 0-32 bytes, empty is unkeyed; out overlaps no input. Any thread.           |
// | blake2s_batch(items)            | optional: the same for each item; no out overlaps an input or another out       |
template <class Hash>
concept hash_backend = requires(Hash const& hash, bytes out, bytes_view in) {
    { hash.blake2s(out, in, in, in) } noexcept -> std::same_as<void>;
};

template <class Hash>
concept batch_hash_backend = hash_backend<Hash> && requires(Hash const& hash, std::span<hash_item const> items) {
    { hash.blake2s_batch(items) } noexcept -> std::same_as<void>;
};

/// One operation of a batch: what `good = dh(*out, *scalar, point)` would do.
struct dh_item {
    secret<key_bytes>* out = nullptr;
    secret<key_bytes> const* scalar = nullptr;
    bytes_view point; ///< key_bytes
    bool good = false;
};

// | dh(out, secret, point) -> bool  | X25519 (RFC 7748), clamps `secret` for itself, in constant time. False, and     |
// |                                 | `out` zero, if the result is all zero. Any thread.                              |
// | dh_public(out, secret)          | the public key of `secret`                                                      |
// | dh_batch(items)                 | optional: the same for each item, and `good` says what `dh` would have returned |
template <class Dh>
concept dh_backend = requires(Dh const& dh, secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point,
                              public_key& key) {
    { dh.dh(out, scalar, point) } noexcept -> std::same_as<bool>;
    { dh.dh_public(key, scalar) } noexcept -> std::same_as<void>;
};

template <class Dh>
concept batch_dh_backend = dh_backend<Dh> && requires(Dh const& dh, std::span<dh_item> items) {
    { dh.dh_batch(items) } noexcept -> std::same_as<void>;
};

/// One packet of a batch: what `seal(dst, src, {}, counter, *key)` or `good = open(...)` would do.
struct aead_item {
    bytes dst;
    bytes_view src;
    std::uint64_t counter = 0;
    secret<key_bytes> const* key = nullptr;
    bool good = false;
};

// ChaCha20-Poly1305 (RFC 8439); the nonce is 4 zero bytes and `counter` as 8 bytes little-endian.
// | seal(dst, src, aad, counter,    | dst.size() == src.size() + 16; dst and src start at the same byte or do not     |
// |      key)                       | overlap. Any alignment. Any thread.                                             |
// | open(dst, src, aad, counter,    | src.size() == dst.size() + 16; the same overlap. False, and dst all zero, if    |
// |      key) -> bool               | the tag is wrong; compared in constant time.                                    |
// | hchacha20(out, key, nonce)      | the subkey of XChaCha20 (draft-irtf-cfrg-xchacha, section 2.2), nonce 16 bytes  |
// | seal_batch(items)               | optional: `seal` with empty aad for each item; keys and sizes may differ;       |
// |                                 | no dst overlaps another item's memory                                           |
// | open_batch(items)               | optional: likewise `open`; `good` says what it would have returned, and a wrong |
// |                                 | tag of one touches no other                                                     |
template <class Aead>
concept aead_backend = requires(Aead const& aead, bytes dst, bytes_view src, std::uint64_t counter,
                                secret<key_bytes>& out, secret<key_bytes> const& key, std::span<byte const, 16> nonce) {
    { aead.seal(dst, src, src, counter, key) } noexcept -> std::same_as<void>;
    { aead.open(dst, src, src, counter, key) } noexcept -> std::same_as<bool>;
    { aead.hchacha20(out, key, nonce) } noexcept -> std::same_as<void>;
};

template <class Aead>
concept batch_aead_backend = aead_backend<Aead> && requires(Aead const& aead, std::span<aead_item> items) {
    { aead.seal_batch(items) } noexcept -> std::same_as<void>;
    { aead.open_batch(items) } noexcept -> std::same_as<void>;
};

// | now() -> instant                | never goes back; counts the time that the host was suspended. Any thread.       |
// | tai64n(label)                   | the wall clock as TAI64N: 8 bytes big-endian seconds since 1970 TAI plus 2^62,  |
// |                                 | 4 bytes big-endian nanoseconds. Should not go back; a device sends no label     |
// |                                 | twice, whatever comes.                                                          |
template <class Clock>
concept clock_source = requires(Clock& clock, std::span<byte, timestamp_bytes> label) {
    { clock.now() } noexcept -> std::same_as<instant>;
    { clock.tai64n(label) } noexcept -> std::same_as<void>;
};

// | fill(out) -> bool               | all of `out` from a cryptographic source. False: no handshake is made, never    |
// |                                 | one from weak bytes.                                                            |
template <class Random>
concept random_source = requires(Random& random, bytes out) {
    { random.fill(out) } noexcept -> std::same_as<bool>;
};

// | read(packets) -> result<size_t> | fills windows from the front, each at the offset it has, within its capacity;   |
// |                                 | how many; 0: none there now. status::gone: the interface was removed.           |
// |                                 | Never blocks.                                                                   |
// | write(packets) -> size_t        | how many were taken, from the front; the others are dropped. May use `headroom` |
// |                                 | bytes before each window.                                                       |
// | mtu() -> size_t                 | bytes; 0: not known                                                             |
// | headroom                        | constant, see write                                                             |
template <class Tun>
concept tun_device = requires(Tun& tun, std::span<packet> packets) {
    { tun.read(packets) } noexcept -> std::same_as<result<std::size_t>>;
    { tun.write(packets) } noexcept -> std::same_as<std::size_t>;
    { tun.mtu() } noexcept -> std::same_as<std::size_t>;
    { Tun::headroom } -> std::convertible_to<std::size_t>;
};

// | open(port) -> result<uint16_t>  | binds IPv4 and IPv6 to one port (0: any free one) and returns it; what is open  |
// |                                 | already is closed after that, and stays as it is on failure                     |
// | close()                         |                                                                                 |
// | receive(datagrams)              | fills windows from the front, each at the offset it has; `where`, `tos`, and    |
// |    -> result<size_t>            | `segment_bytes` where the host coalesces. 0: none there now. Never blocks.      |
// | send(datagrams) -> size_t       | how many left, each window to `where.remote`, from `where.local` if that is not |
// |                                 | none; `why` says what failed. A lost datagram is no error.                      |
// | receive_bytes                   | constant: room that a received datagram needs                                   |
// | set_fwmark(mark) -> status      | optional; for open sockets and those opened later                               |
template <class Socket>
concept udp_socket = requires(Socket& socket, std::span<datagram> datagrams, std::uint16_t port) {
    { socket.open(port) } noexcept -> std::same_as<result<std::uint16_t>>;
    { socket.close() } noexcept -> std::same_as<void>;
    { socket.receive(datagrams) } noexcept -> std::same_as<result<std::size_t>>;
    { socket.send(datagrams) } noexcept -> std::same_as<std::size_t>;
    { Socket::receive_bytes } -> std::convertible_to<std::size_t>;
};

/// What a waiter saw. `others` are sources of the host's own (a configuration socket, signals), a bit each.
struct readiness {
    bool tun = false;
    bool udp = false;
    std::uint32_t others = 0;
};

// | wait(deadline) -> readiness     | returns when something can be read, at the deadline, or after wake()            |
// | wake()                          | from any thread                                                                 |
template <class Waiter>
concept waiter = requires(Waiter& waiter, instant deadline) {
    { waiter.wait(deadline) } noexcept -> std::same_as<readiness>;
    { waiter.wake() } noexcept -> std::same_as<void>;
};

// | parallel                        | constant: whether a device may be used by several threads                       |
// | mutex                           | lock(), unlock(); empty where not parallel                                      |
template <class Threads>
concept threads = requires(typename Threads::mutex& mutex) {
    { Threads::parallel } -> std::convertible_to<bool>;
    { mutex.lock() } noexcept;
    { mutex.unlock() } noexcept;
};

// | acquire() -> T*                 | a new T{}, or nullptr if the capacity or the memory is used up                  |
// | release(T*)                     | destroys it; its memory is used again                                           |
// | reserve(n) -> bool              | whether the next n acquires will succeed                                        |
template <class Pool, class T>
concept pool_of = requires(Pool& pool, T* object, std::size_t count) {
    { pool.acquire() } noexcept -> std::same_as<T*>;
    { pool.release(object) } noexcept -> std::same_as<void>;
    { pool.reserve(count) } noexcept -> std::same_as<bool>;
};

// | resize(n) -> bool               | n value-initialised elements, old ones forgotten; false: unchanged              |
// | view() -> span<T>               |                                                                                 |
// | move                            | construction and assignment: how a table grows                                  |
template <class Array, class T>
concept array_of = std::movable<Array> && requires(Array& array, std::size_t count) {
    { array.resize(count) } noexcept -> std::same_as<bool>;
    { array.view() } noexcept -> std::same_as<std::span<T>>;
};

// Where a device's memory comes from. Pools and arrays are made from the storage object: `pool<T, N>(storage)`.
// | pool<T, N>, array<T, N>         | N objects at most; N = 0 grows                                                  |
// | secret_pool<T, N>               | the same for what holds secrets: one region that a host can lock and keep out   |
// |                                 | of dumps; memory is wiped before it is given out or back                        |
// | max_peers, max_allowed_ips,     | constants; 0 grows                                                              |
// | max_staged_packets              | constant: slots for packets that wait for a session, all peers together         |
// | max_staged_packets_per_peer     | constant                                                                        |
// | max_queued_handshakes           | constant: a power of two; an eighth of it is "under load"                       |
// | max_limited_sources             | constant: a power of two, 4 at least                                            |
// | replay_bits                     | constant: the replay window, a power of two, 32-65536                           |
template <class Storage>
concept storage = requires {
    requires pool_of<typename Storage::template pool<std::uint64_t, 4>, std::uint64_t>;
    requires pool_of<typename Storage::template secret_pool<std::uint64_t, 4>, std::uint64_t>;
    requires array_of<typename Storage::template array<std::uint64_t, 4>, std::uint64_t>;
    requires std::constructible_from<typename Storage::template pool<std::uint64_t, 4>, Storage&>;
    requires std::constructible_from<typename Storage::template secret_pool<std::uint64_t, 4>, Storage&>;
    requires std::constructible_from<typename Storage::template array<std::uint64_t, 4>, Storage&>;
    { Storage::max_peers } -> std::convertible_to<std::size_t>;
    { Storage::max_allowed_ips } -> std::convertible_to<std::size_t>;
    { Storage::max_staged_packets } -> std::convertible_to<std::size_t>;
    { Storage::max_staged_packets_per_peer } -> std::convertible_to<std::size_t>;
    { Storage::max_queued_handshakes } -> std::convertible_to<std::size_t>;
    { Storage::max_limited_sources } -> std::convertible_to<std::size_t>;
    { Storage::replay_bits } -> std::convertible_to<std::size_t>;
};

// | event(id, peer_number, value)   | called outside locks, by the thread that caused it; never given a secret        |
// | enabled                         | constant: false removes the calls                                               |
template <class Observer>
concept observer = requires(Observer& observer, event_id id, std::uint32_t peer_number, std::uint64_t value) {
    { observer.event(id, peer_number, value) } noexcept -> std::same_as<void>;
    { Observer::enabled } -> std::convertible_to<bool>;
};

/// What a device is made of: no input or output.
template <class Policies>
concept policies = hash_backend<typename Policies::hash> && dh_backend<typename Policies::dh> &&
                   aead_backend<typename Policies::aead> && clock_source<typename Policies::clock_source> &&
                   random_source<typename Policies::random_source> && threads<typename Policies::threads> &&
                   storage<typename Policies::storage> && observer<typename Policies::observer>;

/// What an engine is made of: a device, and a host to run on.
template <class Policies>
concept engine_policies = policies<Policies> && tun_device<typename Policies::tun_device> &&
                          udp_socket<typename Policies::udp_socket> && waiter<typename Policies::waiter>;

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The ChaCha20 stream cipher (RFC 8439, sections 2.1-2.4) and HChaCha20 (draft-irtf-cfrg-xchacha, section 2.2).
// Layer 2; a chacha20 object is used by one thread at a time.
//
// In plain words, for processors without vectors and for single blocks; in vectors: chacha20.inl.
#ifndef WG_BACKENDS_BUNDLED_CHACHA20_HPP
#define WG_BACKENDS_BUNDLED_CHACHA20_HPP

// SPDX-License-Identifier: BSL-1.0
// Which machine words the bundled primitives calculate with, and how they leave no secrets behind. Layer 2; pure.
#ifndef WG_BACKENDS_BUNDLED_LIMBS_HPP
#define WG_BACKENDS_BUNDLED_LIMBS_HPP


#include <cstdint>

namespace wg::inline WG_ABI {
namespace bundled {

/// Limbs in 32-bit words, products in 64-bit words: any processor.
struct limbs32 {};

#ifdef __SIZEOF_INT128__
/// Limbs in 64-bit words, products in 128-bit words: processors that multiply so.
struct limbs64 {};
__extension__ typedef unsigned __int128 uint128;
#endif

#if defined(__SIZEOF_INT128__) && !defined(WG_COMPACT)
using default_limbs = limbs64;
#else
using default_limbs = limbs32;
#endif

/// All ones if `bit` is 1, zero if it is 0. The compiler is not told that there are only two values, so it cannot
/// make a branch of a selection by mask.
template <class Word> inline Word mask_of(Word bit) noexcept {
    Word mask = static_cast<Word>(Word{0} - bit);
    asm volatile("" : "+r"(mask));
    return mask;
}

/// What a primitive needs of the stack beside its named state: registers spilled and saved. About half of this in
/// g++ 12 and clang 16 when they optimise; when they do not there is more, and it is not all reached.
#if defined(__arm__) && defined(WG_COMPACT)
inline constexpr std::size_t spill_bytes = 128; // few registers, each of 4 bytes
#elif defined(WG_COMPACT)
inline constexpr std::size_t spill_bytes = 384;
#else
inline constexpr std::size_t spill_bytes = 640;
#endif

/// Clears the registers that a function may leave changed. Kernels that use wider ones clear those themselves.
[[gnu::always_inline]] inline void wipe_baseline_registers() noexcept {
#if defined(__x86_64__)
    asm volatile(".irp r,eax,ecx,edx,esi,edi,r8d,r9d,r10d,r11d\n\txor %%\\r, %%\\r\n\t.endr\n\t"
#ifdef __AVX512F__
                 ".irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\t"
                 "vpxorq %%zmm\\n, %%zmm\\n, %%zmm\\n\n\t.endr\n\t"
#endif
#ifdef __AVX__
                 "vzeroall"
#else
                 ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\tpxor %%xmm\\n, %%xmm\\n\n\t.endr"
#endif
                 :
                 :
                 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                   "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15",
#ifdef __AVX512F__
                   "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",
                   "xmm27", "xmm28", "xmm29", "xmm30", "xmm31",
#endif
                   "cc");
#elif defined(__aarch64__)
    asm volatile(".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\n\tmov x\\n, xzr\n\t.endr\n\t"
                 ".irp n,0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n\tmovi v\\n\\().2d, #0\n\t"
                 ".endr"
                 :
                 :
                 : "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                   "x16", "x17", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
                   "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
#endif
}

/// `wipe` of a size that is known: for some hundred bytes stores are faster than the string instruction that g++ takes.
template <std::size_t Bytes> [[gnu::always_inline]] inline void wipe_fixed(void* memory) noexcept {
#if defined(__SSE2__) && !defined(WG_COMPACT)
    typedef std::uint64_t pair __attribute__((vector_size(16)));
    pair zero = {};
    asm volatile("" : "+x"(zero)); // or the compiler would see a memset in it
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
#else
    wipe(memory, Bytes);
#endif
}

/// Overwrites at least `Bytes` bytes of stack below the caller's frame. Objects that hold secrets are wiped by their
/// owners, but a compiler also spills registers into slots that have no name. So whatever works on secrets is kept out
/// of line, and its caller ends with this call, which covers the frames that are gone, and clears registers.
template <std::size_t Bytes> [[gnu::noinline]] inline void wipe_stack() noexcept {
    alignas(16) byte frame[(Bytes + 15) / 16 * 16];
    if constexpr (Bytes <= 1024)
        wipe_fixed<sizeof frame>(frame);
    else
        wipe(frame);
    wipe_baseline_registers();
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#include <bit>

namespace wg::inline WG_ABI {
namespace bundled {

inline constexpr std::size_t chacha20_block_bytes = 64;
inline constexpr std::size_t chacha20_nonce_bytes = 12;

/// Words 0-3 constants, 4-11 key, 12 block counter, 13-15 nonce.
using chacha20_words = std::array<std::uint32_t, 16>;

namespace chacha20_detail {

[[gnu::always_inline]] inline void quarter_round(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c,
                                                 std::uint32_t& d) noexcept {
    a += b, d = std::rotl(d ^ a, 16);
    c += d, b = std::rotl(b ^ c, 12);
    a += b, d = std::rotl(d ^ a, 8);
    c += d, b = std::rotl(b ^ c, 7);
}

#if defined(WG_COMPACT) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)

// On Arm an operand may be rotated on its way: b is to be rotated by 7 still, d by 8, before and after.
#define WG_ARM_QUARTER(a, b, c, d)                                                                                     \
    "add " #a ", " #a ", " #b ", ror #25\n\teor " #d ", " #a ", " #d ", ror #24\n\t"                                   \
    "add " #c ", " #c ", " #d ", ror #16\n\teor " #b ", " #c ", " #b ", ror #25\n\t"                                   \
    "add " #a ", " #a ", " #b ", ror #20\n\teor " #d ", " #a ", " #d ", ror #16\n\t"                                   \
    "add " #c ", " #c ", " #d ", ror #24\n\teor " #b ", " #c ", " #b ", ror #20\n\t"

/// The twenty rounds, without the addition at their end. r0-r7 are the words 0-7, r8-r11 are 12-15; r12 and lr are two
/// of 8-11, the other two are on the stack.
[[gnu::naked, gnu::noinline]] inline void permute([[maybe_unused]] chacha20_words& words) noexcept {
    asm volatile("push {r0, r4-r11, lr}\n\t"
                 "sub sp, sp, #24\n\t"
                 "mov lr, r0\n\tldm lr!, {r0-r7}\n\tldm lr!, {r8-r11}\n\t"
                 "strd r8, r9, [sp]\n\tstrd r10, r11, [sp, #8]\n\tldm lr, {r8-r11}\n\t"
                 "ror r4, r4, #7\n\tror r5, r5, #7\n\tror r6, r6, #7\n\tror r7, r7, #7\n\t"
                 "ror r8, r8, #8\n\tror r9, r9, #8\n\tror r10, r10, #8\n\tror r11, r11, #8\n\t"
                 "mov r12, #10\n\tstr r12, [sp, #16]\n\tldrd r12, lr, [sp]\n\t"
                 "1:\n\t"
                 WG_ARM_QUARTER(r0, r4, r12, r8) WG_ARM_QUARTER(r1, r5, lr, r9)
                 "strd r12, lr, [sp]\n\t"
                 "ldr r12, [sp, #16]\n\tsubs r12, r12, #1\n\tstr r12, [sp, #16]\n\t" // asked for below
                 "ldrd r12, lr, [sp, #8]\n\t"
                 WG_ARM_QUARTER(r2, r6, r12, r10) WG_ARM_QUARTER(r3, r7, lr, r11)
                 WG_ARM_QUARTER(r0, r5, r12, r11) WG_ARM_QUARTER(r1, r6, lr, r8)
                 "strd r12, lr, [sp, #8]\n\tldrd r12, lr, [sp]\n\t"
                 WG_ARM_QUARTER(r2, r7, r12, r9) WG_ARM_QUARTER(r3, r4, lr, r10)
                 "bne 1b\n\t"
                 "strd r12, lr, [sp]\n\t"
                 "ror r4, r4, #25\n\tror r5, r5, #25\n\tror r6, r6, #25\n\tror r7, r7, #25\n\t"
                 "ror r8, r8, #24\n\tror r9, r9, #24\n\tror r10, r10, #24\n\tror r11, r11, #24\n\t"
                 "ldr r12, [sp, #24]\n\tstm r12!, {r0-r7}\n\t"
                 "ldrd r0, r1, [sp]\n\tldrd r2, r3, [sp, #8]\n\tstm r12!, {r0-r3}\n\tstm r12, {r8-r11}\n\t"
                 "add sp, sp, #24\n\tpop {r0, r4-r11, pc}");
}

#undef WG_ARM_QUARTER

#elif defined(WG_COMPACT)

/// The twenty rounds, without the addition at their end. Out of line: once in a program.
[[gnu::noinline]] inline void permute(chacha20_words& x) noexcept {
    for (int i = 0; i < 10; ++i) {
        quarter_round(x[0], x[4], x[8], x[12]);
        quarter_round(x[1], x[5], x[9], x[13]);
        quarter_round(x[2], x[6], x[10], x[14]);
        quarter_round(x[3], x[7], x[11], x[15]);
        quarter_round(x[0], x[5], x[10], x[15]);
        quarter_round(x[1], x[6], x[11], x[12]);
        quarter_round(x[2], x[7], x[8], x[13]);
        quarter_round(x[3], x[4], x[9], x[14]);
    }
}

#else

/// The twenty rounds, without the addition at their end.
[[gnu::always_inline]] inline void permute(chacha20_words& x) noexcept {
    for (int i = 0; i < 10; ++i) {
        quarter_round(x[0], x[4], x[8], x[12]);
        quarter_round(x[1], x[5], x[9], x[13]);
        quarter_round(x[2], x[6], x[10], x[14]);
        quarter_round(x[3], x[7], x[11], x[15]);
        quarter_round(x[0], x[5], x[10], x[15]);
        quarter_round(x[1], x[6], x[11], x[12]);
        quarter_round(x[2], x[7], x[8], x[13]);
        quarter_round(x[3], x[4], x[9], x[14]);
    }
}

#endif

inline void set_key(chacha20_words& words, key_view key) noexcept {
    constexpr byte sigma[] = {'e', 'x', 'p', 'a', 'n', 'd', ' ', '3', '2', '-', 'b', 'y', 't', 'e', ' ', 'k'};
    for (std::size_t i = 0; i < 4; ++i) words[i] = load_le32(sigma + 4 * i);
    for (std::size_t i = 0; i < 8; ++i) words[4 + i] = load_le32(key.data() + 4 * i);
}

/// dst = src ^ keystream. dst and src start at the same byte or do not overlap.
inline void xor_bytes(byte* dst, byte const* src, byte const* keystream, std::size_t size) noexcept {
    std::size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        std::uint64_t text, key;
        std::memcpy(&text, src + i, 8);
        std::memcpy(&key, keystream + i, 8);
        text ^= key;
        std::memcpy(dst + i, &text, 8);
    }
    for (; i < size; ++i) dst[i] = static_cast<byte>(src[i] ^ keystream[i]);
}

} // namespace chacha20_detail

/// The keystream of one key and nonce from a block counter on, in plain words. Wiped when its life ends.
class chacha20 {
public:
    /// `key` and `nonce` are read here only.
    chacha20(key_view key, std::span<byte const, chacha20_nonce_bytes> nonce, std::uint32_t counter) noexcept {
        chacha20_detail::set_key(words_, key);
        words_[12] = counter;
        for (std::size_t i = 0; i < 3; ++i) words_[13 + i] = load_le32(nonce.data() + 4 * i);
    }
    chacha20(chacha20 const&) = delete;
    chacha20& operator=(chacha20 const&) = delete;
    ~chacha20() {
        wipe(words_);
        wipe(keystream_);
    }

    /// XORs the next `src.size()` bytes of keystream into `src`. `dst.size()` == `src.size()`; they start at the same
    /// byte or do not overlap; any alignment.
    void apply(bytes dst, bytes_view src) noexcept {
        WG_ASSERT(dst.size() == src.size());
        byte* to = dst.data();
        byte const* from = src.data();
        std::size_t size = src.size();

        std::size_t const ready = size < left_ ? size : left_;
        take(to, from, ready);
        to += ready, from += ready, size -= ready;
        for (; size >= chacha20_block_bytes; size -= chacha20_block_bytes) {
            xor_block(to, from);
            to += chacha20_block_bytes, from += chacha20_block_bytes;
        }
        if (size == 0) return;
        next_block();
        take(to, from, size);
    }

    /// The one-time key of Poly1305: half of the next block; the other half is dropped (RFC 8439, section 2.6).
    void take_one_time_key(std::span<byte, 32> out) noexcept {
        WG_ASSERT(left_ == 0);
        next_block();
        copy(out, bytes_view(keystream_).first(out.size()));
        left_ = 0;
    }

private:
    /// Out of line, so that `wipe_stack` of a caller reaches what it spills.
    [[gnu::noinline]] void xor_block(byte* dst, byte const* src) noexcept {
        chacha20_words x = words_;
        chacha20_detail::permute(x);
        for (std::size_t i = 0; i < 16; ++i) store_le32(dst + 4 * i, load_le32(src + 4 * i) ^ (x[i] + words_[i]));
        wipe(x);
        ++words_[12];
    }

    void next_block() noexcept {
        keystream_ = {};
        xor_block(keystream_.data(), keystream_.data());
        left_ = chacha20_block_bytes;
    }

    void take(byte* dst, byte const* src, std::size_t size) noexcept {
        chacha20_detail::xor_bytes(dst, src, keystream_.data() + keystream_.size() - left_, size);
        left_ -= size;
    }

    chacha20_words words_;
    byte_array<chacha20_block_bytes> keystream_; ///< the last `left_` bytes are not used yet
    std::size_t left_ = 0;
};

namespace chacha20_detail {

[[gnu::noinline]] inline void hchacha20(std::span<byte, key_bytes> out, key_view key,
                                        std::span<byte const, 16> nonce) noexcept {
    chacha20_words x;
    set_key(x, key);
    for (std::size_t i = 0; i < 4; ++i) x[12 + i] = load_le32(nonce.data() + 4 * i);
    permute(x);
    for (std::size_t i = 0; i < 4; ++i) store_le32(out.data() + 4 * i, x[i]);
    for (std::size_t i = 0; i < 4; ++i) store_le32(out.data() + 16 + 4 * i, x[12 + i]);
    wipe(x);
}

} // namespace chacha20_detail

/// The subkey of `key` for the first 16 bytes of an XChaCha20 nonce. `out` may be `key`.
inline void hchacha20(std::span<byte, key_bytes> out, key_view key, std::span<byte const, 16> nonce) noexcept {
    chacha20_detail::hchacha20(out, key, nonce);
    wipe_stack<sizeof(chacha20_words) + spill_bytes>();
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Which instruction sets the bundled kernels may use beyond those that the program was compiled for. Layer 2; any
// thread.
//
// A kernel is chosen by an object, never by a global: `bundled::aead{detect_cpu() & ~cpu::avx512}` is an AEAD that
// does without AVX-512, beside others that use it. What is not named is `chosen_cpu()`.
#ifndef WG_BACKENDS_BUNDLED_CPU_HPP
#define WG_BACKENDS_BUNDLED_CPU_HPP


#include <cstdint>
#include <string_view>

#if __STDC_HOSTED__
#include <cstdlib>
#endif

// Kernels beyond the baseline exist for 64-bit x86, where one program meets processors twenty years apart. Elsewhere
// the compiler's baseline is what there is: NEON belongs to aarch64. On Windows g++ does not align vectors of more than
// 16 bytes on the stack (its bug 54412), so there the baseline is what there is with g++, too.
#if defined(__x86_64__) && !defined(WG_COMPACT) && (!defined(_WIN32) || defined(__clang__))
#define WG_X86_KERNELS
#include <cpuid.h>
#endif

// Sanitizers make many times the code of a kernel, and minutes of its compilation. So what is compiled for a vector
// unit is left to the tests, which lay guard pages around its memory.
#define WG_UNSANITIZED
#ifdef __clang__
#if __has_feature(address_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#undef WG_UNSANITIZED
#define WG_UNSANITIZED , clang::no_sanitize("address", "undefined")
#endif
#endif

// The instruction sets of kernels, as attributes of functions.
#define WG_TARGET_SSSE3 gnu::target("ssse3") WG_UNSANITIZED
#define WG_TARGET_AVX2 gnu::target("avx2,bmi,bmi2") WG_UNSANITIZED
#define WG_TARGET_AVX512 gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2") WG_UNSANITIZED
#define WG_TARGET_IFMA                                                                                                 \
    gnu::target("avx512ifma,avx512vbmi2,avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi,bmi2") WG_UNSANITIZED

// With WG_SEPARATE_KERNELS defined, what chooses kernels is only declared, so that units that use it do not compile
// all of them. One unit of the program defines WG_DEFINE_KERNELS as well, and has them.
#ifdef WG_SEPARATE_KERNELS
#define WG_CHOICE
#else
#define WG_CHOICE inline
#ifndef WG_DEFINE_KERNELS
#define WG_DEFINE_KERNELS
#endif
#endif

namespace wg::inline WG_ABI {
namespace bundled {

/// A set of instruction sets.
enum class cpu : std::uint32_t {
    baseline = 0,
    ssse3 = 1,
    avx2 = 2,  ///< with BMI1 and BMI2
    adx = 4,   ///< two carry chains; with BMI2
    avx512 = 8, ///< F, BW, DQ, VL
    ifma = 16, ///< AVX512-IFMA, products of 52 bits, with VBMI2
    all = 31,
};

constexpr cpu operator&(cpu a, cpu b) noexcept { return cpu(std::uint32_t(a) & std::uint32_t(b)); }
constexpr cpu operator|(cpu a, cpu b) noexcept { return cpu(std::uint32_t(a) | std::uint32_t(b)); }
constexpr cpu operator~(cpu a) noexcept { return cpu(std::uint32_t(cpu::all) & ~std::uint32_t(a)); }
/// Whether `set` has all of `wanted`.
constexpr bool has(cpu set, cpu wanted) noexcept { return (set & wanted) == wanted; }

/// A set without what rests on something that is not in it: no AVX-512 where AVX2 was turned off.
constexpr cpu consistent(cpu set) noexcept {
    if (!has(set, cpu::ssse3)) set = set & ~cpu::avx2;
    if (!has(set, cpu::avx2)) set = set & ~(cpu::adx | cpu::avx512);
    if (!has(set, cpu::avx512)) set = set & ~cpu::ifma;
    return set;
}

/// What the processor has and the operating system keeps the registers of.
inline cpu detect_cpu() noexcept {
#ifdef WG_X86_KERNELS
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu::baseline;
    cpu set = cpu::baseline;
    if (c & bit_SSSE3) set = set | cpu::ssse3;
    if (!(c & bit_OSXSAVE)) return set;
    unsigned saved, unused;
    asm volatile("xgetbv" : "=a"(saved), "=d"(unused) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return set;
    constexpr unsigned ymm = 6, zmm = 0xe6; // bits of XCR0
    constexpr unsigned wide = bit_AVX2 | bit_BMI | bit_BMI2, wider = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ |
                                                                     bit_AVX512VL;
    if ((saved & ymm) == ymm && (b & wide) == wide) set = set | cpu::avx2;
    if ((b & bit_ADX) && (b & bit_BMI2)) set = set | cpu::adx;
    if ((saved & zmm) == zmm && (b & wider) == wider) set = set | cpu::avx512;
    if ((b & bit_AVX512IFMA) && (c & bit_AVX512VBMI2)) set = set | cpu::ifma;
    return consistent(set);
#else
    return cpu::baseline;
#endif
}

/// Reads names separated by commas, such as "avx512,adx". False, and `set` unchanged, if one is none.
[[nodiscard]] constexpr bool parse_cpu(std::string_view names, cpu& set) noexcept {
    constexpr struct {
        std::string_view name;
        cpu what;
    } known[] = {{"ssse3", cpu::ssse3}, {"avx2", cpu::avx2}, {"adx", cpu::adx}, {"avx512", cpu::avx512},
                 {"ifma", cpu::ifma},   {"all", cpu::all}};
    cpu found = cpu::baseline;
    while (!names.empty()) {
        std::string_view const name = names.substr(0, names.find(','));
        cpu here = cpu::baseline;
        for (auto const& k : known)
            if (k.name == name) here = k.what;
        if (here == cpu::baseline) return false;
        found = found | here;
        names.remove_prefix(name.size() < names.size() ? name.size() + 1 : names.size());
    }
    set = found;
    return true;
}

/// What there is, less what the environment variable `WG_CPU_OFF` names ("avx512,adx"; "all"). Found out once.
/// A variable with a wrong name in it turns off nothing: a program may check it with `parse_cpu` and say so.
inline cpu chosen_cpu() noexcept {
#ifdef WG_X86_KERNELS
    static cpu const chosen = [] {
        cpu off = cpu::baseline;
#if __STDC_HOSTED__
        if (char const* const names = std::getenv("WG_CPU_OFF")) static_cast<void>(parse_cpu(names, off));
#endif
        return consistent(detect_cpu() & ~off);
    }();
    return chosen;
#else
    return cpu::baseline;
#endif
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The one-time authenticator Poly1305 (RFC 8439, section 2.5). Layer 2; an object is used by one thread at a time.
//
// Limbs are full words. That p = 2^130 - 5 is no multiple of a word costs nothing, because clamping clears the two
// lowest bits of every word of r but the first: a product that lands on 2^128 * r_i is (r_i / 4) * 2^130, which is
// (r_i / 4) * 5 modulo p, exactly. These are the s_i below.
#ifndef WG_BACKENDS_BUNDLED_POLY1305_HPP
#define WG_BACKENDS_BUNDLED_POLY1305_HPP


namespace wg::inline WG_ABI {
namespace bundled {

inline constexpr std::size_t poly1305_block_bytes = 16;

/// The accumulator h and the multiplier r. Between calls h < 2^130 + 2^128: its words are full, the last is at most 4.
template <class Limbs> struct poly1305_state;

#ifdef __SIZEOF_INT128__

template <> struct poly1305_state<limbs64> {
    std::uint64_t r0, r1;
    std::uint64_t h0, h1, h2;

    void start(byte const* r) noexcept {
        r0 = load_le64(r) & 0x0ffffffc0fffffff;     // < 2^60
        r1 = load_le64(r + 8) & 0x0ffffffc0ffffffc; // < 2^60, multiple of 4
        h0 = h1 = h2 = 0;
    }

    /// h = (h + block + top * 2^128) * r for each block; top is 1, or 0 for a last block that carries its own end bit.
    [[gnu::always_inline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        std::uint64_t const a = r0, b = r1, s = b + (b >> 2); // s < 1.25 * 2^60
        std::uint64_t x = h0, y = h1, z = h2;
        for (; blocks > 0; --blocks, from += poly1305_block_bytes) {
            add(x, y, z, load_le64(from), load_le64(from + 8), top); // z <= 4 + 1 + 1

            uint128 const d0 = uint128{x} * a + uint128{y} * s;                 // < 2^64 * 2.25 * 2^60 < 2^126
            uint128 d1 = uint128{x} * b + uint128{y} * a;                       // < 2^125
            d1 += z * s;                                                        // < 7.5 * 2^60 < 2^63
            d1 += high(d0);                                                     // < 2^126
            std::uint64_t const d2 = z * a + high(d1);                          // < 6 * 2^60 + 2^62 < 2^64

            x = low(d0), y = low(d1), z = d2 & 3;
            add(x, y, z, (d2 >> 2) * 5, 0, 0); // < 12.5 * 2^60 < 2^64; z <= 4
        }
        h0 = x, h1 = y, h2 = z;
    }

    /// tag = (h mod p) + s mod 2^128
    void finish(byte* tag, byte const* s) noexcept {
        // h < 2p, so h mod p is h or h - p; it is the latter, = h + 5 - 2^130, if h + 5 reaches 2^130
        uint128 t = uint128{h0} + 5;
        std::uint64_t const g0 = static_cast<std::uint64_t>(t);
        t = uint128{h1} + static_cast<std::uint64_t>(t >> 64);
        std::uint64_t const g1 = static_cast<std::uint64_t>(t);
        std::uint64_t const g2 = h2 + static_cast<std::uint64_t>(t >> 64); // <= 5
        std::uint64_t const over = mask_of(g2 >> 2);
        t = uint128{h0 ^ ((h0 ^ g0) & over)} + load_le64(s);
        store_le64(tag, static_cast<std::uint64_t>(t));
        store_le64(tag + 8, (h1 ^ ((h1 ^ g1) & over)) + load_le64(s + 8) + static_cast<std::uint64_t>(t >> 64));
    }

private:
    /// (a0, a1, a2) += (b0, b1, b2)
    [[gnu::always_inline]] static void add(std::uint64_t& a0, std::uint64_t& a1, std::uint64_t& a2, std::uint64_t b0,
                                           std::uint64_t b1, std::uint64_t b2) noexcept {
#ifdef __x86_64__
        // What compilers make of the lines below is twice as long, and it is on the chain from block to block.
        asm("add %3, %0\n\tadc %4, %1\n\tadc %5, %2"
            : "+&r"(a0), "+&r"(a1), "+&r"(a2)
            : "r"(b0), "re"(b1), "re"(b2)
            : "cc");
#else
        uint128 t = uint128{a0} + b0;
        a0 = low(t);
        t = uint128{a1} + b1 + high(t);
        a1 = low(t);
        a2 += b2 + high(t);
#endif
    }
    static std::uint64_t low(uint128 x) noexcept { return static_cast<std::uint64_t>(x); }
    static std::uint64_t high(uint128 x) noexcept { return static_cast<std::uint64_t>(x >> 64); }
};

#endif

template <> struct poly1305_state<limbs32> {
#ifdef WG_COMPACT
    std::uint32_t u[8]; ///< 0, s_1, s_2, s_3, r_0, r_1, r_2, r_3
    std::uint32_t h[5];

    void start(byte const* from) noexcept {
        u[0] = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            u[4 + i] = load_le32(from + 4 * i) & (i == 0 ? 0x0fffffffu : 0x0ffffffcu);
            if (i != 0) u[i] = u[4 + i] + (u[4 + i] >> 2);
        }
        for (auto& word : h) word = 0;
    }

    /// The text below as a loop over columns: what h_j is multiplied with in column i is u_(4 + i - j).
    [[gnu::noinline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        std::uint32_t h0 = h[0], h1 = h[1], h2 = h[2], h3 = h[3], h4 = h[4];
        for (; blocks > 0; --blocks, from += poly1305_block_bytes) {
            std::uint64_t t = std::uint64_t{h0} + load_le32(from);
            h0 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h1 + load_le32(from + 4);
            h1 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h2 + load_le32(from + 8);
            h2 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h3 + load_le32(from + 12);
            h3 = static_cast<std::uint32_t>(t);
            h4 += static_cast<std::uint32_t>(t >> 32) + top; // <= 4 + 1 + 1
            std::uint32_t d[4];
            t = 0;
#pragma GCC unroll 1
            for (std::size_t i = 0; i < 4; ++i) {
                t = (t >> 32) + std::uint64_t{h0} * u[4 + i];
                t += std::uint64_t{h1} * u[3 + i];
                t += std::uint64_t{h2} * u[2 + i];
                t += std::uint64_t{h3} * u[1 + i];
                t += std::uint64_t{h4} * u[i];
                d[i] = static_cast<std::uint32_t>(t);
            }
            std::uint32_t const d4 = h4 * u[4] + static_cast<std::uint32_t>(t >> 32);
            t = std::uint64_t{d[0]} + (d4 >> 2) * std::uint64_t{5};
            h0 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + d[1];
            h1 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + d[2];
            h2 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + d[3];
            h3 = static_cast<std::uint32_t>(t);
            h4 = static_cast<std::uint32_t>((t >> 32) + (d4 & 3)); // <= 4
        }
        h[0] = h0, h[1] = h1, h[2] = h2, h[3] = h3, h[4] = h4;
    }
#else
    std::uint32_t r[4];
    std::uint32_t h[5];

    void start(byte const* from) noexcept {
        for (std::size_t i = 0; i < 4; ++i) r[i] = load_le32(from + 4 * i) & (i == 0 ? 0x0fffffffu : 0x0ffffffcu);
        for (auto& word : h) word = 0;
    }

    [[gnu::always_inline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        std::uint64_t const r0 = r[0], r1 = r[1], r2 = r[2], r3 = r[3];                      // < 2^28
        std::uint64_t const s1 = r1 + (r1 >> 2), s2 = r2 + (r2 >> 2), s3 = r3 + (r3 >> 2); // < 1.25 * 2^28
        std::uint32_t h0 = h[0], h1 = h[1], h2 = h[2], h3 = h[3], h4 = h[4];
        for (; blocks > 0; --blocks, from += poly1305_block_bytes) {
            std::uint64_t t = std::uint64_t{h0} + load_le32(from);
            h0 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h1 + load_le32(from + 4);
            h1 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h2 + load_le32(from + 8);
            h2 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + h3 + load_le32(from + 12);
            h3 = static_cast<std::uint32_t>(t);
            h4 += static_cast<std::uint32_t>(t >> 32) + top; // <= 4 + 1 + 1

            // each < 2^32 * 4 * 1.25 * 2^28 + 6 * 1.25 * 2^28 < 2^62.4, and still < 2^63 with the carry from below
            std::uint64_t const d0 = h0 * r0 + h1 * s3 + h2 * s2 + h3 * s1;
            std::uint64_t const d1 = h0 * r1 + h1 * r0 + h2 * s3 + h3 * s2 + h4 * s1 + (d0 >> 32);
            std::uint64_t const d2 = h0 * r2 + h1 * r1 + h2 * r0 + h3 * s3 + h4 * s2 + (d1 >> 32);
            std::uint64_t const d3 = h0 * r3 + h1 * r2 + h2 * r1 + h3 * r0 + h4 * s3 + (d2 >> 32);
            // d3 has no s_i but one: < 2^62 + ..., so d4 < 6 * 2^28 + 2^30 + 1 < 2^32
            std::uint64_t const d4 = h4 * r0 + (d3 >> 32);

            t = (d0 & 0xffffffff) + (d4 >> 2) * 5;
            h0 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + (d1 & 0xffffffff);
            h1 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + (d2 & 0xffffffff);
            h2 = static_cast<std::uint32_t>(t);
            t = (t >> 32) + (d3 & 0xffffffff);
            h3 = static_cast<std::uint32_t>(t);
            h4 = static_cast<std::uint32_t>((t >> 32) + (d4 & 3)); // <= 4
        }
        h[0] = h0, h[1] = h1, h[2] = h2, h[3] = h3, h[4] = h4;
    }
#endif

    void finish(byte* tag, byte const* s) noexcept {
        std::uint32_t g[4]; // h + 5 - 2^130, see above
        std::uint64_t t = 5;
        for (std::size_t i = 0; i < 4; ++i) {
            t += h[i];
            g[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
        }
        std::uint32_t const over = mask_of((h[4] + static_cast<std::uint32_t>(t)) >> 2); // <= 5 before the shift
        t = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            t += std::uint64_t{h[i] ^ ((h[i] ^ g[i]) & over)} + load_le32(s + 4 * i); // < 2^33 + 1
            store_le32(tag + 4 * i, static_cast<std::uint32_t>(t));
            t >>= 32;
        }
        wipe(g);
    }
};

/// The tag of one message under a one-time key. Wiped when its life ends.
template <class Limbs = default_limbs> class poly1305 {
public:
    /// `key` is r, then s; read here only.
    explicit poly1305(std::span<byte const, 32> key) noexcept {
        state_.start(key.data());
        copy(s_, key.subspan(16));
    }
    poly1305(poly1305 const&) = delete;
    poly1305& operator=(poly1305 const&) = delete;
    ~poly1305() {
        wipe(state_);
        wipe(s_);
        wipe(partial_);
    }

    /// Appends to the message. Any length and alignment.
    void update(bytes_view in) noexcept {
        if (in.empty()) return;
        if (held_ > 0) {
            std::size_t const room = poly1305_block_bytes - held_;
            std::size_t const now = in.size() < room ? in.size() : room;
            std::memcpy(partial_.data() + held_, in.data(), now);
            held_ += now;
            in = in.subspan(now);
            if (held_ < poly1305_block_bytes) return;
            absorb(partial_.data(), 1, 1);
            held_ = 0;
        }
        absorb(in.data(), in.size() / poly1305_block_bytes, 1);
        held_ = in.size() % poly1305_block_bytes;
        if (held_ > 0) std::memcpy(partial_.data(), in.data() + (in.size() - held_), held_);
    }

    /// Appends zero bytes up to a multiple of 16, as the AEAD does.
    void pad() noexcept {
        if (held_ == 0) return;
        std::memset(partial_.data() + held_, 0, poly1305_block_bytes - held_);
        absorb(partial_.data(), 1, 1);
        held_ = 0;
    }

    /// The tag; the object is spent.
    void finish(std::span<byte, tag_bytes> tag) noexcept {
        if (held_ > 0) {
            partial_[held_] = 1; // the end bit, where a whole block has it at 2^128
            std::memset(partial_.data() + held_ + 1, 0, poly1305_block_bytes - held_ - 1);
            absorb(partial_.data(), 1, 0);
            held_ = 0;
        }
        state_.finish(tag.data(), s_.data());
    }

private:
    /// Out of line, so that `wipe_stack` of a caller reaches what it spills.
    [[gnu::noinline]] void absorb(byte const* from, std::size_t blocks, std::uint32_t top) noexcept {
        state_.absorb(from, blocks, top);
    }

    poly1305_state<Limbs> state_;
    byte_array<16> s_;
    byte_array<poly1305_block_bytes> partial_;
    std::size_t held_ = 0; ///< bytes in partial_, 0-15 between calls
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#include <algorithm>
#include <utility>

#ifdef WG_X86_KERNELS
#include <immintrin.h>
#endif

namespace wg::inline WG_ABI {
namespace bundled {

/// The twelve bytes of a nonce, as words.
struct packet_nonce {
    std::uint32_t words[3];

    static packet_nonce of(std::uint64_t counter) noexcept {
        return {{0, static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32)}};
    }
    static packet_nonce of(std::span<byte const, chacha20_nonce_bytes> nonce) noexcept {
        return {{load_le32(&nonce[0]), load_le32(&nonce[4]), load_le32(&nonce[8])}};
    }
    byte_array<chacha20_nonce_bytes> encode() const noexcept {
        byte_array<chacha20_nonce_bytes> out;
        for (std::size_t i = 0; i < 3; ++i) store_le32(&out[4 * i], words[i]);
        return out;
    }
};

inline constexpr std::size_t batch_capacity = 32; ///< packets that are worked on at once

/// A packet of a batch on its way to its tag. The key is r, s.
struct packet_tag {
    byte key[32];
    byte tag[tag_bytes];
    byte const* message;
    std::size_t size;
};

// Where no vector unit stands behind vectors, they are slower than plain words.
#if !defined(WG_COMPACT) &&                                                                                            \
    (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__VEC__) ||                           \
     defined(__wasm_simd128__) || defined(__loongarch_sx) || defined(__mips_msa))
#define WG_VECTOR_KERNELS

namespace kernel_vector128 {
#define WG_TARGET [[gnu::always_inline WG_UNSANITIZED]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline WG_UNSANITIZED]] inline
// SPDX-License-Identifier: BSL-1.0
// Vectors of four 32-bit words, for chacha20.inl. Text for a kernel's namespace. In GNU vector extensions: the same
// text becomes SSE2, NEON or AltiVec. A kernel with SSSE3 defines WG_SHUFFLES_BYTES.

using vector = std::uint32_t __attribute__((vector_size(16)));
using half_words = std::uint16_t __attribute__((vector_size(16)));
using octets = std::uint8_t __attribute__((vector_size(16)));
inline constexpr std::size_t vector_bytes = 16;
#ifdef __x86_64__
inline constexpr int vector_registers = 16;
#else
inline constexpr int vector_registers = 32;
#endif
inline constexpr std::size_t most_blocks = 4; ///< of a step
inline constexpr int batch_groups = 1;        ///< of lanes, in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< at most, of a step

template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
#if defined(__SSE2__) && !defined(__AVX512VL__)
    // no rotation of vectors there: a shuffle is less than two shifts and an or
#ifdef WG_SHUFFLES_BYTES
    if constexpr (Bits % 8 == 0) {
        constexpr octets order = Bits == 8 ? octets{3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14}
                                           : octets{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13};
        x = (vector)_mm_shuffle_epi8((__m128i)x, (__m128i)order);
        return;
    }
#endif
    if constexpr (Bits == 16) {
        half_words const h = (half_words)x;
        x = (vector)__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6);
        return;
    }
#ifdef __SSSE3__
    if constexpr (Bits == 8) {
        octets const o = (octets)x;
        x = (vector)__builtin_shufflevector(o, o, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
        return;
    }
#endif
#endif
    x = (x << Bits) | (x >> (32 - Bits));
}
template <int By> WG_TARGET void turn(vector& x) noexcept {
    x = __builtin_shufflevector(x, x, By, (By + 1) % 4, (By + 2) % 4, (By + 3) % 4);
}

WG_TARGET vector broadcast(std::uint32_t word) noexcept { return vector{word, word, word, word}; }
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    vector x;
    std::memcpy(&x, four, sizeof x);
    return x;
}
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3}; }
/// The number of a row in its first word: there is one.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0}; }
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0}; }

WG_TARGET vector load(byte const* from) noexcept {
    vector x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
WG_TARGET void store(byte* to, vector const& x) noexcept { std::memcpy(to, &x, sizeof x); }

/// Words as the bytes that they are in memory, for which ChaCha20 has the little-endian order.
WG_TARGET vector in_memory_order(vector const& x) noexcept {
    if constexpr (std::endian::native == std::endian::little) return x;
    octets const o = (octets)x;
    return (vector)__builtin_shufflevector(o, o, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

/// Of four words in lanes, makes 16 bytes of each of four blocks. Hands those of block i over as `First + 4 i`.
template <int First, class To> WG_TARGET void put_four_words(vector const* x, To const& to) noexcept {
    vector const low01 = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    vector const low23 = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    vector const high01 = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    vector const high23 = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    to.template put<First>(in_memory_order(__builtin_shufflevector(low01, low23, 0, 1, 4, 5)));
    to.template put<First + 4>(in_memory_order(__builtin_shufflevector(low01, low23, 2, 3, 6, 7)));
    to.template put<First + 8>(in_memory_order(__builtin_shufflevector(high01, high23, 0, 1, 4, 5)));
    to.template put<First + 12>(in_memory_order(__builtin_shufflevector(high01, high23, 2, 3, 6, 7)));
}
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    put_four_words<First>(x, to);
    put_four_words<First + 1>(x + 4, to);
    put_four_words<First + 2>(x + 8, to);
    put_four_words<First + 3>(x + 12, to);
}
template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    to.template put<First>(in_memory_order(y[0]));
    to.template put<First + 1>(in_memory_order(y[1]));
    to.template put<First + 2>(in_memory_order(y[2]));
    to.template put<First + 3>(in_memory_order(y[3]));
}

/// dst = src ^ x, `size` bytes of it, less than a vector.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    for (std::size_t i = 0; i < size; ++i) dst[i] = static_cast<byte>(src[i] ^ keystream[i]);
    wipe(keystream);
}
/// Likewise, a whole vector if `size` is not less.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]] return store(dst, load(src) ^ x);
    xor_part(dst, src, x, size);
}

/// The word, in `count` lanes from `first` on.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word;
}
/// The same, one more in each next lane.
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word++;
}

/// Makes the next `blocks` blocks, or as many as one step can: `with.make<Lanes, Rows>()`. How many they are.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 2) return with.template make<1, 0>();
    if (blocks > 1) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

#ifdef WG_X86_KERNELS
// Of poly1305_mul32.inl: vectors of two pairs of words, of a block each.
using word_pairs = std::uint64_t __attribute__((vector_size(16)));

/// The products of the lower words.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return (word_pairs)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
/// The first or second pair of each block of a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 2);
}
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 2 : 0, Second & 2 ? 3 : 1);
}
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[2]) noexcept {
    return word_pairs{of_block[0], of_block[1]};
}
/// The first and second pair of each block.
WG_TARGET void load_pairs(byte const* const (&blocks)[2], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = (word_pairs)load(blocks[0]), b = (word_pairs)load(blocks[1]);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept { return x[0] + x[1]; }
#endif

/// Leaves nothing in vector registers.
WG_TARGET void wipe_registers() noexcept {
#if defined(__SSE2__) && defined(__x86_64__)
#define WG_ZERO(i) "pxor %%xmm" #i ", %%xmm" #i "\n\t"
    asm volatile(WG_ZERO(0) WG_ZERO(1) WG_ZERO(2) WG_ZERO(3) WG_ZERO(4) WG_ZERO(5) WG_ZERO(6) WG_ZERO(7) WG_ZERO(8)
                     WG_ZERO(9) WG_ZERO(10) WG_ZERO(11) WG_ZERO(12) WG_ZERO(13) WG_ZERO(14) WG_ZERO(15)
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15");
#undef WG_ZERO
#elif defined(__aarch64__)
#define WG_ZERO(i) "movi v" #i ".16b, #0\n\t"
    asm volatile(WG_ZERO(0) WG_ZERO(1) WG_ZERO(2) WG_ZERO(3) WG_ZERO(4) WG_ZERO(5) WG_ZERO(6) WG_ZERO(7) WG_ZERO(16)
                     WG_ZERO(17) WG_ZERO(18) WG_ZERO(19) WG_ZERO(20) WG_ZERO(21) WG_ZERO(22) WG_ZERO(23) WG_ZERO(24)
                         WG_ZERO(25) WG_ZERO(26) WG_ZERO(27) WG_ZERO(28) WG_ZERO(29) WG_ZERO(30) WG_ZERO(31)
                 :
                 :
                 : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
                   "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"); // the others are the caller's
#undef WG_ZERO
#endif
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors: one text for all instruction sets. Text for the namespace of a kernel
// that defines WG_TARGET, the attributes of every function, and has included one of vector128.inl, vector256.inl and
// vector512.inl.
//
// Two layouts. In *lanes*, word i of as many blocks as a vector has words lies in vector i: no word has to move, and
// each lane may have a key of its own; but 16 vectors are at work, and have to be turned in the end. In *rows*, a
// vector holds one row of each of `row_blocks` blocks: good for few blocks, but words move twice in a double round.
// A step works on groups of both kinds at once: they are independent, so that one goes on where another has to wait.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;
inline constexpr std::size_t row_blocks = vector_bytes / 16;
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// Which vector holds a row's word in the quarter round of this column (or diagonal).
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns; row 2 is apart.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds where sixteen registers hold the lanes: too few for all, and compilers choose ill what is to wait
/// in memory. It is row 2, of which two vectors at a time are loaded.
WG_TARGET void permute_in_halves(vector (&x)[16]) noexcept {
    vector row2[4] = {x[8], x[9], x[10], x[11]};
    for (int i = 0; i < 10; ++i) {
        quarter_rounds_of_two<0, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<0, 2>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 2>(x, row2);
        asm("" : "+m"(row2));
    }
    x[8] = row2[0], x[9] = row2[1], x[10] = row2[2], x[11] = row2[3];
}

/// What a step works on: groups of `lane_blocks` and of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16];
    vector y[Rows > 0 ? Rows : 1][4];

    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    template <int B, int C, int D> WG_TARGET void turn_rows() noexcept {
        if constexpr (Rows > 0) turn<B>(y[0][1]), turn<C>(y[0][2]), turn<D>(y[0][3]);
        if constexpr (Rows > 1) turn<B>(y[1][1]), turn<C>(y[1][2]), turn<D>(y[1][3]);
        if constexpr (Rows > 2) turn<B>(y[2][1]), turn<C>(y[2][2]), turn<D>(y[2][3]);
    }
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only be more to load
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            turn_rows<1, 2, 3>();
            quarter_rounds<1>();
            turn_rows<3, 2, 1>();
        }
    }
};

/// The states of consecutive blocks of one key and nonce. 16 words, those of the first block.
struct consecutive_blocks {
    std::uint32_t const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The states of any blocks, each with a key and nonce of its own: 16 vectors for each group of lanes.
struct separate_blocks {
    vector const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept { return words[16 * Group + Word]; }
};

template <int Group, class States, std::size_t... Word>
WG_TARGET void load_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] = from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <int Group, class States, std::size_t... Word>
WG_TARGET void add_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] += from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <class States>
WG_TARGET void load_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] = from.template row<0>(0), y[1] = from.template row<1>(0), y[2] = from.template row<2>(0);
    y[3] = from.template row<3>(blocks_before);
}
template <class States>
WG_TARGET void add_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] += from.template row<0>(0), y[1] += from.template row<1>(0), y[2] += from.template row<2>(0);
    y[3] += from.template row<3>(blocks_before);
}

/// Makes the keystream of `Lanes` times `lane_blocks` and then `Rows` times `row_blocks` blocks.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks before the rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // of a group
    chacha20_groups<Lanes, Rows> g;
    if constexpr (Lanes > 0) load_lanes<0>(g.x[0], from, all);
    if constexpr (Lanes > 1) load_lanes<1>(g.x[1], from, all);
    if constexpr (Rows > 0) load_rows(g.y[0], from, before);
    if constexpr (Rows > 1) load_rows(g.y[1], from, before + row_blocks);
    if constexpr (Rows > 2) load_rows(g.y[2], from, before + 2 * row_blocks);
    g.permute();
    if constexpr (Lanes > 0) add_lanes<0>(g.x[0], from, all), put_lanes<0>(g.x[0], to);
    if constexpr (Lanes > 1) add_lanes<1>(g.x[1], from, all), put_lanes<lane_vectors>(g.x[1], to);
    constexpr int after = Lanes * lane_vectors;
    if constexpr (Rows > 0) add_rows(g.y[0], from, before), put_rows<after>(g.y[0], to);
    if constexpr (Rows > 1) add_rows(g.y[1], from, before + row_blocks), put_rows<after + row_vectors>(g.y[1], to);
    if constexpr (Rows > 2)
        add_rows(g.y[2], from, before + 2 * row_blocks), put_rows<after + 2 * row_vectors>(g.y[2], to);
}
// SPDX-License-Identifier: BSL-1.0
// Keystream, XORed into packets: one text for all instruction sets. Text for a kernel's namespace, after chacha20.inl.
//
// Of one packet: the first block is the one-time key and the message follows, so that one step makes both. Of many:
// blocks of all packets, the one-time keys among them, fill the lanes one after the other, so that no lane is idle but
// in the last step; which packet a lane serves matters only where its state is written and its keystream taken.

/// Keystream that is XORed into a message, after the one-time key if that is wanted.
struct to_message {
    byte* dst;
    byte const* src;
    std::size_t size;
    byte* one_time_key; ///< room for a block; nullptr: not in this step

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        std::size_t at = Number * vector_bytes;
        if (one_time_key != nullptr) {
            if constexpr (Number * vector_bytes < chacha20_block_bytes)
                return store(one_time_key + Number * vector_bytes, keystream);
            at -= chacha20_block_bytes;
        }
        if (at < size) xor_vector(dst + at, src + at, keystream, size - at);
    }
};

template <int Lanes, int Rows>
WG_TARGET_FUNCTION void make_keystream(std::uint32_t const* words, to_message const& to) noexcept {
    chacha20_step<Lanes, Rows>(consecutive_blocks{words}, to);
}

struct keystream_maker {
    std::uint32_t* words; ///< of the next block
    to_message const& to;

    template <int Lanes, int Rows> WG_TARGET std::size_t make() const noexcept {
        constexpr std::size_t made = Lanes * lane_blocks + Rows * row_blocks;
        make_keystream<Lanes, Rows>(words, to);
        words[12] += static_cast<std::uint32_t>(made);
        return made;
    }
};

/// The next `blocks` of a packet, or as many as one step makes; how many. Advances the counter.
WG_TARGET std::size_t make_keystream(std::uint32_t* words, std::size_t blocks, to_message const& to) noexcept {
    return take_step(keystream_maker{words, to}, blocks);
}

WG_TARGET void set_words(std::uint32_t* to, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                         std::uint32_t d) noexcept {
    std::uint32_t __attribute__((vector_size(16))) const words = {a, b, c, d};
    std::memcpy(to, &words, sizeof words);
}
WG_TARGET void copy_words(std::uint32_t* to, byte const* from) noexcept {
    set_words(to, load_le32(from), load_le32(from + 4), load_le32(from + 8), load_le32(from + 12));
}

/// What is secret of one packet and has to lie in memory.
struct alignas(64) packet_secrets {
    byte one_time_key[chacha20_block_bytes]; ///< its second half has no use
    std::uint32_t words[16];

    WG_TARGET packet_secrets(byte const* key, packet_nonce const& nonce) noexcept {
        // in pieces of the size in which they are read again: other stores could not be forwarded to the loads
        set_words(words, 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574); // "expand 32-byte k"
        copy_words(words + 4, key);
        copy_words(words + 8, key + 16);
        set_words(words + 12, 0, nonce.words[0], nonce.words[1], nonce.words[2]);
    }
};

/// Blocks of keystream that a message takes, with the one-time key.
constexpr std::size_t blocks_of(std::size_t size) noexcept {
    return 1 + (size + chacha20_block_bytes - 1) / chacha20_block_bytes;
}

/// Where the keystream of a lane goes: dst = src ^ keystream, at most a block.
struct lane_target {
    byte* dst;
    byte const* src;
    std::size_t size;
};

struct to_lanes {
    lane_target const* lanes;

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        constexpr std::size_t block = Number / block_vectors, at = Number % block_vectors * vector_bytes;
        lane_target const& to = lanes[block];
        if (at < to.size) xor_vector(to.dst + at, to.src + at, keystream, to.size - at);
    }
};

template <int Lanes> WG_TARGET_FUNCTION void make_lanes(vector const* words, lane_target const* to) noexcept {
    chacha20_step<Lanes, 0>(separate_blocks{words}, to_lanes{to});
}

/// Collects blocks until there are enough for a step.
class block_queue {
public:
    static constexpr std::size_t capacity = batch_groups * lane_blocks;

    /// `shared_key`: that of all blocks; nullptr: each has its own.
    WG_TARGET explicit block_queue(byte const* shared_key) noexcept : shared_(shared_key != nullptr) {
        constexpr std::uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
        for (std::size_t group = 0; group < 16 * batch_groups; group += 16) {
            for (std::size_t i = 0; i < 4; ++i) words_[group + i] = broadcast(sigma[i]);
            if (shared_)
                for (std::size_t i = 0; i < 8; ++i) words_[group + 4 + i] = broadcast(load_le32(shared_key + 4 * i));
            words_[group + 13] = broadcast(0);
        }
    }

    /// `count` blocks of the packet with this key and counter, from number `block` on.
    WG_TARGET void add(aead_item const& packet, std::uint32_t block, std::size_t count, lane_target to) noexcept {
        while (count != 0) {
            std::size_t const group = count_ / lane_blocks, place = count_ % lane_blocks;
            std::size_t const now = std::min(count, lane_blocks - place);
            vector* const words = words_ + 16 * group;
            if (!shared_)
                for (std::size_t i = 0; i < 8; ++i)
                    set_lanes(words[4 + i], place, now, load_le32(packet.key->expose().data() + 4 * i));
            count_lanes(words[12], place, now, block);
            set_lanes(words[14], place, now, static_cast<std::uint32_t>(packet.counter));
            set_lanes(words[15], place, now, static_cast<std::uint32_t>(packet.counter >> 32));
            for (std::size_t i = count_; i < count_ + now; ++i) {
                targets_[i] = to;
                to.dst += chacha20_block_bytes, to.src += chacha20_block_bytes, to.size -= chacha20_block_bytes;
            }
            block += static_cast<std::uint32_t>(now), count -= now, count_ += now;
            if (count_ == capacity) flush();
        }
    }

    /// The message itself.
    WG_TARGET void add_message(aead_item const& packet, std::size_t size) noexcept {
        add(packet, 1, blocks_of(size) - 1, {packet.dst.data(), packet.src.data(), size});
    }

    /// Makes the keystream of all blocks that were added.
    WG_TARGET void flush() noexcept {
        if (count_ == 0) return;
        for (std::size_t lane = count_; lane < capacity; ++lane) targets_[lane] = {nullptr, nullptr, 0};
        if (count_ <= lane_blocks)
            make_lanes<1>(words_, targets_);
        else
            make_lanes<batch_groups>(words_, targets_);
        count_ = 0;
    }

private:
    vector words_[16 * batch_groups];
    lane_target targets_[capacity];
    std::size_t count_ = 0;
    bool shared_;
};
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in whole registers. Text for a kernel's namespace that defines
// WG_TARGET.

/// Authenticates a packet while it is made: `start`, `absorb` as far as there is ciphertext, `finish`.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;    ///< any packet
    static constexpr std::size_t stack_bytes = 640;  ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 640; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0;
};

template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
#ifdef WG_X86_KERNELS
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in two, four or eight lanes with products of 32-bit words. Text for a kernel's
// namespace that defines WG_TARGET, after vector128.inl, vector256.inl or vector512.inl.
//
// A field element is five limbs of 26 bits, so that many products can be added up in 64 bits before a reduction. What
// is made of this: poly1305_lanes.inl.

using limbs = word_pairs;
inline constexpr int poly_lane_count = sizeof(limbs) / sizeof(std::uint64_t);
inline constexpr std::size_t poly_merge_vectors = 16; ///< from so many on four at once pay for two more powers
/// From which on lanes are faster than words.
inline constexpr std::size_t poly_least_bytes = poly_lane_count == 2 ? 512 : 272;
inline constexpr std::size_t poly_stack_bytes = 3392; ///< of a function that seals with this
inline constexpr std::size_t poly_tags_stack_bytes = 3392; ///< of `make_tags`
#define WG_TARGET_AUTHENTICATOR WG_TARGET_FUNCTION // too large to be compiled into each of its users

WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x) noexcept { return x & ((std::uint64_t{1} << 26) - 1); }

/// A field element in each lane. *Tight*: all < 2^26 but l1 < 2^26 + 2^11 and l4 < 2^26 + 2^10.
struct poly_lanes {
    limbs l0, l1, l2, l3, l4;
};

/// A multiplier: tight, and its upper limbs times 5, which is 2^130 modulo 2^130 - 5; < 2^28.4.
struct poly_factor {
    limbs r0, r1, r2, r3, r4, s1, s2, s3, s4;
};

/// Sums of products for 2^(26 i).
struct poly_products {
    limbs d0, d1, d2, d3, d4;
};

/// Keeps the order of sums as it is written: g++ would compute many products before it adds them, and spill them.
WG_TARGET void add_up(poly_products& p) noexcept {
    asm("" : "+v"(p.d0), "+v"(p.d1), "+v"(p.d2), "+v"(p.d3), "+v"(p.d4));
}

/// p += a * r, which is five products of < 2^54.5 in each sum. At most four times before a reduction, with a tight or
/// a block.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 += multiply_words(a.l0, r.r0), p.d1 += multiply_words(a.l0, r.r1), p.d2 += multiply_words(a.l0, r.r2);
    p.d3 += multiply_words(a.l0, r.r3), p.d4 += multiply_words(a.l0, r.r4);
    add_up(p);
    p.d0 += multiply_words(a.l1, r.s4), p.d1 += multiply_words(a.l1, r.r0), p.d2 += multiply_words(a.l1, r.r1);
    p.d3 += multiply_words(a.l1, r.r2), p.d4 += multiply_words(a.l1, r.r3);
    add_up(p);
    p.d0 += multiply_words(a.l2, r.s3), p.d1 += multiply_words(a.l2, r.s4), p.d2 += multiply_words(a.l2, r.r0);
    p.d3 += multiply_words(a.l2, r.r1), p.d4 += multiply_words(a.l2, r.r2);
    add_up(p);
    p.d0 += multiply_words(a.l3, r.s2), p.d1 += multiply_words(a.l3, r.s3), p.d2 += multiply_words(a.l3, r.s4);
    p.d3 += multiply_words(a.l3, r.r0), p.d4 += multiply_words(a.l3, r.r1);
    add_up(p);
    p.d0 += multiply_words(a.l4, r.s1), p.d1 += multiply_words(a.l4, r.s2), p.d2 += multiply_words(a.l4, r.s3);
    p.d3 += multiply_words(a.l4, r.s4), p.d4 += multiply_words(a.l4, r.r0);
    add_up(p);
}

/// p modulo 2^130 - 5, tight. Before: each < 2^60.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    // two chains at once: from d0 and from d3
    limbs const d1 = p.d1 + (p.d0 >> 26), d4 = p.d4 + (p.d3 >> 26); // < 2^60 + 2^34
    limbs const d2 = p.d2 + (d1 >> 26), top = d4 >> 26;             // < 2^60 + 2^35; for 2^130, < 2^35
    limbs const l0 = low_bits(p.d0) + top + (top << 2);             // < 2^37.4
    limbs const d3 = low_bits(p.d3) + (d2 >> 26);                   // < 2^35
    poly_lanes h = {low_bits(l0), low_bits(d1) + (l0 >> 26), low_bits(d2), low_bits(d3), low_bits(d4) + (d3 >> 26)};
    // clang drops the cut to 32 bits before a product, for it can see that all are shorter, and forgets it then
    asm("" : "+v"(h.l0), "+v"(h.l1), "+v"(h.l2), "+v"(h.l3), "+v"(h.l4));
    return h;
}

WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero};
}

WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

WG_TARGET limbs times_five(limbs const& x) noexcept { return x + (x << 2); }
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0,           r.l1, r.l2, r.l3, r.l4, times_five(r.l1), times_five(r.l2), times_five(r.l3),
            times_five(r.l4)};
}

/// Blocks as their low and high words, and the end bit 2^128 where there is a block.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    return {low_bits(low), low_bits(low >> 26), low_bits((low >> 52) | (high << 12)), low_bits(high >> 14),
            (high >> 40) | end};
}
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 24); }
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs const a = (limbs)load(from), b = (limbs)load(from + vector_bytes);
    return split(pairs_of<0>(a, b), pairs_of<1>(a, b), end_bits());
}

WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept {
    p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2, p.d3 += m.l3, p.d4 += m.l4;
}

/// One lane in all lanes.
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2), spread<Lane>(a.l3), spread<Lane>(a.l4)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2),
            choose<Second>(a.l3, b.l3), choose<Second>(a.l4, b.l4)};
}

/// r as it comes out of the key, clamped.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^n ... r for blocks 0 ... n - 1.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    poly_lanes const r2 = multiply(r, factor_of(r));
    if constexpr (poly_lane_count == 2) {
        return choose<2>(r2, r);
    } else if constexpr (poly_lane_count == 4) {
        poly_lanes const upper = multiply(choose<4>(r2, r), factor_of(r2)); // exponents of the lanes: 4 4 3 4
        return choose<8>(choose<2>(upper, r2), r);                          // 4 2 3 1
    } else {
        poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
        poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
        poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
        return choose<0xaa>(eight, four);                                      // 8 4 7 3 6 2 5 1
    }
}

/// A vector of blocks of `from`, from number `first` on: before number 0 there is nothing, and after `count` there is
/// `tail`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                 byte const* tail) noexcept {
    static constexpr byte nothing[poly1305_block_bytes] = {};
    byte const* at[poly_lane_count];
    std::uint64_t end[poly_lane_count];
    for (std::ptrdiff_t i = 0; i < poly_lane_count; ++i) {
        std::ptrdiff_t const block = first + i;
        at[i] = block < 0 ? nothing : block < count ? from + 16 * block : tail + 16 * (block - count);
        end[i] = block < 0 ? 0 : std::uint64_t{1} << 24;
    }
    limbs low, high;
    load_pairs(at, low, high);
    return split(low, high, in_lanes(end));
}

/// The sum of all lanes: low + 2^64 high. low < 2^64, high < 2^69.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^29
    uint128 const lower = (uint128{l2} << 52) + (l1 << 26) + l0;                 // < 2^82
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{sum_of(h.l4)} << 40) + (sum_of(h.l3) << 14) + static_cast<std::uint64_t>(lower >> 64);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in lanes: one text for all limbs. Text for a kernel's namespace that
// defines WG_TARGET, after poly1305_ifma.inl or poly1305_mul32.inl, which define WG_TARGET_AUTHENTICATOR.
//
// Block i of as many as there are lanes has a lane of its own; with h the sums of the lanes, n their count and R = r^n,
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3        for each four vectors m0..m3
//
// which takes one reduction for four vectors; in the end lane i is multiplied by r^(n - i), and all are added.

/// The multiplier of one message and its powers.
struct poly_powers {
    poly_factor last;               ///< r^n ... r for block 0 ... n - 1
    poly_factor by1, by2, by3, by4; ///< R, R^2, R^3, R^4; those after the first only if there are vectors for them

    /// `vectors` follow the first.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        constexpr int all = (1 << poly_lane_count) - 1, lower = (1 << poly_lane_count / 2) - 1;
        poly_lanes const lanes = powers_of_lanes(r), one = spread<0>(lanes);
        last = factor_of(lanes);
        by1 = factor_of(one);
        by2 = by1;
        asm("" : "=m"(by3), "=m"(by4)); // not read unless set below; g++ 12 cannot see that
        if (vectors < 2) return;
        poly_lanes const two = multiply(one, by1);
        by2 = factor_of(two);
        if (vectors < poly_merge_vectors) return;
        poly_lanes const more = multiply(choose<all & ~lower>(one, two), by2);
        by3 = factor_of(spread<0>(more));
        by4 = factor_of(spread<poly_lane_count - 1>(more));
    }
};

/// Authenticates a packet without further data while it is made: `start`, `absorb` as far as there is ciphertext,
/// `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = poly_least_bytes;
    static constexpr std::size_t stack_bytes = poly_stack_bytes;           ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = poly_tags_stack_bytes; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext, `least_bytes` or more.
    WG_TARGET_AUTHENTICATOR void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        static_assert(least_bytes > (lanes - 1) * std::ptrdiff_t{poly1305_block_bytes}); // so there are two vectors
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last are the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + lanes - 1) / lanes;
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - lanes * vectors; // blocks that are nothing fill up the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_merge_vectors;
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - lanes ? end : total_ - lanes);
    }

    WG_TARGET_AUTHENTICATOR void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - lanes;
        byte tail[2 * poly1305_block_bytes] = {};
        std::size_t const over = size_ % poly1305_block_bytes;
        std::memcpy(tail, message_ + (size_ - over), over);
        byte* const lengths = tail + (over != 0 ? poly1305_block_bytes : 0);
        store_le64(lengths + 8, size_);
        poly_lanes const end = load_blocks(message_, last, blocks_, tail);
        if (next_ <= 0) begin();
        if (has_many_) absorb_blocks(last);
        absorb_last(end, last);
        poly1305_state<limbs64> state;
        state.start(key);
        join(state, multiply(h_, powers_.last));
        state.finish(tag, key + poly1305_block_bytes);
    }

private:
    static constexpr std::ptrdiff_t lanes = poly_lane_count;
    static constexpr std::size_t vector_blocks_bytes = poly_lane_count * poly1305_block_bytes;

    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += lanes;
    }

    /// Four vectors at once, as many as end at or before `end`.
    WG_TARGET_AUTHENTICATOR void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 4 * lanes <= end; next_ += 4 * lanes) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 3 * vector_blocks_bytes));
            multiply_add(p, split_blocks(from + 2 * vector_blocks_bytes), powers_.by1);
            multiply_add(p, split_blocks(from + vector_blocks_bytes), powers_.by2);
            multiply_add(p, split_blocks(from), powers_.by3);
            multiply_add(p, h, powers_.by4);
            h = reduce(p);
        }
        h_ = h;
    }

    /// The vectors up to `last`, two at once, and then the last.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > lanes; left -= 2 * lanes, from += 2 * vector_blocks_bytes) {
            poly_products p = no_products();
            add(p, split_blocks(from + vector_blocks_bytes));
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
        } else {
            multiply_add(p, h, powers_.by1);
        }
        h_ = reduce(p);
    }

    /// The sum of all lanes, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t low;
        uint128 high;
        add_lanes(h, low, high);
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66); // for 2^130; < 2^5
        uint128 const folded = uint128{low} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole ones of the message; all
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed
    bool has_many_ = false;
};

WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}
#undef WG_TARGET_AUTHENTICATOR
#else
// SPDX-License-Identifier: BSL-1.0
// Poly1305 of a kernel that has nothing better than whole registers. Text for its namespace, after poly1305_scalar.inl.

using lanes_authenticator = scalar_authenticator;

WG_TARGET void make_tag(packet_tag& packet) noexcept { make_tag<scalar_authenticator>(packet); }
#endif
// SPDX-License-Identifier: BSL-1.0
// Poly1305 of many packets, one after the other. Text for a kernel's namespace, after its authenticators.

WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag(packet);
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet: one text for all instruction sets. Text for the namespace of
// a kernel that defines WG_TARGET and WG_TARGET_FUNCTION, the attributes of what is inlined and of what is called, and
// that has included keystream.inl and has authenticators.

template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// The tag is checked before a byte is decrypted. `Blocks` of keystream at most are made before that, and kept.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the one-time key comes first
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, std::min(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 of many packets: one text for all instruction sets. Text for a kernel's namespace, after
// keystream.inl and a `make_tags`.

/// Packets that are worked on at once; their secrets.
struct alignas(64) batch_secrets {
    packet_tag packets[batch_capacity];
    block_queue blocks;

    /// `opening`: the ciphertext is the source.
    WG_TARGET batch_secrets(std::span<aead_item> items, bool opening) noexcept : blocks(shared_key(items)) {
        static constexpr byte zeros[sizeof packet_tag::key] = {};
        for (std::size_t i = 0; i < items.size(); ++i) {
            packets[i].message = opening ? items[i].src.data() : items[i].dst.data();
            packets[i].size = opening ? items[i].dst.size() : items[i].src.size();
            blocks.add(items[i], 0, 1, {packets[i].key, zeros, sizeof zeros});
        }
    }

    static byte const* shared_key(std::span<aead_item> items) noexcept {
        for (aead_item const& item : items)
            if (item.key != items[0].key) return nullptr;
        return items[0].key->expose().data();
    }
};

/// At most `batch_capacity` packets.
WG_TARGET_FUNCTION void seal_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, false);
    for (aead_item const& item : items) secrets.blocks.add_message(item, item.src.size());
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(items[i].dst.data() + items[i].src.size(), secrets.packets[i].tag, tag_bytes);
}

/// Likewise. A packet is decrypted after its tag was found right.
WG_TARGET_FUNCTION void open_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, true);
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i) {
        aead_item& item = items[i];
        item.good = equal_in_constant_time(secrets.packets[i].tag, item.src.last(tag_bytes));
        if (item.good) secrets.blocks.add_message(item, item.dst.size());
    }
    secrets.blocks.flush();
    for (aead_item const& item : items)
        if (!item.good) fill_zero(item.dst);
}
namespace few = kernel_vector128;
// SPDX-License-Identifier: BSL-1.0
// How a kernel is used from outside. Text for a kernel's namespace, the last of its texts; `few` is the namespace that
// has what is best for packets of few blocks, and for those with further data.

WG_TARGET_FUNCTION void wipe_all_registers() noexcept { wipe_registers(); }

/// The functions of an AEAD over this instruction set. They leave nothing on the stack or in vector registers.
struct kernel {
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            few::seal_packet<few::scalar_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes>();
        } else {
            seal_packet<lanes_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + step_stack_bytes>();
        }
    }
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool genuine;
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            genuine = few::open_packet<few::scalar_authenticator, few::most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes + few::most_blocks * chacha20_block_bytes>();
        } else {
            genuine = open_packet<lanes_authenticator, most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + most_blocks * chacha20_block_bytes + step_stack_bytes>();
        }
        return genuine;
    }
    static void seal_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            seal_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item const& one : items)
            seal(one.dst.data(), one.src.data(), one.src.size(), {}, packet_nonce::of(one.counter),
                 one.key->expose().data());
    }
    static void open_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            open_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item& one : items) {
            one.good = open(one.dst.data(), one.src.data(), one.dst.size(), {}, packet_nonce::of(one.counter),
                            one.key->expose().data());
            if (!one.good) fill_zero(one.dst);
        }
    }

private:
    static constexpr std::size_t few_stack_bytes = few::scalar_authenticator::stack_bytes + few::step_stack_bytes;
    static constexpr std::size_t batch_stack_bytes =
        sizeof(batch_secrets) + std::max(lanes_authenticator::tags_stack_bytes, step_stack_bytes) + 2048;

    template <std::size_t Bytes> static void leave_nothing() noexcept {
        wipe_stack<Bytes>();
        wipe_all_registers();
    }
};
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_vector128

#endif

#ifdef WG_X86_KERNELS

namespace kernel_ssse3 {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_SSSE3]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_SSSE3]] inline
#define WG_SHUFFLES_BYTES
// SPDX-License-Identifier: BSL-1.0
// Vectors of four 32-bit words, for chacha20.inl. Text for a kernel's namespace. In GNU vector extensions: the same
// text becomes SSE2, NEON or AltiVec. A kernel with SSSE3 defines WG_SHUFFLES_BYTES.

using vector = std::uint32_t __attribute__((vector_size(16)));
using half_words = std::uint16_t __attribute__((vector_size(16)));
using octets = std::uint8_t __attribute__((vector_size(16)));
inline constexpr std::size_t vector_bytes = 16;
#ifdef __x86_64__
inline constexpr int vector_registers = 16;
#else
inline constexpr int vector_registers = 32;
#endif
inline constexpr std::size_t most_blocks = 4; ///< of a step
inline constexpr int batch_groups = 1;        ///< of lanes, in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< at most, of a step

template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
#if defined(__SSE2__) && !defined(__AVX512VL__)
    // no rotation of vectors there: a shuffle is less than two shifts and an or
#ifdef WG_SHUFFLES_BYTES
    if constexpr (Bits % 8 == 0) {
        constexpr octets order = Bits == 8 ? octets{3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14}
                                           : octets{2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13};
        x = (vector)_mm_shuffle_epi8((__m128i)x, (__m128i)order);
        return;
    }
#endif
    if constexpr (Bits == 16) {
        half_words const h = (half_words)x;
        x = (vector)__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6);
        return;
    }
#ifdef __SSSE3__
    if constexpr (Bits == 8) {
        octets const o = (octets)x;
        x = (vector)__builtin_shufflevector(o, o, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
        return;
    }
#endif
#endif
    x = (x << Bits) | (x >> (32 - Bits));
}
template <int By> WG_TARGET void turn(vector& x) noexcept {
    x = __builtin_shufflevector(x, x, By, (By + 1) % 4, (By + 2) % 4, (By + 3) % 4);
}

WG_TARGET vector broadcast(std::uint32_t word) noexcept { return vector{word, word, word, word}; }
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    vector x;
    std::memcpy(&x, four, sizeof x);
    return x;
}
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3}; }
/// The number of a row in its first word: there is one.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0}; }
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0}; }

WG_TARGET vector load(byte const* from) noexcept {
    vector x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
WG_TARGET void store(byte* to, vector const& x) noexcept { std::memcpy(to, &x, sizeof x); }

/// Words as the bytes that they are in memory, for which ChaCha20 has the little-endian order.
WG_TARGET vector in_memory_order(vector const& x) noexcept {
    if constexpr (std::endian::native == std::endian::little) return x;
    octets const o = (octets)x;
    return (vector)__builtin_shufflevector(o, o, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

/// Of four words in lanes, makes 16 bytes of each of four blocks. Hands those of block i over as `First + 4 i`.
template <int First, class To> WG_TARGET void put_four_words(vector const* x, To const& to) noexcept {
    vector const low01 = __builtin_shufflevector(x[0], x[1], 0, 4, 1, 5);
    vector const low23 = __builtin_shufflevector(x[2], x[3], 0, 4, 1, 5);
    vector const high01 = __builtin_shufflevector(x[0], x[1], 2, 6, 3, 7);
    vector const high23 = __builtin_shufflevector(x[2], x[3], 2, 6, 3, 7);
    to.template put<First>(in_memory_order(__builtin_shufflevector(low01, low23, 0, 1, 4, 5)));
    to.template put<First + 4>(in_memory_order(__builtin_shufflevector(low01, low23, 2, 3, 6, 7)));
    to.template put<First + 8>(in_memory_order(__builtin_shufflevector(high01, high23, 0, 1, 4, 5)));
    to.template put<First + 12>(in_memory_order(__builtin_shufflevector(high01, high23, 2, 3, 6, 7)));
}
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    put_four_words<First>(x, to);
    put_four_words<First + 1>(x + 4, to);
    put_four_words<First + 2>(x + 8, to);
    put_four_words<First + 3>(x + 12, to);
}
template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    to.template put<First>(in_memory_order(y[0]));
    to.template put<First + 1>(in_memory_order(y[1]));
    to.template put<First + 2>(in_memory_order(y[2]));
    to.template put<First + 3>(in_memory_order(y[3]));
}

/// dst = src ^ x, `size` bytes of it, less than a vector.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    for (std::size_t i = 0; i < size; ++i) dst[i] = static_cast<byte>(src[i] ^ keystream[i]);
    wipe(keystream);
}
/// Likewise, a whole vector if `size` is not less.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]] return store(dst, load(src) ^ x);
    xor_part(dst, src, x, size);
}

/// The word, in `count` lanes from `first` on.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word;
}
/// The same, one more in each next lane.
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word++;
}

/// Makes the next `blocks` blocks, or as many as one step can: `with.make<Lanes, Rows>()`. How many they are.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 2) return with.template make<1, 0>();
    if (blocks > 1) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

#ifdef WG_X86_KERNELS
// Of poly1305_mul32.inl: vectors of two pairs of words, of a block each.
using word_pairs = std::uint64_t __attribute__((vector_size(16)));

/// The products of the lower words.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return (word_pairs)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
/// The first or second pair of each block of a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 2);
}
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 2 : 0, Second & 2 ? 3 : 1);
}
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[2]) noexcept {
    return word_pairs{of_block[0], of_block[1]};
}
/// The first and second pair of each block.
WG_TARGET void load_pairs(byte const* const (&blocks)[2], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = (word_pairs)load(blocks[0]), b = (word_pairs)load(blocks[1]);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept { return x[0] + x[1]; }
#endif

/// Leaves nothing in vector registers.
WG_TARGET void wipe_registers() noexcept {
#if defined(__SSE2__) && defined(__x86_64__)
#define WG_ZERO(i) "pxor %%xmm" #i ", %%xmm" #i "\n\t"
    asm volatile(WG_ZERO(0) WG_ZERO(1) WG_ZERO(2) WG_ZERO(3) WG_ZERO(4) WG_ZERO(5) WG_ZERO(6) WG_ZERO(7) WG_ZERO(8)
                     WG_ZERO(9) WG_ZERO(10) WG_ZERO(11) WG_ZERO(12) WG_ZERO(13) WG_ZERO(14) WG_ZERO(15)
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15");
#undef WG_ZERO
#elif defined(__aarch64__)
#define WG_ZERO(i) "movi v" #i ".16b, #0\n\t"
    asm volatile(WG_ZERO(0) WG_ZERO(1) WG_ZERO(2) WG_ZERO(3) WG_ZERO(4) WG_ZERO(5) WG_ZERO(6) WG_ZERO(7) WG_ZERO(16)
                     WG_ZERO(17) WG_ZERO(18) WG_ZERO(19) WG_ZERO(20) WG_ZERO(21) WG_ZERO(22) WG_ZERO(23) WG_ZERO(24)
                         WG_ZERO(25) WG_ZERO(26) WG_ZERO(27) WG_ZERO(28) WG_ZERO(29) WG_ZERO(30) WG_ZERO(31)
                 :
                 :
                 : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20", "v21", "v22",
                   "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31"); // the others are the caller's
#undef WG_ZERO
#endif
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors: one text for all instruction sets. Text for the namespace of a kernel
// that defines WG_TARGET, the attributes of every function, and has included one of vector128.inl, vector256.inl and
// vector512.inl.
//
// Two layouts. In *lanes*, word i of as many blocks as a vector has words lies in vector i: no word has to move, and
// each lane may have a key of its own; but 16 vectors are at work, and have to be turned in the end. In *rows*, a
// vector holds one row of each of `row_blocks` blocks: good for few blocks, but words move twice in a double round.
// A step works on groups of both kinds at once: they are independent, so that one goes on where another has to wait.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;
inline constexpr std::size_t row_blocks = vector_bytes / 16;
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// Which vector holds a row's word in the quarter round of this column (or diagonal).
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns; row 2 is apart.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds where sixteen registers hold the lanes: too few for all, and compilers choose ill what is to wait
/// in memory. It is row 2, of which two vectors at a time are loaded.
WG_TARGET void permute_in_halves(vector (&x)[16]) noexcept {
    vector row2[4] = {x[8], x[9], x[10], x[11]};
    for (int i = 0; i < 10; ++i) {
        quarter_rounds_of_two<0, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<0, 2>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 2>(x, row2);
        asm("" : "+m"(row2));
    }
    x[8] = row2[0], x[9] = row2[1], x[10] = row2[2], x[11] = row2[3];
}

/// What a step works on: groups of `lane_blocks` and of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16];
    vector y[Rows > 0 ? Rows : 1][4];

    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    template <int B, int C, int D> WG_TARGET void turn_rows() noexcept {
        if constexpr (Rows > 0) turn<B>(y[0][1]), turn<C>(y[0][2]), turn<D>(y[0][3]);
        if constexpr (Rows > 1) turn<B>(y[1][1]), turn<C>(y[1][2]), turn<D>(y[1][3]);
        if constexpr (Rows > 2) turn<B>(y[2][1]), turn<C>(y[2][2]), turn<D>(y[2][3]);
    }
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only be more to load
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            turn_rows<1, 2, 3>();
            quarter_rounds<1>();
            turn_rows<3, 2, 1>();
        }
    }
};

/// The states of consecutive blocks of one key and nonce. 16 words, those of the first block.
struct consecutive_blocks {
    std::uint32_t const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The states of any blocks, each with a key and nonce of its own: 16 vectors for each group of lanes.
struct separate_blocks {
    vector const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept { return words[16 * Group + Word]; }
};

template <int Group, class States, std::size_t... Word>
WG_TARGET void load_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] = from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <int Group, class States, std::size_t... Word>
WG_TARGET void add_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] += from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <class States>
WG_TARGET void load_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] = from.template row<0>(0), y[1] = from.template row<1>(0), y[2] = from.template row<2>(0);
    y[3] = from.template row<3>(blocks_before);
}
template <class States>
WG_TARGET void add_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] += from.template row<0>(0), y[1] += from.template row<1>(0), y[2] += from.template row<2>(0);
    y[3] += from.template row<3>(blocks_before);
}

/// Makes the keystream of `Lanes` times `lane_blocks` and then `Rows` times `row_blocks` blocks.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks before the rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // of a group
    chacha20_groups<Lanes, Rows> g;
    if constexpr (Lanes > 0) load_lanes<0>(g.x[0], from, all);
    if constexpr (Lanes > 1) load_lanes<1>(g.x[1], from, all);
    if constexpr (Rows > 0) load_rows(g.y[0], from, before);
    if constexpr (Rows > 1) load_rows(g.y[1], from, before + row_blocks);
    if constexpr (Rows > 2) load_rows(g.y[2], from, before + 2 * row_blocks);
    g.permute();
    if constexpr (Lanes > 0) add_lanes<0>(g.x[0], from, all), put_lanes<0>(g.x[0], to);
    if constexpr (Lanes > 1) add_lanes<1>(g.x[1], from, all), put_lanes<lane_vectors>(g.x[1], to);
    constexpr int after = Lanes * lane_vectors;
    if constexpr (Rows > 0) add_rows(g.y[0], from, before), put_rows<after>(g.y[0], to);
    if constexpr (Rows > 1) add_rows(g.y[1], from, before + row_blocks), put_rows<after + row_vectors>(g.y[1], to);
    if constexpr (Rows > 2)
        add_rows(g.y[2], from, before + 2 * row_blocks), put_rows<after + 2 * row_vectors>(g.y[2], to);
}
// SPDX-License-Identifier: BSL-1.0
// Keystream, XORed into packets: one text for all instruction sets. Text for a kernel's namespace, after chacha20.inl.
//
// Of one packet: the first block is the one-time key and the message follows, so that one step makes both. Of many:
// blocks of all packets, the one-time keys among them, fill the lanes one after the other, so that no lane is idle but
// in the last step; which packet a lane serves matters only where its state is written and its keystream taken.

/// Keystream that is XORed into a message, after the one-time key if that is wanted.
struct to_message {
    byte* dst;
    byte const* src;
    std::size_t size;
    byte* one_time_key; ///< room for a block; nullptr: not in this step

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        std::size_t at = Number * vector_bytes;
        if (one_time_key != nullptr) {
            if constexpr (Number * vector_bytes < chacha20_block_bytes)
                return store(one_time_key + Number * vector_bytes, keystream);
            at -= chacha20_block_bytes;
        }
        if (at < size) xor_vector(dst + at, src + at, keystream, size - at);
    }
};

template <int Lanes, int Rows>
WG_TARGET_FUNCTION void make_keystream(std::uint32_t const* words, to_message const& to) noexcept {
    chacha20_step<Lanes, Rows>(consecutive_blocks{words}, to);
}

struct keystream_maker {
    std::uint32_t* words; ///< of the next block
    to_message const& to;

    template <int Lanes, int Rows> WG_TARGET std::size_t make() const noexcept {
        constexpr std::size_t made = Lanes * lane_blocks + Rows * row_blocks;
        make_keystream<Lanes, Rows>(words, to);
        words[12] += static_cast<std::uint32_t>(made);
        return made;
    }
};

/// The next `blocks` of a packet, or as many as one step makes; how many. Advances the counter.
WG_TARGET std::size_t make_keystream(std::uint32_t* words, std::size_t blocks, to_message const& to) noexcept {
    return take_step(keystream_maker{words, to}, blocks);
}

WG_TARGET void set_words(std::uint32_t* to, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                         std::uint32_t d) noexcept {
    std::uint32_t __attribute__((vector_size(16))) const words = {a, b, c, d};
    std::memcpy(to, &words, sizeof words);
}
WG_TARGET void copy_words(std::uint32_t* to, byte const* from) noexcept {
    set_words(to, load_le32(from), load_le32(from + 4), load_le32(from + 8), load_le32(from + 12));
}

/// What is secret of one packet and has to lie in memory.
struct alignas(64) packet_secrets {
    byte one_time_key[chacha20_block_bytes]; ///< its second half has no use
    std::uint32_t words[16];

    WG_TARGET packet_secrets(byte const* key, packet_nonce const& nonce) noexcept {
        // in pieces of the size in which they are read again: other stores could not be forwarded to the loads
        set_words(words, 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574); // "expand 32-byte k"
        copy_words(words + 4, key);
        copy_words(words + 8, key + 16);
        set_words(words + 12, 0, nonce.words[0], nonce.words[1], nonce.words[2]);
    }
};

/// Blocks of keystream that a message takes, with the one-time key.
constexpr std::size_t blocks_of(std::size_t size) noexcept {
    return 1 + (size + chacha20_block_bytes - 1) / chacha20_block_bytes;
}

/// Where the keystream of a lane goes: dst = src ^ keystream, at most a block.
struct lane_target {
    byte* dst;
    byte const* src;
    std::size_t size;
};

struct to_lanes {
    lane_target const* lanes;

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        constexpr std::size_t block = Number / block_vectors, at = Number % block_vectors * vector_bytes;
        lane_target const& to = lanes[block];
        if (at < to.size) xor_vector(to.dst + at, to.src + at, keystream, to.size - at);
    }
};

template <int Lanes> WG_TARGET_FUNCTION void make_lanes(vector const* words, lane_target const* to) noexcept {
    chacha20_step<Lanes, 0>(separate_blocks{words}, to_lanes{to});
}

/// Collects blocks until there are enough for a step.
class block_queue {
public:
    static constexpr std::size_t capacity = batch_groups * lane_blocks;

    /// `shared_key`: that of all blocks; nullptr: each has its own.
    WG_TARGET explicit block_queue(byte const* shared_key) noexcept : shared_(shared_key != nullptr) {
        constexpr std::uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
        for (std::size_t group = 0; group < 16 * batch_groups; group += 16) {
            for (std::size_t i = 0; i < 4; ++i) words_[group + i] = broadcast(sigma[i]);
            if (shared_)
                for (std::size_t i = 0; i < 8; ++i) words_[group + 4 + i] = broadcast(load_le32(shared_key + 4 * i));
            words_[group + 13] = broadcast(0);
        }
    }

    /// `count` blocks of the packet with this key and counter, from number `block` on.
    WG_TARGET void add(aead_item const& packet, std::uint32_t block, std::size_t count, lane_target to) noexcept {
        while (count != 0) {
            std::size_t const group = count_ / lane_blocks, place = count_ % lane_blocks;
            std::size_t const now = std::min(count, lane_blocks - place);
            vector* const words = words_ + 16 * group;
            if (!shared_)
                for (std::size_t i = 0; i < 8; ++i)
                    set_lanes(words[4 + i], place, now, load_le32(packet.key->expose().data() + 4 * i));
            count_lanes(words[12], place, now, block);
            set_lanes(words[14], place, now, static_cast<std::uint32_t>(packet.counter));
            set_lanes(words[15], place, now, static_cast<std::uint32_t>(packet.counter >> 32));
            for (std::size_t i = count_; i < count_ + now; ++i) {
                targets_[i] = to;
                to.dst += chacha20_block_bytes, to.src += chacha20_block_bytes, to.size -= chacha20_block_bytes;
            }
            block += static_cast<std::uint32_t>(now), count -= now, count_ += now;
            if (count_ == capacity) flush();
        }
    }

    /// The message itself.
    WG_TARGET void add_message(aead_item const& packet, std::size_t size) noexcept {
        add(packet, 1, blocks_of(size) - 1, {packet.dst.data(), packet.src.data(), size});
    }

    /// Makes the keystream of all blocks that were added.
    WG_TARGET void flush() noexcept {
        if (count_ == 0) return;
        for (std::size_t lane = count_; lane < capacity; ++lane) targets_[lane] = {nullptr, nullptr, 0};
        if (count_ <= lane_blocks)
            make_lanes<1>(words_, targets_);
        else
            make_lanes<batch_groups>(words_, targets_);
        count_ = 0;
    }

private:
    vector words_[16 * batch_groups];
    lane_target targets_[capacity];
    std::size_t count_ = 0;
    bool shared_;
};
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in whole registers. Text for a kernel's namespace that defines
// WG_TARGET.

/// Authenticates a packet while it is made: `start`, `absorb` as far as there is ciphertext, `finish`.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;    ///< any packet
    static constexpr std::size_t stack_bytes = 640;  ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 640; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0;
};

template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in two, four or eight lanes with products of 32-bit words. Text for a kernel's
// namespace that defines WG_TARGET, after vector128.inl, vector256.inl or vector512.inl.
//
// A field element is five limbs of 26 bits, so that many products can be added up in 64 bits before a reduction. What
// is made of this: poly1305_lanes.inl.

using limbs = word_pairs;
inline constexpr int poly_lane_count = sizeof(limbs) / sizeof(std::uint64_t);
inline constexpr std::size_t poly_merge_vectors = 16; ///< from so many on four at once pay for two more powers
/// From which on lanes are faster than words.
inline constexpr std::size_t poly_least_bytes = poly_lane_count == 2 ? 512 : 272;
inline constexpr std::size_t poly_stack_bytes = 3392; ///< of a function that seals with this
inline constexpr std::size_t poly_tags_stack_bytes = 3392; ///< of `make_tags`
#define WG_TARGET_AUTHENTICATOR WG_TARGET_FUNCTION // too large to be compiled into each of its users

WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x) noexcept { return x & ((std::uint64_t{1} << 26) - 1); }

/// A field element in each lane. *Tight*: all < 2^26 but l1 < 2^26 + 2^11 and l4 < 2^26 + 2^10.
struct poly_lanes {
    limbs l0, l1, l2, l3, l4;
};

/// A multiplier: tight, and its upper limbs times 5, which is 2^130 modulo 2^130 - 5; < 2^28.4.
struct poly_factor {
    limbs r0, r1, r2, r3, r4, s1, s2, s3, s4;
};

/// Sums of products for 2^(26 i).
struct poly_products {
    limbs d0, d1, d2, d3, d4;
};

/// Keeps the order of sums as it is written: g++ would compute many products before it adds them, and spill them.
WG_TARGET void add_up(poly_products& p) noexcept {
    asm("" : "+v"(p.d0), "+v"(p.d1), "+v"(p.d2), "+v"(p.d3), "+v"(p.d4));
}

/// p += a * r, which is five products of < 2^54.5 in each sum. At most four times before a reduction, with a tight or
/// a block.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 += multiply_words(a.l0, r.r0), p.d1 += multiply_words(a.l0, r.r1), p.d2 += multiply_words(a.l0, r.r2);
    p.d3 += multiply_words(a.l0, r.r3), p.d4 += multiply_words(a.l0, r.r4);
    add_up(p);
    p.d0 += multiply_words(a.l1, r.s4), p.d1 += multiply_words(a.l1, r.r0), p.d2 += multiply_words(a.l1, r.r1);
    p.d3 += multiply_words(a.l1, r.r2), p.d4 += multiply_words(a.l1, r.r3);
    add_up(p);
    p.d0 += multiply_words(a.l2, r.s3), p.d1 += multiply_words(a.l2, r.s4), p.d2 += multiply_words(a.l2, r.r0);
    p.d3 += multiply_words(a.l2, r.r1), p.d4 += multiply_words(a.l2, r.r2);
    add_up(p);
    p.d0 += multiply_words(a.l3, r.s2), p.d1 += multiply_words(a.l3, r.s3), p.d2 += multiply_words(a.l3, r.s4);
    p.d3 += multiply_words(a.l3, r.r0), p.d4 += multiply_words(a.l3, r.r1);
    add_up(p);
    p.d0 += multiply_words(a.l4, r.s1), p.d1 += multiply_words(a.l4, r.s2), p.d2 += multiply_words(a.l4, r.s3);
    p.d3 += multiply_words(a.l4, r.s4), p.d4 += multiply_words(a.l4, r.r0);
    add_up(p);
}

/// p modulo 2^130 - 5, tight. Before: each < 2^60.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    // two chains at once: from d0 and from d3
    limbs const d1 = p.d1 + (p.d0 >> 26), d4 = p.d4 + (p.d3 >> 26); // < 2^60 + 2^34
    limbs const d2 = p.d2 + (d1 >> 26), top = d4 >> 26;             // < 2^60 + 2^35; for 2^130, < 2^35
    limbs const l0 = low_bits(p.d0) + top + (top << 2);             // < 2^37.4
    limbs const d3 = low_bits(p.d3) + (d2 >> 26);                   // < 2^35
    poly_lanes h = {low_bits(l0), low_bits(d1) + (l0 >> 26), low_bits(d2), low_bits(d3), low_bits(d4) + (d3 >> 26)};
    // clang drops the cut to 32 bits before a product, for it can see that all are shorter, and forgets it then
    asm("" : "+v"(h.l0), "+v"(h.l1), "+v"(h.l2), "+v"(h.l3), "+v"(h.l4));
    return h;
}

WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero};
}

WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

WG_TARGET limbs times_five(limbs const& x) noexcept { return x + (x << 2); }
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0,           r.l1, r.l2, r.l3, r.l4, times_five(r.l1), times_five(r.l2), times_five(r.l3),
            times_five(r.l4)};
}

/// Blocks as their low and high words, and the end bit 2^128 where there is a block.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    return {low_bits(low), low_bits(low >> 26), low_bits((low >> 52) | (high << 12)), low_bits(high >> 14),
            (high >> 40) | end};
}
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 24); }
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs const a = (limbs)load(from), b = (limbs)load(from + vector_bytes);
    return split(pairs_of<0>(a, b), pairs_of<1>(a, b), end_bits());
}

WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept {
    p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2, p.d3 += m.l3, p.d4 += m.l4;
}

/// One lane in all lanes.
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2), spread<Lane>(a.l3), spread<Lane>(a.l4)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2),
            choose<Second>(a.l3, b.l3), choose<Second>(a.l4, b.l4)};
}

/// r as it comes out of the key, clamped.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^n ... r for blocks 0 ... n - 1.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    poly_lanes const r2 = multiply(r, factor_of(r));
    if constexpr (poly_lane_count == 2) {
        return choose<2>(r2, r);
    } else if constexpr (poly_lane_count == 4) {
        poly_lanes const upper = multiply(choose<4>(r2, r), factor_of(r2)); // exponents of the lanes: 4 4 3 4
        return choose<8>(choose<2>(upper, r2), r);                          // 4 2 3 1
    } else {
        poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
        poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
        poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
        return choose<0xaa>(eight, four);                                      // 8 4 7 3 6 2 5 1
    }
}

/// A vector of blocks of `from`, from number `first` on: before number 0 there is nothing, and after `count` there is
/// `tail`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                 byte const* tail) noexcept {
    static constexpr byte nothing[poly1305_block_bytes] = {};
    byte const* at[poly_lane_count];
    std::uint64_t end[poly_lane_count];
    for (std::ptrdiff_t i = 0; i < poly_lane_count; ++i) {
        std::ptrdiff_t const block = first + i;
        at[i] = block < 0 ? nothing : block < count ? from + 16 * block : tail + 16 * (block - count);
        end[i] = block < 0 ? 0 : std::uint64_t{1} << 24;
    }
    limbs low, high;
    load_pairs(at, low, high);
    return split(low, high, in_lanes(end));
}

/// The sum of all lanes: low + 2^64 high. low < 2^64, high < 2^69.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^29
    uint128 const lower = (uint128{l2} << 52) + (l1 << 26) + l0;                 // < 2^82
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{sum_of(h.l4)} << 40) + (sum_of(h.l3) << 14) + static_cast<std::uint64_t>(lower >> 64);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in lanes: one text for all limbs. Text for a kernel's namespace that
// defines WG_TARGET, after poly1305_ifma.inl or poly1305_mul32.inl, which define WG_TARGET_AUTHENTICATOR.
//
// Block i of as many as there are lanes has a lane of its own; with h the sums of the lanes, n their count and R = r^n,
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3        for each four vectors m0..m3
//
// which takes one reduction for four vectors; in the end lane i is multiplied by r^(n - i), and all are added.

/// The multiplier of one message and its powers.
struct poly_powers {
    poly_factor last;               ///< r^n ... r for block 0 ... n - 1
    poly_factor by1, by2, by3, by4; ///< R, R^2, R^3, R^4; those after the first only if there are vectors for them

    /// `vectors` follow the first.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        constexpr int all = (1 << poly_lane_count) - 1, lower = (1 << poly_lane_count / 2) - 1;
        poly_lanes const lanes = powers_of_lanes(r), one = spread<0>(lanes);
        last = factor_of(lanes);
        by1 = factor_of(one);
        by2 = by1;
        asm("" : "=m"(by3), "=m"(by4)); // not read unless set below; g++ 12 cannot see that
        if (vectors < 2) return;
        poly_lanes const two = multiply(one, by1);
        by2 = factor_of(two);
        if (vectors < poly_merge_vectors) return;
        poly_lanes const more = multiply(choose<all & ~lower>(one, two), by2);
        by3 = factor_of(spread<0>(more));
        by4 = factor_of(spread<poly_lane_count - 1>(more));
    }
};

/// Authenticates a packet without further data while it is made: `start`, `absorb` as far as there is ciphertext,
/// `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = poly_least_bytes;
    static constexpr std::size_t stack_bytes = poly_stack_bytes;           ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = poly_tags_stack_bytes; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext, `least_bytes` or more.
    WG_TARGET_AUTHENTICATOR void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        static_assert(least_bytes > (lanes - 1) * std::ptrdiff_t{poly1305_block_bytes}); // so there are two vectors
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last are the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + lanes - 1) / lanes;
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - lanes * vectors; // blocks that are nothing fill up the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_merge_vectors;
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - lanes ? end : total_ - lanes);
    }

    WG_TARGET_AUTHENTICATOR void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - lanes;
        byte tail[2 * poly1305_block_bytes] = {};
        std::size_t const over = size_ % poly1305_block_bytes;
        std::memcpy(tail, message_ + (size_ - over), over);
        byte* const lengths = tail + (over != 0 ? poly1305_block_bytes : 0);
        store_le64(lengths + 8, size_);
        poly_lanes const end = load_blocks(message_, last, blocks_, tail);
        if (next_ <= 0) begin();
        if (has_many_) absorb_blocks(last);
        absorb_last(end, last);
        poly1305_state<limbs64> state;
        state.start(key);
        join(state, multiply(h_, powers_.last));
        state.finish(tag, key + poly1305_block_bytes);
    }

private:
    static constexpr std::ptrdiff_t lanes = poly_lane_count;
    static constexpr std::size_t vector_blocks_bytes = poly_lane_count * poly1305_block_bytes;

    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += lanes;
    }

    /// Four vectors at once, as many as end at or before `end`.
    WG_TARGET_AUTHENTICATOR void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 4 * lanes <= end; next_ += 4 * lanes) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 3 * vector_blocks_bytes));
            multiply_add(p, split_blocks(from + 2 * vector_blocks_bytes), powers_.by1);
            multiply_add(p, split_blocks(from + vector_blocks_bytes), powers_.by2);
            multiply_add(p, split_blocks(from), powers_.by3);
            multiply_add(p, h, powers_.by4);
            h = reduce(p);
        }
        h_ = h;
    }

    /// The vectors up to `last`, two at once, and then the last.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > lanes; left -= 2 * lanes, from += 2 * vector_blocks_bytes) {
            poly_products p = no_products();
            add(p, split_blocks(from + vector_blocks_bytes));
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
        } else {
            multiply_add(p, h, powers_.by1);
        }
        h_ = reduce(p);
    }

    /// The sum of all lanes, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t low;
        uint128 high;
        add_lanes(h, low, high);
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66); // for 2^130; < 2^5
        uint128 const folded = uint128{low} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole ones of the message; all
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed
    bool has_many_ = false;
};

WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}
#undef WG_TARGET_AUTHENTICATOR
// SPDX-License-Identifier: BSL-1.0
// Poly1305 of many packets, one after the other. Text for a kernel's namespace, after its authenticators.

WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag(packet);
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet: one text for all instruction sets. Text for the namespace of
// a kernel that defines WG_TARGET and WG_TARGET_FUNCTION, the attributes of what is inlined and of what is called, and
// that has included keystream.inl and has authenticators.

template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// The tag is checked before a byte is decrypted. `Blocks` of keystream at most are made before that, and kept.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the one-time key comes first
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, std::min(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 of many packets: one text for all instruction sets. Text for a kernel's namespace, after
// keystream.inl and a `make_tags`.

/// Packets that are worked on at once; their secrets.
struct alignas(64) batch_secrets {
    packet_tag packets[batch_capacity];
    block_queue blocks;

    /// `opening`: the ciphertext is the source.
    WG_TARGET batch_secrets(std::span<aead_item> items, bool opening) noexcept : blocks(shared_key(items)) {
        static constexpr byte zeros[sizeof packet_tag::key] = {};
        for (std::size_t i = 0; i < items.size(); ++i) {
            packets[i].message = opening ? items[i].src.data() : items[i].dst.data();
            packets[i].size = opening ? items[i].dst.size() : items[i].src.size();
            blocks.add(items[i], 0, 1, {packets[i].key, zeros, sizeof zeros});
        }
    }

    static byte const* shared_key(std::span<aead_item> items) noexcept {
        for (aead_item const& item : items)
            if (item.key != items[0].key) return nullptr;
        return items[0].key->expose().data();
    }
};

/// At most `batch_capacity` packets.
WG_TARGET_FUNCTION void seal_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, false);
    for (aead_item const& item : items) secrets.blocks.add_message(item, item.src.size());
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(items[i].dst.data() + items[i].src.size(), secrets.packets[i].tag, tag_bytes);
}

/// Likewise. A packet is decrypted after its tag was found right.
WG_TARGET_FUNCTION void open_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, true);
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i) {
        aead_item& item = items[i];
        item.good = equal_in_constant_time(secrets.packets[i].tag, item.src.last(tag_bytes));
        if (item.good) secrets.blocks.add_message(item, item.dst.size());
    }
    secrets.blocks.flush();
    for (aead_item const& item : items)
        if (!item.good) fill_zero(item.dst);
}
namespace few = kernel_ssse3;
// SPDX-License-Identifier: BSL-1.0
// How a kernel is used from outside. Text for a kernel's namespace, the last of its texts; `few` is the namespace that
// has what is best for packets of few blocks, and for those with further data.

WG_TARGET_FUNCTION void wipe_all_registers() noexcept { wipe_registers(); }

/// The functions of an AEAD over this instruction set. They leave nothing on the stack or in vector registers.
struct kernel {
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            few::seal_packet<few::scalar_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes>();
        } else {
            seal_packet<lanes_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + step_stack_bytes>();
        }
    }
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool genuine;
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            genuine = few::open_packet<few::scalar_authenticator, few::most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes + few::most_blocks * chacha20_block_bytes>();
        } else {
            genuine = open_packet<lanes_authenticator, most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + most_blocks * chacha20_block_bytes + step_stack_bytes>();
        }
        return genuine;
    }
    static void seal_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            seal_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item const& one : items)
            seal(one.dst.data(), one.src.data(), one.src.size(), {}, packet_nonce::of(one.counter),
                 one.key->expose().data());
    }
    static void open_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            open_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item& one : items) {
            one.good = open(one.dst.data(), one.src.data(), one.dst.size(), {}, packet_nonce::of(one.counter),
                            one.key->expose().data());
            if (!one.good) fill_zero(one.dst);
        }
    }

private:
    static constexpr std::size_t few_stack_bytes = few::scalar_authenticator::stack_bytes + few::step_stack_bytes;
    static constexpr std::size_t batch_stack_bytes =
        sizeof(batch_secrets) + std::max(lanes_authenticator::tags_stack_bytes, step_stack_bytes) + 2048;

    template <std::size_t Bytes> static void leave_nothing() noexcept {
        wipe_stack<Bytes>();
        wipe_all_registers();
    }
};
#undef WG_SHUFFLES_BYTES
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_ssse3

namespace kernel_avx2 {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_AVX2]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_AVX2]] inline
// SPDX-License-Identifier: BSL-1.0
// Vectors of eight 32-bit words, for chacha20.inl. Text for the namespace of a kernel that has AVX2. One with
// AVX-512VL, which rotates vectors, defines WG_ROTATES.

using vector = std::uint32_t __attribute__((vector_size(32)));
inline constexpr std::size_t vector_bytes = 32;
#ifdef WG_ROTATES
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_registers = 16;
#endif
inline constexpr std::size_t most_blocks = 8; ///< of a step
inline constexpr int batch_groups = 1;        ///< of lanes, in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< at most, of a step

#ifdef WG_ROTATES
template <int Bits> WG_TARGET void rotate(vector& x) noexcept { x = (x << Bits) | (x >> (32 - Bits)); }
#else
template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
    // a shuffle of bytes is less than two shifts and an or
    if constexpr (Bits == 16) {
        __m256i const order = _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7,
                                               4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        x = (vector)_mm256_shuffle_epi8((__m256i)x, order);
    } else if constexpr (Bits == 8) {
        __m256i const order = _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4,
                                               5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
        x = (vector)_mm256_shuffle_epi8((__m256i)x, order);
    } else {
        x = (x << Bits) | (x >> (32 - Bits));
    }
}
#endif
template <int By> WG_TARGET void turn(vector& x) noexcept {
    x = (vector)_mm256_shuffle_epi32((__m256i)x, By | (By + 1) % 4 << 2 | (By + 2) % 4 << 4 | (By + 3) % 4 << 6);
}

WG_TARGET vector broadcast(std::uint32_t word) noexcept {
    return (vector)_mm256_set1_epi32(static_cast<int>(word));
}
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    return (vector)_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<__m128i const*>(four)));
}
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3, 4, 5, 6, 7}; }
/// The number of a row in its first word, zero in the others.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0, 1, 0, 0, 0}; }
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0, n, 0, 0, 0}; }

WG_TARGET vector load(byte const* from) noexcept {
    return (vector)_mm256_loadu_si256(reinterpret_cast<__m256i const*>(from));
}
WG_TARGET void store(byte* to, vector const& x) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)x);
}

/// Half i of a and b is vector `First + i * Step` of the keystream.
template <int First, int Step, class To>
WG_TARGET void put_halves(vector const& a, vector const& b, To const& to) noexcept {
    to.template put<First>((vector)_mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x20));
    to.template put<First + Step>((vector)_mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x31));
}

/// Of four words in lanes, makes four vectors with 16 bytes of a block in each half: blocks i and i + 4.
WG_TARGET void gather_words(vector* x) noexcept {
    __m256i const low01 = _mm256_unpacklo_epi32((__m256i)x[0], (__m256i)x[1]);
    __m256i const low23 = _mm256_unpacklo_epi32((__m256i)x[2], (__m256i)x[3]);
    __m256i const high01 = _mm256_unpackhi_epi32((__m256i)x[0], (__m256i)x[1]);
    __m256i const high23 = _mm256_unpackhi_epi32((__m256i)x[2], (__m256i)x[3]);
    x[0] = (vector)_mm256_unpacklo_epi64(low01, low23);
    x[1] = (vector)_mm256_unpackhi_epi64(low01, low23);
    x[2] = (vector)_mm256_unpacklo_epi64(high01, high23);
    x[3] = (vector)_mm256_unpackhi_epi64(high01, high23);
}

template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    put_halves<First, 2>(y[0], y[1], to);
    put_halves<First + 1, 2>(y[2], y[3], to);
}
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    gather_words(x), gather_words(x + 4), gather_words(x + 8), gather_words(x + 12);
    put_halves<First, 8>(x[0], x[4], to), put_halves<First + 1, 8>(x[8], x[12], to);
    put_halves<First + 2, 8>(x[1], x[5], to), put_halves<First + 3, 8>(x[9], x[13], to);
    put_halves<First + 4, 8>(x[2], x[6], to), put_halves<First + 5, 8>(x[10], x[14], to);
    put_halves<First + 6, 8>(x[3], x[7], to), put_halves<First + 7, 8>(x[11], x[15], to);
}

/// dst = src ^ x, `size` bytes of it, less than a vector.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    chacha20_detail::xor_bytes(dst, src, keystream, size);
    wipe(keystream);
}
/// Likewise, a whole vector if `size` is not less.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]] return store(dst, load(src) ^ x);
    xor_part(dst, src, x, size);
}

/// The word, in `count` lanes from `first` on.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word;
}
/// The same, one more in each next lane.
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word++;
}

/// Makes the next `blocks` blocks, or as many as one step can: `with.make<Lanes, Rows>()`. How many they are.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 6) return with.template make<1, 0>();
    if (blocks > 4) return with.template make<0, 3>();
    if (blocks > 2) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

// Of poly1305_mul32.inl: vectors of four pairs of words; block 0, 1, 2, 3 is in lane 0, 2, 1, 3.
using word_pairs = std::uint64_t __attribute__((vector_size(32)));

/// The products of the lower words.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return (word_pairs)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
/// The first or second pair of each block of a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 4, Pair + 2, Pair + 6);
}
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 4 : 0, Second & 2 ? 5 : 1, Second & 4 ? 6 : 2,
                                   Second & 8 ? 7 : 3);
}
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[4]) noexcept {
    return word_pairs{of_block[0], of_block[2], of_block[1], of_block[3]};
}
WG_TARGET word_pairs load_two(byte const* first, byte const* second) noexcept {
    __m128i const a = _mm_loadu_si128(reinterpret_cast<__m128i const*>(first));
    __m128i const b = _mm_loadu_si128(reinterpret_cast<__m128i const*>(second));
    return (word_pairs)_mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}
/// The first and second pair of each block.
WG_TARGET void load_pairs(byte const* const (&blocks)[4], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = load_two(blocks[0], blocks[1]), b = load_two(blocks[2], blocks[3]);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept {
    auto const two = __builtin_shufflevector(x, x, 0, 1) + __builtin_shufflevector(x, x, 2, 3);
    return two[0] + two[1];
}

/// Leaves nothing in vector registers.
WG_TARGET void wipe_registers() noexcept {
    asm volatile("vzeroall"
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15");
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors: one text for all instruction sets. Text for the namespace of a kernel
// that defines WG_TARGET, the attributes of every function, and has included one of vector128.inl, vector256.inl and
// vector512.inl.
//
// Two layouts. In *lanes*, word i of as many blocks as a vector has words lies in vector i: no word has to move, and
// each lane may have a key of its own; but 16 vectors are at work, and have to be turned in the end. In *rows*, a
// vector holds one row of each of `row_blocks` blocks: good for few blocks, but words move twice in a double round.
// A step works on groups of both kinds at once: they are independent, so that one goes on where another has to wait.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;
inline constexpr std::size_t row_blocks = vector_bytes / 16;
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// Which vector holds a row's word in the quarter round of this column (or diagonal).
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns; row 2 is apart.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds where sixteen registers hold the lanes: too few for all, and compilers choose ill what is to wait
/// in memory. It is row 2, of which two vectors at a time are loaded.
WG_TARGET void permute_in_halves(vector (&x)[16]) noexcept {
    vector row2[4] = {x[8], x[9], x[10], x[11]};
    for (int i = 0; i < 10; ++i) {
        quarter_rounds_of_two<0, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<0, 2>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 2>(x, row2);
        asm("" : "+m"(row2));
    }
    x[8] = row2[0], x[9] = row2[1], x[10] = row2[2], x[11] = row2[3];
}

/// What a step works on: groups of `lane_blocks` and of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16];
    vector y[Rows > 0 ? Rows : 1][4];

    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    template <int B, int C, int D> WG_TARGET void turn_rows() noexcept {
        if constexpr (Rows > 0) turn<B>(y[0][1]), turn<C>(y[0][2]), turn<D>(y[0][3]);
        if constexpr (Rows > 1) turn<B>(y[1][1]), turn<C>(y[1][2]), turn<D>(y[1][3]);
        if constexpr (Rows > 2) turn<B>(y[2][1]), turn<C>(y[2][2]), turn<D>(y[2][3]);
    }
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only be more to load
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            turn_rows<1, 2, 3>();
            quarter_rounds<1>();
            turn_rows<3, 2, 1>();
        }
    }
};

/// The states of consecutive blocks of one key and nonce. 16 words, those of the first block.
struct consecutive_blocks {
    std::uint32_t const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The states of any blocks, each with a key and nonce of its own: 16 vectors for each group of lanes.
struct separate_blocks {
    vector const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept { return words[16 * Group + Word]; }
};

template <int Group, class States, std::size_t... Word>
WG_TARGET void load_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] = from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <int Group, class States, std::size_t... Word>
WG_TARGET void add_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] += from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <class States>
WG_TARGET void load_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] = from.template row<0>(0), y[1] = from.template row<1>(0), y[2] = from.template row<2>(0);
    y[3] = from.template row<3>(blocks_before);
}
template <class States>
WG_TARGET void add_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] += from.template row<0>(0), y[1] += from.template row<1>(0), y[2] += from.template row<2>(0);
    y[3] += from.template row<3>(blocks_before);
}

/// Makes the keystream of `Lanes` times `lane_blocks` and then `Rows` times `row_blocks` blocks.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks before the rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // of a group
    chacha20_groups<Lanes, Rows> g;
    if constexpr (Lanes > 0) load_lanes<0>(g.x[0], from, all);
    if constexpr (Lanes > 1) load_lanes<1>(g.x[1], from, all);
    if constexpr (Rows > 0) load_rows(g.y[0], from, before);
    if constexpr (Rows > 1) load_rows(g.y[1], from, before + row_blocks);
    if constexpr (Rows > 2) load_rows(g.y[2], from, before + 2 * row_blocks);
    g.permute();
    if constexpr (Lanes > 0) add_lanes<0>(g.x[0], from, all), put_lanes<0>(g.x[0], to);
    if constexpr (Lanes > 1) add_lanes<1>(g.x[1], from, all), put_lanes<lane_vectors>(g.x[1], to);
    constexpr int after = Lanes * lane_vectors;
    if constexpr (Rows > 0) add_rows(g.y[0], from, before), put_rows<after>(g.y[0], to);
    if constexpr (Rows > 1) add_rows(g.y[1], from, before + row_blocks), put_rows<after + row_vectors>(g.y[1], to);
    if constexpr (Rows > 2)
        add_rows(g.y[2], from, before + 2 * row_blocks), put_rows<after + 2 * row_vectors>(g.y[2], to);
}
// SPDX-License-Identifier: BSL-1.0
// Keystream, XORed into packets: one text for all instruction sets. Text for a kernel's namespace, after chacha20.inl.
//
// Of one packet: the first block is the one-time key and the message follows, so that one step makes both. Of many:
// blocks of all packets, the one-time keys among them, fill the lanes one after the other, so that no lane is idle but
// in the last step; which packet a lane serves matters only where its state is written and its keystream taken.

/// Keystream that is XORed into a message, after the one-time key if that is wanted.
struct to_message {
    byte* dst;
    byte const* src;
    std::size_t size;
    byte* one_time_key; ///< room for a block; nullptr: not in this step

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        std::size_t at = Number * vector_bytes;
        if (one_time_key != nullptr) {
            if constexpr (Number * vector_bytes < chacha20_block_bytes)
                return store(one_time_key + Number * vector_bytes, keystream);
            at -= chacha20_block_bytes;
        }
        if (at < size) xor_vector(dst + at, src + at, keystream, size - at);
    }
};

template <int Lanes, int Rows>
WG_TARGET_FUNCTION void make_keystream(std::uint32_t const* words, to_message const& to) noexcept {
    chacha20_step<Lanes, Rows>(consecutive_blocks{words}, to);
}

struct keystream_maker {
    std::uint32_t* words; ///< of the next block
    to_message const& to;

    template <int Lanes, int Rows> WG_TARGET std::size_t make() const noexcept {
        constexpr std::size_t made = Lanes * lane_blocks + Rows * row_blocks;
        make_keystream<Lanes, Rows>(words, to);
        words[12] += static_cast<std::uint32_t>(made);
        return made;
    }
};

/// The next `blocks` of a packet, or as many as one step makes; how many. Advances the counter.
WG_TARGET std::size_t make_keystream(std::uint32_t* words, std::size_t blocks, to_message const& to) noexcept {
    return take_step(keystream_maker{words, to}, blocks);
}

WG_TARGET void set_words(std::uint32_t* to, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                         std::uint32_t d) noexcept {
    std::uint32_t __attribute__((vector_size(16))) const words = {a, b, c, d};
    std::memcpy(to, &words, sizeof words);
}
WG_TARGET void copy_words(std::uint32_t* to, byte const* from) noexcept {
    set_words(to, load_le32(from), load_le32(from + 4), load_le32(from + 8), load_le32(from + 12));
}

/// What is secret of one packet and has to lie in memory.
struct alignas(64) packet_secrets {
    byte one_time_key[chacha20_block_bytes]; ///< its second half has no use
    std::uint32_t words[16];

    WG_TARGET packet_secrets(byte const* key, packet_nonce const& nonce) noexcept {
        // in pieces of the size in which they are read again: other stores could not be forwarded to the loads
        set_words(words, 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574); // "expand 32-byte k"
        copy_words(words + 4, key);
        copy_words(words + 8, key + 16);
        set_words(words + 12, 0, nonce.words[0], nonce.words[1], nonce.words[2]);
    }
};

/// Blocks of keystream that a message takes, with the one-time key.
constexpr std::size_t blocks_of(std::size_t size) noexcept {
    return 1 + (size + chacha20_block_bytes - 1) / chacha20_block_bytes;
}

/// Where the keystream of a lane goes: dst = src ^ keystream, at most a block.
struct lane_target {
    byte* dst;
    byte const* src;
    std::size_t size;
};

struct to_lanes {
    lane_target const* lanes;

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        constexpr std::size_t block = Number / block_vectors, at = Number % block_vectors * vector_bytes;
        lane_target const& to = lanes[block];
        if (at < to.size) xor_vector(to.dst + at, to.src + at, keystream, to.size - at);
    }
};

template <int Lanes> WG_TARGET_FUNCTION void make_lanes(vector const* words, lane_target const* to) noexcept {
    chacha20_step<Lanes, 0>(separate_blocks{words}, to_lanes{to});
}

/// Collects blocks until there are enough for a step.
class block_queue {
public:
    static constexpr std::size_t capacity = batch_groups * lane_blocks;

    /// `shared_key`: that of all blocks; nullptr: each has its own.
    WG_TARGET explicit block_queue(byte const* shared_key) noexcept : shared_(shared_key != nullptr) {
        constexpr std::uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
        for (std::size_t group = 0; group < 16 * batch_groups; group += 16) {
            for (std::size_t i = 0; i < 4; ++i) words_[group + i] = broadcast(sigma[i]);
            if (shared_)
                for (std::size_t i = 0; i < 8; ++i) words_[group + 4 + i] = broadcast(load_le32(shared_key + 4 * i));
            words_[group + 13] = broadcast(0);
        }
    }

    /// `count` blocks of the packet with this key and counter, from number `block` on.
    WG_TARGET void add(aead_item const& packet, std::uint32_t block, std::size_t count, lane_target to) noexcept {
        while (count != 0) {
            std::size_t const group = count_ / lane_blocks, place = count_ % lane_blocks;
            std::size_t const now = std::min(count, lane_blocks - place);
            vector* const words = words_ + 16 * group;
            if (!shared_)
                for (std::size_t i = 0; i < 8; ++i)
                    set_lanes(words[4 + i], place, now, load_le32(packet.key->expose().data() + 4 * i));
            count_lanes(words[12], place, now, block);
            set_lanes(words[14], place, now, static_cast<std::uint32_t>(packet.counter));
            set_lanes(words[15], place, now, static_cast<std::uint32_t>(packet.counter >> 32));
            for (std::size_t i = count_; i < count_ + now; ++i) {
                targets_[i] = to;
                to.dst += chacha20_block_bytes, to.src += chacha20_block_bytes, to.size -= chacha20_block_bytes;
            }
            block += static_cast<std::uint32_t>(now), count -= now, count_ += now;
            if (count_ == capacity) flush();
        }
    }

    /// The message itself.
    WG_TARGET void add_message(aead_item const& packet, std::size_t size) noexcept {
        add(packet, 1, blocks_of(size) - 1, {packet.dst.data(), packet.src.data(), size});
    }

    /// Makes the keystream of all blocks that were added.
    WG_TARGET void flush() noexcept {
        if (count_ == 0) return;
        for (std::size_t lane = count_; lane < capacity; ++lane) targets_[lane] = {nullptr, nullptr, 0};
        if (count_ <= lane_blocks)
            make_lanes<1>(words_, targets_);
        else
            make_lanes<batch_groups>(words_, targets_);
        count_ = 0;
    }

private:
    vector words_[16 * batch_groups];
    lane_target targets_[capacity];
    std::size_t count_ = 0;
    bool shared_;
};
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in whole registers. Text for a kernel's namespace that defines
// WG_TARGET.

/// Authenticates a packet while it is made: `start`, `absorb` as far as there is ciphertext, `finish`.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;    ///< any packet
    static constexpr std::size_t stack_bytes = 640;  ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 640; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0;
};

template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in two, four or eight lanes with products of 32-bit words. Text for a kernel's
// namespace that defines WG_TARGET, after vector128.inl, vector256.inl or vector512.inl.
//
// A field element is five limbs of 26 bits, so that many products can be added up in 64 bits before a reduction. What
// is made of this: poly1305_lanes.inl.

using limbs = word_pairs;
inline constexpr int poly_lane_count = sizeof(limbs) / sizeof(std::uint64_t);
inline constexpr std::size_t poly_merge_vectors = 16; ///< from so many on four at once pay for two more powers
/// From which on lanes are faster than words.
inline constexpr std::size_t poly_least_bytes = poly_lane_count == 2 ? 512 : 272;
inline constexpr std::size_t poly_stack_bytes = 3392; ///< of a function that seals with this
inline constexpr std::size_t poly_tags_stack_bytes = 3392; ///< of `make_tags`
#define WG_TARGET_AUTHENTICATOR WG_TARGET_FUNCTION // too large to be compiled into each of its users

WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x) noexcept { return x & ((std::uint64_t{1} << 26) - 1); }

/// A field element in each lane. *Tight*: all < 2^26 but l1 < 2^26 + 2^11 and l4 < 2^26 + 2^10.
struct poly_lanes {
    limbs l0, l1, l2, l3, l4;
};

/// A multiplier: tight, and its upper limbs times 5, which is 2^130 modulo 2^130 - 5; < 2^28.4.
struct poly_factor {
    limbs r0, r1, r2, r3, r4, s1, s2, s3, s4;
};

/// Sums of products for 2^(26 i).
struct poly_products {
    limbs d0, d1, d2, d3, d4;
};

/// Keeps the order of sums as it is written: g++ would compute many products before it adds them, and spill them.
WG_TARGET void add_up(poly_products& p) noexcept {
    asm("" : "+v"(p.d0), "+v"(p.d1), "+v"(p.d2), "+v"(p.d3), "+v"(p.d4));
}

/// p += a * r, which is five products of < 2^54.5 in each sum. At most four times before a reduction, with a tight or
/// a block.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 += multiply_words(a.l0, r.r0), p.d1 += multiply_words(a.l0, r.r1), p.d2 += multiply_words(a.l0, r.r2);
    p.d3 += multiply_words(a.l0, r.r3), p.d4 += multiply_words(a.l0, r.r4);
    add_up(p);
    p.d0 += multiply_words(a.l1, r.s4), p.d1 += multiply_words(a.l1, r.r0), p.d2 += multiply_words(a.l1, r.r1);
    p.d3 += multiply_words(a.l1, r.r2), p.d4 += multiply_words(a.l1, r.r3);
    add_up(p);
    p.d0 += multiply_words(a.l2, r.s3), p.d1 += multiply_words(a.l2, r.s4), p.d2 += multiply_words(a.l2, r.r0);
    p.d3 += multiply_words(a.l2, r.r1), p.d4 += multiply_words(a.l2, r.r2);
    add_up(p);
    p.d0 += multiply_words(a.l3, r.s2), p.d1 += multiply_words(a.l3, r.s3), p.d2 += multiply_words(a.l3, r.s4);
    p.d3 += multiply_words(a.l3, r.r0), p.d4 += multiply_words(a.l3, r.r1);
    add_up(p);
    p.d0 += multiply_words(a.l4, r.s1), p.d1 += multiply_words(a.l4, r.s2), p.d2 += multiply_words(a.l4, r.s3);
    p.d3 += multiply_words(a.l4, r.s4), p.d4 += multiply_words(a.l4, r.r0);
    add_up(p);
}

/// p modulo 2^130 - 5, tight. Before: each < 2^60.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    // two chains at once: from d0 and from d3
    limbs const d1 = p.d1 + (p.d0 >> 26), d4 = p.d4 + (p.d3 >> 26); // < 2^60 + 2^34
    limbs const d2 = p.d2 + (d1 >> 26), top = d4 >> 26;             // < 2^60 + 2^35; for 2^130, < 2^35
    limbs const l0 = low_bits(p.d0) + top + (top << 2);             // < 2^37.4
    limbs const d3 = low_bits(p.d3) + (d2 >> 26);                   // < 2^35
    poly_lanes h = {low_bits(l0), low_bits(d1) + (l0 >> 26), low_bits(d2), low_bits(d3), low_bits(d4) + (d3 >> 26)};
    // clang drops the cut to 32 bits before a product, for it can see that all are shorter, and forgets it then
    asm("" : "+v"(h.l0), "+v"(h.l1), "+v"(h.l2), "+v"(h.l3), "+v"(h.l4));
    return h;
}

WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero};
}

WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

WG_TARGET limbs times_five(limbs const& x) noexcept { return x + (x << 2); }
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0,           r.l1, r.l2, r.l3, r.l4, times_five(r.l1), times_five(r.l2), times_five(r.l3),
            times_five(r.l4)};
}

/// Blocks as their low and high words, and the end bit 2^128 where there is a block.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    return {low_bits(low), low_bits(low >> 26), low_bits((low >> 52) | (high << 12)), low_bits(high >> 14),
            (high >> 40) | end};
}
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 24); }
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs const a = (limbs)load(from), b = (limbs)load(from + vector_bytes);
    return split(pairs_of<0>(a, b), pairs_of<1>(a, b), end_bits());
}

WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept {
    p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2, p.d3 += m.l3, p.d4 += m.l4;
}

/// One lane in all lanes.
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2), spread<Lane>(a.l3), spread<Lane>(a.l4)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2),
            choose<Second>(a.l3, b.l3), choose<Second>(a.l4, b.l4)};
}

/// r as it comes out of the key, clamped.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^n ... r for blocks 0 ... n - 1.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    poly_lanes const r2 = multiply(r, factor_of(r));
    if constexpr (poly_lane_count == 2) {
        return choose<2>(r2, r);
    } else if constexpr (poly_lane_count == 4) {
        poly_lanes const upper = multiply(choose<4>(r2, r), factor_of(r2)); // exponents of the lanes: 4 4 3 4
        return choose<8>(choose<2>(upper, r2), r);                          // 4 2 3 1
    } else {
        poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
        poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
        poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
        return choose<0xaa>(eight, four);                                      // 8 4 7 3 6 2 5 1
    }
}

/// A vector of blocks of `from`, from number `first` on: before number 0 there is nothing, and after `count` there is
/// `tail`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                 byte const* tail) noexcept {
    static constexpr byte nothing[poly1305_block_bytes] = {};
    byte const* at[poly_lane_count];
    std::uint64_t end[poly_lane_count];
    for (std::ptrdiff_t i = 0; i < poly_lane_count; ++i) {
        std::ptrdiff_t const block = first + i;
        at[i] = block < 0 ? nothing : block < count ? from + 16 * block : tail + 16 * (block - count);
        end[i] = block < 0 ? 0 : std::uint64_t{1} << 24;
    }
    limbs low, high;
    load_pairs(at, low, high);
    return split(low, high, in_lanes(end));
}

/// The sum of all lanes: low + 2^64 high. low < 2^64, high < 2^69.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^29
    uint128 const lower = (uint128{l2} << 52) + (l1 << 26) + l0;                 // < 2^82
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{sum_of(h.l4)} << 40) + (sum_of(h.l3) << 14) + static_cast<std::uint64_t>(lower >> 64);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in lanes: one text for all limbs. Text for a kernel's namespace that
// defines WG_TARGET, after poly1305_ifma.inl or poly1305_mul32.inl, which define WG_TARGET_AUTHENTICATOR.
//
// Block i of as many as there are lanes has a lane of its own; with h the sums of the lanes, n their count and R = r^n,
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3        for each four vectors m0..m3
//
// which takes one reduction for four vectors; in the end lane i is multiplied by r^(n - i), and all are added.

/// The multiplier of one message and its powers.
struct poly_powers {
    poly_factor last;               ///< r^n ... r for block 0 ... n - 1
    poly_factor by1, by2, by3, by4; ///< R, R^2, R^3, R^4; those after the first only if there are vectors for them

    /// `vectors` follow the first.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        constexpr int all = (1 << poly_lane_count) - 1, lower = (1 << poly_lane_count / 2) - 1;
        poly_lanes const lanes = powers_of_lanes(r), one = spread<0>(lanes);
        last = factor_of(lanes);
        by1 = factor_of(one);
        by2 = by1;
        asm("" : "=m"(by3), "=m"(by4)); // not read unless set below; g++ 12 cannot see that
        if (vectors < 2) return;
        poly_lanes const two = multiply(one, by1);
        by2 = factor_of(two);
        if (vectors < poly_merge_vectors) return;
        poly_lanes const more = multiply(choose<all & ~lower>(one, two), by2);
        by3 = factor_of(spread<0>(more));
        by4 = factor_of(spread<poly_lane_count - 1>(more));
    }
};

/// Authenticates a packet without further data while it is made: `start`, `absorb` as far as there is ciphertext,
/// `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = poly_least_bytes;
    static constexpr std::size_t stack_bytes = poly_stack_bytes;           ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = poly_tags_stack_bytes; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext, `least_bytes` or more.
    WG_TARGET_AUTHENTICATOR void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        static_assert(least_bytes > (lanes - 1) * std::ptrdiff_t{poly1305_block_bytes}); // so there are two vectors
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last are the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + lanes - 1) / lanes;
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - lanes * vectors; // blocks that are nothing fill up the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_merge_vectors;
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - lanes ? end : total_ - lanes);
    }

    WG_TARGET_AUTHENTICATOR void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - lanes;
        byte tail[2 * poly1305_block_bytes] = {};
        std::size_t const over = size_ % poly1305_block_bytes;
        std::memcpy(tail, message_ + (size_ - over), over);
        byte* const lengths = tail + (over != 0 ? poly1305_block_bytes : 0);
        store_le64(lengths + 8, size_);
        poly_lanes const end = load_blocks(message_, last, blocks_, tail);
        if (next_ <= 0) begin();
        if (has_many_) absorb_blocks(last);
        absorb_last(end, last);
        poly1305_state<limbs64> state;
        state.start(key);
        join(state, multiply(h_, powers_.last));
        state.finish(tag, key + poly1305_block_bytes);
    }

private:
    static constexpr std::ptrdiff_t lanes = poly_lane_count;
    static constexpr std::size_t vector_blocks_bytes = poly_lane_count * poly1305_block_bytes;

    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += lanes;
    }

    /// Four vectors at once, as many as end at or before `end`.
    WG_TARGET_AUTHENTICATOR void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 4 * lanes <= end; next_ += 4 * lanes) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 3 * vector_blocks_bytes));
            multiply_add(p, split_blocks(from + 2 * vector_blocks_bytes), powers_.by1);
            multiply_add(p, split_blocks(from + vector_blocks_bytes), powers_.by2);
            multiply_add(p, split_blocks(from), powers_.by3);
            multiply_add(p, h, powers_.by4);
            h = reduce(p);
        }
        h_ = h;
    }

    /// The vectors up to `last`, two at once, and then the last.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > lanes; left -= 2 * lanes, from += 2 * vector_blocks_bytes) {
            poly_products p = no_products();
            add(p, split_blocks(from + vector_blocks_bytes));
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
        } else {
            multiply_add(p, h, powers_.by1);
        }
        h_ = reduce(p);
    }

    /// The sum of all lanes, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t low;
        uint128 high;
        add_lanes(h, low, high);
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66); // for 2^130; < 2^5
        uint128 const folded = uint128{low} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole ones of the message; all
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed
    bool has_many_ = false;
};

WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}
#undef WG_TARGET_AUTHENTICATOR
// SPDX-License-Identifier: BSL-1.0
// Poly1305 of many packets, one after the other. Text for a kernel's namespace, after its authenticators.

WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag(packet);
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet: one text for all instruction sets. Text for the namespace of
// a kernel that defines WG_TARGET and WG_TARGET_FUNCTION, the attributes of what is inlined and of what is called, and
// that has included keystream.inl and has authenticators.

template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// The tag is checked before a byte is decrypted. `Blocks` of keystream at most are made before that, and kept.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the one-time key comes first
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, std::min(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 of many packets: one text for all instruction sets. Text for a kernel's namespace, after
// keystream.inl and a `make_tags`.

/// Packets that are worked on at once; their secrets.
struct alignas(64) batch_secrets {
    packet_tag packets[batch_capacity];
    block_queue blocks;

    /// `opening`: the ciphertext is the source.
    WG_TARGET batch_secrets(std::span<aead_item> items, bool opening) noexcept : blocks(shared_key(items)) {
        static constexpr byte zeros[sizeof packet_tag::key] = {};
        for (std::size_t i = 0; i < items.size(); ++i) {
            packets[i].message = opening ? items[i].src.data() : items[i].dst.data();
            packets[i].size = opening ? items[i].dst.size() : items[i].src.size();
            blocks.add(items[i], 0, 1, {packets[i].key, zeros, sizeof zeros});
        }
    }

    static byte const* shared_key(std::span<aead_item> items) noexcept {
        for (aead_item const& item : items)
            if (item.key != items[0].key) return nullptr;
        return items[0].key->expose().data();
    }
};

/// At most `batch_capacity` packets.
WG_TARGET_FUNCTION void seal_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, false);
    for (aead_item const& item : items) secrets.blocks.add_message(item, item.src.size());
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(items[i].dst.data() + items[i].src.size(), secrets.packets[i].tag, tag_bytes);
}

/// Likewise. A packet is decrypted after its tag was found right.
WG_TARGET_FUNCTION void open_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, true);
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i) {
        aead_item& item = items[i];
        item.good = equal_in_constant_time(secrets.packets[i].tag, item.src.last(tag_bytes));
        if (item.good) secrets.blocks.add_message(item, item.dst.size());
    }
    secrets.blocks.flush();
    for (aead_item const& item : items)
        if (!item.good) fill_zero(item.dst);
}
namespace few = kernel_avx2;
// SPDX-License-Identifier: BSL-1.0
// How a kernel is used from outside. Text for a kernel's namespace, the last of its texts; `few` is the namespace that
// has what is best for packets of few blocks, and for those with further data.

WG_TARGET_FUNCTION void wipe_all_registers() noexcept { wipe_registers(); }

/// The functions of an AEAD over this instruction set. They leave nothing on the stack or in vector registers.
struct kernel {
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            few::seal_packet<few::scalar_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes>();
        } else {
            seal_packet<lanes_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + step_stack_bytes>();
        }
    }
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool genuine;
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            genuine = few::open_packet<few::scalar_authenticator, few::most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes + few::most_blocks * chacha20_block_bytes>();
        } else {
            genuine = open_packet<lanes_authenticator, most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + most_blocks * chacha20_block_bytes + step_stack_bytes>();
        }
        return genuine;
    }
    static void seal_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            seal_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item const& one : items)
            seal(one.dst.data(), one.src.data(), one.src.size(), {}, packet_nonce::of(one.counter),
                 one.key->expose().data());
    }
    static void open_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            open_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item& one : items) {
            one.good = open(one.dst.data(), one.src.data(), one.dst.size(), {}, packet_nonce::of(one.counter),
                            one.key->expose().data());
            if (!one.good) fill_zero(one.dst);
        }
    }

private:
    static constexpr std::size_t few_stack_bytes = few::scalar_authenticator::stack_bytes + few::step_stack_bytes;
    static constexpr std::size_t batch_stack_bytes =
        sizeof(batch_secrets) + std::max(lanes_authenticator::tags_stack_bytes, step_stack_bytes) + 2048;

    template <std::size_t Bytes> static void leave_nothing() noexcept {
        wipe_stack<Bytes>();
        wipe_all_registers();
    }
};
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_avx2

/// For packets of few blocks: half as wide, so that nothing is idle, and all vector units take part.
namespace kernel_avx512vl {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_AVX512]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_AVX512]] inline
#define WG_ROTATES
// SPDX-License-Identifier: BSL-1.0
// Vectors of eight 32-bit words, for chacha20.inl. Text for the namespace of a kernel that has AVX2. One with
// AVX-512VL, which rotates vectors, defines WG_ROTATES.

using vector = std::uint32_t __attribute__((vector_size(32)));
inline constexpr std::size_t vector_bytes = 32;
#ifdef WG_ROTATES
inline constexpr int vector_registers = 32;
#else
inline constexpr int vector_registers = 16;
#endif
inline constexpr std::size_t most_blocks = 8; ///< of a step
inline constexpr int batch_groups = 1;        ///< of lanes, in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1280; ///< at most, of a step

#ifdef WG_ROTATES
template <int Bits> WG_TARGET void rotate(vector& x) noexcept { x = (x << Bits) | (x >> (32 - Bits)); }
#else
template <int Bits> WG_TARGET void rotate(vector& x) noexcept {
    // a shuffle of bytes is less than two shifts and an or
    if constexpr (Bits == 16) {
        __m256i const order = _mm256_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7,
                                               4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        x = (vector)_mm256_shuffle_epi8((__m256i)x, order);
    } else if constexpr (Bits == 8) {
        __m256i const order = _mm256_setr_epi8(3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4,
                                               5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
        x = (vector)_mm256_shuffle_epi8((__m256i)x, order);
    } else {
        x = (x << Bits) | (x >> (32 - Bits));
    }
}
#endif
template <int By> WG_TARGET void turn(vector& x) noexcept {
    x = (vector)_mm256_shuffle_epi32((__m256i)x, By | (By + 1) % 4 << 2 | (By + 2) % 4 << 4 | (By + 3) % 4 << 6);
}

WG_TARGET vector broadcast(std::uint32_t word) noexcept {
    return (vector)_mm256_set1_epi32(static_cast<int>(word));
}
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    return (vector)_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<__m128i const*>(four)));
}
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3, 4, 5, 6, 7}; }
/// The number of a row in its first word, zero in the others.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0, 1, 0, 0, 0}; }
WG_TARGET vector row_offset(std::uint32_t n) noexcept { return vector{n, 0, 0, 0, n, 0, 0, 0}; }

WG_TARGET vector load(byte const* from) noexcept {
    return (vector)_mm256_loadu_si256(reinterpret_cast<__m256i const*>(from));
}
WG_TARGET void store(byte* to, vector const& x) noexcept {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)x);
}

/// Half i of a and b is vector `First + i * Step` of the keystream.
template <int First, int Step, class To>
WG_TARGET void put_halves(vector const& a, vector const& b, To const& to) noexcept {
    to.template put<First>((vector)_mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x20));
    to.template put<First + Step>((vector)_mm256_permute2x128_si256((__m256i)a, (__m256i)b, 0x31));
}

/// Of four words in lanes, makes four vectors with 16 bytes of a block in each half: blocks i and i + 4.
WG_TARGET void gather_words(vector* x) noexcept {
    __m256i const low01 = _mm256_unpacklo_epi32((__m256i)x[0], (__m256i)x[1]);
    __m256i const low23 = _mm256_unpacklo_epi32((__m256i)x[2], (__m256i)x[3]);
    __m256i const high01 = _mm256_unpackhi_epi32((__m256i)x[0], (__m256i)x[1]);
    __m256i const high23 = _mm256_unpackhi_epi32((__m256i)x[2], (__m256i)x[3]);
    x[0] = (vector)_mm256_unpacklo_epi64(low01, low23);
    x[1] = (vector)_mm256_unpackhi_epi64(low01, low23);
    x[2] = (vector)_mm256_unpacklo_epi64(high01, high23);
    x[3] = (vector)_mm256_unpackhi_epi64(high01, high23);
}

template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    put_halves<First, 2>(y[0], y[1], to);
    put_halves<First + 1, 2>(y[2], y[3], to);
}
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    gather_words(x), gather_words(x + 4), gather_words(x + 8), gather_words(x + 12);
    put_halves<First, 8>(x[0], x[4], to), put_halves<First + 1, 8>(x[8], x[12], to);
    put_halves<First + 2, 8>(x[1], x[5], to), put_halves<First + 3, 8>(x[9], x[13], to);
    put_halves<First + 4, 8>(x[2], x[6], to), put_halves<First + 5, 8>(x[10], x[14], to);
    put_halves<First + 6, 8>(x[3], x[7], to), put_halves<First + 7, 8>(x[11], x[15], to);
}

/// dst = src ^ x, `size` bytes of it, less than a vector.
WG_TARGET_FUNCTION void xor_part(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    byte keystream[vector_bytes];
    store(keystream, x);
    chacha20_detail::xor_bytes(dst, src, keystream, size);
    wipe(keystream);
}
/// Likewise, a whole vector if `size` is not less.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]] return store(dst, load(src) ^ x);
    xor_part(dst, src, x, size);
}

/// The word, in `count` lanes from `first` on.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word;
}
/// The same, one more in each next lane.
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    for (std::size_t i = first; i < first + count; ++i) x[i] = word++;
}

/// Makes the next `blocks` blocks, or as many as one step can: `with.make<Lanes, Rows>()`. How many they are.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 6) return with.template make<1, 0>();
    if (blocks > 4) return with.template make<0, 3>();
    if (blocks > 2) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

// Of poly1305_mul32.inl: vectors of four pairs of words; block 0, 1, 2, 3 is in lane 0, 2, 1, 3.
using word_pairs = std::uint64_t __attribute__((vector_size(32)));

/// The products of the lower words.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return (word_pairs)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
/// The first or second pair of each block of a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 4, Pair + 2, Pair + 6);
}
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Second & 1 ? 4 : 0, Second & 2 ? 5 : 1, Second & 4 ? 6 : 2,
                                   Second & 8 ? 7 : 3);
}
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[4]) noexcept {
    return word_pairs{of_block[0], of_block[2], of_block[1], of_block[3]};
}
WG_TARGET word_pairs load_two(byte const* first, byte const* second) noexcept {
    __m128i const a = _mm_loadu_si128(reinterpret_cast<__m128i const*>(first));
    __m128i const b = _mm_loadu_si128(reinterpret_cast<__m128i const*>(second));
    return (word_pairs)_mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
}
/// The first and second pair of each block.
WG_TARGET void load_pairs(byte const* const (&blocks)[4], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = load_two(blocks[0], blocks[1]), b = load_two(blocks[2], blocks[3]);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept {
    auto const two = __builtin_shufflevector(x, x, 0, 1) + __builtin_shufflevector(x, x, 2, 3);
    return two[0] + two[1];
}

/// Leaves nothing in vector registers.
WG_TARGET void wipe_registers() noexcept {
    asm volatile("vzeroall"
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15");
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors: one text for all instruction sets. Text for the namespace of a kernel
// that defines WG_TARGET, the attributes of every function, and has included one of vector128.inl, vector256.inl and
// vector512.inl.
//
// Two layouts. In *lanes*, word i of as many blocks as a vector has words lies in vector i: no word has to move, and
// each lane may have a key of its own; but 16 vectors are at work, and have to be turned in the end. In *rows*, a
// vector holds one row of each of `row_blocks` blocks: good for few blocks, but words move twice in a double round.
// A step works on groups of both kinds at once: they are independent, so that one goes on where another has to wait.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;
inline constexpr std::size_t row_blocks = vector_bytes / 16;
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// Which vector holds a row's word in the quarter round of this column (or diagonal).
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns; row 2 is apart.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds where sixteen registers hold the lanes: too few for all, and compilers choose ill what is to wait
/// in memory. It is row 2, of which two vectors at a time are loaded.
WG_TARGET void permute_in_halves(vector (&x)[16]) noexcept {
    vector row2[4] = {x[8], x[9], x[10], x[11]};
    for (int i = 0; i < 10; ++i) {
        quarter_rounds_of_two<0, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<0, 2>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 2>(x, row2);
        asm("" : "+m"(row2));
    }
    x[8] = row2[0], x[9] = row2[1], x[10] = row2[2], x[11] = row2[3];
}

/// What a step works on: groups of `lane_blocks` and of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16];
    vector y[Rows > 0 ? Rows : 1][4];

    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    template <int B, int C, int D> WG_TARGET void turn_rows() noexcept {
        if constexpr (Rows > 0) turn<B>(y[0][1]), turn<C>(y[0][2]), turn<D>(y[0][3]);
        if constexpr (Rows > 1) turn<B>(y[1][1]), turn<C>(y[1][2]), turn<D>(y[1][3]);
        if constexpr (Rows > 2) turn<B>(y[2][1]), turn<C>(y[2][2]), turn<D>(y[2][3]);
    }
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only be more to load
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            turn_rows<1, 2, 3>();
            quarter_rounds<1>();
            turn_rows<3, 2, 1>();
        }
    }
};

/// The states of consecutive blocks of one key and nonce. 16 words, those of the first block.
struct consecutive_blocks {
    std::uint32_t const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The states of any blocks, each with a key and nonce of its own: 16 vectors for each group of lanes.
struct separate_blocks {
    vector const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept { return words[16 * Group + Word]; }
};

template <int Group, class States, std::size_t... Word>
WG_TARGET void load_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] = from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <int Group, class States, std::size_t... Word>
WG_TARGET void add_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] += from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <class States>
WG_TARGET void load_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] = from.template row<0>(0), y[1] = from.template row<1>(0), y[2] = from.template row<2>(0);
    y[3] = from.template row<3>(blocks_before);
}
template <class States>
WG_TARGET void add_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] += from.template row<0>(0), y[1] += from.template row<1>(0), y[2] += from.template row<2>(0);
    y[3] += from.template row<3>(blocks_before);
}

/// Makes the keystream of `Lanes` times `lane_blocks` and then `Rows` times `row_blocks` blocks.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks before the rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // of a group
    chacha20_groups<Lanes, Rows> g;
    if constexpr (Lanes > 0) load_lanes<0>(g.x[0], from, all);
    if constexpr (Lanes > 1) load_lanes<1>(g.x[1], from, all);
    if constexpr (Rows > 0) load_rows(g.y[0], from, before);
    if constexpr (Rows > 1) load_rows(g.y[1], from, before + row_blocks);
    if constexpr (Rows > 2) load_rows(g.y[2], from, before + 2 * row_blocks);
    g.permute();
    if constexpr (Lanes > 0) add_lanes<0>(g.x[0], from, all), put_lanes<0>(g.x[0], to);
    if constexpr (Lanes > 1) add_lanes<1>(g.x[1], from, all), put_lanes<lane_vectors>(g.x[1], to);
    constexpr int after = Lanes * lane_vectors;
    if constexpr (Rows > 0) add_rows(g.y[0], from, before), put_rows<after>(g.y[0], to);
    if constexpr (Rows > 1) add_rows(g.y[1], from, before + row_blocks), put_rows<after + row_vectors>(g.y[1], to);
    if constexpr (Rows > 2)
        add_rows(g.y[2], from, before + 2 * row_blocks), put_rows<after + 2 * row_vectors>(g.y[2], to);
}
// SPDX-License-Identifier: BSL-1.0
// Keystream, XORed into packets: one text for all instruction sets. Text for a kernel's namespace, after chacha20.inl.
//
// Of one packet: the first block is the one-time key and the message follows, so that one step makes both. Of many:
// blocks of all packets, the one-time keys among them, fill the lanes one after the other, so that no lane is idle but
// in the last step; which packet a lane serves matters only where its state is written and its keystream taken.

/// Keystream that is XORed into a message, after the one-time key if that is wanted.
struct to_message {
    byte* dst;
    byte const* src;
    std::size_t size;
    byte* one_time_key; ///< room for a block; nullptr: not in this step

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        std::size_t at = Number * vector_bytes;
        if (one_time_key != nullptr) {
            if constexpr (Number * vector_bytes < chacha20_block_bytes)
                return store(one_time_key + Number * vector_bytes, keystream);
            at -= chacha20_block_bytes;
        }
        if (at < size) xor_vector(dst + at, src + at, keystream, size - at);
    }
};

template <int Lanes, int Rows>
WG_TARGET_FUNCTION void make_keystream(std::uint32_t const* words, to_message const& to) noexcept {
    chacha20_step<Lanes, Rows>(consecutive_blocks{words}, to);
}

struct keystream_maker {
    std::uint32_t* words; ///< of the next block
    to_message const& to;

    template <int Lanes, int Rows> WG_TARGET std::size_t make() const noexcept {
        constexpr std::size_t made = Lanes * lane_blocks + Rows * row_blocks;
        make_keystream<Lanes, Rows>(words, to);
        words[12] += static_cast<std::uint32_t>(made);
        return made;
    }
};

/// The next `blocks` of a packet, or as many as one step makes; how many. Advances the counter.
WG_TARGET std::size_t make_keystream(std::uint32_t* words, std::size_t blocks, to_message const& to) noexcept {
    return take_step(keystream_maker{words, to}, blocks);
}

WG_TARGET void set_words(std::uint32_t* to, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                         std::uint32_t d) noexcept {
    std::uint32_t __attribute__((vector_size(16))) const words = {a, b, c, d};
    std::memcpy(to, &words, sizeof words);
}
WG_TARGET void copy_words(std::uint32_t* to, byte const* from) noexcept {
    set_words(to, load_le32(from), load_le32(from + 4), load_le32(from + 8), load_le32(from + 12));
}

/// What is secret of one packet and has to lie in memory.
struct alignas(64) packet_secrets {
    byte one_time_key[chacha20_block_bytes]; ///< its second half has no use
    std::uint32_t words[16];

    WG_TARGET packet_secrets(byte const* key, packet_nonce const& nonce) noexcept {
        // in pieces of the size in which they are read again: other stores could not be forwarded to the loads
        set_words(words, 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574); // "expand 32-byte k"
        copy_words(words + 4, key);
        copy_words(words + 8, key + 16);
        set_words(words + 12, 0, nonce.words[0], nonce.words[1], nonce.words[2]);
    }
};

/// Blocks of keystream that a message takes, with the one-time key.
constexpr std::size_t blocks_of(std::size_t size) noexcept {
    return 1 + (size + chacha20_block_bytes - 1) / chacha20_block_bytes;
}

/// Where the keystream of a lane goes: dst = src ^ keystream, at most a block.
struct lane_target {
    byte* dst;
    byte const* src;
    std::size_t size;
};

struct to_lanes {
    lane_target const* lanes;

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        constexpr std::size_t block = Number / block_vectors, at = Number % block_vectors * vector_bytes;
        lane_target const& to = lanes[block];
        if (at < to.size) xor_vector(to.dst + at, to.src + at, keystream, to.size - at);
    }
};

template <int Lanes> WG_TARGET_FUNCTION void make_lanes(vector const* words, lane_target const* to) noexcept {
    chacha20_step<Lanes, 0>(separate_blocks{words}, to_lanes{to});
}

/// Collects blocks until there are enough for a step.
class block_queue {
public:
    static constexpr std::size_t capacity = batch_groups * lane_blocks;

    /// `shared_key`: that of all blocks; nullptr: each has its own.
    WG_TARGET explicit block_queue(byte const* shared_key) noexcept : shared_(shared_key != nullptr) {
        constexpr std::uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
        for (std::size_t group = 0; group < 16 * batch_groups; group += 16) {
            for (std::size_t i = 0; i < 4; ++i) words_[group + i] = broadcast(sigma[i]);
            if (shared_)
                for (std::size_t i = 0; i < 8; ++i) words_[group + 4 + i] = broadcast(load_le32(shared_key + 4 * i));
            words_[group + 13] = broadcast(0);
        }
    }

    /// `count` blocks of the packet with this key and counter, from number `block` on.
    WG_TARGET void add(aead_item const& packet, std::uint32_t block, std::size_t count, lane_target to) noexcept {
        while (count != 0) {
            std::size_t const group = count_ / lane_blocks, place = count_ % lane_blocks;
            std::size_t const now = std::min(count, lane_blocks - place);
            vector* const words = words_ + 16 * group;
            if (!shared_)
                for (std::size_t i = 0; i < 8; ++i)
                    set_lanes(words[4 + i], place, now, load_le32(packet.key->expose().data() + 4 * i));
            count_lanes(words[12], place, now, block);
            set_lanes(words[14], place, now, static_cast<std::uint32_t>(packet.counter));
            set_lanes(words[15], place, now, static_cast<std::uint32_t>(packet.counter >> 32));
            for (std::size_t i = count_; i < count_ + now; ++i) {
                targets_[i] = to;
                to.dst += chacha20_block_bytes, to.src += chacha20_block_bytes, to.size -= chacha20_block_bytes;
            }
            block += static_cast<std::uint32_t>(now), count -= now, count_ += now;
            if (count_ == capacity) flush();
        }
    }

    /// The message itself.
    WG_TARGET void add_message(aead_item const& packet, std::size_t size) noexcept {
        add(packet, 1, blocks_of(size) - 1, {packet.dst.data(), packet.src.data(), size});
    }

    /// Makes the keystream of all blocks that were added.
    WG_TARGET void flush() noexcept {
        if (count_ == 0) return;
        for (std::size_t lane = count_; lane < capacity; ++lane) targets_[lane] = {nullptr, nullptr, 0};
        if (count_ <= lane_blocks)
            make_lanes<1>(words_, targets_);
        else
            make_lanes<batch_groups>(words_, targets_);
        count_ = 0;
    }

private:
    vector words_[16 * batch_groups];
    lane_target targets_[capacity];
    std::size_t count_ = 0;
    bool shared_;
};
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in whole registers. Text for a kernel's namespace that defines
// WG_TARGET.

/// Authenticates a packet while it is made: `start`, `absorb` as far as there is ciphertext, `finish`.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;    ///< any packet
    static constexpr std::size_t stack_bytes = 640;  ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 640; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0;
};

template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet: one text for all instruction sets. Text for the namespace of
// a kernel that defines WG_TARGET and WG_TARGET_FUNCTION, the attributes of what is inlined and of what is called, and
// that has included keystream.inl and has authenticators.

template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// The tag is checked before a byte is decrypted. `Blocks` of keystream at most are made before that, and kept.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the one-time key comes first
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, std::min(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
#undef WG_ROTATES
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_avx512vl

namespace kernel_avx512 {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_AVX512]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_AVX512]] inline
// SPDX-License-Identifier: BSL-1.0
// Vectors of sixteen 32-bit words, for chacha20.inl. Text for the namespace of a kernel that has AVX-512 F and BW.
// Moves are GNU shuffles, because g++ 12 takes the undefined operand of its intrinsics for an uninitialized one.

using vector = std::uint32_t __attribute__((vector_size(64)));
using four_words = std::uint32_t __attribute__((vector_size(16)));
inline constexpr std::size_t vector_bytes = 64;
inline constexpr int vector_registers = 32;
inline constexpr std::size_t most_blocks = 32; ///< of a step
inline constexpr int batch_groups = 2;         ///< of lanes, in a step for many packets
inline constexpr std::size_t step_stack_bytes = 1536; ///< at most, of a step

template <int Bits> WG_TARGET void rotate(vector& x) noexcept { x = (x << Bits) | (x >> (32 - Bits)); }

template <int By> WG_TARGET void turn(vector& x) noexcept {
    constexpr int a = By, b = (By + 1) % 4, c = (By + 2) % 4, d = (By + 3) % 4;
    x = __builtin_shufflevector(x, x, a, b, c, d, 4 + a, 4 + b, 4 + c, 4 + d, 8 + a, 8 + b, 8 + c, 8 + d, 12 + a,
                                12 + b, 12 + c, 12 + d);
}

WG_TARGET vector broadcast(std::uint32_t word) noexcept { return word + vector{}; }
WG_TARGET vector broadcast_row(std::uint32_t const* four) noexcept {
    four_words x;
    std::memcpy(&x, four, sizeof x);
    return __builtin_shufflevector(x, x, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
}
WG_TARGET vector lane_numbers() noexcept { return vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; }
/// The number of a row in its first word, zero in the others.
WG_TARGET vector row_numbers() noexcept { return vector{0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}; }
WG_TARGET vector row_offset(std::uint32_t n) noexcept {
    return vector{n, 0, 0, 0, n, 0, 0, 0, n, 0, 0, 0, n, 0, 0, 0};
}

WG_TARGET vector load(byte const* from) noexcept {
    vector x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
WG_TARGET void store(byte* to, vector const& x) noexcept { std::memcpy(to, &x, sizeof x); }

/// Two quarters of a, then the same two of b.
template <int First, int Second> WG_TARGET vector two_quarters(vector const& a, vector const& b) noexcept {
    constexpr int i = 4 * First, j = 4 * Second;
    return __builtin_shufflevector(a, b, i, i + 1, i + 2, i + 3, j, j + 1, j + 2, j + 3, 16 + i, 17 + i, 18 + i, 19 + i,
                                   16 + j, 17 + j, 18 + j, 19 + j);
}

/// Quarter i of a, b, c and d is vector `First + i * Step` of the keystream.
template <int First, int Step, class To>
WG_TARGET void put_quarters(vector const& a, vector const& b, vector const& c, vector const& d, To const& to) noexcept {
    vector const ab = two_quarters<0, 1>(a, b), cd = two_quarters<0, 1>(c, d);
    to.template put<First>(two_quarters<0, 2>(ab, cd));
    to.template put<First + Step>(two_quarters<1, 3>(ab, cd));
    vector const ab2 = two_quarters<2, 3>(a, b), cd2 = two_quarters<2, 3>(c, d);
    to.template put<First + 2 * Step>(two_quarters<0, 2>(ab2, cd2));
    to.template put<First + 3 * Step>(two_quarters<1, 3>(ab2, cd2));
}

/// Of each four words, the lower or upper (At = 0, 2) two of a and b in turns.
template <int At> WG_TARGET vector interleave_words(vector const& a, vector const& b) noexcept {
    return __builtin_shufflevector(a, b, At, At + 16, At + 1, At + 17, At + 4, At + 20, At + 5, At + 21, At + 8,
                                   At + 24, At + 9, At + 25, At + 12, At + 28, At + 13, At + 29);
}
/// Likewise pairs of words.
template <int At> WG_TARGET vector interleave_pairs(vector const& a, vector const& b) noexcept {
    return __builtin_shufflevector(a, b, At, At + 1, At + 16, At + 17, At + 4, At + 5, At + 20, At + 21, At + 8, At + 9,
                                   At + 24, At + 25, At + 12, At + 13, At + 28, At + 29);
}

/// Of four words in lanes, makes four vectors with 16 bytes of a block in each quarter: blocks i, i + 4, i + 8, i + 12.
WG_TARGET void gather_words(vector* x) noexcept {
    vector const low01 = interleave_words<0>(x[0], x[1]), low23 = interleave_words<0>(x[2], x[3]);
    vector const high01 = interleave_words<2>(x[0], x[1]), high23 = interleave_words<2>(x[2], x[3]);
    x[0] = interleave_pairs<0>(low01, low23), x[1] = interleave_pairs<2>(low01, low23);
    x[2] = interleave_pairs<0>(high01, high23), x[3] = interleave_pairs<2>(high01, high23);
}

template <int First, class To> WG_TARGET void put_rows(vector const (&y)[4], To const& to) noexcept {
    put_quarters<First, 1>(y[0], y[1], y[2], y[3], to);
}
template <int First, class To> WG_TARGET void put_lanes(vector (&x)[16], To const& to) noexcept {
    gather_words(x), gather_words(x + 4), gather_words(x + 8), gather_words(x + 12);
    put_quarters<First, 4>(x[0], x[4], x[8], x[12], to);
    put_quarters<First + 1, 4>(x[1], x[5], x[9], x[13], to);
    put_quarters<First + 2, 4>(x[2], x[6], x[10], x[14], to);
    put_quarters<First + 3, 4>(x[3], x[7], x[11], x[15], to);
}

/// dst = src ^ x, `size` bytes of it if that is less.
WG_TARGET void xor_vector(byte* dst, byte const* src, vector const& x, std::size_t size) noexcept {
    if (size >= vector_bytes) [[likely]] return store(dst, load(src) ^ x);
    __mmask64 const there = (__mmask64{1} << size) - 1;
    _mm512_mask_storeu_epi8(dst, there, _mm512_xor_si512((__m512i)x, _mm512_maskz_loadu_epi8(there, src)));
}

WG_TARGET __mmask16 some_lanes(std::size_t first, std::size_t count) noexcept {
    return static_cast<__mmask16>(((1u << count) - 1) << first);
}
/// The word, in `count` lanes from `first` on.
WG_TARGET void set_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    x = (vector)_mm512_mask_set1_epi32((__m512i)x, some_lanes(first, count), static_cast<int>(word));
}
/// The same, one more in each next lane.
WG_TARGET void count_lanes(vector& x, std::size_t first, std::size_t count, std::uint32_t word) noexcept {
    __m512i const all = (__m512i)(lane_numbers() + broadcast(word - static_cast<std::uint32_t>(first)));
    x = (vector)_mm512_mask_mov_epi32((__m512i)x, some_lanes(first, count), all);
}

/// Makes the next `blocks` blocks, or as many as one step can: `with.make<Lanes, Rows>()`. How many they are.
template <class With> WG_TARGET std::size_t take_step(With const& with, std::size_t blocks) noexcept {
    if (blocks > 24) return with.template make<2, 0>();
    if (blocks > 20) return with.template make<1, 2>();
    if (blocks > 16) return with.template make<1, 1>();
    if (blocks > 12) return with.template make<1, 0>();
    if (blocks > 8) return with.template make<0, 3>();
    if (blocks > 4) return with.template make<0, 2>();
    return with.template make<0, 1>();
}

// Of poly1305_mul32.inl: vectors of eight pairs of words; block 0 ... 7 is in lane 0, 2, 4, 6, 1, 3, 5, 7.
using word_pairs = std::uint64_t __attribute__((vector_size(64)));
using two_pairs = std::uint64_t __attribute__((vector_size(16)));

/// The products of the lower words. By mask, because g++ 12 takes the undefined operand of the other intrinsic for an
/// uninitialized one.
WG_TARGET word_pairs multiply_words(word_pairs const& a, word_pairs const& b) noexcept {
    return (word_pairs)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
}
/// The first or second pair of each block of a and b.
template <int Pair> WG_TARGET word_pairs pairs_of(word_pairs const& a, word_pairs const& b) noexcept {
    return __builtin_shufflevector(a, b, Pair, Pair + 8, Pair + 2, Pair + 10, Pair + 4, Pair + 12, Pair + 6, Pair + 14);
}
template <int Lane> WG_TARGET word_pairs spread(word_pairs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane, Lane, Lane, Lane, Lane);
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET word_pairs choose(word_pairs const& a, word_pairs const& b) noexcept {
    return (word_pairs)_mm512_mask_mov_epi64((__m512i)a, Second, (__m512i)b);
}
WG_TARGET word_pairs in_lanes(std::uint64_t const (&of_block)[8]) noexcept {
    return word_pairs{of_block[0], of_block[4], of_block[1], of_block[5],
                      of_block[2], of_block[6], of_block[3], of_block[7]};
}
WG_TARGET two_pairs load_block(byte const* from) noexcept {
    two_pairs x;
    std::memcpy(&x, from, sizeof x);
    return x;
}
WG_TARGET word_pairs load_four(byte const* const* blocks) noexcept {
    auto const a = __builtin_shufflevector(load_block(blocks[0]), load_block(blocks[1]), 0, 1, 2, 3);
    auto const b = __builtin_shufflevector(load_block(blocks[2]), load_block(blocks[3]), 0, 1, 2, 3);
    return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
}
/// The first and second pair of each block.
WG_TARGET void load_pairs(byte const* const (&blocks)[8], word_pairs& first, word_pairs& second) noexcept {
    word_pairs const a = load_four(blocks), b = load_four(blocks + 4);
    first = pairs_of<0>(a, b), second = pairs_of<1>(a, b);
}
WG_TARGET std::uint64_t sum_of(word_pairs const& x) noexcept {
    auto const four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
    auto const two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

/// Leaves nothing in vector registers.
WG_TARGET void wipe_registers() noexcept {
#define WG_ZERO(i) "vpxord %%xmm" #i ", %%xmm" #i ", %%xmm" #i "\n\t"
    asm volatile("vzeroall\n\t" WG_ZERO(16) WG_ZERO(17) WG_ZERO(18) WG_ZERO(19) WG_ZERO(20) WG_ZERO(21) WG_ZERO(22)
                     WG_ZERO(23) WG_ZERO(24) WG_ZERO(25) WG_ZERO(26) WG_ZERO(27) WG_ZERO(28) WG_ZERO(29) WG_ZERO(30)
                         WG_ZERO(31)
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                   "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
#undef WG_ZERO
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20 (RFC 8439, section 2.3) in vectors: one text for all instruction sets. Text for the namespace of a kernel
// that defines WG_TARGET, the attributes of every function, and has included one of vector128.inl, vector256.inl and
// vector512.inl.
//
// Two layouts. In *lanes*, word i of as many blocks as a vector has words lies in vector i: no word has to move, and
// each lane may have a key of its own; but 16 vectors are at work, and have to be turned in the end. In *rows*, a
// vector holds one row of each of `row_blocks` blocks: good for few blocks, but words move twice in a double round.
// A step works on groups of both kinds at once: they are independent, so that one goes on where another has to wait.

inline constexpr std::size_t lane_blocks = vector_bytes / 4;
inline constexpr std::size_t row_blocks = vector_bytes / 16;
inline constexpr std::size_t block_vectors = chacha20_block_bytes / vector_bytes; ///< at least 1

/// a += b, d = (d ^ a) <<< Bits
template <int Bits> WG_TARGET void mix(vector& a, vector const& b, vector& d) noexcept {
    a += b;
    d ^= a;
    rotate<Bits>(d);
}

/// Which vector holds a row's word in the quarter round of this column (or diagonal).
template <int Diagonal> constexpr int word_of(int row, int column) noexcept {
    return 4 * row + (column + Diagonal * row) % 4;
}

template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_lanes(vector (&x)[16]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    mix<Bits>(x[at(A, 0)], x[at(B, 0)], x[at(D, 0)]);
    mix<Bits>(x[at(A, 1)], x[at(B, 1)], x[at(D, 1)]);
    mix<Bits>(x[at(A, 2)], x[at(B, 2)], x[at(D, 2)]);
    mix<Bits>(x[at(A, 3)], x[at(B, 3)], x[at(D, 3)]);
}

/// The quarter rounds of two columns; row 2 is apart.
template <int Diagonal, int Column> WG_TARGET void quarter_rounds_of_two(vector (&x)[16], vector (&row2)[4]) noexcept {
    constexpr auto at = word_of<Diagonal>;
    constexpr int a = at(0, Column), b = at(1, Column), c = at(2, Column) - 8, d = at(3, Column);
    constexpr int a1 = at(0, Column + 1), b1 = at(1, Column + 1), c1 = at(2, Column + 1) - 8, d1 = at(3, Column + 1);
    mix<16>(x[a], x[b], x[d]), mix<16>(x[a1], x[b1], x[d1]);
    mix<12>(row2[c], x[d], x[b]), mix<12>(row2[c1], x[d1], x[b1]);
    mix<8>(x[a], x[b], x[d]), mix<8>(x[a1], x[b1], x[d1]);
    mix<7>(row2[c], x[d], x[b]), mix<7>(row2[c1], x[d1], x[b1]);
}
/// The twenty rounds where sixteen registers hold the lanes: too few for all, and compilers choose ill what is to wait
/// in memory. It is row 2, of which two vectors at a time are loaded.
WG_TARGET void permute_in_halves(vector (&x)[16]) noexcept {
    vector row2[4] = {x[8], x[9], x[10], x[11]};
    for (int i = 0; i < 10; ++i) {
        quarter_rounds_of_two<0, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<0, 2>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 0>(x, row2);
        asm("" : "+m"(row2));
        quarter_rounds_of_two<1, 2>(x, row2);
        asm("" : "+m"(row2));
    }
    x[8] = row2[0], x[9] = row2[1], x[10] = row2[2], x[11] = row2[3];
}

/// What a step works on: groups of `lane_blocks` and of `row_blocks` blocks.
template <int Lanes, int Rows> struct chacha20_groups {
    vector x[Lanes > 0 ? Lanes : 1][16];
    vector y[Rows > 0 ? Rows : 1][4];

    template <int Diagonal, int Bits, int A, int B, int D> WG_TARGET void mix_all() noexcept {
        if constexpr (Lanes > 0) mix_lanes<Diagonal, Bits, A, B, D>(x[0]);
        if constexpr (Rows > 0) mix<Bits>(y[0][A], y[0][B], y[0][D]);
        if constexpr (Rows > 1) mix<Bits>(y[1][A], y[1][B], y[1][D]);
        if constexpr (Rows > 2) mix<Bits>(y[2][A], y[2][B], y[2][D]);
        if constexpr (Lanes > 1) mix_lanes<Diagonal, Bits, A, B, D>(x[1]);
    }
    template <int Diagonal> WG_TARGET void quarter_rounds() noexcept {
        mix_all<Diagonal, 16, 0, 1, 3>();
        mix_all<Diagonal, 12, 2, 3, 1>();
        mix_all<Diagonal, 8, 0, 1, 3>();
        mix_all<Diagonal, 7, 2, 3, 1>();
    }
    template <int B, int C, int D> WG_TARGET void turn_rows() noexcept {
        if constexpr (Rows > 0) turn<B>(y[0][1]), turn<C>(y[0][2]), turn<D>(y[0][3]);
        if constexpr (Rows > 1) turn<B>(y[1][1]), turn<C>(y[1][2]), turn<D>(y[1][3]);
        if constexpr (Rows > 2) turn<B>(y[2][1]), turn<C>(y[2][2]), turn<D>(y[2][3]);
    }
    WG_TARGET void permute() noexcept {
        if constexpr (Lanes == 1 && Rows == 0 && vector_registers == 16) return permute_in_halves(x[0]);
#pragma GCC unroll 1 // ten times the code would only be more to load
        for (int i = 0; i < 10; ++i) {
            quarter_rounds<0>();
            turn_rows<1, 2, 3>();
            quarter_rounds<1>();
            turn_rows<3, 2, 1>();
        }
    }
};

/// The states of consecutive blocks of one key and nonce. 16 words, those of the first block.
struct consecutive_blocks {
    std::uint32_t const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept {
        vector x = broadcast(words[Word]);
        if constexpr (Word == 12) x += lane_numbers() + broadcast(Group * lane_blocks);
        return x;
    }
    template <int Row> WG_TARGET vector row(std::uint32_t blocks_before) const noexcept {
        vector x = broadcast_row(words + 4 * Row);
        if constexpr (Row == 3) x += row_numbers() + row_offset(blocks_before);
        return x;
    }
};

/// The states of any blocks, each with a key and nonce of its own: 16 vectors for each group of lanes.
struct separate_blocks {
    vector const* words;

    template <int Group, int Word> WG_TARGET vector lane_word() const noexcept { return words[16 * Group + Word]; }
};

template <int Group, class States, std::size_t... Word>
WG_TARGET void load_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] = from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <int Group, class States, std::size_t... Word>
WG_TARGET void add_lanes(vector (&x)[16], States const& from, std::index_sequence<Word...>) noexcept {
    ((x[Word] += from.template lane_word<Group, static_cast<int>(Word)>()), ...);
}
template <class States>
WG_TARGET void load_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] = from.template row<0>(0), y[1] = from.template row<1>(0), y[2] = from.template row<2>(0);
    y[3] = from.template row<3>(blocks_before);
}
template <class States>
WG_TARGET void add_rows(vector (&y)[4], States const& from, std::uint32_t blocks_before) noexcept {
    y[0] += from.template row<0>(0), y[1] += from.template row<1>(0), y[2] += from.template row<2>(0);
    y[3] += from.template row<3>(blocks_before);
}

/// Makes the keystream of `Lanes` times `lane_blocks` and then `Rows` times `row_blocks` blocks.
template <int Lanes, int Rows, class States, class To>
WG_TARGET void chacha20_step(States const& from, To const& to) noexcept {
    constexpr std::make_index_sequence<16> all{};
    constexpr std::uint32_t before = Lanes * lane_blocks; // blocks before the rows
    constexpr int lane_vectors = 16, row_vectors = 4;     // of a group
    chacha20_groups<Lanes, Rows> g;
    if constexpr (Lanes > 0) load_lanes<0>(g.x[0], from, all);
    if constexpr (Lanes > 1) load_lanes<1>(g.x[1], from, all);
    if constexpr (Rows > 0) load_rows(g.y[0], from, before);
    if constexpr (Rows > 1) load_rows(g.y[1], from, before + row_blocks);
    if constexpr (Rows > 2) load_rows(g.y[2], from, before + 2 * row_blocks);
    g.permute();
    if constexpr (Lanes > 0) add_lanes<0>(g.x[0], from, all), put_lanes<0>(g.x[0], to);
    if constexpr (Lanes > 1) add_lanes<1>(g.x[1], from, all), put_lanes<lane_vectors>(g.x[1], to);
    constexpr int after = Lanes * lane_vectors;
    if constexpr (Rows > 0) add_rows(g.y[0], from, before), put_rows<after>(g.y[0], to);
    if constexpr (Rows > 1) add_rows(g.y[1], from, before + row_blocks), put_rows<after + row_vectors>(g.y[1], to);
    if constexpr (Rows > 2)
        add_rows(g.y[2], from, before + 2 * row_blocks), put_rows<after + 2 * row_vectors>(g.y[2], to);
}
// SPDX-License-Identifier: BSL-1.0
// Keystream, XORed into packets: one text for all instruction sets. Text for a kernel's namespace, after chacha20.inl.
//
// Of one packet: the first block is the one-time key and the message follows, so that one step makes both. Of many:
// blocks of all packets, the one-time keys among them, fill the lanes one after the other, so that no lane is idle but
// in the last step; which packet a lane serves matters only where its state is written and its keystream taken.

/// Keystream that is XORed into a message, after the one-time key if that is wanted.
struct to_message {
    byte* dst;
    byte const* src;
    std::size_t size;
    byte* one_time_key; ///< room for a block; nullptr: not in this step

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        std::size_t at = Number * vector_bytes;
        if (one_time_key != nullptr) {
            if constexpr (Number * vector_bytes < chacha20_block_bytes)
                return store(one_time_key + Number * vector_bytes, keystream);
            at -= chacha20_block_bytes;
        }
        if (at < size) xor_vector(dst + at, src + at, keystream, size - at);
    }
};

template <int Lanes, int Rows>
WG_TARGET_FUNCTION void make_keystream(std::uint32_t const* words, to_message const& to) noexcept {
    chacha20_step<Lanes, Rows>(consecutive_blocks{words}, to);
}

struct keystream_maker {
    std::uint32_t* words; ///< of the next block
    to_message const& to;

    template <int Lanes, int Rows> WG_TARGET std::size_t make() const noexcept {
        constexpr std::size_t made = Lanes * lane_blocks + Rows * row_blocks;
        make_keystream<Lanes, Rows>(words, to);
        words[12] += static_cast<std::uint32_t>(made);
        return made;
    }
};

/// The next `blocks` of a packet, or as many as one step makes; how many. Advances the counter.
WG_TARGET std::size_t make_keystream(std::uint32_t* words, std::size_t blocks, to_message const& to) noexcept {
    return take_step(keystream_maker{words, to}, blocks);
}

WG_TARGET void set_words(std::uint32_t* to, std::uint32_t a, std::uint32_t b, std::uint32_t c,
                         std::uint32_t d) noexcept {
    std::uint32_t __attribute__((vector_size(16))) const words = {a, b, c, d};
    std::memcpy(to, &words, sizeof words);
}
WG_TARGET void copy_words(std::uint32_t* to, byte const* from) noexcept {
    set_words(to, load_le32(from), load_le32(from + 4), load_le32(from + 8), load_le32(from + 12));
}

/// What is secret of one packet and has to lie in memory.
struct alignas(64) packet_secrets {
    byte one_time_key[chacha20_block_bytes]; ///< its second half has no use
    std::uint32_t words[16];

    WG_TARGET packet_secrets(byte const* key, packet_nonce const& nonce) noexcept {
        // in pieces of the size in which they are read again: other stores could not be forwarded to the loads
        set_words(words, 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574); // "expand 32-byte k"
        copy_words(words + 4, key);
        copy_words(words + 8, key + 16);
        set_words(words + 12, 0, nonce.words[0], nonce.words[1], nonce.words[2]);
    }
};

/// Blocks of keystream that a message takes, with the one-time key.
constexpr std::size_t blocks_of(std::size_t size) noexcept {
    return 1 + (size + chacha20_block_bytes - 1) / chacha20_block_bytes;
}

/// Where the keystream of a lane goes: dst = src ^ keystream, at most a block.
struct lane_target {
    byte* dst;
    byte const* src;
    std::size_t size;
};

struct to_lanes {
    lane_target const* lanes;

    template <int Number> WG_TARGET void put(vector const& keystream) const noexcept {
        constexpr std::size_t block = Number / block_vectors, at = Number % block_vectors * vector_bytes;
        lane_target const& to = lanes[block];
        if (at < to.size) xor_vector(to.dst + at, to.src + at, keystream, to.size - at);
    }
};

template <int Lanes> WG_TARGET_FUNCTION void make_lanes(vector const* words, lane_target const* to) noexcept {
    chacha20_step<Lanes, 0>(separate_blocks{words}, to_lanes{to});
}

/// Collects blocks until there are enough for a step.
class block_queue {
public:
    static constexpr std::size_t capacity = batch_groups * lane_blocks;

    /// `shared_key`: that of all blocks; nullptr: each has its own.
    WG_TARGET explicit block_queue(byte const* shared_key) noexcept : shared_(shared_key != nullptr) {
        constexpr std::uint32_t sigma[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}; // "expand 32-byte k"
        for (std::size_t group = 0; group < 16 * batch_groups; group += 16) {
            for (std::size_t i = 0; i < 4; ++i) words_[group + i] = broadcast(sigma[i]);
            if (shared_)
                for (std::size_t i = 0; i < 8; ++i) words_[group + 4 + i] = broadcast(load_le32(shared_key + 4 * i));
            words_[group + 13] = broadcast(0);
        }
    }

    /// `count` blocks of the packet with this key and counter, from number `block` on.
    WG_TARGET void add(aead_item const& packet, std::uint32_t block, std::size_t count, lane_target to) noexcept {
        while (count != 0) {
            std::size_t const group = count_ / lane_blocks, place = count_ % lane_blocks;
            std::size_t const now = std::min(count, lane_blocks - place);
            vector* const words = words_ + 16 * group;
            if (!shared_)
                for (std::size_t i = 0; i < 8; ++i)
                    set_lanes(words[4 + i], place, now, load_le32(packet.key->expose().data() + 4 * i));
            count_lanes(words[12], place, now, block);
            set_lanes(words[14], place, now, static_cast<std::uint32_t>(packet.counter));
            set_lanes(words[15], place, now, static_cast<std::uint32_t>(packet.counter >> 32));
            for (std::size_t i = count_; i < count_ + now; ++i) {
                targets_[i] = to;
                to.dst += chacha20_block_bytes, to.src += chacha20_block_bytes, to.size -= chacha20_block_bytes;
            }
            block += static_cast<std::uint32_t>(now), count -= now, count_ += now;
            if (count_ == capacity) flush();
        }
    }

    /// The message itself.
    WG_TARGET void add_message(aead_item const& packet, std::size_t size) noexcept {
        add(packet, 1, blocks_of(size) - 1, {packet.dst.data(), packet.src.data(), size});
    }

    /// Makes the keystream of all blocks that were added.
    WG_TARGET void flush() noexcept {
        if (count_ == 0) return;
        for (std::size_t lane = count_; lane < capacity; ++lane) targets_[lane] = {nullptr, nullptr, 0};
        if (count_ <= lane_blocks)
            make_lanes<1>(words_, targets_);
        else
            make_lanes<batch_groups>(words_, targets_);
        count_ = 0;
    }

private:
    vector words_[16 * batch_groups];
    lane_target targets_[capacity];
    std::size_t count_ = 0;
    bool shared_;
};
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in whole registers. Text for a kernel's namespace that defines
// WG_TARGET.

/// Authenticates a packet while it is made: `start`, `absorb` as far as there is ciphertext, `finish`.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;    ///< any packet
    static constexpr std::size_t stack_bytes = 640;  ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 640; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0;
};

template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in two, four or eight lanes with products of 32-bit words. Text for a kernel's
// namespace that defines WG_TARGET, after vector128.inl, vector256.inl or vector512.inl.
//
// A field element is five limbs of 26 bits, so that many products can be added up in 64 bits before a reduction. What
// is made of this: poly1305_lanes.inl.

using limbs = word_pairs;
inline constexpr int poly_lane_count = sizeof(limbs) / sizeof(std::uint64_t);
inline constexpr std::size_t poly_merge_vectors = 16; ///< from so many on four at once pay for two more powers
/// From which on lanes are faster than words.
inline constexpr std::size_t poly_least_bytes = poly_lane_count == 2 ? 512 : 272;
inline constexpr std::size_t poly_stack_bytes = 3392; ///< of a function that seals with this
inline constexpr std::size_t poly_tags_stack_bytes = 3392; ///< of `make_tags`
#define WG_TARGET_AUTHENTICATOR WG_TARGET_FUNCTION // too large to be compiled into each of its users

WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x) noexcept { return x & ((std::uint64_t{1} << 26) - 1); }

/// A field element in each lane. *Tight*: all < 2^26 but l1 < 2^26 + 2^11 and l4 < 2^26 + 2^10.
struct poly_lanes {
    limbs l0, l1, l2, l3, l4;
};

/// A multiplier: tight, and its upper limbs times 5, which is 2^130 modulo 2^130 - 5; < 2^28.4.
struct poly_factor {
    limbs r0, r1, r2, r3, r4, s1, s2, s3, s4;
};

/// Sums of products for 2^(26 i).
struct poly_products {
    limbs d0, d1, d2, d3, d4;
};

/// Keeps the order of sums as it is written: g++ would compute many products before it adds them, and spill them.
WG_TARGET void add_up(poly_products& p) noexcept {
    asm("" : "+v"(p.d0), "+v"(p.d1), "+v"(p.d2), "+v"(p.d3), "+v"(p.d4));
}

/// p += a * r, which is five products of < 2^54.5 in each sum. At most four times before a reduction, with a tight or
/// a block.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 += multiply_words(a.l0, r.r0), p.d1 += multiply_words(a.l0, r.r1), p.d2 += multiply_words(a.l0, r.r2);
    p.d3 += multiply_words(a.l0, r.r3), p.d4 += multiply_words(a.l0, r.r4);
    add_up(p);
    p.d0 += multiply_words(a.l1, r.s4), p.d1 += multiply_words(a.l1, r.r0), p.d2 += multiply_words(a.l1, r.r1);
    p.d3 += multiply_words(a.l1, r.r2), p.d4 += multiply_words(a.l1, r.r3);
    add_up(p);
    p.d0 += multiply_words(a.l2, r.s3), p.d1 += multiply_words(a.l2, r.s4), p.d2 += multiply_words(a.l2, r.r0);
    p.d3 += multiply_words(a.l2, r.r1), p.d4 += multiply_words(a.l2, r.r2);
    add_up(p);
    p.d0 += multiply_words(a.l3, r.s2), p.d1 += multiply_words(a.l3, r.s3), p.d2 += multiply_words(a.l3, r.s4);
    p.d3 += multiply_words(a.l3, r.r0), p.d4 += multiply_words(a.l3, r.r1);
    add_up(p);
    p.d0 += multiply_words(a.l4, r.s1), p.d1 += multiply_words(a.l4, r.s2), p.d2 += multiply_words(a.l4, r.s3);
    p.d3 += multiply_words(a.l4, r.s4), p.d4 += multiply_words(a.l4, r.r0);
    add_up(p);
}

/// p modulo 2^130 - 5, tight. Before: each < 2^60.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    // two chains at once: from d0 and from d3
    limbs const d1 = p.d1 + (p.d0 >> 26), d4 = p.d4 + (p.d3 >> 26); // < 2^60 + 2^34
    limbs const d2 = p.d2 + (d1 >> 26), top = d4 >> 26;             // < 2^60 + 2^35; for 2^130, < 2^35
    limbs const l0 = low_bits(p.d0) + top + (top << 2);             // < 2^37.4
    limbs const d3 = low_bits(p.d3) + (d2 >> 26);                   // < 2^35
    poly_lanes h = {low_bits(l0), low_bits(d1) + (l0 >> 26), low_bits(d2), low_bits(d3), low_bits(d4) + (d3 >> 26)};
    // clang drops the cut to 32 bits before a product, for it can see that all are shorter, and forgets it then
    asm("" : "+v"(h.l0), "+v"(h.l1), "+v"(h.l2), "+v"(h.l3), "+v"(h.l4));
    return h;
}

WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero};
}

WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

WG_TARGET limbs times_five(limbs const& x) noexcept { return x + (x << 2); }
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0,           r.l1, r.l2, r.l3, r.l4, times_five(r.l1), times_five(r.l2), times_five(r.l3),
            times_five(r.l4)};
}

/// Blocks as their low and high words, and the end bit 2^128 where there is a block.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    return {low_bits(low), low_bits(low >> 26), low_bits((low >> 52) | (high << 12)), low_bits(high >> 14),
            (high >> 40) | end};
}
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 24); }
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs const a = (limbs)load(from), b = (limbs)load(from + vector_bytes);
    return split(pairs_of<0>(a, b), pairs_of<1>(a, b), end_bits());
}

WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept {
    p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2, p.d3 += m.l3, p.d4 += m.l4;
}

/// One lane in all lanes.
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2), spread<Lane>(a.l3), spread<Lane>(a.l4)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2),
            choose<Second>(a.l3, b.l3), choose<Second>(a.l4, b.l4)};
}

/// r as it comes out of the key, clamped.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^n ... r for blocks 0 ... n - 1.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    poly_lanes const r2 = multiply(r, factor_of(r));
    if constexpr (poly_lane_count == 2) {
        return choose<2>(r2, r);
    } else if constexpr (poly_lane_count == 4) {
        poly_lanes const upper = multiply(choose<4>(r2, r), factor_of(r2)); // exponents of the lanes: 4 4 3 4
        return choose<8>(choose<2>(upper, r2), r);                          // 4 2 3 1
    } else {
        poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
        poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
        poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
        return choose<0xaa>(eight, four);                                      // 8 4 7 3 6 2 5 1
    }
}

/// A vector of blocks of `from`, from number `first` on: before number 0 there is nothing, and after `count` there is
/// `tail`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                 byte const* tail) noexcept {
    static constexpr byte nothing[poly1305_block_bytes] = {};
    byte const* at[poly_lane_count];
    std::uint64_t end[poly_lane_count];
    for (std::ptrdiff_t i = 0; i < poly_lane_count; ++i) {
        std::ptrdiff_t const block = first + i;
        at[i] = block < 0 ? nothing : block < count ? from + 16 * block : tail + 16 * (block - count);
        end[i] = block < 0 ? 0 : std::uint64_t{1} << 24;
    }
    limbs low, high;
    load_pairs(at, low, high);
    return split(low, high, in_lanes(end));
}

/// The sum of all lanes: low + 2^64 high. low < 2^64, high < 2^69.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^29
    uint128 const lower = (uint128{l2} << 52) + (l1 << 26) + l0;                 // < 2^82
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{sum_of(h.l4)} << 40) + (sum_of(h.l3) << 14) + static_cast<std::uint64_t>(lower >> 64);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in lanes: one text for all limbs. Text for a kernel's namespace that
// defines WG_TARGET, after poly1305_ifma.inl or poly1305_mul32.inl, which define WG_TARGET_AUTHENTICATOR.
//
// Block i of as many as there are lanes has a lane of its own; with h the sums of the lanes, n their count and R = r^n,
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3        for each four vectors m0..m3
//
// which takes one reduction for four vectors; in the end lane i is multiplied by r^(n - i), and all are added.

/// The multiplier of one message and its powers.
struct poly_powers {
    poly_factor last;               ///< r^n ... r for block 0 ... n - 1
    poly_factor by1, by2, by3, by4; ///< R, R^2, R^3, R^4; those after the first only if there are vectors for them

    /// `vectors` follow the first.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        constexpr int all = (1 << poly_lane_count) - 1, lower = (1 << poly_lane_count / 2) - 1;
        poly_lanes const lanes = powers_of_lanes(r), one = spread<0>(lanes);
        last = factor_of(lanes);
        by1 = factor_of(one);
        by2 = by1;
        asm("" : "=m"(by3), "=m"(by4)); // not read unless set below; g++ 12 cannot see that
        if (vectors < 2) return;
        poly_lanes const two = multiply(one, by1);
        by2 = factor_of(two);
        if (vectors < poly_merge_vectors) return;
        poly_lanes const more = multiply(choose<all & ~lower>(one, two), by2);
        by3 = factor_of(spread<0>(more));
        by4 = factor_of(spread<poly_lane_count - 1>(more));
    }
};

/// Authenticates a packet without further data while it is made: `start`, `absorb` as far as there is ciphertext,
/// `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = poly_least_bytes;
    static constexpr std::size_t stack_bytes = poly_stack_bytes;           ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = poly_tags_stack_bytes; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext, `least_bytes` or more.
    WG_TARGET_AUTHENTICATOR void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        static_assert(least_bytes > (lanes - 1) * std::ptrdiff_t{poly1305_block_bytes}); // so there are two vectors
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last are the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + lanes - 1) / lanes;
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - lanes * vectors; // blocks that are nothing fill up the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_merge_vectors;
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - lanes ? end : total_ - lanes);
    }

    WG_TARGET_AUTHENTICATOR void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - lanes;
        byte tail[2 * poly1305_block_bytes] = {};
        std::size_t const over = size_ % poly1305_block_bytes;
        std::memcpy(tail, message_ + (size_ - over), over);
        byte* const lengths = tail + (over != 0 ? poly1305_block_bytes : 0);
        store_le64(lengths + 8, size_);
        poly_lanes const end = load_blocks(message_, last, blocks_, tail);
        if (next_ <= 0) begin();
        if (has_many_) absorb_blocks(last);
        absorb_last(end, last);
        poly1305_state<limbs64> state;
        state.start(key);
        join(state, multiply(h_, powers_.last));
        state.finish(tag, key + poly1305_block_bytes);
    }

private:
    static constexpr std::ptrdiff_t lanes = poly_lane_count;
    static constexpr std::size_t vector_blocks_bytes = poly_lane_count * poly1305_block_bytes;

    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += lanes;
    }

    /// Four vectors at once, as many as end at or before `end`.
    WG_TARGET_AUTHENTICATOR void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 4 * lanes <= end; next_ += 4 * lanes) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 3 * vector_blocks_bytes));
            multiply_add(p, split_blocks(from + 2 * vector_blocks_bytes), powers_.by1);
            multiply_add(p, split_blocks(from + vector_blocks_bytes), powers_.by2);
            multiply_add(p, split_blocks(from), powers_.by3);
            multiply_add(p, h, powers_.by4);
            h = reduce(p);
        }
        h_ = h;
    }

    /// The vectors up to `last`, two at once, and then the last.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > lanes; left -= 2 * lanes, from += 2 * vector_blocks_bytes) {
            poly_products p = no_products();
            add(p, split_blocks(from + vector_blocks_bytes));
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
        } else {
            multiply_add(p, h, powers_.by1);
        }
        h_ = reduce(p);
    }

    /// The sum of all lanes, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t low;
        uint128 high;
        add_lanes(h, low, high);
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66); // for 2^130; < 2^5
        uint128 const folded = uint128{low} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole ones of the message; all
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed
    bool has_many_ = false;
};

WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}
#undef WG_TARGET_AUTHENTICATOR
// SPDX-License-Identifier: BSL-1.0
// Poly1305 of many packets, one after the other. Text for a kernel's namespace, after its authenticators.

WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    for (packet_tag& packet : packets) make_tag(packet);
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet: one text for all instruction sets. Text for the namespace of
// a kernel that defines WG_TARGET and WG_TARGET_FUNCTION, the attributes of what is inlined and of what is called, and
// that has included keystream.inl and has authenticators.

template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// The tag is checked before a byte is decrypted. `Blocks` of keystream at most are made before that, and kept.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the one-time key comes first
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, std::min(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 of many packets: one text for all instruction sets. Text for a kernel's namespace, after
// keystream.inl and a `make_tags`.

/// Packets that are worked on at once; their secrets.
struct alignas(64) batch_secrets {
    packet_tag packets[batch_capacity];
    block_queue blocks;

    /// `opening`: the ciphertext is the source.
    WG_TARGET batch_secrets(std::span<aead_item> items, bool opening) noexcept : blocks(shared_key(items)) {
        static constexpr byte zeros[sizeof packet_tag::key] = {};
        for (std::size_t i = 0; i < items.size(); ++i) {
            packets[i].message = opening ? items[i].src.data() : items[i].dst.data();
            packets[i].size = opening ? items[i].dst.size() : items[i].src.size();
            blocks.add(items[i], 0, 1, {packets[i].key, zeros, sizeof zeros});
        }
    }

    static byte const* shared_key(std::span<aead_item> items) noexcept {
        for (aead_item const& item : items)
            if (item.key != items[0].key) return nullptr;
        return items[0].key->expose().data();
    }
};

/// At most `batch_capacity` packets.
WG_TARGET_FUNCTION void seal_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, false);
    for (aead_item const& item : items) secrets.blocks.add_message(item, item.src.size());
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(items[i].dst.data() + items[i].src.size(), secrets.packets[i].tag, tag_bytes);
}

/// Likewise. A packet is decrypted after its tag was found right.
WG_TARGET_FUNCTION void open_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, true);
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i) {
        aead_item& item = items[i];
        item.good = equal_in_constant_time(secrets.packets[i].tag, item.src.last(tag_bytes));
        if (item.good) secrets.blocks.add_message(item, item.dst.size());
    }
    secrets.blocks.flush();
    for (aead_item const& item : items)
        if (!item.good) fill_zero(item.dst);
}
namespace few = kernel_avx512vl;
// SPDX-License-Identifier: BSL-1.0
// How a kernel is used from outside. Text for a kernel's namespace, the last of its texts; `few` is the namespace that
// has what is best for packets of few blocks, and for those with further data.

WG_TARGET_FUNCTION void wipe_all_registers() noexcept { wipe_registers(); }

/// The functions of an AEAD over this instruction set. They leave nothing on the stack or in vector registers.
struct kernel {
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            few::seal_packet<few::scalar_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes>();
        } else {
            seal_packet<lanes_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + step_stack_bytes>();
        }
    }
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool genuine;
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            genuine = few::open_packet<few::scalar_authenticator, few::most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes + few::most_blocks * chacha20_block_bytes>();
        } else {
            genuine = open_packet<lanes_authenticator, most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + most_blocks * chacha20_block_bytes + step_stack_bytes>();
        }
        return genuine;
    }
    static void seal_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            seal_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item const& one : items)
            seal(one.dst.data(), one.src.data(), one.src.size(), {}, packet_nonce::of(one.counter),
                 one.key->expose().data());
    }
    static void open_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            open_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item& one : items) {
            one.good = open(one.dst.data(), one.src.data(), one.dst.size(), {}, packet_nonce::of(one.counter),
                            one.key->expose().data());
            if (!one.good) fill_zero(one.dst);
        }
    }

private:
    static constexpr std::size_t few_stack_bytes = few::scalar_authenticator::stack_bytes + few::step_stack_bytes;
    static constexpr std::size_t batch_stack_bytes =
        sizeof(batch_secrets) + std::max(lanes_authenticator::tags_stack_bytes, step_stack_bytes) + 2048;

    template <std::size_t Bytes> static void leave_nothing() noexcept {
        wipe_stack<Bytes>();
        wipe_all_registers();
    }
};
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_avx512

namespace kernel_ifma {
#define WG_TARGET [[gnu::always_inline, WG_TARGET_IFMA]] inline
#define WG_TARGET_FUNCTION [[gnu::noinline, WG_TARGET_IFMA]] inline
using namespace kernel_avx512; // its keystream
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in whole registers. Text for a kernel's namespace that defines
// WG_TARGET.

/// Authenticates a packet while it is made: `start`, `absorb` as far as there is ciphertext, `finish`.
class scalar_authenticator {
public:
    static constexpr std::size_t least_bytes = 0;    ///< any packet
    static constexpr std::size_t stack_bytes = 640;  ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = 640; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext.
    WG_TARGET void start(byte const* key, byte const* message, std::size_t size, bytes_view aad) noexcept {
        message_ = message, size_ = size, aad_bytes_ = aad.size();
        state_.start(key);
        absorb_padded(aad.data(), aad.size());
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::size_t const blocks = (available - done_) / poly1305_block_bytes;
        state_.absorb(message_ + done_, blocks, 1);
        done_ += blocks * poly1305_block_bytes;
    }

    WG_TARGET void finish(byte* tag, byte const* key) noexcept {
        absorb_padded(message_ + done_, size_ - done_);
        byte lengths[poly1305_block_bytes];
        store_le64(lengths, aad_bytes_);
        store_le64(lengths + 8, size_);
        state_.absorb(lengths, 1, 1);
        state_.finish(tag, key + poly1305_block_bytes);
    }

private:
    WG_TARGET void absorb_padded(byte const* from, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes, over = size % poly1305_block_bytes;
        state_.absorb(from, whole, 1);
        if (over == 0) return;
        byte last[poly1305_block_bytes] = {};
        std::memcpy(last, from + (size - over), over);
        state_.absorb(last, 1, 1);
    }

    poly1305_state<default_limbs> state_{};
    byte const* message_ = nullptr;
    std::size_t size_ = 0, aad_bytes_ = 0, done_ = 0;
};

template <class Authenticator> WG_TARGET void make_tag(packet_tag& packet) noexcept {
    Authenticator mac;
    mac.start(packet.key, packet.message, packet.size, {});
    mac.finish(packet.tag, packet.key);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) in eight lanes with the 52-bit products of AVX512-IFMA. Text for a kernel's
// namespace that defines WG_TARGET.
//
// A field element is three limbs, 2^0, 2^44 and 2^88, that may grow to the 52 bits which IFMA takes: so products are
// added up without a carry between them, and a reduction is one short pass. What is made of this: poly1305_lanes.inl.

using limbs = std::uint64_t __attribute__((vector_size(64)));
inline constexpr int poly_lane_count = 8;
inline constexpr std::size_t poly_merge_vectors = 16; ///< from so many on four at once pay for two more powers
inline constexpr std::size_t poly_least_bytes = 272; ///< from which on lanes are faster than words
inline constexpr std::size_t poly_stack_bytes = 3392; ///< of a function that seals with this
inline constexpr std::size_t poly_tags_stack_bytes = 6144; ///< of `make_tags`
#define WG_TARGET_AUTHENTICATOR WG_TARGET

/// sum + the low 52 bits of a product of 52-bit factors; and of the others.
WG_TARGET limbs add_low(limbs const& sum, limbs const& a, limbs const& b) noexcept {
    return (limbs)_mm512_madd52lo_epu64((__m512i)sum, (__m512i)a, (__m512i)b);
}
WG_TARGET limbs add_high(limbs const& sum, limbs const& a, limbs const& b) noexcept {
    return (limbs)_mm512_madd52hi_epu64((__m512i)sum, (__m512i)a, (__m512i)b);
}
WG_TARGET limbs all_lanes(std::uint64_t value) noexcept { return value + limbs{}; }
WG_TARGET limbs low_bits(limbs const& x, int count) noexcept { return x & ((std::uint64_t{1} << count) - 1); }

/// A field element in each lane. *Tight*: l0 < 2^44, l1 < 2^44 + 2^14, l2 < 2^42 + 2^14.
struct poly_lanes {
    limbs l0, l1, l2;
};

/// A multiplier: tight, and its upper limbs times 20, which is 2^132 modulo 2^130 - 5; < 2^49.
struct poly_factor {
    limbs r0, r1, r2, s1, s2;
};

/// Sums of products: for 2^(44 i) their low 52 bits in d_i, the others in e_i.
struct poly_products {
    limbs d0, d1, d2, e0, e1, e2;
};

/// p += a * r. At most four times before a reduction, with a tight or a block.
WG_TARGET void multiply_add(poly_products& p, poly_lanes const& a, poly_factor const& r) noexcept {
    p.d0 = add_low(p.d0, a.l0, r.r0), p.e0 = add_high(p.e0, a.l0, r.r0);
    p.d1 = add_low(p.d1, a.l0, r.r1), p.e1 = add_high(p.e1, a.l0, r.r1);
    p.d2 = add_low(p.d2, a.l0, r.r2), p.e2 = add_high(p.e2, a.l0, r.r2);
    p.d0 = add_low(p.d0, a.l1, r.s2), p.e0 = add_high(p.e0, a.l1, r.s2);
    p.d1 = add_low(p.d1, a.l1, r.r0), p.e1 = add_high(p.e1, a.l1, r.r0);
    p.d2 = add_low(p.d2, a.l1, r.r1), p.e2 = add_high(p.e2, a.l1, r.r1);
    p.d0 = add_low(p.d0, a.l2, r.s1), p.e0 = add_high(p.e0, a.l2, r.s1);
    p.d1 = add_low(p.d1, a.l2, r.s2), p.e1 = add_high(p.e1, a.l2, r.s2);
    p.d2 = add_low(p.d2, a.l2, r.r0), p.e2 = add_high(p.e2, a.l2, r.r0);
}

/// p modulo 2^130 - 5, tight. Before: each d < 12 * 2^52 + 2^44, each e < 12 * 2^41, e2 < 12 * 2^37.
WG_TARGET poly_lanes reduce(poly_products const& p) noexcept {
    limbs const d1 = p.d1 + (p.e0 << 8), d2 = p.d2 + (p.e1 << 8); // < 2^56
    limbs const top = (d2 >> 42) + (p.e2 << 10);                  // for 2^130; < 2^51
    limbs const l0 = low_bits(p.d0, 44) + top + (top << 2);       // < 2^54
    limbs const l1 = low_bits(d1, 44) + (p.d0 >> 44);
    limbs const l2 = low_bits(d2, 42) + (d1 >> 44);
    return {low_bits(l0, 44), l1 + (l0 >> 44), l2};
}

WG_TARGET poly_products no_products() noexcept {
    limbs const zero = {};
    return {zero, zero, zero, zero, zero, zero};
}

WG_TARGET poly_lanes multiply(poly_lanes const& a, poly_factor const& r) noexcept {
    poly_products p = no_products();
    multiply_add(p, a, r);
    return reduce(p);
}

/// x < 2^47. By IFMA, for clang makes a slow multiplication of two shifts and an addition.
WG_TARGET limbs times_twenty(limbs const& x) noexcept {
    return add_low(limbs{}, x, all_lanes(20));
}
WG_TARGET poly_factor factor_of(poly_lanes const& r) noexcept {
    return {r.l0, r.l1, r.l2, times_twenty(r.l1), times_twenty(r.l2)};
}

/// Eight blocks as their low and high words, and the end bit 2^128 where there is a block.
WG_TARGET poly_lanes split(limbs const& low, limbs const& high, limbs const& end) noexcept {
    limbs const middle = (limbs)_mm512_shrdi_epi64((__m512i)low, (__m512i)high, 44);
    return {low_bits(low, 44), low_bits(middle, 44), (high >> 24) | end};
}

/// The first or second word of each pair of a and b: in lanes 0, 2, 4, 6 those of a.
template <int Word> WG_TARGET limbs words_of(limbs const& a, limbs const& b) noexcept {
    return __builtin_shufflevector(a, b, Word, Word + 8, Word + 2, Word + 10, Word + 4, Word + 12, Word + 6, Word + 14);
}
/// Blocks 0-3 and 4-7 of a message; block i goes to lane 0, 2, 4, 6, 1, 3, 5, 7.
WG_TARGET poly_lanes split_pairs(limbs const& a, limbs const& b, limbs const& end) noexcept {
    return split(words_of<0>(a, b), words_of<1>(a, b), end);
}
WG_TARGET limbs end_bits() noexcept { return all_lanes(std::uint64_t{1} << 40); }
WG_TARGET poly_lanes split_blocks(byte const* from) noexcept {
    limbs a, b;
    std::memcpy(&a, from, sizeof a);
    std::memcpy(&b, from + sizeof a, sizeof b);
    return split_pairs(a, b, end_bits());
}

WG_TARGET void add(poly_products& p, poly_lanes const& m) noexcept { p.d0 += m.l0, p.d1 += m.l1, p.d2 += m.l2; }

/// One lane in all lanes.
template <int Lane> WG_TARGET limbs spread(limbs const& x) noexcept {
    return __builtin_shufflevector(x, x, Lane, Lane, Lane, Lane, Lane, Lane, Lane, Lane);
}
template <int Lane> WG_TARGET poly_lanes spread(poly_lanes const& a) noexcept {
    return {spread<Lane>(a.l0), spread<Lane>(a.l1), spread<Lane>(a.l2)};
}
/// The lanes of b where a bit of `Second` is set, of a elsewhere.
template <int Second> WG_TARGET limbs choose(limbs const& a, limbs const& b) noexcept {
    return (limbs)_mm512_mask_mov_epi64((__m512i)a, Second, (__m512i)b);
}
template <int Second> WG_TARGET poly_lanes choose(poly_lanes const& a, poly_lanes const& b) noexcept {
    return {choose<Second>(a.l0, b.l0), choose<Second>(a.l1, b.l1), choose<Second>(a.l2, b.l2)};
}

/// r as it comes out of the key, clamped.
WG_TARGET poly_lanes poly_multiplier(std::uint64_t r0, std::uint64_t r1) noexcept {
    return split(all_lanes(r0), all_lanes(r1), limbs{});
}

/// r^8 ... r for blocks 0 ... 7.
WG_TARGET poly_lanes powers_of_lanes(poly_lanes const& r) noexcept {
    // exponents of the lanes in the end: 8 4 7 3 6 2 5 1
    poly_lanes const r2 = multiply(r, factor_of(r));
    poly_lanes const upper = multiply(choose<0x0c>(r2, r), factor_of(r2)); // 4 4 3 3
    poly_lanes const four = choose<0xc0>(choose<0x30>(upper, r2), r);      // 4 4 3 3 2 2 1 1
    poly_lanes const eight = multiply(four, factor_of(spread<0>(upper)));  // 8 8 7 7 6 6 5 5
    return choose<0xaa>(eight, four);
}

/// Eight blocks of `from`, from number `first` on: before number 0 there is nothing, and after `count` there is `tail`.
WG_TARGET poly_lanes load_blocks(byte const* from, std::ptrdiff_t first, std::ptrdiff_t count,
                                        byte const* tail) noexcept {
    std::ptrdiff_t const left = count - first;
    unsigned const absent = first < 0 ? static_cast<unsigned>(-first) : 0;
    unsigned const words = 0xffffu << 2 * absent & 0xffffu; // two a block
    unsigned const ours = words & ((1u << 2 * (left < 8 ? static_cast<unsigned>(left) : 8)) - 1);
    unsigned const theirs = words & ~ours;
    byte const* const here = from + 16 * first; // what lies outside is masked
    byte const* const there = tail - 16 * left;
    __m512i const a = _mm512_mask_loadu_epi64(_mm512_maskz_loadu_epi64(static_cast<__mmask8>(ours), here),
                                              static_cast<__mmask8>(theirs), there);
    __m512i const b = _mm512_mask_loadu_epi64(_mm512_maskz_loadu_epi64(static_cast<__mmask8>(ours >> 8), here + 64),
                                              static_cast<__mmask8>(theirs >> 8), there + 64);
    limbs const block_of_lane = {0, 4, 1, 5, 2, 6, 3, 7};
    return split_pairs((limbs)a, (limbs)b, (limbs)(block_of_lane >= all_lanes(absent)) & end_bits());
}

WG_TARGET std::uint64_t sum_of(limbs const& x) noexcept {
    auto const four = __builtin_shufflevector(x, x, 0, 1, 2, 3) + __builtin_shufflevector(x, x, 4, 5, 6, 7);
    auto const two = __builtin_shufflevector(four, four, 0, 1) + __builtin_shufflevector(four, four, 2, 3);
    return two[0] + two[1];
}

/// The sum of all lanes: low + 2^64 high. low < 2^64, high < 2^71.
WG_TARGET void add_lanes(poly_lanes const& h, std::uint64_t& low, uint128& high) noexcept {
    std::uint64_t const l0 = sum_of(h.l0), l1 = sum_of(h.l1), l2 = sum_of(h.l2); // < 2^48, 2^48, 2^46
    uint128 const lower = (uint128{l1} << 44) + l0;                              // < 2^93
    low = static_cast<std::uint64_t>(lower);
    high = (uint128{l2} << 24) + static_cast<std::uint64_t>(lower >> 64);
}
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of a packet in lanes: one text for all limbs. Text for a kernel's namespace that
// defines WG_TARGET, after poly1305_ifma.inl or poly1305_mul32.inl, which define WG_TARGET_AUTHENTICATOR.
//
// Block i of as many as there are lanes has a lane of its own; with h the sums of the lanes, n their count and R = r^n,
//
//     h = h R^4 + m0 R^3 + m1 R^2 + m2 R + m3        for each four vectors m0..m3
//
// which takes one reduction for four vectors; in the end lane i is multiplied by r^(n - i), and all are added.

/// The multiplier of one message and its powers.
struct poly_powers {
    poly_factor last;               ///< r^n ... r for block 0 ... n - 1
    poly_factor by1, by2, by3, by4; ///< R, R^2, R^3, R^4; those after the first only if there are vectors for them

    /// `vectors` follow the first.
    WG_TARGET void prepare(poly_lanes const& r, std::size_t vectors) noexcept {
        constexpr int all = (1 << poly_lane_count) - 1, lower = (1 << poly_lane_count / 2) - 1;
        poly_lanes const lanes = powers_of_lanes(r), one = spread<0>(lanes);
        last = factor_of(lanes);
        by1 = factor_of(one);
        by2 = by1;
        asm("" : "=m"(by3), "=m"(by4)); // not read unless set below; g++ 12 cannot see that
        if (vectors < 2) return;
        poly_lanes const two = multiply(one, by1);
        by2 = factor_of(two);
        if (vectors < poly_merge_vectors) return;
        poly_lanes const more = multiply(choose<all & ~lower>(one, two), by2);
        by3 = factor_of(spread<0>(more));
        by4 = factor_of(spread<poly_lane_count - 1>(more));
    }
};

/// Authenticates a packet without further data while it is made: `start`, `absorb` as far as there is ciphertext,
/// `finish`.
class lanes_authenticator {
public:
    static constexpr std::size_t least_bytes = poly_least_bytes;
    static constexpr std::size_t stack_bytes = poly_stack_bytes;           ///< of a function that seals with this
    static constexpr std::size_t tags_stack_bytes = poly_tags_stack_bytes; ///< of `make_tags`

    /// `message` has or will have `size` bytes of ciphertext, `least_bytes` or more.
    WG_TARGET_AUTHENTICATOR void start(byte const* key, byte const* message, std::size_t size, bytes_view) noexcept {
        static_assert(least_bytes > (lanes - 1) * std::ptrdiff_t{poly1305_block_bytes}); // so there are two vectors
        message_ = message, size_ = size;
        blocks_ = static_cast<std::ptrdiff_t>(size / poly1305_block_bytes);
        total_ = blocks_ + (size % poly1305_block_bytes != 0) + 1; // the last are the lengths
        poly1305_state<limbs64> state;
        state.start(key);
        std::ptrdiff_t const vectors = (total_ + lanes - 1) / lanes;
        powers_.prepare(poly_multiplier(state.r0, state.r1), static_cast<std::size_t>(vectors - 1));
        next_ = total_ - lanes * vectors; // blocks that are nothing fill up the first vector
        has_many_ = static_cast<std::size_t>(vectors) > poly_merge_vectors;
    }

    /// The first `available` bytes of ciphertext are there.
    WG_TARGET void absorb(std::size_t available) noexcept {
        std::ptrdiff_t const end = static_cast<std::ptrdiff_t>(available / poly1305_block_bytes);
        if (has_many_) absorb_blocks(end < total_ - lanes ? end : total_ - lanes);
    }

    WG_TARGET_AUTHENTICATOR void finish(byte* tag, byte const* key) noexcept {
        std::ptrdiff_t const last = total_ - lanes;
        byte tail[2 * poly1305_block_bytes] = {};
        std::size_t const over = size_ % poly1305_block_bytes;
        std::memcpy(tail, message_ + (size_ - over), over);
        byte* const lengths = tail + (over != 0 ? poly1305_block_bytes : 0);
        store_le64(lengths + 8, size_);
        poly_lanes const end = load_blocks(message_, last, blocks_, tail);
        if (next_ <= 0) begin();
        if (has_many_) absorb_blocks(last);
        absorb_last(end, last);
        poly1305_state<limbs64> state;
        state.start(key);
        join(state, multiply(h_, powers_.last));
        state.finish(tag, key + poly1305_block_bytes);
    }

private:
    static constexpr std::ptrdiff_t lanes = poly_lane_count;
    static constexpr std::size_t vector_blocks_bytes = poly_lane_count * poly1305_block_bytes;

    WG_TARGET void begin() noexcept {
        h_ = load_blocks(message_, next_, blocks_, nullptr);
        next_ += lanes;
    }

    /// Four vectors at once, as many as end at or before `end`.
    WG_TARGET_AUTHENTICATOR void absorb_blocks(std::ptrdiff_t end) noexcept {
        if (next_ <= 0 && end > 0) begin();
        poly_lanes h = h_;
        for (; next_ + 4 * lanes <= end; next_ += 4 * lanes) {
            byte const* const from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
            poly_products p = no_products();
            add(p, split_blocks(from + 3 * vector_blocks_bytes));
            multiply_add(p, split_blocks(from + 2 * vector_blocks_bytes), powers_.by1);
            multiply_add(p, split_blocks(from + vector_blocks_bytes), powers_.by2);
            multiply_add(p, split_blocks(from), powers_.by3);
            multiply_add(p, h, powers_.by4);
            h = reduce(p);
        }
        h_ = h;
    }

    /// The vectors up to `last`, two at once, and then the last.
    WG_TARGET void absorb_last(poly_lanes const& end, std::ptrdiff_t last) noexcept {
        poly_lanes h = h_;
        byte const* from = message_ + poly1305_block_bytes * static_cast<std::size_t>(next_);
        std::ptrdiff_t left = last - next_;
        for (; left > lanes; left -= 2 * lanes, from += 2 * vector_blocks_bytes) {
            poly_products p = no_products();
            add(p, split_blocks(from + vector_blocks_bytes));
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
            h = reduce(p);
        }
        poly_products p = no_products();
        add(p, end);
        if (left != 0) {
            multiply_add(p, split_blocks(from), powers_.by1);
            multiply_add(p, h, powers_.by2);
        } else {
            multiply_add(p, h, powers_.by1);
        }
        h_ = reduce(p);
    }

    /// The sum of all lanes, in words.
    WG_TARGET static void join(poly1305_state<limbs64>& to, poly_lanes const& h) noexcept {
        std::uint64_t low;
        uint128 high;
        add_lanes(h, low, high);
        std::uint64_t const top = static_cast<std::uint64_t>(high >> 66); // for 2^130; < 2^5
        uint128 const folded = uint128{low} + 5 * top;
        uint128 const upper = (high & ((uint128{1} << 66) - 1)) + static_cast<std::uint64_t>(folded >> 64);
        to.h0 = static_cast<std::uint64_t>(folded);
        to.h1 = static_cast<std::uint64_t>(upper);
        to.h2 = static_cast<std::uint64_t>(upper >> 64); // <= 4
    }

    poly_powers powers_;
    poly_lanes h_ = {};
    byte const* message_ = nullptr;
    std::size_t size_ = 0;
    std::ptrdiff_t blocks_ = 0, total_ = 0; ///< whole ones of the message; all
    std::ptrdiff_t next_ = 0;               ///< the first block that is not absorbed
    bool has_many_ = false;
};

WG_TARGET void make_tag(packet_tag& packet) noexcept {
    if (packet.size < lanes_authenticator::least_bytes) return make_tag<scalar_authenticator>(packet);
    make_tag<lanes_authenticator>(packet);
}
#undef WG_TARGET_AUTHENTICATOR
// SPDX-License-Identifier: BSL-1.0
// Poly1305 (RFC 8439, section 2.5) of many packets in lanes. Text for a kernel's namespace, after poly1305_lanes.inl.

/// Eight packets, each in a lane of its own.
class lanes_of_packets {
public:
    WG_TARGET explicit lanes_of_packets(packet_tag* const* packets) noexcept : packets_(packets) {
        byte const* keys[8];
        for (std::size_t i = 0; i < 8; ++i) {
            packet_tag const& p = *packets[i];
            keys[i] = p.key;
            messages_[i] = p.message;
            whole_[i] = p.size / poly1305_block_bytes;
            std::size_t const over = p.size % poly1305_block_bytes;
            if (over != 0) std::memcpy(tails_[i], p.message + (p.size - over), over);
            store_le64(tails_[i] + (over != 0 ? 24 : 8), p.size);
            total_[i] = whole_[i] + (over != 0) + 1;
            least_ = std::min(least_, whole_[i]);
            most_ = std::max(most_, total_[i]);
        }
        pairs const words = load(keys, 0);
        poly_lanes const r = split(words.low & 0x0ffffffc0fffffff, words.high & 0x0ffffffc0ffffffc, limbs{});
        r_ = factor_of(r);
        r2_ = factor_of(multiply(r, r_));
        s_ = load(keys, poly1305_block_bytes);
    }

    std::size_t least() const noexcept { return least_; } ///< whole blocks that all messages have
    std::size_t most() const noexcept { return most_; }   ///< blocks, with the last, of the longest

    /// Two blocks that all messages have.
    WG_TARGET void absorb_two(std::size_t block) noexcept {
        poly_products p = no_products();
        multiply_add(p, split_pair(load(messages_, poly1305_block_bytes * (block + 1))), r_);
        multiply_add(p, plus(h_, split_pair(load(messages_, poly1305_block_bytes * block))), r2_);
        h_ = reduce(p);
    }

    /// A block that some have.
    WG_TARGET void absorb_one(std::size_t block) noexcept {
        byte const* at[8];
        __mmask8 there = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            std::size_t const beyond = block < total_[i] ? block : total_[i] - 1; // what is loaded then is not used
            at[i] = block < whole_[i] ? messages_[i] + poly1305_block_bytes * block
                                      : tails_[i] + poly1305_block_bytes * (beyond - whole_[i]);
            there = static_cast<__mmask8>(there | (block < total_[i]) << lane_of(i));
        }
        poly_lanes const next = multiply(plus(h_, split_pair(load(at, 0))), r_);
        h_ = {keep(h_.l0, there, next.l0), keep(h_.l1, there, next.l1), keep(h_.l2, there, next.l2)};
    }

    WG_TARGET void finish() noexcept { store_tags(h_); }

private:
    /// Two words of each packet. Packet i is in lane 0, 2, 4, 6, 1, 3, 5, 7.
    struct pairs {
        limbs low, high;
    };
    static constexpr unsigned lane_of(std::size_t packet) noexcept {
        return static_cast<unsigned>(packet < 4 ? 2 * packet : 2 * packet - 7);
    }
    using one_block = std::uint64_t __attribute__((vector_size(16)));

    WG_TARGET static one_block load1(byte const* from) noexcept {
        one_block x;
        std::memcpy(&x, from, sizeof x);
        return x;
    }
    WG_TARGET static limbs load4(byte const* const* from, std::size_t at) noexcept {
        auto const a = __builtin_shufflevector(load1(from[0] + at), load1(from[1] + at), 0, 1, 2, 3);
        auto const b = __builtin_shufflevector(load1(from[2] + at), load1(from[3] + at), 0, 1, 2, 3);
        return __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    WG_TARGET static pairs load(byte const* const* from, std::size_t at) noexcept {
        limbs const a = load4(from, at), b = load4(from + 4, at);
        return {words_of<0>(a, b), words_of<1>(a, b)};
    }
    WG_TARGET static limbs keep(limbs const& old, __mmask8 there, limbs const& x) noexcept {
        return (limbs)_mm512_mask_mov_epi64((__m512i)old, there, (__m512i)x);
    }
    WG_TARGET static poly_lanes split_pair(pairs const& words) noexcept {
        return split(words.low, words.high, end_bits());
    }
    WG_TARGET static poly_lanes plus(poly_lanes const& h, poly_lanes const& m) noexcept {
        return {h.l0 + m.l0, h.l1 + m.l1, h.l2 + m.l2};
    }

    WG_TARGET void store_tags(poly_lanes h) noexcept {
        // Carry until all limbs are in their bits; what leaves at the top a second time leaves next to nothing below.
        for (int i = 0; i < 2; ++i) {
            h.l1 += h.l0 >> 44, h.l0 = low_bits(h.l0, 44);
            h.l2 += h.l1 >> 44, h.l1 = low_bits(h.l1, 44);
            limbs const top = h.l2 >> 42;
            h.l2 = low_bits(h.l2, 42);
            h.l0 += top + (top << 2);
        }
        // h < 2^130; it is >= p if h + 5 reaches 2^130
        limbs const g0 = h.l0 + 5, g1 = h.l1 + (g0 >> 44), g2 = h.l2 + (g1 >> 44);
        limbs const over = limbs{} - (g2 >> 42); // all ones or zero
        limbs const l0 = (low_bits(g0, 44) & over) | (h.l0 & ~over), l1 = (low_bits(g1, 44) & over) | (h.l1 & ~over);
        limbs const l2 = (g2 & over) | (h.l2 & ~over);
        limbs const low = (l0 | (l1 << 44)) + s_.low;
        limbs const high = ((l1 >> 20) | (l2 << 24)) + s_.high - (limbs)(low < s_.low); // true is all ones
        store4(packets_, words_of<0>(low, high)), store4(packets_ + 4, words_of<1>(low, high));
    }
    WG_TARGET static void store4(packet_tag* const* to, limbs const& x) noexcept {
        byte tags[4 * tag_bytes];
        std::memcpy(tags, &x, sizeof tags);
        for (std::size_t i = 0; i < 4; ++i) std::memcpy(to[i]->tag, tags + i * tag_bytes, tag_bytes);
    }

    packet_tag* const* packets_;
    byte const* messages_[8];
    byte tails_[8][2 * poly1305_block_bytes] = {}; ///< what is left of each message, padded; the lengths
    std::size_t whole_[8], total_[8], least_ = SIZE_MAX, most_ = 0;
    poly_factor r_, r2_;
    pairs s_;
    poly_lanes h_ = {};
};

/// Sixteen packets: while one half waits for its products, the other goes on.
WG_TARGET void tag_sixteen(packet_tag* const* packets) noexcept {
    lanes_of_packets a(packets), b(packets + 8);
    std::size_t const least = std::min(a.least(), b.least()), most = std::max(a.most(), b.most());
    std::size_t block = 0;
    for (; block + 2 <= least; block += 2) a.absorb_two(block), b.absorb_two(block);
    for (; block < most; ++block) a.absorb_one(block), b.absorb_one(block);
    a.finish(), b.finish();
}

WG_TARGET void tag_eight(packet_tag* const* packets) noexcept {
    lanes_of_packets a(packets);
    std::size_t block = 0;
    for (; block + 2 <= a.least(); block += 2) a.absorb_two(block);
    for (; block < a.most(); ++block) a.absorb_one(block);
    a.finish();
}

/// Packets of about one size go through the lanes together, others one by one.
WG_TARGET_FUNCTION void make_tags(std::span<packet_tag> packets) noexcept {
    packet_tag* by_size[batch_capacity + 15];
    for (std::size_t i = 0; i < packets.size(); ++i) {
        std::size_t at = i;
        for (; at > 0 && by_size[at - 1]->size > packets[i].size; --at) by_size[at] = by_size[at - 1];
        by_size[at] = &packets[i];
    }
    // the last fills up the lanes that are left
    for (std::size_t i = packets.size(); i < sizeof by_size / sizeof *by_size; ++i) by_size[i] = &packets.back();
    for (std::size_t begin = 0; begin < packets.size();) {
        std::size_t const left = packets.size() - begin, lanes = left > 8 ? 16 : 8, count = std::min(left, lanes);
        packet_tag* const* const group = by_size + begin;
        std::size_t bytes_in_all = 0;
        for (std::size_t i = 0; i < count; ++i) {
            packet_tag const* packet = group[i];
            asm("" : "+r"(packet)); // one by one: clang would gather the sizes, which is slower
            bytes_in_all += packet->size + 64;
        }
        // what a packet alone costs at least is about what eight of 64 bytes together cost
        if (8 * bytes_in_all < 3 * lanes * (group[count - 1]->size + 64))
            for (std::size_t i = 0; i < count; ++i) make_tag(*group[i]);
        else if (lanes == 16)
            tag_sixteen(group);
        else
            tag_eight(group);
        begin += count;
    }
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 (RFC 8439, section 2.8) of one packet: one text for all instruction sets. Text for the namespace of
// a kernel that defines WG_TARGET and WG_TARGET_FUNCTION, the attributes of what is inlined and of what is called, and
// that has included keystream.inl and has authenticators.

template <class Authenticator>
WG_TARGET_FUNCTION void seal_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    packet_secrets secrets(key, nonce);
    std::size_t done =
        make_keystream(secrets.words, blocks_of(size), to_message{dst, src, size, secrets.one_time_key}) - 1;
    Authenticator mac;
    mac.start(secrets.one_time_key, dst, size, aad);
    for (done *= chacha20_block_bytes; done < size;) {
        mac.absorb(done);
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    mac.finish(dst + size, secrets.one_time_key);
}

/// The tag is checked before a byte is decrypted. `Blocks` of keystream at most are made before that, and kept.
template <class Authenticator, std::size_t Blocks>
WG_TARGET_FUNCTION bool open_packet(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                    packet_nonce const& nonce, byte const* key) noexcept {
    static constexpr byte zeros[Blocks * chacha20_block_bytes] = {};
    alignas(64) byte keystream[Blocks * chacha20_block_bytes]; // the one-time key comes first
    constexpr std::size_t message_bytes = sizeof keystream - chacha20_block_bytes;
    packet_secrets secrets(key, nonce);
    std::size_t const made =
        make_keystream(secrets.words, std::min(Blocks, blocks_of(size)),
                       to_message{keystream + chacha20_block_bytes, zeros, message_bytes, keystream});
    Authenticator mac;
    secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
    mac.start(keystream, src, size, aad);
    mac.finish(tag.expose().data(), keystream);
    if (!equal_in_constant_time(tag.expose(), {src + size, tag_bytes})) return false;
    std::size_t done = 0;
    for (; done < size && done < (made - 1) * chacha20_block_bytes; done += vector_bytes)
        xor_vector(dst + done, src + done, load(keystream + chacha20_block_bytes + done), size - done);
    while (done < size) {
        std::size_t const left = size - done;
        done += chacha20_block_bytes *
                make_keystream(secrets.words, blocks_of(left) - 1, to_message{dst + done, src + done, left, nullptr});
    }
    return true;
}
// SPDX-License-Identifier: BSL-1.0
// ChaCha20-Poly1305 of many packets: one text for all instruction sets. Text for a kernel's namespace, after
// keystream.inl and a `make_tags`.

/// Packets that are worked on at once; their secrets.
struct alignas(64) batch_secrets {
    packet_tag packets[batch_capacity];
    block_queue blocks;

    /// `opening`: the ciphertext is the source.
    WG_TARGET batch_secrets(std::span<aead_item> items, bool opening) noexcept : blocks(shared_key(items)) {
        static constexpr byte zeros[sizeof packet_tag::key] = {};
        for (std::size_t i = 0; i < items.size(); ++i) {
            packets[i].message = opening ? items[i].src.data() : items[i].dst.data();
            packets[i].size = opening ? items[i].dst.size() : items[i].src.size();
            blocks.add(items[i], 0, 1, {packets[i].key, zeros, sizeof zeros});
        }
    }

    static byte const* shared_key(std::span<aead_item> items) noexcept {
        for (aead_item const& item : items)
            if (item.key != items[0].key) return nullptr;
        return items[0].key->expose().data();
    }
};

/// At most `batch_capacity` packets.
WG_TARGET_FUNCTION void seal_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, false);
    for (aead_item const& item : items) secrets.blocks.add_message(item, item.src.size());
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i)
        std::memcpy(items[i].dst.data() + items[i].src.size(), secrets.packets[i].tag, tag_bytes);
}

/// Likewise. A packet is decrypted after its tag was found right.
WG_TARGET_FUNCTION void open_packets(std::span<aead_item> items) noexcept {
    batch_secrets secrets(items, true);
    secrets.blocks.flush();
    make_tags({secrets.packets, items.size()});
    for (std::size_t i = 0; i < items.size(); ++i) {
        aead_item& item = items[i];
        item.good = equal_in_constant_time(secrets.packets[i].tag, item.src.last(tag_bytes));
        if (item.good) secrets.blocks.add_message(item, item.dst.size());
    }
    secrets.blocks.flush();
    for (aead_item const& item : items)
        if (!item.good) fill_zero(item.dst);
}
namespace few = kernel_avx512vl;
// SPDX-License-Identifier: BSL-1.0
// How a kernel is used from outside. Text for a kernel's namespace, the last of its texts; `few` is the namespace that
// has what is best for packets of few blocks, and for those with further data.

WG_TARGET_FUNCTION void wipe_all_registers() noexcept { wipe_registers(); }

/// The functions of an AEAD over this instruction set. They leave nothing on the stack or in vector registers.
struct kernel {
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            few::seal_packet<few::scalar_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes>();
        } else {
            seal_packet<lanes_authenticator>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + step_stack_bytes>();
        }
    }
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool genuine;
        if (size < lanes_authenticator::least_bytes || !aad.empty()) {
            genuine = few::open_packet<few::scalar_authenticator, few::most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<few_stack_bytes + few::most_blocks * chacha20_block_bytes>();
        } else {
            genuine = open_packet<lanes_authenticator, most_blocks>(dst, src, size, aad, nonce, key);
            leave_nothing<lanes_authenticator::stack_bytes + most_blocks * chacha20_block_bytes + step_stack_bytes>();
        }
        return genuine;
    }
    static void seal_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            seal_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item const& one : items)
            seal(one.dst.data(), one.src.data(), one.src.size(), {}, packet_nonce::of(one.counter),
                 one.key->expose().data());
    }
    static void open_batch(std::span<aead_item> items) noexcept {
        for (; items.size() > 1; items = items.subspan(std::min(batch_capacity, items.size()))) {
            open_packets(items.first(std::min(batch_capacity, items.size())));
            leave_nothing<batch_stack_bytes>();
        }
        for (aead_item& one : items) {
            one.good = open(one.dst.data(), one.src.data(), one.dst.size(), {}, packet_nonce::of(one.counter),
                            one.key->expose().data());
            if (!one.good) fill_zero(one.dst);
        }
    }

private:
    static constexpr std::size_t few_stack_bytes = few::scalar_authenticator::stack_bytes + few::step_stack_bytes;
    static constexpr std::size_t batch_stack_bytes =
        sizeof(batch_secrets) + std::max(lanes_authenticator::tags_stack_bytes, step_stack_bytes) + 2048;

    template <std::size_t Bytes> static void leave_nothing() noexcept {
        wipe_stack<Bytes>();
        wipe_all_registers();
    }
};
#undef WG_TARGET
#undef WG_TARGET_FUNCTION
} // namespace kernel_ifma

#endif

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {
namespace bundled {

/// The kernel of a WG_COMPACT build; portable.
class compact_kernel {
public:
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        static_cast<void>(run(dst, src, size, aad, nonce, key, dst + size, true));
        wipe_stack<stack_bytes>();
    }
    /// The tag is checked before a byte is decrypted.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool const genuine = run(dst, src, size, aad, nonce, key, const_cast<byte*>(src) + size, false);
        wipe_stack<stack_bytes>();
        return genuine;
    }

private:
    struct work {
        chacha20_words words; ///< of the next block
        chacha20_words block;
        byte tail[chacha20_block_bytes]; ///< of the message; the one-time key before that; the tag after
        poly1305_state<limbs32> mac;
        std::uint32_t s[4];
    };
    /// With the frames of `crypt`, `next_block` and `permute`.
    static constexpr std::size_t stack_bytes = sizeof(work) + sizeof(chacha20_words) + spill_bytes + 32;

    /// `tag` is written if `sealing`, else only read.
    [[gnu::noinline]] static bool run(byte* dst, byte const* src, std::size_t size, bytes_view aad,
                                      packet_nonce const& nonce, byte const* key, byte* tag, bool sealing) noexcept {
        work w;
        chacha20_detail::set_key(w.words, key_view(key, key_bytes));
        w.words[12] = 0;
        for (std::size_t i = 0; i < 3; ++i) w.words[13 + i] = nonce.words[i];
        next_block(w);
        for (std::size_t i = 0; i < 8; ++i) store_le32(w.tail + 4 * i, w.block[i]);
        w.mac.start(w.tail);
        for (std::size_t i = 0; i < 4; ++i) w.s[i] = w.block[4 + i];
        if (sealing) crypt(w, dst, src, size);
        authenticate(w, aad.data(), aad.size());
        authenticate(w, sealing ? dst : src, size);
        fill_zero({w.tail, 16});
        store_le32(w.tail, static_cast<std::uint32_t>(aad.size()));
        store_le32(w.tail + 8, static_cast<std::uint32_t>(size)); // packets are shorter than 4 GiB
        w.mac.absorb(w.tail, 1, 1);
        byte text[16];
        for (std::size_t i = 0; i < 4; ++i) store_le32(text + 4 * i, w.s[i]);
        w.mac.finish(w.tail, text);
        bool genuine = true;
        if (sealing) {
            copy({tag, tag_bytes}, {w.tail, tag_bytes});
        } else {
            genuine = equal_in_constant_time({w.tail, tag_bytes}, {tag, tag_bytes});
            if (genuine) crypt(w, dst, src, size);
        }
        wipe(static_cast<void*>(&w), sizeof w);
        return genuine;
    }

    static void next_block(work& w) noexcept {
        w.block = w.words;
        chacha20_detail::permute(w.block);
        for (std::size_t i = 0; i < 16; ++i) w.block[i] += w.words[i];
        ++w.words[12];
    }

    [[gnu::noinline]] static void crypt(work& w, byte* dst, byte const* src, std::size_t size) noexcept {
        while (size != 0) {
            next_block(w);
            std::size_t const now = std::min(size, chacha20_block_bytes);
            bool const whole = now == chacha20_block_bytes;
            byte* to = dst;
            if (!whole) {
                std::memcpy(w.tail, src, now);
                src = to = w.tail;
            }
            for (std::size_t i = 0; i < 16; ++i) store_le32(to + 4 * i, load_le32(src + 4 * i) ^ w.block[i]);
            if (!whole) std::memcpy(dst, w.tail, now);
            dst += now, src += now, size -= now;
        }
    }

    /// Whole blocks, the last filled up with zeros.
    [[gnu::noinline]] static void authenticate(work& w, byte const* data, std::size_t size) noexcept {
        std::size_t const whole = size / poly1305_block_bytes;
        w.mac.absorb(data, whole, 1);
        if (std::size_t const rest = size % poly1305_block_bytes; rest != 0) {
            fill_zero({w.tail, poly1305_block_bytes});
            std::memcpy(w.tail, data + (size - rest), rest);
            w.mac.absorb(w.tail, 1, 1);
        }
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {
namespace bundled {

/// The kernel of plain words and of limbs: any processor.
template <class Limbs = default_limbs> struct plain_kernel {
    static void seal(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        seal_message({dst, size + tag_bytes}, {src, size}, aad, nonce, key_view(key, key_bytes));
        wipe_stack<stack_bytes>();
    }
    /// The tag is checked before a byte is decrypted.
    static bool open(byte* dst, byte const* src, std::size_t size, bytes_view aad, packet_nonce const& nonce,
                     byte const* key) noexcept {
        bool const genuine =
            open_message({dst, size}, {src, size + tag_bytes}, aad, nonce, key_view(key, key_bytes));
        wipe_stack<stack_bytes>();
        return genuine;
    }

private:
    static constexpr std::size_t stack_bytes = sizeof(chacha20) + sizeof(chacha20_words) + sizeof(poly1305<Limbs>) +
                                               spill_bytes;

    [[gnu::noinline]] static void seal_message(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
                                               key_view key) noexcept {
        chacha20 cipher(key, nonce.encode(), 0);
        secret<32> one_time_key;
        cipher.take_one_time_key(one_time_key.expose());
        poly1305<Limbs> mac(one_time_key.expose());
        bytes const ciphertext = dst.first(src.size());
        cipher.apply(ciphertext, src);
        authenticate(mac, ciphertext, aad);
        mac.finish(dst.last<tag_bytes>());
    }

    [[gnu::noinline]] static bool open_message(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
                                               key_view key) noexcept {
        chacha20 cipher(key, nonce.encode(), 0);
        secret<32> one_time_key;
        cipher.take_one_time_key(one_time_key.expose());
        poly1305<Limbs> mac(one_time_key.expose());
        bytes_view const ciphertext = src.first(dst.size());
        authenticate(mac, ciphertext, aad);
        secret<tag_bytes> tag; // the right tag of a forged message would be its forgery
        mac.finish(tag.expose());
        if (!equal_in_constant_time(tag.expose(), src.last(tag_bytes))) return false;
        cipher.apply(dst, ciphertext);
        return true;
    }

    static void authenticate(poly1305<Limbs>& mac, bytes_view ciphertext, bytes_view aad) noexcept {
        byte_array<16> lengths;
        store_le64(lengths.data(), aad.size());
        store_le64(lengths.data() + 8, ciphertext.size());
        mac.update(aad);
        mac.pad();
        mac.update(ciphertext);
        mac.pad();
        mac.update(lengths);
    }
};

/// The AEAD of a kernel.
template <class Kernel> class basic_aead {
public:
    using nonce_view = std::span<byte const, chacha20_nonce_bytes>;

    constexpr basic_aead() noexcept = default;
    constexpr explicit basic_aead(Kernel kernel) noexcept : kernel_(kernel) {}

    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        seal(dst, src, aad, packet_nonce::of(counter), key);
    }
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        return open(dst, src, aad, packet_nonce::of(counter), key);
    }
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        bundled::hchacha20(out.expose(), key.expose(), nonce);
    }

    /// The same with a whole nonce. dst.size() == src.size() + 16; dst and src start at the same byte or do not
    /// overlap; aad overlaps dst nowhere, or is the same bytes after as before.
    void seal(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
              secret<key_bytes> const& key) const noexcept {
        seal(dst, src, aad, packet_nonce::of(nonce), key);
    }
    /// src.size() == dst.size() + 16. The tag is checked before a byte is decrypted.
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, nonce_view nonce,
                            secret<key_bytes> const& key) const noexcept {
        return open(dst, src, aad, packet_nonce::of(nonce), key);
    }

    /// Packets of any sizes and keys; the more there are, the fewer lanes of a vector are idle.
    void seal_batch(std::span<aead_item> items) const noexcept
        requires requires { Kernel::seal_batch; }
    {
        for ([[maybe_unused]] aead_item const& item : items) WG_ASSERT(item.dst.size() == item.src.size() + tag_bytes);
        kernel_.seal_batch(items);
    }
    void open_batch(std::span<aead_item> items) const noexcept
        requires requires { Kernel::open_batch; }
    {
        for ([[maybe_unused]] aead_item const& item : items) WG_ASSERT(item.src.size() == item.dst.size() + tag_bytes);
        kernel_.open_batch(items);
    }

private:
    void seal(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes);
        kernel_.seal(dst.data(), src.data(), src.size(), aad, nonce, key.expose().data());
    }
    bool open(bytes dst, bytes_view src, bytes_view aad, packet_nonce const& nonce,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes);
        bool const genuine = kernel_.open(dst.data(), src.data(), dst.size(), aad, nonce, key.expose().data());
        if (!genuine) fill_zero(dst);
        return genuine;
    }

    [[no_unique_address]] Kernel kernel_;
};

/// For builds that know their processor: no table, no detection, no calls through pointers.
template <class Kernel> using aead_fixed = basic_aead<Kernel>;

#if defined(WG_COMPACT)
using baseline_kernel = compact_kernel;
#elif defined(WG_VECTOR_KERNELS)
using baseline_kernel = kernel_vector128::kernel;
#else
using baseline_kernel = plain_kernel<>;
#endif

#ifdef WG_X86_KERNELS

/// A kernel that is chosen at run time.
struct any_kernel {
    void (*seal)(byte*, byte const*, std::size_t, bytes_view, packet_nonce const&, byte const*) noexcept;
    bool (*open)(byte*, byte const*, std::size_t, bytes_view, packet_nonce const&, byte const*) noexcept;
    void (*seal_batch)(std::span<aead_item>) noexcept;
    void (*open_batch)(std::span<aead_item>) noexcept;

    /// The best that does with these instruction sets.
    static any_kernel of(cpu allowed) noexcept;

private:
    template <class Kernel> static constexpr any_kernel of() noexcept {
        return {Kernel::seal, Kernel::open, Kernel::seal_batch, Kernel::open_batch};
    }
};

#ifdef WG_DEFINE_KERNELS

WG_CHOICE any_kernel any_kernel::of(cpu allowed) noexcept {
    if (has(allowed, cpu::ifma)) return of<kernel_ifma::kernel>();
    if (has(allowed, cpu::avx512)) return of<kernel_avx512::kernel>();
    if (has(allowed, cpu::avx2)) return of<kernel_avx2::kernel>();
    if (has(allowed, cpu::ssse3)) return of<kernel_ssse3::kernel>();
    return of<baseline_kernel>();
}

#endif

/// The AEAD to use, with the best kernel for this processor.
struct aead : basic_aead<any_kernel> {
    aead() noexcept : aead(chosen_cpu()) {}
    explicit aead(cpu allowed) noexcept : basic_aead(any_kernel::of(consistent(allowed))) {}
};

#else

/// The AEAD to use.
struct aead : basic_aead<baseline_kernel> {
    aead() noexcept = default;
    explicit aead(cpu) noexcept {}
};

#endif

static_assert(aead_backend<aead>);

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// BLAKE2s (RFC 7693), keyed or not, and the default model of hash_backend. Layer 2; any thread.
//
// One message is worked on in words, or where there are AVX2 or AVX-512 in rows of four words (blake2s_rows.inl).
// Messages that come together and have equally many blocks share the elements of vectors (blake2s_lanes.inl).
#ifndef WG_BACKENDS_BUNDLED_BLAKE2S_HPP
#define WG_BACKENDS_BUNDLED_BLAKE2S_HPP


#include <algorithm>
#include <bit>
#include <utility>

#ifdef WG_X86_KERNELS
#include <immintrin.h>
#endif

namespace wg::inline WG_ABI {
namespace bundled {

namespace blake2s_detail {

inline constexpr std::size_t block_bytes = 64;
inline constexpr std::size_t max_digest_bytes = 32;

inline constexpr std::uint32_t iv[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/// Which word of the block each step of each round takes (RFC 7693, section 2.7).
inline constexpr std::uint8_t sigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

/// The parameter block's first word: digest length, key length, fanout 1, depth 1. The other words are zero.
constexpr std::uint32_t parameters(std::size_t digest_bytes, std::size_t key_bytes) noexcept {
    return 0x01010000u ^ static_cast<std::uint32_t>(key_bytes << 8) ^ static_cast<std::uint32_t>(digest_bytes);
}

/// Copies less than a block. Not by the library, where that is more than a loop: it leaves what it moved in registers
/// that no kernel knows of, and is a call away.
inline void copy_short(byte* to, byte const* from, std::size_t size) noexcept {
#ifdef WG_COMPACT
    std::memcpy(to, from, size);
#else
    auto const ends = [&]<std::size_t Size>(std::integral_constant<std::size_t, Size>) noexcept {
        std::memcpy(to, from, Size); // the first and the last, which may have bytes in common
        std::memcpy(to + size - Size, from + size - Size, Size);
    };
    if (size >= 32) return ends(std::integral_constant<std::size_t, 32>{});
    if (size >= 16) return ends(std::integral_constant<std::size_t, 16>{});
    if (size >= 8) return ends(std::integral_constant<std::size_t, 8>{});
    if (size >= 4) return ends(std::integral_constant<std::size_t, 4>{});
    for (std::size_t i = 0; i < size; ++i) to[i] = from[i];
#endif
}

/// Fills a block up with zeros behind `from`, which is shorter.
inline void pad(byte* to, bytes_view from) noexcept {
    std::memset(to, 0, block_bytes);
    copy_short(to, from.data(), from.size());
}

[[gnu::always_inline]] inline void mix(std::uint32_t& a, std::uint32_t& b, std::uint32_t& c, std::uint32_t& d,
                                       std::uint32_t x, std::uint32_t y) noexcept {
    a += b + x, d = std::rotr(d ^ a, 16);
    c += d, b = std::rotr(b ^ c, 12);
    a += b + y, d = std::rotr(d ^ a, 8);
    c += d, b = std::rotr(b ^ c, 7);
}

/// What a digest leaves in memory, so that one wipe is enough.
struct work {
    std::uint32_t h[8];
    byte padded[block_bytes];

    ~work() { wipe_fixed<sizeof(work)>(this); }
};

/// One message in words, for any processor.
struct words {
#if defined(WG_SMALL) && defined(__arm__)
    static constexpr std::size_t spill_bytes = bundled::spill_bytes + 32; // the words of the state
#elif defined(WG_COMPACT)
    static constexpr std::size_t spill_bytes = bundled::spill_bytes + 160; // the words of a block and of the state
#else
    static constexpr std::size_t spill_bytes = 2 * bundled::spill_bytes; // clang makes vectors of it, and spills them
#endif

#ifndef WG_COMPACT
    /// Compresses `size` bytes, the last block filled up with zeros. `count_after` is what the count of bytes is with
    /// that one; `last`: it is the message's last. Out of line, so that `wipe_stack` of a caller reaches what it
    /// spills.
    [[gnu::noinline]] static void compress(work& w, byte const* data, std::size_t size, std::uint64_t count_after,
                                           bool last) noexcept {
        std::uint64_t count = count_after - size;
        for (; size > block_bytes; size -= block_bytes, data += block_bytes)
            compress_block(w.h, data, count += block_bytes, false);
        if (size < block_bytes) {
            pad(w.padded, {data, size});
            data = w.padded;
        }
        compress_block(w.h, data, count_after, last);
    }
#endif

    /// One block.
    [[gnu::noinline]] static void compress_block(std::uint32_t* h, byte const* block, std::uint64_t count,
                                                 bool last) noexcept {
        std::uint32_t v[16];
#ifdef WG_SMALL
        auto const m = [&](std::size_t i) noexcept { return load_le32(block + 4 * i); };
#else
        std::uint32_t m[16];
        for (std::size_t i = 0; i < 16; ++i) m[i] = load_le32(block + 4 * i);
#endif
        for (std::size_t i = 0; i < 8; ++i) v[i] = h[i], v[8 + i] = iv[i];
        v[12] ^= static_cast<std::uint32_t>(count);
        v[13] ^= static_cast<std::uint32_t>(count >> 32);
        if (last) v[14] = ~v[14];
#ifdef WG_SMALL
        for (auto const& p : sigma)
#pragma GCC unroll 1
            for (unsigned i = 0; i < 8; ++i) { // columns, then diagonals
                unsigned const turn = i / 4;
                mix(v[i % 4], v[4 + (i + turn) % 4], v[8 + (i + 2 * turn) % 4], v[12 + (i + 3 * turn) % 4],
                    m(p[2 * i]), m(p[2 * i + 1]));
            }
#else
#ifdef WG_COMPACT
#pragma GCC unroll 1
#else
#pragma GCC unroll 10
#endif
        for (auto const& p : sigma) {
            mix(v[0], v[4], v[8], v[12], m[p[0]], m[p[1]]);
            mix(v[1], v[5], v[9], v[13], m[p[2]], m[p[3]]);
            mix(v[2], v[6], v[10], v[14], m[p[4]], m[p[5]]);
            mix(v[3], v[7], v[11], v[15], m[p[6]], m[p[7]]);
            mix(v[0], v[5], v[10], v[15], m[p[8]], m[p[9]]);
            mix(v[1], v[6], v[11], v[12], m[p[10]], m[p[11]]);
            mix(v[2], v[7], v[8], v[13], m[p[12]], m[p[13]]);
            mix(v[3], v[4], v[9], v[14], m[p[14]], m[p[15]]);
        }
#endif
        for (std::size_t i = 0; i < 8; ++i) h[i] ^= v[i] ^ v[8 + i];
        // m and v are in registers or in this frame, which the caller wipes
    }
};

#ifdef WG_X86_KERNELS

/// For each half of a round the words that its four mixings take: first the four words of their first halves. In the
/// second half element i mixes b[i], which the standard counts as mixing i - 1.
inline constexpr struct row_order_table {
    alignas(32) std::uint32_t words[10][16];
} row_order = [] {
    row_order_table t{};
    for (std::size_t round = 0; round < 10; ++round)
        for (std::size_t i = 0; i < 4; ++i)
            for (std::size_t part = 0; part < 2; ++part) {
                t.words[round][4 * part + i] = sigma[round][2 * i + part];
                t.words[round][8 + 4 * part + i] = sigma[round][8 + 2 * ((i + 3) % 4) + part];
            }
    return t;
}();

// At the end of a kernel: what it had in vector registers is gone.
#define WG_BLAKE2S_CLEAR_YMM                                                                                           \
    asm volatile("vzeroall"                                                                                            \
                 :                                                                                                     \
                 :                                                                                                     \
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",   \
                   "xmm12", "xmm13", "xmm14", "xmm15")
#define WG_BLAKE2S_CLEAR_ZMM                                                                                           \
    asm volatile("vpxord %%xmm16, %%xmm16, %%xmm16\n\tvpxord %%xmm17, %%xmm17, %%xmm17\n\t"                            \
                 "vpxord %%xmm18, %%xmm18, %%xmm18\n\tvpxord %%xmm19, %%xmm19, %%xmm19\n\t"                            \
                 "vpxord %%xmm20, %%xmm20, %%xmm20\n\tvpxord %%xmm21, %%xmm21, %%xmm21\n\t"                            \
                 "vpxord %%xmm22, %%xmm22, %%xmm22\n\tvpxord %%xmm23, %%xmm23, %%xmm23\n\t"                            \
                 "vpxord %%xmm24, %%xmm24, %%xmm24\n\tvpxord %%xmm25, %%xmm25, %%xmm25\n\t"                            \
                 "vpxord %%xmm26, %%xmm26, %%xmm26\n\tvpxord %%xmm27, %%xmm27, %%xmm27\n\t"                            \
                 "vpxord %%xmm28, %%xmm28, %%xmm28\n\tvpxord %%xmm29, %%xmm29, %%xmm29\n\t"                            \
                 "vpxord %%xmm30, %%xmm30, %%xmm30\n\tvpxord %%xmm31, %%xmm31, %%xmm31"                                \
                 :                                                                                                     \
                 :                                                                                                     \
                 : "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26",  \
                   "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");                                                       \
    WG_BLAKE2S_CLEAR_YMM

struct rows_avx2 {
#define WG_ROWS_512 0
#define WG_ROWS_TARGET [[WG_TARGET_AVX2]]
#define WG_ROWS_WIPE WG_BLAKE2S_CLEAR_YMM
// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of one message in vectors (RFC 7693): the four mixings of half a round are the four elements of rows a, b,
// c, d. Text of a kernel, included by blake2s.hpp once per instruction set. Layer 2; any thread.
//
// Before: WG_ROWS_512, whether AVX-512 is there beside AVX2; WG_ROWS_TARGET, the attribute of every function here;
// WG_ROWS_WIPE, which clears the vector registers.
//
// What bounds it is the chain of dependent operations, 12 a half round where there are rotations. So nothing else may
// lie on it. Between the half rounds the rows a, c and d turn, never b, the last to be ready. And a + word comes before
// + b, which the compiler is told by an empty asm, since it orders sums as it likes.

static constexpr std::size_t spill_bytes = 384;

template <int Bits> WG_ROWS_TARGET [[gnu::always_inline]] static inline __m128i rotate(__m128i x) noexcept {
#if WG_ROWS_512
    return _mm_ror_epi32(x, Bits);
#else
    if constexpr (Bits == 16)
        return _mm_shuffle_epi8(x, _mm_set_epi32(0x0d0c0f0e, 0x09080b0a, 0x05040706, 0x01000302));
    else if constexpr (Bits == 8)
        return _mm_shuffle_epi8(x, _mm_set_epi32(0x0c0f0e0d, 0x080b0a09, 0x04070605, 0x00030201));
    else
        return _mm_or_si128(_mm_srli_epi32(x, Bits), _mm_slli_epi32(x, 32 - Bits));
#endif
}

/// The words of a block at eight indices.
WG_ROWS_TARGET [[gnu::always_inline]] static inline __m256i pick(__m256i const& low, __m256i const& high,
                                                                 std::uint32_t const* at) noexcept {
    __m256i const index = _mm256_load_si256(reinterpret_cast<__m256i const*>(at));
#if WG_ROWS_512
    return _mm256_permutex2var_epi32(low, index, high);
#else
    return _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(low, index), _mm256_permutevar8x32_epi32(high, index),
                              _mm256_cmpgt_epi32(index, _mm256_set1_epi32(7)));
#endif
}

/// The next block, filled up with zeros if `size` is less.
WG_ROWS_TARGET [[gnu::always_inline]] static inline void load_block(__m256i& low, __m256i& high, work& w,
                                                                    byte const* data, std::size_t size) noexcept {
#if WG_ROWS_512
    static_cast<void>(w);
    if (size < block_bytes) {
        std::uint64_t const there = (std::uint64_t{1} << size) - 1;
        low = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(there), data);
        high = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(there >> 32), data + 32);
        return;
    }
#else
    if (size < block_bytes) {
        pad(w.padded, {data, size});
        data = w.padded;
    }
#endif
    low = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(data));
    high = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(data + 32));
}

WG_ROWS_TARGET [[gnu::always_inline]] static inline void mix_rows(__m128i& a, __m128i& b, __m128i& c, __m128i& d,
                                                                  __m256i const& words) noexcept {
    a = _mm_add_epi32(a, _mm256_castsi256_si128(words));
    asm("" : "+x"(a));
    a = _mm_add_epi32(a, b);
    d = rotate<16>(_mm_xor_si128(d, a));
    c = _mm_add_epi32(c, d);
    b = rotate<12>(_mm_xor_si128(b, c));
    a = _mm_add_epi32(a, _mm256_extracti128_si256(words, 1));
    asm("" : "+x"(a));
    a = _mm_add_epi32(a, b);
    d = rotate<8>(_mm_xor_si128(d, a));
    c = _mm_add_epi32(c, d);
    b = rotate<7>(_mm_xor_si128(b, c));
}

/// See `words::compress`.
WG_ROWS_TARGET [[gnu::noinline]] static inline void compress(work& w, byte const* data, std::size_t size,
                                                             std::uint64_t count_after, bool last) noexcept {
    std::uint64_t count = count_after - size;
    __m128i h0 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.h));
    __m128i h1 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.h + 4));
    __m128i const iv0 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(iv));
    __m128i const iv1 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(iv + 4));
    for (;;) {
        bool const at_end = size <= block_bytes;
        __m256i low, high;
        load_block(low, high, w, data, size);
        count = at_end ? count_after : count + block_bytes;
        __m128i a = h0, b = h1, c = iv0;
        __m128i d = _mm_xor_si128(iv1, _mm_set_epi32(0, at_end && last ? -1 : 0, static_cast<int>(count >> 32),
                                                     static_cast<int>(count)));
#pragma GCC unroll 1
        for (std::uint32_t const (&at)[16] : row_order.words) {
            mix_rows(a, b, c, d, pick(low, high, at));
            a = _mm_shuffle_epi32(a, 0x93); // b[i + 1] stays where it is: a[i], c[i + 2], d[i + 3] go there
            c = _mm_shuffle_epi32(c, 0x39);
            d = _mm_shuffle_epi32(d, 0x4e);
            mix_rows(a, b, c, d, pick(low, high, at + 8));
            a = _mm_shuffle_epi32(a, 0x39);
            c = _mm_shuffle_epi32(c, 0x93);
            d = _mm_shuffle_epi32(d, 0x4e);
        }
        h0 = _mm_xor_si128(h0, _mm_xor_si128(a, c));
        h1 = _mm_xor_si128(h1, _mm_xor_si128(b, d));
        if (at_end) break;
        data += block_bytes;
        size -= block_bytes;
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(w.h), h0);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(w.h + 4), h1);
    WG_ROWS_WIPE;
}
#undef WG_ROWS_512
#undef WG_ROWS_TARGET
#undef WG_ROWS_WIPE
};

struct rows_avx512 {
#define WG_ROWS_512 1
#define WG_ROWS_TARGET [[WG_TARGET_AVX512]]
#define WG_ROWS_WIPE WG_BLAKE2S_CLEAR_ZMM
// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of one message in vectors (RFC 7693): the four mixings of half a round are the four elements of rows a, b,
// c, d. Text of a kernel, included by blake2s.hpp once per instruction set. Layer 2; any thread.
//
// Before: WG_ROWS_512, whether AVX-512 is there beside AVX2; WG_ROWS_TARGET, the attribute of every function here;
// WG_ROWS_WIPE, which clears the vector registers.
//
// What bounds it is the chain of dependent operations, 12 a half round where there are rotations. So nothing else may
// lie on it. Between the half rounds the rows a, c and d turn, never b, the last to be ready. And a + word comes before
// + b, which the compiler is told by an empty asm, since it orders sums as it likes.

static constexpr std::size_t spill_bytes = 384;

template <int Bits> WG_ROWS_TARGET [[gnu::always_inline]] static inline __m128i rotate(__m128i x) noexcept {
#if WG_ROWS_512
    return _mm_ror_epi32(x, Bits);
#else
    if constexpr (Bits == 16)
        return _mm_shuffle_epi8(x, _mm_set_epi32(0x0d0c0f0e, 0x09080b0a, 0x05040706, 0x01000302));
    else if constexpr (Bits == 8)
        return _mm_shuffle_epi8(x, _mm_set_epi32(0x0c0f0e0d, 0x080b0a09, 0x04070605, 0x00030201));
    else
        return _mm_or_si128(_mm_srli_epi32(x, Bits), _mm_slli_epi32(x, 32 - Bits));
#endif
}

/// The words of a block at eight indices.
WG_ROWS_TARGET [[gnu::always_inline]] static inline __m256i pick(__m256i const& low, __m256i const& high,
                                                                 std::uint32_t const* at) noexcept {
    __m256i const index = _mm256_load_si256(reinterpret_cast<__m256i const*>(at));
#if WG_ROWS_512
    return _mm256_permutex2var_epi32(low, index, high);
#else
    return _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(low, index), _mm256_permutevar8x32_epi32(high, index),
                              _mm256_cmpgt_epi32(index, _mm256_set1_epi32(7)));
#endif
}

/// The next block, filled up with zeros if `size` is less.
WG_ROWS_TARGET [[gnu::always_inline]] static inline void load_block(__m256i& low, __m256i& high, work& w,
                                                                    byte const* data, std::size_t size) noexcept {
#if WG_ROWS_512
    static_cast<void>(w);
    if (size < block_bytes) {
        std::uint64_t const there = (std::uint64_t{1} << size) - 1;
        low = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(there), data);
        high = _mm256_maskz_loadu_epi8(static_cast<__mmask32>(there >> 32), data + 32);
        return;
    }
#else
    if (size < block_bytes) {
        pad(w.padded, {data, size});
        data = w.padded;
    }
#endif
    low = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(data));
    high = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(data + 32));
}

WG_ROWS_TARGET [[gnu::always_inline]] static inline void mix_rows(__m128i& a, __m128i& b, __m128i& c, __m128i& d,
                                                                  __m256i const& words) noexcept {
    a = _mm_add_epi32(a, _mm256_castsi256_si128(words));
    asm("" : "+x"(a));
    a = _mm_add_epi32(a, b);
    d = rotate<16>(_mm_xor_si128(d, a));
    c = _mm_add_epi32(c, d);
    b = rotate<12>(_mm_xor_si128(b, c));
    a = _mm_add_epi32(a, _mm256_extracti128_si256(words, 1));
    asm("" : "+x"(a));
    a = _mm_add_epi32(a, b);
    d = rotate<8>(_mm_xor_si128(d, a));
    c = _mm_add_epi32(c, d);
    b = rotate<7>(_mm_xor_si128(b, c));
}

/// See `words::compress`.
WG_ROWS_TARGET [[gnu::noinline]] static inline void compress(work& w, byte const* data, std::size_t size,
                                                             std::uint64_t count_after, bool last) noexcept {
    std::uint64_t count = count_after - size;
    __m128i h0 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.h));
    __m128i h1 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.h + 4));
    __m128i const iv0 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(iv));
    __m128i const iv1 = _mm_loadu_si128(reinterpret_cast<__m128i const*>(iv + 4));
    for (;;) {
        bool const at_end = size <= block_bytes;
        __m256i low, high;
        load_block(low, high, w, data, size);
        count = at_end ? count_after : count + block_bytes;
        __m128i a = h0, b = h1, c = iv0;
        __m128i d = _mm_xor_si128(iv1, _mm_set_epi32(0, at_end && last ? -1 : 0, static_cast<int>(count >> 32),
                                                     static_cast<int>(count)));
#pragma GCC unroll 1
        for (std::uint32_t const (&at)[16] : row_order.words) {
            mix_rows(a, b, c, d, pick(low, high, at));
            a = _mm_shuffle_epi32(a, 0x93); // b[i + 1] stays where it is: a[i], c[i + 2], d[i + 3] go there
            c = _mm_shuffle_epi32(c, 0x39);
            d = _mm_shuffle_epi32(d, 0x4e);
            mix_rows(a, b, c, d, pick(low, high, at + 8));
            a = _mm_shuffle_epi32(a, 0x39);
            c = _mm_shuffle_epi32(c, 0x93);
            d = _mm_shuffle_epi32(d, 0x4e);
        }
        h0 = _mm_xor_si128(h0, _mm_xor_si128(a, c));
        h1 = _mm_xor_si128(h1, _mm_xor_si128(b, d));
        if (at_end) break;
        data += block_bytes;
        size -= block_bytes;
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(w.h), h0);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(w.h + 4), h1);
    WG_ROWS_WIPE;
}
#undef WG_ROWS_512
#undef WG_ROWS_TARGET
#undef WG_ROWS_WIPE
};

struct lanes_avx2 {
#define WG_LANES 8
#define WG_LANES_TARGET [[WG_TARGET_AVX2]]
#define WG_LANES_WIPE WG_BLAKE2S_CLEAR_YMM
// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of several messages at once (RFC 7693): element i of a vector belongs to message i. Text of a kernel,
// included by blake2s.hpp once per instruction set. Layer 2; any thread.
//
// Before: WG_LANES, how many: 4, 8 or 16; WG_LANES_TARGET, the attribute of every function here; WG_LANES_WIPE, which
// clears the vector registers.

static constexpr std::size_t width = WG_LANES;
typedef std::uint32_t lanes __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint64_t pairs __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint32_t quad __attribute__((vector_size(16)));
using each_lane = std::make_index_sequence<WG_LANES>;

template <std::size_t Bytes, std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate_bytes(lanes& x, std::index_sequence<I...>) noexcept {
    typedef std::uint8_t octets __attribute__((vector_size(4 * WG_LANES)));
    octets const o = (octets)x;
    x = (lanes)__builtin_shufflevector(o, o, (I / 4 * 4 + (I + Bytes) % 4)...);
}

template <int Bits> WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate(lanes& x) noexcept {
#if WG_LANES == 8
    // no vector rotation there: where whole bytes move, a shuffle is less than two shifts and an or
    if constexpr (Bits % 8 == 0) return rotate_bytes<Bits / 8>(x, std::make_index_sequence<4 * WG_LANES>{});
#elif WG_LANES == 4 && defined(__SSE2__) && !defined(__AVX512VL__)
    typedef std::uint16_t halves __attribute__((vector_size(16)));
    if constexpr (Bits == 16) {
        halves const h = (halves)x;
        x = (lanes)__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6);
        return;
    }
#endif
    x = (x >> Bits) | (x << (32 - Bits));
}

/// Half a round: the four mixings of v[i], v[4 + (i + Turn) % 4], v[8 + (i + 2 Turn) % 4], v[12 + (i + 3 Turn) % 4], a
/// step of all four after the other, for each waits for the one before.
template <std::size_t Turn>
WG_LANES_TARGET [[gnu::always_inline]] static inline void mix_four(lanes (&v)[16], lanes const (&m)[16],
                                                                   std::uint8_t const* p) noexcept {
    constexpr std::size_t b = Turn, c = 2 * Turn, d = 3 * Turn;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<16>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<12>(v[4 + (i + b) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i + 1]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<8>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<7>(v[4 + (i + b) % 4]);
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void fill(lanes& to, std::uint32_t word) noexcept {
    to = lanes{} + word;
}

/// In each 16 bytes of a and b, the lower halves (Upper 0) or the upper ones (1), element by element in turn.
template <std::size_t Upper, class Vector, std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void zip(Vector& to, Vector const& a, Vector const& b,
                                                              std::index_sequence<I...>) noexcept {
    constexpr std::size_t count = sizeof...(I), group = 4 * count / WG_LANES;
    to = __builtin_shufflevector(a, b, (I % 2 * count + I / group * group + Upper * group / 2 + I % group / 2)...);
}

/// The words at[0], at[1], ... as elements of `to`.
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_words(quad& to, byte const* at) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        std::memcpy(&to, at, sizeof to);
    else
        to = quad{load_le32(at), load_le32(at + 4), load_le32(at + 8), load_le32(at + 12)};
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void store_words(byte* at, quad const& from) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        std::memcpy(at, &from, sizeof from);
    else
        for (std::size_t i = 0; i < 4; ++i) store_le32(at + 4 * i, from[i]);
}

/// Four words of messages `first`, `first` + 4, ..., one after the other.
template <std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_row(lanes& row, byte const* const* from,
                                                                   std::size_t first, std::size_t at,
                                                                   std::index_sequence<I...>) noexcept {
#if WG_LANES == 4
    load_words(row, from[first] + at);
#elif WG_LANES == 8
    quad a, b;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    row = __builtin_shufflevector(a, b, I...);
#else
    typedef std::uint32_t eight __attribute__((vector_size(32)));
    quad a, b, c, d;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    load_words(c, from[first + 8] + at);
    load_words(d, from[first + 12] + at);
    eight const ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    eight const cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    row = __builtin_shufflevector(ab, cd, I...);
#endif
}

/// Turns 4 by 4 words in each 16 bytes of four rows.
WG_LANES_TARGET [[gnu::always_inline]] static inline void turn(lanes (&r)[4]) noexcept {
    using each_pair = std::make_index_sequence<WG_LANES / 2>;
    lanes low01, low23, high01, high23;
    zip<0>(low01, r[0], r[1], each_lane{});
    zip<0>(low23, r[2], r[3], each_lane{});
    zip<1>(high01, r[0], r[1], each_lane{});
    zip<1>(high23, r[2], r[3], each_lane{});
    pairs p0, p1, p2, p3;
    zip<0>(p0, (pairs)low01, (pairs)low23, each_pair{});
    zip<1>(p1, (pairs)low01, (pairs)low23, each_pair{});
    zip<0>(p2, (pairs)high01, (pairs)high23, each_pair{});
    zip<1>(p3, (pairs)high01, (pairs)high23, each_pair{});
    r[0] = (lanes)p0, r[1] = (lanes)p1, r[2] = (lanes)p2, r[3] = (lanes)p3;
}

template <std::size_t Bytes>
WG_LANES_TARGET [[gnu::always_inline]] static inline void wipe_lanes(void* memory) noexcept {
    lanes zero = {};
    asm volatile("" : "+m"(zero)); // or the compiler would call memset
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
}

/// What of a group of messages lies in memory.
struct group {
    lanes h[8];
    lanes m[16];
    alignas(4 * WG_LANES) byte padded[WG_LANES][block_bytes];
};

/// `wipe_stack` for what `digest` has there. Compilers that do not keep apart what is never there at a time take twice
/// the group and more.
WG_LANES_TARGET [[gnu::noinline]] static inline void wipe_frames() noexcept {
    alignas(4 * WG_LANES) byte frame[2 * sizeof(group) + 512];
    wipe_lanes<sizeof frame>(frame);
    wipe_baseline_registers();
}

/// Fills a block up with zeros behind `from`, which is shorter.
WG_LANES_TARGET [[gnu::always_inline]] static inline void pad_lane(byte* to, bytes_view from) noexcept {
#if WG_LANES == 16
    __mmask64 const there = (__mmask64{1} << from.size()) - 1;
    _mm512_store_si512(to, _mm512_maskz_loadu_epi8(there, from.data()));
#else
    pad(to, from);
#endif
}

/// Word i of every message's block in m[i].
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_block(group& g, hash_item const* const* items,
                                                                     std::size_t count, std::size_t block) noexcept {
    byte const* from[WG_LANES] = {};
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        from[i] = from[0]; // a lane without a message does the first one again
        if (i >= count) continue;
        hash_item const& item = *items[i];
        bytes_view rest = item.key;
        if (item.key.empty())
            rest = item.message.subspan(block_bytes * block);
        else if (block != 0)
            rest = item.message.subspan(block_bytes * (block - 1));
        from[i] = rest.data();
        if (rest.size() >= block_bytes) continue;
        pad_lane(g.padded[i], rest);
        from[i] = g.padded[i];
    }
    for (std::size_t i = 0; i < 16; i += 4) {
        lanes r[4];
        load_row(r[0], from, 0, 4 * i, each_lane{});
        load_row(r[1], from, 1, 4 * i, each_lane{});
        load_row(r[2], from, 2, 4 * i, each_lane{});
        load_row(r[3], from, 3, 4 * i, each_lane{});
        turn(r);
        g.m[i] = r[0], g.m[i + 1] = r[1], g.m[i + 2] = r[2], g.m[i + 3] = r[3];
    }
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void store_digests(group& g, hash_item const* const* items,
                                                                        std::size_t count) noexcept {
    for (std::size_t part = 0; part < 8; part += 4) {
        lanes r[4];
        for (std::size_t j = 0; j < 4; ++j) r[j] = g.h[part + j];
        turn(r);
        for (std::size_t j = 0; j < 4; ++j) g.h[part + j] = r[j];
    }
    for (std::size_t i = 0; i < count; ++i) { // words 0-3 of message i are in row i % 4, and 4-7 in row 4 + i % 4
        for (std::size_t part = 0; part < 2; ++part) {
            quad words;
            std::memcpy(&words, reinterpret_cast<byte const*>(&g.h[4 * part + i % 4]) + i / 4 * 16, 16);
            store_words(g.padded[i] + 16 * part, words);
        }
        copy_short(items[i]->out.data(), g.padded[i], items[i]->out.size());
    }
}

/// `low` and `high`: the words of the counts of bytes.
WG_LANES_TARGET [[gnu::always_inline]] static inline void compress(group& g, lanes const& low, lanes const& high,
                                                                   bool last) noexcept {
    lanes v[16];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) {
        v[i] = g.h[i];
        fill(v[8 + i], iv[i]);
    }
    v[12] ^= low, v[13] ^= high;
    if (last) v[14] = ~v[14];
    // Not unrolled: the operations of a round keep the vector units busy for longer than its 16 indices take.
#pragma GCC unroll 1
    for (auto const& p : sigma) {
        mix_four<0>(v, g.m, p);
        mix_four<1>(v, g.m, p + 8);
    }
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) g.h[i] ^= v[i] ^ v[8 + i];
}

/// Digests of 1 to WG_LANES messages of `blocks` blocks each, keys counted.
WG_LANES_TARGET [[gnu::noinline]] static inline void digest(hash_item const* const* items, std::size_t count,
                                                            std::size_t blocks) noexcept {
    group g;
    std::uint32_t low[WG_LANES], high[WG_LANES], first[WG_LANES];
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        hash_item const* item = items[i < count ? i : 0];
        asm("" : "+r"(item)); // one by one: clang would gather the sizes, which is slower
        std::uint64_t const all = item->message.size() + (item->key.empty() ? 0 : block_bytes);
        low[i] = static_cast<std::uint32_t>(all);
        high[i] = static_cast<std::uint32_t>(all >> 32);
        first[i] = parameters(item->out.size(), item->key.size());
    }
    for (std::size_t i = 0; i < 8; ++i) fill(g.h[i], iv[i]);
    lanes low_all, high_all, parameter_words; // counts of bytes at the end, and first words of the parameter blocks
    std::memcpy(&low_all, low, sizeof low);
    std::memcpy(&high_all, high, sizeof high);
    std::memcpy(&parameter_words, first, sizeof first);
    g.h[0] ^= parameter_words;
    for (std::size_t block = 0; block + 1 < blocks; ++block) {
        load_block(g, items, count, block);
        std::uint64_t const so_far = block_bytes * (block + 1);
        lanes so_far_low, so_far_high;
        fill(so_far_low, static_cast<std::uint32_t>(so_far));
        fill(so_far_high, static_cast<std::uint32_t>(so_far >> 32));
        compress(g, so_far_low, so_far_high, false);
    }
    load_block(g, items, count, blocks - 1);
    compress(g, low_all, high_all, true);
    store_digests(g, items, count);
    wipe_lanes<sizeof g>(&g);
    WG_LANES_WIPE;
}
#undef WG_LANES
#undef WG_LANES_TARGET
#undef WG_LANES_WIPE
};

struct lanes_avx512 {
#define WG_LANES 16
#define WG_LANES_TARGET [[WG_TARGET_AVX512]]
#define WG_LANES_WIPE WG_BLAKE2S_CLEAR_ZMM
// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of several messages at once (RFC 7693): element i of a vector belongs to message i. Text of a kernel,
// included by blake2s.hpp once per instruction set. Layer 2; any thread.
//
// Before: WG_LANES, how many: 4, 8 or 16; WG_LANES_TARGET, the attribute of every function here; WG_LANES_WIPE, which
// clears the vector registers.

static constexpr std::size_t width = WG_LANES;
typedef std::uint32_t lanes __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint64_t pairs __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint32_t quad __attribute__((vector_size(16)));
using each_lane = std::make_index_sequence<WG_LANES>;

template <std::size_t Bytes, std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate_bytes(lanes& x, std::index_sequence<I...>) noexcept {
    typedef std::uint8_t octets __attribute__((vector_size(4 * WG_LANES)));
    octets const o = (octets)x;
    x = (lanes)__builtin_shufflevector(o, o, (I / 4 * 4 + (I + Bytes) % 4)...);
}

template <int Bits> WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate(lanes& x) noexcept {
#if WG_LANES == 8
    // no vector rotation there: where whole bytes move, a shuffle is less than two shifts and an or
    if constexpr (Bits % 8 == 0) return rotate_bytes<Bits / 8>(x, std::make_index_sequence<4 * WG_LANES>{});
#elif WG_LANES == 4 && defined(__SSE2__) && !defined(__AVX512VL__)
    typedef std::uint16_t halves __attribute__((vector_size(16)));
    if constexpr (Bits == 16) {
        halves const h = (halves)x;
        x = (lanes)__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6);
        return;
    }
#endif
    x = (x >> Bits) | (x << (32 - Bits));
}

/// Half a round: the four mixings of v[i], v[4 + (i + Turn) % 4], v[8 + (i + 2 Turn) % 4], v[12 + (i + 3 Turn) % 4], a
/// step of all four after the other, for each waits for the one before.
template <std::size_t Turn>
WG_LANES_TARGET [[gnu::always_inline]] static inline void mix_four(lanes (&v)[16], lanes const (&m)[16],
                                                                   std::uint8_t const* p) noexcept {
    constexpr std::size_t b = Turn, c = 2 * Turn, d = 3 * Turn;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<16>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<12>(v[4 + (i + b) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i + 1]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<8>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<7>(v[4 + (i + b) % 4]);
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void fill(lanes& to, std::uint32_t word) noexcept {
    to = lanes{} + word;
}

/// In each 16 bytes of a and b, the lower halves (Upper 0) or the upper ones (1), element by element in turn.
template <std::size_t Upper, class Vector, std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void zip(Vector& to, Vector const& a, Vector const& b,
                                                              std::index_sequence<I...>) noexcept {
    constexpr std::size_t count = sizeof...(I), group = 4 * count / WG_LANES;
    to = __builtin_shufflevector(a, b, (I % 2 * count + I / group * group + Upper * group / 2 + I % group / 2)...);
}

/// The words at[0], at[1], ... as elements of `to`.
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_words(quad& to, byte const* at) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        std::memcpy(&to, at, sizeof to);
    else
        to = quad{load_le32(at), load_le32(at + 4), load_le32(at + 8), load_le32(at + 12)};
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void store_words(byte* at, quad const& from) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        std::memcpy(at, &from, sizeof from);
    else
        for (std::size_t i = 0; i < 4; ++i) store_le32(at + 4 * i, from[i]);
}

/// Four words of messages `first`, `first` + 4, ..., one after the other.
template <std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_row(lanes& row, byte const* const* from,
                                                                   std::size_t first, std::size_t at,
                                                                   std::index_sequence<I...>) noexcept {
#if WG_LANES == 4
    load_words(row, from[first] + at);
#elif WG_LANES == 8
    quad a, b;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    row = __builtin_shufflevector(a, b, I...);
#else
    typedef std::uint32_t eight __attribute__((vector_size(32)));
    quad a, b, c, d;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    load_words(c, from[first + 8] + at);
    load_words(d, from[first + 12] + at);
    eight const ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    eight const cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    row = __builtin_shufflevector(ab, cd, I...);
#endif
}

/// Turns 4 by 4 words in each 16 bytes of four rows.
WG_LANES_TARGET [[gnu::always_inline]] static inline void turn(lanes (&r)[4]) noexcept {
    using each_pair = std::make_index_sequence<WG_LANES / 2>;
    lanes low01, low23, high01, high23;
    zip<0>(low01, r[0], r[1], each_lane{});
    zip<0>(low23, r[2], r[3], each_lane{});
    zip<1>(high01, r[0], r[1], each_lane{});
    zip<1>(high23, r[2], r[3], each_lane{});
    pairs p0, p1, p2, p3;
    zip<0>(p0, (pairs)low01, (pairs)low23, each_pair{});
    zip<1>(p1, (pairs)low01, (pairs)low23, each_pair{});
    zip<0>(p2, (pairs)high01, (pairs)high23, each_pair{});
    zip<1>(p3, (pairs)high01, (pairs)high23, each_pair{});
    r[0] = (lanes)p0, r[1] = (lanes)p1, r[2] = (lanes)p2, r[3] = (lanes)p3;
}

template <std::size_t Bytes>
WG_LANES_TARGET [[gnu::always_inline]] static inline void wipe_lanes(void* memory) noexcept {
    lanes zero = {};
    asm volatile("" : "+m"(zero)); // or the compiler would call memset
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
}

/// What of a group of messages lies in memory.
struct group {
    lanes h[8];
    lanes m[16];
    alignas(4 * WG_LANES) byte padded[WG_LANES][block_bytes];
};

/// `wipe_stack` for what `digest` has there. Compilers that do not keep apart what is never there at a time take twice
/// the group and more.
WG_LANES_TARGET [[gnu::noinline]] static inline void wipe_frames() noexcept {
    alignas(4 * WG_LANES) byte frame[2 * sizeof(group) + 512];
    wipe_lanes<sizeof frame>(frame);
    wipe_baseline_registers();
}

/// Fills a block up with zeros behind `from`, which is shorter.
WG_LANES_TARGET [[gnu::always_inline]] static inline void pad_lane(byte* to, bytes_view from) noexcept {
#if WG_LANES == 16
    __mmask64 const there = (__mmask64{1} << from.size()) - 1;
    _mm512_store_si512(to, _mm512_maskz_loadu_epi8(there, from.data()));
#else
    pad(to, from);
#endif
}

/// Word i of every message's block in m[i].
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_block(group& g, hash_item const* const* items,
                                                                     std::size_t count, std::size_t block) noexcept {
    byte const* from[WG_LANES] = {};
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        from[i] = from[0]; // a lane without a message does the first one again
        if (i >= count) continue;
        hash_item const& item = *items[i];
        bytes_view rest = item.key;
        if (item.key.empty())
            rest = item.message.subspan(block_bytes * block);
        else if (block != 0)
            rest = item.message.subspan(block_bytes * (block - 1));
        from[i] = rest.data();
        if (rest.size() >= block_bytes) continue;
        pad_lane(g.padded[i], rest);
        from[i] = g.padded[i];
    }
    for (std::size_t i = 0; i < 16; i += 4) {
        lanes r[4];
        load_row(r[0], from, 0, 4 * i, each_lane{});
        load_row(r[1], from, 1, 4 * i, each_lane{});
        load_row(r[2], from, 2, 4 * i, each_lane{});
        load_row(r[3], from, 3, 4 * i, each_lane{});
        turn(r);
        g.m[i] = r[0], g.m[i + 1] = r[1], g.m[i + 2] = r[2], g.m[i + 3] = r[3];
    }
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void store_digests(group& g, hash_item const* const* items,
                                                                        std::size_t count) noexcept {
    for (std::size_t part = 0; part < 8; part += 4) {
        lanes r[4];
        for (std::size_t j = 0; j < 4; ++j) r[j] = g.h[part + j];
        turn(r);
        for (std::size_t j = 0; j < 4; ++j) g.h[part + j] = r[j];
    }
    for (std::size_t i = 0; i < count; ++i) { // words 0-3 of message i are in row i % 4, and 4-7 in row 4 + i % 4
        for (std::size_t part = 0; part < 2; ++part) {
            quad words;
            std::memcpy(&words, reinterpret_cast<byte const*>(&g.h[4 * part + i % 4]) + i / 4 * 16, 16);
            store_words(g.padded[i] + 16 * part, words);
        }
        copy_short(items[i]->out.data(), g.padded[i], items[i]->out.size());
    }
}

/// `low` and `high`: the words of the counts of bytes.
WG_LANES_TARGET [[gnu::always_inline]] static inline void compress(group& g, lanes const& low, lanes const& high,
                                                                   bool last) noexcept {
    lanes v[16];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) {
        v[i] = g.h[i];
        fill(v[8 + i], iv[i]);
    }
    v[12] ^= low, v[13] ^= high;
    if (last) v[14] = ~v[14];
    // Not unrolled: the operations of a round keep the vector units busy for longer than its 16 indices take.
#pragma GCC unroll 1
    for (auto const& p : sigma) {
        mix_four<0>(v, g.m, p);
        mix_four<1>(v, g.m, p + 8);
    }
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) g.h[i] ^= v[i] ^ v[8 + i];
}

/// Digests of 1 to WG_LANES messages of `blocks` blocks each, keys counted.
WG_LANES_TARGET [[gnu::noinline]] static inline void digest(hash_item const* const* items, std::size_t count,
                                                            std::size_t blocks) noexcept {
    group g;
    std::uint32_t low[WG_LANES], high[WG_LANES], first[WG_LANES];
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        hash_item const* item = items[i < count ? i : 0];
        asm("" : "+r"(item)); // one by one: clang would gather the sizes, which is slower
        std::uint64_t const all = item->message.size() + (item->key.empty() ? 0 : block_bytes);
        low[i] = static_cast<std::uint32_t>(all);
        high[i] = static_cast<std::uint32_t>(all >> 32);
        first[i] = parameters(item->out.size(), item->key.size());
    }
    for (std::size_t i = 0; i < 8; ++i) fill(g.h[i], iv[i]);
    lanes low_all, high_all, parameter_words; // counts of bytes at the end, and first words of the parameter blocks
    std::memcpy(&low_all, low, sizeof low);
    std::memcpy(&high_all, high, sizeof high);
    std::memcpy(&parameter_words, first, sizeof first);
    g.h[0] ^= parameter_words;
    for (std::size_t block = 0; block + 1 < blocks; ++block) {
        load_block(g, items, count, block);
        std::uint64_t const so_far = block_bytes * (block + 1);
        lanes so_far_low, so_far_high;
        fill(so_far_low, static_cast<std::uint32_t>(so_far));
        fill(so_far_high, static_cast<std::uint32_t>(so_far >> 32));
        compress(g, so_far_low, so_far_high, false);
    }
    load_block(g, items, count, blocks - 1);
    compress(g, low_all, high_all, true);
    store_digests(g, items, count);
    wipe_lanes<sizeof g>(&g);
    WG_LANES_WIPE;
}
#undef WG_LANES
#undef WG_LANES_TARGET
#undef WG_LANES_WIPE
};

#undef WG_BLAKE2S_CLEAR_YMM
#undef WG_BLAKE2S_CLEAR_ZMM

#endif

// Four lanes of what every program for the processor may use, where that has vectors.
#if !defined(WG_COMPACT) && (defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__))
#define WG_BLAKE2S_LANES
struct lanes_baseline {
#define WG_LANES 4
#define WG_LANES_TARGET
#define WG_LANES_WIPE static_cast<void>(0)
// SPDX-License-Identifier: BSL-1.0
// BLAKE2s of several messages at once (RFC 7693): element i of a vector belongs to message i. Text of a kernel,
// included by blake2s.hpp once per instruction set. Layer 2; any thread.
//
// Before: WG_LANES, how many: 4, 8 or 16; WG_LANES_TARGET, the attribute of every function here; WG_LANES_WIPE, which
// clears the vector registers.

static constexpr std::size_t width = WG_LANES;
typedef std::uint32_t lanes __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint64_t pairs __attribute__((vector_size(4 * WG_LANES)));
typedef std::uint32_t quad __attribute__((vector_size(16)));
using each_lane = std::make_index_sequence<WG_LANES>;

template <std::size_t Bytes, std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate_bytes(lanes& x, std::index_sequence<I...>) noexcept {
    typedef std::uint8_t octets __attribute__((vector_size(4 * WG_LANES)));
    octets const o = (octets)x;
    x = (lanes)__builtin_shufflevector(o, o, (I / 4 * 4 + (I + Bytes) % 4)...);
}

template <int Bits> WG_LANES_TARGET [[gnu::always_inline]] static inline void rotate(lanes& x) noexcept {
#if WG_LANES == 8
    // no vector rotation there: where whole bytes move, a shuffle is less than two shifts and an or
    if constexpr (Bits % 8 == 0) return rotate_bytes<Bits / 8>(x, std::make_index_sequence<4 * WG_LANES>{});
#elif WG_LANES == 4 && defined(__SSE2__) && !defined(__AVX512VL__)
    typedef std::uint16_t halves __attribute__((vector_size(16)));
    if constexpr (Bits == 16) {
        halves const h = (halves)x;
        x = (lanes)__builtin_shufflevector(h, h, 1, 0, 3, 2, 5, 4, 7, 6);
        return;
    }
#endif
    x = (x >> Bits) | (x << (32 - Bits));
}

/// Half a round: the four mixings of v[i], v[4 + (i + Turn) % 4], v[8 + (i + 2 Turn) % 4], v[12 + (i + 3 Turn) % 4], a
/// step of all four after the other, for each waits for the one before.
template <std::size_t Turn>
WG_LANES_TARGET [[gnu::always_inline]] static inline void mix_four(lanes (&v)[16], lanes const (&m)[16],
                                                                   std::uint8_t const* p) noexcept {
    constexpr std::size_t b = Turn, c = 2 * Turn, d = 3 * Turn;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<16>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<12>(v[4 + (i + b) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[i] += m[p[2 * i + 1]], v[i] += v[4 + (i + b) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[12 + (i + d) % 4] ^= v[i], rotate<8>(v[12 + (i + d) % 4]);
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[8 + (i + c) % 4] += v[12 + (i + d) % 4];
#pragma GCC unroll 4
    for (std::size_t i = 0; i < 4; ++i) v[4 + (i + b) % 4] ^= v[8 + (i + c) % 4], rotate<7>(v[4 + (i + b) % 4]);
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void fill(lanes& to, std::uint32_t word) noexcept {
    to = lanes{} + word;
}

/// In each 16 bytes of a and b, the lower halves (Upper 0) or the upper ones (1), element by element in turn.
template <std::size_t Upper, class Vector, std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void zip(Vector& to, Vector const& a, Vector const& b,
                                                              std::index_sequence<I...>) noexcept {
    constexpr std::size_t count = sizeof...(I), group = 4 * count / WG_LANES;
    to = __builtin_shufflevector(a, b, (I % 2 * count + I / group * group + Upper * group / 2 + I % group / 2)...);
}

/// The words at[0], at[1], ... as elements of `to`.
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_words(quad& to, byte const* at) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        std::memcpy(&to, at, sizeof to);
    else
        to = quad{load_le32(at), load_le32(at + 4), load_le32(at + 8), load_le32(at + 12)};
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void store_words(byte* at, quad const& from) noexcept {
    if constexpr (std::endian::native == std::endian::little)
        std::memcpy(at, &from, sizeof from);
    else
        for (std::size_t i = 0; i < 4; ++i) store_le32(at + 4 * i, from[i]);
}

/// Four words of messages `first`, `first` + 4, ..., one after the other.
template <std::size_t... I>
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_row(lanes& row, byte const* const* from,
                                                                   std::size_t first, std::size_t at,
                                                                   std::index_sequence<I...>) noexcept {
#if WG_LANES == 4
    load_words(row, from[first] + at);
#elif WG_LANES == 8
    quad a, b;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    row = __builtin_shufflevector(a, b, I...);
#else
    typedef std::uint32_t eight __attribute__((vector_size(32)));
    quad a, b, c, d;
    load_words(a, from[first] + at);
    load_words(b, from[first + 4] + at);
    load_words(c, from[first + 8] + at);
    load_words(d, from[first + 12] + at);
    eight const ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7);
    eight const cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7);
    row = __builtin_shufflevector(ab, cd, I...);
#endif
}

/// Turns 4 by 4 words in each 16 bytes of four rows.
WG_LANES_TARGET [[gnu::always_inline]] static inline void turn(lanes (&r)[4]) noexcept {
    using each_pair = std::make_index_sequence<WG_LANES / 2>;
    lanes low01, low23, high01, high23;
    zip<0>(low01, r[0], r[1], each_lane{});
    zip<0>(low23, r[2], r[3], each_lane{});
    zip<1>(high01, r[0], r[1], each_lane{});
    zip<1>(high23, r[2], r[3], each_lane{});
    pairs p0, p1, p2, p3;
    zip<0>(p0, (pairs)low01, (pairs)low23, each_pair{});
    zip<1>(p1, (pairs)low01, (pairs)low23, each_pair{});
    zip<0>(p2, (pairs)high01, (pairs)high23, each_pair{});
    zip<1>(p3, (pairs)high01, (pairs)high23, each_pair{});
    r[0] = (lanes)p0, r[1] = (lanes)p1, r[2] = (lanes)p2, r[3] = (lanes)p3;
}

template <std::size_t Bytes>
WG_LANES_TARGET [[gnu::always_inline]] static inline void wipe_lanes(void* memory) noexcept {
    lanes zero = {};
    asm volatile("" : "+m"(zero)); // or the compiler would call memset
    static_assert(Bytes % sizeof zero == 0);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < Bytes; i += sizeof zero)
        std::memcpy(static_cast<byte*>(memory) + i, &zero, sizeof zero);
    asm volatile("" : : "r"(memory) : "memory");
}

/// What of a group of messages lies in memory.
struct group {
    lanes h[8];
    lanes m[16];
    alignas(4 * WG_LANES) byte padded[WG_LANES][block_bytes];
};

/// `wipe_stack` for what `digest` has there. Compilers that do not keep apart what is never there at a time take twice
/// the group and more.
WG_LANES_TARGET [[gnu::noinline]] static inline void wipe_frames() noexcept {
    alignas(4 * WG_LANES) byte frame[2 * sizeof(group) + 512];
    wipe_lanes<sizeof frame>(frame);
    wipe_baseline_registers();
}

/// Fills a block up with zeros behind `from`, which is shorter.
WG_LANES_TARGET [[gnu::always_inline]] static inline void pad_lane(byte* to, bytes_view from) noexcept {
#if WG_LANES == 16
    __mmask64 const there = (__mmask64{1} << from.size()) - 1;
    _mm512_store_si512(to, _mm512_maskz_loadu_epi8(there, from.data()));
#else
    pad(to, from);
#endif
}

/// Word i of every message's block in m[i].
WG_LANES_TARGET [[gnu::always_inline]] static inline void load_block(group& g, hash_item const* const* items,
                                                                     std::size_t count, std::size_t block) noexcept {
    byte const* from[WG_LANES] = {};
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        from[i] = from[0]; // a lane without a message does the first one again
        if (i >= count) continue;
        hash_item const& item = *items[i];
        bytes_view rest = item.key;
        if (item.key.empty())
            rest = item.message.subspan(block_bytes * block);
        else if (block != 0)
            rest = item.message.subspan(block_bytes * (block - 1));
        from[i] = rest.data();
        if (rest.size() >= block_bytes) continue;
        pad_lane(g.padded[i], rest);
        from[i] = g.padded[i];
    }
    for (std::size_t i = 0; i < 16; i += 4) {
        lanes r[4];
        load_row(r[0], from, 0, 4 * i, each_lane{});
        load_row(r[1], from, 1, 4 * i, each_lane{});
        load_row(r[2], from, 2, 4 * i, each_lane{});
        load_row(r[3], from, 3, 4 * i, each_lane{});
        turn(r);
        g.m[i] = r[0], g.m[i + 1] = r[1], g.m[i + 2] = r[2], g.m[i + 3] = r[3];
    }
}

WG_LANES_TARGET [[gnu::always_inline]] static inline void store_digests(group& g, hash_item const* const* items,
                                                                        std::size_t count) noexcept {
    for (std::size_t part = 0; part < 8; part += 4) {
        lanes r[4];
        for (std::size_t j = 0; j < 4; ++j) r[j] = g.h[part + j];
        turn(r);
        for (std::size_t j = 0; j < 4; ++j) g.h[part + j] = r[j];
    }
    for (std::size_t i = 0; i < count; ++i) { // words 0-3 of message i are in row i % 4, and 4-7 in row 4 + i % 4
        for (std::size_t part = 0; part < 2; ++part) {
            quad words;
            std::memcpy(&words, reinterpret_cast<byte const*>(&g.h[4 * part + i % 4]) + i / 4 * 16, 16);
            store_words(g.padded[i] + 16 * part, words);
        }
        copy_short(items[i]->out.data(), g.padded[i], items[i]->out.size());
    }
}

/// `low` and `high`: the words of the counts of bytes.
WG_LANES_TARGET [[gnu::always_inline]] static inline void compress(group& g, lanes const& low, lanes const& high,
                                                                   bool last) noexcept {
    lanes v[16];
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) {
        v[i] = g.h[i];
        fill(v[8 + i], iv[i]);
    }
    v[12] ^= low, v[13] ^= high;
    if (last) v[14] = ~v[14];
    // Not unrolled: the operations of a round keep the vector units busy for longer than its 16 indices take.
#pragma GCC unroll 1
    for (auto const& p : sigma) {
        mix_four<0>(v, g.m, p);
        mix_four<1>(v, g.m, p + 8);
    }
#pragma GCC unroll 8
    for (std::size_t i = 0; i < 8; ++i) g.h[i] ^= v[i] ^ v[8 + i];
}

/// Digests of 1 to WG_LANES messages of `blocks` blocks each, keys counted.
WG_LANES_TARGET [[gnu::noinline]] static inline void digest(hash_item const* const* items, std::size_t count,
                                                            std::size_t blocks) noexcept {
    group g;
    std::uint32_t low[WG_LANES], high[WG_LANES], first[WG_LANES];
    for (std::size_t i = 0; i < WG_LANES; ++i) {
        hash_item const* item = items[i < count ? i : 0];
        asm("" : "+r"(item)); // one by one: clang would gather the sizes, which is slower
        std::uint64_t const all = item->message.size() + (item->key.empty() ? 0 : block_bytes);
        low[i] = static_cast<std::uint32_t>(all);
        high[i] = static_cast<std::uint32_t>(all >> 32);
        first[i] = parameters(item->out.size(), item->key.size());
    }
    for (std::size_t i = 0; i < 8; ++i) fill(g.h[i], iv[i]);
    lanes low_all, high_all, parameter_words; // counts of bytes at the end, and first words of the parameter blocks
    std::memcpy(&low_all, low, sizeof low);
    std::memcpy(&high_all, high, sizeof high);
    std::memcpy(&parameter_words, first, sizeof first);
    g.h[0] ^= parameter_words;
    for (std::size_t block = 0; block + 1 < blocks; ++block) {
        load_block(g, items, count, block);
        std::uint64_t const so_far = block_bytes * (block + 1);
        lanes so_far_low, so_far_high;
        fill(so_far_low, static_cast<std::uint32_t>(so_far));
        fill(so_far_high, static_cast<std::uint32_t>(so_far >> 32));
        compress(g, so_far_low, so_far_high, false);
    }
    load_block(g, items, count, blocks - 1);
    compress(g, low_all, high_all, true);
    store_digests(g, items, count);
    wipe_lanes<sizeof g>(&g);
    WG_LANES_WIPE;
}
#undef WG_LANES
#undef WG_LANES_TARGET
#undef WG_LANES_WIPE
};
#endif

/// The whole message, the key's block too, into w.h. What lies whole in the input is compressed from there.
template <class Kernel> inline void absorb(work& w, bytes_view key, bytes_view a, bytes_view b) noexcept {
    std::uint64_t count = 0;
#ifdef WG_COMPACT
    // Everything goes through one buffer: a block is compressed when another byte follows, for the last one is special.
    std::size_t held = 0;
    std::memset(w.padded, 0, block_bytes);
    if (!key.empty()) std::memcpy(w.padded, key.data(), key.size()), held = block_bytes;
    for (bytes_view in : {a, b})
        while (!in.empty()) {
            if (held == block_bytes) {
                Kernel::compress_block(w.h, w.padded, count += block_bytes, false);
                held = 0;
                std::memset(w.padded, 0, block_bytes);
            }
            std::size_t const now = std::min(in.size(), block_bytes - held);
            std::memcpy(w.padded + held, in.data(), now);
            held += now;
            in = in.subspan(now);
        }
    Kernel::compress_block(w.h, w.padded, count + held, true);
#else
    if (!key.empty()) { // a block of its own, filled up with zeros, and the last one if nothing follows
        bool const last = a.empty() && b.empty();
        Kernel::compress(w, key.data(), key.size(), count = block_bytes, last);
        if (last) return;
    }
    if (!b.empty()) {
        if (std::size_t const whole = a.size() / block_bytes * block_bytes; whole != 0) {
            Kernel::compress(w, a.data(), whole, count += whole, false);
            a = a.subspan(whole);
        }
        if (!a.empty()) { // a block of both
            std::size_t const taken = std::min(b.size(), block_bytes - a.size());
            byte_array<block_bytes> joined;
            pad(joined.data(), a);
            copy_short(&joined[a.size()], b.data(), taken);
            Kernel::compress(w, joined.data(), block_bytes, count += a.size() + taken, taken == b.size());
            wipe_fixed<block_bytes>(joined.data());
            if (taken == b.size()) return;
            b = b.subspan(taken);
        }
        a = b;
    }
    Kernel::compress(w, a.empty() ? w.padded : a.data(), a.size(), count + a.size(), true);
#endif
}

#ifdef WG_COMPACT
#define WG_DIGEST [[gnu::always_inline]] // what is spilled lies below `compress_block`'s caller, but its state
#else
#define WG_DIGEST [[gnu::noinline]]
#endif

template <class Kernel>
WG_DIGEST inline void digest(bytes out, bytes_view key, bytes_view a, bytes_view b) noexcept {
    work w;
    for (std::size_t i = 0; i < 8; ++i) w.h[i] = iv[i];
    w.h[0] ^= parameters(out.size(), key.size());
    absorb<Kernel>(w, key, a, b);
    for (std::size_t i = 0; i < 8; ++i) store_le32(w.padded + 4 * i, w.h[i]);
    copy_short(out.data(), w.padded, out.size());
}

template <class Kernel>
inline void wiped_digest(bytes out, bytes_view key, bytes_view a, bytes_view b) noexcept {
    digest<Kernel>(out, key, a, b);
#ifdef WG_COMPACT
    wipe_stack<Kernel::spill_bytes>(); // of `compress_block`, the rest lies above
#else
    wipe_stack<sizeof(work) + Kernel::spill_bytes>();
#endif
}

constexpr std::size_t blocks_of(hash_item const& item) noexcept {
    std::size_t const whole = (item.message.size() + block_bytes - 1) / block_bytes;
    return item.key.empty() ? std::max<std::size_t>(whole, 1) : whole + 1;
}

/// Groups items of equally many blocks. `one(item)` does those that are too few for lanes to win.
template <class Lanes, class One> inline void batch(std::span<hash_item const> items, One const& one) noexcept {
    constexpr std::size_t window = 64, fewest = 3;
    bool used_lanes = false;
    for (; !items.empty(); items = items.subspan(std::min(window, items.size()))) {
        std::span<hash_item const> const here = items.first(std::min(window, items.size()));
        std::uint64_t left = ~std::uint64_t{0} >> (window - here.size());
        while (left != 0) {
            std::size_t const blocks = blocks_of(here[static_cast<std::size_t>(std::countr_zero(left))]);
            hash_item const* group[Lanes::width];
            std::size_t count = 0;
            for (std::uint64_t rest = left; rest != 0 && count < Lanes::width; rest &= rest - 1) {
                hash_item const& item = here[static_cast<std::size_t>(std::countr_zero(rest))];
                if (blocks_of(item) != blocks) continue;
                left ^= rest & (~rest + 1);
                group[count++] = &item;
            }
            if (count < fewest) {
                for (std::size_t i = 0; i < count; ++i) one(*group[i]);
            } else {
                Lanes::digest(group, count, blocks);
                used_lanes = true;
            }
        }
    }
    if (used_lanes) Lanes::wipe_frames();
}

} // namespace blake2s_detail

/// Chooses its kernels by what it is allowed to use, which the processor must have.
class hash {
public:
    hash() noexcept : hash(chosen_cpu()) {}
    explicit hash([[maybe_unused]] cpu allowed) noexcept
#ifdef WG_X86_KERNELS
        : allowed_(consistent(allowed))
#endif
    {}

    /// out.size() is 1-32, key.size() 0-32. Keys, and messages that are keys, leave nothing on the stack.
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        WG_ASSERT(!out.empty() && out.size() <= blake2s_detail::max_digest_bytes);
        WG_ASSERT(key.size() <= blake2s_detail::max_digest_bytes);
        digest(out, key, a, b);
    }

#ifndef WG_COMPACT
    /// The same for each item.
    void blake2s_batch(std::span<hash_item const> items) const noexcept;
#endif

private:
    void digest(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept;

#ifdef WG_X86_KERNELS
    cpu allowed_;
#endif
};

#ifdef WG_DEFINE_KERNELS

#ifndef WG_COMPACT
WG_CHOICE void hash::blake2s_batch(std::span<hash_item const> items) const noexcept {
    using namespace blake2s_detail;
    auto const one = [this](hash_item const& item) noexcept { digest(item.out, item.key, item.message, {}); };
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::avx512)) return batch<lanes_avx512>(items, one);
    if (has(allowed_, cpu::avx2)) return batch<lanes_avx2>(items, one);
#endif
#ifdef WG_BLAKE2S_LANES
    batch<lanes_baseline>(items, one);
#else
    for (hash_item const& item : items) one(item);
#endif
}
#endif

WG_CHOICE void hash::digest(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
    using namespace blake2s_detail;
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::avx512)) return wiped_digest<rows_avx512>(out, key, a, b);
    if (has(allowed_, cpu::avx2)) return wiped_digest<rows_avx2>(out, key, a, b);
#endif
    wiped_digest<words>(out, key, a, b);
}

#endif

static_assert(hash_backend<hash>);

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// X25519 (RFC 7748, section 5), and the default model of dh_backend. Layer 2; any thread.
//
// The ladder here is one text over two fields modulo p = 2^255 - 19; x86 with AVX2 or IFMA has kernels of its own, and
// `x25519_dh` chooses. No branch and no index depends on a secret; a processor whose multiplication takes longer for
// larger factors (Cortex-M3) is not constant in time all the same.
#ifndef WG_BACKENDS_BUNDLED_X25519_HPP
#define WG_BACKENDS_BUNDLED_X25519_HPP

// SPDX-License-Identifier: BSL-1.0
// The field of X25519 (RFC 7748): calculation modulo p = 2^255 - 19, one text over two sizes of limbs. Layer 2; pure.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_HPP

// SPDX-License-Identifier: BSL-1.0
// The product of field25519<limbs32> for 32-bit Arm, in assembly: what compilers make of the portable text takes twice
// as long. Layer 2; pure.
//
// One row after the other: eight words of the sum stay in registers, the one that is done goes to the stack, and its
// register is the next row's carry. `umaal` (Arm from version 6 on; Cortex-M with the DSP extension) adds both the word
// and the carry to a product. Without it (Cortex-M3) it takes four instructions, and the time of a product may depend
// on its factors; see docs/security.md.
#ifndef WG_BACKENDS_BUNDLED_FIELD25519_ARM_HPP
#define WG_BACKENDS_BUNDLED_FIELD25519_ARM_HPP

#include <cstdint>


// Thumb-2; the small profile has no room for this.
#if defined(__thumb2__) && !defined(WG_SMALL) && !defined(__ARM_BIG_ENDIAN)
#define WG_ARM_PRODUCT

// r1 and r2 are the factors, r12 is a word of the first; each step takes two words of the second. FIRST is of the first
// row, whose sum is nothing yet; START begins a row, whose carry is nothing yet.
#ifdef __ARM_FEATURE_DSP
#define WG_ARM_LOAD(row) "ldr r12, [r1, #4*" #row "]\n\t"
#define WG_ARM_TWO(at) "ldrd r0, lr, [r2, #8*" #at "]\n\t"
#define WG_ARM_FIRST_START(x, y, carry)                                                                                \
    WG_ARM_TWO(0) "umull " #x ", " #carry ", r12, r0\n\tmov " #y ", #0\n\tumaal " #y ", " #carry ", r12, lr\n\t"
#define WG_ARM_FIRST(x, y, carry, at) "mov " #x ", #0\n\tmov " #y ", #0\n\t" WG_ARM_STEP(x, y, carry, at)
#define WG_ARM_START(x, y, carry) "mov " #carry ", #0\n\t" WG_ARM_STEP(x, y, carry, 0)
#define WG_ARM_STEP(x, y, carry, at)                                                                                   \
    WG_ARM_TWO(at) "umaal " #x ", " #carry ", r12, r0\n\tumaal " #y ", " #carry ", r12, lr\n\t"
#define WG_ARM_STEP_38(word, carry, factor) "umaal " #word ", " #carry ", " #factor ", r12\n\t"
#else
#define WG_ARM_LOAD(row) "ldr r1, [sp, #32]\n\tldr r12, [r1, #4*" #row "]\n\t"
#define WG_ARM_TWO(at) "ldrd lr, r1, [r2, #8*" #at "]\n\t"
#define WG_ARM_ADD(x, carry) "adds " #x ", " #carry "\n\tadc " #carry ", r0, #0\n\t"
#define WG_ARM_NEW(x, factor, carry) "umull " #x ", r0, r12, " #factor "\n\t" WG_ARM_ADD(x, carry)
#define WG_ARM_MORE(x, factor, carry) "mov r0, #0\n\tumlal " #x ", r0, r12, " #factor "\n\t" WG_ARM_ADD(x, carry)
#define WG_ARM_FIRST_START(x, y, carry) WG_ARM_TWO(0) "umull " #x ", " #carry ", r12, lr\n\t" WG_ARM_NEW(y, r1, carry)
#define WG_ARM_FIRST(x, y, carry, at) WG_ARM_TWO(at) WG_ARM_NEW(x, lr, carry) WG_ARM_NEW(y, r1, carry)
#define WG_ARM_START(x, y, carry)                                                                                      \
    "mov " #carry ", #0\n\t" WG_ARM_TWO(0) "umlal " #x ", " #carry ", r12, lr\n\t" WG_ARM_MORE(y, r1, carry)
#define WG_ARM_STEP(x, y, carry, at) WG_ARM_TWO(at) WG_ARM_MORE(x, lr, carry) WG_ARM_MORE(y, r1, carry)
#define WG_ARM_STEP_38(word, carry, factor)                                                                            \
    "mov lr, #0\n\tumlal " #word ", lr, " #factor ", r12\n\tadds " #word ", " #carry "\n\tadc " #carry ", lr, #0\n\t"
#endif

// Words a - h of the sum, the lowest first, and the carry; the next row has the words b - h and the carry, and a.
#define WG_ARM_ROW(row, a, b, c, d, e, f, g, h, carry)                                                                 \
    WG_ARM_LOAD(row) WG_ARM_START(a, b, carry) WG_ARM_STEP(c, d, carry, 1) WG_ARM_STEP(e, f, carry, 2)                 \
        WG_ARM_STEP(g, h, carry, 3) "str " #a ", [sp, #4*" #row "]\n\t"

namespace wg::inline WG_ABI {
namespace bundled {

/// to = a b modulo 2^256 - 38, of eight words each, of any value; they may overlap. What it leaves on the stack lies
/// below its caller's frame.
[[gnu::naked, gnu::noinline]] inline void multiply25519_arm([[maybe_unused]] std::uint32_t* to,
                                                            [[maybe_unused]] std::uint32_t const* a,
                                                            [[maybe_unused]] std::uint32_t const* b) noexcept {
    asm volatile("push {r0, r4-r11, lr}\n\t"
                 "push {r1}\n\t"
                 "sub sp, sp, #32\n\t"
                 "ldr r12, [r1]\n\t" WG_ARM_FIRST_START(r3, r4, r11) WG_ARM_FIRST(r5, r6, r11, 1)
                 WG_ARM_FIRST(r7, r8, r11, 2) WG_ARM_FIRST(r9, r10, r11, 3) "str r3, [sp]\n\t"
                 WG_ARM_ROW(1, r4, r5, r6, r7, r8, r9, r10, r11, r3)
                 WG_ARM_ROW(2, r5, r6, r7, r8, r9, r10, r11, r3, r4)
                 WG_ARM_ROW(3, r6, r7, r8, r9, r10, r11, r3, r4, r5)
                 WG_ARM_ROW(4, r7, r8, r9, r10, r11, r3, r4, r5, r6)
                 WG_ARM_ROW(5, r8, r9, r10, r11, r3, r4, r5, r6, r7)
                 WG_ARM_ROW(6, r9, r10, r11, r3, r4, r5, r6, r7, r8)
                 WG_ARM_ROW(7, r10, r11, r3, r4, r5, r6, r7, r8, r9)
                 // the upper half is r11, r3-r9; times 38 and plus the lower half it is r0, r11, r3-r8, carry r10
                 "mov r12, #38\n\tmov r10, #0\n\t"
                 "ldr r0, [sp]\n\t" WG_ARM_STEP_38(r0, r10, r11)
                 "ldr r11, [sp, #4]\n\t" WG_ARM_STEP_38(r11, r10, r3)
                 "ldr r3, [sp, #8]\n\t" WG_ARM_STEP_38(r3, r10, r4)
                 "ldr r4, [sp, #12]\n\t" WG_ARM_STEP_38(r4, r10, r5)
                 "ldr r5, [sp, #16]\n\t" WG_ARM_STEP_38(r5, r10, r6)
                 "ldr r6, [sp, #20]\n\t" WG_ARM_STEP_38(r6, r10, r7)
                 "ldr r7, [sp, #24]\n\t" WG_ARM_STEP_38(r7, r10, r8)
                 "ldr r8, [sp, #28]\n\t" WG_ARM_STEP_38(r8, r10, r9)
                 // the carry is <= 38; times 38 it may carry once more, and then little is left
                 "mul r10, r10, r12\n\tmov r9, #0\n\t"
                 "adds r0, r0, r10\n\tadcs r11, r11, #0\n\tadcs r3, r3, #0\n\tadcs r4, r4, #0\n\t"
                 "adcs r5, r5, #0\n\tadcs r6, r6, #0\n\tadcs r7, r7, #0\n\tadcs r8, r8, #0\n\t"
                 "adc r9, r9, #0\n\tmul r9, r9, r12\n\tadd r0, r0, r9\n\t"
                 "add sp, sp, #36\n\tpop {r12}\n\t"
                 "str r0, [r12]\n\tstr r11, [r12, #4]\n\tadd r12, r12, #8\n\tstm r12, {r3-r8}\n\t"
                 "pop {r4-r11, pc}");
}

// A chain of eight additions or subtractions to the words that are loaded, and what comes out of it as 38 or 0 in r1,
// by the two operations that make a mask of the carry; then once more with that.
#define WG_ARM_CHAIN(first, rest, mask, add_38)                                                                        \
    "push {r4-r9, lr}\n\t"                                                                                             \
    "ldm r1, {r3-r9, r12}\n\t"                                                                                         \
    "ldr lr, [r2]\n\t" first " r3, r3, lr\n\tldr lr, [r2, #4]\n\t" rest " r4, r4, lr\n\t"                              \
    "ldr lr, [r2, #8]\n\t" rest " r5, r5, lr\n\tldr lr, [r2, #12]\n\t" rest " r6, r6, lr\n\t"                          \
    "ldr lr, [r2, #16]\n\t" rest " r7, r7, lr\n\tldr lr, [r2, #20]\n\t" rest " r8, r8, lr\n\t"                         \
    "ldr lr, [r2, #24]\n\t" rest " r9, r9, lr\n\tldr lr, [r2, #28]\n\t" rest " r12, r12, lr\n\t" mask                  \
    first " r3, r3, r1\n\t" rest " r4, r4, #0\n\t" rest " r5, r5, #0\n\t" rest " r6, r6, #0\n\t" rest                  \
    " r7, r7, #0\n\t" rest " r8, r8, #0\n\t" rest " r9, r9, #0\n\t" rest " r12, r12, #0\n\t" mask add_38               \
    " r3, r3, r1\n\tstm r0, {r3-r9, r12}\n\tpop {r4-r9, pc}"

/// to = a + b, likewise. What a carry leaves is less than 38 if there is another.
[[gnu::naked, gnu::noinline]] inline void add25519_arm([[maybe_unused]] std::uint32_t* to,
                                                       [[maybe_unused]] std::uint32_t const* a,
                                                       [[maybe_unused]] std::uint32_t const* b) noexcept {
    asm volatile(WG_ARM_CHAIN("adds", "adcs", "sbc r1, r1, r1\n\tmvn r1, r1\n\tand r1, r1, #38\n\t", "add"));
}

/// to = a - b, likewise. After a second borrow at least 2^256 - 38 is left.
[[gnu::naked, gnu::noinline]] inline void subtract25519_arm([[maybe_unused]] std::uint32_t* to,
                                                            [[maybe_unused]] std::uint32_t const* a,
                                                            [[maybe_unused]] std::uint32_t const* b) noexcept {
    asm volatile(WG_ARM_CHAIN("subs", "sbcs", "sbc r1, r1, r1\n\tand r1, r1, #38\n\t", "sub"));
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#undef WG_ARM_CHAIN
#undef WG_ARM_ROW
#undef WG_ARM_LOAD
#undef WG_ARM_TWO
#undef WG_ARM_FIRST_START
#undef WG_ARM_FIRST
#undef WG_ARM_START
#undef WG_ARM_STEP
#undef WG_ARM_STEP_38
#ifndef __ARM_FEATURE_DSP
#undef WG_ARM_ADD
#undef WG_ARM_NEW
#undef WG_ARM_MORE
#endif

#endif

#endif

namespace wg::inline WG_ABI {
namespace bundled {

/// An element modulo p. Results may overlap operands everywhere.
template <class Limbs> struct field25519;

#ifdef __SIZEOF_INT128__

/// Five limbs of 51 bits. Two ranges: "tight" limbs are < 2^51 + 2^12, "loose" ones < 2^53. What decode, multiply,
/// square and multiply_small give is tight; what add and subtract take is tight, and what they give is loose; all
/// others take loose elements.
template <> struct field25519<limbs64> {
    static constexpr std::uint64_t mask = (std::uint64_t{1} << 51) - 1;

    std::uint64_t v[5];

    void set_small(std::uint64_t value) noexcept { v[0] = value, v[1] = v[2] = v[3] = v[4] = 0; }

    /// The highest bit is ignored (RFC 7748, section 5); values from p to 2^255 - 1 are taken as they are.
    void decode(byte const* from) noexcept {
        std::uint64_t const a = load_le64(from), b = load_le64(from + 8), c = load_le64(from + 16),
                            d = load_le64(from + 24);
        v[0] = a & mask;
        v[1] = (a >> 51 | b << 13) & mask;
        v[2] = (b >> 38 | c << 26) & mask;
        v[3] = (c >> 25 | d << 39) & mask;
        v[4] = d >> 12 & mask;
    }

    /// The one representative below p. Of a tight or loose element.
    void encode(byte* to) const noexcept {
        field25519 x = *this;
        x.carry(); // limbs < 2^51 but the second, <= 2^51: the value is < 2^255 + 2^103 < 2p
        // q = 1 if the value is >= p: adding 19 then carries out of bit 255
        std::uint64_t q = (x.v[0] + 19) >> 51;
        for (std::size_t i = 1; i < 5; ++i) q = (x.v[i] + q) >> 51;
        x.v[0] += 19 * q; // value - q * p = value + 19 q - q * 2^255, whose last term is the bits dropped below
        for (std::size_t i = 0; i < 4; ++i) x.v[i + 1] += x.v[i] >> 51, x.v[i] &= mask;
        x.v[4] &= mask;
        store_le64(to, x.v[0] | x.v[1] << 51);
        store_le64(to + 8, x.v[1] >> 13 | x.v[2] << 38);
        store_le64(to + 16, x.v[2] >> 26 | x.v[3] << 25);
        store_le64(to + 24, x.v[3] >> 39 | x.v[4] << 12);
        wipe(x);
    }

    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        to.v[0] = a.v[0] + b.v[0], to.v[1] = a.v[1] + b.v[1], to.v[2] = a.v[2] + b.v[2]; // < 2^52 + 2^13
        to.v[3] = a.v[3] + b.v[3], to.v[4] = a.v[4] + b.v[4];
    }

    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        // a + 2p - b; a limb of 2p is >= 2^52 - 38 > 2^51 + 2^12, so none goes below zero; < 2^51 + 2^12 + 2^52 < 2^53
        to.v[0] = a.v[0] + (2 * mask - 36) - b.v[0];
        to.v[1] = a.v[1] + 2 * mask - b.v[1], to.v[2] = a.v[2] + 2 * mask - b.v[2];
        to.v[3] = a.v[3] + 2 * mask - b.v[3], to.v[4] = a.v[4] + 2 * mask - b.v[4];
    }

    [[gnu::always_inline]] static void multiply(field25519& to, field25519 const& x, field25519 const& y) noexcept {
        std::uint64_t const a0 = x.v[0], a1 = x.v[1], a2 = x.v[2], a3 = x.v[3], a4 = x.v[4];
        std::uint64_t const b0 = y.v[0], b1 = y.v[1], b2 = y.v[2], b3 = y.v[3], b4 = y.v[4];
        std::uint64_t const c1 = 19 * b1, c2 = 19 * b2, c3 = 19 * b3, c4 = 19 * b4; // 2^255 = 19; < 2^57.3
        // terms < 2^106, with 19 < 2^110.3; sums < 2^112.6
        uint128 const t0 = wide(a0, b0) + wide(a1, c4) + wide(a2, c3) + wide(a3, c2) + wide(a4, c1);
        uint128 const t1 = wide(a0, b1) + wide(a1, b0) + wide(a2, c4) + wide(a3, c3) + wide(a4, c2);
        uint128 const t2 = wide(a0, b2) + wide(a1, b1) + wide(a2, b0) + wide(a3, c4) + wide(a4, c3);
        uint128 const t3 = wide(a0, b3) + wide(a1, b2) + wide(a2, b1) + wide(a3, b0) + wide(a4, c4);
        uint128 const t4 = wide(a0, b4) + wide(a1, b3) + wide(a2, b2) + wide(a3, b1) + wide(a4, b0);
        to.reduce(t0, t1, t2, t3, t4);
    }

    [[gnu::always_inline]] static void square(field25519& to, field25519 const& x) noexcept {
        std::uint64_t const a0 = x.v[0], a1 = x.v[1], a2 = x.v[2], a3 = x.v[3], a4 = x.v[4];
        std::uint64_t const d0 = 2 * a0, d1 = 2 * a1, d2 = 2 * a2, c3 = 19 * a3, c4 = 19 * a4; // < 2^54, < 2^57.3
        // the sums of multiply(x, x)
        uint128 const t0 = wide(a0, a0) + wide(d1, c4) + wide(d2, c3);
        uint128 const t1 = wide(d0, a1) + wide(d2, c4) + wide(a3, c3);
        uint128 const t2 = wide(d0, a2) + wide(a1, a1) + wide(2 * a3, c4);
        uint128 const t3 = wide(d0, a3) + wide(d1, a2) + wide(a4, c4);
        uint128 const t4 = wide(d0, a4) + wide(d1, a3) + wide(a2, a2);
        to.reduce(t0, t1, t2, t3, t4);
    }

    static void multiply_small(field25519& to, field25519 const& x, std::uint32_t factor) noexcept {
        to.reduce(wide(x.v[0], factor), wide(x.v[1], factor), wide(x.v[2], factor), wide(x.v[3], factor),
                  wide(x.v[4], factor));
    }

    /// swap is 0 or 1.
    static void swap_if(std::uint32_t swap, field25519& a, field25519& b) noexcept {
        std::uint64_t const all = mask_of<std::uint64_t>(swap);
        for (std::size_t i = 0; i < 5; ++i) {
            std::uint64_t const x = (a.v[i] ^ b.v[i]) & all;
            a.v[i] ^= x, b.v[i] ^= x;
        }
    }

private:
    [[gnu::always_inline]] static uint128 wide(std::uint64_t a, std::uint64_t b) noexcept { return uint128{a} * b; }

    /// Before: sums < 2^113, and t4, which has no factor 19, < 2^108.4. After: tight.
    [[gnu::always_inline]] void reduce(uint128 t0, uint128 t1, uint128 t2, uint128 t3, uint128 t4) noexcept {
        t1 += static_cast<std::uint64_t>(t0 >> 51); // < 2^62
        t2 += static_cast<std::uint64_t>(t1 >> 51);
        t3 += static_cast<std::uint64_t>(t2 >> 51);
        t4 += static_cast<std::uint64_t>(t3 >> 51);
        std::uint64_t const low =
            (static_cast<std::uint64_t>(t0) & mask) + 19 * static_cast<std::uint64_t>(t4 >> 51); // < 2^51 + 2^61.7
        v[0] = low & mask;
        v[1] = (static_cast<std::uint64_t>(t1) & mask) + (low >> 51); // < 2^51 + 2^11
        v[2] = static_cast<std::uint64_t>(t2) & mask;
        v[3] = static_cast<std::uint64_t>(t3) & mask;
        v[4] = static_cast<std::uint64_t>(t4) & mask;
    }

    /// Before: limbs < 2^63. After: limbs < 2^51 but the second, which a carry of (2^51 + 19 * 2^12) >> 51 = 1 at most
    /// may make 2^51.
    void carry() noexcept {
        for (std::size_t i = 0; i < 4; ++i) v[i + 1] += v[i] >> 51, v[i] &= mask;
        v[0] += 19 * (v[4] >> 51), v[4] &= mask;
        v[1] += v[0] >> 51, v[0] &= mask;
    }
};

#endif

/// Eight full words; any value below 2^256 stands for its remainder, so all operations take and give any words.
/// 2^256 = 38 modulo p, so what leaves at the top comes back at the bottom times 38.
template <> struct field25519<limbs32> {
    std::uint32_t v[8];

    void set_small(std::uint32_t value) noexcept {
        for (auto& word : v) word = 0;
        v[0] = value;
    }

    void decode(byte const* from) noexcept {
        for (std::size_t i = 0; i < 8; ++i) v[i] = load_le32(from + 4 * i);
        v[7] &= 0x7fffffff;
    }

    void encode(byte* to) const noexcept {
        field25519 x = *this;
        // bits from 255 on come back times 19: twice gives < 2^255 + 19 and then < 2^255; the third takes p off a
        // value from p on: 19 more carries into bit 255 then, and only then
        std::uint32_t extra = 19 * x.take_top_bit();
        x.add_word(extra);
        extra = 19 * x.take_top_bit();
        x.add_word(extra);
        field25519 y = x;
        y.add_word(19);
        std::uint32_t const keep = mask_of(y.take_top_bit());
        for (std::size_t i = 0; i < 8; ++i) store_le32(to + 4 * i, x.v[i] ^ ((x.v[i] ^ y.v[i]) & keep));
        wipe(x);
        wipe(y);
    }

#ifdef WG_SMALL
    /// a + b, or with `minus` all ones a - b: the complement of b is 2^256 - 1 - b = 37 - b, and 2p - 37 = 2^256 - 75
    /// makes -b of it.
    [[gnu::noinline]] static void add_signed(field25519& to, field25519 const& a, field25519 const& b,
                                             std::uint32_t minus) noexcept {
        std::uint64_t t = 0;
        std::uint32_t constant = minus & ~std::uint32_t{74};
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a.v[i]} + (b.v[i] ^ minus) + constant; // <= 3 * (2^32 - 1) + 2
            to.v[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
            constant = minus;
        }
        to.fold(static_cast<std::uint32_t>(t));
    }
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept { add_signed(to, a, b, 0); }
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        add_signed(to, a, b, 0xffffffff);
    }
#elif defined(WG_ARM_PRODUCT)
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        add25519_arm(to.v, a.v, b.v);
    }
    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        subtract25519_arm(to.v, a.v, b.v);
    }
#else
    static void add(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a.v[i]} + b.v[i]; // <= 2^33 - 1
            to.v[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
        }
        to.fold(static_cast<std::uint32_t>(t));
    }

    static void subtract(field25519& to, field25519 const& a, field25519 const& b) noexcept {
        std::uint64_t t = 0; // 0, or 2^64 - 1 for a borrow
        for (std::size_t i = 0; i < 8; ++i) {
            t += std::uint64_t{a.v[i]} - b.v[i];
            to.v[i] = static_cast<std::uint32_t>(t);
            t = std::uint64_t{0} - (t >> 63);
        }
        // a borrow added 2^256 = 38 too much; taking that off may borrow once more, and then leaves >= 2^256 - 38
        for (int again = 0; again < 2; ++again) {
            t &= 38;
            t = std::uint64_t{0} - t;
            for (std::size_t i = 0; i < 8; ++i) {
                t += to.v[i];
                to.v[i] = static_cast<std::uint32_t>(t);
                t = std::uint64_t{0} - (t >> 63);
            }
        }
    }
#endif

    static void multiply(field25519& to, field25519 const& a, field25519 const& b) noexcept {
#if defined(WG_ARM_PRODUCT)
        multiply25519_arm(to.v, a.v, b.v);
#elif defined(WG_SMALL)
        std::uint32_t product[16]; // in this frame, which `wipe_stack` reaches
        for (std::size_t i = 0; i < 8; ++i) product[i] = 0;
        for (std::size_t i = 0; i < 8; ++i) product[i + 8] = add_product(product + i, a.v[i], b.v);
        std::uint32_t const top = add_product(product, 38, product + 8); // <= 38
        for (std::size_t i = 0; i < 8; ++i) to.v[i] = product[i];
        to.fold(top);
#else
        std::uint32_t product[16] = {};
        for (std::size_t i = 0; i < 8; ++i) {
            std::uint64_t t = 0;
            for (std::size_t j = 0; j < 8; ++j) {
                // (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1
                t = std::uint64_t{a.v[i]} * b.v[j] + product[i + j] + (t >> 32);
                product[i + j] = static_cast<std::uint32_t>(t);
            }
            product[i + 8] = static_cast<std::uint32_t>(t >> 32);
        }
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t = std::uint64_t{product[i + 8]} * 38 + product[i] + (t >> 32); // < 39 * 2^32
            to.v[i] = static_cast<std::uint32_t>(t);
        }
        to.fold(static_cast<std::uint32_t>(t >> 32)); // <= 38
        wipe(product);
#endif
    }

    static void square(field25519& to, field25519 const& a) noexcept { multiply(to, a, a); }

    static void multiply_small(field25519& to, field25519 const& a, std::uint32_t factor) noexcept {
        std::uint64_t t = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            t = std::uint64_t{a.v[i]} * factor + (t >> 32);
            to.v[i] = static_cast<std::uint32_t>(t);
        }
        to.fold(static_cast<std::uint32_t>(t >> 32));
    }

    static void swap_if(std::uint32_t swap, field25519& a, field25519& b) noexcept {
        std::uint32_t const all = mask_of(swap);
        for (std::size_t i = 0; i < 8; ++i) {
            std::uint32_t const x = (a.v[i] ^ b.v[i]) & all;
            a.v[i] ^= x, b.v[i] ^= x;
        }
    }

private:
#ifdef WG_SMALL
    /// Adds a * b to eight words; what leaves at the top is returned.
    [[gnu::always_inline]] static std::uint32_t add_product(std::uint32_t* to, std::uint32_t a,
                                                            std::uint32_t const* b) noexcept {
        std::uint32_t carry = 0;
#ifdef __thumb2__
        std::uint32_t const* const end = b + 8;
        std::uint32_t x, y, low, next, high;
        asm("1:\n\tldrd %[x], %[y], [%[b]], #8\n\tldrd %[low], %[next], [%[to]]\n\t"
            "mov %[high], #0\n\tumlal %[low], %[high], %[a], %[x]\n\t"
            "adds %[low], %[low], %[carry]\n\tadc %[carry], %[high], #0\n\t"
            "mov %[high], #0\n\tumlal %[next], %[high], %[a], %[y]\n\t"
            "adds %[next], %[next], %[carry]\n\tadc %[carry], %[high], #0\n\t"
            "strd %[low], %[next], [%[to]], #8\n\tcmp %[b], %[end]\n\tbne 1b"
            : [x] "=&r"(x), [y] "=&r"(y), [low] "=&r"(low), [next] "=&r"(next), [high] "=&r"(high), [to] "+r"(to),
              [b] "+r"(b), [carry] "+r"(carry)
            : [a] "r"(a), [end] "r"(end)
            : "cc", "memory");
#else
        for (std::size_t i = 0; i < 8; ++i) {
            // (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1
            std::uint64_t const t = std::uint64_t{a} * b[i] + to[i] + carry;
            to[i] = static_cast<std::uint32_t>(t);
            carry = static_cast<std::uint32_t>(t >> 32);
        }
#endif
        return carry;
    }
#endif

    /// Adds; what leaves at the top is returned.
    std::uint32_t add_word(std::uint64_t t) noexcept {
        for (std::size_t i = 0; i < 8; ++i) {
            t += v[i];
            v[i] = static_cast<std::uint32_t>(t);
            t >>= 32;
        }
        return static_cast<std::uint32_t>(t);
    }

    /// Adds top * 2^256, top < 2^17 or so.
    void fold(std::uint32_t top) noexcept {
        std::uint32_t const again = add_word(std::uint64_t{top} * 38); // 0 or 1; if 1, less than 2^23 is left
        v[0] += again * 38;
    }

    std::uint32_t take_top_bit() noexcept {
        std::uint32_t const bit = v[7] >> 31;
        v[7] &= 0x7fffffff;
        return bit;
    }
};

/// Room for an inversion; what a caller keeps there is lost.
template <class Field> struct field25519_scratch {
    Field x3, z3, a, b, c, d;
};

template <class Field> inline void square_times(Field& x, int times) noexcept {
    for (int i = 0; i < times; ++i) Field::square(x, x);
}

/// z = z^(p - 2) = 1/z, 0 for 0. p - 2 = 2^255 - 21: 250 ones, then 01011. An element named a_n is z^(2^n - 1).
template <class Field> [[gnu::noinline]] void invert(Field& z, field25519_scratch<Field>& w) noexcept {
#ifdef WG_SMALL
    Field& x = w.a;
    x = z;
    for (int bit = 254; bit-- > 0;) { // twice the multiplications of the chain below
        Field::multiply(x, x, x);
        if (bit != 2 && bit != 4) Field::multiply(x, x, z);
    }
    z = x;
#else
    Field& t = w.a;
    Field& a_5 = w.b;
    Field& a_k = w.c; // n = 10, then 50
    Field& z_11 = w.d;
    t = z;
    square_times(t, 1);
    Field& z_2 = w.x3;
    z_2 = t;
    square_times(t, 2);
    Field::multiply(t, t, z); // z^9
    Field& z_9 = w.z3;
    z_9 = t;
    Field::multiply(z_11, t, z_2);
    t = z_11;
    square_times(t, 1);
    Field::multiply(a_5, t, z_9); // 22 + 9 = 31
    t = a_5;
    square_times(t, 5);
    Field::multiply(a_k, t, a_5); // a_10
    t = a_k;
    square_times(t, 10);
    Field::multiply(t, t, a_k); // a_20
    z_2 = t;
    square_times(t, 20);
    Field::multiply(t, t, z_2); // a_40
    square_times(t, 10);
    Field::multiply(a_k, t, a_k); // a_50
    t = a_k;
    square_times(t, 50);
    Field::multiply(t, t, a_k); // a_100
    z_2 = t;
    square_times(t, 100);
    Field::multiply(t, t, z_2); // a_200
    square_times(t, 50);
    Field::multiply(t, t, a_k); // a_250
    square_times(t, 5);
    Field::multiply(z, t, z_11); // 01011 is 11
#endif
}

#ifdef __SIZEOF_INT128__

/// 1/x modulo p by steps of division (Bernstein, Yang, "Fast constant-time gcd computation and modular inversion",
/// 2019), in the variant that starts with delta = 1/2: 590 steps make gcd(p, x) of any x < 2^256 (Wuille, "The safegcd
/// implementation in libsecp256k1 explained", 2021). 59 steps look at the lowest words of f and g only, and what they
/// did is a matrix that is then applied to f, g and to d, e, where f = d x and g = e x modulo p.
/// Twice as fast as the power p - 2; the number of steps and all they do are the same for every x.
class inversion25519 {
public:
    /// Words, the lowest first. Below p; x = 0 gives 0.
    static void invert(std::uint64_t (&to)[4], std::uint64_t const (&x)[4]) noexcept {
        inversion25519 w;
        w.f = {{-19, 0, 0, 0, 128}};
        w.g = {{to_limb(x[0]), to_limb(x[0] >> 62 | x[1] << 2), to_limb(x[1] >> 60 | x[2] << 4),
                to_limb(x[2] >> 58 | x[3] << 6), static_cast<std::int64_t>(x[3] >> 56)}};
        w.d = {{0, 0, 0, 0, 0}};
        w.e = {{1, 0, 0, 0, 0}};
        std::int64_t minus_delta = -1; // less a half
        for (int i = 0; i < 10; ++i) {
            w.steps(minus_delta);
            apply_modulo_p(w.d, w.e, w.m);
            apply(w.f, w.g, w.m);
        }
        w.finish(to);
    }

private:
    __extension__ typedef __int128 int128;
    static constexpr std::uint64_t limb_mask = (std::uint64_t{1} << 62) - 1;

    /// Five limbs of 62 bits; the highest has the sign.
    struct number {
        std::int64_t v[5];
    };
    /// What 59 steps make of f and g, times 2^62: (u f + v g, q f + r g). |u| + |v| <= 2^62, |q| + |r| <= 2^62.
    struct matrix {
        std::int64_t u, v, q, r;
    };

    number f, g, d, e;
    matrix m;

    inversion25519() noexcept {}
    ~inversion25519() { wipe(static_cast<void*>(this), sizeof *this); }

    static std::int64_t to_limb(std::uint64_t word) noexcept { return static_cast<std::int64_t>(word & limb_mask); }
    static std::int64_t low(int128 x) noexcept { return to_limb(static_cast<std::uint64_t>(x)); }
    static int128 wide(std::int64_t a, std::int64_t b) noexcept { return int128{a} * b; }

    /// A step: if g is odd and delta > 0, f, g = g, (g - f) / 2 and delta = 1 - delta; else g = (g + f) / 2 if it is
    /// odd, g / 2 if it is even, and delta = 1 + delta. In place of halving g, f's row of the matrix is doubled.
    void steps(std::int64_t& minus_delta) noexcept {
        std::uint64_t a = static_cast<std::uint64_t>(f.v[0]) | static_cast<std::uint64_t>(f.v[1]) << 62;
        std::uint64_t b = static_cast<std::uint64_t>(g.v[0]) | static_cast<std::uint64_t>(g.v[1]) << 62;
        matrix const x = some_steps(30, a, b, minus_delta), y = some_steps(29, a, b, minus_delta);
        // y x, and 2^62 = 8 * 2^59
        m = {8 * (y.u * x.u + y.v * x.q), 8 * (y.u * x.v + y.v * x.r), 8 * (y.q * x.u + y.r * x.q),
             8 * (y.q * x.v + y.r * x.r)};
    }

    /// 30 steps at most, so |u| + |v| <= 2^30 and both are calculated with in one word, u + 2^32 v. Words may wrap: of
    /// a and b only the low bits count, as many as there are steps to come.
    [[gnu::always_inline]] static matrix some_steps(int count, std::uint64_t& a, std::uint64_t& b,
                                                    std::int64_t& minus_delta) noexcept {
        std::uint64_t uv = 1, qr = std::uint64_t{1} << 32, delta = static_cast<std::uint64_t>(minus_delta);
        for (int i = 0; i < count; ++i) {
            std::uint64_t const odd = mask_of(b & 1), positive = mask_of(delta >> 63), both = odd & positive;
            delta = (delta ^ both) - 1;
            // first what waits for nothing, and f = g rather than f + (g - f): this loop is one chain of dependencies
            std::uint64_t const minus_a = (a ^ positive) - positive, minus_uv = (uv ^ positive) - positive;
            a ^= (a ^ b) & both;
            uv ^= (uv ^ qr) & both;
            b += minus_a & odd;
            qr += minus_uv & odd;
            b >>= 1;
            uv <<= 1;
        }
        minus_delta = static_cast<std::int64_t>(delta);
        std::int64_t const u = static_cast<std::int32_t>(static_cast<std::uint32_t>(uv)),
                           q = static_cast<std::int32_t>(static_cast<std::uint32_t>(qr));
        return {u, (static_cast<std::int64_t>(uv) - u) >> 32, q, (static_cast<std::int64_t>(qr) - q) >> 32};
    }

    /// x, y = (u x + v y) / 2^62, (q x + r y) / 2^62, which are whole numbers. |x|, |y| < 2^256 before and after.
    static void apply(number& x, number& y, matrix const& m) noexcept {
        int128 s = wide(m.u, x.v[0]) + wide(m.v, y.v[0]), t = wide(m.q, x.v[0]) + wide(m.r, y.v[0]);
        for (int i = 1; i < 5; ++i) { // sums < 2^62 * 2^62 + 2^63
            s = (s >> 62) + wide(m.u, x.v[i]) + wide(m.v, y.v[i]);
            t = (t >> 62) + wide(m.q, x.v[i]) + wide(m.r, y.v[i]);
            x.v[i - 1] = low(s);
            y.v[i - 1] = low(t);
        }
        x.v[4] = static_cast<std::int64_t>(s >> 62);
        y.v[4] = static_cast<std::int64_t>(t >> 62);
    }

    /// The same modulo p: multiples of p are added to make whole numbers. x and y are > -2p and < p, before and after.
    static void apply_modulo_p(number& x, number& y, matrix const& m) noexcept {
        // A negative one is taken as itself plus p, so |.| < p and sums of two are > -2^62 p and < 2^62 p.
        std::int64_t const x_sign = x.v[4] >> 63, y_sign = y.v[4] >> 63;
        int128 s = wide(m.u, x.v[0]) + wide(m.v, y.v[0]), t = wide(m.q, x.v[0]) + wide(m.r, y.v[0]);
        std::int64_t const k = multiple((m.u & x_sign) + (m.v & y_sign), s),
                           l = multiple((m.q & x_sign) + (m.r & y_sign), t);
        s -= wide(19, k);
        t -= wide(19, l);
        for (int i = 1; i < 5; ++i) {
            s = (s >> 62) + wide(m.u, x.v[i]) + wide(m.v, y.v[i]);
            t = (t >> 62) + wide(m.q, x.v[i]) + wide(m.r, y.v[i]);
            if (i == 4) { // p = 2^255 - 19, 255 = 4 * 62 + 7
                s += wide(128, k);
                t += wide(128, l);
            }
            x.v[i - 1] = low(s);
            y.v[i - 1] = low(t);
        }
        x.v[4] = static_cast<std::int64_t>(s >> 62);
        y.v[4] = static_cast<std::int64_t>(t >> 62);
    }

    /// The greatest number <= `most` that times p takes away the lowest 62 bits of `sum`: -19 k = -sum.
    static std::int64_t multiple(std::int64_t most, int128 sum) noexcept {
        constexpr std::uint64_t inverse_of_19 = 0x86bca1af286bca1b; // modulo 2^64
        static_assert(inverse_of_19 * 19 == 1);
        std::uint64_t const k = static_cast<std::uint64_t>(sum) * inverse_of_19;
        return most - static_cast<std::int64_t>((static_cast<std::uint64_t>(most) - k) & limb_mask);
    }

    /// f is 1 or -1 now, and d, with the sign of f, is the result; for x = 0, f is p still and d is 0.
    void finish(std::uint64_t (&to)[4]) const noexcept {
        std::int64_t const sign = f.v[4] >> 63;
        number x = d;
        add_p(x, x.v[4] >> 63); // > -p, < p
        std::int64_t t = 0;
        for (int i = 0; i < 5; ++i) {
            t += (x.v[i] ^ sign) - sign;
            x.v[i] = i < 4 ? t & static_cast<std::int64_t>(limb_mask) : t;
            t >>= 62;
        }
        add_p(x, x.v[4] >> 63); // >= 0, < p
        std::uint64_t w[5];
        for (int i = 0; i < 5; ++i) w[i] = static_cast<std::uint64_t>(x.v[i]);
        to[0] = w[0] | w[1] << 62;
        to[1] = w[1] >> 2 | w[2] << 60;
        to[2] = w[2] >> 4 | w[3] << 58;
        to[3] = w[3] >> 6 | w[4] << 56;
        wipe(x);
        wipe(w);
    }

    /// Where `all` is all ones.
    static void add_p(number& x, std::int64_t all) noexcept {
        x.v[0] -= 19 & all;
        x.v[4] += 128 & all;
        for (int i = 0; i < 4; ++i) x.v[i + 1] += x.v[i] >> 62, x.v[i] &= static_cast<std::int64_t>(limb_mask);
    }
};

/// z = 1/z, 0 for 0. Loose or tight, then tight.
[[gnu::noinline]] inline void invert(field25519<limbs64>& z) noexcept {
    byte text[32];
    std::uint64_t words[4];
    z.encode(text);
    for (std::size_t i = 0; i < 4; ++i) words[i] = load_le64(text + 8 * i);
    inversion25519::invert(words, words);
    for (std::size_t i = 0; i < 4; ++i) store_le64(text + 8 * i, words[i]);
    z.decode(text);
    wipe(text);
    wipe(words);
}
inline void invert(field25519<limbs64>& z, field25519_scratch<field25519<limbs64>>&) noexcept { invert(z); }

#endif

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// X25519 of the base point (RFC 7748, section 4.1) with a table. Layer 2; any thread.
//
// The point with u = 9 is that with y = 4/5 on the curve -x^2 + y^2 = 1 + d x^2 y^2 (edwards25519), u = (1+y)/(1-y).
// There points are added by one complete formula (Hisil, Wong, Carter, Dawson, "Twisted Edwards curves revisited",
// 2008; the curve's a is a square and d is not), so no case is special and nothing depends on the scalar.
//
// The scalar is written with digits 1 and -1 only, 260 of them, and these are taken in four combs of five teeth, 13
// apart (Hamburg, "Fast and compact elliptic-curve cryptography", 2012): all digits at the same place between their
// teeth are added at once. A comb has 16 points and their negatives; which one is needed is found by reading all 16.
// That makes 52 additions and 12 doublings with a table of 6 KiB.
#ifndef WG_BACKENDS_BUNDLED_X25519_BASE_HPP
#define WG_BACKENDS_BUNDLED_X25519_BASE_HPP


#ifndef WG_COMPACT

namespace wg::inline WG_ABI {
namespace bundled {

struct comb25519 {
    static constexpr std::size_t combs = 4, teeth = 5, distance = 13, points = 16, words = 12;

    /// Point i of comb j: with weights w_h = 2^(13 (5 j + h)), w_4 + the sum over h < 4 of w_h if bit h of i is set,
    /// else -w_h, times the base point. Of such a point x, y: (y - x) / 2, (y + x) / 2 and d x y, below p.
    alignas(64) static constexpr std::uint64_t table[combs * points * words] = {
// SPDX-License-Identifier: BSL-1.0
// The multiples of the base point that x25519_base.hpp describes: 4 combs of 16 points, three elements a point, four
// words an element, the lowest first. The unit test `table_of_the_base_point_is_what_it_should_be` computes them anew.
0xde7833ef48ecfc8f, 0x63cf399df91486f6, 0x0b402eda161ed8d8, 0x48cf05fe5b0abe3c,
0x0564323fe6f95743, 0x504244fd37372a54, 0x50628d52437ac9c7, 0x5407d42f917e5863,
0x900acdcb0c7a701e, 0xe13fa2a86051688c, 0x99c04b44e775ba65, 0x20e76214618e6a75,
0x6073c63ce150cf41, 0xaf170f17a171127c, 0x5ba9c4f4c39de41e, 0x00f6cde8dc714567,
0xd04a41c70a7384f2, 0xdbd430473a9649cd, 0xdb8011aae458158b, 0x62ce94b8305ac702,
0x4c84e3f4ed3b32ad, 0xf8b6b25ee4082e87, 0x86aacf99ef20e9d9, 0x3ca1226dd019ab00,
0xe36b39acb92a86cd, 0x467102807ba025a7, 0x00695861210a5032, 0x3ea745b517ef0962,
0x7aa89803d1facfc9, 0xc4452ce81bcadfd7, 0xc6d85d9074727924, 0x325751aae5cfd99b,
0xbcc4562d49d9e712, 0x6853d76c5b7ed133, 0xee0bc5d166ce88c3, 0x39c3047235649840,
0x8fbc22d128c47a5c, 0x660d0d93c797a2f0, 0x367cf87479fc374f, 0x536a4af3e7c9458b,
0xd2f294d4f69a0a3f, 0x773515b0cbcea30e, 0x85fb0a3c641b528f, 0x4f50e926a0d5ffef,
0x88fe096f00e761ac, 0x29168316ee140368, 0x469be0ea0b3ffab1, 0x1bc68d3bca82fb47,
0x504c9113568e69a6, 0x7d6fb0c341fbb18d, 0x81f011a9fdc2a7a4, 0x078af9fe5a7defa7,
0xd6aa598744460ae8, 0x4cab517a5c5a3a95, 0x412442d30a27d528, 0x0f50ff7f8ebc15b4,
0x2b77004d5e76a4b1, 0xc029c2f3b186ac22, 0x324287dd0b777ccf, 0x2bf40cc71b77a510,
0xbff47e2641d67353, 0xb7e829ad5d7b3abb, 0x247621243279aa54, 0x07bc22f6945a88a3,
0x151aa675f3c49557, 0x7d3bfcf3c6b9b292, 0xd25bcb6b28a26af9, 0x0aaf723d01866428,
0x706bbbd1cb41e65f, 0xac3e382699b00e6b, 0x2379382280a8e4a6, 0x407a90c61bd61156,
0x430079b54acd0fcb, 0xd5f58cc9e7d98453, 0xc5c4049fa8fcd47f, 0x24e2ea45d39fb101,
0xae12dfa29fee4b43, 0xfbc95f115df91a11, 0x6d101ae92929db78, 0x3459cc2dc867f3fe,
0x8cec2e7112d16a99, 0x0d9d3143ef98f561, 0xdf2a33d277a9d675, 0x213e5ec786584026,
0x05f94c59ef74ddad, 0x69e5075a6f5b10a7, 0xe3b1808aa7f85445, 0x5a3350d5a10e9e2e,
0xdf9f9b3ee10331ca, 0x8e2342edbe27a732, 0xe6672671581ab2a8, 0x16a0dfbc2b7a3217,
0x0718e223e241279e, 0xe1ca3b2a34d26f76, 0x9100a4cf7ec3cd46, 0x58dbf5ed80bd6f7d,
0xa49e86dcc7b89703, 0x3d1425d19e8a2e0f, 0xe27af2a597806f9c, 0x373ccb4d69fe15fa,
0xd205c119f6bdbfd3, 0xd8b9137b827d014a, 0xf548a41e89b4fbf2, 0x2aa4a1c235d2049d,
0x42897e304970f82d, 0xe5cc1fabf35ef958, 0xae44fbd3ab65e490, 0x1bc915cfec6102d0,
0x5b8269f78e3a9cb9, 0x8c8eb6b6842e830e, 0xaba16e4e6c66c202, 0x39aec9aeade78f93,
0x0f9d56d23378a0c3, 0x0324e9528bf20fc6, 0x11c57b114b6b5d1f, 0x38321bbe8902a448,
0x30f2d3169f9d0dd9, 0x6835de072f92646e, 0x005c39a3f5e78fbd, 0x34f1eeb6ceee6a89,
0x1b3ceaa9e2b6884c, 0xcfd3bcab4797c81b, 0x6c65394018ecb9c5, 0x769ec5c0994ee1d6,
0x6ec61991a67c67cd, 0xf653e997adcdcf18, 0x327e2cfd5174fa6c, 0x4219ca583e410f69,
0x0872daf096bacb57, 0x5185b204ee672e50, 0x8a3562983d1ecd70, 0x6896db72c4bd476d,
0x844153e4fde6454c, 0xcc1e3af7e0bb7b88, 0x07d617420868fb92, 0x3573b05d67ae92cc,
0xfe8ae419a95512e1, 0x2431a397f37b4377, 0x93f3018552058c77, 0x5a8966e95ef675c1,
0xa05815cbc21fce77, 0x5c72a122562041fb, 0xc182ec8e6bf6617b, 0x220adaf156a95b53,
0x38d612112a932e0c, 0x5e6ffdb4aa5ef334, 0x56fe25db3f049f8a, 0x033ad4b62537ca7a,
0xebddcc5075d7d48d, 0x4961a65b43684296, 0xce92c5800180bf35, 0x7bdb0d96999b1307,
0xfc4d0d2f81dd91b2, 0x2c6ed3a9356201a2, 0xe829ffc3873425ac, 0x5509611e80270270,
0x8912764e568a81c2, 0xf5b65286a23ae869, 0x0f2fa0b45b3e3653, 0x5bcddbc182e00663,
0x0f68a0816e698261, 0x479b8cfdf988a750, 0x45c1c1ae67f395f1, 0x5da1c6aba1fb68bd,
0x6b0b348749589e43, 0x0714ee391ceacad5, 0xcb5dff5b31c0ec4a, 0x4753f2fd8fd5e5aa,
0x84c9a986cc58fb26, 0x3c826156e5ca8988, 0x635dd344f045b94f, 0x7ef2a9e61839dd7b,
0x28deac89070e057a, 0xa3ba2be849a222ff, 0x8ab7188961812415, 0x3f9fb382f6804fc0,
0xd13515a0b01399c5, 0xd3699f27d8bcfe74, 0x3950203105611b17, 0x7689f3dd1eb58574,
0x92740bdd58e98635, 0xd22175eac394e8fb, 0x9a99d79536b07d9b, 0x5c466217e995b57a,
0x9d8c784702dbfa5f, 0x4496709a2e256a28, 0x8dca27cb6447faad, 0x4aaf4794cccd9d81,
0x5412185c4c817d4c, 0xd03cb911f1320892, 0xfe05dac85dda6eb2, 0x5e6d379ce2cec5d8,
0x499b0d7be3c6b04b, 0xf6cb36a3ef139483, 0xc0717ca1bfc523f3, 0x0fc16a2c7b580297,
0x45ffd745fc7d8d6c, 0xee098ae323d3e783, 0xc6077349633bf22a, 0x7c7b1dd3e1847195,
0x77f865d4bdcfd24b, 0xf8464f7e196e4319, 0x3bc0169addc05367, 0x5d5b230fc2d7cc0c,
0x152d3bd0294caeda, 0x18b3063711358193, 0x31e42546539a377b, 0x78cb336c650ec05d,
0x8b3f119d9e560cd7, 0x8c2e5e8979e11158, 0x1abafccd97681932, 0x205a32b0ec5323de,
0xba351ee21e2cf2ec, 0xa57c75fdce585656, 0x36d7011337df8a74, 0x54f6e7e43091e32d,
0xa56aecf0674bf819, 0xec2cff36653d76e5, 0x0891ad7f9fb7bdad, 0x2086888995e06b3a,
0xf25ae50d7effd00f, 0xd83336bf29c63b6e, 0x5466816ed53b05e7, 0x47a7211048f25da4,
0x3649034445b7beca, 0x3bb98d7b0ee5f896, 0xba18e9f123daaee3, 0x559bab5111bce388,
0xce00af52ecdda41f, 0xca2e373bd78fb4c4, 0x8a0d6ef41ffc91e7, 0x689e20731dba395c,
0x2c2b4044d12f252d, 0xc6faeb38d04d3b04, 0xbb9e31c22a6db8ee, 0x5a664ae44b641b86,
0xae7b52dcee3c1c42, 0xec9f2dec547a4f07, 0xab75f68afeb59ac2, 0x36fae970802c3499,
0x90c67b25d4fd63ed, 0xde842cb2a9e302f8, 0x3c7ef3114e1e5aea, 0x6d892b8dbb50c7cf,
0xca74084fc73c4969, 0xe9931798469fc858, 0x2398c77d348225d9, 0x0e26ec4351d99621,
0x1a0f130efaebcd4e, 0xf22574eea87b27ac, 0x70f235361f69631b, 0x03c393013563f717,
0x5377bd7e844cf5b6, 0xd02a563aa15686cc, 0xd6825880edd4bb1d, 0x597150a98aa0b431,
0x4d6b05149c465afe, 0x729fb3dead89c3c2, 0xa7262c29ca4609c6, 0x2bc995d769375b2f,
0xadba821f86bf510d, 0x305db2e635c7da0f, 0xc70b062c64f6a91b, 0x51272c9a9ef70662,
0xca06b0e4c686de4b, 0x992b164d9142ed45, 0x6d0454488c3e348f, 0x49381d100674aea6,
0xf78cf70d740ba99e, 0x22b5d4acb57afb5b, 0x7ec1e10fafb9cecc, 0x712681fa34d76902,
0x622c9494cc19c2f4, 0xd40826587124c116, 0x0bcb567c37be92b3, 0x2a0d656d11a979b5,
0x206997347b66f94f, 0xd5beee345a3daa35, 0x9f242734f9127a33, 0x7521a4ab35dd63df,
0xe628cd38bac8d0c8, 0x21e0531cd2ca9586, 0x22491ed5b01a87fb, 0x3edf7cc09e42d16a,
0x76b8cbb36650b02f, 0x5accc7d479cecbae, 0x304e725fe6a460a9, 0x5bbdc497b2e72acb,
0x4adbd9fe10a05fc9, 0x8c07d58f08bd9854, 0xf2416002d5d1195b, 0x23ecae3adcbf6aff,
0x5ff9a374303aabd9, 0x57f6898609f926af, 0xb74a06c5372b1b7b, 0x1b17aedd52a5b691,
0xca4848193e7554c1, 0x80c79b45068439ae, 0x5bd83ad93b7c3f7b, 0x2922ef69190efb53,
0xbe069d5994d77f7c, 0xbe0da36e61f2487e, 0x8a6e7259a4c724d0, 0x1864886d1996b58e,
0xf4fd49d3019675fe, 0x6656bbb7a66ee7c0, 0x245ba30713b5f6ee, 0x741747ba377d7163,
0x04618ec7c2d3e9ae, 0x31aea282e74f0f2f, 0xe3d302aba77e91f4, 0x4122021c91161cd7,
0xc537b667da7fcde0, 0x5f36b17fc5815d85, 0xb8b155d4db6468ad, 0x03e05b19202432b7,
0xe211e91f5207c8e6, 0x4c3c999bb978e712, 0x49f29cccd5fe4a6d, 0x2dc40cf291ff5fdc,
0xfdd9bf88ffd1986a, 0x275a39e81063614a, 0xd8acfbd2a529dcf6, 0x31c39da29f38b965,
0x1f7ba60f3d7d1e0a, 0x0039329b631ab1a4, 0xc1618abb3d11acb1, 0x565227a9e5ff83b7,
0x7f82da4e8da84466, 0xbc710cfd785672b9, 0x9b95369467448615, 0x54d85912adf9f964,
0x52a049b9e1bf0fdb, 0x522871a01a472b4d, 0x1c2106c98fd26182, 0x351282ae4bba5138,
0x006e5ad57e209097, 0xd0b7aa86811b0f35, 0x7186ebc3768696f9, 0x2636fc9f4bbbd5ec,
0xde376272d57cd6bd, 0x405641e0cf7701a1, 0xa4ddfab260be1cc9, 0x70f574e54c71c666,
0x2a1ac61b520a030d, 0x63922300c8492df4, 0xc285cb9c1cef6425, 0x729e32e5c898044b,
0xf5f5c548749e0407, 0x2ba54a97e0215901, 0x2b9112988da9aed9, 0x24ab966453f70800,
0xfd58e790b69fa636, 0xcbccefd6cc0dea1d, 0x18c3d4f3659fb6b0, 0x0bc57feda4ba6159,
0x2b545fa6bd4330f5, 0x5ec4cac02299135b, 0xdfde65ab5c1e609f, 0x0a2e66a6a57edc0b,
0x5f2be0dea3a4e9bb, 0xc93d00a66830926e, 0x810846e1c33f0485, 0x7da7f6a0790db24f,
0x488db2b7459166d7, 0x73f32a2fc60b4a20, 0x309310f78304ce5d, 0x032cd3aa0e2807af,
0x78ad720a92b453bd, 0x104180c5855568fd, 0xedab5909b0d8b764, 0x278307dccc308514,
0xbf54784c14551de4, 0x81b9034016ed48c4, 0x240ac759cd48bbab, 0x11cade39bf0e46b0,
0x25738314bc94ae87, 0x02ac75e73b97c1c4, 0xf757122afcf8d90a, 0x2570e7ba6fac1243,
0x6966d060a77538b7, 0x6d70fae582cb2b3e, 0xb750282f40252012, 0x37e4abf0f61bf7c3,
0xc7e510a89639c1dc, 0xd4247bf245064914, 0x9735aa110d592070, 0x150ac8c305019f10,
0x97efa62348f614f6, 0x6f62e9014647d3fe, 0x669f2ce305560a84, 0x6a07137c359dbf75,
0xd8598aac11f00756, 0x6cd467c40a501f11, 0x9922709bcb5ecd06, 0x637ea170b2d8d038,
0x56188c248e334727, 0xf3e01afcef211bc7, 0xe642fdddea34b062, 0x6b0c530dd91483d2,
0x5f6ecda42cfc46a8, 0xc042a4dc2410b7b8, 0xc6d724112135cb7f, 0x14ed44d4b32ea350,
0x36b0a7c761fc5b95, 0xa2e31b425289c54b, 0xc5c4ad61516bf7cc, 0x2232b2db828be57d,
0x329741ca66e21d9e, 0x75ac8304755c88f3, 0x37a4c3497a3aeeec, 0x0f27591cc5db253f,
0x1322aa91e9a1fa3c, 0xddd3f480e029fe38, 0x23e72e16ceb093ba, 0x7ee928cc36c93f16,
0xe3a1fa04382d1d76, 0x6b38fb90e7c2fd7b, 0x437e03a8eeb7de1c, 0x0d171dfc48efaaec,
0xf71464f8ac24b42d, 0x1704ed689456b47b, 0xed4eb86fb91366fd, 0x6c94898af7216bcc,
0x11407f9efb5af068, 0x79a4790d912f2b2d, 0x3e05ec9b5ca6bea8, 0x24829ca67434f0fa,
0x240d467ec3c26ec9, 0x706f20c78f0b21e7, 0x3a9d14d0d791ed58, 0x7960e0d72af6da4e,
0x1f2e292a01dc7ae4, 0xfa4646f98f58ea14, 0xd1660d089266d734, 0x77c83abf0a60b13c,
0x916ca255898bb878, 0x2e15ef3759e8b5ae, 0x0aaa961479eeebbb, 0x7d461eb767ac7be8,
0x77698e2b339f3d48, 0xf8fce3f9af38f7ed, 0x22f4c9caadce27d4, 0x66b0a872564737fb,
0x470df47fde528538, 0x0392eaef19f15db3, 0x82121f406509ad69, 0x4f2d73fee6ff438f,
0x7ce94e4a2b048961, 0x6419d7b90e9dfed1, 0x36d50f02d38ce611, 0x35e48ad596ecdc7b,
0xc90a743ac37a1027, 0xe94693e01941c54c, 0xa93d04eab4eca9c0, 0x0523328d7dbebb9a,
0xc89bb5a76873a90b, 0xc2c4dacd730a5e93, 0xd449cf468f428ad3, 0x617b43646d16e26a,
0x2d4c97dca2f31b69, 0x6f4205f4865f648c, 0x1e47d2b0439b94f8, 0x502c28f51702ae6e,
0x49615d1ea5674d13, 0x67de510a1d58e1f5, 0x5ed3a7431e1f0d67, 0x71073ceb13a763c0,
0x91c0dbaac65789a4, 0xa791414b4054427f, 0xac25d25d5af2272d, 0x10d03cc98c7463ce,
0xb1fd0a808b38143c, 0x06856119ea7268d9, 0xe77c32c475dc97cc, 0x712aae8a80f4c2ec,
0xf825b7108934f9bb, 0x7f0ef621514119a7, 0x8a2a52a6e05ca670, 0x46bd8c636124e838,
0x6a22f64170f7cd06, 0xea8d93582f6be429, 0xcb5093343bc54733, 0x258cf26169c5ec36,
0xee8c9804c8b3929a, 0x428251889a519684, 0x797ce337ed018b09, 0x17a0bb7aa1bf94ca,
0x2be2b85b3dbb85ab, 0xedecfc880443d65f, 0xa51a06c65a9aef9f, 0x5d304bf10eca8fd0,
0x82dbbe53f8f53ddf, 0x017498f8400c5432, 0x9a570f21988c2ba4, 0x63fb9f2ab07303e9,
0x2db845d3dff92998, 0xa57668bb2f466be4, 0x4de3c85f58f0ed91, 0x277831c3939639ac,
0x86fea21029f50bfa, 0xd60774baec0c3879, 0x7585c8152cc95175, 0x483c8eaec5a94c2a,
0x55353ecf64916dc0, 0x26991b873c3eb280, 0x178fc5b914d1bf02, 0x7e98202d5e78a264,
0x8603e2d60f8e75a3, 0xd69e27e3389383e5, 0x2a91b956110ea36f, 0x4cf897d9c7853064,
0x8799a8f302683e83, 0x405a5fac3de42539, 0xa78a3b5f22988fa6, 0x1289fa10f8825a82,
0x45eef9305ca5f7f6, 0x4b733b2ed2ff746c, 0xa46d26098515db0a, 0x03e643a0ede58377,
0x6e71228c2c5363e1, 0x104dd500f00d1366, 0xab6954c6a5337bc9, 0x54817f8f21842453,
0xb40ab9cb66a955c5, 0xc2d7b2763604705a, 0x70832c1c4a12245b, 0x17506ca9df2ea28c,
0x468cd877d67a0a2e, 0xc037b6283428d004, 0x3717acff905eb8b6, 0x195e321a324b0ed1,
0x9ebbf881c0e65874, 0x16e3dd50ce028e4a, 0xf018a7814f81ca9f, 0x2566d137f94b9862,
0x3e29d45c941a162d, 0x085149ea44946d2f, 0xd2c50f1ea42f221b, 0x53d94bfca6cf35ff,
0x574263fc81ae1d30, 0x59e40c967b240dd5, 0x8d9d02e2895534fc, 0x53bfebc3a611a95d,
0x5773bc535a203310, 0x81d6ef83bf38c52c, 0xf5f17d4abc0073e7, 0x17f8e3e86c41b5ec,
0x16c52e71c1386af5, 0xd12deef49464937c, 0xbb6130e18538928b, 0x6a39af8834cfd7d4,
0x0a87c42a723e3492, 0x96a17d17387c27c2, 0xbd026eb0c3826f7b, 0x53da65b094d0c5d8,
0x7e3b98404f9ac9df, 0x7c830a65fd8ca314, 0xd50e040cd5abbf3f, 0x70d86a1b293cb87d,
0x24589ca46edb84ac, 0xcc18392698e51772, 0xeca70616d4f7386e, 0x0909662cd397b0a5,
0x614f7340ffb1fbbe, 0xc12d81c0d4310b21, 0x8bb1068ac0c39326, 0x12b936644ad6706d,
0x938a494156a7cf35, 0x7b46430b4d7595f9, 0xc9c642a18253f272, 0x6c99e21637d617f0,
0x3a393ec2a7f67c5e, 0xde917ab7ee570f82, 0x36eee5b53c261ac0, 0x18958e7ee4af5605,
0x5429edc260aabdfe, 0xb6b1d8d1a6b8f870, 0x12ba237bf84ae9bc, 0x42505438a114107b,
0x4f70ffe2256530e2, 0xf61c2fa9d071e7c3, 0x77bb02bacaeb678a, 0x0a57f60b5b3c9ac0,
0xfccfa19c19b37e4f, 0x1d07abf7715e1043, 0x6d1cf984c7c88376, 0x7c84c4b84ff9e300,
0xa7b9bdf5eefe30d8, 0xb784644b7f545009, 0xc07ba06c90bd9b4c, 0x0ebe9066dae88fd0,
0x3a893001048b4fd5, 0x3862ce7061542942, 0x78bf7dc3c918212f, 0x3eaebb90dd44b27b,
0xfa6c475a6c5697bd, 0x69f85cebe5472d7a, 0x27aef2dcd241b9ae, 0x42b1cd6a45715864,
0x3eab02235abf6305, 0x65434115120ef06e, 0xd007ff393f0e29d5, 0x12c21e04b4c35190,
0xe0285bf21cf98484, 0xa079bcc1fc20f260, 0xd4ddbac1183248ff, 0x596c016d4144cf1f,
0x6f8e36b28eadbeee, 0x125522c25759db80, 0xf4503f3bde2f03ea, 0x15b3c48bfe7133ba,
0xaf3068e8f00a4854, 0x2d775591c58d6598, 0x592f55e67124ed74, 0x63a51f77bc4652f1,
0x4557fccb1af0fcd0, 0xddfc79f3356cd02d, 0xac8ccd60e9cbbee8, 0x6c615ec0fce6f759,
0x0998a07c1ddf7130, 0x15f4a80561443796, 0x6a90a90cad692718, 0x33e576ccfd07329d,
0xc152ef66b1701e77, 0x3208dbf96b397092, 0xd8c6c7cd94357d30, 0x61470422937f5568,
0xe687ff276a3da553, 0x4e2e5e47ddf2a53f, 0x00b9dec44809b030, 0x0ff025378a34cd72,
0x25140d816bd1e772, 0x0eb6ba2e6ee1c9e0, 0xb8e358670bec0e96, 0x0aa3e5db04c412f0,
0x2f4397920c8bf7cd, 0x3239222c75266de2, 0xb36770664691c7b3, 0x60166127c63dad83,
0x0e06edaae64c0046, 0x7f3d0e3a5ac0a279, 0x56c00f171c0992bb, 0x36c4995d8dbf6f17,
0x3a83b0fcbc10d512, 0x150c59cd298c2ddf, 0x91a793053c61f050, 0x72015d5251a3602a,
0xc5eff782eb643cdb, 0x52a83dcb9feae961, 0x41f13c8a419efce3, 0x105a379c2162978e,
0x1f38d71ba31f39da, 0x12fb670a3f8177ea, 0xbc0d95cdebf126ee, 0x713bf7629d7ffe7f,
0x9dd2c5d04d60d554, 0x2aa9638c1fbedc82, 0x0fdda165d755ba85, 0x5b7fe533c37b0cc0,
0xad57418a74b5a65e, 0x2b9c4fda8cc400be, 0xc61e2b23b1d98664, 0x30bcd55b9db66cf8,
0xdf5a02e917fb1528, 0x5e68df40d8c85210, 0x97c177705e531c8c, 0x327e908f654754d3,
0x9c009dbcfcf56c66, 0x4e0b87975b18939b, 0xbf4ad88d710d38d9, 0x3d8c0d6adc5fc98c,
0x0c2bd552769f53ea, 0xddf42d90928061dc, 0x56315fce3215cfac, 0x062b6f5d6ff90ad9,
0x5e5afed494a32e78, 0x6775d90fc89f8536, 0x17309380bfc61a49, 0x220836f2b2c890a8,
0xfb75eb11648b203d, 0x51549cfd08577f18, 0xc04dc5068c90d90d, 0x20fa49b3e4dd6235,
0x5a17803e101bcb69, 0xf15d6e2350b41e34, 0xd94d2072d7d6100d, 0x74e135ea5cfdcfb9,
0x08f5efbbd1a5238b, 0xf3bd9b0f37e30f06, 0x4aad4c20aa395241, 0x4887754e466f0868,
0xbcf8641c92f61c9b, 0x7b76e7853e83388b, 0xc351b5eff1ca2630, 0x0138042ffd872834,
0x1d385b1265eb46e5, 0x7ad0d9d51e1b0135, 0x95131e51a851b9e1, 0x6452fe392a2bf1f9,
0xcbbf920c1a57d5b3, 0x63a5a89329ad760b, 0xa47cd9423aebdf63, 0x7ad9a6e239444bb8,
0x07fa38fd72d77882, 0xe69cc444bfabd760, 0x66d9c237d47230b1, 0x41a115b75d0081af,
0x51ed91a82ca00880, 0xea25d15134030625, 0xaca4401dddf79dd8, 0x54d2b3acc74107d3,
0xcd8582435b280017, 0x0e69900d6d6f99e1, 0x5deb57535d91308f, 0x2fe255e34bb1d18b,
0x6754598482fb8b30, 0x2b1bdaa4f34281e7, 0x99de95c72f6a47d9, 0x5782233dea0136d5,
0x9e8d642ca53178d1, 0x378f4ea629454274, 0xf44ce05f171ad56c, 0x0bef819555877cc7,
0x83afaed1c7a2e885, 0xe1c0ab774767d2fd, 0x5395ef38eb977668, 0x4c42742d35b1dc38,
0x9dd15c7852750602, 0x93dd89eed41b3aeb, 0x73e7ac4046069b7e, 0x1c9fd86de7a3da32,
0x765ada9e7e9efaf7, 0x89aedf979ba76eab, 0x2f03c919618567a1, 0x4552817d8d90d820,
0x686d46a061f4ac92, 0xdc72785b8885419d, 0x9579db48f60a73e3, 0x40419d1adc0ce765,
0x1d527e7a4339bdde, 0x43d5da077c4d33ec, 0xaf08bdbbf3f59ba7, 0x414aa20182575aec,
0xb2c6c97ff432198c, 0x4cb89af60a77a946, 0xa14f0a8ef02c0c17, 0x31968969a40fc481,
0xc0c2e8764f8d51a4, 0xb5440046a568ee4e, 0xc55128dab29b9a87, 0x25343cfc8712e1b5,
0x88d027d10ea94ea9, 0x27f785804a07fdeb, 0x5c72a91ce66e630f, 0x53353b7c1b7655e5,
0x414fd4ad8c8848d0, 0xf801ed9d4d7912ca, 0x2375ec2dcbdb8716, 0x2fac790cab3d05f8,
0xfc5e92bbd88f7eb4, 0x8733e39275522862, 0x77f6f4cc001fcf6f, 0x440c2978c0c96c32,
0xc44a35d9faf2ee7b, 0xa34b69edd7e59aba, 0xbe86b8d826a84815, 0x73c64ae6353aa883,
    };

    /// The digits: bit i is set if digit i is 1, clear if it is -1.
    std::uint64_t bits[5];

    /// Of the clamped scalar k. The sum of digits is 2 bits - (2^260 - 1), so bits = (k + L + 2^260 - 1) / 2 where L,
    /// the order of the base point, makes an even number of the sum; k is even: k / 2 + (L - 1) / 2 + 2^259.
    explicit comb25519(byte const* scalar) noexcept {
        constexpr std::uint64_t half[4] = {0x2c09318d2e7ae9f6, 0x0a6f7cef517bce6b, 0, 0x0800000000000000};
        std::uint64_t k[5];
        for (std::size_t i = 0; i < 4; ++i) k[i] = load_le64(scalar + 8 * i);
        k[0] &= ~std::uint64_t{7};
        k[3] = (k[3] & ~(std::uint64_t{1} << 63)) | std::uint64_t{1} << 62;
        k[4] = 0;
        std::uint64_t carry = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint64_t const a = k[i] >> 1 | k[i + 1] << 63, sum = a + half[i];
            bits[i] = sum + carry;
            // a sum that overflows is not 2^64 - 1, so the carry does not make it overflow again
            carry = static_cast<std::uint64_t>(sum < a) | static_cast<std::uint64_t>(bits[i] < carry);
        }
        bits[4] = 8 + carry; // the sum of the four words is < 2^255: there is no carry
        wipe(k);
    }
    ~comb25519() { wipe(bits); }
    comb25519(comb25519 const&) = delete;
    comb25519& operator=(comb25519 const&) = delete;

    /// Which point of comb `j` is to be added for place `place`, and whether its negative.
    struct digit {
        std::uint32_t index;
        std::uint32_t negative;
    };
    digit at(std::size_t j, std::size_t place) const noexcept {
        std::uint32_t tooth[teeth];
        for (std::size_t h = 0; h < teeth; ++h) {
            std::size_t const bit = distance * (teeth * j + h) + place;
            tooth[h] = static_cast<std::uint32_t>(bits[bit / 64] >> (bit % 64)) & 1;
        }
        std::uint32_t const low = tooth[0] | tooth[1] << 1 | tooth[2] << 2 | tooth[3] << 3;
        std::uint32_t const negative = tooth[4] ^ 1;
        return {low ^ (15 & (0 - negative)), negative}; // of a negative sum all digits change
    }
};

/// With the table, in a field of these limbs.
template <class Limbs = default_limbs> class x25519_base {
public:
    /// The scalar is clamped here.
    static void multiply(std::span<byte, key_bytes> out, key_view scalar) noexcept {
        comb(out.data(), scalar.data());
        wipe_stack<sizeof(work) + 2 * spill_bytes>();
    }

private:
    using field = field25519<Limbs>;

    /// Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z.
    struct work : field25519_scratch<field> {
        field x, y, z, t, e, f, g, h;
        byte entry[3 * key_bytes];

        ~work() { wipe(static_cast<void*>(this), sizeof *this); }
    };

    [[gnu::noinline]] static void comb(byte* out, byte const* scalar) noexcept {
        comb25519 const digits(scalar);
        work w;
        w.x.set_small(0), w.y.set_small(1), w.z.set_small(1), w.t.set_small(0);
        for (std::size_t place = comb25519::distance; place-- > 0;) {
            if (place != comb25519::distance - 1) twice(w);
            for (std::size_t j = 0; j < comb25519::combs; ++j) {
                comb25519::digit const digit = digits.at(j, place);
                select(w, j, digit);
                plus(w);
            }
        }
        // Z - Y is not zero: the point is not the neutral one, for k is 8 times a number that is not 0 and less than L
        field::subtract(w.x, w.z, w.y);
        field::add(w.y, w.z, w.y);
        invert(w.x, w);
        field::multiply(w.y, w.y, w.x);
        w.y.encode(out);
    }

    /// The point to add: (y - x) / 2 in a, (y + x) / 2 in b, d x y in c; of the negative x is -x.
    [[gnu::noinline]] static void select(work& w, std::size_t j, comb25519::digit digit) noexcept {
        std::uint64_t found[comb25519::words] = {};
        for (std::uint32_t i = 0; i < comb25519::points; ++i) {
            std::uint32_t const other = i ^ digit.index;
            std::uint64_t const keep = mask_of<std::uint64_t>(((other - 1) >> 31) & 1); // other is < 16
            std::uint64_t const* const from = comb25519::table + (j * comb25519::points + i) * comb25519::words;
            for (std::size_t k = 0; k < comb25519::words; ++k) found[k] |= from[k] & keep;
        }
        for (std::size_t k = 0; k < comb25519::words; ++k) store_le64(w.entry + 8 * k, found[k]);
        w.a.decode(w.entry);
        w.b.decode(w.entry + key_bytes);
        w.c.decode(w.entry + 2 * key_bytes);
        field::swap_if(digit.negative, w.a, w.b);
        w.h.set_small(0);
        field::subtract(w.h, w.h, w.c);
        w.g.set_small(1);
        field::multiply(w.h, w.h, w.g); // tight again
        field::swap_if(digit.negative, w.c, w.h);
        wipe(found);
    }

    /// Adds the point in a, b, c. All four products of the textbook are halves here.
    [[gnu::noinline]] static void plus(work& w) noexcept {
        field::subtract(w.e, w.y, w.x);
        field::add(w.f, w.y, w.x);
        field::multiply(w.a, w.e, w.a);
        field::multiply(w.b, w.f, w.b);
        field::multiply(w.c, w.t, w.c);
        field::subtract(w.e, w.b, w.a);
        field::subtract(w.f, w.z, w.c);
        field::add(w.g, w.z, w.c);
        field::add(w.h, w.b, w.a);
        finish(w);
    }

    /// Doubles the point. The textbook has -f and -h; changing both changes the sign of all coordinates.
    [[gnu::noinline]] static void twice(work& w) noexcept {
        field::add(w.e, w.x, w.y);
        field::square(w.c, w.e);
        field::square(w.a, w.x);
        field::square(w.b, w.y);
        field::square(w.z, w.z);
        field::add(w.h, w.a, w.b);
        field::subtract(w.g, w.b, w.a);
        w.t.set_small(1);
        field::multiply(w.h, w.h, w.t); // tight, to be subtracted from
        field::multiply(w.g, w.g, w.t);
        field::subtract(w.e, w.c, w.h);
        field::add(w.f, w.z, w.z);
        field::multiply(w.f, w.f, w.t);
        field::subtract(w.f, w.f, w.g);
        finish(w);
    }

    static void finish(work& w) noexcept {
        field::multiply(w.x, w.e, w.f);
        field::multiply(w.y, w.g, w.h);
        field::multiply(w.t, w.e, w.h);
        field::multiply(w.z, w.f, w.g);
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#endif
// SPDX-License-Identifier: BSL-1.0
// X25519 for eight keys with products of 52 bits (AVX-512 IFMA), one key to a lane of 64 bits. Layer 2; any thread.
// Not to be called where `has(set, cpu::ifma)` is false.
//
// Written for few instructions: the products of eight lanes keep the multipliers busy, so latency is hidden. Radix
// 2^52, for a product instruction looks at 52 bits of a limb: what lies above need not be masked once it is carried.
#ifndef WG_BACKENDS_BUNDLED_X25519_IFMA8_HPP
#define WG_BACKENDS_BUNDLED_X25519_IFMA8_HPP

// SPDX-License-Identifier: BSL-1.0
// X25519 for one key with products of 52 bits (AVX-512 IFMA): four products of field elements at once, one to a lane.
// Layer 2; any thread. Not to be called where `has(set, cpu::ifma)` is false.
//
// A step of the ladder is three rounds of four products, and each round waits for the one before, so everything here
// is written for latency: radix 2^51, where carries run side by side, rather than 2^52, where they run in a row.
// Rounds of four were proposed by Hisil, Egrice and Yassi ("Fast 4 way vectorized ladder for the complete set of
// Montgomery curves", 2020); this arrangement is another: E^2 is multiplied by the curve's constant in the round that
// multiplies by the point, so no round is spent on the constant, and all shuffles but one stay within 128 bits.
#ifndef WG_BACKENDS_BUNDLED_X25519_IFMA_HPP
#define WG_BACKENDS_BUNDLED_X25519_IFMA_HPP

// SPDX-License-Identifier: BSL-1.0
// X25519 with products of 32 bits, four at once (AVX2): for one key four products of a step, one to a lane, as in
// x25519_ifma.hpp, and for four keys one key to a lane. Layer 2; any thread. Not to be called where
// `has(set, cpu::avx2)` is false.
#ifndef WG_BACKENDS_BUNDLED_X25519_AVX2_HPP
#define WG_BACKENDS_BUNDLED_X25519_AVX2_HPP

// SPDX-License-Identifier: BSL-1.0
// What the vector kernels of X25519 have in common: the scalar before, the division after, batches. Layer 2; any
// thread.
#ifndef WG_BACKENDS_BUNDLED_X25519_LANES_HPP
#define WG_BACKENDS_BUNDLED_X25519_LANES_HPP


#ifdef WG_X86_KERNELS

namespace wg::inline WG_ABI {
namespace bundled {

/// Bit i says whether bits i and i + 1 of the clamped scalar differ.
inline void swaps_of_scalar(std::uint64_t (&swaps)[4], byte const* scalar) noexcept {
    std::uint64_t k[4];
    for (std::size_t i = 0; i < 4; ++i) k[i] = load_le64(scalar + 8 * i);
    k[0] &= ~std::uint64_t{7};
    k[3] = (k[3] & ~(std::uint64_t{1} << 63)) | std::uint64_t{1} << 62;
    for (std::size_t i = 0; i < 4; ++i) swaps[i] = k[i] ^ (k[i] >> 1 | (i < 3 ? k[i + 1] << 63 : 0));
    wipe(k);
}

/// out = (a + b) / (a - b), 0 for division by 0. Limbs < 2^51 + 2^44, so a - b + 2p has
/// none below zero, and both are loose.
inline void quotient_of_halves(byte* out, field25519<limbs64> const& a, field25519<limbs64> const& b) noexcept {
    field25519<limbs64> x, z;
    field25519<limbs64>::add(x, a, b);
    field25519<limbs64>::subtract(z, a, b);
    invert(z);
    field25519<limbs64>::multiply(x, x, z);
    x.encode(out);
    wipe(x), wipe(z);
}
/// Every out = x / z, 0 for z = 0. One inversion for all (Montgomery's trick): of the product of all z.
template <std::size_t N>
[[gnu::noinline]] void quotients(dh_item const* items, field25519<limbs64> (&x)[N],
                                 field25519<limbs64> (&z)[N]) noexcept {
    using field = field25519<limbs64>;
    field products[N], inverse;
    byte text[key_bytes];
    for (std::size_t j = 0; j < N; ++j) {
        z[j].encode(text);
        z[j].decode(text);
        // for z = 0, 1 takes its place in the product, and x becomes 0
        std::uint64_t const zero = is_zero_in_constant_time(text), keep = mask_of(zero ^ 1);
        z[j].v[0] |= zero;
        for (std::uint64_t& limb : x[j].v) limb &= keep;
        products[j] = z[j];
        if (j > 0) field::multiply(products[j], products[j - 1], z[j]);
    }
    inverse = products[N - 1];
    invert(inverse);
    for (std::size_t j = N; j-- > 0;) {
        field::multiply(x[j], x[j], inverse);
        if (j > 0) {
            field::multiply(x[j], x[j], products[j - 1]);
            field::multiply(inverse, inverse, z[j]);
        }
        x[j].encode(items[j].out->expose().data());
    }
    wipe(products), wipe(inverse), wipe(text);
}

/// As many items as a kernel has lanes, or fewer: the others do the first once more. What `dh` would do with each.
template <class Kernel> inline void multiply_in_lanes(std::span<dh_item> items) noexcept {
    constexpr std::size_t lanes = Kernel::lanes;
    secret<key_bytes> unused;
    dh_item all[lanes];
    field25519<limbs64> x[lanes], z[lanes];
    for (std::size_t j = 0; j < lanes; ++j) {
        all[j] = items[j < items.size() ? j : 0];
        if (j >= items.size()) all[j].out = &unused;
    }
    Kernel::ladder(all, x, z);
    quotients(all, x, z);
    wipe(x), wipe(z);
    wipe_stack<Kernel::stack_bytes>();
    for (dh_item& item : items) item.good = !item.out->is_zero();
}

/// A batch of any size; from `worth_it` on lanes are faster than one after the other.
template <class One, class Many> inline void multiply_batch(std::span<dh_item> items) noexcept {
    while (items.size() >= Many::worth_it) {
        std::span<dh_item> const some = items.first(items.size() < Many::lanes ? items.size() : Many::lanes);
        multiply_in_lanes<Many>(some);
        items = items.subspan(some.size());
    }
    for (dh_item& item : items)
        item.good = One::multiply(item.out->expose(), item.scalar->expose(), key_view(item.point));
}

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#endif

#ifdef WG_X86_KERNELS
#include <immintrin.h>
#include <utility>

#define WG_X25519_AVX2 [[WG_TARGET_AVX2]]
#ifdef __OPTIMIZE__
#define WG_X25519_AVX2_INLINE WG_X25519_AVX2 [[gnu::always_inline]] static inline
#else // every inlined object would have a place of its own on the stack, a megabyte of them
#define WG_X25519_AVX2_INLINE WG_X25519_AVX2 static inline
#endif
// g++ would make trees of a sum and then has not the registers for them.
#define WG_X25519_IN_ORDER(sum) asm("" : "+x"(sum))
// For i from 0 to 9, written out: a limb that is reached by a variable index lives in memory.
#define WG_LIMB(n, ...) { constexpr int i = n; __VA_ARGS__; }
#define WG_TEN_LIMBS(...) WG_LIMB(0, __VA_ARGS__) WG_LIMB(1, __VA_ARGS__) WG_LIMB(2, __VA_ARGS__) \
    WG_LIMB(3, __VA_ARGS__) WG_LIMB(4, __VA_ARGS__) WG_LIMB(5, __VA_ARGS__) WG_LIMB(6, __VA_ARGS__) \
    WG_LIMB(7, __VA_ARGS__) WG_LIMB(8, __VA_ARGS__) WG_LIMB(9, __VA_ARGS__)

namespace wg::inline WG_ABI {
namespace bundled {

/// Four elements modulo p = 2^255 - 19, ten limbs of 26 and 25 bits in turn (radix 2^25.5), limb i of all in v[i].
/// Below, B_i = 2^26 for even i, 2^25 for odd i. "Tight" limbs are < B_i + 2^17, "loose" ones < 3 B_i + 2^17: sums of
/// two tight elements, and differences, to which 2p is added. Factors are loose. Products are "wide", limbs < 2^63.
struct narrow25519 {
    __m256i v[10];
};

struct avx2_x25519 {
    using fe = narrow25519;
    static constexpr std::size_t stack_bytes = 8192;

    static bool multiply(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        ladder(out.data(), scalar.data(), point.data());
        wipe_stack<stack_bytes>();
        return !is_zero_in_constant_time(out);
    }

    /// The multiple of the base point.
    static void multiply_base(std::span<byte, key_bytes> out, key_view scalar) noexcept {
        comb(out.data(), scalar.data());
        wipe_stack<stack_bytes>();
    }

    // What follows is for tests.

    WG_X25519_AVX2_INLINE __m256i all(std::uint64_t value) noexcept {
        return _mm256_set1_epi64x(static_cast<long long>(value));
    }
    WG_X25519_AVX2_INLINE __m256i quad(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
        return _mm256_set_epi64x(static_cast<long long>(d), static_cast<long long>(c), static_cast<long long>(b),
                                 static_cast<long long>(a));
    }
    WG_X25519_AVX2_INLINE __m256i add(__m256i a, __m256i b) noexcept { return _mm256_add_epi64(a, b); }
    WG_X25519_AVX2_INLINE __m256i times(__m256i a, __m256i b) noexcept { return _mm256_mul_epu32(a, b); }
    /// The other element of each pair of lanes.
    WG_X25519_AVX2_INLINE __m256i other(__m256i a) noexcept { return _mm256_shuffle_epi32(a, 0x4e); }

    static constexpr int bits(int i) noexcept { return i % 2 == 0 ? 26 : 25; }
    static constexpr std::uint64_t mask(int i) noexcept { return (std::uint64_t{1} << bits(i)) - 1; }
    /// Limb i of 2p.
    static constexpr std::uint64_t two_p(int i) noexcept { return 2 * mask(i) - (i == 0 ? 36 : 0); }

    WG_X25519_AVX2_INLINE __m256i twice_p(int i, bool a, bool b, bool c, bool d) noexcept {
        std::uint64_t const p = two_p(i);
        return quad(a * p, b * p, c * p, d * p);
    }

    /// Factors as they are multiplied with: a; a with odd limbs doubled; b; 19 b.
    struct factors {
        fe a, a2, b, b19;
    };

    /// Term i of limb K of a product. 2^(25.5 ...) is rounded up, so a product of odd limbs counts twice; what is from
    /// 2^255 on comes back times 19. Factors < 2^27.6 and < 19 * 2^27.6 < 2^31.9, so the term is < 2^59.5 if both limbs
    /// are even, and half of that if one is odd and limb K therefore.
    template <int K, int I> WG_X25519_AVX2_INLINE __m256i term(factors const& f) noexcept {
        constexpr int j = (K - I + 10) % 10;
        return times(I % 2 == 1 && j % 2 == 1 ? f.a2.v[I] : f.a.v[I], I > K ? f.b19.v[j] : f.b.v[j]);
    }
    /// By rows: ten sums and a factor are all that has to be in registers.
    template <int I> WG_X25519_AVX2_INLINE void row(fe& r, factors const& f) noexcept {
        if constexpr (I == 0) {
            WG_TEN_LIMBS(r.v[i] = term<i, 0>(f))
        } else {
            WG_TEN_LIMBS(r.v[i] = add(r.v[i], term<i, I>(f)); WG_X25519_IN_ORDER(r.v[i]))
        }
    }

    /// Four products. Before: loose. After: wide: 10 terms < 2^59.5.
    WG_X25519_AVX2_INLINE void multiply(fe& r, fe const& a, fe const& b) noexcept {
        factors f;
        fe t;
        WG_TEN_LIMBS(f.a.v[i] = a.v[i]; f.b.v[i] = b.v[i]; if constexpr (i % 2 == 1) f.a2.v[i] = add(a.v[i], a.v[i]);
                     if constexpr (i > 0) f.b19.v[i] = times(b.v[i], all(19)))
        row<0>(t, f), row<1>(t, f), row<2>(t, f), row<3>(t, f), row<4>(t, f);
        row<5>(t, f), row<6>(t, f), row<7>(t, f), row<8>(t, f), row<9>(t, f);
        r = t;
    }

    /// What products of a square are made of: a, 2 a, 19 a, 38 a; the last two only where they are needed.
    struct root {
        fe a, a2, a19, a38;
    };
    /// All products with limb I that have no limb below it: those of two different limbs count twice.
    template <int I, int J> WG_X25519_AVX2_INLINE __m256i square_term(root const& f) noexcept {
        constexpr bool twice = I % 2 == 1 && J % 2 == 1, wraps = I + J >= 10;
        if constexpr (I == J) return times(twice ? f.a2.v[I] : f.a.v[I], wraps ? f.a19.v[J] : f.a.v[J]);
        return times(f.a2.v[I], twice ? (wraps ? f.a38.v[J] : f.a2.v[J]) : (wraps ? f.a19.v[J] : f.a.v[J]));
    }
    template <int I> WG_X25519_AVX2_INLINE void square_row(fe& r, root const& f) noexcept {
        if constexpr (I == 0) {
            WG_TEN_LIMBS(r.v[i] = square_term<0, i>(f))
        } else {
            WG_TEN_LIMBS(constexpr int k = (I + i) % 10; if constexpr (i >= I) {
                r.v[k] = add(r.v[k], square_term<I, i>(f));
                WG_X25519_IN_ORDER(r.v[k]);
            })
        }
    }
    /// Four squares; the sums are those of multiply().
    WG_X25519_AVX2_INLINE void square(fe& r, fe const& a) noexcept {
        root f;
        fe t;
        WG_TEN_LIMBS(f.a.v[i] = a.v[i]; f.a2.v[i] = add(a.v[i], a.v[i]);
                     if constexpr (i >= 5) f.a19.v[i] = times(a.v[i], all(19));
                     if constexpr (i >= 5 && i % 2 == 1) f.a38.v[i] = add(f.a19.v[i], f.a19.v[i]))
        square_row<0>(t, f), square_row<1>(t, f), square_row<2>(t, f), square_row<3>(t, f), square_row<4>(t, f);
        square_row<5>(t, f), square_row<6>(t, f), square_row<7>(t, f), square_row<8>(t, f), square_row<9>(t, f);
        r = t;
    }

    /// x.v[I] keeps bits(I); the others go to the next limb, or times 19 to the lowest.
    template <int I> WG_X25519_AVX2_INLINE void carry_one(fe& x) noexcept {
        __m256i const c = _mm256_srli_epi64(x.v[I], bits(I));
        x.v[I] = _mm256_and_si256(x.v[I], all(mask(I)));
        if constexpr (I < 9)
            x.v[I + 1] = add(x.v[I + 1], c);
        else
            x.v[0] = add(add(x.v[0], c), add(add(c, c), _mm256_slli_epi64(c, 4)));
    }
    /// Wide to tight, in two chains side by side. Carries are < 2^38 + 2; that of limb 9 comes back times 19, < 2^43,
    /// of which limb 0 gives < 2^17 to limb 1. The second carry of limb 4 is < 2^13.
    WG_X25519_AVX2_INLINE void carry(fe& x) noexcept {
        carry_one<0>(x), carry_one<4>(x), carry_one<1>(x), carry_one<5>(x), carry_one<2>(x), carry_one<6>(x);
        carry_one<3>(x), carry_one<7>(x), carry_one<4>(x), carry_one<8>(x), carry_one<9>(x), carry_one<0>(x);
    }

    /// Limbs of 51 bits, as two each.
    WG_X25519_AVX2_INLINE void give(fe& r, field25519<limbs64> const& a, field25519<limbs64> const& b,
                                    field25519<limbs64> const& c, field25519<limbs64> const& d) noexcept {
        WG_TEN_LIMBS(r.v[i] = quad(a.v[i / 2] >> (i % 2 * 26) & mask(i), b.v[i / 2] >> (i % 2 * 26) & mask(i),
                                   c.v[i / 2] >> (i % 2 * 26) & mask(i), d.v[i / 2] >> (i % 2 * 26) & mask(i)))
    }
    /// One lane of a tight element: limbs < 2^51 + 2^44.
    template <int Lane> WG_X25519_AVX2_INLINE void take(field25519<limbs64>& r, fe const& x) noexcept {
        WG_TEN_LIMBS(
            __m128i const half = _mm256_extracti128_si256(x.v[i], Lane / 2);
            std::uint64_t const value = static_cast<std::uint64_t>(_mm_extract_epi64(half, Lane % 2));
            if constexpr (i % 2 == 0) r.v[i / 2] = value; else r.v[i / 2] += value << 26)
    }

    /// Lanes (a, b, c, d), tight, become (a + b, a - b, c', d'): c + d, c - d if `Both`, else c, c - d.
    template <bool Both> WG_X25519_AVX2_INLINE void cross(fe& r, fe const& x) noexcept {
        WG_TEN_LIMBS(__m256i const y = other(x.v[i]);
                     __m256i const differences = _mm256_sub_epi64(add(y, all(two_p(i))), x.v[i]);
                     __m256i const sums = add(x.v[i], y);
                     r.v[i] = _mm256_blend_epi32(Both ? sums : _mm256_blend_epi32(sums, x.v[i], 0x30), differences,
                                                 0xcc))
    }

    /// A step of the ladder for one key. n: lanes (C, D, A, B), loose: sum and difference of x3:z3, then of x2:z2.
    /// `swap` is all ones if x3:z3 is to be doubled, else zero. `by` is (0, x1, 0, 121665), tight.
    WG_X25519_AVX2_INLINE void step(fe& n, __m256i swap, fe const& by) noexcept {
        fe a, b, w, e;
        // (D, C, P, Q) (A, B, P, Q), where P, Q are C, D or A, B
        __m256i const same = _mm256_set_epi32(7, 6, 5, 4, 0, 0, 0, 0), four = _mm256_set_epi32(4, 4, 4, 4, 0, 0, 0, 0);
        __m256i const which = _mm256_xor_si256(same, _mm256_and_si256(swap, four));
        __m256i const left = _mm256_or_si256(which, _mm256_set_epi32(0, 0, 0, 0, 1, 0, 3, 2)),
                      right = _mm256_or_si256(which, _mm256_set_epi32(0, 0, 0, 0, 7, 6, 5, 4));
        WG_TEN_LIMBS(a.v[i] = _mm256_permutevar8x32_epi32(n.v[i], left);
                     b.v[i] = _mm256_permutevar8x32_epi32(n.v[i], right))
        multiply(w, a, b);
        carry(w); // DA, CB, AA, BB
        cross<false>(e, w); // S = DA + CB, T = DA - CB, AA, E = AA - BB
        WG_TEN_LIMBS(b.v[i] = _mm256_blend_epi32(e.v[i], other(e.v[i]), 0x30))
        multiply(w, e, b); // SS, TT, AA E, EE
        carry(w);
        // (-, TT, AA, EE) (0, x1, AA, 121665)
        WG_TEN_LIMBS(a.v[i] = _mm256_blend_epi32(w.v[i], e.v[i], 0x30);
                     b.v[i] = _mm256_blend_epi32(by.v[i], e.v[i], 0x30))
        multiply(e, a, b);
        // x3 = SS, z3 = x1 TT, x2 = AA BB = AA AA - AA E, z2 = E (AA + 121665 E)
        __m256i const zero = _mm256_setzero_si256();
        WG_TEN_LIMBS(__m256i const minus = _mm256_sub_epi64(all(two_p(i)), w.v[i]);
                     __m256i const ends = _mm256_blend_epi32(w.v[i], other(w.v[i]), 0xc0);
                     e.v[i] = add(e.v[i], _mm256_blend_epi32(_mm256_blend_epi32(ends, minus, 0x30), zero, 0x0c)))
        carry(e);
        cross<true>(n, e);
    }

    WG_X25519_AVX2 [[gnu::noinline]] static void ladder(byte* out, byte const* scalar, byte const* point) noexcept {
        field25519<limbs64> x1, zero, one, a24, sum, difference;
        std::uint64_t swaps[4];
        x1.decode(point);
        zero.set_small(0), one.set_small(1), a24.set_small(121665);
        swaps_of_scalar(swaps, scalar);
        fe n, by;
        give(by, zero, x1, zero, a24);
        give(n, x1, one, one, zero); // x3, z3, x2, z2
        cross<true>(n, n);
        for (std::size_t bit = 255; bit-- > 0;)
            step(n, all(std::uint64_t{0} - (swaps[bit / 64] >> (bit % 64) & 1)), by);
        // the lowest bit is clear: x2:z2 is the result. A + B = 2 x2, A - B = 2 z2
        carry(n);
        take<2>(sum, n), take<3>(difference, n);
        quotient_of_halves(out, sum, difference);
        wipe(sum), wipe(difference), wipe(swaps);
        wipe_registers();
    }

    WG_X25519_AVX2_INLINE void wipe_registers() noexcept {
        asm volatile("vzeroall"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                       "xmm12", "xmm13", "xmm14", "xmm15");
    }

    /// The point for a digit as words, the lowest first, of lanes ((y - x) / 2, (y + x) / 2, d x y, 1); for a negative
    /// digit the first two are exchanged, and the third is still to be negated.
    WG_X25519_AVX2_INLINE void select(__m256i (&w)[4], std::size_t j, comb25519::digit digit) noexcept {
        __m256i const index = all(digit.index), one = all(1);
        __m256i minus = _mm256_setzero_si256(), plus = minus, product = minus, at = minus;
        std::uint64_t const* from = comb25519::table + j * comb25519::points * comb25519::words;
        for (std::uint32_t i = 0; i < comb25519::points; ++i, from += comb25519::words) {
            __m256i const same = _mm256_cmpeq_epi64(at, index);
            __m256i const* const entry = reinterpret_cast<__m256i const*>(from);
            minus = _mm256_or_si256(minus, _mm256_and_si256(same, _mm256_load_si256(entry)));
            plus = _mm256_or_si256(plus, _mm256_and_si256(same, _mm256_load_si256(entry + 1)));
            product = _mm256_or_si256(product, _mm256_and_si256(same, _mm256_load_si256(entry + 2)));
            at = add(at, one);
        }
        // the negative of a point has -x for x
        __m256i const swap = _mm256_and_si256(_mm256_xor_si256(minus, plus), all(std::uint64_t{0} - digit.negative));
        minus = _mm256_xor_si256(minus, swap), plus = _mm256_xor_si256(plus, swap);
        __m256i const unit = quad(1, 0, 0, 0);
        __m256i const a = _mm256_unpacklo_epi64(minus, plus), b = _mm256_unpackhi_epi64(minus, plus),
                      c = _mm256_unpacklo_epi64(product, unit), d = _mm256_unpackhi_epi64(product, unit);
        w[0] = _mm256_permute2x128_si256(a, c, 0x20), w[1] = _mm256_permute2x128_si256(b, d, 0x20);
        w[2] = _mm256_permute2x128_si256(a, c, 0x31), w[3] = _mm256_permute2x128_si256(b, d, 0x31);
    }

    /// Limbs of words: limb i begins at bit 25.5 i, rounded up.
    WG_X25519_AVX2_INLINE void unpack(fe& r, __m256i const (&w)[4]) noexcept {
        WG_TEN_LIMBS(constexpr int first = (51 * i + 1) / 2, word = first / 64, bit = first % 64;
                     __m256i x = _mm256_srli_epi64(w[word], bit);
                     if constexpr (bit + bits(i) > 64) x = _mm256_or_si256(x, _mm256_slli_epi64(w[word + 1], 64 - bit));
                     r.v[i] = _mm256_and_si256(x, all(mask(i))))
    }

    /// Of e = lanes (E, H, F, G), loose: the point X = E F, Y = G H, T = E H, Z = F G, as plus() and twice() take it.
    WG_X25519_AVX2_INLINE void finish(fe& q, fe const& e) noexcept {
        fe a, b;
        WG_TEN_LIMBS(a.v[i] = _mm256_permute4x64_epi64(e.v[i], 0x84); b.v[i] = _mm256_permute4x64_epi64(e.v[i], 0xde))
        multiply(a, a, b);
        carry(a);
        WG_TEN_LIMBS(__m256i const y = other(a.v[i]);
                     __m256i const differences = _mm256_sub_epi64(add(y, all(two_p(i))), a.v[i]);
                     __m256i const ends = _mm256_blend_epi32(a.v[i], add(a.v[i], y), 0x0c);
                     q.v[i] = _mm256_blend_epi32(ends, differences, 0x03))
    }

    /// Adds a point, loose. q: lanes (Y - X, Y + X, T, Z), loose.
    WG_X25519_AVX2_INLINE void plus(fe& q, fe const& point) noexcept {
        fe w;
        multiply(w, q, point);
        carry(w); // A, B, C, D, all halves of the textbook's
        WG_TEN_LIMBS(__m256i const y = other(w.v[i]);
                     w.v[i] = _mm256_blend_epi32(add(y, w.v[i]), _mm256_sub_epi64(add(y, all(two_p(i))), w.v[i]), 0x33))
        finish(q, w); // E = B - A, H = B + A, F = D - C, G = D + C
    }

    /// Doubles. With u = Y - X and v = Y + X: E = 4 XY = vv - uu, H = 2 (XX + YY) = vv + uu, G = 2 (YY - XX) = 2 uv,
    /// F = 4 ZZ - G; these are twice the textbook's, with the signs of F and H changed: the same point.
    WG_X25519_AVX2_INLINE void twice(fe& q) noexcept {
        fe w, a, b;
        WG_TEN_LIMBS(a.v[i] = _mm256_permute4x64_epi64(q.v[i], 0xc4); b.v[i] = _mm256_permute4x64_epi64(q.v[i], 0xd4))
        multiply(w, a, b);
        carry(w); // uu, vv, uv, ZZ
        WG_TEN_LIMBS(__m256i const z2 = add(w.v[i], w.v[i]); __m256i const x = _mm256_blend_epi32(w.v[i], z2, 0xf0);
                     __m256i const y = other(x); __m256i const p = add(all(two_p(i)), all(two_p(i)));
                     // vv, vv + uu, 4 ZZ, 2 uv
                     __m256i const t = _mm256_blend_epi32(_mm256_blend_epi32(y, add(y, x), 0x0c), add(y, y), 0x30);
                     w.v[i] = _mm256_blend_epi32(t, _mm256_sub_epi64(add(t, p), x), 0x33))
        carry(w);
        finish(q, w);
    }

    WG_X25519_AVX2 [[gnu::noinline]] static void comb(byte* out, byte const* scalar) noexcept {
        comb25519 const digits(scalar);
        fe q, point;
        WG_TEN_LIMBS(q.v[i] = quad(i == 0, i == 0, 0, i == 0)) // 0, 1
        for (std::size_t place = comb25519::distance; place-- > 0;) {
            if (place != comb25519::distance - 1) twice(q);
            for (std::size_t j = 0; j < comb25519::combs; ++j) {
                comb25519::digit const digit = digits.at(j, place);
                __m256i w[4];
                select(w, j, digit);
                unpack(point, w);
                __m256i const negative = _mm256_and_si256(all(std::uint64_t{0} - digit.negative), quad(0, 0, ~0ull, 0));
                WG_TEN_LIMBS(point.v[i] = _mm256_blendv_epi8(point.v[i], _mm256_sub_epi64(all(two_p(i)), point.v[i]),
                                                             negative))
                plus(q, point);
            }
        }
        // u = (Z + Y) / (Z - Y), and Z - Y is not zero: see x25519_base. 2 Y = (Y - X) + (Y + X)
        field25519<limbs64> y2, z2;
        WG_TEN_LIMBS(q.v[i] = add(q.v[i], _mm256_blend_epi32(q.v[i], other(q.v[i]), 0x03)))
        carry(q);
        take<0>(y2, q), take<3>(z2, q);
        quotient_of_halves(out, z2, y2);
        wipe(y2), wipe(z2);
        wipe_registers();
    }
};

/// Four keys, one to a lane.
struct avx2_x25519_of_four : avx2_x25519 {
    static constexpr std::size_t lanes = 4;
    /// Two single ones take longer than four here.
    static constexpr std::size_t worth_it = 2;

    /// x2:z2 and x3:z3 of four keys, tight.
    struct state {
        fe x2, z2, x3, z3, x1;
    };

    WG_X25519_AVX2_INLINE void sum(fe& r, fe const& a, fe const& b) noexcept {
        WG_TEN_LIMBS(r.v[i] = add(a.v[i], b.v[i]))
    }
    WG_X25519_AVX2_INLINE void difference(fe& r, fe const& a, fe const& b) noexcept {
        WG_TEN_LIMBS(r.v[i] = _mm256_sub_epi64(add(a.v[i], all(two_p(i))), b.v[i]))
    }
    WG_X25519_AVX2_INLINE void product(fe& r, fe const& a, fe const& b) noexcept {
        multiply(r, a, b);
        carry(r);
    }

    /// A step of the ladder for four keys: doubles x3:z3 in lanes where `swap` is all ones, else x2:z2.
    WG_X25519_AVX2_INLINE void step(state& s, __m256i swap) noexcept {
        fe a, b, c, d;
        sum(a, s.x2, s.z2);
        difference(b, s.x2, s.z2);
        sum(c, s.x3, s.z3);
        difference(d, s.x3, s.z3);
        fe p, q, da, cb;
        WG_TEN_LIMBS(p.v[i] = _mm256_blendv_epi8(a.v[i], c.v[i], swap);
                     q.v[i] = _mm256_blendv_epi8(b.v[i], d.v[i], swap))
        product(da, d, a);
        product(cb, c, b);
        square(a, p);
        carry(a); // AA
        square(b, q);
        carry(b); // BB
        sum(c, da, cb);
        difference(d, da, cb);
        square(s.x3, c);
        carry(s.x3);
        square(d, d);
        carry(d);
        product(s.z3, d, s.x1);
        product(s.x2, a, b);
        difference(c, a, b); // E
        __m256i const a24 = all(121665);
        WG_TEN_LIMBS(d.v[i] = add(a.v[i], times(c.v[i], a24))) // < 2^45
        carry(d);
        product(s.z2, c, d);
    }

    WG_X25519_AVX2 [[gnu::noinline]] static void ladder(dh_item const* items, field25519<limbs64>* x,
                                                        field25519<limbs64>* z) noexcept {
        field25519<limbs64> zero, one, x1[lanes];
        alignas(32) std::uint64_t swaps[4][lanes];
        for (std::size_t j = 0; j < lanes; ++j) {
            std::uint64_t k[4];
            swaps_of_scalar(k, items[j].scalar->expose().data());
            for (std::size_t i = 0; i < 4; ++i) swaps[i][j] = k[i];
            wipe(k);
            x1[j].decode(items[j].point.data());
        }
        zero.set_small(0), one.set_small(1);
        state s;
        give(s.x1, x1[0], x1[1], x1[2], x1[3]);
        give(s.x2, one, one, one, one);
        give(s.z2, zero, zero, zero, zero);
        s.x3 = s.x1, s.z3 = s.x2;
        for (std::size_t bit = 255; bit-- > 0;) {
            __m256i const word = _mm256_load_si256(reinterpret_cast<__m256i const*>(swaps[bit / 64]));
            __m256i const top = _mm256_sll_epi64(word, _mm_cvtsi32_si128(static_cast<int>(63 - bit % 64)));
            step(s, _mm256_cmpgt_epi64(_mm256_setzero_si256(), top)); // the lowest bit is clear: no swap after
        }
        take<0>(x[0], s.x2), take<1>(x[1], s.x2), take<2>(x[2], s.x2), take<3>(x[3], s.x2);
        take<0>(z[0], s.z2), take<1>(z[1], s.z2), take<2>(z[2], s.z2), take<3>(z[3], s.z2);
        wipe(swaps);
        wipe(static_cast<void*>(&s), sizeof s);
        wipe_registers();
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#undef WG_TEN_LIMBS
#undef WG_LIMB
#undef WG_X25519_IN_ORDER
#undef WG_X25519_AVX2_INLINE
#undef WG_X25519_AVX2

#endif

#endif

#ifdef WG_X86_KERNELS
#include <immintrin.h>

#define WG_X25519_IFMA [[WG_TARGET_IFMA]]
#ifdef __OPTIMIZE__
#define WG_X25519_INLINE WG_X25519_IFMA [[gnu::always_inline]] static inline
#else // every inlined object would have a place of its own on the stack, a megabyte of them
#define WG_X25519_INLINE WG_X25519_IFMA static inline
#endif
// For i from 0 to 4, written out: a limb that is reached by a variable index lives in memory.
#define WG_LIMBS(...) WG_LIMB(0, __VA_ARGS__) WG_LIMB(1, __VA_ARGS__) WG_LIMB(2, __VA_ARGS__) \
    WG_LIMB(3, __VA_ARGS__) WG_LIMB(4, __VA_ARGS__)
#define WG_LIMB(n, ...) { constexpr int i = n; __VA_ARGS__; }

namespace wg::inline WG_ABI {
namespace bundled {

/// Clears what a kernel had in vector and mask registers.
WG_X25519_INLINE void wipe_avx512_registers() noexcept {
    asm volatile("vzeroall\n\tvpxorq %%xmm16, %%xmm16, %%xmm16\n\tvpxorq %%xmm17, %%xmm17, %%xmm17\n\t"
                 "vpxorq %%xmm18, %%xmm18, %%xmm18\n\tvpxorq %%xmm19, %%xmm19, %%xmm19\n\t"
                 "vpxorq %%xmm20, %%xmm20, %%xmm20\n\tvpxorq %%xmm21, %%xmm21, %%xmm21\n\t"
                 "vpxorq %%xmm22, %%xmm22, %%xmm22\n\tvpxorq %%xmm23, %%xmm23, %%xmm23\n\t"
                 "vpxorq %%xmm24, %%xmm24, %%xmm24\n\tvpxorq %%xmm25, %%xmm25, %%xmm25\n\t"
                 "vpxorq %%xmm26, %%xmm26, %%xmm26\n\tvpxorq %%xmm27, %%xmm27, %%xmm27\n\t"
                 "vpxorq %%xmm28, %%xmm28, %%xmm28\n\tvpxorq %%xmm29, %%xmm29, %%xmm29\n\t"
                 "vpxorq %%xmm30, %%xmm30, %%xmm30\n\tvpxorq %%xmm31, %%xmm31, %%xmm31\n\t"
                 "kxorq %%k1, %%k1, %%k1\n\tkxorq %%k2, %%k2, %%k2\n\tkxorq %%k3, %%k3, %%k3\n\t"
                 "kxorq %%k4, %%k4, %%k4\n\tkxorq %%k5, %%k5, %%k5\n\tkxorq %%k6, %%k6, %%k6\n\t"
                 "kxorq %%k7, %%k7, %%k7"
                 :
                 :
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                   "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22",
                   "xmm23", "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3",
                   "k4", "k5", "k6", "k7");
}

/// Four elements modulo p = 2^255 - 19, five limbs of 51 bits, limb i of all four in v[i]. "Tight" limbs are
/// < 2^51 + 2^16: factors are tight, for a product takes 52 bits of each limb and no more. Products and sums of them
/// are "wide": limbs < 2^62 here, made tight by carry().
struct quad25519 {
    __m256i v[5];
};

struct ifma_x25519 {
    static bool multiply(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        ladder(out.data(), scalar.data(), point.data());
        wipe_stack<stack_bytes>();
        return !is_zero_in_constant_time(out);
    }

    /// The multiple of the base point.
    static void multiply_base(std::span<byte, key_bytes> out, key_view scalar) noexcept {
        comb(out.data(), scalar.data());
        wipe_stack<stack_bytes>();
    }

    // What follows is for tests.
    using quad = quad25519;
    static constexpr std::size_t stack_bytes = 4096;
    static constexpr std::uint64_t mask = (std::uint64_t{1} << 51) - 1;

    WG_X25519_INLINE __m256i all(std::uint64_t value) noexcept {
        return _mm256_set1_epi64x(static_cast<long long>(value));
    }
    WG_X25519_INLINE __m256i lanes(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
        return _mm256_set_epi64x(static_cast<long long>(d), static_cast<long long>(c), static_cast<long long>(b),
                                 static_cast<long long>(a));
    }
    /// Zero. The compilers would keep one in a register and copy that.
    WG_X25519_INLINE __m256i none() noexcept {
        __m256i r;
        asm volatile("vpxorq %x0, %x0, %x0" : "=v"(r));
        return r;
    }
    WG_X25519_INLINE __m256i low(__m256i sum, __m256i a, __m256i b) noexcept {
        return _mm256_madd52lo_epu64(sum, a, b);
    }
    WG_X25519_INLINE __m256i high(__m256i sum, __m256i a, __m256i b) noexcept {
        return _mm256_madd52hi_epu64(sum, a, b);
    }
    WG_X25519_INLINE __m256i add(__m256i a, __m256i b) noexcept { return _mm256_add_epi64(a, b); }
    /// The other element of each pair of lanes.
    WG_X25519_INLINE __m256i other(__m256i a) noexcept { return _mm256_shuffle_epi32(a, _MM_PERM_BADC); }

    /// Limb i of 2^9 p: no wide product is more, in any limb.
    static constexpr std::uint64_t bias(int i) noexcept { return (mask - (i == 0 ? 18 : 0)) << 9; }

    /// Before: limbs < 2^62. After: tight, for 19 * 2^11 < 2^15.3 is carried into the lowest limb and 2^11 into others.
    WG_X25519_INLINE void carry(quad& r, quad const& a) noexcept {
        __m256i const m = all(mask);
        __m256i const c4 = _mm256_srli_epi64(a.v[4], 51), c3 = _mm256_srli_epi64(a.v[3], 51),
                      c2 = _mm256_srli_epi64(a.v[2], 51), c1 = _mm256_srli_epi64(a.v[1], 51),
                      c0 = _mm256_srli_epi64(a.v[0], 51);
        r.v[0] = low(_mm256_and_si256(a.v[0], m), c4, all(19));
        r.v[1] = add(_mm256_and_si256(a.v[1], m), c0);
        r.v[2] = add(_mm256_and_si256(a.v[2], m), c1);
        r.v[3] = add(_mm256_and_si256(a.v[3], m), c2);
        r.v[4] = add(_mm256_and_si256(a.v[4], m), c3);
    }

    /// l + 2 h + 19 (m + 2 n)
    WG_X25519_INLINE __m256i fold(__m256i l, __m256i h, __m256i m, __m256i n) noexcept {
        __m256i const w = add(m, add(n, n)); // < 2^54.8
        __m256i const w3 = add(w, add(w, w)), w16 = _mm256_slli_epi64(w, 4);
        return add(add(l, add(h, h)), add(w3, w16));
    }

    /// Four products, and what is given. Before: a, b tight. After: wide; without what is given, limb 0 is the largest,
    /// 1 low product and 19 times 4 low and 10 high ones: low ones are < 2^52, high ones < 2^50.01, and together that
    /// is < 2^52 * (1 + 19 * 6.6) < 2^58.99 < bias(0) / 2.
    WG_X25519_INLINE void multiply(quad& r, quad const& a, quad const& b, quad const& given) noexcept {
        __m256i const a0 = a.v[0], a1 = a.v[1], a2 = a.v[2], a3 = a.v[3], a4 = a.v[4];
        __m256i const b0 = b.v[0], b1 = b.v[1], b2 = b.v[2], b3 = b.v[3], b4 = b.v[4];
        __m256i l0, l1, l2, l3, l4, l5, l6, l7, l8, h1, h2, h3, h4, h5, h6, h7, h8, h9;
        // what is folded goes first; limb 0 comes last out of carry(), so it is not waited for
        l5 = low(none(), a1, b4), h5 = high(none(), a1, b3), l6 = low(none(), a2, b4), h6 = high(none(), a2, b3);
        l7 = low(none(), a3, b4), h7 = high(none(), a3, b3), l8 = low(none(), a4, b4), h8 = high(none(), a4, b3);
        l5 = low(l5, a2, b3), h5 = high(h5, a2, b2), l6 = low(l6, a3, b3), h6 = high(h6, a3, b2);
        l7 = low(l7, a4, b3), h7 = high(h7, a4, b2), h8 = high(h8, a3, b4), h9 = high(none(), a4, b4);
        l5 = low(l5, a3, b2), h5 = high(h5, a3, b1), l6 = low(l6, a4, b2), h6 = high(h6, a4, b1);
        h7 = high(h7, a2, b4), l4 = low(given.v[4], a2, b2), h4 = high(none(), a2, b1);
        l3 = low(given.v[3], a2, b1);
        l5 = low(l5, a4, b1), h5 = high(h5, a4, b0), h6 = high(h6, a1, b4), l2 = low(given.v[2], a1, b1);
        h3 = high(none(), a1, b1), l4 = low(l4, a1, b3), h4 = high(h4, a1, b2), l3 = low(l3, a1, b2);
        h5 = high(h5, a0, b4), l2 = low(l2, a2, b0), h3 = high(h3, a2, b0), l4 = low(l4, a3, b1);
        h4 = high(h4, a3, b0), l3 = low(l3, a3, b0), l1 = low(given.v[1], a1, b0), h2 = high(none(), a1, b0);
        l2 = low(l2, a0, b2), h3 = high(h3, a0, b2), l4 = low(l4, a4, b0), h4 = high(h4, a0, b3);
        l3 = low(l3, a0, b3), l1 = low(l1, a0, b1), h2 = high(h2, a0, b1), l0 = low(given.v[0], a0, b0);
        h1 = high(none(), a0, b0), l4 = low(l4, a0, b4);
        r.v[4] = fold(l4, h4, _mm256_setzero_si256(), h9);
        r.v[3] = fold(l3, h3, l8, h8);
        r.v[2] = fold(l2, h2, l7, h7);
        r.v[1] = fold(l1, h1, l6, h6);
        r.v[0] = fold(l0, _mm256_setzero_si256(), l5, h5);
    }

    WG_X25519_INLINE quad lanes_of_bias(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) noexcept {
        quad r;
        WG_LIMBS(r.v[i] = lanes(a * bias(i), b * bias(i), c * bias(i), d * bias(i)))
        return r;
    }

    /// Lanes (a, b, c, d) become (a + b, a - b, c', d'): c + d, c - d if `both`, else c, c - d. The even lanes of `x`
    /// have `bias` in them.
    template <bool Both> WG_X25519_INLINE void cross(quad& r, quad const& x) noexcept {
        WG_LIMBS(__m256i const y = other(x.v[i]);
                 __m256i const sums = Both ? add(x.v[i], y) : _mm256_mask_add_epi64(x.v[i], 1, x.v[i], y);
                 r.v[i] = _mm256_mask_sub_epi64(sums, 10, y, x.v[i]))
    }

    /// One lane of a tight element.
    template <int Lane> WG_X25519_INLINE void take(field25519<limbs64>& r, quad const& x) noexcept {
        WG_LIMBS(__m128i const half = _mm256_extracti128_si256(x.v[i], Lane / 2);
                 r.v[i] = static_cast<std::uint64_t>(_mm_extract_epi64(half, Lane % 2)))
    }

    /// A step. n: lanes (C, D, A, B), tight: sum and difference of x3:z3, then of x2:z2. `swap` is all ones if x3:z3
    /// is to be doubled, else zero. `by` is (0, x1, 0, 121665).
    WG_X25519_INLINE void step(quad& n, __m256i swap, quad const& by) noexcept {
        quad a, b, w, e;
        // (D, C, P, Q) (A, B, P, Q), where P, Q are C, D or A, B
        __m256i const which = _mm256_xor_si256(_mm256_and_si256(swap, lanes(0, 0, 2, 2)), lanes(0, 0, 2, 3));
        __m256i const left = _mm256_or_si256(which, lanes(1, 0, 0, 0)),
                      right = _mm256_or_si256(which, lanes(2, 3, 0, 0));
        WG_LIMBS(a.v[i] = _mm256_permutexvar_epi64(left, n.v[i]); b.v[i] = _mm256_permutexvar_epi64(right, n.v[i]))
        multiply(w, a, b, lanes_of_bias(1, 0, 1, 0)); // DA, CB, AA, BB
        cross<false>(w, w);
        carry(e, w); // S = DA + CB, T = DA - CB, AA, E = AA - BB
        WG_LIMBS(b.v[i] = _mm256_mask_shuffle_epi32(e.v[i], 0x30, e.v[i], _MM_PERM_BADC))
        multiply(w, e, b, lanes_of_bias(0, 0, 0, 0)); // SS, TT, AA E, EE
        carry(a, w);
        // (-, TT, AA, EE) (0, x1, AA, 121665)
        WG_LIMBS(a.v[i] = _mm256_mask_mov_epi64(a.v[i], 4, e.v[i]);
                 b.v[i] = _mm256_mask_mov_epi64(by.v[i], 4, e.v[i]))
        // x3 = SS, z3 = x1 TT, x2 = AA BB = AA AA - AA E, z2 = E (AA + 121665 E); 2^9 p twice, once for each difference
        e = lanes_of_bias(1, 0, 2, 0);
        WG_LIMBS(e.v[i] = _mm256_mask_sub_epi64(_mm256_mask_add_epi64(e.v[i], 1, e.v[i], w.v[i]), 4, e.v[i], w.v[i]);
                 e.v[i] = _mm256_mask_add_epi64(e.v[i], 8, e.v[i], other(w.v[i])))
        multiply(w, a, b, e);
        cross<true>(w, w);
        carry(n, w);
    }

    WG_X25519_IFMA [[gnu::noinline]] static void ladder(byte* out, byte const* scalar, byte const* point) noexcept {
        field25519<limbs64> x1;
        std::uint64_t swaps[4];
        x1.decode(point);
        swaps_of_scalar(swaps, scalar);
        quad n = lanes_of_bias(1, 0, 1, 0), by;
        // x3 = x1, z3 = 1, x2 = 1, z2 = 0
        WG_LIMBS(by.v[i] = lanes(0, x1.v[i], 0, i == 0 ? 121665 : 0);
                 n.v[i] = add(n.v[i], lanes(x1.v[i], i == 0, i == 0, 0)))
        cross<true>(n, n);
        carry(n, n);
        for (std::size_t bit = 255; bit-- > 0;)
            step(n, all(std::uint64_t{0} - (swaps[bit / 64] >> (bit % 64) & 1)), by);
        // the lowest bit is clear: x2:z2 is the result. A + B = 2 x2, A - B = 2 z2
        field25519<limbs64> sum, difference;
        take<2>(sum, n), take<3>(difference, n);
        quotient_of_halves(out, sum, difference);
        wipe(sum), wipe(difference);
        wipe(swaps);
        wipe_avx512_registers();
    }

    /// Lanes ((y - x) / 2, (y + x) / 2, d x y, 1) of the point for a digit: tight.
    WG_X25519_INLINE void select(quad& r, std::size_t j, comb25519::digit digit) noexcept {
        __m256i w[4];
        avx2_x25519::select(w, j, digit);
        __m256i const m = all(mask);
        r.v[0] = _mm256_and_si256(w[0], m);
        r.v[1] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(w[0], 51), _mm256_slli_epi64(w[1], 13)), m);
        r.v[2] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(w[1], 38), _mm256_slli_epi64(w[2], 26)), m);
        r.v[3] = _mm256_and_si256(_mm256_or_si256(_mm256_srli_epi64(w[2], 25), _mm256_slli_epi64(w[3], 39)), m);
        r.v[4] = _mm256_srli_epi64(w[3], 12);
        // p - d x y: no limb of any d x y in the table is greater than that of p
        __mmask8 const negative = static_cast<__mmask8>(digit.negative << 2);
        WG_LIMBS(r.v[i] = _mm256_mask_sub_epi64(r.v[i], negative, all(mask - (i == 0 ? 18 : 0)), r.v[i]))
    }

    /// Of e = lanes (E, H, F, G), tight: the point X = E F, Y = G H, T = E H, Z = F G, as plus() and twice() take it.
    WG_X25519_INLINE void finish(quad& q, quad const& e) noexcept {
        quad a, b;
        WG_LIMBS(a.v[i] = _mm256_permute4x64_epi64(e.v[i], _MM_PERM_CABA);
                 b.v[i] = _mm256_permute4x64_epi64(e.v[i], _MM_PERM_DBDC))
        multiply(a, a, b, lanes_of_bias(0, 1, 0, 0));
        WG_LIMBS(__m256i const y = other(a.v[i]);
                 a.v[i] = _mm256_mask_sub_epi64(_mm256_mask_add_epi64(a.v[i], 2, a.v[i], y), 1, y, a.v[i]))
        carry(q, a);
    }

    /// Adds a point. q: lanes (Y - X, Y + X, T, Z), tight.
    WG_X25519_INLINE void plus(quad& q, quad const& point) noexcept {
        quad w;
        multiply(w, q, point, lanes_of_bias(0, 1, 0, 1)); // A, B, C, D, all halves of the textbook's
        WG_LIMBS(__m256i const y = other(w.v[i]); w.v[i] = _mm256_mask_sub_epi64(add(y, w.v[i]), 5, y, w.v[i]))
        carry(w, w); // E = B - A, H = B + A, F = D - C, G = D + C
        finish(q, w);
    }

    /// Doubles. With u = Y - X and v = Y + X: E = 4 XY = vv - uu, H = 2 (XX + YY) = vv + uu, G = 2 (YY - XX) = 2 uv,
    /// F = 4 ZZ - G; these are twice the textbook's, with the signs of F and H changed: the same point.
    WG_X25519_INLINE void twice(quad& q) noexcept {
        quad w, a, b;
        WG_LIMBS(a.v[i] = _mm256_permute4x64_epi64(q.v[i], _MM_PERM_DABA);
                 b.v[i] = _mm256_permute4x64_epi64(q.v[i], _MM_PERM_DBBA))
        multiply(w, a, b, lanes_of_bias(0, 0, 0, 0)); // uu, vv, uv, ZZ: < 2^58.99
        WG_LIMBS(w.v[i] = _mm256_mask_add_epi64(w.v[i], 12, w.v[i], w.v[i]); __m256i const y = other(w.v[i]);
                 __m256i const t = _mm256_mask_add_epi64(_mm256_mask_add_epi64(y, 2, y, w.v[i]), 4, y, y);
                 w.v[i] = _mm256_mask_sub_epi64(t, 5, add(t, lanes(bias(i), 0, bias(i), 0)), w.v[i])) // < 2^61.6
        carry(w, w);
        finish(q, w);
    }

    WG_X25519_IFMA [[gnu::noinline]] static void comb(byte* out, byte const* scalar) noexcept {
        comb25519 const digits(scalar);
        quad q, point;
        WG_LIMBS(q.v[i] = lanes(i == 0, i == 0, 0, i == 0)) // 0, 1
        for (std::size_t place = comb25519::distance; place-- > 0;) {
            if (place != comb25519::distance - 1) twice(q);
            for (std::size_t j = 0; j < comb25519::combs; ++j) {
                select(point, j, digits.at(j, place));
                plus(q, point);
            }
        }
        // u = (Z + Y) / (Z - Y), and Z - Y is not zero: see x25519_base. 2 Y = (Y - X) + (Y + X)
        field25519<limbs64> y2, z2;
        WG_LIMBS(q.v[i] = _mm256_mask_add_epi64(add(q.v[i], q.v[i]), 1, q.v[i], other(q.v[i])))
        carry(q, q);
        take<0>(y2, q), take<3>(z2, q);
        quotient_of_halves(out, z2, y2);
        wipe(y2), wipe(z2);
        wipe_avx512_registers();
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#endif

#ifdef WG_X86_KERNELS

namespace wg::inline WG_ABI {
namespace bundled {

/// Eight elements modulo p = 2^255 - 19, five limbs of 52 bits, limb i of all in v[i]. Two ranges:
/// "carried": limb 4 < 2^47 + 2^12, and of the others only the lowest 52 bits count. What multiply() and square() take.
/// "wide": limbs < 2^63, all bits count. What they give, and what may be added and subtracted.
struct lanes25519 {
    __m512i v[5];
};

struct ifma8_x25519 {
    static constexpr std::size_t lanes = 8;
    /// Three single ones take as long as eight here.
    static constexpr std::size_t worth_it = 3;
    static constexpr std::size_t stack_bytes = 8192;

    // What follows is for tests.
    using fe = lanes25519;
    static constexpr std::uint64_t mask52 = (std::uint64_t{1} << 52) - 1, mask47 = (std::uint64_t{1} << 47) - 1;

    WG_X25519_INLINE __m512i all(std::uint64_t value) noexcept {
        return _mm512_set1_epi64(static_cast<long long>(value));
    }
    /// Zero. The compilers would keep one in a register and copy that, which takes a turn of the ports that multiply.
    WG_X25519_INLINE __m512i none() noexcept {
        __m512i r;
        asm volatile("vpxorq %x0, %x0, %x0" : "=v"(r));
        return r;
    }
    WG_X25519_INLINE __m512i low(__m512i sum, __m512i a, __m512i b) noexcept {
        return _mm512_madd52lo_epu64(sum, a, b);
    }
    WG_X25519_INLINE __m512i high(__m512i sum, __m512i a, __m512i b) noexcept {
        return _mm512_madd52hi_epu64(sum, a, b);
    }
    WG_X25519_INLINE __m512i add(__m512i a, __m512i b) noexcept { return _mm512_add_epi64(a, b); }
    /// b where `from_b` has a bit, a elsewhere. A secret mask may choose between registers; compilers also load by
    /// it what they have spilled.
    WG_X25519_INLINE __m512i choose(__m512i a, __mmask8 from_b, __m512i b) noexcept {
        asm("vmovdqa64 %2, %0%{%1%}" : "+v"(a) : "Yk"(from_b), "v"(b));
        return a;
    }
    // (g++ 12 warns of an uninitialised variable in its own intrinsics for shifts.)
    typedef unsigned long long words __attribute__((vector_size(64)));
    WG_X25519_INLINE __m512i right(__m512i a, int bits) noexcept { return (__m512i)((words)a >> bits); }
    WG_X25519_INLINE __m512i left(__m512i a, int bits) noexcept { return (__m512i)((words)a << bits); }

    /// Limb i of 2^9 p: 2^61 - 2^9 * 19, 2^61 - 2^9, and 2^56 - 2^9 for the highest, which is more than any limb of a
    /// product.
    static constexpr std::uint64_t bias(int i) noexcept {
        return ((i == 4 ? mask47 : mask52) - (i == 0 ? 18 : 0)) << 9;
    }

    /// Wide to carried: bits from 255 on come back times 19, < 2^16 * 19 < 2^21; the carry into limb 4 is < 2^12.
    /// As many at a time as do not wait for each other.
    template <class... More> WG_X25519_INLINE void carry(More&... x) noexcept {
        ((x.v[0] = low(x.v[0], right(x.v[4], 47), all(19))), ...);
        ((x.v[4] = _mm512_and_si512(x.v[4], all(mask47))), ...);
        ((x.v[1] = add(x.v[1], right(x.v[0], 52))), ...);
        ((x.v[2] = add(x.v[2], right(x.v[1], 52))), ...);
        ((x.v[3] = add(x.v[3], right(x.v[2], 52))), ...);
        ((x.v[4] = add(x.v[4], right(x.v[3], 52))), ...);
    }

    /// A product that is not finished: ten limbs.
    struct wide {
        __m512i t[10];
    };

    /// r = t0-t4 plus 2^260 times t5-t9, which comes back times 32 * 19. t9 is a high product of limbs 4 and a carry:
    /// < 2^43, and times 608 still < 2^52.
    template <class... More> WG_X25519_INLINE void fold(More&... w) noexcept {
        __m512i const f = all(608);
        ((w.t[6] = add(w.t[6], right(w.t[5], 52))), ...);
        ((w.t[0] = low(w.t[0], w.t[5], f)), ...);
        ((w.t[7] = add(w.t[7], right(w.t[6], 52))), ...);
        ((w.t[1] = high(w.t[1], w.t[5], f)), ...);
        ((w.t[8] = add(w.t[8], right(w.t[7], 52))), ...);
        ((w.t[2] = high(w.t[2], w.t[6], f)), ...);
        ((w.t[9] = add(w.t[9], right(w.t[8], 52))), ...);
        ((w.t[3] = high(w.t[3], w.t[7], f)), ...);
        ((w.t[4] = high(w.t[4], w.t[8], f)), ...);
        ((w.t[1] = low(w.t[1], w.t[6], f)), ...);
        ((w.t[2] = low(w.t[2], w.t[7], f)), ...);
        ((w.t[3] = low(w.t[3], w.t[8], f)), ...);
        ((w.t[4] = low(w.t[4], w.t[9], f)), ...);
    }

    template <int I> WG_X25519_INLINE void low_row(wide& w, fe const& a, fe const& b) noexcept {
        WG_LIMBS(w.t[I + i] = low(w.t[I + i], a.v[I], b.v[i]))
    }
    template <int I> WG_X25519_INLINE void high_row(wide& w, fe const& a, fe const& b) noexcept {
        WG_LIMBS(w.t[I + i + 1] = high(w.t[I + i + 1], a.v[I], b.v[i]))
    }
    WG_X25519_INLINE void start(wide& w, fe const& given) noexcept {
        WG_LIMBS(w.t[i] = given.v[i]; w.t[i + 5] = none())
    }
    WG_X25519_INLINE void finish(fe& r, wide const& w) noexcept { WG_LIMBS(r.v[i] = w.t[i]) }

    /// r = given + a b. Before: a, b carried. After: limbs of r - given are sums of 11 parts at most, < 2^55.5.
    WG_X25519_INLINE void multiply(fe& r, fe const& a, fe const& b, fe const& given) noexcept {
        wide w;
        start(w, given);
        low_row<0>(w, a, b), high_row<0>(w, a, b), low_row<1>(w, a, b), high_row<1>(w, a, b), low_row<2>(w, a, b);
        high_row<2>(w, a, b), low_row<3>(w, a, b), high_row<3>(w, a, b), low_row<4>(w, a, b), high_row<4>(w, a, b);
        fold(w);
        finish(r, w);
    }
    /// Two of them, for one waits for its own results too long to keep the multipliers busy.
    WG_X25519_INLINE void multiply(fe& r, fe const& a, fe const& b, fe const& given, fe& r2, fe const& a2,
                                   fe const& b2, fe const& given2) noexcept {
        wide w, x;
        start(w, given), start(x, given2);
        low_row<0>(w, a, b), low_row<0>(x, a2, b2), high_row<0>(w, a, b), high_row<0>(x, a2, b2);
        low_row<1>(w, a, b), low_row<1>(x, a2, b2), high_row<1>(w, a, b), high_row<1>(x, a2, b2);
        low_row<2>(w, a, b), low_row<2>(x, a2, b2), high_row<2>(w, a, b), high_row<2>(x, a2, b2);
        low_row<3>(w, a, b), low_row<3>(x, a2, b2), high_row<3>(w, a, b), high_row<3>(x, a2, b2);
        low_row<4>(w, a, b), low_row<4>(x, a2, b2), high_row<4>(w, a, b), high_row<4>(x, a2, b2);
        fold(w, x);
        finish(r, w), finish(r2, x);
    }
    WG_X25519_INLINE fe zero() noexcept {
        fe r;
        WG_LIMBS(r.v[i] = none())
        return r;
    }

    /// The parts of a square: products that come twice and are doubled after, those with limb 4, which is doubled
    /// before, and squares of limbs.
    template <bool Biased> WG_X25519_INLINE __m512i half_bias(int i) noexcept {
        if constexpr (Biased) return all(bias(i) / 2);
        return none();
    }
    template <bool Biased> WG_X25519_INLINE void square_1(wide& w, fe const& a) noexcept {
        w.t[1] = low(half_bias<Biased>(1), a.v[0], a.v[1]), w.t[2] = low(half_bias<Biased>(2), a.v[0], a.v[2]);
        w.t[3] = low(half_bias<Biased>(3), a.v[0], a.v[3]), w.t[4] = low(half_bias<Biased>(4), a.v[1], a.v[3]);
        w.t[5] = low(none(), a.v[2], a.v[3]), w.t[6] = high(none(), a.v[2], a.v[3]);
    }
    WG_X25519_INLINE void square_2(wide& w, fe const& a) noexcept {
        w.t[2] = high(w.t[2], a.v[0], a.v[1]), w.t[3] = high(w.t[3], a.v[0], a.v[2]);
        w.t[4] = high(w.t[4], a.v[0], a.v[3]), w.t[5] = high(w.t[5], a.v[1], a.v[3]);
    }
    WG_X25519_INLINE void square_3(wide& w, fe const& a) noexcept {
        w.t[3] = low(w.t[3], a.v[1], a.v[2]), w.t[4] = high(w.t[4], a.v[1], a.v[2]);
        w.t[1] = add(w.t[1], w.t[1]), w.t[2] = add(w.t[2], w.t[2]), w.t[5] = add(w.t[5], w.t[5]);
        w.t[6] = add(w.t[6], w.t[6]), w.t[3] = add(w.t[3], w.t[3]), w.t[4] = add(w.t[4], w.t[4]);
    }
    WG_X25519_INLINE void square_4(wide& w, fe const& a) noexcept {
        __m512i const d = add(a.v[4], a.v[4]);
        w.t[5] = low(w.t[5], a.v[1], d), w.t[6] = low(w.t[6], a.v[2], d), w.t[7] = low(none(), a.v[3], d);
        w.t[8] = high(none(), a.v[3], d), w.t[4] = low(w.t[4], a.v[0], d), w.t[5] = high(w.t[5], a.v[0], d);
        w.t[6] = high(w.t[6], a.v[1], d), w.t[7] = high(w.t[7], a.v[2], d);
    }
    WG_X25519_INLINE void square_5(wide& w, fe const& a, __m512i given) noexcept {
        w.t[5] = high(w.t[5], a.v[2], a.v[2]), w.t[6] = low(w.t[6], a.v[3], a.v[3]);
        w.t[7] = high(w.t[7], a.v[3], a.v[3]), w.t[8] = low(w.t[8], a.v[4], a.v[4]);
        w.t[9] = high(none(), a.v[4], a.v[4]), w.t[0] = low(given, a.v[0], a.v[0]);
        w.t[1] = high(w.t[1], a.v[0], a.v[0]), w.t[2] = low(w.t[2], a.v[1], a.v[1]);
        w.t[3] = high(w.t[3], a.v[1], a.v[1]), w.t[4] = low(w.t[4], a.v[2], a.v[2]);
    }
    /// r = a^2 + 2^9 p, r2 = a2^2
    WG_X25519_INLINE void squares(fe& r, fe const& a, fe& r2, fe const& a2) noexcept {
        wide w, x;
        square_1<true>(w, a), square_1<false>(x, a2), square_2(w, a), square_2(x, a2), square_3(w, a), square_3(x, a2);
        square_4(w, a), square_4(x, a2), square_5(w, a, all(bias(0))), square_5(x, a2, none());
        fold(w, x);
        finish(r, w), finish(r2, x);
    }

    /// x2:z2 and x3:z3, wide; x2 and x3 with `bias` in them, so that z can be subtracted.
    struct state {
        fe x2, z2, x3, z3, x1;
    };

    /// f = aa + 121665 e. Limb 4 of e is < 2^48, so its high part is < 2^13, of weight 2^260.
    WG_X25519_INLINE void times_a24(fe& f, fe const& aa, fe const& e) noexcept {
        __m512i const k = all(121665);
        f.v[0] = low(aa.v[0], e.v[0], k);
        f.v[1] = low(high(aa.v[1], e.v[0], k), e.v[1], k);
        f.v[2] = low(high(aa.v[2], e.v[1], k), e.v[2], k);
        f.v[3] = low(high(aa.v[3], e.v[2], k), e.v[3], k);
        f.v[4] = low(high(aa.v[4], e.v[3], k), e.v[4], k);
        f.v[0] = low(f.v[0], high(none(), e.v[4], k), all(608));
    }
    WG_X25519_INLINE fe biased() noexcept {
        return {{all(bias(0)), all(bias(1)), all(bias(2)), all(bias(3)), all(bias(4))}};
    }

    /// A step of the ladder: doubles x3:z3 where `swap` has a bit, else x2:z2, into x2:z2; their sum goes to x3:z3.
    WG_X25519_INLINE void step(state& s, __mmask8 swap) noexcept {
        fe a, b, c, d, p, q, da, cb, aa, bb, e, f;
        WG_LIMBS(a.v[i] = add(s.x2.v[i], s.z2.v[i]); b.v[i] = _mm512_sub_epi64(s.x2.v[i], s.z2.v[i]);
                 c.v[i] = add(s.x3.v[i], s.z3.v[i]); d.v[i] = _mm512_sub_epi64(s.x3.v[i], s.z3.v[i]))
        carry(a, b, c, d);
        multiply(da, d, a, biased(), cb, c, b, zero());
        // bits of a limb that were carried may be selected or not: nobody looks at them
        WG_LIMBS(p.v[i] = choose(a.v[i], swap, c.v[i]); q.v[i] = choose(b.v[i], swap, d.v[i]))
        squares(aa, p, bb, q);
        WG_LIMBS(a.v[i] = add(da.v[i], cb.v[i]); b.v[i] = _mm512_sub_epi64(da.v[i], cb.v[i]))
        carry(a, b);
        WG_LIMBS(e.v[i] = _mm512_sub_epi64(aa.v[i], bb.v[i]); f.v[i] = aa.v[i])
        carry(e, aa, bb);
        squares(s.x3, a, b, b);
        times_a24(f, f, e);
        multiply(s.x2, aa, bb, biased());
        carry(f, b);
        multiply(s.z3, b, s.x1, zero(), s.z2, e, f, zero());
    }

    /// Doubles x2:z2 and leaves x3:z3 alone.
    WG_X25519_INLINE void twice(state& s) noexcept {
        fe a, b, e, f;
        WG_LIMBS(a.v[i] = add(s.x2.v[i], s.z2.v[i]); b.v[i] = _mm512_sub_epi64(s.x2.v[i], s.z2.v[i]))
        carry(a, b);
        squares(a, a, b, b);
        WG_LIMBS(e.v[i] = _mm512_sub_epi64(a.v[i], b.v[i]); f.v[i] = a.v[i])
        carry(e, a, b);
        times_a24(f, f, e);
        carry(f);
        multiply(s.x2, a, b, biased(), s.z2, e, f, zero());
    }

    WG_X25519_INLINE void pack(fe& r, __m512i w0, __m512i w1, __m512i w2, __m512i w3) noexcept {
        __m512i const m = all(mask52);
        r.v[0] = _mm512_and_si512(w0, m);
        r.v[1] = _mm512_and_si512(_mm512_or_si512(right(w0, 52), left(w1, 12)), m);
        r.v[2] = _mm512_and_si512(_mm512_or_si512(right(w1, 40), left(w2, 24)), m);
        r.v[3] = _mm512_and_si512(_mm512_or_si512(right(w2, 28), left(w3, 36)), m);
        r.v[4] = _mm512_and_si512(right(w3, 16), all(mask47));
    }

    /// The representatives below p, as words: to[i] is word i of all lanes. Of a wide element.
    WG_X25519_INLINE void unpack(std::uint64_t (&to)[4][lanes], fe const& a) noexcept {
        fe x = a;
        __m512i const m = all(mask52);
        carry(x);
        WG_LIMBS(if constexpr (i < 4) x.v[i] = _mm512_and_si512(x.v[i], m))
        // the value is < 2^255 + 2^220 < 2p; it is >= p if adding 19 carries into bit 255, and then that is p taken off
        __m512i q = right(add(x.v[0], all(19)), 52);
        q = right(add(x.v[1], q), 52);
        q = right(add(x.v[2], q), 52);
        q = right(add(x.v[3], q), 52);
        q = right(add(x.v[4], q), 47);
        x.v[0] = low(x.v[0], q, all(19));
        WG_LIMBS(if constexpr (i < 4) {
            x.v[i + 1] = add(x.v[i + 1], right(x.v[i], 52));
            x.v[i] = _mm512_and_si512(x.v[i], m);
        })
        x.v[4] = _mm512_and_si512(x.v[4], all(mask47));
        _mm512_storeu_si512(to[0], _mm512_or_si512(x.v[0], left(x.v[1], 52)));
        _mm512_storeu_si512(to[1], _mm512_or_si512(right(x.v[1], 12), left(x.v[2], 40)));
        _mm512_storeu_si512(to[2], _mm512_or_si512(right(x.v[2], 24), left(x.v[3], 28)));
        _mm512_storeu_si512(to[3], _mm512_or_si512(right(x.v[3], 36), left(x.v[4], 16)));
    }

    /// The lanes of a wide element.
    WG_X25519_INLINE void take(field25519<limbs64>* to, fe const& a) noexcept {
        std::uint64_t words[4][lanes];
        byte text[key_bytes];
        unpack(words, a);
        for (std::size_t j = 0; j < lanes; ++j) {
            for (std::size_t i = 0; i < 4; ++i) store_le64(text + 8 * i, words[i][j]);
            to[j].decode(text);
        }
        wipe(words), wipe(text);
    }

    /// All products, as fractions x / z.
    WG_X25519_IFMA [[gnu::noinline]] static void ladder(dh_item const* items, field25519<limbs64>* x,
                                                        field25519<limbs64>* z) noexcept {
        std::uint64_t words[4][lanes], swaps[4][lanes];
        for (std::size_t j = 0; j < lanes; ++j) {
            std::uint64_t k[4];
            swaps_of_scalar(k, items[j].scalar->expose().data());
            for (std::size_t i = 0; i < 4; ++i) {
                swaps[i][j] = k[i];
                words[i][j] = load_le64(items[j].point.data() + 8 * i);
            }
            wipe(k);
        }
        state s;
        pack(s.x1, _mm512_loadu_si512(words[0]), _mm512_loadu_si512(words[1]), _mm512_loadu_si512(words[2]),
             _mm512_loadu_si512(words[3]));
        // Bit 254 is set, so after it the point is that of x3 and twice the point that of x2; bits 0 to 2 are clear.
        WG_LIMBS(s.x2.v[i] = s.x3.v[i] = add(s.x1.v[i], all(bias(i))); s.z2.v[i] = s.z3.v[i] = all(i == 0))
        twice(s);
        for (std::size_t word = 4; word-- > 0;) {
            __m512i const bits = _mm512_loadu_si512(swaps[word]);
            std::uint64_t const last = word == 0 ? 8 : 1;
            for (std::uint64_t bit = std::uint64_t{1} << (word == 3 ? 61 : 63); bit >= last && bit != 0; bit >>= 1)
                step(s, _mm512_test_epi64_mask(bits, all(bit)));
        }
        __mmask8 const swap = _mm512_test_epi64_mask(_mm512_loadu_si512(swaps[0]), all(4));
        WG_LIMBS(s.x2.v[i] = choose(s.x2.v[i], swap, s.x3.v[i]); s.z2.v[i] = choose(s.z2.v[i], swap, s.z3.v[i]))
        for (int i = 0; i < 3; ++i) twice(s);
        take(x, s.x2);
        take(z, s.z2);
        wipe(words);
        wipe(swaps);
        wipe(static_cast<void*>(&s), sizeof s);
        wipe_avx512_registers();
    }
};

} // namespace bundled
} // namespace wg::inline WG_ABI

#undef WG_LIMBS
#undef WG_LIMB
#undef WG_X25519_INLINE
#undef WG_X25519_IFMA

#endif

#endif

namespace wg::inline WG_ABI {
namespace bundled {

/// X25519 in a field of these limbs.
template <class Limbs = default_limbs> class x25519 {
public:
    /// The scalar is clamped here. True if the result is not zero; computed in full either way.
    static bool multiply(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        ladder(out, scalar, point);
        wipe_stack<sizeof(work) + 2 * spill_bytes>(); // products twice as wide as words spill more
        return !is_zero_in_constant_time(out);
    }

private:
    using field = field25519<Limbs>;

    /// All that is secret, so that one wipe is enough. x2:z2 and x3:z3 differ by the point x1.
    struct work : field25519_scratch<field> {
        field x1, x2, z2;
#ifdef WG_SMALL
        field k; ///< (486662 - 2) / 4
#endif

        ~work() { wipe(static_cast<void*>(this), sizeof *this); }
    };

    [[gnu::noinline]] static void ladder(std::span<byte, key_bytes> out, key_view scalar, key_view point) noexcept {
        work w;
        w.x1.decode(point.data());
        w.x2.set_small(1);
        w.z2.set_small(0);
        w.x3 = w.x1;
        w.z3.set_small(1);
#ifdef WG_SMALL
        w.k.set_small(121665);
#endif

        std::uint32_t swapped = 0;
        for (std::size_t bit = 255; bit-- > 0;) {
            std::uint32_t now = (scalar[bit / 8] >> (bit % 8)) & 1u;
            if (bit == 254) now = 1; // clamped
            if (bit < 3) now = 0;
            field::swap_if(swapped ^ now, w.x2, w.x3);
            field::swap_if(swapped ^ now, w.z2, w.z3);
            swapped = now;
            step(w);
        }
        // The lowest bits are clear: there is nothing to swap, but it costs nothing.
        field::swap_if(swapped, w.x2, w.x3);
        field::swap_if(swapped, w.z2, w.z3);
        invert(w.z2, w);
        field::multiply(w.x2, w.x2, w.z2);
        w.x2.encode(out.data());
    }

#ifdef WG_SMALL
    // The text below as a table: what is done with which elements of `work`, in its order.
    enum element : byte { x3, z3, a, b, c, d, x1, x2, z2, k };
    enum operation : byte { plus, minus, times };
    struct instruction {
        byte what : 4, to : 4, left : 4, right : 4;
    };
    static constexpr instruction program[] = {
        {plus, a, x2, z2},   {minus, b, x2, z2},  {plus, c, x3, z3},   {minus, d, x3, z3}, {times, d, d, a},
        {times, c, c, b},    {plus, x3, d, c},    {minus, z3, d, c},   {times, x3, x3, x3}, {times, z3, z3, z3},
        {times, z3, z3, x1}, {times, a, a, a},    {times, b, b, b},    {times, x2, a, b},  {minus, b, a, b},
        {times, c, b, k},    {plus, c, c, a},     {times, z2, b, c}};

    [[gnu::noinline]] static void step(work& w) noexcept {
        static_assert(sizeof(work) == 10 * sizeof(field)); // one element after the other
        field* const all = &w.x3;
        for (instruction const now : program) {
            field &to = all[now.to], &left = all[now.left], &right = all[now.right];
            if (now.what == times)
                field::multiply(to, left, right);
            else if (now.what == plus)
                field::add(to, left, right);
            else
                field::subtract(to, left, right);
        }
    }
#else
    /// Doubles x2:z2 and adds it to x3:z3. Every operand of add and subtract is tight, every result goes to a product.
    [[gnu::noinline]] static void step(work& w) noexcept {
        field::add(w.a, w.x2, w.z2);
        field::subtract(w.b, w.x2, w.z2);
        field::add(w.c, w.x3, w.z3);
        field::subtract(w.d, w.x3, w.z3);
        field::multiply(w.d, w.d, w.a);
        field::multiply(w.c, w.c, w.b);
        field::add(w.x3, w.d, w.c);
        field::subtract(w.z3, w.d, w.c);
        field::square(w.x3, w.x3);
        field::square(w.z3, w.z3);
        field::multiply(w.z3, w.z3, w.x1);
        field::square(w.a, w.a);
        field::square(w.b, w.b);
        field::multiply(w.x2, w.a, w.b);
        field::subtract(w.b, w.a, w.b);
        field::multiply_small(w.c, w.b, 121665); // (486662 - 2) / 4
        field::add(w.c, w.c, w.a);
        field::multiply(w.z2, w.b, w.c);
    }
#endif
};

/// The model of dh_backend, with dh_batch, by the best kernels that `allowed` has. (A class named `dh` could have no
/// member of that name.)
class x25519_dh {
public:
    explicit x25519_dh(cpu allowed = chosen_cpu()) noexcept : allowed_(consistent(allowed)) {}

    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept;
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept;
    void dh_batch(std::span<dh_item> items) const noexcept;

private:
    cpu allowed_;
};

#ifdef WG_DEFINE_KERNELS

WG_CHOICE bool x25519_dh::dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::ifma)) return ifma_x25519::multiply(out.expose(), scalar.expose(), point);
    if (has(allowed_, cpu::avx2)) return avx2_x25519::multiply(out.expose(), scalar.expose(), point);
#endif
    return x25519<>::multiply(out.expose(), scalar.expose(), point);
}

WG_CHOICE void x25519_dh::dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::ifma)) return ifma_x25519::multiply_base(out, scalar.expose());
    if (has(allowed_, cpu::avx2)) return avx2_x25519::multiply_base(out, scalar.expose());
#endif
#ifdef WG_COMPACT
    constexpr byte_array<key_bytes> base_point = {9};
    static_cast<void>(x25519<>::multiply(out, scalar.expose(), base_point)); // never zero: its order is prime
#else
    x25519_base<>::multiply(out, scalar.expose());
#endif
}

WG_CHOICE void x25519_dh::dh_batch(std::span<dh_item> items) const noexcept {
#ifdef WG_X86_KERNELS
    if (has(allowed_, cpu::ifma)) return multiply_batch<ifma_x25519, ifma8_x25519>(items);
    if (has(allowed_, cpu::avx2)) return multiply_batch<avx2_x25519, avx2_x25519_of_four>(items);
#endif
    for (dh_item& item : items) item.good = dh(*item.out, *item.scalar, key_view(item.point));
}

#endif

using dh = x25519_dh;

static_assert(dh_backend<dh>);

} // namespace bundled
} // namespace wg::inline WG_ABI

#endif

#endif
#ifdef WG_WITH_HACL
// SPDX-License-Identifier: BSL-1.0
// The formally verified primitives of HACL* as policies, from whatever C tree of HACL* is in the include path. Layer 2;
// any thread. Optional: wg.hpp includes this file where WG_WITH_HACL is defined; build and link the tree's sources.
//
//     struct my_policies : wg::default_policies {
//         using hash = wg::hacl::hash;
//         using dh = wg::hacl::dh;
//         using aead = wg::hacl::aead;
//     };
//
// Distributions of HACL* differ in names and in what they have, so each primitive is chosen by the headers that are
// there; what a tree lacks, the bundled code supplies. The objects that a program needs follow from the same headers:
//
// | primitive | headers, the first that is there                                                                   |
// |-----------|----------------------------------------------------------------------------------------------------|
// | aead      | Hacl_AEAD_Chacha20Poly1305.h, or Hacl_Chacha20Poly1305_32.h of before 2024; beside the former       |
// |           | _Simd256.h on x86-64 and _Simd128.h on x86-64 and aarch64, beside the latter _256.h and _128.h      |
// | dh        | Hacl_Curve25519_51.h, on processors with 128-bit products; and where curve25519-inline.h is there   |
// |           | too, Hacl_Curve25519_64.h on x86-64                                                                 |
// | hash      | Hacl_Hash_Blake2s.h; Hacl_Hash_Blake2.h or Hacl_Blake2s_32.h, of before 2024                        |
#ifndef WG_BACKENDS_HACL_HPP
#define WG_BACKENDS_HACL_HPP


#include <cstring>

// Old trees say nothing of C++, and newer ones are not hurt by it.
extern "C" {
#if __has_include(<Hacl_AEAD_Chacha20Poly1305.h>)
#include <Hacl_AEAD_Chacha20Poly1305.h>
#define WG_HACL_AEAD {&Hacl_AEAD_Chacha20Poly1305_encrypt, &Hacl_AEAD_Chacha20Poly1305_decrypt}
#if defined(__x86_64__) && __has_include(<Hacl_AEAD_Chacha20Poly1305_Simd256.h>)
#include <Hacl_AEAD_Chacha20Poly1305_Simd256.h>
#define WG_HACL_AEAD_256 {&Hacl_AEAD_Chacha20Poly1305_Simd256_encrypt, &Hacl_AEAD_Chacha20Poly1305_Simd256_decrypt}
#endif
#if (defined(__x86_64__) || defined(__aarch64__)) && __has_include(<Hacl_AEAD_Chacha20Poly1305_Simd128.h>)
#include <Hacl_AEAD_Chacha20Poly1305_Simd128.h>
#define WG_HACL_AEAD_128 {&Hacl_AEAD_Chacha20Poly1305_Simd128_encrypt, &Hacl_AEAD_Chacha20Poly1305_Simd128_decrypt}
#endif
#elif __has_include(<Hacl_Chacha20Poly1305_32.h>)
#include <Hacl_Chacha20Poly1305_32.h>
#define WG_HACL_AEAD {&Hacl_Chacha20Poly1305_32_aead_encrypt, &Hacl_Chacha20Poly1305_32_aead_decrypt}
#if defined(__x86_64__) && __has_include(<Hacl_Chacha20Poly1305_256.h>)
#include <Hacl_Chacha20Poly1305_256.h>
#define WG_HACL_AEAD_256 {&Hacl_Chacha20Poly1305_256_aead_encrypt, &Hacl_Chacha20Poly1305_256_aead_decrypt}
#endif
#if (defined(__x86_64__) || defined(__aarch64__)) && __has_include(<Hacl_Chacha20Poly1305_128.h>)
#include <Hacl_Chacha20Poly1305_128.h>
#define WG_HACL_AEAD_128 {&Hacl_Chacha20Poly1305_128_aead_encrypt, &Hacl_Chacha20Poly1305_128_aead_decrypt}
#endif
#endif

#if defined(__SIZEOF_INT128__) && __has_include(<Hacl_Curve25519_51.h>)
#include <Hacl_Curve25519_51.h>
#define WG_HACL_DH
#if defined(__x86_64__) && __has_include(<Hacl_Curve25519_64.h>) && __has_include(<curve25519-inline.h>)
#include <Hacl_Curve25519_64.h>
#define WG_HACL_DH_64
#endif
#endif

#if __has_include(<Hacl_Hash_Blake2s.h>)
#include <Hacl_Hash_Blake2s.h>
#define WG_HACL_HASH Hacl_Hash_Blake2s_hash_with_key
#elif __has_include(<Hacl_Hash_Blake2.h>)
#include <Hacl_Hash_Blake2.h>
#define WG_HACL_HASH Hacl_Blake2s_32_blake2s
#elif __has_include(<Hacl_Blake2s_32.h>)
#include <Hacl_Blake2s_32.h>
#define WG_HACL_HASH Hacl_Blake2s_32_blake2s
#endif
}

#if !defined(WG_HACL_AEAD) && !defined(WG_HACL_DH) && !defined(WG_HACL_HASH)
#error "no header of HACL* is in the include path"
#endif

namespace wg::inline WG_ABI {
namespace hacl {
namespace detail {

/// HACL* promises to leave its inputs alone, by proof if not by type.
inline byte* input(byte const* data) noexcept { return const_cast<byte*>(data); }
inline std::uint32_t size_of(bytes_view data) noexcept { return static_cast<std::uint32_t>(data.size()); }

// What its code leaves below the caller's frame, which it does not wipe. About 2600, 800 and 400 in g++ 12.
inline constexpr std::size_t aead_stack_bytes = 3072, dh_stack_bytes = 2048, hash_stack_bytes = 1024;

struct message {
    bytes dst;       ///< without the tag
    bytes_view src;  ///< likewise
    byte* tag;
    bytes_view aad;
    byte* key;
    byte* nonce;
};

// The order of arguments changed with the names; which one a distribution has, the type of its sealing says.
using seal_before_2024 = void(byte* key, byte* nonce, std::uint32_t, byte* aad, std::uint32_t, byte* plain,
                              byte* cipher, byte* tag);
using seal_since_2024 = void(byte* cipher, byte* tag, byte* plain, std::uint32_t, byte* aad, std::uint32_t, byte* key,
                             byte* nonce);
using open_function = std::uint32_t(byte*, byte*, std::uint32_t, byte*, std::uint32_t, byte*, byte*, byte*);

template <class Seal> struct aead_code {
    Seal* seal;
    open_function* open;
};
template <class Seal> aead_code(Seal*, open_function*) -> aead_code<Seal>;

inline void seal(aead_code<seal_before_2024> by, message const& m) noexcept {
    by.seal(m.key, m.nonce, size_of(m.aad), input(m.aad.data()), size_of(m.src), input(m.src.data()), m.dst.data(),
            m.tag);
}
inline void seal(aead_code<seal_since_2024> by, message const& m) noexcept {
    by.seal(m.dst.data(), m.tag, input(m.src.data()), size_of(m.src), input(m.aad.data()), size_of(m.aad), m.key,
            m.nonce);
}
inline bool open(aead_code<seal_before_2024> by, message const& m) noexcept {
    return by.open(m.key, m.nonce, size_of(m.aad), input(m.aad.data()), size_of(m.src), m.dst.data(),
                   input(m.src.data()), m.tag) == 0;
}
inline bool open(aead_code<seal_since_2024> by, message const& m) noexcept {
    return by.open(m.dst.data(), input(m.src.data()), size_of(m.src), input(m.aad.data()), size_of(m.aad), m.key,
                   m.nonce, m.tag) == 0;
}

using digest_before_2024 = void(std::uint32_t, byte* out, std::uint32_t, byte* message, std::uint32_t, byte* key);
using digest_since_2024 = void(byte* out, std::uint32_t, byte* message, std::uint32_t, byte* key, std::uint32_t);

inline void digest(digest_before_2024* by, bytes out, bytes_view key, bytes_view message) noexcept {
    by(size_of(out), out.data(), size_of(message), input(message.data()), size_of(key), input(key.data()));
}
inline void digest(digest_since_2024* by, bytes out, bytes_view key, bytes_view message) noexcept {
    by(out.data(), size_of(out), input(message.data()), size_of(message), input(key.data()), size_of(key));
}

} // namespace detail

#ifdef WG_HACL_AEAD
class aead {
public:
    explicit aead(bundled::cpu set = bundled::chosen_cpu()) noexcept : set_(set) {}

    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes && src.size() <= largest);
        auto nonce = nonce_of(counter);
        seal(detail::message{dst.first(src.size()), src, dst.data() + src.size(), aad,
                             detail::input(key.expose().data()), nonce.data()});
        bundled::wipe_stack<detail::aead_stack_bytes>();
    }
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes && dst.size() <= largest);
        auto nonce = nonce_of(counter);
        bool const genuine = open(detail::message{dst, src.first(dst.size()), detail::input(src.data() + dst.size()),
                                                  aad, detail::input(key.expose().data()), nonce.data()});
        bundled::wipe_stack<detail::aead_stack_bytes>();
        if (!genuine) fill_zero(dst);
        return genuine;
    }
    /// Bundled: no tree has it.
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        bundled::aead{}.hchacha20(out, key, nonce);
    }

private:
    static constexpr std::size_t largest = 0xffffffff - 16; ///< HACL* counts in 32 bits

    static byte_array<12> nonce_of(std::uint64_t counter) noexcept {
        byte_array<12> nonce{};
        store_le64(nonce.data() + 4, counter);
        return nonce;
    }

    // On x86-64 both vectors want AVX at least, which whoever has AVX2 has; NEON belongs to aarch64.
    bool vectors() const noexcept {
#ifdef __x86_64__
        return bundled::has(set_, bundled::cpu::avx2);
#else
        return true;
#endif
    }

    void seal(detail::message const& m) const noexcept {
#if defined(WG_HACL_AEAD_256)
        if (vectors()) return detail::seal(detail::aead_code WG_HACL_AEAD_256, m);
#elif defined(WG_HACL_AEAD_128)
        if (vectors()) return detail::seal(detail::aead_code WG_HACL_AEAD_128, m);
#endif
        detail::seal(detail::aead_code WG_HACL_AEAD, m);
    }
    bool open(detail::message const& m) const noexcept {
#if defined(WG_HACL_AEAD_256)
        if (vectors()) return detail::open(detail::aead_code WG_HACL_AEAD_256, m);
#elif defined(WG_HACL_AEAD_128)
        if (vectors()) return detail::open(detail::aead_code WG_HACL_AEAD_128, m);
#endif
        return detail::open(detail::aead_code WG_HACL_AEAD, m);
    }

    bundled::cpu set_;
};
#else
using aead = bundled::aead;
#endif

#ifdef WG_HACL_DH
class x25519_dh {
public:
    explicit x25519_dh(bundled::cpu set = bundled::chosen_cpu()) noexcept : set_(set) {}

    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
        byte* const k = detail::input(scalar.expose().data());
        secret<key_bytes> product; // HACL* wants out apart from its inputs
        bool const good = multiply(product.expose().data(), k, detail::input(point.data()));
        bundled::wipe_stack<detail::dh_stack_bytes>();
        out.assign(product);
        return good;
    }
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
        byte* const k = detail::input(scalar.expose().data());
#ifdef WG_HACL_DH_64
        if (bundled::has(set_, bundled::cpu::adx))
            Hacl_Curve25519_64_secret_to_public(out.data(), k);
        else
#endif
            Hacl_Curve25519_51_secret_to_public(out.data(), k);
        bundled::wipe_stack<detail::dh_stack_bytes>();
    }

private:
    bool multiply(byte* out, byte* scalar, byte* point) const noexcept {
#ifdef WG_HACL_DH_64
        if (bundled::has(set_, bundled::cpu::adx)) return Hacl_Curve25519_64_ecdh(out, scalar, point);
#endif
        return Hacl_Curve25519_51_ecdh(out, scalar, point);
    }

    [[maybe_unused]] bundled::cpu set_;
};
using dh = x25519_dh; // a type cannot be named as its member
#else
using dh = bundled::dh;
#endif

#ifdef WG_HACL_HASH
class hash {
public:
    void blake2s(bytes out, bytes_view key, bytes_view a, bytes_view b) const noexcept {
        WG_ASSERT(!out.empty() && out.size() <= 32 && key.size() <= 32);
        if (a.empty() || b.empty()) {
            detail::digest(WG_HACL_HASH, out, key, a.empty() ? b : a);
        } else if (a.size() + b.size() <= joined_bytes) {
            byte joined[joined_bytes]; // its streaming functions want a heap
            std::memcpy(joined, a.data(), a.size());
            std::memcpy(joined + a.size(), b.data(), b.size());
            detail::digest(WG_HACL_HASH, out, key, bytes_view(joined, a.size() + b.size()));
            wipe(joined);
        } else {
            return bundled::hash{}.blake2s(out, key, a, b);
        }
        bundled::wipe_stack<detail::hash_stack_bytes>();
    }

private:
    static constexpr std::size_t joined_bytes = 256; ///< more than the protocol ever joins
};
#else
using hash = bundled::hash;
#endif

static_assert(aead_backend<aead> && dh_backend<dh> && hash_backend<hash>);

} // namespace hacl
} // namespace wg::inline WG_ABI

#undef WG_HACL_AEAD
#undef WG_HACL_AEAD_256
#undef WG_HACL_AEAD_128
#undef WG_HACL_DH
#undef WG_HACL_DH_64
#undef WG_HACL_HASH

#endif
#endif
#ifdef WG_WITH_LIBSODIUM
// SPDX-License-Identifier: BSL-1.0
// libsodium's ChaCha20-Poly1305 and X25519 as policies; it has no BLAKE2s, so that is the bundled one. Layer 2; any
// thread. Optional: wg.hpp includes this file where WG_WITH_LIBSODIUM is defined; link with -lsodium, 1.0.12 or later.
//
//     struct my_policies : wg::default_policies {
//         using aead = wg::libsodium::aead;
//         using dh = wg::libsodium::dh;
//     };
#ifndef WG_BACKENDS_LIBSODIUM_HPP
#define WG_BACKENDS_LIBSODIUM_HPP


#include <sodium.h>

namespace wg::inline WG_ABI {
namespace libsodium {

/// What chooses the code for this processor, once; without it all is done by the portable code. Any thread may come
/// first.
class library {
protected:
    library() noexcept {
        if (sodium_init() < 0) return; // there are no random bytes: nothing here wants any
    }
};

/// libsodium wipes its named temporaries, but not what was spilled below the caller's frame: parts of keys and of
/// products stay there.
inline constexpr std::size_t aead_stack_bytes = 3072, dh_stack_bytes = 1024;

using hash = bundled::hash;

class aead : library {
public:
    aead() noexcept = default;

    void seal(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
              secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(dst.size() == src.size() + tag_bytes);
        auto const nonce = nonce_of(counter);
        crypto_aead_chacha20poly1305_ietf_encrypt(dst.data(), nullptr, src.data(), src.size(), aad.data(), aad.size(),
                                                  nullptr, nonce.data(), key.expose().data());
        bundled::wipe_stack<aead_stack_bytes>();
    }
    [[nodiscard]] bool open(bytes dst, bytes_view src, bytes_view aad, std::uint64_t counter,
                            secret<key_bytes> const& key) const noexcept {
        WG_ASSERT(src.size() == dst.size() + tag_bytes);
        auto const nonce = nonce_of(counter);
        bool const genuine = crypto_aead_chacha20poly1305_ietf_decrypt(
                                 dst.data(), nullptr, nullptr, src.data(), src.size(), aad.data(), aad.size(),
                                 nonce.data(), key.expose().data()) == 0;
        bundled::wipe_stack<aead_stack_bytes>();
        if (!genuine) fill_zero(dst); // not documented to be so
        return genuine;
    }
    void hchacha20(secret<key_bytes>& out, secret<key_bytes> const& key,
                   std::span<byte const, 16> nonce) const noexcept {
        crypto_core_hchacha20(out.expose().data(), nonce.data(), key.expose().data(), nullptr);
        bundled::wipe_stack<aead_stack_bytes>();
    }

private:
    static byte_array<crypto_aead_chacha20poly1305_ietf_NPUBBYTES> nonce_of(std::uint64_t counter) noexcept {
        byte_array<crypto_aead_chacha20poly1305_ietf_NPUBBYTES> nonce{};
        store_le64(nonce.data() + 4, counter);
        return nonce;
    }
};

static_assert(aead_backend<aead>);

class x25519_dh : library {
public:
    x25519_dh() noexcept = default;

    [[nodiscard]] bool dh(secret<key_bytes>& out, secret<key_bytes> const& scalar, key_view point) const noexcept {
        bool const good =
            crypto_scalarmult_curve25519(out.expose().data(), scalar.expose().data(), point.data()) == 0;
        bundled::wipe_stack<dh_stack_bytes>();
        if (!good) out.clear(); // a point of low order is refused before anything is written
        return good;
    }
    void dh_public(public_key& out, secret<key_bytes> const& scalar) const noexcept {
        crypto_scalarmult_curve25519_base(out.data(), scalar.expose().data());
        bundled::wipe_stack<dh_stack_bytes>();
    }
};
using dh = x25519_dh; // a type cannot be named as its member

static_assert(dh_backend<dh>);

} // namespace libsodium
} // namespace wg::inline WG_ABI

#endif
#endif
#if __STDC_HOSTED__
// SPDX-License-Identifier: BSL-1.0
// A network and hosts in memory: TUN devices and sockets for tests, samples and simulations. Layer 2; one thread.
#ifndef WG_BACKENDS_LOOPBACK_HPP
#define WG_BACKENDS_LOOPBACK_HPP


#include <algorithm>
#include <deque>
#include <vector>

namespace wg::inline WG_ABI::loopback {

/// A TUN device whose host is the program: what is put in is read by the engine, what that writes can be taken out.
class tun {
public:
    static constexpr std::size_t headroom = 0;

    explicit tun(std::size_t mtu_bytes = default_mtu_bytes) noexcept : mtu_(mtu_bytes) {}

    /// The host sends a packet into the tunnel.
    void put(bytes_view packet_data) { to_engine_.emplace_back(packet_data.begin(), packet_data.end()); }
    /// The oldest packet that came out of the tunnel; empty: none.
    std::vector<byte> take() {
        if (to_host_.empty()) return {};
        std::vector<byte> oldest = std::move(to_host_.front());
        to_host_.pop_front();
        return oldest;
    }
    bool ready() const noexcept { return !to_engine_.empty(); }

    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t count = 0;
        for (; count < packets.size() && !to_engine_.empty(); ++count) {
            std::vector<byte> const& next = to_engine_.front();
            packet& p = packets[count];
            p.length = static_cast<std::uint32_t>(std::min<std::size_t>(next.size(), p.capacity - p.offset));
            copy(p.view(), bytes_view(next).first(p.length));
            to_engine_.pop_front();
        }
        return count;
    }
    std::size_t write(std::span<packet> packets) noexcept {
        for (packet const& p : packets) to_host_.emplace_back(p.view().begin(), p.view().end());
        return packets.size();
    }
    std::size_t mtu() const noexcept { return mtu_; }

private:
    std::deque<std::vector<byte>> to_engine_, to_host_;
    std::size_t mtu_;
};

/// A datagram on the way.
struct flying {
    endpoint from{}, to{};
    std::uint8_t tos = 0;
    std::vector<byte> payload;
};

/// What joins the sockets: everything sent lies here until its receiver looks. A test may look first, and meddle.
struct network {
    std::deque<flying> in_flight;
};

/// A socket at one address of a network.
class udp {
public:
    static constexpr std::size_t receive_bytes = 2048;

    udp(network& net, ip_address const& address) noexcept : network_(&net), address_(address) {}

    result<std::uint16_t> open(std::uint16_t port) noexcept {
        port_ = port != 0 ? port : std::uint16_t{51820};
        return port_;
    }
    void close() noexcept { port_ = 0; }
    bool ready() const noexcept { return find() != network_->in_flight.end(); }

    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        std::size_t count = 0;
        for (auto at = find(); count < datagrams.size() && at != network_->in_flight.end(); at = find(), ++count) {
            datagram& d = datagrams[count];
            d.length = static_cast<std::uint32_t>(std::min<std::size_t>(at->payload.size(), d.capacity - d.offset));
            copy(d.view(), bytes_view(at->payload).first(d.length));
            d.where = {at->from, {at->to.address, 0}};
            d.tos = at->tos;
            network_->in_flight.erase(at);
        }
        return count;
    }
    std::size_t send(std::span<datagram> datagrams) noexcept {
        for (datagram& d : datagrams) {
            network_->in_flight.push_back(
                {{address_, port_, 0}, d.where.remote, d.tos, {d.view().begin(), d.view().end()}});
            d.why = status::ok;
        }
        return datagrams.size();
    }

private:
    std::deque<flying>::iterator find() const noexcept {
        return std::find_if(network_->in_flight.begin(), network_->in_flight.end(),
                            [this](flying const& f) { return port_ != 0 && f.to == endpoint{address_, port_, 0}; });
    }

    network* network_;
    ip_address address_;
    std::uint16_t port_ = 0;
};

/// A waiter for hosts that share a thread: it never sleeps, it says what there is.
class waiter {
public:
    waiter(tun const& t, udp const& u) noexcept : tun_(&t), udp_(&u) {}
    readiness wait(instant) noexcept { return {tun_->ready(), udp_->ready(), 0}; }
    void wake() noexcept {}

private:
    tun const* tun_;
    udp const* udp_;
};

static_assert(tun_device<tun> && udp_socket<udp> && wg::waiter<waiter>);

} // namespace wg::inline WG_ABI::loopback

#endif
#endif
// SPDX-License-Identifier: BSL-1.0
// Observers: nobody, or a function of the host. Layer 2; called by whichever thread caused the event.
#ifndef WG_BACKENDS_OBSERVERS_HPP
#define WG_BACKENDS_OBSERVERS_HPP


namespace wg::inline WG_ABI {

/// Nobody looks: the calls vanish.
struct no_observer {
    static constexpr bool enabled = false;
    constexpr void event(event_id, std::uint32_t, std::uint64_t) noexcept {}
};
static_assert(observer<no_observer>);

/// Calls `function(context, id, peer_number, value)`, or nothing while there is none.
struct function_observer {
    static constexpr bool enabled = true;
    using function_type = void (*)(void* context, event_id, std::uint32_t peer_number, std::uint64_t value) noexcept;

    function_type function = nullptr;
    void* context = nullptr;

    void event(event_id id, std::uint32_t peer_number, std::uint64_t value) noexcept {
        if (function != nullptr) function(context, id, peer_number, value);
    }
};
static_assert(observer<function_observer>);

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that is used by one thread: no locks, no size. Layer 2.
#ifndef WG_BACKENDS_ONE_THREAD_HPP
#define WG_BACKENDS_ONE_THREAD_HPP


namespace wg::inline WG_ABI {

struct one_thread {
    static constexpr bool parallel = false;
    struct mutex {
        constexpr void lock() noexcept {}
        constexpr void unlock() noexcept {}
    };
};
static_assert(threads<one_thread>);

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The threads policy of a device that several threads use: the standard library's mutex. Layer 2.
#ifndef WG_BACKENDS_STD_THREADS_HPP
#define WG_BACKENDS_STD_THREADS_HPP


#include <mutex>

// libstdc++ for a machine without threads has the header, but not the class.
#if !defined(__GLIBCXX__) || defined(_GLIBCXX_HAS_GTHREADS)

namespace wg::inline WG_ABI {

struct std_threads {
    static constexpr bool parallel = true;
    class mutex {
    public:
        /// std::mutex::lock throws only for errors of the programmer; those end the program here.
        void lock() noexcept { mutex_.lock(); }
        void unlock() noexcept { mutex_.unlock(); }

    private:
        std::mutex mutex_;
    };
};
static_assert(threads<std_threads>);

} // namespace wg::inline WG_ABI

#endif
#endif
// SPDX-License-Identifier: BSL-1.0
// Where a device's memory comes from: a fixed amount inside the device, or a heap that grows. Layer 2; used by
// the device under its lock.
#ifndef WG_BACKENDS_STORAGE_HPP
#define WG_BACKENDS_STORAGE_HPP

// SPDX-License-Identifier: BSL-1.0
// A fixed number of objects inside the object that owns them: no heap. Layer 0; one thread at a time.
#ifndef WG_BASE_STATIC_POOL_HPP
#define WG_BASE_STATIC_POOL_HPP


#include <memory>
#include <new>
#include <utility>

namespace wg::inline WG_ABI {

/// Memory of a pool's object while nobody has it: the link to the next free one.
template <class T> union pool_slot {
    pool_slot* next_free;
    alignas(T) byte memory[sizeof(T)];
};

/// Objects on a list of free slots. The pools of all storages share this; they differ in where slots come from.
template <class T> class free_slots {
public:
    void add(std::span<pool_slot<T>> slots) noexcept {
        for (std::size_t i = slots.size(); i-- > 0;) push(&slots[i]);
    }
    T* take() noexcept {
        if (first_ == nullptr) return nullptr;
        pool_slot<T>* const slot = first_;
        first_ = slot->next_free;
        --count_;
        return ::new (static_cast<void*>(slot->memory)) T{};
    }
    /// Destroys and wipes: what held a key once holds nothing now, whatever the destructor forgot.
    void put(T* object) noexcept {
        std::destroy_at(object);
        auto* const slot = reinterpret_cast<pool_slot<T>*>(object);
        wipe(slot->memory, sizeof slot->memory);
        push(slot);
    }
    std::size_t count() const noexcept { return count_; }

private:
    void push(pool_slot<T>* slot) noexcept {
        slot->next_free = first_;
        first_ = slot;
        ++count_;
    }

    pool_slot<T>* first_ = nullptr;
    std::size_t count_ = 0;
};

/// `Capacity` objects of T in place; models `pool_of` of policy.hpp.
template <class T, std::size_t Capacity> class static_pool {
public:
    static_pool() noexcept { free_.add(slots_); }
    static_pool(static_pool const&) = delete;
    static_pool& operator=(static_pool const&) = delete;

    T* acquire() noexcept { return free_.take(); }
    void release(T* object) noexcept { free_.put(object); }
    bool reserve(std::size_t count) noexcept { return free_.count() >= count; }

private:
    pool_slot<T> slots_[Capacity];
    free_slots<T> free_;
};

} // namespace wg::inline WG_ABI

#endif

#include <algorithm>
#include <cstdlib>
#include <new>

namespace wg::inline WG_ABI {

/// Capacities of a node on a microcontroller: one peer, no heap.
struct small_capacity {
    static constexpr std::size_t max_peers = 1;
    static constexpr std::size_t max_allowed_ips = 4;
    static constexpr std::size_t max_staged_packets = 1;
    static constexpr std::size_t max_staged_packets_per_peer = 1;
    static constexpr std::size_t max_queued_handshakes = 2;
    static constexpr std::size_t max_limited_sources = 8;
    static constexpr std::size_t replay_bits = 128;
};

/// Capacities of a host: peers and allowed IPs grow with the configuration, packets and handshakes are capped.
struct host_capacity {
    static constexpr std::size_t max_peers = 0;
    static constexpr std::size_t max_allowed_ips = 0;
    static constexpr std::size_t max_staged_packets = 2048; ///< of 2 KiB
    static constexpr std::size_t max_staged_packets_per_peer = 128;
    static constexpr std::size_t max_queued_handshakes = 4096;
    static constexpr std::size_t max_limited_sources = 8192;
    static constexpr std::size_t replay_bits = 8192;
};

/// All memory inside the device: `sizeof(device)` is what it takes, and the device is the region that holds secrets.
template <class Capacity = small_capacity> struct static_storage : Capacity {
    template <class T, std::size_t Count> struct pool : static_pool<T, Count> {
        explicit pool(static_storage&) noexcept {}
    };
    template <class T, std::size_t Count> using secret_pool = pool<T, Count>;

    template <class T, std::size_t Count> class array {
        static_assert(Count != 0, "this storage does not grow; an engine's buffers need one that does");

    public:
        explicit array(static_storage&) noexcept {}
        bool resize(std::size_t count) noexcept {
            if (count > Count) return false;
            std::fill_n(elements_, count, T{});
            size_ = count;
            return true;
        }
        std::span<T> view() noexcept { return {elements_, size_}; }

    private:
        T elements_[Count]{};
        std::size_t size_ = 0;
    };
};

/// Blocks from the heap, wiped and given back all at once. A region is what `growing_storage` puts secrets into; one
/// that is locked and kept out of dumps comes from the operating system.
class heap_region {
public:
    heap_region() noexcept = default;
    heap_region(heap_region&& other) noexcept : last_(std::exchange(other.last_, nullptr)) {}
    heap_region& operator=(heap_region&&) = delete;
    ~heap_region() {
        while (last_ != nullptr) {
            block* const dying = std::exchange(last_, last_->before);
            wipe(dying, dying->size_bytes);
            ::operator delete(dying, std::align_val_t{64});
        }
    }

    /// Zeroed memory that lives as long as the region, aligned to 64 bytes; nullptr: no memory.
    void* allocate(std::size_t size_bytes) noexcept {
        std::size_t const whole = (size_bytes + sizeof(block) + 63) / 64 * 64;
        void* const memory = ::operator new(whole, std::align_val_t{64}, std::nothrow); // C's is not everywhere
        if (memory == nullptr) return nullptr;
        std::memset(memory, 0, whole);
        last_ = ::new (memory) block{last_, whole};
        return last_ + 1;
    }

private:
    struct alignas(64) block {
        block* before;
        std::size_t size_bytes;
    };
    block* last_ = nullptr;
};

/// Memory that grows in slabs and is used again, never given back before the device dies.
/// `Region` has `void* allocate(size_bytes)`: zeroed, aligned to 64 bytes, nullptr when there is none.
template <class Region = heap_region, class Capacity = host_capacity> class growing_storage : public Capacity {
    template <class T, std::size_t Limit, class From> class slab_pool {
    public:
        explicit slab_pool(From& region) noexcept : region_(region) {}
        slab_pool(slab_pool const&) = delete;
        slab_pool& operator=(slab_pool const&) = delete;

        T* acquire() noexcept { return reserve(1) ? free_.take() : nullptr; }
        void release(T* object) noexcept { free_.put(object); }
        bool reserve(std::size_t count) noexcept {
            while (free_.count() < count) {
                std::size_t add = std::clamp<std::size_t>(made_, 1, slab_count);
                if (Limit != 0) add = std::min(add, Limit - made_);
                if (add == 0) return false;
                auto* const slab = static_cast<pool_slot<T>*>(region_.allocate(add * sizeof(pool_slot<T>)));
                if (slab == nullptr) return false;
                free_.add({slab, add});
                made_ += add;
            }
            return true;
        }

    private:
        static constexpr std::size_t slab_count = std::max<std::size_t>(1, 16384 / sizeof(pool_slot<T>));
        From& region_;
        free_slots<T> free_;
        std::size_t made_ = 0;
    };

public:
    template <class T, std::size_t Limit> struct pool : slab_pool<T, Limit, heap_region> {
        explicit pool(growing_storage& storage) noexcept : slab_pool<T, Limit, heap_region>(storage.plain_) {}
    };
    template <class T, std::size_t Limit> struct secret_pool : slab_pool<T, Limit, Region> {
        explicit secret_pool(growing_storage& storage) noexcept : slab_pool<T, Limit, Region>(storage.secrets_) {}
    };

    template <class T, std::size_t Limit> class array {
    public:
        explicit array(growing_storage&) noexcept {}
        array(array&& other) noexcept : elements_(std::exchange(other.elements_, {})) {}
        array& operator=(array&& other) noexcept {
            std::swap(elements_, other.elements_);
            return *this;
        }
        ~array() {
            std::destroy(elements_.begin(), elements_.end());
            std::free(elements_.data());
        }
        bool resize(std::size_t count) noexcept {
            if (Limit != 0 && count > Limit) return false;
            auto* const memory = static_cast<T*>(std::calloc(std::max<std::size_t>(count, 1), sizeof(T)));
            if (memory == nullptr) return false;
            std::uninitialized_value_construct_n(memory, count);
            std::destroy(elements_.begin(), elements_.end());
            std::free(elements_.data());
            elements_ = {memory, count};
            return true;
        }
        std::span<T> view() noexcept { return elements_; }

    private:
        std::span<T> elements_;
    };

    growing_storage() noexcept = default;
    explicit growing_storage(Region&& secrets) noexcept : secrets_(std::move(secrets)) {}
    growing_storage(growing_storage&&) noexcept = default;

    Region const& secrets() const noexcept { return secrets_; }

private:
    heap_region plain_;
    Region secrets_;
};

static_assert(storage<static_storage<>> && storage<growing_storage<>>);

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The cross-platform configuration protocol, as wg(8) speaks it over a stream, without the stream.
// Source: https://www.wireguard.com/xplatform/. Layer 5 (control); a session is used by one thread at a time.
//
// One session per connection. It takes what was read in pieces of any size and appends what is to be answered:
//
//     wg::uapi::session session{if_nametoindex};
//     wg::secret_buffer reply;
//     while (bytes const chunk = read_some(socket, memory); !chunk.empty()) {
//         wg::status const s = session.feed(chunk, target, reply);    // target: see the concept below
//         write_all(socket, reply.view()), reply.clear(), wg::wipe(chunk.data(), chunk.size());
//         if (s != wg::status::ok) break;                             // answered; close
//     }
//
// An operation is `set=1` or `get=1`, lines `key=value`, and an empty line; a connection may carry many.
// - A `set` is read to its end before any of it is applied. The first error in it is the answer, nothing changes, and
//   the rest up to the empty line is skipped. A connection that ends before the empty line changes nothing.
// - Errors are `errno=-N` for a set and `errno=N` for a get: wg(8) understands only these.
// - Where an operation should begin but another line stands, no sign is right for sure; the answer is
//   `errno=-EPROTO`, which wg(8) reports as a protocol error in both cases, and the connection ends: nothing says
//   where the next operation would begin.
// - Lines longer than any valid one are a protocol error. Pending changes and replies have an upper bound too.
// What may hold a key, lines, changes and replies, is wiped as soon as it has been used.
#ifndef WG_CONTROL_UAPI_HPP
#define WG_CONTROL_UAPI_HPP

// SPDX-License-Identifier: BSL-1.0
// Memory that grows and may hold keys: wiped before it moves on, so that nothing stays behind on the heap.
// Layer 5 (control); one thread at a time. Nothing throws: whoever appends is told when there is no memory.
#ifndef WG_CONTROL_SECRET_BUFFER_HPP
#define WG_CONTROL_SECRET_BUFFER_HPP


#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace wg::inline WG_ABI {

/// Where the buffers of this layer get their memory from. A host without a heap gives its own type with these members.
struct heap_memory {
    /// `size` bytes, aligned for any object; nullptr if there are none left.
    static void* acquire(std::size_t size) noexcept { return std::malloc(size); }
    /// Takes back what `acquire(size)` gave. It is wiped already.
    static void release(void* memory, std::size_t) noexcept { std::free(memory); }
};

/// A growing array of elements that may hold secrets. Storage that it leaves, by growth, `truncate`, `clear` or
/// death, is wiped first, the elements' own destructors aside.
template <class Element, class Memory = heap_memory> class secret_vector {
    static_assert(std::is_nothrow_move_constructible_v<Element> && alignof(Element) <= alignof(std::max_align_t));

public:
    secret_vector() noexcept = default;
    secret_vector(secret_vector&& other) noexcept
        : elements_(std::exchange(other.elements_, nullptr)), size_(std::exchange(other.size_, 0)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    secret_vector& operator=(secret_vector&& other) noexcept {
        if (this != &other) {
            release();
            elements_ = std::exchange(other.elements_, nullptr);
            size_ = std::exchange(other.size_, 0);
            capacity_ = std::exchange(other.capacity_, 0);
        }
        return *this;
    }
    ~secret_vector() { release(); }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    std::size_t capacity() const noexcept { return capacity_; }
    std::span<Element> view() noexcept { return {elements_, size_}; }
    std::span<Element const> view() const noexcept { return {elements_, size_}; }

    /// Appends by moving. False: no memory; the vector and `element` are unchanged.
    [[nodiscard]] bool append(Element&& element) noexcept {
        if (!reserve_more(1)) return false;
        std::construct_at(elements_ + size_, std::move(element));
        ++size_;
        return true;
    }

    /// Appends `count` zero elements and returns the first; nullptr: no memory, and nothing has changed.
    [[nodiscard]] Element* extend(std::size_t count) noexcept
        requires std::is_trivially_copyable_v<Element>
    {
        if (!reserve_more(count)) return nullptr;
        Element* const first = elements_ + size_;
        for (std::size_t i = 0; i < count; ++i) std::construct_at(first + i);
        size_ += count;
        return first;
    }

    /// Forgets and wipes all but the first `size` elements, keeping the storage. `size` must not exceed `size()`.
    void truncate(std::size_t size) noexcept {
        WG_ASSERT(size <= size_);
        if (size == size_) return;
        std::destroy_n(elements_ + size, size_ - size);
        wipe(static_cast<void*>(elements_ + size), (size_ - size) * sizeof(Element));
        size_ = size;
    }
    /// Forgets and wipes all elements, keeping the storage for the next.
    void clear() noexcept { truncate(0); }
    /// Forgets and wipes all elements and gives the storage back.
    void release() noexcept {
        if (elements_ == nullptr) return;
        clear();
        Memory::release(elements_, capacity_ * sizeof(Element));
        elements_ = nullptr;
        capacity_ = 0;
    }

private:
    static constexpr std::size_t smallest_elements = (512 + sizeof(Element) - 1) / sizeof(Element);
    static constexpr std::size_t most_elements = static_cast<std::size_t>(PTRDIFF_MAX) / 2 / sizeof(Element);

    bool reserve_more(std::size_t count) noexcept {
        if (count > most_elements || size_ > most_elements - count) return false;
        if (count <= capacity_ - size_) return true;
        std::size_t capacity = 2 * capacity_; // at most 2 * most_elements: no overflow
        if (capacity < size_ + count) capacity = size_ + count;
        if (capacity < smallest_elements) capacity = smallest_elements;
        auto* const elements = static_cast<Element*>(Memory::acquire(capacity * sizeof(Element)));
        if (elements == nullptr) return false;
        std::uninitialized_move_n(elements_, size_, elements);
        std::size_t const size = size_;
        release(); // wipes what was moved from
        elements_ = elements;
        size_ = size;
        capacity_ = capacity;
        return true;
    }

    Element* elements_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

/// Text that may hold keys, and grows: what is to be sent as the answer of a configuration socket.
template <class Memory = heap_memory> class basic_secret_buffer {
public:
    std::size_t size() const noexcept { return text_.size(); }
    bool empty() const noexcept { return text_.empty(); }
    std::string_view text() const noexcept { return {text_.view().data(), text_.size()}; }
    /// The same as bytes, to be sent.
    bytes_view view() const noexcept { return {reinterpret_cast<byte const*>(text_.view().data()), text_.size()}; }

    /// False: no memory; nothing is appended.
    [[nodiscard]] bool append(std::string_view more) noexcept {
        if (more.empty()) return true;
        char* const place = text_.extend(more.size());
        if (place == nullptr) return false;
        std::memcpy(place, more.data(), more.size());
        return true;
    }
    /// Room for `size` more characters, to be written in place; nullptr: no memory.
    [[nodiscard]] char* extend(std::size_t size) noexcept { return text_.extend(size); }

    void truncate(std::size_t size) noexcept { text_.truncate(size); } ///< wipes what is behind `size`
    void clear() noexcept { text_.clear(); }                           ///< wipes; keeps the storage
    void release() noexcept { text_.release(); }                       ///< wipes; gives the storage back

private:
    secret_vector<char, Memory> text_;
};

using secret_buffer = basic_secret_buffer<>;

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Keys, numbers, addresses and endpoints as text, and back: without heap, without locale, without a resolver.
// Sources: RFC 4291 2.2 and RFC 5952 (IPv6 addresses), RFC 4007 11 (zones), RFC 4648 4 (base64).
// Layer 5 (control); pure, any thread.
//
// Nothing here looks a secret up in a table or branches on its digits: keys are read and printed by arithmetic.
//
//     auto const where = wg::text::parse_endpoint("[fe80::1%eth0]:51820", if_nametoindex);
//     if (where) log(wg::text::print(*where).view());
#ifndef WG_CONTROL_TEXT_HPP
#define WG_CONTROL_TEXT_HPP


#include <concepts>
#include <limits>
#include <string_view>

namespace wg::inline WG_ABI::text {

inline constexpr std::size_t hex_key_chars = 2 * key_bytes;
inline constexpr std::size_t base64_key_chars = 44;
inline constexpr std::size_t longest_zone_chars = 63;

/// At most `Capacity` characters, held in place.
template <std::size_t Capacity> class short_text {
public:
    constexpr std::string_view view() const noexcept { return {chars_, size_}; }
    constexpr operator std::string_view() const noexcept { return view(); }
    constexpr char const* c_str() const noexcept { return chars_; }

    constexpr void append(char c) noexcept {
        WG_ASSERT(size_ < Capacity);
        chars_[size_++] = c;
    }
    constexpr void append(std::string_view more) noexcept {
        for (char const c : more) append(c);
    }
    constexpr void append_number(std::uint64_t value, unsigned base = 10) noexcept {
        char digits[20]{}; // 2^64 - 1 has 20 digits
        std::size_t count = 0;
        do {
            auto const digit = static_cast<unsigned>(value % base);
            digits[count++] = static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10);
            value /= base;
        } while (value != 0);
        while (count > 0) append(digits[--count]);
    }

private:
    char chars_[Capacity + 1]{};
    std::size_t size_ = 0;
};

namespace text_detail {

/// All ones if low <= value <= high, else zero. All three are below 2^31: a difference wraps exactly if it is negative.
constexpr std::uint32_t mask_between(std::uint32_t value, std::uint32_t low, std::uint32_t high) noexcept {
    std::uint32_t const at_least_low = low - 1 - value;
    std::uint32_t const at_most_high = value - (high + 1);
    return 0u - ((at_least_low & at_most_high) >> 31);
}

constexpr std::uint32_t code_of(char c) noexcept { return static_cast<unsigned char>(c); }

/// The value of a hexadecimal digit; `valid` becomes zero if it is none.
constexpr std::uint32_t hex_value(char c, std::uint32_t& valid) noexcept {
    std::uint32_t const code = code_of(c);
    std::uint32_t const digit = mask_between(code, '0', '9');
    std::uint32_t const lower = mask_between(code, 'a', 'f');
    std::uint32_t const upper = mask_between(code, 'A', 'F');
    valid &= digit | lower | upper;
    return (digit & (code - '0')) | (lower & (code - 'a' + 10)) | (upper & (code - 'A' + 10));
}

constexpr char hex_digit(std::uint32_t value) noexcept {
    return static_cast<char>('0' + value + (mask_between(value, 10, 15) & ('a' - '0' - 10)));
}

constexpr std::uint32_t base64_value(char c, std::uint32_t& valid) noexcept {
    std::uint32_t const code = code_of(c);
    std::uint32_t const upper = mask_between(code, 'A', 'Z');
    std::uint32_t const lower = mask_between(code, 'a', 'z');
    std::uint32_t const digit = mask_between(code, '0', '9');
    std::uint32_t const plus = mask_between(code, '+', '+');
    std::uint32_t const slash = mask_between(code, '/', '/');
    valid &= upper | lower | digit | plus | slash;
    return (upper & (code - 'A')) | (lower & (code - 'a' + 26)) | (digit & (code - '0' + 52)) | (plus & 62) |
           (slash & 63);
}

constexpr char base64_digit(std::uint32_t value) noexcept {
    std::uint32_t const upper = mask_between(value, 0, 25) & (value + 'A');
    std::uint32_t const lower = mask_between(value, 26, 51) & (value - 26 + 'a');
    std::uint32_t const digit = mask_between(value, 52, 61) & (value - 52 + '0');
    std::uint32_t const plus = mask_between(value, 62, 62) & '+';
    std::uint32_t const slash = mask_between(value, 63, 63) & '/';
    return static_cast<char>(upper | lower | digit | plus | slash);
}

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

} // namespace text_detail

/// Reads `2 * to.size()` hexadecimal digits of either case, and nothing else. False: `to` is of no use.
/// The time depends on the sizes alone.
[[nodiscard]] constexpr bool parse_hex(std::string_view from, bytes to) noexcept {
    if (from.size() != 2 * to.size()) return false;
    std::uint32_t valid = ~0u;
    for (std::size_t i = 0; i < to.size(); ++i) {
        std::uint32_t const high = text_detail::hex_value(from[2 * i], valid);
        to[i] = static_cast<byte>(high << 4 | text_detail::hex_value(from[2 * i + 1], valid));
    }
    return valid != 0;
}

/// Writes `from` as lower-case digits; `to` is twice as long.
constexpr void print_hex(bytes_view from, std::span<char> to) noexcept {
    WG_ASSERT(to.size() == 2 * from.size());
    for (std::size_t i = 0; i < from.size(); ++i) {
        to[2 * i] = text_detail::hex_digit(from[i] >> 4);
        to[2 * i + 1] = text_detail::hex_digit(from[i] & 15u);
    }
}

/// Reads a key as `wg genkey` prints it: 44 characters, the last of them `=`, no stray bits. False: `to` is of no use.
/// The time depends on the size alone.
[[nodiscard]] constexpr bool parse_base64_key(std::string_view from, std::span<byte, key_bytes> to) noexcept {
    if (from.size() != base64_key_chars || from.back() != '=') return false;
    std::uint32_t valid = ~0u;
    std::uint32_t bits = 0; // the last 4 sextets or less, 24 bits
    for (std::size_t i = 0; i < base64_key_chars - 1; ++i) {
        bits = (bits << 6 | text_detail::base64_value(from[i], valid)) & 0xffffff;
        if (i % 4 != 3) continue;
        to[i / 4 * 3] = static_cast<byte>(bits >> 16);
        to[i / 4 * 3 + 1] = static_cast<byte>(bits >> 8);
        to[i / 4 * 3 + 2] = static_cast<byte>(bits);
    }
    // 43 sextets: after ten whole groups there are 18 bits left, 16 of them the last two bytes
    to[30] = static_cast<byte>(bits >> 10);
    to[31] = static_cast<byte>(bits >> 2);
    return (valid & text_detail::mask_between(bits & 3, 0, 0)) != 0;
}

/// The reverse. Of a secret key only where its text is wiped, and never into a log.
constexpr void print_base64_key(std::span<byte const, key_bytes> from, std::span<char, base64_key_chars> to) noexcept {
    for (std::size_t i = 0; i < base64_key_chars - 1; ++i) {
        std::size_t const first = i * 6 / 8; // at most 31
        byte const second = first + 1 < key_bytes ? from[first + 1] : byte{0};
        auto const pair = static_cast<std::uint32_t>(from[first] << 8 | second);
        to[i] = text_detail::base64_digit(pair >> (10 - i * 6 % 8) & 63);
    }
    to[base64_key_chars - 1] = '=';
}

/// A public key for people.
constexpr short_text<base64_key_chars> print_base64_key(std::span<byte const, key_bytes> from) noexcept {
    char chars[base64_key_chars]{};
    print_base64_key(from, chars);
    short_text<base64_key_chars> text;
    text.append({chars, base64_key_chars});
    return text;
}

/// Reads decimal digits and nothing else: no sign, no space, not empty. `invalid` also if it is too large.
template <std::unsigned_integral Number> constexpr result<Number> parse_decimal(std::string_view from) noexcept {
    if (from.empty()) return status::invalid;
    constexpr Number most = std::numeric_limits<Number>::max();
    Number value = 0;
    for (char const c : from) {
        if (!text_detail::is_digit(c)) return status::invalid;
        auto const digit = static_cast<Number>(c - '0');
        if (value > most / 10 || (value == most / 10 && digit > most % 10)) return status::invalid;
        value = static_cast<Number>(value * 10 + digit);
    }
    return value;
}

constexpr short_text<20> print_decimal(std::uint64_t value) noexcept {
    short_text<20> text;
    text.append_number(value);
    return text;
}

namespace text_detail {

/// As `parse_decimal`, but without superfluous zeros: some programs would read those as octal.
constexpr result<std::uint8_t> parse_octet(std::string_view from) noexcept {
    if (from.size() > 1 && from.front() == '0') return status::invalid;
    return parse_decimal<std::uint8_t>(from);
}

constexpr bool parse_v4(std::string_view from, std::span<byte, 4> to) noexcept {
    for (std::size_t i = 0; i < 4; ++i) {
        std::size_t const end = i < 3 ? from.find('.') : from.size();
        if (end == std::string_view::npos) return false;
        auto const octet = parse_octet(from.substr(0, end));
        if (!octet) return false;
        to[i] = *octet;
        from.remove_prefix(i < 3 ? end + 1 : end);
    }
    return true;
}

/// One to four hexadecimal digits.
constexpr bool parse_group(std::string_view from, std::uint16_t& group) noexcept {
    if (from.empty() || from.size() > 4) return false;
    std::uint32_t valid = ~0u;
    std::uint32_t value = 0;
    for (char const c : from) value = value << 4 | hex_value(c, valid);
    group = static_cast<std::uint16_t>(value);
    return valid != 0;
}

constexpr bool parse_v6(std::string_view from, byte_array<16>& to) noexcept {
    constexpr std::size_t none = 17; // no offset in an address, not even its end
    std::size_t filled = 0;
    std::size_t gap = none; // where `::` stands
    if (from.starts_with("::")) {
        gap = 0;
        from.remove_prefix(2);
    }
    while (!from.empty()) {
        std::size_t const end = from.find(':');
        std::string_view const part = from.substr(0, end);
        if (end == std::string_view::npos && part.find('.') != std::string_view::npos) {
            if (filled > 12 || !parse_v4(part, std::span<byte, 16>(to).subspan(filled).first<4>())) return false;
            filled += 4;
            break;
        }
        std::uint16_t group = 0;
        if (filled > 14 || !parse_group(part, group)) return false;
        store_be16(to.data() + filled, group);
        filled += 2;
        if (end == std::string_view::npos) break;
        from.remove_prefix(end + 1);
        if (from.empty()) return false; // a lone colon at the end
        if (from.front() != ':') continue;
        if (gap != none) return false;
        gap = filled;
        from.remove_prefix(1);
    }
    if (gap == none) return filled == 16;
    if (filled == 16) return false; // `::` stands for one group at least
    for (std::size_t i = 0; i < filled - gap; ++i) to[15 - i] = to[filled - 1 - i];
    for (std::size_t i = gap; i < gap + (16 - filled); ++i) to[i] = 0;
    return true;
}

} // namespace text_detail

/// Reads `192.0.2.1` or `2001:db8::1`, in any spelling of RFC 4291, without a zone.
constexpr result<ip_address> parse_address(std::string_view from) noexcept {
    ip_address address;
    bool const v6 = from.find(':') != std::string_view::npos;
    address.kind = v6 ? family::v6 : family::v4;
    bool const good = v6 ? text_detail::parse_v6(from, address.octets)
                         : text_detail::parse_v4(from, std::span<byte, 16>(address.octets).first<4>());
    if (!good) return status::invalid;
    return address;
}

/// Reads `address/bits`, or an address alone for all of its bits. Host bits are masked.
constexpr result<ip_prefix> parse_prefix(std::string_view from) noexcept {
    std::size_t const slash = from.find('/');
    auto const address = parse_address(from.substr(0, slash));
    if (!address) return status::invalid;
    if (slash == std::string_view::npos) return ip_prefix::of(*address, address->bits());
    auto const bits = text_detail::parse_octet(from.substr(slash + 1));
    if (!bits || *bits > address->bits()) return status::invalid;
    return ip_prefix::of(*address, *bits);
}

/// Finds the number of the interface with this name; 0: there is none. `if_nametoindex` is one.
using zone_resolver = unsigned (*)(char const* name);

namespace text_detail {

/// A name known to `resolve` comes before a number, as everywhere (an interface may be called `7`). 0: neither.
inline result<std::uint32_t> parse_zone(std::string_view zone, zone_resolver resolve) noexcept {
    if (zone.empty() || zone.size() > longest_zone_chars) return status::invalid;
    if (zone.find('\0') != std::string_view::npos) return status::invalid;
    if (resolve != nullptr) {
        char name[longest_zone_chars + 1]{};
        std::memcpy(name, zone.data(), zone.size());
        if (unsigned const index = resolve(name); index != 0) return std::uint32_t{index};
    }
    return parse_decimal<std::uint32_t>(zone);
}

} // namespace text_detail

/// Reads `192.0.2.1:51820`, `[2001:db8::1]:51820` or `[fe80::1%zone]:51820`. The zone is a number, or a name that
/// `resolve` knows. No host names.
inline result<endpoint> parse_endpoint(std::string_view from, zone_resolver resolve = nullptr) noexcept {
    bool const v6 = from.starts_with('[');
    std::size_t const end = v6 ? from.find(']') : from.find(':');
    if (end == std::string_view::npos) return status::invalid;
    std::string_view host = from.substr(v6, end - v6);
    std::string_view tail = from.substr(end + v6);
    if (!tail.starts_with(':')) return status::invalid;
    auto const port = parse_decimal<std::uint16_t>(tail.substr(1));
    if (!port) return status::invalid;

    endpoint where;
    where.port = *port;
    if (std::size_t const percent = host.find('%'); v6 && percent != std::string_view::npos) {
        auto const zone = text_detail::parse_zone(host.substr(percent + 1), resolve);
        if (!zone) return status::invalid;
        where.scope_id = *zone;
        host = host.substr(0, percent);
    }
    auto const address = parse_address(host);
    if (!address || address->kind != (v6 ? family::v6 : family::v4)) return status::invalid;
    where.address = *address;
    return where;
}

namespace text_detail {

template <std::size_t Capacity> constexpr void append_v4(short_text<Capacity>& text, byte const* octets) noexcept {
    for (std::size_t i = 0; i < 4; ++i) {
        if (i > 0) text.append('.');
        text.append_number(octets[i]);
    }
}

/// RFC 5952: lower case, no leading zeros, `::` for the longest run of two or more zero groups, the first of equals;
/// an IPv4-mapped address ends in dotted decimal.
template <std::size_t Capacity> constexpr void append_v6(short_text<Capacity>& text, byte const* octets) noexcept {
    bool mapped = true;
    for (std::size_t i = 0; i < 12; ++i) mapped = mapped && octets[i] == (i < 10 ? 0 : 0xff);
    if (mapped) {
        text.append("::ffff:");
        return append_v4(text, octets + 12);
    }
    std::size_t best = 8, best_length = 1, length = 0; // a run of one group is not shortened
    for (std::size_t i = 0; i < 8; ++i) {
        length = load_be16(octets + 2 * i) == 0 ? length + 1 : 0;
        if (length <= best_length) continue;
        best_length = length;
        best = i + 1 - length;
    }
    for (std::size_t i = 0; i < 8; ++i) {
        if (i == best) {
            text.append("::");
            i += best_length - 1;
            continue;
        }
        if (i > 0 && i != best + best_length) text.append(':');
        text.append_number(load_be16(octets + 2 * i), 16);
    }
}

template <std::size_t Capacity>
constexpr void append_address(short_text<Capacity>& text, ip_address const& address) noexcept {
    if (address.kind == family::v4) append_v4(text, address.octets.data());
    if (address.kind == family::v6) append_v6(text, address.octets.data());
}

} // namespace text_detail

/// `192.0.2.1` or `2001:db8::1` (RFC 5952); empty for no address.
constexpr short_text<39> print(ip_address const& address) noexcept {
    short_text<39> text;
    text_detail::append_address(text, address);
    return text;
}

/// `192.0.2.0/24`
constexpr short_text<43> print(ip_prefix const& prefix) noexcept {
    short_text<43> text;
    text_detail::append_address(text, prefix.address);
    text.append('/');
    text.append_number(prefix.bits);
    return text;
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%2]:51820`; empty for none. The zone is a number.
constexpr short_text<58> print(endpoint const& where) noexcept {
    short_text<58> text;
    if (!where) return text;
    bool const v6 = where.address.kind == family::v6;
    if (v6) text.append('[');
    text_detail::append_address(text, where.address);
    if (v6 && where.scope_id != 0) {
        text.append('%');
        text.append_number(where.scope_id);
    }
    text.append(v6 ? "]:" : ":");
    text.append_number(where.port);
    return text;
}

} // namespace wg::inline WG_ABI::text

#endif

#include <cerrno>
#include <concepts>

namespace wg::inline WG_ABI::uapi {

inline constexpr std::size_t longest_line_chars = 255; ///< the longest valid one, an endpoint, has about 125
inline constexpr std::size_t most_changes = std::size_t{1} << 20; ///< of one `set`
inline constexpr std::size_t most_reply_chars = std::size_t{256} << 20; ///< not yet taken by the host

/// The number that stands behind `errno=`, of this host.
constexpr int errno_of(status s) noexcept {
    switch (s) {
    case status::ok: return 0;
    case status::invalid:
    case status::too_many_peers: return EINVAL; // as wireguard-go answers
    case status::protocol_error: return EPROTO;
    case status::address_in_use: return EADDRINUSE;
    case status::no_permission: return EPERM;
    case status::no_memory: return ENOMEM;
    case status::not_supported: return EOPNOTSUPP;
    case status::would_block: return EAGAIN;
    case status::gone: return ENODEV;
    case status::device_down: return ENETDOWN;
    default: return EIO;
    }
}

/// Reads the lines of a `set` into a list of changes. Values are checked here; what depends on the device (does the
/// peer exist, is the port free) is the device's to say.
template <class Memory = heap_memory> class basic_set_parser {
public:
    explicit basic_set_parser(text::zone_resolver resolve = nullptr) noexcept : resolve_(resolve) {}

    /// Reads a line without its end. After an error the list is of no use: `clear`.
    /// `invalid`: unknown key or bad value; `protocol_error`: no `=`; `no_memory`: too many, or no memory.
    status line(std::string_view from) noexcept {
        std::size_t const equals = from.find('=');
        if (equals == std::string_view::npos) return status::protocol_error;
        std::string_view const key = from.substr(0, equals);
        std::string_view const value = from.substr(equals + 1);
        if (key == "public_key") return begin_peer(value);
        return where_ == place::device ? interface_line(key, value) : peer_line(key, value);
    }

    std::span<change const> changes() const noexcept { return changes_.view(); }

    /// Forgets and wipes everything and is ready for the next `set`.
    void clear() noexcept {
        changes_.release();
        where_ = place::device;
    }

private:
    enum class place : std::uint8_t {
        device,
        new_peer,     ///< nothing said about it yet: `update_only` may come
        peer,
        removed_peer, ///< what follows is checked, but concerns nobody any more
    };

    status interface_line(std::string_view key, std::string_view value) noexcept {
        if (key == "private_key") return add_key(value, &change::private_key);
        if (key == "listen_port") return add_number<std::uint16_t>(value, &change::listen_port);
        if (key == "fwmark") return add_number<std::uint32_t>(value, &change::fwmark);
        if (key == "replace_peers") return add_if(value == "true", change::replace_peers());
        return status::invalid;
    }

    status begin_peer(std::string_view value) noexcept {
        where_ = place::new_peer;
        return add_key(value, &change::peer);
    }

    status peer_line(std::string_view key, std::string_view value) noexcept {
        if (key == "protocol_version") return value == "1" ? status::ok : status::invalid;
        if (key == "update_only") return update_only(value);
        if (key == "remove") return remove(value);
        if (where_ == place::new_peer) where_ = place::peer;
        if (key == "allowed_ip") return allowed_ip(value);
        if (key == "preshared_key") return add_key(value, &change::preshared_key);
        if (key == "endpoint") return endpoint(value);
        if (key == "replace_allowed_ips") return add_if(value == "true", change::replace_allowed_ips());
        if (key == "persistent_keepalive_interval")
            return add_number<std::uint16_t>(value, &change::persistent_keepalive);
        return status::invalid;
    }

    /// Has to come before what it is to prevent. Behind `remove` it says nothing new (wgctrl sends both in this order).
    status update_only(std::string_view value) noexcept {
        if (where_ == place::peer) return status::invalid;
        return add_if(value == "true", change::update_only());
    }

    status remove(std::string_view value) noexcept {
        status const s = add_if(value == "true", change::remove_peer());
        if (s == status::ok) where_ = place::removed_peer;
        return s;
    }

    status allowed_ip(std::string_view value) noexcept {
        bool const minus = value.starts_with('-');
        auto const prefix = text::parse_prefix(value.substr(minus));
        if (!prefix) return status::invalid;
        return add(minus ? change::remove_allowed_ip(*prefix) : change::allowed_ip(*prefix));
    }

    status endpoint(std::string_view value) noexcept {
        auto const where = text::parse_endpoint(value, resolve_);
        return where ? add(change::endpoint(*where)) : status::invalid;
    }

    status add_key(std::string_view value, change (*make)(key_view) noexcept) noexcept {
        secret<key_bytes> key;
        if (!text::parse_hex(value, key.expose())) return status::invalid;
        return add(make(key.expose()));
    }

    template <class Number> status add_number(std::string_view value, change (*make)(Number) noexcept) noexcept {
        auto const number = text::parse_decimal<Number>(value);
        return number ? add(make(*number)) : status::invalid;
    }

    status add_if(bool valid, change&& what) noexcept { return valid ? add(std::move(what)) : status::invalid; }

    status add(change&& what) noexcept {
        if (where_ == place::removed_peer) return status::ok;
        if (changes_.size() == most_changes || !changes_.append(std::move(what))) return status::no_memory;
        return status::ok;
    }

    text::zone_resolver resolve_;
    place where_ = place::device;
    secret_vector<change, Memory> changes_;
};

/// Appends what a device tells of itself to a reply: the sink of `device::snapshot`, which calls `device` once, then
/// for each peer `peer`, followed by `allowed_ip` for each of its allowed IPs.
template <class Memory = heap_memory> class basic_reply_printer {
public:
    /// The reply may grow to `most_chars`.
    explicit basic_reply_printer(basic_secret_buffer<Memory>& reply, std::size_t most_chars = most_reply_chars) noexcept
        : reply_(reply), most_chars_(most_chars) {}

    void device(interface_facts const& facts) noexcept {
        if (!facts.private_key.is_zero()) line_key("private_key", facts.private_key.expose());
        if (facts.listen_port != 0) line_number("listen_port", facts.listen_port);
        if (facts.fwmark != 0) line_number("fwmark", facts.fwmark);
    }

    void peer(peer_facts const& facts) noexcept {
        line_key("public_key", facts.key);
        line_key("preshared_key", facts.preshared_key.expose());
        line("protocol_version", "1");
        if (facts.endpoint) line("endpoint", text::print(facts.endpoint));
        // wg(8) takes no sign here: a clock before 1970 must not make the whole answer unreadable
        bool const representable = facts.last_handshake_s >= 0;
        line_number("last_handshake_time_sec", representable ? static_cast<std::uint64_t>(facts.last_handshake_s) : 0);
        line_number("last_handshake_time_nsec", representable ? facts.last_handshake_ns : 0);
        line_number("tx_bytes", facts.tx_bytes);
        line_number("rx_bytes", facts.rx_bytes);
        line_number("persistent_keepalive_interval", facts.persistent_keepalive_s);
    }

    void allowed_ip(ip_prefix const& prefix) noexcept { line("allowed_ip", text::print(prefix)); }

    /// `no_memory` if not all of it found room.
    status outcome() const noexcept { return outcome_; }

private:
    void line(std::string_view key, std::string_view value) noexcept {
        append(key);
        append("=");
        append(value);
        append("\n");
    }
    void line_number(std::string_view key, std::uint64_t value) noexcept { line(key, text::print_decimal(value)); }
    void line_key(std::string_view key, key_view value) noexcept {
        append(key);
        append("=");
        if (char* const digits = make_room(text::hex_key_chars)) text::print_hex(value, {digits, text::hex_key_chars});
        append("\n");
    }

    void append(std::string_view more) noexcept {
        if (char* const place = make_room(more.size())) std::memcpy(place, more.data(), more.size());
    }
    char* make_room(std::size_t size) noexcept {
        if (outcome_ != status::ok) return nullptr;
        char* const place = reply_.size() + size <= most_chars_ ? reply_.extend(size) : nullptr;
        if (place == nullptr) outcome_ = status::no_memory;
        return place;
    }

    basic_secret_buffer<Memory>& reply_;
    std::size_t most_chars_;
    status outcome_ = status::ok;
};

// What a session configures: a device, together with the lock and the time that the host calls it with.
// | configure(changes) -> status    | all of them, in order, or none                                                  |
// | snapshot(sink)                  | tells the sink, a `basic_reply_printer`, about the interface and every peer     |
template <class Target, class Memory = heap_memory>
concept target = requires(Target& target, std::span<change const> changes, basic_reply_printer<Memory>& sink) {
    { target.configure(changes) } noexcept -> std::same_as<status>;
    { target.snapshot(sink) } noexcept;
};

/// One connection. It may end at any time: what was not completed was not applied.
template <class Memory = heap_memory> class basic_session {
public:
    /// `resolve` turns the zone of an endpoint into a number, as `if_nametoindex` does; without it only numbers do.
    explicit basic_session(text::zone_resolver resolve = nullptr) noexcept : parser_(resolve) {}
    basic_session(basic_session&&) = delete; // a line that moved would leave a copy

    /// Takes what was read and appends to `reply` what is to be sent. The caller wipes both when done with them.
    /// `protocol_error`: send the reply, then close; the rest of `read` was ignored, as will be what follows.
    /// `no_memory`: there was none even for an answer; close.
    template <target<Memory> Target>
    status feed(bytes_view read, Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        while (!read.empty() && outcome_ == status::ok) {
            auto const* const end = static_cast<byte const*>(std::memchr(read.data(), '\n', read.size()));
            std::size_t const size = end != nullptr ? static_cast<std::size_t>(end - read.data()) : read.size();
            collect(read.first(size));
            read = read.subspan(size + (end != nullptr));
            if (end != nullptr) finish_line(target, reply);
        }
        return outcome_;
    }

private:
    enum class operation : std::uint8_t { none, set, get };

    void collect(bytes_view part) noexcept {
        if (part.size() > longest_line_chars - line_size_) {
            too_long_ = true;
            part = {};
        }
        copy(bytes(line_.expose()).subspan(line_size_), part);
        line_size_ += part.size();
    }

    template <class Target> void finish_line(Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        auto const line = bytes(line_.expose()).first(line_size_);
        bool const too_long = std::exchange(too_long_, false);
        take({reinterpret_cast<char const*>(line.data()), line.size()}, too_long, target, reply);
        wipe(line.data(), line.size());
        line_size_ = 0;
    }

    template <class Target>
    void take(std::string_view line, bool too_long, Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        bool const last = line.empty() && !too_long;
        switch (running_) {
        case operation::none:
            if (line == "set=1" && !too_long) return begin(operation::set);
            if (line == "get=1" && !too_long) return begin(operation::get);
            outcome_ = status::protocol_error;
            return answer(-errno_of(status::protocol_error), reply);
        case operation::set:
            if (last) return finish_set(target, reply);
            if (failure_ == status::ok) failure_ = too_long ? status::protocol_error : parser_.line(line);
            if (failure_ != status::ok) parser_.clear(); // whatever follows, none of this will be applied
            return;
        case operation::get: // has no lines
            if (last) return finish_get(target, reply);
            if (failure_ == status::ok) failure_ = too_long ? status::protocol_error : status::invalid;
            return;
        }
    }

    void begin(operation what) noexcept {
        running_ = what;
        failure_ = status::ok;
    }

    template <class Target> void finish_set(Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        running_ = operation::none;
        if (failure_ == status::ok) failure_ = target.configure(parser_.changes());
        parser_.clear();
        answer(-errno_of(failure_), reply);
    }

    template <class Target> void finish_get(Target& target, basic_secret_buffer<Memory>& reply) noexcept {
        running_ = operation::none;
        std::size_t const before = reply.size();
        if (failure_ == status::ok) {
            basic_reply_printer<Memory> printer(reply);
            target.snapshot(printer);
            failure_ = printer.outcome();
        }
        if (failure_ != status::ok) reply.truncate(before);
        answer(errno_of(failure_), reply);
    }

    /// Ends every reply, that of a get after its facts: `errno=N` and an empty line.
    void answer(int number, basic_secret_buffer<Memory>& reply) noexcept {
        text::short_text<32> text;
        text.append("errno=");
        if (number < 0) text.append('-');
        text.append_number(static_cast<std::uint64_t>(number < 0 ? -number : number));
        text.append("\n\n");
        if (!reply.append(text)) outcome_ = status::no_memory;
    }

    basic_set_parser<Memory> parser_;
    secret<longest_line_chars> line_;
    std::size_t line_size_ = 0;
    bool too_long_ = false;
    operation running_ = operation::none;
    status failure_ = status::ok; ///< of the running operation
    status outcome_ = status::ok; ///< of the connection
};

using set_parser = basic_set_parser<>;
using reply_printer = basic_reply_printer<>;
using session = basic_session<>;

} // namespace wg::inline WG_ABI::uapi

#endif
// SPDX-License-Identifier: BSL-1.0
// A whole WireGuard interface without input and output (whitepaper 2, 5, 6). Layer 4.
//
// The core decides, policies do: a device is handed packets and the time and hands packets back. A packet's way is
// cut where it is expensive:
//
//     prepare_outbound -> crypt -> (send to the network) -> complete
//     prepare_inbound  -> crypt -> complete -> (write to the TUN device)
//
// What the device has to say by itself comes from `process_handshakes` (answers) and `poll_transmit` (initiations,
// keepalives, packets that waited), as outbound jobs that go through `crypt`, the network and `complete` as well.
//
// Threads: any number at once if `Policies::threads` is parallel; a call locks the device once for all its jobs, and
// `crypt` does not lock at all; `process_handshakes` and `poll_transmit` hold the lock for a DH or two a job. One job
// is used by one thread at a time. Packets of a flow stay in order if their jobs are prepared and completed in order.
#ifndef WG_DEVICE_DEVICE_HPP
#define WG_DEVICE_DEVICE_HPP

// SPDX-License-Identifier: BSL-1.0
// Handshake messages, in both directions (whitepaper 5.3, 5.4.2 - 5.4.4, 5.4.7): what a device does with those that
// come in, and how it makes its own. Layer 4; guarded by the device's lock.
//
// Waiting messages of one type are worked on together, so that a dh policy that does several at once has several to do.
// What they do to the device is the same as if each had come alone: whatever reads or changes a peer is done in order,
// and nothing of another message comes between the acceptance of an initiation and its answer that could change either.
// (A second initiation of the same peer is refused by the first, a response names a handshake that only responses end.)
#ifndef WG_DEVICE_HANDSHAKES_HPP
#define WG_DEVICE_HANDSHAKES_HPP

// SPDX-License-Identifier: BSL-1.0
// What a device is made of: its policies, its tables, its counters; and what all its parts do with them. Layer 4;
// guarded by the device's lock.
#ifndef WG_DEVICE_STATE_HPP
#define WG_DEVICE_STATE_HPP

// SPDX-License-Identifier: BSL-1.0
// Handshake messages that wait for their turn, and whether there are so many that the device is under load
// (whitepaper 5.3; Linux: an eighth of the queue, and for a second after). Layer 4; one thread at a time.
#ifndef WG_DEVICE_HANDSHAKE_QUEUE_HPP
#define WG_DEVICE_HANDSHAKE_QUEUE_HPP

// SPDX-License-Identifier: BSL-1.0
// The four messages, by byte offset (whitepaper 5.4.2 - 5.4.7). Layer 3; pure.
#ifndef WG_PROTOCOL_MESSAGES_HPP
#define WG_PROTOCOL_MESSAGES_HPP


namespace wg::inline WG_ABI {

enum class message_type : std::uint32_t { none = 0, initiation = 1, response = 2, cookie_reply = 3, transport = 4 };

struct initiation_layout {
    static constexpr std::size_t sender = 4, ephemeral = 8, encrypted_static = 40, encrypted_timestamp = 88, mac1 = 116,
                                 mac2 = 132, size = 148;
    static_assert(encrypted_static + key_bytes + tag_bytes == encrypted_timestamp);
    static_assert(encrypted_timestamp + timestamp_bytes + tag_bytes == mac1 && mac2 + mac_bytes == size);
};

struct response_layout {
    static constexpr std::size_t sender = 4, receiver = 8, ephemeral = 12, encrypted_nothing = 44, mac1 = 60, mac2 = 76,
                                 size = 92;
    static_assert(encrypted_nothing + tag_bytes == mac1 && mac2 + mac_bytes == size);
};

struct cookie_reply_layout {
    static constexpr std::size_t receiver = 4, nonce = 8, encrypted_cookie = 32, size = 64;
    static_assert(encrypted_cookie + cookie_bytes + tag_bytes == size);
};

struct transport_layout {
    static constexpr std::size_t receiver = 4, counter = 8, encrypted_packet = transport_header_bytes;
    static constexpr std::size_t minimum_size = encrypted_packet + tag_bytes;
};

/// The type of a datagram whose first 4 bytes (the type and three zero bytes) and length fit together; else none.
//= wp 5.4: type, three zero bytes, and the one size that a message has
constexpr message_type type_of(bytes_view datagram) noexcept {
    if (datagram.size() < transport_layout::minimum_size) return message_type::none; // also the shortest of all
    auto const type = static_cast<message_type>(load_le32(datagram.data()));
    switch (type) {
    case message_type::initiation: return datagram.size() == initiation_layout::size ? type : message_type::none;
    case message_type::response: return datagram.size() == response_layout::size ? type : message_type::none;
    case message_type::cookie_reply: return datagram.size() == cookie_reply_layout::size ? type : message_type::none;
    case message_type::transport: return type;
    default: return message_type::none;
    }
}

} // namespace wg::inline WG_ABI

#endif

#include <algorithm>

namespace wg::inline WG_ABI {

/// A message as it came: an initiation, a response or a cookie reply, its length checked.
struct waiting_handshake {
    byte_array<initiation_layout::size> bytes_{};
    std::uint8_t length = 0;
    path where{};

    bytes_view message() const noexcept { return bytes_view(bytes_).first(length); }
};

template <class Storage> class handshake_queue {
    static constexpr std::size_t capacity = Storage::max_queued_handshakes;
    static_assert(capacity != 0 && (capacity & (capacity - 1)) == 0);

public:
    explicit handshake_queue(Storage& storage) noexcept : ring_(storage) {}

    /// False: the queue is full, or (at first use) there is no memory for it.
    bool push(bytes_view message, path const& where, instant now) noexcept {
        if (ring_.view().empty() && !ring_.resize(capacity)) return false;
        if (size() == capacity) return false;
        waiting_handshake& slot = ring_.view()[pushed_++ & (capacity - 1)];
        copy(slot.bytes_, message);
        slot.length = static_cast<std::uint8_t>(message.size());
        slot.where = where;
        if (size() >= load_threshold) loaded_until_ = now + under_load_linger;
        return true;
    }

    /// The oldest message, valid until `pop`; nullptr: none.
    waiting_handshake const* front() noexcept { return at(0); }
    /// The oldest but `place`.
    waiting_handshake const* at(std::size_t place) noexcept {
        return place < size() ? &ring_.view()[(popped_ + place) & (capacity - 1)] : nullptr;
    }
    void pop() noexcept { ++popped_; }

    /// An initiation or response costs DH operations. A queue of a few messages never looks full, so that more of
    /// these in a second than `max_answers_per_second` count as load too.
    void note_answer(instant now) noexcept {
        if (now - window_ >= seconds(1)) {
            window_ = now;
            answers_ = 0;
        }
        if (++answers_ > max_answers_per_second) loaded_until_ = now + under_load_linger;
    }

    bool under_load(instant now) const noexcept { return now < loaded_until_; }
    std::size_t size() const noexcept { return pushed_ - popped_; }

private:
    //= linux: under load is an eighth of the queue, and a second after
    static constexpr std::size_t load_threshold = std::max<std::size_t>(2, capacity / 8);
    static constexpr std::uint32_t max_answers_per_second = capacity >= 64 ? UINT32_MAX : 10;

    typename Storage::template array<waiting_handshake, capacity> ring_;
    std::size_t pushed_ = 0, popped_ = 0;
    instant loaded_until_{};
    instant window_{};
    std::uint32_t answers_ = 0;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// A packet on its way through a device: the seam between deciding and doing. Layer 4; a value that moves along.
#ifndef WG_DEVICE_JOB_HPP
#define WG_DEVICE_JOB_HPP

// SPDX-License-Identifier: BSL-1.0
// What a device knows of one peer. Layer 4; guarded by the device's lock.
#ifndef WG_DEVICE_PEER_HPP
#define WG_DEVICE_PEER_HPP

// SPDX-License-Identifier: BSL-1.0
// mac1, mac2 and the cookie reply (whitepaper 5.3, 5.4.4, 5.4.7). Layer 3; one thread at a time.
#ifndef WG_PROTOCOL_COOKIE_HPP
#define WG_PROTOCOL_COOKIE_HPP

// SPDX-License-Identifier: BSL-1.0
// Several operations of one primitive: at once where its policy can, else one by one. Layer 3; as the policy's members.
#ifndef WG_PROTOCOL_BATCH_HPP
#define WG_PROTOCOL_BATCH_HPP


namespace wg::inline WG_ABI {

/// How many items a caller puts together, on its stack: `most`, if the policy gains by it, else one.
#ifdef WG_COMPACT
template <bool Gains> constexpr std::size_t batch_size(std::size_t) noexcept { return 1; }
#else
template <bool Gains> constexpr std::size_t batch_size(std::size_t most) noexcept { return Gains ? most : 1; }
#endif

template <hash_backend Hash> void blake2s_all(Hash const& hash, std::span<hash_item const> items) noexcept {
    if constexpr (batch_hash_backend<Hash>)
        hash.blake2s_batch(items);
    else
        for (hash_item const& i : items) hash.blake2s(i.out, i.key, i.message, {});
}

template <dh_backend Dh> void dh_all(Dh const& dh, std::span<dh_item> items) noexcept {
    if constexpr (batch_dh_backend<Dh>)
        dh.dh_batch(items);
    else
        for (dh_item& i : items) i.good = dh.dh(*i.out, *i.scalar, i.point.first<key_bytes>());
}

template <aead_backend Aead> void seal_all(Aead const& aead, std::span<aead_item> items) noexcept {
    if constexpr (batch_aead_backend<Aead>)
        aead.seal_batch(items);
    else
        for (aead_item& i : items) aead.seal(i.dst, i.src, {}, i.counter, *i.key);
}

template <aead_backend Aead> void open_all(Aead const& aead, std::span<aead_item> items) noexcept {
    if constexpr (batch_aead_backend<Aead>)
        aead.open_batch(items);
    else
        for (aead_item& i : items) i.good = aead.open(i.dst, i.src, {}, i.counter, *i.key);
}

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it (whitepaper 5.4.2, 5.4.3, 5.4.5). Layer 3.
//
// Pure functions over handshakes: no tables, no time, no policy beyond primitives. What fails leaves the handshake as
// it was. The whitepaper's tokens stand beside the lines that do them. One thread for each handshake.
//
// Who has several messages at hand calls the steps that take spans, so that their DHs are done at once. An element that
// is not `ok` is left alone by them.
#ifndef WG_PROTOCOL_NOISE_HPP
#define WG_PROTOCOL_NOISE_HPP


#include <string_view>

namespace wg::inline WG_ABI {

/// The primitives that a protocol step needs, by the names of their policies.
template <policies Policies> struct primitives {
    [[no_unique_address]] typename Policies::hash hash;
    [[no_unique_address]] typename Policies::dh dh;
    [[no_unique_address]] typename Policies::aead aead;

    // Not an aggregate: clang 16 crashes where one with empty members is initialised in place.
    primitives() noexcept = default;
    primitives(typename Policies::hash&& h, typename Policies::dh&& d, typename Policies::aead&& a) noexcept
        : hash(std::move(h)), dh(std::move(d)), aead(std::move(a)) {}
};

/// HMAC-BLAKE2s (RFC 2104) with a 32-byte key. `out` is 32 bytes and may be `key`.
template <hash_backend Hash>
void hmac(Hash const& hash, std::span<byte, key_bytes> out, key_view key, bytes_view input) noexcept {
    constexpr std::size_t block_bytes = 64;
    secret<block_bytes> block;
    secret<key_bytes> inner;
    for (std::size_t i = 0; i < block_bytes; ++i) block.expose()[i] = (i < key_bytes ? key[i] : byte{0}) ^ byte{0x36};
    hash.blake2s(inner.expose(), {}, block.expose(), input);
    for (byte& b : block.expose()) b ^= byte{0x36 ^ 0x5c};
    hash.blake2s(out, {}, block.expose(), inner.expose());
}

/// KDF1 to KDF3 (whitepaper 5.4): as many 32-byte outputs as are given. An output may be `key` or lie in `input`.
template <hash_backend Hash>
void kdf_into(Hash const& hash, secret<key_bytes> const& key, bytes_view input,
              std::span<secret<key_bytes>* const> out) noexcept {
    secret<key_bytes> extracted;
    secret<key_bytes + 1> step; // the output before, then the number of this one
    hmac(hash, extracted.expose(), key.expose(), input);
    byte number = 0;
    for (secret<key_bytes>* const to : out) {
        std::size_t const before = number == 0 ? 0 : key_bytes; // there is no output before the first
        step.expose()[before] = ++number;
        hmac(hash, to->expose(), extracted.expose(), bytes_view(step.expose()).first(before + 1));
        copy(step.expose(), to->expose());
    }
}
template <hash_backend Hash, class... Out>
void kdf(Hash const& hash, secret<key_bytes> const& key, bytes_view input, Out&... out) noexcept {
    static_assert(sizeof...(Out) >= 1 && sizeof...(Out) <= 3);
    secret<key_bytes>* const all[] = {&out...};
    kdf_into(hash, key, input, all);
}

/// Chaining key and transcript hash.
struct symmetric_state {
    secret<key_bytes> chaining_key;
    secret<key_bytes> hash;

    void assign(symmetric_state const& other) noexcept {
        chaining_key.assign(other.chaining_key);
        hash.assign(other.hash);
    }
    void clear() noexcept {
        chaining_key.clear();
        hash.clear();
    }
};

enum class handshake_state : std::uint8_t {
    none,
    initiation_created,
    initiation_consumed,
    response_created,
    response_consumed,
};

/// One handshake of one peer, in either role.
struct handshake {
    handshake_state state = handshake_state::none;
    std::uint32_t local_index = 0;
    std::uint32_t remote_index = 0;
    secret<key_bytes> ephemeral; ///< ours, the private key, if we began; else the other end's, which is public
    symmetric_state symmetric;

    /// Forgets all but the local index, which the index table still has.
    void clear() noexcept {
        state = handshake_state::none;
        remote_index = 0;
        ephemeral.clear();
        symmetric.clear();
    }
};

/// Brings a private key into the form that X25519 uses (RFC 7748, section 5).
inline void clamp(secret<key_bytes>& key) noexcept {
    key.expose()[0] &= 248;
    key.expose()[31] = static_cast<byte>((key.expose()[31] & 127) | 64);
}

/// The long-term key pair of this interface.
struct identity {
    secret<key_bytes> private_key;
    wg::public_key public_key{};

    bool exists() const noexcept { return !private_key.is_zero(); }
};

/// What is known of the other end before a handshake. All zero: no preshared key; no usable static key.
struct remote_identity {
    wg::public_key public_key{};
    secret<key_bytes> static_static; ///< DH of both static keys
    secret<key_bytes> preshared_key;
};

/// The handshake's steps over one set of primitives.
template <policies Policies> class noise {
public:
    explicit noise(primitives<Policies> const& with) noexcept : with_(with) {}

    /// Writes an initiation without its macs (whitepaper 5.4.2). `message` is 148 bytes.
    /// no_random; bad_public_key: the other static key is of low order.
    template <random_source Random>
    WG_FRAME status create_initiation(handshake& to, identity const& mine, remote_identity const& theirs,
                                      Random& random, std::span<byte const, timestamp_bytes> timestamp,
                                      std::uint32_t local_index, bytes message) const noexcept {
        using at = initiation_layout;
        WG_ASSERT(message.size() == at::size);
        if (theirs.static_static.is_zero()) return status::bad_public_key;
        secret<key_bytes> ephemeral, key;
        symmetric_state state;
        start(state, theirs.public_key);
        fill_zero(message);
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::initiation));
        store_le32(&message[at::sender], local_index);
        // e
        if (!create_ephemeral(state, ephemeral, random, message.subspan<at::ephemeral, key_bytes>()))
            return status::no_random;
        // es
        if (!mix_dh(state, ephemeral, theirs.public_key, key)) return status::bad_public_key;
        // s
        encrypt_and_hash(state, key, message.subspan(at::encrypted_static, key_bytes + tag_bytes), mine.public_key);
        // ss
        kdf(with_.hash, state.chaining_key, theirs.static_static.expose(), state.chaining_key, key);
        encrypt_and_hash(state, key, message.subspan(at::encrypted_timestamp, timestamp_bytes + tag_bytes), timestamp);
        to.clear();
        to.ephemeral = std::move(ephemeral);
        to.symmetric.assign(state);
        to.local_index = local_index;
        to.state = handshake_state::initiation_created;
        return status::ok;
    }

    /// How many messages the steps that take spans can be given.
    static constexpr std::size_t at_once = batch_size<batch_dh_backend<typename Policies::dh>>(8);

    /// An initiation on its way in: between the two halves the caller finds out whose it is.
    struct incoming_initiation {
        symmetric_state symmetric;
        wg::public_key remote_static{};
        byte_array<timestamp_bytes> timestamp{};
        bytes_view message{};
        status why = status::ok;
    };

    /// First half: who says that he sent each `message`. Costs a DH each. bad_public_key, decryption_failed.
    void open_initiations(std::span<incoming_initiation> all, identity const& mine) const noexcept {
        WG_ASSERT(all.size() <= at_once);
        std::array<secret<key_bytes>, at_once> shared;
        std::array<dh_item, at_once> items;
        std::size_t count = 0;
        for (incoming_initiation& in : all) {
            if (in.why != status::ok) continue;
            start(in.symmetric, mine.public_key);
            // e
            key_view const ephemeral = ephemeral_in<initiation_layout>(in.message);
            mix_ephemeral(in.symmetric, ephemeral);
            items[count] = {&shared[count], &mine.private_key, ephemeral, false};
            ++count;
        }
        dh_all(with_.dh, std::span(items).first(count));
        count = 0;
        for (incoming_initiation& in : all) {
            if (in.why != status::ok) continue;
            dh_item const& done = items[count++];
            in.why = done.good ? open_static(in, *done.out) : status::bad_public_key;
        }
    }

    /// The same for one.
    status open_initiation(incoming_initiation& in, identity const& mine, bytes_view message) const noexcept {
        in.message = message;
        start(in.symmetric, mine.public_key);
        // e
        key_view const ephemeral = ephemeral_in<initiation_layout>(message);
        mix_ephemeral(in.symmetric, ephemeral);
        secret<key_bytes> shared;
        in.why = with_.dh.dh(shared, mine.private_key, ephemeral) ? open_static(in, shared) : status::bad_public_key;
        return in.why;
    }

    /// Second half: proves it, by the DH of both static keys. bad_public_key, decryption_failed.
    status prove_initiation(incoming_initiation& in, remote_identity const& theirs, bytes_view message) const noexcept {
        using at = initiation_layout;
        secret<key_bytes> key;
        if (theirs.static_static.is_zero()) return status::bad_public_key;
        // ss
        kdf(with_.hash, in.symmetric.chaining_key, theirs.static_static.expose(), in.symmetric.chaining_key, key);
        if (!decrypt_and_hash(in.symmetric, key, in.timestamp,
                              message.subspan(at::encrypted_timestamp, timestamp_bytes + tag_bytes)))
            return status::decryption_failed;
        return status::ok;
    }

    /// The caller has accepted the timestamp: the handshake is now this one.
    void accept_initiation(handshake& to, incoming_initiation const& in, bytes_view message) const noexcept {
        using at = initiation_layout;
        to.clear();
        to.symmetric.assign(in.symmetric);
        to.remote_index = load_le32(&message[at::sender]);
        to.ephemeral.assign(ephemeral_in<at>(message));
        to.state = handshake_state::initiation_consumed;
    }

    /// The DHs of a response, in either direction.
    struct response_secrets {
        secret<key_bytes> ee, se;
        status why = status::ok;
    };

    /// A response on its way out.
    struct outgoing_response : response_secrets {
        handshake* of = nullptr; ///< nullptr: none, as if it were not `ok`
        remote_identity const* theirs = nullptr;
        secret<key_bytes> ephemeral;
        wg::public_key ephemeral_public{};
    };

    /// First part: a new key. no_random.
    template <random_source Random>
    void begin_response(outgoing_response& out, handshake& of, remote_identity const& theirs,
                        Random& random) const noexcept {
        WG_ASSERT(of.state == handshake_state::initiation_consumed);
        out.of = &of;
        out.theirs = &theirs;
        if (!random.fill(out.ephemeral.expose())) out.why = status::no_random;
    }

    /// Second part, of several at once. bad_public_key.
    void agree_responses(std::span<outgoing_response> all) const noexcept {
        WG_ASSERT(all.size() <= at_once);
        std::array<dh_item, 2 * at_once> items;
        std::size_t count = 0;
        for (outgoing_response& out : all) {
            if (out.of == nullptr || out.why != status::ok) continue;
            with_.dh.dh_public(out.ephemeral_public, out.ephemeral); // fast by itself: its point is known
            items[count++] = {&out.ee, &out.ephemeral, out.of->ephemeral.expose(), false};
            items[count++] = {&out.se, &out.ephemeral, out.theirs->public_key, false};
        }
        agree(all, std::span(items).first(count));
    }

    /// Last part: writes the response to an accepted initiation, without its macs (whitepaper 5.4.3). `message` is 92
    /// bytes.
    status create_response(outgoing_response const& from, std::uint32_t local_index, bytes message) const noexcept {
        if (from.why != status::ok) return from.why;
        handshake& of = *from.of;
        WG_ASSERT(message.size() == response_layout::size && of.state == handshake_state::initiation_consumed);
        secret<key_bytes> key;
        begin_message(of, local_index, message);
        copy(message.subspan<response_layout::ephemeral, key_bytes>(), from.ephemeral_public);
        mix_response(of.symmetric, from.ephemeral_public, from, *from.theirs, key);
        end_message(of, local_index, key, message);
        return status::ok;
    }

    /// All parts for one. no_random, bad_public_key: then the handshake is to be forgotten.
    template <random_source Random>
    WG_FRAME status create_response(handshake& of, remote_identity const& theirs, Random& random,
                                    std::uint32_t local_index, bytes message) const noexcept {
        WG_ASSERT(of.state == handshake_state::initiation_consumed && message.size() == response_layout::size);
        secret<key_bytes> ephemeral, key;
        symmetric_state& state = of.symmetric;
        begin_message(of, local_index, message);
        // e
        if (!create_ephemeral(state, ephemeral, random, message.subspan<response_layout::ephemeral, key_bytes>()))
            return status::no_random;
        // ee, se
        if (!mix_dh(state, ephemeral, of.ephemeral.expose()) || !mix_dh(state, ephemeral, theirs.public_key))
            return status::bad_public_key;
        // psk
        mix_preshared_key(state, theirs.preshared_key, key);
        end_message(of, local_index, key, message);
        return status::ok;
    }

private:
    /// What either end of a response does with it. `key` is that of the tag.
    void mix_response(symmetric_state& state, key_view ephemeral, response_secrets const& from,
                      remote_identity const& theirs, secret<key_bytes>& key) const noexcept {
        // e
        mix_ephemeral(state, ephemeral);
        // ee
        kdf(with_.hash, state.chaining_key, from.ee.expose(), state.chaining_key);
        // se
        kdf(with_.hash, state.chaining_key, from.se.expose(), state.chaining_key);
        // psk
        mix_preshared_key(state, theirs.preshared_key, key);
    }

    status end_response(handshake& of, symmetric_state& state, secret<key_bytes> const& key,
                        bytes_view message) const noexcept {
        using at = response_layout;
        if (!decrypt_and_hash(state, key, {}, message.subspan(at::encrypted_nothing, tag_bytes)))
            return status::decryption_failed;
        of.symmetric.assign(state);
        of.remote_index = load_le32(&message[at::sender]);
        of.state = handshake_state::response_consumed;
        return status::ok;
    }

    void begin_message(handshake const& of, std::uint32_t local_index, bytes message) const noexcept {
        fill_zero(message);
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::response));
        store_le32(&message[response_layout::sender], local_index);
        store_le32(&message[response_layout::receiver], of.remote_index);
    }
    void end_message(handshake& of, std::uint32_t local_index, secret<key_bytes> const& key,
                     bytes message) const noexcept {
        encrypt_and_hash(of.symmetric, key, message.subspan(response_layout::encrypted_nothing, tag_bytes), {});
        of.local_index = local_index;
        of.state = handshake_state::response_created;
    }

public:

    /// A response on its way in.
    struct incoming_response : response_secrets {
        handshake const* of = nullptr; ///< nullptr: none, as if it were not `ok`
        bytes_view message{};
    };

    /// First part, of several at once: each `message` is to answer the initiation that `of` created.
    /// wrong_state, bad_public_key.
    void agree_responses(std::span<incoming_response> all, identity const& mine) const noexcept {
        WG_ASSERT(all.size() <= at_once);
        std::array<dh_item, 2 * at_once> items;
        std::size_t count = 0;
        for (incoming_response& in : all) {
            if (in.of == nullptr || in.why != status::ok) continue;
            //= linux: a response is taken while the initiation that it answers waits, and once
            if (in.of->state != handshake_state::initiation_created) {
                in.why = status::wrong_state;
                continue;
            }
            key_view const ephemeral = ephemeral_in<response_layout>(in.message);
            items[count++] = {&in.ee, &in.of->ephemeral, ephemeral, false};
            items[count++] = {&in.se, &mine.private_key, ephemeral, false};
        }
        agree(all, std::span(items).first(count));
    }

    /// Second part: reads the response. A forged one changes nothing. wrong_state, decryption_failed.
    //= linux: a forged response does not end the handshake that waits for the genuine one
    WG_FRAME status consume_response(handshake& of, incoming_response const& from,
                            remote_identity const& theirs) const noexcept {
        if (from.why != status::ok) return from.why;
        if (from.of != &of || of.state != handshake_state::initiation_created) return status::wrong_state;
        secret<key_bytes> key;
        symmetric_state state;
        state.assign(of.symmetric);
        mix_response(state, ephemeral_in<response_layout>(from.message), from, theirs, key);
        return end_response(of, state, key, from.message);
    }

    /// Both parts for one.
    status consume_response(handshake& of, identity const& mine, remote_identity const& theirs,
                            bytes_view message) const noexcept {
        if (of.state != handshake_state::initiation_created) return status::wrong_state;
        key_view const ephemeral = ephemeral_in<response_layout>(message);
        secret<key_bytes> key;
        symmetric_state state;
        state.assign(of.symmetric);
        // e
        mix_ephemeral(state, ephemeral);
        // ee, se
        if (!mix_dh(state, of.ephemeral, ephemeral) || !mix_dh(state, mine.private_key, ephemeral))
            return status::bad_public_key;
        // psk
        mix_preshared_key(state, theirs.preshared_key, key);
        return end_response(of, state, key, message);
    }

    /// The session's keys (whitepaper 5.4.5); forgets the handshake. wrong_state unless a response was made or read.
    //= wp 5.4.5: the keys of a session come out of the handshake, which is then forgotten
    status begin_session(handshake& of, secret<key_bytes>& send_key, secret<key_bytes>& receive_key) const noexcept {
        if (of.state == handshake_state::response_consumed)
            kdf(with_.hash, of.symmetric.chaining_key, {}, send_key, receive_key);
        else if (of.state == handshake_state::response_created)
            kdf(with_.hash, of.symmetric.chaining_key, {}, receive_key, send_key);
        else
            return status::wrong_state;
        of.clear();
        return status::ok;
    }

private:
    template <class Layout> static key_view ephemeral_in(bytes_view message) noexcept {
        return message.subspan<Layout::ephemeral, key_bytes>();
    }

    void start(symmetric_state& state, key_view responder) const noexcept {
        // Hash("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"), and Hash(that || "WireGuard v1 zx2c4 Jason@zx2c4.com")
        static constexpr byte_array<key_bytes> construction = {
            0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0, 0x2e, 0xc3, 0x35, 0xe2, 0xa0, 0x25, 0xd2, 0xd0,
            0x16, 0xeb, 0x42, 0x06, 0xf8, 0x72, 0x77, 0xf5, 0x2d, 0x38, 0xd1, 0x98, 0x8b, 0x78, 0xcd, 0x36};
        static constexpr byte_array<key_bytes> identifier = {
            0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5, 0x66, 0x69, 0x12, 0x43, 0xdb, 0x45, 0x8a, 0xd5, 0x32,
            0x2d, 0x9c, 0x6c, 0x66, 0x22, 0x93, 0xe8, 0xb7, 0x0e, 0xe1, 0x9c, 0x65, 0xba, 0x07, 0x9e, 0xf3};
        state.chaining_key.assign(key_view(construction));
        state.hash.assign(key_view(identifier));
        mix_hash(state, responder);
    }

    void mix_hash(symmetric_state& state, bytes_view data) const noexcept {
        secret<key_bytes> mixed;
        with_.hash.blake2s(mixed.expose(), {}, state.hash.expose(), data);
        state.hash = std::move(mixed);
    }

    template <random_source Random>
    bool create_ephemeral(symmetric_state& state, secret<key_bytes>& ephemeral, Random& random,
                          std::span<byte, key_bytes> to) const noexcept {
        wg::public_key ephemeral_public{};
        if (!random.fill(ephemeral.expose())) return false;
        with_.dh.dh_public(ephemeral_public, ephemeral);
        copy(to, ephemeral_public);
        mix_ephemeral(state, ephemeral_public);
        return true;
    }

    /// s, once es is known.
    WG_FRAME status open_static(incoming_initiation& in, secret<key_bytes> const& shared) const noexcept {
        using at = initiation_layout;
        secret<key_bytes> key;
        // es
        kdf(with_.hash, in.symmetric.chaining_key, shared.expose(), in.symmetric.chaining_key, key);
        // s
        bool const genuine = decrypt_and_hash(in.symmetric, key, in.remote_static,
                                              in.message.subspan(at::encrypted_static, key_bytes + tag_bytes));
        return genuine ? status::ok : status::decryption_failed;
    }

    /// ee and se of those that are to have them.
    //= RFC 7748 6.1: a shared secret of zero ends the handshake
    template <class Response> void agree(std::span<Response> all, std::span<dh_item> items) const noexcept {
        dh_all(with_.dh, items);
        for (Response& response : all) {
            if (response.of == nullptr || response.why != status::ok) continue;
            if (!items[0].good || !items[1].good) response.why = status::bad_public_key;
            items = items.subspan(2);
        }
    }

    void mix_ephemeral(symmetric_state& state, key_view ephemeral) const noexcept {
        mix_hash(state, ephemeral);
        kdf(with_.hash, state.chaining_key, ephemeral, state.chaining_key);
    }

    /// Mixes a DH into the chaining key, and into `key` if one is given. False: its result is zero.
    //= RFC 7748 6.1: a shared secret of zero ends the handshake
    template <class... Key>
    WG_FRAME bool mix_dh(symmetric_state& state, secret<key_bytes> const& mine, key_view theirs,
                         Key&... key) const noexcept {
        secret<key_bytes> shared;
        if (!with_.dh.dh(shared, mine, theirs)) return false;
        kdf(with_.hash, state.chaining_key, shared.expose(), state.chaining_key, key...);
        return true;
    }

    //= wp 5.2: the preshared key is mixed into the response; a wrong one is as a forgery
    void mix_preshared_key(symmetric_state& state, secret<key_bytes> const& preshared_key,
                           secret<key_bytes>& key) const noexcept {
        secret<key_bytes> mixed;
        kdf(with_.hash, state.chaining_key, preshared_key.expose(), state.chaining_key, mixed, key);
        mix_hash(state, mixed.expose());
    }

    void encrypt_and_hash(symmetric_state& state, secret<key_bytes> const& key, bytes out,
                          bytes_view plain) const noexcept {
        with_.aead.seal(out, plain, state.hash.expose(), 0, key);
        mix_hash(state, out);
    }

    bool decrypt_and_hash(symmetric_state& state, secret<key_bytes> const& key, bytes out,
                          bytes_view sealed) const noexcept {
        if (!with_.aead.open(out, sealed, state.hash.expose(), 0, key)) return false;
        mix_hash(state, sealed);
        return true;
    }

    primitives<Policies> const& with_;
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

namespace cookie_detail {

/// Hash(label || public key): the key of mac1, or the one that cookies are sealed with.
template <hash_backend Hash>
void label_key(Hash const& hash, secret<key_bytes>& out, std::string_view label, key_view of) noexcept {
    hash.blake2s(out.expose(), {}, {reinterpret_cast<byte const*>(label.data()), label.size()}, of);
}
inline constexpr std::string_view mac1_label = "mac1----", cookie_label = "cookie--";

// The last 32 bytes of an initiation or a response are mac1 and mac2.
constexpr bytes_view before_mac1(bytes_view message) noexcept { return message.first(message.size() - 2 * mac_bytes); }
constexpr bytes_view before_mac2(bytes_view message) noexcept { return message.first(message.size() - mac_bytes); }
constexpr bytes_view mac1_of(bytes_view message) noexcept { return message.last(2 * mac_bytes).first(mac_bytes); }
constexpr bytes_view mac2_of(bytes_view message) noexcept { return message.last(mac_bytes); }

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): a subkey of the nonce's first 16 bytes; the last 8 are the counter.
template <policies Policies>
void xchacha_subkey(primitives<Policies> const& with, secret<key_bytes>& out, secret<key_bytes> const& key,
                    bytes_view nonce) noexcept {
    with.aead.hchacha20(out, key, nonce.first<16>());
}

} // namespace cookie_detail

/// The end that may be under load: checks macs and hands out cookies.
template <policies Policies> class cookie_checker {
public:
    /// After a change of the interface's public key, which lives as long as this.
    void set_public_key([[maybe_unused]] primitives<Policies> const& with, key_view mine) noexcept {
#ifdef WG_COMPACT
        mine_ = mine.data();
#else
        cookie_detail::label_key(with.hash, mac1_key_, cookie_detail::mac1_label, mine);
        cookie_detail::label_key(with.hash, seal_key_, cookie_detail::cookie_label, mine);
#endif
    }

    /// Whether the sender knows our public key. `message` is an initiation or a response.
    bool check_mac1(primitives<Policies> const& with, bytes_view message) const noexcept {
        byte_array<mac_bytes> expected{};
        with_key(with, cookie_detail::mac1_label, [&](secret<key_bytes> const& key) noexcept {
            with.hash.blake2s(expected, key.expose(), cookie_detail::before_mac1(message), {});
        });
        return equal_in_constant_time(expected, cookie_detail::mac1_of(message));
    }

    /// How many messages `check_mac1` takes at once, the first of which is bit 0 of the result.
    static constexpr std::size_t at_once = batch_size<batch_hash_backend<typename Policies::hash>>(32);

#ifndef WG_COMPACT
    std::uint32_t check_mac1(primitives<Policies> const& with, std::span<bytes_view const> messages) const noexcept {
        WG_ASSERT(messages.size() <= at_once);
        std::array<byte_array<mac_bytes>, at_once> expected;
        std::array<hash_item, at_once> items;
        for (std::size_t i = 0; i < messages.size(); ++i)
            items[i] = {expected[i], mac1_key_.expose(), cookie_detail::before_mac1(messages[i])};
        blake2s_all(with.hash, std::span<hash_item const>(items).first(messages.size()));
        std::uint32_t genuine = 0;
        for (std::size_t i = 0; i < messages.size(); ++i)
            if (equal_in_constant_time(expected[i], cookie_detail::mac1_of(messages[i])))
                genuine |= std::uint32_t{1} << i;
        return genuine;
    }
#endif

    /// Whether the sender has a cookie of ours for this address and port.
    WG_FRAME bool check_mac2(primitives<Policies> const& with, bytes_view message, endpoint const& from,
                    instant now) const noexcept {
        if (!secret_is_fresh(now)) return false;
        secret<cookie_bytes> cookie;
        byte_array<mac_bytes> expected{};
        bake(with, cookie, from);
        with.hash.blake2s(expected, cookie.expose(), cookie_detail::before_mac2(message), {});
        return equal_in_constant_time(expected, cookie_detail::mac2_of(message));
    }

    /// Writes the cookie reply to `message`, whose sender's index is `receiver`. `reply` is 64 bytes. no_random.
    template <random_source Random>
    status create_reply(primitives<Policies> const& with, Random& random, bytes_view message, std::uint32_t receiver,
                        endpoint const& from, instant now, bytes reply) noexcept {
        using at = cookie_reply_layout;
        WG_ASSERT(reply.size() == at::size);
        if (!secret_is_fresh(now)) { //= wp 5.4.7: the cookie secret changes every two minutes
            if (!random.fill(secret_.expose())) return status::no_random;
            secret_expires_ = now + cookie_secret_max_age;
        }
        //= wp 5.4.7: a cookie reply is sealed for one message, by its mac1
        bytes const nonce = reply.subspan(at::nonce, 24);
        if (!random.fill(nonce)) return status::no_random;
        secret<cookie_bytes> cookie;
        secret<key_bytes> subkey;
        bake(with, cookie, from);
        with_key(with, cookie_detail::cookie_label, [&](secret<key_bytes> const& key) noexcept {
            cookie_detail::xchacha_subkey(with, subkey, key, nonce);
        });
        store_le32(reply.data(), static_cast<std::uint32_t>(message_type::cookie_reply));
        store_le32(&reply[at::receiver], receiver);
        with.aead.seal(reply.subspan(at::encrypted_cookie), cookie.expose(), cookie_detail::mac1_of(message),
                       load_le64(&nonce[16]), subkey);
        return status::ok;
    }

private:
    /// The key of mac1 or of cookies, by its label. WG_COMPACT has time to calculate it, and no room to keep it.
    template <class Use>
    void with_key([[maybe_unused]] primitives<Policies> const& with, std::string_view label,
                  Use const& use) const noexcept {
#ifdef WG_COMPACT
        secret<key_bytes> key;
        cookie_detail::label_key(with.hash, key, label, key_view(mine_, key_bytes));
        use(key);
#else
        use(label == cookie_detail::mac1_label ? mac1_key_ : seal_key_);
#endif
    }

    bool secret_is_fresh(instant now) const noexcept { return now < secret_expires_; }

    /// A cookie is a mac of the sender's address and port under a secret of ours (wp 5.4.7).
    //= wp 5.4.7: a cookie is good for one address and port
    void bake(primitives<Policies> const& with, secret<cookie_bytes>& cookie, endpoint const& from) const noexcept {
        byte_array<2> port;
        store_be16(port.data(), from.port);
        with.hash.blake2s(cookie.expose(), secret_.expose(), from.address.view(), port);
    }

#ifdef WG_COMPACT
    byte const* mine_ = nullptr;
#else
    secret<key_bytes> mac1_key_;
    secret<key_bytes> seal_key_;
#endif
    secret<key_bytes> secret_;
    instant secret_expires_{};
};

/// The other end: puts macs on what it sends and keeps the cookie it was given.
template <policies Policies> class cookie_jar {
public:
    /// Fills in mac1 and mac2 of an initiation or a response to `theirs`.
    void add_macs(primitives<Policies> const& with, key_view theirs, bytes message, instant now) noexcept {
        secret<key_bytes> mac1_key;
        cookie_detail::label_key(with.hash, mac1_key, cookie_detail::mac1_label, theirs);
        bytes const mac1 = message.last(2 * mac_bytes).first(mac_bytes), mac2 = message.last(mac_bytes);
        with.hash.blake2s(mac1, mac1_key.expose(), cookie_detail::before_mac1(message), {});
        copy(last_mac1_, mac1);
        awaits_reply_ = true;
        //= wp 5.4.4: mac2 is zero without a fresh cookie
        if (now < cookie_expires_)
            with.hash.blake2s(mac2, cookie_.expose(), cookie_detail::before_mac2(message), {});
        else
            fill_zero(mac2);
    }

    /// Takes the cookie out of a reply from `theirs` to the last message sent; one reply a message.
    /// stale_cookie, decryption_failed.
    status consume_reply(primitives<Policies> const& with, key_view theirs, bytes_view reply, instant now) noexcept {
        using at = cookie_reply_layout;
        //= linux: one cookie reply is taken for each message sent
        if (!awaits_reply_) return status::stale_cookie;
        bytes_view const nonce = reply.subspan(at::nonce, 24);
        secret<key_bytes> seal_key, subkey;
        secret<cookie_bytes> cookie;
        cookie_detail::label_key(with.hash, seal_key, cookie_detail::cookie_label, theirs);
        cookie_detail::xchacha_subkey(with, subkey, seal_key, nonce);
        if (!with.aead.open(cookie.expose(), reply.subspan(at::encrypted_cookie), last_mac1_, load_le64(&nonce[16]),
                            subkey))
            return status::decryption_failed;
        cookie_ = std::move(cookie);
        //= linux: a cookie is used for 115 s
        cookie_expires_ = now + cookie_max_age;
        awaits_reply_ = false;
        return status::ok;
    }

private:
    secret<cookie_bytes> cookie_;
    instant cookie_expires_{};
    byte_array<mac_bytes> last_mac1_{};
    bool awaits_reply_ = false;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// A session's keys, and the three slots that a peer keeps sessions in (whitepaper 6; Linux noise.c, the comment on
// add_new_keypair). Layer 3; one thread at a time.
#ifndef WG_PROTOCOL_KEYPAIR_HPP
#define WG_PROTOCOL_KEYPAIR_HPP

// SPDX-License-Identifier: BSL-1.0
// The sliding window over received counters (whitepaper 5.4.6; RFC 6479). Layer 3; one thread at a time.
#ifndef WG_PROTOCOL_REPLAY_HPP
#define WG_PROTOCOL_REPLAY_HPP


#include <algorithm>
#include <array>
#include <type_traits>

namespace wg::inline WG_ABI {

/// Remembers which of the last counters were seen. `Bits` is a power of two of at least 32. Beyond 64 bits it is a ring
/// of words of which the oldest is being refilled, and so reaches a word less far back: 8128 counters of 8192 bits, or
/// 8160 where words have 32 bits (WG_COMPACT).
template <std::size_t Bits> class replay_window {
    static_assert(Bits >= 32 && (Bits & (Bits - 1)) == 0);
#ifdef WG_COMPACT
    static constexpr std::size_t word_bits = 32;
#else
    static constexpr std::size_t word_bits = Bits >= 64 ? 64 : 32;
#endif
    static constexpr std::size_t words = Bits / word_bits;
    using word = std::conditional_t<word_bits == 64, std::uint64_t, std::uint32_t>;

public:
    /// How far behind the greatest counter a new one may lie.
    static constexpr std::size_t reach = words == 1 ? Bits - 1 : Bits - word_bits;

    /// Whether `counter` is below the limit, not too old and new; it is then marked as seen. To be asked only after
    /// the packet's tag was found right.
    //= wp 5.4.6: sliding window: packets may come in any order within it, each once
    [[nodiscard]] bool accept(std::uint64_t counter) noexcept {
        if (counter >= reject_after_messages) return false;
        std::uint64_t const position = counter + 1; // greatest_ == 0: nothing seen
        //= wp 5.4.6: a counter further back than the window is refused, seen or not
        if (position < greatest_ && greatest_ - position > reach) return false;
        if (position > greatest_) advance(position);
        std::uint64_t const bit = words == 1 ? greatest_ - position : position % word_bits;
        word const mask = static_cast<word>(word{1} << bit);
        word& seen = words_[(position / word_bits) % words];
        if ((seen & mask) != 0) return false;
        seen |= mask;
        return true;
    }

private:
    void advance(std::uint64_t position) noexcept {
        if constexpr (words == 1) {
            std::uint64_t const by = position - greatest_;
            words_[0] = by >= word_bits ? word{0} : static_cast<word>(words_[0] << by);
        } else {
            std::uint64_t const from = greatest_ / word_bits;
            std::uint64_t const steps = std::min<std::uint64_t>(position / word_bits - from, words);
            for (std::uint64_t i = 1; i <= steps; ++i) words_[(from + i) % words] = 0;
        }
        greatest_ = position;
    }

    std::uint64_t greatest_ = 0;
    std::array<word, words> words_{};
};

} // namespace wg::inline WG_ABI

#endif

#include <utility>

namespace wg::inline WG_ABI {

template <std::size_t ReplayBits> struct keypair {
    secret<key_bytes> send_key;
    secret<key_bytes> receive_key;
    std::uint64_t send_counter = 0; ///< of the next packet
    replay_window<ReplayBits> received;
    instant created{};
    std::uint32_t local_index = 0;
    std::uint32_t remote_index = 0;
    std::uint32_t in_flight = 0; ///< jobs that hold it; a retired keypair is wiped when there are none
    bool initiator = false;
    bool may_send = true;
    bool retired = false;

    //= wp 6.1: no key is used after Reject-After-Time or Reject-After-Messages
    bool can_send(instant now) const noexcept {
        return may_send && send_counter < reject_after_messages && now - created < reject_after_time;
    }
    bool can_receive(instant now) const noexcept { return now - created < reject_after_time; }

    //= wp 6.2: a new handshake after Rekey-After-Messages, and for the initiator after Rekey-After-Time
    bool wants_rekey_after_sending(instant now) const noexcept {
        return may_send && (send_counter > rekey_after_messages || (initiator && now - created >= rekey_after_time));
    }
    //= wp 6.2: an initiator that receives renews Keepalive-Timeout + Rekey-Timeout before Reject-After-Time
    bool wants_rekey_after_receiving(instant now) const noexcept {
        return may_send && initiator && now - created >= rekey_after_time_receiving;
    }
};

/// Previous, current and next session. What a change pushes out is handed to `retire(Keypair&)`.
template <class Keypair> struct keypair_slots {
    Keypair* current = nullptr;  ///< sends
    Keypair* previous = nullptr; ///< still receives what was under way
    Keypair* next = nullptr;     ///< a responder's, until the first packet confirms it

    /// Before a new session is made: what it will push out goes now, so that memory for two sessions is enough.
    template <class Retire> void make_room(bool initiator, Retire&& retire) noexcept {
        retire_if_any(std::exchange(previous, nullptr), retire);
        if (next != nullptr) retire_if_any(std::exchange(initiator ? current : next, nullptr), retire);
    }

    /// A response came in: the initiator may send at once. An unconfirmed `next` is newer than `current` and kept.
    //= linux: initiator: the new session is current, current becomes previous
    //= linux: an unconfirmed next becomes previous, and current goes with the previous one
    template <class Retire> void add_as_initiator(Keypair& fresh, Retire&& retire) noexcept {
        Keypair* const oldest = std::exchange(previous, next != nullptr ? next : current);
        if (next != nullptr) retire_if_any(current, retire);
        next = nullptr;
        current = &fresh;
        retire_if_any(oldest, retire);
    }

    /// A response went out: the responder receives with the new keys but sends with them only once they are confirmed.
    //= linux: responder: the new session is next; next and previous before it die at once
    template <class Retire> void add_as_responder(Keypair& fresh, Retire&& retire) noexcept {
        retire_if_any(std::exchange(next, &fresh), retire);
        retire_if_any(std::exchange(previous, nullptr), retire);
    }

    /// A packet came in under `used`. True: that confirmed the next session, which is now the current one.
    //= wp 6.4: the responder sends nothing before the first packet of the initiator
    template <class Retire> bool confirm(Keypair& used, Retire&& retire) noexcept {
        if (&used != next) return false;
        retire_if_any(std::exchange(previous, current), retire);
        current = std::exchange(next, nullptr);
        return true;
    }

    template <class Retire> void clear(Retire&& retire) noexcept {
        retire_if_any(std::exchange(previous, nullptr), retire);
        retire_if_any(std::exchange(next, nullptr), retire);
        retire_if_any(std::exchange(current, nullptr), retire);
    }

private:
    template <class Retire> static void retire_if_any(Keypair* old, Retire& retire) noexcept {
        if (old != nullptr) retire(*old);
    }
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// A peer's five timers (whitepaper 6; Linux timers.c). Layer 3; pure, one thread at a time.
//
// The rules in words:
// - After data was sent and nothing came back within 15 s, the session may be dead: handshake anew.
// - After data was received and nothing was sent back within 10 s, send an empty packet so that the other end knows.
// - An initiation without an answer is sent again every 5 s and a little, for 90 s.
// - 9 minutes after the last session began, forget all keys.
// - With persistent keepalive, send an empty packet when nothing passed in either direction for so long.
// Time is an argument; randomness is the caller's, as a jitter in [0, rekey_timeout_jitter).
#ifndef WG_PROTOCOL_TIMERS_HPP
#define WG_PROTOCOL_TIMERS_HPP


#include <algorithm>
#include <array>
#include <utility>

namespace wg::inline WG_ABI {

/// What a peer has to do because time has passed.
struct timer_actions {
    bool retry_initiation = false; ///< the same attempt once more
    bool initiate = false;         ///< a new attempt
    bool give_up = false;          ///< no more attempts: drop staged packets
    bool keepalive = false;
    bool zero_keys = false;
};

class peer_timers {
public:
    /// Seconds; 0 is off.
    void set_persistent_keepalive(std::uint16_t interval_s) noexcept { persistent_keepalive_s_ = interval_s; }
    std::uint16_t persistent_keepalive_s() const noexcept { return persistent_keepalive_s_; }

    /// Data was sent and nothing authenticated came in since: another `data_sent` changes nothing.
    bool awaits_reply() const noexcept { return armed(new_handshake); }

    //= linux: new handshake when data went out and nothing came in for Keepalive-Timeout + Rekey-Timeout, and a jitter
    void data_sent(instant now, duration jitter) noexcept {
        if (!armed(new_handshake)) at(new_handshake) = now + new_handshake_timeout + jitter;
    }
    //= wp 6.5: an empty packet when data came in and nothing went out for Keepalive-Timeout
    void data_received(instant now) noexcept {
        if (armed(send_keepalive))
            needs_another_keepalive_ = true;
        else
            at(send_keepalive) = now + keepalive_timeout;
    }
    //= linux: whatever is sent takes the place of the passive keepalive
    void any_authenticated_packet_sent() noexcept { disarm(send_keepalive); }
    //= linux: any authenticated packet is the answer that was waited for
    void any_authenticated_packet_received() noexcept { disarm(new_handshake); }
    //= linux: persistent keepalive counts from the last packet in either direction
    void any_authenticated_packet_traversal(instant now) noexcept {
        if (persistent_keepalive_s_ != 0) at(persistent_keepalive) = now + seconds(persistent_keepalive_s_);
    }
    void handshake_initiated(instant now, duration jitter) noexcept {
        at(retransmit_handshake) = now + rekey_timeout + jitter;
    }
    /// The other end's initiation came in. If ours waits for its answer, that will not come any more, and the response
    /// sent now forbids another initiation for a while, also one that was `wanted`: it is sent `extra` after that.
    //= linux: two initiations that cross end in a session, by their jitters
    void initiation_crossed(instant now, bool wanted, duration extra) noexcept {
        if (wanted || armed(retransmit_handshake)) at(retransmit_handshake) = now + rekey_timeout + extra;
    }
    void handshake_complete() noexcept {
        disarm(retransmit_handshake);
        attempts_ = 0;
        sent_last_minute_handshake_ = false;
    }
    //= wp 6.1: keys are zeroed three times Reject-After-Time after the last session began
    void session_derived(instant now) noexcept { at(zero_key_material) = now + zero_key_material_after; }

    /// A new attempt begins, as opposed to a retransmission.
    void new_attempt() noexcept { attempts_ = 0; }
    unsigned attempts() const noexcept { return attempts_; }

    /// True once a session: an initiator that only receives renews it in time.
    //= linux: an initiator that only receives renews a session once
    bool take_last_minute_handshake() noexcept { return !std::exchange(sent_last_minute_handshake_, true); }

    /// The interface went down or the peer goes away.
    void stop() noexcept {
        due_.fill(instant::never());
        attempts_ = 0;
        needs_another_keepalive_ = false;
        sent_last_minute_handshake_ = false;
    }

    /// The earliest moment at which `expire` has work.
    instant next_deadline() const noexcept { return *std::min_element(due_.begin(), due_.end()); }

    /// Runs the timers that are due.
    timer_actions expire(instant now) noexcept {
        timer_actions act;
        if (fires(retransmit_handshake, now)) {
            //= wp 6.4: give up after Rekey-Attempt-Time
            if (attempts_ > max_handshake_attempts) {
                disarm(send_keepalive);
                act.give_up = true;
                if (!armed(zero_key_material)) at(zero_key_material) = now + zero_key_material_after;
            } else {
                ++attempts_;
                act.retry_initiation = true;
            }
        }
        if (fires(send_keepalive, now)) {
            act.keepalive = true;
            if (std::exchange(needs_another_keepalive_, false)) at(send_keepalive) = now + keepalive_timeout;
        }
        if (fires(new_handshake, now)) act.initiate = true;
        if (fires(zero_key_material, now)) act.zero_keys = true;
        if (fires(persistent_keepalive, now)) {
            act.keepalive |= persistent_keepalive_s_ != 0;
            any_authenticated_packet_traversal(now); // again, also if nothing may be sent now
        }
        return act;
    }

private:
    enum timer : std::size_t {
        retransmit_handshake,
        send_keepalive,
        new_handshake,
        zero_key_material,
        persistent_keepalive,
        count
    };

    instant& at(timer t) noexcept { return due_[t]; }
    WG_OUTLINE bool armed(timer t) const noexcept { return due_[t] != instant::never(); }
    WG_OUTLINE void disarm(timer t) noexcept { due_[t] = instant::never(); }
    bool fires(timer t, instant now) noexcept {
        if (due_[t] > now) return false;
        disarm(t);
        return true;
    }

    std::array<instant, count> due_ = {instant::never(), instant::never(), instant::never(), instant::never(),
                                       instant::never()};
    std::uint16_t persistent_keepalive_s_ = 0;
    std::uint8_t attempts_ = 0;
    bool needs_another_keepalive_ = false;
    bool sent_last_minute_handshake_ = false;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Cryptokey routing (whitepaper 2): which peer an address belongs to, by the longest prefix. Layer 4.
//
// Two tries, one a family, with paths compressed: a node is a prefix that somebody has, or the fork between two.
// A look-up is lock-free of itself and changes nothing; one thread at a time may change.
#ifndef WG_DEVICE_ALLOWED_IPS_HPP
#define WG_DEVICE_ALLOWED_IPS_HPP


#include <algorithm>
#include <bit>
#include <compare>

namespace wg::inline WG_ABI {

/// An IPv4 address as a number.
struct prefix_key_v4 {
    static constexpr unsigned width = 32;
    std::uint32_t value = 0;

    static prefix_key_v4 load(byte const* from) noexcept { return {load_be32(from)}; }
    void store(byte* to) const noexcept { store_be32(to, value); }
    unsigned bit(unsigned at) const noexcept { return (value >> (31 - at)) & 1; }
    unsigned common_bits(prefix_key_v4 other) const noexcept {
        return static_cast<unsigned>(std::countl_zero(value ^ other.value));
    }
};

/// An IPv6 address as two numbers.
struct prefix_key_v6 {
    static constexpr unsigned width = 128;
    std::uint64_t high = 0, low = 0;

    static prefix_key_v6 load(byte const* from) noexcept { return {load_be64(from), load_be64(from + 8)}; }
    void store(byte* to) const noexcept {
        store_be64(to, high);
        store_be64(to + 8, low);
    }
    unsigned bit(unsigned at) const noexcept {
        return static_cast<unsigned>((at < 64 ? high >> (63 - at) : low >> (127 - at)) & 1);
    }
    unsigned common_bits(prefix_key_v6 other) const noexcept {
        return static_cast<unsigned>(high != other.high ? std::countl_zero(high ^ other.high)
                                                        : 64 + std::countl_zero(low ^ other.low));
    }
};

template <class Key, class Owner> struct prefix_node {
    Key key{};
    std::uint8_t bits = 0;
    Owner* owner = nullptr; ///< nullptr: only a fork
    prefix_node* parent = nullptr;
    prefix_node* child[2] = {};
    prefix_node* next = nullptr; ///< of the same owner
    prefix_node* before = nullptr;
};

/// The prefixes of one owner in the order in which they came. An Owner has one of these for each family.
template <class Key, class Owner> struct prefix_list {
    prefix_node<Key, Owner>* first = nullptr;
    prefix_node<Key, Owner>* last = nullptr;
    std::size_t count = 0;

    void add(prefix_node<Key, Owner>& node) noexcept {
        node.before = last;
        node.next = nullptr;
        (last != nullptr ? last->next : first) = &node;
        last = &node;
        ++count;
    }
    void remove(prefix_node<Key, Owner>& node) noexcept {
        (node.before != nullptr ? node.before->next : first) = node.next;
        (node.next != nullptr ? node.next->before : last) = node.before;
        --count;
    }
};

/// One family. `List` is the member of Owner that holds its prefixes; `Pool` a pool of nodes, two for each prefix.
template <class Key, class Owner, class Pool, prefix_list<Key, Owner> Owner::*List> class prefix_trie {
    using node = prefix_node<Key, Owner>;

public:
    template <class Storage> explicit prefix_trie(Storage& storage) noexcept : nodes_(storage) {}

    std::size_t size() const noexcept { return size_; }

    /// Whether `count` more prefixes can be inserted.
    bool reserve(std::size_t count) noexcept { return nodes_.reserve(2 * count); }

    /// Who has the longest prefix of the address at `address`; nullptr: nobody.
    Owner* find(byte const* address) const noexcept {
        Key const key = Key::load(address);
        Owner* found = nullptr;
        for (node const* at = root_; at != nullptr && key.common_bits(at->key) >= at->bits;
             at = at->child[key.bit(at->bits)]) {
            if (at->owner != nullptr) found = at->owner;
            if (at->bits == Key::width) break;
        }
        return found;
    }

    /// Who has just this prefix.
    Owner* find_exact(byte const* address, unsigned bits) const noexcept {
        node const* const at = exact(Key::load(address), bits);
        return at != nullptr ? at->owner : nullptr;
    }

    /// Gives the prefix to `owner`, taking it from whoever has it. False: no memory (see reserve); nothing changed.
    bool insert(byte const* address, unsigned bits, Owner& owner) noexcept {
        Key const key = Key::load(address);
        node* parent = nullptr;
        node** link = &root_;
        while (*link != nullptr && (*link)->bits < bits && key.common_bits((*link)->key) >= (*link)->bits) {
            parent = *link;
            link = &parent->child[key.bit(parent->bits)];
        }
        node* const below = *link;
        unsigned const common =
            below == nullptr ? bits : std::min({key.common_bits(below->key), bits, unsigned{below->bits}});
        if (below != nullptr && below->bits == bits && common == bits) {
            give(*below, owner);
            return true;
        }
        if (!nodes_.reserve(2)) return false;
        node& fresh = make(key, bits);
        give(fresh, owner);
        if (below == nullptr) {
            attach(link, parent, fresh);
        } else if (common == bits) {
            attach(link, parent, fresh);
            attach(&fresh.child[below->key.bit(bits)], &fresh, *below);
        } else {
            node& fork = make(key, common);
            attach(link, parent, fork);
            attach(&fork.child[key.bit(common)], &fork, fresh);
            attach(&fork.child[below->key.bit(common)], &fork, *below);
        }
        return true;
    }

    /// Takes the prefix from `owner`, if he has it.
    void remove(byte const* address, unsigned bits, Owner& owner) noexcept {
        node* const at = exact(Key::load(address), bits);
        if (at != nullptr && at->owner == &owner) remove(*at);
    }

    void remove_all(Owner& owner) noexcept {
        while ((owner.*List).first != nullptr) remove(*(owner.*List).first);
    }

private:
    node* exact(Key key, unsigned bits) const noexcept {
        node* at = root_;
        while (at != nullptr && at->bits < bits && key.common_bits(at->key) >= at->bits)
            at = at->child[key.bit(at->bits)];
        return at != nullptr && at->bits == bits && key.common_bits(at->key) >= bits ? at : nullptr;
    }

    node& make(Key key, unsigned bits) noexcept {
        node& fresh = *nodes_.acquire();
        fresh.key = key;
        fresh.bits = static_cast<std::uint8_t>(bits);
        return fresh;
    }

    static void attach(node** link, node* parent, node& child) noexcept {
        *link = &child;
        child.parent = parent;
    }

    void give(node& to, Owner& owner) noexcept {
        if (to.owner == &owner) return;
        if (to.owner != nullptr)
            (to.owner->*List).remove(to);
        else
            ++size_;
        to.owner = &owner;
        (owner.*List).add(to);
    }

    void remove(node& at) noexcept {
        (at.owner->*List).remove(at);
        at.owner = nullptr;
        --size_;
        node* const parent = at.parent;
        if (splice(at) && parent != nullptr && parent->owner == nullptr) splice(*parent); // a fork of one is none
    }

    /// Takes a node that nobody has and that forks nothing out of the trie.
    bool splice(node& at) noexcept {
        if (at.child[0] != nullptr && at.child[1] != nullptr) return false;
        node* const child = at.child[0] != nullptr ? at.child[0] : at.child[1];
        node** const link = at.parent == nullptr ? &root_ : &at.parent->child[at.parent->child[1] == &at];
        *link = child;
        if (child != nullptr) child->parent = at.parent;
        nodes_.release(&at);
        return true;
    }

    Pool nodes_;
    node* root_ = nullptr;
    std::size_t size_ = 0;
};

/// Both families. An Owner has `allowed_v4` and `allowed_v6`, its lists.
template <class Owner, class Storage> class allowed_ips {
    static constexpr std::size_t max_nodes = 2 * Storage::max_allowed_ips;
    template <class Key> using pool = typename Storage::template pool<prefix_node<Key, Owner>, max_nodes>;

public:
    explicit allowed_ips(Storage& storage) noexcept : v4_(storage), v6_(storage) {}

    Owner* find(family kind, byte const* address) const noexcept {
        return kind == family::v4 ? v4_.find(address) : v6_.find(address);
    }

    Owner* find_exact(ip_prefix const& prefix) const noexcept {
        byte const* const address = prefix.address.octets.data();
        return prefix.address.kind == family::v4 ? v4_.find_exact(address, prefix.bits)
                                                 : v6_.find_exact(address, prefix.bits);
    }
    bool insert(ip_prefix const& prefix, Owner& owner) noexcept {
        byte const* const address = prefix.address.octets.data();
        return prefix.address.kind == family::v4 ? v4_.insert(address, prefix.bits, owner)
                                                 : v6_.insert(address, prefix.bits, owner);
    }
    void remove(ip_prefix const& prefix, Owner& owner) noexcept {
        byte const* const address = prefix.address.octets.data();
        if (prefix.address.kind == family::v4)
            v4_.remove(address, prefix.bits, owner);
        else
            v6_.remove(address, prefix.bits, owner);
    }
    void remove_all(Owner& owner) noexcept {
        v4_.remove_all(owner);
        v6_.remove_all(owner);
    }

    /// Whether so many prefixes can be added, of which with today's at most `most` are there at a time.
    bool reserve(std::size_t added_v4, std::size_t most_v4, std::size_t added_v6, std::size_t most_v6) noexcept {
        if constexpr (Storage::max_allowed_ips != 0)
            return most_v4 <= Storage::max_allowed_ips && most_v6 <= Storage::max_allowed_ips;
        return v4_.reserve(added_v4) && v6_.reserve(added_v6);
    }
    std::size_t size(family kind) const noexcept { return kind == family::v4 ? v4_.size() : v6_.size(); }
    std::size_t count(Owner const& owner, family kind) const noexcept {
        return kind == family::v4 ? owner.allowed_v4.count : owner.allowed_v6.count;
    }

    /// Calls `each(ip_prefix)` for all of an owner's prefixes.
    template <class Each> static void for_each(Owner const& owner, Each&& each) {
        visit(owner.allowed_v4, family::v4, each);
        visit(owner.allowed_v6, family::v6, each);
    }

private:
    template <class Key, class Each> static void visit(prefix_list<Key, Owner> const& list, family kind, Each& each) {
        for (prefix_node<Key, Owner> const* at = list.first; at != nullptr; at = at->next) {
            ip_address address{{}, kind};
            at->key.store(address.octets.data());
            each(ip_prefix::of(address, at->bits));
        }
    }

    prefix_trie<prefix_key_v4, Owner, pool<prefix_key_v4>, &Owner::allowed_v4> v4_;
    prefix_trie<prefix_key_v6, Owner, pool<prefix_key_v6>, &Owner::allowed_v6> v6_;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Which peer's timer is due next: a binary heap. Layer 4; one thread at a time.
//
// A timer that moves to a later moment costs nothing: the peer stays where it is and is looked at a little early.
#ifndef WG_DEVICE_DEADLINE_QUEUE_HPP
#define WG_DEVICE_DEADLINE_QUEUE_HPP


#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace wg::inline WG_ABI {

/// `Peer` has `std::uint32_t deadline_position`, which is `not_queued` at first.
template <class Peer, class Storage> class deadline_queue {
public:
    static constexpr std::uint32_t not_queued = UINT32_MAX;

    explicit deadline_queue(Storage& storage) noexcept : heap_(storage) {
        if constexpr (Storage::max_peers != 0) (void)heap_.resize(Storage::max_peers);
    }

    /// Room for `count` peers in all. False: no memory; nothing changed.
    bool reserve(std::size_t count, Storage& storage) noexcept {
        if (count <= heap_.view().size()) return true;
        if constexpr (Storage::max_peers == 0) {
            array larger(storage);
            if (!larger.resize(std::bit_ceil(count))) return false;
            for (std::size_t i = 0; i < size_; ++i) larger.view()[i] = heap_.view()[i];
            heap_ = std::move(larger);
            return true;
        }
        return false;
    }

    /// Sees to it that `peer` is looked at by `deadline` at the latest.
    void schedule(Peer& peer, instant deadline) noexcept {
        std::span<entry> const heap = heap_.view();
        if (peer.deadline_position == not_queued) {
            if (deadline == instant::never()) return;
            peer.deadline_position = static_cast<std::uint32_t>(size_);
            heap[size_++] = {deadline, &peer};
            rise(peer.deadline_position);
        } else if (deadline < heap[peer.deadline_position].due) {
            heap[peer.deadline_position].due = deadline;
            rise(peer.deadline_position);
        }
    }

    void remove(Peer& peer) noexcept {
        if (peer.deadline_position == not_queued) return;
        std::span<entry> const heap = heap_.view();
        std::size_t const hole = std::exchange(peer.deadline_position, not_queued);
        if (hole != --size_) {
            place(hole, heap[size_]);
            rise(hole);
            sink(heap_.view()[hole].peer->deadline_position);
        }
    }

    instant next() noexcept { return size_ == 0 ? instant::never() : heap_.view()[0].due; }

    /// Takes out a peer that is to be looked at by `now`; nullptr: none.
    Peer* take_due(instant now) noexcept {
        if (next() > now) return nullptr;
        if (size_ == 0) return nullptr;
        Peer* const peer = heap_.view()[0].peer;
        remove(*peer);
        return peer;
    }

private:
    struct entry {
        instant due{};
        Peer* peer = nullptr;
    };
    using array = typename Storage::template array<entry, Storage::max_peers>;

    void place(std::size_t at, entry const& e) noexcept {
        heap_.view()[at] = e;
        e.peer->deadline_position = static_cast<std::uint32_t>(at);
    }
    void rise(std::size_t at) noexcept {
        entry const moving = heap_.view()[at];
        while (at != 0 && moving.due < heap_.view()[(at - 1) / 2].due) {
            place(at, heap_.view()[(at - 1) / 2]);
            at = (at - 1) / 2;
        }
        place(at, moving);
    }
    void sink(std::size_t at) noexcept {
        entry const moving = heap_.view()[at];
        for (std::size_t child = 2 * at + 1; child < size_; child = 2 * at + 1) {
            if (child + 1 < size_ && heap_.view()[child + 1].due < heap_.view()[child].due) ++child;
            if (moving.due <= heap_.view()[child].due) break;
            place(at, heap_.view()[child]);
            at = child;
        }
        place(at, moving);
    }

    array heap_;
    std::size_t size_ = 0;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// What a device of few peers has in place of tables, tries and heaps: it looks at each. Layer 4; guarded by the
// device's lock.
//
// For a handful of peers that is as fast, takes less code than one of those, and no memory but the entries themselves.
#ifndef WG_DEVICE_FEW_HPP
#define WG_DEVICE_FEW_HPP


#include <algorithm>

namespace wg::inline WG_ABI {

/// Whether a fixed capacity is so small that all of it is looked at.
constexpr bool is_few(std::size_t capacity) noexcept { return capacity != 0 && capacity <= 16; }

/// Stands where a device of few peers has nothing. `Place` makes several of them in one object take no room.
template <int Place> struct no_table {
    no_table() noexcept = default;
    template <class Storage> explicit no_table(Storage&) noexcept {}
};

/// Cryptokey routing (whitepaper 2) by a list of all prefixes; the members of `allowed_ips`.
template <class Owner, class Storage> class few_allowed_ips {
public:
    explicit few_allowed_ips(Storage&) noexcept {}

    /// Who has the longest prefix of the address at `address`; nullptr: nobody.
    Owner* find(family kind, byte const* address) const noexcept {
        entry const* best = nullptr;
        for (entry const& e : all())
            if (e.prefix.address.kind == kind && (best == nullptr || best->prefix.bits < e.prefix.bits) &&
                covers(e.prefix, address))
                best = &e;
        return best != nullptr ? best->owner : nullptr;
    }

    Owner* find_exact(ip_prefix const& prefix) const noexcept {
        for (entry const& e : all())
            if (e.prefix == prefix) return e.owner;
        return nullptr;
    }

    /// Gives the prefix to `owner`, taking it from whoever has it. False: no room.
    bool insert(ip_prefix const& prefix, Owner& owner) noexcept {
        for (std::size_t i = 0; i < size_; ++i) {
            if (entries_[i].prefix != prefix) continue;
            if (entries_[i].owner == &owner) return true; // and keeps its place
            erase(i);
            break;
        }
        if (size_ == capacity) return false;
        entries_[size_++] = {prefix, &owner};
        return true;
    }
    void remove(ip_prefix const& prefix, Owner& owner) noexcept {
        remove_if([&](entry const& e) noexcept { return e.owner == &owner && e.prefix == prefix; });
    }
    void remove_all(Owner& owner) noexcept {
        remove_if([&](entry const& e) noexcept { return e.owner == &owner; });
    }

    bool reserve(std::size_t, std::size_t most_v4, std::size_t, std::size_t most_v6) noexcept {
        return most_v4 <= Storage::max_allowed_ips && most_v6 <= Storage::max_allowed_ips;
    }
    std::size_t size(family kind) const noexcept {
        return count_if([&](entry const& e) noexcept { return e.prefix.address.kind == kind; });
    }
    std::size_t count(Owner const& owner, family kind) const noexcept {
        return count_if([&](entry const& e) noexcept { return e.owner == &owner && e.prefix.address.kind == kind; });
    }

    /// Calls `each(ip_prefix)` for all of an owner's prefixes, IPv4 first.
    template <class Each> void for_each(Owner const& owner, Each&& each) const {
        for (family const kind : {family::v4, family::v6})
            for (entry const& e : all())
                if (e.owner == &owner && e.prefix.address.kind == kind) each(e.prefix);
    }

private:
    struct entry {
        ip_prefix prefix{};
        Owner* owner = nullptr;
    };
    static constexpr std::size_t capacity = 2 * Storage::max_allowed_ips; // so many of each family

    static bool covers(ip_prefix const& prefix, byte const* address) noexcept {
        std::size_t const whole = prefix.bits / 8u;
        byte const* const octets = prefix.address.octets.data();
        if (std::memcmp(octets, address, whole) != 0) return false;
        unsigned const rest = prefix.bits % 8u;
        return rest == 0 || ((octets[whole] ^ address[whole]) & 0xffu) >> (8 - rest) == 0;
    }

    std::span<entry const> all() const noexcept { return {entries_.data(), size_}; }
    void erase(std::size_t at) noexcept { // the others keep their order
        for (--size_; at < size_; ++at) entries_[at] = entries_[at + 1];
    }
    template <class Which> void remove_if(Which const& which) noexcept {
        for (std::size_t i = size_; i-- > 0;)
            if (which(entries_[i])) erase(i);
    }
    template <class Which> std::size_t count_if(Which const& which) const noexcept {
        return static_cast<std::size_t>(std::count_if(all().begin(), all().end(), which));
    }

    std::array<entry, capacity> entries_{};
    std::size_t size_ = 0;
};

/// Which peer's timer is due: the members of `deadline_queue`, over the list of all peers.
template <class Peer> class few_deadlines {
public:
    explicit few_deadlines(Peer* first) noexcept : first_(first) {}

    void schedule(Peer&, instant) noexcept {} // nothing is remembered that the peer does not know

    instant next() const noexcept {
        instant earliest = instant::never();
        for (Peer* p = first_; p != nullptr; p = p->next) earliest = std::min(earliest, p->timers.next_deadline());
        return earliest;
    }
    /// A peer that is to be looked at by `now`; nullptr: none. Its timers are to be run next, or it is found again.
    Peer* take_due(instant now) const noexcept {
        for (Peer* p = first_; p != nullptr; p = p->next)
            if (p->timers.next_deadline() <= now) return p;
        return nullptr;
    }

private:
    Peer* first_;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Packets that wait for a session: a queue for each peer, slots from one pool for all. Layer 4; one thread at a time.
#ifndef WG_DEVICE_STAGING_HPP
#define WG_DEVICE_STAGING_HPP


#include <algorithm>

namespace wg::inline WG_ABI {

/// 2 KiB of a packet; a longer packet is a chain of them.
struct staging_slot {
    static constexpr std::size_t data_bytes = 2048 - 2 * sizeof(void*) - sizeof(std::uint32_t);

    staging_slot* rest = nullptr; ///< of this packet
    staging_slot* next = nullptr; ///< packet
    std::uint32_t packet_bytes = 0;
    byte data[data_bytes];
};

/// A peer's queue, oldest first.
struct staging_queue {
    staging_slot* first = nullptr;
    staging_slot* last = nullptr;
    std::uint32_t count = 0;

    bool empty() const noexcept { return first == nullptr; }
};

template <class Storage> class staging {
public:
    explicit staging(Storage& storage) noexcept : slots_(storage) {}

    /// Copies a packet to the end of a queue. A full queue, or an empty pool, costs the queue's oldest packets.
    /// Returns how many packets were lost, this one included when there is no room at all.
    std::size_t stage(staging_queue& queue, bytes_view data) noexcept {
        std::size_t lost = 0;
        //= linux: while there is no session packets wait, 128 a peer; the oldest is lost first
        if (queue.count >= Storage::max_staged_packets_per_peer) {
            drop_oldest(queue);
            ++lost;
        }
        std::size_t const needed =
            std::max<std::size_t>(1, (data.size() + staging_slot::data_bytes - 1) / staging_slot::data_bytes);
        while (!slots_.reserve(needed)) {
            ++lost;
            if (queue.empty()) return lost;
            drop_oldest(queue);
        }
        staging_slot* const head = slots_.acquire();
        head->packet_bytes = static_cast<std::uint32_t>(data.size());
        for (staging_slot* slot = head;; slot = slot->rest) {
            std::size_t const part = std::min(data.size(), staging_slot::data_bytes);
            if (part != 0) std::memcpy(slot->data, data.data(), part);
            data = data.subspan(part);
            if (data.empty()) break;
            slot->rest = slots_.acquire();
        }
        (queue.last != nullptr ? queue.last->next : queue.first) = head;
        queue.last = head;
        ++queue.count;
        return lost;
    }

    /// Size in bytes of the oldest packet; the queue is not empty.
    static std::size_t oldest_bytes(staging_queue const& queue) noexcept { return queue.first->packet_bytes; }

    /// Moves the oldest packet out of the queue into `to`, which is at least `oldest_bytes` long.
    void unstage(staging_queue& queue, bytes to) noexcept {
        WG_ASSERT(to.size() >= oldest_bytes(queue));
        std::size_t left = oldest_bytes(queue);
        byte* at = to.data();
        for (staging_slot const* slot = queue.first; left != 0; slot = slot->rest) {
            std::size_t const part = std::min(left, staging_slot::data_bytes);
            std::memcpy(at, slot->data, part);
            at += part;
            left -= part;
        }
        drop_oldest(queue);
    }

    void drop_oldest(staging_queue& queue) noexcept {
        staging_slot* slot = queue.first;
        queue.first = slot->next;
        if (queue.first == nullptr) queue.last = nullptr;
        --queue.count;
        while (slot != nullptr) {
            staging_slot* const rest = slot->rest;
            slots_.release(slot);
            slot = rest;
        }
    }

    /// Returns how many packets were dropped.
    std::size_t drop_all(staging_queue& queue) noexcept {
        std::size_t const dropped = queue.count;
        while (!queue.empty()) drop_oldest(queue);
        return dropped;
    }

private:
    typename Storage::template pool<staging_slot, Storage::max_staged_packets> slots_;
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

/// What of a peer is secret, apart from its sessions. Lives in the storage's region for secrets.
template <policies Policies> struct peer_secrets {
    remote_identity remote;
    handshake exchange;
    cookie_jar<Policies> cookies;
};

template <policies Policies> struct peer {
    using keypair_type = keypair<Policies::storage::replay_bits>;

    std::uint32_t number = 0; ///< for the observer; never used again
    peer_secrets<Policies>* secrets = nullptr;
    path where{};
    keypair_slots<keypair_type> keypairs;
    peer_timers timers;
    instant last_sent_handshake{};          ///< initiation or response
    instant last_initiation_consumption{};
    byte_array<timestamp_bytes> greatest_timestamp{}; ///< of all initiations; only the peer's removal forgets it
    byte_array<timestamp_bytes> last_handshake{};     ///< wall clock as TAI64N, zero: never
    std::uint64_t tx_bytes = 0;
    std::uint64_t rx_bytes = 0;

    template <class List, int Place>
    using unless_few = std::conditional_t<is_few(Policies::storage::max_allowed_ips), no_table<Place>, List>;
    [[no_unique_address]] unless_few<prefix_list<prefix_key_v4, peer>, 4> allowed_v4;
    [[no_unique_address]] unless_few<prefix_list<prefix_key_v6, peer>, 6> allowed_v6;

    staging_queue staged;
    bool wants_initiation = false;
    bool wants_keepalive = false;
    bool queued_for_transmit = false;
    bool removed = false;          ///< only jobs in flight still know it
    bool discounted = false, prefixes_discounted = false; ///< while a configuration is being admitted
    std::uint32_t in_flight = 0;   ///< those jobs
    std::uint32_t deadline_position = UINT32_MAX; // of a device of few peers it is not used
    peer* next_for_transmit = nullptr;
    peer* next = nullptr;          ///< in the order in which they were added
    peer* before = nullptr;

    wg::public_key const& key() const noexcept { return secrets->remote.public_key; }
    wg::handshake& exchange() noexcept { return secrets->exchange; }

    //= wp 6.1: at most one initiation every Rekey-Timeout; a response counts too
    bool may_send_initiation(instant now) const noexcept { return now - last_sent_handshake >= rekey_timeout; }
    void reset_last_sent_handshake(instant now) noexcept { last_sent_handshake = now - rekey_timeout - seconds(1); }
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

/// What the caller does with a job's data next.
enum class disposition : std::uint8_t {
    drop,    ///< nothing; `why` says why
    send,    ///< to the network, at `where`
    deliver, ///< to the TUN device
};

/// One packet or datagram. The caller fills in `data` (and of a datagram `where` and `tos`); the device does the rest
/// in that buffer. Whatever a device has prepared or transmitted goes back to `complete` once, sent or not: until then
/// the job keeps its peer and its keys alive.
template <policies Policies> struct job {
    packet data{};
    path where{};
    std::uint8_t tos = 0;
    disposition next = disposition::drop;
    status why = status::ok;
    bool outbound = false;
    bool has_data = false; ///< not a keepalive nor a handshake message
    std::uint64_t counter = 0;
    typename peer<Policies>::keypair_type* keys = nullptr; ///< what `crypt` uses; nullptr: nothing to do
    peer<Policies>* owner = nullptr;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// All peers of a device: by public key, by index, by allowed IP and by deadline; and the lives of peers and sessions,
// which end only when no job holds them. Layer 4; guarded by the device's lock.
#ifndef WG_DEVICE_PEER_TABLE_HPP
#define WG_DEVICE_PEER_TABLE_HPP

// SPDX-License-Identifier: BSL-1.0
// A hash table in one array: open addressing, linear probing, no tombstones. Layer 0; one thread at a time.
#ifndef WG_BASE_FLAT_TABLE_HPP
#define WG_BASE_FLAT_TABLE_HPP


#include <bit>
#include <utility>

namespace wg::inline WG_ABI {

/// An entry is `explicit operator bool` when it is one, and has `hash()`. `Capacity` (a power of two) slots, all but
/// one of which may be used; 0 grows, and then at most half are used. `Storage` models `storage` of policy.hpp.
template <class Entry, class Storage, std::size_t Capacity> class flat_table {
    using array = typename Storage::template array<Entry, Capacity>;
    static_assert((Capacity & (Capacity - 1)) == 0);

public:
    explicit flat_table(Storage& storage) noexcept : entries_(storage) {
        if constexpr (Capacity != 0) (void)entries_.resize(Capacity);
    }

    /// Makes room for `count` more entries. False: no memory, or the capacity is used up; nothing changed.
    bool reserve(std::size_t count, Storage& storage) noexcept {
        std::size_t const want = used_ + count;
        if constexpr (Capacity != 0) return want < Capacity;
        if (want * 2 <= entries_.view().size()) return true;
        array larger(storage);
        if (!larger.resize(std::bit_ceil(want * 2 < 16 ? std::size_t{16} : want * 2))) return false;
        std::span<Entry> const to = larger.view();
        for (Entry const& entry : entries_.view()) {
            if (!entry) continue;
            std::size_t at = static_cast<std::size_t>(entry.hash()) & (to.size() - 1);
            while (to[at]) at = (at + 1) & (to.size() - 1);
            to[at] = entry;
        }
        entries_ = std::move(larger);
        return true;
    }

    /// The first entry with this hash that `matches`, or nullptr.
    template <class Predicate> Entry* find(std::uint64_t hash, Predicate&& matches) noexcept {
        std::span<Entry> const all = entries_.view();
        if (all.empty()) return nullptr;
        for (std::size_t at = static_cast<std::size_t>(hash) & (all.size() - 1); all[at];
             at = (at + 1) & (all.size() - 1))
            if (matches(all[at])) return &all[at];
        return nullptr;
    }

    /// Adds an entry that is not there yet. False: `reserve` was not asked and there is no room.
    bool insert(Entry const& entry) noexcept {
        std::span<Entry> const all = entries_.view();
        if (used_ + 1 >= all.size()) return false;
        std::size_t at = static_cast<std::size_t>(entry.hash()) & (all.size() - 1);
        while (all[at]) at = (at + 1) & (all.size() - 1);
        all[at] = entry;
        ++used_;
        return true;
    }

    /// Removes an entry that `find` returned; entries may move.
    void erase(Entry* entry) noexcept {
        std::span<Entry> const all = entries_.view();
        std::size_t const mask = all.size() - 1;
        std::size_t hole = static_cast<std::size_t>(entry - all.data());
        // What was pushed behind the hole by a collision moves into it, so that no search ends too early.
        for (std::size_t at = (hole + 1) & mask; all[at]; at = (at + 1) & mask) {
            std::size_t const home = static_cast<std::size_t>(all[at].hash()) & mask;
            if (((at - home) & mask) < ((at - hole) & mask)) continue;
            all[hole] = all[at];
            hole = at;
        }
        all[hole] = Entry{};
        --used_;
    }

    std::size_t size() const noexcept { return used_; }

private:
    array entries_;
    std::size_t used_ = 0;
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

template <policies Policies> class peer_table {
    using storage = typename Policies::storage;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;
    using job_type = job<Policies>;
    static constexpr std::size_t max_peers = storage::max_peers;
    static constexpr bool few = is_few(max_peers); ///< then peers and indices are found without tables
    template <class Table, int Place> using unless_few = std::conditional_t<few, no_table<Place>, Table>;
    using routes_type = std::conditional_t<is_few(storage::max_allowed_ips), few_allowed_ips<peer_type, storage>,
                                           allowed_ips<peer_type, storage>>;
    static constexpr std::size_t indices_per_peer = 4; ///< three sessions and a handshake
    /// A peer never has a previous and a next session at once, see `keypair_slots`. Where memory is fixed, a new one is
    /// made after the old ones went; while jobs of these are in flight, there may be no room for it.
#ifdef WG_COMPACT
    static constexpr std::size_t max_keypairs = 2 * max_peers;
#else
    static constexpr std::size_t max_keypairs =
        max_peers == 0 ? 0 : 3 * max_peers + 1; ///< a new one before an old one goes
#endif

public:
    static constexpr bool two_sessions = max_keypairs != 0 && max_keypairs <= 2 * max_peers;

    /// The table of public keys is salted, so that nobody can choose keys that collide in it.
    template <random_source Random>
    peer_table(storage& from, Random& random) noexcept
        : growth_(from), peers_(from), secrets_(from), keypairs_(from), by_key_(from), by_index_(from),
          allowed_(from), deadlines_(from) {
        if constexpr (!few) {
            byte_array<8> raw{};
            if (random.fill(raw)) growth_.salt = load_le64(raw.data());
        }
    }
    ~peer_table() { remove_all(); }

    routes_type& allowed() noexcept { return allowed_; }
    decltype(auto) deadlines() noexcept {
        if constexpr (few)
            return few_deadlines<peer_type>(first_);
        else
            return (deadlines_);
    }
    peer_type* first() const noexcept { return first_; }
    std::size_t size() const noexcept { return size_; }

    // --- peers

    /// Room to add `added` peers, of whom with today's at most `most` are there at a time. no_memory, too_many_peers.
    status reserve(std::size_t added, std::size_t most) noexcept {
        if constexpr (max_peers != 0) {
            return most + shells_ <= max_peers ? status::ok : status::too_many_peers;
        } else {
            bool const enough = peers_.reserve(added) && secrets_.reserve(added) &&
                                by_key_.reserve(added, growth_.from) &&
                                by_index_.reserve(added * indices_per_peer, growth_.from) &&
                                deadlines_.reserve(size_ + added, growth_.from);
            return enough ? status::ok : status::no_memory;
        }
    }

    /// How many peers would leave a shell behind if they were removed now.
    std::size_t in_flight() const noexcept {
        std::size_t count = 0;
        for (peer_type const* p = first_; p != nullptr; p = p->next) count += p->in_flight != 0;
        return count;
    }

    peer_type* find([[maybe_unused]] primitives<Policies> const& with, key_view key) noexcept {
        if constexpr (few) {
            peer_type* p = first_;
            while (p != nullptr && std::memcmp(p->key().data(), key.data(), key_bytes) != 0) p = p->next;
            return p;
        } else {
            return find_by_hash(with, key);
        }
    }
    peer_type* find_by_hash(primitives<Policies> const& with, key_view key) noexcept {
        by_key_entry* const found = by_key_.find(hash_of(with, key), [&](by_key_entry const& e) {
            return std::memcmp(e.who->key().data(), key.data(), key_bytes) == 0;
        });
        return found == nullptr ? nullptr : found->who;
    }

    /// A peer with this key, whom nobody knows yet. nullptr: see reserve.
    peer_type* add([[maybe_unused]] primitives<Policies> const& with, key_view key, instant now) noexcept {
        if (reserve(1, size_ + 1) != status::ok) return nullptr;
        peer_type* const fresh = peers_.acquire();
        if (fresh == nullptr) return nullptr;
        fresh->secrets = secrets_.acquire();
        if (fresh->secrets == nullptr) {
            peers_.release(fresh);
            return nullptr;
        }
        copy(fresh->secrets->remote.public_key, key);
        fresh->number = next_number_++;
        fresh->reset_last_sent_handshake(now);
        fresh->last_initiation_consumption = now - initiation_interval;
        if constexpr (!few) by_key_.insert({hash_of(with, key), fresh});
        fresh->before = last_;
        (last_ != nullptr ? last_->next : first_) = fresh;
        last_ = fresh;
        ++size_;
        return fresh;
    }

    /// Forgets a peer and wipes what is secret of it; jobs in flight keep an empty shell until they are complete.
    void remove([[maybe_unused]] primitives<Policies> const& with, peer_type& gone) noexcept {
        if constexpr (!few)
            if (by_key_entry* const entry =
                    by_key_.find(hash_of(with, gone.key()), [&](by_key_entry const& e) { return e.who == &gone; }))
                by_key_.erase(entry);
        unlink(gone);
    }

    // --- jobs

    void hold(job_type& by, peer_type& who, keypair_type* keys = nullptr) noexcept {
        by.owner = &who;
        by.keys = keys;
        ++who.in_flight;
        if (keys != nullptr) ++keys->in_flight;
    }
    void let_go(job_type& by) noexcept {
        if (by.keys != nullptr && --by.keys->in_flight == 0 && by.keys->retired) keypairs_.release(by.keys);
        if (by.owner != nullptr && --by.owner->in_flight == 0 && by.owner->removed) {
            peers_.release(by.owner);
            --shells_;
        }
        by.keys = nullptr;
        by.owner = nullptr;
    }

    // --- sessions and indices

    struct index_entry {
        std::uint32_t index = 0;
        peer_type* who = nullptr;
        keypair_type* keys = nullptr; ///< nullptr: a handshake

        explicit operator bool() const noexcept { return who != nullptr; }
        std::uint64_t hash() const noexcept { return index; } // random by itself
    };

    /// Whose index it is; false: nobody's.
    index_entry find_index(std::uint32_t index) noexcept {
        if constexpr (few) {
            for (peer_type* p = first_; p != nullptr && index != 0; p = p->next) {
                auto const& slots = p->keypairs;
                for (keypair_type* keys : {slots.current, slots.previous, slots.next})
                    if (keys != nullptr && keys->local_index == index) return {index, p, keys};
                if (p->exchange().local_index == index) return {index, p, nullptr};
            }
            return {};
        } else {
            index_entry const* const found = find_entry(index);
            return found != nullptr ? *found : index_entry{};
        }
    }

    /// A random index that nobody uses, for a handshake of `who`; it replaces the one before. no_random, no_memory.
    //= wp 5.4.2: indices are random, and nobody has the same one
    template <random_source Random> result<std::uint32_t> make_index(peer_type& who, Random& random) noexcept {
        drop_index(who.exchange());
        if constexpr (!few)
            if (!by_index_.reserve(1, growth_.from)) return status::no_memory;
        for (int attempt = 0; attempt < 32; ++attempt) { // a source that repeats itself is broken
            byte_array<4> raw{};
            if (!random.fill(raw)) return status::no_random;
            std::uint32_t const index = load_le32(raw.data());
            if (index == 0 || find_index(index)) continue;
            if constexpr (!few) by_index_.insert({index, &who, nullptr});
            who.exchange().local_index = index;
            return index;
        }
        return status::no_random;
    }

    /// Ends a handshake without a session.
    void forget_handshake(peer_type& who) noexcept {
        drop_index(who.exchange());
        who.exchange().clear();
    }

    /// A new session that takes over the handshake's index. nullptr: no memory.
    keypair_type* make_keypair(peer_type& who, instant now, bool initiator) noexcept {
        keypair_type* const fresh = keypairs_.acquire();
        if (fresh == nullptr) return nullptr;
        handshake& of = who.exchange();
        fresh->local_index = of.local_index;
        fresh->remote_index = of.remote_index;
        fresh->created = now;
        fresh->initiator = initiator;
        if constexpr (!few) find_entry(of.local_index)->keys = fresh;
        of.local_index = 0; // the session's now
        return fresh;
    }

    /// Ends a session: its index is unknown at once; its keys are wiped at once or after the last job that holds them.
    void retire(keypair_type& old) noexcept {
        if constexpr (!few)
            if (index_entry* const entry = find_entry(old.local_index); entry != nullptr && entry->keys == &old)
                by_index_.erase(entry);
        old.retired = true;
        if (old.in_flight == 0) keypairs_.release(&old);
    }

    void retire_all(peer_type& of) noexcept {
        of.keypairs.clear([this](keypair_type& old) noexcept { retire(old); });
    }

private:
    struct by_key_entry {
        std::uint64_t hash_ = 0;
        peer_type* who = nullptr;

        explicit operator bool() const noexcept { return who != nullptr; }
        std::uint64_t hash() const noexcept { return hash_; }
    };

    std::uint64_t hash_of(primitives<Policies> const& with, key_view key) const noexcept {
        byte_array<8> salt, digest;
        store_le64(salt.data(), growth_.salt);
        with.hash.blake2s(digest, salt, key, {});
        return load_le64(digest.data());
    }

    index_entry* find_entry(std::uint32_t index) noexcept {
        return by_index_.find(index, [index](index_entry const& e) { return e.index == index; });
    }

    void drop_index(handshake& of) noexcept {
        if (of.local_index == 0) return;
        if constexpr (!few) by_index_.erase(find_entry(of.local_index));
        of.local_index = 0;
    }

    void unlink(peer_type& gone) noexcept {
        allowed_.remove_all(gone);
        if constexpr (!few) deadlines_.remove(gone);
        forget_handshake(gone);
        retire_all(gone);
        (gone.before != nullptr ? gone.before->next : first_) = gone.next;
        (gone.next != nullptr ? gone.next->before : last_) = gone.before;
        --size_;
        secrets_.release(std::exchange(gone.secrets, nullptr));
        gone.removed = true;
        if (gone.in_flight == 0)
            peers_.release(&gone);
        else
            ++shells_;
    }

    void remove_all() noexcept {
        while (first_ != nullptr) unlink(*first_);
    }

    static constexpr std::size_t table_size(std::size_t entries) noexcept {
        return entries == 0 ? 0 : std::bit_ceil(entries + 1);
    }

    /// What tables grow from; a type of its own, since a reference takes room even where nothing grows.
    struct growth {
        std::uint64_t salt = 0;
        storage& from;

        explicit growth(storage& s) noexcept : from(s) {}
    };

    [[no_unique_address]] unless_few<growth, 5> growth_;
    typename storage::template pool<peer_type, max_peers> peers_;
    typename storage::template secret_pool<peer_secrets<Policies>, max_peers> secrets_;
    typename storage::template secret_pool<keypair_type, max_keypairs> keypairs_;
    [[no_unique_address]] unless_few<flat_table<by_key_entry, storage, table_size(max_peers)>, 1> by_key_;
    [[no_unique_address]] unless_few<flat_table<index_entry, storage, table_size(indices_per_peer * max_peers)>, 2>
        by_index_;
    routes_type allowed_;
    [[no_unique_address]] unless_few<deadline_queue<peer_type, storage>, 3> deadlines_;
    peer_type* first_ = nullptr;
    peer_type* last_ = nullptr;
    std::size_t size_ = 0;
    std::size_t shells_ = 0; ///< removed peers that jobs in flight still know; they take room
    std::uint32_t next_number_ = 0;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// A token bucket for each source address, in a table that never grows (Linux ratelimiter.c for the numbers). Layer 4.
//
// An IPv6 source is its /64, since whoever has one address there has all of them. A bucket that is full again is
// forgotten without loss; while every bucket of a set is in use, a new source is refused.
#ifndef WG_DEVICE_RATE_LIMITER_HPP
#define WG_DEVICE_RATE_LIMITER_HPP


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
    bool allow(Hash const& hash, Random& random, ip_address const& from, instant now) noexcept {
        if (buckets_.view().empty()) {
            // The table's key is random, so that nobody can choose addresses that share a set.
            if (!random.fill(key_) || !buckets_.resize(size)) return false;
        }
        byte_array<8> digest{};
        //= linux: an IPv6 source is its /64
        hash.blake2s(digest, key_, bytes_view(from.octets).first(from.kind == family::v4 ? 4 : 8), {});
        std::uint64_t const tag = load_le64(digest.data()) | 1; // 0 is an empty bucket
        std::span<bucket> const set =
            buckets_.view().subspan(static_cast<std::size_t>(tag >> 1) % (size / ways) * ways, ways);
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
    static_assert(size >= ways && (size & (size - 1)) == 0);

    typename Storage::template array<bucket, size> buckets_;
    byte_array<16> key_{};
};

} // namespace wg::inline WG_ABI

#endif

#include <tuple>

namespace wg::inline WG_ABI {

template <policies Policies> struct device_state {
    using observer_type = typename Policies::observer;
    using storage_type = typename Policies::storage;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;
    using job_type = job<Policies>;
#ifdef WG_BARE
    static constexpr bool counts = observer_type::enabled; ///< the jobs say what became of them
#else
    static constexpr bool counts = true;
#endif

    /// The device's own secrets, in the storage's region.
    struct own_secrets : identity {
        cookie_checker<Policies> checker;

        identity& mine() noexcept { return *this; }
    };

    /// The instances of the policies on their way in. (clang 16 crashes where a call's result initialises an empty
    /// member in place.)
    struct parts {
        typename Policies::hash hash;
        typename Policies::dh dh;
        typename Policies::aead aead;
        typename Policies::clock_source clock;
        typename Policies::random_source random;
        observer_type observer;
        storage_type memory;
    };

    /// How many policies of the bundle are of this type.
    template <class Type>
    static constexpr int roles_of = std::same_as<Type, typename Policies::hash> +
                                    std::same_as<Type, typename Policies::dh> +
                                    std::same_as<Type, typename Policies::aead> +
                                    std::same_as<Type, typename Policies::clock_source> +
                                    std::same_as<Type, typename Policies::random_source> +
                                    std::same_as<Type, observer_type> + std::same_as<Type, storage_type>;

    /// From instances of policies in any order; those not given are default-constructed. A type that is several
    /// policies is given once and copied.
    template <class... Given> static parts choose(Given&... given) noexcept {
        static_assert(((roles_of<Given> != 0) && ...), "an argument is no policy of this bundle: name its type there");
        static_assert(((roles_of<Given> <= 1 || std::copy_constructible<Given>) && ...),
                      "an argument is several policies of this bundle and cannot be copied");
        return {take_or_make<typename Policies::hash>(given...),
                take_or_make<typename Policies::dh>(given...),
                take_or_make<typename Policies::aead>(given...),
                take_or_make<typename Policies::clock_source>(given...),
                take_or_make<typename Policies::random_source>(given...),
                take_or_make<observer_type>(given...),
                take_or_make<storage_type>(given...)};
    }

    explicit device_state(parts&& from) noexcept
        : with{std::move(from.hash), std::move(from.dh), std::move(from.aead)}, clock(std::move(from.clock)),
          random(std::move(from.random)), observer(std::move(from.observer)), memory(std::move(from.memory)),
          secrets(memory), own(secrets.acquire()), peers(memory, random), staged(memory), waiting(memory),
          limiter(memory) {}
    device_state(device_state const&) = delete;
    device_state& operator=(device_state const&) = delete;
    ~device_state() {
        for (peer_type* p = peers.first(); p != nullptr; p = p->next) staged.drop_all(p->staged);
        if (own != nullptr) secrets.release(own);
    }

    // --- jobs

    WG_OUTLINE static void begin(job_type& j, bool outbound) noexcept {
        j.keys = nullptr;
        j.owner = nullptr;
        j.next = disposition::drop;
        j.why = status::ok;
        j.outbound = outbound;
        j.has_data = false;
    }

    /// Makes the window the first `size` bytes of the job's buffer, if it has so many.
    WG_OUTLINE static bool room_for(job_type& j, std::size_t size) noexcept {
        if (j.data.capacity < size) return false;
        j.data = packet({j.data.buffer, j.data.capacity}, 0, size);
        return true;
    }

    WG_OUTLINE void send(job_type& j, peer_type& to, keypair_type* keys) noexcept {
        j.where = to.where;
        j.next = disposition::send;
        j.why = status::ok;
        j.outbound = true;
        peers.hold(j, to, keys);
    }

    WG_OUTLINE void drop(job_type& j, status why) noexcept {
        j.next = disposition::drop;
        j.why = why;
        count(why, j.owner);
    }

    // --- counters and events

    WG_OUTLINE void count(status why, [[maybe_unused]] peer_type const* whose) noexcept {
        if constexpr (counts) ++counters[static_cast<std::size_t>(why)];
        if constexpr (!observer_type::enabled) return;
        bool const lost =
            why != status::staged && why != status::queued && why != status::keepalive && why != status::cookie_sent;
        if (lost) report(event_id::dropped, whose, static_cast<std::uint64_t>(why));
    }

    /// Remembers an event for the end of the call; what is beyond `max_reported` in one call is only counted.
    void report(event_id id, peer_type const* whose, std::uint64_t value = 0) noexcept {
        if constexpr (observer_type::enabled) {
            if (reported_count == max_reported) return;
            reported[reported_count++] = {id, whose != nullptr ? whose->number : no_peer_number, value};
        }
    }

    void watch_load(instant now) noexcept {
        bool const loaded = waiting.under_load(now);
        if (std::exchange(was_under_load, loaded) != loaded) report(event_id::under_load, nullptr, loaded);
    }

    // --- peers

    //= wp 2.1: the endpoint is where the last authenticated packet came from
    WG_OUTLINE void roam(peer_type& who, path const& to) noexcept {
        if (who.where.remote != to.remote) report(event_id::endpoint_changed, &who, to.remote.port);
        who.where = to;
    }

    void enqueue_for_transmit(peer_type& p) noexcept {
        if (std::exchange(p.queued_for_transmit, true)) return;
        (last_for_transmit != nullptr ? last_for_transmit->next_for_transmit : first_for_transmit) = &p;
        last_for_transmit = &p;
    }
    void dequeue_for_transmit(peer_type& p) noexcept {
        if (!std::exchange(p.queued_for_transmit, false)) return;
        peer_type* before = nullptr;
        for (peer_type* at = first_for_transmit; at != &p; at = at->next_for_transmit) before = at;
        (before != nullptr ? before->next_for_transmit : first_for_transmit) = p.next_for_transmit;
        if (last_for_transmit == &p) last_for_transmit = before;
        p.next_for_transmit = nullptr;
    }
    WG_OUTLINE void want_initiation(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_initiation = true;
        enqueue_for_transmit(p);
    }
    WG_OUTLINE void want_keepalive(peer_type& p) noexcept {
        p.timers.new_attempt();
        p.wants_keepalive = true;
        enqueue_for_transmit(p);
    }

    void zero_keys(peer_type& p) noexcept {
        peers.forget_handshake(p);
        peers.retire_all(p);
        staged.drop_all(p.staged);
    }

    void reschedule(peer_type& p) noexcept { peers.deadlines().schedule(p, p.timers.next_deadline()); }

    WG_OUTLINE duration jitter() noexcept {
        byte_array<4> raw{};
        if (!random.fill(raw)) return {};
        return {static_cast<std::int64_t>(load_le32(raw.data()) %
                                          static_cast<std::uint64_t>(rekey_timeout_jitter.nanoseconds))};
    }

    /// For keypair_slots: what becomes of a session that a slot has no more room for.
    auto retire() noexcept {
        return [this](keypair_type& old) noexcept { peers.retire(old); };
    }

    struct reported_event {
        event_id id{};
        std::uint32_t number = 0;
        std::uint64_t value = 0;
    };
    static constexpr std::size_t max_reported = observer_type::enabled ? 64 : 0;

    primitives<Policies> with;
    [[no_unique_address]] typename Policies::clock_source clock;
    [[no_unique_address]] typename Policies::random_source random;
    [[no_unique_address]] observer_type observer;
    [[no_unique_address]] typename Policies::threads::mutex mutex;
    storage_type memory;
    typename storage_type::template secret_pool<own_secrets, 1> secrets;
    own_secrets* own;
    peer_table<Policies> peers;
    staging<storage_type> staged;
    handshake_queue<storage_type> waiting;
    rate_limiter<storage_type> limiter;

    peer_type* first_for_transmit = nullptr;
    peer_type* last_for_transmit = nullptr;
    std::size_t mtu = default_mtu_bytes;
    std::uint32_t fwmark = 0;
    byte_array<timestamp_bytes> last_label{}; ///< timestamp of the last initiation to anybody
    std::uint16_t listen_port = 0;
    bool up = true;
    bool was_under_load = false;
#ifndef WG_BARE
    instant unreachables_since{}; ///< the bucket of ICMP answers: what has not been used since
#endif
    [[no_unique_address]] std::conditional_t<counts, std::array<std::uint64_t, status_count>, no_table<2>> counters{};
    [[no_unique_address]] std::array<reported_event, max_reported> reported;
    [[no_unique_address]] std::conditional_t<max_reported != 0, std::size_t, no_table<1>> reported_count{};

private:
    template <class Given> static decltype(auto) take(Given& given) noexcept {
        if constexpr (roles_of<Given> > 1)
            return std::as_const(given);
        else
            return std::move(given);
    }

    template <class Wanted, class... Given> static Wanted take_or_make([[maybe_unused]] Given&... given) noexcept {
        if constexpr ((std::same_as<Wanted, Given> || ...))
            return take(std::get<Wanted&>(std::tie(given...)));
        else
            return Wanted{};
    }
};

/// Holds a device's lock for a call, and tells the observer after it what happened.
template <policies Policies> class locked {
    using state_type = device_state<Policies>;

public:
    explicit locked(state_type& state) noexcept : state_(state) { state_.mutex.lock(); }
    locked(locked const&) = delete;
    locked& operator=(locked const&) = delete;
    ~locked() {
        if constexpr (Policies::observer::enabled) {
            decltype(state_.reported) told; // filled as far as there is something to tell
            std::size_t const count = std::exchange(state_.reported_count, 0);
            std::copy_n(state_.reported.begin(), count, told.begin());
            state_.mutex.unlock();
            for (std::size_t i = 0; i < count; ++i) state_.observer.event(told[i].id, told[i].number, told[i].value);
        } else {
            state_.mutex.unlock();
        }
    }

private:
    state_type& state_;
};

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

/// A view of a device's state, made for a call.
template <policies Policies> class handshakes {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using keypair_type = typename state_type::keypair_type;
    using job_type = typename state_type::job_type;

public:
    explicit handshakes(state_type& state) noexcept : state_(state) {}

    /// A message has come in: it waits for its turn, or is dropped. `genuine`: see `check_mac1`.
    void admit(job_type& j, message_type type, bool genuine, instant now) noexcept {
        bytes_view const message = j.data.view();
        if (type == message_type::cookie_reply) {
            if (!state_.peers.find_index(load_le32(&message[cookie_reply_layout::receiver])))
                return state_.drop(j, status::unknown_index);
        } else if (!genuine) {
            //= wp 5.3: a message with a wrong mac1 is worth nothing: no answer, no DH, no place in the queue
            return state_.drop(j, status::bad_mac1);
        }
        bool const taken = state_.waiting.push(message, j.where, now);
        state_.watch_load(now);
        state_.drop(j, taken ? status::queued : status::handshake_queue_full);
    }

    /// How many jobs `check_mac1` looks at.
    static constexpr std::size_t macs_at_once = cookie_checker<Policies>::at_once;

    /// Which of the first `macs_at_once` jobs are initiations or responses of somebody who knows our public key; the
    /// first job is bit 0.
    std::uint32_t check_mac1(std::span<job_type const> jobs) noexcept {
        if (!mine().exists()) return 0;
        if constexpr (macs_at_once == 1)
            return state_.own->checker.check_mac1(state_.with, jobs[0].data.view());
#ifndef WG_COMPACT
        std::array<bytes_view, macs_at_once> messages;
        std::array<std::uint8_t, macs_at_once> from;
        std::size_t count = 0;
        for (std::size_t i = 0; i < std::min(jobs.size(), macs_at_once); ++i) {
            message_type const type = type_of(jobs[i].data.view());
            if (type != message_type::initiation && type != message_type::response) continue;
            from[count] = static_cast<std::uint8_t>(i);
            messages[count++] = jobs[i].data.view();
        }
        std::uint32_t const good =
            state_.own->checker.check_mac1(state_.with, std::span<bytes_view const>(messages).first(count));
        std::uint32_t genuine = 0;
        for (std::size_t i = 0; i < count; ++i) genuine |= (good >> i & 1) << from[i];
        return genuine;
#endif
    }

    /// Does what the messages at the front of the queue ask for, `most` of them at most, and writes the answers into
    /// `out` from `made` on, which counts them. `heavy` counts those that cost DH operations. How many are done: one,
    /// or several of one type.
    std::size_t handle(std::span<job_type> out, std::size_t& made, std::size_t& heavy, std::size_t most,
                       instant now) noexcept {
        message_type const type = type_of(state_.waiting.front()->message());
        if constexpr (at_once == 1) {
            handle_one(type, out[made], made, heavy, now);
            return 1;
        }
        std::array<turn, at_once> turns;
        std::size_t count = 0;
        for (; count < std::min(most, at_once); ++count) {
            waiting_handshake const* const in = state_.waiting.at(count);
            if (in == nullptr || type_of(in->message()) != type) break;
            turns[count].in = in;
            turns[count].why = gate(turns[count], type, now);
            if (turns[count].why == status::ok && type != message_type::cookie_reply) {
                ++heavy;
                state_.waiting.note_answer(now);
            }
        }
        auto const these = std::span(turns).first(at_once == 1 ? 1 : count);
        if (type == message_type::initiation)
            consume_initiations(these, out, made, now);
        else if (type == message_type::response)
            consume_responses(these, out, made, now);
        else
            consume_cookie_replies(these, out, made, now);
        return count;
    }

    /// Writes an initiation to `to` into `out`. False: none may be sent now.
    bool send_initiation(peer_type& to, job_type& out, instant now) noexcept {
        if (!mine().exists() || !to.where.remote || !to.may_send_initiation(now)) return false;
        if (!state_.room_for(out, initiation_layout::size)) return false;
        to.last_sent_handshake = now;
        to.timers.handshake_initiated(now, state_.jitter()); // also if what follows fails: then it is tried again
        status why = status::no_random;
        if (result<std::uint32_t> const index = state_.peers.make_index(to, state_.random))
            why = noise<Policies>(state_.with)
                      .create_initiation(to.exchange(), mine(), to.secrets->remote, state_.random, next_label(),
                                         *index, out.data.view());
        else
            why = index.why();
        if (why != status::ok) {
            state_.peers.forget_handshake(to);
            state_.count(why, &to);
            return false;
        }
        to.secrets->cookies.add_macs(state_.with, to.key(), out.data.view(), now);
        send_handshake_message(out, to, now);
        state_.report(event_id::initiation_sent, &to, to.timers.attempts());
        return true;
    }

    /// The first packet of a session has confirmed it, or the response has come in.
    void complete(peer_type& with) noexcept {
        with.timers.handshake_complete();
        state_.clock.tai64n(with.last_handshake);
    }

private:
    using steps = noise<Policies>;
    static constexpr std::size_t at_once = steps::at_once;

    /// A message whose turn it is.
    struct turn {
        waiting_handshake const* in = nullptr;
        status why = status::ok; ///< else nothing is done but, perhaps, a cookie sent
        bool wants_cookie = false;
    };

    /// An initiation that was accepted, and its answer.
    struct accepted {
        peer_type* from = nullptr; ///< nullptr: it was not
        duration next_attempt{};   ///< of ours, if the two have crossed
        status why = status::ok;   ///< of the answer
        std::uint32_t index = 0;
    };

    identity& mine() noexcept { return state_.own->mine(); }

    /// Whether a message is worth what it costs.
    WG_FRAME status gate(turn& t, message_type type, instant now) noexcept {
        if (type == message_type::cookie_reply) return status::ok;
        if (!mine().exists()) return status::no_private_key;
        //= wp 5.3: under load mac1, then mac2, then the rate of the source, and only then a DH
        if (!state_.waiting.under_load(now)) return status::ok;
        if (!state_.own->checker.check_mac2(state_.with, t.in->message(), t.in->where.remote, now)) {
            t.wants_cookie = true;
            return status::cookie_sent;
        }
        //= linux: a source that sends too much under load gets no answer, not even a cookie
        if (!state_.limiter.allow(state_.with.hash, state_.random, t.in->where.remote.address, now))
            return status::rate_limited;
        return status::ok;
    }

    /// The oldest message's whole turn, without anything that is there for several.
    void handle_one(message_type type, job_type& answer, std::size_t& made, std::size_t& heavy, instant now) noexcept {
        turn t;
        t.in = state_.waiting.front();
        t.why = gate(t, type, now);
        if (t.why == status::ok && type != message_type::cookie_reply) {
            ++heavy;
            state_.waiting.note_answer(now);
        }
        if (begin_last_part(t, answer, now)) {
            if (type == message_type::initiation)
                t.why = answer_initiation(t, answer, now);
            else if (type == message_type::response)
                t.why = consume_response(t, now);
            else
                t.why = consume_cookie_reply(t.in->message(), now);
        }
        end(t, answer, made, now);
    }

    WG_FRAME status answer_initiation(turn const& t, job_type& answer, instant now) noexcept {
        accepted by;
        status why = consume_initiation(t.in->message(), by, now);
        if (why != status::ok) return why;
        peer_type& to = *by.from;
        note_initiation(to, t, by.next_attempt, now);
        why = by.why;
        if (why == status::ok && !state_.room_for(answer, response_layout::size)) why = status::no_room;
        if (why == status::ok) {
            to.last_sent_handshake = now;
            why = steps(state_.with)
                      .create_response(to.exchange(), to.secrets->remote, state_.random, by.index, answer.data.view());
        }
        why = end_response(to, why, answer, now);
        state_.reschedule(to);
        return why;
    }

    WG_FRAME status consume_initiation(bytes_view message, accepted& by, instant now) noexcept {
        typename steps::incoming_initiation in;
        status const why = steps(state_.with).open_initiation(in, mine(), message);
        return why == status::ok ? accept_initiation(in, by, now) : why;
    }

    WG_FRAME status consume_response(turn const& t, instant now) noexcept {
        bytes_view const message = t.in->message();
        peer_type* const from = asked_by(message);
        if (from == nullptr) return status::unknown_index;
        status const why =
            steps(state_.with).consume_response(from->exchange(), mine(), from->secrets->remote, message);
        return why == status::ok ? end_initiation(*from, t.in->where, message.size(), now) : why;
    }

    /// The last part of the oldest message's turn, all of it but what `end` does. False: nothing else is to be done.
    bool begin_last_part(turn& t, job_type& answer, instant now) noexcept {
        state_.begin(answer, true);
        if (t.wants_cookie) t.why = send_cookie_reply(t.in->message(), t.in->where, answer, now);
        return t.why == status::ok;
    }
    void end(turn const& t, job_type const& answer, std::size_t& made, instant now) noexcept {
        if (answer.next == disposition::send) ++made;
        if (t.why != status::ok) state_.count(t.why, nullptr);
        state_.waiting.pop();
        if (state_.waiting.size() == 0) state_.watch_load(now);
    }

    WG_FRAME status send_cookie_reply(bytes_view message, path const& where, job_type& out, instant now) noexcept {
        if (!state_.room_for(out, cookie_reply_layout::size)) return status::no_room;
        std::uint32_t const receiver =
            load_le32(&message[initiation_layout::sender]); // at the same place in a response
        if (status const why = state_.own->checker.create_reply(state_.with, state_.random, message, receiver,
                                                                where.remote, now, out.data.view());
            why != status::ok)
            return why;
        out.where = where;
        out.tos = 0;
        out.next = disposition::send;
        state_.report(event_id::cookie_reply_sent, nullptr);
        return status::cookie_sent;
    }

    void consume_cookie_replies(std::span<turn> turns, std::span<job_type> out, std::size_t& made,
                                instant now) noexcept {
        for (turn& t : turns) {
            job_type& unused = out[made];
            if (begin_last_part(t, unused, now)) t.why = consume_cookie_reply(t.in->message(), now);
            end(t, unused, made, now);
        }
    }

    WG_FRAME status consume_cookie_reply(bytes_view message, instant now) noexcept {
        auto const found = state_.peers.find_index(load_le32(&message[cookie_reply_layout::receiver]));
        if (!found) return status::unknown_index;
        peer_type& from = *found.who;
        status const why = from.secrets->cookies.consume_reply(state_.with, from.key(), message, now);
        if (why == status::ok) state_.report(event_id::cookie_reply_received, &from);
        return why;
    }

    void consume_initiations(std::span<turn> turns, std::span<job_type> out, std::size_t& made, instant now) noexcept {
        std::array<typename steps::incoming_initiation, at_once> opened;
        std::array<typename steps::outgoing_response, at_once> answers;
        std::array<accepted, at_once> froms;
        for (std::size_t i = 0; i < turns.size(); ++i) {
            opened[i].message = turns[i].in->message();
            opened[i].why = turns[i].why;
        }
        steps const noise(state_.with);
        noise.open_initiations(std::span(opened).first(turns.size()), mine());
        for (std::size_t i = 0; i < turns.size(); ++i) {
            if (turns[i].why == status::ok) turns[i].why = accept_initiation(opened[i], froms[i], now);
            if (turns[i].why != status::ok || froms[i].why != status::ok) continue;
            peer_type& from = *froms[i].from;
            noise.begin_response(answers[i], from.exchange(), from.secrets->remote, state_.random);
        }
        noise.agree_responses(std::span(answers).first(turns.size()));
        for (std::size_t i = 0; i < turns.size(); ++i) {
            job_type& answer = out[made];
            if (begin_last_part(turns[i], answer, now)) {
                note_initiation(*froms[i].from, turns[i], froms[i].next_attempt, now);
                turns[i].why = send_response(froms[i], answers[i], answer, now);
                state_.reschedule(*froms[i].from);
            }
            end(turns[i], answer, made, now);
        }
    }

    /// Judges an initiation, and makes the handshake of its peer the one that it began.
    WG_FRAME status accept_initiation(typename steps::incoming_initiation& in, accepted& to, instant now) noexcept {
        if (in.why != status::ok) return in.why;
        steps const noise(state_.with);
        peer_type* const from = state_.peers.find(state_.with, in.remote_static);
        //= wp 5.4.2: an initiation of nobody is dropped after one DH, before its timestamp is read
        if (from == nullptr) return status::unknown_peer;
        if (status const why = noise.prove_initiation(in, from->secrets->remote, in.message); why != status::ok)
            return why;
        //= wp 5.1: the timestamp must be greater than the greatest seen, for as long as the peer exists
        if (std::memcmp(in.timestamp.data(), from->greatest_timestamp.data(), timestamp_bytes) <= 0)
            return status::replayed_initiation;
        //= linux: at most one initiation in 20 ms from a peer; a refused one does not count as seen
        if (now - from->last_initiation_consumption < initiation_interval) return status::initiation_flood;
        from->greatest_timestamp = in.timestamp;
        from->last_initiation_consumption = now;
        state_.peers.forget_handshake(*from);
        noise.accept_initiation(from->exchange(), in, in.message);
        // If ours is under way, too, both are lost; so would be the next two when they cross within one latency.
        // Whoever has the greater key goes first next time.
        bool const first = std::memcmp(mine().public_key.data(), in.remote_static.data(), key_bytes) > 0;
        to.from = from;
        to.next_attempt = first ? state_.jitter() : rekey_timeout + state_.jitter();
        result<std::uint32_t> const index = state_.peers.make_index(*from, state_.random);
        if (index)
            to.index = *index;
        else
            to.why = index.why();
        return status::ok;
    }

    void note_initiation(peer_type& from, turn const& t, duration next_attempt, instant now) noexcept {
        state_.roam(from, t.in->where);
        from.rx_bytes += t.in->message().size();
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        state_.report(event_id::initiation_received, &from);
        from.timers.initiation_crossed(now, std::exchange(from.wants_initiation, false), next_attempt);
    }

    status send_response(accepted const& by, typename steps::outgoing_response const& answer, job_type& out,
                         instant now) noexcept {
        peer_type& to = *by.from;
        status why = by.why;
        if (why == status::ok && !state_.room_for(out, response_layout::size)) why = status::no_room;
        if (why == status::ok) {
            to.last_sent_handshake = now;
            why = steps(state_.with).create_response(answer, by.index, out.data.view());
        }
        return end_response(to, why, out, now);
    }

    /// A response was made, if `why` is ok.
    status end_response(peer_type& to, status why, job_type& out, instant now) noexcept {
        if (why == status::ok) why = begin_session(to, now, false);
        if (why != status::ok) {
            state_.peers.forget_handshake(to);
            return why;
        }
        to.secrets->cookies.add_macs(state_.with, to.key(), out.data.view(), now);
        send_handshake_message(out, to, now);
        state_.report(event_id::response_sent, &to);
        return status::ok;
    }

    /// The peer whose handshake a response claims to answer; nullptr: there is none.
    peer_type* asked_by(bytes_view response) noexcept {
        auto const found = state_.peers.find_index(load_le32(&response[response_layout::receiver]));
        return found.keys != nullptr ? nullptr : found.who;
    }

    void consume_responses(std::span<turn> turns, std::span<job_type> out, std::size_t& made, instant now) noexcept {
        std::array<typename steps::incoming_response, at_once> opened;
        for (std::size_t i = 0; i < turns.size(); ++i) {
            if (turns[i].why != status::ok) continue;
            opened[i].message = turns[i].in->message();
            if (peer_type* const from = asked_by(opened[i].message)) opened[i].of = &from->exchange();
        }
        steps(state_.with).agree_responses(std::span(opened).first(turns.size()), mine());
        for (std::size_t i = 0; i < turns.size(); ++i) {
            job_type& unused = out[made];
            if (begin_last_part(turns[i], unused, now)) {
                peer_type* const from = asked_by(opened[i].message); // a response before it may have been the one
                turns[i].why = from == nullptr ? status::unknown_index
                                               : consume_response(*from, opened[i], turns[i].in->where, now);
            }
            end(turns[i], unused, made, now);
        }
    }

    status consume_response(peer_type& from, typename steps::incoming_response const& in, path const& where,
                            instant now) noexcept {
        status const why = steps(state_.with).consume_response(from.exchange(), in, from.secrets->remote);
        return why == status::ok ? end_initiation(from, where, in.message.size(), now) : why;
    }

    /// Our initiation was answered.
    status end_initiation(peer_type& from, path const& where, std::size_t message_bytes, instant now) noexcept {
        state_.roam(from, where);
        from.rx_bytes += message_bytes;
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        state_.report(event_id::response_received, &from);
        status const why = begin_session(from, now, true);
        if (why == status::ok) {
            complete(from);
            state_.report(event_id::session_started, &from, 1);
            //= wp 6.4: the initiator may send at once, and does, so that the responder may
            state_.want_keepalive(from); // confirms the session, unless a staged packet does
        } else {
            state_.peers.forget_handshake(from);
        }
        state_.reschedule(from);
        return why;
    }

    status begin_session(peer_type& with, instant now, bool initiator) noexcept {
        if constexpr (peer_table<Policies>::two_sessions) with.keypairs.make_room(initiator, state_.retire());
        keypair_type* const fresh = state_.peers.make_keypair(with, now, initiator);
        if (fresh == nullptr) return status::no_memory;
        status const why =
            noise<Policies>(state_.with).begin_session(with.exchange(), fresh->send_key, fresh->receive_key);
        WG_ASSERT(why == status::ok);
        if (initiator)
            with.keypairs.add_as_initiator(*fresh, state_.retire());
        else
            with.keypairs.add_as_responder(*fresh, state_.retire());
        with.timers.session_derived(now);
        return why;
    }

    void send_handshake_message(job_type& out, peer_type& to, instant now) noexcept {
        to.timers.any_authenticated_packet_traversal(now);
        to.timers.any_authenticated_packet_sent();
        out.tos = handshake_tos;
        state_.send(out, to, nullptr);
    }

    /// The wall clock, coarse so that it tells little of this host's load, and greater than the label before.
    byte_array<timestamp_bytes> const& next_label() noexcept {
        constexpr std::uint32_t grain_ns = std::uint32_t{1} << 24;
        byte_array<timestamp_bytes> label{};
        state_.clock.tai64n(label);
        //= linux: timestamps are rounded down to 2^24 ns, so that they tell little of the host
        store_be32(&label[8], load_be32(&label[8]) & ~(grain_ns - 1));
        //= wp 5.1: a timestamp is greater than the one before, whatever the wall clock does
        if (std::memcmp(label.data(), state_.last_label.data(), timestamp_bytes) <= 0) {
            label = state_.last_label;
            std::uint32_t const ns = load_be32(&label[8]) + grain_ns;
            store_be32(&label[8], ns < 1'000'000'000 ? ns : 0);
            if (ns >= 1'000'000'000) store_be64(label.data(), load_be64(label.data()) + 1);
        }
        state_.last_label = label;
        return state_.last_label;
    }

    state_type& state_;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The little of IPv4, IPv6 and ICMP that a tunnel has to know: whose a packet is, how long it is, its congestion
// marks, and how to say that it went nowhere (RFC 791, 8200, 792, 4443, 6040). Layer 4; pure.
#ifndef WG_DEVICE_IP_HPP
#define WG_DEVICE_IP_HPP


#include <algorithm>

namespace wg::inline WG_ABI {

inline constexpr std::size_t ipv4_header_bytes = 20, ipv6_header_bytes = 40, udp_header_bytes = 8,
                             icmp_header_bytes = 8;
inline constexpr byte ip_protocol_udp = 17, ip_protocol_icmp = 1, ip_protocol_icmp_v6 = 58;

/// What the headers of an inner packet say. Views into the packet.
struct ip_header {
    family kind = family::none;
    byte const* source = nullptr;      ///< 4 or 16 bytes
    byte const* destination = nullptr; ///< 4 or 16 bytes
    std::uint8_t tos = 0;
    std::size_t total_bytes = 0; ///< header and payload; at most the bytes there are
    byte protocol = 0;           ///< IPv6: of the first header after the fixed one
    bool first_fragment = true;  ///< the transport header is in this packet
    std::size_t header_bytes = 0;

    explicit operator bool() const noexcept { return kind != family::none; }
};

/// Reads the header of `packet`; none if it is not IP or shorter than it says.
inline ip_header parse_ip(bytes_view packet) noexcept {
    ip_header header;
    if (packet.size() < ipv4_header_bytes) return header;
    if (packet[0] >> 4 == 4) {
        header.header_bytes = std::size_t{packet[0] & 0x0fu} * 4;
        header.total_bytes = load_be16(&packet[2]);
        if (header.total_bytes > packet.size() || header.total_bytes < ipv4_header_bytes) return header;
        if (header.header_bytes < ipv4_header_bytes || header.header_bytes > header.total_bytes)
            header.header_bytes = ipv4_header_bytes;
        header.tos = packet[1];
        header.protocol = packet[9];
        header.first_fragment = (load_be16(&packet[6]) & 0x1fff) == 0;
        header.source = &packet[12];
        header.destination = &packet[16];
        header.kind = family::v4;
    } else if (packet[0] >> 4 == 6 && packet.size() >= ipv6_header_bytes) {
        header.header_bytes = ipv6_header_bytes;
        header.total_bytes = ipv6_header_bytes + load_be16(&packet[4]);
        if (header.total_bytes > packet.size()) return header;
        header.tos = static_cast<std::uint8_t>(load_be16(&packet[0]) >> 4);
        header.protocol = packet[6];
        header.source = &packet[8];
        header.destination = &packet[24];
        header.kind = family::v6;
    }
    return header;
}

/// The sum of RFC 1071, not yet folded or inverted. `data` of an odd size is padded with zero.
constexpr std::uint32_t checksum_add(std::uint32_t sum, bytes_view data) noexcept {
    for (std::size_t i = 0; i + 1 < data.size(); i += 2) sum += load_be16(&data[i]); // at most 2^15 words of 2^16
    if (data.size() % 2 != 0) sum += static_cast<std::uint32_t>(data.back()) << 8;
    return (sum & 0xffff) + (sum >> 16);
}
constexpr std::uint16_t checksum_finish(std::uint32_t sum) noexcept {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(~sum);
}

enum ecn : std::uint8_t { not_ect = 0, ect_1 = 1, ect_0 = 2, congestion_experienced = 3 };

constexpr std::uint8_t ecn_of(std::uint8_t tos) noexcept { return tos & 3; }

/// Brings the mark of the outer header into the inner packet (RFC 6040, section 4.2). False: drop the packet.
//= RFC 6040 4.2: congestion on the way is told to the inner packet, or drops it
inline bool decapsulate_ecn(bytes packet, ip_header const& inner, std::uint8_t outer_tos) noexcept {
    std::uint8_t const outer = ecn_of(outer_tos), was = ecn_of(inner.tos);
    if (outer == not_ect || was == congestion_experienced) return true;
    if (was == not_ect) return outer != congestion_experienced;
    std::uint8_t const becomes = outer == congestion_experienced ? std::uint8_t{congestion_experienced}
                                 : outer == ect_1                ? std::uint8_t{ect_1}
                                                                 : was;
    if (becomes == was) return true;
    if (inner.kind == family::v4) {
        // RFC 1624: the header's checksum follows the one word that changes.
        std::uint32_t const before = load_be16(&packet[0]);
        packet[1] = static_cast<byte>((packet[1] & ~3) | becomes);
        std::uint32_t const sum =
            (~std::uint32_t{load_be16(&packet[10])} & 0xffff) + (~before & 0xffff) + load_be16(&packet[0]);
        store_be16(&packet[10], checksum_finish(sum));
    } else {
        packet[1] = static_cast<byte>((packet[1] & ~0x30) | (becomes << 4));
    }
    return true;
}

/// Makes an outbound packet into the ICMP message that its destination cannot be reached (RFC 792: host unreachable;
/// RFC 4443: address unreachable), in place. It says that it comes from that destination, since an interface's own
/// address would be refused by the host as one that cannot come from outside. False: no answer is due (ICMP errors,
/// multicast, fragments, no source) or there is no room.
//= RFC 792: host unreachable; RFC 4443 3.1: address unreachable
inline bool make_unreachable(packet& data, ip_header const& about) noexcept {
    bool const v4 = about.kind == family::v4;
    std::size_t const header = v4 ? ipv4_header_bytes : ipv6_header_bytes;
    std::size_t const address_bytes = v4 ? 4 : 16;
    bytes_view const original = data.view();
    bytes_view const transport = original.subspan(std::min(about.header_bytes, original.size()));

    bool const unspecified = std::all_of(about.source, about.source + address_bytes, [](byte b) { return b == 0; });
    if (unspecified || !about.first_fragment) return false;
    if (v4 ? about.destination[0] >= 224 || about.source[0] >= 224
           : about.destination[0] == 0xff || about.source[0] == 0xff)
        return false;
    if (about.protocol == (v4 ? ip_protocol_icmp : ip_protocol_icmp_v6)) {
        if (transport.empty()) return false;
        bool const query = v4 ? transport[0] == 8 || transport[0] == 13 || transport[0] == 17 : transport[0] >= 128;
        if (!query) return false; // never an error about an error
    }
    byte_array<16> source{}, destination{};
    std::memcpy(source.data(), about.destination, address_bytes);
    std::memcpy(destination.data(), about.source, address_bytes);

    std::size_t const front = header + icmp_header_bytes;
    if (data.capacity < front + about.header_bytes + udp_header_bytes) return false;
    std::size_t const quoted =
        std::min<std::size_t>({original.size(), (v4 ? 576 : 1280) - front, std::size_t{data.capacity} - front});
    data.grow(0, static_cast<std::ptrdiff_t>(quoted) - static_cast<std::ptrdiff_t>(original.size()));
    if (data.headroom() >= front) {
        data.grow(static_cast<std::ptrdiff_t>(front), 0);
    } else { // then there is room behind
        byte* const from = data.view().data();
        data = packet({data.buffer, data.capacity}, 0, quoted + front);
        std::memmove(data.view().data() + front, from, quoted);
    }
    bytes const out = data.view();
    bytes const icmp = out.subspan(header);
    std::memset(out.data(), 0, front);
    icmp[0] = v4 ? 3 : 1;
    icmp[1] = v4 ? 1 : 3;
    if (v4) {
        out[0] = 0x45;
        store_be16(&out[2], static_cast<std::uint16_t>(out.size()));
        out[8] = 64;
        out[9] = ip_protocol_icmp;
        std::memcpy(&out[12], source.data(), 4);
        std::memcpy(&out[16], destination.data(), 4);
        store_be16(&out[10], checksum_finish(checksum_add(0, out.first(ipv4_header_bytes))));
        store_be16(&icmp[2], checksum_finish(checksum_add(0, icmp)));
    } else {
        out[0] = 0x60;
        store_be16(&out[4], static_cast<std::uint16_t>(icmp.size()));
        out[6] = ip_protocol_icmp_v6;
        out[7] = 64;
        std::memcpy(&out[8], source.data(), 16);
        std::memcpy(&out[24], destination.data(), 16);
        std::uint32_t const pseudo =
            checksum_add(static_cast<std::uint32_t>(icmp.size()) + ip_protocol_icmp_v6, out.subspan(8, 32));
        store_be16(&icmp[2], checksum_finish(checksum_add(pseudo, icmp)));
    }
    return true;
}

/// The payload of an inner UDP datagram from `local_port` to `remote`: perhaps this tunnel's own, routed into the
/// tunnel. Empty if it is anything else.
inline bytes_view datagram_between(bytes_view packet, ip_header const& header, std::uint16_t local_port,
                                   endpoint const& remote) noexcept {
    if (header.protocol != ip_protocol_udp || header.kind != remote.address.kind || !header.first_fragment) return {};
    if (header.header_bytes + udp_header_bytes > packet.size()) return {};
    byte const* const udp = &packet[header.header_bytes];
    if (load_be16(udp) != local_port || load_be16(udp + 2) != remote.port) return {};
    if (std::memcmp(header.destination, remote.address.octets.data(), remote.address.bits() / 8) != 0) return {};
    return packet.subspan(header.header_bytes + udp_header_bytes);
}

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// How a device is configured and what it tells of itself: all changes of a list, or none. Layer 4; guarded by the
// device's lock.
#ifndef WG_DEVICE_SETTINGS_HPP
#define WG_DEVICE_SETTINGS_HPP

// SPDX-License-Identifier: BSL-1.0
// A list of changes, cut into what concerns the interface and what concerns each peer. Layer 4; pure.
#ifndef WG_DEVICE_CONFIGURATION_HPP
#define WG_DEVICE_CONFIGURATION_HPP


namespace wg::inline WG_ABI {

/// What a configuration says of one peer.
struct peer_changes {
    key_view key;
    bool update_only = false; ///< nothing, if there is no such peer
    bool remove = false;
    bool replace_allowed_ips = false;
    std::span<change const> changes; ///< those after `change::peer`
};

/// The changes of the interface: all before the first peer.
inline std::span<change const> interface_changes(std::span<change const> all) noexcept {
    std::size_t count = 0;
    while (count < all.size() && all[count].what() != change::kind::peer) ++count;
    return all.first(count);
}

/// Calls `each(peer_changes const&)` for every peer, in order.
template <class Each> void for_each_peer(std::span<change const> all, Each&& each) noexcept {
    std::span<change const> rest = all.subspan(interface_changes(all).size());
    while (!rest.empty()) {
        std::span<change const> const own = interface_changes(rest.subspan(1));
        peer_changes of{rest[0].key(), false, false, false, own};
        for (change const& c : own) {
            of.update_only |= c.what() == change::kind::update_only;
            of.remove |= c.what() == change::kind::remove_peer;
            of.replace_allowed_ips |= c.what() == change::kind::replace_allowed_ips;
        }
        each(of);
        rest = rest.subspan(1 + own.size());
    }
}

/// Whether each change stands where it may and has a value that it may have. status::invalid otherwise.
inline status check_changes(std::span<change const> all) noexcept {
    using kind = change::kind;
    bool in_peer = false;
    for (change const& c : all) {
        switch (c.what()) {
        case kind::private_key:
        case kind::fwmark:
        case kind::replace_peers:
            if (in_peer) return status::invalid;
            break;
        case kind::listen_port:
            if (in_peer || c.number() > UINT16_MAX) return status::invalid;
            break;
        case kind::peer: in_peer = true; break;
        case kind::endpoint:
            if (!in_peer || !c.where() || c.where().port == 0) return status::invalid;
            break;
        case kind::persistent_keepalive:
            if (!in_peer || c.number() > UINT16_MAX) return status::invalid;
            break;
        case kind::allowed_ip:
        case kind::remove_allowed_ip:
            if (!in_peer || c.prefix().address.kind == family::none || c.prefix().bits > c.prefix().address.bits())
                return status::invalid;
            break;
        case kind::update_only:
        case kind::remove_peer:
        case kind::preshared_key:
        case kind::replace_allowed_ips:
            if (!in_peer) return status::invalid;
            break;
        }
    }
    return status::ok;
}

} // namespace wg::inline WG_ABI

#endif

namespace wg::inline WG_ABI {

/// A view of a device's state, made for a call.
template <policies Policies> class settings {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using storage = typename Policies::storage;

public:
    explicit settings(state_type& state) noexcept : state_(state) {}

    /// Whether all of `changes` will fit; makes room for them. invalid, too_many_peers, no_memory.
    status admit(std::span<change const> changes) noexcept {
        if (status const why = check_changes(changes); why != status::ok) return why;
        bool replace = false;
        for (change const& c : interface_changes(changes)) replace |= c.what() == change::kind::replace_peers;
        tally peers{replace ? state_.peers.in_flight() : state_.peers.size()};
        tally v4{replace ? 0 : state_.peers.allowed().size(family::v4)},
            v6{replace ? 0 : state_.peers.allowed().size(family::v6)};
        for_each_peer(changes, [&](peer_changes const& of) noexcept {
            peer_type* const known = replace ? nullptr : state_.peers.find(state_.with, of.key);
            bool const cleared = known != nullptr && (of.remove || of.replace_allowed_ips);
            if (cleared && !std::exchange(known->prefixes_discounted, true)) {
                v4.drop(state_.peers.allowed().count(*known, family::v4));
                v6.drop(state_.peers.allowed().count(*known, family::v6));
            }
            // What jobs in flight still know keeps its place.
            if (known != nullptr && of.remove && !std::exchange(known->discounted, true) && known->in_flight == 0)
                peers.drop(1);
            if (of.remove || (of.update_only && known == nullptr && !mentioned_before(changes, of))) return;
            if (known == nullptr || known->discounted) peers.add();
            for (change const& c : of.changes) {
                if (c.what() != change::kind::allowed_ip) continue;
                bool const keeps = known != nullptr && !known->prefixes_discounted;
                if (keeps && state_.peers.allowed().find_exact(c.prefix()) == known) continue;
                (c.prefix().address.kind == family::v4 ? v4 : v6).add();
            }
        });
        for_each_peer(changes, [&](peer_changes const& of) noexcept {
            if (peer_type* const known = state_.peers.find(state_.with, of.key))
                known->discounted = known->prefixes_discounted = false;
        });
        if (!state_.peers.allowed().reserve(v4.added, v4.most, v6.added, v6.most)) return status::no_memory;
        return state_.peers.reserve(peers.added, peers.most);
    }

    /// What `admit` let pass.
    void apply(std::span<change const> changes, instant now) noexcept {
        for (change const& c : interface_changes(changes)) apply(c, now);
        for_each_peer(changes, [&](peer_changes const& of) noexcept { apply(of, now); });
    }

    /// See `device::snapshot`.
    template <class Sink> void snapshot(Sink& sink) noexcept {
        sink.device(interface_facts{mine().private_key, state_.listen_port, state_.fwmark});
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) {
            peer_facts facts{p->key(), p->secrets->remote.preshared_key};
            facts.number = p->number;
            facts.endpoint = p->where.remote;
            std::uint64_t const label_s = load_be64(p->last_handshake.data());
            if (label_s != 0) {
                facts.last_handshake_s = static_cast<std::int64_t>(label_s - tai64n_epoch);
                facts.last_handshake_ns = load_be32(&p->last_handshake[8]);
            }
            facts.tx_bytes = p->tx_bytes;
            facts.rx_bytes = p->rx_bytes;
            facts.persistent_keepalive_s = p->timers.persistent_keepalive_s();
            sink.peer(facts);
            state_.peers.allowed().for_each(*p, [&](ip_prefix const& prefix) { sink.allowed_ip(prefix); });
        }
    }

    /// See `device::set_private_key`.
    void set_first_private_key(key_view key) noexcept {
        WG_ASSERT(state_.peers.first() == nullptr);
        state_.own->private_key.assign(key);
        if (mine().exists()) clamp(state_.own->private_key);
        set_public_key();
    }

    /// See `device::add_peer`.
    status add(peer_settings const& of, instant now) noexcept {
        if (state_.peers.find(state_.with, of.key) != nullptr || equal_in_constant_time(of.key, mine().public_key))
            return status::invalid;
        peer_type* const p = state_.peers.add(state_.with, of.key, now);
        if (p == nullptr) return status::too_many_peers;
        compute_static_static(*p);
        if (of.preshared_key != nullptr) p->secrets->remote.preshared_key.assign(*of.preshared_key);
        p->where.remote = of.endpoint;
        state_.report(event_id::peer_added, p);
        p->timers.set_persistent_keepalive(of.persistent_keepalive_s);
        if (of.persistent_keepalive_s != 0 && state_.up) state_.want_keepalive(*p);
        for (ip_prefix const& prefix : of.allowed_ips)
            if (!state_.peers.allowed().insert(prefix, *p)) return status::no_memory;
        return status::ok;
    }

    /// What follows from the private key.
    void set_public_key() noexcept {
        mine().public_key = {};
        if (mine().exists()) state_.with.dh.dh_public(mine().public_key, state_.own->private_key);
        state_.own->checker.set_public_key(state_.with, mine().public_key);
    }

private:
    static constexpr std::uint64_t tai64n_epoch = 0x400000000000000aULL;

    identity& mine() noexcept { return state_.own->mine(); }

    static bool mentioned_before(std::span<change const> changes, peer_changes const& of) noexcept {
        for (change const& c : changes) {
            if (&c + 1 == of.changes.data()) break;
            if (c.what() == change::kind::peer &&
                std::memcmp(c.key().data(), of.key.data(), key_bytes) == 0)
                return true;
        }
        return false;
    }

    /// The host chooses anew from which address it sends.
    void forget_sources() noexcept {
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) p->where.local = {};
    }

    /// How many there will be after each step of a configuration, and how many at most.
    struct tally {
        std::size_t now, most = now, added = 0;

        void add() noexcept {
            ++added;
            most = std::max(most, ++now);
        }
        void drop(std::size_t count) noexcept { now -= count; }
    };

    void apply(change const& c, instant now) noexcept {
        switch (c.what()) {
        case change::kind::private_key: set_private_key(c.key(), now); break;
        case change::kind::listen_port:
            state_.listen_port = static_cast<std::uint16_t>(c.number());
            forget_sources();
            break;
        case change::kind::fwmark:
            state_.fwmark = c.number();
            forget_sources();
            break;
        case change::kind::replace_peers:
            while (state_.peers.first() != nullptr) remove(*state_.peers.first());
            break;
        default: break; // those of peers
        }
    }

    void apply(peer_changes const& of, instant now) noexcept {
        peer_type* p = state_.peers.find(state_.with, of.key);
        if (of.remove) {
            if (p != nullptr) remove(*p);
            return;
        }
        if (p == nullptr) {
            bool const own = mine().exists() && equal_in_constant_time(of.key, mine().public_key);
            if (of.update_only || own) return; // an interface is no peer of its own; nobody complains of that
            p = state_.peers.add(state_.with, of.key, now);
            if (p == nullptr) return state_.count(status::no_memory, nullptr); // not after admit
            compute_static_static(*p);
            state_.report(event_id::peer_added, p);
        }
        if (of.replace_allowed_ips) state_.peers.allowed().remove_all(*p);
        for (change const& c : of.changes) apply(c, *p);
        if (!p->staged.empty() || p->wants_keepalive) state_.enqueue_for_transmit(*p);
    }

    void apply(change const& c, peer_type& p) noexcept {
        switch (c.what()) {
        //= linux: a preshared key counts from the next handshake on
        case change::kind::preshared_key: p.secrets->remote.preshared_key.assign(c.key()); break;
        case change::kind::endpoint:
            if (p.where.remote != c.where()) p.where = {c.where(), {}};
            break;
        case change::kind::persistent_keepalive: {
            bool const begins = p.timers.persistent_keepalive_s() == 0 && c.number() != 0;
            p.timers.set_persistent_keepalive(static_cast<std::uint16_t>(c.number()));
            if (begins && state_.up) state_.want_keepalive(p);
            break;
        }
        case change::kind::allowed_ip:
            if (!state_.peers.allowed().insert(c.prefix(), p)) state_.count(status::no_memory, &p); // not after admit
            break;
        case change::kind::remove_allowed_ip: state_.peers.allowed().remove(c.prefix(), p); break;
        default: break; // seen to before
        }
    }

    void remove(peer_type& gone) noexcept {
        state_.report(event_id::peer_removed, &gone);
        state_.dequeue_for_transmit(gone);
        state_.staged.drop_all(gone.staged);
        state_.peers.remove(state_.with, gone);
    }

    //= linux: a new private key takes effect at once: sessions send no more, but receive what is under way
    void set_private_key(key_view key, instant now) noexcept {
        secret<key_bytes> fresh(key);
        if (!fresh.is_zero()) clamp(fresh);
        //= linux: the same private key again changes nothing
        if (fresh.equals(state_.own->private_key)) return;
        state_.own->private_key = std::move(fresh);
        set_public_key();
        if (mine().exists())
            //= linux: an interface is no peer of its own
            if (peer_type* const own = state_.peers.find(state_.with, mine().public_key)) remove(*own);
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) {
            compute_static_static(*p);
            state_.peers.forget_handshake(*p);
            p->reset_last_sent_handshake(now);
            if (p->keypairs.current != nullptr) p->keypairs.current->may_send = false;
            if (p->keypairs.next != nullptr) p->keypairs.next->may_send = false;
            if (!p->staged.empty()) state_.enqueue_for_transmit(*p);
        }
    }

    void compute_static_static(peer_type& p) noexcept {
        remote_identity& remote = p.secrets->remote;
        if (!mine().exists() || !state_.with.dh.dh(remote.static_static, state_.own->private_key, remote.public_key))
            remote.static_static.clear(); // of low order: this peer gets and sends nothing
    }

    state_type& state_;
};

} // namespace wg::inline WG_ABI

#endif

#include <memory>

namespace wg::inline WG_ABI {

template <policies Policies> class device {
    using storage = typename Policies::storage;
    using peer_type = peer<Policies>;
    using keypair_type = typename peer_type::keypair_type;

public:
    using job_type = job<Policies>;
    static constexpr std::size_t handshakes_at_once = 8;

    /// A device is made from instances of its policies, in any order; those not named are default-constructed.
    template <class... Instances> explicit device(Instances... given) noexcept
        : state_(device_state<Policies>::choose(given...)) {
        if (ready()) settings<Policies>(state_).set_public_key();
    }
    device(device const&) = delete;
    device& operator=(device const&) = delete;

    /// False: there was no memory for the device's own secrets; then nothing else may be called.
    bool ready() const noexcept { return state_.own != nullptr; }

    typename Policies::clock_source& clock() noexcept { return state_.clock; }
    typename Policies::aead const& aead() const noexcept { return state_.with.aead; }
    storage& memory() noexcept { return state_.memory; }

    // --- packets

    /// `data` of each job is an IP packet with `packet_headroom_bytes` before it and `packet_tailroom_bytes` after it.
    /// After this a job is to be sent, to be delivered (an ICMP answer to the host), or dropped: the packet waits for
    /// a session, or `why` says why not.
    void prepare_outbound(std::span<job_type> jobs, instant now) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs) prepare_outbound(j, now);
    }

    /// `data` of each job is a datagram; `where` and `tos` are given.
    void prepare_inbound(std::span<job_type> jobs, instant now) noexcept {
        locked<Policies> const lock(state_);
        handshake_door door{jobs};
        for (job_type& j : jobs) prepare_inbound(j, door, now);
    }

    /// Seals and opens, in place. Any thread, any order, any batch.
    static void crypt(std::span<job_type> jobs, typename Policies::aead const& aead) noexcept {
        constexpr std::size_t most = batch_size<batch_aead_backend<typename Policies::aead>>(64);
        if constexpr (most == 1) {
            for (job_type& j : jobs)
                if (j.keys != nullptr) crypt(j, aead);
        } else {
            crypt_together<most>(jobs, aead);
        }
    }

    /// Inbound: what was opened is judged, and to be delivered or dropped. Outbound: what was sent is accounted for
    /// (`why` tells of failure); call it after sending. In order for each peer.
    void complete(std::span<job_type> jobs, instant now) noexcept {
        locked<Policies> const lock(state_);
        for (job_type& j : jobs) {
            if (j.owner == nullptr) continue;
            peer_type& owner = *j.owner;
            if (!state_.up) {
                if (!j.outbound) state_.drop(j, status::device_down); // it came to a session that is gone
            } else if (!owner.removed) {
                if (j.outbound)
                    complete_outbound(j, owner, now);
                else
                    complete_inbound(j, owner, now);
                state_.reschedule(owner);
            } else if (!j.outbound) {
                state_.drop(j, status::unknown_index);
            }
            state_.peers.let_go(j);
        }
    }

    /// Handles waiting handshake messages and writes what they are answered with into the jobs' buffers (at least
    /// `initiation_layout::size` bytes), from the front; returns how many. At most `handshakes_at_once` that cost a
    /// DH, for the lock is held meanwhile.
    std::size_t process_handshakes(std::span<job_type> out, instant now) noexcept {
        locked<Policies> const lock(state_);
        std::size_t made = 0, heavy = 0, looked_at = 0;
        std::size_t const most_heavy = std::min(out.size(), handshakes_at_once), most = 8 * out.size();
        while (made < out.size() && heavy < most_heavy && looked_at < most && state_.waiting.size() != 0) {
            // each has one answer at most, and costs one DH at most
            std::size_t const room = std::min({out.size() - made, most_heavy - heavy, most - looked_at});
            looked_at += handshakes<Policies>(state_).handle(out, made, heavy, room, now);
        }
        return made;
    }

    /// What the device sends by itself, written into the jobs' buffers (each of at least the MTU,
    /// `packet_headroom_bytes` and `packet_tailroom_bytes`), from the front; returns how many. 0: nothing left.
    std::size_t poll_transmit(std::span<job_type> out, instant now) noexcept {
        locked<Policies> const lock(state_);
        std::size_t made = 0;
        while (made < out.size() && state_.first_for_transmit != nullptr) {
            peer_type& to = *state_.first_for_transmit;
            if (transmit_one(to, out[made], now))
                ++made;
            else
                state_.dequeue_for_transmit(to);
            state_.reschedule(to);
        }
        return made;
    }

    // --- time

    /// When `on_deadline`, `process_handshakes` or `poll_transmit` has work; a moment in the past: now.
    instant next_deadline() noexcept {
        locked<Policies> const lock(state_);
        if (state_.first_for_transmit != nullptr || state_.waiting.size() != 0) return instant{};
        return state_.peers.deadlines().next();
    }

    /// Runs the timers that are due; what they send comes out of `poll_transmit`.
    void on_deadline(instant now) noexcept {
        locked<Policies> const lock(state_);
        while (peer_type* const due = state_.peers.deadlines().take_due(now)) {
            run_timers(*due, now);
            state_.reschedule(*due);
        }
        state_.watch_load(now);
    }

    // --- configuration

    /// Whether `configure` will accept these changes; makes room for them, and changes nothing else.
    /// invalid, too_many_peers, no_memory.
    status admit(std::span<change const> changes) noexcept {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).admit(changes);
    }

    /// All changes or, if any is refused, none. invalid, too_many_peers, no_memory.
    status configure(std::span<change const> changes, instant now) noexcept {
        locked<Policies> const lock(state_);
        if (status const why = settings<Policies>(state_).admit(changes); why != status::ok) return why;
        settings<Policies>(state_).apply(changes, now);
        return status::ok;
    }
    status configure(std::initializer_list<change> changes, instant now) noexcept {
        return configure(std::span(changes.begin(), changes.size()), now);
    }

    /// For programs that know their configuration, in place of `configure`, whose code a microcontroller then lacks:
    /// the private key of a device that has no peers yet.
    void set_private_key(key_view key) noexcept {
        locked<Policies> const lock(state_);
        settings<Policies>(state_).set_first_private_key(key);
    }
    /// Likewise a new peer. invalid: known already, or ourselves; too_many_peers. no_memory: the peer is there, but
    /// not all of its allowed IPs found room.
    status add_peer(peer_settings const& of, instant now) noexcept {
        locked<Policies> const lock(state_);
        return settings<Policies>(state_).add(of, now);
    }

    /// Tells `sink.device(interface_facts)`, then for each peer `sink.peer(peer_facts)` and for each of its prefixes
    /// `sink.allowed_ip(ip_prefix)`. The device is locked meanwhile.
    template <class Sink> void snapshot(Sink& sink) noexcept {
        locked<Policies> const lock(state_);
        settings<Policies>(state_).snapshot(sink);
    }

    /// The interface goes up: peers with persistent keepalive are greeted.
    //= linux: persistent keepalive goes out at once when it is enabled, and when the interface goes up
    void up() noexcept {
        locked<Policies> const lock(state_);
        if (std::exchange(state_.up, true)) return;
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next)
            if (p->timers.persistent_keepalive_s() != 0) state_.want_keepalive(*p);
    }

    /// The interface goes down: sessions, handshakes and staged packets are gone, the configuration stays.
    //= linux: an interface that goes down forgets its sessions and says nothing more
    void down(instant now) noexcept {
        locked<Policies> const lock(state_);
        if (!std::exchange(state_.up, false)) return;
        while (state_.waiting.front() != nullptr) state_.waiting.pop();
        while (state_.first_for_transmit != nullptr) state_.dequeue_for_transmit(*state_.first_for_transmit);
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) {
            p->timers.stop();
            state_.zero_keys(*p);
            p->wants_initiation = p->wants_keepalive = false;
            p->reset_last_sent_handshake(now);
        }
    }

    bool is_up() noexcept {
        locked<Policies> const lock(state_);
        return state_.up;
    }

    /// The MTU of the TUN device in bytes, which padding does not exceed; 0: not known.
    void set_mtu(std::size_t mtu_bytes) noexcept {
        locked<Policies> const lock(state_);
        state_.mtu = mtu_bytes;
    }

    /// The port that the socket really got.
    void set_listen_port(std::uint16_t port) noexcept {
        locked<Policies> const lock(state_);
        state_.listen_port = port;
    }
    std::uint16_t listen_port() noexcept {
        locked<Policies> const lock(state_);
        return state_.listen_port;
    }
    std::uint32_t fwmark() noexcept {
        locked<Policies> const lock(state_);
        return state_.fwmark;
    }

    /// The host's routes or addresses changed: let it choose source addresses anew.
    void forget_sources() noexcept {
        locked<Policies> const lock(state_);
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) p->where.local = {};
    }

    /// How often a packet met this fate, or a call failed so. A bare device counts only if it has an observer.
    std::uint64_t counter(status of) noexcept
        requires device_state<Policies>::counts
    {
        locked<Policies> const lock(state_);
        return state_.counters[static_cast<std::size_t>(of)];
    }
    std::size_t peer_count() noexcept {
        locked<Policies> const lock(state_);
        return state_.peers.size();
    }

private:
    // --- crypt

    static std::pair<bytes, bytes> sealed_and_plain(job_type& j) noexcept {
        bytes const body = j.data.view().subspan(transport_layout::encrypted_packet);
        return {body, body.first(body.size() - tag_bytes)};
    }

    static void crypt(job_type& j, typename Policies::aead const& aead) noexcept {
        auto const [body, plain] = sealed_and_plain(j);
        if (j.outbound)
            aead.seal(body, plain, {}, j.counter, j.keys->send_key);
        else
            judge(j, aead.open(plain, body, {}, j.counter, j.keys->receive_key));
    }

    template <std::size_t Most>
    static void crypt_together(std::span<job_type> jobs, typename Policies::aead const& aead) noexcept {
        union room { // not initialised: most calls have a few packets
            aead_item items[Most];
            room() noexcept {}
        } uses;
        job_type* whose[Most];
        std::size_t count = 0;
        auto const flush = [&]() noexcept { // all of one direction
            if (count == 0) return;
            std::span<aead_item> const items(uses.items, std::exchange(count, 0));
            if (whose[0]->outbound) return seal_all(aead, items);
            open_all(aead, items);
            for (std::size_t i = 0; i < items.size(); ++i) judge(*whose[i], items[i].good);
        };
        for (job_type& j : jobs) {
            if (j.keys == nullptr) continue;
            if (count == Most || (count != 0 && whose[0]->outbound != j.outbound)) flush();
            auto const [body, plain] = sealed_and_plain(j);
            whose[count] = &j;
            std::construct_at(uses.items + count++,
                              j.outbound ? aead_item{body, plain, j.counter, &j.keys->send_key, false}
                                         : aead_item{plain, body, j.counter, &j.keys->receive_key, false});
        }
        flush();
    }

    static void judge(job_type& j, bool genuine) noexcept {
        if (genuine)
            j.data.grow(-static_cast<std::ptrdiff_t>(transport_header_bytes), -static_cast<std::ptrdiff_t>(tag_bytes));
        else
            j.why = status::decryption_failed;
    }

    // --- outbound

    void prepare_outbound(job_type& j, instant now) noexcept {
        state_.begin(j, true);
        ip_header const header = parse_ip(j.data.view());
        if (!state_.up) return state_.drop(j, status::device_down);
        if (!header) return state_.drop(j, status::not_ip);
        peer_type* const to = state_.peers.allowed().find(header.kind, header.destination);
        if (to == nullptr) return refuse(j, header, status::no_peer, now);
        if (!to->where.remote) return refuse(j, header, status::no_endpoint, now);
        if (is_own(datagram_between(j.data.view(), header, state_.listen_port, to->where.remote), *to))
            return state_.drop(j, status::routing_loop);
        keypair_type* const keys = to->keypairs.current;
        if (keys != nullptr && to->staged.empty() && keys->can_send(now))
            return frame(j, *to, *keys, ecn_of(header.tos));
        stage(*to, j.data.view());
        state_.drop(j, status::staged);
    }

    /// Whether a datagram to the very endpoint of `to` is one that this device made, and no other tunnel's.
    bool is_own(bytes_view datagram, peer_type const& to) noexcept {
        switch (type_of(datagram)) {
        case message_type::transport: {
            std::uint32_t const receiver = load_le32(&datagram[transport_layout::receiver]);
            keypair_type const *const current = to.keypairs.current, *const previous = to.keypairs.previous;
            return (current != nullptr && current->remote_index == receiver) ||
                   (previous != nullptr && previous->remote_index == receiver);
        }
        case message_type::initiation:
        case message_type::response:
            return bool{state_.peers.find_index(load_le32(&datagram[initiation_layout::sender]))};
        default: return false;
        }
    }

    /// Says to the host that the destination cannot be reached, a thousand times a second at most.
    void refuse(job_type& j, [[maybe_unused]] ip_header const& header, status why,
                [[maybe_unused]] instant now) noexcept {
#ifdef WG_BARE // the node is the host itself, and sees `why`
        state_.drop(j, why);
#else
        constexpr duration cost = milliseconds(1), burst = cost * 50;
        state_.drop(j, why);
        if (now - state_.unreachables_since > burst) state_.unreachables_since = now - burst;
        if (now - state_.unreachables_since < cost || !make_unreachable(j.data, header)) return;
        state_.unreachables_since = state_.unreachables_since + cost;
        j.next = disposition::deliver;
#endif
    }

    void stage(peer_type& to, bytes_view packet_data) noexcept {
        for (std::size_t lost = state_.staged.stage(to.staged, packet_data); lost != 0; --lost)
            state_.count(status::staging_full, &to);
        to.timers.new_attempt(); // the user asks anew; what already waits does not
        if (to.staged.empty()) to.wants_initiation = true; // others have all the room; the next packet finds a session
        state_.enqueue_for_transmit(to);
    }

    /// Makes a packet the body of a transport message, still in clear.
    void frame(job_type& j, peer_type& to, keypair_type& keys, std::uint8_t tos) noexcept {
        std::size_t const length = j.data.length, padding = padding_for(length);
        if (j.data.headroom() < transport_header_bytes || j.data.tailroom() < padding + tag_bytes)
            return state_.drop(j, status::no_room);
        j.data.grow(transport_header_bytes, static_cast<std::ptrdiff_t>(padding + tag_bytes));
        bytes const message = j.data.view();
        j.counter = keys.send_counter++;
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::transport));
        store_le32(&message[transport_layout::receiver], keys.remote_index);
        store_le64(&message[transport_layout::counter], j.counter);
        fill_zero(message.subspan(transport_header_bytes + length, padding));
        j.has_data = length != 0;
        j.tos = tos;
        state_.send(j, to, &keys);
    }

    //= wp 5.4.6: padded with zeros to a multiple of 16, but not beyond the MTU
    std::size_t padding_for(std::size_t length) const noexcept {
        std::size_t const last = state_.mtu != 0 && length > state_.mtu ? length % state_.mtu : length;
        std::size_t const padded = (last + padding_bytes - 1) / padding_bytes * padding_bytes;
        return (state_.mtu != 0 && padded > state_.mtu ? state_.mtu : padded) - last;
    }

    void complete_outbound(job_type& j, peer_type& owner, instant now) noexcept {
        if (j.why == status::ok) owner.tx_bytes += j.data.length;
        // The socket found that the cached source address is gone.
        if (j.where.local == local_source{} && j.where.remote == owner.where.remote) owner.where.local = {};
        if (j.keys == nullptr) return; // a handshake message: its timers ran when it was made
        owner.timers.any_authenticated_packet_traversal(now);
        owner.timers.any_authenticated_packet_sent();
        if (j.has_data && !owner.timers.awaits_reply()) owner.timers.data_sent(now, state_.jitter());
        keypair_type const* const current = owner.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_sending(now)) state_.want_initiation(owner);
        if (!j.has_data) state_.report(event_id::keepalive_sent, &owner);
    }

    // --- inbound

    /// Which handshake messages of a batch have a right mac1: of some jobs at a time, from the first that asks.
    struct handshake_door {
        std::span<job_type const> jobs;
        std::size_t begin = 0, end = 0; ///< whose bits are known
        std::uint32_t genuine = 0;
    };

    bool is_genuine(job_type const& j, handshake_door& door) noexcept {
        if constexpr (handshakes<Policies>::macs_at_once == 1)
            return handshakes<Policies>(state_).check_mac1({&j, 1}) != 0;
        std::size_t const place = static_cast<std::size_t>(&j - door.jobs.data());
        if (place >= door.end) {
            door.begin = place;
            door.end = place + handshakes<Policies>::macs_at_once;
            door.genuine = handshakes<Policies>(state_).check_mac1(door.jobs.subspan(place));
        }
        return (door.genuine >> (place - door.begin) & 1) != 0;
    }

    void prepare_inbound(job_type& j, handshake_door& door, instant now) noexcept {
        state_.begin(j, false);
        bytes const data = j.data.view();
        message_type const type = type_of(data);
        if (!state_.up) return state_.drop(j, status::device_down);
        if (type == message_type::none) return state_.drop(j, status::malformed);
        if (type != message_type::transport)
            return handshakes<Policies>(state_).admit(
                j, type, type != message_type::cookie_reply && is_genuine(j, door), now);
        auto const found = state_.peers.find_index(load_le32(&data[transport_layout::receiver]));
        if (found.keys == nullptr) return state_.drop(j, status::unknown_index);
        j.counter = load_le64(&data[transport_layout::counter]);
        if (!found.keys->can_receive(now) || j.counter >= reject_after_messages)
            return state_.drop(j, status::expired_keypair);
        state_.peers.hold(j, *found.who, found.keys);
    }

    void complete_inbound(job_type& j, peer_type& from, instant now) noexcept {
        if (j.why != status::ok) return state_.drop(j, j.why);
        std::size_t const message_bytes = j.data.length + transport_overhead_bytes;
        //= linux: decrypt, then the counter, and only then the endpoint
        if (!j.keys->received.accept(j.counter)) return state_.drop(j, status::replayed_counter);
        state_.roam(from, j.where);
        if (from.keypairs.confirm(*j.keys, state_.retire())) {
            handshakes<Policies>(state_).complete(from);
            state_.enqueue_for_transmit(from);
            state_.report(event_id::session_started, &from, 0);
        }
        keypair_type const* const current = from.keypairs.current;
        if (current != nullptr && current->wants_rekey_after_receiving(now) && from.timers.take_last_minute_handshake())
            state_.want_initiation(from);
        from.timers.any_authenticated_packet_received();
        from.timers.any_authenticated_packet_traversal(now);
        //= wp 6.5: a keepalive is no data: it is not answered
        if (j.data.length == 0) {
            from.rx_bytes += message_bytes;
            state_.report(event_id::keepalive_received, &from);
            return state_.drop(j, status::keepalive);
        }
        from.timers.data_received(now);
        //= linux: version, length, then the source of what came in; what is wrong is dropped, but it was authenticated
        ip_header const header = parse_ip(j.data.view());
        if (!header) return state_.drop(j, status::bad_inner_packet);
        j.data.grow(0, static_cast<std::ptrdiff_t>(header.total_bytes) - static_cast<std::ptrdiff_t>(j.data.length));
        //= wp 2: the source inside must be the sender's by the most specific of all allowed IPs
        if (state_.peers.allowed().find(header.kind, header.source) != &from)
            return state_.drop(j, status::disallowed_source);
        if (!decapsulate_ecn(j.data.view(), header, j.tos)) return state_.drop(j, status::congestion_lost);
        from.rx_bytes += message_bytes;
        j.next = disposition::deliver;
    }

    // --- what peers want to send

    /// Writes one message of `to` into `out`. False: there is none to be sent now.
    bool transmit_one(peer_type& to, job_type& out, instant now) noexcept {
        state_.begin(out, true);
        keypair_type* const keys = to.keypairs.current;
        bool const has_session = keys != nullptr && keys->can_send(now);
        bool const waits = !to.staged.empty() || to.wants_keepalive;
        if (waits && keys != nullptr && !has_session) keys->may_send = false;
        if (std::exchange(to.wants_initiation, false) || (waits && !has_session))
            if (handshakes<Policies>(state_).send_initiation(to, out, now)) return true;
        if (!has_session || !to.where.remote) return false;

        std::size_t length = 0;
        for (; !to.staged.empty(); state_.staged.drop_oldest(to.staged)) {
            length = state_.staged.oldest_bytes(to.staged);
            if (state_.room_for(out, packet_headroom_bytes + length + packet_tailroom_bytes)) break;
            state_.count(status::no_room, &to);
        }
        if (to.staged.empty()) {
            if (!std::exchange(to.wants_keepalive, false)) return false;
            length = 0;
        }
        if (out.data.capacity < packet_headroom_bytes + length + packet_tailroom_bytes) return false;
        to.wants_keepalive = false;
        out.data = packet({out.data.buffer, out.data.capacity}, packet_headroom_bytes, length);
        std::uint8_t tos = 0;
        if (length != 0) {
            state_.staged.unstage(to.staged, out.data.view());
            tos = ecn_of(parse_ip(out.data.view()).tos);
        }
        frame(out, to, *keys, tos);
        return out.next == disposition::send;
    }

    // --- timers

    void run_timers(peer_type& p, instant now) noexcept {
        timer_actions const act = p.timers.expire(now);
        //= linux: giving up drops what waits; the next packet is a new beginning
        if (act.give_up) {
            for (std::size_t n = state_.staged.drop_all(p.staged); n != 0; --n) state_.count(status::staging_full, &p);
            p.wants_keepalive = false;
            state_.report(event_id::handshake_given_up, &p);
        }
        //= linux: a repetition forgets the source address, which may be what is dead
        if (act.retry_initiation || act.initiate) p.where.local = {}; // perhaps it was the way that was dead
        if (act.retry_initiation) {
            p.wants_initiation = true;
            state_.enqueue_for_transmit(p);
        }
        if (act.initiate) state_.want_initiation(p);
        if (act.keepalive) state_.want_keepalive(p);
        if (act.zero_keys) {
            state_.zero_keys(p);
            state_.report(event_id::keys_zeroed, &p);
        }
    }

    device_state<Policies> state_;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// Joins a TUN device, a device and a UDP socket, and moves packets between them in batches. Layer 6.
//
//     wg::engine<my_policies> engine{device, tun, udp};
//     engine.up();
//     for (;;) engine.run_once(waiter.wait(engine.next_deadline()));
//
// The engine owns the buffers that packets live in; the device transforms them there. One thread at a time.
#ifndef WG_ENGINE_ENGINE_HPP
#define WG_ENGINE_ENGINE_HPP


namespace wg::inline WG_ABI {

template <engine_policies Policies> class engine {
    using device_type = device<Policies>;
    using job_type = typename device_type::job_type;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;
    using storage = typename Policies::storage;

public:
    static constexpr std::size_t batch = 64;          ///< packets in one step
    static constexpr std::size_t receive_batch = 16;  ///< datagrams in one call, which may hold `batch` segments each

    /// What is joined outlives the engine. Buffers come from the device's storage.
    engine(device_type& core, tun_type& tun, socket_type& socket) noexcept
        : core_(core), tun_(tun), socket_(socket), outbound_(core.memory()), inbound_(core.memory()) {
        core_.down(now()); // until the socket is open
    }
    engine(engine const&) = delete;
    engine& operator=(engine const&) = delete;
    ~engine() { down(); }

    /// Opens the socket on the configured port and lets packets pass. address_in_use and others of the socket's:
    /// then the interface stays down. no_memory.
    status up() noexcept {
        if (status const why = refresh_mtu(); why != status::ok) return why;
        if (running_) return status::ok;
        result<std::uint16_t> const port = socket_.open(core_.listen_port());
        if (!port) return port.why();
        core_.set_listen_port(*port);
        running_ = true;
        core_.up();
        flush();
        return status::ok;
    }

    /// Closes the socket and ends all sessions.
    //= linux: an interface that is down has no socket
    void down() noexcept {
        running_ = false;
        socket_.close();
        core_.down(now());
    }

    bool is_up() const noexcept { return running_; }

    /// The TUN device's MTU may have changed. no_memory: larger packets than before do not pass.
    status refresh_mtu() noexcept {
        core_.set_mtu(tun_.mtu());
        std::size_t const mtu = tun_.mtu() != 0 ? tun_.mtu() : default_mtu_bytes;
        // Whatever the alignment, a buffer takes the packet, what it grows by, and what an ICMP answer needs.
        std::size_t const stride = (front + mtu + packet_tailroom_bytes + answer_room + 63) / 64 * 64;
        if (stride > stride_) {
            if (!outbound_.resize(batch * stride)) return status::no_memory;
            stride_ = stride;
        }
        if (inbound_.view().empty() && !inbound_.resize(receive_batch * receive_stride)) return status::no_memory;
        return status::ok;
    }

    /// When `run_once` has to be called at the latest.
    instant next_deadline() noexcept {
        if (tun_unfinished_) return instant{};
        return running_ ? core_.next_deadline() : instant::never();
    }

    /// Moves what is ready, for a bounded time, and runs what is due. gone: the TUN device was removed.
    status run_once(readiness const& ready) noexcept {
        bool tun = ready.tun || tun_unfinished_, udp = ready.udp;
        tun_unfinished_ = false;
        for (int round = 0; round < max_rounds && (tun || udp); ++round) {
            if (udp) udp = running_ && pump_udp();
            if (tun) {
                result<std::size_t> const moved = pump_tun();
                if (!moved && moved.why() == status::gone) return status::gone;
                tun = moved && *moved == batch;
            }
        }
        tun_unfinished_ = tun;
        if (running_ && core_.next_deadline() <= now()) {
            core_.on_deadline(now());
            flush();
        }
        return status::ok;
    }

    /// As `device::configure`, and the socket follows: all changes or none. Also address_in_use, no_permission and
    /// what else the socket says.
    status configure(std::span<change const> changes) noexcept {
        if (status const why = core_.admit(changes); why != status::ok) return why;
        change const *port = nullptr, *mark = nullptr;
        for (change const& c : interface_changes(changes)) {
            if (c.what() == change::kind::listen_port) port = &c;
            if (c.what() == change::kind::fwmark) mark = &c;
        }
        if (mark != nullptr)
            if (status const why = set_fwmark(mark->number()); why != status::ok) return why;
        std::uint16_t bound = core_.listen_port();
        if (port != nullptr && running_) {
            result<std::uint16_t> const opened = socket_.open(static_cast<std::uint16_t>(port->number()));
            if (!opened) {
                if (mark != nullptr) (void)set_fwmark(core_.fwmark());
                return opened.why();
            }
            bound = *opened;
        }
        status const why = core_.configure(changes, now()); // admitted, so it is done
        if (port != nullptr && running_) core_.set_listen_port(bound);
        if (running_) flush();
        return why;
    }

    status configure(std::initializer_list<change> changes) noexcept {
        return configure(std::span(changes.begin(), changes.size()));
    }

    template <class Sink> void snapshot(Sink& sink) noexcept { core_.snapshot(sink); }

private:
    static constexpr int max_rounds = 16;
    static constexpr std::size_t answer_room = ipv6_header_bytes + icmp_header_bytes;
    static constexpr std::size_t front = packet_headroom_bytes + tun_type::headroom;
    static constexpr std::size_t receive_stride = (tun_type::headroom + socket_type::receive_bytes + 63) / 64 * 64;

    instant now() noexcept { return core_.clock().now(); }

    status set_fwmark(std::uint32_t mark) noexcept {
        if constexpr (requires { socket_.set_fwmark(mark); })
            return socket_.set_fwmark(mark);
        else
            return mark == 0 ? status::ok : status::not_supported;
    }

    /// From the TUN device to the network; how many packets.
    result<std::size_t> pump_tun() noexcept {
        if (stride_ == 0) return discard();
        for (std::size_t i = 0; i < batch; ++i)
            packets_[i] = packet(outbound_.view().subspan(i * stride_, stride_ - packet_tailroom_bytes), front);
        result<std::size_t> const got = tun_.read(packets_);
        if (!got || *got == 0) return got;
        std::span<job_type> const jobs = std::span(jobs_).first(*got);
        for (std::size_t i = 0; i < *got; ++i) {
            jobs[i].data = packets_[i];
            jobs[i].data.capacity += static_cast<std::uint32_t>(packet_tailroom_bytes);
        }
        core_.prepare_outbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        transmit(jobs);
        flush();
        return got;
    }

    /// Without buffers a packet is read and dropped, or its presence would wake the waiter for ever.
    result<std::size_t> discard() noexcept {
        byte sink[64];
        packet p(sink, 0);
        return tun_.read({&p, 1});
    }

    /// From the network to the TUN device. False: nothing was there.
    bool pump_udp() noexcept {
        for (std::size_t i = 0; i < receive_batch; ++i)
            received_[i] = {packet(inbound_.view().subspan(i * receive_stride, receive_stride), tun_type::headroom)};
        result<std::size_t> const got = socket_.receive(received_);
        if (!got || *got == 0) return false;
        std::size_t count = 0;
        for (datagram const& d : std::span(received_).first(*got)) {
            std::size_t const segment = d.segment_bytes != 0 ? d.segment_bytes : std::max<std::size_t>(d.length, 1);
            for (std::size_t at = 0; at < std::max<std::size_t>(d.length, 1); at += segment) {
                job_type& j = jobs_[count++];
                j.data = d;
                j.data.offset += static_cast<std::uint32_t>(at);
                j.data.length = static_cast<std::uint32_t>(std::min<std::size_t>(segment, d.length - at));
                j.where = d.where;
                j.tos = d.tos;
                if (count == batch) receive(std::span(jobs_).first(std::exchange(count, 0)));
            }
        }
        receive(std::span(jobs_).first(count));
        flush();
        return true;
    }

    void receive(std::span<job_type> jobs) noexcept {
        core_.prepare_inbound(jobs, now());
        device_type::crypt(jobs, core_.aead());
        core_.complete(jobs, now());
        deliver(jobs);
    }

    /// What the device has to say by itself: answers to some handshakes, then what waits to be sent. What is left after
    /// `max_rounds` comes at the next step; the device's deadline says so.
    void flush() noexcept {
        // The outbound packets of this step are gone by now, so their buffers are free.
        std::size_t const room = stride_ == 0 ? 0 : batch;
        for (int round = 0; round < max_rounds; ++round) {
            for (std::size_t i = 0; i < room; ++i)
                jobs_[i].data = packet(outbound_.view().subspan(i * stride_, stride_), 0);
            std::span<job_type> const jobs = std::span(jobs_).first(room);
            std::size_t const made =
                round == 0 ? core_.process_handshakes(jobs, now()) : core_.poll_transmit(jobs, now());
            if (made == 0 && round != 0) return;
            device_type::crypt(jobs.first(made), core_.aead());
            transmit(jobs.first(made));
        }
    }

    /// Sends what is to be sent, completes all, and delivers what goes back to the host.
    void transmit(std::span<job_type> jobs) noexcept {
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram& d = sent_[count++];
            static_cast<packet&>(d) = j.data;
            d.where = j.where;
            d.tos = j.tos;
            d.why = status::ok;
        }
        if (count != 0) (void)socket_.send(std::span(sent_).first(count));
        count = 0;
        for (job_type& j : jobs) {
            if (j.next != disposition::send) continue;
            datagram const& d = sent_[count++];
            j.why = d.why;
            j.where.local = d.where.local;
        }
        core_.complete(jobs, now());
        deliver(jobs);
    }

    void deliver(std::span<job_type> jobs) noexcept {
        std::size_t count = 0;
        for (job_type const& j : jobs) {
            if (j.next != disposition::deliver) continue;
            packets_[count] = j.data;
            if constexpr (tun_type::headroom != 0) keep_headroom(packets_[count]);
            ++count;
        }
        if (count != 0) (void)tun_.write(std::span(packets_).first(count));
    }

    /// An ICMP answer may have taken all the room before the packet; then it left as much behind.
    static void keep_headroom(packet& p) noexcept {
        if (p.headroom() >= tun_type::headroom) return;
        packet const moved({p.buffer, p.capacity}, tun_type::headroom, p.length);
        std::memmove(moved.view().data(), p.view().data(), p.length);
        p = moved;
    }

    device_type& core_;
    tun_type& tun_;
    socket_type& socket_;
    bool tun_unfinished_ = false; ///< a TUN device may hold packets that its descriptor does not tell of
    typename storage::template array<byte, 0> outbound_;
    typename storage::template array<byte, 0> inbound_;
    std::size_t stride_ = 0;
    bool running_ = false;

    // What a step works on. Here and not on the stack, where each step would have to clear it.
    std::array<job_type, batch> jobs_;
    std::array<packet, batch> packets_;
    std::array<datagram, batch> sent_;
    std::array<datagram, receive_batch> received_;
};

} // namespace wg::inline WG_ABI

#endif
// SPDX-License-Identifier: BSL-1.0
// The parts that a platform supplies, for the platform that this is compiled for: the one place where it is asked.
// Layer 7.
//
// `wg::os::host` names what `wg::default_policies` takes from the platform. It is empty where there is none: a
// microcontroller brings its own policies.
#ifndef WG_OS_OS_HPP
#define WG_OS_OS_HPP


#if defined(__linux__) && __STDC_HOSTED__

// SPDX-License-Identifier: BSL-1.0
// Linux's clocks: CLOCK_BOOTTIME, which counts suspend, for timers; CLOCK_REALTIME for handshake timestamps (whitepaper
// section 5.1; TAI64N as Linux's own WireGuard computes it). Layer 7 (Linux); any thread.
#ifndef WG_OS_LINUX_CLOCK_HPP
#define WG_OS_LINUX_CLOCK_HPP


#include <time.h>

namespace wg::inline WG_ABI::os {

/// Models `clock_source`.
class clock {
public:
    instant now() const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_BOOTTIME, &time);
        return {static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec};
    }

    /// The wall clock now, to the nanosecond. Whoever sends it decides how much of that to tell.
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_REALTIME, &time);
        tai64n_of(time, label);
    }

    /// 2^62, the ten seconds that TAI was ahead of UTC in 1970, and the seconds since; leap seconds are not counted.
    static void tai64n_of(timespec const& time, std::span<byte, timestamp_bytes> label) noexcept {
        store_be64(label.data(), 0x400000000000000aU + static_cast<std::uint64_t>(time.tv_sec));
        store_be32(label.data() + 8, static_cast<std::uint32_t>(time.tv_nsec));
    }
};

static_assert(clock_source<clock>);

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// What makes a process a daemon: going to the background, stopping on signals, keeping its memory to itself, telling
// its supervisor (daemon(7), sd_notify(3)). Layer 7 (Linux); at start-up, while there is one thread.
#ifndef WG_OS_LINUX_DAEMON_HPP
#define WG_OS_LINUX_DAEMON_HPP

// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

namespace wg::inline WG_ABI::os {

/// A process that goes on in the background while the one it was started as waits to tell the shell how that went.
class background {
public:
    /// Stays in the foreground: `ready` does nothing.
    background() noexcept = default;

    /// Forks. Returns in the child, in a session of its own. The parent never returns: it ends with 0 once the child
    /// calls `ready`, and with 1 if the child ends before that, which should have said why on stderr.
    /// Call it before there are threads, and before there are secrets, of which the parent would keep a copy.
    static result<background> enter() noexcept {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return status_of(errno);
        unique_fd from(ends[0]), to(ends[1]);
        std::fflush(nullptr); // or both would write what is buffered
        pid_t const child = ::fork();
        if (child < 0) return status_of(errno);
        if (child > 0) {
            to.reset();
            char answer = 0;
            ssize_t const size = without_interruption([&] { return ::read(from.get(), &answer, 1); });
            if (size != 1) without_interruption([&] { return ::waitpid(child, nullptr, 0); });
            ::_exit(size == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
        }
        ::setsid();
        background self;
        self.parent_ = std::move(to);
        return self;
    }

    /// Lets the parent end. From here on nothing is read from or written to the terminal, except errors and logs
    /// where `keep_stderr`.
    void ready(bool keep_stderr) noexcept {
        if (!parent_) return;
        unique_fd const null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        if (null) {
            ::dup2(null.get(), STDIN_FILENO);
            ::dup2(null.get(), STDOUT_FILENO);
            if (!keep_stderr) ::dup2(null.get(), STDERR_FILENO);
        }
        if (::chdir("/") != 0) return; // cannot fail; the parent learns of it by our end
        char const yes = 1;
        [[maybe_unused]] ssize_t const told = ::write(parent_.get(), &yes, 1); // the parent may be gone: no matter
        parent_.reset();
    }

private:
    unique_fd parent_{};
};

/// The signals that ask a daemon to stop, as a descriptor. SIGPIPE is ignored: writing to who has left is an error
/// like others.
class stop_signals {
public:
    /// SIGINT and SIGTERM, and SIGHUP unless it is ignored (nohup): its default would end the process without
    /// cleaning up. Blocks them; the destructor restores what was.
    stop_signals() noexcept {
        sigset_t wanted;
        ::sigemptyset(&wanted);
        ::sigaddset(&wanted, SIGINT);
        ::sigaddset(&wanted, SIGTERM);
        struct sigaction hang_up {};
        if (::sigaction(SIGHUP, nullptr, &hang_up) == 0 && hang_up.sa_handler != SIG_IGN) ::sigaddset(&wanted, SIGHUP);
        ::sigprocmask(SIG_BLOCK, &wanted, &before_);
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        ::sigaction(SIGPIPE, &ignore, &pipe_before_);
        fd_.reset(::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC));
    }
    stop_signals(stop_signals const&) = delete;
    stop_signals& operator=(stop_signals const&) = delete;
    ~stop_signals() {
        fd_.reset();
        ::sigaction(SIGPIPE, &pipe_before_, nullptr);
        ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    }

    int fd() const noexcept { return fd_.get(); }
    /// The number of a signal that has come since, or 0.
    int take() noexcept {
        signalfd_siginfo info;
        ssize_t const size = without_interruption([&] { return ::read(fd_.get(), &info, sizeof info); });
        return size == static_cast<ssize_t>(sizeof info) ? static_cast<int>(info.ssi_signo) : 0;
    }

private:
    unique_fd fd_{};
    sigset_t before_{};
    struct sigaction pipe_before_ {};
};

/// Nobody with the same user id may read or trace this process, and no core dump is written. Whether both took hold.
inline bool keep_memory_private() noexcept {
    rlimit const none{0, 0};
    bool const no_core = ::setrlimit(RLIMIT_CORE, &none) == 0;
    return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && no_core;
}

/// Tells the supervisor that started us `state`: "READY=1", "STOPPING=1". `socket` is a path, or a name in the abstract
/// namespace that begins with `@`; null (no supervisor asked): nothing to do. False: it could not be told.
inline bool notify_supervisor(char const* state, char const* socket = std::getenv("NOTIFY_SOCKET")) noexcept {
    if (socket == nullptr || *socket == '\0') return true;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::size_t const length = std::strlen(socket);
    if ((socket[0] != '/' && socket[0] != '@') || length >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, socket, length);
    if (socket[0] == '@') address.sun_path[0] = '\0';
    unique_fd const fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    auto const size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
    return fd && without_interruption([&] {
                     return ::sendto(fd.get(), state, std::strlen(state), MSG_NOSIGNAL,
                                     reinterpret_cast<sockaddr const*>(&address), size);
                 }) >= 0;
}

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// A sentence that tells a person what went wrong and how to mend it. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ERROR_TEXT_HPP
#define WG_OS_LINUX_ERROR_TEXT_HPP


#include <cstdarg>
#include <cstdio>

namespace wg::inline WG_ABI::os {

/// At most 255 characters; longer sentences are cut. Empty until something fails.
class error_text {
public:
    char const* c_str() const noexcept { return text_; }
    bool empty() const noexcept { return text_[0] == '\0'; }

    [[gnu::format(printf, 2, 3)]] void set(char const* format, ...) noexcept {
        std::va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text_, sizeof text_, format, arguments);
        va_end(arguments);
    }

private:
    char text_[256] = {};
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// Linux's random generator by getrandom(2): waits at boot until it is seeded, never gives weak bytes. Layer 7 (Linux);
// any thread.
#ifndef WG_OS_LINUX_RANDOM_HPP
#define WG_OS_LINUX_RANDOM_HPP

// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif

#include <sys/random.h>

namespace wg::inline WG_ABI::os {

/// Models `random_source`.
class random {
public:
    /// On failure `out` is wiped: half a key is no key.
    bool fill(bytes out) const noexcept {
        std::size_t done = 0;
        while (done < out.size()) {
            ssize_t const more =
                without_interruption([&] { return ::getrandom(out.data() + done, out.size() - done, 0); });
            if (more <= 0) {
                wipe(out.data(), out.size());
                return false;
            }
            done += static_cast<std::size_t>(more);
        }
        return true;
    }
};

static_assert(random_source<random>);

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// What the host changes under a tunnel: its interface up, down, gone or of another MTU; routes, rules and addresses,
// by which a cached source address may have become wrong (rtnetlink(7)). Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ROUTES_HPP
#define WG_OS_LINUX_ROUTES_HPP

// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif

#include <algorithm>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// Everything since the last look.
struct network_changes {
    bool link = false; ///< the interface was spoken of: `up` and `mtu_bytes` hold what was said last
    bool up = false;
    std::uint32_t mtu_bytes = 0; ///< 0: not told
    bool link_left = false;      ///< deleted, or moved to another network namespace: the TUN device knows which
    bool routes = false;         ///< routes or rules, or an address is gone, IPv4 or IPv6
};

/// Watches the network of this namespace, and in it one interface. Events begin with how that interface is now.
class route_monitor {
public:
    /// Watches nothing.
    route_monitor() noexcept = default;

    static result<route_monitor> open(std::uint32_t interface_index) noexcept {
        route_monitor made;
        made.index_ = interface_index;
        made.fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
        sockaddr_nl address{};
        address.nl_family = AF_NETLINK;
        address.nl_groups = group(RTNLGRP_LINK) | group(RTNLGRP_IPV4_IFADDR) | group(RTNLGRP_IPV6_IFADDR) |
                            group(RTNLGRP_IPV4_ROUTE) | group(RTNLGRP_IPV6_ROUTE) | group(RTNLGRP_IPV4_RULE) |
                            group(RTNLGRP_IPV6_RULE);
        if (!made.fd_ || ::bind(made.fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
            !made.ask_link())
            return status_of(errno);
        return made;
    }

    int fd() const noexcept { return fd_.get(); }

    /// Reads what is there, without blocking; at most 64 reads, the rest stays readable.
    network_changes read() noexcept {
        network_changes changes;
        alignas(nlmsghdr) byte buffer[8192];
        for (int round = 0; round < 64; ++round) {
            sockaddr_nl from{};
            iovec piece{buffer, sizeof buffer};
            msghdr header{};
            header.msg_name = &from;
            header.msg_namelen = sizeof from;
            header.msg_iov = &piece;
            header.msg_iovlen = 1;
            ssize_t const size = without_interruption([&] { return ::recvmsg(fd_.get(), &header, 0); });
            if (size < 0 && errno != ENOBUFS) {
                // Only now, with the socket empty, is there surely room for the answer.
                if (overrun_ && errno == EAGAIN) overrun_ = !ask_link();
                break;
            }
            if (size < 0 || (header.msg_flags & MSG_TRUNC) != 0) {
                changes.routes = overrun_ = true; // more than the socket holds: anything may have changed
                continue;
            }
            if (from.nl_pid == 0) take({buffer, static_cast<std::size_t>(size)}, changes); // 0: from the kernel
        }
        return changes;
    }

private:
    static constexpr std::uint32_t group(unsigned number) noexcept { return 1u << (number - 1); }

    /// Has the kernel say how the interface is, as an event among the others.
    bool ask_link() noexcept {
        struct {
            nlmsghdr header;
            ifinfomsg link;
        } request{};
        request.header.nlmsg_len = sizeof request;
        request.header.nlmsg_type = RTM_GETLINK;
        request.header.nlmsg_flags = NLM_F_REQUEST;
        request.link.ifi_family = AF_UNSPEC;
        request.link.ifi_index = static_cast<int>(index_);
        return without_interruption([&] { return ::send(fd_.get(), &request, sizeof request, 0); }) >= 0;
    }

    void take(bytes_view from, network_changes& changes) const noexcept {
        while (from.size() >= sizeof(nlmsghdr)) {
            nlmsghdr header;
            std::memcpy(&header, from.data(), sizeof header);
            if (header.nlmsg_len < sizeof header || header.nlmsg_len > from.size()) return;
            take_one(header.nlmsg_type, from.first(header.nlmsg_len).subspan(NLMSG_HDRLEN), changes);
            from = from.subspan(std::min<std::size_t>(from.size(), NLMSG_ALIGN(header.nlmsg_len)));
        }
    }

    void take_one(unsigned type, bytes_view body, network_changes& changes) const noexcept {
        switch (type) {
        case RTM_NEWLINK:
        case RTM_DELLINK: take_link(type, body, changes); return;
        case RTM_NEWROUTE:
        case RTM_DELROUTE: changes.routes = changes.routes || leads_away(body); return;
        case RTM_DELADDR:
        case RTM_NEWRULE:
        case RTM_DELRULE: changes.routes = true; return;
        case NLMSG_ERROR: // the interface that was asked for is not here
            changes.link_left = true;
            return;
        default: return;
        }
    }

    /// Whether a route is one that datagrams to others may take. What each new address brings along for itself (local,
    /// broadcast, multicast) makes no source wrong that was right before.
    static bool leads_away(bytes_view body) noexcept {
        rtmsg route;
        if (body.size() < sizeof route) return false;
        std::memcpy(&route, body.data(), sizeof route);
        return route.rtm_type != RTN_LOCAL && route.rtm_type != RTN_BROADCAST && route.rtm_type != RTN_ANYCAST &&
               route.rtm_type != RTN_MULTICAST;
    }

    void take_link(unsigned type, bytes_view body, network_changes& changes) const noexcept {
        ifinfomsg link;
        if (body.size() < sizeof link) return;
        std::memcpy(&link, body.data(), sizeof link);
        // A bridge speaks of its ports in messages that look alike.
        if (link.ifi_family != AF_UNSPEC || static_cast<std::uint32_t>(link.ifi_index) != index_) return;
        if (type == RTM_DELLINK) {
            changes.link_left = true;
            return;
        }
        changes.link = true;
        changes.link_left = false;
        changes.up = (link.ifi_flags & IFF_UP) != 0;
        bytes_view rest = body.subspan(std::min<std::size_t>(body.size(), NLMSG_ALIGN(sizeof link)));
        while (rest.size() >= sizeof(rtattr)) {
            rtattr attribute;
            std::memcpy(&attribute, rest.data(), sizeof attribute);
            if (attribute.rta_len < sizeof attribute || attribute.rta_len > rest.size()) return;
            if (attribute.rta_type == IFLA_MTU && attribute.rta_len >= RTA_LENGTH(sizeof changes.mtu_bytes))
                std::memcpy(&changes.mtu_bytes, rest.data() + RTA_LENGTH(0), sizeof changes.mtu_bytes);
            rest = rest.subspan(std::min<std::size_t>(rest.size(), RTA_ALIGN(attribute.rta_len)));
        }
    }

    unique_fd fd_{};
    std::uint32_t index_ = 0;
    bool overrun_ = false; ///< events were lost, and the interface has not been asked for anew
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// The one place in memory where a device's keys lie: locked, kept out of core dumps and of forks, between two guard
// pages, wiped at the end. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_SECRET_REGION_HPP
#define WG_OS_LINUX_SECRET_REGION_HPP


#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// Addresses are reserved once and made usable step by step, so memory that was given out never moves and nothing of
/// it is ever left behind in a smaller copy.
class secret_region {
public:
    static constexpr std::size_t alignment = 64;
    static constexpr std::size_t default_capacity = sizeof(void*) >= 8 ? std::size_t{1} << 30 : std::size_t{1} << 26;
    static constexpr std::size_t step_bytes = 65536; ///< a multiple of every page size in use

    /// Reserves addresses for `capacity` bytes. If that fails, every allocation does.
    explicit secret_region(std::size_t capacity = default_capacity) noexcept {
        auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        if (capacity > SIZE_MAX - step_bytes - 2 * page) return;
        capacity = round_up(capacity, step_bytes);
        void* const start =
            ::mmap(nullptr, capacity + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (start == MAP_FAILED) return;
        mapping_ = start;
        mapping_bytes_ = capacity + 2 * page;
        first_ = static_cast<byte*>(start) + page;
        capacity_ = capacity;
        undumped_ = ::madvise(start, mapping_bytes_, MADV_DONTDUMP) == 0;
        unforked_ = ::madvise(start, mapping_bytes_, MADV_WIPEONFORK) == 0;
    }
    secret_region(secret_region&& other) noexcept : secret_region(nullptr) { swap(other); }
    secret_region& operator=(secret_region&& other) noexcept {
        secret_region(std::move(other)).swap(*this);
        return *this;
    }
    secret_region(secret_region const&) = delete;
    secret_region& operator=(secret_region const&) = delete;
    ~secret_region() {
        if (mapping_ == nullptr) return;
        wipe(first_, committed_);
        ::munmap(mapping_, mapping_bytes_);
    }

    /// Zeroed memory, aligned to 64 bytes, good until the region dies; nullptr if there is none left.
    void* allocate(std::size_t bytes) noexcept {
        if (bytes > capacity_ - used_) return nullptr;
        std::size_t const end = used_ + round_up(bytes, alignment); // at most capacity_, itself a multiple of 64
        if (end > committed_ && !commit(round_up(end, step_bytes))) return nullptr;
        return first_ + std::exchange(used_, end);
    }

    /// Whether all that was given out is locked into memory, so that none of it can reach a swap device. It needs
    /// RLIMIT_MEMLOCK or CAP_IPC_LOCK; without them keys work, but may be swapped.
    bool locked() const noexcept { return locked_; }
    /// Whether the kernel keeps the region out of core dumps.
    bool undumped() const noexcept { return undumped_; }
    /// Whether a forked child finds zeros here.
    bool unforked() const noexcept { return unforked_; }
    /// The memory that may hold secrets now.
    bytes_view committed() const noexcept { return {first_, committed_}; }

private:
    explicit secret_region(std::nullptr_t) noexcept {} ///< reserves nothing

    static constexpr std::size_t round_up(std::size_t n, std::size_t multiple) noexcept {
        return (n + multiple - 1) / multiple * multiple;
    }

    bool commit(std::size_t end) noexcept {
        byte* const from = first_ + committed_;
        std::size_t const more = end - committed_;
        if (::mprotect(from, more, PROT_READ | PROT_WRITE) != 0) return false;
        if (::mlock(from, more) != 0) locked_ = false;
        committed_ = end;
        return true;
    }

    void swap(secret_region& other) noexcept {
        std::swap(mapping_, other.mapping_);
        std::swap(mapping_bytes_, other.mapping_bytes_);
        std::swap(first_, other.first_);
        std::swap(capacity_, other.capacity_);
        std::swap(committed_, other.committed_);
        std::swap(used_, other.used_);
        std::swap(locked_, other.locked_);
        std::swap(undumped_, other.undumped_);
        std::swap(unforked_, other.unforked_);
    }

    void* mapping_ = nullptr; ///< guard page, capacity_ bytes from first_, guard page
    std::size_t mapping_bytes_ = 0;
    byte* first_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t committed_ = 0; ///< readable and writable, from first_
    std::size_t used_ = 0;
    bool locked_ = true;
    bool undumped_ = false;
    bool unforked_ = false;
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// A TUN interface: the host's end of the tunnel (Linux, Documentation/networking/tuntap.rst). Layer 7 (Linux); one
// thread at a time.
#ifndef WG_OS_LINUX_TUN_HPP
#define WG_OS_LINUX_TUN_HPP

// SPDX-License-Identifier: BSL-1.0
// A sentence that tells a person what went wrong and how to mend it. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ERROR_TEXT_HPP
#define WG_OS_LINUX_ERROR_TEXT_HPP


#include <cstdarg>
#include <cstdio>

namespace wg::inline WG_ABI::os {

/// At most 255 characters; longer sentences are cut. Empty until something fails.
class error_text {
public:
    char const* c_str() const noexcept { return text_; }
    bool empty() const noexcept { return text_[0] == '\0'; }

    [[gnu::format(printf, 2, 3)]] void set(char const* format, ...) noexcept {
        std::va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text_, sizeof text_, format, arguments);
        va_end(arguments);
    }

private:
    char text_[256] = {};
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// TCP in big pieces between the host and a TUN device: a frame of up to 64 KiB that the host wants cut is cut, and
// packets that follow each other in a stream are joined to one frame, so that a system call and the host's TCP move
// many at once. Frames begin with a virtio header (Virtual I/O Device 1.1, section 5.1.6). Checksums: RFC 1071,
// RFC 9293, RFC 768. Layer 7 (Linux); pure, one thread at a time.
#ifndef WG_OS_LINUX_OFFLOAD_HPP
#define WG_OS_LINUX_OFFLOAD_HPP


#include <algorithm>
#include <sys/uio.h>

namespace wg::inline WG_ABI::os {

inline constexpr std::size_t virtio_header_bytes = 10;

/// What stands before a packet. Declared here because <linux/virtio_net.h> is not valid C++.
struct virtio_header {
    enum : std::uint8_t { needs_checksum = 1 };                                  // flags
    enum : std::uint8_t { no_segments = 0, tcp_v4 = 1, tcp_v6 = 4, ecn = 0x80 }; // segments

    std::uint8_t flags = 0;
    std::uint8_t segments = no_segments;
    std::uint16_t header_bytes = 0;
    std::uint16_t segment_bytes = 0;   ///< payload of each segment but the last
    std::uint16_t checksum_start = 0;  ///< the checksum covers all from here,
    std::uint16_t checksum_offset = 0; ///< and goes there, seen from its start

    /// Little-endian, as the specification has it.
    static constexpr virtio_header load(std::span<byte const, virtio_header_bytes> from) noexcept {
        return {from[0], from[1], load_le16(&from[2]), load_le16(&from[4]), load_le16(&from[6]), load_le16(&from[8])};
    }
    constexpr void store(std::span<byte, virtio_header_bytes> to) const noexcept {
        to[0] = flags;
        to[1] = segments;
        store_le16(&to[2], header_bytes);
        store_le16(&to[4], segment_bytes);
        store_le16(&to[6], checksum_start);
        store_le16(&to[8], checksum_offset);
    }
};

/// The longest packet in a frame; without its header. Linux makes longer ones only where it is told to.
inline constexpr std::size_t max_frame_packet_bytes = 65535;

// Sums are kept in the machine's byte order: RFC 1071, section 2 (B) says that only the result has to be stored so.

/// Adds the 16-bit words of `data`, at most 1 MiB; an odd byte at the end is padded with zero. Not folded.
inline std::uint64_t add_words(std::uint64_t sum, bytes_view data) noexcept {
    byte const* at = data.data();
    std::size_t left = data.size();
    std::uint64_t low = 0, high = 0; // each grows by less than 2^33 a step
    for (; left >= 16; at += 16, left -= 16) {
        std::uint64_t words[2];
        std::memcpy(words, at, sizeof words);
        low += (words[0] & 0xffffffff) + (words[1] & 0xffffffff);
        high += (words[0] >> 32) + (words[1] >> 32);
    }
    for (; left >= 2; at += 2, left -= 2) {
        std::uint16_t word;
        std::memcpy(&word, at, sizeof word);
        low += word;
    }
    if (left != 0) {
        byte const padded[2] = {*at, 0};
        std::uint16_t word;
        std::memcpy(&word, padded, sizeof word);
        low += word;
    }
    return sum + low + high;
}

/// The one's complement sum as 16 bits.
constexpr std::uint16_t fold_sum(std::uint64_t sum) noexcept {
    while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<std::uint16_t>(sum);
}

namespace offload_detail {

enum : std::size_t { ipv4_bytes = 20, ipv6_bytes = 40, tcp_bytes = 20, tcp_checksum_at = 16, max_tcp_bytes = 60 };
enum : byte { fin = 1, psh = 8, ack = 16, ece = 64, cwr = 128 };
inline constexpr byte protocol_tcp = 6, protocol_udp = 17, protocol_icmp_v6 = 58;

/// A number as the word that it is in a packet.
constexpr std::uint16_t network_word(std::size_t number) noexcept {
    auto const word = static_cast<std::uint16_t>(number);
    return std::endian::native == std::endian::little ? __builtin_bswap16(word) : word;
}
inline std::uint16_t load_word(byte const* from) noexcept {
    std::uint16_t word;
    std::memcpy(&word, from, sizeof word);
    return word;
}
inline void store_word(byte* to, std::uint16_t word) noexcept { std::memcpy(to, &word, sizeof word); }

/// The sum of what TCP's checksum covers besides the segment: addresses, protocol and length.
inline std::uint64_t pseudo_header_sum(byte const* ip, std::size_t segment_bytes) noexcept {
    bytes_view const addresses = ip[0] >> 4 == 4 ? bytes_view(ip + 12, 8) : bytes_view(ip + 8, 32);
    return add_words(std::uint64_t{network_word(protocol_tcp)} + network_word(segment_bytes), addresses);
}

/// Length and checksum of the IP header for a packet of `total_bytes`.
inline void finish_ip(byte* ip, std::size_t header_bytes, std::size_t total_bytes) noexcept {
    if (ip[0] >> 4 == 6) return store_be16(ip + 4, static_cast<std::uint16_t>(total_bytes - ipv6_bytes));
    store_be16(ip + 2, static_cast<std::uint16_t>(total_bytes));
    store_word(ip + 10, 0);
    store_word(ip + 10, static_cast<std::uint16_t>(~fold_sum(add_words(0, {ip, header_bytes}))));
}

} // namespace offload_detail

/// Makes packets of a frame that was read: one, or the segments that the host left to be cut.
class segmenter {
public:
    /// Takes a frame, which it writes to, and which stays until nothing is pending. False: malformed, or of a kind
    /// that was not asked for; then nothing is pending.
    bool begin(bytes frame) noexcept {
        pending_ = false;
        if (frame.size() <= virtio_header_bytes || frame.size() - virtio_header_bytes > max_frame_packet_bytes)
            return false;
        virtio_header const header = virtio_header::load(frame.first<virtio_header_bytes>());
        packet_ = frame.subspan(virtio_header_bytes);
        done_bytes_ = 0;
        bool const cut = header.segments != virtio_header::no_segments;
        pending_ = cut ? begin_segments(header) : begin_whole(header);
        return pending_;
    }

    /// Whether `next` has something to give.
    bool pending() const noexcept { return pending_; }

    /// The next packet, put where the window of `p` begins. One that is too long for its room is cut, and then is
    /// shorter than its header says.
    void next(packet& p) noexcept {
        WG_ASSERT(pending_);
        if (segment_bytes_ == 0) {
            pending_ = false;
            return put(p, packet_, {});
        }
        std::size_t const left = packet_.size() - header_bytes_ - done_bytes_;
        bytes const payload = packet_.subspan(header_bytes_ + done_bytes_, std::min<std::size_t>(segment_bytes_, left));
        pending_ = payload.size() < left;
        write_headers(payload);
        done_bytes_ += payload.size();
        put(p, packet_.first(header_bytes_), payload);
    }

private:
    /// A packet of its own, of which perhaps the checksum is to be completed: its field has the pseudo header's sum.
    bool begin_whole(virtio_header const& header) noexcept {
        segment_bytes_ = 0;
        if ((header.flags & virtio_header::needs_checksum) == 0) return true;
        std::size_t const start = header.checksum_start, field = start + header.checksum_offset;
        if (field + 2 > packet_.size()) return false;
        auto const sum = static_cast<std::uint16_t>(~fold_sum(add_words(0, packet_.subspan(start))));
        offload_detail::store_word(&packet_[field], sum != 0 ? sum : 0xffff); // a zero would say: no checksum (UDP)
        return true;
    }

    bool begin_segments(virtio_header const& header) noexcept {
        using namespace offload_detail;
        bool const v4 = (header.segments & ~virtio_header::ecn) == virtio_header::tcp_v4;
        if (!v4 && (header.segments & ~virtio_header::ecn) != virtio_header::tcp_v6) return false;
        if ((header.flags & virtio_header::needs_checksum) == 0 || header.segment_bytes == 0) return false;
        byte const* const ip = packet_.data();
        std::size_t const ip_bytes = header.checksum_start, size = packet_.size();
        if (ip_bytes < (v4 ? ipv4_bytes : ipv6_bytes) || ip_bytes + tcp_bytes >= size) return false;
        if (header.checksum_offset != tcp_checksum_at || ip[0] >> 4 != (v4 ? 4 : 6)) return false;
        if (v4) {
            bool const fragment = (load_be16(ip + 6) & 0x3fff) != 0;
            if (std::size_t{ip[0] & 0x0fu} * 4 != ip_bytes || ip[9] != protocol_tcp || fragment) return false;
        } else if (ip_bytes == ipv6_bytes && ip[6] != protocol_tcp) {
            return false; // with extension headers, the host knows where TCP begins
        }
        if ((v4 ? load_be16(ip + 2) : load_be16(ip + 4) + ipv6_bytes) != size) return false;
        byte const* const tcp = ip + ip_bytes;
        std::size_t const tcp_header_bytes = std::size_t{tcp[12]} / 16 * 4;
        if (tcp_header_bytes < tcp_bytes || ip_bytes + tcp_header_bytes >= size) return false;

        v4_ = v4;
        ip_bytes_ = ip_bytes;
        header_bytes_ = ip_bytes + tcp_header_bytes;
        segment_bytes_ = header.segment_bytes;
        flags_ = tcp[13];
        // The field has the pseudo header's sum with the whole length in it; that length goes out here, and the
        // segment's comes in there. So it is right even if the destination is not the one that is in the header.
        auto const without_length = static_cast<std::uint16_t>(~network_word(size - ip_bytes));
        pseudo_header_ = std::uint64_t{load_word(tcp + tcp_checksum_at)} + without_length;
        return true;
    }

    /// Makes the frame's headers those of the segment with `payload`.
    void write_headers(bytes_view payload) noexcept {
        using namespace offload_detail;
        byte* const ip = packet_.data();
        byte* const tcp = ip + ip_bytes_;
        bool const first = done_bytes_ == 0, last = !pending_;
        if (!first) {
            if (v4_) store_be16(ip + 4, static_cast<std::uint16_t>(load_be16(ip + 4) + 1));
            store_be32(tcp + 4, load_be32(tcp + 4) + segment_bytes_);
        }
        finish_ip(ip, ip_bytes_, header_bytes_ + payload.size());
        tcp[13] = static_cast<byte>(flags_ & ~((first ? 0 : cwr) | (last ? 0 : fin | psh)));
        std::size_t const tcp_header_bytes = header_bytes_ - ip_bytes_;
        std::uint64_t sum = pseudo_header_ + network_word(tcp_header_bytes + payload.size());
        store_word(tcp + tcp_checksum_at, 0);
        sum = add_words(add_words(sum, {tcp, tcp_header_bytes}), payload);
        store_word(tcp + tcp_checksum_at, static_cast<std::uint16_t>(~fold_sum(sum)));
    }

    static void put(packet& p, bytes_view front, bytes_view back) noexcept {
        bytes const room(p.buffer + p.offset, p.capacity - p.offset);
        front = front.first(std::min(front.size(), room.size()));
        back = back.first(std::min(back.size(), room.size() - front.size()));
        copy(room, front);
        copy(room.subspan(front.size()), back);
        p.length = static_cast<std::uint32_t>(front.size() + back.size());
    }

    bytes packet_{};
    std::size_t ip_bytes_ = 0;
    std::size_t header_bytes_ = 0;    ///< IP and TCP
    std::size_t done_bytes_ = 0;      ///< of the payload
    std::uint64_t pseudo_header_ = 0; ///< its sum, without the length
    std::uint16_t segment_bytes_ = 0; ///< 0: the packet is not cut
    byte flags_ = 0;                  ///< TCP's, as the whole frame has them
    bool v4_ = false;
    bool pending_ = false;
};

/// Joins packets that are about to be written. Those of one TCP connection keep their order, and so do all that are
/// not TCP among themselves. No payload is copied, and no packet is changed.
class coalescer {
public:
    static constexpr std::size_t max_packets = 64; ///< of one plan, and so of one frame

    /// Decides which of `packets`, at most `max_packets`, go together. They stay where they are while the plan is
    /// in use.
    explicit coalescer(std::span<packet const> packets) noexcept : packets_(packets) {
        WG_ASSERT(packets.size() <= max_packets);
        for (std::size_t i = 0; i < packets.size(); ++i) {
            next_[i] = none;
            headers const h = read_headers(packets[i].view());
            if (h.kind == kinds::unclear) reachable_ = frame_count_; // of any connection, perhaps
            frame* const f = h.kind == kinds::tcp ? latest_of(h) : nullptr;
            if (f != nullptr && may_join(*f, h)) {
                if (!has_right_checksums(*f)) {
                    f->open = false;
                } else if (is_right(h)) {
                    join(*f, h, i);
                    continue;
                }
            }
            bool const open = h.kind == kinds::tcp && !is_pushed(h);
            frames_[frame_count_++] = {h,
                                       h.sequence() + h.payload_bytes,
                                       h.size_bytes,
                                       static_cast<std::uint8_t>(i),
                                       static_cast<std::uint8_t>(i),
                                       1,
                                       open,
                                       false};
        }
    }

    /// How many frames the packets make.
    std::size_t frame_count() const noexcept { return frame_count_; }
    /// How many packets are in frame `number`.
    std::size_t packet_count(std::size_t number) const noexcept { return frames_[number].count; }

    /// The pieces of frame `number`, in the order in which they are to be written; good until the next call.
    std::span<iovec const> pieces(std::size_t number) noexcept {
        frame const& f = frames_[number];
        bool const joined = f.count > 1;
        virtio_header const header = joined ? write_joined_headers(f) : virtio_header{};
        header.store(bytes(front_).first<virtio_header_bytes>());
        std::size_t const own_bytes = joined ? f.head.header_bytes() : 0; // headers that stand in `front_`
        std::size_t count = 0;
        pieces_[count++] = {front_, virtio_header_bytes + own_bytes};
        for (std::size_t i = f.first; i != none; i = next_[i])
            pieces_[count++] = {packets_[i].buffer + packets_[i].offset + own_bytes, packets_[i].length - own_bytes};
        return {pieces_, count};
    }

    /// Calls `use(packet)` for each packet of frame `number`: what is written where the frame is refused.
    template <class Use> void each_packet(std::size_t number, Use use) const noexcept {
        for (std::size_t i = frames_[number].first; i != none; i = next_[i]) use(packets_[i]);
    }

private:
    static constexpr std::uint8_t none = 0xff;

    enum class kinds : std::uint8_t {
        unclear,   ///< a fragment, options, no IP at all: nothing later may overtake it
        other,     ///< not TCP, and so in nobody's way
        tcp_alone, ///< never joined, but keeps its place in its connection
        tcp,
    };

    struct headers {
        byte const* ip;
        std::uint64_t connection; ///< equal for packets of one connection, but not for those alone
        std::uint32_t size_bytes;
        std::uint16_t payload_bytes;
        std::uint8_t ip_bytes;
        std::uint8_t tcp_bytes;
        kinds kind;

        bool v4() const noexcept { return ip[0] >> 4 == 4; }
        byte const* tcp() const noexcept { return ip + ip_bytes; }
        std::size_t header_bytes() const noexcept { return std::size_t{ip_bytes} + tcp_bytes; }
        std::uint32_t sequence() const noexcept { return kind == kinds::tcp ? load_be32(tcp() + 4) : std::uint32_t{0}; }
    };

    struct frame {
        headers head; ///< of the first packet
        std::uint32_t next_sequence;
        std::uint32_t size_bytes;
        std::uint8_t first, last, count;
        bool open;  ///< may take more
        bool right; ///< all checksums were found right; of a single packet they are not looked at
    };

    static headers read_headers(bytes_view packet) noexcept {
        using namespace offload_detail;
        headers h{};
        h.ip = packet.data();
        h.size_bytes = static_cast<std::uint32_t>(packet.size());
        if (packet.size() < ipv4_bytes) return h;
        if (packet[0] == 0x45) { // without options
            if (load_be16(&packet[2]) != packet.size() || (load_be16(&packet[6]) & 0xbfff) != 0) return h;
            h.ip_bytes = ipv4_bytes;
            h.kind = packet[9] == protocol_tcp ? kinds::tcp : kinds::other;
            h.connection = load_le64(&packet[12]);
        } else if (packet[0] >> 4 == 6 && packet.size() >= ipv6_bytes) {
            if (load_be16(&packet[4]) + ipv6_bytes != packet.size()) return h;
            h.ip_bytes = ipv6_bytes;
            if (packet[6] != protocol_tcp) {
                if (packet[6] == protocol_udp || packet[6] == protocol_icmp_v6) h.kind = kinds::other;
                return h;
            }
            h.kind = kinds::tcp;
            h.connection =
                load_le64(&packet[8]) ^ load_le64(&packet[16]) ^ load_le64(&packet[24]) ^ load_le64(&packet[32]);
        }
        if (h.kind == kinds::tcp) read_tcp(h);
        return h;
    }

    static void read_tcp(headers& h) noexcept {
        using namespace offload_detail;
        std::size_t const room = h.size_bytes - h.ip_bytes;
        std::size_t const length = room >= tcp_bytes ? std::size_t{h.tcp()[12]} / 16 * 4 : 0;
        if (length < tcp_bytes || length > room) {
            h.kind = kinds::unclear;
            return;
        }
        h.tcp_bytes = static_cast<std::uint8_t>(length);
        h.payload_bytes = static_cast<std::uint16_t>(room - length);
        h.connection ^= std::uint64_t{load_be32(h.tcp())} * 0x9e3779b97f4a7c15;
        bool const plain = (load_be16(h.tcp() + 12) & 0x0fff & ~(psh | ece)) == ack;
        if (!plain || h.payload_bytes == 0) h.kind = kinds::tcp_alone;
    }

    static bool is_pushed(headers const& h) noexcept { return (h.tcp()[13] & offload_detail::psh) != 0; }

    /// The last frame so far that has packets of the same connection.
    frame* latest_of(headers const& h) noexcept {
        for (std::size_t i = frame_count_; i-- > reachable_;) {
            headers const& other = frames_[i].head;
            if (other.connection != h.connection || other.ip_bytes != h.ip_bytes || other.tcp_bytes == 0) continue;
            std::size_t const from = h.v4() ? 12 : 8;
            if (std::memcmp(other.ip + from, h.ip + from, h.v4() ? 8 : 32) == 0 &&
                std::memcmp(other.tcp(), h.tcp(), 4) == 0)
                return &frames_[i];
        }
        return nullptr;
    }

    /// Whether, cut again, the frame with this packet would give back these packets.
    bool may_join(frame const& f, headers const& h) const noexcept {
        using namespace offload_detail;
        headers const& a = f.head;
        if (!f.open || h.sequence() != f.next_sequence) return false;
        if (h.tcp_bytes != a.tcp_bytes || h.payload_bytes > a.payload_bytes) return false;
        if (f.size_bytes + h.payload_bytes > max_frame_packet_bytes) return false;
        if (h.v4()) {
            // Tos, flags and time to live. The identification counts up, unless it says nothing (RFC 6864, 4.1).
            if (h.ip[1] != a.ip[1] || h.ip[6] != a.ip[6] || h.ip[8] != a.ip[8]) return false;
            bool const counted = load_be16(h.ip + 4) == static_cast<std::uint16_t>(load_be16(a.ip + 4) + f.count);
            if (!counted && (h.ip[6] & 0x40) == 0) return false;
        } else if (std::memcmp(h.ip, a.ip, 4) != 0 || h.ip[7] != a.ip[7]) {
            return false; // traffic class, flow label, hop limit
        }
        byte const *const x = a.tcp(), *const y = h.tcp();
        return load_be32(x + 8) == load_be32(y + 8) && (x[12] == y[12]) && ((x[13] ^ y[13]) & ~psh) == 0 &&
               load_be16(x + 14) == load_be16(y + 14) && load_be16(x + 18) == load_be16(y + 18) &&
               std::memcmp(x + tcp_bytes, y + tcp_bytes, h.tcp_bytes - tcp_bytes) == 0;
    }

    /// The host will take a frame's checksums for right without looking.
    static bool is_right(headers const& h) noexcept {
        if (h.v4() && fold_sum(add_words(0, {h.ip, h.ip_bytes})) != 0xffff) return false;
        std::size_t const bytes = h.size_bytes - h.ip_bytes;
        return fold_sum(add_words(offload_detail::pseudo_header_sum(h.ip, bytes), {h.tcp(), bytes})) == 0xffff;
    }
    static bool has_right_checksums(frame& f) noexcept { return f.right = f.right || is_right(f.head); }

    void join(frame& f, headers const& h, std::size_t number) noexcept {
        next_[f.last] = static_cast<std::uint8_t>(number);
        f.last = static_cast<std::uint8_t>(number);
        ++f.count;
        f.size_bytes += h.payload_bytes;
        f.next_sequence += h.payload_bytes;
        f.open = h.payload_bytes == f.head.payload_bytes && !is_pushed(h);
    }

    virtio_header write_joined_headers(frame const& f) noexcept {
        using namespace offload_detail;
        byte* const ip = front_ + virtio_header_bytes;
        byte* const tcp = ip + f.head.ip_bytes;
        std::memcpy(ip, f.head.ip, f.head.header_bytes());
        finish_ip(ip, f.head.ip_bytes, f.size_bytes);
        packet const& last = packets_[f.last];
        tcp[13] |= static_cast<byte>(last.buffer[last.offset + f.head.ip_bytes + 13] & psh);
        store_word(tcp + tcp_checksum_at, fold_sum(pseudo_header_sum(ip, f.size_bytes - f.head.ip_bytes)));
        virtio_header header;
        header.flags = virtio_header::needs_checksum;
        header.segments = f.head.v4() ? virtio_header::tcp_v4 : virtio_header::tcp_v6;
        header.header_bytes = static_cast<std::uint16_t>(f.head.header_bytes());
        header.segment_bytes = f.head.payload_bytes;
        header.checksum_start = f.head.ip_bytes;
        header.checksum_offset = tcp_checksum_at;
        return header;
    }

    std::span<packet const> packets_;
    std::size_t frame_count_ = 0;
    std::size_t reachable_ = 0; ///< frames before this one take no more packets
    frame frames_[max_packets];
    std::uint8_t next_[max_packets]; ///< of each packet, the next one in its frame
    iovec pieces_[1 + max_packets];
    byte front_[virtio_header_bytes + offload_detail::ipv6_bytes + offload_detail::max_tcp_bytes];
};

} // namespace wg::inline WG_ABI::os

#endif

#include <algorithm>
#include <linux/if_tun.h>
#include <memory>
#include <net/if.h>
#include <new>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// Whether Linux takes `name` for an interface, and a file may be called so too: 1-15 characters, no white space,
/// control character, `/`, `:` or `%` (from which the kernel would make another name), and not `.` or `..`.
constexpr bool is_interface_name(std::string_view name) noexcept {
    if (name.empty() || name.size() >= IFNAMSIZ || name == "." || name == "..") return false;
    for (char const c : name)
        if (c <= ' ' || c == '/' || c == ':' || c == '%' || c == '\x7f') return false;
    return true;
}

/// Models `tun_device`. Where the kernel can, frames begin with a virtio header: TCP then passes in pieces of up to
/// 64 KiB, which are cut and joined here. Else a packet is a frame. Either way only packets are seen from outside.
class tun {
public:
    static constexpr std::size_t headroom = 0; ///< a virtio header is written from elsewhere

    /// No interface; `open` and `adopt` make one.
    tun() noexcept = default;

    /// Creates the interface `name`, or takes over one that was made to last and that nobody else uses; a new one gets
    /// `mtu_bytes`. It goes when the object goes, unless it was made to last. `offload` asks for virtio headers, which
    /// old kernels do not have.
    /// `invalid`: no name for an interface; `address_in_use`: taken; `no_permission`; `not_supported`: no TUN driver.
    static result<tun> open(std::string_view name, error_text& why, std::size_t mtu_bytes = default_mtu_bytes,
                            bool offload = true) noexcept {
        if (!is_interface_name(name)) {
            why.set("`%.*s` cannot name an interface: it takes 1 to 15 characters, without spaces, `/`, `:` and `%%`",
                    static_cast<int>(std::min<std::size_t>(name.size(), 40)), name.data());
            return status::invalid;
        }
        ifreq request = request_for(name);
        bool const existed = ::if_nametoindex(request.ifr_name) != 0;
        tun made;
        for (bool framed = offload;; framed = false) {
            unique_fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
            if (!fd) return device_missing(errno, why);
            std::unique_ptr<byte[]> frame = framed && has_virtio_headers(fd.get()) ? new_frame() : nullptr;
            request.ifr_flags = static_cast<short>(IFF_TUN | IFF_NO_PI | (frame ? IFF_VNET_HDR : 0));
            if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return name_refused(request.ifr_name, errno, existed, why);
            made = tun(std::move(fd), request.ifr_name, std::move(frame));
            if (made.set_framing()) break; // which never fails without virtio headers
            made = tun();
        }
        if (!existed && made.set_mtu(mtu_bytes) != status::ok) {
            why.set("cannot set the MTU of `%s` to %zu: %s", made.name_, mtu_bytes, std::strerror(errno));
            return status_of(errno);
        }
        made.refresh_mtu();
        return made;
    }

    /// Takes over an open TUN descriptor, which was made by someone with more rights (WG_TUN_FD). It has virtio headers
    /// or not as its maker chose.
    static result<tun> adopt(int number, error_text& why) noexcept {
        ifreq request{};
        if (::ioctl(number, TUNGETIFF, &request) != 0) {
            why.set("descriptor %d is no TUN interface: %s", number, std::strerror(errno));
            return status::invalid;
        }
        unsigned const flags = static_cast<unsigned short>(request.ifr_flags);
        // IFF_NO_PI cannot be checked: Linux 6.18 says that it is set even where it is not.
        if ((flags & IFF_TUN) == 0) {
            why.set("descriptor %d (`%s`) must be opened with IFF_TUN and IFF_NO_PI", number, request.ifr_name);
            return status::not_supported;
        }
        std::unique_ptr<byte[]> frame = (flags & IFF_VNET_HDR) != 0 ? new_frame() : nullptr;
        if ((flags & IFF_VNET_HDR) != 0 && !frame) {
            why.set("descriptor %d (`%s`): no memory for frames", number, request.ifr_name);
            return status::no_memory;
        }
        tun made(unique_fd(number), request.ifr_name, std::move(frame));
        if (!make_private(number) || !made.set_framing()) {
            why.set("descriptor %d: %s", number, std::strerror(errno));
            status const refused = status_of(errno);
            (void)made.fd_.release(); // not taken over
            return refused;
        }
        made.refresh_mtu();
        return made;
    }

    /// Polls readable when a packet waits, and also when the interface is gone; but not for packets that a `read`
    /// which filled its span has left behind.
    int fd() const noexcept { return fd_.get(); }
    char const* name() const noexcept { return name_; }
    /// The interface's number here, for the monitor of routes; 0 if it is not in this network namespace.
    std::uint32_t index() const noexcept { return ::if_nametoindex(name_); }

    /// Reads until the span is full or nothing is there. What did not fit comes first in the next call, so that one
    /// which filled its span has to be followed by another. A packet that is too long for its room is cut, and then
    /// is shorter than its header says. `gone`: the interface was deleted.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        std::size_t count = 0;
        while (count < packets.size()) {
            int const error = read_packet(packets[count]);
            if (error == 0) {
                ++count;
                continue;
            }
            if (error == EAGAIN || count > 0) break; // what is wrong will still be wrong at the next call
            return error == EBADFD || error == EBADF ? status::gone : status::io_error;
        }
        return count;
    }

    /// How many the host took. One that it refuses is dropped alone; with the interface down or gone, all are.
    /// Packets of one TCP connection may pass as one; they keep their order.
    std::size_t write(std::span<packet> packets) noexcept {
        std::size_t taken = 0;
        while (!packets.empty()) {
            auto const some = packets.first(std::min(packets.size(), coalescer::max_packets));
            packets = packets.subspan(some.size());
            if (!(frame_ ? write_frames(some, taken) : write_packets(some, taken))) break;
        }
        return taken;
    }

    /// What the interface had when it was last asked, by `refresh_mtu`; 0: not known.
    std::size_t mtu() const noexcept { return mtu_; }

    /// Asks the interface, also for its name, for both may change. In another network namespace it cannot be asked;
    /// then what was known stays.
    void refresh_mtu() noexcept {
        ifreq request{};
        if (::ioctl(fd_.get(), TUNGETIFF, &request) == 0) std::memcpy(name_, request.ifr_name, sizeof name_);
        request = request_for(name_);
        if (ask_interface(SIOCGIFMTU, request) && request.ifr_mtu > 0) mtu_ = static_cast<std::size_t>(request.ifr_mtu);
    }

    /// Sets the interface's MTU; on failure errno says why.
    status set_mtu(std::size_t bytes) noexcept {
        ifreq request = request_for(name_);
        request.ifr_mtu = static_cast<int>(bytes);
        if (!ask_interface(SIOCSIFMTU, request)) return status_of(errno);
        mtu_ = bytes;
        return status::ok;
    }

    /// `ok`: the interface is up; `device_down`; `gone`. Asks the device itself, and so also works from another network
    /// namespace, where netlink tells nothing. An interface that is up counts one malformed packet for it: a first
    /// byte of IPv4 and nothing more. (Linux 6.18 refuses a write of no bytes in either state alike.)
    status link_state() const noexcept {
        byte no_packet[virtio_header_bytes + 1] = {};
        no_packet[virtio_header_bytes] = 0x40;
        std::size_t const unused = frame_ ? 0 : virtio_header_bytes;
        ssize_t const written =
            without_interruption([&] { return ::write(fd_.get(), no_packet + unused, sizeof no_packet - unused); });
        if (written >= 0 || errno == EINVAL) return status::ok;
        return errno == EIO ? status::device_down : status::gone;
    }

private:
    tun(unique_fd fd, char const* name, std::unique_ptr<byte[]> frame) noexcept
        : fd_(std::move(fd)), frame_(std::move(frame)) {
        std::memcpy(name_, name, sizeof name_);
    }

    static constexpr std::size_t frame_bytes = virtio_header_bytes + max_frame_packet_bytes;

    /// Not zeroed: of memory that no big frame ever comes to, the kernel makes none.
    static std::unique_ptr<byte[]> new_frame() noexcept {
        return std::unique_ptr<byte[]>(new (std::nothrow) byte[frame_bytes]);
    }

    static bool has_virtio_headers(int fd) noexcept {
        unsigned features = 0;
        return ::ioctl(fd, TUNGETFEATURES, &features) == 0 && (features & IFF_VNET_HDR) != 0;
    }

    /// Has the kernel leave checksums and the cutting of TCP to us, or, without virtio headers, nothing: an interface
    /// that was made to last may remember what an earlier user wanted. False: the framing cannot be had.
    bool set_framing() noexcept {
        if (!frame_) {
            (void)::ioctl(fd_.get(), TUNSETOFFLOAD, 0);
            return true;
        }
        int wanted = virtio_header_bytes, bytes = wanted, yes = 1;
        bool const is_set = ::ioctl(fd_.get(), TUNSETVNETHDRSZ, &wanted) == 0;
        if (!is_set && ::ioctl(fd_.get(), TUNGETVNETHDRSZ, &bytes) == 0 && bytes != wanted) return false;
        // Kernels that do not know it have the machine's order.
        bool const little = ::ioctl(fd_.get(), TUNSETVNETLE, &yes) == 0;
        if (!little && std::endian::native != std::endian::little) return false;
        unsigned const offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
        // Without any the packets come one by one, but can still be written together.
        if (::ioctl(fd_.get(), TUNSETOFFLOAD, offloads | TUN_F_TSO_ECN) != 0)
            (void)(::ioctl(fd_.get(), TUNSETOFFLOAD, offloads) == 0 || ::ioctl(fd_.get(), TUNSETOFFLOAD, 0) == 0);
        return true;
    }

    /// 0 or the errno.
    int read_packet(packet& p) noexcept {
        if (segments_.pending()) {
            segments_.next(p);
            return 0;
        }
        byte* const to = frame_ ? frame_.get() : p.buffer + p.offset;
        std::size_t const room = frame_ ? frame_bytes : p.capacity - p.offset;
        ssize_t const size = without_interruption([&] { return ::read(fd_.get(), to, room); });
        if (size < 0) return errno;
        if (frame_ && segments_.begin({to, static_cast<std::size_t>(size)}))
            segments_.next(p);
        else
            p.length = frame_ ? 0 : static_cast<std::uint32_t>(size); // of a malformed frame no packet is left
        return 0;
    }

    /// 0 or the errno.
    int write_pieces(std::span<iovec const> pieces) noexcept {
        auto const write = [&] { return ::writev(fd_.get(), pieces.data(), static_cast<int>(pieces.size())); };
        return without_interruption(write) < 0 ? errno : 0;
    }

    static bool takes_nothing(int error) noexcept { return error == EIO || error == EBADFD || error == EBADF; }

    /// False: the host takes nothing at present.
    bool write_packets(std::span<packet const> packets, std::size_t& taken) noexcept {
        for (packet const& p : packets) {
            iovec const piece{p.buffer + p.offset, p.length};
            int const error = write_pieces({&piece, 1});
            if (takes_nothing(error)) return false;
            taken += error == 0;
        }
        return true;
    }

    bool write_frames(std::span<packet const> packets, std::size_t& taken) noexcept {
        coalescer plan(packets);
        for (std::size_t i = 0; i < plan.frame_count(); ++i) {
            int const error = write_pieces(plan.pieces(i));
            if (takes_nothing(error)) return false;
            if (error == 0) taken += plan.packet_count(i);
            if (error != 0 && plan.packet_count(i) > 1)
                plan.each_packet(i, [&](packet const& p) noexcept {
                    byte none[virtio_header_bytes] = {};
                    iovec const pieces[] = {{none, sizeof none}, {p.buffer + p.offset, p.length}};
                    taken += write_pieces(pieces) == 0;
                });
        }
        return true;
    }

    static ifreq request_for(std::string_view name) noexcept {
        ifreq request{};
        std::memcpy(request.ifr_name, name.data(), std::min<std::size_t>(name.size(), IFNAMSIZ - 1));
        return request;
    }

    static bool ask_interface(unsigned long what, ifreq& request) noexcept {
        // Any socket will do; this family exists everywhere.
        unique_fd any(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        return any && ::ioctl(any.get(), what, &request) == 0;
    }

    static status device_missing(int error, error_text& why) noexcept {
        switch (error) {
        case EACCES:
        case EPERM:
            why.set("no permission to open /dev/net/tun: run as root, or with CAP_NET_ADMIN");
            return status::no_permission;
        case ENOENT:
        case ENXIO:
        case ENODEV:
            why.set("there is no /dev/net/tun: load the driver with `modprobe tun`, or give the container that device");
            return status::not_supported;
        default: why.set("cannot open /dev/net/tun: %s", std::strerror(error)); return status_of(error);
        }
    }

    static status name_refused(char const* name, int error, bool existed, error_text& why) noexcept {
        if (error == EPERM || error == EACCES) {
            why.set("no permission to create the interface `%s`: run as root, or with CAP_NET_ADMIN", name);
            return status::no_permission;
        }
        if (error == EBUSY || existed) { // EINVAL: an interface of another kind
            why.set("an interface `%s` exists already: choose another name, or delete it with `ip link delete dev %s`",
                    name, name);
            return status::address_in_use;
        }
        why.set("cannot create the interface `%s`: %s", name, std::strerror(error));
        return status_of(error);
    }

    unique_fd fd_{};
    std::unique_ptr<byte[]> frame_{}; ///< what was read last; none: a packet is a frame
    segmenter segments_{};            ///< of `frame_`, those that were not given out yet
    char name_[IFNAMSIZ] = {};
    std::size_t mtu_ = 0;
};

static_assert(tun_device<tun>);

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// The socket on which wg(8) configures an interface: who listens, who is connected, what waits to be sent. What is said
// is a session's matter. Source: https://www.wireguard.com/xplatform/. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_UAPI_LISTENER_HPP
#define WG_OS_LINUX_UAPI_LISTENER_HPP

// SPDX-License-Identifier: BSL-1.0
// A sentence that tells a person what went wrong and how to mend it. Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_ERROR_TEXT_HPP
#define WG_OS_LINUX_ERROR_TEXT_HPP


#include <cstdarg>
#include <cstdio>

namespace wg::inline WG_ABI::os {

/// At most 255 characters; longer sentences are cut. Empty until something fails.
class error_text {
public:
    char const* c_str() const noexcept { return text_; }
    bool empty() const noexcept { return text_[0] == '\0'; }

    [[gnu::format(printf, 2, 3)]] void set(char const* format, ...) noexcept {
        std::va_list arguments;
        va_start(arguments, format);
        std::vsnprintf(text_, sizeof text_, format, arguments);
        va_end(arguments);
    }

private:
    char text_[256] = {};
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif

#include <cstdio>
#include <optional>
#include <string_view>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace wg::inline WG_ABI::os {

/// `Session` is made anew, by its default constructor, for each connection. `Reply` collects what is to be sent to it:
/// `view() -> bytes_view`, `empty()`, and `release()`, which wipes. Nothing here blocks: a client that does not read
/// its reply is not heard until it does.
template <class Session, class Reply, std::size_t MaxConnections = 16> class uapi_listener {
public:
    static constexpr char const* default_directory = "/var/run/wireguard";

    uapi_listener() noexcept
        : epoll_(::epoll_create1(EPOLL_CLOEXEC)), spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {}
    uapi_listener(uapi_listener const&) = delete;
    uapi_listener& operator=(uapi_listener const&) = delete;
    /// Removes the socket's file, if it is still ours.
    ~uapi_listener() {
        for (connection& c : connections_) end(c);
        if (listener_ && is_ours()) ::unlink(path_.sun_path);
    }

    /// Listens at `directory`/`name`.sock, which only the user of this process may use. A file left behind by a
    /// process that is no more is replaced. `address_in_use`: somebody listens there; `invalid`: too long a path.
    status open(std::string_view name, error_text& why, char const* directory = default_directory) noexcept {
        status const named = set_path(name, directory, why);
        if (named != status::ok) return named;
        if (::mkdir(directory, 0755) != 0 && errno != EEXIST) return failed("create", directory, why);
        unique_fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!fd) return failed("open a socket for", path_.sun_path, why);
        if (!bind_private(fd.get())) {
            if (errno != EADDRINUSE) return failed("bind", path_.sun_path, why);
            status const cleared = clear_stale(why);
            if (cleared != status::ok) return cleared;
            if (!bind_private(fd.get())) return failed("bind", path_.sun_path, why);
        }
        if (::listen(fd.get(), SOMAXCONN) == 0) return begin(std::move(fd), why);
        status const why_not = failed("listen on", path_.sun_path, why);
        ::unlink(path_.sun_path);
        return why_not;
    }

    /// Takes over a socket that listens there already (WG_UAPI_FD).
    status adopt(int number, std::string_view name, error_text& why,
                 char const* directory = default_directory) noexcept {
        status const named = set_path(name, directory, why);
        if (named != status::ok) return named;
        int listens = 0;
        socklen_t size = sizeof listens;
        if (::getsockopt(number, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 || listens == 0 ||
            !make_private(number)) {
            why.set("descriptor %d is no socket that listens", number);
            return status::invalid;
        }
        return begin(unique_fd(number), why);
    }

    /// Polls readable when `serve` has something to do; the same descriptor for all of the object's life.
    int fd() const noexcept { return epoll_.get(); }
    char const* path() const noexcept { return path_.sun_path; }
    std::size_t connections() const noexcept {
        std::size_t count = 0;
        for (connection const& c : connections_) count += static_cast<bool>(c.fd);
        return count;
    }

    /// Does what can be done without waiting. What clients say goes, a line or a piece of one at a time, to
    /// `feed(Session&, bytes_view, Reply&) -> status`; anything but ok ends that connection once its reply is sent.
    /// `gone`: the socket's file was removed, which asks the daemon to end.
    template <class Feed> status serve(Feed&& feed) noexcept {
        epoll_event events[MaxConnections + 2];
        int const count = ::epoll_wait(epoll_.get(), events, static_cast<int>(MaxConnections + 2), 0);
        bool removed = false;
        for (int i = 0; i < count; ++i) {
            std::uint64_t const number = events[i].data.u64;
            if (number == listener_number)
                accept_all();
            else if (number == removal_number)
                removed = was_removed();
            else
                converse(connections_[number - first_connection], feed);
        }
        return removed ? status::gone : status::ok;
    }

private:
    static constexpr std::uint64_t listener_number = 0, removal_number = 1, first_connection = 2;
    static constexpr std::size_t input_bytes = 4096;
    static constexpr int most_reads = 16; ///< of one connection in one `serve`, then it is the next one's turn

    struct connection {
        unique_fd fd{};
        std::optional<Session> session{};
        Reply reply{};
        std::size_t sent = 0;           ///< of the reply
        std::size_t begin = 0, end = 0; ///< what is left of the input
        std::uint64_t last_heard = 0;
        bool waits_for_room = false;
        bool ending = false; ///< nothing more is heard; it ends when the reply is sent
        byte input[input_bytes];
    };

    status set_path(std::string_view name, char const* directory, error_text& why) noexcept {
        path_ = {};
        path_.sun_family = AF_UNIX;
        int const length = std::snprintf(path_.sun_path, sizeof path_.sun_path, "%s/%.*s.sock", directory,
                                         static_cast<int>(name.size()), name.data());
        bool const fits = length > 0 && static_cast<std::size_t>(length) < sizeof path_.sun_path;
        if (fits && !name.empty() && name.find('/') == name.npos) return status::ok;
        why.set("`%s/%.*s.sock` cannot be the path of a socket", directory, static_cast<int>(name.size()), name.data());
        return status::invalid;
    }

    static status failed(char const* doing, char const* what, error_text& why) noexcept {
        status const s = status_of(errno);
        why.set("cannot %s %s: %s%s", doing, what, std::strerror(errno),
                s == status::no_permission ? " (run as root)" : "");
        return s;
    }

    sockaddr const* address() const noexcept { return reinterpret_cast<sockaddr const*>(&path_); }

    bool bind_private(int fd) noexcept {
        mode_t const before = ::umask(0077);
        bool const bound = ::bind(fd, address(), sizeof path_) == 0;
        ::umask(before);
        return bound;
    }

    /// Removes a socket that nobody listens on; not another kind of file, and not one that somebody uses.
    status clear_stale(error_text& why) noexcept {
        struct stat found {};
        if (::lstat(path_.sun_path, &found) == 0 && !S_ISSOCK(found.st_mode)) {
            why.set("%s is in the way and no socket: remove it", path_.sun_path);
            return status::address_in_use;
        }
        unique_fd const client(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!client) return failed("open a socket for", path_.sun_path, why);
        if (::connect(client.get(), address(), sizeof path_) == 0 || errno == EAGAIN) { // EAGAIN: many wait already
            why.set("unix socket in use: somebody listens on %s", path_.sun_path);
            return status::address_in_use;
        }
        if (::unlink(path_.sun_path) != 0 && errno != ENOENT) return failed("remove the old", path_.sun_path, why);
        return status::ok;
    }

    status begin(unique_fd fd, error_text& why) noexcept {
        struct stat file {};
        unique_fd removal(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
        bool const watched =
            epoll_ && removal && ::lstat(path_.sun_path, &file) == 0 &&
            ::inotify_add_watch(removal.get(), path_.sun_path, IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) >= 0 &&
            watch(epoll_.get(), fd.get(), EPOLLIN, listener_number) &&
            watch(epoll_.get(), removal.get(), EPOLLIN, removal_number);
        if (!watched) return failed("watch", path_.sun_path, why);
        listener_ = std::move(fd);
        removal_ = std::move(removal);
        device_ = file.st_dev;
        inode_ = file.st_ino;
        return status::ok;
    }

    bool is_ours() const noexcept {
        struct stat now {};
        return ::lstat(path_.sun_path, &now) == 0 && now.st_dev == device_ && now.st_ino == inode_;
    }

    /// Reads away what inotify tells, which may also be a mere change of permissions, and looks for itself.
    bool was_removed() noexcept {
        alignas(inotify_event) byte told[4096];
        while (::read(removal_.get(), told, sizeof told) > 0) {}
        return !is_ours();
    }

    void accept_all() noexcept {
        for (std::size_t i = 0; i < MaxConnections; ++i) {
            unique_fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd && (errno == EMFILE || errno == ENFILE)) {
                // Unanswered it would wake us for ever: a spare descriptor lets us turn it away.
                spare_.reset();
                fd.reset(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
                fd.reset();
                spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
                return;
            }
            if (!fd) return;
            connection& c = free_connection();
            if (!watch(epoll_.get(), fd.get(), EPOLLIN, number_of(c))) continue;
            c.fd = std::move(fd);
            c.session.emplace();
            c.last_heard = ++time_;
        }
    }

    /// One that is free; if none is, the one that has been silent longest ends.
    connection& free_connection() noexcept {
        connection* oldest = &connections_[0];
        for (connection& c : connections_) {
            if (!c.fd) return c;
            if (c.last_heard < oldest->last_heard) oldest = &c;
        }
        end(*oldest);
        return *oldest;
    }

    void end(connection& c) noexcept {
        c.fd.reset();
        c.session.reset();
        c.reply.release();
        wipe(c.input, sizeof c.input);
        c.sent = c.begin = c.end = 0;
        c.waits_for_room = c.ending = false;
    }

    template <class Feed> void converse(connection& c, Feed& feed) noexcept {
        if (!c.fd) return; // it ended for another one in this very round
        c.last_heard = ++time_;
        for (int reads = 0;;) {
            if (!send_reply(c)) return end(c);
            if (!c.reply.empty()) return wait_for_room(c, true);
            if (c.ending) return end(c);
            wait_for_room(c, false);
            if (c.begin < c.end) {
                hear_line(c, feed);
                continue;
            }
            if (reads++ == most_reads) return;
            ssize_t const size = without_interruption([&] { return ::recv(c.fd.get(), c.input, sizeof c.input, 0); });
            if (size < 0 && errno == EAGAIN) return;
            if (size <= 0) return end(c);
            c.begin = 0;
            c.end = static_cast<std::size_t>(size);
        }
    }

    /// A line at a time, so that a client with many questions gets one answer after the other, not all into memory.
    template <class Feed> void hear_line(connection& c, Feed& feed) noexcept {
        byte* const from = c.input + c.begin;
        std::size_t const left = c.end - c.begin;
        auto const* const newline = static_cast<byte const*>(std::memchr(from, '\n', left));
        std::size_t const size = newline != nullptr ? static_cast<std::size_t>(newline - from) + 1 : left;
        c.ending = feed(*c.session, bytes_view(from, size), c.reply) != status::ok;
        std::size_t const used = c.ending ? left : size;
        wipe(from, used);
        c.begin += used;
    }

    /// Sends what the client takes; false: it has left.
    bool send_reply(connection& c) noexcept {
        while (!c.reply.empty()) {
            bytes_view const rest = c.reply.view().subspan(c.sent);
            ssize_t const size =
                without_interruption([&] { return ::send(c.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL); });
            if (size < 0) return errno == EAGAIN;
            c.sent += static_cast<std::size_t>(size);
            if (c.sent < c.reply.view().size()) continue;
            c.reply.release();
            c.sent = 0;
        }
        return true;
    }

    void wait_for_room(connection& c, bool wait) noexcept {
        if (c.waits_for_room == wait) return;
        c.waits_for_room = wait;
        watch(epoll_.get(), c.fd.get(), wait ? EPOLLOUT : EPOLLIN, number_of(c));
    }

    std::uint64_t number_of(connection const& c) const noexcept {
        return first_connection + static_cast<std::uint64_t>(&c - connections_);
    }

    unique_fd epoll_;
    unique_fd spare_;
    unique_fd listener_{};
    unique_fd removal_{};
    sockaddr_un path_{};
    dev_t device_ = 0;
    ino_t inode_ = 0;
    std::uint64_t time_ = 0; ///< counts what was heard: who has been silent longest
    connection connections_[MaxConnections];
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// UDP over IPv4 and IPv6 on one port, in batches, with sticky source addresses (ip(7), ipv6(7), udp(7)).
// Layer 7 (Linux); one thread at a time.
//
// Whether a datagram may be fragmented is left to the host's path MTU discovery, as wireguard-go leaves it.
#ifndef WG_OS_LINUX_UDP_HPP
#define WG_OS_LINUX_UDP_HPP

// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// Asks the host by which interface it would answer (rtnetlink(7), RTM_GETROUTE). Layer 7 (Linux); one thread at a time.
#ifndef WG_OS_LINUX_RETURN_ROUTE_HPP
#define WG_OS_LINUX_RETURN_ROUTE_HPP


#include <algorithm>
#include <array>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace wg::inline WG_ABI::os {

/// Answers of the host's routes, the last 64 of them remembered: a question costs some microseconds.
class return_route {
public:
    /// Forgets what it was told: the routes have changed, or the mark.
    void forget() noexcept { known_ = {}; }

    /// Whether datagrams to `where.remote` with this source address and mark would leave by the interface that
    /// `where.local` names. False where nothing leads there, or the host does not say.
    bool agrees(path const& where, std::uint32_t mark) noexcept {
        // Whoever hits the same slot only asks more often.
        std::uint32_t const spread = load_le32(where.remote.address.octets.data()) ^
                                     load_le32(where.remote.address.octets.data() + 12) ^ where.remote.port;
        answer& a = known_[spread * 0x9e3779b1u >> 26];
        if (!a.where.remote || a.where != where) a = {where, ask(where, mark) == where.local.interface_index};
        return a.agrees;
    }

private:
    struct answer {
        path where{};
        bool agrees = false;
    };

    /// The interface; 0: none.
    std::uint32_t ask(path const& where, std::uint32_t mark) noexcept {
        if (!fd_) fd_.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
        bool const is_v4 = where.remote.address.kind == family::v4;
        std::size_t const address_bytes = is_v4 ? 4 : 16;

        alignas(nlmsghdr) byte buffer[1024] = {};
        rtmsg route{};
        route.rtm_family = is_v4 ? AF_INET : AF_INET6;
        route.rtm_dst_len = route.rtm_src_len = static_cast<unsigned char>(8 * address_bytes);
        std::size_t used = NLMSG_LENGTH(0);
        append(buffer, used, &route, sizeof route);
        append_attribute(buffer, used, RTA_DST, where.remote.address.octets.data(), address_bytes);
        append_attribute(buffer, used, RTA_SRC, where.local.address.octets.data(), address_bytes);
        if (mark != 0) append_attribute(buffer, used, RTA_MARK, &mark, sizeof mark);
        if (where.remote.scope_id != 0) // a link-local address means nothing without its interface
            append_attribute(buffer, used, RTA_OIF, &where.remote.scope_id, sizeof where.remote.scope_id);
        nlmsghdr header{};
        header.nlmsg_len = static_cast<std::uint32_t>(used);
        header.nlmsg_type = RTM_GETROUTE;
        header.nlmsg_flags = NLM_F_REQUEST;
        header.nlmsg_seq = ++sequence_;
        std::memcpy(buffer, &header, sizeof header);

        // The kernel answers before `send` returns, so there is nothing to wait for.
        if (without_interruption([&] { return ::send(fd_.get(), buffer, used, 0); }) < 0) return 0;
        for (;;) {
            ssize_t const got = without_interruption([&] { return ::recv(fd_.get(), buffer, sizeof buffer, 0); });
            if (got < static_cast<ssize_t>(sizeof header)) return 0;
            std::memcpy(&header, buffer, sizeof header);
            if (header.nlmsg_seq != sequence_) continue; // an answer that came late after all
            std::size_t const size = std::min<std::size_t>(static_cast<std::size_t>(got), header.nlmsg_len);
            if (header.nlmsg_type != RTM_NEWROUTE || size < NLMSG_LENGTH(sizeof route)) return 0;
            return outgoing_interface({buffer + NLMSG_LENGTH(sizeof route), size - NLMSG_LENGTH(sizeof route)});
        }
    }

    static std::uint32_t outgoing_interface(bytes_view attributes) noexcept {
        while (attributes.size() >= sizeof(rtattr)) {
            rtattr attribute;
            std::memcpy(&attribute, attributes.data(), sizeof attribute);
            if (attribute.rta_len < sizeof attribute || attribute.rta_len > attributes.size()) return 0;
            std::uint32_t index;
            if (attribute.rta_type == RTA_OIF && attribute.rta_len >= RTA_LENGTH(sizeof index)) {
                std::memcpy(&index, attributes.data() + RTA_LENGTH(0), sizeof index);
                return index;
            }
            attributes = attributes.subspan(std::min<std::size_t>(attributes.size(), RTA_ALIGN(attribute.rta_len)));
        }
        return 0;
    }

    static void append(byte* buffer, std::size_t& used, void const* from, std::size_t size) noexcept {
        std::memcpy(buffer + used, from, size);
        used += NLMSG_ALIGN(size);
    }
    static void append_attribute(byte* buffer, std::size_t& used, unsigned type, void const* from,
                                 std::size_t size) noexcept {
        rtattr const attribute{static_cast<unsigned short>(RTA_LENGTH(size)), static_cast<unsigned short>(type)};
        append(buffer, used, &attribute, sizeof attribute);
        append(buffer, used, from, size);
    }

    std::array<answer, 64> known_{};
    unique_fd fd_{};
    std::uint32_t sequence_ = 0;
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// What travels beside a datagram: its address as sockets spell it, and the control messages that tell the local
// address and interface, the tos and the segment size (ip(7), ipv6(7), udp(7)). Layer 7 (Linux); pure, any thread.
#ifndef WG_OS_LINUX_UDP_CONTROL_HPP
#define WG_OS_LINUX_UDP_CONTROL_HPP


#include <netinet/in.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 // Linux 4.18; older C libraries lack the names
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 // Linux 5.0
#endif

namespace wg::inline WG_ABI::os {

union socket_address {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
};

/// Spells `where` for a socket; its length in bytes.
inline socklen_t spell(endpoint const& where, socket_address& out) noexcept {
    if (where.address.kind == family::v4) {
        out.v4 = {};
        out.v4.sin_family = AF_INET;
        store_be16(reinterpret_cast<byte*>(&out.v4.sin_port), where.port);
        std::memcpy(&out.v4.sin_addr, where.address.octets.data(), 4);
        return sizeof out.v4;
    }
    out.v6 = {};
    out.v6.sin6_family = AF_INET6;
    store_be16(reinterpret_cast<byte*>(&out.v6.sin6_port), where.port);
    std::memcpy(&out.v6.sin6_addr, where.address.octets.data(), 16);
    out.v6.sin6_scope_id = where.scope_id;
    return sizeof out.v6;
}

/// The endpoint that a socket spelled; none if it is of another family.
inline endpoint read_address(socket_address const& from) noexcept {
    if (from.any.sa_family == AF_INET)
        return {ip_address::of(family::v4, reinterpret_cast<byte const*>(&from.v4.sin_addr)),
                load_be16(reinterpret_cast<byte const*>(&from.v4.sin_port)), 0};
    if (from.any.sa_family == AF_INET6)
        return {ip_address::of(family::v6, reinterpret_cast<byte const*>(&from.v6.sin6_addr)),
                load_be16(reinterpret_cast<byte const*>(&from.v6.sin6_port)), from.v6.sin6_scope_id};
    return {};
}

/// The control messages of one datagram.
class control_messages {
public:
    /// Room for what the kernel tells of a received datagram.
    void prepare(msghdr& message) noexcept {
        message.msg_control = room_;
        message.msg_controllen = sizeof room_;
    }

    /// What the kernel told: `where.local`, `tos` and `segment_bytes` of `d`.
    static void read(msghdr& message, datagram& d) noexcept {
        d.where.local = {};
        d.tos = 0;
        d.segment_bytes = 0;
        for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                auto const info = value_of<in_pktinfo>(c);
                // spec_dst is the address that an answer leaves from, also where the datagram came by broadcast
                d.where.local.address = ip_address::of(family::v4, reinterpret_cast<byte const*>(&info.ipi_spec_dst));
                d.where.local.interface_index = static_cast<std::uint32_t>(info.ipi_ifindex);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                auto const info = value_of<in6_pktinfo>(c);
                auto const* const octets = reinterpret_cast<byte const*>(&info.ipi6_addr);
                if (octets[0] == 0xff) continue; // multicast: no source address
                d.where.local.address = ip_address::of(family::v6, octets);
                d.where.local.interface_index = static_cast<std::uint32_t>(info.ipi6_ifindex);
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
                d.tos = value_of<byte>(c);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
                d.tos = static_cast<byte>(value_of<int>(c));
            } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int const segment = value_of<int>(c);
                if (segment > 0 && static_cast<std::uint32_t>(segment) < d.length)
                    d.segment_bytes = static_cast<std::uint16_t>(segment);
            }
        }
    }

    /// What the kernel is told: from where and with which tos `d` leaves; `segment_bytes`, if not 0, where to cut it.
    void write(msghdr& message, datagram const& d, std::size_t segment_bytes) noexcept {
        used_ = 0;
        local_source const& local = d.where.local;
        bool const is_v4 = d.where.remote.address.kind == family::v4;
        if (has_source(d) && is_v4) {
            in_pktinfo info{};
            info.ipi_ifindex = static_cast<int>(local.interface_index);
            std::memcpy(&info.ipi_spec_dst, local.address.octets.data(), 4);
            append(IPPROTO_IP, IP_PKTINFO, info);
        } else if (has_source(d)) {
            in6_pktinfo info{};
            info.ipi6_ifindex = local.interface_index;
            std::memcpy(&info.ipi6_addr, local.address.octets.data(), 16);
            append(IPPROTO_IPV6, IPV6_PKTINFO, info);
        }
        if (d.tos != 0 && is_v4) append(IPPROTO_IP, IP_TOS, d.tos); // a byte; for IPv6 it has to be an int
        if (d.tos != 0 && !is_v4) append(IPPROTO_IPV6, IPV6_TCLASS, static_cast<int>(d.tos));
        if (segment_bytes != 0) append(IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment_bytes));
        message.msg_control = used_ != 0 ? room_ : nullptr;
        message.msg_controllen = static_cast<decltype(message.msg_controllen)>(used_); // a socklen_t in musl
    }

    /// Whether `d` names a source that goes with its destination.
    static bool has_source(datagram const& d) noexcept {
        return d.where.local.address.kind != family::none && d.where.local.address.kind == d.where.remote.address.kind;
    }

private:
    template <class Value> static Value value_of(cmsghdr const* c) noexcept {
        Value value;
        std::memcpy(&value, CMSG_DATA(c), sizeof value);
        return value;
    }

    template <class Value> void append(int level, int type, Value const& value) noexcept {
        static_assert(sizeof value <= sizeof(in6_pktinfo));
        byte* const at = room_ + used_;
        std::memset(at, 0, CMSG_SPACE(sizeof value)); // padding too is read by the kernel and by checkers
        auto* const c = reinterpret_cast<cmsghdr*>(at);
        c->cmsg_level = level;
        c->cmsg_type = type;
        c->cmsg_len = static_cast<decltype(c->cmsg_len)>(CMSG_LEN(sizeof value));
        std::memcpy(CMSG_DATA(c), &value, sizeof value);
        used_ += CMSG_SPACE(sizeof value);
    }

    alignas(cmsghdr) byte room_[CMSG_SPACE(sizeof(in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
    std::size_t used_;
};

} // namespace wg::inline WG_ABI::os

#endif

#include <algorithm>
#include <poll.h>
#include <time.h>

namespace wg::inline WG_ABI::os {

/// The system calls that may be missing or refuse; a test puts its own in their place.
struct udp_calls {
    static int socket(int domain) noexcept { return ::socket(domain, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }
    static int bind(int fd, sockaddr const* address, socklen_t size) noexcept { return ::bind(fd, address, size); }
    static int set_option(int fd, int level, int name, int value) noexcept {
        return ::setsockopt(fd, level, name, &value, sizeof value);
    }
    static int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        return ::sendmmsg(fd, messages, count, MSG_NOSIGNAL);
    }
    static int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        return ::recvmmsg(fd, messages, count, MSG_DONTWAIT, nullptr);
    }
    static int wait_writable(int fd, timespec const& at_most) noexcept {
        pollfd watched{fd, POLLOUT, 0};
        return ::ppoll(&watched, 1, &at_most, nullptr);
    }
};

/// Models `udp_socket`.
template <class Calls = udp_calls> class basic_udp {
public:
    /// With UDP_GRO the kernel joins datagrams up to this.
    static constexpr std::size_t receive_bytes = 65535;
    static constexpr std::size_t max_segments = 64; ///< of one send; Linux 4.18's limit
    static constexpr std::size_t max_joined_bytes = 65000;
    /// How long one `send` waits, all in all, for room in full socket buffers before it drops.
    static constexpr duration send_patience = milliseconds(5);
    /// How long after a change of routes datagrams may arrive that were sent for the old ones. Longer than a peer is
    /// silent after what it got (10 s), so that the other end has learned the new path by then.
    static constexpr duration doubt_time = seconds(15);

    basic_udp() noexcept : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {}

    /// A descriptor that polls readable while a datagram waits; the same one for all of the object's life.
    int fd() const noexcept { return epoll_.get(); }
    /// The port, or 0 while closed.
    std::uint16_t port() const noexcept { return port_; }

    /// `status::address_in_use`, `no_permission`, `not_supported` (neither IPv4 nor IPv6 here) or `io_error`; then
    /// nothing has changed. The port that is open already stays open.
    result<std::uint16_t> open(std::uint16_t port) noexcept {
        if (port != 0 && port == port_) return port;
        if (!epoll_) return status::io_error;
        // A free IPv4 port may be taken in IPv6: then another is tried.
        for (int attempt = 1;; ++attempt) {
            side v4, v6;
            std::uint16_t bound = port;
            int error = open_side(v4, AF_INET, bound);
            if (error == 0) error = open_side(v6, AF_INET6, bound);
            if (error == EADDRINUSE && port == 0 && attempt < 100) continue;
            if (error != 0) return status_of(error);
            if (!v4.fd && !v6.fd) return status::not_supported;
            for (side const* s : {&v4, &v6})
                if (s->fd && !watch(epoll_.get(), s->fd.get(), EPOLLIN, 0)) return status::io_error;
            v4_ = std::move(v4);
            v6_ = std::move(v6);
            port_ = bound;
            return bound;
        }
    }

    void close() noexcept {
        v4_ = {};
        v6_ = {};
        port_ = 0;
    }

    /// SO_MARK of open sockets and of those opened later. On failure all keep what they had.
    status set_fwmark(std::uint32_t mark) noexcept {
        for (side const* s : {&v4_, &v6_}) {
            if (!s->fd || Calls::set_option(s->fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(mark)) == 0) continue;
            int const error = errno;
            if (v4_.fd) Calls::set_option(v4_.fd.get(), SOL_SOCKET, SO_MARK, static_cast<int>(fwmark_));
            return status_of(error);
        }
        fwmark_ = mark;
        return_.forget();
        return status::ok;
    }

    /// Routes have changed. For a while the source of a received datagram is told only if an answer from it would leave
    /// by the interface that it came by: what was under way would else hold peers on the old path for ever.
    void doubt_sources() noexcept {
        return_.forget();
        doubt_until_ = now() + doubt_time;
    }

    /// Takes turns: the socket that goes first gets half of the room, the other one the rest, what then is left the
    /// first again. A datagram that did not fit arrives with length 0.
    result<std::size_t> receive(std::span<datagram> datagrams) noexcept {
        side* const order[] = {v6_first_ ? &v6_ : &v4_, v6_first_ ? &v4_ : &v6_, v6_first_ ? &v6_ : &v4_};
        v6_first_ = !v6_first_;
        if (doubt_until_ != instant{} && doubt_until_ <= now()) doubt_until_ = {};
        std::size_t filled = 0;
        bool drained = false;
        for (int turn = 0; turn < 3 && !(turn == 2 && drained); ++turn) {
            if (!order[turn]->fd) continue;
            std::size_t room = datagrams.size() - filled;
            if (turn == 0 && order[1]->fd) room = (room + 1) / 2;
            std::size_t got = 0;
            if (!receive_from(*order[turn], datagrams.subspan(filled, room), got) && filled + got == 0)
                return status::io_error;
            filled += got;
            if (turn == 0) drained = got < room;
        }
        return filled;
    }

    /// Datagrams that follow each other on one path with one tos and length (the last may be shorter) leave as one
    /// message that the kernel or the card cuts, where it can. A source address that is not the host's any more is
    /// cleared in `where.local`, and the datagram leaves from the one that routes choose.
    /// `why`: ok, no_endpoint, not_supported (no socket of that family), would_block (no room within
    /// `send_patience`), no_permission (a packet filter), io_error and others.
    std::size_t send(std::span<datagram> datagrams) noexcept {
        give_up_at_ = {};
        for (datagram& d : datagrams)
            if (!d.where.remote) d.why = status::no_endpoint;
        return send_family(v4_, family::v4, datagrams) + send_family(v6_, family::v6, datagrams);
    }

private:
    static constexpr std::size_t batch = 64;
    static constexpr int buffer_bytes = 7 << 20;

    struct side {
        unique_fd fd{};
        bool segments = false; ///< UDP_SEGMENT is known and has not failed for good
    };

    /// Messages in the making: each has one datagram, or several as pieces.
    struct plan {
        mmsghdr messages[batch];
        socket_address addresses[batch];
        control_messages controls[batch];
        iovec pieces[2 * batch];
        datagram* of_piece[2 * batch];
        std::size_t message_count = 0;
        std::size_t piece_count = 0;

        std::span<datagram*> datagrams_of(std::size_t message) noexcept {
            msghdr const& header = messages[message].msg_hdr;
            auto const count = static_cast<std::size_t>(header.msg_iovlen); // an int in musl
            return {of_piece + (header.msg_iov - pieces), count};
        }
        void write_control(std::size_t message) noexcept {
            auto const parts = datagrams_of(message);
            controls[message].write(messages[message].msg_hdr, *parts[0], parts.size() > 1 ? parts[0]->length : 0);
        }
    };

    /// 0, or the errno. Leaves `s` closed, which is no error, where the host lacks the family.
    int open_side(side& s, int domain, std::uint16_t& port) const noexcept {
        bool const is_v4 = domain == AF_INET;
        unique_fd fd(Calls::socket(domain));
        if (!fd) return errno == EAFNOSUPPORT ? 0 : errno;
        auto const set = [&](int level, int name, int value) {
            return Calls::set_option(fd.get(), level, name, value) == 0;
        };
        if (!is_v4 && !set(IPPROTO_IPV6, IPV6_V6ONLY, 1)) return errno;
        if (!(is_v4 ? set(IPPROTO_IP, IP_PKTINFO, 1) : set(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1))) return errno;
        if (!(is_v4 ? set(IPPROTO_IP, IP_RECVTOS, 1) : set(IPPROTO_IPV6, IPV6_RECVTCLASS, 1))) return errno;
        if (fwmark_ != 0 && !set(SOL_SOCKET, SO_MARK, static_cast<int>(fwmark_))) return errno;
        if (!set(SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes)) set(SOL_SOCKET, SO_RCVBUF, buffer_bytes);
        if (!set(SOL_SOCKET, SO_SNDBUFFORCE, buffer_bytes)) set(SOL_SOCKET, SO_SNDBUF, buffer_bytes);
        set(IPPROTO_UDP, UDP_GRO, 1);
        bool const segments = set(IPPROTO_UDP, UDP_SEGMENT, 0); // 0 changes nothing, but fails where it is unknown
        socket_address any{};
        socklen_t size = spell({{{}, is_v4 ? family::v4 : family::v6}, port, 0}, any);
        if (Calls::bind(fd.get(), &any.any, size) != 0) return !is_v4 && errno == EADDRNOTAVAIL ? 0 : errno;
        if (::getsockname(fd.get(), &any.any, &size) != 0) return errno;
        port = read_address(any).port;
        s.fd = std::move(fd);
        s.segments = segments;
        return 0;
    }

    /// False if the socket cannot be used. An error that belongs to some datagram sent earlier counts as nothing there.
    bool receive_from(side& s, std::span<datagram> datagrams, std::size_t& filled) noexcept {
        mmsghdr messages[batch];
        iovec pieces[batch];
        socket_address addresses[batch];
        control_messages controls[batch];
        while (filled < datagrams.size()) {
            std::span<datagram> const wanted =
                datagrams.subspan(filled).first(std::min(batch, datagrams.size() - filled));
            for (std::size_t i = 0; i < wanted.size(); ++i) {
                pieces[i] = {wanted[i].buffer + wanted[i].offset, wanted[i].capacity - wanted[i].offset};
                messages[i] = {};
                messages[i].msg_hdr.msg_name = &addresses[i];
                messages[i].msg_hdr.msg_namelen = sizeof addresses[i];
                messages[i].msg_hdr.msg_iov = &pieces[i];
                messages[i].msg_hdr.msg_iovlen = 1;
                controls[i].prepare(messages[i].msg_hdr);
            }
            int const count = receive_many(s.fd.get(), messages, static_cast<unsigned>(wanted.size()));
            if (count < 0) return errno != EBADF && errno != ENOTSOCK && errno != EINVAL && errno != EFAULT;
            for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
                datagram& d = wanted[i];
                bool const whole = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) == 0;
                d.length = whole ? messages[i].msg_len : 0;
                d.where.remote = messages[i].msg_hdr.msg_namelen != 0 ? read_address(addresses[i]) : endpoint{};
                control_messages::read(messages[i].msg_hdr, d);
                if (doubt_until_ != instant{} && control_messages::has_source(d) && !return_.agrees(d.where, fwmark_))
                    d.where.local = {};
                d.why = status::ok;
            }
            filled += static_cast<std::size_t>(count);
            if (static_cast<std::size_t>(count) < wanted.size()) return true;
        }
        return true;
    }

    int receive_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (many_) {
            int const got = without_interruption([&] { return Calls::receive_many(fd, messages, count); });
            if (got >= 0 || errno != ENOSYS) return got;
            many_ = false;
        }
        int got = 0;
        for (; got < static_cast<int>(count); ++got) {
            ssize_t const size =
                without_interruption([&] { return ::recvmsg(fd, &messages[got].msg_hdr, MSG_DONTWAIT); });
            if (size < 0) return got > 0 ? got : -1;
            messages[got].msg_len = static_cast<unsigned>(size);
        }
        return got;
    }

    std::size_t send_family(side& s, family kind, std::span<datagram> datagrams) noexcept {
        std::size_t sent = 0;
        for (std::size_t next = 0; next < datagrams.size();) {
            plan p;
            next += fill(p, s, kind, datagrams.subspan(next));
            sent += flush(p, s);
        }
        return sent;
    }

    /// Plans datagrams of one family, from the front, until the plan is full; how many it has passed.
    static std::size_t fill(plan& p, side const& s, family kind, std::span<datagram> datagrams) noexcept {
        bool may_join = false;
        std::size_t joined_bytes = 0;
        std::size_t passed = 0;
        for (; passed < datagrams.size() && p.piece_count < 2 * batch; ++passed) {
            datagram& d = datagrams[passed];
            if (d.where.remote.address.kind != kind) continue;
            if (!s.fd) {
                d.why = status::not_supported;
                continue;
            }
            if (may_join && d.length != 0) {
                auto const parts = p.datagrams_of(p.message_count - 1);
                datagram const& first = *parts[0];
                may_join = d.length <= first.length && d.tos == first.tos && parts.size() < max_segments &&
                           joined_bytes + d.length <= max_joined_bytes && d.where == first.where;
            }
            bool const joins = may_join && d.length != 0;
            if (!joins && p.message_count == batch) break;
            p.pieces[p.piece_count] = {d.buffer + d.offset, d.length};
            p.of_piece[p.piece_count] = &d;
            if (joins) {
                ++p.messages[p.message_count - 1].msg_hdr.msg_iovlen;
                joined_bytes += d.length;
                may_join = d.length == p.datagrams_of(p.message_count - 1)[0]->length; // a shorter one is the last
            } else {
                msghdr& header = p.messages[p.message_count].msg_hdr;
                header = {};
                header.msg_name = &p.addresses[p.message_count];
                header.msg_namelen = spell(d.where.remote, p.addresses[p.message_count]);
                header.msg_iov = &p.pieces[p.piece_count];
                header.msg_iovlen = 1;
                ++p.message_count;
                joined_bytes = d.length;
                may_join = s.segments && d.length != 0;
            }
            ++p.piece_count;
        }
        for (std::size_t i = 0; i < p.message_count; ++i) p.write_control(i);
        return passed;
    }

    /// How many datagrams left. Every round either sends, or gives a message up, or takes away its source address,
    /// or has waited, which `give_up_at_` bounds.
    std::size_t flush(plan& p, side& s) noexcept {
        std::size_t sent = 0;
        for (std::size_t done = 0; done < p.message_count;) {
            int const count = send_many(s.fd.get(), p.messages + done, static_cast<unsigned>(p.message_count - done));
            if (count > 0) {
                for (int i = 0; i < count; ++i) sent += mark(p.datagrams_of(done++), status::ok);
                continue;
            }
            int const error = count == 0 ? EIO : errno;
            auto const parts = p.datagrams_of(done);
            if (error == EAGAIN && wait_writable(s.fd.get())) continue;
            if (parts.size() > 1 && refuses_segments(error)) {
                // Too big for this path's MTU (EINVAL, EMSGSIZE) is this message's trouble; the rest is the card's.
                if (error != EINVAL && error != EMSGSIZE) s.segments = false;
                sent += send_apart(parts, s);
                ++done;
            } else if (concerns_source(error) && control_messages::has_source(*parts[0])) {
                for (datagram* const d : parts) d->where.local = {};
                p.write_control(done);
            } else {
                mark(parts, status_of(error));
                ++done;
            }
        }
        return sent;
    }

    /// Datagrams that were refused as one message, one by one.
    std::size_t send_apart(std::span<datagram*> parts, side& s) noexcept {
        std::size_t sent = 0;
        for (std::size_t i = 0; i < parts.size();) {
            datagram& d = *parts[i];
            socket_address address;
            control_messages control;
            iovec piece{d.buffer + d.offset, d.length};
            msghdr header{};
            header.msg_name = &address;
            header.msg_namelen = spell(d.where.remote, address);
            header.msg_iov = &piece;
            header.msg_iovlen = 1;
            control.write(header, d, 0);
            if (without_interruption([&] { return ::sendmsg(s.fd.get(), &header, MSG_NOSIGNAL); }) >= 0) {
                d.why = status::ok;
                ++sent;
                ++i;
                continue;
            }
            int const error = errno;
            if (error == EAGAIN && wait_writable(s.fd.get())) continue;
            if (concerns_source(error) && control_messages::has_source(d)) {
                for (datagram* const other : parts.subspan(i)) other->where.local = {};
                continue;
            }
            d.why = status_of(error);
            ++i;
        }
        return sent;
    }

    int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (many_) {
            int const sent = without_interruption([&] { return Calls::send_many(fd, messages, count); });
            if (sent >= 0 || errno != ENOSYS) return sent;
            many_ = false;
        }
        return without_interruption([&] { return ::sendmsg(fd, &messages->msg_hdr, MSG_NOSIGNAL); }) >= 0 ? 1 : -1;
    }

    /// Waits until the socket has room again, or false when this `send` has waited long enough.
    bool wait_writable(int fd) noexcept {
        instant const asked = now();
        if (give_up_at_ == instant{}) give_up_at_ = asked + send_patience;
        if (asked >= give_up_at_) return false;
        timespec const at_most{0, static_cast<long>((give_up_at_ - asked).nanoseconds)};
        return Calls::wait_writable(fd, at_most) > 0;
    }

    static instant now() noexcept {
        timespec clock{};
        ::clock_gettime(CLOCK_MONOTONIC, &clock);
        return {static_cast<std::int64_t>(clock.tv_sec) * 1'000'000'000 + clock.tv_nsec};
    }

    static std::size_t mark(std::span<datagram*> parts, status why) noexcept {
        for (datagram* const d : parts) d->why = why;
        return parts.size();
    }

    static bool refuses_segments(int error) noexcept {
        return error == EIO || error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
    }
    static bool concerns_source(int error) noexcept {
        return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH || error == EHOSTUNREACH ||
               error == ENODEV || error == ENXIO;
    }

    unique_fd epoll_;
    side v4_{};
    side v6_{};
    std::uint16_t port_ = 0;
    std::uint32_t fwmark_ = 0;
    bool many_ = true;      ///< the kernel has sendmmsg and recvmmsg
    bool v6_first_ = false; ///< who goes first in the next receive
    instant give_up_at_{};  ///< of this send; zero until it has to wait
    instant doubt_until_{}; ///< zero: sources are told as they are
    return_route return_{};
};

using udp = basic_udp<>;
static_assert(udp_socket<udp>);

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// What travels beside a datagram: its address as sockets spell it, and the control messages that tell the local
// address and interface, the tos and the segment size (ip(7), ipv6(7), udp(7)). Layer 7 (Linux); pure, any thread.
#ifndef WG_OS_LINUX_UDP_CONTROL_HPP
#define WG_OS_LINUX_UDP_CONTROL_HPP


#include <netinet/in.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 // Linux 4.18; older C libraries lack the names
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 // Linux 5.0
#endif

namespace wg::inline WG_ABI::os {

union socket_address {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
};

/// Spells `where` for a socket; its length in bytes.
inline socklen_t spell(endpoint const& where, socket_address& out) noexcept {
    if (where.address.kind == family::v4) {
        out.v4 = {};
        out.v4.sin_family = AF_INET;
        store_be16(reinterpret_cast<byte*>(&out.v4.sin_port), where.port);
        std::memcpy(&out.v4.sin_addr, where.address.octets.data(), 4);
        return sizeof out.v4;
    }
    out.v6 = {};
    out.v6.sin6_family = AF_INET6;
    store_be16(reinterpret_cast<byte*>(&out.v6.sin6_port), where.port);
    std::memcpy(&out.v6.sin6_addr, where.address.octets.data(), 16);
    out.v6.sin6_scope_id = where.scope_id;
    return sizeof out.v6;
}

/// The endpoint that a socket spelled; none if it is of another family.
inline endpoint read_address(socket_address const& from) noexcept {
    if (from.any.sa_family == AF_INET)
        return {ip_address::of(family::v4, reinterpret_cast<byte const*>(&from.v4.sin_addr)),
                load_be16(reinterpret_cast<byte const*>(&from.v4.sin_port)), 0};
    if (from.any.sa_family == AF_INET6)
        return {ip_address::of(family::v6, reinterpret_cast<byte const*>(&from.v6.sin6_addr)),
                load_be16(reinterpret_cast<byte const*>(&from.v6.sin6_port)), from.v6.sin6_scope_id};
    return {};
}

/// The control messages of one datagram.
class control_messages {
public:
    /// Room for what the kernel tells of a received datagram.
    void prepare(msghdr& message) noexcept {
        message.msg_control = room_;
        message.msg_controllen = sizeof room_;
    }

    /// What the kernel told: `where.local`, `tos` and `segment_bytes` of `d`.
    static void read(msghdr& message, datagram& d) noexcept {
        d.where.local = {};
        d.tos = 0;
        d.segment_bytes = 0;
        for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
            if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                auto const info = value_of<in_pktinfo>(c);
                // spec_dst is the address that an answer leaves from, also where the datagram came by broadcast
                d.where.local.address = ip_address::of(family::v4, reinterpret_cast<byte const*>(&info.ipi_spec_dst));
                d.where.local.interface_index = static_cast<std::uint32_t>(info.ipi_ifindex);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                auto const info = value_of<in6_pktinfo>(c);
                auto const* const octets = reinterpret_cast<byte const*>(&info.ipi6_addr);
                if (octets[0] == 0xff) continue; // multicast: no source address
                d.where.local.address = ip_address::of(family::v6, octets);
                d.where.local.interface_index = static_cast<std::uint32_t>(info.ipi6_ifindex);
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
                d.tos = value_of<byte>(c);
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
                d.tos = static_cast<byte>(value_of<int>(c));
            } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int const segment = value_of<int>(c);
                if (segment > 0 && static_cast<std::uint32_t>(segment) < d.length)
                    d.segment_bytes = static_cast<std::uint16_t>(segment);
            }
        }
    }

    /// What the kernel is told: from where and with which tos `d` leaves; `segment_bytes`, if not 0, where to cut it.
    void write(msghdr& message, datagram const& d, std::size_t segment_bytes) noexcept {
        used_ = 0;
        local_source const& local = d.where.local;
        bool const is_v4 = d.where.remote.address.kind == family::v4;
        if (has_source(d) && is_v4) {
            in_pktinfo info{};
            info.ipi_ifindex = static_cast<int>(local.interface_index);
            std::memcpy(&info.ipi_spec_dst, local.address.octets.data(), 4);
            append(IPPROTO_IP, IP_PKTINFO, info);
        } else if (has_source(d)) {
            in6_pktinfo info{};
            info.ipi6_ifindex = local.interface_index;
            std::memcpy(&info.ipi6_addr, local.address.octets.data(), 16);
            append(IPPROTO_IPV6, IPV6_PKTINFO, info);
        }
        if (d.tos != 0 && is_v4) append(IPPROTO_IP, IP_TOS, d.tos); // a byte; for IPv6 it has to be an int
        if (d.tos != 0 && !is_v4) append(IPPROTO_IPV6, IPV6_TCLASS, static_cast<int>(d.tos));
        if (segment_bytes != 0) append(IPPROTO_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment_bytes));
        message.msg_control = used_ != 0 ? room_ : nullptr;
        message.msg_controllen = static_cast<decltype(message.msg_controllen)>(used_); // a socklen_t in musl
    }

    /// Whether `d` names a source that goes with its destination.
    static bool has_source(datagram const& d) noexcept {
        return d.where.local.address.kind != family::none && d.where.local.address.kind == d.where.remote.address.kind;
    }

private:
    template <class Value> static Value value_of(cmsghdr const* c) noexcept {
        Value value;
        std::memcpy(&value, CMSG_DATA(c), sizeof value);
        return value;
    }

    template <class Value> void append(int level, int type, Value const& value) noexcept {
        static_assert(sizeof value <= sizeof(in6_pktinfo));
        byte* const at = room_ + used_;
        std::memset(at, 0, CMSG_SPACE(sizeof value)); // padding too is read by the kernel and by checkers
        auto* const c = reinterpret_cast<cmsghdr*>(at);
        c->cmsg_level = level;
        c->cmsg_type = type;
        c->cmsg_len = static_cast<decltype(c->cmsg_len)>(CMSG_LEN(sizeof value));
        std::memcpy(CMSG_DATA(c), &value, sizeof value);
        used_ += CMSG_SPACE(sizeof value);
    }

    alignas(cmsghdr) byte room_[CMSG_SPACE(sizeof(in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
    std::size_t used_;
};

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// Waits for a TUN device, a socket, sources of the host's own, a deadline that counts suspend, or a call from another
// thread. Layer 7 (Linux); one thread at a time, but wake() from any.
#ifndef WG_OS_LINUX_WAITER_HPP
#define WG_OS_LINUX_WAITER_HPP

// SPDX-License-Identifier: BSL-1.0
// Linux's clocks: CLOCK_BOOTTIME, which counts suspend, for timers; CLOCK_REALTIME for handshake timestamps (whitepaper
// section 5.1; TAI64N as Linux's own WireGuard computes it). Layer 7 (Linux); any thread.
#ifndef WG_OS_LINUX_CLOCK_HPP
#define WG_OS_LINUX_CLOCK_HPP


#include <time.h>

namespace wg::inline WG_ABI::os {

/// Models `clock_source`.
class clock {
public:
    instant now() const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_BOOTTIME, &time);
        return {static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec};
    }

    /// The wall clock now, to the nanosecond. Whoever sends it decides how much of that to tell.
    void tai64n(std::span<byte, timestamp_bytes> label) const noexcept {
        timespec time{};
        ::clock_gettime(CLOCK_REALTIME, &time);
        tai64n_of(time, label);
    }

    /// 2^62, the ten seconds that TAI was ahead of UTC in 1970, and the seconds since; leap seconds are not counted.
    static void tai64n_of(timespec const& time, std::span<byte, timestamp_bytes> label) noexcept {
        store_be64(label.data(), 0x400000000000000aU + static_cast<std::uint64_t>(time.tv_sec));
        store_be32(label.data() + 8, static_cast<std::uint32_t>(time.tv_nsec));
    }
};

static_assert(clock_source<clock>);

} // namespace wg::inline WG_ABI::os

#endif
// SPDX-License-Identifier: BSL-1.0
// An owned file descriptor, and the few calls that all files of this folder need. Layer 7 (Linux); any thread, but a
// descriptor has one owner.
#ifndef WG_OS_LINUX_FD_HPP
#define WG_OS_LINUX_FD_HPP


#include <cerrno>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <utility>

namespace wg::inline WG_ABI::os {

/// A file descriptor that is closed when its life ends; -1 is none.
class unique_fd {
public:
    constexpr unique_fd() noexcept = default;
    constexpr explicit unique_fd(int fd) noexcept : fd_(fd) {}
    constexpr unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
    unique_fd& operator=(unique_fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    unique_fd(unique_fd const&) = delete;
    unique_fd& operator=(unique_fd const&) = delete;
    ~unique_fd() { reset(); }

    constexpr explicit operator bool() const noexcept { return fd_ >= 0; }
    constexpr int get() const noexcept { return fd_; }
    constexpr int release() noexcept { return std::exchange(fd_, -1); }
    /// Closes what is owned, keeps errno, owns `fd` then.
    void reset(int fd = -1) noexcept {
        int const kept = errno;
        if (fd_ >= 0) ::close(fd_); // not repeated on EINTR: Linux has closed it even then
        errno = kept;
        fd_ = fd;
    }

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal handler interrupted.
template <class Call> auto without_interruption(Call call) noexcept {
    for (;;) {
        auto const answer = call();
        if (answer >= 0 || errno != EINTR) return answer;
    }
}

/// The status that comes nearest to an errno.
constexpr status status_of(int error) noexcept {
    switch (error) {
    case 0: return status::ok;
    case EACCES:
    case EPERM: return status::no_permission;
    case EADDRINUSE:
    case EBUSY:
    case EEXIST: return status::address_in_use;
    case EAFNOSUPPORT:
    case EPROTONOSUPPORT:
    case EOPNOTSUPP:
    case ENOPROTOOPT:
    case ENOSYS: return status::not_supported;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE: return status::no_memory;
    case EAGAIN: return status::would_block;
    case EINVAL: return status::invalid;
    default: return status::io_error;
    }
}

/// Makes a descriptor of someone else's ours: non-blocking, and closed on exec.
inline bool make_private(int fd) noexcept {
    int const flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 && ::fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

/// Has `epoll` watch `fd` for `events` under `number`, or changes what it watches it for.
inline bool watch(int epoll, int fd, std::uint32_t events, std::uint64_t number) noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = number;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0) return true;
    return errno == EEXIST && ::epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0;
}

} // namespace wg::inline WG_ABI::os

#endif

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

namespace wg::inline WG_ABI::os {

/// Models `waiter`. The descriptors remain their owners'.
class waiter {
public:
    static constexpr std::size_t max_others = 32; ///< a bit each in `readiness::others`

    /// -1: there is none (yet).
    explicit waiter(int tun_fd = -1, int udp_fd = -1) noexcept
        : wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
          timer_(::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC)) {
        for (pollfd& p : polled_) p = {-1, POLLIN, 0};
        polled_[wake_slot].fd = wake_.get();
        polled_[timer_slot].fd = timer_.get();
        watch_tun(tun_fd);
        watch_udp(udp_fd);
    }

    /// False if the kernel had no descriptors to give: such a waiter cannot be woken and knows no deadline.
    explicit operator bool() const noexcept { return wake_ && timer_; }

    void watch_tun(int fd) noexcept { polled_[tun_slot].fd = fd; }
    void watch_udp(int fd) noexcept { polled_[udp_slot].fd = fd; }
    /// Reports `fd` as bit `number` (0-31) of `readiness::others`; -1 ends that.
    void watch_other(std::size_t number, int fd) noexcept {
        WG_ASSERT(number < max_others);
        polled_[first_other + number].fd = fd;
        if (fd >= 0 && number >= others_) others_ = number + 1;
    }

    /// Also returns, with nothing ready, after a signal. An error or hang-up of a descriptor counts as ready: whoever
    /// reads it learns of it. A deadline in the past only looks.
    readiness wait(instant deadline) noexcept {
        for (;;) {
            bool const expired = deadline <= clock_.now();
            if (!expired) arm(deadline);
            int const count = ::poll(polled_, static_cast<nfds_t>(first_other + others_), expired || !timer_ ? 0 : -1);
            if (count <= 0) return {};
            std::uint64_t sink;
            bool const woken = is_ready(wake_slot) && ::read(wake_.get(), &sink, sizeof sink) > 0;
            if (is_ready(timer_slot) && ::read(timer_.get(), &sink, sizeof sink) > 0) armed_ = instant::never();
            readiness const ready = what_is_ready();
            // A timer that was armed for an earlier deadline only shows that it is time to arm it anew.
            if (expired || woken || ready.tun || ready.udp || ready.others != 0 || deadline <= clock_.now())
                return ready;
        }
    }

    void wake() noexcept {
        std::uint64_t const one = 1;
        // It fails only when the counter is full, and then the waiter wakes anyway.
        [[maybe_unused]] ssize_t const written = ::write(wake_.get(), &one, sizeof one);
    }

private:
    enum : std::size_t { wake_slot, timer_slot, tun_slot, udp_slot, first_other };

    bool is_ready(std::size_t slot) const noexcept { return polled_[slot].fd >= 0 && polled_[slot].revents != 0; }

    readiness what_is_ready() const noexcept {
        readiness ready{is_ready(tun_slot), is_ready(udp_slot), 0};
        for (std::size_t i = 0; i < others_; ++i)
            if (is_ready(first_other + i)) ready.others |= std::uint32_t{1} << i;
        return ready;
    }

    /// A timer that is due earlier stays: deadlines mostly move away, and that then costs no system call. A timer of
    /// this clock, not poll's timeout, because that one stands still while the host is suspended.
    void arm(instant deadline) noexcept {
        if (deadline >= armed_) return;
        itimerspec due{};
        due.it_value.tv_sec = static_cast<time_t>(deadline.nanoseconds / 1'000'000'000);
        due.it_value.tv_nsec = static_cast<long>(deadline.nanoseconds % 1'000'000'000);
        if (::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &due, nullptr) == 0) armed_ = deadline;
    }

    unique_fd wake_;
    unique_fd timer_;
    pollfd polled_[first_other + max_others];
    std::size_t others_ = 0; ///< slots in use, counted from the first
    instant armed_ = instant::never();
    clock clock_{};
};

static_assert(wg::waiter<waiter>);

} // namespace wg::inline WG_ABI::os

#endif

namespace wg::inline WG_ABI::os {

struct host {
    using clock_source = os::clock;
    using random_source = os::random;
    using secret_region = os::secret_region;
    using tun_device = os::tun;
    using udp_socket = os::udp;
    using waiter = os::waiter;
};

} // namespace wg::inline WG_ABI::os

#else

namespace wg::inline WG_ABI::os {

struct host {};

} // namespace wg::inline WG_ABI::os

#endif
#endif

namespace wg::inline WG_ABI {

/// The region for secrets of a platform that has one; else the heap.
template <class Host> struct region_of {
    using type = heap_region;
};
template <class Host>
    requires requires { typename Host::secret_region; }
struct region_of<Host> {
    using type = typename Host::secret_region;
};

/// Bundled cryptography, memory that grows, one thread, nobody observing; clock, randomness, TUN, socket and waiter of
/// the platform, where it is one that wg knows.
struct default_policies : os::host {
    using hash = bundled::hash;
    using dh = bundled::dh;
    using aead = bundled::aead;
    using threads = one_thread;
    using storage = growing_storage<region_of<os::host>::type>;
    using observer = no_observer;
};

/// Makes a new private key, clamped. False: the random source failed, and `key` is zero.
template <class Policies = default_policies>
[[nodiscard]] bool create_private_key(secret<key_bytes>& key, typename Policies::random_source random = {}) noexcept {
    if (!random.fill(key.expose())) {
        key.clear();
        return false;
    }
    clamp(key);
    return true;
}

/// The public key that belongs to a private one.
template <class Policies = default_policies> public_key public_key_of(secret<key_bytes> const& key) noexcept {
    public_key of{};
    typename Policies::dh{}.dh_public(of, key);
    return of;
}

} // namespace wg::inline WG_ABI

#endif
