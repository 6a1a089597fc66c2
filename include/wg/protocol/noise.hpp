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

namespace wg { inline namespace WG_ABI {

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
[[gnu::always_inline]] inline void hmac(Hash const& hash, std::span<byte, key_bytes> out, key_view key,
                                        bytes_view input) noexcept {
    if constexpr (hmac_hash_backend<Hash>) return hash.hmac_blake2s(out, key, input);
    constexpr std::size_t block_bytes = 64;
    secret<block_bytes> block;
    secret<key_bytes> inner;
    for (std::size_t i = 0; i < block_bytes; ++i)
        block.expose()[i] = (i < key_bytes ? key[i] : byte{0}) ^ byte { 0x36 };
    hash.blake2s(inner.expose(), {}, block.expose(), input);
    for (byte& b : block.expose()) b ^= byte{0x36 ^ 0x5c};
    hash.blake2s(out, {}, block.expose(), inner.expose());
}

// In what follows a pointer and a size stand for a span, which compilers for 32-bit machines hand over by way of the
// stack.

/// Hash(first || second) (whitepaper 5.4). `out` may be `first`.
template <hash_backend Hash>
void hash_of(Hash const& hash, secret<key_bytes>& out, byte const* first, std::size_t first_bytes, byte const* second,
             std::size_t second_bytes) noexcept {
    secret<key_bytes> digest{not_zeroed{}};
    hash.blake2s(digest.expose(), {}, {first, first_bytes}, {second, second_bytes});
    out.assign(digest);
}

/// KDF1 to KDF3 (whitepaper 5.4): as many 32-byte outputs as there are places for them. The first one takes the place
/// of the key. `second` and `third` may be `input`.
template <hash_backend Hash>
WG_OUTLINE void kdf_into(Hash const& hash, secret<key_bytes>& key, byte const* input, std::size_t size,
                         secret<key_bytes>* second = nullptr, secret<key_bytes>* third = nullptr) noexcept {
    secret<key_bytes> extracted{not_zeroed{}};
    struct {
        secret<key_bytes> before{not_zeroed{}}; // there is no output before the first
        byte number = 0;
    } step;
    static_assert(sizeof step == key_bytes + 1); // one behind the other
    byte const* from = &step.number;
    hmac(hash, extracted.expose(), key.expose(), {input, size});
    for (secret<key_bytes>* const to : {&key, second, third}) {
        if (to == nullptr) break;
        ++step.number;
        hmac(hash, to->expose(), extracted.expose(), {from, &step.number + 1});
        step.before.assign(*to);
        from = step.before.expose().data();
    }
}
/// The same with a place for each. An output may be `key` or lie in `input`.
template <hash_backend Hash, class... More>
void kdf(Hash const& hash, secret<key_bytes> const& key, bytes_view input, secret<key_bytes>& first,
         More&... more) noexcept {
    static_assert(sizeof...(More) <= 2);
    secret<key_bytes> chained;
    chained.assign(key);
    kdf_into(hash, chained, input.data(), input.size(), &more...);
    first = std::move(chained);
}

/// Chaining key and transcript hash.
struct symmetric_state {
    secret<key_bytes> chaining_key{not_zeroed{}};
    secret<key_bytes> hash{not_zeroed{}};

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
    /// Ours, the private key, if we began; else the other end's, which is public.
    secret<key_bytes> ephemeral{not_zeroed{}};
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
    wg::public_key public_key;
    secret<key_bytes> static_static{not_zeroed{}}; ///< DH of both static keys
    secret<key_bytes> preshared_key;
};

/// The handshake's steps over one set of primitives.
template <policies Policies> class noise {
public:
    explicit noise(primitives<Policies> const& with) noexcept : with_(with) {}

    /// Writes an initiation without its macs (whitepaper 5.4.2). `message` is 148 bytes; the handshake has its index.
    /// no_random; bad_public_key: the other static key is of low order.
    template <random_source Random>
    status create_initiation(handshake& to, identity const& mine, remote_identity const& theirs, Random& random,
                             std::span<byte const, timestamp_bytes> timestamp, bytes message) const noexcept {
        WG_ASSERT(message.size() == initiation_layout::size);
        to.clear();
        begin_message(message, message_type::initiation, to.local_index);
        if (!create_ephemeral(to.ephemeral, random, &message[initiation_layout::ephemeral])) return status::no_random;
        secret<key_bytes> key{not_zeroed{}};
        passage const on{to.symmetric, key, message.data(), true};
        status why =
            mix_static(on, theirs.public_key, to.ephemeral, theirs.public_key, only_read(mine.public_key.data()));
        if (why == status::ok) why = mix_timestamp(on, theirs, only_read(timestamp.data()));
        if (why == status::ok) to.state = handshake_state::initiation_created;
        return why;
    }

    /// How many messages the steps that take spans can be given.
    static constexpr std::size_t at_once = batch_size<batch_dh_backend<typename Policies::dh>>(8);

    /// An initiation on its way in: between the two halves the caller finds out whose it is.
    struct incoming_initiation {
        symmetric_state symmetric;
        wg::public_key remote_static;
        byte_array<timestamp_bytes> timestamp;
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
            in.why = done.good ? end_static({in.symmetric, *done.out, only_read(in.message.data()), false},
                                            in.remote_static.data())
                               : status::bad_public_key;
        }
    }

