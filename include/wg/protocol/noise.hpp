// SPDX-License-Identifier: BSL-1.0
// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it (whitepaper 5.4.2, 5.4.3, 5.4.5). Layer 3.
//
// Pure functions over handshakes: no tables, no time, no policy beyond primitives. A message that is refused leaves the
// handshake as it was; where one cannot be made, it is to be forgotten. The whitepaper's tokens stand beside the lines
// that do them. One thread for each handshake.
//
// Who has several messages at hand calls the steps that take spans, so that their DHs are done at once. An element that
// is not `ok` is left alone by them.
#ifndef WG_PROTOCOL_NOISE_HPP
#define WG_PROTOCOL_NOISE_HPP

#include "../policy.hpp"
#include "batch.hpp"
#include "messages.hpp"

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

/// HMAC-BLAKE2s (RFC 2104) with a 32-byte key. `out` is 32 bytes and overlaps neither `key` nor `input`.
template <hash_backend Hash>
void hmac(Hash const& hash, std::span<byte, key_bytes> out, key_view key, bytes_view input) noexcept {
    if constexpr (requires { hash.hmac_blake2s(out, key, input); }) return hash.hmac_blake2s(out, key, input);
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
        std::memcpy(step.expose().data(), to->expose().data(), key_bytes);
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
        secret<key_bytes> key;
        to.clear();
        symmetric_state& state = to.symmetric;
        start(state, theirs.public_key);
        fill_zero(message);
        store_le32(message.data(), static_cast<std::uint32_t>(message_type::initiation));
        store_le32(&message[at::sender], local_index);
        // e
        if (!create_ephemeral(state, to.ephemeral, random, message.subspan<at::ephemeral, key_bytes>()))
            return status::no_random;
        // es
        if (!with_.dh.dh(key, to.ephemeral, theirs.public_key)) return status::bad_public_key;
        mix_key(state, key.expose(), key);
        // s
        encrypt_and_hash(state, key, message.subspan(at::encrypted_static, key_bytes + tag_bytes), mine.public_key);
        // ss
        mix_key(state, theirs.static_static.expose(), key);
        encrypt_and_hash(state, key, message.subspan(at::encrypted_timestamp, timestamp_bytes + tag_bytes), timestamp);
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
    };
    /// One of several.
    struct one_initiation : incoming_initiation {
        bytes_view message{};
        status why = status::ok;
    };

    /// First half: who says that he sent each `message`. Costs a DH each. bad_public_key, decryption_failed.
    void open_initiations(std::span<one_initiation> all, identity const& mine) const noexcept {
        WG_ASSERT(all.size() <= at_once);
        std::array<secret<key_bytes>, at_once> shared;
        std::array<dh_item, at_once> items;
        std::size_t count = 0;
        for (one_initiation& in : all) {
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
        for (one_initiation& in : all) {
            if (in.why != status::ok) continue;
            dh_item const& done = items[count++];
            in.why = done.good ? open_static(in, in.message, *done.out) : status::bad_public_key;
        }
    }

    /// The same for one.
    WG_FRAME status open_initiation(incoming_initiation& in, identity const& mine, bytes_view message) const noexcept {
        start(in.symmetric, mine.public_key);
        // e
        key_view const ephemeral = ephemeral_in<initiation_layout>(message);
        mix_ephemeral(in.symmetric, ephemeral);
        secret<key_bytes> shared;
        return with_.dh.dh(shared, mine.private_key, ephemeral) ? open_static(in, message, shared)
                                                                : status::bad_public_key;
    }

    /// Second half: proves it, by the DH of both static keys. bad_public_key, decryption_failed.
    WG_FRAME status prove_initiation(incoming_initiation& in, remote_identity const& theirs,
                                     bytes_view message) const noexcept {
        using at = initiation_layout;
        secret<key_bytes> key;
        if (theirs.static_static.is_zero()) return status::bad_public_key;
        // ss
        mix_key(in.symmetric, theirs.static_static.expose(), key);
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
        if (!mix_dh(state, ephemeral, of.ephemeral.expose(), key) || !mix_dh(state, ephemeral, theirs.public_key, key))
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
        if (!mix_dh(state, of.ephemeral, ephemeral, key) || !mix_dh(state, mine.private_key, ephemeral, key))
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

    /// s, once es is known; where that was is the key then.
    status open_static(incoming_initiation& in, bytes_view message, secret<key_bytes>& shared) const noexcept {
        using at = initiation_layout;
        secret<key_bytes>& key = shared;
        // es
        mix_key(in.symmetric, shared.expose(), key);
        // s
        bool const genuine = decrypt_and_hash(in.symmetric, key, in.remote_static,
                                              message.subspan(at::encrypted_static, key_bytes + tag_bytes));
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

    /// Mixes a DH into the chaining key. Between the two its result is in `shared`. False: it is zero.
    //= RFC 7748 6.1: a shared secret of zero ends the handshake
    bool mix_dh(symmetric_state& state, secret<key_bytes> const& mine, key_view theirs,
                secret<key_bytes>& shared) const noexcept {
        if (!with_.dh.dh(shared, mine, theirs)) return false;
        kdf(with_.hash, state.chaining_key, shared.expose(), state.chaining_key);
        return true;
    }

    /// The chaining key and the key of the next tag, out of `input`, which may be that key.
    void mix_key(symmetric_state& state, key_view input, secret<key_bytes>& key) const noexcept {
        kdf(with_.hash, state.chaining_key, input, state.chaining_key, key);
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
