// SPDX-License-Identifier: BSL-1.0
// The tasks of wgproxy: listeners, connections between two networks, and flows of datagrams. One thread runs all tasks;
// none of them blocks.
//
// Memory: a connection that waits holds no buffer. All reads go to one buffer of the loop; what the other end does not
// take at once is kept with the connection, 64 KiB for each direction at most, and nothing more is read until it is
// gone. The number of connections has a limit; further clients wait in the kernel.
#ifndef WGPROXY_RELAY_HPP
#define WGPROXY_RELAY_HPP

#include "host_network.hpp"
#include "http.hpp"
#include "socks.hpp"

#include <ctime>
#include <functional>
#include <unordered_map>

namespace wgproxy {

using wg::instant;

inline constexpr std::size_t buffer_bytes = 65536;                  ///< of one read, and of a direction
inline constexpr wg::duration negotiation_limit = wg::seconds(30);  ///< for a client to say what it wants
inline constexpr wg::duration dial_limit = wg::seconds(30);         ///< for a connection to open
inline constexpr wg::duration half_closed_limit = wg::seconds(600); ///< without a byte, after one end has finished
inline constexpr wg::duration drain_limit = wg::seconds(2);         ///< for a client to read an error
inline constexpr std::size_t most_flows = 256;                      ///< senders of one UDP tunnel

/// Something that the loop runs when one of its objects has woken it, or when its time has come.
class task {
public:
    virtual ~task() = default;
    /// Does what is possible. Returns: false if the task is over.
    virtual bool step(instant now) noexcept = 0;
    /// When the task wants to be run again at the latest.
    virtual instant deadline() const noexcept { return instant::never(); }
};

/// What tasks share.
class relay {
public:
    /// `print` gets each line of the log.
    relay(loop& with, host_network& here, network& there, std::function<void(std::string const&)> print) noexcept
        : events(with), host(here), tunnel(there), scratch(buffer_bytes), print_(std::move(print)) {}

    /// Starts a service. `s` lives as long as this object. Returns: false, and an error of one line.
    bool add(service const& s, std::string& why) noexcept;

    /// Runs until `stop` is set, by a task or by a signal handler. Returns: the exit status of the program.
    int run() noexcept {
        std::vector<task_id> ready;
        instant next_scan{};
        while (stop == 0) {
            events.wait(1000, ready);
            instant const now = clock();
            for (task_id const id : ready) run(id, now);
            if (now < next_scan) continue;
            next_scan = now + wg::seconds(1);
            scan(now, ready);
        }
        tasks_.clear();
        return status;
    }

    task_id new_id() noexcept { return ++last_id_; }
    void start(task_id id, std::unique_ptr<task> t) noexcept {
        tasks_.emplace(id, std::move(t));
        events.wake(id);
    }
    /// Whether a further connection is allowed. If not, `refused` tasks are run again within a second.
    bool has_room() const noexcept { return tasks_.size() < most_tasks; }
    void when_there_is_room(task_id id) noexcept { refused_.push_back(id); }

