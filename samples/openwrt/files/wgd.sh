#!/bin/sh
# SPDX-License-Identifier: BSL-1.0
# netifd's protocol `wgd`: an interface of /etc/config/network served by the daemon wgd. The options are those of the
# protocol `wireguard`, and peers are in sections `wireguard_INTERFACE`; only `option proto 'wgd'` differs.
# This file is installed in /lib/netifd/proto.
# shellcheck shell=dash # ash has `local` too

WGD=/usr/sbin/wgd
WG=/usr/bin/wg

# State of the interface that is being set up: its name, its file for wg, its routes, whether a value was wrong; and of
# the peer that is being set up.
wgd_interface='' wgd_file='' wgd_routes='' wgd_failed=0
wgd_peer_name='' wgd_route=0

if [ -z "${INCLUDE_ONLY:-}" ]; then
    # shellcheck source=/dev/null
    . /lib/functions.sh
    # shellcheck source=/dev/null
    . ../netifd-proto.sh
    init_proto "$@"
fi

# Called by netifd: declares the options, and that netifd has no process of this script to watch.
# shellcheck disable=SC2034 # variables for netifd
proto_wgd_init_config() {
    proto_config_add_string private_key
    proto_config_add_int listen_port
    proto_config_add_int mtu
    proto_config_add_string fwmark
    available=1
    no_proto_task=1
}

# --- values. A wrong value ends the setup, so that no interface is configured by halves.

# wgd_fail CODE TEXT: reports an error to netifd and the log. The setup is not repeated until the configuration changes.
wgd_fail() {
    logger -t "wgd" "$wgd_interface: $2"
    proto_notify_error "$wgd_interface" "$1"
    proto_block_restart "$wgd_interface"
    wgd_failed=1
}

# A key: 32 bytes in base64.
wgd_is_key() {
    [ "${#1}" = 44 ] || return 1
    case $1 in
        *[!A-Za-z0-9+/=]* | *=?*) return 1 ;;
        *=) return 0 ;;
    esac
    return 1
}

# wgd_is_number VALUE MOST
wgd_is_number() {
    case $1 in
        '' | *[!0-9]* | ??????????*) return 1 ;;
    esac
    [ "$1" -le "$2" ]
}

# An address or a name, which may have a prefix: checks the characters only, because wg checks the rest.
wgd_is_plain() {
    case $1 in
        '' | *[!A-Za-z0-9.:%/_-]*) return 1 ;;
    esac
}

# --- peers

wgd_allowed_ip() {
    if ! wgd_is_plain "$1"; then
        wgd_fail INVALID_ALLOWED_IP "peer $wgd_peer_name: '$1' is no network"
        return
    fi
    echo "AllowedIPs=$1" >>"$wgd_file"
    [ "$wgd_route" = 0 ] || wgd_routes="$wgd_routes $1"
}

wgd_peer() {
    local section="$1" public_key preshared_key host port keepalive disabled
    [ "$wgd_failed" = 0 ] || return
    config_get_bool disabled "$section" disabled 0
    [ "$disabled" = 0 ] || return
    config_get wgd_peer_name "$section" description "$section"
    config_get public_key "$section" public_key
    config_get preshared_key "$section" preshared_key
    config_get host "$section" endpoint_host
    config_get port "$section" endpoint_port 51820
    config_get keepalive "$section" persistent_keepalive
    config_get_bool wgd_route "$section" route_allowed_ips 0

    if ! wgd_is_key "$public_key"; then
        wgd_fail INVALID_PUBLIC_KEY "peer $wgd_peer_name: '$public_key' is no public key"
        return
    fi
    printf '\n[Peer]\nPublicKey=%s\n' "$public_key" >>"$wgd_file"
    if [ -n "$preshared_key" ]; then
        # The key itself must not be logged.
        if ! wgd_is_key "$preshared_key"; then
            wgd_fail INVALID_PRESHARED_KEY "peer $wgd_peer_name: preshared_key is no key"
            return
        fi
        echo "PresharedKey=$preshared_key" >>"$wgd_file"
    fi
    config_list_foreach "$section" allowed_ips wgd_allowed_ip
    if [ -n "$host" ]; then
        if ! wgd_is_plain "$host" || ! wgd_is_number "$port" 65535 || [ "$port" = 0 ]; then
            wgd_fail INVALID_ENDPOINT "peer $wgd_peer_name: '$host' and '$port' are no endpoint"
            return
        fi
        case $host in
            *:*) host="[$host]" ;; # IPv6
        esac
        echo "Endpoint=$host:$port" >>"$wgd_file"
    fi
    if [ -n "$keepalive" ]; then
        if ! wgd_is_number "$keepalive" 65535; then
            wgd_fail INVALID_KEEPALIVE "peer $wgd_peer_name: '$keepalive' is no number of seconds"
            return
        fi
        echo "PersistentKeepalive=$keepalive" >>"$wgd_file"
    fi
}

