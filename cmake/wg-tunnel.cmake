# SPDX-License-Identifier: BSL-1.0
# wg::tunnel: the headers, the kernels, and lwIP from the source tree WG_LWIP with the options of the library.
function(wg_add_tunnel tree)
  set(files ${tree}/src/core/def.c)
  foreach(name inet_chksum init ip mem memp netif pbuf raw stats sys tcp tcp_in tcp_out timeouts udp
      ipv4/icmp ipv4/ip4 ipv4/ip4_addr ipv4/ip4_frag
      ipv6/icmp6 ipv6/inet6 ipv6/ip6 ipv6/ip6_addr ipv6/ip6_frag ipv6/nd6)
    list(APPEND files ${tree}/src/core/${name}.c)
  endforeach()
  set(port ${wg_INCLUDE_DIR}/wg/tunnel/lwip)
  find_package(Threads REQUIRED)
  add_library(wg_lwip STATIC EXCLUDE_FROM_ALL ${files} ${port}/port.c)
  target_include_directories(wg_lwip SYSTEM PUBLIC ${port} ${tree}/src/include)
  target_compile_definitions(wg_lwip PRIVATE _DEFAULT_SOURCE)
  target_compile_options(wg_lwip PRIVATE $<$<NOT:$<C_COMPILER_ID:MSVC>>:-w>)
  add_library(wg_tunnel INTERFACE)
  add_library(wg::tunnel ALIAS wg_tunnel)
  target_link_libraries(wg_tunnel INTERFACE wg::kernels wg_lwip Threads::Threads)
endfunction()
