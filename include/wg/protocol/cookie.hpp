// SPDX-License-Identifier: BSL-1.0
// mac1, mac2 and the cookie reply (whitepaper 5.3, 5.4.4, 5.4.7). Folder: protocol. One thread at a time.
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

/// Writes the mac of the message's bytes before `end` (whitepaper 5.4: Mac). `out` is 16 bytes.
template <hash_backend Hash>
WG_OUTLINE void make_mac(Hash const& hash, byte* out, byte const* key, std::size_t key_size, byte const* message,
                         byte const* end) noexcept {
    hash.blake2s({out, mac_bytes}, {key, key_size}, {message, static_cast<std::size_t>(end - message)}, {});
}
/// Whether the mac at `end` is right, in constant time.
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

/// The keys that follow from our public key, kept.
template <policies Policies> class kept_keys {
public:
    void set(primitives<Policies> const& with, key_view mine) noexcept {
        label_key(with.hash, mac1_key_, mac1_label, mine.data());
        label_key(with.hash, seal_key_, cookie_label, mine.data());
    }
    secret<key_bytes> const& mac1_key(primitives<Policies> const&) const noexcept { return mac1_key_; }
    void make_subkey(primitives<Policies> const& with, secret<key_bytes>& out, byte const* nonce) const noexcept {
        with.aead.hchacha20(out, seal_key_, std::span<byte const, 16>(nonce, 16));
    }

private:
    secret<key_bytes> mac1_key_;
    secret<key_bytes> seal_key_;
};

/// The same keys, derived for each use: small machines have the time for that, and no memory to keep them.
template <policies Policies> class derived_keys {
public:
    void set(primitives<Policies> const&, key_view mine) noexcept { mine_ = mine.data(); }
    secret<key_bytes> mac1_key(primitives<Policies> const& with) const noexcept {
        secret<key_bytes> key{not_zeroed{}};
        label_key(with.hash, key, mac1_label, mine_);
        return key;
    }
    void make_subkey(primitives<Policies> const& with, secret<key_bytes>& out, byte const* nonce) const noexcept {
        cookie_detail::make_subkey(with, out, mine_, nonce);
    }

private:
    byte const* mine_ = nullptr;
};

} // namespace cookie_detail

/// For the receiver of handshake messages: checks macs, and makes cookie replies.
template <policies Policies> class cookie_checker {
public:
    /// Takes the public key of the interface. `mine` outlives this object.
    void set_public_key(primitives<Policies> const& with, key_view mine) noexcept { keys_.set(with, mine); }

    /// Whether mac1 is right, so that the sender has our public key. `message` is an initiation or a response.
    bool check_mac1(primitives<Policies> const& with, bytes_view message) const noexcept {
        auto const& key = keys_.mac1_key(with);
        return cookie_detail::has_mac(with.hash, key.expose().data(), key_bytes, message.data(),
                                      message.data() + message.size() - cookie_detail::from_mac1);
    }

    /// The most messages that `check_mac1` takes in a batch.
    static constexpr std::size_t max_batch = batch_size<batch_hash_backend<typename Policies::hash>>(32);

    /// Checks mac1 of each message, at most `max_batch`. Returns: a bit for each right one; the first message is bit 0.
    std::uint32_t check_mac1(primitives<Policies> const& with, std::span<bytes_view const> messages) const noexcept {
        WG_ASSERT(messages.size() <= max_batch);
        auto const& key = keys_.mac1_key(with);
        std::array<byte_array<mac_bytes>, max_batch> expected;
        std::array<hash_item, max_batch> items;
        for (std::size_t i = 0; i < messages.size(); ++i)
            items[i] = {expected[i], key.expose(), cookie_detail::before_mac1(messages[i])};
        blake2s_all(with.hash, std::span<hash_item const>(items).first(messages.size()));
        std::uint32_t genuine = 0;
        for (std::size_t i = 0; i < messages.size(); ++i)
            if (equal_in_constant_time(expected[i], cookie_detail::mac1_of(messages[i])))
                genuine |= std::uint32_t{1} << i;
        return genuine;
    }

    /// Whether mac2 is right, so that the sender has a cookie of ours for this address and port.
    bool check_mac2(primitives<Policies> const& with, bytes_view message, endpoint const& from,
                    instant_argument now) const noexcept {
        return check_mac2(with, message.data(), message.data() + message.size() - cookie_detail::from_mac2, from, now);
    }
    /// The same; `mac2` points into the message.
    bool check_mac2(primitives<Policies> const& with, byte const* message, byte const* mac2, endpoint const& from,
                    instant_argument now) const noexcept {
        if (!secret_is_fresh(now)) return false;
        secret<cookie_bytes> cookie{not_zeroed{}};
        make_cookie(with, cookie, from);
        return cookie_detail::has_mac(with.hash, cookie.expose().data(), cookie_bytes, message, mac2);
    }

    /// Writes the cookie reply to `message`. `reply` is 64 bytes. Returns: no_random.
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
        make_cookie(with, cookie, from);
        keys_.make_subkey(with, subkey, nonce);
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
    void make_cookie(primitives<Policies> const& with, secret<cookie_bytes>& cookie,
                     endpoint const& from) const noexcept {
        byte_array<2> port;
        store_be16(port.data(), from.port);
        with.hash.blake2s(cookie.expose(), secret_.expose(), from.address.view(), port);
    }

    std::conditional_t<compact, cookie_detail::derived_keys<Policies>, cookie_detail::kept_keys<Policies>> keys_;
    secret<key_bytes> secret_{not_zeroed{}};
    instant secret_expires_{};
};

/// For the sender of handshake messages: adds macs, and keeps the cookie of the last cookie reply.
template <policies Policies> class cookie_jar {
public:
    /// Fills in mac1 and mac2 of an initiation or a response to `theirs`.
    void add_macs(primitives<Policies> const& with, key_view theirs, bytes message, instant_argument now) noexcept {
        add_macs(with, theirs.data(), message.data(), message.data() + message.size() - cookie_detail::from_mac1, now);
    }
    /// The same; `mac1` points into the message.
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

    /// Takes the cookie out of a reply of the peer `theirs` to the last message sent.
    /// Returns: stale_cookie if a reply to that message was taken before; decryption_failed.
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
