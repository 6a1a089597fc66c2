// SPDX-License-Identifier: BSL-1.0
// The parser of answers to DNS questions, and the names of a search list. The first two bytes of an input are the id.
#include "fuzz.hpp"

#include <wg/tunnel/dns.hpp>

namespace {

/// Letters stay lower case, and the id is 0.
struct zeros {
    bool fill(wg::bytes to) noexcept {
        std::fill(to.begin(), to.end(), wg::byte{0});
        return true;
    }
};

void check(wg::bytes_view input, wg::dns::question const& asked, bool stream) {
    auto const got = wg::dns::parse(input, asked, stream);
    bool const found = got.what == wg::dns::outcome::found;
    wg_fuzz::promise(found == (got.count > 0), "there are addresses exactly if the outcome says so");
    wg_fuzz::promise(got.count <= wg::dns::most_addresses, "the number of addresses is bounded");
    wg_fuzz::promise(got.ttl >= wg::duration{} && got.ttl <= wg::dns::longest_ttl, "the time is bounded");
    wg_fuzz::promise(!(stream && got.needs_stream()), "an answer over TCP is not asked for once more");
    auto const kind = asked.type() == wg::dns::record::a ? wg::family::v4 : wg::family::v6;
    for (auto const& address : got.addresses()) wg_fuzz::promise(address.kind == kind, "the type is the one asked for");
    wg::dns::cache<2> cache;
    cache.store(asked, got, {});
    auto const kept = cache.find(asked.host(), asked.type(), {});
    wg_fuzz::promise(kept.what == (got.is_final() && got.ttl > wg::duration{} ? got.what : wg::dns::outcome::not_ours),
                     "the cache keeps final answers");
}

void check_names(std::string_view text) {
    wg::dns::name name;
    std::string_view const domains[] = {text.substr(text.size() / 2), "example.com"};
    unsigned count = 0;
    for (wg::dns::search names(text, domains); names.next(name); ++count) {
        wg::dns::name again;
        std::size_t at = 0;
        wg_fuzz::promise(again.read(name.wire(), at) && again == name && at == name.wire().size(),
                         "a name is readable");
    }
    wg_fuzz::promise(count <= 3, "a search has one name for each domain, and the name itself");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    zeros random;
    auto const host = *wg::dns::name::from_text("a.b");
    for (auto const type : {wg::dns::record::a, wg::dns::record::aaaa}) {
        auto const asked = *wg::dns::question::create(host, type, random);
        check({data, size}, asked, false);
        check({data, size}, asked, true);
    }
    check_names({reinterpret_cast<char const*>(data), size});
    return 0;
}

std::span<std::string_view const> wg_fuzz::seeds() {
    using namespace std::string_view_literals;
    static constexpr std::string_view all[] = {
        "db.example.com."sv,
        "\0\0\x81\x80\0\1\0\2\0\0\0\0\1a\1b\0\0\1\0\1"
        "\xc0\x0c\0\1\0\1\0\0\1\0\0\4\x0a\0\0\1\xc0\x0c\0\1\0\1\0\0\0\7\0\4\x0a\0\0\2"sv,
        "\0\0\x81\x80\0\1\0\2\0\0\0\0\1a\1b\0\0\1\0\1"
        "\xc0\x0c\0\5\0\1\0\0\1\0\0\4\1c\xc0\x0e\xc0\x21\0\1\0\1\0\0\0\7\0\4\x0a\0\0\2"sv,
        "\0\0\x81\x80\0\1\0\1\0\0\0\1\1a\1b\0\0\x1c\0\1"
        "\xc0\x0c\0\x1c\0\1\0\0\1\0\0\x10\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\0\x29\4\xd0\0\0\0\0\0\0"sv,
        "\0\0\x81\x83\0\1\0\0\0\1\0\0\1a\1b\0\0\1\0\1"
        "\xc0\x0e\0\6\0\1\0\0\0\x3c\0\x18\xc0\x0e\xc0\x0e\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x3c"sv,
        "\0\0\x83\x80\0\1\0\0\0\0\0\0\1A\1b\0\0\1\0\1"sv,
        "\0\0\x81\x81\0\0\0\0\0\0\0\0"sv,
    };
    return all;
}
