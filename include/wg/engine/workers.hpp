// SPDX-License-Identifier: BSL-1.0
// Further threads that move the packets of an interface, when one does not keep up. Layer 6; all calls by the thread
// that runs the engine.
//
//     wg::workers<my_policies> workers{engine, tun, udp, 3};
//     engine.run_once(...);
//     if (engine.busy()) workers.help();
//
// All are equal: each has a lane, and takes what is ready from the TUN device's queues and the socket. A thread is made
// when it is needed first, and sleeps when it finds nothing to do.
#ifndef WG_ENGINE_WORKERS_HPP
#define WG_ENGINE_WORKERS_HPP

#include "engine.hpp"

namespace wg { inline namespace WG_ABI {

template <engine_policies Policies>
    requires requires { typename Policies::threads::thread; }
class workers {
    using threads = typename Policies::threads;
    using tun_type = typename Policies::tun_device;
    using socket_type = typename Policies::udp_socket;

public:
    static constexpr std::size_t most = 63; ///< beside the engine's own thread

    /// Up to `count` threads. What is joined outlives this.
    workers(engine<Policies>& first, tun_type& tun, socket_type& socket, std::size_t count) noexcept
        : engine_(first), tun_(tun), socket_(socket), count_((std::min)(count, most)) {}
    workers(workers const&) = delete;
    workers& operator=(workers const&) = delete;
    ~workers() {
        stopping_.store(1);
        for (std::size_t i = 0; i < made_; ++i) workers_[i]->called.store(1);
    }

    std::size_t size() const noexcept { return made_; }

    /// There is more to do than gets done: one more thread sees to it, if there is one that sleeps or that may be made.
    void help() noexcept {
        for (std::size_t i = 0; i < made_; ++i)
            if (workers_[i]->called.load() == 0) return workers_[i]->called.store(1);
        if (made_ < count_ && !add()) count_ = made_; // the host has no more to give
    }

    /// Holds the workers while the interface changes: its MTU, its socket, or whether it is up.
    class pause {
    public:
        explicit pause(workers& all) noexcept : all_(all) {
            all_.paused_.store(1);
            for (std::size_t i = 0; i < all_.made_; ++i) {
                all_.workers_[i]->stepping.lock();
                all_.workers_[i]->socket.close();
            }
        }
        pause(pause const&) = delete;
        pause& operator=(pause const&) = delete;
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

        /// Takes part in the interface as it is now.
        void join(workers const& of) noexcept {
            able = packets.make_room(of.tun_.mtu()) == status::ok && socket.share(of.socket_);
        }

        void run() noexcept {
            for (;;) {
                while (called.load() == 0 && all.stopping_.load() == 0) called.wait(0);
                while (all.paused_.load() != 0) all.paused_.wait(1);
                if (all.stopping_.load() != 0) return;
                stepping.lock();
                // What it has begun to read nobody else can read on.
                bool const step = able || packets.unfinished();
                bool const moved = step && packets.step(true, able) == status::ok && packets.moved();
                stepping.unlock();
                if (!moved) called.store(0); // if the engine has just called, it will again
            }
        }

        workers& all;
        tun_type tun;
        socket_type socket{};
        lane<Policies> packets;
        bool able = false;                ///< guarded by `stepping`
        typename threads::mutex stepping; ///< held while it moves packets
        typename threads::cell called;    ///< 0: it sleeps
        typename threads::thread thread;  ///< ends before the rest does
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
    std::array<std::unique_ptr<worker>, most> workers_{};
};

}} // namespace wg::WG_ABI

#endif
