// SPDX-License-Identifier: BSL-1.0
// A TCP connection of lwIP, and a port that accepts connections. Folder: tunnel/lwip. All calls under the stack's lock;
// `changed` is called under the lock, often inside a function of lwIP, so it must not call lwIP.
#ifndef WG_TUNNEL_LWIP_CONNECTION_HPP
#define WG_TUNNEL_LWIP_CONNECTION_HPP

#include "../events.hpp"
#include "interface.hpp"
#ifdef LWIP_HOOK_TCP_INPACKET_PCB
#include "hooks.h"
#endif

namespace wg { inline namespace WG_ABI { namespace lwip {

/// Packets of lwIP in the order of their arrival, read byte by byte. Takes no memory while it is empty.
class received_bytes {
public:
    received_bytes() noexcept = default;
    received_bytes(received_bytes const&) = delete;
    received_bytes& operator=(received_bytes const&) = delete;
    ~received_bytes() {
        while (count_ != 0) free_first();
    }

    /// Takes over the packet. Returns: false without memory.
    bool put(pbuf* p) noexcept {
        if (count_ == room_) {
            std::size_t const more = room_ != 0 ? 2 * room_ : 4;
            std::unique_ptr<pbuf*[]> bigger(new (std::nothrow) pbuf*[more]);
            if (!bigger) return false;
            for (std::size_t i = 0; i < count_; ++i) bigger[i] = packets_[(first_ + i) % room_];
            packets_ = std::move(bigger);
            room_ = more;
            first_ = 0;
        }
        packets_[(first_ + count_++) % room_] = p;
        bytes_ += p->tot_len;
        return true;
    }
    /// Copies bytes out and forgets them. Returns: how many.
    std::size_t take(bytes into) noexcept {
        std::size_t done = 0;
        while (count_ != 0 && done < into.size()) {
            pbuf* const p = packets_[first_];
            std::size_t const some = (std::min<std::size_t>)(into.size() - done, p->tot_len - offset_);
            (void)pbuf_copy_partial(p, &into[done], static_cast<u16_t>(some), static_cast<u16_t>(offset_));
            done += some;
            offset_ += some;
            if (offset_ == p->tot_len) free_first();
        }
        bytes_ -= done;
        return done;
    }
    /// Bytes that wait.
    std::size_t size() const noexcept { return bytes_; }

private:
    void free_first() noexcept {
        pbuf_free(packets_[first_]);
        offset_ = 0;
        first_ = (first_ + 1) % room_;
        if (--count_ != 0) return;
        packets_.reset();
        room_ = first_ = 0;
    }

    std::unique_ptr<pbuf*[]> packets_{};
    std::size_t room_ = 0, first_ = 0, count_ = 0;
    std::size_t offset_ = 0; ///< of the first packet, bytes that were taken
    std::size_t bytes_ = 0;
};

/// A TCP connection. Objects are on the heap and stay where they are.
class connection {
public:
    connection() noexcept = default;
    connection(connection const&) = delete;
    connection& operator=(connection const&) = delete;
    /// Closes the connection, see `close`.
    ~connection() { close(); }

    /// Called when the connection is open, failed, or can be read or written again.
    event changed{};

    /// Begins to connect. Returns: no_memory; not_supported, if the interface has no address of this family.
    status connect(interface& through, endpoint const& to) noexcept {
        ip_addr_t const address = bare::to_lwip(to.address, to.scope_id);
        tcp_pcb* const made = tcp_new_ip_type(IP_GET_TYPE(&address));
        if (made == nullptr) return status::no_memory;
        tcp_bind_netif(made, through.in_lwip());
        made->rto = made->sv = first_timeout_ms / TCP_SLOW_INTERVAL;
        take_over(made, through.mtu());
        err_t const why = tcp_connect(made, &address, to.port, [](void* self, tcp_pcb*, err_t) noexcept -> err_t {
            static_cast<connection*>(self)->opened();
            return ERR_OK;
        });
        if (why == ERR_OK) return status::ok;
        pcb_ = nullptr;
        tcp_arg(made, nullptr);
        tcp_abort(made);
        return why == ERR_RTE ? status::not_supported : status::no_memory;
    }
    /// Takes over an accepted connection, which is open.
    void accept(tcp_pcb* accepted, std::size_t mtu_bytes) noexcept {
        take_over(accepted, mtu_bytes);
        opened();
    }

