// SPDX-License-Identifier: BSL-1.0
// Two peers agree on a new preshared key inside their session, by a key encapsulation that a quantum computer does not
// break (FIPS 203, ML-KEM-768). Folder: protocol. Pure; one thread at a time. docs/post-quantum.md has the wire format
// and the argument.
//
// One end, the initiator of the exchange, sends an offer: the public key of the encapsulation. The other end, the
// responder of the exchange, sends the answer: a ciphertext and a tag. Both are inner packets that are no IP packets,
// because their first four bits are zero. The new key follows from the encapsulated secret, from a secret of the
// session, from both static keys and from all bytes of the offer and the answer. The next handshake uses it.
//
// Neither end knows at first whether the other one has the new key. So both keep the key before it until data came in
// under a session that was made with the new one. The responder of a handshake can use one key only; it chooses another
// one after a response that was not confirmed. The initiator tries all.
#ifndef WG_PROTOCOL_PQ_EXCHANGE_HPP
#define WG_PROTOCOL_PQ_EXCHANGE_HPP

#include "noise.hpp"

namespace wg { inline namespace WG_ABI {

/// Sizes of the key encapsulation and of the messages of an exchange.
struct pq_layout {
    static constexpr std::size_t seed_bytes = 64;         ///< random bytes of a key pair
    static constexpr std::size_t random_bytes = 32;       ///< random bytes of an encapsulation
    static constexpr std::size_t public_key_bytes = 1184; ///< of the encapsulation
    static constexpr std::size_t ciphertext_bytes = 1088; ///< of the encapsulation
    static constexpr std::size_t secret_bytes = 32;       ///< that is encapsulated

    static constexpr std::size_t kind = 0;                    ///< 1: offer, 2: answer; the first four bits are zero
    static constexpr std::size_t version = 1;                 ///< 1
    static constexpr std::size_t algorithm = 2;               ///< little-endian; 1: ML-KEM-768
    static constexpr std::size_t id = 4;                      ///< of the exchange, chosen by the sender of the offer
    static constexpr std::size_t id_bytes = 12;               ///< random
    static constexpr std::size_t content = 16;                ///< the public key, or the ciphertext
    static constexpr std::size_t tag = 16 + ciphertext_bytes; ///< of an answer
    static constexpr std::size_t offer_bytes = 16 + public_key_bytes;              ///< all of an offer
    static constexpr std::size_t answer_bytes = 16 + ciphertext_bytes + tag_bytes; ///< all of an answer
};
// The offer fits into the smallest IPv6 packet: IPv6 header, UDP header, and 32 bytes around the inner packet.
static_assert(pq_layout::offer_bytes == 1280 - tunnel_overhead_bytes);

/// The key encapsulation of an exchange: with the sizes of ML-KEM-768.
template <class Kem>
concept exchange_kem =
    kem_backend<Kem> && std::default_initializable<Kem> && Kem::public_key_bytes == pq_layout::public_key_bytes &&
    Kem::ciphertext_bytes == pq_layout::ciphertext_bytes;

/// A bundle that names a key encapsulation `pq_kem`: peers can agree on preshared keys.
template <class Policies>
concept policies_with_exchange = policies<Policies> && requires { typename Policies::pq_kem; };

/// The number of a preshared key that an exchange made; 0: the configured key. Numbers are local.
using pq_key_number = std::uint32_t;

/// The preshared keys that exchanges with a peer made.
class pq_keys {
public:
    /// The key in use; 0: there is none.
    pq_key_number made() const noexcept { return made_number_; }
    /// The newest key, under which no session was confirmed yet; 0: there is none.
    pq_key_number fresh() const noexcept { return fresh_number_; }

    /// Takes a new key. The one in use stays. A key that is known already changes nothing.
    void add(secret<key_bytes> const& key) noexcept {
        if ((made_number_ != 0 && key.equals(made_)) || (fresh_number_ != 0 && key.equals(fresh_))) return;
        fresh_.assign(key);
        fresh_number_ = ++last_number_;
        attempt_ = 0;
    }

    /// As responder: chooses the key of a response. After unconfirmed responses, this is an older one: the initiator
    /// may have missed the last message of an exchange, or may have lost its state. `configured_early`: the configured
    /// key comes second, because no user data passes under it; otherwise third, because a response may have been lost.
    pq_key_number choose(bool configured_early) noexcept {
        pq_key_number const newest = fresh_number_ != 0 ? fresh_number_ : made_number_;
        pq_key_number const order[] = {newest, configured_early ? 0 : made_number_,
                                       configured_early ? made_number_ : 0};
        chosen_ = order[attempt_];
        attempt_ = static_cast<std::uint8_t>((attempt_ + 1) % 3);
        return chosen_;
    }
    /// The number that `choose` returned last.
    pq_key_number chosen() const noexcept { return chosen_; }

