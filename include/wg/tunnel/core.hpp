// SPDX-License-Identifier: BSL-1.0
// The engine of a tunnel, its thread, and its end in the TCP/IP stack. Folder: tunnel. Any thread.
//
// Two locks. The engine's lock guards the engine; its thread holds it during a step. The stack's lock guards the TCP/IP
// stack. A thread that holds the stack's lock never takes the engine's lock.
#ifndef WG_TUNNEL_CORE_HPP
#define WG_TUNNEL_CORE_HPP

#include "../control/quick.hpp"
#include "../default_policies.hpp"
#include "../engine/engine.hpp"
#include "host_names.hpp"
#include "waiting.hpp"

#include <atomic>

namespace wg { inline namespace WG_ABI {

/// The policies of a tunnel inside the process: those of the host, but the TUN device is an interface of `Stack`.
template <ip_stack Stack, class Base = default_policies> struct tunnel_policies : Base {
    using tun_device = typename Stack::interface; ///< the stack's end of the tunnel
};

/// A link of an object that ends with its tunnel: the tunnel calls `stop` under the stack's lock.
class tunnel_part {
public:
    tunnel_part() noexcept = default;
    tunnel_part(tunnel_part const&) = delete;
    tunnel_part& operator=(tunnel_part const&) = delete;

