// SPDX-License-Identifier: BSL-1.0
#include "../../samples/wgproxy/http.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <string>

BOOST_AUTO_TEST_SUITE(wgproxy_http)

namespace {

namespace http = wgproxy::http;
using wgproxy::progress;

struct read {
    std::string text;
    std::unique_ptr<http::request> head = std::make_unique<http::request>();
    progress got;

    explicit read(std::string from) : text(std::move(from)), got(http::read_request(text, *head)) {}
};

std::string written(std::string from) {
    read const r(std::move(from));
    BOOST_TEST_REQUIRE((r.got == progress::done), r.head->problem);
    std::string buffer(http::most_head_bytes + http::added_bytes, '\0');
    wgproxy::sink out({reinterpret_cast<wg::byte*>(buffer.data()), buffer.size()});
    BOOST_TEST(http::write_request(*r.head, out));
    return buffer.substr(0, out.view().size());
}

void refuses(std::string from, unsigned error) {
    std::string const shown = from.substr(0, 100);
    read const r(std::move(from));
    BOOST_TEST((r.got == progress::bad), shown);
    BOOST_TEST(r.head->error == error, shown << ": " << r.head->problem);
    BOOST_TEST(!r.head->problem.empty());
}

std::string const tail = "Via: 1.1 wgproxy\r\nConnection: close\r\n\r\n";

} // namespace

BOOST_AUTO_TEST_CASE(reads_connect) {
    read const r("CONNECT db.example.com:5432 HTTP/1.1\r\nHost: db.example.com:5432\r\n\r\ndata");
    BOOST_TEST((r.got == progress::done));
    BOOST_TEST(r.head->connect);
    BOOST_TEST(r.head->host == "db.example.com");
    BOOST_TEST(r.head->port == 5432);
    BOOST_TEST(r.text.substr(r.head->head_bytes) == "data");
    read const six("CONNECT [2001:db8::1]:443 HTTP/1.0\n\n");
    BOOST_TEST((six.got == progress::done));
    BOOST_TEST(six.head->host == "2001:db8::1");
}

BOOST_AUTO_TEST_CASE(waits_for_the_end_of_the_head) {
    std::string const whole = "\r\nGET http://a/ HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for (std::size_t size = 0; size < whole.size(); ++size)
        BOOST_TEST((read(whole.substr(0, size)).got == progress::more), size);
    BOOST_TEST((read(whole).got == progress::done));
    BOOST_TEST(read(whole).head->head_bytes == whole.size());
}

BOOST_AUTO_TEST_CASE(forwards_the_path_and_the_host_of_the_url) {
    BOOST_TEST(written("GET http://Example.com/a?b#c HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\r\n") ==
               "GET /a?b HTTP/1.1\r\nHost: Example.com\r\nAccept: */*\r\n" + tail);
    BOOST_TEST(written("GET HTTP://example.com:8080 HTTP/1.1\r\n\r\n") ==
               "GET / HTTP/1.1\r\nHost: example.com:8080\r\n" + tail);
    BOOST_TEST(written("GET http://[::1]:81?q HTTP/1.0\r\n\r\n") == "GET /?q HTTP/1.0\r\nHost: [::1]:81\r\n" + tail);
    BOOST_TEST(written("OPTIONS http://a HTTP/1.1\r\n\r\n") == "OPTIONS * HTTP/1.1\r\nHost: a\r\n" + tail);
    read const r("GET http://example.com:8080/ HTTP/1.1\r\n\r\n");
    BOOST_TEST(r.head->port == 8080);
    BOOST_TEST(read("GET http://example.com: HTTP/1.1\r\n\r\n").head->port == 80);
}

