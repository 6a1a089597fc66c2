// SPDX-License-Identifier: BSL-1.0
// Cryptokey routing, compared with a model that searches all prefixes.
#include "wg/backends/storage.hpp"
#include "wg/device/allowed_ips.hpp"

#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <memory>

BOOST_AUTO_TEST_SUITE(device_allowed_ips)

using namespace wg_tests;
using wg::ip_address;
using wg::ip_prefix;

namespace {

struct owner {
    wg::prefix_list<wg::prefix_key_v4, owner> allowed_v4;
    wg::prefix_list<wg::prefix_key_v6, owner> allowed_v6;
};

inline std::ptrdiff_t nodes = 0; ///< nodes in use

/// Counts the objects that are taken out of pools.
template <std::size_t Limit> struct counting_storage {
    template <class T, std::size_t N> struct pool {
        explicit pool(counting_storage&) noexcept {}
        T* acquire() noexcept {
            ++nodes;
            return new T{};
        }
        void release(T* object) noexcept {
            --nodes;
            delete object;
        }
        bool reserve(std::size_t) noexcept { return true; }
    };
    static constexpr std::size_t max_allowed_ips = Limit;
};
using growing = counting_storage<0>;
template <class Storage = growing> using table = wg::allowed_ips<owner, Storage>;

ip_address v4(std::uint32_t value) {
    ip_address a{{}, wg::family::v4};
    wg::store_be32(a.octets.data(), value);
    return a;
}
ip_address v6(std::uint64_t high, std::uint64_t low) {
    ip_address a{{}, wg::family::v6};
    wg::store_be64(a.octets.data(), high);
    wg::store_be64(a.octets.data() + 8, low);
    return a;
}

/// Finds the longest prefix by a search of all prefixes.
class model {
public:
    void insert(ip_prefix const& p, owner& o) { all_[key(p)] = {p, &o}; }
    void remove(ip_prefix const& p, owner& o) {
        auto const at = all_.find(key(p));
        if (at != all_.end() && at->second.second == &o) all_.erase(at);
    }
    void remove_all(owner& o) {
        std::erase_if(all_, [&](auto const& e) { return e.second.second == &o; });
    }
    owner* find(ip_address const& a) const {
        owner* best = nullptr;
        int bits = -1;
        for (auto const& [k, e] : all_) {
            auto const& [p, o] = e;
            if (p.address.kind == a.kind && p.bits > bits && ip_prefix::of(a, p.bits) == p) {
                best = o;
                bits = p.bits;
            }
        }
        return best;
    }
    owner* find_exact(ip_prefix const& p) const {
        auto const at = all_.find(key(p));
        return at == all_.end() ? nullptr : at->second.second;
    }
    std::size_t size(wg::family kind) const {
        return static_cast<std::size_t>(std::count_if(
            all_.begin(), all_.end(), [&](auto const& e) { return e.second.first.address.kind == kind; }));
    }
    std::size_t count(owner const& o) const {
        return static_cast<std::size_t>(
            std::count_if(all_.begin(), all_.end(), [&](auto const& e) { return e.second.second == &o; }));
    }

private:
    static std::tuple<wg::family, wg::byte_array<16>, unsigned> key(ip_prefix const& p) {
        return {p.address.kind, p.address.octets, p.bits};
    }
    std::map<std::tuple<wg::family, wg::byte_array<16>, unsigned>, std::pair<ip_prefix, owner*>> all_;
};

/// Addresses that share many leading bits, so that prefixes nest.
ip_address clustered(noise& random, wg::family kind) {
    std::uint64_t const r = random.next();
    if (kind == wg::family::v4)
        return v4(0x0a000000u | (static_cast<std::uint32_t>(r) & static_cast<std::uint32_t>(r >> 32) & 0x0003'0f33u));
    return v6(0xfd00'0000'0000'0000u | (r & random.next() & 0x0300'0000'0000'0003u),
              r & random.next() & 0xc000'0000'0000'0103u);
}

} // namespace

BOOST_AUTO_TEST_CASE(longest_prefix_wins) {
    growing memory;
    table<> t(memory);
    owner a, b, c;
    BOOST_TEST(t.insert(ip_prefix::of(v4(0x0a000000), 8), a));
    BOOST_TEST(t.insert(ip_prefix::of(v4(0x0a010000), 16), b));
    BOOST_TEST(t.insert(ip_prefix::of(v4(0x0a010203), 32), c));
    auto const find = [&](std::uint32_t address) { return t.find(wg::family::v4, v4(address).octets.data()); };
    BOOST_TEST(find(0x0a010203) == &c);
    BOOST_TEST(find(0x0a010204) == &b);
    BOOST_TEST(find(0x0a020203) == &a);
    BOOST_TEST(find(0x0b020203) == nullptr);
    t.remove(ip_prefix::of(v4(0x0a010000), 16), b);
    BOOST_TEST(find(0x0a010204) == &a);
    t.remove_all(a);
    t.remove_all(c);
    BOOST_TEST(nodes == 0);
}

BOOST_AUTO_TEST_CASE(default_route_gets_addresses_without_a_longer_prefix) {
    growing memory;
    table<> t(memory);
    owner a, b;
    BOOST_TEST(t.insert(ip_prefix::of(v4(0), 0), a));
    BOOST_TEST(t.insert(ip_prefix::of(v6(0, 0), 0), b));
    BOOST_TEST(t.find(wg::family::v4, v4(0xffffffff).octets.data()) == &a);
    BOOST_TEST(t.find(wg::family::v4, v4(0).octets.data()) == &a);
    BOOST_TEST(t.find(wg::family::v6, v6(~0ull, ~0ull).octets.data()) == &b);
    t.remove_all(a);
    BOOST_TEST(t.find(wg::family::v4, v4(1).octets.data()) == nullptr);
    BOOST_TEST(t.find(wg::family::v6, v6(1, 1).octets.data()) == &b);
    t.remove_all(b);
    BOOST_TEST(nodes == 0);
}

BOOST_AUTO_TEST_CASE(agrees_with_a_model_under_any_sequence_of_changes) {
    for (std::uint64_t seed = 1; seed <= 12; ++seed) {
        noise random(seed);
        growing memory;
        table<> t(memory);
        model m;
        std::vector<owner> owners(5);
        for (int step = 0; step < 1500; ++step) {
            std::uint64_t const r = random.next();
            wg::family const kind = r % 2 == 0 ? wg::family::v4 : wg::family::v6;
            owner& who = owners[(r >> 8) % owners.size()];
            unsigned const width = kind == wg::family::v4 ? 32 : 128;
            ip_prefix const p = ip_prefix::of(clustered(random, kind), static_cast<unsigned>((r >> 16) % (width + 1)));
            switch ((r >> 32) % 16) {
            case 0:
                t.remove_all(who);
                m.remove_all(who);
                break;
            case 1:
            case 2:
            case 3:
            case 4:
                t.remove(p, who);
                m.remove(p, who);
                break;
            case 5:
            case 6:
                if (owner* const has = m.find_exact(p)) {
                    t.remove(p, *has);
                    m.remove(p, *has);
                }
                break;
            default:
                BOOST_TEST(t.insert(p, who));
                m.insert(p, who);
                break;
            }
            ip_address const probe = clustered(random, kind);
            if (t.find(kind, probe.octets.data()) != m.find(probe)) BOOST_ERROR("seed " << seed << " step " << step);
            if (t.find_exact(p) != m.find_exact(p)) BOOST_ERROR("exact, seed " << seed << " step " << step);
        }
        for (wg::family const kind : {wg::family::v4, wg::family::v6}) BOOST_TEST(t.size(kind) == m.size(kind));
        std::size_t listed = 0;
        for (owner& o : owners) {
            std::size_t count = 0;
            table<>::for_each(o, [&](ip_prefix const& p) {
                ++count;
                BOOST_TEST(m.find_exact(p) == &o);
            });
            BOOST_TEST(count == m.count(o));
            BOOST_TEST(count == o.allowed_v4.count + o.allowed_v6.count);
            listed += count;
        }
        // one node for each prefix, and at most one fork for two prefixes
        BOOST_TEST(nodes >= static_cast<std::ptrdiff_t>(listed));
        BOOST_TEST(nodes <= static_cast<std::ptrdiff_t>(2 * listed));
        for (owner& o : owners) t.remove_all(o);
        BOOST_TEST(nodes == 0);
    }
}

BOOST_AUTO_TEST_CASE(lists_prefixes_in_the_order_of_insertion) {
    growing memory;
    table<> t(memory);
    owner a, b;
    for (std::uint32_t const i : {5u, 1u, 9u, 3u}) BOOST_TEST(t.insert(ip_prefix::of(v4(i), 32), a));
    BOOST_TEST(t.insert(ip_prefix::of(v4(1), 32), b));
    BOOST_TEST(t.insert(ip_prefix::of(v4(5), 32), a)); // `a` has this prefix already
    BOOST_TEST(t.insert(ip_prefix::of(v4(1), 32), a)); // added again, so it is last
    std::vector<std::uint32_t> order;
    table<>::for_each(a, [&](ip_prefix const& p) { order.push_back(wg::load_be32(p.address.octets.data())); });
    BOOST_TEST((order == std::vector<std::uint32_t>{5, 9, 3, 1}));
    t.remove_all(a);
    BOOST_TEST(nodes == 0);
}

// The prefixes of Linux's tools/testing/selftests/wireguard/netns.sh.
BOOST_AUTO_TEST_CASE(holds_the_prefixes_of_linux_selftests) {
    growing memory;
    table<> t(memory);
    { // 40 peers of 52 prefixes: {1..40}.{1..26 of two kinds}
        std::vector<owner> peers(40);
        for (std::uint32_t i = 0; i < 40; ++i)
            for (std::uint32_t j = 0; j < 26; ++j) {
                BOOST_TEST(t.insert(ip_prefix::of(v4(0x0a000000u | i << 16 | j << 8), 24), peers[i]));
                BOOST_TEST(t.insert(
                    ip_prefix::of(v6(0xfd00'0000'0000'0000u | std::uint64_t{i} << 32, std::uint64_t{j} << 48), 80),
                    peers[i]));
            }
        BOOST_TEST(t.size(wg::family::v4) == 40u * 26);
        for (std::uint32_t i = 0; i < 40; ++i) {
            BOOST_TEST(t.find(wg::family::v4, v4(0x0a000000u | i << 16 | 25u << 8 | 7).octets.data()) == &peers[i]);
            BOOST_TEST(t.find(wg::family::v6, v6(0xfd00'0000'0000'0000u | std::uint64_t{i} << 32, 9).octets.data()) ==
                       &peers[i]);
        }
        for (owner& p : peers) t.remove_all(p);
        BOOST_TEST(nodes == 0);
    }
    { // 197 prefixes of IPv6; each contains the next one
        std::vector<owner> peers(128);
        for (unsigned bits = 128; bits > 0; --bits)
            BOOST_TEST(t.insert(ip_prefix::of(v6(~0ull, ~0ull), bits), peers[bits - 1]));
        for (unsigned i = 0; i < 69; ++i) BOOST_TEST(t.insert(ip_prefix::of(v6(i, i), 128), peers[0]));
        BOOST_TEST(t.size(wg::family::v6) == 197u);
        for (unsigned bits = 1; bits <= 127; ++bits) { // the first `bits` bits are the same
            ip_address a = v6(~0ull, ~0ull);
            a.octets[bits / 8] = static_cast<wg::byte>(a.octets[bits / 8] ^ (0x80u >> bits % 8));
            BOOST_TEST(t.find(wg::family::v6, a.octets.data()) == &peers[bits - 1]);
        }
        for (owner& p : peers) t.remove_all(p);
        BOOST_TEST(nodes == 0);
    }
    { // 255 * 256 * 2 addresses of one peer
        owner one;
        for (std::uint32_t i = 1; i < 256; ++i)
            for (std::uint32_t j = 0; j < 256; ++j) {
                t.insert(ip_prefix::of(v4(0x0a000000u | i << 8 | j), 32), one);
                t.insert(ip_prefix::of(v6(0xfd00'0000'0000'0000u, std::uint64_t{i} << 8 | j), 128), one);
            }
        BOOST_TEST(one.allowed_v4.count + one.allowed_v6.count == 255u * 256 * 2);
        BOOST_TEST(t.find(wg::family::v4, v4(0x0a00ff07).octets.data()) == &one);
        BOOST_TEST(t.find(wg::family::v4, v4(0x0a0000ff).octets.data()) == nullptr);
        t.remove_all(one);
        BOOST_TEST(nodes == 0);
    }
}

/// The capacity holds any prefixes of that number, again and again.
BOOST_AUTO_TEST_CASE(fixed_capacity_holds_any_prefixes_of_that_number) {
    constexpr std::size_t capacity = wg::small_capacity::max_allowed_ips;
    using storage = wg::static_storage<>;
    storage memory;
    auto const t = std::make_unique<wg::allowed_ips<owner, storage>>(memory);
    owner a, b;
    noise random(9);
    for (int round = 0; round < 2000; ++round) {
        owner& who = random.next() % 2 == 0 ? a : b;
        ip_prefix const p = ip_prefix::of(clustered(random, wg::family::v4), static_cast<unsigned>(random.next() % 33));
        bool const fits = t->find_exact(p) != nullptr || t->size(wg::family::v4) < capacity;
        if (fits) BOOST_TEST(t->insert(p, who));
        else t->remove_all(who);
    }
    t->remove_all(a);
    t->remove_all(b);
    BOOST_TEST(t->size(wg::family::v4) == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