    /// ok while the connection can be used; would_block while it connects; refused, reset, timed_out or gone after its
    /// end.
    status state() const noexcept { return state_; }
    /// Whether `read` would return bytes or the end.
    bool readable() const noexcept { return received_.size() != 0 || ended_ || failed(); }
    /// Whether `write` would take bytes, or fail.
    bool writable() const noexcept { return failed() || finished_ || (state_ == status::ok && room() != 0); }
    /// Whether all bytes that were written are acknowledged.
    bool is_flushed() const noexcept {
        return pcb_ == nullptr || (pcb_->unsent == nullptr && pcb_->unacked == nullptr);
    }

    /// Takes bytes to send; they leave at once. Returns: how many, 0 if there is no room; gone after `finish`; the
    /// reason why the connection ended.
    result<std::size_t> write(bytes_view data) noexcept {
        if (state_ != status::ok) return state_ == status::would_block ? result<std::size_t>(std::size_t{0}) : state_;
        if (finished_) return status::gone;
        std::size_t done = 0;
        choose_segment_size();
        while (done < data.size()) {
            std::size_t const some = (std::min)({data.size() - done, room(), std::size_t{0xffff}});
            if (some == 0) break;
            // lwIP sends only if no more of this call follows: PSH ends a joined frame at the other end.
            u8_t const flags =
                done + some < data.size() ? TCP_WRITE_FLAG_COPY | TCP_WRITE_FLAG_MORE : TCP_WRITE_FLAG_COPY;
            if (tcp_write(pcb_, &data[done], static_cast<u16_t>(some), flags) != ERR_OK) break;
            done += some;
        }
        if (done != 0) (void)tcp_output(pcb_);
        return done;
    }
    /// Copies received bytes out. Returns: how many, 0 at the end of the other end's data; would_block; the reason why
    /// the connection ended.
    result<std::size_t> read(bytes into) noexcept {
        std::size_t const got = received_.take(into);
        if (got == 0) {
            if (ended_ || into.empty()) return std::size_t{0};
            return failed() ? state_ : status::would_block;
        }
        for (std::size_t left = got; pcb_ != nullptr && left != 0;) {
            std::size_t const some = (std::min)(left, std::size_t{0xffff});
            tcp_recved(pcb_, static_cast<u16_t>(some));
            left -= some;
        }
        return got;
    }
    /// Ends the data of this end. The other end may go on to send.
    void finish() noexcept {
        if (pcb_ == nullptr || std::exchange(finished_, true)) return;
        (void)tcp_shutdown(pcb_, 0, 1);
    }
    /// Ends the connection: in order if all received data was read and the connection is open, else by a reset. Data
    /// that was written is still sent.
    void close() noexcept {
        tcp_pcb* const pcb = std::exchange(pcb_, nullptr);
        if (pcb == nullptr) return;
        state_ = status::gone;
        tcp_arg(pcb, nullptr);
        tcp_recv(pcb, nullptr);
        tcp_sent(pcb, nullptr);
        tcp_err(pcb, nullptr);
        if (received_.size() != 0 || tcp_close(pcb) != ERR_OK) tcp_abort(pcb);
    }
    /// Ends the connection by a reset. Data that was not sent yet is lost.
    void abort() noexcept {
        tcp_pcb* const pcb = std::exchange(pcb_, nullptr);
        if (pcb == nullptr) return;
        state_ = status::gone;
        tcp_arg(pcb, nullptr);
        tcp_err(pcb, nullptr);
        tcp_abort(pcb);
    }

    /// Switches Nagle's algorithm (RFC 896) on or off. It is off at the start.
    void set_delay(bool on) noexcept {
        if (pcb_ == nullptr) return;
        if (on) tcp_nagle_enable(pcb_);
        else tcp_nagle_disable(pcb_);
    }
    /// Called by the hook of lwipopts.h before lwIP handles a segment.
    void before_segment() noexcept {
        if (pcb_ == nullptr || (pcb_->flags & TF_INFR) == 0 || recovering_) return;
        recovering_ = true;
        recovered_at_ = pcb_->snd_nxt;
    }
    /// Both ends. An ended connection keeps them.
    endpoint local() const noexcept { return local_; }
    /// @copydoc local
    endpoint remote() const noexcept { return remote_; }

private:
    static constexpr std::size_t most_segment_bytes = 16000;
    static constexpr std::int16_t first_timeout_ms = 1000; ///< before a SYN is repeated (RFC 6298, 2); lwIP takes 3 s
    static constexpr std::size_t timestamp_bytes = 12;     ///< of the option in each segment (RFC 7323), with padding

    bool failed() const noexcept { return state_ != status::ok && state_ != status::would_block; }
    std::size_t room() const noexcept {
        return pcb_ != nullptr && tcp_sndqueuelen(pcb_) < TCP_SND_QUEUELEN - 4 ? tcp_sndbuf(pcb_) : 0;
    }

