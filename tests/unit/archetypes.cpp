// SPDX-License-Identifier: BSL-1.0
// A device and an engine of the smallest models, with every member instantiated.
#include "wg/fwd.hpp"

// As in a header of a program: the bundle is incomplete, and so is the engine.
struct forward_declared_bundle;
wg::status bring_up(wg::engine<forward_declared_bundle>& engine);

#include "../archetypes.hpp"

#include "wg/device/device.hpp"
#include "wg/engine/engine.hpp"
#include "wg/os/os.hpp"

#include <boost/test/unit_test.hpp>

struct forward_declared_bundle : archetypes::engine_bundle {};
wg::status bring_up(wg::engine<forward_declared_bundle>& engine) { return engine.up(); }

template class wg::device<archetypes::bundle>;
template class wg::device<archetypes::batch_bundle>;
template class wg::engine<archetypes::engine_bundle>;

struct ratchet_bundle : archetypes::engine_bundle {
    using ratchet_storage = archetypes::ratchet_records;
};
template class wg::device<ratchet_bundle>;
template class wg::engine<ratchet_bundle>;

#ifdef __linux__
// Linux has every optional member. A member that was renamed on one side only would not be an error, but be ignored.
static_assert(wg::tun_device_with_settle<wg::os::tun> && wg::tun_device_with_share<wg::os::tun>);
static_assert(wg::tun_device_with_has_more_for_others<wg::os::tun> && wg::tun_device_with_sparse_packets<wg::os::tun>);
static_assert(wg::tun_device_with_longest_cut<wg::os::tun>);
static_assert(wg::udp_socket_with_set_fwmark<wg::os::udp> && wg::udp_socket_with_share<wg::os::udp>);
static_assert(wg::udp_socket_with_separate_handshakes<wg::os::udp>);
static_assert(wg::udp_socket_with_handshakes_ready<wg::os::udp>);
static_assert(wg::waiter_with_busy_poll<wg::os::waiter>);
static_assert(wg::threads_with_cell<wg::os::threads> && wg::threads_with_thread<wg::os::threads>);
static_assert(wg::threads_with_give_way<wg::os::threads>);
#endif

BOOST_AUTO_TEST_SUITE(archetypes_suite)

BOOST_AUTO_TEST_CASE(device_takes_policies_in_any_order_and_default_constructs_the_others) {
    wg::device<archetypes::bundle> device(archetypes::storage{}, archetypes::clock{}, archetypes::hash{});
    wg::public_key const somebody = {1};
    wg::change const changes[] = {wg::change::peer(somebody)};
    BOOST_TEST((device.configure(changes, wg::instant{}) == wg::status::ok));
    BOOST_TEST(device.peer_count() == 1u);
}

BOOST_AUTO_TEST_CASE(engine_of_the_smallest_models_runs) {
    wg::device<archetypes::engine_bundle> device;
    archetypes::tun tun;
    archetypes::udp udp;
    archetypes::waiter waiter;
    wg::engine<archetypes::engine_bundle> engine(device, tun, udp);
    BOOST_TEST((engine.up() == wg::status::ok));
    BOOST_TEST(engine.is_up());
    BOOST_TEST((engine.run_once(waiter.wait(engine.next_deadline())) == wg::status::ok));
    engine.down();
    BOOST_TEST(!device.is_up());
}

BOOST_AUTO_TEST_CASE(engine_can_be_declared_before_its_bundle_is_complete) {
    wg::device<forward_declared_bundle> device;
    archetypes::tun tun;
    archetypes::udp udp;
    wg::engine<forward_declared_bundle> engine(device, tun, udp);
    BOOST_TEST((bring_up(engine) == wg::status::ok));
}

BOOST_AUTO_TEST_SUITE_END()
