// SPDX-License-Identifier: BSL-1.0
// Configuration of a device: all changes of a list or none, and capacities of static storage.
#include "fixture.hpp"

#include <ctime>

BOOST_AUTO_TEST_SUITE(device_configuration)

using namespace wg_tests;
using wg::change;
using wg::status;

BOOST_AUTO_TEST_CASE(snapshot_reports_the_configuration) {
    world w;
    host a(w, 1);
    buffer const psk = noise(4).take(32);
    wg::endpoint const where{wg::ip_address::v4(1, 2, 3, 4), 5, 0};
    BOOST_TEST(a.configure(change::fwmark(7), change::listen_port(1234), change::peer(numbered_key(1)),
                           change::preshared_key(fixed<32>(psk)), change::endpoint(where),
                           change::persistent_keepalive(25), change::allowed_ip(prefix_v4(5, 24)),
                           change::allowed_ip(prefix_v6(5, 64)), change::allowed_ip(prefix_v4(5, 24)),
                           change::peer(numbered_key(2))) == status::ok);
    auto const one = a.report(numbered_key(1)), two = a.report(numbered_key(2));
    BOOST_TEST(one.found);
    BOOST_TEST(one.endpoint == where);
    BOOST_TEST(one.persistent_keepalive_s == 25);
    BOOST_TEST(one.preshared_key == psk);
    BOOST_TEST((one.allowed_ips == std::vector{prefix_v4(0, 24), prefix_v6(0, 64)}));
    BOOST_TEST(one.last_handshake_s == 0);
    BOOST_TEST(two.found);
    BOOST_TEST(!two.endpoint);
    BOOST_TEST(two.allowed_ips.empty());
    BOOST_TEST(two.preshared_key == buffer(32));
    BOOST_TEST(!a.report(numbered_key(3)).found);
    BOOST_TEST(a.device.fwmark() == 7u);
    BOOST_TEST(a.device.listen_port() == 1234);
}

//= linux: an allowed IP that is given to another peer moves there
BOOST_AUTO_TEST_CASE(moves_allowed_ip_to_the_peer_that_is_given_it) {
    world w;
    host a(w, 1);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(0, 24)),
                           change::allowed_ip(prefix_v4(7))) == status::ok);
    BOOST_TEST(a.configure(change::peer(numbered_key(2)), change::allowed_ip(prefix_v4(7))) == status::ok);
    BOOST_TEST((a.report(numbered_key(1)).allowed_ips == std::vector{prefix_v4(0, 24)}));
    BOOST_TEST((a.report(numbered_key(2)).allowed_ips == std::vector{prefix_v4(7)}));
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::remove_allowed_ip(prefix_v4(7))) ==
               status::ok); // owned by the other peer
    BOOST_TEST((a.report(numbered_key(2)).allowed_ips == std::vector{prefix_v4(7)}));
    BOOST_TEST(a.configure(change::peer(numbered_key(2)), change::remove_allowed_ip(prefix_v4(7))) == status::ok);
    BOOST_TEST(a.report(numbered_key(2)).allowed_ips.empty());
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::replace_allowed_ips(),
                           change::allowed_ip(prefix_v6(1))) == status::ok);
    BOOST_TEST((a.report(numbered_key(1)).allowed_ips == std::vector{prefix_v6(1)}));
}

BOOST_AUTO_TEST_CASE(update_only_ignores_unknown_peers) {
    world w;
    host a(w, 1);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::update_only(), change::allowed_ip(prefix_v4(1)),
                           change::peer(numbered_key(2))) == status::ok);
    BOOST_TEST(!a.report(numbered_key(1)).found);
    BOOST_TEST(a.configure(change::peer(numbered_key(2)), change::update_only(), change::allowed_ip(prefix_v4(1))) ==
               status::ok);
    BOOST_TEST(a.report(numbered_key(2)).allowed_ips.size() == 1u);
    BOOST_TEST(a.configure(change::peer(numbered_key(9)), change::remove_peer()) == status::ok); // an unknown peer
    BOOST_TEST(a.configure(change::replace_peers(), change::peer(numbered_key(3))) == status::ok);
    BOOST_TEST(a.device.peer_count() == 1u);
    BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(1), 60)) == status::no_peer);
}

