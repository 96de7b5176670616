//! Logarithms in integers, the same on every machine: a libm's last bit may differ.

/// `-log2(x / 2^64)` for `x` from 1, with 32 bits behind the point, rounded up in the last one.
/// Never increases with `x`. Zero is taken as one.
///
/// The fraction comes bit by bit: squaring a number in [1, 2) doubles its logarithm.
pub(super) fn negative_log2(x: u64) -> u64 {
    let x = x.max(1);
    let zeros = x.leading_zeros();
    // The mantissa in [1, 2) as 1.63 bits.
    let mut mantissa = x << zeros;
    let mut fraction = 0u64;
    for _ in 0..32 {
        let square = u128::from(mantissa) * u128::from(mantissa);
        fraction <<= 1;
        if square >> 127 == 1 {
            fraction |= 1;
            mantissa = high(square >> 64);
        } else {
            mantissa = high(square >> 63);
        }
    }
    // x = 2^(63 - zeros) · mantissa, so -log2(x / 2^64) = zeros + 1 - log2(mantissa).
    ((u64::from(zeros) + 1) << 32) - fraction
}

/// A sample of mean one from the exponential distribution in 1/65536, made of 64 random bits.
/// Good to about one part in a hundred and cheap: `log2(1 + f)` is taken as `f + 0.3466 f(1 - f)`.
pub(super) fn exponential(random: u64) -> u64 {
    let x = random.max(1);
    let zeros = x.leading_zeros();
    // What follows the leading one, as 16 bits.
    let fraction = ((x << zeros) << 1) >> 48;
    let bend = (fraction * (65_536 - fraction)) >> 16;
    let log2 = fraction + ((bend * 22_713) >> 16);
    let negative_log2 = ((u64::from(zeros) + 1) << 16).saturating_sub(log2);
    // ln 2 in 1/65536.
    (negative_log2 * 45_426) >> 16
}

/// The number itself, which every caller knows to have 64 bits.
fn high(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        assert_eq!(negative_log2(1), 64 << 32);
        assert_eq!(negative_log2(0), 64 << 32);
        assert_eq!(negative_log2(1 << 63), 1 << 32);
        assert_eq!(negative_log2(1 << 32), 32 << 32);
    }

    #[test]
    fn samples_have_mean_one_and_the_right_tail() {
        let mut rng = fastrand::Rng::with_seed(5);
        let samples: Vec<_> = (0..100_000).map(|_| exponential(rng.u64(..))).collect();
        let mean = samples.iter().sum::<u64>() / 100_000;
        assert!((64_500..66_600).contains(&mean), "{mean}");
        // e^-2 of all are above two.
        let above_two = samples.iter().filter(|sample| **sample > 131_072).count();
        assert!((13_000..14_100).contains(&above_two), "{above_two}");
    }

    proptest! {
        #[test]
        #[expect(clippy::cast_precision_loss, reason = "compared with floats, within a tolerance")]
        fn it_is_the_logarithm(x in 1u64..) {
            let exact = 64.0 - (x as f64).log2();
            let ours = negative_log2(x) as f64 / 4_294_967_296.0;
            prop_assert!((ours - exact).abs() < 1e-8, "{} {}", ours, exact);
        }

        #[test]
        fn it_never_increases(a: u64, b: u64) {
            let (low, high) = (a.min(b), a.max(b));
            prop_assert!(negative_log2(low) >= negative_log2(high));
        }
    }
}
