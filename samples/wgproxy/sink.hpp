// SPDX-License-Identifier: BSL-1.0
// A text or message of bounded size, in memory of another object. One thread at a time.
#ifndef WGPROXY_SINK_HPP
#define WGPROXY_SINK_HPP

#include <wg/base/bytes.hpp>

#include <cstring>
#include <string_view>

namespace wgproxy {

/// Whether the front of the received bytes is complete.
enum class progress : std::uint8_t {
    more, ///< not yet: wait for more bytes
    done, ///< complete
    bad,  ///< it breaks the protocol
};

/// Appends to a buffer. What does not fit is left out as a whole, and `complete` is false from then on.
class sink {
public:
    explicit sink(wg::bytes to) noexcept : to_(to) {}

    void append(std::string_view text) noexcept { append(text.data(), text.size()); }
    void append(wg::bytes_view data) noexcept { append(data.data(), data.size()); }
    void append(wg::byte value) noexcept { append(&value, 1); }

    /// Whether everything has fitted.
    bool complete() const noexcept { return complete_; }
    /// The bytes so far.
    wg::bytes_view view() const noexcept { return to_.first(size_); }

private:
    void append(void const* from, std::size_t size) noexcept {
        complete_ = complete_ && size <= to_.size() - size_;
        if (!complete_ || size == 0) return;
        std::memcpy(to_.data() + size_, from, size);
        size_ += size;
    }

    wg::bytes to_;
    std::size_t size_ = 0;
    bool complete_ = true;
};

} // namespace wgproxy

#endif
