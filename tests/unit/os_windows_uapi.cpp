// SPDX-License-Identifier: BSL-1.0
// The configuration pipe of os/windows, with pipes and clients of the test.
#include "wg/control/uapi.hpp"
#include "wg/os/windows/process/uapi_listener.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <list>
#include <memory>
#include <string>
#include <vector>

BOOST_AUTO_TEST_SUITE(os_windows_uapi)

namespace {

namespace windows = wg::os::windows;
namespace api = wg::os::windows::api_detail;
using wg::status;

enum class kind { none, connect, read, write };

/// An instance of a pipe, and its client.
struct instance {
    bool listens = false, has_client = false, client_left = false, is_first = false;
    std::string to_server, to_client;
    std::size_t room = 1 << 30; ///< bytes that the client takes before it reads
    kind what = kind::none;     ///< the operation that goes on
    api::overlapped* operation = nullptr;
    wg::byte* read_to = nullptr;
    wg::byte const* write_from = nullptr;
    std::uint32_t size = 0;
};

/// The pipes of the host.
struct host_state {
    std::list<instance> instances;
    std::vector<std::string> remains; ///< what each closed instance had for its client
    bool event = false, other_owns_it = false, first_was_wanted = false, first_was_asked_later = false;
    int create_error = 0, creates_left = 1 << 30, connect_error = 0, error = 0, cancels = 0, disconnects = 0;
    int handles = 0, descriptors = 0;
    bool refuses_event = false, allows_owners = false;
    std::string path;
    std::u16string security;
    std::uint32_t max_instances = 0;
} host;

constexpr std::uintptr_t goes_on = 1, done = 2;

/// Finishes an operation; Windows sets the event then.
void finish(instance& i, std::uint32_t size, int error) {
    i.operation->status = done;
    i.operation->size = size;
    i.operation->offset = static_cast<std::uint64_t>(error);
    i.what = kind::none;
    host.event = true;
}

void go_on(instance& i) {
    if (i.what == kind::connect && i.has_client) finish(i, 0, 0);
    if (i.what == kind::read && !i.to_server.empty()) {
        auto const size = static_cast<std::uint32_t>((std::min)(i.to_server.size(), std::size_t{i.size}));
        std::copy_n(i.to_server.begin(), size, i.read_to);
        i.to_server.erase(0, size);
        finish(i, size, 0);
    } else if (i.what == kind::read && i.client_left) {
        finish(i, 0, api::error_broken_pipe);
    }
    if (i.what == kind::write && i.client_left) {
        finish(i, 0, api::error_no_data);
    } else if (i.what == kind::write && i.to_client.size() < i.room) {
        auto const size = static_cast<std::uint32_t>((std::min)(i.room - i.to_client.size(), std::size_t{i.size}));
        i.to_client.append(reinterpret_cast<char const*>(i.write_from), size);
        finish(i, size, 0); // may be fewer bytes than wanted
    }
}

struct test_calls {
    using operation = api::overlapped;
    static int begin(instance& i, kind what, operation& of) noexcept {
        BOOST_TEST((i.what == kind::none));
        BOOST_TEST(of.event == static_cast<void*>(&host));
        host.event = false; // as Windows does
        i.what = what;
        i.operation = &of;
        of.status = goes_on;
        go_on(i);
        return api::error_io_pending;
    }
    static instance& of(void* pipe) { return *static_cast<instance*>(pipe); }

