// SPDX-License-Identifier: BSL-1.0
// The memory of a configuration: exhaustion is reported, and memory that held keys is wiped.
#include "uapi_targets.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <new>

BOOST_AUTO_TEST_SUITE(control_memory)

using namespace wg_tests;

namespace {

/// Zeroed memory. Counts the releases of memory that is not zero, and fails after a set number of acquisitions.
struct watched_memory {
    static inline std::map<void*, std::size_t> lent;
    static inline std::size_t unwiped = 0, returned = 0, left = SIZE_MAX;

    static void start(std::size_t acquisitions = SIZE_MAX) {
        BOOST_REQUIRE(lent.empty());
        unwiped = returned = 0;
        left = acquisitions;
    }
    static void* acquire(std::size_t size) noexcept {
        if (left == 0) return nullptr;
        --left;
        void* const memory = std::calloc(size, 1);
        lent[memory] = size;
        return memory;
    }
    static void release(void* memory, std::size_t size) noexcept {
        auto const* const first = static_cast<wg::byte const*>(memory);
        bool const known = lent.contains(memory) && lent[memory] == size;
        unwiped += !known || std::any_of(first, first + size, [](wg::byte b) { return b != 0; });
        ++returned;
        lent.erase(memory);
        std::free(memory);
    }
};

} // namespace

BOOST_AUTO_TEST_CASE(without_memory_a_set_changes_nothing_and_a_get_reports_it) {
    std::string many = in_peer;
    for (int i = 0; i < 100; ++i) many += "allowed_ip=10.0.0." + std::to_string(i) + "\n";
    std::size_t failures = 0;
    for (std::size_t acquisitions = 0;; ++acquisitions) {
        recorder target;
        small_device device;
        talk(device, setconf);
        watched_memory::start();
        {
            uapi::basic_session<watched_memory> session{only_eth0};
            wg::basic_secret_buffer<watched_memory> reply;
            BOOST_REQUIRE(reply.append("earlier"));
            watched_memory::left = acquisitions;
            BOOST_TEST((session.feed(bytes_of("set=1\n" + many + "\n"), target, reply) == status::ok));
            std::string_view const said = reply.text();
            if (said == "earlier" + answer(0)) {
                BOOST_TEST(target.configured == 1u);
            } else {
                BOOST_TEST(said == "earlier" + answer(-ENOMEM));
                BOOST_TEST(target.configured == 0u);
                ++failures;
            }
            std::string const before(said);
            BOOST_TEST((session.feed(bytes_of("get=1\n\n"), device, reply) == status::ok));
            bool const complete = reply.text().ends_with("\n" + answer(0)) && target.configured == 1;
            if (complete && reply.size() > 600) break;
            BOOST_TEST(reply.text() == before + answer(ENOMEM));
        }
        BOOST_TEST(watched_memory::unwiped == 0u);
        BOOST_REQUIRE(acquisitions < 100);
    }
    BOOST_TEST(failures > 2u);
    BOOST_TEST(watched_memory::lent.empty());
    watched_memory::start(0);
    recorder target;
    uapi::basic_session<watched_memory> session;
    wg::basic_secret_buffer<watched_memory> reply;
    BOOST_TEST(
        (session.feed(bytes_of("set=1\n\n"), target, reply) == status::no_memory)); // there is no memory for an answer
    BOOST_TEST(reply.empty());
}

BOOST_AUTO_TEST_CASE(all_memory_that_held_keys_is_wiped) {
    watched_memory::start();
    {
        small_device device;
        uapi::basic_session<watched_memory> session{only_eth0};
        wg::basic_secret_buffer<watched_memory> reply;
        std::string many = setconf.substr(0, setconf.size() - 1);
        for (int i = 0; i < 50; ++i) many += "public_key=" + key_c + "\npreshared_key=" + key_b + "\n";
        BOOST_TEST((session.feed(bytes_of(many), device, reply) == status::ok));
        BOOST_TEST(watched_memory::returned > 2u); // the list of changes has grown
        BOOST_TEST(watched_memory::lent.size() == 1u);
        BOOST_TEST((session.feed(bytes_of("\n"), device, reply) == status::ok));
        BOOST_TEST(watched_memory::lent.size() == 1u); // the list is released; only the reply is allocated
        std::size_t const before = watched_memory::returned;
        BOOST_TEST((session.feed(bytes_of("get=1\n\n"), device, reply) == status::ok));
        BOOST_TEST(watched_memory::returned > before); // the reply has grown
        BOOST_TEST((session.feed(bytes_of(many + "nonsense\n"), device, reply) == status::ok));
        BOOST_TEST(watched_memory::lent.size() == 1u); // an error releases the list at once
        BOOST_TEST(
            (session.feed(bytes_of("\n" + many), device, reply) == status::ok)); // the connection ends within a set
        BOOST_TEST(watched_memory::lent.size() == 2u);
    }
    BOOST_TEST(watched_memory::lent.empty());
    BOOST_TEST(watched_memory::unwiped == 0u);
}

