// SPDX-License-Identifier: BSL-1.0
// How a device is configured and what it tells of itself: all changes of a list, or none. Layer 4; guarded by the
// device's lock.
#ifndef WG_DEVICE_SETTINGS_HPP
#define WG_DEVICE_SETTINGS_HPP

#include "configuration.hpp"
#include "state.hpp"

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
    void apply(std::span<change const> changes) noexcept {
        for (change const& c : interface_changes(changes)) apply(c);
        for_each_peer(changes, [&](peer_changes const& of) noexcept { apply(of); });
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
        set_public_key();
    }

    /// See `device::add_peer`.
    status add(peer_settings const& of) noexcept {
        if (state_.peers.find(state_.with, of.key) != nullptr || equal_in_constant_time(of.key, mine().public_key))
            return status::invalid;
        peer_type* const p = state_.peers.add(state_.with, of.key);
        if (p == nullptr) return status::too_many_peers;
        begin(*p);
        if (of.preshared_key != nullptr) p->secrets->remote.preshared_key.assign(*of.preshared_key);
        p->where.remote = of.endpoint.unmapped();
        p->timers.set_persistent_keepalive(of.persistent_keepalive_s);
        if (of.persistent_keepalive_s != 0 && state_.up) state_.want_keepalive(*p);
        for (ip_prefix const& prefix : of.allowed_ips)
            if (!state_.peers.allowed().insert(prefix, *p)) return status::no_memory;
        return status::ok;
    }

    /// What follows from the private key.
    void set_public_key() noexcept {
        mine().public_key = {};
        if (mine().exists()) {
            clamp(mine().private_key);
            state_.with.dh.dh_public(mine().public_key, mine().private_key);
        }
        state_.own->checker.set_public_key(state_.with, mine().public_key);
    }

private:
    static constexpr std::uint64_t tai64n_epoch = 0x400000000000000aULL;
    static constexpr std::uint8_t most_early_initiations = 4; ///< between two that waited for Rekey-Timeout

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
            most = (std::max)(most, ++now);
        }
        void drop(std::size_t count) noexcept { now -= count; }
    };

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
        default: break; // those of peers
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
            if (of.update_only || own) return; // an interface is no peer of its own; nobody complains of that
            p = state_.peers.add(state_.with, of.key);
            if (p == nullptr) return state_.count(status::no_memory, nullptr); // not after admit
            begin(*p);
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
            if (!state_.peers.allowed().insert(c.prefix(), p)) state_.count(status::no_memory, &p); // not after admit
            break;
        case change::kind::remove_allowed_ip: state_.peers.allowed().remove(c.prefix(), p); break;
        default: break; // seen to before
        }
    }

    /// An initiation that is on its way to the old endpoint may never be answered, so one goes to the new endpoint at
    /// once. Rekey-Timeout protects an endpoint from initiations, and this one has had none. Whoever changes endpoints
    /// to and fro gets a few early initiations, and the next after Rekey-Timeout.
    void initiate_at_new_endpoint(peer_type& p) noexcept {
        if (!p.timers.awaits_response() || p.early_initiations == most_early_initiations) return;
        ++p.early_initiations;
        p.may_initiate_at = {};
        state_.want_initiation(p);
    }

    /// What a new peer needs before it is configured.
    void begin(peer_type& fresh) noexcept {
        compute_static_static(fresh);
#ifndef WG_COMPACT
        fresh.last_label = state_.last_label;
#endif
        state_.report(event_id::peer_added, &fresh);
    }

    void remove(peer_type& gone) noexcept {
        state_.report(event_id::peer_removed, &gone);
        state_.dequeue_for_transmit(gone);
#ifndef WG_COMPACT
        if (std::memcmp(gone.last_label.data(), state_.last_label.data(), timestamp_bytes) > 0)
            state_.last_label = gone.last_label;
#endif
        state_.staged.drop_all(gone.staged);
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
