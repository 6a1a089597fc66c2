// SPDX-License-Identifier: BSL-1.0
// Configuration of a device: applies all changes of a list or none, and reports the present settings. Folder: device;
// guarded by the device's lock.
#ifndef WG_DEVICE_SETTINGS_HPP
#define WG_DEVICE_SETTINGS_HPP

#include "../base/tai64n.hpp"
#include "configuration.hpp"
#include "exchanges.hpp"
#include "plan.hpp"
#include "ratchets.hpp"
#include "state.hpp"

namespace wg { inline namespace WG_ABI {

/// The part of a device that is configured. An object is made for one call of the device; it collects DH operations of
/// the call, to compute them together.
template <policies Policies> class settings {
    using state_type = device_state<Policies>;
    using peer_type = typename state_type::peer_type;
    using storage = typename Policies::storage;

public:
    /// `state` outlives the object; the caller holds its lock.
    explicit settings(state_type& state) noexcept : state_(state) {}

    /// Checks `changes`, and takes the memory for them. Returns: ok, invalid, not_supported, too_many_peers, no_memory.
    status admit(std::span<change const> changes) noexcept {
        if (status const why = check_changes(changes); why != status::ok) return why;
        if (status const why = check_ratchets(changes); why != status::ok) return why;
        if constexpr (!policies_with_exchange<Policies>)
            for (change const& c : changes)
                if (c.what() == change::kind::exchange && c.number() != 0) return status::not_supported;
        if constexpr (storage::max_peers == 0) {
            plan::hashed_keys<storage, 0> keys(state_.memory);
            if constexpr (storage::max_allowed_ips == 0) return admit<plan::bounded_prefixes>(changes, keys);
            else return admit<exact_prefixes>(changes, keys);
        } else if constexpr (state_type::linear &&
                             (is_linear(storage::max_allowed_ips) || storage::max_allowed_ips == 0)) {
            plan::linear_keys<storage::max_peers> keys;
            return admit<exact_prefixes>(changes, keys);
        } else { // counting by value takes more of the stack; it is needed only if the upper bound does not fit
            plan::no_keys keys;
            status const why = admit<plan::bounded_prefixes>(changes, keys);
            if constexpr (storage::max_peers <= most_planned && storage::max_allowed_ips <= most_planned)
                if (why != status::ok) return admit_by_value(changes);
            return why;
        }
    }

    /// Applies changes that `admit` accepted.
    void apply(std::span<change const> changes) noexcept {
        for (change const& c : interface_changes(changes)) apply(c);
        for_each_peer(changes, [&](peer_changes const& of) noexcept { apply(of); });
        finish_static_static();
    }

    /// See `device::snapshot`.
    template <class Sink> void snapshot(Sink& sink) noexcept {
        sink.device(interface_facts{mine().private_key, state_.listen_port, state_.fwmark});
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) {
            peer_facts facts{p->key(), p->secrets->remote.preshared_key};
            facts.number = p->number;
            facts.endpoint = p->where.remote;
            if (load_be64(p->last_handshake.data()) != 0) {
                facts.last_handshake_s = unix_seconds_of(p->last_handshake);
                facts.last_handshake_ns = nanoseconds_of(p->last_handshake);
            }
            facts.tx_bytes = p->tx_bytes;
            facts.rx_bytes = p->rx_bytes;
            facts.persistent_keepalive_s = p->timers.persistent_keepalive_s();
            if constexpr (policies_with_ratchet<Policies>) {
                ratchet const& r = ratchets<Policies>::of(*p);
                facts.ratchet_s = r.epoch_s();
                facts.ratchet_epoch = r.confirmed() ? r.epoch() : 0;
            }
            if constexpr (policies_with_exchange<Policies>) {
                peer_exchange const& e = p->secrets->exchanged;
                facts.exchange = e.mode;
                facts.exchanges = e.finished;
                if (load_be64(e.since.data()) != 0) facts.exchanged_s = unix_seconds_of(e.since);
            }
            sink.peer(facts);
            state_.peers.allowed().for_each(*p, [&](ip_prefix const& prefix) { sink.allowed_ip(prefix); });
        }
    }