    void take_over(tcp_pcb* pcb, std::size_t mtu_bytes) noexcept {
        pcb_ = pcb;
        mtu_ = mtu_bytes;
        tcp_arg(pcb, this);
#ifdef LWIP_HOOK_TCP_INPACKET_PCB
        wg_lwip_on_segment = [](tcp_pcb* of) noexcept {
            // Before that, the argument is the acceptor; after `close` there is none.
            if (of->state >= ESTABLISHED && of->callback_arg != nullptr)
                static_cast<connection*>(of->callback_arg)->before_segment();
        };
#endif
        tcp_nagle_disable(pcb);
        ip_set_option(pcb, SOF_KEEPALIVE);
        tcp_recv(pcb, [](void* self, tcp_pcb*, pbuf* p, err_t) noexcept -> err_t {
            return static_cast<connection*>(self)->arrived(p);
        });
        tcp_sent(pcb, [](void* self, tcp_pcb*, u16_t) noexcept -> err_t {
            static_cast<connection*>(self)->acknowledged();
            return ERR_OK;
        });
        tcp_err(pcb, [](void* self, err_t why) noexcept {
            if (self != nullptr) static_cast<connection*>(self)->fail(why);
        });
    }
    void opened() noexcept {
        state_ = status::ok;
        wire_segment_ = pcb_->mss;
        local_ = {bare::from_lwip(pcb_->local_ip), pcb_->local_port, 0};
        remote_ = {bare::from_lwip(pcb_->remote_ip), pcb_->remote_port, 0};
        changed();
    }
    /// Repeats the next lost segment when an acknowledgement in fast recovery covers only a part of what was on its way
    /// (RFC 6582, 3.2). lwIP repeats the first one, and then waits for a timeout. `tcp_input` sends the segment.
    void acknowledged() noexcept {
        if constexpr (cuts_segments) {
            if (recovering_ && TCP_SEQ_GEQ(pcb_->lastack, recovered_at_)) recovering_ = false;
            else if (recovering_ && pcb_->unacked != nullptr) (void)tcp_rexmit(pcb_);
        }
        changed();
    }
    err_t arrived(pbuf* p) noexcept {
        if (p == nullptr) ended_ = true;
        else if (!received_.put(p)) return ERR_MEM; // lwIP offers it again
        changed();
        return ERR_OK;
    }
    void fail(err_t why) noexcept {
        pcb_ = nullptr; // lwIP has freed it
        state_ = why == ERR_RST && state_ == status::would_block ? status::refused
                 : why == ERR_RST                                ? status::reset
                 : state_ == status::would_block                 ? status::timed_out
                 : why == ERR_CLSD                               ? status::gone
                                                                 : status::timed_out;
        changed();
    }

    bool has_timestamps() const noexcept {
#if LWIP_TCP_TIMESTAMPS
        return (pcb_->flags & TF_TIMESTAMP) != 0;
#else
        return false;
#endif
    }

    /// Makes lwIP form segments of several packets, which the interface cuts: an eighth of the congestion window, so
    /// that one segment is never the whole window. A smaller size takes effect only while nothing waits: lwIP expects
    /// that no segment is longer than `mss`.
    void choose_segment_size() noexcept {
        if constexpr (cuts_segments) {
            std::size_t const options = has_timestamps() ? timestamp_bytes : 0;
            std::size_t const payload = wire_segment_ - options;
            std::size_t const window = (std::min<std::size_t>)(pcb_->cwnd, pcb_->snd_wnd);
            std::size_t const count = (std::max<std::size_t>)(1, (std::min)(window / 8, most_segment_bytes) / payload);
            auto const size = static_cast<u16_t>(count * payload + options);
            if (size > pcb_->mss || (pcb_->unsent == nullptr && pcb_->unacked == nullptr)) pcb_->mss = size;
        }
    }

    tcp_pcb* pcb_ = nullptr;
    status state_ = status::would_block;
    bool ended_ = false, finished_ = false;
    bool recovering_ = false;        ///< in fast recovery: segments before `recovered_at_` are missing
    std::uint32_t recovered_at_ = 0; ///< a sequence number
    u16_t wire_segment_ = 536;       ///< the payload and options of the longest packet, in bytes
    std::size_t mtu_ = 0;
    received_bytes received_;
    endpoint local_{}, remote_{};
};

/// A TCP port that accepts connections.
class acceptor {
public:
    acceptor() noexcept = default;
    acceptor(acceptor const&) = delete;
    acceptor& operator=(acceptor const&) = delete;
    /// Closes the port and the connections that nobody took.
    ~acceptor() { close(); }

