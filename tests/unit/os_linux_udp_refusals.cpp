// SPDX-License-Identifier: BSL-1.0
// UDP sockets whose host refuses calls: which functions are left out, and which datagrams are lost.
#include "udp_twin.hpp"

BOOST_AUTO_TEST_SUITE(os_linux_udp_refusals)

using namespace wg_tests;

BOOST_AUTO_TEST_CASE(sends_datagrams_singly_after_a_refused_run) {
    fresh_faults fresh;
    for (int const error : {EIO, EINVAL, EMSGSIZE, EOPNOTSUPP}) {
        BOOST_TEST_CONTEXT("errno " << error) {
            faults = {};
            faults.refused_segments = error;
            opened<faulty_udp> sender;
            opened<> receiver;
            std::array<std::string, 3> texts = {std::string(700, 'a'), std::string(700, 'b'), std::string(7, 'c')};
            for (int round = 0; round < 2; ++round) {
                std::vector<wg::datagram> out;
                for (auto& t : texts) out.push_back(datagram_to(loopback4, receiver.port, t));
                faults.calls = 0;
                BOOST_TEST(sender.socket.send(out) == 3u);
                auto const in = receive(receiver.socket, 3);
                BOOST_REQUIRE(in.size() == 3u);
                for (std::size_t i = 0; i < 3; ++i) BOOST_TEST(in[i].text == texts[i]);
            }
            BOOST_TEST(faults.calls == 1); // the second round remembers: its only call has three messages
            BOOST_TEST(faults.messages == 3);
        }
    }
}

BOOST_AUTO_TEST_CASE(tries_refused_segments_again_when_routes_change_or_after_minutes) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    std::array<std::string, 3> texts = {std::string(700, 'a'), std::string(700, 'b'), std::string(7, 'c')};
    auto const calls_for = [&](wg::ip_address to, std::uint32_t bytes) {
        std::vector<wg::datagram> out;
        for (auto& t : texts) out.push_back(datagram_to(to, receiver.port, t));
        for (auto& d : out) d.length = std::min(d.length, bytes);
        faults.calls = faults.messages = 0;
        BOOST_TEST(sender.socket.send(out) == 3u);
        BOOST_TEST(receive(receiver.socket, 3).size() >= 1u);
        return faults.calls;
    };
    auto const refused = [&] { return calls_for(loopback4, 700) == 1 && faults.messages == 0; };
    auto const apart = [&] { return calls_for(loopback4, 700) == 1 && faults.messages == 3; };
    faults.refused_segments = EMSGSIZE;
    BOOST_TEST(refused());
    BOOST_TEST(apart());

    // The limit holds for this destination, and for segments of that length or longer.
    BOOST_TEST(calls_for(wg::ip_address::v4(127, 0, 0, 9), 700) == 1);
    BOOST_TEST(faults.messages == 0);
    BOOST_TEST(calls_for(loopback4, 699) == 1);
    BOOST_TEST(faults.messages == 0);

    sender.socket.routes_changed();
    BOOST_TEST(refused());
    BOOST_TEST(apart());
    faults.clock_ahead = faulty_udp::memory_of_paths - wg::seconds(10);
    BOOST_TEST(apart());
    faults.clock_ahead = faulty_udp::memory_of_paths + wg::seconds(10);
    BOOST_TEST(refused());
    BOOST_TEST(apart());
    faults.refused_segments = 0;
    sender.socket.routes_changed();
    BOOST_TEST(calls_for(loopback4, 700) == 1);
    BOOST_TEST(faults.messages == 1); // a run again
}

BOOST_AUTO_TEST_CASE(another_thread_remembers_paths_until_routes_change) {
    fresh_faults fresh;
    opened<faulty_udp> first;
    opened<> receiver;
    faulty_udp other;
    faults.refused_segments = EMSGSIZE;
    auto const messages = [&] { // 3: the limit was remembered; 0: the run was refused
        std::vector<std::string> texts(3, std::string(700, 'x'));
        std::vector<wg::datagram> out;
        for (auto& t : texts) out.push_back(datagram_to(loopback4, receiver.port, t));
        faults.messages = 0;
        BOOST_TEST(other.send(out) == 3u);
        BOOST_TEST(receive(receiver.socket, 3).size() >= 1u);
        return faults.messages;
    };
    BOOST_REQUIRE(other.share(first.socket));
    BOOST_TEST(messages() == 0);
    other.close(); // notices the change of `first`
    BOOST_REQUIRE(other.share(first.socket));
    BOOST_TEST(messages() == 3);
    other.close();
    first.socket.routes_changed();
    BOOST_REQUIRE(other.share(first.socket));
    BOOST_TEST(messages() == 0);
    other.close();
    BOOST_REQUIRE(first.socket.open(0)); // another port, which rules may match
    BOOST_REQUIRE(other.share(first.socket));
    BOOST_TEST(messages() == 0);
}

