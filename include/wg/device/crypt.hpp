// SPDX-License-Identifier: BSL-1.0
// Seals outbound jobs and opens inbound jobs. Folder: device; uses no device state and takes no lock.
#ifndef WG_DEVICE_CRYPT_HPP
#define WG_DEVICE_CRYPT_HPP

#include "../policy.hpp"
#include "../protocol/batch.hpp"
#include "../protocol/messages.hpp"
#include "job.hpp"

#include <new>

namespace wg { inline namespace WG_ABI {

/// The cryptography of transport data. Thread rule: any thread; one thread at a time for each job.
template <policies Policies> class packet_crypt {
    using aead_type = typename Policies::aead;
    using job_type = job<Policies>;

public:
    /// Seals or opens each job that has keys, in place. See `device::crypt`.
    static void run(job_list<job_type> jobs, aead_type const& aead) noexcept {
        constexpr std::size_t most = batch_size<batch_aead_backend<aead_type>>(64);
        if constexpr (most == 1) {
            for (job_type& j : jobs)
                if (j.keys != nullptr) run_one(j, aead);
        } else {
            run_batches<most>(jobs, aead);
        }
    }

private:
    static void run_one(job_type& j, aead_type const& aead) noexcept {
        byte* const body = j.data.buffer + j.data.offset + transport_layout::encrypted_packet;
        bool const good = seal_or_open(aead, j.outbound, body, body, j.data.length - transport_overhead_bytes, nullptr,
                                       0, j.counter, j.outbound ? j.keys->send_key : j.keys->receive_key);
        if (j.outbound) j.next = disposition::send;
        else finish_open(j, good);
    }

    /// One batch for each run of jobs in the same direction.
    template <std::size_t Most> static void run_batches(job_list<job_type> jobs, aead_type const& aead) noexcept {
        union room { // not initialised, because most calls use few of the items
            aead_item items[Most];
            room() noexcept {}
        } uses;
        job_type* batch[Most];
        std::size_t count = 0;
        auto const flush = [&]() noexcept {
            if (count == 0) return;
            std::span<aead_item> const items(uses.items, std::exchange(count, 0));
            if (batch[0]->outbound) {
                seal_all(aead, items);
                for (std::size_t i = 0; i < items.size(); ++i) batch[i]->next = disposition::send;
                return;
            }
            open_all(aead, items);
            for (std::size_t i = 0; i < items.size(); ++i) finish_open(*batch[i], items[i].good);
        };
        for (job_type& j : jobs) {
            if (j.keys == nullptr) continue;
            if (count == Most || (count != 0 && batch[0]->outbound != j.outbound)) flush();
            bytes const sealed = j.data.view().subspan(transport_layout::encrypted_packet);
            bytes const plain = sealed.first(sealed.size() - tag_bytes);
            batch[count] = &j;
            ::new (static_cast<void*>(uses.items + count++))
                aead_item(j.outbound ? aead_item{sealed, plain, j.counter, &j.keys->send_key, false}
                                     : aead_item{plain, sealed, j.counter, &j.keys->receive_key, false});
        }
        flush();
    }

    /// Narrows the window to the inner packet if the tag was right. Else `why` stays decryption_failed.
    static void finish_open(job_type& j, bool genuine) noexcept {
        if (!genuine) return;
        j.data.grow(-static_cast<std::ptrdiff_t>(transport_header_bytes), -static_cast<std::ptrdiff_t>(tag_bytes));
        j.why = status::ok;
    }
};

}} // namespace wg::WG_ABI

#endif
