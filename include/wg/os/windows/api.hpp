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
inline constexpr int error_broken_pipe = 109;
inline constexpr int error_call_not_implemented = 120;
inline constexpr int error_module_not_found = 126;
inline constexpr int error_procedure_not_found = 127;
inline constexpr int error_already_exists = 183;
inline constexpr int error_bad_image = 193; // ERROR_BAD_EXE_FORMAT
inline constexpr int error_pipe_busy = 231;
inline constexpr int error_no_data = 232; // a client of a pipe has connected and left
inline constexpr int error_no_more_items = 259;
inline constexpr int error_pipe_connected = 535;
inline constexpr int error_io_incomplete = 996;
inline constexpr int error_io_pending = 997;
inline constexpr int error_service_running = 1056; // ERROR_SERVICE_ALREADY_RUNNING
inline constexpr int error_service_disabled = 1058;
inline constexpr int error_no_service = 1060; // ERROR_SERVICE_DOES_NOT_EXIST
inline constexpr int error_service_not_active = 1062;
inline constexpr int error_no_controller = 1063; // ERROR_FAILED_SERVICE_CONTROLLER_CONNECT
inline constexpr int error_service_specific = 1066;
inline constexpr int error_service_is_removed = 1072; // ERROR_SERVICE_MARKED_FOR_DELETE
inline constexpr int error_service_exists = 1073;
inline constexpr int error_not_found = 1168;
inline constexpr int error_invalid_owner = 1307;
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
    byte unused[21];
    byte forwards;
    byte unused_between[102];
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

// Pipes and files. An operation that is `overlapped` goes on after the call.
struct overlapped { // OVERLAPPED
    std::uintptr_t status;
    std::uintptr_t size;
    std::uint64_t offset;
    handle event;
};
struct security_attributes { // SECURITY_ATTRIBUTES
    std::uint32_t size;
    void* descriptor;
    int inherited;
};
inline constexpr std::uint32_t pipe_both_ways = 3;              // PIPE_ACCESS_DUPLEX
inline constexpr std::uint32_t pipe_is_first = 0x00080000;      // FILE_FLAG_FIRST_PIPE_INSTANCE
inline constexpr std::uint32_t file_overlapped = 0x40000000;    // FILE_FLAG_OVERLAPPED
inline constexpr std::uint32_t pipe_rejects_remote_clients = 8; // PIPE_REJECT_REMOTE_CLIENTS, of bytes, waiting
inline constexpr std::uint32_t pipe_does_not_wait = 1;          // NMPWAIT_NOWAIT
inline constexpr std::uint32_t security_text_revision = 1;      // SDDL_REVISION_1

// Rights of the process.
struct privilege { // TOKEN_PRIVILEGES with one LUID_AND_ATTRIBUTES
    std::uint32_t count;
    std::uint32_t id[2];
    std::uint32_t attributes;
};
inline constexpr std::uint32_t token_adjust_privileges = 0x20; // TOKEN_ADJUST_PRIVILEGES
inline constexpr std::uint32_t token_query = 0x8;              // TOKEN_QUERY, for the state before a change
inline constexpr std::uint32_t privilege_enabled = 2;          // SE_PRIVILEGE_ENABLED

// Memory of the process.
struct job_limits { // JOBOBJECT_EXTENDED_LIMIT_INFORMATION, without the members that are not used
    std::uint64_t unused[2];
    std::uint32_t flags;
    byte unused_middle[92];
    std::size_t process_memory;
    std::size_t unused_end[3];
};
inline constexpr int extended_job_limits = 9;                       // JobObjectExtendedLimitInformation
inline constexpr std::uint32_t job_limits_process_memory = 0x100;   // JOB_OBJECT_LIMIT_PROCESS_MEMORY
inline constexpr std::uint32_t no_error_dialogs = 0x0001 | 0x0002;  // SEM_FAILCRITICALERRORS, SEM_NOGPFAULTERRORBOX
inline constexpr std::uint32_t crash_reports_without_heap = 0x0001; // WER_FAULT_REPORTING_FLAG_NOHEAP

// The console and the event log.
using console_handler = int (*)(std::uint32_t event) noexcept; // PHANDLER_ROUTINE
inline constexpr std::uint32_t console_ctrl_c = 0;
inline constexpr std::uint32_t console_ctrl_break = 1;
inline constexpr std::uint32_t console_close = 2;
inline constexpr std::uint32_t console_logoff = 5;
inline constexpr std::uint32_t console_shutdown = 6;
inline constexpr std::uint32_t std_input_handle = static_cast<std::uint32_t>(-10);
inline constexpr std::uint32_t std_output_handle = static_cast<std::uint32_t>(-11);
inline constexpr std::uint32_t std_error_handle = static_cast<std::uint32_t>(-12);
inline constexpr std::uint32_t code_page_utf8 = 65001;
inline constexpr std::uint16_t event_log_error = 1; // EVENTLOG_ERROR_TYPE