BOOST_AUTO_TEST_CASE(a_run_refused_for_its_source_does_not_limit_segments) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    for (bool const gone : {true, false}) {
        std::array<std::string, 3> texts = {std::string(700, 'a'), std::string(700, 'b'), std::string(7, 'c')};
        std::vector<wg::datagram> out;
        for (auto& t : texts) {
            out.push_back(datagram_to(loopback4, receiver.port, t));
            if (gone) out.back().where.local = {wg::ip_address::v4(192, 0, 2, 77), 0};
        }
        faults.messages = 0;
        BOOST_TEST(sender.socket.send(out) == 3u);
        BOOST_TEST(texts_of(receive(receiver.socket, 3)).size() == 3u);
    }
    BOOST_TEST(faults.messages == 1);
}

BOOST_AUTO_TEST_CASE(a_refused_datagram_does_not_stop_others_of_its_batch) {
    fresh_faults fresh;
    for (int const error : {EPERM, EACCES, ENETUNREACH, EHOSTUNREACH, ENOBUFS, ENOMEM, EMSGSIZE, EINVAL, EIO}) {
        for (std::size_t const run : {1u, 3u}) {
            BOOST_TEST_CONTEXT("errno " << error << ", datagrams in a row " << run) {
                faults = {};
                faults.refused_port = 9;
                faults.refused_port_error = error;
                opened<faulty_udp> sender;
                opened<> receiver;
                std::vector<std::string> texts;
                for (std::size_t i = 0; i < 9 * run; ++i) texts.push_back(std::to_string(i) + std::string(40, '.'));
                std::vector<wg::datagram> out;
                std::vector<std::string> expected;
                std::size_t lost = 0;
                for (std::size_t i = 0; i < texts.size(); ++i) {
                    bool const bad = i / run % 3 == 1;
                    out.push_back(datagram_to(loopback4, bad ? 9 : receiver.port, texts[i]));
                    out.back().tos = 0x88;
                    if (!bad) expected.push_back(texts[i]);
                }
                (void)sender.socket.send(out);
                for (std::size_t i = 0; i < out.size(); ++i) {
                    if (out[i].where.remote.port != 9) BOOST_TEST((out[i].why == wg::status::ok));
                    else lost += out[i].why != wg::status::ok;
                }
                // A run that was refused for its size leaves as single datagrams, which the twin does not refuse.
                bool const apart = run > 1 && (error == EMSGSIZE || error == EINVAL || error == EIO);
                BOOST_TEST(lost == (apart ? 0u : 3 * run));
                BOOST_TEST(texts_of(receive(receiver.socket, expected.size())) == expected,
                           boost::test_tools::per_element());
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_datagram_with_a_lost_source_leaves_without_it) {
    opened<> sender, receiver;
    for (std::size_t const packets : {1u, 4u}) { // singly, and as a run
        std::vector<std::string> texts(packets, std::string(100, 's'));
        std::vector<wg::datagram> out;
        for (auto& t : texts) {
            out.push_back(datagram_to(loopback4, receiver.port, t));
            out.back().where.local = {wg::ip_address::v4(192, 0, 2, 77), 0}; // RFC 5737: an address without a host
        }
        BOOST_TEST(sender.socket.send(out) == packets);
        for (auto const& d : out) {
            BOOST_TEST((d.why == wg::status::ok));
            BOOST_TEST((d.where.local == wg::local_source{}));
            BOOST_TEST(d.where.remote.port == receiver.port);
        }
        auto const in = receive(receiver.socket, packets);
        BOOST_REQUIRE(!in.empty());
        BOOST_TEST((in[0].where.remote.address == loopback4));
    }
}

BOOST_AUTO_TEST_CASE(handles_every_errno_of_a_lost_source) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    for (int const error : {EINVAL, EADDRNOTAVAIL, ENETUNREACH, EHOSTUNREACH, ENODEV}) {
        faults.refused_source = error;
        std::string text = "t";
        wg::datagram d = datagram_to(loopback4, receiver.port, text);
        d.where.local = {loopback4, 0};
        BOOST_TEST(sender.socket.send({&d, 1}) == 1u);
        BOOST_TEST((d.where.local == wg::local_source{}));
        BOOST_TEST(receive(receiver.socket, 1).size() == 1u);
    }
    faults.refused_source = EPERM; // a packet filter: the source is kept
    std::string text = "t";
    wg::datagram d = datagram_to(loopback4, receiver.port, text);
    d.where.local = {loopback4, 0};
    BOOST_TEST(sender.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::no_permission));
    BOOST_TEST((d.where.local.address == loopback4));
}

BOOST_AUTO_TEST_CASE(works_without_sendmmsg_and_recvmmsg) {
    fresh_faults fresh;
    faults.no_many = 1;
    opened<faulty_udp> a, b;
    std::vector<std::string> texts;
    std::vector<wg::datagram> out;
    for (int i = 0; i < 10; ++i) texts.push_back("text " + std::string(static_cast<std::size_t>(i), '.'));
    for (auto& t : texts) out.push_back(datagram_to(loopback4, b.port, t));
    BOOST_TEST(a.socket.send(out) == 10u);
    auto const in = receive(b.socket, 10, 4);
    BOOST_REQUIRE(in.size() == 10u);
    for (std::size_t i = 0; i < 10; ++i) {
        BOOST_TEST(in[i].text == texts[i]);
        BOOST_TEST((in[i].where.local.address == loopback4));
    }
    BOOST_TEST(faults.calls == 1); // tried once
}

BOOST_AUTO_TEST_CASE(waits_for_room_and_then_drops) {
    fresh_faults fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    std::string text = "t";
    faults.full = 2;
    faults.stopped_at = wg::instant{} + wg::seconds(1); // a busy host may take longer than send_patience
    wg::datagram d = datagram_to(loopback4, receiver.port, text);
    BOOST_TEST(sender.socket.send({&d, 1}) == 1u); // the socket polls writable, so the send is repeated
    BOOST_TEST(receive(receiver.socket, 1).size() == 1u);

    faults.stopped_at = {};
    faults.full = 1'000'000;
    BOOST_TEST(sender.socket.send({&d, 1}) == 0u); // waits for send_patience, then gives up
    BOOST_TEST((d.why == wg::status::would_block));
    faults.full = 1;
    faults.never_writable = true;
    BOOST_TEST(sender.socket.send({&d, 1}) == 0u);
    BOOST_TEST((d.why == wg::status::would_block));
    faults = {};
    faults.stopped_at = wg::instant{} + wg::seconds(2);
    faults.full = 1;
    BOOST_TEST(sender.socket.send({&d, 1}) == 1u); // the next send waits again
    BOOST_TEST((d.why == wg::status::ok));
}

BOOST_AUTO_TEST_CASE(never_waits_for_room_without_patience) {
    fresh_faults fresh;
    opened<faulty_udp> sender, other;
    sender.socket.set_send_patience({});
    BOOST_TEST(other.socket.share(sender.socket));
    std::string text = "t";
    wg::datagram d = datagram_to(loopback4, sender.port, text);
    for (faulty_udp* const socket : {&sender.socket, &other.socket}) {
        faults.full = 1;
        BOOST_TEST(socket->send({&d, 1}) == 0u); // the socket would poll writable
        BOOST_TEST((d.why == wg::status::would_block && d.error == EAGAIN));
    }
    BOOST_TEST(faults.waits == 0);
    sender.socket.set_send_patience(wg::seconds(2)); // longer than a second: timespec has two members
    faults.full = 1;
    BOOST_TEST(sender.socket.send({&d, 1}) == 1u);
    BOOST_TEST(faults.waits == 1);
}

BOOST_AUTO_TEST_CASE(works_where_there_is_no_ipv6) {
    fresh_faults fresh;
    faults.no_v6 = true;
    opened<faulty_udp> a, b;
    std::string four = "four", six = "six";
    std::array out = {datagram_to(loopback6, b.port, six), datagram_to(loopback4, b.port, four)};
    BOOST_TEST(a.socket.send(out) == 1u);
    BOOST_TEST((out[0].why == wg::status::not_supported));
    BOOST_TEST((out[1].why == wg::status::ok));
    BOOST_TEST(receive(b.socket, 1).size() == 1u);
}

BOOST_AUTO_TEST_CASE(chooses_a_port_that_is_free_in_both_families) {
    fresh_faults fresh;
    faults.taken_v6_ports = 3;
    faulty_udp socket;
    auto const port = socket.open(0);
    BOOST_REQUIRE(port);
    BOOST_TEST(faults.taken_v6_ports == 0);
    faults.taken_v6_ports = 1000;
    BOOST_TEST((socket.open(0).why() == wg::status::address_in_use)); // gives up
    BOOST_TEST(faults.taken_v6_ports == 900);
    BOOST_TEST(socket.port() == *port);
}

BOOST_AUTO_TEST_CASE(a_failed_port_change_keeps_the_old_sockets) {
    opened<> mine, other, peer;
    int const fd = mine.socket.fd();
    BOOST_TEST((mine.socket.open(other.port).why() == wg::status::address_in_use));
    BOOST_TEST(mine.socket.port() == mine.port);
    std::string text = "still there";
    wg::datagram d = datagram_to(loopback4, mine.port, text);
    BOOST_TEST(peer.socket.send({&d, 1}) == 1u);
    auto in = receive(mine.socket, 1);
    BOOST_REQUIRE(in.size() == 1u);
    BOOST_TEST(in[0].text == text);

    auto const same = mine.socket.open(mine.port); // nothing to do
    BOOST_REQUIRE(same);
    BOOST_TEST(*same == mine.port);

    auto const moved = mine.socket.open(0);
    BOOST_REQUIRE(moved);
    BOOST_TEST(*moved != mine.port);
    BOOST_TEST(mine.socket.fd() == fd); // the descriptor stays the same
    d = datagram_to(loopback4, *moved, text);
    BOOST_TEST(peer.socket.send({&d, 1}) == 1u);
    BOOST_TEST(receive(mine.socket, 1).size() == 1u);
    udp again;
    BOOST_TEST(static_cast<bool>(again.open(mine.port))); // the old port is free
}

BOOST_AUTO_TEST_CASE(another_thread_does_not_use_offloads_that_were_switched_off) {
    fresh_faults const fresh;
    opened<> b;
    wg::os::offloads wanted;
    wanted.gso = wanted.batches = false;
    faulty_udp first(wanted), other;
    BOOST_REQUIRE(first.open(0));
    BOOST_REQUIRE(other.share(first));
    std::string text(100, 'x');
    std::array out = {datagram_to(loopback4, b.port, text), datagram_to(loopback4, b.port, text)};
    BOOST_TEST(other.send(out) == 2u);
    BOOST_TEST(faults.calls == 0);
    for (arrival const& a : receive(b.socket, 2)) BOOST_TEST(a.text.size() == 100u);
}

BOOST_AUTO_TEST_CASE(datagrams_leave_without_a_tos_that_the_host_refuses) {
    fresh_faults const fresh;
    opened<faulty_udp> sender;
    opened<> receiver;
    faults.no_tos = true;
    std::string text = "text";
    wg::datagram out = datagram_to(loopback4, receiver.port, text);
    out.tos = 0x88;
    BOOST_TEST(sender.socket.send({&out, 1}) == 1u);
    auto const in = receive(receiver.socket, 1);
    BOOST_REQUIRE(in.size() == 1u);
    BOOST_TEST(in[0].text == "text");
    BOOST_TEST(in[0].tos == 0);
}

BOOST_AUTO_TEST_CASE(drops_segments_of_an_impossible_size_and_switches_gro_off) {
    fresh_faults const fresh;
    opened<> sender;
    opened<faulty_udp> receiver;
    std::vector<std::string> texts(4, std::string(1000, 's'));
    auto const send = [&] {
        std::vector<wg::datagram> out;
        for (auto& text : texts) out.push_back(datagram_to(loopback4, receiver.port, text));
        BOOST_TEST(sender.socket.send(out) == texts.size());
    };
    send();
    auto const whole = receive(receiver.socket, texts.size());
    BOOST_REQUIRE(!whole.empty());
    if (whole[0].segment_bytes == 0) {
        BOOST_TEST_MESSAGE("skipped: this host joins no datagrams");
        return;
    }
    faults.swapped_segments = true;
    send();
    auto const lost = receive(receiver.socket, 1);
    BOOST_REQUIRE(lost.size() == 1u);
    BOOST_TEST(lost[0].text.empty());
    send();
    BOOST_TEST((texts_of(receive(receiver.socket, texts.size())) == texts)); // one by one
}

BOOST_AUTO_TEST_SUITE_END()
