// SPDX-License-Identifier: BSL-1.0
// A TUN interface with one queue. Each packet has a head of four bytes: utun of macOS, tun(4) of the BSDs.
// Folder: os/posix/tun. One thread at a time.
#ifndef WG_OS_POSIX_TUN_TUN_HPP
#define WG_OS_POSIX_TUN_TUN_HPP

#include "../../../base/limits.hpp"
#include "../../../policy.hpp"
#include "../../error_text.hpp"
#include "../../offloads.hpp"
#include "../kqueue/queue.hpp"
#include "head.hpp"
#include "link_calls.hpp"

#include <atomic>
#include <memory>
#include <new>

namespace wg { inline namespace WG_ABI { namespace os { namespace posix {

/// An interface that a system's `opener` has opened.
struct opened_tun {
    unique_fd fd{};        ///< does not block
    interface_name name{}; ///< of the interface
    unsigned index = 0;    ///< of the interface
    bool is_new = false;   ///< it was created now
};

/// Models `tun_device`. `Opener` opens the interface: `open(name, opened, why)` and `adopt(fd, opened, why)` return a
/// status, and `close(opened)` removes what closing the descriptor leaves. `Calls` is a `link_calls` with `families`
/// and the members of `kqueue_calls`.
template <class Opener, class Calls> class basic_tun {
public:
    /// Bytes that `write` needs before a packet: none, because the head is a piece of its own (writev).
    static constexpr std::size_t headroom = 0;

    /// Has no interface; `open` and `adopt` return an object that has one.
    basic_tun() noexcept = default;
    /// Takes over the interface of `other`.
    basic_tun(basic_tun&& other) noexcept
        : owned_(std::move(other.owned_)), link_(std::exchange(other.link_, nullptr)), name_(other.name_),
          mtu_(other.mtu_), claimed_(std::exchange(other.claimed_, false)) {}
    /// Gives up its interface and takes over that of `other`.
    basic_tun& operator=(basic_tun&& other) noexcept {
        if (this == &other) return *this;
        settle();
        owned_ = std::move(other.owned_);
        link_ = std::exchange(other.link_, nullptr);
        name_ = other.name_;
        mtu_ = other.mtu_;
        claimed_ = std::exchange(other.claimed_, false);
        return *this;
    }
    ~basic_tun() { settle(); }

    /// Creates the interface `name` with this MTU, as `Opener` documents it. The system removes it when the object is
    /// destroyed. The offloads do not concern these interfaces.
    /// Returns: `invalid` if `name` cannot name such an interface; `address_in_use`; `no_permission`; `not_supported`;
    /// `no_memory`. `why` then says how to mend it, and nothing is left behind.
    static result<basic_tun> open(std::string_view name, error_text& why, std::size_t mtu_bytes = default_mtu_bytes,
                                  offloads const& = {}) noexcept {
        std::unique_ptr<shared_interface> made(new (std::nothrow) shared_interface);
        if (!made) return no_memory(why);
        if (status const s = Opener::open(name, made->opened, why); s != status::ok) return s;
        basic_tun self(std::move(made));
        if (self.index() == 0) {
            why.set("the interface `", self.name(), "` was deleted while it was opened");
            return status::gone;
        }
        if (int const error = Calls::set_mtu(self.name_, mtu_bytes); error != 0) {
            why.set("cannot set the MTU of `", self.name(), "` to ", mtu_bytes, ": ", std::strerror(error));
            return status_of(error);
        }
        self.mtu_ = mtu_bytes;
        return self;
    }

    /// Takes over the open descriptor of an interface, which a process with more rights has opened (WG_TUN_FD). On
    /// failure the descriptor stays the caller's.
    /// Returns: `invalid` if it is no such interface; `no_memory`; `io_error`.
    static result<basic_tun> adopt(int number, error_text& why, offloads const& = {}) noexcept {
        std::unique_ptr<shared_interface> made(new (std::nothrow) shared_interface);
        if (!made) return no_memory(why);
        if (status const s = Opener::adopt(number, made->opened, why); s != status::ok) return s;
        basic_tun self(std::move(made));
        if (self.index() == 0 || !make_private(number)) {
            why.set("descriptor ", number, " (`", self.name(), "`): ", std::strerror(errno));
            (void)self.owned_->opened.fd.release(); // not taken over
            return status::io_error;
        }
        self.refresh_mtu();
        return self;
    }

    /// A descriptor that polls readable when a packet waits or the interface is gone, unless an object that shares the
    /// interface is reading it; -1 without an interface. To be called in the process that reads: a child of fork(2)
    /// gets a descriptor of its own. It then stays the same for the object's life.
    int fd() const noexcept { return link_ != nullptr ? link_->pollable() : -1; }
    /// The interface's name, as `refresh_mtu` last found it.
    char const* name() const noexcept { return name_.data(); }
    /// The interface's number; 0: there is none.
    unsigned index() const noexcept { return link_ != nullptr ? link_->opened.index : 0; }

    /// Reads packets until the span is full or no packet waits. A call that filled its span must be followed by another
    /// one. A packet that is longer than its room is cut; it is then shorter than its header says.
    /// Returns: the number of packets; `gone` if the interface was deleted; `io_error`.
    result<std::size_t> read(std::span<packet> packets) noexcept {
        if (link_ == nullptr) return status::gone;
        claimed_ = claimed_ || link_->claim();
        std::size_t count = 0;
        for (; claimed_ && count < packets.size(); ++count) {
            packet& p = packets[count];
            byte head[tun_head_bytes];
            iovec const pieces[] = {{head, sizeof head}, {p.buffer + p.offset, p.capacity - p.offset}};
            ssize_t const size = without_interruption([&] { return Calls::read(descriptor(), pieces, 2); });
            if (size < 0 && errno == EAGAIN) break;
            if (size <= 0) {           // 0: the kernel has closed the other end
                if (count != 0) break; // the next call finds the same error
                return size == 0 || Calls::is_gone(errno) ? status::gone : status::io_error;
            }
            std::size_t const bytes = static_cast<std::size_t>(size);
            p.length = bytes > sizeof head ? static_cast<std::uint32_t>(bytes - sizeof head) : 0;
            note_length(p);
        }
        return count;
    }

    /// Whether the last `read` left packets that another object can read: no, there is one queue.
    bool has_more_for_others() const noexcept { return false; }

    /// Lets other objects that share the interface read it. Called when all packets of the last `read` are sent.
    void settle() noexcept {
        if (std::exchange(claimed_, false) && link_ != nullptr) link_->give_back();
    }

    /// Makes an object for another thread that reads and writes the same interface. It must be destroyed before this
    /// object. Only this object may refresh or change the interface. `fd` must have been called before.
    result<basic_tun> share() const noexcept {
        if (link_ == nullptr) return status::gone;
        basic_tun other;
        other.link_ = link_;
        other.name_ = name_;
        other.mtu_ = mtu_;
        return other;
    }

    /// Hands packets to the host. A packet that the host refuses is dropped, also for lack of room; if the interface is
    /// down or gone, all packets are. Returns: how many packets the host took.
    std::size_t write(std::span<packet> packets) noexcept {
        std::size_t taken = 0;
        for (packet const& p : packets) {
            byte head[tun_head_bytes];
            if (link_ == nullptr || !write_head(p.view(), Calls::families, head)) continue;
            iovec const pieces[] = {{head, sizeof head}, {p.buffer + p.offset, p.length}};
            ssize_t const size = without_interruption([&] { return Calls::write(descriptor(), pieces, 2); });
            if (size < 0 && takes_nothing(errno)) break;
            taken += size == static_cast<ssize_t>(sizeof head + p.length);
        }
        return taken;
    }

    /// The MTU in bytes as `refresh_mtu` last found it, or the length of a longer packet that was read since then; 0 if
    /// it is not known.
    std::size_t mtu() const noexcept { return (std::max)(mtu_, longest_cut()); }

    /// The length in bytes of the longest packet since the last `refresh_mtu` that did not fit its room; 0 if there was
    /// none. All objects that share the interface return the same.
    std::size_t longest_cut() const noexcept {
        return link_ != nullptr ? link_->longest_cut.load(std::memory_order_relaxed) : 0; // a number of its own
    }

    /// Asks the host for the interface's name and MTU, because both can change. If the host does not answer, the known
    /// values stay.
    void refresh_mtu() noexcept {
        if (link_ == nullptr) return;
        interface_name now{};
        if (Calls::name(link_->opened.index, now)) name_ = now;
        if (Calls::mtu(name_, mtu_) == 0) link_->longest_cut.store(0, std::memory_order_relaxed);
    }

    /// Sets the interface's MTU. Returns: the status of errno.
    status set_mtu(std::size_t bytes) noexcept {
        int const error = Calls::set_mtu(name_, bytes);
        if (error == 0) mtu_ = bytes;
        return status_of(error);
    }

    /// Finds out whether the interface is up. Returns: `ok` if it is, `device_down`, or `gone`.
    status link_state() const noexcept {
        interface_name now{};
        unsigned flags = 0;
        if (link_ == nullptr || !Calls::name(link_->opened.index, now)) return status::gone;
        int const error = Calls::flags(now, flags);
        if (error != 0) return Calls::is_gone(error) ? status::gone : status::device_down;
        return (flags & IFF_UP) != 0 ? status::ok : status::device_down;
    }

private:
    /// What the objects of all threads share.
    struct shared_interface {
        shared_interface() noexcept = default;
        shared_interface(shared_interface const&) = delete;
        shared_interface& operator=(shared_interface const&) = delete;
        ~shared_interface() {
            if (opened.fd) Opener::close(opened);
        }

        /// The queue, made anew in a child of fork(2).
        int pollable() noexcept {
            if (queue.renewed()) {
                Calls::note_owner(opened.fd.get());
                if (!queue.change(event_kind::readable, source(), event_action::add_once)) return -1;
            }
            return queue.fd();
        }
        /// Claims the packets for one object: the queue reports the event once. Without a queue nothing is shared.
        bool claim() const noexcept {
            queue_event event[1];
            return !queue || queue.wait(event, duration{}) == 1;
        }
        void give_back() const noexcept {
            if (queue) (void)queue.change(event_kind::readable, source(), event_action::enable);
        }
        std::uintptr_t source() const noexcept { return static_cast<std::uintptr_t>(opened.fd.get()); }

        opened_tun opened{};
        event_queue<Calls> queue{};
        std::atomic<std::size_t> longest_cut{0};
    };

    explicit basic_tun(std::unique_ptr<shared_interface> made) noexcept
        : owned_(std::move(made)), link_(owned_.get()), name_(link_->opened.name) {
        link_->opened.index = Calls::index(name_);
    }

    static status no_memory(error_text& why) noexcept {
        why.set("there is no memory for the interface");
        return status::no_memory;
    }

    int descriptor() const noexcept { return link_->opened.fd.get(); }

    /// Whether the error means that the interface is down or gone, and takes no other packet either.
    static bool takes_nothing(int error) noexcept {
        return error == EIO || error == ENETDOWN || error == EHOSTDOWN || Calls::is_gone(error);
    }

    /// Notes a packet that was cut: it fills its room and is shorter than its header says.
    void note_length(packet const& p) noexcept {
        std::size_t const bytes = p.length == p.capacity - p.offset ? stated_bytes(p.view()) : 0;
        if (bytes <= p.length) return;
        // Relaxed, because no other memory depends on the number.
        std::size_t longest = link_->longest_cut.load(std::memory_order_relaxed);
        while (longest < bytes &&
               !link_->longest_cut.compare_exchange_weak(longest, bytes, std::memory_order_relaxed)) {}
    }

    std::unique_ptr<shared_interface> owned_{}; ///< none if this object shares the interface of another one
    shared_interface* link_ = nullptr;
    interface_name name_{};
    std::size_t mtu_ = 0;
    bool claimed_ = false; ///< only this object may read now
};

}}}} // namespace wg::WG_ABI::os::posix

#endif
