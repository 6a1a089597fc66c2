// SPDX-License-Identifier: BSL-1.0
// The parser of configuration files: an error is one line, names a line of the text, and has no control characters.
#include "fuzz.hpp"

#include <wg/control/quick.hpp>

namespace {

wg::quick::verdict extension(void* context, wg::quick::entry const& what, std::string& why) {
    auto& total = *static_cast<std::size_t*>(context);
    total += what.section.size() + what.key.size() + what.value.size() + what.raw_value.size();
    if (what.key.size() % 3 == 1) return wg::quick::verdict::unknown;
    if (what.key.size() % 3 == 0) return wg::quick::verdict::taken;
    why = "refused";
    return wg::quick::verdict::wrong;
}

void check(std::string_view text, wg::quick::options const& with) {
    std::string why = "before";
    auto const got = wg::quick::parse(text, "f", why, with);
    wg_fuzz::promise(bool(got) == why.empty(), "there is an error exactly if there is no configuration");
    if (!got) {
        wg_fuzz::promise(why.starts_with("f:"), "an error names the file");
        std::size_t const end = why.find(": ");
        auto const line = wg::text::parse_decimal<std::uint32_t>(std::string_view(why).substr(2, end - 2));
        auto const lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
        wg_fuzz::promise(line && *line >= 1 && *line <= lines, "an error names a line of the text");
        for (char const c : why) wg_fuzz::promise(c >= ' ' && c <= '~', "an error has printable characters only");
        wg_fuzz::promise(why.size() < 300, "an error is short");
        return;
    }
    wg::secret_vector<wg::change> changes;
    wg_fuzz::promise(wg::quick::append_changes(*got, changes), "there is memory");
    for (auto const& peer : got->peers) {
        bool const present = peer.endpoint.port != 0;
        wg_fuzz::promise(present != peer.endpoint.host.empty(), "an endpoint has a host and a port");
        for (auto const& prefix : peer.allowed_ips)
            wg_fuzz::promise(prefix == wg::ip_prefix::of(prefix.address, prefix.bits), "host bits are masked");
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    std::string_view const text(reinterpret_cast<char const*>(data), size);
    check(text, {});
    std::size_t total = 0;
    wg::quick::options with{.extension = extension, .context = &total};
    with.variable = [](char const* name) -> char const* { return *name == 'A' ? "10.0.0.1" : nullptr; };
    check(text, with);
    return 0;
}

std::span<std::string_view const> wg_fuzz::seeds() {
    static constexpr std::string_view all[] = {
        "",
        "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\nAddress = 10.0.0.2/24, fd00::2/64\n"
        "ListenPort = 51820\nFwMark = 0xca6c\nMTU = 1380\nDNS = 10.0.0.1, office.internal\nPostUp = true # x\n",
        "[Peer]\nPublicKey = 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=\nAllowedIPs = 10.0.0.0/24, -fd00::/64\n"
        "Endpoint = vpn.example.com:51821\nPersistentKeepalive = 25\n",
        "\xef\xbb\xbf[peer]\r\nPublicKey=hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\r\nEndpoint = [fe80::1%2]:7\r\n"
        "PresharedKey = hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\r\nPersistentKeepalive = off\r\n",
        "[Socks5]\nBindAddress = 127.0.0.1:1080\n; comment\nAddress = $A\nFwMark = off\n",
    };
    return all;
}
