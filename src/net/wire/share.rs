//! How much of its answer one of several streams may have at once.

/// What the answers on one HTTP/2 connection may have taken from their backends and not yet given
/// to their client, together and at once (bytes): each takes its share at a time…
const SHARED: usize = 512 * 1024;
/// …and this much in any case: a page of memory, and more than most heads.
const LEAST: usize = 4 * 1024;

/// More than so many have less than what is read at once of an answer that is alone.
pub(super) const FEW: u64 = 8;

/// The share of each where so many are open (bytes), in whole pages, which is what memory is given
/// in.
pub(super) fn of(open: u64) -> usize {
    let share = SHARED / usize::try_from(open.max(1)).unwrap_or(usize::MAX);
    (share / LEAST * LEAST).max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_streams_a_connection_has_the_less_each_may_hold() {
        let mut last = usize::MAX;
        for open in 1..=256_u32 {
            let share = of(open.into());
            assert!(share <= last && share >= LEAST && share.is_multiple_of(LEAST));
            let together = share * usize::try_from(open).unwrap();
            assert!(share == LEAST || together <= SHARED, "{open} streams: {share}");
            last = share;
        }
        assert_eq!(last, LEAST);
        assert_eq!((of(0), of(1)), (SHARED, SHARED));
        assert!(of(FEW) >= 64 * 1024 && of(FEW + 1) < 64 * 1024);
    }
}
