// SPDX-License-Identifier: BSL-1.0
// mac1, mac2 and the cookie reply (whitepaper 5.3, 5.4.4, 5.4.7). Layer 3; one thread at a time.
#ifndef WG_PROTOCOL_COOKIE_HPP
#define WG_PROTOCOL_COOKIE_HPP

#include "batch.hpp"
#include "messages.hpp"
#include "noise.hpp"

namespace wg { inline namespace WG_ABI {

namespace cookie_detail {

inline constexpr byte mac1_label[] = {'m', 'a', 'c', '1', '-', '-', '-', '-'};
inline constexpr byte cookie_label[] = {'c', 'o', 'o', 'k', 'i', 'e', '-', '-'};

/// Hash(label || public key): the key of mac1, or the one that cookies are sealed with.
template <hash_backend Hash>
void label_key(Hash const& hash, secret<key_bytes>& out, byte const* label, byte const* of) noexcept {
    hash_of(hash, out, label, sizeof mac1_label, of, key_bytes);
}

// The last 32 bytes of an initiation or a response are mac1 and mac2.
constexpr std::size_t from_mac1 = 2 * mac_bytes, from_mac2 = mac_bytes;
constexpr bytes_view before_mac1(bytes_view message) noexcept { return message.first(message.size() - from_mac1); }
constexpr bytes_view mac1_of(bytes_view message) noexcept { return message.last(from_mac1).first(mac_bytes); }

/// The mac of a message as far as `end` (whitepaper 5.4: Mac).
template <hash_backend Hash>
WG_OUTLINE void make_mac(Hash const& hash, byte* out, byte const* key, std::size_t key_size, byte const* message,
                         byte const* end) noexcept {
    hash.blake2s({out, mac_bytes}, {key, key_size}, {message, static_cast<std::size_t>(end - message)}, {});
}
/// Whether the right one is there.
template <hash_backend Hash>
WG_OUTLINE bool has_mac(Hash const& hash, byte const* key, std::size_t key_size, byte const* message,
                        byte const* end) noexcept {
    byte_array<mac_bytes> expected;
    make_mac(hash, expected.data(), key, key_size, message, end);
    return equal_in_constant_time(expected, {end, mac_bytes});
}

/// XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): a subkey of the nonce's first 16 bytes; the last 8 are the counter.
/// The key is that of cookies of the public key `of`.
template <policies Policies>
WG_OUTLINE void make_subkey(primitives<Policies> const& with, secret<key_bytes>& out, byte const* of,
                            byte const* nonce) noexcept {
    label_key(with.hash, out, cookie_label, of);
    with.aead.hchacha20(out, out, std::span<byte const, 16>(nonce, 16));
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
        cookie_detail::label_key(with.hash, mac1_key_, cookie_detail::mac1_label, mine.data());
        cookie_detail::label_key(with.hash, seal_key_, cookie_detail::cookie_label, mine.data());
#endif
    }

