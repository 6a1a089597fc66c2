// SPDX-License-Identifier: BSL-1.0
// A peer for tests: peer NAME PRIVATE-KEY PORT PEER-PUBLIC-KEY PEER-ENDPOINT ALLOWED-IP... A PEER-ENDPOINT of - waits
// for the peer's handshake. Ends when the adapter is removed.
#include <wg/wg.hpp>

#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

int failed(char const* reason) { return std::fprintf(stderr, "%s\n", reason), 1; }

} // namespace

int main(int count, char** arguments) {
    if (count < 7) return failed("peer NAME PRIVATE-KEY PORT PEER-PUBLIC-KEY PEER-ENDPOINT ALLOWED-IP...");
    wg::public_key own_key, peer_key;
    if (!wg::text::parse_base64_key(arguments[2], own_key) || !wg::text::parse_base64_key(arguments[4], peer_key))
        return failed("no valid key");
    std::vector<wg::change> changes;
    changes.push_back(wg::change::private_key(own_key));
    changes.push_back(wg::change::listen_port(static_cast<std::uint16_t>(std::atoi(arguments[3]))));
    changes.push_back(wg::change::peer(peer_key));
    if (auto const address = wg::text::parse_endpoint(arguments[5])) changes.push_back(wg::change::endpoint(*address));
    for (int i = 6; i < count; ++i) {
        auto const network = wg::text::parse_prefix(arguments[i]);
        if (!network) return failed("no valid allowed IP");
        changes.push_back(wg::change::allowed_ip(*network));
    }

    wg::os::error_text reason;
    auto tun = wg::os::tun::open(arguments[1], reason);
    if (!tun) return failed(reason.c_str());
    wg::os::udp socket;
    wg::device<wg::default_policies> device;
    wg::engine<wg::default_policies> engine(device, *tun, socket);
    wg::status status = engine.configure(changes);
    if (status == wg::status::ok) status = engine.up();
    wg::os::waiter waiter(tun->event(), socket.event());
    while (status == wg::status::ok) status = engine.run_once(waiter.wait(engine.next_deadline()));
    return failed(wg::describe(status));
}