BOOST_AUTO_TEST_CASE(refused_configuration_changes_nothing) {
    world w;
    host a(w, 1);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(1))) == status::ok);
    wg::ip_prefix bad = prefix_v4(2);
    bad.bits = 33;
    BOOST_TEST(a.configure(change::fwmark(9), change::replace_peers(), change::peer(numbered_key(2)),
                           change::allowed_ip(bad)) == status::invalid);
    BOOST_TEST(a.device.fwmark() == 0u);
    BOOST_TEST(a.report(numbered_key(1)).allowed_ips.size() == 1u);
    BOOST_TEST(!a.report(numbered_key(2)).found);
}

BOOST_AUTO_TEST_CASE(refuses_more_peers_than_static_storage_holds) {
    world w;
    static_host a(w, 1);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::peer(numbered_key(2)),
                           change::peer(numbered_key(3))) == status::too_many_peers);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::peer(numbered_key(2))) == status::ok);
    BOOST_TEST(a.configure(change::fwmark(3), change::peer(numbered_key(3))) == status::too_many_peers);
    BOOST_TEST(a.device.fwmark() == 0u);
    BOOST_TEST(a.configure(change::replace_peers(), change::peer(numbered_key(3)), change::peer(numbered_key(4))) ==
               status::ok);
    BOOST_TEST(a.report(numbered_key(4)).found);
    for (unsigned i = 5; i < 50; ++i)
        BOOST_TEST(a.configure(change::replace_peers(), change::peer(numbered_key(i))) == status::ok);
    BOOST_TEST(a.device.peer_count() == 1u);
}

BOOST_AUTO_TEST_CASE(removed_peer_with_job_in_flight_keeps_its_place_in_static_storage) {
    basic_pair<static_policies> p;
    BOOST_TEST(p.a.configure(change::peer(numbered_key(5))) == status::ok); // now there are two peers
    p.connect();
    auto const f = p.a.prepare(ipv4(p.a, p.b, 100));
    BOOST_TEST_REQUIRE((f->job.owner != nullptr));
    status const why =
        p.a.configure(change::replace_peers(), change::peer(numbered_key(6)), change::peer(numbered_key(7)));
    // accepted or refused, it is all or nothing
    if (why == status::ok) BOOST_TEST((p.a.report(numbered_key(6)).found && p.a.report(numbered_key(7)).found));
    else
        BOOST_TEST((p.a.report(p.b.public_key).found && p.a.report(numbered_key(5)).found &&
                    !p.a.report(numbered_key(6)).found));
    p.a.complete(*f);
    BOOST_TEST(p.a.configure(change::replace_peers(), change::peer(numbered_key(6)), change::peer(numbered_key(7))) ==
               status::ok);
    BOOST_TEST((p.a.report(numbered_key(6)).found && p.a.report(numbered_key(7)).found));
}

BOOST_AUTO_TEST_CASE(refuses_more_allowed_ips_than_static_storage_holds) {
    world w;
    static_host a(w, 1);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(1)),
                           change::allowed_ip(prefix_v4(2)), change::allowed_ip(prefix_v4(3)),
                           change::allowed_ip(prefix_v4(4)), change::allowed_ip(prefix_v4(5))) == status::no_memory);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(1)),
                           change::allowed_ip(prefix_v4(2)), change::allowed_ip(prefix_v4(3)),
                           change::allowed_ip(prefix_v4(4)), change::allowed_ip(prefix_v6(1)),
                           change::allowed_ip(prefix_v6(2))) == status::ok);
    BOOST_TEST(a.configure(change::peer(numbered_key(2)), change::allowed_ip(prefix_v4(6))) == status::no_memory);
    BOOST_TEST(!a.report(numbered_key(2)).found);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::replace_allowed_ips(),
                           change::allowed_ip(prefix_v4(7)), change::allowed_ip(prefix_v4(8))) == status::ok);
    BOOST_TEST(a.dropped(status::no_memory) == 0u);
}

