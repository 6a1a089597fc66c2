// SPDX-License-Identifier: BSL-1.0
// The parts that a platform supplies, for the platform that this is compiled for: the one place where it is asked.
// Layer 7.
//
// `wg::os::host` names what `wg::default_policies` takes from the platform. It is empty where there is none: what a
// microcontroller needs is in bare/, is made of a board, and compiles everywhere.
#ifndef WG_OS_OS_HPP
#define WG_OS_OS_HPP

#include "../base/abi.hpp"
#include "bare/board.hpp"
#include "bare/ethernet.hpp"
#include "bare/host.hpp"
#include "bare/ip_packet.hpp"
#include "bare/neighbours.hpp"

#if defined(__linux__) && __STDC_HOSTED__

#include "linux/clock.hpp"
#include "linux/error_text.hpp"
#include "linux/fd.hpp"
#include "linux/netlink/link.hpp"
#include "linux/netlink/routes.hpp"
#include "linux/process/daemon.hpp"
#include "linux/process/directory.hpp"
#include "linux/process/log.hpp"
#include "linux/process/name_lock.hpp"
#include "linux/process/uapi_listener.hpp"
#include "linux/random.hpp"
#include "linux/secret_region.hpp"
#include "linux/threads.hpp"
#include "linux/tun/tun.hpp"
#include "linux/udp/udp.hpp"
#include "linux/udp/udp_control.hpp"
#include "linux/waiter.hpp"

namespace wg { inline namespace WG_ABI { namespace os {

struct host {
    using clock_source = os::clock;
    using random_source = os::random;
    using secret_region = os::secret_region;
    using tun_device = os::tun;
    using udp_socket = os::udp;
    using waiter = os::waiter;
};

}}} // namespace wg::WG_ABI::os

#else

namespace wg { inline namespace WG_ABI { namespace os {

struct host {};

}}} // namespace wg::WG_ABI::os

#endif
#endif