    static void* create_event() noexcept {
        if (host.refuses_event) return nullptr;
        ++host.handles;
        return &host;
    }
    static void set_event(void*) noexcept { host.event = true; }
    static void close(void* handle) noexcept {
        --host.handles;
        if (handle == &host) return;
        instance& i = of(handle);
        BOOST_TEST((i.what == kind::none)); // else Windows would write into memory that is in use for something else
        host.remains.push_back(i.to_client);
        host.instances.remove_if([&](instance const& other) { return &other == &i; });
    }
    static int error() noexcept { return host.error; }
    struct text {
        std::string_view view() const noexcept { return "the text of Windows"; }
    };
    static text text_of(int) noexcept { return {}; }
    static void* descriptor_of(char16_t const* text) noexcept {
        ++host.descriptors;
        host.security = text;
        return &host.descriptors;
    }
    static void free_descriptor(void*) noexcept { --host.descriptors; }
    struct owner_right {
        owner_right() noexcept { host.allows_owners = true; }
        ~owner_right() {
            host.allows_owners = false;
            host.error = 0; // as each call may change it
        }
    };
    static void* create_pipe(char16_t const* path, bool first, std::uint32_t max, void* descriptor) noexcept {
        BOOST_TEST((descriptor == &host.descriptors && host.allows_owners));
        host.path.clear();
        for (; *path != 0; ++path) host.path += static_cast<char>(*path);
        if (first && host.instances.empty()) host.first_was_wanted = true;
        else host.first_was_asked_later = host.first_was_asked_later || first;
        host.max_instances = max;
        BOOST_TEST(host.instances.size() < max);
        if (host.create_error != 0 || host.creates_left-- <= 0) {
            host.error = host.create_error != 0 ? host.create_error : api::error_not_enough_memory;
            return reinterpret_cast<void*>(~std::uintptr_t{0});
        }
        ++host.handles;
        return &host.instances.emplace_back();
    }
    static bool pipe_exists(char16_t const*) noexcept { return host.other_owns_it; }
    static int connect(void* pipe, operation& of_this) noexcept {
        if (host.connect_error != 0) return std::exchange(host.connect_error, 0);
        of(pipe).listens = true;
        return begin(of(pipe), kind::connect, of_this);
    }
    static void disconnect(void* pipe) noexcept {
        ++host.disconnects;
        of(pipe) = {};
    }
    static int read(void* pipe, wg::byte* to, std::uint32_t size, operation& of_this) noexcept {
        of(pipe).read_to = to;
        of(pipe).size = size;
        return begin(of(pipe), kind::read, of_this);
    }
    static int write(void* pipe, wg::byte const* from, std::uint32_t size, operation& of_this) noexcept {
        of(pipe).write_from = from;
        of(pipe).size = size;
        return begin(of(pipe), kind::write, of_this);
    }
    static int result(void*, operation& of_this, std::uint32_t& size) noexcept {
        if (of_this.status == goes_on) return api::error_io_incomplete;
        size = static_cast<std::uint32_t>(of_this.size);
        return static_cast<int>(of_this.offset);
    }
    static void cancel(void* pipe, operation&) noexcept {
        ++host.cancels;
        if (of(pipe).what != kind::none) finish(of(pipe), 0, 995);
    }
};

/// A client of the pipe.
class client {
public:
    client() {
        for (instance& i : host.instances) {
            if (!i.listens || i.has_client) continue;
            at_ = &i;
            i.has_client = true;
            go_on(i);
            return;
        }
    }
    explicit operator bool() const {
        return at_ != nullptr && std::any_of(host.instances.begin(), host.instances.end(),
                                             [&](instance const& i) { return &i == at_ && i.has_client; });
    }
    void send(std::string const& text) {
        at_->to_server += text;
        go_on(*at_);
    }
    std::string take() {
        std::string const got = std::exchange(at_->to_client, {});
        go_on(*at_);
        return got;
    }
    void takes(std::size_t room) { at_->room = room; }
    void leave() {
        at_->client_left = true;
        go_on(*at_);
    }

private:
    instance* at_ = nullptr;
};

/// Answers each line by the line in brackets; "big" by many bytes; "end" is the last.
struct session {
    std::string line;
    static inline int alive = 0;
    session() noexcept { ++alive; }
    session(session const&) = delete;
    ~session() { --alive; }
};
std::vector<std::string> fed;

status answer(session& s, wg::bytes_view bytes, wg::secret_buffer& reply) noexcept {
    s.line.append(reinterpret_cast<char const*>(bytes.data()), bytes.size());
    if (!s.line.ends_with('\n')) return status::ok;
    std::string const line = std::exchange(s.line, {});
    fed.push_back(line.substr(0, line.size() - 1));
    if (line == "big\n") return reply.append(std::string(200'000, 'x')) ? status::ok : status::no_memory;
    (void)reply.append("[" + line.substr(0, line.size() - 1) + "]");
    return line == "end\n" ? status::protocol_error : status::ok;
}

constexpr std::size_t most = 3;
using test_listener = windows::basic_uapi_listener<session, wg::secret_buffer, most, test_calls>;

/// Calls `serve` as often as the event asks for it. Returns: how often.
int serve(test_listener& pipe) {
    int calls = 0;
    while (std::exchange(host.event, false) && calls < 1000) {
        ++calls;
        BOOST_TEST((pipe.serve(answer) == status::ok));
    }
    return calls;
}

struct fixture {
    fixture() {
        host = {};
        fed.clear();
    }
    ~fixture() {
        BOOST_TEST((host.handles == 0 && host.instances.empty() && host.descriptors == 0 && session::alive == 0));
    }
};

/// A listener that listens at wg0.
struct open_pipe : fixture {
    open_pipe() {
        wg::os::error_text why;
        BOOST_REQUIRE((made->open("wg0", why) == status::ok));
        serve(*made);
    }
    std::unique_ptr<test_listener> made = std::make_unique<test_listener>();
    test_listener& pipe = *made;
};

} // namespace

BOOST_FIXTURE_TEST_CASE(creates_the_pipe_that_the_tools_of_wireguard_look_for, open_pipe) {
    BOOST_TEST(host.path == R"(\\.\pipe\ProtectedPrefix\Administrators\WireGuard\wg0)");
    BOOST_TEST(std::string(pipe.path()) == host.path);
    BOOST_TEST((host.security == u"O:SYD:P(A;;GA;;;SY)(A;;GA;;;BA)S:(ML;;NWNRNX;;;HI)"));
    BOOST_TEST((host.first_was_wanted && !host.first_was_asked_later)); // the pipe of another process is an error
    BOOST_TEST((host.instances.size() == most + 1 && pipe.connections() == 0));
    BOOST_TEST(!host.allows_owners); // the right is given up after each instance
}

BOOST_FIXTURE_TEST_CASE(answers_requests_of_several_clients, open_pipe) {
    client a, b;
    a.send("one\n");
    serve(pipe);
    b.send("two\nthr");
    serve(pipe);
    b.send("ee\n");
    serve(pipe);
    BOOST_TEST(a.take() == "[one]");
    BOOST_TEST(b.take() == "[two][three]");
    BOOST_TEST(pipe.connections() == 2);
}

BOOST_FIXTURE_TEST_CASE(an_event_of_one_client_is_not_lost_when_another_operation_starts, open_pipe) {
    client a, b, c;
    for (int i = 0; i < 20; ++i) {
        a.send("a\n");
        b.send("b\n");
        c.send("c\n"); // all before one call
        serve(pipe);
        for (client* one : {&a, &b, &c}) BOOST_TEST(one->take().size() == 3);
    }
}

BOOST_FIXTURE_TEST_CASE(a_client_that_connects_and_sends_nothing_is_tolerated, open_pipe) {
    {
        client probe;
        serve(pipe);
        BOOST_TEST(pipe.connections() == 1);
        probe.leave();
    }
    serve(pipe);
    BOOST_TEST((pipe.connections() == 0 && host.instances.size() == most + 1));
    client after;
    after.send("one\n");
    serve(pipe);
    BOOST_TEST(after.take() == "[one]");
}

BOOST_FIXTURE_TEST_CASE(sends_the_rest_of_a_reply_when_the_client_has_read, open_pipe) {
    client slow, other;
    slow.takes(1000);
    slow.send("big\nafter\n");
    serve(pipe);
    other.send("one\n");
    serve(pipe);
    BOOST_TEST(other.take() == "[one]"); // it does not wait for the slow one
    BOOST_TEST((fed == std::vector<std::string>{"big", "one"}));
    std::string got;
    for (int i = 0; i < 300; ++i) {
        got += slow.take();
        serve(pipe);
    }
    BOOST_TEST((got == std::string(200'000, 'x') + "[after]"));
}

BOOST_FIXTURE_TEST_CASE(a_client_that_leaves_during_its_reply_frees_its_place, open_pipe) {
    client rude;
    rude.takes(10);
    rude.send("big\n");
    serve(pipe);
    BOOST_TEST(pipe.connections() == 1);
    rude.leave();
    serve(pipe);
    BOOST_TEST((pipe.connections() == 0 && session::alive == 0));
}

BOOST_FIXTURE_TEST_CASE(closes_after_the_last_reply_and_leaves_that_reply_to_the_client, open_pipe) {
    client c;
    c.send("end\nmore\n");
    serve(pipe);
    BOOST_TEST((fed == std::vector<std::string>{"end"}));
    BOOST_TEST((host.remains == std::vector<std::string>{"[end]"}));
    BOOST_TEST((host.disconnects == 0 && pipe.connections() == 0));
}

BOOST_FIXTURE_TEST_CASE(closes_the_connection_that_was_inactive_longest_when_all_places_are_taken, open_pipe) {
    client clients[most];
    serve(pipe);
    for (client& c : clients) {
        c.send("one\n");
        serve(pipe);
    }
    clients[0].send("again\n");
    serve(pipe);
    client next;
    serve(pipe);
    BOOST_TEST((clients[0] && !clients[1] && clients[2] && next));
    BOOST_TEST(pipe.connections() == most);
    next.send("two\n");
    serve(pipe);
    BOOST_TEST(next.take() == "[two]");
}

BOOST_FIXTURE_TEST_CASE(there_is_always_an_instance_for_the_next_client, open_pipe) {
    for (int i = 0; i < 20; ++i) {
        client c;
        BOOST_TEST(static_cast<bool>(c));
        serve(pipe);
        BOOST_TEST(pipe.connections() <= most);
    }
}

BOOST_FIXTURE_TEST_CASE(a_client_with_endless_requests_does_not_keep_serve_from_returning, open_pipe) {
    client c;
    std::string many;
    for (int i = 0; i < 10'000; ++i) many += "a\n";
    c.send(many);
    BOOST_TEST((pipe.serve(answer) == status::ok));
    BOOST_TEST((fed.size() < 10'000u && host.event)); // the event stays set for the rest
    serve(pipe);
    BOOST_TEST(fed.size() == 10'000u);
}

BOOST_FIXTURE_TEST_CASE(without_memory_for_a_new_instance_the_old_one_serves_the_next_client, open_pipe) {
    host.creates_left = 0;
    {
        client c;
        serve(pipe);
        c.leave();
    }
    serve(pipe);
    BOOST_TEST((host.disconnects == 1 && host.instances.size() == most + 1));
    client after;
    after.send("one\n");
    serve(pipe);
    BOOST_TEST(after.take() == "[one]");
}

BOOST_FIXTURE_TEST_CASE(a_client_that_came_and_left_before_the_server_listened_is_forgotten, open_pipe) {
    host.connect_error = api::error_no_data; // of the instance that follows the one that ends here
    {
        client c;
        serve(pipe);
        c.leave();
    }
    serve(pipe);
    BOOST_TEST((pipe.connections() == 0 && host.instances.size() == most + 1));
    for (instance& i : host.instances) BOOST_TEST(i.listens);
}

BOOST_FIXTURE_TEST_CASE(an_instance_that_cannot_listen_is_made_again_later, open_pipe) {
    host.connect_error = api::error_no_system_resources;
    {
        client c;
        serve(pipe);
        c.leave();
    }
    BOOST_TEST(serve(pipe) < 3); // without trying again and again
    BOOST_TEST(host.instances.size() == most);
    client c;
    serve(pipe);
    BOOST_TEST(host.instances.size() == most + 1);
}

BOOST_FIXTURE_TEST_CASE(a_client_may_connect_before_the_server_listens, open_pipe) {
    host.connect_error = api::error_pipe_connected;
    {
        client c;
        serve(pipe);
        c.leave();
    }
    serve(pipe);
    BOOST_TEST((pipe.connections() == 1 && session::alive == 1));
}

BOOST_FIXTURE_TEST_CASE(wipes_input_and_replies, open_pipe) {
    client c;
    serve(pipe);
    c.send("secret\nsecr");
    serve(pipe);
    instance const& at =
        *std::find_if(host.instances.begin(), host.instances.end(), [](auto& i) { return i.has_client; });
    std::string const input(reinterpret_cast<char const*>(at.read_to), 64);
    BOOST_TEST(input.find("secr") == std::string::npos);
}

BOOST_FIXTURE_TEST_CASE(the_end_of_the_listener_cancels_what_goes_on, open_pipe) {
    client reading, stuck;
    stuck.takes(1);
    stuck.send("big\n");
    serve(pipe);
    made.reset();
    BOOST_TEST(host.cancels == static_cast<int>(most) + 1);
}

BOOST_FIXTURE_TEST_CASE(the_pipe_of_another_process_is_an_error, fixture) {
    for (bool const exists : {true, false}) {
        host = {};
        wg::os::error_text why;
        test_listener pipe;
        host.other_owns_it = exists;
        host.create_error = exists ? 0 : api::error_pipe_busy;
        BOOST_TEST((pipe.open("wg0", why) == status::address_in_use));
        BOOST_TEST(why.view() == R"(the pipe \\.\pipe\ProtectedPrefix\Administrators\WireGuard\wg0 is in use: another )"
                                 "process serves this interface; end that process");
        BOOST_TEST(host.instances.empty());
    }
}

BOOST_FIXTURE_TEST_CASE(says_that_the_rights_of_an_administrator_are_missing, fixture) {
    for (int const error : {api::error_access_denied, api::error_invalid_owner}) {
        wg::os::error_text why;
        test_listener pipe;
        host.create_error = error;
        BOOST_TEST((pipe.open("wg0", why) == status::no_permission));
        BOOST_TEST(why.view().ends_with("wg0: the text of Windows (run as an administrator)"));
    }
}

BOOST_FIXTURE_TEST_CASE(leaves_nothing_behind_if_a_later_instance_is_refused, fixture) {
    wg::os::error_text why;
    test_listener pipe;
    host.creates_left = 2;
    BOOST_TEST((pipe.open("wg0", why) == status::no_memory));
    BOOST_TEST((host.instances.empty() && !why.empty()));
}

BOOST_FIXTURE_TEST_CASE(refuses_names_that_cannot_name_a_pipe, fixture) {
    for (std::string const& name : {std::string(), std::string("a\\b"), std::string("a/b"), std::string(33, 'a')}) {
        wg::os::error_text why;
        test_listener pipe;
        BOOST_TEST((pipe.open(name, why) == status::invalid));
        BOOST_TEST((!why.empty() && host.instances.empty()));
    }
}

BOOST_FIXTURE_TEST_CASE(without_an_event_it_does_not_open, fixture) {
    host.refuses_event = true;
    wg::os::error_text why;
    test_listener pipe;
    BOOST_TEST((pipe.open("wg0", why) == status::no_memory));
    BOOST_TEST(pipe.event() == nullptr);
}

BOOST_FIXTURE_TEST_CASE(takes_over_no_descriptor, fixture) {
    wg::os::error_text why;
    test_listener pipe;
    BOOST_TEST((pipe.adopt(3, "wg0", why) == status::not_supported));
    BOOST_TEST(!why.empty());
}

BOOST_AUTO_TEST_SUITE_END()
