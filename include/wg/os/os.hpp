// SPDX-License-Identifier: BSL-1.0
// Includes the folder of the platform that is compiled for. No other header tests for the platform. Folder: os.
//
// `wg::os::host` names the types that `wg::default_policies` takes from the platform: all on Linux, macOS, FreeBSD,
// OpenBSD, NetBSD and 64-bit Windows, none on other platforms. The folder bare/, for boards without an operating
// system, compiles everywhere.
#ifndef WG_OS_OS_HPP
#define WG_OS_OS_HPP

#include "../base/abi.hpp"
#include "bare/board.hpp"
#include "bare/ethernet.hpp"
#include "bare/host.hpp"
#include "bare/ip_packet.hpp"
#include "bare/neighbours.hpp"
#include "unsaved_ratchets.hpp"

#if __STDC_HOSTED__ &&                                                                                                 \
    (defined(__linux__) || defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__))

// What the systems below share. It stands here so that the single header has one copy of it.
#include "backoff.hpp"
#include "error_text.hpp"
#include "line_limit.hpp"
#include "network_changes.hpp"
#include "offloads.hpp"
#include "posix/fd.hpp"
#include "posix/process/background.hpp"
#include "posix/process/directory.hpp"
#include "posix/process/limits.hpp"
#include "posix/process/name_lock.hpp"
#include "posix/process/program.hpp"
#include "posix/process/ratchet_files.hpp"
#include "posix/process/supervisor.hpp"
#include "posix/threads.hpp"
#include "posix/trace_file.hpp"
#include "snapshot_detector.hpp"
#include "socket_protector.hpp"
#include "uapi_conversation.hpp"

#ifdef __linux__

#include "linux/clock.hpp"
#include "linux/fd.hpp"
#include "linux/netlink/link.hpp"
#include "linux/netlink/network_monitor.hpp"
#include "linux/netlink/routes.hpp"
#include "linux/pollable.hpp"
#include "linux/process/privacy.hpp"
#include "linux/process/log.hpp"
#include "linux/process/stop_signals.hpp"
#include "linux/process/uapi_listener.hpp"
#include "linux/random.hpp"
#include "linux/secret_region.hpp"
#include "linux/snapshot_detector.hpp"
#include "linux/threads.hpp"
#include "linux/tun/tun.hpp"
#include "linux/udp/udp.hpp"
#include "linux/udp/udp_control.hpp"
#include "linux/waiter.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

using posix::background;
using posix::name_lock;
using posix::ratchet_files;
using posix::system_traits;
using posix::trace_file;
/// As `posix::limit_memory_by`. The kernel counts memory of mmap(2) too (Linux 4.7).
inline bool limit_memory(std::size_t bytes) noexcept { return posix::limit_memory_by<RLIMIT_DATA>(bytes); }

}}} // namespace wg::WG_ABI::os

#elif defined(__APPLE__)

#include "darwin/system.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

using darwin::clock;
using darwin::keep_memory_private;
using darwin::limit_memory;
using darwin::line_limit;
using darwin::log_writer;
using darwin::name_lock;
using darwin::network_monitor;
using darwin::random;
using darwin::secret_region;
using darwin::snapshot_detector;
using darwin::system_traits;
using darwin::tun;
using darwin::uapi_listener;
using darwin::udp;
using darwin::waiter;
using posix::background;
using posix::ratchet_files;
using posix::stop_signals;
using posix::threads;
using posix::trace_file;

}}} // namespace wg::WG_ABI::os

#else

#if defined(__FreeBSD__)
#include "bsd/freebsd.hpp"
#elif defined(__OpenBSD__)
#include "bsd/openbsd.hpp"
#else
#include "bsd/netbsd.hpp"
#endif

namespace wg { inline namespace WG_ABI { namespace os {

using bsd::background;
using bsd::clock;
using bsd::keep_memory_private;
using bsd::limit_memory;
using bsd::line_limit;
using bsd::log_writer;
using bsd::name_lock;
using bsd::network_monitor;
using bsd::random;
using bsd::secret_region;
using bsd::snapshot_detector;
using bsd::system_traits;
using bsd::tun;
using bsd::uapi_listener;
using bsd::udp;
using bsd::waiter;
using posix::ratchet_files;
using posix::stop_signals;
using posix::threads;
using posix::trace_file;

}}} // namespace wg::WG_ABI::os

#endif

#elif defined(_WIN64)

#include "backoff.hpp"
#include "error_text.hpp"
#include "windows/clock.hpp"
#include "windows/error.hpp"
#include "windows/handle.hpp"
#include "windows/net/default_route.hpp"
#include "windows/net/interface_calls.hpp"
#include "windows/net/interface_index.hpp"
#include "windows/net/network_monitor.hpp"
#include "windows/process/background.hpp"
#include "windows/process/limits.hpp"
#include "windows/process/log.hpp"
#include "windows/process/name_lock.hpp"
#include "windows/process/program.hpp"
#include "windows/process/service_manager.hpp"
#include "windows/process/stop_signals.hpp"
#include "windows/process/uapi_listener.hpp"
#include "windows/random.hpp"
#include "windows/secret_region.hpp"
#include "windows/snapshot_detector.hpp"
#include "windows/threads.hpp"
#include "windows/tun/tun.hpp"
#include "windows/udp/udp.hpp"
#include "windows/waiter.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

using ratchet_files = unsaved_ratchets;
using windows::background;
using windows::can_open;
using windows::clock;
using windows::describe_error;
using windows::has_terminal;
using windows::interface_index;
using windows::is_open_descriptor;
using windows::keep_memory_private;
using windows::last_error;
using windows::limit_memory;
using windows::line_limit;
using windows::log_writer;
using windows::make_descriptor_room;
using windows::max_interface_name_bytes;
using windows::name_lock;
using windows::network_monitor;
using windows::notify_supervisor;
using windows::open_standard_descriptors;
using windows::print;
using windows::random;
using windows::secret_region;
using windows::service_manager;
using windows::snapshot_detector;
using windows::standard_error;
using windows::standard_output;
using windows::stop_signals;
using windows::system_traits;
using windows::threads;
using windows::tun;
using windows::uapi_listener;
using windows::udp;
using windows::waiter;

}}} // namespace wg::WG_ABI::os

#else
#define WG_NO_HOST // no policies for this platform
#endif

namespace wg { inline namespace WG_ABI { namespace os {

#ifdef WG_NO_HOST
/// The policies of this platform: none.
struct host {};
#undef WG_NO_HOST
#else
/// The policies of this platform.
struct host {
    using clock_source = os::clock;                  ///< models `clock_source`
    using random_source = os::random;                ///< models `random_source`
    using secret_region = os::secret_region;         ///< holds a device's keys
    using tun_device = os::tun;                      ///< models `tun_device`
    using udp_socket = os::udp;                      ///< models `udp_socket`
    using waiter = os::waiter;                       ///< models `waiter`
    using snapshot_detector = os::snapshot_detector; ///< models `snapshot_detector`
};
#endif

}}} // namespace wg::WG_ABI::os

#endif
