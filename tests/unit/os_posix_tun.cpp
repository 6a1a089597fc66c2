// SPDX-License-Identifier: BSL-1.0
// TUN interfaces of macOS and the BSDs: heads of packets, reads, writes, shared queues, and how the interfaces are
// opened and removed.
#include "kqueue_twin.hpp"
#include "wg/os/bsd/tun_opener.hpp"
#include "wg/os/darwin/utun.hpp"

#include <boost/test/unit_test.hpp>

#include <deque>
#include <functional>

BOOST_AUTO_TEST_SUITE(os_posix_tun)

namespace {

using namespace wg_tests::kqueue;
using wg::status, wg::os::error_text, posix::interface_name;

constexpr posix::tun_families macos_families{2, 30};

/// An interface of the tests: a pair of sockets that keep the bounds of packets, as utun does.
struct tun_state {
    unique_fd kernel{}; ///< the end of the tests
    std::map<std::string, unsigned> interfaces{{"lo0", 1}};
    unsigned next_index = 7;
    unsigned flags = 0x1;
    std::size_t mtu = 1500;
    int flags_error = 0, mtu_error = 0, set_mtu_error = 0, write_error = 0, read_error = 0;
    std::vector<std::string> destroyed, opened;
    // utun
    int control_error = 0, connect_error = 0;
    std::uint32_t unit = 0;
    char const* name_file = nullptr;
    int file_error = 0;
    std::map<std::string, std::string> files;
    // /dev/tunN
    std::map<std::string, int> device_errors;
    int prepare_error = 0, rename_error = 0;
    std::vector<int> owned; ///< descriptors of which the driver was told the process
};
tun_state host;

struct tun_calls_twin : calls {
    static constexpr posix::tun_families families = macos_families;
    static constexpr bool can_rename = true, has_clone_device = true;
    static constexpr char const* missing_device = "load the driver";

    static int flags(interface_name const&, unsigned& out) noexcept {
        out = host.flags;
        return host.flags_error;
    }
    static int mtu(interface_name const&, std::size_t& out) noexcept {
        if (host.mtu_error == 0) out = host.mtu;
        return host.mtu_error;
    }
    static int set_mtu(interface_name const&, std::size_t bytes) noexcept {
        if (host.set_mtu_error == 0) host.mtu = bytes;
        return host.set_mtu_error;
    }
    static unsigned index(interface_name const& name) noexcept {
        auto const found = host.interfaces.find(name.data());
        return found != host.interfaces.end() ? found->second : 0;
    }
    static bool name(unsigned index, interface_name& out) noexcept {
        for (auto const& [text, number] : host.interfaces)
            if (number == index) return out = posix::name_of(text), true;
        return false;
    }
    static void note_owner(int fd) noexcept { host.owned.push_back(fd); }
    static ssize_t read(int fd, iovec const* pieces, int count) noexcept {
        if (host.read_error != 0) return errno = host.read_error, -1;
        return ::readv(fd, pieces, count);
    }
    static ssize_t write(int fd, iovec const* pieces, int count) noexcept {
        if (host.write_error != 0) return errno = host.write_error, -1;
        return ::writev(fd, pieces, count);
    }
    static constexpr bool is_gone(int error) noexcept { return posix::link_calls::is_gone(error); }