namespace {

/// A fixed capacity that is too large for a linear search.
struct twenty_peers : wg::small_capacity {
    static constexpr std::size_t max_peers = 20;
    static constexpr std::size_t max_allowed_ips = 20;
};

/// A plain model of a device. Changes are applied one by one.
struct model {
    struct peer {
        unsigned number;
        std::vector<wg::ip_prefix> allowed;
    };
    std::vector<peer> peers;
    std::size_t most_peers = 0, most_v4 = 0, most_v6 = 0;

    peer* find(unsigned number) {
        for (peer& p : peers)
            if (p.number == number) return &p;
        return nullptr;
    }
    void remove_from_all(wg::ip_prefix const& prefix) {
        for (peer& p : peers) std::erase(p.allowed, prefix);
    }
    void count() {
        std::size_t four = 0, six = 0;
        for (peer const& p : peers)
            for (wg::ip_prefix const& x : p.allowed) ++(x.address.kind == wg::family::v4 ? four : six);
        most_peers = std::max(most_peers, peers.size());
        most_v4 = std::max(most_v4, four);
        most_v6 = std::max(most_v6, six);
    }
};

/// Applies random configurations to a device and to the model. About half of them fit.
template <class Capacity> void compare_with_model(std::uint64_t seeds) {
    using host_type = basic_host<policies_with<wg::static_storage<Capacity>>>;
    std::size_t fitting = 0, refused = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
        world w;
        auto const a = std::make_unique<host_type>(w, 1u);
        noise random(seed);
        auto const below = [&](std::uint64_t n) { return static_cast<unsigned>(random.next() % n); };
        model now;
        for (int step = 0; step < 4; ++step) {
            model next = now;
            next.most_peers = next.most_v4 = next.most_v6 = 0;
            std::vector<change> list;
            if (below(4) == 0) {
                list.push_back(change::replace_peers());
                next.peers.clear();
            }
            next.count();
            for (unsigned section = 0, count = below(2 * Capacity::max_peers + 3); section < count; ++section) {
                // Number 0 is the device itself, which is no peer of its own.
                unsigned const number = below(Capacity::max_peers + 2);
                bool const remove = below(4) == 0, only = below(4) == 0, replace = below(3) == 0;
                list.push_back(change::peer(number == 0 ? a->public_key : numbered_key(number)));
                if (only) list.push_back(change::update_only());
                if (remove) list.push_back(change::remove_peer());
                if (remove) std::erase_if(next.peers, [&](model::peer const& p) { return p.number == number; });
                if (!remove && next.find(number) == nullptr && !only && number != 0) next.peers.push_back({number, {}});
                next.count();
                model::peer* p = remove ? nullptr : next.find(number);
                if (replace) list.push_back(change::replace_allowed_ips());
                if (replace && p != nullptr) p->allowed.clear();
                for (unsigned i = below(Capacity::max_allowed_ips / 2 + 3); i > 0; --i) {
                    wg::ip_prefix const prefix = below(4) == 0 ? prefix_v6(below(Capacity::max_allowed_ips + 3))
                                                               : prefix_v4(below(Capacity::max_allowed_ips + 3));
                    bool const add = below(4) != 0;
                    list.push_back(add ? change::allowed_ip(prefix) : change::remove_allowed_ip(prefix));
                    if (p == nullptr) continue;
                    if (add) {
                        next.remove_from_all(prefix);
                        p->allowed.push_back(prefix);
                    } else {
                        std::erase(p->allowed, prefix);
                    }
                    next.count();
                }
            }
            bool const fits = next.most_peers <= Capacity::max_peers && next.most_v4 <= Capacity::max_allowed_ips &&
                              next.most_v6 <= Capacity::max_allowed_ips;
            status const why = a->device.configure(list, w.now);
            BOOST_TEST_REQUIRE((why == status::ok) == fits, "seed " << seed << " step " << step << ": " << why);
            if (fits) now = next;
            ++(fits ? fitting : refused);
            BOOST_TEST_REQUIRE(a->dropped(status::no_memory) == 0u);
            BOOST_TEST_REQUIRE(a->device.peer_count() == now.peers.size());
            for (model::peer const& p : now.peers) {
                auto told = a->report(numbered_key(p.number)).allowed_ips;
                BOOST_TEST_REQUIRE(told.size() == p.allowed.size(), "seed " << seed);
                for (wg::ip_prefix const& x : p.allowed)
                    BOOST_TEST_REQUIRE((std::find(told.begin(), told.end(), x) != told.end()));
            }
        }
    }
    BOOST_TEST(fitting > seeds / 4);
    BOOST_TEST(refused > seeds / 4);
}
} // namespace
BOOST_AUTO_TEST_CASE(static_storage_refuses_exactly_the_configurations_that_do_not_fit) {
    compare_with_model<two_peers>(1500);
    compare_with_model<twenty_peers>(300);
}

