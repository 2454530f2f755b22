//! Memory of a thread that is kept from call to call.

/// Values that fill one cache line (and one vector of AVX-512).
pub(super) const CACHE_LINE: usize = 16;

/// A buffer that only grows.
#[derive(Default)]
pub(super) struct Scratch(Vec<f32>);

impl Scratch {
    /// `length` values that begin at a cache line. They are what was there before.
    pub(super) fn get(&mut self, length: usize) -> &mut [f32] {
        if self.0.len() < length + CACHE_LINE {
            self.0.resize(length + CACHE_LINE, 0.0);
        }
        let start = self.0.as_ptr().align_offset(CACHE_LINE * size_of::<f32>()).min(CACHE_LINE);
        &mut self.0[start..start + length]
    }
}