    static int new_device() noexcept {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) != 0) return -1;
        host.kernel.reset(ends[1]);
        return ends[0];
    }
    static void add_interface(std::string const& name) { host.interfaces[name] = host.next_index++; }

    // utun
    static int open_control() noexcept {
        if (host.control_error != 0) return errno = host.control_error, -1;
        return new_device();
    }
    static int connect(int, std::uint32_t unit) noexcept {
        if (host.connect_error != 0) return errno = host.connect_error, -1;
        host.unit = unit;
        add_interface("utun" + std::to_string(unit == 0 ? 9 : unit - 1));
        return 0;
    }
    static int name(int fd, interface_name& out) noexcept {
        if (fd == STDIN_FILENO) return errno = EINVAL, -1;
        out = posix::name_of("utun" + std::to_string(host.unit == 0 ? 9 : host.unit - 1));
        return 0;
    }
    static char const* name_file() noexcept { return host.name_file; }
    static int write_file(char const* path, std::string_view text) noexcept {
        if (host.file_error != 0) return errno = host.file_error, -1;
        host.files[path] = text;
        return 0;
    }

    // /dev/tunN
    static int open_device(char const* path) noexcept {
        host.opened.push_back(path);
        auto const refused = host.device_errors.find(path);
        if (refused != host.device_errors.end()) return errno = refused->second, -1;
        std::string const device = path;
        add_interface(device == "/dev/tun" ? "tun4" : device.substr(5));
        return new_device();
    }
    static int device_name(int fd, interface_name& out) noexcept {
        if (fd == STDIN_FILENO) return ENOTTY;
        std::string const device = host.opened.empty() ? "/dev/tun0" : host.opened.back();
        out = posix::name_of(device == "/dev/tun" ? "tun4" : device.substr(5));
        return 0;
    }
    static int prepare(int, interface_name const&) noexcept { return host.prepare_error; }
    static int rename(interface_name const& name, interface_name const& wanted) noexcept {
        if (host.rename_error != 0) return host.rename_error;
        host.interfaces[wanted.data()] = host.interfaces[name.data()];
        host.interfaces.erase(name.data());
        return 0;
    }
    static void destroy(interface_name const& name) noexcept {
        host.destroyed.push_back(name.data());
        host.interfaces.erase(name.data());
    }
};
struct fixed_names : tun_calls_twin {
    static constexpr bool can_rename = false, has_clone_device = false;
};

using utun = posix::basic_tun<wg::os::darwin::utun_opener<tun_calls_twin>, tun_calls_twin>;
using bsd_tun = posix::basic_tun<wg::os::bsd::tun_opener<tun_calls_twin>, tun_calls_twin>;
using openbsd_tun = posix::basic_tun<wg::os::bsd::tun_opener<fixed_names>, fixed_names>;
static_assert(wg::tun_device<utun> && wg::tun_device_with_share<utun> && wg::tun_device_with_settle<utun>);
static_assert(wg::tun_device_with_has_more_for_others<utun> && wg::tun_device_with_longest_cut<utun>);

struct fixture {
    fixture() { host = {}; }
    fresh start{};
    error_text why{};
};

/// Packets with room for `Size` bytes after an offset of 16.
template <std::size_t Size = 100, std::size_t Count = 4> struct buffers {
    std::array<std::array<wg::byte, Size + 16>, Count> memory{};
    std::array<wg::packet, Count> packets{};
    buffers() {
        for (std::size_t i = 0; i < Count; ++i) packets[i] = wg::packet(memory[i], 16);
    }
    std::string text(std::size_t i) const {
        auto const view = packets[i].view();
        return {view.begin(), view.end()};
    }
};

