// SPDX-License-Identifier: BSL-1.0
// The calls of Windows for the server's end of named pipes, to which only administrators can connect. Folder:
// os/windows/process. Any thread. Link: advapi32.
#ifndef WG_OS_WINDOWS_PROCESS_PIPE_CALLS_HPP
#define WG_OS_WINDOWS_PROCESS_PIPE_CALLS_HPP

#include "../error.hpp"
#include "../handle.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The calls of `basic_uapi_listener` and `basic_name_lock`. Those that return an int return 0 or the error number.
struct pipe_calls : handle_calls {
    using operation = api_detail::overlapped; ///< an operation of a pipe that goes on after its call

    /// CreateEventW: an event that a wait resets. Returns: null if there is no memory left.
    static void* create_event() noexcept { return api_detail::create_event(nullptr, 0, 0, nullptr); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// GetLastError
    static int error() noexcept { return static_cast<int>(api_detail::last_error()); }
    /// The text of Windows for an error number.
    static system_text text_of(int error) noexcept { return system_text(error); }

    /// The security descriptor that `text` describes (SDDL). Returns: null with `error`.
    static void* descriptor_of(char16_t const* text) noexcept {
        void* made = nullptr;
        return api_detail::security_descriptor_of(text, api_detail::security_text_revision, &made, nullptr) != 0
                   ? made
                   : nullptr;
    }
    /// LocalFree
    static void free_descriptor(void* descriptor) noexcept { api_detail::free_local(descriptor); }

    /// During its life this process may give its objects another owner, which administrators may (SeRestorePrivilege).
    /// Without this right, only LocalSystem can create a pipe that LocalSystem owns. The right also allows to write any
    /// file, so the process has it only while it creates an instance.
    class owner_right {
    public:
        /// Takes the right, if the user has it.
        owner_right() noexcept {
            void* opened = nullptr;
            if (api_detail::open_token(api_detail::current_process(),
                                       api_detail::token_adjust_privileges | api_detail::token_query, &opened) == 0)
                return;
            token_.reset(opened);
            api_detail::privilege wanted{1, {}, api_detail::privilege_enabled};
            std::uint32_t size = 0;
            if (api_detail::find_privilege(nullptr, u"SeRestorePrivilege", wanted.id) != 0)
                (void)api_detail::adjust_privileges(token_.get(), 0, &wanted, sizeof before_, &before_, &size);
        }
        owner_right(owner_right const&) = delete;
        owner_right& operator=(owner_right const&) = delete;
        /// Gives the right up, unless the process had it before. Changes the number of `error`.
        ~owner_right() {
            if (before_.count != 0) (void)api_detail::adjust_privileges(token_.get(), 0, &before_, 0, nullptr, nullptr);
        }

    private:
        unique_handle token_{};
        api_detail::privilege before_{}; ///< of the right, if it was changed
    };

    /// CreateNamedPipeW: an instance for bytes both ways, without remote clients. `first`: fail if the pipe exists.
    /// Returns: null or INVALID_HANDLE_VALUE with `error`.
    static void* create_pipe(char16_t const* path, bool first, std::uint32_t max_instances, void* descriptor) noexcept {
        api_detail::security_attributes security{sizeof security, descriptor, 0};
        std::uint32_t const mode =
            api_detail::pipe_both_ways | api_detail::file_overlapped | (first ? api_detail::pipe_is_first : 0);
        return api_detail::create_pipe(path, mode, api_detail::pipe_rejects_remote_clients, max_instances, buffer_bytes,
                                       buffer_bytes, 0, &security);
    }
    /// Whether a pipe exists: WaitNamedPipeW without waiting.
    static bool pipe_exists(char16_t const* path) noexcept {
        if (api_detail::wait_for_pipe(path, api_detail::pipe_does_not_wait) != 0) return true;
        int const why = error();
        return why != api_detail::error_file_not_found && why != api_detail::error_path_not_found;
    }

    /// ConnectNamedPipe. Returns: ERROR_IO_PENDING mostly; ERROR_PIPE_CONNECTED; ERROR_NO_DATA and others.
    static int connect(void* pipe, operation& of) noexcept {
        return api_detail::connect_pipe(pipe, &of) != 0 ? 0 : error();
    }
    /// DisconnectNamedPipe
    static void disconnect(void* pipe) noexcept { api_detail::disconnect_pipe(pipe); }
    /// ReadFile. Returns: 0 or ERROR_IO_PENDING if it has begun.
    static int read(void* pipe, byte* to, std::uint32_t size, operation& of) noexcept {
        return api_detail::read_file(pipe, to, size, nullptr, &of) != 0 ? 0 : error();
    }
    /// WriteFile. Returns: 0 or ERROR_IO_PENDING if it has begun.
    static int write(void* pipe, byte const* from, std::uint32_t size, operation& of) noexcept {
        return api_detail::write_file(pipe, from, size, nullptr, &of) != 0 ? 0 : error();
    }
    /// GetOverlappedResult without waiting. Returns: ERROR_IO_INCOMPLETE while the operation goes on.
    static int result(void* pipe, operation& of, std::uint32_t& size) noexcept {
        return api_detail::overlapped_result(pipe, &of, &size, 0) != 0 ? 0 : error();
    }
    /// CancelIoEx, and waits for the end of the operation. Windows ends a cancelled operation of a pipe at once.
    static void cancel(void* pipe, operation& of) noexcept {
        (void)api_detail::cancel_operation(pipe, &of);
        std::uint32_t size = 0;
        while (result(pipe, of, size) == api_detail::error_io_incomplete) api_detail::switch_to_thread();
    }

private:
    static constexpr std::uint32_t buffer_bytes = 4096;
};

}}}} // namespace wg::WG_ABI::os::windows

#endif
