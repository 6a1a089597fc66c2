// SPDX-License-Identifier: BSL-1.0
// os/windows with the calls of Windows: runs on Windows and under Wine.
#include "wg/os/windows/clock.hpp"
#include "wg/os/windows/error.hpp"
#include "wg/os/windows/net/default_route.hpp"
#include "wg/os/windows/random.hpp"
#include "wg/os/windows/secret_region.hpp"
#include "wg/os/windows/threads.hpp"
#include "wg/os/windows/tun/tun.hpp"
#include "wg/os/windows/udp/udp.hpp"
#include "wg/os/windows/waiter.hpp"

#include <boost/test/unit_test.hpp>

#include <winsock2.h>
#include <windows.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_real)

namespace {

namespace windows = wg::os::windows;

wg::instant now() { return windows::clock{}.now(); }

wg::ip_address const loopback4 = wg::ip_address::v4(127, 0, 0, 1);
wg::ip_address const loopback6{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, wg::family::v6};

struct received {
    std::string text;
    wg::path where;
};

wg::datagram datagram_to(wg::ip_address const& to, std::uint16_t port, std::string& text) {
    wg::datagram d;
    d.buffer = reinterpret_cast<wg::byte*>(text.data());
    d.capacity = d.length = static_cast<std::uint32_t>(text.size());
    d.where.remote = {to, port, 0};
    return d;
}

/// Waits for datagrams by the socket's event, and returns what has arrived within five seconds.
std::vector<received> receive(windows::udp& socket, std::size_t count) {
    std::vector<received> all;
    std::vector<wg::byte> room(3 * 65536);
    windows::waiter waiter(nullptr, socket.event());
    wg::instant const give_up = now() + wg::seconds(5);
    while (all.size() < count && now() < give_up) {
        if (!waiter.wait(give_up).udp) continue;
        std::array<wg::datagram, 3> in;
        for (std::size_t i = 0; i < 3; ++i)
            static_cast<wg::packet&>(in[i]) = wg::packet({room.data() + i * 65536, 65536}, 0);
        auto const got = socket.receive(in);
        BOOST_REQUIRE(static_cast<bool>(got));
        for (std::size_t i = 0; i < *got; ++i)
            all.push_back({{reinterpret_cast<char const*>(in[i].buffer), in[i].length}, in[i].where});
    }
    return all;
}

} // namespace

BOOST_AUTO_TEST_CASE(the_clock_goes_on_at_the_rate_of_time) {
    windows::clock const clock;
    wg::instant const begin = clock.now();
    auto const ticks = ::GetTickCount64();
    ::Sleep(300);
    auto const passed_ms = static_cast<std::int64_t>(::GetTickCount64() - ticks);
    auto const passed = clock.now() - begin;
    BOOST_TEST((passed > wg::milliseconds(passed_ms - 40) && passed < wg::milliseconds(passed_ms + 40)));
    std::array<wg::byte, wg::timestamp_bytes> label{};
    clock.tai64n(label);
    BOOST_TEST(std::abs(wg::unix_seconds_of(label) - static_cast<std::int64_t>(std::time(nullptr))) <= 1);
}

BOOST_AUTO_TEST_CASE(random_bytes_differ) {
    std::array<wg::byte, 32> first{}, second{};
    BOOST_TEST((windows::random{}.fill(first) && windows::random{}.fill(second)));
    BOOST_TEST((first != second && first != std::array<wg::byte, 32>{}));
}

BOOST_AUTO_TEST_CASE(windows_has_a_text_for_an_error) {
    std::string const text(windows::system_text(ERROR_ACCESS_DENIED).view());
    BOOST_TEST((!text.empty() && text != "unknown error" && text.back() != '\n' && text.back() != '.'));
    BOOST_TEST(windows::system_text(0x2fffffff).view() == "unknown error");
}

BOOST_AUTO_TEST_CASE(the_region_lies_between_pages_without_access) {
    windows::secret_region region;
    auto* const first = static_cast<wg::byte*>(region.allocate(100));
    BOOST_REQUIRE(first != nullptr);
    BOOST_TEST(std::count(first, first + 100, 0) == 100);
    std::fill_n(first, 100, wg::byte{1});
    auto const state_of = [](void const* at) {
        MEMORY_BASIC_INFORMATION page{};
        BOOST_REQUIRE(::VirtualQuery(at, &page, sizeof page) != 0u);
        return page.State;
    };
    BOOST_TEST(state_of(first) == static_cast<DWORD>(MEM_COMMIT));
    BOOST_TEST(state_of(first - 1) == static_cast<DWORD>(MEM_RESERVE));
    BOOST_TEST(state_of(first + region.committed().size()) == static_cast<DWORD>(MEM_RESERVE));
    for (int i = 0; i < 40; ++i) BOOST_TEST(region.allocate(windows::secret_region::step_bytes) != nullptr);
    BOOST_TEST_MESSAGE("locked: " << region.locked() << ", kept out of error reports: " << region.undumped());
}