std::string from_kernel() {
    char data[2000];
    ssize_t const size = ::read(host.kernel.get(), data, sizeof data);
    return size < 0 ? "nothing" : std::string(data, static_cast<std::size_t>(size));
}
void to_tun(std::string const& frame) {
    BOOST_REQUIRE_EQUAL(::write(host.kernel.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
}
std::string frame(unsigned char family, std::string const& packet) {
    return std::string("\0\0\0", 3) + static_cast<char>(family) + packet;
}
/// An IPv4 packet of `size` bytes, by its header.
std::string v4(std::size_t size, std::size_t real) {
    std::string p(real, '.');
    p[0] = 0x45;
    p[2] = static_cast<char>(size >> 8);
    p[3] = static_cast<char>(size & 0xff);
    return p;
}
wg::packet packet_of(std::string& text) {
    return {{reinterpret_cast<wg::byte*>(text.data()), text.size()}, 0, text.size()};
}

} // namespace

BOOST_FIXTURE_TEST_CASE(writes_the_head_of_each_family, fixture) {
    wg::byte head[4];
    wg::byte const four[] = {0x45, 0}, six[] = {0x60, 0}, five[] = {0x50};
    BOOST_TEST(posix::write_head(four, macos_families, head));
    BOOST_TEST(wg::load_be32(head) == 2u);
    BOOST_TEST(posix::write_head(six, macos_families, head));
    BOOST_TEST(wg::load_be32(head) == 30u);
    BOOST_TEST(posix::write_head(six, {2, 28}, head));
    BOOST_TEST(wg::load_be32(head) == 28u);
    BOOST_TEST(!posix::write_head(five, macos_families, head));
    BOOST_TEST(!posix::write_head({}, macos_families, head));
}

BOOST_FIXTURE_TEST_CASE(reads_the_length_that_a_header_states, fixture) {
    wg::byte const four[] = {0x45, 0, 0x05, 0xdc}, six[] = {0x60, 0, 0, 0, 0x01, 0x00};
    BOOST_TEST(posix::stated_bytes(four) == 1500u);
    BOOST_TEST(posix::stated_bytes(six) == 296u);
    BOOST_TEST(posix::stated_bytes({four, 3}) == 0u);
    BOOST_TEST(posix::stated_bytes({six, 5}) == 0u);
    BOOST_TEST(posix::stated_bytes({}) == 0u);
}

BOOST_FIXTURE_TEST_CASE(reads_packets_behind_their_heads_and_writes_heads, fixture) {
    auto tun = utun::open("utun3", why, 1420);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.view());
    BOOST_TEST((host.unit == 4 && std::string(tun->name()) == "utun3" && tun->index() == 7));
    BOOST_TEST((host.mtu == 1420 && tun->mtu() == 1420));
    buffers b;
    BOOST_TEST(*tun->read(b.packets) == 0u);
    to_tun(frame(2, "Efirst"));
    to_tun(frame(30, "`second"));
    BOOST_TEST(*tun->read(b.packets) == 2u);
    BOOST_TEST((b.text(0) == "Efirst" && b.text(1) == "`second"));
    std::string four = "E4", six = "`6", none = "?";
    wg::packet out[] = {packet_of(four), packet_of(none), packet_of(six)};
    BOOST_TEST(tun->write(out) == 2u);
    BOOST_TEST(from_kernel() == frame(2, "E4"));
    BOOST_TEST(from_kernel() == frame(30, "`6"));
    BOOST_TEST(from_kernel() == "nothing");
}

BOOST_FIXTURE_TEST_CASE(leaves_packets_that_do_not_fit_the_span, fixture) {
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    buffers<100, 2> b;
    for (char const c : {'1', '2', '3'}) to_tun(frame(2, std::string("E") + c));
    BOOST_TEST(*tun->read(b.packets) == 2u);
    BOOST_TEST(*tun->read(b.packets) == 1u);
    BOOST_TEST(b.text(0) == "E3");
    BOOST_TEST(*tun->read({}) == 0u);
}

BOOST_FIXTURE_TEST_CASE(a_frame_without_a_packet_has_length_0, fixture) {
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    buffers b;
    to_tun(std::string("\0\0\0\2", 4));
    to_tun("ab");
    BOOST_TEST(*tun->read(b.packets) == 2u);
    BOOST_TEST((b.packets[0].length == 0 && b.packets[1].length == 0));
}

BOOST_FIXTURE_TEST_CASE(notes_packets_that_were_cut, fixture) {
    auto tun = utun::open("utun", why, 1420);
    BOOST_REQUIRE(static_cast<bool>(tun));
    buffers<60> b;
    to_tun(frame(2, v4(60, 60)));
    BOOST_TEST(*tun->read(b.packets) == 1u);
    BOOST_TEST(tun->longest_cut() == 0u);
    to_tun(frame(2, v4(9000, 80)));
    to_tun(frame(2, v4(2000, 80)));
    BOOST_TEST(*tun->read(b.packets) == 2u);
    BOOST_TEST((b.packets[0].length == 60 && tun->longest_cut() == 9000 && tun->mtu() == 9000));
    host.mtu = 9000;
    tun->refresh_mtu();
    BOOST_TEST((tun->longest_cut() == 0 && tun->mtu() == 9000));
}

