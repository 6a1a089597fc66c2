// SPDX-License-Identifier: BSL-1.0
// Sends datagrams in batches and, where the kernel can, as messages that the kernel or the card cuts (udp(7),
// sendmmsg(2)). Folder: os/linux/udp. One thread at a time.
#ifndef WG_OS_LINUX_UDP_SENDER_HPP
#define WG_OS_LINUX_UDP_SENDER_HPP

#include "../../../base/time.hpp"
#include "return_route.hpp"
#include "segment_limits.hpp"
#include "sockets.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace udp_detail {

inline constexpr std::size_t batch = 64;                   ///< messages in one system call
inline constexpr std::size_t max_planned = 256;            ///< datagrams in the messages of one system call
inline constexpr std::size_t max_segments = 64;            ///< datagrams in one message; Linux 4.18's limit
inline constexpr duration send_patience = milliseconds(5); ///< the default of `sender::set_patience`
inline constexpr duration memory_of_paths = seconds(300);  ///< how long `sender` remembers what it learned of paths

/// The messages of one system call. A message has one datagram, or several datagrams that the kernel cuts apart again.
/// Datagrams that are adjacent in memory are one piece of their message.
struct message_batch {
    mmsghdr messages[batch];
    socket_address addresses[batch];
    control_messages controls[batch];
    iovec pieces[max_planned];
    datagram* planned[max_planned];
    local_source sources[batch]; ///< the source of each message, as passed to the kernel
    std::uint16_t begins[batch]; ///< of each message, its first datagram in `planned`
    std::size_t message_count = 0;
    std::size_t piece_count = 0;
    std::size_t planned_count = 0;

    /// The datagrams of a message.
    std::span<datagram*> datagrams_of(std::size_t message) noexcept {
        std::size_t const end = message + 1 < message_count ? begins[message + 1] : planned_count;
        return {planned + begins[message], end - begins[message]};
    }
    /// Writes the control messages of a message, from its first datagram and its source.
    void write_control(std::size_t message) noexcept {
        auto const parts = datagrams_of(message);
        controls[message].write(messages[message].msg_hdr, *parts[0], sources[message],
                                parts.size() > 1 ? parts[0]->length : 0);
    }
    /// Begins a message to the destination of `d`.
    void begin_message(datagram& d, local_source const& source) noexcept {
        msghdr& header = messages[message_count].msg_hdr;
        header = {};
        header.msg_name = &addresses[message_count];
        header.msg_namelen = spell(d.where.remote, addresses[message_count]);
        header.msg_iov = &pieces[piece_count];
        sources[message_count] = source;
        begins[message_count++] = static_cast<std::uint16_t>(planned_count);
    }
    /// Appends a datagram to the last message.
    void append(datagram& d) noexcept {
        msghdr& header = messages[message_count - 1].msg_hdr;
        byte* const from = d.buffer + d.offset;
        iovec* const before = header.msg_iovlen != 0 ? &pieces[piece_count - 1] : nullptr;
        if (before != nullptr && static_cast<byte*>(before->iov_base) + before->iov_len == from) {
            before->iov_len += d.length;
        } else {
            pieces[piece_count++] = {from, d.length};
            ++header.msg_iovlen;
        }
        planned[planned_count++] = &d;
    }
};