    /// As initiator: calls `fits(key)` for each key, until one returns true. Returns: the number of that key, or 0.
    template <class Fits> pq_key_number find(Fits&& fits) const noexcept {
        if (fresh_number_ != 0 && fits(fresh_)) return fresh_number_;
        if (made_number_ != 0 && fits(made_)) return made_number_;
        return 0;
    }

    /// The key of a number that is not 0.
    secret<key_bytes> const& key(pq_key_number number) const noexcept {
        return number == fresh_number_ ? fresh_ : made_;
    }

    /// Data came in under a session that was made with key `number`. `first`: it confirmed the session.
    /// Returns: whether the newest key has become the one in use, and the one before it was wiped.
    bool received(pq_key_number number, bool first) noexcept {
        if (first) attempt_ = 0;
        if (number == 0 || number != fresh_number_) return false;
        made_ = std::move(fresh_);
        made_number_ = std::exchange(fresh_number_, 0);
        attempt_ = 0;
        return true;
    }

    /// Wipes all keys.
    void clear() noexcept {
        made_.clear();
        fresh_.clear();
        made_number_ = fresh_number_ = 0;
        attempt_ = 0;
    }

private:
    secret<key_bytes> made_;
    secret<key_bytes> fresh_;
    pq_key_number made_number_ = 0;
    pq_key_number fresh_number_ = 0;
    pq_key_number last_number_ = 0;
    pq_key_number chosen_ = 0;
    std::uint8_t attempt_ = 0; ///< responses since the last confirmed session, modulo 3
};

/// The messages of exchanges with one peer: makes and reads offers and answers.
class pq_exchange {
    using at = pq_layout;

public:
    /// The secret that a session gives to the exchange. `chaining_key`: of its handshake, after the last message.
    template <hash_backend Hash>
    static void export_secret(Hash const& hash, secret<key_bytes> const& chaining_key,
                              secret<key_bytes>& out) noexcept {
        static constexpr byte label[] = {'W', 'G', ' ', 'P', 'Q', ' ', 'e', 'x', 'p', 'o', 'r', 't', ' ', '1'};
        out.assign(chaining_key);
        kdf_into(hash, out, label, sizeof label);
    }

    /// Whether an offer waits for its answer.
    bool offering() const noexcept { return offering_; }

    /// Begins an exchange: chooses its number and its key pair. Returns: false if there are no random bytes.
    template <random_source Random> bool begin(Random& random) noexcept {
        offering_ = random.fill(id_) && random.fill(seed_.expose());
        return offering_;
    }
    /// Ends the exchange of this end.
    void stop() noexcept {
        offering_ = false;
        seed_.clear();
    }
    /// Wipes everything.
    void clear() noexcept {
        stop();
        answers_.clear();
    }

    /// Writes the offer of the exchange that has begun; each call writes the same bytes. Returns: false, if the key
    /// encapsulation fails.
    template <exchange_kem Kem>
    [[nodiscard]] bool write_offer(Kem const& kem, std::span<byte, at::offer_bytes> out) const noexcept {
        secret<Kem::private_key_bytes> ignored{not_zeroed{}};
        return write_offer(kem, out, ignored);
    }

    /// As responder: reads an offer and writes the answer. `exported`: the secret of the session in which the offer
    /// came; `initiator` and `responder`: the static keys of the ends. An offer that comes again gets the
    /// same answer and key. Returns: false if it is no offer, or if there are no random bytes.
    template <hash_backend Hash, exchange_kem Kem, random_source Random>
    bool answer(Hash const& hash, Kem const& kem, Random& random, secret<key_bytes> const& exported, key_view initiator,
                key_view responder, bytes_view offer, std::span<byte, at::answer_bytes> out,
                secret<key_bytes>& key) noexcept {
        if (!is_header(offer, 1, at::offer_bytes)) return false;
        offer = offer.first(at::offer_bytes); // without padding
        if (answers_.is_zero() && !random.fill(answers_.expose())) return false;
        secret<at::random_bytes> chosen{not_zeroed{}};
        hash.blake2s(chosen.expose(), answers_.expose(), offer, {});
        secret<at::secret_bytes> shared{not_zeroed{}};
        write_header(out.data(), 2, offer.subspan(at::id, at::id_bytes));
        if (!kem.encapsulate(
                std::span<byte, at::ciphertext_bytes>(out.data() + at::content, at::ciphertext_bytes), shared,
                std::span<byte const, at::public_key_bytes>(offer.data() + at::content, at::public_key_bytes), chosen))
            return false;
        secret<key_bytes> tag{not_zeroed{}};
        derive(hash, exported, shared, initiator, responder, offer, out.template first<at::tag>(), key, tag);
        std::memcpy(out.data() + at::tag, tag.expose().data(), tag_bytes);
        return true;
    }
    /// As responder: a session under the new key was confirmed, so the answer is not repeated any more.
    void forget_answer() noexcept { answers_.clear(); }

