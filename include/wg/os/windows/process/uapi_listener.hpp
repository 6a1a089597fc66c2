// SPDX-License-Identifier: BSL-1.0
// The named pipe through which wg.exe configures an interface: instances, connections, replies that wait to be sent. A
// session of the program's reads requests and makes replies. Source: https://www.wireguard.com/xplatform/ and
// CreateNamedPipeW. Folder: os/windows/process. One thread at a time. Link: advapi32.
#ifndef WG_OS_WINDOWS_PROCESS_UAPI_LISTENER_HPP
#define WG_OS_WINDOWS_PROCESS_UAPI_LISTENER_HPP

#include "../../error_text.hpp"
#include "../../uapi_conversation.hpp"
#include "../adapter_name.hpp"
#include "pipe_calls.hpp"

#include <algorithm>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// Serves `MaxConnections` connections at most. A session and a reply are those of `uapi_conversation`. Nothing blocks:
/// while a client does not read its reply, no further request of that client is read. A test replaces `Calls`.
template <class Session, class Reply, std::size_t MaxConnections = 16, class Calls = pipe_calls>
class basic_uapi_listener {
public:
    /// The path before the interface's name. Windows lets only administrators create pipes below it.
    static constexpr char const* default_directory = R"(\\.\pipe\ProtectedPrefix\Administrators\WireGuard)";
    /// LocalSystem owns the pipe, which wg.exe requires. LocalSystem and administrators may use it, and no process with
    /// a lower integrity than an administrator's.
    static constexpr char16_t const* security = u"O:SYD:P(A;;GA;;;SY)(A;;GA;;;BA)S:(ML;;NWNRNX;;;HI)";

    /// Does not listen yet.
    basic_uapi_listener() noexcept : event_(Calls::create_event()) {}
    basic_uapi_listener(basic_uapi_listener const&) = delete;
    basic_uapi_listener& operator=(basic_uapi_listener const&) = delete;
    /// Closes all connections. Windows removes the pipe with its last instance.
    ~basic_uapi_listener() {
        for (instance& i : instances_) close(i);
        if (descriptor_ != nullptr) Calls::free_descriptor(descriptor_);
    }

    /// Listens at the pipe `name` below `directory`, to which only administrators can connect; null: the default.
    /// Returns: `address_in_use` if another process has a pipe of this name; `invalid` if `name` cannot name an
    /// adapter; `no_permission` without the rights of an administrator; `no_memory` and others. `why` then says how to
    /// mend it.
    status open(std::string_view name, error_text& why, char const* directory = default_directory) noexcept {
        if (!is_adapter_name(name)) {
            why.set("`", name.substr(0, 40), "` cannot name a pipe: it takes 1 to 32 letters, digits and _=+.-");
            return status::invalid;
        }
        path_.set(directory != nullptr ? directory : default_directory, "\\", name);
        std::copy(path_.view().begin(), path_.view().end(), wide_path_);
        wide_path_[path_.view().size()] = u'\0';
        if (!event_) return failed(api_detail::error_not_enough_memory, why);
        if (Calls::pipe_exists(wide_path_)) return failed(api_detail::error_pipe_busy, why);
        descriptor_ = Calls::descriptor_of(security);
        if (descriptor_ == nullptr) return failed(Calls::error(), why);
        for (instance& i : instances_) {
            int error = 0;
            i.pipe.reset(create(&i == instances_, error));
            if (i.pipe) continue;
            for (instance& made : instances_) close(made);
            return failed(error, why);
        }
        for (instance& i : instances_) listen(i);
        Calls::set_event(event_.get()); // each start of an operation has reset it
        return status::ok;
    }

    /// Windows has no pipes that another program could hand over. Returns: `not_supported`.
    status adopt(int /*number*/, std::string_view /*name*/, error_text& why,
                 char const* /*directory*/ = default_directory) noexcept {
        why.set("Windows cannot hand over a configuration socket: leave WG_UAPI_FD away");
        return status::not_supported;
    }

    /// An event that is set when `serve` has something to do. A wait resets it. It stays the same for the object's
    /// life. Null: no memory was left.
    void* event() const noexcept { return event_.get(); }
    /// The pipe's path.
    char const* path() const noexcept { return path_.c_str(); }
    /// The number of open connections.
    std::size_t connections() const noexcept {
        std::size_t count = 0;
        for (instance const& i : instances_) count += i.talk.is_open();
        return count;
    }

    /// Accepts connections, reads requests and sends replies, as far as possible without waiting. Input goes to
    /// `feed(Session&, bytes_view, Reply&) -> status`, one line or a part of a line at a time. If `feed` returns
    /// another status than ok, the connection is closed when its reply is sent. Returns: ok. No other process can
    /// remove a pipe, so it never is a request to end the daemon.
    template <class Feed> status serve(Feed&& feed) noexcept {
        for (instance& i : instances_) {
            i.left = most_operations;
            if (!i.pipe && descriptor_ != nullptr) renew(i);
        }
        // The start of an operation resets the event, also if the event told of another instance. So all instances are
        // looked at until none has started an operation.
        bool started = true, has_more = false;
        for (int round = 0; started && round < most_rounds; ++round) {
            started = has_more = false;
            for (instance& i : instances_) started = serve_instance(i, feed, has_more) || started;
            started = keep_listening() || started;
        }
        if (started || has_more) Calls::set_event(event_.get());
        return status::ok;
    }

private:
    enum class doing : byte { nothing, connects, reads, writes };
    static constexpr int most_operations = 16; ///< that one `serve` starts for a connection
    static constexpr int most_rounds = 64;     ///< of one `serve` over all instances
    static constexpr std::size_t most_written = 65536;
    static constexpr std::size_t max_path_chars = 256;

