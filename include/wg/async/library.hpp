// SPDX-License-Identifier: BSL-1.0
// Which Asio wg/asio.hpp uses, and how results of wg become error codes. Asio needs exceptions and RTTI. Folder: async.
// Any thread.
//
// Source: Asio 1.18 and later (Boost 1.74), https://think-async.com/Asio.
#ifndef WG_ASYNC_LIBRARY_HPP
#define WG_ASYNC_LIBRARY_HPP

#include "../base/status.hpp"

/// 1: Boost.Asio; 0: Asio without Boost. By default 0 if `<asio/any_io_executor.hpp>` is found.
#ifndef WG_ASIO_BOOST
#if __has_include(<asio/any_io_executor.hpp>)
#define WG_ASIO_BOOST 0
#else
#define WG_ASIO_BOOST 1
#endif
#endif

// Not asio.hpp as a whole: these headers compile in less than half of the time.
#if WG_ASIO_BOOST
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/version.hpp>
#if BOOST_ASIO_VERSION >= 102000
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/cancellation_state.hpp>
#define WG_ASIO_HAS_CANCELLATION 1
#endif
#define WG_ASIO_NAMESPACE boost::asio ///< the namespace of the Asio that is used
#define WG_ASIO_ABI with_boost        ///< an inline namespace: programs with both kinds of Asio link
#else
#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/compose.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/version.hpp>
#if ASIO_VERSION >= 102000
#include <asio/associated_cancellation_slot.hpp>
#include <asio/cancellation_state.hpp>
#define WG_ASIO_HAS_CANCELLATION 1
#endif
#define WG_ASIO_NAMESPACE asio    ///< the namespace of the Asio that is used
#define WG_ASIO_ABI without_boost ///< an inline namespace: programs with both kinds of Asio link
#endif
#ifndef WG_ASIO_HAS_CANCELLATION
#define WG_ASIO_HAS_CANCELLATION 0 ///< cancellation slots came with Asio 1.20 (Boost 1.77)
#endif

namespace wg { inline namespace WG_ABI { namespace async { inline namespace WG_ASIO_ABI {

namespace net = ::WG_ASIO_NAMESPACE;

#if WG_ASIO_BOOST
using error_code = boost::system::error_code;         ///< the error code of completions
using error_category = boost::system::error_category; ///< its category
#else
using error_code = std::error_code;         ///< the error code of completions
using error_category = std::error_category; ///< its category
#endif

/// The category of the statuses that Asio has no error for. A value is the number of a `status`.
inline error_category const& status_category() noexcept {
    struct category final : error_category {
        char const* name() const noexcept override { return "wg"; }
        std::string message(int value) const override { return describe(static_cast<status>(value)); }
    };
    static category const only{};
    return only;
}

/// The error code of a status: one of `asio::error` where there is one, else one of `status_category`.
inline error_code to_error_code(status why) noexcept {
    switch (why) {
    case status::ok: return {};
    case status::address_in_use: return net::error::address_in_use;
    case status::cancelled: return net::error::operation_aborted;
    case status::gone: return net::error::connection_aborted;
    case status::invalid: return net::error::invalid_argument;
    case status::name_not_found: return net::error::host_not_found;
    case status::no_memory: return net::error::no_memory;
    case status::no_permission: return net::error::no_permission;
    case status::no_room: return net::error::message_size;
    case status::not_supported: return net::error::address_family_not_supported;
    case status::refused: return net::error::connection_refused;
    case status::reset: return net::error::connection_reset;
    case status::timed_out: return net::error::timed_out;
    case status::would_block: return net::error::would_block;
    default: return {static_cast<int>(why), status_category()};
    }
}

}}}} // namespace wg::WG_ABI::async::WG_ASIO_ABI

#endif
