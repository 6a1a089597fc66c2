// SPDX-License-Identifier: BSL-1.0
// Measures the processor time of the primitives, beside that of other libraries. Every figure includes the key set-up.
//
// Method: for each bench and size, the implementations run alternately in one process, in slices of some milliseconds
// each. The figure is the median of the rounds. So other load on the machine disturbs all implementations equally; a
// framework that finishes one benchmark before the next cannot achieve this. Before an implementation is timed, it must
// give the results of the bundled portable code and reject a wrong tag. Compare ratios within one run, and not figures
// of two runs.
#include "peers.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string_view>

#include <sys/wait.h>
#include <unistd.h>

namespace bench { namespace {

using namespace std::string_view_literals;
using wg::byte;

constexpr char usage[] =
    "usage: crypto [--json] [--rounds N] [--only BENCH,...] [--sizes N,...] [--impl NAME,...]\n"
    "Benches: aead_seal, aead_open, aead_seal_batch16, aead_open_batch16 (ns a packet), x25519, x25519_base,\n"
    "x25519_batch8 (ns an operation), blake2s_mac1, blake2s_mac1_batch16 (ns a message), ml_kem_generate,\n"
    "ml_kem_encapsulate, ml_kem_decapsulate (ns an operation).\n"
    "wg:avx2 is wg without AVX-512, openssl:avx2 and ipsec-mb:avx2 likewise; wg:portable is what the compiler's\n"
    "baseline gives. Prints a table, then what is reached of the project's goals; --json: one object a line.\n";

constexpr std::size_t batch_packets = 16, batch_keys = 8;

struct options {
    bool json = false;
    bool served = false; ///< this process measures openssl:avx2 for its parent process
    std::size_t rounds = 15;
    std::vector<std::string> only, sizes, implementations;
};

/// Runs `count` calls. Returns: their processor time together in ns; negative if a call failed.
using timed = std::function<double(std::uint64_t count)>;

/// An implementation in a contest.
struct candidate {
    std::string name;
    timed run;
    std::uint64_t count = 1;    ///< calls in a slice
    std::vector<double> rounds; ///< ns per result, one element a round
};

/// A bench at one size, and the implementations that are compared.
struct contest {
    std::string bench;
    std::size_t size = 0;
    std::vector<candidate> candidates;

