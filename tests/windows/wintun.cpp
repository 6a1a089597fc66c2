// SPDX-License-Identifier: BSL-1.0
// A wintun.dll for tests under Wine on x86-64 Linux. An adapter is a TUN interface of Linux, which this library opens
// by system calls of Linux: Wine runs a program on the processor itself, so its system calls reach the kernel. The test
// sets addresses and MTU of the interface.
#include <windows.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

enum call : std::int64_t {
    read_call = 0,
    write_call = 1,
    open_call = 2,
    close_call = 3,
    poll_call = 7,
    ioctl_call = 16
};
constexpr std::int64_t not_permitted = -1, interrupted = -4, again = -11, busy = -16;

/// A system call. Returns: what the kernel returns; an error is a negative number.
std::int64_t system_call(call number, std::int64_t a, std::int64_t b, std::int64_t c) {
    std::int64_t answer;
    do asm volatile("syscall" : "=a"(answer) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    while (answer == interrupted);
    return answer;
}
std::int64_t address_of(void const* at) { return reinterpret_cast<std::int64_t>(at); }

struct adapter {
    std::int64_t fd;
    HANDLE readable;          ///< the event of the session
    HANDLE empty;             ///< set when a receive found no packet
    HANDLE watcher = nullptr; ///< the thread that sets `readable`
    bool volatile ends = false;
};

/// Sets `readable` when the interface has a packet or is gone, once after each receive that found no packet.
DWORD WINAPI watch(void* of) {
    auto& a = *static_cast<adapter*>(of);
    while (!a.ends) {
        if (::WaitForSingleObject(a.empty, INFINITE) != WAIT_OBJECT_0) return 1;
        struct {
            std::int32_t fd;
            std::int16_t wanted, found;
        } entry{static_cast<std::int32_t>(a.fd), 1, 0};
        while (!a.ends && system_call(poll_call, address_of(&entry), 1, 50) == 0) {}
        ::SetEvent(a.readable);
    }
    return 0;
}

DWORD windows_error(std::int64_t error) {
    return error == not_permitted ? ERROR_ACCESS_DENIED : error == busy ? ERROR_ALREADY_EXISTS : ERROR_GEN_FAILURE;
}

} // namespace

#define EXPORTED extern "C" __declspec(dllexport)

EXPORTED void* WintunCreateAdapter(WCHAR const* name, WCHAR const*, GUID const*) {
    struct {
        char name[16] = {};
        std::uint16_t flags = 0x1001; // IFF_TUN, IFF_NO_PI
        char unused[22] = {};
    } request;
    for (int i = 0; i < 15 && name[i] != 0; ++i) request.name[i] = static_cast<char>(name[i]);
    constexpr int read_write_without_blocking = 02 | 04000;
    std::int64_t const fd = system_call(open_call, address_of("/dev/net/tun"), read_write_without_blocking, 0);
    if (fd < 0) return ::SetLastError(windows_error(fd)), nullptr;
    if (std::int64_t const refused = system_call(ioctl_call, fd, 0x400454ca, address_of(&request)); refused < 0) {
        system_call(close_call, fd, 0, 0);
        return ::SetLastError(windows_error(refused)), nullptr;
    }
    return new adapter{fd, ::CreateEventW(nullptr, FALSE, FALSE, nullptr),
                       ::CreateEventW(nullptr, FALSE, TRUE, nullptr)};
}

EXPORTED void WintunCloseAdapter(void* of) {
    auto* const a = static_cast<adapter*>(of);
    system_call(close_call, a->fd, 0, 0);
    ::CloseHandle(a->readable);
    ::CloseHandle(a->empty);
    delete a;
}

EXPORTED void WintunGetAdapterLUID(void*, std::uint64_t* luid) { *luid = 1; }

EXPORTED void* WintunStartSession(void* of, DWORD) {
    auto* const a = static_cast<adapter*>(of);
    a->watcher = ::CreateThread(nullptr, 0, &watch, a, 0, nullptr);
    return a->watcher != nullptr ? a : nullptr;
}

EXPORTED void WintunEndSession(void* of) {
    auto* const a = static_cast<adapter*>(of);
    a->ends = true;
    ::SetEvent(a->empty);
    ::WaitForSingleObject(a->watcher, INFINITE);
    ::CloseHandle(a->watcher);
}

EXPORTED HANDLE WintunGetReadWaitEvent(void* of) { return static_cast<adapter*>(of)->readable; }

EXPORTED BYTE* WintunReceivePacket(void* of, DWORD* size) {
    auto* const a = static_cast<adapter*>(of);
    auto* const room = static_cast<BYTE*>(std::malloc(65536));
    std::int64_t const got = system_call(read_call, a->fd, address_of(room), 65536);
    if (got > 0) {
        *size = static_cast<DWORD>(got);
        return room;
    }
    std::free(room);
    if (got == again) ::SetEvent(a->empty);
    ::SetLastError(got == again ? ERROR_NO_MORE_ITEMS : ERROR_HANDLE_EOF);
    return nullptr;
}

EXPORTED void WintunReleaseReceivePacket(void*, BYTE const* packet) { std::free(const_cast<BYTE*>(packet)); }

// The size of a packet stands before it.
EXPORTED BYTE* WintunAllocateSendPacket(void*, DWORD size) {
    auto* const room = static_cast<BYTE*>(std::malloc(size + 16));
    std::memcpy(room, &size, sizeof size);
    return room + 16;
}

EXPORTED void WintunSendPacket(void* of, BYTE const* packet) {
    DWORD size;
    std::memcpy(&size, packet - 16, sizeof size);
    system_call(write_call, static_cast<adapter*>(of)->fd, address_of(packet), size);
    std::free(const_cast<BYTE*>(packet) - 16);
}