BOOST_FIXTURE_TEST_CASE(reports_the_end_of_the_interface, fixture) {
    for (int const error : {ENXIO, ENODEV, EBADF, ECONNRESET, ENOTCONN}) {
        auto tun = utun::open("utun", why);
        BOOST_REQUIRE(static_cast<bool>(tun));
        buffers b;
        host.read_error = error;
        BOOST_TEST((tun->read(b.packets).why() == status::gone));
        host.read_error = EIO;
        BOOST_TEST((tun->read(b.packets).why() == status::io_error));
        host.read_error = 0;
    }
    auto tun = utun::open("utun", why);
    buffers b;
    to_tun(frame(2, "Elast"));
    host.kernel.reset();
    BOOST_TEST(*tun->read(b.packets) == 1u); // what came before the end
    BOOST_TEST((tun->read(b.packets).why() == status::gone));
}

BOOST_FIXTURE_TEST_CASE(drops_packets_that_the_host_refuses, fixture) {
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    std::string one = "E1", two = "E2";
    wg::packet out[] = {packet_of(one), packet_of(two)};
    for (int const error : {ENOBUFS, EAGAIN, EINVAL, EIO, ENETDOWN, ENXIO}) {
        host.write_error = error;
        BOOST_TEST(tun->write(out) == 0u);
    }
    host.write_error = 0;
    BOOST_TEST(tun->write(out) == 2u);
}

BOOST_FIXTURE_TEST_CASE(objects_that_share_an_interface_do_not_read_at_once, fixture) {
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    BOOST_TEST(tun->fd() >= 0);
    auto other = tun->share();
    BOOST_REQUIRE(static_cast<bool>(other));
    buffers<100, 1> b, c;
    for (char const n : {'1', '2', '3'}) to_tun(frame(2, std::string("E") + n));
    BOOST_TEST(*tun->read(b.packets) == 1u);
    BOOST_TEST(*other->read(c.packets) == 0u); // would overtake the packets of `tun`
    BOOST_TEST(!tun->has_more_for_others());
    BOOST_TEST(*tun->read(b.packets) == 1u);
    BOOST_TEST(b.text(0) == "E2");
    tun->settle();
    BOOST_TEST(*other->read(c.packets) == 1u);
    BOOST_TEST(c.text(0) == "E3");
    BOOST_TEST(*tun->read(b.packets) == 0u);
    other->settle();
    std::string out = "Eout";
    wg::packet packets[] = {packet_of(out)};
    BOOST_TEST(other->write(packets) == 1u);
}

BOOST_FIXTURE_TEST_CASE(an_object_that_is_destroyed_gives_its_claim_back, fixture) {
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    (void)tun->fd();
    buffers<100, 1> b;
    to_tun(frame(2, "E1"));
    to_tun(frame(2, "E2"));
    {
        auto other = tun->share();
        BOOST_TEST(*other->read(b.packets) == 1u);
        BOOST_TEST(*tun->read(b.packets) == 0u);
    }
    BOOST_TEST(*tun->read(b.packets) == 1u);
}

BOOST_FIXTURE_TEST_CASE(a_child_of_a_fork_reads_by_a_queue_of_its_own, fixture) {
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    int const before = tun->fd();
    BOOST_TEST((host.owned.size() == 1 && tun->fd() == before && host.owned.size() == 1));
    state.process = 2;
    ::close(before);
    BOOST_TEST(tun->fd() >= 0);
    BOOST_TEST((host.owned.size() == 2 && host.owned[0] == host.owned[1])); // FreeBSD's driver asks for the process
    buffers b;
    to_tun(frame(2, "E1"));
    BOOST_TEST(*tun->read(b.packets) == 1u);
}

