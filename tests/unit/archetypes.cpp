// SPDX-License-Identifier: BSL-1.0
// A device and an engine of the smallest models, with every member instantiated.
#include "../archetypes.hpp"

#include "wg/device/device.hpp"
#include "wg/engine/engine.hpp"

#include <boost/test/unit_test.hpp>

template class wg::device<archetypes::bundle>;
template class wg::device<archetypes::batch_bundle>;
template class wg::engine<archetypes::engine_bundle>;

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

BOOST_AUTO_TEST_SUITE_END()
