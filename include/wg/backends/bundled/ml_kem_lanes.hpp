// SPDX-License-Identifier: BSL-1.0
// Runs several Keccak sponges at once, in the lanes of vectors, for ML-KEM. Folder: backends/bundled; any thread.
//
// The messages and outputs differ in length: an element of the matrix takes three permutations, a hash of a public key
// takes nine. So a lane that has finished takes the next sponge while the other lanes go on.
#ifndef WG_BACKENDS_BUNDLED_ML_KEM_LANES_HPP
#define WG_BACKENDS_BUNDLED_ML_KEM_LANES_HPP

#include "ml_kem_sampling.hpp"

namespace wg { inline namespace WG_ABI { namespace bundled { namespace ml_kem_detail {

/// A hash of a message in two parts, each a multiple of 8 bytes. The result has 32 bytes.
struct hash_job {
    keccak_function function;
    bytes_view first, second;
    byte* out;
};

/// A polynomial that is made of a seed and the bytes that follow the seed.
struct sample_job {
    byte const* seed; ///< `seed_bytes` bytes
    byte suffix[2];   ///< noise has one byte, an element of the matrix two
    bool is_noise;    ///< or an element of the matrix
    polynomial* result;
};

/// Runs jobs in the lanes of `Kernel::lanes_permutation`. `Kernel` also has `take_uniform` and `take_noise`.
template <class Kernel> class keccak_lanes {
    using permutation = typename Kernel::lanes_permutation;
    static constexpr std::size_t lanes = permutation::lanes;
    static constexpr std::size_t block_words = shake128.rate_bytes / 8;

public:
    /// The memory of all lanes, which the caller of `run` wipes as a part of its stack.
    static constexpr std::size_t size_bytes =
        lanes * (8 * keccak_detail::words + 2 * (degree + 32) + 64) + shake128.rate_bytes + 128;

    /// Runs all jobs. The hashes come first, because they take longest.
    [[gnu::noinline]] static void run(std::span<hash_job const> hashes, std::span<sample_job const> samples) noexcept {
        static_assert(sizeof(keccak_lanes) <= size_bytes);
        keccak_lanes all;
        std::size_t const count = hashes.size() + samples.size();
        std::size_t next = 0, finished = 0;
        while (finished < count) {
            for (std::size_t lane = 0; lane < lanes; ++lane) {
                task& now = all.tasks_[lane];
                if (now.busy || next == count) continue;
                now = {.busy = true};
                if (next < hashes.size()) now.hash = &hashes[next];
                else now.sample = &samples[next - hashes.size()];
                ++next;
                all.start(lane);
            }
            permutation::permute(&all.state_[0][0]);
            for (std::size_t lane = 0; lane < lanes; ++lane)
                if (all.tasks_[lane].busy && all.advance(lane)) all.tasks_[lane].busy = false, ++finished;
        }
    }

private:
    struct task {
        bool busy = false;
        hash_job const* hash = nullptr;
        sample_job const* sample = nullptr;
        std::size_t done = 0; ///< words of the message, or coefficients
        bool padded = false;
    };

    /// Clears the lane and takes the first block of its message.
    void start(std::size_t lane) noexcept {
        for (auto& word : state_) word[lane] = 0;
        task& now = tasks_[lane];
        if (now.hash != nullptr) return absorb(lane);
        sample_job const& job = *now.sample;
        for (std::size_t i = 0; i < seed_bytes / 8; ++i) state_[i][lane] = load_le64(job.seed + 8 * i);
        std::uint64_t const domain = shake256.domain;
        std::uint64_t& last = state_[seed_bytes / 8][lane];
        if (job.is_noise) last = job.suffix[0] | domain << 8;
        else last = job.suffix[0] | std::uint64_t{job.suffix[1]} << 8 | domain << 16;
        std::size_t const rate = job.is_noise ? shake256.rate_bytes : shake128.rate_bytes;
        state_[rate / 8 - 1][lane] |= std::uint64_t{1} << 63;
    }

    /// Takes the next block of a hash's message.
    void absorb(std::size_t lane) noexcept {
        task& now = tasks_[lane];
        hash_job const& job = *now.hash;
        std::size_t const rate = job.function.rate_bytes / 8, first = job.first.size() / 8,
                          size = first + job.second.size() / 8;
        for (std::size_t i = 0; i < rate; ++i, ++now.done) {
            if (now.done == size) {
                state_[i][lane] ^= job.function.domain;
                state_[rate - 1][lane] ^= std::uint64_t{1} << 63;
                now.padded = true;
                return;
            }
            byte const* const at =
                now.done < first ? job.first.data() + 8 * now.done : job.second.data() + 8 * (now.done - first);
            state_[i][lane] ^= load_le64(at);
        }
    }

    /// Takes the output of a permutation, or gives it the next input. Returns: whether the job is finished.
    bool advance(std::size_t lane) noexcept {
        task& now = tasks_[lane];
        if (now.hash != nullptr) {
            if (!now.padded) return absorb(lane), false;
            for (std::size_t i = 0; i < 4; ++i) store_le64(now.hash->out + 8 * i, state_[i][lane]);
            return true;
        }
        if (now.sample->is_noise) {
            std::uint64_t random[noise_bytes / 8];
            for (std::size_t i = 0; i < std::size(random); ++i) random[i] = state_[i][lane];
            Kernel::take_noise(*now.sample->result, random);
            return true;
        }
        for (std::size_t i = 0; i < block_words; ++i) store_le64(block_ + 8 * i, state_[i][lane]);
        now.done = Kernel::take_uniform(taken_[lane], now.done, block_);
        if (now.done < degree) return false;
        std::memcpy(now.sample->result->c, taken_[lane], sizeof now.sample->result->c);
        return true;
    }

    alignas(64) std::uint64_t state_[keccak_detail::words][lanes];
    byte block_[shake128.rate_bytes + 32];   ///< a kernel may read beyond the block
    std::int16_t taken_[lanes][degree + 32]; ///< a kernel may write beyond the last coefficient
    task tasks_[lanes];
};

}}}} // namespace wg::WG_ABI::bundled::ml_kem_detail

#endif
