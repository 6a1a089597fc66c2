// SPDX-License-Identifier: BSL-1.0
// Memory that grows and may hold keys: wiped before it moves on, so that nothing stays behind on the heap.
// Layer 5 (control); one thread at a time. Nothing throws: whoever appends is told when there is no memory.
#ifndef WG_CONTROL_SECRET_BUFFER_HPP
#define WG_CONTROL_SECRET_BUFFER_HPP

#include "../base/secret.hpp"

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <utility>

namespace wg { inline namespace WG_ABI {

/// Where the buffers of this layer get their memory from. A host without a heap gives its own type with these members.
struct heap_memory {
    /// `size` bytes, aligned for any object; nullptr if there are none left.
    static void* acquire(std::size_t size) noexcept { return std::malloc(size); }
    /// Takes back what `acquire(size)` gave. It is wiped already.
    static void release(void* memory, std::size_t) noexcept { std::free(memory); }
};

/// A growing array of elements that may hold secrets. Storage that it leaves, by growth, `truncate`, `clear` or
/// death, is wiped first, the elements' own destructors aside.
template <class Element, class Memory = heap_memory> class secret_vector {
    static_assert(std::is_nothrow_move_constructible_v<Element> && alignof(Element) <= alignof(std::max_align_t));

public:
    secret_vector() noexcept = default;
    secret_vector(secret_vector&& other) noexcept
        : elements_(std::exchange(other.elements_, nullptr)), size_(std::exchange(other.size_, 0)),
          capacity_(std::exchange(other.capacity_, 0)) {}
    secret_vector& operator=(secret_vector&& other) noexcept {
        if (this != &other) {
            release();
            elements_ = std::exchange(other.elements_, nullptr);
            size_ = std::exchange(other.size_, 0);
            capacity_ = std::exchange(other.capacity_, 0);
        }
        return *this;
    }
    ~secret_vector() { release(); }

    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    std::size_t capacity() const noexcept { return capacity_; }
    std::span<Element> view() noexcept { return {elements_, size_}; }
    std::span<Element const> view() const noexcept { return {elements_, size_}; }

    /// Appends by moving. False: no memory; the vector and `element` are unchanged.
    [[nodiscard]] bool append(Element&& element) noexcept {
        if (!reserve_more(1)) return false;
        std::construct_at(elements_ + size_, std::move(element));
        ++size_;
        return true;
    }

    /// Appends `count` zero elements and returns the first; nullptr: no memory, and nothing has changed.
    [[nodiscard]] Element* extend(std::size_t count) noexcept
        requires std::is_trivially_copyable_v<Element>
    {
        if (!reserve_more(count)) return nullptr;
        Element* const first = elements_ + size_;
        for (std::size_t i = 0; i < count; ++i) std::construct_at(first + i);
        size_ += count;
        return first;
    }

    /// Forgets and wipes all but the first `size` elements, keeping the storage. `size` must not exceed `size()`.
    void truncate(std::size_t size) noexcept {
        WG_ASSERT(size <= size_);
        if (size == size_) return;
        std::destroy_n(elements_ + size, size_ - size);
        wipe(static_cast<void*>(elements_ + size), (size_ - size) * sizeof(Element));
        size_ = size;
    }
    /// Forgets and wipes all elements, keeping the storage for the next.
    void clear() noexcept { truncate(0); }
    /// Forgets and wipes all elements and gives the storage back.
    void release() noexcept {
        if (elements_ == nullptr) return;
        clear();
        Memory::release(elements_, capacity_ * sizeof(Element));
        elements_ = nullptr;
        capacity_ = 0;
    }

private:
    static constexpr std::size_t smallest_elements = (512 + sizeof(Element) - 1) / sizeof(Element);
    static constexpr std::size_t most_elements = static_cast<std::size_t>(PTRDIFF_MAX) / 2 / sizeof(Element);

    bool reserve_more(std::size_t count) noexcept {
        if (count > most_elements || size_ > most_elements - count) return false;
        if (count <= capacity_ - size_) return true;
        std::size_t capacity = 2 * capacity_; // at most 2 * most_elements: no overflow
        if (capacity < size_ + count) capacity = size_ + count;
        if (capacity < smallest_elements) capacity = smallest_elements;
        auto* const elements = static_cast<Element*>(Memory::acquire(capacity * sizeof(Element)));
        if (elements == nullptr) return false;
        std::uninitialized_move_n(elements_, size_, elements);
        std::size_t const size = size_;
        release(); // wipes what was moved from
        elements_ = elements;
        size_ = size;
        capacity_ = capacity;
        return true;
    }

    Element* elements_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

/// Text that may hold keys, and grows: what is to be sent as the answer of a configuration socket.
template <class Memory = heap_memory> class basic_secret_buffer {
public:
    std::size_t size() const noexcept { return text_.size(); }
    bool empty() const noexcept { return text_.empty(); }
    std::string_view text() const noexcept { return {text_.view().data(), text_.size()}; }
    /// The same as bytes, to be sent.
    bytes_view view() const noexcept { return {reinterpret_cast<byte const*>(text_.view().data()), text_.size()}; }

    /// False: no memory; nothing is appended.
    [[nodiscard]] bool append(std::string_view more) noexcept {
        if (more.empty()) return true;
        char* const place = text_.extend(more.size());
        if (place == nullptr) return false;
        std::memcpy(place, more.data(), more.size());
        return true;
    }
    /// Room for `size` more characters, to be written in place; nullptr: no memory.
    [[nodiscard]] char* extend(std::size_t size) noexcept { return text_.extend(size); }

    void truncate(std::size_t size) noexcept { text_.truncate(size); } ///< wipes what is behind `size`
    void clear() noexcept { text_.clear(); }                           ///< wipes; keeps the storage
    void release() noexcept { text_.release(); }                       ///< wipes; gives the storage back

private:
    secret_vector<char, Memory> text_;
};

using secret_buffer = basic_secret_buffer<>;

}} // namespace wg::WG_ABI

#endif
