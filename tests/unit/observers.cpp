// SPDX-License-Identifier: BSL-1.0
// Captures, the files that they are written to, and pairs of observers. tests/capture has tshark read whole captures.
#include "wg/backends/base64.hpp"
#include "wg/backends/observers.hpp"
#include "wg/backends/pcapng.hpp"
#include "wg/os/posix/trace_file.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(observers)

namespace {

using wg::byte;
using wg::bytes_view;
using wg::seen_packet;
using wg::status;
using buffer = std::vector<byte>;

void append(void* context, std::span<bytes_view const> pieces) noexcept {
    for (bytes_view const piece : pieces)
        static_cast<buffer*>(context)->insert(static_cast<buffer*>(context)->end(), piece.begin(), piece.end());
}

struct block {
    std::uint32_t type = 0;
    buffer body{};

    /// The option with this code, of those that begin at `from`.
    std::string option(std::size_t from, std::uint16_t code) const {
        for (std::size_t at = from; at + 4 <= body.size();) {
            std::size_t const length = wg::load_le16(&body[at + 2]);
            BOOST_TEST_REQUIRE(at + 4 + length <= body.size());
            if (wg::load_le16(&body[at]) == code) return {&body[at] + 4, &body[at] + 4 + length};
            if (wg::load_le16(&body[at]) == 0) return {};
            at += 4 + (length + 3) / 4 * 4;
        }
        return {};
    }
    /// Of an Enhanced Packet Block: the packet, and its options.
    bytes_view packet() const { return bytes_view(body).subspan(20, wg::load_le32(&body[12])); }
    std::size_t options() const { return 20 + (wg::load_le32(&body[12]) + 3) / 4 * 4; }
};

std::vector<block> blocks_of(buffer const& file) {
    std::vector<block> all;
    for (std::size_t at = 0; at < file.size();) {
        BOOST_TEST_REQUIRE(at + 12 <= file.size());
        std::size_t const length = wg::load_le32(&file[at + 4]);
        BOOST_TEST_REQUIRE((length % 4 == 0 && length >= 12 && at + length <= file.size()));
        BOOST_TEST(wg::load_le32(&file[at + length - 4]) == length);
        all.push_back({wg::load_le32(&file[at]), buffer(&file[at] + 8, &file[at] + length - 4)});
        at += length;
    }
    return all;
}

seen_packet inner(bytes_view data) {
    seen_packet seen;
    seen.data = data;
    seen.length = data.size();
    wg::store_tai64n(seen.label, 1'700'000'000, 123);
    return seen;
}

/// Counts what it gets.
struct counting {
    static constexpr bool enabled = true;
    int* events;
    int* packets;
    void event(wg::event_id, std::uint32_t, std::uint64_t) noexcept { ++*events; }
    void packet(seen_packet const&) noexcept { ++*packets; }
};
struct with_key {
    static constexpr bool enabled = true;
    int* keys;
    void event(wg::event_id, std::uint32_t, std::uint64_t) noexcept {}
    void event(wg::event_id, std::uint32_t, std::uint64_t, wg::public_key const&) noexcept { ++*keys; }
};

struct faulty_file_calls : wg::os::posix::trace_file_calls {
    static inline int open_error = 0, rights_error = 0, write_error = 0;
    static inline ssize_t most_bytes = 0; ///< of one write; 0: no limit
    static inline int writes = 0;
    static int open(char const* path) noexcept {
        errno = open_error;
        return open_error != 0 ? -1 : trace_file_calls::open(path);
    }
    static int make_private(int fd) noexcept {
        errno = rights_error;
        return rights_error != 0 ? -1 : trace_file_calls::make_private(fd);
    }
    static ssize_t write(int fd, iovec const* pieces, int count) noexcept {
        ++writes;
        errno = write_error;
        if (write_error != 0) return -1;
        iovec first = *pieces;
        if (most_bytes == 0) return trace_file_calls::write(fd, pieces, count);
        first.iov_len = std::min(first.iov_len, static_cast<std::size_t>(most_bytes));
        return trace_file_calls::write(fd, &first, 1);
    }
    static void reset() { open_error = rights_error = write_error = writes = 0, most_bytes = 0; }
};
using faulty_file = wg::os::posix::basic_trace_file<faulty_file_calls>;

struct temporary_file {
    std::string path = "/tmp/wg-trace-XXXXXX";
    temporary_file() { ::close(::mkstemp(path.data())); }
    ~temporary_file() { ::unlink(path.c_str()); }
    std::string read() const {
        wg::os::unique_fd const fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        std::string text(1000, '\0');
        ssize_t const size = ::read(fd.get(), text.data(), text.size());
        text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
        return text;
    }
};

bytes_view view(std::string_view text) { return {reinterpret_cast<byte const*>(text.data()), text.size()}; }

} // namespace

BOOST_AUTO_TEST_CASE(begins_a_capture_with_two_interfaces) {
    buffer file;
    wg::pcapng_observer capture(&append, &file);
    BOOST_TEST(file.empty()); // nothing was seen
    byte const data[] = {1, 2, 3};
    capture.packet(inner(data));
    capture.packet(inner(data));
    auto const all = blocks_of(file);
    BOOST_TEST_REQUIRE(all.size() == 5u);
    BOOST_TEST(all[0].type == 0x0a0d0d0au);
    BOOST_TEST(wg::load_le32(&all[0].body[0]) == 0x1a2b3c4du);
    for (std::size_t i = 1; i <= 2; ++i) {
        BOOST_TEST(all[i].type == 1u);
        BOOST_TEST(wg::load_le16(&all[i].body[0]) == 101);
        BOOST_TEST(all[i].option(8, 2) == (i == 1 ? "inner" : "outer"));
        BOOST_TEST(all[i].option(8, 9) == "\x09");
    }
    BOOST_TEST(all[3].type == 6u);
    std::uint64_t const time = std::uint64_t{wg::load_le32(&all[3].body[4])} << 32 | wg::load_le32(&all[3].body[8]);
    BOOST_TEST(time == 1'700'000'000'000'000'123u);
}

BOOST_AUTO_TEST_CASE(writes_packets_and_comments_of_every_length) {
    buffer file;
    wg::pcapng_observer capture(&append, &file);
    byte data[40];
    for (byte i = 0; i < 40; ++i) data[i] = i;
    wg::public_key const key{};
    std::vector<seen_packet> seen;
    for (std::size_t length = 0; length <= 8; ++length) {
        for (std::size_t why = 0; why < wg::status_count; ++why) {
            for (wg::public_key const* const peer : {&key, static_cast<wg::public_key const*>(nullptr)}) {
                seen_packet one = inner(bytes_view(data).first(length));
                one.why = static_cast<status>(why);
                one.peer = peer;
                one.outbound = why % 2 == 0;
                seen.push_back(one);
                capture.packet(one);
            }
        }
    }
    auto const all = blocks_of(file);
    BOOST_TEST_REQUIRE(all.size() == seen.size() + 3);
    for (std::size_t i = 0; i < seen.size(); ++i) {
        block const& b = all[i + 3];
        BOOST_TEST((b.type == 6 && std::ranges::equal(b.packet(), seen[i].data)));
        BOOST_TEST(wg::load_le32(&b.body[16]) == seen[i].length);
        std::string expected = seen[i].peer != nullptr ? "peer AAAAAAAA" : "";
        if (seen[i].why != status::ok && seen[i].why != status::queued)
            expected += std::string(expected.empty() ? "" : ", ") + (seen[i].why == status::staged ? "" : "dropped: ") +
                        wg::describe(seen[i].why);
        BOOST_TEST(b.option(b.options(), 1) == expected);
        BOOST_TEST(b.option(b.options(), 2) ==
                   (seen[i].outbound ? std::string("\2\0\0\0", 4) : std::string("\1\0\0\0", 4)));
    }
}

BOOST_AUTO_TEST_CASE(makes_up_headers_for_messages) {
    buffer file;
    wg::pcapng_observer capture(&append, &file);
    byte const data[] = {4, 0, 0, 0, 9};
    seen_packet seen = inner(data);
    seen.outer = true;
    seen.remote = {wg::ip_address::v4(192, 0, 2, 7), 1234, 0};
    seen.port = 51820;
    seen.tos = 0xb9;
    capture.packet(seen);
    seen.outbound = true;
    capture.packet(seen);
    seen.length = 500; // the rest was not kept
    capture.packet(seen);
    seen.remote = {};
    capture.packet(seen); // without the other end no header can be made up
    auto const all = blocks_of(file);
    BOOST_TEST_REQUIRE(all.size() == 6u);
    for (std::size_t i = 3; i < 6; ++i) {
        bytes_view const packet = all[i].packet();
        BOOST_TEST(wg::load_le32(&all[i].body[0]) == 1u); // the interface `outer`
        BOOST_TEST_REQUIRE(packet.size() == 33u);
        BOOST_TEST(wg::load_le32(&all[i].body[16]) == (i == 5 ? 528u : 33u));
        BOOST_TEST(wg::load_be16(&packet[2]) == (i == 5 ? 528 : 33));
        BOOST_TEST(packet[1] == 0xb9);
        BOOST_TEST(wg::checksum_finish(wg::checksum_add(0, packet.first(20))) == 0);
        BOOST_TEST(wg::load_be32(&packet[i == 3 ? 12 : 16]) == 0xc0000207u);
        BOOST_TEST(wg::load_be16(&packet[i == 3 ? 20 : 22]) == 1234);
        BOOST_TEST(wg::load_be16(&packet[i == 3 ? 22 : 20]) == 51820);
        BOOST_TEST(std::ranges::equal(packet.subspan(28), data));
    }
}

BOOST_AUTO_TEST_CASE(an_observer_without_a_function_writes_nothing) {
    byte const data[] = {1};
    wg::pcapng_observer capture;
    capture.packet(inner(data));
    BOOST_TEST(true, "no function was called");
}

BOOST_AUTO_TEST_CASE(prints_base64) {
    // RFC 4648, section 10
    static constexpr std::pair<std::string_view, std::string_view> vectors[] = {{"", ""},
                                                                                {"f", "Zg=="},
                                                                                {"fo", "Zm8="},
                                                                                {"foo", "Zm9v"},
                                                                                {"foob", "Zm9vYg=="},
                                                                                {"fooba", "Zm9vYmE="},
                                                                                {"foobar", "Zm9vYmFy"}};
    for (auto const& [plain, expected] : vectors) {
        std::string text(expected.size(), '?');
        wg::print_base64(view(plain), text);
        BOOST_TEST(text == expected);
    }
}

BOOST_AUTO_TEST_CASE(a_pair_passes_to_each_observer_what_it_takes) {
    int events = 0, packets = 0, keys = 0;
    wg::observer_pair<counting, with_key> pair(counting{&events, &packets}, with_key{&keys});
    static_assert(wg::observer_with_key<decltype(pair)> && wg::observer_with_packets<decltype(pair)>);
    pair.event(wg::event_id::peer_added, 1, 2, wg::public_key{});
    pair.packet({});
    BOOST_TEST((events == 1 && packets == 1 && keys == 1));
    wg::observer_pair<wg::no_observer, counting> second({}, counting{&events, &packets});
    static_assert(second.enabled && !wg::observer_with_key<decltype(second)>);
    second.event(wg::event_id::peer_added, 1, 2);
    second.packet({});
    BOOST_TEST((events == 2 && packets == 2));
    using silent = wg::observer_pair<wg::no_observer, wg::pcapng_observer>;
    static_assert(!silent::enabled && wg::observer_with_packets<silent>);
    static_assert(!wg::observer_with_packets<wg::observer_pair<wg::no_observer, wg::function_observer>>);
}

BOOST_AUTO_TEST_CASE(a_trace_file_is_emptied_and_private) {
    temporary_file place;
    ::chmod(place.path.c_str(), 0644);
    faulty_file_calls::reset();
    for (int round = 0; round < 2; ++round) {
        faulty_file file;
        BOOST_TEST_REQUIRE(file.open(place.path.c_str()) == 0);
        bytes_view const pieces[] = {view("one "), view(""), view("two")};
        faulty_file::write(&file, pieces);
        faulty_file::write(&file, std::span(pieces).first(1));
        BOOST_TEST(file.error() == 0);
        BOOST_TEST(place.read() == "one twoone ");
        struct stat facts {};
        BOOST_TEST(::stat(place.path.c_str(), &facts) == 0);
        BOOST_TEST((facts.st_mode & 0777) == 0600u);
    }
}

BOOST_AUTO_TEST_CASE(a_trace_file_finishes_writes_and_stops_after_an_error) {
    temporary_file place;
    faulty_file_calls::reset();
    faulty_file file;
    BOOST_TEST_REQUIRE(file.open(place.path.c_str()) == 0);
    bytes_view const pieces[] = {view("ab"), view("cdef"), view("g")};
    faulty_file_calls::most_bytes = 3; // the kernel takes less than was asked
    faulty_file::write(&file, pieces);
    BOOST_TEST(place.read() == "abcdefg");
    faulty_file_calls::most_bytes = 0;
    faulty_file_calls::write_error = ENOSPC;
    faulty_file::write(&file, pieces);
    BOOST_TEST(file.error() == ENOSPC);
    faulty_file_calls::write_error = 0;
    int const writes = faulty_file_calls::writes;
    faulty_file::write(&file, pieces);
    BOOST_TEST(faulty_file_calls::writes == writes);
    BOOST_TEST(place.read() == "abcdefg");

    faulty_file_calls::open_error = EACCES;
    BOOST_TEST(faulty_file().open(place.path.c_str()) == EACCES);
    faulty_file_calls::open_error = 0;
    faulty_file_calls::rights_error = EPERM;
    faulty_file refused;
    BOOST_TEST(refused.open(place.path.c_str()) == EPERM);
    faulty_file::write(&refused, pieces);
    BOOST_TEST(faulty_file_calls::writes == writes); // others could read it
    faulty_file_calls::reset();
}

BOOST_AUTO_TEST_SUITE_END()
