// SPDX-License-Identifier: BSL-1.0
#include "../../samples/wgproxy/socks.hpp"

#include <boost/test/unit_test.hpp>

#include <string>

BOOST_AUTO_TEST_SUITE(wgproxy_socks)

namespace {

namespace socks = wgproxy::socks;
using wgproxy::progress;
using namespace std::string_literals;

wg::bytes_view view(std::string const& of) { return {reinterpret_cast<wg::byte const*>(of.data()), of.size()}; }

/// Feeds a client's bytes, one more with each call if `slowly`, and records the answers.
struct talk {
    socks::negotiation server;
    std::string answers{};
    progress last = progress::more;
    std::string rest{}; ///< bytes that were not used

    explicit talk(std::string const& bytes, socks::credentials const* needed = nullptr, bool slowly = false)
        : server(needed) {
        for (std::size_t size = slowly ? 1 : bytes.size(), at = 0; size <= bytes.size(); ++size) {
            for (std::size_t used = 1; used > 0 && last == progress::more; at += used) {
                wg::byte buffer[64];
                wgproxy::sink out(buffer);
                last = server.advance(view(bytes).subspan(at, size - at), used, out);
                BOOST_TEST(out.complete());
                answers.append(reinterpret_cast<char const*>(out.view().data()), out.view().size());
            }
            rest = bytes.substr(at);
        }
    }
};

std::string const hello = "\5\1\0"s, hello_password = "\5\2\0\2"s;

} // namespace

BOOST_AUTO_TEST_CASE(accepts_a_connection_to_an_ipv4_address) {
    for (bool const slowly : {false, true}) {
        talk const t(hello + "\5\1\0\1\x0a\0\0\7\x1f\x90"s, nullptr, slowly);
        BOOST_TEST((t.last == progress::done));
        BOOST_TEST(t.answers == "\5\0"s);
        BOOST_TEST((t.server.what() == socks::command::connect));
        BOOST_TEST((t.server.where().address == wg::ip_address::v4(10, 0, 0, 7)));
        BOOST_TEST(t.server.where().host.view() == "10.0.0.7");
        BOOST_TEST(t.server.where().port == 8080);
    }
}

BOOST_AUTO_TEST_CASE(accepts_ipv6_addresses_and_names) {
    talk const six(hello + "\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x50"s);
    BOOST_TEST((six.last == progress::done));
    BOOST_TEST(six.server.where().host.view() == "2001:db8::1");
    talk const name(hello + "\5\1\0\3\x0b"s + "example.com" + "\1\xbb"s, nullptr, true);
    BOOST_TEST((name.last == progress::done));
    BOOST_TEST(name.server.where().host.view() == "example.com");
    BOOST_TEST((name.server.where().address.kind == wg::family::none));
    BOOST_TEST(name.server.where().port == 443);
    talk const literal(hello + "\5\1\0\3\x08"s + "10.0.0.1" + "\1\xbb"s);
    BOOST_TEST((literal.server.where().address == wg::ip_address::v4(10, 0, 0, 1)));
    talk const longest(hello + "\5\1\0\3\xff"s + std::string(255, 'a') + "\1\xbb"s);
    BOOST_TEST(longest.server.where().host.view().size() == 255u);
}

BOOST_AUTO_TEST_CASE(leaves_bytes_after_the_request) {
    talk const t(hello + "\5\3\0\1\0\0\0\0\0\0"s + "data");
    BOOST_TEST((t.last == progress::done));
    BOOST_TEST((t.server.what() == socks::command::associate));
    BOOST_TEST(t.rest == "data");
}

