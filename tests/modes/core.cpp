// SPDX-License-Identifier: BSL-1.0
// Every template of the core in full, for compilers whose machines have no sockets, no heap and no operating system.
#include "smallest.hpp"

#include "wg/wg.hpp"

template class wg::bundled::basic_aead<wg::bundled::plain_kernel<wg::bundled::limbs32>>;
template class wg::bundled::x25519<wg::bundled::limbs32>;
#ifdef __SIZEOF_INT128__
template class wg::bundled::x25519<wg::bundled::limbs64>;
#endif
#ifndef WG_COMPACT
template class wg::bundled::x25519_base<wg::bundled::limbs32>;
#endif
template class wg::noise<tests::smallest>;
template struct wg::keypair<64>;
template class wg::replay_window<64>;
template class wg::device<tests::smallest>;
