// SPDX-License-Identifier: BSL-1.0
// Two or three hosts on virtual time. At first the network loses, repeats, reorders, delays, corrupts, reflects and
// misdelivers datagrams, while users reconfigure the hosts. Then all faults stop, and traffic has to pass. With half of
// the seeds the preshared keys are replaced every few seconds; then clocks differ and jump as well, and hosts lose what
// they have stored, or get it from a backup. With half of the seeds hosts agree on preshared keys inside their
// sessions. The seed determines everything.
#ifndef WG_TESTS_SIMULATION_WORLD_HPP
#define WG_TESTS_SIMULATION_WORLD_HPP

#include "../unit/toy_kem.hpp"
#include "ledger.hpp"

#include "wg/backends/bundled/bundled.hpp"
#include "wg/backends/observers.hpp"
#include "wg/backends/one_thread.hpp"
#include "wg/backends/storage.hpp"
#include "wg/device/device.hpp"

#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <string>

namespace simulation {

using wg::instant, wg::duration, wg::milliseconds, wg::seconds;

/// The clock of a host: the virtual time, and a UNIX time at its beginning.
struct virtual_clock {
    instant const* time = nullptr;
    duration const* unix_time_at_zero = nullptr;
    instant now() noexcept { return *time; }
    void tai64n(std::span<byte, wg::timestamp_bytes> label) noexcept {
        std::int64_t const now_ns = time->nanoseconds + unix_time_at_zero->nanoseconds;
        wg::store_tai64n(label, static_cast<std::uint64_t>(now_ns / 1'000'000'000),
                         static_cast<std::uint32_t>(now_ns % 1'000'000'000));
    }
};

/// What a host has stored of its ratchets, and a copy that may come back later.
struct ratchet_records {
    using record = wg::byte_array<wg::ratchet_record_bytes>;
    using book = std::map<wg::public_key, record>;
    book now, backup;
};
/// Models `ratchet_storage`.
struct records_of_host {
    ratchet_records* all = nullptr;
    bool load(wg::public_key const& peer, std::span<byte, wg::ratchet_record_bytes> to) noexcept {
        auto const found = all->now.find(peer);
        if (found == all->now.end()) return false;
        wg::copy(to, bytes_view(found->second));
        return true;
    }
    bool store(wg::public_key const& peer, std::span<byte const, wg::ratchet_record_bytes> from) noexcept {
        wg::copy(all->now[peer], bytes_view(from));
        return true;
    }
    void erase(wg::public_key const& peer) noexcept { all->now.erase(peer); }
};

struct capacity : wg::host_capacity {
    static constexpr std::size_t max_queued_handshakes = 64;
    static constexpr std::size_t max_limited_sources = 64;
};

struct policies {
    using hash = wg::bundled::hash;
    using dh = wg::bundled::dh;
    using aead = wg::bundled::aead;
    using clock_source = virtual_clock;
    using random_source = seeded_random;
    using threads = wg::one_thread;
    using storage = wg::growing_storage<wg::heap_region, capacity>;
    using observer = wg::function_observer;
    using ratchet_storage = records_of_host;
    using pq_kem = wg_tests::toy_kem;
};

using device = wg::device<policies>;
using job = device::job_type;

/// Probabilities of faults for each datagram, and the range of delays.
struct faults {
    double loss = 0, duplication = 0, corruption = 0, misdelivery = 0;
    duration least_delay = milliseconds(0), greatest_delay = milliseconds(1);
};

/// A host: a device, its keys and its outer address.
struct host {
    host(unsigned number_, instant const& time, std::uint64_t seed, wg::function_observer watcher)
        : number(number_), core(virtual_clock{&time, &wall}, seeded_random(seed), watcher, records_of_host{&records}) {
        seeded_random keys(~seed);
        keys.fill(private_key.expose());
        wg::bundled::dh{}.dh_public(public_key, private_key);
        move(0);
    }

    /// Changes the outer address to the n-th one of this host. No two hosts share an address.
    void move(unsigned n) {
        bool const v4 = n % 3 != 2;
        outer.address = v4 ? wg::ip_address::v4(192, 0, 2, static_cast<byte>(number))
                           : wg::ip_address{{0x20, 1, 0xd, 0xb8}, wg::family::v6};
        if (!v4) outer.address.octets[15] = static_cast<byte>(number);
        outer.port = static_cast<std::uint16_t>(10000 + n);
    }

    static constexpr duration right_wall = seconds(1'800'000'000);

    void session_started(instant now) {
        if (sessions++ != 0) longest_session = std::max(longest_session, now - last_session);
        last_session = now;
    }

    unsigned number;
    duration wall = right_wall; ///< the UNIX time at virtual time 0, by the clock of this host
    ratchet_records records;
    wg::post_quantum exchange = wg::post_quantum::off;
    instant restarted_at{};
    device core;
    wg::secret<wg::key_bytes> private_key;
    wg::public_key public_key{};
    wg::endpoint outer{};
    unsigned moves = 0;
    unsigned sessions = 0;
    instant last_session{};
    duration longest_session{}; ///< the longest time between two beginnings
};

/// One simulation.
class world {
public:
    explicit world(std::uint64_t seed, bool verbose = false) : dice_(seed), verbose_(verbose) {
        is_long_ = seed % 25 == 7;
        unsigned const count = seed % 3 == 2 && !is_long_ ? 3 : 2;
        now_ = instant{} + seconds(1000);
        bad_until_ = now_ + (is_long_ ? seconds(700) : milliseconds(dice_.between(5000, 40000)));
        choose_faults();
        if (seed % 2 == 1) choose_ratchet();
        for (unsigned i = 0; i < count; ++i)
            hosts_.push_back(std::make_unique<host>(i, now_, dice_.next(), wg::function_observer{&watch, this}));
        if (epoch_s_ != 0) choose_clocks();
        if (seed % 4 >= 2) choose_exchanges();
        end_ = bad_until_ + recovery_ + watched + seconds(1);
        // Events belong to the host that is at work.
        for (auto& h : hosts_) configure_all(*h);
        for (auto& h : hosts_) begin_traffic(*h);
        bool const travel = dice_.chance(0.5) && plan_changes();
        if (epoch_s_ != 0) plan_ratchet_faults(travel);
        at(bad_until_, [this] { stop_faults(); });
    }

    /// Runs to the end, or to the first error.
    void run() {
        while (error_.empty()) {
            instant next = events_.empty() ? instant::never() : events_.top().when;
            for (auto& h : hosts_) next = std::min(next, std::max(now_, deadline_of(*h)));
            if (next > end_) break;
            now_ = std::max(now_, next);
            if (!events_.empty() && events_.top().when <= now_) {
                std::function<void()> const action = events_.top().action;
                events_.pop();
                action();
            }
            for (auto& h : hosts_)
                if (deadline_of(*h) <= now_) on_deadline(*h);
        }
        if (error_.empty()) check_result();
    }

    std::string const& error() const { return error_; }
    std::uint64_t trace() const { return trace_; }
    std::size_t packets() const { return ledger_.entries().size(); }
    unsigned sessions() const {
        unsigned sum = 0;
        for (auto const& h : hosts_) sum += h->sessions;
        return sum;
    }
    bool is_long() const { return is_long_; }

private:
    static constexpr duration watched = seconds(3); ///< after that, no packet may be lost
    static constexpr std::size_t mtu = 1420;
    static constexpr std::size_t batch = 8;

    struct event {
        instant when;
        std::uint64_t order;
        std::function<void()> action;
        friend bool operator<(event const& a,
                              event const& b) { // std::priority_queue takes the greatest first, which is the earliest
            return a.when != b.when ? a.when > b.when : a.order > b.order;
        }
    };

    void at(instant when, std::function<void()> action) { events_.push({when, order_++, std::move(action)}); }

    void fail(std::string const& what) {
        if (!error_.empty()) return;
        error_ = what + " at " + std::to_string(static_cast<double>(now_.nanoseconds) / 1e9) + " s";
    }

    /// Adds an event to the trace.
    void note(char const* what, unsigned who, std::uint64_t value) {
        for (std::uint64_t const word : {static_cast<std::uint64_t>(now_.nanoseconds), std::uint64_t{who}, value})
            trace_ = (trace_ ^ word) * 0x9e3779b97f4a7c15 + (trace_ >> 29);
        if (verbose_)
            std::printf("%12.6f host %u %-12s %016llx\n", static_cast<double>(now_.nanoseconds) / 1e9, who, what,
                        static_cast<unsigned long long>(value));
    }

    static void watch(void* context, wg::event_id id, std::uint32_t, std::uint64_t value) noexcept {
        world& self = *static_cast<world*>(context);
        if (id == wg::event_id::dropped && value == static_cast<std::uint64_t>(wg::status::no_exchange) &&
            self.all_require_)
            self.fail("user data in a session without a post-quantum key");
        if (id == wg::event_id::ratchet_advanced) self.check_epoch(value);
        if (id == wg::event_id::session_started) self.hosts_[self.at_work_]->session_started(self.now_);
        self.note(self.verbose_ && id == wg::event_id::dropped ? name_of(static_cast<wg::status>(value)) : describe(id),
                  self.at_work_, static_cast<std::uint64_t>(id) << 32 | value);
    }

    // --- users

    void configure(host& h, std::vector<wg::change> const& changes) {
        at_work_ = h.number;
        if (h.core.configure(changes, now_) != wg::status::ok) fail("refused a configuration");
        transmit_pending(h);
    }

    /// `of`: the host to which the peer is added.
    void add_peer(std::vector<wg::change>& to, host const& of, host const& peer) const {
        to.push_back(wg::change::peer(peer.public_key));
        to.push_back(wg::change::exchange(of.exchange));
        to.push_back(wg::change::endpoint(peer.outer));
        to.push_back(wg::change::preshared_key(preshared_key_));
        to.push_back(wg::change::ratchet(epoch_s_));
        for (wg::family const kind : {wg::family::v4, wg::family::v6}) {
            wg::ip_address const address = inner_address(kind, peer.number);
            to.push_back(wg::change::allowed_ip(wg::ip_prefix::of(address, address.bits())));
        }
    }

    void configure_all(host& h) {
        std::vector<wg::change> changes;
        changes.push_back(wg::change::private_key(h.private_key.expose()));
        for (auto& other : hosts_)
            if (other.get() != &h) add_peer(changes, h, *other);
        configure(h, changes);
    }

    host& random_host() { return *hosts_[dice_.below(hosts_.size())]; }
    host& another_host(host const& than) {
        for (;;)
            if (host& h = random_host(); &h != &than) return h;
    }

    void begin_traffic(host& h) {
        at(now_ + milliseconds(dice_.between(0, 500)), [this, &h] { traffic(h); });
    }

    /// Sends a burst to a random host, and plans the next one.
    void traffic(host& h) {
        bool const calm = now_ >= bad_until_;
        host const& to = another_host(h);
        std::size_t const burst = dice_.chance(0.2) ? 1 + dice_.below(batch) : 1;
        write(h, to, burst);
        if (calm) // each host sends to each other host often enough to detect a lost session
            for (auto& other : hosts_)
                if (other.get() != &h && other.get() != &to) write(h, *other, 1);
        duration const pause = milliseconds(dice_.between(20, is_long_ && !calm ? 3000 : 400));
        at(now_ + pause, [this, &h] { traffic(h); });
    }

    /// A host that moves while the other end loses its session detects that only after 15 s (whitepaper 6.5), and the
    /// other end cannot reach it. So in one simulation either a host moves, or hosts lose sessions.
    /// Returns: whether a host may move.
    bool plan_changes() {
        bool const travel = dice_.chance(0.3) && !exchanging_; // exchanges begin new sessions
        for (std::uint64_t n = 1 + dice_.below(5); n > 0; --n) {
            instant const when =
                now_ + milliseconds(dice_.between(0, (bad_until_ - now_).nanoseconds / 1'000'000 - 3000));
            std::uint64_t const what = dice_.below(5);
            at(when, [this, what, travel] {
                if (what == 0) return set_keepalive();
                if (travel) return roam();
                if (what == 1) return re_add_peer();
                if (what == 2) return change_private_key();
                if (what == 3) return go_down();
                change_preshared_key();
            });
        }
        return travel;
    }

    void re_add_peer() {
        host& h = random_host();
        host const& peer = another_host(h);
        note("re-adds", h.number, peer.number);
        std::vector<wg::change> changes;
        changes.push_back(wg::change::peer(peer.public_key));
        changes.push_back(wg::change::remove_peer());
        add_peer(changes, h, peer);
        configure(h, changes);
    }

    void change_private_key() {
        host& h = random_host();
        note("changes key", h.number, 0);
        byte key[wg::key_bytes];
        dice_.fill(key);
        std::vector<wg::change> changes;
        changes.push_back(wg::change::private_key(key));
        configure(h, changes);
        at(now_ + milliseconds(dice_.between(1, 2999)), [this, &h] {
            note("restores key", h.number, 0);
            std::vector<wg::change> back;
            back.push_back(wg::change::private_key(h.private_key.expose()));
            configure(h, back);
        });
    }

    void go_down() {
        host& h = random_host();
        at_work_ = h.number;
        note("down", h.number, 0);
        h.core.down(now_);
        at(now_ + milliseconds(dice_.between(1, 2999)), [this, &h] {
            at_work_ = h.number;
            note("up", h.number, 0);
            h.core.up();
            transmit_pending(h);
        });
    }

    /// Moves the first host. If two hosts moved at once, neither could reach the other.
    void roam() {
        host& h = *hosts_[0];
        h.move(++h.moves);
        note("roams", h.number, h.outer.port);
        at_work_ = h.number;
        h.core.forget_sources();
    }

    void change_preshared_key() {
        dice_.fill(preshared_key_);
        note("changes psk", 0, preshared_key_[0]);
        for (auto& h : hosts_) {
            at(now_ + milliseconds(dice_.between(0, 1000)), [this, &h = *h] {
                std::vector<wg::change> changes;
                for (auto& other : hosts_) {
                    if (other.get() == &h) continue;
                    changes.push_back(wg::change::peer(other->public_key));
                    changes.push_back(wg::change::preshared_key(preshared_key_));
                }
                configure(h, changes);
            });
        }
    }

    // --- exchanges and ratchets

    /// Hosts agree on preshared keys, of which a key serves for some sessions or for one.
    void choose_exchanges() {
        exchanging_ = true;
        recovery_ = seconds(17);
        all_require_ = dice_.chance(0.5);
        for (auto& h : hosts_) {
            h->exchange = all_require_ || dice_.chance(0.5) ? wg::post_quantum::require : wg::post_quantum::prefer;
            if (dice_.chance(0.5)) h->core.set_exchange_interval({});
        }
    }

    void choose_ratchet() {
        epoch_s_ = static_cast<std::uint32_t>(dice_.between(10, 25));
        dice_.fill(preshared_key_);
    }

    /// The clocks of hosts differ by less than an epoch. Sometimes the last host does not know the date.
    void choose_clocks() {
        for (auto& h : hosts_) h->wall = right_clock(*h);
        if (dice_.chance(0.1)) undated_ = hosts_.back().get();
        if (undated_ != nullptr) undated_->wall = {};
    }
    duration right_clock(host const& h) {
        if (&h == undated_) return {};
        return host::right_wall + milliseconds(dice_.between(0, std::int64_t{epoch_s_} * 1000 - 1));
    }

    void plan_ratchet_faults(bool travel) {
        std::int64_t const until_ms = (bad_until_ - now_).nanoseconds / 1'000'000 - 3000;
        for (std::uint64_t n = dice_.below(6); n > 0; --n) {
            std::uint64_t const what = dice_.below(5);
            at(now_ + milliseconds(dice_.between(0, until_ms)), [this, what, travel] {
                if (what == 0 || travel) return jump();
                restart(what);
            });
        }
    }

    /// The clock of a host shows a wrong time for up to three seconds. Only the first host may show a later one, and
    /// only if all hosts know the date. Otherwise two hosts could go there together, and a state that is lost then
    /// could not be made up for.
    void jump() {
        host& h = random_host();
        std::int64_t const epochs = dice_.between(-50, h.number == 0 && undated_ == nullptr ? 50 : -1);
        note("clock jumps", h.number, static_cast<std::uint64_t>(epochs));
        if (&h != undated_) h.wall = h.wall + seconds(epochs * epoch_s_);
        at(now_ + milliseconds(dice_.between(1, 2999)), [this, &h] {
            note("clock is right", h.number, 0);
            h.wall = right_clock(h);
        });
    }

    /// A host forgets its sessions with a peer, which takes longer than a datagram is under way. It then finds what it
    /// has stored: as it was last (1, 2), nothing (3), or from a backup (4). With 2 the configured key was removed from
    /// the configuration, if what is stored follows it.
    void restart(std::uint64_t how) {
        host& h = random_host();
        host const& peer = another_host(h);
        auto& records = h.records;
        if (how == 3) records.now.clear();
        if (how == 4) std::swap(records.now, records.backup);
        else records.backup = records.now;
        note("restarts", h.number, how);
        h.restarted_at = now_;
        std::vector<wg::change> changes;
        changes.push_back(wg::change::peer(peer.public_key));
        changes.push_back(wg::change::remove_peer());
        add_peer(changes, h, peer);
        auto const stored = records.now.find(peer.public_key);
        if (how == 2 && stored != records.now.end() &&
            wg::ratchet().load(wg::bundled::hash{}, stored->second, preshared_key_, epoch_s_))
            std::erase_if(changes, [](wg::change const& c) { return c.what() == wg::change::kind::preshared_key; });
        configure(h, changes);
    }

    /// No pair goes further than one epoch beyond the clock of a host that is early by a bit less than an epoch.
    void check_epoch(std::uint64_t epoch) {
        std::int64_t const now_s = (now_ + host::right_wall).nanoseconds / 1'000'000'000;
        if (epoch > static_cast<std::uint64_t>(now_s / epoch_s_ + 3) && epoch > 100) fail("an epoch of the future");
    }

    void set_keepalive() {
        host& h = random_host();
        std::vector<wg::change> changes;
        changes.push_back(wg::change::peer(another_host(h).public_key));
        changes.push_back(wg::change::update_only());
        changes.push_back(wg::change::persistent_keepalive(static_cast<std::uint16_t>(dice_.below(5))));
        note("keepalive", h.number, changes.back().number());
        configure(h, changes);
    }

    void stop_faults() {
        note("calm", 0, 0);
        faults_ = {};
    }

    void choose_faults() {
        double const bad = is_long_ ? 0.05 : 0.3;
        auto const some = [&](double most) {
            return dice_.chance(0.6) ? most * static_cast<double>(dice_.below(1000)) / 1000 : 0.0;
        };
        faults_.loss = some(bad * 1.5);
        faults_.duplication = some(bad);
        faults_.corruption = some(bad);
        faults_.misdelivery = some(bad);
        faults_.greatest_delay = milliseconds(dice_.chance(0.5) ? dice_.between(1, 50) : dice_.between(50, 2000));
    }

    // --- hosts

    instant deadline_of(host& h) { return h.core.next_deadline(); }

    void on_deadline(host& h) {
        at_work_ = h.number;
        h.core.on_deadline(now_);
        transmit_pending(h);
        if (deadline_of(h) <= now_) fail("a deadline that does not pass");
    }

    /// The user of `h` sends packets to a host, all in one batch.
    void write(host& h, host const& to, std::size_t count) {
        job jobs[batch];
        for (std::size_t i = 0; i < count; ++i) {
            unsigned const claimed = dice_.chance(0.02) ? 3 - h.number - to.number
                                                        : h.number; // a third host, or an address that no host has
            std::vector<byte> const packet = ledger_.make(h.number, claimed, to.number, now_.nanoseconds, mtu, dice_);
            jobs[i].data = wg::packet(buffers_[i], wg::packet_headroom_bytes, packet.size());
            wg::copy(jobs[i].data.view(), packet);
        }
        at_work_ = h.number;
        note("writes", to.number, count);
        h.core.prepare_outbound({jobs, count}, now_);
        transmit(h, {jobs, count});
        transmit_pending(h);
    }

    void transmit(host& h, std::span<job> jobs) {
        device::crypt(jobs, h.core.aead());
        for (job& j : jobs)
            if (j.next == wg::disposition::send) send(h, j.data.view(), j.where.remote);
        h.core.complete(jobs, now_);
    }

    /// Sends all pending messages of a device.
    void transmit_pending(host& h) {
        job jobs[batch];
        for (int round = 0; round < 1000; ++round) {
            for (std::size_t i = 0; i < batch; ++i) jobs[i].data = wg::packet(buffers_[i], 0);
            std::size_t made = h.core.process_handshakes(jobs, now_);
            if (made == 0) made = h.core.poll_transmit(jobs, now_);
            if (made == 0) return;
            transmit(h, {jobs, made});
        }
        fail("a device that never stops sending");
    }

    void receive(host& h, std::vector<byte> const& datagram, wg::endpoint const& from) {
        job j;
        j.data = wg::packet(buffers_[0], 0, datagram.size());
        wg::copy(j.data.view(), datagram);
        j.where.remote = from;
        at_work_ = h.number;
        note("receives", h.number, checksum(datagram));
        h.core.prepare_inbound({&j, 1}, now_);
        device::crypt({&j, 1}, h.core.aead());
        h.core.complete({&j, 1}, now_);
        if (j.next == wg::disposition::deliver)
            if (char const* const wrong = ledger_.deliver(h.number, j.data.view())) fail(wrong);
        transmit_pending(h);
    }

    // --- the network

    void send(host& from, bytes_view datagram, wg::endpoint const& to) {
        note("sends", from.number, checksum(datagram));
        if (to == stranger()) return fail("sends to an address that no peer has authenticated");
        if (dice_.chance(faults_.loss)) return;
        deliver_later(datagram, from.outer, to);
        if (dice_.chance(faults_.duplication)) deliver_later(datagram, from.outer, to);
        if (dice_.chance(faults_.misdelivery)) misdeliver(random_host(), datagram, to);
    }

    void deliver_later(bytes_view datagram, wg::endpoint const& from, wg::endpoint const& to) {
        std::vector<byte> data(datagram.begin(), datagram.end());
        bool const corrupt = dice_.chance(faults_.corruption);
        if (corrupt) damage(data);
        at(now_ + delay(), [this, data = std::move(data), from, to, sent = now_, sender = owner_of(from)] {
            if (hosts_[sender]->restarted_at > sent) return;
            for (auto& h : hosts_)
                if (h->outer == to) return receive(*h, data, from);
        });
    }

    /// A stranger delivers the datagram to a wrong host (perhaps to its sender), or changes it.
    void misdeliver(host& victim, bytes_view datagram, wg::endpoint const& meant_for) {
        std::vector<byte> data(datagram.begin(), datagram.end());
        if (victim.number == owner_of(meant_for)) {
            // A stranger that forwards an unchanged datagram is a router. A changed mac2 of a handshake message has no
            // effect.
            if (wg::type_of(data) != wg::message_type::transport) return;
            damage(data);
        }
        at(now_ + delay(), [this, &victim, data = std::move(data)] { receive(victim, data, stranger()); });
    }

    /// Changes a datagram: inverts a bit, cuts it, lengthens it, or replaces its end by random bytes.
    void damage(std::vector<byte>& data) {
        switch (dice_.below(4)) {
        case 0: data.resize(dice_.below(data.size())); break;
        case 1: data.resize(std::min(data.size() + 1 + dice_.below(40), buffer_bytes)); break;
        case 2: dice_.fill(bytes(data).subspan(dice_.below(data.size() - 15))); break;
        default: {
            std::uint64_t const bit = dice_.below(8 * data.size());
            data[bit / 8] ^= static_cast<byte>(1 << (bit % 8));
        }
        }
    }

    duration delay() { return {dice_.between(faults_.least_delay.nanoseconds, faults_.greatest_delay.nanoseconds)}; }

    /// The host that has this address, or had it.
    static unsigned owner_of(wg::endpoint const& where) {
        return where.address.octets[where.address.kind == wg::family::v4 ? 3 : 15];
    }
    static wg::endpoint stranger() { return {wg::ip_address::v4(203, 0, 113, 1), 666, 0}; }

    // --- the result

    void check_result() {
        std::size_t delivered_late = 0;
        for (ledger::entry const& e : ledger_.entries()) {
            bool const must = !e.forged && e.sent_ns >= (bad_until_ + recovery_).nanoseconds &&
                              e.sent_ns < (bad_until_ + recovery_ + watched).nanoseconds;
            if (must && !e.delivered)
                return fail("no traffic from " + std::to_string(e.from) + " to " + std::to_string(e.to) + " " +
                            std::to_string(recovery_.nanoseconds / 1'000'000'000) + " s after the faults stopped");
            delivered_late += must;
        }
        if (delivered_late < 10) return fail("too little traffic");
        // A session is renewed after two minutes, or a little later after a loss. A long simulation lasts for twelve.
        for (auto const& h : hosts_)
            if (is_long_ && std::max(h->longest_session, end_ - h->last_session) > seconds(150))
                return fail("host " + std::to_string(h->number) + " did not renew its session in time");
    }

    static constexpr std::size_t buffer_bytes = 2048;

    seeded_random dice_;
    bool verbose_;
    bool is_long_ = false;
    instant now_{}, bad_until_{}, end_{};
    faults faults_;
    byte preshared_key_[wg::key_bytes] = {};
    std::uint32_t epoch_s_ = 0; ///< 0: no ratchet
    host* undated_ = nullptr;   ///< does not know the date
    bool exchanging_ = false;   ///< hosts agree on preshared keys
    /// After the faults stop, traffic has to pass within this time. With exchanges a response may have the wrong key,
    /// and the initiation is sent again twice, after 5.3 s each; the first one may come 5.3 s late.
    duration recovery_ = seconds(10);
    bool all_require_ = false; ///< user data passes only under keys of exchanges
    std::vector<std::unique_ptr<host>> hosts_;
    std::priority_queue<event> events_;
    std::uint64_t order_ = 0;
    ledger ledger_;
    byte buffers_[batch][buffer_bytes];
    unsigned at_work_ = 0;
    std::uint64_t trace_ = 0;
    std::string error_;
};

} // namespace simulation

#endif
