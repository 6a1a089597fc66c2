// SPDX-License-Identifier: BSL-1.0
// The smallest possible model of every concept in policy.hpp, and twins of it that each lack one requirement: a member,
// its noexcept, or its type. Models can be moved, because a device moves them into itself, and have nothing else.
//
// A model satisfies the compiler only; it does not do what its concept promises. A twin makes a member private, or
// hides it by a wrong one. What the members promise: wg/policy/archetypes.hpp.
#ifndef WG_TESTS_ARCHETYPES_HPP
#define WG_TESTS_ARCHETYPES_HPP

#include "wg/policy/archetypes.hpp"
#include "wg/policy/check.hpp"

#include <memory>
#include <new>

namespace archetypes {

using wg::byte, wg::bytes, wg::bytes_view, wg::instant, wg::key_view, wg::result, wg::status;
using key = wg::secret<wg::key_bytes>;
using packets = std::span<wg::packet>;
using datagrams = std::span<wg::datagram>;
using label = std::span<byte, wg::timestamp_bytes>;

struct only_moves {
    only_moves() noexcept = default;
    only_moves(only_moves&&) noexcept = default;
    only_moves& operator=(only_moves&&) = delete;
};

// --- hash_backend

struct hash : only_moves {
    void blake2s(bytes out, bytes_view, bytes_view, bytes_view) const noexcept {
        wg::fill_zero(out);
    } // otherwise g++ warns where the digest is read
};
static_assert(wg::hash_backend<hash>);

struct hash_without_blake2s {};
struct hash_blake2s_throws {
    void blake2s(bytes, bytes_view, bytes_view, bytes_view) const {}
};
struct hash_blake2s_returns {
    int blake2s(bytes, bytes_view, bytes_view, bytes_view) const noexcept { return 0; }
};
struct hash_blake2s_is_not_const {
    void blake2s(bytes, bytes_view, bytes_view, bytes_view) noexcept {}
};
struct hash_blake2s_of_one_input {
    void blake2s(bytes, bytes_view, bytes_view) const noexcept {}
};
static_assert(!wg::hash_backend<hash_without_blake2s>);
static_assert(!wg::hash_backend<hash_blake2s_throws>);
static_assert(!wg::hash_backend<hash_blake2s_returns>);
static_assert(!wg::hash_backend<hash_blake2s_is_not_const>);
static_assert(!wg::hash_backend<hash_blake2s_of_one_input>);

struct batch_hash : hash {
    void blake2s_batch(std::span<wg::hash_item const>) const noexcept {}
};
static_assert(!wg::batch_hash_backend<hash>);
static_assert(wg::batch_hash_backend<batch_hash>);

struct batch_hash_without_blake2s {
    void blake2s_batch(std::span<wg::hash_item const>) const noexcept {}
};
struct batch_hash_throws : hash {
    void blake2s_batch(std::span<wg::hash_item const>) const {}
};
struct batch_hash_returns : hash {
    bool blake2s_batch(std::span<wg::hash_item const>) const noexcept { return true; }
};
struct batch_hash_is_not_const : hash {
    void blake2s_batch(std::span<wg::hash_item const>) noexcept {}
};
struct batch_hash_of_mutable_items : hash {
    void blake2s_batch(std::span<wg::hash_item>) const noexcept {}
};
static_assert(!wg::batch_hash_backend<batch_hash_without_blake2s>);
static_assert(!wg::batch_hash_backend<batch_hash_throws>);
static_assert(!wg::batch_hash_backend<batch_hash_returns>);
static_assert(!wg::batch_hash_backend<batch_hash_is_not_const>);
static_assert(!wg::batch_hash_backend<batch_hash_of_mutable_items>);

// --- dh_backend (a type cannot have a member of its own name, so the model is not called `dh`)

struct diffie_hellman : only_moves {
    bool dh(key&, key const&, key_view) const noexcept { return true; }
    void dh_public(wg::public_key&, key const&) const noexcept {}
};
static_assert(wg::dh_backend<diffie_hellman>);

struct dh_without_dh : diffie_hellman {
private:
    using diffie_hellman::dh;
};
struct dh_throws : diffie_hellman {
    bool dh(key&, key const&, key_view) const { return true; }
};
struct dh_returns_void : diffie_hellman {
    void dh(key&, key const&, key_view) const noexcept {}
};
struct dh_is_not_const : diffie_hellman {
    bool dh(key&, key const&, key_view) noexcept { return true; }
};
struct dh_without_dh_public : diffie_hellman {
private:
    using diffie_hellman::dh_public;
};
struct dh_public_throws : diffie_hellman {
    void dh_public(wg::public_key&, key const&) const {}
};
struct dh_public_returns : diffie_hellman {
    bool dh_public(wg::public_key&, key const&) const noexcept { return true; }
};
static_assert(!wg::dh_backend<dh_without_dh>);
static_assert(!wg::dh_backend<dh_throws>);
static_assert(!wg::dh_backend<dh_returns_void>);
static_assert(!wg::dh_backend<dh_is_not_const>);
static_assert(!wg::dh_backend<dh_without_dh_public>);
static_assert(!wg::dh_backend<dh_public_throws>);
static_assert(!wg::dh_backend<dh_public_returns>);

struct batch_diffie_hellman : diffie_hellman {
    void dh_batch(std::span<wg::dh_item>) const noexcept {}
};
static_assert(!wg::batch_dh_backend<diffie_hellman>);
static_assert(wg::batch_dh_backend<batch_diffie_hellman>);

struct batch_dh_without_dh {
    void dh_batch(std::span<wg::dh_item>) const noexcept {}
};
struct batch_dh_throws : diffie_hellman {
    void dh_batch(std::span<wg::dh_item>) const {}
};
struct batch_dh_returns : diffie_hellman {
    bool dh_batch(std::span<wg::dh_item>) const noexcept { return true; }
};
struct batch_dh_is_not_const : diffie_hellman {
    void dh_batch(std::span<wg::dh_item>) noexcept {}
};
static_assert(!wg::batch_dh_backend<batch_dh_without_dh>);
static_assert(!wg::batch_dh_backend<batch_dh_throws>);
static_assert(!wg::batch_dh_backend<batch_dh_returns>);
static_assert(!wg::batch_dh_backend<batch_dh_is_not_const>);

// --- aead_backend

struct aead : only_moves {
    void seal(bytes, bytes_view, bytes_view, std::uint64_t, key const&) const noexcept {}
    bool open(bytes, bytes_view, bytes_view, std::uint64_t, key const&) const noexcept { return true; }
    void hchacha20(key&, key const&, std::span<byte const, 16>) const noexcept {}
};
static_assert(wg::aead_backend<aead>);

struct aead_without_seal : aead {
private:
    using aead::seal;
};
struct aead_seal_throws : aead {
    void seal(bytes, bytes_view, bytes_view, std::uint64_t, key const&) const {}
};
struct aead_seal_returns : aead {
    bool seal(bytes, bytes_view, bytes_view, std::uint64_t, key const&) const noexcept { return true; }
};
struct aead_seal_is_not_const : aead {
    void seal(bytes, bytes_view, bytes_view, std::uint64_t, key const&) noexcept {}
};
struct aead_without_open : aead {
private:
    using aead::open;
};
struct aead_open_throws : aead {
    bool open(bytes, bytes_view, bytes_view, std::uint64_t, key const&) const { return true; }
};
struct aead_open_returns_void : aead {
    void open(bytes, bytes_view, bytes_view, std::uint64_t, key const&) const noexcept {}
};
struct aead_open_is_not_const : aead {
    bool open(bytes, bytes_view, bytes_view, std::uint64_t, key const&) noexcept { return true; }
};
struct aead_without_hchacha20 : aead {
private:
    using aead::hchacha20;
};
struct aead_hchacha20_throws : aead {
    void hchacha20(key&, key const&, std::span<byte const, 16>) const {}
};
struct aead_hchacha20_of_a_short_nonce : aead {
    void hchacha20(key&, key const&, std::span<byte const, 12>) const noexcept {}
};
static_assert(!wg::aead_backend<aead_without_seal>);
static_assert(!wg::aead_backend<aead_seal_throws>);
static_assert(!wg::aead_backend<aead_seal_returns>);
static_assert(!wg::aead_backend<aead_seal_is_not_const>);
static_assert(!wg::aead_backend<aead_without_open>);
static_assert(!wg::aead_backend<aead_open_throws>);
static_assert(!wg::aead_backend<aead_open_returns_void>);
static_assert(!wg::aead_backend<aead_open_is_not_const>);
static_assert(!wg::aead_backend<aead_without_hchacha20>);
static_assert(!wg::aead_backend<aead_hchacha20_throws>);
static_assert(!wg::aead_backend<aead_hchacha20_of_a_short_nonce>);

struct batch_aead : aead {
    void seal_batch(std::span<wg::aead_item const>) const noexcept {}
    void open_batch(std::span<wg::aead_item>) const noexcept {}
};
static_assert(!wg::batch_aead_backend<aead>);
static_assert(wg::batch_aead_backend<batch_aead>);

struct batch_aead_without_seal_batch : batch_aead {
private:
    using batch_aead::seal_batch;
};
struct batch_aead_seal_batch_throws : batch_aead {
    void seal_batch(std::span<wg::aead_item const>) const {}
};
struct batch_aead_seal_batch_is_not_const : batch_aead {
    void seal_batch(std::span<wg::aead_item const>) noexcept {}
};
struct batch_aead_without_open_batch : batch_aead {
private:
    using batch_aead::open_batch;
};
struct batch_aead_open_batch_throws : batch_aead {
    void open_batch(std::span<wg::aead_item>) const {}
};
struct batch_aead_open_batch_returns : batch_aead {
    bool open_batch(std::span<wg::aead_item>) const noexcept { return true; }
};
static_assert(!wg::batch_aead_backend<batch_aead_without_seal_batch>);
static_assert(!wg::batch_aead_backend<batch_aead_seal_batch_throws>);
static_assert(!wg::batch_aead_backend<batch_aead_seal_batch_is_not_const>);
static_assert(!wg::batch_aead_backend<batch_aead_without_open_batch>);
static_assert(!wg::batch_aead_backend<batch_aead_open_batch_throws>);
static_assert(!wg::batch_aead_backend<batch_aead_open_batch_returns>);

// --- kem_backend

struct kem : only_moves {
    static constexpr std::size_t public_key_bytes = 3, private_key_bytes = 5, ciphertext_bytes = 4;
    bool generate(std::span<byte, 3>, wg::secret<5>&, wg::secret<64> const&) const noexcept { return true; }
    bool encapsulate(std::span<byte, 4>, key&, std::span<byte const, 3>, wg::secret<32> const&) const noexcept {
        return true;
    }
    bool decapsulate(key&, wg::secret<5> const&, std::span<byte const, 4>) const noexcept { return true; }
};
static_assert(wg::kem_backend<kem>);
static_assert(wg::kem_backend<wg::archetypes::kem_backend>);

struct kem_without_a_size : kem {
private:
    using kem::ciphertext_bytes;
};
struct kem_without_generate : kem {
private:
    using kem::generate;
};
struct kem_generate_throws : kem {
    bool generate(std::span<byte, 3>, wg::secret<5>&, wg::secret<64> const&) const { return true; }
};
struct kem_encapsulate_returns_void : kem {
    void encapsulate(std::span<byte, 4>, key&, std::span<byte const, 3>, wg::secret<32> const&) const noexcept {}
};
struct kem_decapsulate_is_not_const : kem {
    bool decapsulate(key&, wg::secret<5> const&, std::span<byte const, 4>) noexcept { return true; }
};
struct kem_decapsulates_another_size : kem {
    bool decapsulate(key&, wg::secret<5> const&, std::span<byte const, 3>) const noexcept { return true; }
};
static_assert(!wg::kem_backend<kem_without_a_size>);
static_assert(!wg::kem_backend<kem_without_generate>);
static_assert(!wg::kem_backend<kem_generate_throws>);
static_assert(!wg::kem_backend<kem_encapsulate_returns_void>);
static_assert(!wg::kem_backend<kem_decapsulate_is_not_const>);
static_assert(!wg::kem_backend<kem_decapsulates_another_size>);

// --- clock_source

struct clock : only_moves {
    instant now() noexcept { return {}; }
    void tai64n(label) noexcept {}
};
static_assert(wg::clock_source<clock>);

struct clock_without_now : clock {
private:
    using clock::now;
};
struct clock_now_throws : clock {
    instant now() { return {}; }
};
struct clock_now_in_numbers : clock {
    std::int64_t now() noexcept { return 0; }
};
struct clock_without_tai64n : clock {
private:
    using clock::tai64n;
};
struct clock_tai64n_throws : clock {
    void tai64n(label) {}
};
struct clock_tai64n_returns : clock {
    bool tai64n(label) noexcept { return true; }
};
struct clock_tai64n_too_short : clock {
    void tai64n(std::span<byte, 8>) noexcept {}
};
static_assert(!wg::clock_source<clock_without_now>);
static_assert(!wg::clock_source<clock_now_throws>);
static_assert(!wg::clock_source<clock_now_in_numbers>);
static_assert(!wg::clock_source<clock_without_tai64n>);
static_assert(!wg::clock_source<clock_tai64n_throws>);
static_assert(!wg::clock_source<clock_tai64n_returns>);
static_assert(!wg::clock_source<clock_tai64n_too_short>);

// --- random_source

struct random : only_moves {
    bool fill(bytes) noexcept { return true; }
};
static_assert(wg::random_source<random>);

struct random_without_fill {};
struct random_fill_throws {
    bool fill(bytes) { return true; }
};
struct random_fill_cannot_fail {
    void fill(bytes) noexcept {}
};
static_assert(!wg::random_source<random_without_fill>);
static_assert(!wg::random_source<random_fill_throws>);
static_assert(!wg::random_source<random_fill_cannot_fail>);

// --- tun_device

struct tun {
    static constexpr std::size_t headroom = 0;
    result<std::size_t> read(packets) noexcept { return std::size_t{0}; }
    std::size_t write(packets) noexcept { return 0; }
    std::size_t mtu() noexcept { return 0; }
};
static_assert(wg::tun_device<tun>);

struct tun_without_read : tun {
private:
    using tun::read;
};
struct tun_read_throws : tun {
    result<std::size_t> read(packets) { return std::size_t{0}; }
};
struct tun_read_cannot_fail : tun {
    std::size_t read(packets) noexcept { return 0; }
};
struct tun_without_write : tun {
private:
    using tun::write;
};
struct tun_write_throws : tun {
    std::size_t write(packets) { return 0; }
};
struct tun_write_without_count : tun {
    void write(packets) noexcept {}
};
struct tun_without_mtu : tun {
private:
    using tun::mtu;
};
struct tun_mtu_throws : tun {
    std::size_t mtu() { return 0; }
};
struct tun_mtu_signed : tun {
    int mtu() noexcept { return 0; }
};
struct tun_without_headroom : tun {
private:
    using tun::headroom;
};
static_assert(!wg::tun_device<tun_without_read>);
static_assert(!wg::tun_device<tun_read_throws>);
static_assert(!wg::tun_device<tun_read_cannot_fail>);
static_assert(!wg::tun_device<tun_without_write>);
static_assert(!wg::tun_device<tun_write_throws>);
static_assert(!wg::tun_device<tun_write_without_count>);
static_assert(!wg::tun_device<tun_without_mtu>);
static_assert(!wg::tun_device<tun_mtu_throws>);
static_assert(!wg::tun_device<tun_mtu_signed>);
static_assert(!wg::tun_device<tun_without_headroom>);

// --- udp_socket

struct udp {
    static constexpr std::size_t receive_bytes = 2048;
    result<std::uint16_t> open(std::uint16_t port) noexcept { return port; }
    void close() noexcept {}
    result<std::size_t> receive(datagrams) noexcept { return std::size_t{0}; }
    std::size_t send(datagrams) noexcept { return 0; }
};
static_assert(wg::udp_socket<udp>);

struct udp_without_open : udp {
private:
    using udp::open;
};
struct udp_open_throws : udp {
    result<std::uint16_t> open(std::uint16_t port) { return port; }
};
struct udp_open_without_port : udp {
    status open(std::uint16_t) noexcept { return status::ok; }
};
struct udp_without_close : udp {
private:
    using udp::close;
};
struct udp_close_throws : udp {
    void close() {}
};
struct udp_close_returns : udp {
    int close() noexcept { return 0; }
};
struct udp_without_receive : udp {
private:
    using udp::receive;
};
struct udp_receive_throws : udp {
    result<std::size_t> receive(datagrams) { return std::size_t{0}; }
};
struct udp_receive_of_packets : udp {
    result<std::size_t> receive(packets) noexcept { return std::size_t{0}; }
};
struct udp_without_send : udp {
private:
    using udp::send;
};
struct udp_send_throws : udp {
    std::size_t send(datagrams) { return 0; }
};
struct udp_send_without_count : udp {
    void send(datagrams) noexcept {}
};
struct udp_without_receive_bytes : udp {
private:
    using udp::receive_bytes;
};
static_assert(!wg::udp_socket<udp_without_open>);
static_assert(!wg::udp_socket<udp_open_throws>);
static_assert(!wg::udp_socket<udp_open_without_port>);
static_assert(!wg::udp_socket<udp_without_close>);
static_assert(!wg::udp_socket<udp_close_throws>);
static_assert(!wg::udp_socket<udp_close_returns>);
static_assert(!wg::udp_socket<udp_without_receive>);
static_assert(!wg::udp_socket<udp_receive_throws>);
static_assert(!wg::udp_socket<udp_receive_of_packets>);
static_assert(!wg::udp_socket<udp_without_send>);
static_assert(!wg::udp_socket<udp_send_throws>);
static_assert(!wg::udp_socket<udp_send_without_count>);
static_assert(!wg::udp_socket<udp_without_receive_bytes>);

// --- waiter

struct waiter {
    wg::readiness wait(instant) noexcept { return {}; }
    void wake() noexcept {}
};
static_assert(wg::waiter<waiter>);

struct waiter_without_wait : waiter {
private:
    using waiter::wait;
};
struct waiter_wait_throws : waiter {
    wg::readiness wait(instant) { return {}; }
};
struct waiter_wait_returns_void : waiter {
    void wait(instant) noexcept {}
};
struct waiter_without_wake : waiter {
private:
    using waiter::wake;
};
struct waiter_wake_throws : waiter {
    void wake() {}
};
struct waiter_wake_returns : waiter {
    bool wake() noexcept { return true; }
};
static_assert(!wg::waiter<waiter_without_wait>);
static_assert(!wg::waiter<waiter_wait_throws>);
static_assert(!wg::waiter<waiter_wait_returns_void>);
static_assert(!wg::waiter<waiter_without_wake>);
static_assert(!wg::waiter<waiter_wake_throws>);
static_assert(!wg::waiter<waiter_wake_returns>);

// --- threads

struct lockable {
    lockable() noexcept = default;
    lockable(lockable const&) = delete;
    void lock() noexcept {}
    void unlock() noexcept {}
};
struct threads {
    static constexpr bool parallel = false;
    using mutex = lockable;
};
static_assert(wg::threads<threads>);

struct threads_without_parallel : threads {
private:
    using threads::parallel;
};
struct threads_without_mutex : threads {
private:
    using threads::mutex;
};
struct lockable_without_lock : lockable {
private:
    using lockable::lock;
};
struct lockable_without_unlock : lockable {
private:
    using lockable::unlock;
};
struct lockable_lock_throws : lockable {
    void lock() {}
};
struct lockable_unlock_throws : lockable {
    void unlock() {}
};
template <class Mutex> struct threads_with : threads {
    using mutex = Mutex;
};
static_assert(wg::threads<threads_with<lockable>>);
static_assert(!wg::threads<threads_without_parallel>);
static_assert(!wg::threads<threads_without_mutex>);
static_assert(!wg::threads<threads_with<lockable_without_lock>>);
static_assert(!wg::threads<threads_with<lockable_without_unlock>>);
static_assert(!wg::threads<threads_with<lockable_lock_throws>>);
static_assert(!wg::threads<threads_with<lockable_unlock_throws>>);

// --- storage, and its pools and arrays. Pools and arrays work, because a device does not run without memory.

template <class T> struct heap_pool {
    heap_pool() noexcept = default;
    heap_pool(heap_pool const&) = delete;
    T* acquire() noexcept { return ::new (std::nothrow) T{}; }
    void release(T* object) noexcept { delete object; }
    bool reserve(std::size_t) noexcept { return true; }
};
using numbers = heap_pool<std::uint64_t>;
static_assert(wg::pool_of<numbers, std::uint64_t>);
static_assert(!wg::pool_of<numbers, std::uint32_t>);

struct pool_without_acquire : numbers {
private:
    using numbers::acquire;
};
struct pool_acquire_throws : numbers {
    std::uint64_t* acquire() { return nullptr; }
};
struct pool_acquire_of_anything : numbers {
    void* acquire() noexcept { return nullptr; }
};
struct pool_without_release : numbers {
private:
    using numbers::release;
};
struct pool_release_throws : numbers {
    void release(std::uint64_t*) {}
};
struct pool_release_returns : numbers {
    bool release(std::uint64_t*) noexcept { return true; }
};
struct pool_without_reserve : numbers {
private:
    using numbers::reserve;
};
struct pool_reserve_throws : numbers {
    bool reserve(std::size_t) { return true; }
};
struct pool_reserve_cannot_fail : numbers {
    void reserve(std::size_t) noexcept {}
};
static_assert(!wg::pool_of<pool_without_acquire, std::uint64_t>);
static_assert(!wg::pool_of<pool_acquire_throws, std::uint64_t>);
static_assert(!wg::pool_of<pool_acquire_of_anything, std::uint64_t>);
static_assert(!wg::pool_of<pool_without_release, std::uint64_t>);
static_assert(!wg::pool_of<pool_release_throws, std::uint64_t>);
static_assert(!wg::pool_of<pool_release_returns, std::uint64_t>);
static_assert(!wg::pool_of<pool_without_reserve, std::uint64_t>);
static_assert(!wg::pool_of<pool_reserve_throws, std::uint64_t>);
static_assert(!wg::pool_of<pool_reserve_cannot_fail, std::uint64_t>);

template <class T> struct heap_array {
    bool resize(std::size_t count) noexcept {
        std::unique_ptr<T[]> fresh(::new (std::nothrow) T[count]{});
        if (fresh == nullptr) return false;
        elements = std::move(fresh);
        size = count;
        return true;
    }
    std::span<T> view() noexcept { return {elements.get(), size}; }

    std::unique_ptr<T[]> elements;
    std::size_t size = 0;
};
using number_array = heap_array<std::uint64_t>;
static_assert(wg::array_of<number_array, std::uint64_t>);
static_assert(!wg::array_of<number_array, std::uint32_t>);

struct array_without_resize : number_array {
private:
    using number_array::resize;
};
struct array_resize_throws : number_array {
    bool resize(std::size_t) { return true; }
};
struct array_resize_cannot_fail : number_array {
    void resize(std::size_t) noexcept {}
};
struct array_without_view : number_array {
private:
    using number_array::view;
};
struct array_view_throws : number_array {
    std::span<std::uint64_t> view() { return {}; }
};
struct array_view_of_constants : number_array {
    std::span<std::uint64_t const> view() noexcept { return {}; }
};
struct array_that_cannot_move : number_array {
    array_that_cannot_move() noexcept = default;
    array_that_cannot_move(array_that_cannot_move const&) = delete;
};
static_assert(!wg::array_of<array_without_resize, std::uint64_t>);
static_assert(!wg::array_of<array_resize_throws, std::uint64_t>);
static_assert(!wg::array_of<array_resize_cannot_fail, std::uint64_t>);
static_assert(!wg::array_of<array_without_view, std::uint64_t>);
static_assert(!wg::array_of<array_view_throws, std::uint64_t>);
static_assert(!wg::array_of<array_view_of_constants, std::uint64_t>);
static_assert(!wg::array_of<array_that_cannot_move, std::uint64_t>);

/// The constants of `storage` and its twins.
struct limits {
    static constexpr std::size_t max_peers = 0;
    static constexpr std::size_t max_allowed_ips = 0;
    static constexpr std::size_t max_staged_packets = 1;
    static constexpr std::size_t max_staged_packets_per_peer = 1;
    static constexpr std::size_t max_queued_handshakes = 1;
    static constexpr std::size_t max_limited_sources = 4;
    static constexpr std::size_t replay_bits = 32;
    static constexpr std::size_t batch = 1;
    static constexpr std::size_t max_mtu_bytes = 0;
};
struct storage : limits, only_moves {
    template <class T, std::size_t> struct pool : heap_pool<T> {
        explicit pool(storage&) noexcept {}
    };
    template <class T, std::size_t> struct secret_pool : heap_pool<T> {
        explicit secret_pool(storage&) noexcept {}
    };
    template <class T, std::size_t> struct array : heap_array<T> {
        explicit array(storage&) noexcept {}
    };
};
static_assert(wg::storage<storage>);

/// Not constructible from a storage.
template <class T, std::size_t> struct pool_of_itself : heap_pool<T> {};
template <class T, std::size_t> struct array_of_itself : heap_array<T> {};

/// Constructible from every storage here.
template <class T, std::size_t> struct pool_of_any : heap_pool<T> {
    explicit pool_of_any(limits&) noexcept {}
};
template <class T, std::size_t> struct array_of_any : heap_array<T> {
    explicit array_of_any(limits&) noexcept {}
};

struct storage_of_parts : limits {
    template <class T, std::size_t N> using pool = pool_of_any<T, N>;
    template <class T, std::size_t N> using secret_pool = pool_of_any<T, N>;
    template <class T, std::size_t N> using array = array_of_any<T, N>;
};
static_assert(wg::storage<storage_of_parts>);
struct storage_without_pool : limits {
    template <class T, std::size_t N> using secret_pool = pool_of_any<T, N>;
    template <class T, std::size_t N> using array = array_of_any<T, N>;
};
struct storage_without_secret_pool : limits {
    template <class T, std::size_t N> using pool = pool_of_any<T, N>;
    template <class T, std::size_t N> using array = array_of_any<T, N>;
};
struct storage_without_array : limits {
    template <class T, std::size_t N> using pool = pool_of_any<T, N>;
    template <class T, std::size_t N> using secret_pool = pool_of_any<T, N>;
};
struct storage_pool_not_constructible_from_it : storage {
    template <class T, std::size_t N> using pool = pool_of_itself<T, N>;
};
struct storage_secret_pool_not_constructible_from_it : storage {
    template <class T, std::size_t N> using secret_pool = pool_of_itself<T, N>;
};
struct storage_array_not_constructible_from_it : storage {
    template <class T, std::size_t N> using array = array_of_itself<T, N>;
};
struct storage_without_max_peers : storage {
private:
    using limits::max_peers;
};
struct storage_without_max_allowed_ips : storage {
private:
    using limits::max_allowed_ips;
};
struct storage_without_max_staged_packets : storage {
private:
    using limits::max_staged_packets;
};
struct storage_without_max_staged_packets_per_peer : storage {
private:
    using limits::max_staged_packets_per_peer;
};
struct storage_without_max_queued_handshakes : storage {
private:
    using limits::max_queued_handshakes;
};
struct storage_without_max_limited_sources : storage {
private:
    using limits::max_limited_sources;
};
struct storage_without_replay_bits : storage {
private:
    using limits::replay_bits;
};
static_assert(!wg::storage<storage_without_pool>);
static_assert(!wg::storage<storage_without_secret_pool>);
static_assert(!wg::storage<storage_without_array>);
static_assert(!wg::storage<storage_pool_not_constructible_from_it>);
static_assert(!wg::storage<storage_secret_pool_not_constructible_from_it>);
static_assert(!wg::storage<storage_array_not_constructible_from_it>);
static_assert(!wg::storage<storage_without_max_peers>);
static_assert(!wg::storage<storage_without_max_allowed_ips>);
static_assert(!wg::storage<storage_without_max_staged_packets>);
static_assert(!wg::storage<storage_without_max_staged_packets_per_peer>);
static_assert(!wg::storage<storage_without_max_queued_handshakes>);
static_assert(!wg::storage<storage_without_max_limited_sources>);
static_assert(!wg::storage<storage_without_replay_bits>);

// --- observer

struct observer : only_moves {
    static constexpr bool enabled = true;
    void event(wg::event_id, std::uint32_t, std::uint64_t) noexcept {}
};
static_assert(wg::observer<observer>);

struct observer_without_event : observer {
private:
    using observer::event;
};
struct observer_event_throws : observer {
    void event(wg::event_id, std::uint32_t, std::uint64_t) {}
};
struct observer_event_returns : observer {
    bool event(wg::event_id, std::uint32_t, std::uint64_t) noexcept { return true; }
};
struct observer_without_enabled : observer {
private:
    using observer::enabled;
};
static_assert(!wg::observer<observer_without_event>);
static_assert(!wg::observer<observer_event_throws>);
static_assert(!wg::observer<observer_event_returns>);
static_assert(!wg::observer<observer_without_enabled>);

// --- ratchet_storage

struct ratchet_records : only_moves {
    bool load(wg::public_key const&, std::span<byte, wg::ratchet_record_bytes>) noexcept { return false; }
    bool store(wg::public_key const&, std::span<byte const, wg::ratchet_record_bytes>) noexcept { return true; }
    void erase(wg::public_key const&) noexcept {}
};
static_assert(wg::ratchet_storage<ratchet_records>);

struct ratchet_records_without_load : ratchet_records {
private:
    using ratchet_records::load;
};
struct ratchet_records_without_store : ratchet_records {
private:
    using ratchet_records::store;
};
struct ratchet_records_without_erase : ratchet_records {
private:
    using ratchet_records::erase;
};
struct ratchet_records_erase_throws : ratchet_records {
    void erase(wg::public_key const&) {}
};
static_assert(!wg::ratchet_storage<ratchet_records_without_load>);
static_assert(!wg::ratchet_storage<ratchet_records_without_store>);
static_assert(!wg::ratchet_storage<ratchet_records_without_erase>);
static_assert(!wg::ratchet_storage<ratchet_records_erase_throws>);

// --- policies and engine_policies

/// A bundle of the smallest models.
struct bundle {
    using hash = archetypes::hash;
    using dh = diffie_hellman;
    using aead = archetypes::aead;
    using clock_source = clock;
    using random_source = archetypes::random;
    using threads = archetypes::threads;
    using storage = archetypes::storage;
    using observer = archetypes::observer;
};
struct batch_bundle : bundle {
    using hash = batch_hash;
    using dh = batch_diffie_hellman;
    using aead = batch_aead;
};
static_assert(wg::policies<batch_bundle>);
struct engine_bundle : bundle {
    using tun_device = tun;
    using udp_socket = udp;
    using waiter = archetypes::waiter;
};
static_assert(wg::policies<bundle> && !wg::engine_policies<bundle>);
static_assert(wg::engine_policies<engine_bundle>);

struct bundle_without_hash : engine_bundle {
    using hash = void;
};
struct bundle_without_dh : engine_bundle {
    using dh = void;
};
struct bundle_without_aead : engine_bundle {
    using aead = void;
};
struct bundle_without_clock_source : engine_bundle {
    using clock_source = void;
};
struct bundle_without_random_source : engine_bundle {
    using random_source = void;
};
struct bundle_without_threads : engine_bundle {
    using threads = void;
};
struct bundle_without_storage : engine_bundle {
    using storage = void;
};
struct bundle_without_observer : engine_bundle {
    using observer = void;
};
struct bundle_without_tun_device : engine_bundle {
    using tun_device = void;
};
struct bundle_without_udp_socket : engine_bundle {
    using udp_socket = void;
};
struct bundle_without_waiter : engine_bundle {
    using waiter = void;
};
template <class Bundle> inline constexpr bool is_refused = !wg::policies<Bundle> && !wg::engine_policies<Bundle>;
static_assert(is_refused<bundle_without_hash> && is_refused<bundle_without_dh> && is_refused<bundle_without_aead>);
static_assert(is_refused<bundle_without_clock_source> && is_refused<bundle_without_random_source>);
static_assert(is_refused<bundle_without_threads> && is_refused<bundle_without_storage> &&
              is_refused<bundle_without_observer>);
static_assert(wg::policies<bundle_without_tun_device> && !wg::engine_policies<bundle_without_tun_device>);
static_assert(wg::policies<bundle_without_udp_socket> && !wg::engine_policies<bundle_without_udp_socket>);
static_assert(wg::policies<bundle_without_waiter> && !wg::engine_policies<bundle_without_waiter>);

// --- optional members. Each twin is a documented archetype with one member replaced by a wrong one. The twin is still
// a policy, but lacks the refinement; a device or an engine with it does not compile (tests/headers/wrong_members.py).

namespace documented = wg::archetypes;
static_assert(wg::engine_policies<documented::policies>);
static_assert(sizeof(wg::check_policies<documented::policies>) != 0);
static_assert(sizeof(wg::check_engine_policies<documented::policies>) != 0);
static_assert(wg::batch_hash_backend<documented::hash_backend> && wg::hmac_hash_backend<documented::hash_backend>);
static_assert(wg::batch_dh_backend<documented::dh_backend>);
static_assert(wg::batch_aead_backend<documented::aead_backend>);
static_assert(wg::single_call_aead_backend<documented::aead_backend>);
static_assert(wg::tun_device_with_settle<documented::tun_device> && wg::tun_device_with_share<documented::tun_device>);
static_assert(wg::tun_device_with_has_more_for_others<documented::tun_device>);
static_assert(wg::tun_device_with_sparse_packets<documented::tun_device>);
static_assert(wg::tun_device_with_longest_cut<documented::tun_device>);
static_assert(wg::udp_socket_with_set_fwmark<documented::udp_socket>);
static_assert(wg::udp_socket_with_share<documented::udp_socket>);
static_assert(wg::udp_socket_with_handshakes<documented::udp_socket>);
static_assert(wg::udp_socket_with_separate_handshakes<documented::udp_socket>);
static_assert(wg::udp_socket_with_handshakes_ready<documented::udp_socket>);
static_assert(wg::waiter_with_busy_poll<documented::waiter>);
static_assert(wg::threads_with_cell<documented::threads> && wg::threads_with_thread<documented::threads>);
static_assert(wg::threads_with_give_way<documented::threads>);
static_assert(wg::engine_storage<documented::storage>);
static_assert(wg::observer_with_key<documented::observer> && wg::observer_with_packets<documented::observer>);
static_assert(wg::pool_of<documented::pool<int>, int> && wg::array_of<documented::array<int>, int>);

// The smallest models have no optional member.
static_assert(!wg::hmac_hash_backend<hash> && !wg::single_call_aead_backend<aead>);
static_assert(!wg::tun_device_with_settle<tun> && !wg::tun_device_with_share<tun>);
static_assert(!wg::tun_device_with_has_more_for_others<tun> && !wg::tun_device_with_sparse_packets<tun>);
static_assert(!wg::tun_device_with_longest_cut<tun>);
static_assert(!wg::udp_socket_with_set_fwmark<udp> && !wg::udp_socket_with_share<udp>);
static_assert(!wg::udp_socket_with_handshakes<udp> && !wg::udp_socket_with_separate_handshakes<udp>);
static_assert(!wg::udp_socket_with_handshakes_ready<udp> && !wg::udp_socket_with_room<udp>);
static_assert(!wg::waiter_with_busy_poll<waiter> && !wg::observer_with_key<observer>);
static_assert(!wg::observer_with_packets<observer> && !wg::observer_with_secrets<observer>);
static_assert(!wg::threads_with_cell<threads> && !wg::threads_with_thread<threads>);
static_assert(!wg::threads_with_give_way<threads>);

struct wrong_blake2s_batch : documented::hash_backend {
    void blake2s_batch(std::span<wg::hash_item const>) const;
};
static_assert(wg::hash_backend<wrong_blake2s_batch> && !wg::batch_hash_backend<wrong_blake2s_batch>);
struct wrong_hmac_blake2s : documented::hash_backend {
    bool hmac_blake2s(bytes, key_view, bytes_view) const noexcept;
};
static_assert(wg::hash_backend<wrong_hmac_blake2s> && !wg::hmac_hash_backend<wrong_hmac_blake2s>);
struct wrong_dh_batch : documented::dh_backend {
    void dh_batch(std::span<wg::dh_item>) const;
};
static_assert(wg::dh_backend<wrong_dh_batch> && !wg::batch_dh_backend<wrong_dh_batch>);
struct wrong_seal_batch : documented::aead_backend {
    void seal_batch(std::span<wg::aead_item>) const;
};
static_assert(wg::aead_backend<wrong_seal_batch> && !wg::batch_aead_backend<wrong_seal_batch>);
struct wrong_open_batch : documented::aead_backend {
    bool open_batch(std::span<wg::aead_item>) const noexcept;
};
static_assert(wg::aead_backend<wrong_open_batch> && !wg::batch_aead_backend<wrong_open_batch>);
struct wrong_run : documented::aead_backend {
    bool run(bool, byte*, byte const*, std::size_t) const noexcept;
};
static_assert(wg::aead_backend<wrong_run> && !wg::single_call_aead_backend<wrong_run>);
struct wrong_settle : documented::tun_device {
    void settle();
};
static_assert(wg::tun_device<wrong_settle> && !wg::tun_device_with_settle<wrong_settle>);
struct wrong_tun_share : documented::tun_device {
    bool share() noexcept;
};
static_assert(wg::tun_device<wrong_tun_share> && !wg::tun_device_with_share<wrong_tun_share>);
struct wrong_has_more_for_others : documented::tun_device {
    int has_more_for_others() noexcept;
};
static_assert(wg::tun_device<wrong_has_more_for_others> &&
              !wg::tun_device_with_has_more_for_others<wrong_has_more_for_others>);
struct wrong_sparse_packets : documented::tun_device {
    std::size_t sparse_packets() noexcept;
};
static_assert(wg::tun_device<wrong_sparse_packets> && !wg::tun_device_with_sparse_packets<wrong_sparse_packets>);
struct wrong_longest_cut : documented::tun_device {
    int longest_cut() noexcept;
};
static_assert(wg::tun_device<wrong_longest_cut> && !wg::tun_device_with_longest_cut<wrong_longest_cut>);
struct wrong_set_fwmark : documented::udp_socket {
    void set_fwmark(std::uint32_t) noexcept;
};
static_assert(wg::udp_socket<wrong_set_fwmark> && !wg::udp_socket_with_set_fwmark<wrong_set_fwmark>);
struct wrong_socket_share : documented::udp_socket {
    bool share() noexcept;
};
static_assert(wg::udp_socket<wrong_socket_share> && !wg::udp_socket_with_share<wrong_socket_share>);
struct wrong_receive_handshakes : documented::udp_socket {
    std::size_t receive_handshakes(datagrams) noexcept;
};
static_assert(wg::udp_socket<wrong_receive_handshakes> && !wg::udp_socket_with_handshakes<wrong_receive_handshakes>);
struct wrong_note_received : documented::udp_socket {
    void note_received(std::size_t, std::size_t) noexcept;
};
static_assert(wg::udp_socket<wrong_note_received> && !wg::udp_socket_with_handshakes<wrong_note_received>);
struct wrong_note_authentic : documented::udp_socket {
    void note_authentic(wg::endpoint const&) noexcept;
};
static_assert(wg::udp_socket<wrong_note_authentic> && !wg::udp_socket_with_handshakes<wrong_note_authentic>);
struct wrong_separate_handshakes : documented::udp_socket {
    bool separate_handshakes() noexcept;
};
static_assert(wg::udp_socket<wrong_separate_handshakes> &&
              !wg::udp_socket_with_separate_handshakes<wrong_separate_handshakes>);
struct wrong_handshakes_ready : documented::udp_socket {
    bool handshakes_ready();
};
static_assert(wg::udp_socket<wrong_handshakes_ready> && !wg::udp_socket_with_handshakes_ready<wrong_handshakes_ready>);
struct wrong_send_headroom : documented::udp_socket {
    static std::size_t send_headroom() noexcept;
};
static_assert(wg::udp_socket<wrong_send_headroom> && !wg::udp_socket_with_room<wrong_send_headroom>);
struct wrong_keep_out_of : documented::udp_socket {
    bool keep_out_of(documented::tun_device const&) noexcept;
};
static_assert(wg::udp_socket<wrong_keep_out_of> &&
              !wg::udp_socket_with_tunnel<wrong_keep_out_of, documented::tun_device>);
static_assert(wg::udp_socket_with_tunnel<documented::udp_socket, documented::tun_device>);
struct wrong_busy_poll : waiter {
    using waiter::wait;
    bool wait(instant, wg::duration) noexcept;
};
static_assert(wg::waiter<wrong_busy_poll> && !wg::waiter_with_busy_poll<wrong_busy_poll>);
struct wrong_cell : documented::threads {
    using cell = std::uint32_t;
};
static_assert(wg::threads<wrong_cell> && !wg::threads_with_cell<wrong_cell>);
struct wrong_thread : documented::threads {
    struct thread {
        void start() noexcept;
    };
};
static_assert(wg::threads<wrong_thread> && !wg::threads_with_thread<wrong_thread>);
struct wrong_give_way : documented::threads {
    void give_way() noexcept; // not static
};
static_assert(wg::threads<wrong_give_way> && !wg::threads_with_give_way<wrong_give_way>);
struct wrong_event : observer {
    using observer::event;
    void event(wg::event_id, std::uint32_t, std::uint64_t, wg::public_key const&);
};
static_assert(wg::observer<wrong_event> && !wg::observer_with_key<wrong_event>);
struct wrong_packet : observer {
    void packet(wg::seen_packet&) noexcept;
};
static_assert(wg::observer<wrong_packet> && !wg::observer_with_packets<wrong_packet>);
struct wrong_handshake : observer { // right, but without WG_KEY_LOG no observer gets a secret
    void handshake(wg::handshake_secrets const&) noexcept;
};
#ifndef WG_KEY_LOG
static_assert(wg::observer<wrong_handshake> && !wg::observer_with_secrets<wrong_handshake>);
#endif

} // namespace archetypes

#endif