// Services.
using service_handle = void*;        // SC_HANDLE
using service_status_handle = void*; // SERVICE_STATUS_HANDLE
struct service_status {              // SERVICE_STATUS
    std::uint32_t type;
    std::uint32_t state;
    std::uint32_t accepted;
    std::uint32_t exit_code;
    std::uint32_t specific_exit_code;
    std::uint32_t check_point;
    std::uint32_t wait_hint_ms;
};
using service_main = void (*)(std::uint32_t count, wide** arguments) noexcept; // LPSERVICE_MAIN_FUNCTIONW
using service_handler = std::uint32_t (*)(std::uint32_t control, std::uint32_t event, void* data,
                                          void* context) noexcept; // LPHANDLER_FUNCTION_EX
struct service_entry {                                             // SERVICE_TABLE_ENTRYW
    wide const* name;
    service_main main;
};
inline constexpr std::uint32_t service_own_process = 0x10;
inline constexpr std::uint32_t service_auto_start = 2;
inline constexpr std::uint32_t service_error_normal = 1;
inline constexpr std::uint32_t service_stopped = 1;
inline constexpr std::uint32_t service_start_pending = 2;
inline constexpr std::uint32_t service_stop_pending = 3;
inline constexpr std::uint32_t service_running = 4;
inline constexpr std::uint32_t service_accepts_stop = 1;
inline constexpr std::uint32_t service_accepts_shutdown = 4;
inline constexpr std::uint32_t service_control_stop = 1;
inline constexpr std::uint32_t service_control_interrogate = 4;
inline constexpr std::uint32_t service_control_shutdown = 5;
inline constexpr std::uint32_t manager_connect = 1;        // SC_MANAGER_CONNECT
inline constexpr std::uint32_t manager_create_service = 2; // SC_MANAGER_CREATE_SERVICE
inline constexpr std::uint32_t service_query_status = 0x4;
inline constexpr std::uint32_t service_start_right = 0x10;
inline constexpr std::uint32_t service_stop_right = 0x20;
inline constexpr std::uint32_t service_delete_right = 0x10000; // DELETE
inline constexpr std::uint32_t service_change_config = 0x2;
inline constexpr std::uint32_t service_description = 1; // SERVICE_CONFIG_DESCRIPTION

// Changes of the network.
using interface_callback = void (*)(void* context, interface_row* row, int kind) noexcept; // MIB_DELETE_INSTANCE: 2
using row_callback = void (*)(void* context, void* row, int kind) noexcept;
inline constexpr int row_is_deleted = 2; // MibDeleteInstance

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
                             wide* text, std::uint32_t size, void* arguments) noexcept __asm__("FormatMessageW");
std::uint64_t tick_count() noexcept __asm__("GetTickCount64");
int unbiased_interrupt_time(std::uint64_t* time) noexcept __asm__("QueryUnbiasedInterruptTime");
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
std::uint32_t watch_interfaces(std::uint16_t family, interface_callback told, void* context, byte initial,
                               handle* watch) noexcept __asm__("NotifyIpInterfaceChange");
std::uint32_t watch_routes(std::uint16_t family, row_callback told, void* context, byte initial, handle* watch) noexcept
    __asm__("NotifyRouteChange2");
std::uint32_t watch_addresses(std::uint16_t family, row_callback told, void* context, byte initial,
                              handle* watch) noexcept __asm__("NotifyUnicastIpAddressChange");
std::uint32_t stop_watch(handle watch) noexcept __asm__("CancelMibChangeNotify2");
std::uint32_t interface_of_alias(wide const* alias, std::uint64_t* luid) noexcept
    __asm__("ConvertInterfaceAliasToLuid");
std::uint32_t index_of_interface(std::uint64_t const* luid, std::uint32_t* index) noexcept
    __asm__("ConvertInterfaceLuidToIndex");
handle create_timer(void* security, int manual_reset, wide const* name) noexcept __asm__("CreateWaitableTimerW");
int set_timer(handle timer, std::int64_t const* due, std::int32_t period_ms, void* completion, void* context,
              int resumes) noexcept __asm__("SetWaitableTimer");
handle create_pipe(wide const* name, std::uint32_t open_mode, std::uint32_t pipe_mode, std::uint32_t max_instances,
                   std::uint32_t out_bytes, std::uint32_t in_bytes, std::uint32_t timeout_ms,
                   security_attributes const* security) noexcept __asm__("CreateNamedPipeW");
int connect_pipe(handle pipe, overlapped* operation) noexcept __asm__("ConnectNamedPipe");
int disconnect_pipe(handle pipe) noexcept __asm__("DisconnectNamedPipe");
int wait_for_pipe(wide const* name, std::uint32_t timeout_ms) noexcept __asm__("WaitNamedPipeW");
int read_file(handle file, void* to, std::uint32_t size, std::uint32_t* done, overlapped* operation) noexcept
    __asm__("ReadFile");
