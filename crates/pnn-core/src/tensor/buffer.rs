//! Memory of tensors. A training step asks for the same sizes again and again; what a step gave
//! back, the next one gets, instead of fresh pages from the system (which costs 15 to 25 % of a
//! small step).

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use super::Element;

/// Buffers below this many elements are left to the allocator.
const SMALLEST: usize = 2048;

/// What a thread keeps for later at most, in bytes: more than any training step here needs, since a
/// step that needs more begins anew each time.
const KEPT: usize = 3 << 30;

/// Values in memory, given back to the pool of the thread that drops them (unless they came from a
/// vector: who makes those takes none from the pool, which would only fill up). So a task of another
/// thread must not return one: what it is to fill is made by who drops it.
pub struct Buffer<T: Element> {
    values: Vec<T>,
    pooled: bool,
}

impl<T: Element> Buffer<T> {
    /// Zeros.
    #[must_use]
    pub fn zeros(length: usize) -> Self {
        let values = match recycled(length) {
            Some(mut values) => {
                values.fill(T::default());
                values
            }
            None => vec![T::default(); length],
        };
        Self { values, pooled: true }
    }

    /// Values of no meaning, for a kernel that writes every one of them.
    #[must_use]
    pub fn scratch(length: usize) -> Self {
        let values = recycled(length).unwrap_or_else(|| vec![T::default(); length]);
        Self { values, pooled: true }
    }

    /// A copy of values.
    #[must_use]
    pub fn copy_of(values: &[T]) -> Self {
        let mut copy = Self::scratch(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl<T: Element> From<Vec<T>> for Buffer<T> {
    fn from(values: Vec<T>) -> Self {
        Self { values, pooled: false }
    }
}

impl<T: Element> FromIterator<T> for Buffer<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T: Element> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values
    }
}

impl<T: Element> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values
    }
}

impl<T: Element> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.pooled && self.values.len() >= SMALLEST {
            let values = std::mem::take(&mut self.values);
            // At the end of a thread its pool may be gone already.
            let _ = T::pool().try_with(|pool| pool.borrow_mut().keep(values));
        }
    }
}

fn recycled<T: Element>(length: usize) -> Option<Vec<T>> {
    if length < SMALLEST {
        return None;
    }
    T::pool().try_with(|pool| pool.borrow_mut().take(length)).ok().flatten()
}

/// Free buffers by length.
pub struct Pool<T> {
    free: HashMap<usize, Vec<Vec<T>>>,
    bytes: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { free: HashMap::new(), bytes: 0 }
    }
}

impl<T> Pool<T> {
    fn keep(&mut self, values: Vec<T>) {
        let bytes = std::mem::size_of_val(values.as_slice());
        if bytes > KEPT {
            return;
        }
        if self.bytes + bytes > KEPT {
            // Sizes of an earlier job fill the pool: begin anew.
            *self = Self::default();
        }
        self.bytes += bytes;
        self.free.entry(values.len()).or_default().push(values);
    }

    fn take(&mut self, length: usize) -> Option<Vec<T>> {
        let values = self.free.get_mut(&length)?.pop()?;
        self.bytes -= std::mem::size_of_val(values.as_slice());
        Some(values)
    }
}

/// The pool of a thread.
pub type LocalPool<T> = std::thread::LocalKey<RefCell<Pool<T>>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_zeros_are_zeros() {
        let mut first = Buffer::<f32>::scratch(5000);
        first.fill(7.0);
        let place = first.as_ptr();
        drop(first);
        let second = Buffer::<f32>::zeros(5000);
        assert_eq!(second.as_ptr(), place);
        assert!(second.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn the_pool_keeps_only_what_it_gave() {
        let kept = || f64::pool().with_borrow(|pool| pool.bytes);
        let before = kept();
        drop(Buffer::from(vec![1.0; 5000]));
        drop((0..5000).map(f64::from).collect::<Buffer<f64>>());
        assert_eq!(kept(), before);
        drop(Buffer::<f64>::scratch(5000));
        assert_eq!(kept(), before + 8 * 5000);
    }

    #[test]
    fn the_pool_forgets_instead_of_growing_without_limit() {
        let mut pool = Pool::<u8>::default();
        for length in 0..40 {
            pool.keep(vec![0; (KEPT >> 4) + length]);
            assert!(pool.bytes <= KEPT);
        }
        pool.keep(vec![0; KEPT + 1]);
        assert!(pool.take(KEPT + 1).is_none());
    }
}
