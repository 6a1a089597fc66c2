// SPDX-License-Identifier: BSL-1.0
// A driver of SMSC's Ethernet controller LAN9118, by polling. Source: its data sheet, revision 1.5; the sections below
// are of it.
#ifndef WG_FIRMWARE_LAN9118_HPP
#define WG_FIRMWARE_LAN9118_HPP

#include <wg/wg.hpp>

namespace firmware {

/// The controller whose registers begin at `Base`.
template <std::uintptr_t Base> class lan9118 {
public:
    /// Resets and starts the controller.
    void start() noexcept {
        set(hw_cfg, 1); // reset
        while ((get(hw_cfg) & 1) != 0) {}
        set(hw_cfg, 1u << 20 | 5u << 16); // store and forward (must be set); 5 KiB for frames to send
        set(tx_cfg, 2);                   // transmitter on
        set(rx_cfg, 0);                   // frames begin at a word's first byte
        set(int_en, 0);
        write_mac(mac_cr, 1u << 19 | 1u << 3 | 1u << 2); // receive all multicast frames; transmitter on; receiver on
    }

    /// The controller's MAC address.
    wg::bare::mac_address address() noexcept {
        std::uint32_t const low = read_mac(mac_addrl), high = read_mac(mac_addrh);
        wg::bare::mac_address mac;
        for (unsigned i = 0; i < 4; ++i) mac[i] = static_cast<wg::byte>(low >> 8 * i);
        for (unsigned i = 4; i < 6; ++i) mac[i] = static_cast<wg::byte>(high >> 8 * (i - 4));
        return mac;
    }

    /// As `receive` of `wg::bare::board`.
    std::size_t receive(wg::bytes frame) noexcept {
        while ((get(rx_fifo_inf) >> 16 & 0xff) != 0) {
            std::uint32_t const status = get(rx_status_fifo);
            std::size_t const with_checksum = status >> 16 & 0x3fff;
            std::size_t const size = with_checksum >= 4 ? with_checksum - 4 : 0;
            bool const good = (status & 1u << 15) == 0 && size != 0 && size <= frame.size();
            for (std::size_t at = 0; at < with_checksum; at += 4) {
                std::uint32_t const w = get(rx_data_fifo);
                if (!good || at >= size) continue;
                wg::byte four[4];
                wg::store_le32(four, w);
                std::memcpy(&frame[at], four, std::min<std::size_t>(4, size - at));
            }
            if (good) return size;
        }
        return 0;
    }

    /// As `send` of `wg::bare::board`.
    bool send(wg::bytes_view head, wg::bytes_view body) noexcept {
        while ((get(tx_fifo_inf) >> 16 & 0xff) != 0) get(tx_status_fifo); // 3.12.2: a full status FIFO stops it
        std::uint32_t const size = static_cast<std::uint32_t>(head.size() + body.size());
        if ((get(tx_fifo_inf) & 0xffff) < size + 16) return false;
        set(tx_data_fifo, 1u << 13 | 1u << 12 | size); // first and last segment
        set(tx_data_fifo, size);
        wg::byte four[4];
        std::size_t have = 0;
        for (wg::bytes_view const piece : {head, body}) {
            for (wg::byte const b : piece) {
                four[have++] = b;
                if (have < 4) continue;
                set(tx_data_fifo, wg::load_le32(four));
                have = 0;
            }
        }
        if (have != 0) set(tx_data_fifo, wg::load_le32(four)); // bytes beyond `size` are not sent
        return true;
    }

private:
    // 5.3: system registers; 5.4: registers of the MAC, which two system registers access
    static constexpr unsigned rx_data_fifo = 0, tx_data_fifo = 0x20, rx_status_fifo = 0x40, tx_status_fifo = 0x48,
                              int_en = 0x5c, rx_cfg = 0x6c, tx_cfg = 0x70, hw_cfg = 0x74, rx_fifo_inf = 0x7c,
                              tx_fifo_inf = 0x80, mac_csr_cmd = 0xa4, mac_csr_data = 0xa8;
    static constexpr std::uint32_t mac_cr = 1, mac_addrh = 2, mac_addrl = 3, mac_busy = 1u << 31, mac_read = 1u << 30;

    static std::uint32_t get(unsigned at) noexcept { return *reinterpret_cast<std::uint32_t volatile*>(Base + at); }
    static void set(unsigned at, std::uint32_t value) noexcept {
        *reinterpret_cast<std::uint32_t volatile*>(Base + at) = value;
    }
    static void access_mac(std::uint32_t command) noexcept {
        set(mac_csr_cmd, mac_busy | command);
        while ((get(mac_csr_cmd) & mac_busy) != 0) {}
    }
    static std::uint32_t read_mac(std::uint32_t at) noexcept {
        access_mac(mac_read | at);
        return get(mac_csr_data);
    }
    static void write_mac(std::uint32_t at, std::uint32_t value) noexcept {
        set(mac_csr_data, value);
        access_mac(at);
    }
};

} // namespace firmware

#endif
