// SPDX-License-Identifier: BSL-1.0
// The network inside the tunnel, for the relay. Calls of the tunnel that block run on the threads of `helpers`; all
// other calls have a timeout of zero, and the tunnel wakes the task. The thread of the loop.
#ifndef WGPROXY_TUNNEL_NETWORK_HPP
#define WGPROXY_TUNNEL_NETWORK_HPP

#include "helpers.hpp"
#include "loop.hpp"

#include <wg/tunnel.hpp>

#include <list>
#include <unordered_map>

namespace wgproxy {

namespace tunnel_detail {

/// Wakes a task. The tunnel calls it from its own threads.
struct waker {
    loop* events;
    task_id task;
    wg::event event() noexcept {
        return {[](void* self) noexcept {
                    auto* const w = static_cast<waker*>(self);
                    w->events->wake(w->task);
                },
                this};
    }
};

constexpr connection_state state_of(wg::status s) noexcept {
    switch (s) {
    case wg::status::ok: return connection_state::open;
    case wg::status::refused: return connection_state::refused;
    case wg::status::timed_out: return connection_state::timed_out;
    case wg::status::name_not_found: return connection_state::no_such_host;
    case wg::status::not_supported:
    case wg::status::no_peer: return connection_state::unreachable;
    default: return connection_state::failed;
    }
}

inline transfer moved(wg::result<std::size_t> const& r) noexcept {
    using result = transfer::result;
    if (!r) return {r.why() == wg::status::would_block ? result::wait : result::failed};
    return *r == 0 ? transfer{result::ended} : transfer{result::moved, *r};
}

/// What a connecting thread and the task share.
struct dialing {
    std::mutex mutex{};
    bool done = false;
    wg::status why = wg::status::would_block;
    wg::stream made{};
    wg::canceller ends{};
};

class tunnel_stream final : public stream {
public:
    tunnel_stream(loop& events, task_id task, wg::stream made) noexcept
        : wake_{&events, task}, stream_(std::move(made)), state_(connection_state::open) {
        stream_.on_change(wake_.event());
    }
    tunnel_stream(loop& events, task_id task, std::shared_ptr<dialing> of) noexcept
        : wake_{&events, task}, dialing_(std::move(of)) {}
    ~tunnel_stream() override {
        if (dialing_) dialing_->ends.cancel();
        if (stream_) stream_.on_change({});
    }

    connection_state state() noexcept override {
        if (!dialing_) return state_;
        {
            std::lock_guard<std::mutex> const held(dialing_->mutex);
            if (!dialing_->done) return connection_state::pending;
            state_ = state_of(dialing_->why);
            stream_ = std::move(dialing_->made);
        }
        dialing_.reset();
        if (stream_) stream_.on_change(wake_.event());
        return state_;
    }
    transfer read(wg::bytes to) noexcept override { return moved(stream_.read(to, wg::duration{})); }
    transfer write(wg::bytes_view from) noexcept override {
        return from.empty() ? transfer{} : moved(stream_.write(from, wg::duration{}));
    }
    void finish() noexcept override { stream_.finish(); }
    wg::endpoint local() noexcept override { return stream_ ? stream_.local() : wg::endpoint{}; }
    wg::endpoint remote() noexcept override { return stream_ ? stream_.remote() : wg::endpoint{}; }

private:
    waker wake_;
    std::shared_ptr<dialing> dialing_{};
    wg::stream stream_{};
    connection_state state_ = connection_state::pending;
};

class tunnel_listener final : public listener {
public:
    tunnel_listener(loop& events, task_id task, wg::listener made) noexcept
        : wake_{&events, task}, listener_(std::move(made)) {
        listener_.on_change(wake_.event());
    }
    ~tunnel_listener() override { listener_.on_change({}); }

    std::unique_ptr<stream> accept(task_id task) noexcept override {
        auto made = listener_.accept(wg::duration{});
        return made ? std::make_unique<tunnel_stream>(*wake_.events, task, std::move(*made)) : nullptr;
    }

private:
    waker wake_;
    wg::listener listener_;
};

class tunnel_datagrams final : public datagrams {
public:
    tunnel_datagrams(loop& events, task_id task, wg::udp_port made) noexcept
        : wake_{&events, task}, port_(std::move(made)) {
        port_.on_change(wake_.event());
    }
    ~tunnel_datagrams() override { port_.on_change({}); }

