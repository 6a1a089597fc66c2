// SPDX-License-Identifier: BSL-1.0
// The functions, structures and numbers of Windows that os/windows uses, declared here. <windows.h> would bring
// thousands of macros into each program, and what a program defines before it would change these headers. Folder:
// os/windows. Thread rules are those of Windows.
//
// Each function has a name of its own in C++ and the name of Windows for the linker, so a program may include the
// headers of Windows before or after these. The declarations are for 64-bit Windows, where all functions have the same
// calling convention. They also compile on Linux, where tests replace the calls. tests/windows/layout.cpp compares them
// with the headers of Windows.
#ifndef WG_OS_WINDOWS_API_HPP
#define WG_OS_WINDOWS_API_HPP

#include "../../base/bytes.hpp"

namespace wg { inline namespace WG_ABI { namespace os { namespace windows { namespace api_detail {

using handle = void*;                 // HANDLE
using socket_handle = std::uintptr_t; // SOCKET
using wide = char16_t;                // WCHAR
using function = void (*)() noexcept; // FARPROC
using thread_start = std::uint32_t (*)(void* context) noexcept;

inline constexpr socket_handle no_socket = ~socket_handle{0}; // INVALID_SOCKET
inline constexpr std::size_t page_bytes = 4096;               // of x64 and arm64

// Error numbers.
inline constexpr int error_file_not_found = 2;
inline constexpr int error_path_not_found = 3;
inline constexpr int error_access_denied = 5;
inline constexpr int error_not_enough_memory = 8;
inline constexpr int error_invalid_data = 13;
inline constexpr int error_out_of_memory = 14;
inline constexpr int error_end_of_file = 38; // ERROR_HANDLE_EOF
inline constexpr int error_not_supported = 50;
inline constexpr int error_invalid_parameter = 87;
inline constexpr int error_buffer_overflow = 111;
inline constexpr int error_call_not_implemented = 120;
inline constexpr int error_module_not_found = 126;
inline constexpr int error_procedure_not_found = 127;
inline constexpr int error_already_exists = 183;
inline constexpr int error_bad_image = 193; // ERROR_BAD_EXE_FORMAT
inline constexpr int error_no_more_items = 259;
inline constexpr int error_not_found = 1168;
inline constexpr int error_privilege_not_held = 1314;
inline constexpr int error_no_system_resources = 1450;
inline constexpr int error_working_set_quota = 1453;
inline constexpr int error_object_already_exists = 5010;
inline constexpr int wsa_bad_handle = 10009;
inline constexpr int wsa_access = 10013;
inline constexpr int wsa_fault = 10014;
inline constexpr int wsa_invalid = 10022;
inline constexpr int wsa_too_many_files = 10024;
inline constexpr int wsa_would_block = 10035;
inline constexpr int wsa_not_socket = 10038;
inline constexpr int wsa_message_size = 10040;
inline constexpr int wsa_no_protocol_option = 10042;
inline constexpr int wsa_protocol_not_supported = 10043;
inline constexpr int wsa_operation_not_supported = 10045;
inline constexpr int wsa_family_not_supported = 10047;
inline constexpr int wsa_address_in_use = 10048;
inline constexpr int wsa_address_not_available = 10049;
inline constexpr int wsa_network_unreachable = 10051;
inline constexpr int wsa_network_reset = 10052;
inline constexpr int wsa_connection_reset = 10054;
inline constexpr int wsa_no_buffers = 10055;
inline constexpr int wsa_host_unreachable = 10065;

// Memory.
inline constexpr std::uint32_t mem_commit = 0x1000;
inline constexpr std::uint32_t mem_reserve = 0x2000;
inline constexpr std::uint32_t mem_release = 0x8000;
inline constexpr std::uint32_t page_no_access = 0x01;
inline constexpr std::uint32_t page_read_write = 0x04;

// Sockets.
inline constexpr int family_v4 = 2;  // AF_INET
inline constexpr int family_v6 = 23; // AF_INET6
inline constexpr int level_socket = 0xffff;
inline constexpr int level_v4 = 0;          // IPPROTO_IP
inline constexpr int level_v6 = 41;         // IPPROTO_IPV6
inline constexpr int level_udp = 17;        // IPPROTO_UDP
inline constexpr int option_exclusive = -5; // SO_EXCLUSIVEADDRUSE
inline constexpr int option_send_buffer = 0x1001;
inline constexpr int option_receive_buffer = 0x1002;
inline constexpr int option_v6_only = 27;
// These have the same number for IPv4 and for IPv6.
inline constexpr int option_packet_info = 19; // IP_PKTINFO, IPV6_PKTINFO: option and control message
inline constexpr int option_unicast_if = 31;  // IP_UNICAST_IF, IPV6_UNICAST_IF
inline constexpr int option_receive_tos = 40; // IP_RECVTOS, IPV6_RECVTCLASS
inline constexpr int option_ecn = 50;         // IP_ECN, IPV6_ECN: option and control message
inline constexpr int control_tos_v4 = 3;      // IP_TOS
inline constexpr int control_tos_v6 = 39;     // IPV6_TCLASS
inline constexpr int option_segment = 2;      // UDP_SEND_MSG_SIZE: option and control message
inline constexpr int option_coalesce = 3;     // UDP_RECV_MAX_COALESCED_SIZE; as a control message UDP_COALESCED_INFO
inline constexpr std::uint32_t message_is_cut = 0x0100;            // MSG_TRUNC
inline constexpr std::uint32_t control_non_blocking = 0x8004667e;  // FIONBIO
inline constexpr std::uint32_t control_reset = 0x9800000c;         // SIO_UDP_CONNRESET
inline constexpr std::uint32_t control_net_reset = 0x9800000f;     // SIO_UDP_NETRESET
inline constexpr std::uint32_t control_find_function = 0xc8000006; // SIO_GET_EXTENSION_FUNCTION_POINTER
inline constexpr int event_read = 1;                               // FD_READ
inline constexpr short poll_write = 0x10;                          // POLLWRNORM

// The first members of each structure have its name in Windows.
struct address_v4 { // SOCKADDR_IN
    std::uint16_t family;
    std::uint16_t port; // big-endian
    alignas(4) byte address[4];
    byte zero[8];
};
struct address_v6 { // SOCKADDR_IN6
    std::uint16_t family;
    std::uint16_t port; // big-endian
    std::uint32_t flow;
    byte address[16];
    std::uint32_t scope;
};
union socket_address { // SOCKADDR_INET
    std::uint16_t family;
    address_v4 v4;
    address_v6 v6;
};
struct piece { // WSABUF
    std::uint32_t size;
    byte* data;
};
struct message { // WSAMSG
    socket_address* name;
    std::int32_t name_bytes;
    piece* pieces;
    std::uint32_t piece_count;
    piece control;
    std::uint32_t flags;
};
struct control_header { // WSACMSGHDR
    std::size_t size;   // of this header and the value
    std::int32_t level;
    std::int32_t type;
};
struct packet_info_v4 { // IN_PKTINFO
    byte address[4];
    std::uint32_t interface_index;
};
struct packet_info_v6 { // IN6_PKTINFO
    byte address[16];
    std::uint32_t interface_index;
};
struct guid { // GUID
    std::uint32_t a;
    std::uint16_t b, c;
    byte d[8];
};
struct poll_entry { // WSAPOLLFD
    socket_handle socket;
    short wanted;
    short found;
};
using send_function = int (*)(socket_handle, message*, std::uint32_t flags, std::uint32_t* sent, void* overlapped,
                              void* completion) noexcept; // LPFN_WSASENDMSG
using receive_function = int (*)(socket_handle, message*, std::uint32_t* received, void* overlapped,
                                 void* completion) noexcept; // LPFN_WSARECVMSG
inline constexpr guid send_function_id = {0xa441e712, 0x754f, 0x43ca, {0x84, 0xa7, 0x0d, 0xee, 0x44, 0xcf, 0x60, 0x6d}};
inline constexpr guid receive_function_id = {
    0xf689d7c8, 0x6f1f, 0x436b, {0x8a, 0x53, 0xe5, 0x4f, 0xe3, 0x51, 0xc3, 0x22}};

// Interfaces and routes.
struct interface_row { // MIB_IPINTERFACE_ROW, without the members that are not used
    std::uint16_t family;
    std::uint64_t luid;
    std::uint32_t index;
    byte unused[124];
    std::uint32_t site_prefix_bits;
    std::uint32_t metric;
    std::uint32_t mtu;
    byte unused_end[12];
};
struct prefix { // IP_ADDRESS_PREFIX
    socket_address address;
    byte bits;
};
struct route_row { // MIB_IPFORWARD_ROW2, without the members that are not used
    std::uint64_t luid;
    std::uint32_t index;
    prefix destination;
    socket_address next_hop;
    byte unused[12];
    std::uint32_t metric;
    byte unused_end[16];
};
struct route_table { // MIB_IPFORWARD_TABLE2
    std::uint32_t count;
    route_row first;
};

// Where LoadLibraryExW looks: in the program's directory, and in that of Windows. Others could be written to by others.
inline constexpr std::uint32_t load_from_safe_places = 0x200 | 0x800;

// Waiting.
inline constexpr std::uint32_t wait_object_0 = 0;
inline constexpr std::uint32_t wait_timeout = 258;
inline constexpr std::uint32_t wait_failed = 0xffffffff;
inline constexpr std::uint32_t wait_forever = 0xffffffff;
inline constexpr std::size_t max_wait_objects = 64;

inline constexpr std::uint32_t preferred_random_source = 2;    // BCRYPT_USE_SYSTEM_PREFERRED_RNG
inline constexpr std::uint16_t all_processor_groups = 0xffff;  // ALL_PROCESSOR_GROUPS
inline constexpr std::uint32_t message_from_system = 0x1200;   // FORMAT_MESSAGE_FROM_SYSTEM, ..._IGNORE_INSERTS
inline constexpr std::uint32_t stack_is_reservation = 0x10000; // STACK_SIZE_PARAM_IS_A_RESERVATION

// clang-format off
handle create_event(void* security, int manual_reset, int set, wide const* name) noexcept __asm__("CreateEventW");
int set_event(handle event) noexcept __asm__("SetEvent");
int reset_event(handle event) noexcept __asm__("ResetEvent");
int close_handle(handle object) noexcept __asm__("CloseHandle");
std::uint32_t wait_for_one(handle object, std::uint32_t milliseconds) noexcept __asm__("WaitForSingleObject");
std::uint32_t wait_for_many(std::uint32_t count, handle const* objects, int all, std::uint32_t milliseconds) noexcept
    __asm__("WaitForMultipleObjects");
std::uint32_t last_error() noexcept __asm__("GetLastError");
handle loaded_module(wide const* name) noexcept __asm__("GetModuleHandleW");
function find_function(handle module, char const* name) noexcept __asm__("GetProcAddress");
std::uint32_t format_message(std::uint32_t flags, void const* source, std::uint32_t id, std::uint32_t language,
                             char* text, std::uint32_t size, void* arguments) noexcept __asm__("FormatMessageA");
std::uint64_t tick_count() noexcept __asm__("GetTickCount64");
void system_time(std::uint64_t* since_1601) noexcept __asm__("GetSystemTimePreciseAsFileTime");
std::int32_t generate_random(void* algorithm, byte* out, std::uint32_t size, std::uint32_t flags) noexcept
    __asm__("BCryptGenRandom");
void* allocate_pages(void* at, std::size_t size, std::uint32_t kind, std::uint32_t protection) noexcept
    __asm__("VirtualAlloc");
int free_pages(void* at, std::size_t size, std::uint32_t kind) noexcept __asm__("VirtualFree");
int lock_pages(void* at, std::size_t size) noexcept __asm__("VirtualLock");
handle current_process() noexcept __asm__("GetCurrentProcess");
int get_working_set(handle process, std::size_t* least, std::size_t* most) noexcept
    __asm__("GetProcessWorkingSetSize");
int set_working_set(handle process, std::size_t least, std::size_t most) noexcept __asm__("SetProcessWorkingSetSize");
void lock_exclusive(void** lock) noexcept __asm__("AcquireSRWLockExclusive");
void unlock_exclusive(void** lock) noexcept __asm__("ReleaseSRWLockExclusive");
int wait_on_address(void volatile const* at, void const* old, std::size_t size, std::uint32_t milliseconds) noexcept
    __asm__("WaitOnAddress");
void wake_all(void const* at) noexcept __asm__("WakeByAddressAll");
handle create_thread(void* security, std::size_t stack_bytes, thread_start start, void* context, std::uint32_t flags,
                     std::uint32_t* id) noexcept __asm__("CreateThread");
int switch_to_thread() noexcept __asm__("SwitchToThread");
std::uint32_t processor_count(std::uint16_t group) noexcept __asm__("GetActiveProcessorCount");
int start_sockets(std::uint16_t version, void* data) noexcept __asm__("WSAStartup");
int stop_sockets() noexcept __asm__("WSACleanup");
int last_socket_error() noexcept __asm__("WSAGetLastError");
socket_handle open_socket(int family, int type, int protocol, void* information, std::uint32_t group,
                          std::uint32_t flags) noexcept __asm__("WSASocketW");
int close_socket(socket_handle socket) noexcept __asm__("closesocket");
int bind_socket(socket_handle socket, socket_address const* where, int size) noexcept __asm__("bind");
int socket_name(socket_handle socket, socket_address* where, int* size) noexcept __asm__("getsockname");
int set_socket_option(socket_handle socket, int level, int name, void const* value, int size) noexcept
    __asm__("setsockopt");
int get_socket_option(socket_handle socket, int level, int name, void* value, int* size) noexcept
    __asm__("getsockopt");
int control_socket(socket_handle socket, std::uint32_t code, void const* in, std::uint32_t in_bytes, void* out,
                   std::uint32_t out_bytes, std::uint32_t* returned, void* overlapped, void* completion) noexcept
    __asm__("WSAIoctl");
int select_events(socket_handle socket, handle event, std::int32_t which) noexcept __asm__("WSAEventSelect");
int poll_sockets(poll_entry* entries, std::uint32_t count, int milliseconds) noexcept __asm__("WSAPoll");
handle load_library(wide const* name, handle reserved, std::uint32_t flags) noexcept __asm__("LoadLibraryExW");
int free_library(handle library) noexcept __asm__("FreeLibrary");
std::uint32_t get_interface(interface_row* row) noexcept __asm__("GetIpInterfaceEntry");
std::uint32_t set_interface(interface_row* row) noexcept __asm__("SetIpInterfaceEntry");
std::uint32_t get_routes(std::uint16_t family, route_table** table) noexcept __asm__("GetIpForwardTable2");
void free_table(void* table) noexcept __asm__("FreeMibTable");
// clang-format on

/// Looks up a function of a module that every process has. Returns: null if this version of Windows lacks it.
template <class Function> Function* find_in(wide const* module, char const* name) noexcept {
    handle const found = loaded_module(module);
    return found == nullptr ? nullptr : reinterpret_cast<Function*>(find_function(found, name));
}

}}}}} // namespace wg::WG_ABI::os::windows::api_detail

#endif