BOOST_AUTO_TEST_CASE(counts_repeated_peers_and_prefixes_once) {
    world w;
    static_host a(w, 1);
    BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::peer(numbered_key(2)), change::peer(numbered_key(1)),
                           change::peer(numbered_key(2)), change::allowed_ip(prefix_v4(1)),
                           change::allowed_ip(prefix_v4(1)), change::allowed_ip(prefix_v4(1)),
                           change::allowed_ip(prefix_v4(1)), change::allowed_ip(prefix_v4(1))) == status::ok);
    BOOST_TEST(a.device.peer_count() == 2u);
}

/// The time grows with the number of unknown peers, not with its square: once 200,000 peers took minutes.
BOOST_AUTO_TEST_CASE(ignores_200000_unknown_update_only_peers_in_linear_time) {
    world w;
    host a(w, 1);
    std::vector<change> list;
    for (unsigned i = 0; i < 200'000; ++i) {
        wg::public_key k{};
        wg::store_be32(k.data(), i);
        k[31] = 1;
        list.push_back(change::peer(k));
        list.push_back(change::update_only());
    }
    std::clock_t const begin = std::clock();
    BOOST_TEST(a.device.configure(list, w.now) == status::ok);
    BOOST_TEST((std::clock() - begin) / CLOCKS_PER_SEC < 20);
    BOOST_TEST(a.device.peer_count() == 0u);
}

/// Peers leave the transmit queue in any order.
BOOST_AUTO_TEST_CASE(removes_peers_with_pending_messages_in_any_order) {
    world w;
    host a(w, 1);
    std::vector<change> add, remove;
    constexpr unsigned count = 20'000;
    for (unsigned i = 0; i < count; ++i) {
        wg::public_key k{}, last{};
        wg::store_be32(k.data(), i);
        wg::store_be32(last.data(), count - 1 - i);
        k[31] = last[31] = 1;
        add.push_back(change::peer(k));
        add.push_back(change::endpoint({wg::ip_address::v4(198, 51, 100, 1), 9, 0}));
        add.push_back(change::persistent_keepalive(25));
        remove.push_back(change::peer(last));
        remove.push_back(change::remove_peer());
    }
    BOOST_TEST(a.device.configure(add, w.now) == status::ok);
    std::clock_t const begin = std::clock();
    BOOST_TEST(a.device.configure(remove, w.now) == status::ok);
    BOOST_TEST((std::clock() - begin) / CLOCKS_PER_SEC < 5);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST((a.device.next_deadline() == wg::instant::never()));
}

