// SPDX-License-Identifier: BSL-1.0
// The basic types: bytes, secrets, statuses, times, addresses, packets, pools, tables, changes.
#include "wg/backends/storage.hpp"
#include "wg/base/event.hpp"
#include "wg/base/flat_table.hpp"

#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

#include <memory>
#include <set>
#include <string>
#include <unordered_map>

using namespace wg_tests;

namespace {

/// Memory for one object, read after the object's lifetime.
template <class T> struct grave {
    alignas(T) wg::byte memory[sizeof(T)];

    template <class... Arguments> T& make(Arguments&&... arguments) {
        std::fill(std::begin(memory), std::end(memory), wg::byte{0xaa});
        return *::new (static_cast<void*>(memory)) T(std::forward<Arguments>(arguments)...);
    }
    /// Reads through a volatile pointer: the object is dead, so the compiler might otherwise skip the reads.
    bool is_zero() const {
        wg::byte const volatile* at = memory;
        for (std::size_t i = 0; i < sizeof(T); ++i)
            if (at[i] != 0) return false;
        return true;
    }
};

buffer const key = noise(1).take(32);

struct entry {
    std::uint64_t key = 0, value = 0;
    unsigned mask = ~0u; ///< applied to the hash: few bits cause many collisions
    explicit operator bool() const noexcept { return key != 0; }
    std::uint64_t hash() const noexcept { return (key * 0x9e3779b97f4a7c15u >> 32) & mask; }
};

} // namespace

BOOST_AUTO_TEST_SUITE(base_bytes)

BOOST_AUTO_TEST_CASE(loads_and_stores_use_the_named_byte_order) {
    buffer const in = hex("00 0102030405060708");
    wg::byte const* const p = in.data() + 1; // unaligned
    BOOST_TEST(wg::load_le16(p) == 0x0201);
    BOOST_TEST(wg::load_be16(p) == 0x0102);
    BOOST_TEST(wg::load_le32(p) == 0x04030201u);
    BOOST_TEST(wg::load_be32(p) == 0x01020304u);
    BOOST_TEST(wg::load_le64(p) == 0x0807060504030201u);
    BOOST_TEST(wg::load_be64(p) == 0x0102030405060708u);
    buffer out(9);
    wg::store_le16(&out[1], 0x0201);
    BOOST_TEST(out == hex("00 0102000000000000"));
    wg::store_be16(&out[1], 0x0201);
    BOOST_TEST(out == hex("00 0201000000000000"));
    wg::store_le32(&out[1], 0x04030201);
    BOOST_TEST(out == hex("00 0102030400000000"));
    wg::store_be32(&out[1], 0x04030201);
    BOOST_TEST(out == hex("00 0403020100000000"));
    wg::store_le64(&out[1], 0x0807060504030201);
    BOOST_TEST(out == in);
    wg::store_be64(&out[1], 0x0807060504030201);
    BOOST_TEST(out == hex("00 0807060504030201"));
}

BOOST_AUTO_TEST_CASE(loads_and_stores_work_at_compile_time) {
    constexpr auto round_trip = [] {
        wg::byte_array<8> b{};
        wg::store_be64(b.data(), 0x0102030405060708);
        return wg::load_le64(b.data());
    };
    static_assert(round_trip() == 0x0807060504030201);
    BOOST_TEST(round_trip() == 0x0807060504030201u);
}

