//! The fields of a message, in the order in which they came (RFC 9110 §5.3).
// A message passes through here with a dozen fields, most of which nobody asks for. A map of them
// would hash each name to put it in and again to take it out; to look along a list is cheaper.

use std::borrow::Borrow;

use bytes::{Bytes, BytesMut};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::sys;

/// Names and values. What is done by name looks along all of them: there are never more than the
/// limit of a head allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(HeaderName, HeaderValue)>);

/// Fields that we may add to those of a request.
const OURS: usize = 8;
/// Room for the fields of most heads, and for ours behind them: to grow with each is dear.
const USUAL: usize = 20;
/// A value that is longer (bytes) has memory of its own where it is copied, or each short one would
/// keep it, too.
const LONG: usize = 256;

impl Fields {
    /// None, and no memory for any.
    pub fn new() -> Self {
        Self::default()
    }

    /// None, and memory for so many.
    pub fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// How many lines they are: a name may be there more than once.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gets memory for a head that comes, if there is not enough for most.
    pub fn prepare(&mut self) {
        self.0.reserve(USUAL.saturating_sub(self.len()));
    }

    /// Takes all of them out, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds one behind all others, of whatever name.
    // Once for all who do: where it were repeated, each would have to come from memory.
    #[inline(never)]
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Puts one in the place of all that have its name.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(place) = self.position(&name) else {
            return self.0.push((name, value));
        };
        let mut at = 0;
        self.0.retain(|(there, _)| {
            let stays = at <= place || *there != name;
            at += 1;
            stays
        });
        if let Some(first) = self.0.get_mut(place) {
            first.1 = value;
        }
    }

    /// The first of this name.
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&HeaderValue> {
        self.0.get(self.position(name.borrow())?).map(|(_, value)| value)
    }

    /// All of this name.
    pub fn get_all<N>(&self, name: N) -> impl Iterator<Item = &HeaderValue> + use<'_, N>
    where
        N: Borrow<HeaderName>,
    {
        self.0.iter().filter(move |(there, _)| there == name.borrow()).map(|(_, value)| value)
    }

    /// Whether there is one of this name.
    pub fn contains_key(&self, name: impl Borrow<HeaderName>) -> bool {
        self.get(name).is_some()
    }

    /// Takes out all of this name, and gives the first.
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) -> Option<HeaderValue> {
        let name = name.borrow();
        let place = self.position(name)?;
        let (_, first) = self.0.remove(place);
        self.0.retain(|(there, _)| there != name);
        Some(first)
    }

    #[inline(never)] // once for all who look, as `append`
    fn position(&self, name: &HeaderName) -> Option<usize> {
        self.0.iter().position(|(there, _)| there == name)
    }

    /// Keeps those whose name passes.
    pub fn retain(&mut self, mut stays: impl FnMut(&HeaderName) -> bool) {
        self.0.retain(|(name, _)| stays(name));
    }

    /// Has the values in memory of their own: what keeps one of them, as the tables of HPACK do
    /// for as long as their connection lasts (RFC 7541 §2.3.2), keeps these and no more. Until
    /// then they are parts of the buffers that their head was read into.
    pub fn detach(&mut self) {
        let block = block_for(self.values());
        detach_into(block, self.0.iter_mut().map(|(_, value)| value));
    }

    /// Each line's name and value.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> {
        self.into_iter()
    }

    /// Each line's name.
    pub fn keys(&self) -> impl Iterator<Item = &HeaderName> {
        self.iter().map(|(name, _)| name)
    }

    /// Each line's value.
    pub fn values(&self) -> impl Iterator<Item = &HeaderValue> {
        self.iter().map(|(_, value)| value)
    }
}

/// The same for trailers, as hyper has them: [`Fields::detach`].
pub fn detach(trailers: &mut HeaderMap) {
    let block = block_for(trailers.values());
    detach_into(block, trailers.values_mut());
}

/// A value of visible ASCII. None where it is anything else.
pub fn visible(text: Bytes) -> Option<HeaderValue> {
    sys::visible_value(text)
}

/// Room for the short ones.
fn block_for<'a>(values: impl Iterator<Item = &'a HeaderValue>) -> BytesMut {
    let short = values.map(HeaderValue::len).filter(|length| *length <= LONG).sum();
    BytesMut::with_capacity(short)
}

fn detach_into<'a>(mut block: BytesMut, values: impl Iterator<Item = &'a mut HeaderValue>) {
    for value in values {
        *value = if value.len() > LONG {
            sys::copy_value(value, &mut BytesMut::with_capacity(value.len()))
        } else {
            sys::copy_value(value, &mut block)
        };
    }
}

type Line = (HeaderName, HeaderValue);

impl<'a> IntoIterator for &'a Fields {
    type Item = (&'a HeaderName, &'a HeaderValue);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, Line>,
        fn(&'a Line) -> (&'a HeaderName, &'a HeaderValue),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl FromIterator<Line> for Fields {
    fn from_iter<T: IntoIterator<Item = Line>>(lines: T) -> Self {
        Self(lines.into_iter().collect())
    }
}

/// As hyper tells them: lines of one name stand together.
impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::with_capacity(USUAL.max(map.len() + OURS));
        for (name, value) in map {
            // One without a name has that of the one before.
            let before = || fields.0.last().map(|(name, _)| name.clone());
            if let Some(name) = name.or_else(before) {
                fields.append(name, value);
            }
        }
        fields
    }
}