    /// Whether the sender knows our public key. `message` is an initiation or a response.
    bool check_mac1(primitives<Policies> const& with, bytes_view message) const noexcept {
#ifdef WG_COMPACT // has time to calculate it, and no room to keep it
        secret<key_bytes> mac1_key_{not_zeroed{}};
        cookie_detail::label_key(with.hash, mac1_key_, cookie_detail::mac1_label, mine_);
#endif
        return cookie_detail::has_mac(with.hash, mac1_key_.expose().data(), key_bytes, message.data(),
                                      message.data() + message.size() - cookie_detail::from_mac1);
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
    bool check_mac2(primitives<Policies> const& with, bytes_view message, endpoint const& from,
                    instant_argument now) const noexcept {
        return check_mac2(with, message.data(), message.data() + message.size() - cookie_detail::from_mac2, from, now);
    }
    /// The same, by the place of mac2.
    bool check_mac2(primitives<Policies> const& with, byte const* message, byte const* mac2, endpoint const& from,
                    instant_argument now) const noexcept {
        if (!secret_is_fresh(now)) return false;
        secret<cookie_bytes> cookie{not_zeroed{}};
        bake(with, cookie, from);
        return cookie_detail::has_mac(with.hash, cookie.expose().data(), cookie_bytes, message, mac2);
    }

    /// Writes the cookie reply to `message`. `reply` is 64 bytes. no_random.
    template <random_source Random>
    status create_reply(primitives<Policies> const& with, Random& random, bytes_view message, endpoint const& from,
                        instant_argument now, bytes reply) noexcept {
        using at = cookie_reply_layout;
        WG_ASSERT(reply.size() == at::size);
        if (!secret_is_fresh(now)) { //= wp 5.4.7: the cookie secret changes every two minutes
            if (!random.fill(secret_.expose())) return status::no_random;
            set_after<cookie_secret_max_age>(secret_expires_, now);
        }
        //= wp 5.4.7: a cookie reply is sealed for one message, by its mac1
        byte* const nonce = &reply[at::nonce];
        if (!random.fill({nonce, 24})) return status::no_random;
        secret<cookie_bytes> cookie{not_zeroed{}};
        secret<key_bytes> subkey{not_zeroed{}};
        bake(with, cookie, from);
#ifdef WG_COMPACT
        cookie_detail::make_subkey(with, subkey, mine_, nonce);
#else
        with.aead.hchacha20(subkey, seal_key_, std::span<byte const, 16>(nonce, 16));
#endif
        store_le32(reply.data(), static_cast<std::uint32_t>(message_type::cookie_reply));
        // the sender's index is at the same place in a response
        store_le32(&reply[at::receiver], load_le32(&message[initiation_layout::sender]));
        seal_or_open(with.aead, true, &reply[at::encrypted_cookie], cookie.expose().data(), cookie_bytes,
                     message.data() + message.size() - cookie_detail::from_mac1, mac_bytes, load_le64(nonce + 16),
                     subkey);
        return status::ok;
    }

private:
    bool secret_is_fresh(instant_argument now) const noexcept { return !passed(secret_expires_, now); }

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
    secret<key_bytes> secret_{not_zeroed{}};
    instant secret_expires_{};
};

/// The other end: puts macs on what it sends and keeps the cookie it was given.
template <policies Policies> class cookie_jar {
public:
    /// Fills in mac1 and mac2 of an initiation or a response to `theirs`.
    void add_macs(primitives<Policies> const& with, key_view theirs, bytes message, instant_argument now) noexcept {
        add_macs(with, theirs.data(), message.data(), message.data() + message.size() - cookie_detail::from_mac1, now);
    }
    /// The same, by the place of mac1.
    void add_macs(primitives<Policies> const& with, byte const* theirs, byte* message, byte* mac1,
                  instant_argument now) noexcept {
        using cookie_detail::make_mac;
        secret<key_bytes> mac1_key{not_zeroed{}};
        cookie_detail::label_key(with.hash, mac1_key, cookie_detail::mac1_label, theirs);
        byte* const mac2 = mac1 + mac_bytes;
        make_mac(with.hash, mac1, mac1_key.expose().data(), key_bytes, message, mac1);
        std::memcpy(last_mac1_.data(), mac1, mac_bytes);
        awaits_reply_ = true;
        //= wp 5.4.4: mac2 is zero without a fresh cookie
        if (!passed(cookie_expires_, now))
            make_mac(with.hash, mac2, cookie_.expose().data(), cookie_bytes, message, mac2);
        else std::memset(mac2, 0, mac_bytes);
    }

    /// Takes the cookie out of a reply from `theirs` to the last message sent; one reply a message.
    /// stale_cookie, decryption_failed.
    status consume_reply(primitives<Policies> const& with, key_view theirs, bytes_view reply,
                         instant_argument now) noexcept {
        using at = cookie_reply_layout;
        //= linux: one cookie reply is taken for each message sent
        if (!awaits_reply_) return status::stale_cookie;
        byte const* const nonce = &reply[at::nonce];
        secret<key_bytes> subkey{not_zeroed{}};
        secret<cookie_bytes> cookie{not_zeroed{}};
        cookie_detail::make_subkey(with, subkey, theirs.data(), nonce);
        if (!seal_or_open(with.aead, false, cookie.expose().data(), &reply[at::encrypted_cookie], cookie_bytes,
                          last_mac1_.data(), mac_bytes, load_le64(nonce + 16), subkey))
            return status::decryption_failed;
        cookie_.assign(cookie);
        //= linux: a cookie is used for 115 s
        set_after<cookie_max_age>(cookie_expires_, now);
        awaits_reply_ = false;
        return status::ok;
    }

private:
    bool awaits_reply_ = false;
    instant cookie_expires_{};
    secret<cookie_bytes> cookie_{not_zeroed{}};
    byte_array<mac_bytes> last_mac1_;
};

}} // namespace wg::WG_ABI

#endif
