//! Vector instructions, chosen at run time: for kernels of devices too.

use super::real::Real;

/// Functions of plain loops, compiled several times: for AVX-512, for AVX2 and for the compiler's
/// target, chosen at run time. What they call should be `inline(always)`. Rust never contracts a
/// multiplication and an addition, so the results are the same to the bit whichever is chosen.
///
/// Type parameters stand in square brackets.
///
/// ```
/// use pnn_core::ops::Real;
///
/// pnn_core::multiversion! {
///     /// `y = max(x - threshold, 0)`.
///     fn clipped[T: Real](y: &mut [T], x: &[T], threshold: T) {
///         for (y, x) in y.iter_mut().zip(x) {
///             *y = (*x - threshold).max(T::zero());
///         }
///     }
/// }
/// let mut y = [0.0f32; 3];
/// clipped(&mut y, &[1.0, 2.0, 3.0], 1.5);
/// assert_eq!(y, [0.0, 0.5, 1.5]);
/// ```
#[macro_export]
macro_rules! multiversion {
    ($(
        $(#[$doc:meta])*
        $visibility:vis fn $name:ident[$($generics:tt)*]($($arg:ident: $ty:ty),* $(,)?)
            $(-> $result:ty)? $body:block
    )*) => {$(
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $visibility fn $name<$($generics)*>($($arg: $ty),*) $(-> $result)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn plain<$($generics)*>($($arg: $ty),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512<$($generics)*>($($arg: $ty),*) $(-> $result)? {
                    plain($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2<$($generics)*>($($arg: $ty),*) $(-> $result)? {
                    plain($($arg),*)
                }
                if $crate::ops::simd::has_avx512() {
                    // SAFETY: the processor has the features, as was just found.
                    return unsafe { avx512($($arg),*) };
                }
                if $crate::ops::simd::has_avx2() {
                    // SAFETY: the processor has the features, as was just found.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    )*};
}
pub(crate) use multiversion;

/// Whether the processor has the parts of AVX-512 that kernels here use.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && has_avx2()
}

/// Whether the processor has AVX2, and a multiplication with an addition in one instruction.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
}

/// Sums that run side by side.
const LANES: usize = 16;

/// The sum of `f(a, b)` over two slices of equal length, in `LANES` interleaved accumulators,
/// whatever the vectors of the processor: the order of the sum is fixed.
#[inline(always)]
pub fn lane_sum<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> f64 {
    let mut lanes = [T::zero(); LANES];
    let ((blocks_a, rest_a), (blocks_b, rest_b)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in blocks_a.iter().zip(blocks_b) {
        for lane in 0..LANES {
            lanes[lane] += f(a[lane], b[lane]);
        }
    }
    for (lane, (a, b)) in rest_a.iter().zip(rest_b).enumerate() {
        lanes[lane] += f(*a, *b);
    }
    lanes.iter().fold(0.0, |sum, lane| sum + lane.f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loops as the kernels have them: products, sums in lanes, a quotient, a comparison.
    #[inline(always)]
    fn body<T: Real>(x: &[T], y: &mut [T]) -> f64 {
        for (y, x) in y.iter_mut().zip(x) {
            let v = (*x - T::of(0.3)) * T::of(1.7) + *y * *x;
            *y = if v < T::zero() { v / (T::one() + *x * *x) } else { v };
        }
        lane_sum(y, x, |y, x| y * x + x)
    }

    multiversion! {
        fn chosen[T: Real](x: &[T], y: &mut [T]) -> f64 {
            body(x, y)
        }
    }

    #[inline(never)]
    fn plain<T: Real>(x: &[T], y: &mut [T]) -> f64 {
        body(x, y)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2<T: Real>(x: &[T], y: &mut [T]) -> f64 {
        body(x, y)
    }

    fn check<T: Real>() {
        for length in [0, 1, 15, 16, 17, 1000, 4099] {
            let x: Vec<T> = (0..length).map(|i| T::of((f64::from(i) * 0.37).sin() * 3.0)).collect();
            let run = |f: &dyn Fn(&[T], &mut [T]) -> f64| {
                let mut y: Vec<T> = x.iter().rev().copied().collect();
                let sum = f(&x, &mut y);
                (y.iter().map(|y| y.f64().to_bits()).collect::<Vec<_>>(), sum.to_bits())
            };
            let want = run(&plain);
            assert_eq!(run(&chosen), want, "{length}");
            #[cfg(target_arch = "x86_64")]
            if has_avx2() {
                // SAFETY: the processor has the features, as was just found.
                assert_eq!(run(&|x, y| unsafe { avx2(x, y) }), want, "{length}");
            }
        }
    }

    /// What the processor chooses (AVX-512 where it has it), AVX2 and the compiler's target.
    #[test]
    fn all_versions_give_the_same_bits() {
        check::<f32>();
        check::<f64>();
    }
}