BOOST_AUTO_TEST_CASE(the_memory_check_finds_unwiped_bytes) {
    watched_memory::start();
    void* const memory = watched_memory::acquire(8);
    *static_cast<char*>(memory) = 'x';
    watched_memory::release(memory, 8);
    BOOST_TEST(watched_memory::unwiped == 1u);
}

BOOST_AUTO_TEST_CASE(a_cleared_reply_is_wiped_from_its_storage) {
    wg::secret_buffer reply;
    BOOST_REQUIRE(reply.append(key_c));
    BOOST_REQUIRE(reply.append(key_a));
    char const* const storage = reply.text().data();
    auto const holds = [&](std::size_t from, std::size_t to) {
        return std::any_of(storage + from, storage + to, [](char c) { return c != 0; });
    };
    BOOST_TEST(holds(64, 128));
    reply.truncate(64);
    BOOST_TEST(reply.text() == key_c);
    BOOST_TEST(!holds(64, 128));
    BOOST_TEST(holds(0, 64));
    reply.clear();
    BOOST_TEST(!holds(0, 128));
    BOOST_REQUIRE(reply.append("again"));
    BOOST_TEST(reply.text().data() == storage); // cleared, not released
}

BOOST_AUTO_TEST_CASE(a_session_wipes_each_line_after_parsing) {
    alignas(uapi::session) unsigned char storage[sizeof(uapi::session)]{};
    auto const holds = [&](std::string_view what) {
        auto const* const first = storage;
        return std::search(first, first + sizeof storage, what.begin(), what.end()) != first + sizeof storage;
    };
    std::string const key = key_c.substr(0, 40);
    recorder target;
    wg::secret_buffer reply;
    auto* session = new (storage) uapi::session;
    BOOST_TEST((session->feed(bytes_of("set=1\nprivate_key=" + key), target, reply) == status::ok));
    BOOST_TEST(holds(key));
    BOOST_TEST((session->feed(bytes_of("\n"), target, reply) == status::ok));
    BOOST_TEST(!holds(key.substr(0, 4)));
    BOOST_TEST((session->feed(bytes_of("private_key=" + key), target, reply) == status::ok));
    BOOST_TEST(holds(key));
    session->~basic_session(); // the connection ends within a line
    BOOST_TEST(!holds(key.substr(0, 4)));
}

BOOST_AUTO_TEST_CASE(moved_vectors_leave_no_unwiped_memory) {
    watched_memory::start();
    {
        wg::secret_vector<change, watched_memory> first, second;
        wg::byte_array<32> key{};
        key.fill(7);
        BOOST_REQUIRE(first.append(change::private_key(key)));
        BOOST_REQUIRE(second.append(change::peer(key)));
        second = std::move(first);
        BOOST_TEST(watched_memory::returned == 1u);
        BOOST_TEST(first.empty());
        BOOST_TEST((second.view()[0].what() == change::kind::private_key));
        wg::secret_vector<change, watched_memory> const third(std::move(second));
        BOOST_TEST(third.size() == 1u);
        BOOST_TEST(second.empty());
        for (int i = 0; i < 100; ++i) BOOST_REQUIRE(first.append(change::peer(key)));
        BOOST_TEST(first.size() == 100u);
        BOOST_TEST(hex(first.view()[0].key()) == hex(key)); // growth preserves the elements
        BOOST_TEST(first.capacity() >= 100u);
    }
    BOOST_TEST(watched_memory::lent.empty());
    BOOST_TEST(watched_memory::unwiped == 0u);
    wg::secret_vector<char> too_much;
    BOOST_TEST(too_much.extend(SIZE_MAX) == nullptr);
    BOOST_TEST(too_much.extend(SIZE_MAX / 2) == nullptr);
    BOOST_TEST(too_much.empty());
}

BOOST_AUTO_TEST_SUITE_END()
