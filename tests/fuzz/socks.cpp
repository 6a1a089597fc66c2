// SPDX-License-Identifier: BSL-1.0
// The conversation of SOCKS 5: a client that sends all at once, and one that sends byte by byte, get the same answers.
#include "../../samples/wgproxy/socks.hpp"
#include "fuzz.hpp"

#include <string>

namespace {

using wgproxy::progress;

struct talk {
    progress last = progress::more;
    std::string answers{};
    std::size_t at = 0;
    wgproxy::socks::destination where{};
};

talk run(wg::bytes_view input, wgproxy::socks::credentials const* needed, bool slowly) {
    wgproxy::socks::negotiation server(needed);
    talk t;
    for (std::size_t size = slowly ? 0 : input.size(); size <= input.size(); ++size) {
        for (std::size_t used = 1; used > 0 && t.last == progress::more; t.at += used) {
            wg::byte buffer[wgproxy::socks::most_reply_bytes];
            wgproxy::sink out(buffer);
            t.last = server.advance(input.subspan(t.at, size - t.at), used, out);
            wg_fuzz::promise(out.complete(), "an answer fits its buffer");
            wg_fuzz::promise(used <= size - t.at, "no more is used than there is");
            t.answers.append(reinterpret_cast<char const*>(out.view().data()), out.view().size());
        }
    }
    if (t.last == progress::done) t.where = server.where();
    wg_fuzz::promise(t.last != progress::more || input.size() - t.at < wgproxy::socks::most_message_bytes,
                     "no message is longer than the longest");
    return t;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    wg::bytes_view const input(data, size);
    wgproxy::socks::credentials const needed{"alice", "secret"};
    for (wgproxy::socks::credentials const* const who : {static_cast<decltype(&needed)>(nullptr), &needed}) {
        talk const fast = run(input, who, false), slow = run(input, who, true);
        wg_fuzz::promise(fast.last == slow.last && fast.answers == slow.answers && fast.at == slow.at,
                         "the pieces of a message do not matter");
        wg_fuzz::promise(fast.where.host.view() == slow.where.host.view(), "the host is the same");
        wg_fuzz::promise((fast.last == progress::done) == !fast.where.host.view().empty(), "a request has a host");
    }
    wgproxy::socks::destination to;
    wg_fuzz::promise(wgproxy::socks::read_datagram(input, to) <= size, "a header is in its datagram");
    return 0;
}

std::span<std::string_view const> wg_fuzz::seeds() {
    using namespace std::string_view_literals;
    static constexpr std::string_view all[] = {
        "\5\1\0\5\1\0\1\x0a\0\0\7\x1f\x90payload"sv,
        "\5\2\0\2\1\5alice\6secret\5\3\0\3\x0b"
        "example.com\1\xbb"sv,
        "\5\1\0\5\1\0\4\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\x50"sv,
        "\0\0\0\1\x0a\0\0\1\0\x35query"sv,
        "\5\3\0\1\2\5\2\0\1\0\0\0\0\0\0"sv,
    };
    return all;
}