    /// See `device::set_private_key`.
    void set_first_private_key(key_view key) noexcept {
        WG_ASSERT(state_.peers.first() == nullptr);
        state_.own->private_key.assign(key);
        set_public_key();
    }

    /// See `device::add_peer`.
    status add(peer_settings const& of) noexcept {
        if (state_.peers.find(state_.with, of.key) != nullptr || equal_in_constant_time(of.key, mine().public_key))
            return status::invalid;
        peer_type* const p = state_.peers.add(state_.with, of.key);
        if (p == nullptr) return status::too_many_peers;
        begin(*p);
        finish_static_static();
        if (of.preshared_key != nullptr) p->secrets->remote.preshared_key.assign(*of.preshared_key);
        p->where.remote = of.endpoint.unmapped();
        p->timers.set_persistent_keepalive(of.persistent_keepalive_s);
        if (of.persistent_keepalive_s != 0 && state_.up) state_.want_keepalive(*p);
        for (ip_prefix const& prefix : of.allowed_ips)
            if (!state_.peers.allowed().insert(prefix, *p)) return status::no_memory;
        return status::ok;
    }

    /// See `device::add_peer`.
    status add(peer_settings const& of, std::uint32_t ratchet_s) noexcept
        requires policies_with_ratchet<Policies>
    {
        if (!is_epoch_length(ratchet_s)) return status::invalid;
        status const why = add(of);
        if (peer_type* const p = why == status::ok ? state_.peers.find(state_.with, of.key) : nullptr) {
            p->secrets->ratchet.wanted_s = ratchet_s;
            ratchets<Policies>::settle(state_, *p);
        }
        return why;
    }

    /// Computes the values that follow from the private key.
    void set_public_key() noexcept {
        mine().public_key = {};
        if (mine().exists()) {
            clamp(mine().private_key);
            state_.with.dh.dh_public(mine().public_key, mine().private_key);
        }
        state_.own->checker.set_public_key(state_.with, mine().public_key);
    }

private:
    static constexpr std::uint8_t most_early_initiations = 4; ///< between two that are sent after Rekey-Timeout

    identity& mine() noexcept { return state_.own->mine(); }

    /// Checks the changes of ratchets. Returns: not_supported without a `ratchet_storage`; invalid if a ratchet is to
    /// change that has wiped the configured key, and the key is not given again.
    status check_ratchets(std::span<change const> changes) noexcept {
        status why = status::ok;
        for_each_peer(changes, [&](peer_changes const& of) noexcept {
            change const* wanted = nullptr;
            bool has_key = false;
            for (change const& c : of.changes) {
                has_key |= c.what() == change::kind::preshared_key;
                if (c.what() == change::kind::ratchet) wanted = &c;
            }
            if (wanted == nullptr || of.remove) return;
            if constexpr (policies_with_ratchet<Policies>) {
                peer_type* const known = has_key ? nullptr : state_.peers.find(state_.with, of.key);
                if (known == nullptr) return;
                ratchet const& r = ratchets<Policies>::of(*known);
                if (r.confirmed() && r.epoch_s() != wanted->number()) why = status::invalid;
            } else if (wanted->number() != 0) {
                why = status::not_supported;
            }
        });
        return why;
    }

    /// A plan by value of more entries would take more than a megabyte of the stack.
    static constexpr std::size_t most_planned = 8192;