    /// The number of results of one call.
    double results() const {
        return bench.ends_with("_batch16") ? batch_packets : bench.ends_with("_batch8") ? batch_keys : 1;
    }
};

struct result {
    std::string bench;
    std::size_t size;
    std::string implementation;
    std::vector<double> rounds; ///< ns per result, one element a round
    double ns;                  ///< the median of `rounds`
};

double median(std::vector<double> of) {
    std::ranges::sort(of);
    return of[of.size() / 2];
}

[[noreturn]] void fail(std::string const& what) {
    std::fprintf(stderr, "crypto: %s\n", what.c_str());
    std::exit(EXIT_FAILURE);
}

/// The processor time of this thread in ns. It does not include the time of other programs.
double now_ns() {
    std::timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

/// A timed loop around `call`, which takes the number of the call and returns whether it succeeded.
template <class Call> timed loop(Call call) {
    return [call](std::uint64_t count) mutable {
        bool good = true;
        double const start = now_ns();
        for (std::uint64_t i = 0; i < count; ++i) good = call(i) && good;
        double const took = now_ns() - start;
        return good ? took : -1.0;
    };
}

// --------------------------------------------------------------------------------------------------------- test data

/// Packets, each with room for a message header before it, as in a datagram.
class packets {
public:
    explicit packets(std::size_t size) : size_(size), memory_(batch_packets * stride() + line) {}

    wg::bytes at(std::size_t i) {
        auto const base = reinterpret_cast<std::uintptr_t>(memory_.data());
        return {memory_.data() + (line - base % line) + i * stride() + header, size_};
    }

private:
    static constexpr std::size_t line = 64, header = 16;
    std::size_t stride() const { return (size_ + header + line - 1) / line * line; }

    std::size_t size_;
    std::vector<byte> memory_;
};

wg::secret<wg::key_bytes> example_key(byte start) {
    wg::secret<wg::key_bytes> key;
    for (byte& b : key.expose()) b = start = static_cast<byte>(start * 5 + 17);
    return key;
}

bundled_peer& reference() {
    static bundled_peer portable(wg::bundled::cpu::baseline);
    return portable;
}

/// Plain packets, and the results of the bundled portable code for them.
struct aead_data {
    explicit aead_data(std::size_t size)
        : key(example_key(1)), plain(size), sealed(size + wg::tag_bytes), out(size + wg::tag_bytes), opened(size) {
        byte value = 1;
        for (std::size_t i = 0; i < batch_packets; ++i) {
            for (byte& b : plain.at(i)) b = value = static_cast<byte>(value * 13 + 7);
            wg::aead_item wanted{sealed.at(i), plain.at(i), counter(i), &key};
            reference().seal(wanted);
            sealing.push_back({out.at(i), plain.at(i), counter(i), &key});
            opening.push_back({opened.at(i), sealed.at(i), counter(i), &key});
        }
    }
    static std::uint64_t counter(std::size_t i) { return 0x123456789 + i; }

    wg::secret<wg::key_bytes> key;
    packets plain, sealed, out, opened;
    std::vector<wg::aead_item> sealing, opening;
};

struct dh_data {
    dh_data() {
        for (std::size_t i = 0; i < batch_keys; ++i) {
            scalars.push_back(example_key(static_cast<byte>(i + 1)));
            auto const theirs = example_key(static_cast<byte>(i + 101));
            wg::dh_item item{&wanted[i], &theirs, {}};
            reference().base(points[i], item);
            item.scalar = &scalars[i];
            item.point = points[i];
            reference().base(publics[i], item);
            reference().dh(item);
        }
        for (std::size_t i = 0; i < batch_keys; ++i) items.push_back({&out[i], &scalars[i], points[i]});
    }
    std::vector<wg::secret<wg::key_bytes>> scalars;
    wg::public_key points[batch_keys], publics[batch_keys], made;
    wg::secret<wg::key_bytes> wanted[batch_keys], out[batch_keys];
    std::vector<wg::dh_item> items;
};

/// Messages of the size that mac1 of a handshake initiation covers. `unkeyed`: for a library without keyed BLAKE2s, a
/// message is a block in place of the key and then the message.
struct hash_data {
    static constexpr std::size_t message_bytes = 116, block_bytes = 64;
    explicit hash_data(bool unkeyed) {
        std::size_t const size = message_bytes + (unkeyed ? block_bytes : 0);
        std::size_t const digest = unkeyed ? 32 : 16;
        byte value = 1;
        for (std::size_t i = 0; i < batch_packets; ++i) {
            keys[i] = example_key(static_cast<byte>(i));
            for (byte& b : messages[i]) b = value = static_cast<byte>(value * 13 + 7);
            items.push_back({wg::bytes(out[i]).first(digest), unkeyed ? wg::bytes_view{} : keys[i].expose(),
                             wg::bytes_view(messages[i]).first(size)});
            reference().mac({wg::bytes(wanted[i]).first(digest), items[i].key, items[i].message});
        }
    }
    bool right(std::size_t i) const { return std::ranges::equal(out[i], wanted[i]); }

    wg::secret<32> keys[batch_packets];
    wg::byte_array<message_bytes + block_bytes> messages[batch_packets]{};
    wg::byte_array<32> out[batch_packets]{}, wanted[batch_packets]{};
    std::vector<wg::hash_item> items;
};

// -------------------------------------------------------------------------------------------- timed implementations

/// Whether `operation` gives the expected results. Clears its output first. `opens` also checks that a wrong tag is
/// rejected.
template <class Operation> bool seals(aead_data& d, Operation operation) {
    for (auto& i : d.sealing) std::ranges::fill(i.dst, byte{0});
    if (!operation()) return false;
    for (std::size_t i = 0; i < batch_packets; ++i)
        if (!std::ranges::equal(d.out.at(i), d.sealed.at(i))) return false;
    return true;
}
template <class Operation> bool opens(aead_data& d, Operation operation) {
    for (auto& i : d.opening) std::ranges::fill(i.dst, byte{0});
    if (!operation()) return false;
    for (std::size_t i = 0; i < batch_packets; ++i)
        if (!std::ranges::equal(d.opened.at(i), d.plain.at(i))) return false;
    byte& last_of_tag = d.sealed.at(batch_packets / 2).back();
    last_of_tag ^= 1;
    bool const fooled = operation();
    last_of_tag ^= 1;
    return !fooled;
}

/// One packet in each call. Sealing increments the counter; opening alternates between two packets.
template <class Peer> timed aead_one(Peer& peer, std::shared_ptr<aead_data> d, bool open) {
    auto const all = [&](auto& items, auto one) {
        bool good = true;
        for (auto& i : items) good = one(i) && good;
        return good;
    };
    if (!open) {
        if (!seals(*d, [&] { return all(d->sealing, [&](auto& i) { return peer.seal(i); }); })) return {};
        return loop([&peer, d](std::uint64_t) {
            ++d->sealing[0].counter;
            return peer.seal(d->sealing[0]);
        });
    }
    if (!opens(*d, [&] { return all(d->opening, [&](auto& i) { return peer.open(i); }); })) return {};
    return loop([&peer, d](std::uint64_t n) { return peer.open(d->opening[n % 2]); });
}

template <class Peer> bool seal_all(Peer& peer, std::span<wg::aead_item> items) {
    if constexpr (requires { peer.seal_batch(items); }) return peer.seal_batch(items);
    bool good = true;
    for (auto& i : items) good = peer.seal(i) && good;
    return good;
}
template <class Peer> bool open_all(Peer& peer, std::span<wg::aead_item> items) {
    if constexpr (requires { peer.open_batch(items); }) return peer.open_batch(items);
    bool good = true;
    for (auto& i : items) good = peer.open(i) && good;
    return good;
}

template <class Peer> timed aead_batch(Peer& peer, std::shared_ptr<aead_data> d, bool open) {
    if (!open) {
        if (!seals(*d, [&] { return seal_all(peer, d->sealing); })) return {};
        return loop([&peer, d](std::uint64_t) {
            for (auto& i : d->sealing) i.counter += batch_packets;
            return seal_all(peer, d->sealing);
        });
    }
    if (!opens(*d, [&] { return open_all(peer, d->opening); })) return {};
    return loop([&peer, d](std::uint64_t) { return open_all(peer, d->opening); });
}

template <class Peer> bool dh_all(Peer& peer, std::span<wg::dh_item> items) {
    if constexpr (requires { peer.dh_batch(items); }) return peer.dh_batch(items);
    bool good = true;
    for (auto& i : items) good = peer.dh(i) && good;
    return good;
}

template <class Peer> timed x25519(Peer& peer, std::string const& bench) {
    auto const d = std::make_shared<dh_data>();
    if constexpr (requires { peer.prepare(d->items); }) peer.prepare(d->items);
    if (bench == "x25519_base") {
        for (std::size_t i = 0; i < batch_keys; ++i)
            if (!peer.base(d->made, d->items[i]) || d->made != d->publics[i]) return {};
        return loop([&peer, d](std::uint64_t n) { return peer.base(d->made, d->items[n % batch_keys]); });
    }
    bool const batch = bench == "x25519_batch8";
    bool good = true;
    if (batch) good = dh_all(peer, d->items);
    else
        for (auto& i : d->items) good = peer.dh(i) && good;
    for (std::size_t i = 0; i < batch_keys; ++i) good = good && d->out[i].equals(d->wanted[i]);
    if (!good) return {};
    if (batch) return loop([&peer, d](std::uint64_t) { return dh_all(peer, d->items); });
    return loop([&peer, d](std::uint64_t n) { return peer.dh(d->items[n % batch_keys]); });
}

template <class Peer> bool mac_all(Peer& peer, std::span<wg::hash_item const> items) {
    if constexpr (requires { peer.mac_batch(items); }) return peer.mac_batch(items);
    bool good = true;
    for (auto const& i : items) good = peer.mac(i) && good;
    return good;
}

template <class Peer> timed blake2s_mac1(Peer& peer, bool batch) {
    auto const d = std::make_shared<hash_data>(requires { Peer::unkeyed; });
    bool good = true;
    if (batch) good = mac_all(peer, d->items);
    else
        for (auto const& i : d->items) good = peer.mac(i) && good;
    for (std::size_t i = 0; i < batch_packets; ++i) good = good && d->right(i);
    if (!good) return {};
    if (batch) return loop([&peer, d](std::uint64_t) { return mac_all(peer, d->items); });
    return loop([&peer, d](std::uint64_t n) { return peer.mac(d->items[n % batch_packets]); });
}

/// ML-KEM-768: a key pair, a ciphertext and a secret of the portable code.
struct kem_data {
    using portable = wg::bundled::ml_kem_768;

    kem_data() {
        wg::byte_array<64 + 32> random;
        for (std::size_t i = 0; i < random.size(); ++i) random[i] = static_cast<byte>(37 * i + 1);
        seed.assign(std::span(random).first<64>());
        message.assign(std::span(random).last<32>());
        portable const code(wg::bundled::cpu::baseline);
        if (!code.generate(public_key, private_key, seed) || !code.encapsulate(ciphertext, shared, public_key, message))
            fail("the portable code makes no key pair");
    }

    wg::secret<64> seed;
    wg::secret<32> message, shared, made_shared;
    wg::byte_array<portable::public_key_bytes> public_key, made_public;
    wg::secret<portable::private_key_bytes> private_key, made_private;
    wg::byte_array<portable::ciphertext_bytes> ciphertext, made_ciphertext;
};

template <class Peer> timed ml_kem(Peer& peer, std::string const& bench) {
    auto const d = std::make_shared<kem_data>();
    if (!peer.kem.generate(d->made_public, d->made_private, d->seed) || d->made_public != d->public_key ||
        !d->made_private.equals(d->private_key) ||
        !peer.kem.encapsulate(d->made_ciphertext, d->made_shared, d->public_key, d->message) ||
        d->made_ciphertext != d->ciphertext || !d->made_shared.equals(d->shared) ||
        !peer.kem.decapsulate(d->made_shared, d->private_key, d->ciphertext) || !d->made_shared.equals(d->shared))
        return {};
    if (bench == "ml_kem_generate")
        return loop([&peer, d](std::uint64_t) { return peer.kem.generate(d->made_public, d->made_private, d->seed); });
    if (bench == "ml_kem_encapsulate")
        return loop([&peer, d](std::uint64_t) {
            return peer.kem.encapsulate(d->made_ciphertext, d->made_shared, d->public_key, d->message);
        });
    return loop(
        [&peer, d](std::uint64_t) { return peer.kem.decapsulate(d->made_shared, d->private_key, d->ciphertext); });
}

/// Adds `peer` to the contest if it has the operation of the bench. `peer` must outlive the contest.
template <class Peer>
void join(contest& c, std::shared_ptr<aead_data> const& data, std::string const& name, Peer& peer) {
    timed run;
    bool able = true;
    if (c.bench.starts_with("aead_")) {
        bool const open = c.bench.starts_with("aead_open");
        if constexpr (requires(wg::aead_item i) { peer.seal(i); })
            run = c.bench.ends_with("_batch16") ? aead_batch(peer, data, open) : aead_one(peer, data, open);
        else able = false;
    } else if (c.bench.starts_with("x25519")) {
        if constexpr (requires(wg::dh_item i) { peer.dh(i); }) run = x25519(peer, c.bench);
        else able = false;
    } else if (c.bench.starts_with("ml_kem_")) {
        if constexpr (requires { peer.kem; }) run = ml_kem(peer, c.bench);
        else able = false;
    } else {
        if constexpr (requires(wg::hash_item i) { peer.mac(i); })
            run = blake2s_mac1(peer, c.bench.ends_with("_batch16"));
        else able = false;
    }
    if (!able) return;
    if (!run) fail(name + " gives wrong results in " + c.bench + " of " + std::to_string(c.size) + " bytes");
    c.candidates.push_back({name, run, 1, {}});
}

// ------------------------------------------------------------------------------------------ the process for OpenSSL

#ifdef WG_BENCH_OPENSSL
/// The value of OPENSSL_ia32cap that turns AVX-512 off: it clears the bits F, DQ, IFMA, CD, BW and VL of CPUID 7, EBX.
constexpr char openssl_without_avx512[] = ":~0xd0230000";

/// OpenSSL decides once, when it is loaded, which instruction sets it uses. So a second process measures openssl:avx2.
/// It times a slice on request, so that the order of the slices stays the same.
class server {
public:
    explicit server(char const* program) {
        int to[2], from[2];
        if (pipe(to) != 0 || pipe(from) != 0) fail("no pipe");
        pid_ = fork();
        if (pid_ == 0) {
            dup2(to[0], STDIN_FILENO);
            dup2(from[1], STDOUT_FILENO);
            for (int fd : {to[0], to[1], from[0], from[1]}) close(fd);
            setenv("OPENSSL_ia32cap", openssl_without_avx512, 1);
            execl("/proc/self/exe", program, "--serve", nullptr);
            _exit(EXIT_FAILURE);
        }
        close(to[0]);
        close(from[1]);
        to_ = fdopen(to[1], "w");
        from_ = fdopen(from[0], "r");
    }
    server(server const&) = delete;
    ~server() {
        std::fclose(to_);
        std::fclose(from_);
        waitpid(pid_, nullptr, 0);
    }

    double run(std::string const& bench, std::size_t size, std::uint64_t count) {
        double took = -1;
        std::fprintf(to_, "%s %zu %llu\n", bench.c_str(), size, static_cast<unsigned long long>(count));
        std::fflush(to_);
        if (std::fscanf(from_, "%lf", &took) != 1) fail("openssl:avx2 gives no results");
        return took;
    }

private:
    pid_t pid_ = -1;
    std::FILE *to_ = nullptr, *from_ = nullptr;
};

/// The main function of the second process: times a slice for each line "BENCH SIZE COUNT" of standard input.
int serve() {
    openssl_peer peer;
    contest c;
    char bench[32];
    std::size_t size;
    unsigned long long count;
    while (std::scanf("%31s %zu %llu", bench, &size, &count) == 3) {
        if (c.bench != bench || c.size != size) {
            c = {bench, size, {}};
            join(c, std::make_shared<aead_data>(size), "openssl:avx2", peer);
        }
        std::printf("%f\n", c.candidates.at(0).run(count));
        std::fflush(stdout);
    }
    return EXIT_SUCCESS;
}
#endif

// ------------------------------------------------------------------------------------------------------- the rounds

class arena {
public:
    explicit arena(options const& o) : options_(o) {}

    std::vector<result> run() {
        std::vector<result> all;
        for (auto const& [bench, sizes] : benches())
            for (std::size_t const size : sizes) {
                if (!wanted(options_.only, bench)) continue;
                if (sizes.size() > 1 && !wanted(options_.sizes, std::to_string(size))) continue;
                contest c{bench, size, {}};
                enter_all(c);
                measure_in_turn(c);
                for (auto const& entry : c.candidates)
                    all.push_back({bench, size, entry.name, entry.rounds, median(entry.rounds)});
                if (!options_.json) print(c, all);
            }
        return all;
    }

    static std::vector<std::pair<std::string, std::vector<std::size_t>>> benches() {
        std::vector<std::size_t> const single{16, 64, 128, 256, 576, 1024, 1420, 4096, 16384};
        std::vector<std::size_t> const batch{64, 256, 576, 1420};
        return {{"aead_seal", single},
                {"aead_open", single},
                {"aead_seal_batch16", batch},
                {"aead_open_batch16", batch},
                {"x25519", {32}},
                {"x25519_base", {32}},
                {"x25519_batch8", {32}},
                {"blake2s_mac1", {116}},
                {"blake2s_mac1_batch16", {116}},
                {"ml_kem_generate", {1184}},
                {"ml_kem_encapsulate", {1088}},
                {"ml_kem_decapsulate", {1088}}};
    }

    static std::string missing() {
        std::string names;
#ifndef WG_BENCH_IPSEC_MB
        names += " ipsec-mb";
#endif
#ifndef WG_BENCH_OPENSSL
        names += " openssl";
#endif
#ifndef WG_BENCH_LIBSODIUM
        names += " libsodium";
#endif
#ifndef WG_BENCH_HACL
        names += " hacl";
#endif
#ifndef WG_BENCH_LIBB2
        names += " libb2";
#endif
        return names;
    }

private:
    static bool wanted(std::vector<std::string> const& list, std::string const& name) {
        return list.empty() || std::ranges::find(list, name) != list.end();
    }

    void enter_all(contest& c) {
        auto const data = c.bench.starts_with("aead_") ? std::make_shared<aead_data>(c.size) : nullptr;
        auto const enter = [&](char const* name, auto& peer) {
            if (wanted(options_.implementations, name)) join(c, data, name, peer);
        };
        enter("wg", wg_);
        enter("wg:avx2", wg_avx2_);
        enter("wg:portable", wg_portable_);
        enter("wg", wg_kem_);
        enter("wg:avx2", wg_kem_avx2_);
        enter("wg:portable", wg_kem_portable_);
#ifdef WG_BENCH_IPSEC_MB
        if (ipsec_mb_.works()) enter("ipsec-mb", ipsec_mb_);
        if (ipsec_mb_avx2_.works()) enter("ipsec-mb:avx2", ipsec_mb_avx2_);
#endif
#ifdef WG_BENCH_OPENSSL
        enter("openssl", openssl_);
        if (c.bench.starts_with("aead_") && wanted(options_.implementations, "openssl:avx2"))
            c.candidates.push_back({"openssl:avx2",
                                    [this, bench = c.bench, size = c.size](std::uint64_t count) {
                                        return openssl_avx2_.run(bench, size, count);
                                    },
                                    1,
                                    {}});
        enter("openssl:digest", openssl_digest_);
#endif
#ifdef WG_BENCH_OPENSSL_KEM
        enter("openssl", openssl_kem_);
#endif
#ifdef WG_BENCH_LIBSODIUM
        if (libsodium_.works()) enter("libsodium", libsodium_);
#endif
#ifdef WG_BENCH_HACL
        enter("hacl", hacl_);
#endif
#ifdef WG_BENCH_LIBB2
        enter("libb2", libb2_);
#endif
    }

    void measure_in_turn(contest& c) const {
        constexpr double slice_ns = 3e6;
        for (auto& entry : c.candidates) { // doubles the calls until their time tells how many fill a slice
            double took = slice(c, entry);
            for (; took < slice_ns / 8; took = slice(c, entry)) entry.count *= 2;
            entry.count = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(slice_ns / took * double(entry.count)));
        }
        for (std::size_t round = 0; round < options_.rounds; ++round)
            for (auto& entry : c.candidates) {
                // A millisecond of warm-up does not count: processors lower their clock for wide multiplications, and
                // take about that long to settle.
                static_cast<void>(slice(c, {entry.name, entry.run, entry.count / 3 + 1, {}}));
                entry.rounds.push_back(slice(c, entry) / (static_cast<double>(entry.count) * c.results()));
            }
    }

    static double slice(contest const& c, candidate const& entry) {
        double const took = entry.run(entry.count);
        if (took < 0) fail(entry.name + " fails in " + c.bench);
        return took;
    }

    /// Prints one line for each size, and a heading when the bench or the implementations change.
    void print(contest const& c, std::vector<result> const& all) {
        std::string heading = "\n" + c.bench + std::string(22 - c.bench.size(), ' ');
        for (auto const& entry : c.candidates) heading += std::string(16 - entry.name.size(), ' ') + entry.name;
        if (heading != heading_) std::puts((heading_ = heading).c_str());
        std::printf("%20zu B", c.size);
        for (std::size_t i = all.size() - c.candidates.size(); i < all.size(); ++i) std::printf("%16.1f", all[i].ns);
        std::puts("");
        std::fflush(stdout);
    }

    options const& options_;
    std::string heading_;
    bundled_peer wg_{wg::bundled::chosen_cpu()};
    bundled_peer wg_avx2_{wg::bundled::chosen_cpu() & ~(wg::bundled::cpu::avx512 | wg::bundled::cpu::ifma)};
    bundled_peer wg_portable_{wg::bundled::cpu::baseline};
    kem_peer<wg::bundled::ml_kem_768> wg_kem_{wg::bundled::chosen_cpu()};
    kem_peer<wg::bundled::ml_kem_768> wg_kem_avx2_{wg::bundled::chosen_cpu() &
                                                   ~(wg::bundled::cpu::avx512 | wg::bundled::cpu::ifma)};
    kem_peer<wg::bundled::ml_kem_768> wg_kem_portable_{wg::bundled::cpu::baseline};
#ifdef WG_BENCH_OPENSSL_KEM
    kem_peer<wg::openssl::ml_kem_768> openssl_kem_;
#endif
#ifdef WG_BENCH_IPSEC_MB
    ipsec_mb_peer ipsec_mb_{false}, ipsec_mb_avx2_{true};
#endif
#ifdef WG_BENCH_OPENSSL
    openssl_peer openssl_;
    server openssl_avx2_{"crypto"};
    openssl_digest_peer openssl_digest_;
#endif
#ifdef WG_BENCH_LIBSODIUM
    libsodium_peer libsodium_;
#endif
#ifdef WG_BENCH_HACL
    hacl_peer hacl_;
#endif
#ifdef WG_BENCH_LIBB2
    libb2_peer libb2_;
#endif
};

// -------------------------------------------------------------------------------------------------------- the goals

/// A goal of the project: `ours` is at least `times` as fast as `theirs`. A library without batches does the items of a
/// batch one after the other.
struct goal {
    char const *bench, *ours, *theirs;
    std::size_t size;
    double times;
    double floor = 0; ///< the estimate of the ratio that the processor's limits allow; 0: none
};

std::vector<goal> goals() {
    std::vector<goal> all;
    for (char const* bench : {"aead_seal", "aead_open"}) {
        for (auto const& [size, times] : {std::pair{64, 1.1}, {256, 1.1}, {1420, 1.3}, {16384, 1.4}})
            all.push_back({bench, "wg", "ipsec-mb", static_cast<std::size_t>(size), times, size == 1420 ? 2.7 : 0});
        all.push_back({bench, "wg:avx2", "openssl:avx2", 1420, 1.0});
        all.push_back({bench, "wg:portable", "libsodium", 1420, 0.7});
    }
    for (char const* bench : {"aead_seal_batch16", "aead_open_batch16"})
        for (auto const& [size, times] : {std::pair{64, 6.0}, {256, 3.0}, {576, 2.0}, {1420, 1.7}})
            all.push_back({bench, "wg", "ipsec-mb", static_cast<std::size_t>(size), times});
    all.push_back({"x25519", "wg", "openssl", 32, 1 / 0.78});
    all.push_back({"x25519_base", "wg", "openssl", 32, 1 / 0.23});
    all.push_back({"x25519_batch8", "wg", "openssl", 32, 8.0, 15.0});
    for (char const* peer : {"libb2", "openssl"}) {
        all.push_back({"blake2s_mac1", "wg", peer, 116, 1.0});
        all.push_back({"blake2s_mac1_batch16", "wg", peer, 116, 4.0});
    }
    return all;
}

/// The median of the ratios of the rounds. Other load in a round disturbs both implementations alike.
double times_as_fast(result const& ours, result const& theirs) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < ours.rounds.size(); ++i) ratios.push_back(theirs.rounds[i] / ours.rounds[i]);
    return median(ratios);
}

