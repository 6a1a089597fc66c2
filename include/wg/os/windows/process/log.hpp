// SPDX-License-Identifier: BSL-1.0
// Writes log lines without ever waiting: a thread writes them, and a line for which there is no room is dropped and
// counted. Lines go to standard error. Errors that standard error does not take go to the event log (ReportEventW).
// Folder: os/windows/process. Any thread. Link: advapi32.
#ifndef WG_OS_WINDOWS_PROCESS_LOG_HPP
#define WG_OS_WINDOWS_PROCESS_LOG_HPP

#include "../../line_limit.hpp"
#include "../threads.hpp"
#include "program.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_log_writer`.
struct log_calls : handle_calls {
    using mutex = threads::mutex; ///< guards the lines

    /// CreateEventW: an event that a wait resets. Returns: null if there is no memory left.
    static void* create_event() noexcept { return api_detail::create_event(nullptr, 0, 0, nullptr); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// WaitForSingleObject. Returns: false if the time is over.
    static bool wait(void* object, std::uint32_t milliseconds) noexcept {
        return api_detail::wait_for_one(object, milliseconds) == api_detail::wait_object_0;
    }
    /// CreateThread. Returns: null if Windows refuses.
    static void* start_thread(api_detail::thread_start start, void* context) noexcept {
        constexpr std::size_t stack_bytes = std::size_t{64} << 10;
        return api_detail::create_thread(nullptr, stack_bytes, start, context, api_detail::stack_is_reservation,
                                         nullptr);
    }
    /// Writes to a standard stream. May block.
    static bool write(int descriptor, std::string_view text) noexcept { return print(descriptor, text); }
    /// Writes an error of the program `name` to the event log. May block.
    static bool report(char const* name, char const* text) noexcept {
        char16_t wide_name[64], wide_text[512];
        if (api_detail::to_wide(api_detail::code_page_utf8, 0, name, -1, wide_name, 64) == 0 ||
            api_detail::to_wide(api_detail::code_page_utf8, 0, text, -1, wide_text, 512) == 0)
            return false;
        void* const log = api_detail::open_event_log(nullptr, wide_name);
        if (log == nullptr) return false;
        char16_t const* texts[] = {wide_text};
        constexpr std::uint32_t id = 1;
        bool const written =
            api_detail::report_event(log, api_detail::event_log_error, 0, id, nullptr, 1, 0, texts, nullptr) != 0;
        api_detail::close_event_log(log);
        return written;
    }
};

/// Writes lines of at most 255 bytes, "NAME: TEXT". No call blocks. The destructor waits until the lines are written,
/// `patience_ms` at most: a console with a selection takes none. A test replaces `Calls`.
template <class Calls = log_calls> class basic_log_writer {
public:
    static constexpr std::size_t most_lines = 64;       ///< that wait to be written
    static constexpr std::uint32_t patience_ms = 1'000; ///< of the destructor

    /// Writes to standard error if `descriptor` is its number; -1: nowhere. `name` is the program's, and must outlive
    /// the process.
    explicit basic_log_writer(char const* name, int descriptor = standard_error) noexcept
        : name_(name), descriptor_(descriptor) {
        void* const room = std::malloc(sizeof(waiting_lines)); // `new` would need the C++ library's compiled part
        if (room == nullptr) return;
        lines_ = std::construct_at(static_cast<waiting_lines*>(room));
        lines_->name = name;
        lines_->wake.reset(Calls::create_event());
        lines_->written.reset(Calls::create_event());
    }
    basic_log_writer(basic_log_writer const&) = delete;
    basic_log_writer& operator=(basic_log_writer const&) = delete;
    ~basic_log_writer() {
        if (lines_ == nullptr) return;
        lines_->mutex.lock();
        lines_->ends = true;
        lines_->mutex.unlock();
        Calls::set_event(lines_->wake.get());
        // A thread that is stuck in a write still uses the lines. The end of the process ends it.
        if (thread_ && !Calls::wait(thread_.get(), patience_ms)) return;
        std::destroy_at(lines_);
        std::free(lines_);
    }

    /// Waits until all lines are written, `patience_ms` at most, before a text that must stand after them.
    void flush() noexcept {
        if (lines_ == nullptr) return;
        for (std::size_t i = 0; i < most_lines; ++i) {
            lines_->mutex.lock();
            bool const done = lines_->count == 0 && !lines_->writes;
            lines_->mutex.unlock();
            if (done || !Calls::wait(lines_->written.get(), patience_ms)) return;
        }
    }

    /// Stops using standard error: errors then go to the event log, and other lines are dropped. No other thread may
    /// write meanwhile.
    void leave_descriptor() noexcept { descriptor_ = -1; }

    /// Writes the pieces, texts and numbers, as one line of an error.
    template <class... Piece> void error(Piece const&... pieces) noexcept {
        error_text text;
        text.set(pieces...);
        write(true, text);
    }
    /// Writes the pieces, texts and numbers, as one line of information.
    template <class... Piece> void info(Piece const&... pieces) noexcept {
        error_text text;
        text.set(pieces...);
        if (descriptor_ >= 0) write(false, text);
    }

    /// The number of lines that were lost since the last line that reported lost lines.
    std::uint32_t lost() const noexcept { return lost_; }

private:
    struct line {
        int descriptor = -1;
        bool is_error = false;
        error_text text{};
    };
    struct waiting_lines {
        typename Calls::mutex mutex;
        basic_handle<Calls> wake;    ///< set when there is a line to write
        basic_handle<Calls> written; ///< set when the thread has found no line
        char const* name = nullptr;
        line all[most_lines];
        std::size_t first = 0, count = 0;
        bool ends = false;
        bool writes = false; ///< the thread writes a line that it has taken out
    };

    void write(bool is_error, error_text const& text) noexcept {
        if (lines_ == nullptr) return put(name_, {descriptor_, is_error, text});
        lines_->mutex.lock();
        if (!thread_ && lines_->wake) thread_.reset(Calls::start_thread(&write_lines, lines_));
        bool const has_thread = static_cast<bool>(thread_);
        if (has_thread) add(is_error, text);
        lines_->mutex.unlock();
        if (has_thread) Calls::set_event(lines_->wake.get());
        else put(name_, {descriptor_, is_error, text}); // no memory is left for a thread
    }

    /// Adds a line, and before it the number of lines that were lost, if there is room for both.
    void add(bool is_error, error_text const& text) noexcept {
        std::size_t const wanted = lost_ != 0 ? 2 : 1;
        if (most_lines - lines_->count < wanted) {
            ++lost_;
            return;
        }
        if (lost_ != 0) {
            error_text told;
            told.set(lost_, lost_ == 1 ? " log line was lost" : " log lines were lost");
            push({descriptor_, is_error, told});
            lost_ = 0;
        }
        push({descriptor_, is_error, text});
    }
    void push(line const& added) noexcept { lines_->all[(lines_->first + lines_->count++) % most_lines] = added; }

    /// Writes one line. May block.
    static void put(char const* name, line const& of) noexcept {
        char text[512];
        std::size_t size = 0;
        auto const append = [&](std::string_view more) {
            std::size_t const part = more.size() < sizeof text - 1 - size ? more.size() : sizeof text - 1 - size;
            std::memcpy(text + size, more.data(), part);
            size += part;
        };
        append(name);
        append(": ");
        append(of.text.view());
        text[size++] = '\n';
        bool const written = of.descriptor >= 0 && Calls::write(of.descriptor, {text, size});
        if (!written && of.is_error) (void)Calls::report(name, of.text.c_str());
    }

    /// The thread that writes.
    static std::uint32_t write_lines(void* context) noexcept {
        auto& waiting = *static_cast<waiting_lines*>(context);
        for (;;) {
            waiting.mutex.lock();
            bool const has_line = waiting.count != 0, ends = waiting.ends;
            waiting.writes = has_line;
            line next;
            if (has_line) {
                next = waiting.all[waiting.first];
                waiting.first = (waiting.first + 1) % most_lines;
                --waiting.count;
            }
            waiting.mutex.unlock();
            if (has_line) put(waiting.name, next);
            else if (ends) return 0;
            else {
                Calls::set_event(waiting.written.get());
                (void)Calls::wait(waiting.wake.get(), api_detail::wait_forever);
            }
        }
    }

    waiting_lines* lines_ = nullptr; ///< null: no memory was left, so each line is written at once
    char const* name_;
    int descriptor_;
    basic_handle<Calls> thread_{};
    std::uint32_t lost_ = 0; ///< guarded by the mutex of the lines
};

/// The log of a Windows host.
using log_writer = basic_log_writer<>;
/// Limits the number of log lines.
using line_limit = basic_line_limit<threads::mutex>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
