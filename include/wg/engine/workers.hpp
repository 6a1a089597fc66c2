// SPDX-License-Identifier: BSL-1.0
// Further threads that move the packets of an interface when one thread does not keep up. Folder: engine; all calls by
// the thread that runs the engine.
//
//     wg::workers<my_policies> workers{engine, tun, udp, 3};
//     engine.run_once(...);
//     if (engine.busy()) workers.help();
//
// All threads are equal: each has a lane, which reads the TUN device's queues and the socket. A thread is created when
// it is first needed, and sleeps when it finds nothing to do.
#ifndef WG_ENGINE_WORKERS_HPP
#define WG_ENGINE_WORKERS_HPP

#include "engine.hpp"

#include <memory>
#include <type_traits>

namespace wg { inline namespace WG_ABI {

/// Up to 63 threads beside the engine's own.
template <class Policies> class workers {
    static_assert(engine_policies<Policies>,
                  "the bundle lacks a policy or a member that an engine needs: see policy.hpp");
    static_assert(threads_with_cell<typename Policies::threads> && threads_with_thread<typename Policies::threads>,
                  "workers need a `threads` policy with `cell` and `thread`, such as wg::os::threads");
    static_assert(tun_device_with_share<typename Policies::tun_device>, "workers need `tun_device::share`");
    static_assert(udp_socket_with_share<typename Policies::udp_socket>, "workers need `udp_socket::share`");
    using threads = typename Policies::threads;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;

public:
    /// Threads at most, beside the engine's own.
    static constexpr std::size_t max_count = 63;

    /// Creates no thread yet, and later `count` at most. All references outlive this object.
    workers(engine<Policies>& first, tun_type& tun, socket_type& socket, std::size_t count) noexcept
        : engine_(first), tun_(tun), socket_(socket), count_((std::min)(count, max_count)) {
        if constexpr (keeps_checks) ++engine_.shared().workers;
    }
    workers(workers const&) = delete;
    workers& operator=(workers const&) = delete;
    /// Ends all threads, and waits for them.
    ~workers() {
        stopping_.store(1);
        for (std::size_t i = 0; i < made_; ++i) workers_[i]->called.store(1);
        if constexpr (keeps_checks) --engine_.shared().workers;
    }

    /// Threads created so far.
    std::size_t size() const noexcept { return made_; }

    /// Adds one thread to those at work: wakes a sleeping thread, or else creates one. To be called when
    /// `engine::busy` says that there is more work than gets done. Does nothing when all threads are at work.
    void help() noexcept {
        for (std::size_t i = 0; i < made_; ++i)
            if (workers_[i]->called.load() == 0) return workers_[i]->called.store(1);
        if (made_ < count_ && !add()) count_ = made_; // the host has no memory or no threads left: do not try again
    }

    /// Stops the threads during its life. The engine's `configure`, `up`, `down` and `refresh_mtu` need that.
    class pause {
    public:
        /// Waits until every thread has finished its step.
        explicit pause(workers& all) noexcept : all_(all) {
            all_.paused_.store(1);
            for (std::size_t i = 0; i < all_.made_; ++i) {
                all_.workers_[i]->stepping.lock();
                all_.workers_[i]->socket.close();
            }
        }
        pause(pause const&) = delete;
        pause& operator=(pause const&) = delete;
        /// Lets the threads go on, with the interface as it is now.
        ~pause() {
            for (std::size_t i = 0; i < all_.made_; ++i) {
                all_.workers_[i]->join(all_);
                all_.workers_[i]->stepping.unlock();
            }
            all_.paused_.store(0);
        }

    private:
        workers& all_;
    };

private:
    struct worker {
        worker(workers& of, tun_type&& shared) noexcept
            : all(of), tun(std::move(shared)), packets(of.engine_.shared(), tun, socket) {}

        /// Takes over the MTU and the sockets of the interface.
        void join(workers const& of) noexcept {
            able = packets.make_room(of.tun_.mtu()) == status::ok && socket.share(of.socket_);
        }

        void run() noexcept {
            for (;;) {
                while (called.load() == 0 && all.stopping_.load() == 0) called.wait(0);
                while (all.paused_.load() != 0) all.paused_.wait(1);
                if (all.stopping_.load() != 0) return;
                stepping.lock();
                // Only this thread can finish a frame that it has read in part.
                bool const step = able || packets.unfinished();
                packets.look_for_snapshot();
                bool const moved = step && packets.step(true, able) == status::ok && packets.moved();
                stepping.unlock();
                if (!moved) called.store(0); // may undo a call of `help`; a busy engine repeats it
            }
        }

        workers& all;
        tun_type tun;
        socket_type socket{};
        lane<Policies> packets;
        bool able = false;                ///< has buffers and a socket; guarded by `stepping`
        typename threads::mutex stepping; ///< held during a step
        typename threads::cell called;    ///< 0: the thread sleeps
        typename threads::thread thread;  ///< last, so that it ends before the other members are destroyed
    };

    bool add() noexcept {
        result<tun_type> shared = tun_.share();
        if (!shared) return false;
        std::unique_ptr<worker> made(new (std::nothrow) worker(*this, std::move(*shared)));
        if (!made) return false;
        made->join(*this);
        made->called.store(1);
        if (!made->able || !made->thread.template start<[](worker& w) noexcept { w.run(); }>(*made)) return false;
        workers_[made_++] = std::move(made);
        return true;
    }

    engine<Policies>& engine_;
    tun_type& tun_;
    socket_type& socket_;
    std::size_t count_;
    std::size_t made_ = 0;
    typename threads::cell stopping_;
    typename threads::cell paused_;
    std::array<std::unique_ptr<worker>, max_count> workers_{};
};

/// Stands in for `workers` where the policies lack a member that it needs: moves no packets, and the engine's thread
/// does all the work.
template <class Policies> class no_workers {
public:
    /// Creates no thread, whatever `count` is.
    no_workers(engine<Policies>&, typename Policies::tun_device&, typename Policies::udp_socket&,
               std::size_t /*count*/) noexcept {}
    /// Threads created so far: none.
    std::size_t size() const noexcept { return 0; }
    /// Does nothing.
    void help() noexcept {}
    /// Does nothing.
    struct pause {
        /// There is no thread to stop.
        explicit pause(no_workers&) noexcept {}
    };
};

/// `workers` if the policies have all that it needs, else `no_workers`.
template <class Policies>
using workers_if_possible = std::conditional_t<
    threads_with_cell<typename Policies::threads> && threads_with_thread<typename Policies::threads> &&
        tun_device_with_share<typename Policies::tun_device> && udp_socket_with_share<typename Policies::udp_socket>,
    workers<Policies>, no_workers<Policies>>;

}} // namespace wg::WG_ABI

#endif
