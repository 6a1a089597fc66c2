// SPDX-License-Identifier: BSL-1.0
// The declarations of os/windows/api.hpp agree with the headers of Windows. Compiling this file is the test.
#include <winsock2.h>
#include <windows.h>
#include <ws2tcpip.h>
#include <ws2ipdef.h>
#include <iphlpapi.h>
#include <netioapi.h>
#include <mswsock.h>
#include <bcrypt.h>

#include <sddl.h>
#include <winsvc.h>

#include "wg/os/windows/udp/udp.hpp"

#include <cstddef>
#include <type_traits>

namespace {

namespace api = wg::os::windows::api_detail;

template <class Ours, class Theirs>
constexpr bool same_layout = sizeof(Ours) == sizeof(Theirs) && alignof(Ours) == alignof(Theirs);

#define SAME_NUMBER(ours, theirs) static_assert(static_cast<long long>(api::ours) == static_cast<long long>(theirs))
#define SAME_PLACE(ours, our_member, theirs, their_member)                                                             \
    static_assert(offsetof(api::ours, our_member) == offsetof(theirs, their_member) &&                                 \
                  sizeof(api::ours::our_member) == sizeof(theirs::their_member))

static_assert(std::is_same_v<api::handle, HANDLE>);
static_assert(std::is_same_v<api::socket_handle, SOCKET>);
static_assert(sizeof(api::wide) == sizeof(WCHAR));
static_assert(api::no_socket == INVALID_SOCKET);
static_assert(sizeof(WSADATA) <= 512);
static_assert(sizeof(SRWLOCK) == sizeof(void*));
static_assert(sizeof(FILETIME) == sizeof(std::uint64_t));

SAME_NUMBER(error_file_not_found, ERROR_FILE_NOT_FOUND);
SAME_NUMBER(error_path_not_found, ERROR_PATH_NOT_FOUND);
SAME_NUMBER(error_invalid_data, ERROR_INVALID_DATA);
SAME_NUMBER(error_end_of_file, ERROR_HANDLE_EOF);
SAME_NUMBER(error_buffer_overflow, ERROR_BUFFER_OVERFLOW);
SAME_NUMBER(error_bad_image, ERROR_BAD_EXE_FORMAT);
SAME_NUMBER(error_no_more_items, ERROR_NO_MORE_ITEMS);
SAME_NUMBER(error_not_found, ERROR_NOT_FOUND);
SAME_NUMBER(load_from_safe_places, LOAD_LIBRARY_SEARCH_APPLICATION_DIR | LOAD_LIBRARY_SEARCH_SYSTEM32);
SAME_NUMBER(error_access_denied, ERROR_ACCESS_DENIED);
SAME_NUMBER(error_not_enough_memory, ERROR_NOT_ENOUGH_MEMORY);
SAME_NUMBER(error_out_of_memory, ERROR_OUTOFMEMORY);
SAME_NUMBER(error_not_supported, ERROR_NOT_SUPPORTED);
SAME_NUMBER(error_invalid_parameter, ERROR_INVALID_PARAMETER);
SAME_NUMBER(error_call_not_implemented, ERROR_CALL_NOT_IMPLEMENTED);
SAME_NUMBER(error_module_not_found, ERROR_MOD_NOT_FOUND);
SAME_NUMBER(error_procedure_not_found, ERROR_PROC_NOT_FOUND);
SAME_NUMBER(error_already_exists, ERROR_ALREADY_EXISTS);
SAME_NUMBER(error_privilege_not_held, ERROR_PRIVILEGE_NOT_HELD);
SAME_NUMBER(error_no_system_resources, ERROR_NO_SYSTEM_RESOURCES);
SAME_NUMBER(error_working_set_quota, ERROR_WORKING_SET_QUOTA);
SAME_NUMBER(error_object_already_exists, ERROR_OBJECT_ALREADY_EXISTS);
SAME_NUMBER(wsa_bad_handle, WSAEBADF);
SAME_NUMBER(wsa_access, WSAEACCES);
SAME_NUMBER(wsa_fault, WSAEFAULT);
SAME_NUMBER(wsa_invalid, WSAEINVAL);
SAME_NUMBER(wsa_too_many_files, WSAEMFILE);
SAME_NUMBER(wsa_would_block, WSAEWOULDBLOCK);
SAME_NUMBER(wsa_not_socket, WSAENOTSOCK);
SAME_NUMBER(wsa_message_size, WSAEMSGSIZE);
SAME_NUMBER(wsa_no_protocol_option, WSAENOPROTOOPT);
SAME_NUMBER(wsa_protocol_not_supported, WSAEPROTONOSUPPORT);
SAME_NUMBER(wsa_operation_not_supported, WSAEOPNOTSUPP);
SAME_NUMBER(wsa_family_not_supported, WSAEAFNOSUPPORT);
SAME_NUMBER(wsa_address_in_use, WSAEADDRINUSE);
SAME_NUMBER(wsa_address_not_available, WSAEADDRNOTAVAIL);
SAME_NUMBER(wsa_network_unreachable, WSAENETUNREACH);
SAME_NUMBER(wsa_network_reset, WSAENETRESET);
SAME_NUMBER(wsa_connection_reset, WSAECONNRESET);
SAME_NUMBER(wsa_no_buffers, WSAENOBUFS);
SAME_NUMBER(wsa_host_unreachable, WSAEHOSTUNREACH);

SAME_NUMBER(mem_commit, MEM_COMMIT);
SAME_NUMBER(mem_reserve, MEM_RESERVE);
SAME_NUMBER(mem_release, MEM_RELEASE);
SAME_NUMBER(page_no_access, PAGE_NOACCESS);
SAME_NUMBER(page_read_write, PAGE_READWRITE);
SAME_NUMBER(wait_object_0, WAIT_OBJECT_0);
SAME_NUMBER(wait_timeout, WAIT_TIMEOUT);
SAME_NUMBER(wait_failed, WAIT_FAILED);
SAME_NUMBER(wait_forever, INFINITE);
SAME_NUMBER(max_wait_objects, MAXIMUM_WAIT_OBJECTS);
SAME_NUMBER(preferred_random_source, BCRYPT_USE_SYSTEM_PREFERRED_RNG);
SAME_NUMBER(all_processor_groups, ALL_PROCESSOR_GROUPS);
SAME_NUMBER(message_from_system, FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS);
SAME_NUMBER(stack_is_reservation, STACK_SIZE_PARAM_IS_A_RESERVATION);

SAME_NUMBER(family_v4, AF_INET);
SAME_NUMBER(family_v6, AF_INET6);
SAME_NUMBER(level_socket, SOL_SOCKET);
SAME_NUMBER(level_v4, IPPROTO_IP);
SAME_NUMBER(level_v6, IPPROTO_IPV6);
SAME_NUMBER(level_udp, IPPROTO_UDP);
SAME_NUMBER(option_exclusive, SO_EXCLUSIVEADDRUSE);
SAME_NUMBER(option_send_buffer, SO_SNDBUF);
SAME_NUMBER(option_receive_buffer, SO_RCVBUF);
SAME_NUMBER(option_v6_only, IPV6_V6ONLY);
SAME_NUMBER(option_packet_info, IP_PKTINFO);
SAME_NUMBER(option_packet_info, IPV6_PKTINFO);
SAME_NUMBER(option_unicast_if, IP_UNICAST_IF);
SAME_NUMBER(option_unicast_if, IPV6_UNICAST_IF);
SAME_NUMBER(option_receive_tos, IP_RECVTOS);
SAME_NUMBER(option_receive_tos, IPV6_RECVTCLASS);
SAME_NUMBER(option_ecn, IP_ECN);
SAME_NUMBER(option_ecn, IPV6_ECN);
SAME_NUMBER(control_tos_v4, IP_TOS);
SAME_NUMBER(control_tos_v6, IPV6_TCLASS);
SAME_NUMBER(message_is_cut, MSG_TRUNC);
SAME_NUMBER(control_non_blocking, static_cast<DWORD>(FIONBIO));
SAME_NUMBER(control_reset, static_cast<DWORD>(SIO_UDP_CONNRESET));
SAME_NUMBER(control_find_function, static_cast<DWORD>(SIO_GET_EXTENSION_FUNCTION_POINTER));
SAME_NUMBER(event_read, FD_READ);
SAME_NUMBER(poll_write, POLLWRNORM);
// mingw-w64 10 lacks these.
#ifdef UDP_SEND_MSG_SIZE
SAME_NUMBER(option_segment, UDP_SEND_MSG_SIZE);
SAME_NUMBER(option_coalesce, UDP_RECV_MAX_COALESCED_SIZE);
SAME_NUMBER(option_coalesce, UDP_COALESCED_INFO);
#endif
#ifdef SIO_UDP_NETRESET
SAME_NUMBER(control_net_reset, static_cast<DWORD>(SIO_UDP_NETRESET));
#endif

SAME_NUMBER(error_broken_pipe, ERROR_BROKEN_PIPE);
SAME_NUMBER(error_pipe_busy, ERROR_PIPE_BUSY);
SAME_NUMBER(error_no_data, ERROR_NO_DATA);
SAME_NUMBER(error_pipe_connected, ERROR_PIPE_CONNECTED);
SAME_NUMBER(error_io_incomplete, ERROR_IO_INCOMPLETE);
SAME_NUMBER(error_io_pending, ERROR_IO_PENDING);
SAME_NUMBER(error_service_running, ERROR_SERVICE_ALREADY_RUNNING);
SAME_NUMBER(error_service_disabled, ERROR_SERVICE_DISABLED);
SAME_NUMBER(error_no_service, ERROR_SERVICE_DOES_NOT_EXIST);
SAME_NUMBER(error_service_not_active, ERROR_SERVICE_NOT_ACTIVE);
SAME_NUMBER(error_no_controller, ERROR_FAILED_SERVICE_CONTROLLER_CONNECT);
SAME_NUMBER(error_service_specific, ERROR_SERVICE_SPECIFIC_ERROR);
SAME_NUMBER(error_service_is_removed, ERROR_SERVICE_MARKED_FOR_DELETE);
SAME_NUMBER(error_service_exists, ERROR_SERVICE_EXISTS);
SAME_NUMBER(error_invalid_owner, ERROR_INVALID_OWNER);
SAME_NUMBER(pipe_both_ways, PIPE_ACCESS_DUPLEX);
SAME_NUMBER(pipe_is_first, FILE_FLAG_FIRST_PIPE_INSTANCE);
SAME_NUMBER(file_overlapped, FILE_FLAG_OVERLAPPED);
SAME_NUMBER(pipe_rejects_remote_clients, PIPE_REJECT_REMOTE_CLIENTS | PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT);
SAME_NUMBER(pipe_does_not_wait, NMPWAIT_NOWAIT);
SAME_NUMBER(security_text_revision, SDDL_REVISION_1);
SAME_NUMBER(token_adjust_privileges, TOKEN_ADJUST_PRIVILEGES);
SAME_NUMBER(token_query, TOKEN_QUERY);
SAME_NUMBER(privilege_enabled, SE_PRIVILEGE_ENABLED);
SAME_NUMBER(extended_job_limits, JobObjectExtendedLimitInformation);
SAME_NUMBER(job_limits_process_memory, JOB_OBJECT_LIMIT_PROCESS_MEMORY);
SAME_NUMBER(no_error_dialogs, SEM_FAILCRITICALERRORS | SEM_NOGPFAULTERRORBOX);
SAME_NUMBER(console_ctrl_c, CTRL_C_EVENT);
SAME_NUMBER(console_ctrl_break, CTRL_BREAK_EVENT);
SAME_NUMBER(console_close, CTRL_CLOSE_EVENT);
SAME_NUMBER(console_logoff, CTRL_LOGOFF_EVENT);
SAME_NUMBER(console_shutdown, CTRL_SHUTDOWN_EVENT);
SAME_NUMBER(std_input_handle, STD_INPUT_HANDLE);
SAME_NUMBER(std_output_handle, STD_OUTPUT_HANDLE);
SAME_NUMBER(std_error_handle, STD_ERROR_HANDLE);
SAME_NUMBER(code_page_utf8, CP_UTF8);
SAME_NUMBER(event_log_error, EVENTLOG_ERROR_TYPE);
SAME_NUMBER(service_own_process, SERVICE_WIN32_OWN_PROCESS);
SAME_NUMBER(service_auto_start, SERVICE_AUTO_START);
SAME_NUMBER(service_error_normal, SERVICE_ERROR_NORMAL);
SAME_NUMBER(service_stopped, SERVICE_STOPPED);
SAME_NUMBER(service_start_pending, SERVICE_START_PENDING);
SAME_NUMBER(service_stop_pending, SERVICE_STOP_PENDING);
SAME_NUMBER(service_running, SERVICE_RUNNING);
SAME_NUMBER(service_accepts_stop, SERVICE_ACCEPT_STOP);
SAME_NUMBER(service_accepts_shutdown, SERVICE_ACCEPT_SHUTDOWN);
SAME_NUMBER(service_control_stop, SERVICE_CONTROL_STOP);
SAME_NUMBER(service_control_interrogate, SERVICE_CONTROL_INTERROGATE);
SAME_NUMBER(service_control_shutdown, SERVICE_CONTROL_SHUTDOWN);
SAME_NUMBER(manager_connect, SC_MANAGER_CONNECT);
SAME_NUMBER(manager_create_service, SC_MANAGER_CREATE_SERVICE);
SAME_NUMBER(service_query_status, SERVICE_QUERY_STATUS);
SAME_NUMBER(service_start_right, SERVICE_START);
SAME_NUMBER(service_stop_right, SERVICE_STOP);
SAME_NUMBER(service_delete_right, DELETE);
SAME_NUMBER(service_change_config, SERVICE_CHANGE_CONFIG);
SAME_NUMBER(service_description, SERVICE_CONFIG_DESCRIPTION);
SAME_NUMBER(row_is_deleted, MibDeleteInstance);

static_assert(same_layout<api::overlapped, OVERLAPPED>);
SAME_PLACE(overlapped, status, OVERLAPPED, Internal);
SAME_PLACE(overlapped, event, OVERLAPPED, hEvent);
static_assert(same_layout<api::security_attributes, SECURITY_ATTRIBUTES>);
SAME_PLACE(security_attributes, descriptor, SECURITY_ATTRIBUTES, lpSecurityDescriptor);
static_assert(same_layout<api::privilege, TOKEN_PRIVILEGES>);
static_assert(same_layout<api::job_limits, JOBOBJECT_EXTENDED_LIMIT_INFORMATION>);
static_assert(offsetof(api::job_limits, flags) == offsetof(JOBOBJECT_BASIC_LIMIT_INFORMATION, LimitFlags));
SAME_PLACE(job_limits, process_memory, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, ProcessMemoryLimit);
static_assert(same_layout<api::service_status, SERVICE_STATUS>);
SAME_PLACE(service_status, accepted, SERVICE_STATUS, dwControlsAccepted);
SAME_PLACE(service_status, wait_hint_ms, SERVICE_STATUS, dwWaitHint);
static_assert(same_layout<api::service_entry, SERVICE_TABLE_ENTRYW>);
SAME_PLACE(service_entry, main, SERVICE_TABLE_ENTRYW, lpServiceProc);

static_assert(same_layout<api::address_v4, sockaddr_in>);
SAME_PLACE(address_v4, family, sockaddr_in, sin_family);
SAME_PLACE(address_v4, port, sockaddr_in, sin_port);
SAME_PLACE(address_v4, address, sockaddr_in, sin_addr);
static_assert(same_layout<api::address_v6, sockaddr_in6>);
SAME_PLACE(address_v6, family, sockaddr_in6, sin6_family);
SAME_PLACE(address_v6, port, sockaddr_in6, sin6_port);
SAME_PLACE(address_v6, address, sockaddr_in6, sin6_addr);
SAME_PLACE(address_v6, scope, sockaddr_in6, sin6_scope_id);
static_assert(same_layout<api::socket_address, SOCKADDR_INET>);
static_assert(same_layout<api::piece, WSABUF>);
SAME_PLACE(piece, size, WSABUF, len);
SAME_PLACE(piece, data, WSABUF, buf);
static_assert(same_layout<api::message, WSAMSG>);
SAME_PLACE(message, name, WSAMSG, name);
SAME_PLACE(message, name_bytes, WSAMSG, namelen);
SAME_PLACE(message, pieces, WSAMSG, lpBuffers);
SAME_PLACE(message, piece_count, WSAMSG, dwBufferCount);
SAME_PLACE(message, control, WSAMSG, Control);
SAME_PLACE(message, flags, WSAMSG, dwFlags);
static_assert(same_layout<api::control_header, WSACMSGHDR>);
SAME_PLACE(control_header, size, WSACMSGHDR, cmsg_len);
SAME_PLACE(control_header, level, WSACMSGHDR, cmsg_level);
SAME_PLACE(control_header, type, WSACMSGHDR, cmsg_type);
static_assert(same_layout<api::packet_info_v4, IN_PKTINFO>);
SAME_PLACE(packet_info_v4, address, IN_PKTINFO, ipi_addr);
SAME_PLACE(packet_info_v4, interface_index, IN_PKTINFO, ipi_ifindex);
static_assert(same_layout<api::packet_info_v6, IN6_PKTINFO>);
SAME_PLACE(packet_info_v6, address, IN6_PKTINFO, ipi6_addr);
SAME_PLACE(packet_info_v6, interface_index, IN6_PKTINFO, ipi6_ifindex);
static_assert(same_layout<api::guid, GUID>);
static_assert(same_layout<api::poll_entry, WSAPOLLFD>);
SAME_PLACE(poll_entry, socket, WSAPOLLFD, fd);
SAME_PLACE(poll_entry, wanted, WSAPOLLFD, events);
SAME_PLACE(poll_entry, found, WSAPOLLFD, revents);

static_assert(same_layout<api::interface_row, MIB_IPINTERFACE_ROW>);
SAME_PLACE(interface_row, family, MIB_IPINTERFACE_ROW, Family);
SAME_PLACE(interface_row, luid, MIB_IPINTERFACE_ROW, InterfaceLuid);
SAME_PLACE(interface_row, index, MIB_IPINTERFACE_ROW, InterfaceIndex);
SAME_PLACE(interface_row, forwards, MIB_IPINTERFACE_ROW, ForwardingEnabled);
SAME_PLACE(interface_row, site_prefix_bits, MIB_IPINTERFACE_ROW, SitePrefixLength);
SAME_PLACE(interface_row, metric, MIB_IPINTERFACE_ROW, Metric);
SAME_PLACE(interface_row, mtu, MIB_IPINTERFACE_ROW, NlMtu);
static_assert(same_layout<api::prefix, IP_ADDRESS_PREFIX>);
SAME_PLACE(prefix, bits, IP_ADDRESS_PREFIX, PrefixLength);
static_assert(same_layout<api::route_row, MIB_IPFORWARD_ROW2>);
SAME_PLACE(route_row, luid, MIB_IPFORWARD_ROW2, InterfaceLuid);
SAME_PLACE(route_row, index, MIB_IPFORWARD_ROW2, InterfaceIndex);
SAME_PLACE(route_row, destination, MIB_IPFORWARD_ROW2, DestinationPrefix);
SAME_PLACE(route_row, next_hop, MIB_IPFORWARD_ROW2, NextHop);
SAME_PLACE(route_row, metric, MIB_IPFORWARD_ROW2, Metric);
static_assert(same_layout<api::route_table, MIB_IPFORWARD_TABLE2>);
static_assert(offsetof(api::route_table, first) == offsetof(MIB_IPFORWARD_TABLE2, Table));

constexpr bool same_id(api::guid const& ours, GUID const& theirs) {
    for (int i = 0; i < 8; ++i)
        if (ours.d[i] != theirs.Data4[i]) return false;
    return ours.a == theirs.Data1 && ours.b == theirs.Data2 && ours.c == theirs.Data3;
}
static_assert(same_id(api::send_function_id, WSAID_WSASENDMSG));
static_assert(same_id(api::receive_function_id, WSAID_WSARECVMSG));

// Each control message takes the room that Windows gives it.
static_assert(WSA_CMSG_LEN(0) == sizeof(api::control_header));
static_assert(WSA_CMSG_SPACE(1) == 24 && WSA_CMSG_SPACE(8) == 24 && WSA_CMSG_SPACE(20) == 40);

} // namespace
