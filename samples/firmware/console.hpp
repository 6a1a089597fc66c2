// SPDX-License-Identifier: BSL-1.0
// Configures a node by text over a UART: the operations `set=1` and `get=1` of the configuration protocol, and one more
// of the same form for the settings of the board:
//
//     board=1
//     address=192.0.2.7/24            the board's address on its Ethernet; also IPv6
//     gateway=192.0.2.1               the router to other networks; after the address of its family
//     inner=10.9.0.7                  the board's address inside the tunnel; also IPv6
//     boots=12                        how often the board was started, 1 or more, see wg::bare::store_boot_label
//     seed=<64 hexadecimal digits>    the seed of the random source, on boards without a hardware source
//     <empty line>                    answered by `errno=0` and an empty line
#ifndef WG_FIRMWARE_CONSOLE_HPP
#define WG_FIRMWARE_CONSOLE_HPP

#include <wg/wg.hpp>

namespace firmware {

/// Memory for the lists and texts of one operation: a few blocks of a fixed size.
struct block_memory {
    static constexpr std::size_t block_bytes = 4096, blocks = 4;

    static void* acquire(std::size_t size) noexcept {
        for (block& b : all) {
            if (size > block_bytes || b.taken) continue;
            b.taken = true;
            return b.memory;
        }
        return nullptr;
    }
    static void release(void* memory, std::size_t) noexcept {
        for (block& b : all)
            if (b.memory == memory) b.taken = false;
    }

private:
    struct block {
        alignas(8) wg::byte memory[block_bytes];
        bool taken;
    };
    static inline block all[blocks];
};

/// Reads operations from the UART of a board and answers them.
template <class Board, class Node> class console {
public:
    console(Board& b, Node& n) noexcept : board_(b), node_(n) {}

    /// Reads all characters that have arrived, and answers each operation that is complete. Returns: false if no
    /// character had arrived.
    bool run_once() noexcept {
        int c = board_.read();
        if (c < 0) return false;
        for (; c >= 0; c = board_.read()) take(static_cast<wg::byte>(c));
        return true;
    }

private:
    static constexpr std::size_t longest = wg::uapi::longest_line_chars;
    enum class operation { none, board, protocol };

    void take(wg::byte c) noexcept {
        bool const ends = c == '\n';
        if (!ends && size_ < longest) line_.expose()[size_++] = c;
        else if (!ends) too_long_ = true;
        if (!ends) return;
        std::string_view const line(reinterpret_cast<char const*>(line_.expose().data()), size_);
        if (running_ == operation::none && !line.empty()) {
            running_ = line == "board=1" ? operation::board : operation::protocol;
            why_ = wg::status::ok;
            if (running_ == operation::protocol) feed(line);
        } else if (running_ == operation::protocol) {
            feed(line);
        } else if (running_ == operation::board && line.empty()) {
            say(why_ == wg::status::ok ? "errno=0\n\n" : "errno=-22\n\n");
            running_ = operation::none;
        } else if (running_ == operation::board && why_ == wg::status::ok) {
            why_ = too_long_ ? wg::status::invalid : set_board(line);
        }
        line_.clear();
        size_ = 0;
        too_long_ = false;
    }

    /// Feeds a line to the session of the configuration protocol. Its answer ends the operation.
    void feed(std::string_view line) noexcept {
        static constexpr wg::byte end[] = {'\n'}, more[] = {'x'};
        wg::bytes_view const whole{reinterpret_cast<wg::byte const*>(line.data()), line.size()};
        (void)session_.feed(whole, node_.engine, reply_);
        if (too_long_) (void)session_.feed(more, node_.engine, reply_); // makes the line too long for the session too
        wg::status const s = session_.feed(end, node_.engine, reply_);
        if (reply_.empty() && s == wg::status::ok) return;
        say(reply_.text());
        reply_.release();
        running_ = operation::none;
        if (s == wg::status::ok) return;
        std::destroy_at(&session_); // a daemon would close the connection
        std::construct_at(&session_);
    }

    wg::status set_board(std::string_view line) noexcept {
        std::size_t const equals = std::min(line.find('='), line.size());
        std::string_view const key = line.substr(0, equals);
        std::string_view const value = line.substr(std::min(equals + 1, line.size()));
        if (key == "boots") {
            auto const boots = wg::text::parse_decimal<std::uint32_t>(value);
            if (boots && *boots == 0) return wg::status::invalid; // a label of earlier firmware may be greater
            if (boots) board_.boots = *boots;
            return boots.why();
        }
        if (key == "seed") return board_.random.seed(value) ? wg::status::ok : wg::status::invalid;
        std::size_t const slash = std::min(value.find('/'), value.size());
        auto const address = wg::text::parse_address(value.substr(0, slash));
        if (!address) return address.why();
        bool const v4 = address->kind == wg::family::v4;
        if (key == "inner" && slash == value.size()) {
            v4 ? node_.host.set_v4(*address) : node_.host.set_v6(*address);
            return wg::status::ok;
        }
        wg::bare::interface_address& at = v4 ? v4_ : v6_;
        if (key == "gateway" && slash == value.size() && at.address.kind != wg::family::none) {
            at.gateway = *address;
        } else if (key == "address" && slash != value.size()) {
            auto const bits = wg::text::parse_decimal<std::uint8_t>(value.substr(slash + 1));
            if (!bits || *bits > address->bits()) return wg::status::invalid;
            at = {*address, *bits, {}};
        } else {
            return wg::status::invalid;
        }
        v4 ? node_.wire.set_v4(at) : node_.wire.set_v6(at);
        return wg::status::ok;
    }

    void say(std::string_view text) noexcept {
        for (char const c : text) board_.write(c);
    }

    Board& board_;
    Node& node_;
    wg::uapi::basic_session<block_memory> session_;
    wg::basic_secret_buffer<block_memory> reply_;
    wg::secret<longest> line_;
    std::size_t size_ = 0;
    bool too_long_ = false;
    operation running_ = operation::none;
    wg::status why_ = wg::status::ok;
    wg::bare::interface_address v4_{}, v6_{};
};

} // namespace firmware

#endif