/// Changes are applied in order: a prefix that is removed later still takes room before that.
BOOST_AUTO_TEST_CASE(applies_changes_in_order_when_allowed_ips_are_full) {
    auto const check = [](auto&&... changes) {
        world w;
        static_host a(w, 1);
        BOOST_TEST(a.configure(change::peer(numbered_key(1)), change::peer(numbered_key(2)),
                               change::allowed_ip(prefix_v4(1)), change::allowed_ip(prefix_v4(2)),
                               change::allowed_ip(prefix_v4(3)), change::allowed_ip(prefix_v4(4))) == status::ok);
        auto const one = a.report(numbered_key(1)).allowed_ips, two = a.report(numbered_key(2)).allowed_ips;
        status const why = a.configure(std::move(changes)...);
        if (why == status::ok) BOOST_TEST(a.dropped(status::no_memory) == 0u);
        else BOOST_TEST((a.report(numbered_key(1)).allowed_ips == one && a.report(numbered_key(2)).allowed_ips == two));
        return why;
    };
    // added before the other peer's prefixes are removed
    BOOST_TEST(check(change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(5)), change::allowed_ip(prefix_v4(6)),
                     change::allowed_ip(prefix_v4(7)), change::allowed_ip(prefix_v4(8)), change::peer(numbered_key(2)),
                     change::replace_allowed_ips()) == status::no_memory);
    // moved first, so that fewer are removed later
    BOOST_TEST(check(change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(1)), change::allowed_ip(prefix_v4(2)),
                     change::peer(numbered_key(2)), change::replace_allowed_ips(), change::allowed_ip(prefix_v4(5)),
                     change::allowed_ip(prefix_v4(6)), change::allowed_ip(prefix_v4(7)),
                     change::allowed_ip(prefix_v4(8))) == status::no_memory);
    // removed first
    BOOST_TEST(check(change::peer(numbered_key(2)), change::replace_allowed_ips(), change::peer(numbered_key(1)),
                     change::allowed_ip(prefix_v4(5)), change::allowed_ip(prefix_v4(6)),
                     change::allowed_ip(prefix_v4(7)), change::allowed_ip(prefix_v4(8))) == status::ok);
}

BOOST_AUTO_TEST_CASE(admit_predicts_configure_and_changes_nothing) {
    world w;
    static_host a(w, 1);
    change const good[] = {change::peer(numbered_key(1)), change::allowed_ip(prefix_v4(1))};
    change const bad[] = {change::peer(numbered_key(1)), change::peer(numbered_key(2)), change::peer(numbered_key(3))};
    BOOST_TEST(a.device.admit(good) == status::ok);
    BOOST_TEST(a.device.peer_count() == 0u);
    BOOST_TEST(a.device.admit(bad) == status::too_many_peers);
    BOOST_TEST(a.device.configure(good, w.now) == status::ok);
}

BOOST_AUTO_TEST_CASE(adds_and_removes_a_thousand_peers) {
    world w;
    host a(w, 1);
    for (int round = 0; round < 3; ++round) {
        for (unsigned i = 0; i < 1000; ++i)
            BOOST_TEST(a.configure(change::peer(numbered_key(i)), change::allowed_ip(prefix_v4(i)),
                                   change::allowed_ip(prefix_v6(i))) == status::ok);
        BOOST_TEST(a.device.peer_count() == 1000u);
        for (unsigned i = 0; i < 1000; i += 2)
            BOOST_TEST(a.configure(change::peer(numbered_key(i)), change::remove_peer()) == status::ok);
        for (unsigned i = 0; i < 1000; ++i) BOOST_TEST(a.report(numbered_key(i)).found == (i % 2 == 1));
        BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(100), 60)) == status::no_peer);
        BOOST_TEST(a.send(inner_packet(a.v4, inner_v4(101), 60)) == status::no_endpoint);
        BOOST_TEST(a.configure(change::replace_peers()) == status::ok);
    }
}

BOOST_AUTO_TEST_SUITE_END()
