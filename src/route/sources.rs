//! Networks that a client may be in, and whether a route lets it in.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::config::model;

/// A set of networks, found in however many steps a halving takes.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// First and last addresses, in order, none of them touching the next.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Sources {
    /// Of these networks.
    pub fn new(networks: &[IpNet]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match network {
                IpNet::V4(it) => v4.push((it.network().into(), it.broadcast().into())),
                IpNet::V6(it) => v6.push((it.network().into(), it.broadcast().into())),
            }
        }
        Self { v4: merged(v4), v6: merged(v6) }
    }

    /// Whether the address is in one of them. A mapped address is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.v4, u32::from(address)),
            IpAddr::V6(address) => holds(&self.v6, u128::from(address)),
        }
    }
}

fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

/// Whom a route lets in.
#[derive(Debug, Clone)]
pub struct Access {
    written: model::Access,
    deny: Sources,
    allow: Option<Sources>,
}

impl Access {
    /// None where everybody is let in.
    pub fn new(access: &model::Access) -> Option<Self> {
        let allow = (!access.allow.is_empty()).then(|| Sources::new(&access.allow));
        (allow.is_some() || !access.deny.is_empty()).then(|| Self {
            written: access.clone(),
            deny: Sources::new(&access.deny),
            allow,
        })
    }

    /// What was compiled.
    pub fn written(&self) -> &model::Access {
        &self.written
    }

    /// Who is denied is out; of the others those are in who are allowed, where anybody is.
    pub fn permits(&self, client: IpAddr) -> bool {
        !self.deny.contains(client) && self.allow.as_ref().is_none_or(|it| it.contains(client))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn who_is_denied_is_out_and_of_the_others_those_are_in_who_are_allowed() {
        let access = |deny: &[&str], allow: &[&str]| {
            Access::new(&model::Access { deny: networks(deny), allow: networks(allow) })
        };
        assert!(access(&[], &[]).is_none());
        let both = access(&["10.1.0.0/16"], &["10.0.0.0/8", "fd00::/8"]).unwrap();
        for (client, permitted) in [
            ("10.2.0.1", true),
            ("10.1.0.1", false),
            ("::ffff:10.1.0.1", false),
            ("::ffff:10.2.0.1", true),
            ("fd00::1", true),
            ("192.0.2.1", false),
        ] {
            assert_eq!(both.permits(client.parse().unwrap()), permitted, "{client}");
        }
        let deny = access(&["10.1.0.0/16"], &[]).unwrap();
        assert!(deny.permits("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_one_of_its_networks_holds(
            nets in proptest::collection::vec((any::<u16>(), 16_u8..=32), 0..20),
            asked in proptest::collection::vec(any::<u16>(), 0..50),
        ) {
            // Networks and addresses close enough to meet.
            let address = |low: u16| {
                let [high, low] = low.to_be_bytes();
                IpAddr::from([10, 0, high, low])
            };
            let nets: Vec<IpNet> = nets
                .into_iter()
                .map(|(low, bits)| IpNet::new(address(low), bits).unwrap().trunc())
                .collect();
            let set = Sources::new(&nets);
            for low in asked {
                let one = nets.iter().any(|net| net.contains(&address(low)));
                prop_assert_eq!(set.contains(address(low)), one);
            }
        }
    }
}