    /// The type that counts prefixes: by value, where their number is fixed.
    static auto prefixes_by_value() noexcept {
        constexpr std::size_t most = storage::max_allowed_ips;
        if constexpr (most == 0 || most > most_planned) return std::type_identity<plan::bounded_prefixes>{};
        else if constexpr (is_linear(most))
            return std::type_identity<plan::counted_prefixes<linear_allowed_ips<byte const, storage>, most>>{};
        else return std::type_identity<plan::counted_prefixes<plan::prefix_table<storage, most>, most>>{};
    }
    using exact_prefixes = typename decltype(prefixes_by_value())::type;
    [[gnu::noinline]] status admit_by_value(std::span<change const> changes) noexcept {
        plan::hashed_keys<storage, storage::max_peers> keys(state_.memory);
        return admit<exact_prefixes>(changes, keys);
    }

    template <class Prefixes, class Keys> status admit(std::span<change const> changes, Keys& keys) noexcept {
        bool replace = false;
        for (change const& c : interface_changes(changes)) replace |= c.what() == change::kind::replace_peers;
        auto& allowed = state_.peers.allowed();
        plan::tally peers{replace ? state_.peers.in_flight() : state_.peers.size()};
        Prefixes prefixes(state_.memory);
        prefixes.begin(allowed, replace ? nullptr : state_.peers.first());
        public_key const own = own_key_after(changes);
        status why = status::ok;
        bool marked = false;
        // Marks a peer, so that later changes find it removed.
        auto const remove = [&](peer_type& known) noexcept {
            marked = known.counted_as_removed = true;
            (void)prefixes.remove_all(allowed, *known.key().data(), &known);
            if (known.in_flight == 0) peers.drop(1); // else a shell of it stays
        };
        bool const has_own = own != public_key{};
        if (!replace && has_own && own != mine().public_key)
            if (peer_type* const self = state_.peers.find(state_.with, own)) remove(*self);
        for_each_peer(changes, [&](peer_changes const& of) noexcept {
            if (why != status::ok) return;
            std::uint64_t const hash = hash_of(of.key);
            peer_type* known = replace ? nullptr : find(hash, of.key);
            if (known != nullptr && known->counted_as_removed) known = nullptr;
            byte const* owner = known != nullptr ? known->key().data() : keys.find(hash, of.key);
            if (of.remove) {
                if (known != nullptr) return remove(*known);
                if (owner == nullptr) return;
                (void)prefixes.remove_all(allowed, *owner, known);
                keys.remove(hash, of.key);
                return peers.drop(1);
            }
            if (owner == nullptr) {
                if ((of.update_only && Keys::exact) || (has_own && of.key_is(own))) return;
                owner = of.key.data();
                if (!of.update_only) {
                    if (!keys.add(hash, of.key))
                        why = storage::max_peers != 0 ? status::too_many_peers : status::no_memory;
                    peers.add();
                }
            } else if (of.replace_allowed_ips) {
                marked |= prefixes.remove_all(allowed, *owner, known);
            }
            for (change const& c : of.changes) {
                if (c.what() == change::kind::remove_allowed_ip) prefixes.remove(c.prefix(), *owner);
                if (c.what() != change::kind::allowed_ip || prefixes.insert(allowed, c.prefix(), *owner, known))
                    continue;
                why = status::no_memory;
                break;
            }
        });
        if (marked) unmark(changes, own);
        if (why != status::ok) return why;
        if (!allowed.reserve(prefixes.added(family::v4), prefixes.most(family::v4), prefixes.added(family::v6),
                             prefixes.most(family::v6)))
            return status::no_memory;
        return state_.peers.reserve(peers.added, peers.most);
    }

    /// Removes the marks of `admit`.
    void unmark(std::span<change const> changes, key_view own) noexcept {
        auto const clear = [&](key_view key) noexcept {
            if (peer_type* const known = state_.peers.find(state_.with, key))
                known->counted_as_removed = known->prefixes_counted_as_removed = false;
        };
        clear(own);
        for_each_peer(changes, [&](peer_changes const& of) noexcept { clear(of.key); });
    }