    /// Writes a line, ten a second at most.
    void log(std::string const& line) noexcept {
        instant const second{clock().nanoseconds / 1'000'000'000};
        if (second != log_second_) {
            if (lines_ > most_lines) print_(std::to_string(lines_ - most_lines) + " lines were left out");
            log_second_ = second;
            lines_ = 0;
        }
        if (++lines_ <= most_lines) print_(line);
    }

    static instant clock() noexcept {
        timespec t{};
        ::clock_gettime(CLOCK_BOOTTIME, &t);
        return {std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
    }

    loop& events;
    host_network& host;
    network& tunnel;
    std::vector<wg::byte> scratch; ///< for one read; its contents end with the step
    std::size_t most_tasks = 16384;
    int volatile stop = 0;
    int status = 0;

private:
    static constexpr unsigned most_lines = 10;

    void run(task_id id, instant now) noexcept {
        auto const found = tasks_.find(id);
        if (found == tasks_.end() || found->second->step(now)) return;
        tasks_.erase(id); // not by the iterator: the step may have added tasks
    }
    void scan(instant now, std::vector<task_id>& ready) noexcept {
        ready.swap(refused_);
        refused_.clear();
        for (auto const& [id, t] : tasks_)
            if (t->deadline() <= now) ready.push_back(id);
        for (task_id const id : ready) run(id, now);
    }

    std::function<void(std::string const&)> print_;
    std::unordered_map<task_id, std::unique_ptr<task>> tasks_{};
    std::vector<task_id> refused_{};
    task_id last_id_ = 0;
    instant log_second_{};
    unsigned lines_ = 0;
};

/// One direction of a connection.
struct direction {
    std::vector<wg::byte> kept{};      ///< read, and not written yet
    std::size_t written = 0;           ///< of `kept`
    bool ended = false;                ///< no further byte will be read
    bool finished = false;             ///< the other end knows it
    http::body_meter* meter = nullptr; ///< ends the direction after a body

    bool waiting() const noexcept { return written < kept.size(); }
    void keep(wg::bytes_view more) noexcept { kept.insert(kept.end(), more.begin(), more.end()); }
    void keep(std::string_view more) noexcept {
        keep(wg::bytes_view{reinterpret_cast<wg::byte const*>(more.data()), more.size()});
    }
};

/// A client, and the server that it wants.
class connection final : public task {
public:
    /// A client of a service. `server_network` is where the server is.
    connection(relay& shared, task_id id, std::unique_ptr<stream> client, service const& s,
               network& server_network) noexcept
        : shared_(shared), id_(id), service_(s), network_(server_network), client_(std::move(client)),
          credentials_{s.user, s.password.view()}, socks_(s.user.empty() ? nullptr : &credentials_) {}

    ~connection() override {
        if (!broken_) return;
        if (client_) client_->reset_on_close();
        if (server_) server_->reset_on_close();
    }

    bool step(instant now) noexcept override {
        if (phase_ == phase::fresh) begin(now);
        if (now >= deadline_ && !expire(now)) return false;
        if (phase_ == phase::negotiating && !negotiate(now)) return false;
        if (phase_ == phase::dialing && !check_dial(now)) return false;
        if (phase_ == phase::relaying) return relay_bytes(now);
        if (phase_ == phase::associated) return relay_datagrams(now);
        if (phase_ == phase::draining) return drain(now);
        return true;
    }
    instant deadline() const noexcept override { return deadline_; }

private:
    enum class phase : std::uint8_t { fresh, negotiating, dialing, relaying, associated, draining };
    enum class flow : std::uint8_t { waiting, over, broken };

    void begin(instant now) noexcept {
        phase_ = phase::negotiating;
        deadline_ = now + negotiation_limit;
        bool const proxy = service_.what == kind::socks || service_.what == kind::http;
        if (!proxy) dial(service_.target, now);
    }

    /// At the deadline. Returns: false if the connection is over.
    bool expire(instant now) noexcept {
        if (phase_ != phase::dialing) return false;
        answer(connection_state::timed_out, describe(connection_state::timed_out), now);
        return true;
    }

    void dial(place const& to, instant now) noexcept {
        target_ = to.text();
        std::string why;
        phase_ = phase::dialing;
        deadline_ = now + dial_limit;
        server_ = network_.dial(to, id_, why);
        if (!server_) answer(connection_state::failed, why, now);
    }

    bool check_dial(instant now) noexcept {
        connection_state const state = server_->state();
        if (state == connection_state::pending) return true;
        if (state != connection_state::open) {
            answer(state, describe(state), now);
            return true;
        }
        if (service_.what == kind::socks) reply(socks::reply::succeeded, server_->local());
        if (service_.what == kind::http && connect_) down_.keep(http::connected);
        phase_ = phase::relaying;
        deadline_ = instant::never();
        return true;
    }

    /// Tells the client, in the words of its protocol, why there is no connection.
    void answer(connection_state why, std::string_view text, instant now) noexcept {
        std::string line = service_.section + ": " + target_ + ": " + std::string(text);
        std::string_view const hint = network_.hint();
        if (why == connection_state::timed_out && !hint.empty()) line += "; " + std::string(hint);
        shared_.log(line);
        server_.reset();
        if (service_.what == kind::socks) {
            using socks::reply;
            this->reply(why == connection_state::refused        ? reply::refused
                        : why == connection_state::unreachable  ? reply::network_unreachable
                        : why == connection_state::no_such_host ? reply::host_unreachable
                        : why == connection_state::timed_out    ? reply::timed_out
                                                                : reply::failed,
                        {});
        } else if (service_.what == kind::http) {
            http_error(why == connection_state::timed_out ? 504 : 502, target_ + ": " + std::string(text));
        } else {
            broken_ = true; // the client sees an error, and not an empty answer
            if (service_.what == kind::stdio) shared_.status = 1;
        }
        begin_draining(now);
    }

    void reply(socks::reply code, wg::endpoint const& bound) noexcept {
        wg::byte bytes[socks::most_reply_bytes];
        sink out(bytes);
        socks::write_reply(code, bound, out);
        down_.keep(out.view());
    }
    void http_error(unsigned code, std::string_view text) noexcept {
        wg::byte bytes[1024];
        sink out(bytes);
        http::write_error(code, text.substr(0, 500), out);
        down_.keep(out.view());
    }
    void begin_draining(instant now) noexcept {
        phase_ = phase::draining;
        deadline_ = now + drain_limit;
    }

    // --- what the client wants

    bool negotiate(instant now) noexcept {
        while (phase_ == phase::negotiating) {
            if (!up_.kept.empty() && !read_request(now)) return true;
            if (phase_ != phase::negotiating) break;
            transfer const got = client_->read(shared_.scratch);
            if (got.what == transfer::result::wait) return flush(*client_, down_) != flow::broken;
            if (got.what != transfer::result::moved) return false;
            up_.keep(wg::bytes_view(shared_.scratch).first(got.count));
        }
        return true;
    }

    /// Reads from what the client has sent. Returns: false if the connection is to be drained.
    bool read_request(instant now) noexcept { return service_.what == kind::socks ? read_socks(now) : read_http(now); }

    void drop_front(std::size_t count) noexcept {
        up_.kept.erase(up_.kept.begin(), up_.kept.begin() + static_cast<std::ptrdiff_t>(count));
    }

    bool read_socks(instant now) noexcept {
        for (std::size_t used = 1; used > 0 && phase_ == phase::negotiating;) {
            wg::byte bytes[socks::most_reply_bytes];
            sink out(bytes);
            progress const got = socks_.advance(up_.kept, used, out);
            down_.keep(out.view());
            drop_front(used);
            if (got == progress::more) continue;
            if (got == progress::bad) {
                shared_.log(service_.section + (socks_.wrong_password()
                                                    ? ": wrong user or password"
                                                    : ": a client that does not speak SOCKS 5 as here"));
                begin_draining(now);
                return false;
            }
            auto const& where = socks_.where();
            if (socks_.what() == socks::command::associate) associate(now);
            else if (where.port == 0) answer(connection_state::refused, "port 0", now);
            else dial({std::string(where.host.view()), where.port, {}}, now);
        }
        return true;
    }

    bool read_http(instant now) noexcept {
        auto const head = std::make_unique<http::request>();
        std::string_view const text(reinterpret_cast<char const*>(up_.kept.data()), up_.kept.size());
        progress const got = http::read_request(text, *head);
        if (got == progress::more) return true;
        if (got == progress::done && !service_.user.empty() && !http::is_authorized(*head, expected_authorization()))
            head->error = 407, head->problem = "this proxy needs a user and a password";
        if (head->error != 0) {
            http_error(head->error, head->problem);
            shared_.log(service_.section + ": " + std::string(head->problem));
            begin_draining(now);
            return false;
        }
        place const to{std::string(head->host), head->port, {}};
        connect_ = head->connect;
        if (connect_) drop_front(head->head_bytes);
        else rewrite(*head);
        dial(to, now);
        return true;
    }

    /// Puts the head for the server in the place of the client's.
    void rewrite(http::request const& head) noexcept {
        std::vector<wg::byte> bytes(http::most_head_bytes + http::added_bytes);
        sink out(bytes);
        if (!http::write_request(head, out)) WG_ASSERT(false);
        meter_ = http::body_meter(head);
        std::size_t const size = out.view().size();
        std::size_t const body = meter_.take(wg::bytes_view(up_.kept).subspan(head.head_bytes));
        bytes.resize(size);
        bytes.insert(bytes.end(), up_.kept.begin() + static_cast<std::ptrdiff_t>(head.head_bytes),
                     up_.kept.begin() + static_cast<std::ptrdiff_t>(head.head_bytes + body));
        up_.kept = std::move(bytes);
        up_.meter = &meter_;
    }

    std::string expected_authorization() const noexcept {
        wg::byte bytes[700]; // 511 characters take 684
        sink out(bytes);
        std::string both = service_.user + ":" + std::string(service_.password.view());
        http::write_base64(both, out);
        wg::wipe(both.data(), both.size());
        return {reinterpret_cast<char const*>(out.view().data()), out.view().size()};
    }

    // --- bytes

    /// Writes what is kept.
    static flow flush(stream& to, direction& d) noexcept {
        while (d.waiting()) {
            transfer const put = to.write(wg::bytes_view(d.kept).subspan(d.written));
            if (put.what == transfer::result::wait) return flow::waiting;
            if (put.what != transfer::result::moved) return flow::broken;
            d.written += put.count;
        }
        std::vector<wg::byte>().swap(d.kept); // an idle connection holds no buffer
        d.written = 0;
        return flow::over;
    }

    /// Moves bytes until one of both ends has to be waited for.
    flow move(stream& from, stream& to, direction& d, instant now) noexcept {
        constexpr int rounds = 16; // then other tasks have their turn
        for (int i = 0; i < rounds; ++i) {
            if (flow const f = flush(to, d); f != flow::over) return f;
            if (d.meter != nullptr && d.meter->over()) return discard(from, d);
            if (d.ended) {
                if (!std::exchange(d.finished, true)) to.finish();
                return flow::over;
            }
            transfer const got = from.read(shared_.scratch);
            if (got.what == transfer::result::wait) return flow::waiting;
            if (got.what == transfer::result::failed) return flow::broken;
            last_byte_ = now;
            if (got.what == transfer::result::ended) {
                d.ended = true;
                continue;
            }
            wg::bytes_view data = wg::bytes_view(shared_.scratch).first(got.count);
            if (d.meter != nullptr) {
                data = data.first(d.meter->take(data));
                if (d.meter->bad()) return flow::broken;
            }
            transfer const put = to.write(data);
            if (put.what == transfer::result::failed || put.what == transfer::result::ended) return flow::broken;
            d.keep(data.subspan(put.what == transfer::result::moved ? put.count : 0));
        }
        shared_.events.wake(id_);
        return flow::waiting;
    }

    /// After the body of a request: a further request is not served on this connection, so that its bytes go nowhere.
    flow discard(stream& from, direction& d) noexcept {
        while (!d.ended) {
            transfer const got = from.read(shared_.scratch);
            if (got.what == transfer::result::wait) break;
            if (got.what == transfer::result::failed) return flow::broken;
            d.ended = got.what == transfer::result::ended;
        }
        return flow::over;
    }

    bool relay_bytes(instant now) noexcept {
        flow const up = move(*client_, *server_, up_, now);
        flow const down = up == flow::broken ? up : move(*server_, *client_, down_, now);
        broken_ = down == flow::broken;
        if (broken_ || (up == flow::over && down == flow::over)) return false;
        bool const half = up == flow::over || down == flow::over;
        deadline_ = half ? last_byte_ + half_closed_limit : instant::never();
        if (half && deadline_ < now) deadline_ = now + half_closed_limit;
        return true;
    }

    /// Gives the client time to read the last answer: data that it has sent and nobody has read would reset the
    /// connection, and with it the answer.
    bool drain(instant) noexcept {
        if (broken_ || flush(*client_, down_) == flow::broken) return false;
        if (down_.waiting()) return true;
        if (!std::exchange(down_.finished, true)) client_->finish();
        return discard(*client_, up_) != flow::broken && !up_.ended;
    }

    // --- datagrams of SOCKS

    void associate(instant now) noexcept {
        std::string why = "the client has no IP address";
        wg::endpoint const own = client_->local().unmapped();
        if (own) front_ = shared_.host.open({std::string(wg::text::print(own.address).view()), 0, {}}, id_, why);
        if (front_) back_ = network_.open({}, id_, why);
        target_ = "datagrams";
        if (!back_) return answer(connection_state::failed, why, now);
        reply(socks::reply::succeeded, front_->local());
        phase_ = phase::associated;
        deadline_ = instant::never();
    }

    /// The association ends with the connection that asked for it (RFC 1928 6).
    bool relay_datagrams(instant) noexcept {
        if (flush(*client_, down_) == flow::broken) return false;
        if (discard(*client_, up_) == flow::broken || up_.ended) return false;
        send_held();
        bool more = false;
        for (int i = 0; i < 64; ++i) {
            wg::endpoint from;
            transfer const got = front_->receive(shared_.scratch, from);
            more = got.what == transfer::result::moved;
            if (!more) break;
            // Only the client may use the association, from the port of its first datagram on.
            if (from.address != client_->remote().unmapped().address) continue;
            if (sender_ && sender_ != from) continue;
            sender_ = from;
            outbound(wg::bytes_view(shared_.scratch).first(got.count));
        }
        for (int i = 0; i < 64 && sender_; ++i) {
            constexpr std::size_t room = socks::most_reply_bytes;
            wg::endpoint from;
            transfer const got = back_->receive(wg::bytes(shared_.scratch).subspan(room), from);
            if (got.what != transfer::result::moved) break;
            more = more || i == 63;
            wg::byte head[room];
            sink out(head);
            socks::write_datagram(from, out);
            std::size_t const size = out.view().size();
            std::copy_n(head, size, shared_.scratch.data() + room - size);
            front_->send(wg::bytes_view(shared_.scratch).subspan(room - size, size + got.count), sender_);
        }
        if (more) shared_.events.wake(id_);
        return true;
    }

    void outbound(wg::bytes_view datagram) noexcept {
        socks::destination to;
        std::size_t const head = socks::read_datagram(datagram, to);
        if (head == 0 || to.port == 0) return;
        wg::bytes_view const payload = datagram.subspan(head);
        if (to.address.kind != wg::family::none) return back_->send(payload, {to.address, to.port, 0});
        held_.assign(payload.begin(), payload.end()); // the latest only: a network may drop the others
        held_host_ = to.host.view();
        held_port_ = to.port;
        send_held();
    }
    void send_held() noexcept {
        if (held_host_.empty()) return;
        found_address const found = network_.resolve(held_host_, id_);
        if (found.state == connection_state::pending) return;
        if (found.state == connection_state::open) back_->send(held_, {found.address, held_port_, 0});
        held_host_.clear();
        std::vector<wg::byte>().swap(held_);
    }

    relay& shared_;
    task_id id_;
    service const& service_;
    network& network_;
    std::unique_ptr<stream> client_, server_{};
    direction up_{}, down_{}; // to the server, to the client
    phase phase_ = phase::fresh;
    bool broken_ = false, connect_ = false;
    instant deadline_ = instant::never(), last_byte_{};
    std::string target_{};
    socks::credentials credentials_;
    socks::negotiation socks_;
    http::body_meter meter_{};
    std::unique_ptr<datagrams> front_{}, back_{};
    wg::endpoint sender_{};
    std::vector<wg::byte> held_{};
    std::string held_host_{};
    std::uint16_t held_port_ = 0;
};

/// A connection that ends the program: standard input and output.
class only_connection final : public task {
public:
    only_connection(relay& shared, task_id id, std::unique_ptr<stream> client, service const& s,
                    network& server_network) noexcept
        : shared_(shared), inner_(shared, id, std::move(client), s, server_network) {}

    bool step(instant now) noexcept override {
        if (inner_.step(now)) return true;
        shared_.stop = 1;
        return false;
    }
    instant deadline() const noexcept override { return inner_.deadline(); }

private:
    relay& shared_;
    connection inner_;
};

/// Accepts the connections of a service.
class acceptor final : public task {
public:
    acceptor(relay& shared, task_id id, std::unique_ptr<listener> port, service const& s,
             network& server_network) noexcept
        : shared_(shared), id_(id), port_(std::move(port)), service_(s), network_(server_network) {}

    bool step(instant) noexcept override {
        for (int i = 0; i < 64; ++i) {
            if (!shared_.has_room()) {
                if (!std::exchange(full_, true)) shared_.log(service_.section + ": too many connections; clients wait");
                shared_.when_there_is_room(id_);
                return true;
            }
            full_ = false;
            task_id const id = shared_.new_id();
            auto client = port_->accept(id);
            if (!client) {
                shared_.when_there_is_room(id_); // without descriptors `accept` fails, and does not wake later
                return true;
            }
            shared_.start(id, std::make_unique<connection>(shared_, id, std::move(client), service_, network_));
        }
        shared_.events.wake(id_);
        return true;
    }

private:
    relay& shared_;
    task_id id_;
    std::unique_ptr<listener> port_;
    service const& service_;
    network& network_;
    bool full_ = false;
};

/// Forwards datagrams. Each sender has a socket of its own in the other network, so that answers find the way back.
class datagram_forwarder final : public task {
public:
    datagram_forwarder(relay& shared, task_id id, std::unique_ptr<datagrams> front, service const& s,
                       network& server_network) noexcept
        : shared_(shared), id_(id), front_(std::move(front)), service_(s), network_(server_network) {}

    bool step(instant now) noexcept override {
        find_target(now);
        bool more = false;
        for (int i = 0; i < 64 && target_; ++i) {
            wg::endpoint from;
            transfer const got = front_->receive(shared_.scratch, from);
            more = got.what == transfer::result::moved;
            if (!more) break;
            if (flow* const f = flow_of(from, now))
                f->back->send(wg::bytes_view(shared_.scratch).first(got.count), target_);
        }
        for (auto f = flows_.begin(); f != flows_.end();) {
            for (int i = 0; i < 64; ++i) {
                wg::endpoint from;
                transfer const got = f->back->receive(shared_.scratch, from);
                if (got.what != transfer::result::moved) break;
                more = more || i == 63;
                if (from != target_) continue;
                f->used = now;
                front_->send(wg::bytes_view(shared_.scratch).first(got.count), f->sender);
            }
            f = f->used + wg::seconds(service_.inactivity_s) <= now ? flows_.erase(f) : f + 1;
        }
        if (more) shared_.events.wake(id_);
        next_ = now + wg::seconds(1);
        return true;
    }
    instant deadline() const noexcept override { return next_; }

private:
    struct flow {
        wg::endpoint sender{};
        std::unique_ptr<datagrams> back{};
        instant used{};
    };

    /// A name is asked for again after a minute. Datagrams wait in the socket until its address is known.
    void find_target(instant now) noexcept {
        if (target_ && now < ask_again_) return;
        found_address const found = network_.resolve(service_.target.host, id_);
        if (found.state == connection_state::pending) return;
        ask_again_ = now + wg::seconds(60);
        if (found.state == connection_state::open) target_ = {found.address, service_.target.port, 0};
        else if (!target_) {
            shared_.log(service_.section + ": " + service_.target.text() + ": " + std::string(describe(found.state)));
            ask_again_ = now + wg::seconds(5);
        }
    }

    flow* flow_of(wg::endpoint const& sender, instant now) noexcept {
        flow* oldest = nullptr;
        for (flow& f : flows_) {
            if (f.sender == sender) {
                f.used = now;
                return &f;
            }
            if (oldest == nullptr || f.used < oldest->used) oldest = &f;
        }
        std::string why;
        auto back = network_.open({}, id_, why);
        if (!back) {
            shared_.log(service_.section + ": " + why);
            return nullptr;
        }
        if (flows_.size() < most_flows) oldest = &flows_.emplace_back();
        *oldest = {sender, std::move(back), now};
        return oldest;
    }

    relay& shared_;
    task_id id_;
    std::unique_ptr<datagrams> front_;
    service const& service_;
    network& network_;
    std::vector<flow> flows_{};
    wg::endpoint target_{};
    instant ask_again_{}, next_{};
};

/// Whether only this host can connect there.
inline bool is_private(place const& at) noexcept {
    if (!at.path.empty() || at.host == "localhost" || at.host == "::1") return true;
    auto const address = wg::text::parse_address(at.host);
    return address && address->kind == wg::family::v4 && address->octets[0] == 127;
}

inline bool relay::add(service const& s, std::string& why) noexcept {
    task_id const id = new_id();
    bool const from_tunnel = s.what == kind::tcp_server || s.what == kind::udp_server;
    network& front = from_tunnel ? tunnel : host;
    network& back = from_tunnel ? static_cast<network&>(host) : tunnel;
    auto const failed = [&] {
        why = s.section + ": cannot listen at " + s.listen.text() + ": " + why;
        return false;
    };
    if (s.what == kind::stdio) {
        start(id, std::make_unique<only_connection>(*this, id, host.standard(id), s, back));
        return true;
    }
    if (s.what == kind::udp_client || s.what == kind::udp_server) {
        auto socket = front.open(s.listen, id, why);
        if (!socket) return failed();
        start(id, std::make_unique<datagram_forwarder>(*this, id, std::move(socket), s, back));
    } else {
        auto port = front.listen(s.listen, id, why);
        if (!port) return failed();
        start(id, std::make_unique<acceptor>(*this, id, std::move(port), s, back));
    }
    log(s.section + ": listening at " + s.listen.text() + (from_tunnel ? " in the tunnel" : ""));
    bool const proxy = s.what == kind::socks || s.what == kind::http;
    if (proxy && s.user.empty() && !is_private(s.listen))
        log(s.section + ": other hosts may use it; add Username and Password, or bind it to 127.0.0.1");
    return true;
}

} // namespace wgproxy

#endif