void print_goals(std::vector<result> const& all) {
    auto const find = [&](std::string_view bench, std::size_t size, std::string_view entry) {
        return std::ranges::find_if(
            all, [&](result const& r) { return r.bench == bench && r.size == size && r.implementation == entry; });
    };
    std::printf("\n%-22s%8s  %-12s%-14s%14s%10s%8s\n", "goal", "size", "ours", "against", "times as fast", "at least",
                "floor");
    for (goal const& g : goals()) {
        auto const ours = find(g.bench, g.size, g.ours), theirs = find(g.bench, g.size, g.theirs);
        if (ours == all.end() || theirs == all.end()) continue;
        double const times = times_as_fast(*ours, *theirs);
        std::string const floor = g.floor > 0 ? std::to_string(g.floor).substr(0, 4) : "";
        std::printf("%-22s%8zu  %-12s%-14s%14.2f%10.2f%8s  %s\n", g.bench, g.size, g.ours, g.theirs, times, g.times,
                    floor.c_str(), times >= g.times ? "reached" : "missed");
    }
}

// ------------------------------------------------------------------------------------------------------------- main

std::vector<std::string> split(std::string_view text) {
    std::vector<std::string> parts;
    while (!text.empty()) {
        parts.emplace_back(text.substr(0, text.find(',')));
        text.remove_prefix(std::min(text.size(), parts.back().size() + 1));
    }
    return parts;
}

