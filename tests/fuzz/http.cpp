// SPDX-License-Identifier: BSL-1.0
// The requests of an HTTP proxy: pieces do not matter, and the rewritten head is one that the same parser can read.
#include "../../samples/wgproxy/http.hpp"
#include "fuzz.hpp"

#include <string>

namespace {

namespace http = wgproxy::http;
using wgproxy::progress;

http::request whole, part;

void check_rewritten() {
    static wg::byte buffer[http::most_head_bytes + http::added_bytes];
    wgproxy::sink out(buffer);
    wg_fuzz::promise(http::write_request(whole, out), "a rewritten head fits its buffer");
    std::string again(reinterpret_cast<char const*>(out.view().data()), out.view().size());
    wg_fuzz::promise(again.ends_with("\r\n\r\n") && again.find("\r\n\r\n") == again.size() - 4, "a head has one end");
    // The path becomes a URL again, so that our own parser reads the head of the server.
    std::size_t const space = again.find(' ');
    if (again[space + 1] != '*') again.insert(space + 1, "http://a");
    else again.replace(space + 1, 1, "http://a");
    constexpr std::size_t added_fields = 3;
    if (again.size() >= http::most_head_bytes || whole.field_count + added_fields > http::most_fields) return;
    auto const framing = whole.framing;
    auto const size = whole.body_bytes;
    wg_fuzz::promise(http::read_request(again, part) == progress::done, "a rewritten head is readable");
    wg_fuzz::promise(part.framing == framing && part.body_bytes == size, "its body has the same end");
    wg_fuzz::promise(part.authorization.empty(), "the password stays here");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string_view const input(reinterpret_cast<char const*>(data), size);
    progress const got = http::read_request(input, whole);
    wg_fuzz::promise((got == progress::bad) == (whole.error != 0), "what is bad has an error");
    wg_fuzz::promise((got == progress::bad) == !whole.problem.empty(), "what is bad has a reason");
    if (got != progress::done) return 0;
    wg_fuzz::promise(whole.head_bytes <= size && !whole.host.empty() && whole.port != 0, "a request has a host");
    for (std::size_t const shorter : {whole.head_bytes - 1, whole.head_bytes / 2})
        wg_fuzz::promise(http::read_request(input.substr(0, shorter), part) == progress::more,
                         "a piece waits for more");
    http::body_meter at_once(whole), slowly(whole);
    wg::bytes_view const body(data + whole.head_bytes, size - whole.head_bytes);
    std::size_t const taken = at_once.take(body);
    std::size_t at = 0;
    while (at < body.size() && slowly.take(body.subspan(at, 1)) == 1) ++at;
    wg_fuzz::promise(taken <= body.size() && taken == at, "pieces of a body do not matter");
    wg_fuzz::promise(at_once.over() == slowly.over() && at_once.bad() == slowly.bad(), "nor for its end");
    if (!whole.connect) check_rewritten();
    return 0;
}

std::span<std::string_view const> wg_fuzz::seeds() {
    static constexpr std::string_view all[] = {
        "CONNECT db.example.com:5432 HTTP/1.1\r\nHost: db.example.com:5432\r\nProxy-Authorization: Basic "
        "eA==\r\n\r\ndata",
        "GET http://Example.com/a?b#c HTTP/1.1\r\nHost: other\r\nAccept: */*\r\nConnection: Accept, keep-alive\r\n\r\n",
        "POST http://[::1]:81?q HTTP/1.0\r\nContent-Length: 4\r\nKeep-Alive: 5\r\n\r\nbodynext",
        "POST http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTE: x\r\n\r\n4\r\nbody\r\n00A ; "
        "x=y\r\n0123456789\r\n0\r\n\r\n",
        "OPTIONS http://a HTTP/1.1\nX:y\nConnection: Content-Length\n\n1\nb\n0\nA: b\r\nC: d\n\r\nnext",
    };
    return all;
}
