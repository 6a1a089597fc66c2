// SPDX-License-Identifier: BSL-1.0
// One client of a configuration socket or pipe: the bytes that it sent, its session, and the reply that waits to be
// sent. Folder: os. One thread at a time.
#ifndef WG_OS_UAPI_CONVERSATION_HPP
#define WG_OS_UAPI_CONVERSATION_HPP

#include "../base/secret.hpp"
#include "../base/status.hpp"

#include <cstring>
#include <optional>
#include <span>

namespace wg { inline namespace WG_ABI { namespace os {

/// Feeds the received bytes to a `Session`, made by its default constructor, one line at a time. So the replies to many
/// requests are never in memory together. `Reply` is the buffer of the reply: `view() -> bytes_view`, `empty()`, and
/// `release()`, which wipes. The owner does three things in turn: it sends `unsent`; it feeds a line if `has_input`;
/// it receives into `input`.
template <class Session, class Reply> class uapi_conversation {
public:
    static constexpr std::size_t input_bytes = 4096; ///< received at once, at most

    /// Makes a session for a new client.
    void begin() noexcept { session_.emplace(); }
    /// Ends the session. Wipes the reply and the input.
    void end() noexcept {
        session_.reset();
        reply_.release();
        wipe(input_, sizeof input_);
        sent_ = begin_ = end_ = 0;
        ending_ = false;
    }
    /// Whether there is a session.
    bool is_open() const noexcept { return session_.has_value(); }
    /// Whether the session wants the connection closed once the reply is sent.
    bool ending() const noexcept { return ending_; }

    /// The room for the next bytes of the client. To be used only without `has_input`.
    std::span<byte, input_bytes> input() noexcept { return std::span<byte, input_bytes>(input_); }
    /// Notes that `input` begins with `size` new bytes.
    void received(std::size_t size) noexcept {
        begin_ = 0;
        end_ = size;
    }
    /// Whether there are bytes that were not fed yet.
    bool has_input() const noexcept { return begin_ < end_; }

    /// Feeds one line, or the last part of one, by `feed(Session&, bytes_view, Reply&) -> status`, and wipes it. With
    /// another answer than ok the rest of the input is wiped too, and the conversation is `ending`.
    template <class Feed> void feed_line(Feed& feed) noexcept {
        WG_ASSERT(session_.has_value() && has_input());
        byte* const from = input_ + begin_;
        std::size_t const left = end_ - begin_;
        auto const* const newline = static_cast<byte const*>(std::memchr(from, '\n', left));
        std::size_t const size = newline != nullptr ? static_cast<std::size_t>(newline - from) + 1 : left;
        ending_ = feed(*session_, bytes_view(from, size), reply_) != status::ok;
        std::size_t const used = ending_ ? left : size;
        wipe(from, used);
        begin_ += used;
    }

    /// The part of the reply that was not sent yet.
    bytes_view unsent() const noexcept { return reply_.view().subspan(sent_); }
    /// Notes that `size` bytes of `unsent` were sent. A reply that was sent completely is wiped.
    void sent(std::size_t size) noexcept {
        sent_ += size;
        if (sent_ < reply_.view().size()) return;
        reply_.release();
        sent_ = 0;
    }

private:
    std::optional<Session> session_{};
    Reply reply_{};
    std::size_t sent_ = 0;            ///< of the reply
    std::size_t begin_ = 0, end_ = 0; ///< the part of the input that was not fed yet
    bool ending_ = false;
    byte input_[input_bytes];
};

}}} // namespace wg::WG_ABI::os

#endif