    transfer receive(wg::bytes to, wg::endpoint& from) noexcept override {
        auto const size = port_.receive_from(to, from, wg::duration{});
        if (!size) return {}; // would_block
        return {transfer::result::moved, *size};
    }
    void send(wg::bytes_view from, wg::endpoint const& to) noexcept override {
        static_cast<void>(port_.send_to(from, to)); // dropped, as a network does
    }

private:
    waker wake_;
    wg::udp_port port_;
};

} // namespace tunnel_detail

class tunnel_network final : public network {
public:
    /// `through` lives as long as this object.
    tunnel_network(loop& events, wg::tunnel& through) noexcept : loop_(events), tunnel_(through) {}
    /// Ends the calls that block.
    ~tunnel_network() override { ends_.cancel(); }

    std::unique_ptr<stream> dial(place const& to, task_id task, std::string&) noexcept override {
        auto const shared = std::make_shared<tunnel_detail::dialing>();
        helpers_.run([this, shared, task, target = to.text()] {
            auto made = tunnel_.dial(target, dial_limit, &shared->ends);
            {
                std::lock_guard<std::mutex> const held(shared->mutex);
                shared->done = true;
                shared->why = made.why();
                if (made) shared->made = std::move(*made);
            }
            loop_.wake(task);
        });
        return std::make_unique<tunnel_detail::tunnel_stream>(loop_, task, shared);
    }

    std::unique_ptr<listener> listen(place const& at, task_id task, std::string& why) noexcept override {
        auto made = tunnel_.listen(at.port);
        if (made) return std::make_unique<tunnel_detail::tunnel_listener>(loop_, task, std::move(*made));
        why = wg::describe(made.why());
        return nullptr;
    }

    std::unique_ptr<datagrams> open(place const& at, task_id task, std::string& why) noexcept override {
        auto made = tunnel_.udp(at.port);
        if (made) return std::make_unique<tunnel_detail::tunnel_datagrams>(loop_, task, std::move(*made));
        why = wg::describe(made.why());
        return nullptr;
    }

    /// The tunnel caches answers by their TTL; this cache only bridges the time from the question to the next call.
    found_address resolve(std::string const& host, task_id task) noexcept override {
        if (auto const literal = wg::text::parse_address(host)) return {connection_state::open, *literal};
        std::lock_guard<std::mutex> const held(mutex_);
        auto const now = std::chrono::steady_clock::now();
        auto found = names_.find(host);
        if (found != names_.end() && found->second.until > now) return found->second.answer;
        if (found != names_.end() && found->second.answer.state == connection_state::pending) {
            found->second.waiting.push_back(task);
            return {};
        }
        if (names_.size() >= most_names) names_.clear(); // questions under way find no entry, and their tasks ask again
        name& asked = names_[host];
        asked = {};
        asked.waiting.push_back(task);
        helpers_.run([this, host] { answer(host, tunnel_.resolve(host, wg::seconds(10), &ends_)); });
        return {};
    }

    std::string_view hint() noexcept override {
        for (wg::tunnel_peer const& peer : tunnel_.peers())
            if (peer.last_handshake_s != 0) return {};
        return "no peer has answered yet: look at its Endpoint, at the keys of both ends, and at firewalls";
    }

private:
    static constexpr std::size_t most_threads = 128, most_names = 1024;
    static constexpr wg::duration dial_limit = wg::seconds(29);

    struct name {
        found_address answer{};
        std::chrono::steady_clock::time_point until{};
        std::vector<task_id> waiting{};
    };

    void answer(std::string const& host, wg::result<std::vector<wg::ip_address>> const& got) noexcept {
        std::lock_guard<std::mutex> const held(mutex_);
        auto const found = names_.find(host);
        if (found == names_.end()) return;
        bool const good = got && !got->empty();
        auto const failed = got ? connection_state::no_such_host : tunnel_detail::state_of(got.why());
        found->second.answer = good ? found_address{connection_state::open, got->front()} : found_address{failed, {}};
        found->second.until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
        for (task_id const task : found->second.waiting) loop_.wake(task);
        found->second.waiting.clear();
    }

    loop& loop_;
    wg::tunnel& tunnel_;
    wg::canceller ends_{};
    std::mutex mutex_{}; ///< guards `names_`
    std::unordered_map<std::string, name> names_{};
    helpers helpers_{most_threads}; ///< the last member: it waits for its threads, which use the others
};

} // namespace wgproxy

#endif
