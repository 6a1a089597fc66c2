// SPDX-License-Identifier: BSL-1.0
// Limits how often a daemon logs the same. Folder: os. Any thread.
#ifndef WG_OS_LINE_LIMIT_HPP
#define WG_OS_LINE_LIMIT_HPP

#include "../base/time.hpp"

#include <cstddef>

namespace wg { inline namespace WG_ABI { namespace os {

/// Limits the number of log lines: a line about the same subject with the same content passes once in `interval`. For
/// all subjects together, `burst` lines pass at once, and then one a second. `Mutex` has `lock` and `unlock`. Any
/// thread.
template <class Mutex> class basic_line_limit {
public:
    static constexpr duration interval = seconds(60); ///< between two equal lines
    static constexpr std::uint32_t burst = 10;        ///< lines that pass at once after a silence

    /// Whether a line about `subject` with the content `what`, such as an errno, may be written; then it is counted.
    bool pass(std::uint32_t subject, std::uint32_t what, instant now) noexcept {
        mutex_.lock();
        bool const passes = is_new(subject, what, now) && take_token(now);
        if (passes) lines_[subject % subjects] = {subject, what, now, true};
        mutex_.unlock();
        return passes;
    }

private:
    static constexpr std::size_t subjects = 64; ///< that are remembered; further subjects share their places

    struct line {
        std::uint32_t subject = 0;
        std::uint32_t what = 0;
        instant at{};
        bool used = false;
    };

    bool is_new(std::uint32_t subject, std::uint32_t what, instant now) const noexcept {
        line const& last = lines_[subject % subjects];
        return !last.used || last.subject != subject || last.what != what || now - last.at >= interval;
    }

    bool take_token(instant now) noexcept {
        constexpr duration each = seconds(1), all = each * burst;
        if (!begun_ || now - since_ > all) since_ = now - all;
        begun_ = true;
        if (now - since_ < each) return false;
        since_ = since_ + each;
        return true;
    }

    Mutex mutex_;
    line lines_[subjects];
    instant since_{}; ///< a token bucket: each second from here until now is a line that may pass
    bool begun_ = false;
};

}}} // namespace wg::WG_ABI::os

#endif