    std::uint64_t hash_of([[maybe_unused]] key_view key) const noexcept {
        if constexpr (state_type::linear) return 0;
        else return state_.peers.hash_of(state_.with, key);
    }
    peer_type* find([[maybe_unused]] std::uint64_t hash, key_view key) noexcept {
        if constexpr (state_type::linear) return state_.peers.find(state_.with, key);
        else return state_.peers.find_hashed(hash, key);
    }

    /// The device's public key after the changes; all zero: none.
    public_key own_key_after(std::span<change const> changes) noexcept {
        public_key own = mine().public_key;
        for (change const& c : interface_changes(changes)) {
            if (c.what() != change::kind::private_key) continue;
            secret<key_bytes> fresh(c.key());
            own = {};
            if (fresh.is_zero()) continue;
            clamp(fresh);
            state_.with.dh.dh_public(own, fresh);
        }
        return own;
    }

    /// Makes the host choose new source addresses.
    void forget_sources() noexcept {
        for (peer_type* p = state_.peers.first(); p != nullptr; p = p->next) p->where.local = {};
    }

    void apply(change const& c) noexcept {
        switch (c.what()) {
        case change::kind::private_key: set_private_key(c.key()); break;
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
        default: break; // changes of peers
        }
    }

    void apply(peer_changes const& of) noexcept {
        peer_type* p = state_.peers.find(state_.with, of.key);
        if (of.remove) {
            if (p != nullptr) remove(*p);
            return;
        }
        if (p == nullptr) {
            bool const own = mine().exists() && equal_in_constant_time(of.key, mine().public_key);
            if (of.update_only || own) return; // an interface is no peer of its own; this is no error
            p = state_.peers.add(state_.with, of.key);
            if (p == nullptr) return state_.count(status::no_memory, nullptr); // does not happen after `admit`
            begin(*p);
        }
        if (of.replace_allowed_ips) state_.peers.allowed().remove_all(*p);
        for (change const& c : of.changes) apply(c, *p);
        if constexpr (policies_with_ratchet<Policies>) ratchets<Policies>::settle(state_, *p);
        if (!p->staged.empty() || p->wants_keepalive) state_.enqueue_for_transmit(*p);
    }

    void apply(change const& c, peer_type& p) noexcept {
        switch (c.what()) {
        //= linux: a preshared key counts from the next handshake on
        case change::kind::preshared_key: set_preshared_key(p, c.key()); break;
        case change::kind::endpoint:
            if (p.where.remote == c.where()) break;
            p.where = {c.where(), {}};
            initiate_at_new_endpoint(p);
            break;
        case change::kind::persistent_keepalive: {
            bool const begins = p.timers.persistent_keepalive_s() == 0 && c.number() != 0;
            p.timers.set_persistent_keepalive(static_cast<std::uint16_t>(c.number()));
            if (begins && state_.up) state_.want_keepalive(p);
            break;
        }
        case change::kind::allowed_ip:
            if (!state_.peers.allowed().insert(c.prefix(), p)) state_.count(status::no_memory, &p); // as above
            break;
        case change::kind::remove_allowed_ip: state_.peers.allowed().remove(c.prefix(), p); break;
        case change::kind::ratchet:
            if constexpr (policies_with_ratchet<Policies>) p.secrets->ratchet.wanted_s = c.number();
            break;
        case change::kind::exchange:
            if constexpr (policies_with_exchange<Policies>)
                exchanges<Policies>::set_mode(state_, p, static_cast<post_quantum>(c.number()));
            break;
        default: break; // `for_each_peer` has handled the others
        }
    }

    void set_preshared_key(peer_type& p, key_view key) noexcept {
        secret<key_bytes>& configured = p.secrets->remote.preshared_key;
        if constexpr (policies_with_exchange<Policies>) {
            bool differs = !equal_in_constant_time(configured.expose(), key);
            if constexpr (policies_with_ratchet<Policies>) // it has wiped the configured key
                differs &= !ratchets<Policies>::of(p).active();
            if (differs) exchanges<Policies>::forget(state_, p);
        }
        configured.assign(key);
    }