BOOST_AUTO_TEST_CASE(asks_for_user_and_password) {
    socks::credentials const needed{"alice", "secret"};
    std::string const request = "\5\1\0\1\x0a\0\0\7\0\7"s;
    for (bool const slowly : {false, true}) {
        talk const good(hello_password + "\1\5alice\6secret" + request, &needed, slowly);
        BOOST_TEST((good.last == progress::done));
        BOOST_TEST(good.answers == "\5\2\1\0"s);
        talk const wrong(hello_password + "\1\5alice\6Secret" + request, &needed, slowly);
        BOOST_TEST((wrong.last == progress::bad));
        BOOST_TEST(wrong.server.wrong_password());
        BOOST_TEST(wrong.answers == "\5\2\1\1"s);
    }
    for (std::string const& given :
         {"\1\5alic\0\6secret"s, "\1\4alic\6secret"s, "\1\0\0"s, "\1\5alice\0"s, "\1\5bobby\6secret"s})
        BOOST_TEST((talk(hello_password + given, &needed).answers == "\5\2\1\1"s));
    talk const none(hello + request, &needed);
    BOOST_TEST((none.last == progress::bad));
    BOOST_TEST(none.answers == "\5\xff"s);
    talk const unasked("\5\1\2"s); // a client that offers a password only, to a server without one
    BOOST_TEST(unasked.answers == "\5\xff"s);
}

BOOST_AUTO_TEST_CASE(refuses_what_it_does_not_know) {
    BOOST_TEST((talk("\4\1\0\x50"s).last == progress::bad));
    BOOST_TEST((talk("GET / HTTP/1.1\r\n").last == progress::bad));
    BOOST_TEST((talk(hello + "\4").last == progress::bad));
    BOOST_TEST((talk(hello + "\5\2\0\1\0\0\0\0\0\0"s).answers == "\5\0\5\7\0\1\0\0\0\0\0\0"s)); // BIND
    BOOST_TEST((talk(hello + "\5\1\0\2\0\0\0\0\0\0"s).answers == "\5\0\5\x08\0\1\0\0\0\0\0\0"s));
    BOOST_TEST((talk(hello + "\5\1\0\3\0\0\0"s).last == progress::bad));
    BOOST_TEST((talk(hello + "\5\1\0\3\3a\nb\0\1"s).last == progress::bad));
    BOOST_TEST((talk("\5\0"s).answers == "\5\xff"s));
    socks::negotiation over(nullptr);
    wg::byte buffer[64];
    wgproxy::sink out(buffer);
    std::size_t used = 0;
    BOOST_TEST((over.advance(view("\4"), used, out) == progress::bad));
    BOOST_TEST((over.advance(view(hello), used, out) == progress::bad));
}

BOOST_AUTO_TEST_CASE(writes_replies_and_headers_of_datagrams) {
    wg::byte buffer[socks::most_reply_bytes];
    wgproxy::sink out(buffer);
    socks::write_reply(socks::reply::host_unreachable, *wg::text::parse_endpoint("[2001:db8::1]:258"), out);
    BOOST_TEST(out.complete());
    BOOST_TEST(std::string(reinterpret_cast<char const*>(out.view().data()), out.view().size()) ==
               "\5\4\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\1\2"s);
    for (std::string const where : {"192.0.2.1:7", "[2001:db8::1]:65535"}) {
        wgproxy::sink head(buffer);
        socks::write_datagram(*wg::text::parse_endpoint(where), head);
        socks::destination read;
        BOOST_TEST(socks::read_datagram(head.view(), read) == head.view().size());
        BOOST_TEST((wg::text::print(wg::endpoint{read.address, read.port}).view() == where));
    }
}

BOOST_AUTO_TEST_CASE(reads_headers_of_datagrams) {
    socks::destination to;
    BOOST_TEST(socks::read_datagram(view("\0\0\0\3\1a\0\x35payload"s), to) == 8u);
    BOOST_TEST(to.host.view() == "a");
    BOOST_TEST(to.port == 53);
    for (std::string const& bad : {""s, "\0\0"s, "\0\0\1\1\1\2\3\4\0\1"s, "\0\1\0\1\1\2\3\4\0\1"s,
                                   "\0\0\0\1\1\2\3\4\0"s, "\0\0\0\5\1\2\3\4\0\1"s, "\0\0\0\3\0\0\1"s})
        BOOST_TEST(socks::read_datagram(view(bad), to) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
