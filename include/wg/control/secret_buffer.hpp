// SPDX-License-Identifier: BSL-1.0
// Growing memory that may hold keys. It is wiped before it is freed, so that no key stays on the heap.
// Folder: control. One thread at a time. Nothing throws: functions that append return whether there was memory.
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

/// The memory of the buffers in this folder. A host without a heap gives its own type with these members.
struct heap_memory {
    /// `size` bytes, aligned for any object. Returns: nullptr if there is no memory.
    static void* acquire(std::size_t size) noexcept { return std::malloc(size); }
    /// Frees memory of `acquire(size)`, which is wiped already.
    static void release(void* memory, std::size_t) noexcept { std::free(memory); }
};

/// A growing array of elements that may hold secrets. Storage that it stops using, by growth, `truncate`, `clear` or
/// destruction, is wiped after the elements are destroyed.
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

    /// The number of elements.
    std::size_t size() const noexcept { return size_; }
    /// Whether there are no elements.
    bool empty() const noexcept { return size_ == 0; }
    /// The number of elements that fit into the storage.
    std::size_t capacity() const noexcept { return capacity_; }
    /// All elements, until the next change.
    /// @{
    std::span<Element> view() noexcept { return {elements_, size_}; }
    std::span<Element const> view() const noexcept { return {elements_, size_}; }
    /// @}

    /// Appends by moving. Returns: false, and changes nothing, if there is no memory.
    [[nodiscard]] bool append(Element&& element) noexcept {
        if (!reserve_more(1)) return false;
        std::construct_at(elements_ + size_, std::move(element));
        ++size_;
        return true;
    }

    /// Appends `count` zero elements. Returns: the first; nullptr, and changes nothing, if there is no memory.
    [[nodiscard]] Element* extend(std::size_t count) noexcept
        requires std::is_trivially_copyable_v<Element>
    {
        if (!reserve_more(count)) return nullptr;
        Element* const first = elements_ + size_;
        for (std::size_t i = 0; i < count; ++i) std::construct_at(first + i);
        size_ += count;
        return first;
    }

    /// Destroys and wipes all elements after the first `size`, and keeps the storage. `size` is at most `size()`.
    void truncate(std::size_t size) noexcept {
        WG_ASSERT(size <= size_);
        if (size == size_) return;
        std::destroy_n(elements_ + size, size_ - size);
        wipe(static_cast<void*>(elements_ + size), (size_ - size) * sizeof(Element));
        size_ = size;
    }
    /// Destroys and wipes all elements, and keeps the storage.
    void clear() noexcept { truncate(0); }
    /// Destroys and wipes all elements, and frees the storage.
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
        release(); // wipes the storage that the elements were moved from
        elements_ = elements;
        size_ = size;
        capacity_ = capacity;
        return true;
    }

    Element* elements_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

/// Growing text that may hold keys: the reply of a configuration socket.
template <class Memory = heap_memory> class basic_secret_buffer {
public:
    /// The number of characters.
    std::size_t size() const noexcept { return text_.size(); }
    /// Whether there is no text.
    bool empty() const noexcept { return text_.empty(); }
    /// The text, until the next change.
    std::string_view text() const noexcept { return {text_.view().data(), text_.size()}; }
    /// The text as bytes.
    bytes_view view() const noexcept { return {reinterpret_cast<byte const*>(text_.view().data()), text_.size()}; }

    /// Appends text. Returns: false, and appends nothing, if there is no memory.
    [[nodiscard]] bool append(std::string_view more) noexcept {
        if (more.empty()) return true;
        char* const place = text_.extend(more.size());
        if (place == nullptr) return false;
        std::memcpy(place, more.data(), more.size());
        return true;
    }
    /// Appends `size` characters for the caller to write. Returns: the first; nullptr if there is no memory.
    [[nodiscard]] char* extend(std::size_t size) noexcept { return text_.extend(size); }

    void truncate(std::size_t size) noexcept { text_.truncate(size); } ///< wipes the text after `size`
    void clear() noexcept { text_.clear(); }                           ///< wipes; keeps the storage
    void release() noexcept { text_.release(); }                       ///< wipes; frees the storage

private:
    secret_vector<char, Memory> text_;
};

/// A reply on the heap.
using secret_buffer = basic_secret_buffer<>;

}} // namespace wg::WG_ABI

#endif
