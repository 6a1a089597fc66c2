# SPDX-License-Identifier: BSL-1.0
"""Tests that other implementations are known to fail. Nothing is ever listed for wgd."""

# Tests that wireguard-go 0.0.20220316 or 0.0.20250522 fails. They still run, and their failure counts as skipped. So
# the suites can be checked against a daemon of other authors.
known_failures = {'wireguard-go': {
    'mixed_ipv4_and_ipv6_peers_get_only_their_own_packets': '2025: stale address bytes after an IPv4 send',
    'endpoint_roams_by_port_and_from_ipv4_to_ipv6': '2025: stale address bytes after an IPv4 send',
    'answers_come_from_the_address_that_was_dialled': '2025: the source address is lost with UDP GRO',
    'fwmark_keeps_the_daemon_out_of_its_own_default_route': '2025: the source address is lost with UDP GRO',
    'handshakes_carry_dscp_af41_and_data_none': 'sets no DSCP',
    'keepalive_is_sent_when_enabled_created_or_brought_up': 'takes a new interface for up',
    'link_down_closes_the_port_and_link_up_reopens_it': 'does not notice that the link went down',
    'a_source_address_that_was_removed_is_given_up': '2022: keeps sending from it',
    'a_more_specific_route_takes_over': '2025: does not return when the route is gone',
    'a_routing_loop_is_bounded': 'has no bound',
    'no_peer_or_no_endpoint_is_unreachable_at_once': 'sends no ICMP errors',
    'ecn_passes_between_inner_and_outer_header': 'passes no ECN',
    'a_listen_port_in_use_is_refused_and_the_old_one_kept': 'closes the old port first',
    'background_daemon_has_a_session_of_its_own': 'stays in the session of the shell',
    'systemd_is_notified_when_the_socket_answers': 'does not notify',
    'verbose_logs_events_but_no_secret': 'says it in other words',
    'silent_logs_nothing_and_error_logs_only_errors': 'says it in other words',
    'bad_command_lines_are_refused_with_a_reason': 'takes any word for an interface',
    'help_is_printed': 'has no --help',
    'uapi_sets_all_or_nothing': 'earlier lines stay applied',
    'uapi_survives_garbage': 'applies a set that was cut off',
    'uapi_clients_do_not_wait_for_each_other': 'a half-sent set locks the others out',
}}
