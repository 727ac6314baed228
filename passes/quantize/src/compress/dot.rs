//! Dot products of one vector with several at once.
//!
//! Each product is summed in eight lanes, in the same order whatever is computed beside it and on every machine:
//! several at once keep more adders busy, and change no bit.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};

/// Lanes of a sum.
const LANES: usize = 8;

/// Numbers that are multiplied and added.
pub(super) trait Real:
    Copy + Default + Add<Output = Self> + AddAssign + Mul<Output = Self> + Sum<Self> + for<'a> Sum<&'a Self>
{
    /// The lanes of four sums of products, each in order.
    fn sums(a: &[[Self; LANES]], b: [&[[Self; LANES]]; 4]) -> [[Self; LANES]; 4];
}

impl Real for f32 {
    fn sums(a: &[[Self; LANES]], b: [&[[Self; LANES]]; 4]) -> [[Self; LANES]; 4] {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            return unsafe { vectors::single(a, b) };
        }
        one_by_one(a, b)
    }
}

impl Real for f64 {
    fn sums(a: &[[Self; LANES]], b: [&[[Self; LANES]]; 4]) -> [[Self; LANES]; 4] {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has the instructions.
            return unsafe { vectors::double(a, b) };
        } else if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            return unsafe { vectors::double_in_halves(a, b) };
        }
        one_by_one(a, b)
    }
}

/// The dot product of two vectors of one length.
pub(super) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [T::default(); LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        add(&mut sums, a, b);
    }
    total(&sums, a_rest, b_rest)
}

/// The dot products of a vector with four others of its length.
pub(super) fn dots<T: Real>(a: &[T], b: [&[T]; 4]) -> [T; 4] {
    let length = b.iter().fold(a.len(), |length, b| length.min(b.len()));
    let (chunks, rest) = a[..length].as_chunks::<LANES>();
    let others = b.map(|b| b[..length].as_chunks::<LANES>());
    let sums = T::sums(chunks, others.map(|(chunks, _)| chunks));
    std::array::from_fn(|n| total(&sums[n], rest, others[n].1))
}

/// The lanes of four sums, one after another.
fn one_by_one<T: Real>(a: &[[T; LANES]], b: [&[[T; LANES]]; 4]) -> [[T; LANES]; 4] {
    b.map(|b| {
        let mut sums = [T::default(); LANES];
        a.iter().zip(b).for_each(|(a, b)| add(&mut sums, a, b));
        sums
    })
}

/// The lanes of four sums at once. Left to itself the compiler makes vectors across the four.
#[cfg(target_arch = "x86_64")]
mod vectors {
    use super::LANES;
    use std::arch::x86_64::{
        _mm256_add_pd, _mm256_add_ps, _mm256_loadu_pd, _mm256_loadu_ps, _mm256_mul_pd, _mm256_mul_ps,
        _mm256_setzero_pd, _mm256_setzero_ps, _mm256_storeu_pd, _mm256_storeu_ps, _mm512_add_pd, _mm512_loadu_pd,
        _mm512_mul_pd, _mm512_setzero_pd, _mm512_storeu_pd,
    };

    /// A function for eight numbers that fill a register: one per sum.
    macro_rules! register_per_sum {
        (
            $name:ident: $number:ty, $feature:literal,
            $zero:ident, $load:ident, $multiply:ident, $add:ident, $store:ident
        ) => {
            #[target_feature(enable = $feature)]
            pub fn $name(a: &[[$number; LANES]], b: [&[[$number; LANES]]; 4]) -> [[$number; LANES]; 4] {
                let mut sums = [$zero(); 4];
                for (position, a) in a.iter().enumerate() {
                    // SAFETY: the pointers are to eight numbers each.
                    let a = unsafe { $load(a.as_ptr()) };
                    for n in 0..4 {
                        // SAFETY: as above.
                        let b = unsafe { $load(b[n][position].as_ptr()) };
                        sums[n] = $add(sums[n], $multiply(a, b));
                    }
                }
                sums.map(|sum| {
                    let mut lanes = [0.0; LANES];
                    // SAFETY: as above.
                    unsafe { $store(lanes.as_mut_ptr(), sum) };
                    lanes
                })
            }
        };
    }

    register_per_sum!(
        single: f32, "avx2",
        _mm256_setzero_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_add_ps, _mm256_storeu_ps
    );
    register_per_sum!(
        double: f64, "avx512f",
        _mm512_setzero_pd, _mm512_loadu_pd, _mm512_mul_pd, _mm512_add_pd, _mm512_storeu_pd
    );

    /// Double precision where a register holds four: two per sum.
    #[target_feature(enable = "avx2")]
    pub fn double_in_halves(a: &[[f64; LANES]], b: [&[[f64; LANES]]; 4]) -> [[f64; LANES]; 4] {
        let mut sums = [[_mm256_setzero_pd(); 2]; 4];
        for (position, a) in a.iter().enumerate() {
            for half in 0..2 {
                // SAFETY: the pointers are to four numbers each.
                let a = unsafe { _mm256_loadu_pd(a[4 * half..].as_ptr()) };
                for n in 0..4 {
                    // SAFETY: as above.
                    let b = unsafe { _mm256_loadu_pd(b[n][position][4 * half..].as_ptr()) };
                    sums[n][half] = _mm256_add_pd(sums[n][half], _mm256_mul_pd(a, b));
                }
            }
        }
        sums.map(|halves| {
            let mut lanes = [0.0; LANES];
            for (half, sum) in halves.into_iter().enumerate() {
                // SAFETY: as above.
                unsafe { _mm256_storeu_pd(lanes[4 * half..].as_mut_ptr(), sum) };
            }
            lanes
        })
    }
}

#[inline(always)]
fn add<T: Real>(sums: &mut [T; LANES], a: &[T; LANES], b: &[T; LANES]) {
    for lane in 0..LANES {
        sums[lane] += a[lane] * b[lane];
    }
}

#[inline(always)]
fn total<T: Real>(sums: &[T; LANES], a: &[T], b: &[T]) -> T {
    let rest: T = a.iter().zip(b).map(|(&a, &b)| a * b).sum();
    sums.iter().sum::<T>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_at_once_are_each_by_itself_bit_for_bit() {
        for length in [0, 1, 7, 8, 9, 31, 64, 100] {
            let vector = |seed: usize| -> Vec<f64> {
                (0..length).map(|i| ((i * 37 + seed * 101) % 97) as f64 / 9.7 - 5.0 + 1e-9 * i as f64).collect()
            };
            let (a, b) = (vector(1), [2, 3, 4, 5].map(vector));
            let once = dots(&a, [&b[0], &b[1], &b[2], &b[3]]);
            for (product, b) in once.iter().zip(&b) {
                assert_eq!(product.to_bits(), dot(&a, b).to_bits());
            }
        }
    }

    /// Those that this machine has.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_width_of_register_gives_the_same_bits() {
        let vector = |seed: usize| -> Vec<[f64; LANES]> {
            let number = |i: usize| ((i * 37 + seed * 101) % 97) as f64 / 9.7 - 5.0 + 1e-9 * i as f64;
            (0..9).map(|chunk| std::array::from_fn(|lane| number(chunk * LANES + lane))).collect()
        };
        let (a, others) = (vector(1), [2, 3, 4, 5].map(vector));
        let b = [0, 1, 2, 3].map(|n| &others[n][..]);
        let expected = one_by_one(&a, b);
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            assert_eq!(unsafe { vectors::double_in_halves(&a, b) }, expected);
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has the instructions.
            assert_eq!(unsafe { vectors::double(&a, b) }, expected);
        }
    }
}
