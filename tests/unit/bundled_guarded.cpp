// SPDX-License-Identifier: BSL-1.0
// No kernel reads or writes a byte outside its buffers, not even as part of a vector that is masked later. Each buffer
// begins or ends at an inaccessible page. A sanitizer does not check vector intrinsics; the page protection does.
#include "wg/backends/bundled/bundled.hpp"

#include "bundled_sets.hpp"
#include "bundled_vectors.hpp"

#include <boost/test/unit_test.hpp>

#ifdef __linux__
#include <memory>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

using namespace wg::bundled;
using namespace wg_tests;

namespace {

/// Memory between two inaccessible pages.
class guarded {
public:
    explicit guarded(std::size_t size_bytes) {
        page_ = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        inner_ = (size_bytes + page_ - 1) / page_ * page_;
        void* const all = mmap(nullptr, inner_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        BOOST_REQUIRE(all != MAP_FAILED);
        start_ = static_cast<wg::byte*>(all) + page_;
        BOOST_REQUIRE(mprotect(start_, inner_, PROT_READ | PROT_WRITE) == 0);
    }
    guarded(guarded const&) = delete;
    guarded& operator=(guarded const&) = delete;
    ~guarded() { munmap(start_ - page_, inner_ + 2 * page_); }

    /// `size` bytes directly before the upper inaccessible page, or directly after the lower one.
    wg::bytes place(std::size_t size, bool at_end) const { return {at_end ? start_ + (inner_ - size) : start_, size}; }

private:
    std::size_t page_, inner_;
    wg::byte* start_;
};

void fill(wg::bytes to, noise& random) {
    buffer const from = random.take(to.size());
    wg::copy(to, from);
}

/// A key whose last byte is the last byte before an inaccessible page.
wg::secret<32>& make_key(guarded const& in, noise& random) {
    auto* const key = ::new (static_cast<void*>(in.place(32, true).data())) wg::secret<32>;
    key->assign(fixed<32>(random.take(32)));
    return *key;
}

// Only builds with vector kernels have batches.
template <class Aead> void seal_all(Aead const& with, std::vector<wg::aead_item>& items) {
    if constexpr (wg::batch_aead_backend<Aead>) with.seal_batch(items);
}
template <class Aead> void open_all(Aead const& with, std::vector<wg::aead_item>& items) {
    if constexpr (wg::batch_aead_backend<Aead>) with.open_batch(items);
}

} // namespace

BOOST_AUTO_TEST_SUITE(bundled_guarded)

BOOST_AUTO_TEST_CASE(sealing_and_opening_stay_within_their_memory) {
    noise random(31);
    guarded const keys(32), source(2200), destination(2200), back(2200), data(64);
    wg::secret<32> const& key = make_key(keys, random);
    for (cpu const set : cpu_sets(detect_cpu())) {
        aead const with(set);
        for (std::size_t size = 0; size <= 2100; size += size < 330 ? 1 : 37)
            for (bool const at_end : {false, true}) {
                wg::bytes const plain = source.place(size, at_end), sealed = destination.place(size + 16, at_end);
                wg::bytes const aad = data.place(size % 7 == 0 ? size % 40 : 0, at_end);
                wg::bytes const opened = back.place(size, at_end);
                fill(plain, random);
                with.seal(sealed, plain, aad, size, key);
                BOOST_REQUIRE(with.open(opened, sealed, aad, size, key));
                BOOST_REQUIRE(wg::equal_in_constant_time(opened, plain));
                wg::bytes const in_place = source.place(size + 16, at_end);
                std::memmove(in_place.data(), opened.data(), size);
                with.seal(in_place, in_place.first(size), aad, size, key);
                BOOST_REQUIRE(wg::equal_in_constant_time(in_place, sealed));
                BOOST_REQUIRE(with.open(in_place.first(size), in_place, aad, size, key));
            }
    }
}

BOOST_AUTO_TEST_CASE(batches_stay_within_their_memory) {
    noise random(32);
    constexpr std::size_t most = 17;
    std::vector<std::unique_ptr<guarded>> sources, destinations, keys;
    for (std::size_t i = 0; i < most; ++i) {
        sources.push_back(std::make_unique<guarded>(2200));
        destinations.push_back(std::make_unique<guarded>(2200));
        keys.push_back(std::make_unique<guarded>(32));
    }
    if (!wg::batch_aead_backend<aead>) {
        BOOST_TEST_MESSAGE("skipped: no vectors, so no batches");
        return;
    }
    for (cpu const set : cpu_sets(detect_cpu())) {
        aead const with(set);
        for (std::size_t round = 0; round < 150; ++round) {
            std::size_t const count = 1 + random.next() % most, size = random.next() % 1500;
            bool const at_end = round % 2 == 0, even = round % 3 != 0;
            std::vector<wg::aead_item> items(count);
            for (std::size_t i = 0; i < count; ++i) {
                std::size_t const mine = even ? size : random.next() % 1500;
                wg::bytes const plain = sources[i]->place(mine, at_end);
                fill(plain, random);
                items[i] = {destinations[i]->place(mine + 16, at_end), plain, random.next(),
                            &make_key(*keys[round % 5 == 0 ? i : 0], random), false};
            }
            seal_all(with, items);
            for (wg::aead_item& item : items) {
                wg::bytes const plain(const_cast<wg::byte*>(item.src.data()), item.src.size());
                item.src = item.dst, item.dst = plain;
            }
            open_all(with, items);
            for (wg::aead_item const& item : items) BOOST_REQUIRE(item.good);
        }
    }
}

BOOST_AUTO_TEST_CASE(hashing_stays_within_its_memory) {
    noise random(33);
    guarded const messages(400), keys(32), digests(32);
    for (cpu const set : cpu_sets(detect_cpu())) {
        hash const with(set), words(cpu::baseline);
        for (std::size_t size = 0; size <= 330; ++size)
            for (bool const at_end : {false, true}) {
                wg::bytes const message = messages.place(size, at_end), key = keys.place(size % 33, at_end);
                wg::bytes const out = digests.place(1 + size % 32, at_end);
                fill(message, random), fill(key, random);
                buffer expected(out.size());
                words.blake2s(expected, key, message, {});
                with.blake2s(out, key, message, {});
                BOOST_REQUIRE(wg::equal_in_constant_time(out, expected));
                std::vector<buffer> others(19, buffer(out.size()));
                std::vector<wg::hash_item> items(20, wg::hash_item{out, key, message});
                for (std::size_t i = 0; i < others.size(); ++i) items[i].out = others[i];
                with.blake2s_batch(items);
                BOOST_REQUIRE(others[0] == expected && wg::equal_in_constant_time(out, expected));
            }
    }
}

BOOST_AUTO_TEST_CASE(x25519_stays_within_its_memory) {
    noise random(34);
    guarded const points(32), scalars(32), results(32);
    for (cpu const set : cpu_sets(detect_cpu())) {
        dh const with(set), words(cpu::baseline);
        wg::secret<32> const& scalar = make_key(scalars, random);
        wg::secret<32>& out = make_key(results, random);
        wg::bytes const point = points.place(32, true);
        fill(point, random);
        wg::secret<32> expected;
        BOOST_REQUIRE(words.dh(expected, scalar, wg::key_view(point)));
        BOOST_REQUIRE(with.dh(out, scalar, wg::key_view(point)) && out.equals(expected));
        for (std::size_t count = 1; count <= 9; ++count) {
            std::vector<wg::secret<32>> others(count);
            std::vector<wg::dh_item> items(count);
            for (std::size_t i = 0; i < count; ++i)
                items[i] = {i + 1 == count ? &out : &others[i], &scalar, point, false};
            out.clear();
            with.dh_batch(items);
            for (wg::dh_item const& item : items) BOOST_REQUIRE(item.good && item.out->equals(expected));
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
#endif