int write_file(handle file, void const* from, std::uint32_t size, std::uint32_t* done, overlapped* operation) noexcept
    __asm__("WriteFile");
int overlapped_result(handle file, overlapped* operation, std::uint32_t* done, int wait) noexcept
    __asm__("GetOverlappedResult");
int cancel_operation(handle file, overlapped* operation) noexcept __asm__("CancelIoEx");
int security_descriptor_of(wide const* text, std::uint32_t revision, void** descriptor, std::uint32_t* size) noexcept
    __asm__("ConvertStringSecurityDescriptorToSecurityDescriptorW");
void* free_local(void* memory) noexcept __asm__("LocalFree");
int open_token(handle process, std::uint32_t access, handle* token) noexcept __asm__("OpenProcessToken");
int find_privilege(wide const* system, wide const* name, std::uint32_t* id) noexcept __asm__("LookupPrivilegeValueW");
int adjust_privileges(handle token, int disable_all, privilege const* wanted, std::uint32_t size, void* before,
                      std::uint32_t* needed) noexcept __asm__("AdjustTokenPrivileges");
handle create_job(void* security, wide const* name) noexcept __asm__("CreateJobObjectW");
int limit_job(handle job, int kind, void const* limits, std::uint32_t size) noexcept
    __asm__("SetInformationJobObject");
int join_job(handle job, handle process) noexcept __asm__("AssignProcessToJobObject");
std::uint32_t set_error_mode(std::uint32_t mode) noexcept __asm__("SetErrorMode");
handle standard_handle(std::uint32_t which) noexcept __asm__("GetStdHandle");
int console_mode(handle console, std::uint32_t* mode) noexcept __asm__("GetConsoleMode");
int write_console(handle console, wide const* text, std::uint32_t size, std::uint32_t* done, void* reserved) noexcept
    __asm__("WriteConsoleW");
std::uint32_t console_code_page() noexcept __asm__("GetConsoleCP");
int handle_console_events(console_handler handler, int add) noexcept __asm__("SetConsoleCtrlHandler");
int to_wide(std::uint32_t code_page, std::uint32_t flags, char const* from, int size, wide* to, int room) noexcept
    __asm__("MultiByteToWideChar");
int from_wide(std::uint32_t code_page, std::uint32_t flags, wide const* from, int size, char* to, int room,
              char const* unknown, int* used_unknown) noexcept __asm__("WideCharToMultiByte");
handle open_event_log(wide const* server, wide const* source) noexcept __asm__("RegisterEventSourceW");
int close_event_log(handle log) noexcept __asm__("DeregisterEventSource");
int report_event(handle log, std::uint16_t type, std::uint16_t category, std::uint32_t id, void* user,
                 std::uint16_t text_count, std::uint32_t data_bytes, wide const** texts, void* data) noexcept
    __asm__("ReportEventW");
std::uint32_t module_path(handle module, wide* path, std::uint32_t room) noexcept __asm__("GetModuleFileNameW");
void sleep(std::uint32_t milliseconds) noexcept __asm__("Sleep");
int dispatch_service(service_entry const* services) noexcept __asm__("StartServiceCtrlDispatcherW");
service_status_handle register_service(wide const* name, service_handler handler, void* context) noexcept
    __asm__("RegisterServiceCtrlHandlerExW");
int set_service_status(service_status_handle service, service_status* status) noexcept __asm__("SetServiceStatus");
service_handle open_manager(wide const* machine, wide const* database, std::uint32_t access) noexcept
    __asm__("OpenSCManagerW");
service_handle create_service(service_handle manager, wide const* name, wide const* shown, std::uint32_t access,
                              std::uint32_t type, std::uint32_t start, std::uint32_t error_control, wide const* command,
                              wide const* group, std::uint32_t* tag, wide const* needs, wide const* account,
                              wide const* password) noexcept __asm__("CreateServiceW");
service_handle open_service(service_handle manager, wide const* name, std::uint32_t access) noexcept
    __asm__("OpenServiceW");
int close_service(service_handle object) noexcept __asm__("CloseServiceHandle");
int delete_service(service_handle service) noexcept __asm__("DeleteService");
int start_service(service_handle service, std::uint32_t count, wide const** arguments) noexcept
    __asm__("StartServiceW");
int control_service(service_handle service, std::uint32_t control, service_status* status) noexcept
    __asm__("ControlService");
int query_service(service_handle service, service_status* status) noexcept __asm__("QueryServiceStatus");
int configure_service(service_handle service, std::uint32_t what, void const* value) noexcept
    __asm__("ChangeServiceConfig2W");
// clang-format on

/// Looks up a function of a module that every process has. Returns: null if this version of Windows lacks it.
template <class Function> Function* find_in(wide const* module, char const* name) noexcept {
    void* const found = loaded_module(module);
    return found == nullptr ? nullptr : reinterpret_cast<Function*>(find_function(found, name));
}

}}}}} // namespace wg::WG_ABI::os::windows::api_detail

#endif
