// SPDX-License-Identifier: BSL-1.0
// mac1, mac2 and the cookie reply (whitepaper 5.3, 5.4.4, 5.4.7). Layer 3; one thread at a time.
#ifndef WG_PROTOCOL_COOKIE_HPP
#define WG_PROTOCOL_COOKIE_HPP

#include "batch.hpp"
#include "messages.hpp"
#include "noise.hpp"

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
