// SPDX-License-Identifier: BSL-1.0
// The MAC addresses of neighbours, as learned by ARP and neighbour discovery (RFC 826, 4861).
// Folder: os/bare. One thread at a time.
#ifndef WG_OS_BARE_NEIGHBOURS_HPP
#define WG_OS_BARE_NEIGHBOURS_HPP

#include "board.hpp"

namespace wg { inline namespace WG_ABI { namespace bare {

/// Remembers `Capacity` neighbours. A new one replaces the one that was not used for the longest time.
template <std::size_t Capacity> class neighbours {
public:
    static constexpr duration fresh_time = seconds(30);  ///< after it, a neighbour in use is asked for again
    static constexpr duration ask_interval = seconds(1); ///< between two requests for a neighbour
    static constexpr unsigned max_asks = 3;              ///< requests without an answer until it is forgotten

    /// The result of `find`.
    struct found {
        mac_address const* station = nullptr; ///< the neighbour's MAC address; nullptr: not known
        bool ask = false;                     ///< the caller is to ask for it now
    };

    /// The MAC address for packets to `address`.
    found find(ip_address const& address, instant now) noexcept {
        entry& e = at(address);
        e.used = now;
        bool const doubtful = !e.known || now - e.learned > fresh_time;
        bool const ask = doubtful && (e.requests == 0 || now - e.asked >= ask_interval);
        if (ask) {
            if (e.requests == max_asks) {
                e = {};
                e.address = address;
                e.used = now;
            }
            e.asked = now;
            ++e.requests;
        }
        return {e.known ? &e.station : nullptr, ask};
    }

    /// Notes that `address` is at `station`. Unless `may_add`, only a neighbour that is remembered already is updated.
    /// So only neighbours that this host sends to, or that ask for it, take an entry.
    void learn(ip_address const& address, mac_address const& station, bool may_add, instant now) noexcept {
        if (look(address) == nullptr && !may_add) return;
        entry& e = at(address);
        e.station = station;
        e.learned = now;
        e.requests = 0;
        e.known = true;
    }

private:
    struct entry {
        ip_address address{};
        mac_address station{};
        instant used{}, learned{}, asked{};
        std::uint8_t requests = 0; ///< requests since it was learned
        bool known = false;
    };

    entry& at(ip_address const& address) noexcept {
        if (entry* const known = look(address); known != nullptr) return *known;
        entry& made = oldest();
        made = {};
        made.address = address;
        return made;
    }

    entry* look(ip_address const& address) noexcept {
        for (entry& e : entries_)
            if (e.address == address) return &e;
        return nullptr;
    }
    entry& oldest() noexcept {
        entry* chosen = &entries_[0];
        for (entry& e : entries_)
            if (e.address.kind == family::none || e.used < chosen->used) chosen = &e;
        return *chosen;
    }

    std::array<entry, Capacity> entries_{};
};

}}} // namespace wg::WG_ABI::bare

#endif
