// SPDX-License-Identifier: BSL-1.0
// The functions of wintun.dll 0.14 (https://www.wintun.net), declared here and looked up at run time. Folder:
// os/windows/tun. One thread at a time.
#ifndef WG_OS_WINDOWS_TUN_WINTUN_HPP
#define WG_OS_WINDOWS_TUN_WINTUN_HPP

#include "../../error_text.hpp"
#include "../error.hpp"
#include "../net/interface_calls.hpp"

#include <type_traits>
#include <utility>

namespace wg { inline namespace WG_ABI { namespace os { namespace windows {

/// The functions of wintun.dll. An adapter and a session are pointers of the DLL. Those that return a pointer return
/// null with an error number of GetLastError.
struct wintun_functions {
    /// WintunCreateAdapter
    void* (*create_adapter)(char16_t const* name, char16_t const* type, api_detail::guid const* id) noexcept = nullptr;
    /// WintunCloseAdapter: removes the adapter.
    void (*close_adapter)(void* adapter) noexcept = nullptr;
    /// WintunGetAdapterLUID
    void (*get_luid)(void* adapter, std::uint64_t* luid) noexcept = nullptr;
    /// WintunStartSession; `ring_bytes` is a power of two from 128 KiB to 64 MiB.
    void* (*start_session)(void* adapter, std::uint32_t ring_bytes) noexcept = nullptr;
    /// WintunEndSession
    void (*end_session)(void* session) noexcept = nullptr;
    /// WintunGetReadWaitEvent: the session's own event, which a wait resets.
    void* (*read_event)(void* session) noexcept = nullptr;
    /// WintunReceivePacket: the oldest packet of the ring.
    byte* (*receive)(void* session, std::uint32_t* size) noexcept = nullptr;
    /// WintunReleaseReceivePacket
    void (*release)(void* session, byte const* packet) noexcept = nullptr;
    /// WintunAllocateSendPacket: room in the other ring.
    byte* (*allocate)(void* session, std::uint32_t size) noexcept = nullptr;
    /// WintunSendPacket: gives a packet of `allocate` to the host, after those that were allocated before it.
    void (*send)(void* session, byte const* packet) noexcept = nullptr;
};

/// The calls of `basic_wintun` and of `basic_tun`. A test replaces them.
struct tun_calls : interface_calls {
    /// Loads wintun.dll from the program's directory or that of Windows. Returns: null with `error`.
    static void* load() noexcept {
        return api_detail::load_library(u"wintun.dll", nullptr, api_detail::load_from_safe_places);
    }
    /// FreeLibrary
    static void unload(void* library) noexcept { api_detail::free_library(library); }
    /// A function of the library; null: it has none of this name.
    static api_detail::function find(void* library, char const* name) noexcept {
        return api_detail::find_function(library, name);
    }
    /// GetLastError
    static int error() noexcept { return static_cast<int>(api_detail::last_error()); }
    /// SetEvent
    static void set_event(void* event) noexcept { api_detail::set_event(event); }
    /// The text of Windows for an error number.
    static system_text text_of(int error) noexcept { return system_text(error); }
};

/// Owns the loaded wintun.dll. A test replaces `Calls`.
template <class Calls = tun_calls> class basic_wintun {
public:
    /// Has not loaded it.
    basic_wintun() noexcept = default;
    /// Takes over the library of `other`.
    basic_wintun(basic_wintun&& other) noexcept { swap(other); }
    /// Unloads its library and takes over that of `other`.
    basic_wintun& operator=(basic_wintun&& other) noexcept {
        basic_wintun taken(std::move(other));
        taken.swap(*this);
        return *this;
    }
    basic_wintun(basic_wintun const&) = delete;
    basic_wintun& operator=(basic_wintun const&) = delete;
    ~basic_wintun() {
        if (library_ != nullptr) Calls::unload(library_);
    }

    /// Loads the library and looks up its functions.
    /// Returns: `not_supported` if it is missing, too old or for another processor; or the status of the error. `why`
    /// then says how to mend it.
    status load(error_text& why) noexcept {
        basic_wintun loaded;
        loaded.library_ = Calls::load();
        if (loaded.library_ == nullptr) {
            int const error = Calls::error();
            if (error == api_detail::error_module_not_found || error == api_detail::error_file_not_found ||
                error == api_detail::error_path_not_found) {
                why.set("wintun.dll is missing: get it from https://www.wintun.net and put the file of this processor "
                        "beside the program");
                return status::not_supported;
            }
            if (error == api_detail::error_bad_image) {
                why.set("wintun.dll is for another processor: put the file of this processor from "
                        "https://www.wintun.net beside the program");
                return status::not_supported;
            }
            why.set("cannot load wintun.dll: ", Calls::text_of(error).view());
            return status_of(error);
        }
        if (char const* const missing = loaded.find_all(); missing != nullptr) {
            why.set("wintun.dll has no ", missing, ": get version 0.14 or newer from https://www.wintun.net");
            return status::not_supported;
        }
        *this = std::move(loaded);
        return status::ok;
    }

    /// The functions; null pointers before `load`.
    wintun_functions const& functions() const noexcept { return functions_; }

private:
    /// Returns: the name of the first function that is missing, or null.
    char const* find_all() noexcept {
        char const* missing = nullptr;
        auto const find = [&](auto& function, char const* name) {
            function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(Calls::find(library_, name));
            if (function == nullptr && missing == nullptr) missing = name;
        };
        find(functions_.create_adapter, "WintunCreateAdapter");
        find(functions_.close_adapter, "WintunCloseAdapter");
        find(functions_.get_luid, "WintunGetAdapterLUID");
        find(functions_.start_session, "WintunStartSession");
        find(functions_.end_session, "WintunEndSession");
        find(functions_.read_event, "WintunGetReadWaitEvent");
        find(functions_.receive, "WintunReceivePacket");
        find(functions_.release, "WintunReleaseReceivePacket");
        find(functions_.allocate, "WintunAllocateSendPacket");
        find(functions_.send, "WintunSendPacket");
        return missing;
    }

    void swap(basic_wintun& other) noexcept {
        std::swap(library_, other.library_);
        std::swap(functions_, other.functions_);
    }

    void* library_ = nullptr;
    wintun_functions functions_{};
};

}}}} // namespace wg::WG_ABI::os::windows

#endif