BOOST_AUTO_TEST_CASE(leaves_out_fields_of_one_hop) {
    BOOST_TEST(
        written("POST http://a/ HTTP/1.1\r\nConnection: X-One, keep-alive ,Content-Length\r\nx-one: 1\r\n"
                "Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nTE: gzip\r\n"
                "Upgrade: h2c\r\nContent-Length: 4\r\nX-Two:\t2 \r\nConnection: X-Three\r\nX-Three: 3\r\n\r\n") ==
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nX-Two: 2\r\n" + tail);
    BOOST_TEST(
        written("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n\r\n") ==
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + tail);
}

BOOST_AUTO_TEST_CASE(refuses_bad_requests_by_status) {
    refuses("GET / HTTP/1.1\r\n\r\n", 400);
    refuses("GET https://a/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET ftp://a/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http:///x HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://user:word@a/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://a:0/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://a:65536/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://a b/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://[a]/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://[::1 HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://a\x01/ HTTP/1.1\r\n\r\n", 400);
    refuses("CONNECT a HTTP/1.1\r\n\r\n", 400);
    refuses("CONNECT [::1]443 HTTP/1.1\r\n\r\n", 400);
    refuses("CONNECT http://a:1/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET\r\n\r\n", 400);
    refuses("G(T http://a/ HTTP/1.1\r\n\r\n", 400);
    refuses("GET http://a/ HTTP/2.0\r\n\r\n", 505);
    refuses("\x16\x03\x01\n\n", 400);
    refuses("GET http://a/ HTTP/1.1\r\nnonsense\r\n\r\n", 400);
    refuses("GET http://a/ HTTP/1.1\r\nX : y\r\n\r\n", 400);
    refuses("GET http://a/ HTTP/1.1\r\nX: y\r\n z\r\n\r\n", 400); // a folded line
    refuses("GET http://a/ HTTP/1.1\r\nX: y\rz\r\n\r\n", 400);
    refuses(std::string("GET http://a/ HTTP/1.1\r\nX: y\0z\r\n\r\n", 35), 400);
    refuses("POST http://a/ HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400);
    refuses("POST http://a/ HTTP/1.1\r\nContent-Length: 4, 4\r\n\r\n", 400);
    refuses("POST http://a/ HTTP/1.1\r\nContent-Length: +4\r\n\r\n", 400);
    refuses("POST http://a/ HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    refuses("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501);
    refuses("POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501);
    refuses("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    refuses("GET http://a/ HTTP/1.1\r\nX: " + std::string(http::most_head_bytes, 'x'), 431);
    std::string many = "GET http://a/ HTTP/1.1\r\n";
    for (std::size_t i = 0; i <= http::most_fields; ++i) many += "X: y\r\n";
    refuses(many + "\r\n", 431);
}

BOOST_AUTO_TEST_CASE(the_longest_head_fits_the_buffer_of_its_rewritten_form) {
    std::string longest = "GET http://a HTTP/1.1\n";
    for (std::size_t i = 0; i < http::most_fields; ++i) longest += "X:y\n";
    std::string const before = longest + "\n";
    BOOST_TEST(written(before).size() <= before.size() + http::added_bytes);
    longest.insert(longest.size() - 1, std::string(http::most_head_bytes - before.size(), 'y'));
    BOOST_TEST(!written(longest + "\n").empty());
}

BOOST_AUTO_TEST_CASE(checks_user_and_password) {
    wg::byte buffer[64];
    wgproxy::sink out(buffer);
    http::write_base64("Aladdin:open sesame", out); // RFC 7617, section 2
    std::string_view const expected(reinterpret_cast<char const*>(out.view().data()), out.view().size());
    BOOST_TEST(expected == "QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    auto const authorized = [&](std::string const& value) {
        read const r("CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: " + value + "\r\n\r\n");
        return http::is_authorized(*r.head, expected);
    };
    BOOST_TEST(authorized("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    BOOST_TEST(authorized("basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    BOOST_TEST(!authorized("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ="));
    BOOST_TEST(!authorized("Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
    BOOST_TEST(!authorized(""));
    for (auto const& [text, code] :
         {std::pair{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}}) {
        wgproxy::sink to(buffer); // RFC 4648, section 10
        http::write_base64(text, to);
        BOOST_TEST(std::string_view(reinterpret_cast<char const*>(to.view().data()), to.view().size()) == code);
    }
}

BOOST_AUTO_TEST_CASE(writes_errors_as_answers) {
    wg::byte buffer[256];
    wgproxy::sink out(buffer);
    http::write_error(407, "who are you?", out);
    BOOST_TEST(std::string(reinterpret_cast<char const*>(out.view().data()), out.view().size()) ==
               "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"wgproxy\"\r\n"
               "Content-Type: text/plain\r\nConnection: close\r\nContent-Length: 13\r\n\r\nwho are you?\n");
}

namespace {
/// How many of the bytes belong to the body, read in pieces of `piece` bytes. -1: its chunks are wrong; -2: it is not
/// over.
int body_size(std::string const& head, std::string const& bytes, std::size_t piece) {
    read const r("POST http://a/ HTTP/1.1\r\n" + head + "\r\n\r\n");
    http::body_meter meter(*r.head);
    std::size_t at = 0;
    while (at < bytes.size() && !meter.over() && !meter.bad()) {
        std::size_t const size = std::min(piece, bytes.size() - at);
        at += meter.take({reinterpret_cast<wg::byte const*>(bytes.data()) + at, size});
    }
    return meter.bad() ? -1 : meter.over() ? static_cast<int>(at) : -2;
}
} // namespace

BOOST_AUTO_TEST_CASE(finds_the_end_of_a_body) {
    for (std::size_t const piece : {1u, 2u, 3u, 100u}) {
        BOOST_TEST(body_size("X: y", "next", piece) == 0);
        BOOST_TEST(body_size("Content-Length: 0", "next", piece) == 0);
        BOOST_TEST(body_size("Content-Length: 4", "bodynext", piece) == 4);
        BOOST_TEST(body_size("Content-Length: 5", "body", piece) == -2);
        std::string const chunked = "Transfer-Encoding: chunked";
        std::string const good = "4\r\nbody\r\n00A ; x=y\r\n0123456789\r\n0\r\n\r\n";
        BOOST_TEST(body_size(chunked, good + "next", piece) == static_cast<int>(good.size()));
        std::string const trailer = "1\nb\n0\nA: b\r\nC: d\n\r\n";
        BOOST_TEST(body_size(chunked, trailer + "next", piece) == static_cast<int>(trailer.size()));
        for (std::string const bad :
             {"\r\n", "x\r\n", "-1\r\n", "4\r\nbodyx\r\n", "1000000000000000\r\n", "0x4\r\nbody"})
            BOOST_TEST(body_size(chunked, bad, piece) == -1, bad);
        BOOST_TEST(body_size(chunked, "4;" + std::string(5000, 'x'), piece) == -1);
        BOOST_TEST(body_size(chunked, "0\r\n" + std::string(5000, 'x'), piece) == -1);
    }
}

BOOST_AUTO_TEST_SUITE_END()