# --- addresses and routes

# wgd_split NETWORK: sets address and mask; without a prefix it is one address.
wgd_split() {
    address=${1%%/*}
    case $1 in
        */*) mask=${1##*/} ;;
        *:*) mask=128 ;;
        *) mask=32 ;;
    esac
}

wgd_address() {
    local address mask
    wgd_split "$1"
    case $address in
        *:*) proto_add_ipv6_address "$address" "$mask" ;;
        *) proto_add_ipv4_address "$address" "$mask" ;;
    esac
}

wgd_add_routes() {
    local network address mask
    for network in $wgd_routes; do
        wgd_split "$network"
        case $address in
            *:*) proto_add_ipv6_route "$address" "$mask" ;;
            *) proto_add_ipv4_route "$address" "$mask" ;;
        esac
    done
}

# The route to an endpoint must not lead into the tunnel.
wgd_add_host_dependencies() {
    local endpoint
    "$WG" show "$wgd_interface" endpoints | while read -r _ endpoint; do
        [ "$endpoint" != '(none)' ] || continue
        endpoint=${endpoint%:*}
        endpoint=${endpoint#[}
        proto_add_host_dependency "$wgd_interface" "${endpoint%]}"
    done
}

wgd_write_interface() {
    local private_key listen_port fwmark
    config_get private_key "$wgd_interface" private_key
    config_get listen_port "$wgd_interface" listen_port
    config_get fwmark "$wgd_interface" fwmark
    if ! wgd_is_key "$private_key"; then
        wgd_fail INVALID_PRIVATE_KEY "private_key is missing, or no key"
        return
    fi
    printf '[Interface]\nPrivateKey=%s\n' "$private_key" >>"$wgd_file"
    if [ -n "$listen_port" ]; then
        if ! wgd_is_number "$listen_port" 65535; then
            wgd_fail INVALID_LISTEN_PORT "'$listen_port' is no port"
            return
        fi
        echo "ListenPort=$listen_port" >>"$wgd_file"
    fi
    if [ -n "$fwmark" ]; then
        if ! wgd_is_plain "$fwmark"; then
            wgd_fail INVALID_FWMARK "'$fwmark' is no mark"
            return
        fi
        echo "FwMark=$fwmark" >>"$wgd_file"
    fi
}

# --- functions that netifd calls

proto_wgd_setup() {
    wgd_interface=$1
    wgd_failed=0
    wgd_routes=
    local mtu nohostroute said
    config_load network
    config_get mtu "$wgd_interface" mtu
    config_get_bool nohostroute "$wgd_interface" nohostroute 0

    # The file has keys: only root may read it, and it is removed after use.
    wgd_file=$(umask 077 && mktemp /tmp/wgd.XXXXXX) || return 1
    wgd_write_interface
    config_foreach wgd_peer "wireguard_$wgd_interface"
    if [ "$wgd_failed" = 0 ] && [ -n "$mtu" ] && ! wgd_is_number "$mtu" 65535; then
        wgd_fail INVALID_MTU "'$mtu' is no MTU"
    fi
    if [ "$wgd_failed" != 0 ]; then
        rm -f "$wgd_file"
        return 1
    fi

    # The daemon goes to the background when its socket can be used, and ends when its interface is deleted.
    ip link del dev "$wgd_interface" 2>/dev/null
    if ! said=$("$WGD" "$wgd_interface" 2>&1); then
        rm -f "$wgd_file"
        wgd_fail DAEMON_FAILED "$said"
        return 1
    fi
    if ! said=$("$WG" setconf "$wgd_interface" "$wgd_file" 2>&1); then
        rm -f "$wgd_file"
        ip link del dev "$wgd_interface" 2>/dev/null
        wgd_fail CONFIGURATION_FAILED "$said"
        return 1
    fi
    rm -f "$wgd_file"
    [ -z "$mtu" ] || ip link set mtu "$mtu" dev "$wgd_interface"
    ip link set up dev "$wgd_interface"

    proto_init_update "$wgd_interface" 1
    config_list_foreach "$wgd_interface" addresses wgd_address
    wgd_add_routes
    [ "$nohostroute" = 1 ] || wgd_add_host_dependencies
    proto_send_update "$wgd_interface"
}

proto_wgd_teardown() {
    ip link del dev "$1" 2>/dev/null
}

[ -n "${INCLUDE_ONLY:-}" ] || add_protocol wgd
