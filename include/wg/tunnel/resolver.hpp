// SPDX-License-Identifier: BSL-1.0
// Names of hosts inside, asked from the DNS servers of the tunnel.
// Sources: RFC 1035, RFC 7766 (TCP), RFC 8305 (both families). Folder: tunnel. Any thread.
#ifndef WG_TUNNEL_RESOLVER_HPP
#define WG_TUNNEL_RESOLVER_HPP

#include "dns.hpp"
#include "streams.hpp"

#include <string>
#include <vector>

namespace wg { inline namespace WG_ABI {

/// The time that is left of a timeout.
class time_left {
public:
    /// `timeout` from now on.
    explicit time_left(duration timeout) noexcept : timeout_(timeout) {}
    /// What is left, at least zero; `forever` stays.
    duration left() const noexcept {
        if (timeout_ == forever) return forever;
        std::chrono::nanoseconds const gone = clock::now() - start_;
        return (std::max)(duration{}, timeout_ - duration{gone.count()});
    }
    /// What is left, but at most `most`.
    duration at_most(duration most) const noexcept { return (std::min)(left(), most); }

private:
    using clock = std::chrono::steady_clock;
    duration timeout_;
    clock::time_point start_ = clock::now();
};

/// Resolves names through the tunnel of type `Tunnel`, and remembers the answers for as long as they hold.
template <class Tunnel> class tunnel_resolver {
    using canceller = typename Tunnel::canceller;

public:
    /// Asks these servers, and completes names by these domains.
    tunnel_resolver(std::vector<ip_address> servers, std::vector<std::string> domains) noexcept
        : servers_(std::move(servers)), domains_(std::move(domains)) {}

    /// The addresses of a name; IPv6 first. Asks for the families of which the tunnel has an address. Returns:
    /// name_not_found, also without servers; timed_out; cancelled; invalid, if the text is no name; no_random.
    result<std::vector<ip_address>> resolve(Tunnel& through, std::string_view host, time_left const& time,
                                            canceller* ends) noexcept {
        dns::search candidates(host, domains_);
        status last = status::invalid;
        for (dns::name candidate; candidates.next(candidate);) {
            std::vector<ip_address> found;
            for (auto const& [kind, type] : {std::pair{family::v6, dns::record::aaaa}, {family::v4, dns::record::a}}) {
                if (!through.has_family(kind)) continue;
                result<dns::answer> const got = ask(through, candidate, type, time, ends);
                if (!got) last = got.why();
                else if (got->what == dns::outcome::found)
                    found.insert(found.end(), got->addresses().begin(), got->addresses().end());
                else last = status::name_not_found;
            }
            if (!found.empty()) return found;
            if (last == status::cancelled) return last;
        }
        return last;
    }

private:
    static constexpr duration first_patience = milliseconds(1500); ///< for a server; doubled in the second round

    result<dns::answer> ask(Tunnel& through, dns::name const& host, dns::record type, time_left const& time,
                            canceller* ends) noexcept {
        if (dns::answer const known = cached(host, type); known.is_final()) return known;
        status last = status::name_not_found;
        duration patience = first_patience;
        for (int round = 0; round < 3; ++round, patience = patience * 2) {
            for (ip_address const& server : servers_) {
                auto question = dns::question::create(host, type, random_);
                if (!question) return question.why();
                result<dns::answer> got = ask_once(through, server, *question, time.at_most(patience), ends);
                if (got && got->what == dns::outcome::no_edns) {
                    question->omit_edns();
                    got = ask_once(through, server, *question, time.at_most(patience), ends);
                }
                if (got && got->is_final()) {
                    std::lock_guard const held(mutex_);
                    cache_.store(*question, *got, clock_.now());
                    return got;
                }
                if (!got) last = got.why();
                if (last == status::cancelled) return last;
                if (time.left() <= duration{}) return status::timed_out;
            }
        }
        return last;
    }

    /// One question to one server, by UDP and, if the answer asks for it, by TCP.
    result<dns::answer> ask_once(Tunnel& through, ip_address const& server, dns::question const& question,
                                 duration patience, canceller* ends) noexcept {
        time_left const time(patience);
        endpoint const to{server, dns::server_port, 0};
        auto port = through.udp();
        if (!port) return port.why();
        if (status const sent = port->send_to(question.message(), to); sent != status::ok) return sent;
        for (;;) {
            byte room[dns::most_udp_bytes];
            endpoint from;
            auto const size = port->receive_from(room, from, time.left(), ends);
            if (!size) return size.why() == status::would_block ? status::timed_out : size.why();
            if (!(from == to)) continue;
            dns::answer const got = dns::parse(bytes_view(room).first(*size), question);
            if (got.needs_stream()) return ask_by_stream(through, to, question, time, ends);
            if (got.what != dns::outcome::not_ours) return got;
        }
    }
    result<dns::answer> ask_by_stream(Tunnel& through, endpoint const& to, dns::question const& question,
                                      time_left const& time, canceller* ends) noexcept {
        auto connection = through.dial(to, time.left(), ends);
        if (!connection) return connection.why();
        auto const sent = connection->write(question.stream_message(), time.left(), ends);
        if (!sent) return sent.why();
        byte head[2];
        if (status const got = read_all(*connection, head, time, ends); got != status::ok) return got;
        std::vector<byte> message(load_be16(head));
        if (status const got = read_all(*connection, message, time, ends); got != status::ok) return got;
        return dns::parse(message, question, true);
    }
    template <class Stream> static status read_all(Stream& from, bytes into, time_left const& time, canceller* ends) {
        for (std::size_t done = 0; done < into.size();) {
            auto const got = from.read(into.subspan(done), time.left(), ends);
            if (!got) return got.why() == status::would_block ? status::timed_out : got.why();
            if (*got == 0) return status::gone;
            done += *got;
        }
        return status::ok;
    }

    dns::answer cached(dns::name const& host, dns::record type) noexcept {
        std::lock_guard const held(mutex_);
        return cache_.find(host, type, clock_.now());
    }

    std::vector<ip_address> servers_;
    std::vector<std::string> domains_;
    typename Tunnel::random_source random_{};
    typename Tunnel::clock_source clock_{};
    std::mutex mutex_; ///< guards the cache
    dns::cache<> cache_{};
};

}} // namespace wg::WG_ABI

#endif
