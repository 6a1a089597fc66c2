// SPDX-License-Identifier: BSL-1.0
// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as WireGuard uses it (whitepaper 5.4.2, 5.4.3, 5.4.5). Folder: protocol.
//
// Pure functions over handshakes: they use no tables, no time, and no policies except the primitives. A received
// message that is refused does not change the handshake. If a message cannot be created, the caller forgets the
// handshake. Comments name the tokens of the whitepaper (e, es, s, ...) where they are computed. A handshake is used by
// one thread at a time.
#ifndef WG_PROTOCOL_NOISE_HPP
#define WG_PROTOCOL_NOISE_HPP

#include "../policy.hpp"
#include "batch.hpp"
#include "messages.hpp"

#include <string_view>

namespace wg { inline namespace WG_ABI {

/// The primitives that a protocol step needs, by the names of their policies.
template <policies Policies> struct primitives {
    [[no_unique_address]] typename Policies::hash hash; ///< BLAKE2s
    [[no_unique_address]] typename Policies::dh dh;     ///< X25519
    [[no_unique_address]] typename Policies::aead aead; ///< ChaCha20-Poly1305

    // Constructors, because clang 16 crashes where an aggregate with empty members is initialised in place.
    primitives() noexcept = default;
    /// Takes the primitives.
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

// The functions below take a pointer and a size instead of a span, because compilers for 32-bit machines pass a span on
// the stack.

/// Hash(first || second) (whitepaper 5.4). `out` may be `first`.
template <hash_backend Hash>
void hash_of(Hash const& hash, secret<key_bytes>& out, byte const* first, std::size_t first_bytes, byte const* second,
             std::size_t second_bytes) noexcept {
    secret<key_bytes> digest{not_zeroed{}};
    hash.blake2s(digest.expose(), {}, {first, first_bytes}, {second, second_bytes});
    out.assign(digest);
}

/// KDF1 to KDF3 (whitepaper 5.4). Each output is 32 bytes. The first output replaces `key`; the second and third are
/// computed if their pointers are not null. `second` and `third` may be `input`.
template <hash_backend Hash>
WG_OUTLINE void kdf_into(Hash const& hash, secret<key_bytes>& key, byte const* input, std::size_t size,
                         secret<key_bytes>* second = nullptr, secret<key_bytes>* third = nullptr) noexcept {
    secret<key_bytes> extracted{not_zeroed{}};
    struct {
        secret<key_bytes> before{not_zeroed{}}; // the first output has no previous output
        byte number = 0;
    } step;
    static_assert(sizeof step == key_bytes + 1); // no gap between the members
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
/// KDF1 to KDF3 with one to three outputs of 32 bytes. An output may be `key` or lie in `input`.
template <hash_backend Hash, class... More>
void kdf(Hash const& hash, secret<key_bytes> const& key, bytes_view input, secret<key_bytes>& first,
         More&... more) noexcept {
    static_assert(sizeof...(More) <= 2);
    secret<key_bytes> chained;
    chained.assign(key);
    kdf_into(hash, chained, input.data(), input.size(), &more...);
    first = std::move(chained);
}

/// The chaining key and the transcript hash of a handshake.
struct symmetric_state {
    secret<key_bytes> chaining_key{not_zeroed{}}; ///< C of the whitepaper
    secret<key_bytes> hash{not_zeroed{}};         ///< H of the whitepaper

    /// Copies both values of `other`.
    WG_OUTLINE void assign(symmetric_state const& other) noexcept {
        chaining_key.assign(other.chaining_key);
        hash.assign(other.hash);
    }
    /// Wipes both values.
    void clear() noexcept {
        chaining_key.clear();
        hash.clear();
    }
};

/// The last step of a handshake.
enum class handshake_state : std::uint8_t {
    none,                ///< there is no handshake
    initiation_created,  ///< initiator: waits for the response
    initiation_consumed, ///< responder: may create the response
    response_created,    ///< responder: may begin the session
    response_consumed,   ///< initiator: may begin the session
};

/// One handshake of one peer, in either role.
struct handshake {
    handshake_state state = handshake_state::none; ///< the last step
    std::uint32_t local_index = 0;                 ///< the index that this end chose
    std::uint32_t remote_index = 0;                ///< the index that the other end chose
    /// Initiator: our ephemeral private key. Responder: the ephemeral public key of the initiator.
    secret<key_bytes> ephemeral{not_zeroed{}};
    symmetric_state symmetric; ///< after the last step

    /// Wipes everything except the local index, which is still in the index table.
    void clear() noexcept {
        state = handshake_state::none;
        remote_index = 0;
        ephemeral.clear();
        symmetric.clear();
    }
};

/// Clamps a private key for X25519 (RFC 7748, section 5).
inline void clamp(secret<key_bytes>& key) noexcept {
    key.expose()[0] &= 248;
    key.expose()[31] = static_cast<byte>((key.expose()[31] & 127) | 64);
}

/// The long-term key pair of this interface.
struct identity {
    secret<key_bytes> private_key; ///< all zero: none
    wg::public_key public_key{};   ///< of `private_key`

    /// Whether there is a private key.
    bool exists() const noexcept { return !private_key.is_zero(); }
};

/// The keys of the other end before a handshake.
struct remote_identity {
    wg::public_key public_key;                     ///< the static key
    secret<key_bytes> static_static{not_zeroed{}}; ///< DH of both static keys; all zero: the static key is unusable
    secret<key_bytes> preshared_key;               ///< all zero: none
};

/// The steps of the handshake over one set of primitives. Steps that cost DH operations take a batch of messages, so
/// that a dh policy with batches computes them together. The caller sets `why` of each message: steps skip a message
/// whose `why` is not ok, and set it when they refuse the message.
template <policies Policies> class noise {
public:
    /// The most messages in a batch. One if the dh policy has no batches, and on small machines.
    static constexpr std::size_t max_batch = batch_size<batch_dh_backend<typename Policies::dh>>(8);
    /// The messages of a batch: at most `max_batch`. If that is one, exactly one: the compiler then removes the loops.
    template <class Message> using batch = std::span<Message, max_batch == 1 ? 1 : std::dynamic_extent>;
    /// The first `count` messages.
    template <class Message>
    static batch<Message> batch_of(std::array<Message, max_batch>& all, std::size_t count) noexcept {
        return batch<Message>(all.data(), max_batch == 1 ? 1 : count);
    }

private:
    /// A secret that is written before it is read.
    struct secret_to_be : secret<key_bytes> {
        secret_to_be() noexcept : secret<key_bytes>(not_zeroed{}) {}
    };

    /// The number of DHs of a message that are computed together. If it is one, one result needs memory.
    static constexpr std::size_t dhs_at_once = max_batch == 1 ? 1 : 2;

    /// A message that one end writes and the other end reads. Both ends compute the same steps.
    struct passage {
        byte* message; ///< only written to if `writes`
        bool writes;
        status why;
        symmetric_state* state;
        secret<key_bytes> const* scalars[2]; ///< of the message's DHs, in the order of their tokens
        byte const* points[2];
        byte* static_key;                       ///< initiation: of the initiator, in clear
        secret<key_bytes> const* preshared_key; ///< response
        secret_to_be keys[dhs_at_once];         ///< results of the DHs; later the first is the key of the next tag

        [[gnu::always_inline]] passage() noexcept {}
        [[gnu::always_inline]] ~passage() {}
    };

public:
    /// Uses the primitives `with`, which outlive this object.
    explicit noise(primitives<Policies> const& with) noexcept : with_(with) {}

    /// Writes an initiation without its macs (whitepaper 5.4.2). `message` is 148 bytes. `local_index` of the
    /// handshake is set. Returns: no_random; bad_public_key: the static key of the other end is of low order.
    template <random_source Random>
    status create_initiation(handshake& to, identity const& mine, remote_identity const& theirs, Random& random,
                             std::span<byte const, timestamp_bytes> timestamp, bytes message) const noexcept {
        WG_ASSERT(message.size() == initiation_layout::size);
        to.clear();
        begin_message(message.data(), message_type::initiation, to.local_index);
        if (!create_ephemeral(to.ephemeral, random, &message[initiation_layout::ephemeral])) return status::no_random;
        passage on;
        on.why = status::ok;
        on.message = message.data();
        on.writes = true;
        on.state = &to.symmetric;
        on.scalars[0] = &to.ephemeral;
        on.points[0] = theirs.public_key.data();
        on.static_key = only_read(mine.public_key.data());
        mix_static(batch<passage>(&on, 1), theirs.public_key);
        if (on.why != status::ok) return on.why;
        status const why = mix_timestamp(on, theirs, only_read(timestamp.data()));
        if (why == status::ok) to.state = handshake_state::initiation_created;
        return why;
    }

    /// A received initiation.
    struct incoming_initiation : passage {
        symmetric_state symmetric;             ///< after the steps so far
        wg::public_key remote_static;          ///< the static key of the sender, after `open_initiations`
        byte_array<timestamp_bytes> timestamp; ///< TAI64N label, after `prove_initiation`

        /// Sets the message. `from` is 148 bytes, which outlive this object.
        void read(byte const* from) noexcept {
            this->message = only_read(from);
            this->writes = false;
        }
    };

    /// First half: reads the static key of the sender from each message, with one DH each. Sets `why` of each message:
    /// bad_public_key, decryption_failed.
    void open_initiations(batch<incoming_initiation> all, identity const& mine) const noexcept {
        for (incoming_initiation& in : all) {
            if (in.why != status::ok) continue;
            in.state = &in.symmetric;
            in.scalars[0] = &mine.private_key;
            in.points[0] = in.message + initiation_layout::ephemeral;
            in.static_key = in.remote_static.data();
        }
        mix_static(common(all), mine.public_key);
    }

    /// Second half: proves that the sender has the private key, by the DH of both static keys, and reads the timestamp.
    /// Returns: bad_public_key, decryption_failed.
    status prove_initiation(incoming_initiation& in, remote_identity const& theirs) const noexcept {
        return mix_timestamp(in, theirs, in.timestamp.data());
    }

    /// Stores in `to` an initiation after `prove_initiation`. The caller has accepted its timestamp.
    void accept_initiation(handshake& to, incoming_initiation const& in) const noexcept {
        using at = initiation_layout;
        to.symmetric.assign(in.symmetric);
        to.remote_index = load_le32(in.message + at::sender);
        to.ephemeral.assign(key_view(in.message + at::ephemeral, key_bytes));
        to.state = handshake_state::initiation_consumed;
    }

    /// A response to send.
    struct outgoing_response : passage {
        secret_to_be ephemeral; ///< private key
    };

    /// Begins the response to the initiation that `of` has consumed: writes the indices and a new ephemeral public key.
    /// `message` has room for 92 bytes. Sets `why` of `out`: no_random.
    template <random_source Random>
    void begin_response(outgoing_response& out, handshake& of, remote_identity const& theirs, byte* message,
                        Random& random) const noexcept {
        WG_ASSERT(of.state == handshake_state::initiation_consumed);
        begin_message(message, message_type::response, of.local_index);
        store_le32(message + response_layout::receiver, of.remote_index);
        if (!create_ephemeral(out.ephemeral, random, message + response_layout::ephemeral)) {
            out.why = status::no_random;
            return;
        }
        of.state = handshake_state::response_created;
        out.message = message;
        out.writes = true;
        out.state = &of.symmetric;
        out.scalars[0] = out.scalars[1] = &out.ephemeral;
        out.points[0] = of.ephemeral.expose().data();
        out.points[1] = theirs.public_key.data();
        out.preshared_key = &theirs.preshared_key;
    }

    /// Writes the rest of each response without its macs (whitepaper 5.4.3). Sets `why` of each: bad_public_key.
    void create_responses(batch<outgoing_response> all) const noexcept { mix_response<true>(common(all)); }

    /// A received response.
    struct incoming_response : passage {
        symmetric_state symmetric; ///< after the steps so far
    };

    /// Begins to read a response of 92 bytes that claims to answer the initiation of `of`. Sets `why` of `in`:
    /// wrong_state.
    void begin_response(incoming_response& in, handshake const& of, identity const& mine, remote_identity const& theirs,
                        byte const* message) const noexcept {
        //= linux: a response is taken while the initiation that it answers waits, and once
        if (of.state != handshake_state::initiation_created) {
            in.why = status::wrong_state;
            return;
        }
        in.symmetric.assign(of.symmetric);
        in.message = only_read(message);
        in.writes = false;
        in.state = &in.symmetric;
        in.scalars[0] = &of.ephemeral;
        in.scalars[1] = &mine.private_key;
        in.points[0] = in.points[1] = message + response_layout::ephemeral;
        in.preshared_key = &theirs.preshared_key;
    }

    /// Reads each response. No handshake changes before `accept_response`. Sets `why` of each: bad_public_key,
    /// decryption_failed.
    //= linux: a forged response does not end the handshake that waits for the genuine one
    void open_responses(batch<incoming_response> all) const noexcept { mix_response<true>(common(all)); }
    /// As `open_responses`, but the caller looks for the preshared key of each response whose `why` is ok after this
    /// call, with `try_preshared_key`.
    void open_responses_up_to_key(batch<incoming_response> all) const noexcept { mix_response<false>(common(all)); }
    /// Opens a response with `key`, after `open_responses_up_to_key`. Returns: false, and changes nothing, if it has
    /// another preshared key.
    bool try_preshared_key(incoming_response& in, secret<key_bytes> const& key) const noexcept {
        symmetric_state before;
        before.assign(in.symmetric);
        in.preshared_key = &key;
        mix_preshared_key(in);
        if (in.why == status::ok) return true;
        in.why = status::ok;
        in.symmetric.assign(before);
        return false;
    }

    /// Completes the handshake with a response after `open_responses`: the first one of the batch for this handshake.
    void accept_response(handshake& of, incoming_response const& in) const noexcept {
        WG_ASSERT(of.state == handshake_state::initiation_created);
        of.symmetric.assign(in.symmetric);
        of.remote_index = load_le32(in.message + response_layout::sender);
        of.state = handshake_state::response_consumed;
    }

    /// Derives the keys of the session (whitepaper 5.4.5), and wipes the handshake. Returns: wrong_state, with nothing
    /// changed, if no response was created or accepted.
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
    /// The common part of the messages of a batch. If `max_batch` is one, the steps below have one body for all kinds
    /// of messages.
    template <class Message> static auto common(batch<Message> all) noexcept {
        if constexpr (max_batch == 1) return batch<passage>(static_cast<passage*>(&all[0]), 1);
        else return all;
    }

    /// Whether the message of a batch of one was refused. A step then returns at once, so that other code need not test
    /// `why`.
    template <class Message> static bool is_refused(batch<Message> all) noexcept {
        return max_batch == 1 && all[0].why != status::ok;
    }
    /// Whether a step skips a message of a larger batch.
    static bool skips(passage const& on) noexcept { return max_batch != 1 && on.why != status::ok; }

    /// Casts away const. Nothing is written to the result, because `writes` is false or the argument is only read.
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

    static void begin_message(byte* message, message_type type, std::uint32_t local_index) noexcept {
        store_le32(message, static_cast<std::uint32_t>(type));
        store_le32(message + initiation_layout::sender, local_index); // at the same place in a response
    }

    /// Computes the first half of each initiation.
    template <class Message> WG_OUTLINE void mix_static(batch<Message> all, key_view responder) const noexcept {
        if (is_refused(all)) return;
        for (Message& on : all) {
            if (skips(on)) continue;
            start(*on.state, responder);
            // e
            mix_ephemeral(*on.state, on.message + initiation_layout::ephemeral);
        }
        // es
        agree(all, 0, 1);
        if (is_refused(all)) return;
        for (Message& on : all) {
            if (skips(on)) continue;
            mix(*on.state, on.keys[0], &on.keys[0]);
            // s
            on.why = crypt_and_hash(on, initiation_layout::encrypted_static, on.static_key, key_bytes);
        }
    }

    /// Computes the second half of an initiation.
    WG_OUTLINE status mix_timestamp(passage& on, remote_identity const& theirs, byte* timestamp) const noexcept {
        if (theirs.static_static.is_zero()) return status::bad_public_key;
        // ss
        mix(*on.state, theirs.static_static, &on.keys[0]);
        return crypt_and_hash(on, initiation_layout::encrypted_timestamp, timestamp, timestamp_bytes);
    }

    /// Computes each response; `ToEnd`: with the preshared key, and what follows it.
    template <bool ToEnd, class Message> WG_OUTLINE void mix_response(batch<Message> all) const noexcept {
        if (is_refused(all)) return;
        for (Message& on : all) {
            if (skips(on)) continue;
            // e
            mix_ephemeral(*on.state, on.message + response_layout::ephemeral);
        }
        // ee, se
        for (std::size_t dh = 0; dh < 2; dh += dhs_at_once) {
            agree(all, dh, dhs_at_once);
            if (is_refused(all)) return;
            for (Message& on : all) {
                if (skips(on)) continue;
                for (secret<key_bytes> const& key : on.keys) mix(*on.state, key);
            }
        }
        if constexpr (ToEnd)
            for (Message& on : all)
                if (!skips(on)) mix_preshared_key(on);
    }

    /// Computes `count` DHs of each message, from `first` on, into its `keys`.
    //= RFC 7748 6.1: a shared secret of zero ends the handshake
    template <class Message> void agree(batch<Message> all, std::size_t first, std::size_t count) const noexcept {
        if constexpr (max_batch == 1) { // a list of items would cost the small node 50 bytes of flash
            passage& on = all[0];
            if (!with_.dh.dh(on.keys[0], *on.scalars[first], key_view(on.points[first], key_bytes)))
                on.why = status::bad_public_key;
        } else {
            std::array<dh_item, max_batch * dhs_at_once> items;
            std::size_t used = 0;
            for (Message& on : all) {
                if (skips(on)) continue;
                for (std::size_t i = 0; i < count; ++i)
                    items[used++] = {&on.keys[i], on.scalars[first + i], {on.points[first + i], key_bytes}, false};
            }
            dh_all(with_.dh, std::span(items).first(used));
            used = 0;
            for (Message& on : all) {
                if (skips(on)) continue;
                for (std::size_t i = 0; i < count; ++i)
                    if (!items[used++].good) on.why = status::bad_public_key;
            }
        }
    }

    void mix_ephemeral(symmetric_state& state, byte const* ephemeral) const noexcept {
        mix_hash(state, ephemeral, key_bytes);
        kdf_into(with_.hash, state.chaining_key, ephemeral, key_bytes);
    }

    /// Mixes `input` into the chaining key, and derives the next one or two keys. `second` may be `input`.
    void mix(symmetric_state& state, secret<key_bytes> const& input, secret<key_bytes>* second = nullptr,
             secret<key_bytes>* third = nullptr) const noexcept {
        kdf_into(with_.hash, state.chaining_key, input.expose().data(), key_bytes, second, third);
    }

    //= wp 5.2: the preshared key is mixed into the response; a wrong one is like a forgery
    void mix_preshared_key(passage& on) const noexcept {
        // psk
        secret<key_bytes> mixed{not_zeroed{}};
        mix(*on.state, *on.preshared_key, &mixed, &on.keys[0]);
        mix_hash(*on.state, mixed.expose().data(), key_bytes);
        on.why = crypt_and_hash(on, response_layout::encrypted_nothing, mixed.expose().data(), 0);
    }

    /// Seals `plain` into the message at `place`, or opens it from there, and mixes the sealed bytes into the hash.
    /// `size`: bytes of the plain text.
    WG_OUTLINE status crypt_and_hash(passage const& on, std::size_t place, byte* plain,
                                     std::size_t size) const noexcept {
        byte* const sealed = on.message + place;
        if (!seal_or_open(with_.aead, on.writes, on.writes ? sealed : plain, on.writes ? plain : sealed, size,
                          on.state->hash.expose().data(), key_bytes, 0, on.keys[0]))
            return status::decryption_failed;
        mix_hash(*on.state, sealed, size + tag_bytes);
        return status::ok;
    }

    primitives<Policies> const& with_;
};

}} // namespace wg::WG_ABI

#endif
