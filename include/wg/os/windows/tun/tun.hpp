// SPDX-License-Identifier: BSL-1.0
// A network adapter of Wintun, through which the host sends packets into the tunnel and receives packets from it
// (https://www.wintun.net). Folder: os/windows/tun. One thread at a time. Link: iphlpapi.
#ifndef WG_OS_WINDOWS_TUN_TUN_HPP
#define WG_OS_WINDOWS_TUN_TUN_HPP

#include "../../../base/limits.hpp"
#include "../../../policy.hpp"
#include "../../offloads.hpp"
#include "../../tun/coalescer.hpp"
#include "../adapter_name.hpp"
#include "wintun.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string_view>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// Models `tun_device`. A test replaces `Calls`.
template <class Calls = tun_calls> class basic_tun {
public:
    /// Bytes that `write` needs before a packet.
    static constexpr std::size_t headroom = 0;
    static constexpr std::uint32_t ring_bytes = std::uint32_t{8} << 20; ///< of each of the two rings
    static constexpr std::size_t max_packet_bytes = 65535;              ///< that the rings take

    /// Has no adapter; `open` returns an object that has one.
    basic_tun() noexcept = default;
    /// Takes over the adapter of `other`, which has none then.
    basic_tun(basic_tun&& other) noexcept { swap(other); }
    /// Removes its adapter and takes over that of `other`.
    basic_tun& operator=(basic_tun&& other) noexcept {
        basic_tun taken(std::move(other));
        taken.swap(*this);
        return *this;
    }
    basic_tun(basic_tun const&) = delete;
    basic_tun& operator=(basic_tun const&) = delete;
    ~basic_tun() { settle(); }

    /// Creates the adapter `name` with this MTU. Windows removes it when the object is destroyed or the process ends.
    /// `wanted.tso` says whether segments of TCP may be joined for the host.
    /// Returns: `invalid` if `name` cannot name an adapter; `address_in_use`; `no_permission` without the rights of an
    /// administrator; `not_supported` without wintun.dll; the status of another error. `why` then says how to mend it.
    static result<basic_tun> open(std::string_view name, error_text& why, std::size_t mtu_bytes = default_mtu_bytes,
                                  offloads const& wanted = {}) noexcept {
        if (!is_adapter_name(name)) {
            why.set("`", name.substr(0, 40), "` cannot name an adapter: it takes 1 to 32 letters, digits and _=+.-");
            return status::invalid;
        }
        basic_tun made(std::unique_ptr<shared_adapter>(new (std::nothrow) shared_adapter));
        if (made.link_ == nullptr) {
            why.set("there is no memory for the adapter");
            return status::no_memory;
        }
        shared_adapter& link = *made.link_;
        made.wants_joined_ = wanted.tso;
        if (status const loaded = link.library.load(why); loaded != status::ok) return loaded;
        std::copy(name.begin(), name.end(), made.name_);
        char16_t wide_name[max_adapter_name_bytes + 1] = {};
        std::copy(name.begin(), name.end(), wide_name);
        link.adapter = made.wintun().create_adapter(wide_name, u"wg", nullptr);
        if (link.adapter == nullptr) return refused(Calls::error(), name, why);
        made.wintun().get_luid(link.adapter, &link.luid);
        link.session = made.wintun().start_session(link.adapter, ring_bytes);
        if (link.session == nullptr) {
            int const error = Calls::error();
            why.set("cannot start the session of adapter `", name, "`: ", Calls::text_of(error).view());
            return not_ok(status_of(error));
        }
        link.event = made.wintun().read_event(link.session);
        made.mtu_ = mtu_bytes; // where Wine cannot set it
        if (int const error = made.set_mtu(mtu_bytes); error != 0 && error != api_detail::error_call_not_implemented) {
            why.set("cannot set the MTU of `", name, "` to ", mtu_bytes, ": ", Calls::text_of(error).view());
            return not_ok(status_of(error));
        }
        return made;
    }

    /// Windows has no descriptors that another program could hand over. Returns: `not_supported`.
    static result<basic_tun> adopt(int /*number*/, error_text& why, offloads const& /*wanted*/ = {}) noexcept {
        why.set("Windows cannot hand over a TUN device: leave WG_TUN_FD away");
        return status::not_supported;
    }

    /// The event for a waiter: set when a packet waits or the adapter is gone. A wait resets it; `read` sets it again
    /// if it leaves packets behind. Null without an adapter.
    void* event() const noexcept { return link_ != nullptr ? link_->event : nullptr; }
    /// The adapter's name.
    char const* name() const noexcept { return name_; }
    /// The number by which Windows identifies the interface (NET_LUID); 0 without an adapter.
    std::uint64_t luid() const noexcept { return link_ != nullptr ? link_->luid : 0; }

    /// The MTU in bytes that `set_mtu` or `refresh_mtu` found; 0: it is not known.
    std::size_t mtu() const noexcept { return mtu_; }

    /// Asks Windows for the MTU: the smaller one of IPv4 and IPv6, where the interface has both. Also asks whether the
    /// host forwards packets of the interface. Returns: false if Windows has no such interface any more.
    bool refresh_mtu() noexcept {
        if (link_ == nullptr) return false;
        std::size_t found = 0;
        bool forwards = false;
        for (int const kind : {api_detail::family_v4, api_detail::family_v6}) {
            api_detail::interface_row row = row_of(kind);
            if (Calls::get_interface(row) != 0) continue;
            if (found == 0 || row.mtu < found) found = row.mtu;
            forwards = forwards || row.forwards != 0;
        }
        if (found == 0) return false;
        mtu_ = found;
        link_->forwards.store(forwards, std::memory_order_relaxed); // a fact of its own, as the next one
        link_->longest_cut.store(0, std::memory_order_relaxed);
        return true;
    }

    /// The state of the adapter. Windows removes an adapter that is disabled. Returns: ok; `gone` if a `read` has found
    /// that it was removed.
    status link_state() const noexcept { return link_ == nullptr || ended_ ? status::gone : status::ok; }

    /// Sets the MTU for IPv4 and IPv6. A host without one of them is no error. Returns: 0 or the error number.
    int set_mtu(std::size_t mtu_bytes) noexcept {
        if (link_ == nullptr) return api_detail::error_not_found;
        int first_error = 0;
        bool has_any = false;
        for (int const kind : {api_detail::family_v4, api_detail::family_v6}) {
            api_detail::interface_row row = row_of(kind);
            int error = Calls::get_interface(row);
            if (error == api_detail::error_not_found || error == api_detail::error_file_not_found) continue;
            if (error == 0) {
                row.mtu = converted<std::uint32_t>(mtu_bytes);
                if (kind == api_detail::family_v4) row.site_prefix_bits = 0; // else Windows refuses the row
                error = Calls::set_interface(row);
            }
            has_any = has_any || error == 0;
            if (row.forwards != 0) link_->forwards.store(true, std::memory_order_relaxed);
            if (error != 0 && first_error == 0) first_error = error;
        }
        if (first_error != 0) return first_error;
        if (!has_any) return api_detail::error_not_found;
        mtu_ = mtu_bytes;
        link_->longest_cut.store(0, std::memory_order_relaxed);
        return 0;
    }

    /// Reads packets of the host into the windows. Drops a packet that is longer than its window. Never blocks. Finds
    /// none while an object that shares the adapter has not settled.
    /// Returns: the number of packets; `gone` if the adapter was removed or its ring is damaged; `io_error` for other
    /// errors.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        if (link_ == nullptr) return status::gone;
        claimed_ = claimed_ || link_->claim();
        if (!claimed_) return std::size_t{0};
        std::size_t count = 0;
        for (int cut = 0; count < packets.size() && cut < max_cut;) {
            std::uint32_t size = 0;
            byte* const from = wintun().receive(link_->session, &size);
            if (from == nullptr) {
                int const error = Calls::error();
                if (count != 0 || error == api_detail::error_no_more_items) return count;
                ended_ = error == api_detail::error_end_of_file || error == api_detail::error_invalid_data;
                return ended_ ? status::gone : status::io_error;
            }
            packet& p = packets[count];
            if (size <= p.capacity - p.offset) {
                std::memcpy(p.buffer + p.offset, from, size);
                p.length = size;
                ++count;
            } else {
                link_->note_cut(size);
                ++cut;
            }
            wintun().release(link_->session, from);
        }
        // Wintun sets its event only after a `receive` that found the ring empty.
        if (!packets.empty()) Calls::set_event(link_->event);
        return count;
    }

    /// Whether the last `read` left packets that another object can read: no, there is one ring.
    bool has_more_for_others() const noexcept { return false; }

    /// Lets other objects that share the adapter read it. Called when all packets of the last `read` are sent.
    void settle() noexcept {
        if (std::exchange(claimed_, false) && link_->give_back()) Calls::set_event(link_->event);
    }

    /// Makes an object for another thread that reads and writes the same adapter: Wintun's functions for packets may be
    /// called by any thread. It must be destroyed before this object. Only this object may refresh or change the
    /// adapter.
    result<basic_tun> share() const noexcept {
        if (link_ == nullptr) return status::gone;
        basic_tun other;
        other.link_ = link_;
        other.mtu_ = mtu_;
        other.wants_joined_ = wants_joined_;
        std::copy(std::begin(name_), std::end(name_), other.name_);
        return other;
    }

    /// Passes packets to the host. Never blocks; when the ring is full, the rest is dropped. Empty packets, and packets
    /// that are longer than `max_packet_bytes`, are dropped. Consecutive segments of a TCP connection are joined to
    /// packets of up to `max_packet_bytes`, unless the host forwards packets: it could not cut them for another link.
    /// Returns: the number of packets that the ring took.
    std::size_t write(std::span<packet> packets) noexcept {
        if (link_ == nullptr) return 0;
        std::size_t taken = 0;
        for (bool has_room = true; has_room && !packets.empty();) {
            auto const some = packets.first((std::min)(packets.size(), joiner::max_packets));
            packets = packets.subspan(some.size());
            joiner plan(some, joins(), false);
            for (std::size_t i = 0; has_room && i < plan.frame_count(); ++i) {
                if (plan.packet_count(i) > 1 && write_joined(plan, i)) {
                    taken += plan.packet_count(i);
                    continue;
                }
                plan.each_packet(i, [&](packet const& p) noexcept {
                    if (!has_room || p.length == 0 || p.length > max_packet_bytes) return;
                    byte* const to = wintun().allocate(link_->session, p.length);
                    has_room = to != nullptr;
                    if (!has_room) return;
                    std::memcpy(to, p.buffer + p.offset, p.length);
                    wintun().send(link_->session, to);
                    ++taken;
                });
            }
        }
        return taken;
    }

    /// Whether `write` joins segments of TCP.
    bool joins() const noexcept {
        return wants_joined_ && link_ != nullptr && !link_->forwards.load(std::memory_order_relaxed);
    }

    /// Bytes of the longest packet that did not fit its window since the MTU was last set or read; 0: all did fit.
    /// All objects that share the adapter return the same.
    std::size_t longest_cut() const noexcept {
        return link_ != nullptr ? link_->longest_cut.load(std::memory_order_relaxed) : 0;
    }

