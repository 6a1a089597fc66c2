// SPDX-License-Identifier: BSL-1.0
// WireGuard for C++ as a C++20 module: exports the names of the API (docs/compatibility.md) that wg.hpp declares. A
// module has no macros; wg/base/version.hpp defines those of the version. Folder: include/wg; threads: see each header.
//
//     clang++ -std=c++20 -I include -x c++-module --precompile include/wg/wg.cppm -o wg.pcm
//     clang++ -std=c++20 -c wg.pcm -o wg.o
//     clang++ -std=c++20 -fmodule-file=wg=wg.pcm example.cpp wg.o -o example
//
// With -DWG_SEPARATE_KERNELS in the first command, and kernels.cpp as for the headers, the kernels are compiled once.
module;

#include "wg.hpp"

export module wg;

export namespace wg {

// Plain values: bytes, addresses, time, results.
using wg::byte;
using wg::bytes;
using wg::bytes_view;
using wg::byte_array;
using wg::load_le16;
using wg::load_le32;
using wg::load_le64;
using wg::load_be16;
using wg::load_be32;
using wg::load_be64;
using wg::store_le16;
using wg::store_le32;
using wg::store_le64;
using wg::store_be16;
using wg::store_be32;
using wg::store_be64;
using wg::copy;
using wg::wipe;
using wg::secret;
using wg::key_view;
using wg::public_key;
using wg::family;
using wg::ip_address;
using wg::ip_prefix;
using wg::endpoint;
using wg::local_source;
using wg::path;
using wg::duration;
using wg::milliseconds;
using wg::seconds;
using wg::instant;
using wg::to_chrono;
using wg::from_chrono;
using wg::chrono_duration;
using wg::chrono_clock;
using wg::chrono_time_point;
using wg::status;
using wg::status_count;
using wg::name_of;
using wg::describe;
using wg::result;
using wg::event_id;
using wg::no_peer_number;
using wg::packet;
using wg::datagram;
using wg::readiness;
using wg::change;
using wg::peer_settings;
using wg::interface_facts;
using wg::peer_facts;
using wg::store_tai64n;
using wg::parse_ip;
using wg::ip_header;
using wg::checksum_add;
using wg::checksum_finish;
using wg::ipv4_header_bytes;
using wg::ipv6_header_bytes;
using wg::udp_header_bytes;
using wg::ip_protocol_udp;
using wg::key_bytes;
using wg::tag_bytes;
using wg::timestamp_bytes;
using wg::transport_header_bytes;
using wg::transport_overhead_bytes;
using wg::tunnel_overhead_bytes;
using wg::padding_bytes;
using wg::packet_headroom_bytes;
using wg::packet_tailroom_bytes;
using wg::default_mtu_bytes;
using wg::message_type;
using wg::type_of;
using wg::initiation_layout;
using wg::response_layout;
using wg::cookie_reply_layout;
using wg::transport_layout;

// The concepts of policies, and what their members take.
using wg::hash_item;
using wg::hash_backend;
using wg::batch_hash_backend;
using wg::hmac_hash_backend;
using wg::dh_item;
using wg::dh_backend;
using wg::batch_dh_backend;
using wg::aead_item;
using wg::aead_backend;
using wg::batch_aead_backend;
using wg::single_call_aead_backend;
using wg::clock_source;
using wg::random_source;
using wg::tun_device;
using wg::tun_device_with_settle;
using wg::tun_device_with_share;
using wg::tun_device_with_has_more_for_others;
using wg::tun_device_with_sparse_packets;
using wg::tun_device_with_longest_cut;
using wg::udp_socket;
using wg::udp_socket_with_set_fwmark;
using wg::udp_socket_with_share;
using wg::udp_socket_with_handshakes;
using wg::udp_socket_with_separate_handshakes;
using wg::udp_socket_with_tunnel;
using wg::udp_socket_with_handshakes_ready;
using wg::udp_socket_with_room;
using wg::waiter;
using wg::waiter_with_busy_poll;
using wg::snapshot_detector;
using wg::threads;
using wg::threads_with_cell;
using wg::threads_with_thread;
using wg::threads_with_give_way;
using wg::pool_of;
using wg::array_of;
using wg::storage;
using wg::engine_storage;
using wg::observer;
using wg::observer_with_key;
using wg::observer_with_packets;
using wg::observer_with_secrets;
using wg::seen_packet;
using wg::handshake_secrets;
using wg::policies;
using wg::engine_policies;
using wg::policies_with_snapshot_detector;
using wg::core_io;

// Bundles, and models of policies.
using wg::core_policies;
using wg::default_policies;
using wg::bare_policies;
using wg::with;
using wg::with_base;
using wg::use_hash;
using wg::use_dh;
using wg::use_aead;
using wg::use_clock_source;
using wg::use_random_source;
using wg::use_threads;
using wg::use_storage;
using wg::use_observer;
using wg::use_tun_device;
using wg::use_udp_socket;
using wg::use_waiter;
using wg::use_snapshot_detector;
using wg::one_thread;
using wg::std_threads;
using wg::no_observer;
using wg::function_observer;
using wg::observer_pair;
using wg::pcapng_observer;
using wg::small_capacity;
using wg::host_capacity;
using wg::static_storage;
using wg::growing_storage;
using wg::heap_region;

// The device and what runs it.
using wg::device;
using wg::job;
using wg::job_list;
using wg::disposition;
using wg::core;
using wg::engine;
using wg::workers;
using wg::no_workers;
using wg::workers_if_possible;
using wg::bare_node;
using wg::create_private_key;
using wg::public_key_of;

namespace bundled {
using wg::bundled::operator&;
using wg::bundled::operator|;
using wg::bundled::operator~;
using wg::bundled::hash;
using wg::bundled::dh;
using wg::bundled::aead;
using wg::bundled::aead_fixed;
using wg::bundled::cpu;
using wg::bundled::chosen_cpu;
using wg::bundled::detect_cpu;
using wg::bundled::baseline_kernel;
using wg::bundled::plain_kernel;
using wg::bundled::small25519;
} // namespace bundled

namespace loopback {
using wg::loopback::tun;
using wg::loopback::sent_datagram;
using wg::loopback::network;
using wg::loopback::udp;
using wg::loopback::waiter;
} // namespace loopback

namespace nested {
using wg::nested::port;
using wg::nested::tun;
using wg::nested::udp;
} // namespace nested

namespace text {
using wg::text::hex_key_chars;
using wg::text::base64_key_chars;
using wg::text::longest_zone_chars;
using wg::text::short_text;
using wg::text::parse_hex;
using wg::text::print_hex;
using wg::text::parse_base64_key;
using wg::text::print_base64_key;
using wg::text::parse_decimal;
using wg::text::print_decimal;
using wg::text::parse_address;
using wg::text::parse_prefix;
using wg::text::parse_endpoint;
using wg::text::zone_resolver;
using wg::text::print;
} // namespace text

namespace uapi {
using wg::uapi::errno_of;
using wg::uapi::target;
using wg::uapi::basic_session;
using wg::uapi::session;
using wg::uapi::most_changes;
using wg::uapi::most_reply_chars;
using wg::uapi::longest_line_chars;
} // namespace uapi

namespace quick {
using wg::quick::most_file_bytes;
using wg::quick::interface_address;
using wg::quick::remote;
using wg::quick::peer;
using wg::quick::ignored_key;
using wg::quick::configuration;
using wg::quick::verdict;
using wg::quick::options;
using wg::quick::parse;
using wg::quick::load;
using wg::quick::append_changes;
} // namespace quick

namespace bare {
using wg::bare::mac_address;
using wg::bare::board;
using wg::bare::store_boot_label;
using wg::bare::board_source;
using wg::bare::ethernet_mtu_bytes;
using wg::bare::interface_address;
using wg::bare::link_local_of;
using wg::bare::ethernet;
using wg::bare::host;
using wg::bare::neighbours;
} // namespace bare

namespace os {
#if defined(__unix__) || defined(__APPLE__) || defined(_WIN64)
using wg::os::clock;
using wg::os::random;
using wg::os::tun;
using wg::os::udp;
using wg::os::waiter;
using wg::os::threads;
using wg::os::secret_region;
using wg::os::snapshot_detector;
using wg::os::network_monitor;
using wg::os::log_writer;
using wg::os::line_limit;
using wg::os::stop_signals;
using wg::os::uapi_listener;
using wg::os::name_lock;
using wg::os::background;
using wg::os::error_text;
using wg::os::keep_memory_private;
using wg::os::offloads;
using wg::os::switch_off;
#endif
#ifdef __linux__
using wg::os::pollable;
using wg::os::unique_fd;
using wg::os::trace_file;
#endif
using wg::os::host;
} // namespace os

} // namespace wg

#ifdef WG_KEY_LOG
export namespace wg {
using wg::key_log_observer;
} // namespace wg
#endif
