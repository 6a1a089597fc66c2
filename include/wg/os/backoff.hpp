// SPDX-License-Identifier: BSL-1.0
// When to repeat attempts that fail. Folder: os. One thread at a time.
#ifndef WG_OS_BACKOFF_HPP
#define WG_OS_BACKOFF_HPP

#include "../base/time.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

/// When to repeat an attempt that failed: after 250 ms, then after twice the last pause, 4 s at most.
class backoff {
public:
    /// Whether an attempt has failed and is to be repeated.
    bool waits() const noexcept { return due_ != instant::never(); }
    /// When the next attempt is due; `never` if none has failed.
    instant due() const noexcept { return due_; }
    /// Notes that an attempt has failed.
    void failed(instant now) noexcept {
        due_ = now + pause_;
        pause_ = pause_ * 2 > longest ? longest : pause_ * 2;
    }
    /// Notes that an attempt has succeeded.
    void succeeded() noexcept { *this = {}; }

private:
    static constexpr duration first = milliseconds(250), longest = seconds(4);
    instant due_ = instant::never();
    duration pause_ = first;
};

}}} // namespace wg::WG_ABI::os

#endif