options read_options(std::span<char*> arguments) {
    options o;
    for (std::size_t i = 1; i < arguments.size(); ++i) {
        std::string_view const name = arguments[i];
        if (name == "--json") o.json = true;
        else if (name == "--serve") o.served = true;
        else if (name == "--help") std::exit(std::fputs(usage, stdout) < 0);
        else if (i + 1 == arguments.size()) fail("what is " + std::string(name) + "? " + usage);
        else if (name == "--rounds") o.rounds = std::strtoul(arguments[++i], nullptr, 10);
        else if (name == "--only") o.only = split(arguments[++i]);
        else if (name == "--sizes") o.sizes = split(arguments[++i]);
        else if (name == "--impl") o.implementations = split(arguments[++i]);
        else fail("what is " + std::string(name) + "? " + usage);
    }
    if (o.rounds == 0) fail("--rounds takes a number");
    for (auto const& name : o.only)
        if (std::ranges::none_of(arena::benches(), [&](auto const& b) { return b.first == name; }))
            fail("there is no bench " + name);
    return o;
}

void print_machine() {
    using wg::bundled::cpu;
    std::string sets;
    for (auto const& [set, name] : {std::pair{cpu::ssse3, "ssse3"},
                                    {cpu::avx2, "avx2"},
                                    {cpu::adx, "adx"},
                                    {cpu::avx512, "avx512"},
                                    {cpu::ifma, "ifma"}})
        if (has(wg::bundled::chosen_cpu(), set)) sets += std::string(" ") + name;
    std::string const missing = arena::missing();
    std::printf("wg may use:%s\nmissing:%s\nns, medians\n", sets.empty() ? " the baseline" : sets.c_str(),
                missing.empty() ? " none" : missing.c_str());
}

}} // namespace bench

int main(int count, char** arguments) {
    using namespace bench;
    options const o = read_options({arguments, static_cast<std::size_t>(count)});
#ifdef WG_BENCH_OPENSSL
    if (o.served) return serve();
#endif
    if (!o.json) print_machine();
    auto const all = arena(o).run();
    if (!o.json) print_goals(all);
    for (auto const& r : all)
        if (o.json)
            std::printf("{\"bench\":\"%s\",\"size\":%zu,\"impl\":\"%s\",\"ns\":%.1f}\n", r.bench.c_str(), r.size,
                        r.implementation.c_str(), r.ns);
    if (all.empty()) fail("nothing was measured");
    return EXIT_SUCCESS;
}