namespace {

struct shared_count {
    windows::threads::mutex mutex;
    windows::threads::cell begun, done;
    unsigned count = 0;
};

void count_up(shared_count& shared) noexcept {
    while (shared.begun.load() == 0) shared.begun.wait(0);
    for (int i = 0; i < 10'000; ++i) {
        shared.mutex.lock();
        ++shared.count;
        shared.mutex.unlock();
        if (i % 1000 == 0) windows::threads::give_way();
    }
    shared.mutex.lock();
    shared.done.store(shared.done.load() + 1);
    shared.mutex.unlock();
}

} // namespace

BOOST_AUTO_TEST_CASE(threads_wait_for_cells_and_for_mutexes) {
    BOOST_TEST(windows::threads::processors() >= 1u);
    shared_count shared;
    {
        windows::threads::thread first, second, third;
        for (auto* thread : {&first, &second, &third}) BOOST_REQUIRE(thread->start<&count_up>(shared));
        ::Sleep(20);
        shared.begun.store(1);
        for (std::uint32_t done = 0; done < 3; done = shared.done.load()) shared.done.wait(done);
    }
    BOOST_TEST(shared.count == 30'000u);
}

namespace {

void wake_later(windows::waiter& waiter) noexcept {
    ::Sleep(50);
    waiter.wake();
}

} // namespace

BOOST_AUTO_TEST_CASE(the_waiter_sleeps_until_an_event_a_deadline_or_a_wake_up) {
    windows::unique_handle tun(::CreateEventW(nullptr, FALSE, FALSE, nullptr));
    windows::unique_handle other(::CreateEventW(nullptr, TRUE, FALSE, nullptr));
    windows::waiter waiter(tun.get());
    BOOST_REQUIRE(static_cast<bool>(waiter));
    waiter.watch_other(31, other.get());
    wg::instant const begin = now();
    auto ready = waiter.wait(begin + wg::milliseconds(100));
    BOOST_TEST((!ready.tun && ready.others == 0 && now() >= begin + wg::milliseconds(100)));
    ::SetEvent(tun.get());
    ::SetEvent(other.get());
    ready = waiter.wait(wg::instant::never());
    BOOST_TEST((ready.tun && ready.others == 0x80000000u));
    ready = waiter.wait(wg::instant::never());
    BOOST_TEST((!ready.tun && ready.others == 0x80000000u));
    ::ResetEvent(other.get());
    windows::threads::thread waker;
    BOOST_REQUIRE(waker.start<&wake_later>(waiter));
    ready = waiter.wait(now() + wg::seconds(60));
    BOOST_TEST((!ready.tun && ready.others == 0 && now() < begin + wg::seconds(20)));
    tun.reset(); // a closed event
    BOOST_TEST(waiter.wait(now() + wg::seconds(1)).tun);
}

BOOST_AUTO_TEST_CASE(datagrams_arrive_over_ipv4_and_ipv6) {
    windows::udp sender, receiver;
    auto const port = receiver.open(0);
    BOOST_REQUIRE((port && *port != 0 && sender.open(0)));
    for (auto const& to : {loopback4, loopback6}) {
        std::array<std::string, 4> texts = {std::string(1400, 'a'), std::string(1400, 'b'), "shorter", ""};
        std::vector<wg::datagram> out;
        for (auto& text : texts) out.push_back(datagram_to(to, *port, text));
        BOOST_TEST(sender.send(out) == 4u);
        auto const in = receive(receiver, 4);
        BOOST_REQUIRE(in.size() == 4u);
        for (std::size_t i = 0; i < 4; ++i) {
            BOOST_TEST(in[i].text == texts[i]);
            BOOST_TEST((in[i].where.remote == wg::endpoint{to, sender.port(), 0}));
            if (in[i].where.local != wg::local_source{}) BOOST_TEST((in[i].where.local.address == to));
        }
        // An answer with the source that was received.
        std::string answer = "answer";
        wg::datagram back = datagram_to(to, 0, answer);
        back.where = in[0].where;
        BOOST_TEST(receiver.send({&back, 1}) == 1u);
        auto const answers = receive(sender, 1);
        BOOST_REQUIRE(answers.size() == 1u);
        BOOST_TEST(answers[0].text == "answer");
    }
}

BOOST_AUTO_TEST_CASE(more_datagrams_than_a_receive_takes_keep_the_event_set) {
    windows::udp sender, receiver;
    auto const port = receiver.open(0);
    BOOST_REQUIRE((port && sender.open(0)));
    std::vector<std::string> texts(50);
    std::vector<wg::datagram> out;
    for (std::size_t i = 0; i < texts.size(); ++i) {
        texts[i] = "number " + std::to_string(i);
        out.push_back(datagram_to(loopback4, *port, texts[i]));
    }
    BOOST_TEST(sender.send(out) == 50u);
    auto const in = receive(receiver, 50);
    BOOST_REQUIRE(in.size() == 50u);
    for (std::size_t i = 0; i < 50; ++i) BOOST_TEST(in[i].text == texts[i]);
    windows::waiter waiter(nullptr, receiver.event());
    BOOST_TEST(!waiter.wait(now() + wg::milliseconds(50)).udp); // all were read
}

BOOST_AUTO_TEST_CASE(watching_a_socket_again_sets_the_event_if_a_datagram_waits) {
    using calls = windows::udp_calls;
    windows::udp sender; // starts Winsock
    BOOST_REQUIRE(static_cast<bool>(sender.open(0)));
    auto const socket = calls::socket(AF_INET);
    windows::unique_handle const event(calls::create_event());
    windows::api_detail::socket_address where{};
    int const size = windows::udp_detail::spell({loopback4, 0, 0}, where);
    BOOST_REQUIRE(calls::bind(socket, where, size) == 0);
    BOOST_REQUIRE(calls::name(socket, where) == 0);
    BOOST_REQUIRE(calls::watch(socket, event.get()) == 0);
    std::string text = "x";
    wg::datagram d = datagram_to(loopback4, windows::udp_detail::read_address(where, sizeof where).port, text);
    BOOST_TEST(sender.send({&d, 1}) == 1u);
    BOOST_TEST(::WaitForSingleObject(event.get(), 5000) == static_cast<DWORD>(WAIT_OBJECT_0));
    calls::reset_event(event.get());
    BOOST_REQUIRE(calls::watch(socket, event.get()) == 0);
    BOOST_TEST(::WaitForSingleObject(event.get(), 5000) == static_cast<DWORD>(WAIT_OBJECT_0));
    calls::close_socket(socket);
}

BOOST_AUTO_TEST_CASE(datagrams_to_a_closed_port_stop_nothing) {
    windows::udp sender, receiver;
    auto const port = receiver.open(0);
    BOOST_REQUIRE((port && sender.open(0)));
    std::uint16_t const closed = [] {
        windows::udp other;
        return *other.open(0);
    }();
    std::string text = "x";
    wg::datagram d = datagram_to(loopback4, closed, text);
    for (int i = 0; i < 3; ++i) (void)sender.send({&d, 1});
    ::Sleep(50);
    std::string answer = "answer";
    wg::datagram back = datagram_to(loopback4, sender.port(), answer);
    BOOST_TEST(receiver.send({&back, 1}) == 1u);
    BOOST_TEST(receive(sender, 1).size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_port_has_one_owner) {
    windows::udp first, second;
    auto const port = first.open(0);
    BOOST_REQUIRE(static_cast<bool>(port));
    BOOST_TEST((second.open(*port).why() == wg::status::address_in_use));
    BOOST_TEST(second.error() == WSAEADDRINUSE);
    first.close();
    BOOST_TEST(static_cast<bool>(second.open(*port)));
}

BOOST_AUTO_TEST_CASE(another_object_sends_and_receives_by_the_same_sockets) {
    windows::udp receiver, sender;
    auto const port = receiver.open(0);
    BOOST_REQUIRE((port && sender.open(0)));
    windows::udp other;
    BOOST_REQUIRE(other.share(receiver));
    std::string text = "shared";
    wg::datagram d = datagram_to(loopback4, *port, text);
    BOOST_TEST(sender.send({&d, 1}) == 1u);
    windows::waiter waiter(nullptr, receiver.event());
    BOOST_TEST(waiter.wait(now() + wg::seconds(5)).udp);
    std::array<wg::byte, 2048> room;
    wg::datagram in;
    static_cast<wg::packet&>(in) = wg::packet(room, 0);
    BOOST_TEST(*other.receive({&in, 1}) == 1u);
    other.close();
    BOOST_TEST(receiver.port() == *port);
}

BOOST_AUTO_TEST_CASE(a_missing_wintun_library_is_named_with_its_source) {
    if (::LoadLibraryExW(L"wintun.dll", nullptr, 0xa00) != nullptr) return; // this host has it
    wg::os::error_text why;
    BOOST_TEST((windows::tun::open("wg-test", why).why() == wg::status::not_supported));
    BOOST_TEST((why.view().find("https://www.wintun.net") != std::string_view::npos));
}

BOOST_AUTO_TEST_CASE(sockets_are_bound_to_the_interface_of_the_default_route) {
    std::uint32_t const v4 = windows::default_interface(wg::family::v4, 0);
    std::uint32_t const v6 = windows::default_interface(wg::family::v6, 0);
    BOOST_TEST_MESSAGE("interfaces of the default routes: " << v4 << ", " << v6);
    windows::udp socket;
    BOOST_REQUIRE(static_cast<bool>(socket.open(0)));
    BOOST_TEST((socket.set_interfaces(v4, v6) == wg::status::ok));
    BOOST_TEST((socket.set_interfaces(0, 0) == wg::status::ok));
}

BOOST_AUTO_TEST_SUITE_END()