private:
    static constexpr int max_cut = 256; ///< packets that one `read` drops
    static_assert(max_packet_bytes <= max_frame_packet_bytes);

    struct piece {
        void const* data;
        std::size_t size;
    };
    using joiner = basic_coalescer<piece>;

    /// Writes a packet of several segments, and computes its checksum, because Wintun passes none of the facts about it
    /// to the host. Returns: false if the ring has no room.
    bool write_joined(joiner& plan, std::size_t number) noexcept {
        std::size_t const bytes = plan.size_bytes(number);
        byte* const to = wintun().allocate(link_->session, converted<std::uint32_t>(bytes));
        if (to == nullptr) return false;
        std::span<piece const> const pieces = plan.pieces(number);
        auto const* const head = static_cast<byte const*>(pieces[0].data);
        virtio_header const about =
            virtio_header::load(bytes_view(head, virtio_header_bytes).first<virtio_header_bytes>());
        std::size_t used = pieces[0].size - virtio_header_bytes;
        std::memcpy(to, head + virtio_header_bytes, used);
        for (piece const& p : pieces.subspan(1)) {
            std::memcpy(to + used, p.data, p.size);
            used += p.size;
        }
        // The field has the sum of the pseudo header.
        std::uint64_t const sum = add_words(0, {to + about.checksum_start, bytes - about.checksum_start});
        store_word(to + about.checksum_start + about.checksum_offset, static_cast<std::uint16_t>(~fold_sum(sum)));
        wintun().send(link_->session, to);
        return true;
    }

    /// What the objects of all threads share.
    struct shared_adapter {
        shared_adapter() noexcept = default;
        shared_adapter(shared_adapter const&) = delete;
        shared_adapter& operator=(shared_adapter const&) = delete;
        ~shared_adapter() {
            if (session != nullptr) library.functions().end_session(session);
            if (adapter != nullptr) library.functions().close_adapter(adapter);
        }

        /// Claims the ring of the host's packets for one object. Returns: false if another one has it; then `give_back`
        /// tells that one, because a wait has reset the event.
        bool claim() noexcept {
            claims seen = claims::free;
            while (!claimed.compare_exchange_weak(seen, seen == claims::free ? claims::taken : claims::awaited)) {}
            return seen == claims::free;
        }
        /// Returns: whether another object has tried to claim the ring in the meantime.
        bool give_back() noexcept { return claimed.exchange(claims::free) == claims::awaited; }

        void note_cut(std::size_t bytes) noexcept {
            // Relaxed, because no other memory depends on the number.
            std::size_t longest = longest_cut.load(std::memory_order_relaxed);
            while (longest < bytes && !longest_cut.compare_exchange_weak(longest, bytes, std::memory_order_relaxed)) {}
        }

        enum class claims : std::uint32_t { free, taken, awaited };

        basic_wintun<Calls> library{}; ///< outlives adapter and session
        void* adapter = nullptr;
        void* session = nullptr;
        void* event = nullptr; ///< the session's own
        std::uint64_t luid = 0;
        std::atomic<claims> claimed{claims::free};
        std::atomic<std::size_t> longest_cut{0};
        std::atomic<bool> forwards{false}; ///< the host passes packets of this interface to other ones
    };

    explicit basic_tun(std::unique_ptr<shared_adapter> made) noexcept : owned_(std::move(made)), link_(owned_.get()) {}

    wintun_functions const& wintun() const noexcept { return link_->library.functions(); }

    api_detail::interface_row row_of(int kind) const noexcept {
        api_detail::interface_row row{};
        row.family = static_cast<std::uint16_t>(kind);
        row.luid = luid();
        return row;
    }

    static status not_ok(status found) noexcept { return found == status::ok ? status::io_error : found; }

    static status refused(int error, std::string_view name, error_text& why) noexcept {
        status const found = not_ok(status_of(error));
        if (found == status::no_permission)
            why.set("cannot create adapter `", name, "`: run this program as an administrator");
        else if (found == status::address_in_use)
            why.set("an adapter `", name, "` exists already: choose another name");
        else why.set("cannot create adapter `", name, "`: ", Calls::text_of(error).view());
        return found;
    }

    void swap(basic_tun& other) noexcept {
        std::swap(owned_, other.owned_);
        std::swap(link_, other.link_);
        std::swap(mtu_, other.mtu_);
        std::swap(claimed_, other.claimed_);
        std::swap(ended_, other.ended_);
        std::swap(wants_joined_, other.wants_joined_);
        std::swap(name_, other.name_);
    }

    std::unique_ptr<shared_adapter> owned_{}; ///< none if this object shares the adapter of another one
    shared_adapter* link_ = nullptr;
    std::size_t mtu_ = 0;
    bool claimed_ = false; ///< only this object may read now
    bool ended_ = false;   ///< a `read` has found that the adapter was removed
    bool wants_joined_ = false;
    char name_[max_adapter_name_bytes + 1] = {};
};

/// The TUN device of a Windows host.
using tun = basic_tun<>;
static_assert(tun_device<tun>);
static_assert(tun_device_with_longest_cut<tun>);
static_assert(tun_device_with_share<tun> && tun_device_with_settle<tun>);

}}}} // namespace wg::WG_ABI::os::windows

#endif