BOOST_AUTO_TEST_CASE(copies_may_overlap_and_be_empty) {
    buffer b = hex("0102030405");
    wg::copy(wg::bytes(b).subspan(1), wg::bytes_view(b).first(4));
    BOOST_TEST(b == hex("0101020304"));
    wg::copy({}, {});
    wg::copy(b, {});
    BOOST_TEST(b == hex("0101020304"));
    wg::fill_zero(wg::bytes(b).first(2));
    wg::fill_zero({});
    BOOST_TEST(b == hex("0000020304"));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(base_secret)

BOOST_AUTO_TEST_CASE(a_destroyed_secret_leaves_zeros) {
    grave<wg::secret<32>> g;
    auto& s = g.make(fixed<32>(key));
    BOOST_TEST(std::equal(key.begin(), key.end(), g.memory));
    s.~secret();
    BOOST_TEST(g.is_zero());
}

BOOST_AUTO_TEST_CASE(moving_wipes_the_source) {
    grave<wg::secret<32>> g;
    auto& from = g.make(fixed<32>(key));
    wg::secret<32> const made(std::move(from));
    BOOST_TEST(g.is_zero());
    BOOST_TEST(std::equal(key.begin(), key.end(), made.expose().begin()));
    from.assign(fixed<32>(key));
    wg::secret<32> assigned;
    assigned = std::move(from);
    BOOST_TEST(g.is_zero());
    BOOST_TEST(assigned.equals(made));
    auto& self = assigned;
    assigned = std::move(self);
    BOOST_TEST(assigned.equals(made)); // self-assignment changes nothing
    from.~secret();
}

BOOST_AUTO_TEST_CASE(clear_and_wipe_leave_zeros) {
    wg::secret<32> s(fixed<32>(key));
    BOOST_TEST(!s.is_zero());
    s.clear();
    BOOST_TEST(s.is_zero());
    std::uint64_t words[3] = {1, 2, 3};
    wg::wipe(words);
    BOOST_TEST((words[0] | words[1] | words[2]) == 0u);
    wg::wipe(nullptr, 0);
}

BOOST_AUTO_TEST_CASE(comparison_detects_every_flipped_bit) {
    buffer a = noise(2).take(67);
    for (std::size_t size = 0; size <= a.size(); ++size) {
        wg::bytes_view const view = wg::bytes_view(a).first(size);
        buffer b(view.begin(), view.end());
        BOOST_TEST(wg::equal_in_constant_time(view, b));
        for (std::size_t bit = 0; bit < size * 8; ++bit) {
            b[bit / 8] = static_cast<wg::byte>(b[bit / 8] ^ (1u << bit % 8));
            if (wg::equal_in_constant_time(view, b)) BOOST_ERROR(size << ' ' << bit);
            b[bit / 8] = a[bit / 8];
        }
        if (size != 0) BOOST_TEST(!wg::equal_in_constant_time(view, view.first(size - 1)));
    }
    for (std::size_t bit = 0; bit < 32 * 8; ++bit) {
        buffer one(32);
        BOOST_TEST(wg::is_zero_in_constant_time(one));
        one[bit / 8] = static_cast<wg::byte>(1u << bit % 8);
        BOOST_TEST(!wg::is_zero_in_constant_time(one));
    }
    BOOST_TEST(wg::is_zero_in_constant_time({}));
}

static_assert(!std::is_copy_constructible_v<wg::secret<32>> && !std::is_copy_assignable_v<wg::secret<32>>);
static_assert(std::is_nothrow_move_constructible_v<wg::secret<32>>);

BOOST_AUTO_TEST_CASE(a_moved_or_destroyed_change_leaves_no_key) {
    grave<wg::change> g;
    auto& c = g.make(wg::change::private_key(fixed<32>(key)));
    BOOST_TEST(std::equal(key.begin(), key.end(), c.key().begin()));
    wg::change const other(std::move(c));
    BOOST_TEST(std::all_of(c.key().begin(), c.key().end(), [](wg::byte b) { return b == 0; }));
    BOOST_TEST(std::equal(key.begin(), key.end(), other.key().begin()));
    c.~change();
    auto& second = g.make(wg::change::preshared_key(fixed<32>(key)));
    second.~change();
    BOOST_TEST(std::search(std::begin(g.memory), std::end(g.memory), key.begin(), key.begin() + 8) ==
               std::end(g.memory));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(base_values)

BOOST_AUTO_TEST_CASE(every_status_has_a_unique_name_and_sentence) {
    std::set<std::string> names, texts;
    for (std::size_t i = 0; i < wg::status_count; ++i) {
        auto const s = static_cast<wg::status>(i);
        names.insert(wg::name_of(s));
        texts.insert(wg::describe(s));
        BOOST_TEST(std::string(wg::name_of(s)).find(' ') == std::string::npos);
    }
    BOOST_TEST(names.size() == wg::status_count);
    BOOST_TEST(texts.size() == wg::status_count);
    BOOST_TEST(wg::name_of(wg::status::name_not_found) == std::string("name_not_found")); // the last status
    BOOST_TEST(static_cast<std::size_t>(wg::status::name_not_found) + 1 == wg::status_count);
    std::set<std::string> events;
    constexpr auto count = static_cast<std::size_t>(wg::event_id::under_load) + 1;
    for (std::size_t i = 0; i < count; ++i) events.insert(wg::describe(static_cast<wg::event_id>(i)));
    BOOST_TEST(events.size() == count);
}

BOOST_AUTO_TEST_CASE(a_result_holds_a_value_or_an_error) {
    wg::result<int> const good(5), bad(wg::status::no_memory);
    BOOST_TEST(static_cast<bool>(good));
    BOOST_TEST(*good == 5);
    BOOST_TEST((good.why() == wg::status::ok));
    BOOST_TEST(!bad);
    BOOST_TEST((bad.why() == wg::status::no_memory));
}

BOOST_AUTO_TEST_CASE(times_and_durations_add_and_compare) {
    using namespace wg;
    instant const t{5};
    BOOST_TEST((t + seconds(1) - t == milliseconds(1000)));
    BOOST_TEST((t - seconds(2) < t));
    BOOST_TEST((seconds(1) * 3 / 2 == milliseconds(1500)));
    BOOST_TEST((instant::never() > t + seconds(1'000'000'000)));
    BOOST_TEST((milliseconds(1) - seconds(1)).nanoseconds == -999'000'000);
    BOOST_TEST((new_handshake_timeout == seconds(15)));
    BOOST_TEST((rekey_after_time_receiving == seconds(165)));
    BOOST_TEST((zero_key_material_after == seconds(540)));
    BOOST_TEST(default_mtu_bytes == 1420u);
}

BOOST_AUTO_TEST_CASE(a_prefix_clears_the_host_bits) {
    wg::ip_address v4 = wg::ip_address::v4(255, 255, 255, 255), v6{{}, wg::family::v6};
    v6.octets.fill(0xff);
    for (wg::ip_address const& all : {v4, v6}) {
        for (unsigned bits = 0; bits <= all.bits(); ++bits) {
            wg::ip_prefix const p = wg::ip_prefix::of(all, bits);
            BOOST_TEST(p.bits == bits);
            for (unsigned i = 0; i < all.bits(); ++i)
                if (((p.address.octets[i / 8] >> (7 - i % 8)) & 1) != (i < bits)) BOOST_ERROR(bits << ' ' << i);
        }
    }
    BOOST_TEST(
        (wg::ip_prefix::of(wg::ip_address::v4(10, 1, 2, 3), 8) == wg::ip_prefix{wg::ip_address::v4(10, 0, 0, 0), 8}));
}

BOOST_AUTO_TEST_CASE(addresses_compare_by_family_and_octets) {
    wg::byte const octets[16] = {10, 0, 0, 1, 5};
    wg::ip_address const four = wg::ip_address::of(wg::family::v4, octets);
    BOOST_TEST((four == wg::ip_address::v4(10, 0, 0, 1))); // octets after the fourth are ignored
    BOOST_TEST((four != wg::ip_address{four.octets, wg::family::v6}));
    BOOST_TEST(four.view().size() == 4u);
    BOOST_TEST(wg::ip_address::of(wg::family::v6, octets).view().size() == 16u);
    BOOST_TEST(wg::ip_address{}.view().empty());
    BOOST_TEST(!wg::endpoint{});
    BOOST_TEST(static_cast<bool>(wg::endpoint{four, 0, 0}));
}

BOOST_AUTO_TEST_CASE(a_packet_grows_and_shrinks_within_its_buffer) {
    buffer room(100);
    for (std::size_t i = 0; i < room.size(); ++i) room[i] = static_cast<wg::byte>(i);
    wg::packet p(room, 16, 50);
    BOOST_TEST(p.headroom() == 16u);
    BOOST_TEST(p.tailroom() == 34u);
    BOOST_TEST(+p.view()[0] == 16);
    p.grow(16, 34);
    BOOST_TEST(p.view().size() == 100u);
    BOOST_TEST(+p.view()[0] == 0);
    p.grow(-20, -30);
    BOOST_TEST(p.view().size() == 50u);
    BOOST_TEST(+p.view()[0] == 20);
    BOOST_TEST(+p.view().back() == 69);
    p.grow(-50, 0);
    BOOST_TEST(p.view().empty());
    BOOST_TEST(wg::packet{}.view().empty());
}

BOOST_AUTO_TEST_CASE(changes_keep_their_arguments) {
    using wg::change;
    wg::endpoint const where{wg::ip_address::v4(1, 2, 3, 4), 5, 6};
    auto const prefix = wg::ip_prefix::of(wg::ip_address::v4(10, 0, 0, 0), 8);
    BOOST_TEST(change::listen_port(65535).number() == 65535u);
    BOOST_TEST(change::fwmark(0xffffffff).number() == 0xffffffffu);
    BOOST_TEST(change::persistent_keepalive(25).number() == 25u);
    BOOST_TEST((change::endpoint(where).where() == where));
    BOOST_TEST((change::allowed_ip(prefix).prefix() == prefix));
    BOOST_TEST((change::endpoint({wg::ip_address{{0xfe, 0x80}, wg::family::v6}, 5, 6}).where().scope_id == 6u));
    BOOST_TEST((change::remove_allowed_ip(prefix).prefix() == prefix));
    BOOST_TEST((change::remove_allowed_ip(prefix).what() == change::kind::remove_allowed_ip));
    BOOST_TEST((change::update_only().what() == change::kind::update_only));
}

// RFC 4291, section 2.5.5.2.
BOOST_AUTO_TEST_CASE(an_ipv4_mapped_endpoint_becomes_ipv4) {
    wg::ip_address mapped{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1}, wg::family::v6};
    wg::endpoint const expected{wg::ip_address::v4(192, 0, 2, 1), 51820, 0};
    BOOST_TEST((wg::endpoint{mapped, 51820, 7}.unmapped() == expected));
    BOOST_TEST((wg::change::endpoint({mapped, 51820, 0}).where() == expected));
    BOOST_TEST((expected.unmapped() == expected));
    for (std::size_t i = 0; i < 12; ++i) { // an address that differs in one prefix byte is not mapped
        wg::endpoint other{mapped, 51820, 0};
        other.address.octets[i] ^= 1;
        BOOST_TEST((other.unmapped() == other));
    }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(base_flat_table)

/// Random sequences of changes, with many and with few collisions, in a growing table and in a fixed one.
BOOST_AUTO_TEST_CASE(agrees_with_a_hash_map_of_the_standard_library) {
    auto const compare = [](auto& table, auto& memory, std::size_t most, std::uint64_t seed, unsigned mask) {
        noise random(seed);
        std::unordered_map<std::uint64_t, std::uint64_t> model;
        for (int step = 0; step < 6000; ++step) {
            std::uint64_t const k = 1 + random.next() % (most * 2), value = random.next();
            entry* const found = table.find(entry{k, 0, mask}.hash(), [&](entry const& e) { return e.key == k; });
            auto const expected = model.find(k);
            if ((found != nullptr) != (expected != model.end()) ||
                (found != nullptr && found->value != expected->second)) {
                BOOST_ERROR("seed " << seed << " step " << step);
                return;
            }
            if (found != nullptr && random.next() % 2 == 0) {
                table.erase(found);
                model.erase(k);
            } else if (found == nullptr && model.size() < most) {
                BOOST_TEST(table.reserve(1, memory));
                BOOST_TEST(table.insert(entry{k, value, mask}));
                model.emplace(k, value);
            }
            BOOST_TEST(table.size() == model.size());
        }
        for (auto const& [k, value] : model) {
            entry* const found = table.find(entry{k, 0, mask}.hash(), [k = k](entry const& e) { return e.key == k; });
            BOOST_TEST_REQUIRE(found != nullptr);
            BOOST_TEST(found->value == value);
        }
    };
    for (unsigned const mask : {~0u, 7u, 0u}) {
        wg::growing_storage<> heap;
        wg::flat_table<entry, wg::growing_storage<>, 0> growing(heap);
        compare(growing, heap, 300, 1 + mask % 10, mask);
        wg::static_storage<> none;
        wg::flat_table<entry, wg::static_storage<>, 64> fixed_size(none);
        compare(fixed_size, none, 63, 2 + mask % 10, mask);
    }
}

BOOST_AUTO_TEST_CASE(a_full_fixed_table_rejects_insertions) {
    wg::static_storage<> none;
    wg::flat_table<entry, wg::static_storage<>, 8> table(none);
    BOOST_TEST(table.reserve(7, none));
    BOOST_TEST(!table.reserve(8, none));
    for (std::uint64_t k = 1; k <= 7; ++k) BOOST_TEST(table.insert(entry{k, k}));
    BOOST_TEST(!table.reserve(1, none));
    BOOST_TEST(!table.insert(entry{8, 8}));
    BOOST_TEST(table.find(entry{8}.hash(), [](entry const& e) { return e.key == 8; }) ==
               nullptr); // the search ends although no slot is free
}

BOOST_AUTO_TEST_CASE(an_empty_table_finds_nothing) {
    wg::growing_storage<> heap;
    wg::flat_table<entry, wg::growing_storage<>, 0> table(heap);
    BOOST_TEST(table.find(5, [](entry const&) { return true; }) == nullptr);
    BOOST_TEST(!table.insert(entry{1, 1})); // no capacity was reserved
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(backends_storage)

namespace {

struct holder {
    wg::byte plain[40] = {1}; ///< bytes that the destructor does not wipe
    int* alive = nullptr;
    ~holder() {
        if (alive != nullptr) --*alive;
    }
};

/// A region that fails after `left` allocations.
struct poor_region {
    wg::heap_region heap;
    int left = 0;
    void* allocate(std::size_t size) noexcept { return left-- > 0 ? heap.allocate(size) : nullptr; }
};

template <class Pool> void use_again(Pool& pool, std::size_t count) {
    for (int round = 0; round < 3; ++round) {
        std::vector<holder*> all;
        std::set<holder*> different;
        int alive = 0;
        BOOST_TEST(pool.reserve(count));
        for (std::size_t i = 0; i < count; ++i) {
            holder* const one = pool.acquire();
            BOOST_TEST_REQUIRE(one != nullptr);
            BOOST_TEST(reinterpret_cast<std::uintptr_t>(one) % alignof(holder) == 0u);
            BOOST_TEST(+one->plain[0] == 1);
            BOOST_TEST(+one->plain[39] == 0);
            std::fill(std::begin(one->plain), std::end(one->plain), wg::byte{0x77});
            one->alive = &alive;
            ++alive;
            all.push_back(one);
            different.insert(one);
        }
        BOOST_TEST(different.size() == count);
        for (holder* const one : all) {
            pool.release(one);
            // the first bytes are the pool's link; all other bytes of the object are wiped
            auto const* const at = reinterpret_cast<wg::byte const volatile*>(one);
            for (std::size_t i = sizeof(void*); i < sizeof(holder); ++i)
                if (at[i] != 0) BOOST_ERROR("byte " << i);
        }
        BOOST_TEST(alive == 0);
    }
}

} // namespace

BOOST_AUTO_TEST_CASE(a_static_pool_reuses_slots_up_to_its_capacity) {
    wg::static_storage<> memory;
    wg::static_storage<>::pool<holder, 5> pool(memory);
    use_again(pool, 5);
    BOOST_TEST(!pool.reserve(6));
    for (int i = 0; i < 5; ++i) BOOST_TEST(pool.acquire() != nullptr);
    BOOST_TEST(pool.acquire() == nullptr);
    BOOST_TEST(!pool.reserve(1));
    BOOST_TEST(pool.reserve(0));
}

BOOST_AUTO_TEST_CASE(a_growing_pool_grows_up_to_its_limit) {
    wg::growing_storage<> memory;
    wg::growing_storage<>::pool<holder, 0> endless(memory);
    use_again(endless, 3000);
    wg::growing_storage<>::secret_pool<holder, 7> limited(memory);
    use_again(limited, 7);
    BOOST_TEST(!limited.reserve(8));
    for (int i = 0; i < 7; ++i) BOOST_TEST(limited.acquire() != nullptr);
    BOOST_TEST(limited.acquire() == nullptr);
}

BOOST_AUTO_TEST_CASE(a_pool_reports_that_memory_ran_out) {
    using storage = wg::growing_storage<poor_region>;
    storage memory(poor_region{{}, 1});
    storage::secret_pool<holder, 0> secrets(memory);
    BOOST_TEST(!secrets.reserve(100'000));
    BOOST_TEST(secrets.acquire() != nullptr); // slots allocated before remain usable
    while (secrets.acquire() != nullptr) {}
    BOOST_TEST(!secrets.reserve(1));
    storage::pool<holder, 0> plain(memory); // this pool does not use the region
    BOOST_TEST(plain.acquire() != nullptr);
}

BOOST_AUTO_TEST_CASE(resized_arrays_are_zeroed) {
    wg::static_storage<> none;
    wg::static_storage<>::array<int, 4> fixed_size(none);
    wg::growing_storage<> heap;
    wg::growing_storage<>::array<int, 4> limited(heap);
    wg::growing_storage<>::array<int, 0> endless(heap);
    auto const check = [](auto& array, bool ends) {
        BOOST_TEST(array.view().empty());
        BOOST_TEST(array.resize(3));
        BOOST_TEST(array.view().size() == 3u);
        array.view()[2] = 5;
        BOOST_TEST(array.resize(5) == !ends);
        if (ends) BOOST_TEST(array.view()[2] == 5); // unchanged
        BOOST_TEST(array.resize(4));
        for (int const i : array.view()) BOOST_TEST(i == 0);
    };
    check(fixed_size, true);
    check(limited, true);
    check(endless, false);
}

BOOST_AUTO_TEST_CASE(regions_give_aligned_zeroed_memory) {
    wg::heap_region region;
    for (std::size_t const size : {1u, 63u, 64u, 65u, 5000u}) {
        auto* const at = static_cast<wg::byte*>(region.allocate(size));
        BOOST_TEST_REQUIRE(at != nullptr);
        BOOST_TEST(reinterpret_cast<std::uintptr_t>(at) % 64 == 0u);
        BOOST_TEST(std::all_of(at, at + size, [](wg::byte b) { return b == 0; }));
        std::fill(at, at + size, wg::byte{1});
    }
    wg::heap_region const moved(std::move(region));
}

BOOST_AUTO_TEST_SUITE_END()
