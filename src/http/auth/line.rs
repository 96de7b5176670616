//! Who waits for a password to be tried: each client in its turn, and none of them many times.

use std::collections::VecDeque;
use std::net::IpAddr;

/// How many may wait.
pub(super) const MOST: usize = 512;
/// How many of one client may.
pub(super) const EACH: usize = 16;

/// The line. Whoever sends many gets no more turns by it than who sends one.
#[derive(Debug)]
pub(super) struct Line<T> {
    /// In the order of their turns, none of them without anything that waits.
    clients: VecDeque<(IpAddr, VecDeque<T>)>,
    length: usize,
}

/// Why one more may not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Its client has as many there as one may have.
    Client,
    /// There is no room for anybody.
    Full,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { clients: VecDeque::new(), length: 0 }
    }
}

impl<T> Line<T> {
    /// Lets one more wait; gives back whom that has pushed out: the last of the client that has the
    /// most there.
    ///
    /// # Errors
    /// Where it may not.
    pub(super) fn join(&mut self, client: IpAddr, item: T) -> Result<Option<T>, Refused> {
        let own = self.clients.iter().position(|(other, _)| *other == client);
        let waiting = |line: &Self, at: usize| line.clients.get(at).map_or(0, |(_, all)| all.len());
        let has = own.map_or(0, |at| waiting(self, at));
        if has >= EACH {
            return Err(Refused::Client);
        }
        let mut pushed = None;
        if self.length >= MOST {
            let longest = self.clients.iter_mut().max_by_key(|(_, all)| all.len());
            let (_, all) = longest.filter(|(_, all)| all.len() > has + 1).ok_or(Refused::Full)?;
            pushed = all.pop_back();
            self.length -= 1;
        }
        match own.and_then(|at| self.clients.get_mut(at)) {
            Some((_, all)) => all.push_back(item),
            None => self.clients.push_back((client, VecDeque::from([item]))),
        }
        self.length += 1;
        Ok(pushed)
    }

    /// Whose turn it is.
    pub(super) fn next(&mut self) -> Option<T> {
        let (client, mut all) = self.clients.pop_front()?;
        let item = all.pop_front();
        self.length -= usize::from(item.is_some());
        if !all.is_empty() {
            self.clients.push_back((client, all));
        }
        item
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    fn client(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        IpAddr::from([10, 0, high, low])
    }

    #[test]
    fn who_sends_many_has_a_turn_in_as_many_as_there_are_clients() {
        let mut line = Line::default();
        for item in 0..EACH {
            assert_eq!(line.join(client(1), (1, item)), Ok(None));
        }
        assert_eq!(line.join(client(1), (1, 99)), Err(Refused::Client));
        assert_eq!(line.join(client(2), (2, 0)), Ok(None));
        let turns: Vec<_> = std::iter::from_fn(|| line.next()).take(4).collect();
        assert_eq!(turns, [(1, 0), (2, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn who_comes_to_a_full_line_pushes_out_the_last_of_who_has_the_most() {
        let mut line = Line::default();
        let crowd = u16::try_from(MOST / EACH).unwrap();
        for number in 0..crowd {
            for item in 0..EACH {
                assert_eq!(line.join(client(number), (number, item)), Ok(None));
            }
        }
        let (_, item) = line.join(client(1000), (1000, 0)).unwrap().unwrap();
        assert_eq!(item, EACH - 1);
        // Where all have as many, nobody is pushed out for the sake of another.
        let mut line = Line::default();
        for number in 0..u16::try_from(MOST).unwrap() {
            assert_eq!(line.join(client(number), (number, 0)), Ok(None));
        }
        assert_eq!(line.join(client(1000), (1000, 0)), Err(Refused::Full));
        assert_eq!(line.join(client(1), (1, 1)), Err(Refused::Full));
    }

    proptest! {
        // A line that is full takes many steps.
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Everything that joins comes out once, by its turn or pushed out; between two turns of a
        /// client each other one that waits all the time has one.
        #[test]
        fn nobody_is_lost_and_nobody_is_passed_over(
            steps in proptest::collection::vec((any::<u8>(), 0_u16..60), 1..1200),
        ) {
            let mut line = Line::default();
            let mut inside: BTreeSet<(u16, usize)> = BTreeSet::new();
            let mut since: HashMap<u16, Vec<u16>> = HashMap::new();
            for (item, (choice, number)) in steps.into_iter().enumerate() {
                if choice % 4 != 0 {
                    match line.join(client(number), (number, item)) {
                        Ok(pushed) => {
                            if let Some(pushed) = pushed {
                                prop_assert!(inside.remove(&pushed));
                            }
                            inside.insert((number, item));
                        }
                        Err(Refused::Client) => {
                            let own = inside.iter().filter(|(other, _)| *other == number).count();
                            prop_assert_eq!(own, EACH);
                        }
                        Err(Refused::Full) => prop_assert_eq!(inside.len(), MOST),
                    }
                } else {
                    let next = line.next();
                    prop_assert_eq!(next.is_some(), !inside.is_empty());
                    if let Some((of, item)) = next {
                        prop_assert!(inside.remove(&(of, item)));
                        // No client has had two turns since another one that still waits joined.
                        let waits: BTreeSet<u16> = inside.iter().map(|(other, _)| *other).collect();
                        since.retain(|waiting, _| waits.contains(waiting));
                        for (waiting, turns) in &mut since {
                            if *waiting != of {
                                prop_assert!(!turns.contains(&of), "{waiting} was passed over");
                                turns.push(of);
                            }
                        }
                        since.remove(&of);
                    }
                }
                for (other, _) in &inside {
                    since.entry(*other).or_default();
                }
                prop_assert!(inside.len() <= MOST);
                prop_assert_eq!(line.length, inside.len());
            }
        }
    }
}