    /// Sends an initiation to a new endpoint at once, because the one to the old endpoint may never be answered.
    /// Rekey-Timeout protects an endpoint from initiations, and the new one has had none. The number of early
    /// initiations is limited; after that, changes of the endpoint wait for Rekey-Timeout.
    void initiate_at_new_endpoint(peer_type& p) noexcept {
        if (!p.timers.awaits_response() || p.early_initiations == most_early_initiations) return;
        ++p.early_initiations;
        p.may_initiate_at = {};
        state_.want_initiation(p);
    }

    /// Prepares a new peer before it is configured.
    void begin(peer_type& fresh) noexcept {
        compute_static_static(fresh);
        if constexpr (!compact) fresh.last_label = state_.last_label;
        if constexpr (policies_with_ratchet<Policies>) fresh.secrets->ratchet.wanted_s = state_.ratchet_s;
        state_.report(event_id::peer_added, &fresh);
    }

    void remove(peer_type& gone) noexcept {
        finish_static_static(); // it may refer to the secrets of `gone`
        state_.report(event_id::peer_removed, &gone);
        state_.dequeue_for_transmit(gone);
        if constexpr (!compact)
            if (std::memcmp(gone.last_label.data(), state_.last_label.data(), timestamp_bytes) > 0)
                state_.last_label = gone.last_label;
        state_.staged.drop_all(gone.staged);
        state_.end_exchange(gone);
        state_.peers.remove(state_.with, gone);
    }

    //= linux: a new private key takes effect at once: sessions send no more, but receive what is under way
    void set_private_key(key_view key) noexcept {
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
            state_.peers.forget(p->exchange());
            p->may_initiate_at = {};
            if (p->keypairs.current != nullptr) p->keypairs.current->may_send = false;
            if (p->keypairs.next != nullptr) p->keypairs.next->may_send = false;
            if (!p->staged.empty()) state_.enqueue_for_transmit(*p);
        }
        finish_static_static();
    }

    // The DH of both static keys is computed once for each peer. Several are computed together, before the call ends.

    void compute_static_static(peer_type& p) noexcept {
        if constexpr (at_once == 1) {
            remote_identity& remote = p.secrets->remote;
            if (!mine().exists() ||
                !state_.with.dh.dh(remote.static_static, state_.own->private_key, remote.public_key))
                remote.static_static.clear(); // a key of low order: no messages pass to or from this peer
        } else {
            waiting_.peers[waiting_.count++] = &p;
            if (waiting_.count == at_once) finish_static_static();
        }
    }
    void finish_static_static() noexcept {
        if constexpr (at_once != 1) {
            std::size_t const count = (std::min)(std::exchange(waiting_.count, 0), at_once); // g++ sees no other bound
            if (count == 0) return;
            std::array<dh_item, at_once> items;
            for (std::size_t i = 0; i < count; ++i) {
                remote_identity& remote = waiting_.peers[i]->secrets->remote;
                items[i] = {&remote.static_static, &state_.own->private_key, remote.public_key, false};
            }
            if (mine().exists()) dh_all(state_.with.dh, std::span(items).first(count));
            for (std::size_t i = 0; i < count; ++i)
                if (!items[i].good) items[i].out->clear(); // a key of low order: no messages pass to or from this peer
        }
    }

    static constexpr std::size_t at_once = batch_size<batch_dh_backend<typename Policies::dh>>(8);
    struct static_statics {
        std::array<peer_type*, at_once> peers{};
        std::size_t count = 0;
    };

    state_type& state_;
    [[no_unique_address]] std::conditional_t<at_once == 1, empty_member<1>, static_statics> waiting_{};
};

}} // namespace wg::WG_ABI

#endif