    event stop{}; ///< called when the tunnel ends

private:
    template <class, ip_stack> friend class tunnel_core;
    tunnel_part *next_ = nullptr, *before_ = nullptr;
};

/// What a tunnel is made of. Streams, listeners and ports keep it alive; after `stop` they only report `gone`.
template <class Policies, ip_stack Stack> class tunnel_core {
public:
    /// Not started.
    tunnel_core() noexcept : engine_(device_, interface_, socket_), waiter_(-1, socket_.fd()) {}
    tunnel_core(tunnel_core const&) = delete;
    tunnel_core& operator=(tunnel_core const&) = delete;
    /// Stops the tunnel.
    ~tunnel_core() { stop(duration{}); }

    /// Configures the tunnel and starts its thread. Returns: ok, or the reason for `why`'s sentence.
    status start(quick::configuration const& from, std::string& why) noexcept {
        auto const failed = [&](status reason, std::string sentence) {
            why = std::move(sentence);
            return reason;
        };
        if (!waiter_) return failed(status::io_error, "the process has no descriptors left");
        std::size_t const mtu = from.mtu_bytes != 0 ? from.mtu_bytes : default_mtu_bytes;
        {
            std::lock_guard const held(Stack::mutex());
            if (interface_.add(mtu, wake_from_stack, this) != status::ok)
                return failed(status::no_memory, "no memory for the interface; a process has at most 254");
            attached_ = true;
            for (quick::interface_address const& a : from.addresses)
                if (status const added = interface_.add_address(a.address); added != status::ok)
                    return failed(added, "Address " + std::string(text::print(a.address).view()) +
                                             ": a tunnel inside a program holds one IPv4 and three IPv6 addresses");
        }
        secret_vector<change> changes;
        if (!quick::append_changes(from, changes)) return failed(status::no_memory, "no memory");
        for (quick::peer const& p : from.peers) {
            if (p.endpoint.host.empty() || p.endpoint.address) continue;
            auto const found = resolve_on_host(p.endpoint.host);
            if (!found)
                return failed(found.why(), "Endpoint " + p.endpoint.host + " in line " + std::to_string(p.line) + ": " +
                                               describe(found.why()));
            if (!changes.append(change::peer(p.public_key)) ||
                !changes.append(change::endpoint({*found, p.endpoint.port, 0})))
                return failed(status::no_memory, "no memory");
        }
        if (status const done = engine_.configure(changes.view()); done != status::ok)
            return failed(done, std::string("configuration refused: ") + describe(done));
        if (status const up = engine_.up(); up != status::ok)
            return failed(up, "UDP port " + std::to_string(from.listen_port) + ": " + describe(up));
        if (!thread_.template start<[](tunnel_core& self) noexcept { self.run(); }>(*this))
            return failed(status::no_memory, "no thread is left");
        started_ = true;
        return status::ok;
    }

    /// Ends the tunnel: waits until all that was written is acknowledged, for at most `linger`; then ends the
    /// connections that are left, and tells their other ends.
    void stop(duration linger) noexcept {
        if (started_ && !stopping_.load()) {
            std::unique_lock held(Stack::mutex());
            lingering_ = true;
            (void)wait_until_ready<Stack>(held, stepped_, linger, nullptr,
                                          [&]() noexcept { return interface_.is_flushed(); });
            end_parts();
            (void)wait_until_ready<Stack>(held, stepped_, most_farewell, nullptr,
                                          [&]() noexcept { return !interface_.has_waiting(); });
        }
        stopping_.store(true);
        wake();
        thread_.join();
        std::lock_guard const held(Stack::mutex());
        end_parts();
        if (std::exchange(attached_, false)) interface_.remove();
    }

    /// The stack's end.
    typename Stack::interface& interface() noexcept { return interface_; }

    /// Adds an object that ends with the tunnel. Under the stack's lock.
    void link(tunnel_part& part) noexcept {
        part.before_ = nullptr;
        part.next_ = first_part_;
        if (first_part_ != nullptr) first_part_->before_ = &part;
        first_part_ = &part;
    }
    /// Removes it. Under the stack's lock.
    void unlink(tunnel_part& part) noexcept {
        if (first_part_ != &part && part.before_ == nullptr) return; // not linked
        (part.before_ != nullptr ? part.before_->next_ : first_part_) = part.next_;
        if (part.next_ != nullptr) part.next_->before_ = part.before_;
        part.next_ = part.before_ = nullptr;
    }

    /// Calls `use(engine)` while the engine's thread waits.
    template <class Use> auto with_engine(Use use) noexcept {
        callers_.fetch_add(1);
        wake();
        struct leave {
            std::atomic<unsigned>& callers;
            ~leave() {
                callers.fetch_sub(1);
                callers.notify_all();
            }
        } const left{callers_};
        std::lock_guard const held(engine_mutex_);
        return use(engine_);
    }

private:
    using socket_type = typename Policies::udp_socket;
    static constexpr duration most_farewell = milliseconds(200); ///< for the packets that end the connections

    void end_parts() noexcept {
        while (first_part_ != nullptr) {
            tunnel_part* const part = first_part_;
            unlink(*part);
            part->stop();
        }
    }

    void run() noexcept {
        duration until_timer{};
        while (!stopping_.load()) {
            // A thread that wants the engine gets it between two steps.
            for (unsigned callers = callers_.load(); callers != 0; callers = callers_.load()) callers_.wait(callers);
            instant deadline;
            {
                std::lock_guard const held(engine_mutex_);
                deadline = (std::min)(engine_.next_deadline(), clock_.now() + until_timer);
            }
            sleeping_.store(true);
            bool const has_work = interface_.has_waiting() || stopping_.load() || callers_.load() != 0;
            readiness ready = waiter_.wait(has_work ? instant{} : deadline);
            sleeping_.store(false);
            {
                std::lock_guard const held(Stack::mutex());
                until_timer = Stack::run_timers();
            }
            ready.tun = interface_.has_waiting();
            {
                std::lock_guard const held(engine_mutex_);
                (void)engine_.run_once(ready);
            }
            std::lock_guard const held(Stack::mutex());
            if (lingering_) stepped_.notify_all();
        }
    }

    void wake() noexcept {
        if (sleeping_.exchange(false)) waiter_.wake();
    }
    static void wake_from_stack(void* self) noexcept { static_cast<tunnel_core*>(self)->wake(); }

    device<Policies> device_;
    typename Stack::interface interface_;
    socket_type socket_;
    engine<Policies> engine_;
    typename Policies::waiter waiter_;
    typename Policies::clock_source clock_{};
    std::mutex engine_mutex_;
    std::atomic<unsigned> callers_{0};
    std::atomic<bool> sleeping_{false}, stopping_{false};
    std::condition_variable stepped_; ///< notified after each step while the tunnel ends
    bool lingering_ = false, attached_ = false, started_ = false;
    tunnel_part* first_part_ = nullptr;
    /// A thread that can be joined before its end.
    class worker {
    public:
        template <auto Work, class Context> bool start(Context& context) noexcept {
            thread_.reset(new (std::nothrow) os::threads::thread);
            if (thread_ && thread_->template start<Work>(context)) return true;
            thread_.reset();
            return false;
        }
        void join() noexcept { thread_.reset(); }

    private:
        std::unique_ptr<os::threads::thread> thread_{};
    };
    worker thread_; ///< last: it ends first
};

}} // namespace wg::WG_ABI

#endif