    /// As initiator: reads the answer to the offer, and ends the exchange. Returns: false, and changes nothing, if it
    /// is no answer to this offer.
    template <hash_backend Hash, exchange_kem Kem>
    bool finish(Hash const& hash, Kem const& kem, secret<key_bytes> const& exported, key_view initiator,
                key_view responder, bytes_view answer, secret<key_bytes>& key) noexcept {
        if (!offering_ || !is_header(answer, 2, at::answer_bytes) ||
            std::memcmp(&answer[at::id], id_.data(), at::id_bytes) != 0)
            return false;
        secret<Kem::private_key_bytes> private_key{not_zeroed{}};
        byte_array<at::offer_bytes> offer;
        secret<at::secret_bytes> shared{not_zeroed{}};
        std::span<byte const, at::ciphertext_bytes> const text(&answer[at::content], at::ciphertext_bytes);
        if (!write_offer(kem, offer, private_key) || !kem.decapsulate(shared, private_key, text)) return false;
        secret<key_bytes> made{not_zeroed{}}, tag{not_zeroed{}};
        derive(hash, exported, shared, initiator, responder, offer, answer.first(at::tag), made, tag);
        if (!equal_in_constant_time(bytes_view(tag.expose()).first(tag_bytes), answer.subspan(at::tag, tag_bytes)))
            return false;
        key.assign(made);
        stop();
        return true;
    }

    /// Whether an inner packet belongs to an exchange. An IP packet never does.
    static bool is_message(bytes_view inner) noexcept { return !inner.empty() && inner[0] >> 4 == 0; }

private:
    template <class Kem>
    bool write_offer(Kem const& kem, std::span<byte, at::offer_bytes> out,
                     secret<Kem::private_key_bytes>& private_key) const noexcept {
        write_header(out.data(), 1, id_);
        std::span<byte, at::public_key_bytes> const key(out.data() + at::content, at::public_key_bytes);
        return kem.generate(key, private_key, seed_);
    }
    static void write_header(byte* to, byte kind, bytes_view id) noexcept {
        to[at::kind] = kind;
        to[at::version] = 1;
        to[at::algorithm] = 1;
        to[at::algorithm + 1] = 0;
        std::memcpy(to + at::id, id.data(), at::id_bytes);
    }
    static bool is_header(bytes_view message, byte kind, std::size_t size) noexcept {
        return message.size() >= size && message[at::kind] == kind && message[at::version] == 1 &&
               message[at::algorithm] == 1 && message[at::algorithm + 1] == 0;
    }

    /// The new preshared key, and the tag that proves to the initiator that both ends have it.
    template <hash_backend Hash>
    static void derive(Hash const& hash, secret<key_bytes> const& exported, secret<at::secret_bytes> const& shared,
                       key_view initiator, key_view responder, bytes_view offer, bytes_view answer,
                       secret<key_bytes>& key, secret<key_bytes>& tag) noexcept {
        secret<4 * key_bytes> context{not_zeroed{}}; // both static keys and the digests of both messages
        byte* const to = context.expose().data();
        std::memcpy(to, initiator.data(), key_bytes);
        std::memcpy(to + key_bytes, responder.data(), key_bytes);
        hash.blake2s({to + 2 * key_bytes, key_bytes}, {}, offer, {});
        hash.blake2s({to + 3 * key_bytes, key_bytes}, {}, answer, {});
        key.assign(exported);
        kdf_into(hash, key, shared.expose().data(), at::secret_bytes);
        kdf_into(hash, key, to, 4 * key_bytes, &tag);
    }

    bool offering_ = false;
    byte_array<at::id_bytes> id_{};
    secret<at::seed_bytes> seed_;      ///< of the offer's key pair
    secret<at::random_bytes> answers_; ///< from which the encapsulations of answers follow; zero: not chosen yet
};

}} // namespace wg::WG_ABI

#endif