/// Sends through the sockets of a port, and remembers which paths refuse sources and segments.
template <class Calls> class sender {
public:
    /// `batches`: sendmmsg is wanted.
    explicit sender(bool batches) noexcept : many_(batches) {}

    /// Begins a call of `send_family` for each family: starts the clock of `patience_` and forgets old paths.
    void begin(return_route::sender const& by) noexcept {
        by_ = by;
        give_up_at_ = {};
        sending_at_ = Calls::now();
        if (learned_ == instant{}) learned_ = sending_at_;
        if (sending_at_ - learned_ >= memory_of_paths) forget_paths();
    }

    /// Sends the datagrams of one family and stores each one's status in `why`. Returns: how many left.
    std::size_t send_family(family_sockets& s, family kind, std::span<datagram> datagrams) noexcept {
        std::size_t sent = 0;
        for (std::size_t next = 0; next < datagrams.size();) {
            message_batch p;
            next += fill(p, s, kind, datagrams.subspan(next));
            sent += flush(p, s);
        }
        return sent;
    }

    /// Forgets what was learned of paths.
    void forget_paths() noexcept {
        return_.forget();
        limits_.forget();
        learned_ = {};
    }

    /// Sets how long one `send` waits in total for room; zero: it never waits.
    void set_patience(duration at_most) noexcept { patience_ = at_most; }

    /// Takes over whether the kernel has sendmmsg, and how long a `send` waits.
    void share(sender const& of) noexcept {
        many_ = of.many_;
        patience_ = of.patience_;
    }

private:
    /// Puts datagrams of one family, from the front, into messages until the batch is full. Returns: how many datagrams
    /// it has passed, those of the other family among them.
    std::size_t fill(message_batch& p, family_sockets const& s, family kind, std::span<datagram> datagrams) noexcept {
        datagram const* first = nullptr; // the last message's first datagram, if the message may take more
        path asked{};                    // the path of `first` before its source was chosen
        bool source_cleared = false;     // whether the choice cleared the source of `first`
        std::size_t joined = 0, joined_bytes = 0;
        std::size_t passed = 0;
        for (; passed < datagrams.size() && p.planned_count < max_planned; ++passed) {
            datagram& d = datagrams[passed];
            if (d.where.remote.address.kind != kind) continue;
            if (!s.fd) {
                d.why = status::not_supported;
                d.error = EAFNOSUPPORT;
                continue;
            }
            bool const joins = first != nullptr && d.length != 0 && d.length <= first->length && d.tos == first->tos &&
                               joined < max_segments && joined_bytes + d.length <= max_joined_bytes && d.where == asked;
            if (joins) {
                if (source_cleared) d.where.local = {};
                if (d.length != first->length) first = nullptr; // a shorter datagram ends its message
            } else {
                if (p.message_count == batch) break;
                asked = d.where;
                p.begin_message(d, choose_source(d));
                source_cleared = d.where.local != asked.local;
                first = s.segments && d.length != 0 && !limits_.refused(asked.remote.address, d.length) ? &d : nullptr;
                joined = joined_bytes = 0;
            }
            p.append(d);
            ++joined;
            joined_bytes += d.length;
        }
        for (std::size_t i = 0; i < p.message_count; ++i) p.write_control(i);
        return passed;
    }

    /// The source of `d` that is passed to the kernel. Clears `d.where.local` if no source is kept.
    local_source choose_source(datagram& d) noexcept {
        if (!control_messages::has_source(d)) return {};
        local_source const chosen = return_.choose(d.where, by_, sending_at_);
        if (chosen == local_source{}) d.where.local = {};
        return chosen;
    }

    /// Sends the messages of the batch. Each round sends a message, gives one up, takes away a message's source or tos,
    /// or waits until `give_up_at_` at most. Returns: how many datagrams left.
    std::size_t flush(message_batch& p, family_sockets& s) noexcept {
        std::size_t sent = 0;
        for (std::size_t done = 0; done < p.message_count;) {
            int const count = send_many(s.fd.get(), p.messages + done, converted<unsigned>(p.message_count - done));
            if (count > 0) {
                for (int i = 0; i < count; ++i) sent += mark(p.datagrams_of(done++), status::ok);
                continue;
            }
            int const error = count == 0 ? EIO : errno;
            auto const parts = p.datagrams_of(done);
            if (error == EAGAIN && wait_writable(s.fd.get())) continue;
            if (parts.size() > 1 && refuses_segments(error)) {
                // EINVAL, EMSGSIZE: segments are longer than the path MTU. EIO: the interface of this path cannot cut.
                // Any other error: this host cannot cut.
                if (error != EINVAL && error != EMSGSIZE && error != EIO) s.segments = false;
                sent += send_singly(parts, s, p.sources[done], error == EIO ? 1 : parts[0]->length);
                ++done;
            } else if (give_way(error, parts, p.sources[done])) {
                p.write_control(done);
            } else {
                mark(parts, status_of(error), error);
                ++done;
            }
        }
        return sent;
    }

    /// Sends the datagrams of a refused message one by one. If the first one leaves as it is, the size of its segments
    /// was the reason. Then datagrams of `refused_bytes` and more to this destination are no longer joined.
    std::size_t send_singly(std::span<datagram*> parts, family_sockets& s, local_source source,
                            std::size_t refused_bytes) noexcept {
        std::size_t sent = 0;
        bool changed = false;
        for (std::size_t i = 0; i < parts.size();) {
            datagram& d = *parts[i];
            socket_address address;
            control_messages control;
            iovec piece{d.buffer + d.offset, d.length};
            msghdr header{};
            header.msg_name = &address;
            header.msg_namelen = spell(d.where.remote, address);
            header.msg_iov = &piece;
            header.msg_iovlen = 1;
            control.write(header, d, source, 0);
            if (without_interruption([&] { return ::sendmsg(s.fd.get(), &header, MSG_NOSIGNAL); }) >= 0) {
                if (i == 0 && !changed) limits_.refuse(d.where.remote.address, refused_bytes);
                d.why = status::ok;
                ++sent;
                ++i;
                continue;
            }
            int const error = errno;
            if (error == EAGAIN && wait_writable(s.fd.get())) continue;
            if (give_way(error, parts.subspan(i), source)) {
                changed = true;
                continue;
            }
            mark(parts.subspan(i, 1), status_of(error), error);
            ++i;
        }
        return sent;
    }

    int send_many(int fd, mmsghdr* messages, unsigned count) noexcept {
        if (many_) {
            int const sent = without_interruption([&] { return Calls::send_many(fd, messages, count); });
            if (sent >= 0 || errno != ENOSYS) return sent;
            many_ = false;
        }
        return without_interruption([&] { return ::sendmsg(fd, &messages->msg_hdr, MSG_NOSIGNAL); }) >= 0 ? 1 : -1;
    }

    /// Waits until the socket has room again. Returns: false if this send has waited for `patience_`.
    bool wait_writable(int fd) noexcept {
        if (patience_ <= duration{}) return false;
        instant const asked = Calls::now();
        if (give_up_at_ == instant{}) give_up_at_ = asked + patience_;
        if (asked >= give_up_at_) return false;
        std::int64_t const left = (give_up_at_ - asked).nanoseconds;
        timespec const at_most{converted<time_t>(left / 1'000'000'000), converted<long>(left % 1'000'000'000)};
        return Calls::wait_writable(fd, at_most) > 0;
    }

    static std::size_t mark(std::span<datagram*> parts, status why, int error = 0) noexcept {
        for (datagram* const d : parts) d->why = why, d->error = static_cast<std::uint16_t>(error);
        return parts.size();
    }

    /// Takes away what the host may have refused the datagrams for: their source, else their tos. Returns: false if
    /// they have neither.
    static bool give_way(int error, std::span<datagram*> parts, local_source& source) noexcept {
        bool const has_source = concerns_source(error) && source != local_source{};
        if (!has_source && (error != EINVAL || parts[0]->tos == 0)) return false;
        if (has_source) source = {};
        for (datagram* const d : parts) {
            if (has_source) d->where.local = {};
            else d->tos = 0;
        }
        return true;
    }

    static bool refuses_segments(int error) noexcept {
        return error == EIO || error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
    }
    static bool concerns_source(int error) noexcept {
        return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH || error == EHOSTUNREACH ||
               error == ENODEV || error == ENXIO;
    }

    bool many_; ///< sendmmsg is wanted, and the kernel has it
    return_route::sender by_{};
    duration patience_ = send_patience; ///< the longest wait of one send for room
    instant give_up_at_{};              ///< of this send; zero until it has to wait
    instant sending_at_{};              ///< when this send began
    instant learned_{};                 ///< when the memory of paths began; zero: nothing is remembered
    return_route return_{};
    segment_limits limits_{};
};

}}}} // namespace wg::WG_ABI::os::udp_detail

#endif