/// As hyper wants to be told them.
impl From<Fields> for HeaderMap {
    fn from(fields: Fields) -> Self {
        let mut map = Self::with_capacity(fields.len());
        for (name, value) in fields.0 {
            map.append(name, value);
        }
        map
    }
}

/// For tests, which know what is there.
#[cfg(test)]
impl Fields {
    pub(crate) fn of(lines: &[(&'static str, &'static str)]) -> Self {
        let lines = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        lines.collect()
    }
}

/// For tests, too.
#[cfg(test)]
impl<N: Borrow<HeaderName>> std::ops::Index<N> for Fields {
    type Output = HeaderValue;

    fn index(&self, name: N) -> &HeaderValue {
        self.get(name).expect("a field of this name")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["host", "cookie", "x-a", "x-b"];

    /// What may be done, to a name, with a value.
    fn step() -> impl Strategy<Value = (u8, HeaderName, HeaderValue)> {
        let name = prop::sample::select(&NAMES[..]).prop_map(HeaderName::from_static);
        (0..3_u8, name, any::<u16>().prop_map(HeaderValue::from))
    }

    proptest! {
        #[test]
        fn they_do_what_a_map_does(steps in vec(step(), 0..20)) {
            let (mut fields, mut map) = (Fields::new(), HeaderMap::new());
            for (act, name, value) in steps {
                match act {
                    0 => {
                        fields.append(name.clone(), value.clone());
                        map.append(name, value);
                    }
                    1 => {
                        fields.insert(name.clone(), value.clone());
                        map.insert(name, value);
                    }
                    _ => prop_assert_eq!(fields.remove(&name), map.remove(&name)),
                }
                prop_assert_eq!(fields.len(), map.len());
                prop_assert_eq!(&Fields::from(map.clone()).0.len(), &map.len());
                for name in NAMES.map(HeaderName::from_static) {
                    prop_assert_eq!(fields.get(&name), map.get(&name));
                    prop_assert_eq!(fields.contains_key(&name), map.contains_key(&name));
                    let all: Vec<_> = fields.get_all(&name).collect();
                    prop_assert_eq!(all, map.get_all(&name).iter().collect::<Vec<_>>());
                }
            }
            prop_assert_eq!(&HeaderMap::from(fields.clone()), &map);
            prop_assert_eq!(HeaderMap::from(Fields::from(map.clone())), map);
        }
    }

    #[test]
    fn what_is_kept_of_them_keeps_nothing_else_alive() {
        struct Room {
            _alive: Arc<()>,
        }
        impl AsRef<[u8]> for Room {
            fn as_ref(&self) -> &[u8] {
                b"one two"
            }
        }
        let alive = Arc::new(());
        let room = Bytes::from_owner(Room { _alive: Arc::clone(&alive) });
        let value = |range| HeaderValue::from_maybe_shared(room.slice(range)).unwrap();
        let mut secret = value(4..7);
        secret.set_sensitive(true);
        let long = HeaderValue::from_str(&"x".repeat(1000)).unwrap();
        let lines =
            [("a", value(0..3)), ("b", secret), ("c", HeaderValue::from_static("")), ("d", long)];
        let before: Fields =
            lines.into_iter().map(|(name, it)| (HeaderName::from_static(name), it)).collect();
        drop(room);
        let mut fields = before.clone();
        fields.detach();
        assert_eq!(fields, before);
        let sensitive = fields.values().map(HeaderValue::is_sensitive);
        assert_eq!(sensitive.collect::<Vec<_>>(), [false, true, false, false]);
        let at = |index: usize| fields.values().nth(index).unwrap().as_bytes().as_ptr_range();
        assert_eq!(at(0).end, at(1).start, "short ones stand together");
        assert_eq!(Arc::strong_count(&alive), 2);
        let mut trailers = HeaderMap::from(before.clone());
        detach(&mut trailers);
        assert_eq!(Fields::from(trailers), before);
        drop(before);
        assert_eq!(Arc::strong_count(&alive), 1, "the room has gone");
    }

    #[test]
    fn they_stay_in_the_order_in_which_they_came() {
        let mut fields = Fields::of(&[("b", "1"), ("a", "2"), ("b", "3"), ("c", "4")]);
        let names = |fields: &Fields| fields.keys().map(ToString::to_string).collect::<String>();
        assert_eq!(names(&fields), "babc");
        fields.insert(HeaderName::from_static("b"), HeaderValue::from_static("5"));
        assert_eq!(
            (names(&fields), &fields[HeaderName::from_static("b")]),
            ("bac".into(), &"5".parse().unwrap())
        );
        fields.retain(|name| name != "a");
        assert_eq!(names(&fields), "bc");
    }
}