    /// The same for one.
    status open_initiation(incoming_initiation& in, identity const& mine, bytes_view message) const noexcept {
        secret<key_bytes> key{not_zeroed{}};
        return mix_static({in.symmetric, key, only_read(message.data()), false}, mine.public_key, mine.private_key,
                          ephemeral_in<initiation_layout>(message), in.remote_static.data());
    }

    /// Second half: proves it, by the DH of both static keys. bad_public_key, decryption_failed.
    status prove_initiation(incoming_initiation& in, remote_identity const& theirs, bytes_view message) const noexcept {
        secret<key_bytes> key{not_zeroed{}};
        return mix_timestamp({in.symmetric, key, only_read(message.data()), false}, theirs, in.timestamp.data());
    }

    /// The caller has accepted the timestamp: the handshake is now this one.
    void accept_initiation(handshake& to, incoming_initiation const& in, bytes_view message) const noexcept {
        using at = initiation_layout;
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
    status create_response(outgoing_response const& from, bytes message) const noexcept {
        if (from.why != status::ok) return from.why;
        handshake& of = *from.of;
        WG_ASSERT(message.size() == response_layout::size && of.state == handshake_state::initiation_consumed);
        secret<key_bytes> key{not_zeroed{}};
        begin_response(of, message);
        copy(message.subspan<response_layout::ephemeral, key_bytes>(), from.ephemeral_public);
        mix_secrets(of.symmetric, from.ephemeral_public, from);
        of.state = handshake_state::response_created;
        return mix_preshared_key({of.symmetric, key, message.data(), true}, *from.theirs);
    }

    /// All parts for one. no_random, bad_public_key: then the handshake is to be forgotten.
    template <random_source Random>
    status create_response(handshake& of, remote_identity const& theirs, Random& random, bytes message) const noexcept {
        WG_ASSERT(of.state == handshake_state::initiation_consumed && message.size() == response_layout::size);
        begin_response(of, message);
        secret<key_bytes> ephemeral{not_zeroed{}};
        if (!create_ephemeral(ephemeral, random, &message[response_layout::ephemeral])) return status::no_random;
        of.state = handshake_state::response_created;
        return mix_response(of.symmetric, message.data(), true, theirs, ephemeral, of.ephemeral.expose(), ephemeral,
                            theirs.public_key);
    }

private:
    /// e, ee and se of either end of a response, whose DHs are done.
    void mix_secrets(symmetric_state& state, key_view ephemeral, response_secrets const& from) const noexcept {
        // e
        mix_ephemeral(state, ephemeral);
        // ee
        mix(state, from.ee);
        // se
        mix(state, from.se);
    }

    /// A handshake has consumed this response.
    void end_response(handshake& of, symmetric_state const& state, bytes_view message) const noexcept {
        of.symmetric.assign(state);
        of.remote_index = load_le32(&message[response_layout::sender]);
        of.state = handshake_state::response_consumed;
    }

    void begin_message(bytes message, message_type type, std::uint32_t local_index) const noexcept {
        store_le32(message.data(), static_cast<std::uint32_t>(type));
        store_le32(&message[initiation_layout::sender], local_index); // at the same place in a response
    }
    void begin_response(handshake& of, bytes message) const noexcept {
        begin_message(message, message_type::response, of.local_index);
        store_le32(&message[response_layout::receiver], of.remote_index);
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
        secret<key_bytes> key{not_zeroed{}};
        symmetric_state state;
        state.assign(of.symmetric);
        mix_secrets(state, ephemeral_in<response_layout>(from.message), from);
        status const why = mix_preshared_key({state, key, only_read(from.message.data()), false}, theirs);
        if (why == status::ok) end_response(of, state, from.message);
        return why;
    }

    /// Both parts for one.
    status consume_response(handshake& of, identity const& mine, remote_identity const& theirs,
                            bytes_view message) const noexcept {
        if (of.state != handshake_state::initiation_created) return status::wrong_state;
        key_view const ephemeral = ephemeral_in<response_layout>(message);
        symmetric_state state;
        state.assign(of.symmetric);
        status const why = mix_response(state, only_read(message.data()), false, theirs, of.ephemeral, ephemeral,
                                        mine.private_key, ephemeral);
        if (why == status::ok) end_response(of, state, message);
        return why;
    }

    /// The session's keys (whitepaper 5.4.5); forgets the handshake. wrong_state unless a response was made or read.
    //= wp 5.4.5: the keys of a session come out of the handshake, which is then forgotten
    status begin_session(handshake& of, secret<key_bytes>& send_key, secret<key_bytes>& receive_key) const noexcept {
        bool const initiator = of.state == handshake_state::response_consumed;
        if (!initiator && of.state != handshake_state::response_created) return status::wrong_state;
        kdf_into(with_.hash, of.symmetric.chaining_key, nullptr, 0, initiator ? &receive_key : &send_key);
        (initiator ? send_key : receive_key).assign(of.symmetric.chaining_key);
        of.clear();
        return status::ok;
    }

private:
    template <class Layout> static key_view ephemeral_in(bytes_view message) noexcept {
        return message.subspan<Layout::ephemeral, key_bytes>();
    }

    /// A message that one end writes and the other reads, and what both do with it alike.
    struct passage {
        symmetric_state& state;
        secret<key_bytes>& key; ///< of the next tag
        byte* message;          ///< unchanged unless it is written
        bool writes;
    };

    /// What is a source here and a destination at the other end.
    static byte* only_read(byte const* source) noexcept { return const_cast<byte*>(source); }

    void start(symmetric_state& state, key_view responder) const noexcept {
        // Hash("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"), and Hash(that || "WireGuard v1 zx2c4 Jason@zx2c4.com")
        static constexpr byte both[] = {0x60, 0xe2, 0x6d, 0xae, 0xf3, 0x27, 0xef, 0xc0, 0x2e, 0xc3, 0x35, 0xe2, 0xa0,
                                        0x25, 0xd2, 0xd0, 0x16, 0xeb, 0x42, 0x06, 0xf8, 0x72, 0x77, 0xf5, 0x2d, 0x38,
                                        0xd1, 0x98, 0x8b, 0x78, 0xcd, 0x36, 0x22, 0x11, 0xb3, 0x61, 0x08, 0x1a, 0xc5,
                                        0x66, 0x69, 0x12, 0x43, 0xdb, 0x45, 0x8a, 0xd5, 0x32, 0x2d, 0x9c, 0x6c, 0x66,
                                        0x22, 0x93, 0xe8, 0xb7, 0x0e, 0xe1, 0x9c, 0x65, 0xba, 0x07, 0x9e, 0xf3};
        state.chaining_key.assign(key_view(both, key_bytes));
        state.hash.assign(key_view(both + key_bytes, key_bytes));
        mix_hash(state, responder.data(), key_bytes);
    }

    WG_OUTLINE void mix_hash(symmetric_state& state, byte const* data, std::size_t size) const noexcept {
        hash_of(with_.hash, state.hash, state.hash.expose().data(), key_bytes, data, size);
    }

    template <random_source Random>
    bool create_ephemeral(secret<key_bytes>& ephemeral, Random& random, byte* to) const noexcept {
        if (!random.fill(ephemeral.expose())) return false;
        with_.dh.dh_public(*reinterpret_cast<wg::public_key*>(to), ephemeral); // an array of bytes
        return true;
    }

    /// The first half of an initiation. The DH is that of `mine` and `theirs`; `remote` is the initiator's static key.
    WG_OUTLINE status mix_static(passage const& on, key_view responder, secret<key_bytes> const& mine, key_view theirs,
                                 byte* remote) const noexcept {
        start(on.state, responder);
        // e
        mix_ephemeral(on.state, key_view(on.message + initiation_layout::ephemeral, key_bytes));
        // es
        if (!with_.dh.dh(on.key, mine, theirs)) return status::bad_public_key;
        return end_static(on, remote);
    }
    status end_static(passage const& on, byte* remote) const noexcept {
        mix(on.state, on.key, &on.key);
        // s
        return crypt_and_hash(on, initiation_layout::encrypted_static, remote, key_bytes);
    }

    /// The second half of an initiation.
    WG_OUTLINE status mix_timestamp(passage const& on, remote_identity const& theirs, byte* timestamp) const noexcept {
        if (theirs.static_static.is_zero()) return status::bad_public_key;
        // ss
        mix(on.state, theirs.static_static, &on.key);
        return crypt_and_hash(on, initiation_layout::encrypted_timestamp, timestamp, timestamp_bytes);
    }

    /// A response. ee is of the first two keys, se of the others.
    WG_OUTLINE status mix_response(symmetric_state& state, byte* message, bool writes, remote_identity const& theirs,
                                   secret<key_bytes> const& first, key_view first_point,
                                   secret<key_bytes> const& second, key_view second_point) const noexcept {
        secret<key_bytes> key{not_zeroed{}};
        // e
        mix_ephemeral(state, key_view(message + response_layout::ephemeral, key_bytes));
        // ee, se
        if (!mix_dh(state, first, first_point, key) || !mix_dh(state, second, second_point, key))
            return status::bad_public_key;
        return mix_preshared_key({state, key, message, writes}, theirs);
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
        mix_hash(state, ephemeral.data(), key_bytes);
        kdf_into(with_.hash, state.chaining_key, ephemeral.data(), key_bytes);
    }

    /// Mixes a DH into the chaining key. Between the two its result is in `shared`. False: it is zero.
    //= RFC 7748 6.1: a shared secret of zero ends the handshake
    bool mix_dh(symmetric_state& state, secret<key_bytes> const& mine, key_view theirs,
                secret<key_bytes>& shared) const noexcept {
        if (!with_.dh.dh(shared, mine, theirs)) return false;
        mix(state, shared);
        return true;
    }

    /// The chaining key, and with it the next one or two keys, of which `second` may be `input`.
    void mix(symmetric_state& state, secret<key_bytes> const& input, secret<key_bytes>* second = nullptr,
             secret<key_bytes>* third = nullptr) const noexcept {
        kdf_into(with_.hash, state.chaining_key, input.expose().data(), key_bytes, second, third);
    }

    //= wp 5.2: the preshared key is mixed into the response; a wrong one is as a forgery
    status mix_preshared_key(passage const& on, remote_identity const& theirs) const noexcept {
        // psk
        secret<key_bytes> mixed{not_zeroed{}};
        mix(on.state, theirs.preshared_key, &mixed, &on.key);
        mix_hash(on.state, mixed.expose().data(), key_bytes);
        return crypt_and_hash(on, response_layout::encrypted_nothing, mixed.expose().data(), 0);
    }

    /// `size` bytes of plain text, which the message has sealed at `place`.
    WG_OUTLINE status crypt_and_hash(passage const& on, std::size_t place, byte* plain,
                                     std::size_t size) const noexcept {
        byte* const sealed = on.message + place;
        if (!seal_or_open(with_.aead, on.writes, on.writes ? sealed : plain, on.writes ? plain : sealed, size,
                          on.state.hash.expose().data(), key_bytes, 0, on.key))
            return status::decryption_failed;
        mix_hash(on.state, sealed, size + tag_bytes);
        return status::ok;
    }

    primitives<Policies> const& with_;
};

}} // namespace wg::WG_ABI

#endif