BOOST_FIXTURE_TEST_CASE(follows_the_name_and_the_state_of_the_interface, fixture) {
    auto tun = bsd_tun::open("wg0", why);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.view());
    BOOST_TEST(std::string(tun->name()) == "wg0");
    BOOST_TEST((tun->link_state() == status::ok));
    host.flags = 0;
    BOOST_TEST((tun->link_state() == status::device_down));
    host.interfaces = {{"renamed", tun->index()}};
    host.mtu = 1300;
    tun->refresh_mtu();
    BOOST_TEST((std::string(tun->name()) == "renamed" && tun->mtu() == 1300));
    host.mtu_error = ENXIO;
    host.mtu = 1;
    tun->refresh_mtu();
    BOOST_TEST(tun->mtu() == 1300u); // the known values stay
    host.flags_error = ENXIO;
    BOOST_TEST((tun->link_state() == status::gone));
    host.flags_error = EMFILE; // says nothing of the interface
    BOOST_TEST((tun->link_state() == status::device_down));
    host.interfaces.clear();
    BOOST_TEST((tun->link_state() == status::gone));
    BOOST_TEST((tun->set_mtu(1280) == status::ok && host.mtu == 1280));
}

BOOST_FIXTURE_TEST_CASE(an_object_without_an_interface_does_nothing, fixture) {
    utun none;
    buffers b;
    BOOST_TEST((none.read(b.packets).why() == status::gone && none.write(b.packets) == 0 && none.fd() == -1));
    BOOST_TEST((none.mtu() == 0 && none.index() == 0 && none.link_state() == status::gone));
    BOOST_TEST((none.share().why() == status::gone));
    none.refresh_mtu();
    none.settle();
}

// --- utun of macOS

BOOST_FIXTURE_TEST_CASE(knows_the_names_of_utun, fixture) {
    using wg::os::darwin::utun_number;
    BOOST_TEST((utun_number("utun") == -1 && utun_number("utun0") == 0 && utun_number("utun12") == 12));
    BOOST_TEST(utun_number("utun2147483646") == 2147483646);
    for (char const* const bad : {"", "utu", "wg0", "utun01", "utunx", "utun1x", "utun-1", "utun2147483647",
                                  "utun99999999999", "utun 1", "Utun1"})
        BOOST_TEST(utun_number(bad) == -2, bad);
}

BOOST_FIXTURE_TEST_CASE(lets_the_kernel_choose_the_number_and_writes_the_name, fixture) {
    host.name_file = "/var/run/wireguard/home.name";
    auto tun = utun::open("utun", why);
    BOOST_REQUIRE(static_cast<bool>(tun));
    BOOST_TEST((host.unit == 0 && std::string(tun->name()) == "utun9"));
    BOOST_TEST(host.files["/var/run/wireguard/home.name"] == "utun9\n");
    host.name_file = "";
    host.files.clear();
    BOOST_TEST(static_cast<bool>(utun::open("utun5", why)));
    BOOST_TEST(host.files.empty());
}

BOOST_FIXTURE_TEST_CASE(says_why_utun_cannot_be_opened, fixture) {
    BOOST_TEST((utun::open("wg0", why).why() == status::invalid));
    BOOST_TEST(why.view() == "`wg0` cannot name an interface of macOS: use `utun` or `utun` and a number");
    host.connect_error = EBUSY;
    BOOST_TEST((utun::open("utun3", why).why() == status::address_in_use));
    BOOST_TEST(why.view() == "an interface `utun3` exists already: choose another name, or `utun` for a free one");
    host.connect_error = EPERM;
    BOOST_TEST((utun::open("utun3", why).why() == status::no_permission));
    BOOST_TEST(why.view() == "cannot create an interface utun: Operation not permitted (run as root)");
    host.control_error = EPERM;
    BOOST_TEST((utun::open("utun3", why).why() == status::no_permission));
    host = {};
    host.name_file = "/nowhere/x";
    host.file_error = ENOENT;
    BOOST_TEST((utun::open("utun3", why).why() == status::io_error));
    BOOST_TEST(why.view() ==
               "cannot write the interface's name to WG_TUN_NAME_FILE, `/nowhere/x`: No such file or directory");
    host = {};
    host.set_mtu_error = EINVAL;
    BOOST_TEST((utun::open("utun3", why, 9).why() == status::invalid));
    BOOST_TEST(why.view() == "cannot set the MTU of `utun3` to 9: Invalid argument");
}

