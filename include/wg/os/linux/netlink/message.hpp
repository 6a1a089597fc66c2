// SPDX-License-Identifier: BSL-1.0
// Builds the requests and reads the messages of the kernel's routing sockets (netlink(7), rtnetlink(7)).
// Folder: os/linux/netlink. One thread at a time.
#ifndef WG_OS_LINUX_NETLINK_MESSAGE_HPP
#define WG_OS_LINUX_NETLINK_MESSAGE_HPP

#include "../../../base/bytes.hpp"
#include "../fd.hpp"

#include <algorithm>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace wg { inline namespace WG_ABI { namespace os { namespace netlink_detail {

/// A value of IFLA_EXT_MASK: RTEXT_FILTER_SKIP_STATS, Linux 4.4. The answer leaves out the interface's statistics.
inline constexpr std::uint32_t without_statistics = 1u << 3;

/// One request with its attributes, at most 128 bytes.
class request {
public:
    /// A request of this type (RTM_...), with NLM_F_REQUEST and further `flags`. `body` is the structure that
    /// rtnetlink(7) names for the type.
    template <class Body> request(std::uint16_t type, std::uint16_t flags, Body const& body) noexcept {
        header_.nlmsg_type = type;
        header_.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
        append(&body, sizeof body);
    }

    /// Appends an attribute whose value is `size` bytes.
    void attribute(std::uint16_t type, void const* value, std::size_t size) noexcept {
        rtattr a{};
        a.rta_type = type;
        a.rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
        append(&a, sizeof a);
        append(value, size);
    }
    /// Appends an attribute whose value is a number or a structure.
    template <class Value> void attribute(std::uint16_t type, Value const& value) noexcept {
        attribute(type, &value, sizeof value);
    }

    /// Sends the request; the kernel's answer carries `sequence`. Returns: false with errno if the kernel refuses it.
    bool send(int netlink, std::uint32_t sequence = 0) noexcept {
        std::size_t const total = NLMSG_HDRLEN + size_;
        header_.nlmsg_len = converted<std::uint32_t>(total);
        header_.nlmsg_seq = sequence;
        std::memcpy(bytes_, &header_, sizeof header_);
        return without_interruption([&] { return ::send(netlink, bytes_, total, 0); }) >= 0;
    }

private:
    void append(void const* from, std::size_t size) noexcept {
        WG_ASSERT(NLMSG_HDRLEN + size_ + NLMSG_ALIGN(size) <= sizeof bytes_);
        std::memcpy(bytes_ + NLMSG_HDRLEN + size_, from, size);
        size_ += NLMSG_ALIGN(size);
    }

    nlmsghdr header_{};
    std::size_t size_ = 0; ///< of the body and the attributes
    alignas(nlmsghdr) byte bytes_[128] = {};
};

/// A message of the kernel. The views lie in the buffer that was received into.
struct message {
    std::uint16_t type = 0; ///< RTM_..., NLMSG_ERROR; 0: there is no message
    std::uint32_t port = 0; ///< of the socket whose request this message answers; 0: it is an event
    std::uint32_t sequence = 0;
    bytes_view body{}; ///< what follows the header; shorter than it should be where the kernel cut the message

    /// Copies the structure that the body begins with. Returns: false if the body is shorter.
    template <class Body> bool read(Body& out) const noexcept {
        if (body.size() < sizeof out) return false;
        std::memcpy(&out, body.data(), sizeof out);
        return true;
    }
    /// The attributes that follow the structure `Body`.
    template <class Body> bytes_view attributes() const noexcept {
        return body.subspan(std::min<std::size_t>(body.size(), NLMSG_ALIGN(sizeof(Body))));
    }
};

/// Takes the next message off the front of `from`, which the kernel filled. Returns: a message of type 0 at the end.
inline message take_message(bytes_view& from) noexcept {
    nlmsghdr header;
    if (from.size() < sizeof header) return {};
    std::memcpy(&header, from.data(), sizeof header);
    if (header.nlmsg_len < sizeof header) return {};
    bytes_view const whole = from.first(std::min<std::size_t>(from.size(), header.nlmsg_len));
    from = from.subspan(std::min<std::size_t>(from.size(), NLMSG_ALIGN(whole.size())));
    return {header.nlmsg_type, header.nlmsg_pid, header.nlmsg_seq, whole.subspan(NLMSG_HDRLEN)};
}

/// Calls `take(type, value)` for each attribute in `from`. Flags in the type, such as NLA_F_NESTED, are left out.
template <class Take> void each_attribute(bytes_view from, Take take) noexcept {
    while (from.size() >= sizeof(rtattr)) {
        rtattr a;
        std::memcpy(&a, from.data(), sizeof a);
        if (a.rta_len < sizeof a || a.rta_len > from.size()) return;
        take(std::uint16_t(a.rta_type & NLA_TYPE_MASK), from.first(a.rta_len).subspan(RTA_LENGTH(0)));
        from = from.subspan(std::min<std::size_t>(from.size(), RTA_ALIGN(a.rta_len)));
    }
}

/// The number in an attribute's value; `otherwise` if the value is shorter.
template <class Number> Number number_in(bytes_view value, Number otherwise) noexcept {
    if (value.size() >= sizeof otherwise) std::memcpy(&otherwise, value.data(), sizeof otherwise);
    return otherwise;
}

/// Opens a socket for questions about interfaces and routes of this process's network namespace; it never blocks.
inline unique_fd open_socket() noexcept {
    return unique_fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
}

/// Sends `question` and reads its answer into `room`. The kernel answers before `send` returns, so nothing is waited
/// for. An answer with another `sequence` belongs to an older question and is skipped.
/// Returns: the answer; a message of type NLMSG_ERROR with errno if the kernel refused the request, and with an errno
/// of 0 if it acknowledged the request; a message of type 0 with errno if there is no answer.
inline message ask(int netlink, request& question, bytes room, std::uint32_t sequence = 0) noexcept {
    if (!question.send(netlink, sequence)) return {};
    for (;;) {
        ssize_t const size = without_interruption([&] { return ::recv(netlink, room.data(), room.size(), 0); });
        if (size < 0) return {};
        errno = EBADMSG;
        bytes_view received = room.first(static_cast<std::size_t>(size));
        message const answer = take_message(received);
        if (answer.type == 0) return {};
        if (answer.sequence != sequence) continue;
        if (answer.type == NLMSG_ERROR) errno = -number_in<int>(answer.body, -EBADMSG);
        return answer;
    }
}

}}}} // namespace wg::WG_ABI::os::netlink_detail

#endif
