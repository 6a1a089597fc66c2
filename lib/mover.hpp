// SPDX-License-Identifier: BSL-1.0
// Moves bytes between descriptors of a program and the connections, listeners and UDP ports of a tunnel.
// Folder: lib. One thread of its own; `add` and the questions: any thread.
//
// Each object of the tunnel has an entry with one end of a socketpair(2); the program has the other end. The stack
// calls `on_change` under its lock when an object has changed: the entry is then put into the list of ready entries.
// epoll(7) reports changes of the socket, edge-triggered. An entry that is ready is moved by calls that do not wait,
// for at most `turns` pieces; then the next entry has its turn.
//
// Locks: `entries_mutex_`, then the stack's lock, then `ready_mutex_`.
#ifndef WG_LIB_MOVER_HPP
#define WG_LIB_MOVER_HPP

#include "descriptor_calls.hpp"
#include "values.hpp"

#include <wg/tunnel.hpp>

#include <fcntl.h>
#include <poll.h>

namespace wg { inline namespace WG_ABI { namespace c {

/// What the listener's end of the program tells the mover: the number of an accepted descriptor.
struct accepted_note {
    unsigned long long cookie; ///< of the program's end of the connection
    int number;                ///< its descriptor
    pid_t process;             ///< the process in which it has that number
};

/// Closes the end `ours` of a connection such that the program reads what it was sent, and then ECONNRESET. Linux
/// reports that when the closed end has unread data, so a byte is put there through the program's own end `number`.
/// If that is no longer the socket of this cookie, the program reads the end of the data.
inline void close_with_reset(int ours, unsigned long long cookie, int number) noexcept {
    if (number >= 0 && cookie != 0 && cookie_of(number) == cookie) {
        int const its = ::fcntl(number, F_DUPFD_CLOEXEC, 0);
        if (its >= 0) {
            if (cookie_of(its) == cookie) (void)!::send(its, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
            ::close(its);
        }
    }
    ::close(ours);
}

/// Bytes that one side gave and the other did not take yet. No memory while there are none.
class rest_of_piece {
public:
    /// Whether there are none.
    bool empty() const noexcept { return first_ == size_; }
    /// The bytes.
    bytes_view view() const noexcept { return bytes_view(data_.get() + first_, size_ - first_); }
    /// Keeps a copy, in place of what was kept. Returns: false without memory.
    bool keep(bytes_view data) noexcept {
        clear();
        if (data.empty()) return true;
        data_.reset(new (std::nothrow) byte[data.size()]);
        if (!data_) return false;
        std::memcpy(data_.get(), data.data(), data.size());
        size_ = data.size();
        return true;
    }
    /// Forgets the first bytes.
    void drop(std::size_t count) noexcept {
        first_ += count;
        if (first_ == size_) clear();
    }
    /// Forgets all.
    void clear() noexcept {
        data_.reset();
        first_ = size_ = 0;
    }

private:
    std::unique_ptr<byte[]> data_{};
    std::size_t first_ = 0, size_ = 0;
};

/// The mover of one tunnel.
template <class Tunnel, class Calls = descriptor_calls> class mover {
    using stream = typename Tunnel::stream;
    using listener = typename Tunnel::listener;
    using udp_port = typename Tunnel::udp_port;
    static constexpr std::size_t piece_bytes = 65536; ///< that one step moves
    static constexpr int turns = 8;                   ///< pieces of an entry before the next entry has its turn
    static constexpr std::size_t remembered = 1024;   ///< connections that ended
    static constexpr std::size_t buckets = 1024;      ///< of the table of connections
    static constexpr int retry_ms = 50;               ///< after the system has refused a descriptor

    enum class outcome {
        waits, ///< until something changes
        again, ///< there is more to move
        done   ///< the entry ends
    };

public:
    mover() noexcept : epoll_(Calls::make_epoll()), wake_(Calls::make_eventfd()) {}
    mover(mover const&) = delete;
    mover& operator=(mover const&) = delete;
    /// Stops, and closes all descriptors that are left.
    ~mover() {
        stop();
        clear();
        if (epoll_ >= 0) ::close(epoll_);
        if (wake_ >= 0) ::close(wake_);
    }

    /// Starts the thread, which also calls `deliver` after `wake`. Returns: WG_OK; WG_NO_DESCRIPTOR; WG_NO_MEMORY.
    int start(event deliver) noexcept {
        if (epoll_ < 0 || wake_ < 0 || !Calls::watch(epoll_, wake_, nullptr)) return WG_NO_DESCRIPTOR;
        deliver_ = deliver;
        thread_.reset(new (std::nothrow) os::threads::thread);
        if (!thread_ || !thread_->template start<[](mover& self) noexcept { self.run(); }>(*this)) {
            thread_.reset();
            return WG_NO_MEMORY;
        }
        return WG_OK;
    }
    /// Wakes the thread. Any thread, under any lock.
    void wake() noexcept {
        if (!sleeping_.exchange(false)) return;
        std::uint64_t const one = 1;
        (void)!::write(wake_, &one, sizeof one);
    }
    /// Waits until all that the program has written is with the stack, for at most `most`.
    void drain(duration most) noexcept {
        if (!thread_ || most <= duration{}) return;
        std::unique_lock held(entries_mutex_);
        draining_.store(true);
        awake_for_drain();
        drained_.wait_for(held, std::chrono::nanoseconds(most.nanoseconds), [&] { return !draining_.load(); });
        draining_.store(false);
    }
    /// Ends the thread.
    void stop() noexcept {
        stopping_.store(true);
        awake_for_drain();
        thread_.reset();
    }
    /// Closes all descriptors. After `stop`.
    void clear() noexcept {
        for (;;) {
            std::unique_ptr<entry> e;
            {
                std::lock_guard const held(entries_mutex_);
                closed_ = true;
                if (first_ == nullptr) return;
                // Listeners last: they know the numbers of accepted descriptors.
                entry* next = first_;
                while (next->as_listener() != nullptr && next->next != nullptr) next = next->next;
                e.reset(next);
                unlink(*e);
            }
            (void)e->ended_with();
            e->end();
            forget(*e);
        }
    }

    /// Gives the program a descriptor for a connection. Returns: the descriptor; WG_NO_DESCRIPTOR; WG_NO_MEMORY;
    /// WG_GONE.
    int add(stream&& from) noexcept {
        int ends[2];
        if (int const why = make_pair(SOCK_STREAM, ends); why != WG_OK) return why;
        return add(std::unique_ptr<entry>(new (std::nothrow) stream_entry(std::move(from))), ends);
    }
    /// The same for a listener.
    int add(listener&& from) noexcept {
        int ends[2];
        if (int const why = make_pair(SOCK_SEQPACKET, ends); why != WG_OK) return why;
        // Few connections wait in the socket; the others wait in the stack, where the backlog limits them.
        int const least = 1;
        (void)::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
        return add(std::unique_ptr<entry>(new (std::nothrow) listener_entry(std::move(from))), ends);
    }
    /// The same for a UDP port. `to`: the only other end; family::none: each message starts with an address.
    int add(udp_port&& from, endpoint const& to) noexcept {
        int ends[2];
        if (int const why = make_pair(SOCK_SEQPACKET, ends); why != WG_OK) return why;
        return add(std::unique_ptr<entry>(new (std::nothrow) udp_entry(std::move(from), to)), ends);
    }

    /// Returns: 1, if the program's descriptor is an open connection; the status with which it has ended; WG_UNKNOWN.
    int state_of(int fd) noexcept {
        unsigned long long const cookie = cookie_of(fd);
        std::lock_guard const held(entries_mutex_);
        if (entry const* const e = find(cookie)) return e->state();
        for (ended_t const& e : ended_)
            if (cookie != 0 && e.cookie == cookie) return e.why;
        return WG_UNKNOWN;
    }
    /// Both ends of a connection. Returns: false if the descriptor is no open one.
    bool addresses_of(int fd, endpoint& local, endpoint& remote) noexcept {
        unsigned long long const cookie = cookie_of(fd);
        std::lock_guard const held(entries_mutex_);
        entry const* const e = find(cookie);
        return e != nullptr && e->addresses(local, remote);
    }

private:
    struct listener_entry;

    /// One descriptor. The thread of the mover uses it, except where it says otherwise.
    struct entry {
        entry() noexcept = default;
        entry(entry const&) = delete;
        entry& operator=(entry const&) = delete;
        virtual ~entry() = default;

        virtual outcome move(mover& by) noexcept = 0;              ///< moves what can be moved
        virtual void observe(event changed) noexcept = 0;          ///< sets the function that the stack calls
        virtual void end() noexcept = 0;                           ///< closes the descriptor
        virtual int ended_with() noexcept { return WG_UNKNOWN; }   ///< WG_UNKNOWN: not remembered
        virtual bool has_unsent() const noexcept { return false; } ///< whether bytes of the program wait for room
        virtual listener_entry* as_listener() noexcept { return nullptr; } ///< this, if it is a listener
        virtual int state() const noexcept { return WG_UNKNOWN; }          ///< any thread, under `entries_mutex_`
        virtual bool addresses(endpoint&, endpoint&) const noexcept { return false; } ///< the same

        mover* owner = nullptr;
        int fd = -1;                   ///< our end
        unsigned long long cookie = 0; ///< of the program's end
        int number = -1;               ///< the program's descriptor, as far as it is known
        bool is_readable = true;       ///< until recv(2) says EAGAIN
        bool is_writable = true;       ///< until send(2) says EAGAIN
        bool is_closed = false;        ///< the program has closed its end
        bool is_starved = false;       ///< try again soon: the system has refused something
        bool is_ready = false;         ///< in the list of ready entries; under `ready_mutex_`
        entry *ready_next = nullptr, *ready_before = nullptr;
        entry *next = nullptr, *before = nullptr; ///< of all entries; under `entries_mutex_`
        entry* next_in_bucket = nullptr;
    };

    struct stream_entry final : entry {
        explicit stream_entry(stream&& from) noexcept : s(std::move(from)) {}

        outcome move(mover& by) noexcept override {
            bool const more_out = from_program(by), more_in = from_network(by);
            if (in.empty() && read_failure != status::ok) return finished_with(read_failure);
            if (in.empty() && network_ended && write_failure != status::ok) return finished_with(write_failure);
            if (in.empty() && network_ended && finished) return finished_with(status::ok);
            if (this->is_closed && (resets || (out.empty() && (program_ended || write_failure != status::ok))))
                return finished_with(status::ok);
            return more_out || more_in ? outcome::again : outcome::waits;
        }
        void observe(event changed) noexcept override { s.on_change(changed); }
        void end() noexcept override {
            if (this->is_closed && (resets || !in.empty())) s.reset();
            if (why != status::ok && !this->is_closed) close_with_reset(this->fd, this->cookie, this->number);
            else ::close(this->fd);
        }
        int ended_with() noexcept override {
            if (!is_over) why = status::gone;
            return this->is_closed && !network_ended ? WG_UNKNOWN : to_c(why);
        }
        bool has_unsent() const noexcept override { return !out.empty() && write_failure == status::ok; }
        int state() const noexcept override { return network_ended.load() ? int{WG_OK} : 1; }
        bool addresses(endpoint& local, endpoint& remote) const noexcept override {
            local = s.local();
            remote = s.remote();
            return true;
        }

    private:
        outcome finished_with(status reason) noexcept {
            why = reason;
            is_over = true;
            return outcome::done;
        }
        /// Returns: whether there is more.
        bool from_program(mover& by) noexcept {
            for (int turn = 0; turn < turns; ++turn) {
                if (write_failure != status::ok) return false;
                if (!out.empty()) {
                    out.drop(write(out.view()));
                    if (write_failure != status::ok) out.clear();
                    if (!out.empty()) return false; // the stack calls `on_change` when there is room
                }
                if (program_ended) {
                    if (!this->is_closed && !std::exchange(finished, true)) s.finish();
                    return false;
                }
                if (!this->is_readable) return false;
                ssize_t const got = ::recv(this->fd, by.piece_, piece_bytes, MSG_DONTWAIT);
                if (got < 0 && errno == EINTR) continue;
                if (got < 0 && errno != ECONNRESET) {
                    this->is_readable = false;
                    return false;
                }
                if (got <= 0) { // ECONNRESET: the program has closed its end and did not read all
                    program_ended = true;
                    if (got < 0) this->is_closed = resets = true;
                    continue;
                }
                bytes_view const piece(by.piece_, static_cast<std::size_t>(got));
                std::size_t const sent = write(piece);
                if (write_failure == status::ok && !out.keep(piece.subspan(sent))) write_failure = status::no_memory;
            }
            return true;
        }
        bool from_network(mover& by) noexcept {
            for (int turn = 0; turn < turns; ++turn) {
                if (!in.empty()) {
                    in.drop(send(in.view()));
                    if (discards) in.clear();
                    if (!in.empty()) return false;
                }
                if (network_ended || read_failure != status::ok || this->is_closed) return false;
                if (!this->is_writable && !discards) return false;
                auto const got = s.read(bytes(by.piece_, piece_bytes), duration{});
                if (!got) {
                    if (got.why() != status::would_block) read_failure = got.why();
                    return false;
                }
                if (*got == 0) {
                    network_ended.store(true); // before the program can know
                    (void)::shutdown(this->fd, SHUT_WR);
                    return false;
                }
                if (discards) continue;
                bytes_view const piece(by.piece_, *got);
                std::size_t const sent = send(piece);
                if (!discards && !in.keep(piece.subspan(sent))) read_failure = status::no_memory;
            }
            return true;
        }
        std::size_t write(bytes_view data) noexcept {
            auto const sent = s.write(data, duration{});
            if (sent) return *sent;
            if (sent.why() != status::would_block) write_failure = sent.why();
            return 0;
        }
        std::size_t send(bytes_view data) noexcept {
            ssize_t const sent = ::send(this->fd, data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent >= 0) return static_cast<std::size_t>(sent);
            if (errno == EPIPE || errno == ECONNRESET) discards = true; // the program does not read any more
            else this->is_writable = false;
            return 0;
        }

        stream s;
        rest_of_piece out, in;                  ///< to the network, to the program
        bool program_ended = false;             ///< no more data of the program
        bool finished = false;                  ///< the stack knows that
        std::atomic<bool> network_ended{false}; ///< no more data of the other end; the program knows that
        bool discards = false;                  ///< the program reads no more
        bool resets = false; ///< the other end gets a reset, as Linux does for data that nobody reads
        bool is_over = false;
        status write_failure = status::ok, read_failure = status::ok, why = status::ok;
    };

    struct listener_entry final : entry {
        explicit listener_entry(listener&& from) noexcept : l(std::move(from)) {}

        outcome move(mover& by) noexcept override {
            if (this->is_readable) {
                std::lock_guard const held(by.entries_mutex_);
                read_notes(by);
            }
            if (this->is_closed) return outcome::done;
            for (int turn = 0; turn < turns; ++turn) {
                if (waiting < 0) {
                    auto taken = l.accept(duration{});
                    if (!taken) return taken.why() == status::would_block ? outcome::waits : outcome::done;
                    remote = to_c(taken->remote());
                    int const made = by.add(std::move(*taken));
                    if (made < 0) return outcome::waits; // no descriptor is left: the connection ends
                    waiting = made;
                }
                if (!this->is_writable) return outcome::waits;
                if (!Calls::send_with_descriptor(this->fd, &remote, sizeof remote, waiting)) {
                    if (errno == EAGAIN) this->is_writable = false;
                    else this->is_starved = by.is_starved_ = true; // for instance too many descriptors on their way
                    return outcome::waits;
                }
                ::close(std::exchange(waiting, -1));
            }
            return outcome::again;
        }
        void observe(event changed) noexcept override { l.on_change(changed); }
        void end() noexcept override {
            if (waiting >= 0) ::close(std::exchange(waiting, -1));
            ::close(this->fd);
        }

        listener_entry* as_listener() noexcept override { return this; }

        /// Learns the numbers of accepted descriptors. Under `entries_mutex_`.
        void read_notes(mover& by) noexcept {
            this->is_readable = false;
            accepted_note note;
            while (::recv(this->fd, &note, sizeof note, MSG_DONTWAIT) == sizeof note) {
                entry* const e = note.process == ::getpid() ? by.find(note.cookie) : nullptr;
                if (e != nullptr) e->number = note.number;
            }
        }

        listener_entry* next_listener = nullptr; ///< under `entries_mutex_`

    private:
        listener l;
        int waiting = -1; ///< a connection that the program gets next: its end
        wg_address remote{};
    };

    struct udp_entry final : entry {
        udp_entry(udp_port&& from, endpoint const& its) noexcept : u(std::move(from)), to(its) {}

        outcome move(mover& by) noexcept override {
            bool const more_out = from_program(by), more_in = from_network(by);
            if (this->is_closed && !more_out) return outcome::done;
            if (is_gone) return outcome::done;
            return more_out || more_in ? outcome::again : outcome::waits;
        }
        void observe(event changed) noexcept override { u.on_change(changed); }
        void end() noexcept override { ::close(this->fd); }

    private:
        bool is_framed() const noexcept { return to.address.kind == family::none; }

        bool from_program(mover& by) noexcept {
            for (int turn = 0; turn < 4 * turns; ++turn) {
                if (!this->is_readable) return false;
                ssize_t const got = ::recv(this->fd, by.piece_, piece_bytes, MSG_DONTWAIT);
                if (got < 0 && errno == EINTR) continue;
                if (got < 0 || (got == 0 && has_ended())) {
                    this->is_readable = false;
                    return false;
                }
                // What the stack refuses is dropped, as a router drops it.
                bytes_view data(by.piece_, static_cast<std::size_t>(got));
                if (!is_framed()) {
                    (void)u.send_to(data, to);
                } else if (data.size() >= sizeof(wg_address)) {
                    wg_address head;
                    std::memcpy(&head, data.data(), sizeof head);
                    if (auto const where = from_c(head)) (void)u.send_to(data.subspan(sizeof head), *where);
                }
            }
            return true;
        }
        bool from_network(mover& by) noexcept {
            for (int turn = 0; turn < 4 * turns; ++turn) {
                if (!in.empty()) {
                    if (!send(in.view())) return false;
                    in.clear();
                }
                if (this->is_closed || !this->is_writable) return false;
                endpoint from;
                std::size_t const head = is_framed() ? sizeof(wg_address) : 0;
                auto const got = u.receive_from(bytes(by.piece_, piece_bytes).subspan(head), from, duration{});
                if (!got) {
                    is_gone = got.why() != status::would_block;
                    return false;
                }
                if (is_framed()) {
                    wg_address const where = to_c(from);
                    std::memcpy(by.piece_, &where, sizeof where);
                } else if (!(from == to)) {
                    continue;
                }
                bytes_view const message(by.piece_, head + *got);
                if (!send(message)) {
                    (void)in.keep(message);
                    return false;
                }
            }
            return true;
        }
        /// Returns: false if there is no room.
        bool send(bytes_view message) noexcept {
            if (::send(this->fd, message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
            if (errno != EAGAIN) return true; // the program has closed its end
            this->is_writable = false;
            return false;
        }
        /// Tells the end of the socket from an empty message.
        bool has_ended() const noexcept {
            pollfd p{this->fd, POLLIN | POLLRDHUP, 0};
            return ::poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLRDHUP)) != 0;
        }

        udp_port u;
        endpoint to;
        rest_of_piece in;
        bool is_gone = false;
    };

    struct ended_t {
        unsigned long long cookie = 0;
        int why = WG_UNKNOWN;
    };

    static int make_pair(int type, int (&ends)[2]) noexcept {
        if (Calls::make_pair(type, ends)) return WG_OK;
        return errno == EMFILE || errno == ENFILE ? WG_NO_DESCRIPTOR : WG_NO_MEMORY;
    }

    /// Returns: the program's end, which is `ends[1]`.
    int add(std::unique_ptr<entry> made, int (&ends)[2]) noexcept {
        int why = made ? WG_OK : WG_NO_MEMORY;
        if (made) {
            made->owner = this;
            made->fd = ends[0];
            made->cookie = cookie_of(ends[1]);
            made->number = ends[1];
            // The thread may end the entry at once, but not before the lock is released.
            std::lock_guard const held(entries_mutex_);
            if (closed_) why = WG_GONE;
            else if (!Calls::watch(epoll_, ends[0], made.get())) why = WG_NO_MEMORY;
            else {
                entry* const e = made.release();
                link(*e);
                e->observe({[](void* self) noexcept {
                                auto& changed = *static_cast<entry*>(self);
                                changed.owner->mark(changed);
                            },
                            e});
                mark(*e);
                return ends[1];
            }
        }
        ::close(ends[0]);
        ::close(ends[1]);
        return why;
    }

    // --- under `entries_mutex_`

    void link(entry& e) noexcept {
        e.next = first_;
        if (first_ != nullptr) first_->before = &e;
        first_ = &e;
        entry*& bucket = table_[e.cookie % buckets];
        e.next_in_bucket = bucket;
        bucket = &e;
        if (listener_entry* const l = e.as_listener()) l->next_listener = std::exchange(first_listener_, l);
    }
    void unlink(entry& e) noexcept {
        // The number may be that of a connection which the program has accepted just now.
        if (e.as_listener() == nullptr && cookie_of(e.number) != e.cookie)
            for (listener_entry* l = first_listener_; l != nullptr; l = l->next_listener) l->read_notes(*this);
        (e.before != nullptr ? e.before->next : first_) = e.next;
        if (e.next != nullptr) e.next->before = e.before;
        entry** at = &table_[e.cookie % buckets];
        while (*at != &e) at = &(*at)->next_in_bucket;
        *at = e.next_in_bucket;
        if (listener_entry* const l = e.as_listener()) {
            listener_entry** one = &first_listener_;
            while (*one != l) one = &(*one)->next_listener;
            *one = l->next_listener;
        }
    }
    entry* find(unsigned long long cookie) const noexcept {
        if (cookie == 0) return nullptr;
        entry* e = table_[cookie % buckets];
        while (e != nullptr && e->cookie != cookie) e = e->next_in_bucket;
        return e;
    }

    // --- the list of ready entries

    void mark(entry& e) noexcept {
        {
            std::lock_guard const held(ready_mutex_);
            if (std::exchange(e.is_ready, true)) return;
            e.ready_before = last_ready_;
            e.ready_next = nullptr;
            (last_ready_ != nullptr ? last_ready_->ready_next : first_ready_) = &e;
            last_ready_ = &e;
        }
        wake();
    }
    entry* take_ready() noexcept {
        std::lock_guard const held(ready_mutex_);
        entry* const e = first_ready_;
        if (e != nullptr) unmark(*e);
        return e;
    }
    void unmark(entry& e) noexcept {
        if (!std::exchange(e.is_ready, false)) return;
        (e.ready_before != nullptr ? e.ready_before->ready_next : first_ready_) = e.ready_next;
        (e.ready_next != nullptr ? e.ready_next->ready_before : last_ready_) = e.ready_before;
    }
    bool has_ready() noexcept {
        std::lock_guard const held(ready_mutex_);
        return first_ready_ != nullptr;
    }
    /// Before an entry is destroyed: nothing refers to it afterwards.
    void forget(entry& e) noexcept {
        e.observe({});
        std::lock_guard const held(ready_mutex_);
        unmark(e);
    }

    // --- the thread

    void awake_for_drain() noexcept {
        std::uint64_t const one = 1;
        (void)!::write(wake_, &one, sizeof one);
    }

    void run() noexcept {
        static constexpr int most = 256;
        epoll_event found[most];
        while (!stopping_.load()) {
            sleeping_.store(true);
            bool const idle = !has_ready();
            int const patience = !idle || draining_.load() ? 0 : is_starved_ ? retry_ms : -1;
            int const count = ::epoll_wait(epoll_, found, most, patience);
            sleeping_.store(false);
            for (int i = 0; i < count; ++i) take_event(found[i]);
            if (count <= 0 && is_starved_) mark_starved();
            move_ready();
            deliver_();
            if (count <= 0 && draining_.load() && !has_ready()) finish_draining();
        }
    }
    void take_event(epoll_event const& found) noexcept {
        if (found.data.ptr == nullptr) {
            std::uint64_t count;
            (void)!::read(wake_, &count, sizeof count);
            return;
        }
        auto& e = *static_cast<entry*>(found.data.ptr);
        if (found.events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) e.is_readable = true;
        if (found.events & EPOLLOUT) e.is_writable = true;
        if (found.events & EPOLLHUP) e.is_closed = true;
        mark(e);
    }
    /// Moves each entry that is ready now once.
    void move_ready() noexcept {
        entry* last;
        {
            std::lock_guard const held(ready_mutex_);
            last = last_ready_;
        }
        for (bool is_last = last == nullptr; !is_last;) {
            entry* const e = take_ready();
            if (e == nullptr) return;
            is_last = e == last;
            switch (e->move(*this)) {
            case outcome::again: mark(*e); break;
            case outcome::waits: break;
            case outcome::done: remove(e); break;
            }
        }
    }
    void remove(entry* e) noexcept {
        {
            std::lock_guard const held(entries_mutex_);
            unlink(*e);
            if (int const why = e->ended_with(); why != WG_UNKNOWN)
                ended_[ended_count_++ % remembered] = {e->cookie, why};
        }
        e->end();
        forget(*e);
        delete e;
    }
    void mark_starved() noexcept {
        std::lock_guard const held(entries_mutex_);
        is_starved_ = false;
        for (entry* e = first_; e != nullptr; e = e->next)
            if (std::exchange(e->is_starved, false)) mark(*e);
    }
    void finish_draining() noexcept {
        bool is_waiting = false;
        {
            std::lock_guard const held(entries_mutex_);
            for (entry* e = first_; e != nullptr && !is_waiting; e = e->next) is_waiting = e->has_unsent();
            if (!is_waiting) {
                draining_.store(false);
                drained_.notify_all();
                return;
            }
        }
        epoll_event found;
        if (::epoll_wait(epoll_, &found, 1, 1) == 1) take_event(found);
    }

    int epoll_, wake_;
    event deliver_{};
    std::atomic<bool> sleeping_{false}, stopping_{false}, draining_{false};
    std::mutex entries_mutex_, ready_mutex_;
    std::condition_variable drained_;
    bool closed_ = false; ///< no entry is added any more; under `entries_mutex_`
    bool is_starved_ = false;
    entry* first_ = nullptr;
    listener_entry* first_listener_ = nullptr;
    entry* table_[buckets] = {};
    ended_t ended_[remembered]{};
    std::size_t ended_count_ = 0;
    entry *first_ready_ = nullptr, *last_ready_ = nullptr;
    byte piece_[piece_bytes];
    std::unique_ptr<os::threads::thread> thread_{};
};

}}} // namespace wg::WG_ABI::c

#endif