BOOST_FIXTURE_TEST_CASE(takes_over_a_descriptor_or_leaves_it_open, fixture) {
    BOOST_TEST((utun::adopt(STDIN_FILENO, why).why() == status::invalid));
    BOOST_TEST(why.view() == "descriptor 0 is no utun interface: Invalid argument");
    int ends[2];
    BOOST_REQUIRE_EQUAL(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    unique_fd const kernel(ends[1]);
    BOOST_TEST((utun::adopt(ends[0], why).why() == status::io_error)); // no interface has the name any more
    BOOST_TEST(::fcntl(ends[0], F_GETFD) >= 0);
    host.interfaces["utun9"] = 12;
    host.mtu = 1380;
    {
        auto tun = utun::adopt(ends[0], why);
        BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.view());
        BOOST_TEST((tun->index() == 12 && tun->mtu() == 1380));
        BOOST_TEST((::fcntl(ends[0], F_GETFL) & O_NONBLOCK) != 0);
        BOOST_TEST((::fcntl(ends[0], F_GETFD) & FD_CLOEXEC) != 0);
    }
    BOOST_TEST(::fcntl(ends[0], F_GETFD) < 0);
}

// --- tun of the BSDs

BOOST_FIXTURE_TEST_CASE(knows_the_names_of_tun, fixture) {
    using wg::os::bsd::tun_number, wg::os::bsd::can_be_renamed_to;
    BOOST_TEST((tun_number("tun") == -1 && tun_number("tun0") == 0 && tun_number("tun32766") == 32766));
    for (char const* const bad : {"", "tu", "wg0", "tun01", "tunx", "tun-1", "tun32767", "tun123456"})
        BOOST_TEST(tun_number(bad) == -2, bad);
    BOOST_TEST((can_be_renamed_to("wg0") && can_be_renamed_to("0123456789abcde")));
    for (char const* const bad : {"", ".", "..", "a/b", "a b", "0123456789abcdef"}) BOOST_TEST(!can_be_renamed_to(bad));
}

BOOST_FIXTURE_TEST_CASE(creates_renames_and_deletes_an_interface, fixture) {
    {
        auto tun = bsd_tun::open("wg0", why);
        BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.view());
        BOOST_TEST(host.interfaces.contains("wg0"));
        BOOST_TEST(!host.interfaces.contains("tun4"));
        host.interfaces = {{"other", tun->index()}}; // an administrator has renamed it
    }
    BOOST_TEST(host.destroyed == std::vector<std::string>{"other"});
    host.destroyed.clear();
    BOOST_TEST(static_cast<bool>(bsd_tun::open("tun7", why)));
    BOOST_TEST(host.opened.back() == "/dev/tun7");
    BOOST_TEST(host.destroyed == std::vector<std::string>{"tun7"});
}

BOOST_FIXTURE_TEST_CASE(an_interface_that_another_program_deleted_is_not_deleted_again, fixture) {
    {
        auto tun = bsd_tun::open("tun7", why);
        BOOST_REQUIRE(static_cast<bool>(tun));
        host.interfaces = {{"tun7", 99}}; // a later interface of the same name
    }
    BOOST_TEST(host.destroyed.empty());
}

BOOST_FIXTURE_TEST_CASE(looks_for_a_free_interface_where_there_is_no_clone_device, fixture) {
    host.device_errors = {{"/dev/tun0", EBUSY}, {"/dev/tun1", EBUSY}};
    auto tun = openbsd_tun::open("tun", why);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.view());
    BOOST_TEST(std::string(tun->name()) == "tun2");
    host.device_errors["/dev/tun3"] = ENXIO; // tun2 exists now
    BOOST_TEST((openbsd_tun::open("tun", why).why() == status::not_supported));
    BOOST_TEST(why.view() == "there is no /dev/tun3: load the driver");
}

