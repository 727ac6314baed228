//! Times in parts of a frame, by which queues are sized: integers, so that a bound is one on every machine.

use std::ops::{Add, Sub};

/// A time in parts of a frame at the network's pace, in units of 2^-64; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameTime(i128);

/// Bits of fractions of a frame.
const FRACTION: u32 = 64;

impl FrameTime {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// A part of a frame, rounded up. Both numbers are below 2^62.
    pub fn at_most(part: impl Into<i128>, of: impl Into<i128>) -> Self {
        let (part, of) = (part.into() << FRACTION, of.into());
        Self(part.div_euclid(of) + i128::from(part.rem_euclid(of) > 0))
    }

    /// A part of a frame, rounded down. Both numbers are below 2^62.
    pub fn at_least(part: impl Into<i128>, of: impl Into<i128>) -> Self {
        Self((part.into() << FRACTION).div_euclid(of.into()))
    }

    /// How many of a frame's elements, or of its cycles, come in that time, rounded up; none in less than no time.
    /// Less than a millionth of one is what rounding left.
    pub fn of(self, frame: u64) -> u64 {
        const MILLIONTH: i128 = 1 << (FRACTION - 20);
        let exact = self.0.max(0) * i128::from(frame);
        (exact >> FRACTION) as u64 + u64::from(exact & ((1 << FRACTION) - 1) >= MILLIONTH)
    }
}

impl Add for FrameTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl Sub for FrameTime {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::FrameTime;

    #[test]
    fn bounds_are_on_their_side() {
        let (most, least) = (FrameTime::at_most(1, 3), FrameTime::at_least(1, 3));
        assert!(least < most && most - least == FrameTime(1));
        assert_eq!([most.of(3), least.of(3), least.of(6), FrameTime::at_most(1, 4).of(8)], [1, 1, 2, 2]);
        let negative = FrameTime::ZERO - least;
        assert_eq!((negative.of(100), FrameTime::at_least(-1, 3)), (0, FrameTime::ZERO - most));
        assert_eq!(FrameTime::at_most(-1, 3), negative);
        assert_eq!((least + FrameTime::at_most(2, 3)).of(1), 1);
    }
}
