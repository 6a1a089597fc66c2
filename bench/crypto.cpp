// SPDX-License-Identifier: BSL-1.0
// What the bundled primitives cost, key set-up included. Figures of one run do not compare with those of another:
// interleave, `--benchmark_enable_random_interleaving=true --benchmark_repetitions=9`.
#include <wg/wg.hpp>

#include <benchmark/benchmark.h>

#include <vector>

namespace {

wg::secret<wg::key_bytes> example_key(wg::byte start) {
    wg::secret<wg::key_bytes> key;
    for (wg::byte& b : key.expose()) b = start++;
    return key;
}

void aead_seal(benchmark::State& state) {
    auto const key = example_key(1);
    std::vector<wg::byte> message(static_cast<std::size_t>(state.range(0)) + wg::tag_bytes);
    wg::bytes const plain = wg::bytes(message).first(message.size() - wg::tag_bytes);
    std::uint64_t counter = 0;
    for (auto _ : state) {
        wg::bundled::aead{}.seal(message, plain, {}, counter++, key);
        benchmark::DoNotOptimize(message.data());
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}

void aead_open(benchmark::State& state) {
    auto const key = example_key(1);
    std::vector<wg::byte> plain(static_cast<std::size_t>(state.range(0))), sealed(plain.size() + wg::tag_bytes);
    wg::bundled::aead{}.seal(sealed, plain, {}, 7, key);
    for (auto _ : state) {
        bool const genuine = wg::bundled::aead{}.open(plain, sealed, {}, 7, key);
        if (!genuine) state.SkipWithError("the tag was refused");
        benchmark::DoNotOptimize(plain.data());
    }
    state.SetBytesProcessed(state.iterations() * state.range(0));
}

void x25519(benchmark::State& state) {
    auto const mine = example_key(1);
    wg::public_key theirs;
    wg::bundled::dh{}.dh_public(theirs, example_key(2));
    wg::secret<wg::key_bytes> shared;
    for (auto _ : state) {
        bool const good = wg::bundled::dh{}.dh(shared, mine, theirs);
        if (!good) state.SkipWithError("a zero result");
    }
}

void x25519_base(benchmark::State& state) {
    auto const mine = example_key(1);
    wg::public_key out;
    for (auto _ : state) {
        wg::bundled::dh{}.dh_public(out, mine);
        benchmark::DoNotOptimize(out.data());
    }
}

void blake2s_mac1(benchmark::State& state) {
    auto const key = example_key(1);
    wg::byte_array<116> const message{};
    wg::byte_array<16> mac;
    for (auto _ : state) {
        wg::bundled::hash{}.blake2s(mac, key.expose(), message, {});
        benchmark::DoNotOptimize(mac.data());
    }
}

BENCHMARK(aead_seal)->Arg(16)->Arg(64)->Arg(256)->Arg(576)->Arg(1420)->Arg(16384);
BENCHMARK(aead_open)->Arg(16)->Arg(64)->Arg(256)->Arg(576)->Arg(1420)->Arg(16384);
BENCHMARK(x25519);
BENCHMARK(x25519_base);
BENCHMARK(blake2s_mac1);

} // namespace

BENCHMARK_MAIN();