BOOST_FIXTURE_TEST_CASE(leaves_an_idle_interface_to_the_administrator_who_created_it, fixture) {
    host.interfaces = {{"tun0", 5}};
    auto tun = openbsd_tun::open("tun", why);
    BOOST_REQUIRE_MESSAGE(static_cast<bool>(tun), why.view());
    BOOST_TEST(std::string(tun->name()) == "tun1");
}

BOOST_FIXTURE_TEST_CASE(says_why_tun_cannot_be_opened, fixture) {
    BOOST_TEST((openbsd_tun::open("wg0", why).why() == status::invalid));
    BOOST_TEST(why.view() == "`wg0` cannot name an interface: use `tun`, or `tun` and a number");
    BOOST_TEST((bsd_tun::open("a/b", why).why() == status::invalid));
    BOOST_TEST((bsd_tun::open("lo0", why).why() == status::address_in_use));
    BOOST_TEST(why.view() == "an interface `lo0` exists already: choose another name, or delete it with `ifconfig lo0 "
                             "destroy`");
    for (auto const& [error, expected] : {std::pair(EACCES, status::no_permission),
                                          {EBUSY, status::address_in_use},
                                          {ENOENT, status::not_supported},
                                          {EMFILE, status::no_memory}}) {
        host.device_errors = {{"/dev/tun5", error}};
        BOOST_TEST((bsd_tun::open("tun5", why).why() == expected));
        BOOST_TEST(!why.empty());
    }
    host.device_errors.clear();
    BOOST_TEST(host.interfaces.size() == 1u);
}

BOOST_FIXTURE_TEST_CASE(a_failure_after_the_device_was_opened_leaves_no_interface, fixture) {
    host.prepare_error = EINVAL;
    BOOST_TEST((bsd_tun::open("tun5", why).why() == status::invalid));
    BOOST_TEST(why.view() == "cannot set up the interface `tun5`: Invalid argument");
    host.prepare_error = 0;
    host.rename_error = EEXIST;
    BOOST_TEST((bsd_tun::open("wg0", why).why() == status::address_in_use));
    host.rename_error = 0;
    host.set_mtu_error = EINVAL;
    BOOST_TEST((bsd_tun::open("wg0", why).why() == status::invalid));
    BOOST_TEST(host.interfaces.size() == 1u);
    BOOST_TEST(host.destroyed.size() == 3u);
}

BOOST_FIXTURE_TEST_CASE(an_interface_of_another_program_is_taken_over_and_stays, fixture) {
    BOOST_TEST((bsd_tun::adopt(STDIN_FILENO, why).why() == status::invalid));
    int ends[2];
    BOOST_REQUIRE_EQUAL(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    unique_fd const kernel(ends[1]);
    host.interfaces["tun0"] = 5;
    BOOST_TEST(static_cast<bool>(bsd_tun::adopt(ends[0], why)));
    BOOST_TEST((host.destroyed.empty() && host.interfaces.contains("tun0")));
}

BOOST_AUTO_TEST_CASE(the_loopback_interface_of_this_host_is_described) {
    using posix::link_calls;
    auto const lo = posix::name_of("lo");
    unsigned flags = 0;
    std::size_t mtu = 0;
    interface_name name{};
    BOOST_REQUIRE(link_calls::index(lo) != 0u);
    BOOST_TEST((link_calls::name(link_calls::index(lo), name) && name == lo));
    BOOST_TEST((link_calls::flags(lo, flags) == 0 && (flags & IFF_LOOPBACK) != 0));
    BOOST_TEST((link_calls::mtu(lo, mtu) == 0 && mtu >= 1500));
    BOOST_TEST(link_calls::mtu(posix::name_of("none-such"), mtu) == ENODEV);
}

BOOST_AUTO_TEST_SUITE_END()