    /// Called when a connection can be taken.
    event changed{};

    /// Listens on `port` of all addresses of the interface; 0: a free port. At most `backlog` (1 to 255) connections
    /// wait to be taken; later ones are refused by silence. Returns: the port; address_in_use; no_memory.
    result<std::uint16_t> open(interface& through, std::uint16_t port, std::size_t backlog) noexcept {
        // lwIP looks for the port in all interfaces.
        tcp_pcb* const made = tcp_new_ip_type(IPADDR_TYPE_ANY);
        if (made == nullptr) return status::no_memory;
        tcp_bind_netif(made, through.in_lwip());
        if (is_in_use(through, port)) {
            tcp_abort(made);
            return status::address_in_use;
        }
        if (port == 0) {
            if (tcp_bind(made, IP_ANY_TYPE, 0) != ERR_OK) {
                tcp_abort(made);
                return status::no_memory;
            }
        } else if (status const bound = bind_apart(made, port); bound != status::ok) {
            tcp_abort(made);
            return bound;
        }
        tcp_pcb* const listening = tcp_listen_with_backlog(made, static_cast<u8_t>(backlog));
        if (listening == nullptr) {
            tcp_abort(made);
            return status::no_memory;
        }
        pcb_ = listening;
        mtu_ = through.mtu();
        tcp_arg(pcb_, this);
        tcp_accept(pcb_, [](void* self, tcp_pcb* accepted, err_t why) noexcept -> err_t {
            if (why != ERR_OK || accepted == nullptr) return ERR_VAL;
            return static_cast<acceptor*>(self)->arrived(accepted);
        });
        return std::uint16_t{pcb_->local_port};
    }
    /// Closes the port. Connections that nobody took are reset.
    void close() noexcept {
        if (pcb_ != nullptr) (void)tcp_close(std::exchange(pcb_, nullptr));
        while (std::unique_ptr<connection> const c = take()) c->abort();
    }
    /// The oldest connection that waits; none: nullptr.
    std::unique_ptr<connection> take() noexcept {
        if (first_ == nullptr) return nullptr;
        std::unique_ptr<waiting> oldest = std::move(first_);
        first_ = std::move(oldest->next);
        if (first_ == nullptr) last_ = nullptr;
        if (pcb_ != nullptr) oldest->accepted();
        return std::move(oldest->made);
    }
    /// Whether a connection waits.
    bool has_waiting() const noexcept { return first_ != nullptr; }

private:
    struct waiting {
        std::unique_ptr<connection> made;
        tcp_pcb* pcb;
        std::unique_ptr<waiting> next{};
        void accepted() const noexcept {
            // The connection may have failed meanwhile; lwIP has then counted it itself.
            if (made->state() == status::ok) {
                tcp_backlog_accepted(pcb);
            }
        }
    };

    static bool is_in_use(interface& through, std::uint16_t port) noexcept {
        if (port == 0) return false;
        for (tcp_pcb_listen* other = tcp_listen_pcbs.listen_pcbs; other != nullptr; other = other->next)
            if (other->local_port == port && other->netif_idx == netif_get_index(through.in_lwip())) return true;
        return false;
    }
    /// Binds a port that another interface may use too: lwIP's own check does not look at the interface.
    static status bind_apart(tcp_pcb* pcb, std::uint16_t port) noexcept {
        if (tcp_bind(pcb, IP_ANY_TYPE, port) == ERR_OK) return status::ok;
        if (tcp_bind(pcb, IP_ANY_TYPE, 0) != ERR_OK) return status::no_memory;
        pcb->local_port = port; // the list of bound ports is not sorted
        return status::ok;
    }

    err_t arrived(tcp_pcb* accepted) noexcept {
        std::unique_ptr<waiting> entry(new (std::nothrow) waiting{nullptr, accepted, nullptr});
        if (entry) entry->made.reset(new (std::nothrow) connection);
        if (!entry || !entry->made) return ERR_MEM; // lwIP resets the connection
        tcp_backlog_delayed(accepted);
        entry->made->accept(accepted, mtu_);
        waiting* const added = entry.get();
        (last_ != nullptr ? last_->next : first_) = std::move(entry);
        last_ = added;
        changed();
        return ERR_OK;
    }

    tcp_pcb* pcb_ = nullptr;
    std::size_t mtu_ = 0;
    std::unique_ptr<waiting> first_{};
    waiting* last_ = nullptr;
};

}}} // namespace wg::WG_ABI::lwip

#endif
