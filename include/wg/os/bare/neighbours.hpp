// SPDX-License-Identifier: BSL-1.0
// Which station has which address on the wire: what ARP and neighbour discovery told (RFC 826, 4861). Layer 7 (bare
// metal); one thread at a time.
#ifndef WG_OS_BARE_NEIGHBOURS_HPP
#define WG_OS_BARE_NEIGHBOURS_HPP

#include "board.hpp"

namespace wg { inline namespace WG_ABI { namespace bare {

/// `Capacity` neighbours; the one that was not used for longest makes room for a new one.
template <std::size_t Capacity> class neighbours {
public:
    static constexpr duration fresh_time = seconds(30); ///< afterwards it is asked for again while it is used
    static constexpr duration ask_interval = seconds(1);
    static constexpr unsigned max_asks = 3; ///< without an answer: then it is not known any more

    struct found {
        mac_address const* station = nullptr; ///< nullptr: not known
        bool ask = false;                     ///< it is time to ask
    };

    /// Where packets to `address` go.
    found find(ip_address const& address, instant now) noexcept {
        entry& e = at(address);
        e.used = now;
        bool const doubtful = !e.known || now - e.learned > fresh_time;
        bool const ask = doubtful && (e.asks == 0 || now - e.asked >= ask_interval);
        if (ask) {
            if (e.asks == max_asks) {
                e = {};
                e.address = address;
                e.used = now;
            }
            e.asked = now;
            ++e.asks;
        }
        return {e.known ? &e.station : nullptr, ask};
    }

    /// `address` is at `station`. Only whom this host talks to or is asked by (`may_add`) gets an entry.
    void learn(ip_address const& address, mac_address const& station, bool may_add, instant now) noexcept {
        if (look(address) == nullptr && !may_add) return;
        entry& e = at(address);
        e.station = station;
        e.learned = now;
        e.asks = 0;
        e.known = true;
    }

private:
    struct entry {
        ip_address address{};
        mac_address station{};
        instant used{}, learned{}, asked{};
        std::uint8_t asks = 0; ///< since it was learned
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