    struct instance {
        basic_handle<Calls> pipe{};
        typename Calls::operation operation{};
        doing what = doing::nothing;
        int left = 0;                  ///< operations that this `serve` may start
        std::uint64_t last_active = 0; ///< `time_` when it was served last
        uapi_conversation<Session, Reply> talk{};
    };

    status failed(int error, error_text& why) noexcept {
        if (error == api_detail::error_pipe_busy ||
            (error == api_detail::error_access_denied && Calls::pipe_exists(wide_path_))) {
            why.set("the pipe ", path_.view(), " is in use: another process serves this interface; end that process");
            return status::address_in_use;
        }
        status const found = error == api_detail::error_invalid_owner ? status::no_permission : status_of(error);
        why.set("cannot create the pipe ", path_.view(), ": ", Calls::text_of(error).view(),
                found == status::no_permission ? " (run as an administrator)" : "");
        return found == status::ok ? status::io_error : found;
    }

    void* create(bool first, int& error) noexcept {
        typename Calls::owner_right const right;
        // One more than there are places, because a place gets its new instance before its old one is closed.
        constexpr std::uint32_t max_instances = MaxConnections + 2;
        void* const made = Calls::create_pipe(wide_path_, first, max_instances, descriptor_);
        error = Calls::error();
        return made;
    }

    void close(instance& i) noexcept {
        if (i.what != doing::nothing) Calls::cancel(i.pipe.get(), i.operation);
        i.what = doing::nothing;
        i.talk.end();
        i.pipe.reset();
    }

    /// Ends a connection, and listens for the next client. The old instance is closed and not disconnected, because a
    /// client can still read the rest of its reply from a closed one.
    void renew(instance& i) noexcept {
        if (i.what != doing::nothing) Calls::cancel(i.pipe.get(), i.operation);
        i.what = doing::nothing;
        i.talk.end();
        int error = 0;
        basic_handle<Calls> fresh(create(false, error));
        if (fresh) i.pipe = std::move(fresh);
        else if (i.pipe) Calls::disconnect(i.pipe.get()); // no memory is left: the same instance serves the next client
        if (i.pipe) listen(i);
    }

    void listen(instance& i) noexcept {
        i.operation = {};
        i.operation.event = event_.get();
        int const error = Calls::connect(i.pipe.get(), i.operation);
        if (error == 0 || error == api_detail::error_io_pending) i.what = doing::connects;
        else if (error == api_detail::error_pipe_connected) accept(i);
        // A client that has left already: the next round renews the instance. Other errors: the next `serve` does.
        else if (error != api_detail::error_no_data) i.pipe.reset();
    }

    void accept(instance& i) noexcept {
        i.talk.begin();
        i.last_active = ++time_;
    }

    /// Goes on with one instance until an operation has to be waited for. Sets `has_more` if the instance has started
    /// as many operations as it may. Returns: whether it has started one.
    template <class Feed> bool serve_instance(instance& i, Feed& feed, bool& has_more) noexcept {
        bool started = false;
        while (i.pipe) {
            if (i.what != doing::nothing && !finish(i)) return started;
            if (i.left == 0) return has_more = true, started;
            if (i.talk.is_open() && i.talk.unsent().empty() && !i.talk.ending() && i.talk.has_input()) {
                i.talk.feed_line(feed);
                continue;
            }
            --i.left;
            started = true;
            if (!i.talk.is_open() || !begin(i)) renew(i);
        }
        return started;
    }

    /// Takes the result of the operation. A failed one ends the conversation. Returns: false if the operation goes on.
    bool finish(instance& i) noexcept {
        std::uint32_t size = 0;
        int const error = Calls::result(i.pipe.get(), i.operation, size);
        if (error == api_detail::error_io_incomplete) return false;
        doing const what = std::exchange(i.what, doing::nothing);
        if (error != 0) i.talk.end();
        else if (what == doing::connects) accept(i);
        else if (what == doing::reads) i.talk.received(size);
        else i.talk.sent(size);
        i.last_active = ++time_;
        return true;
    }

    /// Sends the rest of the reply if there is one, else reads. Returns: false if the connection has ended.
    bool begin(instance& i) noexcept {
        i.operation = {};
        i.operation.event = event_.get();
        bytes_view const unsent = i.talk.unsent();
        if (unsent.empty() && i.talk.ending()) return false;
        auto const size = static_cast<std::uint32_t>((std::min)(unsent.size(), most_written));
        auto const room = i.talk.input();
        int const error = size != 0 ? Calls::write(i.pipe.get(), unsent.data(), size, i.operation)
                                    : Calls::read(i.pipe.get(), room.data(), room.size(), i.operation);
        if (error != 0 && error != api_detail::error_io_pending) return false;
        i.what = size != 0 ? doing::writes : doing::reads;
        return true;
    }

    /// If each instance has a client, ends the connection that has been inactive longest, so that the next client finds
    /// an instance. Returns: whether it did.
    bool keep_listening() noexcept {
        instance* oldest = nullptr;
        for (instance& i : instances_) {
            if (!i.pipe || !i.talk.is_open()) return false;
            if (oldest == nullptr || i.last_active < oldest->last_active) oldest = &i;
        }
        renew(*oldest);
        return true;
    }

    basic_handle<Calls> event_;
    void* descriptor_ = nullptr; ///< the pipe's security
    error_text path_{};
    char16_t wide_path_[max_path_chars] = {};
    std::uint64_t time_ = 0;                 ///< counts what the instances did
    instance instances_[MaxConnections + 1]; ///< one of them listens
};

/// The configuration pipe of a Windows host.
template <class Session, class Reply, std::size_t MaxConnections = 16>
using uapi_listener = basic_uapi_listener<Session, Reply, MaxConnections>;

}}}} // namespace wg::WG_ABI::os::windows

#endif
